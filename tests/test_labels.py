"""Labels: relations between clips, the time of notes in the sound, and the stage on scores and recordings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile

from conftest import music
from symphony2vec import parallel, params, synthesis
from symphony2vec.audio import stage as audio
from symphony2vec.clips import stage as clips
from symphony2vec.corpus import catalogue
from symphony2vec.errors import Unusable, UserError
from symphony2vec.labels import harmony, measures, transcript
from symphony2vec.labels import stage as labels
from symphony2vec.labels.transcript import Transcript
from symphony2vec.project import Project, read_table
from symphony2vec.synthesis.instruments import PROGRAMS

Changed = Callable[..., params.Params]
RATE_HZ = 22050
Q_S = 0.6  # one quarter note at 100 beats per minute
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11, 12), "minor": (0, 2, 3, 5, 7, 8, 11, 12)}
STEPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


# The key


@pytest.mark.parametrize("place", range(24))
def test_the_profile_of_each_key_is_of_that_key(place: int) -> None:
    mode, tonic = harmony.MODES[place // 12], place % 12
    profile = np.roll(harmony.PROFILES[mode], tonic)
    assert harmony.estimate_key(profile) == place
    assert harmony.correlate_keys(profile)[place] == pytest.approx(1.0)


def test_keys_are_named_by_their_tonic_and_in_order() -> None:
    assert len(set(harmony.KEYS)) == 24
    assert (harmony.KEYS[0], harmony.KEYS[7], harmony.KEYS[12 + 9]) == ("C major", "G major", "A minor")
    flats = str.maketrans({"b": None, "#": None})
    letters = [key.split()[0].translate(flats) for key in harmony.KEYS]
    assert letters == list("CDDEEFFGAABB" + "CCDEEFFGGABB")


@pytest.mark.parametrize("shares", [np.full(12, 1 / 12), np.zeros(12)])
def test_equal_shares_have_no_key(shares: np.ndarray) -> None:
    assert harmony.estimate_key(shares) is None


# The sound of a clip


def sine(hz: float, peak: float = 0.1, duration_s: float = 2.0) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hz * np.arange(round(duration_s * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def test_a_louder_wave_has_that_much_more_loudness_and_the_same_centroid() -> None:
    quiet, loud = (measures.measure_sound(gain * music(2.0), RATE_HZ) for gain in (1.0, 4.0))
    assert loud["loudness_db"] - quiet["loudness_db"] == pytest.approx(20 * np.log10(4.0), abs=0.01)
    assert loud["centroid_hz"] == pytest.approx(quiet["centroid_hz"], abs=0.1)


def test_a_sine_of_full_scale_lies_3_db_below_it_and_has_its_own_centroid() -> None:
    values = measures.measure_sound(sine(1000.0, peak=1.0), RATE_HZ)
    assert values["loudness_db"] == pytest.approx(-3.01, abs=0.01)
    assert values["centroid_hz"] == pytest.approx(1000.0, abs=1.0)


def test_the_centroid_is_the_mean_of_librosas_weighted_by_energy() -> None:
    wave = np.concatenate([music(1.0), 0.3 * music(1.0, bright=True)])
    spectrum = np.abs(librosa.stft(wave)) ** 2
    frames_hz = librosa.feature.spectral_centroid(S=spectrum, sr=RATE_HZ)[0]
    expected = np.average(frames_hz, weights=spectrum.sum(axis=0))
    assert measures.measure_sound(wave, RATE_HZ)["centroid_hz"] == pytest.approx(expected, rel=0.01)


def test_silence_has_neither_loudness_nor_centroid() -> None:
    assert measures.measure_sound(np.zeros(RATE_HZ, np.float32), RATE_HZ) == {}


# The notes of a clip


def transcript_of(*notes: tuple[float, float, int, int, int]) -> Transcript:
    """A transcript of (onset_s, end_s, pitch, program, part)."""
    return Transcript(*(np.array(column) for column in zip(*notes, strict=True)))


def scale(tonic: int = 60, mode: str = "major", program: int = 48, part: int = 0) -> list[Any]:
    """Eight notes of half a second from the tonic upwards, then the tonic for two seconds."""
    up = [(0.5 * place, 0.5 * place + 0.5, tonic + step) for place, step in enumerate(SCALES[mode])]
    return [(*note, program, part) for note in (*up, (4.0, 6.0, tonic))]


def of(*notes: Any, start_s: float = 0.0, duration_s: float = 10.0, minimum: int = 8) -> dict[str, Any]:
    return measures.measure_notes(transcript_of(*notes), start_s, duration_s, minimum)


def pitch_classes(values: dict[str, Any]) -> np.ndarray:
    return np.array([values[name] for name in measures.PITCH_CLASSES])


@pytest.mark.parametrize("mode", ["major", "minor"])
@pytest.mark.parametrize("semitones", range(12))
def test_transposing_rotates_pitch_classes_and_key(mode: str, semitones: int) -> None:
    low, high = of(*scale(mode=mode)), of(*scale(60 + semitones, mode))
    np.testing.assert_allclose(pitch_classes(high), np.roll(pitch_classes(low), semitones))
    assert low["key"] == f"C {mode}"
    assert harmony.KEYS.index(high["key"]) == harmony.KEYS.index(low["key"]) + semitones
    assert high["mode"] == low["mode"] == mode
    assert {name: high[name] for name in (*measures.FAMILIES, "notes_per_s", "instruments")} == {
        name: low[name] for name in (*measures.FAMILIES, "notes_per_s", "instruments")
    }


def test_a_second_part_in_unison_doubles_notes_and_instruments_and_no_share() -> None:
    single, double = of(*scale()), of(*scale(), *scale(part=1))
    assert double["notes_per_s"] == 2 * single["notes_per_s"] == 2 * 9 / 10.0
    assert (single["instruments"], double["instruments"]) == (1, 2)
    shares = (*measures.PITCH_CLASSES, *measures.FAMILIES, "key")
    assert {name: double[name] for name in shares} == {name: single[name] for name in shares}


def test_shares_are_of_the_time_within_the_clip_and_sum_to_one() -> None:
    values = of((0.0, 4.0, 60, 48, 0), (3.0, 9.0, 67, 60, 1), start_s=2.0, duration_s=3.0)  # 2 s of C, 2 s of G
    assert values["pc_0"] == values["pc_7"] == values["strings"] == values["brass"] == 0.5
    assert pitch_classes(values).sum() == sum(values[family] for family in measures.FAMILIES) == 1.0
    assert values["notes_per_s"] == pytest.approx(1 / 3.0, abs=1e-4)  # C began before the clip


def test_each_onset_is_in_one_clip_and_one_on_the_border_in_the_later() -> None:
    counts = [2.0 * of(*scale(), start_s=start, duration_s=2.0)["notes_per_s"] for start in (0, 2, 4)]
    assert counts == [4, 4, 1]


def test_few_notes_have_no_key_and_no_note_has_no_share() -> None:
    assert "key" in of(*scale(), minimum=9)
    few = of(*scale(), minimum=10)
    assert not {"key", "mode"} & few.keys()
    assert few["pc_0"] > 0.0
    assert of(*scale(), start_s=50.0) == {"notes_per_s": 0.0, "instruments": 0}


def test_every_program_that_a_score_can_name_is_of_one_family() -> None:
    families = [
        [name for name, own in measures.FAMILIES.items() if any(program in one for one in own)]
        for program in range(128)
    ]
    assert all(len(names) <= 1 for names in families)
    scored = {program: families[program] for program in {synthesis.STRINGS, *(program for _, program in PROGRAMS)}}
    assert all(scored.values()), scored
    expected = {73: "woodwind", 60: "brass", 47: "percussion", 46: "strings", 6: "keys", 19: "keys", 52: "voices"}
    assert {program: families[program] for program in expected} == {
        program: [name] for program, name in expected.items()
    }


# Scores and their sound

Bar = Sequence[tuple[int | None, float]]  # MIDI pitch (None: a rest) and length in quarter notes


def xml(pitch: int | None, length_q: float) -> str:
    lasting = f"<duration>{round(length_q * 4)}</duration><voice>1</voice>"
    if pitch is None:
        return f"<note><rest/>{lasting}</note>"
    step, alter = STEPS[pitch % 12][0], len(STEPS[pitch % 12]) - 1
    octave = pitch // 12 - 1
    return f"<note><pitch><step>{step}</step><alter>{alter}</alter><octave>{octave}</octave></pitch>{lasting}</note>"


def score(parts: dict[str, list[Bar]], marks: dict[int, str] | None = None) -> str:
    """MusicXML of parts in bars of four quarters; `marks` are dynamics at the beginning of a bar, from 0."""
    listed, written = "", ""
    for number, (name, bars) in enumerate(parts.items()):
        listed += f'<score-part id="P{number}"><part-name>{name}</part-name></score-part>'
        measured = ""
        for place, bar in enumerate(bars):
            time = "<time><beats>4</beats><beat-type>4</beat-type></time>"
            head = "" if place else f"<attributes><divisions>4</divisions>{time}</attributes>"
            if place in (marks or {}):
                mark = f"<dynamics><{(marks or {})[place]}/></dynamics>"
                head += f"<direction><direction-type>{mark}</direction-type></direction>"
            measured += f'<measure number="{place + 1}">{head}{"".join(xml(*note) for note in bar)}</measure>'
        written += f'<part id="P{number}">{measured}</part>'
    return f"<score-partwise><part-list>{listed}</part-list>{written}</score-partwise>"


REST: Bar = [(None, 4.0)]
SOFT: Bar = [(64, 4.0)]
LATE: Bar = [(None, 1.5), (60, 2.5)]


def melody(tonic: int) -> list[Bar]:
    """Two bars: the scale of a major key."""
    steps = SCALES["major"]
    return [[(tonic + step, 1.0) for step in steps[:4]], [(tonic + step, 1.0) for step in steps[4:]]]


@pytest.fixture
def corpus(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty corpus."""
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    folder = project.corpus("small")
    folder.mkdir(parents=True)
    project.params.write_text(project.params.read_text().replace("name: starter", "name: small"))
    return folder


