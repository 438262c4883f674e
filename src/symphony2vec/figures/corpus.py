"""The music and its split: how much there is of whom, and on which side it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from symphony2vec.figures.canvas import COLOURS, figure, legend_beside, patches, slanted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS = ("train", "validation", "test")
SPLIT_COLOURS = COLOURS[: len(SPLITS)]


def audio_overview(movements: pd.DataFrame) -> Figure:
    """Minutes of music a composer, and the loudness of the movements before they were made equal."""
    drawn = figure(10.0, 0.35 * movements["composer"].nunique() + 2.2)
    left, right = drawn.subplots(1, 2)
    minutes = movements.groupby("composer")["duration_s"].sum() / 60.0
    counts = movements.groupby("composer")["file"].count()
    bars = left.barh(minutes.index.astype(str), minutes.to_numpy(), color=SPLIT_COLOURS[0])
    left.bar_label(bars, [f"{n} mvts" for n in counts], padding=3, fontsize=8)
    left.set(xlabel="minutes", title="Music by composer")
    left.margins(x=0.15)
    left.invert_yaxis()
    right.hist(movements["loudness_lufs"], bins=30, color=SPLIT_COLOURS[0])
    right.set(xlabel="integrated loudness before levelling (LUFS)", ylabel="movements", title="Loudness as found")
    return drawn


def class_balance(shares: pd.DataFrame) -> Figure:
    """Table 1 as bars: the share of each composer (columns) in each split (rows)."""
    drawn = figure(max(6.0, 1.1 * len(shares.columns) + 2.0), 3.6)
    axes = drawn.subplots()
    width = 0.8 / len(shares)
    for offset, (split, row) in enumerate(shares.iterrows()):
        places = [column + (offset - (len(shares) - 1) / 2) * width for column in range(len(row))]
        axes.bar(places, row.to_numpy(), width, label=str(split), color=SPLIT_COLOURS[offset % 3])
    axes.set_xticks(range(len(shares.columns)), [str(name) for name in shares.columns], **slanted(list(shares.columns)))
    axes.set(ylabel="share of clips", title="Class balance of each split")
    legend_beside(axes)
    return drawn


def split_map(clips: pd.DataFrame) -> Figure:
    """Every group of clips (a work, a movement or a clip) as a block in its composer's bar, in its split's colour."""
    composers = sorted(clips["composer"].unique())
    drawn = figure(10.0, 0.4 * len(composers) + 1.6)
    axes = drawn.subplots()
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
        handles=patches(SPLITS, SPLIT_COLOURS),
        frameon=False,
        ncols=3,
        loc="lower right",
        bbox_to_anchor=(1, 1),
    )
    return drawn


def near_duplicates(counts: pd.DataFrame) -> Figure:
    """The share of clips that hold the same sound as a clip of another split, one group of bars a fold.

    `counts` has fold, split, other_split and share, as `symphony2vec.clips.leaks.tables` gives them.
    """
    folds = list(dict.fromkeys(counts["fold"]))
    drawn = figure(max(6.0, 0.7 * len(folds) + 3.0), 3.2)
    axes = drawn.subplots()
    between = list(dict.fromkeys(zip(counts["split"], counts["other_split"], strict=True)))
    width = 0.8 / len(between)
    for place, (split, other) in enumerate(between):
        own = counts[(counts["split"] == split) & (counts["other_split"] == other)].set_index("fold")["share"]
        at = [number + (place - (len(between) - 1) / 2) * width for number in range(len(folds))]
        heights = [100.0 * float(own[fold]) for fold in folds]
        axes.bar(at, heights, width, label=f"{split}, also in {other}", color=COLOURS[place % len(COLOURS)])
    axes.set_xticks(range(len(folds)), folds, **slanted(folds))
    axes.set(ylabel="% of the clips", title="Clips with the same sound on another side of the split")
    axes.set_ylim(0.0, max(1.0, 105.0 * float(counts["share"].max())))
    legend_beside(axes)
    return drawn
