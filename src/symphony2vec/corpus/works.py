"""Which work a text names: catalogue numbers, else genre, number and key, else its words.

Excerpts and arrangements count as the work that they are taken from.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace

from symphony2vec.corpus import vocabulary as words
from symphony2vec.corpus.composers import tidy
from symphony2vec.corpus.repertoire import complete, translate
from symphony2vec.corpus.vocabulary import fold
from symphony2vec.corpus.workname import WorkName

_sub = (
    r"(?:\s*[,/-]?\s*(?:no|nr|num|n)\s*[.°:]{0,2}\s*(?:o\b\.?)?\s*(?P<sub>\d{1,3})(?![^\W_])"
    r"|\s?/\s?(?P<slash>\d{1,3})(?!\d))?"
)
_OPUS = re.compile(
    r"(?<![^\W_])(?:op|opp|opus|соч)\s*[.:]?\s*(?:posth?(?:umous|hume|um)?\s*[.:]?\s*)?(?P<number>\d{1,4})(?P<letter>bis|ter|[a-e])?"
    rf"(?![^\W_]){_sub}"
)
_SYSTEMS = (
    "bwv hwv twv rv woo wq wab js sz bb fs cnw eg swv buxwv hess qv gwv zwv mwv trv lwv rct fwv th jb mh cg fk sv vb "
    "kk crq dtv".split()
)
_NAMED = re.compile(
    rf"(?<![^\W_])(?P<system>{'|'.join(_SYSTEMS)})\s*[.:]?\s*(?P<appendix>anh(?:ang)?\s*\.?\s*)?(?P<group>(?:[ivxlc]+|\d+)[:/])?"
    r"\s*(?P<number>[a-z]?\d{1,4})(?P<letter>[a-z])?(?![^\W_])"
)
_HOBOKEN = re.compile(
    r"(?<![^\W_])hob(?:oken)?\s*[.:]?\s*(?P<group>[ivx]+[a-h]?)\s*[:/.,]?\s*(?:(?:no|nr)\s*\.?)?\s*(?P<number>[a-z]?\d{1,3})(?![^\W_])"
)
_KOECHEL = re.compile(
    r"(?<![^\W_])(?:kv|k\.\s?v\.?|k|koch(?:el)?)\s*[.:]?\s*(?P<appendix>anh(?:ang)?\s*\.?\s*)?(?P<number>\d{1,3})(?P<letter>[a-z])?"
    r"(?:\s?[/(]\s?\d{1,3}[a-z]?\)?)?(?![^\W_])"
)
_LETTER = re.compile(
    r"(?<![^\W_])(?P<system>[abcdfghjlmprstwz])(?P<dot>\.)?\s?(?P<number>\d{1,4})(?P<letter>[a-z])?(?![^\W_])"
)
# Single letters are catalogues of these composers; with a dot before two figures or more, of anybody.
_LETTERS = {
    "d": "Schubert Tartini", "b": "Dvořák Viotti", "s": "Liszt", "l": "Debussy Scarlatti",
    "h": "Martinů Holst Berlioz Bach Charpentier",
    "m": "Ravel", "p": "Vivaldi Respighi",
    "j": "Weber", "f": "Bach Vivaldi", "g": "Boccherini", "t": "Offenbach Telemann",
    "z": "Purcell", "r": "Vivaldi Liszt", "w": "Villa-Lobos", "c": "Berwald",
}  # fmt: skip
_SOLOISTS = {
    "Concerto", "Concertino", "Sonata", "Sonatina", "Quartet", "Quintet", "Trio", "Sextet", "Septet", "Octet", "Nonet",
    "Romance", "Serenade",
}  # fmt: skip
_STOP = set(
    "in for and the a an of de la le les du des d l fur und pour et per e y en di il i op major minor dur moll "
    "complete "
    "excerpts excerpt highlights selections selection live remastered remaster digital recording arr orchestra "
    "orchester "
    "orchestre orchestra orquesta und mit avec con with fur solo solos from aus to zu opus no nr der die das "
    "ein eine un une "
    "nos nrn to die el los las gesamtaufnahme gekurzt auszuge extraits integrale version original "
    "deluxe edition revised fassung versione wersja".split()
)


@functools.lru_cache(maxsize=8192)
def parse(text: str, composer: str = "") -> WorkName:
    """Read the name of a work, as in "Symphonie Nr. 5 c-moll op. 67".

    Args:
        text: A title without its movement, a WORK tag, an album or a folder.
        composer: As the authority names them: decides what "D. 944" means, and which nicknames hold.
    """
    text = words.without_discs(tidy(text))
    folded, places = mapped(text)
    named = _read(text, folded, places, composer)
    translated = translate(text, folded, places, composer)
    if translated == text:
        return named
    # what it says is read in one language; where it ends is a place in the text as it stands
    return replace(_read(translated, *mapped(translated), composer), text=text, end=named.end)


def _read(text: str, folded: str, places: list[int], composer: str) -> WorkName:
    catalogue, several, rest, end = _catalogued(text, folded, places, composer)
    uncounted = rest
    genre, instruments, number, numbers, plural, rest, end = _genre(rest, end)
    key = ""
    for place, pattern in enumerate(words.KEYS):
        match = pattern.search(rest)
        if match and (place < 3 or ((genre or catalogue) and text[places[match.start("tone")]].isupper())):
            key, end = words.key_of(match), max(end, match.end())
            rest = _blank(rest, match)
            break
    name = tuple(word for word in re.findall(r"\w+", rest.replace("'s ", " ")) if word not in _STOP)
    surname = set(fold(composer).replace("-", " ").split())
    name = tuple(word for word in name if word not in surname)
    named = WorkName(
        text, frozenset(catalogue), genre, frozenset(instruments), number, key, name, several or plural, numbers
    )
    return replace(complete(named, uncounted, composer), end=places[end] if end < len(places) else len(text))


def mapped(text: str) -> tuple[str, list[int]]:
    """The folded text, and for each of its characters the place in the text that it comes from."""
    signs, places = [], []
    for place, sign in enumerate(text):
        for plain in fold(sign):
            signs.append(plain)
            places.append(place)
    return "".join(signs), places


def _blank(text: str, match: re.Match[str]) -> str:
    return text[: match.start()] + " " * (match.end() - match.start()) + text[match.end() :]


def _catalogued(text: str, folded: str, places: list[int], composer: str) -> tuple[list[str], bool, str, int]:
    """The catalogue numbers, whether they are a range, the text without them and where the last one ends."""
    numbers: list[str] = []
    several, end = False, 0
    surname = composer.split()[-1] if composer else ""
    for pattern in (_OPUS, _NAMED, _HOBOKEN, _KOECHEL, _LETTER):
        for match in list(pattern.finditer(folded)):
            if folded[match.start() : match.end()].isspace():
                continue
            found = match.groupdict()
            first = text[places[match.start()]]
            if pattern is _KOECHEL and not first.isupper():
                continue
            if pattern is _LETTER:
                known = surname in _LETTERS.get(found["system"], "").split()
                if not first.isupper() or not (known or (found["dot"] and len(found["number"]) > 1)):
                    continue
            numbers.append(_catalogue_id(pattern, found))
            behind = folded[match.end() :]
            several = several or bool(re.match(r"\s*[-–—&]\s*\d|\s*,?\s*(?:nos|nrn)\b", behind))
            more = re.match(r"\s*[-–—&]\s*\d+|\s*,?\s*(?:nos|nrn)\b[\s.]*[\d\s,&–-]*", behind)
            stop = match.end() + (more.end() if more else 0)
            folded = folded[: match.start()] + " " * (stop - match.start()) + folded[stop:]
            end = max(end, stop)
    return numbers, several, folded, end


def _catalogue_id(pattern: re.Pattern[str], found: dict[str, str]) -> str:
    number = found["number"].lstrip("0") or "0"
    letter = found.get("letter") or ""
    if pattern is _OPUS:
        sub = found["sub"] or found["slash"]
        return f"op {number}{letter}" + (f"/{int(sub)}" if sub else "")
    if pattern is _HOBOKEN:
        return f"hob {found['group']}:{number}"
    system = "k" if pattern is _KOECHEL else found["system"]
    appendix = "anh " if found.get("appendix") else ""
    return f"{system} {appendix}{(found.get('group') or '').replace('/', ':')}{number}{letter}"


def _genre(rest: str, end: int) -> tuple[str, set[str], int | None, tuple[int, ...], bool, str, int]:
    """Genre, instruments, number or numbers, whether it is a plural, the text without them and where they end."""
    compound, match = words.COMPOUND.search(rest), words.GENRE.search(rest)
    instruments: set[str] = set()
    if compound and (not match or compound.start() <= match.start()):
        match = compound
        instrument, genre = words.COMPOUNDS[match[0]]
        instruments.add(instrument)
        plural = match[0].endswith(("konzerte", "sonaten"))
    elif match:
        genre, plural = words.GENRES[match[0]]
    else:
        return "", set(), None, (), False, rest, end
    number, numbers, stop, rest = _counted(rest, match)
    several = bool(numbers) or (plural and number is None)  # "Hungarian Dances No. 5" is one
    rest = _blank(rest, match)
    if genre in _SOLOISTS:
        for found in list(words.INSTRUMENT.finditer(rest)):
            instruments.add(words.INSTRUMENTS[found[0]])
            rest = _blank(rest, found)
        instruments = _soloists(genre, instruments)
    return genre, instruments, number, numbers, several, rest, max(end, match.end(), stop)


def _soloists(genre: str, instruments: set[str]) -> set[str]:
    """The instruments that name a work: "Trio for piano, violin and cello" is a piano trio."""
    if genre in {"Trio", "Quartet", "Quintet", "Sextet"} and "Piano" in instruments:
        return {"Piano"}
    if genre == "Sonata" and len(instruments) > 1:
        return instruments - {"Piano"}
    if genre == "Quartet" and instruments == {"Violin", "Viola", "Cello"}:
        return {"String"}
    return instruments - {"String"} if len(instruments) > 1 else instruments


def _counted(rest: str, match: re.Match[str]) -> tuple[int | None, tuple[int, ...], int, str]:
    """The number of a genre, or the numbers of several works, where it ends, and the text without it."""
    before, behind = rest[: match.start()], rest[match.end() :]
    count, offset = words.NUMBERED.search(behind) or words.AFTER.match(behind), match.end()
    if not count and len(before) > 3:
        count, offset = words.NUMBERED.search(before), 0
    if count:
        start, stop = offset + count.start("count"), offset + count.end()
        if words.SEVERAL.match(rest, start):
            listed = re.match(r"[\d\s,&+–—-]+(?:(?:and|und|et|no|nr|\.)+[\d\s,&+–—.-]+)*", rest[start:])
            stop = start + (listed.end() if listed else 0)
            return None, _numbers(rest[start:stop]), stop, rest[:start] + " " * (stop - start) + rest[stop:]
        begin = offset + count.start()
        return words.arabic(count["count"]), (), stop, rest[:begin] + " " * (stop - begin) + rest[stop:]
    ordinal = words.BEFORE.search(before) or words.BEHIND.match(behind)
    if not ordinal:
        return None, (), 0, rest
    parts = ordinal.groupdict()
    number = int(parts["digits"]) if parts.get("digits") else words.ORDINALS[parts["word"]]
    begin = ordinal.start() + (0 if ordinal.re is words.BEFORE else match.end())
    return number, (), 0, rest[:begin] + " " * len(ordinal[0]) + rest[begin + len(ordinal[0]) :]


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of "5 & 7", "1-3", "1, 2 and 4"."""
    numbers: list[int] = []
    for first, last in re.findall(r"(\d{1,3})(?:\s*[-–—]\s*(\d{1,3}))?", text):
        numbers += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(numbers))
