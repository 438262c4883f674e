"""Every movement becomes one mono FLAC of equal loudness: recordings are decoded, scores are played.

Reads   data/<corpus>/catalogue.csv and the files it names
Writes  out/audio/<movement>.flac    mono, PCM 16, at audio.sample_rate_hz
        out/audio/movements.csv      one row a FLAC: composer, work, movement, file, duration, loudness, gain, source,
                              and a note on what is odd about it
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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import soxr

from symphony2vec import decoding, figures, parallel, synthesis
from symphony2vec.audio.loudness import Level, gain_note, level
from symphony2vec.corpus import catalogue
from symphony2vec.decoding.recording import decode
from symphony2vec.errors import Unusable, UserError
from symphony2vec.params import Params
from symphony2vec.project import Project, atomic_file, write_table

Decoder = Callable[[Path, int], "tuple[np.ndarray, dict[str, Any]]"]
LIBRARIES = ("av", "lxml", "midirenderer", "partitura", "pretty_midi", "pyloudnorm", "soundfile", "soxr")
ROUNDED_S = 1.0  # an end may lie so far beyond the recording: positions of some sheets are whole seconds
COLUMNS = (
    "composer work movement file duration_s kind licence origin loudness_lufs gain_db source_rate_hz source_channels "
    "note"
).split()

NOTES_SHOWN = 10


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
        packages = (__file__, decoding.__file__, synthesis.__file__)
        sources = [source for package in packages for source in sorted(Path(package).parent.glob("*.py"))]
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
    start: float | None = None  # s of a recording, bar of a score; see symphony2vec.corpus.catalogue
    end: float | None = None


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
    groups = _by_recording(jobs)
    tasks = [tuple(jobs[index] for index in group) for group in groups]
    for task, results in parallel.spread(make_all, tasks, "audio", "file", backend=backend):
        every = [results] * len(tasks[task]) if isinstance(results, Unusable) else results
        for index, result in zip(groups[task], every, strict=True):
            if isinstance(result, Unusable):
                rejected.append(_rejection(kept[index], result))
            elif not jobs[index].target.is_file():
                target = jobs[index].target
                raise UserError(f"{target}: a worker made it elsewhere; every worker must see this very folder")
            else:
                rows.append(_row(kept[index], jobs[index], result))
    _finish(project, rows, rejected)


def _by_recording(jobs: Sequence[Job]) -> list[list[int]]:
    """The places of the jobs, those of one recording together, so that a long file is decoded once for all of them."""
    groups: dict[tuple[Path, str, int], list[int]] = {}
    for index, job in enumerate(jobs):
        groups.setdefault((job.source, job.sha256, -1 if job.kind == "recording" else index), []).append(index)
    return list(groups.values())


def make_all(jobs: Sequence[Job]) -> list[dict[str, Any] | Unusable]:
    """Make the FLACs of the movements of one recording, as `make` does each; the file is decoded once.

    Returns:
        For each job its record, or why it cannot be used.
    """
    decoded: dict[int, tuple[np.ndarray, dict[str, Any]] | Unusable] = {}

    def decode_once(source: Path, rate_hz: int) -> tuple[np.ndarray, dict[str, Any]]:
        if rate_hz not in decoded:
            try:
                decoded[rate_hz] = decode(source, rate_hz)
            except Unusable as reason:
                decoded[rate_hz] = reason
        result = decoded[rate_hz]
        if isinstance(result, Unusable):
            raise Unusable(str(result))
        return result

    results: list[dict[str, Any] | Unusable] = []
    for job in jobs:
        try:
            results.append(make(job, decode_once))
        except Unusable as reason:
            results.append(reason)
    return results


def make(job: Job, decoder: Decoder = decode) -> dict[str, Any]:
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
        wave, found = decoder(job.source, recipe.rate_hz)
        wave = crop(wave, recipe.rate_hz, job.start, job.end)
    else:
        wave, found = play(job.source, recipe.rate_hz, recipe.interpretation, recipe.soundfont, job.start, job.end)
    wave, levels = level(wave, recipe.rate_hz, recipe.level)
    notes = [found.get("note", ""), gain_note(levels["gain_db"])]
    found = (
        found | levels | {"duration_s": round(len(wave) / recipe.rate_hz, 4), "note": "; ".join(filter(None, notes))}
    )
    _write_flac(job.target, wave, recipe.rate_hz)
    with atomic_file(record) as partial:
        partial.write_text(json.dumps(found), encoding="utf-8")
    return found


def crop(wave: np.ndarray, rate_hz: int, start: float | None, end: float | None) -> np.ndarray:
    """Cut a recording to one of its movements: the samples from `start` up to `end` (s); None for its own ends.

    Raises:
        Unusable: the recording ends before its movement does: the cue sheet or the catalogue is of another file.
    """
    if start is None and end is None:
        return wave
    first, last = round((start or 0.0) * rate_hz), len(wave) if end is None else round(end * rate_hz)
    if first >= len(wave) or last > len(wave) + rate_hz * ROUNDED_S:
        raise Unusable(
            f"it should lie from {start or 0.0:.2f} s to {'the end' if end is None else f'{end:.2f} s'}, but the "
            f"recording lasts {len(wave) / rate_hz:.2f} s; mend start and end, or the cue sheet, and import again"
        )
    return wave[first:last]


def play(
    path: Path,
    rate_hz: int,
    interpretation: synthesis.Interpretation,
    soundfont: Path,
    start: float | None = None,
    end: float | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Play a score, or its bars `start` to `end`, to mono at `rate_hz`; as `decode`, for scores."""

    if not path.is_file():
        raise Unusable("cannot be opened: no such file")
    wave, rendered_hz = synthesis.render(synthesis.read_notes(path, interpretation, start, end), soundfont.read_bytes())
    mono = soxr.resample(wave.mean(axis=1), rendered_hz, rate_hz)
    return mono, {"source_rate_hz": rendered_hz, "source_channels": wave.shape[1]}


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
    return Recipe(own.sample_rate_hz, level_to, played, synthesis.find_soundfont(own.soundfont))


