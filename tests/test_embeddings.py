"""The stage `embeddings` on a tiny representation: PCA, autoencoder, contractive and variational autoencoder."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA

from conftest import ROOT, client, lasting, logged_names, of_licence, runs
from symphony2vec import params, tracking
from symphony2vec.errors import UserError
from symphony2vec.models import generation
from symphony2vec.models.embeddings import losses, networks, pca
from symphony2vec.models.embeddings import stage as embeddings
from symphony2vec.models.embeddings.learner import AutoencoderLearner
from symphony2vec.models.training.source import Source
from symphony2vec.package.scaling import batches, standard, symmetric
from symphony2vec.project import Project, SplitFold, write_array, write_table

NETWORKS = ("ae", "cae", "vae")
TRAINING, HELD_OUT, TEST = np.arange(40), np.arange(40, 48), np.arange(48, 60)


# PCA ------------------------------------------------------------------------------------------------------------------


def flat(clips: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((clips, 12)) @ rng.standard_normal((12, 60)) + 0.1).astype(np.float32)


def test_with_one_batch_it_is_the_exact_pca(changed):
    settings = changed(embeddings__dimensions=6, embeddings__pca__batch_clips=1024).embeddings
    data = flat()
    ours, exact = pca.fit(iter([data]), len(data), settings), PCA(6, svd_solver="full").fit(data)
    np.testing.assert_allclose(np.abs(ours.transform(data)), np.abs(exact.transform(data)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours.explained_variance_ratio_, exact.explained_variance_ratio_, rtol=1e-3)


def test_in_batches_it_keeps_nearly_the_same_variance(changed):
    settings = changed(embeddings__dimensions=6, embeddings__pca__batch_clips=50).embeddings
    data = flat()
    ours = pca.fit(iter(np.array_split(data, 6)), len(data), settings)
    best = PCA(6, svd_solver="full").fit(data).explained_variance_ratio_.sum()
    assert 0.95 * best < ours.explained_variance_ratio_.sum() <= 1.001 * best


def test_the_projection_is_the_fitted_pca(changed):
    data = flat()
    fitted = pca.fit(iter([data]), len(data), changed(embeddings__dimensions=6).embeddings)
    with torch.no_grad():
        projected = pca.Projection.from_pca(fitted).encode(torch.from_numpy(data))
    np.testing.assert_allclose(projected, fitted.transform(data), atol=1e-3)


def test_too_few_clips_and_too_small_batches_are_errors_that_say_what_to_change(changed):
    with pytest.raises(UserError, match="dimensions must be at most 12, the number of training clips"):
        pca.fit(iter([flat(12)]), 12, changed().embeddings)
    with pytest.raises(UserError, match="batch_clips must be at least 80 with 40 dimensions"):
        pca.fit(iter([flat()]), 300, changed(embeddings__pca__batch_clips=50).embeddings)


def test_batches_hold_every_row_once_normalised_in_order():
    array = np.random.default_rng(0).standard_normal((103, 3, 5)).astype(np.float32) * 4 + 2
    scaled = standard(array, np.arange(3, 103))
    parts = list(batches(array, np.arange(3, 103), scaled, 32))
    assert max(map(len, parts)) <= 32
    assert min(map(len, parts)) >= 16
    joined = np.concatenate(parts).reshape(100, 3, 5)
    np.testing.assert_allclose(joined, (array[3:] - scaled.offset[:, None]) / scaled.scale[:, None], rtol=1e-5)
    np.testing.assert_allclose(joined.mean(axis=(0, 2)), 0, atol=1e-4)


# the stage ------------------------------------------------------------------------------------------------------------


def spectrograms() -> np.ndarray:
    """(60, 4, 7) in dB: the two composers in turn, one louder below and one above, each clip with its own noise."""
    rng = np.random.default_rng(0)
    tilt = np.where(np.arange(60) % 2, 1.0, -1.0)[:, None, None] * np.linspace(-30.0, 30.0, 4)[:, None]
    return np.clip(-40.0 + tilt + rng.normal(0.0, 5.0, (60, 4, 7)), -80.0, 0.0).astype(np.float32)


def project_in(root: Path, array: np.ndarray) -> Project:
    """A project with 60 clips in one fold."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, root / name)
    project, splits = Project(root), np.repeat(["train", "validation", "test"], [40, 8, 12])
    table = pd.DataFrame({"clip": range(60), "composer": ["a", "b"] * 30, "work": splits, "movement": "1"})
    fold_table = table.assign(group=splits, split=splits, split_by="work", file="x.flac", start_s=0.0)
    write_table(project.clips, fold_table[[*table.columns, "file", "start_s"]])
    of_licence(project)
    write_table(project.fold(SplitFold("work", 0)), fold_table)
    for name in ("mel", "mfcc"):
        write_array(project.feature(name), array)
    return project


