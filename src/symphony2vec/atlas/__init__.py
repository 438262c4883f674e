"""A page on which every clip of a collection is a dot, coloured by composer, that plays its ten seconds when clicked.

Reads   a collection that `symphony2vec embed` wrote, and the recordings it names
Writes  a folder: index.html, the viewer of the package embedding-atlas, data/dataset.parquet, sounds/<key>.mp3, and
        atlas.json, which says what the atlas was made from

Nothing in the folder needs a network. A browser shows it from any static server, and not from disk: browsers load
neither modules nor WebAssembly from file://.
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
    """What was made."""

    folder: Path
    collection: Collection
    projected_by: str
    sound_bytes: list[int]  # of each clip that has a sound
    silent: dict[str, list[str]]  # recording -> the reasons why clips of it have none, one a clip
    draws_without_webgpu: bool

    @property
    def bytes(self) -> int:
        """The size of the folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def read(path: Path) -> Collection:
    """Read a collection of clips.

    Raises:
        UserError: it cannot be read (see `symphony2vec.collection.table.read`), is empty, or not one of clips.
    """
    found = table.read(path)
    if found.facts["form"] != "clips":
        raise UserError(
            f"{path} holds vectors of the form '{found.facts['form']}', an atlas shows clips; embed with --form clips"
        )
    if not len(found.table):
        raise UserError(f"{path} holds no clips; embed a folder with recordings")
    return found


def make(source: Path, folder: Path, with_sound: bool = True) -> Atlas:
    """Make the atlas of a collection, whole or not at all.

    Interrupted, the next call goes on with the sounds that are there; so does a later one into the same folder, for
    other vectors of the same recordings.

    Raises:
        UserError: the collection cannot be used, a package is missing, or `folder` is there and is not an atlas.
    """
    static = page.viewer()
    collection = read(source)
    folder = folder.resolve()
    partial = _partial(folder)
    with atomic_folder(folder, partial) as filling:
        _keep_sounds(filling, folder if with_sound else None)
        names: list[str] = []
        silent: dict[int, str] = {}
        if with_sound:
            names, silent = sounds.make(collection.table, source, filling / page.SOUNDS)
            _drop_others(filling / page.SOUNDS, set(names))
        points = projection.standardised(collection.vectors)
        places, projected_by = projection.places(points)
        said = [f"{page.SOUNDS}/{name}" if name else silent[row] for row, name in enumerate(names)]
        rows = page.table(collection.table, said if with_sound else None, places, projection.nearest(points))
        page.write(filling, static, rows, source.stem)
        write_json(filling / ABOUT, _about(source, collection, projected_by))
        sizes = [(filling / page.SOUNDS / name).stat().st_size for name in names if name]
    return Atlas(
        folder, collection, projected_by, sizes, _by_recording(collection, silent), page.draws_without_webgpu(static)
    )


def _partial(folder: Path) -> Path:
    """Where the atlas is put together; refuses a folder that an atlas must not replace."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder for the atlas")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ABOUT).is_file():
        raise UserError(f"{folder} is there and is not an atlas; name another folder, or remove it")
    return folder.with_name(f".{folder.name}.atlas.partial")


def _keep_sounds(filling: Path, former: Path | None) -> None:
    """Leave nothing but sounds of what an interrupted call has made, and take over those of the former atlas."""
    for path in filling.iterdir():
        if path.name != page.SOUNDS or former is None:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if former is None:
        return
    (filling / page.SOUNDS).mkdir(exist_ok=True)
    for path in (former / page.SOUNDS).glob("*"):
        if not (filling / page.SOUNDS / path.name).exists():
            shutil.copy2(path, filling / page.SOUNDS / path.name)


def _drop_others(folder: Path, names: set[str]) -> None:
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
    found: dict[str, list[str]] = {}
    for row in sorted(silent):
        found.setdefault(str(collection.table["path"].iloc[row]), []).append(silent[row])
    return found
