"""The page: the viewer of the package embedding-atlas, its table, and how it is laid out.

The viewer is the package's own static application: DuckDB in the browser, which reads data/dataset.parquet, and a
canvas. All it loads lies in the folder. Beside it stands page.js, which plays a clip when its dot is clicked.
"""

from __future__ import annotations

import html
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from symphony2vec.atlas.projection import ASPECT
from symphony2vec.errors import UserError

SOUNDS = "sounds"
UNKNOWN = "unknown"
SCRIPT = "page.js"
LISTED = ("composer", "work", "movement", "time", "recording")
SMALLEST = 1e-3  # half a view's width, where all dots have one place
MOST = 20  # bars of a chart; the viewer shows more on demand
INSTALL = "pip install 'symphony2vec[atlas]'"
# What stands in the column `sound`: a file of the page, or the reason why there is none. The viewer sanitises the HTML.
PLAYER = (
    f"{{% assign place = value | slice: 0, {len(SOUNDS) + 1} %}}{{% if place == '{SOUNDS}/' %}}"
    '<audio controls preload="none" src="{{ value | escape }}" style="width: 21rem; height: 2.2rem"></audio>'
    "{% else %}{{ value | escape }}{% endif %}"
)


def viewer() -> Path:
    """The folder of the viewer's static application.

    Raises:
        UserError: embedding-atlas or UMAP is not installed.
    """
    for module, package in {"embedding_atlas": "embedding-atlas", "umap": "umap-learn"}.items():
        if importlib.util.find_spec(module) is None:
            raise UserError(f"an atlas needs the package {package}, which is not installed: {INSTALL}")
    spec = importlib.util.find_spec("embedding_atlas")
    static = Path((spec.submodule_search_locations or [""])[0] if spec else "") / "static"
    if not (static / "index.html").is_file():
        raise UserError(f"the package embedding-atlas is damaged, {static} has no index.html: {INSTALL}")
    return static


def draws_without_webgpu(static: Path) -> bool:
    """Whether the dots show in a browser without WebGPU too, through WebGL 2."""
    return any(b"webgl2" in script.read_bytes() for script in static.glob("assets/index-*.js"))


def table(
    clips: pd.DataFrame, sounds: list[str] | None, points: np.ndarray, near: tuple[np.ndarray, np.ndarray]
) -> pd.DataFrame:
    """The viewer's table, one row a clip; columns that begin with __ are not shown.

    `sounds` is what to say or play of each clip, None for an atlas without sound; `points` (n, 2) the places; `near`
    the rows (n, k) and distances (n, k) of the nearest others.
    """

    named = {name: clips[name].where(clips[name] != "", UNKNOWN) for name in ("composer", "work", "movement")}
    recording = clips["path"].map(lambda path: Path(path).name)
    time = clips["start_s"].map(clock)
    pieces = zip(clips["composer"], clips["work"], clips["movement"], recording, time, strict=True)
    title = [" · ".join([*([name for name in names if name] or [file]), at]) for *names, file, at in pieces]
    shown: dict[str, Any] = {"clip": title} | ({} if sounds is None else {"sound": sounds})
    shown |= named | {"time": time, "recording": recording}
    links = [{"ids": rows.tolist(), "distances": distances.tolist()} for rows, distances in zip(*near, strict=True)]
    hidden = {"__row": range(len(clips)), "__x": points[:, 0], "__y": points[:, 1], "__near": links}
    return pd.DataFrame(shown | hidden)


def clock(seconds: float) -> str:
    """As in "1:05": minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def write(folder: Path, static: Path, rows: pd.DataFrame, name: str) -> None:
    """Fill `folder` with the viewer, its data and its script."""

    for path in static.rglob("*"):  # not copytree, which hides that the disk is full
        if path.is_file():
            (folder / path.relative_to(static)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.relative_to(static))
    data = folder / "data"
    data.mkdir(exist_ok=True)
    parquet.write_table(pa.Table.from_pandas(rows, preserve_index=False), data / "dataset.parquet")
    metadata = {"props": _props(rows, name), "isStatic": True, "database": {"type": "wasm", "load": True}}
    (data / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name(SCRIPT), folder / SCRIPT)
    index = folder / "index.html"
    before, head_end, after = index.read_text(encoding="utf-8").partition("</head>")
    assert head_end, f"{static} has no page as embedding-atlas writes it"
    before = before.replace("<title>Embedding Atlas</title>", f"<title>symphony2vec: {html.escape(name)}</title>")
    added = f'  <link rel="icon" href="data:," />\n    <script src="./{SCRIPT}"></script>\n  '
    index.write_text(before + added + head_end + after, encoding="utf-8")


def _props(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    """What the viewer is told: which column is which, the charts, and how columns look.

    The line `clip` names composer, work, movement and time, so these are shown in the list alone.
    """
    data = {"x": "__x", "y": "__y", "text": "clip", "neighbors": "__near"}
    listed = {column: {"display": "badge"} for column in LISTED}
    charts: dict[str, Any] = {
        "dots": {"type": "embedding", "title": "Clips", "data": data | {"category": "composer"}, "mode": "points"},
        "list": {"type": "instances", "title": "List", "columns": list(LISTED), "columnStyles": listed},
    }
    for column in ("composer", "work", "movement", "recording"):
        if rows[column].nunique() > 1:
            charts[column] = {"type": "count-plot", "title": column, "data": {"field": column}, "limit": MOST}
    styles: dict[str, Any] = {column: {"display": "hidden"} for column in LISTED} | {"recording": {"display": "badge"}}
    if "sound" in rows:
        styles["sound"] = {"display": "full", "renderer": "liquid-template", "options": {"template": PLAYER}}
    return {
        "data": {"id": "__row", "projection": {"x": "__x", "y": "__y"}, "text": "clip", "neighbors": "__near"},
        "embeddingViewConfig": {"autoLabelEnabled": False},
        "initialState": {
            "charts": charts,
            "chartStates": {"dots": {"viewport": _viewport(rows)}},
            "layouts": {"1": {"type": "list", "name": name, "chartIds": list(charts)}},
            "columnStyles": styles,
        },
    }


def _viewport(rows: pd.DataFrame) -> dict[str, float]:
    """The part of the plane that shows at first: all dots, which lie around (0, 0)."""
    half = max(rows["__x"].abs().max(), rows["__y"].abs().max() / ASPECT, SMALLEST)
    return {"x": 0.0, "y": 0.0, "scale": float(0.95 / half)}
