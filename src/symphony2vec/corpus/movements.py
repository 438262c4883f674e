"""Where the name of a work ends in a title and the name of its movement begins."""

from __future__ import annotations

import re
from collections.abc import Iterator

from symphony2vec.corpus import vocabulary
from symphony2vec.corpus.authority import tidy
from symphony2vec.corpus.composers import split_composer
from symphony2vec.corpus.vocabulary import normalize
from symphony2vec.corpus.works import normalize_with_positions, parse

_TEMPO = (
    "allegro|allegretto|andante|andantino|adagio|adagietto|largo|larghetto|lento|presto|prestissimo|vivace|moderato|grave|"
    "scherzo|scherzando|menuet|menuett|menuetto|minuet|minuetto|finale|rondo|molto|poco|un poco|tempo|maestoso|"
    "sostenuto|"
    "lebhaft|langsam|massig|schnell|bewegt|sehr|ziemlich|ruhig|vif|lent|modere|anime|tres|assez|attacca|intermezzo|"
    "introduction|introduzione|allemande|courante|sarabande|gigue|bourree|gavotte|air|aria|recitative|chorus|chor|choral"
)
_ORDINAL = "|".join(sorted(vocabulary.ORDINALS, key=len, reverse=True))
_MOVEMENT = re.compile(
    r"(?<![^\W_])(?<!['\"“«„‘])(?:"
    r"(?:[ivx]{1,5}|\d{1,2})(?:\.(?=\s*[^\W\d_\[(\"'“«])|\)|:)\s*"
    r"|(?:mvt|mov|movement|mouvement|movimento|movimiento|satz|teil|act|akt|acte|atto|scene|variation)\s*\.?\s*(?:[ivx]{1,5}|\d{1,2})(?![^\W_])"
    rf"|(?:\d{{1,2}}(?:st|nd|rd|th|er|e|eme|\.|º|°|ª|o)?|{_ORDINAL})"
    r"\s+(?:movement|mvt|mov|satz|mouvement|movimento|movimiento)(?![^\W_])"
    rf"|(?:{_TEMPO})(?![^\W_]))"
)
_ONLY = re.compile(r"\s*(?:[ivx]{1,5}|\d{1,3}|no\.?\s*\d{1,3})\s*[.):]?\s*")
_COUNT_AND_GENRE = re.compile(rf"\d{{1,3}}\.?\s*(?:{vocabulary.GENRE.pattern}|{vocabulary.COMPOUND.pattern})")
_NUMERAL = re.compile(r"(?:[ivx]{1,5}|\d{1,2})[.)]\s")
_NUMBERED = re.compile(r"([ivx]{1,5}|\d{1,2})[.)](?=\s|$)")
_BRACKETS_AT_END = re.compile(r"(?:\s*\([^()]*(?:\([^()]*\)[^()]*)*\))+$")
_BOUNDARY = re.compile(r"(?P<colon>\s*:\s+|:(?=[IVX]{1,4}\.))|\s+[-–—~]\s+|\s+/\s+|\s*;\s+")

# The colon of a Hoboken number separates nothing.
_HOBOKEN = re.compile(r"(\bhob(?:oken)?\.?\s*[ivx]+[a-h]?)\s*:\s+(?=[a-z]?\d)", re.IGNORECASE)
_COMMA_NUMERAL = re.compile(r",\s+(?=(?:[IVX]{1,5}|\d{1,2})\.\s)")


def is_movement(text: str) -> bool:
    """Return whether a text looks like the title of a movement.

    Examples:
        >>> is_movement("II. Andante"), is_movement("2. Satz"), is_movement("La mer")
        (True, True, False)
    """
    plain = normalize(text).strip()
    return bool(_ONLY.fullmatch(plain) or _MOVEMENT.match(plain.lstrip("([\"'“«")))


