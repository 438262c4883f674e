"""One model on every fold: what is done is kept, what was stopped goes on, each fold is one MLflow run.

The stages `classifiers`, `embeddings` and `ali` share this way; each gives a function that trains one `Task`.
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
from symphony2vec.clips import leaks, splits
from symphony2vec.params import Params
from symphony2vec.project import Project, SplitFold, atomic_folder, key_of, read_json, read_table, write_table

CURVES = {"validation_accuracy": "epoch_validation_accuracy"}  # what a curve is called in MLflow
SOURCE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Task:
    """One model to train on one fold.

    subject: what the run is about; fold; clips: the table of clips with their sides; folder: to fill; kept: for the
    checkpoint, it outlives an interruption; run: the MLflow run; params: the whole of params.yaml; licences: of the
    music, each with its kind (recording or score) and its number of movements.
    """

    subject: tracking.Subject
    fold: SplitFold
    clips: pd.DataFrame
    folder: Path
    kept: Path
    run: tracking.Run
    params: Params
    licences: list[dict[str, Any]]

    @property
    def label(self) -> str:
        """For people, as in "vae-mel work-0"."""
        return f"{self.subject.name} {self.fold.name}"

    def rows(self, *sides: str) -> np.ndarray:
        """The rows of the clips on these sides."""

        return np.flatnonzero(self.clips["split"].isin(sides))

    @cached_property
    def composers(self) -> list[str]:
        """The classes, in the order of their codes."""
        return sorted(self.clips["composer"].astype(str).unique())

    @cached_property
    def codes(self) -> np.ndarray:
        """The class (clips,) of every clip."""

        return np.array([self.composers.index(name) for name in self.clips["composer"].astype(str)])

    def finish(self, curves: list[dict[str, float]]) -> pd.DataFrame:
        """Write the curves down; returns them as a table."""

        table = pd.DataFrame(curves)
        write_table(self.folder / "curves.csv", table)
        return table

    def tell(self, row: Mapping[str, float]) -> None:
        """Send one epoch's row of the curves to MLflow; the probe's final figures have names of their own."""
        values = {CURVES.get(name, name): value for name, value in row.items() if value == value}
        values = {name: value for name, value in values.items() if name not in ("epoch", "update")}
        self.run.metrics(values, step=int(row["update"]))


def train_folds(
    project: Project,
    params: Params,
    subject: Callable[[SplitFold], tracking.Subject],
    settings: Mapping[str, Any],
    code: list[str],
    seen: Path,
    train: Callable[[Task], None],
) -> None:
    """Train one model on each fold that params.yaml asks for, and remove what it no longer asks for.

    Args:
        project: whose clips and features are used.
        params: the whole of params.yaml.
        subject: what the run of one fold is about.
        settings: flat parameters of the model; a fold made with the same ones, from the same clips, features and code,
            is kept as it is.
        code: the files or folders of the package that the result depends on.
        seen: the array that the model learns from.
        train: trains one task and fills its folder.
    """
    wanted = splits.list_folds(params)
    home = project.out(subject(wanted[0]).stage, subject(wanted[0]).name)
    shared = ("models/training/loop.py", "models/training/precision.py", "models/training/source.py", "package")
    made_from = key_of(seen, *(SOURCE / name for name in (*shared, *code)))
    settings_key = key_of(made_from, dict(settings))  # the same for all folds of one configuration
    near_duplicates = leaks.read_pairs(project)
    for fold in wanted:
        about = subject(fold)
        table = read_table(project.fold(fold), "clips")
        key = key_of(project.fold(fold), made_from, dict(settings))
        if _key_in(home / fold.name) == key:
            continue
        kept = _kept(project, f"{about.stage}-{about.name}-{fold.name}", key)
        about_draw = {**settings, "settings_key": settings_key, "clips_key": key_of(project.fold(fold))}
        with (
            tracking.run(project, about, noted(params, fold, table, about_draw), seen, kept / "run.json") as run,
            atomic_folder(home / fold.name) as folder,
        ):
            run.metrics(leaks.compute_metrics(near_duplicates, table))
            train(Task(about, fold, table, folder, kept, run, params, _licences(project, table)))
            tracking.write_record(folder / "run.json", run, about, key, key_of(project.fold(fold)))
        shutil.rmtree(kept)
    _tidy(home, {fold.name for fold in wanted})


def _licences(project: Project, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The licences of the movements that the clips come from."""
    movements = read_table(project.movements, "audio")
    own = movements[movements["file"].isin(table["file"])]
    counted = own.groupby(["licence", "kind"]).size().reset_index(name="movements")
    return [{name: row[name] for name in counted.columns} for row in counted.to_dict("records")]


def noted(params: Params, fold: SplitFold, table: pd.DataFrame, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What an MLflow run of one training is told: the parameters that came before it, its fold, and its own."""
    others = "labels classifiers embeddings ali temporal meaning probe registry seeds study".split()
    shared = tracking.flat(params, *others)
    own = {"split": fold.split, "seed": fold.seed, "clips": len(table), **settings}
    return {**shared, **own, "training_clips": int((table["split"] == "train").sum())}


def _kept(project: Project, name: str, key: str) -> Path:
    """The folder of one fold's checkpoint; what was left of it by other parameters or other data is removed."""
    waiting = project.out(".partial")
    for other in waiting.glob(f"{name}-*"):
        if other.name != f"{name}-{key[:16]}":
            shutil.rmtree(other)
    kept = waiting / f"{name}-{key[:16]}"
    kept.mkdir(parents=True, exist_ok=True)
    return kept


def _key_in(folder: Path) -> str:
    """The key that a finished fold was made with; "" when there is none."""
    record = folder / "run.json"
    return str(read_json(record, "").get("key", "")) if record.is_file() else ""


def _tidy(home: Path, wanted: set[str]) -> None:
    for place in home.iterdir():
        if place.is_file():
            place.unlink()
        elif place.name not in wanted:
            shutil.rmtree(place)
