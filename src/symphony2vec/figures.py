"""Arrays and tables in, matplotlib figures out. Nothing here reads a file or knows a stage.

Spectrograms are (F, T): F bins from low to high, T frames of `frame_s` seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec.artifacts import whole_file

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

SPLITS = ("train", "validation", "test")
SPLIT_COLOURS = ("#4c72b0", "#dd8452", "#55a868")
DPI = 110
NAMED_AT_MOST = 20


def save(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, the same bytes for the same figure, and close it."""
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    figure.clear()


def audio_overview(movements: pd.DataFrame) -> Figure:
    """Minutes of music a composer, and the loudness of the movements before they were made equal."""
    figure = _figure(10.0, 0.35 * movements["composer"].nunique() + 2.2)
    left, right = figure.subplots(1, 2)
    minutes = movements.groupby("composer")["duration_s"].sum() / 60.0
    counts = movements.groupby("composer")["file"].count()
    bars = left.barh(minutes.index.astype(str), minutes.to_numpy(), color=SPLIT_COLOURS[0])
    left.bar_label(bars, [f"{n} mvts" for n in counts], padding=3, fontsize=8)
    left.set(xlabel="minutes", title="Music by composer")
    left.margins(x=0.15)
    left.invert_yaxis()
    right.hist(movements["loudness_lufs"], bins=30, color=SPLIT_COLOURS[0])
    right.set(xlabel="integrated loudness before levelling (LUFS)", ylabel="movements", title="Loudness as found")
    return figure


def class_balance(shares: pd.DataFrame) -> Figure:
    """Table 1 as bars: the share of each composer (columns) in each split (rows)."""
    figure = _figure(max(6.0, 1.1 * len(shares.columns) + 2.0), 3.6)
    axes = figure.subplots()
    width = 0.8 / len(shares)
    for offset, (split, row) in enumerate(shares.iterrows()):
        places = [column + (offset - (len(shares) - 1) / 2) * width for column in range(len(row))]
        axes.bar(places, row.to_numpy(), width, label=str(split), color=SPLIT_COLOURS[offset % 3])
    axes.set_xticks(
        range(len(shares.columns)), [str(name) for name in shares.columns], **_slanted(list(shares.columns))
    )
    axes.set(ylabel="share of clips", title="Class balance of each split")
    axes.legend(frameon=False)
    return figure


def split_map(clips: pd.DataFrame) -> Figure:
    """Every group of clips (a work, a movement or a clip) as a block in its composer's bar, in its split's colour."""
    composers = sorted(clips["composer"].unique())
    figure = _figure(10.0, 0.4 * len(composers) + 1.6)
    axes = figure.subplots()
    for place, composer in enumerate(composers):
        own = clips[clips["composer"] == composer]
        left = 0
        for split, colour in zip(SPLITS, SPLIT_COLOURS, strict=True):
            for _, group in own[own["split"] == split].groupby("group"):
                axes.barh(place, len(group), left=left, color=colour, edgecolor="white", linewidth=0.6)
                left += len(group)
    axes.set_yticks(range(len(composers)), composers)
    axes.invert_yaxis()
    axes.set(xlabel="clips; each block is one group, whole on one side", title="Split")
    axes.legend(
        handles=_patches(SPLITS, SPLIT_COLOURS),
        frameon=False,
        ncols=3,
        loc="lower right",
        bbox_to_anchor=(1, 1),
    )
    return figure


