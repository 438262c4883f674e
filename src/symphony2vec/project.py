"""The paths of a project's files, and reading and writing them completely or not at all.

The files of a project:

    data/<corpus>/catalogue.csv     see `symphony2vec.corpus.catalogue`
    out/audio/                      movements.csv, rejected.csv, <movement>.flac (mono, PCM 16, at the project's rate)
    out/clips/                      clips.csv, folds/<fold>.csv, balance.csv (Table 1), splits.csv
    out/features/                   mel.npy, mfcc.npy, chroma.npy: (clips, bins, frames) float32, C order, the rows in
                                    the order of clips.csv; near_duplicates.csv: pairs of clips of the same sound
    out/labels/                     labels.csv (see symphony2vec.labels.stage), left_out.csv, notes/<movement>-<key>.npz
    out/<stage>/<fold>/<model>/     stage: classifiers, embeddings, ali, temporal; the rows always in the order of
                                    clips.csv
        vectors[-<readout>].npy         (clips, dimensions) float32
        probabilities[-<readout>].npy   (clips, composers) or (clips, chunks, composers) float32; composers by name
        curves.csv                      one row an epoch: losses, and the probe on validation clips
        samples.npz                     reconstructions and generated clips
        generation.csv                  clip, composer, work, log_spectral_distance (dB): one row a test clip, of a
                                        model that gives mel spectrograms back
        frechet.csv                     what (reconstructed, generated, training), frechet, frechet_spectrum,
                                        frechet_moves, clips: the distance of its clips from the test clips; training is
                                        the floor (symphony2vec.models.generation)
        run.json                        stage, model, representation and fold; hashes of the clips and of the other
                                        files
        model[-<readout>]/              the package of that readout, without probe and card (symphony2vec.package)
    out/probe/<fold>/<stage>/<model>/   scores.json, predictions.csv, works.csv
    out/meaning/<fold>/<stage>/<model>/ meaning.csv, retrieval.csv, works.csv
    out/probe/<fold>.json, out/meaning/<fold>.json, out/metrics.json    the main numbers, for `dvc metrics`
    out/report/                     index.html, tables as CSV, figures as PNG, sounds
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from symphony2vec.errors import UserError

EXPERIMENTS = (".dvc", "tmp", "exps")  # where DVC makes working copies
REPRESENTATIONS = ("mel", "mfcc", "chroma")
# Columns that stay text even where a corpus has a work "5" or a movement "NA"; elsewhere an empty cell is no number.
TEXT = frozenset(
    (
        "composer work movement file path kind licence origin reason group predicted split split_by fold stage model "
        "row readout reading source measure "
        "a b better key mode note other_composer other_work other_movement other_split"
    ).split()
)


@dataclass(frozen=True)
class SplitFold:
    """One fold: what stays whole in it (work, movement or clip), and its seed."""

    split: str
    seed: int

    @property
    def name(self) -> str:
        """As in "work-0"."""
        return f"{self.split}-{self.seed}"

    @classmethod
    def parse(cls, name: str) -> SplitFold:
        """Return the fold of a name.

        Examples:
            >>> SplitFold.parse("work-0")
            SplitFold(split='work', seed=0)
        """
        split, _, seed = name.rpartition("-")
        return cls(split, int(seed))


@dataclass(frozen=True)
class Project:
    """The folders of one project, seen from its root."""

    root: Path

    @classmethod
    def around(cls, folder: Path) -> Project:
        """The project that holds `folder`: the nearest one above it with a params.yaml and a dvc.yaml."""
        folder = folder.resolve()
        for candidate in (folder, *folder.parents):
            if is_project(candidate):
                return cls(candidate)
        raise UserError(
            f"no params.yaml and dvc.yaml in {folder} or above it; go into the project or name it with --project"
        )

    @property
    def params(self) -> Path:
        """The parameters."""
        return self.root / "params.yaml"

    def corpus(self, name: str) -> Path:
        """The folder of one corpus, with its catalogue.csv."""
        return self.root / "data" / name

    def out(self, *parts: str) -> Path:
        """A file or folder that a stage writes."""
        return self.root.joinpath("out", *parts)

    @property
    def movements(self) -> Path:
        """The table of movements that became sound."""
        return self.out("audio", "movements.csv")

    @property
    def clips(self) -> Path:
        """The table of clips: one row a clip, in the order of every array's rows."""
        return self.out("clips", "clips.csv")

    def fold(self, fold: SplitFold) -> Path:
        """The table of clips with their sides in one fold."""
        return self.out("clips", "folds", f"{fold.name}.csv")

    def feature(self, representation: str) -> Path:
        """The array of one representation."""
        return self.out("features", f"{representation}.npy")

    @property
    def home(self) -> Path:
        """The root of the project that this one is a working copy of, made by `dvc exp run --temp` or `--queue`.

        Such a copy lies in .dvc/tmp/exps of its project and is removed when the experiment ends. The root itself of any
        other project.
        """
        parts = self.root.parts
        for place in range(len(parts) - len(EXPERIMENTS) - 1, 0, -1):
            if parts[place : place + len(EXPERIMENTS)] == EXPERIMENTS:
                top, inside = Path(*parts[:place]), Path(*parts[place + len(EXPERIMENTS) + 1 :])
                return next((root for root in (top / inside, top) if is_project(root)), self.root)
        return self.root

    @property
    def mlruns(self) -> Path:
        """What MLflow keeps: its database and the artifacts. They outlive the working copy of an experiment."""
        return self.home / "mlruns"


