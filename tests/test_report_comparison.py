"""What the report says of models that were probed on several folds: numbers, intervals, order."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from symphony2vec.errors import UserError
from symphony2vec.evaluation import statistics
from symphony2vec.project import Project, write_json, write_table
from symphony2vec.report import counts, stage, tables
from symphony2vec.report.tables import ResultsEntry

BOOTSTRAP = (1000, 0.95, 0)  # resamples, confidence, seed


def works(right: dict[str, int] | list[int], clips: int = 10) -> pd.DataFrame:
    """The table of one model and fold: works "0", "1", ... (or named ones) of so many clips, how many of them right.

    Each work has two movements: one is right if a clip is right, both and the work if more than half of the clips are.
    """
    named = right if isinstance(right, dict) else {str(number): count for number, count in enumerate(right)}
    table = pd.DataFrame({"work": list(named), "clips": clips, "right": list(named.values()), "movements": 2})
    most = (2 * table["right"] > table["clips"]).astype(int)
    return table.assign(right_movements=(table["right"] > 0).astype(int) + most, right_works=most)


def row(name: str, folds: list[pd.DataFrame], validation: float = 0.5, stage: str = "embeddings") -> ResultsEntry:
    """A row with these works in every fold; all that it says besides is made up."""
    model, _, readout = name.partition(" ")
    scores: list[dict[str, Any]] = [
        {
            **dict.fromkeys(tables.MEANS.values(), 0.4),
            "train_accuracy": 0.9,
            "validation_accuracy": validation,
            "majority_accuracy": 0.3,
            "test_movements": int(own["movements"].sum()),
            "clips": {"test": int(own["clips"].sum())},
            "test_works": len(own),
        }
        for own in folds
    ]
    return ResultsEntry(stage, model, readout, scores, folds)


def drawn(models: list[list[pd.DataFrame]], folds: int = 1000) -> np.ndarray:
    return statistics.bootstrap_accuracy(statistics.count(models), folds, seed=0)


def pair(one: list[pd.DataFrame], other: list[pd.DataFrame]) -> dict[str, Any]:
    """What the table of pairs says of two models."""
    _, pairs = tables.tabulate_results([row("one", one, 0.9), row("other", other, 0.1)], *BOOTSTRAP)
    (told,) = pairs[pairs["level"] == "clip"].to_dict("records")
    assert (told["a"], told["b"]) == ("embeddings/one", "embeddings/other")
    return told


def test_two_models_that_are_equal_clip_by_clip_differ_by_nothing_in_every_draw():
    own = [works([9, 1, 5, 0]), works([2, 7, 3, 10])]
    found = drawn([own, own])
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert np.ptp(found[:, 0]) > 0.1  # the draws themselves do differ
    told = pair(own, own)
    assert (told["difference"], told["low"], told["high"], told["better"]) == (0.0, 0.0, 0.0, "")


def test_twenty_points_on_every_work_are_better_however_much_the_works_differ():
    lower = [works([0, 8, 3, 1, 7, 5])] * 3
    higher = [works([2, 10, 5, 3, 9, 7])] * 3
    told = pair(higher, lower)
    assert (told["better"], told["difference"]) == ("a", 0.2)
    assert (told["low"], told["high"]) == pytest.approx((0.2, 0.2))  # paired: the works' own spread is gone
    assert pair(lower, higher)["better"] == "b"
    low, high = statistics.interval(drawn([lower, higher]), 0.95)
    assert low[1] < high[0]  # their own intervals overlap all the same


def test_with_fewer_than_three_draws_nothing_is_better():
    told = pair([works([2, 10, 5, 3])] * 2, [works([0, 8, 3, 1])] * 2)
    assert (told["difference"], told["better"]) == (0.2, "")
    assert told["low"] > 0.0


def test_one_better_work_of_three_is_not_enough():
    told = pair([works([10, 5, 5])] * 3, [works([4, 5, 5])] * 3)
    assert told["difference"] == 0.2
    assert told["low"] == 0.0 < told["high"]
    assert told["better"] == ""


def test_the_difference_and_its_interval_change_sign_with_the_models():
    one, other = [works([9, 4, 6, 8])], [works([5, 6, 2, 8])]
    found = drawn([one, other])
    low, high = statistics.paired_differences(found, 0.95)
    np.testing.assert_allclose(low, -high.T)
    np.testing.assert_array_equal(np.diag(low), [0.0, 0.0])
    assert low[0, 1] < 0.2 < high[0, 1]


def correlated(rng: np.random.Generator, groups: int, folds: int) -> list[pd.DataFrame]:
    """Works whose shares differ a lot around 0.6, each tested in some of the folds, with nearly one outcome in all."""
    share = rng.beta(1.2, 0.8, size=groups)  # of one work: easy or hard, in every fold
    tables_ = []
    for _ in range(folds):
        tested = np.flatnonzero(rng.random(groups) < 0.5)
        tables_.append(works({str(g): int(rng.binomial(8, share[g])) for g in tested}, clips=8))
    return tables_


def test_the_interval_holds_the_truth_about_as_often_as_it_says_where_works_are_correlated():
    rng = np.random.default_rng(4)
    held, naive, rounds = 0, 0, 200
    for _ in range(rounds):
        own = correlated(rng, groups=40, folds=3)
        low, high = statistics.interval(drawn([own], folds=300), 0.95)
        held += low[0] <= 0.6 <= high[0]
        shares = pd.concat(own)
        mean, count = shares["right"].sum() / shares["clips"].sum(), shares["clips"].sum()
        naive += abs(mean - 0.6) <= 1.96 * np.sqrt(mean * (1 - mean) / count)
    assert 0.88 <= held / rounds <= 0.99
    assert naive / rounds < 0.8  # clips taken for independent promise too much


def test_more_draws_of_the_same_works_do_not_narrow_the_interval():
    once = [works([9, 1, 5, 0, 8, 3])]
    (low_1,), (high_1,) = statistics.interval(drawn([once]), 0.95)
    (low_5,), (high_5,) = statistics.interval(drawn([once * 5]), 0.95)
    assert (low_5, high_5) == pytest.approx((low_1, high_1))


def test_the_mean_over_draws_is_the_plain_mean_of_their_accuracies():
    small, large = works([4, 2], clips=4), works([30, 10, 20], clips=100)  # 6 of 8, 60 of 300
    counts = statistics.count([[small, large]])
    np.testing.assert_allclose(counts.accuracy(), [[0.75, 0.2]])
    table, _ = tables.tabulate_results([row("one", [small, large])], *BOOTSTRAP)
    assert table["accuracy"].tolist() == [0.475]
    assert table["spread"].tolist() == pytest.approx([np.std([0.75, 0.2], ddof=1)], abs=1e-4)
    assert table["folds"].tolist() == [2]


def test_a_resample_too_gives_every_draw_the_same_weight():
    found = drawn([[works([3], clips=4), works([20], clips=100)]])
    np.testing.assert_allclose(found, 0.475)


def test_one_draw_has_no_spread():
    table, _ = tables.tabulate_results([row("one", [works([4, 2])])], *BOOTSTRAP)
    assert table["spread"].isna().all()


def test_works_that_are_not_in_every_draw_count_where_they_are():
    first, second = works({"a": 10, "b": 0}), works({"c": 5})
    counts = statistics.count([[first, second]])
    np.testing.assert_array_equal(counts.clips, [[[10, 10, 0], [0, 0, 10]]])
    np.testing.assert_array_equal(counts.right, [[[10, 0, 0], [0, 0, 5]]])
    assert counts.accuracy().tolist() == [[0.5, 0.5]]


def test_a_resample_without_any_work_of_a_draw_is_the_mean_of_the_other_draws():
    first, second = works({"a": 10}), works({"b": 0})
    found = drawn([[first, second]], folds=2000)[:, 0]
    assert set(np.unique(found)) == {0.0, 0.5, 1.0}  # a alone, both, b alone
    assert np.mean(found == 0.5) == pytest.approx(0.5, abs=0.05)
    assert np.isfinite(found).all()


def test_the_order_of_the_works_in_a_table_does_not_matter():
    own, again = works({"a": 1, "b": 9, "c": 4}), works({"c": 4, "a": 1, "b": 9})
    found = drawn([[own], [again]])
    np.testing.assert_array_equal(found[:, 0], found[:, 1])


def many(outcomes: list[int]) -> list[ResultsEntry]:
    """Six rows of rising validation accuracy, two of them equal, and these test outcomes."""
    names = ["pca-mel", "vae-mel", "ae-mel", "pca-mfcc", "vae-mfcc", "ae-mfcc"]
    validation = [0.2, 0.3, 0.4, 0.4, 0.5, 0.6]
    return [
        row(name, [works([right, 5])] * 3, share)
        for name, share, right in zip(names, validation, outcomes, strict=True)
    ]


def test_only_validation_orders_the_rows():
    outcomes = [10, 8, 6, 4, 2, 0]  # on test it is the other way round
    expected = ["ae-mfcc", "vae-mfcc", "ae-mel", "pca-mfcc", "vae-mel", "pca-mel"]
    for permuted in itertools.islice(itertools.permutations(outcomes), 0, 720, 97):
        table, _ = tables.tabulate_results(many(list(permuted)), 10, 0.95, 0)
        assert table["entry"].tolist() == expected
        right = dict(zip(["pca-mel", "vae-mel", "ae-mel", "pca-mfcc", "vae-mfcc", "ae-mfcc"], permuted, strict=True))
        assert table["accuracy"].tolist() == [(right[name] + 5) / 20 for name in expected]  # each has its own


def test_every_pair_is_there_once_and_agrees_with_the_rows():
    table, pairs = tables.tabulate_results(many([10, 8, 6, 4, 2, 0]), *BOOTSTRAP)
    lines = table.set_index("embeddings/" + table["entry"])
    for level in ("clip", "movement", "work"):
        own = pairs[pairs["level"] == level]
        assert len({frozenset(one) for one in zip(own["a"], own["b"], strict=True)}) == len(own) == 15
    for told in pairs.to_dict("records"):
        accuracy = lines[{"clip": "accuracy"}.get(told["level"], f"{told['level']}_accuracy")]
        assert told["difference"] == pytest.approx(accuracy[told["a"]] - accuracy[told["b"]], abs=1e-4)
        assert told["low"] <= told["difference"] <= told["high"]
        assert told["better"] == ("a" if told["low"] > 0 else "b" if told["high"] < 0 else "")


def test_the_interval_of_a_row_belongs_to_that_row():
    sure, unsure = row("sure", [works([6, 6, 6, 6])], 0.1), row("unsure", [works([0, 10, 0, 10])], 0.9)
    table, _ = tables.tabulate_results([sure, unsure], *BOOTSTRAP)
    lines = table.set_index("entry")
    assert lines.loc["sure", ["accuracy_low", "accuracy_high"]].tolist() == [0.6, 0.6]
    assert lines.loc["unsure", ["accuracy_low", "accuracy_high"]].tolist() == [0.0, 1.0]


def test_the_papers_figures_stand_at_their_rows():
    assert tables.PAPER["classifiers", "ff-mfcc"] == 57.8605
    assert tables.PAPER["embeddings", "pca-mel"] == 28.24
    assert tables.PAPER["ali", "encoder-128"] == 40.63
    assert tables.PAPER_TRAIN["ali", "paper-256"] == 38.24
    names = [
        ("classifiers", "ff-mfcc"),
        ("embeddings", "pca-mel"),
        ("ali", "encoder-128"),
        ("ali", "encoder-128 crops"),
    ]
    found = [row(name, [works([5, 5])], stage=stage) for stage, name in names]
    table, _ = tables.tabulate_results(found, *BOOTSTRAP)
    lines = table.set_index("entry")["paper"]
    assert lines[["ff-mfcc", "pca-mel", "encoder-128"]].tolist() == pytest.approx([0.578605, 0.2824, 0.4063])
    assert np.isnan(lines["encoder-128 crops"])  # the paper has no such reading


def probed(project: Project, stage: str, model: str, fold: str, right: dict[str, list[int]]) -> None:
    """What the stage `probe` writes of one model on one fold, for each readout the right clips of its works."""
    folder, made = (
        project.out("probe", fold, stage, model),
        {name: row("x", [works(own)]) for name, own in right.items()},
    )
    scores = [{"readout": name, **one.scores[0]} for name, one in made.items()]
    write_json(folder / "scores.json", {"scores": scores})
    write_table(folder / "works.csv", pd.concat([one.works[0].assign(readout=name) for name, one in made.items()]))


def test_rows_are_read_with_each_reading_its_own_works(project):
    for fold, right in (("work-0", [9, 1]), ("work-1", [7, 1])):
        probed(project, "ali", "paper-8", fold, {"": [0, 1], "crops": right})
    plain, averaged = tables.read_entries(project, ["work-0", "work-1"])
    assert (plain.name, averaged.name) == ("paper-8", "paper-8 crops")
    assert [own["right"].tolist() for own in plain.works] == [[0, 1], [0, 1]]
    assert [own["right"].tolist() for own in averaged.works] == [[9, 1], [7, 1]]


def test_a_model_that_lacks_a_draw_is_left_out_and_no_model_at_all_is_an_error(project):
    probed(project, "embeddings", "pca-mel", "work-0", {"": [1, 2]})
    probed(project, "embeddings", "pca-mel", "work-1", {"": [1, 2]})
    probed(project, "embeddings", "vae-mel", "work-0", {"": [1, 2]})
    assert [one.name for one in tables.read_entries(project, ["work-0", "work-1"])] == ["pca-mel"]
    with pytest.raises(UserError, match=r"no scores below .*`dvc repro probe` writes them"):
        tables.read_entries(project, ["work-2"])


def leaked(project: Project, **kinds: list[str]) -> pd.DataFrame:
    """The table of the leak, of the folds of each kind of split."""
    return tables.tabulate_leakage(
        {kind: tables.read_entries(project, folds) for kind, folds in kinds.items()}, *BOOTSTRAP
    )


def test_the_leak_has_one_line_a_row_and_split(project):
    for model, fold, right in itertools.product(("pca-mel", "vae-mel"), ("work-0", "work-1", "clip-0"), ([2, 4],)):
        by = 3 if fold.startswith("clip") else 0
        probed(project, "embeddings", model, fold, {"": [one + by for one in right]})
    probed(project, "ali", "paper-8", "work-0", {"": [1, 1], "crops": [2, 2]})
    probed(project, "ali", "paper-8", "work-1", {"": [1, 1], "crops": [2, 2]})
    probed(project, "ali", "paper-8", "clip-0", {"": [8, 8], "crops": [9, 9]})
    kinds = {"work": ["work-0", "work-1"], "clip": ["clip-0"]}
    table = leaked(project, **kinds)
    models = {"pca-mel", "vae-mel", "paper-8", "paper-8 crops"}
    assert len(table) == 8
    assert set(zip(table["model"], table["split"], strict=True)) == set(itertools.product(models, kinds))
    mean = table.set_index(["model", "split"])["mean"]
    assert (mean["pca-mel", "work"], mean["pca-mel", "clip"]) == (0.3, 0.6)
    assert (mean["paper-8 crops", "work"], mean["paper-8 crops", "clip"]) == (0.2, 0.9)
    assert table.groupby("split")["folds"].unique().map(list).to_dict() == {"work": [2], "clip": [1]}
    above = table.set_index(["split", "model"])[["difference", "difference_low", "difference_high"]]
    assert above.loc["work"].isna().all(axis=None)
    np.testing.assert_allclose(above.loc[("clip", "pca-mel")], 0.3)  # in every work alike, so in every resample
    assert above.loc[("clip", "paper-8 crops"), "difference"] == pytest.approx(0.7)


def test_what_a_leak_is_worth_has_the_interval_of_works_that_gain_unlike(project):
    probed(project, "embeddings", "pca-mel", "work-0", {"": [0, 2, 4, 6]})
    probed(project, "embeddings", "pca-mel", "clip-0", {"": [0, 4, 8, 9]})
    probed(project, "embeddings", "vae-mel", "work-0", {"": [1, 1, 1, 1]})
    table = leaked(project, work=["work-0"], clip=["clip-0"]).set_index(["split", "model"])
    told = table.loc[("clip", "pca-mel")]
    assert (told["mean"], told["difference"]) == (0.525, 0.225)
    gains = np.random.default_rng(1).choice([0.0, 0.2, 0.4, 0.3], size=(20000, 4)).mean(axis=1)
    ends = np.quantile(gains, [0.025, 0.975])
    assert (told["difference_low"], told["difference_high"]) == pytest.approx(ends, abs=0.03)
    assert ("clip", "vae-mel") not in table.index


def test_what_a_leak_is_worth_is_told_where_the_splits_share_few_works(project):
    for fold, own in (("work-0", {"a": 2, "b": 4}), ("clip-0", {"b": 9, "c": 9})):
        for model in ("pca-mel", "vae-mel"):
            probed(project, "embeddings", model, fold, {"": own})
    table = leaked(project, work=["work-0"], clip=["clip-0"]).set_index(["split", "model"])
    told = table.loc[("clip", "pca-mel"), ["difference", "difference_low", "difference_high"]]
    assert told.tolist() == pytest.approx([0.6, 0.5, 0.7])  # a resample of a alone, or of c alone, tells nothing


def counted(path: Path, rows: list[ResultsEntry], folds: int = 3) -> Path:
    """The table of counts of rows on the folds work-0, work-1, ..."""
    write_table(path, counts.tabulate([([f"work-{number}" for number in range(folds)], rows)]))
    return path


def test_counts_hold_every_work_of_every_row_and_draw(tmp_path):
    own = [row("pca-mel", [works([9, 1]), works([5, 0])]), row("lstm-mel chunks", [works([3, 4]), works([2, 2])])]
    table = counts.tabulate([(["work-0", "work-1"], own)])
    keys = ["stage", "model", "readout", "fold", "work"]
    assert list(table.columns) == [*keys, "clips", "right", "movements", "right_movements", "right_works"]
    kept = table.set_index(["model", "readout", "fold", "work"])["right"].to_dict()
    assert len(kept) == len(table) == 8
    assert (kept["pca-mel", "", "work-1", "0"], kept["lstm-mel", "chunks", "work-0", "1"]) == (5, 4)


def test_a_row_against_the_others_says_what_the_pairs_say(tmp_path):
    good, bad = [works([9, 8, 9, 7])] * 3, [works([2, 4, 3, 1])] * 3
    near = [works([9, 8, 8, 8])] * 3
    rows = [row("ff-mel", good, stage="classifiers"), row("pca-mel", bad), row("vae-mel", near)]
    told = counts.compare(counted(tmp_path / "counts.csv", rows), "ff-mel", "work", "clip", *BOOTSTRAP).splitlines()
    _, pairs = tables.tabulate_results(rows, *BOOTSTRAP)
    assert [line.split()[0] for line in told[1:3]] == ["embeddings/pca-mel", "embeddings/vae-mel"]
    for line, better in zip(told[1:3], ("significantly better", ""), strict=True):
        of_line = (pairs["a"] == "classifiers/ff-mel") & (pairs["b"] == line.split()[0])
        (pair,) = pairs[of_line & (pairs["level"] == "clip")].to_dict("records")
        ends = f"[{100 * pair['low']:+.1f}, {100 * pair['high']:+.1f}]"
        assert f"{100 * pair['difference']:+.1f}  {ends}" in line
        assert line.endswith(better or ends)
    assert told[0].startswith("classifiers/ff-mel, 82.5 %, minus")
    assert "over 4 works, mean of 3 folds by work" in told[-1]


def test_a_row_is_held_only_against_rows_on_the_same_draws(tmp_path):
    table = counts.tabulate([
        (["work-0", "work-1"], [row("pca-mel", [works([1, 2])] * 2), row("vae-mel", [works([2, 2])] * 2)]),
        (["work-0"], [row("cae-mel", [works([1, 1])])]),
        (["clip-0"], [row("pca-mel", [works([9, 9])]), row("vae-mel", [works([9, 8])])]),
    ])  # fmt: skip
    write_table(tmp_path / "counts.csv", table)
    told = counts.compare(tmp_path / "counts.csv", "pca-mel", "work", "clip", *BOOTSTRAP)
    assert "vae-mel" in told
    assert "cae-mel" not in told
    assert "15.0 %" in told
    assert "no difference is called significant" in told
    with pytest.raises(UserError, match=r"no other model was tested on the folds of embeddings/cae-mel \(work-0\)"):
        counts.compare(tmp_path / "counts.csv", "cae-mel", "work", "clip", *BOOTSTRAP)
    with pytest.raises(UserError, match="no fold of the split by movement; it has clip-0, work-0, work-1"):
        counts.compare(tmp_path / "counts.csv", "pca-mel", "movement", "clip", *BOOTSTRAP)


def test_a_row_that_is_not_there_or_not_one_is_named_with_those_that_are(tmp_path):
    own = [works([1, 2])] * 3
    rows = [row("encoder-128", own), row("encoder-128", own, stage="ali"), row("vae-mel", own)]
    path = counted(tmp_path / "counts.csv", rows)
    with pytest.raises(UserError, match="'encoder-128' is a model of several stages: ali/encoder-128, embeddings/"):
        counts.compare(path, "encoder-128", "work", "clip", *BOOTSTRAP)
    assert "ali/encoder-128, 15.0 %, minus" in counts.compare(path, " ali/encoder-128 ", "work", "clip", *BOOTSTRAP)
    with pytest.raises(UserError, match="has no model 'vea-mel'; similar: vae-mel"):
        counts.compare(path, "vea-mel", "work", "clip", *BOOTSTRAP)


def test_movements_and_works_are_compared_as_clips_are(tmp_path):
    good, bad = [works([6, 9, 1, 0])] * 3, [works([4, 2, 4, 6])] * 3
    path = counted(tmp_path / "counts.csv", [row("pca-mel", good), row("vae-mel", bad)])
    accuracies = {"clip": (40.0, 40.0), "movement": (62.5, 62.5), "work": (50.0, 25.0)}
    for level, (one, other) in accuracies.items():
        told = counts.compare(path, "pca-mel", "work", level, *BOOTSTRAP).splitlines()
        assert told[0].startswith(f"embeddings/pca-mel, {one:.1f} %, minus")
        assert told[1].split()[1:3] == [f"{other:.1f}", f"{one - other:+.1f}"]
        assert told[-1].startswith(f"accuracy on {level}s, differences in percentage points")


def test_counts_of_clips_alone_say_that_they_are(tmp_path):
    path = counted(tmp_path / "counts.csv", [row("pca-mel", [works([1, 2])] * 3), row("vae-mel", [works([2, 2])] * 3)])
    write_table(
        path, pd.read_csv(path, keep_default_na=False).drop(columns=["movements", "right_movements", "right_works"])
    )
    assert "pca-mel" in counts.compare(path, "pca-mel", "work", "clip", *BOOTSTRAP)
    with pytest.raises(UserError, match="has no counts of works, only of clips; `dvc repro` writes both"):
        counts.compare(path, "pca-mel", "work", "work", *BOOTSTRAP)


def test_every_level_has_its_accuracy_interval_and_pairs():
    rows = [row("one", [works([6, 9, 1, 0])] * 3), row("other", [works([4, 2, 4, 6])] * 3)]
    table, pairs = tables.tabulate_results(rows, *BOOTSTRAP)
    one = table.set_index("entry").loc["one"]
    assert one[["accuracy", "movement_accuracy", "work_accuracy"]].tolist() == [0.4, 0.625, 0.5]
    assert (one["clips"], one["movements"], one["works"]) == (40, 8, 4)
    for level, column in tables.ACCURACIES.items():
        own = statistics.count([entry.works for entry in rows], level)
        low, high = statistics.interval(statistics.bootstrap_accuracy(own, BOOTSTRAP[0], BOOTSTRAP[2]), BOOTSTRAP[1])
        assert one[[f"{column}_low", f"{column}_high"]].tolist() == pytest.approx([low[0], high[0]])
    assert pairs.set_index("level")["difference"].to_dict() == {"clip": 0.0, "movement": 0.0, "work": 0.25}


@pytest.mark.parametrize(("text", "told"), [
    ("a,b\n1,2\n", "is not a table of counts: column stage is missing"),
    ("a\n1,2\n3,4,5\n", "is not a table of counts \\(columns stage,"),
])  # fmt: skip
def test_another_table_is_refused_in_one_line(text, told, tmp_path):
    path = tmp_path / "other.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        counts.compare(path, "vae-mel", "work", "clip", *BOOTSTRAP)


def test_results_of_an_earlier_version_are_one_line(tracked):
    path = tracked.out("report", "results.csv")
    write_table(path, pd.DataFrame({"row": ["pca-mel"], "accuracy": [0.5]}))
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} was written by an earlier version; run `dvc repro`"):
        stage.format_results(tracked)
