"""What the vectors know of music: probes, retrieval, their tables over folds, and the stage."""

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

from conftest import ROOT, client, with_database
from symphony2vec import figures, params, tracking
from symphony2vec.errors import UserError
from symphony2vec.evaluation.meaning import probes, retrieval, summary, targets
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
    told = pd.DataFrame({"clip": clips["clip"], "loudness_db": rng.normal(-23.0, 3.0, count)})
    told["centroid_hz"] = 500.0 * 2.0 ** rng.normal(0.0, 0.5, count)
    told["notes_per_s"] = rng.gamma(4.0, 2.0, count)
    told["instruments"] = rng.integers(1, 12, count)
    told[list(targets.PITCH_CLASSES)] = rng.dirichlet(np.ones(12), count)
    told[list(targets.FAMILIES)] = rng.dirichlet(np.ones(6), count)
    told["brass"] = 0.0
    told["key"] = rng.choice(KEYS, count)
    told["mode"] = told["key"].str.split().str[1]
    return clips, told


def knowing(told: pd.DataFrame, noise: float = 0.0, seed: int = 1) -> np.ndarray:
    """Vectors (clips, D) that hold every label of one clip, linearly mixed."""
    rng = np.random.default_rng(seed)
    columns = ["loudness_db", "notes_per_s", "instruments", *targets.PITCH_CLASSES, *targets.FAMILIES]
    facts = np.column_stack([told[columns], np.log2(told["centroid_hz"]), pd.get_dummies(told["key"])]).astype(float)
    facts = (facts - facts.mean(axis=0)) / np.maximum(facts.std(axis=0), 1e-9)
    mixed = facts @ rng.standard_normal((facts.shape[1], facts.shape[1]))
    return (mixed + noise * rng.standard_normal(mixed.shape)).astype(np.float32)


