"""The training loop on a regression of two weights; the way through all folds; the clips."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn.functional import dropout

from conftest import ROOT, client, of_licence, runs
from symphony2vec import params, tracking
from symphony2vec.errors import UserError
from symphony2vec.models.training import folds as folds
from symphony2vec.models.training import loop
from symphony2vec.models.training import source as sources
from symphony2vec.package.scaling import standard
from symphony2vec.project import Project, SplitFold, key_of, read_json, write_array, write_table

ROWS = np.arange(100, 159)  # 59 rows: in batches of 8, 7 updates an epoch
PLAN = loop.Schedule(epochs=6, batch=8, seed=3)
UPDATES = 42


class StopError(Exception):
    """The training is interrupted here."""


class Regression:
    """y = 2 x0 - x1 with two weights; noise from its own generator, dropout from torch's global one."""

    def __init__(self) -> None:
        self.rng = torch.Generator().manual_seed(7)
        self.weights = torch.zeros(2, requires_grad=True)
        self.seen: list[np.ndarray] = []
        self._optimiser = torch.optim.Adam([self.weights], lr=0.05)

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        self.seen.append(rows)
        x = torch.sin(torch.as_tensor(rows)[:, None] * torch.tensor([1.0, 1.7]))
        y = x @ torch.tensor([2.0, -1.0]) + 0.1 * torch.randn(len(rows), generator=self.rng)
        loss = (dropout(x, 0.3) @ self.weights - y).square().mean()
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return {"loss": loss.detach(), "size": self.weights.detach().norm()}

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights.detach(), "optimiser": self._optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.weights.copy_(state["weights"])
        self._optimiser.load_state_dict(state["optimiser"])

    @property
    def solution(self) -> list[float]:
        return self.weights.tolist()


class Breaking(Regression):
    """Raises before the update of this number, counted from the start of this process."""

    def __init__(self, update: int) -> None:
        super().__init__()
        self._update = update

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        if len(self.seen) + 1 == self._update:
            raise StopError
        return super().step(rows)


class Diverging(Regression):
    """The loss `name` becomes `value` at the update of this number."""

    def __init__(self, **at: tuple[int, float]) -> None:
        super().__init__()
        self._at = at

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        losses = dict(super().step(rows))
        for name, (update, value) in self._at.items():
            if len(self.seen) >= update:
                losses[name] = torch.tensor(value)
        return losses


def nothing(*_: Any) -> dict[str, float]:
    return {}


def random_metric(epoch: int) -> dict[str, float]:
    """An evaluation that uses random numbers, as an evaluation may."""
    return {"validation": float(torch.rand(1)) + epoch}


