"""How a score is performed: soundfont, tempo and room. Several performances of a movement differ in all three.

The tempo is drawn for each movement and performance, the room for each work and performance. Both follow from a seed
and the titles, so a movement keeps its performances when others are added to the corpus.

N samples, C channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import signal

from symphony2vec.synthesis import fluidsynth
from symphony2vec.synthesis.orchestra import render
from symphony2vec.synthesis.score import Interpretation, Note

BUILT_IN = "built-in"  # midirenderer
SHORTEST_DECAY_S = 0.2
REVERBERATION_DB = (-15.0, -6.0)  # energy of the reverberation relative to that of the direct sound, at its extremes
CUTOFF_HZ = 4000.0  # the reverberation of a hall is darker than the direct sound
DECAY = float(np.log(1000.0))  # the amplitude falls by 60 dB in the decay time


@dataclass(frozen=True)
class Room:
    """Reverberation: decay time by 60 dB in seconds (0: none), energy relative to the direct sound, and its seed."""

    decay_s: float = 0.0
    level_db: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Performance:
    """One performance of a movement.

    Attributes:
        name: of the soundfont, such as "TimGM6mb".
        soundfont: its file.
        interpretation: how the score is read, with the tempo of this performance.
        room: its reverberation.
        renderer: "built-in" or "fluidsynth".
    """

    name: str
    soundfont: Path
    interpretation: Interpretation
    room: Room = Room()
    renderer: str = BUILT_IN


def plan(
    soundfonts: Sequence[Path],
    interpretation: Interpretation,
    tempo_spread: float,
    reverberation_s: float,
    seed: int,
    work: str,
    movement: str,
    renderer: str = BUILT_IN,
) -> list[Performance]:
    """Return the performances of a movement, one for each soundfont.

    Args:
        soundfonts: files with different names.
        interpretation: how the score is read.
        tempo_spread: the tempo is multiplied or divided by at most 1 plus this; 0 leaves it as it is.
        reverberation_s: longest decay time; 0 adds no reverberation.
        seed: of all draws.
        work: composer and title of the work.
        movement: title of the movement.
        renderer: of all performances, "built-in" or "fluidsynth".

    Examples:
        >>> paths = [Path("A.sf2"), Path("B.sf2")]
        >>> first, second = plan(paths, Interpretation(), 0.2, 2.0, 0, "Haydn / op. 76 no. 1", "I")
        >>> first.name, second.name, first.interpretation.tempo_scale == second.interpretation.tempo_scale
        ('A', 'B', False)
        >>> (plain, _) = plan(paths, Interpretation(), 0.0, 0.0, 0, "Haydn / op. 76 no. 1", "I")
        >>> plain.interpretation == Interpretation(), plain.room
        (True, Room(decay_s=0.0, level_db=0.0, seed=0))
    """
    performances = []
    for path in soundfonts:
        tempo, room = Interpretation.tempo_scale, Room()
        if tempo_spread:
            limit = np.log1p(tempo_spread)
            tempo = round(float(np.exp(_rng(seed, path.stem, work, movement).uniform(-limit, limit))), 4)
        if reverberation_s:
            rng = _rng(seed, path.stem, work)
            decay_s = rng.uniform(min(SHORTEST_DECAY_S, reverberation_s), reverberation_s)
            level_db = rng.uniform(*REVERBERATION_DB)
            room = Room(round(float(decay_s), 3), round(float(level_db), 2), int(rng.integers(2**31)))
        played = replace(interpretation, tempo_scale=tempo)
        performances.append(Performance(path.stem, path, played, room, renderer))
    return performances


def perform(notes: list[Note], performance: Performance) -> tuple[np.ndarray, int]:
    """Return the waveform (N, C) float32 of notes, which are in the tempo of the performance, and its rate in Hz.

    Raises:
        UserError: the renderer is not installed.
        Unusable: it cannot play the notes.
    """
    if performance.renderer == BUILT_IN:
        wave, rate_hz = render(notes, performance.soundfont.read_bytes())
    else:
        wave, rate_hz = fluidsynth.render(notes, performance.soundfont)
    return (reverberate(wave, rate_hz, performance.room) if performance.room.decay_s else wave), rate_hz


def reverberate(wave: np.ndarray, rate_hz: int, room: Room) -> np.ndarray:
    """Return the waveform (N + decay time, C) float32 with reverberation: decaying noise, another one in each channel.

    Args:
        wave: (N, C).
        rate_hz: sample rate.
        room: with a decay time above 0.

    Examples:
        >>> click = np.zeros((100, 1), np.float32)
        >>> click[0] = 1.0
        >>> wet = reverberate(click, 1000, Room(0.5, -10.0))
        >>> wet.shape, round(10.0 * float(np.log10((wet[1:] ** 2).sum())), 1)
        ((600, 1), -10.0)
    """
    samples = round(room.decay_s * rate_hz)
    times_s = np.arange(samples) / rate_hz
    noise = np.random.default_rng(room.seed).standard_normal((samples, wave.shape[1]))
    if rate_hz / 2.0 > CUTOFF_HZ:
        noise = signal.lfilter(*signal.butter(1, CUTOFF_HZ, fs=rate_hz), noise, axis=0)
    response = noise * np.exp(-DECAY / room.decay_s * times_s)[:, None]
    response[0] = 0.0  # the direct sound alone
    response *= 10.0 ** (room.level_db / 20.0) / np.sqrt((response**2).sum(axis=0))
    wet = signal.oaconvolve(wave, response.astype(np.float32), axes=0)  # half the time of double precision
    wet[: len(wave)] += wave
    mixed: np.ndarray = np.pad(wet, ((0, len(wave) + samples - len(wet)), (0, 0))).astype(np.float32)
    return mixed


def _rng(seed: int, *titles: str) -> np.random.Generator:
    digest = hashlib.sha256("\0".join(titles).encode()).hexdigest()
    return np.random.default_rng([seed, int(digest[:12], 16)])
