"""Which run a query means, and which runs of its configuration are its evidence."""

from __future__ import annotations

import pytest

from conftest import client
from promoted import log_trained
from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.registry import candidates, evidence


def test_a_name_means_the_newest_run_of_the_first_fold(tracked):
    old = log_trained(tracked, 0.4, folds=(1, 0))
    new = log_trained(tracked, 0.5, folds=(2, 1, 0), settings_key="new")
    log_trained(tracked, 0.9, folds=(0,), split="movement")
    mlflow_client = client(tracked)
    assert candidates.find_candidate(mlflow_client, "pca-mel").run_id == new[2]
    assert candidates.find_candidate(mlflow_client, "pca-mel work-1").run_id == new[1]
    assert candidates.find_candidate(mlflow_client, " pca-mel   work-2 ").run_id == new[0]
    assert candidates.find_candidate(mlflow_client, "pca-mel movement-0").fold == "movement-0"
    assert candidates.find_candidate(mlflow_client, old[1]).run_id == old[1]
    for digits in (8, 12, 31):
        assert candidates.find_candidate(mlflow_client, old[1][:digits]).run_id == old[1]


def test_a_candidate_names_its_model_its_folder_and_its_source(tracked):
    (run_id,) = log_trained(tracked, 0.4, "long-128", folds=(0,), stage="ali")
    main, crops = (candidates.find_candidate(client(tracked), "long-128", readout) for readout in ("", "crops"))
    assert (main.name, main.source) == ("long-128 work-0", f"runs:/{run_id}/model")
    assert (crops.name, crops.source) == ("long-128 crops work-0", f"runs:/{run_id}/model-crops")
    again = candidates.candidate_of_source(client(tracked), crops.source)
    assert (again.run_id, again.readout) == (run_id, "crops")
    assert candidates.candidate_of_source(client(tracked), f"runs:/{'0' * 32}/model") is None
    assert candidates.candidate_of_source(client(tracked), "s3://bucket/model") is None


def test_an_unfinished_run_does_not_count(tracked):
    (run_id,) = log_trained(tracked, 0.4, folds=(0,))
    with (
        pytest.raises(KeyboardInterrupt),
        tracking.start_run(
            tracked, tracking.RunIdentity("embeddings", "pca", "mel", "work-0"), {}, tracked.params
        ) as opened,
    ):
        raise KeyboardInterrupt
    assert candidates.find_candidate(client(tracked), "pca-mel").run_id == run_id
    with pytest.raises(UserError, match=rf"^run {opened.run_id} \(pca-mel work-0\) is KILLED; only a finished run"):
        candidates.find_candidate(client(tracked), opened.run_id)


@pytest.mark.parametrize(
    ("model", "stage"), [("lstm-mel", "classifiers"), ("encoder-128", "ali"), ("labels-40", "temporal")]
)
@pytest.mark.parametrize("kind", ["classifier", "embedding"])  # the latter: the tag that earlier releases set
def test_a_classifier_gives_no_vectors(tracked, model, stage, kind):
    (run_id,) = log_trained(tracked, 0.6, model, folds=(0,), stage=stage)
    assert client(tracked).get_run(run_id).data.tags["kind"] == "classifier"
    if stage != "classifiers":
        client(tracked).set_tag(run_id, "kind", kind)
    with pytest.raises(UserError, match=rf"^{model} work-0 is a classifier and gives no vectors"):
        candidates.find_candidate(client(tracked), model)
    with pytest.raises(UserError, match=r"; `dvc repro` trains those of params.yaml$"):  # it is not suggested either
        candidates.find_candidate(client(tracked), f"{model} work-7")


def test_an_unknown_name_lists_the_models_there_are(tracked):
    with pytest.raises(UserError, match=r"^MLflow has no finished run named 'vae-mel'; `dvc repro` trains those"):
        candidates.find_candidate(client(tracked), "vae-mel")
    log_trained(tracked, 0.4, "vae-mel", folds=(0, 1))
    log_trained(tracked, 0.4, "vae-mfcc", folds=(0,))
    with pytest.raises(UserError, match=r"^MLflow has no finished run named 'vae'; MLflow has vae-mel, vae-mfcc$"):
        candidates.find_candidate(client(tracked), "vae")
    with pytest.raises(UserError, match=r"^MLflow has no finished run named 'vae-mel work-7'; MLflow has vae-mel$"):
        candidates.find_candidate(client(tracked), "vae-mel work-7")
    with pytest.raises(UserError, match=r"^MLflow has no run whose id begins with 00000000$"):
        candidates.find_candidate(client(tracked), "00000000")


def test_a_wildcard_in_a_name_is_taken_literally(tracked):
    log_trained(tracked, 0.4, "fairxcnn-mel", folds=(0,))
    with pytest.raises(UserError, match="MLflow has no finished run named 'fair_cnn-mel'"):
        candidates.find_candidate(client(tracked), "fair_cnn-mel")


