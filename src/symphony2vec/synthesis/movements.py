"""Where the movements of a score begin and end, in bars counted from 1 in the order of the file.

A movement begins at a bar of the first MusicXML part
    - whose number is 0 or 1 after a number above 1, because notation programs restart the count after a section break;
    - or, if numbers continue, that opens a new page with a new time signature and either follows a final bar line
      (light-heavy, without a repeat) or has a Roman numeral above it.

A final bar line alone is not sufficient, because minuets and variations end with one too; neither is a numeral, which
may denote a string. Humdrum files contain one movement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony2vec.errors import Unusable
from symphony2vec.synthesis import notation
from symphony2vec.synthesis.part import Part

NUMERAL = re.compile(r"[IVX]+\.?")


@dataclass(frozen=True)
class Section:
    """One movement of a score: its first and last bar, counted from 1, and its heading (empty if it has none)."""

    start: int
    end: int
    title: str = ""


def find_movements(path: Path) -> list[Section]:
    """Find the movements of a score.

    Args:
        path: a score that `read_notes` can read.

    Returns:
        At least one section; together they contain every bar once, in order.

    Raises:
        Unusable: the file is not a readable score.

    Examples:
        >>> [(section.start, section.end) for section in find_movements(Path("quartet.mxl"))]  # doctest: +SKIP
        [(1, 246), (247, 360), (361, 467), (468, 890)]
    """
    parts, root = notation.read_score(path)  # also raises if the score cannot be played
    if root is None:
        return [Section(1, max(len(part.bars_q) - 1 for part in parts))]
    bars = root.findall("part[1]/measure")
    starts = [0]
    highest = 0  # bar number in the current movement
    for index, bar in enumerate(bars):
        number = re.fullmatch(r"\d+", bar.get("number", ""))
        restarts = number is not None and int(number[0]) <= 1 < highest
        if index and (restarts or (_opens_page(bar) and (_is_final(bars[index - 1]) or _has_numeral(bar)))):
            starts.append(index)
            highest = 0
        highest = max(highest, int(number[0]) if number else 0)
    ends = [*starts[1:], len(bars)]
    return [Section(start + 1, end, _find_heading(bars[start])) for start, end in zip(starts, ends, strict=True)]


def select_bars(parts: Sequence[Part], start: float | None, end: float | None) -> list[Part]:
    """Return the parts from bar `start` to bar `end`, counted from 1; None stands for the first and the last bar.

    Raises:
        Unusable: a bound is not a bar of the score, or the parts differ in their number of bars.
    """
    counts = sorted({len(part.bars_q) - 1 for part in parts})
    if len(counts) > 1:
        listing = " and ".join(map(str, counts))
        raise Unusable(f"its parts have different numbers of bars ({listing}), so it cannot be cut into movements")
    first, last = 1.0 if start is None else start, float(counts[0]) if end is None else end
    if first % 1.0 or last % 1.0 or not 1.0 <= first <= last <= counts[0]:
        raise Unusable(f"it has no bars {first:g} to {last:g}; they are numbered 1 to {counts[0]} in file order")
    return [part.select_bars(int(first) - 1, int(last) - 1) for part in parts]


def _is_final(bar: Any) -> bool:
    return any(
        line.findtext("bar-style") == "light-heavy" and line.find("repeat") is None
        for line in bar.iterfind("barline")
        if line.get("location", "right") == "right"
    )


def _has_numeral(bar: Any) -> bool:
    return any(
        NUMERAL.fullmatch((words.text or "").strip()) for words in bar.iterfind("direction/direction-type/words")
    )


def _opens_page(bar: Any) -> bool:
    new_page = any(sign.get("new-page") == "yes" for sign in bar.iterfind("print"))
    return new_page and bar.find("attributes/time") is not None


def _find_heading(bar: Any) -> str:
    """Return the words above the beginning of a bar that set a tempo or, without any, the first in bold print."""
    directions = []
    for element in bar:
        if element.tag == "note" and element.find("grace") is None:
            break
        if element.tag == "direction":
            directions.append(element)
    for rule in ("sound[@tempo]", "direction-type/metronome", "direction-type/words[@font-weight='bold']"):
        for direction in directions:
            words = " ".join("".join(text.itertext()) for text in direction.iterfind("direction-type/words"))
            if direction.find(rule) is not None and re.search(r"[^\W\d_]{3}", words):
                return " ".join(words.split())
    return ""
