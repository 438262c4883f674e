"""Recordings with the same sound: find them in a folder, and keep one of each group.

Two recordings contain the same sound if the fingerprints of their first minute agree (see
`symphony2vec.corpus.fingerprints`): with other tags, in another container, re-encoded, louder, or after some seconds of
silence. One recording of each group is kept, so that no sound can be in both training and test:

    1. a recording in the user's own table takes precedence over the others;
    2. if the composers differ and no table decides, none is kept: the sound does not tell whose name is right;
    3. else one whose work is not named like a selection ("The Best of ..."), then one whose work has more recordings,
       then one without lossy coding, then the first by path.

A much longer recording with the sound of another one in its first minute *contains* it (joined files, a complete side
of a record): both are kept, and the user gets a hint.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from symphony2vec.corpus import fingerprints, sheets
from symphony2vec.corpus.identity import DisjointSets
from symphony2vec.corpus.titles import IdentifiedRecording, UnidentifiedRecording
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable

COMPARED_S = 60.0  # of each recording: decoding all of 3,000 recordings takes the better part of an hour
WORKERS = 2
SELECTION = re.compile(
    r"\b(best|greatest|favou?rite|hits|essential|highlights|sampler|compilation|anthology|ultimate|most|classics)\b",
    re.IGNORECASE,
)
LOSSLESS = (".flac", ".wav", ".aif", ".aiff", ".alac", ".ape", ".wv")
SHORTEST_SHARE = 0.5  # of the shorter fingerprint that must agree; the two may begin some seconds apart
# Silence and applause at its ends make a recording longer, but by less than this factor or number of seconds.
MUCH_LONGER, LEAST_MORE_S = 1.3, 5.0


@dataclass(frozen=True)
class Comparison:
    """Groups of recordings with the same sound, and pairs in which the first, much longer, contains the second."""

    groups: list[list[IdentifiedRecording]]
    containments: list[tuple[IdentifiedRecording, IdentifiedRecording]]


@dataclass(frozen=True)
class FingerprintTask:
    """One file, and where its movements begin and end (s), in order; None for the end of the file."""

    path: Path
    spans: tuple[tuple[float, float | None], ...]


def fingerprint_starts(task: FingerprintTask) -> list[np.ndarray]:
    """Return the fingerprint (T,) of the first minute of each movement of a file, empty if it cannot be decoded.

    The stage `audio` reports files that cannot be decoded.
    """
    rate_hz = fingerprints.RATE_HZ
    ends = [min(math.inf if end is None else end, start + COMPARED_S) for start, end in task.spans]
    spans = [(round(start * rate_hz), round(end * rate_hz)) for (start, _), end in zip(task.spans, ends, strict=True)]
    waves: list[list[np.ndarray]] = [[] for _ in spans]
    try:
        with decoding.open_recording(task.path, decoding.MAX_DURATION_S) as recording:
            position = 0
            for block in recording.resample_blocks(rate_hz):
                for wave, (first, last) in zip(waves, spans, strict=True):
                    wave.append(block[max(0, first - position) : max(0, last - position)])
                position += len(block)
                if position >= max(last for _, last in spans):
                    break
    except Unusable:
        return [np.zeros(0, np.uint32) for _ in spans]
    return [fingerprints.compute_fingerprint(np.concatenate(wave or [np.zeros(0, np.float32)])) for wave in waves]


def compare(folder: Path, recordings: Sequence[IdentifiedRecording]) -> Comparison:
    """Find the recordings below `folder` that contain the same sound; all results are sorted by path."""
    words = _compute_fingerprints(folder, recordings)
    sets = DisjointSets[int]()
    containments: list[tuple[int, int]] = []
    for match in fingerprints.find_matches(words):
        pair = match.first, match.second
        if match.frames < SHORTEST_SHARE * min(len(words[i]) for i in pair):
            continue
        for measure in (sheets.header_length_s, sheets.decoded_length_s):  # a header that states more may be wrong
            lengths = [_length_s(folder, recordings[i], words[i], measure) for i in pair]
            is_much_longer = math.inf > max(lengths) > max(MUCH_LONGER * min(lengths), min(lengths) + LEAST_MORE_S)
            if not is_much_longer:
                sets.join(*pair)
                break
        else:
            containments.append(pair if lengths[0] > lengths[1] else pair[::-1])
    groups: dict[int, list[IdentifiedRecording]] = defaultdict(list)
    for i, recording in enumerate(recordings):
        groups[sets.root(i)].append(recording)
    duplicates = [sorted(group, key=_sort_key) for group in groups.values() if len(group) > 1]
    pairs = [
        (recordings[long], recordings[short]) for long, short in containments if sets.root(long) != sets.root(short)
    ]
    return Comparison(
        sorted(duplicates, key=lambda group: _sort_key(group[0])),
        sorted(pairs, key=lambda pair: (_sort_key(pair[0]), _sort_key(pair[1]))),
    )


def _length_s(
    folder: Path, recording: IdentifiedRecording, words: np.ndarray, measure: Callable[[Path], float]
) -> float:
    """Return the duration (s) without digital silence; only files longer than a minute are measured with `measure`."""
    sounding_s = int((words != 0).sum()) * fingerprints.FRAME_S
    if len(words) * fingerprints.FRAME_S < COMPARED_S - 1.0:
        return sounding_s
    end = measure(folder / recording.path) if recording.end is None else recording.end
    return max(sounding_s, end - (recording.start or 0.0))


def describe_containments(containments: Sequence[tuple[IdentifiedRecording, IdentifiedRecording]]) -> list[str]:
    """Return one line for each longer recording that contains the sound of a shorter one."""
    lines = []
    for long, short in containments:
        same_work = (long.composer, long.work) == (short.composer, short.work)
        advice = "" if same_work else "; remove one of them, or give both one work, so that no split separates them"
        lines.append(f"'{_location(long)}' contains the sound of '{_location(short)}' and more; both are kept{advice}")
    return lines


def _sort_key(recording: IdentifiedRecording) -> tuple[str, float]:
    return recording.path, recording.start or 0.0


def _compute_fingerprints(folder: Path, recordings: Sequence[IdentifiedRecording]) -> list[np.ndarray]:
    """Return the fingerprints in the order of the recordings; each file is decoded once, in threads."""
    indices_by_path: dict[str, list[int]] = defaultdict(list)
    for i, recording in enumerate(recordings):
        indices_by_path[recording.path].append(i)
    tasks = [
        FingerprintTask(folder / path, tuple((recordings[i].start or 0.0, recordings[i].end) for i in indices))
        for path, indices in indices_by_path.items()
    ]
    words = [np.zeros(0, np.uint32)] * len(recordings)
    bar = tqdm(total=len(tasks), desc="comparing sounds", unit="file", disable=None, leave=False)
    with bar, ThreadPoolExecutor(WORKERS) as pool:
        for indices, result in zip(indices_by_path.values(), pool.map(fingerprint_starts, tasks), strict=True):
            bar.update()
            for i, fingerprint in zip(indices, result, strict=True):
                words[i] = fingerprint
    return words


def drop_duplicates(
    recordings: Sequence[IdentifiedRecording], groups: Sequence[Sequence[IdentifiedRecording]]
) -> tuple[list[IdentifiedRecording], list[UnidentifiedRecording]]:
    """Keep one recording of each group by the rule above.

    Returns:
        The recordings to use, in their order, and the others with a reason that names the one that is kept.
    """
    sizes = Counter((recording.composer, recording.work) for recording in recordings)

    def rank(recording: IdentifiedRecording) -> tuple[bool, bool, int, bool, tuple[str, float]]:
        is_selection = SELECTION.search(recording.work) is not None
        is_lossy = PurePosixPath(recording.path).suffix.lower() not in LOSSLESS
        size = sizes[recording.composer, recording.work]
        return recording.source != "table", is_selection, -size, is_lossy, _sort_key(recording)

    reasons: dict[int, str] = {}
    for group in groups:
        first, *rest = sorted(group, key=rank)
        in_table = {recording.composer for recording in group if recording.source == "table"}
        composers = in_table or {recording.composer for recording in group}
        if len(composers) == 1:
            title = f"{first.composer} / {first.work} / {first.movement}"
            for recording in rest:
                reasons[id(recording)] = f"the same sound as '{_location(first)}' ({title}), which is kept"
            continue
        names = " and ".join(f"'{name}'" for name in sorted(composers))
        for recording in (first, *rest):
            other = next(candidate for candidate in (first, *rest) if candidate.composer != recording.composer)
            reasons[id(recording)] = (
                f"the same sound as '{_location(other)}', but under two composers, {names}; decide in a table (--csv), "
                "or merge the names with --composer"
            )
    recordings_to_use = [recording for recording in recordings if id(recording) not in reasons]
    dropped = [
        UnidentifiedRecording(
            recording.path,
            reasons[id(recording)],
            recording.composer,
            recording.work,
            recording.movement,
            recording.start,
            recording.end,
        )
        for recording in recordings
        if id(recording) in reasons
    ]
    return recordings_to_use, dropped


def _location(recording: IdentifiedRecording) -> str:
    return recording.path if recording.start is None else f"{recording.path} at {recording.start:.2f} s"
