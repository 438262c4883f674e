"""What a text says about a work: catalogue numbers, genre, instruments, number, key and name."""

from __future__ import annotations

from dataclasses import dataclass

from symphony2vec.corpus import vocabulary
from symphony2vec.corpus.vocabulary import normalize

# Genres whose number counts within a name: the Peer Gynt Suite No. 1 is not the Arlésienne Suite No. 1.
NAMED_GENRES = vocabulary.WEAK_GENRES | {
    "Suite", "Mass", "Cantata", "Rhapsody", "Symphonic Dances", "Incidental Music",
}  # fmt: skip


@dataclass(frozen=True)
class WorkName:
    """What a text says about a work; fields it says nothing about are empty.

    Attributes:
        text: The text itself.
        catalogue: Catalogue numbers such as "op 18/1" or "k 550".
        is_collection: The text names several works, or a title that several works share.
        numbers: The numbers of the works of a collection, as in "Symphonies 5 & 7".
        candidates: Catalogue numbers of the works that share the title.
        end: Where in `text` the description of the work ends.
    """

    text: str
    catalogue: frozenset[str] = frozenset()
    genre: str = ""
    instruments: frozenset[str] = frozenset()
    number: int | None = None
    key: str = ""
    name: tuple[str, ...] = ()
    is_collection: bool = False
    numbers: tuple[int, ...] = ()
    candidates: frozenset[str] = frozenset()
    end: int = 0

    @property
    def is_specific(self) -> bool:
        """Return whether the text identifies a work, and not only a type of movement."""
        strong = self.genre and self.genre not in vocabulary.WEAK_GENRES
        return bool(self.catalogue or (strong and (self.number is not None or self.key)))

    @property
    def ordinal(self) -> str:
        """Genre, instruments and number as one string; empty without a genre and a number."""
        if not self.genre or self.number is None or self.is_collection:
            return ""
        name = " ".join(sorted(self.name)) if self.genre in NAMED_GENRES else ""
        return " ".join(filter(None, (self.genre, "+".join(sorted(self.instruments)), name, str(self.number))))

    @property
    def label(self) -> str:
        """A string that represents a work with neither catalogue number nor ordinal."""
        if self.is_collection or not self.genre:
            return " ".join(self.name) or normalize(self.text)
        tonic = self.key.split()[0] if self.key else ""
        return " ".join((self.genre, "+".join(sorted(self.instruments)), tonic, *self.name))


def keys_agree(first: str, second: str) -> bool:
    """Return whether two keys may be the same; "D" may be D major or D minor.

    Examples:
        >>> keys_agree("D", "D minor"), keys_agree("D major", "D minor")
        (True, False)
    """
    if first == second or not first or not second:
        return True
    tonics = [key.removesuffix(" major").removesuffix(" minor") for key in (first, second)]
    return tonics[0] == tonics[1] and (tonics[0] == first or tonics[1] == second)
