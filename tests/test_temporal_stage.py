"""The stage `temporal` on small projects: its outputs and packages, and what must not affect them."""

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

from conftest import COMPOSERS, ROOT, Trained, client, lasting, logged_names, of_licence, with_database
from symphony2vec import params, tracking
from symphony2vec.embedder import Embedder
from symphony2vec.errors import UserError
from symphony2vec.evaluation.probe import stage as probe
from symphony2vec.models.temporal import kept, unlabelled
from symphony2vec.models.temporal import stage as temporal
from symphony2vec.models.temporal.learner import TemporalLearner
from symphony2vec.models.training import watch
from symphony2vec.package import contents, saving
from symphony2vec.package.model import Model
from symphony2vec.project import Project, SplitFold, read_json, read_table, write_array, write_table

CLIPS, BINS, FRAMES, LATENT = 40, 32, 70, 3
SPLITS = np.repeat(["train", "validation", "test"], [24, 8, 8])
MODELS = ["full-3", "context-3", "labels-3"]
SMALL = {"width": 2, "step_latent": 2, "batch": 8, "epochs": 2, "mask_bins": 3, "mask_frames": 9}
GAME = {"discriminator_loss", "generator_loss", "mean_output_real", "mean_output_generated"}


def smaller(values: dict[str, Any], frames: int) -> dict[str, Any]:
    """Return these values of params.yaml with small temporal models of two epochs, evaluated after each."""
    changed = copy.deepcopy(values)
    changed["temporal"] |= {"models": MODELS, "probe_every_epochs": 1, "samples_every_epochs": 2}
    changed["temporal"]["full"] |= SMALL | {"crop_frames": frames}
    return changed


# on real sound --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained_models(trained: Trained) -> Trained:
    """All three models, trained on clips of 44 frames, with their probes."""
    values = smaller(trained.params.model_dump(), 32)
    models = Trained(trained.project, params.check(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        for model in MODELS:
            temporal.run(models.project, models.params, model)
        probe.run(models.project, models.params, "temporal")
    return models


def folder(project: Project, model: str) -> Path:
    return project.out("temporal", "work-0", model)


def names_in(path: Path) -> set[str]:
    return {path.name for path in path.iterdir()}


def test_every_model_writes_exactly_the_documented_files(trained_models):
    always = {"curves.csv", "validation.csv", "run.json", "model"}
    vectors = {"vectors.npy", "vectors-pooled.npy", "model-pooled"}
    generated = {"networks.safetensors", "samples.npz", "generation.csv", "frechet.csv"}
    assert names_in(folder(trained_models.project, "full-3")) == always | vectors | generated
    assert names_in(folder(trained_models.project, "context-3")) == always | vectors
    assert names_in(folder(trained_models.project, "labels-3")) == always | {"probabilities.npy"}


@pytest.mark.parametrize("model", ["full-3", "context-3"])
@pytest.mark.parametrize(("name", "values"), [("vectors", LATENT), ("vectors-pooled", 2 * 8 * 2)])
def test_every_clip_has_a_vector_of_its_own(name, values, model, trained_models):
    vectors = trained_models.vectors("temporal", model, name)
    assert vectors.shape == (len(read_table(trained_models.project.clips, "clips")), values)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors, axis=0)) == len(vectors)


