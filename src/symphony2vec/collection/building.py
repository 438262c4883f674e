"""Embedding many recordings into one collection: on all cores, resumable, with unusable files set aside.

The vectors of each recording are stored in a file of their own until all are done, so that an interrupted call can be
resumed. A recording that the output already holds is only embedded again if it or the model has changed.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
import pandas as pd

from symphony2vec import parallel
from symphony2vec.collection import table as tables
from symphony2vec.collection.request import EmbeddingRequest
from symphony2vec.collection.table import COLUMNS, Collection
from symphony2vec.corpus import library, tags
from symphony2vec.corpus.settling import unify_names
from symphony2vec.corpus.titles import IdentifiedRecording, identify
from symphony2vec.errors import Unusable, UserError
from symphony2vec.package import contents, model
from symphony2vec.parallel import processes
from symphony2vec.project import atomic_file, key_of, read_table, write_table

if TYPE_CHECKING:
    from symphony2vec.package.model import Model

TITLES = ("composer", "work", "movement")
Part = tuple[pd.DataFrame, np.ndarray]  # rows of the table, and their vectors


@dataclass(frozen=True)
class Recording:
    """One file to embed.

    Attributes:
        path: absolute.
        text: the path as it is written in the collection.
        titles: composer, work, movement.
        key: of its vectors.
        state: size and modification time.
    """

    path: Path
    text: str
    titles: tuple[str, str, str]
    key: str
    state: tuple[int, int]


@dataclass(frozen=True)
class Job:
    """Embed one recording into one file."""

    recording: Recording
    request: EmbeddingRequest
    target: Path


def write(
    places: Sequence[Path], out: Path, request: EmbeddingRequest, add: bool = False, backend: str | None = None
) -> Collection:
    """Embed files and folders into the collection `out`; unusable files are listed in <out>.rejected.csv.

    Args:
        places: files and folders.
        out: a .parquet, .npy or .csv.
        request: model and form.
        add: keep the rows that `out` holds of other recordings.
        backend: see `symphony2vec.parallel`.

    Raises:
        UserError: `out` is not a collection, or one of another model or form; no file is usable; the disk is full.
    """
    if out.suffix not in tables.SUFFIXES:
        raise UserError(f"{out}: the name of the output must end in one of {', '.join(tables.SUFFIXES)}")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent} is not a folder; create it first, or choose another output")
    parts = out.absolute().with_name(f".{out.name}.parts")  # absolute: workers may have another current folder
    with _lock(parts, out):
        collection = _build(places, request, parts, _read_previous(out, request, add), add, backend)
        tables.write(out, collection)
        rejected = out.with_name(f"{out.name}.rejected.csv")
        if len(collection.rejected):
            write_table(rejected, collection.rejected)
        else:
            rejected.unlink(missing_ok=True)
        shutil.rmtree(parts, ignore_errors=True)
    return collection


def build(places: Sequence[Path], request: EmbeddingRequest) -> Collection:
    """Embed files and folders as `write` does, and only return the collection; processes of this machine are used."""
    with tempfile.TemporaryDirectory(prefix="symphony2vec-") as parts:
        return _build(places, request, Path(parts), None, False, parallel.PROCESSES)


def embed(job: Job) -> int:
    """Embed one recording into its file, on one thread; return the number of its vectors."""
    with model.one_thread():
        embedding = _model(job.request.package, job.request.fingerprint).embed_recording(
            job.recording.path, job.request.form, job.request.hop_s
        )
    if _state(job.recording.path) != job.recording.state:
        raise Unusable("the file changed while it was read; run the command again")
    with atomic_file(job.target) as partial, partial.open("wb") as file:
        np.savez(
            file,
            vectors=embedding.vectors,
            starts_s=embedding.starts_s,
            ends_s=embedding.ends_s,
            note=embedding.note,
        )
    return len(embedding.vectors)


def find_recordings(places: Sequence[Path], request: EmbeddingRequest) -> tuple[list[Recording], list[dict[str, str]]]:
    """Return the recordings among files and below folders, each once, sorted by path, and the visibly unusable files.

    Raises:
        UserError: a place does not exist, or there is no recording at all.
    """
    recordings: dict[str, Recording] = {}
    rejected: list[dict[str, str]] = []
    for place in places:
        if place.is_dir():
            titles = _read_movement_titles(place)
            paths, faults, _ = library.find(place, follow=True)
            rejected += [{"path": collection_path(place / fault.path), "reason": fault.reason} for fault in faults]
            candidates = [(place / path, path, titles.get(path)) for path in paths]
        elif place.exists():
            candidates = [(place, f"{place.parent.name}/{place.name}", None)]
        else:
            raise UserError(f"{library.printable_path(str(place))} does not exist")
        for path, relative, known_titles in candidates:
            try:
                recording = _examine(path, relative, known_titles, request)
            except (OSError, Unusable) as error:
                reason = str(getattr(error, "strerror", None) or error)
                rejected.append({"path": collection_path(path), "reason": reason})
            else:
                recordings[recording.text] = recording
    if not recordings and not rejected:
        names = ", ".join(library.printable_path(str(place)) for place in places)
        raise UserError(f"no recordings in {names}; supported formats: {', '.join(library.SUFFIXES)}")
    return [recordings[text] for text in sorted(recordings)], rejected


def collection_path(path: Path) -> str:
    """Return a recording's path as collections store it: absolute, with links among its folders resolved."""
    return library.printable_path(str(_absolute(path)))


