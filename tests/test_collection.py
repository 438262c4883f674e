"""Collections: what is embedded again and what is not, what is set aside, how they are written, and search in them."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from conftest import CLIP_S, RATE_HZ, Trained, music
from symphony2vec.collection import building, search
from symphony2vec.collection import table as tables
from symphony2vec.collection.table import COLUMNS, Collection
from symphony2vec.embedder import Embedder
from symphony2vec.errors import UserError

NAMES = ("Bach/Suite/1 Prélude.wav", "Bach/Suite/2 Gigue.wav", "Haydn/Sonata/1.wav", "Haydn/Trio/1.wav")


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")


@pytest.fixture(scope="module")
def vae(trained: Trained) -> Embedder:
    return Embedder.load(trained.package())


def request_for(loaded: Embedder, form: str = "clips", hop_s: float | None = None) -> building.EmbeddingRequest:
    return building.EmbeddingRequest(loaded.folder, loaded.source, loaded.name, loaded.fingerprint, form, hop_s)


@pytest.fixture(scope="module")
def clip_request(vae: Embedder) -> building.EmbeddingRequest:
    return request_for(vae)


def sound(path: Path, seed: int = 0, duration_s: float = 2.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # soundfile takes no name that is not UTF-8
        soundfile.write(file, music(duration_s, seed, bright=seed % 2 == 1), RATE_HZ, format="WAV")
    return path


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for seed, name in enumerate(NAMES):
        sound(tmp_path / "Music" / name, seed, 1.0 + seed % 2)
    return tmp_path / "Music"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the recordings that are embedded from now on, in order."""
    names: list[str] = []
    real = building.embed

    def counting(job: building.Job) -> int:
        names.append(job.recording.path.name)
        return real(job)

    monkeypatch.setattr(building, "embed", counting)
    return names


def left_in(folder: Path) -> list[str]:
    """What lies in a folder besides the music, hidden files included."""
    return sorted(path.name for path in folder.iterdir() if path.name != "Music")


# what a collection holds ----------------------------------------------------------------------------------------------


def test_every_vector_has_its_recording_times_and_titles(library, tmp_path, clip_request, vae):
    made = building.write([library], tmp_path / "x.parquet", clip_request)
    assert made.table.columns.tolist() == COLUMNS
    assert made.table["path"].unique().tolist() == sorted(str(library / name) for name in NAMES)
    first = made.table.iloc[0]
    assert (first["composer"], first["work"], first["movement"]) == ("Johann Sebastian Bach", "Suite", "1 Prélude")
    own = made.table[made.table["path"] == str(library / NAMES[1])]
    assert own["start_s"].tolist() == [0.0, 1.0]
    assert own["end_s"].tolist() == pytest.approx([1.0, 2.0])
    np.testing.assert_allclose(made.vectors[own.index], vae.embed_file(library / NAMES[1]).vectors, rtol=1e-5)
    assert left_in(tmp_path) == ["x.parquet"]


def test_titles_come_from_tags_before_folders_and_from_movements_csv(trained, tmp_path, clip_request):
    import mutagen.flac

    path = tmp_path / "Music" / "Someone" / "Album" / "01.flac"
    path.parent.mkdir(parents=True)
    soundfile.write(path, music(1.0), RATE_HZ)
    tagged = mutagen.flac.FLAC(path)
    tagged.update({"composer": "Clara Schumann", "work": "Trio", "title": "Allegro"})
    tagged.save()
    made = building.build([tmp_path / "Music"], clip_request)
    assert made.table[["composer", "work"]].iloc[0].tolist() == ["Clara Schumann", "Trio"]
    own = building.build([trained.project.out("audio")], clip_request)
    assert set(own.table["composer"]) == {"Ana Fantasía", "Берлиоз"}
    assert set(own.table["work"]) == {f"Sonata {seed}" for seed in range(8)}


