"""Scores in Humdrum kern: lines that are moments, spines that split and join, and what partitura reads."""

from __future__ import annotations

import warnings
from pathlib import Path

import music21
import numpy as np
import partitura
import pytest

from symphony2vec.errors import Unusable
from symphony2vec.synthesis import Interpretation, kern, read_notes

CORPUS = Path(music21.__file__).parent / "corpus"
HEAD = "**kern\t**kern\n*Ivioln\t*Iflt\n*M4/4\t*M4/4\n=1\t=1\n"
TAIL = "==\t==\n*-\t*-\n"


def parse(tmp_path: Path, text: str) -> list[kern.Part]:
    path = tmp_path / "score.krn"
    path.write_text(text, encoding="utf-8")
    return kern.read_parts(path)[0]


def notes(part: kern.Part) -> list[tuple[float, float, int]]:
    return list(zip(part.onsets_q.tolist(), part.ends_q.tolist(), part.pitches.tolist(), strict=True))


def one(tmp_path: Path, *tokens: str, metre: str = "4/4") -> list[tuple[float, float, int]]:
    """The notes of one spine."""
    (part,) = parse(tmp_path, "\n".join(["**kern", f"*M{metre}", "=1", *tokens, "==", "*-", ""]))
    return notes(part)


@pytest.mark.parametrize(
    ("token", "pitch"),
    [
        ("4c", 60),
        ("4cc", 72),
        ("4ccc#", 85),
        ("4C", 48),
        ("4CC", 36),
        ("4B-", 58),
        ("4BB--", 45),
        ("4en", 64),
        ("4g##", 69),
    ],
)
def test_letters_and_accidentals_are_pitches(tmp_path, token, pitch):
    assert one(tmp_path, token) == [(0.0, 1.0, pitch)]


@pytest.mark.parametrize(
    ("token", "length_q"),
    [
        ("1c", 4.0),
        ("4c", 1.0),
        ("4.c", 1.5),
        ("4..c", 1.75),
        ("0c", 8.0),
        ("00c", 16.0),
        ("0.c", 12.0),
        ("12c", 1 / 3),
        ("3%2c", 8 / 3),
    ],
)
def test_lengths_are_fractions_of_a_whole_note(tmp_path, token, length_q):
    ((_, end_q, _),) = one(tmp_path, token)
    assert end_q == pytest.approx(length_q)


def test_three_triplets_end_exactly_on_the_beat(tmp_path):
    found = one(tmp_path, "12c", "12d", "12e", "[4f", "4f]")
    assert [end for _, end, _ in found][2] == 1.0
    assert found[3] == (1.0, 3.0, 65)


def test_a_chord_has_one_length_and_notes_without_a_space_are_two(tmp_path):
    assert one(tmp_path, "4c 4e 4g") == [(0.0, 1.0, 60), (0.0, 1.0, 64), (0.0, 1.0, 67)]
    assert one(tmp_path, "4c e") == [(0.0, 1.0, 60), (0.0, 1.0, 64)]
    assert one(tmp_path, "8ce\\L", "8d") == [(0.0, 0.5, 60), (0.0, 0.5, 64), (0.5, 1.0, 62)]


def test_ties_rests_and_grace_notes(tmp_path):
    assert one(tmp_path, "[2c", "2c_", "=2", "4c]", "4r", "qdd", "2e") == [(0.0, 5.0, 60), (6.0, 8.0, 64)]


def test_the_end_of_a_tie_keeps_the_accidental_of_its_beginning(tmp_path):
    assert one(tmp_path, "[4A-", "4A_", "4A]", "4A") == [(0.0, 3.0, 56), (3.0, 4.0, 57)]


def test_notes_that_are_marked_invisible_sound_and_cue_notes_do_not(tmp_path):
    assert one(tmp_path, "4cyy", "*cue", "4d", "*Xcue", "4e") == [(0.0, 1.0, 60), (2.0, 3.0, 64)]


def test_spines_move_together_line_by_line(tmp_path):
    first, second = parse(tmp_path, HEAD + "4c\t8cc\n.\t8dd\n2d\t4ee\n.\t4ff\n" + TAIL)
    assert notes(first) == [(0.0, 1.0, 60), (1.0, 3.0, 62)]
    assert notes(second) == [(0.0, 0.5, 72), (0.5, 1.0, 74), (1.0, 2.0, 76), (2.0, 3.0, 77)]


def test_a_spine_splits_into_voices_and_joins_again(tmp_path):
    lines = ["4c\t1cc", "*^\t*", "4d\t8f\t.", ".\t8g\t.", "*v\t*v\t*", "2e\t.", "=2\t=2", "1c\t1dd"]
    first, second = parse(tmp_path, HEAD + "\n".join(lines) + "\n" + TAIL)
    assert notes(first) == [
        (0.0, 1.0, 60),
        (1.0, 2.0, 62),
        (1.0, 1.5, 65),
        (1.5, 2.0, 67),
        (2.0, 4.0, 64),
        (4.0, 8.0, 60),
    ]
    assert notes(second) == [(0.0, 4.0, 72), (4.0, 8.0, 74)]
    assert first.bars.tolist() == [0, 0, 0, 0, 0, 1]


def test_neighbouring_parts_that_both_join_stay_two_parts(tmp_path):
    lines = ["*^\t*^", "4c\t4e\t4cc\t4ee", "*v\t*v\t*v\t*v", "4d\t4dd"]
    first, second = parse(tmp_path, HEAD + "\n".join(lines) + "\n" + TAIL)
    assert (first.pitches.tolist(), second.pitches.tolist()) == ([60, 64, 62], [72, 76, 74])


