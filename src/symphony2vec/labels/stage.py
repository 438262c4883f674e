"""What is known exactly of every clip: from the score that was played, and from the sound itself.

Reads   out/clips/clips.csv, out/audio/<movement>.flac, data/<corpus>/catalogue.csv and the scores it names
Writes  out/labels/labels.csv      one row a clip, in the order of clips.csv; see `COLUMNS`
        out/labels/notes/          the notes of every score in seconds of its FLAC: kept, for they take long to read
        out/labels/left_out.csv    scores that give no label, with the reason
        out/labels/labels.png      the labels by composer

    measures    the labels of one clip
    harmony     pitch classes and the key
    transcript  the notes of a movement, in the time of its FLAC

A cell is empty where something is not known: a recording has no score, a clip of few notes no key. Instruments and
families are always those that the score names: with audio.orchestration strings they are labels of the score, not of
the sound.
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
from symphony2vec.corpus import catalogue
from symphony2vec.errors import Unusable, UserError
from symphony2vec.labels import measures, transcript
from symphony2vec.labels.harmony import KEYS
from symphony2vec.labels.measures import FAMILIES, PITCH_CLASSES
from symphony2vec.labels.transcript import Score
from symphony2vec.params import Params
from symphony2vec.project import Project, key_of, read_table, write_table

__all__ = ["COLUMNS", "FAMILIES", "KEYS", "PITCH_CLASSES", "label", "run"]

LIBRARIES = ("lxml", "partitura")  # what reads a score
CODE = ("transcript.py",)  # what makes notes of it
COLUMNS = (
    "clip",
    "loudness_db",  # RMS level of the clip, dB relative to full scale
    "centroid_hz",  # centre of its power spectrum
    "notes_per_s",  # notes that begin in the clip, by the clip's duration
    *PITCH_CLASSES,  # share of the sounding duration, C first
    "key",  # one of `KEYS`
    "mode",  # major | minor
    "instruments",  # how many parts of the score sound in the clip
    *FAMILIES,  # share of the sounding duration
)


@dataclass(frozen=True)
class Job:
    """The clips of one movement, and where its notes are kept; None where it has no score that can be used."""

    sound: Path
    notes: Path | None
    rows: tuple[int, ...]
    starts_s: tuple[float, ...]
    duration_s: float
    minimum_notes: int


def run(project: Project, params: Params, backend: str | None = None) -> None:
    """The stage `labels`; `backend` as in `parallel.spread`."""
    clips = read_table(project.clips, "clips")
    out = project.out("labels")
    out.mkdir(parents=True, exist_ok=True)
    (out / "labels.csv").unlink(missing_ok=True)
    scores, left_out = _scores(project, params, clips)
    left_out += _transcribed(scores, backend)
    failed = {reason["file"] for reason in left_out}
    jobs = [
        Job(
            project.out("audio", file),
            scores[file].target if file in scores and file not in failed else None,
            tuple(own["clip"]),
            tuple(own["start_s"]),
            params.clips.duration_s,
            params.labels.minimum_notes,
        )
        for file, own in ((str(name), own) for name, own in clips.groupby("file", sort=True))
    ]
    _finish(out, clips, _labelled(jobs, len(clips), backend), left_out, {score.target for score in scores.values()})


def label(job: Job) -> list[dict[str, Any]]:
    """The labels of the clips of one movement, by column; a label that is not known has no entry.

    Raises:
        Unusable: the FLAC or the notes cannot be read.
    """

    played = transcript.read(job.notes) if job.notes else None
    rows = []
    try:
        with soundfile.SoundFile(job.sound) as file:
            for row, start_s in zip(job.rows, job.starts_s, strict=True):
                file.seek(round(start_s * file.samplerate))
                samples = round(job.duration_s * file.samplerate)
                wave = file.read(samples, dtype="float32", fill_value=0.0)
                found = {"clip": row, **measures.of_sound(wave, file.samplerate)}
                if played is not None:
                    found |= measures.of_notes(played, start_s, job.duration_s, job.minimum_notes)
                rows.append(found)
    except (soundfile.LibsndfileError, OSError) as fault:
        raise Unusable(f"{job.sound} cannot be read ({fault}); `dvc repro -f audio` makes it again") from None
    return rows


def _scores(project: Project, params: Params, clips: pd.DataFrame) -> tuple[dict[str, Score], list[dict[str, str]]]:
    """The scores of the clips' movements by the name of their FLAC, and the movements whose score is not there."""
    own = params.audio
    played = synthesis.Interpretation(own.orchestration, own.dynamics, own.velocity, own.tempo, own.beats_per_minute)
    soundfont = synthesis.soundfont(own.soundfont)
    own_code = [Path(__file__).with_name(name) for name in CODE]
    made_from = [
        key_of(*own_code, Path(synthesis.__file__).parent),
        asdict(played),
        [importlib.metadata.version(name) for name in LIBRARIES],
    ]
    folder = project.corpus(params.corpus.name)
    known = {(one.composer, one.work, one.movement): one for one in catalogue.read(folder)[0]}
    scores, left_out = {}, []
    for row in clips.drop_duplicates("file").astype(str).to_dict("records"):
        file = row["file"]
        movement = known.get((row["composer"], row["work"], row["movement"]))
        if movement is None:
            left_out.append(_reason(file, "the catalogue has no such movement any more; run `dvc repro audio`"))
        elif movement.kind == "score":
            path, name = catalogue.source(folder, movement), Path(file).stem
            try:
                sha256 = movement.sha256 or catalogue.checksum(path)
            except OSError as fault:
                left_out.append(_reason(file, f"cannot be opened: {fault.strerror or fault}"))
                continue
            target = project.out("labels", "notes", f"{name}-{key_of(made_from, sha256)[:8]}.npz")
            sound = project.out("audio", file)
            scores[file] = Score(path, sha256, sound, target, played, soundfont, movement.start, movement.end)
    return scores, left_out


