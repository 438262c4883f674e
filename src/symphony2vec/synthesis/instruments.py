"""The General MIDI program (level 1, numbered from 0) of a part, from its name in the score."""

from __future__ import annotations

import re
import unicodedata

from symphony2vec.synthesis.part import Part

STRINGS = 48
# Patterns for names in lower case without accents; the first match counts.
PROGRAMS: tuple[tuple[str, int], ...] = (
    (r"pizzicato|pizz\.?", 45),
    (r"piccolo|ottavino|fl\.? picc", 72),
    (r"recorder|blockflote|flauto dolce", 74),
    (r"flute|flaut|flote|\bfl\.", 73),
    (r"englisc?h.?horn|cor anglais|corno inglese", 69),
    (r"bassoon|fagott|basson|\bbsn\.|\bfg\.", 70),
    (r"oboe|oboi|hautbois|\bob\.", 68),
    (r"clarinet|klarinette|basset|\bcl\.", 71),
    (r"saxophon|\bsax", 65),
    (r"trumpet|trompet|tromba|trombe|tpt|clarin|cornet|kornett", 56),
    (r"trombon|posaune|trb\.|sackbut", 57),
    (r"tuba|ophicl|serpent|cimbasso", 58),
    (r"horn|corni\b|corno\b|\bcors?\b|\bhn\.", 60),
    (r"timpani|pauken|timbales|kettledrum|\btimp\.", 47),
    (r"celesta", 8),
    (r"glockenspiel", 9),
    (r"harpsichord|cembalo|clavecin", 6),
    (r"harp|arpa|harfe", 46),
    (r"organ|orgel|orgue", 19),
    (r"piano|klavier", 0),
    (
        r"viol|vla\.|vlc\.|vcl?\.|cello|bratsche|bass[oi] cont|[ck]ontra.?bass|contrabbass|contrebass|double.?bass",
        STRINGS,
    ),
    (
        r"voice|vocal|choir|chorus|\bchor\b|coro\b|sopran|alto\b|\balt\b|tenor|bariton|\bbass$|basso\b|cant[ou]|quint[ou]|mezzo",
        52,
    ),
)


def select_program(part: Part) -> int:
    """Return the General MIDI program of a part, by its MusicXML instrument-sound, else its name; strings otherwise.

    Examples:
        >>> from types import SimpleNamespace
        >>> select_program(SimpleNamespace(instrument_sound="", name="Flöte I", abbreviation=""))
        73
    """
    for text in (part.instrument_sound, part.name, part.abbreviation):
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().strip()
        for pattern, program in PROGRAMS:
            if re.search(pattern, plain):
                return program
    return STRINGS
