"""The clips of another project that a model hears as well: their movements, never their composers.

A setting names the project's folder (params.yaml, temporal.full.unlabelled). Its clips are heard while the model
learns, but for those of works that are on the validation or the test side here; the probe, the validation and the
scaling of the bands stay with the own clips. Contrast, reconstruction and game use them, none of which looks at a
composer. Works are known by their names, so two corpora that name one work differently are for the user to compare.

M own clips, N of the other project, F bins, T frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from symphony2vec import params as parameters
from symphony2vec.errors import UserError
from symphony2vec.params import Params
from symphony2vec.project import Project, atomic_file, read_array, read_table

AT_ONCE = 256


def of(project: Project, params: Params, folder: str) -> Project:
    """The project in `folder`, seen from the root of this one, whose clips are such as this one's.

    Raises:
        UserError: there is no such project, or its clips or features are made with other parameters.
    """
    root = (project.root / Path(folder).expanduser()).resolve()
    if not (root / "params.yaml").is_file():
        raise UserError(f"temporal.full.unlabelled: no project in {root} (a folder with params.yaml and out/)")
    if root == project.root.resolve():
        raise UserError(f"temporal.full.unlabelled: {root} is this project itself, whose test clips must not be heard")
    other = parameters.read(root / "params.yaml")
    for name, own, theirs in (
        ("audio.sample_rate_hz", params.audio.sample_rate_hz, other.audio.sample_rate_hz),
        ("clips.duration_s", params.clips.duration_s, other.clips.duration_s),
        *((f"features.{name}", value, getattr(other.features, name)) for name, value in params.features),
    ):
        if own != theirs:
            raise UserError(f"temporal.full.unlabelled: {name} is {theirs} in {root} and {own} here; make them equal")
    found = Project(root)
    for path in (found.feature("mel"), found.clips):
        if not path.is_file():
            raise UserError(f"temporal.full.unlabelled: {path} is missing; run `dvc repro features` in {root}")
    return found


def join(path: Path, array: np.ndarray, other: Project) -> None:
    """Write the own clips (M, F, T) and those of the other project to one array (M + N, F, T) at `path`."""

    more = read_array(other.feature("mel"), "features")
    shape = (len(array) + len(more), *array.shape[1:])
    with atomic_file(path) as partial:
        joined = np.lib.format.open_memmap(partial, "w+", array.dtype, shape)
        for first, part in ((0, array), (len(array), more)):
            for start in range(0, len(part), AT_ONCE):
                stop = min(start + AT_ONCE, len(part))
                joined[first + start : first + stop] = part[start:stop]
        joined.flush()


def movements(own: pd.DataFrame, other: Project) -> np.ndarray:
    """A number for the movement of every clip (M + N,), own and of the other project; `own` is the table of the own."""

    names = ["composer", "work", "movement"]
    both = pd.concat([own[names], read_table(other.clips, "clips")[names]])
    found: np.ndarray = both.groupby(names, sort=False).ngroup().to_numpy()
    return found


def rows(own: pd.DataFrame, other: Project) -> np.ndarray:
    """Which clips of the other project are heard, as rows of what `join` writes: not those of works that have clips on
    the validation or the test side here."""

    names = ["composer", "work"]
    held_out = own.loc[own["split"] != "train", names].drop_duplicates()
    table = read_table(other.clips, "clips")
    free = table.merge(held_out, on=names, how="left", indicator=True)["_merge"] == "left_only"
    return len(own) + np.flatnonzero(free)
