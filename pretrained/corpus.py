"""Fill data/base with three free sets of scores: OpenScore Orchestra, OpenScore String Quartets and Polish Heritage.

Run: python corpus.py [FOLDER]

FOLDER holds local copies of the sets, openscore-orchestra, openscore-quartets and polish-orchestral; without it the
scores are fetched with git. The catalogue joins those of the sets, with the full names of the composers. To keep the
rendering within an hour, it has the first works of a composer in a set (`MAX_WORKS`), the first movements of a work
(`MAX_MOVEMENTS`), and of a movement the first bars (`MAX_BARS`), about four minutes: a model is trained on 25 clips of
a movement at most.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from symphony2vec import parallel
from symphony2vec.corpus import catalogue, decisions, score_sets
from symphony2vec.errors import Unusable
from symphony2vec.project import Project
from symphony2vec.synthesis import notation

MAX_WORKS, MAX_MOVEMENTS, MAX_BARS = 12, 2, 96
LOCAL_COPIES = {"openscore": "openscore-orchestra", "quartets": "openscore-quartets", "polish": "polish-orchestral"}
FULL_NAMES = {  # OpenScore Orchestra has surnames
    "Bach": "Johann Sebastian Bach",
    "Beach": "Amy Beach",
    "Beethoven": "Ludwig van Beethoven",
    "Boulanger": "Lili Boulanger",
    "Brahms": "Johannes Brahms",
    "Bruckner": "Anton Bruckner",
    "Haydn": "Joseph Haydn",
    "Schubert": "Franz Schubert",
}


def fill(folder: Path, copies: Path | None) -> int:
    """Copy the scores below `folder`, write its catalogue, and return the number of movements.

    Args:
        folder: of the corpus.
        copies: a folder with local copies of the sets; None to fetch them.
    """
    movements: list[catalogue.Movement] = []
    distinct = decisions.Decisions()
    for score_set in (score_sets.OPENSCORE, score_sets.QUARTETS, score_sets.POLISH):
        copy = copies / LOCAL_COPIES[score_set.name] if copies else None
        score_sets.fill(folder / score_set.name, score_set, copy)
        movements += [
            replace(row, composer=FULL_NAMES.get(row.composer, row.composer), path=f"{score_set.name}/{row.path}")
            for row in limit_movements(score_set.list_movements())
        ]
        distinct = distinct.merge(decisions.Decisions(distinct_works=set(score_set.distinct_works)))
    shorten = functools.partial(end_early, folder)
    for index, shortened in parallel.spread(shorten, list(movements), "bars", "movement"):
        if not isinstance(shortened, Unusable):  # the stage `audio` reports the score
            movements[index] = shortened
    catalogue.write(folder, movements)
    decisions.write(folder, distinct)
    return len(movements)


def limit_movements(movements: Sequence[catalogue.Movement]) -> list[catalogue.Movement]:
    """Return the first movements of the first works of every composer."""
    works: dict[str, Counter[str]] = defaultdict(Counter)
    limited = []
    for movement in movements:
        counts = works[movement.composer]
        counts[movement.work] += 1
        if len(counts) <= MAX_WORKS and counts[movement.work] <= MAX_MOVEMENTS:
            limited.append(movement)
    return limited


def end_early(folder: Path, movement: catalogue.Movement) -> catalogue.Movement:
    """Return the movement, ended after `MAX_BARS` bars if it is longer and its parts agree on the bars.

    Raises:
        Unusable: the score cannot be read.
    """
    first, last = movement.start or 1.0, movement.end
    if last is None:
        parts, _ = notation.read_score(folder / movement.path)
        counts = {len(part.bars_q) - 1 for part in parts}
        if len(counts) > 1:
            return movement
        last = float(counts.pop())
    return movement if last - first < MAX_BARS else replace(movement, end=first + MAX_BARS - 1)


if __name__ == "__main__":
    count = fill(Project.around(Path(__file__).parent).corpus("base"), Path(sys.argv[1]) if sys.argv[1:] else None)
    print(f"data/base: {count} movements")
