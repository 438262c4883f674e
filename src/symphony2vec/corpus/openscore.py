"""OpenScore Orchestra: 96 movements of orchestral music as MusicXML (CC0), out of the Hauptstimme repository.

The list is `openscore.csv` beside this file: the full scores at one commit, with the checksum of each. They
come from a local copy, or from git: that commit alone, and of its files only those of the list.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from symphony2vec.corpus import catalogue
from symphony2vec.errors import UserError
from symphony2vec.project import atomic_file

REPOSITORY = "MarkGotham/Hauptstimme"
URL = f"https://github.com/{REPOSITORY}.git"
COMMIT = "8f677853c45b74ca0afcd79677e5379c06c82354"
SCORES = "data"
LICENCE = "CC0-1.0 (score); CC-BY-SA (analysis text inside, not played)"

# Set by git for its hooks; they would turn our temporary repository into the one that the hook runs in.
GIT_PLACES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"}
# A line that stalls for a minute is given up; no line end of a score is changed.
GIT_SETTINGS = ("http.lowSpeedLimit=1000", "http.lowSpeedTime=60", "core.autocrlf=false")


def fill(
    folder: Path,
    from_folder: Path | None = None,
    url: str = URL,
    commit: str = COMMIT,
    movements: Sequence[catalogue.Movement] = (),
) -> int:
    """Bring the scores into `folder` and write its catalogue; returns how many movements it holds.

    A score that is there already and right is left as it is. Without `from_folder` the others are fetched
    from `url` at `commit`; `movements` are those of `openscore.csv` unless others are given.

    Raises:
        UserError: git is missing, the repository or the commit cannot be had, or a score is another one.
    """
    wanted = list(movements) or listed()
    absent = [one for one in wanted if not _intact(folder / one.path, one)]
    if absent and from_folder is not None:
        _copy(absent, _scores_below(from_folder, absent[0]), folder)
    elif absent:
        with _checkout([f"{SCORES}/{one.path}" for one in absent], url, commit) as tree:
            _copy(absent, tree / SCORES, folder)
    catalogue.write(folder, wanted)
    return len(wanted)


def listed() -> list[catalogue.Movement]:
    """The movements of the corpus, as the package lists them."""
    text = resources.files("symphony2vec.corpus").joinpath("openscore.csv").read_text(encoding="utf-8")
    return [
        catalogue.Movement(
            composer=row["composer"],
            work=row["work"],
            movement=row["movement"],
            path=row["path"],
            kind="score",
            licence=LICENCE,
            origin=f"github: {REPOSITORY} @ {COMMIT}, {SCORES}/{row['path']}",
            sha256=row["sha256"],
        )
        for row in csv.DictReader(text.splitlines())
    ]


def _intact(path: Path, one: catalogue.Movement) -> bool:
    return path.is_file() and catalogue.checksum(path) == one.sha256


def _scores_below(folder: Path, first: catalogue.Movement) -> Path:
    """The folder of the scores in a local copy: of the repository, or of its `data`."""
    for candidate in (folder, folder / SCORES):
        if (candidate / first.path).is_file():
            return candidate
    raise UserError(f"{folder} does not hold the scores: neither {first.path} nor {SCORES}/{first.path} is there")


def _copy(movements: Sequence[catalogue.Movement], source: Path, folder: Path) -> None:
    for one in movements:
        if not (source / one.path).is_file():
            raise UserError(f"{one.path} is missing in {source}; expected sha256 {one.sha256}")
        with atomic_file(folder / one.path) as partial:
            shutil.copyfile(source / one.path, partial)
            found = catalogue.checksum(partial)
            if found != one.sha256:
                raise UserError(
                    f"{source / one.path} is not the score that was expected: sha256 {one.sha256} expected, "
                    f"{found} found; nothing was taken from it"
                )


@contextmanager
def _checkout(paths: Sequence[str], url: str, commit: str) -> Iterator[Path]:
    """Give a temporary folder with those files of one commit; no other is fetched where the server allows."""
    with tempfile.TemporaryDirectory(prefix="openscore-") as temporary:
        tree = Path(temporary)
        _git(tree, url, "init", "--quiet")
        _git(tree, url, "remote", "add", "origin", url)
        fetch = ("fetch", "--quiet", "--depth=1", "--no-tags")
        try:
            _git(tree, url, *fetch, "--filter=blob:none", "origin", commit)
        except UserError as fault:
            if "filter" not in str(fault):
                raise
            _git(tree, url, *fetch, "origin", commit)
        # A sparse checkout asks for all its blobs at once; `git checkout COMMIT -- PATHS` asks one by one.
        _git(tree, url, "config", "core.sparseCheckout", "true")
        sparse = tree / ".git" / "info" / "sparse-checkout"
        sparse.parent.mkdir(exist_ok=True)
        sparse.write_text("".join(f"/{path}\n" for path in paths), encoding="utf-8")
        _git(tree, url, "checkout", "--quiet", commit)
        yield tree


def _git(tree: Path, url: str, *arguments: str) -> None:
    settings = [part for setting in GIT_SETTINGS for part in ("-c", setting)]
    environment = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *settings, *arguments],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise UserError("git is not installed; install it, or name a copy of the scores with --from") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("fatal:")), lines[-1] if lines else "no reason given")
        raise UserError(
            f"git {arguments[0]} from {url} failed ({said.removeprefix('fatal: ')}); check the address "
            "and the connection, or name a copy of the scores with --from"
        )
