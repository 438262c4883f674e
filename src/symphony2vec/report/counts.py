"""How many clips of each work every row names rightly, and from that alone one row against every other.

Who has this table needs no model and no sound to compare rows, so it can be published beside a study's figures.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from symphony2vec.errors import UserError
from symphony2vec.evaluation import statistics
from symphony2vec.project import read_table
from symphony2vec.report.tables import Row

COLUMNS = ("stage", "model", "readout", "fold", "work", "clips", "right")
SPLITS = {1: "is better", 0: "", -1: "is worse"}


def table(found: Iterable[tuple[Sequence[str], Iterable[Row]]]) -> pd.DataFrame:
    """One line a row, draw and test work: its clips (of a row of chunks its chunks), and those named rightly.

    Args:
        found: for each kind of split the names of its folds, and the rows on them.
    """

    parts = [
        works.assign(stage=row.stage, model=row.model, readout=row.readout, fold=fold)[[*COLUMNS]]
        for folds, own in found
        for row in own
        for fold, works in zip(folds, row.works, strict=True)
    ]
    return pd.concat(parts, ignore_index=True).sort_values([*COLUMNS[:5]], kind="stable", ignore_index=True)


def against(path: Path, words: str, split: str, resamples: int, confidence: float, seed: int) -> str:
    """How far a row lies above every other by the paired bootstrap over works, as a table for a terminal.

    Args:
        path: such a table.
        words: the row's name, as "pca-mfcc" or "lstm-mel chunks"; with its stage where that is needed, as
            "ali/encoder-128 crops".
        split: the kind of split that counts; others are left out.
        resamples: bootstrap resamples.
        confidence: of the interval.
        seed: of the bootstrap.

    Raises:
        UserError: the table is missing or another one, no row or several are meant, or none is on the same folds.
    """
    own = _on(path, split)
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    for (stage, model, readout, fold), works in own.groupby(["stage", "model", "readout", "fold"]):
        tables.setdefault(f"{stage}/{model} {readout}".strip(), {})[str(fold)] = works
    name = _meant(words, list(tables), path)
    folds = sorted(tables[name])
    others = [other for other in tables if other != name and sorted(tables[other]) == folds]
    if not others:
        raise UserError(f"{path}: no other row is on the folds of {name} ({', '.join(folds)})")
    found = statistics.count([[tables[one][fold] for fold in folds] for one in (name, *others)])
    low, high = statistics.paired_differences(statistics.bootstrap_accuracy(found, resamples, seed), confidence)
    mean = 100.0 * found.accuracy().mean(axis=1)
    lines = [f"{f'{name}, {mean[0]:.1f} %, less':<38}{'accuracy':>9}{'difference':>12}  interval"]
    for place in range(1, len(mean)):  # in the order of their names: test clips choose nothing, no order either
        ends = 100.0 * low[0, place], 100.0 * high[0, place]
        told = f"{f'[{ends[0]:+.1f}, {ends[1]:+.1f}]':<16}{SPLITS[statistics.significance(*ends, len(folds))]}"
        lines.append(f"{others[place - 1]:<38}{mean[place]:>9.1f}{mean[0] - mean[place]:>+12.1f}  {told}".rstrip())
    lines.append(
        f"points; {confidence:.0%} of a paired bootstrap over {found.clips.shape[2]} works, mean of {len(folds)} drawn "
        f"split{'' if len(folds) == 1 else 's'} by {split}"
    )
    if len(folds) < statistics.FEWEST_FOLDS:
        lines.append(f"with fewer than {statistics.FEWEST_FOLDS} folds no row is said to be better")
    return "\n".join(lines)


def _on(path: Path, split: str) -> pd.DataFrame:
    try:
        table = read_table(path, "report")
    except UserError as fault:
        if path.is_file():
            raise UserError(f"{path} is no table of counts, which has the columns {', '.join(COLUMNS)}") from fault
        raise
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise UserError(
            f"{path} is no table of counts: it lacks the column {missing[0]}; it needs {', '.join(COLUMNS)}"
        )
    own = table[table["fold"].str.rpartition("-")[0] == split]
    if own.empty:
        raise UserError(f"{path} has no fold of the split by {split}; it has {', '.join(sorted(set(table['fold'])))}")
    return own


def _meant(words: str, names: list[str], path: Path) -> str:
    """The one name that is meant, with or without its stage."""
    wanted = " ".join(words.split())
    found = [name for name in names if wanted in (name, name.partition("/")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{path}: '{wanted}' is a row of several stages: {', '.join(found)}; give the stage as well")
    known = [name.partition("/")[2] for name in names]
    near = difflib.get_close_matches(wanted, [*known, *names], n=3) or known[:3]
    raise UserError(f"{path} has no row '{wanted}'; there is {', '.join(near)}")
