"""Notes become MIDI, and MIDI a waveform, with one soundfont."""

from __future__ import annotations

import heapq
import importlib.util
import io
from collections import Counter, defaultdict
from pathlib import Path

import midirenderer
import numpy as np
import pretty_midi
import soundfile

from symphony2vec.errors import Unusable, UserError
from symphony2vec.synthesis.instruments import STRINGS
from symphony2vec.synthesis.score import Note

BUILT_IN_SOUNDFONT = "TimGM6mb"
CHANNELS = 15  # of MIDI's sixteen, the tenth is percussion
CHANNEL_VOLUMES = (100, 60, 36, 22)  # of 127; the first at which the orchestra stays below the renderer's ceiling
CEILING = 1.0 - 2.0**-14  # the renderer writes 16 bits and cuts what lies above
NOTES_AT_ONCE = 12  # the renderer has 64 voices and drops notes beyond; one of the built-in strings takes five
RENDERED_HZ = 48000  # what the renderer always gives
BLOCK_SAMPLES = 64  # the renderer starts notes at multiples of it: so must a run, for its notes to keep their places
PAUSE_S = 3.0  # a shorter pause is cheaper to render than to start anew after
RELEASE_S = 0.5  # how long a note is heard after its end: what is dropped of it later lies 25 dB below the rest


def soundfont(name: str) -> Path:
    """The file of a soundfont: the built-in one by its name, any other by its path."""
    if name == BUILT_IN_SOUNDFONT:
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


def midi(played: list[Note], volume: int = CHANNEL_VOLUMES[0], end_s: float = 0.0) -> bytes:
    """A MIDI file of the notes, one channel a program, all at one channel volume (1 to 127); it lasts to `end_s`.

    On one channel a key sounds once at a time: where two parts hold the same pitch, the later onset strikes it again
    and the later end releases it.
    """

    programs = Counter(note.program for note in played)
    heard = {program for program, _ in programs.most_common(CHANNELS)}
    by_program: dict[int, list[Note]] = defaultdict(list)
    for note in played:
        by_program[note.program if note.program in heard else STRINGS].append(note)
    file = pretty_midi.PrettyMIDI(resolution=RENDERED_HZ // 2)  # at 120 beats a minute: one tick a sample
    for program in sorted(by_program):
        instrument = pretty_midi.Instrument(program)
        instrument.control_changes += [pretty_midi.ControlChange(7, volume, at_s) for at_s in (0.0, end_s)]
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


def layers(played: list[Note]) -> list[list[Note]]:
    """The notes in as few groups as give none more than `NOTES_AT_ONCE` that sound or die away at the same time."""
    groups: list[list[Note]] = []
    ends_s: list[list[float]] = []  # of the notes at work in each group, the earliest first
    for note in sorted(played, key=lambda n: (n.onset_s, n.program, n.pitch)):
        for at_work in ends_s:
            while at_work and at_work[0] <= note.onset_s:
                heapq.heappop(at_work)
        place = next((i for i, at_work in enumerate(ends_s) if len(at_work) < NOTES_AT_ONCE), len(groups))
        if place == len(groups):
            groups.append([])
            ends_s.append([])
        groups[place].append(note)
        heapq.heappush(ends_s[place], note.end_s + RELEASE_S)
    return groups


def islands(layer: list[Note]) -> list[list[Note]]:
    """The notes of one layer in runs, a pause of `PAUSE_S` or longer between them: pauses need not be rendered."""
    runs: list[list[Note]] = []
    heard_until_s = -PAUSE_S
    for note in sorted(layer, key=lambda n: (n.onset_s, n.program, n.pitch)):
        if note.onset_s - heard_until_s >= PAUSE_S:
            runs.append([])
        runs[-1].append(note)
        heard_until_s = max(heard_until_s, note.end_s)
    return runs


def render(played: list[Note], soundfont_bytes: bytes) -> tuple[np.ndarray, int]:
    """Play notes in layers that the renderer has voices for, as loud as it can without clipping one, and add them up.

    Returns:
        The waveform, (N, 2) float32, beyond [-1, 1] where layers add up so, and its sample rate in Hz.

    Raises:
        Unusable: a layer would be clipped even at the lowest volume.
    """

    each = [note for program in {n.program: 0 for n in played} for note in _of(program, played)]
    runs = [run for layer in layers(each) for run in islands(layer)]
    end_s = max(note.end_s for note in played) + 3.0 * RELEASE_S
    for volume in CHANNEL_VOLUMES:
        total = np.zeros((int(end_s * RENDERED_HZ), 2), np.float32)
        for run in runs:
            first = int(run[0].onset_s * RENDERED_HZ) // BLOCK_SAMPLES * BLOCK_SAMPLES
            wave = _rendered(run, volume, first / RENDERED_HZ, soundfont_bytes)
            if float(np.abs(wave).max(initial=0.0)) >= CEILING:
                break
            total[first : first + len(wave)] += wave[: len(total) - first]
        else:
            return total, RENDERED_HZ
    raise Unusable("the orchestra is too loud for the renderer: its wave would be clipped")


def _rendered(run: list[Note], volume: int, start_s: float, soundfont_bytes: bytes) -> np.ndarray:
    """The sound (N, 2) of one run of notes from `start_s` until the last of them has died away."""

    moved = [Note(n.onset_s - start_s, n.end_s - start_s, n.pitch, n.velocity, n.program) for n in run]
    file = midi(moved, volume, max(note.end_s for note in moved) + 2.0 * RELEASE_S)
    rendered = midirenderer.render_wave_from(soundfont_bytes, file)
    wave, rate_hz = soundfile.read(io.BytesIO(rendered), dtype="float32", always_2d=True)
    assert rate_hz == RENDERED_HZ
    return wave  # type: ignore[no-any-return]


def _of(program: int, played: list[Note]) -> list[Note]:
    return without_unisons([note for note in played if note.program == program])
