"""The starter corpus: 1,000 clips by five composers, from the scores that the package music21 contains.

The list is `starter.csv` beside this file. It contains four- and five-part scores without any claim of a publisher or
archive in the file, whose parts agree on the length of nearly every bar, and as many works as give each composer about
200 clips: 59 Bach chorales (one setting per tune, encodings used by permission of Margaret Greentree), 13 madrigals by
Monteverdi (books 3 and 4), and string quartets by Beethoven, Haydn and Mozart. Haydn has two works, so his clips are
split by movement.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path

from symphony2vec.corpus import catalogue
from symphony2vec.errors import UserError
from symphony2vec.project import atomic_file


def fill(folder: Path) -> int:
    """Copy the starter scores into `folder`, write its catalogue, and return the number of movements.

    The bytes are the same on every machine. Intact files are left as they are.

    Raises:
        UserError: music21 is not installed, or its corpus differs from the listed one.
    """
    scores = find_music21_scores()
    movements = list_movements()
    for movement in movements:
        target = folder / movement.path
        if target.is_file() and catalogue.checksum(target) == movement.sha256:
            continue
        score = scores / movement.path
        if not score.is_file() or catalogue.checksum(score) != movement.sha256:
            raise UserError(
                f"music21 {importlib.metadata.version('music21')} does not contain the expected {movement.path}; "
                "install the version that constraints.txt pins"
            )
        with atomic_file(target) as partial:
            shutil.copyfile(score, partial)
    catalogue.write(folder, movements)
    return len(movements)


def list_movements() -> list[catalogue.Movement]:
    """Return the movements of the starter corpus."""
    return catalogue.read_package_scores("starter.csv", "music21 corpus: ")


def find_music21_scores() -> Path:
    """Return the folder of music21's corpus.

    Raises:
        UserError: music21 is not installed.
    """
    spec = importlib.util.find_spec("music21")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "the starter corpus comes with the package music21, which is not installed: pip install music21"
        )
    return Path(spec.submodule_search_locations[0]) / "corpus"
