"""Linear probes and retrieval of several embeddings side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from symphony2vec.figures.canvas import COLOURS, legend_below, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_INCHES = 0.17  # for each model
STEP = 0.8  # share of the height of a label that its models use
LOWEST = -0.5  # lower values are drawn as arrows at the edge


def profile(rows: pd.DataFrame, title: str) -> Figure:
    """Draw values with intervals: one panel for each group, one row a label, one colour a model, baselines in grey.

    Columns: group, label, model, value, low, high, baseline, in order of appearance. Missing intervals are left out.
    """
    models = list(dict.fromkeys(rows["model"]))
    groups = {str(name): group for name, group in rows.groupby("group", sort=False)}
    heights = [group["label"].nunique() for group in groups.values()]
    size = ROW_INCHES * (len(models) + 0.8)
    fig = new_figure(8.0, size * sum(heights) + 0.55 * len(groups) + 1.3)
    panels = fig.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (name, group) in zip(panels, groups.items(), strict=True):
        _panel(axes, group, models)
        axes.set_title(name, fontsize=10, loc="left", fontweight="bold")
    panels[-1].set_xlim(*_limits(rows))
    panels[-1].set_xlabel("value with interval over works")
    fig.suptitle(title, fontsize=12)
    legend_below(fig, panels[-1])
    return fig


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Return the limits of the x axis: from 0, or the lowest value, to the tenth above the highest, at most 1."""
    ends = rows[["low", "value", "high", "baseline"]]
    low, high = float(ends.min().min()), float(ends.max().max())
    return max(min(0.0, low), LOWEST) - 0.02, min(math.ceil(10.0 * high + 0.2) / 10.0, 1.0) + 0.005


def _panel(axes: Axes, rows: pd.DataFrame, models: list[str]) -> None:
    """Draw the labels of one group."""
    labels = list(dict.fromkeys(rows["label"]))
    for number, model in enumerate(models):
        colour = COLOURS[number % len(COLOURS)]
        of_model = rows[rows["model"] == model]
        places = of_model["label"].map(labels.index) + STEP * ((number + 0.5) / len(models) - 0.5)
        inside = of_model["value"] >= LOWEST
        axes.hlines(places, of_model["low"], of_model["high"], color=colour, linewidth=2.0, alpha=0.55)
        axes.plot(of_model["value"][inside], places[inside], "o", color=colour, markersize=5.0, label=model)
        axes.plot([LOWEST] * int((~inside).sum()), places[~inside], "<", color=colour, markersize=7.0)
    for place, label in enumerate(labels):
        baselines = rows.loc[rows["label"] == label, "baseline"]
        axes.vlines(baselines.mean(), place - STEP / 2, place + STEP / 2, color="0.45", linestyle=":", label="baseline")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
