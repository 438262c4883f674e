"""The stage `audio`: write one mono FLAC of equal loudness for every movement, from recordings or scores.

    Reads   data/<corpus>/catalogue.csv and the files it lists
    Writes  out/audio/<movement>.flac    mono, PCM 16, at audio.sample_rate_hz
            out/audio/movements.csv      one row a FLAC: composer, work, movement, performance, file, duration,
                                         loudness, gain, source, and a note on what is unusual about it
            out/audio/rejected.csv       what could not be used, with the reason
            out/audio/overview.png

A score has one FLAC for each of audio.soundfonts: its performances, named after the soundfont. A recording has one,
without a name.

Waveforms are (N,) float32 within [-1, 1]. Loudness is integrated loudness in LUFS (ITU-R BS.1770-4). The name of a FLAC
ends in a key computed from the checksum of its source, all settings and this code. A FLAC that exists is not written
again, so the stage resumes where it stopped, and an added recording costs only its own FLAC.
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
from symphony2vec.audio.loudness import LoudnessTarget, describe_gain, normalize_loudness
from symphony2vec.corpus import catalogue
from symphony2vec.decoding.recording import decode
from symphony2vec.errors import Unusable, UserError
from symphony2vec.params import Params
from symphony2vec.project import Project, atomic_file, write_table

Decoder = Callable[[Path, int], "tuple[np.ndarray, dict[str, Any]]"]
LIBRARIES = ("av", "lxml", "midirenderer", "pretty_midi", "pyloudnorm", "soundfile", "soxr")
END_TOLERANCE_S = 1.0  # an end may exceed the recording by so much: some cue sheets give whole seconds
COLUMNS = (
    "composer work movement performance file duration_s kind licence origin loudness_lufs gain_db source_rate_hz "
    "source_channels note"
).split()
REJECTION_COLUMNS = ["path", "composer", "work", "movement", "reason"]
MAX_PRINTED_NOTES = 10


@dataclass(frozen=True)
class Recipe:
    """All settings of the stage."""

    rate_hz: int
    target: LoudnessTarget
    interpretation: synthesis.Interpretation
    renderer: str
    soundfonts: tuple[Path, ...]
    tempo_spread: float
    reverberation_s: float
    performance_seed: int

    @functools.cached_property
    def _code_versions(self) -> list[Any]:
        """The checksums of the code that makes the sound, and the versions of the libraries it uses."""
        packages = (__file__, decoding.__file__, synthesis.__file__)
        sources = [source for package in packages for source in sorted(Path(package).parent.glob("*.py"))]
        checksums = [catalogue.checksum(source) for source in sources]
        return [checksums, [importlib.metadata.version(name) for name in LIBRARIES]]

    @functools.cached_property
    def _soundfont_checksums(self) -> dict[Path, str]:
        return {path: catalogue.checksum(path) for path in self.soundfonts}

    def performances(self, movement: catalogue.Movement) -> list[synthesis.Performance]:
        """Return the performances of a score, one for each soundfont; none of a recording."""
        if movement.kind != "score":
            return []
        settings = (self.interpretation, self.tempo_spread, self.reverberation_s, self.performance_seed)
        work = f"{movement.composer} / {movement.work}"
        return synthesis.plan(self.soundfonts, *settings, work, movement.movement, self.renderer)

    def key_values(self, performance: synthesis.Performance | None) -> list[Any]:
        """Return what determines the sound of a movement besides its source, as plain values.

        Args:
            performance: of a score; None for a recording.
        """
        played = None
        if performance is not None:
            soundfont = self._soundfont_checksums[performance.soundfont]
            renderer = [] if self.renderer == synthesis.BUILT_IN else [synthesis.fluidsynth.version()]
            played = [asdict(performance.interpretation), soundfont, asdict(performance.room), *renderer]
        return [self.rate_hz, asdict(self.target), self._code_versions, played]


@dataclass(frozen=True)
class FlacJob:
    """Everything a worker needs to write the FLAC of one movement: of a score in one performance."""

    source: Path
    performance: synthesis.Performance | None
    sha256: str
    target: Path
    recipe: Recipe
    start: float | None = None  # s of a recording, bar of a score; see symphony2vec.corpus.catalogue
    end: float | None = None


def run(project: Project, params: Params, backend: str | None = None) -> None:
    """Run the stage `audio`.

    Args:
        project: the project, whose corpus is read and whose folder out/audio is written.
        params: all parameters.
        backend: as in `parallel.spread`.

    Raises:
        UserError: no movement can be used, or a worker does not see the project.
    """
    folder = project.corpus(params.corpus.name)
    movements, faults = catalogue.read(folder)
    rejected = [
        {"path": fault.path, "composer": "", "work": "", "movement": "", "reason": str(fault)} for fault in faults
    ]
    out = project.out("audio")
    out.mkdir(parents=True, exist_ok=True)
    project.movements.unlink(missing_ok=True)
    recipe = make_recipe(params)
    planned: list[tuple[catalogue.Movement, FlacJob]] = []
    for movement in movements:
        try:
            planned += [(movement, job) for job in make_jobs(folder, movement, out, recipe)]
        except Unusable as reason:
            rejected.append(_make_rejection(movement, reason))
    rows = []
    groups = _group_by_recording([job for _, job in planned])
    tasks = [tuple(planned[index][1] for index in group) for group in groups]
    for task, task_result in parallel.spread(write_flacs, tasks, "audio", "file", backend=backend):
        results = [task_result] * len(tasks[task]) if isinstance(task_result, Unusable) else task_result
        for index, result in zip(groups[task], results, strict=True):
            movement, job = planned[index]
            if isinstance(result, Unusable):
                rejected.append(_make_rejection(movement, result))
            elif not job.target.is_file():
                raise UserError(f"{job.target}: a worker wrote it elsewhere; every worker must see this very folder")
            else:
                performance = job.performance.name if job.performance else ""
                values = {**asdict(movement), "performance": performance, "file": job.target.name, **result}
                rows.append({column: values[column] for column in COLUMNS})
    _write_tables(project, rows, rejected)


def _group_by_recording(jobs: Sequence[FlacJob]) -> list[list[int]]:
    """Return the indices of the jobs, grouped by recording so that a long file is decoded once for all of them."""
    groups: dict[tuple[Path, str, int], list[int]] = {}
    for index, job in enumerate(jobs):
        groups.setdefault((job.source, job.sha256, index if job.performance else -1), []).append(index)
    return list(groups.values())


def write_flacs(jobs: Sequence[FlacJob]) -> list[dict[str, Any] | Unusable]:
    """Write the FLACs of the movements of one recording with `write_flac`, decoding the file once.

    Returns:
        For each job its facts, or why the movement cannot be used.
    """

    @functools.cache
    def try_decoding(source: Path, rate_hz: int) -> tuple[np.ndarray, dict[str, Any]] | Unusable:
        try:
            return decode(source, rate_hz)
        except Unusable as reason:
            return reason

    def decode_once(source: Path, rate_hz: int) -> tuple[np.ndarray, dict[str, Any]]:
        result = try_decoding(source, rate_hz)
        if isinstance(result, Unusable):
            raise Unusable(str(result))
        return result

    results: list[dict[str, Any] | Unusable] = []
    for job in jobs:
        try:
            results.append(write_flac(job, decode_once))
        except Unusable as reason:
            results.append(reason)
    return results


def write_flac(job: FlacJob, decoder: Decoder = decode) -> dict[str, Any]:
    """Write one FLAC and a JSON file of its facts beside it, unless they exist.

    Returns:
        The facts: duration_s, loudness_lufs, gain_db, source_rate_hz, source_channels, note.

    Raises:
        Unusable: the source cannot be decoded or played; the message is the reason.
    """
    facts_path = job.target.with_suffix(".json")
    if job.target.is_file() and facts_path.is_file():
        stored: dict[str, Any] = json.loads(facts_path.read_text(encoding="utf-8"))
        return stored
    if job.sha256 and _checksum(job.source) != job.sha256:
        raise Unusable("the file has changed since it was catalogued; run `symphony2vec corpus` again")
    recipe = job.recipe
    if job.performance is None:
        wave, facts = decoder(job.source, recipe.rate_hz)
        wave = crop(wave, recipe.rate_hz, job.start, job.end)
    else:
        wave, facts = render_score(job.source, recipe.rate_hz, job.performance, job.start, job.end)
    wave, levels = normalize_loudness(wave, recipe.rate_hz, recipe.target)
    note = "; ".join(filter(None, [facts.get("note", ""), describe_gain(levels["gain_db"])]))
    facts = facts | levels | {"duration_s": round(len(wave) / recipe.rate_hz, 4), "note": note}
    with atomic_file(job.target) as partial:
        soundfile.write(partial, wave, recipe.rate_hz, format="FLAC", subtype="PCM_16")
    with atomic_file(facts_path) as partial:
        partial.write_text(json.dumps(facts), encoding="utf-8")
    return facts


def crop(wave: np.ndarray, rate_hz: int, start: float | None, end: float | None) -> np.ndarray:
    """Return the samples of one movement of a recording.

    Args:
        wave: (N,) the whole recording.
        rate_hz: sample rate.
        start: in seconds; None for the beginning of the recording.
        end: in seconds; None for the end of the recording.

    Raises:
        Unusable: the recording ends before the movement does: the cue sheet or the catalogue is of another file.

    Examples:
        >>> crop(np.arange(10), 2, 1.0, 3.5)
        array([2, 3, 4, 5, 6])
    """
    if start is None and end is None:
        return wave
    first, last = round((start or 0.0) * rate_hz), len(wave) if end is None else round(end * rate_hz)
    if first >= len(wave) or last > len(wave) + rate_hz * END_TOLERANCE_S:
        raise Unusable(
            f"it should lie from {start or 0.0:.2f} s to {'the end' if end is None else f'{end:.2f} s'}, but the "
            f"recording lasts {len(wave) / rate_hz:.2f} s; correct start and end, or the cue sheet, and import again"
        )
    return wave[first:last]


def render_score(
    path: Path,
    rate_hz: int,
    performance: synthesis.Performance,
    start: float | None = None,
    end: float | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Render a performance of a score, or of its bars `start` to `end`, to mono at `rate_hz`.

    Returns:
        The waveform (N,) float32, and source_rate_hz and source_channels, as `decode` for recordings.

    Raises:
        Unusable: the file is missing, or not a score that can be played.
    """
    if not path.is_file():
        raise Unusable("cannot be opened: no such file")
    notes = synthesis.read_notes(path, performance.interpretation, start, end)
    wave, rendered_hz = synthesis.perform(notes, performance)
    mono = soxr.resample(wave.mean(axis=1), rendered_hz, rate_hz)
    return mono, {"source_rate_hz": rendered_hz, "source_channels": wave.shape[1]}


