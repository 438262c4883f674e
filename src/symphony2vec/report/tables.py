"""Tables of the report: test accuracies, differences between models, leakage, corpus, probes.

An entry is one *readout* of one model (see `symphony2vec.evaluation.probe`). Accuracies are shares; `accuracy` is the
mean over folds, `spread` the standard deviation over folds, `accuracy_low` and `accuracy_high` the interval over works.
These are of clips; `movement_accuracy` and `work_accuracy`, each with its interval, are of movements and of works.

M entries, S folds, R bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from symphony2vec.errors import UserError
from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.meaning import summary
from symphony2vec.evaluation.retrieval import MEASURE
from symphony2vec.params import Probe
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
    "stage entry model readout accuracy accuracy_low accuracy_high spread macro_f1 "
    "movement_accuracy movement_accuracy_low movement_accuracy_high movement_macro_f1 "
    "work_accuracy work_accuracy_low work_accuracy_high work_macro_f1 train_accuracy validation_accuracy "
    "majority movement_majority work_majority paper folds clips movements works"
).split()
# The accuracy of each level.
ACCURACIES = {"clip": "accuracy", "movement": "movement_accuracy", "work": "work_accuracy"}
# Columns of the results that are means over folds, by their name in scores.json.
MEANS = {
    "macro_f1": "test_macro_f1",
    "movement_macro_f1": "test_movement_macro_f1",
    "work_macro_f1": "test_work_macro_f1",
    "train_accuracy": "train_accuracy",
    "validation_accuracy": "validation_accuracy",
    "majority": "majority_accuracy",
    "movement_majority": "majority_movement_accuracy",
    "work_majority": "majority_work_accuracy",
}
# Columns that are mean numbers of test items, by their name in scores.json.
COUNTS = {"movements": "test_movements", "works": "test_works"}
DIFFERENCES = ["difference", "difference_low", "difference_high"]
LATENT_COLUMNS = ["model", "fold", "source", "measure", "rho", "low", "high", "range_db", "crops"]


@dataclass(frozen=True)
class ResultsEntry:
    """One readout of one model on the folds of one kind of split.

    Attributes:
        stage, model, readout: names.
        scores: the scores of each fold, as in scores.json.
        works: for each fold the test works with their clips and correctly predicted clips.
    """

    stage: str
    model: str
    readout: str
    scores: list[dict[str, Any]]
    works: list[pd.DataFrame]

    @property
    def name(self) -> str:
        """Return the display name, such as "lstm-mel chunks"."""
        return f"{self.model} {self.readout}".strip()


def read_entries(project: Project, folds: Sequence[str]) -> list[ResultsEntry]:
    """Return every readout of every model that was probed on all of these folds.

    Raises:
        UserError: there is none.
    """
    entries = []
    for folder in sorted(project.out("probe", folds[0]).glob("[!.]*/[!.]*")):
        stage, model = folder.parts[-2:]
        folders = [project.out("probe", fold, stage, model) for fold in folds]
        if not all((of_fold / "scores.json").is_file() for of_fold in folders):
            continue
        scores = [read_json(of_fold / "scores.json", "probe")["scores"] for of_fold in folders]
        works = [read_table(of_fold / "works.csv", "probe") for of_fold in folders]
        for number, readout in enumerate(values["readout"] for values in scores[0]):
            # Also of chunks the number of clips is reported, which the main readout has.
            of_readout = [{**of_fold[number], "clips": of_fold[0]["clips"]} for of_fold in scores]
            works_of_readout = [table[table["readout"] == readout] for table in works]
            entries.append(ResultsEntry(stage, model, readout, of_readout, works_of_readout))
    if not entries:
        raise UserError(f"no scores below {project.out('probe')}; `dvc repro probe` writes them")
    return entries


def tabulate_results(
    entries: list[ResultsEntry], resamples: int, confidence: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row for each entry, and one row for each level and pair of entries.

    Entries are ordered by *validation* accuracy: test clips select nothing, not even the order of a table. In a pair,
    `better` names the entry ("a" or "b") that is significantly better (see `statistics.significance`).

    Args:
        entries: on the same folds.
        resamples: bootstrap resamples.
        confidence: of the intervals.
        seed: of the bootstrap.
    """
    lines: list[dict[str, Any]] = [
        {
            **{"stage": entry.stage, "entry": entry.name, "model": entry.model, "readout": entry.readout},
            **{name: _mean(entry, key) for name, key in MEANS.items()},
            "paper": PAPER.get((entry.stage, entry.name), np.nan) / 100.0,
            "folds": len(entry.scores),
            "clips": round(float(np.mean([values["clips"]["test"] for values in entry.scores]))),
            **{name: round(_mean(entry, key)) for name, key in COUNTS.items()},
        }
        for entry in entries
    ]
    resampled_of = {}
    for level, column in ACCURACIES.items():
        counts = statistics.count([entry.works for entry in entries], level)
        resampled_of[level] = statistics.bootstrap_accuracy(counts, resamples, seed)
        low, high = statistics.interval(resampled_of[level], confidence)
        for number, (line, accuracy) in enumerate(zip(lines, counts.accuracy(), strict=True)):
            line |= {column: accuracy.mean(), f"{column}_low": low[number], f"{column}_high": high[number]}
            if level == "clip":
                line["spread"] = accuracy.std(ddof=1) if len(accuracy) > 1 else np.nan
    table = pd.DataFrame(lines, columns=COLUMNS)
    order = table.sort_values(["validation_accuracy", "entry"], ascending=[False, True]).index
    table = table.loc[order]
    pairs = [_tabulate_pairs(table, level, of_level[:, order], confidence) for level, of_level in resampled_of.items()]
    return table.round(6).reset_index(drop=True), pd.concat(pairs, ignore_index=True)


