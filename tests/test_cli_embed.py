"""The commands embed, similar and classify, as a person at a terminal meets them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner, Result

from conftest import COMPOSERS, RATE_HZ, Trained, music
from symphony2vec import tracking
from symphony2vec.cli import cli
from symphony2vec.collection import table as tables
from symphony2vec.errors import UserError

commands = importlib.import_module("symphony2vec.cli.embed")  # the name in the package is the command
COMMAND = str(Path(sys.executable).with_name("symphony2vec"))
Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("library")
    for seed in range(6):
        path = home / ("Bright", "Dull")[seed % 2] / f"Sonata {seed}" / "1 Allegro.flac"
        path.parent.mkdir(parents=True)
        soundfile.write(path, music(3.0, seed, bright=seed % 2 == 0), RATE_HZ)
    (home / "broken.flac").write_text("no")
    return home


@pytest.fixture
def run(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command in an empty folder, with the project named."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str | Path) -> Result:
        given = ["--project", str(trained.project.root), *(str(word) for word in words)]
        return CliRunner().invoke(cli, given, catch_exceptions=False, standalone_mode=False)

    return call


@pytest.fixture(scope="module")
def collected(trained: Trained, library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection, made by the real command in a folder that is no project."""
    place = tmp_path_factory.mktemp("place")
    words = ["embed", str(library), "-o", "x.parquet", "--model", str(trained.package(model="pca-mfcc"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYMPHONY2VEC_WORKERS", "1")
        done = subprocess.run([COMMAND, *words], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    package = trained.package(model="pca-mfcc")
    first, second = done.stdout.splitlines()
    assert first == f"x.parquet: 18 vectors of 6 recordings, by pca-mfcc work-0 ({package})"
    assert second == (
        f"1 rejected (see x.parquet.rejected.csv); the first: {library / 'broken.flac'}: not readable as audio, or "
        "damaged: Format not recognised"
    )
    return place / "x.parquet"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("embed", ("PLACES", "--out", "--model", "--form [clips|timestamps|recording]", "--hop", "--add", "champion")),
        ("similar", ("QUERY", "--in", "--at", "never", "--csv")),
        ("classify", ("RECORDINGS...", "--model", "--hop", "--csv", "--picture", "is meaningless")),
    ],
)
def test_help_says_what_is_asked_for_with_an_example(command, words, run):
    text = " ".join(run(command, "--help").output.split())
    for word in (*words, f": symphony2vec {command}"):
        assert word in text


def test_embed_goes_on_from_what_is_there_and_joins(collected, library, trained, run):
    package = trained.package(model="pca-mfcc")
    told = run("embed", library / "Bright", library / "Dull", "-o", "y.csv", "--model", package).stdout
    assert told == f"y.csv: 18 vectors of 6 recordings, by pca-mfcc work-0 ({package})\n"
    np.testing.assert_array_equal(tables.read(Path("y.csv")).vectors, tables.read(collected).vectors)
    run("embed", library / "Bright", "-o", "z.npy", "--model", package)
    told = run("embed", library / "Dull" / "Sonata 1", "-o", "z.npy", "--model", package, "--add").stdout
    assert "12 vectors of 4 recordings" in told


def test_embed_takes_a_run_and_other_forms(library, trained, run):
    run_id = trained.record("embeddings", "vae-mel")["run_id"]
    place = library / "Dull" / "Sonata 1"
    told = run("embed", place, "-o", "x.parquet", "--model", run_id, "--form", "timestamps", "--hop", "0.5").stdout
    assert told == f"x.parquet: 6 vectors of 1 recordings, by vae-mel work-0 (runs:/{run_id}/model)\n"


@pytest.mark.slow
def test_a_registry_without_a_champion_is_one_line_with_what_makes_one(trained, library, tmp_path):
    words = ["--project", str(trained.project.root), "embed", str(library), "-o", "x.parquet"]
    done = subprocess.run([COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no version of 'symphony2vec' in MLflow has the alias champion" in done.stderr
    assert "`symphony2vec promote RUN` sets it" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_similar_finds_a_noisy_copy_with_its_times(collected, library, trained, tmp_path):
    wave, _ = soundfile.read(library / "Bright" / "Sonata 2" / "1 Allegro.flac")
    noise = 0.0003 * np.random.default_rng(0).standard_normal(len(wave))
    soundfile.write(tmp_path / "copy.wav", wave + noise, RATE_HZ)
    words = ["similar", "copy.wav", "--in", str(collected), "-n", "3", "--csv", "found.csv"]
    done = subprocess.run([COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "recordings"
    path = library / "Bright" / "Sonata 2" / "1 Allegro.flac"
    assert lines[1].endswith(f"  Bright, Sonata No. 2, 1 Allegro  ({path})")
    assert float(lines[1].split()[0]) > 0.9
    assert lines[4] == "passages"
    assert len(lines) == 8
    found = pd.read_csv(tmp_path / "found.csv")
    assert found["path"].tolist() == [str(path)] * 3
    assert sorted(found["start_s"]) == [0.0, 1.0, 2.0]
    assert (found["at_s"] == found["start_s"]).all()
    for row, line in zip(found.itertuples(), lines[5:], strict=True):
        assert f"0:0{row.at_s:.0f} is like 0:0{row.start_s:.0f} to 0:0{row.end_s:.0f} of Bright" in line


def test_a_query_of_the_collection_is_not_its_own_neighbour_and_is_not_embedded_again(
    collected, library, run, monkeypatch
):
    def no_model(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("symphony2vec.embedder.Embedder.load", no_model)
    query = library / "Bright" / "Sonata 0" / "1 Allegro.flac"
    told = run("similar", query, "--in", collected).output
    assert str(query) not in told
    assert told.count("\n  ") == 5 + 10


def test_at_asks_for_one_passage(collected, library, run):
    query = library / "Bright" / "Sonata 0" / "1 Allegro.flac"
    told = run("similar", query, "--in", collected, "--at", "0:01.5").output
    passages = told.partition("passages\n")[2].splitlines()
    assert passages
    assert all("  0:01 is like " in line for line in passages)
    with pytest.raises(UserError, match=r"--at 1:15: .*flac lasts from 0:00 to 0:03"):
        run("similar", query, "--in", collected, "--at", "75")
    with pytest.raises(UserError, match="--at noon: expected a time such as 2:30, 1:02:30 or 150"):
        run("similar", query, "--in", collected, "--at", "noon")


def test_what_similar_cannot_do_is_one_line(collected, library, trained, run, tmp_path):
    query = library / "Bright" / "Sonata 0" / "1 Allegro.flac"
    with pytest.raises(UserError, match=r"none\.parquet is missing; `symphony2vec embed FOLDER -o none\.parquet`"):
        run("similar", query, "--in", "none.parquet")
    with pytest.raises(UserError, match=r"nowhere\.wav: cannot be opened: No such file"):
        run("similar", "nowhere.wav", "--in", collected)
    run("embed", query, "-o", "one.parquet", "--model", trained.package())
    with pytest.raises(UserError, match=r"one\.parquet holds no recording besides the query"):
        run("similar", query, "--in", "one.parquet")
    made = tables.read(Path("one.parquet"))
    other = {**made.facts, "fingerprint": "0" * 16}
    tables.write(Path("other.parquet"), tables.Collection(made.table, made.vectors, other, made.rejected))
    with pytest.raises(UserError, match="is now another model than the one of the collection"):
        run("similar", library / "Dull" / "Sonata 1" / "1 Allegro.flac", "--in", "other.parquet")


@pytest.mark.slow
def test_classify_names_composers_over_time_and_draws_them(library, trained, tmp_path):
    recording = library / "Bright" / "Sonata 0" / "1 Allegro.flac"
    words = ["classify", str(recording), "--model", str(trained.package(model="pca-mfcc")), "--hop", "0.25"]
    words += ["--csv", "said.csv", "--picture", "said.png"]
    done = subprocess.run([COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first.startswith(f"{recording}, by pca-mfcc work-0 (")
    assert first.endswith("; mean log probability over 12 passages:")
    said = pd.read_csv(tmp_path / "said.csv")
    assert said.columns.tolist() == ["start_s", "end_s", *COMPOSERS]
    assert len(said) == 12
    np.testing.assert_allclose(said[list(COMPOSERS)].sum(axis=1), 1.0)
    likelihoods = np.exp(np.log(said[list(COMPOSERS)]).mean())
    shares = (likelihoods / likelihoods.sum()).sort_values(ascending=False)
    assert [line.split(maxsplit=1)[1] for line in lines[:2]] == shares.index.tolist()
    assert lines[0].strip().startswith(f"{shares.iloc[0]:.1%}")
    assert lines[2].split()[:2] == ["0:00", "to"]
    assert (tmp_path / "said.png").read_bytes().startswith(b"\x89PNG")


def test_several_recordings_are_classified_one_by_one_and_as_one_work(library, trained, run):
    package = trained.package(model="pca-mfcc")
    recordings = [library / "Bright" / "Sonata 0" / "1 Allegro.flac", library / "Dull" / "Sonata 1" / "1 Allegro.flac"]
    Path("broken.flac").write_text("not audio at all")
    done = run("classify", *recordings, "broken.flac", "--model", package, "--csv", "said.csv")
    titles = [line for line in done.stdout.splitlines() if line.endswith(" passages:")]
    assert [title.split(",")[0] for title in titles] == [*map(str, recordings), "together"]
    assert "symphony2vec: broken.flac: " in done.stderr
    said = pd.read_csv("said.csv")
    assert said.columns.tolist() == ["path", "start_s", "end_s", *COMPOSERS]
    assert set(said["path"]) == {*map(str, recordings)}
    likelihoods = np.exp(np.log(said[list(COMPOSERS)]).mean())
    share = (likelihoods / likelihoods.sum()).max()
    assert done.stdout.splitlines()[-2].strip().startswith(f"{share:.1%}")
    assert titles[-1] == f"together, as one work of 2 recordings; mean log probability over {len(said)} passages:"


def test_a_picture_shows_one_recording_and_unusable_ones_are_an_error(library, trained, run):
    package = trained.package(model="pca-mfcc")
    Path("broken.flac").write_text("not audio at all")
    with pytest.raises(UserError, match="--picture shows one recording"):
        run("classify", "broken.flac", "other.flac", "--model", package, "--picture", "x.png")
    with pytest.raises(UserError, match="none of the recordings can be used"):
        run("classify", "broken.flac", "other.flac", "--model", package)


def test_the_bright_sound_is_given_to_the_composer_of_bright_sounds(library, trained, run):
    package = trained.package(model="pca-mfcc")
    for name, composer in (("Bright/Sonata 0", COMPOSERS[1]), ("Dull/Sonata 1", COMPOSERS[0])):
        lines = run("classify", library / name / "1 Allegro.flac", "--model", package).output.splitlines()
        assert lines[1].endswith(f"%  {composer}"), lines


def test_the_probabilities_over_time_are_told_by_stretches():
    table = pd.DataFrame({"start_s": [0.0, 10, 20, 30], "end_s": [10.0, 20, 30, 3700], "A": [0.9, 0.7, 0.2, 0.6]})
    table["B"] = 1.0 - table["A"]
    assert commands._timeline(table, ["A", "B"]).splitlines() == [
        "     0:00 to    0:20   80.0%  A",
        "     0:20 to    0:30   80.0%  B",
        "     0:30 to 1:01:40   60.0%  A",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"), [("150", 150.0), ("2:30", 150.0), ("1:02:30", 3750.0), ("0:01.5", 1.5), (" 7 ", 7.0)]
)
def test_times_are_read_as_people_write_them(text, seconds):
    assert commands._parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:", ":30", "1:2:3:4", "1e3", "nan"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UserError, match="expected a time"):
        commands._parse_time(text)
