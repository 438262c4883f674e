"""What lies in a folder of recordings as people keep it, and the tags in the files. Nothing is written."""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from symphony2vec.corpus import catalogue
from symphony2vec.corpus.titles import Unplaced

# What libsndfile reads, then what FFmpeg does; a video's suffix only where it is as common for sound.
SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff", ".aifc", ".bwf", ".rf64", ".w64", ".caf",
    ".m4a", ".m4b", ".mp4", ".aac", ".alac", ".wma", ".wv", ".ape", ".tta", ".tak", ".mka", ".webm", ".weba", ".mpc",
    ".dsf", ".dff",
)  # fmt: skip
_OUTSIDE = "a link that leads outside the folder; import the folder that it leads to"
# What systems leave beside people's files; names that begin with a dot are left out as well.
LITTER = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
# Our names: the keys of Vorbis comments (flac, ogg), the frames of ID3 (mp3, wav, aiff)
TAGS = {
    "composer": (("composer",), ("TCOM",)),
    "work": (("work",), ("TXXX:WORK", "TXXX:Work")),
    "album": (("album",), ("TALB",)),
    "title": (("title",), ("TIT2",)),
    "track": (("tracknumber",), ("TRCK",)),
    "disc": (("discnumber",), ("TPOS",)),
}


def find(folder: Path, leave_out: Path | None = None) -> tuple[list[str], list[Unplaced], Counter[str]]:
    """The recordings below a folder by relative path; those that cannot be opened; other files by suffix."""
    root = folder.resolve()
    skipped = leave_out.resolve() if leave_out is not None and leave_out.resolve() != root else None
    paths: list[str] = []
    faults: list[Unplaced] = []
    others: Counter[str] = Counter()

    def unreadable(fault: OSError) -> None:
        faults.append(Unplaced(_relative(Path(fault.filename), root), f"cannot be opened: {fault.strerror}"))

    for place, folders, names in os.walk(root, onerror=unreadable):
        here = Path(place)
        links = [name for name in folders if (here / name).is_symlink() and not _litter(name)]
        faults += [Unplaced(_relative(here / name, root), _OUTSIDE) for name in links if _leaves(here / name, root)]
        folders[:] = sorted(name for name in folders if not _litter(name) and here / name != skipped)
        for name in sorted(name for name in names if not _litter(name)):
            suffix = PurePosixPath(name).suffix.lower()
            if suffix not in SUFFIXES:
                others[suffix or "without suffix"] += 1
                continue
            path = _relative(here / name, root)
            reason = _fault(here / name, path, root)
            if reason:
                faults.append(Unplaced(shown(path), reason))
            else:
                paths.append(path)
    return sorted(paths), faults, others


def _litter(name: str) -> bool:
    return name.startswith(".") or name in LITTER


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _leaves(path: Path, root: Path) -> bool:
    return not path.resolve().is_relative_to(root)


def shown(path: str) -> str:
    """A path that can be written as UTF-8, whatever bytes its name has on the disk."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _fault(file: Path, path: str, root: Path) -> str:
    """Why a recording cannot be taken, as far as can be told without opening it."""
    try:
        if _leaves(file, root):
            return _OUTSIDE
        found = file.stat()
    except OSError as fault:
        return f"cannot be opened: {fault.strerror}"
    except RuntimeError:  # pathlib's word for it up to Python 3.12
        return "a link that leads to itself"
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    if not found.st_size:
        return "empty (0 bytes)"
    if shown(path) != path:
        return "the bytes of its name are no UTF-8; rename it"
    if catalogue.outside(path):
        return "its name would lead outside the folder on some systems; rename it"
    return "" if os.access(file, os.R_OK) else "no permission to read it"


def read_tags(file: Path) -> dict[str, str]:
    """The tags of a recording that bear on its title; none where they cannot be read.

    Several values of one tag are joined by " / ": a piece by two composers is not by the first of them.
    """
    import mutagen

    try:
        found = mutagen.File(file)
        tags = found.tags if found else None
        return {name: text for name, keys in TAGS.items() if tags and (text := _tag(tags, *keys))}
    except Exception:  # on damaged files mutagen raises nearly anything; the audio stage will judge the sound itself
        return {}


def _tag(tags: Any, comments: tuple[str, ...], frames: tuple[str, ...]) -> str:
    if hasattr(tags, "getall"):
        values = [str(text) for frame in frames for found in tags.getall(frame) for text in found.text]
    else:
        values = [text for comment in comments for text in tags.get(comment, ())]
    return " / ".join(dict.fromkeys(value.strip() for value in values if value.strip()))