def is_project(folder: Path) -> bool:
    """Return whether a folder is the root of a project."""
    return (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file()


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; it replaces `path` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]  # a long name stays legal
    partial = path.with_name(f".{digest}.{platform.node()}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise _no_room(error, path) from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder to fill; it replaces `path` only if the block succeeds.

    With `partial` the caller names the folder: it is used with its contents, and stays if the block fails, so that long
    work can continue where it stopped.
    """
    is_temporary = partial is None
    folder = partial or path.with_name(f".{path.name}.{os.getpid()}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
        if path.exists():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.replace(path)
    except OSError as error:
        raise _no_room(error, path) from error
    finally:
        if is_temporary:
            shutil.rmtree(folder, ignore_errors=True)


def _no_room(error: OSError, path: Path) -> Exception:
    """An error of the disk in plain words; any other error unchanged."""
    reasons = {
        errno.ENOSPC: "the disk is full; free some space and run the command again",
        errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
        errno.EFBIG: "the file is larger than the disk or a limit of this system (ulimit -f) allows",
        errno.EROFS: "the disk is read-only",
        errno.EACCES: "no permission to write there",
    }
    return UserError(f"cannot write {path}: {reasons[error.errno]}") if error.errno in reasons else error


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV (UTF-8, Unix line endings)."""
    with atomic_file(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def read_table(path: Path, made_by: str) -> pd.DataFrame:
    """Read a table of `out/`; names that look like numbers or missing values stay text."""

    if not path.is_file():
        raise UserError(f"{path} is missing; `dvc repro {made_by}` writes it")
    try:
        numbers = [name for name in pd.read_csv(path, nrows=0).columns if name not in TEXT]
        empty = {name: [""] for name in numbers}
        return pd.read_csv(path, keep_default_na=False, na_values=empty, dtype=dict.fromkeys(TEXT, str))
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise _damaged(path, made_by, error) from None


def write_json(path: Path, values: Any) -> None:
    """Write plain values as indented JSON."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, made_by: str) -> Any:
    """Read a JSON file of `out/`."""
    if not path.is_file():
        raise UserError(f"{path} is missing; `dvc repro {made_by}` writes it")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise _damaged(path, made_by, error) from None


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as .npy."""

    with atomic_file(path) as partial, partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: Path, made_by: str) -> np.ndarray:
    """Open one .npy array memory-mapped and read-only."""

    if not path.is_file():
        raise UserError(f"{path} is missing; `dvc repro {made_by}` writes it")
    try:
        mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _damaged(path, made_by, error) from None
    return mapped


def key_of(*sources: Any) -> str:
    """Return a digest of the inputs of an output: files by content (of a folder its .py), values as JSON."""
    digest = hashlib.sha256()
    for source in sources:
        if isinstance(source, Path):
            for path in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
                with path.open("rb") as file:
                    digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(json.dumps(source, sort_keys=True).encode() + b"\0")
    return digest.hexdigest()[:32]


def content_hash(folder: Path) -> str:
    """Return a digest of the names and contents of all files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest.update(path.relative_to(folder).as_posix().encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def _damaged(path: Path, made_by: str, error: Exception) -> UserError:
    return UserError(f"{path} is damaged or cannot be read ({error}); `dvc repro -f {made_by}` writes it again")
