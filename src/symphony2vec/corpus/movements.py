"""Where the name of a work ends in a title, and the name of its movement begins."""

from __future__ import annotations

import re
from collections.abc import Iterator

from symphony2vec.corpus import vocabulary as words
from symphony2vec.corpus.composers import leading, tidy
from symphony2vec.corpus.vocabulary import fold
from symphony2vec.corpus.works import mapped, parse

_TEMPO = (
    "allegro|allegretto|andante|andantino|adagio|adagietto|largo|larghetto|lento|presto|prestissimo|vivace|moderato|grave|"
    "scherzo|scherzando|menuet|menuett|menuetto|minuet|minuetto|finale|rondo|molto|poco|un poco|tempo|maestoso|"
    "sostenuto|"
    "lebhaft|langsam|massig|schnell|bewegt|sehr|ziemlich|ruhig|vif|lent|modere|anime|tres|assez|attacca|intermezzo|"
    "introduction|introduzione|allemande|courante|sarabande|gigue|bourree|gavotte|air|aria|recitative|chorus|chor|choral"
)
_MOVEMENT = re.compile(
    r"(?<![^\W_])(?<!['\"“«„‘])(?:"
    r"(?:[ivx]{1,5}|\d{1,2})(?:\.(?=\s*[^\W\d_\[(\"'“«])|\)|:)\s*"
    r"|(?:mvt|mov|movement|mouvement|movimento|movimiento|satz|teil|act|akt|acte|atto|scene|variation)\s*\.?\s*(?:[ivx]{1,5}|\d{1,2})(?![^\W_])"
    rf"|(?:\d{{1,2}}(?:st|nd|rd|th|er|e|eme|\.|º|°|ª|o)?|{'|'.join(sorted(words.ORDINALS, key=len, reverse=True))})"
    r"\s+(?:movement|mvt|mov|satz|mouvement|movimento|movimiento)(?![^\W_])"
    rf"|(?:{_TEMPO})(?![^\W_]))"
)
_ONLY = re.compile(r"\s*(?:[ivx]{1,5}|\d{1,3}|no\.?\s*\d{1,3})\s*[.):]?\s*")
_COUNTED = re.compile(rf"\d{{1,3}}\.?\s*(?:{words.GENRE.pattern}|{words.COMPOUND.pattern})")
_NUMERAL = re.compile(r"(?:[ivx]{1,5}|\d{1,2})[.)]\s")
_NUMBERED = re.compile(r"([ivx]{1,5}|\d{1,2})[.)](?=\s|$)")
_PERFORMANCE = re.compile(r"(?:\s*\([^()]*(?:\([^()]*\)[^()]*)*\))+$")
_BOUNDARY = re.compile(r"(?P<colon>\s*:\s+|:(?=[IVX]{1,4}\.))|\s+[-–—~]\s+|\s+/\s+|\s*;\s+")

_HOBOKEN = re.compile(r"(\bhob(?:oken)?\.?\s*[ivx]+[a-h]?)\s*:\s+(?=[a-z]?\d)", re.IGNORECASE)  # its colon cuts nothing
_LISTED = re.compile(r",\s+(?=(?:[IVX]{1,5}|\d{1,2})\.\s)")


def is_movement(text: str) -> bool:
    """Whether a text is what movements are called: "I. Allegro", "Andante con moto", "3", "2. Satz"."""
    folded = fold(text).strip()
    return bool(_ONLY.fullmatch(folded) or _MOVEMENT.match(folded.lstrip("([\"'“«")))


def movement_key(title: str) -> str:
    """Return what the titles of one movement of a work have in common, whoever performs it.

    Its numeral where it begins with one ("II. Andante", "2. Satz"), else the title without the performance that stands
    in brackets at its end, in lower case and without accents.
    """
    folded = fold(title).strip()
    numeral = _NUMBERED.match(folded)
    if numeral:
        return str(words.arabic(numeral[1]))
    return _PERFORMANCE.sub("", folded) or folded


def split_title(text: str, composer: str = "") -> tuple[str, str]:
    """Cut a title into its work and its movement.

    Args:
        text: As in "Beethoven: Symphony No. 5 in C minor, Op. 67: I. Allegro con brio".
        composer: As the authority names them; their name before the work is no part of it.

    Returns:
        As in ("Symphony No. 5 in C minor, Op. 67", "I. Allegro con brio"); no work where the title names none.
    """
    text = _HOBOKEN.sub(r"\1:", words.without_discs(tidy(text)))
    credit, rest = leading(text)
    if credit and rest and (not composer or credit.name == composer):
        text = rest
    pieces = list(_pieces(text))
    for place, (start, stop, _) in enumerate(pieces):
        counted = _COUNTED.match(fold(text[start:stop]))  # "3. Sinfonie" is the third, not a third movement
        if is_movement(text[start:stop]) and not counted and not parse(text[start:stop], composer).catalogue:
            if place:
                break
            continue
        if parse(text[start:stop], composer).titled:
            return _cut(text, pieces, place, composer)
    colon = next((place for place, piece in enumerate(pieces) if piece[2]), None)
    if colon is not None:
        head = text[: pieces[colon - 1][1]].strip()
        return (head, text[pieces[colon][0] :].strip()) if head and not is_movement(head) else ("", text)
    if len(pieces) > 1 and _NUMERAL.match(fold(text[pieces[1][0] :])) and not is_movement(text[: pieces[0][1]]):
        return text[: pieces[0][1]].strip(), text[pieces[1][0] :].strip()
    listed = _LISTED.search(text)  # "The Rite of Spring, I. Introduction"
    if listed and not is_movement(text[: listed.start()]):
        return text[: listed.start()].strip(), text[listed.end() :].strip()
    return "", text


def _pieces(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start and end of the pieces between colons, dashes and slashes, and whether a colon stands before."""
    start, colon = 0, False
    for match in _BOUNDARY.finditer(text):
        yield start, match.start(), colon
        start, colon = match.end(), match["colon"] is not None
    yield start, len(text), colon


def _cut(text: str, pieces: list[tuple[int, int, bool]], place: int, composer: str) -> tuple[str, str]:
    """Cut a title whose piece `place` names the work: behind that piece, or behind what it says of the work."""
    begin = pieces[place][0] if place and is_movement(text[: pieces[0][1]]) else 0
    while place + 1 < len(pieces):
        start, stop, _ = pieces[place + 1]
        following = parse(text[start:stop], composer)
        if is_movement(text[start:stop]) or following.name or not (following.catalogue or following.key):
            break
        place += 1
    start, stop, _ = pieces[place]
    named = parse(text[start:stop], composer)
    folded, places = mapped(text[start:stop])
    match = _MOVEMENT.search(folded, next((i for i, origin in enumerate(places) if origin >= named.end), len(folded)))
    if match:
        cut = start + places[match.start()]
        return text[begin:cut].strip(" ,;.([-–—"), text[cut:].strip(" )" if text[cut - 1] == "(" else " ")
    rest = text[pieces[place + 1][0] :] if place + 1 < len(pieces) else text[:begin].strip(" -–—:/;")
    return text[begin:stop].strip(), rest.strip()
