"""Read Humdrum kern in one pass over its lines. Times are in quarter notes (q).

A line of data is one moment: its time is where the notes before it in the same spines end. Pitches in kern are those
that sound, also of transposing instruments. Notes marked invisible (`yy`) are played: encoders use the mark for what a
source abbreviates, such as a part that doubles another. Notes between `*cue` and `*Xcue` are not.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from symphony2vec.errors import Unusable
from symphony2vec.synthesis.part import Dynamic, Metre, Part, Tempo, unreadable
from symphony2vec.synthesis.sounding import Event, select_sounding

NOTE = re.compile(r"(?P<pitch>([a-gA-G])\2*)(?P<accidental>#+|-+|n)?")
DURATION = re.compile(r"(?P<reciprocal>\d+)(?:%(?P<numerator>\d+))?(?P<dots>\.*)")
METRE = re.compile(r"\*M(\d+)/(\d+)")
TEMPO = re.compile(r"\*MM(\d+(?:\.\d+)?)")
DYNAMIC = re.compile(r"(?<![a-z])(p{1,4}|f{1,4}|mp|mf)(?![a-z])")
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
# Humdrum's codes of instruments whose beginning is not that of a common name.
INSTRUMENTS = {
    "cangl": "cor anglais", "cbass": "contrabass", "clara": "clarinet", "clarb": "clarinet", "claro": "clarinet",
    "clars": "clarinet", "clrno": "trumpet", "cornt": "cornet", "dulc": "bassoon", "fag": "bassoon", "fagot": "bassoon",
    "flt": "flute", "nfant": "voice", "ophic": "ophicleide", "picco": "piccolo", "serp": "serpent", "soprn": "soprano",
    "timpa": "timpani", "troma": "trombone", "tromb": "trombone", "tromp": "trumpet", "tromt": "trombone",
    "violb": "viola", "violn": "violin", "vox": "voice",
}  # fmt: skip
PERCUSSION = {"bdrum", "casts", "crshc", "drum", "gong", "piatt", "sdrum", "tambn", "tom", "trngl"}  # without pitch
CACHED_NOTES = 4096  # the same tokens stand on many lines
MAX_DIGITS = 12  # of a length
MAX_QUARTERS = 1_000_000  # a score that lasts longer is damaged


@dataclass
class _PartContent:
    """The content of the spines of one part."""

    name: str = ""
    abbreviation: str = ""
    instrument: str = ""
    events: list[Event] = field(default_factory=list)
    dynamics: dict[float, str] = field(default_factory=dict)
    is_pitched: bool = True
    tied_pitches: dict[tuple[str, Fraction], int] = field(default_factory=dict)  # of ties by letters and end


@dataclass(frozen=True)
class _Spine:
    """A column of the file at one line.

    Attributes:
        kind: its exclusive interpretation, such as "**kern".
        part: key of its part; of other kinds that of the nearest kern spine on the left.
        voice: number of the spine, and of its branches.
        free_q: when its last note ends.
        is_cue: whether its notes are cue notes.
    """

    kind: str
    part: str
    voice: str
    free_q: Fraction = Fraction(0)
    is_cue: bool = False


def read_parts(path: Path) -> tuple[list[Part], bool]:
    """Read the pitched parts of a Humdrum file, and whether any part has notes without a pitch.

    Raises:
        Unusable: the file is not readable text, has no kern spine, or contains a line or a note that makes no sense.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise unreadable(error) from error
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), start=1):  # lyrics may contain what else ends a line in Unicode
        try:
            reader.read_line(line.rstrip("\r"))
        except ValueError as error:
            raise Unusable(f"not a readable score: line {number} {error}") from None
    return reader.build_parts()


