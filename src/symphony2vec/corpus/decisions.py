"""A user's decisions about similar names in a corpus, stored beside its catalogue so that every import applies them.

    data/<corpus>/decisions.csv    kind (composer, work, apart), composer, name, other

`composer` and `work` replace `name` by `other`; `apart` says that two works are different.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from symphony2vec.corpus import catalogue
from symphony2vec.corpus.vocabulary import normalize
from symphony2vec.errors import UserError

FILE = "decisions.csv"
COLUMNS = ("kind", "composer", "name", "other")


@dataclass
class Decisions:
    """Replacements of composers (by name) and works (by composer and name), and pairs of works that are different."""

    composers: dict[str, str] = field(default_factory=dict)
    works: dict[tuple[str, str], str] = field(default_factory=dict)
    distinct_works: set[tuple[str, str, str]] = field(default_factory=set)

    def merge(self, later: Decisions) -> Decisions:
        """Return these decisions together with later ones, which take precedence."""
        return Decisions(
            self.composers | later.composers, self.works | later.works, self.distinct_works | later.distinct_works
        )

    @property
    def distinct_keys(self) -> set[tuple[str, frozenset[str]]]:
        """The keys of the pairs of works that are different, as in `identity.SimilarNames.key`."""
        return {
            (normalize(composer), frozenset((normalize(name), normalize(other))))
            for composer, name, other in self.distinct_works
        }

    def rows(self) -> Iterator[dict[str, str]]:
        """Return the rows of the file, by column."""
        rows = [("composer", "", name, other) for name, other in sorted(self.composers.items())]
        rows += [("work", composer, name, other) for (composer, name), other in sorted(self.works.items())]
        rows += [("apart", *names) for names in sorted(self.distinct_works)]
        return (dict(zip(COLUMNS, row, strict=True)) for row in rows)


def read(folder: Path) -> Decisions:
    """Read the decisions about the corpus in `folder`; without a file there are none.

    Raises:
        UserError: The file cannot be read, or a row is of an unknown kind.
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
            decisions.distinct_works.add((composer, name, other))
        else:
            raise UserError(f"{folder / FILE}, row {row.number}: kind is '{kind}', expected composer, work or apart")
    return decisions


def write(folder: Path, decisions: Decisions) -> None:
    """Write the decisions about the corpus in `folder`, or remove the file if there are none."""
    rows = list(decisions.rows())
    if rows:
        catalogue.write_rows(folder / FILE, COLUMNS, rows)
    else:
        (folder / FILE).unlink(missing_ok=True)
