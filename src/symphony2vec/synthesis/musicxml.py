"""Read MusicXML in one pass over each part. `symphony2vec.synthesis.sounding` decides which of its notes sound.

Times are in ticks, the divisions of a quarter note that the file declares, or in quarter notes (q).
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symphony2vec.errors import Unusable
from symphony2vec.synthesis.part import Dynamic, Metre, Part, Tempo
from symphony2vec.synthesis.sounding import Event, select_sounding

BEAT_UNITS_Q = {"breve": 8.0, "whole": 4.0, "half": 2.0, "quarter": 1.0, "eighth": 0.5, "16th": 0.25, "32nd": 0.125}
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"sharp": 1, "flat": -1, "double-sharp": 2, "sharp-sharp": 2, "flat-flat": -2, "double-flat": -2}
DYNAMIC = re.compile(r"(?<!\w)(p{1,4}|f{1,4}|mp|mf)(?![\w.])")  # a dynamic mark among words, as in "p cresc."
TEMPO = re.compile(r"(?<!\w)([ehq])(\.?)\s*=\s*(\d+)")  # a tempo among words, as in "q = 165"
MAX_TICKS = 2.0**53  # beyond, a float no longer distinguishes neighbouring ticks


@dataclass
class _PartContent:
    """The content of one part; times in ticks."""

    events: list[Event] = field(default_factory=list)
    bar_lines: list[float] = field(default_factory=lambda: [0.0])
    tick_times: list[float] = field(default_factory=lambda: [0.0])
    ticks_per_q: list[float] = field(default_factory=lambda: [1.0])
    metres: list[tuple[float, int, int]] = field(default_factory=list)
    tempi: dict[float, float] = field(default_factory=dict)
    dynamics: list[tuple[float, str]] = field(default_factory=list)
    transpositions: dict[float, int] = field(default_factory=dict)
    pitched: bool = False  # whether there is a pitched note, even a silent or a grace note
    unpitched: bool = False


def read_parts(root: Any) -> tuple[list[Part], bool]:
    """Read the parts of a MusicXML document (an lxml element).

    Returns:
        The pitched parts, in the order of the part list, and whether any part has notes without a pitch.

    Raises:
        Unusable: the document is not MusicXML, or contains an invalid note.
    """
    if root.tag != "score-partwise":
        raise Unusable(f"not a readable score: its root is <{root.tag}>; only score-partwise structure is supported")
    entries = {entry.get("id"): entry for entry in root.iterfind("part-list//score-part")}
    contents: dict[str, _PartContent] = {}
    for element in root.iterfind("part"):
        part_id = element.get("id", "P1")
        if part_id in contents:
            raise Unusable(f"not a readable score: it contains two parts with the id '{part_id}'")
        contents[part_id] = _PartReader(part_id).read(element)
    order = [name for name in entries if name in contents] + [name for name in contents if name not in entries]
    parts = [_build_part(name, entries.get(name), contents[name]) for name in order if contents[name].pitched]
    return parts, any(content.unpitched for content in contents.values())


class _PartReader:
    """Reads one part, element by element."""

    def __init__(self, part_id: str) -> None:
        self.part_id = part_id
        self.content = _PartContent()
        self.bar = 0
        self.start = self.position = self.end = 0.0
        self.previous: Event | None = None  # the note that a chord note is added to
        self.is_cue_chord = False  # whether the chord begins with a cue note
        self.handlers = {
            "note": self._read_note,
            "backup": self._read_backup,
            "forward": self._read_forward,
            "attributes": self._read_attributes,
            "direction": self._read_direction,
            "sound": self._read_sound,
        }

    def read(self, part: Any) -> _PartContent:
        for bar, measure in enumerate(part.iterfind("measure")):
            self.bar, self.previous = bar, None
            self.start = self.position = self.end = self.content.bar_lines[-1]
            for element in measure:
                handler = self.handlers.get(element.tag)
                if handler:
                    handler(element)
            self.content.bar_lines.append(self.end)
        return self.content

    def _error(self, problem: str) -> Unusable:
        return Unusable(f"not a readable score: bar {self.bar + 1} of part {self.part_id} {problem}")

    def _parse_duration(self, text: str | None) -> float:
        if text is None:
            return 0.0
        duration = _parse_number(text)
        if duration is None or not 0.0 <= duration < MAX_TICKS or self.position + duration >= MAX_TICKS:
            raise self._error(f"has the duration '{text.strip()[:40]}'")
        return duration

    def _read_backup(self, element: Any) -> None:
        self.position = max(self.position - self._parse_duration(element.findtext("duration")), self.start)

    def _read_forward(self, element: Any) -> None:
        self.position += self._parse_duration(element.findtext("duration"))
        self.end = max(self.end, self.position)

    def _read_note(self, element: Any) -> None:
        child = {item.tag: item for item in element}
        grace, chord = "grace" in child, "chord" in child
        if chord and self.previous:
            onset, end = self.previous.onset, self.previous.end
        else:
            onset = self.position
            end = onset + (self._parse_duration(child["duration"].text) if "duration" in child and not grace else 0.0)
        note = Event(onset, end, self.bar, _child_text(child, "voice") or "1", _child_text(child, "staff") or "1")
        note.hidden = element.get("print-object") == "no"
        if not (chord and self.previous):
            self.is_cue_chord = "cue" in child
        if "pitch" in child:
            self.content.pitched = True
            if "duration" not in child and not grace and not (chord and self.previous):
                raise self._error("has a note without a duration")
            note.pitch = self._parse_pitch(child)
            is_cue = "cue" in child or self.is_cue_chord
            note.silent = is_cue or ("dynamics" in element.attrib and _parse_number(element.get("dynamics")) == 0.0)
            note.ties = _read_ties(element, child)
        elif "unpitched" in child:
            self.content.unpitched = True
        self.content.events.append(note)
        self.previous = note
        self.position = end
        self.end = max(self.end, end)

    def _parse_pitch(self, child: dict[str, Any]) -> int:
        pitch = {item.tag: item.text for item in child["pitch"]}
        step, octave = (pitch.get("step") or "").strip(), _parse_number(pitch.get("octave"))
        if step not in STEPS or octave is None or octave % 1.0:
            raise self._error(f"has a note of step '{step[:40]}' and octave '{pitch.get('octave')}'")
        semitones = _parse_number(pitch["alter"]) if "alter" in pitch else None
        if semitones is None:  # some programs write only the accidental
            semitones = ACCIDENTALS.get(_child_text(child, "accidental"), 0)
        # Quarter tones are rounded towards the natural note.
        return int(12 * (octave + 1) + STEPS[step] + math.trunc(semitones))

    def _read_attributes(self, element: Any) -> None:
        beats, unit = (_parse_integer(element.findtext(f"time/{tag}")) for tag in ("beats", "beat-type"))
        if beats and unit and beats > 0 and unit > 0:
            self.content.metres.append((self.position, beats, unit))
        transpose = element.find("transpose")
        if transpose is not None:
            tags = ("chromatic", "octave-change", "diatonic")
            semitones, octaves, diatonic = (_parse_integer(transpose.findtext(tag)) for tag in tags)
            if semitones is not None or octaves is not None or diatonic is not None:
                readable = semitones is not None or transpose.find("chromatic") is None
                self.content.transpositions[self.position] = (semitones or 0) + 12 * (octaves or 0) if readable else 0
        divisions = _parse_number(element.findtext("divisions"))
        if divisions is not None and 0.0 < divisions < MAX_TICKS:
            self._set_divisions(divisions)

    def _set_divisions(self, divisions: float) -> None:
        times, values = self.content.tick_times, self.content.ticks_per_q
        index = bisect.bisect_left(times, self.position)
        if index and values[index - 1] == divisions:
            return
        if index < len(times) and times[index] == self.position:
            values[index] = divisions
        else:
            times.insert(index, self.position)
            values.insert(index, divisions)

    def _read_direction(self, element: Any) -> None:
        for sound in element.iterfind("sound"):
            self._read_sound(sound)
        if element.find("sound[@tempo]") is None:
            for metronome in element.iterfind("direction-type/metronome"):
                self._add_tempo(_read_metronome(metronome))
        for kind in element.iterfind("direction-type"):
            for dynamics in kind.iterfind("dynamics"):
                sign = next((item.tag for item in dynamics), None)
                if isinstance(sign, str):
                    self.content.dynamics.append((self.position, sign))
            for words in kind.iterfind("words"):
                signs = DYNAMIC.findall((words.text or "").lower())
                self.content.dynamics += [(self.position, sign) for sign in signs]
                tempo = TEMPO.search(words.text or "")
                if tempo:
                    unit_q = {"e": 0.5, "q": 1.0, "h": 2.0}[tempo[1]] * (1.5 if tempo[2] else 1.0)
                    self._add_tempo(float(tempo[3]) * unit_q)

    def _read_sound(self, element: Any) -> None:
        self._add_tempo(_parse_number(element.get("tempo")))

    def _add_tempo(self, quarters_per_minute: float | None) -> None:
        if quarters_per_minute is not None and 0.0 < quarters_per_minute < math.inf:
            self.content.tempi.setdefault(self.position, quarters_per_minute)


def _build_part(part_id: str, entry: Any, content: _PartContent) -> Part:
    """Build a part from its content and its entry in the part list (None if it is missing there)."""

    def find_text(path: str) -> str:
        return (entry.findtext(path) if entry is not None else None) or ""

    to_quarters = _make_tick_converter(content)
    notes = select_sounding(content.events)
    onsets, ends = np.array([note.onset for note in notes], float), np.array([note.end for note in notes], float)
    onsets_q = to_quarters(onsets)
    # Rounded to 32 bits, so that the sound of a score stays the same to the bit.
    lengths_q = (to_quarters(ends) - onsets_q).astype(np.float32).astype(float)
    onsets_q = onsets_q.astype(np.float32).astype(float)
    audible = lengths_q > 0.0
    pitches = np.array([note.pitch for note in notes], int) + _compute_transpositions(content, onsets)
    metres = sorted(content.metres, key=lambda mark: mark[0])  # stable: of marks at one time the last written counts
    dynamics = sorted(content.dynamics, key=lambda mark: mark[0])
    return Part(
        id=part_id,
        name=find_text("part-name"),
        abbreviation=find_text("part-abbreviation"),
        instrument_sound=find_text(".//instrument-sound"),
        bars_q=to_quarters(np.array(content.bar_lines)),
        onsets_q=onsets_q[audible],
        ends_q=(onsets_q + lengths_q)[audible],
        pitches=pitches[audible],
        bars=np.array([note.bar for note in notes], int)[audible],
        metres=tuple(Metre(float(to_quarters(time)), beats, unit) for time, beats, unit in metres),
        tempi=tuple(Tempo(float(to_quarters(time)), tempo) for time, tempo in sorted(content.tempi.items())),
        dynamics=tuple(Dynamic(float(to_quarters(time)), sign) for time, sign in dynamics),
    )


def _make_tick_converter(content: _PartContent) -> Callable[[Any], np.ndarray]:
    """Return a function from ticks to quarter notes, counted from the first bar line that no pick-up bar precedes."""
    knots = np.array(sorted({*content.tick_times, content.bar_lines[-1]}))
    divisions = np.array([content.ticks_per_q[bisect.bisect_right(content.tick_times, knot) - 1] for knot in knots])
    knots_q = np.concatenate([[0.0], np.cumsum(np.diff(knots) / divisions[:-1])])
    metre = next((mark for mark in content.metres if mark[0] == 0.0), None)
    if metre and len(content.bar_lines) > 1:
        first_bar_q = float(np.interp(content.bar_lines[1], knots, knots_q))
        if first_bar_q < metre[1] * 4 / metre[2]:
            knots_q = knots_q - first_bar_q

    def to_quarters(ticks: Any) -> np.ndarray:
        quarters: np.ndarray = np.interp(ticks, knots, knots_q)
        return quarters

    return to_quarters


def _compute_transpositions(content: _PartContent, onsets: np.ndarray) -> np.ndarray:
    """Return the semitones from the written to the sounding pitch of each note (N,): players change instruments."""
    starts = sorted(content.transpositions)
    semitones = np.array([0, *(content.transpositions[start] for start in starts)], int)
    by_note: np.ndarray = semitones[np.searchsorted(np.array(starts, float), onsets, side="right")]
    return by_note


def _read_ties(element: Any, child: dict[str, Any]) -> frozenset[str]:
    """Return which ends of a tie a note has, from `<tie>` (the sound) or else from `<tied>` (the notation)."""
    if "tie" in child:
        return frozenset(tie.get("type") for tie in element.iterfind("tie"))
    if "notations" not in child:
        return frozenset()
    types = {tied.get("type") for tied in element.iterfind("notations/tied")}
    return frozenset({"start", "stop"} if "continue" in types else types)


def _read_metronome(metronome: Any) -> float | None:
    unit_q = BEAT_UNITS_Q.get(metronome.findtext("beat-unit") or "")
    number = re.search(r"\d+(\.\d+)?", metronome.findtext("per-minute") or "")
    dots = len(metronome.findall("beat-unit-dot"))
    return float(number[0]) * unit_q * (2.0 - 0.5**dots) if unit_q and number else None


def _child_text(child: dict[str, Any], tag: str) -> str:
    return (child[tag].text or "").strip() if tag in child else ""


def _parse_number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _parse_integer(text: str | None) -> int | None:
    number = _parse_number(text)
    return int(number) if number is not None and number == int(number) else None