def small(settings: dict[str, Any], **changes: Any) -> params.Params:
    """5 dimensions, 12 epochs of 5 updates, looked at after the eighth and the last."""
    values = copy.deepcopy(settings)
    values["embeddings"] |= {"dimensions": 5, "probe_every_epochs": 8}
    values["features"] |= {"mel_bands": 4, "mfcc_coefficients": 4, "hop_samples": 2048}
    values["clips"]["duration_s"] = lasting(7, 2048)
    for name in NETWORKS:
        values["embeddings"][name] |= {"epochs": 12, "batch": 8, **changes}
    return params.check(values)


@pytest.fixture(autouse=True, scope="module")
def _own_database():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        yield


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, settings) -> Project:
    """Every model, run once."""
    project = project_in(tmp_path_factory.mktemp("project"), spectrograms())
    for model in embeddings.MODELS:
        embeddings.run(project, small(settings), model, "mel")
    return project


@pytest.fixture(scope="module")
def other_test_clips(tmp_path_factory, settings) -> Project:
    """The same project with other test clips, every model run once."""
    array = spectrograms()
    array[TEST] = np.random.default_rng(9).uniform(-80.0, 0.0, (12, 4, 7))
    project = project_in(tmp_path_factory.mktemp("other"), array)
    for model in embeddings.MODELS:
        embeddings.run(project, small(settings), model, "mel")
    return project


def folder(project: Project, model: str, representation: str = "mel") -> Path:
    return project.out("embeddings", "work-0", f"{model}-{representation}")


def run_of(project: Project, model: str) -> Any:
    return client(project).get_run(tracking.read_run_record(project, folder(project, model))["run_id"])


def files_of(home: Path) -> dict[str, bytes]:
    """The contents of all files below a folder."""
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}


@pytest.mark.parametrize("model", embeddings.MODELS)
def test_there_is_a_vector_for_every_clip(model, embedded):
    vectors = np.load(folder(embedded, model) / "vectors.npy")
    assert vectors.shape == (60, 5)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors, axis=0)) == 60


@pytest.mark.parametrize("model", embeddings.MODELS)
def test_the_folder_holds_what_the_stage_promises_and_nothing_else(model, embedded):
    package = {f"model/{name}" for name in ("config.json", "model.onnx", "example.flac", "golden.npy")}
    trained = {"curves.csv", "samples.npz", "generation.csv", "frechet.csv"}
    more = trained if model in NETWORKS else {"explained_variance.csv"}
    assert set(files_of(folder(embedded, model))) == {"vectors.npy", "run.json"} | package | more


@pytest.mark.parametrize("model", embeddings.MODELS)
def test_the_run_has_the_pictures_of_the_model(model, embedded, tmp_path):
    run_id, server = run_of(embedded, model).info.run_id, client(embedded)
    trained = {"curves.png", "reconstructions.png"} if model in NETWORKS else set()
    expected = {"scatter.png"} | trained | ({"generated.png"} if model == "vae" else set())
    paths = [artifact.path for artifact in server.list_artifacts(run_id) if artifact.path.endswith(".png")]
    assert set(paths) == expected
    for path in paths:
        content = Path(server.download_artifacts(run_id, path, str(tmp_path))).read_bytes()
        assert content.startswith(b"\x89PNG"), path
        assert len(content) > 3000, path


@pytest.mark.parametrize(("model", "terms"), [("ae", ()), ("cae", ("contraction",)), ("vae", ("kl",))])
def test_the_curves_have_a_row_an_epoch_and_the_probe_where_it_is_due(model, terms, embedded):
    curves = pd.read_csv(folder(embedded, model) / "curves.csv")
    assert curves["epoch"].tolist() == list(range(1, 13))
    assert curves["update"].tolist() == list(range(5, 65, 5))
    names = [f"{split}_{name}" for split in ("train", "validation") for name in ("loss", *terms)]
    assert set(curves.columns) == {"epoch", "update", *names, "probe_validation_accuracy"}
    assert curves["epoch"][curves["probe_validation_accuracy"].notna()].tolist() == [8, 12]
    assert curves[[name for name in names if name.startswith("train")]].notna().all(axis=None)