def fit(learner: Regression, folder: Path, schedule: loop.Schedule = PLAN, **other: Any) -> list[dict[str, float]]:
    arguments = {"evaluate": random_metric, "on_epoch": nothing, **other}
    return loop.fit(learner, ROWS, schedule, "tiny work-0", folder, **arguments)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Curves and weights of a training that nothing interrupted, without any checkpoint."""
    learner = Regression()
    curves = fit(learner, tmp_path_factory.mktemp("kept"))
    return SimpleNamespace(curves=curves, weights=learner.solution, seen=learner.seen)


# the loop -------------------------------------------------------------------------------------------------------------


def test_the_training_learns(undisturbed):
    losses = [row["train_loss"] for row in undisturbed.curves]
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("update", [1, 2, 7, 8, 20, 42])
def test_an_interrupted_training_goes_on_to_the_same_bits(update, tmp_path, undisturbed):
    with pytest.raises(StopError):
        fit(Breaking(update), tmp_path, checkpoint_every_s=0.0)
    learner = Regression()
    assert fit(learner, tmp_path, checkpoint_every_s=0.0) == undisturbed.curves
    assert learner.solution == undisturbed.weights
    assert len(learner.seen) == UPDATES - update + 1  # nothing is done twice


def test_a_training_interrupted_again_and_again_ends_in_the_same_bits(tmp_path, undisturbed):
    for times in itertools.count():
        learner = Breaking(5)
        try:
            curves = fit(learner, tmp_path, checkpoint_every_s=0.0)
            break
        except StopError:
            assert times < UPDATES
    assert times == (UPDATES - 1) // 4
    assert (curves, learner.solution) == (undisturbed.curves, undisturbed.weights)


def print_updates(folder: str) -> None:
    """Run in the process that is killed: a training that prints each update and writes its results."""
    learner = Regression()
    step = learner.step

    def slow(rows: np.ndarray) -> Mapping[str, Tensor]:
        print(len(learner.seen), flush=True)
        time.sleep(0.01)
        return step(rows)

    learner.step = slow  # type: ignore[method-assign]
    curves = fit(learner, Path(folder), checkpoint_every_s=0.0)
    pd.DataFrame(curves).to_csv(Path(folder, "curves.csv"), index=False)
    np.save(Path(folder, "weights.npy"), learner.weights.detach().numpy())


@pytest.mark.slow
def test_a_killed_process_started_again_ends_in_the_same_bits(tmp_path, undisturbed):
    words = [sys.executable, "-c", f"import test_training; test_training.print_updates({str(tmp_path)!r})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    begin = partial(subprocess.Popen, words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    rng = np.random.default_rng()
    updates = rng.integers(2, 14, size=2).tolist()
    for update in updates:
        with begin() as process:
            for _ in range(update):
                assert process.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.02))  # in the step, or while the checkpoint is written
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "checkpoint.pt").is_file()
    with begin() as process:
        remaining = len(process.stdout.read().split())
    assert process.returncode == 0
    assert UPDATES - sum(updates) - 6 <= remaining <= UPDATES - sum(updates) + 4, updates
    pd.DataFrame(undisturbed.curves).to_csv(tmp_path / "expected.csv", index=False)
    assert (tmp_path / "curves.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes(), updates
    assert np.load(tmp_path / "weights.npy").tolist() == undisturbed.weights, updates


LONG = loop.Schedule(epochs=3, batch=1, seed=0)  # 59 updates an epoch: looked at after 25, 50 and 59


@pytest.mark.parametrize("every_s", [0.0, 60.0])
@pytest.mark.parametrize("update", [1, 13, 25, 26, 59, 60, 97])
def test_a_loss_that_is_not_finite_is_named_with_its_update_and_no_row_follows(update, every_s, tmp_path):
    logged: list[Mapping[str, float]] = []
    learner = Diverging(size=(update, float("nan")))
    with pytest.raises(UserError, match=rf"^tiny work-0: size is nan at update {update}; the training has diverged"):
        fit(learner, tmp_path, LONG, on_epoch=logged.append, checkpoint_every_s=every_s)
    assert [row["epoch"] for row in logged] == list(range(1, (update - 1) // 59 + 1))


def test_an_infinite_loss_ends_the_training_too(tmp_path):
    with pytest.raises(UserError, match="loss is -inf at update 30"):
        fit(Diverging(loss=(30, -np.inf)), tmp_path, LONG)


def test_what_diverged_is_not_kept_as_a_checkpoint(tmp_path):
    with pytest.raises(UserError):
        fit(Diverging(loss=(5, np.nan)), tmp_path, checkpoint_every_s=0.0)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert checkpoint["progress"]["step"] == 4


def test_of_two_losses_the_one_that_was_wrong_first_is_named(tmp_path):
    with pytest.raises(UserError, match="size is inf at update 4"):
        fit(Diverging(loss=(6, np.nan), size=(4, np.inf)), tmp_path)


def give_scores(
    values: list[float], learner: Regression, weights: list[list[float]]
) -> Callable[[int], dict[str, float]]:
    """Return an evaluation that returns these scores in turn and records the weights."""

    def evaluate(epoch: int) -> dict[str, float]:
        weights.append(learner.solution)
        return {"score": values[len(weights) - 1]}

    return evaluate


@pytest.mark.parametrize(("every", "epochs"), [(1, 5), (2, 10)])
def test_patience_ends_the_training_and_brings_the_best_weights_back(every, epochs, tmp_path):
    learner, weights = Regression(), []
    plan = loop.Schedule(40, 8, 0, evaluate_every=every, patience=3, monitor="score")
    curves = fit(learner, tmp_path, plan, evaluate=give_scores([0.1, 0.5, 0.4, 0.5, 0.3, 0.9], learner, weights))
    assert len(curves) == epochs
    assert learner.solution == weights[1] != weights[-1]


def test_patience_survives_an_interruption(tmp_path):
    plan = loop.Schedule(40, 8, 0, patience=3, monitor="score")
    values = [0.1, 0.5, 0.4, 0.5, 0.3, 0.9]
    learner, weights = Breaking(4 * 7 + 3), []
    with pytest.raises(StopError):
        fit(learner, tmp_path, plan, evaluate=give_scores(values, learner, weights), checkpoint_every_s=0.0)
    again = Regression()
    assert len(fit(again, tmp_path, plan, evaluate=lambda epoch: {"score": values[epoch - 1]})) == 5
    assert again.solution == weights[1]


def test_without_patience_the_last_weights_stay_and_all_epochs_are_made(tmp_path, undisturbed):
    learner = Regression()
    curves = fit(learner, tmp_path, loop.Schedule(6, 8, 3, monitor="score"), evaluate=lambda epoch: {"score": -epoch})
    assert len(curves) == 6
    assert learner.solution == undisturbed.weights


def test_evaluation_does_not_change_the_random_numbers_of_the_training(tmp_path, undisturbed):
    learner = Regression()
    fit(learner, tmp_path, evaluate=nothing)
    assert learner.solution == undisturbed.weights


def test_another_seed_is_another_training(tmp_path, undisturbed):
    learner = Regression()
    fit(learner, tmp_path, loop.Schedule(6, 8, 4))
    assert learner.solution != undisturbed.weights


def test_every_row_is_used_at_most_once_an_epoch_in_whole_batches_and_a_new_order(undisturbed):
    assert {len(rows) for rows in undisturbed.seen} == {8}
    epochs = [np.concatenate(undisturbed.seen[start : start + 7]) for start in range(0, UPDATES, 7)]
    for order in epochs:
        assert len(set(order)) == 56
        assert set(order) <= set(ROWS)
    assert len({tuple(order) for order in epochs}) == 6
    assert set(np.concatenate(epochs)) == set(ROWS)  # what one epoch leaves out comes in another


def test_fewer_rows_than_a_batch_still_train(tmp_path):
    learner = Regression()
    curves = loop.fit(learner, ROWS[:3], PLAN, "few", tmp_path, nothing, nothing)
    assert [sorted(rows) for rows in learner.seen] == [sorted(ROWS[:3])] * 6
    assert [row["update"] for row in curves] == [1, 2, 3, 4, 5, 6]


def test_each_epoch_is_told_once_with_the_mean_of_its_losses(tmp_path):
    logged, losses, learner = [], [], Regression()
    step = learner.step
    learner.step = lambda rows: losses.append(step(rows)) or losses[-1]
    plan = loop.Schedule(7, 8, 0, evaluate_every=3)
    curves = fit(learner, tmp_path, plan, on_epoch=logged.append)
    assert logged == curves
    assert [(row["epoch"], row["update"]) for row in logged] == [(epoch, 7 * epoch) for epoch in range(1, 8)]
    assert [row["epoch"] for row in logged if "validation" in row] == [3, 6, 7]
    means = np.array([float(update["loss"]) for update in losses]).reshape(7, 7).mean(axis=1)
    np.testing.assert_allclose([row["train_loss"] for row in logged], means, rtol=1e-12)


def test_the_callers_random_numbers_are_untouched_and_do_not_matter(tmp_path, undisturbed):
    torch.manual_seed(99)
    before, learner = torch.get_rng_state(), Regression()
    fit(learner, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert learner.solution == undisturbed.weights


# the folds ------------------------------------------------------------------------------------------------------------


def project_in(root: Path, array: np.ndarray, seeds: int = 1) -> Project:
    """A project with one work a composer on each side, and `array` as its mel spectrograms."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, root / name)
    project, splits = Project(root), ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    places = np.arange(len(array))
    table = pd.DataFrame({"clip": places, "composer": np.where(places % 2, "b", "a")})
    table["split"] = [splits[place // 2 % 8] for place in places]
    table = table.assign(work=table["split"], movement="1", group=table["split"], split_by="work", file="x", start_s=0)
    write_table(project.clips, table.drop(columns=["group", "split", "split_by"]))
    of_licence(project)
    for seed in range(seeds):
        write_table(project.fold(SplitFold("work", seed)), table)
    write_array(project.feature("mel"), array.astype(np.float32))
    return project


class Training:
    """A stand-in for a training: records its tasks, writes vectors, and raises `fault` if it is set."""

    def __init__(self, project: Project, changed: Callable[..., params.Params]) -> None:
        self.project, self.changed = project, changed
        self.tasks: list[folds.Task] = []
        self.fault: BaseException | None = None

    def __call__(
        self, seeds: int = 1, fold: str | None = None, code: list[str] | None = None, **settings: Any
    ) -> list[str]:
        """The folds that were trained."""
        self.tasks = []
        settings = {"rate": 0.1, **settings}
        identity = partial(tracking.RunIdentity, "embeddings", "ae", "mel")
        features = self.project.feature("mel")
        changed_params = self.changed(folds=[f"work-{seed}" for seed in range(seeds)])
        folds.train_folds(
            self.project,
            changed_params,
            fold,
            lambda fold: identity(fold.name),
            settings,
            code or ["errors.py"],
            features,
            self._train,
        )
        return [task.fold.name for task in self.tasks]

    def _train(self, task: folds.Task) -> None:
        self.tasks.append(task)
        write_array(task.folder / "vectors.npy", np.full((len(task.clips), 2), task.fold.seed, np.float32))
        if self.fault:
            (task.checkpoint_folder / "checkpoint.pt").write_text("so far")
            raise self.fault
        task.log_epoch({"epoch": 1.0, "update": 7.0, "train_loss": 0.5, "validation_loss": float("nan")})

    def folder(self, fold: str = "work-0") -> Path:
        return self.project.out("embeddings", fold, "ae-mel")

    def run_id(self, fold: str = "work-0") -> str:
        return str(tracking.read_run_record(self.project, self.folder(fold))["run_id"])

    def finished(self) -> list[str]:
        """The folds with results; nothing else may lie beside them."""
        paths = list(self.project.out("embeddings").glob("*/*"))
        assert {path.name for path in paths} == {"ae-mel"}
        return sorted(path.parent.name for path in paths)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow, to copy: making one takes seconds."""
    project = Project(tmp_path_factory.mktemp("empty"))
    project.mlruns.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        client(project).search_experiments()
    return project.mlruns


@pytest.fixture
def training(tmp_path, changed, monkeypatch, database) -> Training:
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    shutil.copytree(database, tmp_path / "mlruns")
    return Training(project_in(tmp_path, np.arange(16.0 * 6).reshape(16, 2, 3), seeds=3), changed)


def test_a_fold_is_trained_whenever_that_is_asked_for_in_a_run_of_its_own(training):
    assert training() == ["work-0"]
    first, record = training.run_id(), (training.folder() / "run.json").read_bytes()
    assert training() == ["work-0"]
    assert {run.info.run_id for run in runs(training.project)} == {first, training.run_id()} != {first}
    assert (training.folder() / "run.json").read_bytes() == record  # the same results, whichever run produced them


def test_run_json_names_the_model_its_clips_and_its_content(training):
    training()
    fields = {"stage": "embeddings", "model": "ae", "representation": "mel", "fold": "work-0"}
    hashes = read_json(training.folder() / "run.json", "")
    assert hashes.items() >= fields.items()
    assert set(hashes) == {*fields, "clips", "content"}
    assert hashes["clips"] == key_of(training.project.fold(SplitFold("work", 0)))
    (run,) = runs(training.project)
    assert run.data.tags["content"] == hashes["content"]


def test_a_changed_setting_has_a_run_with_that_setting(training):
    training()
    assert training(rate=0.2) == ["work-0"]
    assert sorted(run.data.params["rate"] for run in runs(training.project)) == ["0.1", "0.2"]
    assert client(training.project).get_run(training.run_id()).data.params["rate"] == "0.2"


def test_work_on_other_features_clips_or_code_is_not_continued(training, tmp_path, monkeypatch):
    source = tmp_path / "source"
    shutil.copytree(folds.SOURCE, source)
    monkeypatch.setattr(folds, "SOURCE", source)
    training.fault = KeyboardInterrupt()

    def continues() -> bool:
        """Whether a training finds the checkpoint of the one before."""
        before = training.tasks[0].checkpoint_folder if training.tasks else None
        with pytest.raises(KeyboardInterrupt):
            training(code=["models/ali"])
        return training.tasks[0].checkpoint_folder == before

    assert not continues()
    assert continues()
    for name in ("package/scaling.py", "models/training/loop.py", "models/ali/networks.py"):
        (source / name).write_text("one = 2\n")
        assert not continues(), name
    for name in ("models/embeddings/networks.py", "models/pictures.py", "package/card.py", "tracking/runs.py"):
        (source / name).write_text("one = 2\n")
        assert continues(), name
    write_array(training.project.feature("mel"), np.ones((16, 2, 3), np.float32))
    assert not continues()
    table = pd.read_csv(training.project.fold(SplitFold("work", 0)))
    write_table(training.project.fold(SplitFold("work", 0)), table.assign(split=table["split"].to_numpy()[::-1]))
    assert not continues()
    assert len(list(training.project.out(".partial").iterdir())) == 1  # earlier work is removed


def test_one_fold_is_trained_alone_and_leaves_the_others(training):
    training(seeds=2)
    others = {fold: training.run_id(fold) for fold in ("work-0", "work-1")}
    assert training(seeds=3, fold="work-2") == ["work-2"]
    assert training.finished() == ["work-0", "work-1", "work-2"]
    assert {fold: training.run_id(fold) for fold in others} == others
    with pytest.raises(UserError, match=r"params\.yaml lists no fold 'work-2'; its folds are work-0, work-1"):
        training(seeds=2, fold="work-2")


def test_a_fold_that_fails_leaves_no_folder_and_a_failed_run_with_the_reason(training):
    training()
    training.fault = UserError("the loss is nan")
    with pytest.raises(UserError, match="the loss is nan"):
        training(seeds=2, fold="work-1")
    assert training.finished() == ["work-0"]
    (failed,) = runs(training.project, "attributes.status = 'FAILED'")
    assert failed.data.tags["failure"] == "UserError: the loss is nan"
    assert failed.data.tags["fold"] == "work-1"


def test_a_fold_that_fails_leaves_its_earlier_results(training):
    training()
    before = training.run_id()
    training.fault = UserError("the loss is nan")
    with pytest.raises(UserError, match="the loss is nan"):
        training()
    assert training.finished() == ["work-0"]
    assert training.run_id() == before


def test_a_stopped_fold_is_killed_and_goes_on_as_the_same_run(training):
    training.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        training()
    assert not training.folder().exists()
    (killed,) = runs(training.project)
    assert killed.info.status == "KILLED"
    training.fault = None
    assert training() == ["work-0"]
    (finished,) = runs(training.project)
    assert (finished.info.run_id, finished.info.status) == (killed.info.run_id, "FINISHED")
    assert "failure" not in finished.data.tags
    assert training.run_id() == killed.info.run_id


def test_the_checkpoint_of_a_stopped_fold_is_there_next_time_and_gone_at_the_end(training):
    training.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        training()
    training.fault = UserError("again")
    kept = training.tasks[0].checkpoint_folder
    assert (kept / "checkpoint.pt").read_text() == "so far"
    with pytest.raises(UserError):
        training(rate=0.2)
    assert training.tasks[0].checkpoint_folder != kept  # other settings do not pick up this work
    training.fault = None
    training()
    assert training.tasks[0].checkpoint_folder == kept
    assert not kept.exists()


def test_a_run_deleted_meanwhile_does_not_stop_the_training(training):
    training.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        training()
    (killed,) = runs(training.project)
    client(training.project).delete_run(killed.info.run_id)
    training.fault = None
    assert training() == ["work-0"]
    assert training.run_id() != killed.info.run_id


def test_a_run_holds_its_settings_and_what_was_told_by_update(training):
    training()
    (run,) = runs(training.project)
    expected = {
        "entry": "ae-mel",
        "model": "ae",
        "representation": "mel",
        "split": "work",
        "seed": "0",
        "rate": "0.1",
        "clips": "16",
    }
    assert {**expected, "training_clips": "8", "features.mel_bands": "64"}.items() <= run.data.params.items()
    history = client(training.project).get_metric_history(run.info.run_id, "train_loss")
    assert [(metric.step, metric.value) for metric in history] == [(7, 0.5)]
    assert "validation_loss" not in run.data.metrics  # it was no number


def test_a_task_has_the_rows_of_its_splits_and_the_codes_of_its_composers(training):
    training()
    (task,) = training.tasks
    assert task.rows("train").tolist() == list(range(8))
    assert task.rows("validation", "test").tolist() == list(range(8, 16))
    assert task.composers == ["a", "b"]
    assert task.codes.tolist() == [0, 1] * 8


# the clips ------------------------------------------------------------------------------------------------------------


def test_cached_clips_and_read_clips_give_the_same_batches(tmp_path, monkeypatch):
    write_array(tmp_path / "mel.npy", np.random.default_rng(0).normal(3, 2, (600, 3, 4)).astype(np.float32))
    array = np.load(tmp_path / "mel.npy", mmap_mode="r")
    scaled = standard(array, np.arange(400))
    held = sources.Source(array, scaled, torch.device("cpu"))
    monkeypatch.setattr(sources, "CACHE_BYTES", array.nbytes - 1)
    read = sources.Source(array, scaled, torch.device("cpu"))
    rows = np.random.default_rng(1).permutation(600)[:520]
    batch = read.batch(rows)
    assert torch.equal(batch, held.batch(rows))
    np.testing.assert_allclose(batch, (array[rows] - scaled.offset[:, None]) / scaled.scale[:, None], rtol=1e-6)
    assert batch.dtype == torch.float32
    assert held.shape == read.shape == (3, 4)


def test_a_large_array_is_not_cached(monkeypatch):
    array = np.zeros((8, 3, 4), np.float32)
    scaled = standard(array, np.arange(8))
    held = sources.Source(array, scaled, torch.device("cpu"))
    monkeypatch.setattr(sources, "CACHE_BYTES", array.nbytes - 1)
    read = sources.Source(array, scaled, torch.device("cpu"))
    array += 1.0
    assert float(held.batch(np.arange(8)).max()) == 0.0
    assert float(read.batch(np.arange(8)).min()) == 1.0


def test_parts_hold_every_row_once_in_order():
    array = np.zeros((8, 3, 4), np.float32)
    source = sources.Source(array, standard(array, np.arange(8)), torch.device("cpu"))
    parts = source.batches(ROWS, batch_size=10)
    assert max(map(len, parts)) <= 10
    np.testing.assert_array_equal(np.concatenate(parts), ROWS)