def movement_key(title: str) -> str:
    """Return a key that the titles of one movement of a work share, whoever performs it.

    The key is the numeral that the title begins with, else the normalized title without a performance in brackets at
    its end.

    Examples:
        >>> movement_key("II. Andante"), movement_key("2. Satz"), movement_key("Largo (Karajan, 1965)")
        ('2', '2', 'largo')
    """
    plain = normalize(title).strip()
    numeral = _NUMBERED.match(plain)
    if numeral:
        return str(vocabulary.parse_numeral(numeral[1]))
    return _BRACKETS_AT_END.sub("", plain) or plain


def split_title(text: str, composer: str = "") -> tuple[str, str]:
    """Split a title into work and movement.

    Args:
        text: As in "Beethoven: Symphony No. 5 in C minor, Op. 67: I. Allegro con brio".
        composer: As the authority names them; their name before the work is removed.

    Returns:
        The work, "" if the title names none; and the movement, "" if the title names the work only.

    Examples:
        >>> split_title("Beethoven: Symphony No. 5 in C minor, Op. 67: I. Allegro con brio")
        ('Symphony No. 5 in C minor, Op. 67', 'I. Allegro con brio')
    """
    text = _HOBOKEN.sub(r"\1:", vocabulary.remove_discs(tidy(text)))
    credit, rest = split_composer(text)
    if credit and rest and (not composer or credit.name == composer):
        text = rest
    pieces = list(_split_pieces(text))
    for i, (start, stop, _) in enumerate(pieces):
        piece = text[start:stop]
        is_ordinal = _COUNT_AND_GENRE.match(normalize(piece))  # "3. Sinfonie" is the third, not a third movement
        if is_movement(piece) and not is_ordinal and not parse(piece, composer).catalogue:
            if i:
                break
        elif parse(piece, composer).is_specific:
            return _split_after_work(text, pieces, i, composer)
    colon = next((i for i, piece in enumerate(pieces) if piece[2]), None)
    if colon is not None:
        head = text[: pieces[colon - 1][1]].strip()
        return (head, text[pieces[colon][0] :].strip()) if head and not is_movement(head) else ("", text)
    if len(pieces) > 1 and _NUMERAL.match(normalize(text[pieces[1][0] :])) and not is_movement(text[: pieces[0][1]]):
        return text[: pieces[0][1]].strip(), text[pieces[1][0] :].strip()
    comma = _COMMA_NUMERAL.search(text)  # "The Rite of Spring, I. Introduction"
    if comma and not is_movement(text[: comma.start()]):
        return text[: comma.start()].strip(), text[comma.end() :].strip()
    return "", text


def _split_pieces(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield start and end of the pieces between colons, dashes and slashes, and whether a colon precedes each."""
    start, colon = 0, False
    for match in _BOUNDARY.finditer(text):
        yield start, match.start(), colon
        start, colon = match.end(), match["colon"] is not None
    yield start, len(text), colon


def _split_after_work(text: str, pieces: list[tuple[int, int, bool]], i: int, composer: str) -> tuple[str, str]:
    """Split a title whose piece `i` names the work, after that piece or after its description of the work."""
    begin = pieces[i][0] if i and is_movement(text[: pieces[0][1]]) else 0
    while i + 1 < len(pieces):
        start, stop, _ = pieces[i + 1]
        following = parse(text[start:stop], composer)
        if is_movement(text[start:stop]) or following.name or not (following.catalogue or following.key):
            break
        i += 1
    start, stop, _ = pieces[i]
    work_end = parse(text[start:stop], composer).end
    plain, positions = normalize_with_positions(text[start:stop])
    after_work = next((j for j, position in enumerate(positions) if position >= work_end), len(plain))
    movement = _MOVEMENT.search(plain, after_work)
    if movement:
        cut = start + positions[movement.start()]
        return text[begin:cut].strip(" ,;.([-–—"), text[cut:].strip(" )" if text[cut - 1] == "(" else " ")
    rest = text[pieces[i + 1][0] :] if i + 1 < len(pieces) else text[:begin].strip(" -–—:/;")
    return text[begin:stop].strip(), rest.strip()
