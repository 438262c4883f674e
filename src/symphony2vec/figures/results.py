"""Composer classification: accuracies, confusion, differences between models, leakage; and scatter plots of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from symphony2vec.figures.canvas import COLOURS, legend_below, new_figure, patches, slanted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COMPOSERS = 20  # with more there is no legend and no number in a cell
MOST_NUMBERS = 15  # with more models there is no number in a cell
PALE = 0.22
DIFFERENCE_COLOURS = "PuOr_r"
DIAGONAL = "0.8"
GAP = 1.5  # rows from the last model of a group to the name of the next


class Style(NamedTuple):
    """The style of one kind of split or level of predictions; `offset` separates the intervals of a row."""

    colour: str
    marker: str
    offset: float


# Of splits by work, movement or clip, and of predictions of works, movements or clips.
STYLES = {
    "work": Style(COLOURS[0], "o", -0.16),
    "movement": Style(COLOURS[1], "s", 0.0),
    "clip": Style(COLOURS[3], "D", 0.16),
}


def scatter(points: np.ndarray, composers: Sequence[str], label: str, shares: Sequence[float]) -> Figure:
    """Draw the first two dimensions of an embedding (clips, 2) by composer: Figure 4 of the paper.

    Args:
        points: (clips, 2).
        composers: of each clip.
        label: the title.
        shares: of the variance that each dimension explains; empty if not principal components.
    """
    fig = new_figure(6.5, 5.2)
    axes = fig.subplots()
    names = sorted(set(composers))
    colours = colormaps["tab10" if len(names) <= 10 else "turbo"].resampled(max(len(names), 10))
    order = np.random.default_rng(0).permutation(len(points))  # no composer is on top of all others
    places = np.array([names.index(name) for name in composers])
    axes.scatter(points[order, 0], points[order, 1], c=colours(places[order]), s=9, alpha=0.7, linewidths=0)
    if len(names) <= MOST_COMPOSERS:
        axes.legend(handles=patches(names, [colours(i) for i in range(len(names))]), frameon=False, fontsize=8)
    axes.set(
        xlabel=f"first component ({shares[0]:.0%} of the variance)" if shares else "first dimension",
        ylabel=f"second component ({shares[1]:.0%})" if len(shares) > 1 else "second dimension",
        title=label,
    )
    return fig


def confusion(counts: np.ndarray, composers: Sequence[str], label: str) -> Figure:
    """Draw a confusion matrix of counts (true, predicted), coloured by the share of each true composer."""
    size = 0.75 * len(composers) + 2.6
    fig = new_figure(size + 0.8, size)
    axes = fig.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues")
    if len(composers) <= MOST_COMPOSERS:
        for row, column in np.ndindex(counts.shape):
            shade = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=shade, fontsize=9)
    axes.set_xticks(range(len(composers)), composers, **slanted(composers))
    axes.set_yticks(range(len(composers)), composers)
    axes.set(xlabel="predicted composer", ylabel="true composer", title=label)
    fig.colorbar(image, ax=axes, shrink=0.75, label="share of the composer's clips")
    return fig


def accuracies(results: pd.DataFrame, majority: float) -> Figure:
    """Draw the test accuracy of every model with its interval, and that of the majority class.

    Columns: model, accuracy, accuracy_low, accuracy_high.
    """
    fig = new_figure(8.0, 0.42 * len(results) + 1.5)
    axes = fig.subplots()
    places = range(len(results))
    low = results["accuracy"] - results["accuracy_low"]
    high = results["accuracy_high"] - results["accuracy"]
    axes.errorbar(results["accuracy"], places, xerr=[low, high], fmt="o", color=COLOURS[0], capsize=4)
    axes.axvline(majority, color="grey", linestyle="--", label="majority class")
    axes.set_yticks(places, results["model"])
    axes.set(xlabel="test accuracy with interval over works", xlim=(0.0, 1.0), title="Composer classification")
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return fig


def correlation(
    distance: np.ndarray, values: np.ndarray, label: str, unit: str, rho: float, low: float, high: float
) -> Figure:
    """Draw a property of clips (clips,) over the distances of their vectors from the origin (clips,).

    `rho` is the correlation, with its interval from `low` to `high`; `unit` is that of the property.
    """
    fig = new_figure(6.2, 4.6)
    axes = fig.subplots()
    axes.scatter(distance, values, s=10, color=COLOURS[0], alpha=0.45, linewidths=0)
    axes.set(xlabel="distance from the origin |z|", ylabel=unit)
    axes.set_title(f"{label}\nρ = {rho:+.2f}, from {low:+.2f} to {high:+.2f}")
    return fig


def table(rows: pd.DataFrame, majority: float, paper: str = "in the paper") -> Figure:
    """Draw the test accuracies of all models in the given order, grouped by stage.

    Columns: stage, model, mean, low and high (the interval), spread (over folds) and paper; missing spreads and
    accuracies of the paper are left out. `paper` is their label in the legend.
    """
    fig = new_figure(8.5, 0.26 * (len(rows) + GAP * rows["stage"].nunique()) + 1.7)
    axes = fig.subplots()
    axes.axvline(majority, color="grey", linestyle="--", linewidth=1.2, label="majority class")
    place, ticks = 0.0, []
    for stage, group in rows.groupby("stage", sort=False):
        places = [place + 1.0 + step for step in range(len(group))]
        _draw_accuracies(axes, group, places, paper)
        ticks += [(place, str(stage), True)]
        ticks += [(at, str(model), False) for at, model in zip(places, group["model"], strict=True)]
        place = places[-1] + GAP
    _finish(fig, axes, ticks)
    axes.set(xlabel="test accuracy", title="Composer classification")
    return fig


def comparison(rows: pd.DataFrame, majority: float) -> Figure:
    """Draw the test accuracies of a few models with their intervals, grouped, with the reference model highlighted.

    Columns: group, label, mean, low and high (the interval), and own, which is true for the reference model.
    """
    fig = new_figure(9.5, 0.3 * (len(rows) + GAP * rows["group"].nunique()) + 1.5)
    axes = fig.subplots()
    axes.axvline(majority, color="grey", linestyle="--", linewidth=1.2, label="majority class")
    place, ticks = 0.0, []
    for name, group in rows.groupby("group", sort=False):
        ticks.append((place, str(name), True))
        columns = group[["label", "mean", "low", "high", "own"]]
        for label, mean, low, high, is_reference in columns.itertuples(index=False):
            place += 1.0
            colour = COLOURS[3] if is_reference else COLOURS[0]
            axes.hlines([place], [low], [high], color=colour, linewidth=3.5, alpha=0.4)
            axes.plot([mean], [place], "o", color=colour, markersize=6.0)
            if is_reference:
                axes.axvline(mean, color=colour, linewidth=1.0, linestyle=":", label=str(label))
            ticks.append((place, str(label), bool(is_reference)))
        place += GAP
    _finish(fig, axes, ticks)
    axes.set(xlabel="test accuracy with interval over works", title="Composer classification")
    return fig


def _finish(fig: Figure, axes: Axes, ticks: Sequence[tuple[float, str, bool]]) -> None:
    """Label the rows of a chart of accuracies (place, name, whether it is bold), and add grid and legend."""
    axes.set_yticks([place for place, _, _ in ticks], [name for _, name, _ in ticks])
    for text, (_, _, is_bold) in zip(axes.get_yticklabels(), ticks, strict=True):
        text.set_fontweight("bold" if is_bold else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(ticks[-1][0] + 0.8, -0.8))
    axes.set_xlim(left=0.0)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    legend_below(fig, axes)


def leakage(rows: pd.DataFrame) -> Figure:
    """Draw the test accuracy of each model by kind of split: by work, by movement or by clip.

    Columns: model, split (work, movement or clip), mean, low and high; one line for each model in the given order.
    """
    names = {name: f"by {name}" for name in STYLES}
    return _accuracies_by(rows, "split", names, "test accuracy", "Leakage: accuracy by kind of split")


def levels(rows: pd.DataFrame) -> Figure:
    """Draw the test accuracy of each model on clips, movements and works.

    Columns: model, level (clip, movement or work), mean, low and high; one line for each model in the given order.
    """
    names = {name: f"of {name}s" for name in STYLES}
    label = "test accuracy with interval over works"
    return _accuracies_by(rows, "level", names, label, "Composers of clips, movements and works")


def _accuracies_by(rows: pd.DataFrame, column: str, names: dict[str, str], label: str, title: str) -> Figure:
    """Draw accuracies with their intervals, several in one line for each model, in the style of the column's value."""
    models = list(dict.fromkeys(rows["model"]))
    fig = new_figure(8.0, 0.5 * len(models) + 1.7)
    axes = fig.subplots()
    for place, model in enumerate(models):
        of_model = rows[rows["model"] == model]
        heights = [place + STYLES[name].offset for name in of_model[column]]
        axes.plot(of_model["mean"], heights, color="0.6", linewidth=1.0, zorder=1)
        for height, row in zip(heights, of_model.to_dict("records"), strict=True):
            style, name = STYLES[row[column]], names[row[column]]
            ends = [row["low"], row["high"]]
            axes.plot(ends, [height, height], color=style.colour, linewidth=1.6, alpha=0.6, zorder=2)
            axes.plot(row["mean"], height, style.marker, color=style.colour, markersize=6.5, label=name, zorder=3)
    axes.set_yticks(range(len(models)), models)
    axes.set(xlabel=label, title=title, ylim=(len(models) - 0.4, -0.6))
    axes.grid(axis="x", color="0.92")
    legend_below(fig, axes)
    return fig


