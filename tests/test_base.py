"""symphony2vec-base, the model that is installed with the package, and its recipe."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from ruamel.yaml import YAML

from conftest import music
from symphony2vec import Embedder, params
from symphony2vec.corpus import catalogue
from symphony2vec.embedder import BASE, locate
from symphony2vec.errors import UserError
from symphony2vec.evaluation.probe import regression
from symphony2vec.package import contents

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "pretrained"
COMMAND = str(Path(sys.executable).with_name("symphony2vec"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder.load(project=tmp_path_factory.mktemp("nowhere"))


def load_script(name: str):
    sys.path.insert(0, str(RECIPE))
    try:
        spec = importlib.util.spec_from_file_location(f"recipe_{name}", RECIPE / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(RECIPE))
    return module


def test_outside_a_project_the_default_is_the_base_model(base):
    assert base.source == BASE
    assert base.folder == contents.PRETRAINED / BASE
    assert base.dimensions == 512
    assert Embedder.load(BASE).fingerprint == base.fingerprint


def test_a_project_without_runs_has_no_champion_to_prefer(tmp_path):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text("")
    assert locate(project=tmp_path) == (contents.PRETRAINED / BASE, BASE)
    (tmp_path / "mlruns").mkdir()
    with pytest.raises(UserError, match="champion"):
        locate(project=tmp_path)


def test_the_base_model_gives_its_golden_vectors(base):
    golden = np.load(base.folder / "artifacts" / "golden.npy")
    vectors = base.embed_file(base.folder / "artifacts" / "example.flac").vectors
    assert np.linalg.norm(vectors - golden) < 1e-4 * np.linalg.norm(golden)


def test_a_vector_hardly_depends_on_level_and_rate(base):
    wave = music(10.0, 0, bright=True)
    vectors = base.embed(wave, 22050).vectors
    louder = base.embed(0.1 * wave, 22050).vectors
    np.testing.assert_allclose(louder, vectors, atol=1e-2 * np.abs(vectors).max())


def test_every_attribute_says_how_reliable_it_is(base):
    names = [attribute.name for attribute in base.attributes]
    assert {"strings", "woodwind", "brass", "notes_per_s", "centroid_hz", "pitch_classes"} <= set(names)
    for attribute in base.attributes:
        assert attribute.r2_low <= attribute.r2 <= attribute.r2_high <= 1.0
        assert attribute.low < attribute.high


def test_the_card_names_licences_and_accuracy(base):
    card = (base.folder / "card.md").read_text(encoding="utf-8")
    assert "CC-BY-4.0" in card
    assert "CC0-1.0" in card
    assert "confidence interval over works" in card


def test_the_package_is_small(base):
    assert sum(path.stat().st_size for path in base.folder.rglob("*") if path.is_file()) < 8e6


def test_the_wheel_takes_every_file_of_the_package(base):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    source = ROOT / "src" / "symphony2vec"
    taken = {path for pattern in settings["package-data"]["symphony2vec"] for path in source.glob(pattern)}
    files = {path for path in base.folder.rglob("*") if path.is_file()}
    assert files
    assert files <= taken


def test_commands_work_in_an_empty_folder(tmp_path):
    for seed in range(3):
        soundfile.write(tmp_path / f"{seed}.flac", music(12.0, seed, bright=seed % 2 == 0), 22050)

    def run(*words: str) -> str:
        done = subprocess.run([COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    assert run("embed", ".", "-o", "x.parquet").endswith(f"({BASE})\n")
    assert "passages" in run("similar", "0.flac", "--in", "x.parquet")
    assert "share of strings" in run("describe", "0.flac")
    assert "%" in run("classify", "0.flac")


# the recipe -----------------------------------------------------------------------------------------------------------


def test_the_parameters_of_the_recipe_are_valid():
    settings = params.read(RECIPE / "params.yaml")
    assert settings.temporal.models == ["base-64"]
    assert settings.temporal.setting("base").equalisation > 0.0


def test_every_dependency_of_the_recipe_is_a_file_or_the_output_of_a_stage():
    stages = YAML(typ="safe").load((RECIPE / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outputs = [next(iter(out)) if isinstance(out, dict) else out for stage in stages.values() for out in stage["outs"]]
    outputs = [out.replace("${item.fold}", "work-0") for out in outputs]
    for stage in stages.values():
        for path in stage["deps"]:
            made = any(f"{path}/".startswith(f"{out}/") or out.startswith(f"{path}/") for out in outputs)
            assert made or (RECIPE / path).exists(), path


def test_the_corpus_has_the_first_movements_of_the_first_works():
    corpus = load_script("corpus")
    rows = [
        catalogue.Movement(f"C{composer}", f"W{work}", str(movement), "x", "score", "", "")
        for composer in range(2) for work in range(20) for movement in range(4)
    ]  # fmt: skip
    limited = corpus.limit_movements(rows)
    table = pd.DataFrame(limited)
    assert table.groupby("composer")["work"].nunique().tolist() == [corpus.MAX_WORKS] * 2
    assert set(table.groupby(["composer", "work"]).size()) == {corpus.MAX_MOVEMENTS}


def test_the_same_music_in_other_performances_is_ranked_first():
    evaluate = load_script("evaluate")
    rng = np.random.default_rng(0)
    keys = [("C", f"W{number}", "1") for number in range(30)]
    vectors = {key: rng.standard_normal((6, 16)) for key in keys}
    performed = {key: values + 0.1 * rng.standard_normal(values.shape) for key, values in vectors.items()}
    unrelated = {key: rng.standard_normal((6, 16)) for key in keys}
    same, other = (evaluate.answer_music(queries, vectors) for queries in (performed, unrelated))
    for name in ("mrr", "aligned_mrr"):
        assert len(same[name]) == 30
        assert same[name]["right"].sum() == same[name]["clips"].sum() == 30
        assert other[name]["right"].sum() < 12
    answers = {"base": [same] * 3, "other": [other] * 3}
    facts = {name: [{"dimensions": 16.0}] * 3 for name in answers}
    settings = params.read(RECIPE / "params.yaml").probe
    results, differences = evaluate.summarize_answers(answers, facts, settings)
    assert results["mrr"].tolist() == [1.0, other["mrr"]["right"].sum() / 30]
    assert (results["mrr_low"] <= results["mrr"]).all()
    row = differences[differences["measure"] == "mrr"].iloc[0]
    assert row["low"] < row["difference"] == 1.0 - results["mrr"][1] < row["high"]
    assert row["significant"] == 1


def test_the_probe_answers_for_every_test_work():
    evaluate = load_script("evaluate")
    rng = np.random.default_rng(0)
    works = [f"W{number}" for number in range(12)]
    clips = pd.DataFrame({"composer": ["A", "B"] * 6, "work": works, "movement": "1"})
    clips["split"] = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
    clips = pd.concat([clips.assign(file=clips["work"] + ".flac", group=clips["work"])] * 5, ignore_index=True)
    vectors = rng.standard_normal((60, 4)) + 9.0 * (clips["composer"] == "A").to_numpy()[:, None]
    settings = params.read(RECIPE / "params.yaml").probe
    table, facts = evaluate.answer_composers(regression.fit(vectors, clips, settings), clips, settings)
    assert table["right"].tolist() == table["clips"].tolist() == [5] * 4
    assert facts["macro_f1"] == 1.0
    assert facts["works"] == 4