def noise(clips: pd.DataFrame, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((len(clips), DIMENSIONS)).astype(np.float32)


def answered(vectors, clips, told, settings: params.Params) -> pd.DataFrame:
    """What is found of one fold, by label and measure."""
    found = summary.of_draw(meaning.ask(vectors, clips, told, settings), settings.probe)
    return found.set_index(["label", "measure"])


# probes ---------------------------------------------------------------------------------------------------------------


def test_vectors_that_hold_the_labels_are_read_and_noise_is_not(changed):
    clips, told = corpus()
    good, bad = (answered(vectors, clips, told, changed()) for vectors in (knowing(told), noise(clips)))
    for name in ("loudness_db", "centroid_hz", "notes_per_s", "instruments", "strings", "voices", "pitch_classes"):
        assert good.loc[(name, "r2"), "value"] > 0.98, name
        assert bad.loc[(name, "r2"), "value"] < 0.1, name
        assert good.loc[(name, "r2"), "baseline"] == 0.0
    assert good.loc[("pitch_classes", "correlation"), "value"] > 0.98
    assert good.loc[("key", "accuracy"), "value"] > 0.95
    assert good.loc[("mode", "accuracy"), "value"] > 0.95
    lost = bad.loc[("key", "accuracy")]
    assert abs(lost["value"] - lost["baseline"]) < 0.2


def test_a_label_that_does_not_vary_or_has_few_clips_is_no_number_but_a_reason(changed):
    clips, told = corpus()
    told.loc[clips["split"] == "test", "mode"] = np.nan
    told.loc[told.index[50:], "notes_per_s"] = np.nan
    voices = told["voices"].copy()
    told["voices"] = 0.0
    told.loc[:2, "voices"] = voices[:3]
    found = answered(knowing(told.fillna(0)), clips, told, changed())
    for label, measure, reason in (
        ("brass", "r2", "none of 144 train clips differ from the rest"),
        ("voices", "r2", "3 of 144 train clips differ from the rest"),
        ("mode", "accuracy", "known of no test clips"),
        ("notes_per_s", "r2", "known of 10 validation clips"),
    ):
        line = found.loc[(label, measure)]
        assert line["reason"] == reason
        assert np.isnan([line["value"], line["low"], line["high"], line["baseline"]]).all()
    assert ("pitch_classes", "correlation") in found.index


def test_clips_whose_label_is_not_known_are_left_out_and_counted(changed):
    clips, told = corpus()
    vectors = knowing(told)
    unknown = np.arange(len(clips)) % 3 == 0
    told.loc[unknown, ["loudness_db", "key"]] = np.nan
    found = answered(vectors, clips, told, changed())
    test = (clips["split"] == "test").to_numpy()
    for label, measure in (("loudness_db", "r2"), ("key", "accuracy")):
        line = found.loc[(label, measure)]
        assert (line["left_out"], line["clips"]) == ((test & unknown).sum(), (test & ~unknown).sum())
        assert line["value"] > 0.9
    assert found.loc[("notes_per_s", "r2"), "left_out"] == 0


def test_test_clips_never_reach_the_fit_nor_the_choice_of_strength(changed):
    clips, told = corpus()
    vectors, settings = knowing(told, noise=3.0), changed().meaning
    sides = clips["split"].to_numpy()
    training, validation, test = (np.flatnonzero(sides == side) for side in ("train", "validation", "test"))
    values = LABELS["loudness_db"].values(told)
    before = probes.ridge(vectors, values, training, validation, settings.penalties)
    spoiled, other = vectors.copy(), values.copy()
    spoiled[test], other[test] = 1e6, -1e6
    after = probes.ridge(spoiled, other, training, validation, settings.penalties)
    assert after.penalty == before.penalty
    np.testing.assert_array_equal(after.predict(vectors), before.predict(vectors))


def test_other_labels_of_the_test_clips_leave_every_strength_as_it_was(changed):
    clips, told = corpus()
    test = (clips["split"] == "test").to_numpy()
    _, others = corpus(seed=9)
    other = told.copy()
    other[test] = others[test]
    one, two = (answered(knowing(told, 2.0), clips, labels, changed()) for labels in (told, other))
    pd.testing.assert_series_equal(one["strength"], two["strength"])
    assert (one.loc["loudness_db", "value"] != two.loc["loudness_db", "value"]).all()


def test_the_ridge_is_scikit_learns_and_validation_chooses_its_penalty(changed):
    clips, told = corpus()
    vectors, settings = knowing(told, noise=4.0), changed().meaning
    sides = clips["split"].to_numpy()
    training, validation, test = (np.flatnonzero(sides == side) for side in ("train", "validation", "test"))
    values = LABELS["pitch_classes"].values(told)
    scaler = StandardScaler().fit(vectors[training].astype(float))
    scaled = scaler.transform(vectors.astype(float))
    by_hand = {p: Ridge(alpha=p * len(training)).fit(scaled[training], values[training]) for p in settings.penalties}
    error = {p: ((one.predict(scaled[validation]) - values[validation]) ** 2).sum() for p, one in by_hand.items()}
    best = min(error, key=error.get)
    assert min(settings.penalties) < best < max(settings.penalties)
    fitted = probes.ridge(vectors, values, training, validation, settings.penalties)
    assert fitted.penalty == best
    np.testing.assert_allclose(fitted.predict(vectors[test]), by_hand[best].predict(scaled[test]), atol=1e-6)


def test_a_step_along_the_weights_raises_what_they_were_fitted_to(changed):
    clips, told = corpus()
    rows = np.arange(len(clips))
    fitted = probes.ridge(knowing(told), LABELS["loudness_db"].values(told), rows[::2], rows[1::2], [0.001])
    step = fitted.weights[:, 0]
    before = knowing(told)[:5]
    assert (fitted.predict(before + 0.1 * step) > fitted.predict(before)).all()


def test_r2_is_that_against_the_mean_of_the_training_clips(changed):
    clips, told = corpus()
    vectors = knowing(told, noise=4.0)
    sides = clips["split"].to_numpy()
    training, validation, test = (np.flatnonzero(sides == side) for side in ("train", "validation", "test"))
    values = LABELS["loudness_db"].values(told)
    fitted = probes.ridge(vectors, values, training, validation, changed().meaning.penalties)
    error = ((values[test] - fitted.predict(vectors[test])) ** 2).sum()
    mean = ((values[test] - values[training].mean()) ** 2).sum()
    found = answered(vectors, clips, told, changed()).loc[("loudness_db", "r2"), "value"]
    assert found == pytest.approx(1.0 - error / mean)
    assert found != pytest.approx(r2_score(values[test], fitted.predict(vectors[test])))  # its mean is the test clips'


def test_a_probe_that_misleads_is_below_nothing(changed):
    clips, told = corpus()
    vectors = np.repeat(told[["loudness_db"]].to_numpy(np.float32), 2, axis=1)
    test = (clips["split"] == "test").to_numpy()
    vectors[test] = 2 * told["loudness_db"].mean() - vectors[test]
    assert answered(vectors, clips, told, changed()).loc[("loudness_db", "r2"), "value"] < -1.0


def test_a_profile_is_compared_over_its_twelve_classes():
    rng = np.random.default_rng(0)
    told, true = rng.random((2, 5, 12))
    expected = [pearsonr(a, b).statistic for a, b in zip(told, true, strict=True)]
    np.testing.assert_allclose(probes.correlation(told, true), expected)
    assert probes.correlation(np.ones((1, 12)), true[:1]) == [0.0]


def test_a_class_that_no_training_clip_has_counts_as_wrong(changed):
    clips, told = corpus()
    test = np.flatnonzero(clips["split"] == "test")
    before = answered(knowing(told), clips, told, changed()).loc[("key", "accuracy")]
    vectors = knowing(told)
    strange = told.copy()
    strange.loc[test[:10], "key"] = "F# major"
    validation = np.flatnonzero(clips["split"] == "validation")
    strange.loc[validation[:5], "key"] = "B minor"
    line = answered(vectors, clips, strange, changed()).loc[("key", "accuracy")]
    assert line["unseen"] == 10
    assert (line["clips"], line["works"]) == (before["clips"], before["works"]) == (72, 9)
    assert before["value"] == 1.0
    assert line["value"] == pytest.approx(1.0 - 10 / 72)


def test_the_order_of_the_clips_changes_nothing(changed):
    clips, told = corpus()
    vectors = knowing(told, noise=1.0)
    order = np.random.default_rng(3).permutation(len(clips))
    one = answered(vectors, clips, told, changed())
    mixed = (table.iloc[order].reset_index(drop=True) for table in (clips, told))
    two = answered(vectors[order], *mixed, changed())
    numbers = ["value", "low", "high", "baseline", "clips", "works", "strength"]
    pd.testing.assert_frame_equal(one[numbers], two[numbers], rtol=1e-3)


def test_the_scale_and_place_of_a_dimension_do_not_matter(changed):
    clips, told = corpus()
    vectors = knowing(told, noise=1.0).astype(np.float64)
    moved = vectors * np.geomspace(1e-3, 1e3, vectors.shape[1]) + 7.0
    one, two = (answered(values, clips, told, changed()) for values in (vectors, moved))
    pd.testing.assert_frame_equal(one[["value", "low", "high"]], two[["value", "low", "high"]], rtol=1e-3)


def test_vectors_that_are_not_numbers_are_refused(changed):
    clips, told = corpus()
    vectors = noise(clips)
    vectors[3, 2] = np.inf
    with pytest.raises(UserError, match="not finite numbers: the model that made them has diverged"):
        meaning.ask(vectors, clips, told, changed())


def test_labels_without_a_column_are_refused(changed):
    clips, told = corpus()
    for column in ("pc_7", "key"):
        with pytest.raises(UserError, match=f"lack the column '{column}'; `dvc repro labels` writes them again"):
            meaning.ask(noise(clips), clips, told.drop(columns=column), changed())


# retrieval ------------------------------------------------------------------------------------------------------------


def test_average_precision_is_scikit_learns_where_nothing_is_equally_near():
    rng = np.random.default_rng(0)
    for _ in range(20):
        near, relevant = rng.standard_normal(30), rng.random(30) < 0.3
        relevant[0] = True
        assert retrieval.average_precision(near, relevant) == pytest.approx(average_precision_score(relevant, near))


def test_equally_near_candidates_are_taken_in_every_order():
    rng = np.random.default_rng(1)
    near, relevant = np.array([3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 0.0]), np.array([0, 1, 0, 1, 0, 1, 0], bool)
    orders = [near + 1e-3 * rng.standard_normal(7) for _ in range(1000)]
    mean = np.mean([average_precision_score(relevant, order) for order in orders])
    assert retrieval.average_precision(near, relevant) == pytest.approx(mean, abs=0.015)
    mixed = rng.permutation(7)
    assert retrieval.average_precision(near[mixed], relevant[mixed]) == retrieval.average_precision(near, relevant)


def test_chance_is_the_mean_over_random_orders():
    rng = np.random.default_rng(2)
    relevant = np.arange(40) < 7
    drawn = [average_precision_score(relevant, rng.random(40)) for _ in range(1000)]
    assert retrieval.chance(relevant) == pytest.approx(np.mean(drawn), abs=0.015)
    assert retrieval.chance(np.ones(5, bool)) == 1.0


def searched(vectors, clips, key, minimum: int = 1) -> dict[str, pd.Series]:
    """MAP and chance of each search."""
    found = {}
    for one in retrieval.retrieved(vectors, clips, key, minimum):
        assert one.measure == "MAP"
        sums = one.table[["clips", "score", "baseline", "weight"]].sum()
        found[one.label] = sums.rename(one.label)
    return found


def around(names: pd.Series, spread: float = 0.01) -> np.ndarray:
    """Vectors near one corner for each name."""
    codes = pd.factorize(names)[0]
    centres = np.eye(codes.max() + 1)[codes]
    return centres + spread * np.random.default_rng(0).standard_normal(centres.shape)


def test_clusters_are_found_whole_and_noise_at_the_level_of_chance():
    clips, told = corpus(works=24)
    key = told["key"].to_numpy(dtype=str)
    for what, names in (
        ("same work", clips["group"]), ("same composer", clips["composer"]), ("same key", told["key"]),
    ):  # fmt: skip
        sums = searched(around(names), clips, key)[what]
        assert sums["score"] / sums["weight"] == pytest.approx(1.0), what
        lost = searched(noise(clips), clips, key)[what]
        assert abs(lost["score"] - lost["baseline"]) / lost["weight"] < 0.04, what
        assert lost["baseline"] / lost["weight"] < 0.5


def test_vectors_that_are_all_one_lie_exactly_at_chance():
    clips, told = corpus()
    for sums in searched(np.ones((len(clips), 3)), clips, told["key"].to_numpy(dtype=str)).values():
        assert sums["score"] == pytest.approx(sums["baseline"])


def test_a_work_is_no_candidate_for_its_own_composer_or_key_nor_a_movement_for_its_work():
    """Clips that hold their own work, or movement, apart from all else gain nothing by it."""
    clips, told = corpus()
    key = told["key"].to_numpy(dtype=str)
    by_work = searched(around(clips["group"], spread=0.0), clips, key)
    by_movement = searched(around(clips["group"] + clips["movement"], spread=0.0), clips, key)
    for what in ("same composer", "same key"):
        assert by_work[what]["score"] == pytest.approx(by_work[what]["baseline"]), what
    assert by_work["same work"]["score"] == by_work["same work"]["weight"]
    assert by_movement["same work"]["score"] == pytest.approx(by_movement["same work"]["baseline"])


def test_clips_with_nothing_to_find_are_no_queries_and_are_counted():
    clips, told = corpus()
    test = (clips["split"] == "test").to_numpy()
    short = test & (clips["work"] == "3").to_numpy()
    clips = clips[~(short & (clips["movement"] == "1"))]
    alone = (clips["composer"] == "Mahler") & (clips["split"] == "test") & (clips["work"] != "3")
    clips = clips[~alone].reset_index(drop=True)
    told = told.iloc[: len(clips)]
    key = np.where(np.arange(len(clips)) % 2, told["key"].to_numpy(dtype=str), "")
    found = {one.label: one for one in retrieval.retrieved(noise(clips), clips, key, 1)}
    own = clips[clips["split"] == "test"]
    single = int((own["work"] == "3").sum())
    assert found["same work"].left_out == single == 12
    assert not found["same work"].table["work"].str.endswith("/ 3").any()
    assert found["same composer"].left_out == (own["composer"] == "Mahler").sum() == 4
    assert found["same key"].left_out == (key[own.index] == "").sum()


def test_too_few_queries_are_no_number(changed):
    clips, told = corpus()
    told["key"] = ""
    *_, last = retrieval.retrieved(noise(clips), clips, told["key"].to_numpy(dtype=str), 20)
    assert (last.label, last.reason, len(last.table)) == ("same key", "no test clips have another to find", 0)
    line = summary.of_draw([last], changed().probe).iloc[0]
    assert np.isnan(line["value"])


def test_training_clips_are_neither_queries_nor_candidates():
    clips, told = corpus()
    vectors, key = knowing(told), told["key"].to_numpy(dtype=str)
    before = searched(vectors, clips, key)
    validation = (clips["split"] == "validation").to_numpy()
    vectors[validation] = 1e5
    key[validation] = "D major"
    for what, sums in searched(vectors, clips, key).items():
        pd.testing.assert_series_equal(sums, before[what])


# over folds -----------------------------------------------------------------------------------------------------------


def rows_of(vectors: dict[str, list[np.ndarray]], folds, settings) -> list[summary.Row]:
    """Rows as the stage would write them: for each name its vectors on each fold of (clips, labels)."""
    rows = []
    for name, own in vectors.items():
        answers = [meaning.ask(one, *fold, settings) for one, fold in zip(own, folds, strict=True)]
        found = [summary.of_draw(one, settings.probe) for one in answers]
        works = [
            pd.concat([part.table.assign(label=part.label, measure=part.measure) for part in one]) for one in answers
        ]
        rows.append(summary.Row("embeddings", name, "", found, works))
    return rows


@pytest.fixture(scope="module")
def over(settings):
    """Two folds of three models, one of which knows nothing, and the tables of them."""
    chosen = params.check(settings)
    folds = [corpus(seed=seed) for seed in (0, 1)]
    vectors = {
        "good": [knowing(told) for _, told in folds],
        "fair": [knowing(told, noise=3.0) for _, told in folds],
        "bad": [noise(clips) for clips, _ in folds],
    }
    rows = rows_of(vectors, folds, chosen)
    return rows, *summary.over_draws(rows, chosen.probe)


def test_a_value_is_the_mean_over_the_draws_and_lies_in_its_interval(over):
    rows, lines, _ = over
    assert len(lines) == len(rows) * len(rows[0].found[0])
    for row in rows:
        own = lines[lines["row"] == row.name].set_index(["label", "measure"])
        per_draw = [table.set_index(["label", "measure"])["value"] for table in row.found]
        np.testing.assert_allclose(own["value"], np.mean(per_draw, axis=0), atol=1e-4)
        np.testing.assert_allclose(own["spread"], np.std(per_draw, axis=0, ddof=1), atol=1e-4)
    measured = lines[lines["reason"] == ""]
    assert (measured["low"] <= measured["value"]).all()
    assert (measured["value"] <= measured["high"]).all()
    assert set(measured["folds"]) == {2}
    assert set(lines.loc[lines["label"] == "brass", "folds"]) == {0}


def test_pairs_are_said_to_differ_where_they_do(over):
    _, lines, pairs = over
    loud = pairs[pairs["label"] == "loudness_db"].set_index(["a", "b"])
    assert set(loud["better"]) == {"a"}  # good, fair and bad, in this order
    assert (loud["low"] > 0.0).all()
    value = lines[lines["label"] == "loudness_db"].set_index("row")["value"]
    expected = value["good"] - value["fair"]
    assert loud.loc[("embeddings/good", "embeddings/fair"), "difference"] == pytest.approx(expected, abs=2e-4)
    assert "brass" not in set(pairs["label"])
    assert set(pairs["measure"]) == {"r2", "correlation", "accuracy", "MAP"}


def test_the_same_vectors_twice_do_not_differ(changed):
    fold = corpus()
    vectors = knowing(fold[1], noise=2.0)
    rows = rows_of({"one": [vectors], "two": [vectors]}, [fold], changed())
    _, pairs = summary.over_draws(rows, changed().probe)
    assert (pairs[["difference", "low", "high"]] == 0.0).all(axis=None)
    assert set(pairs["better"]) == {""}


def test_what_one_draw_cannot_tell_comes_from_the_others(changed):
    folds = [corpus(seed=seed) for seed in (0, 1)]
    folds[1][1]["loudness_db"] = np.nan
    vectors = {"good": [knowing(told.fillna(0.0)) for _, told in folds]}
    lines, _ = summary.over_draws(rows_of(vectors, folds, changed()), changed().probe)
    loud = lines.set_index("label").loc["loudness_db"]
    assert (loud["folds"], loud["clips"], loud["left_out"], loud["reason"]) == (1, 72, 36, "")
    assert loud["value"] > 0.98


def test_an_interval_needs_three_works(changed):
    clips, told = corpus()
    few = ~((clips["split"] == "test") & (clips["composer"] != "Bach"))
    clips, told = clips[few].reset_index(drop=True), told[few].reset_index(drop=True)
    three = answered(knowing(told), clips, told, changed()).loc[("loudness_db", "r2")]
    assert three["works"] == 3
    assert three["low"] < three["high"]
    fewer = ~((clips["split"] == "test") & (clips["work"] == "3"))
    clips, told = clips[fewer].reset_index(drop=True), told[fewer].reset_index(drop=True)
    vectors = knowing(told)
    told["notes_per_s"] = told["notes_per_s"].where(np.arange(len(told)) % 2 == 0)
    settings = changed(meaning__minimum_clips=8)
    two = answered(vectors, clips, told, settings).loc[("loudness_db", "r2")]
    assert (two["works"], two["reason"]) == (2, "")
    assert np.isnan([two["low"], two["high"]]).all()
    assert two["value"] > 0.9
    rows = rows_of({"good": [vectors], "bad": [noise(clips)]}, [(clips, told)], settings)
    assert not len(summary.over_draws(rows, settings.probe)[1])


# the stage ------------------------------------------------------------------------------------------------------------

FOLD = SplitFold("work", 0)
WRITTEN = {"meaning.csv", "retrieval.csv", "works.csv", "record.json"}


def add(project: Project, stage: str, model: str, representation: str, arrays: dict[str, np.ndarray]) -> Path:
    """One finished training of a model on the one fold: its arrays by file name, and its run."""
    subject = tracking.Subject(stage, model, representation, FOLD.name)
    folder = project.out(stage, subject.name, FOLD.name)
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)
    with tracking.run(project, subject, {"dimensions": 8}, project.clips) as opened:
        tracking.write_record(folder / "run.json", opened, subject, "k", key_of(project.fold(FOLD)))
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory, settings, empty_database) -> Project:
    """A project whose models have been asked: PCA, ALI in two readouts, a classifier without vectors."""
    made = with_database(Project(tmp_path_factory.mktemp("original")), empty_database)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, made.root / name)
    clips, told = corpus()
    write_table(made.clips, clips.drop(columns=["group", "split"]))
    write_table(made.fold(FOLD), clips)
    write_table(made.out("labels", "labels.csv"), told)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.URI, raising=False)
        add(made, "embeddings", "pca", "mel", {"vectors": knowing(told)})
        readouts = {"vectors-crops": knowing(told, noise=1.0), "vectors-hidden": noise(clips)}
        add(made, "ali", "paper", "40", {"vectors": noise(clips), **readouts})
        add(made, "classifiers", "ff", "mel", {"probabilities": np.full((len(clips), 3), 1 / 3, np.float32)})
        meaning.run(made, params.check(settings))
    return made


