"""What a recording is: composer, work and movement out of folders or tags. No disk is touched here.

Paths are relative with forward slashes, as they stand on the disk; names are tidied: Unicode NFC, no control
characters, single spaces. A recording is either placed or comes with the reason why it is not: a work that
was guessed wrong could put the same music into training and test.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import PurePosixPath

DISC = re.compile(r"(cd|dis[ck]|disque)[\s._#-]*\d{1,3}(\s*of\s*\d+)?", re.IGNORECASE)
COLLECTIVE = {
    *("various artists", "various", "various composers", "compilations", "unknown", "unknown artist"),
    *("unknown composer", "unknown album", "unknown title"),
}
SUFFIXES_OF_NAMES = {
    "jr",
    "sr",
    "i",
    "ii",
    "iii",
    "sohn",
    "vater",
    "fils",
    "pere",
    "the elder",
    "the younger",
}
ALIKE = 0.8  # difflib's ratio: 0.87 for Tchaikovsky and Tschaikowsky, 0.69 for Johann and Richard Strauss


@dataclass(frozen=True)
class Placed:
    """A recording with its place in the catalogue, and what told it: "tags", "folders" or "table"."""

    path: str
    composer: str
    work: str
    movement: str
    by: str
    licence: str = ""
    start: float | None = None  # s, where a cue sheet cuts the recording; None for its own ends
    end: float | None = None


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


def tidy(text: str) -> str:
    """NFC, control characters as spaces, whitespace collapsed."""
    plain = "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in text)
    return unicodedata.normalize("NFC", " ".join(plain.split()))


def fold(name: str) -> str:
    """What two spellings have in common that differ by case and Latin, Greek or Cyrillic accents alone."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", name) if not "\u0300" <= sign <= "\u036f").casefold()


def composer_name(text: str) -> str:
    """A composer's name, tidied and with the first name first: "Bach, Johann" and "Bach,_Johann" alike."""
    name = tidy(text if " " in text else text.replace("_", " "))
    last, comma, first = (part.strip() for part in name.partition(","))
    turned = comma and last and first and "," not in first and fold(first).rstrip(".") not in SUFFIXES_OF_NAMES
    return f"{first} {last}" if turned else name


def by_folders(path: str) -> Placed | Unplaced:
    """Read composer/work/movement-file; deeper folders join the movement's name, disc folders are skipped."""
    *folders, name = PurePosixPath(path).parts
    folders = [folder for folder in folders if not DISC.fullmatch(folder.strip())]
    composer = composer_name(folders[0]) if folders else ""
    work = tidy(folders[1]) if len(folders) > 1 else ""
    movement = " / ".join(tidy(part) for part in (*folders[2:], PurePosixPath(name).stem))
    reason = "no folder of a composer above it" if not folders else "no folder of a work between composer and file"
    return _placed(path, composer, work, movement, "folders", reason)


def by_tags(path: str, tags: Mapping[str, str]) -> Placed | Unplaced:
    """Read the tags composer, work (or album) and title (or the file's name), disc and track before it."""
    composer = composer_name(tags.get("composer", ""))
    work = tidy(tags.get("work", "")) or tidy(tags.get("album", ""))
    title = tidy(tags.get("title", "")) or tidy(PurePosixPath(path).stem)
    absent = [name for name, text in (("composer", composer), ("work or album", work)) if not text]
    return _placed(path, composer, work, numbered(title, tags), "tags", f"no tag of {' and '.join(absent)}")


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
    if isinstance(tagged, Placed):
        return tagged
    foldered = by_folders(path)
    if isinstance(foldered, Placed):
        return foldered
    return replace(
        tagged,
        reason=f"{foldered.reason}, and {tagged.reason}",
        composer=tagged.composer or foldered.composer,
    )


def _placed(path: str, composer: str, work: str, movement: str, by: str, reason: str) -> Placed | Unplaced:
    for name in (composer, work):
        if fold(name) in COLLECTIVE:
            return Unplaced(path, f"'{name}' names nobody and no work", movement=movement)
    if composer and work and movement:
        return Placed(path, composer, work, movement, by)
    return Unplaced(path, reason, composer, work, movement)


