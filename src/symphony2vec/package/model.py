"""Sound in, vectors out: the network of a package with the hearing that its training clips had.

B windows of a batch, N samples, C channels, F bins, T frames, D dimensions, K composers. A *window* is as long as a
training clip. Forms of an embedding:

    clips        one vector for each window; windows follow each other, as the training clips do
    timestamps   one vector every hop, of the window centred there
    recording    one vector: the mean of the clips'

Sound of any length is read from a memory-mapped file, a few windows at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import librosa.core  # noqa: F401 - so that its libraries are there to be found
import numpy as np
import soxr
import threadpoolctl
import torch
from torch import nn

from symphony2vec.audio import loudness
from symphony2vec.decoding import mixing
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable, UserError
from symphony2vec.features.representations import Recipe, represent
from symphony2vec.models.training import precision
from symphony2vec.package.head import Head
from symphony2vec.package.scaling import Scaling, middle_crop

FORMS = ("clips", "timestamps", "recording")
AT_ONCE = 32
SHORTEST_S = 0.1
LONGEST_S = 24 * 3600.0
HOP_S = 0.5


@dataclass(frozen=True)
class Hearing:
    """How sound becomes what the network sees: rate, window and spectrogram; representation; level; a last window.

    A last window that is at least `minimum_fill` full is padded with silence, as the last clip of a movement is.
    """

    recipe: Recipe
    representation: str
    level: loudness.LoudnessTarget
    minimum_fill: float


@dataclass(frozen=True)
class Embedding:
    """vectors (n, D) float32 of n pieces, with their starts and ends (n,) in seconds from the recording's own start.

    `note` says what is odd about a recording, as channels that cancel each other; "" of nearly all.
    """

    vectors: np.ndarray
    starts_s: np.ndarray
    ends_s: np.ndarray
    note: str = ""


class Model:
    """A network that hears. `name` is for people; two models of one `fingerprint` give the same vectors."""

    def __init__(
        self,
        network: nn.Module,
        build: Mapping[str, Any],
        scaling: Scaling,
        hearing: Hearing,
        head: Head | None,
        name: str,
        fingerprint: str,
        names: list[str] | None = None,
    ) -> None:
        """`names` are the composers whose probabilities a classifier gives in the place of vectors."""
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network, self._build, self._scaling = network.to(self._device).eval(), build, scaling
        self.hearing, self.head, self.name, self.fingerprint, self.names = hearing, head, name, fingerprint, names
        self.sample_rate_hz, self.duration_s = hearing.recipe.rate_hz, hearing.recipe.duration_s
        self.dimensions = self._asked(np.zeros((1, *hearing.recipe.shapes[hearing.representation]), np.float32)).shape[
            1
        ]

    @property
    def composers(self) -> list[str]:
        """Whom the probe can name; empty where the package holds no probe."""
        return self.head.composers if self.head else []

    def embed(self, wave: np.ndarray, sample_rate: float, form: str = "clips", hop_s: float | None = None) -> Embedding:
        """Embed a sound that is in memory.

        Args:
            wave: (N,) mono or (N, C), floating point, full scale 1; 0.1 s or longer. Silence has a vector too.
            sample_rate: of the wave, in Hz; it is resampled to the model's own.
            form: clips, timestamps or recording; see this module.
            hop_s: seconds between timestamps (0.5 where it is not given).

        Raises:
            UserError: the wave is no array of finite floating-point samples of that length, or the form is unknown.
        """
        mono, note = self._mono(np.asarray(wave), sample_rate)
        try:
            return replace(self._pieces(mono, self._span(mono, silence=True), form, hop_s), note=note)
        except Unusable as reason:
            raise UserError(f"the wave cannot be used: {reason}") from None

    def embed_file(self, path: str | Path, form: str = "clips", hop_s: float | None = None) -> Embedding:
        """Embed a recording (flac, wav, mp3, ogg, m4a, opus and others): see `embed`. The file is read block by block.

        Raises:
            UserError: the file cannot be used; it says why.
        """
        try:
            return self.heard_file(Path(path), form, hop_s)
        except Unusable as reason:
            raise UserError(f"{path}: {reason}") from None

    def heard_file(
        self, path: Path, form: str = "clips", hop_s: float | None = None, longest_s: float = LONGEST_S
    ) -> Embedding:
        """As `embed_file`, but what cannot be used raises `Unusable` with the bare reason, and so does silence.

        Also what lasts longer than `longest_s`, whatever its header says.
        """
        with decoding.decode_to_disk(path, self.sample_rate_hz, longest_s) as (mono, facts):
            if len(mono) < SHORTEST_S * self.sample_rate_hz:
                raise Unusable(
                    f"too short: {len(mono) / self.sample_rate_hz:.4f} s, at least {SHORTEST_S} s are needed"
                )
            span = self._span(mono, silence=False)
            notes = [facts["note"], loudness.describe_gain(span.gain_db)]
            return replace(self._pieces(mono, span, form, hop_s), note="; ".join(filter(None, notes)))

    def heard(self, windows: np.ndarray) -> np.ndarray:
        """Windows (B, N) float32 of exactly `duration_s` at `sample_rate_hz`, as they are -> vectors (B, D) float32."""
        own = self.hearing
        with one_thread():  # as the training clips were made: the last bit depends on it
            seen = [represent(window, own.recipe, (own.representation,))[own.representation] for window in windows]
        return self._asked(np.stack(seen))

    def classify(self, vectors: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (n, K) of `composers`, of vectors (n, D)."""
        if self.head is None:
            raise UserError(f"{self.name} holds no probe, so it names no composers; `dvc repro probe` adds one")
        return self.head.probabilities(vectors)

    def _asked(self, values: np.ndarray) -> np.ndarray:
        with precision.evaluation():
            values = middle_crop(values, self._build["crop"]) if "crop" in self._build else values
            scaled = torch.from_numpy(self._scaling.apply(values)).to(self._device)
            scaled = scaled.flatten(1) if self._build.get("flatten") else scaled
            found: np.ndarray = getattr(self._network, self._build["method"])(scaled).float().cpu().numpy()
        return found

    def _mono(self, wave: np.ndarray, sample_rate: float) -> tuple[np.ndarray, str]:
        """The wave as (N,) float32 at the model's rate, and a note where its channels were not mixed."""

        if wave.ndim not in (1, 2) or not np.issubdtype(wave.dtype, np.floating):
            raise UserError(
                f"the wave is {wave.dtype} of shape {wave.shape}; wanted is floating point, (samples,) or (samples, "
                "channels), with full scale 1 (divide 16-bit integers by 32768)"
            )
        if not 1.0 <= sample_rate <= 1e6:
            raise UserError(f"a sample rate of {sample_rate} Hz is none; the wave's own rate is wanted, as 44100")
        with np.errstate(over="ignore"):  # what is no float32 becomes infinite, and is refused
            wave = wave.astype(np.float32, copy=False)
        note = ""
        if wave.ndim == 2 and wave.shape[1] > 1 and np.isfinite(wave).all():
            mono, note = mixing.downmix(wave, sample_rate)
        else:
            mono = wave.mean(axis=1) if wave.ndim == 2 and wave.shape[1] else wave.reshape(-1)
        if not np.isfinite(mono).all():
            raise UserError("some samples of the wave are not numbers (NaN or infinite)")
        if len(mono) < SHORTEST_S * sample_rate:
            raise UserError(f"the wave lasts {len(mono) / sample_rate:.4f} s; at least {SHORTEST_S} s are needed")
        same = sample_rate == self.sample_rate_hz
        resampled = mono if same else soxr.resample(mono, sample_rate, self.sample_rate_hz)
        return np.asarray(resampled, dtype=np.float32), note

    def _span(self, mono: np.ndarray, silence: bool) -> loudness.Normalization:
        """The part of a wave that is more than silence, with its gain; all of a silent one, where that is allowed."""
        try:
            return loudness.measure_normalization(mono, self.sample_rate_hz, self.hearing.level, allow_short=True)
        except Unusable as reason:
            if silence and str(reason).startswith("silent"):
                return loudness.Normalization(0, len(mono), float("-inf"), 0.0)
            raise

    def _pieces(self, mono: np.ndarray, span: loudness.Normalization, form: str, hop_s: float | None) -> Embedding:
        if form not in FORMS:
            raise UserError(f"no form '{form}'; there are {', '.join(FORMS)}")
        if form == "timestamps":
            return self._timestamps(mono, span, HOP_S if hop_s is None else hop_s)
        if hop_s is not None:
            raise UserError(f"hop_s is for the form timestamps alone, not for {form}")
        size, rate = self.hearing.recipe.samples, float(self.sample_rate_hz)
        firsts = span.begin + window_starts(span.end - span.begin, size, self.hearing.minimum_fill)
        vectors = self._through(lambda first: mono[first : min(first + size, span.end)], firsts, span.gain)
        starts_s, ends_s = firsts / rate, np.minimum(firsts + size, span.end) / rate
        if form == "clips":
            return Embedding(vectors, starts_s, ends_s)
        return Embedding(vectors.mean(axis=0, keepdims=True), starts_s[:1], ends_s[-1:])

    def _timestamps(self, mono: np.ndarray, span: loudness.Normalization, hop_s: float) -> Embedding:
        rate, size = float(self.sample_rate_hz), self.hearing.recipe.samples
        if not 1.0 / rate <= hop_s <= self.duration_s:
            raise UserError(
                f"hop_s is {hop_s:g}: wanted are seconds between two timestamps, above 0 and at most "
                f"{self.duration_s:g}, the length of a window"
            )
        count = max(1, int(np.ceil(len(mono) / rate / hop_s - 1e-9)))
        starts_s = np.arange(count) * hop_s
        firsts = np.round((starts_s + hop_s / 2.0) * rate).astype(np.int64) - size // 2

        def window(first: int) -> np.ndarray:
            before = np.zeros(max(0, -first), np.float32)
            return np.concatenate([before, mono[max(0, first) : max(0, first + size)]])

        return Embedding(self._through(window, firsts, span.gain), starts_s, starts_s + hop_s)

    def _through(self, window: Callable[[int], np.ndarray], firsts: np.ndarray, gain: float) -> np.ndarray:
        return np.concatenate([self.heard(batch) for batch in self._windows(window, firsts, gain)])

    def _windows(self, window: Callable[[int], np.ndarray], firsts: np.ndarray, gain: float) -> Iterator[np.ndarray]:
        """Batches (B, N) of windows that begin at these samples, at their level; what is missing is silence."""
        for start in range(0, len(firsts), AT_ONCE):
            part = firsts[start : start + AT_ONCE]
            batch = np.zeros((len(part), self.hearing.recipe.samples), np.float32)
            for row, first in enumerate(part):
                found = window(int(first))
                batch[row, : len(found)] = found * np.float32(gain)
            yield batch


def one_thread() -> Any:
    """A context in which the libraries of numbers use one thread."""
    return _thread_pools().limit(limits=1)


@functools.cache
def _thread_pools() -> Any:
    """Looked for once: that takes longer than to hear a clip."""

    return threadpoolctl.ThreadpoolController()


def window_starts(samples: int, size: int, minimum_fill: float) -> np.ndarray:
    """The first samples (n,) of the windows of a sound.

    They follow each other. Of what is left at the end, a window that is at least `minimum_fill` full is padded with
    silence; less than that is heard by a window that ends with the sound, and so repeats some of the one before; a rest
    below `1 - minimum_fill` of a window is left out. A sound shorter than one window is one, padded.
    """
    whole, rest = divmod(samples, size)
    firsts = [number * size for number in range(whole)]
    if not whole or rest >= minimum_fill * size:
        firsts.append(whole * size)
    elif rest > (1.0 - minimum_fill) * size:
        firsts.append(samples - size)
    return np.array(firsts, dtype=np.int64)
