"""The whole pipeline as its user runs it, on recordings of their own, and the page it ends in, in a browser."""

from __future__ import annotations

import copy
import csv
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from ruamel.yaml import YAML

from conftest import ROOT, runs
from symphony2vec import figures, params
from symphony2vec.models.ali import stage as ali
from symphony2vec.models.classifiers import stage as classifiers
from symphony2vec.models.embeddings import stage as embeddings
from symphony2vec.models.pretrained import stage as pretrained
from symphony2vec.models.temporal import stage as temporal
from symphony2vec.project import Project, write_table
from symphony2vec.report import pictures, tables, walks
from symphony2vec.report import stage as report

BIN = Path(sys.executable).parent
NETWORKS = ("ff", "cnn", "fair_cnn", "lstm")
MODELS = {
    "classifiers": ["ff-mel", "lstm-mel"],
    "embeddings": ["ae-mel", "pca-chroma", "pca-mel", "vae-mel"],
    "ali": ["encoder-8", "paper-8"],
    "temporal": ["full-8", "labels-8"],
    "pretrained": ["symphony2vec-base"],
}
READOUTS = {"lstm-mel": ["chunks"], "encoder-8": ["crops"], "paper-8": ["crops", "hidden", "sample"],
            "full-8": ["pooled"]}  # fmt: skip
WALKS = {
    "interpolation": 5,
    "loudness_db": 3,
    "centroid_hz": 3,
}  # points that are heard; of recordings there is no score
FOLDS = ("work-0", "work-1", "clip-0")
ROWS = [(stage, f"{model} {readout}".strip()) for stage, models in MODELS.items() for model in models
        for readout in ["", *READOUTS.get(model, [])]]  # fmt: skip