def _mean(entry: ResultsEntry, key: str) -> float:
    return float(np.mean([values[key] for values in entry.scores]))


def _tabulate_pairs(table: pd.DataFrame, level: str, resampled: np.ndarray, confidence: float) -> pd.DataFrame:
    low, high = statistics.paired_differences(resampled, confidence)
    names = (table["stage"] + "/" + table["entry"]).to_numpy()
    accuracy, folds = table[ACCURACIES[level]].to_numpy(), int(table["folds"].max())
    first, second = np.triu_indices(len(names), k=1)
    low, high = low[first, second], high[first, second]
    pairs = {
        "level": level,
        "a": names[first],
        "b": names[second],
        "difference": (accuracy[first] - accuracy[second]).round(6),
        "low": low.round(6),
        "high": high.round(6),
        "better": [("", "a", "b")[statistics.significance(*ends, folds)] for ends in zip(low, high, strict=True)],
    }
    return pd.DataFrame(pairs)


def tabulate_leakage(
    entries: Mapping[str, list[ResultsEntry]], resamples: int, confidence: float, seed: int
) -> pd.DataFrame:
    """Return the accuracy of every entry under every kind of split, and its increase over the first kind.

    Columns: stage, model, split, mean, low, high, majority, folds; difference, difference_low and difference_high,
    which are empty for the first kind.

    Args:
        entries: on the folds of each kind of split.
        resamples: bootstrap resamples; the same works for both splits of a difference.
        confidence: of the interval.
        seed: of the bootstrap.
    """
    bootstrap = (resamples, confidence, seed)
    first = next(iter(entries))
    parts = []
    for split, of_split in entries.items():
        table, _ = tabulate_results(of_split, *bootstrap)
        renamed = table.rename(columns={"accuracy": "mean", "accuracy_low": "low", "accuracy_high": "high"})
        part = renamed[["stage", "entry", "mean", "low", "high", "majority", "folds"]].assign(split=split)
        increases = _tabulate_increases(entries[first], of_split if split != first else [], *bootstrap)
        parts.append(part.merge(increases, how="left", on=["stage", "entry"]))
    return pd.concat(parts, ignore_index=True).rename(columns={"entry": "model"})


def _tabulate_increases(
    before: list[ResultsEntry], after: list[ResultsEntry], resamples: int, confidence: float, seed: int
) -> pd.DataFrame:
    """Return by how much the accuracy of each entry differs on other folds, for entries that are on both."""
    columns = ["stage", "entry", *DIFFERENCES]
    entry_of = {(entry.stage, entry.name): entry for entry in before}
    both = [(entry_of[entry.stage, entry.name], entry) for entry in after if (entry.stage, entry.name) in entry_of]
    if not both:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(DIFFERENCES, float))
    counts = statistics.count([[*old.works, *new.works] for old, new in both])
    cut = len(both[0][0].works)
    old, new = counts.of_folds(slice(None, cut)), counts.of_folds(slice(cut, None))
    increases = statistics.bootstrap_accuracy(new, resamples, seed) - statistics.bootstrap_accuracy(
        old, resamples, seed
    )
    # A resample may hold no work of one of the splits.
    ends = statistics.interval(increases[~np.isnan(increases).any(axis=1)], confidence)
    values = np.round([new.accuracy().mean(axis=1) - old.accuracy().mean(axis=1), *ends], 6)
    lines = [(entry.stage, entry.name, *value) for (_, entry), value in zip(both, values.T, strict=True)]
    return pd.DataFrame(lines, columns=columns)


