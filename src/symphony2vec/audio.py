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
LOUDEST = 1e6  # +120 dBFS: samples of 16 or 24 bits written as floating point without their scale lie below it
HOP_SAMPLES = 512
METERED_S = 600  # loudness is metered in pieces, which bounds the memory that an hour of sound needs
OGG_PAGE_BYTES = 65307  # the longest that Ogg allows
COMPLETE = 0.99  # of the length in the header: some MP3 encoders round it
LONGEST_S = synthesis.LONGEST_S
LIBRARIES = ("midirenderer", "partitura", "pretty_midi", "pyloudnorm", "soundfile", "soxr")
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
        sources = [Path(__file__), *sorted(Path(synthesis.__file__).parent.glob("*.py"))]
        code = [catalogue.checksum(source) for source in sources]
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


def run(project: Project, params: Params, backend: str | None = None) -> None:
    """The stage `audio`; `backend` as in `parallel.spread`."""
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
    for index, result in parallel.spread(make, jobs, "audio", "movement", backend=backend):
        if isinstance(result, Unusable):
            rejected.append(_rejection(kept[index], result))
        elif not jobs[index].target.is_file():
            raise UserError(f"{jobs[index].target}: a worker made it elsewhere; every worker must see this very folder")
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
    if job.sha256 and _checksum(job.source) != job.sha256:
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
        _refuse_cut_ogg(path)
        with path.open("rb") as opened, soundfile.SoundFile(opened.fileno(), closefd=False) as file:
            _refuse_odd_lengths(file)
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
        reason = fault.error_string.strip().rstrip(".").removeprefix("Error : ")
        raise Unusable(f"not readable as audio, or damaged: {reason}") from None
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

    if not np.isfinite(wave).all():
        raise Unusable(f"{np.mean(~np.isfinite(wave)):.0%} of its samples are not numbers (NaN or infinite)")
    peak = max(float(wave.max(initial=0.0)), -float(wave.min(initial=0.0)))
    if peak > LOUDEST:
        raise Unusable(f"its samples reach {peak:.1e} times full scale")
    if peak < SILENT:
        raise Unusable("silent" if len(wave) > 1 else f"holds {len(wave)} sample{'' if len(wave) == 1 else 's'}")
    wave = trimmed(wave, to.silence_db)
    if len(wave) < SHORTEST_S * rate_hz:
        raise Unusable(f"too short: {len(wave) / rate_hz:.3f} s of sound, at least {SHORTEST_S} s are needed")
    loudness = loudness_lufs(wave, rate_hz)
    if not np.isfinite(loudness):
        raise Unusable("silent: its loudness lies below -70 LUFS")
    gain_db = min(to.loudness_lufs - loudness, to.peak_dbfs - 20.0 * float(np.log10(peak)))
    louder = (wave * np.float32(10.0 ** (gain_db / 20.0))).astype(np.float32, copy=False)
    return louder, {"loudness_lufs": round(loudness, 2), "gain_db": round(gain_db, 2)}


def trimmed(wave: np.ndarray, silence_db: float) -> np.ndarray:
    """The wave (N,) without what lies `silence_db` below its loudest frame, at both ends; frames as in librosa."""
    import numpy as np

    full = len(wave) // HOP_SAMPLES
    hops, rest = wave[: full * HOP_SAMPLES].reshape(full, HOP_SAMPLES), wave[full * HOP_SAMPLES :]
    energy = np.append(np.einsum("ij,ij->i", hops, hops, dtype=np.float64), np.square(rest, dtype=np.float64).sum())
    frames = np.convolve(energy, np.ones(4))[1 : full + 2]  # of four hops, centred on their third
    loud = np.flatnonzero(frames > frames.max() * 10.0 ** (-silence_db / 10.0))
    return wave[loud[0] * HOP_SAMPLES : (loud[-1] + 1) * HOP_SAMPLES]


