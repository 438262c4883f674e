"""What the titles of well-known works leave out: that Beethoven's third symphony is op. 55 and called Eroica.

The list is `repertoire.csv` beside this file: composer as in composers.csv, genre, instrument, number, key, catalogue
number, and names (folded, between "="). Where a genre stands, a name counts with that genre only, or alone. The names
of a row are one title in several languages: all mean the first. A catalogue cell such as "hwv 348+hwv 349" belongs to
a title that several works bear; it says that the title may mean any of them. A row of a part under its own name
("Vltava") has the catalogue cell of the whole ("title ma vlast").
"""

from __future__ import annotations

import csv
import functools
import re
from dataclasses import replace
from importlib import resources

from symphony2vec.corpus.vocabulary import COMPOUNDS, GENRE
from symphony2vec.corpus.workname import WorkName, keys_agree

_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_SEPARATOR = re.compile(r"\s+[-–—/]\s+")
_SUBTITLE = re.compile(r"\s*[,:]\s")
_ARTICLE = re.compile(r"^(?:the|a|an|der|die|das|le|la|les|il|el|ein|eine|un|une|l)\s+")
_GENRE_OR_COUNT = re.compile(rf"{GENRE.pattern}|\d")
# Genres whose number or key alone does not say which work is meant: Handel wrote several suites in F major.
_BY_NAME = {"Suite", "Overture", "Mass", "Incidental Music", "Waltz", "March", "Rhapsody", "Quartet"}
_COMPOUND = re.compile(
    r"(?<![^\W_])(?P<first>[^\W\d_]{4,})(?P<genre>ouverture|suite|walzer|marsch|messe|konzert|fantasie|rhapsodie|serenade|tanze|lieder|stucke)(?![^\W_])"
)


def translate(text: str, folded: str, places: list[int], composer: str) -> str:
    """The text with the titles that the repertoire knows in the first of their languages, and compounds taken apart.

    Args:
        text: As in "Der Feuervogel: Suite (1919)", which becomes "firebird: Suite (1919)".
        folded: The same, folded.
        places: For each character of `folded` the place in `text` that it comes from.
        composer: As the authority names them.
    """
    spans: list[tuple[int, int, str]] = []
    pattern, titles = _aliases(composer)
    if pattern is not None:
        for match in pattern.finditer(folded):
            alias = _phrase(match[0])
            spans.append((match.start(), match.end(), titles.get(alias, alias)))
    for match in _COMPOUND.finditer(folded):
        is_title = any(begin <= match.start() < end for begin, end, _ in spans)
        if match[0] not in COMPOUNDS and not GENRE.fullmatch(match[0]) and not is_title:
            spans.append((match.start(), match.end(), f"{match['first']} {match['genre']}"))
    for begin, end, title in sorted(spans, reverse=True):
        if title == _phrase(folded[begin:end]):
            continue
        stop = places[end] if end < len(places) else len(text)
        text = text[: places[begin]] + title + text[stop:]
    return text


@functools.lru_cache(maxsize=256)
def _aliases(composer: str) -> tuple[re.Pattern[str] | None, dict[str, str]]:
    """A pattern of all titles of a composer, and the first name of each of them."""
    titles: dict[str, str] = {}
    for row in _repertoire().get(composer, []):
        names = [name for name in row["names"].split("=") if name]
        if row["number"] or not names:
            continue
        for name in names:
            if not (row["genre"] and (_COMPOUND.search(name) or GENRE.search(name) or name in COMPOUNDS)):
                titles.setdefault(name, names[0])
    if not titles:
        return None, titles
    longest_first = sorted(titles, key=len, reverse=True)
    phrases = "|".join(r"\W+".join(map(re.escape, name.split())) for name in longest_first)
    return re.compile(rf"(?<![^\W_])(?:{phrases})(?![^\W_])"), titles


def complete(named: WorkName, folded: str, composer: str) -> WorkName:
    """The name with what the repertoire knows of the work.

    Args:
        named: What the text says.
        folded: The text itself, folded, without its catalogue numbers.
        composer: As the authority names them.
    """
    if named.several:
        return named
    row = _meant(named, folded, composer)
    if row is None:
        return named
    if "+" in row["catalogue"]:
        return replace(named, several=True, candidates=frozenset(row["catalogue"].split("+")))
    catalogue = named.catalogue | ({row["catalogue"]} - {""})
    if not row["catalogue"] and row["number"] == "" and row["names"]:
        catalogue |= {f"title {row['names'].split('=')[0]}"}
    return replace(
        named,
        catalogue=catalogue,
        genre=row["genre"] or named.genre,
        instruments=frozenset(row["instrument"].split()) if row["genre"] else named.instruments,
        number=int(row["number"]) if row["number"] else named.number,
        key=row["key"] or named.key,
    )