def call(*words: str, cwd: Path) -> str:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    environment |= {"OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-1500:]} {done.stderr[-1500:]}"
    return done.stdout + done.stderr


def recordings(folder: Path) -> None:
    """Three composers with three works each, told apart by their scales; and one broken file."""
    rng = np.random.default_rng(0)
    time_s = np.arange(int(21.0 * 22050)) / 22050
    for composer, pitch_hz in {"Ana Fantasía": 220.0, "Безымянов": 330.0, "Chaminade, Cécile": 495.0}.items():
        for work in range(3):
            path = folder / composer / f"Sonata {work + 1}" / "1. Allegro & finale.flac"
            path.parent.mkdir(parents=True)
            beat = np.sign(np.sin(2 * np.pi * (work + 2) * time_s))
            wave = 0.2 * np.sin(2 * np.pi * pitch_hz * time_s) * (1.5 + beat) + 0.01 * rng.standard_normal(len(time_s))
            soundfile.write(path, wave, 22050)
    (folder / "Ana Fantasía" / "Sonata 1" / "2. Broken.flac").write_text("not audio at all")


def shrink(values: dict[str, Any]) -> None:
    """A params.yaml that is done in minutes: few and small updates."""
    values["corpus"]["name"] = "recordings"
    values["folds"] = list(FOLDS)
    for own in values["classifiers"].values():
        own |= {"batch": 8, "epochs": 1}
    embeddings, ali = values["embeddings"], values["ali"]
    embeddings |= {"dimensions": 4, "probe_every_epochs": 2}
    for name in ("ae", "vae"):
        embeddings[name] |= {"batch": 8, "epochs": 2}
    ali |= {"models": ["paper-8", "encoder-8"], "probe_every_epochs": 2, "samples_every_epochs": 2}
    ali["paper"] |= {"batch": 8, "epochs": 3}  # the probe is tried after the second and the third
    ali["encoder"] |= {"batch": 8, "epochs": 1}
    values["temporal"] |= {"models": ["full-8", "labels-8"], "probe_every_epochs": 2, "samples_every_epochs": 2}
    values["temporal"]["full"] |= {"batch": 4, "epochs": 2, "width": 2, "crop_frames": 64, "mask_frames": 8}
    values["probe"] |= {"bootstrap_resamples": 200, "inverse_regularisation": [0.01, 1.0]}
    values["meaning"] |= {
        "minimum_clips": 2,
        "penalties": [0.1, 10.0],
        "profile_models": ["pca-mel", "paper-8", "full-8"],
    }


def fewer(stages: dict[str, Any]) -> None:
    """A dvc.yaml with a few models of every kind: a stage costs seconds, and every model has tests of its own."""
    stages["classifiers"]["matrix"] |= {"model": ["ff", "lstm"], "representation": ["mel"]}
    del stages["classifiers-crop"]
    networks = copy.deepcopy(stages["embeddings"])
    networks["matrix"] |= {"model": ["ae", "vae"], "representation": ["mel"]}
    stages["embeddings"]["matrix"] |= {"model": ["pca"], "representation": ["mel", "chroma"]}
    stages["embeddings-networks"] = networks


def studied(project: Project) -> None:
    """What a study leaves for the report."""
    row = {"trial": 7, "value": 0.5, "mean": 0.4375, "lowest": 0.4, "highest": 0.475, "seeds": 2, "learning_rate": 3e-4}
    row |= {"discriminator_learning_rate": 2e-5, "beta_1": 0.5, "beta_2": 0.99, "dropout": 0.1, "latent": 8, "batch": 8}
    write_table(project.out("study", "ali", "repeats.csv"), pd.DataFrame([row]))
    own = {name: row[name] for name in ("trial", "value", "mean", "lowest", "highest", "seeds")}
    write_table(project.out("study", "temporal", "repeats.csv"), pd.DataFrame([own | {"adversarial_weight": 0.12345}]))
    figures.save(project.out("study", "ali", "importances.png"), figures.importances({"latent": 1.0}, "Study ali"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Project:
    """A project in git and DVC whose pipeline has run on imported recordings."""
    root = tmp_path_factory.mktemp("project")
    for name in ("dvc.yaml", "params.yaml", ".gitignore"):
        shutil.copyfile(ROOT / name, root / name)
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    yaml = YAML()
    yaml.width = 200
    values, pipeline = yaml.load(root / "params.yaml"), yaml.load(root / "dvc.yaml")
    shrink(values)
    fewer(pipeline["stages"])
    yaml.dump(values, root / "params.yaml")
    yaml.dump(pipeline, root / "dvc.yaml")
    originals = tmp_path_factory.mktemp("music")
    recordings(originals)
    call("git", "init", "-q", cwd=root)
    call("dvc", "init", "-q", cwd=root)
    call("symphony2vec", "corpus", "import", str(originals), cwd=root)
    call("dvc", "add", "data", cwd=root)
    studied(Project(root))
    call("dvc", "repro", "features", "labels", cwd=root)
    train(Project(root))
    stages = call("dvc", "stage", "list", "--name-only", cwd=root).split()
    call("dvc", "commit", "--force", *(name for name in stages if name.startswith(tuple(MODELS))), cwd=root)
    call("dvc", "repro", cwd=root)
    return Project(root)


def train(project: Project) -> None:
    """Train all models in this process, which spares the start of thirty."""
    settings = params.read(project.params)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name in MODELS["classifiers"]:
            classifiers.run(project, settings, *name.split("-"))
        for name in MODELS["embeddings"]:
            embeddings.run(project, settings, *name.split("-"))
        for name in MODELS["ali"]:
            ali.run(project, settings, name)
        for name in MODELS["temporal"]:
            temporal.run(project, settings, name)
        pretrained.run(project, settings)


def table_of(project: Project, name: str = "results") -> pd.DataFrame:
    table = pd.read_csv(project.out("report", f"{name}.csv"), keep_default_na=False, na_values=[""])
    return table.assign(readout=table["readout"].fillna("")) if "readout" in table else table


def page_of(project: Project) -> str:
    return project.out("report", "index.html").read_text(encoding="utf-8")


def cells(page: str, identifier: str) -> list[list[str]]:
    """The text of every cell of one table of the page, row by row, without the heading."""
    (table,) = re.findall(rf'<table id="{identifier}"[^>]*>(.*?)</table>', page, re.DOTALL)
    rows = [
        re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.DOTALL)
    ]
    return [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in rows if row]


def percent(share: float) -> str:
    return "" if np.isnan(share) else f"{share:.1%}"


def between(row: dict[str, Any], column: str) -> str:
    """The text of a cell with an interval."""
    return f"{percent(row[column])}{percent(row[f'{column}_low'])} – {percent(row[f'{column}_high'])}"


def test_a_broken_recording_is_set_aside_and_the_rest_is_used(finished):
    (row,) = csv.DictReader(finished.out("audio", "rejected.csv").open(encoding="utf-8"))
    assert row["path"].endswith("2. Broken.flac")
    assert "not readable as audio" in row["reason"]
    assert len(pd.read_csv(finished.movements)) == 9


def test_every_model_has_vectors_or_probabilities_of_every_clip_on_every_draw(finished):
    clips = pd.read_csv(finished.clips)
    assert sorted(clips["composer"].unique()) == ["Ana Fantasía", "Cécile Chaminade", "Безымянов"]
    for (stage, models), fold in itertools.product(MODELS.items(), FOLDS):
        assert sorted(path.name for path in finished.out(stage, fold).iterdir()) == models
        for model in models:
            names = {path.name for path in finished.out(stage, fold, model).iterdir()}
            (name,) = names & {"vectors.npy", "probabilities.npy"}
            found = np.load(finished.out(stage, fold, model, name))
            width = 3 if name == "probabilities.npy" else {"ali": 8, "temporal": 8, "pretrained": 512}.get(stage, 4)
            assert found.shape == (len(clips), width), model


def test_every_model_and_draw_has_one_finished_run_with_its_score(finished):
    for stage, models in MODELS.items():
        found = {one.info.run_name: one for one in runs(finished, stage=stage)}
        assert set(found) == {f"{model} {fold}" for model, fold in itertools.product(models, FOLDS)}
        assert len(runs(finished, stage=stage)) == len(found)
        for name, one in found.items():
            model, fold = name.split(" ")
            scores = json.loads(finished.out("probe", fold, stage, model, "scores.json").read_text())["scores"]
            assert one.info.status == "FINISHED"
            assert one.data.metrics["test_accuracy"] == pytest.approx(scores[0]["test_accuracy"])
            assert one.data.params["corpus.name"] == "recordings"
            for seen in one.inputs.dataset_inputs:
                assert seen.dataset.digest in (finished.root / "dvc.lock").read_text()


def test_composers_this_far_apart_are_named(finished):
    table = table_of(finished).set_index("entry")
    assert table.loc["pca-chroma", "accuracy"] > 0.9 > 0.4 > table.loc["pca-chroma", "majority"]


def test_a_second_repro_has_nothing_to_do_and_a_changed_setting_reruns_its_branch_alone(finished):
    assert "Data and pipelines are up to date" in call("dvc", "repro", cwd=finished.root)
    text = finished.params.read_text(encoding="utf-8")
    assert "paper-8" in text
    after = {"report", *(f"{stage}@{fold}" for stage in ("probe", "meaning") for fold in FOLDS)}
    expected = {
        ("bootstrap_resamples: 200", "bootstrap_resamples: 100"): after,
        ("paper-8", "paper-9"): {f"ali@paper-9-{fold}" for fold in FOLDS} | after,
        ("full-8", "full-9"): {f"temporal@full-9-{fold}" for fold in FOLDS} | after,
    }
    try:
        for (old, new), stages in expected.items():
            finished.params.write_text(text.replace(old, new), encoding="utf-8")
            told = call("dvc", "repro", "--dry", "--force-downstream", cwd=finished.root)
            assert set(re.findall(r"^Running stage '([^']+)'", told, re.MULTILINE)) == stages
    finally:
        finished.params.write_text(text, encoding="utf-8")


def test_the_results_are_printed_with_what_they_rest_on(finished):
    text = call("symphony2vec", "results", cwd=finished.root)
    printed = [line for line in text.splitlines() if re.match(r"\S+( \w+)? +\d+\.\d%", line)]
    table = table_of(finished)
    assert [re.split(r"  +", line)[:2] for line in printed] == [
        [row, f"{accuracy:.1%}"] for row, accuracy in zip(table["entry"], table["accuracy"], strict=True)
    ]
    assert re.search(r"mean of 2 folds, about \d+ test clips of 3 movements and 3 works each", text)
    assert "mlflow ui --backend-store-uri" in text


@pytest.mark.parametrize("split", ["work", "clip"])
def test_one_row_is_printed_against_every_other(split, finished):
    text = call("symphony2vec", "results", "--against", "pca-mel", "--split", split, cwd=finished.root)
    table = table_of(finished, "leakage").query(f"split == '{split}'")
    mean = {f"{line.stage}/{line.model}": 100.0 * float(line.mean) for line in table.itertuples()}
    own = mean.pop("embeddings/pca-mel")
    found = {
        found[1]: float(found[2]) for found in re.finditer(r"^(\S+(?: \w+)?) +[\d.]+ +([+-][\d.]+)  \[", text, re.M)
    }
    assert found == pytest.approx({name: own - value for name, value in mean.items()}, abs=0.06)
    assert "with fewer than 3 folds no difference is called significant" in text


def test_the_table_of_results_has_every_row_and_validation_orders_it(finished):
    table = table_of(finished)
    assert sorted(zip(table["stage"], table["entry"], strict=True)) == sorted(ROWS)
    assert table["validation_accuracy"].is_monotonic_decreasing
    assert (table["accuracy_low"] <= table["accuracy"]).all()
    assert (table["accuracy"] <= table["accuracy_high"]).all()
    assert set(table["folds"]) == {2}
    for line in table.to_dict("records"):
        place = (line["stage"], line["model"], "scores.json")
        told = [json.loads(finished.out("probe", fold, *place).read_text())["scores"] for fold in FOLDS[:2]]
        own = [one["test_accuracy"] for scores in told for one in scores if one["readout"] == line["readout"]]
        assert line["accuracy"] == pytest.approx(np.mean(own), abs=1e-4)
        assert len(own) == 2


def test_the_numbers_of_the_page_are_those_of_the_table(finished):
    rows = table_of(finished).to_dict("records")
    assert cells(page_of(finished), "results-table") == [
        [
            row["entry"],
            row["stage"],
            between(row, "accuracy"),
            percent(row["spread"]),
            between(row, "movement_accuracy"),
            between(row, "work_accuracy"),
            percent(row["paper"]),
            f"{row['macro_f1']:.3f}",
            percent(row["validation_accuracy"]),
            percent(row["train_accuracy"]),
            percent(row["majority"]),
        ]
        for row in rows
    ]
    best = rows[0]
    lead = re.sub(r"<[^>]*>", "", page_of(finished).split('<p class="lead">')[1].split("</p>")[0])
    assert f"Of {len(rows)} models" in lead
    assert f"{best['entry']} ({best['stage']}), has a test accuracy of\n{percent(best['accuracy'])} (" in lead


def test_dvc_shows_the_metrics_of_every_fold_and_of_the_report(finished):
    shown = json.loads(call("dvc", "metrics", "show", "--json", cwd=finished.root).partition("\n")[0])[""]["data"]
    metrics = {path: values["data"] for path, values in shown.items()}
    stages = ("probe", "meaning")
    assert set(metrics) == {"out/metrics.json", *(f"out/{stage}/{fold}.json" for stage in stages for fold in FOLDS)}
    table = table_of(finished).set_index("entry")
    assert metrics["out/metrics.json"]["pca-mel"]["accuracy"] == table.loc["pca-mel", "accuracy"]
    assert set(metrics["out/metrics.json"]) == {row for _, row in ROWS}
    for stage, fold in itertools.product(MODELS, FOLDS):
        for one in runs(finished, f"tags.fold = '{fold}'", stage):
            model, _ = one.info.run_name.split(" ")
            for name, value in metrics[f"out/probe/{fold}.json"][stage][model].items():
                assert value == pytest.approx(one.data.metrics[name]), name
            for name, value in metrics[f"out/meaning/{fold}.json"].get(stage, {}).get(model, {}).items():
                assert value == pytest.approx(one.data.metrics[name]), name


def test_dvc_plots_the_losses_of_every_network_and_the_confusion_of_the_best_model(finished):
    losses = {path.stem: pd.read_csv(path) for path in finished.out("report", "curves").iterdir()}
    networks = {
        f"{stage}-{model}"
        for stage, models in MODELS.items()
        for model in models
        if "pca" not in model and stage != "pretrained"  # whose networks are not trained here
    }
    assert set(losses) == networks
    for name, table in losses.items():
        assert list(table) == ["epoch", "train_loss", "validation_loss"]
        assert len(table), name
        assert table.notna().all(axis=None), name  # DVC would draw an empty cell as 0
    best = table_of(finished).iloc[0]
    confusion = pd.read_csv(finished.out("report", "confusion.csv"))
    right = (confusion["composer"] == confusion["predicted"]).mean()
    assert right == pytest.approx(best["accuracy"], abs=0.05)  # the mean over folds of unequal size
    shutil.copytree(ROOT / ".dvc" / "plots", finished.root / ".dvc" / "plots", dirs_exist_ok=True)
    call("dvc", "plots", "show", "--out", "plots", cwd=finished.root)
    page = (finished.root / "plots" / "index.html").read_text(encoding="utf-8")
    assert "Confusion of the model with the best validation accuracy" in page
    shutil.rmtree(finished.root / "plots")


def test_the_leak_is_told_for_every_row_and_drawn(finished):
    table = table_of(finished, "leakage")
    expected = {(row, split) for (_, row), split in itertools.product(ROWS, ("work", "clip"))}
    assert set(zip(table["model"], table["split"], strict=True)) == expected
    assert len(table) == len(expected)
    assert finished.out("report", "pictures", "leakage.png").is_file()
    text = page_of(finished).split('<h2 id="leakage">')[1].split("<h2")[0]
    shown = text.split('<table id="leakage-table">')[1].split("</table>")[0]
    assert shown.count("</tr>") == 1 + len(ROWS)
    mean = table.set_index(["stage", "model", "split"])["mean"]
    for stage, row in ROWS:
        line = shown.split(f'<td class="text">{row}</td><td class="text">{stage}</td>')[1].split("</tr>")[0]
        work, clip = mean[stage, row, "work"], mean[stage, row, "clip"]
        assert line.index(percent(work)) < line.rindex(percent(clip))
        told = line.rsplit("<td>", 1)[1]
        assert told.startswith(f"{round(100 * (clip - work), 1) + 0.0:+.1f}<br>")
        assert " to " in told
    assert "Folds: 2 by work, 1 by clip." in text


def test_the_page_counts_clips_of_the_same_sound_on_two_sides_of_every_split(finished):
    counts, page = table_of(finished, "near_duplicate_counts"), page_of(finished)
    assert counts["fold"].tolist() == [fold for fold in ("work-0", "work-1", "clip-0") for _ in range(3)]
    assert counts.loc[counts["fold"].str.startswith("work"), "near_duplicates"].tolist() == [0] * 6
    assert 'id="near-duplicates-table"' in page
    assert finished.out("report", "pictures", "near_duplicates.png").is_file()


def test_the_page_links_to_files_of_the_report_alone_and_all_are_there(finished):
    page, folder = page_of(finished), finished.out("report")
    named = set(re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)["']""", page))
    files = {name for name in named if not name.startswith(("#", "data:"))}
    assert all(re.fullmatch(r"(pictures|sounds)/[\w.-]+", name) for name in files)
    assert all((folder / name).is_file() for name in files)
    pictures = {name for name in files if name.startswith("pictures/")}
    assert {
        f"pictures/{name}.png" for name in ("results", "levels", "pairs", "leakage", "ali", "mel", "mfcc", "chroma")
    } <= pictures
    assert {"pictures/ali-paper-8-game.png", "pictures/embeddings-vae-mel-reconstructions.png"} <= pictures
    assert {f"pictures/{stage}-{model}-confusion.png" for stage in MODELS for model in MODELS[stage]} <= pictures
    assert {f"sounds/{path.name}" for path in (folder / "sounds").iterdir()} == files - pictures
    assert {name for name in named if name.startswith("#")} <= {f"#{name}" for name in re.findall(r'id="(\w+)"', page)}
    assert "url(" not in page
    assert "@import" not in page


def test_a_study_is_shown_where_there_is_one(finished):
    text = page_of(finished)
    section = text[text.index('<h2 id="studies">') : text.index('<h2 id="listening">')]
    assert "<td>7</td><td>50.0%</td><td><b>43.8%</b></td><td>40.0% – 47.5%</td><td>2</td><td>0.0003</td>" in section
    assert "<th>seeds</th><th>adversarial weight</th></tr>" in section  # each study has the columns of what it drew
    assert "<td>2</td><td>0.1235</td></tr>" in section
    assert 'src="pictures/study-ali-importances.png"' in section
    assert "study-ali-history" not in section  # a picture that was not drawn is not shown


def test_what_the_vectors_know_is_told_for_every_embedding_and_drawn(finished):
    told = table_of(finished, "attributes")
    others = ("encoder", "labels")
    with_vectors = {(stage, row) for stage, row in ROWS if stage != "classifiers" and not row.startswith(others)}
    with_vectors = {(stage, row) for stage, row in with_vectors if not row.endswith(("sample", "hidden"))}
    assert set(zip(told["stage"], told["entry"], strict=True)) == with_vectors
    measured = told[told["value"].notna()]
    assert set(measured["label"]) == {"loudness_db", "centroid_hz"}  # of recordings there is no score
    assert set(told.loc[told["label"] == "key", "reason"]) == {"known for no train clips"}
    *models, baseline, clips = [row[0] for row in cells(page_of(finished), "attributes-table")]
    assert set(models) == {row for _, row in with_vectors if " " not in row}
    assert (baseline, clips) == ("baseline", "test clips")
    assert finished.out("report", "pictures", "profile.png").is_file()


def test_the_first_table_holds_the_temporal_model_beside_one_row_of_each_kind(finished):
    told, results = table_of(finished, "first"), table_of(finished).set_index(["stage", "entry"])
    rows = "full-8|full-8 pooled|symphony2vec-base|PCA|ae-mel|vae-mel|paper-8|paper-8 crops|labels-8"
    rows += "|ff-mel|lstm-mel|ALI|majority"
    best = {"PCA": "pca-", "ALI": "encoder-8"}  # on validation
    for row, wanted in zip(told["entry"], rows.split("|"), strict=True):
        assert row.startswith(best.get(wanted, wanted))
    for line in told[told["entry"] != "majority"].to_dict("records"):
        assert line["accuracy"] == results.loc[(line["stage"], line["entry"]), "accuracy"]
    assert set(told["beaten"].dropna()) == {"few folds"}  # of two folds nothing is claimed
    sizes = dict(zip(told["entry"], told["dimensions"], strict=True))
    assert (sizes["full-8"], sizes["vae-mel"], sizes["paper-8 crops"]) == (8, 4, 8)
    shown = cells(page_of(finished), "first-table")
    assert [line[1] for line in shown] == told["entry"].tolist()
    assert finished.out("report", "pictures", "first.png").is_file()
    text = page_of(finished)
    assert text.index('id="first-table"') < text.index('id="results-table"')
    assert len(table_of(finished, "training_works")) == 0  # of the made-up composers
    assert "It was trained on" not in text


def test_how_well_models_generate_is_told_of_all_that_give_spectrograms_back(finished):
    told = table_of(finished, "generation")
    assert set(told["model"]) == {"full-8", "ae-mel", "vae-mel"}
    assert told["distance_db"].is_monotonic_increasing
    assert set(told.loc[told["generated"].notna(), "model"]) == {"full-8", "vae-mel"}
    assert len(cells(page_of(finished), "generation-table")) == 3


def test_the_whole_model_walks_along_what_is_known_of_recordings(finished):
    told = table_of(finished, "walks")
    assert told["label"].tolist() == ["loudness_db", "centroid_hz"]
    assert told["rho"].between(-1.0, 1.0).all()
    pictures = {f"pictures/temporal-full-8-walk-{name}.png" for name in WALKS}
    assert all(f'src="{name}"' in page_of(finished) for name in pictures)


def test_a_page_without_the_temporal_stage_lacks_what_is_of_it_and_nothing_else(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "write_sounds", lambda *words: words[-1].mkdir())
    skipped = shutil.ignore_patterns("mel.npy", "mfcc.npy", "chroma.npy", "*.flac", "report", "temporal")
    shutil.copytree(finished.root / "out", tmp_path / "out", ignore=skipped)
    shutil.copyfile(finished.params, tmp_path / "params.yaml")
    report.run(Project(tmp_path), params.read(finished.params))
    text = page_of(Project(tmp_path))
    assert set(table_of(Project(tmp_path), "first")["stage"].dropna()) == {*MODELS} - {"temporal"}
    assert "full-8" not in text[text.index('id="first"') : text.index('id="tables"')]
    assert 'id="temporal"' not in text
    assert len(cells(text, "generation-table")) == 2


def test_the_page_says_how_many_test_works_the_installed_model_was_trained_on(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "write_sounds", lambda *words: words[-1].mkdir())
    shutil.copytree(
        finished.root / "out",
        tmp_path / "out",
        ignore=shutil.ignore_patterns("mel.npy", "mfcc.npy", "chroma.npy", "*.flac", "report", "temporal"),
    )
    shutil.copyfile(finished.params, tmp_path / "params.yaml")
    row = {"composer": "Haydn", "work": "Op. 1 No. 1", "split": "test", "title": "Op. 1 No. 1"}
    for fold in FOLDS:
        path = tmp_path / "out" / "pretrained" / fold / "symphony2vec-base" / "training_works.csv"
        write_table(path, pd.DataFrame([row, {**row, "work": "Op. 2", "split": "train"}]))
    report.run(Project(tmp_path), params.read(finished.params))
    text = page_of(Project(tmp_path))
    assert "It was trained on 1 of the test works (training_works.csv), so its accuracy is too high." in text
    assert len(table_of(Project(tmp_path), "training_works")) == 4  # of the two folds by work


def test_originals_reconstructions_and_inventions_can_be_heard(finished):
    found = {path.name: soundfile.read(path) for path in finished.out("report", "sounds").iterdir()}
    kinds = {"originals": 3, "reconstructions": 3, "generated": 4}
    heard = ("ae-mel", "vae-mel")
    clips = {f"{model}-{what}-{number}.mp3" for model in heard for what, count in kinds.items()
             for number in range(count) if model == "vae-mel" or what != "generated"}  # fmt: skip
    clips |= {f"full-8-{what}-{number}.mp3" for number in range(4) for what in kinds}
    walked = {name for name in found if name.startswith("full-8-walk_")}
    assert {walk: sum(f"walk_{walk}-" in name for name in walked) for walk in WALKS} == WALKS
    crops = {f"paper-8-{what}-{number}.mp3" for number in range(4) for what in kinds}
    assert set(found) == clips | crops | walked
    for name, (wave, rate_hz) in found.items():
        assert rate_hz == 22050
        expected_s = 31 * 512 / 22050 if name in crops else 10.0  # the temporal model gives whole steps, 9.7 s
        assert len(wave) / rate_hz == pytest.approx(expected_s, abs=0.5 if name.startswith("full") else 0.15)
        assert np.isfinite(wave).all()
        assert "originals" not in name or np.abs(wave).max() > 0.3


def test_names_cannot_break_the_page(finished, tmp_path, monkeypatch):
    sly = "<script>alert(1)</script>"
    monkeypatch.setattr(tables, "summarize_corpus", lambda *_: pd.DataFrame([dict.fromkeys(
        ("composer", "works", "movements", "minutes", "clips", "kind", "licence"), sly)]))  # fmt: skip
    monkeypatch.setattr(pictures, "write_sounds", lambda *words: words[-1].mkdir())  # takes long, and holds no names
    monkeypatch.setattr(walks, "write_sounds", lambda *_: {})
    skipped = shutil.ignore_patterns("mel.npy", "mfcc.npy", "chroma.npy", "*.flac", "report")
    shutil.copytree(finished.root / "out", tmp_path / "out", ignore=skipped)
    shutil.copyfile(finished.params, tmp_path / "params.yaml")
    report.run(Project(tmp_path), params.read(finished.params))
    page = page_of(Project(tmp_path))
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
        images = browser.execute_async_script(SHOW_ALL, "img", "load")
        sounds = browser.execute_async_script(SHOW_ALL, "audio", "loadedmetadata")
        widths = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
        lengths = browser.execute_script("return [...document.querySelectorAll('audio')].map(a => a.duration)")
        fetched = browser.execute_script("return performance.getEntriesByType('resource').map(r => r.name)")
        assert len(rows) == 1 + len(ROWS)
        assert len(images) == len(widths) >= 40
        assert set(images) == {"load"}
        assert min(widths) > 100
        assert len(sounds) == len(lengths) == 24 + 4 + 12 + sum(WALKS.values())
        assert set(sounds) == {"loadedmetadata"}
        assert min(lengths) > 0.5
        assert all(name.startswith(("data:", "file:")) for name in fetched)
        assert "Безымянов" in browser.find_element("tag name", "body").text
        assert not browser.get_log("browser")
        browser.set_window_size(390, 800)
        width = browser.execute_script("return document.documentElement.scrollWidth")
        inner = browser.execute_script("return window.innerWidth")
        assert width <= inner  # tables scroll inside themselves on a small screen


# Opens what is folded, fetches every picture or sound, and says of each which came first: the good event or "error".
SHOW_ALL = """
const [selector, good, done] = arguments;
document.querySelectorAll('details').forEach(one => { one.open = true; });
Promise.all([...document.querySelectorAll(selector)].map(one => new Promise(settle => {
  one.addEventListener(good, () => settle(good));
  one.addEventListener('error', () => settle('error'));
  one.loading = 'eager';
  one.preload = 'metadata';
  const source = one.src;
  one.src = source;
}))).then(done);
"""


def test_a_probe_that_was_not_tried_every_epoch_is_drawn_where_it_was(project, monkeypatch):
    curves = pd.DataFrame({"update": [5.0, 10.0, 15.0], "probe_validation_accuracy": [np.nan, 0.25, 0.5]})
    write_table(project.out("ali", "work-0", "paper-8", "curves.csv"), curves)
    write_table(project.out("ali", "work-0", "encoder-8", "curves.csv"), curves[["update"]])
    seen = {}
    monkeypatch.setattr(pictures.figures, "learning_curves", lambda tables, *_: seen.update(tables))
    monkeypatch.setattr(pictures.figures, "save", lambda *_: None)
    pictures.draw_probe_curves(project, ["paper-8", "encoder-8"], "work-0", project.root)
    assert {name: table["probe_validation_accuracy"].tolist() for name, table in seen.items()} == {
        "paper-8": [0.25, 0.5]
    }


def test_a_correlation_that_could_not_be_taken_is_not_a_number(project):
    told = pd.DataFrame({"source": ["rays", "prior"], "measure": "loudness", "rho": [np.nan, -0.5], "crops": 9})
    write_table(project.out("ali", "work-0", "paper-8", "latent.csv"), told.assign(low=told["rho"], high=told["rho"]))
    found = tables.read_latent_correlations(project, ["paper-8"], ["work-0"])
    assert [f"{rho:+.2f}" for rho in found["rho"]] == ["+nan", "-0.50"]