def _transcribed(scores: dict[str, Score], backend: str | None) -> list[dict[str, str]]:
    """Write the notes of every score that has none yet; returns the reasons of those that failed."""
    waiting = {file: score for file, score in scores.items() if not score.target.is_file()}
    files = list(waiting)
    done = parallel.spread(transcript.write, list(waiting.values()), "labels: scores", "movement", backend=backend)
    return [_reason(files[index], str(result)) for index, result in done if isinstance(result, Unusable)]


def _labelled(jobs: Sequence[Job], clips: int, backend: str | None) -> pd.DataFrame:
    """The labels of all clips, in their order."""

    rows: list[dict[str, Any]] = []
    for _, result in parallel.spread(label, jobs, "labels: clips", "movement", backend=backend):
        if isinstance(result, Unusable):
            raise UserError(str(result))
        rows += result
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values("clip", ignore_index=True)
    assert len(table) == clips
    return table.astype({"instruments": "Int64"})


def _reason(file: str, reason: str) -> dict[str, str]:
    return {"file": file, "reason": " ".join(reason.split())}


def _finish(
    out: Path, clips: pd.DataFrame, labels: pd.DataFrame, left_out: list[dict[str, str]], notes: set[Path]
) -> None:
    """Write the tables and the picture, remove notes of other scores, and say what was left out."""

    for path in (out / "notes").glob("*"):
        if path not in notes:
            path.unlink()
    titles = clips.drop_duplicates("file")[["composer", "work", "movement", "file"]]
    reasons = titles.merge(pd.DataFrame(left_out, columns=["file", "reason"]), on="file")
    write_table(out / "left_out.csv", reasons)
    if left_out:
        first = reasons.iloc[0]
        title = f"{first['composer']} / {first['work']} / {first['movement']}"
        print(f"labels: {len(reasons)} scores give none (see {out / 'left_out.csv'}); {title}: {first['reason']}")
    by_composer = labels.assign(composer=clips["composer"])
    figures.save(out / "labels.png", figures.labels_overview(by_composer, KEYS, list(FAMILIES)))
    write_table(out / "labels.csv", labels)
    print(f"labels: {len(labels)} clips, {labels['notes_per_s'].notna().sum()} of them with a score")
