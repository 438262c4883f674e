"""What happened while a model learned: losses, the adversarial game, and runs beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from matplotlib.ticker import MaxNLocator

from symphony2vec.figures.canvas import COLOURS, figure, legend_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("-", "--", ":", "-.")
DOTTED_AT_MOST = 30
SMOOTHED_ABOVE = 400
WINDOWS = 100
LOGARITHMIC_ABOVE = 20.0
EQUILIBRIUM = 2.0 * math.log(2.0)
LEAST_SPAN = 0.1  # nats: losses that hardly move are drawn as lines that hardly move


def losses(
    curves: pd.DataFrame,
    columns: Sequence[str],
    label: str,
    by: Literal["epoch", "update"] = "epoch",
) -> Figure:
    """The named columns over the epochs or the updates; several rows of one epoch are averaged, gaps are bridged.

    Columns train_<x> and validation_<x> share a colour: training is solid, validation dashed.
    """

    drawn = figure(8.0, _height(len(columns)))
    axes = drawn.subplots()
    stems = list(dict.fromkeys(_stem(column) for column in columns))
    for column in columns:
        colour = COLOURS[stems.index(_stem(column)) % len(COLOURS)]
        style = "--" if column.startswith("validation_") else "-"
        _line(axes, curves.groupby(by)[column].mean().dropna(), _words(column), colour, style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=by, ylabel="loss", title=label)
    legend_beside(axes)
    return drawn


def game(curves: pd.DataFrame, label: str) -> Figure:
    """The game of ALI over its updates: Figure 7 of the paper, and whether the discriminator still tells the sides.

    Columns: update, discriminator_loss, generator_loss, and the discriminator's mean output in [0, 1] on pairs of the
    encoder (mean_output_real) and of the generator (mean_output_generated). Where it cannot tell them apart every
    output is 0.5, and both losses are 2 ln 2. Above 400 rows the lines are running means, with the rows pale behind.
    """
    drawn = figure(11.0, 4.6)
    left, right = drawn.subplots(1, 2)
    table = curves.set_index("update").sort_index()
    left.axhline(EQUILIBRIUM, color="black", linestyle=":", label="equilibrium, 2 ln 2")
    for column, colour in (("discriminator_loss", COLOURS[0]), ("generator_loss", COLOURS[3])):
        _line(left, table[column].dropna(), _words(column), colour)
    left.set(xlabel="update", ylabel="loss (nats)", title="Losses")
    left.ticklabel_format(axis="y", useOffset=False)
    low, high = left.get_ylim()
    missing = max(0.0, LEAST_SPAN - (high - low)) / 2.0
    left.set_ylim(low - missing, high + missing)
    right.axhline(0.5, color="black", linestyle=":", label="cannot tell, 0.5")
    for column, colour in (("mean_output_real", COLOURS[0]), ("mean_output_generated", COLOURS[3])):
        _line(right, table[column].dropna(), f"{column.rpartition('_')[2]} pairs", colour)
    right.set(xlabel="update", ylabel="mean output of the discriminator", ylim=(-0.02, 1.02), title="Outputs")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    drawn.suptitle(label)
    return drawn


def compared(tables: Mapping[str, pd.DataFrame], column: str, label: str) -> Figure:
    """One column of several runs over their updates, a line a run; lines that coincide differ in their dashes.

    The updates are on a logarithmic scale where the last is more than 20 times the first.
    """
    drawn = figure(8.0, _height(len(tables)))
    axes = drawn.subplots()
    updates: set[float] = set()
    for place, (name, table) in enumerate(tables.items()):
        line = table.set_index("update")[column].dropna().sort_index()
        updates |= set(line.index)
        style = STYLES[place % len(STYLES)]
        _line(axes, line, name, COLOURS[place % len(COLOURS)], style)
    first = min((update for update in updates if update > 0), default=1.0)
    if max(updates, default=1.0) > LOGARITHMIC_ABOVE * first:
        scale: dict[str, Any] = {"value": "symlog", "linthresh": first} if min(updates) <= 0 else {"value": "log"}
        axes.set_xscale(**scale)
    axes.set(xlabel="update", ylabel=_words(column), title=label)
    legend_beside(axes)
    return drawn


def _line(axes: Axes, values: pd.Series[float], label: str, colour: str, style: str = "-") -> None:
    """A line over the index of `values`: few values as dots too, many as a running mean with the values pale behind."""
    dots = "o" if len(values) <= DOTTED_AT_MOST else ""
    if len(values) > SMOOTHED_ABOVE:
        axes.plot(values.index, values, color=colour, alpha=0.25, linewidth=0.6)
        values = values.rolling(len(values) // WINDOWS, center=True, min_periods=1).mean()
    axes.plot(values.index, values, style, color=colour, label=label, marker=dots, markersize=3.5, linewidth=1.5)


def _height(lines: int) -> float:
    """Inches: as high as the legend beside the axes needs."""
    return max(4.2, 0.22 * lines + 0.9)


def _stem(column: str) -> str:
    return column.removeprefix("train_").removeprefix("validation_")


def _words(column: str) -> str:
    return column.replace("_", " ")
