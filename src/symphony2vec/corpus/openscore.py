"""OpenScore Orchestra: 96 movements of orchestral music as MusicXML (CC0), from the Hauptstimme repository.

The list is `openscore.csv` beside this file: the full scores at one commit, with the checksum of each. They come from
a local copy, or from git: that commit alone, and only the listed files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from symphony2vec.corpus import catalogue
from symphony2vec.errors import UserError
from symphony2vec.project import atomic_file

REPOSITORY = "MarkGotham/Hauptstimme"
URL = f"https://github.com/{REPOSITORY}.git"
COMMIT = "8f677853c45b74ca0afcd79677e5379c06c82354"
SCORES = "data"
LICENCE = "CC0-1.0 (score); CC-BY-SA (analysis text inside, not played)"

# git sets these for its hooks; they would redirect our temporary repository to the one that the hook runs in.
GIT_VARIABLES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"}
# Give up on a connection that stalls for a minute; change no line end of a score.
GIT_SETTINGS = ("http.lowSpeedLimit=1000", "http.lowSpeedTime=60", "core.autocrlf=false")


def fill(
    folder: Path,
    from_folder: Path | None = None,
    url: str = URL,
    commit: str = COMMIT,
    movements: Sequence[catalogue.Movement] = (),
) -> int:
    """Copy the scores into `folder`, write its catalogue, and return the number of movements.

    Intact scores are left as they are.

    Args:
        folder: The folder of the corpus.
        from_folder: A local copy of the repository or of its folder data; without it the scores are fetched.
        url: The repository to fetch from.
        commit: The commit to fetch.
        movements: The movements to use instead of those of `openscore.csv`.

    Raises:
        UserError: git is missing, the repository or the commit is not available, or a score has another checksum.
    """
    movements = list(movements) or list_movements()
    missing = [movement for movement in movements if not _is_intact(folder / movement.path, movement.sha256)]
    if missing and from_folder is not None:
        _copy(missing, _find_scores(from_folder, missing[0].path), folder)
    elif missing:
        with _checkout([f"{SCORES}/{movement.path}" for movement in missing], url, commit) as tree:
            _copy(missing, tree / SCORES, folder)
    catalogue.write(folder, movements)
    return len(movements)


def list_movements() -> list[catalogue.Movement]:
    """Return the movements of OpenScore Orchestra."""
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
        for row in catalogue.read_package_table("openscore.csv")
    ]


def _is_intact(path: Path, sha256: str) -> bool:
    return path.is_file() and catalogue.checksum(path) == sha256


def _find_scores(folder: Path, path: str) -> Path:
    """Return the folder of the scores in a local copy, which contains `path`: the copy itself or its folder data."""
    for candidate in (folder, folder / SCORES):
        if (candidate / path).is_file():
            return candidate
    raise UserError(f"{folder} does not contain the scores: neither {path} nor {SCORES}/{path} exists")


def _copy(movements: Sequence[catalogue.Movement], source: Path, folder: Path) -> None:
    for movement in movements:
        score = source / movement.path
        if not score.is_file():
            raise UserError(f"{movement.path} is missing in {source}; expected sha256 {movement.sha256}")
        with atomic_file(folder / movement.path) as partial:
            shutil.copyfile(score, partial)
            checksum = catalogue.checksum(partial)
            if checksum != movement.sha256:
                raise UserError(f"{score} is another version: expected sha256 {movement.sha256}, got {checksum}")


@contextmanager
def _checkout(paths: Sequence[str], url: str, commit: str) -> Iterator[Path]:
    """Yield a temporary folder with `paths` at one commit; other files are not fetched if the server allows it."""
    with tempfile.TemporaryDirectory(prefix="openscore-") as temporary:
        tree = Path(temporary)
        _git(tree, url, "init", "--quiet")
        _git(tree, url, "remote", "add", "origin", url)
        fetch = ("fetch", "--quiet", "--depth=1", "--no-tags")
        try:
            _git(tree, url, *fetch, "--filter=blob:none", "origin", commit)
        except UserError as error:
            if "filter" not in str(error):
                raise
            _git(tree, url, *fetch, "origin", commit)
        # A sparse checkout requests all its blobs at once; `git checkout COMMIT -- PATHS` requests one by one.
        _git(tree, url, "config", "core.sparseCheckout", "true")
        sparse = tree / ".git" / "info" / "sparse-checkout"
        sparse.parent.mkdir(exist_ok=True)
        sparse.write_text("".join(f"/{path}\n" for path in paths), encoding="utf-8")
        _git(tree, url, "checkout", "--quiet", commit)
        yield tree


def _git(tree: Path, url: str, *arguments: str) -> None:
    """Run git in `tree`; a failure is a UserError that mentions `url`."""
    settings = [part for setting in GIT_SETTINGS for part in ("-c", setting)]
    environment = {name: value for name, value in os.environ.items() if name not in GIT_VARIABLES}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", *settings, *arguments]
    try:
        result = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("git is not installed; install it, or pass a copy of the scores with --from") from None
    if result.returncode:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("fatal:")), lines[-1] if lines else "no reason given")
        raise UserError(
            f"git {arguments[0]} from {url} failed ({reason.removeprefix('fatal: ')}); check the address "
            "and the connection, or pass a copy of the scores with --from"
        )
