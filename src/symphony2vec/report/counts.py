"""Correctly classified clips and movements of each work for every model: enough to compare one model with all others.

The table needs neither models nor audio, so it can be published with the results of a study.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from symphony2vec.errors import UserError
from symphony2vec.evaluation import statistics
from symphony2vec.project import read_table
from symphony2vec.report.tables import ResultsEntry

KEYS = ["stage", "model", "readout", "fold", "work"]
COLUMNS = [*KEYS, *(column for columns in statistics.LEVELS.values() for column in columns if column)]
NEEDED = [*KEYS, *statistics.LEVELS["clip"]]
VERDICTS = {1: "significantly better", 0: "", -1: "significantly worse"}


def tabulate(kinds: Iterable[tuple[Sequence[str], Iterable[ResultsEntry]]]) -> pd.DataFrame:
    """Return one row for each entry, fold and test work, with the columns of `statistics.LEVELS`.

    Args:
        kinds: for each kind of split the names of its folds, and the entries on them.
    """
    parts = [
        works.assign(stage=entry.stage, model=entry.model, readout=entry.readout, fold=fold)[[*COLUMNS]]
        for folds, entries in kinds
        for entry in entries
        for fold, works in zip(folds, entry.works, strict=True)
    ]
    return pd.concat(parts, ignore_index=True).sort_values(KEYS, kind="stable", ignore_index=True)


def compare(path: Path, model: str, split: str, level: str, resamples: int, confidence: float, seed: int) -> str:
    """Return the differences between one model and all others as a table for a terminal.

    Args:
        path: a table of counts.
        model: such as "pca-mfcc" or "lstm-mel chunks"; with its stage if needed, such as "ali/encoder-128 crops".
        split: the kind of split whose folds are used.
        level: whether predictions of clips, movements or works are compared.
        resamples: bootstrap resamples.
        confidence: of the interval.
        seed: of the bootstrap.

    Raises:
        UserError: the file is missing or no table of counts, the model is unknown or ambiguous, or no other model was
            tested on the same folds.
    """
    counts_of: dict[str, dict[str, pd.DataFrame]] = {}
    for (stage, name, readout, fold), works in _read(path, split, level).groupby(["stage", "model", "readout", "fold"]):
        counts_of.setdefault(f"{stage}/{name} {readout}".strip(), {})[str(fold)] = works
    first = _find(model, list(counts_of), path)
    folds = sorted(counts_of[first])
    others = [name for name in counts_of if name != first and sorted(counts_of[name]) == folds]
    if not others:
        raise UserError(f"{path}: no other model was tested on the folds of {first} ({', '.join(folds)})")
    counts = statistics.count([[counts_of[name][fold] for fold in folds] for name in (first, *others)], level)
    low, high = statistics.paired_differences(statistics.bootstrap_accuracy(counts, resamples, seed), confidence)
    mean = 100.0 * counts.accuracy().mean(axis=1)
    lines = [f"{f'{first}, {mean[0]:.1f} %, minus':<38}{'accuracy':>9}{'difference':>12}  interval"]
    for place, name in enumerate(others, start=1):  # by name: test clips select nothing, not even an order
        ends = 100.0 * low[0, place], 100.0 * high[0, place]
        verdict = VERDICTS[statistics.significance(*ends, len(folds))]
        interval = f"[{ends[0]:+.1f}, {ends[1]:+.1f}]"
        lines.append(f"{name:<38}{mean[place]:>9.1f}{mean[0] - mean[place]:>+12.1f}  {interval:<16}{verdict}".rstrip())
    lines.append(
        f"accuracy on {level}s, differences in percentage points; {confidence:.0%} interval of a paired "
        f"bootstrap over {counts.clips.shape[2]} works, "
        f"mean of {len(folds)} fold{'' if len(folds) == 1 else 's'} by {split}"
    )
    if len(folds) < statistics.FEWEST_FOLDS:
        lines.append(f"with fewer than {statistics.FEWEST_FOLDS} folds no difference is called significant")
    return "\n".join(lines)


def _read(path: Path, split: str, level: str) -> pd.DataFrame:
    try:
        table = read_table(path, "report")
    except UserError as error:
        if path.is_file():
            raise UserError(f"{path} is not a table of counts (columns {', '.join(COLUMNS)})") from error
        raise
    missing = [column for column in NEEDED if column not in table]
    if missing:
        raise UserError(f"{path} is not a table of counts: column {missing[0]} is missing; needs {', '.join(NEEDED)}")
    if statistics.LEVELS[level][1] not in table:
        raise UserError(f"{path} has no counts of {level}s, only of clips; `dvc repro` writes both")
    selected = table[table["fold"].str.rpartition("-")[0] == split]
    if selected.empty:
        raise UserError(f"{path} has no fold of the split by {split}; it has {', '.join(sorted(set(table['fold'])))}")
    return selected


def _find(model: str, names: list[str], path: Path) -> str:
    """Return the full name of a model that is given with or without its stage."""
    model = " ".join(model.split())
    matches = [name for name in names if model in (name, name.partition("/")[2])]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"{path}: '{model}' is a model of several stages: {', '.join(matches)}; give the stage as well")
    short = [name.partition("/")[2] for name in names]
    similar = difflib.get_close_matches(model, [*short, *names], n=3) or short[:3]
    raise UserError(f"{path} has no model '{model}'; similar: {', '.join(similar)}")
