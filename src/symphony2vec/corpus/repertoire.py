"""What the titles of well-known works leave out: that Beethoven's third symphony is op. 55 and called Eroica.

The list is `repertoire.csv` beside this file: composer as in composers.csv, genre, instrument, number, key, catalogue
number, and names (folded, between "="). Where a genre stands, a name counts with that genre only, or alone.
"""

from __future__ import annotations

import csv
import functools
import re
from dataclasses import replace
from importlib import resources

from symphony2vec.corpus.workname import WorkName, keys_agree

_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_SEPARATOR = re.compile(r"\s+[-–—/]\s+")
_ARTICLE = re.compile(r"^(?:the|a|an|der|die|das|le|la|les|il|el)\s+")


def complete(named: WorkName, folded: str, composer: str) -> WorkName:
    """The name with what the repertoire knows of the work.

    Args:
        named: What the text says.
        folded: The text itself, folded.
        composer: As the authority names them.
    """
    if named.several:
        return named
    row = _meant(named, folded, composer)
    if row is None:
        return named
    catalogue = named.catalogue | ({row["catalogue"]} - {""})
    if not catalogue and row["number"] == "":
        catalogue = frozenset({f"title {row['names'].split('=')[0]}"})
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
    whole = next((row for row in rows if _means(named, folded, row)), None)
    if whole is not None:
        return whole
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
    number = int(row["number"]) if row["number"] else None
    if named.genre == row["genre"] and None not in (named.number, number) and named.number != number:
        return False
    if not keys_agree(named.key, row["key"]):
        return False
    return _by_number(named, row, number) or _by_nickname(named, folded, row, number)


def _by_number(named: WorkName, row: dict[str, str], number: int | None) -> bool:
    if not row["genre"] or named.genre != row["genre"] or named.instruments != frozenset(row["instrument"].split()):
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
    parts |= {_ARTICLE.sub("", part) for part in parts}
    for nickname in filter(None, row["names"].split("=")):
        if nickname in parts:
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
