"""The stage `pretrained`: symphony2vec-base on the clips of a project, and the works that it was trained on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import soundfile

from conftest import RATE_HZ, client, logged_names, music, of_licence, package_of, runs
from symphony2vec.embedder import BASE, Embedder
from symphony2vec.errors import UserError
from symphony2vec.models.pretrained import stage as pretrained
from symphony2vec.package import contents
from symphony2vec.package.model import Model
from symphony2vec.project import Project, read_table, write_table
from symphony2vec.registry import candidates, evidence, gates

HAYDN = ("Haydn", "Quartet op. 17 no. 1")
BEETHOVEN = ("Beethoven", "Wellington's Victory")


def prepare(project: Project, rate_hz: int = RATE_HZ) -> pd.DataFrame:
    """Write two movements of 25 s, one of each work, and their clips; return the table of clips."""
    rows = []
    for seed, ((composer, work), split) in enumerate(zip((HAYDN, BEETHOVEN), ("train", "test"), strict=True)):
        file = f"{seed}.flac"
        path = project.out("audio", file)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, music(24.0, seed, bright=bool(seed), rate_hz=rate_hz), rate_hz)
        title = {"composer": composer, "work": work, "movement": "1", "performance": "", "split": split}
        rows += [{**title, "file": file, "start_s": start_s} for start_s in (0.0, 10.0)]
    table = pd.DataFrame(rows).reset_index(names="clip")
    for path in (project.clips, project.out("clips", "folds", "work-0.csv")):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(path, table if path != project.clips else table.drop(columns="split"))
    of_licence(project)
    return table


def folder_of(project: Project):
    return project.out("pretrained", "work-0", BASE)


def test_the_vectors_are_those_that_the_installed_model_gives_the_windows(tracked, changed):
    prepare(tracked)
    pretrained.run(tracked, changed(folds=["work-0"]), BASE)
    vectors = np.load(folder_of(tracked) / "vectors.npy")
    model = Embedder.load(BASE)
    for row, (file, start) in enumerate((("0.flac", 0), ("0.flac", 10), ("1.flac", 0), ("1.flac", 10))):
        wave, _ = soundfile.read(
            tracked.out("audio", file), start=start * RATE_HZ, frames=10 * RATE_HZ, dtype="float32"
        )
        expected = model.embed_windows(wave[None])
        np.testing.assert_allclose(vectors[row], expected[0], rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert vectors.shape == (4, model.dimensions)


def test_a_movement_at_another_rate_gives_nearly_the_same_vectors(tracked, changed):
    vectors = []
    for rate_hz in (RATE_HZ, 32000):
        clips = prepare(tracked, rate_hz)
        vectors.append(pretrained.embed_clips(tracked, Embedder.load(BASE), clips, rate_hz))
    similarity = (vectors[0] * vectors[1]).sum(axis=1) / np.prod([np.linalg.norm(v, axis=1) for v in vectors], axis=0)
    assert similarity.min() > 0.97


def test_the_run_holds_the_package_under_its_name_and_the_number_of_test_works_it_was_trained_on(tracked, changed):
    prepare(tracked)
    pretrained.run(tracked, changed(folds=["work-0"]), BASE)
    (run,) = runs(tracked, stage="pretrained")
    assert run.info.run_name == f"{BASE} work-0"
    assert run.data.metrics["test_works_in_training"] == 0.0
    assert run.data.params["representation"] == "mel"
    assert "model" in logged_names(tracked, run.info.run_id)
    package = package_of(tracked, run.info.run_id)
    assert contents.read_config(package).name == f"{BASE} work-0"
    logged, installed = contents.read(package, Model), contents.read(contents.PRETRAINED / BASE, Model)
    assert logged.fingerprint == installed.fingerprint
    assert [a.name for a in logged.attributes] == [a.name for a in installed.attributes]
    assert contents.read_config(folder_of(tracked) / "model").subject["stage"] == "pretrained"


def test_clips_of_another_length_are_refused_in_one_line(tracked, changed):
    with pytest.raises(UserError, match=r"takes clips of 10 s, and clips.duration_s is 5; take the model out of"):
        pretrained.run(tracked, changed(clips__duration_s=5.0), BASE)


def test_without_a_listed_model_the_folder_of_the_fold_is_there_and_empty(tracked, changed):
    prepare(tracked)
    pretrained.run(tracked, changed(folds=["work-0"]))
    assert [path.name for path in folder_of(tracked).parent.iterdir()] == [BASE]
    pretrained.run(tracked, changed(folds=["work-0"], pretrained__models=[]))
    assert list(folder_of(tracked).parent.iterdir()) == []


def test_an_unknown_model_is_refused_with_the_names_of_those_installed(tracked, changed):
    with pytest.raises(UserError, match=rf"no model 'base' is installed with symphony2vec; expected one of {BASE}"):
        pretrained.run(tracked, changed(), "base")


def test_a_damaged_movement_is_named_with_the_remedy(tracked, changed):
    clips = prepare(tracked)
    tracked.out("audio", "1.flac").write_bytes(b"fLaC")
    with pytest.raises(UserError, match=r"1\.flac cannot be read .*`dvc repro -f audio` makes it again"):
        pretrained.embed_clips(tracked, Embedder.load(BASE), clips, RATE_HZ)


@pytest.mark.parametrize(
    ("composer", "work", "title"),
    [
        ("Haydn", "Quartet op. 76 no. 3", "String Quartet in C major, Op.76 No.3"),
        ("Joseph Haydn", "Streichquartett C-Dur Hob. III:77", "String Quartet in C major, Op.76 No.3 (Hob.III:77)"),
        ("Haydn", "Quartet op. 76 no. 4", None),
        ("Michael Haydn", "Quartet op. 76 no. 3", None),
    ],
)
def test_a_work_in_the_training_is_recognised_under_other_names(composer, work, title):
    clips = pd.DataFrame({"composer": [composer] * 2, "work": [work] * 2, "split": ["test"] * 2})
    trained = [("Joseph Haydn", title or "String Quartet in C major, Op.76 No.3")]
    matches = pretrained.find_training_works(clips, trained)
    assert matches["title"].tolist() == ([title] if title else [])


def test_every_training_work_of_the_base_model_is_one(tracked):
    works = contents.read_config(contents.PRETRAINED / BASE).data["works"]
    assert len(works) > 100
    clips = pd.DataFrame(works, columns=["composer", "work"]).assign(split="test")
    assert len(pretrained.find_training_works(clips, works)) == len(works)


def fold(contaminated_test_works: int) -> evidence.FoldEvidence:
    works = pd.DataFrame({"work": ["A"], "clips": [3], "correct": [2]})
    return evidence.FoldEvidence("work-0", "a" * 32, works, "key", {}, "out/x.npy", "", contaminated_test_works)


def test_the_gate_says_that_a_model_was_trained_on_test_works():
    verdict = gates.check_data({"work-0": fold(3)}, {"work-0": fold(0)})
    assert verdict.passed
    assert verdict.details.endswith(
        "; WARNING: contamination: up to 3 of the test works of a fold were in the training data of the challenger, so "
        "its accuracy is too high (training_works.csv)"
    )
    assert "WARNING" not in gates.check_data({"work-0": fold(0)}, {"work-0": fold(0)}).details


def test_the_table_of_training_works_lists_the_projects_titles(tracked, changed, monkeypatch):
    prepare(tracked)
    config = contents.read_config(contents.PRETRAINED / BASE)
    works = [["Ludwig van Beethoven", "Wellington's Victory, Op.91"]]
    changed_config = dataclasses.replace(config, data={**config.data, "works": works})
    monkeypatch.setattr(pretrained.contents, "read_config", lambda _: changed_config)
    monkeypatch.setattr(pretrained.saving, "log_pretrained", lambda *_: None)
    pretrained.run(tracked, changed(folds=["work-0"]), BASE)
    (row,) = read_table(folder_of(tracked) / "training_works.csv", "pretrained").to_dict("records")
    assert row == {"composer": BEETHOVEN[0], "work": BEETHOVEN[1], "split": "test", "title": works[0][1]}
    (run,) = runs(tracked, stage="pretrained")
    assert run.data.metrics["test_works_in_training"] == 1.0


def test_it_is_found_by_name_like_any_other_model(tracked, changed):
    prepare(tracked)
    pretrained.run(tracked, changed(folds=["work-0"]), BASE)
    assert candidates.find_candidate(client(tracked), BASE, project=tracked).name == f"{BASE} work-0"