@pytest.fixture
def asked(original, tmp_path, monkeypatch) -> Project:
    """A copy of the original for one test; its database is its own, too."""
    monkeypatch.delenv(tracking.URI, raising=False)
    shutil.copytree(original.root, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_stage_writes_its_tables_and_pictures(original):
    home = original.out("meaning")
    assert {path.parent.name for path in home.glob("*/*/work-0")} == {"pca-mel", "paper-40"}
    for folder in home.glob("*/*/work-0"):
        assert {path.name for path in folder.iterdir()} == WRITTEN
    assert {path.name for path in home.iterdir() if path.is_file()} == {
        "knowledge.csv", "retrieval.csv", "pairs.csv", "profile.png", "retrieval.png"
    }  # fmt: skip
    told = read_table(home / "knowledge.csv", "meaning")
    assert list(dict.fromkeys(told["row"])) == ["paper-40", "paper-40 crops", "pca-mel"]
    loud = told[told["label"] == "loudness_db"].set_index("row")
    assert (
        loud.loc["pca-mel", "value"] > 0.98 > loud.loc["paper-40 crops", "value"] > 0.5 > loud.loc["paper-40", "value"]
    )
    assert set(told.loc[told["label"] == "brass", "reason"]) == {"none of 144 train clips differ from the rest"}
    found = read_table(home / "retrieval.csv", "meaning")
    assert set(found["what"]) == {"same work", "same composer", "same key"}
    assert (found["map"] > 0.0).all()
    assert (found["queries"] > 20).all()


def test_what_is_written_of_a_draw_adds_up_from_its_works(original):
    folder = original.out("meaning", "ali", "paper-40", "work-0")
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
    monkeypatch.delenv(tracking.URI, raising=False)
    record = read_json(original.out("ali", "paper-40", "work-0", "run.json"), "ali")
    logged = client(original).get_run(record["run_id"])
    assert logged.info.status == "FINISHED"
    table = read_table(original.out("meaning", "ali", "paper-40", "work-0", "meaning.csv"), "meaning")
    for readout, before in (("", ""), ("crops", "crops.")):
        value = table[(table["readout"] == readout) & (table["label"] == "loudness_db")]["value"].item()
        assert logged.data.metrics[f"{before}meaning.loudness_db.r2"] == pytest.approx(value)
        assert f"{before}meaning.same_work.map" in logged.data.metrics
    assert not [name for name in logged.data.metrics if "brass" in name]
    assert {file.path for file in client(original).list_artifacts(record["run_id"], "meaning")} == {
        "meaning/meaning.csv", "meaning/retrieval.csv"
    }  # fmt: skip


def test_what_is_asked_already_is_kept_and_what_changed_is_asked_again(asked, changed):
    before = times(asked.out("meaning", "embeddings"))
    meaning.run(asked, changed())
    assert times(asked.out("meaning", "embeddings")) == before
    meaning.run(asked, changed(meaning__shown=["pca-mel"]))  # drawn otherwise, not asked otherwise
    assert times(asked.out("meaning", "embeddings")) == before
    _, told = corpus()
    add(asked, "embeddings", "pca", "mel", {"vectors": knowing(told, noise=9.0)})
    kept = times(asked.out("meaning", "ali"))
    meaning.run(asked, changed())
    assert times(asked.out("meaning", "ali")) == kept
    assert not set(times(asked.out("meaning", "embeddings")).items()) & set(before.items())
    write_table(asked.out("labels", "labels.csv"), told.assign(brass=told["keys"]))
    meaning.run(asked, changed(), "embeddings", "pca-mel")
    assert not read_table(asked.out("meaning", "embeddings", "pca-mel", "work-0", "meaning.csv"), "")["reason"].any()
    assert times(asked.out("meaning", "ali")) == kept


def test_what_is_gone_goes_and_one_model_alone_removes_nothing(asked, changed):
    shutil.rmtree(asked.out("embeddings", "pca-mel"))
    meaning.run(asked, changed(), "ali", "paper-40")
    assert asked.out("meaning", "embeddings", "pca-mel").is_dir()
    meaning.run(asked, changed())
    assert not asked.out("meaning", "embeddings", "pca-mel").exists()
    assert set(read_table(asked.out("meaning", "knowledge.csv"), "meaning")["model"]) == {"paper-40"}
    meaning.run(asked, changed(meaning__shown=["vae-mel"]))
    assert not asked.out("meaning", "profile.png").exists()


def test_only_the_draws_that_count_are_asked(asked, changed):
    with pytest.raises(UserError, match=r"no vectors of a fold by movement below .*; `dvc repro` makes them"):
        meaning.run(asked, changed(clips__splits=["movement", "work"]))


def test_a_classifier_alone_has_nothing_to_ask(asked, changed):
    with pytest.raises(UserError, match="has vectors: a classifier has probabilities alone"):
        meaning.run(asked, changed(), "classifiers")


def test_labels_that_are_missing_or_of_other_clips_are_refused(asked, changed):
    path = asked.out("labels", "labels.csv")
    write_table(path, read_table(path, "labels")[:-1])
    with pytest.raises(UserError, match=r"the labels are of other clips than .*work-0.csv; run `dvc repro`"):
        meaning.run(asked, changed())
    path.unlink()
    with pytest.raises(UserError, match=r"labels.csv is missing; `dvc repro labels` writes it"):
        meaning.run(asked, changed())


def test_vectors_of_another_split_or_of_other_clips_are_refused(asked, changed):
    folder = asked.out("embeddings", "pca-mel", "work-0")
    write_array(folder / "vectors.npy", np.zeros((3, 8), np.float32))
    record = folder / "run.json"
    record.write_text(record.read_text().replace('"key": "k"', '"key": "other"'))
    with pytest.raises(UserError, match="holds 3 rows for 288 clips; run `dvc repro`"):
        meaning.run(asked, changed(), "embeddings", "pca-mel")
    clips = read_table(asked.fold(FOLD), "clips")
    write_table(asked.fold(FOLD), clips.assign(split=clips["split"].to_numpy()[::-1]))
    with pytest.raises(UserError, match="the clips have changed since the stage embeddings made pca-mel; run `dvc"):
        meaning.run(asked, changed(), "embeddings", "pca-mel")


# the report -----------------------------------------------------------------------------------------------------------


def test_the_page_has_a_column_for_what_was_measured_and_a_reason_for_the_rest(original):
    told = tables.meaning(original)
    told["results"] = pd.DataFrame({"stage": ["embeddings", "ali"], "row": ["pca-mel", "paper-40"]})
    found = page._meaning(told)["knowledge"]
    assert found["columns"][:2] == ["loudness (R²)", "spectral centroid (log) (R²)"]
    assert list(found["rows"]) == [
        ("embeddings", "pca-mel", ""), ("ali", "paper-40", ""), ("ali", "paper-40 crops", "crops"),
    ]  # fmt: skip
    assert all(len(lines) == len(found["columns"]) for lines in found["rows"].values())
    assert found["reasons"] == {"none of 144 train clips differ from the rest": ["share of brass (R²)"]}
    assert page._meaning(told)["retrieval"]["columns"] == ["same work", "same composer", "same key"]


def test_a_report_without_this_stage_has_no_such_section(project):
    assert tables.meaning(project) == {}
    assert page._meaning({"results": pd.DataFrame(columns=["stage", "row"])}) == {}


def test_the_profile_shows_every_label_once_and_marks_what_lies_beyond_its_edge(tmp_path):
    rows = pd.DataFrame(
        [
            {"group": group, "label": label, "model": model, "value": value, "low": value - 0.1, "high": value + 0.1}
            for group, label in (("sound", "loudness"), ("sound", "centroid"), ("harmony", "key"))
            for model, value in (("pca-mel", 0.5), ("paper-40", -3.0))
        ]
    ).assign(baseline=0.0)
    drawn = figures.profile(rows, "title")
    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["sound", "harmony"]
    assert [[text.get_text() for text in axes.get_yticklabels()] for axes in drawn.axes] == [
        ["loudness", "centroid"], ["key"],
    ]  # fmt: skip
    edges = [line for line in drawn.axes[0].lines if line.get_marker() == "<" and len(line.get_xdata())]
    (edge,) = edges
    left, right = drawn.axes[0].get_xlim()
    assert all(left <= place <= right for place in edge.get_xdata())
    figures.save(tmp_path / "profile.png", drawn)
    assert (tmp_path / "profile.png").stat().st_size > 5000
