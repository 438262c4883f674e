"""Random splits of the clips into train, validation and test, stratified by composer and grouped by work.

A *group* is never divided between splits: a work, a movement or, to measure the effect of leakage, a single clip.
A *fold* is one random split: its kind of group and its seed. All folds contain the same clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from symphony2vec.clips.index import MOVEMENT_COLUMNS
from symphony2vec.corpus.movements import movement_key
from symphony2vec.errors import UserError
from symphony2vec.params import Clips, Params
from symphony2vec.project import SplitFold

SPLITS = ("train", "validation", "test")
GROUP_COLUMNS = {"work": ["composer", "work"], "movement": ["composer", "work", "movement"], "clip": ["clip"]}
CANDIDATES = 10  # random assignments per composer, the best is used: works differ tenfold in length


def list_folds(params: Params) -> list[SplitFold]:
    """Return all folds that params.yaml lists. Results use those of the first one's kind; others measure leakage."""
    return [SplitFold.parse(name) for name in params.folds]


def select_folds(params: Params, name: str | None) -> list[SplitFold]:
    """Return the fold of this name, or all folds of params.yaml without a name.

    Raises:
        UserError: params.yaml does not list it.
    """
    if name is None:
        return list_folds(params)
    if name not in params.folds:
        raise UserError(f"params.yaml lists no fold '{name}'; its folds are {', '.join(params.folds)}")
    return [SplitFold.parse(name)]


def group_by_kind(params: Params) -> dict[str, list[str]]:
    """Return the names of the folds of each kind of group, the kind of the results first."""
    names: dict[str, list[str]] = {}
    for fold in list_folds(params):
        names.setdefault(fold.split, []).append(fold.name)
    return names


