"""The three representations of every clip.

Reads   out/clips/clips.csv, out/audio/<movement>.flac
Writes  out/features/mel.npy            (clips, 64, 431) float32: mel spectrogram in dB, 0 is the clip's own maximum
        out/features/mfcc.npy           (clips, 13, 431) float32: MFCC of librosa's 128-band mel spectrogram
        out/features/chroma.npy         (clips, 12, 431) float32: chroma in [0, 1], tuning estimated clip by clip
        out/features/near_duplicates.csv  clip, other_clip, shared_s, similarity: clips that hold the same sound, for
                                the leak check of every split (symphony2vec.clips.leaks)
        out/features/mel.png, mfcc.png, chroma.png: Figures 3, 2 and 1 of the paper

Rows are in the order of clips.csv, arrays in C order. F bins from low to high, T frames of hop_samples. The values are
those of librosa's own calls on the clip, from one short-time Fourier transform instead of three.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import soundfile
import threadpoolctl
from librosa.filters import mel

from symphony2vec import figures, parallel
from symphony2vec.clips import leaks
from symphony2vec.errors import Unusable, UserError
from symphony2vec.params import Features, Params
from symphony2vec.project import REPRESENTATIONS, Project, atomic_file, atomic_folder, read_table, write_table

MFCC_MEL_BANDS = 128
PITCH_HZ = (150.0, 4000.0)  # this line and the next: defaults of librosa.piptrack, by which librosa finds the tuning
PEAK = 0.1
SHOWN_AT_MOST = 9
DONE = "done"


@dataclass(frozen=True)
class Recipe:
    """All that turns a clip's samples into its three arrays."""

    rate_hz: int
    duration_s: float
    settings: Features

    @property
    def samples(self) -> int:
        """Length of a clip in samples."""
        return round(self.duration_s * self.rate_hz)

    @property
    def frames(self) -> int:
        """Frames of a clip: the first is centred on its first sample."""
        return 1 + self.samples // self.settings.hop_samples

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(F, T) of each representation."""
        bins = (self.settings.mel_bands, self.settings.mfcc_coefficients, self.settings.chroma_bins)
        return {name: (count, self.frames) for name, count in zip(REPRESENTATIONS, bins, strict=True)}


@dataclass(frozen=True)
class Job:
    """The clips of one movement: rows of the arrays and the samples they start at."""

    audio: Path
    rows: tuple[int, ...]
    starts: tuple[int, ...]
    folder: Path
    recipe: Recipe


def run(project: Project, params: Params, backend: str | None = None) -> None:
    """The stage `features`; `backend` as in `parallel.spread`."""
    clips = read_table(project.clips, "clips")
    recipe = Recipe(params.audio.sample_rate_hz, params.clips.duration_s, params.features)
    partial = _partial(project, recipe)
    with atomic_folder(project.out("features"), partial) as folder:
        extract(clips, project.out("audio"), folder, recipe, backend)
        _draw(clips, folder, recipe)
        pairs = leaks.near_duplicates(clips, project.out("audio"), recipe.rate_hz, recipe.duration_s, backend)
        write_table(folder / leaks.FILE, pairs)
        (folder / DONE).unlink()
    _print_repeated(pairs, clips)


def _print_repeated(pairs: pd.DataFrame, clips: pd.DataFrame) -> None:
    """Say where two works share sound, which no split by work can keep apart."""
    works = clips.set_index("clip")[["composer", "work"]].agg(" / ".join, axis=1)
    between = pairs.assign(a=pairs["clip"].map(works), b=pairs["other_clip"].map(works))
    between = between[between["a"] != between["b"]]
    if len(between):
        first = between.iloc[0]
        print(
            f"features: {len(between)} pairs of clips of different works hold the same sound, as '{first['a']}' and "
            f"'{first['b']}'; see {leaks.FILE}, and leave one of the two out of the corpus"
        )


def extract(clips: pd.DataFrame, audio: Path, folder: Path, recipe: Recipe, backend: str | None = None) -> None:
    """Write the three arrays of all clips into `folder`, movement by movement, on all cores or on a cluster.

    Movements that an earlier, interrupted call has finished (listed in the file `done`) are not computed again.
    """

    for name, shape in recipe.shapes.items():
        if not (folder / f"{name}.npy").is_file():
            _reserve(folder / f"{name}.npy", (len(clips), *shape))
    done_path = folder / DONE
    done = set(done_path.read_text(encoding="utf-8").splitlines()) if done_path.is_file() else set()
    jobs = [
        Job(
            audio / str(file),
            tuple(own["clip"]),
            tuple(round(start * recipe.rate_hz) for start in own["start_s"]),
            folder,
            recipe,
        )
        for file, own in clips.groupby("file", sort=True)
        if file not in done
    ]

    def warm_up() -> None:
        represent(np.random.default_rng(0).standard_normal(recipe.samples).astype(np.float32), recipe)

    # Over a network two machines that map one file, and write to one page of it, undo each other's work.
    distant = parallel.resolve_backend(backend) != parallel.PROCESSES
    work: Callable[[Job], Any] = computed if distant else fill
    with done_path.open("a", encoding="utf-8") as log:
        for index, result in parallel.spread(work, jobs, "features", "movement", warm_up, backend):
            if isinstance(result, Unusable):
                raise UserError(f"{jobs[index].audio}: {result}; `dvc repro -f audio` makes it again")
            if distant:
                for name, array in _opened(jobs[index]).items():
                    array[list(jobs[index].rows)] = result[name]
            log.write(f"{jobs[index].audio.name}\n")
            log.flush()


def fill(job: Job) -> int:
    """Compute the clips of one movement and write them to their rows; returns how many."""
    arrays = _opened(job)
    for row, clip in zip(job.rows, _represented(job), strict=True):
        for name, values in clip.items():
            arrays[name][row] = values
    return len(job.rows)


def computed(job: Job) -> dict[str, np.ndarray]:
    """The clips of one movement: by representation (its clips, F, T) float32. Writes nothing."""

    clips = list(_represented(job))
    return {name: np.stack([clip[name] for clip in clips]) for name in job.recipe.shapes}


def represent(wave: np.ndarray, recipe: Recipe, wanted: Sequence[str] = REPRESENTATIONS) -> dict[str, np.ndarray]:
    """The wanted representations of one clip: (N,) float32 in, (F, T) float32 by name out.

    Each equals librosa's `melspectrogram` (in dB relative to its maximum), `mfcc` and `chroma_stft` of the same wave.
    """

    settings = recipe.settings
    spectrum = librosa.stft(wave, n_fft=settings.fft_samples, hop_length=settings.hop_samples)
    power = np.abs(spectrum) ** 2
    bank, wide_bank = _mel_banks(recipe.rate_hz, settings.fft_samples, settings.mel_bands)
    found = {}
    if "mel" in wanted:
        found["mel"] = librosa.power_to_db(bank @ power, ref=np.max, top_db=settings.dynamic_range_db)
    if "mfcc" in wanted:
        wide_mel = librosa.power_to_db(wide_bank @ power)
        found["mfcc"] = librosa.feature.mfcc(S=wide_mel, n_mfcc=settings.mfcc_coefficients)
    if "chroma" in wanted:
        found["chroma"] = librosa.feature.chroma_stft(
            S=power,
            sr=recipe.rate_hz,
            n_fft=settings.fft_samples,
            n_chroma=settings.chroma_bins,
            tuning=tuning(power, recipe.rate_hz, settings.chroma_bins),
        )
    return found


def tuning(power: np.ndarray, rate_hz: int, bins: int) -> float:
    """Deviation from A440 in fractions of one of `bins` an octave, in [-0.5, 0.5); 0 without any peak.

    Equals librosa's `estimate_tuning(S=power)`, which places a parabola on every value of the spectrum (F, T). Only
    those at a peak are used; placing no others takes a twelfth of the time.
    """

    fft_samples = 2 * (len(power) - 1)
    bins_hz = librosa.fft_frequencies(sr=rate_hz, n_fft=fft_samples)
    within = np.flatnonzero((bins_hz >= PITCH_HZ[0]) & (bins_hz < min(PITCH_HZ[1], rate_hz / 2)))
    if not len(within):
        return 0.0
    first, last = within[0], within[-1]  # both have neighbours: 0 Hz and half the rate lie outside
    frames = np.ascontiguousarray(power.T[:, first - 1 : last + 2])
    below, here, above = frames[:, :-2], frames[:, 1:-1], frames[:, 2:]
    peaks = np.nonzero((here > PEAK * power.max(axis=0)[:, None]) & (here > below) & (here >= above))
    below, here, above = below[peaks], here[peaks], above[peaks]
    if not len(here):
        return 0.0
    slope = (above - below) / np.float32(2.0)
    curve = (above + below).astype(np.float64) - 2.0 * here  # in double precision, as librosa's compiled code has it
    shift = np.zeros_like(here)
    np.divide(-slope, curve, out=shift, where=np.abs(slope) < np.abs(curve), casting="same_kind")
    pitch_hz = ((first + peaks[1] + shift) * float(rate_hz) / fft_samples).astype(np.float32)
    height = here + np.float32(0.5) * slope * shift
    return float(librosa.pitch_tuning(pitch_hz[height >= np.median(height)], bins_per_octave=bins))


@functools.cache
def _mel_banks(rate_hz: int, fft_samples: int, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Mel filters (bands, 1 + fft_samples // 2) of the mel spectrogram and of MFCC; librosa makes them at each call."""

    narrow, wide = (mel(sr=rate_hz, n_fft=fft_samples, n_mels=count) for count in (bands, MFCC_MEL_BANDS))
    return narrow, wide


