"""The clips of another project that a model hears as well: their movements, never their composers.

A setting names the project's folder (params.yaml, temporal.full.unlabelled). Its clips are heard while the model
learns, but for works that both projects have; the probe, the validation and the scaling of the bands stay with the own
clips. Contrast, reconstruction and game use them, none of which looks at a composer.

M own clips, N of the other project, F bins, T frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from symphony2vec import params as parameters
from symphony2vec.artifacts import Project, read_array, read_table, whole_file
from symphony2vec.errors import UserError
from symphony2vec.params import Params

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

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
    return Project(root)


def join(path: Path, array: np.ndarray, other: Project) -> None:
    """Write the own clips (M, F, T) and those of the other project to one array (M + N, F, T) at `path`."""
    import numpy as np

    more = read_array(other.feature("mel"), "features")
    shape = (len(array) + len(more), *array.shape[1:])
    with whole_file(path) as partial:
        joined = np.lib.format.open_memmap(partial, "w+", array.dtype, shape)
        for first, part in ((0, array), (len(array), more)):
            for start in range(0, len(part), AT_ONCE):
                stop = min(start + AT_ONCE, len(part))
                joined[first + start : first + stop] = part[start:stop]
        joined.flush()


def movements(own: np.ndarray, other: Project) -> np.ndarray:
    """The numbers of the own clips' movements (M,) with those of the other project's after them: (M + N,)."""
    import numpy as np
    import pandas as pd

    table = read_table(other.clips, "clips")
    return np.concatenate([own, own.max() + 1 + pd.factorize(table["file"])[0]])


def rows(own: pd.DataFrame, other: Project) -> np.ndarray:
    """Which clips of the other project are heard, as rows of what `join` writes: those of works that are not among the
    own clips (`own` is their table), for such a work may be on the test side here."""
    import numpy as np

    table = read_table(other.clips, "clips")
    works = own[["composer", "work"]].drop_duplicates()
    known = table.merge(works, on=["composer", "work"], how="left", indicator=True)["_merge"] == "both"
    found: np.ndarray = len(own) + np.flatnonzero(~known)
    return found
