"""Embedding sound: relations between sounds and their vectors, any length, what is refused, and the ways to a model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from conftest import CLIP_S, COMPOSERS, RATE_HZ, Trained, client, music
from symphony2vec import tracking
from symphony2vec.decoding import recording as decoding
from symphony2vec.embedder import Embedder
from symphony2vec.errors import Unusable, UserError
from symphony2vec.package.model import window_starts

CLIP = round(CLIP_S * RATE_HZ)


@pytest.fixture(scope="module", params=["vae-mel", "pca-mfcc"])
def model(request: pytest.FixtureRequest, trained: Trained) -> Embedder:
    """Mel is relative to the clip's maximum, MFCC is not: of it the level must be right."""
    return Embedder.load(trained.package(model=request.param))


@pytest.fixture(scope="module")
def vae(trained: Trained) -> Embedder:
    return Embedder.load(trained.package())


def assert_near(found: np.ndarray, wanted: np.ndarray, share: float = 1e-4) -> None:
    """Equal to a share of the largest value."""
    np.testing.assert_allclose(found, wanted, atol=share * np.abs(wanted).max(), rtol=0)


def written(path: Path, wave: np.ndarray, rate_hz: int = RATE_HZ, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, wave, rate_hz, subtype=subtype)
    return path


# relations ------------------------------------------------------------------------------------------------------------


def test_a_recording_of_the_pipeline_has_the_vectors_that_the_stage_wrote(trained, model):
    name = "vae-mel" if "vae" in model.name else "pca-mfcc"
    stored = trained.vectors(model=name)
    for sound, rows in trained.rows_of().items():
        assert_near(model.embed_file(sound).vectors[: len(rows)], stored[rows], 5e-4 if name == "pca-mfcc" else 1e-4)


def test_a_recording_as_it_came_has_the_vectors_of_what_the_pipeline_made_of_it(trained, vae):
    sounds = sorted(trained.project.corpus("made_up").glob("*.flac"))
    found = np.concatenate([vae.embed_file(sound).vectors for sound in sounds])
    made = np.concatenate([vae.embed_file(sound).vectors for sound in sorted(trained.rows_of(), key=number)])
    assert_near(found, made, 2e-3)


def number(sound: Path) -> str:
    return sound.name.partition("sonata-")[2] or sound.name


def test_a_louder_sound_has_the_same_vectors(model):
    wave = music(2.5)
    assert_near(model.embed(4.0 * wave, RATE_HZ).vectors, model.embed(wave, RATE_HZ).vectors)


def test_two_equal_channels_are_one(model):
    wave = music(2.5)
    two = model.embed(np.stack([wave, wave], axis=1), RATE_HZ).vectors
    np.testing.assert_array_equal(two, model.embed(wave, RATE_HZ).vectors)


@pytest.mark.parametrize("kind", [np.float64, np.float16, ">f4", np.longdouble])
def test_every_kind_of_floating_point_is_heard(kind, vae):
    wave = music(1.5)
    assert_near(vae.embed(wave.astype(kind), RATE_HZ).vectors, vae.embed(wave, RATE_HZ).vectors, 0.02)


@pytest.mark.parametrize("rate_hz", [16000, 44100, 96000])
def test_another_rate_is_nearly_the_same(rate_hz, vae):
    wave = soxr.resample(music(2.5), RATE_HZ, 8000)  # what all of the rates can hold
    one, other = (soxr.resample(wave, 8000, hz) for hz in (RATE_HZ, rate_hz))
    wanted, found = vae.embed(one, RATE_HZ), vae.embed(other, rate_hz)
    assert_near(found.vectors, wanted.vectors, 0.02)
    np.testing.assert_allclose(found.ends_s, wanted.ends_s, atol=1e-3)


def test_a_file_is_heard_as_the_array_that_it_holds(vae, tmp_path):
    wave = music(2.5, rate_hz=44100)
    path = written(tmp_path / "a.wav", np.stack([wave, 0.5 * wave], axis=1), 44100)
    assert_near(vae.embed_file(path).vectors, vae.embed(0.75 * wave, 44100).vectors, 1e-3)