def loudness_lufs(wave: np.ndarray, rate_hz: int) -> float:
    """Integrated loudness after ITU-R BS.1770 of a wave (N,) of 0.4 s or more; -inf where all lies below -70 LUFS."""
    import numpy as np
    import pyloudnorm

    meter = pyloudnorm.Meter(rate_hz)
    blocks: list[float] = []
    for start in range(0, len(wave), METERED_S * rate_hz):
        # Blocks of 0.4 s begin every 0.1 s: the last that begins in this piece ends 0.3 s after it.
        piece = wave[start : start + METERED_S * rate_hz + int(0.3 * rate_hz)]
        if len(piece) >= SHORTEST_S * rate_hz:
            meter.integrated_loudness(piece.astype(np.float64))
            blocks += meter.blockwise_loudness
    return _gated(np.array(blocks))


def name_of(movement: catalogue.Movement, key: str) -> str:
    """A file name for a movement: what of its title is plain ASCII, at most 60 characters, then its key."""
    title = f"{movement.composer} {movement.work} {movement.movement}"
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:60].strip("-")
    return f"{slug}-{key}" if slug else key


def _recipe(params: Params) -> Recipe:
    own = params.audio
    played = synthesis.Interpretation(own.orchestration, own.dynamics, own.velocity, own.tempo, own.beats_per_minute)
    level_to = Level(own.loudness_lufs, own.peak_dbfs, own.silence_db)
    return Recipe(own.sample_rate_hz, level_to, played, synthesis.soundfont(own.soundfont))


def _job(folder: Path, movement: catalogue.Movement, out: Path, recipe: Recipe) -> Job:
    source = catalogue.source(folder, movement)
    sha256 = movement.sha256.lower()
    content = sha256 or _checksum(source)
    title = [movement.composer, movement.work, movement.movement]
    made_from = json.dumps([content, title, recipe.made_from(movement.kind)], sort_keys=True)
    key = hashlib.sha256(made_from.encode()).hexdigest()[:16]
    return Job(source, movement.kind, sha256, out / f"{name_of(movement, key)}.flac", recipe)


def _checksum(source: Path) -> str:
    try:
        if source.exists() and not source.is_file() and not source.is_dir():
            raise Unusable("cannot be opened: no ordinary file")  # reading a pipe would never end
        return catalogue.checksum(source)
    except OSError as fault:
        raise Unusable(f"cannot be opened: {fault.strerror or fault}") from None


def _gated(blocks_lufs: np.ndarray) -> float:
    """Equations 5 to 7 of BS.1770-4: the mean power of the blocks above -70 LUFS and their own mean less 10 dB."""
    import numpy as np

    power = 10.0 ** (blocks_lufs[blocks_lufs >= -70.0] / 10.0)
    power = power[power > 0.1 * power.mean()] if len(power) else power
    return 10.0 * float(np.log10(power.mean())) if len(power) else float("-inf")


def _refuse_cut_ogg(path: Path) -> None:
    """An Ogg file that was cut off decodes without a fault; the mark on its last page alone shows it to be whole."""
    with path.open("rb") as file:
        if file.read(4) == b"":
            raise Unusable("the file is empty")
        file.seek(0)
        if file.read(4) != b"OggS":
            return
        file.seek(max(0, path.stat().st_size - 2 * OGG_PAGE_BYTES))
        end = file.read()
    page = end[end.rfind(b"OggS") :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if len(lengths) == 0 or len(page) < 27 + len(lengths) + sum(lengths) or not page[5] & 4:
        raise Unusable("cut off: the last page of its Ogg stream is missing")


def _refuse_odd_lengths(file: Any) -> None:
    if file.frames == 0:
        raise Unusable("holds no samples: it is empty, or cut off near its start")
    if file.frames / file.samplerate > LONGEST_S:
        raise Unusable(f"lasts {file.frames / file.samplerate / 3600:.1f} hours; the limit is 4: cut it into movements")
    promised = re.search(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if promised and int(promised[1]) < 0xFFFFFFF0 and int(promised[1]) > int(promised[2]):
        share = int(promised[2]) / int(promised[1])
        raise Unusable(f"cut off: {share:.0%} of the sound that its header promises is there")


def _mono_blocks(file: Any) -> Iterator[np.ndarray]:
    import numpy as np

    while True:
        block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        if not len(block):
            return
        # numpy's mean over two columns takes forty times as long as their sum
        mono = (block[:, 0] + block[:, 1]) * np.float32(0.5) if block.shape[1] == 2 else block.mean(axis=1)
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
        if ".partial" in path.suffixes or (path.suffix in (".flac", ".json") and path.stem not in keep):
            path.unlink()
