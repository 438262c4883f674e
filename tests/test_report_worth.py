"""What the parts of the temporal model are worth, and how well models generate, as the report tells it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from symphony2vec.evaluation import statistics
from symphony2vec.project import Project, key_of, write_json, write_table
from symphony2vec.report import worth

FOLDS = ["work-0", "work-1", "work-2"]
WORKS = list("abcdefgh")


def validated(project: Project, model: str, right: int, folds: list[str] = FOLDS, clips: str = "") -> None:
    """What a temporal model leaves: so many of ten clips of each validation work named rightly."""
    for fold in folds:
        table = project.out("clips", "folds", f"{fold}.csv")
        write_table(table, pd.DataFrame({"clip": [0], "fold": fold}))
        folder = project.out("temporal", model, fold)
        told = pd.DataFrame({"work": WORKS, "clips": 10, "right": right + np.array([1, -1] * 4)})
        write_table(folder / "validation.csv", told)
        write_json(folder / "run.json", {"clips": clips or key_of(table)})


def judged(project: Project, stage: str, model: str, distance_db: float, generated: float | None = None) -> None:
    """What a model that was judged leaves: distances that differ from work to work, and Frechet distances."""
    for fold in FOLDS:
        clips = pd.DataFrame({"clip": range(16), "composer": "x", "work": WORKS * 2})
        clips["log_spectral_distance"] = distance_db + np.arange(16) % 8
        write_table(project.out(stage, model, fold, "generation.csv"), clips)
        kinds = {"reconstructed": 20.0, "training": 3.0} | ({} if generated is None else {"generated": generated})
        told = pd.DataFrame({"what": list(kinds), "frechet": list(kinds.values()), "clips": 12})
        write_table(project.out(stage, model, fold, "frechet.csv"), told)


def test_each_part_is_held_against_the_whole_on_the_draws_that_both_have(project, changed):
    validated(project, "full-40", 6)
    validated(project, "no_adversary-40", 4)
    validated(project, "unshifted-40", 8, FOLDS[:2])
    validated(project, "labels-40", 8)
    validated(project, "context-128", 1)  # of another size: no part of it
    told = worth.parts(project, changed(probe__bootstrap_draws=300), "full-40", FOLDS).set_index("model")
    assert told.index.tolist() == ["full-40", "labels-40", "no_adversary-40", "unshifted-40"]  # as in params.yaml
    assert told["accuracy"].tolist() == [0.6, 0.8, 0.4, 0.8]
    assert told["difference"].dropna().tolist() == pytest.approx([0.2, -0.2, 0.2])
    assert told["better"].tolist() == ["", "part", "whole", ""]  # of two folds nothing is claimed
    assert told["folds"].tolist() == [3, 3, 3, 2]
    assert told.loc["no_adversary-40", "changes"] == "adversary: 0.0"
    assert told.loc["full-40", ["clips", "works"]].tolist() == [80, 8]


def test_a_part_of_other_clips_and_a_whole_without_parts_are_not_told(project, changed):
    validated(project, "full-40", 6)
    assert worth.parts(project, changed(), "full-40", FOLDS).empty
    validated(project, "no_adversary-40", 4, clips="of another split")
    assert worth.parts(project, changed(), "full-40", FOLDS).empty
    assert worth.parts(project, changed(), "", FOLDS).empty


def test_the_closest_copies_stand_first_and_each_is_held_against_the_whole(project, changed):
    judged(project, "temporal", "full-40", 5.0, generated=40.0)
    judged(project, "embeddings", "vae-mel", 6.0, generated=50.0)
    judged(project, "embeddings", "ae-mel", 4.5)
    models = [("embeddings", "ae-mel"), ("embeddings", "pca-mel"), ("embeddings", "vae-mel"), ("temporal", "full-40")]
    told = worth.generation(project, models, "full-40", FOLDS, changed().probe).set_index("model")
    assert told.index.tolist() == ["ae-mel", "full-40", "vae-mel"]
    assert told["distance_db"].tolist() == [8.0, 8.5, 9.5]
    assert told["closer"].to_dict() == {"ae-mel": "line", "full-40": "", "vae-mel": "whole"}
    assert told["difference"].dropna().to_dict() == pytest.approx({"ae-mel": 0.5, "vae-mel": -1.0})
    assert told.loc["vae-mel", ["low", "high"]].tolist() == pytest.approx([-1.0, -1.0])  # paired: the works cancel
    assert told.loc["vae-mel", "distance_low"] < 9.4
    assert told["generated"].dropna().to_dict() == {"full-40": 40.0, "vae-mel": 50.0}
    assert told.loc["ae-mel", ["compared", "clips", "works"]].tolist() == [12, 16, 8]


def test_where_nothing_was_judged_on_all_draws_nothing_is_told(project, changed):
    judged(project, "embeddings", "vae-mel", 6.0)
    project.out("embeddings", "vae-mel", "work-1", "generation.csv").unlink()
    assert worth.generation(project, [("embeddings", "vae-mel")], "", FOLDS, changed().probe).empty


def test_the_mean_of_a_value_is_over_clips_and_works_of_one_name_by_two_composers_are_two():
    table = pd.DataFrame(
        {"composer": ["x", "x", "x", "y"], "work": ["1", "1", "2", "1"], "value": [1.0, 2.0, 6.0, 7.0]}
    )
    counts = statistics.sum_values([[table]])
    assert counts.accuracy().tolist() == [[4.0]]
    assert counts.clips.tolist() == [[[2.0, 1.0, 1.0]]]


@pytest.mark.parametrize(
    ("low", "high", "folds", "side"), [(0.1, 0.2, 3, 1), (-0.2, -0.1, 5, -1), (-0.1, 0.1, 5, 0), (0.1, 0.2, 2, 0)]
)
def test_a_difference_has_a_side_where_its_interval_holds_no_0_and_draws_are_not_few(low, high, folds, side):
    assert statistics.significance(low, high, folds) == side
