"""Who a name means: roles, life dates, initials, spellings and transliterations of composers.

`composers.csv` beside this file is the authority: name, spellings of the surname and of the given names, years of birth
and death, whether the surname alone means this person, and whether they are known as a performer as well (`performs`)
or only (`composes` is 0). Whoever is not in it keeps the name as written, tidied: the first name first, without dates.
"""

from __future__ import annotations

import csv
import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

from symphony2vec.corpus.vocabulary import COMPOUND, GENRE, fold

COLLECTIVE = {
    *("various artists", "various", "various composers", "compilations", "unknown", "unknown artist", "soundtrack"),
    *("unknown composer", "unknown album", "unknown title", "diverse", "divers", "verschiedene", "va", "n/a", "none"),
    *("anonymous", "anon", "anonymus", "traditional", "trad", "verschiedene komponisten", "varios", "artisti vari"),
    *("classical", "classical music", "klassik", "classique", "music", "musik"),
}
_SUFFIXES = set("jr sr i ii iii junior senior sohn vater fils pere elder younger".split())
_PARTICLES = set("van von de der den di da du des del della le la of zu af av the dit genannt sir dame dr prof".split())
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
class Person:
    """One row of the authority."""

    name: str
    surnames: tuple[str, ...]
    given: tuple[frozenset[str], ...]
    born: int | None
    died: int | None
    alone: bool
    performs: bool
    composes: bool


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


def tidy(text: str) -> str:
    """NFC, control characters as spaces, whitespace collapsed."""
    plain = "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in text)
    return unicodedata.normalize("NFC", " ".join(plain.split()))


def composer_name(text: str) -> str:
    """A composer's name, tidied and with the first name first: "Bach, Johann" and "Bach,_Johann" alike."""
    name = tidy(text if " " in text else text.replace("_", " "))
    if _BETWEEN.search(name) or _OTHER_ROLE.search(name) or _COMPOSER_ROLE.search(name):
        return name
    undated, years = _dates(name)
    last, comma, first = (part.strip() for part in undated.partition(","))
    turned = comma and last and first and "," not in first and fold(first).rstrip(".") not in _SUFFIXES
    if not turned:
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
    if len(names) < 2 or _lookup(undated):
        return [piece]
    singles = [_lookup(name) for name in names]
    if all(len(found) == 1 for found in singles):
        return names
    if len(names) > 2 and len(names) % 2 == 0:
        pairs = [", ".join(names[place : place + 2]) for place in range(0, len(names), 2)]
        if all(_lookup(pair) for pair in pairs):
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
    found = _lookup(undated, years)
    name = composer_name(undated)
    bare = not _given(undated)
    # a surname that many people have does not mean this one where it stands alone
    settled = len(found) == 1 and (found[0].alone or not found[0].composes or years or not bare)
    if settled:
        person = found[0]
        return Credit(person.name, person.name, True, bare, person.performs, person.composes)
    key = " ".join(_tokens(name)) or fold(name)
    key = f"{key} {years[0]}" if len(found) > 1 and years else key
    candidates = tuple(person.name for person in found if person.composes)
    hyphened = re.fullmatch(r"([^\W\d_]{3,})\s?[-–]\s?([^\W\d_]{3,})", undated)
    if hyphened and all(len(_lookup(part)) == 1 for part in hyphened.groups()):
        return _person(hyphened[1])  # Bach-Busoni, Mussorgsky-Ravel: the second one arranged it
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
    one, other = _tokens(first.name), _tokens(second.name)
    one, other = sorted((one, other), key=len)
    if not one or not other:
        return False
    if skeleton(one[-1]) != skeleton(other[-1]) and skeleton(one[0]) != skeleton(other[-1]):
        return False
    if len(one) == 1:
        return True
    rest = one[:-1] if skeleton(one[-1]) == skeleton(other[-1]) else one[1:]
    return _in_order(rest, [frozenset([skeleton(token), token]) for token in other[:-1]])


@functools.cache
def authority() -> tuple[Person, ...]:
    """The rows of composers.csv."""
    text = resources.files("symphony2vec.corpus").joinpath("composers.csv").read_text(encoding="utf-8")
    people = []
    for row in csv.DictReader(text.splitlines()):
        given = tuple(
            frozenset(
                form
                for name in names.split("=")
                for form in ((fold(name),) if fold(name) in _SUFFIXES else (skeleton(name), fold(name)))
            )
            for names in row["given"].replace("-", " ").split()
        )
        surnames = tuple(_phrase(name.replace("_", " ")) for name in row["surnames"].split("="))
        born, died = (int(row[name]) if row[name] else None for name in ("born", "died"))
        flags = [row[name] == "1" for name in ("alone", "performs", "composes")]
        people.append(Person(row["name"], tuple(dict.fromkeys(surnames)), given, born, died, *flags))
    return tuple(people)


@functools.cache
def _index() -> dict[str, list[Person]]:
    index: dict[str, list[Person]] = {}
    for person in authority():
        for surname in person.surnames:
            index.setdefault(surname, []).append(person)
    return index


