"""The page of the report: tables, pictures and sounds in one HTML file."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from symphony2vec import __version__, tracking
from symphony2vec.clips import splits
from symphony2vec.evaluation.meaning.targets import LABELS, MEASURES
from symphony2vec.params import Params
from symphony2vec.project import REPRESENTATIONS, Project, read_table
from symphony2vec.report.tables import PAPER_TRAIN, ResultsEntry, pivot

Lines = dict[tuple[str, str], dict[Any, Any]]  # rows of results.csv by stage and name

MOST_REASONS = 50
MOST_PAIRS = 30
# The columns of Tables 3 and 4: model and readout; the rows are representations.
TABLE_3 = {
    "feed-forward": ("ff", ""),
    "CNN (Table 2)": ("cnn", ""),
    "CNN, fair": ("fair_cnn", ""),
    "LSTM, vote": ("lstm", ""),
    "LSTM, chunks": ("lstm", "chunks"),
}
TABLE_4 = {"AE": ("ae", ""), "CAE": ("cae", ""), "VAE": ("vae", ""), "PCA": ("pca", "")}
NAMES = {"mel": "Mel spectrogram", "mfcc": "MFCC", "chroma": "Chromagram"}


@dataclass(frozen=True)
class ReferenceModel:
    """The temporal model with which all others are compared.

    Attributes:
        model: its name, "" if there is none.
        walks: names of its walks, in order.
        sounds: names of the sound files of each walk.
    """

    model: str
    walks: list[str]
    sounds: dict[str, list[str]]


def render(
    project: Project,
    params: Params,
    entries: list[ResultsEntry],
    tables: Mapping[str, pd.DataFrame],
    pictures_of: Mapping[str, list[str]],
    reference: ReferenceModel,
    folder: Path,
) -> str:
    """Return the page as HTML.

    Args:
        project: that the page describes.
        params: of the project.
        entries: of the results, for the notes of their probes.
        tables: by name.
        pictures_of: names of the pictures of each stage/model.
        reference: the temporal model and its walks.
        folder: of the report, with pictures/ and sounds/ complete.
    """
    pairs = _group_pairs(tables["pairs"])
    results, kinds = tables["results"], list(splits.group_by_kind(params))
    lines: Lines = {(str(line["stage"]), str(line["entry"])): dict(line) for line in results.to_dict("records")}
    scores = [values for entry in entries for values in entry.scores]
    by_movement = tables["splits"].loc[tables["splits"]["split_by"] == "movement", "composer"].unique().tolist()
    walk_sounds = {name for names in reference.sounds.values() for name in names}
    sounds = {path.name for path in (folder / "sounds").iterdir()} - walk_sounds
    return _template().render(
        params=params,
        settings=project.params.read_text(encoding="utf-8"),
        tables={name: table.to_dict("records") for name, table in tables.items()},
        pictures={path.stem for path in (folder / "pictures").iterdir()},
        table_3=_paper_table(TABLE_3, "classifiers", lines),
        table_4=_paper_table(TABLE_4, "embeddings", lines),
        table_7=_table_7(lines),
        pictures_of=pictures_of,
        reference=reference,
        titles={label.name: label.title for label in LABELS},
        sounds=_group_sounds(sounds, reference.model),
        best=results.iloc[0].to_dict(),
        pairs=pairs,
        significant={level: [pair for pair in of_level if _excludes_0(pair)] for level, of_level in pairs.items()},
        most_pairs=MOST_PAIRS,
        unconverged=sorted({e.name for e in entries if not all(values["converged"] for values in e.scores)}),
        confidence=params.probe.confidence,
        majority_composer=scores[0]["majority_composer"],
        few_works=sorted({name for values in scores for name in values["few_test_works"]}),
        kinds=kinds,
        by_movement=by_movement if kinds[0] == "work" else [],
        commit=tracking.git_commit(project),
        version=__version__,
        most_reasons=MOST_REASONS,
        studies=_studies(project),
        meaning=_meaning(tables),
        leakage=_leakage(tables["leakage"]),
        fold_counts=tables["leakage"].groupby("split")["folds"].max().to_dict(),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda share: "" if _is_empty(share) else f"{float(share):.1%}"
    environment.filters["points"] = lambda share: (
        "" if _is_empty(share) else f"{round(100.0 * float(share), 1) + 0.0:+.1f}"
    )
    environment.filters["number"] = lambda value, places=2: "" if _is_empty(value) else f"{float(value):.{places}f}"
    source = resources.files("symphony2vec").joinpath("report", "page.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _is_empty(value: Any) -> bool:
    return value == "" or bool(pd.isna(value))


def _group_pairs(table: pd.DataFrame) -> dict[str, list[dict[Hashable, Any]]]:
    """Return the pairs of models by level."""
    return {str(level): rows.to_dict("records") for level, rows in table.groupby("level", sort=False)}


def _excludes_0(pair: Mapping[Hashable, Any]) -> bool:
    return bool(pair["low"] > 0.0 or pair["high"] < 0.0)


def _leakage(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Return, by stage and model, the row of each kind of split."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for line in table.to_dict("records"):
        rows.setdefault((str(line["stage"]), str(line["model"])), {})[str(line["split"])] = line
    return rows


def _paper_table(columns: dict[str, tuple[str, str]], stage: str, lines: Lines) -> dict[str, Any]:
    """Return a table of the paper: its columns, and for each representation the results (or None) in each column."""
    rows = {
        NAMES[representation]: [
            lines.get((stage, f"{model}-{representation} {readout}".strip())) for model, readout in columns.values()
        ]
        for representation in reversed(REPRESENTATIONS)
    }
    return {"columns": list(columns), "rows": rows}


def _table_7(lines: Lines) -> list[dict[str, Any]]:
    """Return all readouts of ALI, and the feed-forward network on crops, with the training accuracy of the paper."""
    rows = [
        {**line, "paper_train": PAPER_TRAIN.get((stage, name), float("nan")) / 100}
        for (stage, name), line in lines.items()
        if stage == "ali" or name == "ff-crop"
    ]
    return sorted(rows, key=lambda line: (line["stage"] != "ali", line["model"].split("-")[0], str(line["entry"])))


def _meaning(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return the results of probes and retrieval with a column for each label or task; empty if they were not run."""
    titles = {label.name: label.title for label in LABELS}
    order = list(tables["results"][["stage", "entry"]].itertuples(index=False, name=None))
    pivots = {}
    if "attributes" in tables:
        lines = tables["attributes"]
        keys = zip(lines["label"], lines["measure"], strict=True)
        headings = [f"{titles.get(label, label)} ({MEASURES.get(measure, measure)})" for label, measure in keys]
        pivots["attributes"] = pivot(lines, headings, order)
    if "retrieval" in tables:
        lines = tables["retrieval"].rename(columns={"map": "value", "chance": "baseline", "queries": "clips"})
        pivots["retrieval"] = pivot(lines, lines["what"].tolist(), order)
    return pivots


def _studies(project: Project) -> dict[str, list[dict[Any, Any]]]:
    """Return the repeated trials of each Optuna study, the best first; `dvc repro` runs no study."""
    paths = sorted(project.out("study").glob("*/repeats.csv"))
    return {path.parent.name: read_table(path, "report").to_dict("records") for path in paths}


def _group_sounds(sounds: set[str], first: str) -> dict[str, dict[str, list[str]]]:
    """Return the files <model>-<samples>-<number>.mp3 by model and samples, `first` being the first model."""
    groups: dict[str, dict[str, list[str]]] = {}
    for file in sorted(sounds, key=lambda file: (not first or not file.startswith(f"{first}-"), file)):
        model, samples, _ = file.rsplit("-", 2)
        groups.setdefault(model, {}).setdefault(samples, []).append(file)
    return groups
