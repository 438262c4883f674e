"""The index of clips: which movements are cut into clips, and where each clip starts.

All functions take and return tables; no audio is read. A movement has the columns composer, work, movement,
performance, file and duration_s; several performances of one are several rows.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TypeVar

import pandas as pd

from symphony2vec.corpus import similarity
from symphony2vec.errors import UserError
from symphony2vec.params import Clips

T = TypeVar("T")
MOVEMENT_COLUMNS = ["composer", "work", "movement"]


def select_composers(movements: pd.DataFrame, composers: list[str]) -> pd.DataFrame:
    """Return the movements of the given composers, or all movements if the list is empty.

    Raises:
        UserError: a composer is not in the table.

    Examples:
        >>> movements = pd.DataFrame({"composer": ["Bach", "Brahms", "Bach"]})
        >>> select_composers(movements, ["Bach"])["composer"].tolist()
        ['Bach', 'Bach']
    """
    available = sorted(movements["composer"].unique())
    for name in composers:
        if name not in available:
            close = difflib.get_close_matches(name, available, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f"; it has {', '.join(available)}"
            raise UserError(f"clips.composers: no composer '{name}' in the catalogue{hint}")
    return movements[movements["composer"].isin(composers)] if composers else movements


def refuse_ambiguous_works(movements: pd.DataFrame, distinct: Iterable[tuple[str, frozenset[str]]] = ()) -> None:
    """Raise an error if two works or composers may be the same under different names.

    One work under two names could be in training and test at once.

    Args:
        movements: composer, work and movement of each movement.
        distinct: keys of the pairs that the user has declared distinct (see `symphony2vec.corpus.decisions`).

    Raises:
        UserError: at least one pair is ambiguous.
    """
    titles = (tuple(map(str, row)) for row in movements[MOVEMENT_COLUMNS].itertuples(index=False))
    questions = similarity.find_similar_names(
        ((composer, work, movement) for composer, work, movement in titles), distinct
    )
    if questions:
        more = f" (and {len(questions) - 3} more)" if len(questions) > 3 else ""
        raise UserError(
            f"a split by work needs one name for each work: {'; '.join(map(str, questions[:3]))}{more}. "
            "`symphony2vec corpus check` lists all; give these options to `symphony2vec corpus import`, "
            "or set clips.ambiguous_works to allow"
        )


def cut_clips(movements: pd.DataFrame, settings: Clips) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut every movement into clips.

    Args:
        movements: the table of movements.
        settings: the section `clips` of params.yaml.

    Returns:
        The clips (clip, composer, work, movement, performance, file, start_s), sorted in this order; and
        the movements that are too short for one clip (composer, work, movement, reason).

    Raises:
        UserError: no movement is long enough.
    """
    columns = [*MOVEMENT_COLUMNS, "performance", "file"]
    rows, too_short = [], []
    for movement in movements.sort_values(columns).to_dict("records"):
        starts = clip_starts(float(movement["duration_s"]), settings)
        rows += [{**{name: movement[name] for name in columns}, "start_s": start} for start in starts]
        if not starts:
            reason = f"{movement['duration_s']:.1f} s is too short for a clip of {settings.duration_s:g} s"
            too_short.append({**{name: movement[name] for name in MOVEMENT_COLUMNS}, "reason": reason})
    if not rows:
        raise UserError(
            f"no movement is long enough for one clip of {settings.duration_s:g} s: lower clips.duration_s or "
            "clips.minimum_fill"
        )
    clips = pd.DataFrame(rows, columns=[*columns, "start_s"])
    if settings.max_per_composer:
        groups = clips.groupby("composer", sort=True).indices.values()
        positions = [row for group in groups for row in thin_evenly(list(group), settings.max_per_composer)]
        clips = clips.iloc[positions].reset_index(drop=True)
    clips.insert(0, "clip", range(len(clips)))
    return clips, pd.DataFrame(too_short, columns=[*MOVEMENT_COLUMNS, "reason"])


def clip_starts(duration_s: float, settings: Clips) -> list[float]:
    """Return the start (s) of every clip of a movement of `duration_s` seconds.

    The last clip may reach beyond the end of the movement if at least `minimum_fill` of it lies within; it is padded.
    """
    step_s = settings.duration_s * (1.0 - settings.overlap)
    needed_s = settings.minimum_fill * settings.duration_s
    starts, start = [], 0.0
    while duration_s - start >= needed_s - 1e-6:
        starts.append(round(start, 4))
        if duration_s - start < settings.duration_s:
            break  # this clip is padded, so it is the last
        start = len(starts) * step_s
    return thin_evenly(starts, settings.max_per_movement) if settings.max_per_movement else starts


def thin_evenly(items: list[T], limit: int) -> list[T]:
    """Return at most `limit` evenly spaced items, including both ends; the middle item if the limit is 1.

    Examples:
        >>> thin_evenly(list(range(9)), 3)
        [0, 4, 8]
    """
    if len(items) <= limit:
        return items
    last = len(items) - 1
    positions = [last / 2] if limit == 1 else [index * last / (limit - 1) for index in range(limit)]
    return [items[round(position)] for position in positions]
