"""Movements are cut into clips, and clips are split by composer and by whole works. No sound is copied.

Reads   out/audio/movements.csv
Writes  out/clips/clips.csv        one row a clip, in the order of all arrays: clip, composer, work, movement,
                                   file, start_s
        out/clips/folds/<fold>.csv the same clips with group, split and split_by, for every fold: work-0, ...
        out/clips/balance.csv      Table 1 of the paper: each composer's share of each side of the first fold
        out/clips/splits.csv       how each composer was split in each fold, and into how many groups and clips
        out/clips/left_out.csv     movements and composers that give no clip, with the reason
        out/clips/balance.png, split.png

A *group* is what stays whole on one side of the split: a work, a movement, or (to show what the leak is worth) a clip.
A *fold* is one split drawn at random: by what it is grouped, and its seed. The clips are the same in every fold.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd

from symphony2vec import figures
from symphony2vec.corpus import decisions, similarity
from symphony2vec.corpus.movements import movement_key
from symphony2vec.errors import UserError
from symphony2vec.params import Clips, Params
from symphony2vec.project import Project, SplitFold, atomic_folder, read_table, write_table

T = TypeVar("T")
SPLITS = ("train", "validation", "test")
GROUPED_BY = {"work": ["composer", "work"], "movement": ["composer", "work", "movement"], "clip": ["clip"]}
# Groups are dealt this many times, and the deal nearest the wanted shares is kept: works differ tenfold in length.
DEALS = 10


def run(project: Project, params: Params) -> None:
    """The stage `clips`."""

    movements = read_table(project.movements, "audio")
    movements = chosen(movements, params.clips.composers)
    if params.clips.alike_works == "error" and params.clips.splits[0] == "work":
        refuse_alike(movements, decisions.read(project.corpus(params.corpus.name)).distinct_keys)
    clips, left_out = cut(movements, params.clips)
    clips, dropped = large_enough(clips, params.clips)
    tables = {fold: split(clips, params.clips, fold) for fold in folds(params)}
    first = next(iter(tables.values()))
    with atomic_folder(project.out("clips")) as folder:
        write_table(folder / "clips.csv", clips)
        for fold, table in tables.items():
            write_table(folder / "folds" / f"{fold.name}.csv", table)
        write_table(folder / "balance.csv", balance(first).reset_index(names="split"))
        write_table(folder / "splits.csv", pd.concat([summary(table, fold) for fold, table in tables.items()]))
        write_table(folder / "left_out.csv", _reasons(left_out, dropped))
        figures.save(folder / "balance.png", figures.class_balance(balance(first)))
        figures.save(folder / "split.png", figures.split_map(first))
    print(
        f"clips: {len(clips)} of {params.clips.duration_s:g} s by {clips['composer'].nunique()} composers, "
        f"split in {len(tables)} fold{'' if len(tables) == 1 else 's'}"
    )


def folds(params: Params) -> Iterator[SplitFold]:
    """Every fold that params.yaml asks for; the first is the first seed of the first split."""
    for kind in params.clips.splits:
        count = params.seeds if kind == params.clips.splits[0] else min(params.seeds, params.clips.leak_seeds)
        for seed in range(params.clips.seed, params.clips.seed + count):
            yield SplitFold(kind, seed)


def chosen(movements: pd.DataFrame, composers: list[str]) -> pd.DataFrame:
    """The movements of the named composers; of all when none is named."""
    known = sorted(movements["composer"].unique())
    for name in composers:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(known)}"
            raise UserError(f"clips.composers: no composer '{name}' in the catalogue{hint}")
    return movements[movements["composer"].isin(composers)] if composers else movements


def refuse_alike(movements: pd.DataFrame, apart: Iterable[tuple[str, frozenset[str]]] = ()) -> None:
    """Refuse movements whose works or composers may be one under two names: a split would hold one work on two sides.

    Args:
        movements: composer, work and movement of each.
        apart: The keys of pairs that a person decided to keep apart (see `symphony2vec.corpus.decisions`).

    Raises:
        UserError: there is such a pair.
    """
    titles = (tuple(map(str, row)) for row in movements[["composer", "work", "movement"]].itertuples(index=False))
    asked = similarity.find_similar_names(((composer, work, movement) for composer, work, movement in titles), apart)
    if asked:
        more = f" (and {len(asked) - 3} more)" if len(asked) > 3 else ""
        raise UserError(
            f"a split by work needs one name for each work: {'; '.join(map(str, asked[:3]))}{more}. "
            "`symphony2vec corpus check` lists all; give these options to `symphony2vec corpus import`, "
            "or set clips.alike_works to allow"
        )


def cut(movements: pd.DataFrame, settings: Clips) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row a clip, sorted by composer, work, movement and start; and the movements too short for one clip."""

    columns = ["composer", "work", "movement", "file"]
    movements = movements.sort_values(columns)
    rows, short = [], []
    for movement in movements.to_dict("records"):
        starts = starts_s(float(movement["duration_s"]), settings)
        rows += [{**{name: movement[name] for name in columns}, "start_s": start} for start in starts]
        if not starts:
            reason = f"{movement['duration_s']:.1f} s is too short for a clip of {settings.duration_s:g} s"
            short.append({**{name: movement[name] for name in columns[:3]}, "reason": reason})
    if not rows:
        raise UserError(
            f"no movement is long enough for one clip of {settings.duration_s:g} s: lower clips.duration_s or "
            "clips.minimum_fill"
        )
    clips = pd.DataFrame(rows, columns=[*columns, "start_s"])
    if settings.max_per_composer:
        own = clips.groupby("composer", sort=True).indices.values()
        kept = [_thinned(list(places), settings.max_per_composer) for places in own]
        clips = clips.iloc[[place for places in kept for place in places]].reset_index(drop=True)
    clips.insert(0, "clip", range(len(clips)))
    return clips, pd.DataFrame(short, columns=[*columns[:3], "reason"])


