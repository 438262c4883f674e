"""Identify a recording: composer, work and movement from its tags or its folders. Nothing is read from disk.

Paths are relative with forward slashes, as on the disk; names are tidied: Unicode NFC, no control characters, single
spaces. A recording that cannot be identified gets a reason instead: with a wrong guess the same music could be in both
training and test. `settling.unify_names` then gives each composer and each work of a library one name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from symphony2vec.corpus import composers, identity, movements, works
from symphony2vec.corpus.authority import tidy
from symphony2vec.corpus.composers import PLACEHOLDERS, tidy_composer
from symphony2vec.corpus.vocabulary import normalize, remove_discs

NO_TAGS: Mapping[str, str] = {}
# Names of folders that say where files come from or of what kind they are, but never who wrote the music.
_GENERIC_FOLDERS = set(
    "classical, classical music, klassik, classique, clasica, classica, music, my music, musik, musique, flac, "
    "mp3, ogg, wav, lossless, lossy, audio, rips, rip, ripped, cd rips, cdrips, cds, lps, vinyl, tapes, radio, "
    "downloads, download, incoming, inbox, new, new folder, neu, unsorted, to sort, sort, sorted, misc, "
    "miscellaneous, various, other, others, temp, tmp, old, backup, backups, archive, archives, library, "
    "collection, collections, media, files, share, shared, public, import, imports, imported, albums, singles, "
    "tracks, songs, itunes, itunes media, itunes music, soundtrack, soundtracks, ost, film, film music, "
    "filmmusik, game music, games, vgm, anime, opera, operas, symphonies, concertos, chamber, chamber music, "
    "kammermusik, orchestral, orchester, choral, vocal, early music, baroque, barock, romantic, modern, 20th "
    "century, favourites, stuff, torrents, torrent, mixed, mix, box, boxes, sets, favorites, playlist, "
    "playlists, untitled, desktop, documents, dokumente, nas, usb, hdd".split(", ")
)
# A letter or a range of letters, a year, a date
_INDEX_FOLDER = re.compile(r"(?P<first>[^\W_])(?:\s*[-–]\s*(?P<last>[^\W_]))?|(?:1[89]|20)\d\d(?:[-_. ]\d{1,2}){0,2}")
_NO_WORK = "no folder of a work between the composer and the file"
_TRACK_PREFIX = re.compile(r"^(?:\d{1,3}[-.\s]+)+")
_PERSON = re.compile(r"[^\W\d_][^\W\d_.'’-]*(?:[\s.'’-]+[^\W\d_][^\W\d_.'’-]*){0,3}\.?")
_CONTRADICTION = "the tag of the work says"
_PERFORMERS = ("artist", "albumartist", "conductor")
_ENSEMBLE = re.compile(
    r"\b(?:orchest(?:ra|er|re)|orquesta|philharmoni\w*|filarmonic\w*|symphoniker|sinfoniker|ensemble|choir|chor|quartet|quartett|"
    r"quatuor|staatskapelle|gewandhaus\w*|concertgebouw\w*|academy of|camerata|consort|singers)\b"
)


@dataclass(frozen=True)
class IdentifiedRecording:
    """A recording with its composer, work and movement.

    Attributes:
        source: What identified it: "tags", "folders" or "table".
        start: Where a cue sheet cuts the recording (s); None for its own ends, as `end`.
        work_aliases: Other texts that name the same work.
        performance: Texts that may tell one recording of a work from another.
        printed_work: The work as the tags, folders or table spell it; `printed_composer` likewise.
        bare_movement: The movement before it was made distinct from others with the same title.
    """

    path: str
    composer: str
    work: str
    movement: str
    source: str
    licence: str = ""
    start: float | None = None
    end: float | None = None
    work_aliases: tuple[str, ...] = field(default=(), compare=False)
    performance: tuple[str, ...] = field(default=(), compare=False)
    printed_work: str = field(default="", compare=False)
    printed_composer: str = field(default="", compare=False)
    bare_movement: str = field(default="", compare=False)


@dataclass(frozen=True)
class UnidentifiedRecording:
    """A recording that is not used, the reason, and what is known about it."""

    path: str
    reason: str
    composer: str = ""
    work: str = ""
    movement: str = ""
    start: float | None = None
    end: float | None = None


Recording = IdentifiedRecording | UnidentifiedRecording


def identify(path: str, tags: Mapping[str, str]) -> Recording:
    """Identify a recording by its tags if they name composer and work, else by its folders.

    Examples:
        >>> recording = identify("Bach/Suite/1 Air.flac", {})
        >>> recording.composer, recording.work, recording.movement
        ('Bach', 'Suite', '1 Air')
    """
    by_tags = identify_by_tags(path, tags)
    several_composers = "names several" in composers.resolve(tags.get("composer", "")).fault
    is_contradictory = isinstance(by_tags, UnidentifiedRecording) and _CONTRADICTION in by_tags.reason
    if isinstance(by_tags, IdentifiedRecording) or several_composers or is_contradictory:
        return by_tags  # tags that are ambiguous are not decided by the folders
    by_folders = identify_by_folders(path, tags)
    if isinstance(by_folders, IdentifiedRecording):
        return by_folders
    reason = f"{by_folders.reason}, and {by_tags.reason}"
    return replace(by_tags, reason=reason, composer=by_tags.composer or by_folders.composer)


def identify_by_folders(path: str, tags: Mapping[str, str] = NO_TAGS) -> Recording:
    """Identify a recording by composer/work/movement-file; deeper folders belong to the movement, discs are skipped.

    If the first folder names a performer (by `tags` or the authority), the next folder or the file must name the
    composer, as in "Karajan/Beethoven 5".
    """
    *folders, name = PurePosixPath(path).parts
    folders = [folder for folder in (remove_discs(tidy(folder)) for folder in folders) if folder]
    stem = tidy(PurePosixPath(name).stem)
    person, work = _find_person(stem)
    count = len(folders)
    while folders and (_is_generic(folders[0]) or _is_index(folders, bool(person) or len(folders) < count)):
        del folders[0]
    if person:
        recording = _identify_by_person(path, folders, len(folders) < count, person, work, tags)
        if recording:
            return recording
    composer, rest, reason = _identify_by_first_folder(folders, stem, tags)
    work = rest[0] if rest else ""
    movement = " / ".join(tidy(part) for part in (*rest[1:], stem))
    composer_name = composers.resolve(composer).name
    head, tail = movements.split_title(stem, composer_name)
    if head and works.parse(head, composer_name).is_specific:
        folder_name = works.parse(work, composer_name)
        if not work or folder_name.is_collection or not folder_name.is_specific:
            work, movement = head, tail or stem
    return _check(path, composer, work, movement, "folders", reason, tags)


def _identify_by_person(
    path: str, folders: list[str], has_generic_folder: bool, person: str, work: str, tags: Mapping[str, str]
) -> Recording | None:
    """Identify a recording whose file name states a person; None if a folder names the composer."""
    stem = tidy(PurePosixPath(path).stem)
    first = folders[0] if folders else ""
    in_authority = first and (composers.resolve(first).in_authority or composers.split_composer(first)[0])
    is_only_folder = len(folders) == 1 and has_generic_folder  # "rips/Final Fantasy/01 - Uematsu - Opening"
    if not first or (not in_authority and (is_only_folder or not _PERSON.fullmatch(first))):
        movement = stem.partition(person)[2]
        movement = movement.partition(work)[2] if work else movement
        return _check(path, _canonical_name(person), work or first, movement.strip(" -–—"), "folders", _NO_WORK, tags)
    if not in_authority and first == first.lower() and not composers.resolve(person).in_authority:
        reason = f"the folder '{first}' and the file name ('{person}') may both name the composer"
        return UnidentifiedRecording(path, reason, movement=stem)
    return None


def _identify_by_first_folder(folders: list[str], stem: str, tags: Mapping[str, str]) -> tuple[str, list[str], str]:
    """Return the composer, the folders of the work, and the reason in case that no work is named."""
    if not folders:
        return "", [], "no folder of a composer above it"
    first, rest = tidy_composer(folders[0]), folders[1:]
    credit, _ = composers.split_composer(folders[0])
    in_authority = composers.resolve(folders[0]).in_authority
    if credit and not in_authority and not rest:
        return credit.name, [_work_from_album(folders[0], credit.name)], _NO_WORK
    if not _may_be_composer(folders[0], tags):
        return _identify_below_performer(folders, stem)
    if not credit and not in_authority:  # "rips/01 - Brahms - Symphony No. 1"
        in_file_name, _ = composers.split_composer(_TRACK_PREFIX.sub("", stem))
        return in_file_name.name if in_file_name else first, rest, _NO_WORK
    return first, rest, _NO_WORK


def _find_person(stem: str) -> tuple[str, str]:
    """Return the person that a file name seems to state after its track number, and the work that may follow.

    Returns:
        As in ("Uematsu", "Final Fantasy VII") for "01 - Uematsu - Final Fantasy VII - Opening"; empty without a person.
    """
    track = _TRACK_PREFIX.match(stem)
    pieces = [piece.strip() for piece in re.split(r"\s+[-–—]\s+", stem[track.end() :])] if track else []
    if len(pieces) < 2 or not _PERSON.fullmatch(pieces[0]) or movements.is_movement(pieces[0]):
        return "", ""
    name = works.parse(pieces[0])
    if name.genre or name.catalogue or _ENSEMBLE.search(normalize(pieces[0])) or not pieces[0][0].isupper():
        return "", ""
    return pieces[0], pieces[1] if len(pieces) > 2 else ""


def _is_generic(folder: str) -> bool:
    return " ".join(re.split(r"[\W_]+", normalize(folder))).strip() in _GENERIC_FOLDERS


def _is_index(folders: list[str], expects_no_name: bool) -> bool:
    """Return whether the first folder is a letter or a year that files are sorted by, and not a name.

    A letter is one above a folder that begins with it ("B/Brahms"), or if `expects_no_name`.
    """
    match = _INDEX_FOLDER.fullmatch(normalize(folders[0]).strip())
    if not match or len(folders) < 3:
        return match is not None and expects_no_name
    letters = match["first"], match["last"] or match["first"]
    return expects_no_name or not match["first"] or letters[0] <= normalize(folders[1])[:1] <= letters[1]


def _canonical_name(name: str) -> str:
    credit = composers.resolve(name)
    return credit.name if credit.in_authority else name


def _may_be_composer(folder: str, tags: Mapping[str, str]) -> bool:
    """Return whether the first folder may name a composer, and not a performer."""
    credit = composers.resolve(folder)
    folder_name = normalize(tidy(folder))
    performers = {normalize(name) for field in _PERFORMERS for name in re.split(r"\s*[;/,]\s*", tags.get(field, ""))}
    performers |= {normalize(tags.get(field, "")) for field in _PERFORMERS}
    if credit.in_authority:
        return credit.composes and not (credit.performs and folder_name in performers)
    if _ENSEMBLE.search(normalize(folder)):
        return False
    return folder_name not in performers or folder_name == normalize(tags.get("composer", ""))


def _identify_below_performer(folders: list[str], stem: str) -> tuple[str, list[str], str]:
    """Return composer, folders of the work and reason if the first folder names a performer."""
    for i, folder in enumerate(folders[1:], start=1):
        credit, _ = composers.split_composer(folder)
        if credit:
            return credit.name, [_work_from_album(folder, credit.name), *folders[i + 1 :]], ""
        composer = composers.resolve(folder)
        if composer.in_authority and composer.composes:
            return composer.name, folders[i + 1 :], _NO_WORK
    credit, _ = composers.split_composer(stem)
    reason = f"'{folders[0]}' is a performer, and nothing names the composer"
    return (credit.name if credit else ""), folders[1:], reason


def identify_by_tags(path: str, tags: Mapping[str, str]) -> Recording:
    """Identify a recording by its tags: composer, work (or the title before its movement, or the album), movement."""
    title = tidy(tags.get("title", "")) or tidy(PurePosixPath(path).stem)
    composer = tidy_composer(tags.get("composer", "")) or _infer_composer(tags, title)
    credit = composers.resolve(composer)
    composer_name = credit.name if credit.in_authority else ""
    title_work, title_movement = movements.split_title(title, composer_name)
    tag_work, tag_movement = _work_from_tags(tags, composer_name)
    tag_name, title_name = (works.parse(text, composer_name) for text in (tag_work, title_work))
    is_collection = tag_name.is_collection
    if tag_work and title_name.is_specific and not is_collection and identity.contradict(tag_name, title_name):
        return UnidentifiedRecording(
            path, f"{_CONTRADICTION} '{tag_work}' and the title '{title_work}'", composer, "", title
        )
    work, aliases = tag_work, (title_work,) if title_work else ()
    if not work or (is_collection and title_name.is_specific):
        work, aliases = title_work, ()
    if not work:
        work, aliases = _work_from_album(tags.get("album", ""), composer_name), ()
    missing = [name for name, text in (("composer", composer), ("work or album", work)) if not text]
    rest = tag_movement if title == tidy(tags.get("work", "")) else ""
    movement = _movement_from_tags(tags, title, title_movement if title_work else rest)
    return _check(path, composer, work, movement, "tags", f"no tag of {' and '.join(missing)}", tags, aliases)


def _infer_composer(tags: Mapping[str, str], title: str) -> str:
    """Return the composer of a recording without such a tag: one that the title, album or artists state.

    Conductors and soloists who are composers, too, are not taken from the artists.
    """
    for text in (title, tidy(tags.get("album", ""))):
        credit, _ = composers.split_composer(text)
        if credit:
            return credit.name
    artists = composers.find_composers(tags.get(field, "") for field in ("albumartist", "artist"))
    return artists[0].name if len(artists) == 1 and not artists[0].performs else ""


def _work_from_tags(tags: Mapping[str, str], composer: str) -> tuple[str, str]:
    """Return the work of the tag work, or of the grouping if that names one, and the movement beside it."""
    for field_name in ("work", "grouping"):
        text = tidy(tags.get(field_name, ""))
        if not text:
            continue
        head, tail = movements.split_title(text, composer)
        if head:
            return head, tail
        names_work = not movements.is_movement(text) if field_name == "work" else tags.get("movement")
        if names_work or works.parse(text, composer).is_specific:
            return remove_discs(text), ""
    return "", ""


def _work_from_album(album: str, composer: str) -> str:
    """Return the work that the title of an album names, else the title without composer and discs."""
    text = remove_discs(tidy(album))
    credit, rest = composers.split_composer(text)
    if credit and rest and credit.name == composer:
        text = rest
    number = re.match(r"(?:#|no\.?\s*|nr\.?\s*)?(\d{1,2})(?!\d)\s*(?:$|[/(\[,;–-])", text, re.IGNORECASE)
    if number and credit:
        return f"Symphony No. {number[1]}"  # "Mahler 3", "Beethoven 5 / Karajan"
    if works.parse(text, composer).is_specific:
        return movements.split_title(text, composer)[0] or text
    return text


def _movement_from_tags(tags: Mapping[str, str], title: str, title_movement: str) -> str:
    """Return the movement of the tags, else of the title, with its number, else with track and disc."""
    name, number = (tidy(tags.get(key, "")) for key in ("movement", "movement_number"))
    number = re.sub(r"^0+(?=\d)|\s*/.*$", "", number)
    text = name or title_movement
    if text and number and not re.match(r"(?:\d|[IVX]+[.:\s])", text):
        return f"{number}. {text}"
    if text and re.match(r"(?:\d{1,2}|[IVX]{1,5})(?:[.):\s]|$)", text):
        return text
    return add_track_number(text or title, tags)


def add_track_number(title: str, tags: Mapping[str, str]) -> str:
    """Return a title after its track number, and its disc number if there are several discs.

    Examples:
        >>> add_track_number("Allegro", {"track": "1/12"}), add_track_number("Allegro", {"track": "1", "disc": "2/3"})
        ('01 Allegro', '02-01 Allegro')
    """
    track, disc = (re.match(r"\s*0*(\d{1,4})\s*(?:/\s*0*(\d+))?", tags.get(name, "")) for name in ("track", "disc"))
    if not track or re.match(rf"0*{track[1]}\b", title):
        return title
    disc_number = f"{int(disc[1]):02d}-" if disc and disc[2] != "1" else ""
    return f"{disc_number}{int(track[1]):02d} {title}"


def _check(
    path: str,
    composer: str,
    work: str,
    movement: str,
    source: str,
    reason: str,
    tags: Mapping[str, str],
    work_aliases: tuple[str, ...] = (),
) -> Recording:
    """Return the recording if it is identified, else with what is wrong; `reason` is for missing names."""
    credit = composers.resolve(composer)
    if normalize(work) in PLACEHOLDERS:
        reason = f"'{work}' is a placeholder, not the name of a composer or work"
        return UnidentifiedRecording(path, reason, movement=movement)
    if credit.fault:
        return UnidentifiedRecording(path, credit.fault, movement=movement)
    if composer and credit.in_authority and not credit.composes:
        return UnidentifiedRecording(path, f"'{composer}' is a performer, not a composer", "", work, movement)
    if not (composer and work and movement):
        return UnidentifiedRecording(path, reason, composer, work, movement)
    printed_work, printed_composer = work, composer
    if source == "tags":
        printed_work = tidy(tags.get("work", "") or tags.get("title", "")) or work
        printed_composer = tidy(tags.get("composer", "")) or composer
    performance = [tidy(tags.get(name, "")) for name in ("conductor", "album", "albumartist", "artist")]
    return IdentifiedRecording(
        path,
        composer,
        work,
        movement,
        source,
        work_aliases=work_aliases,
        performance=(*performance, tidy(PurePosixPath(path).parent.name)),
        printed_work=printed_work,
        printed_composer=printed_composer,
    )
