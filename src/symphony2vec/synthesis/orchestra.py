"""Render notes: to MIDI, and from MIDI to a waveform with one soundfont."""

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
CHANNELS = 15  # of MIDI's sixteen; the tenth is percussion
CHANNEL_VOLUMES = (100, 60, 36, 22)  # of 127; the first one that does not clip is used
CLIPPING_LEVEL = 1.0 - 2.0**-14  # the renderer writes 16 bits and clips above
MAX_POLYPHONY = 12  # the renderer has 64 voices and drops further notes; a note of the built-in strings takes five
RENDERER_RATE_HZ = 48000  # fixed by the renderer
BLOCK_SAMPLES = 64  # notes start at multiples of it in the renderer; so must a run, to keep its notes in time
MIN_PAUSE_S = 3.0  # rendering a shorter pause is cheaper than starting a new run
RELEASE_S = 0.5  # decay of a note after its end; the rest, 25 dB below the note, is dropped


def find_soundfont(name: str, compressed: bool = False) -> Path:
    """Return the file of a soundfont: the built-in one by its name, any other by its path.

    Args:
        name: its name or path.
        compressed: whether the renderer reads compressed ones (.sf3).

    Raises:
        UserError: there is no such file, or it is not a soundfont that the renderer reads.

    Examples:
        >>> find_soundfont("TimGM6mb").name
        'TimGM6mb.sf2'
    """
    if name == BUILT_IN_SOUNDFONT:
        spec = importlib.util.find_spec("pretty_midi")
        if spec is None or not spec.submodule_search_locations:
            raise UserError("the soundfont TimGM6mb comes with the package pretty_midi, which is not installed")
        path = Path(spec.submodule_search_locations[0]) / "TimGM6mb.sf2"
    else:
        path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"audio.soundfonts: no file {path}; name an .sf2 file, or {BUILT_IN_SOUNDFONT}")
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"sfbk":
        raise UserError(f"audio.soundfonts: {path} is not an SF2 soundfont")
    if path.suffix.lower() == ".sf3" and not compressed:
        raise UserError(f"audio.soundfonts: {path} is compressed; only audio.renderer: fluidsynth reads .sf3")
    return path


