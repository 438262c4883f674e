"""Features: librosa's own values, relations between sounds, and the stage on movements of a few seconds."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
import threadpoolctl

from symphony2vec import parallel, params
from symphony2vec.errors import UserError
from symphony2vec.features import representations
from symphony2vec.features import stage as features
from symphony2vec.features.recipe import Recipe
from symphony2vec.features.representations import represent
from symphony2vec.project import REPRESENTATIONS, Project, write_table

ROOT = Path(__file__).parents[1]
STORED = params.read(ROOT / "params.yaml")
RATE_HZ = 22050
RECIPE = Recipe(RATE_HZ, 10.0, STORED.features)
SHORT_S = 1.0
SHORT = Recipe(RATE_HZ, SHORT_S, STORED.features)
HOP = STORED.features.hop_samples
# Equal to librosa's calls within float32 rounding: dB for mel, coefficients of a cepstrum in dB for MFCC, shares for
# chroma. On one machine and one number of threads the values are the same to the last bit.
WITHIN = {"mel": 1e-3, "mfcc": 1e-3, "chroma": 1e-5}


def chord(duration_s: float = 10.0, root_hz: float = 220.0, cents: float = 0.0) -> np.ndarray:
    """A major triad with three harmonics a tone, `cents` above A440, swelling and fading once a second."""
    times = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    tones_hz = root_hz * 2.0 ** ((np.array([0, 4, 7]) + cents / 100.0) / 12.0)
    wave = sum(np.sin(2 * np.pi * tone * k * times) / k**2 for tone in tones_hz for k in (1, 2, 3))
    return (0.1 * wave * (1.2 + np.sin(2 * np.pi * times))).astype(np.float32)


def noise(duration_s: float = 10.0, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(duration_s * RATE_HZ)).astype(np.float32)


def librosa_arrays(
    wave: np.ndarray, settings: params.Features = STORED.features, rate_hz: int = RATE_HZ
) -> dict[str, np.ndarray]:
    """The same three arrays, each by one call of librosa on the wave."""
    stft: dict[str, Any] = {"sr": rate_hz, "n_fft": settings.fft_samples, "hop_length": settings.hop_samples}
    mel = librosa.feature.melspectrogram(y=wave, n_mels=settings.mel_bands, **stft)
    return {
        "mel": librosa.power_to_db(mel, ref=np.max, top_db=settings.dynamic_range_db),
        "mfcc": librosa.feature.mfcc(y=wave, n_mfcc=settings.mfcc_coefficients, **stft),
        "chroma": librosa.feature.chroma_stft(y=wave, n_chroma=settings.chroma_bins, **stft),
    }


def assert_equal(arrays: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(arrays) == list(REPRESENTATIONS)
    for name, values in arrays.items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=WITHIN[name], err_msg=name)


# One clip


@pytest.mark.parametrize("wave", [chord(), chord(cents=37.0), noise()], ids=["chord", "mistuned chord", "noise"])
def test_each_representation_equals_librosas(wave: np.ndarray) -> None:
    arrays = represent(wave, RECIPE)
    assert_equal(arrays, librosa_arrays(wave))
    assert {name: values.shape for name, values in arrays.items()} == RECIPE.shapes
    assert RECIPE.shapes == {"mel": (64, 431), "mfcc": (13, 431), "chroma": (12, 431)}
    assert {values.dtype for values in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("rate_hz", "changed"),
    [
        (RATE_HZ, {"fft_samples": 1024, "hop_samples": 300, "mel_bands": 40, "mfcc_coefficients": 20}),
        (RATE_HZ, {"fft_samples": 2049, "dynamic_range_db": 30.0}),
        (44100, {"fft_samples": 4096, "chroma_bins": 24}),
        (4000, {"fft_samples": 512, "hop_samples": 128, "mel_bands": 20}),
    ],
)
@pytest.mark.filterwarnings("ignore:Empty filters detected")  # librosa's: 128 bands are too many for 512 samples
def test_other_settings_are_librosas_too(rate_hz: int, changed: dict[str, Any]) -> None:
    recipe = Recipe(rate_hz, 2.0, STORED.features.model_copy(update=changed))
    wave = (chord() + noise())[: recipe.samples]
    arrays = represent(wave, recipe)
    assert_equal(arrays, librosa_arrays(wave, recipe.settings, rate_hz))
    assert {name: values.shape for name, values in arrays.items()} == recipe.shapes


def pulses() -> np.ndarray:
    wave = np.zeros(RATE_HZ * 3, np.float32)
    wave[:: RATE_HZ // 100] = 1.0
    return wave


@pytest.mark.parametrize(
    "wave",
    [chord(3.0), chord(3.0, cents=-41.0), noise(3.0), 1e-20 * noise(3.0), pulses(), np.ones(RATE_HZ, np.float32)],
    ids=["chord", "mistuned chord", "noise", "faint noise", "pulses", "constant"],
)
@pytest.mark.parametrize("fft_samples", [64, 2048, 2049])
@pytest.mark.parametrize("bins", [12, 36])
@pytest.mark.filterwarnings("ignore:Trying to estimate tuning from empty")
def test_the_tuning_is_librosas_to_the_last_bit(wave: np.ndarray, fft_samples: int, bins: int) -> None:
    power = np.abs(librosa.stft(wave, n_fft=fft_samples, hop_length=HOP)) ** 2
    expected = librosa.estimate_tuning(S=power, sr=RATE_HZ, bins_per_octave=bins)
    assert representations.estimate_tuning(power, RATE_HZ, bins) == expected


@pytest.mark.parametrize("cents", [-40.0, 0.0, 25.0])
def test_the_tuning_is_that_of_the_chord(cents: float) -> None:
    power = np.abs(librosa.stft(chord(3.0, cents=cents))) ** 2
    assert representations.estimate_tuning(power, RATE_HZ, 12) == pytest.approx(cents / 100.0, abs=0.1)


def test_a_louder_clip_has_the_same_mel_and_chroma_and_one_other_coefficient() -> None:
    wave = chord() + noise()
    quiet, loud = represent(wave, RECIPE), represent(wave * np.float32(3.0), RECIPE)
    np.testing.assert_allclose(loud["mel"], quiet["mel"], atol=1e-3)
    np.testing.assert_allclose(loud["chroma"], quiet["chroma"], atol=1e-4)
    np.testing.assert_allclose(loud["mfcc"][1:], quiet["mfcc"][1:], atol=1e-2)
    gain = np.sqrt(representations.MFCC_MEL_BANDS) * 20.0 * np.log10(3.0)
    np.testing.assert_allclose(loud["mfcc"][0] - quiet["mfcc"][0], gain, atol=1e-2)


def test_a_shift_by_whole_hops_moves_the_columns() -> None:
    hops, reach = 40, 2  # frames within `reach` of an end look past it
    long = chord(12.0) + 0.01 * noise(12.0)
    long[5 * RATE_HZ : 6 * RATE_HZ] *= 3.0  # the loudest second is in both clips: one reference for both
    first, second = (represent(long[start : start + RECIPE.samples], RECIPE) for start in (0, hops * HOP))
    for name in REPRESENTATIONS:
        late, early = first[name][:, hops + reach : -reach], second[name][:, reach : -hops - reach]
        np.testing.assert_allclose(late, early, rtol=0, atol=WITHIN[name], err_msg=name)


def test_an_octave_keeps_the_chroma_and_a_semitone_rolls_it() -> None:
    low, high, sharp = (
        represent(wave, RECIPE)["chroma"].mean(axis=1) for wave in (chord(), chord(root_hz=440.0), chord(cents=100.0))
    )
    assert set(np.argsort(low)[-3:]) == set(np.argsort(high)[-3:]) == {9, 1, 4}  # A major: A, C sharp, E
    assert np.corrcoef(high, low)[0, 1] > 0.95
    assert np.corrcoef(np.roll(low, 1), sharp)[0, 1] > 0.95


@pytest.mark.parametrize("wave", [np.zeros(RECIPE.samples, np.float32), np.eye(1, RECIPE.samples, 999)[0]])
def test_silence_and_a_click_give_finite_values_and_no_warning(wave: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays = represent(wave.astype(np.float32), RECIPE)
    assert {name: values.shape for name, values in arrays.items()} == RECIPE.shapes
    assert all(np.isfinite(values).all() for values in arrays.values())


def test_values_stay_within_their_range() -> None:
    arrays = represent(chord() + noise(), RECIPE)
    assert arrays["mel"].max() == 0.0
    assert arrays["mel"].min() >= -STORED.features.dynamic_range_db
    assert arrays["chroma"].min() >= 0.0
    assert arrays["chroma"].max() == 1.0


# The stage

MOVEMENTS = 4


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of four movements and their clips, as the stages `audio` and `clips` leave it; the last is padded."""
    root = tmp_path_factory.mktemp("template")
    audio = root / "out" / "audio"
    audio.mkdir(parents=True)
    rows = []
    for number in range(MOVEMENTS):
        wave = chord(2.95, 200.0 + 30.0 * number) + noise(2.95, number)
        soundfile.write(audio / f"movement-{number}.flac", wave, RATE_HZ, subtype="PCM_16")
        row = {"composer": "AB"[number % 2], "work": f"Work {number}", "file": f"movement-{number}.flac"}
        rows += [row | {"start_s": start_s} for start_s in (0.0, 1.0, 2.0)]
    order = np.random.default_rng(0).permutation(len(rows))  # clips.csv need not keep a movement's clips together
    table = pd.DataFrame([rows[i] for i in order])
    table.insert(0, "clip", range(len(table)))
    write_table(root / "out" / "clips" / "clips.csv", table)
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def settings(**changed: Any) -> params.Params:
    section = STORED.features.model_copy(update=changed)
    return STORED.model_copy(
        update={"clips": STORED.clips.model_copy(update={"duration_s": SHORT_S}), "features": section}
    )


