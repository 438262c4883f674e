"""The musical labels of the clips, by composer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from symphony2vec.figures.canvas import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURED = {
    "loudness_db": ("Loudness", "RMS level (dBFS)"),
    "centroid_hz": ("Brightness", "spectral centroid (Hz)"),
    "notes_per_s": ("Density", "notes a second"),
    "instruments": ("Instruments", "sounding parts"),
}
UNKNOWN = "#cccccc"


def labels_overview(labels: pd.DataFrame, keys: Sequence[str], families: Sequence[str]) -> Figure:
    """Draw every label by composer: box plots of numbers, bars of modes and instrument families, a map of keys.

    Args:
        labels: one row a clip, with the column composer; empty cells are left out.
        keys: the names of all keys, in order.
        families: the columns of instrument families.
    """
    composers = [str(name) for name in sorted(labels["composer"].unique())]
    fig = new_figure(13.0, 0.84 * len(composers) + 5.6)
    grid = fig.add_gridspec(3, 12)
    upper = [fig.add_subplot(grid[0, 3 * place : 3 * place + 3]) for place in range(4)]
    for axes, (column, (title, unit)) in zip(upper, MEASURED.items(), strict=True):
        _boxes(axes, labels, composers, column)
        axes.set(title=title, xlabel=unit)
    mode, family = fig.add_subplot(grid[1, :6]), fig.add_subplot(grid[1, 6:])
    by_composer = labels.groupby("composer")
    mode_of_clip = labels["mode"].where(labels["mode"].isin(["major", "minor"]), "unknown")
    shares = mode_of_clip.groupby(labels["composer"]).value_counts(normalize=True)
    modes = shares.unstack(fill_value=0).reindex(columns=["major", "minor", "unknown"], fill_value=0.0)
    _stacked(mode, modes, composers, [*COLOURS[:2], UNKNOWN])
    mode.set(title="Mode", xlabel="share of clips")
    _stacked(family, by_composer[list(families)].mean().fillna(0.0), composers, COLOURS)
    family.set(title="Instrument families of the score", xlabel="mean share of sounding time")
    _keys(fig, fig.add_subplot(grid[2, :]), labels, composers, keys)
    for axes in (*upper[1:], family):
        axes.tick_params(labelleft=False)
    return fig


def _boxes(axes: Axes, labels: pd.DataFrame, composers: Sequence[str], column: str) -> None:
    """Draw median, quartiles, and whiskers at the 5th and 95th percentile."""
    values = [
        labels.loc[labels["composer"].astype(str) == name, column].dropna().to_numpy(dtype=float) for name in composers
    ]
    look: dict[str, Any] = {"boxprops": {"facecolor": COLOURS[5]}, "medianprops": {"color": COLOURS[6]}}
    axes.boxplot(
        values, orientation="horizontal", whis=(5, 95), showfliers=False, widths=0.6, patch_artist=True, **look
    )
    axes.set_yticks(range(1, len(composers) + 1), composers)
    axes.invert_yaxis()


def _stacked(axes: Axes, shares: pd.DataFrame, composers: Sequence[str], colours: Sequence[str]) -> None:
    """Draw one stacked bar for each composer from the shares in each column."""
    starts = [0.0] * len(composers)
    for (name, column), colour in zip(shares.items(), colours, strict=False):
        widths = column.reindex(list(composers), fill_value=0.0).to_numpy(dtype=float)
        axes.barh(range(len(composers)), widths, left=starts, color=colour, label=str(name))
        starts = [start + float(width) for start, width in zip(starts, widths, strict=True)]
    axes.set_yticks(range(len(composers)), composers)
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(len(composers) - 0.4, -0.6)
    axes.legend(frameon=False, fontsize=8, ncols=6, loc="lower center", bbox_to_anchor=(0.5, 1.08))


def _keys(fig: Figure, axes: Axes, labels: pd.DataFrame, composers: Sequence[str], keys: Sequence[str]) -> None:
    """Draw a map of the share of each composer's clips in each key."""
    with_key = labels[labels["key"].isin(keys)]
    counts = with_key.groupby([with_key["composer"].astype(str), "key"]).size().unstack(fill_value=0)
    clips = counts.reindex(index=list(composers), columns=list(keys), fill_value=0).to_numpy(dtype=float)
    shares = clips / clips.sum(axis=1, keepdims=True).clip(min=1.0)
    image = axes.imshow(shares, aspect="auto", cmap="Blues", vmin=0.0)
    axes.set_yticks(range(len(composers)), composers)
    axes.set_xticks(range(len(keys)), keys, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_title("Key")
    fig.colorbar(image, ax=axes, label="share of clips with a key", fraction=0.03, pad=0.01)
