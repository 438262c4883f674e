"""The stage `classifiers`: four networks learn an easy pattern and write probabilities, curves and one run each."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import ROOT, client, lasting, logged_names, of_licence, runs, with_database
from symphony2vec import params, tracking
from symphony2vec.errors import UserError
from symphony2vec.models.classifiers import stage as classifiers
from symphony2vec.models.classifiers.learner import ClassifierLearner
from symphony2vec.models.classifiers.networks import vote
from symphony2vec.models.training.source import Source
from symphony2vec.package.scaling import standard
from symphony2vec.project import Project, SplitFold, write_array, write_table

SPLITS = np.repeat(["train", "validation", "test"], [32, 8, 8])
CODES = np.arange(48) % 2
BINS = {"mel": 64, "mfcc": 13, "chroma": 12}
FRAMES = 64
TRAINED = [("ff", "chroma"), ("ff", "crop"), ("cnn", "mel"), ("cnn", "mfcc"), ("cnn", "chroma")]
TRAINED += [("fair_cnn", "mel"), ("lstm", "mfcc")]
CHUNKS = FRAMES // 16


def pattern(bins: int) -> np.ndarray:
    """(48, bins, 64): one composer is loud in the even pairs of bins, the other in the odd ones; and noise."""
    rng = np.random.default_rng(bins)
    loud = (np.arange(bins) // 2 % 2)[None, :] == CODES[:, None]
    return (10.0 * loud[:, :, None] + rng.normal(-40.0, 5.0, (48, bins, FRAMES))).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def _own_database() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        yield


def reduced(settings: dict[str, Any], **changes: Any) -> params.Params:
    """Batches of 8, few epochs at a high rate, and four chunks a clip; `changes` of every network."""
    values = copy.deepcopy(settings)
    for name, epochs in (("ff", 5), ("cnn", 8), ("fair_cnn", 5), ("lstm", 12)):
        values["classifiers"][name] |= {"epochs": epochs, "batch": 8, "learning_rate": 0.003}
    values["classifiers"]["lstm"] |= {"chunk_frames": FRAMES // CHUNKS, "learning_rate": 0.03}
    for network_settings in values["classifiers"].values():
        network_settings |= changes
    values["clips"]["duration_s"] = lasting(FRAMES)
    return params.check(values)


@pytest.fixture(scope="module")
def small(settings: dict[str, Any]) -> params.Params:
    return reduced(settings)


def project_in(root: Path) -> Project:
    """A project with 48 clips in one fold, and the three representations."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, root / name)
    project = Project(root)
    table = pd.DataFrame({"clip": range(48), "composer": np.array(["a", "b"])[CODES], "work": SPLITS, "movement": "1"})
    fold_table = table.assign(group=SPLITS, split=SPLITS, split_by="work", file="x.flac", start_s=0.0)
    write_table(project.clips, fold_table[[*table.columns, "file", "start_s"]])
    of_licence(project)
    write_table(project.fold(SplitFold("work", 0)), fold_table)
    for name, bins in BINS.items():
        write_array(project.feature(name), pattern(bins))
    return project


@pytest.fixture(scope="module")
def trained_project(tmp_path_factory, small) -> Project:
    """Every network, run once."""
    project = project_in(tmp_path_factory.mktemp("project"))
    for model, representation in TRAINED:
        classifiers.run(project, small, model, representation)
    return project


def folder(project: Project, model: str, representation: str) -> Path:
    return project.out("classifiers", "work-0", f"{model}-{representation}")


def run_of(project: Project, model: str, representation: str) -> Any:
    record = tracking.read_run_record(project, folder(project, model, representation))
    return client(project).get_run(record["run_id"])


@pytest.mark.parametrize(("model", "representation"), TRAINED)
def test_an_easy_pattern_is_learnt_from_the_training_clips(model, representation, trained_project):
    probabilities = np.load(folder(trained_project, model, representation) / "probabilities.npy")
    right = probabilities.argmax(axis=1) == CODES
    for split in ("train", "validation", "test"):
        assert right[split == SPLITS].mean() >= 0.85, split


@pytest.mark.parametrize(("model", "representation"), TRAINED)
def test_every_clip_has_probabilities_that_sum_to_1(model, representation, trained_project):
    probabilities = np.load(folder(trained_project, model, representation) / "probabilities.npy")
    assert probabilities.shape == (48, 2)
    assert probabilities.dtype == np.float32
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert len(np.unique(probabilities[:, 0])) > 24  # no two or three answers for all clips


@pytest.mark.parametrize(("model", "representation"), TRAINED)
def test_the_folder_holds_what_the_stage_promises_and_nothing_else(model, representation, trained_project):
    names = {path.name for path in folder(trained_project, model, representation).iterdir()}
    more = {"probabilities-chunks.npy"} if model == "lstm" else set()
    assert names == {"probabilities.npy", "curves.csv", "run.json", "model"} | more
    package = {path.name for path in (folder(trained_project, model, representation) / "model").iterdir()}
    assert package == {"config.json", "model.onnx", "example.flac", "golden.npy"}


