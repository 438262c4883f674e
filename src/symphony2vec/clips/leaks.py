"""The leak check: clips that hold the same sound, and which of them lie on different sides of a split.

A pair of clips is found by their fingerprints (see `symphony2vec.corpus.fingerprints`), so that it is found as well
where the two copies were encoded differently or cut at other places. Pairs do not depend on the split; `across` joins
them with the sides of one fold. Within a movement or a work, repetition is legitimate and stays on one side of a split
by work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import soxr

from symphony2vec import parallel
from symphony2vec.corpus import fingerprints
from symphony2vec.errors import Unusable, UserError
from symphony2vec.project import Project, SplitFold, read_table

FILE = "near_duplicates.csv"
COLUMNS = ("clip", "other_clip", "shared_s", "similarity")
SPLITS = ("train", "validation", "test")
SUMMARY = ("fold", "split", "other_split", "clips", "near_duplicates", "share")


@dataclass(frozen=True)
class Job:
    """The clips of one movement: samples they start at, and how long each is."""

    audio: Path
    starts: tuple[int, ...]
    samples: int
    rate_hz: int


def near_duplicates(
    clips: pd.DataFrame, audio: Path, rate_hz: int, duration_s: float, backend: str | None = None
) -> pd.DataFrame:
    """Find all pairs of clips that share 3 s of sound or more.

    Args:
        clips: the table of clips (clip, file, start_s).
        audio: the folder of the sounds.
        rate_hz: of the sounds.
        duration_s: of a clip.
        backend: as in `parallel.spread`.

    Returns:
        One row a pair: clip, other_clip (the larger number), shared_s, and similarity, the share of equal bits of their
        fingerprints where they overlap: 1 for equal sound, about 0.5 for unrelated sounds.
    """

    words: list[np.ndarray] = [np.zeros(0, np.uint32)] * len(clips)
    groups = [(str(file), own) for file, own in clips.groupby("file", sort=True)]
    jobs = [
        Job(audio / file, tuple(round(s * rate_hz) for s in own["start_s"]), round(duration_s * rate_hz), rate_hz)
        for file, own in groups
    ]
    work: Callable[[Job], list[np.ndarray]] = fingerprint_clips
    for index, result in parallel.spread(work, jobs, "near-duplicates", "movement", None, backend):
        if isinstance(result, Unusable):
            raise UserError(f"{jobs[index].audio}: {result}; `dvc repro -f audio` makes it again")
        for place, own in zip(groups[index][1]["clip"], result, strict=True):
            words[int(place)] = own
    rows = [
        (match.first, match.second, round(match.frames * fingerprints.FRAME_S, 2), round(1.0 - match.errors, 4))
        for match in fingerprints.find_matches(words)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def fingerprint_clips(job: Job) -> list[np.ndarray]:
    """Compute the fingerprint (T,) uint32 of every clip of one movement."""

    words = []
    try:
        with soundfile.SoundFile(job.audio) as file:
            for start in job.starts:
                file.seek(start)
                wave = file.read(job.samples, dtype="float32")
                words.append(fingerprints.compute_fingerprint(soxr.resample(wave, job.rate_hz, fingerprints.RATE_HZ)))
    except (soundfile.LibsndfileError, OSError) as fault:
        raise Unusable(f"cannot be read ({fault})") from None
    return words


def read(project: Project) -> pd.DataFrame | None:
    """Read the pairs that the stage `features` found; None where it was run before there was such a table."""
    path = project.out("features", FILE)
    return read_table(path, "features") if path.is_file() else None


def across(pairs: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """Keep the pairs whose clips lie on different sides of a split, with these sides and the works.

    Args:
        pairs: as `near_duplicates` gives them.
        clips: the table of clips of one fold, with `split`.

    Returns:
        clip, split, composer, work, movement, the same of the other clip (other_...), shared_s, similarity.
    """
    about = clips.set_index("clip")[["split", "composer", "work", "movement"]]
    known = pairs[pairs["clip"].isin(about.index) & pairs["other_clip"].isin(about.index)]
    joined = known.join(about, on="clip").join(about.add_prefix("other_"), on="other_clip")
    columns = ["clip", *about.columns, "other_clip", *(f"other_{name}" for name in about.columns)]
    return joined[joined["split"] != joined["other_split"]][[*columns, "shared_s", "similarity"]]


def leaking(pairs: pd.DataFrame, clips: pd.DataFrame, side: str = "test", other: str = "train") -> np.ndarray:
    """Find the clips of one side that have a near-duplicate on another; their numbers, sorted."""

    crossing = across(pairs, clips)
    forward = crossing.loc[(crossing["split"] == side) & (crossing["other_split"] == other), "clip"]
    backward = crossing.loc[(crossing["split"] == other) & (crossing["other_split"] == side), "other_clip"]
    return np.unique(np.concatenate([forward.to_numpy(np.int64), backward.to_numpy(np.int64)]))


def metrics(pairs: pd.DataFrame | None, clips: pd.DataFrame) -> dict[str, float]:
    """Count the test clips with a near-duplicate in training, for MLflow; nothing where it was not looked for."""
    if pairs is None:
        return {}
    found, tested = len(leaking(pairs, clips)), int((clips["split"] == "test").sum())
    return {"near_duplicate_test_clips": float(found), "near_duplicate_test_share": found / tested if tested else 0.0}


def tables(project: Project, folds: Sequence[SplitFold]) -> dict[str, pd.DataFrame]:
    """Join the pairs with the sides of every fold.

    Returns:
        near_duplicates: one row a pair and fold, as `across`, with `fold`; near_duplicate_counts: one row a fold and
        two sides: clips of the later one, how many of them have a near-duplicate on the other, and their share.
        Nothing where the stage `features` did not look for any.
    """

    pairs = read(project)
    if pairs is None:
        return {}
    crossing: list[pd.DataFrame] = []
    counts: list[dict[str, Any]] = []
    for fold in folds:
        clips = read_table(project.fold(fold), "clips")
        own = across(pairs, clips)
        own.insert(0, "fold", fold.name)
        crossing.append(own)
        for other, side in combinations(SPLITS, 2):
            total, found = int((clips["split"] == side).sum()), len(leaking(pairs, clips, side, other))
            cells = (fold.name, side, other, total, found, round(found / total, 6) if total else 0.0)
            counts.append(dict(zip(SUMMARY, cells, strict=True)))
    return {
        "near_duplicates": pd.concat(crossing, ignore_index=True),
        "near_duplicate_counts": pd.DataFrame(counts, columns=SUMMARY),
    }
