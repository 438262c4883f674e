"""The corpus and its splits: music by composer, class balance, groups of clips and near-duplicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from symphony2vec.figures.canvas import COLOURS, legend_beside, new_figure, patches, slanted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS = ("train", "validation", "test")
SPLIT_COLOURS = COLOURS[: len(SPLITS)]


def audio_overview(movements: pd.DataFrame) -> Figure:
    """Draw minutes of music by composer, and the loudness of the movements before normalisation.

    Columns: composer, file, duration_s, loudness_lufs; one row a movement.
    """
    fig = new_figure(10.0, 0.35 * movements["composer"].nunique() + 2.2)
    minutes_axes, loudness_axes = fig.subplots(1, 2)
    minutes = movements.groupby("composer")["duration_s"].sum() / 60.0
    counts = movements.groupby("composer")["file"].count()
    bars = minutes_axes.barh(minutes.index.astype(str), minutes.to_numpy(), color=SPLIT_COLOURS[0])
    minutes_axes.bar_label(bars, [f"{n} mvts" for n in counts], padding=3, fontsize=8)
    minutes_axes.set(xlabel="minutes", title="Music by composer")
    minutes_axes.margins(x=0.15)
    minutes_axes.invert_yaxis()
    loudness_axes.hist(movements["loudness_lufs"], bins=30, color=SPLIT_COLOURS[0])
    loudness_axes.set(xlabel="integrated loudness (LUFS)", ylabel="movements", title="Loudness before normalisation")
    return fig


def class_balance(shares: pd.DataFrame) -> Figure:
    """Draw Table 1 of the paper as bars: the share of each composer (columns) in each split (rows)."""
    fig = new_figure(max(6.0, 1.1 * len(shares.columns) + 2.0), 3.6)
    axes = fig.subplots()
    width = 0.8 / len(shares)
    for offset, (split, row) in enumerate(shares.iterrows()):
        places = [column + (offset - (len(shares) - 1) / 2) * width for column in range(len(row))]
        axes.bar(places, row.to_numpy(), width, label=str(split), color=SPLIT_COLOURS[offset % 3])
    axes.set_xticks(range(len(shares.columns)), [str(name) for name in shares.columns], **slanted(list(shares.columns)))
    axes.set(ylabel="share of clips", title="Class balance of each split")
    legend_beside(axes)
    return fig


def split_map(clips: pd.DataFrame) -> Figure:
    """Draw every group of clips as a block in its composer's bar, in the colour of its split.

    Columns: composer, split, group; one row a clip.
    """
    composers = sorted(clips["composer"].unique())
    fig = new_figure(10.0, 0.4 * len(composers) + 1.6)
    axes = fig.subplots()
    for place, composer in enumerate(composers):
        of_composer = clips[clips["composer"] == composer]
        start = 0
        for split, colour in zip(SPLITS, SPLIT_COLOURS, strict=True):
            for _, group in of_composer[of_composer["split"] == split].groupby("group"):
                axes.barh(place, len(group), left=start, color=colour, edgecolor="white", linewidth=0.6)
                start += len(group)
    axes.set_yticks(range(len(composers)), composers)
    axes.invert_yaxis()
    axes.set(xlabel="clips; each block is one group", title="Split")
    handles = patches(SPLITS, SPLIT_COLOURS)
    axes.legend(handles=handles, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return fig


def near_duplicates(counts: pd.DataFrame) -> Figure:
    """Draw the share of clips with a near-duplicate in another split, one group of bars for each fold.

    Columns: fold, split, other_split, share, as from `symphony2vec.clips.leaks.tables`.
    """
    folds = list(dict.fromkeys(counts["fold"]))
    fig = new_figure(max(6.0, 0.7 * len(folds) + 3.0), 3.2)
    axes = fig.subplots()
    between = list(dict.fromkeys(zip(counts["split"], counts["other_split"], strict=True)))
    width = 0.8 / len(between)
    for place, (split, other) in enumerate(between):
        share_of = counts[(counts["split"] == split) & (counts["other_split"] == other)].set_index("fold")["share"]
        at = [number + (place - (len(between) - 1) / 2) * width for number in range(len(folds))]
        heights = [100.0 * float(share_of[fold]) for fold in folds]
        axes.bar(at, heights, width, label=f"{split}, also in {other}", color=COLOURS[place % len(COLOURS)])
    axes.set_xticks(range(len(folds)), folds, **slanted(folds))
    axes.set(ylabel="% of the clips", title="Clips with a near-duplicate in another split")
    axes.set_ylim(0.0, max(1.0, 105.0 * float(counts["share"].max())))
    legend_beside(axes)
    return fig
