"""Sound in, vectors out: a trained network with the frontend that its training clips had.

B windows of a batch, N samples, C channels, F bins, T frames, D dimensions, K composers. A *window* is as long as a
training clip. Forms of an embedding:

    clips        one vector per window; windows are consecutive, as the training clips are
    timestamps   one vector per hop, of the window centred there
    recording    one vector: the mean over the clips

Files of any length are decoded to a memory-mapped file and processed a few windows at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import threadpoolctl

from symphony2vec import extras
from symphony2vec.audio import loudness
from symphony2vec.decoding import mixing
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable, UserError
from symphony2vec.features import mel
from symphony2vec.features.recipe import Recipe
from symphony2vec.package.attributes import Attribute, estimate_keys
from symphony2vec.package.head import Head
from symphony2vec.package.scaling import Scaling, middle_crop

FORMS = ("clips", "timestamps", "recording")
BATCH_WINDOWS = 32
SHORTEST_S = 0.1
LONGEST_S = 24 * 3600.0
HOP_S = 0.5


@dataclass(frozen=True)
class Frontend:
    """How sound becomes the network's input: rate, window and spectrogram; representation; level normalisation.

    A last window that is at least `minimum_fill` full is padded with silence, as the last clip of a movement is.
    """

    recipe: Recipe
    representation: str
    level: loudness.LoudnessTarget
    minimum_fill: float


@dataclass(frozen=True)
class Embedding:
    """vectors (n, D) float32 of n passages, with their starts and ends (n,) in seconds from the start of the sound.

    `note` describes an oddity of the recording, such as channels that cancel each other; usually "".
    """

    vectors: np.ndarray
    starts_s: np.ndarray
    ends_s: np.ndarray
    note: str = ""


class Model:
    """A network with its frontend. `name` is for display; models of equal `fingerprint` give equal vectors."""

    def __init__(
        self,
        network: Callable[[np.ndarray], np.ndarray],
        build: Mapping[str, Any],
        scaling: Scaling,
        frontend: Frontend,
        head: Head | None,
        name: str,
        fingerprint: str,
        classes: list[str] | None = None,
        attributes: Sequence[Attribute] = (),
    ) -> None:
        """Arguments as the attributes, and in addition:

        network: maps scaled input (B, F, T), or (B, F T), to (B, D).
        build, scaling: see `contents.Config`.
        classes: the composers of a classifier, which outputs probabilities in place of vectors.
        attributes: the probes of musical attributes.
        """
        self.attributes = attributes
        self._network, self._build, self._scaling = network, build, scaling
        # Loaded before `one_thread` is first used, which limits the libraries that are loaded then.
        self._representations = (
            None if frontend.representation == "mel" else extras.load("symphony2vec.features.representations")
        )
        self.frontend, self.head, self.name, self.fingerprint, self.classes = frontend, head, name, fingerprint, classes
        self.sample_rate_hz, self.duration_s = frontend.recipe.rate_hz, frontend.recipe.duration_s
        silence = np.zeros((1, *frontend.recipe.shapes[frontend.representation]), np.float32)
        self.dimensions = self.embed_spectrograms(silence).shape[1]

    @property
    def composers(self) -> list[str]:
        """The classes of the probe; empty if the package holds no probe."""
        return self.head.composers if self.head else []

    def embed(self, wave: np.ndarray, sample_rate: float, form: str = "clips", hop_s: float | None = None) -> Embedding:
        """Embed a waveform.

        Args:
            wave: (N,) mono or (N, C), floating point, full scale 1; at least 0.1 s. Silence is embedded too.
            sample_rate: of the wave, in Hz; it is resampled to the model's rate.
            form: clips, timestamps or recording; see this module.
            hop_s: seconds between timestamps (default 0.5).

        Returns:
            One row per passage; see `Embedding`.

        Raises:
            UserError: the wave is not an array of finite floating-point samples of that length, or the form is unknown.
        """
        mono, note = self._to_mono(np.asarray(wave), sample_rate)
        try:
            return replace(self._embed_mono(mono, self._measure(mono, silence=True), form, hop_s), note=note)
        except Unusable as reason:
            raise UserError(f"the wave cannot be used: {reason}") from None

    def embed_file(self, path: str | Path, form: str = "clips", hop_s: float | None = None) -> Embedding:
        """Embed a recording (flac, wav, mp3, ogg, m4a, opus and others): see `embed`. The file is read in blocks.

        Raises:
            UserError: the file cannot be used; the message gives the reason.
        """
        try:
            return self.embed_recording(Path(path), form, hop_s)
        except Unusable as reason:
            raise UserError(f"{path}: {reason}") from None

    def embed_recording(
        self, path: Path, form: str = "clips", hop_s: float | None = None, longest_s: float = LONGEST_S
    ) -> Embedding:
        """Embed a recording as `embed_file` does, for callers that report many files.

        Raises:
            Unusable: the file cannot be used, is silent, or lasts longer than `longest_s`, whatever its header says.
                The message is the bare reason.
        """
        with decoding.decode_to_disk(path, self.sample_rate_hz, longest_s) as (mono, facts):
            if len(mono) < SHORTEST_S * self.sample_rate_hz:
                raise Unusable(
                    f"too short: {len(mono) / self.sample_rate_hz:.4f} s, at least {SHORTEST_S} s are needed"
                )
            span = self._measure(mono, silence=False)
            notes = [facts["note"], loudness.describe_gain(span.gain_db)]
            return replace(self._embed_mono(mono, span, form, hop_s), note="; ".join(filter(None, notes)))

    def embed_windows(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows as they are, without level normalisation.

        Args:
            windows: (B, N) float32 of exactly `duration_s` at `sample_rate_hz`.

        Returns:
            Vectors (B, D) float32.
        """
        with one_thread():  # as for the training clips: the last bit depends on it
            spectrograms = np.stack([self.represent(window) for window in windows])
        return self.embed_spectrograms(spectrograms)

    def classify(self, vectors: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities (n, K) of `composers` for vectors (n, D).

        Raises:
            UserError: the package holds no probe.
        """
        if self.head is None:
            raise UserError(f"{self.name} holds no probe, so it cannot classify composers; `dvc repro probe` adds one")
        return self.head.probabilities(vectors)

    def represent(self, window: np.ndarray) -> np.ndarray:
        """Return the representation (F, T) float32 of a window (N,) float32; see `embed_spectrograms`."""
        recipe, name = self.frontend.recipe, self.frontend.representation
        if self._representations is None:
            settings = recipe.settings
            return mel.spectrogram(
                window,
                recipe.rate_hz,
                settings.fft_samples,
                settings.hop_samples,
                settings.mel_bands,
                settings.dynamic_range_db,
            )
        return np.asarray(self._representations.represent(window, recipe, (name,))[name])

    def describe(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values (n, K) of the musical attributes of vectors (n, D), by name; see `attributes`.

        "key" holds the names (n, 1) of the keys, if the probe of the pitch classes was evaluated for it.

        Raises:
            UserError: the package holds no probes of attributes.
        """
        if not self.attributes:
            raise UserError(f"{self.name} holds no probes of musical attributes; symphony2vec-base does")
        values = {attribute.name: attribute.predict(vectors) for attribute in self.attributes}
        for attribute in self.attributes:
            if attribute.key_accuracy is not None:
                values["key"] = estimate_keys(values[attribute.name])
        return values

    def embed_spectrograms(self, spectrograms: np.ndarray) -> np.ndarray:
        """Embed spectrograms as they are.

        Args:
            spectrograms: (B, F, T) float32 in the unit of the representation; see `symphony2vec.package.scaling`.

        Returns:
            Vectors (B, D) float32.
        """
        x = middle_crop(spectrograms, self._build["crop"]) if "crop" in self._build else spectrograms
        scaled = self._scaling.apply(x)
        return self._network(scaled.reshape(len(scaled), -1) if self._build.get("flatten") else scaled)

    def _to_mono(self, wave: np.ndarray, sample_rate: float) -> tuple[np.ndarray, str]:
        """Return the wave as (N,) float32 at the model's rate, and a note if its channels were not averaged."""
        if wave.ndim not in (1, 2) or not np.issubdtype(wave.dtype, np.floating):
            raise UserError(
                f"the wave is {wave.dtype} of shape {wave.shape}; expected floating point, (samples,) or (samples, "
                "channels), with full scale 1 (divide 16-bit integers by 32768)"
            )
        if not 1.0 <= sample_rate <= 1e6:
            raise UserError(f"invalid sample rate: {sample_rate} Hz; expected the wave's own rate, such as 44100")
        with np.errstate(over="ignore"):  # values beyond float32 become infinite, and are refused below
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
        is_same = sample_rate == self.sample_rate_hz
        resampled = mono if is_same else soxr.resample(mono, sample_rate, self.sample_rate_hz)
        return np.asarray(resampled, dtype=np.float32), note

    def _measure(self, mono: np.ndarray, silence: bool) -> loudness.Normalization:
        """Return the non-silent part of a wave, with its gain; all of a silent wave if `silence` is allowed."""
        try:
            return loudness.measure_normalization(mono, self.sample_rate_hz, self.frontend.level, allow_short=True)
        except Unusable as reason:
            if silence and str(reason).startswith("silent"):
                return loudness.Normalization(0, len(mono), float("-inf"), 0.0)
            raise

    def _embed_mono(self, mono: np.ndarray, span: loudness.Normalization, form: str, hop_s: float | None) -> Embedding:
        if form not in FORMS:
            raise UserError(f"unknown form '{form}'; choose one of {', '.join(FORMS)}")
        if form == "timestamps":
            return self._embed_timestamps(mono, span, HOP_S if hop_s is None else hop_s)
        if hop_s is not None:
            raise UserError(f"hop_s applies to the form timestamps only, not to {form}")
        size, rate = self.frontend.recipe.samples, float(self.sample_rate_hz)
        firsts = span.begin + window_starts(span.end - span.begin, size, self.frontend.minimum_fill)
        vectors = self._embed_at(lambda first: mono[first : min(first + size, span.end)], firsts, span.gain)
        starts_s, ends_s = firsts / rate, np.minimum(firsts + size, span.end) / rate
        if form == "clips":
            return Embedding(vectors, starts_s, ends_s)
        return Embedding(vectors.mean(axis=0, keepdims=True), starts_s[:1], ends_s[-1:])

    def _embed_timestamps(self, mono: np.ndarray, span: loudness.Normalization, hop_s: float) -> Embedding:
        rate, size = float(self.sample_rate_hz), self.frontend.recipe.samples
        if not 1.0 / rate <= hop_s <= self.duration_s:
            raise UserError(
                f"hop_s is {hop_s:g}; expected seconds above 0 and at most {self.duration_s:g}, the length of a window"
            )
        count = max(1, int(np.ceil(len(mono) / rate / hop_s - 1e-9)))
        starts_s = np.arange(count) * hop_s
        firsts = np.round((starts_s + hop_s / 2.0) * rate).astype(np.int64) - size // 2

        def window(first: int) -> np.ndarray:
            padding = np.zeros(max(0, -first), np.float32)
            return np.concatenate([padding, mono[max(0, first) : max(0, first + size)]])

        return Embedding(self._embed_at(window, firsts, span.gain), starts_s, starts_s + hop_s)

    def _embed_at(self, window: Callable[[int], np.ndarray], firsts: np.ndarray, gain: float) -> np.ndarray:
        return np.concatenate([self.embed_windows(batch) for batch in self._window_batches(window, firsts, gain)])

    def _window_batches(
        self, window: Callable[[int], np.ndarray], firsts: np.ndarray, gain: float
    ) -> Iterator[np.ndarray]:
        """Yield batches (B, N) of the windows from these first samples on, scaled by `gain`, padded with silence."""
        for start in range(0, len(firsts), BATCH_WINDOWS):
            batch_firsts = firsts[start : start + BATCH_WINDOWS]
            batch = np.zeros((len(batch_firsts), self.frontend.recipe.samples), np.float32)
            for row, first in enumerate(batch_firsts):
                samples = window(int(first))
                batch[row, : len(samples)] = samples * np.float32(gain)
            yield batch


def one_thread() -> Any:
    """Return a context in which BLAS and OpenMP use one thread."""
    return _thread_pools().limit(limits=1)


@functools.cache
def _thread_pools() -> Any:
    """Return the controller of the thread pools; creating one takes longer than embedding a clip."""
    return threadpoolctl.ThreadpoolController()


def window_starts(samples: int, size: int, minimum_fill: float) -> np.ndarray:
    """Return the first samples (n,) of the windows of a sound.

    Windows are consecutive. If the remainder fills at least `minimum_fill` of a window, it is padded with silence; if
    it fills less, the last window is aligned with the end of the sound and overlaps the one before; a remainder below
    `1 - minimum_fill` of a window is dropped. A sound shorter than one window is padded to one.

    Args:
        samples: length of the sound.
        size: length of a window, in samples.
        minimum_fill: share of a window, in [0, 1].

    Examples:
        >>> window_starts(29, 10, 0.5), window_starts(26, 10, 0.7), window_starts(21, 10, 0.7)
        (array([ 0, 10, 20]), array([ 0, 10, 16]), array([ 0, 10]))
    """
    count, remainder = divmod(samples, size)
    firsts = [number * size for number in range(count)]
    if not count or remainder >= minimum_fill * size:
        firsts.append(count * size)
    elif remainder > (1.0 - minimum_fill) * size:
        firsts.append(samples - size)
    return np.array(firsts, dtype=np.int64)