def contents(project: Project) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in project.out("features").iterdir()}


@pytest.fixture(scope="module")
def complete(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an uninterrupted run of one process writes."""
    root = tmp_path_factory.mktemp("complete")
    shutil.copytree(template, root, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYMPHONY2VEC_WORKERS", "1")
        features.run(Project(root), settings())
    return contents(Project(root))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The movements whose representations are handed out to be computed, in order."""
    names: list[str] = []
    spread = parallel.spread

    def record(function: Any, tasks: list[features.ExtractionTask], *rest: Any) -> Any:
        names.extend(task.audio.name for task in tasks if isinstance(task, features.ExtractionTask))
        return spread(function, tasks, *rest)

    monkeypatch.setattr(parallel, "spread", record)
    return names


def test_the_stage_writes_arrays_pictures_and_near_duplicates_and_nothing_else(complete: dict[str, bytes]) -> None:
    arrays = {f"{name}.npy" for name in REPRESENTATIONS}
    pictures = {f"{name}.png" for name in REPRESENTATIONS}
    assert set(complete) == arrays | pictures | {"near_duplicates.csv"}
    assert all(complete[name].startswith(b"\x89PNG") for name in pictures)


def test_rows_are_in_the_order_of_the_clips_and_the_last_clip_is_padded(project: Project) -> None:
    features.run(project, settings())
    clips = pd.read_csv(project.clips)
    arrays = {name: np.load(project.feature(name)) for name in REPRESENTATIONS}
    assert {name: array.shape for name, array in arrays.items()} == {
        name: (len(clips), *shape) for name, shape in SHORT.shapes.items()
    }
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    assert all(array.flags["C_CONTIGUOUS"] for array in arrays.values())
    for clip, file, start_s in zip(clips["clip"], clips["file"], clips["start_s"], strict=True):
        wave, _ = soundfile.read(project.out("audio", file), dtype="float32")
        clip_wave = wave[round(start_s * RATE_HZ) :][: SHORT.samples]
        padded = np.pad(clip_wave, (0, SHORT.samples - len(clip_wave)))
        assert (len(clip_wave) < SHORT.samples) == (start_s == 2.0)
        assert_equal({name: arrays[name][clip] for name in arrays}, librosa_arrays(padded))


def test_two_workers_write_the_same_bytes_as_one(
    project: Project, complete: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "2")
    features.run(project, settings())
    assert contents(project) == complete


def test_the_number_of_threads_changes_no_byte(project: Project, tmp_path: Path) -> None:
    contents_by_threads = []
    for threads in (1, 4):
        folder = tmp_path / f"{threads} threads"
        folder.mkdir()
        for name, shape in SHORT.shapes.items():
            np.save(folder / f"{name}.npy", np.zeros((3, *shape), np.float32))
        starts = (0, RATE_HZ, 2 * RATE_HZ)
        with threadpoolctl.threadpool_limits(threads):
            audio = project.out("audio", "movement-0.flac")
            features.write_movement(features.ExtractionTask(audio, (0, 1, 2), starts, folder, SHORT))
        contents_by_threads.append([(folder / f"{name}.npy").read_bytes() for name in REPRESENTATIONS])
    assert contents_by_threads[0] == contents_by_threads[1]


def test_a_second_run_writes_the_same_bytes(project: Project, complete: dict[str, bytes], computed: list[str]) -> None:
    features.run(project, settings())
    features.run(project, settings())
    assert contents(project) == complete
    assert len(computed) == 2 * MOVEMENTS  # a finished stage leaves nothing to pick up; dvc decides what is run
    assert not any(project.out(".partial").iterdir())


# Interrupted work

KILLED_IN_ITS_THIRD_MOVEMENT = """
import dataclasses, os, signal, sys
from pathlib import Path
from symphony2vec import parallel, params
from symphony2vec.features import stage as features
from symphony2vec.project import Project

def spread_and_die(function, tasks, *_):
    for index, task in enumerate(tasks):
        if index == 2:
            function(dataclasses.replace(task, rows=task.rows[:1], starts=task.starts[:1]))
            os.kill(os.getpid(), signal.SIGKILL)
        yield index, function(task)

parallel.spread = spread_and_die
features.run(Project(Path(sys.argv[1])), params.Params.model_validate_json(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_is_picked_up_and_ends_in_the_same_bytes(
    project: Project, complete: dict[str, bytes], computed: list[str]
) -> None:
    command = [sys.executable, "-c", KILLED_IN_ITS_THIRD_MOVEMENT, project.root, settings().model_dump_json()]
    assert subprocess.run(command, capture_output=True).returncode == -9
    assert not project.out("features").exists()
    features.run(project, settings())
    assert computed == ["movement-2.flac", "movement-3.flac"]
    assert contents(project) == complete


Broken = Callable[..., None]


@pytest.fixture
def broken_off(project: Project, monkeypatch: pytest.MonkeyPatch) -> Broken:
    """Run the stage and stop it after its first movement."""
    spread = parallel.spread

    def stop_after_first(function: Any, tasks: list[features.ExtractionTask], *rest: Any) -> Any:
        yield from spread(function, tasks[:1], *rest)
        raise KeyboardInterrupt

    def run(**changed: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(parallel, "spread", stop_after_first)
            with pytest.raises(KeyboardInterrupt):
                features.run(project, settings(**changed))

    return run


def test_only_what_is_missing_is_computed(
    project: Project, complete: dict[str, bytes], broken_off: Broken, computed: list[str]
) -> None:
    broken_off()
    features.run(project, settings())
    assert computed == ["movement-1.flac", "movement-2.flac", "movement-3.flac"]
    assert contents(project) == complete


def test_other_settings_do_not_pick_up_this_work(
    project: Project, complete: dict[str, bytes], broken_off: Broken, computed: list[str]
) -> None:
    broken_off(dynamic_range_db=40.0)
    features.run(project, settings())
    assert len(computed) == MOVEMENTS
    assert contents(project) == complete


def test_other_clips_do_not_pick_up_this_work(project: Project, broken_off: Broken, computed: list[str]) -> None:
    broken_off()
    clips = pd.read_csv(project.clips)
    write_table(project.clips, clips.assign(start_s=clips["start_s"] / 2))
    features.run(project, settings())
    assert len(computed) == MOVEMENTS


# What cannot be computed


def test_a_damaged_movement_is_named_in_one_line(project: Project) -> None:
    damaged = project.out("audio", "movement-2.flac")
    damaged.write_bytes(damaged.read_bytes()[:30] + b"\0" * 500)
    with pytest.raises(UserError) as fault:
        features.run(project, settings())
    assert str(fault.value).startswith(f"{damaged}: cannot be read (")
    assert str(fault.value).endswith("`dvc repro -f audio` makes it again")
    assert "\n" not in str(fault.value)
    assert not project.out("features").exists()


def test_a_missing_movement_is_named(project: Project) -> None:
    project.out("audio", "movement-0.flac").unlink()
    with pytest.raises(UserError, match=r"movement-0\.flac: cannot be read .*`dvc repro -f audio`"):
        features.run(project, settings())


def test_missing_clips_are_named_with_the_stage_that_writes_them(project: Project) -> None:
    project.clips.unlink()
    with pytest.raises(UserError, match=r"clips\.csv is missing; `dvc repro clips` writes it"):
        features.run(project, settings())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room cannot be taken ahead here")
def test_a_full_disk_is_told_before_any_work(
    project: Project, monkeypatch: pytest.MonkeyPatch, computed: list[str]
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match="the disk is full"):
        features.run(project, settings())
    assert computed == []
