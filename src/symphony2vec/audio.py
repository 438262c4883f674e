"""Every movement becomes one mono FLAC of equal loudness: recordings are decoded, scores are played.

Reads   data/<corpus>/catalogue.csv and the files it names
Writes  out/audio/<movement>.flac    mono, PCM 16, at audio.sample_rate_hz
        out/audio/movements.csv      one row a FLAC: composer, work, movement, file, duration, loudness, gain, source
        out/audio/rejected.csv       what could not be used, with the reason
        out/audio/overview.png

Waveforms are (N,) float32 within [-1, 1]. Loudness is integrated loudness after ITU-R BS.1770 (LUFS). A FLAC's name
ends in a key made of its source's checksum, all settings and this code: one that is there already is not made again,
so the stage picks up where it stopped and, when a recording is added, makes that one alone.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec import parallel, synthesis
from symphony2vec.artifacts import Project, whole_file, write_table
from symphony2vec.corpus import catalogue
from symphony2vec.errors import Unusable, UserError
from symphony2vec.params import Params

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BLOCK_FRAMES = 1 << 18
SHORTEST_S = 0.4  # one block of BS.1770: below it loudness is not defined
SILENT = 1e-5  # -100 dBFS
COMPLETE = 0.99  # of the length in the header: some MP3 encoders round it
LONGEST_S = synthesis.LONGEST_S
LIBRARIES = ("librosa", "midirenderer", "partitura", "pretty_midi", "pyloudnorm", "soundfile", "soxr")
COLUMNS = (
    "composer work movement file duration_s kind licence origin loudness_lufs gain_db source_rate_hz source_channels"
).split()


@dataclass(frozen=True)
class Level:
    """Where a movement's level is brought to, and what counts as silence at its ends."""

    loudness_lufs: float
    peak_dbfs: float
    silence_db: float


@dataclass(frozen=True)
class Recipe:
    """All settings of the stage."""

    rate_hz: int
    level: Level
    interpretation: synthesis.Interpretation
    soundfont: Path

    @functools.cached_property
    def _versions(self) -> list[Any]:
        """The checksums of the code that makes the sound, and the versions of the libraries it uses."""
        modules = (sys.modules[__name__], synthesis)
        code = [catalogue.checksum(Path(str(module.__file__))) for module in modules]
        return [code, [importlib.metadata.version(name) for name in LIBRARIES]]

    @functools.cached_property
    def _played_with(self) -> list[Any]:
        return [asdict(self.interpretation), catalogue.checksum(self.soundfont)]

    def made_from(self, kind: str) -> list[Any]:
        """What, besides its source, decides the sound of a movement, as plain values."""
        return [self.rate_hz, asdict(self.level), self._versions, self._played_with if kind == "score" else None]


@dataclass(frozen=True)
class Job:
    """All that a worker needs to make one FLAC."""

    source: Path
    kind: str
    sha256: str
    target: Path
    recipe: Recipe


def run(project: Project, params: Params) -> None:
    """The stage `audio`."""
    folder = project.corpus(params.corpus.name)
    movements, faults = catalogue.read(folder)
    rejected = [{"path": f.path, "composer": "", "work": "", "movement": "", "reason": str(f)} for f in faults]
    out = project.out("audio")
    out.mkdir(parents=True, exist_ok=True)
    project.movements.unlink(missing_ok=True)
    recipe = _recipe(params)
    jobs, kept = [], []
    for movement in movements:
        try:
            jobs.append(_job(folder, movement, out, recipe))
            kept.append(movement)
        except Unusable as reason:
            rejected.append(_rejection(movement, reason))
    rows = []
    for index, result in parallel.spread(make, jobs, "audio", "movement", _warm_up):
        if isinstance(result, Unusable):
            rejected.append(_rejection(kept[index], result))
        else:
            rows.append(_row(kept[index], jobs[index], result))
    _finish(project, rows, rejected)