@pytest.mark.parametrize(("model", "representation"), TRAINED)
def test_the_curves_fall_and_end_with_what_was_written(model, representation, trained_project, small):
    curves = pd.read_csv(folder(trained_project, model, representation) / "curves.csv")
    epochs = getattr(small.classifiers, model).epochs
    assert curves["epoch"].tolist() == list(range(1, epochs + 1))
    assert curves["update"].tolist() == list(range(4, 4 * epochs + 1, 4))
    assert curves["train_loss"].iloc[-1] < 0.7 * curves["train_loss"].iloc[0]
    probabilities = np.load(folder(trained_project, model, representation) / "probabilities.npy")
    held_out = SPLITS == "validation"
    right = (probabilities.argmax(axis=1) == CODES)[held_out].mean()
    assert curves["validation_accuracy"].iloc[-1] == right
    if model != "lstm":
        likely = probabilities[np.arange(48), CODES][held_out]
        assert curves["validation_loss"].iloc[-1] == pytest.approx(-np.log(likely).mean(), rel=1e-3)


@pytest.mark.parametrize(("model", "representation"), TRAINED)
def test_one_run_holds_settings_metrics_by_update_and_the_model(model, representation, trained_project, small):
    run, server = run_of(trained_project, model, representation), client(trained_project)
    assert run.info.status == "FINISHED"
    assert run.data.tags["kind"] == "classifier"
    expected = {"model": model, "representation": representation, "batch": "8", "training_clips": "32"}
    assert {
        **expected,
        "optimiser": "adam",
        "beta_1": "0.9",
        "split": "work",
        "seed": "0",
    }.items() <= run.data.params.items()
    seen = "mel" if representation == "crop" else representation
    assert {item.dataset.name for item in run.inputs.dataset_inputs} == {
        f"out/features/{seen}.npy",
        "out/clips/clips.csv",
    }
    curves = pd.read_csv(folder(trained_project, model, representation) / "curves.csv")
    for name, logged in {"train_loss": "train_loss", "validation_accuracy": "epoch_validation_accuracy"}.items():
        history = server.get_metric_history(run.info.run_id, logged)
        assert [metric.step for metric in history] == curves["update"].tolist()
        np.testing.assert_allclose([metric.value for metric in history], curves[name])
    assert {"model", "curves.png"} <= logged_names(trained_project, run.info.run_id)
    assert not any("test" in name for name in run.data.metrics)


def test_there_is_one_run_a_network(trained_project):
    assert len(runs(trained_project, stage="classifiers")) == len(TRAINED)


def test_the_lstm_writes_every_chunk_and_the_vote_is_theirs(trained_project):
    results = folder(trained_project, "lstm", "mfcc")
    chunks = np.load(results / "probabilities-chunks.npy")
    assert chunks.shape == (48, CHUNKS, 2)
    assert chunks.dtype == np.float32
    np.testing.assert_allclose(chunks.sum(axis=2), 1.0, atol=1e-5)
    assert (np.ptp(chunks[:, :, 0], axis=1) > 0).all()  # the chunks of a clip differ
    np.testing.assert_allclose(np.load(results / "probabilities.npy"), vote(torch.from_numpy(chunks)), rtol=1e-6)


def test_the_crop_is_the_part_of_the_mel_that_ali_takes(trained_project, small, tmp_path):
    # A network that sees bins 0 to 31 and the 32 middle frames alone must not notice anything else.
    project = project_in(tmp_path)
    array = np.random.default_rng(5).normal(0.0, 99.0, (48, 64, FRAMES)).astype(np.float32)
    array[:, :32, 16:48] = pattern(64)[:, :32, 16:48]
    write_array(project.feature("mel"), array)
    classifiers.run(project, small, "ff", "crop")
    one, other = (
        np.load(folder(project, "ff", "crop") / "probabilities.npy") for project in (trained_project, project)
    )
    np.testing.assert_array_equal(one, other)
    assert run_of(project, "ff", "crop").data.params["crop_bands"] == "low"


def test_test_clips_reach_neither_the_scaling_nor_the_weights(trained_project, small, tmp_path):
    project = project_in(tmp_path)
    array = pattern(12)
    array[SPLITS == "test"] = 500.0 - array[SPLITS == "test"]
    write_array(project.feature("chroma"), array)
    classifiers.run(project, small, "ff", "chroma")
    one, other = (
        np.load(folder(project, "ff", "chroma") / "probabilities.npy") for project in (trained_project, project)
    )
    np.testing.assert_array_equal(one[SPLITS != "test"], other[SPLITS != "test"])
    assert (one[SPLITS == "test"] != other[SPLITS == "test"]).any()
    curves = [(folder(project, "ff", "chroma") / "curves.csv").read_bytes() for project in (trained_project, project)]
    assert curves[0] == curves[1]