def _job(folder: Path, movement: catalogue.Movement, out: Path, recipe: Recipe) -> Job:
    source = catalogue.source(folder, movement)
    sha256 = movement.sha256.lower()
    content = sha256 or _checksum(source)
    title = [movement.composer, movement.work, movement.movement]
    made_from = json.dumps(
        [content, title, movement.start, movement.end, recipe.made_from(movement.kind)], sort_keys=True
    )
    key = hashlib.sha256(made_from.encode()).hexdigest()[:16]
    target = out / f"{name_of(movement, key)}.flac"
    return Job(source, movement.kind, sha256, target, recipe, movement.start, movement.end)


def _checksum(source: Path) -> str:
    try:
        if source.exists() and not source.is_file() and not source.is_dir():
            raise Unusable("cannot be opened: no ordinary file")  # reading a pipe would never end
        return catalogue.checksum(source)
    except OSError as fault:
        raise Unusable(f"cannot be opened: {fault.strerror or fault}") from None


def _write_flac(target: Path, wave: np.ndarray, rate_hz: int) -> None:
    with atomic_file(target) as partial:
        soundfile.write(partial, wave, rate_hz, format="FLAC", subtype="PCM_16")


def _row(movement: catalogue.Movement, job: Job, found: dict[str, Any]) -> dict[str, Any]:
    known = {**asdict(movement), "file": job.target.name, **found}
    return {column: known[column] for column in COLUMNS}


def _rejection(movement: catalogue.Movement, reason: Unusable) -> dict[str, str]:
    titled = {name: getattr(movement, name) for name in ("path", "composer", "work", "movement")}
    return titled | {"reason": " ".join(str(reason).split())}


def _finish(project: Project, rows: list[dict[str, Any]], rejected: list[dict[str, str]]) -> None:
    """Write the tables and the picture, remove FLACs that no row names, and say what was set aside."""

    out = project.out("audio")
    write_table(
        out / "rejected.csv",
        pd.DataFrame(rejected, columns=["path", "composer", "work", "movement", "reason"]).sort_values(
            ["path", "reason"]
        ),
    )
    if rejected:
        print(f"audio: {len(rejected)} set aside (see {out / 'rejected.csv'}); the first: {rejected[0]['reason']}")
    for row in [row for row in rows if row["note"]][:NOTES_SHOWN]:
        print(f"audio: {row['composer']}, {row['work']}, {row['movement']}: {row['note']}")
    noted = sum(bool(row["note"]) for row in rows)
    if noted > NOTES_SHOWN:
        print(f"audio: {noted - NOTES_SHOWN} more with a note; see {project.movements}")
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
