"""What a person decided about look-alike names of a corpus, kept beside its catalogue so that every import heeds it.

    data/<corpus>/decisions.csv    kind (composer, work, apart), composer, name, other

`composer` and `work` make `name` the same as `other`; `apart` says that two works are not one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from symphony2vec.corpus import catalogue
from symphony2vec.corpus.vocabulary import fold
from symphony2vec.errors import UserError

FILE = "decisions.csv"
COLUMNS = ("kind", "composer", "name", "other")


@dataclass
class Decisions:
    """Composers by the name they are to have, works by composer and name, and pairs that are kept apart."""

    composers: dict[str, str] = field(default_factory=dict)
    works: dict[tuple[str, str], str] = field(default_factory=dict)
    apart: set[tuple[str, str, str]] = field(default_factory=set)

    def updated(self, later: Decisions) -> Decisions:
        """These decisions, and later ones that go before them."""
        return Decisions(self.composers | later.composers, self.works | later.works, self.apart | later.apart)

    @property
    def answered(self) -> set[tuple[str, frozenset[str]]]:
        """The keys of the questions that were answered with no."""
        return {(fold(composer), frozenset((fold(name), fold(other)))) for composer, name, other in self.apart}

    def rows(self) -> Iterator[dict[str, str]]:
        """The rows of the file."""
        rows = [("composer", "", name, other) for name, other in sorted(self.composers.items())]
        rows += [("work", composer, name, other) for (composer, name), other in sorted(self.works.items())]
        rows += [("apart", *names) for names in sorted(self.apart)]
        return (dict(zip(COLUMNS, row, strict=True)) for row in rows)


def read(folder: Path) -> Decisions:
    """The decisions about the corpus in `folder`; none where there is no file.

    Raises:
        UserError: the file cannot be read, or a row has another kind.
    """
    decisions = Decisions()
    if not (folder / FILE).is_file():
        return decisions
    for row in catalogue.read_rows(folder / FILE, COLUMNS):
        kind, composer, name, other = (row.get(column) for column in COLUMNS)
        if kind == "composer":
            decisions.composers[name] = other
        elif kind == "work":
            decisions.works[composer, name] = other
        elif kind == "apart":
            decisions.apart.add((composer, name, other))
        else:
            raise UserError(f"{folder / FILE}, row {row.number}: kind is '{kind}', expected composer, work or apart")
    return decisions


def write(folder: Path, decisions: Decisions) -> None:
    """Write the decisions about the corpus in `folder`; without any, no file."""
    rows = list(decisions.rows())
    if rows:
        catalogue.write_rows(folder / FILE, COLUMNS, rows)
    else:
        (folder / FILE).unlink(missing_ok=True)
