"""Importing recordings: what names mean (no disk), and what becomes of folders as people keep them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile

from symphony2vec.corpus import catalogue, composers, identification, recordings, settling, titles
from symphony2vec.corpus.tags import read_tags
from symphony2vec.corpus.titles import IdentifiedRecording, UnidentifiedRecording
from symphony2vec.errors import UserError

Sound = Callable[..., Path]
FRAMES = {"composer": "TCOM", "album": "TALB", "title": "TIT2", "tracknumber": "TRCK", "discnumber": "TPOS"}


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "Music"
    folder.mkdir()
    return folder


@pytest.fixture
def sound(music: Path) -> Sound:
    """Make one small recording below the folder `music`, each with bytes of its own, with tags if given."""
    made = []

    def make(path: str, **tags: str) -> Path:
        file = music / path
        file.parent.mkdir(parents=True, exist_ok=True)
        made.append(path)
        kind = {".oga": "OGG", ".aif": "AIFF"}.get(file.suffix.lower(), file.suffix[1:].upper())
        soundfile.write(file, np.sin(np.arange(800) * len(made) / 100), 8000, format=kind)
        if tags:
            tag(file, tags)
        return file

    return make


def tag(file: Path, tags: dict[str, str]) -> None:
    from mutagen import id3

    opened = mutagen.File(file)
    if opened.tags is None:
        opened.add_tags()
    for name, text in tags.items():
        if not isinstance(opened.tags, id3.ID3):
            opened[name] = text
        elif name == "work":
            opened.tags.add(id3.TXXX(encoding=3, desc="WORK", text=text))
        else:
            opened.tags.add(getattr(id3, FRAMES[name])(encoding=3, text=text))
    opened.save()


def named(found: recordings.Survey) -> dict[str, tuple[str, str, str]]:
    return {one.path: (one.composer, one.work, one.movement) for one in found.recordings}


def reasons(found: recordings.Survey | recordings.ImportResult) -> dict[str, str]:
    return {one.path: one.reason for one in found.unidentified}


def settled(*rows: tuple[str, str, str, str], **merges: str) -> list[tuple[str, ...]]:
    return [
        astuple(one)[:4] for one in settling.unify_names([IdentifiedRecording(*row, "folders") for row in rows], merges)
    ]


# What names mean


@pytest.mark.parametrize(
    ("path", "composer", "work", "movement"),
    [
        ("Bach/Suite/1 Air.flac", "Bach", "Suite", "1 Air"),
        ("Bach/Mass/Part 1/Kyrie.flac", "Bach", "Mass", "Part 1 / Kyrie"),
        ("Bach/Mass/CD1/Kyrie.flac", "Bach", "Mass", "Kyrie"),
        ("Bach/Mass/Disc 2/Part 2/Credo.flac", "Bach", "Mass", "Part 2 / Credo"),
        ("CD 01/Bach/disk-2/Mass/a.b.flac", "Bach", "Mass", "a.b"),
        ("Bach,_Johann_Sebastian/Mass/x.flac", "Johann Sebastian Bach", "Mass", "x"),
        ("Bach,  Johann\nSebastian/Mass\t1/x.flac", "Johann Sebastian Bach", "Mass 1", "x"),
        ("Strauss, Jr./Waltz/x.flac", "Strauss, Jr.", "Waltz", "x"),
        ("Crosby, Stills, Nash/Song/x.flac", "Crosby, Stills, Nash", "Song", "x"),
        ("Antoni\u0301n/C\u030ca\u0301st/x.flac", "Antonín", "Část", "x"),
    ],
)
def test_folders_name_composer_work_and_movement(path: str, composer: str, work: str, movement: str) -> None:
    assert titles.identify_by_folders(path) == IdentifiedRecording(path, composer, work, movement, "folders")


@pytest.mark.parametrize(
    ("path", "reason", "composer"),
    [
        ("x.flac", "no folder of a composer above it", ""),
        ("Bach/x.flac", "no folder of a work between the composer and the file", "Bach"),
        ("Bach/CD1/x.flac", "no folder of a work between the composer and the file", "Bach"),
        ("Various Artists/Hits/x.flac", "'Various Artists' is a placeholder", ""),
    ],
)
def test_a_work_is_never_guessed(path: str, reason: str, composer: str) -> None:
    found = titles.identify_by_folders(path)
    assert isinstance(found, UnidentifiedRecording)
    assert reason in found.reason
    assert (found.composer, found.work, found.movement) == (composer, "", "x")


@pytest.mark.parametrize(
    ("tags", "movement"),
    [
        ({"title": "Allegro"}, "Allegro"),
        ({"title": "Allegro", "track": "1/12"}, "01 Allegro"),
        ({"title": "Allegro", "track": "07", "disc": "1/1"}, "07 Allegro"),
        ({"title": "Allegro", "track": "7", "disc": "2/3"}, "02-07 Allegro"),
        ({"title": "Allegro", "track": "7", "disc": "1"}, "01-07 Allegro"),
        ({"title": "07 Allegro", "track": "7"}, "07 Allegro"),
        ({"title": "Allegro", "track": "A"}, "Allegro"),
        ({"track": "3"}, "03 stem"),
    ],
)
def test_track_and_disc_order_the_movements(tags: dict[str, str], movement: str) -> None:
    found = titles.identify_by_tags("x/stem.flac", {"composer": "Bach", "album": "Suite"} | tags)
    assert found == IdentifiedRecording("x/stem.flac", "Bach", "Suite", movement, "tags")


def test_the_work_goes_before_the_album() -> None:
    found = titles.identify_by_tags("x.flac", {"composer": "Bach", "album": "Best of", "work": "Suite"})
    assert isinstance(found, IdentifiedRecording)
    assert found.work == "Suite"


def test_auto_takes_tags_where_they_name_composer_and_work_else_folders() -> None:
    path = "Kalmár/Work/x.flac"
    by_tags = titles.identify(path, {"composer": "Tag", "album": "Album"})
    by_folders = titles.identify(path, {"composer": "Tag"})
    neither = titles.identify("x.flac", {"composer": "Tag"})
    assert isinstance(by_tags, IdentifiedRecording)
    assert isinstance(by_folders, IdentifiedRecording)
    assert (by_tags.composer, by_folders.composer) == ("Tag", "Kalmár")
    assert neither == UnidentifiedRecording(
        "x.flac", "no folder of a composer above it, and no tag of work or album", "Tag", "", "x"
    )


def test_spellings_that_differ_by_case_and_accents_become_the_most_frequent_one() -> None:
    rows = [
        ("a", "Dvořák", "W", "1"),
        ("b", "DVORAK", "w", "2"),
        ("c", "Dvorak", "W", "3"),
        ("d", "Dvořák", "W", "4"),
    ]
    found = settled(*rows)
    assert {row[1] for row in found} == {"Antonín Dvořák"}
    assert {row[2] for row in found} == {"W"}


def test_of_equally_frequent_spellings_the_one_with_accents_stands() -> None:
    found = settled(("a", "NUNEZ", "W", "1"), ("b", "Nunez", "W", "2"), ("c", "Núñez", "W", "3"))
    assert {row[1] for row in found} == {"Núñez"}


def test_names_that_are_no_spellings_of_each_other_stay_apart() -> None:
    rows = [("a", "ハイドン", "W", "1"), ("b", "バイドン", "W", "2"), ("c", "Bach", "W", "3")]
    assert [row[1] for row in settled(*rows)] == ["ハイドン", "バイドン", "Johann Sebastian Bach"]


def test_merges_hold_for_every_spelling_and_win_over_frequency() -> None:
    rows = [
        ("a", "beethoven", "W", "1"),
        ("b", "Beethoven", "W", "2"),
        ("c", "ludwig van beethoven", "W", "3"),
    ]
    assert {row[1] for row in settled(*rows, Beethoven="Ludwig van Beethoven")} == {"Ludwig van Beethoven"}


@pytest.mark.parametrize(
    ("a", "b", "alike"),
    [
        ("Lima", "Ana Lima", True),
        ("Piotr Chmielewskij", "Piotr Chmielewsky", True),
        ("Johann Strauss", "Richard Strauss", False),
        ("Bach", "Offenbach", False),
    ],
)
def test_look_alikes_are_hinted_at(a: str, b: str, alike: bool) -> None:
    assert composers.may_be_same(a, b) is alike
    hints = settling.collect_hints(
        [IdentifiedRecording("a", a, "W", "1", "folders"), IdentifiedRecording("b", b, "V", "1", "folders")]
    )
    assert any("may be one composer" in hint for hint in hints) is alike


def test_one_work_under_two_names_is_hinted_at() -> None:
    works = ["Symphony in D", "Symphony No. 5 in D", "Symphony No. 6 in F"]
    hints = settling.collect_hints([IdentifiedRecording(work, "Bach", work, "1", "folders") for work in works])
    option = '--work "Bach: Symphony in D=Symphony No. 5 in D"'
    assert hints == [
        f"Bach: 'Symphony in D' and 'Symphony No. 5 in D' may be one work; {option} merges them, --apart instead of "
        "--work keeps them apart"
    ]


def test_a_folder_named_half_by_tags_is_hinted_at() -> None:
    hints = settling.collect_hints(
        [IdentifiedRecording("x/a", "Bach", "W", "1", "tags"), IdentifiedRecording("x/b", "Bach", "W", "2", "folders")]
    )
    assert hints == ["x: some files are identified by tags and some by folders; check that the names of works agree"]


@pytest.mark.parametrize(
    ("paths", "movements"),
    [
        (["B/W/1.flac", "B/W/1.wav"], ["1 (1.flac)", "1 (1.wav)"]),
        (["B/W/CD1/1.flac", "B/W/CD2/1.flac"], ["1 (CD1/1.flac)", "1 (CD2/1.flac)"]),
        (["B/W/e\u0301", "B/W/\u00e9"], ["1 (B/W/é, 1)", "1 (B/W/é, 2)"]),
    ],
)
def test_files_of_one_title_are_kept_and_told_apart(paths: list[str], movements: list[str]) -> None:
    assert [row[3] for row in settled(*((path, "B", "W", "1") for path in paths))] == movements


def test_telling_apart_ends_even_where_its_own_names_are_taken() -> None:
    rows = [("x/1", "B", "W", "m"), ("y/1", "B", "W", "m"), ("z/m (x/1)", "B", "W", "m (x/1)")]
    found = settled(*rows)
    assert len({row[3] for row in found}) == len(rows)


def test_a_table_places_rows_and_says_which_it_cannot(tmp_path: Path) -> None:
    table = tmp_path / "titles.csv"
    rows = [
        'a.flac,"Bach, J. S.",Suite,1,CC0',
        "a.flac,Bach,Suite,2,",
        "gone.flac,Bach,Suite,3,",
        "../../etc/x.flac,Bach,Suite,4,",
        "b.flac,Bach,,5,",
        "empty.flac,Bach,Suite,6,",
    ]
    table.write_text("\n".join(["path,composer,work,movement,licence", *rows]), encoding="utf-8")
    results = identification.identify_by_table(
        catalogue.read_rows(table, recordings.TITLES), ["a.flac", "b.flac"], {"empty.flac": "empty"}
    )
    assert results[0] == IdentifiedRecording("a.flac", "J. S. Bach", "Suite", "1", "table", "CC0")
    assert [one.reason for one in results[1:]] == [
        "row 3: the path is already in an earlier row",
        "row 4: no recording with this path in the folder",
        "row 5: the path leads outside the folder",
        "row 6: no work",
    ]


# What becomes of folders


@pytest.mark.parametrize("suffix", ["wav", "WAV", "flac", "ogg", "oga", "mp3", "aif"])
def test_tags_are_read_from_every_kind_of_file(sound: Sound, music: Path, suffix: str) -> None:
    tags = {
        "composer": "武満徹",
        "album": "A",
        "title": "T",
        "tracknumber": "2/3",
        "discnumber": "1/2",
        "work": "W",
    }
    file = sound(f"x.{suffix}", **tags)
    names = {"tracknumber": "track", "discnumber": "disc"}
    assert read_tags(file) == {names.get(name, name): text for name, text in tags.items()}
    assert named(recordings.survey(music, "tags"))[f"x.{suffix}"] == ("武満徹", "W", "01-02 T")


def test_files_without_or_with_broken_tags_have_none(sound: Sound, music: Path) -> None:
    broken = music / "broken.mp3"
    broken.write_bytes(b"ID3\x04\x00\x00\xff\xff\xff\xff" + b"\xff" * 50)
    assert read_tags(sound("x.flac")) == {}
    assert read_tags(broken) == {}


def test_litter_is_passed_over_and_other_files_are_counted(sound: Sound, music: Path) -> None:
    sound("Bach/Suite/1.flac")
    for path in ("Bach/Suite/._1.flac", ".hidden/x/y.flac", "__MACOSX/Bach/Suite/1.flac", ".DS_Store"):
        (music / path).parent.mkdir(parents=True, exist_ok=True)
        (music / path).write_bytes(b"x")
    for path in ("Bach/booklet.PDF", "Bach/2.m4p", "README"):
        (music / path).write_bytes(b"x")
    found = recordings.survey(music)
    assert list(named(found)) == ["Bach/Suite/1.flac"]
    assert not found.unidentified
    assert found.other_files == {".pdf": 1, ".m4p": 1, "without suffix": 1}
    assert "1 .m4p cannot be read; convert them to flac to use them" in found.hints


def test_what_cannot_be_opened_is_unplaced_with_its_reason(sound: Sound, music: Path, tmp_path: Path) -> None:
    sound("Bach/Suite/1.flac")
    place = music / "Bach" / "Suite"
    (place / "empty.flac").touch()
    (tmp_path / "away.flac").write_bytes(b"x")
    (place / "away.flac").symlink_to(tmp_path / "away.flac")
    (place / "gone.flac").symlink_to("nowhere.flac")
    (place / "loop.flac").symlink_to("loop.flac")
    (music / "outside").symlink_to(tmp_path)
    (music / "within").symlink_to(music / "Bach")
    os.mkfifo(place / "pipe.flac")
    (place / "C:").mkdir()
    (music / "C:").mkdir()
    (music / "C:" / "x.flac").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(place) + b"/caf\xe9.flac")).write_bytes(b"x")
    found = reasons(recordings.survey(music))
    assert found.pop("Bach/Suite/loop.flac")
    assert found == {
        "Bach/Suite/empty.flac": "empty (0 bytes)",
        "Bach/Suite/away.flac": "a link that leads outside the folder; import the folder that it leads to",
        "Bach/Suite/gone.flac": "cannot be opened: No such file or directory",
        "Bach/Suite/pipe.flac": "not a regular file",
        "Bach/Suite/caf\\udce9.flac": "its name is not UTF-8; rename it",
        "C:/x.flac": "its name would lead outside the folder on some systems; rename it",
        "outside": "a link that leads outside the folder; import the folder that it leads to",
    }


@pytest.mark.parametrize(
    "name", ["新世界より", "x" * 200, "🎵💥", "new\nline\r", "Cafe\u0301", 'a, b "c"', " space ", "=SUM(A1)"]
)
def test_every_name_goes_into_the_catalogue_and_back(sound: Sound, music: Path, tmp_path: Path, name: str) -> None:
    file = sound(f"{name}/{name}/{name}.flac")
    target = tmp_path / "data" / "recordings"
    recordings.fill(target, recordings.survey(music))
    movements, faults = catalogue.audit(target)
    assert not faults
    assert catalogue.source(target, movements[0]) == file
    assert movements[0].work == " ".join(unicodedata.normalize("NFC", name).split())
    assert movements[0].kind == "recording"
    assert movements[0].origin == f"recording: {name}/{name}/{name}.flac"


def test_importing_again_gives_the_same_bytes_and_notices_changes(sound: Sound, music: Path, tmp_path: Path) -> None:
    for title in "123":
        sound(f"Bach/Suite/{title}.flac")
    target = tmp_path / "recordings"
    first = recordings.fill(target, recordings.survey(music), "CC0")
    assert (first.added, first.changed, first.removed) == (3, 0, 0)
    before = (target / "catalogue.csv").read_bytes()
    again = recordings.fill(target, recordings.survey(music), "CC0")
    assert (again.added, again.changed, again.removed) == (0, 0, 0)
    assert (target / "catalogue.csv").read_bytes() == before
    sound("Bach/Suite/1.flac")
    sound("Bach/Suite/4.flac")
    (music / "Bach/Suite/2.flac").unlink()
    changed = recordings.fill(target, recordings.survey(music), "CC0")
    assert (changed.added, changed.changed, changed.removed) == (1, 1, 1)
    assert {one.licence for one in changed.movements} == {"CC0"}


def test_copies_lie_in_the_corpus_and_right_ones_are_not_made_again(sound: Sound, music: Path, tmp_path: Path) -> None:
    long = "長" * 83
    first, _ = sound("Bach/Suite/1.flac"), sound(f"Bach/Suite/{long}.flac")
    target = tmp_path / "recordings"
    recordings.fill(target, recordings.survey(music), copy=True)
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert files == {"catalogue.csv", "audio/Bach/Suite/1.flac", f"audio/Bach/Suite/{long}.flac"}
    copied = target / "audio/Bach/Suite/1.flac"
    before = copied.stat().st_mtime_ns
    recordings.fill(target, recordings.survey(music), copy=True)
    assert copied.stat().st_mtime_ns == before
    copied.write_bytes(b"damaged")
    recordings.fill(target, recordings.survey(music), copy=True)
    assert copied.read_bytes() == first.read_bytes()
    first.unlink()
    assert catalogue.audit(target)[1] == []


def test_a_folder_inside_the_corpus_needs_no_originals(sound: Sound, music: Path) -> None:
    sound("flac/Bach/Suite/1.flac")
    recordings.fill(music, recordings.survey(music / "flac", target=music), copy=True)
    movements, faults = catalogue.audit(music)
    assert [one.path for one in movements] == ["flac/Bach/Suite/1.flac"]
    assert not faults
    assert not (music / "originals.txt").exists()


def test_a_corpus_below_the_folder_is_not_imported_into_itself(sound: Sound, music: Path) -> None:
    sound("Bach/Suite/1.flac")
    target = music / "project" / "data" / "recordings"
    for _ in range(2):
        filled = recordings.fill(target, recordings.survey(music, target=target), copy=True)
        assert [one.origin for one in filled.movements] == ["recording: Bach/Suite/1.flac"]


def test_what_could_not_be_placed_can_be_filled_in_and_passed_back(sound: Sound, music: Path, tmp_path: Path) -> None:
    sound("Bach/Suite/1.flac")
    sound("Bach/loose.flac")
    target, mine = tmp_path / "recordings", tmp_path / "mine.csv"
    recordings.fill(target, recordings.survey(music))
    text = (target / "unplaced.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0] == "path,composer,work,movement,reason"
    assert "Bach/loose.flac,Bach,,loose," in text
    mine.write_text(text.replace("Bach,,loose", "Bach,Suite,2"), encoding="utf-8")
    found = recordings.survey(music, table=mine, target=target)
    assert named(found) == {
        "Bach/Suite/1.flac": ("Johann Sebastian Bach", "Suite", "1"),
        "Bach/loose.flac": ("Johann Sebastian Bach", "Suite", "2"),
    }
    recordings.fill(target, found)
    assert not (target / "unplaced.csv").exists()
    assert list(reasons(recordings.survey(music, "csv", mine)).values()) == ["not in the table"]


@pytest.mark.parametrize(("disk", "written"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_table_finds_names_whose_accents_are_encoded_otherwise(
    sound: Sound, music: Path, tmp_path: Path, disk: str, written: str
) -> None:
    sound(unicodedata.normalize(disk, "é.flac"))
    row = f"{unicodedata.normalize(written, 'é.flac')};Bach;Suite;1"
    (tmp_path / "t.csv").write_text(f"path;composer;work;movement\r\n{row}\r\n", encoding="utf-8-sig")
    found = recordings.survey(music, "csv", tmp_path / "t.csv")
    assert list(named(found).values()) == [("Johann Sebastian Bach", "Suite", "1")]


def test_a_licence_in_the_table_goes_before_the_general_one(sound: Sound, music: Path, tmp_path: Path) -> None:
    sound("Bach/Suite/1.flac")
    sound("Bach/Suite/2.flac")
    table = tmp_path / "t.csv"
    table.write_text("path,composer,work,movement,licence\nBach/Suite/1.flac,Bach,Suite,1,CC0\n", encoding="utf-8")
    filled = recordings.fill(tmp_path / "c", recordings.survey(music, table=table), "private")
    assert {one.movement: one.licence for one in filled.movements} == {"1": "CC0", "2": "private"}


def test_the_list_of_unplaced_files_is_not_written_over_while_it_is_read(
    sound: Sound, music: Path, tmp_path: Path
) -> None:
    sound("Bach/Suite/1.flac")
    sound("loose.flac")
    recordings.fill(tmp_path / "c", recordings.survey(music))
    with pytest.raises(UserError, match=r"unplaced\.csv is overwritten by every import; rename it"):
        recordings.survey(music, table=tmp_path / "c" / "unplaced.csv", target=tmp_path / "c")


def test_a_file_that_breaks_while_it_is_read_does_not_stop_the_others(
    sound: Sound, music: Path, tmp_path: Path
) -> None:
    sound("Bach/Suite/1.flac")
    lost = sound("Bach/Suite/2.flac")
    found = recordings.survey(music)
    lost.unlink()
    filled = recordings.fill(tmp_path / "c", found)
    assert [one.movement for one in filled.movements] == ["1"]
    assert reasons(filled) == {"Bach/Suite/2.flac": "cannot be read: No such file or directory"}


def test_of_the_same_bytes_twice_one_is_left_out(sound: Sound, music: Path, tmp_path: Path) -> None:
    file = sound("Bach/Suite/1.flac")
    (music / "Bach/Best of").mkdir()
    (music / "Bach/Best of/x.flac").write_bytes(file.read_bytes())
    filled = recordings.fill(tmp_path / "c", recordings.survey(music))
    assert [one.path for one in filled.movements] == ["Bach/Suite/1.flac"]
    assert reasons(filled) == {
        "Bach/Best of/x.flac": "the same sound as 'Bach/Suite/1.flac' (Johann Sebastian Bach / Suite / 1), "
        "which is kept"
    }
    assert filled.duplicates == filled.unidentified


def test_a_merge_that_meets_nobody_is_pointed_out(sound: Sound, music: Path) -> None:
    sound("Bach/Suite/1.flac")
    hints = recordings.survey(music, merges={"Bahc": "Bach"}).hints
    assert "there is no composer 'Bahc' to merge into 'Bach'" in hints


def test_nothing_placed_is_an_error_that_leaves_the_list(sound: Sound, music: Path, tmp_path: Path) -> None:
    sound("Bach/loose.flac")
    with pytest.raises(
        UserError, match=r"none of 1 recordings below .*Music could be identified; .*unplaced\.csv gives the reasons"
    ):
        recordings.fill(tmp_path / "c", recordings.survey(music))
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["unplaced.csv"]


def test_a_corpus_of_scores_is_not_written_over(sound: Sound, music: Path, tmp_path: Path) -> None:
    sound("Bach/Suite/1.flac")
    catalogue.write(tmp_path / "c", [catalogue.Movement("B", "W", "1", "x.mxl", "score", "CC0", "here")])
    before = (tmp_path / "c" / "catalogue.csv").read_bytes()
    with pytest.raises(UserError, match="contains a corpus of scores; choose another name with --name"):
        recordings.fill(tmp_path / "c", recordings.survey(music))
    assert (tmp_path / "c" / "catalogue.csv").read_bytes() == before


def test_folders_that_cannot_be_imported_are_clear_errors(music: Path) -> None:
    (music / "x.pdf").write_bytes(b"x")
    with pytest.raises(
        UserError, match=r"no recording below .*Music \(flac, wav, mp3, ogg, m4a and others\); it contains 1 \.pdf"
    ):
        recordings.survey(music)
    with pytest.raises(UserError, match="nowhere does not exist; pass the folder"):
        recordings.survey(music / "nowhere")
    with pytest.raises(UserError, match=r"x\.pdf is a file; pass the folder"):
        recordings.survey(music / "x.pdf")
    with pytest.raises(UserError, match="--by csv needs a table"):
        recordings.survey(music, "csv")
    (music / "x.wav").write_bytes(b"x")
    with pytest.raises(UserError, match=r"t\.csv cannot be read: No such file"):
        recordings.survey(music, table=music / "t.csv")
