"""The same sound twice: the fingerprint, what an import leaves out, and the leak check on clips."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import mutagen
import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from click.testing import CliRunner

from symphony2vec import figures
from symphony2vec.audio import stage as audio
from symphony2vec.cli.corpus import corpus
from symphony2vec.clips import leaks, splits
from symphony2vec.clips import stage as clips
from symphony2vec.corpus import catalogue, duplicates, fingerprints, recordings
from symphony2vec.corpus.titles import IdentifiedRecording
from symphony2vec.features import stage as features
from symphony2vec.params import Params
from symphony2vec.project import Project, SplitFold, read_table, write_table

RATE_HZ = 22050


def piece(
    seconds: float = 20.0, seed: int = 0, semitones: int = 0, tempo: float = 1.0, bright: bool = False
) -> np.ndarray:
    """Chords of three voices with an envelope and a little noise, (N,) float32.

    The melody hangs on the seed alone: transposed, faster or brighter, it is the same music in another performance.
    """
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE_HZ)
    time_s = np.arange(count) / RATE_HZ
    notes = rng.integers(0, 24, (3, int(seconds * 4 * max(tempo, 1.0)) + 8))
    beat = time_s * 3.0 * tempo
    wave = np.zeros(count)
    for voice in notes:
        pitch_hz = 220.0 * 2.0 ** ((voice[beat.astype(int)] + semitones) / 12.0)
        phase = 2.0 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
        fading = np.exp(-2.0 * (beat % 1.0))
        for harmonic in range(1, 6):
            wave += fading * (0.8 if bright else 0.4) ** harmonic * np.sin(harmonic * phase)
    return (0.08 * wave + 0.002 * rng.standard_normal(count)).astype(np.float32)


def words_of(wave: np.ndarray, rate_hz: int = RATE_HZ) -> np.ndarray:
    return fingerprints.compute_fingerprint(soxr.resample(wave, rate_hz, fingerprints.RATE_HZ))


def encoded(wave: np.ndarray, kind: str, subtype: str, compression: float) -> np.ndarray:
    """What a lossy encoder leaves of it."""
    file = io.BytesIO()
    soundfile.write(file, wave, RATE_HZ, format=kind, subtype=subtype, compression_level=compression)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return np.asarray(decoded, dtype=np.float32)


def changed_take(wave: np.ndarray, change: str) -> tuple[np.ndarray, int]:
    """The same take as it comes to collections: its samples and their rate."""
    silence = np.zeros(round(1.7 * RATE_HZ), np.float32)
    return {
        "quieter": lambda: (0.1 * wave, RATE_HZ),
        "mp3": lambda: (encoded(wave, "MP3", "MPEG_LAYER_III", 0.9), RATE_HZ),
        "ogg": lambda: (encoded(wave, "OGG", "VORBIS", 0.9), RATE_HZ),
        "8 bits": lambda: (np.round(wave * 100) / 100, RATE_HZ),
        "16 kHz": lambda: (soxr.resample(wave, RATE_HZ, 16000), 16000),
        "48 kHz": lambda: (soxr.resample(wave, RATE_HZ, 48000), 48000),
        "silence before": lambda: (np.concatenate([silence, wave]), RATE_HZ),
        "cut at both ends": lambda: (wave[round(1.234 * RATE_HZ) : -RATE_HZ], RATE_HZ),
        "all at once": lambda: (
            soxr.resample(encoded(0.3 * wave[9000:], "MP3", "MPEG_LAYER_III", 0.9), RATE_HZ, 16000),
            16000,
        ),
    }[change]()


CHANGES = ["quieter", "mp3", "ogg", "8 bits", "16 kHz", "48 kHz", "silence before", "cut at both ends", "all at once"]


# The fingerprint


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_take_is_found_whatever_became_of_it(change: str, seed: int) -> None:
    wave = piece(seed=seed)
    (match,) = fingerprints.find_matches([words_of(wave), words_of(*changed_take(wave, change))])
    assert match.errors < 0.2
    assert match.frames * fingerprints.FRAME_S > 15.0


def test_a_match_says_how_far_apart_the_two_begin() -> None:
    wave = piece()
    late = wave[3 * RATE_HZ :]
    (match,) = fingerprints.find_matches([words_of(wave), words_of(late)])
    assert match.offset * fingerprints.FRAME_S == pytest.approx(3.0, abs=0.1)
    (turned,) = fingerprints.find_matches([words_of(late), words_of(wave)])
    assert (turned.offset, turned.errors) == (-match.offset, match.errors)


@pytest.mark.parametrize(
    "performance",
    [{"tempo": 1.06}, {"tempo": 0.9}, {"bright": True, "tempo": 1.1}, {"semitones": 1}],
    ids=["faster", "slower", "other instruments", "other pitch"],
)
def test_another_performance_of_the_same_music_is_another_sound(performance: dict[str, float]) -> None:
    assert fingerprints.find_matches([words_of(piece()), words_of(piece(**performance))]) == []


def test_other_music_is_another_sound() -> None:
    assert fingerprints.find_matches([words_of(piece(seed=seed)) for seed in range(12)]) == []


def test_silence_and_short_sounds_are_like_nothing() -> None:
    silence = np.zeros(10 * RATE_HZ, np.float32)
    short = piece(2.0)
    assert fingerprints.find_matches([words_of(silence), words_of(silence)]) == []
    assert fingerprints.find_matches([words_of(short), words_of(short)]) == []
    assert len(words_of(np.zeros(10, np.float32))) == 0
    assert fingerprints.find_matches([]) == []


# What an import leaves out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "Music"
    place.mkdir()
    return place


def record(file: Path, wave: np.ndarray, rate_hz: int = RATE_HZ, **tags: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, wave, rate_hz)
    if tags:
        opened = mutagen.File(file, easy=True)
        if opened.tags is None:
            opened.add_tags()
        opened.update(tags)
        opened.save()
    return file


def compare_audio(folder: Path, **options: object) -> recordings.Survey:
    return recordings.survey(folder, compare_audio=True, **options)  # type: ignore[arg-type]


def test_case_identity_5_one_take_under_two_sets_of_tags_stays_once(folder: Path) -> None:
    wave = piece(25.0)
    record(folder / "a.flac", wave, composer="A B", album="Symphony 5", title="I. Allegro")
    record(folder / "b.flac", wave, composer="A B", album="The Best of A B", title="Symphony 5: I. Allegro")
    found = compare_audio(folder)
    assert [one.path for one in found.recordings] == ["a.flac"]
    (one,) = found.duplicates
    assert (one.path, found.unidentified) == ("b.flac", [one])
    assert one.reason.startswith("the same sound as 'a.flac' (A B / ")


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".ogg", ".aiff"])
def test_case_identity_5_another_container_is_the_same_sound(folder: Path, suffix: str) -> None:
    wave = piece(25.0)
    record(folder / "A B/Symphony 5/1.flac", wave)
    record(folder / f"A B/The Best/x{suffix}", 0.5 * wave)
    assert [one.path for one in compare_audio(folder).duplicates] == [f"A B/The Best/x{suffix}"]


@pytest.mark.parametrize("change", CHANGES)
def test_case_identity_5_the_same_take_made_again_is_the_same_sound(folder: Path, change: str) -> None:
    wave = piece(25.0)
    record(folder / "A B/Symphony 5/1.flac", wave)
    record(folder / "A B/The Best/x.flac", *changed_take(wave, change))
    record(folder / "A B/Symphony 6/1.flac", piece(25.0, seed=1))
    assert [one.path for one in compare_audio(folder).duplicates] == ["A B/The Best/x.flac"]


def test_case_identity_5_performances_and_movements_all_stay(folder: Path) -> None:
    for name, performance in (
        ("1", {}),
        ("2", {"tempo": 1.07}),
        ("3", {"bright": True, "tempo": 0.95}),
        ("4", {"seed": 9}),
    ):
        record(folder / f"A B/Symphony {name}/1.flac", piece(25.0, **performance))  # type: ignore[arg-type]
    assert not compare_audio(folder).duplicates


def test_case_identity_5_the_command_says_which_and_why(project: Project, folder: Path) -> None:
    record(folder / "A/Symphony/1.flac", piece(25.0))
    record(folder / "A/Best of/1.flac", 0.5 * piece(25.0))
    words = ["import", str(folder), "--name", "own"]
    done = CliRunner().invoke(corpus, [*words, "--dry-run"], obj=project.root, catch_exceptions=False)
    assert "Duplicates, not used (1):\n  A/Best of/1.flac: the same sound as 'A/Symphony/1.flac'" in done.output
    assert not project.corpus("own").exists()
    CliRunner().invoke(corpus, words, obj=project.root, catch_exceptions=False)
    movements, _ = catalogue.read(project.corpus("own"))
    assert [one.work for one in movements] == ["Symphony"]
    assert "the same sound as" in (project.corpus("own") / "unplaced.csv").read_text()
    CliRunner().invoke(corpus, [*words, "--no-fingerprints"], obj=project.root, catch_exceptions=False)
    assert len(catalogue.read(project.corpus("own"))[0]) == 2


def test_a_track_of_a_long_file_and_its_own_file_are_the_same_sound(folder: Path) -> None:
    first, second = piece(25.0), piece(25.0, seed=1)
    record(folder / "A/Disc/image.flac", np.concatenate([first, second]))
    sheet = 'FILE "image.flac" WAVE\n'
    for number, index in ((1, "00:00:00"), (2, "00:25:00")):
        sheet += f'TRACK {number:02d} AUDIO\nTITLE "Title {number}"\nINDEX 01 {index}\n'
    (folder / "A/Disc/image.cue").write_text(sheet)
    record(folder / "A/Single/2.wav", second)
    assert [(one.path, one.start) for one in compare_audio(folder).duplicates] == [("A/Single/2.wav", None)]


def test_a_file_that_holds_another_and_more_is_told_and_both_stay(folder: Path) -> None:
    first, second = piece(25.0), piece(25.0, seed=1)
    record(folder / "A/W/1.flac", first)
    record(folder / "A/V/side.flac", np.concatenate([first, second]))
    record(folder / "A/W/twice.wav", np.concatenate([first, first]))
    record(folder / "A/U/long.flac", np.concatenate([first, *(piece(30.0, seed=s) for s in (3, 4, 5))]))
    found = compare_audio(folder)
    assert found.duplicates == []
    told = [hint for hint in found.hints if "contains the sound of 'A/W/1.flac' and more; both are kept" in hint]
    assert sorted(hint.split("'")[1] for hint in told) == ["A/U/long.flac", "A/V/side.flac", "A/W/twice.wav"]
    assert ["give both one work" in hint for hint in sorted(told)] == [True, True, False]


def test_a_suffix_goes_with_the_copy_that_it_told_apart(folder: Path) -> None:
    for name in ("a", "b"):
        record(folder / f"A/Idyll/{name}/1.flac", piece(10.0))
    record(folder / "A/Idyll/c/1.flac", piece(10.0, seed=1))
    for name in ("d", "e"):
        record(folder / f"A/Elegy/{name}/1.flac", piece(10.0, seed=2))
    tags = {"composer": "A", "title": "1"}
    for file in folder.rglob("*.flac"):
        opened = mutagen.File(file)
        opened.update(tags | {"work": file.parts[-3]})
        opened.save()
    placed = {one.path: one.movement for one in compare_audio(folder).recordings}
    assert placed == {"A/Idyll/a/1.flac": "1 (a)", "A/Idyll/c/1.flac": "1 (c)", "A/Elegy/d/1.flac": "1"}


def test_a_file_that_cannot_be_decoded_stops_nothing(folder: Path) -> None:
    record(folder / "A/W/1.flac", piece(8.0))
    (folder / "A/W/2.flac").write_bytes(b"no sound")
    assert [one.path for one in compare_audio(folder).recordings] == ["A/W/1.flac", "A/W/2.flac"]


# Which of them stays


def placed(path: str, composer: str = "A", work: str = "W", by: str = "tags") -> IdentifiedRecording:
    return IdentifiedRecording(path, composer, work, path, by)


def staying(group: list[IdentifiedRecording], *others: IdentifiedRecording) -> list[str]:
    kept, left = duplicates.drop_duplicates([*group, *others], [group])
    assert len(kept) + len(left) == len(group) + len(others)
    return [one.path for one in kept if one in group]


def test_a_selection_goes_before_nothing() -> None:
    many = [placed(f"{number}.flac", work="The Best of A") for number in range(9)]
    assert staying([placed("x.flac", work="The Best of A"), placed("y.flac", work="Symphony")], *many) == ["y.flac"]


def test_the_larger_work_stays_then_the_lossless_file_then_the_first() -> None:
    more = [placed("1.flac", work="Large"), placed("2.flac", work="Large")]
    assert staying([placed("a.flac", work="Small"), placed("b.mp3", work="Large")], *more) == ["b.mp3"]
    assert staying([placed("a.mp3", work="V"), placed("b.flac")]) == ["b.flac"]
    assert staying([placed("b.flac", work="V"), placed("a.flac")]) == ["a.flac"]


def test_the_table_of_the_user_decides() -> None:
    group = [placed("a.flac", "A"), placed("b.mp3", "B", by="table")]
    assert staying(group, placed("c.flac", "A")) == ["b.mp3"]


def test_of_two_composers_nobody_stays_and_both_are_named() -> None:
    group = [placed("a.flac", "A"), placed("b.flac", "B")]
    kept, left = duplicates.drop_duplicates(group, [group])
    assert kept == []
    assert all("under two composers, 'A' and 'B'" in one.reason for one in left)
    assert "'b.flac'" in left[0].reason
    assert "'a.flac'" in left[1].reason


# The leak check


@pytest.fixture
def planted(
    project: Project, folder: Path, changed: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> tuple[Project, Params]:
    """Two composers with four works each; one movement lies under a second title, as MP3 and cut elsewhere."""
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    place = project.corpus("own")
    place.mkdir(parents=True)
    rows = []
    for composer in "AB":
        for number in range(4):
            name = f"{composer}{number}.flac"
            wave = piece(26.0, seed=ord(composer) * 10 + number)[: 24 * RATE_HZ]
            if name == "A3.flac":
                wave = encoded(
                    piece(26.0, seed=ord("A") * 10)[30000 : 30000 + 24 * RATE_HZ], "MP3", "MPEG_LAYER_III", 0.8
                )
            soundfile.write(place / name, wave, RATE_HZ)
            rows.append(catalogue.Movement(composer, f"Work {number}", "1", name, "recording", "CC0", "here"))
    catalogue.write(place, rows)
    return project, changed(corpus__name="own", clips__duration_s=8.0, folds=["work-0", "work-1", "work-2"])


def test_a_leak_across_sides_is_found_and_nothing_else(
    planted: tuple[Project, Params], capsys: pytest.CaptureFixture[str]
) -> None:
    project, params = planted
    for stage in (audio, clips, features):
        stage.run(project, params)
    pairs = leaks.read_pairs(project)
    assert pairs is not None
    table = read_table(project.clips, "clips").set_index("clip")
    works = {
        frozenset((table.loc[a, "work"], table.loc[b, "work"]))
        for a, b in zip(pairs["clip"], pairs["other_clip"], strict=True)
    }
    assert works == {frozenset(("Work 0", "Work 3"))}
    assert set(table.loc[pairs["clip"], "composer"]) == {"A"}
    assert "clips of different works contain the same sound" in capsys.readouterr().out
    folds = splits.list_folds(params)
    found = leaks.build_tables(project, folds)
    counts, crossing = found["near_duplicate_counts"], found["near_duplicates"]
    sides = [
        dict(zip(own["work"], own["split"], strict=True))
        for own in (read_table(project.fold(d), "clips").query("composer == 'A'") for d in folds)
    ]
    for fold, side in zip(folds, sides, strict=True):
        own = counts[counts["fold"] == fold.name]
        assert bool(own["near_duplicates"].sum()) == (side["Work 0"] != side["Work 3"])
    assert any(side["Work 0"] != side["Work 3"] for side in sides)
    assert (crossing["split"] != crossing["other_split"]).all()
    assert (crossing["similarity"] >= 1.0 - fingerprints.MOST_ERRORS).all()
    figure = figures.near_duplicates(counts)
    assert figure.axes[0].get_ylim()[1] > 100.0 * counts["share"].max()


def clip_table(*sides: str) -> pd.DataFrame:
    rows = [(number, "A", f"W{number}", "1", side) for number, side in enumerate(sides)]
    return pd.DataFrame(rows, columns=["clip", "composer", "work", "movement", "split"])


def pair_table(*pairs: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame([(*pair, 5.0, 0.9) for pair in pairs], columns=leaks.COLUMNS)


def test_a_clip_counts_once_whichever_side_comes_first() -> None:
    table = clip_table("test", "train", "train", "test", "validation", "test")
    pairs = pair_table((0, 1), (0, 2), (2, 3), (4, 5))
    assert leaks.find_leaking_clips(pairs, table).tolist() == [0, 3]
    assert leaks.find_leaking_clips(pairs, table, "test", "validation").tolist() == [5]
    assert leaks.compute_metrics(pairs, table) == {"near_duplicate_test_clips": 2.0, "near_duplicate_test_share": 2 / 3}


def test_pairs_on_one_side_are_no_leak_and_unknown_pairs_are_no_zero() -> None:
    table = clip_table("test", "test", "train")
    assert leaks.compute_metrics(pair_table((0, 1)), table)["near_duplicate_test_clips"] == 0.0
    assert leaks.compute_metrics(None, table) == {}
    assert leaks.select_crossing_pairs(pair_table((0, 1), (1, 2)), table)["clip"].tolist() == [1]


def test_projects_whose_features_are_older_have_no_table(project: Project) -> None:
    assert leaks.build_tables(project, [SplitFold("work", 0)]) == {}


def test_no_pair_at_all_is_written_and_read_as_such(project: Project) -> None:
    write_table(project.out("features", leaks.FILE), pair_table())
    write_table(project.fold(SplitFold("work", 0)), clip_table("train", "validation", "test"))
    found = leaks.build_tables(project, [SplitFold("work", 0)])
    assert found["near_duplicates"].empty
    assert found["near_duplicate_counts"]["near_duplicates"].tolist() == [0, 0, 0]
    shutil.rmtree(project.out("features"))
