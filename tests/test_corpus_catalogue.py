"""The catalogue: what is written reads back, and whatever a hand-made one holds, a fault names its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony2vec.corpus import catalogue
from symphony2vec.corpus.catalogue import Movement
from symphony2vec.errors import UserError

HEADER = "composer,work,movement,path,kind,licence,origin,sha256"


def made(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    (folder / "catalogue.csv").write_bytes("\n".join([header, *rows, ""]).encode(encoding))
    return folder


def movement(path: str = "a.flac", title: str = "1", **other: str) -> Movement:
    return Movement(
        **{"composer": "Bach", "work": "Suite", "kind": "recording", "licence": "x", "origin": "y"} | other,
        movement=title,
        path=path,
    )


@pytest.mark.parametrize(
    "path",
    [
        "武満徹/ノヴェンバー・ステップス/第一.flac",
        "a" * 250 + ".flac",
        "🎵/x.flac",
        " leading and trailing /x .flac ",
        'quo"te, comma;semicolon.flac',
        "new\nline/re\rturn/both\r\n.flac",
        "re\rturn.flac",
        "e\u0301.flac",
        "wahr/NA/None.flac",
    ],
)
def test_every_path_reads_back_as_it_was(tmp_path: Path, path: str) -> None:
    catalogue.write(tmp_path, [movement(path), movement("other.flac", "2")])
    movements, faults = catalogue.read(tmp_path)
    assert not faults
    assert {one.path for one in movements} == {path, "other.flac"}


def test_rows_are_sorted_so_that_equal_corpora_give_equal_bytes(tmp_path: Path) -> None:
    rows = [movement("b", "2"), movement("a", "1"), movement("c", "1", composer="Adam")]
    catalogue.write(tmp_path, rows)
    first = (tmp_path / "catalogue.csv").read_bytes()
    catalogue.write(tmp_path, reversed(rows))
    assert (tmp_path / "catalogue.csv").read_bytes() == first
    assert [one.path for one in catalogue.read(tmp_path)[0]] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Bach,Suite,2,a.flac,recording,x,y,", "path 'a.flac' is already in row 2"),
        ("Bach,Suite,1,b.flac,recording,x,y,", "composer, work and movement Bach / Suite / 1 are already in row 2"),
        ("Bach,Suite,2,../b.flac,recording,x,y,", "path '../b.flac' leads outside"),
        ("Bach,Suite,2,x/../../b.flac,recording,x,y,", "leads outside"),
        ("Bach,Suite,2,x\\..\\..\\b.flac,recording,x,y,", "leads outside"),
        ("Bach,Suite,2,/etc/passwd,recording,x,y,", "leads outside"),
        ("Bach,Suite,2,C:\\music\\b.flac,recording,x,y,", "leads outside"),
        ("Bach,Suite,2,\\\\nas\\music\\b.flac,recording,x,y,", "leads outside"),
        ("Bach,Suite,2,b.flac,video,x,y,", "kind is 'video', expected score or recording"),
        ("Bach,Suite,2,b.flac,recording,x,y,abc", "sha256 'abc' is not 64 hexadecimal digits"),
        ("Bach,,2,,recording,x,y,", "no work and no path"),
        ("Bach", "no work and no movement and no path"),
        ("Bach,Suite, op. 1,2,b.flac,recording,x,y,,z", "1 more cells than columns; put names"),
        (
            "Bach,Suite,2,b.flac,recording,x,y,,z",
            "1 more cells than columns; put names that contain commas in quotes",
        ),
    ],
)
def test_a_bad_row_is_a_fault_with_its_number_and_the_rest_is_read(tmp_path: Path, row: str, reason: str) -> None:
    made(tmp_path, "Bach,Suite,1,a.flac,recording,x,y,", row, "Bach,Suite,9,z.flac,recording,x,y,")
    movements, faults = catalogue.read(tmp_path)
    assert [one.path for one in movements] == ["a.flac", "z.flac"]
    assert [fault.row for fault in faults] == [3]
    assert reason in faults[0].reason


def test_rows_are_counted_as_a_spreadsheet_counts_them(tmp_path: Path) -> None:
    made(tmp_path, 'Bach,"Suite\nin two lines",1,a,recording,x,y', "", ",,,,,,,", "Bach,,,b,recording,x,y")
    _, faults = catalogue.read(tmp_path)
    assert [fault.row for fault in faults] == [5]


def test_empty_cells_beyond_the_last_column_are_no_fault(tmp_path: Path) -> None:
    made(tmp_path, "Bach,Suite,1,a.flac,recording,x,y,,,,")
    movements, faults = catalogue.read(tmp_path)
    assert len(movements) == 1
    assert not faults


@pytest.mark.parametrize(("encoding", "ends"), [("utf-8-sig", "\n"), ("utf-8", "\r\n")])
def test_what_spreadsheets_write_is_read(tmp_path: Path, encoding: str, ends: str) -> None:
    text = ends.join([HEADER.replace(",", ";"), "Bach;Suite, in D;1;a.flac;recording;x;y;" + "AB" * 32, ""])
    (tmp_path / "catalogue.csv").write_bytes(text.encode(encoding))
    movements, faults = catalogue.read(tmp_path)
    assert not faults
    assert movements[0].work == "Suite, in D"
    assert movements[0].sha256 == "ab" * 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns composer, work, movement, path, kind, licence, origin"),
        (HEADER.encode(), "contains no movement"),
        (
            b"composer,work,path\nBach,Suite,a\n",
            "lacks the columns movement, kind, licence, origin; it needs",
        ),
        ((HEADER + "\nDvořák,a,b,c,score,x,y,").encode("iso8859-2"), r"is not UTF-8 text \(byte 58\)"),
        (HEADER.encode() + b'\n"' + b"x" * 200_000, "line 2, is not valid CSV: field larger"),
    ],
)
def test_a_catalogue_that_cannot_be_used_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "catalogue.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        catalogue.read(tmp_path)


def test_a_missing_catalogue_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"catalogue\.csv is missing; `symphony2vec corpus --help`"):
        catalogue.read(tmp_path)


def test_originals_are_found_where_they_lie(tmp_path: Path) -> None:
    away = tmp_path / "away "
    away.mkdir()
    catalogue.write(tmp_path / "corpus", [movement()], originals=away)
    assert catalogue.source(tmp_path / "corpus", movement()) == away / "a.flac"
    catalogue.write(tmp_path / "corpus", [movement()])
    assert catalogue.source(tmp_path / "corpus", movement()) == tmp_path / "corpus" / "a.flac"


def test_audit_finds_missing_and_changed_files_by_row(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    rows = [movement(name, name, sha256=catalogue.checksum(tmp_path / name)) for name in ("a", "b", "c")]
    catalogue.write(tmp_path, rows)
    assert catalogue.audit(tmp_path) == (rows, [])
    (tmp_path / "a").write_text("changed")
    (tmp_path / "c").unlink()
    sound, faults = catalogue.audit(tmp_path)
    assert sound == [rows[1]]
    assert [fault.row for fault in faults] == [2, 4]
    assert "has changed" in faults[0].reason
    assert "is missing" in faults[1].reason


def test_audit_says_when_the_originals_are_not_connected(tmp_path: Path) -> None:
    catalogue.write(tmp_path, [movement()], originals=tmp_path / "unplugged")
    with pytest.raises(UserError, match="unplugged, which does not exist; connect the disk"):
        catalogue.audit(tmp_path)