@pytest.mark.parametrize("name", ["x.parquet", "x.npy", "x.csv"])
def test_a_collection_comes_back_as_it_was_written(name, library, tmp_path, clip_request):
    made = building.write([library], tmp_path / name, clip_request)
    again = tables.read(tmp_path / name)
    pd.testing.assert_frame_equal(again.table, made.table, check_dtype=False, rtol=1e-12)
    np.testing.assert_array_equal(again.vectors, made.vectors)
    assert again.vectors.dtype == np.float32
    assert dict(again.facts) == dict(made.facts)
    assert made.facts == {
        "model": clip_request.source, "name": "vae-mel work-0", "fingerprint": clip_request.fingerprint,
        "sample_rate_hz": RATE_HZ, "duration_s": CLIP_S, "form": "clips", "hop_s": None,
    }  # fmt: skip
    beside = {"x.parquet": [], "x.npy": ["x.npy.index.csv", "x.npy.json"], "x.csv": ["x.csv.json"]}[name]
    assert left_in(tmp_path) == sorted([name, *beside])


def test_other_tools_can_read_it(library, tmp_path, clip_request):
    made = building.write([library], tmp_path / "x.parquet", clip_request)
    schema = pq.read_schema(tmp_path / "x.parquet")
    assert schema.field("vector").type == pa.list_(pa.float32(), 4)
    assert json.loads(schema.metadata[b"symphony2vec"])["model"] == clip_request.source
    plain = pd.read_parquet(tmp_path / "x.parquet")
    np.testing.assert_array_equal(np.stack(plain["vector"]), made.vectors)
    building.write([library], tmp_path / "x.npy", clip_request)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), made.vectors)


@pytest.mark.parametrize(("form", "hop_s", "rows"), [("recording", None, 4), ("timestamps", 0.25, 24)])
def test_other_forms_are_kept_with_their_name(form, hop_s, rows, library, tmp_path, vae):
    building.write([library], tmp_path / "x.parquet", request_for(vae, form, hop_s))
    again = tables.read(tmp_path / "x.parquet")
    assert len(again.vectors) == rows
    assert (again.facts["form"], again.facts["hop_s"]) == (form, hop_s)


def test_a_hop_without_timestamps_is_refused(library, tmp_path, vae):
    with pytest.raises(UserError, match="hop_s applies to the form timestamps only"):
        building.write([library], tmp_path / "x.parquet", request_for(vae, "clips", 0.5))
    assert left_in(tmp_path) == []


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_number_of_workers(library, tmp_path, clip_request, monkeypatch):
    building.write([library], tmp_path / "x.parquet", clip_request)
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "2")
    building.write([library], tmp_path / "y.parquet", clip_request)
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "y.parquet").read_bytes()


# again ----------------------------------------------------------------------------------------------------------------


def test_nothing_is_embedded_twice(library, tmp_path, clip_request, embedded):
    out = tmp_path / "x.parquet"
    building.write([library], out, clip_request)
    assert len(embedded) == 4
    before = out.read_bytes()
    building.write([library], out, clip_request)
    assert len(embedded) == 4
    assert out.read_bytes() == before


def test_what_is_new_or_changed_is_embedded_and_what_is_gone_vanishes(library, tmp_path, clip_request, embedded):
    out = tmp_path / "x.csv"
    before = building.write([library], out, clip_request)
    embedded.clear()
    sound(library / NAMES[0], seed=9)
    (library / NAMES[2]).unlink()
    sound(library / "Orff" / "Suite" / "1.wav", seed=7)
    after = building.write([library], out, clip_request)
    assert sorted(embedded) == ["1 Prélude.wav", "1.wav"]
    assert str(library / NAMES[2]) not in set(after.table["path"])
    rows = [one.table.index[one.table["path"] == str(library / NAMES[1])] for one in (before, after)]
    np.testing.assert_array_equal(after.vectors[rows[1]], before.vectors[rows[0]])
    fresh = building.build([library], clip_request)
    pd.testing.assert_frame_equal(after.table, fresh.table, check_dtype=False)
    np.testing.assert_array_equal(after.vectors, fresh.vectors)


def test_a_touched_recording_is_embedded_again(library, tmp_path, clip_request, embedded):
    building.write([library], tmp_path / "x.parquet", clip_request)
    embedded.clear()
    os.utime(library / NAMES[3], (1e9, 1e9))
    building.write([library], tmp_path / "x.parquet", clip_request)
    assert embedded == ["1.wav"]


