"""The file formats of a collection.

    x.parquet   one row per vector: the columns below and vector (fixed-size list of float32); facts in the schema's
                metadata under "symphony2vec"
    x.npy       the vectors (n, D) float32; x.npy.index.csv has the columns below, x.npy.json the facts
    x.csv       the columns below, then v0 ... v<D-1>; x.csv.json has the facts

Columns: path, start_s, end_s, composer, work, movement (empty if unknown), key (equal keys, equal vectors: a digest of
the recording's path, size and modification time, and of the model).
Facts: model, name, fingerprint, sample_rate_hz, duration_s, form, hop_s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_numeric_dtype

from symphony2vec.errors import UserError
from symphony2vec.project import atomic_file, read_table

COLUMNS = ["path", "start_s", "end_s", "composer", "work", "movement", "key"]
TIMES = ("start_s", "end_s")
SUFFIXES = (".parquet", ".npy", ".csv")
FACTS = b"symphony2vec"
FACT_NAMES = ("model", "name", "fingerprint", "sample_rate_hz", "duration_s", "form", "hop_s")


@dataclass(frozen=True)
class Collection:
    """The vectors of many recordings.

    Attributes:
        table: n rows; see the columns of this module.
        vectors: (n, D) float32.
        facts: see this module.
        rejected: path and reason of each file that could not be used.
        notes: by path, oddities of the recordings embedded by this call; they are not written.
    """

    table: pd.DataFrame
    vectors: np.ndarray
    facts: Mapping[str, Any]
    rejected: pd.DataFrame
    notes: Mapping[str, str] = field(default_factory=dict)


def write(path: Path, collection: Collection) -> None:
    """Write a collection atomically, in the format given by the suffix of `path`."""
    if path.suffix == ".parquet":
        _write_parquet(path, collection)
    else:
        _write_plain(path, collection)


def read(path: Path) -> Collection:
    """Read a collection.

    Raises:
        UserError: the file is missing, damaged, or not a collection: a column is missing or has gaps, a vector is not
            finite, a passage ends before it begins.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is not a collection: its name must end in one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path} is missing; `symphony2vec embed FOLDER -o {path.name}` writes it")
    table, vectors, facts = _read_parquet(path) if path.suffix == ".parquet" else _read_plain(path)
    missing = [name for name in COLUMNS if name not in table.columns]
    reason = f"no column {', '.join(missing)}" if missing else "its vectors do not fit its rows"
    if missing or vectors.ndim != 2 or len(vectors) != len(table) or (len(table) and not vectors.shape[1]):
        raise UserError(f"{path} is not a collection of symphony2vec ({reason}); `symphony2vec embed` writes one")
    _check_rows(table, vectors, path)
    return Collection(table[COLUMNS], vectors, facts, pd.DataFrame(columns=["path", "reason"]))


def passages(starts_s: np.ndarray, ends_s: np.ndarray, probabilities: np.ndarray, composers: list[str]) -> pd.DataFrame:
    """Return one row per passage: start_s, end_s and the probability of every composer.

    Args:
        starts_s: (n,) seconds.
        ends_s: (n,) seconds.
        probabilities: (n, K).
        composers: the K names.

    Examples:
        >>> passages(np.array([0.0]), np.array([10.0]), np.array([[0.75, 0.25]]), ["Bach", "Haydn"]).columns.tolist()
        ['start_s', 'end_s', 'Bach', 'Haydn']
    """
    table = pd.DataFrame(probabilities, columns=composers)
    table.insert(0, "end_s", ends_s)
    table.insert(0, "start_s", starts_s)
    return table


