"""The stage `ali`, its crops, its learner and the test of the paper's claim, on 40 small clips."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from conftest import ROOT, client, lasting, logged_names, of_licence, runs, with_database
from symphony2vec import params, tracking
from symphony2vec.errors import UserError
from symphony2vec.models.ali import crops, latent
from symphony2vec.models.ali import stage as ali
from symphony2vec.models.ali.learner import AliLearner, EncoderLearner
from symphony2vec.models.training.folds import METRIC_NAMES
from symphony2vec.models.training.source import Source
from symphony2vec.package.scaling import middle_crop, unit
from symphony2vec.params import Crop
from symphony2vec.project import Project, SplitFold, write_array, write_table

CLIPS, LATENT = 40, 8
SPLITS = np.repeat(["train", "validation", "test"], [24, 8, 8])
TRAINING = np.arange(24)
CPU = torch.device("cpu")


def spectrograms(frames: int = 70) -> np.ndarray:
    """(40, 64, frames) in dB, smooth along time, each clip with a level of its own."""
    rng = np.random.default_rng(0)
    level = rng.uniform(-60.0, -20.0, (CLIPS, 64, 1))
    return np.clip(level + rng.normal(0.0, 5.0, (CLIPS, 64, frames)), -80.0, 0.0).astype(np.float32)


def project_in(root: Path, array: np.ndarray) -> Project:
    """A project with 40 clips in one fold; every two clips are a work."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, root / name)
    project, indices = Project(root), np.arange(CLIPS)
    table = pd.DataFrame({"clip": indices, "composer": np.where(indices % 2, "b", "a"), "movement": "1"})
    table.insert(2, "work", [f"work {place // 4}" for place in indices])
    table_of_fold = table.assign(
        group=table["work"], split=SPLITS, split_by="work", performance="", file="x.flac", start_s=0.0
    )
    write_table(project.clips, table_of_fold[[*table.columns, "file", "start_s"]])
    of_licence(project)
    write_table(project.fold(SplitFold("work", 0)), table_of_fold)
    write_array(project.feature("mel"), array)
    return project