def test_exchanged_spines_keep_their_parts(tmp_path):
    first, second = parse(tmp_path, HEAD + "4c\t4cc\n*x\t*x\n4dd\t4d\n" + TAIL)
    assert (first.pitches.tolist(), second.pitches.tolist()) == ([60, 62], [72, 74])


def test_a_part_may_rest_for_several_bars_in_one_token(tmp_path):
    lines = ["1c\t0r", "=2\t=2", "1d\t.", "=3\t=3", "1e\t1ee"]
    first, second = parse(tmp_path, HEAD + "\n".join(lines) + "\n" + TAIL)
    assert first.bars_q.tolist() == second.bars_q.tolist() == [0.0, 4.0, 8.0, 12.0]
    assert notes(second) == [(8.0, 12.0, 76)]


def test_a_missing_rest_does_not_shift_what_follows(tmp_path):
    first, second = parse(tmp_path, HEAD + "1c\t2cc\n=2\t=2\n1d\t1dd\n" + TAIL)
    assert notes(first)[1][0] == notes(second)[1][0] == 4.0


def test_a_pickup_lies_before_the_first_bar_line(tmp_path):
    (part,) = parse(tmp_path, "**kern\n*M3/4\n4c\n=1\n2.d\n==\n*-\n")
    assert part.bars_q.tolist() == [-1.0, 0.0, 3.0]
    assert part.metres[0].start_q == -1.0
    assert part.bars.tolist() == [0, 1]


def test_two_staves_of_one_part_are_one_part_with_its_name_and_instrument(tmp_path):
    head = "**kern\t**dynam\t**kern\n"
    head += "".join(f"{word}\t*\t{word}\n" for word in ("*part1", '*I"Organo', "*Iorgan", "*MM90")) + "=1\t=1\t=1\n"
    (part,) = parse(tmp_path, head + "1C\tp cresc.\t1c\n=2\t=2\t=2\n1D\tff\t1d\n==\t==\t==\n*-\t*-\t*-\n")
    assert sorted(part.pitches.tolist()) == [48, 50, 60, 62]
    assert (part.name, part.instrument_sound) == ("Organo", "organ")
    assert [(mark.start_q, mark.sign) for mark in part.dynamics] == [(0.0, "p"), (4.0, "ff")]
    assert [(mark.start_q, mark.quarters_per_minute) for mark in part.tempi] == [(0.0, 90.0)]


def test_the_codes_of_humdrum_choose_the_instruments(tmp_path):
    path = tmp_path / "score.krn"
    path.write_text(HEAD + "1c\t1cc\n" + TAIL)
    programs = {note.pitch: note.program for note in read_notes(path, Interpretation(orchestration="score"))}
    assert programs == {60: 48, 72: 73}  # strings and flute


def test_lyrics_may_contain_other_line_ends_and_the_file_a_mark_at_its_beginning(tmp_path):
    path = tmp_path / "score.krn"
    path.write_bytes("\ufeff**kern\t**text\r\n4c\tla\u2028la\r\n*-\t*-\r\n".encode())
    (part,) = kern.read_parts(path)[0]
    assert notes(part) == [(0.0, 1.0, 60)]


def test_percussion_has_no_pitch(tmp_path):
    path = tmp_path / "score.krn"
    path.write_text("**kern\t**kern\n*Ipiatt\t*Iviolin\n4c\t4e\n*-\t*-\n")
    parts, percussion = kern.read_parts(path)
    assert [part.pitches.tolist() for part in parts] == [[64]]
    assert percussion


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no \\*\\*kern spine"),
        ("**text\nla\n*-\n", "no \\*\\*kern spine"),
        ("**kern\t**kern\n4c\n", "line 2 has 1 columns; expected 2"),
        ("**kern\n*M4/4\nc\n*-\n", "line 3 has the note 'c' without a length"),
        ("**kern\n4c\n**kern\n", "line 3 begins the spines a second time"),
        ("**kern\n*+\n", "line 2 adds a spine"),
        ("**kern\n4c\n*-\n**kern\n4d\n*-\n", "line 4 begins the spines a second time"),
        ("**kern\n" + "0000000000c\n4c\n" * 300, "begins after 1000000 quarter notes"),
        ("**kern\n" + "0" * 1000 + "c\n*-\n", "line 2 has a note of the length '000"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_line(tmp_path, text, reason):
    with pytest.raises(Unusable, match=f"not a readable score: .*{reason}"):
        parse(tmp_path, text)


@pytest.mark.parametrize("name", ["palestrina/Agnus_00.krn", "palestrina/Gloria_10.krn", "palestrina/Kyrie_03_a.krn"])
def test_the_notes_are_those_that_partitura_reads(name):
    """Apart from ties between chords, which partitura does not resolve: these files have none."""
    path = CORPUS / name
    found = sorted(note for part in kern.read_parts(path)[0] for note in notes(part))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arrays = [part.note_array() for part in partitura.load_kern(str(path)).parts]
    expected = sorted(
        (float(row["onset_quarter"]), float(row["onset_quarter"] + row["duration_quarter"]), int(row["pitch"]))
        for array in arrays
        for row in array
        if row["duration_quarter"] > 0
    )
    assert len(found) > 100
    assert [pitch for *_, pitch in found] == [pitch for *_, pitch in expected]
    np.testing.assert_allclose([times for *times, _ in found], [times for *times, _ in expected], atol=1e-4)