def test_another_place_replaces_and_with_add_it_joins(library, tmp_path, clip_request, embedded):
    out = tmp_path / "x.parquet"
    building.write([library / "Bach"], out, clip_request)
    both = building.write([library / "Haydn"], out, clip_request, add=True)
    assert set(both.table["path"]) == {str(library / name) for name in NAMES}
    assert both.table["path"].is_monotonic_increasing
    whole = building.build([library / "Bach", library / "Haydn"], clip_request)
    np.testing.assert_array_equal(both.vectors, whole.vectors)
    embedded.clear()
    one = building.write([library / "Bach"], out, clip_request)
    assert embedded == []
    assert set(one.table["path"]) == {str(library / name) for name in NAMES[:2]}


def test_another_model_or_form_is_not_mixed_in(trained, library, tmp_path, clip_request, vae):
    out = tmp_path / "x.parquet"
    building.write([library], out, clip_request)
    before = out.read_bytes()
    pca = request_for(Embedder.load(trained.package(model="pca-mel")))
    with pytest.raises(
        UserError, match=r"holds vectors of vae-mel work-0 \(clips\), which cannot be compared with those of"
    ):
        building.write([library], out, pca, add=True)
    with pytest.raises(UserError, match=r"those of vae-mel work-0 \(recording\): choose another output, or leave out"):
        building.write([library], out, request_for(vae, "recording"), add=True)
    assert out.read_bytes() == before
    assert building.write([library], out, pca).facts["name"] == "pca-mel work-0"


KILLED = """
import os, signal, sys
from pathlib import Path
from symphony2vec.collection import building
from symphony2vec.embedder import Embedder
real, done = building.embed, []
def embed(job):
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(job)
    return real(job)
building.embed = embed
loaded = Embedder.load(sys.argv[1])
clip_request = building.EmbeddingRequest(loaded.folder, loaded.source, loaded.name, loaded.fingerprint, "clips", None)
building.write([Path(sys.argv[2])], Path(sys.argv[3]), clip_request)
"""


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_stopped(trained, library, tmp_path, clip_request, embedded):
    out = tmp_path / "x.parquet"
    words = [sys.executable, "-c", KILLED, str(trained.package()), str(library), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert not out.exists()
    assert len(list((tmp_path / ".x.parquet.parts").glob("*.npz"))) == 2
    building.write([library], out, clip_request)
    assert len(embedded) == 2
    assert left_in(tmp_path) == ["x.parquet"]
    building.write([library], tmp_path / "y.parquet", clip_request)
    assert (tmp_path / "y.parquet").read_bytes() == out.read_bytes()


# what cannot be used --------------------------------------------------------------------------------------------------


def test_bad_files_are_set_aside_with_their_reasons_until_they_are_mended(library, tmp_path, clip_request):
    out, listed = tmp_path / "x.parquet", tmp_path / "x.parquet.rejected.csv"
    (library / "text.flac").write_text("not music")
    (library / "empty.mp3").touch()
    soundfile.write(library / "silent.wav", np.zeros(RATE_HZ), RATE_HZ)
    (library / "cut.wav").write_bytes((library / NAMES[0]).read_bytes()[:9000])
    (library / "gone.wav").symlink_to("nowhere.wav")
    made = building.write([library], out, clip_request)
    assert made.table["path"].nunique() == 4
    told = pd.read_csv(listed)
    assert told["path"].tolist() == [str(library / f"{name}") for name in sorted(
        ("cut.wav", "empty.mp3", "gone.wav", "silent.wav", "text.flac"))]  # fmt: skip
    reasons = dict(zip(told["path"].map(lambda path: Path(path).stem), told["reason"], strict=True))
    for name, reason in {
        "cut": "truncated: 20% of the audio", "empty": "empty", "gone": "No such file", "silent": "silent",
        "text": "not readable as audio",
    }.items():  # fmt: skip
        assert reason in reasons[name]
    for name in ("cut.wav", "empty.mp3", "gone.wav", "silent.wav", "text.flac"):
        (library / name).unlink()
    building.write([library], out, clip_request)
    assert not listed.exists()


def test_nothing_usable_is_one_line_with_the_first_reason(tmp_path, clip_request):
    (tmp_path / "Music").mkdir()
    (tmp_path / "Music" / "a.flac").write_text("no")
    with pytest.raises(UserError, match=r"nothing could be embedded: .*a\.flac: not readable as audio"):
        building.write([tmp_path / "Music"], tmp_path / "x.parquet", clip_request)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["with space.wav", "Dvořák – №1.wav", "new\nline.wav", "-leading.wav", "quote\"',;.wav", "x" * 240 + ".wav"]
)
def test_odd_names_are_embedded(name, tmp_path, clip_request):
    path = sound(tmp_path / "Music" / name)
    made = building.write([path.parent], tmp_path / "x.csv", clip_request)
    again = tables.read(tmp_path / "x.csv")
    assert set(made.table["path"]) == set(again.table["path"]) == {str(path)}


