"""What a search over parameters found: values (share of clips named rightly) over trials and over what was drawn.

Tables have one row a trial: trial, state ("complete" or "pruned"), value, and a column a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import FixedLocator, FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from symphony2vec.figures.canvas import COLOURS, figure, legend_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 4
MARKS = {"complete": ("o", COLOURS[0]), "pruned": ("x", COLOURS[1])}
CHOICES_AT_MOST = 6  # values of a parameter that get a place each


def history(table: pd.DataFrame, label: str) -> Figure:
    """The value of every trial in their order, and the best so far; a pruned trial by its last value."""

    drawn = figure(8.5, 4.2)
    axes = drawn.subplots()
    _dots(axes, table, "trial")
    complete = table[table["state"] == "complete"].sort_values("trial")
    if len(complete):
        axes.step(complete["trial"], complete["value"].cummax(), where="post", color=COLOURS[3], label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel="probe accuracy, validation", title=label)
    legend_beside(axes)
    return drawn


def importances(weights: Mapping[str, float], label: str) -> Figure:
    """One bar a parameter: its share in the variance of the value, the largest on top."""
    drawn = figure(8.0, 1.4 + 0.35 * len(weights))
    axes = drawn.subplots()
    ordered = sorted(weights.items(), key=lambda item: item[1])
    bars = axes.barh([_words(name) for name, _ in ordered], [weight for _, weight in ordered], color=COLOURS[0])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel="share in the variance of the value (fANOVA)", title=label)
    axes.set_xlim(0.0, max(1e-9, 1.12 * max(weights.values())))
    return drawn


def slices(table: pd.DataFrame, names: Sequence[str], logarithmic: Sequence[str], label: str) -> Figure:
    """The value over each parameter."""

    rows = -(-len(names) // ACROSS)
    drawn = figure(3.2 * ACROSS, 3.0 * rows)
    places = drawn.subplots(rows, ACROSS, squeeze=False, sharey=True).ravel()
    for axes, name in zip(places, names, strict=False):
        _dots(axes, table, name)
        if name in logarithmic:
            axes.set_xscale("log")
            ends = [table[name].min(), table[name].max()]  # within a decade they alone have room
            decade = ends[1] >= 10.0 * ends[0]
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)) if decade else FixedLocator(ends))
            axes.xaxis.set_major_formatter(FormatStrFormatter("%g" if decade else "%.2g"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif _few(table[name]):
            if table[name].min() > 0:
                axes.set_xscale("log", base=2)
            axes.set_xticks(sorted(table[name].unique()), [f"{value:g}" for value in sorted(table[name].unique())])
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=_words(name))
    for row in range(rows):
        places[row * ACROSS].set(ylabel="probe accuracy, validation")
    for axes in places[len(names) :]:
        axes.axis("off")
    places[0].legend(frameon=False, fontsize=9)
    drawn.suptitle(label)
    return drawn


def parallel(table: pd.DataFrame, names: Sequence[str], logarithmic: Sequence[str], label: str) -> Figure:
    """One line a complete trial through what it had drawn, coloured by its value, the best on top."""

    drawn = figure(12.0, 4.8)
    axes = drawn.subplots()
    complete = table[table["state"] == "complete"].sort_values("value")
    lowest, highest = (complete["value"].min(), complete["value"].max()) if len(complete) else (0.0, 1.0)
    scale = Normalize(lowest, max(highest, lowest + 1e-9))
    colours = ScalarMappable(scale, "viridis_r")
    heights = np.array([_height(complete[name], name in logarithmic) for name in names])
    for place, value in enumerate(complete["value"]):
        axes.plot(heights[:, place], color=colours.to_rgba(value), linewidth=1.6, alpha=0.9)
    for place, name in enumerate(names):
        axes.axvline(place, color="black", linewidth=0.6)
        for height, value in _ends(complete[name], name in logarithmic):
            axes.annotate(f"{value:.3g}", (place, height), xytext=(4, 0), textcoords="offset points", fontsize=8)
    axes.set_xticks(range(len(names)), [_words(name) for name in names], rotation=20, ha="right")
    axes.set(yticks=[], title=label, xlim=(-0.2, len(names) - 0.4), ylim=(-0.06, 1.06))
    drawn.colorbar(colours, ax=axes, label="probe accuracy, validation")
    return drawn


def _dots(axes: Axes, table: pd.DataFrame, over: str) -> None:
    for state, (mark, colour) in MARKS.items():
        own = table[table["state"] == state]
        if len(own):
            axes.scatter(own[over], own["value"], marker=mark, color=colour, s=28, label=state)


def _height(values: pd.Series[float], logarithmic: bool) -> np.ndarray:
    """Where each value stands between the smallest (0) and the largest (1); few values at even distances."""

    if _few(values):
        found: np.ndarray = values.rank(method="dense").to_numpy() - 1.0
    else:
        found = np.log(values.to_numpy()) if logarithmic else values.to_numpy(dtype=float)
    span = found.max() - found.min() if len(found) else 0.0
    placed: np.ndarray = (found - found.min()) / span if span else np.full(len(found), 0.5)
    return placed


def _ends(values: pd.Series[float], logarithmic: bool) -> list[tuple[float, float]]:
    """(height, value) of what is written beside an axis: few values each, of many the smallest and the largest."""
    places = dict(zip(values, _height(values, logarithmic), strict=True))
    told = sorted(places) if _few(values) else sorted({min(places), max(places)}) if places else []
    return [(float(places[value]), float(value)) for value in told]


def _few(values: pd.Series[float]) -> bool:
    return bool(values.nunique() <= CHOICES_AT_MOST and (values == values.round()).all())


def _words(name: str) -> str:
    return name.replace("_", " ")
