"""Tables of the report, from what the stages wrote.

A row is a model of one stage in one *readout* (see `symphony2vec.evaluation.probe`). Accuracies are shares; `accuracy`
is the mean over the folds, `spread` their standard deviation, `accuracy_low` and `accuracy_high` the interval
over works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from symphony2vec.errors import UserError
from symphony2vec.evaluation import statistics
from symphony2vec.project import Project, read_json, read_table

# Test accuracy in percent, from Tables 3, 4 and 7 of the paper and the text before Table 7.
PAPER = {
    ("classifiers", "ff-chroma"): 38.6257,
    ("classifiers", "ff-mfcc"): 57.8605,
    ("classifiers", "ff-mel"): 52.3438,
    ("classifiers", "cnn-chroma"): 36.8558,
    ("classifiers", "cnn-mfcc"): 52.8371,
    ("classifiers", "cnn-mel"): 55.7292,
    ("classifiers", "lstm-chroma chunks"): 25.1171,
    ("classifiers", "lstm-mfcc chunks"): 25.1171,
    ("classifiers", "lstm-mel chunks"): 25.2131,
    ("classifiers", "ff-crop"): 35.81,
    ("embeddings", "ae-chroma"): 39.43,
    ("embeddings", "cae-chroma"): 40.60,
    ("embeddings", "vae-chroma"): 38.73,
    ("embeddings", "pca-chroma"): 35.89,
    ("embeddings", "ae-mfcc"): 39.41,
    ("embeddings", "cae-mfcc"): 36.65,
    ("embeddings", "vae-mfcc"): 45.45,
    ("embeddings", "pca-mfcc"): 36.65,
    ("embeddings", "ae-mel"): 34.77,
    ("embeddings", "cae-mel"): 34.38,
    ("embeddings", "vae-mel"): 36.85,
    ("embeddings", "pca-mel"): 28.24,
    ("ali", "paper-256"): 29.91,
    ("ali", "paper-128"): 28.67,
    ("ali", "paper-40"): 28.67,
    ("ali", "encoder-128"): 40.63,
}
PAPER_TRAIN = {("ali", "paper-256"): 38.24, ("ali", "paper-128"): 35.25, ("ali", "paper-40"): 33.21}
COLUMNS = (
    "stage row model readout accuracy accuracy_low accuracy_high spread macro_f1 train_accuracy validation_accuracy "
    "majority paper folds clips works"
).split()


@dataclass(frozen=True)
class Row:
    """One readout of one model, on the folds of one kind: their scores, and their works with clips and right."""

    stage: str
    model: str
    readout: str
    scores: list[dict[str, Any]]
    works: list[pd.DataFrame]

    @property
    def name(self) -> str:
        """For people, as in "lstm-mel chunks"."""
        return f"{self.model} {self.readout}".strip()


def rows(project: Project, folds: Sequence[str]) -> list[Row]:
    """Every readout of every model that was probed on all of these folds.

    Raises:
        UserError: there is none.
    """
    found = []
    for folder in sorted(project.out("probe").glob("[!.]*/[!.]*")):
        if all((folder / fold / "scores.json").is_file() for fold in folds):
            found += _readouts(folder, folds)
    if not found:
        raise UserError(f"no scores below {project.out('probe')}; `dvc repro probe` writes them")
    return found


def _readouts(folder: Path, folds: Sequence[str]) -> list[Row]:
    told = [read_json(folder / fold / "scores.json", "probe")["scores"] for fold in folds]
    told = [[{**one, "clips": scores[0]["clips"]} for one in scores] for scores in told]  # of chunks, count their clips
    works = [read_table(folder / fold / "works.csv", "probe") for fold in folds]
    return [
        Row(
            folder.parent.name,
            folder.name,
            one["readout"],
            [scores[number] for scores in told],
            [table[table["readout"] == one["readout"]] for table in works],
        )
        for number, one in enumerate(told[0])
    ]


def results(found: list[Row], resamples: int, confidence: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One line a row, and one line a pair of rows.

    The best on *validation* stands first: the test clips choose nothing, not even the order of a table. `better` names
    the row of a pair that is significantly better (see `statistics.significance`): neither where the interval holds 0,
    or folds are few.
    """

    counts = statistics.count([row.works for row in found])
    drawn = statistics.bootstrap_accuracy(counts, resamples, seed)
    low, high = statistics.interval(drawn, confidence)
    lines = []
    for number, row in enumerate(found):
        mean = {name: float(np.mean([one[name] for one in row.scores])) for name in MEANS}
        accuracy = counts.accuracy()[number]
        lines.append(
            {
                "stage": row.stage,
                "row": row.name,
                "model": row.model,
                "readout": row.readout,
                "accuracy": accuracy.mean(),
                "accuracy_low": low[number],
                "accuracy_high": high[number],
                "spread": accuracy.std(ddof=1) if len(accuracy) > 1 else np.nan,
                "macro_f1": mean["test_macro_f1"],
                "train_accuracy": mean["train_accuracy"],
                "validation_accuracy": mean["validation_accuracy"],
                "majority": mean["majority_accuracy"],
                "paper": PAPER.get((row.stage, row.name), np.nan) / 100.0,
                "folds": len(row.scores),
                "clips": round(float(np.mean([one["clips"]["test"] for one in row.scores]))),
                "works": round(float(np.mean([one["test_works"] for one in row.scores]))),
            }
        )
    table = pd.DataFrame(lines, columns=COLUMNS)
    order = table.sort_values(["validation_accuracy", "row"], ascending=[False, True]).index
    return table.loc[order].round(6).reset_index(drop=True), _pairs(table.loc[order], drawn[:, order], confidence)


MEANS = ("test_macro_f1", "train_accuracy", "validation_accuracy", "majority_accuracy")


