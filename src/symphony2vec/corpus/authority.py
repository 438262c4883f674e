"""The composers and performers of composers.csv, and which of them a name may mean.

A row holds the name, spellings of the surname and of the given names, years of birth and death, whether the surname
alone means this person (`alone`), and whether they are known as a performer as well (`performs`) or as a performer only
(`composes` is 0).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from symphony2vec.corpus.catalogue import read_package_table
from symphony2vec.corpus.vocabulary import normalize

SUFFIXES = set("jr sr i ii iii junior senior sohn vater fils pere elder younger".split())
_PARTICLES = set("van von de der den di da du des del della le la of zu af av the dit genannt sir dame dr prof".split())
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


@dataclass(frozen=True)
class Person:
    """One row of composers.csv; `surname_suffices` says that the surname alone means this person."""

    name: str
    surnames: tuple[str, ...]
    given_names: tuple[frozenset[str], ...]
    born: int | None
    died: int | None
    surname_suffices: bool
    performs: bool
    composes: bool


def tidy(text: str) -> str:
    """Return a text in Unicode NFC, with single spaces in place of whitespace and control characters."""
    plain = "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in text)
    return unicodedata.normalize("NFC", " ".join(plain.split()))


@functools.cache
def load_authority() -> tuple[Person, ...]:
    """Return the people of composers.csv."""
    return tuple(_parse_person(row) for row in read_package_table("composers.csv"))


def _parse_person(row: dict[str, str]) -> Person:
    given_names = tuple(
        frozenset(
            form
            for name in spellings.split("=")
            for form in ((normalize(name),) if normalize(name) in SUFFIXES else (phonetic_key(name), normalize(name)))
        )
        for spellings in row["given"].replace("-", " ").split()
    )
    surnames = (
        " ".join(map(phonetic_key, tokenize_name(name.replace("_", " ")))) for name in row["surnames"].split("=")
    )
    born, died = (int(row[name]) if row[name] else None for name in ("born", "died"))
    flags = [row[name] == "1" for name in ("alone", "performs", "composes")]
    return Person(row["name"], tuple(dict.fromkeys(surnames)), given_names, born, died, *flags)


@functools.cache
def _people_by_surname() -> dict[str, list[Person]]:
    index: dict[str, list[Person]] = {}
    for person in load_authority():
        for surname in person.surnames:
            index.setdefault(surname, []).append(person)
    return index


@functools.lru_cache(maxsize=4096)
def phonetic_key(word: str) -> str:
    """Return a key that the transliterations of a name share.

    Examples:
        >>> phonetic_key("Tschaikowsky") == phonetic_key("Tchaikovskii") == phonetic_key("Чайковский")
        True
    """
    plain = "".join(_CYRILLIC.get(sign, sign) for sign in normalize(word))
    for sound, sign in _SOUNDS:
        plain = plain.replace(sound, sign)
    plain = re.sub(r"(?<=o|e)f+$", "v", plain)
    plain = re.sub(r"(.)\1+", r"\1", plain)
    return re.sub(r"(sk|tsk)i?i?$", r"\1i", plain) if plain.endswith(("ski", "sk")) else plain


def tokenize_name(text: str) -> list[str]:
    """Return the normalized words of a name, with joined initials separated.

    Examples:
        >>> tokenize_name("JS Bach")
        ['j', 's', 'bach']
    """
    text = re.sub(r"(?<!\w)([A-Z])([A-Z])([A-Z])?(?!\w)", _separate_initials, text)
    return [token for token in re.split(r"[\s.,_()\[\]‐‑–-]+", normalize(text).replace("’", "'")) if token]


def _separate_initials(match: re.Match[str]) -> str:
    return match[0] if normalize(match[0]) in SUFFIXES else " ".join(filter(None, match.groups()))


def extract_given_names(text: str) -> list[str]:
    """Return the words of a name besides its surname."""
    for _, given_names in _match_surnames(text):
        return given_names
    return tokenize_name(text)[1:]


def _match_surnames(text: str) -> list[tuple[str, list[str]]]:
    """Return the known surnames that a name may contain, the longest first, each with the other words of the name."""
    last, _, first = text.partition(",")
    tokens = tokenize_name(f"{first} {last}")
    suffixes: list[str] = []
    while len(tokens) > 1 and tokens[-1] in SUFFIXES | {"the"}:
        suffixes.insert(0, tokens.pop())
    matches = []
    for length in range(min(3, len(tokens)), 0, -1):
        for phrase, rest in ((tokens[-length:], tokens[:-length]), (tokens[:length], tokens[length:])):
            surname = " ".join(map(phonetic_key, phrase))
            if surname in _people_by_surname():
                matches.append((surname, [word for word in rest + suffixes if word not in _PARTICLES]))
    return matches


def find_people(text: str, years: Sequence[int] = ()) -> list[Person]:
    """Return the people of the authority whom a name may mean.

    Args:
        text: A name, as in "Bach, J. S.".
        years: The year of birth and perhaps of death, if they are known.

    Examples:
        >>> [person.name for person in find_people("Mozart, L.")]
        ['Leopold Mozart']
    """
    for surname, given_names in _match_surnames(text):
        namesakes = _people_by_surname()[surname]
        people = [person for person in namesakes if match_in_order(given_names, person.given_names)]
        if years:
            same_years = [p for p in people if p.born == years[0] or (len(years) > 1 and p.died == years[1])]
            if len(same_years) == 1:
                return same_years
            people = same_years or [p for p in people if not p.born or abs(p.born - years[0]) <= 3]
        if not given_names and len(people) > 1:
            people = [person for person in people if person.surname_suffices] or people
        if not people and given_names and len(namesakes) == 1:
            # patronymics and further names that the authority does not list
            people = [
                person
                for person in namesakes
                if (not years or person.born is None or abs(person.born - years[0]) <= 3)
                and person.given_names
                and _begin_alike(given_names[0], person.given_names[0])
            ]
        same_length = [person for person in people if len(person.given_names) == len(given_names)]
        people = same_length if len(same_length) == 1 and len(given_names) > 1 else people  # J.C. is not J.C.F.
        if len(people) > 1:
            people = [person for person in people if person.composes] or people
        if people:
            return people
    return []


def match_in_order(tokens: Sequence[str], names: Sequence[frozenset[str]]) -> bool:
    """Return whether words match given names in their order; an initial matches every name that begins with it."""
    position = 0
    for token in tokens:
        start = position
        while position < len(names) and not _matches(token, names[position]):
            position += 1
        if position < len(names):
            position += 1
        elif token == "v":  # van, von
            position = start
        else:
            return False
    return True


def _begin_alike(token: str, names: frozenset[str]) -> bool:
    """Return whether a word may be a given name in another language: Sergiusz is Sergei."""
    return _matches(token, names) or any(name[:4] == phonetic_key(token)[:4] for name in names if len(name) > 3)


def _matches(token: str, names: frozenset[str]) -> bool:
    """Return whether a word is one of the spellings of a given name, or its initial."""
    if token in names:
        return True
    plain = names - SUFFIXES
    if len(token) <= 2 and token not in SUFFIXES - {"i"}:
        return any(name.startswith(token) for name in plain)
    return token not in SUFFIXES and phonetic_key(token) in plain
