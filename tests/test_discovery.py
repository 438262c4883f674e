"""Search for the same music, for a path between two passages and for contrasts; attributes of a recording."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner, Result

from conftest import RATE_HZ, Trained, music
from symphony2vec.cli import cli
from symphony2vec.cli.describe import sparkline
from symphony2vec.collection import search
from symphony2vec.collection.table import COLUMNS, Collection
from symphony2vec.errors import UserError
from symphony2vec.labels import harmony
from symphony2vec.package import contents
from symphony2vec.package.attributes import Attribute
from symphony2vec.package.model import Model

DIMENSIONS = 8


def collection_of(lines: dict[str, np.ndarray]) -> Collection:
    """A collection of recordings with these vectors, a passage of ten seconds each."""
    parts = []
    for path, vectors in lines.items():
        starts = 10.0 * np.arange(len(vectors))
        part = pd.DataFrame({"path": path, "start_s": starts, "end_s": starts + 10.0})
        parts.append(part.assign(composer="", work="", movement=path, key=path)[COLUMNS])
    table = pd.concat(parts, ignore_index=True)
    return Collection(table, np.concatenate(list(lines.values())).astype(np.float32), {}, pd.DataFrame())


def random_line(count: int, seed: int) -> np.ndarray:
    """Vectors that change slowly, as those of consecutive passages do."""
    steps = np.random.default_rng(seed).standard_normal((count, DIMENSIONS))
    return np.cumsum(steps, axis=0)


def slower(line: np.ndarray, count: int) -> np.ndarray:
    at = np.linspace(0, len(line) - 1, count)
    return np.stack([np.interp(at, np.arange(len(line)), line[:, column]) for column in range(DIMENSIONS)], axis=1)


def test_another_performance_is_found_at_another_tempo_and_not_the_same_passages_in_another_order():
    lines = {f"/r{seed}": random_line(20, seed) for seed in range(12)}
    rng = np.random.default_rng(99)
    performed = slower(lines["/r4"], 26) + 0.1 * rng.standard_normal((26, DIMENSIONS))
    lines["/reversed"] = lines["/r4"][::-1]
    found = search.same_music(performed, collection_of(lines), 3)
    assert found["path"].iloc[0] == "/r4"
    assert found["similarity"].iloc[0] > 0.9 > found["similarity"].iloc[1]
    everything = search.same_music(performed, collection_of(lines), 100).set_index("path")["similarity"]
    assert everything["/reversed"] < everything["/r4"] - 0.2


def test_applause_before_the_music_costs_little():
    lines = {f"/r{seed}": random_line(20, seed) for seed in range(12)}
    late = np.concatenate([np.zeros((2, DIMENSIONS)), lines["/r3"]])
    assert search.same_music(late, collection_of(lines), 1)["path"].iloc[0] == "/r3"


def test_one_passage_is_a_recording_too():
    lines = {"/a": random_line(1, 0), "/b": random_line(1, 1), "/c": random_line(9, 2)}
    assert search.same_music(lines["/b"], collection_of(lines), 1)["path"].iloc[0] == "/b"


def test_a_path_leads_from_one_vector_to_the_other_and_never_stays_in_a_recording():
    angles = np.linspace(0.0, np.pi / 2.0, 40)
    ring = np.zeros((40, DIMENSIONS))
    ring[:, 0], ring[:, 1] = np.cos(angles), np.sin(angles)
    both = np.concatenate([ring, -ring])  # mean 0
    lines = {f"/r{place}": both[place::8] for place in range(8)}
    collection = collection_of(lines)
    table = search.find_path(both[0], both[39], collection, 6)
    rows = [collection.vectors[(collection.table["path"] == row.path) & (collection.table["start_s"] == row.start_s)][0]
            for row in table.itertuples()]  # fmt: skip
    turned = np.arctan2([row[1] for row in rows], [row[0] for row in rows])
    assert (np.diff(turned) > 0).all()
    assert turned[0] < 0.5
    assert turned[-1] > 1.0
    assert all(first != second for first, second in zip(table["path"], table["path"][1:], strict=False))


def test_no_passage_is_taken_twice():
    collection = collection_of({"/only": random_line(6, 0)})
    table = search.find_path(collection.vectors[0], collection.vectors[5], collection, 6)
    assert sorted(table["start_s"]) == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]


def test_contrasts_are_one_of_each_kind():
    rng = np.random.default_rng(0)
    centres = np.eye(DIMENSIONS)[:4] * 10.0
    lines = {f"/r{kind}": centre + 0.1 * rng.standard_normal((12, DIMENSIONS)) for kind, centre in enumerate(centres)}
    table = search.find_contrasts(collection_of(lines), 4)
    assert sorted(table["path"]) == ["/r0", "/r1", "/r2", "/r3"]
    assert len(search.find_contrasts(collection_of(lines), 1000)) == 48


# attributes -----------------------------------------------------------------------------------------------------------


def attribute(name: str, dimensions: int, numbers: int = 1, **changes: object) -> Attribute:
    rng = np.random.default_rng(len(name))
    values: dict[str, object] = {
        "title": f"share of {name}", "unit": "", "weights": rng.standard_normal((dimensions, numbers)),
        "offset": np.full(numbers, 0.5), "low": 0.0, "high": 1.0, "is_log": False,
        "r2": 0.8, "r2_low": 0.7, "r2_high": 0.9,
    }  # fmt: skip
    return Attribute(name, **{**values, **changes})  # type: ignore[arg-type]


def test_an_attribute_is_the_linear_prediction_within_its_range():
    probe = attribute("strings", 3)
    vectors = np.random.default_rng(0).standard_normal((50, 3))
    linear = vectors @ probe.weights + probe.offset
    np.testing.assert_allclose(probe.predict(vectors), np.clip(linear, 0.0, 1.0))
    assert (linear < 0.0).any()
    assert (linear > 1.0).any()


def test_a_logarithm_is_undone_before_the_range_applies():
    probe = attribute("brightness", 1, weights=np.ones((1, 1)), offset=np.zeros(1), low=1.0, high=5.0, is_log=True)
    assert probe.predict(np.array([[2.0], [4.0], [-3.0]])).tolist() == [[4.0], [5.0], [1.0]]


def test_an_attribute_comes_back_from_json():
    probe = attribute("pitch_classes", 4, 12)
    again = Attribute.from_plain(json.loads(json.dumps(probe.as_plain())))
    vectors = np.random.default_rng(0).standard_normal((5, 4))
    np.testing.assert_allclose(again.predict(vectors), probe.predict(vectors), atol=1e-6)
    assert (again.name, again.r2) == (probe.name, probe.r2)


@pytest.fixture(scope="module")
def described(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with probes of attributes."""
    folder = tmp_path_factory.mktemp("described") / "model"
    shutil.copytree(trained.package(model="pca-mel"), folder)
    dimensions = contents.read(folder, Model).dimensions
    probes = [attribute("strings", dimensions), attribute("pitch_classes", dimensions, 12, title="pitch classes")]
    probes.append(attribute("density", dimensions, title="density", unit="notes/s", low=0.0, high=20.0))
    (folder / "artifacts" / "attributes.json").write_text(json.dumps([probe.as_plain() for probe in probes]))
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    soundfile.write("a.flac", music(5.0, 1, bright=True), RATE_HZ)
    soundfile.write("b.flac", music(5.0, 2, bright=False), RATE_HZ)
    soundfile.write("c.flac", music(5.0, 3, bright=True), RATE_HZ)
    return lambda *words: CliRunner().invoke(
        cli, [str(w) for w in words], catch_exceptions=False, standalone_mode=False
    )


