"""What was found as tables: of one fold, and over the folds, with intervals over works and pairs of models.

A row is a model of one stage in one readout, as in `symphony2vec.report.tables`. Its value is the mean over the drawn
splits in which it could be measured; the interval comes from the paired bootstrap of
`symphony2vec.evaluation.statistics`: whole works drawn with replacement, the same for all rows and splits.

M rows, S folds, G works, R bootstrap resamples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.meaning.probes import Found
from symphony2vec.evaluation.meaning.retrieval import MEASURE
from symphony2vec.params import Probe
from symphony2vec.project import Project, read_table

NOTHING = [math.nan] * 5
FEW_WORKS = 3  # of fewer works no interval is given, and no pair is compared
COLUMNS = (
    "stage row model readout label measure value low high spread baseline folds clips works left_out reason".split()
)
PAIRS = "label measure a b difference low high better".split()
RETRIEVED = {"label": "what", "value": "map", "baseline": "chance", "clips": "queries"}  # as retrieval.csv calls them


@dataclass(frozen=True)
class Row:
    """One readout of one model: of each draw what was found, and the sums of its works."""

    stage: str
    model: str
    readout: str
    found: list[pd.DataFrame]
    works: list[pd.DataFrame]

    @property
    def name(self) -> str:
        """For people, as in "paper-40 crops"."""
        return f"{self.model} {self.readout}".strip()


def of_draw(found: Sequence[Found], settings: Probe) -> pd.DataFrame:
    """One line for each label and measure of one readout in one fold."""

    lines = []
    for one in found:
        ((value, low, high, _, baseline),) = _values([[one.table]], settings)[0] if len(one.table) else [NOTHING]
        lines.append(
            {
                **{"label": one.label, "measure": one.measure, "value": value, "low": low, "high": high},
                **{"baseline": baseline, "clips": int(one.table["clips"].sum()), "works": len(one.table)},
                **{"left_out": one.left_out, "unseen": one.unseen, "strength": one.strength, "reason": one.reason},
            }
        )
    return pd.DataFrame(lines)


def rows(project: Project, folds: Sequence[str]) -> list[Row]:
    """Every readout of every model that was asked on all of these folds."""

    rows = []
    for folder in sorted(project.out("meaning").glob("[!.]*/[!.]*")):
        if not all((folder / fold / "record.json").is_file() for fold in folds):
            continue
        works = [read_table(folder / fold / "works.csv", "meaning") for fold in folds]
        found = [pd.concat(_read(folder / fold), ignore_index=True) for fold in folds]
        for readout in found[0]["readout"].unique():
            own = [[table[table["readout"] == readout] for table in tables] for tables in (found, works)]
            rows.append(Row(folder.parent.name, folder.name, str(readout), *own))
    return rows


def _read(folder: Path) -> Iterator[pd.DataFrame]:
    """What was found in one fold, under the same names for probes and for retrieval."""
    yield read_table(folder / "meaning.csv", "meaning")
    retrieved = read_table(folder / "retrieval.csv", "meaning").assign(measure=MEASURE)
    yield retrieved.rename(columns={new: old for old, new in RETRIEVED.items()})


def over_draws(found: Sequence[Row], settings: Probe) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One line a row, label and measure; and one line a pair of rows, label and measure.

    A pair is `better` where the interval of its difference lies wholly on one side of 0.
    """

    lines, pairs = [], []
    asked = dict.fromkeys(pair for row in found for table in row.found for pair in _asked(table))
    for label, measure in asked:
        own = [[_about(table, label, measure) for table in row.works] for row in found]
        works = {work for tables in own for table in tables for work in table["work"]}
        values, drawn = _values(own, settings) if works else ([NOTHING] * len(found), None)
        for row, five, tables in zip(found, values, own, strict=True):
            lines.append(_line(row, label, measure, five, tables))
        if drawn is not None and len(works) >= FEW_WORKS:
            names, points = [f"{row.stage}/{row.name}" for row in found], [five[0] for five in values]
            pairs += [{"label": label, "measure": measure, **pair} for pair in _pairs(names, points, drawn, settings)]
    return pd.DataFrame(lines, columns=COLUMNS), pd.DataFrame(pairs, columns=PAIRS).round(4)


def _values(own: Sequence[Sequence[pd.DataFrame]], settings: Probe) -> tuple[list[list[float]], np.ndarray]:
    """Value, low, high, spread and baseline of each of M rows with S tables of works; and the values drawn (R, M)."""

    scores, baselines = (
        statistics.count([[_ratio(table, of) for table in tables] for tables in own]) for of in ("score", "baseline")
    )
    drawn = statistics.bootstrap_accuracy(scores, settings.bootstrap_resamples, settings.seed)
    low, high = statistics.interval(drawn, settings.confidence)
    if scores.clips.shape[2] < FEW_WORKS:
        low, high = np.full((2, len(own)), np.nan)
    found = []
    for number in range(len(own)):
        measured = scores.clips[number].sum(axis=1) > 0  # in these folds
        value, baseline = (
            counts.right[number, measured].sum(axis=1) / counts.clips[number, measured].sum(axis=1)
            for counts in (scores, baselines)
        )
        spread = value.std(ddof=1) if len(value) > 1 else math.nan
        found.append([float(one) for one in (value.mean(), low[number], high[number], spread, baseline.mean())])
    return found, drawn


def _ratio(table: pd.DataFrame, of: str) -> pd.DataFrame:
    """The sums of works as `comparison` reads them: what was scored, out of how much."""
    return table[["work"]].assign(right=table[of], clips=table["weight"])


def _asked(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    yield from zip(table["label"], table["measure"], strict=True)


def _about(table: pd.DataFrame, label: str, measure: str) -> pd.DataFrame:
    return table[(table["label"] == label) & (table["measure"] == measure)]


def _line(row: Row, label: str, measure: str, five: Sequence[float], works: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """A line of knowledge.csv: clips and works are those of a fold in the mean."""

    measured = [table for table in works if len(table)]
    found = pd.concat([_about(table, label, measure) for table in row.found])
    reasons = [reason for reason in found["reason"] if reason]
    value, low, high, spread, baseline = (round(one, 4) for one in five)
    return {
        **{"stage": row.stage, "row": row.name, "model": row.model, "readout": row.readout},
        **{"label": label, "measure": measure, "value": value, "low": low, "high": high},
        **{"spread": spread, "baseline": baseline, "folds": len(measured)},
        "clips": round(sum(int(table["clips"].sum()) for table in measured) / max(len(measured), 1)),
        "works": round(sum(len(table) for table in measured) / max(len(measured), 1)),
        "left_out": round(float(found["left_out"].mean())),
        "reason": "" if measured else reasons[0],
    }


def _pairs(
    names: Sequence[str], values: Sequence[float], drawn: np.ndarray, settings: Probe
) -> Iterator[dict[str, Any]]:
    low, high = statistics.paired_differences(drawn, settings.confidence)
    for i, j in itertools.combinations(range(len(names)), 2):
        better = "a" if low[i, j] > 0.0 else "b" if high[i, j] < 0.0 else ""
        interval = {"low": low[i, j], "high": high[i, j], "better": better}
        yield {"a": names[i], "b": names[j], "difference": values[i] - values[j], **interval}
