"""The notebooks are kept without outputs, and run from the first cell to the last on a small finished project."""

from __future__ import annotations

import copy
import io
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
from nbclient import NotebookClient
from ruamel.yaml import YAML

from conftest import ROOT
from symphony2vec import params, tracking
from symphony2vec.clips import stage as clips
from symphony2vec.evaluation.probe import stage as probe
from symphony2vec.features import stage as features
from symphony2vec.features.recipe import Recipe
from symphony2vec.models.ali import stage as ali
from symphony2vec.models.classifiers import stage as classifiers
from symphony2vec.models.embeddings import stage as embeddings
from symphony2vec.project import Project, read_table, write_array, write_table
from symphony2vec.report import stage as report

pytestmark = pytest.mark.slow

NOTEBOOKS = ("from_sound_to_vector", "results")
COMPOSERS = ("Ana Fantasía", "Берлиоз", "Chaminade, Cécile")
WORKS, CLIPS_A_WORK, CLIP_S = 4, 4, 3.0
FOLDS = ["work-0", "work-1", "clip-0"]
BIN = Path(sys.executable).parent
LEFT_SET = "import os; print(os.environ.get('MLFLOW_TRACKING_URI'))"


def notebook(name: str) -> Any:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_stripped(name):
    stored = notebook(name)
    nbformat.validate(stored)
    assert stored.metadata.kernelspec.name == "python3"
    assert "widgets" not in stored.metadata
    for cell in stored.cells:
        assert set(cell.metadata) <= {"tags"}
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_every_notebook_is_tested():
    assert sorted(path.stem for path in (ROOT / "notebooks").rglob("*.ipynb")) == list(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_cell_is_short_and_comes_after_words(name):
    before = "nothing"
    for cell in notebook(name).cells:
        if cell.cell_type == "code":
            assert before == "markdown", cell.source
            assert len(cell.source.splitlines()) <= 25, cell.source
        before = cell.cell_type


# a small project ------------------------------------------------------------------------------------------------------


def shrink(values: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a study that is done in seconds: one fold, one epoch, short clips."""
    values = copy.deepcopy(values)
    values["corpus"]["name"] = "made_up"
    values["folds"] = FOLDS[:1]
    values["clips"] |= {"duration_s": CLIP_S}
    for own in values["classifiers"].values():
        own |= {"batch": 8, "epochs": 1}
    values["embeddings"] |= {"dimensions": 4, "probe_every_epochs": 1}
    for name in ("ae", "vae"):
        values["embeddings"][name] |= {"batch": 8, "epochs": 1}
    values["ali"] |= {"models": ["paper-8"], "probe_every_epochs": 1}
    # Fewer epochs or lower rates, and all that it generates is the same.
    values["ali"]["paper"] |= {"batch": 8, "epochs": 5, "learning_rate": 0.002, "discriminator_learning_rate": 0.002}
    values["probe"] |= {"bootstrap_resamples": 200, "inverse_regularisation": [0.01, 1.0]}
    return values


def several(values: dict[str, Any]) -> dict[str, Any]:
    """The same on two seeds and two kinds of split: `FOLDS`."""
    return {**values, "folds": FOLDS}


def movements() -> pd.DataFrame:
    """Works of one movement each, as long as their clips."""
    rows = [
        {"composer": composer, "work": f"Sonata {work}", "movement": "1", "file": f"{place}-{work}.flac"}
        for place, composer in enumerate(COMPOSERS)
        for work in range(WORKS)
    ]
    facts = {
        "duration_s": CLIP_S * CLIPS_A_WORK,
        "kind": "recording",
        "licence": "none",
        "loudness_lufs": -20.0,
        "performance": "",
    }
    return pd.DataFrame(rows).assign(**facts)


def make_features(project: Project, settings: params.Params) -> None:
    """Arrays in which composers differ a little, and the sound of one movement with what it really gives."""
    recipe = Recipe(settings.audio.sample_rate_hz, settings.clips.duration_s, settings.features)
    table, rng = read_table(project.clips, "clips"), np.random.default_rng(0)
    place = table["composer"].map({name: number for number, name in enumerate(sorted(COMPOSERS))}).to_numpy()
    ranges = {"mel": (-80.0, 0.0), "mfcc": (-200.0, 200.0), "chroma": (0.0, 1.0)}
    arrays = {}
    for name, (bins, frames) in recipe.shapes.items():
        low, high = ranges[name]
        shape = 0.35 + 0.2 * np.cos(np.arange(bins) / bins * 6.0 - 2.0 * place[:, None])
        noise = 0.15 * rng.standard_normal((len(table), bins, 1)) + 0.1 * rng.standard_normal((1, bins, frames))
        arrays[name] = (low + (high - low) * np.clip(shape[:, :, None] + noise, 0.0, 1.0)).astype(np.float32)
    file = chosen(project)["file"]
    wave = rng.uniform(-0.1, 0.1, CLIPS_A_WORK * recipe.samples).astype(np.float32)
    soundfile.write(project.out("audio", file), wave, recipe.rate_hz)
    for name, values in arrays.items():
        write_array(project.feature(name), values)
    rows = table.index[table["file"] == file]
    starts = tuple(number * recipe.samples for number in range(CLIPS_A_WORK))
    features.write_movement(
        features.ExtractionTask(project.out("audio", file), tuple(rows), starts, project.out("features"), recipe)
    )


def chosen(project: Project) -> pd.Series:
    """The test clip that the notebook listens to."""
    table = read_table(project.out("clips", "folds", f"{FOLDS[0]}.csv"), "clips")
    test = table[table["split"] == "test"]
    return test.iloc[len(test) // 2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, settings) -> Project:
    """A project whose stages have run on made-up spectrograms: all models on one fold, two of them on three."""
    root = tmp_path_factory.mktemp("project")
    shutil.copyfile(ROOT / "dvc.yaml", root / "dvc.yaml")
    project = Project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        build(project, shrink(settings))
    return project


def build(project: Project, values: dict[str, Any]) -> None:
    """Leaves the parameters of one fold in place."""
    one, three = params.check(values), params.check(several(values))
    YAML().dump(values, project.params)
    write_table(project.movements, movements())
    rejected = pd.DataFrame(columns=["path", "composer", "work", "movement", "reason"])
    write_table(project.out("audio", "rejected.csv"), rejected)
    clips.run(project, three)
    make_features(project, one)
    for model, representation in (("pca", "mfcc"), ("pca", "chroma"), ("ae", "mel"), ("vae", "mel")):
        embeddings.run(project, one, model, representation)
    classifiers.run(project, one, "ff", "mel")
    ali.run(project, one, "paper-8")
    embeddings.run(project, three, "pca", "mel")
    classifiers.run(project, three, "lstm", "mel")
    probe.run(project, three)
    report.run(project, one)


# the notebooks, run ---------------------------------------------------------------------------------------------------


def run(name: str, project: Project, monkeypatch: pytest.MonkeyPatch, home: Path, last: str = "") -> Any:
    """The notebook with its outputs, run inside a project in a kernel of this environment; `last` is one more cell."""
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(home / variable.lower()))
    told = notebook(name)
    told.cells += [nbformat.v4.new_code_cell(cell) for cell in ("import sys; sys.executable", last)]
    NotebookClient(
        told, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(project.root)}}
    ).execute()
    assert str(BIN) in told.cells[-2].outputs[0].data["text/plain"]
    return told


def shown(told: Any, kind: str) -> list[str]:
    """All outputs of one kind: image/png, text/markdown, text/html, or stdout."""
    outputs = [output for cell in told.cells if cell.cell_type == "code" for output in cell.outputs]
    if kind == "stdout":
        return [output.text for output in outputs if output.output_type == "stream" and output.name == "stdout"]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def missing(told: Any) -> str:
    return "\n".join(line for line in shown(told, "text/markdown") if line.startswith("*Missing"))


def accuracies(told: Any) -> dict[str, str]:
    """The first column after the stage of the table of results, by row."""
    (page,) = [page for page in shown(told, "text/html") if "validation_accuracy" in page]
    table = pd.read_html(io.StringIO(page), header=0, index_col=0)[0].drop("entry", errors="ignore")
    return dict(table["accuracy"].astype(str))


def test_results_shows_every_figure_and_the_numbers_of_the_report(finished, monkeypatch, tmp_path):
    told = run("results", finished, monkeypatch, tmp_path)
    told_by_report = read_table(finished.out("report", "results.csv"), "report")
    assert accuracies(told) == {row.entry: f"{row.accuracy:.1%}" for row in told_by_report.itertuples()}
    # Table 1 and the split, Figures 1 to 5, 7, 8 (two) and 9, the probe's curve, the claim, results and pairs
    assert len(shown(told, "image/png")) == 2 + 5 + 1 + 2 + 1 + 1 + 1 + 2
    assert sum("<audio" in page for page in shown(told, "text/html")) == 8  # ae: two, vae and ALI: three each
    said = missing(told)
    assert "CNN (Table 2), Mel spectrogram" in said
    assert "feed-forward, Mel spectrogram" not in said
    assert "was not run" not in said
    assert "only the split by work was run" in said


def test_results_takes_several_draws_and_names_what_was_not_run_on_all(finished, settings, monkeypatch, tmp_path):
    missing_folders = ("ali", "embeddings/work-0/vae-mel")
    project = beside(finished, tmp_path / "project", several(shrink(settings)), without=missing_folders)
    told = run("results", project, monkeypatch, tmp_path)
    assert set(accuracies(told)) == {"pca-mel", "lstm-mel", "lstm-mel chunks"}
    assert f"Counted: {FOLDS[0]}, {FOLDS[1]}." in "".join(shown(told, "text/markdown"))
    said = missing(told)
    assert "embeddings/vae-mel was not run on work-0" in said
    assert "ali/paper-8 was not run on work-0" in said
    assert "only the split" not in said
    assert "AE, Mel spectrogram" in said
    assert len(shown(told, "image/png")) == 2 + 4 + 3


def test_from_sound_to_vector_gives_what_the_pipeline_has_stored(finished, monkeypatch, tmp_path):
    told = run("from_sound_to_vector", finished, monkeypatch, tmp_path, LEFT_SET)
    lines = [line for line in shown(told, "text/markdown") if line.startswith("Largest difference")]
    assert len(lines) == 2
    for line in lines:
        assert float(re.search(r"([\d.e+-]+?)( dB)?\.$", line).group(1)) < 1e-3, line
    assert missing(told) == ""
    clip = chosen(finished)
    assert f"{clip['composer']}, {clip['work']}" in shown(told, "text/markdown")
    assert "vae-mel (1, 4)" in "".join(shown(told, "stdout"))
    assert len(shown(told, "image/png")) == 6
    assert sum("<audio" in page for page in shown(told, "text/html")) == 3
    assert shown(told, "stdout")[-1].strip() == "None"


def test_from_sound_to_vector_goes_on_without_sound_and_without_the_vae(finished, settings, monkeypatch, tmp_path):
    project = beside(finished, tmp_path / "project", shrink(settings), without=("audio", "embeddings/work-0/vae-mel"))
    told = run("from_sound_to_vector", project, monkeypatch, tmp_path)
    assert "a chord instead" in missing(told)
    assert "pca-mel (1, 4)" in "".join(shown(told, "stdout"))
    assert "It is by nobody" in "".join(shown(told, "text/markdown"))
    project = beside(finished, tmp_path / "bare", shrink(settings), without=("audio", "embeddings"))
    assert "neither vae-mel nor pca-mel was run" in missing(run("from_sound_to_vector", project, monkeypatch, tmp_path))


def beside(project: Project, root: Path, values: dict[str, Any], without: tuple[str, ...]) -> Project:
    """A second project with the same outputs, but for some, and with other parameters."""
    made = Project(root)
    root.mkdir()
    shutil.copyfile(project.root / "dvc.yaml", root / "dvc.yaml")
    YAML().dump(values, made.params)
    shutil.copytree(project.out(), made.out())
    for name in without:
        shutil.rmtree(made.out(name))
    made.mlruns.symlink_to(project.mlruns)
    return made
