from __future__ import annotations

import errno

import numpy as np
import pandas as pd
import pytest

from symphony2vec import artifacts
from symphony2vec.artifacts import Project
from symphony2vec.errors import UserError


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
    with pytest.raises(RuntimeError), artifacts.whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "clips"
    path.mkdir()
    (path / "old").write_text("before")
    with pytest.raises(RuntimeError), artifacts.whole_folder(path) as folder:
        (folder / "new").write_text("half")
        raise RuntimeError
    assert [one.name for one in path.iterdir()] == ["old"]
    with artifacts.whole_folder(path) as folder:
        (folder / "new").write_text("whole")
    assert [one.name for one in path.iterdir()] == ["new"]
    assert [one.name for one in tmp_path.iterdir()] == ["clips"]


def test_a_named_partial_folder_survives_a_failure_and_is_taken_up_again(tmp_path):
    partial = tmp_path / ".partial"
    with pytest.raises(RuntimeError), artifacts.whole_folder(tmp_path / "out", partial) as folder:
        (folder / "first").write_text("1")
        raise RuntimeError
    with artifacts.whole_folder(tmp_path / "out", partial) as folder:
        assert (folder / "first").is_file()
    assert (tmp_path / "out" / "first").is_file()
    assert not partial.exists()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "only be read"),
    ],
)
def test_the_disks_own_faults_are_one_line(tmp_path, number, reason):
    with (
        pytest.raises(UserError, match=f"cannot write .*table.csv: .*{reason}"),
        artifacts.whole_file(tmp_path / "table.csv"),
    ):
        raise OSError(number, "from the disk")
    assert not list(tmp_path.iterdir())


def test_very_long_and_non_latin_names_can_be_written(tmp_path):
    path = tmp_path / ("長" * 80 + ".csv")
    with artifacts.whole_file(path) as partial:
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


def test_arrays_are_mapped_and_a_damaged_one_is_one_line(tmp_path):
    path = tmp_path / "a.npy"
    artifacts.write_array(path, np.arange(1000, dtype=np.float32))
    mapped = artifacts.read_array(path, "features")
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"damaged .*`dvc repro -f features`"):
        artifacts.read_array(path, "features")