def is_unchanged(path: Path, collection: Collection) -> bool:
    """Return whether the collection holds the vectors of the file as it is now."""
    facts = collection.facts
    try:
        key = _key(collection_path(path), _state(path), facts["fingerprint"], facts["form"], facts["hop_s"])
    except Unusable:
        return False
    return bool((collection.table["key"] == key).any())


def _build(
    places: Sequence[Path],
    request: EmbeddingRequest,
    parts: Path,
    previous: Collection | None,
    add: bool,
    backend: str | None,
) -> Collection:
    recordings, rejected = find_recordings(places, request)
    previous_keys = set() if previous is None else set(previous.table["key"])
    fresh = [recording for recording in recordings if recording.key not in previous_keys]
    unusable = _embed_all(fresh, request, parts, backend)
    rejected += unusable
    unusable_paths = {entry["path"] for entry in unusable}
    rows, notes = _read_parts([recording for recording in fresh if recording.text not in unusable_paths], parts)
    if previous is not None:
        rows += _reuse(previous, recordings, add)
    if not rows:
        raise UserError(f"nothing could be embedded: {rejected[0]['path']}: {rejected[0]['reason']}")
    rejected_table = pd.DataFrame(rejected, columns=["path", "reason"]).sort_values(["path", "reason"])
    return replace(_assemble(rows, request, rejected_table), notes=notes)


def _embed_all(
    fresh: list[Recording], request: EmbeddingRequest, parts: Path, backend: str | None
) -> list[dict[str, str]]:
    """Embed the recordings that have no part file yet; return those that are unusable."""
    jobs = [Job(recording, request, parts / f"{recording.key}.npz") for recording in fresh]
    jobs = [job for job in jobs if not job.target.is_file()]
    rejected = []

    def warm_up() -> None:
        noise = np.random.default_rng(0).standard_normal((1, loaded.frontend.recipe.samples))
        loaded.embed_windows(noise.astype(np.float32))

    loaded = _model(request.package, request.fingerprint)
    compiles = loaded.frontend.representation != "mel"  # librosa, at its first call
    for index, result in parallel.spread(embed, jobs, "embed", "recording", warm_up if compiles else None, backend):
        if isinstance(result, Unusable):
            rejected.append({"path": jobs[index].recording.text, "reason": " ".join(str(result).split())})
        elif not jobs[index].target.is_file():
            raise UserError(f"{jobs[index].target} is missing: all workers must share this folder under the same path")
    return rejected


def _assemble(rows: list[Part], request: EmbeddingRequest, rejected: pd.DataFrame) -> Collection:
    table = pd.concat([part for part, _ in rows], ignore_index=True)
    vectors = np.concatenate([part for _, part in rows])
    order = np.lexsort((table["start_s"], table["path"]))
    recipe = _model(request.package, request.fingerprint).frontend.recipe
    facts: dict[str, Any] = {
        "model": request.source,
        "name": request.name,
        "fingerprint": request.fingerprint,
        "sample_rate_hz": recipe.rate_hz,
        "duration_s": recipe.duration_s,
        "form": request.form,
        "hop_s": request.hop_s,
    }
    return Collection(table.iloc[order].reset_index(drop=True), vectors[order], facts, rejected.reset_index(drop=True))


def _read_parts(recordings: list[Recording], parts: Path) -> tuple[list[Part], dict[str, str]]:
    """Return the rows and vectors of newly embedded recordings, as one part or none, and their notes by path."""
    owners, starts_s, ends_s, vectors, notes = [], [], [], [], {}
    for recording in recordings:
        with np.load(parts / f"{recording.key}.npz") as part:
            vectors.append(part["vectors"])
            starts_s.append(part["starts_s"])
            ends_s.append(part["ends_s"])
            owners += [recording] * len(vectors[-1])
            if note := str(part["note"]) if "note" in part else "":
                notes[recording.text] = note
    if not recordings:
        return [], {}
    times = pd.DataFrame({"start_s": np.concatenate(starts_s), "end_s": np.concatenate(ends_s)})
    return [(_with_titles(times, owners), np.concatenate(vectors))], notes


