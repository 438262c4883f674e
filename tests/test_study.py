"""The study of ALI on 40 small clips: what a trial is worth, resuming, pruning, failing, repeating, and what is told.

Most trainings here are stood in for by `Swift`, which takes no time and whose accuracy is a function of its setting.
"""

from __future__ import annotations

import copy
import math
import os
import signal
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

from conftest import client
from symphony2vec import params, study, tracking
from symphony2vec.errors import UserError
from symphony2vec.models.ali import attempt
from symphony2vec.models.ali import stage as ali
from symphony2vec.params import Params
from symphony2vec.project import Project
from symphony2vec.report import pictures
from symphony2vec.study import space, trials, verdict, winner, workers
from symphony2vec.study.database import Database, requeue
from symphony2vec.study.kinds import ALI
from test_ali import SPLITS, project_in, spectrograms

RATE = 0.0001
GOOD = {"learning_rate": RATE, "discriminator_learning_rate": RATE, "beta_1": 0.5, "beta_2": 0.99, "dropout": 0.1,
        "latent": 8, "batch": 8}  # fmt: skip


def point(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


class Swift:
    """Stands for the training of one setting: a rate above 0.0005 diverges in the second epoch."""

    def __init__(
        self, heard: attempt.Heard, latent: int, setting: params.Setting, crop: params.Crop, seed: int
    ) -> None:
        self.setting, self.seed, self.steps = setting, seed, 0
        self.rng = torch.Generator().manual_seed(seed)

    def step(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        self.steps += 1
        diverged = self.setting.learning_rate > 0.0005 and self.steps > 3
        return {"loss": torch.tensor(math.nan if diverged else 1.0 / self.steps)}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Any) -> None:
        raise AssertionError("a trial has no checkpoint")


def accuracy(learner: Swift, epoch: int) -> float:
    """Better for a rate near 0.0001, growing over the epochs; seed 0 flatters a large dropout, other seeds do not."""
    setting = learner.setting
    flattered = 0.2 * setting.dropout if learner.seed == 0 else -0.2 * setting.dropout
    return 0.5 - 0.1 * abs(math.log10(setting.learning_rate / RATE)) + 0.01 * epoch + flattered


def swiftly(patch: pytest.MonkeyPatch) -> list[Swift]:
    """Every training is `Swift`; returns those that are begun."""
    begun: list[Swift] = []

    def begin(*words: Any) -> Swift:
        begun.append(Swift(*words))
        return begun[-1]

    def look(learner: Swift, heard: attempt.Heard) -> dict[str, float]:
        epoch = learner.steps // (24 // learner.setting.batch)
        return {"validation_generator_loss": 1.0, attempt.JUDGE: accuracy(learner, epoch)}

    patch.setattr(attempt, "begun", begin)
    patch.setattr(attempt, "looked_at", look)
    patch.setattr(workers, "POLL_S", 0.05)
    return begun


class Untold(tracking.Run):
    """An MLflow run that is not kept."""

    def __init__(self) -> None:
        self.run_id = uuid.uuid4().hex

    def metrics(self, values: Any, step: int = 0) -> None:
        assert all(map(math.isfinite, values.values()))

    def tag(self, key: str, value: str) -> None:
        assert key
        assert value


@contextmanager
def untold(*_: Any) -> Iterator[Untold]:
    yield Untold()


@pytest.fixture
def swift(monkeypatch: pytest.MonkeyPatch) -> list[Swift]:
    """Trainings that take no time, and nothing told to MLflow or drawn."""
    monkeypatch.setattr(tracking, "run", untold)
    monkeypatch.setattr(trials.Tracked, "close_dead", lambda *_: None)
    monkeypatch.setattr(study.pictures, "keep", lambda *_: None)
    return swiftly(monkeypatch)


@pytest.fixture(autouse=True)
def _own_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tracking.URI, raising=False)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: to make one takes seconds, to copy it none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("ready") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def here(tmp_path: Path, ready: Path) -> Project:
    return beginning(tmp_path, ready, spectrograms())


