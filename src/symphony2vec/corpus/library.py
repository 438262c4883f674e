"""What lies in a folder of recordings as people keep it, and the tags in the files. Nothing is written."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from pathlib import Path, PurePosixPath

from symphony2vec.corpus import catalogue, tags
from symphony2vec.corpus.titles import Unplaced

# What libsndfile reads, then what FFmpeg does; a video's suffix only where it is as common for sound.
SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff", ".aifc", ".bwf", ".rf64", ".w64", ".caf",
    ".m4a", ".m4b", ".mp4", ".aac", ".alac", ".wma", ".wv", ".ape", ".tta", ".tak", ".mka", ".webm", ".weba", ".mpc",
    ".dsf", ".dff", ".ac3", ".eac3",
)  # fmt: skip
_OUTSIDE = "a link that leads outside the folder; import the folder that it leads to"
# Where git-annex and DVC (cache.type symlink) keep the content of files that are links to it.
STORE = re.compile(r"(?P<annex>/annex/objects/.+)|/[0-9a-f]{2}/[0-9a-f]{30}$")
# What systems leave beside people's files; names that begin with a dot are left out as well.
LITTER = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")


def find(
    folder: Path, leave_out: Path | None = None, follow: bool = False
) -> tuple[list[str], list[Unplaced], Counter[str]]:
    """The recordings below a folder by relative path; those that cannot be opened; other files by suffix.

    Links that lead out of the folder are followed where `follow` says so. Else they are faults, but for those into a
    store of git-annex or DVC, which holds the content of the user's own files.
    """
    root = folder.resolve()
    seen: set[tuple[int, int]] = set()
    skipped = leave_out.resolve() if leave_out is not None and leave_out.resolve() != root else None
    paths: list[str] = []
    faults: list[Unplaced] = []
    others: Counter[str] = Counter()

    def unreadable(fault: OSError) -> None:
        faults.append(Unplaced(_relative(Path(fault.filename), root), f"cannot be opened: {fault.strerror}"))

    for place, folders, names in os.walk(root, onerror=unreadable, followlinks=follow):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not _litter(name) and here / name != skipped)
        if follow:
            folders[:] = [name for name in folders if not _is_known(here / name, root, seen)]
        else:
            links = [name for name in folders if (here / name).is_symlink() and _leaves(here / name, root)]
            faults += [Unplaced(_relative(here / name, root), _OUTSIDE) for name in links]
        for name in sorted(name for name in names if not _litter(name)):
            suffix = PurePosixPath(name).suffix.lower()
            if suffix not in SUFFIXES:
                others[suffix or "without suffix"] += 1
                continue
            path = _relative(here / name, root)
            reason = _fault(here / name, path, root, follow)
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
    """Whether a path leads out of the folder, and not to the content of a file of it."""
    target = path.resolve()
    return not target.is_relative_to(root) and not STORE.search(target.as_posix())


def _is_known(folder: Path, root: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder is found by another way as well: a link leads into the root, around it, or where one led before.

    What lies in a hidden folder of the root is found by links alone.
    """
    if folder.is_symlink():
        target = folder.resolve()
        inside = target.is_relative_to(root) and not any(map(_litter, target.relative_to(root).parts))
        if inside or root.is_relative_to(target):
            return True
    found = folder.stat()
    key = (found.st_dev, found.st_ino)
    if key in seen:
        return True
    seen.add(key)
    return False


def shown(path: str) -> str:
    """A path that can be written as UTF-8, whatever bytes its name has on the disk."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _fault(file: Path, path: str, root: Path, follow: bool) -> str:
    """Why a recording cannot be taken, as far as can be told without opening it."""
    try:
        if not follow and _leaves(file, root):
            return _OUTSIDE
        found = file.stat()
    except OSError as fault:
        if fault.errno == errno.ELOOP:
            return "a link that leads to itself"
        return f"cannot be opened: {fault.strerror}{_missing_content(file)}"
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


def _missing_content(file: Path) -> str:
    """How the content of a file comes here that is a link into a store."""
    store = STORE.search(file.resolve().as_posix()) if file.is_symlink() else None
    if store is None:
        return ""
    return "; `git annex get` brings its content" if store["annex"] else "; `dvc pull` brings its content"


def read_tags(file: Path) -> dict[str, str]:
    """The tags of a recording that bear on its title, as `symphony2vec.corpus.tags.read` gives them."""
    return tags.read(file)
