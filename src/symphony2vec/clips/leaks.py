"""The leak check: pairs of clips that contain the same sound (near-duplicates), and those that cross a split.

Pairs are found by acoustic fingerprints (see `symphony2vec.corpus.fingerprints`), also where the two copies were
encoded differently or cut at other positions. They do not depend on the split; `select_crossing_pairs` relates them
to the splits of one fold. Repetition within a work is legitimate, and a split by work keeps it on one side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr

from symphony2vec import parallel
from symphony2vec.clips.splits import SPLITS
from symphony2vec.corpus import fingerprints
from symphony2vec.errors import Unusable, UserError
from symphony2vec.project import Project, SplitFold, read_table

FILE = "near_duplicates.csv"
COLUMNS = ("clip", "other_clip", "shared_s", "similarity")
COUNT_COLUMNS = ("fold", "split", "other_split", "clips", "near_duplicates", "share")


@dataclass(frozen=True)
class FingerprintTask:
    """The clips of one movement: first sample of each, and their length in samples."""

    audio: Path
    starts: tuple[int, ...]
    samples: int
    rate_hz: int


def find_near_duplicates(
    clips: pd.DataFrame, audio: Path, rate_hz: int, duration_s: float, backend: str | None = None
) -> pd.DataFrame:
    """Find all pairs of clips that share at least 3 s of sound.

    Args:
        clips: the index of clips (clip, file, start_s).
        audio: folder of the audio files.
        rate_hz: sample rate of the audio files.
        duration_s: duration of a clip.
        backend: as in `parallel.spread`.

    Returns:
        One row per pair: clip, other_clip (the larger number), shared_s, and similarity, the share of equal bits of the
        two fingerprints where they overlap: 1 for identical sound, about 0.5 for unrelated sounds.

    Raises:
        UserError: an audio file cannot be read.
    """
    clip_fingerprints: list[np.ndarray] = [np.zeros(0, np.uint32)] * len(clips)
    groups = [(str(file), rows) for file, rows in clips.groupby("file", sort=True)]
    samples = round(duration_s * rate_hz)
    tasks = [
        FingerprintTask(audio / file, tuple(round(start * rate_hz) for start in rows["start_s"]), samples, rate_hz)
        for file, rows in groups
    ]
    function: Callable[[FingerprintTask], list[np.ndarray]] = fingerprint_clips
    for index, result in parallel.spread(function, tasks, "near-duplicates", "movement", None, backend):
        if isinstance(result, Unusable):
            raise UserError(f"{tasks[index].audio}: {result}; `dvc repro -f audio` makes it again")
        for clip, words in zip(groups[index][1]["clip"], result, strict=True):
            clip_fingerprints[int(clip)] = words
    pairs = [
        (match.first, match.second, round(match.frames * fingerprints.FRAME_S, 2), round(1.0 - match.errors, 4))
        for match in fingerprints.find_matches(clip_fingerprints)
    ]
    return pd.DataFrame(pairs, columns=COLUMNS)


def fingerprint_clips(task: FingerprintTask) -> list[np.ndarray]:
    """Return the fingerprint (T,) uint32 of every clip of one movement."""
    words = []
    try:
        with soundfile.SoundFile(task.audio) as file:
            for start in task.starts:
                file.seek(start)
                wave = file.read(task.samples, dtype="float32")
                words.append(fingerprints.compute_fingerprint(soxr.resample(wave, task.rate_hz, fingerprints.RATE_HZ)))
    except (soundfile.LibsndfileError, OSError) as error:
        raise Unusable(f"cannot be read ({error})") from None
    return words


def read_pairs(project: Project) -> pd.DataFrame | None:
    """Return the pairs that the stage `features` found, or None if an older version of it wrote no such table."""
    path = project.out("features", FILE)
    return read_table(path, "features") if path.is_file() else None


def select_crossing_pairs(pairs: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """Select the pairs whose clips lie in different splits.

    Args:
        pairs: near-duplicates as `find_near_duplicates` returns them.
        clips: the clips of one fold, with `split`.

    Returns:
        clip, split, composer, work, movement, the same of the other clip (other_...), shared_s, similarity.

    Examples:
        >>> clips = pd.DataFrame({"clip": [0, 1, 2], "split": ["train", "test", "test"]})
        >>> clips = clips.assign(composer="A", work="B", movement="C")
        >>> pairs = pd.DataFrame([(0, 1, 5.0, 0.9), (1, 2, 5.0, 0.9)], columns=COLUMNS)
        >>> select_crossing_pairs(pairs, clips)[["clip", "split", "other_clip", "other_split"]].values.tolist()
        [[0, 'train', 1, 'test']]
    """
    metadata = clips.set_index("clip")[["split", "composer", "work", "movement"]]
    present = pairs[pairs["clip"].isin(metadata.index) & pairs["other_clip"].isin(metadata.index)]
    joined = present.join(metadata, on="clip").join(metadata.add_prefix("other_"), on="other_clip")
    columns = ["clip", *metadata.columns, "other_clip", *(f"other_{name}" for name in metadata.columns)]
    return joined[joined["split"] != joined["other_split"]][[*columns, "shared_s", "similarity"]]


def find_leaking_clips(
    pairs: pd.DataFrame, clips: pd.DataFrame, split: str = "test", other_split: str = "train"
) -> np.ndarray:
    """Return the sorted numbers of the clips of one split that have a near-duplicate in another split."""
    crossing = select_crossing_pairs(pairs, clips)
    forward = crossing.loc[(crossing["split"] == split) & (crossing["other_split"] == other_split), "clip"]
    backward = crossing.loc[(crossing["split"] == other_split) & (crossing["other_split"] == split), "other_clip"]
    return np.unique(np.concatenate([forward.to_numpy(np.int64), backward.to_numpy(np.int64)]))


def compute_metrics(pairs: pd.DataFrame | None, clips: pd.DataFrame) -> dict[str, float]:
    """Return number and share of the test clips with a near-duplicate in training; empty if `pairs` is None."""
    if pairs is None:
        return {}
    leaking, total = len(find_leaking_clips(pairs, clips)), int((clips["split"] == "test").sum())
    return {"near_duplicate_test_clips": float(leaking), "near_duplicate_test_share": leaking / total if total else 0.0}


def build_tables(project: Project, folds: Sequence[SplitFold]) -> dict[str, pd.DataFrame]:
    """Relate the near-duplicates to the splits of every fold.

    Returns:
        near_duplicates: one row per fold and crossing pair, as from `select_crossing_pairs`, with `fold`;
        near_duplicate_counts: one row per fold and pair of splits: clips of the later split, how many of them have a
        near-duplicate in the other one, and their share. Empty if the stage `features` wrote no near-duplicates.
    """
    pairs = read_pairs(project)
    if pairs is None:
        return {}
    crossing, counts = [], []
    for fold in folds:
        clips = read_table(project.fold(fold), "clips")
        table = select_crossing_pairs(pairs, clips)
        table.insert(0, "fold", fold.name)
        crossing.append(table)
        for other, split in combinations(SPLITS, 2):
            total, leaking = int((clips["split"] == split).sum()), len(find_leaking_clips(pairs, clips, split, other))
            counts.append((fold.name, split, other, total, leaking, round(leaking / total, 6) if total else 0.0))
    return {
        "near_duplicates": pd.concat(crossing, ignore_index=True),
        "near_duplicate_counts": pd.DataFrame(counts, columns=COUNT_COLUMNS),
    }
