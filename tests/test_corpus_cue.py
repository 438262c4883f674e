"""Cue sheets: what their text means, which file they cut, and what becomes of the tracks in import and audio."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from conftest import music
from symphony2vec.audio import stage as audio
from symphony2vec.cli.corpus import corpus
from symphony2vec.corpus import catalogue, cue, recordings, sheets
from symphony2vec.errors import Unusable
from symphony2vec.params import Params
from symphony2vec.project import Project, read_table

RATE_HZ = 22050
SHEET = """PERFORMER "Orchestra"
TITLE "Symphonies 1 & 2"
FILE "CDImage.flac" WAVE
  TRACK 01 AUDIO
    TITLE "Symphony No. 1: I. Allegro"
    SONGWRITER "A B"
    INDEX 01 00:00:00
  TRACK 02 AUDIO
    TITLE "Symphony No. 2: I. Allegro"
    SONGWRITER "A B"
    INDEX 00 00:11:00
    INDEX 01 00:12:37
"""
CUT_S = round(12 + 37 / 75, 4)


def image(folder: Path, text: str | bytes = SHEET, name: str = "CDImage.flac", seconds: float = 25.0) -> Path:
    """One long recording, with its sheet beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    soundfile.write(file, music(seconds, 7), RATE_HZ)
    sheet = file.with_suffix(".cue")
    sheet.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def spans(found: recordings.Survey) -> list[tuple[float | None, float | None]]:
    return [(one.start, one.end) for one in found.recordings]


# The text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_sheet_is_read_in_every_encoding_and_with_every_line_end(encoding: str, ending: str) -> None:
    text = SHEET.replace("A B", "Fauré").replace("\n", ending)
    sheet = cue.parse(cue.decode(text.encode(encoding)))
    assert [track.fields["songwriter"] for track in sheet.tracks] == ["Fauré", "Fauré"]
    assert [track.start_s for track in sheet.tracks] == [0.0, pytest.approx(CUT_S, abs=1e-4)]


def test_quotation_marks_and_case_do_not_matter() -> None:
    text = (
        "title The Album\nfile CD Image.wav WAVE\ntrack 1 audio\n title Symphony No. 1\n"
        ' rem composer "A B"\n index 1 1:02:03\n'
    )
    sheet = cue.parse(text)
    (track,) = sheet.tracks
    assert (sheet.files, sheet.fields["title"]) == (["CD Image.wav"], "The Album")
    assert (track.fields["title"], track.fields["composer"]) == ("Symphony No. 1", "A B")
    assert track.start_s == pytest.approx(62 + 3 / 75)


def test_a_mark_that_is_never_closed_ends_with_its_line() -> None:
    sheet = cue.parse(SHEET.replace('I. Allegro"', "I. Allegro", 1).replace('"CDImage.flac" WAVE', '"CDImage.flac'))
    assert sheet.tracks[0].fields["title"] == "Symphony No. 1: I. Allegro"
    assert sheet.files[0].startswith("CDImage.flac")


def test_the_performer_is_not_the_composer() -> None:
    sheet = cue.parse(SHEET.replace('    SONGWRITER "A B"\n', '    PERFORMER "Herbert von Karajan"\n'))
    assert all("composer" not in cue.track_tags(sheet, track) for track in sheet.tracks)


def test_what_stands_above_the_tracks_holds_for_all_of_them() -> None:
    sheet = cue.parse('REM COMPOSER "Mahler"\nREM DISCNUMBER 2\n' + SHEET.replace('    SONGWRITER "A B"\n', ""))
    tags = cue.track_tags(sheet, sheet.tracks[1])
    assert (tags["composer"], tags["album"], tags["track"], tags["disc"]) == ("Mahler", "Symphonies 1 & 2", "2", "2")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no FILE"),
        ('FILE "x.wav" WAVE\n', "has no TRACK"),
        ("TRACK 01 AUDIO\nINDEX 01 00:00:00\n", "precedes the first FILE"),
        ('FILE "x.wav" WAVE\nTRACK 01 AUDIO\n', "track 1 has no INDEX 01"),
        ('FILE "x.wav" WAVE\nTRACK 01 AUDIO\nINDEX 01 00:00:75\n', "is not a number and a position"),
        ('FILE "x.wav" WAVE\nTRACK 01 AUDIO\nINDEX 01 noon\n', "is not a number and a position"),
    ],
)
def test_a_sheet_that_cannot_be_used_says_why(text: str, reason: str) -> None:
    with pytest.raises(cue.SheetError, match=reason):
        cue.parse(text)


