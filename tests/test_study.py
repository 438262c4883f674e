"""The study of ALI on 40 small clips: value of a trial, resuming, pruning, failures, repeats, and its outputs.

Most trainings are replaced by `FakeLearner`, which takes no time and whose accuracy is a function of its setting.
"""

from __future__ import annotations

import copy
import math
import os
import signal
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from conftest import client
from symphony2vec import params, tracking
from symphony2vec.errors import UserError
from symphony2vec.models.ali import attempt
from symphony2vec.models.ali import stage as ali
from symphony2vec.models.training import watch
from symphony2vec.params import Params
from symphony2vec.project import Project
from symphony2vec.report import pictures
from symphony2vec.study import pictures as study_pictures
from symphony2vec.study import search, space, trials, verdict, winner, workers
from symphony2vec.study.database import Database, requeue_dead, requeue_interrupted
from symphony2vec.study.kinds import ALI
from test_ali import SPLITS, project_in, spectrograms

RATE = 0.0001
GOOD = {"learning_rate": RATE, "discriminator_learning_rate": RATE, "beta_1": 0.5, "beta_2": 0.99, "dropout": 0.1,
        "latent": 8, "batch": 8}  # fmt: skip


def point(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


class FakeLearner:
    """Replaces the training of one setting: a learning rate above 0.0005 diverges in the second epoch."""

    def __init__(
        self, data: attempt.FoldData, latent: int, setting: params.Setting, crop: params.Crop, seed: int
    ) -> None:
        self.setting, self.seed, self.steps = setting, seed, 0
        self.rng = torch.Generator().manual_seed(seed)

    def step(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        self.steps += 1
        diverged = self.setting.learning_rate > 0.0005 and self.steps > 3
        return {"loss": torch.tensor(math.nan if diverged else 1.0 / self.steps)}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        raise AssertionError("a trial has no checkpoint")


def accuracy(learner: FakeLearner, epoch: int) -> float:
    """Return an accuracy that grows over the epochs and is best at the rate 0.0001; seed 0 favours a large dropout."""
    setting = learner.setting
    bias = 0.2 * setting.dropout if learner.seed == 0 else -0.2 * setting.dropout
    return 0.5 - 0.1 * abs(math.log10(setting.learning_rate / RATE)) + 0.01 * epoch + bias


def replace_learner(patch: pytest.MonkeyPatch) -> list[FakeLearner]:
    """Make every training a `FakeLearner`; return the list of those that were built."""
    learners: list[FakeLearner] = []

    def build(*args: Any) -> FakeLearner:
        learners.append(FakeLearner(*args))
        return learners[-1]

    def evaluate(learner: FakeLearner, data: attempt.FoldData) -> dict[str, float]:
        epoch = learner.steps // (24 // learner.setting.batch)
        return {"validation_generator_loss": 1.0, watch.PROBE_ACCURACY: accuracy(learner, epoch)}

    patch.setattr(attempt, "build_learner", build)
    patch.setattr(attempt, "evaluate", evaluate)
    patch.setattr(workers, "POLL_S", 0.05)
    return learners


class FakeRun(tracking.Run):
    """An MLflow run that is not stored."""

    def __init__(self) -> None:
        self.run_id = uuid.uuid4().hex

    def log_metrics(self, values: Any, step: int = 0) -> None:
        assert all(map(math.isfinite, values.values()))

    def set_tag(self, key: str, value: str) -> None:
        assert key
        assert value


@contextmanager
def fake_run(*_: Any) -> Iterator[FakeRun]:
    yield FakeRun()


@pytest.fixture
def learners(monkeypatch: pytest.MonkeyPatch) -> list[FakeLearner]:
    """Replace trainings, MLflow runs and figures by what takes no time; give the list of learners."""
    monkeypatch.setattr(tracking, "start_run", fake_run)
    monkeypatch.setattr(trials.StudyRun, "close_dead_runs", lambda *_: None)
    monkeypatch.setattr(study_pictures, "write_outputs", lambda *_: None)
    return replace_learner(monkeypatch)


@pytest.fixture(autouse=True)
def _own_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database to copy: making one takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def here(tmp_path: Path, mlflow_database: Path) -> Project:
    return make_project(tmp_path, mlflow_database, spectrograms())


def make_project(root: Path, mlflow_database: Path, array: np.ndarray) -> Project:
    project = project_in(root, array)
    project.mlruns.mkdir()
    (project.mlruns / "mlflow.db").write_bytes(mlflow_database.read_bytes())
    return project


def shrink(values: dict[str, Any]) -> dict[str, Any]:
    """Return parameters for trials of four epochs and few repeats."""
    values = copy.deepcopy(values)
    values["ali"]["probe_every_epochs"] = 1
    values["study"] |= {"trials": 4, "epochs": 4, "averaged_probes": 2, "startup_trials": 3, "warm_up_epochs": 1}
    values["study"] |= {"repeated_trials": 2, "seeds": 2}
    values["study"]["ali"] |= {"latent": [4, 8], "batch": [8, 12]}
    return values


@pytest.fixture(scope="module")
def small(settings: dict[str, Any]) -> Params:
    return params.check(shrink(settings))


def database(project: Project) -> Database:
    return Database.from_url(project, None)


def enqueue(project: Project, *points: dict[str, Any]) -> Database:
    """Return the database of a project whose next trials are these points."""
    opened = database(project)
    for point in points:
        opened.open_studies("ali")[0].enqueue_trial(point)
    return opened


def states(project: Project, which: int = 0) -> list[str]:
    return [trial.state.name for trial in trials_of(project, which)]


def trials_of(project: Project, which: int = 0) -> list[FrozenTrial]:
    return list(database(project).open_studies("ali")[which].trials)


def run_of(project: Project, trial: FrozenTrial) -> Any:
    return client(project).get_run(trial.user_attrs["mlflow_run_id"])


# the value of a trial ------------------------------------------------------------------------------------------------


def test_the_value_is_the_mean_of_the_last_probes_and_is_reported_at_each(here, small, learners):
    search.run(here, small, enqueue(here, point()), n_trials=1)
    (trial,) = trials_of(here)
    probes = [accuracy(learners[0], epoch) for epoch in (1, 2, 3, 4)]
    means = [probes[0], *(np.mean(probes[end - 2 : end]) for end in (2, 3, 4))]
    assert trial.intermediate_values == pytest.approx(dict(enumerate(means, start=1)))
    assert trial.value == pytest.approx(np.mean(probes[-2:]))


def test_the_winner_is_best_over_further_seeds_not_in_the_search(here, small, learners):
    opened = enqueue(here, point(dropout=0.4), point(dropout=0.0), point(learning_rate=0.00003))
    ranking = search.run(here, small, opened, n_trials=3)
    assert verdict.best_trials(opened.open_studies("ali")[0], 1)[0].number == 0
    assert [trial.number for trial in ranking] == [1, 0]  # the third is not among the two best
    assert [sorted(trial.repeats) for trial in ranking] == [[1, 2], [1, 2]]
    assert ranking[0].mean == pytest.approx(0.535)
    assert ranking[1].value > ranking[0].value > ranking[1].mean
    assert [(learner.seed, learner.setting.dropout) for learner in learners[3:]] == [
        (1, 0.4),
        (1, 0.0),
        (2, 0.4),
        (2, 0.0),
    ]


def test_a_setting_that_fails_from_one_seed_does_not_win(here, small, learners, monkeypatch):
    original = FakeLearner.step

    def step(self: FakeLearner, rows: np.ndarray) -> dict[str, torch.Tensor]:
        diverged = self.seed == 2 and self.setting.dropout == 0.0
        return {"loss": torch.tensor(math.inf)} if diverged else original(self, rows)

    monkeypatch.setattr(FakeLearner, "step", step)
    ranking = search.run(here, small, enqueue(here, point(dropout=0.0), point(dropout=0.1)), n_trials=2)
    assert [(trial.number, trial.is_stable) for trial in ranking] == [(1, True), (0, False)]
    assert math.isnan(ranking[1].repeats[2])
    count = len(learners)
    search.run(here, small, database(here), n_trials=2)
    assert len(learners) == count  # a failed repeat is not run again


def test_settings_are_rounded_to_four_digits(small):
    latent, setting = ALI.make_setting(point(learning_rate=0.000123456, beta_2=0.99987654, dropout=0.25), small)
    assert (latent, setting.learning_rate, setting.betas) == (8, 0.0001235, [0.5, 0.9999])
    assert (setting.epochs, setting.patience, setting.gate) == (4, 0, 0.0)
    _, nearly = ALI.make_setting(point(beta_2=0.99999), small)
    assert nearly.betas[1] == 0.99999


def test_every_sample_is_in_its_range_and_makes_a_setting(small):
    import optuna

    sampling_study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        point = space.suggest_point(sampling_study.ask(), small.study.ali, ALI.param_names)
        assert set(point) == set(ALI.param_names)
        assert small.study.ali.beta_2.low <= point["beta_2"] <= small.study.ali.beta_2.high
        ALI.make_setting(point, small)


# resuming -------------------------------------------------------------------------------------------------------------


def test_the_same_command_runs_only_what_is_missing(here, small, learners):
    search.run(here, small, database(here), n_trials=3)
    assert len(learners) == 3 + 4
    search.run(here, small, database(here), n_trials=3)
    assert len(learners) == 7
    search.run(here, small, database(here), n_trials=5)
    assert len(trials_of(here)) == 5


@pytest.mark.slow
def test_a_resumed_search_samples_what_an_uninterrupted_one_does(
    here, small, learners, tmp_path_factory, mlflow_database
):
    for n_trials in (2, 4, 6):
        search.run(here, small, database(here), n_trials=n_trials)
    at_once = make_project(tmp_path_factory.mktemp("once"), mlflow_database, spectrograms())
    search.run(at_once, small, database(at_once), n_trials=6)
    assert [trial.params for trial in trials_of(here)] == [trial.params for trial in trials_of(at_once)]
    other = params.check(small.model_dump() | {"study": small.study.model_dump() | {"seed": 1}})
    third = make_project(tmp_path_factory.mktemp("other"), mlflow_database, spectrograms())
    search.run(third, other, database(third), n_trials=1)
    assert trials_of(third)[0].params != trials_of(here)[0].params


def test_after_the_timeout_no_trial_begins_but_the_best_are_repeated(here, small, learners):
    search.run(here, small, database(here), n_trials=2)
    search.run(here, small, database(here), n_trials=50, timeout_s=0.0)
    assert len(trials_of(here)) == 2
    with pytest.raises(UserError, match="no trial of the study 'other' was completed"):
        search.run(here, small, database(here), name="other", timeout_s=0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "key", "value", "difference"),
    [
        ("study", "epochs", 5, "study.epochs 4, now it is 5"),
        ("study", "averaged_probes", 1, "study.averaged_probes 2, now it is 1"),
        ("ali", "crop", {"bands": "high", "frames": "random"}, "ali.crop.bands low, now it is high"),
        ("ali", "probe_every_epochs", 2, "ali.probe_every_epochs 1, now it is 2"),
    ],
)
def test_trials_of_other_conditions_are_not_mixed(section, key, value, difference, here, small, learners):
    search.run(here, small, database(here), n_trials=1)
    values = small.model_dump()
    values[section][key] = value
    with pytest.raises(UserError, match=f"began with {difference}. .* another study with --name"):
        search.run(here, params.check(values), database(here), n_trials=2)
    assert len(trials_of(here)) == 1


def test_other_spectrograms_are_another_study(here, small, learners):
    search.run(here, small, database(here), n_trials=1)
    np.save(here.feature("mel"), spectrograms() * 0.5)
    with pytest.raises(UserError, match=r"study 'ali' in .* began with the spectrograms"):
        search.run(here, small, database(here), n_trials=2)
    search.run(here, small, database(here), name="half", n_trials=1)


def test_a_range_may_be_widened_when_a_study_is_resumed(here, small, learners):
    search.run(here, small, database(here), n_trials=1)
    values = small.model_dump()
    values["study"]["ali"]["dropout"]["high"] = 0.8
    search.run(here, params.check(values), database(here), n_trials=2)
    assert states(here) == ["COMPLETE"] * 2


# what ends a trial ----------------------------------------------------------------------------------------------------


def test_a_trial_that_diverges_says_why_and_the_study_goes_on(here, small, learners, capsys):
    search.run(here, small, enqueue(here, point(learning_rate=0.0009), point()), n_trials=1)
    failed, complete = trials_of(here)
    assert (failed.state.name, complete.state.name) == ("FAIL", "COMPLETE")
    reason = "trial 0: loss is nan at update 4; the training has diverged"
    assert failed.user_attrs["failure"].startswith(reason)
    assert f"trial 0: failed: {reason}" in capsys.readouterr().out
    table = study_pictures.tabulate_trials(database(here).open_studies("ali")[0])
    assert table["state"].tolist() == ["fail", "complete"]
    assert table["reason"][0] == failed.user_attrs["failure"]


def test_a_study_whose_trials_all_fail_ends_with_the_reason(here, small, learners):
    opened = enqueue(here, *[point(learning_rate=0.0009)] * 7)
    with pytest.raises(UserError, match="5 trials in a row failed; the last one: trial 4: loss is nan"):
        search.run(here, small, opened, n_trials=2)
    assert states(here).count("FAIL") == 5


def test_a_trial_below_the_median_is_pruned_after_the_warm_up(here, small, learners):
    search.run(here, small, enqueue(here, *[point()] * 3, point(learning_rate=0.00003)), n_trials=4)
    *_, last = trials_of(here)
    assert states(here) == ["COMPLETE"] * 3 + ["PRUNED"]
    assert max(last.intermediate_values) == 1 < learners[3].setting.epochs
    assert learners[3].steps == 3


@pytest.mark.slow
def test_an_interrupted_trial_is_queued_and_run_first_when_the_study_is_resumed(here, small, monkeypatch):
    learners = replace_learner(monkeypatch)
    evaluate, opened = attempt.evaluate, enqueue(here, point(dropout=0.123), point())

    def interrupt(learner: FakeLearner, data: attempt.FoldData) -> dict[str, float]:
        if learner.setting.dropout == 0.123 and len(learners) == 1 and learner.steps == 6:
            os.kill(os.getpid(), signal.SIGINT)
            # A worker gets Ctrl-C twice: from the terminal and from its command.
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(learner, data)

    monkeypatch.setattr(attempt, "evaluate", interrupt)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        search.run(here, small, opened, n_trials=2)
    assert signal.getsignal(signal.SIGINT) is before
    assert states(here) == ["FAIL", "WAITING", "WAITING"]
    assert trials_of(here)[0].user_attrs["failure"] == "interrupted"
    assert run_of(here, trials_of(here)[0]).info.status == "KILLED"
    search.run(here, small, database(here), n_trials=2)
    assert states(here) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert sorted(trial.params["dropout"] for trial in trials_of(here)[1:]) == [0.1, 0.123]


def test_a_trial_that_kills_its_worker_has_three_attempts_and_interruptions_do_not_count(here):
    searched = enqueue(here, point()).open_studies("ali")[0]

    def fail(requeue: Callable[..., None]) -> None:
        trial = searched.ask()
        space.suggest_point(
            trial, params.read(here.params).study.ali.model_copy(update={"latent": [8], "batch": [8]}), ALI.param_names
        )
        searched.tell(trial, state=TrialState.FAIL)
        requeue(searched, searched.trials[-1])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # heartbeats are for Study.optimize
        warnings.simplefilter("ignore", ExperimentalWarning)
        interrupted, dead = requeue_interrupted, requeue_dead
        for requeue in (interrupted, dead, interrupted, dead, dead):
            assert searched.trials[-1].state is TrialState.WAITING
            fail(requeue)
    assert len(searched.trials) == 5
    assert {tuple(trial.params.values()) for trial in searched.trials} == {tuple(GOOD.values())}


def test_the_heartbeat_ends_with_its_trial(here, small, learners):
    before = threading.active_count()
    search.run(here, small, database(here), n_trials=1)
    assert threading.active_count() <= before


# outputs --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path, small: Params) -> Project:
    """A study of five trials, one of them pruned, after one that diverged; with MLflow runs and figures."""
    project = make_project(tmp_path_factory.mktemp("project"), mlflow_database, spectrograms())
    good = [point(dropout=drop, learning_rate=rate) for drop, rate in ((0.1, RATE), (0.2, 0.0002), (0.0, 0.00015))]
    opened = enqueue(project, point(learning_rate=0.0009), *good, point(learning_rate=0.00003), point(dropout=0.3))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        replace_learner(patch)
        search.run(project, small, opened, n_trials=5)
    return project


@pytest.mark.slow
def test_a_failed_and_a_pruned_trial_say_so_in_mlflow(finished):
    assert states(finished) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    failed, pruned = (run_of(finished, trials_of(finished)[number]) for number in (0, 4))
    assert failed.info.status == "FAILED"
    assert "trial 0: loss is nan at update 4" in failed.data.tags["failure"]
    assert (pruned.info.status, pruned.data.tags["trial_state"]) == ("FINISHED", "pruned")
    assert pruned.data.metrics["trial_value"] == trials_of(finished)[4].value
    assert len(client(finished).get_metric_history(pruned.info.run_id, watch.PROBE_ACCURACY)) == 1


def test_every_trial_and_repeat_is_a_run_under_that_of_the_study(finished, small):
    mlflow_client = client(finished)
    experiment = mlflow_client.get_experiment_by_name("study").experiment_id
    runs = {run.info.run_id: run for run in mlflow_client.search_runs([experiment])}
    parent = runs.pop(database(finished).open_studies("ali")[0].user_attrs["mlflow_run_id"])
    both = [trial for which in (0, 1) for trial in trials_of(finished, which)]
    assert {trial.user_attrs["mlflow_run_id"] for trial in both} == set(runs)
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "study ali")
    names = {run.info.run_name for run in runs.values()}
    assert {"trial 0", "trial 4", "trial 5 seed 1", "trial 5 seed 2"} <= names
    first = run_of(finished, trials_of(finished)[1])
    assert first.data.metrics["trial_value"] == trials_of(finished)[1].value
    curve = mlflow_client.get_metric_history(first.info.run_id, watch.PROBE_ACCURACY)
    assert [(metric.step, metric.value) for metric in curve] == [
        (3 * e, pytest.approx(0.52 + 0.01 * e)) for e in (1, 2, 3, 4)
    ]


