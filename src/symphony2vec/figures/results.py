"""How well a probe names composers, model by model, and what a vector's length says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from symphony2vec.figures.canvas import COLOURS, figure, legend_below, patches, slanted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED_AT_MOST = 20
WRITTEN_AT_MOST = 15
PALE = 0.22
DIFFERENCES = "PuOr_r"
DIAGONAL = "0.8"
GAP = 1.5  # rows from the last model of a stage to the name of the next


class Look(NamedTuple):
    """How one kind of split is drawn; `offset` keeps the intervals of a row apart."""

    colour: str
    mark: str
    offset: float


LEAKS = {
    "work": Look(COLOURS[0], "o", -0.16),
    "movement": Look(COLOURS[1], "s", 0.0),
    "clip": Look(COLOURS[3], "D", 0.16),
}


def scatter(points: np.ndarray, composers: Sequence[str], label: str, shares: Sequence[float]) -> Figure:
    """The first two dimensions of an embedding (clips, 2), coloured by composer: Figure 4 of the paper."""

    drawn = figure(6.5, 5.2)
    axes = drawn.subplots()
    names = sorted(set(composers))
    colours = colormaps["tab10" if len(names) <= 10 else "turbo"].resampled(max(len(names), 10))
    order = np.random.default_rng(0).permutation(len(points))  # so that no composer is drawn on top of all others
    places = np.array([names.index(name) for name in composers])
    axes.scatter(points[order, 0], points[order, 1], c=colours(places[order]), s=9, alpha=0.7, linewidths=0)
    if len(names) <= NAMED_AT_MOST:
        axes.legend(handles=patches(names, [colours(i) for i in range(len(names))]), frameon=False, fontsize=8)
    axes.set(
        xlabel=f"first component ({shares[0]:.0%} of the variance)" if shares else "first dimension",
        ylabel=f"second component ({shares[1]:.0%})" if len(shares) > 1 else "second dimension",
        title=label,
    )
    return drawn


def confusion(counts: np.ndarray, composers: Sequence[str], label: str) -> Figure:
    """Confusion matrix (true, predicted) as shares of each true composer, with counts."""

    size = 0.75 * len(composers) + 2.6
    drawn = figure(size + 0.8, size)
    axes = drawn.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues")
    if len(composers) <= NAMED_AT_MOST:
        for row, column in np.ndindex(counts.shape):
            shade = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=shade, fontsize=9)
    axes.set_xticks(range(len(composers)), composers, **slanted(composers))
    axes.set_yticks(range(len(composers)), composers)
    axes.set(xlabel="named by the probe", ylabel="composer", title=label)
    drawn.colorbar(image, ax=axes, shrink=0.75, label="share of the composer's clips")
    return drawn


def accuracies(results: pd.DataFrame, majority: float) -> Figure:
    """Test accuracy of every model with its interval, beside the majority class."""
    drawn = figure(8.0, 0.42 * len(results) + 1.5)
    axes = drawn.subplots()
    places = range(len(results))
    low = results["accuracy"] - results["accuracy_low"]
    high = results["accuracy_high"] - results["accuracy"]
    axes.errorbar(results["accuracy"], places, xerr=[low, high], fmt="o", color=COLOURS[0], capsize=4)
    axes.axvline(majority, color="grey", linestyle="--", label="majority class")
    axes.set_yticks(places, results["model"])
    axes.set(
        xlabel="test accuracy, with the interval over works",
        xlim=(0.0, 1.0),
        title="Composer named by the probe",
    )
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return drawn


def correlation(
    distance: np.ndarray,
    values: np.ndarray,
    label: str,
    unit: str,
    rho: float,
    low: float,
    high: float,
) -> Figure:
    """The distance of each vector from the origin (clips,) against one property of its clip (clips,), given in `unit`.

    `rho` is their correlation, with its interval from `low` to `high`.
    """
    drawn = figure(6.2, 4.6)
    axes = drawn.subplots()
    axes.scatter(distance, values, s=10, color=COLOURS[0], alpha=0.45, linewidths=0)
    axes.set(xlabel="distance from the origin |z|", ylabel=unit)
    axes.set_title(f"{label}\nρ = {rho:+.2f}, from {low:+.2f} to {high:+.2f}")
    return drawn


def table(rows: pd.DataFrame, majority: float, paper: str = "in the paper") -> Figure:
    """Test accuracies (shares) of all models: one line a row, in the given order, under the name of its stage.

    Columns: stage, model, mean, low and high (the interval), spread (of the mean, between seeds) and paper. A missing
    spread or paper is not drawn; `paper` says in the legend what the paper's figures are.
    """
    drawn = figure(8.5, 0.26 * (len(rows) + GAP * rows["stage"].nunique()) + 1.7)
    axes = drawn.subplots()
    axes.axvline(majority, color="grey", linestyle="--", linewidth=1.2, label="majority class")
    place, ticks, headings = 0.0, [], []
    for stage, own in rows.groupby("stage", sort=False):
        places = [place + 1.0 + step for step in range(len(own))]
        _accuracies(axes, own, places, paper)
        ticks += [(place, str(stage)), *zip(places, own["model"].astype(str), strict=True)]
        headings += [True] + [False] * len(own)
        place = places[-1] + GAP
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    for text, heading in zip(axes.get_yticklabels(), headings, strict=True):
        text.set_fontweight("bold" if heading else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="test accuracy", title="Composer named by the probe", ylim=(place - GAP + 0.8, -0.8))
    axes.set_xlim(left=0.0)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    legend_below(drawn, axes)
    return drawn


def beside(rows: pd.DataFrame, majority: float) -> Figure:
    """Test accuracies (shares) of a few models beside the one that counts: dots with intervals, group by group.

    Columns: group, label, mean, low and high (the interval), and own, which is true of the one that counts: it is drawn
    in a colour of its own, with a line through its mean.
    """
    drawn = figure(9.5, 0.3 * (len(rows) + GAP * rows["group"].nunique()) + 1.5)
    axes = drawn.subplots()
    axes.axvline(majority, color="grey", linestyle="--", linewidth=1.2, label="majority class")
    place, ticks = 0.0, []
    for group, own in rows.groupby("group", sort=False):
        ticks.append((place, str(group), True))
        for label, mean, low, high, counts in own[["label", "mean", "low", "high", "own"]].itertuples(index=False):
            place += 1.0
            colour = COLOURS[3] if counts else COLOURS[0]
            axes.hlines([place], [low], [high], color=colour, linewidth=3.5, alpha=0.4)
            axes.plot([mean], [place], "o", color=colour, markersize=6.0)
            if counts:
                axes.axvline(mean, color=colour, linewidth=1.0, linestyle=":", label=f"{label}")
            ticks.append((place, str(label), bool(counts)))
        place += GAP
    axes.set_yticks([at for at, _, _ in ticks], [name for _, name, _ in ticks])
    for text, (_, _, heavy) in zip(axes.get_yticklabels(), ticks, strict=True):
        text.set_fontweight("bold" if heavy else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="test accuracy, with the interval over works", ylim=(place - GAP + 0.8, -0.8))
    axes.set_title("How often the composer is named rightly")
    axes.set_xlim(left=0.0)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    legend_below(drawn, axes)
    return drawn


def leak(rows: pd.DataFrame) -> Figure:
    """What a split is worth: the accuracy (a share) of each model where works, movements or clips are kept whole.

    Columns: model, split (work, movement or clip), mean, low and high. One line a model, in the order they come.
    """
    models = list(dict.fromkeys(rows["model"]))
    drawn = figure(8.0, 0.5 * len(models) + 1.7)
    axes = drawn.subplots()
    for place, model in enumerate(models):
        own = rows[rows["model"] == model]
        heights = [place + LEAKS[split].offset for split in own["split"]]
        axes.plot(own["mean"], heights, color="0.6", linewidth=1.0, zorder=1)
        for height, row in zip(heights, own.itertuples(), strict=True):
            look = LEAKS[str(row.split)]
            axes.plot([row.low, row.high], [height, height], color=look.colour, linewidth=1.6, alpha=0.6, zorder=2)
            axes.plot(row.mean, height, look.mark, color=look.colour, markersize=6.5, label=f"by {row.split}", zorder=3)
    axes.set_yticks(range(len(models)), models)
    axes.set(xlabel="test accuracy", title="What the split is worth", ylim=(len(models) - 0.4, -0.6))
    axes.grid(axis="x", color="0.92")
    legend_below(drawn, axes)
    return drawn


def pairs_matrix(names: Sequence[str], differences: np.ndarray, low: np.ndarray, high: np.ndarray) -> Figure:
    """How far each model (rows) lies above each other (columns), in points (M, M), with the ends of the intervals.

    Cells are pale where the interval holds 0; the diagonal is grey.
    """

    size = 0.3 * len(names) + 3.0 if len(names) > WRITTEN_AT_MOST else 0.55 * len(names) + 3.0
    drawn = figure(size + 1.4, size)
    axes = drawn.subplots()
    shown = np.where(np.eye(len(names), dtype=bool), np.nan, differences)
    sure = (low > 0.0) | (high < 0.0) | np.isnan(shown)
    widest = max(float(np.abs(differences).max()), 1.0)
    scale = ScalarMappable(Normalize(-widest, widest), colormaps[DIFFERENCES].with_extremes(bad=DIAGONAL))
    axes.imshow(shown, cmap=scale.cmap, vmin=-widest, vmax=widest, alpha=np.where(sure, 1.0, PALE))
    if len(names) <= WRITTEN_AT_MOST:
        for row, column in np.argwhere(np.isfinite(shown)):
            deep = sure[row, column] and abs(shown[row, column]) > 0.6 * widest
            shade = "white" if deep else "black"
            axes.text(column, row, f"{round(shown[row, column]):+d}", ha="center", va="center", color=shade, fontsize=9)
    axes.set_xticks(range(len(names)), names, fontsize=9, rotation=90 if len(names) > 3 else 0)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_title("Row less column, in points of accuracy\n(pale: the interval holds 0)", fontsize=11)
    drawn.colorbar(scale, ax=axes, shrink=0.75, label="points")
    return drawn


def _accuracies(axes: Axes, rows: pd.DataFrame, places: Sequence[float], paper: str) -> None:
    """The rows of one stage at their places: interval and mean, the spread between seeds below them, the paper's."""

    heights = np.array(places)
    axes.hlines(heights, rows["low"], rows["high"], color=COLOURS[5], linewidth=4.0, label="interval over works")
    axes.plot(rows["mean"], heights, "o", color=COLOURS[0], markersize=5.5, label="mean")
    seeds = rows["spread"].notna().to_numpy()
    if seeds.any():
        own = rows[seeds]
        start, end = own["mean"] - own["spread"], own["mean"] + own["spread"]
        axes.hlines(heights[seeds] + 0.3, start, end, color="black", linewidth=1.0, label="spread between seeds")
    known = rows["paper"].notna().to_numpy()
    if known.any():
        axes.plot(rows["paper"][known], heights[known], "D", color=COLOURS[3], fillstyle="none", label=paper)


def timeline(told: pd.DataFrame, composers: Sequence[str], label: str) -> Figure:
    """The probability of every composer over a recording; a row a passage: start_s, end_s, one column a composer."""

    drawn = figure(9.0, 3.0 + 0.1 * len(composers))
    axes = drawn.subplots()
    edges = np.append(told["start_s"].to_numpy(), told["end_s"].iloc[-1])
    steps = np.repeat(edges, 2)[1:-1] / 60.0
    shares = [np.repeat(told[name].to_numpy(), 2) for name in composers]
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(composers))]
    axes.stackplot(steps, shares, labels=list(composers), colors=colours, linewidth=0.0)
    axes.set(xlim=(steps[0], steps[-1]), ylim=(0.0, 1.0), xlabel="time (minutes)", ylabel="probability", title=label)
    legend_below(drawn, axes)
    return drawn
