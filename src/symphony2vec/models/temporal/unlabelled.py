"""Unlabelled training clips from another project: their movements are used, never their composers.

A setting names the folder of the project (params.yaml, temporal.full.unlabelled). Its clips take part in the training,
except those of works in the validation or test split of this project; the probe, the validation and the scaling of the
bands use this project's clips only. The contrastive, reconstruction and adversarial losses use the unlabelled clips;
none of them uses composers. Works are matched by name, so the user has to check that both corpora name them alike.

Axes: M clips of this project, N of the other one, F bins, T frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from symphony2vec import params as parameters
from symphony2vec.errors import UserError
from symphony2vec.params import Params
from symphony2vec.project import Project, atomic_file, read_array, read_table

CLIPS_AT_ONCE = 256


def open_project(project: Project, params: Params, folder: str) -> Project:
    """Open the project in `folder`, a path relative to the root of this one, and check that its clips are compatible.

    Raises:
        UserError: there is no such project, its features are missing, or they were made with other parameters.
    """
    root = (project.root / Path(folder).expanduser()).resolve()
    if not (root / "params.yaml").is_file():
        raise UserError(f"temporal.full.unlabelled: no project in {root} (a folder with params.yaml and out/)")
    if root == project.root.resolve():
        raise UserError(f"temporal.full.unlabelled: {root} is this project itself; its test clips must not be used")
    other = parameters.read(root / "params.yaml")
    for name, value, other_value in (
        ("audio.sample_rate_hz", params.audio.sample_rate_hz, other.audio.sample_rate_hz),
        ("clips.duration_s", params.clips.duration_s, other.clips.duration_s),
        *((f"features.{key}", setting, getattr(other.features, key)) for key, setting in params.features),
    ):
        if value != other_value:
            raise UserError(
                f"temporal.full.unlabelled: {name} is {other_value} in {root} and {value} here; make them equal"
            )
    other_project = Project(root)
    for path in (other_project.feature("mel"), other_project.clips):
        if not path.is_file():
            raise UserError(f"temporal.full.unlabelled: {path} is missing; run `dvc repro features` in {root}")
    return other_project


def concatenate_features(path: Path, array: np.ndarray, other: Project) -> None:
    """Write the clips of this project (M, F, T) and those of the other one to `path`, as one array (M + N, F, T)."""
    other_array = read_array(other.feature("mel"), "features")
    shape = (len(array) + len(other_array), *array.shape[1:])
    with atomic_file(path) as partial:
        joined = np.lib.format.open_memmap(partial, "w+", array.dtype, shape)
        for offset, clips in ((0, array), (len(array), other_array)):
            for start in range(0, len(clips), CLIPS_AT_ONCE):
                stop = min(start + CLIPS_AT_ONCE, len(clips))
                joined[offset + start : offset + stop] = clips[start:stop]
        joined.flush()


def number_movements(clips: pd.DataFrame, other: Project) -> np.ndarray:
    """Return the number of the movement of every clip (M + N,): of the table `clips`, then of the other project."""
    names = ["composer", "work", "movement"]
    table = pd.concat([clips[names], read_table(other.clips, "clips")[names]])
    numbers: np.ndarray = table.groupby(names, sort=False).ngroup().to_numpy()
    return numbers


def training_rows(clips: pd.DataFrame, other: Project) -> np.ndarray:
    """Return the clips of the other project to train on, as rows of what `concatenate_features` writes.

    Works with clips in the validation or test split of this project, the table `clips`, are left out.
    """
    names = ["composer", "work"]
    held_out = clips.loc[clips["split"] != "train", names].drop_duplicates()
    merged = read_table(other.clips, "clips").merge(held_out, on=names, how="left", indicator=True)
    return len(clips) + np.flatnonzero(merged["_merge"] == "left_only")
