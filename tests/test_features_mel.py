"""The mel spectrogram of numpy and scipy equals librosa's, for any sound, rate and size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest

from symphony2vec import params
from symphony2vec.features import mel
from symphony2vec.features.recipe import Recipe
from symphony2vec.features.representations import represent

STORED = params.read(Path(__file__).parents[1] / "params.yaml").features
TOLERANCE = 1e-5  # of the dynamic range
# Rate in Hz, length of the Fourier transform, hop, mel bands, dynamic range in dB
SIZES = {
    "params.yaml": (
        22050,
        STORED.fft_samples,
        STORED.hop_samples,
        STORED.mel_bands,
        STORED.dynamic_range_db,
    ),
    "44.1 kHz": (44100, 4096, 1024, 128, 80.0),
    "speech": (16000, 400, 160, 40, 80.0),
    "8 kHz, small range": (8000, 512, 256, 16, 30.0),
    "large range": (22050, 1024, 300, 40, 120.0),
    "odd length": (22050, 2049, 512, 64, 80.0),
    "hop above the window": (8000, 256, 300, 16, 80.0),
    "more bands than bins": (4000, 128, 64, 80, 80.0),
    "one band": (22050, 2048, 512, 1, 80.0),
    "rate below the corner of the scale": (1500, 256, 64, 20, 80.0),
}
SECONDS = 2.0
pytestmark = pytest.mark.filterwarnings("ignore:Empty filters detected", "ignore:n_fft=.* is too large")


def noise(rate_hz: int, level: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (level * rng.standard_normal(round(SECONDS * rate_hz))).astype(np.float32)


def tone(rate_hz: int, frequency_hz: float) -> np.ndarray:
    times_s = np.arange(round(SECONDS * rate_hz)) / rate_hz
    return (0.5 * np.sin(2.0 * np.pi * frequency_hz * times_s)).astype(np.float32)


def impulse(rate_hz: int) -> np.ndarray:
    wave = np.zeros(round(SECONDS * rate_hz), np.float32)
    wave[len(wave) // 3] = 1.0
    return wave


def burst(rate_hz: int) -> np.ndarray:
    """Return silence, then noise: the floor of the dynamic range is reached."""
    wave = noise(rate_hz)
    wave[: len(wave) // 2] = 0.0
    return wave


SOUNDS = {
    "noise": noise,
    "faint noise": lambda rate_hz: noise(rate_hz, 1e-6),
    "noise below the least power": lambda rate_hz: noise(rate_hz, 1e-12),
    "loud noise": lambda rate_hz: noise(rate_hz, 1e4),
    "low tone": lambda rate_hz: tone(rate_hz, 55.0),
    "tone": lambda rate_hz: tone(rate_hz, 440.0),
    "high tone": lambda rate_hz: tone(rate_hz, 0.45 * rate_hz),
    "two tones": lambda rate_hz: tone(rate_hz, 220.0) + np.float32(1e-3) * tone(rate_hz, 0.3 * rate_hz),
    "silence": lambda rate_hz: np.zeros(round(SECONDS * rate_hz), np.float32),
    "impulse": impulse,
    "burst": burst,
    "constant": lambda rate_hz: np.full(round(SECONDS * rate_hz), 0.5, np.float32),
    "one sample": lambda rate_hz: np.ones(1, np.float32),
    "shorter than the window": lambda rate_hz: noise(rate_hz)[:100],
}


def librosa_mel(
    wave: np.ndarray, rate_hz: int, fft_samples: int, hop_samples: int, bands: int, dynamic_range_db: float
) -> np.ndarray:
    """Return the mel spectrogram in dB below its maximum by librosa's own calls."""
    power = librosa.feature.melspectrogram(y=wave, sr=rate_hz, n_fft=fft_samples, hop_length=hop_samples, n_mels=bands)
    values_db: np.ndarray = librosa.power_to_db(power, ref=np.max, top_db=dynamic_range_db)
    return values_db


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize("size", SIZES)
def test_the_spectrogram_equals_librosas(size: str, sound: str) -> None:
    settings = SIZES[size]
    wave = SOUNDS[sound](settings[0])
    values_db, expected_db = mel.spectrogram(wave, *settings), librosa_mel(wave, *settings)
    assert values_db.shape == expected_db.shape
    assert values_db.dtype == np.float32
    assert values_db.flags.c_contiguous
    np.testing.assert_allclose(values_db, expected_db, rtol=0, atol=TOLERANCE * settings[-1])