def test_the_supervised_reference_writes_probabilities(trained_models):
    probabilities = trained_models.vectors("temporal", "labels-3", "probabilities")
    assert probabilities.shape == (len(read_table(trained_models.project.clips, "clips")), 2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert len(np.unique(probabilities[:, 0])) == len(probabilities)


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (
            "full-3",
            {
                f"{side}_{name}"
                for side in ("train", "validation")
                for name in ("contrastive_loss", "reconstruction_loss")
            }
            | {watch.PROBE_ACCURACY}
            | {f"train_{name}" for name in GAME},
        ),
        ("context-3", {"train_contrastive_loss", "validation_contrastive_loss", watch.PROBE_ACCURACY}),
        ("labels-3", {"train_loss", "validation_loss", "validation_accuracy"}),
    ],
)
def test_the_curves_have_a_row_per_epoch_and_a_column_per_loss(model, columns, trained_models):
    curves = pd.read_csv(folder(trained_models.project, model) / "curves.csv")
    training = (read_table(trained_models.project.fold(SplitFold("work", 0)), "clips")["split"] == "train").sum()
    assert curves["update"].tolist() == [training // 8, 2 * (training // 8)]
    assert set(curves.columns) == {"epoch", "update"} | columns
    assert curves.notna().all(axis=None)


@pytest.mark.parametrize("model", MODELS)
def test_the_validation_table_counts_the_clips_of_every_work(model, trained_models):
    table = pd.read_csv(folder(trained_models.project, model) / "validation.csv")
    assert table.columns.tolist() == ["work", "clips", "right"]
    clips = read_table(trained_models.project.fold(SplitFold("work", 0)), "clips")
    validation = clips[clips["split"] == "validation"]
    assert dict(zip(table["work"], table["clips"], strict=True)) == dict(
        (validation["composer"] + " / " + validation["work"]).value_counts()
    )
    assert ((table["right"] >= 0) & (table["right"] <= table["clips"])).all()
    if model == "labels-3":
        predictions = trained_models.vectors("temporal", model, "probabilities")[validation.index].argmax(axis=1)
        assert table["right"].sum() == (np.array(sorted(COMPOSERS))[predictions] == validation["composer"]).sum()


def test_samples_are_in_db_and_of_validation_clips(trained_models):
    samples = np.load(folder(trained_models.project, "full-3") / "samples.npz")
    assert set(samples.files) == {"rows", "originals", "reconstructions", "generated"}
    clips, mel = (
        read_table(trained_models.project.fold(SplitFold("work", 0)), "clips"),
        np.load(trained_models.project.feature("mel")),
    )
    assert (clips["split"].iloc[samples["rows"]] == "validation").all()
    for name in ("originals", "reconstructions", "generated"):
        assert samples[name].shape == (8, 64, 32)
        assert samples[name].min() >= -80.0
        assert samples[name].max() <= 0.0
    np.testing.assert_array_equal(samples["originals"], mel[samples["rows"], :, 6:38])  # the middle of 44 frames
    assert np.abs(samples["reconstructions"] - samples["originals"]).mean() < 30.0
    assert len(np.unique(samples["generated"].reshape(8, -1), axis=0)) == 8


def test_the_full_model_writes_the_quality_of_reconstruction_and_generation(trained_models):
    path = folder(trained_models.project, "full-3")
    clips = read_table(trained_models.project.fold(SplitFold("work", 0)), "clips")
    distances = pd.read_csv(path / "generation.csv")
    assert distances["clip"].tolist() == clips["clip"][clips["split"] == "test"].tolist()
    assert set(pd.read_csv(path / "frechet.csv")["what"]) == {"generated", "reconstructed", "training"}
    run = client(trained_models.project).get_run(trained_models.record("temporal", "full-3")["run_id"])
    assert run.data.metrics["log_spectral_distance"] == pytest.approx(distances["log_spectral_distance"].mean())


@pytest.mark.parametrize("model", MODELS)
def test_one_run_holds_settings_metrics_and_the_model(model, trained_models):
    tracking_client, setting = client(trained_models.project), model.removesuffix("-3")
    run = tracking_client.get_run(trained_models.record("temporal", model)["run_id"])
    assert run.info.status == "FINISHED"
    expected = {
        "model": setting,
        "representation": "mel",
        "dimensions": "3",
        "batch": "8",
        "width": "2",
        "beta_1": "0.5",
    }
    weights = {"adversarial_weight": "0.0", "reconstruction_weight": "0.0"} if setting == "context" else {}
    assert {**expected, **weights}.items() <= run.data.params.items()
    packages = {"model"} if setting == "labels" else {"model", "model-pooled"}
    assert packages <= logged_names(trained_models.project, run.info.run_id)
    pictures = {"curves.png"} | ({"game.png", "pairs.png", "generated.png"} if setting == "full" else set())
    paths = {artifact.path for artifact in tracking_client.list_artifacts(run.info.run_id)}
    assert {path for path in paths if path.endswith(".png")} - {"confusion.png"} == pictures
    images = {
        Path(artifact.path).name.split("+")[0] for artifact in tracking_client.list_artifacts(run.info.run_id, "images")
    }
    assert images == ({"generated", "reconstructions"} if setting == "full" else set())


@pytest.mark.parametrize(
    ("model", "package", "file"),
    [("full-3", "model", "vectors"), ("full-3", "model-pooled", "vectors-pooled"), ("context-3", "model", "vectors"),
     ("labels-3", "model", "probabilities")],
)  # fmt: skip
def test_a_package_gives_the_vectors_of_the_stage(model, package, file, trained_models):
    loaded = contents.read(trained_models.package("temporal", model, package), Model)
    stage_vectors = trained_models.vectors("temporal", model, file)
    spread = np.ptp(stage_vectors, axis=0).max()
    assert spread > 1e-5
    for sound, rows in sorted(trained_models.rows_of().items())[:3]:
        vectors = loaded.embed_file(sound).vectors[: len(rows)]
        np.testing.assert_allclose(vectors, stage_vectors[rows], atol=0.05 * spread)


def test_an_embedder_loads_the_package_and_its_probe(trained_models):
    embedder = Embedder.load(trained_models.package("temporal", "full-3"))
    assert (embedder.dimensions, embedder.composers) == (LATENT, sorted(COMPOSERS))
    with pytest.raises(UserError, match="is a classifier \\(labels-3 work-0\\)"):
        Embedder.load(trained_models.package("temporal", "labels-3"))


@pytest.mark.parametrize(
    ("model", "readouts"), [("full-3", ["", "pooled"]), ("context-3", ["", "pooled"]), ("labels-3", [""])]
)
def test_the_probe_takes_every_reading(model, readouts, trained_models):
    path = trained_models.project.out("probe", "work-0", "temporal", model, "scores.json")
    scores = read_json(path, "probe")["scores"]
    assert [score["readout"] for score in scores] == readouts
    assert all(0.0 <= score["test_accuracy"] <= 1.0 for score in scores)


def test_how_often_samples_are_logged_is_no_setting_of_the_training(trained_models):
    values = trained_models.params.model_dump()
    seldom, often = (
        params.check({**values, "temporal": {**values["temporal"], "samples_every_epochs": every}}) for every in (2, 1)
    )
    first, second = (temporal.settings(chosen, chosen.temporal.full, LATENT) for chosen in (seldom, often))
    assert first == second


# networks on disk -----------------------------------------------------------------------------------------------------


def test_kept_networks_give_the_vectors_and_the_samples_again(trained_models):
    path, mel = folder(trained_models.project, "full-3"), np.load(trained_models.project.feature("mel"))
    model = kept.load(path)
    c, z = model.encode(mel)
    np.testing.assert_allclose(c, trained_models.vectors("temporal", "full-3"), atol=1e-4)
    assert z.shape == (len(mel), 2, 2)
    samples = np.load(path / "samples.npz")
    copies = model.generate(c[samples["rows"]], z[samples["rows"]]).clip(-80.0, 0.0)
    np.testing.assert_allclose(copies, samples["reconstructions"], atol=1e-2)


def test_equal_networks_are_equal_files(trained_models, tmp_path):
    model, path = (
        kept.load(folder(trained_models.project, "full-3")),
        folder(trained_models.project, "full-3") / kept.NETWORKS,
    )
    for number in range(4):
        kept.save(tmp_path / f"{number}", model.encoder, model.generator, (LATENT, 2, 2, 64), model.scaling)
        assert (tmp_path / f"{number}").read_bytes() == path.read_bytes()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def drop_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def drop_weight(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(path)
    del weights["encoder.frequency_projection.weight"]
    save_file(weights, path, metadata)


@pytest.mark.parametrize("damage", [truncate, drop_metadata, drop_weight, lambda path: path.write_text("{}")])
def test_damaged_networks_are_one_clear_line(damage, trained_models, tmp_path):
    path = tmp_path / kept.NETWORKS
    shutil.copyfile(folder(trained_models.project, "full-3") / kept.NETWORKS, path)
    damage(path)
    with pytest.raises(
        UserError, match=r"networks\.safetensors is damaged \(.+\); `dvc repro -f temporal` writes"
    ) as error:
        kept.load(tmp_path)
    assert "\n" not in str(error.value)


def test_missing_networks_are_one_clear_line(trained_models, tmp_path):
    for path in (tmp_path, folder(trained_models.project, "labels-3")):
        with pytest.raises(UserError, match=r"networks\.safetensors is missing; `dvc repro temporal` writes it$"):
            kept.load(path)


# on synthetic spectrograms --------------------------------------------------------------------------------------------


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
    """Return a project of 40 clips, two per movement and four per work."""
    root.mkdir()
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / file, root / file)
    project, rows = with_database(Project(root), empty_database), np.arange(CLIPS)
    composer = np.where(rows // 4 % 2, "b", "a") if composers is None else composers
    table = pd.DataFrame({"clip": rows, "composer": composer, "work": [f"work {row // 4}" for row in rows]})
    movement = rows // 2
    table = table.assign(
        movement=movement % 2, performance="", file=[f"{number}.flac" for number in movement], start_s=0.0
    )
    write_table(project.clips, table)
    of_licence(project)
    write_table(project.fold(SplitFold("work", 0)), table.assign(group=table["work"], split=SPLITS, split_by="work"))
    write_array(project.feature("mel"), array)
    return project


@pytest.fixture(scope="module")
def _local_runs() -> Iterator[None]:
    """Log to the database of the project, without packages and figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        patch.setattr(saving, "log", lambda *_: None)
        patch.setattr(tracking.Run, "log_figure", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def plain(
    _local_runs: None, tmp_path_factory: pytest.TempPathFactory, empty_database: Path, small: params.Params
) -> Project:
    """The project that others are compared with."""
    project = project_in(tmp_path_factory.mktemp("plain") / "project", empty_database, spectrograms())
    for model in MODELS:
        temporal.run(project, small, model)
    return project


@pytest.fixture
def project_of(_local_runs: None, tmp_path: Path, empty_database: Path) -> Callable[..., Project]:
    return partial(project_in, tmp_path / "project", empty_database)


def weights_in(project: Project, model: str) -> dict[str, Any]:
    weights: dict[str, Any] = load_file(folder(project, model) / kept.NETWORKS)
    return weights


def assert_equal_weights(project: Project, other_project: Project, model: str) -> None:
    weights, other_weights = weights_in(project, model), weights_in(other_project, model)
    assert weights.keys() == other_weights.keys()
    assert all(weights[name].equal(other_weights[name]) for name in weights)


@pytest.mark.parametrize("model", ["full-3", "context-3"])
def test_composers_do_not_affect_the_vectors(model, plain, project_of, small):
    permuted = np.random.default_rng(3).permutation(np.repeat(["a", "b"], 20))
    project = project_of(spectrograms(), permuted)
    temporal.run(project, small, model)
    if model == "full-3":
        assert_equal_weights(plain, project, model)
    for name in ("vectors.npy", "vectors-pooled.npy"):
        first, second = ((folder(project, model) / name).read_bytes() for project in (plain, project))
        assert first == second, name
    curves = [pd.read_csv(folder(project, model) / "curves.csv") for project in (plain, project)]
    pd.testing.assert_frame_equal(*(first.drop(columns=watch.PROBE_ACCURACY) for first in curves))


@pytest.mark.parametrize(("model", "file"), [("full-3", "vectors"), ("labels-3", "probabilities")])
def test_test_clips_do_not_affect_the_weights(model, file, plain, project_of, small):
    array, test = spectrograms(), SPLITS == "test"
    array[test] = np.random.default_rng(9).uniform(-80.0, 0.0, (8, BINS, FRAMES))
    project = project_of(array)
    temporal.run(project, small, model)
    first, second = (np.load(folder(project, model) / f"{file}.npy") for project in (plain, project))
    np.testing.assert_array_equal(first[~test], second[~test])
    assert (first[test] != second[test]).any(axis=1).all()
    for name in ("curves.csv", "validation.csv"):
        before, after = ((folder(project, model) / name).read_bytes() for project in (plain, project))
        assert before == after, name


def test_an_interrupted_training_resumes_to_the_same_vectors(plain, project_of, small, monkeypatch):
    project, step, count = project_of(spectrograms()), TemporalLearner.step, iter(range(1, 99))

    def interrupt(learner: TemporalLearner, rows: np.ndarray) -> Any:
        if next(count) == 5:
            raise KeyboardInterrupt
        return step(learner, rows)

    monkeypatch.setattr("symphony2vec.models.temporal.training.Training.fit.__defaults__", (0.0,))
    monkeypatch.setattr(TemporalLearner, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        temporal.run(project, small, "full-3")
    assert not folder(project, "full-3").exists()
    temporal.run(project, small, "full-3")
    assert next(count) == 8  # four updates, the one that stopped, and the two that were left
    assert_equal_weights(plain, project, "full-3")
    for name in ("vectors.npy", "curves.csv", "validation.csv", "generation.csv"):
        first, second = ((folder(project, "full-3") / name).read_bytes() for project in (plain, project))
        assert first == second, name


@pytest.mark.parametrize("model", ["no_adversary-3", "no_step_codes-3"])
def test_ablations_run_through_the_stage(model, project_of, small):
    project = project_of(spectrograms())
    temporal.run(project, small, model)
    curves = pd.read_csv(folder(project, model) / "curves.csv")
    assert ("train_discriminator_loss" in curves) == (model != "no_adversary-3")
    assert (folder(project, model) / "samples.npz").is_file()
    c, z = kept.load(folder(project, model)).encode(spectrograms()[:2])
    assert (c.shape, z.shape) == ((2, LATENT), (2, 4, 0 if model == "no_step_codes-3" else 2))


# clips of another project ---------------------------------------------------------------------------------------------


def with_unlabelled(small: params.Params, folder: Path | str, **changes: Any) -> params.Params:
    """Return these parameters with the project in `folder` as unlabelled clips."""
    values = small.model_dump()
    values["temporal"]["full"] |= {"unlabelled": str(folder), **changes}
    return params.check(values)


@pytest.fixture
def create_other(_local_runs: None, tmp_path: Path, empty_database: Path) -> Callable[..., Project]:
    """Create a second project with the parameters of `small`, except for these features."""

    def create(small: params.Params, composers: np.ndarray | None = None, **features: Any) -> Project:
        project = project_in(tmp_path / "other", empty_database, spectrograms()[::-1] - 3.0, composers)
        values = small.model_dump()
        values["features"] |= features
        YAML().dump(values, project.root / "params.yaml")
        return project

    return create


def test_unlabelled_clips_are_used_without_their_composers(plain, project_of, create_other, small):
    project, other = project_of(spectrograms()), create_other(small, np.repeat("c", CLIPS))
    temporal.run(project, with_unlabelled(small, "../other"), "full-3")
    curves = pd.read_csv(folder(project, "full-3") / "curves.csv")
    assert curves["update"].tolist() == [8, 16]  # 24 clips of its own to learn from, and 40
    vectors = np.load(folder(project, "full-3") / "vectors.npy")
    assert vectors.shape == (CLIPS, LATENT)
    assert (vectors != np.load(folder(plain, "full-3") / "vectors.npy")).any(axis=1).all()
    weights = load_file(folder(project, "full-3") / kept.NETWORKS)
    clips = read_table(other.clips, "clips").assign(composer="somebody else")
    write_table(other.clips, clips)
    temporal.run(project, with_unlabelled(small, "../other"), "full-3")
    again = load_file(folder(project, "full-3") / kept.NETWORKS)
    for name, values in weights.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)
    assert not project.out(".partial").exists() or not list(project.out(".partial").iterdir())


def test_works_that_are_held_out_are_not_used_from_another_project(project_of, create_other, small):
    project = project_of(spectrograms())
    composers = np.where(np.arange(CLIPS) // 4 % 2, "b", "a")
    composers[:4] = "c"  # "work 0" is of a here
    other = create_other(small, composers)
    clips = read_table(project.fold(SplitFold("work", 0)), "clips")
    assert unlabelled.training_rows(clips, other).tolist() == list(range(CLIPS, CLIPS + 24))
    numbers = unlabelled.number_movements(clips, other)
    assert numbers[:CLIPS].tolist() == (np.arange(CLIPS) // 2).tolist()
    assert numbers[CLIPS + 4 :].tolist() == (np.arange(4, CLIPS) // 2).tolist()  # the same movements
    assert numbers[CLIPS : CLIPS + 4].tolist() == [20, 20, 21, 21]


def test_runs_on_other_unlabelled_clips_have_another_key(project_of, create_other, small):
    project, other = project_of(spectrograms()), create_other(small)
    changed_params = with_unlabelled(small, other.root)

    def train() -> str:
        temporal.run(project, changed_params, "context-3")
        record = tracking.read_run_record(project, folder(project, "context-3"))
        return str(client(project).get_run(record["run_id"]).data.params["settings_key"])

    first = train()
    assert train() == first
    write_array(other.feature("mel"), spectrograms() - 7.0)
    assert train() != first


def test_the_supervised_reference_ignores_unlabelled_clips(plain, project_of, small):
    project = project_of(spectrograms())
    temporal.run(project, with_unlabelled(small, "../nowhere"), "labels-3")
    first, second = (np.load(folder(project, "labels-3") / "probabilities.npy") for project in (plain, project))
    np.testing.assert_array_equal(first, second)


def test_another_project_that_does_not_fit_is_one_clear_line(project_of, create_other, small):
    project, other = project_of(spectrograms()), create_other(small, hop_samples=256)
    for folder_name, message in (
        ("../nowhere", r"temporal.full.unlabelled: no project in .*nowhere \(a folder with params.yaml and out/\)"),
        (".", "is this project itself; its test clips must not be used"),
        (other.root, "features.hop_samples is 256 in .*other and 512 here; make them equal"),
    ):
        with pytest.raises(UserError, match=message) as error:
            temporal.run(project, with_unlabelled(small, folder_name), "full-3")
        assert "\n" not in str(error.value)
    YAML().dump(small.model_dump(), other.params)
    other.feature("mel").unlink()
    with pytest.raises(UserError, match=r"mel.npy is missing; run `dvc repro features` in .*other$"):
        temporal.run(project, with_unlabelled(small, other.root), "full-3")
    assert not project.out("temporal").exists()


# invalid input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["full", "full-", "full-0", "full-x", "full-²", "full-3\n", "gan-3", "-3", "full-3-2", "Full-3"]
)
def test_an_unknown_model_is_an_error(model, project_of, small):
    project = project_of(spectrograms())
    with pytest.raises(UserError) as error:
        temporal.run(project, small, model)
    assert str(error.value).startswith(f"unknown temporal model '{model}': expected one of full, context, labels, ")
    assert str(error.value).endswith(" and a latent size, such as full-40")
    assert not project.out("temporal").exists()


@pytest.mark.parametrize(
    ("bins", "frames", "changes", "message"),
    [
        (30, 70, {}, r"a multiple of 16 mel bands \(features.mel_bands is 30\)"),
        (32, 63, {}, r"no longer than a clip of 63 \(crop_frames of temporal short is 64\)"),
        (32, 70, {"crop_frames": 60}, r"crops of a multiple of 16 frames, .* \(crop_frames of temporal short is 60\)"),
        (32, 70, {"mask_bins": 32}, r"mask_bins of temporal short \(32\) must be below the 32 mel bands"),
    ],
)
def test_clips_that_do_not_fit_are_one_clear_line(bins, frames, changes, message, project_of, small):
    values = small.model_dump()
    values["temporal"]["ablations"]["short"] |= changes
    project = project_of(np.zeros((CLIPS, bins, frames), np.float32))
    with pytest.raises(UserError, match=message) as error:
        temporal.run(project, params.check(values), "short-3")
    assert "\n" not in str(error.value)
    assert not project.out("temporal").exists()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"adversarial_wieght": 0.0},
            "unknown key 'ablations.context.adversarial_wieght' (did you mean 'temporal.full.adversarial_weight'?)",
        ),
        ({"widht": 4}, "unknown key 'ablations.context.widht' (did you mean 'temporal.full.width'?)"),
        (
            {"contrastive_weight": -1.0},
            "'ablations.context.contrastive_weight' is -1.0: input should be greater than or equal to 0",
        ),
        ({"crop_frames": "long"}, "'ablations.context.crop_frames' is 'long': input should be a valid integer"),
        (
            {"positives": "composer"},
            "'ablations.context.positives' is 'composer': input should be 'movement' or 'clip'",
        ),
        ({"crop_frames": 16}, "'ablations.context': mask_frames (24) must be below crop_frames (16)"),
    ],
)
def test_an_invalid_part_names_its_key(part, message, settings):
    values = copy.deepcopy(settings)
    values["temporal"]["ablations"]["context"] = part
    with pytest.raises(UserError) as error:
        params.check(values, "params.yaml")
    assert str(error.value) == f"params.yaml: 'temporal': {message}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["none-3"]}, "none-3 must be one of full, context, labels, .* with a latent size"),
        ({"models": ["full"]}, "'temporal.models.0' is 'full': string should match pattern"),
        ({"models": []}, "'temporal.models' is \\[\\]: list should have at least 1 item"),
        ({"ablations": {"full": {}}}, "an ablation cannot be named full"),
        ({"ablations": {"context": None}}, "'temporal.ablations.context' is None: input should be a valid dictionary"),
    ],
)
def test_models_and_parts_are_checked_as_the_file_is_read(changes, message, settings):
    values = copy.deepcopy(settings)
    values["temporal"] |= changes
    with pytest.raises(UserError, match=message):
        params.check(values, "params.yaml")


def test_a_part_is_full_with_its_own_values_changed(settings):
    section = params.check(copy.deepcopy(settings)).temporal
    assert section.names == ["full", *settings["temporal"]["ablations"]]
    for name, changes in settings["temporal"]["ablations"].items():
        assert section.setting(name).model_dump() == {**settings["temporal"]["full"], **changes}
    assert section.setting("full") == section.full


def test_settings_of_a_run_are_those_of_its_part(settings):
    checked = params.check(copy.deepcopy(settings))
    logged = temporal.settings(checked, checked.temporal.setting("context"), 7)
    assert {"dimensions": 7, "adversarial_weight": 0.0, "beta_1": 0.5, "optimiser": "adam"}.items() <= logged.items()
    assert "betas" not in logged
    assert json.loads(json.dumps(logged)) == logged
