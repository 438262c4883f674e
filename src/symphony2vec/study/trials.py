"""One trial or one repeat of a trial: the training, and its MLflow run below the run of the study.

The MLflow runs of trials have the same parameters, by the same names, as those of the stage that trains the model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from optuna import TrialPruned

from symphony2vec import tracking
from symphony2vec.clips import splits
from symphony2vec.errors import UserError
from symphony2vec.models.training import folds, loop
from symphony2vec.params import Params
from symphony2vec.project import Project, SplitFold, read_array, read_table
from symphony2vec.study import space
from symphony2vec.study.kinds import StudyKind

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

NO_CHECKPOINT_S = float("inf")  # a trial that is stopped starts over
MAX_REASON_CHARACTERS = 500


@dataclass(frozen=True)
class StudyRun:
    """The MLflow run of a study, the parent of the runs of its trials."""

    project: Project
    run_id: str

    def adopt(self, run: tracking.Run, name: str) -> None:
        """Make a run a child of this one."""
        run.set_tag("mlflow.runName", name)
        run.set_tag("mlflow.parentRunId", self.run_id)

    def close_dead_runs(self, *studies: Study) -> None:
        """End the runs that killed workers left running: those of failed trials without a recorded reason."""
        run_ids = [
            str(trial.user_attrs["mlflow_run_id"])
            for study in studies
            for trial in study.get_trials(deepcopy=False)
            if trial.state.name == "FAIL" and "failure" not in trial.user_attrs and "mlflow_run_id" in trial.user_attrs
        ]
        if not run_ids:
            return
        try:
            with tracking.client(self.project) as client:
                for run_id in run_ids:
                    _end_run(client, run_id)
        except UserError as error:
            print(f"runs of killed workers stay open for now: {error}", file=sys.stderr)


class TrialContext:
    """What all trials of one worker share; the clips of the first fold are loaded once.

    Args:
        project: Project whose clips and features are used.
        params: The parameters.
        kind: The kind of study.
        study_run: The MLflow run of the study.
        check_active: Called once per epoch; raises KeyboardInterrupt to stop the training.
    """

    def __init__(
        self,
        project: Project,
        params: Params,
        kind: StudyKind,
        study_run: StudyRun,
        check_active: Callable[[], None],
    ) -> None:
        self.project, self.params, self.kind = project, params, kind
        self.study_run, self.check_active = study_run, check_active
        self._data: Any = None

    @cached_property
    def fold(self) -> SplitFold:
        """The fold whose validation clips score the trials."""
        return next(iter(splits.list_folds(self.params)))

    @cached_property
    def clips_table(self) -> pd.DataFrame:
        """The clips with their splits."""
        return read_table(self.project.fold(self.fold), "clips")

    def load_data(self, task: folds.Task) -> Any:
        """Return spectrograms and rows, read at the first call; the rows of the test split are not among them."""
        if self._data is None:
            array = read_array(self.project.feature("mel"), "features")
            self._data = self.kind.prepare_data(task, array, self.params)
        return self._data

    @contextmanager
    def open_task(self, latent: int, setting: Any, seed: int) -> Iterator[folds.Task]:
        """Open an MLflow run for one training, and give the task that logs its curves."""
        identity = tracking.RunIdentity("study", self.kind.setting_name, str(latent), self.fold.name)
        run_params = {**self.kind.run_params(self.params, setting, latent), "seed": seed}
        run_params = folds.collect_parameters(self.params, self.fold, self.clips_table, run_params)
        with tracking.start_run(self.project, identity, run_params, self.project.feature("mel")) as run:
            unused = self.project.out(".partial")
            yield folds.Task(identity, self.fold, self.clips_table, unused, unused, run, self.params, [])


def run_trial(trial: Trial, context: TrialContext) -> float:
    """Sample a setting, train it, and return its value; the trial may be pruned."""
    point = space.suggest_point(trial, context.kind.space(context.params), context.kind.param_names)
    return _train(trial, context, point, context.fold.seed, f"trial {trial.number}", may_prune=True)


def run_repeat(trial: Trial, context: TrialContext, original: FrozenTrial, seed: int) -> float:
    """Train the setting of an earlier trial from another seed, and return its value."""
    return _train(trial, context, original.params, seed, f"trial {original.number} seed {seed}", may_prune=False)


def _train(
    trial: Trial, context: TrialContext, point: Mapping[str, Any], seed: int, name: str, may_prune: bool
) -> float:
    """Return the mean of the last `study.averaged_probes` probes; the same running mean is reported to Optuna.

    Raises:
        TrialPruned: The mean is below the median of the other trials at the same epoch.
        UserError: A loss is not finite.
    """
    params, accuracies, is_pruned = context.params, [], False
    latent, setting = context.kind.make_setting(point, params)
    with context.open_task(latent, setting, seed) as task:
        trial.set_user_attr("mlflow_run_id", task.run.run_id)
        context.study_run.adopt(task.run, name)
        training = context.kind.prepare_training(context.load_data(task), latent, setting, params, seed)

        def report(row: Mapping[str, float]) -> None:
            context.check_active()
            task.log_epoch(row)
            if training.metric in row:
                accuracies.append(row[training.metric])
                trial.report(float(np.mean(accuracies[-params.study.averaged_probes :])), int(row["epoch"]))
                if may_prune and row["epoch"] < training.schedule.epochs and trial.should_prune():
                    raise TrialPruned

        def evaluate(_epoch: int) -> dict[str, float]:
            return training.evaluate()

        try:
            loop.fit(
                training.learner,
                training.rows,
                training.schedule,
                name,
                task.checkpoint_folder,
                evaluate,
                report,
                NO_CHECKPOINT_S,
            )
        except TrialPruned:
            is_pruned = True
        value = float(np.mean(accuracies[-params.study.averaged_probes :]))
        task.run.log_metrics({"trial_value": value})
        task.run.set_tag("trial_state", "pruned" if is_pruned else "complete")
    if is_pruned:
        raise TrialPruned
    return value


@contextmanager
def record_failure(trial: Trial) -> Iterator[None]:
    """Record why a trial fails or is interrupted as its user attribute `failure`."""
    try:
        yield
    except TrialPruned:
        raise
    except KeyboardInterrupt:
        trial.set_user_attr("failure", "interrupted")
        raise
    except Exception as error:
        reason = f"{error}" if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        trial.set_user_attr("failure", " ".join(reason.split())[:MAX_REASON_CHARACTERS])
        raise


def _end_run(client: MlflowClient, run_id: str) -> None:
    """End a run as FAILED if the server has it and it is still running."""
    known_id = tracking.find_run_id(client, {"stage": "study", "run_id": run_id})
    if known_id is not None and client.get_run(known_id).info.status == "RUNNING":
        client.set_tag(known_id, "failure", "its worker was killed")
        client.set_terminated(known_id, "FAILED")
