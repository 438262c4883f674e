"""The same sound twice: which recordings of a folder hold one take, and which of them stays.

Two recordings hold the same sound when the fingerprints of their first minute agree (see `symphony2vec.fingerprints`):
under other tags, in another container, re-encoded, louder, or with some seconds of silence before them. Of each group
one stays, so that no sound can come into training and test:

    1. one that the user's own table names goes before the others;
    2. where composers differ and no table decides, none stays: nobody can tell from the sound whose name is right;
    3. else one whose work does not have the name of a selection ("The Best of ..."), then one whose work has more
       recordings, then one without lossy coding, then the first by path.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from symphony2vec.corpus.titles import Placed, Unplaced
from symphony2vec.errors import Unusable

if TYPE_CHECKING:
    import numpy as np

HEARD_S = 60.0  # of each recording: decoding all of 3,000 recordings takes the better part of an hour
WORKERS = 2
SELECTION = re.compile(
    r"\b(best|greatest|favou?rite|hits|essential|highlights|sampler|compilation|anthology|ultimate|most|classics)\b",
    re.IGNORECASE,
)
LOSSLESS = (".flac", ".wav", ".aif", ".aiff", ".alac", ".ape", ".wv")
SHORTEST_SHARE = 0.5  # of the shorter fingerprint that must agree; the two may begin some seconds apart


@dataclass(frozen=True)
class Job:
    """One file to listen to: where its movements begin and end (s), in order; None for the end of the file."""

    path: Path
    spans: tuple[tuple[float, float | None], ...]


def fingerprint_starts(job: Job) -> list[np.ndarray]:
    """Compute the fingerprint (T,) of the first minute of each movement of a file; empty what cannot be decoded.

    What cannot be decoded is for the stage `audio` to judge, which says why.
    """
    import numpy as np

    from symphony2vec import fingerprints
    from symphony2vec.audio import decoding

    rate_hz = fingerprints.RATE_HZ
    ends = [min(math.inf if end is None else end, start + HEARD_S) for start, end in job.spans]
    spans = [(round(start * rate_hz), round(end * rate_hz)) for (start, _), end in zip(job.spans, ends, strict=True)]
    waves: list[list[np.ndarray]] = [[] for _ in spans]
    try:
        with decoding.opened(job.path, decoding.LONGEST_S) as recording:
            read = 0
            for block in recording.resampled(rate_hz):
                for wave, (first, last) in zip(waves, spans, strict=True):
                    wave.append(block[max(0, first - read) : max(0, last - read)])
                read += len(block)
                if read >= max(last for _, last in spans):
                    break
    except Unusable:
        return [np.zeros(0, np.uint32) for _ in spans]
    return [fingerprints.fingerprint(np.concatenate(wave or [np.zeros(0, np.float32)])) for wave in waves]


def same_sound(folder: Path, placed: Sequence[Placed]) -> list[list[Placed]]:
    """Find the groups of recordings that hold the same sound, each sorted by path."""
    from symphony2vec import fingerprints

    words = _listen(folder, placed)
    leaders = list(range(len(placed)))

    def leader(place: int) -> int:
        while leaders[place] != place:
            place = leaders[place]
        return place

    for match in fingerprints.matches(words):
        shorter = min(len(words[match.first]), len(words[match.second]))
        if match.frames >= SHORTEST_SHARE * shorter:
            leaders[leader(match.second)] = leader(match.first)
    groups: dict[int, list[Placed]] = defaultdict(list)
    for place, recording in enumerate(placed):
        groups[leader(place)].append(recording)
    return sorted(
        (sorted(group, key=_order) for group in groups.values() if len(group) > 1), key=lambda group: _order(group[0])
    )


def _order(recording: Placed) -> tuple[str, float]:
    return recording.path, recording.start or 0.0


def _listen(folder: Path, placed: Sequence[Placed]) -> list[np.ndarray]:
    """The fingerprints in the order of the recordings; decoder, resampler and Fourier transform run in threads."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    from tqdm import tqdm

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