def make_file_stem(movement: catalogue.Movement, key: str) -> str:
    """Return a file name without suffix: the plain ASCII of the title, at most 60 characters, then the key."""
    title = f"{movement.composer} {movement.work} {movement.movement}"
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:60].strip("-")
    return f"{slug}-{key}" if slug else key


def make_recipe(params: Params) -> Recipe:
    """Return the settings of the stage from the parameters."""
    audio = params.audio
    interpretation = synthesis.Interpretation(
        audio.orchestration, audio.dynamics, audio.velocity, audio.tempo, audio.beats_per_minute
    )
    target = LoudnessTarget(audio.loudness_lufs, audio.peak_dbfs, audio.silence_db)
    has_fluidsynth = audio.renderer != synthesis.BUILT_IN
    soundfonts = tuple(synthesis.find_soundfont(name, compressed=has_fluidsynth) for name in audio.soundfonts)
    performances = (audio.tempo_spread, audio.reverberation_s, audio.performance_seed)
    return Recipe(audio.sample_rate_hz, target, interpretation, audio.renderer, soundfonts, *performances)


def make_jobs(folder: Path, movement: catalogue.Movement, out: Path, recipe: Recipe) -> list[FlacJob]:
    """Return the jobs of a movement, whose file names depend on everything that determines the sound.

    Raises:
        Unusable: its source cannot be opened.
    """
    source = catalogue.source(folder, movement)
    sha256 = movement.sha256.lower()
    title = [movement.composer, movement.work, movement.movement]
    content = sha256 or _checksum(source)
    jobs = []
    performances: list[synthesis.Performance | None] = [*recipe.performances(movement)]
    for performance in performances or [None]:
        key_values = [content, title, movement.start, movement.end, recipe.key_values(performance)]
        key = hashlib.sha256(json.dumps(key_values, sort_keys=True).encode()).hexdigest()[:16]
        target = out / f"{make_file_stem(movement, key)}.flac"
        jobs.append(FlacJob(source, performance, sha256, target, recipe, movement.start, movement.end))
    return jobs