def test_the_clips_of_a_long_sound_are_those_of_its_parts(vae):
    parts = [music(3.0, seed) for seed in (1, 2, 3)]
    whole = vae.embed(np.concatenate(parts), RATE_HZ)
    found = np.concatenate([vae.embed(part, RATE_HZ).vectors for part in parts])
    assert_near(whole.vectors, found, 1e-3)
    np.testing.assert_allclose(whole.starts_s, np.arange(9.0))


def test_silence_at_the_ends_is_left_out_and_times_are_those_of_the_file(vae, tmp_path):
    wave, quiet = music(3.0), np.zeros(2 * RATE_HZ + 512 - 2 * RATE_HZ % 512, np.float32)
    path = written(tmp_path / "a.wav", np.concatenate([quiet, wave, quiet]))
    found = vae.embed_file(path)
    assert found.starts_s[0] == pytest.approx(len(quiet) / RATE_HZ, abs=0.06)
    assert found.ends_s[-1] == pytest.approx((len(quiet) + len(wave)) / RATE_HZ, abs=0.06)
    assert_near(found.vectors[:2], vae.embed_file(written(tmp_path / "b.wav", wave)).vectors[:2], 0.5)


def test_a_timestamp_is_the_clip_centred_there(vae):
    wave = music(5.0)
    times = vae.embed(wave, RATE_HZ, "timestamps", hop_s=0.5)
    np.testing.assert_allclose(times.starts_s, np.arange(10) * 0.5)
    np.testing.assert_allclose(times.ends_s - times.starts_s, 0.5)
    for row in (2, 5):
        first = round((times.starts_s[row] + 0.25) * RATE_HZ) - CLIP // 2
        assert_near(times.vectors[row], vae.embed_windows(wave[None, first : first + CLIP])[0], 1e-3)


