from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import StandardScaler

from conftest import ROOT, client, runs
from symphony2vec import tracking
from symphony2vec.clips import leaks
from symphony2vec.errors import UserError
from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.probe import regression, scores
from symphony2vec.evaluation.probe import stage as probe
from symphony2vec.models.training import watch
from symphony2vec.package.head import log_loss, softmax
from symphony2vec.project import Project, SplitFold, key_of, read_table, write_array, write_table

COMPOSERS = ("Bach", "Brahms", "Mahler")


def made(separation: float, seed: int = 0, works: int = 12, clips_a_work: int = 6) -> tuple[np.ndarray, pd.DataFrame]:
    """Vectors (clips, 8) around one centre a composer, and their clips, split by work."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((len(COMPOSERS), 8)) * separation
    rows, vectors = [], []
    for code, composer in enumerate(COMPOSERS):
        for work in range(works):
            split = "train" if work % 4 < 2 else "validation" if work % 4 == 2 else "test"
            row = {"composer": composer, "work": str(work), "group": f"{composer} / {work}", "split": split}
            for clip in range(clips_a_work):  # in two movements
                movement = str(1 + 2 * clip // clips_a_work)
                rows.append({**row, "movement": movement, "file": f"{composer}/{work}/{movement}.flac"})
            vectors.append(centres[code] + rng.standard_normal((clips_a_work, 8)))
    clips = pd.DataFrame(rows)
    clips.insert(0, "clip", range(len(clips)))
    return np.concatenate(vectors).astype(np.float32), clips


def bootstrap(counts, settings):
    return statistics.bootstrap_scores(counts, settings.bootstrap_resamples, settings.seed)


def scored(vectors, clips, settings):
    return scores.score(regression.fit(vectors, clips, settings), clips, settings)


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
    before = regression.fit(vectors, clips, settings)
    test = (clips["split"] == "test").to_numpy()
    spoiled = vectors.copy()
    spoiled[test] = 1e6
    relabelled = clips.copy()
    relabelled.loc[test, "composer"] = "Bach"
    after = regression.fit(spoiled, relabelled, settings)
    assert after.strength == before.strength
    np.testing.assert_array_equal(after.probabilities[~test], before.probabilities[~test])


def test_the_temperature_is_the_validation_clips_and_test_clips_only_judge_it(changed):
    vectors, clips = made(0.5)
    before = regression.fit(vectors, clips, changed().probe)
    test = (clips["split"] == "test").to_numpy()
    spoiled = vectors.copy()
    spoiled[test] = np.random.default_rng(1).standard_normal(spoiled[test].shape)
    after = regression.fit(spoiled, clips, changed().probe)
    assert after.calibration["temperature"] == before.calibration["temperature"] == before.head.temperature
    assert after.calibration["test_log_loss_calibrated"] != before.calibration["test_log_loss_calibrated"]
    validation = (clips["split"] == "validation").to_numpy()
    codes = np.array([before.composers.index(name) for name in clips["composer"][validation]])
    plain = log_loss(softmax(before.head.logits(vectors[validation])), codes)
    assert log_loss(before.head.probabilities(vectors[validation]), codes) <= plain


def test_a_row_that_is_on_no_side_is_answered_and_decides_nothing(changed):
    vectors, clips = made(1.0)
    asked = pd.concat([clips, pd.DataFrame({"composer": ["?"], "split": ["asked"]})], ignore_index=True)
    before, after = (
        regression.fit(values, table, changed().probe)
        for values, table in ((vectors, clips), (np.concatenate([vectors, vectors[:1]]), asked))
    )
    np.testing.assert_array_equal(after.probabilities[:-1], before.probabilities)
    np.testing.assert_array_equal(after.probabilities[-1], before.probabilities[0])
    assert after.calibration == before.calibration


def test_validation_chooses_the_strength_and_the_most_regularised_of_equals(changed):
    vectors, clips = made(6.0)
    assert regression.fit(vectors, clips, changed().probe).strength == min(changed().probe.inverse_regularisation)
    noisy, clips = made(0.4, seed=3)
    settings = changed(probe__inverse_regularisation=[1.0, 1e-6]).probe
    by_hand = {
        s: regression.fit(noisy, clips, changed(probe__inverse_regularisation=[s]).probe)
        for s in settings.inverse_regularisation
    }
    validation = (clips["split"] == "validation").to_numpy()

    def accuracy(outcome):
        named = np.array(outcome.composers)[outcome.probabilities[validation].argmax(axis=1)]
        return (named == clips["composer"][validation]).mean()

    best = max(sorted(by_hand), key=lambda s: accuracy(by_hand[s]))
    assert regression.fit(noisy, clips, settings).strength == best


def test_accuracy_f1_and_majority_agree_with_scikit_learn(changed):
    vectors, clips = made(0.6)
    clips = clips.drop(clips.index[(clips["composer"] == "Mahler") & (clips["clip"] % 2 == 0)]).reset_index(drop=True)
    vectors = vectors[clips["clip"]]
    outcome = regression.fit(vectors, clips, changed().probe)
    found = scores.score(outcome, clips, changed().probe)
    told = scores.predictions(outcome, clips.assign(clip=range(len(clips))))
    assert found["test_accuracy"] == pytest.approx(accuracy_score(told["composer"], told["predicted"]))
    assert found["test_macro_f1"] == pytest.approx(f1_score(told["composer"], told["predicted"], average="macro"))
    majority = clips.loc[clips["split"] == "train", "composer"].value_counts().idxmax()
    assert found["majority_composer"] == majority
    assert found["majority_accuracy"] == pytest.approx((told["composer"] == majority).mean())
    assert told.filter(like="p(").sum(axis=1).to_numpy() == pytest.approx(np.ones(len(told)), abs=1e-4)


def test_the_bootstrap_resamples_whole_groups(changed):
    settings = changed(probe__bootstrap_resamples=4000).probe
    always, never = np.diag([10, 0]), np.array([[0, 10], [0, 0]])
    drawn = bootstrap(np.array([always, never]), settings)["accuracy"]
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
        return np.ptp(
            np.quantile(
                bootstrap(counts, settings)["accuracy"],
                [0.025, 0.975],
            )
        )

    assert width(few) > 2 * width(many)


def test_the_interval_holds_the_truth_about_as_often_as_it_says(changed):
    settings = changed(probe__bootstrap_resamples=500).probe
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        right = rng.binomial(5, 0.6, size=40)
        counts = np.array([[[r, 5 - r], [0, 0]] for r in right])
        low, high = np.quantile(
            bootstrap(counts, settings)["accuracy"],
            [0.025, 0.975],
        )
        held += low <= 0.6 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_an_absent_composer_does_not_lower_f1():
    assert statistics.macro_f1(np.array([[4, 0, 0], [0, 4, 0], [0, 0, 0]])) == pytest.approx(1.0)
    # of the first 2 * 3 / (4 + 3), of the second 1; what was named third counts against the first
    assert statistics.macro_f1(np.array([[3, 0, 1], [0, 4, 0], [0, 0, 0]])) == pytest.approx((6 / 7 + 1) / 2)


def test_a_probe_that_does_not_converge_says_so(changed):
    vectors, clips = made(0.3)
    outcome = regression.fit(
        vectors, clips, changed(probe__max_iterations=1, probe__inverse_regularisation=[1.0]).probe
    )
    assert not outcome.converged


def test_vectors_that_are_not_numbers_are_refused(changed):
    vectors, clips = made(1.0)
    vectors[3, 2] = np.nan
    with pytest.raises(UserError, match="not finite numbers: the model that made them has diverged"):
        regression.fit(vectors, clips, changed().probe)


def test_a_warm_start_chooses_and_says_what_fresh_fits_would(changed):
    settings = changed(probe__inverse_regularisation=[0.001, 0.01, 0.1, 1.0, 10.0]).probe
    for seed in range(4):
        vectors, clips = made(0.5, seed=seed)
        composer, sides = clips["composer"].to_numpy(), clips["split"].to_numpy()
        scaled = StandardScaler().fit(vectors[sides == "train"]).transform(vectors)
        fresh = {
            strength: LogisticRegression(C=strength, max_iter=2000).fit(
                scaled[sides == "train"], composer[sides == "train"]
            )
            for strength in settings.inverse_regularisation
        }
        held_out = sides == "validation"
        best = max(settings.inverse_regularisation, key=lambda s: fresh[s].score(scaled[held_out], composer[held_out]))
        outcome = regression.fit(vectors, clips, settings)
        assert outcome.strength == best
        np.testing.assert_allclose(outcome.probabilities, fresh[best].predict_proba(scaled), atol=2e-3)


def test_the_probabilities_of_a_strength_are_not_those_of_a_later_one(changed):
    """The one probe goes on to other strengths after the best: what is returned must not follow it."""
    vectors, clips = made(6.0)
    first = regression.fit(vectors, clips, changed(probe__inverse_regularisation=[1e-4]).probe)
    several = regression.fit(vectors, clips, changed(probe__inverse_regularisation=[1e-4, 10.0]).probe)
    assert several.strength == 1e-4
    np.testing.assert_array_equal(several.probabilities, first.probabilities)


def glanced(separation: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Vectors and codes, training clips first, and how many those are."""
    vectors, clips = made(separation)
    order = np.argsort(~(clips["split"] == "train").to_numpy(), kind="stable")
    codes = clips["composer"].map({name: code for code, name in enumerate(COMPOSERS)}).to_numpy()
    return vectors[order], codes[order], int((clips["split"] == "train").sum())


