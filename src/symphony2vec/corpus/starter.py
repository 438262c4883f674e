"""The starter corpus: 1,000 clips by five composers, out of the scores that the package music21 carries.

The list is `starter.csv` beside this file. Chosen were four- and five-part scores that carry no publisher's or
archive's claim in the file, whose parts agree on the length of nearly every bar, and as many works as give each
composer about 200 clips: 59 Bach chorales (one setting a tune, the encodings used by permission of Margaret Greentree),
13 of Monteverdi's madrigals (books 3 and 4), and string quartets by Beethoven, Haydn and Mozart. Haydn has two works
there, so his clips are split by movement.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import shutil
from importlib import resources
from pathlib import Path

from symphony2vec.corpus import catalogue
from symphony2vec.errors import UserError
from symphony2vec.project import atomic_file


def fill(folder: Path) -> int:
    """Copy the starter scores into `folder` and write its catalogue; returns how many movements it holds.

    The same bytes on every machine. A file that is there already and right is left as it is.

    Raises:
        UserError: music21 is not installed, or its corpus differs from the one the list was made from.
    """
    scores = packaged_folder()
    movements = listed()
    for movement in movements:
        there = folder / movement.path
        if there.is_file() and catalogue.checksum(there) == movement.sha256:
            continue
        packaged = scores / movement.path
        if not packaged.is_file() or catalogue.checksum(packaged) != movement.sha256:
            raise UserError(
                f"music21 {importlib.metadata.version('music21')} does not hold the expected {movement.path}; "
                "install the version that constraints.txt pins"
            )
        with atomic_file(there) as partial:
            shutil.copyfile(packaged, partial)
    catalogue.write(folder, movements)
    return len(movements)


def listed() -> list[catalogue.Movement]:
    """The movements of the starter corpus, as the package lists them."""
    text = resources.files("symphony2vec.corpus").joinpath("starter.csv").read_text(encoding="utf-8")
    return [
        catalogue.Movement(
            composer=row["composer"],
            work=row["work"],
            movement=row["movement"],
            path=row["path"],
            kind="score",
            licence=row["licence"],
            origin=f"music21 corpus: {row['path']}",
            sha256=row["sha256"],
        )
        for row in csv.DictReader(text.splitlines())
    ]


def packaged_folder() -> Path:
    """The folder of music21's corpus.

    Raises:
        UserError: music21 is not installed.
    """
    spec = importlib.util.find_spec("music21")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "the starter corpus comes with the package music21, which is not installed: pip install music21"
        )
    return Path(spec.submodule_search_locations[0]) / "corpus"
