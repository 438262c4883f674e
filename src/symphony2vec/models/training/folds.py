"""Train one model on one fold or on all: an interrupted training resumes, and each fold is one MLflow run.

The stages `classifiers`, `embeddings`, `ali` and `temporal` share `train_folds`; each provides a function that trains
one `Task`. Which of them are up to date is DVC's to know: a command trains what it is asked to train.

    Reads   out/clips/folds/<fold>.csv and the movements of the stage `audio`
    Writes  out/<stage>/<fold>/<model>/   with run.json and the files of the stage
            out/.partial/                 checkpoints of unfinished folds
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from symphony2vec import tracking
from symphony2vec.clips import splits
from symphony2vec.models import pictures
from symphony2vec.models.training import loop
from symphony2vec.params import Params
from symphony2vec.project import Project, SplitFold, atomic_folder, key_of, read_table, write_table

METRIC_NAMES = {"validation_accuracy": "epoch_validation_accuracy"}  # column of the curves -> MLflow metric
SOURCE = Path(__file__).resolve().parents[2]
# Code that the numbers of every training depend on; each stage adds its own.
SHARED_CODE = ("models/training", "package/scaling.py")
# Sections of params.yaml that a training does not depend on, or whose values it logs under names of its own.
UNLOGGED_SECTIONS = "labels classifiers embeddings ali temporal pretrained meaning probe registry folds study".split()


@dataclass(frozen=True)
class Task:
    """One model to train on one fold.

    Attributes:
        identity: stage, model, representation and fold of the run.
        fold: the split and its seed.
        clips: table of the clips, with their split.
        folder: folder for the results.
        checkpoint_folder: folder for the checkpoint, which survives an interruption.
        run: the MLflow run.
        params: all of params.yaml.
        licences: licences of the music, each with its kind (recording or score) and its number of movements.
    """

    identity: tracking.RunIdentity
    fold: SplitFold
    clips: pd.DataFrame
    folder: Path
    checkpoint_folder: Path
    run: tracking.Run
    params: Params
    licences: list[dict[str, Any]]

    @property
    def label(self) -> str:
        """Name of the task in messages, such as "vae-mel work-0"."""
        return f"{self.identity.entry} {self.fold.name}"

    def rows(self, *splits: str) -> np.ndarray:
        """Return the rows of the clips in these splits (train, validation or test)."""
        return np.flatnonzero(self.clips["split"].isin(splits))

    @cached_property
    def composers(self) -> list[str]:
        """The classes, in the order of their codes."""
        return sorted(self.clips["composer"].astype(str).unique())

    @cached_property
    def codes(self) -> np.ndarray:
        """The class of every clip as an integer: (clips,)."""
        return np.array([self.composers.index(name) for name in self.clips["composer"].astype(str)])

    def fit(
        self, learner: loop.Learner, schedule: loop.Schedule, evaluate: Callable[[int], dict[str, float]]
    ) -> pd.DataFrame:
        """Train a learner on the training clips, and log and write its learning curves; see `training.loop.fit`."""
        rows, folder = self.rows("train"), self.checkpoint_folder
        return self.write_curves(loop.fit(learner, rows, schedule, self.label, folder, evaluate, self.log_epoch))

    def write_curves(self, curves: list[dict[str, float]]) -> pd.DataFrame:
        """Write the learning curves to curves.csv, and return them as a table."""
        table = pd.DataFrame(curves)
        write_table(self.folder / "curves.csv", table)
        return table

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Log one row of the curves to MLflow; values that are not a number are left out."""
        values = {METRIC_NAMES.get(name, name): value for name, value in row.items() if value == value}
        values = {name: value for name, value in values.items() if name not in ("epoch", "update")}
        self.run.log_metrics(values, step=int(row["update"]))

    def log_figures(self) -> None:
        """Draw the figures of the finished folder and log each to MLflow, as <name>.png."""
        subject = pictures.Subject(self.identity.stage, self.identity.entry, self.fold.name)
        for name, figure in pictures.draw_figures(self.folder, subject, self.clips["composer"], self.params).items():
            self.run.log_figure(figure, f"{name}.png")


def train_folds(
    project: Project,
    params: Params,
    fold_name: str | None,
    identity: Callable[[SplitFold], tracking.RunIdentity],
    settings: Mapping[str, Any],
    code: list[str],
    features: Path,
    train: Callable[[Task], None],
) -> None:
    """Train one model on one fold, or on every fold of params.yaml.

    Args:
        project: project with the clips and features.
        params: all of params.yaml.
        fold_name: the fold, such as "work-0"; None for all.
        identity: fold -> identity of its run.
        settings: flat parameters of the model.
        code: files or folders of the package that the result depends on, beside `SHARED_CODE`.
        features: file of the array that the model is trained on.
        train: trains one task and fills its folder.

    Raises:
        UserError: params.yaml lists no such fold.
    """
    inputs_key = key_of(features, *(SOURCE / name for name in (*SHARED_CODE, *code)))
    settings_key = key_of(inputs_key, dict(settings))  # the same for all folds of one configuration
    for fold in splits.select_folds(params, fold_name):
        fold_identity = identity(fold)
        table = read_table(project.fold(fold), "clips")
        clips_key = key_of(project.fold(fold))
        name = f"{fold_identity.stage}-{fold_identity.entry}-{fold.name}"
        checkpoints = _prepare_checkpoint_folder(project, name, key_of(clips_key, settings_key))
        results = checkpoints / "results"  # not in out/<stage>, which DVC hashes: a killed process leaves it behind
        shutil.rmtree(results, ignore_errors=True)
        own_parameters = {**settings, "settings_key": settings_key, "clips_key": clips_key}
        parameters = collect_parameters(params, fold, table, own_parameters)
        with (
            tracking.start_run(project, fold_identity, parameters, features, checkpoints / "run.json") as run,
            atomic_folder(project.out(fold_identity.stage, fold.name, fold_identity.entry), results) as partial,
        ):
            licences = _count_movements_by_licence(project, table)
            task = Task(fold_identity, fold, table, partial, checkpoints, run, params, licences)
            train(task)
            task.log_figures()
            tracking.write_run_record(project, partial, run, fold_identity, clips_key)
        shutil.rmtree(checkpoints)


def collect_parameters(
    params: Params, fold: SplitFold, table: pd.DataFrame, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the MLflow parameters of one training: shared sections of params.yaml, its fold and its own settings."""
    shared = tracking.flatten_params(params, *UNLOGGED_SECTIONS)
    training_clips = int((table["split"] == "train").sum())
    data = {"split": fold.split, "seed": fold.seed, "clips": len(table)}
    return {**shared, **data, **settings, "training_clips": training_clips}


def _count_movements_by_licence(project: Project, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return licence, kind and number of the movements that the clips come from."""
    movements = read_table(project.movements, "audio")
    movements = movements[movements["file"].isin(table["file"])]
    counts = movements.groupby(["licence", "kind"]).size().reset_index(name="movements")
    return [{name: row[name] for name in counts.columns} for row in counts.to_dict("records")]


def _prepare_checkpoint_folder(project: Project, name: str, key: str) -> Path:
    """Create the checkpoint folder of one fold, and remove those of the same fold with other parameters or data."""
    folder = project.out(".partial", f"{name}-{key[:16]}")
    for other in folder.parent.glob(f"{name}-*"):
        if other.name != folder.name:
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
