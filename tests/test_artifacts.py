from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from symphony2vec import project as artifacts
from symphony2vec.errors import UserError
from symphony2vec.project import Project, SplitFold


def test_the_project_is_found_from_a_folder_inside_it(project):
    inside = project.root / "data" / "deep"
    inside.mkdir(parents=True)
    assert Project.around(inside).root == project.root.resolve()


def test_outside_a_project_the_error_says_how_to_name_one(tmp_path):
    with pytest.raises(UserError, match=r"no params\.yaml and dvc\.yaml in .*--project"):
        Project.around(tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("before")
    with pytest.raises(RuntimeError), artifacts.atomic_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "clips"
    path.mkdir()
    (path / "old").write_text("before")
    with pytest.raises(RuntimeError), artifacts.atomic_folder(path) as folder:
        (folder / "new").write_text("half")
        raise RuntimeError
    assert [one.name for one in path.iterdir()] == ["old"]
    with artifacts.atomic_folder(path) as folder:
        (folder / "new").write_text("whole")
    assert [one.name for one in path.iterdir()] == ["new"]
    assert [one.name for one in tmp_path.iterdir()] == ["clips"]


def test_a_named_partial_folder_survives_a_failure_and_is_taken_up_again(tmp_path):
    partial = tmp_path / ".partial"
    with pytest.raises(RuntimeError), artifacts.atomic_folder(tmp_path / "out", partial) as folder:
        (folder / "first").write_text("1")
        raise RuntimeError
    with artifacts.atomic_folder(tmp_path / "out", partial) as folder:
        assert (folder / "first").is_file()
    assert (tmp_path / "out" / "first").is_file()
    assert not partial.exists()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
    ],
)
def test_the_disks_own_faults_are_one_line(tmp_path, number, reason):
    with (
        pytest.raises(UserError, match=f"cannot write .*table.csv: .*{reason}"),
        artifacts.atomic_file(tmp_path / "table.csv"),
    ):
        raise OSError(number, "from the disk")
    assert not list(tmp_path.iterdir())


def test_very_long_and_non_latin_names_can_be_written(tmp_path):
    path = tmp_path / ("長" * 80 + ".csv")
    with artifacts.atomic_file(path) as partial:
        partial.write_text("whole")
    assert path.read_text() == "whole"


def test_titles_that_look_like_numbers_or_missing_values_stay_text(tmp_path):
    table = pd.DataFrame({"composer": ["NA", "007"], "work": ["1", "None"], "start_s": [0.5, 1.0]})
    artifacts.write_table(tmp_path / "t.csv", table)
    read = artifacts.read_table(tmp_path / "t.csv", "clips")
    assert read["composer"].tolist() == ["NA", "007"]
    assert read["work"].tolist() == ["1", "None"]
    assert read["start_s"].tolist() == [0.5, 1.0]


def test_a_missing_input_names_the_stage_that_writes_it(project):
    with pytest.raises(UserError, match=r"clips\.csv is missing; `dvc repro clips` writes it"):
        artifacts.read_table(project.clips, "clips")
    with pytest.raises(UserError, match=r"mel\.npy is missing; `dvc repro features`"):
        artifacts.read_array(project.feature("mel"), "features")
    with pytest.raises(UserError, match=r"scores\.json is missing; `dvc repro probe`"):
        artifacts.read_json(project.out("scores.json"), "probe")


def test_each_draw_has_a_table_of_its_own(project):
    assert project.fold(SplitFold("work", 3)).relative_to(project.root).as_posix() == "out/clips/folds/work-3.csv"
    paths = {project.fold(SplitFold(split, seed)) for split in ("work", "clip") for seed in range(3)}
    assert len(paths) == 6


# Keys


@pytest.fixture
def made_from(tmp_path) -> Path:
    """A file and a folder of code."""
    (tmp_path / "table.csv").write_bytes(b"clip,split\n0,train\n")
    (tmp_path / "code" / "inner").mkdir(parents=True)
    (tmp_path / "code" / "one.py").write_text("x = 1\n")
    (tmp_path / "code" / "inner" / "two.py").write_text("y = 2\n")
    return tmp_path


def key(folder: Path, **settings: Any) -> str:
    return artifacts.key_of(
        folder / "table.csv", folder / "code", "text", {"batch": 32, "betas": [0.5, 0.9], **settings}
    )


def test_a_key_is_the_same_for_the_same_sources_wherever_they_lie(made_from, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(made_from, elsewhere)
    assert key(made_from) == key(made_from) == key(elsewhere)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("table.csv", "clip,split\n0,train\r"),
        ("code/one.py", "x = 3\n"),
        ("code/inner/two.py", "y = 2 \n"),
        ("code/three.py", ""),
    ],
    ids=["one byte of a file", "code", "code further down", "an added module"],
)
def test_a_key_changes_with_a_byte_of_a_file_and_with_code(made_from, file, text):
    before = key(made_from)
    (made_from / file).write_bytes(text.encode())
    assert key(made_from) != before


def test_a_key_changes_with_a_parameter_but_not_with_their_order(made_from):
    before = key(made_from)
    assert key(made_from, batch=33) != before
    assert key(made_from, betas=[0.9, 0.5]) != before
    assert key(made_from, epochs=10) != before
    assert artifacts.key_of({"a": 1, "b": 2}) == artifacts.key_of({"b": 2, "a": 1})


def test_a_key_does_not_see_what_is_no_code_in_a_folder(made_from):
    before = key(made_from)
    (made_from / "code" / "page.html").write_text("<p>")
    (made_from / "code" / "__pycache__").mkdir()
    (made_from / "code" / "__pycache__" / "one.cpython-311.pyc").write_bytes(b"\0")
    assert key(made_from) == before


def test_a_key_tells_its_sources_apart(made_from):
    table, code = made_from / "table.csv", made_from / "code"
    keys = [
        artifacts.key_of(*sources) for sources in ((table, code), (code, table), (table,), (code,), ("a", "b"), ("ab",))
    ]
    assert len(set(keys)) == len(keys)


def test_arrays_are_mapped_and_a_damaged_one_is_one_line(tmp_path):
    path = tmp_path / "a.npy"
    artifacts.write_array(path, np.arange(1000, dtype=np.float32))
    mapped = artifacts.read_array(path, "features")
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"damaged .*`dvc repro -f features`"):
        artifacts.read_array(path, "features")
