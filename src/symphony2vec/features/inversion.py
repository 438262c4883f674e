"""Turn a mel spectrogram back into sound, so that reconstructions and generated samples can be listened to.

F mel bands from low to high, T frames, N samples; values in dB relative to the maximum, as the stage `features` writes
them. A mel spectrogram contains neither phases nor detail within its bands, so the result is one of many sounds that
have this mel spectrogram: a power spectrum is fitted to the bands, and its phases are estimated by the algorithm of
Griffin and Lim (1984).
"""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import soundfile
from librosa.filters import mel as mel_filters

from symphony2vec.errors import UserError
from symphony2vec.project import atomic_file

FLOOR_DB = -80.0  # params.features.dynamic_range_db below the maximum
PEAK_DBFS = -3.0  # headroom for the overshoot of a lossy format
FIT_ITERATIONS = 100
EPSILON = 1e-20
SUFFIX = ".mp3"
RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # of MPEG-1, MPEG-2 and MPEG-2.5 layer III
COMPRESSION = 0.7  # about 38 kbit/s at 22.05 kHz: 47 kB for 10 s


def invert_mel(
    mel_db: np.ndarray,
    rate_hz: int,
    fft_samples: int,
    hop_samples: int,
    iterations: int = 32,
    seed: int = 0,
    floor_db: float = FLOOR_DB,
) -> np.ndarray:
    """Synthesize a waveform with a given mel spectrogram.

    The same seed gives the same samples on one machine with one number of threads.

    Args:
        mel_db: mel spectrogram (F, T) in dB, with at least two frames.
        rate_hz: sample rate.
        fft_samples: window length of the spectrogram.
        hop_samples: hop length of the spectrogram.
        iterations: of Griffin and Lim's algorithm.
        seed: of the initial phases.
        floor_db: values at or below this level are treated as silence.

    Returns:
        Samples (N,) float32 with N = (T - 1) hop_samples and a peak of -3 dBFS. A constant spectrogram gives silence,
        because that is how silence looks relative to its own maximum.

    Raises:
        ValueError: `mel_db` is not (F, T), has fewer than two frames or contains values that are not finite.

    Examples:
        >>> mel_db = np.full((20, 9), FLOOR_DB)
        >>> mel_db[5] = 0.0
        >>> invert_mel(mel_db, rate_hz=8000, fft_samples=512, hop_samples=128).shape
        (1024,)
    """
    if mel_db.ndim != 2 or mel_db.shape[1] < 2 or not np.isfinite(mel_db).all():
        raise ValueError(f"expected finite values (F, T) with at least two frames, got an array {mel_db.shape}")
    audible = (mel_db > floor_db) & (np.ptp(mel_db) > 0.0)
    mel = np.where(audible, librosa.db_to_power(mel_db), 0.0).astype(np.float32)
    wave = librosa.griffinlim(
        np.sqrt(fit_power_spectrum(mel, rate_hz, fft_samples)),
        n_iter=iterations,
        hop_length=hop_samples,
        n_fft=fft_samples,
        length=(mel_db.shape[1] - 1) * hop_samples,
        random_state=seed,
    )
    peak = np.abs(wave).max()
    scaled: np.ndarray = (wave * (10.0 ** (PEAK_DBFS / 20.0) / peak if peak > 0.0 else 0.0)).astype(np.float32)
    return scaled


def fit_power_spectrum(mel: np.ndarray, rate_hz: int, fft_samples: int, iterations: int = FIT_ITERATIONS) -> np.ndarray:
    """Return a nonnegative power spectrum (1 + fft_samples // 2, T) with a given mel power spectrogram (F, T).

    Multiplicative updates for the Kullback-Leibler divergence (Lee & Seung 2001) from a flat start. On clips of
    64 x 431 the relative error of the mel spectrogram falls to 0.0004 in 0.15 s. librosa's `mel_to_stft` stops at its
    starting point with an error of 0.1, because the gradients of values below 1 look small to it; on values scaled by
    a million it takes more than a minute to reach 0.0001.
    """
    filters = mel_filters(sr=rate_hz, n_fft=fft_samples, n_mels=len(mel)).astype(np.float32)
    coverage = filters.sum(axis=0)[:, None]  # 0 Hz and the highest frequency lie in no band
    weights = np.divide(filters.T, coverage, out=np.zeros_like(filters.T), where=coverage > 0.0)
    power: np.ndarray = weights @ mel
    for _ in range(iterations):
        power *= weights @ (mel / np.maximum(filters @ power, EPSILON))
    return power


def pad_crop(crop_db: np.ndarray, bands: int, first_band: int, floor_db: float = FLOOR_DB) -> np.ndarray:
    """Pad a crop (f, T) that starts at `first_band` to all `bands` bands (F, T), with the floor elsewhere.

    Raises:
        ValueError: the crop reaches beyond the bands.

    Examples:
        >>> pad_crop(np.zeros((1, 2)), bands=3, first_band=1)[:, 0].tolist()
        [-80.0, 0.0, -80.0]
    """
    end = first_band + len(crop_db)
    if first_band < 0 or end > bands:
        raise ValueError(f"a crop of bands {first_band} to {end - 1} does not lie within {bands} bands")
    return np.pad(crop_db, ((first_band, bands - end), (0, 0)), constant_values=floor_db)


def write_mp3(path: Path, wave: np.ndarray, rate_hz: int) -> None:
    """Write samples (N,) as MP3, atomically.

    Every browser plays MP3 from a data URI, it is the smallest format of which this holds (FLAC is six times as large),
    and the same samples give the same bytes. Ogg Vorbis files contain a random serial number, and older versions of
    Safari do not play them.

    Raises:
        UserError: MP3 does not support the sample rate.
    """
    if rate_hz not in RATES_HZ:
        supported = ", ".join(map(str, RATES_HZ))
        raise UserError(f"an MP3 cannot have {rate_hz} Hz; audio.sample_rate_hz must be one of {supported}")
    with atomic_file(path) as partial:
        soundfile.write(partial, wave, rate_hz, format="MP3", subtype="MPEG_LAYER_III", compression_level=COMPRESSION)
