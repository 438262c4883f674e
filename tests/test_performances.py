"""Several performances of a score: soundfonts, tempi and rooms, from the plan to the positive pairs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile

from symphony2vec import params, synthesis
from symphony2vec.audio import stage as audio
from symphony2vec.clips import stage as clips
from symphony2vec.corpus import catalogue
from symphony2vec.errors import Unusable, UserError
from symphony2vec.labels import stage as labels
from symphony2vec.models.temporal import stage as temporal
from symphony2vec.project import Project, read_table
from symphony2vec.synthesis import Interpretation, Room, fluidsynth, plan, reverberate

TITLES = ("Haydn / op. 76 no. 1", "I")
PATHS = (Path("A.sf2"), Path("B.sf2"))
NOTE = (
    "<note><pitch><step>{step}</step><octave>4</octave></pitch><duration>1</duration><voice>1</voice>"
    "<type>quarter</type></note>"
)
SCORE = (
    '<score-partwise version="3.1"><part-list><score-part id="P1"><part-name>Violin</part-name></score-part>'
    '</part-list><part id="P1">{bars}</part></score-partwise>'
)
BAR = "<measure number='{number}'>{head}{notes}</measure>"
HEAD = "<attributes><divisions>1</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>"


def score(first: int) -> str:
    """Eight bars of quarter notes, each another pitch than the one before."""
    steps = "CDEFGAB"
    bars = []
    for number in range(8):
        notes = "".join(NOTE.format(step=steps[(first + 4 * number + beat) % 7]) for beat in range(4))
        bars.append(BAR.format(number=number + 1, head=HEAD if number == 0 else "", notes=notes))
    return SCORE.format(bars="".join(bars))


def test_one_soundfont_without_spread_is_the_plain_score():
    (performance,) = plan(PATHS[:1], Interpretation(), 0.0, 0.0, 0, *TITLES)
    assert (performance.interpretation, performance.room) == (Interpretation(), Room())


def test_tempi_stay_within_their_bounds_and_are_as_often_fast_as_slow():
    drawn = [plan(PATHS[:1], Interpretation(), 0.25, 0.0, 0, "Haydn", str(n))[0] for n in range(2000)]
    scales = np.array([performance.interpretation.tempo_scale for performance in drawn])
    assert 0.8 <= scales.min() < 0.81
    assert 1.24 < scales.max() <= 1.25
    assert np.log(scales).mean() == pytest.approx(0.0, abs=0.01)


def test_a_work_is_performed_in_one_room_and_each_performance_in_its_own():
    first, second = plan(PATHS, Interpretation(), 0.2, 2.0, 0, *TITLES)
    other_movement, _ = plan(PATHS, Interpretation(), 0.2, 2.0, 0, TITLES[0], "II")
    other_work, _ = plan(PATHS, Interpretation(), 0.2, 2.0, 0, "Haydn / op. 76 no. 2", "I")
    other_seed, _ = plan(PATHS, Interpretation(), 0.2, 2.0, 1, *TITLES)
    assert first.room == other_movement.room
    assert first.interpretation != other_movement.interpretation
    assert len({one.room for one in (first, second, other_work, other_seed)}) == 4
    assert plan(PATHS[::-1], Interpretation(), 0.2, 2.0, 0, *TITLES) == [second, first]  # others change nothing
    assert all(0.2 <= one.room.decay_s <= 2.0 for one in (first, second, other_work, other_seed))


def test_the_tempo_scale_stretches_fixed_and_written_tempi_alike(tmp_path):
    path = tmp_path / "score.musicxml"
    path.write_text(score(0))
    for tempo in ("fixed", "score"):
        plain, fast = (
            synthesis.read_notes(path, Interpretation(tempo=tempo, tempo_scale=scale)) for scale in (1.0, 1.25)
        )
        np.testing.assert_allclose([n.onset_s for n in fast], [n.onset_s / 1.25 for n in plain])
        assert [n.pitch for n in fast] == [n.pitch for n in plain]


def test_reverberation_decays_by_60_db_in_its_time_at_its_level():
    click = np.zeros((1, 2), np.float32)
    click[0] = 1.0
    rate_hz, room = 22050, Room(1.0, -10.0, seed=3)
    wet = reverberate(click, rate_hz, room)
    assert wet.shape == (1 + rate_hz, 2)
    np.testing.assert_allclose(wet[0], 1.0, atol=1e-6)  # the direct sound
    energy = (wet[1:].astype(float) ** 2).sum(axis=0)
    np.testing.assert_allclose(10.0 * np.log10(energy), -10.0, atol=0.01)
    early, late = ((wet[start : start + 2205].astype(float) ** 2).mean() for start in (2205, 17640))  # 0.1 s and 0.8 s
    assert 10.0 * np.log10(early / late) == pytest.approx(60.0 * 0.7, abs=1.5)
    assert abs(np.corrcoef(wet[1:].T)[0, 1]) < 0.05  # the room sounds another way in each channel
    np.testing.assert_array_equal(wet, reverberate(click, rate_hz, room))
    assert np.abs(wet[1:] - reverberate(click, rate_hz, Room(1.0, -10.0, seed=4))[1:]).max() > 0.0


def test_two_soundfonts_of_one_name_are_refused(changed):
    with pytest.raises(UserError, match=r"audio.*two soundfonts have the same name"):
        changed(audio__soundfonts=["TimGM6mb", "/elsewhere/TimGM6mb.sf2"])


def test_a_compressed_soundfont_needs_fluidsynth(tmp_path):
    path = tmp_path / "small.sf3"
    shutil.copyfile(synthesis.find_soundfont("TimGM6mb"), path)
    with pytest.raises(UserError, match=r"small.sf3 is compressed; only audio.renderer: fluidsynth reads .sf3"):
        synthesis.find_soundfont(str(path))
    assert synthesis.find_soundfont(str(path), compressed=True) == path


def test_fluidsynth_that_is_not_installed_is_named_with_what_to_do(monkeypatch, tmp_path, changed):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="fluidsynth, which is not installed: `apt install fluidsynth`, or set it to"):
        fluidsynth.render([synthesis.Note(0.0, 1.0, 60, 80, 48)], synthesis.find_soundfont("TimGM6mb"))


NEEDS_FLUIDSYNTH = pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="FluidSynth is not installed")


@NEEDS_FLUIDSYNTH
def test_fluidsynth_sounds_as_the_built_in_renderer_does(tmp_path):
    path = tmp_path / "score.musicxml"
    path.write_text(score(0))
    notes = synthesis.read_notes(path, Interpretation())
    soundfont = synthesis.find_soundfont("TimGM6mb")
    waves = {}
    for renderer in ("built-in", "fluidsynth"):
        performance = synthesis.Performance("TimGM6mb", soundfont, Interpretation(), renderer=renderer)
        wave, rate_hz = synthesis.perform(notes, performance)
        again, _ = synthesis.perform(notes, performance)
        np.testing.assert_array_equal(wave, again)
        waves[renderer] = wave.mean(axis=1)
    assert rate_hz == 48000
    assert len(waves["built-in"]) == len(waves["fluidsynth"])
    mels = [
        librosa.power_to_db(librosa.feature.melspectrogram(y=wave, sr=rate_hz), top_db=60) for wave in waves.values()
    ]
    assert np.corrcoef(mels[0].ravel(), mels[1].ravel())[0, 1] > 0.95


@NEEDS_FLUIDSYNTH
def test_fluidsynth_drops_no_note_of_a_large_orchestra():
    """Two hundred notes at once sound as both halves of them together."""
    soundfont = synthesis.find_soundfont("TimGM6mb")
    notes = [
        synthesis.Note(0.0, 2.0, 30 + place % 60, 80, program) for place in range(200) for program in [40 + place // 60]
    ]
    whole, _ = fluidsynth.render(notes, soundfont)
    halves = [fluidsynth.render(notes[part::2], soundfont)[0] for part in (0, 1)]
    np.testing.assert_allclose(whole, halves[0] + halves[1], atol=2e-3 * np.abs(whole).max())


@NEEDS_FLUIDSYNTH
def test_a_soundfont_that_fluidsynth_cannot_read_is_a_reason(tmp_path):
    path = tmp_path / "broken.sf2"
    path.write_bytes(b"RIFF\0\0\0\0sfbk and nothing else")
    with pytest.raises(Unusable, match="FluidSynth cannot play it: "):
        fluidsynth.render([synthesis.Note(0.0, 1.0, 60, 80, 48)], path)


@pytest.fixture
def performed(
    project: Project, changed: Callable[..., params.Params], tmp_path: Path, monkeypatch
) -> tuple[Project, params.Params]:
    """Six works of one movement each and a recording, the scores in two performances, as far as the clips."""
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    corpus = project.corpus("small")
    corpus.mkdir(parents=True)
    rows = []
    for number in range(6):
        (corpus / f"{number}.musicxml").write_text(score(number))
        title = ("AB"[number % 2], f"Sonata {number}", "1. Allegro")
        rows.append(catalogue.Movement(*title, f"{number}.musicxml", "score", "CC0", "here"))
    soundfile.write(corpus / "recording.wav", 0.1 * np.random.default_rng(0).standard_normal(10 * 22050), 22050)
    rows.append(catalogue.Movement("A", "Sonata 9", "1. Allegro", "recording.wav", "recording", "CC0", "here"))
    catalogue.write(corpus, rows)
    other = tmp_path / "Other.sf2"
    shutil.copyfile(synthesis.find_soundfont("TimGM6mb"), other)
    settings = changed(
        corpus__name="small", audio__soundfonts=["TimGM6mb", str(other)], audio__tempo_spread=0.2,
        audio__reverberation_s=1.5, clips__duration_s=2.0, folds=["work-0", "work-1"],
    )  # fmt: skip
    audio.run(project, settings)
    clips.run(project, settings)
    return project, settings


def test_every_score_has_two_performances_and_a_recording_one(performed):
    project, _ = performed
    table = read_table(project.movements, "audio").fillna({"performance": ""})
    assert len(table) == 13
    by_title = table.groupby(["composer", "work"])["performance"].agg(sorted)
    assert by_title["A", "Sonata 9"] == [""]
    assert all(names == ["Other", "TimGM6mb"] for title, names in by_title.items() if title != ("A", "Sonata 9"))
    lengths = table[table["kind"] == "score"].pivot(index="work", columns="performance", values="duration_s")
    assert (lengths["Other"] != lengths["TimGM6mb"]).all()  # other tempi


def test_all_performances_of_a_work_are_in_one_split(performed):
    project, settings = performed
    for fold in settings.folds:
        table = read_table(project.out("clips", "folds", f"{fold}.csv"), "clips")
        of_work = table.groupby(["composer", "work"])
        assert (of_work["split"].nunique() == 1).all()
        assert sorted(of_work["performance"].nunique()) == [0, 2, 2, 2, 2, 2, 2]  # a recording has no name


def test_the_labels_follow_the_tempo_and_the_room_of_each_performance(performed):
    project, settings = performed
    labels.run(project, settings)
    index = read_table(project.clips, "clips")
    scores = index["performance"].notna().to_numpy()
    table = read_table(project.out("labels", "labels.csv"), "labels")
    assert table.loc[scores, "notes_per_s"].notna().all()
    assert table.loc[~scores, "notes_per_s"].isna().all()
    durations = read_table(project.movements, "audio").set_index("file")["duration_s"]
    dense = table.assign(file=index["file"], performance=index["performance"], work=index["work"])[scores]
    mean = dense.groupby(["work", "performance"]).agg(rate=("notes_per_s", "mean"), file=("file", "first"))
    ratios = mean["rate"].unstack()
    lengths = mean["file"].map(durations).unstack()
    faster = lengths["Other"] < lengths["TimGM6mb"]
    assert ((ratios["Other"] > ratios["TimGM6mb"]) == faster).all()  # the faster one has more notes a second


def test_two_performances_of_a_movement_are_one_movement_to_the_contrastive_loss(performed):
    project, _ = performed
    table = read_table(project.clips, "clips")

    class Clips:
        clips = table

    numbers = temporal.number_movements(Clips())  # type: ignore[arg-type]
    frame = pd.DataFrame({"number": numbers, "work": table["work"], "performance": table["performance"]})
    assert (frame.groupby("work")["number"].nunique() == 1).all()
    assert frame["number"].nunique() == 7
    assert frame.groupby("number")["performance"].nunique().max() == 2