def spellings(names: Mapping[str, int], merges: Mapping[str, str]) -> dict[str, str]:
    """Give for every name the one that stands for it: the merge asked for, else the most frequent spelling.

    `names` counts the recordings of each name; spellings that differ by case and accents alone count as one.
    """
    asked = {fold(name): target for name, target in merges.items()}
    asked = {fold(target): target for target in merges.values()} | asked
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[fold(name)].append(name)
    found: dict[str, str] = {}
    for key, group in alike.items():
        best = min(group, key=lambda name: (-names[name], name.isupper(), name.islower(), name.isascii(), name))
        found |= dict.fromkeys(group, asked.get(key, best))
    return found


def settle(placed: Iterable[Placed], merges: Mapping[str, str]) -> list[Placed]:
    """Give composers and works one spelling each, and every recording a title of its own."""
    placed = sorted(placed, key=lambda one: one.path)
    composers = spellings(Counter(one.composer for one in placed), merges)
    placed = [replace(one, composer=composers[one.composer]) for one in placed]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in placed:
        counts[one.composer][one.work] += 1
    works = {composer: spellings(names, {}) for composer, names in counts.items()}
    return _told_apart([replace(one, work=works[one.composer][one.work]) for one in placed])


def _told_apart(placed: list[Placed]) -> list[Placed]:
    """Add the end of the path to movements of one title, until none is left."""
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, one in enumerate(placed):
        groups[one.composer, one.work, one.movement].append(index)
    same = [group for group in groups.values() if len(group) > 1]
    if not same:
        return placed
    told = list(placed)
    for group in same:
        for index, tail in zip(group, _tails([placed[index].path for index in group]), strict=True):
            told[index] = replace(placed[index], movement=f"{placed[index].movement} ({tail})")
    return _told_apart(told)


def _tails(paths: list[str]) -> list[str]:
    """The shortest ends of paths that tell them apart; numbered where only their encoding differs."""
    parts = [PurePosixPath(path).parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        tails = [tidy("/".join(part[-depth:])) for part in parts]
        if len(set(tails)) == len(tails):
            return tails
    return [f"{tail}, {number}" for number, tail in enumerate(tails, start=1)]


def hints(placed: Iterable[Placed]) -> list[str]:
    """What a person should look at: first what may be one work under two names, then look-alike composers."""
    works: dict[str, set[str]] = defaultdict(set)
    ways: dict[str, set[str]] = defaultdict(set)
    for one in placed:
        works[one.composer].add(one.work)
        ways[str(PurePosixPath(one.path).parent)].add(one.by)
    found = []
    for composer, names in sorted(works.items()):
        alike = defaultdict(list)
        for name in sorted(names):
            alike["".join(sign for sign in fold(name) if sign.isalnum()) or name].append(name)
        pairs = (" and ".join(map(repr, group)) for group in alike.values() if len(group) > 1)
        found += [f"{composer}: {pair} look like one work; give them one name" for pair in pairs]
    for folder, by in sorted(ways.items()):
        if by >= {"tags", "folders"}:
            found.append(f"{folder}: some files are named by tags, some by folders; see that their work is one")
    for short, long in (sorted(pair, key=len) for pair in look_alikes(works)):
        merge = f'--composer "{short}={long}"'
        found.append(f"'{short}' and '{long}' look like one composer; {merge} merges them")
    return found


def look_alikes(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that may mean one composer: nearly the same letters, or one is the other's last word.

    Only names whose last words begin alike are compared, which keeps thousands of names quick.
    """
    blocks = defaultdict(list)
    for name in sorted(names):
        blocks[(fold(name).split() or [name])[-1][:1]].append(name)
    pairs = (pair for block in blocks.values() for pair in combinations(block, 2))
    return sorted(pair for pair in pairs if _look_alike(*map(fold, pair)))


def _look_alike(a: str, b: str) -> bool:
    if a.split()[-1:] == [b] or b.split()[-1:] == [a]:
        return True
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    ratios = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
    return all(ratio() >= ALIKE for ratio in ratios)
