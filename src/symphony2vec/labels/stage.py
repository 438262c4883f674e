"""The stage `labels`: musical properties of every clip, from its score and from its audio.

    Reads   out/clips/clips.csv, out/audio/<movement>.flac, data/<corpus>/catalogue.csv and the scores it lists
    Writes  out/labels/labels.csv      one row per clip, in the order of clips.csv; see `COLUMNS`
            out/labels/notes/          cache: the notes of every score in seconds of its FLAC
            out/labels/left_out.csv    scores without labels, with the reason
            out/labels/labels.png      the labels by composer

A cell is empty where a label is unknown: a recording has no score, a clip of few notes no key. Instruments and families
are always those of the score, even if audio.orchestration is strings and the sound has other ones.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from symphony2vec import figures, parallel, synthesis
from symphony2vec.audio import stage as audio
from symphony2vec.corpus import catalogue
from symphony2vec.errors import Unusable, UserError
from symphony2vec.labels import measures, transcript
from symphony2vec.labels.harmony import KEYS
from symphony2vec.labels.measures import FAMILIES, PITCH_CLASSES
from symphony2vec.labels.transcript import TranscriptionTask
from symphony2vec.params import Params
from symphony2vec.project import Project, key_of, read_table, write_table

LIBRARIES = ("lxml",)  # with `synthesis` and the transcript module, what the notes depend on
COLUMNS = (
    "clip",
    "loudness_db",  # RMS level of the clip, dB relative to full scale
    "centroid_hz",  # spectral centroid of the clip
    "notes_per_s",  # onsets in the clip per second
    *PITCH_CLASSES,  # share of the sounding duration, C first
    "key",  # one of `KEYS`
    "mode",  # major | minor
    "instruments",  # number of parts of the score that sound in the clip
    *FAMILIES,  # share of the sounding duration
)


@dataclass(frozen=True)
class LabelTask:
    """The clips of one movement, and the file of its notes; None if it has no usable score."""

    sound: Path
    notes: Path | None
    clips: tuple[int, ...]
    starts_s: tuple[float, ...]
    duration_s: float
    minimum_notes: int


def run(project: Project, params: Params, backend: str | None = None) -> None:
    """Run the stage `labels`; `backend` as in `parallel.spread`."""
    clips = read_table(project.clips, "clips")
    out = project.out("labels")
    out.mkdir(parents=True, exist_ok=True)
    (out / "labels.csv").unlink(missing_ok=True)
    scores, left_out = _list_scores(project, params, clips)
    left_out += _transcribe_scores(scores, backend)
    unusable = {entry["file"] for entry in left_out}
    tasks = [
        LabelTask(
            project.out("audio", file),
            scores[file].target if file in scores and file not in unusable else None,
            tuple(rows["clip"]),
            tuple(rows["start_s"]),
            params.clips.duration_s,
            params.labels.minimum_notes,
        )
        for file, rows in ((str(name), rows) for name, rows in clips.groupby("file", sort=True))
    ]
    labels = _label_clips(tasks, len(clips), backend)
    for path in (out / "notes").glob("*"):
        if path not in {score.target for score in scores.values()}:
            path.unlink()
    _write_outputs(out, clips, labels, left_out)


def label_movement(task: LabelTask) -> list[dict[str, Any]]:
    """Return the labels of the clips of one movement, by column; an unknown label has no entry.

    Raises:
        Unusable: the FLAC or the notes cannot be read.
    """
    notes = transcript.read(task.notes) if task.notes else None
    rows = []
    try:
        with soundfile.SoundFile(task.sound) as file:
            samples = round(task.duration_s * file.samplerate)
            for clip, start_s in zip(task.clips, task.starts_s, strict=True):
                file.seek(round(start_s * file.samplerate))
                wave = file.read(samples, dtype="float32", fill_value=0.0)
                row = {"clip": clip, **measures.measure_sound(wave, file.samplerate)}
                if notes is not None:
                    row |= measures.measure_notes(notes, start_s, task.duration_s, task.minimum_notes)
                rows.append(row)
    except (soundfile.LibsndfileError, OSError) as error:
        raise Unusable(f"{task.sound} cannot be read ({error}); `dvc repro -f audio` makes it again") from None
    return rows


def _list_scores(
    project: Project, params: Params, clips: pd.DataFrame
) -> tuple[dict[str, TranscriptionTask], list[dict[str, str]]]:
    """Return the scores of the movements by the name of their FLAC, and the movements whose score is missing."""
    recipe = audio.make_recipe(params)
    code = key_of(Path(transcript.__file__), Path(synthesis.__file__).parent)
    inputs = [code, [importlib.metadata.version(name) for name in LIBRARIES]]
    folder = project.corpus(params.corpus.name)
    movements = {(entry.composer, entry.work, entry.movement): entry for entry in catalogue.read(folder)[0]}
    scores, left_out = {}, []
    for row in clips.drop_duplicates("file").astype(str).to_dict("records"):
        file = row["file"]
        movement = movements.get((row["composer"], row["work"], row["movement"]))
        if movement is None:
            left_out.append(_reason(file, "the movement is no longer in the catalogue; run `dvc repro audio`"))
            continue
        performances = {performance.name: performance for performance in recipe.performances(movement)}
        if row["performance"] in performances:
            performance = performances[row["performance"]]
            path = catalogue.source(folder, movement)
            try:
                sha256 = movement.sha256 or catalogue.checksum(path)
            except OSError as error:
                left_out.append(_reason(file, f"cannot be opened: {error.strerror or error}"))
                continue
            key = key_of(inputs, asdict(performance.interpretation), asdict(performance.room), sha256)
            target = project.out("labels", "notes", f"{Path(file).stem}-{key[:8]}.npz")
            sound = project.out("audio", file)
            scores[file] = TranscriptionTask(path, sha256, sound, target, performance, movement.start, movement.end)
    return scores, left_out


def _transcribe_scores(scores: dict[str, TranscriptionTask], backend: str | None) -> list[dict[str, str]]:
    """Write the notes of every score that has none yet; return the files and reasons of the failures."""
    pending = {file: score for file, score in scores.items() if not score.target.is_file()}
    files, tasks = list(pending), list(pending.values())
    results = parallel.spread(transcript.write, tasks, "labels: scores", "movement", backend=backend)
    return [_reason(files[index], str(result)) for index, result in results if isinstance(result, Unusable)]


def _label_clips(tasks: Sequence[LabelTask], count: int, backend: str | None) -> pd.DataFrame:
    """Return the labels of all clips, sorted by clip."""
    rows: list[dict[str, Any]] = []
    for _, result in parallel.spread(label_movement, tasks, "labels: clips", "movement", backend=backend):
        if isinstance(result, Unusable):
            raise UserError(str(result))
        rows += result
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values("clip", ignore_index=True)
    assert len(table) == count
    return table.astype({"instruments": "Int64"})


def _reason(file: str, reason: str) -> dict[str, str]:
    return {"file": file, "reason": " ".join(reason.split())}


def _write_outputs(out: Path, clips: pd.DataFrame, labels: pd.DataFrame, left_out: list[dict[str, str]]) -> None:
    """Write the tables and the figure, and print what was left out."""
    movements = clips.drop_duplicates("file")[["composer", "work", "movement", "file"]]
    reasons = movements.merge(pd.DataFrame(left_out, columns=["file", "reason"]), on="file")
    write_table(out / "left_out.csv", reasons)
    if left_out:
        first = reasons.iloc[0]
        title = f"{first['composer']} / {first['work']} / {first['movement']}"
        print(f"labels: {len(reasons)} scores without labels ({out / 'left_out.csv'}); {title}: {first['reason']}")
    by_composer = labels.assign(composer=clips["composer"])
    figures.save(out / "labels.png", figures.labels_overview(by_composer, KEYS, list(FAMILIES)))
    write_table(out / "labels.csv", labels)
    print(f"labels: {len(labels)} clips, {labels['notes_per_s'].notna().sum()} of them with a score")