def _pairs(table: pd.DataFrame, drawn: Any, confidence: float) -> pd.DataFrame:
    low, high = statistics.paired_differences(drawn, confidence)
    names, accuracy = [f"{s}/{r}" for s, r in zip(table["stage"], table["row"], strict=True)], table["accuracy"]
    first, second = np.triu_indices(len(names), k=1)
    difference = accuracy.to_numpy()[first] - accuracy.to_numpy()[second]
    pairs = {
        "a": [names[i] for i in first],
        "b": [names[i] for i in second],
        "difference": difference.round(6),
        "low": low[first, second].round(6),
        "high": high[first, second].round(6),
    }
    ends = zip(low[first, second], high[first, second], strict=True)
    better = [("", "a", "b")[statistics.significance(*one, folds=int(table["folds"].max()))] for one in ends]
    return pd.DataFrame(pairs | {"better": better})


def leak(found: Mapping[str, list[Row]], resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """Every row under every kind of split: stage, model, split, mean, low, high, majority, folds; and how far it lies
    above itself under the first kind: difference, difference_low, difference_high (nothing for the first).

    Args:
        found: the rows on the folds of each kind of split; the first kind counts.
        resamples: bootstrap resamples; the works are the same for both sides of a difference.
        confidence: of the interval.
        seed: of the bootstrap.
    """

    bootstrap = (resamples, confidence, seed)
    first = next(iter(found))
    parts = []
    for kind, own in found.items():
        table, _ = results(own, *bootstrap)
        renamed = table.rename(columns={"accuracy": "mean", "accuracy_low": "low", "accuracy_high": "high"})
        part = renamed[["stage", "row", "mean", "low", "high", "majority", "folds"]].assign(split=kind)
        told = _above(found[first], own if kind != first else [], *bootstrap)
        parts.append(part.merge(told, how="left", on=["stage", "row"]))
    return pd.concat(parts, ignore_index=True).rename(columns={"row": "model"})


def _above(before: list[Row], after: list[Row], resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """How far each row lies above itself on other folds, where it is on both."""

    columns = ["stage", "row", "difference", "difference_low", "difference_high"]
    known = {(row.stage, row.name): row for row in before}
    both = [(known[row.stage, row.name], row) for row in after if (row.stage, row.name) in known]
    if not both:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(columns[2:], float))
    counts = statistics.count([[*one.works, *other.works] for one, other in both])
    cut = len(both[0][0].works)
    sides = [counts.of_folds(slice(None, cut)), counts.of_folds(slice(cut, None))]
    drawn = [statistics.bootstrap_accuracy(side, resamples, seed) for side in sides]
    apart = drawn[1] - drawn[0]
    ends = statistics.interval(apart[~np.isnan(apart).any(axis=1)], confidence)  # a side may have had none of its works
    means = [side.accuracy().mean(axis=1) for side in sides]
    values = np.round([means[1] - means[0], *ends], 6)
    names = [(row.stage, row.name) for _, row in both]
    return pd.DataFrame([(*name, *value) for name, value in zip(names, values.T, strict=True)], columns=columns)


def meaning(project: Project) -> dict[str, pd.DataFrame]:
    """The tables of the stage `meaning` as knowledge and retrieval, or nothing where it has not run."""
    paths = {name: project.out("meaning", f"{name}.csv") for name in ("knowledge", "retrieval")}
    return {name: read_table(path, "meaning") for name, path in paths.items() if path.is_file()}


def side_by_side(lines: pd.DataFrame, headings: Sequence[str], order: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Lines of knowledge or retrieval as one table.

    Args:
        lines: stage, row, readout, reason and what a cell shows.
        headings: the column of each line.
        order: stages and rows as they are to stand; others come last.

    Returns:
        columns: the headings under which something was measured; rows: stage, row and readout, each with a line (or
        None) for every column; reasons: the headings of what could not be measured, by the reason.
    """
    own = lines.assign(heading=headings)
    reasons = own.groupby("heading", sort=False)["reason"].agg(lambda told: min(told, key=len))
    columns = [str(name) for name, reason in reasons.items() if reason == ""]
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for line in own.to_dict("records"):
        rows.setdefault((line["stage"], line["row"], line["readout"]), {})[line["heading"]] = line
    place = {name: number for number, name in enumerate(order)}
    missing = reasons[reasons != ""]
    return {
        "columns": columns,
        "rows": {
            key: [rows[key].get(name) for name in columns]
            for key in sorted(rows, key=lambda key: place.get(key[:2], len(place)))
        },
        "reasons": {reason: list(missing.index[missing == reason]) for reason in missing.unique()},
    }


def corpus(movements: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """One row a composer of the corpus: works, movements, minutes, clips, kinds and licences."""

    lines = []
    for composer, own in movements.groupby("composer", sort=True):
        lines.append(
            {
                "composer": composer,
                "works": own["work"].nunique(),
                "movements": len(own),
                "minutes": round(float(own["duration_s"].sum()) / 60.0, 1),
                "clips": int((clips["composer"] == composer).sum()),
                "kind": ", ".join(sorted(own["kind"].unique())),
                "licence": "; ".join(sorted(own["licence"].unique())),
            }
        )
    return pd.DataFrame(lines)


def claims(project: Project, models: Sequence[str], folds: Sequence[str]) -> pd.DataFrame:
    """What became of the paper's claim on the latent space: these ALI models on every fold, source and measure."""

    parts = []
    for model in models:
        for fold in folds:
            path = project.out("ali", model, fold, "latent.csv")
            if path.is_file():
                table = read_table(path, "ali")
                table.insert(0, "fold", fold)
                table.insert(0, "model", model)
                parts.append(table)
    columns = ["model", "fold", "source", "measure", "rho", "low", "high", "range_db", "crops"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
