"""The same sound twice: which recordings of a folder hold one take, and which of them stays.

Two recordings hold the same sound when the fingerprints of their first minute agree (see
`symphony2vec.corpus.fingerprints`): under other tags, in another container, re-encoded, louder, or with some seconds of
silence before them. Of each group one stays, so that no sound can come into training and test:

    1. one that the user's own table names goes before the others;
    2. where composers differ and no table decides, none stays: nobody can tell from the sound whose name is right;
    3. else one whose work does not have the name of a selection ("The Best of ..."), then one whose work has more
       recordings, then one without lossy coding, then the first by path.

A much longer recording that has the sound of another one in its first minute *holds* it (joined files, a whole side
of a record): both stay, and a person is told.
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
from symphony2vec.corpus.titles import Placed, Unplaced
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable

HEARD_S = 60.0  # of each recording: decoding all of 3,000 recordings takes the better part of an hour
WORKERS = 2
SELECTION = re.compile(
    r"\b(best|greatest|favou?rite|hits|essential|highlights|sampler|compilation|anthology|ultimate|most|classics)\b",
    re.IGNORECASE,
)
LOSSLESS = (".flac", ".wav", ".aif", ".aiff", ".alac", ".ape", ".wv")
SHORTEST_SHARE = 0.5  # of the shorter fingerprint that must agree; the two may begin some seconds apart


MUCH_LONGER, LEAST_MORE_S = 1.3, 5.0  # silence and applause at its ends make a recording longer, but not that much


@dataclass(frozen=True)
class Comparison:
    """Groups of recordings with the same sound, and pairs of which the first, much longer, holds the second."""

    groups: list[list[Placed]]
    containments: list[tuple[Placed, Placed]]


@dataclass(frozen=True)
class Job:
    """One file to listen to: where its movements begin and end (s), in order; None for the end of the file."""

    path: Path
    spans: tuple[tuple[float, float | None], ...]


def fingerprint_starts(job: Job) -> list[np.ndarray]:
    """Compute the fingerprint (T,) of the first minute of each movement of a file; empty what cannot be decoded.

    What cannot be decoded is for the stage `audio` to judge, which says why.
    """

    rate_hz = fingerprints.RATE_HZ
    ends = [min(math.inf if end is None else end, start + HEARD_S) for start, end in job.spans]
    spans = [(round(start * rate_hz), round(end * rate_hz)) for (start, _), end in zip(job.spans, ends, strict=True)]
    waves: list[list[np.ndarray]] = [[] for _ in spans]
    try:
        with decoding.open_recording(job.path, decoding.MAX_DURATION_S) as recording:
            read = 0
            for block in recording.resample_blocks(rate_hz):
                for wave, (first, last) in zip(waves, spans, strict=True):
                    wave.append(block[max(0, first - read) : max(0, last - read)])
                read += len(block)
                if read >= max(last for _, last in spans):
                    break
    except Unusable:
        return [np.zeros(0, np.uint32) for _ in spans]
    return [fingerprints.fingerprint(np.concatenate(wave or [np.zeros(0, np.float32)])) for wave in waves]


def compare(folder: Path, placed: Sequence[Placed]) -> Comparison:
    """Find the recordings that hold the same sound, all sorted by path."""

    words = _listen(folder, placed)
    leaders = list(range(len(placed)))
    containments: list[tuple[int, int]] = []

    def leader(place: int) -> int:
        while leaders[place] != place:
            place = leaders[place]
        return place

    for match in fingerprints.matches(words):
        first, second = match.first, match.second
        if match.frames < SHORTEST_SHARE * min(len(words[first]), len(words[second])):
            continue
        for length in (sheets.header_length_s, sheets.decoded_length_s):  # what a header says is not taken for true
            lengths = [_length_s(folder, placed[place], words[place], length) for place in (first, second)]
            is_longer = math.inf > max(lengths) > max(MUCH_LONGER * min(lengths), min(lengths) + LEAST_MORE_S)
            if not is_longer:
                leaders[leader(second)] = leader(first)
                break
        else:
            containments.append((first, second) if lengths[0] > lengths[1] else (second, first))
    groups: dict[int, list[Placed]] = defaultdict(list)
    for place, recording in enumerate(placed):
        groups[leader(place)].append(recording)
    same = [sorted(group, key=_order) for group in groups.values() if len(group) > 1]
    pairs = [(placed[long], placed[short]) for long, short in containments if leader(long) != leader(short)]
    return Comparison(
        sorted(same, key=lambda group: _order(group[0])),
        sorted(pairs, key=lambda pair: (_order(pair[0]), _order(pair[1]))),
    )


def _length_s(folder: Path, recording: Placed, words: np.ndarray, length: Callable[[Path], float]) -> float:
    """Seconds of a recording without digital silence; `length` is asked only of what goes on after the first minute."""

    heard_s = int((words != 0).sum()) * fingerprints.FRAME_S
    if len(words) * fingerprints.FRAME_S < HEARD_S - 1.0:
        return heard_s
    end = length(folder / recording.path) if recording.end is None else recording.end
    return max(heard_s, end - (recording.start or 0.0))


def containment_hints(containments: Sequence[tuple[Placed, Placed]]) -> list[str]:
    """One line for each longer recording that holds the sound of a shorter one."""
    lines = []
    for long, short in containments:
        one_work = (long.composer, long.work) == (short.composer, short.work)
        advice = "" if one_work else "; remove one of them, or give both one work, so that no split parts them"
        lines.append(f"'{_shown(long)}' holds the sound of '{_shown(short)}' and more; both stay{advice}")
    return lines


def _order(recording: Placed) -> tuple[str, float]:
    return recording.path, recording.start or 0.0


def _listen(folder: Path, placed: Sequence[Placed]) -> list[np.ndarray]:
    """The fingerprints in the order of the recordings; decoder, resampler and Fourier transform run in threads."""

    places: dict[str, list[int]] = defaultdict(list)
    for place, recording in enumerate(placed):
        places[recording.path].append(place)
    jobs = [
        Job(folder / path, tuple((placed[at].start or 0.0, placed[at].end) for at in own))
        for path, own in places.items()
    ]
    words = [np.zeros(0, np.uint32)] * len(placed)
    bar = tqdm(total=len(jobs), desc="comparing sounds", unit="file", disable=None, leave=False)
    with bar, ThreadPoolExecutor(WORKERS) as pool:
        for own, result in zip(places.values(), pool.map(fingerprint_starts, jobs), strict=True):
            bar.update()
            for place, fingerprint in zip(own, result, strict=True):
                words[place] = fingerprint
    return words


def leave_out(placed: Sequence[Placed], groups: Sequence[Sequence[Placed]]) -> tuple[list[Placed], list[Unplaced]]:
    """Keep one recording of each group by the rule above.

    Returns:
        The recordings that stay, in their order, and the others with the reason, which names the one that stays.
    """
    sizes = Counter((recording.composer, recording.work) for recording in placed)

    def rank(recording: Placed) -> tuple[bool, bool, int, bool, tuple[str, float]]:
        selection = SELECTION.search(recording.work) is not None
        lossy = PurePosixPath(recording.path).suffix.lower() not in LOSSLESS
        size = sizes[recording.composer, recording.work]
        return recording.by != "table", selection, -size, lossy, _order(recording)

    reasons: dict[int, str] = {}
    for group in groups:
        ordered = sorted(group, key=rank)
        tabled = {recording.composer for recording in group if recording.by == "table"}
        composers = tabled or {recording.composer for recording in group}
        if len(composers) > 1:
            names = " and ".join(f"'{name}'" for name in sorted(composers))
            for recording in ordered:
                other = next(one for one in ordered if one.composer != recording.composer)
                reasons[id(recording)] = (
                    f"the same sound as '{_shown(other)}', but under two composers, {names}; say in a table (--csv) "
                    "which is right, or merge the names with --composer"
                )
            continue
        for recording in ordered[1:]:
            reasons[id(recording)] = f"the same sound as '{_shown(ordered[0])}' ({_title(ordered[0])}), which stays"
    kept = [recording for recording in placed if id(recording) not in reasons]
    left = [
        Unplaced(one.path, reasons[id(one)], one.composer, one.work, one.movement, one.start, one.end)
        for one in placed
        if id(one) in reasons
    ]
    return kept, left


def _shown(recording: Placed) -> str:
    return recording.path if recording.start is None else f"{recording.path} at {recording.start:.2f} s"


def _title(recording: Placed) -> str:
    return f"{recording.composer} / {recording.work} / {recording.movement}"
