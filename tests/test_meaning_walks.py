"""Walks through the latent space of a temporal model: their spectrograms, effects and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from symphony2vec import params
from symphony2vec.evaluation.meaning import measures, targets, walks
from symphony2vec.package.scaling import Scaling
from symphony2vec.project import Project, read_table, write_array
from symphony2vec.report import walks as report_walks

BINS, FRAMES, DIMENSIONS, STEPS = 16, 20, 6, 4
LABELS = {label.name: label for label in targets.LABELS}


class Bright:
    """A model whose c says all: c[0] is the level of every band, c[1] tilts the spectrum; z ripples along time."""

    def encode(self, clips_db: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        c = np.zeros((len(clips_db), DIMENSIONS), dtype=np.float32)
        c[:, 0] = clips_db.mean(axis=(1, 2)) + 40.0
        return c, np.ones((len(clips_db), STEPS, 2), dtype=np.float32) * np.arange(len(clips_db))[:, None, None]

    def generate(self, c: np.ndarray, z: np.ndarray) -> np.ndarray:
        tilt = np.linspace(-1.0, 1.0, BINS)
        ripple = np.repeat(z[:, :, 0], FRAMES // STEPS, axis=1)
        return c[:, :1, None] - 40.0 + c[:, 1:2, None] * tilt[None, :, None] + ripple[:, None, :]


def corpus(works: int = 8) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Clips of two composers split by work, their labels, and vectors that hold loudness and centroid alone."""
    rng = np.random.default_rng(0)
    splits = ("train", "train", "validation", "test")
    rows = [(composer, str(work), splits[work % 4]) for composer in "ab" for work in range(works) for _ in range(6)]
    clips = pd.DataFrame(rows, columns=["composer", "work", "split"])
    clips.insert(0, "clip", range(len(clips)))
    vectors = rng.standard_normal((len(clips), DIMENSIONS)).astype(np.float32)
    labels = pd.DataFrame({"clip": clips["clip"], "loudness_db": -20.0 + 3.0 * vectors[:, 0]})
    labels["centroid_hz"] = 500.0 * 2.0 ** (0.3 * vectors[:, 1])
    labels["notes_per_s"] = np.nan  # as of recordings
    labels["instruments"] = np.nan
    labels[[*targets.PITCH_CLASSES, *targets.FAMILIES]] = np.nan
    labels["key"] = labels["mode"] = ""
    return clips, labels, vectors


@pytest.fixture
def few(changed) -> params.Params:
    return changed(meaning__minimum_clips=5, probe__bootstrap_resamples=200)


def directions_by_name(vectors, clips, labels, settings) -> dict[str, walks.Direction]:
    found = walks.find_directions(vectors, clips, labels, settings.meaning)
    return {direction.label.name: direction for direction in found}


