"""Sets of free scores that are published in git repositories.

    openscore    OpenScore Orchestra: 96 movements, MusicXML, from the Hauptstimme repository
    quartets     OpenScore String Quartets: 116 works by 47 composers, MusicXML
    polish       Polish Heritage in Open Access, the orchestral scores: 307 works by 77 composers, Humdrum kern

The movements of a set are listed in a table of its name beside this file, with the checksum of each score at one commit
and, if a score holds several movements, their bars. Scores come from a local copy, or from git: that commit alone, and,
if the server allows it, only the listed files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from symphony2vec.corpus import catalogue, decisions
from symphony2vec.errors import UserError
from symphony2vec.project import atomic_file

# git sets these for its hooks; they would redirect our temporary repository to the one that the hook runs in.
GIT_VARIABLES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"}
# Give up on a connection that stalls for a minute; change no line end of a score.
GIT_SETTINGS = ("http.lowSpeedLimit=1000", "http.lowSpeedTime=60", "core.autocrlf=false")


@dataclass(frozen=True)
class ScoreSet:
    """A set of scores at one commit of a repository.

    Attributes:
        name: of the command, of the corpus and of the table beside this file.
        repository: owner and name on GitHub.
        commit: 40 hex digits.
        folder: of the scores in the repository; "" for the repository itself.
        licence: of the scores, for the catalogue.
        distinct_works: composer and two works with similar names that are different (see `corpus.decisions`).
    """

    name: str
    repository: str
    commit: str
    folder: str
    licence: str
    distinct_works: tuple[tuple[str, str, str], ...] = ()

    @property
    def url(self) -> str:
        """Return the address of the repository."""
        return f"https://github.com/{self.repository}.git"

    def list_movements(self) -> list[catalogue.Movement]:
        """Return the movements of the set."""
        origin = f"github: {self.repository} @ {self.commit}, {self.locate('')}"
        return catalogue.read_package_scores(f"{self.name}.csv", origin, self.licence)

    def locate(self, path: str) -> str:
        """Return the path of a score in the repository."""
        return f"{self.folder}/{path}" if self.folder else path


OPENSCORE = ScoreSet(
    "openscore",
    "MarkGotham/Hauptstimme",
    "8f677853c45b74ca0afcd79677e5379c06c82354",
    "data",
    "CC0-1.0 (score); CC-BY-SA (analysis text inside, not played)",
)
QUARTETS = ScoreSet(
    "quartets", "OpenScore/StringQuartets", "2c723a5b7b4ea5420826116dfa912956c6a022c2", "scores", "CC0-1.0"
)
POLISH = ScoreSet(
    "polish",
    "pl-wnifc/humdrum-polish-scores",
    "c0403623c0da3f75f1bcd6041dc85098e0cabe02",
    "",
    "CC-BY-4.0 (Narodowy Instytut Fryderyka Chopina, polishscores.org)",
    (
        ("Józef Stefani", "Marcia (PL-WTM R-1685)", "Le Grande Marche Guerres (PL-WTM R-1725)"),
        ("Józef Stefani", "Marcia (PL-WTM R-1685)", "Marcia funebre (PL-WTM R-1668)"),
    ),
)


def fill(
    folder: Path,
    score_set: ScoreSet,
    from_folder: Path | None = None,
    url: str = "",
    movements: Sequence[catalogue.Movement] = (),
) -> int:
    """Copy the scores into `folder`, write its catalogue, and return the number of movements.

    Intact scores are left as they are.

    Args:
        folder: The folder of the corpus.
        score_set: The scores to copy.
        from_folder: A local copy of the repository or of its folder of scores; without it the scores are fetched.
        url: The repository to fetch from, if it is not that of the set.
        movements: The movements to use instead of those of the set.

    Raises:
        UserError: git is missing, the repository or the commit is not available, or a score has another checksum.
    """
    movements = list(movements) or score_set.list_movements()
    scores = {movement.path: movement.sha256 for movement in movements}
    missing = {path: sha256 for path, sha256 in scores.items() if not _is_intact(folder / path, sha256)}
    if missing and from_folder is not None:
        _copy(missing, _find_scores(from_folder, score_set, next(iter(missing))), folder)
    elif missing:
        with _checkout([score_set.locate(path) for path in missing], url or score_set.url, score_set.commit) as tree:
            _copy(missing, tree / score_set.folder, folder)
    catalogue.write(folder, movements)
    if score_set.distinct_works:
        distinct = decisions.Decisions(distinct_works=set(score_set.distinct_works))
        decisions.write(folder, decisions.read(folder).merge(distinct))
    return len(movements)


def _is_intact(path: Path, sha256: str) -> bool:
    return path.is_file() and catalogue.checksum(path) == sha256


def _find_scores(folder: Path, score_set: ScoreSet, path: str) -> Path:
    """Return the folder of the scores in a local copy, which contains `path`: the copy itself or a folder in it."""
    for candidate in (folder, folder / score_set.folder):
        if (candidate / path).is_file():
            return candidate
    raise UserError(f"{folder} does not contain the scores: neither {path} nor {score_set.locate(path)} exists")


def _copy(scores: Mapping[str, str], source: Path, folder: Path) -> None:
    for path, sha256 in tqdm(scores.items(), desc="scores", unit="file"):
        score = source / path
        if not score.is_file():
            raise UserError(f"{path} is missing in {source}; expected sha256 {sha256}")
        with atomic_file(folder / path) as partial:
            shutil.copyfile(score, partial)
            checksum = catalogue.checksum(partial)
            if checksum != sha256:
                raise UserError(f"{score} is another version: expected sha256 {sha256}, got {checksum}")


@contextmanager
def _checkout(paths: Sequence[str], url: str, commit: str) -> Iterator[Path]:
    """Yield a temporary folder with `paths` at one commit; other files are not fetched if the server allows it."""
    with tempfile.TemporaryDirectory(prefix="scores-") as temporary:
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
        sparse.write_text("".join(f"/{_escape(path)}\n" for path in paths), encoding="utf-8")
        _git(tree, url, "checkout", "--quiet", commit)
        yield tree


def _escape(path: str) -> str:
    """Return a path as a pattern of git that matches it alone."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", path)


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