class _Reader:
    """Reads a file line by line."""

    def __init__(self) -> None:
        self.spines: list[_Spine] = []
        self.parts: dict[str, _PartContent] = {}
        self.now_q = Fraction(0)
        self.end_q = Fraction(0)
        self.bar_lines_q: list[Fraction] = []
        self.bar = 0
        self.has_begun = False  # whether a line of data has been read
        self.metres: dict[float, tuple[int, int]] = {}
        self.tempi: dict[float, float] = {}

    def read_line(self, line: str) -> None:
        """Read one line.

        Raises:
            ValueError: it makes no sense; the message continues "line 12 ...".
        """
        if not line.strip() or line.startswith("!"):
            return
        tokens = line.split("\t")
        if line.startswith("**"):
            self._open(tokens)
            return
        if len(tokens) != len(self.spines):
            raise ValueError(f"has {len(tokens)} columns; expected {len(self.spines)}")
        if line.startswith("="):
            self._read_bar_line()
        elif line.startswith("*"):
            self._interpret(tokens)
        else:
            self._read_data(tokens)

    def build_parts(self) -> tuple[list[Part], bool]:
        """Return the parts that have pitched notes, and whether others have notes without a pitch."""
        if not self.parts:
            raise Unusable("not a readable score: it contains no **kern spine")
        lines_q = self.bar_lines_q or [Fraction(0)]
        bars_q = np.array([float(line_q) for line_q in lines_q if line_q < self.end_q] + [float(self.end_q)])
        shift_q = self._pickup_q(bars_q)
        built = [self._build_part(key, content, bars_q, shift_q) for key, content in self.parts.items()]
        percussion = any(not content.is_pitched and content.events for content in self.parts.values())
        return [part for part in built if len(part.pitches)], percussion

    def _open(self, kinds: Sequence[str]) -> None:
        if self.spines or self.parts:
            raise ValueError("begins the spines a second time")
        for number, kind in enumerate(kinds):
            key = str(number) if kind == "**kern" else self.spines[-1].part if self.spines else ""
            if kind == "**kern":
                self.parts[key] = _PartContent()
            self.spines.append(_Spine(kind, key, str(number)))

    def _read_bar_line(self) -> None:
        line_q = self._next_q()
        if not self.bar_lines_q:
            self.bar_lines_q.append(Fraction(0))
        if self.has_begun and line_q > self.bar_lines_q[-1]:
            self.bar_lines_q.append(line_q)
            self.bar += 1

    def _interpret(self, tokens: Sequence[str]) -> None:
        if any(token in ("*^", "*v", "*x", "*-", "*+") for token in tokens):
            self._rearrange(tokens)
            return
        for place, (spine, token) in enumerate(zip(self.spines, tokens, strict=True)):
            if spine.kind != "**kern" or token == "*":
                continue
            content = self.parts[spine.part]
            if token.startswith("*part"):
                self._join_part(place, token[1:])
            elif token.startswith('*I"'):
                content.name = content.name or token[3:]
            elif token.startswith("*I'"):
                content.abbreviation = content.abbreviation or token[3:]
            elif re.fullmatch(r"\*I[a-z]\w*", token):
                content.instrument = content.instrument or token[2:]
                content.is_pitched = content.is_pitched and content.instrument not in PERCUSSION
            elif token == "*clefX":
                content.is_pitched = False
            elif token in ("*cue", "*Xcue"):
                self.spines[place] = replace(spine, is_cue=token == "*cue")
            elif match := METRE.match(token):
                if int(match[1]) and int(match[2]):
                    self.metres[float(self._next_q())] = (int(match[1]), int(match[2]))
            elif (match := TEMPO.match(token)) and float(match[1]):
                self.tempi[float(self._next_q())] = float(match[1])

    def _next_q(self) -> Fraction:
        """Return the time of the next line of data: the end of the bar, or when most spines are free.

        Some parts may rest for several bars, and others lack a rest.
        """
        if not self.has_begun:
            return self.now_q
        ends_q = Counter(spine.free_q for spine in self.spines if spine.kind == "**kern" and spine.free_q > self.now_q)
        if self.metres and self.bar_lines_q:
            beats, unit = self.metres[max(self.metres)]
            bar_end_q = self.bar_lines_q[-1] + Fraction(4 * beats, unit)
            if bar_end_q in ends_q:
                return bar_end_q
        return min(ends_q, key=lambda end_q: (-ends_q[end_q], end_q), default=self.now_q)

    def _join_part(self, place: int, key: str) -> None:
        """Give a spine, and those of other kinds on its right, to the part of this name: a piano has two staves."""
        old = self.spines[place].part
        if old == key:
            return
        content = self.parts.pop(old)
        main = self.parts.setdefault(key, content)
        if main is not content:
            main.name, main.abbreviation = main.name or content.name, main.abbreviation or content.abbreviation
            main.instrument = main.instrument or content.instrument
            main.events += content.events
        self.spines = [replace(spine, part=key) if spine.part == old else spine for spine in self.spines]

    def _rearrange(self, tokens: Sequence[str]) -> None:
        """Split, join, exchange, end and add spines."""
        spines: list[_Spine] = []
        joined: list[_Spine] = []
        exchanged: list[int] = []
        for spine, token in zip(self.spines, tokens, strict=True):
            if token != "*v" and joined:
                spines.append(self._join(joined))
                joined = []
            if token == "*v":
                if joined and joined[-1].part != spine.part and spine.kind == "**kern":
                    spines.append(self._join(joined))
                    joined = []
                joined.append(spine)
            elif token == "*^":
                spines += [spine, replace(spine, voice=f"{spine.voice}+")]
            elif token == "*+":
                raise ValueError("adds a spine, which is not supported")
            elif token != "*-":
                if token == "*x":
                    exchanged.append(len(spines))
                spines.append(spine)
        if joined:
            spines.append(self._join(joined))
        if len(exchanged) == 2:
            first, second = exchanged
            spines[first], spines[second] = spines[second], spines[first]
        self.spines = spines

    @staticmethod
    def _join(spines: Sequence[_Spine]) -> _Spine:
        return replace(spines[0], free_q=max(spine.free_q for spine in spines))

    def _read_data(self, tokens: Sequence[str]) -> None:
        kern = [
            (place, token)
            for place, (spine, token) in enumerate(zip(self.spines, tokens, strict=True))
            if spine.kind == "**kern" and token not in (".", "")
        ]
        if kern:
            self.now_q = max(self.now_q, *(self.spines[place].free_q for place, _ in kern))
            if self.now_q > MAX_QUARTERS:
                raise ValueError(f"begins after {MAX_QUARTERS} quarter notes")
            self.has_begun = True
        for place, token in kern:
            self._read_notes(place, token)
        for spine, token in zip(self.spines, tokens, strict=True):
            if spine.kind == "**dynam" and spine.part in self.parts and (signs := DYNAMIC.findall(token)):
                self.parts[spine.part].dynamics.setdefault(float(self.now_q), signs[-1])

    def _read_notes(self, place: int, token: str) -> None:
        """Read the notes of one token: one note, a chord, or a rest."""
        spine = self.spines[place]
        chord = token.split()
        if any("q" in note or "Q" in note for note in chord):
            return  # a grace note, which has no length of its own
        length_q = next((length for length in map(_parse_length, chord) if length is not None), None)
        if length_q is None:
            raise ValueError(f"has the note '{token[:40]}' without a length")
        content = self.parts[spine.part]
        for note in chord:
            own_q = _parse_length(note)
            end_q = self.now_q + (length_q if own_q is None else own_q)
            ties = _parse_ties(note)
            for letters, semitones in _parse_pitches(note):
                pitch = semitones
                if "stop" in ties:  # its accidental may be missing
                    pitch = content.tied_pitches.get((letters, self.now_q), semitones)
                if "start" in ties:
                    content.tied_pitches[letters, end_q] = pitch
                event = Event(float(self.now_q), float(end_q), self.bar, spine.voice.rstrip("+"), spine.voice, pitch)
                event.silent, event.ties = spine.is_cue, ties
                content.events.append(event)
        free_q = self.now_q + length_q
        self.spines[place] = replace(spine, free_q=free_q)
        self.end_q = max(self.end_q, free_q)

    def _pickup_q(self, bars_q: np.ndarray) -> float:
        """Return the length of the first bar if it is a pick-up: times are counted from the bar line after it."""
        metre = self.metres.get(0.0)
        if metre is None or len(bars_q) < 3:
            return 0.0
        first_q = float(bars_q[1] - bars_q[0])
        return first_q if first_q < metre[0] * 4.0 / metre[1] else 0.0

    def _build_part(self, key: str, content: _PartContent, bars_q: np.ndarray, shift_q: float) -> Part:
        notes = select_sounding(content.events) if content.is_pitched else []
        notes = [note for note in notes if note.end > note.onset]
        return Part(
            id=key,
            name=content.name,
            abbreviation=content.abbreviation,
            instrument_sound=INSTRUMENTS.get(content.instrument, content.instrument),
            bars_q=bars_q - shift_q,
            onsets_q=np.array([note.onset for note in notes], float) - shift_q,
            ends_q=np.array([note.end for note in notes], float) - shift_q,
            pitches=np.array([note.pitch for note in notes], int),
            bars=np.array([note.bar for note in notes], int),
            metres=tuple(Metre(start_q - shift_q, *metre) for start_q, metre in sorted(self.metres.items())),
            tempi=tuple(Tempo(start_q - shift_q, tempo) for start_q, tempo in sorted(self.tempi.items())),
            dynamics=tuple(Dynamic(start_q - shift_q, sign) for start_q, sign in sorted(content.dynamics.items())),
        )