def encode_midi(notes: list[Note], volume: int = CHANNEL_VOLUMES[0], end_s: float = 0.0) -> bytes:
    """Return a MIDI file of the notes, with one channel per program.

    A channel plays each pitch only once at a time: see `merge_unisons`. Of more than 15 programs the rarest are played
    by strings.

    Args:
        notes: the notes.
        volume: of all channels, 1 to 127.
        end_s: the file lasts at least this long.
    """
    programs = {program for program, _ in Counter(note.program for note in notes).most_common(CHANNELS)}
    by_program: dict[int, list[Note]] = defaultdict(list)
    for note in notes:
        by_program[note.program if note.program in programs else STRINGS].append(note)
    midi = pretty_midi.PrettyMIDI(resolution=RENDERER_RATE_HZ // 2)  # at 120 beats per minute: one tick per sample
    for program in sorted(by_program):
        instrument = pretty_midi.Instrument(program)
        instrument.control_changes += [pretty_midi.ControlChange(7, volume, time_s) for time_s in (0.0, end_s)]
        instrument.notes = [
            pretty_midi.Note(note.velocity, note.pitch, note.onset_s, note.end_s)
            for note in merge_unisons(by_program[program])
        ]
        midi.instruments.append(instrument)
    file = io.BytesIO()
    midi.write(file)
    return file.getvalue()


def merge_unisons(notes: list[Note]) -> list[Note]:
    """Return the notes without overlaps of the same pitch: a later onset ends the earlier note.

    The new note lasts to the end of the longer one. Notes with the same onset become one, with the higher velocity.

    Examples:
        >>> notes = [Note(0.0, 3.0, 60, 80, 48), Note(1.0, 2.0, 60, 80, 48)]
        >>> [(note.onset_s, note.end_s) for note in merge_unisons(notes)]
        [(0.0, 1.0), (1.0, 3.0)]
    """
    by_pitch: dict[int, list[Note]] = defaultdict(list)
    for note in sorted(notes, key=lambda n: (n.pitch, n.onset_s, n.end_s)):
        column = by_pitch[note.pitch]
        previous = column[-1] if column else None
        if previous is None or note.onset_s >= previous.end_s:
            column.append(note)
            continue
        end_s, velocity = max(previous.end_s, note.end_s), max(previous.velocity, note.velocity)
        if note.onset_s == previous.onset_s:
            column[-1] = Note(note.onset_s, end_s, note.pitch, velocity, note.program)
        else:
            column[-1] = Note(previous.onset_s, note.onset_s, previous.pitch, previous.velocity, previous.program)
            column.append(Note(note.onset_s, end_s, note.pitch, note.velocity, note.program))
    return sorted((note for column in by_pitch.values() for note in column), key=lambda n: (n.onset_s, n.pitch))


def split_into_layers(notes: list[Note]) -> list[list[Note]]:
    """Split the notes into as few layers as possible, each with at most `MAX_POLYPHONY` notes sounding or decaying."""
    layers: list[list[Note]] = []
    active_ends_s: list[list[float]] = []  # heap per layer: when its active notes have decayed
    for note in sorted(notes, key=lambda n: (n.onset_s, n.program, n.pitch)):
        for ends_s in active_ends_s:
            while ends_s and ends_s[0] <= note.onset_s:
                heapq.heappop(ends_s)
        index = next((i for i, ends_s in enumerate(active_ends_s) if len(ends_s) < MAX_POLYPHONY), len(layers))
        if index == len(layers):
            layers.append([])
            active_ends_s.append([])
        layers[index].append(note)
        heapq.heappush(active_ends_s[index], note.end_s + RELEASE_S)
    return layers


def split_at_pauses(layer: list[Note]) -> list[list[Note]]:
    """Split the notes of a layer at pauses of at least `MIN_PAUSE_S`, which need not be rendered."""
    runs: list[list[Note]] = []
    last_end_s = -MIN_PAUSE_S
    for note in sorted(layer, key=lambda n: (n.onset_s, n.program, n.pitch)):
        if note.onset_s - last_end_s >= MIN_PAUSE_S:
            runs.append([])
        runs[-1].append(note)
        last_end_s = max(last_end_s, note.end_s)
    return runs


def render(notes: list[Note], soundfont_bytes: bytes) -> tuple[np.ndarray, int]:
    """Render notes in layers of limited polyphony at the highest volume at which no layer clips, and mix the layers.

    Args:
        notes: at least one note.
        soundfont_bytes: content of an SF2 file.

    Returns:
        The waveform (N, 2) float32, which may exceed [-1, 1] where layers add up, and its sample rate in Hz.

    Raises:
        Unusable: a layer would clip even at the lowest volume.

    Examples:
        >>> wave, rate_hz = render([Note(0.0, 0.5, 60, 80, 48)], find_soundfont("TimGM6mb").read_bytes())
        >>> wave.shape, rate_hz
        ((96000, 2), 48000)
    """
    merged = []
    for program in dict.fromkeys(note.program for note in notes):
        merged += merge_unisons([note for note in notes if note.program == program])
    runs = [run for layer in split_into_layers(merged) for run in split_at_pauses(layer)]
    end_s = max(note.end_s for note in notes) + 3.0 * RELEASE_S
    for volume in CHANNEL_VOLUMES:
        mix = np.zeros((int(end_s * RENDERER_RATE_HZ), 2), np.float32)
        for run in runs:
            first = int(run[0].onset_s * RENDERER_RATE_HZ) // BLOCK_SAMPLES * BLOCK_SAMPLES
            wave = _render_run(run, volume, first / RENDERER_RATE_HZ, soundfont_bytes)
            if float(np.abs(wave).max(initial=0.0)) >= CLIPPING_LEVEL:
                break
            mix[first : first + len(wave)] += wave[: len(mix) - first]
        else:
            return mix, RENDERER_RATE_HZ
    raise Unusable("the orchestra is too loud for the renderer: its wave would be clipped")


def _render_run(run: list[Note], volume: int, start_s: float, soundfont_bytes: bytes) -> np.ndarray:
    """Render notes from `start_s` until the last one has decayed: (N, 2)."""
    notes = [Note(n.onset_s - start_s, n.end_s - start_s, n.pitch, n.velocity, n.program) for n in run]
    midi = encode_midi(notes, volume, max(note.end_s for note in notes) + 2.0 * RELEASE_S)
    wav_bytes = midirenderer.render_wave_from(soundfont_bytes, midi)
    wave, rate_hz = soundfile.read(io.BytesIO(wav_bytes), dtype="float32", always_2d=True)
    assert rate_hz == RENDERER_RATE_HZ
    return wave  # type: ignore[no-any-return]
