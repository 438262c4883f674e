"""Who a name means: roles, life dates, initials, spellings and transliterations of composers.

Whoever is not in the authority (`symphony2vec.corpus.authority`) keeps the name as written, tidied: the first name
first, without dates.

"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from symphony2vec.corpus.authority import SUFFIXES, given_words, in_order, lookup, name_tokens, skeleton, tidy
from symphony2vec.corpus.vocabulary import COMPOUND, GENRE, fold

COLLECTIVE = {
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
_BETWEEN = re.compile(
    r"\s*(?:[;|\n\0]|\s/\s|/(?=\w{3})|\s&\s|\s\+\s|\s(?:and|und|et|with|feat\.?|ft\.?)\s)\s*", re.IGNORECASE
)
# A catalogue that is one composer's settles whom a bare surname means.
OWNERS = {
    "bwv": "Johann Sebastian Bach", "wq": "Carl Philipp Emanuel Bach", "fk": "Wilhelm Friedemann Bach",
    "hob": "Joseph Haydn", "mh": "Michael Haydn", "kv": "Wolfgang Amadeus Mozart", "trv": "Richard Strauss",
}  # fmt: skip


@dataclass(frozen=True)
class Credit:
    """What a composer's field says.

    `name` is the authority's, or the one written; names with one `key` mean one person. `candidates` are those whom a
    name may mean where that is not settled; `fault` says why the field names no single composer.
    """

    name: str
    key: str
    known: bool = False
    bare: bool = False
    performs: bool = False
    composes: bool = True
    candidates: tuple[str, ...] = ()
    fault: str = ""


def composer_name(text: str) -> str:
    """A composer's name, tidied and with the first name first: "Bach, Johann" and "Bach,_Johann" alike."""
    name = tidy(text if " " in text else text.replace("_", " "))
    if _BETWEEN.search(name) or _OTHER_ROLE.search(name) or _COMPOSER_ROLE.search(name):
        return name
    undated, years = _dates(name)
    last, comma, first = (part.strip() for part in undated.partition(","))
    turned = comma and last and first and "," not in first and fold(first).rstrip(".") not in SUFFIXES
    two = len(lookup(first)) == len(lookup(last)) == 1 and not lookup(undated)  # "Bach, Beethoven"
    if not turned or two:
        return name
    return f"{first} {last}" + (f" ({'-'.join(map(str, years))})" if years else "")


@functools.lru_cache(maxsize=4096)
def resolve(text: str) -> Credit:
    """Read a composer's field.

    Args:
        text: As in "Bach, Johann Sebastian (1685-1750)" or "Mussorgsky; arr. Ravel". Arrangers, orchestrators and
            librettists are left out.

    Returns:
        The one composer named; with `fault` where there is none or are several.
    """
    whole = tidy(text.replace("\0", ";") if " " in text or "\0" in text else text.replace("_", " "))
    if fold(whole).strip(" .[]()<>") in COLLECTIVE:
        return Credit(whole, "", fault=f"'{whole}' names nobody and no work")
    people: dict[str, Credit] = {}
    for part in _parts(whole):
        credit = _person(part)
        if fold(_BRACKETS.sub(" ", credit.name)).strip(" .[]()<>") in COLLECTIVE:
            continue
        if credit.key:
            people.setdefault(credit.key, credit)
    if len(people) > 1:
        names = " and ".join(f"'{credit.name}'" for credit in people.values())
        return Credit(whole, "", fault=f"'{whole}' names several composers: {names}")
    return next(iter(people.values()), Credit(whole, "", fault=f"'{whole}' names no composer" if whole else ""))


def _parts(text: str) -> list[str]:
    """The people of a field who are not named as arrangers, poets or performers."""
    parts = []
    for piece in _BETWEEN.split(text):
        piece = _COMPOSER_ROLE.sub(" ", piece)
        piece = re.sub(r"[(\[]\s*[)\]]", " ", piece)
        match = _OTHER_ROLE.search(fold(piece)) if len(fold(piece)) == len(piece) else _OTHER_ROLE.search(piece)
        if match:
            before = piece[: match.start()].strip(" ,([-–")
            # "Ravel (arr.)", "Ravel [orchestrator]": the role stands behind its person
            behind = piece[match.end() :].strip(" .)]")
            if not behind and match.start() and piece[match.start() - 1] in "([,":
                continue
            piece = before
        parts += _comma_parts(piece)
    return [part for part in parts if part.strip(" .,;:-?()[]")]


