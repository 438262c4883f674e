from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from conftest import client, runs
from symphony2vec import probe, tracking
from symphony2vec.artifacts import clips_hash, write_array, write_json, write_table
from symphony2vec.errors import UserError

COMPOSERS = ("Bach", "Brahms", "Mahler")


def made(separation: float, seed: int = 0, works: int = 12, clips_a_work: int = 6) -> tuple[np.ndarray, pd.DataFrame]:
    """Vectors (clips, 8) around one centre a composer, and their clips, split by work."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((len(COMPOSERS), 8)) * separation
    rows, vectors = [], []
    for code, composer in enumerate(COMPOSERS):
        for work in range(works):
            split = "train" if work % 4 < 2 else "validation" if work % 4 == 2 else "test"
            rows += [
                {"composer": composer, "work": str(work), "group": f"{composer} / {work}", "split": split}
            ] * clips_a_work
            vectors.append(centres[code] + rng.standard_normal((clips_a_work, 8)))
    clips = pd.DataFrame(rows)
    clips.insert(0, "clip", range(len(clips)))
    return np.concatenate(vectors).astype(np.float32), clips


def scored(vectors, clips, settings):
    return probe.score(probe.fit(vectors, clips, settings), clips, settings)


def test_separate_composers_are_named_and_noise_is_not(changed):
    settings = changed().probe
    assert scored(*made(4.0), settings)["test_accuracy"] > 0.95
    noise = scored(*made(0.0), settings)
    assert abs(noise["test_accuracy"] - 1 / 3) < 0.17
    assert noise["test_accuracy_low"] < 1 / 3 < noise["test_accuracy_high"]


def test_the_scale_and_place_of_a_dimension_do_not_matter(changed):
    vectors, clips = made(0.7)
    moved = vectors * np.float32([1e-3, 1e3, 1, 1, 5, 1, 1, 1]) + np.float32(7)
    one, other = (scored(v, clips, changed().probe) for v in (vectors, moved))
    assert one["confusion"] == other["confusion"]


def test_test_clips_never_reach_the_fit_nor_the_choice_of_strength(changed):
    vectors, clips = made(0.5)
    settings = changed().probe
    before = probe.fit(vectors, clips, settings)
    test = (clips["split"] == "test").to_numpy()
    spoiled = vectors.copy()
    spoiled[test] = 1e6
    relabelled = clips.copy()
    relabelled.loc[test, "composer"] = "Bach"
    after = probe.fit(spoiled, relabelled, settings)
    assert after.strength == before.strength
    np.testing.assert_array_equal(after.probabilities[~test], before.probabilities[~test])


def test_validation_chooses_the_strength_and_the_most_regularised_of_equals(changed):
    vectors, clips = made(6.0)
    assert probe.fit(vectors, clips, changed().probe).strength == min(changed().probe.strengths)
    noisy, clips = made(0.4, seed=3)
    settings = changed(probe__strengths=[1.0, 1e-6]).probe
    by_hand = {s: probe.fit(noisy, clips, changed(probe__strengths=[s]).probe) for s in settings.strengths}
    validation = (clips["split"] == "validation").to_numpy()

    def accuracy(outcome):
        named = np.array(outcome.composers)[outcome.probabilities[validation].argmax(axis=1)]
        return (named == clips["composer"][validation]).mean()

    best = max(sorted(by_hand), key=lambda s: accuracy(by_hand[s]))
    assert probe.fit(noisy, clips, settings).strength == best


def test_accuracy_f1_and_majority_agree_with_scikit_learn(changed):
    vectors, clips = made(0.6)
    clips = clips.drop(clips.index[(clips["composer"] == "Mahler") & (clips["clip"] % 2 == 0)]).reset_index(drop=True)
    vectors = vectors[clips["clip"]]
    outcome = probe.fit(vectors, clips, changed().probe)
    scores = probe.score(outcome, clips, changed().probe)
    told = probe.predictions(outcome, clips.assign(clip=range(len(clips))))
    assert scores["test_accuracy"] == pytest.approx(accuracy_score(told["composer"], told["predicted"]))
    assert scores["test_macro_f1"] == pytest.approx(f1_score(told["composer"], told["predicted"], average="macro"))
    majority = clips.loc[clips["split"] == "train", "composer"].value_counts().idxmax()
    assert scores["majority_composer"] == majority
    assert scores["majority_accuracy"] == pytest.approx((told["composer"] == majority).mean())
    assert told.filter(like="p(").sum(axis=1).to_numpy() == pytest.approx(np.ones(len(told)), abs=1e-4)


def test_the_bootstrap_draws_whole_groups(changed):
    settings = changed(probe__bootstrap_draws=4000).probe
    always, never = np.diag([10, 0]), np.array([[0, 10], [0, 0]])
    drawn = probe.bootstrap(np.array([always, never]), settings)["test_accuracy"]
    assert set(np.unique(drawn)) == {0.0, 0.5, 1.0}  # never a part of a work
    assert np.mean(drawn == 0.5) == pytest.approx(0.5, abs=0.04)


def test_one_work_of_many_clips_gives_a_wider_interval_than_many_works(changed):
    settings = changed().probe
    rng = np.random.default_rng(0)
    few, many = (
        np.stack(
            [np.diag([size, 0]) if rng.random() < 0.5 else np.array([[0, size], [0, 0]]) for _ in range(120 // size)]
        )
        for size in (30, 1)
    )

    def width(counts):
        return np.ptp(np.quantile(probe.bootstrap(counts, settings)["test_accuracy"], [0.025, 0.975]))

    assert width(few) > 2 * width(many)


def test_the_interval_holds_the_truth_about_as_often_as_it_says(changed):
    settings = changed(probe__bootstrap_draws=500).probe
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        right = rng.binomial(5, 0.6, size=40)
        counts = np.array([[[r, 5 - r], [0, 0]] for r in right])
        low, high = np.quantile(probe.bootstrap(counts, settings)["test_accuracy"], [0.025, 0.975])
        held += low <= 0.6 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_an_absent_composer_does_not_lower_f1():
    assert probe.macro_f1(np.array([[4, 0, 0], [0, 4, 0], [0, 0, 0]])) == pytest.approx(1.0)
    # of the first 2 * 3 / (4 + 3), of the second 1; what was named third counts against the first
    assert probe.macro_f1(np.array([[3, 0, 1], [0, 4, 0], [0, 0, 0]])) == pytest.approx((6 / 7 + 1) / 2)


def test_a_probe_that_does_not_converge_says_so(changed):
    vectors, clips = made(0.3)
    outcome = probe.fit(vectors, clips, changed(probe__max_iterations=1, probe__strengths=[1.0]).probe)
    assert not outcome.converged


def test_vectors_that_are_not_numbers_are_refused(changed):
    vectors, clips = made(1.0)
    vectors[3, 2] = np.nan
    with pytest.raises(UserError, match="not finite numbers: the model that made them has diverged"):
        probe.fit(vectors, clips, changed().probe)


@pytest.fixture
def embedded(project, changed, monkeypatch):
    """A project with clips and the vectors of one finished embedding run."""
    monkeypatch.delenv(tracking.URI, raising=False)
    vectors, clips = made(2.0)
    write_table(project.clips, clips)
    subject = tracking.Subject("embeddings", "pca", "mel")
    with tracking.run(project, subject, {"dimensions": 8}, project.clips) as opened:
        tracking.write_record(project.out("embeddings", "pca-mel", "run.json"), opened, subject, clips_hash(project))
    write_array(project.out("embeddings", "pca-mel", "vectors.npy"), vectors)
    return project


def test_the_stage_adds_its_numbers_to_the_models_run(embedded, changed):
    probe.run(embedded, changed(), "embeddings", "pca-mel")
    folder = embedded.out("probe", "embeddings", "pca-mel")
    scores = json.loads((folder / "scores.json").read_text())
    run_id = json.loads(embedded.out("embeddings", "pca-mel", "run.json").read_text())["run_id"]
    logged = client(embedded).get_run(run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["test_accuracy"] == pytest.approx(scores["test_accuracy"])
    assert {"test_macro_f1", "majority_accuracy", "validation_accuracy"} <= logged.data.metrics.keys()
    assert logged.data.params["dimensions"] == "8"
    assert {path.name for path in folder.iterdir()} == {"scores.json", "predictions.csv", "confusion.png"}


def test_a_run_the_server_does_not_know_gets_one_that_stands_for_it(embedded, changed):
    record = embedded.out("embeddings", "pca-mel", "run.json")
    write_json(record, {**json.loads(record.read_text()), "run_id": "0" * 32})
    probe.run(embedded, changed(), "embeddings", "pca-mel")
    (found,) = runs(embedded, f"tags.stands_for = '{'0' * 32}'")
    assert found.data.metrics["test_accuracy"] > 0.9


def test_vectors_of_another_split_are_refused(embedded, changed):
    from symphony2vec.artifacts import read_table

    clips = read_table(embedded.clips, "clips")
    write_table(embedded.clips, clips.assign(split=clips["split"].to_numpy()[::-1]))
    with pytest.raises(UserError, match="the clips have changed since the stage embeddings ran; run `dvc repro`"):
        probe.run(embedded, changed(), "embeddings", "pca-mel")


def test_a_probe_that_fails_marks_the_run_and_a_good_one_clears_it(embedded, changed):
    path = embedded.out("embeddings", "pca-mel", "vectors.npy")
    good = np.load(path)
    write_array(path, np.full_like(good, np.nan))
    with pytest.raises(UserError, match="diverged"):
        probe.run(embedded, changed(), "embeddings", "pca-mel")
    (run,) = runs(embedded)
    assert (run.info.status, "diverged" in run.data.tags["failure"]) == ("FAILED", True)
    write_array(path, good)
    probe.run(embedded, changed(), "embeddings", "pca-mel")
    (run,) = runs(embedded)
    assert (run.info.status, "failure" in run.data.tags) == ("FINISHED", False)


def test_a_run_deleted_in_the_ui_gets_one_that_stands_for_it(embedded, changed):
    (run,) = runs(embedded)
    client(embedded).delete_run(run.info.run_id)
    probe.run(embedded, changed(), "embeddings", "pca-mel")
    assert len(runs(embedded, f"tags.stands_for = '{run.info.run_id}'")) == 1


def test_a_model_name_cannot_lead_out_of_its_folder(embedded, changed):
    with pytest.raises(UserError, match="cannot name a model"):
        probe.run(embedded, changed(), "embeddings", "../../elsewhere")


def test_vectors_of_other_clips_are_refused(embedded, changed):
    write_array(embedded.out("embeddings", "pca-mel", "vectors.npy"), np.zeros((3, 8), np.float32))
    with pytest.raises(UserError, match="holds 3 vectors for 216 clips; run `dvc repro`"):
        probe.run(embedded, changed(), "embeddings", "pca-mel")