def test_a_trials_run_has_the_parameters_of_the_stage_ali_by_the_same_names(finished, small):
    run = run_of(finished, trials_of(finished)[2])
    setting = ALI.make_setting(point(dropout=0.2, learning_rate=0.0002), small)[1]
    expected = {name: str(value) for name, value in ali.settings(small, setting, 8).items()}
    assert expected.items() <= run.data.params.items()
    assert run.data.params["discriminator_learning_rate"] == "0.0001"
    assert (run.data.params["model"], run.data.params["representation"]) == ("searched", "mel")
    assert (run.data.params["split"], run.data.params["seed"]) == ("work", "0")
    repeat = run_of(finished, trials_of(finished, 1)[0])
    assert repeat.data.params["seed"] == "1"


def test_tables_figures_and_a_page_are_in_the_folder_and_the_run(finished):
    folder = finished.out("study", "ali")
    figures = {"history.png", "importances.png", "parallel.png", "slices.png"}
    assert figures <= {path.name for path in folder.iterdir()}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in figures)
    mlflow_client = client(finished)
    parent = database(finished).open_studies("ali")[0].user_attrs["mlflow_run_id"]
    files = {file.path for file in mlflow_client.list_artifacts(parent)}
    assert files == figures | {"trials.csv", "repeats.csv", "study.html"}
    page = Path(mlflow_client.download_artifacts(parent, "study.html")).read_text(encoding="utf-8")
    assert page.count("Plotly.newPlot(") >= 4
    assert 'src="http' not in page
    metrics = mlflow_client.get_run(parent).data.metrics
    first = pd.read_csv(folder / "repeats.csv").iloc[0]
    assert (metrics["winner_trial"], metrics["winner_mean"]) == (first["trial"], pytest.approx(first["mean"]))