def _reuse(previous: Collection, recordings: list[Recording], add: bool) -> list[Part]:
    """Return the rows and vectors of unchanged recordings, and with `add` of those not requested now."""
    by_key = {recording.key: recording for recording in recordings}
    same = previous.table["key"].isin(by_key.keys()).to_numpy()
    owners = [by_key[key] for key in previous.table["key"][same]]
    rows = [(_with_titles(previous.table[same], owners), previous.vectors[same])]
    if add:
        others = ~previous.table["path"].isin({recording.text for recording in recordings}).to_numpy()
        rows.append((previous.table[others], previous.vectors[others]))
    return [(table, vectors) for table, vectors in rows if len(table)]


def _with_titles(rows: pd.DataFrame, owners: list[Recording]) -> pd.DataFrame:
    """Return rows of times (n) with path, key and titles of the n recordings that they belong to."""
    titles = {name: [recording.titles[column] for recording in owners] for column, name in enumerate(TITLES)}
    paths, keys = [recording.text for recording in owners], [recording.key for recording in owners]
    return rows.assign(path=paths, key=keys, **titles)[COLUMNS]


@contextmanager
def _lock(parts: Path, out: Path) -> Iterator[None]:
    """Create the folder of the part files, and keep other processes from writing the same output meanwhile."""
    name = f"embed-{key_of([str(parts.resolve())])}"  # not inside the folder, which is removed at the end
    lock = filelock.FileLock(processes.user_file(name))
    try:
        lock.acquire(timeout=0)
        parts.mkdir(exist_ok=True)
    except filelock.Timeout:
        raise UserError(f"another command is writing {out} now; wait for it, or choose another output") from None
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from None
    try:
        yield
    finally:
        if not any(parts.glob("*.npz")):
            shutil.rmtree(parts, ignore_errors=True)
        lock.release()


def _read_previous(out: Path, request: EmbeddingRequest, add: bool) -> Collection | None:
    """Return the collection at the output, if it is of the same model and form."""
    if not out.exists():
        tables.refuse_foreign(out)
        return None
    previous = tables.read(out)
    facts = {"fingerprint": request.fingerprint, "form": request.form, "hop_s": request.hop_s}
    if all(previous.facts.get(name) == value for name, value in facts.items()):
        return previous
    if add:
        raise UserError(
            f"{out} holds vectors of {previous.facts.get('name')} ({previous.facts.get('form')}), which cannot be "
            f"compared with those of {request.name} ({request.form}): choose another output, or leave out --add"
        )
    return None


def _examine(path: Path, relative: str, titles: tuple[str, str, str] | None, request: EmbeddingRequest) -> Recording:
    if not path.is_file():
        raise Unusable("not a regular file")
    state, absolute = _state(path), _absolute(path)
    text = library.printable_path(str(absolute))
    key = _key(text, state, request.fingerprint, request.form, request.hop_s)
    return Recording(absolute, text, titles or _read_titles(path, relative), key, state)


def _absolute(path: Path) -> Path:
    """Resolve the folder, but not the file itself: in a content store the name of a link's target is meaningless."""
    return path.parent.resolve() / path.name


def _key(text: str, state: tuple[int, int], fingerprint: str, form: str, hop_s: float | None) -> str:
    return key_of([text, *state], [fingerprint, form, hop_s])[:16]


def _read_titles(path: Path, relative: str) -> tuple[str, str, str]:
    """Return composer, work and movement from tags or folder names; empty where neither has them."""
    titles = identify(library.printable_path(relative), tags.read_tags(path))
    if isinstance(titles, IdentifiedRecording):
        (titles,) = unify_names([titles], {})
        return titles.composer, titles.work, titles.movement
    return titles.composer, "", titles.movement or library.printable_path(path.stem)


def _read_movement_titles(folder: Path) -> dict[str, tuple[str, str, str]]:
    """Return the titles by file of a folder that the stage `audio` wrote; empty for any other."""
    movements = folder / "movements.csv"
    if not movements.is_file():
        return {}
    rows = read_table(movements, "audio")
    if not {"file", *TITLES} <= set(rows.columns):
        return {}
    return {row["file"]: (row["composer"], row["work"], row["movement"]) for row in rows.to_dict("records")}


def _state(path: Path) -> tuple[int, int]:
    """Return size and modification time, by which a changed recording is recognised."""
    try:
        status = path.stat()
    except OSError as error:
        raise Unusable(f"cannot be opened: {os.strerror(error.errno or 0)}") from None
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=2)
def _model(package: Path, fingerprint: str) -> Model:
    """Load the model of a package, once per process.

    Raises:
        UserError: the package has been replaced by another model since the command began.
    """
    loaded = contents.read(package, model.Model)
    if loaded.fingerprint != fingerprint:
        raise UserError(f"{package} has changed since the command began; run it again")
    return loaded