def starts_s(duration_s: float, settings: Clips) -> list[float]:
    """Where the clips of one movement start: every step that leaves a full clip, or one nearly full at the end."""
    step_s = settings.duration_s * (1.0 - settings.overlap)
    needed_s = settings.minimum_fill * settings.duration_s
    starts, start = [], 0.0
    while duration_s - start >= needed_s - 1e-6:
        starts.append(round(start, 4))
        if duration_s - start < settings.duration_s:
            break  # that was the last one, padded
        start = len(starts) * step_s
    return _thinned(starts, settings.max_per_movement) if settings.max_per_movement else starts


def large_enough(clips: pd.DataFrame, settings: Clips) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The clips of the composers that every split asked for can hold, and the composers that are dropped.

    Raises:
        UserError: a composer has too few works or movements, or fewer than two composers are left.
    """

    small = [
        str(composer)
        for composer, own in clips.groupby("composer", sort=True)
        if any(mode_of(own, kind, settings.fallback) is None for kind in settings.splits)
    ]
    if small and settings.small_composers == "error":
        raise UserError(_too_small(clips, small, settings))
    kept = clips[~clips["composer"].isin(small)].reset_index(drop=True)
    if kept["composer"].nunique() < 2:
        left = kept["composer"].nunique()
        raise UserError(f"{left} composer{'' if left == 1 else 's'} with enough music; two are needed")
    kept["clip"] = range(len(kept))
    reasons = [{"composer": name, "work": "", "movement": "", "reason": _what_is_there(clips, name)} for name in small]
    return kept, pd.DataFrame(reasons, columns=["composer", "work", "movement", "reason"])


def split(clips: pd.DataFrame, settings: Clips, fold: SplitFold) -> pd.DataFrame:
    """Add `group`, `split` and `split_by`: each composer's groups shared out whole, at random, near the wanted shares.

    Every composer has at least one group on each side. What is drawn for one composer does not depend on the others.
    """

    parts = []
    for composer, own in clips.groupby("composer", sort=True):
        mode = mode_of(own, fold.split, settings.fallback)
        assert mode is not None, "large_enough left this composer out"
        own = own.assign(group=_groups(own, mode))
        rng = np.random.default_rng([fold.seed, int(hashlib.sha256(str(composer).encode()).hexdigest()[:12], 16)])
        sides = share_out(
            {str(name): int(count) for name, count in own["group"].value_counts().items()},
            (settings.validation, settings.test),
            rng,
        )
        parts.append(own.assign(split=own["group"].map(sides), split_by=mode))
    columns = ["clip", "composer", "work", "movement", "group", "split", "split_by", "file", "start_s"]
    return pd.concat(parts).sort_values("clip").reset_index(drop=True)[columns]


def _groups(clips: pd.DataFrame, mode: str) -> pd.Series:
    """The group of every clip; the performances of one movement are one group, which has the name of the first."""
    names = clips[GROUPED_BY[mode]].astype(str).agg(" / ".join, axis=1)
    if mode != "movement":
        return names
    keys = clips["work"].astype(str) + " / " + clips["movement"].astype(str).map(movement_key)
    return names.groupby(keys).transform("min")


def mode_of(clips: pd.DataFrame, kind: str, fallback: str) -> str | None:
    """How the clips of one composer are grouped: as asked, else by movement where allowed; None when neither holds."""
    modes = [kind]
    if kind == "work" and fallback == "movement":
        modes.append("movement")
    for mode in modes:
        if _groups(clips, mode).nunique() >= len(SPLITS):
            return mode
    return None


def share_out(sizes: Mapping[str, int], shares: tuple[float, float], rng: np.random.Generator) -> dict[str, str]:
    """Deal the groups to the three sides: of several random deals the one nearest the wanted shares of clips.

    Args:
        sizes: clips a group; three groups or more.
        shares: the wanted shares of validation and test.
        rng: the source of the order.
    """
    total = sum(sizes.values())
    wanted = dict(zip(SPLITS, (total * share for share in (1.0 - sum(shares), *shares)), strict=True))
    names = sorted(sizes)
    deals = [_dealt([names[place] for place in rng.permutation(len(names))], sizes, wanted) for _ in range(DEALS)]
    return min(deals, key=lambda sides: _distance(sides, sizes, wanted))


def _dealt(order: list[str], sizes: Mapping[str, int], wanted: Mapping[str, float]) -> dict[str, str]:
    """Each group in turn goes to the side that lacks most clips; no side stays empty."""
    lacking, empty, sides = dict(wanted), set(SPLITS), {}
    for left, name in zip(range(len(order), 0, -1), order, strict=True):
        open_to = [side for side in SPLITS if side in empty] if left <= len(empty) else SPLITS
        sides[name] = max(open_to, key=lambda side: lacking[side])
        lacking[sides[name]] -= sizes[name]
        empty.discard(sides[name])
    return sides


def _distance(sides: Mapping[str, str], sizes: Mapping[str, int], wanted: Mapping[str, float]) -> float:
    """How far a deal is from the wanted clips a side, each side by its own measure."""
    dealt = dict.fromkeys(SPLITS, 0)
    for name, side in sides.items():
        dealt[side] += sizes[name]
    return sum(abs(dealt[side] / wanted[side] - 1.0) for side in SPLITS)


def balance(clips: pd.DataFrame) -> pd.DataFrame:
    """Table 1: the share of each composer (columns) among the clips of each split (rows); every row sums to 1."""

    return pd.crosstab(clips["split"], clips["composer"], normalize="index").reindex(SPLITS).round(4)


def summary(clips: pd.DataFrame, fold: SplitFold) -> pd.DataFrame:
    """One row a composer of one fold: by what it was split, works, movements, and groups and clips of each split."""

    rows = []
    for composer, own in clips.groupby("composer", sort=True):
        row = {"fold": fold.name, "composer": composer, "split_by": own["split_by"].iloc[0]}
        row |= {"works": own["work"].nunique(), "movements": len(own[["work", "movement"]].drop_duplicates())}
        for side in SPLITS:
            part = own[own["split"] == side]
            row |= {f"{side}_groups": part["group"].nunique(), f"{side}_clips": len(part)}
        rows.append(row)
    return pd.DataFrame(rows)


def _thinned(items: list[T], wanted: int) -> list[T]:
    """At most `wanted` of the items, evenly spread, both ends included; the middle one when one is wanted."""
    if len(items) <= wanted:
        return items
    last = len(items) - 1
    places = [last / 2] if wanted == 1 else [place * last / (wanted - 1) for place in range(wanted)]
    return [items[round(place)] for place in places]


def _what_is_there(clips: pd.DataFrame, composer: str) -> str:
    own = clips[clips["composer"] == composer]
    counts = (own["work"].nunique(), len(own[["work", "movement"]].drop_duplicates()), len(own))
    words = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in zip(counts, ("work", "movement", "clip"), strict=True)]
    return f"too little music for train, validation and test: {', '.join(words)}"


def _too_small(clips: pd.DataFrame, small: list[str], settings: Clips) -> str:
    listed = "; ".join(f"{name} has {_what_is_there(clips, name).split(': ')[1]}" for name in small)
    own = clips[clips["composer"] == small[0]]
    failing = next(kind for kind in settings.splits if mode_of(own, kind, settings.fallback) is None)
    units = {"work": "works", "movement": "movements", "clip": "clips"}[failing]
    or_movements = " (or movements)" if failing == "work" and settings.fallback == "movement" else ""
    return (
        f"train, validation and test need at least three {units}{or_movements} of each composer, but {listed}. "
        "Add music, name the composers to keep in clips.composers, or set clips.small_composers to drop"
    )


def _reasons(*tables: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table.astype(str) for table in tables], ignore_index=True)