def drop_small_composers(
    clips: pd.DataFrame, settings: Clips, kinds: Collection[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Drop the composers with too few groups for train, validation and test in any kind of split.

    Args:
        clips: the index of clips.
        settings: the section `clips` of params.yaml.
        kinds: what the folds divide by: work, movement or clip.

    Returns:
        The remaining clips, renumbered, and the dropped composers (composer, work, movement, reason).

    Raises:
        UserError: a composer is too small and `small_composers` is "error", or fewer than two composers remain.
    """
    too_small = [
        str(composer)
        for composer, rows in clips.groupby("composer", sort=True)
        if any(choose_grouping(rows, kind, settings.fallback) is None for kind in kinds)
    ]
    if too_small and settings.small_composers == "error":
        raise UserError(_explain_too_small(clips, too_small, settings, kinds))
    remaining = clips[~clips["composer"].isin(too_small)].reset_index(drop=True)
    count = remaining["composer"].nunique()
    if count < 2:
        raise UserError(f"{count} composer{'' if count == 1 else 's'} with enough music; at least two are needed")
    remaining["clip"] = range(len(remaining))
    reasons = [
        (name, "", "", f"too little music for train, validation and test: {_count_music(clips, name)}")
        for name in too_small
    ]
    return remaining, pd.DataFrame(reasons, columns=["composer", "work", "movement", "reason"])


def split_clips(clips: pd.DataFrame, settings: Clips, fold: SplitFold) -> pd.DataFrame:
    """Assign the clips to train, validation and test for one fold.

    Every composer has at least one group in each split. The assignment of one composer does not depend on the others.

    Args:
        clips: the index of clips, without the composers that `drop_small_composers` removes.
        settings: the section `clips` of params.yaml.
        fold: the kind of group and the seed.

    Returns:
        The clips in the same order with the columns group, split and split_by (the kind of group).
    """
    tables = []
    for composer, rows in clips.groupby("composer", sort=True):
        grouping = choose_grouping(rows, fold.split, settings.fallback)
        assert grouping is not None, f"too few groups of {composer}; drop_small_composers removes it"
        groups = _group_names(rows, grouping)
        sizes = {str(name): int(count) for name, count in groups.value_counts().items()}
        rng = np.random.default_rng([fold.seed, int(hashlib.sha256(str(composer).encode()).hexdigest()[:12], 16)])
        splits = assign_groups(sizes, (settings.validation, settings.test), rng)
        tables.append(rows.assign(group=groups, split=groups.map(splits), split_by=grouping))
    columns = ["clip", *MOVEMENT_COLUMNS, "performance", "group", "split", "split_by", "file", "start_s"]
    return pd.concat(tables).sort_values("clip").reset_index(drop=True)[columns]


def choose_grouping(clips: pd.DataFrame, kind: str, fallback: str) -> str | None:
    """Return how to group one composer's clips: by `kind`, else by movement if allowed, else None."""
    kinds = ["work", "movement"] if kind == "work" and fallback == "movement" else [kind]
    return next((name for name in kinds if _group_names(clips, name).nunique() >= len(SPLITS)), None)


def _group_names(clips: pd.DataFrame, grouping: str) -> pd.Series:
    """Return the group of every clip; the performances of one movement form one group, named after the first."""
    names = clips[GROUP_COLUMNS[grouping]].astype(str).agg(" / ".join, axis=1)
    if grouping != "movement":
        return names
    keys = clips["work"].astype(str) + " / " + clips["movement"].astype(str).map(movement_key)
    return names.groupby(keys).transform("min")


def assign_groups(sizes: Mapping[str, int], shares: tuple[float, float], rng: np.random.Generator) -> dict[str, str]:
    """Assign whole groups to the splits so that the numbers of clips are close to the target shares.

    Of several random assignments the closest is returned.

    Args:
        sizes: number of clips of each group; at least three groups.
        shares: target shares of validation and test.
        rng: random generator.

    Returns:
        The split of each group; no split is empty.

    Examples:
        >>> assign_groups({"a": 6, "b": 1, "c": 3}, (0.1, 0.3), np.random.default_rng(0))["a"]
        'train'
    """
    total = sum(sizes.values())
    targets = dict(zip(SPLITS, (total * share for share in (1.0 - sum(shares), *shares)), strict=True))
    names = sorted(sizes)
    orders = ([names[index] for index in rng.permutation(len(names))] for _ in range(CANDIDATES))
    candidates = [_assign_greedily(order, sizes, targets) for order in orders]
    return min(candidates, key=lambda assignment: _deviation(assignment, sizes, targets))


def _assign_greedily(order: list[str], sizes: Mapping[str, int], targets: Mapping[str, float]) -> dict[str, str]:
    """Assign each group in turn to the split that misses most clips, leaving no split empty."""
    missing, empty, assignment = dict(targets), set(SPLITS), {}
    for index, name in enumerate(order):
        must_fill = len(order) - index <= len(empty)
        options = [split for split in SPLITS if split in empty] if must_fill else SPLITS
        split = max(options, key=missing.__getitem__)
        assignment[name] = split
        missing[split] -= sizes[name]
        empty.discard(split)
    return assignment


def _deviation(assignment: Mapping[str, str], sizes: Mapping[str, int], targets: Mapping[str, float]) -> float:
    """Return the sum over the splits of the relative deviation from the target number of clips."""
    counts = dict.fromkeys(SPLITS, 0)
    for name, split in assignment.items():
        counts[split] += sizes[name]
    return sum(abs(counts[split] / targets[split] - 1.0) for split in SPLITS)


def composer_shares(clips: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1 of the paper: the share of each composer (columns) among the clips of each split (rows).

    Examples:
        >>> composer_shares(pd.DataFrame({"split": list(SPLITS), "composer": ["A", "A", "B"]})).loc["test"].to_dict()
        {'A': 0.0, 'B': 1.0}
    """
    return pd.crosstab(clips["split"], clips["composer"], normalize="index").reindex(SPLITS).round(4)


def summarize_fold(clips: pd.DataFrame, fold: SplitFold) -> pd.DataFrame:
    """Return one row per composer of a fold: kind of group, works, movements, and groups and clips of each split."""
    summary = []
    for composer, rows in clips.groupby("composer", sort=True):
        row = {"fold": fold.name, "composer": composer, "split_by": rows["split_by"].iloc[0]}
        row |= {"works": rows["work"].nunique(), "movements": len(rows[["work", "movement"]].drop_duplicates())}
        for split in SPLITS:
            groups = rows.loc[rows["split"] == split, "group"]
            row |= {f"{split}_groups": groups.nunique(), f"{split}_clips": len(groups)}
        summary.append(row)
    return pd.DataFrame(summary)


def _count_music(clips: pd.DataFrame, composer: str) -> str:
    """Return how much music of a composer there is, as in "2 works, 9 movements, 40 clips"."""
    rows = clips[clips["composer"] == composer]
    counts = {"work": rows["work"].nunique(), "movement": len(rows[["work", "movement"]].drop_duplicates())}
    counts["clip"] = len(rows)
    return ", ".join(f"{count} {unit}{'' if count == 1 else 's'}" for unit, count in counts.items())


def _explain_too_small(clips: pd.DataFrame, composers: list[str], settings: Clips, kinds: Collection[str]) -> str:
    listing = "; ".join(f"{name} has {_count_music(clips, name)}" for name in composers)
    rows = clips[clips["composer"] == composers[0]]
    kind = next(kind for kind in kinds if choose_grouping(rows, kind, settings.fallback) is None)
    or_movements = " (or movements)" if kind == "work" and settings.fallback == "movement" else ""
    return (
        f"train, validation and test need at least three {kind}s{or_movements} of each composer, but {listing}. "
        "Add music, name the composers to keep in clips.composers, or set clips.small_composers to drop"
    )