def beginning(root: Path, ready: Path, array: np.ndarray) -> Project:
    made = project_in(root, array)
    made.mlruns.mkdir()
    (made.mlruns / "mlflow.db").write_bytes(ready.read_bytes())
    return made


def shrink(values: dict[str, Any]) -> dict[str, Any]:
    """Trials of four epochs and few repeats."""
    values = copy.deepcopy(values)
    values["ali"]["probe_every_epochs"] = 1
    values["study"] |= {"trials": 4, "epochs": 4, "averaged": 2, "startup_trials": 3, "warm_up_epochs": 1}
    values["study"] |= {"repeated": 2, "seeds": 2}
    values["study"]["ali"] |= {"latent": [4, 8], "batch": [8, 12]}
    return values


@pytest.fixture(scope="module")
def small(settings: dict[str, Any]) -> Params:
    return params.check(shrink(settings))


def database(project: Project) -> Database:
    return Database.of(project, None)


def enqueued(project: Project, *points: dict[str, Any]) -> Database:
    """The database of a project whose next trials are these."""
    kept = database(project)
    for one in points:
        kept.studies("ali")[0].enqueue_trial(one)
    return kept


def states(project: Project, which: int = 0) -> list[str]:
    return [trial.state.name for trial in trials_of(project, which)]


def trials_of(project: Project, which: int = 0) -> list[FrozenTrial]:
    return list(database(project).studies("ali")[which].trials)


def run_of(project: Project, trial: FrozenTrial) -> Any:
    return client(project).get_run(trial.user_attrs["mlflow_run_id"])


# what a trial is worth ------------------------------------------------------------------------------------------------


def test_a_trial_is_worth_the_mean_of_its_last_probes_and_reports_that_mean_at_each(here, small, swift):
    study.run(here, small, enqueued(here, point()), wanted=1)
    (trial,) = trials_of(here)
    probes = [accuracy(swift[0], epoch) for epoch in (1, 2, 3, 4)]
    means = [probes[0], *(np.mean(probes[end - 2 : end]) for end in (2, 3, 4))]
    assert trial.intermediate_values == pytest.approx(dict(enumerate(means, start=1)))
    assert trial.value == pytest.approx(np.mean(probes[-2:]))


def test_the_winner_is_best_from_other_seeds_and_not_the_one_that_the_search_flattered(here, small, swift):
    kept = enqueued(here, point(dropout=0.4), point(dropout=0.0), point(learning_rate=0.00003))
    found = study.run(here, small, kept, wanted=3)
    assert verdict.best(kept.studies("ali")[0], 1)[0].number == 0
    assert [one.number for one in found] == [1, 0]  # the third is not among the two best
    assert [sorted(one.seeds) for one in found] == [[1, 2], [1, 2]]
    assert found[0].mean == pytest.approx(0.535)
    assert found[1].value > found[0].value > found[1].mean
    assert [(learner.seed, learner.setting.dropout) for learner in swift[3:]] == [
        (1, 0.4),
        (1, 0.0),
        (2, 0.4),
        (2, 0.0),
    ]


def test_a_setting_that_fails_from_one_seed_does_not_win(here, small, swift, monkeypatch):
    original = Swift.step

    def step(self: Swift, rows: np.ndarray) -> dict[str, torch.Tensor]:
        diverged = self.seed == 2 and self.setting.dropout == 0.0
        return {"loss": torch.tensor(math.inf)} if diverged else original(self, rows)

    monkeypatch.setattr(Swift, "step", step)
    found = study.run(here, small, enqueued(here, point(dropout=0.0), point(dropout=0.1)), wanted=2)
    assert [(one.number, one.sound) for one in found] == [(1, True), (0, False)]
    assert math.isnan(found[1].seeds[2])
    begun = len(swift)
    study.run(here, small, database(here), wanted=2)
    assert len(swift) == begun  # a repeat that failed is not tried for ever