def _comma_parts(piece: str) -> list[str]:
    undated, _ = _dates(piece)
    names = [name.strip() for name in undated.split(",") if name.strip()]
    if len(names) < 2 or lookup(undated):
        return [piece]
    singles = [lookup(name) for name in names]
    if all(len(found) == 1 for found in singles):
        return names
    if len(singles[0]) == 1 and given_words(names[0]) and len(names[1].split()) > 1:
        return names  # "Gustav Mahler, Friedrich Rückert": both are whole names
    if len(names) > 2 and len(names) % 2 == 0:
        pairs = [", ".join(names[place : place + 2]) for place in range(0, len(names), 2)]
        if all(lookup(pair) for pair in pairs):
            return pairs
    return [piece]


def _dates(text: str) -> tuple[str, list[int]]:
    years: list[int] = []

    def note(match: re.Match[str]) -> str:
        years.extend(int(year) for year in re.findall(r"(?<!\d)\d{4}(?!\d)", match[0]))
        return " "

    undated = re.sub(r"\s+,", ",", " ".join(_DATES.sub(note, text).split())).strip(" ,;:")
    return undated or text, years[:2]


def _person(text: str) -> Credit:
    undated, years = _dates(text)
    undated = undated.strip(" .?") if undated.endswith(("?", " .")) else undated
    found = lookup(undated, years)
    name = composer_name(undated)
    bare = not given_words(undated)
    # a surname that many people have does not mean this one where it stands alone
    settled = len(found) == 1 and (found[0].alone or not found[0].composes or years or not bare)
    if settled:
        person = found[0]
        return Credit(person.name, person.name, True, bare, person.performs, person.composes)
    key = " ".join(name_tokens(name)) or fold(name)
    key = f"{key} {years[0]}" if len(found) > 1 and years else key
    candidates = tuple(person.name for person in found if person.composes)
    hyphened = re.fullmatch(r"([^\W\d_]{3,})\s?[-–]\s?([^\W\d_]{3,})|(.{3,})\s[-–]\s(.{3,})", undated)
    pair = [part for part in hyphened.groups() if part] if hyphened else []
    if pair and all(len(lookup(part)) == 1 for part in pair):
        return _person(pair[0])  # Bach-Busoni, Mussorgsky-Ravel: the second one arranged it
    return Credit(name, key, bare=bare, candidates=candidates)


def known_in(texts: Iterable[str]) -> list[Credit]:
    """The composers of the authority among people and ensembles named in fields of performers, each once."""
    people: dict[str, Credit] = {}
    for text in texts:
        for piece in re.split(r"[;,/|]|\s&\s", text):
            credit = _person(tidy(piece)) if piece.strip() else None
            if credit and credit.known and credit.composes:
                people.setdefault(credit.key, credit)
    return list(people.values())


def leading(text: str) -> tuple[Credit | None, str]:
    """The composer whom a title begins with, and the rest.

    Returns:
        As in "Beethoven: Symphony No. 5" and "Mahler 3"; no composer where the first words name none of the authority.
    """
    head, colon, rest = text.partition(":")
    if colon:
        credit = resolve(tidy(head))
        if credit.known and credit.composes:
            return credit, rest.strip()
    for match in list(re.finditer(r"\s+[-–—]\s+|\s+|,\s*", text))[:5]:
        head, rest = text[: match.start()], text[match.end() :]
        credit = _person(re.sub(r"['’]s$", "", head))
        opens = match[0].strip(" ,") or re.match(r"[#(]?\d|(?:no|nr)\b", fold(rest)) or _opens_work(rest)
        if credit.known and credit.composes and opens:
            return credit, rest
    return None, text


def _opens_work(rest: str) -> bool:
    return bool(GENRE.match(fold(rest)) or COMPOUND.match(fold(rest)))


def alike(a: str, b: str) -> bool:
    """Whether two names of people that no table tells apart may mean one: a bare surname, initials, transliteration."""
    first, second = resolve(a), resolve(b)
    if first.known and second.known:
        return False
    if second.name in first.candidates or first.name in second.candidates:
        return True
    if (first.candidates and second.known) or (second.candidates and first.known):
        return False
    one, other = name_tokens(first.name), name_tokens(second.name)
    one, other = sorted((one, other), key=len)
    if not one or not other:
        return False
    if skeleton(one[-1]) != skeleton(other[-1]) and skeleton(one[0]) != skeleton(other[-1]):
        return False
    if len(one) == 1:
        return True
    rest = one[:-1] if skeleton(one[-1]) == skeleton(other[-1]) else one[1:]
    return in_order(rest, [frozenset([skeleton(token), token]) for token in other[:-1]])
