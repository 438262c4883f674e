"""Many recordings become one collection: on all cores, resumable, what cannot be used set aside with its reason.

Each recording's vectors are kept in a file of their own until all are there; a call that was interrupted goes on where
it stopped. A recording whose vectors stand in the output already is not embedded again, unless it or the model changed.
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
from typing import TYPE_CHECKING, Any, Protocol

import filelock
import numpy as np
import pandas as pd

from symphony2vec import parallel
from symphony2vec.collection import table as tables
from symphony2vec.collection.table import COLUMNS, Collection
from symphony2vec.corpus import library
from symphony2vec.corpus.settling import unify_names
from symphony2vec.corpus.tags import read_tags
from symphony2vec.corpus.titles import IdentifiedRecording, identify
from symphony2vec.errors import Unusable, UserError
from symphony2vec.package import contents, model
from symphony2vec.package.model import FORMS, HOP_S
from symphony2vec.parallel import processes
from symphony2vec.project import atomic_file, key_of, read_table, write_table

if TYPE_CHECKING:
    from symphony2vec.package.model import Model

TITLES = ("composer", "work", "movement")


class LoadedModel(Protocol):
    """What is needed of a model to embed with it in other processes; `symphony2vec.embedder.Embedder` has it."""

    folder: Path
    source: str
    name: str
    fingerprint: str
    duration_s: float


@dataclass(frozen=True)
class EmbeddingRequest:
    """Which model embeds (the folder of its package, where it came from, name, fingerprint), and in which form."""

    package: Path
    source: str
    name: str
    fingerprint: str
    form: str
    hop_s: float | None

    @classmethod
    def of(cls, loaded: LoadedModel, form: str, hop_s: float | None) -> EmbeddingRequest:
        """What a loaded model is request for; timestamps have a hop, and nothing else has.

        Raises:
            UserError: no such form, or a hop that it cannot have.
        """

        if form not in FORMS:
            raise UserError(f"no form '{form}'; there are {', '.join(FORMS)}")
        if form != "timestamps" and hop_s is not None:
            raise UserError(f"a hop is for the form timestamps alone, not for {form}")
        if form == "timestamps":
            hop_s = HOP_S if hop_s is None else hop_s
            if not 0.0 < hop_s <= loaded.duration_s:
                raise UserError(
                    f"a hop of {hop_s:g} s: wanted are seconds up to the model's window, {loaded.duration_s:g}"
                )
        return cls(loaded.folder, loaded.source, loaded.name, loaded.fingerprint, form, hop_s)


@dataclass(frozen=True)
class Recording:
    """One file to embed: where it lies, how it is written in the table, its titles, and the key of its vectors."""

    path: Path
    text: str
    titles: tuple[str, str, str]
    key: str
    state: tuple[int, int]


@dataclass(frozen=True)
class Job:
    """All that a worker needs to embed one recording into one file."""

    recording: Recording
    request: EmbeddingRequest
    target: Path


def write(
    places: Sequence[Path], out: Path, request: EmbeddingRequest, add: bool = False, backend: str | None = None
) -> Collection:
    """Embed files and folders into the collection `out`; with `add`, what it holds of other files stays in it.

    What cannot be used is listed in <out>.rejected.csv.

    Raises:
        UserError: `out` is no collection, or one of another model or form; nothing can be used; the disk is full.
    """
    if out.suffix not in tables.SUFFIXES:
        raise UserError(f"{out}: the name of the output ends in one of {', '.join(tables.SUFFIXES)}")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent} is no folder; make it first, or choose another place for the output")
    parts = out.absolute().with_name(f".{out.name}.parts")  # a worker may stand elsewhere
    with _alone(parts, out):
        made = _built(places, request, parts, _before(out, request, add), add, backend)
        tables.write(out, made)
        rejected = out.with_name(f"{out.name}.rejected.csv")
        if len(made.rejected):
            write_table(rejected, made.rejected)
        else:
            rejected.unlink(missing_ok=True)
        shutil.rmtree(parts, ignore_errors=True)
    return made


def build(places: Sequence[Path], request: EmbeddingRequest) -> Collection:
    """As `write`, but the collection is only returned; this machine alone works, whose temporary files are its own."""
    with tempfile.TemporaryDirectory(prefix="symphony2vec-") as parts:
        return _built(places, request, Path(parts), None, False, parallel.PROCESSES)


def embed(job: Job) -> int:
    """Embed one recording into its file, on one thread; returns the number of its vectors."""

    with model.one_thread():
        found = _model(job.request.package, job.request.fingerprint).heard_file(
            job.recording.path, job.request.form, job.request.hop_s
        )
    if _state(job.recording.path) != job.recording.state:
        raise Unusable("the file changed while it was read; run the command again")
    with atomic_file(job.target) as partial, partial.open("wb") as file:
        np.savez(file, vectors=found.vectors, starts_s=found.starts_s, ends_s=found.ends_s, note=found.note)
    return len(found.vectors)


def recordings(places: Sequence[Path], request: EmbeddingRequest) -> tuple[list[Recording], list[dict[str, str]]]:
    """The recordings among files and below folders, each once, sorted by path; and what can be seen to be unusable.

    Raises:
        UserError: a place does not exist, or there is no recording at all.
    """
    found: dict[str, Recording] = {}
    rejected: list[dict[str, str]] = []
    for place in places:
        if place.is_dir():
            known = _catalogued(place)
            paths, faults, _ = library.find(place, follow=True)
            rejected += [{"path": written(place / fault.path), "reason": fault.reason} for fault in faults]
            wanted = [(place / path, path, known.get(path)) for path in paths]
        elif place.exists():
            wanted = [(place, f"{place.parent.name}/{place.name}", None)]
        else:
            raise UserError(f"{library.printable_path(str(place))} does not exist")
        for path, relative, titles in wanted:
            try:
                one = _recording(path, relative, titles, request)
            except (OSError, Unusable) as fault:
                rejected.append({"path": written(path), "reason": str(getattr(fault, "strerror", None) or fault)})
                continue
            found[one.text] = one
    if not found and not rejected:
        named = ", ".join(library.printable_path(str(place)) for place in places)
        raise UserError(f"no recordings in {named}; {', '.join(library.SUFFIXES)} are read")
    return [found[text] for text in sorted(found)], rejected


def written(path: Path) -> str:
    """How a recording's path stands in a collection: absolute, and the same by whatever way its folder was reached."""
    return library.printable_path(str(_absolute(path)))


