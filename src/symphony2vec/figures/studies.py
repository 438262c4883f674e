"""Hyper-parameter searches: the value (validation accuracy) over trials and over parameters.

Tables have one row a trial: trial, state ("complete" or "pruned"), value, and a column for each parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import FixedLocator, FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from symphony2vec.figures.canvas import COLOURS, legend_beside, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
MARKS = {"complete": ("o", COLOURS[0]), "pruned": ("x", COLOURS[1])}
MOST_CHOICES = 6  # integers with at most as many different values are treated as categories


def history(table: pd.DataFrame, label: str) -> Figure:
    """Draw the value of every trial and the best so far; pruned trials have their last value."""
    fig = new_figure(8.5, 4.2)
    axes = fig.subplots()
    _dots(axes, table, "trial")
    complete = table[table["state"] == "complete"].sort_values("trial")
    if len(complete):
        axes.step(complete["trial"], complete["value"].cummax(), where="post", color=COLOURS[3], label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel="probe accuracy, validation", title=label)
    legend_beside(axes)
    return fig


def importances(weights: Mapping[str, float], label: str) -> Figure:
    """Draw the importance of each parameter: its share of the variance of the value."""
    fig = new_figure(8.0, 1.4 + 0.35 * len(weights))
    axes = fig.subplots()
    ordered = sorted(weights.items(), key=lambda item: item[1])
    bars = axes.barh([_words(name) for name, _ in ordered], [weight for _, weight in ordered], color=COLOURS[0])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel="share of the variance of the value (fANOVA)", title=label)
    axes.set_xlim(0.0, max(1e-9, 1.12 * max(weights.values())))
    return fig


def slices(table: pd.DataFrame, names: Sequence[str], logarithmic: Sequence[str], label: str) -> Figure:
    """Draw the value over each parameter; `logarithmic` names the parameters with a logarithmic axis."""
    rows = -(-len(names) // COLUMNS)
    fig = new_figure(3.2 * COLUMNS, 3.0 * rows)
    places = fig.subplots(rows, COLUMNS, squeeze=False, sharey=True).ravel()
    for axes, name in zip(places, names, strict=False):
        _dots(axes, table, name)
        if name in logarithmic:
            axes.set_xscale("log")
            ends = [table[name].min(), table[name].max()]  # within one decade only these are labelled
            decade = ends[1] >= 10.0 * ends[0]
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)) if decade else FixedLocator(ends))
            axes.xaxis.set_major_formatter(FormatStrFormatter("%g" if decade else "%.2g"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif _is_categorical(table[name]):
            if table[name].min() > 0:
                axes.set_xscale("log", base=2)
            axes.set_xticks(sorted(table[name].unique()), [f"{value:g}" for value in sorted(table[name].unique())])
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=_words(name))
    for row in range(rows):
        places[row * COLUMNS].set(ylabel="probe accuracy, validation")
    for axes in places[len(names) :]:
        axes.axis("off")
    places[0].legend(frameon=False, fontsize=9)
    fig.suptitle(label)
    return fig


def parallel(table: pd.DataFrame, names: Sequence[str], logarithmic: Sequence[str], label: str) -> Figure:
    """Draw the parameters of each complete trial as a line, coloured by its value, the best on top."""
    fig = new_figure(12.0, 4.8)
    axes = fig.subplots()
    complete = table[table["state"] == "complete"].sort_values("value")
    lowest, highest = (complete["value"].min(), complete["value"].max()) if len(complete) else (0.0, 1.0)
    scale = Normalize(lowest, max(highest, lowest + 1e-9))
    colours = ScalarMappable(scale, "viridis_r")
    heights = np.array([_heights(complete[name], name in logarithmic) for name in names])
    for place, value in enumerate(complete["value"]):
        axes.plot(heights[:, place], color=colours.to_rgba(value), linewidth=1.6, alpha=0.9)
    for place, name in enumerate(names):
        axes.axvline(place, color="black", linewidth=0.6)
        for height, value in _tick_labels(complete[name], name in logarithmic):
            axes.annotate(f"{value:.3g}", (place, height), xytext=(4, 0), textcoords="offset points", fontsize=8)
    axes.set_xticks(range(len(names)), [_words(name) for name in names], rotation=20, ha="right")
    axes.set(yticks=[], title=label, xlim=(-0.2, len(names) - 0.4), ylim=(-0.06, 1.06))
    fig.colorbar(colours, ax=axes, label="probe accuracy, validation")
    return fig


def _dots(axes: Axes, table: pd.DataFrame, over: str) -> None:
    for state, (mark, colour) in MARKS.items():
        trials = table[table["state"] == state]
        if len(trials):
            axes.scatter(trials[over], trials["value"], marker=mark, color=colour, s=28, label=state)


def _heights(values: pd.Series[float], logarithmic: bool) -> np.ndarray:
    """Return the height of each value between the smallest (0) and the largest (1); categories are equidistant."""
    if _is_categorical(values):
        numbers: np.ndarray = values.rank(method="dense").to_numpy() - 1.0
    else:
        numbers = np.log(values.to_numpy()) if logarithmic else values.to_numpy(dtype=float)
    span = numbers.max() - numbers.min() if len(numbers) else 0.0
    heights: np.ndarray = (numbers - numbers.min()) / span if span else np.full(len(numbers), 0.5)
    return heights


def _tick_labels(values: pd.Series[float], logarithmic: bool) -> list[tuple[float, float]]:
    """Return (height, value) of the labels of an axis: all categories, or the smallest and the largest number."""
    places = dict(zip(values, _heights(values, logarithmic), strict=True))
    labelled = places if _is_categorical(values) or not places else {min(places), max(places)}
    return [(float(places[value]), float(value)) for value in sorted(labelled)]


def _is_categorical(values: pd.Series[float]) -> bool:
    return bool(values.nunique() <= MOST_CHOICES and (values == values.round()).all())


def _words(name: str) -> str:
    return name.replace("_", " ")
