"""The whole pipeline as its user runs it, on recordings of their own, and the page it ends in, in a browser."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from ruamel.yaml import YAML

from conftest import ROOT, runs
from symphony2vec import report
from symphony2vec.artifacts import Project

BIN = Path(sys.executable).parent
MODELS = ("pca-chroma", "pca-mel", "pca-mfcc")


def call(*words: str, cwd: Path) -> str:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-1500:]} {done.stderr[-1500:]}"
    return done.stdout + done.stderr


def recordings(folder: Path) -> None:
    """Three composers with three works each, told apart by their scales; and one broken file."""
    rng = np.random.default_rng(0)
    time_s = np.arange(int(21.0 * 22050)) / 22050
    for composer, pitch_hz in {"Ana Fantasía": 220.0, "Берлиоз": 330.0, "Chaminade, Cécile": 495.0}.items():
        for work in range(3):
            path = folder / composer / f"Sonata {work + 1}" / "1. Allegro & finale.flac"
            path.parent.mkdir(parents=True)
            beat = np.sign(np.sin(2 * np.pi * (work + 2) * time_s))
            wave = 0.2 * np.sin(2 * np.pi * pitch_hz * time_s) * (1.5 + beat) + 0.01 * rng.standard_normal(len(time_s))
            soundfile.write(path, wave, 22050)
    (folder / "Ana Fantasía" / "Sonata 1" / "2. Broken.flac").write_text("not audio at all")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Project:
    """A project in git and DVC whose pipeline has run on imported recordings."""
    root = tmp_path_factory.mktemp("project")
    for name in ("dvc.yaml", "params.yaml", ".gitignore"):
        shutil.copyfile(ROOT / name, root / name)
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    yaml = YAML()
    values = yaml.load(root / "params.yaml")
    values["corpus"]["name"] = "recordings"
    values["embeddings"]["dimensions"] = 4
    yaml.dump(values, root / "params.yaml")
    originals = tmp_path_factory.mktemp("music")
    recordings(originals)
    call("git", "init", "-q", cwd=root)
    call("dvc", "init", "-q", cwd=root)
    call("symphony2vec", "corpus", "import", str(originals), cwd=root)
    call("dvc", "add", "data", cwd=root)
    call("dvc", "repro", cwd=root)
    return Project(root)


def test_a_broken_recording_is_set_aside_and_the_rest_is_used(finished):
    (row,) = csv.DictReader(finished.out("audio", "rejected.csv").open(encoding="utf-8"))
    assert row["path"].endswith("2. Broken.flac")
    assert "not readable as audio" in row["reason"]
    assert len(pd.read_csv(finished.movements)) == 9


def test_every_model_has_vectors_scores_and_one_finished_run(finished):
    clips = pd.read_csv(finished.clips)
    assert sorted(clips["composer"].unique()) == ["Ana Fantasía", "Cécile Chaminade", "Берлиоз"]
    for model in MODELS:
        assert np.load(finished.out("embeddings", model, "vectors.npy")).shape == (len(clips), 4)
    found = {one.info.run_name: one for one in runs(finished)}
    assert set(found) == set(MODELS)
    for one in found.values():
        assert one.info.status == "FINISHED"
        assert "test_accuracy" in one.data.metrics
        for seen in one.inputs.dataset_inputs:
            assert seen.dataset.digest in (finished.root / "dvc.lock").read_text()
        assert one.data.params["corpus.name"] == "recordings"


def test_composers_this_far_apart_are_named(finished):
    scores = json.loads(finished.out("probe", "embeddings", "pca-chroma", "scores.json").read_text())
    assert scores["test_accuracy"] > 0.9


def test_a_second_repro_has_nothing_to_do_and_a_changed_setting_reruns_its_branch_alone(finished):
    assert "Data and pipelines are up to date" in call("dvc", "repro", cwd=finished.root)
    text = finished.params.read_text(encoding="utf-8")
    finished.params.write_text(text.replace("bootstrap_draws: 2000", "bootstrap_draws: 1000"), encoding="utf-8")
    status = call("dvc", "status", cwd=finished.root)
    assert set(re.findall(r"^(\w+)(?:@[\w-]+)?:", status, re.MULTILINE)) == {"probe", "report"}
    finished.params.write_text(text, encoding="utf-8")


def test_the_results_are_printed_with_what_they_rest_on(finished):
    text = call("symphony2vec", "results", cwd=finished.root)
    assert all(model in text for model in MODELS)
    assert re.search(r"test split: \d+ clips of \d+ works", text)
    assert "mlflow ui --backend-store-uri" in text


def test_tables_and_figures_lie_beside_the_page(finished):
    folder = finished.out("report")
    names = {path.name for path in folder.iterdir()}
    assert {"index.html", "results.csv", "corpus.csv", "balance.csv", "splits.csv", "results.png", "mel.png"} <= names
    table = pd.read_csv(folder / "results.csv")
    assert table["validation_accuracy"].is_monotonic_decreasing
    assert (table["accuracy_low"] <= table["accuracy"]).all()


def test_the_page_asks_nothing_of_a_network(finished):
    page = finished.out("report", "index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", page)
    assert "url(" not in page
    assert "@import" not in page


def test_names_cannot_break_the_page(finished, monkeypatch):
    sly = "<script>alert(1)</script>"
    monkeypatch.setattr(report, "corpus", lambda *_: pd.DataFrame([dict.fromkeys(
        ("composer", "works", "movements", "minutes", "clips", "kind", "licence"), sly)]))  # fmt: skip
    params = report.Params.model_validate(YAML(typ="safe").load(finished.params.read_text(encoding="utf-8")))
    report.run(finished, params)
    page = finished.out("report", "index.html").read_text(encoding="utf-8")
    assert sly not in page
    assert "&lt;script&gt;" in page


@pytest.mark.skipif(
    not (shutil.which("chromedriver") and shutil.which("chromium")), reason="needs chromium and chromedriver"
)
def test_the_page_opens_from_disk_in_a_browser(finished, tmp_path):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    words = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    for word in [*words.split(), "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path}"]:
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as browser:
        browser.get(finished.out("report", "index.html").as_uri())
        rows = browser.find_elements("css selector", "#results-table tr")
        images = browser.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth > 100)")
        fetched = browser.execute_script("return performance.getEntriesByType('resource').map(r => r.name)")
        assert len(rows) == 1 + len(MODELS)
        assert len(images) >= 10
        assert all(images)
        assert all(name.startswith("data:") for name in fetched)
        assert "Берлиоз" in browser.find_element("tag name", "body").text
        assert not browser.get_log("browser")
        browser.set_window_size(390, 800)
        width = browser.execute_script("return document.documentElement.scrollWidth")
        inner = browser.execute_script("return window.innerWidth")
        assert width <= inner  # tables scroll inside themselves on a small screen