def unchanged(path: Path, collection: Collection) -> bool:
    """Whether the collection's vectors of a recording are those of the file as it is now."""
    facts = collection.facts
    try:
        key = _key(written(path), _state(path), facts["fingerprint"], facts["form"], facts["hop_s"])
    except Unusable:
        return False
    return bool((collection.table["key"] == key).any())


def _built(
    places: Sequence[Path],
    request: EmbeddingRequest,
    parts: Path,
    before: Collection | None,
    add: bool,
    backend: str | None,
) -> Collection:
    wanted, rejected = recordings(places, request)
    known = set() if before is None else set(before.table["key"])
    fresh = [one for one in wanted if one.key not in known]
    unusable = _embedded(fresh, request, parts, backend)
    rejected += unusable
    lost = {one["path"] for one in unusable}
    tabled = _read([one for one in fresh if one.text not in lost], parts)
    if before is not None:
        tabled += _kept(before, {one.key: one for one in wanted}, {one.text for one in wanted}, add)
    if not tabled:
        raise UserError(f"nothing could be embedded: {rejected[0]['path']}: {rejected[0]['reason']}")
    unusable_table = pd.DataFrame(rejected, columns=["path", "reason"]).sort_values(["path", "reason"])
    return replace(_whole(tabled, request, unusable_table), notes=_notes(fresh, parts))


