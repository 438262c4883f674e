"""MusicXML becomes parts, in one pass over each part. What of it sounds: `symphony2vec.synthesis.sounding`."""

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
from symphony2vec.synthesis.sounding import Event, sounding

BEAT_UNITS_Q = {"breve": 8.0, "whole": 4.0, "half": 2.0, "quarter": 1.0, "eighth": 0.5, "16th": 0.25, "32nd": 0.125}
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"sharp": 1, "flat": -1, "double-sharp": 2, "sharp-sharp": 2, "flat-flat": -2, "double-flat": -2}
LEVEL = re.compile(r"(?<!\w)(p{1,4}|f{1,4}|mp|mf)(?![\w.])")  # a dynamic sign among words, as in "p cresc."
RATE = re.compile(r"(?<!\w)([ehq])(\.?)\s*=\s*(\d+)")  # a tempo among words, as in "q = 165"
LONGEST_TICKS = 2.0**53  # beyond, neighbouring times are no longer told apart


@dataclass
class _Stream:
    """What one pass over a part gathers; times in ticks."""

    events: list[Event] = field(default_factory=list)
    lines: list[float] = field(default_factory=lambda: [0.0])  # bar lines
    tick_times: list[float] = field(default_factory=lambda: [0.0])
    ticks_per_q: list[float] = field(default_factory=lambda: [1.0])
    metres: list[tuple[float, int, int]] = field(default_factory=list)
    tempi: dict[float, float] = field(default_factory=dict)
    dynamics: list[tuple[float, str]] = field(default_factory=list)
    transpositions: dict[float, int] = field(default_factory=dict)
    pitched: bool = False  # whether there is any pitched note, a silent or a grace note too
    unpitched: bool = False


def parts_of(root: Any) -> tuple[list[Part], bool]:
    """Read the parts of a MusicXML document (an lxml element).

    Returns:
        The parts that hold notes with a pitch, in the order of the part list, and whether any part holds notes without.

    Raises:
        Unusable: the document is not MusicXML, or a note makes no sense; the message says which.
    """
    if root.tag != "score-partwise":
        raise Unusable(f"not a readable score: its root is <{root.tag}>; only score-partwise structure is supported")
    listed = {entry.get("id"): entry for entry in root.iterfind("part-list//score-part")}
    streams: dict[str, _Stream] = {}
    for element in root.iterfind("part"):
        part_id = element.get("id", "P1")
        if part_id in streams:
            raise Unusable(f"not a readable score: it holds two parts with the id '{part_id}'")
        streams[part_id] = _Pass(part_id).read(element)
    order = [name for name in listed if name in streams] + [name for name in streams if name not in listed]
    parts = [_part(name, listed.get(name), streams[name]) for name in order if streams[name].pitched]
    return parts, any(stream.unpitched for stream in streams.values())


