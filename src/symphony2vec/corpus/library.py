"""Find the recordings in a folder as people keep it. Nothing is written."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from pathlib import Path, PurePosixPath

from symphony2vec.corpus import catalogue
from symphony2vec.corpus.titles import UnidentifiedRecording

# Read by libsndfile or by FFmpeg; suffixes of video files only if they are as common for sound.
SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff", ".aifc", ".bwf", ".rf64", ".w64", ".caf",
    ".m4a", ".m4b", ".mp4", ".aac", ".alac", ".wma", ".wv", ".ape", ".tta", ".tak", ".mka", ".webm", ".weba", ".mpc",
    ".dsf", ".dff", ".ac3", ".eac3",
)  # fmt: skip
_OUTSIDE = "a link that leads outside the folder; import the folder that it leads to"
_LINK_LOOP = "a link that leads to itself"
# Where git-annex and DVC (cache.type symlink) keep the content of files that are links to it.
STORE = re.compile(r"(?P<annex>/annex/objects/.+)|/[0-9a-f]{2}/[0-9a-f]{30}$")
# Folders that operating systems create; names that begin with a dot are ignored as well.
IGNORED_NAMES = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")


def find(
    folder: Path, exclude: Path | None = None, follow: bool = False
) -> tuple[list[str], list[UnidentifiedRecording], Counter[str]]:
    """Find the recordings below a folder.

    Args:
        folder: Where to search.
        exclude: A folder to skip.
        follow: Follow links that lead outside the folder. Otherwise they are faults, except for links into a store of
            git-annex or DVC, which holds the content of the user's own files.

    Returns:
        The relative paths of the recordings, sorted; recordings that cannot be opened; counts of other files by suffix.
    """
    root = folder.resolve()
    visited: set[tuple[int, int]] = set()
    excluded = exclude.resolve() if exclude is not None and exclude.resolve() != root else None
    paths: list[str] = []
    faults: list[UnidentifiedRecording] = []
    other_files: Counter[str] = Counter()

    def add_unreadable_folder(error: OSError) -> None:
        path = Path(error.filename).relative_to(root).as_posix()
        faults.append(UnidentifiedRecording(path, f"cannot be opened: {error.strerror}"))

    for place, folders, names in os.walk(root, onerror=add_unreadable_folder, followlinks=follow):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not _is_ignored(name) and here / name != excluded)
        if follow:
            folders[:] = [name for name in folders if not _is_reached_otherwise(here / name, root, visited)]
        else:
            links = [here / name for name in folders if (here / name).is_symlink()]
            faults += [
                UnidentifiedRecording(link.relative_to(root).as_posix(), _OUTSIDE)
                for link in links
                if _leads_outside(link, root)
            ]
        for name in sorted(name for name in names if not _is_ignored(name)):
            suffix = PurePosixPath(name).suffix.lower()
            if suffix not in SUFFIXES:
                other_files[suffix or "without suffix"] += 1
                continue
            path = (here / name).relative_to(root).as_posix()
            reason = _find_fault(here / name, path, root, follow)
            if reason:
                faults.append(UnidentifiedRecording(printable_path(path), reason))
            else:
                paths.append(path)
    return sorted(paths), faults, other_files


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in IGNORED_NAMES


def _leads_outside(path: Path, root: Path) -> bool:
    """Return whether a path leads outside the folder, and not to the content of one of its files in a store."""
    target = path.resolve()
    return not target.is_relative_to(root) and not STORE.search(target.as_posix())


def _is_reached_otherwise(folder: Path, root: Path, visited: set[tuple[int, int]]) -> bool:
    """Return whether a folder is searched by another path: a link into the root, around it, or to a visited folder.

    A hidden folder of the root is reached by links only.
    """
    if folder.is_symlink():
        target = folder.resolve()
        inside = target.is_relative_to(root) and not any(map(_is_ignored, target.relative_to(root).parts))
        if inside or root.is_relative_to(target):
            return True
    status = folder.stat()
    key = (status.st_dev, status.st_ino)
    if key in visited:
        return True
    visited.add(key)
    return False


def printable_path(path: str) -> str:
    """Return a path that can be written as UTF-8, whatever bytes its name has on the disk."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _find_fault(file: Path, path: str, root: Path, follow: bool) -> str:
    """Return why a recording cannot be used, as far as is known without opening it; "" if it can."""
    try:
        if not follow and _leads_outside(file, root):
            return _OUTSIDE
        status = file.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return _LINK_LOOP
        return f"cannot be opened: {error.strerror}{_describe_store(file)}"
    except RuntimeError:  # raised by pathlib for a loop up to Python 3.12
        return _LINK_LOOP
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if not status.st_size:
        return "empty (0 bytes)"
    if printable_path(path) != path:
        return "its name is not UTF-8; rename it"
    if catalogue.leads_outside(path):
        return "its name would lead outside the folder on some systems; rename it"
    return "" if os.access(file, os.R_OK) else "no permission to read it"


def _describe_store(file: Path) -> str:
    """Return how to get the content of a file that is a link into a store, "" for other files."""
    store = STORE.search(file.resolve().as_posix()) if file.is_symlink() else None
    if store is None:
        return ""
    return "; `git annex get` brings its content" if store["annex"] else "; `dvc pull` brings its content"
