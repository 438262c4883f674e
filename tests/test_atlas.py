"""The atlas: a collection becomes dots that lie near their like and play their own seconds, in a real browser too."""

from __future__ import annotations

import errno
import functools
import http.server
import io
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
from click.testing import CliRunner
from pyarrow import parquet

pytest.importorskip("embedding_atlas", reason="needs the extra atlas")

from symphony2vec import atlas
from symphony2vec.atlas import page, projection, sounds
from symphony2vec.cli import cli
from symphony2vec.errors import UserError

CLIP_S = 2.0
CLIPS = 4  # of each recording
DIMENSIONS = 6
SLY = "<img src=x onerror=alert(1)>"
COMPOSERS = {"Ana Fantasía": 300.0, "Берлиоз": 900.0, SLY: 2700.0}
ABOUT = {
    "model": "runs:/0/model", "name": "vae-mel work-0", "fingerprint": "0" * 16, "sample_rate_hz": 22050,
    "duration_s": 10.0, "form": "clips", "hop_s": None,
}  # fmt: skip
ROWS = ("path", "start_s", "end_s", "composer", "work", "movement")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")


def pitch_hz(base_hz: float, clip: int) -> float:
    return base_hz * (1.0 + 0.1 * clip)


def record(path: Path, base_hz: float = 440.0, clips: int = CLIPS, rate_hz: int = 16000, channels: int = 1) -> Path:
    """A recording whose clips are tones, each a little higher than the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    instants = np.arange(round(CLIP_S * rate_hz)) / rate_hz
    wave = np.concatenate([0.3 * np.sin(2 * np.pi * pitch_hz(base_hz, clip) * instants) for clip in range(clips)])
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate_hz)
    return path


def rows_of(path: Path | str, names: tuple[str, str, str] = ("", "", ""), clips: int = CLIPS) -> pd.DataFrame:
    starts = [clip * CLIP_S for clip in range(clips)]
    return pd.DataFrame([(str(path), start, start + CLIP_S, *names) for start in starts], columns=list(ROWS))


def write(path: Path, clips: pd.DataFrame, vectors: np.ndarray | None = None, about: Any = ABOUT) -> Path:
    """A collection as `symphony2vec embed` writes it."""
    if vectors is None:
        vectors = np.random.default_rng(0).standard_normal((len(clips), DIMENSIONS)).astype(np.float32)
    flat = pa.array(vectors.ravel(), pa.float32())
    vector = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    columns = {
        name: pa.array(clips[name].tolist(), pa.float64() if name[-2:] == "_s" else pa.string()) for name in ROWS
    }
    table = pa.table(columns | {"key": pa.array(["0" * 16] * len(clips), pa.string()), "vector": vector})
    metadata = None if about is None else {b"symphony2vec": json.dumps(about).encode()}
    parquet.write_table(table.replace_schema_metadata(metadata), path)
    return path


def clusters(labels: list[str], seed: int = 0) -> np.ndarray:
    """(n, D) vectors: those of one label lie together."""
    rng = np.random.default_rng(seed)
    known = {label: 4.0 * rng.standard_normal(DIMENSIONS) for label in sorted(set(labels))}
    return np.stack([known[label] + 0.3 * rng.standard_normal(DIMENSIONS) for label in labels]).astype(np.float32)


def shown(folder: Path) -> pd.DataFrame:
    return parquet.read_table(folder / "data" / "dataset.parquet").to_pandas()


def loudest_hz(path: Path) -> float:
    wave, rate_hz = soundfile.read(path)
    middle = wave[len(wave) // 4 : 3 * len(wave) // 4]
    return float(np.abs(np.fft.rfft(middle)).argmax() * rate_hz / len(middle))


# The collection


def test_a_collection_is_read_as_it_was_written(tmp_path):
    clips = pd.concat([rows_of("a.flac", ("Berlioz", "5", "NA")), rows_of("b.flac")], ignore_index=True)
    vectors = np.arange(8 * DIMENSIONS, dtype=np.float32).reshape(8, DIMENSIONS)
    found = atlas.read(write(tmp_path / "x.parquet", clips, vectors))
    pd.testing.assert_frame_equal(found.table[list(ROWS)], clips, check_dtype=False)
    assert np.array_equal(found.vectors, vectors)
    assert found.facts == ABOUT


def test_a_collection_in_pieces_is_read_in_its_order(tmp_path):
    whole = write(tmp_path / "whole.parquet", rows_of("a.flac", clips=9))
    parquet.write_table(parquet.read_table(whole), tmp_path / "pieces.parquet", row_group_size=2)
    assert np.array_equal(atlas.read(tmp_path / "pieces.parquet").vectors, atlas.read(whole).vectors)


def no_parquet(path: Path) -> None:
    path.write_text("path,start_s\n")


def folder(path: Path) -> None:
    path.mkdir()


def plain(path: Path) -> None:
    write(path, rows_of("a.flac"), about=None)


def timestamps(path: Path) -> None:
    write(path, rows_of("a.flac"), about=ABOUT | {"form": "timestamps"})


def no_json(path: Path) -> None:
    write(path, rows_of("a.flac"), about=["clips"])


def empty(path: Path) -> None:
    write(path, rows_of("a.flac", clips=0), np.empty((0, DIMENSIONS), np.float32))


def without_work(path: Path) -> None:
    table = parquet.read_table(write(path, rows_of("a.flac")))
    parquet.write_table(table.drop_columns("work"), path)


def doubles(path: Path) -> None:
    table = parquet.read_table(write(path, rows_of("a.flac")))
    place = table.column_names.index("vector")
    parquet.write_table(table.set_column(place, "vector", table["vector"].cast(pa.list_(pa.float64(), 6))), path)


def gaps(path: Path) -> None:
    table = parquet.read_table(write(path, rows_of("a.flac")))
    composers = pa.array([None, "a", "b", None], pa.string())
    parquet.write_table(table.set_column(table.column_names.index("composer"), "composer", composers), path)


def not_finite(path: Path) -> None:
    write(path, rows_of("a.flac"), np.full((CLIPS, DIMENSIONS), np.nan, np.float32))


def backwards(path: Path) -> None:
    write(path, rows_of("a.flac").assign(end_s=-1.0))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: None, r"is missing; `symphony2vec embed FOLDER -o .*` writes it"),
        (folder, "is missing"),
        (no_parquet, "cannot be read as parquet"),
        (plain, "is not a collection of symphony2vec"),
        (no_json, "is not a collection of symphony2vec"),
        (timestamps, "of the form 'timestamps'.*--form clips"),
        (empty, "holds no clips"),
        (without_work, "no column work"),
        (doubles, "column 'vector' has the wrong type, fixed_size_list<.*double"),
        (gaps, "column 'composer' has 2 gaps"),
        (not_finite, "vectors that are not finite"),
        (backwards, r"a passage of a.flac is 0.0 to -1.0 s"),
    ],
)
def test_what_is_no_collection_of_clips_is_one_clear_line(tmp_path, spoil, message):
    spoil(tmp_path / "x.parquet")
    with pytest.raises(UserError, match=message) as told:
        atlas.make(tmp_path / "x.parquet", tmp_path / "out")
    assert "x.parquet" in str(told.value)
    assert not {path.name for path in tmp_path.iterdir()} - {"x.parquet"}


# Places and neighbours


def test_every_dimension_counts_the_same():
    vectors = np.random.default_rng(0).standard_normal((50, DIMENSIONS)).astype(np.float32)
    vectors[:, 0] = 7.0
    points = projection.standardise(vectors)
    assert points[:, 1:].mean(axis=0) == pytest.approx(0.0, abs=1e-6)
    assert points[:, 1:].std(axis=0) == pytest.approx(1.0, abs=1e-5)
    assert not points[:, 0].any()
    scaled = projection.standardise(vectors * np.float32([1, 1000, 0.001, 1, 5, 1]) + np.float32(3))
    assert scaled == pytest.approx(points, abs=1e-3)


@pytest.mark.slow
def test_the_same_vectors_have_the_same_places_and_their_like_beside_them():
    labels = [name for name in "abc" for _ in range(20)]
    points = projection.standardise(clusters(labels))
    places, told = projection.project(points)
    assert places.shape == (60, 2)
    assert places.dtype == np.float32
    assert told.startswith("UMAP")
    assert np.array_equal(projection.project(points)[0], places)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert all(labels[row] == labels[other] for row, other in enumerate(distances.argmin(axis=1)))


def test_places_are_turned_to_fill_a_wide_page_and_keep_their_distances():
    upright = np.random.default_rng(3).uniform(-1, 1, (50, 2)).astype(np.float32) * np.float32([1, 8]) + np.float32(5)
    places = projection.rotate_to_fill(upright)
    assert np.abs(places.max(axis=0) + places.min(axis=0)).max() < 1e-4
    assert np.ptp(places[:, 0]) > 14 > 6 > np.ptp(places[:, 1])
    between = [np.linalg.norm(one[:, None] - one[None], axis=2) for one in (upright, places)]
    assert between[1] == pytest.approx(between[0], abs=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, projection.NEIGHBOURS])
def test_few_clips_are_placed_by_their_principal_components(count):
    vectors = np.random.default_rng(1).standard_normal((count, DIMENSIONS)).astype(np.float32)
    points = projection.standardise(vectors)
    places, told = projection.project(points)
    assert told.startswith("PCA")
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    if count > 3:
        _, sizes, _ = np.linalg.svd(points)
        assert np.linalg.norm(places - places.mean(axis=0)) == pytest.approx(np.linalg.norm(sizes[:2]), rel=1e-4)


def test_clips_that_are_all_alike_have_one_place():
    points = projection.standardise(np.ones((40, DIMENSIONS), np.float32))
    places, told = projection.project(points)
    assert told.startswith("PCA")
    assert not places.any()


def test_the_neighbours_are_those_of_the_smallest_cosine_distance():
    points = projection.standardise(np.random.default_rng(2).standard_normal((30, DIMENSIONS)).astype(np.float32))
    rows, distances = projection.nearest_neighbours(points, 5)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    cosine = 1.0 - unit @ unit.T
    np.fill_diagonal(cosine, np.inf)
    assert np.array_equal(rows, cosine.argsort(axis=1)[:, :5])
    assert distances == pytest.approx(np.sort(cosine, axis=1)[:, :5], abs=1e-5)


def test_a_single_clip_has_no_neighbours():
    rows, distances = projection.nearest_neighbours(np.zeros((1, DIMENSIONS), np.float32))
    assert rows.shape == distances.shape == (1, 0)


# Sounds


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"),
    [("a.wav", 22050, 1), ("a.flac", 96000, 2), ("a.ogg", 44100, 2), ("a.mp3", 48000, 1), ("a.wav", 4000, 1)],
)
def test_every_sound_is_its_own_stretch_of_the_recording(tmp_path, name, rate_hz, channels):
    path = record(tmp_path / name, 440.0, rate_hz=rate_hz, channels=channels)
    names, silent = sounds.make(rows_of(path), tmp_path / "x.parquet", tmp_path / "sounds")
    assert not silent
    assert len(set(names)) == CLIPS
    for clip, found in enumerate(names):
        info = soundfile.info(tmp_path / "sounds" / found)
        assert (info.format, info.channels) == ("MP3", 1)
        assert info.duration == pytest.approx(CLIP_S, abs=0.1)
        assert loudest_hz(tmp_path / "sounds" / found) == pytest.approx(pitch_hz(440.0, clip), abs=2.0)


def test_what_is_too_loud_for_the_format_is_made_softer_and_the_rest_keeps_its_level(tmp_path):
    instants = np.arange(16000 * 4) / 16000
    wave = np.sin(2 * np.pi * 440 * instants) * np.where(instants < 2, 40.0, 0.1)
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    names, _ = sounds.make(rows_of(tmp_path / "a.wav", clips=2), tmp_path / "x.parquet", tmp_path)
    loud, soft = (np.abs(soundfile.read(tmp_path / name)[0][4000:-4000]).max() for name in names)
    assert 0.6 < loud < 0.95
    assert soft == pytest.approx(0.1, rel=0.2)


def test_the_last_clip_of_a_recording_ends_with_it(tmp_path):
    path = record(tmp_path / "a.wav", clips=1)
    rows = pd.DataFrame([(str(path), 1.5, 3.5, "", "", ""), (str(path), 1.99, 3.99, "", "", "")], columns=list(ROWS))
    names, silent = sounds.make(rows, tmp_path / "x.parquet", tmp_path)
    assert not silent
    durations = [soundfile.info(tmp_path / name).duration for name in names]
    assert durations == [pytest.approx(0.5, abs=0.1), pytest.approx(sounds.SHORTEST_S, abs=0.1)]


def test_a_relative_path_is_found_beside_the_collection(tmp_path):
    record(tmp_path / "music" / "a.wav")
    names, silent = sounds.make(rows_of("music/a.wav"), tmp_path / "x.parquet", tmp_path / "sounds")
    assert all(names)
    assert not silent


@pytest.fixture
def partly(tmp_path: Path) -> Path:
    """A collection of which one recording is well, and the others are not what they were."""
    music = tmp_path / "music"
    names = ["good.wav", "missing.wav", "broken.wav", "shorter.wav", "folder.wav", "nan.wav"]
    record(music / "good.wav")
    (music / "broken.wav").write_text("not audio at all")
    record(music / "shorter.wav", clips=2)
    (music / "folder.wav").mkdir()
    soundfile.write(music / "nan.wav", np.full(16000 * 8, np.nan), 16000, subtype="FLOAT")
    return write(tmp_path / "x.parquet", pd.concat([rows_of(music / name) for name in names], ignore_index=True))


def test_a_recording_that_is_not_there_or_not_readable_leaves_its_dots_without_sound(partly, tmp_path):
    made = atlas.make(partly, tmp_path / "out")
    table = shown(tmp_path / "out")
    plays = table["sound"].str.fullmatch(r"sounds/[0-9a-f]{20}\.mp3")
    assert table[plays].groupby("recording").size().to_dict() == {"good.wav": 4, "shorter.wav": 2}
    reasons = table[~plays].groupby("recording")["sound"].agg("unique").map(list).to_dict()
    assert reasons == {
        "missing.wav": ["the recording is missing"],
        "broken.wav": ["not readable as audio, or damaged: Format not recognised"],
        "shorter.wav": ["the recording ends before this clip: it has been shortened since it was embedded"],
        "folder.wav": ["the recording is not a file"],
        "nan.wav": ["the recording holds samples that are not finite"],
    }
    assert {Path(path).name: len(told) for path, told in made.silent.items()} == {
        "missing.wav": 4, "broken.wav": 4, "shorter.wav": 2, "folder.wav": 4, "nan.wav": 4,
    }  # fmt: skip
    assert len(made.sound_bytes) == 6


# The folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A collection of two recordings."""
    paths = [record(tmp_path / "music" / f"{name}.wav", base) for name, base in (("a", 300.0), ("b", 900.0))]
    return write(tmp_path / "x.parquet", pd.concat([rows_of(path) for path in paths], ignore_index=True))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_collection_gives_the_same_folder(small, tmp_path):
    atlas.make(small, tmp_path / "one")
    atlas.make(small, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert not list(tmp_path.glob(".*"))


def test_an_interrupted_atlas_is_not_there_and_goes_on_with_its_sounds(small, tmp_path, monkeypatch):
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(page, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            atlas.make(small, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / ".out.atlas.partial" / "stray.txt").write_text("of an older version")
    next((tmp_path / ".out.atlas.partial" / "sounds").iterdir()).unlink()
    begun = spied(monkeypatch)
    atlas.make(small, tmp_path / "out")
    assert [len(job.cuts) for job in begun] == [1]
    assert not (tmp_path / "out" / "stray.txt").exists()
    assert shown(tmp_path / "out")["sound"].str.startswith("sounds/").all()
    assert not list(tmp_path.glob(".*"))


def spied(monkeypatch: pytest.MonkeyPatch) -> list[sounds.Job]:
    """The jobs that are begun from now on."""
    begun: list[sounds.Job] = []
    cut = sounds.cut
    monkeypatch.setattr(sounds, "cut", lambda job: begun.append(job) or cut(job))
    return begun


def test_another_model_keeps_the_sounds_and_a_changed_recording_is_cut_again(small, tmp_path, monkeypatch):
    atlas.make(small, tmp_path / "out")
    former = {path.name for path in (tmp_path / "out" / "sounds").iterdir()}
    clips = atlas.read(small).table
    begun = spied(monkeypatch)
    write(small, clips, clusters(["a"] * 4 + ["b"] * 4, seed=1))
    atlas.make(small, tmp_path / "out")
    assert not begun
    assert {path.name for path in (tmp_path / "out" / "sounds").iterdir()} == former
    record(tmp_path / "music" / "b.wav", 1500.0)
    os.utime(tmp_path / "music" / "b.wav", (1.0, 1.0))
    atlas.make(small, tmp_path / "out")
    assert [job.recording.name for job in begun] == ["b.wav"]
    assert len(former & {path.name for path in (tmp_path / "out" / "sounds").iterdir()}) == CLIPS
    assert len(list((tmp_path / "out" / "sounds").iterdir())) == 2 * CLIPS
    assert loudest_hz(tmp_path / "out" / shown(tmp_path / "out")["sound"].iloc[-1]) > 1400


def test_a_full_disk_is_one_line_and_leaves_the_former_atlas(small, tmp_path, monkeypatch):
    atlas.make(small, tmp_path / "out")
    former = files(tmp_path / "out")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(page.shutil, "copyfile", full)
    with pytest.raises(UserError, match=r"cannot write .*out: the disk is full"):
        atlas.make(small, tmp_path / "out")
    assert files(tmp_path / "out") == former


def test_a_folder_that_is_no_atlas_is_left_alone(small, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="notes exists and is not an atlas"):
        atlas.make(small, tmp_path / "notes")
    with pytest.raises(UserError, match=r"thesis\.txt is a file; name a folder"):
        atlas.make(small, tmp_path / "notes" / "thesis.txt")
    assert files(tmp_path / "notes") == {"thesis.txt": b"years of work"}
    (tmp_path / "empty").mkdir()
    assert atlas.make(small, tmp_path / "empty").folder == tmp_path / "empty"


def test_without_sound_nothing_of_the_recordings_is_needed(tmp_path):
    source = write(tmp_path / "x.parquet", rows_of("/nowhere/a.wav"))
    made = atlas.make(source, tmp_path / "out", with_sound=False)
    assert not made.silent
    assert "sound" not in shown(tmp_path / "out")
    assert not (tmp_path / "out" / "sounds").exists()


@pytest.mark.parametrize(("module", "package"), [("embedding_atlas", "embedding-atlas"), ("umap", "umap-learn")])
def test_a_missing_package_is_one_line_how_to_install_it(small, tmp_path, monkeypatch, module, package):
    known = page.importlib.util.find_spec
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None if name == module else known(name))
    with pytest.raises(
        UserError, match=rf"package {package}, which is not installed: pip install 'symphony2vec\[atlas\]'"
    ):
        atlas.make(small, tmp_path / "out")


def test_the_page_shows_what_is_known_of_a_clip(tmp_path):
    clips = pd.concat(
        [rows_of("/music/a.flac", ("Берлиоз", "Op. 14", "1. Rêveries")), rows_of("/music/b.flac")], ignore_index=True
    )
    clips["start_s"] += 60.0
    clips["end_s"] += 60.0
    atlas.make(write(tmp_path / "x.parquet", clips), tmp_path / "out", with_sound=False)
    table = shown(tmp_path / "out")
    seen = ["clip", "composer", "work", "movement", "time", "recording"]
    assert [name for name in table if not name.startswith("__")] == seen
    assert table[seen].iloc[1].tolist() == [
        "Берлиоз · Op. 14 · 1. Rêveries · 1:02", "Берлиоз", "Op. 14", "1. Rêveries", "1:02", "a.flac",
    ]  # fmt: skip
    assert table[seen].iloc[4].tolist() == ["b.flac · 1:00", "unknown", "unknown", "unknown", "1:00", "b.flac"]
    told = json.loads((tmp_path / "out" / "data" / "metadata.json").read_text(encoding="utf-8"))
    assert told["props"]["initialState"]["charts"]["dots"]["data"]["category"] == "composer"


def test_the_first_view_holds_every_dot(tmp_path):
    places = projection.rotate_to_fill(np.float32([[-3.0, 4.0], [9.0, -1.0], [0.0, 0.0]]))
    table = page.table(rows_of("a.flac", clips=3), None, places, projection.nearest_neighbours(places))
    page.write(tmp_path, page.viewer(), table, "x")
    told = json.loads((tmp_path / "data" / "metadata.json").read_text(encoding="utf-8"))
    view = told["props"]["initialState"]["chartStates"]["dots"]["viewport"]
    assert (np.abs(places) * view["scale"] < [1.0, projection.ASPECT]).all()


def test_the_command_says_what_it_made_what_is_silent_and_how_to_open_it(partly, tmp_path):
    done = CliRunner().invoke(cli, ["atlas", str(partly), "-o", str(tmp_path / "my atlas")])
    assert done.exit_code == 0, done.output
    assert "24 clips of 6 recordings, 0 composers, by vae-mel work-0" in done.output
    assert "sound      of 6 clips" in done.output
    assert f"no sound   {tmp_path / 'music' / 'missing.wav'}: the recording is missing (4 clips)" in done.output
    assert f"python -m http.server --bind 127.0.0.1 --directory '{tmp_path / 'my atlas'}' 8000" in done.output


# In a browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A static server that keeps its log to itself."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """An atlas of three composers, one of whose recordings is missing, and the address that shows it."""
    root = tmp_path_factory.mktemp("served")
    pieces = []
    for composer, base_hz in COMPOSERS.items():
        for work in range(2):
            path = record(root / "music" / f"{base_hz:.0f}-{work}.wav", base_hz * (1 + work / 4))
            pieces.append(rows_of(path, (composer, f"Sonata {work + 1}", "1. Allegro")))
    clips = pd.concat(pieces, ignore_index=True)
    source = write(root / "x.parquet", clips, clusters(clips["composer"].tolist()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYMPHONY2VEC_WORKERS", "1")
        atlas.make(source, root / "out")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=root / "out"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield root / "out", f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium, which draws in software."""
    if not (shutil.which("chromedriver") and shutil.which("chromium")):
        pytest.skip("needs chromium and chromedriver")
    if not page.draws_without_webgpu(page.viewer()):
        pytest.skip("this version of embedding-atlas draws with WebGPU alone, which headless Chromium does not have")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    words = "--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-sync"
    words += " --disable-component-update --use-angle=swiftshader --enable-unsafe-swiftshader --window-size=1400,900"
    for word in [*words.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as chrome:
        yield chrome


# What the viewer says of itself where there is no WebGPU, and it draws with WebGL 2.
NO_WEBGPU = ("No available adapters", "Could not request WebGPU adapter", "Could not get WebGPU device")
IN_TOOLTIP = ".embedding-atlas-root .embedding-atlas-root "
PLAYING = """
return [...document.querySelectorAll('audio')].filter(one => !one.paused && one.currentTime > 0)
  .map(one => ({src: one.currentSrc, at_s: one.currentTime, length_s: one.duration}))
"""


def until(wanted: Any, what: str, limit_s: float = 60.0) -> Any:
    """The first true value of `wanted()`; an error that names `what` if it does not come."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        found = wanted()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


def text(chrome: Any, selector: str = "body") -> str:
    return str(chrome.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))


def opened(chrome: Any, address: str) -> None:
    """Open the atlas and wait until its dots are there."""
    chrome.get_log("browser")
    chrome.get_log("performance")
    chrome.get(address)
    until(lambda: "24 / 24 points" in text(chrome), "the table")
    until(lambda: len(coloured(chrome)), "the dots")


LEGEND = (300, 75)  # pixels that it may take of the view's upper right corner


def view_of(chrome: Any) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the view of dots, without the bars of controls above and below."""
    place = chrome.find_element("css selector", "canvas").rect
    x, y, width, height = (round(place[name]) for name in ("x", "y", "width", "height"))
    return x, y + 45, x + width, y + height - 30


def coloured(chrome: Any) -> np.ndarray:
    """The pixels (x, y) of the view of dots that have a colour, legend and controls left out."""
    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO(chrome.get_screenshot_as_png())).convert("RGB")).astype(int)
    inside = np.zeros(picture.shape[:2], bool)
    left, top, right, bottom = view_of(chrome)
    inside[top:bottom, left:right] = True
    inside[: top + LEGEND[1], right - LEGEND[0] :] = False
    rows, columns = np.nonzero((np.ptp(picture, axis=2) > 25) & inside)
    return np.stack([columns, rows], axis=1)


def pixels_of(chrome: Any, folder: Path) -> np.ndarray:
    """Where the dot of every row is drawn, (n, 2) pixels of the window."""
    told = json.loads((folder / "data" / "metadata.json").read_text(encoding="utf-8"))
    view = told["props"]["initialState"]["chartStates"]["dots"]["viewport"]
    place = chrome.find_element("css selector", "canvas").rect
    by = view["scale"] * max(place["width"], place["height"]) / 2
    table = shown(folder)
    x = place["x"] + place["width"] / 2 + (table["__x"] - view["x"]) * by
    y = place["y"] + place["height"] / 2 - (table["__y"] - view["y"]) * by
    return np.stack([x, y], axis=1)


def is_drawn(chrome: Any, pixels: np.ndarray) -> np.ndarray:
    """Of each of (n, 2) pixels, whether a colour is there."""
    drawn = coloured(chrome)
    return np.array([len(drawn) > 0 and np.abs(drawn - place).max(axis=1).min() < 3 for place in pixels])


def beside_the_legend(chrome: Any, pixels: np.ndarray) -> np.ndarray:
    """Of each of (n, 2) pixels, whether the legend leaves it free."""
    _, top, right, _ = view_of(chrome)
    return (pixels[:, 0] < right - LEGEND[0] - 10) | (pixels[:, 1] > top + LEGEND[1] + 10)


def loneliest(pixels: np.ndarray) -> int:
    """The row of the dot that is farthest from every other."""
    distances = np.linalg.norm(pixels[:, None] - pixels[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return int(distances.min(axis=1).argmax())


def click(chrome: Any, place: np.ndarray) -> None:
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    actions = ActionBuilder(chrome)
    actions.pointer_action.move_to_location(round(place[0]), round(place[1])).pointer_down().pointer_up()
    actions.perform()


def playing(chrome: Any, folder: Path) -> str:
    """The line `clip` of the only clip that plays, "" while there is none."""
    found = chrome.execute_script(PLAYING)
    assert len(found) < 2
    if not found:
        return ""
    assert found[0]["length_s"] == pytest.approx(CLIP_S, abs=0.1)
    table = shown(folder).set_index("sound")
    return str(table.loc[found[0]["src"].split("/", 3)[3], "clip"])


def test_the_page_draws_its_dots_and_asks_nobody_but_its_server(served, browser):
    folder, address = served
    opened(browser, address)
    pixels = pixels_of(browser, folder)
    free = pixels[beside_the_legend(browser, pixels)]
    assert len(free) > len(pixels) / 2
    until(lambda: is_drawn(browser, free).all(), "every dot")
    for composer in COMPOSERS:
        assert composer in text(browser)
    assert browser.title == "symphony2vec: x"
    assert "Falling back to WebGL" in text(browser)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert f"{address}data/metadata.json" in asked
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:", "chrome:", "chrome-untrusted:"))]
    said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not [message for message in said if not any(known in message for known in NO_WEBGPU)]


@pytest.mark.slow
def test_a_click_on_a_dot_plays_its_clip_until_the_next_click_and_offers_its_neighbours(served, browser):
    folder, address = served
    opened(browser, address)
    table, pixels = shown(folder), pixels_of(browser, folder)
    row = loneliest(pixels)
    click(browser, pixels[row])
    assert until(lambda: playing(browser, folder), "sound") == table["clip"][row]
    assert table["clip"][row] in text(browser, f"{IN_TOOLTIP}")
    others = table.index[table["composer"] != table["composer"][row]]
    other = int(others[np.linalg.norm(pixels[others] - pixels[row], axis=1).argmax()])
    click(browser, pixels[other])
    heard = until(lambda: (heard := playing(browser, folder)) != table["clip"][row] and heard, "the other sound")
    assert heard.startswith(table["composer"][other])
    browser.find_element("xpath", "//button[contains(., 'Nearest Neighbors')]").click()
    until(lambda: f"{projection.NEAREST} results." in text(browser), "the neighbours")


def test_a_click_on_a_row_of_the_list_plays_its_clip(served, browser):
    folder, address = served
    opened(browser, address)
    browser.find_element("xpath", "//tr[contains(., '300-0.wav') and contains(., '0:04')]").click()
    assert until(lambda: playing(browser, folder), "sound") == shown(folder)["clip"][2]


@pytest.mark.slow
def test_search_finds_clips_by_their_names(served, browser):
    _, address = served
    opened(browser, address)
    browser.find_element("xpath", "//button[contains(., 'Search')]").click()
    until(lambda: browser.find_elements("css selector", "input[type=search]"), "search")[0].send_keys("Берлиоз")
    until(lambda: "8 results." in text(browser), "results")
    until(lambda: len(browser.find_elements("css selector", "button audio")) == 8, "their sounds")
    assert text(browser).count("Sonata 1 · 1. Allegro") == 4


@pytest.mark.slow
def test_a_composer_in_the_chart_filters_dots_and_list(served, browser):
    folder, address = served
    opened(browser, address)
    pixels = pixels_of(browser, folder)
    free = beside_the_legend(browser, pixels)
    kept = (shown(folder)["composer"] == "Берлиоз").to_numpy()[free]
    until(lambda: is_drawn(browser, pixels[free]).all(), "every dot")
    browser.find_element("css selector", "button[title='Берлиоз']").click()
    until(lambda: "8 / 24 points" in text(browser), "the filter")
    until(lambda: np.array_equal(is_drawn(browser, pixels[free]), kept), "the dots of one composer alone")
    until(lambda: not browser.find_elements("xpath", "//tr[contains(., '300-0.wav')]"), "a shorter list")
    assert browser.find_elements("xpath", "//tr[contains(., '900-0.wav')]")


def test_names_cannot_break_the_page(served, browser):
    folder, address = served
    opened(browser, address)
    table, pixels = shown(folder), pixels_of(browser, folder)
    click(browser, pixels[table.index[table["composer"] == SLY][0]])
    until(lambda: SLY in text(browser, IN_TOOLTIP), "the tooltip")
    assert not browser.find_elements("css selector", "img[src=x]")


def test_opened_from_disk_the_page_says_how_to_open_it(served, browser):
    browser.get((served[0] / "index.html").as_uri())
    assert "python -m http.server" in text(browser)
