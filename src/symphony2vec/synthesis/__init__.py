"""From score to waveform: one synthesized orchestra for all composers, with one soundfont or several.

    notation     score files -> parts (by `musicxml` and `kern`; `sounding` decides which notes are played)
    movements    where the movements of a score begin and end
    score        parts -> notes in seconds
    instruments  the General MIDI program of a part
    orchestra    notes -> MIDI -> waveform
    fluidsynth   the same by FluidSynth, where it is installed
    performance  several performances of a score, with different soundfonts, tempi and rooms

Metronome marks are often an editor's, and many files have neither tempo nor dynamics: both can reveal who encoded a
score rather than who composed it. By default every notated beat therefore lasts equally long and every note has the
same velocity; the marks of the score are an option.
"""

from symphony2vec.synthesis import fluidsynth
from symphony2vec.synthesis.instruments import STRINGS, select_program
from symphony2vec.synthesis.movements import Section, find_movements
from symphony2vec.synthesis.orchestra import (
    BUILT_IN_SOUNDFONT,
    CHANNELS,
    CLIPPING_LEVEL,
    MAX_POLYPHONY,
    RELEASE_S,
    encode_midi,
    find_soundfont,
    merge_unisons,
    render,
    split_at_pauses,
    split_into_layers,
)
from symphony2vec.synthesis.performance import BUILT_IN, Performance, Room, perform, plan, reverberate
from symphony2vec.synthesis.score import MAX_DURATION_S, BarGrid, Interpretation, Note, read_notes

__all__ = [
    "BUILT_IN",
    "BUILT_IN_SOUNDFONT",
    "CHANNELS",
    "CLIPPING_LEVEL",
    "MAX_DURATION_S",
    "MAX_POLYPHONY",
    "RELEASE_S",
    "STRINGS",
    "BarGrid",
    "Interpretation",
    "Note",
    "Performance",
    "Room",
    "Section",
    "encode_midi",
    "find_movements",
    "find_soundfont",
    "fluidsynth",
    "merge_unisons",
    "perform",
    "plan",
    "read_notes",
    "render",
    "reverberate",
    "select_program",
    "split_at_pauses",
    "split_into_layers",
]
