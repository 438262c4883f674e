"""Which composer a name means: roles, life dates, initials, spellings and transliterations.

Names that the authority (`symphony2vec.corpus.authority`) does not contain are only tidied: given name first, without
dates.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from symphony2vec.corpus.authority import (
    SUFFIXES,
    extract_given_names,
    find_people,
    match_in_order,
    phonetic_key,
    tidy,
    tokenize_name,
)
from symphony2vec.corpus.vocabulary import COMPOUND, GENRE, normalize

PLACEHOLDERS = {
    *("various artists", "various", "various composers", "compilations", "unknown", "unknown artist", "soundtrack"),
    *("unknown composer", "unknown album", "unknown title", "diverse", "divers", "verschiedene", "va", "n/a", "none"),
    *("anonymous", "anon", "anonymus", "traditional", "trad", "verschiedene komponisten", "varios", "artisti vari"),
    *("classical", "classical music", "klassik", "classique", "music", "musik"),
}
_ROLE = (
    r"arr(?:anged|angement|angiert|angeur|anger|\.)?|orch(?:estrated|estration|estr|estrator|\.)?|orchestrat(?:ed|ion|or)"
    r"|orchestr(?:iert|ee?|\.)|instr(?:umentiert|umentation|\.)?|transcr(?:ibed|iption|iber|\.)?|transkr(?:ibiert|iption|\.)?"
    r"|bearb(?:eitet|eitung|\.)?|adapt(?:ed|ation|\.)?|real(?:i[sz]ed|i[sz]ation)|compl(?:eted|etion|\.)?|ed(?:ited|itor|\.)"
    r"|trans(?:\.|(?= ))|rev(?:ised|ision|\.)|lyrics?|lyricist|libretto|librettist|text|words|poem"
    r"|after|nach|d'apres|d’apres|da"
    r"|conductor|dirigent|cond\.|performer|artist"
)
_OTHER_ROLE = re.compile(rf"(?<!\w)(?:{_ROLE})(?!\w)\s*(?:by|von|par|da|for|fur|:)?\s*", re.IGNORECASE)
_COMPOSER_ROLE = re.compile(
    r"(?<!\w)(?:composer|composed by|comp\.|komponist|compositeur|compositore|music by|musik|music"
    r"|attrib(?:uted|\.)?(?: to)?"
    r"|zugeschrieben)\s*:?(?!\w)",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"[(\[][^()\[\]]*[)\]]")
_YEAR = r"(?:c\.?|ca\.?|circa|um|b\.?|d\.?|born|geb\.?|died|gest\.?|n[ée]e?|\*|†|✝)?\s*\d{4}(?:-\d\d-\d\d|/\d{1,2})?\??"
_DATES = re.compile(
    rf"[\s,]*[(\[]?\s*(?<!\w){_YEAR}\s*(?:[-–—‐‑−/~]\s*(?:{_YEAR})?|,\s*{_YEAR})?(?![\w])(?:\s*[,;]?\s*[^\W\d]+)?\s*[)\]]|"
    rf"[\s,]*(?<!\w){_YEAR}\s*(?:[-–—‐‑−/~]\s*(?:{_YEAR})?)?(?!\w)\s*$",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(
    r"\s*(?:[;|\n\0]|\s/\s|/(?=\w{3})|\s&\s|\s\+\s|\s(?:and|und|et|with|feat\.?|ft\.?)\s)\s*", re.IGNORECASE
)
# Catalogues of one composer, which decide whom a surname means.
CATALOGUE_OWNERS = {
    "bwv": "Johann Sebastian Bach", "wq": "Carl Philipp Emanuel Bach", "fk": "Wilhelm Friedemann Bach",
    "hob": "Joseph Haydn", "mh": "Michael Haydn", "kv": "Wolfgang Amadeus Mozart", "trv": "Richard Strauss",
}  # fmt: skip


@dataclass(frozen=True)
class Credit:
    """The composer that a tag, folder or title states.

    Attributes:
        name: As in the authority, else as written.
        key: Equal keys mean one person.
        in_authority: The authority contains this composer.
        surname_only: The text states no given name.
        performs: The person is known as a performer, too.
        composes: The person is known as a composer.
        candidates: The composers whom an ambiguous name may mean.
        fault: Why the text does not name exactly one composer, "" if it does.
    """

    name: str
    key: str
    in_authority: bool = False
    surname_only: bool = False
    performs: bool = False
    composes: bool = True
    candidates: tuple[str, ...] = ()
    fault: str = ""


def tidy_composer(text: str) -> str:
    """Return a composer's name tidied and with the given name first.

    Examples:
        >>> tidy_composer("Lima,  Ana"), tidy_composer("Lima,_Ana")
        ('Ana Lima', 'Ana Lima')
    """
    name = tidy(text if " " in text else text.replace("_", " "))
    if _SEPARATOR.search(name) or _OTHER_ROLE.search(name) or _COMPOSER_ROLE.search(name):
        return name
    undated, years = _split_dates(name)
    last, comma, first = (part.strip() for part in undated.partition(","))
    inverted = comma and last and first and "," not in first and normalize(first).rstrip(".") not in SUFFIXES
    two_people = len(find_people(first)) == len(find_people(last)) == 1 and not find_people(undated)
    if not inverted or two_people:  # "Bach, Beethoven"
        return name
    return f"{first} {last}" + (f" ({'-'.join(map(str, years))})" if years else "")


@functools.lru_cache(maxsize=4096)
def resolve(text: str) -> Credit:
    """Return the composer that a text names; arrangers, orchestrators and librettists are ignored.

    Args:
        text: As in "Bach, Johann Sebastian (1685-1750)" or "Mussorgsky; arr. Ravel".

    Returns:
        The composer, with a `fault` if the text names none or several.

    Examples:
        >>> resolve("Bach, J. S. (1685-1750)").name
        'Johann Sebastian Bach'
    """
    text = tidy(text.replace("\0", ";") if " " in text or "\0" in text else text.replace("_", " "))
    if _is_placeholder(text):
        return Credit(text, "", fault=f"'{text}' is a placeholder, not the name of a composer or work")
    people: dict[str, Credit] = {}
    for part in _split_people(text):
        credit = _resolve_person(part)
        if credit.key and not _is_placeholder(_BRACKETS.sub(" ", credit.name)):
            people.setdefault(credit.key, credit)
    if len(people) > 1:
        names = " and ".join(f"'{credit.name}'" for credit in people.values())
        return Credit(text, "", fault=f"'{text}' names several composers: {names}")
    return next(iter(people.values()), Credit(text, "", fault=f"'{text}' names no composer" if text else ""))


def _is_placeholder(text: str) -> bool:
    return normalize(text).strip(" .[]()<>") in PLACEHOLDERS


def _split_people(text: str) -> list[str]:
    """Return the people in a text who are not marked as arrangers, poets or performers."""
    people = []
    for piece in _SEPARATOR.split(text):
        piece = _COMPOSER_ROLE.sub(" ", piece)
        piece = re.sub(r"[(\[]\s*[)\]]", " ", piece)
        role = _OTHER_ROLE.search(normalize(piece) if len(normalize(piece)) == len(piece) else piece)
        if role:
            rest = piece[role.end() :].strip(" .)]")
            if not rest and role.start() and piece[role.start() - 1] in "([,":
                continue  # "Ravel (arr.)", "Ravel [orchestrator]": the role follows its person
            piece = piece[: role.start()].strip(" ,([-–")
        people += _split_commas(piece)
    return [person for person in people if person.strip(" .,;:-?()[]")]


def _split_commas(piece: str) -> list[str]:
    """Split "Bach, Beethoven" and "Bach, J. S., Haydn, Joseph" into people; other texts stay whole."""
    undated, _ = _split_dates(piece)
    names = [name.strip() for name in undated.split(",") if name.strip()]
    if len(names) < 2 or find_people(undated):
        return [piece]
    people = [find_people(name) for name in names]
    if all(len(candidates) == 1 for candidates in people):
        return names
    if len(people[0]) == 1 and extract_given_names(names[0]) and len(names[1].split()) > 1:
        return names  # "Gustav Mahler, Friedrich Rückert": both are full names
    if len(names) > 2 and len(names) % 2 == 0:
        pairs = [", ".join(names[i : i + 2]) for i in range(0, len(names), 2)]
        if all(find_people(pair) for pair in pairs):
            return pairs
    return [piece]


def _split_dates(text: str) -> tuple[str, list[int]]:
    """Return a name without life dates, and the years of birth and death as far as they are stated."""
    years: list[int] = []

    def collect_years(match: re.Match[str]) -> str:
        years.extend(int(year) for year in re.findall(r"(?<!\d)\d{4}(?!\d)", match[0]))
        return " "

    undated = re.sub(r"\s+,", ",", " ".join(_DATES.sub(collect_years, text).split())).strip(" ,;:")
    return undated or text, years[:2]


def _resolve_person(text: str) -> Credit:
    """Return the composer that the name of one person means."""
    undated, years = _split_dates(text)
    undated = undated.strip(" .?") if undated.endswith(("?", " .")) else undated
    people = find_people(undated, years)
    name = tidy_composer(undated)
    surname_only = not extract_given_names(undated)
    # A surname that many people have does not mean this one on its own.
    if len(people) == 1:
        person = people[0]
        if person.surname_suffices or not person.composes or years or not surname_only:
            return Credit(person.name, person.name, True, surname_only, person.performs, person.composes)
    key = " ".join(tokenize_name(name)) or normalize(name)
    key = f"{key} {years[0]}" if len(people) > 1 and years else key
    candidates = tuple(person.name for person in people if person.composes)
    hyphenated = re.fullmatch(r"([^\W\d_]{3,})\s?[-–]\s?([^\W\d_]{3,})|(.{3,})\s[-–]\s(.{3,})", undated)
    pair = [part for part in hyphenated.groups() if part] if hyphenated else []
    if pair and all(len(find_people(part)) == 1 for part in pair):
        return _resolve_person(pair[0])  # Bach-Busoni, Mussorgsky-Ravel: the second one arranged it
    return Credit(name, key, surname_only=surname_only, candidates=candidates)


def find_composers(texts: Iterable[str]) -> list[Credit]:
    """Return the composers of the authority among the people and ensembles that tags of performers name, each once."""
    people: dict[str, Credit] = {}
    for text in texts:
        for piece in re.split(r"[;,/|]|\s&\s", text):
            credit = _resolve_person(tidy(piece)) if piece.strip() else None
            if credit and credit.in_authority and credit.composes:
                people.setdefault(credit.key, credit)
    return list(people.values())


def split_composer(text: str) -> tuple[Credit | None, str]:
    """Split a title into the composer it begins with, and the rest.

    Returns:
        The composer, None if the first words name none of the authority; and the rest, or the whole text.

    Examples:
        >>> credit, rest = split_composer("Beethoven: Symphony No. 5")
        >>> credit.name, rest
        ('Ludwig van Beethoven', 'Symphony No. 5')
    """
    head, colon, rest = text.partition(":")
    if colon:
        credit = resolve(tidy(head))
        if credit.in_authority and credit.composes:
            return credit, rest.strip()
    for match in list(re.finditer(r"\s+[-–—]\s+|\s+|,\s*", text))[:5]:
        head, rest = text[: match.start()], text[match.end() :]
        credit = _resolve_person(re.sub(r"['’]s$", "", head))
        ends_name = match[0].strip(" ,") or _begins_with_work(normalize(rest))
        if credit.in_authority and credit.composes and ends_name:
            return credit, rest
    return None, text


def _begins_with_work(plain: str) -> bool:
    return bool(re.match(r"[#(]?\d|(?:no|nr)\b", plain) or GENRE.match(plain) or COMPOUND.match(plain))


def may_be_same(first: str, second: str) -> bool:
    """Return whether two names may mean one composer: one is a surname, has initials, or another transliteration.

    Examples:
        >>> may_be_same("N. Uematsu", "Nobuo Uematsu"), may_be_same("Johann Strauss", "Richard Strauss")
        (True, False)
    """
    credit, other = resolve(first), resolve(second)
    if credit.in_authority and other.in_authority:
        return False
    if other.name in credit.candidates or credit.name in other.candidates:
        return True
    if (credit.candidates and other.in_authority) or (other.candidates and credit.in_authority):
        return False
    short, long = sorted((tokenize_name(credit.name), tokenize_name(other.name)), key=len)
    if not short or not long:
        return False
    surname_last = phonetic_key(short[-1]) == phonetic_key(long[-1])
    if not surname_last and phonetic_key(short[0]) != phonetic_key(long[-1]):
        return False
    if len(short) == 1:
        return True
    given_names = short[:-1] if surname_last else short[1:]
    return match_in_order(given_names, [frozenset([phonetic_key(token), token]) for token in long[:-1]])