def test_describe_prints_a_line_for_each_attribute_and_writes_table_and_picture(described, run):
    printed = run("describe", "a.flac", "--model", described, "--csv", "a.csv", "--picture", "a.png").stdout
    first, times, *lines = printed.splitlines()
    assert first.startswith("a.flac, by pca-mel work-0")
    assert times.strip() == "0:00 to 0:05"
    assert [line.split("  ")[1] for line in lines] == ["share of strings", "pitch classes", "density"]
    assert all("R2 0.80 (0.70 to 0.90)" in line for line in lines)
    assert "notes/s" in lines[2]
    assert "%" in lines[0]
    table = pd.read_csv("a.csv")
    assert table.columns.tolist() == [
        "start_s",
        "end_s",
        "strings",
        *(f"pitch_classes_{n}" for n in range(12)),
        "density",
    ]
    assert table["strings"].between(0.0, 1.0).all()
    assert Path("a.png").stat().st_size > 5000


def test_describe_names_the_keys_where_their_accuracy_is_known(described, run, tmp_path):
    folder = shutil.copytree(described, tmp_path / "with_key")
    path = folder / "artifacts" / "attributes.json"
    plain = json.loads(path.read_text())
    plain[1]["key_accuracy"] = [0.61, 0.55, 0.66]
    path.write_text(json.dumps(plain))
    printed = run("describe", "a.flac", "--model", folder, "--csv", "a.csv", "--hop", "0.5").stdout
    (line,) = (line for line in printed.splitlines() if line.startswith("  key "))
    assert "right in 61% of passages (55% to 66%)" in line
    model = contents.read(folder, Model)
    vectors = model.embed_file("a.flac", "timestamps", 0.5).vectors
    classes, keys = (model.describe(vectors)[name] for name in ("pitch_classes", "key"))
    assert pd.read_csv("a.csv")["key"].tolist() == keys[:, 0].tolist()
    assert keys[0, 0] == harmony.KEYS[harmony.estimate_key(classes[0])]
    assert pd.Series(keys[:, 0]).mode()[0] in line