def make(job: Job) -> dict[str, Any]:
    """Make one FLAC and the record beside it, unless they are there; returns the record.

    Raises:
        Unusable: the file cannot be decoded or played; the message is the reason.
    """
    record = job.target.with_suffix(".json")
    if job.target.is_file() and record.is_file():
        known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return known
    if job.sha256 and catalogue.checksum(job.source) != job.sha256:
        raise Unusable("the file has changed since it was catalogued; run `symphony2vec corpus` again")
    recipe = job.recipe
    if job.kind == "recording":
        wave, found = decode(job.source, recipe.rate_hz)
    else:
        wave, found = play(job.source, recipe.rate_hz, recipe.interpretation, recipe.soundfont)
    wave, levels = level(wave, recipe.rate_hz, recipe.level)
    found |= levels | {"duration_s": round(len(wave) / recipe.rate_hz, 4)}
    _write_flac(job.target, wave, recipe.rate_hz)
    with whole_file(record) as partial:
        partial.write_text(json.dumps(found), encoding="utf-8")
    return found


def decode(path: Path, rate_hz: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Decode a recording to mono at `rate_hz`: the mean of its channels, resampled by soxr (HQ), block by block.

    Returns:
        The waveform (N,) float32, and what was found: source_rate_hz, source_channels.

    Raises:
        Unusable: the file is missing, unreadable, no audio, empty, cut off, holds NaN, or lasts longer than four hours.
    """
    import numpy as np
    import soundfile
    import soxr

    try:
        with path.open("rb") as opened, soundfile.SoundFile(opened) as file:
            _refuse_odd_lengths(file, path)
            resampler = soxr.ResampleStream(file.samplerate, rate_hz, 1, dtype="float32")
            blocks, read = [], 0
            for mono in _mono_blocks(file):
                read += len(mono)
                blocks.append(resampler.resample_chunk(mono))
            blocks.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            if read < COMPLETE * file.frames:
                raise Unusable(
                    f"cut off: {read / file.samplerate:.1f} of {file.frames / file.samplerate:.1f} s can be decoded"
                )
            found = {"source_rate_hz": file.samplerate, "source_channels": file.channels}
    except soundfile.LibsndfileError as fault:
        size = path.stat().st_size
        reason = f"not readable as audio: {fault.error_string.strip().rstrip('.')}" if size else "the file is empty"
        raise Unusable(reason) from None
    except OSError as fault:
        raise Unusable(f"cannot be opened: {fault.strerror or fault}") from None
    return np.concatenate(blocks), found


def play(
    path: Path, rate_hz: int, interpretation: synthesis.Interpretation, soundfont: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """Play a score to mono at `rate_hz`; as `decode`, for scores."""
    import soxr

    if not path.is_file():
        raise Unusable("cannot be opened: no such file")
    wave, rendered_hz = synthesis.render(synthesis.notes(path, interpretation), soundfont.read_bytes())
    mono = soxr.resample(wave.mean(axis=1), rendered_hz, rate_hz)
    return mono, {"source_rate_hz": rendered_hz, "source_channels": wave.shape[1]}


def level(wave: np.ndarray, rate_hz: int, to: Level) -> tuple[np.ndarray, dict[str, Any]]:
    """Cut silence at both ends and bring the wave to one loudness, its peak below a ceiling.

    Where the wanted gain would lift the peak above the ceiling, the gain is lowered: the wave is never clipped.

    Returns:
        The waveform (N',) float32, and loudness_lufs (before) and gain_db.

    Raises:
        Unusable: the wave is silent, holds NaN, or what is left is shorter than 0.4 s.
    """
    import numpy as np
    import pyloudnorm
    from librosa.effects import trim

    if not np.isfinite(wave).all():
        raise Unusable(f"{np.mean(~np.isfinite(wave)):.0%} of its samples are not numbers (NaN or infinite)")
    if np.abs(wave).max(initial=0.0) < SILENT:
        raise Unusable("silent" if len(wave) > 1 else f"holds {len(wave)} sample{'' if len(wave) == 1 else 's'}")
    wave, _ = trim(wave, top_db=to.silence_db)
    if len(wave) < SHORTEST_S * rate_hz:
        raise Unusable(f"too short: {len(wave) / rate_hz:.3f} s of sound, at least {SHORTEST_S} s are needed")
    loudness = float(pyloudnorm.Meter(rate_hz).integrated_loudness(wave.astype(np.float64)))
    if not np.isfinite(loudness):
        raise Unusable("silent: its loudness lies below -70 LUFS")
    peak_db = 20.0 * float(np.log10(np.abs(wave).max()))
    gain_db = min(to.loudness_lufs - loudness, to.peak_dbfs - peak_db)
    louder = (wave * np.float32(10.0 ** (gain_db / 20.0))).astype(np.float32)
    return louder, {"loudness_lufs": round(loudness, 2), "gain_db": round(gain_db, 2)}


def name_of(movement: catalogue.Movement, key: str) -> str:
    """A file name for a movement: what of its title is plain ASCII, at most 60 characters, then its key."""
    title = f"{movement.composer} {movement.work} {movement.movement}"
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:60].strip("-")
    return f"{slug}-{key}" if slug else key


def _warm_up() -> None:
    import numpy as np
    from librosa.effects import trim

    trim(np.ones(4096, np.float32))


def _recipe(params: Params) -> Recipe:
    own = params.audio
    played = synthesis.Interpretation(own.orchestration, own.dynamics, own.velocity, own.tempo, own.beats_per_minute)
    level_to = Level(own.loudness_lufs, own.peak_dbfs, own.silence_db)
    return Recipe(own.sample_rate_hz, level_to, played, synthesis.soundfont(own.soundfont))


def _job(folder: Path, movement: catalogue.Movement, out: Path, recipe: Recipe) -> Job:
    source = catalogue.source(folder, movement)
    sha256 = movement.sha256.lower()
    try:
        content = sha256 or catalogue.checksum(source)
    except OSError as fault:
        raise Unusable(f"cannot be opened: {fault.strerror or fault}") from None
    title = [movement.composer, movement.work, movement.movement]
    made_from = json.dumps([content, title, recipe.made_from(movement.kind)], sort_keys=True)
    key = hashlib.sha256(made_from.encode()).hexdigest()[:16]
    return Job(source, movement.kind, sha256, out / f"{name_of(movement, key)}.flac", recipe)


def _refuse_odd_lengths(file: Any, path: Path) -> None:
    if file.frames == 0:
        raise Unusable("holds no samples: it is empty, or cut off near its start")
    if file.frames / file.samplerate > LONGEST_S:
        raise Unusable(f"lasts {file.frames / file.samplerate / 3600:.1f} hours; the limit is 4: cut it into movements")
    promised = re.search(r"^data\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if promised and int(promised[1]) < 0xFFFFFFF0 and int(promised[1]) > int(promised[2]):
        share = int(promised[2]) / int(promised[1])
        raise Unusable(f"cut off: {share:.0%} of the sound that its header promises is there")


def _mono_blocks(file: Any) -> Iterator[np.ndarray]:
    import numpy as np

    while True:
        block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        if not len(block):
            return
        mono = block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise Unusable("some of its samples are not numbers (NaN or infinite)")
        yield mono


def _write_flac(target: Path, wave: np.ndarray, rate_hz: int) -> None:
    import soundfile

    with whole_file(target) as partial:
        soundfile.write(partial, wave, rate_hz, format="FLAC", subtype="PCM_16")


def _row(movement: catalogue.Movement, job: Job, found: dict[str, Any]) -> dict[str, Any]:
    known = {**asdict(movement), "file": job.target.name, **found}
    return {column: known[column] for column in COLUMNS}


def _rejection(movement: catalogue.Movement, reason: Unusable) -> dict[str, str]:
    titled = {name: getattr(movement, name) for name in ("path", "composer", "work", "movement")}
    return titled | {"reason": " ".join(str(reason).split())}


def _finish(project: Project, rows: list[dict[str, Any]], rejected: list[dict[str, str]]) -> None:
    """Write the tables and the picture, remove FLACs that no row names, and say what was set aside."""
    import pandas as pd

    from symphony2vec import figures

    out = project.out("audio")
    write_table(
        out / "rejected.csv",
        pd.DataFrame(rejected, columns=["path", "composer", "work", "movement", "reason"]).sort_values(
            ["path", "reason"]
        ),
    )
    if rejected:
        print(f"audio: {len(rejected)} set aside (see {out / 'rejected.csv'}); the first: {rejected[0]['reason']}")
    if not rows:
        raise UserError(f"no movement of the catalogue can be used; the reasons are in {out / 'rejected.csv'}")
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values(["composer", "work", "movement", "file"])
    _remove_stale(out, table)
    figures.save(out / "overview.png", figures.audio_overview(table))
    write_table(project.movements, table)


def _remove_stale(out: Path, table: pd.DataFrame) -> None:
    keep = {Path(name).stem for name in table["file"]}
    for path in out.iterdir():
        if path.suffix in (".flac", ".json", ".partial") and path.stem not in keep:
            path.unlink()