@pytest.mark.parametrize("model", NETWORKS)
def test_the_loss_falls(model, embedded):
    loss = pd.read_csv(folder(embedded, model) / "curves.csv")["train_loss"]
    assert loss.iloc[-1] < 0.8 * loss.iloc[0]


@pytest.mark.parametrize("model", embeddings.MODELS)
def test_composers_that_sound_different_lie_apart(model, embedded):
    vectors = np.load(folder(embedded, model) / "vectors.npy")
    centres = np.stack([vectors[TRAINING][code::2].mean(axis=0) for code in (0, 1)])
    nearest = np.linalg.norm(vectors[TEST, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == TEST % 2).mean() > 0.9


@pytest.mark.parametrize("model", NETWORKS)
def test_samples_are_validation_clips_in_db_and_what_comes_back_of_them(model, embedded):
    samples = np.load(folder(embedded, model) / "samples.npz")
    assert set(samples.files) == {"rows", "originals", "reconstructions"} | ({"generated"} if model == "vae" else set())
    assert set(samples["rows"]) <= set(HELD_OUT)
    assert sorted(samples["rows"] % 2) == [0, 1]  # one clip a composer
    np.testing.assert_array_equal(samples["originals"], spectrograms()[samples["rows"]])
    copies = samples["reconstructions"]
    assert copies.shape == samples["originals"].shape
    assert (copies >= -80.0).all()
    assert (copies <= 0.0).all()
    grey = np.abs(samples["originals"] - -40.0).mean()
    assert np.abs(copies - samples["originals"]).mean() < 0.8 * grey


@pytest.mark.parametrize("model", NETWORKS)
def test_every_test_clip_has_the_distance_of_its_reconstruction(model, embedded):
    table = pd.read_csv(folder(embedded, model) / "generation.csv")
    assert table.columns.tolist() == ["clip", "composer", "work", "log_spectral_distance"]
    assert table["clip"].tolist() == TEST.tolist()
    assert table["composer"].tolist() == ["a", "b"] * 6
    array = spectrograms()
    mean = array[TRAINING].mean(axis=0, keepdims=True).repeat(12, axis=0)
    bound = generation.log_spectral_distance(array[TEST], mean).mean()  # what a model that tells nothing apart reaches
    assert 0.0 < table["log_spectral_distance"].mean() < 0.8 * bound
    logged_value = run_of(embedded, model).data.metrics["log_spectral_distance"]
    assert logged_value == pytest.approx(table["log_spectral_distance"].mean())


@pytest.mark.parametrize("model", NETWORKS)
def test_reconstructions_and_generated_clips_are_compared_with_test_clips(model, embedded):
    table = pd.read_csv(folder(embedded, model) / "frechet.csv")
    assert table.columns.tolist() == ["what", "frechet", "frechet_spectrum", "frechet_moves", "clips"]
    kinds = ["generated"] if model == "vae" else []
    assert table["what"].tolist() == [*kinds, "reconstructed", "training"]
    assert (table["clips"] == 12).all()
    assert (table["frechet"] > 0.0).all()
    metrics = run_of(embedded, model).data.metrics
    for row in table.itertuples():
        assert metrics[f"frechet_{row.what}"] == pytest.approx(row.frechet)


def test_the_vae_keeps_clips_of_its_prior_in_db(embedded):
    invented = np.load(folder(embedded, "vae") / "samples.npz")["generated"]
    assert invented.shape == (8, 4, 7)
    assert invented.dtype == np.float32
    assert (invented >= -80.0).all()
    assert (invented <= 0.0).all()
    assert len(np.unique(invented.reshape(8, -1), axis=0)) == 8


@pytest.mark.parametrize("model", embeddings.MODELS)
def test_one_run_holds_settings_data_and_the_model(model, embedded):
    run = run_of(embedded, model)
    assert run.info.status == "FINISHED"
    assert len(runs(embedded, f"params.model = '{model}'")) == 1
    expected = {"representation": "mel", "dimensions": "5", "training_clips": "40", "split": "work", "seed": "0"}
    assert expected.items() <= run.data.params.items()
    assert {item.dataset.name for item in run.inputs.dataset_inputs} == {"out/features/mel.npy", "out/clips/clips.csv"}
    names = logged_names(embedded, run.info.run_id)
    assert {"model", "scatter.png"} <= names
    assert not any("test" in name for name in run.data.metrics)


@pytest.mark.parametrize("model", NETWORKS)
def test_metrics_come_by_update_and_reconstructions_by_epoch(model, embedded):
    run_id, server = run_of(embedded, model).info.run_id, client(embedded)
    curves = pd.read_csv(folder(embedded, model) / "curves.csv")
    for name in ("train_loss", "validation_loss", "probe_validation_accuracy"):
        history = [(metric.step, metric.value) for metric in server.get_metric_history(run_id, name)]
        rows = curves[["update", name]].dropna()
        assert history == [(int(update), pytest.approx(value)) for update, value in rows.itertuples(index=False)], name
    images = [Path(artifact.path).name for artifact in server.list_artifacts(run_id, "images")]
    steps = [name.split("+")[2] for name in images if name.startswith("reconstructions") and name.endswith(".png")]
    assert sorted(steps, key=int) == ["8", "12"]


def test_the_explained_variance_of_the_pca_is_logged_and_written_by_component(embedded):
    total = run_of(embedded, "pca").data.metrics["explained_variance"]
    assert 0.5 < total < 1.0
    table = pd.read_csv(folder(embedded, "pca") / "explained_variance.csv")
    assert table["component"].tolist() == [1, 2, 3, 4, 5]
    assert table["share"].sum() == pytest.approx(total)
    assert table["share"].is_monotonic_decreasing


@pytest.mark.parametrize("model", embeddings.MODELS)
def test_test_clips_do_not_reach_the_model(model, embedded, other_test_clips):
    before, after = (np.load(folder(project, model) / "vectors.npy") for project in (embedded, other_test_clips))
    np.testing.assert_array_equal(after[:48], before[:48])
    assert (after[TEST] != before[TEST]).any(axis=1).all()


@pytest.mark.parametrize("model", NETWORKS)
def test_the_same_seed_gives_the_same_curves(model, embedded, other_test_clips):
    one, other = ((folder(project, model) / "curves.csv").read_bytes() for project in (embedded, other_test_clips))
    assert one == other


@pytest.mark.parametrize("model", ["pca", "vae"])
def test_the_same_seed_gives_the_same_bytes_twice(model, embedded, settings):
    before = files_of(folder(embedded, model))
    embeddings.run(embedded, small(settings), model, "mel")
    after = files_of(folder(embedded, model))
    assert set(after) == set(before)
    for name, content in before.items():
        assert after[name] == content, name


def test_mfcc_beyond_four_deviations_are_cut_and_come_back_as_coefficients(embedded, settings):
    embeddings.run(embedded, small(settings), "ae", "mfcc")
    samples = np.load(folder(embedded, "ae", "mfcc") / "samples.npz")
    scaled = symmetric("mfcc", spectrograms(), TRAINING, 80.0)
    low, high = scaled.undo(-np.ones((4, 1))), scaled.undo(np.ones((4, 1)))
    assert (samples["reconstructions"] >= low).all()
    assert (samples["reconstructions"] <= high).all()
    assert np.abs(samples["reconstructions"] - samples["originals"]).mean() < 8.0
    assert not list(folder(embedded, "ae", "mfcc").glob("generat*"))  # decibels of a coefficient mean nothing
    assert not (folder(embedded, "ae", "mfcc") / "frechet.csv").exists()


@pytest.fixture
def fresh(tmp_path) -> Project:
    return project_in(tmp_path, spectrograms())


def test_a_failing_embedding_leaves_no_files_and_a_failed_run(fresh, changed):
    with pytest.raises(UserError, match="at most 40, the number of training clips"):
        embeddings.run(fresh, changed(embeddings__dimensions=41), "pca", "mel")
    assert not folder(fresh, "pca").exists()
    (run,) = runs(fresh)
    assert run.info.status == "FAILED"
    assert "at most 40, the number of training clips" in run.data.tags["failure"]


def test_a_training_that_diverges_names_its_model_and_fold(fresh, settings):
    with pytest.raises(UserError, match=r"ae-mel work-0: loss is (nan|inf) at update \d+; the training has diverged"):
        embeddings.run(fresh, small(settings, learning_rate=1e30), "ae", "mel")
    assert not folder(fresh, "ae").exists()
    (run,) = runs(fresh)
    assert run.info.status == "FAILED"
    assert re.search(r"loss is (nan|inf) at update \d+", run.data.tags["failure"])


def test_an_unknown_model_is_named_with_those_that_exist(fresh, changed):
    with pytest.raises(UserError, match="unknown embedding 'umap'; expected one of pca, ae, cae, vae"):
        embeddings.run(fresh, changed(), "umap", "mel")


def test_missing_features_are_named_with_the_stage_that_writes_them(fresh, changed):
    with pytest.raises(UserError, match=r"chroma\.npy is missing; `dvc repro features` writes it"):
        embeddings.run(fresh, changed(), "pca", "chroma")


# the learner ----------------------------------------------------------------------------------------------------------


def train(kind: str, settings: dict[str, Any], updates: int = 60, seed: int = 0, **changes: Any) -> Any:
    """A learner after updates on all training clips, and its scaled clips."""
    array = spectrograms()
    source = Source(array, symmetric("mel", array, TRAINING, 80.0), torch.device("cpu"))
    network_settings = getattr(params.check(settings).embeddings, kind).model_copy(update=changes)
    learner = AutoencoderLearner(kind, source, 5, network_settings, seed)
    losses_by_update = [{name: float(value) for name, value in learner.step(TRAINING).items()} for _ in range(updates)]
    return SimpleNamespace(learner=learner, x=source.batch(HELD_OUT).flatten(1), losses=losses_by_update)


def jacobian_norm(training: Any) -> float:
    return losses.contractive_exact(training.learner.network.encoder, training.x).item()


def test_the_contraction_lowers_the_jacobian_against_the_autoencoder_trained_alike(settings):
    plain, contractive = (jacobian_norm(train(kind, settings, 40)) for kind in ("ae", "cae"))
    assert contractive < 0.1 * plain


def test_without_contraction_the_contractive_autoencoder_is_the_plain_one(settings):
    plain, none = train("ae", settings, 3), train("cae", settings, 3, contraction=0.0)
    assert [update["loss"] for update in plain.losses] == [update["loss"] for update in none.losses]


def test_the_autoencoders_loss_is_the_mean_over_values_and_the_vaes_their_sum(settings):
    plain, variational = (train(kind, settings, 1) for kind in ("ae", "vae"))
    spread = float(plain.x.square().mean())
    assert plain.losses[0]["loss"] == pytest.approx(spread, rel=0.3)
    expected = 0.5 * 28 * spread + variational.losses[0]["kl"]
    assert variational.losses[0]["loss"] == pytest.approx(expected, rel=0.3)


def test_validation_losses_are_the_same_at_every_call_and_change_nothing(settings):
    training = train("vae", settings, 5)
    state = training.learner.rng.get_state()
    assert training.learner.losses(HELD_OUT) == training.learner.losses(HELD_OUT)
    assert torch.equal(training.learner.rng.get_state(), state)


def test_validation_losses_do_not_depend_on_the_size_of_the_parts(settings, monkeypatch):
    training = train("cae", settings, 5)
    whole = training.learner.losses(TRAINING)
    monkeypatch.setattr("symphony2vec.models.embeddings.learner.BATCH", 7)
    assert training.learner.losses(TRAINING)["validation_loss"] == pytest.approx(whole["validation_loss"], rel=0.05)
    np.testing.assert_allclose(training.learner.encode(TRAINING), training.learner.encode(TRAINING), atol=1e-5)


def test_a_seed_is_one_start_whatever_random_numbers_were_used_before(settings):
    one = train("ae", settings, 0, seed=4).learner.encode(TRAINING)
    torch.rand(10)
    np.testing.assert_array_equal(train("ae", settings, 0, seed=4).learner.encode(TRAINING), one)
    assert (train("ae", settings, 0, seed=5).learner.encode(TRAINING) != one).any()


def test_the_embedding_of_the_vae_is_its_mean_without_noise(settings):
    training = train("vae", settings, 5)
    with torch.no_grad():
        mean, _ = training.learner.network.posterior(training.x)
    np.testing.assert_array_equal(training.learner.encode(HELD_OUT), mean)


@pytest.mark.parametrize("kind", NETWORKS)
def test_to_generate_from_the_codes_of_clips_is_to_reconstruct_them(kind, settings):
    learner = train(kind, settings, 2).learner
    again = learner.generate(learner.encode(HELD_OUT))
    np.testing.assert_array_equal(again, learner.reconstruct(HELD_OUT))


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_encoder_can_be_made_again_from_what_is_logged(kind, settings):
    learner, x = (training := train(kind, settings, 2)).learner, training.x
    again = networks.Encoder(**learner.build["arguments"])
    again.load_state_dict(learner.network.encoder.state_dict())
    with torch.no_grad():
        np.testing.assert_array_equal(again.encode(x), learner.encode(HELD_OUT))
