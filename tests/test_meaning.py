"""Linear probes, retrieval, their tables over folds, and the stage `meaning`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score, r2_score
from sklearn.preprocessing import StandardScaler

from conftest import ROOT, client, runs, with_database
from symphony2vec import figures, params, tracking
from symphony2vec.errors import UserError
from symphony2vec.evaluation import retrieval
from symphony2vec.evaluation.meaning import pictures, probes, summary, targets
from symphony2vec.evaluation.meaning import stage as meaning
from symphony2vec.project import Project, SplitFold, key_of, read_json, read_table, write_array, write_table
from symphony2vec.report import page, tables

COMPOSERS = ("Bach", "Brahms", "Mahler")
KEYS = ("C major", "A minor", "G major", "E minor")
LABELS = {label.name: label for label in targets.LABELS}
DIMENSIONS = 24


def corpus(seed: int = 0, works: int = 12, clips_a_movement: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clips of three composers, every work of two movements, split by work; and random labels of them.

    No brass sounds anywhere.
    """
    rng = np.random.default_rng(seed)
    rows = [
        {"composer": composer, "work": str(work), "movement": str(movement), "group": f"{composer} / {work}",
         "split": ("train", "train", "validation", "test")[work % 4]}
        for composer in COMPOSERS for work in range(works) for movement in range(2) for _ in range(clips_a_movement)
    ]  # fmt: skip
    clips = pd.DataFrame(rows)
    clips.insert(0, "clip", range(len(clips)))
    count = len(clips)
    labels = pd.DataFrame({"clip": clips["clip"], "loudness_db": rng.normal(-23.0, 3.0, count)})
    labels["centroid_hz"] = 500.0 * 2.0 ** rng.normal(0.0, 0.5, count)
    labels["notes_per_s"] = rng.gamma(4.0, 2.0, count)
    labels["instruments"] = rng.integers(1, 12, count)
    labels[list(targets.PITCH_CLASSES)] = rng.dirichlet(np.ones(12), count)
    labels[list(targets.FAMILIES)] = rng.dirichlet(np.ones(6), count)
    labels["brass"] = 0.0
    labels["key"] = rng.choice(KEYS, count)
    labels["mode"] = labels["key"].str.split().str[1]
    return clips, labels


def encoding(labels: pd.DataFrame, noise: float = 0.0, seed: int = 1) -> np.ndarray:
    """Vectors (clips, D) that hold every label of one clip, linearly mixed."""
    rng = np.random.default_rng(seed)
    columns = ["loudness_db", "notes_per_s", "instruments", *targets.PITCH_CLASSES, *targets.FAMILIES]
    facts = np.column_stack([labels[columns], np.log2(labels["centroid_hz"]), pd.get_dummies(labels["key"])]).astype(
        float
    )
    facts = (facts - facts.mean(axis=0)) / np.maximum(facts.std(axis=0), 1e-9)
    mixed = facts @ rng.standard_normal((facts.shape[1], facts.shape[1]))
    return (mixed + noise * rng.standard_normal(mixed.shape)).astype(np.float32)