class _Pass:
    """One pass over one part."""

    def __init__(self, part_id: str) -> None:
        self.part_id = part_id
        self.stream = _Stream()
        self.bar = 0
        self.start = self.position = self.end = 0.0
        self.before: Event | None = None  # the note that a chord is added to
        self.is_cue_chord = False  # whether that chord begins with a cue note
        self.handlers = {
            "note": self._note,
            "backup": self._backup,
            "forward": self._forward,
            "attributes": self._attributes,
            "direction": self._direction,
            "sound": self._sound,
        }

    def read(self, part: Any) -> _Stream:
        for bar, measure in enumerate(part.iterfind("measure")):
            self.bar, self.before = bar, None
            self.start = self.position = self.end = self.stream.lines[-1]
            for element in measure:
                handler = self.handlers.get(element.tag)
                if handler:
                    handler(element)
            self.stream.lines.append(self.end)
        return self.stream

    def fault(self, what: str) -> Unusable:
        return Unusable(f"not a readable score: bar {self.bar + 1} of part {self.part_id} {what}")

    def _duration(self, text: str | None) -> float:
        if text is None:
            return 0.0
        duration = _number(text)
        if duration is None or not 0.0 <= duration < LONGEST_TICKS or self.position + duration >= LONGEST_TICKS:
            raise self.fault(f"holds the duration '{text.strip()[:40]}'")
        return duration

    def _backup(self, element: Any) -> None:
        self.position = max(self.position - self._duration(element.findtext("duration")), self.start)

    def _forward(self, element: Any) -> None:
        self.position += self._duration(element.findtext("duration"))
        self.end = max(self.end, self.position)

    def _note(self, element: Any) -> None:
        child = {item.tag: item for item in element}
        grace, chord = "grace" in child, "chord" in child
        if chord and self.before:
            onset, end = self.before.onset, self.before.end
        else:
            onset = self.position
            end = onset + (self._duration(child["duration"].text) if "duration" in child and not grace else 0.0)
        note = Event(onset, end, self.bar, _text(child, "voice") or "1", _text(child, "staff") or "1")
        note.hidden = element.get("print-object") == "no"
        if not (chord and self.before):
            self.is_cue_chord = "cue" in child
        if "pitch" in child:
            self.stream.pitched = True
            if "duration" not in child and not grace and not (chord and self.before):
                raise self.fault("holds a note without a duration")
            note.pitch = self._pitch(child)
            is_cue = "cue" in child or self.is_cue_chord
            note.silent = is_cue or ("dynamics" in element.attrib and _number(element.get("dynamics")) == 0.0)
            note.ties = _ties(element, child)
        elif "unpitched" in child:
            self.stream.unpitched = True
        self.stream.events.append(note)
        self.before = note
        self.position = end
        self.end = max(self.end, end)

    def _pitch(self, child: dict[str, Any]) -> int:
        pitch = {item.tag: item.text for item in child["pitch"]}
        step, octave = (pitch.get("step") or "").strip(), _number(pitch.get("octave"))
        if step not in STEPS or octave is None or octave % 1.0:
            raise self.fault(f"holds a note of step '{step[:40]}' and octave '{pitch.get('octave')}'")
        semitones = _number(pitch["alter"]) if "alter" in pitch else None
        if semitones is None:  # some programs write the accidental alone
            semitones = ACCIDENTALS.get(_text(child, "accidental"), 0)
        # A quarter tone is played as the semitone towards the natural note.
        return int(12 * (octave + 1) + STEPS[step] + math.trunc(semitones))

    def _attributes(self, element: Any) -> None:
        beats, unit = (_integer(element.findtext(f"time/{tag}")) for tag in ("beats", "beat-type"))
        if beats and unit and beats > 0 and unit > 0:
            self.stream.metres.append((self.position, beats, unit))
        transpose = element.find("transpose")
        if transpose is not None:
            semitones, octaves = (_integer(transpose.findtext(tag)) for tag in ("chromatic", "octave-change"))
            if semitones is not None or octaves is not None or _integer(transpose.findtext("diatonic")) is not None:
                readable = semitones is not None or transpose.find("chromatic") is None
                self.stream.transpositions[self.position] = (semitones or 0) + 12 * (octaves or 0) if readable else 0
        divisions = _number(element.findtext("divisions"))
        if divisions is not None and 0.0 < divisions < LONGEST_TICKS:
            self._set_divisions(divisions)

    def _set_divisions(self, divisions: float) -> None:
        times, values = self.stream.tick_times, self.stream.ticks_per_q
        place = bisect.bisect_left(times, self.position)
        if place and values[place - 1] == divisions:
            return
        if place < len(times) and times[place] == self.position:
            values[place] = divisions
        else:
            times.insert(place, self.position)
            values.insert(place, divisions)

    def _direction(self, element: Any) -> None:
        for sound in element.iterfind("sound"):
            self._sound(sound)
        if element.find("sound[@tempo]") is None:
            for metronome in element.iterfind("direction-type/metronome"):
                self._tempo(_quarters_per_minute(metronome))
        for kind in element.iterfind("direction-type"):
            for dynamics in kind.iterfind("dynamics"):
                sign = next((item.tag for item in dynamics), None)
                if isinstance(sign, str):
                    self.stream.dynamics.append((self.position, sign))
            for words in kind.iterfind("words"):
                signs = LEVEL.findall((words.text or "").lower())
                self.stream.dynamics += [(self.position, sign) for sign in signs]
                rate = RATE.search(words.text or "")
                if rate:
                    unit_q = {"e": 0.5, "q": 1.0, "h": 2.0}[rate[1]] * (1.5 if rate[2] else 1.0)
                    self._tempo(float(rate[3]) * unit_q)

    def _sound(self, element: Any) -> None:
        self._tempo(_number(element.get("tempo")))

    def _tempo(self, quarters_per_minute: float | None) -> None:
        if quarters_per_minute is not None and 0.0 < quarters_per_minute < math.inf:
            self.stream.tempi.setdefault(self.position, quarters_per_minute)