def test_a_name_that_is_no_text_is_embedded_or_said_but_never_ends_the_command(library, tmp_path, clip_request):
    odd = Path(os.fsdecode(os.fsencode(library) + b"/b\xff.wav"))
    sound(odd)
    made = building.write([library], tmp_path / "x.csv", clip_request)
    (told,) = made.rejected.to_dict("records")
    assert told["path"].endswith("b\\udcff.wav")
    assert "not UTF-8" in told["reason"]
    named = building.write([odd], tmp_path / "y.csv", clip_request)  # by its own name it is wanted as it is
    assert set(named.table["path"]) == {str(library / "b\\udcff.wav")}
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/c\xff"))
    sound(strange / "a.wav")
    (strange / "b.wav").write_text("no")
    made = building.write([strange], tmp_path / "z.csv", clip_request)
    assert [path.rpartition("/")[2] for path in made.rejected["path"]] == ["b.wav"]
    assert pd.read_csv(tmp_path / "z.csv.rejected.csv").shape == (1, 2)


def test_a_recording_reached_by_several_ways_is_one(library, tmp_path, clip_request, embedded, monkeypatch):
    (tmp_path / "link").symlink_to(library)
    monkeypatch.chdir(library)
    ways = [library, library / NAMES[0], Path("Bach"), library / "Haydn" / ".." / NAMES[0], tmp_path / "link"]
    made = building.write(ways, tmp_path / "x.parquet", clip_request)
    assert sorted(embedded) == ["1 Prélude.wav", "1.wav", "1.wav", "2 Gigue.wav"]
    assert set(made.table["path"]) == {str(library / name) for name in NAMES}


def test_places_without_music_are_one_line(tmp_path, clip_request):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no recordings in .*empty; supported formats: \.wav, \.flac"):
        building.write([tmp_path / "empty"], tmp_path / "x.parquet", clip_request)
    with pytest.raises(UserError, match="nowhere does not exist"):
        building.write([tmp_path / "nowhere"], tmp_path / "x.parquet", clip_request)
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UserError, match=r"nothing could be embedded: .*: not a regular file"):
        building.write([tmp_path / "pipe.wav"], tmp_path / "x.parquet", clip_request)


# a folder that changes meanwhile --------------------------------------------------------------------------------------


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], object]], None]:
    """Something happens to each recording right after it was read."""
    from symphony2vec.package.model import Model

    real = Model.embed_recording

    def happens(what: Callable[[Path], object]) -> None:
        def embed_recording(self: Model, path: Path, *clip_request: Any) -> Any:
            found = real(self, path, *clip_request)
            what(path)
            return found

        monkeypatch.setattr(Model, "embed_recording", embed_recording)

    return happens


def test_a_recording_that_vanishes_before_its_turn_is_set_aside(library, tmp_path, clip_request, meanwhile):
    meanwhile(lambda path: (library / NAMES[3]).unlink(missing_ok=True))
    made = building.write([library], tmp_path / "x.parquet", clip_request)
    assert made.rejected.to_dict("records") == [
        {"path": str(library / NAMES[3]), "reason": "cannot be opened: No such file or directory"}
    ]
    assert made.table["path"].nunique() == 3


def test_a_recording_that_grows_while_it_is_read_is_set_aside_and_embedded_next_time(
    library, tmp_path, clip_request, meanwhile, monkeypatch
):
    def grows(path: Path) -> None:
        if path.name == "2 Gigue.wav":
            with path.open("ab") as file:
                file.write(b"more")

    with monkeypatch.context():
        meanwhile(grows)
        made = building.write([library], tmp_path / "x.parquet", clip_request)
        assert made.rejected["reason"].tolist() == ["the file changed while it was read; run the command again"]
    meanwhile(lambda path: None)
    assert building.write([library], tmp_path / "x.parquet", clip_request).rejected["path"].tolist() == []