@pytest.fixture(autouse=True, scope="module")
def _own_database() -> Iterator[None]:
    """Runs go to the project's own database; confidence intervals use few resamples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        patch.setattr(latent, "RESAMPLES", 200)
        yield


def reduced(settings: dict[str, Any], **changes: dict[str, Any]) -> params.Params:
    """Two epochs of three batches of 8, everything looked at in each; `changes` by name of the setting."""
    values = copy.deepcopy(settings)
    values["ali"] |= {"probe_every_epochs": 1, "samples_every_epochs": 2}
    for name in ali.SETTINGS:
        values["ali"][name] |= {"batch": 8, "epochs": 2, **changes.get(name, {})}
    values["clips"]["duration_s"] = lasting(70)
    return params.check(values)


@pytest.fixture(scope="module")
def small(settings: dict[str, Any]) -> params.Params:
    return reduced(settings)


@pytest.fixture(scope="module")
def trained_project(tmp_path_factory, small) -> Project:
    """ALI and its encoder as a classifier, run once."""
    project = project_in(tmp_path_factory.mktemp("project"), spectrograms())
    for model in ("original-8", "encoder-8"):
        ali.run(project, small, model)
    return project


@pytest.fixture(scope="module")
def other_test_clips(tmp_path_factory, small) -> Project:
    """The same with other test clips."""
    array = spectrograms()
    array[SPLITS == "test"] = np.random.default_rng(9).uniform(-80.0, 0.0, (8, 64, 70))
    project = project_in(tmp_path_factory.mktemp("other"), array)
    for model in ("original-8", "encoder-8"):
        ali.run(project, small, model)
    return project


def folder(project: Project, model: str) -> Path:
    return project.out("ali", "work-0", model)


def run_of(project: Project, model: str) -> Any:
    return client(project).get_run(tracking.read_run_record(project, folder(project, model))["run_id"])


# the stage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"), [("vectors", 8), ("vectors-crops", 8), ("vectors-sample", 8), ("vectors-hidden", 5120)]
)
def test_every_readout_has_a_vector_for_every_clip(name, values, trained_project):
    vectors = np.load(folder(trained_project, "original-8") / f"{name}.npy")
    assert vectors.shape == (CLIPS, values)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors, axis=0)) == CLIPS


def test_ali_writes_what_it_promises_and_nothing_else(trained_project):
    names = {path.name for path in folder(trained_project, "original-8").iterdir()}
    vectors = {f"vectors{readout}.npy" for readout in ("", "-crops", "-sample", "-hidden")}
    tables = {"curves.csv", "samples.npz", "latent.csv", "rays.csv", "run.json"}
    assert names == vectors | tables | {"model", "model-crops"}


def test_the_encoder_writes_what_it_promises_and_nothing_else(trained_project):
    place = folder(trained_project, "encoder-8")
    names = {"probabilities.npy", "probabilities-crops.npy", "curves.csv", "run.json", "model", "model-crops"}
    assert {path.name for path in place.iterdir()} == names
    for name in ("probabilities", "probabilities-crops"):
        probabilities = np.load(place / f"{name}.npy")
        assert probabilities.shape == (CLIPS, 2)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
        assert len(np.unique(probabilities[:, 0])) == CLIPS


@pytest.mark.parametrize(
    ("model", "pictures"),
    [
        ("original-8", {"game.png", "pairs.png", "generated.png", "walk.png", "latent.png"}),
        ("encoder-8", {"curves.png"}),
    ],
)
def test_the_run_has_the_pictures_of_the_model(model, pictures, trained_project, tmp_path):
    run_id, server = run_of(trained_project, model).info.run_id, client(trained_project)
    paths = [artifact.path for artifact in server.list_artifacts(run_id) if artifact.path.endswith(".png")]
    assert set(paths) == pictures
    for path in paths:
        content = Path(server.download_artifacts(run_id, path, str(tmp_path))).read_bytes()
        assert content.startswith(b"\x89PNG"), path


def test_the_curves_of_the_game_have_a_row_an_epoch(trained_project):
    curves = pd.read_csv(folder(trained_project, "original-8") / "curves.csv")
    assert curves["update"].tolist() == [3, 6]
    losses = {
        f"{split}_{network}_loss" for split in ("train", "validation") for network in ("discriminator", "generator")
    }
    outputs = {"train_mean_output_real", "train_mean_output_generated"}
    assert set(curves.columns) == {"epoch", "update", "probe_validation_accuracy"} | losses | outputs
    assert curves.notna().all(axis=None)
    # an untrained discriminator cannot tell: 2 ln 2
    assert curves["train_discriminator_loss"].iloc[0] == pytest.approx(2 * np.log(2), rel=0.05)


def test_samples_are_in_db_and_of_validation_clips(trained_project):
    samples = np.load(folder(trained_project, "original-8") / "samples.npz")
    assert set(samples.files) == {"rows", "originals", "reconstructions", "generated", "walk", "steps"}
    shapes = {name: samples[name].shape for name in samples.files}
    assert shapes.pop("rows") == (8,)
    assert shapes.pop("walk") == (11, 32, 32)
    assert shapes.pop("steps") == (11,)
    assert set(shapes.values()) == {(8, 32, 32)}
    assert (SPLITS[samples["rows"]] == "validation").all()
    original = middle_crop(spectrograms(), "low")[samples["rows"]]
    np.testing.assert_allclose(samples["originals"], original, atol=1e-4)
    for name in ("originals", "reconstructions", "generated", "walk"):
        assert samples[name].min() >= -80.0
        assert samples[name].max() <= 0.0


def test_the_claim_is_tested_on_three_sources(trained_project):
    table = pd.read_csv(folder(trained_project, "original-8") / "latent.csv")
    assert list(table.columns) == ["source", "measure", "rho", "low", "high", "range_db", "crops"]
    assert table.groupby("source")["crops"].first().to_dict() == {
        "generated along rays": 1000, "generated from the prior": 1000, "encoded test clips": 8,
    }  # fmt: skip
    assert table["measure"].tolist() == ["loudness", "flatness"] * 3
    encoded = table[table["source"] == "encoded test clips"].iloc[0]
    vectors, test = np.load(folder(trained_project, "original-8") / "vectors.npy"), SPLITS == "test"
    loudness = latent.loudness_db(middle_crop(spectrograms(), "low")[test])
    expected = spearmanr(np.linalg.norm(vectors[test], axis=1), loudness).statistic
    assert encoded["rho"] == pytest.approx(expected)
    assert encoded["low"] <= encoded["rho"] <= encoded["high"]
    rays = pd.read_csv(folder(trained_project, "original-8") / "rays.csv")
    assert list(rays.columns) == ["distance", "loudness", "flatness"]
    along = table[table["source"] == "generated along rays"].set_index("measure")["rho"]
    for measure, rho in along.items():
        assert spearmanr(rays["distance"], rays[measure]).statistic == pytest.approx(rho)


@pytest.mark.parametrize(("model", "setting"), [("original-8", "original"), ("encoder-8", "encoder")])
def test_one_run_holds_settings_metrics_and_the_model(model, setting, trained_project):
    run, server = run_of(trained_project, model), client(trained_project)
    assert run.info.status == "FINISHED"
    expected = {
        "entry": model,
        "model": setting,
        "representation": "mel",
        "dimensions": "8",
        "batch": "8",
        "crop_bands": "low",
    }
    assert {**expected, "beta_1": "0.5" if setting == "original" else "0.9"}.items() <= run.data.params.items()
    curves = pd.read_csv(folder(trained_project, model) / "curves.csv")
    for name in curves.columns.drop(["epoch", "update"]):
        history = server.get_metric_history(run.info.run_id, METRIC_NAMES.get(name, name))
        assert [metric.step for metric in history] == [3, 6]
        np.testing.assert_allclose([metric.value for metric in history], curves[name])
    assert "model" in logged_names(trained_project, run.info.run_id)


def test_generated_crops_are_logged_by_epoch(trained_project):
    server, run = client(trained_project), run_of(trained_project, "original-8")
    names = [Path(artifact.path).name for artifact in server.list_artifacts(run.info.run_id, "images")]
    shown = {tuple(name.split("+")[:3:2]) for name in names if name.endswith(".png")}
    assert shown == {("generated", "2"), ("reconstructions", "2")}


@pytest.mark.parametrize("model", ["original-8", "encoder-8"])
def test_one_seed_gives_equal_results_and_test_clips_do_not_reach_the_weights(model, trained_project, other_test_clips):
    names = [path.name for path in folder(trained_project, model).glob("*.npy")]
    assert names
    others = SPLITS != "test"
    for name in names:
        one, other = (np.load(folder(project, model) / name) for project in (trained_project, other_test_clips))
        if name == "vectors-crops.npy" or name == "probabilities-crops.npy":
            np.testing.assert_allclose(one[others], other[others], atol=1e-6)
        else:
            np.testing.assert_array_equal(one[others], other[others])
        assert (one[~others] != other[~others]).any(axis=1).all()
    curves = [(folder(project, model) / "curves.csv").read_bytes() for project in (trained_project, other_test_clips)]
    assert curves[0] == curves[1]


@pytest.mark.slow
def test_an_interrupted_game_goes_on_to_the_same_vectors(trained_project, small, tmp_path, monkeypatch):
    project = project_in(tmp_path, spectrograms())
    step, count = AliLearner.step, iter(range(1, 99))

    def stopped(learner: AliLearner, rows: np.ndarray) -> Any:
        if next(count) == 5:
            raise KeyboardInterrupt
        return step(learner, rows)

    monkeypatch.setattr("symphony2vec.models.training.loop.fit.__defaults__", (0.0,))
    monkeypatch.setattr(AliLearner, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        ali.run(project, small, "original-8")
    ali.run(project, small, "original-8")
    assert next(count) == 8  # four updates, the one that stopped, and the two that were left
    for name in ("vectors.npy", "curves.csv"):
        assert (folder(project, "original-8") / name).read_bytes() == (
            folder(trained_project, "original-8") / name
        ).read_bytes()


@pytest.mark.parametrize("model", ["paper", "paper-", "paper-0", "paper-x", "gan-128", "-128", "paper-128-2"])
def test_an_unknown_model_is_an_error_that_lists_the_models(model, small, trained_project):
    with pytest.raises(
        UserError,
        match=f"unknown ALI model '{model}'; expected one of paper, original, long, public, searched, encoder and a",
    ):
        ali.run(trained_project, small, model)


@pytest.mark.parametrize("model", ["original-8", "encoder-8"])
def test_a_training_that_diverges_names_its_model_fold_and_update(model, settings, tmp_path, empty_database):
    project, far = with_database(project_in(tmp_path, spectrograms()), empty_database), {"learning_rate": 1e30}
    reason = rf"{model} work-0: \w+ is (nan|inf) at update 2; the training has diverged"
    with pytest.raises(UserError, match=f"^{reason}"):
        ali.run(project, reduced(settings, original=far, encoder=far), model)
    assert not folder(project, model).exists()
    (run,) = runs(project, stage="ali")
    assert run.info.status == "FAILED"
    assert re.search(reason, run.data.tags["failure"])


@pytest.mark.parametrize(("bins", "frames"), [(31, 70), (64, 31)])
def test_too_few_bins_or_frames_are_one_clear_error(bins, frames, small, tmp_path):
    project = project_in(tmp_path, np.zeros((CLIPS, bins, frames), np.float32))
    with pytest.raises(UserError, match=f"which has {bins} and {frames}: raise features.mel_bands or clips.duration_s"):
        ali.run(project, small, "paper-8")
    assert not folder(project, "paper-8").exists()
    assert not project.mlruns.exists()


def test_when_the_probe_is_tried_is_a_setting_of_the_training(small):
    often, seldom = (
        ali.settings(chosen, chosen.ali.long, 8)
        for every in (1, 5)
        for chosen in [small.model_copy(update={"ali": small.ali.model_copy(update={"probe_every_epochs": every})})]
    )
    assert often != seldom


# the crops ------------------------------------------------------------------------------------------------------------


def numbered(clips: int = 3, bins: int = 64, frames: int = 70) -> torch.Tensor:
    """(B, F, T) whose values tell clip, bin and frame: 10000 clip + 100 bin + frame."""
    return (
        10000.0 * torch.arange(clips)[:, None, None] + 100.0 * torch.arange(bins)[:, None] + torch.arange(float(frames))
    )


def corner(crop: torch.Tensor) -> tuple[int, int, int]:
    """The clip, first bin and first frame of a crop (32, 32) of `numbered`; it must be an unbroken square."""
    first = int(crop[0, 0])
    square = first + 100.0 * torch.arange(32)[:, None] + torch.arange(32)
    assert torch.equal(crop, square)
    return first // 10000, first % 10000 // 100, first % 100


def test_a_crop_is_cut_from_its_own_clip_at_its_own_place():
    result = crops.cut_crops(numbered(), torch.tensor([0, 5, 32]), torch.tensor([38, 0, 7]))
    assert result.shape == (3, 1, 32, 32)
    assert [corner(crop[0]) for crop in result] == [(0, 0, 38), (1, 5, 0), (2, 32, 7)]


@pytest.mark.parametrize("bands", ["low", "high", "random"])
@pytest.mark.parametrize("frames", ["middle", "random"])
def test_crops_are_drawn_within_bounds_and_only_where_random(bands, frames):
    rng, x = torch.Generator().manual_seed(0), numbered(bins=40, frames=36).repeat(100, 1, 1)
    places = [corner(crop[0])[1:] for crop in crops.sample_crops(x, Crop(bands=bands, frames=frames), rng)]
    bins, begins = ({place[side] for place in places} for side in (0, 1))
    assert bins == {"low": {0}, "high": {8}, "random": set(range(9))}[bands]
    assert begins == {"middle": {2}, "random": set(range(5))}[frames]


def test_a_seed_draws_the_same_crops_and_the_next_call_others():
    crop, x = Crop(bands="random", frames="random"), numbered(50)
    rngs = [torch.Generator().manual_seed(4) for _ in range(2)]
    one, other = (crops.sample_crops(x, crop, rng) for rng in rngs)
    assert torch.equal(one, other)
    assert not torch.equal(crops.sample_crops(x, crop, rngs[0]), one)


def test_a_clip_of_exactly_one_crop_can_be_drawn():
    crop = crops.sample_crops(numbered(2, 32, 32), Crop(bands="random", frames="random"), torch.Generator())
    assert [corner(one[0]) for one in crop] == [(0, 0, 0), (1, 0, 0)]


@pytest.mark.parametrize(("bands", "first"), [("low", 0), ("high", 32), ("random", 16)])
def test_the_middle_crop_is_that_of_the_classifiers(bands, first):
    x = numbered(frames=71)
    result = crops.cut_middle(x, bands)
    assert [corner(crop[0]) for crop in result] == [(clip, first, 19) for clip in range(3)]
    np.testing.assert_array_equal(result[:, 0], middle_crop(x.numpy(), bands))


def test_crops_side_by_side_are_in_the_order_of_time_without_gap_or_overlap():
    result = crops.tile_crops(numbered(2, frames=99), "high")
    assert result.shape == (2, 3, 1, 32, 32)
    places = [[corner(crop[0]) for crop in clip] for clip in result]
    assert places == [[(clip, 32, 1 + 32 * number) for number in range(3)] for clip in range(2)]


def test_a_readout_over_crops_is_the_mean_by_hand(monkeypatch):
    x = torch.rand(5, 64, 100, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(crops, "CROPS_PER_PASS", 4)  # the parts do not end where clips do
    result = crops.average_over_crops(x, "low", lambda part: part.square().mean(dim=(1, 3)))
    by_hand = x[:, :32, 2:98].square().mean(dim=2)
    torch.testing.assert_close(result, by_hand)


@pytest.mark.parametrize("bands", ["low", "high"])
def test_the_mean_image_of_middle_crops_is_their_mean(bands):
    x = torch.rand(9, 64, 70, generator=torch.Generator().manual_seed(0))
    result = crops.compute_mean_crop([x[:4], x[4:]], Crop(bands=bands, frames="middle"))
    torch.testing.assert_close(result, crops.cut_middle(x, bands).mean(dim=0))


@pytest.mark.parametrize(("bands", "first"), [("low", 0), ("high", 32)])
def test_with_random_frames_the_mean_image_is_the_same_in_every_frame(bands, first):
    x = torch.rand(9, 64, 70, generator=torch.Generator().manual_seed(0))
    result = crops.compute_mean_crop([x[:4], x[4:]], Crop(bands=bands, frames="random"))
    by_bin = x.mean(dim=(0, 2))[first : first + 32]
    torch.testing.assert_close(result, by_bin[None, :, None].expand(1, 32, 32))


def test_with_random_bands_and_frames_the_mean_image_is_one_number():
    x = torch.rand(9, 64, 70, generator=torch.Generator().manual_seed(0))
    result = crops.compute_mean_crop([x], Crop(bands="random", frames="random"))
    torch.testing.assert_close(result, x.mean().expand(1, 32, 32))


def test_with_random_bands_alone_the_mean_image_keeps_its_frames():
    x = torch.rand(9, 64, 70, generator=torch.Generator().manual_seed(0))
    result = crops.compute_mean_crop([x], Crop(bands="random", frames="middle"))
    torch.testing.assert_close(result, x[:, :, 19:51].mean(dim=(0, 1)).expand(1, 32, 32))


# the learner ----------------------------------------------------------------------------------------------------------


def source() -> Source:
    return Source(spectrograms(), unit("mel", 64, 80.0), CPU)


def learner(small: params.Params, setting: str, seed: int = 0, **changes: Any) -> AliLearner:
    own = getattr(small.ali, setting).model_copy(update=changes)
    return AliLearner(source(), TRAINING, LATENT, own, small.ali.crop, 3, seed)


def weights(ali_learner: AliLearner, name: str) -> torch.Tensor:
    return torch.cat(
        [value.detach().flatten() for value in ali_learner.state_dict()["networks"][name].values()]
    ).clone()


def test_the_settings_differ_in_what_their_names_say(small):
    plain, public = learner(small, "original"), learner(small, "public")
    assert not plain.discriminator.batch_norm
    assert public.discriminator.batch_norm
    assert (plain._game.gate, public._game.gate) == (None, 3.5)
    rates = {name: learner(small, name)._game.generator_optimiser.param_groups[0] for name in ("paper", "original")}
    assert (rates["paper"]["lr"], rates["paper"]["betas"]) == (1e-5, (0.9, 0.999))
    assert (rates["original"]["lr"], rates["original"]["betas"]) == (1e-4, (0.5, 0.999))
    assert learner(small, "original", dropout=0.4).discriminator.dropout == 0.4


def test_a_closed_gate_holds_the_discriminator_alone(small):
    ali_learner = learner(small, "original", gate=1e-6)
    before = {name: weights(ali_learner, name) for name in ("encoder", "generator", "discriminator")}
    ali_learner.step(TRAINING[:8])
    assert torch.equal(weights(ali_learner, "discriminator"), before["discriminator"])
    for name in ("encoder", "generator"):
        assert not torch.equal(weights(ali_learner, name), before[name])


def test_instance_noise_fades_to_nothing_at_the_end_of_the_schedule(small, monkeypatch):
    ali_learner, noise = learner(small, "original", instance_noise=0.6), []
    monkeypatch.setattr(ali_learner._game, "step", lambda x, z, encoder_noise, level: noise.append(level) or {})
    for _ in range(7):
        ali_learner.step(TRAINING[:8])
    np.testing.assert_allclose(noise, [0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0], atol=1e-12)


def test_the_untrained_generator_gives_the_mean_of_the_training_clips(small):
    ali_learner = learner(small, "original")
    by_bin = unit("mel", 64, 80.0).apply(spectrograms())[TRAINING].mean(axis=(0, 2))[:32]
    result = ali_learner.generate(np.random.default_rng(0).standard_normal((4, LATENT)))
    np.testing.assert_allclose(result, np.broadcast_to(by_bin[:, None], (4, 32, 32)), atol=0.01)


def test_the_vectors_are_of_the_middle_crop_and_the_readouts_of_theirs(small):
    ali_learner, rows = learner(small, "original"), np.arange(6)
    for _ in range(3):
        ali_learner.step(TRAINING[:8])
    x = source().batch(rows)
    with torch.no_grad():
        expected = ali_learner.encoder.eval()(crops.cut_middle(x, "low"))[0]
        both = [ali_learner.encoder(x[:, None, :32, 3 + 32 * place : 35 + 32 * place])[0] for place in range(2)]
    np.testing.assert_allclose(ali_learner.encode(rows), expected, atol=1e-6)
    readouts = ali_learner.readouts(rows)
    np.testing.assert_allclose(readouts["crops"], (both[0] + both[1]) / 2, atol=1e-6)
    np.testing.assert_array_equal(readouts["sample"], ali_learner.readouts(rows)["sample"])
    assert np.abs(readouts["sample"] - ali_learner.encode(rows)).mean() > 0.1


def test_looking_changes_neither_weights_nor_random_numbers(small):
    ali_learner = learner(small, "public")
    ali_learner.step(TRAINING[:8])
    before, rng_state = (
        {name: weights(ali_learner, name) for name in ali_learner.state_dict()["networks"]},
        ali_learner.rng.get_state(),
    )
    assert ali_learner.losses(np.arange(24, 32)) == ali_learner.losses(np.arange(24, 32))
    ali_learner.readouts(np.arange(CLIPS))
    ali_learner.reconstruct(np.arange(4))
    assert all(torch.equal(weights(ali_learner, name), value) for name, value in before.items())
    assert torch.equal(ali_learner.rng.get_state(), rng_state)


def test_restoring_brings_back_weights_optimisers_and_the_count_of_updates(small):
    one, other = learner(small, "public"), learner(small, "public", seed=5)
    one.step(TRAINING[:8])
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    other.rng.set_state(one.rng.get_state())
    losses = []
    for ali_learner in (one, other):
        torch.manual_seed(3)
        losses.append(
            [{name: float(value) for name, value in ali_learner.step(TRAINING[8:16]).items()} for _ in range(2)]
        )
    assert losses[0] == losses[1]


def test_the_encoder_learns_composers_from_random_crops(small):
    codes = np.arange(CLIPS) % 2
    array = spectrograms()
    array[codes == 1] += np.linspace(-20.0, 20.0, 64, dtype=np.float32)[:, None]
    ali_learner = EncoderLearner(
        Source(array, unit("mel", 64, 80.0), CPU), codes, 8, 2, small.ali.encoder, small.ali.crop, 0
    )
    losses = [float(ali_learner.step(TRAINING)["loss"]) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]
    result = ali_learner.losses(np.arange(24, CLIPS))
    probabilities = ali_learner.probabilities(np.arange(24, CLIPS))
    assert result["validation_accuracy"] == (probabilities.argmax(axis=1) == codes[24:]).mean()
    likely = probabilities[np.arange(16), codes[24:]]
    assert result["validation_loss"] == pytest.approx(-np.log(likely).mean(), rel=1e-4)


# the claim ------------------------------------------------------------------------------------------------------------


def test_full_scale_has_loudness_0_and_flatness_0():
    silent = np.zeros((3, 32, 32))
    np.testing.assert_allclose(latent.loudness_db(silent), 0.0, atol=1e-12)
    np.testing.assert_allclose(latent.flatness_db(silent), 0.0, atol=1e-12)


def test_an_even_crop_is_flat_at_any_level_and_one_peak_is_not():
    crop = np.full((2, 32, 32), -30.0)
    crop[1] = -80.0
    crop[1, 4, 4] = 0.0
    np.testing.assert_allclose(latent.flatness_db(crop)[0], 0.0, atol=1e-9)
    loudness = 10 * np.log10((1 + 1023e-8) / 1024)
    np.testing.assert_allclose(latent.loudness_db(crop), [-30.0, loudness])
    np.testing.assert_allclose(latent.flatness_db(crop)[1], -80.0 * 1023 / 1024 - loudness)


def test_six_db_more_are_six_db_louder_and_as_flat():
    crop = np.random.default_rng(0).uniform(-60.0, -20.0, (4, 32, 32))
    np.testing.assert_allclose(latent.loudness_db(crop + 6.0), latent.loudness_db(crop) + 6.0)
    np.testing.assert_allclose(latent.flatness_db(crop + 6.0), latent.flatness_db(crop), atol=1e-9)


def test_the_correlation_is_1_where_one_rises_with_the_other_and_minus_1_where_it_falls():
    distance, alone = np.linspace(1.0, 2.0, 30), np.arange(30)
    rising, falling = (latent.correlate_ranks(distance, sign * np.exp(distance), alone, 0) for sign in (1, -1))
    assert rising == {"rho": pytest.approx(1.0), "low": pytest.approx(1.0), "high": pytest.approx(1.0)}
    assert falling == {name: pytest.approx(-1.0) for name in ("rho", "low", "high")}


def test_the_correlation_is_spearmans():
    one, other = np.random.default_rng(0).integers(0, 8, (2, 60))  # with ties
    assert latent.correlate_ranks(one, other, np.arange(60), 0)["rho"] == pytest.approx(spearmanr(one, other).statistic)


def test_the_interval_is_wider_where_clips_come_in_works():
    rng = np.random.default_rng(1)
    works = np.repeat(np.arange(8), 25)
    one, other = (rng.normal(size=8)[works] + 0.1 * rng.normal(size=200) for _ in range(2))
    by_work, by_clip = (latent.correlate_ranks(one, other, groups, 0) for groups in (works, np.arange(200)))
    assert by_work["rho"] == by_clip["rho"]
    assert by_work["high"] - by_work["low"] > 2 * (by_clip["high"] - by_clip["low"])
    assert by_work == latent.correlate_ranks(one, other, works, 0)


def test_the_correlation_with_what_never_changes_is_nan():
    result = latent.correlate_ranks(np.arange(9.0), np.ones(9), np.arange(9), 0)
    assert np.isnan(list(result.values())).all()


def test_points_along_rays_are_spread_evenly_up_to_the_distance_of_all_ones():
    points = latent.sample_rays(400, 16, 0)
    distance = np.linalg.norm(points, axis=1)
    np.testing.assert_allclose(distance, (np.arange(400) + 0.5) / 400 * 4.0)
    direction = points / distance[:, None]
    assert np.abs(direction.mean(axis=0)).max() < 0.05  # no direction is preferred
    assert (latent.sample_rays(400, 16, 1) != points).any()


def test_a_generator_that_is_louder_near_the_origin_has_a_negative_correlation():
    def generate(z: np.ndarray) -> np.ndarray:
        return np.broadcast_to(-np.linalg.norm(z, axis=1)[:, None, None], (len(z), 32, 32))

    z_hat = np.random.default_rng(0).normal(size=(30, 8))
    rows, values = latent.measure_claim(generate, z_hat, -generate(z_hat), np.repeat(np.arange(10), 3), 0)
    rho = {row["source"]: row["rho"] for row in rows if row["measure"] == "loudness"}
    assert rho["generated along rays"] == pytest.approx(-1.0)
    assert rho["generated from the prior"] == pytest.approx(-1.0)
    assert rho["encoded test clips"] == pytest.approx(1.0)
    assert {name: len(numbers["loudness"]) for name, numbers in values.items()}["encoded test clips"] == 30
    along = next(row for row in rows if row["source"] == "generated along rays")
    assert along["range_db"] == pytest.approx(0.9 * np.sqrt(8), rel=0.01)


def test_each_model_has_one_run(trained_project):
    assert len(runs(trained_project, stage="ali")) == 2
