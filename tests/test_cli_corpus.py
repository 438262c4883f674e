"""The commands `symphony2vec corpus ...`, as a person at a terminal meets them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from symphony2vec.cli.corpus import corpus
from symphony2vec.corpus import catalogue
from symphony2vec.corpus.score_sets import ScoreSet
from symphony2vec.errors import UserError

Run = Callable[..., Result]
PARAMS = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "params.yaml").write_bytes(PARAMS.read_bytes())
    (folder / "dvc.yaml").touch()
    return folder


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "Music"
    for number, path in enumerate(
        ("Bach/A/1", "Bach/B/1", "Bach/C/1", "Haydn/A/1", "Haydn/A/2", "Haydn/A/3", "Orff/A/1")
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{path}.wav", np.full(10 + number, 0.1), 8000)
    return folder


@pytest.fixture
def run(project: Path) -> Run:
    def call(*arguments: str | Path) -> Result:
        return CliRunner().invoke(corpus, [str(one) for one in arguments], obj=project, catch_exceptions=False)

    return call


@pytest.mark.parametrize("command", ["starter", "import", "openscore", "quartets", "check"])
def test_help_says_what_is_done(run: Run, command: str) -> None:
    assert command in run("--help").output
    shown = run(command, "--help")
    assert shown.exit_code == 0
    assert "data/" in shown.output


def test_a_dry_run_shows_everything_and_writes_nothing(run: Run, music: Path, project: Path) -> None:
    (music / "loose\n.wav").write_bytes(b"x")
    output = run("import", music, "--dry-run").output
    assert "3          3  Johann Sebastian Bach" in output
    assert "1          3  Joseph Haydn" in output
    assert "5          7  all 3 composers" in output
    assert "Identified by: folders 7" in output
    assert "split by movement unless clips.fallback is none:\n  Joseph Haydn\n" in output
    assert "too few for any split (see clips.small_composers):\n  Carl Orff\n" in output
    assert "loose\\n.wav: no folder of a composer above it" in output
    assert "Nothing was written" in output
    assert {path.name for path in project.iterdir()} == {"params.yaml", "dvc.yaml"}


def test_an_import_writes_the_catalogue_and_says_what_comes_next(run: Run, music: Path, project: Path) -> None:
    (music / "loose.wav").write_bytes(b"x")
    output = run("import", music, "--licence", "CC0").output
    movements, _ = catalogue.audit(project / "data" / "recordings")
    assert len(movements) == 7
    assert {one.licence for one in movements} == {"CC0"}
    assert "7 new, 0 changed, 0 removed" in output
    assert "Not used: 1, listed in data/recordings/unplaced.csv" in output
    assert output.endswith("Next:\n  set corpus.name to recordings in params.yaml\n  dvc add data\n  dvc repro\n")


def test_the_corpus_that_is_played_already_need_not_be_set(run: Run, music: Path, project: Path) -> None:
    output = run("import", music, "--name", "starter").output
    assert "set corpus.name" not in output
    assert (project / "data" / "starter" / "catalogue.csv").is_file()


def test_many_unplaced_files_are_cut_short_on_the_screen_alone(run: Run, music: Path, project: Path) -> None:
    for number in range(25):
        (music / f"{number}.wav").write_bytes(b"x")
    assert "... and 5 more" in run("import", music).output
    unplaced = (project / "data" / "recordings" / "unplaced.csv").read_text(encoding="utf-8")
    assert len(unplaced.splitlines()) == 26


def test_composers_are_merged(run: Run, music: Path, project: Path) -> None:
    run("import", music, "--composer", "Orff=Orff, Carl", "--composer", "bach=J. S. Bach")
    movements, _ = catalogue.read(project / "data" / "recordings")
    assert {one.composer for one in movements} == {"Carl Orff", "J. S. Bach", "Joseph Haydn"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--composer", "Orff"], '--composer "Orff" must read "NAME=OTHER"'),
        (["--name", "../elsewhere"], r"'\.\./elsewhere' is not a valid name of a corpus"),
        (["--name", ""], "'' is not a valid name of a corpus"),
        (["--by", "csv"], "--by csv needs a table"),
    ],
)
def test_wrong_options_are_clear_errors(
    run: Run, music: Path, project: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run("import", music, *arguments)
    assert not (project / "data").exists()


def test_outside_a_project_nothing_is_written(music: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no params\.yaml and dvc\.yaml in"):
        CliRunner().invoke(corpus, ["import", str(music)], obj=tmp_path, catch_exceptions=False)


@pytest.mark.parametrize("name", ["openscore", "quartets"])
def test_scores_come_from_where_it_is_told(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "x.mxl").write_bytes(b"x")
    sha256 = catalogue.checksum(tmp_path / "copy" / "x.mxl")
    one = catalogue.Movement("Bach", "A", "1", "x.mxl", "score", "CC0", "here", sha256)
    monkeypatch.setattr(ScoreSet, "list_movements", lambda _: [one])
    output = run(name, "--from", tmp_path / "copy").output
    assert f"data/{name}/catalogue.csv contains 1 movements" in output
    assert catalogue.audit(project / "data" / name) == ([one], [])
    (project / "data" / name / "x.mxl").unlink()
    with pytest.raises(UserError, match="git fetch from file:///nowhere failed"):
        run(name, "--url", "file:///nowhere")


def test_starter_fills_its_folder(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from symphony2vec.corpus import starter

    def fill(folder: Path) -> int:
        catalogue.write(folder, [catalogue.Movement("Bach", "A", "1", "x.mxl", "score", "CC0", "here")])
        return 1

    monkeypatch.setattr(starter, "fill", fill)
    output = run("starter").output
    assert "data/starter/catalogue.csv contains 1 movements. Next:\n  dvc add data\n" in output


def test_check_passes_a_sound_corpus(run: Run, music: Path) -> None:
    run("import", music)
    checked = run("check", "recordings")
    assert checked.exit_code == 0
    assert "data/recordings: all 7 movements exist and are unchanged." in checked.output


def test_check_names_every_fault_with_its_row_and_fails(run: Run, music: Path, project: Path) -> None:
    run("import", music, "--name", "starter")
    (music / "Bach/A/1.wav").unlink()
    (music / "Bach/C/1.wav").write_bytes(b"changed")
    with (project / "data/starter/catalogue.csv").open("a", encoding="utf-8") as file:
        file.write("Bach,X,1,../x.wav,recording,,,\n")
    checked = run("check")
    assert checked.exit_code == 1
    assert "3 of 8 rows of data/starter/catalogue.csv have faults:" in checked.output
    assert f"row 3: {music}/Bach/A/1.wav is missing" in checked.output
    assert f"row 5: {music}/Bach/C/1.wav has changed" in checked.output
    assert "row 9: path '../x.wav' leads outside the corpus folder" in checked.output