def test_a_glance_agrees_with_the_same_steps_by_hand():
    vectors, codes, training = glanced(0.6)
    mean, deviation = vectors[:training].mean(axis=0), vectors[:training].std(axis=0)
    scaled = (vectors - mean) / deviation
    by_hand = LogisticRegression(C=watch.PROBE_C, max_iter=300).fit(scaled[:training], codes[:training])
    expected = np.mean(by_hand.predict(scaled[training:]) == codes[training:])
    assert 0.4 < expected < 1.0
    assert watch.score_probe(vectors, codes, training) == pytest.approx(expected)


def test_a_glance_sees_no_validation_label_while_it_fits():
    vectors, codes, training = glanced(4.0)
    renamed = codes.copy()
    renamed[training:] = (codes[training:] + 1) % len(COMPOSERS)  # had it seen these, it would name some of them
    assert watch.score_probe(vectors, codes, training) > 0.95
    assert watch.score_probe(vectors, renamed, training) < 0.05


def test_a_glance_at_a_model_that_diverged_is_nothing():
    vectors, codes, training = glanced(4.0)
    vectors[0, 0] = np.inf
    assert watch.score_probe(vectors, codes, training) == 0.0


FOLD = SplitFold("work", 0)


def add(
    project, stage: str, model: str, representation: str, arrays: dict[str, np.ndarray], fold: SplitFold = FOLD
) -> Path:
    """One finished training of a model on one fold: its arrays by file name, and its run."""
    identity = tracking.RunIdentity(stage, model, representation, fold.name)
    folder = project.out(stage, fold.name, identity.entry)
    (folder / "run.json").unlink(missing_ok=True)
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)
    with tracking.start_run(project, identity, {"dimensions": 8}, project.clips) as opened:
        tracking.write_run_record(project, folder, opened, identity, key_of(project.fold(fold)))
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Project:
    """A project with the clips of one draw and the vectors of one finished embedding run, to be copied."""
    made_once = Project(tmp_path_factory.mktemp("original"))
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, made_once.root / name)
    vectors, clips = made(2.0)
    write_table(made_once.clips, clips.drop(columns=["group", "split"]))
    write_table(made_once.fold(FOLD), clips)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        add(made_once, "embeddings", "pca", "mel", {"vectors": vectors})
    return made_once