@pytest.mark.parametrize(("words", "readout"), [("x' or 1=1", ""), ("pca%", ""), ("pca-mel", "a'b")])
def test_an_invalid_name_is_refused_before_mlflow_is_queried(tracked, words, readout):
    with pytest.raises(UserError, match="is not a valid run or readout name: use letters, digits and"):
        candidates.find_candidate(client(tracked), words, readout)


def test_an_ambiguous_query_lists_the_runs(tracked, monkeypatch):
    (first,) = log_trained(tracked, 0.4, "long-128", folds=(0,), stage="ali")
    (other,) = log_trained(tracked, 0.4, "long-128", folds=(0,), stage="study")
    with pytest.raises(
        UserError, match=r"^'long-128' matches runs of several experiments: .*; give the run's id$"
    ) as error:
        candidates.find_candidate(client(tracked), "long-128")
    assert all(f"long-128 work-0 {run_id[:12]}" in str(error.value) for run_id in (first, other))
    mlflow_client = client(tracked)
    monkeypatch.setattr(
        candidates, "search_runs", lambda *_: [mlflow_client.get_run(run_id) for run_id in (first, other)]
    )
    with pytest.raises(
        UserError, match=r"^the ids of 2 runs begin with abcdef01: long-128 work-0 .*; give more digits$"
    ):
        candidates.find_candidate(mlflow_client, "abcdef01")


def test_evidence_is_the_newest_run_of_each_fold_with_the_same_settings(tracked):
    log_trained(tracked, 0.3, folds=(1,), settings_key="a")
    newer = log_trained(tracked, 0.4, folds=(1,), settings_key="a")
    run_ids = log_trained(tracked, 0.5, folds=(0,), settings_key="a")
    log_trained(tracked, 0.9, folds=(0,), settings_key="a")  # newer than the candidate, but not the candidate
    third = log_trained(tracked, 0.6, folds=(10, 2), settings_key="a")
    log_trained(tracked, 0.9, folds=(3,), settings_key="another")
    log_trained(tracked, 0.9, folds=(4,), settings_key="a", split="movement")
    log_trained(tracked, 0.9, folds=(5,), settings_key="a", stage="study")
    mlflow_client = client(tracked)
    folds = evidence.collect_evidence(mlflow_client, tracked, candidates.find_candidate(mlflow_client, run_ids[0]))
    assert [(name, fold.run_id) for name, fold in folds.items()] == [
        ("work-0", run_ids[0]),
        ("work-1", newer[0]),
        ("work-2", third[1]),
        ("work-10", third[0]),
    ]


def test_a_run_without_settings_key_is_its_own_only_evidence(tracked):
    run_ids = log_trained(tracked, 0.5, folds=(0, 1))
    mlflow_client = client(tracked)
    candidate = candidates.find_candidate(mlflow_client, run_ids[0])
    del candidate.run.data.params["settings_key"]
    assert list(evidence.collect_evidence(mlflow_client, tracked, candidate)) == ["work-0"]


def test_evidence_has_the_works_and_the_data_of_a_run(tracked):
    lock = "schema: '2.0'\nstages:\n  features:\n    outs:\n    - path: out/features\n      md5: 0123.dir\n"
    (tracked.root / "dvc.lock").write_text(lock)
    log_trained(tracked, 0.5, folds=(0,), readouts={"crops": 0.8})
    log_trained(tracked, None, folds=(1,), settings_key="pca-mel 0.5")
    mlflow_client = client(tracked)
    main, crops = (
        evidence.collect_evidence(mlflow_client, tracked, candidates.find_candidate(mlflow_client, "pca-mel", readout))
        for readout in ("", "crops")
    )
    fold = main["work-0"]
    assert (fold.clips_key, fold.dataset, fold.dataset_hash) == ("clips of work-0", "out/features/mel.npy", "0123.dir")
    assert fold.settings == {"audio.soundfonts": "TimGM6mb", "features.mel_bands": "64"}
    tables = [folds["work-0"].works for folds in (main, crops)]
    shares = [table["right"].sum() / table["clips"].sum() for table in tables]
    assert shares == pytest.approx([0.5, 0.8], abs=0.03)
    assert main["work-1"].works is None


def test_a_damaged_table_of_works_is_one_line(tracked):
    (run_id,) = log_trained(tracked, 0.5, folds=(0,))
    (tracked.root / "works.csv").write_text("work,clips\nx,1\n")
    client(tracked).log_artifact(run_id, str(tracked.root / "works.csv"), "probe")
    mlflow_client = client(tracked)
    with pytest.raises(
        UserError, match=rf"^probe/works.csv of run {run_id} has no column readout, right; probe it again$"
    ):
        evidence.collect_evidence(mlflow_client, tracked, candidates.find_candidate(mlflow_client, run_id))
