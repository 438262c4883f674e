"""The stage `temporal` on small projects: what it writes, what its package says, and what never reaches its vectors."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file

from conftest import COMPOSERS, ROOT, Trained, client, lasting, of_licence, with_database
from symphony2vec import params, tracking
from symphony2vec.embedder import Embedder
from symphony2vec.errors import UserError
from symphony2vec.evaluation.probe import stage as probe
from symphony2vec.models.temporal import kept, unlabelled
from symphony2vec.models.temporal import stage as temporal
from symphony2vec.models.temporal.learner import TemporalLearner
from symphony2vec.models.training import watch
from symphony2vec.package import contents
from symphony2vec.package.model import Model
from symphony2vec.project import Project, SplitFold, read_json, read_table, write_array, write_table

CLIPS, BINS, FRAMES, LATENT = 40, 32, 70, 3
SPLITS = np.repeat(["train", "validation", "test"], [24, 8, 8])
MODELS = ["full-3", "context-3", "labels-3"]
SMALL = {"width": 2, "step_latent": 2, "batch": 8, "epochs": 2, "masked_bins": 3, "masked_frames": 9}
GAME = {"discriminator_loss", "generator_loss", "mean_output_real", "mean_output_generated"}


def smaller(values: dict[str, Any], frames: int) -> dict[str, Any]:
    """These values of params.yaml with a temporal model of two epochs that is looked at in each."""
    changed = copy.deepcopy(values)
    changed["temporal"] |= {"models": MODELS, "probe_every_epochs": 1, "samples_every_epochs": 2}
    changed["temporal"]["full"] |= SMALL | {"frames": frames}
    return changed


# on real sounds -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heard(trained: Trained) -> Trained:
    """All three models, trained on clips of 44 frames and probed."""
    values = smaller(trained.params.model_dump(), 32)
    made = Trained(trained.project, params.check(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.URI, raising=False)
        for model in MODELS:
            temporal.run(made.project, made.params, model)
        probe.run(made.project, made.params, "temporal")
    return made


def folder(project: Project, model: str) -> Path:
    return project.out("temporal", model, "work-0")


def names_in(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def test_every_model_writes_what_it_promises_and_nothing_else(heard):
    always = {"curves.csv", "curves.png", "validation.csv", "run.json", "model.json"}
    vectors = {"vectors.npy", "vectors-pooled.npy", "model-pooled.json"}
    made = {
        "networks.safetensors",
        "samples.npz",
        "generation.csv",
        "frechet.csv",
        "game.png",
        "pairs.png",
        "generated.png",
    }
    assert names_in(folder(heard.project, "full-3")) == always | vectors | made
    assert names_in(folder(heard.project, "context-3")) == always | vectors
    assert names_in(folder(heard.project, "labels-3")) == always | {"probabilities.npy"}


@pytest.mark.parametrize("model", ["full-3", "context-3"])
@pytest.mark.parametrize(("name", "values"), [("vectors", LATENT), ("vectors-pooled", 2 * 8 * 2)])
def test_every_clip_has_a_vector_of_its_own(name, values, model, heard):
    vectors = heard.vectors("temporal", model, name)
    assert vectors.shape == (len(read_table(heard.project.clips, "clips")), values)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors, axis=0)) == len(vectors)


def test_the_yardstick_gives_probabilities(heard):
    found = heard.vectors("temporal", "labels-3", "probabilities")
    assert found.shape == (len(read_table(heard.project.clips, "clips")), 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    assert len(np.unique(found[:, 0])) == len(found)


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (
            "full-3",
            {f"{side}_{name}" for side in ("train", "validation") for name in ("contrast", "reconstruction")}
            | {watch.PROBE_ACCURACY}
            | {f"train_{name}" for name in GAME},
        ),
        ("context-3", {"train_contrast", "validation_contrast", watch.PROBE_ACCURACY}),
        ("labels-3", {"train_loss", "validation_loss", "validation_accuracy"}),
    ],
)
def test_the_curves_have_a_row_an_epoch_and_a_column_for_every_part(model, columns, heard):
    curves = pd.read_csv(folder(heard.project, model) / "curves.csv")
    training = (read_table(heard.project.fold(SplitFold("work", 0)), "clips")["split"] == "train").sum()
    assert curves["update"].tolist() == [training // 8, 2 * (training // 8)]
    assert set(curves.columns) == {"epoch", "update"} | columns
    assert curves.notna().all(axis=None)


@pytest.mark.parametrize("model", MODELS)
def test_every_validation_work_is_told_with_its_clips(model, heard):
    table = pd.read_csv(folder(heard.project, model) / "validation.csv")
    assert table.columns.tolist() == ["work", "clips", "right"]
    clips = read_table(heard.project.fold(SplitFold("work", 0)), "clips")
    own = clips[clips["split"] == "validation"]
    assert dict(zip(table["work"], table["clips"], strict=True)) == dict(
        (own["composer"] + " / " + own["work"]).value_counts()
    )
    assert ((table["right"] >= 0) & (table["right"] <= table["clips"])).all()
    if model == "labels-3":
        named = heard.vectors("temporal", model, "probabilities")[own.index].argmax(axis=1)
        assert table["right"].sum() == (np.array(sorted(COMPOSERS))[named] == own["composer"]).sum()


def test_samples_are_in_db_and_of_validation_clips(heard):
    held = np.load(folder(heard.project, "full-3") / "samples.npz")
    assert set(held.files) == {"rows", "originals", "reconstructions", "generated"}
    clips, mel = read_table(heard.project.fold(SplitFold("work", 0)), "clips"), np.load(heard.project.feature("mel"))
    assert (clips["split"].iloc[held["rows"]] == "validation").all()
    for name in ("originals", "reconstructions", "generated"):
        assert held[name].shape == (8, 64, 32)
        assert held[name].min() >= -80.0
        assert held[name].max() <= 0.0
    np.testing.assert_array_equal(held["originals"], mel[held["rows"], :, 6:38])  # the middle of 44 frames
    assert np.abs(held["reconstructions"] - held["originals"]).mean() < 30.0
    assert len(np.unique(held["generated"].reshape(8, -1), axis=0)) == 8


def test_the_full_model_says_how_well_it_reproduces_and_invents(heard):
    place = folder(heard.project, "full-3")
    clips = read_table(heard.project.fold(SplitFold("work", 0)), "clips")
    distances = pd.read_csv(place / "generation.csv")
    assert distances["clip"].tolist() == clips["clip"][clips["split"] == "test"].tolist()
    assert set(pd.read_csv(place / "frechet.csv")["what"]) == {"generated", "reconstructed", "training"}
    run = client(heard.project).get_run(heard.record("temporal", "full-3")["run_id"])
    assert run.data.metrics["log_spectral_distance"] == pytest.approx(distances["log_spectral_distance"].mean())


@pytest.mark.parametrize("model", MODELS)
def test_one_run_holds_settings_metrics_and_the_model(model, heard):
    known, setting = client(heard.project), model.removesuffix("-3")
    run = known.get_run(heard.record("temporal", model)["run_id"])
    assert run.info.status == "FINISHED"
    noted = {"model": setting, "representation": "mel", "dimensions": "3", "batch": "8", "width": "2", "beta_1": "0.5"}
    weights = {"adversary": "0.0", "reconstruction": "0.0"} if setting == "context" else {}
    assert {**noted, **weights}.items() <= run.data.params.items()
    packages = {"model"} if setting == "labels" else {"model", "model-pooled"}
    assert packages <= {one.path for one in known.list_artifacts(run.info.run_id)}
    shown = {Path(one.path).name.split("+")[0] for one in known.list_artifacts(run.info.run_id, "images")}
    assert shown == ({"generated", "reconstructions"} if setting == "full" else set())


@pytest.mark.parametrize(
    ("model", "package", "file"),
    [("full-3", "model", "vectors"), ("full-3", "model-pooled", "vectors-pooled"), ("context-3", "model", "vectors"),
     ("labels-3", "model", "probabilities")],
)  # fmt: skip
def test_a_package_hears_what_the_stage_wrote(model, package, file, heard):
    loaded = contents.read(heard.package("temporal", model, package), Model)
    written = heard.vectors("temporal", model, file)
    apart = np.ptp(written, axis=0).max()
    assert apart > 1e-5
    for sound, rows in sorted(heard.rows_of().items())[:3]:
        found = loaded.embed_file(sound).vectors[: len(rows)]
        np.testing.assert_allclose(found, written[rows], atol=0.05 * apart)


def test_an_embedder_gives_vectors_of_the_model_and_names_composers_by_its_probe(heard):
    made = Embedder.load(heard.package("temporal", "full-3"))
    assert (made.dimensions, made.composers) == (LATENT, sorted(COMPOSERS))
    with pytest.raises(UserError, match="is a classifier \\(labels-3 work-0\\)"):
        Embedder.load(heard.package("temporal", "labels-3"))


@pytest.mark.parametrize(
    ("model", "readouts"), [("full-3", ["", "pooled"]), ("context-3", ["", "pooled"]), ("labels-3", [""])]
)
def test_the_probe_takes_every_reading(model, readouts, heard):
    scores = read_json(heard.project.out("probe", "temporal", model, "work-0", "scores.json"), "probe")["scores"]
    assert [one["readout"] for one in scores] == readouts
    assert all(0.0 <= one["test_accuracy"] <= 1.0 for one in scores)


def test_a_finished_draw_is_kept_as_it_is(heard, monkeypatch):
    monkeypatch.delenv(tracking.URI, raising=False)
    monkeypatch.setattr(temporal, "_train_temporal", lambda *_: pytest.fail("trained again"))
    temporal.run(heard.project, heard.params, "full-3")
    changed = heard.params.model_dump()
    changed["temporal"] |= {"samples_every_epochs": 1}
    temporal.run(heard.project, params.check(changed), "full-3")


# networks on disk -----------------------------------------------------------------------------------------------------


def test_kept_networks_give_the_vectors_and_the_samples_again(heard):
    place, mel = folder(heard.project, "full-3"), np.load(heard.project.feature("mel"))
    found = kept.load(place)
    c, z = found.encode(mel)
    np.testing.assert_allclose(c, heard.vectors("temporal", "full-3"), atol=1e-4)
    assert z.shape == (len(mel), 2, 2)
    held = np.load(place / "samples.npz")
    copies = found.generate(c[held["rows"]], z[held["rows"]]).clip(-80.0, 0.0)
    np.testing.assert_allclose(copies, held["reconstructions"], atol=1e-2)


def test_equal_networks_are_equal_files(heard, tmp_path):
    found, place = kept.load(folder(heard.project, "full-3")), folder(heard.project, "full-3") / kept.NETWORKS
    for number in range(4):
        kept.save(tmp_path / f"{number}", found.encoder, found.generator, (LATENT, 2, 2, 64), found.scaling)
        assert (tmp_path / f"{number}").read_bytes() == place.read_bytes()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def no_shape(path: Path) -> None:
    save_file(load_file(path), path)


def one_weight_less(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        told = file.metadata()
    weights = load_file(path)
    del weights["encoder.frequency_projection.weight"]
    save_file(weights, path, told)


@pytest.mark.parametrize("damage", [cut, no_shape, one_weight_less, lambda path: path.write_text("{}")])
def test_damaged_networks_are_one_clear_line(damage, heard, tmp_path):
    path = tmp_path / kept.NETWORKS
    shutil.copyfile(folder(heard.project, "full-3") / kept.NETWORKS, path)
    damage(path)
    with pytest.raises(
        UserError, match=r"networks\.safetensors is damaged \(.+\); `dvc repro -f temporal` writes"
    ) as told:
        kept.load(tmp_path)
    assert "\n" not in str(told.value)


def test_missing_networks_are_one_clear_line(heard, tmp_path):
    for place in (tmp_path, folder(heard.project, "labels-3")):
        with pytest.raises(UserError, match=r"networks\.safetensors is missing; `dvc repro temporal` writes it$"):
            kept.load(place)


# on made-up spectrograms ----------------------------------------------------------------------------------------------


def spectrograms() -> np.ndarray:
    """(40, 32, 70) in dB, each clip with a level of its own."""
    rng = np.random.default_rng(0)
    level = rng.uniform(-60.0, -20.0, (CLIPS, BINS, 1))
    return np.clip(level + rng.normal(0.0, 5.0, (CLIPS, BINS, FRAMES)), -80.0, 0.0).astype(np.float32)


@pytest.fixture(scope="module")
def small(settings: dict[str, Any]) -> params.Params:
    values = smaller(settings, 64)
    values["clips"]["duration_s"] = lasting(FRAMES)
    values["features"]["mel_bands"] = BINS
    return params.check(values)


def project_in(root: Path, empty_database: Path, array: np.ndarray, composers: np.ndarray | None = None) -> Project:
    """A project of 40 clips; two are a movement, four a work."""
    root.mkdir()
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / file, root / file)
    made, places = with_database(Project(root), empty_database), np.arange(CLIPS)
    whose = np.where(places // 4 % 2, "b", "a") if composers is None else composers
    table = pd.DataFrame({"clip": places, "composer": whose, "work": [f"work {place // 4}" for place in places]})
    movement = places // 2
    table = table.assign(movement=movement % 2, file=[f"{one}.flac" for one in movement], start_s=0.0)
    write_table(made.clips, table)
    of_licence(made)
    write_table(made.fold(SplitFold("work", 0)), table.assign(group=table["work"], split=SPLITS, split_by="work"))
    write_array(made.feature("mel"), array)
    return made


@pytest.fixture(scope="module")
def _alone() -> Iterator[None]:
    """Runs go to the project's own database; packages, and pictures in MLflow, are left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.URI, raising=False)
        patch.setattr(contents, "log", lambda *_: None)
        patch.setattr(tracking.Run, "figure", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def plain(
    _alone: None, tmp_path_factory: pytest.TempPathFactory, empty_database: Path, small: params.Params
) -> Project:
    """The project that others are held against."""
    made = project_in(tmp_path_factory.mktemp("plain") / "project", empty_database, spectrograms())
    for model in MODELS:
        temporal.run(made, small, model)
    return made


@pytest.fixture
def project_of(_alone: None, tmp_path: Path, empty_database: Path) -> Callable[..., Project]:
    return partial(project_in, tmp_path / "project", empty_database)


def weights_in(project: Project, model: str) -> dict[str, Any]:
    weights: dict[str, Any] = load_file(folder(project, model) / kept.NETWORKS)
    return weights


def assert_equal_weights(one: Project, other: Project, model: str) -> None:
    a, b = weights_in(one, model), weights_in(other, model)
    assert a.keys() == b.keys()
    assert all(a[name].equal(b[name]) for name in a)


@pytest.mark.parametrize("model", ["full-3", "context-3"])
def test_composers_never_reach_the_vectors(model, plain, project_of, small):
    permuted = np.random.default_rng(3).permutation(np.repeat(["a", "b"], 20))
    made = project_of(spectrograms(), permuted)
    temporal.run(made, small, model)
    if model == "full-3":
        assert_equal_weights(plain, made, model)
    for name in ("vectors.npy", "vectors-pooled.npy"):
        one, other = ((folder(project, model) / name).read_bytes() for project in (plain, made))
        assert one == other, name
    curves = [pd.read_csv(folder(project, model) / "curves.csv") for project in (plain, made)]
    pd.testing.assert_frame_equal(*(one.drop(columns=watch.PROBE_ACCURACY) for one in curves))


@pytest.mark.parametrize(("model", "file"), [("full-3", "vectors"), ("labels-3", "probabilities")])
def test_test_clips_never_reach_the_weights(model, file, plain, project_of, small):
    array, test = spectrograms(), SPLITS == "test"
    array[test] = np.random.default_rng(9).uniform(-80.0, 0.0, (8, BINS, FRAMES))
    made = project_of(array)
    temporal.run(made, small, model)
    one, other = (np.load(folder(project, model) / f"{file}.npy") for project in (plain, made))
    np.testing.assert_array_equal(one[~test], other[~test])
    assert (one[test] != other[test]).any(axis=1).all()
    for name in ("curves.csv", "validation.csv"):
        before, after = ((folder(project, model) / name).read_bytes() for project in (plain, made))
        assert before == after, name


def test_an_interrupted_training_goes_on_to_the_same_vectors(plain, project_of, small, monkeypatch):
    made, step, count = project_of(spectrograms()), TemporalLearner.step, iter(range(1, 99))

    def stopped(learner: TemporalLearner, rows: np.ndarray) -> Any:
        if next(count) == 5:
            raise KeyboardInterrupt
        return step(learner, rows)

    monkeypatch.setattr("symphony2vec.models.temporal.training.Training.fit.__defaults__", (0.0,))
    monkeypatch.setattr(TemporalLearner, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        temporal.run(made, small, "full-3")
    assert not folder(made, "full-3").exists()
    temporal.run(made, small, "full-3")
    assert next(count) == 8  # four updates, the one that stopped, and the two that were left
    assert_equal_weights(plain, made, "full-3")
    for name in ("vectors.npy", "curves.csv", "validation.csv", "generation.csv"):
        one, other = ((folder(project, "full-3") / name).read_bytes() for project in (plain, made))
        assert one == other, name


@pytest.mark.parametrize("model", ["no_adversary-3", "no_step_codes-3"])
def test_a_part_goes_through_the_stage(model, project_of, small):
    made = project_of(spectrograms())
    temporal.run(made, small, model)
    assert ("game.png" in names_in(folder(made, model))) == (model != "no_adversary-3")
    assert (folder(made, model) / "samples.npz").is_file()
    c, z = kept.load(folder(made, model)).encode(spectrograms()[:2])
    assert (c.shape, z.shape) == ((2, LATENT), (2, 4, 0 if model == "no_step_codes-3" else 2))


# clips of another project -------------------------------------------------------------------------------------------


def hearing(small: params.Params, folder: Path | str, **changes: Any) -> params.Params:
    """These parameters where the clips of the project in `folder` are heard as well."""
    values = small.model_dump()
    values["temporal"]["full"] |= {"unlabelled": str(folder), **changes}
    return params.check(values)


@pytest.fixture
def other(_alone: None, tmp_path: Path, empty_database: Path) -> Callable[..., Project]:
    """A second project beside the first, whose parameters are those of the small one but for these."""

    def made(small: params.Params, composers: np.ndarray | None = None, **features: Any) -> Project:
        project = project_in(tmp_path / "other", empty_database, spectrograms()[::-1] - 3.0, composers)
        values = small.model_dump()
        values["features"] |= features
        YAML().dump(values, project.root / "params.yaml")
        return project

    return made


def test_clips_of_another_project_are_heard_without_their_composers(plain, project_of, other, small):
    made, beside = project_of(spectrograms()), other(small, np.repeat("c", CLIPS))
    temporal.run(made, hearing(small, "../other"), "full-3")
    curves = pd.read_csv(folder(made, "full-3") / "curves.csv")
    assert curves["update"].tolist() == [8, 16]  # 24 clips of its own to learn from, and 40
    vectors = np.load(folder(made, "full-3") / "vectors.npy")
    assert vectors.shape == (CLIPS, LATENT)
    assert (vectors != np.load(folder(plain, "full-3") / "vectors.npy")).any(axis=1).all()
    weights = load_file(folder(made, "full-3") / kept.NETWORKS)
    clips = read_table(beside.clips, "clips").assign(composer="somebody else")
    write_table(beside.clips, clips)
    temporal.run(made, hearing(small, "../other"), "full-3")  # trained again, for a file has changed
    again = load_file(folder(made, "full-3") / kept.NETWORKS)
    for name, values in weights.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)
    assert not made.out(".partial").exists() or not list(made.out(".partial").iterdir())


def test_what_is_held_out_here_is_not_heard_there(project_of, other, small):
    made = project_of(spectrograms())
    composers = np.where(np.arange(CLIPS) // 4 % 2, "b", "a")
    composers[:4] = "c"  # "work 0" is of a here
    beside = other(small, composers)
    own = read_table(made.fold(SplitFold("work", 0)), "clips")
    assert unlabelled.training_rows(own, beside).tolist() == list(range(CLIPS, CLIPS + 24))
    numbers = unlabelled.number_movements(own, beside)
    assert numbers[:CLIPS].tolist() == (np.arange(CLIPS) // 2).tolist()
    assert numbers[CLIPS + 4 :].tolist() == (np.arange(4, CLIPS) // 2).tolist()  # the same movements
    assert numbers[CLIPS : CLIPS + 4].tolist() == [20, 20, 21, 21]


def test_another_project_is_trained_on_again_only_when_it_changed(project_of, other, small, monkeypatch):
    made, beside = project_of(spectrograms()), other(small)
    wanted = hearing(small, beside.root)
    temporal.run(made, wanted, "context-3")
    monkeypatch.setattr(temporal, "_train_temporal", lambda *_: pytest.fail("trained again"))
    temporal.run(made, wanted, "context-3")
    write_array(beside.feature("mel"), spectrograms() - 7.0)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        temporal.run(made, wanted, "context-3")


def test_the_yardstick_hears_the_own_clips_alone(plain, project_of, small):
    made = project_of(spectrograms())
    temporal.run(made, hearing(small, "../nowhere"), "labels-3")
    one, two = (np.load(folder(project, "labels-3") / "probabilities.npy") for project in (plain, made))
    np.testing.assert_array_equal(one, two)


def test_another_project_that_does_not_fit_is_one_clear_line(project_of, other, small):
    made, beside = project_of(spectrograms()), other(small, hop_samples=256)
    for place, message in (
        ("../nowhere", r"temporal.full.unlabelled: no project in .*nowhere \(a folder with params.yaml and out/\)"),
        (".", "is this project itself, whose test clips must not be used"),
        (beside.root, "features.hop_samples is 256 in .*other and 512 here; make them equal"),
    ):
        with pytest.raises(UserError, match=message) as told:
            temporal.run(made, hearing(small, place), "full-3")
        assert "\n" not in str(told.value)
    YAML().dump(small.model_dump(), beside.params)
    beside.feature("mel").unlink()
    with pytest.raises(UserError, match=r"mel.npy is missing; run `dvc repro features` in .*other$"):
        temporal.run(made, hearing(small, beside.root), "full-3")
    assert not made.out("temporal").exists()


# what people can get wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["full", "full-", "full-0", "full-x", "full-²", "full-3\n", "gan-3", "-3", "full-3-2", "Full-3"]
)
def test_a_name_that_is_no_model_is_refused(model, project_of, small):
    made = project_of(spectrograms())
    with pytest.raises(UserError) as told:
        temporal.run(made, small, model)
    assert str(told.value).startswith(f"unknown temporal model '{model}': expected one of full, context, labels, ")
    assert str(told.value).endswith(" and a latent size, such as full-40")
    assert not made.out("temporal").exists()


@pytest.mark.parametrize(
    ("bins", "frames", "changes", "message"),
    [
        (30, 70, {}, r"a multiple of 16 mel bands \(features.mel_bands is 30\)"),
        (32, 63, {}, r"no longer than a clip of 63 \(frames of temporal short is 64\)"),
        (32, 70, {"frames": 60}, r"crops of a multiple of 16 frames, .* \(frames of temporal short is 60\)"),
        (32, 70, {"masked_bins": 32}, r"masked_bins of temporal short \(32\) must be below the 32 mel bands"),
    ],
)
def test_clips_that_do_not_fit_are_one_clear_line(bins, frames, changes, message, project_of, small):
    values = small.model_dump()
    values["temporal"]["parts"]["short"] |= changes
    made = project_of(np.zeros((CLIPS, bins, frames), np.float32))
    with pytest.raises(UserError, match=message) as told:
        temporal.run(made, params.check(values), "short-3")
    assert "\n" not in str(told.value)
    assert not made.out("temporal").exists()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"adversery": 0.0}, "unknown key 'parts.context.adversery' (did you mean 'temporal.full.adversary'?)"),
        ({"widht": 4}, "unknown key 'parts.context.widht' (did you mean 'temporal.full.width'?)"),
        ({"contrast": -1.0}, "'parts.context.contrast' is -1.0: input should be greater than or equal to 0"),
        ({"frames": "long"}, "'parts.context.frames' is 'long': input should be a valid integer"),
        ({"positives": "composer"}, "'parts.context.positives' is 'composer': input should be 'movement' or 'clip'"),
        ({"frames": 16}, "'parts.context': masked_frames (24) must be below frames (16)"),
    ],
)
def test_a_part_that_is_no_setting_names_its_key(part, message, settings):
    values = copy.deepcopy(settings)
    values["temporal"]["parts"]["context"] = part
    with pytest.raises(UserError) as told:
        params.check(values, "params.yaml")
    assert str(told.value) == f"params.yaml: 'temporal': {message}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["none-3"]}, "none-3 is none of full, context, labels, .* with a latent size"),
        ({"models": ["full"]}, "'temporal.models.0' is 'full': string should match pattern"),
        ({"models": []}, "'temporal.models' is \\[\\]: list should have at least 1 item"),
        ({"parts": {"full": {}}}, "a part cannot be named full"),
        ({"parts": {"context": None}}, "'temporal.parts.context' is None: input should be a valid dictionary"),
    ],
)
def test_models_and_parts_are_checked_as_the_file_is_read(changes, message, settings):
    values = copy.deepcopy(settings)
    values["temporal"] |= changes
    with pytest.raises(UserError, match=message):
        params.check(values, "params.yaml")


def test_a_part_is_full_with_its_own_values_changed(settings):
    known = params.check(copy.deepcopy(settings)).temporal
    assert known.names == ["full", *settings["temporal"]["parts"]]
    for name, changes in settings["temporal"]["parts"].items():
        assert known.setting(name).model_dump() == {**settings["temporal"]["full"], **changes}
    assert known.setting("full") == known.full


def test_settings_of_a_run_are_those_of_its_part(settings):
    known = params.check(copy.deepcopy(settings))
    told = temporal.settings(known, known.temporal.setting("context"), 7)
    assert {"dimensions": 7, "adversary": 0.0, "beta_1": 0.5, "optimiser": "adam"}.items() <= told.items()
    assert "betas" not in told
    assert json.loads(json.dumps(told)) == told