@pytest.fixture
def embedded(original, tmp_path, monkeypatch) -> Project:
    """A copy of the original for one test; its database is its own, too."""
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    shutil.copytree(original.root, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def results_of(project, stage: str = "embeddings", model: str = "pca-mel", fold: SplitFold = FOLD) -> Path:
    return project.out("probe", fold.name, stage, model)


def scores_of(project, stage: str = "embeddings", model: str = "pca-mel") -> list[dict]:
    return json.loads(results_of(project, stage, model).joinpath("scores.json").read_text())["scores"]


def vectors_of(project) -> Path:
    return project.out("embeddings", FOLD.name, "pca-mel", "vectors.npy")


def files_of(home: Path) -> dict[str, bytes]:
    """The contents of all files below a folder."""
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_the_stage_adds_its_numbers_to_the_models_run(embedded, changed):
    probe.run(embedded, changed(), "embeddings", "pca-mel")
    (scores,) = scores_of(embedded)
    (logged,) = runs(embedded)
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["test_accuracy"] == pytest.approx(scores["test_accuracy"])
    assert {"test_macro_f1", "majority_accuracy", "validation_accuracy"} <= logged.data.metrics.keys()
    assert logged.data.params["dimensions"] == "8"
    assert set(files_of(results_of(embedded))) == {"scores.json", "predictions.csv", "works.csv", "confusion.png"}


def test_every_reading_is_scored_and_the_one_that_counts_comes_first(embedded, changed):
    good, noise = made(2.0)[0], made(0.0)[0]
    add(embedded, "ali", "paper", "8", {"vectors-crops": good, "vectors": noise, "vectors-Alike": good})
    probe.run(embedded, changed(ali__models=["paper-8"]))
    scores = scores_of(embedded, "ali", "paper-8")
    assert [one["readout"] for one in scores] == ["", "Alike", "crops"]
    assert scores[0]["test_accuracy"] < 0.6 < 0.9 < scores[1]["test_accuracy"]
    assert {**scores[1], "readout": "crops"} == scores[2]
    told = read_table(results_of(embedded, "ali", "paper-8") / "predictions.csv", "probe")
    for one in scores:
        own = told[told["readout"] == one["readout"]]
        assert (own["predicted"] == own["composer"]).mean() == pytest.approx(one["test_accuracy"])
    (run,) = runs(embedded, stage="ali")
    assert run.data.metrics["test_accuracy"] == pytest.approx(scores[0]["test_accuracy"])
    assert run.data.metrics["crops.test_accuracy"] == pytest.approx(scores[2]["test_accuracy"])


def test_a_model_with_further_readings_only_is_refused(embedded, changed):
    vectors_of(embedded).rename(vectors_of(embedded).with_name("vectors-crops.npy"))
    with pytest.raises(
        UserError, match=r"holds neither vectors.npy nor probabilities.npy; `dvc repro` trains the model again"
    ):
        probe.run(embedded, changed())


def believed(clips: pd.DataFrame, wrong: np.ndarray) -> np.ndarray:
    """Probabilities (clips, K): sure of the composer, but of the next one where `wrong`."""
    codes = clips["composer"].map({name: code for code, name in enumerate(COMPOSERS)}).to_numpy()
    return np.eye(len(COMPOSERS), dtype=np.float32)[(codes + wrong) % len(COMPOSERS)] * 0.8 + 0.1 * np.float32(2 / 3)


def test_the_probabilities_of_a_classifier_are_scored_as_they_are(embedded, changed, monkeypatch):
    clips = read_table(embedded.fold(FOLD), "clips")
    test = (clips["split"] == "test").to_numpy()
    wrong = test & (np.arange(len(clips)) % 3 == 0)
    add(embedded, "classifiers", "ff", "mel", {"probabilities": believed(clips, wrong)})
    monkeypatch.setattr(regression, "fit", None)  # nothing is fitted
    probe.run(embedded, changed(), "classifiers")
    (scores,) = scores_of(embedded, "classifiers", "ff-mel")
    assert scores["test_accuracy"] == pytest.approx(1 - wrong[test].mean())
    assert scores["train_accuracy"] == scores["validation_accuracy"] == 1.0
    assert scores["strength"] is None
    (run,) = runs(embedded, stage="classifiers")
    assert "strength" not in run.data.metrics


def test_the_probabilities_of_chunks_score_chunks(embedded, changed):
    clips = read_table(embedded.fold(FOLD), "clips")
    right, wrong = (believed(clips, np.full(len(clips), by)) for by in (0, 1))
    chunks = np.stack([right, wrong, right, right], axis=1)
    add(embedded, "classifiers", "lstm", "mel", {"probabilities": right, "probabilities-chunks": chunks})
    probe.run(embedded, changed(), "classifiers")
    votes, single = scores_of(embedded, "classifiers", "lstm-mel")
    assert (votes["readout"], votes["test_accuracy"]) == ("", 1.0)
    assert (single["readout"], single["test_accuracy"]) == ("chunks", 0.75)
    assert single["clips"]["test"] == 4 * votes["clips"]["test"]
    folder = results_of(embedded, "classifiers", "lstm-mel")
    assert set(read_table(folder / "predictions.csv", "probe")["readout"]) == {""}  # of clips alone
    works = read_table(folder / "works.csv", "probe")
    assert set(works.loc[works["readout"] == "chunks", "right"] / works.loc[works["readout"] == "chunks", "clips"]) == {
        0.75
    }


def test_probabilities_that_are_not_numbers_are_refused(embedded, changed):
    spoiled = believed(read_table(embedded.fold(FOLD), "clips"), np.zeros(216, int))
    spoiled[0, 0] = np.nan
    add(embedded, "classifiers", "ff", "mel", {"probabilities": spoiled})
    with pytest.raises(UserError, match="not finite numbers: the model that made them has diverged"):
        probe.run(embedded, changed(), "classifiers")


def test_an_ali_that_params_no_longer_ask_for_is_not_scored(embedded, changed):
    add(embedded, "ali", "paper", "8", {"vectors": made(0.3)[0]})
    probe.run(embedded, changed(ali__models=["paper-8"]))
    assert results_of(embedded, "ali", "paper-8").is_dir()
    probe.run(embedded, changed(ali__models=["paper-16"]))
    assert not results_of(embedded, "ali").exists()
    assert results_of(embedded).is_dir()


def test_the_works_add_up_to_the_accuracy(embedded, changed):
    add(embedded, "ali", "paper", "8", {"vectors": made(0.3)[0], "vectors-crops": made(0.6)[0]})
    probe.run(embedded, changed(ali__models=["paper-8"]))
    works = read_table(results_of(embedded, "ali", "paper-8") / "works.csv", "probe")
    for one in scores_of(embedded, "ali", "paper-8"):
        own = works[works["readout"] == one["readout"]]
        assert own["work"].is_unique
        assert len(own) == one["test_works"] == 9
        assert own["clips"].sum() == one["clips"]["test"]
        assert own["right"].sum() / own["clips"].sum() == pytest.approx(one["test_accuracy"])
        assert 0 < own["right"].sum() < own["clips"].sum()


def test_a_movement_and_a_work_have_the_composer_of_the_highest_mean_log_probability(changed):
    vectors, clips = made(0.5)
    result = regression.fit(vectors, clips, changed().probe)
    by_hand = clips[["composer", "work", "file", "split"]].assign(
        **dict(zip(COMPOSERS, np.log(result.probabilities.T), strict=True))
    )
    by_hand = by_hand[by_hand["split"] == "test"]
    found = scores.score(result, clips, changed().probe)
    assert result.composers == list(COMPOSERS)
    for level, keys in (("movement", ["composer", "work", "file"]), ("work", ["composer", "work"])):
        means = by_hand.groupby(keys)[list(COMPOSERS)].mean().reset_index()
        predicted = means[list(COMPOSERS)].idxmax(axis=1)
        assert len(means) == found[f"test_{level}s"] == {"movement": 18, "work": 9}[level]
        assert found[f"test_{level}_accuracy"] == pytest.approx((predicted == means["composer"]).mean())
        f1 = f1_score(means["composer"], predicted, average="macro")
        assert found[f"test_{level}_macro_f1"] == pytest.approx(f1)
        assert (
            found[f"test_{level}_accuracy_low"]
            <= found[f"test_{level}_accuracy"]
            <= found[f"test_{level}_accuracy_high"]
        )
        assert found[f"majority_{level}_accuracy"] == pytest.approx(1 / 3)
    table = scores.correct_by_work(result, clips)
    assert table["right_works"].sum() / len(table) == pytest.approx(found["test_work_accuracy"])
    assert table["right_movements"].sum() / table["movements"].sum() == pytest.approx(found["test_movement_accuracy"])


def test_many_unsure_clips_make_a_sure_work(changed):
    """Clips little better than chance, independent of each other: their works are known far better."""
    found = scored(*made(0.25, works=40, clips_a_work=30), changed().probe)
    assert found["test_accuracy"] < found["test_movement_accuracy"] < found["test_work_accuracy"]
    assert found["test_work_accuracy"] > found["test_accuracy"] + 0.2


def test_the_temperature_does_not_change_the_composer_of_a_work(changed):
    vectors, clips = made(0.5)
    result = regression.fit(vectors, clips, changed().probe)
    calibrated = replace(result, probabilities=result.head.probabilities(vectors))
    assert result.head.temperature != 1.0
    for level in statistics.LEVELS:
        plain, tempered = (scores.predict_test(one, clips, level).predicted for one in (result, calibrated))
        np.testing.assert_array_equal(plain, tempered)


def test_works_of_one_title_by_two_composers_are_two_works(changed):
    vectors, clips = made(1.0)
    table = scores.correct_by_work(regression.fit(vectors, clips, changed().probe), clips)
    assert table["work"].tolist() == [f"{name} / {work}" for name in COMPOSERS for work in ("11", "3", "7")]


def test_a_second_run_gives_the_same_files_and_adds_to_the_same_run(embedded, changed):
    probe.run(embedded, changed())
    before = files_of(embedded.out("probe"))
    probe.run(embedded, changed())
    assert files_of(embedded.out("probe")) == before
    assert len(runs(embedded)) == 1
    probe.run(embedded, changed(probe__bootstrap_resamples=300))
    assert files_of(embedded.out("probe")).keys() == before.keys()
    assert (results_of(embedded) / "scores.json").read_bytes() != before[f"{FOLD.name}/embeddings/pca-mel/scores.json"]


def test_a_model_that_was_trained_again_is_scored_again_in_its_new_run(embedded, changed):
    probe.run(embedded, changed())
    assert scores_of(embedded)[0]["test_accuracy"] > 0.9
    (first,) = runs(embedded)
    add(embedded, "embeddings", "pca", "mel", {"vectors": made(0.0)[0]})
    probe.run(embedded, changed())
    assert scores_of(embedded)[0]["test_accuracy"] < 0.6
    accuracies = {run.info.run_id == first.info.run_id: run.data.metrics["test_accuracy"] for run in runs(embedded)}
    assert accuracies[False] < 0.6 < 0.9 < accuracies[True]


def test_the_scores_of_what_is_gone_go_too(embedded, changed):
    other = add(embedded, "embeddings", "pca", "chroma", {"vectors": made(2.0, seed=1)[0]})
    probe.run(embedded, changed())
    shutil.rmtree(other)
    probe.run(embedded, changed(), "embeddings")  # one stage alone removes nothing
    assert results_of(embedded, "embeddings", "pca-chroma").is_dir()
    probe.run(embedded, changed())
    assert [path.name for path in results_of(embedded).parent.iterdir()] == ["pca-mel"]


def test_the_main_scores_of_a_fold_are_in_one_file_for_dvc(embedded, changed):
    add(embedded, "ali", "paper", "8", {"vectors": made(0.3)[0], "vectors-crops": made(0.6)[0]})
    probe.run(embedded, changed(ali__models=["paper-8"]))
    metrics = json.loads(embedded.out("probe", f"{FOLD.name}.json").read_text())
    assert {stage: set(models) for stage, models in metrics.items()} == {"ali": {"paper-8"}, "embeddings": {"pca-mel"}}
    names = [
        f"{prefix}_{name}"
        for prefix in ("test", "test_movement", "test_work")
        for name in ("accuracy", "accuracy_low", "accuracy_high", "macro_f1")
    ]
    main, crops = scores_of(embedded, "ali", "paper-8")
    expected = {name: main[name] for name in names} | {f"crops.{name}": crops[name] for name in names}
    assert metrics["ali"]["paper-8"] == expected
    (run,) = runs(embedded, stage="ali")
    assert expected.items() <= run.data.metrics.items()
    probe.run(embedded, changed(probe__confidence=0.5), "embeddings")  # the other stage's scores stay in it
    after = json.loads(embedded.out("probe", f"{FOLD.name}.json").read_text())
    assert after["ali"] == metrics["ali"]
    assert after["embeddings"] != metrics["embeddings"]


def test_every_fold_is_scored_or_the_one_that_is_named(embedded, changed):
    other = SplitFold("work", 1)
    vectors, clips = made(0.3)
    write_table(embedded.fold(other), clips.assign(split=clips["split"].to_numpy()[::-1]))
    add(embedded, "embeddings", "pca", "mel", {"vectors": vectors}, fold=other)
    both = changed(folds=[FOLD.name, other.name])
    probe.run(embedded, both, fold=other.name)
    assert results_of(embedded, fold=other).is_dir()
    assert not embedded.out("probe", FOLD.name).exists()
    before = files_of(embedded.out("probe", other.name))
    probe.run(embedded, both)
    assert results_of(embedded).is_dir()
    assert files_of(embedded.out("probe", other.name)) == before
    with pytest.raises(UserError, match="lists no fold 'work-1'"):
        probe.run(embedded, changed(), fold=other.name)


def test_a_run_says_how_many_test_clips_are_in_training_as_well(embedded, changed):
    probe.run(embedded, changed())
    (run,) = runs(embedded)
    assert "near_duplicate_test_clips" not in run.data.metrics  # the features were not compared
    table = read_table(embedded.fold(FOLD), "clips")
    first, second = sorted(int(table.loc[table["split"] == side, "clip"].iloc[0]) for side in ("train", "test"))
    pairs = pd.DataFrame([(first, second, 5.0, 0.9)], columns=leaks.COLUMNS)
    write_table(embedded.out("features", leaks.FILE), pairs)
    probe.run(embedded, changed())
    (run,) = runs(embedded)
    assert run.data.metrics["near_duplicate_test_clips"] == 1.0
    assert run.data.metrics["near_duplicate_test_share"] == pytest.approx(1.0 / (table["split"] == "test").sum())


def test_a_model_from_another_machine_is_found_by_its_content(embedded, changed):
    shutil.rmtree(embedded.mlruns / "produced")  # what this machine knows of the runs that produced its folders
    probe.run(embedded, changed(), "embeddings", "pca-mel")
    (run,) = runs(embedded)
    assert run.data.metrics["test_accuracy"] > 0.9


def test_a_model_whose_run_the_server_does_not_know_gets_one_run_that_stands_for_it(embedded, changed):
    content = json.loads(vectors_of(embedded).with_name("run.json").read_text())["content"]
    shutil.rmtree(embedded.mlruns)
    for _ in range(2):
        probe.run(embedded, changed(), "embeddings", "pca-mel")
        (found,) = runs(embedded)
        assert found.data.tags["stands_for"] == content
        assert found.data.metrics["test_accuracy"] > 0.9


def test_vectors_of_another_split_are_refused(embedded, changed):
    clips = read_table(embedded.fold(FOLD), "clips")
    write_table(embedded.fold(FOLD), clips.assign(split=clips["split"].to_numpy()[::-1]))
    with pytest.raises(UserError, match="the clips have changed since the stage embeddings trained pca-mel; run `dvc"):
        probe.run(embedded, changed(), "embeddings", "pca-mel")


def test_vectors_of_a_draw_that_is_gone_are_refused(embedded, changed):
    embedded.fold(FOLD).unlink()
    with pytest.raises(UserError, match="the clips have changed since the stage embeddings trained pca-mel; run `dvc"):
        probe.run(embedded, changed(), "embeddings", "pca-mel")


def test_a_probe_that_fails_marks_the_run_and_a_good_one_clears_it(embedded, changed):
    path = vectors_of(embedded)
    good = np.load(path)
    write_array(path, np.full_like(good, np.nan))
    with pytest.raises(UserError, match="diverged"):
        probe.run(embedded, changed(), "embeddings", "pca-mel")
    assert not results_of(embedded).exists()
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


def test_a_model_that_is_not_there_is_named(embedded, changed):
    for name in ("vae-mel", "../../elsewhere"):
        with pytest.raises(UserError, match=f"no model '{name}' in .*`dvc repro` trains them"):
            probe.run(embedded, changed(), "embeddings", name)
    with pytest.raises(UserError, match=r"no models in .*ali"):
        probe.run(embedded, changed(), "ali")


def test_vectors_of_other_clips_are_refused(embedded, changed):
    write_array(vectors_of(embedded), np.zeros((3, 8), np.float32))
    with pytest.raises(UserError, match="holds 3 rows for 216 clips; run `dvc repro`"):
        probe.run(embedded, changed(), "embeddings", "pca-mel")
