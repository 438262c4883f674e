"""Free sets of recordings that people download themselves; each has a list or file names of its own.

A set is read from the folder to which it was unpacked. Composers, works and movements come from its list or its file
names and get the names that `symphony2vec corpus import` gives them.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from symphony2vec.corpus import catalogue, library
from symphony2vec.corpus.decisions import Decisions
from symphony2vec.corpus.identification import TITLES
from symphony2vec.corpus.recordings import Survey, survey
from symphony2vec.errors import UserError

MUSICNET_LIST = "musicnet_metadata.csv"
MUSICNET_MD5 = "1caef62cee9c875235e62aac368b49d8"  # of the list of version 1.0, as Zenodo gives it
MUSICNET_COLUMNS = ("id", "composer", "composition", "movement", "catalog_name")
CATALOGUES = {"OP": "Op.", "BWV": "BWV", "K": "K.", "D": "D.", "WOO": "WoO", "HOB": "Hob."}
CATALOGUE_NUMBER = re.compile(r"([A-Z]+)(\d+[A-Z]?)(?:NO(\d+))?")
# Where two words meet in "SymphonyNo.40InGMinorK.550": before a capital or a number, but not within "K421".
WORD_BOUNDARY = re.compile(r"(?<=[a-z.])(?=[A-Z0-9])|(?<=[0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
MUSOPEN_NAME = re.compile(r"(?P<composer>[A-Za-z]+)-(?P<work>.+?)(?:-(?P<number>\d\d)-(?P<movement>.+))?")
MUSOPEN_NUMBER_FIRST = re.compile(r"(?P<composer>[A-Za-z]+)-(?P<number>\d\d)-(?P<work>[^-]+)-(?P<movement>.+)")
Rows = list[dict[str, str]]


@dataclass(frozen=True)
class RecordingSet:
    """A set of recordings.

    Attributes:
        name: of the set, and of the corpus.
        content: what it is, in one line.
        licence: of the recordings.
        address: where to download it.
        files: what to unpack into the folder.
        read: returns the rows (path, composer, work, movement) of the recordings, given the folder and their relative
            paths, and notes about what is missing.
    """

    name: str
    content: str
    licence: str
    address: str
    files: str
    read: Callable[[Path, Sequence[str]], tuple[Rows, list[str]]]


def survey_set(
    recording_set: RecordingSet, folder: Path, target: Path, decisions: Decisions
) -> tuple[Survey, list[str]]:
    """Identify the recordings of a set in a folder.

    Args:
        recording_set: one of `SETS`.
        folder: to which the set was unpacked.
        target: the folder of the corpus.
        decisions: the user's decisions about similar names.

    Returns:
        What `recordings.fill` writes, and notes about the set.

    Raises:
        UserError: the folder does not hold the set.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; pass the one to which {recording_set.name} was unpacked")
    paths, _, _ = library.find(folder, target)
    rows, notes = recording_set.read(folder, paths)
    if not rows:
        raise UserError(
            f"no recording of {recording_set.name} below {folder}; get {recording_set.files} from "
            f"{recording_set.address} and unpack it there"
        )
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "titles.csv"
        catalogue.write_rows(table, TITLES, rows)
        return survey(folder, "csv", table, None, target, decisions, compare_audio=True), notes


def read_musicnet(folder: Path, paths: Sequence[str]) -> tuple[Rows, list[str]]:
    """Return the rows of MusicNet: its list names the recordings by number, whose files are <number>.wav.

    A work is named by its title and catalogue number, since several have the same title.
    """
    lists = sorted(folder.glob(f"**/{MUSICNET_LIST}"))
    if not lists:
        raise UserError(f"no {MUSICNET_LIST} below {folder}; download it from {SETS['musicnet'].address}")
    notes = []
    if hashlib.md5(lists[0].read_bytes(), usedforsecurity=False).hexdigest() != MUSICNET_MD5:
        notes.append(f"{lists[0]} is not the list of version 1.0 (MD5 {MUSICNET_MD5}); its titles are used as they are")
    by_number = {PurePosixPath(path).stem: path for path in paths}
    rows, missing = [], []
    for row in catalogue.read_rows(lists[0], MUSICNET_COLUMNS):
        if path := by_number.get(row.get("id")):
            titles = [row.get("composition"), _catalogue_number(row.get("catalog_name"))]
            work = ", ".join(filter(None, titles))
            rows.append(dict(zip(TITLES, (path, row.get("composer"), work, row.get("movement")), strict=True)))
        else:
            missing.append(row.get("id"))
    if missing and rows:
        count = len(rows) + len(missing)
        notes.append(f"{len(missing)} of the {count} recordings of the list are not there, such as {missing[0]}.wav")
    return rows, notes


def read_musopen(folder: Path, paths: Sequence[str]) -> tuple[Rows, list[str]]:
    """Return the rows of Musopen's collection, whose file names hold composer, work, number and movement.

    Other files have no row. Some downloads hold a recording as FLAC and as MP3 or Ogg: the FLAC is taken.
    """
    stems = {PurePosixPath(path).with_suffix("") for path in paths if path.endswith(".flac")}
    rows = []
    for path in map(PurePosixPath, paths):
        if path.suffix != ".flac" and path.with_suffix("") in stems:
            continue
        match = MUSOPEN_NUMBER_FIRST.fullmatch(path.stem) or MUSOPEN_NAME.fullmatch(path.stem)
        if match is None:
            continue
        composer, work = _separate_words(match["composer"]), _separate_words(match["work"])
        movement = f"{int(match['number'])}. {_separate_words(match['movement'])}" if match["number"] else work
        rows.append(dict(zip(TITLES, (str(path), composer, work, movement), strict=True)))
    return rows, []


def _catalogue_number(name: str) -> str:
    """Return "Op. 64 No. 5" for "OP64NO5"; "" for a number of no catalogue that is known here."""
    match = CATALOGUE_NUMBER.fullmatch(name.strip().upper())
    if match is None or match[1] not in CATALOGUES:
        return ""
    return f"{CATALOGUES[match[1]]} {match[2].lower()}" + (f" No. {match[3]}" if match[3] else "")


def _separate_words(name: str) -> str:
    """Return "Symphony No. 40 In G Minor K. 550" for "SymphonyNo.40InGMinorK.550"."""
    return WORD_BOUNDARY.sub(" ", name)


SETS = {
    recording_set.name: recording_set
    for recording_set in (
        RecordingSet(
            "musicnet",
            "330 recordings of chamber and piano music by ten composers (34 hours)",
            "CC BY 4.0",
            "https://zenodo.org/records/5120004",
            f"musicnet.tar.gz (11 GB) and {MUSICNET_LIST}",
            read_musicnet,
        ),
        RecordingSet(
            "musopen",
            "Musopen's recordings of 2012: symphonies and overtures by the Czech National Symphony Orchestra, "
            "quartets, piano",
            "public domain",
            "https://archive.org/details/MusopenCollectionAsFlac",
            "the FLAC files, each in the folder of its work",
            read_musopen,
        ),
    )
}
