"""A score becomes MIDI, MIDI becomes a waveform: one synthesized orchestra, one soundfont, for all composers.

Time runs in quarter notes (q) in the score and in seconds in the MIDI. Repeats are not unfolded: they would give
near-duplicate clips. Grace notes have no length of their own and are not played.

A score tells who encoded it as well as who wrote it: metronome marks are an editor's, and many files have neither
tempo nor dynamics. So by default every notated beat lasts the same and every note has the same velocity; the
score's own marks are a choice. MIDI programs count from 0, as in General MIDI level 1.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec.errors import Unusable, UserError

if TYPE_CHECKING:
    import numpy as np

STRINGS = 48
BUILT_IN_SOUNDFONT = "TimGM6mb"
LONGEST_S = 4 * 3600.0
CHANNELS = 15  # of MIDI's sixteen, the tenth is percussion
CHANNEL_VOLUMES = (
    100,
    60,
    36,
    22,
)  # of 127; the first at which the orchestra stays below the renderer's ceiling

# First match wins: the part's instrument-sound (MusicXML) is searched before its name.
PROGRAMS: tuple[tuple[str, int], ...] = (
    (r"pizzicato|pizz\.?", 45),
    (r"piccolo|ottavino|fl\.? picc", 72),
    (r"flute|flauto|flöte|fl\.", 73),
    (r"english.?horn|cor anglais|corno inglese", 69),
    (r"contrabassoon|contrafagott|kontrafagott", 70),
    (r"bassoon|fagott|basson", 70),
    (r"oboe|hautbois|ob\.", 68),
    (r"clarinet|klarinette|cl\.", 71),
    (r"trumpet|tromba|trombe|trompete|tpt|clarin", 56),
    (r"trombone|posaune|trb\.|alto sackbut", 57),
    (r"tuba", 58),
    (r"\bhorn|brass\.(french|natural)-horn|corni\b|corno\b|\bcor\b|hn\.", 60),
    (r"timpani|pauken|timbales|drum\.timpani", 47),
    (r"harpsichord|cembalo|clavecin", 6),
    (r"harp|arpa", 46),
    (r"organ", 19),
    (r"piano|celesta", 0),
    (
        r"voice|vocal|choir|chorus|coro|soprano|alto\b|tenor|baritone|\bbass$|basso\b|cant[ou]|quint[ou]|mezzo",
        52,
    ),
)

# MIDI velocities of the written marks, as notation programs play them.
VELOCITIES = {
    "pppp": 10, "ppp": 16, "pp": 33, "p": 49, "mp": 64, "mf": 80, "f": 96, "ff": 112, "fff": 126, "ffff": 127,
}  # fmt: skip
CEILING = 1.0 - 2.0**-14  # the renderer writes 16 bits and cuts what lies above
MUSICAL_BEATS = {6: 3, 9: 3, 12: 3}  # notated units in one beat of a compound metre


@dataclass(frozen=True)
class Interpretation:
    """How all scores are played; the fields are those of the section `audio` in params.yaml."""

    orchestration: str = "strings"
    dynamics: str = "fixed"
    velocity: int = 80
    tempo: str = "fixed"
    beats_per_minute: float = 100.0


@dataclass(frozen=True)
class Note:
    """One sounding note: onset and end in seconds, MIDI pitch, velocity and program."""

    onset_s: float
    end_s: float
    pitch: int
    velocity: int
    program: int


def soundfont(name: str) -> Path:
    """The file of a soundfont: the built-in one by its name, any other by its path."""
    if name == BUILT_IN_SOUNDFONT:
        import importlib.util

        spec = importlib.util.find_spec("pretty_midi")
        if spec is None or not spec.submodule_search_locations:
            raise UserError("the soundfont TimGM6mb comes with the package pretty_midi, which is not installed")
        path = Path(spec.submodule_search_locations[0]) / "TimGM6mb.sf2"
    else:
        path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"audio.soundfont: no file {path}; name an .sf2 file, or {BUILT_IN_SOUNDFONT}")
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"sfbk":
        raise UserError(f"audio.soundfont: {path} is not an SF2 soundfont (.sf3 cannot be read)")
    return path


def notes(path: Path, interpretation: Interpretation) -> list[Note]:
    """The notes of a score (MusicXML, plain or compressed; Humdrum kern) in seconds, sorted by onset.

    Raises:
        Unusable: the file is no readable score, holds no pitched note, or would sound longer than four hours.
    """
    parts = _parts(path)
    grid = Grid.of(parts)
    to_seconds = _clock(parts, grid, interpretation)
    found: list[Note] = []
    for number, part in enumerate(parts):
        program = STRINGS if interpretation.orchestration == "strings" else program_of(part)
        table = part.note_array()
        table = table[table["duration_quarter"] > 0]
        onsets_q = table["onset_quarter"].astype(float)
        ends_q = onsets_q + table["duration_quarter"].astype(float)
        onsets_s, ends_s = (to_seconds(grid.common(number, times)) for times in (onsets_q, ends_q))
        velocities = _velocities(part, onsets_q, interpretation)
        rows = zip(onsets_s, ends_s, table["pitch"], velocities, strict=True)
        found += [Note(float(on), float(end), int(pitch), int(vel), program) for on, end, pitch, vel in rows]
    if not found:
        raise Unusable("the score holds no pitched note")
    first_s = min(note.onset_s for note in found)
    last_s = max(note.end_s for note in found)
    if last_s - first_s > LONGEST_S:
        raise Unusable(f"the score would sound for {(last_s - first_s) / 3600:.1f} hours; the limit is 4")
    shifted = [Note(n.onset_s - first_s, n.end_s - first_s, n.pitch, n.velocity, n.program) for n in found]
    return sorted(shifted, key=lambda n: (n.onset_s, n.program, n.pitch, n.end_s))


@dataclass(frozen=True)
class Grid:
    """The bar lines of every part, and those that all parts share.

    Encoded scores hold bars that are too short or too long in one part (a missing rest, a tuplet without its ratio);
    taken as they stand, the parts drift apart from there on. Here each bar has one length for all parts, the one that
    most of them give it, and every part is stretched bar by bar onto these common lines.
    """

    bars_q: tuple[np.ndarray, ...]
    common_q: np.ndarray

    @classmethod
    def of(cls, parts: list[Any]) -> Grid:
        """Read the bar lines of the parts (partitura's `Part`)."""
        import numpy as np
        from partitura.score import Measure

        bars = []
        for part in parts:
            lines = {m.start.t for m in part.iter_all(Measure)} | {part.first_point.t, part.last_point.t}
            bars.append(np.asarray(part.quarter_map(sorted(lines)), dtype=float))
        if len({len(lines) for lines in bars}) > 1:
            counts = Counter(len(lines) - 1 for lines in bars)
            ends = [lines[-1] - lines[0] for lines in bars]
            if max(ends) - min(ends) > 1e-6:
                raise Unusable(f"its parts hold different numbers of bars ({_listed(sorted(counts))})")
            return cls(tuple(bars), bars[0])
        lengths = np.stack([np.diff(lines) for lines in bars])
        shared = np.array([_most_common(column) for column in lengths.T])
        return cls(tuple(bars), np.concatenate([[bars[0][0]], bars[0][0] + np.cumsum(shared)]))

    def common(self, part: int, times_q: np.ndarray) -> np.ndarray:
        """Times of one part, moved onto the common bar lines."""
        import numpy as np

        own = self.bars_q[part]
        if len(own) != len(self.common_q):
            return times_q
        moved: np.ndarray = np.interp(times_q, own, self.common_q) + np.maximum(times_q - own[-1], 0.0)
        return moved


def program_of(part: Any) -> int:
    """The General MIDI program of a part, from its instrument-sound first, its name second; strings otherwise."""
    sounds = [str(getattr(part, "instrument_sound", "") or "")]
    for text in (*sounds, part.part_name or "", part.part_abbreviation or ""):
        for pattern, program in PROGRAMS:
            if re.search(pattern, text.lower()):
                return program
    return STRINGS


def midi(played: list[Note], volume: int = CHANNEL_VOLUMES[0]) -> bytes:
    """A MIDI file of the notes, one channel a program, all at one channel volume (1 to 127).

    On one channel a key sounds once at a time: where two parts hold the same pitch, the later onset strikes it again
    and the later end releases it.
    """
    import pretty_midi

    programs = Counter(note.program for note in played)
    heard = {program for program, _ in programs.most_common(CHANNELS)}
    by_program: dict[int, list[Note]] = defaultdict(list)
    for note in played:
        by_program[note.program if note.program in heard else STRINGS].append(note)
    file = pretty_midi.PrettyMIDI(resolution=960)
    for program in sorted(by_program):
        instrument = pretty_midi.Instrument(program)
        instrument.control_changes.append(pretty_midi.ControlChange(7, volume, 0.0))
        instrument.notes = [
            pretty_midi.Note(note.velocity, note.pitch, note.onset_s, note.end_s)
            for note in without_unisons(by_program[program])
        ]
        file.instruments.append(instrument)
    written = io.BytesIO()
    file.write(written)
    return written.getvalue()


def without_unisons(played: list[Note]) -> list[Note]:
    """The same notes with no pitch struck while it sounds on the same channel."""
    by_pitch: dict[int, list[Note]] = defaultdict(list)
    for note in sorted(played, key=lambda n: (n.pitch, n.onset_s, n.end_s)):
        column = by_pitch[note.pitch]
        before = column[-1] if column else None
        if before is None or note.onset_s >= before.end_s:
            column.append(note)
            continue
        end_s, velocity = max(before.end_s, note.end_s), max(before.velocity, note.velocity)
        if note.onset_s == before.onset_s:
            column[-1] = Note(note.onset_s, end_s, note.pitch, velocity, note.program)
        else:
            column[-1] = Note(before.onset_s, note.onset_s, before.pitch, before.velocity, before.program)
            column.append(Note(note.onset_s, end_s, note.pitch, note.velocity, note.program))
    return sorted((note for column in by_pitch.values() for note in column), key=lambda n: (n.onset_s, n.pitch))


def render(played: list[Note], soundfont_bytes: bytes) -> tuple[np.ndarray, int]:
    """Play notes, as loud as the renderer can without clipping.

    Returns:
        The waveform, (N, 2) float32 within [-1, 1], and its sample rate in Hz.

    Raises:
        Unusable: the wave would be clipped even at the lowest volume.
    """
    import midirenderer
    import numpy as np
    import soundfile

    for volume in CHANNEL_VOLUMES:
        rendered = midirenderer.render_wave_from(soundfont_bytes, midi(played, volume))
        wave, rate_hz = soundfile.read(io.BytesIO(rendered), dtype="float32", always_2d=True)
        if float(np.abs(wave).max(initial=0.0)) < CEILING:
            return wave, int(rate_hz)
    raise Unusable("the orchestra is too loud for the renderer: its wave would be clipped")


def _parts(path: Path) -> list[Any]:
    import partitura

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # partitura warns of every oddity of the notation
            score = partitura.load_score(str(path))
            parts = [part for part in score.parts if part.first_point is not None and len(part.notes_tied)]
    except Exception as fault:  # a parser of foreign files fails in any way it likes
        line = str(fault).strip().splitlines()
        raise Unusable(f"not a readable score: {type(fault).__name__}{': ' + line[0][:200] if line else ''}") from fault
    if not parts:
        percussion = any(next(iter(p.iter_all(partitura.score.UnpitchedNote)), None) for p in score.parts)
        raise Unusable("the score holds no pitched note" + (" (percussion alone)" if percussion else ""))
    return parts


def _clock(parts: list[Any], grid: Grid, interpretation: Interpretation) -> Any:
    """A function from common quarter notes to seconds: (N,) -> (N,)."""
    import numpy as np
    from partitura.score import Tempo, TimeSignature

    lead = parts[0]
    seconds_per_q = {float(grid.common_q[0]): 60.0 / interpretation.beats_per_minute}
    if interpretation.tempo == "fixed":
        for sign in lead.iter_all(TimeSignature):
            beat_q = 4.0 / sign.beat_type * MUSICAL_BEATS.get(sign.beats, 1)
            start_q = float(grid.common(0, np.array([float(lead.quarter_map(sign.start.t))]))[0])
            seconds_per_q[start_q] = 60.0 / interpretation.beats_per_minute / beat_q
    else:
        for number, part in enumerate(parts):
            for mark in part.iter_all(Tempo):
                start_q = float(grid.common(number, np.array([float(part.quarter_map(mark.start.t))]))[0])
                if mark.microseconds_per_quarter > 0:
                    seconds_per_q[start_q] = mark.microseconds_per_quarter / 1e6
    starts_q = np.array(sorted(seconds_per_q))
    pace = np.array([seconds_per_q[start] for start in starts_q])
    starts_s = np.concatenate([[0.0], np.cumsum(np.diff(starts_q) * pace[:-1])])

    def to_seconds(times_q: np.ndarray) -> np.ndarray:
        segment = np.clip(np.searchsorted(starts_q, times_q, side="right") - 1, 0, None)
        seconds: np.ndarray = starts_s[segment] + (times_q - starts_q[segment]) * pace[segment]
        return seconds

    return to_seconds


def _velocities(part: Any, onsets_q: np.ndarray, interpretation: Interpretation) -> np.ndarray:
    """The velocity of each note: fixed, or the last written mark of its part."""
    import numpy as np
    from partitura.score import ConstantLoudnessDirection

    marks = {}
    if interpretation.dynamics == "score":
        for mark in part.iter_all(ConstantLoudnessDirection):
            velocity = VELOCITIES.get(str(mark.text or "").strip().lower())
            if velocity:
                marks[float(part.quarter_map(mark.start.t))] = velocity
    starts_q = np.array([-np.inf, *sorted(marks)])
    levels = np.array([interpretation.velocity, *(marks[start] for start in sorted(marks))])
    chosen: np.ndarray = levels[np.searchsorted(starts_q, onsets_q, side="right") - 1]
    return chosen


def _most_common(lengths: np.ndarray) -> float:
    """The length that most parts give a bar; between equals, the shorter."""
    counts = Counter(round(float(length), 4) for length in lengths)
    return min(counts, key=lambda length: (-counts[length], length))


def _listed(values: list[Any]) -> str:
    return " and ".join(map(str, values))