def test_a_pair_has_two_composers_and_depends_on_the_seed_alone():
    clips, _, _ = corpus()
    first, second = (walks.sample_pair(clips, np.random.default_rng(3)) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert set(clips["split"].iloc[first]) == {"validation"}
    assert clips["composer"].iloc[first].nunique() == 2
    alone = clips[clips["composer"] == "a"].reset_index(drop=True)
    assert len(set(walks.sample_pair(alone, np.random.default_rng(3)))) == 2


def test_walking_clips_come_from_as_many_works_as_possible():
    clips, _, _ = corpus()
    rows = walks.sample_across_works(clips, 4, np.random.default_rng(0))
    assert len(clips.iloc[rows][["composer", "work"]].drop_duplicates()) == 4
    assert (
        len(walks.sample_across_works(clips, 1000, np.random.default_rng(0))) == (clips["split"] == "validation").sum()
    )


def test_the_ends_of_an_interpolation_are_the_reconstructions_of_the_clips():
    model, clips = Bright(), np.stack([np.full((BINS, FRAMES), level, dtype=np.float32) for level in (-50.0, -20.0)])
    walk = walks.interpolate(model, clips, 5)
    np.testing.assert_allclose(walk[[0, -1]], model.generate(*model.encode(clips)))
    np.testing.assert_allclose(walk[2], walk[[0, -1]].mean(axis=0), atol=1e-5)
    assert walk.shape == (5, BINS, FRAMES)


def test_a_direction_is_the_gradient_of_its_label_in_deviations_of_the_training_clips(few):
    clips, labels, vectors = corpus()
    found = {
        direction.label.name: direction for direction in walks.find_directions(vectors, clips, labels, few.meaning)
    }
    assert set(found) == {"loudness_db", "centroid_hz"}  # unknown labels have no direction
    for place, name in enumerate(("loudness_db", "centroid_hz")):
        unit = found[name].unit
        assert np.linalg.norm(unit) == pytest.approx(1.0)
        assert unit[place] > 0.99
        training = vectors[(clips["split"] == "train").to_numpy()]
        assert found[name].deviation == pytest.approx((training @ unit).std())
        assert found[name].r2 > 0.99


def test_a_constant_encoder_has_no_directions(few):
    clips, labels, vectors = corpus()
    assert walks.find_directions(np.ones_like(vectors), clips, labels, few.meaning) == []


def test_a_walk_passes_the_reconstruction_and_increases_its_label(few):
    clips, labels, vectors = corpus()
    directions = {
        direction.label.name: direction for direction in walks.find_directions(vectors, clips, labels, few.meaning)
    }
    mel_db = np.stack([np.full((BINS, FRAMES), level, dtype=np.float32) for level in (-50.0, -30.0, -20.0)])
    model = Bright()
    walk = walks.walk_along(model, mel_db, directions["loudness_db"], walks.POSITIONS)
    assert walk.shape == (3, 7, BINS, FRAMES)
    np.testing.assert_allclose(walk[:, 3], model.generate(*model.encode(mel_db)), atol=1e-4)
    table = walks.measure_effect(
        walk, walks.measure_of(LABELS["loudness_db"], clips, clips, labels, few), clips.iloc[:3]
    )
    assert table["rho"].tolist() == [1.0, 1.0, 1.0]
    expected_db = 2 * walks.REACH * directions["loudness_db"].deviation * directions["loudness_db"].unit[0]
    np.testing.assert_allclose(table["change"], expected_db, rtol=0.05)
    backwards = walks.measure_effect(
        walk[:, ::-1], walks.measure_of(LABELS["loudness_db"], clips, clips, labels, few), clips.iloc[:3]
    )
    assert backwards["rho"].tolist() == [-1.0, -1.0, -1.0]
    np.testing.assert_allclose(backwards["change"], -table["change"])


def test_a_constant_walk_has_correlation_0():
    clips, _, _ = corpus()
    still = np.full((2, 7, BINS, FRAMES), -30.0)
    label_measure = walks.LabelMeasure("level", "dB", lambda mel_db: measures.level_db(mel_db, 22050))
    assert (
        walks.measure_effect(still, label_measure, clips.iloc[:2])[["rho", "change"]].to_numpy().tolist()
        == [[0.0, 0.0]] * 2
    )


def test_level_centroid_and_rise_are_what_they_say(changed):
    features = changed().features
    flat = np.full((1, 64, 50), -30.0)
    assert measures.level_db(flat, 22050) == pytest.approx([-30.0])
    np.testing.assert_allclose(measures.level_db(flat + 6.0, 22050) - measures.level_db(flat, 22050), 6.0)
    assert measures.rise_db_per_s(flat, features, 22050) == pytest.approx([0.0])
    one = np.full((1, 64, 50), -200.0)
    one[0, 20] = 0.0
    high = np.roll(one, 10, axis=1)
    low_hz, high_hz = (float(measures.centroid_hz(clip, 22050)[0]) for clip in (one, high))
    np.testing.assert_allclose(measures.centroid_hz(one - 10.0, 22050), low_hz)
    import librosa

    edges = librosa.mel_frequencies(66, fmin=0.0, fmax=11025.0)
    assert (low_hz, high_hz) == pytest.approx((edges[21], edges[31]), rel=1e-3)
    beats = flat.copy()
    beats[:, :, ::10] = -10.0  # four rises of 20 dB in 49 steps: the first frame is none
    assert measures.rise_db_per_s(beats, features, 22050) == pytest.approx([4 * 20.0 / 49 * 22050 / 512])


def test_other_labels_are_predicted_by_a_regression_on_real_clips(few):
    clips, labels, _ = corpus()
    rng = np.random.default_rng(1)
    tilt = rng.uniform(-10.0, 10.0, len(clips))
    array = (
        -40.0 + tilt[:, None, None] * np.linspace(-1.0, 1.0, BINS)[None, :, None] + rng.normal(size=(1, BINS, FRAMES))
    )
    labels["brass"] = 0.5 + tilt / 20.0
    label_measure = walks.measure_of(LABELS["brass"], array, clips, labels, few)
    assert (label_measure.name, label_measure.unit) == ("judge", "")
    assert label_measure.judge_r2 > 0.99
    np.testing.assert_allclose(label_measure.measure(array[:5]), labels["brass"][:5], atol=0.02)
    array[(clips["split"] == "test").to_numpy()] = np.nan  # no test clip has a say
    assert walks.measure_of(LABELS["brass"], array, clips, labels, few).judge_r2 == label_measure.judge_r2


@pytest.fixture
def walked(project: Project, few, tmp_path: Path) -> Path:
    """Write the walks of an untrained network with random codes."""
    import torch

    from symphony2vec.models.temporal import kept, networks

    clips, labels, vectors = corpus()
    array = np.random.default_rng(0).uniform(-60.0, 0.0, (len(clips), BINS, 40)).astype(np.float32)
    write_array(project.feature("mel"), array)
    folder = project.out("temporal", "work-0", "full-6")
    write_array(folder / "vectors.npy", vectors)
    torch.manual_seed(0)
    shape = (DIMENSIONS, 2, 2, BINS)
    scaled = Scaling(np.full(BINS, -30.0, dtype=np.float32), np.full(BINS, 10.0, dtype=np.float32))
    kept.save(folder / kept.NETWORKS, networks.Encoder(*shape), networks.Generator(*shape), shape, scaled)
    assert walks.can_walk(few, folder)
    target = project.out("meaning", "work-0", "temporal", "full-6")
    target.mkdir(parents=True)
    metrics = walks.write(project, few, folder, clips, labels, target)
    assert set(metrics) == {"walk.loudness_db.rho", "walk.centroid_hz.rho"}
    return target


def test_the_files_of_the_walks_are_written_and_summarised_in_the_report(walked, project, few):
    names = {path.name for path in walked.iterdir()}
    pictures = {f"walk-{name}.png" for name in ("interpolation", "loudness_db", "centroid_hz")}
    assert names == {"walks.npz", "walks.csv", "walked.csv"} | pictures
    with np.load(walked / "walks.npz") as arrays:
        assert arrays["interpolation"].shape == (9, BINS, 32)  # whole steps of 16 frames
        assert arrays["centroid_hz"].shape == (7, BINS, 32)
        for name in ("interpolation", "loudness_db", "centroid_hz"):
            assert arrays[name].min() >= -few.features.dynamic_range_db
            assert arrays[name].max() <= 0.0
    summary, effects = read_table(walked / "walks.csv", "meaning"), read_table(walked / "walked.csv", "meaning")
    assert summary["clips"].tolist() == [20, 20]
    for name in ("rho", "change"):
        assert summary[name].to_numpy() == pytest.approx(effects.groupby("label", sort=False)[name].mean(), abs=1e-3)
        assert (summary[f"{name}_low"] <= summary[name] + 1e-3).all()
        assert (summary[name] <= summary[f"{name}_high"] + 1e-3).all()
    pooled = report_walks.tabulate(project, "full-6", ["work-0"], few.probe)
    assert pooled["rho"].tolist() == pytest.approx(summary["rho"].tolist(), abs=1e-3)
    assert report_walks.tabulate(project, "full-6", ["work-0", "work-1"], few.probe).empty
    (project.root / "pictures").mkdir()
    assert report_walks.gather(project, "full-6", "work-0", project.root / "pictures") == [
        "interpolation", "loudness_db", "centroid_hz",
    ]  # fmt: skip


def test_the_points_of_a_walk_keep_their_relative_levels(changed):
    settings = changed()
    quiet = np.full((64, 44), -60.0, dtype=np.float32)
    quiet[10:20] = -25.0
    waves = report_walks.synthesize(np.stack([quiet, quiet + 12.0]), settings)
    levels = 10.0 * np.log10((waves.astype(np.float64) ** 2).mean(axis=1))
    assert levels[1] - levels[0] == pytest.approx(12.0, abs=0.05)
    assert 20.0 * np.log10(np.abs(waves).max()) == pytest.approx(-3.0, abs=0.01)


@pytest.mark.parametrize(
    ("stage", "model", "expected"),
    [("temporal", "full-40", True), ("temporal", "context-40", False), ("temporal", "labels-40", True),
     ("temporal", "unknown-40", False), ("ali", "paper-40", False)],
)  # fmt: skip
def test_only_temporal_models_that_generate_can_walk(stage, model, expected, project, changed):
    folder = project.out(stage, "work-0", model)
    assert not walks.can_walk(changed(), folder)  # nothing was kept
    folder.mkdir(parents=True)
    (folder / walks.NETWORKS).touch()
    assert walks.can_walk(changed(), folder) == expected
