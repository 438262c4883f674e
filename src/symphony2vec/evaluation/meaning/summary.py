"""Tables of probes and retrieval: of one fold, and over folds with intervals over works and pairs of models.

A row is one readout of one model. Its value is the mean over the folds in which it could be measured; the interval is
the paired bootstrap of `symphony2vec.evaluation.statistics`, with the same resampled works for all rows and folds.

M rows, S folds, G works, R bootstrap resamples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.meaning.probes import Measurement
from symphony2vec.evaluation.retrieval import MEASURE
from symphony2vec.params import Probe
from symphony2vec.project import Project, read_table

FEW_WORKS = 3  # with fewer works no interval is given, and no pair is compared
COLUMNS = (
    "stage entry model readout label measure value low high spread baseline folds clips works left_out reason".split()
)
PAIRS = "label measure a b difference low high better".split()
RETRIEVED = {"label": "what", "value": "map", "baseline": "chance", "clips": "queries"}  # columns of retrieval.csv


class Estimate(NamedTuple):
    """The mean over folds, its interval over works, its standard deviation over folds, and the baseline."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    spread: float = math.nan
    baseline: float = math.nan


@dataclass(frozen=True)
class MeaningEntry:
    """One readout of one model: for each fold its table of measures, and the sums of its works."""

    stage: str
    model: str
    readout: str
    measures: list[pd.DataFrame]
    works: list[pd.DataFrame]

    @property
    def name(self) -> str:
        """Return the display name, such as "paper-40 crops"."""
        return f"{self.model} {self.readout}".strip()


def tabulate_fold(measurements: Sequence[Measurement], settings: Probe) -> pd.DataFrame:
    """Return one row for each measurement of one readout on one fold."""
    lines = []
    for measurement in measurements:
        table, estimate = measurement.table, Estimate()
        if len(table):
            (estimate,), _ = _estimate([[table]], settings)
        lines.append(
            {
                **{"label": measurement.label, "measure": measurement.measure, "value": estimate.value},
                **{"low": estimate.low, "high": estimate.high, "baseline": estimate.baseline},
                **{"clips": int(table["clips"].sum()), "works": len(table), "left_out": measurement.left_out},
                **{"unseen": measurement.unseen, "strength": measurement.strength, "reason": measurement.reason},
            }
        )
    return pd.DataFrame(lines)


def read_entries(project: Project, folds: Sequence[str]) -> list[MeaningEntry]:
    """Return every readout of every model that was evaluated on all of these folds."""
    entries = []
    for folder in sorted(project.out("meaning", folds[0]).glob("[!.]*/[!.]*")):
        stage, model = folder.parts[-2:]
        folders = [project.out("meaning", fold, stage, model) for fold in folds]
        if not all((of_fold / "works.csv").is_file() for of_fold in folders):
            continue
        works = [read_table(of_fold / "works.csv", "meaning") for of_fold in folders]
        measures = [pd.concat(_read_measures(of_fold), ignore_index=True) for of_fold in folders]
        for readout in measures[0]["readout"].unique():
            parts = [[table[table["readout"] == readout] for table in tables] for tables in (measures, works)]
            entries.append(MeaningEntry(stage, model, str(readout), *parts))
    return entries


def _read_measures(folder: Path) -> Iterator[pd.DataFrame]:
    """Yield the tables of probes and of retrieval of one fold, under the same column names."""
    yield read_table(folder / "meaning.csv", "meaning")
    retrieval = read_table(folder / "retrieval.csv", "meaning").assign(measure=MEASURE)
    yield retrieval.rename(columns={new: old for old, new in RETRIEVED.items()})