def pairs_matrix(names: Sequence[str], differences: np.ndarray, low: np.ndarray, high: np.ndarray) -> Figure:
    """Draw the differences between models, rows minus columns, in points (M, M).

    Cells whose interval from `low` to `high` (M, M) includes 0 are pale; the diagonal is grey.
    """
    size = 0.3 * len(names) + 3.0 if len(names) > MOST_NUMBERS else 0.55 * len(names) + 3.0
    fig = new_figure(size + 1.4, size)
    axes = fig.subplots()
    cells = np.where(np.eye(len(names), dtype=bool), np.nan, differences)
    significant = (low > 0.0) | (high < 0.0) | np.isnan(cells)
    widest = max(float(np.abs(differences).max()), 1.0)
    scale = ScalarMappable(Normalize(-widest, widest), colormaps[DIFFERENCE_COLOURS].with_extremes(bad=DIAGONAL))
    axes.imshow(cells, cmap=scale.cmap, vmin=-widest, vmax=widest, alpha=np.where(significant, 1.0, PALE))
    if len(names) <= MOST_NUMBERS:
        for row, column in np.argwhere(np.isfinite(cells)):
            deep = significant[row, column] and abs(cells[row, column]) > 0.6 * widest
            shade = "white" if deep else "black"
            axes.text(column, row, f"{round(cells[row, column]):+d}", ha="center", va="center", color=shade, fontsize=9)
    axes.set_xticks(range(len(names)), names, fontsize=9, rotation=90 if len(names) > 3 else 0)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_title(
        "Row minus column, in points of accuracy\n(pale: not significant, the interval includes 0)", fontsize=11
    )
    fig.colorbar(scale, ax=axes, shrink=0.75, label="points")
    return fig


