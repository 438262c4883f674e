"""Which work a text names: by catalogue numbers, else by genre, number and key, else by its words.

Excerpts and arrangements count as the work that they are taken from.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field, replace

from symphony2vec.corpus import vocabulary
from symphony2vec.corpus.authority import tidy
from symphony2vec.corpus.repertoire import complete, translate
from symphony2vec.corpus.vocabulary import normalize
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
_CATALOGUE = re.compile(
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
# Single letters are catalogues of these composers; followed by a dot and two digits or more, of any composer.
_LETTERS = {
    "d": "Schubert Tartini", "b": "Dvořák Viotti", "s": "Liszt", "l": "Debussy Scarlatti",
    "h": "Martinů Holst Berlioz Bach Charpentier",
    "m": "Ravel", "p": "Vivaldi Respighi",
    "j": "Weber", "f": "Bach Vivaldi", "g": "Boccherini", "t": "Offenbach Telemann",
    "z": "Purcell", "r": "Vivaldi Liszt", "w": "Villa-Lobos", "c": "Berwald",
}  # fmt: skip
_SOLO_GENRES = {
    "Concerto", "Concertino", "Sonata", "Sonatina", "Quartet", "Quintet", "Trio", "Sextet", "Septet", "Octet", "Nonet",
    "Romance", "Serenade",
}  # fmt: skip
_STOP_WORDS = set(
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
    """Return what a text says about a work.

    Args:
        text: A title without its movement, a tag of the work, an album or a folder.
        composer: As the authority names them: decides what "D. 944" means, and which nicknames are known.

    Examples:
        >>> name = parse("Symphonie Nr. 5 c-moll op. 67")
        >>> name.genre, name.number, name.key, sorted(name.catalogue)
        ('Symphony', 5, 'C minor', ['op 67'])
    """
    text = vocabulary.remove_discs(tidy(text))
    plain, positions = normalize_with_positions(text)
    name = _parse_one_language(text, plain, positions, composer)
    translation = translate(text, plain, positions, composer)
    if translation == text:
        return name
    # The translation says what the work is; where it ends is a position in the original text.
    translated_name = _parse_one_language(translation, *normalize_with_positions(translation), composer)
    return replace(translated_name, text=text, end=name.end)


def normalize_with_positions(text: str) -> tuple[str, list[int]]:
    """Return the normalized text, and for each of its characters the position in `text` that it comes from.

    Examples:
        >>> normalize_with_positions("Groß")
        ('gross', [0, 1, 2, 3, 3])
    """
    signs = [(plain, i) for i, sign in enumerate(text) for plain in normalize(sign)]
    return "".join(plain for plain, _ in signs), [i for _, i in signs]


def _parse_one_language(text: str, plain: str, positions: list[int], composer: str) -> WorkName:
    numbers, several_numbers, rest, end = _extract_catalogue_numbers(text, plain, positions, composer)
    without_numbers = rest
    genre, rest = _extract_genre(rest)
    end = max(end, genre.end)
    key = ""
    for i, pattern in enumerate(vocabulary.KEYS):
        match = pattern.search(rest)
        # "in A" without a mode is a key beside a genre or a catalogue number only, and in upper case.
        if match and (i < 3 or ((genre.name or numbers) and text[positions[match.start("tone")]].isupper())):
            key, end = vocabulary.format_key(match), max(end, match.end())
            rest = _blank(rest, *match.span())
            break
    ignored = _STOP_WORDS | set(normalize(composer).replace("-", " ").split())
    name = WorkName(
        text,
        frozenset(numbers),
        genre.name,
        frozenset(genre.instruments),
        genre.number,
        key,
        tuple(word for word in re.findall(r"\w+", rest.replace("'s ", " ")) if word not in ignored),
        several_numbers or genre.is_plural,
        genre.numbers,
    )
    return replace(complete(name, without_numbers, composer), end=positions[end] if end < len(positions) else len(text))


def _blank(text: str, start: int, stop: int) -> str:
    return text[:start] + " " * (stop - start) + text[stop:]


def _extract_catalogue_numbers(
    text: str, plain: str, positions: list[int], composer: str
) -> tuple[list[str], bool, str, int]:
    """Return the catalogue numbers, whether they are a range, the text without them and where the last one ends."""
    numbers: list[str] = []
    several, end = False, 0
    surname = composer.split()[-1] if composer else ""
    for pattern in (_OPUS, _CATALOGUE, _HOBOKEN, _KOECHEL, _LETTER):
        for match in list(pattern.finditer(plain)):
            if plain[match.start() : match.end()].isspace():
                continue  # part of a number that another pattern extracted
            parts = match.groupdict()
            if pattern in (_KOECHEL, _LETTER) and not text[positions[match.start()]].isupper():
                continue
            if pattern is _LETTER:
                is_own_catalogue = surname in _LETTERS.get(parts["system"], "").split()
                if not is_own_catalogue and not (parts["dot"] and len(parts["number"]) > 1):
                    continue
            numbers.append(_format_catalogue_number(pattern, parts))
            rest = plain[match.end() :]
            several = several or bool(re.match(r"\s*[-–—&]\s*\d|\s*,?\s*(?:nos|nrn)\b", rest))
            more = re.match(r"\s*[-–—&]\s*\d+|\s*,?\s*(?:nos|nrn)\b[\s.]*[\d\s,&–-]*", rest)
            stop = match.end() + (more.end() if more else 0)
            plain = _blank(plain, match.start(), stop)
            end = max(end, stop)
    return numbers, several, plain, end


def _format_catalogue_number(pattern: re.Pattern[str], parts: dict[str, str]) -> str:
    """Return the normal form of a catalogue number: "op 18/1", "hob i:104", "bwv anh 5"."""
    number = parts["number"].lstrip("0") or "0"
    letter = parts.get("letter") or ""
    if pattern is _OPUS:
        sub = parts["sub"] or parts["slash"]
        return f"op {number}{letter}" + (f"/{int(sub)}" if sub else "")
    if pattern is _HOBOKEN:
        return f"hob {parts['group']}:{number}"
    system = "k" if pattern is _KOECHEL else parts["system"]
    appendix = "anh " if parts.get("appendix") else ""
    return f"{system} {appendix}{(parts.get('group') or '').replace('/', ':')}{number}{letter}"


@dataclass
class _Genre:
    """A genre with its instruments, its number or numbers, and where they end in the text."""

    name: str = ""
    instruments: set[str] = field(default_factory=set)
    number: int | None = None
    numbers: tuple[int, ...] = ()
    is_plural: bool = False
    end: int = 0


def _extract_genre(plain: str) -> tuple[_Genre, str]:
    """Return the genre that a normalized text names, and the text without it."""
    compound, match = vocabulary.COMPOUND.search(plain), vocabulary.GENRE.search(plain)
    genre = _Genre()
    if compound and (not match or compound.start() <= match.start()):
        match = compound
        instrument, genre.name = vocabulary.COMPOUNDS[match[0]]
        genre.instruments.add(instrument)
        genre.is_plural = match[0].endswith(("konzerte", "sonaten"))
    elif match:
        genre.name, genre.is_plural = vocabulary.GENRES[match[0]]
    else:
        return genre, plain
    genre.number, genre.numbers, stop, rest = _extract_number(plain, match)
    genre.is_plural = bool(genre.numbers) or (genre.is_plural and genre.number is None)  # "Hungarian Dances No. 5"
    genre.end = max(match.end(), stop)
    rest = _blank(rest, *match.span())
    if genre.name in _SOLO_GENRES:
        for instrument_match in list(vocabulary.INSTRUMENT.finditer(rest)):
            genre.instruments.add(vocabulary.INSTRUMENTS[instrument_match[0]])
            rest = _blank(rest, *instrument_match.span())
        genre.instruments = _select_instruments(genre.name, genre.instruments)
    return genre, rest


def _select_instruments(genre: str, instruments: set[str]) -> set[str]:
    """Return the instruments that name a work: "Trio for piano, violin and cello" is a piano trio."""
    if genre in {"Trio", "Quartet", "Quintet", "Sextet"} and "Piano" in instruments:
        return {"Piano"}
    if genre == "Sonata" and len(instruments) > 1:
        return instruments - {"Piano"}
    if genre == "Quartet" and instruments == {"Violin", "Viola", "Cello"}:
        return {"String"}
    return instruments - {"String"} if len(instruments) > 1 else instruments


def _extract_number(plain: str, genre: re.Match[str]) -> tuple[int | None, tuple[int, ...], int, str]:
    """Return the number of a genre, or the numbers of several works, where they end, and the text without them."""
    before, after = plain[: genre.start()], plain[genre.end() :]
    count, offset = vocabulary.NUMBER.search(after) or vocabulary.BARE_NUMBER.match(after), genre.end()
    if not count and len(before) > 3:
        count, offset = vocabulary.NUMBER.search(before), 0
    if count:
        start, stop = offset + count.start("count"), offset + count.end()
        if vocabulary.NUMBER_LIST.match(plain, start):
            number_list = re.match(r"[\d\s,&+–—-]+(?:(?:and|und|et|no|nr|\.)+[\d\s,&+–—.-]+)*", plain[start:])
            stop = start + (number_list.end() if number_list else 0)
            return None, _expand_ranges(plain[start:stop]), stop, _blank(plain, start, stop)
        return vocabulary.parse_numeral(count["count"]), (), stop, _blank(plain, offset + count.start(), stop)
    ordinal, offset = vocabulary.ORDINAL_BEFORE.search(before), 0
    if not ordinal:
        ordinal, offset = vocabulary.ORDINAL_AFTER.match(after), genre.end()
    if not ordinal:
        return None, (), 0, plain
    parts = ordinal.groupdict()
    number = int(parts["digits"]) if parts.get("digits") else vocabulary.ORDINALS[parts["word"]]
    return number, (), 0, _blank(plain, offset + ordinal.start(), offset + ordinal.end())


def _expand_ranges(text: str) -> tuple[int, ...]:
    """Return the numbers of "5 & 7", "1-3", "1, 2 and 4"."""
    numbers: list[int] = []
    for first, last in re.findall(r"(\d{1,3})(?:\s*[-–—]\s*(\d{1,3}))?", text):
        numbers += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(numbers))