def test_numbers_are_rounded_to_what_is_written_down(small):
    latent, setting = ALI.setting(point(learning_rate=0.000123456, beta_2=0.99987654, dropout=0.25), small)
    assert (latent, setting.learning_rate, setting.betas) == (8, 0.0001235, [0.5, 0.9999])
    assert (setting.epochs, setting.patience, setting.gate) == (4, 0, 0.0)
    _, nearly = ALI.setting(point(beta_2=0.99999), small)
    assert nearly.betas[1] == 0.99999


def test_every_draw_is_in_its_range_and_makes_a_setting(small):
    import optuna

    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        found = space.suggested(drawn.ask(), small.study.ali, ALI.drawn)
        assert set(found) == set(ALI.drawn)
        assert small.study.ali.beta_2.low <= found["beta_2"] <= small.study.ali.beta_2.high
        ALI.setting(found, small)


# going on -------------------------------------------------------------------------------------------------------------


def test_the_same_command_runs_only_what_is_missing(here, small, swift):
    study.run(here, small, database(here), wanted=3)
    assert len(swift) == 3 + 4
    study.run(here, small, database(here), wanted=3)
    assert len(swift) == 7
    study.run(here, small, database(here), wanted=5)
    assert len(trials_of(here)) == 5


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(here, small, swift, tmp_path_factory, ready):
    for wanted in (2, 4, 6):
        study.run(here, small, database(here), wanted=wanted)
    at_once = beginning(tmp_path_factory.mktemp("once"), ready, spectrograms())
    study.run(at_once, small, database(at_once), wanted=6)
    assert [trial.params for trial in trials_of(here)] == [trial.params for trial in trials_of(at_once)]
    other = params.check(small.model_dump() | {"study": small.study.model_dump() | {"seed": 1}})
    third = beginning(tmp_path_factory.mktemp("other"), ready, spectrograms())
    study.run(third, other, database(third), wanted=1)
    assert trials_of(third)[0].params != trials_of(here)[0].params


def test_when_the_time_is_up_no_trial_begins_but_the_best_are_repeated(here, small, swift):
    study.run(here, small, database(here), wanted=2)
    study.run(here, small, database(here), wanted=50, timeout_s=0.0)
    assert len(trials_of(here)) == 2
    with pytest.raises(UserError, match="no trial of the study 'other' was completed"):
        study.run(here, small, database(here), name="other", timeout_s=0.0)


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        ("study", "epochs", 5, "study.epochs 4, now it is 5"),
        ("study", "averaged", 1, "study.averaged 2, now it is 1"),
        ("ali", "crop", {"bands": "high", "frames": "random"}, "ali.crop.bands low, now it is high"),
        ("ali", "probe_every_epochs", 2, "ali.probe_every_epochs 1, now it is 2"),
    ],
)
def test_trials_of_other_conditions_are_not_mixed(section, key, value, named, here, small, swift):
    study.run(here, small, database(here), wanted=1)
    values = small.model_dump()
    values[section][key] = value
    with pytest.raises(UserError, match=f"was begun with {named}; .* another study with --name"):
        study.run(here, params.check(values), database(here), wanted=2)
    assert len(trials_of(here)) == 1


def test_other_spectrograms_are_another_study(here, small, swift):
    study.run(here, small, database(here), wanted=1)
    np.save(here.feature("mel"), spectrograms() * 0.5)
    with pytest.raises(UserError, match=r"the study 'ali' in .* was begun with the spectrograms"):
        study.run(here, small, database(here), wanted=2)
    study.run(here, small, database(here), name="half", wanted=1)


