"""The page: the viewer of the package embedding-atlas, its table and layout.

The viewer is the package's static application: DuckDB in the browser, which reads data/dataset.parquet, and a canvas.
It loads only files of the folder. page.js beside it plays a clip when its dot is clicked.
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
LIST_COLUMNS = ("composer", "work", "movement", "time", "recording")
MIN_HALF_WIDTH = 1e-3  # of the view, where all dots coincide
MAX_BARS = 20  # of a chart; the viewer shows more on demand
INSTALL = "pip install 'symphony2vec[atlas]'"
# The column `sound` holds a file of the page, or the reason why there is none. The viewer sanitises the HTML.
PLAYER = (
    f"{{% assign place = value | slice: 0, {len(SOUNDS) + 1} %}}{{% if place == '{SOUNDS}/' %}}"
    '<audio controls preload="none" src="{{ value | escape }}" style="width: 21rem; height: 2.2rem"></audio>'
    "{% else %}{{ value | escape }}{% endif %}"
)


def viewer() -> Path:
    """Return the folder of the viewer's static application.

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
    """Return whether the viewer also draws dots in browsers without WebGPU, through WebGL 2."""
    return any(b"webgl2" in script.read_bytes() for script in static.glob("assets/index-*.js"))


def table(
    clips: pd.DataFrame, sounds: list[str] | None, positions: np.ndarray, neighbours: tuple[np.ndarray, np.ndarray]
) -> pd.DataFrame:
    """Return the viewer's table, one row per clip; columns that begin with __ are not displayed.

    Args:
        clips: rows (n) of a collection.
        sounds: the sound file of each clip or the reason why it has none; None for an atlas without sound.
        positions: (n, 2) of the dots.
        neighbours: rows (n, k) and distances (n, k) of the nearest others.
    """
    titles = {name: clips[name].where(clips[name] != "", UNKNOWN) for name in ("composer", "work", "movement")}
    recording = clips["path"].map(lambda path: Path(path).name)
    time = clips["start_s"].map(clock)
    parts = zip(clips["composer"], clips["work"], clips["movement"], recording, time, strict=True)
    labels = [" · ".join([*([name for name in names if name] or [file]), at]) for *names, file, at in parts]
    visible: dict[str, Any] = {"clip": labels} | ({} if sounds is None else {"sound": sounds})
    visible |= titles | {"time": time, "recording": recording}
    links = [
        {"ids": rows.tolist(), "distances": distances.tolist()} for rows, distances in zip(*neighbours, strict=True)
    ]
    hidden = {"__row": range(len(clips)), "__x": positions[:, 0], "__y": positions[:, 1], "__near": links}
    return pd.DataFrame(visible | hidden)


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds.

    Examples:
        >>> clock(65.0)
        '1:05'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def write(folder: Path, static: Path, rows: pd.DataFrame, name: str) -> None:
    """Fill `folder` with the viewer, its data and its script.

    Args:
        folder: the folder to fill.
        static: from `viewer`.
        rows: from `table`.
        name: the title of the page.
    """
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
    assert head_end, f"{static}/index.html has no </head>"
    before = before.replace("<title>Embedding Atlas</title>", f"<title>symphony2vec: {html.escape(name)}</title>")
    added = f'  <link rel="icon" href="data:," />\n    <script src="./{SCRIPT}"></script>\n  '
    index.write_text(before + added + head_end + after, encoding="utf-8")


def _props(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return the viewer's settings: the roles of the columns, the charts, and the styles of columns.

    The line `clip` contains composer, work, movement and time, so these columns are displayed in the list only.
    """
    data = {"x": "__x", "y": "__y", "text": "clip", "neighbors": "__near"}
    list_styles = {column: {"display": "badge"} for column in LIST_COLUMNS}
    charts: dict[str, Any] = {
        "dots": {"type": "embedding", "title": "Clips", "data": data | {"category": "composer"}, "mode": "points"},
        "list": {"type": "instances", "title": "List", "columns": list(LIST_COLUMNS), "columnStyles": list_styles},
    }
    for column in ("composer", "work", "movement", "recording"):
        if rows[column].nunique() > 1:
            charts[column] = {"type": "count-plot", "title": column, "data": {"field": column}, "limit": MAX_BARS}
    styles: dict[str, Any] = {column: {"display": "hidden"} for column in LIST_COLUMNS}
    styles["recording"] = {"display": "badge"}
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
    """Return the initial view of the plane: all dots, which are centred at (0, 0)."""
    half = max(rows["__x"].abs().max(), rows["__y"].abs().max() / ASPECT, MIN_HALF_WIDTH)
    return {"x": 0.0, "y": 0.0, "scale": float(0.95 / half)}