def examples(
    arrays: Mapping[str, np.ndarray],
    label: str,
    unit: str,
    bins: str,
    frame_s: float,
    limits: tuple[float, float],
) -> Figure:
    """One spectrogram (F, T) a composer, on one colour scale: Figures 1 to 3 of the paper."""
    import numpy as np

    columns = min(3, len(arrays))
    rows = -(-len(arrays) // columns)
    figure = _figure(4.2 * columns, 2.5 * rows + 0.4)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)).ravel()
    low, high = limits
    image: Any = None
    for axes, (name, array) in zip(grid, arrays.items(), strict=False):
        extent = (0.0, array.shape[1] * frame_s, -0.5, array.shape[0] - 0.5)
        image = axes.imshow(array, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap="magma")
        axes.set_title(name, fontsize=10)
    for axes in grid[len(arrays) :]:
        axes.set_axis_off()
    for axes in grid[-columns:]:
        axes.set_xlabel("s")
    for axes in grid[::columns]:
        axes.set_ylabel(bins)
    figure.colorbar(image, ax=list(grid), label=unit, shrink=0.8)
    figure.suptitle(label)
    return figure


def scatter(points: np.ndarray, composers: Sequence[str], label: str, shares: Sequence[float]) -> Figure:
    """The first two dimensions of an embedding (clips, 2), coloured by composer: Figure 4 of the paper."""
    import numpy as np
    from matplotlib import colormaps

    figure = _figure(6.5, 5.2)
    axes = figure.subplots()
    names = sorted(set(composers))
    colours = colormaps["tab10" if len(names) <= 10 else "turbo"].resampled(max(len(names), 10))
    order = np.random.default_rng(0).permutation(len(points))  # so that no composer is drawn on top of all others
    places = np.array([names.index(name) for name in composers])
    axes.scatter(points[order, 0], points[order, 1], c=colours(places[order]), s=9, alpha=0.7, linewidths=0)
    if len(names) <= NAMED_AT_MOST:
        axes.legend(handles=_patches(names, [colours(i) for i in range(len(names))]), frameon=False, fontsize=8)
    axes.set(
        xlabel=f"first component ({shares[0]:.0%} of the variance)",
        ylabel=f"second component ({shares[1]:.0%})" if len(shares) > 1 else "",
        title=label,
    )
    return figure


def confusion(counts: np.ndarray, composers: Sequence[str], label: str) -> Figure:
    """Confusion matrix (true, predicted) as shares of each true composer, with counts."""
    import numpy as np

    size = 0.75 * len(composers) + 2.6
    figure = _figure(size + 0.8, size)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues")
    if len(composers) <= NAMED_AT_MOST:
        for row, column in np.ndindex(counts.shape):
            shade = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=shade, fontsize=9)
    axes.set_xticks(range(len(composers)), composers, **_slanted(composers))
    axes.set_yticks(range(len(composers)), composers)
    axes.set(xlabel="named by the probe", ylabel="composer", title=label)
    figure.colorbar(image, ax=axes, shrink=0.75, label="share of the composer's clips")
    return figure


def accuracies(results: pd.DataFrame, majority: float) -> Figure:
    """Test accuracy of every model with its interval, beside the majority class."""
    figure = _figure(8.0, 0.42 * len(results) + 1.5)
    axes = figure.subplots()
    places = range(len(results))
    low = results["accuracy"] - results["accuracy_low"]
    high = results["accuracy_high"] - results["accuracy"]
    axes.errorbar(results["accuracy"], places, xerr=[low, high], fmt="o", color=SPLIT_COLOURS[0], capsize=4)
    axes.axvline(majority, color="grey", linestyle="--", label="majority class")
    axes.set_yticks(places, results["model"])
    axes.set(
        xlabel="test accuracy, with the interval over works",
        xlim=(0.0, 1.0),
        title="Composer named by the probe",
    )
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return figure


def _figure(width: float, height: float) -> Figure:
    """A figure of its own, outside pyplot's global state; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(min(width, 40.0), min(height, 40.0)), layout="constrained")


def _patches(names: Sequence[str], colours: Sequence[Any]) -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(color=colour, label=name) for name, colour in zip(names, colours, strict=True)]


def _slanted(names: Sequence[Any]) -> dict[str, Any]:
    crowded = sum(len(str(name)) for name in names) > 45
    return {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
