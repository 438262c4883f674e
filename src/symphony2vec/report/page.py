"""The report's page: tables, pictures and sounds in one HTML file beside them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from symphony2vec import __version__, tracking
from symphony2vec.evaluation.meaning.targets import LABELS, MEASURES
from symphony2vec.params import Params
from symphony2vec.project import REPRESENTATIONS, Project, read_table
from symphony2vec.report import tables
from symphony2vec.report.tables import PAPER_TRAIN, Row

Lines = dict[tuple[str, str], dict[Any, Any]]  # lines of the table of results by stage and row

REASONS_SHOWN = 50
PAIRS_SHOWN = 30
# The columns of Tables 3 and 4; each cell is the row <model>-<representation>, with a readout where one is named.
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
class Whole:
    """The temporal model that all is held against, "" if there is none: the names of its walks in the order in which
    they are shown, and the files in which they can be heard.
    """

    model: str
    walks: list[str]
    heard: dict[str, list[str]]


def render(
    project: Project,
    params: Params,
    found: list[Row],
    told: dict[str, pd.DataFrame],
    shown: dict[str, list[str]],
    whole: Whole,
    folder: Path,
) -> str:
    """The page as text.

    Args:
        project, params: what was run.
        found: the rows, for what their probes noted.
        told: the tables by name.
        shown: the pictures of each stage/model.
        whole: the temporal model and its walks.
        folder: the report's, with pictures/ and sounds/ filled.
    """

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda share: "" if _nothing(share) else f"{float(share):.1%}"
    environment.filters["points"] = lambda share: (
        "" if _nothing(share) else f"{round(100.0 * float(share), 1) + 0.0:+.1f}"
    )
    environment.filters["number"] = lambda value, places=2: "" if _nothing(value) else f"{float(value):.{places}f}"
    template = resources.files("symphony2vec").joinpath("report", "page.html").read_text(encoding="utf-8")
    results = told["results"]
    lines: Lines = {(str(line["stage"]), str(line["row"])): dict(line) for line in results.to_dict("records")}
    scores = [one for row in found for one in row.scores]
    by_movement = told["splits"].loc[told["splits"]["split_by"] == "movement", "composer"].unique().tolist()
    walked = {name for names in whole.heard.values() for name in names}
    sounds = sorted(path.name for path in (folder / "sounds").iterdir() if path.name not in walked)
    return environment.from_string(template).render(
        params=params,
        settings=project.params.read_text(encoding="utf-8"),
        tables={name: table.to_dict("records") for name, table in told.items()},
        pictures={path.stem for path in (folder / "pictures").iterdir()},
        table_3=_cells(TABLE_3, "classifiers", lines),
        table_4=_cells(TABLE_4, "embeddings", lines),
        table_7=_table_7(lines),
        shown=shown,
        whole=whole,
        titles={label.name: label.title for label in LABELS},
        sounds=_by_model(sounds, whole.model),
        best=results.iloc[0].to_dict(),
        sure=[pair for pair in told["pairs"].to_dict("records") if pair["low"] > 0.0 or pair["high"] < 0.0],
        pairs_shown=PAIRS_SHOWN,
        unconverged=sorted({row.name for row in found for one in row.scores if not one["converged"]}),
        confidence=params.probe.confidence,
        majority_composer=scores[0]["majority_composer"],
        few_works=sorted({name for one in scores for name in one["few_test_works"]}),
        by_movement=by_movement if params.clips.splits[0] == "work" else [],
        commit=tracking.commit(project),
        version=__version__,
        reasons_shown=REASONS_SHOWN,
        studies=_studies(project),
        meaning=_meaning(told),
        leak=_leak(told["leak"]),
        draws_of=told["leak"].groupby("split")["folds"].max().to_dict(),
    )


def _leak(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """By stage and row, the line of each kind of split."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for line in table.to_dict("records"):
        rows.setdefault((str(line["stage"]), str(line["model"])), {})[str(line["split"])] = line
    return rows


def _nothing(value: Any) -> bool:
    """Whether a cell of a table is empty."""

    return value == "" or bool(pd.isna(value))


def _cells(columns: dict[str, tuple[str, str]], stage: str, lines: Lines) -> dict[str, Any]:
    """A table of the paper: its columns, and for each representation the lines that stand there (or None)."""
    rows = {
        NAMES[representation]: [
            lines.get((stage, f"{model}-{representation} {readout}".strip())) for model, readout in columns.values()
        ]
        for representation in reversed(REPRESENTATIONS)
    }
    return {"columns": list(columns), "rows": rows}


def _table_7(lines: Lines) -> list[dict[str, Any]]:
    """Every readout of every ALI model, and the feed-forward net on the crop, with the paper's training accuracy."""
    own = [line for (stage, row), line in lines.items() if stage == "ali" or row == "ff-crop"]
    told = [{**line, "paper_train": PAPER_TRAIN.get((line["stage"], line["row"]), float("nan")) / 100} for line in own]
    return sorted(told, key=lambda line: (line["stage"] != "ali", line["model"].split("-")[0], str(line["row"])))


def _meaning(told: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the vectors know and what lies near, a column for each thing asked; nothing where that was not run."""
    titles = {label.name: label.title for label in LABELS}
    order = list(told["results"][["stage", "row"]].itertuples(index=False, name=None))
    found = {}
    if "knowledge" in told:
        lines = told["knowledge"]
        asked = zip(lines["label"], lines["measure"], strict=True)
        headings = [f"{titles.get(label, label)} ({MEASURES.get(measure, measure)})" for label, measure in asked]
        found["knowledge"] = tables.side_by_side(lines, headings, order)
    if "retrieval" in told:
        lines = told["retrieval"].rename(columns={"map": "value", "chance": "baseline", "queries": "clips"})
        found["retrieval"] = tables.side_by_side(lines, lines["what"].tolist(), order)
    return found


def _studies(project: Project) -> dict[str, list[dict[Any, Any]]]:
    """The repeated trials of each study that was made, the winner first; `dvc repro` makes none."""
    tables = sorted(project.out("study").glob("*/repeats.csv"))
    return {path.parent.name: read_table(path, "report").to_dict("records") for path in tables}


def _by_model(sounds: list[str], first: str) -> dict[str, dict[str, list[str]]]:
    """File names <model>-<what>-<number>.mp3 as model -> what -> names, the model that counts first."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in sorted(sounds, key=lambda name: not first or not name.startswith(f"{first}-")):
        model, what, _ = name.rsplit("-", 2)
        found.setdefault(model, {}).setdefault(what, []).append(name)
    return found