def _meant(named: WorkName, folded: str, composer: str) -> dict[str, str] | None:
    """The row that a text means; of a text in pieces ("Pastorale - Karajan (1965)") the only row that a piece means."""
    rows = _repertoire().get(composer, [])
    whole = [row for row in rows if _means(named, folded, row)]
    if len(whole) > 1:
        whole = [row for row in whole if row["catalogue"] in named.catalogue] or whole
        whole = [row for row in whole if _by_nickname(named, folded, row, _count(row))] or whole
        titled = [row for row in whole if not row["genre"]]  # a title alone means the whole work, not its suite
        whole = titled if len(titled) == 1 and not named.genre else whole
    if len(whole) > 1:
        numbers = {number for row in whole for number in row["catalogue"].split("+")}
        return next(
            (row for row in rows if "+" in row["catalogue"] and numbers <= set(row["catalogue"].split("+"))), None
        )
    if whole:
        return whole[0]
    pieces = [piece for piece in _SEPARATOR.split(_BRACKETS.sub(" ", folded)) if piece.strip()]
    meant = [row for row in rows if any(_means(named, piece, row) for piece in pieces)] if len(pieces) > 1 else []
    return meant[0] if len(meant) == 1 else None


@functools.cache
def _repertoire() -> dict[str, list[dict[str, str]]]:
    text = resources.files("symphony2vec.corpus").joinpath("repertoire.csv").read_text(encoding="utf-8")
    works: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(text.splitlines()):
        works.setdefault(row["composer"], []).append(row)
    return works


def _means(named: WorkName, folded: str, row: dict[str, str]) -> bool:
    """Whether a text means the work of a row of the repertoire."""
    system = row["catalogue"].partition(" ")[0]
    same_system = [number for number in named.catalogue if number.partition(" ")[0] == system]
    if same_system:
        return row["catalogue"] in same_system
    number = _count(row)
    if named.genre == row["genre"] and None not in (named.number, number) and named.number != number:
        return False
    if not keys_agree(named.key, row["key"]):
        return False
    return _by_number(named, row, number) or _by_nickname(named, folded, row, number)


def _count(row: dict[str, str]) -> int | None:
    return int(row["number"]) if row["number"] else None


def _by_number(named: WorkName, row: dict[str, str], number: int | None) -> bool:
    if not row["genre"] or named.genre != row["genre"] or named.instruments != frozenset(row["instrument"].split()):
        return False
    if row["names"] and row["genre"] in _BY_NAME and not row["instrument"]:
        return False
    if number is not None:
        return named.number == number
    # the one violin concerto of Brahms needs no number; nor does the Requiem of Mozart
    specific = row["instrument"] or named.key or row["genre"] == "Requiem"
    return named.number is None and not named.catalogue and bool(specific and (not named.name or not row["names"]))


def _phrase(folded: str) -> str:
    return " ".join(re.findall(r"\w+", folded.replace("'s ", " s ")))


def _by_nickname(named: WorkName, folded: str, row: dict[str, str], number: int | None) -> bool:
    phrase = _phrase(folded)
    # "Le sacre du printemps (The Rite of Spring)": either says it
    parts = {phrase, *map(_phrase, _BRACKETS.findall(folded)), _phrase(_BRACKETS.sub(" ", folded))}
    title, _, subtitle = _SUBTITLE.sub("\n", folded, count=1).partition("\n")
    if not row["genre"] and (named.genre == "Symphonic Poem" or not _GENRE_OR_COUNT.search(subtitle)):
        parts.add(_phrase(title))  # "La mer, trois esquisses symphoniques"
    parts |= {_ARTICLE.sub("", part) for part in parts}
    for nickname in filter(None, row["names"].split("=")):
        if nickname in parts or _ARTICLE.sub("", nickname) in parts:
            return True
        if row["genre"] == "Symphony" and re.search(rf"\b{nickname}s?(?:sinfonie|symphonie)\b", phrase):
            return True  # "Auferstehungssinfonie"
        within = re.search(rf"\b{nickname}\b", phrase)
        if (
            within
            and row["genre"]
            and named.genre == row["genre"]
            and (number is None or named.number in (None, number))
        ):
            return True
    return False
