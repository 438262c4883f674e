"""Figures of a few models side by side: what their vectors encode, and retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from symphony2vec import figures
from symphony2vec.evaluation.meaning.summary import RETRIEVED
from symphony2vec.evaluation.meaning.targets import LABELS, MEASURES


def write_figures(tables: Mapping[str, pd.DataFrame], names: Sequence[str], folder: Path) -> None:
    """Write profile.png and retrieval.png of some models, where there is data for them.

    Args:
        tables: `attributes` and `retrieval` over the folds, or neither.
        names: the models in order, such as "vae-mel" or "paper-40 crops"; those without results are left out.
        folder: of the pictures.
    """
    if "attributes" not in tables:
        return
    retrieval = tables["retrieval"].rename(columns={new: old for old, new in RETRIEVED.items()})
    plots = {
        "profile": (_profile(_select(tables["attributes"], names)), "Linear probes of musical properties (test clips)"),
        "retrieval": (
            _select(retrieval, names).assign(group="MAP"),
            "Retrieval: mean average precision of test clips as queries",
        ),
    }
    for name, (table, title) in plots.items():
        if not table.empty:
            figures.save(folder / f"{name}.png", figures.profile(table, title))


def _select(results: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the rows of these models with a value, in the order of the names."""
    rows = results[results["entry"].isin(names) & results["value"].notna()]
    places = rows["entry"].map({name: place for place, name in enumerate(names)})
    return rows.assign(model=rows["entry"]).loc[places.sort_values(kind="stable").index]


def _profile(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each label's main measure, with group and title for the figure."""
    parts = []
    for label in LABELS:
        measure = label.measures[0]
        selected = rows[(rows["label"] == label.name) & (rows["measure"] == measure)]
        parts.append(selected.assign(group=f"{label.group}: {MEASURES[measure]}", label=label.title))
    return pd.concat(parts)
