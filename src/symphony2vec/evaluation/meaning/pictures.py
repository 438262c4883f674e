"""Figures of a few models side by side: what their vectors encode, and retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from symphony2vec import figures
from symphony2vec.evaluation.meaning.targets import LABELS, MEASURES
from symphony2vec.evaluation.retrieval import MEASURE


def write_figures(results: pd.DataFrame, names: Sequence[str], folder: Path) -> None:
    """Write profile.png and retrieval.png of some models; remove an earlier picture for which there is no data.

    Args:
        results: from `symphony2vec.evaluation.meaning.summary.summarize_folds`.
        names: the models in order, such as "vae-mel" or "paper-40 crops"; those without results are left out.
        folder: of the pictures.
    """
    rows = results[results["row"].isin(names) & results["value"].notna()]
    places = rows["row"].map({name: place for place, name in enumerate(names)})
    rows = rows.assign(model=rows["row"]).loc[places.sort_values(kind="stable").index]
    pictures = {
        "profile": (_profile(rows), "Linear probes of musical properties (test clips)"),
        "retrieval": (
            rows[rows["measure"] == MEASURE].assign(group="MAP"),
            "Retrieval: mean average precision of test clips as queries",
        ),
    }
    for name, (table, title) in pictures.items():
        path = folder / f"{name}.png"
        if table.empty:
            path.unlink(missing_ok=True)
        else:
            figures.save(path, figures.profile(table, title))


def _profile(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each label's main measure, with group and title for the figure."""
    parts = []
    for label in LABELS:
        measure = label.measures[0]
        selected = rows[(rows["label"] == label.name) & (rows["measure"] == measure)]
        parts.append(selected.assign(group=f"{label.group}: {MEASURES[measure]}", label=label.title))
    return pd.concat(parts)