@pytest.mark.parametrize("sound", SOUNDS)
def test_the_spectrogram_equals_that_of_the_features_of_the_pipeline(sound: str) -> None:
    rate_hz, *settings = SIZES["params.yaml"]
    wave = SOUNDS[sound](rate_hz)
    expected_db = represent(wave, Recipe(rate_hz, SECONDS, STORED), ("mel",))["mel"]
    values_db = mel.spectrogram(wave, rate_hz, *settings)
    np.testing.assert_allclose(values_db, expected_db, rtol=0, atol=TOLERANCE * STORED.dynamic_range_db)


def test_a_clip_of_a_recipe_has_its_shape() -> None:
    recipe = Recipe(22050, 10.0, STORED)
    wave = np.random.default_rng(1).standard_normal(recipe.samples).astype(np.float32)
    assert mel.spectrogram(wave, *SIZES["params.yaml"]).shape == recipe.shapes["mel"] == (64, 431)


@pytest.mark.parametrize("size", SIZES)
def test_the_spectrogram_lies_within_the_dynamic_range_and_ignores_the_level(size: str) -> None:
    settings = SIZES[size]
    wave = noise(settings[0]) + tone(settings[0], 440.0)
    values_db = mel.spectrogram(wave, *settings)
    assert values_db.max() == pytest.approx(0.0, abs=1e-5)
    assert values_db.min() >= values_db.max() - np.float32(settings[-1])
    louder_db = mel.spectrogram(np.float32(4.0) * wave, *settings)
    bands = mel.filters(settings[0], settings[1], settings[3]).any(axis=1)  # those with a bin
    np.testing.assert_allclose(louder_db[bands], values_db[bands], rtol=0, atol=TOLERANCE * settings[-1])


@pytest.mark.parametrize("size", SIZES)
def test_the_filters_equal_librosas(size: str) -> None:
    rate_hz, fft_samples, _, bands, _ = SIZES[size]
    filters = mel.filters(rate_hz, fft_samples, bands)
    expected = librosa.filters.mel(sr=rate_hz, n_fft=fft_samples, n_mels=bands)
    assert filters.shape == expected.shape == (bands, 1 + fft_samples // 2)
    assert filters.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(filters, expected, rtol=1e-6, atol=1e-6 * expected.max())


@pytest.mark.parametrize("size", SIZES)
def test_the_power_spectrogram_equals_librosas(size: str) -> None:
    rate_hz, fft_samples, hop_samples, _, _ = SIZES[size]
    wave = noise(rate_hz)
    expected = np.abs(librosa.stft(wave, n_fft=fft_samples, hop_length=hop_samples)).T ** 2
    power = mel.power_spectrogram(wave, fft_samples, hop_samples)
    assert power.shape == expected.shape
    np.testing.assert_allclose(power, expected, rtol=1e-5, atol=1e-7 * expected.max())


@pytest.mark.parametrize("samples", [2, 5, 400, 2048, 2049])
def test_the_window_is_the_periodic_hann_window(samples: int) -> None:
    expected = librosa.filters.get_window("hann", samples, fftbins=True)
    np.testing.assert_allclose(mel.hann(samples), expected, rtol=0, atol=1e-14)


def test_the_scale_equals_librosas_and_its_inverse_returns_the_frequency() -> None:
    frequencies_hz = np.concatenate([np.linspace(0.0, 24000.0, 997), [999.9999, 1000.0, 1000.0001]])
    mels = mel.to_mel(frequencies_hz)
    np.testing.assert_allclose(mels, librosa.hz_to_mel(frequencies_hz), rtol=1e-12)
    np.testing.assert_allclose(mel.to_hz(mels), frequencies_hz, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(mel.to_hz(mels), librosa.mel_to_hz(mels), rtol=1e-12, atol=1e-9)


def test_the_wave_and_the_tables_in_the_cache_are_left_as_they_are() -> None:
    settings = SIZES["params.yaml"]
    wave = noise(22050)
    copy = wave.copy()
    wave.flags.writeable = False
    first_db = mel.spectrogram(wave, *settings)
    np.testing.assert_array_equal(wave, copy)
    np.testing.assert_array_equal(mel.spectrogram(wave, *settings), first_db)


def test_it_needs_no_librosa() -> None:
    program = "import sys; import symphony2vec.features.mel; print('librosa' in sys.modules, 'torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["False", "False"]