def _embedded(
    fresh: list[Recording], request: EmbeddingRequest, parts: Path, backend: str | None
) -> list[dict[str, str]]:
    """Embed what has no file among the parts yet; returns what could not be."""
    jobs = [Job(one, request, parts / f"{one.key}.npz") for one in fresh]
    jobs = [job for job in jobs if not job.target.is_file()]
    rejected = []

    def warm_up() -> None:
        model = _model(request.package, request.fingerprint)
        model.heard(np.random.default_rng(0).standard_normal((1, model.hearing.recipe.samples)).astype(np.float32))

    for index, result in parallel.spread(embed, jobs, "embed", "recording", warm_up, backend):
        if isinstance(result, Unusable):
            rejected.append({"path": jobs[index].recording.text, "reason": " ".join(str(result).split())})
        elif not jobs[index].target.is_file():
            raise UserError(f"{jobs[index].target}: a worker made it elsewhere; every worker must see this very folder")
    return rejected


def _whole(
    tabled: list[tuple[pd.DataFrame, np.ndarray]], request: EmbeddingRequest, rejected: pd.DataFrame
) -> Collection:
    table = pd.concat([part for part, _ in tabled], ignore_index=True)
    vectors = np.concatenate([part for _, part in tabled])
    order = np.lexsort((table["start_s"], table["path"]))
    hearing = _model(request.package, request.fingerprint).hearing.recipe
    facts: dict[str, Any] = {
        "model": request.source,
        "name": request.name,
        "fingerprint": request.fingerprint,
        "sample_rate_hz": hearing.rate_hz,
        "duration_s": hearing.duration_s,
        "form": request.form,
        "hop_s": request.hop_s,
    }
    return Collection(table.iloc[order].reset_index(drop=True), vectors[order], facts, rejected.reset_index(drop=True))


def _read(fresh: list[Recording], parts: Path) -> list[tuple[pd.DataFrame, np.ndarray]]:
    """The rows and vectors of what was embedded now, in one piece; none where there is nothing."""

    held: dict[str, list[np.ndarray]] = {"vectors": [], "starts_s": [], "ends_s": []}
    for one in fresh:
        with np.load(parts / f"{one.key}.npz") as part:
            for name, arrays in held.items():
                arrays.append(part[name])
    if not fresh:
        return []
    of = np.repeat(np.arange(len(fresh)), [len(own) for own in held["vectors"]])
    times = {"start_s": np.concatenate(held["starts_s"]), "end_s": np.concatenate(held["ends_s"])}
    return [(_titled(pd.DataFrame(times), [fresh[place] for place in of]), np.concatenate(held["vectors"]))]


def _notes(fresh: list[Recording], parts: Path) -> dict[str, str]:
    """By path, what is odd about recordings that were embedded now."""

    notes = {}
    for recording in fresh:
        path = parts / f"{recording.key}.npz"
        if path.is_file():
            with np.load(path) as part:
                notes[recording.text] = str(part["note"]) if "note" in part else ""
    return {path: note for path, note in notes.items() if note}


def _kept(
    before: Collection, wanted: dict[str, Recording], named: set[str], add: bool
) -> list[tuple[pd.DataFrame, np.ndarray]]:
    """The rows and vectors of recordings that did not change; with `add`, of those that are not named now as well."""
    same = before.table["key"].isin(wanted.keys()).to_numpy()
    kept = [(_titled(before.table[same], [wanted[key] for key in before.table["key"][same]]), before.vectors[same])]
    if add:
        others = ~before.table["path"].isin(named).to_numpy()
        kept.append((before.table[others], before.vectors[others]))
    return [(rows, vectors) for rows, vectors in kept if len(rows)]


