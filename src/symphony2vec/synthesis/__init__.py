"""A score becomes MIDI, MIDI becomes a waveform: one synthesized orchestra, one soundfont, for all composers.

    notation     a file becomes parts: musicxml, kern; sounding decides which notes are played
    movements    where the movements of a score begin and end
    score        parts become notes in seconds
    instruments  which program plays a part
    orchestra    notes become MIDI and sound

A score tells who encoded it as well as who wrote it: metronome marks are an editor's, and many files have neither
tempo nor dynamics. So by default every notated beat lasts the same and every note has the same velocity; the score's
own marks are a choice.
"""

from symphony2vec.synthesis.instruments import STRINGS, program_of
from symphony2vec.synthesis.movements import Section, movements
from symphony2vec.synthesis.orchestra import (
    BUILT_IN_SOUNDFONT,
    CEILING,
    CHANNELS,
    NOTES_AT_ONCE,
    RELEASE_S,
    islands,
    layers,
    midi,
    render,
    soundfont,
    without_unisons,
)
from symphony2vec.synthesis.score import LONGEST_S, Grid, Interpretation, Note, notes

__all__ = [
    "BUILT_IN_SOUNDFONT",
    "CEILING",
    "CHANNELS",
    "LONGEST_S",
    "NOTES_AT_ONCE",
    "RELEASE_S",
    "STRINGS",
    "Grid",
    "Interpretation",
    "Note",
    "Section",
    "islands",
    "layers",
    "midi",
    "movements",
    "notes",
    "program_of",
    "render",
    "soundfont",
    "without_unisons",
]
