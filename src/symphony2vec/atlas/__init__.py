"""A page on which every clip of a collection is a dot, coloured by composer, that plays its ten seconds when clicked.

    Reads   a collection that `symphony2vec embed` wrote, and the recordings it names
    Writes  a folder: index.html, the viewer of the package embedding-atlas, data/dataset.parquet, sounds/<key>.mp3, and
            atlas.json, which records the collection, model and projection

The folder needs no network, but a static web server: browsers load neither modules nor WebAssembly from file://.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from symphony2vec import __version__
from symphony2vec.atlas import page, projection, sounds
from symphony2vec.collection import table
from symphony2vec.collection.table import Collection
from symphony2vec.errors import UserError
from symphony2vec.project import atomic_folder, write_json

__all__ = ["Atlas", "make", "read"]
ABOUT = "atlas.json"


@dataclass(frozen=True)
class Atlas:
    """A finished atlas.

    Attributes:
        folder: where it lies.
        collection: its clips.
        projected_by: the method that placed the dots.
        sound_bytes: of each clip that has a sound.
        silent: by recording, the reasons why clips of it have no sound, one per clip.
        draws_without_webgpu: whether the installed viewer works in browsers without WebGPU.
    """

    folder: Path
    collection: Collection
    projected_by: str
    sound_bytes: list[int]
    silent: dict[str, list[str]]
    draws_without_webgpu: bool

    @property
    def bytes(self) -> int:
        """The size of the folder in bytes."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def read(path: Path) -> Collection:
    """Read a collection of clips.

    Raises:
        UserError: it cannot be read (see `symphony2vec.collection.table.read`), is empty, or holds another form.
    """
    collection = table.read(path)
    if collection.facts["form"] != "clips":
        form = collection.facts["form"]
        raise UserError(f"{path} holds vectors of the form '{form}', an atlas shows clips; embed with --form clips")
    if not len(collection.table):
        raise UserError(f"{path} holds no clips; embed a folder with recordings")
    return collection


def make(source: Path, folder: Path, with_sound: bool = True) -> Atlas:
    """Write the atlas of a collection, atomically.

    After an interruption the next call reuses the finished sounds, and so does a later call with the same folder and
    other vectors of the same recordings.

    Args:
        source: a collection of clips.
        folder: to write; an existing atlas is replaced.
        with_sound: whether dots play their clips.

    Raises:
        UserError: the collection cannot be used, a package is missing, or `folder` exists and is not an atlas.
    """
    static = page.viewer()
    collection = read(source)
    folder = folder.resolve()
    with atomic_folder(folder, _partial_folder(folder)) as partial:
        _keep_sounds(partial, folder if with_sound else None)
        names: list[str] = []
        silent: dict[int, str] = {}
        if with_sound:
            names, silent = sounds.make(collection.table, source, partial / page.SOUNDS)
            _remove_except(partial / page.SOUNDS, set(names))
        points = projection.standardise(collection.vectors)
        positions, projected_by = projection.project(points)
        cells = [f"{page.SOUNDS}/{name}" if name else silent[row] for row, name in enumerate(names)]
        neighbours = projection.nearest_neighbours(points)
        rows = page.table(collection.table, cells if with_sound else None, positions, neighbours)
        page.write(partial, static, rows, source.stem)
        write_json(partial / ABOUT, _about(source, collection, projected_by))
        sizes = [(partial / page.SOUNDS / name).stat().st_size for name in names if name]
    reasons = _by_recording(collection, silent)
    return Atlas(folder, collection, projected_by, sizes, reasons, page.draws_without_webgpu(static))


def _partial_folder(folder: Path) -> Path:
    """Return the folder to fill first; raise UserError if an atlas must not replace `folder`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder for the atlas")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ABOUT).is_file():
        raise UserError(f"{folder} exists and is not an atlas; name another folder, or remove it")
    return folder.with_name(f".{folder.name}.atlas.partial")


def _keep_sounds(partial: Path, previous: Path | None) -> None:
    """Remove all but the sounds of an interrupted call, and copy those of the previous atlas; None keeps no sound."""
    for path in partial.iterdir():
        if path.name != page.SOUNDS or previous is None:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if previous is None:
        return
    (partial / page.SOUNDS).mkdir(exist_ok=True)
    for path in (previous / page.SOUNDS).glob("*"):
        if not (partial / page.SOUNDS / path.name).exists():
            shutil.copy2(path, partial / page.SOUNDS / path.name)


def _remove_except(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


def _about(source: Path, collection: Collection, projected_by: str) -> dict[str, object]:
    return {
        "symphony2vec": __version__,
        "collection": source.name,
        "clips": len(collection.table),
        "projection": projected_by,
        "vectors": dict(collection.facts),
    }


def _by_recording(collection: Collection, silent: dict[int, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for row in sorted(silent):
        reasons.setdefault(str(collection.table["path"].iloc[row]), []).append(silent[row])
    return reasons