# the output -----------------------------------------------------------------------------------------------------------


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def made_up(recordings: int = 6, rows: int = 5, dimensions: int = 8, seed: int = 0) -> Collection:
    """A collection in which each recording has a place of its own, and its rows lie around it."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(0, 3, (recordings, dimensions)), rows, axis=0)
    vectors = (centres + rng.normal(0, 0.5, centres.shape)).astype(np.float32)
    number = np.arange(len(vectors))
    table = pd.DataFrame({"path": [f"/r{place:04d}" for place in number // rows], "start_s": number % rows * 10.0})
    table["end_s"] = table["start_s"] + 10.0
    table = table.assign(composer="A", work=table["path"], movement="1", key=table["path"])[COLUMNS]
    facts = dict.fromkeys(tables.FACT_NAMES, "")
    return Collection(table, vectors, facts, pd.DataFrame(columns=["path", "reason"]))


@pytest.mark.parametrize("name", ["x.parquet", "x.npy", "x.csv"])
def test_a_full_disk_leaves_the_collection_that_was_there(name, tmp_path):
    old, new = made_up(), made_up(2000, seed=1)
    tables.write(tmp_path / name, old)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with (
        files_at_most(20_000),
        pytest.raises(UserError, match=rf"cannot write .*{name[:2]}.*: (the disk is full|.*larger)"),
    ):
        tables.write(tmp_path / name, new)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    np.testing.assert_array_equal(tables.read(tmp_path / name).vectors, old.vectors)


def test_a_full_disk_at_the_end_costs_no_vector(library, tmp_path, clip_request, embedded, monkeypatch):
    def full(*_: Any) -> None:
        raise UserError("cannot write x.parquet: the disk is full; free some space and run the command again")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "write", full)
        with pytest.raises(UserError, match="the disk is full"):
            building.write([library], tmp_path / "x.parquet", clip_request)
    assert len(embedded) == 4
    building.write([library], tmp_path / "x.parquet", clip_request)
    assert len(embedded) == 4


def test_a_full_disk_in_between_is_one_line_too(library, tmp_path, clip_request, vae):
    vae.embed(music(1.0), RATE_HZ)  # what numba compiles is on the disk by now
    with files_at_most(30_000), pytest.raises(UserError, match=r"no room|cannot write"):
        building.write([library], tmp_path / "x.parquet", clip_request)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x.txt", r"the name of the output must end in one of \.parquet, \.npy, \.csv"),
        ("x", "the name of the output must end in"),
        ("nowhere/x.parquet", "nowhere is not a folder; create it first"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_any_work(name, reason, library, tmp_path, clip_request, embedded):
    with pytest.raises(UserError, match=reason):
        building.write([library], tmp_path / name, clip_request)
    assert embedded == []
    assert left_in(tmp_path) == []


def foreign_parquet(folder: Path) -> Path:
    pd.DataFrame({"a": [1]}).to_parquet(folder / "x.parquet")
    return folder / "x.parquet"


def no_parquet(folder: Path) -> Path:
    (folder / "x.parquet").write_text("letters")
    return folder / "x.parquet"


def foreign_csv(folder: Path) -> Path:
    (folder / "x.csv").write_text("a,b\n1,2\n")
    return folder / "x.csv"


def foreign_json(folder: Path) -> Path:
    (folder / "x.npy.json").write_text('{"mine": true}')
    return folder / "x.npy"


def a_folder(folder: Path) -> Path:
    (folder / "x.parquet").mkdir()
    return folder / "x.parquet"


@pytest.mark.parametrize("make", [foreign_parquet, no_parquet, foreign_csv, foreign_json, a_folder])
def test_what_is_no_collection_is_not_overwritten(make, library, tmp_path, clip_request, embedded):
    out = make(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(UserError, match=r"x\.(parquet|csv|npy)"):
        building.write([library], out, clip_request)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert embedded == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), r"x\.npy is missing; `symphony2vec embed FOLDER -o x\.npy` writes it"),
        (lambda path: path.write_bytes(b"no"), r"x\.npy cannot be read as \.npy"),
        (lambda path: np.save(path, np.zeros((3, 4))), "its vectors do not fit its rows"),
        (lambda path: path.with_name("x.npy.json").unlink(), r"x\.npy\.json is missing: it belongs to x\.npy"),
        (lambda path: path.with_name("x.npy.json").write_text("{"), r"x\.npy\.json is damaged: its facts are not JSON"),
        (
            lambda path: path.with_name("x.npy.json").write_text("[]"),
            r"x\.npy\.json is not a collection",
        ),
        (lambda path: path.with_name("x.npy.index.csv").unlink(), r"x\.npy\.index\.csv is missing"),
        (lambda path: path.with_name("x.npy.index.csv").write_text("path,start_s\n"), "no column end_s, composer"),
    ],
)
def test_a_damaged_collection_is_one_line(damage, reason, tmp_path):
    tables.write(tmp_path / "x.npy", made_up())
    damage(tmp_path / "x.npy")
    with pytest.raises(UserError, match=reason) as caught:
        tables.read(tmp_path / "x.npy")
    assert "\n" not in str(caught.value)


def test_two_commands_do_not_write_one_output_at_once(library, tmp_path, clip_request, embedded):
    with (
        building._lock(tmp_path / ".x.parquet.parts", tmp_path / "x.parquet"),
        pytest.raises(UserError, match=r"another command is writing .*parquet now"),
    ):
        building.write([library], tmp_path / "x.parquet", clip_request)
    assert embedded == []
    building.write([library], tmp_path / "x.parquet", clip_request)
    assert left_in(tmp_path) == ["x.parquet"]


# search ---------------------------------------------------------------------------------------------------------------


def cosines(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    one, other = search.unit_vectors(query, vectors)
    return one @ other.T


def test_similarity_does_not_depend_on_the_scale_or_place_of_a_dimension():
    collection, rng = made_up(), np.random.default_rng(1)
    query = collection.vectors[:3]
    scale, shift = rng.uniform(0.1, 100.0, 8), rng.normal(0, 10, 8)
    found = cosines(query, collection.vectors)
    moved = cosines(query * scale + shift, (collection.vectors * scale + shift))
    np.testing.assert_allclose(moved, found, atol=1e-3)
    assert np.abs(found).max() <= 1.0 + 1e-6
    np.testing.assert_allclose(found[range(3), range(3)], 1.0, atol=1e-6)


def test_a_dimension_that_never_changes_tells_nothing():
    collection = made_up()
    flat = np.concatenate([collection.vectors, np.full((len(collection.vectors), 1), 7.0, np.float32)], axis=1)
    found = cosines(flat[:2], flat)
    np.testing.assert_allclose(found, cosines(collection.vectors[:2], collection.vectors), atol=1e-5)


def test_what_is_near_is_found_among_all_cosines():
    collection = made_up()
    query = collection.vectors[3:9]
    whole, near = cosines(query, collection.vectors), search.nearness(query, collection)
    np.testing.assert_allclose(near.best, whole.max(axis=0), atol=1e-6)
    np.testing.assert_array_equal(near.at, whole.argmax(axis=0))
    for place, path in enumerate(sorted(near.recordings)):
        own = whole[:, 5 * place : 5 * place + 5]
        wanted = (own.max(axis=1).mean() + own.max(axis=0).mean()) / 2.0
        assert near.recordings[path] == pytest.approx(wanted, abs=1e-6)


def test_a_copy_with_noise_is_the_nearest_recording_and_its_passages_come_in_order():
    collection, rng = made_up(), np.random.default_rng(1)
    for place, path in enumerate(sorted(collection.table["path"].unique())):
        own = collection.vectors[place * 5 : place * 5 + 5]
        query = own + rng.normal(0, 0.05, own.shape)
        near = search.nearness(query, collection)
        assert search.recordings(near, collection, 3)["path"].iloc[0] == path
        passages = search.passages(near, np.arange(5) * 10.0, collection, 10)
        assert passages["path"].iloc[:3].tolist() == [path] * 3
        assert (passages["at_s"] == passages["start_s"])[:3].all()
        assert (passages.groupby("path").size() <= search.PASSAGES_PER_RECORDING).all()
        assert passages["similarity"].is_monotonic_decreasing


def test_a_recording_is_not_its_own_neighbour():
    collection = made_up()
    others = search.exclude(collection, "/r0002")
    assert "/r0002" not in set(others.table["path"])
    assert len(others.vectors) == len(others.table) == 25
    np.testing.assert_array_equal(others.vectors[10], collection.vectors[15])


def test_a_long_recording_is_not_near_because_it_holds_a_little_of_everything():
    collection = made_up(6)
    query = collection.vectors[:5]
    all_of_it = collection.table.assign(path="/everything")
    table = pd.concat([collection.table, all_of_it], ignore_index=True)
    both = Collection(table, np.tile(collection.vectors, (2, 1)), collection.facts, collection.rejected)
    assert search.recordings(search.nearness(query, both), both, 2)["path"].tolist()[0] == "/r0000"


def test_a_transposed_and_a_noisy_copy_rank_first(trained, tmp_path):
    """Of twelve recordings: a semitone higher and faster, and with noise."""
    pca, rng = request_for(Embedder.load(trained.package(model="pca-mfcc"))), np.random.default_rng(3)
    library, copies = tmp_path / "Music", tmp_path / "copies"
    for seed in range(12):
        path = sound(library / f"{seed:02d}.wav", seed, 3.0)
        wave, _ = soundfile.read(path)
        copies.mkdir(exist_ok=True)
        soundfile.write(copies / f"{seed:02d} noisy.wav", wave + 0.001 * rng.standard_normal(len(wave)), RATE_HZ)
        soundfile.write(copies / f"{seed:02d} higher.wav", wave, round(RATE_HZ * 2 ** (1 / 12)))
    collection, clip_request = building.build([library], pca), building.build([copies], pca)
    first = {}
    for path, rows in clip_request.table.groupby("path").indices.items():
        near = search.nearness(clip_request.vectors[rows], collection)
        first[Path(str(path)).stem] = Path(search.recordings(near, collection, 1)["path"].iloc[0]).stem
    assert {name for name, nearest in first.items() if name[:2] != nearest} == set()


def test_two_formats_of_one_name_do_not_share_their_facts(library, tmp_path, clip_request, trained):
    building.write([library], tmp_path / "x.npy", clip_request)
    other = building.EmbeddingRequest.for_model(Embedder.load(trained.package(model="pca-mel")), "recording", None)
    building.write([library], tmp_path / "x.csv", other)
    assert tables.read(tmp_path / "x.npy").facts["fingerprint"] == clip_request.fingerprint
    assert tables.read(tmp_path / "x.csv").facts["fingerprint"] == other.fingerprint != clip_request.fingerprint


def test_a_package_that_was_replaced_meanwhile_embeds_nothing_under_its_former_name(
    library, tmp_path, clip_request, trained
):
    package = Path(shutil.copytree(clip_request.package, tmp_path / "package"))
    former = dataclasses.replace(clip_request, package=package)
    building.write([library], tmp_path / "x.parquet", former)
    shutil.rmtree(package)
    shutil.copytree(trained.package(model="pca-mel"), package)
    later = dataclasses.replace(former, fingerprint=Embedder.load(package).fingerprint)
    made = building.write([library], tmp_path / "y.parquet", later)
    assert not np.allclose(made.vectors, tables.read(tmp_path / "x.parquet").vectors)
    building._model.cache_clear()
    with pytest.raises(UserError, match="has changed since the command began"):
        building.write(
            [library], tmp_path / "z.parquet", dataclasses.replace(clip_request, package=package, form="recording")
        )


def test_the_hop_that_is_not_named_is_the_hop_that_is(trained):
    loaded = Embedder.load(trained.package())
    assert building.EmbeddingRequest.for_model(loaded, "timestamps", None) == building.EmbeddingRequest.for_model(
        loaded, "timestamps", 0.5
    )
    for form, hop_s, reason in (
        ("clips", 0.5, "a hop applies to the form timestamps only"),
        ("timestamps", 0.0, "a hop of 0 s"),
        ("timestamps", 99.0, "a hop of 99 s"),
        ("windows", None, "unknown form 'windows'"),
    ):
        with pytest.raises(UserError, match=reason):
            building.EmbeddingRequest.for_model(loaded, form, hop_s)


def test_a_csv_whose_vectors_are_no_numbers_is_one_line(library, tmp_path, clip_request):
    building.write([library], tmp_path / "x.csv", clip_request)
    table = pd.read_csv(tmp_path / "x.csv")
    table.assign(v0="loud").to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(UserError, match="one of its vectors is not numeric"):
        tables.read(tmp_path / "x.csv")
    table.drop(columns=["v0", "v1", "v2", "v3"]).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(UserError, match="is not a collection"):
        tables.read(tmp_path / "x.csv")