def test_a_range_may_be_widened_while_a_study_goes_on(here, small, swift):
    study.run(here, small, database(here), wanted=1)
    values = small.model_dump()
    values["study"]["ali"]["dropout"]["high"] = 0.8
    study.run(here, params.check(values), database(here), wanted=2)
    assert states(here) == ["COMPLETE"] * 2


# what ends a trial ----------------------------------------------------------------------------------------------------


def test_a_trial_that_diverges_says_why_and_the_study_goes_on(here, small, swift, capsys):
    study.run(here, small, enqueued(here, point(learning_rate=0.0009), point()), wanted=1)
    failed, complete = trials_of(here)
    assert (failed.state.name, complete.state.name) == ("FAIL", "COMPLETE")
    reason = "trial 0: loss is nan at update 4; the training has diverged"
    assert failed.user_attrs["failure"].startswith(reason)
    assert f"trial 0: failed: {reason}" in capsys.readouterr().out
    table = study.pictures.trials(database(here).studies("ali")[0])
    assert table["state"].tolist() == ["fail", "complete"]
    assert table["reason"][0] == failed.user_attrs["failure"]


def test_a_study_whose_trials_all_fail_ends_with_the_reason(here, small, swift):
    kept = enqueued(here, *[point(learning_rate=0.0009)] * 7)
    with pytest.raises(UserError, match="5 trials in a row failed, the last one because: trial 4: loss is nan"):
        study.run(here, small, kept, wanted=2)
    assert states(here).count("FAIL") == 5


def test_a_trial_below_the_median_is_pruned_after_the_warm_up(here, small, swift):
    study.run(here, small, enqueued(here, *[point()] * 3, point(learning_rate=0.00003)), wanted=4)
    *_, last = trials_of(here)
    assert states(here) == ["COMPLETE"] * 3 + ["PRUNED"]
    assert max(last.intermediate_values) == 1 < swift[3].setting.epochs
    assert swift[3].steps == 3


def test_an_interrupted_trial_is_given_back_and_run_first_when_the_study_goes_on(here, small, monkeypatch):
    swift = swiftly(monkeypatch)
    looked_at, kept = attempt.looked_at, enqueued(here, point(dropout=0.123), point())

    def interrupted(learner: Swift, heard: attempt.Heard) -> dict[str, float]:
        if learner.setting.dropout == 0.123 and len(swift) == 1 and learner.steps == 6:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(
                os.getpid(), signal.SIGTERM
            )  # as Ctrl-C does to a worker: once by the terminal, once by its command
        return looked_at(learner, heard)

    monkeypatch.setattr(attempt, "looked_at", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        study.run(here, small, kept, wanted=2)
    assert signal.getsignal(signal.SIGINT) is before
    assert states(here) == ["FAIL", "WAITING", "WAITING"]
    assert trials_of(here)[0].user_attrs["failure"] == "interrupted"
    assert run_of(here, trials_of(here)[0]).info.status == "KILLED"
    study.run(here, small, database(here), wanted=2)
    assert states(here) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert sorted(trial.params["dropout"] for trial in trials_of(here)[1:]) == [0.1, 0.123]


def test_what_kills_its_worker_is_requeue_only_so_often_and_an_interruption_does_not_count(here):
    searched = enqueued(here, point()).studies("ali")[0]

    def die(counted: bool) -> None:
        trial = searched.ask()
        space.suggested(
            trial, params.read(here.params).study.ali.model_copy(update={"latent": [8], "batch": [8]}), ALI.drawn
        )
        searched.tell(trial, state=TrialState.FAIL)
        requeue(searched, searched.trials[-1], counted)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # heartbeats are for Study.optimize
        for counted in (False, True, False, True, True):
            assert searched.trials[-1].state is TrialState.WAITING
            die(counted)
    assert len(searched.trials) == 5
    assert {tuple(trial.params.values()) for trial in searched.trials} == {tuple(GOOD.values())}


def test_no_heart_beats_for_a_trial_that_has_ended(here, small, swift):
    before = threading.active_count()
    study.run(here, small, database(here), wanted=1)
    assert threading.active_count() <= before


# what is told ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ready: Path, small: Params) -> Project:
    """A study of five trials, one pruned and one that diverged before them, told to MLflow and drawn."""
    project = beginning(tmp_path_factory.mktemp("project"), ready, spectrograms())
    good = [point(dropout=drop, learning_rate=rate) for drop, rate in ((0.1, RATE), (0.2, 0.0002), (0.0, 0.00015))]
    kept = enqueued(project, point(learning_rate=0.0009), *good, point(learning_rate=0.00003), point(dropout=0.3))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.URI, raising=False)
        swiftly(patch)
        study.run(project, small, kept, wanted=5)
    return project


