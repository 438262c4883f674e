"""Ablations of the temporal model, and the quality of generated spectrograms, as tables of the report."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from symphony2vec.evaluation import statistics
from symphony2vec.project import Project, key_of, write_json, write_table
from symphony2vec.report import ablation

FOLDS = ["work-0", "work-1", "work-2"]
WORKS = list("abcdefgh")


def write_validation(project: Project, model: str, right: int, folds: list[str] = FOLDS, clips: str = "") -> None:
    """Write the validation results of a temporal model: `right` of ten clips of each work on average."""
    for fold in folds:
        table = project.out("clips", "folds", f"{fold}.csv")
        write_table(table, pd.DataFrame({"clip": [0], "fold": fold}))
        folder = project.out("temporal", fold, model)
        counts = pd.DataFrame({"work": WORKS, "clips": 10, "right": right + np.array([1, -1] * 4)})
        write_table(folder / "validation.csv", counts)
        write_json(folder / "run.json", {"clips": clips or key_of(table)})


def write_generation(
    project: Project, stage: str, model: str, distance_db: float, generated: float | None = None
) -> None:
    """Write the generation results of a model: distances that differ between works, and Fréchet distances."""
    for fold in FOLDS:
        clips = pd.DataFrame({"clip": range(16), "composer": "x", "work": WORKS * 2})
        clips["log_spectral_distance"] = distance_db + np.arange(16) % 8
        write_table(project.out(stage, fold, model, "generation.csv"), clips)
        kinds = {"reconstructed": 20.0, "training": 3.0} | ({} if generated is None else {"generated": generated})
        table = pd.DataFrame({"what": list(kinds), "frechet": list(kinds.values()), "clips": 12})
        write_table(project.out(stage, fold, model, "frechet.csv"), table)


def test_each_ablation_is_compared_with_the_full_model_on_their_common_folds(project, changed):
    write_validation(project, "full-40", 6)
    write_validation(project, "no_adversary-40", 4)
    write_validation(project, "unshifted-40", 8, FOLDS[:2])
    write_validation(project, "labels-40", 8)
    write_validation(project, "context-128", 1)  # another size: not an ablation of it
    table = ablation.tabulate_ablations(project, changed(probe__bootstrap_resamples=300), "full-40", FOLDS).set_index(
        "model"
    )
    assert table.index.tolist() == ["full-40", "labels-40", "no_adversary-40", "unshifted-40"]  # as in params.yaml
    assert table["accuracy"].tolist() == [0.6, 0.8, 0.4, 0.8]
    assert table["difference"].dropna().tolist() == pytest.approx([0.2, -0.2, 0.2])
    assert table["better"].tolist() == ["", "part", "whole", ""]  # two folds are too few
    assert table["folds"].tolist() == [3, 3, 3, 2]
    assert table.loc["no_adversary-40", "changes"] == "adversarial weight: 0.0"
    assert table.loc["full-40", ["clips", "works"]].tolist() == [80, 8]


def test_without_an_ablation_on_the_same_clips_the_table_is_empty(project, changed):
    write_validation(project, "full-40", 6)
    assert ablation.tabulate_ablations(project, changed(), "full-40", FOLDS).empty
    write_validation(project, "no_adversary-40", 4, clips="of another split")
    assert ablation.tabulate_ablations(project, changed(), "full-40", FOLDS).empty
    assert ablation.tabulate_ablations(project, changed(), "", FOLDS).empty


def test_the_best_reconstruction_is_first_and_each_is_compared_with_the_full_model(project, changed):
    write_generation(project, "temporal", "full-40", 5.0, generated=40.0)
    write_generation(project, "embeddings", "vae-mel", 6.0, generated=50.0)
    write_generation(project, "embeddings", "ae-mel", 4.5)
    models = [("embeddings", "ae-mel"), ("embeddings", "pca-mel"), ("embeddings", "vae-mel"), ("temporal", "full-40")]
    table = ablation.tabulate_generation(project, models, "full-40", FOLDS, changed().probe).set_index("model")
    assert table.index.tolist() == ["ae-mel", "full-40", "vae-mel"]
    assert table["distance_db"].tolist() == [8.0, 8.5, 9.5]
    assert table["closer"].to_dict() == {"ae-mel": "line", "full-40": "", "vae-mel": "whole"}
    assert table["difference"].dropna().to_dict() == pytest.approx({"ae-mel": 0.5, "vae-mel": -1.0})
    assert table.loc["vae-mel", ["low", "high"]].tolist() == pytest.approx([-1.0, -1.0])  # paired: the works cancel
    assert table.loc["vae-mel", "distance_low"] < 9.4
    assert table["generated"].dropna().to_dict() == {"full-40": 40.0, "vae-mel": 50.0}
    assert table.loc["ae-mel", ["compared", "clips", "works"]].tolist() == [12, 16, 8]


def test_a_model_without_generation_on_every_fold_is_left_out(project, changed):
    write_generation(project, "embeddings", "vae-mel", 6.0)
    project.out("embeddings", "work-1", "vae-mel", "generation.csv").unlink()
    assert ablation.tabulate_generation(project, [("embeddings", "vae-mel")], "", FOLDS, changed().probe).empty


def test_works_of_one_name_by_two_composers_are_two():
    table = pd.DataFrame(
        {"composer": ["x", "x", "x", "y"], "work": ["1", "1", "2", "1"], "value": [1.0, 2.0, 6.0, 7.0]}
    )
    counts = statistics.sum_values([[table]])
    assert counts.accuracy().tolist() == [[4.0]]
    assert counts.clips.tolist() == [[[2.0, 1.0, 1.0]]]


@pytest.mark.parametrize(
    ("low", "high", "folds", "sign"), [(0.1, 0.2, 3, 1), (-0.2, -0.1, 5, -1), (-0.1, 0.1, 5, 0), (0.1, 0.2, 2, 0)]
)
def test_a_difference_is_significant_if_its_interval_excludes_0_and_folds_are_not_few(low, high, folds, sign):
    assert statistics.significance(low, high, folds) == sign
