"""Render notes with FluidSynth, an optional program with more voices, which also reads compressed soundfonts (.sf3).

Install it with `apt install fluidsynth` or `brew install fluid-synth`; `audio.renderer` of params.yaml selects it.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from symphony2vec.errors import Unusable, UserError
from symphony2vec.synthesis.orchestra import RELEASE_S, RENDERER_RATE_HZ, encode_midi
from symphony2vec.synthesis.score import Note

PROGRAM = "fluidsynth"
VOICES = 4096
# No effects of its own, notes at the sample where they belong, and no other instrument for a missing one.
SETTINGS = {
    "synth.reverb.active": "0",
    "synth.chorus.active": "0",
    "synth.polyphony": str(VOICES),
    "synth.sample-rate": str(RENDERER_RATE_HZ),
    "synth.dynamic-sample-loading": "1",  # only the samples of the notes: an .sf3 is decoded in a third of the time
    "player.timing-source": "sample",
    "audio.file.format": "float",
    "audio.file.type": "wav",
}
TIMEOUT_S = 3600.0


def render(notes: list[Note], soundfont: Path) -> tuple[np.ndarray, int]:
    """Return the waveform (N, 2) float32 of the notes, and its sample rate in Hz.

    Args:
        notes: at least one note.
        soundfont: an .sf2 or .sf3 file.

    Raises:
        UserError: FluidSynth is not installed.
        Unusable: FluidSynth fails.
    """
    end_s = max(note.end_s for note in notes) + 3.0 * RELEASE_S
    with tempfile.TemporaryDirectory(prefix="symphony2vec-") as folder:
        midi, wav = Path(folder) / "notes.mid", Path(folder) / "notes.wav"
        midi.write_bytes(encode_midi(notes, end_s=end_s))
        options = [part for name, value in SETTINGS.items() for part in ("-o", f"{name}={value}")]
        command = [find_program(), "-n", "-i", "-q", *options, "-F", str(wav), str(soundfont), str(midi)]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise Unusable(f"FluidSynth does not end within {TIMEOUT_S / 60:.0f} minutes") from None
        errors = [line for line in result.stderr.splitlines() if "error" in line.lower()]
        if result.returncode or errors or not wav.is_file():
            reason = errors[0].rpartition("error:")[2].strip() if errors else f"it ended with {result.returncode}"
            raise Unusable(f"FluidSynth cannot play it: {reason[:200]}")
        wave, rate_hz = soundfile.read(wav, dtype="float32", always_2d=True)
    samples = int(end_s * rate_hz)
    return np.pad(wave[:samples], ((0, max(0, samples - len(wave))), (0, 0))), int(rate_hz)


def find_program() -> str:
    """Return the path of FluidSynth.

    Raises:
        UserError: it is not installed.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise UserError(
            "audio.renderer is fluidsynth, which is not installed: `apt install fluidsynth`, or set it to built-in"
        )
    return program


@functools.cache
def version() -> str:
    """Return the version that FluidSynth prints: another one may sound another way."""
    result = subprocess.run([find_program(), "--version"], capture_output=True, text=True, check=False)
    return result.stdout.partition("\n")[0]