def _checksum(source: Path) -> str:
    try:
        if source.exists() and not source.is_file() and not source.is_dir():
            raise Unusable("cannot be opened: not a regular file")  # reading a pipe would never end
        return catalogue.checksum(source)
    except OSError as error:
        raise Unusable(f"cannot be opened: {error.strerror or error}") from None


def _make_rejection(movement: catalogue.Movement, reason: Unusable) -> dict[str, str]:
    fields = {name: getattr(movement, name) for name in REJECTION_COLUMNS[:-1]}
    return fields | {"reason": " ".join(str(reason).split())}


def _write_tables(project: Project, rows: list[dict[str, Any]], rejected: list[dict[str, str]]) -> None:
    """Write the tables and the figure, remove FLACs that no row lists, and print what was rejected."""
    out = project.out("audio")
    rejections = pd.DataFrame(rejected, columns=REJECTION_COLUMNS).sort_values(["path", "reason"])
    write_table(out / "rejected.csv", rejections)
    if rejected:
        print(f"audio: {len(rejected)} rejected (see {out / 'rejected.csv'}); the first: {rejected[0]['reason']}")
    noted_rows = [row for row in rows if row["note"]]
    for row in noted_rows[:MAX_PRINTED_NOTES]:
        print(f"audio: {row['composer']}, {row['work']}, {row['movement']}: {row['note']}")
    if len(noted_rows) > MAX_PRINTED_NOTES:
        print(f"audio: {len(noted_rows) - MAX_PRINTED_NOTES} more with a note; see {project.movements}")
    if not rows:
        raise UserError(f"no movement of the catalogue can be used; the reasons are in {out / 'rejected.csv'}")
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values(["composer", "work", "movement", "file"])
    _remove_stale(out, table)
    figures.save(out / "overview.png", figures.audio_overview(table))
    write_table(project.movements, table)


def _remove_stale(out: Path, table: pd.DataFrame) -> None:
    """Remove FLACs that the table does not list, their JSON files, and partial files of interrupted runs."""
    listed = {Path(name).stem for name in table["file"]}
    for path in out.iterdir():
        if ".partial" in path.suffixes or (path.suffix in (".flac", ".json") and path.stem not in listed):
            path.unlink()