def fill(corpus: Path, scores: dict[str, str], recordings: Sequence[str] = ()) -> None:
    """Write scores by Holst and recordings by Parry, and their catalogue."""
    rows = []
    for name, content in scores.items():
        (corpus / name).write_text(content)
        sha256 = catalogue.checksum(corpus / name)
        rows.append(catalogue.Movement("Holst", name, "1", name, "score", "CC0", "here", sha256))
    for seed, name in enumerate(recordings):
        soundfile.write(corpus / name, music(4.5, seed), RATE_HZ)
        rows.append(catalogue.Movement("Parry", name, "1", name, "recording", "CC0", "here"))
    catalogue.write(corpus, rows)


def onsets_s(path: Path) -> list[float]:
    """Where a sound sets in that lies within 20 dB of the loudest, after a quarter of a second that did not."""
    wave, rate_hz = soundfile.read(path)
    hop = rate_hz // 200
    level = np.abs(wave[: len(wave) // hop * hop]).reshape(-1, hop).max(axis=1)
    loud = level > 0.1 * level.max()
    return [place * hop / rate_hz for place in np.flatnonzero(loud) if not loud[max(0, place - 50) : place].any()]


def only_task(project: Project, corpus: Path, settings: Any) -> transcript.TranscriptionTask:
    """The only score of the corpus, as the stage `labels` hands it out after the stage `audio`."""
    (row,) = read_table(project.movements, "audio").itertuples()
    (movement,), _ = catalogue.read(corpus)
    (performance,) = audio.make_recipe(settings).performances(movement)
    target, sound = project.out("labels", "notes", "one.npz"), project.out("audio", str(row.file))
    return transcript.TranscriptionTask(catalogue.source(corpus, movement), movement.sha256, sound, target, performance)


LATE_S = 1.5 * Q_S
PIECES: dict[str, tuple[list[Bar], dict[int, str], list[float], float]] = {
    "a rest": ([REST, LATE, REST], {}, [0.0], 0.0),
    "a long pause": ([[(60, 1.0), (None, 3.0)], REST, REST, LATE], {}, [0.0, 12 * Q_S + LATE_S], 0.0),
    "a soft opening": ([SOFT, SOFT, LATE, LATE], {0: "pppp", 2: "ff"}, [0.0, 4 * Q_S], 8 * Q_S + LATE_S),
}


@pytest.mark.parametrize("orchestration", ["score", "strings"])
@pytest.mark.parametrize("piece", PIECES)
def test_notes_sound_where_the_transcript_has_them(
    project: Project, corpus: Path, changed: Changed, piece: str, orchestration: str
) -> None:
    bars, marks, expected_s, cut_s = PIECES[piece]
    fill(corpus, {"a.musicxml": score({"Piano": bars}, marks)})
    changes = {"audio__orchestration": orchestration, "audio__dynamics": "score", "audio__silence_db": 25.0}
    settings = changed(corpus__name="small", **changes)
    audio.run(project, settings)
    task = only_task(project, corpus, settings)
    notes = transcript.transcribe(task)
    loud_s = notes.onset_s[notes.pitch == 60]
    np.testing.assert_allclose(onsets_s(task.sound), loud_s, atol=0.05)
    np.testing.assert_allclose(loud_s, expected_s, atol=0.1)  # what is cut ends a few hops before what is heard
    assert -notes.onset_s[0] == pytest.approx(cut_s, abs=0.1)
    assert (-notes.onset_s[0] * RATE_HZ / 512) % 1.0 == pytest.approx(0.0, abs=0.01)
    assert set(notes.program) == {0}  # the piano that the score names, whatever plays it


def test_the_sound_of_another_score_is_refused(project: Project, corpus: Path, changed: Changed) -> None:
    fill(corpus, {"a.musicxml": score({"Piano": melody(60)})})
    settings = changed(corpus__name="small")
    audio.run(project, settings)
    task = only_task(project, corpus, settings)
    (corpus / "a.musicxml").write_text(score({"Piano": melody(61)}))
    with pytest.raises(Unusable, match="has changed since it was catalogued"):
        transcript.write(task)
    other = transcript.TranscriptionTask(**{**vars(task), "sha256": catalogue.checksum(corpus / "a.musicxml")})
    with pytest.raises(Unusable, match="does not begin as the score does; run `dvc repro -f audio`"):
        transcript.write(other)
    task.sound.unlink()
    with pytest.raises(Unusable, match="its sound cannot be read"):
        transcript.write(other)
    assert not task.target.exists()


def test_each_note_is_of_its_part_and_percussion_without_pitch_of_none(tmp_path: Path) -> None:
    drum = "<note><unpitched/><duration>16</duration><voice>1</voice></note>"
    parts = {"Violin 1": melody(72), "Violin 2": [REST, LATE], "Viola": melody(60), "Drum": [REST, REST]}
    content = score(parts).replace(
        xml(None, 4.0) + "</measure></part></score-partwise>", drum + "</measure></part></score-partwise>"
    )
    path = tmp_path / "score.musicxml"
    path.write_text(content)
    notes = synthesis.read_notes(path, synthesis.Interpretation("score"))
    assert "<unpitched/>" in content
    assert sorted((note.part, note.pitch) for note in notes) == sorted(
        [(0, 72 + step) for step in SCALES["major"]] + [(1, 60)] + [(2, 60 + step) for step in SCALES["major"]]
    )


# The stage

SCORES = {
    "a.musicxml": score({"Flute": melody(72), "Horn": [REST, LATE]}),
    "b.musicxml": score({"Violin": melody(62), "Viola": melody(62)}),
    "c.musicxml": score({"Soprano": melody(65), "Organ": melody(53)}),
}
RECORDINGS = ("x.flac", "y.flac", "z.flac")
SHORT = {
    "corpus__name": "small",
    "clips__duration_s": 2.0,
    "clips__minimum_fill": 0.3,
    "clips__ambiguous_works": "allow",  # "a.musicxml" and "b.musicxml" look alike
    "labels__minimum_notes": 3,
}


@pytest.fixture
def cut(project: Project, corpus: Path, changed: Changed) -> params.Params:
    """Three scores by one composer and three recordings by another, cut into clips."""
    fill(corpus, SCORES, RECORDINGS)
    settings = changed(**SHORT)
    audio.run(project, settings)
    clips.run(project, settings)
    return settings


def labelled(project: Project) -> pd.DataFrame:
    """The clips with their labels."""
    table = read_table(project.out("labels", "labels.csv"), "labels")
    return read_table(project.clips, "clips").merge(table, on="clip", validate="1:1")


def contents(project: Project) -> dict[str, bytes]:
    folder = project.out("labels")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scores that are read, in order."""
    names: list[str] = []
    spread = parallel.spread

    def record(function: Any, tasks: Sequence[Any], *rest: Any, **options: Any) -> Any:
        names.extend(task.path.name for task in tasks if isinstance(task, transcript.TranscriptionTask))
        return spread(function, tasks, *rest, **options)

    monkeypatch.setattr(parallel, "spread", record)
    return names


def test_the_stage_labels_scores_and_the_sound_of_recordings(project: Project, cut: params.Params) -> None:
    labels.run(project, cut)
    table = read_table(project.out("labels", "labels.csv"), "labels")
    assert tuple(table.columns) == labels.COLUMNS
    assert list(table["clip"]) == list(read_table(project.clips, "clips")["clip"])
    assert table[["loudness_db", "centroid_hz"]].notna().all(axis=None)
    table = labelled(project)
    recorded = table[table["composer"] == "Parry"]
    assert set(recorded[["key", "mode"]].to_numpy().ravel()) == {""}
    of_score = [name for name in labels.COLUMNS[3:] if name not in ("key", "mode")]
    assert recorded[of_score].isna().all(axis=None)
    flute, violins, church = (table[table["work"] == name].iloc[:2] for name in SCORES)
    assert list(flute["instruments"]) == [1, 2]
    assert list(flute["woodwind"]) == [1.0, pytest.approx(2.0 / 2.7, abs=1e-6)]  # the horn sounds from 3.3 s
    assert set(violins["strings"]) == {1.0}
    assert list(violins["notes_per_s"]) == [4.0, 3.0]
    assert church[["voices", "keys"]].eq(0.5).all(axis=None)
    assert church["key"].iloc[0].startswith("F")
    assert project.out("labels", "labels.png").read_bytes().startswith(b"\x89PNG")


def test_two_workers_write_the_same_bytes_as_one(
    project: Project, cut: params.Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels.run(project, cut)
    expected = contents(project)
    for path in project.out("labels", "notes").iterdir():
        path.unlink()
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "2")
    labels.run(project, cut)
    assert contents(project) == expected
    assert {Path(name).parts[0] for name in expected} == {"labels.csv", "left_out.csv", "labels.png", "notes"}


def test_a_score_is_read_once_whatever_the_clips(
    project: Project, cut: params.Params, changed: Changed, read: list[str]
) -> None:
    labels.run(project, cut)
    first = contents(project)
    labels.run(project, cut)
    assert contents(project) == first
    assert read == list(SCORES)
    longer = changed(**{**SHORT, "clips__duration_s": 3.0})
    clips.run(project, longer)
    labels.run(project, longer)
    assert read == list(SCORES)
    assert len(labelled(project)) == len(read_table(project.clips, "clips")) < len(first["labels.csv"].splitlines()) - 1


def test_other_sound_is_another_transcript_and_the_old_one_goes(
    project: Project, cut: params.Params, changed: Changed, read: list[str]
) -> None:
    labels.run(project, cut)
    before = {path.name for path in project.out("labels", "notes").iterdir()}
    faster = changed(**SHORT, audio__beats_per_minute=120.0)
    audio.run(project, faster)
    clips.run(project, faster)
    labels.run(project, faster)
    after = {path.name for path in project.out("labels", "notes").iterdir()}
    assert len(before) == len(after) == 3
    assert not before & after
    assert len(read) == 6


def test_a_score_that_fails_is_named_in_one_line_and_the_rest_goes_on(
    project: Project, corpus: Path, cut: params.Params, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "a.musicxml").write_text("other")
    (corpus / "c.musicxml").unlink()
    capsys.readouterr()
    labels.run(project, cut)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("labels: 2 scores without labels (")
    assert lines[0].endswith(
        "Holst / a.musicxml / 1: the file has changed since it was catalogued; run `symphony2vec corpus` again"
    )
    reasons = read_table(project.out("labels", "left_out.csv"), "labels")
    assert list(reasons["work"]) == ["a.musicxml", "c.musicxml"]
    assert reasons["reason"][1] == "cannot be opened: No such file or directory"
    table = labelled(project)
    assert table["loudness_db"].notna().all()
    assert set(table.loc[table["notes_per_s"].notna(), "work"]) == {"b.musicxml"}


def test_a_movement_that_left_the_catalogue_has_the_labels_of_its_sound(
    project: Project, corpus: Path, cut: params.Params
) -> None:
    rows, _ = catalogue.read(corpus)
    catalogue.write(corpus, [row for row in rows if row.work not in ("a.musicxml", "x.flac")])
    labels.run(project, cut)
    reasons = read_table(project.out("labels", "left_out.csv"), "labels")
    assert list(reasons["work"]) == ["a.musicxml", "x.flac"]
    assert reasons["reason"].str.startswith("the movement is no longer in the catalogue").all()
    table = labelled(project)
    assert table["loudness_db"].notna().all()
    assert set(table.loc[table["notes_per_s"].notna(), "work"]) == {"b.musicxml", "c.musicxml"}


def test_recordings_alone_are_labelled_and_plotted(project: Project, corpus: Path, changed: Changed) -> None:
    rows = list(RECORDINGS)
    fill(corpus, {}, [*rows, "p.flac", "q.flac", "r.flac"])
    movements, _ = catalogue.read(corpus)
    renamed = [
        entry if entry.work in rows else catalogue.Movement(**{**vars(entry), "composer": "Bax"}) for entry in movements
    ]
    catalogue.write(corpus, renamed)
    settings = changed(**SHORT)
    for stage in (audio, clips, labels):
        stage.run(project, settings)
    assert labelled(project)["notes_per_s"].isna().all()
    assert project.out("labels", "labels.png").is_file()


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_sound_that_cannot_be_read_is_named_in_one_line(project: Project, cut: params.Params, harm: str) -> None:
    sound = next(project.out("audio").glob("parry-x*.flac"))
    if harm == "missing":
        sound.unlink()
    else:
        sound.write_bytes(sound.read_bytes()[:30] + b"\0" * 500)
    with pytest.raises(UserError, match=r"parry-x.*cannot be read \(.*; `dvc repro -f audio` makes it again$"):
        labels.run(project, cut)
    assert not project.out("labels", "labels.csv").exists()


def test_damaged_notes_are_named_in_one_line(project: Project, cut: params.Params) -> None:
    labels.run(project, cut)
    path = next(project.out("labels", "notes").iterdir())
    for harmed in (path.read_bytes()[:100], b"", b"text"):
        path.write_bytes(harmed)
        with pytest.raises(UserError, match=r"npz cannot be read \(.*\); remove it, and `dvc repro labels` writes it"):
            labels.run(project, cut)


# Interrupted work

KILLED_IN_ITS_SECOND_SCORE = """
import os, signal, sys
from pathlib import Path
import numpy
from symphony2vec import params, parallel
from symphony2vec.labels import stage as labels
from symphony2vec.project import Project

def spread_and_die(function, tasks, *_, **__):
    for index, task in enumerate(tasks):
        if index == 1:
            def write_half(file, **arrays):
                file.write(b"half")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            numpy.savez_compressed = write_half
        yield index, function(task)

parallel.spread = spread_and_die
labels.run(Project(Path(sys.argv[1])), params.Params.model_validate_json(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_is_picked_up_and_ends_in_the_same_bytes(
    project: Project, cut: params.Params, read: list[str]
) -> None:
    command = [sys.executable, "-c", KILLED_IN_ITS_SECOND_SCORE, str(project.root), cut.model_dump_json()]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert not project.out("labels", "labels.csv").exists()
    assert len(list(project.out("labels", "notes").glob("[!.]*.npz"))) == 1
    labels.run(project, cut)
    assert read == list(SCORES)[1:]
    resumed = contents(project)
    for name in resumed:
        project.out("labels", name).unlink()
    labels.run(project, cut)
    assert contents(project) == resumed


def test_the_command_runs_the_stage(project: Project, cut: params.Params) -> None:
    project.params.write_text(
        project.params.read_text().replace("duration_s: 10.0", "duration_s: 2.0").replace("fill: 0.9", "fill: 0.3")
    )
    command = [str(Path(sys.executable).parent / "symphony2vec"), "--project", str(project.root), "labels"]
    process = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "SYMPHONY2VEC_WORKERS": "1"})
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "labels: 15 clips, 9 of them with a score"