def summarize_folds(entries: Sequence[MeaningEntry], settings: Probe) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row for each entry, label and measure; and one for each pair of entries, label and measure.

    In a pair, `better` names the entry ("a" or "b") that is significantly better: the interval excludes 0.
    """
    lines, pairs = [], []
    tables = [table for entry in entries for table in entry.measures]
    keys = dict.fromkeys(key for table in tables for key in zip(table["label"], table["measure"], strict=True))
    names = [f"{entry.stage}/{entry.name}" for entry in entries]
    for label, measure in keys:
        works_of = [[_select(table, label, measure) for table in entry.works] for entry in entries]
        works = {work for tables in works_of for table in tables for work in table["work"]}
        estimates, resampled = _estimate(works_of, settings) if works else ([Estimate()] * len(entries), None)
        for entry, estimate, tables in zip(entries, estimates, works_of, strict=True):
            lines.append(_line(entry, label, measure, estimate, tables))
        if resampled is not None and len(works) >= FEW_WORKS:
            values = [estimate.value for estimate in estimates]
            for pair in _pairs(names, values, resampled, settings):
                pairs.append({"label": label, "measure": measure, **pair})
    return pd.DataFrame(lines, columns=COLUMNS), pd.DataFrame(pairs, columns=PAIRS).round(4)


def _estimate(tables: Sequence[Sequence[pd.DataFrame]], settings: Probe) -> tuple[list[Estimate], np.ndarray]:
    """Return the estimates of M entries with S tables of works each, and their resampled values (R, M)."""
    scores, baselines = (
        statistics.count(
            [[table[["work"]].assign(right=table[name], clips=table["weight"]) for table in folds] for folds in tables]
        )
        for name in ("score", "baseline")
    )
    resampled = statistics.bootstrap_accuracy(scores, settings.bootstrap_resamples, settings.seed)
    low, high = statistics.interval(resampled, settings.confidence)
    if scores.clips.shape[2] < FEW_WORKS:
        low, high = np.full((2, len(tables)), np.nan)
    estimates = []
    for number in range(len(tables)):
        measured = scores.clips[number].sum(axis=1) > 0  # the folds in which it could be measured
        value, baseline = (
            counts.right[number, measured].sum(axis=1) / counts.clips[number, measured].sum(axis=1)
            for counts in (scores, baselines)
        )
        spread = value.std(ddof=1) if len(value) > 1 else math.nan
        estimates.append(Estimate(*map(float, (value.mean(), low[number], high[number], spread, baseline.mean()))))
    return estimates, resampled


def _select(table: pd.DataFrame, label: str, measure: str) -> pd.DataFrame:
    return table[(table["label"] == label) & (table["measure"] == measure)]


def _line(
    entry: MeaningEntry, label: str, measure: str, estimate: Estimate, works: Sequence[pd.DataFrame]
) -> dict[str, Any]:
    """Return a row of attributes.csv; clips and works are means over the folds."""
    measured = [table for table in works if len(table)]
    rows = pd.concat([_select(table, label, measure) for table in entry.measures])
    reasons = [reason for reason in rows["reason"] if reason]
    return {
        **{"stage": entry.stage, "entry": entry.name, "model": entry.model, "readout": entry.readout},
        **{"label": label, "measure": measure, "folds": len(measured)},
        **{name: round(number, 4) for name, number in estimate._asdict().items()},
        "clips": round(sum(int(table["clips"].sum()) for table in measured) / max(len(measured), 1)),
        "works": round(sum(len(table) for table in measured) / max(len(measured), 1)),
        "left_out": round(float(rows["left_out"].mean())),
        "reason": "" if measured else reasons[0],
    }


def _pairs(
    names: Sequence[str], values: Sequence[float], resampled: np.ndarray, settings: Probe
) -> Iterator[dict[str, Any]]:
    low, high = statistics.paired_differences(resampled, settings.confidence)
    for i, j in itertools.combinations(range(len(names)), 2):
        better = "a" if low[i, j] > 0.0 else "b" if high[i, j] < 0.0 else ""
        interval = {"low": low[i, j], "high": high[i, j], "better": better}
        yield {"a": names[i], "b": names[j], "difference": values[i] - values[j], **interval}