_SOUNDS = (
    ("shch", "s"), ("schtsch", "s"), ("tsch", "ch"), ("tch", "ch"), ("tsj", "ch"), ("tj", "ch"), ("sch", "s"),
    ("sh", "s"), ("sj", "s"), ("sz", "s"), ("cz", "ch"), ("zh", "z"), ("kh", "h"), ("ph", "f"), ("th", "t"),
    ("dt", "t"),
    ("ck", "k"), ("w", "v"), ("x", "ks"), ("y", "i"), ("j", "i"), ("ou", "u"), ("ae", "a"), ("oe", "o"), ("ue", "u"),
)  # fmt: skip
_CYRILLIC = dict(
    zip(
        "абвгдезийклмнопрстуфхцыэъь", [*"a b v g d e z i i k l m n o p r s t u f h ts i e".split(), "", ""], strict=True
    )
) | {"ж": "zh", "ч": "ch", "ш": "sh", "щ": "shch", "ю": "iu", "я": "ia"}


@functools.lru_cache(maxsize=4096)
def skeleton(word: str) -> str:
    """What the transliterations of one name have in common: "tschaikowsky" and "tchaikovskii" give one skeleton."""
    plain = "".join(_CYRILLIC.get(sign, sign) for sign in fold(word))
    for sound, sign in _SOUNDS:
        plain = plain.replace(sound, sign)
    plain = re.sub(r"(?<=o|e)f+$", "v", plain)
    plain = re.sub(r"(.)\1+", r"\1", plain)
    return re.sub(r"(sk|tsk)i?i?$", r"\1i", plain) if plain.endswith(("ski", "sk")) else plain


def _phrase(text: str) -> str:
    return " ".join(skeleton(token) for token in _tokens(text))


def _tokens(text: str) -> list[str]:
    """The folded words of a name; initials that are written together come apart."""
    # initials without dots: JS Bach
    text = re.sub(r"(?<!\w)([A-Z])([A-Z])([A-Z])?(?!\w)", _initials, text)
    return [token for token in re.split(r"[\s.,_()\[\]‐‑–-]+", fold(text).replace("’", "'")) if token]


def _initials(match: re.Match[str]) -> str:
    return match[0] if fold(match[0]) in _SUFFIXES else " ".join(filter(None, match.groups()))


def _given(text: str) -> list[str]:
    """The words of a name besides the surname of the authority that it holds."""
    for _, rest in _surnames(text):
        return rest
    return _tokens(text)[1:]


def _surnames(text: str) -> list[tuple[str, list[str]]]:
    """The surnames of the authority that a name may hold, the longest first, with the other words of the name."""
    tokens = _tokens(composer_name(text))
    suffixes: list[str] = []
    while len(tokens) > 1 and tokens[-1] in _SUFFIXES | {"the"}:
        suffixes.insert(0, tokens.pop())
    ways = []
    for length in range(min(3, len(tokens)), 0, -1):
        for phrase, rest in ((tokens[-length:], tokens[:-length]), (tokens[:length], tokens[length:])):
            surname = " ".join(map(skeleton, phrase))
            if surname in _index():
                ways.append((surname, [word for word in rest + suffixes if word not in _PARTICLES]))
    return ways


def _lookup(text: str, years: Sequence[int] = ()) -> list[Person]:
    """The people of the authority whom a name may mean."""
    for surname, given in _surnames(text):
        people = [person for person in _index()[surname] if _in_order(given, person.given)]
        if years:
            dated = [p for p in people if p.born == years[0] or (len(years) > 1 and p.died == years[1])]
            contrary = [p for p in people if p.born and abs(p.born - years[0]) > 3]
            people = dated or [p for p in people if p not in contrary]
            if len(dated) == 1:
                return dated
        if not given and len(people) > 1:
            people = [p for p in people if p.alone] or people
        if not people and given and len(_index()[surname]) == 1 and not years:
            # patronymics and further names that the authority does not list
            people = [person for person in _index()[surname] if person.given and _fits(given[0], person.given[0])]
        composing = [person for person in people if person.composes]
        people = composing if composing and len(people) > 1 else people
        if people:
            return people
    return []


def _in_order(tokens: Sequence[str], names: Sequence[frozenset[str]]) -> bool:
    """Whether words of a name fit given names, in their order; an initial fits every name that begins with it."""
    place = 0
    for token in tokens:
        start = place
        while place < len(names) and not _fits(token, names[place]):
            place += 1
        if place == len(names) and token == "v":  # van, von
            place = start
            continue
        if place == len(names):
            return False
        place += 1
    return True


def _fits(token: str, names: frozenset[str]) -> bool:
    if token in names:
        return True
    plain = names - _SUFFIXES
    if len(token) <= 2 and token not in _SUFFIXES - {"i"}:
        return any(name.startswith(token) for name in plain)
    return token not in _SUFFIXES and skeleton(token) in plain
