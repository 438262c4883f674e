"""What the titles of well-known works leave out: that Beethoven's third symphony is op. 55 and called Eroica.

The list is `repertoire.csv` beside this file: composer as in composers.csv, genre, instrument, number, key, catalogue
number, and names (normalized, between "="). If a row has a genre, a name counts with that genre only, or alone. The
names of a row are one title in several languages: all mean the first. A catalogue cell such as "hwv 348+hwv 349"
belongs to a title that several works share; the title may mean any of them. A row of a part under its own name
("Vltava") has the catalogue cell of the complete work ("title ma vlast").
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace

from symphony2vec.corpus.catalogue import read_package_table
from symphony2vec.corpus.vocabulary import COMPOUNDS, GENRE
from symphony2vec.corpus.workname import WorkName, keys_agree

_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_SEPARATOR = re.compile(r"\s+[-–—/]\s+")
_SUBTITLE = re.compile(r"\s*[,:]\s")
_ARTICLE = re.compile(r"^(?:the|a|an|der|die|das|le|la|les|il|el|ein|eine|un|une|l)\s+")
_GENRE_OR_COUNT = re.compile(rf"{GENRE.pattern}|\d")
# Genres whose number or key alone does not identify a work: Handel wrote several suites in F major.
_GENRES_BY_NAME = {"Suite", "Overture", "Mass", "Incidental Music", "Waltz", "March", "Rhapsody", "Quartet"}
_COMPOUND = re.compile(
    r"(?<![^\W_])(?P<first>[^\W\d_]{4,})(?P<genre>ouverture|suite|walzer|marsch|messe|konzert|fantasie|rhapsodie|serenade|tanze|lieder|stucke)(?![^\W_])"
)


def translate(text: str, plain: str, positions: list[int], composer: str) -> str:
    """Return the text with known titles in the first of their languages, and with compound words separated.

    Args:
        text: As in "Der Feuervogel: Suite (1919)", which becomes "firebird: Suite (1919)".
        plain: The text, normalized.
        positions: For each character of `plain` the position in `text` that it comes from.
        composer: As the authority names them.
    """
    spans: list[tuple[int, int, str]] = []
    pattern, titles = _compile_aliases(composer)
    if pattern is not None:
        for match in pattern.finditer(plain):
            alias = to_phrase(match[0])
            spans.append((match.start(), match.end(), titles.get(alias, alias)))
    for match in _COMPOUND.finditer(plain):
        is_title = any(begin <= match.start() < end for begin, end, _ in spans)
        if match[0] not in COMPOUNDS and not GENRE.fullmatch(match[0]) and not is_title:
            spans.append((match.start(), match.end(), f"{match['first']} {match['genre']}"))
    for begin, end, title in sorted(spans, reverse=True):
        if title != to_phrase(plain[begin:end]):
            stop = positions[end] if end < len(positions) else len(text)
            text = text[: positions[begin]] + title + text[stop:]
    return text


@functools.lru_cache(maxsize=256)
def _compile_aliases(composer: str) -> tuple[re.Pattern[str] | None, dict[str, str]]:
    """Return a pattern of all titles of a composer (None without any), and the first name for each of them."""
    titles: dict[str, str] = {}
    for row in load_repertoire().get(composer, []):
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


def complete(name: WorkName, plain: str, composer: str) -> WorkName:
    """Return the name of a work completed by what the repertoire knows about the work.

    Args:
        name: What the text says.
        plain: The text, normalized and without its catalogue numbers.
        composer: As the authority names them.
    """
    if name.is_collection:
        return name
    row = _find_row(name, plain, composer)
    if row is None:
        return name
    if "+" in row["catalogue"]:
        return replace(name, is_collection=True, candidates=frozenset(row["catalogue"].split("+")))
    catalogue = name.catalogue | ({row["catalogue"]} - {""})
    if not row["catalogue"] and not row["number"] and row["names"]:
        catalogue |= {f"title {row['names'].split('=')[0]}"}
    return replace(
        name,
        catalogue=catalogue,
        genre=row["genre"] or name.genre,
        instruments=frozenset(row["instrument"].split()) if row["genre"] else name.instruments,
        number=int(row["number"]) if row["number"] else name.number,
        key=row["key"] or name.key,
    )


def _find_row(name: WorkName, plain: str, composer: str) -> dict[str, str] | None:
    """Return the row that a text means, or the only row that a piece of it means ("Pastorale - Karajan (1965)")."""
    rows = load_repertoire().get(composer, [])
    matches = [row for row in rows if _matches(name, plain, row)]
    if len(matches) > 1:
        matches = [row for row in matches if row["catalogue"] in name.catalogue] or matches
        matches = [row for row in matches if _matches_nickname(name, plain, row)] or matches
        complete_works = [row for row in matches if not row["genre"]]  # a title alone is the complete work, not a suite
        matches = complete_works if len(complete_works) == 1 and not name.genre else matches
    if len(matches) > 1:
        numbers = {number for row in matches for number in row["catalogue"].split("+")}
        shared_titles = (row for row in rows if "+" in row["catalogue"])
        return next((row for row in shared_titles if numbers <= set(row["catalogue"].split("+"))), None)
    if matches:
        return matches[0]
    pieces = [piece for piece in _SEPARATOR.split(_BRACKETS.sub(" ", plain)) if piece.strip()]
    if len(pieces) > 1:
        matches = [row for row in rows if any(_matches(name, piece, row) for piece in pieces)]
    return matches[0] if len(matches) == 1 else None


@functools.cache
def load_repertoire() -> dict[str, list[dict[str, str]]]:
    """Return the rows of repertoire.csv by composer."""
    works: dict[str, list[dict[str, str]]] = {}
    for row in read_package_table("repertoire.csv"):
        works.setdefault(row["composer"], []).append(row)
    return works


def _matches(name: WorkName, plain: str, row: dict[str, str]) -> bool:
    """Return whether a text means the work of a row of the repertoire."""
    system = row["catalogue"].partition(" ")[0]
    same_system = [number for number in name.catalogue if number.partition(" ")[0] == system]
    if same_system:
        return row["catalogue"] in same_system
    number = _number_of(row)
    if name.genre == row["genre"] and None not in (name.number, number) and name.number != number:
        return False
    return keys_agree(name.key, row["key"]) and (_matches_number(name, row) or _matches_nickname(name, plain, row))


def _number_of(row: dict[str, str]) -> int | None:
    return int(row["number"]) if row["number"] else None


def _matches_number(name: WorkName, row: dict[str, str]) -> bool:
    if not row["genre"] or name.genre != row["genre"] or name.instruments != frozenset(row["instrument"].split()):
        return False
    if row["names"] and row["genre"] in _GENRES_BY_NAME and not row["instrument"]:
        return False
    if row["number"]:
        return name.number == _number_of(row)
    # The only violin concerto of Brahms needs no number; neither does the Requiem of Mozart.
    is_specific = row["instrument"] or name.key or row["genre"] == "Requiem"
    return bool(is_specific and name.number is None and not name.catalogue and (not name.name or not row["names"]))


def to_phrase(plain: str) -> str:
    """Return the words of a normalized text, separated by single spaces."""
    return " ".join(re.findall(r"\w+", plain.replace("'s ", " s ")))


def _matches_nickname(name: WorkName, plain: str, row: dict[str, str]) -> bool:
    phrase = to_phrase(plain)
    # "Le sacre du printemps (The Rite of Spring)": the text before, or the text in brackets
    parts = {phrase, *map(to_phrase, _BRACKETS.findall(plain)), to_phrase(_BRACKETS.sub(" ", plain))}
    title, _, subtitle = _SUBTITLE.sub("\n", plain, count=1).partition("\n")
    if not row["genre"] and (name.genre == "Symphonic Poem" or not _GENRE_OR_COUNT.search(subtitle)):
        parts.add(to_phrase(title))  # "La mer, trois esquisses symphoniques"
    parts |= {_ARTICLE.sub("", part) for part in parts}
    same_genre = row["genre"] and name.genre == row["genre"]
    same_number = not row["number"] or name.number in (None, _number_of(row))
    for nickname in filter(None, row["names"].split("=")):
        if nickname in parts or _ARTICLE.sub("", nickname) in parts:
            return True
        if row["genre"] == "Symphony" and re.search(rf"\b{nickname}s?(?:sinfonie|symphonie)\b", phrase):
            return True  # "Auferstehungssinfonie"
        if same_genre and same_number and re.search(rf"\b{nickname}\b", phrase):
            return True
    return False