@pytest.mark.parametrize(
    ("name", "beside", "expected"),
    [
        ("CDImage.wav", ["CDImage.wav", "CDImage.flac"], "CDImage.wav"),
        ("CDImage.wav", ["CDImage.flac", "other.flac"], "CDImage.flac"),
        ("cdimage.WAV", ["CDImage.wav"], "CDImage.wav"),
        (r"C:\Rips\CDImage.wav", ["CDImage.flac"], "CDImage.flac"),
        ("CDImage.wav", ["CDImage.flac", "CDImage.mp3"], None),
        ("CDImage.wav", ["other.flac"], None),
    ],
)
def test_the_file_of_a_sheet_is_found_beside_it(name: str, beside: list[str], expected: str | None) -> None:
    assert cue.find_file(name, beside) == expected


# The folder


def test_case_sound_5_a_long_file_is_cut_at_the_indices_of_its_sheet(tmp_path: Path) -> None:
    image(tmp_path)
    found = recordings.survey(tmp_path)
    assert spans(found) == [(0.0, CUT_S), (CUT_S, None)]
    assert {one.composer for one in found.recordings} == {"A B"}
    assert len({one.work for one in found.recordings}) == 2
    assert {one.path for one in found.recordings} == {"CDImage.flac"}
    assert not found.unidentified