def test_a_model_without_attributes_says_which_one_has_them(trained, run):
    with pytest.raises(UserError, match="holds no probes of musical attributes; symphony2vec-base does"):
        run("describe", "a.flac", "--model", trained.package(model="pca-mel"))


def test_damaged_attributes_are_one_line(described, tmp_path):
    folder = shutil.copytree(described, tmp_path / "model")
    (folder / "artifacts" / "attributes.json").write_text('[{"name": "strings"}]')
    with pytest.raises(UserError, match="the model cannot be loaded"):
        contents.read(folder, Model)


def test_the_commands_list_passages_with_times(described, run):
    run("embed", ".", "-o", "x.parquet", "--model", described)
    printed = run("similar", "a.flac", "--in", "x.parquet", "--same-music", "--csv", "s.csv").stdout
    assert printed.count(".flac") == 2
    assert len(pd.read_csv("s.csv")) == 2
    printed = run("path", "a.flac", "b.flac", "--in", "x.parquet", "-n", "2", "--to", "0:02", "--csv", "p.csv").stdout
    assert printed.splitlines()[0] == "from 0:00 of a.flac"
    assert printed.splitlines()[-1] == "to 0:02 of b.flac"
    assert printed.count("c.flac") == 2
    assert len(pd.read_csv("p.csv")) == 2
    assert run("contrasts", "x.parquet", "-n", "3", "--csv", "c.csv").stdout.count(".flac") == 3
    assert len(pd.read_csv("c.csv")) == 3
    with pytest.raises(UserError, match="leave out --at"):
        run("similar", "a.flac", "--in", "x.parquet", "--same-music", "--at", "0:01")
    with pytest.raises(UserError, match="lasts from 0:00 to 0:05"):
        run("path", "a.flac", "b.flac", "--in", "x.parquet", "--from", "9:00")


def test_a_timeline_has_at_most_sixty_characters():
    line = sparkline(np.linspace(0.0, 1.0, 500), 0.0, 1.0)
    assert len(line) == 60
    assert line[0] == "▁"
    assert line[-1] == "█"
    assert sparkline([3.0], 0.0, 1.0) == "█"
