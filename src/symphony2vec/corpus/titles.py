"""What a recording is: composer, work and movement out of folders or tags. No disk is touched here.

Paths are relative with forward slashes, as they stand on the disk; names are tidied: Unicode NFC, no control
characters, single spaces. A recording is either placed or comes with the reason why it is not: a work that
was guessed wrong could put the same music into training and test. `settling.settle` then gives each composer and each
work of a library one name (see `symphony2vec.corpus.settling`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from symphony2vec.corpus import composers, identity, movements, works
from symphony2vec.corpus.composers import COLLECTIVE, composer_name, tidy
from symphony2vec.corpus.vocabulary import fold, without_discs

NO_TAGS: Mapping[str, str] = {}
# Names of folders that say where files come from or what kind they are, and never who wrote the music.
_SHELVES = set(
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
_INDEX = re.compile(r"(?P<first>[^\W_])(?:\s*[-–]\s*(?P<last>[^\W_]))?|(?:1[89]|20)\d\d(?:[-_. ]\d{1,2}){0,2}")
_NO_WORK = "no folder of a work between composer and file"
_PLACE_IN_NAME = re.compile(r"^(?:\d{1,3}[-.\s]+)+")
_PERSON = re.compile(r"[^\W\d_][^\W\d_.'’-]*(?:[\s.'’-]+[^\W\d_][^\W\d_.'’-]*){0,3}\.?")
_PERFORMERS = ("artist", "albumartist", "conductor")
_ENSEMBLE = re.compile(
    r"\b(?:orchest(?:ra|er|re)|orquesta|philharmoni\w*|filarmonic\w*|symphoniker|sinfoniker|ensemble|choir|chor|quartet|quartett|"
    r"quatuor|staatskapelle|gewandhaus\w*|concertgebouw\w*|academy of|camerata|consort|singers)\b"
)


@dataclass(frozen=True)
class Placed:
    """A recording with its place in the catalogue, and what told it: "tags", "folders" or "table".

    `also` are other texts that name the same work; `performance` are texts that may tell one recording of a work from
    another; the printed names are those of the tags, folders or table.
    """

    path: str
    composer: str
    work: str
    movement: str
    by: str
    licence: str = ""
    start: float | None = None  # s, where a cue sheet cuts the recording; None for its own ends
    end: float | None = None
    also: tuple[str, ...] = field(default=(), compare=False)
    performance: tuple[str, ...] = field(default=(), compare=False)
    printed_work: str = field(default="", compare=False)
    printed_composer: str = field(default="", compare=False)
    bare_movement: str = field(default="", compare=False)  # before it was told apart from others of the same title


@dataclass(frozen=True)
class Unplaced:
    """A recording that has no place, why, and as much as is known of it."""

    path: str
    reason: str
    composer: str = ""
    work: str = ""
    movement: str = ""
    start: float | None = None
    end: float | None = None


def by_folders(path: str, tags: Mapping[str, str] = NO_TAGS) -> Placed | Unplaced:
    """Read composer/work/movement-file; deeper folders join the movement's name, disc folders are skipped.

    A first folder that names a performer (by `tags` or by the authority) is no composer: then one must be named by the
    next folder or the file, as in "Karajan/Beethoven 5".
    """
    *folders, name = PurePosixPath(path).parts
    folders = [folder for folder in (without_discs(tidy(folder)) for folder in folders) if folder]
    stem = tidy(PurePosixPath(name).stem)
    person, head = _person_in_name(stem)
    count = len(folders)
    while folders and (_is_shelf(folders[0]) or _is_index(folders, bool(person) or len(folders) < count)):
        del folders[0]
    if person:
        first = folders[0] if folders else ""
        known = first and (composers.resolve(first).known or composers.leading(first)[0])
        on_shelf = len(folders) == 1 and count > 1  # "rips/Final Fantasy/01 - Uematsu - Opening"
        if not first or (not known and (on_shelf or not _PERSON.fullmatch(first))):
            movement = _behind_person(stem, person, head)
            return _placed(path, _known_name(person), head or first, movement, "folders", _NO_WORK, tags)
        if not known and first == first.lower() and not composers.resolve(person).known:
            reason = f"the folder '{first}' and the name of the file ('{person}') may both name the composer"
            return Unplaced(path, reason, movement=stem)
    composer, reason = composer_name(folders[0]) if folders else "", "no folder of a composer above it"
    rest = folders[1:]
    if folders:
        reason = _NO_WORK
        credit, _ = composers.leading(folders[0])
        if credit and not composers.resolve(folders[0]).known and len(folders) == 1:
            composer, rest = credit.name, [_album(folders[0], credit.name)]
        elif not _composes(folders[0], tags):
            composer, rest, reason = _behind_performer(folders, stem)
        elif not credit and not composers.resolve(folders[0]).known:
            composer = _composer_in_name(stem) or composer  # "rips/01 - Brahms - Symphony No. 1"
    work = rest[0] if rest else ""
    head, tail = movements.split_title(stem, composers.resolve(composer).name)
    movement = " / ".join(tidy(part) for part in (*rest[1:], stem))
    if head and works.parse(head, composers.resolve(composer).name).titled:
        parsed = works.parse(work, composers.resolve(composer).name)
        if not work or parsed.several or not parsed.titled:
            work, movement = head, tail or stem
    return _placed(path, composer, work, movement, "folders", reason, tags)


def _composer_in_name(stem: str) -> str:
    """The composer whom the name of a file states before a work, "" where it states none of the authority."""
    credit, _ = composers.leading(_PLACE_IN_NAME.sub("", stem))
    return credit.name if credit else ""


def _person_in_name(stem: str) -> tuple[str, str]:
    """The person whom the name of a file seems to state behind its track number, and the work that may follow.

    Returns:
        As in ("Uematsu", "Final Fantasy VII") of "01 - Uematsu - Final Fantasy VII - Opening"; empty without any.
    """
    place = _PLACE_IN_NAME.match(stem)
    pieces = [piece.strip() for piece in re.split(r"\s+[-–—]\s+", stem[place.end() :])] if place else []
    if len(pieces) < 2 or not _PERSON.fullmatch(pieces[0]) or movements.is_movement(pieces[0]):
        return "", ""
    parsed = works.parse(pieces[0])
    if parsed.genre or parsed.catalogue or _ENSEMBLE.search(fold(pieces[0])) or not pieces[0][0].isupper():
        return "", ""
    return pieces[0], pieces[1] if len(pieces) > 2 else ""


def _behind_person(stem: str, person: str, work: str) -> str:
    """The movement in the name of a file that states a person, and perhaps a work, before it."""
    behind = stem.partition(person)[2]
    behind = behind.partition(work)[2] if work else behind
    return behind.strip(" -–—")


def _is_shelf(folder: str) -> bool:
    return " ".join(re.split(r"[\W_]+", fold(folder))).strip() in _SHELVES


def _is_index(folders: list[str], is_bare: bool) -> bool:
    """Whether the first folder is a letter or a year that files are sorted by, and not a name.

    A letter is one before a folder that begins with it ("B/Brahms"), or where `is_bare` says that no name is expected.
    """
    match = _INDEX.fullmatch(fold(folders[0]).strip())
    if not match or len(folders) < 3:
        return match is not None and is_bare
    letters = match["first"], match["last"] or match["first"]
    return is_bare or not match["first"] or letters[0] <= fold(folders[1])[:1] <= letters[1]


def _known_name(name: str) -> str:
    credit = composers.resolve(name)
    return credit.name if credit.known else name


def _composes(folder: str, tags: Mapping[str, str]) -> bool:
    """Whether the first folder may name a composer: not where it names a performer."""
    credit = composers.resolve(folder)
    performing = {fold(name) for field in _PERFORMERS for name in re.split(r"\s*[;/,]\s*", tags.get(field, ""))}
    performing |= {fold(tags.get(field, "")) for field in _PERFORMERS}
    if credit.known:
        return credit.composes and not (credit.performs and fold(tidy(folder)) in performing)
    if _ENSEMBLE.search(fold(folder)):
        return False
    return fold(tidy(folder)) not in performing or fold(tidy(folder)) == fold(tags.get("composer", ""))


def _behind_performer(folders: list[str], stem: str) -> tuple[str, list[str], str]:
    """Composer and further folders where the first folder names a performer."""
    for place, text in enumerate(folders[1:], start=1):
        credit, _ = composers.leading(text)
        if credit:
            return credit.name, [_album(text, credit.name), *folders[place + 1 :]], ""
        whole = composers.resolve(text)
        if whole.known and whole.composes:
            return whole.name, folders[place + 1 :], _NO_WORK
    credit, _ = composers.leading(stem)
    return (credit.name if credit else ""), folders[1:], f"'{folders[0]}' performs, and nothing names the composer"


def by_tags(path: str, tags: Mapping[str, str]) -> Placed | Unplaced:
    """Read composer, work (or the title before its movement, or the album) and movement from the tags."""
    title = tidy(tags.get("title", "")) or tidy(PurePosixPath(path).stem)
    composer = composer_name(tags.get("composer", "")) or _composer_besides(tags, title)
    credit = composers.resolve(composer)
    who = credit.name if credit.known else ""
    title_work, tail = movements.split_title(title, who)
    tagged, tagged_tail = _tagged_work(tags, who)
    named, entitled = (works.parse(text, who) for text in (tagged, title_work))
    if tagged and entitled.titled and not named.several and identity.conflict(named, entitled):
        reason = f"the tag of the work says '{tagged}' and the title '{title_work}'"
        return Unplaced(path, reason, composer, "", title)
    work, also = tagged, (title_work,) if title_work else ()
    if not work or (named.several and entitled.titled):
        work, also = title_work, ()
    if not work:
        work, also = _album(tags.get("album", ""), who), ()
    absent = [name for name, text in (("composer", composer), ("work or album", work)) if not text]
    movement = _movement(
        tags, title, tail if title_work else tagged_tail if title == tidy(tags.get("work", "")) else ""
    )
    return _placed(path, composer, work, movement, "tags", f"no tag of {' and '.join(absent)}", tags, also)


def _composer_besides(tags: Mapping[str, str], title: str) -> str:
    """The composer where no tag of one is there: whom title or album begin with, or a known one among the artists.

    Conductors and soloists who compose as well are not taken from the artists.
    """
    for text in (title, tidy(tags.get("album", ""))):
        credit, _ = composers.leading(text)
        if credit:
            return credit.name
    people = composers.known_in(tags.get(field, "") for field in ("albumartist", "artist"))
    return people[0].name if len(people) == 1 and not people[0].performs else ""


def _tagged_work(tags: Mapping[str, str], composer: str) -> tuple[str, str]:
    """The work of the tag WORK, or of the grouping where that names one, and the movement that stands with it."""
    for name in ("work", "grouping"):
        text = tidy(tags.get(name, ""))
        if not text:
            continue
        head, tail = movements.split_title(text, composer)
        if head:
            return head, tail
        whole = works.parse(text, composer)
        if (
            (name == "work" and not movements.is_movement(text))
            or whole.titled
            or (tags.get("movement") and name == "grouping")
        ):
            return without_discs(text), ""
    return "", ""


def _album(album: str, composer: str) -> str:
    text = without_discs(tidy(album))
    credit, rest = composers.leading(text)
    if credit and rest and credit.name == composer:
        text = rest
    number = re.match(r"(?:#|no\.?\s*|nr\.?\s*)?(\d{1,2})(?!\d)\s*(?:$|[/(\[,;–-])", text, re.IGNORECASE)
    if number and credit:
        return f"Symphony No. {number[1]}"  # "Mahler 3", "Beethoven 5 / Karajan"
    if works.parse(text, composer).titled:
        return movements.split_title(text, composer)[0] or text
    return text


def _movement(tags: Mapping[str, str], title: str, tail: str) -> str:
    name, number = (tidy(tags.get(key, "")) for key in ("movement", "movement_number"))
    number = re.sub(r"^0+(?=\d)|\s*/.*$", "", number)
    text = name or tail
    if text and number and not re.match(r"(?:\d|[IVX]+[.:\s])", text):
        return f"{number}. {text}"
    if text and re.match(r"(?:\d{1,2}|[IVX]{1,5})(?:[.):\s]|$)", text):
        return text
    return numbered(text or title, tags)


def numbered(title: str, tags: Mapping[str, str]) -> str:
    """A title with its place before it ("01 Allegro", on one of several discs "02-01 Allegro")."""
    track, disc = (re.match(r"\s*0*(\d{1,4})\s*(?:/\s*0*(\d+))?", tags.get(name, "")) for name in ("track", "disc"))
    if not track or re.match(rf"0*{track[1]}\b", title):
        return title
    several = disc and disc[2] != "1"
    return f"{int(disc[1]):02d}-{int(track[1]):02d} {title}" if disc and several else f"{int(track[1]):02d} {title}"


def by_tags_or_folders(path: str, tags: Mapping[str, str]) -> Placed | Unplaced:
    """The tags where they name composer and work, else the folders."""
    tagged = by_tags(path, tags)
    several = "names several" in composers.resolve(tags.get("composer", "")).fault
    if isinstance(tagged, Placed) or several or "the tag of the work says" in tagged.reason:
        return tagged  # what the tags say is not settled by guessing at folders
    foldered = by_folders(path, tags)
    if isinstance(foldered, Placed):
        return foldered
    return replace(
        tagged,
        reason=f"{foldered.reason}, and {tagged.reason}",
        composer=tagged.composer or foldered.composer,
    )


def _placed(
    path: str,
    composer: str,
    work: str,
    movement: str,
    by: str,
    reason: str,
    tags: Mapping[str, str],
    also: tuple[str, ...] = (),
) -> Placed | Unplaced:
    credit = composers.resolve(composer)
    if fold(work) in COLLECTIVE:
        return Unplaced(path, f"'{work}' names nobody and no work", movement=movement)
    if credit.fault:
        return Unplaced(path, credit.fault, movement=movement)
    if composer and credit.known and not credit.composes:
        return Unplaced(path, f"'{composer}' is known as a performer, not as a composer", "", work, movement)
    if composer and work and movement:
        parts = PurePosixPath(path).parts
        performance = (
            *(tidy(tags.get(name, "")) for name in ("conductor", "album", "albumartist", "artist")),
            tidy(parts[-2]) if len(parts) > 1 else "",
        )
        printed = tidy(tags.get("work", "") or tags.get("title", "")) if by == "tags" else work
        written = tidy(tags.get("composer", "")) if by == "tags" else composer
        return Placed(
            path,
            composer,
            work,
            movement,
            by,
            also=also,
            performance=performance,
            printed_work=printed or work,
            printed_composer=written or composer,
        )
    return Unplaced(path, reason, composer, work, movement)
