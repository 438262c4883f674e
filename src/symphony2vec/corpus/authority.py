"""The composers and performers of composers.csv, and whom of them a name may mean.

A row holds the name, spellings of the surname and of the given names, years of birth and death, whether the surname
alone means this person, and whether they are known as a performer as well (`performs`) or only (`composes` is 0).
"""

from __future__ import annotations

import csv
import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from symphony2vec.corpus.vocabulary import fold

SUFFIXES = set("jr sr i ii iii junior senior sohn vater fils pere elder younger".split())
_PARTICLES = set("van von de der den di da du des del della le la of zu af av the dit genannt sir dame dr prof".split())


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


def tidy(text: str) -> str:
    """NFC, control characters as spaces, whitespace collapsed."""
    plain = "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in text)
    return unicodedata.normalize("NFC", " ".join(plain.split()))


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
                for form in ((fold(name),) if fold(name) in SUFFIXES else (skeleton(name), fold(name)))
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
    return " ".join(skeleton(token) for token in name_tokens(text))


def name_tokens(text: str) -> list[str]:
    """The folded words of a name; initials that are written together come apart."""
    # initials without dots: JS Bach
    text = re.sub(r"(?<!\w)([A-Z])([A-Z])([A-Z])?(?!\w)", _initials, text)
    return [token for token in re.split(r"[\s.,_()\[\]‐‑–-]+", fold(text).replace("’", "'")) if token]


def _initials(match: re.Match[str]) -> str:
    return match[0] if fold(match[0]) in SUFFIXES else " ".join(filter(None, match.groups()))


def given_words(text: str) -> list[str]:
    """The words of a name besides the surname of the authority that it holds."""
    for _, rest in _surnames(text):
        return rest
    return name_tokens(text)[1:]


def _surnames(text: str) -> list[tuple[str, list[str]]]:
    """The surnames of the authority that a name may hold, the longest first, with the other words of the name."""
    last, _, first = text.partition(",")
    tokens = name_tokens(f"{first} {last}")
    suffixes: list[str] = []
    while len(tokens) > 1 and tokens[-1] in SUFFIXES | {"the"}:
        suffixes.insert(0, tokens.pop())
    ways = []
    for length in range(min(3, len(tokens)), 0, -1):
        for phrase, rest in ((tokens[-length:], tokens[:-length]), (tokens[:length], tokens[length:])):
            surname = " ".join(map(skeleton, phrase))
            if surname in _index():
                ways.append((surname, [word for word in rest + suffixes if word not in _PARTICLES]))
    return ways


def lookup(text: str, years: Sequence[int] = ()) -> list[Person]:
    """The people of the authority whom a name may mean."""
    for surname, given in _surnames(text):
        people = [person for person in _index()[surname] if in_order(given, person.given)]
        if years:
            dated = [p for p in people if p.born == years[0] or (len(years) > 1 and p.died == years[1])]
            contrary = [p for p in people if p.born and abs(p.born - years[0]) > 3]
            people = dated or [p for p in people if p not in contrary]
            if len(dated) == 1:
                return dated
        if not given and len(people) > 1:
            people = [p for p in people if p.alone] or people
        if not people and given and len(_index()[surname]) == 1:
            # patronymics and further names that the authority does not list
            known = [p for p in _index()[surname] if not years or p.born is None or abs(p.born - years[0]) <= 3]
            people = [person for person in known if person.given and _begins(given[0], person.given[0])]
        whole = [person for person in people if len(person.given) == len(given)]
        people = whole if len(whole) == 1 and len(given) > 1 else people  # J.C. is not J.C.F.
        composing = [person for person in people if person.composes]
        people = composing if composing and len(people) > 1 else people
        if people:
            return people
    return []


def in_order(tokens: Sequence[str], names: Sequence[frozenset[str]]) -> bool:
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


def _begins(token: str, names: frozenset[str]) -> bool:
    """Whether a word may be a given name in another language: Sergiusz is Sergei."""
    return _fits(token, names) or any(name[:4] == skeleton(token)[:4] for name in names if len(name) > 3)


def _fits(token: str, names: frozenset[str]) -> bool:
    if token in names:
        return True
    plain = names - SUFFIXES
    if len(token) <= 2 and token not in SUFFIXES - {"i"}:
        return any(name.startswith(token) for name in plain)
    return token not in SUFFIXES and skeleton(token) in plain