def test_the_report_shows_an_existing_study(finished, small, tmp_path_factory):
    from symphony2vec.report import page

    none = pd.DataFrame({"stage": [], "model": []})
    folder = tmp_path_factory.mktemp("report") / "pictures"
    pictures.gather(finished, small, none, "work-0", folder)
    assert {"study-ali-history.png", "study-ali-slices.png"} <= {path.name for path in folder.iterdir()}
    (rows,) = page._studies(finished).values()
    assert {row["trial"] for row in rows} == {1, 5}
    assert page._studies(Project(folder)) == {}


def test_the_terminal_shows_the_winner_and_the_next_commands(finished, small):
    opened = database(finished)
    ranking = verdict.rank_finalists(*opened.open_studies("ali"), small.study, 0)
    text = search.format_ranking(ranking, "ali", opened)
    assert f"optuna-dashboard 'sqlite:///{finished.mlruns / 'optuna.db'}'" in text
    assert f"trial {ranking[0].number} wins" in text
    assert "study apply --name other && dvc repro" in search.format_ranking(ranking, "other", opened)


# the real training ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_test_clips_are_not_used_and_the_stage_trains_the_winner_as_the_study_did(
    here, small, tmp_path_factory, monkeypatch
):
    """NaN in the spectrograms of the test clips would spread to everything that used them."""
    monkeypatch.setattr("symphony2vec.models.ali.latent.RESAMPLES", 50)
    values = small.model_dump()
    values["study"] |= {"epochs": 2, "repeated_trials": 1, "seeds": 1}
    changed_params, array = params.check(values), spectrograms()
    array[SPLITS == "test"] = np.nan
    np.save(here.feature("mel"), array)
    search.run(here, changed_params, enqueue(here, point(batch=12, latent=4)), n_trials=1)
    (trial,) = trials_of(here)
    latent, setting = ALI.make_setting(
        winner.select_winner(changed_params, database(here), "ali").point, changed_params
    )
    values["ali"]["searched"] = setting.model_dump()
    np.save(here.feature("mel"), spectrograms())
    ali.run(here, params.check(values), f"searched-{latent}")
    curve = pd.read_csv(here.out("ali", "work-0", "searched-4", "curves.csv"))[watch.PROBE_ACCURACY]
    assert curve.expanding().mean().tolist() == pytest.approx(list(trial.intermediate_values.values()))
    assert curve.mean() == pytest.approx(trial.value)


# the database ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["mysql://me:secret@host/db", "journal.log", "postgresql://me:secret@host:port/db"])
def test_another_kind_of_storage_is_refused_with_the_supported_ones(url, here):
    with pytest.raises(UserError, match="--storage takes sqlite:///FILE or postgresql://") as error:
        Database.from_url(here, url)
    assert "secret" not in str(error.value)


def test_a_server_that_does_not_answer_is_one_line_without_the_password(here, small, learners):
    opened = Database.from_url(here, "postgresql://me:secret@127.0.0.1:1/music")
    with pytest.raises(UserError, match=r"me:\*\*\*@127\.0\.0\.1:1/music fails: connection failed.*refused") as error:
        search.run(here, small, opened, n_trials=1)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert not learners


def test_an_invalid_file_and_a_missing_folder_are_reported_in_one_line(here, small, learners):
    (here.root / "not.db").write_text("not a database at all, but long enough for sqlite to look at it" * 20)
    for path, reason in (("not.db", "file is not a database"), ("no/such/folder.db", "unable to open database file")):
        with pytest.raises(UserError, match=f"fails: {reason}"):
            search.run(here, small, Database.from_url(here, f"sqlite:///{here.root / path}"), n_trials=1)
