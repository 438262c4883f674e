"""One trial, and one repeat of a trial: the training and its MLflow run under the run of the study.

Trials and the MLflow runs under them carry the same parameters, under the names of the stage that trains the model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from optuna import TrialPruned

from symphony2vec import tracking
from symphony2vec.clips import splits
from symphony2vec.errors import UserError
from symphony2vec.models.training import folds as folds
from symphony2vec.models.training import loop
from symphony2vec.params import Params
from symphony2vec.project import Project, SplitFold, read_array, read_table
from symphony2vec.study import space
from symphony2vec.study.kinds import Kind

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

NEVER = float("inf")  # no checkpoint: a trial that is stopped begins anew
REASON_LETTERS = 500


@dataclass(frozen=True)
class Ground:
    """What every trial of one worker trains, and on what: the clips of the first fold, held once."""

    project: Project
    params: Params
    kind: Kind
    _held: list[Any] = field(default_factory=list)

    @cached_property
    def fold(self) -> SplitFold:
        """The fold whose validation works judge."""
        return splits.list_folds(self.params)[0]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The clips with their sides."""
        return read_table(self.project.fold(self.fold), "clips")

    def heard(self, task: folds.Task) -> Any:
        """Spectrograms, read at the first trial, and rows; those of the test side are never asked for."""
        if not self._held:
            array = read_array(self.project.feature("mel"), "features")
            self._held.append(self.kind.heard(task, array, self.params))
        return self._held[0]

    @contextmanager
    def run(self, latent: int, setting: Any, seed: int) -> Iterator[folds.Task]:
        """An MLflow run for one training, and the task that tells it the curves."""
        subject = tracking.Subject("study", self.kind.searched, str(latent), self.fold.name)
        own = {**self.kind.parameters(self.params, setting, latent), "seed": seed}
        noted = folds.collect_parameters(self.params, self.fold, self.table, own)
        with tracking.run(self.project, subject, noted, self.project.feature("mel")) as run:
            kept = self.project.out(".partial")
            yield folds.Task(subject, self.fold, self.table, kept, kept, run, self.params, [])


@dataclass(frozen=True)
class Tracked:
    """The MLflow run of a study, and what ties the runs of its trials to it."""

    project: Project
    parent: str

    def nested(self, run: tracking.Run, name: str) -> None:
        """Put a run under that of the study."""
        run.tag("mlflow.runName", name)
        run.tag("mlflow.parentRunId", self.parent)

    def close_dead(self, *studies: Study) -> None:
        """End the runs that a killed worker left running: of failed trials that did not live to say why."""
        dead = [
            str(trial.user_attrs["mlflow_run_id"])
            for study in studies
            for trial in study.get_trials(deepcopy=False)
            if trial.state.name == "FAIL" and "failure" not in trial.user_attrs and "mlflow_run_id" in trial.user_attrs
        ]
        if not dead:
            return
        try:
            with tracking.client(self.project) as client:
                for run_id in dead:
                    _end(client, run_id)
        except UserError as silent:
            print(f"runs of killed workers stay open for now: {silent}", file=sys.stderr)


def _end(client: MlflowClient, run_id: str) -> None:
    """End a run as FAILED, if it still runs; a server that does not know it has nothing to end."""
    known = tracking.run_id_of(client, {"stage": "study", "run_id": run_id})
    if known is not None and client.get_run(known).info.status == "RUNNING":
        client.set_tag(known, "failure", "its worker was killed")
        client.set_terminated(known, "FAILED")


def searched(trial: Trial, ground: Ground, tracked: Tracked, lively: Callable[[], None]) -> float:
    """One trial: sample a setting, train it, and say what it is worth; it may be pruned on the way."""
    found = space.suggested(trial, ground.kind.space(ground.params), ground.kind.drawn)
    return _trained(trial, ground, tracked, found, ground.fold.seed, f"trial {trial.number}", lively, prunes=True)


def repeated(
    trial: Trial, ground: Ground, tracked: Tracked, first: FrozenTrial, seed: int, lively: Callable[[], None]
) -> float:
    """What the setting of an earlier trial is worth from another start."""
    name = f"trial {first.number} seed {seed}"
    return _trained(trial, ground, tracked, first.params, seed, name, lively, prunes=False)


def _trained(
    trial: Trial,
    ground: Ground,
    tracked: Tracked,
    found: Mapping[str, Any],
    seed: int,
    name: str,
    lively: Callable[[], None],
    prunes: bool,
) -> float:
    """The mean of the last `study.averaged` probes; the same mean is reported at every probe.

    Raises:
        TrialPruned: that mean is below the median of what the other trials had at the same epoch.
        UserError: a loss is not a finite number.
    """

    params, probes, pruned = ground.params, [], False
    latent, setting = ground.kind.setting(found, params)
    with ground.run(latent, setting, seed) as task:
        trial.set_user_attr("mlflow_run_id", task.run.run_id)
        tracked.nested(task.run, name)
        tried = ground.kind.attempt(ground.heard(task), latent, setting, params, seed)

        def told(row: Mapping[str, float]) -> None:
            lively()
            task.log_epoch(row)
            if tried.judge in row:
                probes.append(row[tried.judge])
                trial.report(float(np.mean(probes[-params.study.averaged :])), int(row["epoch"]))
                if prunes and row["epoch"] < tried.schedule.epochs and trial.should_prune():
                    raise TrialPruned

        def evaluate(_epoch: int) -> dict[str, float]:
            return tried.look()

        try:
            loop.fit(tried.learner, tried.rows, tried.schedule, name, task.checkpoint_folder, evaluate, told, NEVER)
        except TrialPruned:
            pruned = True
        value = float(np.mean(probes[-params.study.averaged :]))
        task.run.metrics({"trial_value": value})
        task.run.tag("trial_state", "pruned" if pruned else "complete")
    if pruned:
        raise TrialPruned
    return value


@contextmanager
def reasoned(trial: Trial) -> Iterator[None]:
    """A trial that ends badly keeps the reason as its user attribute `failure`."""

    try:
        yield
    except TrialPruned:
        raise
    except KeyboardInterrupt:
        trial.set_user_attr("failure", "interrupted")
        raise
    except Exception as fault:
        reason = f"{fault}" if isinstance(fault, UserError) else f"{type(fault).__name__}: {fault}"
        trial.set_user_attr("failure", " ".join(reason.split())[:REASON_LETTERS])
        raise
