"""The first table of the report: which model represents a kind, and its comparison with the temporal model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from symphony2vec import figures
from symphony2vec.project import Project, write_array
from symphony2vec.report import first, tables

BOOTSTRAP = (500, 0.95, 0)  # resamples, confidence, seed


def entry(stage: str, name: str, right: int, validation: float = 0.5, folds: int = 3) -> tables.ResultsEntry:
    """An entry with `right` of ten clips correct in each of eight works on average, in every fold."""
    model, _, readout = name.partition(" ")
    works = pd.DataFrame({"work": list("abcdefgh"), "clips": 10, "right": right})
    works["right"] += np.array([1, -1] * 4)
    works = works.assign(movements=1, right_movements=1, right_works=1)
    scores: dict[str, Any] = dict.fromkeys(tables.MEANS.values(), 0.4) | {"validation_accuracy": validation}
    scores |= {"majority_accuracy": 0.2, "clips": {"test": 80}, "test_movements": 8, "test_works": 8}
    return tables.ResultsEntry(stage, model, readout, [scores] * folds, [works] * folds)


def tabulate(changed, *rows: tables.ResultsEntry, sizes: dict[tuple[str, str], int] | None = None) -> pd.DataFrame:
    return first.tabulate(*tables.tabulate_results(list(rows), *BOOTSTRAP), sizes or {}, changed()).set_index("entry")


def test_validation_accuracy_selects_the_model_of_a_kind(changed):
    table = tabulate(
        changed,
        entry("embeddings", "pca-mel", 8, validation=0.3),
        entry("embeddings", "pca-mfcc", 2, validation=0.6),
        entry("classifiers", "ff-crop", 9, validation=0.9),
        entry("classifiers", "ff-chroma", 5, validation=0.4),
        entry("classifiers", "lstm-mel chunks", 9, validation=0.9),
    )
    assert table.index.tolist() == ["pca-mfcc", "ff-chroma", "majority"]  # a crop and chunks are not whole clips
    assert table.loc["pca-mfcc", "what"] == "PCA, MFCC"
    assert table.loc["majority", "accuracy"] == 0.2


def test_each_model_is_compared_with_the_full_temporal_model(changed):
    table = tabulate(
        changed,
        entry("temporal", "full-40", 6, validation=0.1),
        entry("temporal", "full-40 pooled", 7),
        entry("temporal", "labels-40", 8),
        entry("embeddings", "vae-mel", 3),
        entry("ali", "paper-40", 6),
    )
    assert table["beaten"].to_dict() == {
        "full-40": "", "full-40 pooled": "", "paper-40": "no", "vae-mel": "yes", "labels-40": "better", "majority": "",
    }  # fmt: skip
    assert table["difference"].dropna().to_dict() == pytest.approx({"paper-40": 0.0, "vae-mel": 0.3, "labels-40": -0.2})
    assert (table["low"].dropna() <= table["difference"].dropna()).all()
    assert table.loc["full-40", "group"] == table.loc["vae-mel", "group"] == first.UNSUPERVISED
    assert table.loc["labels-40", "group"] == first.SUPERVISED


def test_with_two_folds_no_difference_is_significant(changed):
    table = tabulate(changed, entry("temporal", "full-40", 9, folds=2), entry("embeddings", "vae-mel", 1, folds=2))
    assert table.loc["vae-mel", "beaten"] == "few folds"
    assert table.loc["vae-mel", "low"] > 0.5


def test_without_a_temporal_model_nothing_is_compared(changed):
    table = tabulate(changed, entry("embeddings", "vae-mel", 3), entry("ali", "paper-40 crops", 6))
    assert table.index.tolist() == ["vae-mel", "paper-40 crops", "majority"]
    assert set(table["beaten"]) == {""}


def test_other_sizes_of_the_full_model_are_listed(changed):
    rows = [entry("temporal", f"full-{size}", 5) for size in (128, 40)]
    table = tabulate(changed, *rows, sizes={("temporal", "full-128"): 128, ("temporal", "full-40"): 40})
    assert table.index.tolist() == ["full-40", "full-128", "majority"]
    assert table["dimensions"].dropna().tolist() == [40, 128]
    assert table.loc["full-128", "beaten"] == "no"
    alone = tabulate(changed, rows[0], entry("embeddings", "ae-mel", 3))
    assert alone.loc["ae-mel", "beaten"] == "yes"  # another size is the reference where that of the others is not there


def test_the_length_of_the_input_follows_from_the_settings(changed):
    table = tabulate(
        changed,
        entry("ali", "paper-40", 5),
        entry("ali", "paper-40 crops", 5),
        entry("ali", "encoder-128", 5, validation=0.2),
        entry("ali", "encoder-128 crops", 5, validation=0.3),
        entry("classifiers", "lstm-mel", 5),
    )
    assert table["input"].to_dict() == {
        "paper-40": "0.74 s",
        "paper-40 crops": "10 s in crops of 0.74 s",
        "encoder-128 crops": "10 s in crops of 0.74 s",
        "lstm-mel": "10 s in chunks of 0.84 s",
        "majority": "none",
    }


def test_the_size_of_an_entry_is_that_of_its_readout(project):
    for name, size in (("vectors", 40), ("vectors-pooled", 256)):
        write_array(project.out("temporal", "work-0", "full-40", f"{name}.npy"), np.zeros((3, size), dtype=np.float32))
    lines = [("temporal", "full-40", "full-40", ""), ("temporal", "full-40 pooled", "full-40", "pooled"),
             ("classifiers", "ff-mel", "ff-mel", "")]  # fmt: skip
    results = pd.DataFrame(lines, columns=["stage", "entry", "model", "readout"])
    sizes = first.read_sizes(Project(project.root), results, "work-0")
    assert sizes == {("temporal", "full-40"): 40, ("temporal", "full-40 pooled"): 256}


def test_the_reference_model_has_its_own_colour_and_a_line():
    rows = pd.DataFrame({"group": ["a", "a", "b"], "label": ["x", "y", "z"], "mean": [0.5, 0.4, 0.6]})
    rows = rows.assign(low=rows["mean"] - 0.1, high=rows["mean"] + 0.1, own=[True, False, False])
    (axes,) = figures.comparison(rows, majority=0.2).axes
    dots = {line.get_xdata()[0]: line.get_color() for line in axes.lines if line.get_marker() == "o"}
    assert set(dots) == {0.5, 0.4, 0.6}
    assert dots[0.5] != dots[0.4] == dots[0.6]
    assert sorted(line.get_xdata()[0] for line in axes.lines if line.get_linestyle() in ("--", ":")) == [0.2, 0.5]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "x", "y", "b", "z"]