def test_an_unknown_model_is_named_with_those_that_exist(trained_project, small):
    with pytest.raises(UserError, match="unknown classifier 'svm'; expected one of ff, cnn, fair_cnn, lstm"):
        classifiers.run(trained_project, small, "svm", "mel")


@pytest.mark.parametrize("model", ["cnn", "fair_cnn", "lstm"])
def test_only_the_feed_forward_network_takes_crops(model, trained_project, small):
    with pytest.raises(UserError, match=rf"only the feed-forward network \(ff\) takes crops; {model} takes"):
        classifiers.run(trained_project, small, model, "crop")


def test_an_unknown_representation_is_an_error_of_one_line(trained_project, small):
    with pytest.raises(UserError, match="tonnetz") as fault:
        classifiers.run(trained_project, small, "ff", "tonnetz")
    assert "\n" not in str(fault.value)


def test_chunks_longer_than_a_clip_fail_the_run_and_leave_no_folder(small, tmp_path):
    project = project_in(tmp_path)
    values = small.model_dump()
    values["classifiers"]["lstm"]["chunk_frames"] = FRAMES + 1
    with pytest.raises(UserError, match="clips of 64 frames are shorter than a chunk of 65 frames; lower"):
        classifiers.run(project, params.check(values), "lstm", "chroma")
    assert not folder(project, "lstm", "chroma").exists()
    (run,) = runs(project, stage="classifiers")
    assert run.info.status == "FAILED"


def test_a_training_that_diverges_names_its_model_fold_and_update(settings, tmp_path, empty_database):
    project = with_database(project_in(tmp_path), empty_database)
    with pytest.raises(UserError, match=r"^ff-chroma work-0: loss is (nan|inf) at update 2; the training has diverged"):
        classifiers.run(project, reduced(settings, learning_rate=1e30), "ff", "chroma")
    assert not folder(project, "ff", "chroma").exists()
    (run,) = runs(project, stage="classifiers")
    assert run.info.status == "FAILED"
    assert re.search(r"ff-chroma work-0: loss is (nan|inf) at update 2;", run.data.tags["failure"])


# the learner ----------------------------------------------------------------------------------------------------------


def learner(model: str, small: params.Params, representation: str = "chroma", seed: int = 0) -> SimpleNamespace:
    array = pattern(BINS[representation])
    source = Source(array, standard(array, np.arange(32)), torch.device("cpu"))
    identity, settings = (
        tracking.RunIdentity("classifiers", model, representation, "work-0"),
        getattr(small.classifiers, model),
    )
    return SimpleNamespace(learner=ClassifierLearner(identity, source, CODES, 2, settings, seed), source=source)


def test_the_first_loss_is_that_of_a_guess(small):
    for model in ("cnn", "fair_cnn", "lstm"):
        loss = float(learner(model, small).learner.step(np.arange(32))["loss"])
        assert loss == pytest.approx(np.log(2), rel=0.35), model


def test_the_lstms_loss_is_the_mean_over_all_chunks(small):
    classifier = learner("lstm", small).learner
    _, chunks = classifier.probabilities(np.arange(40, 48))
    likely = np.take_along_axis(chunks, CODES[40:, None, None].repeat(CHUNKS, axis=1), axis=2)
    assert classifier.losses(np.arange(40, 48))["validation_loss"] == pytest.approx(-np.log(likely).mean(), rel=1e-5)


def test_looking_changes_neither_weights_nor_statistics_of_batches(small):
    classifier = learner("ff", small).learner
    classifier.step(np.arange(8))
    before = {name: value.clone() for name, value in classifier.network.state_dict().items()}
    classifier.losses(np.arange(40, 48))
    classifier.probabilities(np.arange(48))
    assert all(torch.equal(value, before[name]) for name, value in classifier.network.state_dict().items())


def test_the_probabilities_of_a_clip_do_not_depend_on_its_neighbours(small):
    classifier = learner("cnn", small, "mel").learner
    classifier.step(np.arange(8))
    together, alone = classifier.probabilities(np.arange(8))[0], classifier.probabilities(np.arange(3, 4))[0]
    np.testing.assert_allclose(together[3:4], alone, atol=1e-6)


@pytest.mark.parametrize("model", classifiers.MODELS)
def test_a_seed_is_one_start_and_restoring_brings_it_back(model, small):
    rows = np.arange(48)
    one, again, other = (learner(model, small, seed=seed).learner for seed in (1, 1, 2))
    start = one.probabilities(rows)[0]
    np.testing.assert_array_equal(again.probabilities(rows)[0], start)
    assert (other.probabilities(rows)[0] != start).any()
    one.step(rows[:8])
    state = copy.deepcopy(one.state_dict())
    second = [float(one.step(rows[:8])["loss"]) for _ in range(2)]
    again.load_state_dict(state)
    assert [float(again.step(rows[:8])["loss"]) for _ in range(2)] == second
