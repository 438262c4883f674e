"""Listening: what went into a mel spectrogram is what is heard, and a file is written whole."""

from __future__ import annotations

import time

import librosa
import numpy as np
import pytest
import soundfile

from symphony2vec.errors import UserError
from symphony2vec.features import inversion as listening

RATE_HZ, FFT, HOP, BANDS = 22050, 2048, 512, 64
PEAK = 10.0 ** (listening.PEAK_DBFS / 20.0)


def mel_db(wave: np.ndarray) -> np.ndarray:
    mel = librosa.feature.melspectrogram(y=wave, sr=RATE_HZ, n_fft=FFT, hop_length=HOP, n_mels=BANDS)
    return librosa.power_to_db(mel, ref=np.max, top_db=-listening.FLOOR_DB)


def tones(frequencies_hz: list[float], duration_s: float) -> np.ndarray:
    times = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return sum(np.sin(2 * np.pi * f * k * times) / k**2 for f in frequencies_hz for k in (1, 2, 3, 4)).astype(
        np.float32
    )


def chords() -> np.ndarray:
    """C major, F major, G major and C major, half a second each, each dying away."""
    sequence = ([262.0, 330.0, 392.0], [262.0, 349.0, 440.0], [247.0, 294.0, 392.0], [262.0, 330.0, 523.0])
    fade = np.exp(-3.0 * np.arange(RATE_HZ // 2) / RATE_HZ).astype(np.float32)
    return np.concatenate([tones(chord, 0.5)[: len(fade)] * fade for chord in sequence])


def sound(spectrogram: np.ndarray, **options: float) -> np.ndarray:
    return listening.invert_mel(spectrogram, RATE_HZ, FFT, HOP, **options)


def test_a_tone_comes_back_at_its_pitch():
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    heard = sound(mel_db(np.sin(2 * np.pi * 440.0 * times).astype(np.float32)))
    strongest_hz = np.abs(np.fft.rfft(heard)).argmax() * RATE_HZ / len(heard)
    centres_hz = librosa.mel_frequencies(n_mels=BANDS + 2, fmax=RATE_HZ / 2)
    band = np.abs(centres_hz - 440.0).argmin()
    assert centres_hz[band - 1] < strongest_hz < centres_hz[band + 1]


def test_a_chord_sequence_sounds_like_itself():
    wanted = mel_db(chords())
    heard = sound(wanted)
    found = mel_db(heard)
    assert found.shape == wanted.shape
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.9
    assert heard.dtype == np.float32
    assert len(heard) == (wanted.shape[1] - 1) * HOP
    assert np.abs(heard).max() == pytest.approx(PEAK, rel=1e-5)


def test_the_fitted_spectrum_has_the_mel_spectrogram_and_is_nowhere_negative():
    mel = librosa.db_to_power(mel_db(chords())).astype(np.float32)
    fitted = listening.fit_power_spectrum(mel, RATE_HZ, FFT)
    bank = librosa.filters.mel(sr=RATE_HZ, n_fft=FFT, n_mels=BANDS)
    assert fitted.shape == (1 + FFT // 2, mel.shape[1])
    assert fitted.min() >= 0.0
    assert np.linalg.norm(bank @ fitted - mel) < 0.01 * np.linalg.norm(mel)


def test_a_clip_of_ten_seconds_takes_a_few_seconds_at_most():
    spectrogram = mel_db(np.tile(chords(), 5))
    sound(spectrogram[:, :8])  # compiled and loaded
    begun = time.process_time()
    sound(spectrogram)
    assert time.process_time() - begun < 10.0


def test_a_higher_level_makes_the_same_sound():
    spectrogram = mel_db(chords())[:, :20]
    above = np.where(spectrogram > listening.FLOOR_DB, spectrogram - 6.0, listening.FLOOR_DB)
    kept = np.where(above > listening.FLOOR_DB, spectrogram, listening.FLOOR_DB)
    np.testing.assert_allclose(sound(above), sound(kept), atol=2e-3)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    spectrogram = mel_db(chords())
    assert sound(spectrogram, seed=3).tobytes() == sound(spectrogram, seed=3).tobytes()
    assert sound(spectrogram, seed=3).tobytes() != sound(spectrogram, seed=4).tobytes()


@pytest.mark.parametrize("value", [0.0, -5.0, listening.FLOOR_DB, listening.FLOOR_DB - 20.0])
def test_silence_stays_silence(value):
    heard = sound(np.full((BANDS, 12), value, dtype=np.float32))
    assert heard.shape == (11 * HOP,)
    assert not heard.any()


def test_silence_of_the_features_stays_silence():
    assert not sound(mel_db(np.zeros(RATE_HZ, dtype=np.float32))).any()


def test_what_lies_below_the_floor_is_no_sound():
    spectrogram = np.full((BANDS, 12), listening.FLOOR_DB - 5.0)
    spectrogram[:, 3] = np.linspace(listening.FLOOR_DB - 9.0, listening.FLOOR_DB, BANDS)
    assert not sound(spectrogram).any()


@pytest.mark.parametrize(
    "spectrogram", [np.zeros((BANDS, 1)), np.zeros(BANDS), np.full((BANDS, 4), np.nan), np.zeros((2, BANDS, 4))]
)
def test_what_is_no_spectrogram_is_refused(spectrogram):
    with pytest.raises(ValueError, match="expected finite values"):
        sound(spectrogram)


def test_a_crop_lies_in_its_bands():
    crop = np.random.default_rng(0).uniform(-60.0, 0.0, (32, 32)).astype(np.float32)
    placed = listening.pad_crop(crop, BANDS, 8)
    assert placed.shape == (BANDS, 32)
    assert placed.dtype == np.float32
    np.testing.assert_array_equal(placed[8:40], crop)
    assert (np.delete(placed, np.s_[8:40], axis=0) == listening.FLOOR_DB).all()


def test_a_crop_is_heard_in_its_bands_only():
    crop = np.random.default_rng(0).uniform(-20.0, 0.0, (32, 32))
    heard = mel_db(sound(listening.pad_crop(crop, BANDS, 16)))
    assert heard[16:48].mean() > heard[:14].mean() + 20.0
    assert heard[16:48].mean() > heard[50:].mean() + 20.0


@pytest.mark.parametrize("first", [-1, 33, 64])
def test_a_crop_beyond_the_bands_is_refused(first):
    with pytest.raises(ValueError, match=r"does not lie within 64 bands"):
        listening.pad_crop(np.zeros((32, 4)), BANDS, first)


def test_a_file_reads_back_at_its_rate_and_length(tmp_path):
    wave = sound(mel_db(chords()))
    path = tmp_path / f"walk{listening.SUFFIX}"
    listening.write_mp3(path, wave, RATE_HZ)
    heard, rate_hz = soundfile.read(path, dtype="float32")
    assert rate_hz == RATE_HZ
    assert abs(len(heard) - len(wave)) <= 2 * 1152  # frames of MP3: what the codec may add at either end
    common = min(len(heard), len(wave))
    assert np.corrcoef(mel_db(heard[:common]).ravel(), mel_db(wave[:common]).ravel())[0, 1] > 0.95
    assert path.stat().st_size < len(wave) * 2 / 4
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_the_same_samples_give_the_same_file(tmp_path):
    wave = sound(mel_db(chords()))
    for name in ("one.mp3", "two.mp3"):
        listening.write_mp3(tmp_path / name, wave, RATE_HZ)
    assert (tmp_path / "one.mp3").read_bytes() == (tmp_path / "two.mp3").read_bytes()


@pytest.mark.parametrize("rate_hz", listening.RATES_HZ)
def test_every_rate_of_mp3_is_written(tmp_path, rate_hz):
    listening.write_mp3(tmp_path / "tone.mp3", np.zeros(rate_hz // 4, dtype=np.float32), rate_hz)
    assert soundfile.info(tmp_path / "tone.mp3").samplerate == rate_hz


def test_a_rate_that_mp3_lacks_is_named(tmp_path):
    with pytest.raises(UserError, match=r"20000 Hz; audio\.sample_rate_hz must be one of 8000"):
        listening.write_mp3(tmp_path / "tone.mp3", np.zeros(2000, dtype=np.float32), 20000)
    assert not list(tmp_path.iterdir())


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "tone.mp3"
    path.write_bytes(b"before")

    def fails(target, *arguments, **options):
        target.write_bytes(b"half")
        raise RuntimeError("interrupted")

    monkeypatch.setattr(soundfile, "write", fails)
    with pytest.raises(RuntimeError, match="interrupted"):
        listening.write_mp3(path, np.zeros(2000, dtype=np.float32), RATE_HZ)
    assert path.read_bytes() == b"before"
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