def attributes(starts_s: np.ndarray, ends_s: np.ndarray, values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return one row per passage: start_s, end_s and the musical attributes, those of K numbers in K columns.

    Args:
        starts_s: (n,) seconds.
        ends_s: (n,) seconds.
        values: (n, K) by name.

    Examples:
        >>> values = {"strings": np.array([[0.5]]), "pitch_classes": np.zeros((1, 12))}
        >>> attributes(np.array([0.0]), np.array([10.0]), values).columns.tolist()[:5]
        ['start_s', 'end_s', 'strings', 'pitch_classes_0', 'pitch_classes_1']
    """
    columns = {"start_s": starts_s, "end_s": ends_s}
    for name, numbers in values.items():
        several = numbers.shape[1] > 1
        columns |= {f"{name}_{place}" if several else name: numbers[:, place] for place in range(numbers.shape[1])}
    return pd.DataFrame(columns)


def join_passages(tables: Mapping[Path, pd.DataFrame]) -> pd.DataFrame:
    """Return the passages of several recordings in one table, with the path of each in the first column."""
    joined = pd.concat([table.assign(path=str(path)) for path, table in tables.items()], ignore_index=True)
    return joined[["path", *joined.columns.drop("path")]]


def refuse_foreign(path: Path) -> None:
    """Raise UserError if writing a new collection to `path` would overwrite another file beside it."""
    facts = _facts_path(path)
    if path.suffix != ".parquet" and facts.exists():
        _read_facts(facts)


def _check_rows(table: pd.DataFrame, vectors: np.ndarray, path: Path) -> None:
    """Raise UserError if a row is not one that `write` can have written."""
    for name in COLUMNS:
        if is_numeric_dtype(table[name]) != (name in TIMES) and len(table):
            raise UserError(f"{path}: its column '{name}' has the wrong type, {table[name].dtype}; embed again")
        if gaps := int(table[name].isna().sum()):
            raise UserError(f"{path}: its column '{name}' has {gaps} gaps; embed again")
    if not np.isfinite(vectors).all():
        raise UserError(f"{path} holds vectors that are not finite; embed its recordings again")
    wrong = table[table["end_s"] <= table["start_s"]] if len(table) else table
    if len(wrong):
        row = wrong.iloc[0]
        raise UserError(f"{path}: a passage of {row['path']} is {row['start_s']} to {row['end_s']} s; embed again")


def _write_parquet(path: Path, collection: Collection) -> None:
    columns = pa.Table.from_pandas(collection.table, preserve_index=False)
    flat = pa.array(collection.vectors.reshape(-1), pa.float32())
    vectors = pa.FixedSizeListArray.from_arrays(flat, collection.vectors.shape[1])
    table = columns.append_column("vector", vectors)
    metadata = (table.schema.metadata or {}) | {FACTS: json.dumps(dict(collection.facts)).encode()}
    with atomic_file(path) as partial:
        pq.write_table(table.replace_schema_metadata(metadata), partial, compression="zstd")


def _read_parquet(path: Path) -> tuple[pd.DataFrame, np.ndarray, Mapping[str, Any]]:
    try:
        columns = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}") from None
    facts = (columns.schema.metadata or {}).get(FACTS)
    if facts is None or "vector" not in columns.column_names:
        raise UserError(f"{path} is not a collection of symphony2vec; `symphony2vec embed` writes one")
    kind = columns.schema.field("vector").type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
        raise UserError(f"{path}: its column 'vector' has the wrong type, {kind}; embed again")
    flat = np.asarray(columns.column("vector").combine_chunks().flatten(), dtype=np.float32)
    table = columns.drop_columns(["vector"]).to_pandas()
    vectors = flat.reshape(len(table), -1) if len(table) else flat.reshape(0, 0)
    return table, vectors, _parse_facts(facts, path)


def _write_plain(path: Path, collection: Collection) -> None:
    """Write all files of a collection before the first is moved into place, so that they always belong together."""
    table, vectors = collection.table.reset_index(drop=True), collection.vectors
    with atomic_file(_facts_path(path)) as facts, atomic_file(path) as partial:
        facts.write_text(json.dumps(dict(collection.facts), indent=2) + "\n", encoding="utf-8")
        if path.suffix == ".npy":
            with atomic_file(_index_path(path)) as index, partial.open("wb") as file:
                table.to_csv(index, index=False, lineterminator="\n")
                np.save(file, vectors, allow_pickle=False)
        else:
            values = pd.DataFrame(vectors, columns=[f"v{column}" for column in range(vectors.shape[1])])
            pd.concat([table, values], axis=1).to_csv(partial, index=False, lineterminator="\n")


def _read_plain(path: Path) -> tuple[pd.DataFrame, np.ndarray, Mapping[str, Any]]:
    if not _facts_path(path).is_file():
        raise UserError(
            f"{_facts_path(path)} is missing: it belongs to {path.name} and says which model made the vectors"
        )
    facts = _read_facts(_facts_path(path))
    if path.suffix == ".npy":
        try:
            return read_table(_index_path(path), "embed"), np.load(path, allow_pickle=False), facts
        except (ValueError, EOFError, OSError) as error:
            raise UserError(f"{path} cannot be read as .npy: {error}") from None
    table = read_table(path, "embed")
    values = [name for name in table.columns if name[:1] == "v" and name[1:].isdecimal()]
    try:
        return table, table[values].to_numpy(dtype=np.float32), facts
    except ValueError as error:
        raise UserError(f"{path} is damaged: one of its vectors is not numeric ({error})") from None


def _read_facts(path: Path) -> Mapping[str, Any]:
    try:
        return _parse_facts(path.read_bytes(), path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def _parse_facts(text: bytes, path: Path) -> Mapping[str, Any]:
    try:
        facts = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is damaged: its facts are not JSON ({error})") from None
    if not isinstance(facts, dict) or not set(FACT_NAMES) <= facts.keys():
        raise UserError(f"{path} is not a collection of symphony2vec, or of another version; choose another output")
    return facts


def _facts_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _index_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.index.csv")