def _part(part_id: str, entry: Any, stream: _Stream) -> Part:
    quarters = _quarters(stream)
    played = sounding(stream.events)
    onsets, ends = (np.array([getattr(event, side) for event in played], float) for side in ("onset", "end"))
    onsets_q = quarters(onsets)
    # Rounded to 32 bits, so that the sound of a score stays the same to the bit.
    lengths_q = (quarters(ends) - onsets_q).astype(np.float32).astype(float)
    onsets_q = onsets_q.astype(np.float32).astype(float)
    long = lengths_q > 0.0
    pitches = np.array([event.pitch for event in played], int) + _transpositions(stream, onsets)
    names = [(entry.findtext(tag) if entry is not None else None) or "" for tag in ("part-name", "part-abbreviation")]
    sound = entry.findtext(".//instrument-sound") if entry is not None else None
    metres = sorted(stream.metres, key=lambda mark: mark[0])  # of marks at one time the last written one counts
    dynamics = sorted(stream.dynamics, key=lambda mark: mark[0])
    return Part(
        part_id,
        names[0],
        names[1],
        sound or "",
        quarters(np.array(stream.lines)),
        onsets_q[long],
        (onsets_q + lengths_q)[long],
        pitches[long],
        np.array([event.bar for event in played], int)[long],
        tuple(Metre(float(quarters(time)), beats, unit) for time, beats, unit in metres),
        tuple(Tempo(float(quarters(time)), rate) for time, rate in sorted(stream.tempi.items())),
        tuple(Dynamic(float(quarters(time)), sign) for time, sign in dynamics),
    )


def _quarters(stream: _Stream) -> Callable[[Any], np.ndarray]:
    """A function from ticks to quarter notes, counted from the first bar line that no pick-up bar precedes."""

    knots = np.array(sorted({*stream.tick_times, stream.lines[-1]}))
    rates = np.array([stream.ticks_per_q[bisect.bisect_right(stream.tick_times, knot) - 1] for knot in knots])
    knots_q = np.concatenate([[0.0], np.cumsum(np.diff(knots) / rates[:-1])])
    metre = next((sign for sign in stream.metres if sign[0] == 0.0), None)
    if metre and len(stream.lines) > 1:
        first_q = float(np.interp(stream.lines[1], knots, knots_q))
        if first_q < metre[1] * 4 / metre[2]:
            knots_q = knots_q - first_q

    def quarters(ticks: Any) -> np.ndarray:
        at_q: np.ndarray = np.interp(ticks, knots, knots_q)
        return at_q

    return quarters


def _transpositions(stream: _Stream, onsets: np.ndarray) -> np.ndarray:
    """Semitones from the written to the sounding pitch of each note (N,): a player may change instruments."""

    starts = sorted(stream.transpositions)
    semitones = np.array([0, *(stream.transpositions[start] for start in starts)], int)
    moved: np.ndarray = semitones[np.searchsorted(np.array(starts, float), onsets, side="right")]
    return moved


def _ties(element: Any, child: dict[str, Any]) -> frozenset[str]:
    """Which ends of a tie a note holds: `<tie>` says what sounds, `<tied>` is the drawn sign and serves without it."""
    if "tie" in child:
        return frozenset(tie.get("type") for tie in element.iterfind("tie"))
    if "notations" not in child:
        return frozenset()
    drawn = {tied.get("type") for tied in element.iterfind("notations/tied")}
    return frozenset({"start", "stop"} if "continue" in drawn else drawn)


def _quarters_per_minute(metronome: Any) -> float | None:
    unit_q = BEAT_UNITS_Q.get(metronome.findtext("beat-unit") or "")
    rate = re.search(r"\d+(\.\d+)?", metronome.findtext("per-minute") or "")
    dots = len(metronome.findall("beat-unit-dot"))
    return float(rate[0]) * unit_q * (2.0 - 0.5**dots) if unit_q and rate else None


def _text(child: dict[str, Any], tag: str) -> str:
    return (child[tag].text or "").strip() if tag in child else ""


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _integer(text: str | None) -> int | None:
    number = _number(text)
    return int(number) if number is not None and number == int(number) else None
