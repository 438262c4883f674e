"""What a few models know, side by side: the profile of their vectors, and what lies near in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from symphony2vec import figures
from symphony2vec.evaluation.meaning.probes import measures
from symphony2vec.evaluation.meaning.retrieval import MEASURE
from symphony2vec.evaluation.meaning.targets import LABELS, MEASURES


def draw(lines: pd.DataFrame, shown: Sequence[str], folder: Path) -> None:
    """Write profile.png and retrieval.png of the rows that are shown, those that are there.

    Args:
        lines: from `symphony2vec.evaluation.meaning.summary.over_draws`.
        shown: names of rows, as in "vae-mel" or "paper-40 crops".
        folder: where the pictures go; those of an earlier run that can no longer be drawn are removed.
    """
    own = lines[lines["row"].isin(shown) & lines["value"].notna()]
    places = own["row"].map({name: place for place, name in enumerate(shown)})
    own = own.assign(model=own["row"]).loc[places.sort_values(kind="stable").index]
    pictures = {
        "profile": (_profile(own), "What the vectors know of music (test clips of whole works)"),
        "retrieval": (_retrieval(own), "What lies near: mean average precision of test clips as queries"),
    }
    for name, (rows, title) in pictures.items():
        path = folder / f"{name}.png"
        if rows.empty:
            path.unlink(missing_ok=True)
        else:
            figures.save(path, figures.profile(rows, title))


def _profile(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines to draw, each label by its first measure, under the name of its group."""

    parts = []
    for label in LABELS:
        measure = measures(label)[0]
        own = lines[(lines["label"] == label.name) & (lines["measure"] == measure)]
        parts.append(own.assign(group=f"{label.group}: {MEASURES[measure]}", label=label.title))
    return pd.concat(parts)


def _retrieval(lines: pd.DataFrame) -> pd.DataFrame:
    return lines[lines["measure"] == MEASURE].assign(group="MAP")
