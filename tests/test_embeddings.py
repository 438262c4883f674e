from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from conftest import client, runs
from symphony2vec import embeddings, tracking
from symphony2vec.artifacts import clips_hash, write_table
from symphony2vec.errors import UserError
from symphony2vec.features import moments, normalised_batches


def flat(clips: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((clips, 12)) @ rng.standard_normal((12, 60)) + 0.1).astype(np.float32)


def test_with_one_batch_it_is_the_exact_pca(changed):
    settings = changed(embeddings__dimensions=6, embeddings__pca__batch_clips=1024).embeddings
    data = flat()
    ours, exact = embeddings.fit_pca(iter([data]), len(data), settings), PCA(6, svd_solver="full").fit(data)
    np.testing.assert_allclose(np.abs(ours.transform(data)), np.abs(exact.transform(data)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours.explained_variance_ratio_, exact.explained_variance_ratio_, rtol=1e-3)


def test_in_batches_it_keeps_nearly_the_same_variance(changed):
    settings = changed(embeddings__dimensions=6, embeddings__pca__batch_clips=50).embeddings
    data = flat()
    ours = embeddings.fit_pca(iter(np.array_split(data, 6)), len(data), settings)
    best = PCA(6, svd_solver="full").fit(data).explained_variance_ratio_.sum()
    assert 0.95 * best < ours.explained_variance_ratio_.sum() <= 1.001 * best


def test_too_few_clips_and_too_small_batches_are_errors_that_say_what_to_change(changed):
    with pytest.raises(
        UserError, match="dimensions is 40, but there are only 12 training clips; lower it or add music"
    ):
        embeddings.fit_pca(iter([flat(12)]), 12, changed().embeddings)
    with pytest.raises(UserError, match="batch_clips is 50; with 40 dimensions it must be 80 or more"):
        embeddings.fit_pca(iter([flat()]), 300, changed(embeddings__pca__batch_clips=50).embeddings)


def test_batches_hold_every_row_once_normalised_in_order():
    array = np.random.default_rng(0).standard_normal((103, 3, 5)).astype(np.float32) * 4 + 2
    rows = np.arange(3, 103)
    mean, deviation = moments(array, rows)
    batches = list(normalised_batches(array, rows, mean, deviation, 32))
    assert max(map(len, batches)) <= 32
    assert min(map(len, batches)) >= 16
    joined = np.concatenate(batches).reshape(100, 3, 5)
    np.testing.assert_allclose(joined, (array[3:] - mean[:, None]) / deviation[:, None], rtol=1e-5)
    np.testing.assert_allclose(joined.mean(axis=(0, 2)), 0, atol=1e-4)


@pytest.fixture
def featured(project, monkeypatch):
    """A project with 60 clips and one small representation."""
    monkeypatch.delenv(tracking.URI, raising=False)
    split = ["train"] * 40 + ["validation"] * 8 + ["test"] * 12
    table = pd.DataFrame({"clip": range(60), "composer": ["a", "b"] * 30, "split": split})
    write_table(project.clips, table)
    array = np.random.default_rng(0).standard_normal((60, 4, 7)).astype(np.float32)
    project.feature("mel").parent.mkdir(parents=True)
    np.save(project.feature("mel"), array)
    mean, deviation = moments(array, np.arange(40))
    np.savez(
        project.out("features", "normalisation.npz"), mel_mean=mean, mel_deviation=deviation, clips=clips_hash(project)
    )
    return project


def test_the_stage_writes_a_vector_for_every_clip_and_one_run(featured, changed):
    settings = changed(embeddings__dimensions=5)
    embeddings.run(featured, settings, "pca", "mel")
    folder = featured.out("embeddings", "pca-mel")
    vectors = np.load(folder / "vectors.npy")
    assert vectors.shape == (60, 5)
    assert vectors.dtype == np.float32
    run = client(featured).get_run(json.loads((folder / "run.json").read_text())["run_id"])
    assert run.info.status == "FINISHED"
    noted = {
        "model": "pca",
        "representation": "mel",
        "dimensions": "5",
        "training_clips": "40",
        "clips.split_by": "work",
    }
    assert noted.items() <= run.data.params.items()
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"out/features/mel.npy", "out/clips/clips.csv"}
    assert run.data.tags["stage"] == "embeddings"
    embeddings.run(featured, settings, "pca", "mel")
    np.testing.assert_array_equal(np.load(folder / "vectors.npy"), vectors)
    assert len(runs(featured)) == 2  # a rerun is a run of its own


def test_test_clips_do_not_reach_the_components(featured, changed):
    settings = changed(embeddings__dimensions=5)
    embeddings.run(featured, settings, "pca", "mel")
    before = np.load(featured.out("embeddings", "pca-mel", "vectors.npy"))
    array = np.load(featured.feature("mel"))
    array[48:] = 99.0
    np.save(featured.feature("mel"), array)
    embeddings.run(featured, settings, "pca", "mel")
    after = np.load(featured.out("embeddings", "pca-mel", "vectors.npy"))
    np.testing.assert_array_equal(after[:48], before[:48])
    assert (after[48:] != before[48:]).any()


def test_what_cannot_be_embedded_leaves_no_files_and_a_failed_run(featured, changed):
    with pytest.raises(UserError, match="only 40 training clips"):
        embeddings.run(featured, changed(embeddings__dimensions=41), "pca", "mel")
    assert not featured.out("embeddings", "pca-mel").exists()
    (run,) = runs(featured)
    assert run.info.status == "FAILED"
    assert "only 40 training clips" in run.data.tags["failure"]


def test_a_normalisation_of_another_split_is_refused(featured, changed):
    table = pd.read_csv(featured.clips)
    write_table(featured.clips, table.assign(split=table["split"].to_numpy()[::-1]))
    with pytest.raises(UserError, match="the clips have changed since the stage features ran; run `dvc repro`"):
        embeddings.run(featured, changed(embeddings__dimensions=5), "pca", "mel")
