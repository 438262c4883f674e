"""What a text can say of a work, and when two of these statements contradict each other."""

from __future__ import annotations

from dataclasses import dataclass

from symphony2vec.corpus import vocabulary as words
from symphony2vec.corpus.vocabulary import fold

# A number counts within a name here: the Peer Gynt Suite No. 1 is not the Arlésienne Suite No. 1.
NAMED = words.WEAK | {"Suite", "Mass", "Cantata", "Rhapsody", "Symphonic Dances", "Incidental Music"}


@dataclass(frozen=True)
class WorkName:
    """What a text says of a work; empty where it says nothing of a thing.

    `catalogue` holds numbers as "op 18/1" or "k 550"; `several` marks a text that names a collection of works, or one
    whose title several works bear: `candidates` are then the numbers of those.
    """

    text: str
    catalogue: frozenset[str] = frozenset()
    genre: str = ""
    instruments: frozenset[str] = frozenset()
    number: int | None = None
    key: str = ""
    name: tuple[str, ...] = ()
    several: bool = False
    numbers: tuple[int, ...] = ()
    candidates: frozenset[str] = frozenset()
    end: int = 0

    @property
    def titled(self) -> bool:
        """Whether a title says with this which work it belongs to, and not only what kind of movement it is."""
        strong = self.genre and self.genre not in words.WEAK
        return bool(self.catalogue or (strong and (self.number is not None or self.key)))

    @property
    def ordinal(self) -> str:
        """Genre, instruments and number as one word; empty without a genre and a number."""
        if not self.genre or self.number is None or self.several:
            return ""
        named = " ".join(sorted(self.name)) if self.genre in NAMED else ""
        return " ".join(filter(None, (self.genre, "+".join(sorted(self.instruments)), named, str(self.number))))

    @property
    def label(self) -> str:
        """What stands for a work that has neither catalogue nor number."""
        if self.several or not self.genre:
            return " ".join(self.name) or fold(self.text)
        return " ".join(
            (self.genre, "+".join(sorted(self.instruments)), self.key.split()[0] if self.key else "", *self.name)
        )


def keys_agree(one: str, other: str) -> bool:
    """Whether two keys may be the same; "D" may be D major or D minor."""
    if one == other or not one or not other:
        return True
    tones = [key.removesuffix(" major").removesuffix(" minor") for key in (one, other)]
    return tones[0] == tones[1] and (tones[0] == one or tones[1] == other)