def _draw_accuracies(axes: Axes, rows: pd.DataFrame, places: Sequence[float], paper: str) -> None:
    """Draw the models of one stage: mean, interval, spread over folds, and the accuracy in the paper."""
    heights = np.array(places)
    axes.hlines(heights, rows["low"], rows["high"], color=COLOURS[5], linewidth=4.0, label="interval over works")
    axes.plot(rows["mean"], heights, "o", color=COLOURS[0], markersize=5.5, label="mean")
    has_spread, in_paper = rows["spread"].notna().to_numpy(), rows["paper"].notna().to_numpy()
    if has_spread.any():
        ends = rows["mean"] - rows["spread"], rows["mean"] + rows["spread"]
        start, end = (values[has_spread] for values in ends)
        axes.hlines(heights[has_spread] + 0.3, start, end, color="black", linewidth=1.0, label="spread over folds")
    if in_paper.any():
        axes.plot(rows["paper"][in_paper], heights[in_paper], "D", color=COLOURS[3], fillstyle="none", label=paper)


def timeline(probabilities: pd.DataFrame, composers: Sequence[str], label: str) -> Figure:
    """Draw the probability of every composer over a recording.

    Columns: start_s, end_s and one for each composer; one row a passage.
    """
    fig = new_figure(9.0, 3.0 + 0.1 * len(composers))
    axes = fig.subplots()
    edges = np.append(probabilities["start_s"].to_numpy(), probabilities["end_s"].iloc[-1])
    steps = np.repeat(edges, 2)[1:-1] / 60.0
    shares = [np.repeat(probabilities[name].to_numpy(), 2) for name in composers]
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(composers))]
    axes.stackplot(steps, shares, labels=list(composers), colors=colours, linewidth=0.0)
    axes.set(xlim=(steps[0], steps[-1]), ylim=(0.0, 1.0), xlabel="time (minutes)", ylabel="probability", title=label)
    legend_below(fig, axes)
    return fig
