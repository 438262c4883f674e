"""Training curves: losses, the adversarial game of ALI, and several runs compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from matplotlib.ticker import MaxNLocator

from symphony2vec.figures.canvas import COLOURS, legend_beside, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("-", "--", ":", "-.")
MOST_MARKERS = 30  # with more values no markers are drawn
SMOOTHED_ABOVE = 400  # values
WINDOWS = 100  # of the running mean in one curve
LOGARITHMIC_ABOVE = 20.0  # ratio of the last to the first update
EQUILIBRIUM = 2.0 * math.log(2.0)
LEAST_SPAN = 0.1  # nats: the smallest range of the loss axis, so that nearly constant losses look constant


def losses(
    curves: pd.DataFrame,
    columns: Sequence[str],
    label: str,
    by: Literal["epoch", "update"] = "epoch",
) -> Figure:
    """Draw columns over epochs or updates: the mean of rows with the same epoch, without missing values.

    train_<x> and validation_<x> share a colour; training is solid, validation dashed.

    Args:
        curves: one row an epoch or update.
        columns: to draw.
        label: the title.
        by: the column of the x axis.
    """
    fig = new_figure(8.0, _height(len(columns)))
    axes = fig.subplots()
    stems = list(dict.fromkeys(_stem(column) for column in columns))
    for column in columns:
        colour = COLOURS[stems.index(_stem(column)) % len(COLOURS)]
        style = "--" if column.startswith("validation_") else "-"
        _line(axes, curves.groupby(by)[column].mean().dropna(), _words(column), colour, style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=by, ylabel="loss", title=label)
    legend_beside(axes)
    return fig


def game(curves: pd.DataFrame, label: str) -> Figure:
    """Draw ALI's adversarial losses over updates (Figure 7 of the paper), and the outputs of its discriminator.

    Columns: update, discriminator_loss, generator_loss, and the discriminator's mean output in [0, 1] on pairs of the
    encoder (mean_output_real) and of the generator (mean_output_generated). At the equilibrium all outputs are 0.5 and
    both losses 2 ln 2. With more than 400 rows the lines are running means over the pale original values.
    """
    fig = new_figure(11.0, 4.6)
    loss_axes, output_axes = fig.subplots(1, 2)
    table = curves.set_index("update").sort_index()
    loss_axes.axhline(EQUILIBRIUM, color="black", linestyle=":", label="equilibrium, 2 ln 2")
    for column, colour in (("discriminator_loss", COLOURS[0]), ("generator_loss", COLOURS[3])):
        _line(loss_axes, table[column].dropna(), _words(column), colour)
    loss_axes.set(xlabel="update", ylabel="loss (nats)", title="Losses")
    loss_axes.ticklabel_format(axis="y", useOffset=False)
    low, high = loss_axes.get_ylim()
    missing = max(0.0, LEAST_SPAN - (high - low)) / 2.0
    loss_axes.set_ylim(low - missing, high + missing)
    output_axes.axhline(0.5, color="black", linestyle=":", label="equilibrium, 0.5")
    for column, colour in (("mean_output_real", COLOURS[0]), ("mean_output_generated", COLOURS[3])):
        _line(output_axes, table[column].dropna(), f"{column.rpartition('_')[2]} pairs", colour)
    output_axes.set(xlabel="update", ylabel="mean output of the discriminator", ylim=(-0.02, 1.02), title="Outputs")
    for axes in (loss_axes, output_axes):
        axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    fig.suptitle(label)
    return fig


def learning_curves(tables: Mapping[str, pd.DataFrame], column: str, label: str) -> Figure:
    """Draw one column of several runs over updates, with a dash style for each line, as lines may coincide.

    The scale of the updates is logarithmic if the last is more than 20 times the first.
    """
    fig = new_figure(8.0, _height(len(tables)))
    axes = fig.subplots()
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
    return fig


def _line(axes: Axes, values: pd.Series[float], label: str, colour: str, style: str = "-") -> None:
    """Draw values over their index: few with markers, many as a running mean over the pale values."""
    dots = "o" if len(values) <= MOST_MARKERS else ""
    if len(values) > SMOOTHED_ABOVE:
        axes.plot(values.index, values, color=colour, alpha=0.25, linewidth=0.6)
        values = values.rolling(len(values) // WINDOWS, center=True, min_periods=1).mean()
    axes.plot(values.index, values, style, color=colour, label=label, marker=dots, markersize=3.5, linewidth=1.5)


def _height(lines: int) -> float:
    """Return the height in inches that the legend beside the axes needs."""
    return max(4.2, 0.22 * lines + 0.9)


def _stem(column: str) -> str:
    return column.removeprefix("train_").removeprefix("validation_")


def _words(column: str) -> str:
    return column.replace("_", " ")