def test_case_sound_5_the_tracks_reach_the_audio_stage(
    project: Project, tmp_path: Path, changed: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    file = image(tmp_path / "Music")
    found = recordings.survey(tmp_path / "Music", target=project.corpus("own"))
    filled = recordings.fill(project.corpus("own"), found)
    assert filled.added == 2
    assert recordings.fill(project.corpus("own"), found).added == 0
    movements, faults = catalogue.audit(project.corpus("own"))
    assert not faults
    assert len({one.sha256 for one in movements}) == 1
    audio.run(project, changed(corpus__name="own"))
    table = read_table(project.movements, "audio").sort_values("movement")
    assert table["duration_s"].tolist() == pytest.approx([CUT_S, 25.0 - CUT_S], abs=0.01)
    wave, _ = soundfile.read(file, dtype="float32")
    second, _ = soundfile.read(project.out("audio", table["file"].iloc[1]), dtype="float32")
    expected = wave[round(CUT_S * RATE_HZ) :]
    n = min(len(expected), len(second))
    assert np.corrcoef(expected[:n], second[:n])[0, 1] > 0.999


def test_case_sound_5_the_commands_import_copy_and_check(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "Music"
    image(folder)
    for words in (["import", str(folder), "--name", "own", "--copy"], ["check", "own"]):
        done = CliRunner().invoke(corpus, words, obj=project.root, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert [path.name for path in (project.corpus("own") / "audio").iterdir()] == ["CDImage.flac"]
    assert "all 2 movements exist" in done.output


def test_a_sheet_fits_the_sound_and_not_the_header(tmp_path: Path) -> None:
    image(tmp_path)
    wave, _ = soundfile.read(tmp_path / "CDImage.flac", dtype="int16")
    (tmp_path / "CDImage.flac").unlink()
    soundfile.write(tmp_path / "CDImage.wav", wave, RATE_HZ)
    data = bytearray((tmp_path / "CDImage.wav").read_bytes())
    at = data.find(b"data") + 4
    data[at : at + 4] = (len(wave) // 8).to_bytes(4, "little")  # bytes: a sixteenth of the sound
    (tmp_path / "CDImage.wav").write_bytes(data)
    found = recordings.survey(tmp_path)
    assert spans(found) == [(0.0, CUT_S), (CUT_S, None)]
    assert not found.unidentified


@pytest.mark.parametrize("named", ["CDImage.wav", "range.wav"])
def test_a_file_line_with_another_name_means_the_file_beside_it(tmp_path: Path, named: str) -> None:
    image(tmp_path, SHEET.replace("CDImage.flac", named))
    assert len(recordings.survey(tmp_path).recordings) == 2


def test_a_file_for_each_track_is_only_named_by_the_sheet(tmp_path: Path) -> None:
    lines = ['TITLE "Album"', 'REM COMPOSER "A B"']
    for number in (1, 2, 3):
        soundfile.write(tmp_path / f"{number:02d}.flac", music(4.0, number), RATE_HZ)
        lines += [f'FILE "{number:02d}.wav" WAVE', f"TRACK {number:02d} AUDIO", f'TITLE "Title {number}"']
        lines += ["INDEX 01 00:00:00"]
    (tmp_path / "album.cue").write_text("\n".join(lines))
    found = recordings.survey(tmp_path)
    assert spans(found) == [(None, None)] * 3
    assert [one.movement.partition(" ")[2] for one in found.recordings] == ["Title 1", "Title 2", "Title 3"]


def test_a_gap_that_lies_in_the_file_before_moves_no_track(tmp_path: Path) -> None:
    text = (
        'REM COMPOSER "A B"\nTITLE "Album"\nFILE "1.wav" WAVE\nTRACK 01 AUDIO\nTITLE "One"\nINDEX 01 00:00:00\n'
        'TRACK 02 AUDIO\nTITLE "Two"\nINDEX 00 00:03:00\nFILE "2.wav" WAVE\nINDEX 01 00:00:00\n'
    )
    for name in ("1.flac", "2.flac"):
        soundfile.write(tmp_path / name, music(4.0, len(name)), RATE_HZ)
    (tmp_path / "album.cue").write_text(text)
    found = recordings.survey(tmp_path)
    assert [(one.path, one.start) for one in found.recordings] == [("1.flac", None), ("2.flac", None)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SHEET.replace("00:12:37", "40:00:00"), "begins at 2400.00 s, but the file lasts 25.00 s"),
        (SHEET.replace("INDEX 01 00:00:00", "INDEX 01 00:13:00"), "not after the previous track"),
        (SHEET.replace("INDEX 01 00:12:37", "REM no index"), "track 2 has no INDEX 01"),
    ],
)
def test_a_sheet_that_does_not_fit_sets_its_file_aside(tmp_path: Path, text: str, reason: str) -> None:
    image(tmp_path, text)
    found = recordings.survey(tmp_path)
    assert not found.recordings
    (one,) = found.unidentified
    assert one.path == "CDImage.flac"
    assert reason in one.reason


def test_two_sheets_that_disagree_set_their_file_aside_and_two_that_agree_do_not(tmp_path: Path) -> None:
    file = image(tmp_path)
    (tmp_path / "CDImage.flac.cue").write_text(SHEET)
    assert len(recordings.survey(tmp_path).recordings) == 2
    (tmp_path / "CDImage.flac.cue").write_text(SHEET.replace("00:12:37", "00:13:00"))
    (one,) = recordings.survey(tmp_path).unidentified
    assert (one.path, "in different ways" in one.reason) == (file.name, True)


def test_a_sheet_whose_file_is_not_there_is_pointed_out(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "01.flac", music(4.0), RATE_HZ)
    (tmp_path / "Album.cue").write_text(SHEET)
    hints = recordings.survey(tmp_path).hints
    assert any("Album.cue is for 'CDImage.flac', which is not beside it" in hint for hint in hints)


def test_a_sheet_inside_the_file_cuts_it(tmp_path: Path) -> None:
    file = image(tmp_path)
    file.with_suffix(".cue").unlink()
    opened = mutagen.File(file)
    opened["CUESHEET"] = SHEET.replace("CDImage.flac", "something else.wav")
    opened.save()
    assert spans(recordings.survey(tmp_path)) == [(0.0, CUT_S), (CUT_S, None)]


def test_the_title_of_the_whole_file_names_no_track(tmp_path: Path) -> None:
    file = image(tmp_path, SHEET.replace('    SONGWRITER "A B"\n', ""))
    opened = mutagen.File(file)
    opened.update({"composer": "C D", "title": "The whole disc", "tracknumber": "1"})
    opened.save()
    found = recordings.survey(tmp_path)
    assert {one.composer for one in found.recordings} == {"C D"}
    assert not any("whole disc" in one.movement for one in found.recordings)


def test_folders_may_name_the_work_and_the_sheet_the_tracks(tmp_path: Path) -> None:
    image(tmp_path / "A B" / "Symphonies", SHEET.replace('    SONGWRITER "A B"\n', ""))
    found = recordings.survey(tmp_path)
    assert {(one.composer, one.work, one.source) for one in found.recordings} == {("A B", "Symphonies", "folders")}
    assert [one.movement for one in found.recordings] == [
        "01 Symphony No. 1: I. Allegro",
        "02 Symphony No. 2: I. Allegro",
    ]


def test_tracks_without_a_place_can_be_filled_in_and_passed_back(tmp_path: Path) -> None:
    image(tmp_path / "Music", SHEET.replace('    SONGWRITER "A B"\n', "", 1))
    image(tmp_path / "Music" / "X" / "Y", SHEET.replace("Symphon", "Concert"))
    target = tmp_path / "own"
    found = recordings.survey(tmp_path / "Music")
    (one,) = found.unidentified
    assert (one.start, one.end) == (0.0, CUT_S)
    recordings.fill(target, found)
    table = tmp_path / "filled.csv"
    table.write_text((target / recordings.UNPLACED).read_text().replace("CDImage.flac,,", "CDImage.flac,A B,"))
    again = recordings.survey(tmp_path / "Music", table=table)
    assert not again.unidentified
    assert len(again.recordings) == 4
    assert [row.source for row in again.recordings if (row.path, row.start) == ("CDImage.flac", 0.0)] == ["table"]


def test_a_table_that_names_the_whole_file_goes_before_its_sheet(tmp_path: Path) -> None:
    image(tmp_path / "Music")
    table = tmp_path / "titles.csv"
    table.write_text("path,composer,work,movement\nCDImage.flac,A B,Symphony 1,all\n")
    assert spans(recordings.survey(tmp_path / "Music", table=table)) == [(None, None)]


def test_folders_without_a_sheet_are_as_they_were(tmp_path: Path) -> None:
    image(tmp_path / "A" / "B")
    shutil.copy(tmp_path / "A" / "B" / "CDImage.flac", tmp_path / "A" / "B" / "second.flac")
    (tmp_path / "A" / "B" / "CDImage.cue").unlink()
    assert spans(recordings.survey(tmp_path)) == [(None, None)] * 2
    assert sheets.read(tmp_path, ["A/B/CDImage.flac"]) == sheets.Sheets({}, [], [])


# The crop


def test_the_tracks_of_a_recording_make_it_up_again() -> None:
    wave = music(3.0)
    parts = [audio.crop(wave, RATE_HZ, *ends) for ends in ((0.0, 1.0), (1.0, 2.5), (2.5, None))]
    assert np.array_equal(np.concatenate(parts), wave)
    assert audio.crop(wave, RATE_HZ, None, None) is wave


@pytest.mark.parametrize("ends", [(3.5, None), (1.0, 9.0)])
def test_a_movement_beyond_the_end_of_its_recording_is_set_aside(ends: tuple[float, float | None]) -> None:
    with pytest.raises(Unusable, match=r"but the recording lasts 3\.00 s"):
        audio.crop(music(3.0), RATE_HZ, *ends)