def noise(clips: pd.DataFrame, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((len(clips), DIMENSIONS)).astype(np.float32)


def measured(vectors, clips, labels, settings: params.Params) -> pd.DataFrame:
    """The measures of one fold, by label and measure."""
    found = summary.tabulate_fold(meaning.evaluate(vectors, clips, labels, settings), settings.probe)
    return found.set_index(["label", "measure"])


# probes ---------------------------------------------------------------------------------------------------------------


def test_probes_predict_labels_from_vectors_that_encode_them_and_not_from_noise(changed):
    clips, labels = corpus()
    good, bad = (measured(vectors, clips, labels, changed()) for vectors in (encoding(labels), noise(clips)))
    for name in ("loudness_db", "centroid_hz", "notes_per_s", "instruments", "strings", "voices", "pitch_classes"):
        assert good.loc[(name, "r2"), "value"] > 0.98, name
        assert bad.loc[(name, "r2"), "value"] < 0.1, name
        assert good.loc[(name, "r2"), "baseline"] == 0.0
    assert good.loc[("pitch_classes", "correlation"), "value"] > 0.98
    assert good.loc[("key", "accuracy"), "value"] > 0.95
    assert good.loc[("mode", "accuracy"), "value"] > 0.95
    lost = bad.loc[("key", "accuracy")]
    assert abs(lost["value"] - lost["baseline"]) < 0.2


def test_a_constant_or_rare_label_has_a_reason_instead_of_a_value(changed):
    clips, labels = corpus()
    labels.loc[clips["split"] == "test", "mode"] = np.nan
    labels.loc[labels.index[50:], "notes_per_s"] = np.nan
    voices = labels["voices"].copy()
    labels["voices"] = 0.0
    labels.loc[:2, "voices"] = voices[:3]
    found = measured(encoding(labels.fillna(0)), clips, labels, changed())
    for label, measure, reason in (
        ("brass", "r2", "none of 144 train clips differ from the rest"),
        ("voices", "r2", "3 of 144 train clips differ from the rest"),
        ("mode", "accuracy", "known for no test clips"),
        ("notes_per_s", "r2", "known for 10 validation clips"),
    ):
        line = found.loc[(label, measure)]
        assert line["reason"] == reason
        assert np.isnan([line["value"], line["low"], line["high"], line["baseline"]]).all()
    assert ("pitch_classes", "correlation") in found.index


def test_clips_with_an_unknown_label_are_left_out_and_counted(changed):
    clips, labels = corpus()
    vectors = encoding(labels)
    unknown = np.arange(len(clips)) % 3 == 0
    labels.loc[unknown, ["loudness_db", "key"]] = np.nan
    found = measured(vectors, clips, labels, changed())
    test = (clips["split"] == "test").to_numpy()
    for label, measure in (("loudness_db", "r2"), ("key", "accuracy")):
        line = found.loc[(label, measure)]
        assert (line["left_out"], line["clips"]) == ((test & unknown).sum(), (test & ~unknown).sum())
        assert line["value"] > 0.9
    assert found.loc[("notes_per_s", "r2"), "left_out"] == 0


def test_test_clips_influence_neither_fit_nor_penalty(changed):
    clips, labels = corpus()
    vectors, settings = encoding(labels, noise=3.0), changed().meaning
    splits = clips["split"].to_numpy()
    training, validation, test = (np.flatnonzero(splits == split) for split in ("train", "validation", "test"))
    values = LABELS["loudness_db"].values(labels)
    before = probes.fit_ridge(vectors, values, training, validation, settings.penalties)
    spoiled, other = vectors.copy(), values.copy()
    spoiled[test], other[test] = 1e6, -1e6
    after = probes.fit_ridge(spoiled, other, training, validation, settings.penalties)
    assert after.penalty == before.penalty
    np.testing.assert_array_equal(after.predict(vectors), before.predict(vectors))


def test_labels_of_test_clips_do_not_influence_the_strength(changed):
    clips, labels = corpus()
    test = (clips["split"] == "test").to_numpy()
    _, others = corpus(seed=9)
    other = labels.copy()
    other[test] = others[test]
    vectors = encoding(labels, 2.0)
    one, two = (measured(vectors, clips, table, changed()) for table in (labels, other))
    pd.testing.assert_series_equal(one["strength"], two["strength"])
    assert (one.loc["loudness_db", "value"] != two.loc["loudness_db", "value"]).all()


def test_the_ridge_agrees_with_scikit_learn_and_validation_selects_its_penalty(changed):
    clips, labels = corpus()
    vectors, settings = encoding(labels, noise=4.0), changed().meaning
    splits = clips["split"].to_numpy()
    training, validation, test = (np.flatnonzero(splits == split) for split in ("train", "validation", "test"))
    values = LABELS["pitch_classes"].values(labels)
    scaler = StandardScaler().fit(vectors[training].astype(float))
    scaled = scaler.transform(vectors.astype(float))
    by_hand = {p: Ridge(alpha=p * len(training)).fit(scaled[training], values[training]) for p in settings.penalties}
    error = {p: ((one.predict(scaled[validation]) - values[validation]) ** 2).sum() for p, one in by_hand.items()}
    best = min(error, key=error.get)
    assert min(settings.penalties) < best < max(settings.penalties)
    fitted = probes.fit_ridge(vectors, values, training, validation, settings.penalties)
    assert fitted.penalty == best
    np.testing.assert_allclose(fitted.predict(vectors[test]), by_hand[best].predict(scaled[test]), atol=1e-6)


def test_a_step_along_the_weights_increases_the_prediction(changed):
    clips, labels = corpus()
    rows = np.arange(len(clips))
    fitted = probes.fit_ridge(encoding(labels), LABELS["loudness_db"].values(labels), rows[::2], rows[1::2], [0.001])
    step = fitted.weights[:, 0]
    before = encoding(labels)[:5]
    assert (fitted.predict(before + 0.1 * step) > fitted.predict(before)).all()


def test_r2_is_relative_to_the_training_mean(changed):
    clips, labels = corpus()
    vectors = encoding(labels, noise=4.0)
    splits = clips["split"].to_numpy()
    training, validation, test = (np.flatnonzero(splits == split) for split in ("train", "validation", "test"))
    values = LABELS["loudness_db"].values(labels)
    fitted = probes.fit_ridge(vectors, values, training, validation, changed().meaning.penalties)
    error = ((values[test] - fitted.predict(vectors[test])) ** 2).sum()
    mean = ((values[test] - values[training].mean()) ** 2).sum()
    found = measured(vectors, clips, labels, changed()).loc[("loudness_db", "r2"), "value"]
    assert found == pytest.approx(1.0 - error / mean)
    assert found != pytest.approx(r2_score(values[test], fitted.predict(vectors[test])))  # its mean is the test clips'


def test_r2_of_a_misleading_probe_is_negative(changed):
    clips, labels = corpus()
    vectors = np.repeat(labels[["loudness_db"]].to_numpy(np.float32), 2, axis=1)
    test = (clips["split"] == "test").to_numpy()
    vectors[test] = 2 * labels["loudness_db"].mean() - vectors[test]
    assert measured(vectors, clips, labels, changed()).loc[("loudness_db", "r2"), "value"] < -1.0


def test_profiles_are_correlated_over_the_twelve_pitch_classes():
    rng = np.random.default_rng(0)
    labels, true = rng.random((2, 5, 12))
    expected = [pearsonr(a, b).statistic for a, b in zip(labels, true, strict=True)]
    np.testing.assert_allclose(probes.correlate_rows(labels, true), expected)
    assert probes.correlate_rows(np.ones((1, 12)), true[:1]) == [0.0]


def test_a_class_that_no_training_clip_has_counts_as_wrong(changed):
    clips, labels = corpus()
    test = np.flatnonzero(clips["split"] == "test")
    before = measured(encoding(labels), clips, labels, changed()).loc[("key", "accuracy")]
    vectors = encoding(labels)
    strange = labels.copy()
    strange.loc[test[:10], "key"] = "F# major"
    validation = np.flatnonzero(clips["split"] == "validation")
    strange.loc[validation[:5], "key"] = "B minor"
    line = measured(vectors, clips, strange, changed()).loc[("key", "accuracy")]
    assert line["unseen"] == 10
    assert (line["clips"], line["works"]) == (before["clips"], before["works"]) == (72, 9)
    assert before["value"] == 1.0
    assert line["value"] == pytest.approx(1.0 - 10 / 72)


def test_the_order_of_the_clips_changes_nothing(changed):
    clips, labels = corpus()
    vectors = encoding(labels, noise=1.0)
    order = np.random.default_rng(3).permutation(len(clips))
    one = measured(vectors, clips, labels, changed())
    mixed = (table.iloc[order].reset_index(drop=True) for table in (clips, labels))
    two = measured(vectors[order], *mixed, changed())
    numbers = ["value", "low", "high", "baseline", "clips", "works", "strength"]
    pd.testing.assert_frame_equal(one[numbers], two[numbers], rtol=1e-3)


def test_the_scale_and_place_of_a_dimension_do_not_matter(changed):
    clips, labels = corpus()
    vectors = encoding(labels, noise=1.0).astype(np.float64)
    moved = vectors * np.geomspace(1e-3, 1e3, vectors.shape[1]) + 7.0
    one, two = (measured(values, clips, labels, changed()) for values in (vectors, moved))
    pd.testing.assert_frame_equal(one[["value", "low", "high"]], two[["value", "low", "high"]], rtol=1e-3)


def test_vectors_that_are_not_finite_are_rejected(changed):
    clips, labels = corpus()
    vectors = noise(clips)
    vectors[3, 2] = np.inf
    with pytest.raises(UserError, match="not finite numbers: the model that made them has diverged"):
        meaning.evaluate(vectors, clips, labels, changed())


def test_labels_without_a_column_are_rejected(changed):
    clips, labels = corpus()
    for column in ("pc_7", "key"):
        with pytest.raises(UserError, match=f"lack the column '{column}'; `dvc repro labels` writes them again"):
            meaning.evaluate(noise(clips), clips, labels.drop(columns=column), changed())


# retrieval ------------------------------------------------------------------------------------------------------------


def test_average_precision_agrees_with_scikit_learn_without_ties():
    rng = np.random.default_rng(0)
    for _ in range(20):
        near, relevant = rng.standard_normal(30), rng.random(30) < 0.3
        relevant[0] = True
        assert retrieval.average_precision(near, relevant) == pytest.approx(average_precision_score(relevant, near))


def test_average_precision_with_ties_is_the_mean_over_their_orders():
    rng = np.random.default_rng(1)
    near, relevant = np.array([3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 0.0]), np.array([0, 1, 0, 1, 0, 1, 0], bool)
    orders = [near + 1e-3 * rng.standard_normal(7) for _ in range(1000)]
    mean = np.mean([average_precision_score(relevant, order) for order in orders])
    assert retrieval.average_precision(near, relevant) == pytest.approx(mean, abs=0.015)
    mixed = rng.permutation(7)
    assert retrieval.average_precision(near[mixed], relevant[mixed]) == retrieval.average_precision(near, relevant)


def test_the_baseline_is_the_mean_over_random_orders():
    rng = np.random.default_rng(2)
    relevant = np.arange(40) < 7
    fig = [average_precision_score(relevant, rng.random(40)) for _ in range(1000)]
    assert retrieval.random_average_precision(relevant) == pytest.approx(np.mean(fig), abs=0.015)
    assert retrieval.random_average_precision(np.ones(5, bool)) == 1.0


def retrieval_sums(vectors, clips, key, minimum: int = 1) -> dict[str, pd.Series]:
    """MAP and chance of each search."""
    found = {}
    for one in retrieval.evaluate_retrieval(vectors, clips, key, minimum):
        assert one.measure == "MAP"
        sums = one.table[["clips", "score", "baseline", "weight"]].sum()
        found[one.label] = sums.rename(one.label)
    return found


def around(names: pd.Series, spread: float = 0.01) -> np.ndarray:
    """Vectors near one corner for each name."""
    codes = pd.factorize(names)[0]
    centres = np.eye(codes.max() + 1)[codes]
    return centres + spread * np.random.default_rng(0).standard_normal(centres.shape)


def test_clusters_have_map_1_and_noise_has_that_of_a_random_order():
    clips, labels = corpus(works=24)
    key = labels["key"].to_numpy(dtype=str)
    for what, names in (
        ("same work", clips["group"]), ("same composer", clips["composer"]), ("same key", labels["key"]),
    ):  # fmt: skip
        sums = retrieval_sums(around(names), clips, key)[what]
        assert sums["score"] / sums["weight"] == pytest.approx(1.0), what
        lost = retrieval_sums(noise(clips), clips, key)[what]
        assert abs(lost["score"] - lost["baseline"]) / lost["weight"] < 0.04, what
        assert lost["baseline"] / lost["weight"] < 0.5


def test_equal_vectors_have_the_map_of_a_random_order():
    clips, labels = corpus()
    for sums in retrieval_sums(np.ones((len(clips), 3)), clips, labels["key"].to_numpy(dtype=str)).values():
        assert sums["score"] == pytest.approx(sums["baseline"])


def test_the_own_work_or_movement_is_not_a_candidate():
    """Clips that hold their own work, or movement, apart from all else gain nothing by it."""
    clips, labels = corpus()
    key = labels["key"].to_numpy(dtype=str)
    by_work = retrieval_sums(around(clips["group"], spread=0.0), clips, key)
    by_movement = retrieval_sums(around(clips["group"] + clips["movement"], spread=0.0), clips, key)
    for what in ("same composer", "same key"):
        assert by_work[what]["score"] == pytest.approx(by_work[what]["baseline"]), what
    assert by_work["same work"]["score"] == by_work["same work"]["weight"]
    assert by_movement["same work"]["score"] == pytest.approx(by_movement["same work"]["baseline"])


def test_clips_without_a_relevant_candidate_are_not_queries():
    clips, labels = corpus()
    test = (clips["split"] == "test").to_numpy()
    short = test & (clips["work"] == "3").to_numpy()
    clips = clips[~(short & (clips["movement"] == "1"))]
    alone = (clips["composer"] == "Mahler") & (clips["split"] == "test") & (clips["work"] != "3")
    clips = clips[~alone].reset_index(drop=True)
    labels = labels.iloc[: len(clips)]
    key = np.where(np.arange(len(clips)) % 2, labels["key"].to_numpy(dtype=str), "")
    found = {one.label: one for one in retrieval.evaluate_retrieval(noise(clips), clips, key, 1)}
    own = clips[clips["split"] == "test"]
    single = int((own["work"] == "3").sum())
    assert found["same work"].left_out == single == 12
    assert not found["same work"].table["work"].str.endswith("/ 3").any()
    assert found["same composer"].left_out == (own["composer"] == "Mahler").sum() == 4
    assert found["same key"].left_out == (key[own.index] == "").sum()


def test_with_too_few_queries_there_is_a_reason_instead_of_a_value(changed):
    clips, labels = corpus()
    labels["key"] = ""
    *_, last = retrieval.evaluate_retrieval(noise(clips), clips, labels["key"].to_numpy(dtype=str), 20)
    assert (last.label, last.reason, len(last.table)) == ("same key", "no test clips have another to find", 0)
    line = summary.tabulate_fold([last], changed().probe).iloc[0]
    assert np.isnan(line["value"])


def test_training_clips_are_neither_queries_nor_candidates():
    clips, labels = corpus()
    vectors, key = encoding(labels), labels["key"].to_numpy(dtype=str)
    before = retrieval_sums(vectors, clips, key)
    validation = (clips["split"] == "validation").to_numpy()
    vectors[validation] = 1e5
    key[validation] = "D major"
    for what, sums in retrieval_sums(vectors, clips, key).items():
        pd.testing.assert_series_equal(sums, before[what])


# over folds -----------------------------------------------------------------------------------------------------------


def entries_of(vectors: dict[str, list[np.ndarray]], folds, settings) -> list[summary.MeaningEntry]:
    """Rows as the stage would write them: for each name its vectors on each fold of (clips, labels)."""
    rows = []
    for name, own in vectors.items():
        answers = [meaning.evaluate(one, *fold, settings) for one, fold in zip(own, folds, strict=True)]
        found = [summary.tabulate_fold(one, settings.probe) for one in answers]
        works = [
            pd.concat([part.table.assign(label=part.label, measure=part.measure) for part in one]) for one in answers
        ]
        rows.append(summary.MeaningEntry("embeddings", name, "", found, works))
    return rows


@pytest.fixture(scope="module")
def over(settings):
    """The entries of three models on two folds, one of them noise, and their tables."""
    chosen = params.check(settings)
    folds = [corpus(seed=seed) for seed in (0, 1)]
    vectors = {
        "good": [encoding(labels) for _, labels in folds],
        "fair": [encoding(labels, noise=3.0) for _, labels in folds],
        "bad": [noise(clips) for clips, _ in folds],
    }
    rows = entries_of(vectors, folds, chosen)
    return rows, *summary.summarize_folds(rows, chosen.probe)


def test_a_value_is_the_mean_over_folds_and_lies_in_its_interval(over):
    rows, lines, _ = over
    assert len(lines) == len(rows) * len(rows[0].measures[0])
    for row in rows:
        own = lines[lines["entry"] == row.name].set_index(["label", "measure"])
        per_draw = [table.set_index(["label", "measure"])["value"] for table in row.measures]
        np.testing.assert_allclose(own["value"], np.mean(per_draw, axis=0), atol=1e-4)
        np.testing.assert_allclose(own["spread"], np.std(per_draw, axis=0, ddof=1), atol=1e-4)
    measured = lines[lines["reason"] == ""]
    assert (measured["low"] <= measured["value"]).all()
    assert (measured["value"] <= measured["high"]).all()
    assert set(measured["folds"]) == {2}
    assert set(lines.loc[lines["label"] == "brass", "folds"]) == {0}


def test_better_names_the_significantly_better_model(over):
    _, lines, pairs = over
    loud = pairs[pairs["label"] == "loudness_db"].set_index(["a", "b"])
    assert set(loud["better"]) == {"a"}  # good, fair and bad, in this order
    assert (loud["low"] > 0.0).all()
    value = lines[lines["label"] == "loudness_db"].set_index("entry")["value"]
    expected = value["good"] - value["fair"]
    assert loud.loc[("embeddings/good", "embeddings/fair"), "difference"] == pytest.approx(expected, abs=2e-4)
    assert "brass" not in set(pairs["label"])
    assert set(pairs["measure"]) == {"r2", "correlation", "accuracy", "MAP"}


def test_the_same_vectors_twice_do_not_differ(changed):
    fold = corpus()
    vectors = encoding(fold[1], noise=2.0)
    rows = entries_of({"one": [vectors], "two": [vectors]}, [fold], changed())
    _, pairs = summary.summarize_folds(rows, changed().probe)
    assert (pairs[["difference", "low", "high"]] == 0.0).all(axis=None)
    assert set(pairs["better"]) == {""}


def test_a_fold_without_the_label_is_left_out_of_the_mean(changed):
    folds = [corpus(seed=seed) for seed in (0, 1)]
    folds[1][1]["loudness_db"] = np.nan
    vectors = {"good": [encoding(labels.fillna(0.0)) for _, labels in folds]}
    lines, _ = summary.summarize_folds(entries_of(vectors, folds, changed()), changed().probe)
    loud = lines.set_index("label").loc["loudness_db"]
    assert (loud["folds"], loud["clips"], loud["left_out"], loud["reason"]) == (1, 72, 36, "")
    assert loud["value"] > 0.98


def test_an_interval_needs_three_works(changed):
    clips, labels = corpus()
    few = ~((clips["split"] == "test") & (clips["composer"] != "Bach"))
    clips, labels = clips[few].reset_index(drop=True), labels[few].reset_index(drop=True)
    three = measured(encoding(labels), clips, labels, changed()).loc[("loudness_db", "r2")]
    assert three["works"] == 3
    assert three["low"] < three["high"]
    fewer = ~((clips["split"] == "test") & (clips["work"] == "3"))
    clips, labels = clips[fewer].reset_index(drop=True), labels[fewer].reset_index(drop=True)
    vectors = encoding(labels)
    labels["notes_per_s"] = labels["notes_per_s"].where(np.arange(len(labels)) % 2 == 0)
    settings = changed(meaning__minimum_clips=8)
    two = measured(vectors, clips, labels, settings).loc[("loudness_db", "r2")]
    assert (two["works"], two["reason"]) == (2, "")
    assert np.isnan([two["low"], two["high"]]).all()
    assert two["value"] > 0.9
    rows = entries_of({"good": [vectors], "bad": [noise(clips)]}, [(clips, labels)], settings)
    assert not len(summary.summarize_folds(rows, settings.probe)[1])


# the stage ------------------------------------------------------------------------------------------------------------

FOLD = SplitFold("work", 0)
WRITTEN = {"meaning.csv", "retrieval.csv", "works.csv"}


def add(
    project: Project, stage: str, model: str, representation: str, arrays: dict[str, np.ndarray], fold: SplitFold = FOLD
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
def original(tmp_path_factory, settings, empty_database) -> Project:
    """A project whose models have been evaluated: PCA, ALI in two readouts, a classifier without vectors."""
    made = with_database(Project(tmp_path_factory.mktemp("original")), empty_database)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, made.root / name)
    clips, labels = corpus()
    write_table(made.clips, clips.drop(columns=["group", "split"]))
    write_table(made.fold(FOLD), clips)
    write_table(made.out("labels", "labels.csv"), labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        add(made, "embeddings", "pca", "mel", {"vectors": encoding(labels)})
        readouts = {"vectors-crops": encoding(labels, noise=1.0), "vectors-hidden": noise(clips)}
        add(made, "ali", "paper", "40", {"vectors": noise(clips), **readouts})
        add(made, "classifiers", "ff", "mel", {"probabilities": np.full((len(clips), 3), 1 / 3, np.float32)})
        meaning.run(made, params.check(settings))
    return made


@pytest.fixture
def evaluated(original, tmp_path, monkeypatch) -> Project:
    """A copy of the original for one test; its database is its own, too."""
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    shutil.copytree(original.root, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def results_of(project: Project, stage: str, model: str, fold: SplitFold = FOLD) -> Path:
    return project.out("meaning", fold.name, stage, model)


def files_of(home: Path) -> dict[str, bytes]:
    """The contents of all files below a folder."""
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_the_stage_writes_its_tables(original):
    expected = {f"{model}/{name}" for model in ("embeddings/pca-mel", "ali/paper-40") for name in WRITTEN}
    assert set(files_of(original.out("meaning"))) == {f"work-0/{name}" for name in expected} | {"work-0.json"}


def test_the_main_values_of_a_fold_are_in_one_file_for_dvc(original):
    metrics = read_json(original.out("meaning", "work-0.json"), "meaning")
    assert {stage: set(models) for stage, models in metrics.items()} == {
        "ali": {"paper-40"}, "embeddings": {"pca-mel"}
    }  # fmt: skip
    table = read_table(results_of(original, "ali", "paper-40") / "meaning.csv", "meaning")
    measured = table[(table["readout"] == "") & (table["reason"] == "")]
    values = metrics["ali"]["paper-40"]
    assert len(values) == len(measured)
    (run,) = runs(original, stage="ali")
    assert {name: pytest.approx(value) for name, value in run.data.metrics.items() if name in values} == values
    assert metrics["embeddings"]["pca-mel"]["meaning.loudness_db.r2"] > 0.98 > values["meaning.loudness_db.r2"]


@pytest.fixture(scope="module")
def tabulated(original, settings) -> dict[str, pd.DataFrame]:
    """The tables over the folds that the report makes of the results."""
    return tables.tabulate_meaning(original, [FOLD.name], params.check(settings).probe)


def test_the_tables_over_the_folds_have_a_row_for_every_readout(tabulated):
    assert set(tabulated) == {"attributes", "retrieval", "meaning_pairs"}
    knowledge = tabulated["attributes"]
    assert list(dict.fromkeys(knowledge["entry"])) == ["paper-40", "paper-40 crops", "pca-mel"]
    loud = knowledge[knowledge["label"] == "loudness_db"].set_index("entry")
    assert (
        loud.loc["pca-mel", "value"] > 0.98 > loud.loc["paper-40 crops", "value"] > 0.5 > loud.loc["paper-40", "value"]
    )
    assert set(knowledge.loc[knowledge["label"] == "brass", "reason"]) == {
        "none of 144 train clips differ from the rest"
    }
    found = tabulated["retrieval"]
    assert set(found["what"]) == {"same work", "same composer", "same key"}
    assert (found["map"] > 0.0).all()
    assert (found["queries"] > 20).all()
    pairs = tabulated["meaning_pairs"]
    loud = pairs[pairs["label"] == "loudness_db"].set_index(["a", "b"])["better"]
    assert loud[("ali/paper-40", "embeddings/pca-mel")] == "b"


def test_a_model_that_lacks_a_fold_is_in_no_table(original, tabulated, settings):
    assert len(tabulated["attributes"])
    assert tables.tabulate_meaning(original, [FOLD.name, "work-1"], params.check(settings).probe) == {}


def test_the_pictures_show_the_chosen_models_and_are_left_out_without_any(tabulated, tmp_path):
    pictures.write_figures(tabulated, ["vae-mel"], tmp_path)
    pictures.write_figures({}, ["pca-mel"], tmp_path)
    assert not list(tmp_path.iterdir())
    pictures.write_figures(tabulated, ["pca-mel", "vae-mel", "paper-40"], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"profile.png", "retrieval.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_the_values_of_a_fold_follow_from_the_sums_of_its_works(original):
    folder = results_of(original, "ali", "paper-40")
    works = read_table(folder / "works.csv", "meaning")
    sums = works.groupby(["readout", "label", "measure"])[["score", "baseline", "weight", "clips"]].sum()
    for line in read_table(folder / "meaning.csv", "meaning").to_dict("records"):
        if line["reason"]:
            continue
        own = sums.loc[(line["readout"], line["label"], line["measure"])]
        assert line["value"] == pytest.approx(own["score"] / own["weight"])
        assert line["baseline"] == pytest.approx(own["baseline"] / own["weight"])
        assert line["clips"] == own["clips"]


def test_the_numbers_are_in_the_models_run(original, monkeypatch):
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    (logged,) = runs(original, stage="ali")
    assert logged.info.status == "FINISHED"
    table = read_table(results_of(original, "ali", "paper-40") / "meaning.csv", "meaning")
    for readout, before in (("", ""), ("crops", "crops.")):
        value = table[(table["readout"] == readout) & (table["label"] == "loudness_db")]["value"].item()
        assert logged.data.metrics[f"{before}meaning.loudness_db.r2"] == pytest.approx(value)
        assert f"{before}meaning.same_work.map" in logged.data.metrics
    assert not [name for name in logged.data.metrics if "brass" in name]
    assert {file.path for file in client(original).list_artifacts(logged.info.run_id, "meaning")} == {
        "meaning/meaning.csv", "meaning/retrieval.csv"
    }  # fmt: skip


def test_a_second_run_gives_the_same_files(evaluated, changed):
    before = files_of(evaluated.out("meaning"))
    meaning.run(evaluated, changed())
    assert files_of(evaluated.out("meaning")) == before


def test_one_model_is_evaluated_anew_and_the_others_keep_their_values(evaluated, changed):
    before = read_json(evaluated.out("meaning", "work-0.json"), "")
    _, labels = corpus()
    add(evaluated, "embeddings", "pca", "mel", {"vectors": encoding(labels, noise=9.0)})
    write_table(evaluated.out("labels", "labels.csv"), labels.assign(brass=labels["keys"]))
    kept = files_of(results_of(evaluated, "ali", "paper-40"))
    meaning.run(evaluated, changed(), "embeddings", "pca-mel")
    table = read_table(results_of(evaluated, "embeddings", "pca-mel") / "meaning.csv", "meaning")
    assert not table["reason"].any()  # brass sounds now
    assert files_of(results_of(evaluated, "ali", "paper-40")) == kept
    after = read_json(evaluated.out("meaning", "work-0.json"), "")
    assert after["ali"] == before["ali"]
    name = "meaning.loudness_db.r2"
    assert after["embeddings"]["pca-mel"][name] < 0.9 < before["embeddings"]["pca-mel"][name]


def test_results_of_removed_models_are_removed_unless_one_model_is_selected(evaluated, changed):
    shutil.rmtree(evaluated.out("embeddings", FOLD.name, "pca-mel"))
    meaning.run(evaluated, changed(), "ali", "paper-40")
    assert results_of(evaluated, "embeddings", "pca-mel").is_dir()
    meaning.run(evaluated, changed())
    assert not results_of(evaluated, "embeddings", "pca-mel").exists()
    assert set(read_json(evaluated.out("meaning", "work-0.json"), "")) == {"ali"}


def test_every_fold_is_evaluated_or_the_one_that_is_named(evaluated, changed):
    other, (clips, labels) = SplitFold("clip", 0), corpus()
    write_table(evaluated.fold(other), clips.assign(split=clips["split"].to_numpy()[::-1]))
    add(evaluated, "embeddings", "pca", "mel", {"vectors": encoding(labels, noise=1.0)}, other)
    both = changed(folds=[FOLD.name, other.name])
    shutil.rmtree(evaluated.out("meaning"))
    meaning.run(evaluated, both, fold=other.name)
    assert set(files_of(results_of(evaluated, "embeddings", "pca-mel", other))) == WRITTEN
    assert not evaluated.out("meaning", FOLD.name).exists()
    meaning.run(evaluated, both)
    assert {path.name for path in evaluated.out("meaning").iterdir()} == {
        "work-0", "work-0.json", "clip-0", "clip-0.json"
    }  # fmt: skip
    with pytest.raises(UserError, match=r"no models in .*work-1.*`dvc repro` trains them"):
        meaning.run(evaluated, changed(folds=["work-1"]))


def test_classifiers_have_no_vectors(evaluated, changed):
    with pytest.raises(UserError, match="has vectors: a classifier has probabilities only"):
        meaning.run(evaluated, changed(), "classifiers")


def test_missing_labels_or_those_of_other_clips_are_rejected(evaluated, changed):
    path = evaluated.out("labels", "labels.csv")
    write_table(path, read_table(path, "labels")[:-1])
    with pytest.raises(UserError, match=r"the labels are of other clips than those of work-0; run `dvc repro`"):
        meaning.run(evaluated, changed())
    path.unlink()
    with pytest.raises(UserError, match=r"labels.csv is missing; `dvc repro labels` writes it"):
        meaning.run(evaluated, changed())


def test_vectors_of_other_clips_or_another_split_are_rejected(evaluated, changed):
    write_array(evaluated.out("embeddings", FOLD.name, "pca-mel", "vectors.npy"), np.zeros((3, 8), np.float32))
    with pytest.raises(UserError, match="holds 3 rows for 288 clips; run `dvc repro`"):
        meaning.run(evaluated, changed(), "embeddings", "pca-mel")
    clips = read_table(evaluated.fold(FOLD), "clips")
    write_table(evaluated.fold(FOLD), clips.assign(split=clips["split"].to_numpy()[::-1]))
    with pytest.raises(UserError, match="the clips have changed since the stage embeddings trained pca-mel; run `dvc"):
        meaning.run(evaluated, changed(), "embeddings", "pca-mel")


# the report -----------------------------------------------------------------------------------------------------------


def test_the_page_has_a_column_for_what_was_measured_and_a_reason_for_the_rest(tabulated):
    results = pd.DataFrame({"stage": ["embeddings", "ali"], "entry": ["pca-mel", "paper-40"]})
    by_name = {**tabulated, "results": results}
    found = page._meaning(by_name)["attributes"]
    assert found["columns"][:2] == ["loudness (R²)", "spectral centroid (log) (R²)"]
    assert list(found["rows"]) == [
        ("embeddings", "pca-mel", ""), ("ali", "paper-40", ""), ("ali", "paper-40 crops", "crops"),
    ]  # fmt: skip
    assert all(len(lines) == len(found["columns"]) for lines in found["rows"].values())
    assert found["reasons"] == {"none of 144 train clips differ from the rest": ["share of brass (R²)"]}
    assert page._meaning(by_name)["retrieval"]["columns"] == ["same work", "same composer", "same key"]


def test_a_report_without_this_stage_has_no_such_section(project, changed):
    assert tables.tabulate_meaning(project, ["work-0"], changed().probe) == {}
    assert page._meaning({"results": pd.DataFrame(columns=["stage", "entry"])}) == {}


def test_the_profile_shows_every_label_once_and_values_below_its_limit_as_arrows(tmp_path):
    rows = pd.DataFrame(
        [
            {"group": group, "label": label, "model": model, "value": value, "low": value - 0.1, "high": value + 0.1}
            for group, label in (("sound", "loudness"), ("sound", "centroid"), ("harmony", "key"))
            for model, value in (("pca-mel", 0.5), ("paper-40", -3.0))
        ]
    ).assign(baseline=0.0)
    fig = figures.profile(rows, "title")
    assert [axes.get_title(loc="left") for axes in fig.axes] == ["sound", "harmony"]
    assert [[text.get_text() for text in axes.get_yticklabels()] for axes in fig.axes] == [
        ["loudness", "centroid"], ["key"],
    ]  # fmt: skip
    edges = [line for line in fig.axes[0].lines if line.get_marker() == "<" and len(line.get_xdata())]
    (edge,) = edges
    left, right = fig.axes[0].get_xlim()
    assert all(left <= place <= right for place in edge.get_xdata())
    figures.save(tmp_path / "profile.png", fig)
    assert (tmp_path / "profile.png").stat().st_size > 5000