@functools.lru_cache(CACHED_NOTES)
def _parse_length(note: str) -> Fraction | None:
    """Return the length in quarter notes, None if the token has none: "8." is 3/4, "0" 8, "00" 16, "3%2" 8/3."""
    match = DURATION.search(note)
    if match is None:
        return None
    reciprocal = match["reciprocal"]
    if len(reciprocal) > MAX_DIGITS or len(match["dots"]) > MAX_DIGITS:
        raise ValueError(f"has a note of the length '{match[0][:40]}'")
    if set(reciprocal) == {"0"}:
        length_q = Fraction(4 * 2 ** len(reciprocal))
    else:
        length_q = Fraction(4 * int(match["numerator"] or 1), int(reciprocal))
    return length_q * (2 - Fraction(1, 2 ** len(match["dots"])))


@functools.lru_cache(CACHED_NOTES)
def _parse_pitches(note: str) -> tuple[tuple[str, int], ...]:
    """Return letters and MIDI pitch of a note, none of a rest: "c" is 60, "C" 48, "B-" 58; "ce" is two notes."""
    pitches = []
    for match in () if "r" in note else NOTE.finditer(note):
        letters, accidental = match["pitch"], match["accidental"] or ""
        octave = 4 + len(letters) - 1 if letters.islower() else 4 - len(letters)
        semitones = accidental.count("#") - accidental.count("-")
        pitches.append((letters, 12 * (octave + 1) + STEPS[letters[0].upper()] + semitones))
    return tuple(pitches)


@functools.lru_cache(CACHED_NOTES)
def _parse_ties(note: str) -> frozenset[str]:
    """Return which ends of a tie a note has."""
    ends: Iterable[str] = (
        *(["start"] if "[" in note or "_" in note else []),
        *(["stop"] if "]" in note or "_" in note else []),
    )
    return frozenset(ends)