def test_timestamps_at_the_ends_hear_silence_beyond_them(vae):
    wave = music(1.0)
    times = vae.embed(wave, RATE_HZ, "timestamps", hop_s=0.5)
    begin = round(0.25 * RATE_HZ)  # the first window is centred at 0.25 s, and so begins a quarter of a second early
    padded = np.concatenate([np.zeros(CLIP // 2 - begin, np.float32), wave])[None, :CLIP]
    assert_near(times.vectors[0], vae.embed_windows(padded)[0], 1e-3)


def test_a_hop_of_a_window_gives_its_clips(vae):
    wave = music(4.0)
    times, clips = (vae.embed(wave, RATE_HZ, *asked) for asked in (("timestamps", CLIP_S), ("clips",)))
    assert_near(times.vectors, clips.vectors, 1e-4)


def test_a_recording_is_the_mean_of_its_clips(vae):
    wave = music(3.6)
    one, clips = vae.embed(wave, RATE_HZ, "recording"), vae.embed(wave, RATE_HZ)
    np.testing.assert_allclose(one.vectors, clips.vectors.mean(axis=0, keepdims=True), rtol=1e-6)
    assert (one.starts_s.tolist(), one.ends_s.tolist()) == ([0.0], [clips.ends_s[-1]])


def test_a_vector_does_not_depend_on_the_batch(model, monkeypatch):
    wave = music(7.0)
    windows = wave[: 7 * CLIP].reshape(7, CLIP)
    together = model.embed_windows(windows)
    assert_near(np.concatenate([model.embed_windows(window[None]) for window in windows]), together, 1e-5)
    whole = model.embed(wave, RATE_HZ).vectors
    monkeypatch.setattr("symphony2vec.package.model.BATCH_WINDOWS", 2)
    assert_near(model.embed(wave, RATE_HZ).vectors, whole, 1e-5)


def test_different_music_has_different_vectors(vae):
    dull, bright = (vae.embed(music(1.0, 5, bright), RATE_HZ).vectors for bright in (False, True))
    again = vae.embed(music(1.0, 5) + 1e-5 * music(1.0, 6), RATE_HZ).vectors
    assert np.linalg.norm(bright - dull) > 20.0 * np.linalg.norm(again - dull)


# lengths --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "ends"),
    [
        (round(0.1 * RATE_HZ), [0.1]),
        (round(0.39 * RATE_HZ), [0.39]),
        (round(0.41 * RATE_HZ), [0.41]),
        (CLIP - 1, [1.0]),
        (CLIP, [1.0]),
        (CLIP + 1, [1.0]),
        (round(1.05 * CLIP), [1.0]),
        (round(1.5 * CLIP), [1.0, 1.5]),
        (round(1.95 * CLIP), [1.0, 1.95]),
        (2 * CLIP, [1.0, 2.0]),
    ],
)
def test_every_length_from_a_tenth_of_a_second_has_its_windows(samples, ends, vae, tmp_path):
    wave = music(2.0)[:samples]
    found, of_file = vae.embed(wave, RATE_HZ), vae.embed_file(written(tmp_path / "a.wav", wave))
    np.testing.assert_allclose(found.ends_s, ends, atol=1e-3)
    assert found.vectors.shape == (len(ends), 4)
    assert found.vectors.dtype == np.float32
    assert np.isfinite(found.vectors).all()
    assert_near(of_file.vectors, found.vectors, 1e-4)


def test_what_is_left_at_the_end_is_heard_by_a_window_that_ends_there_or_is_padded(vae):
    wave = music(2.0)
    half, most = wave[: round(1.5 * CLIP)], wave[: round(1.95 * CLIP)]
    found = vae.embed(half, RATE_HZ)
    assert found.starts_s.tolist() == [0.0, pytest.approx(0.5)]
    assert_near(found.vectors[1], vae.embed_windows(half[None, -CLIP:])[0], 1e-3)
    padded = np.zeros((1, CLIP), np.float32)
    padded[0, : len(most) - CLIP] = most[CLIP:]
    assert_near(vae.embed(most, RATE_HZ).vectors[1], vae.embed_windows(padded)[0], 1e-3)


@pytest.mark.parametrize("fill", [0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("samples", [1, 9, 10, 11, 15, 19, 20, 21, 29, 1000])
def test_windows_cover_a_sound_but_for_a_small_rest(samples, fill):
    firsts = window_starts(samples, 10, fill)
    assert (np.diff(firsts) > 0).all()
    assert firsts[0] == 0
    assert (firsts[1:] < samples).all()
    covered = {place for first in firsts for place in range(first, min(first + 10, samples))}
    assert samples - len(covered) <= max(0.0, (1.0 - fill) * 10)


@pytest.mark.slow
def test_an_hour_is_heard_without_being_held(trained, tmp_path):
    """Silence takes no room on the disk; of the memory, what belongs to no file is counted."""
    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", 4000, 1, "PCM_16") as file:
        file.write(music(2.0, rate_hz=4000))
        file.seek(3600 * 4000)
        file.write(music(2.0, rate_hz=4000))
    words = [sys.executable, "-c", HOUR, str(trained.package(model="pca-mel")), str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    count, held_mb = (float(word) for word in done.stdout.split())
    assert count == 3602
    assert held_mb < 250  # all of its samples are 318 MB, twice that while they are resampled or measured


HOUR = """
import sys, threading
from pathlib import Path
import numpy as np
from symphony2vec.embedder import Embedder
from symphony2vec.audio import loudness
loudness.SEGMENT_S = 60
loaded = Embedder.load(sys.argv[1])
loaded.embed(np.sin(np.arange(22050.0)), 22050)
loaded.embed_windows = lambda windows: np.zeros((len(windows), 4), np.float32)  # tested elsewhere
def held():
    text = Path("/proc/self/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) / 1e3
before, most, done = held(), [0.0], threading.Event()
def watch():
    while not done.wait(0.005):
        most[0] = max(most[0], held() - before)
watcher = threading.Thread(target=watch)
watcher.start()
found = loaded.embed_file(sys.argv[2])
done.set()
watcher.join()
print(len(found.vectors), most[0])
"""


# what is refused ------------------------------------------------------------------------------------------------------


def test_silence_has_a_vector_as_an_array_and_none_as_a_file(vae, tmp_path):
    quiet = np.zeros(3 * CLIP, np.float32)
    found = vae.embed(quiet, RATE_HZ)
    assert found.vectors.shape == (3, 4)
    assert np.isfinite(found.vectors).all()
    with pytest.raises(UserError, match=r"quiet\.wav: silent$"):
        vae.embed_file(written(tmp_path / "quiet.wav", quiet))


@pytest.mark.parametrize(
    ("wave", "rate_hz", "reason"),
    [
        (np.zeros(5000, np.int16), 8000, r"the wave is int16 of shape \(5000,\); expected floating point"),
        (np.zeros((10, 10, 2)), 8000, r"the wave is float64 of shape \(10, 10, 2\)"),
        (np.float32(1.0), 8000, r"the wave is float32 of shape \(\)"),
        (np.array(["a"] * 900), 8000, "expected floating point"),
        (np.zeros(0), 8000, r"lasts 0\.0000 s; at least 0\.1 s"),
        (np.zeros((5000, 0)), 8000, r"lasts 0\.0000 s; at least 0\.1 s"),
        (np.zeros(799), 8000, r"lasts 0\.0999 s; at least 0\.1 s"),
        (np.zeros((2, 8000)), 8000, r"lasts 0\.000\d s; at least"),
        (np.full(5000, np.nan), 8000, "some samples of the wave are not numbers"),
        (np.full(5000, -np.inf), 8000, "some samples of the wave are not numbers"),
        (np.full(5000, 1e300), 8000, "some samples of the wave are not numbers"),
        (np.full(5000, 1e7), 8000, r"its samples reach 1\..e\+07 times full scale"),
        (np.ones(5000), 0, "invalid sample rate: 0 Hz"),
        (np.ones(5000), -44100, "invalid sample rate: -44100 Hz"),
        (np.ones(5000), float("nan"), "invalid sample rate: nan Hz"),
        (np.ones(5000), 1e7, "invalid sample rate: 10000000.0 Hz"),
    ],
)
def test_an_array_that_is_no_sound_is_refused_with_the_reason(wave, rate_hz, reason, vae):
    with pytest.raises(UserError, match=reason) as caught:
        vae.embed(wave, rate_hz)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (("scene",), "unknown form 'scene'; choose one of clips, timestamps, recording"),
        (("clips", 0.5), "hop_s applies to the form timestamps only, not to clips"),
        (("recording", 0.5), "hop_s applies to the form timestamps only"),
        (("timestamps", 0.0), "hop_s is 0; expected seconds above 0 and at most 1"),
        (("timestamps", -1.0), "hop_s is -1"),
        (("timestamps", float("nan")), "hop_s is nan"),
        (("timestamps", 1.1), "at most 1, the length of a window"),
    ],
)
def test_a_form_that_is_none_is_refused(asked, reason, vae):
    with pytest.raises(UserError, match=reason):
        vae.embed(music(1.0), RATE_HZ, *asked)


def damaged(kind: str) -> Callable[[Path], None]:
    def nothing(path: Path) -> None:
        """The file is missing."""

    def too_short(path: Path) -> None:
        written(path, music(0.5)[:2000])

    def not_numbers(path: Path) -> None:
        written(path, np.full(RATE_HZ, np.nan, np.float32))

    kinds: dict[str, Callable[[Path], Any]] = {
        "missing": nothing,
        "a folder": Path.mkdir,
        "empty": Path.touch,
        "text": lambda path: path.write_text("not music"),
        "too short": too_short,
        "not numbers": not_numbers,
    }
    return kinds[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "cannot be opened: No such file"),
        ("a folder", "cannot be opened: Is a directory"),
        ("empty", "the file is empty"),
        ("text", "not readable as audio"),
        ("too short", r"too short: 0\.0907 s, at least 0\.1 s"),
        ("not numbers", "not numbers"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_with_its_name(kind, reason, vae, tmp_path):
    path = tmp_path / "a.wav"
    damaged(kind)(path)
    with pytest.raises(UserError, match=rf"^{path}: .*{reason}"):
        vae.embed_file(path)
    with pytest.raises(Unusable, match=reason):
        vae.embed_recording(path)


def test_no_room_for_the_decoded_sound_is_no_fault_of_the_file(vae, tmp_path, monkeypatch):
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, _: bytes) -> int:
            raise OSError(28, "No space left on device")

    path = written(tmp_path / "a.wav", music(1.0))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(UserError, match=r"no room .* temporary files \(No space left on device\); free"):
        vae.embed_file(path)
    with pytest.raises(UserError, match="no room"):
        list(decoding.memory_map([np.zeros(3, np.float32)]).__enter__())


# the ways to a model --------------------------------------------------------------------------------------------------


def test_a_run_its_model_and_its_folder_are_one_embedder(trained, monkeypatch):
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    run_id, root = trained.record("embeddings", "vae-mel")["run_id"], trained.project.root
    ways = [Embedder.load(way, root) for way in (run_id, f"runs:/{run_id}/model", trained.package())]
    assert [one.source for one in ways] == [f"runs:/{run_id}/model"] * 2 + [str(trained.package())]
    assert len({one.fingerprint for one in ways}) == 1
    for one in ways:
        assert (one.name, one.sample_rate_hz, one.duration_s, one.dimensions) == ("vae-mel work-0", RATE_HZ, CLIP_S, 4)
        assert one.composers == list(COMPOSERS)


def test_an_alias_is_the_version_that_bears_it(trained, monkeypatch, tmp_path):
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    known, root = client(trained.project), trained.project.root
    with pytest.raises(UserError, match=r"no version of 'symphony2vec' in MLflow has the alias champion .*promote"):
        Embedder.load(project=root)
    known.create_registered_model("symphony2vec")
    run_id = trained.record("embeddings", "pca-mel")["run_id"]
    made = known.create_model_version("symphony2vec", f"runs:/{run_id}/model", run_id)
    known.set_registered_model_alias("symphony2vec", "champion", made.version)
    monkeypatch.chdir(root)
    loaded = Embedder.load()
    assert (loaded.source, loaded.name) == ("models:/symphony2vec/1", "pca-mel work-0")
    known.delete_registered_model("symphony2vec")


def test_probabilities_are_those_of_the_probe(vae):
    vectors = vae.embed(music(3.0, 1), RATE_HZ).vectors
    found = vae.classify(vectors)
    assert found.shape == (3, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_what_holds_no_vectors_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path} holds no model of symphony2vec"):
        Embedder.load(tmp_path)
    for nowhere in (tmp_path / "nowhere", str(tmp_path / "nowhere"), "nowhere/model"):
        with pytest.raises(UserError, match=r"nowhere.* is not a folder; name the folder of a model"):
            Embedder.load(nowhere)
    changed = tmp_path / "classifier"
    shutil.copytree(trained.package(), changed)
    config = json.loads((changed / "artifacts" / "config.json").read_text())
    config["build"]["method"] = "probabilities"
    (changed / "artifacts" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"classifier is a classifier \(vae-mel work-0\): it returns"):
        Embedder.load(changed)


def test_a_folder_is_embedded_in_one_call(trained, vae, tmp_path, monkeypatch):
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    for seed, name in enumerate(("b.wav", "a.wav")):
        written(tmp_path / name, music(2.0, seed))
    (tmp_path / "broken.wav").write_text("no")
    made = vae.embed_folder(tmp_path)
    assert made.table["path"].tolist() == [str(tmp_path / name) for name in ("a.wav", "a.wav", "b.wav", "b.wav")]
    assert_near(made.vectors[2:], vae.embed_file(tmp_path / "b.wav").vectors, 1e-5)
    assert made.rejected["path"].tolist() == [str(tmp_path / "broken.wav")]
    assert made.facts["fingerprint"] == vae.fingerprint