def _titled(rows: pd.DataFrame, of: list[Recording]) -> pd.DataFrame:
    """Rows of times (n) with what is said of the n recordings that they belong to."""
    titles = {name: [one.titles[place] for one in of] for place, name in enumerate(TITLES)}
    return rows.assign(path=[one.text for one in of], key=[one.key for one in of], **titles)[COLUMNS]


@contextmanager
def _alone(parts: Path, out: Path) -> Iterator[None]:
    """The folder of the parts, held by this process: what two made at once into one output would be neither's."""

    name = f"embed-{key_of([str(parts.resolve())])}"  # not in the folder, which goes when all is done
    lock = filelock.FileLock(processes.user_file(name))
    try:
        lock.acquire(timeout=0)
        parts.mkdir(exist_ok=True)
    except filelock.Timeout:
        raise UserError(f"another command is writing {out} now; wait for it, or choose another output") from None
    except OSError as fault:
        raise UserError(f"cannot write {out}: {fault.strerror or fault}") from None
    try:
        yield
    finally:
        if not any(parts.glob("*.npz")):
            shutil.rmtree(parts, ignore_errors=True)
        lock.release()


def _before(out: Path, request: EmbeddingRequest, add: bool) -> Collection | None:
    """What lies at the output already, as far as it can be gone on with."""
    if not out.exists():
        tables.refuse_foreign(out)
        return None
    before = tables.read(out)
    facts = {"fingerprint": request.fingerprint, "form": request.form, "hop_s": request.hop_s}
    if all(before.facts.get(name) == value for name, value in facts.items()):
        return before
    if add:
        raise UserError(
            f"{out} holds vectors of {before.facts.get('name')} ({before.facts.get('form')}), which do not compare "
            f"with those of {request.name} ({request.form}): choose another output, or leave out --add to make it anew"
        )
    return None


def _recording(path: Path, relative: str, titles: tuple[str, str, str] | None, request: EmbeddingRequest) -> Recording:
    if not path.is_file():
        raise Unusable("no ordinary file")
    state, absolute = _state(path), _absolute(path)
    text = library.printable_path(str(absolute))
    key = _key(text, state, request.fingerprint, request.form, request.hop_s)
    return Recording(absolute, text, titles or _titles(path, relative), key, state)


def _absolute(path: Path) -> Path:
    """The file itself is not followed where it is a link: in a store of data its target's name says nothing."""
    return path.parent.resolve() / path.name


def _key(text: str, state: tuple[int, int], fingerprint: str, form: str, hop_s: float | None) -> str:
    return key_of([text, *state], [fingerprint, form, hop_s])[:16]


def _titles(path: Path, relative: str) -> tuple[str, str, str]:
    """Composer, work and movement, from tags or folders; empty where neither tells."""
    placed = identify(library.printable_path(relative), read_tags(path))
    if isinstance(placed, IdentifiedRecording):
        (placed,) = unify_names([placed], {})
        return placed.composer, placed.work, placed.movement
    return placed.composer, "", placed.movement or library.printable_path(path.stem)


def _catalogued(folder: Path) -> dict[str, tuple[str, str, str]]:
    """The titles of the stage `audio`, where the folder is the one that it wrote."""
    listed = folder / "movements.csv"
    if not listed.is_file():
        return {}
    rows = read_table(listed, "audio")
    if not {"file", *TITLES} <= set(rows.columns):
        return {}
    return {row["file"]: (row["composer"], row["work"], row["movement"]) for row in rows.to_dict("records")}


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change: with these the same, the recording is taken to be the same."""
    try:
        found = path.stat()
    except OSError as fault:
        raise Unusable(f"cannot be opened: {os.strerror(fault.errno or 0)}") from None
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=2)
def _model(package: Path, fingerprint: str) -> Model:
    """The model of a package, once a process; a package that was replaced meanwhile is another one."""

    found = contents.read(package, model.Model)
    if found.fingerprint != fingerprint:
        raise UserError(f"{package} has changed since the command began; run it again")
    return found