def test_a_failed_and_a_pruned_trial_say_so_in_mlflow(finished):
    assert states(finished) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    failed, pruned = (run_of(finished, trials_of(finished)[number]) for number in (0, 4))
    assert failed.info.status == "FAILED"
    assert "trial 0: loss is nan at update 4" in failed.data.tags["failure"]
    assert (pruned.info.status, pruned.data.tags["trial_state"]) == ("FINISHED", "pruned")
    assert pruned.data.metrics["trial_value"] == trials_of(finished)[4].value
    assert len(client(finished).get_metric_history(pruned.info.run_id, attempt.JUDGE)) == 1


def test_every_trial_and_repeat_is_a_run_under_that_of_the_study(finished, small):
    known = client(finished)
    experiment = known.get_experiment_by_name("study").experiment_id
    runs = {run.info.run_id: run for run in known.search_runs([experiment])}
    parent = runs.pop(database(finished).studies("ali")[0].user_attrs["mlflow_run_id"])
    both = [trial for which in (0, 1) for trial in trials_of(finished, which)]
    assert {trial.user_attrs["mlflow_run_id"] for trial in both} == set(runs)
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "study ali")
    names = {run.info.run_name for run in runs.values()}
    assert {"trial 0", "trial 4", "trial 5 seed 1", "trial 5 seed 2"} <= names
    first = run_of(finished, trials_of(finished)[1])
    assert first.data.metrics["trial_value"] == trials_of(finished)[1].value
    curve = known.get_metric_history(first.info.run_id, attempt.JUDGE)
    assert [(one.step, one.value) for one in curve] == [(3 * e, pytest.approx(0.52 + 0.01 * e)) for e in (1, 2, 3, 4)]


def test_a_trials_run_has_the_parameters_of_the_stage_ali_by_the_same_names(finished, small):
    run = run_of(finished, trials_of(finished)[2])
    setting = ALI.setting(point(dropout=0.2, learning_rate=0.0002), small)[1]
    expected = {name: str(value) for name, value in ali.settings(small, setting, 8).items()}
    assert expected.items() <= run.data.params.items()
    assert run.data.params["discriminator_learning_rate"] == "0.0001"
    assert (run.data.params["model"], run.data.params["representation"]) == ("searched", "mel")
    assert (run.data.params["split"], run.data.params["seed"]) == ("work", "0")
    repeat = run_of(finished, trials_of(finished, 1)[0])
    assert repeat.data.params["seed"] == "1"


def test_tables_pictures_and_a_page_are_kept_in_the_folder_and_the_run(finished):
    folder = finished.out("study", "ali")
    pictures_there = {"history.png", "importances.png", "parallel.png", "slices.png"}
    assert pictures_there <= {path.name for path in folder.iterdir()}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures_there)
    known = client(finished)
    parent = database(finished).studies("ali")[0].user_attrs["mlflow_run_id"]
    kept = {one.path for one in known.list_artifacts(parent)}
    assert kept == pictures_there | {"trials.csv", "repeats.csv", "study.html"}
    page = Path(known.download_artifacts(parent, "study.html")).read_text(encoding="utf-8")
    assert page.count("Plotly.newPlot(") >= 4
    assert 'src="http' not in page
    metrics = known.get_run(parent).data.metrics
    first = pd.read_csv(folder / "repeats.csv").iloc[0]
    assert (metrics["winner_trial"], metrics["winner_mean"]) == (first["trial"], pytest.approx(first["mean"]))