def _represented(job: Job) -> Iterator[dict[str, np.ndarray]]:
    """The clips of one movement, one after the other.

    On one thread: matrix products differ in their last bit with the number of threads, and this small they gain none.
    """

    try:
        with threadpoolctl.threadpool_limits(1), soundfile.SoundFile(job.audio) as file:
            for start in job.starts:
                file.seek(start)
                wave = file.read(job.recipe.samples, dtype="float32", fill_value=0.0)
                yield represent(wave, job.recipe)
    except (soundfile.LibsndfileError, OSError) as fault:
        raise Unusable(f"cannot be read ({fault})") from None


def _opened(job: Job) -> dict[str, np.ndarray]:
    """The arrays of all clips, to write to."""

    return {name: np.load(job.folder / f"{name}.npy", mmap_mode="r+") for name in job.recipe.shapes}


def _reserve(path: Path, shape: tuple[int, ...]) -> None:
    """An array of zeros on disk, with all its room taken now: on a full disk a mapped file kills its process."""

    with atomic_file(path) as partial:
        np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape).flush()
        if hasattr(os, "posix_fallocate"):  # Linux and other Unix, not macOS or Windows
            with partial.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)


def _partial(project: Project, recipe: Recipe) -> Path:
    """The folder of unfinished work for exactly these clips and settings; that of any others is removed."""
    code = [Path(__file__).read_text(encoding="utf-8"), *map(importlib.metadata.version, ("librosa", "numpy"))]
    made_from = [recipe.rate_hz, recipe.duration_s, recipe.settings.model_dump(), code]
    key = hashlib.sha256(project.clips.read_bytes() + json.dumps(made_from).encode()).hexdigest()[:16]
    waiting = project.out(".partial")
    for other in waiting.glob("features-*"):
        if other.name != f"features-{key}":
            shutil.rmtree(other)
    return waiting / f"features-{key}"


def _draw(clips: pd.DataFrame, folder: Path, recipe: Recipe) -> None:
    """Figures 1 to 3: the middle clip of each composer."""

    frame_s = recipe.settings.hop_samples / recipe.rate_hz
    lowest_db = -recipe.settings.dynamic_range_db
    looks: dict[str, Any] = {
        "mel": ("Mel spectrograms", "dB below the clip's maximum", "mel band", (lowest_db, 0.0)),
        "mfcc": ("MFCC", "coefficient", "coefficient", None),
        "chroma": ("Chromagrams", "strength", "pitch class (0 is C)", (0.0, 1.0)),
    }
    shown = {str(name): own["clip"].iloc[len(own) // 2] for name, own in clips.groupby("composer", sort=True)}
    for name, (label, unit, bins, limits) in looks.items():
        array = np.load(folder / f"{name}.npy", mmap_mode="r")
        pictures = {composer: array[row] for composer, row in list(shown.items())[:SHOWN_AT_MOST]}
        if limits is None:  # the first coefficient is the level, many times larger than all others
            limits = np.quantile([picture[1:] for picture in pictures.values()], (0.002, 0.998))
        figures.save(folder / f"{name}.png", figures.examples(pictures, label, unit, bins, frame_s, limits))