def tabulate_meaning(project: Project, folds: Sequence[str], settings: Probe) -> dict[str, pd.DataFrame]:
    """Return the tables `attributes`, `retrieval` and `meaning_pairs` over the folds; none if `meaning` has not run."""
    entries = summary.read_entries(project, folds)
    if not entries:
        return {}
    results, pairs = summary.summarize_folds(entries, settings)
    is_retrieval = results["measure"] == MEASURE
    retrieval = results[is_retrieval].drop(columns="measure").rename(columns=summary.RETRIEVED)
    return {"attributes": results[~is_retrieval], "retrieval": retrieval, "meaning_pairs": pairs}


def collect_metrics(results: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the main numbers of every model for `dvc metrics`: entry -> metric -> value, means over folds."""
    names = [f"{column}{end}" for column in ACCURACIES.values() for end in ("", "_low", "_high")]
    names += ["macro_f1", "validation_accuracy"]
    return {str(line["entry"]): {name: float(line[name]) for name in names} for line in results.to_dict("records")}


def pivot(lines: pd.DataFrame, headings: Sequence[str], order: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the lines of attributes.csv or retrieval.csv as one table with a column for each heading.

    Args:
        lines: stage, entry, readout, reason and the content of a cell.
        headings: the column of each line.
        order: of stages and rows; others come last.

    Returns:
        columns: the headings with a measurement; rows: for each stage, entry and readout a line (or None) for every
        column; reasons: the headings without a measurement, by the reason.
    """
    lines = lines.assign(heading=headings)
    reasons = lines.groupby("heading", sort=False)["reason"].agg(lambda texts: min(texts, key=len))
    columns = [str(name) for name, reason in reasons.items() if reason == ""]
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for line in lines.to_dict("records"):
        rows.setdefault((line["stage"], line["entry"], line["readout"]), {})[line["heading"]] = line
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


def summarize_corpus(movements: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """Return one row a composer: works, movements, minutes, clips, kinds and licences."""
    lines = []
    for composer, rows in movements.groupby("composer", sort=True):
        lines.append(
            {
                "composer": composer,
                "works": rows["work"].nunique(),
                "movements": len(rows[["work", "movement"]].drop_duplicates()),
                "minutes": round(float(rows["duration_s"].sum()) / 60.0, 1),
                "clips": int((clips["composer"] == composer).sum()),
                "kind": ", ".join(sorted(rows["kind"].unique())),
                "licence": "; ".join(sorted(rows["licence"].unique())),
            }
        )
    return pd.DataFrame(lines)


def read_training_works(project: Project, models: Sequence[str], folds: Sequence[str]) -> pd.DataFrame:
    """Return the works of this project that a pretrained model was trained on: one row a model, fold and work."""
    columns = ["model", "fold", "composer", "work", "split", "title"]
    parts = [pd.DataFrame(columns=columns)]
    for model in models:
        for fold in folds:
            path = project.out("pretrained", fold, model, "training_works.csv")
            parts.append(read_table(path, "pretrained").assign(model=model, fold=fold)[columns])
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def read_latent_correlations(project: Project, models: Sequence[str], folds: Sequence[str]) -> pd.DataFrame:
    """Return the test of the paper's claim on the latent space: one row an ALI model, fold, source and measure."""
    parts = []
    for model in models:
        for fold in folds:
            path = project.out("ali", fold, model, "latent.csv")
            if path.is_file():
                parts.append(read_table(path, "ali").assign(model=model, fold=fold))
    if not parts:
        return pd.DataFrame(columns=LATENT_COLUMNS)
    table = pd.concat(parts, ignore_index=True)
    return table[["model", "fold", *table.columns.drop(["model", "fold"])]]
