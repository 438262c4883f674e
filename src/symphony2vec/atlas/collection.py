"""A collection as `symphony2vec embed` writes it: a parquet file with a vector of every clip.

n clips of D dimensions. Columns: path (text), start_s and end_s (seconds from the recording's own start), composer,
work and movement (text, "" where unknown), vector (D float32). The schema's metadata say which model made the vectors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

TEXTS = ("path", "composer", "work", "movement")
TIMES = ("start_s", "end_s")
KEY = b"symphony2vec"


@dataclass(frozen=True)
class Collection:
    """The clips of a collection, and what made their vectors."""

    clips: pd.DataFrame  # path, start_s, end_s, composer, work, movement; the rows in the order of the vectors
    vectors: np.ndarray  # (n, D) float32
    about: dict[str, Any]  # the model's source, name, fingerprint; the form


def read(path: Path) -> Collection:
    """Read a collection of clips.

    Raises:
        UserError: there is no such file, it is no parquet file, no collection, or not one of clips; it is empty or
            holds values that are not finite.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():
        raise UserError(f"{path} is no file; `symphony2vec embed FOLDER -o {path}` writes a collection")
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as fault:
        raise UserError(f"{path} cannot be read as a parquet file ({fault}); give a collection of embed") from None
    about = _about(table, path)
    _check(table, path)
    vectors = np.concatenate([chunk.flatten().to_numpy() for chunk in table["vector"].chunks])
    if not np.isfinite(vectors).all():
        raise UserError(f"{path} holds vectors that are not finite; embed its recordings again")
    clips = table.select([*TEXTS, *TIMES]).to_pandas()
    in_order = (
        np.isfinite(clips[list(TIMES)]).all(axis=1) & (clips["start_s"] >= 0) & (clips["end_s"] > clips["start_s"])
    )
    if not in_order.all():
        row = clips[~in_order].iloc[0]
        raise UserError(f"{path}: a clip of {row['path']} lies from {row['start_s']} to {row['end_s']} s; embed again")
    return Collection(clips, vectors.reshape(table.num_rows, -1), about)


def _about(table: pa.Table, path: Path) -> dict[str, Any]:
    """What the schema's metadata say of the vectors."""
    try:
        about = dict(json.loads((table.schema.metadata or {})[KEY]))
    except (KeyError, ValueError, TypeError):
        raise UserError(f"{path} is a parquet file, but not a collection that `symphony2vec embed` wrote") from None
    if about.get("form") != "clips":
        found = about.get("form")
        raise UserError(f"{path} holds vectors of the form '{found}', an atlas shows clips; embed with --form clips")
    return about


def _check(table: pa.Table, path: Path) -> None:
    """Every column there, of its type and without gaps, and one clip at least."""
    import pyarrow as pa

    types = pa.types
    rules: dict[str, Callable[[Any], bool]] = {}
    rules |= dict.fromkeys(TEXTS, lambda kind: types.is_string(kind) or types.is_large_string(kind))
    rules |= dict.fromkeys(TIMES, lambda kind: types.is_floating(kind))
    rules["vector"] = lambda kind: types.is_fixed_size_list(kind) and kind.value_type == pa.float32()
    for name, fits in rules.items():
        if name not in table.column_names:
            raise UserError(f"{path} has no column '{name}', as a collection of this version has; embed again")
        kind = table.schema.field(name).type
        if not fits(kind):
            raise UserError(f"{path}: its column '{name}' is {kind}, and not what embed writes; embed again")
        if table[name].null_count:
            raise UserError(f"{path}: its column '{name}' has {table[name].null_count} gaps; embed again")
    if not table.num_rows:
        raise UserError(f"{path} holds no clips; embed a folder with recordings")
