"""What several embeddings know, side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from symphony2vec.figures.canvas import COLOURS, figure, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_INCHES = 0.17  # a model
STEP = 0.8  # of the space of a label that its models share
LOWEST = -0.5  # what lies below stands at the edge: how badly a probe misleads beyond that tells nothing


def profile(rows: pd.DataFrame, title: str) -> Figure:
    """Dots with intervals: one panel a group, one line a label, one colour a model; a grey mark is the baseline.

    Columns: group, label, model, value, low, high, baseline. A missing interval is not drawn. Groups, labels and models
    stand in the order in which they come.
    """
    models = list(dict.fromkeys(rows["model"]))
    groups = {str(name): own for name, own in rows.groupby("group", sort=False)}
    heights = [own["label"].nunique() for own in groups.values()]
    size = ROW_INCHES * (len(models) + 0.8)
    drawn = figure(8.0, size * sum(heights) + 0.55 * len(groups) + 1.3)
    panels = drawn.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (name, own) in zip(panels, groups.items(), strict=True):
        _panel(axes, own, models)
        axes.set_title(name, fontsize=10, loc="left", fontweight="bold")
    panels[-1].set_xlim(*_scale(rows))
    panels[-1].set_xlabel("value, with its interval over works")
    drawn.suptitle(title, fontsize=12)
    legend_below(drawn, panels[-1])
    return drawn


def _scale(rows: pd.DataFrame) -> tuple[float, float]:
    """From 0, or the lowest there is, to the tenth above the highest, 1 at most."""
    ends = rows[["low", "value", "high", "baseline"]]
    low, high = float(ends.min().min()), float(ends.max().max())
    return max(min(0.0, low), LOWEST) - 0.02, min(math.ceil(10.0 * high + 0.2) / 10.0, 1.0) + 0.005


def _panel(axes: Axes, rows: pd.DataFrame, models: list[str]) -> None:
    """The labels of one group."""
    labels = list(dict.fromkeys(rows["label"]))
    for number, model in enumerate(models):
        colour = COLOURS[number % len(COLOURS)]
        own = rows[rows["model"] == model]
        places = own["label"].map(labels.index) + STEP * ((number + 0.5) / len(models) - 0.5)
        inside = own["value"] >= LOWEST
        axes.hlines(places, own["low"], own["high"], color=colour, linewidth=2.0, alpha=0.55)
        axes.plot(own["value"][inside], places[inside], "o", color=colour, markersize=5.0, label=model)
        axes.plot([LOWEST] * int((~inside).sum()), places[~inside], "<", color=colour, markersize=7.0)
    for place, label in enumerate(labels):
        baselines = rows.loc[rows["label"] == label, "baseline"]
        axes.vlines(baselines.mean(), place - STEP / 2, place + STEP / 2, color="0.45", linestyle=":", label="baseline")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