def test_the_report_shows_a_study_where_there_is_one(finished, tmp_path_factory):
    from symphony2vec.report import page

    none = pd.DataFrame({"stage": [], "model": []})
    folder = tmp_path_factory.mktemp("report") / "pictures"
    pictures.gather(finished, none, "work-0", folder)
    assert {"study-ali-history.png", "study-ali-slices.png"} <= {path.name for path in folder.iterdir()}
    (rows,) = page._studies(finished).values()
    assert {row["trial"] for row in rows} == {1, 5}
    assert page._studies(Project(folder)) == {}


def test_the_terminal_is_told_the_winner_and_where_to_look(finished, small):
    kept = database(finished)
    standings = verdict.standings(*kept.studies("ali"), small.study, 0)
    text = study.told(standings, "ali", kept)
    assert f"optuna-dashboard 'sqlite:///{finished.mlruns / 'optuna.db'}'" in text
    assert f"trial {standings[0].number} wins" in text
    assert "study apply --name other && dvc repro" in study.told(standings, "other", kept)


# the real training ----------------------------------------------------------------------------------------------------


def test_test_clips_have_no_part_and_the_stage_trains_the_winner_as_the_study_did(
    here, small, tmp_path_factory, monkeypatch
):
    """Spectrograms of test clips that are no numbers would spoil whatever they reached."""
    monkeypatch.setattr("symphony2vec.models.ali.latent.RESAMPLES", 50)
    values = small.model_dump()
    values["study"] |= {"epochs": 2, "repeated": 1, "seeds": 1}
    given, array = params.check(values), spectrograms()
    array[SPLITS == "test"] = np.nan
    np.save(here.feature("mel"), array)
    study.run(here, given, enqueued(here, point(batch=12, latent=4)), wanted=1)
    (trial,) = trials_of(here)
    latent, setting = ALI.setting(winner.chosen(here, given, database(here), "ali").found, given)
    values["ali"]["searched"] = setting.model_dump()
    np.save(here.feature("mel"), spectrograms())
    ali.run(here, params.check(values), f"searched-{latent}")
    curve = pd.read_csv(here.out("ali", "searched-4", "work-0", "curves.csv"))[attempt.JUDGE]
    assert curve.expanding().mean().tolist() == pytest.approx(list(trial.intermediate_values.values()))
    assert curve.mean() == pytest.approx(trial.value)


# the database ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["mysql://me:secret@host/db", "journal.log", "postgresql://me:secret@host:port/db"])
def test_another_kind_of_storage_is_refused_with_those_that_serve(url, here):
    with pytest.raises(UserError, match="--storage takes sqlite:///FILE or postgresql://") as told:
        Database.of(here, url)
    assert "secret" not in str(told.value)


def test_a_server_that_does_not_answer_is_one_line_without_the_password(here, small, swift):
    kept = Database.of(here, "postgresql://me:secret@127.0.0.1:1/music")
    with pytest.raises(UserError, match=r"me:\*\*\*@127\.0\.0\.1:1/music fails: connection failed.*refused") as told:
        study.run(here, small, kept, wanted=1)
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)
    assert not swift


def test_a_file_that_is_no_database_and_a_folder_that_is_not_there_are_one_line(here, small, swift):
    (here.root / "not.db").write_text("not a database at all, but long enough for sqlite to look at it" * 20)
    for path, reason in (("not.db", "file is not a database"), ("no/such/folder.db", "unable to open database file")):
        with pytest.raises(UserError, match=f"fails: {reason}"):
            study.run(here, small, Database.of(here, f"sqlite:///{here.root / path}"), wanted=1)
