"""Which run people mean, and which of its kin speak for it."""

from __future__ import annotations

import pytest

from conftest import client
from promoted import trained
from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.registry import candidates, evidence


def test_a_model_is_its_newest_run_of_the_first_draw(tracked):
    old = trained(tracked, 0.4, folds=(1, 0))
    new = trained(tracked, 0.5, folds=(2, 1, 0), settings_key="new")
    trained(tracked, 0.9, folds=(0,), split="movement")
    known = client(tracked)
    assert candidates.found(known, "pca-mel").run_id == new[2]
    assert candidates.found(known, "pca-mel work-1").run_id == new[1]
    assert candidates.found(known, " pca-mel   work-2 ").run_id == new[0]
    assert candidates.found(known, "pca-mel movement-0").fold == "movement-0"
    assert candidates.found(known, old[1]).run_id == old[1]
    for digits in (8, 12, 31):
        assert candidates.found(known, old[1][:digits]).run_id == old[1]


def test_a_candidate_names_its_model_its_folder_and_its_source(tracked):
    (run_id,) = trained(tracked, 0.4, "long-128", folds=(0,), stage="ali")
    main, crops = (candidates.found(client(tracked), "long-128", readout) for readout in ("", "crops"))
    assert (main.name, main.source) == ("long-128 work-0", f"runs:/{run_id}/model")
    assert (crops.name, crops.source) == ("long-128 crops work-0", f"runs:/{run_id}/model-crops")
    again = candidates.of_source(client(tracked), crops.source)
    assert (again.run_id, again.readout) == (run_id, "crops")
    assert candidates.of_source(client(tracked), f"runs:/{'0' * 32}/model") is None
    assert candidates.of_source(client(tracked), "s3://bucket/model") is None


def test_an_unfinished_run_does_not_count(tracked):
    (done,) = trained(tracked, 0.4, folds=(0,))
    with (
        pytest.raises(KeyboardInterrupt),
        tracking.run(tracked, tracking.Subject("embeddings", "pca", "mel", "work-0"), {}, tracked.params) as opened,
    ):
        raise KeyboardInterrupt
    assert candidates.found(client(tracked), "pca-mel").run_id == done
    with pytest.raises(UserError, match=rf"^the run {opened.run_id} \(pca-mel work-0\) is KILLED; only a finished one"):
        candidates.found(client(tracked), opened.run_id)


@pytest.mark.parametrize(("model", "stage"), [("lstm-mel", "classifiers"), ("encoder-128", "ali")])
def test_a_classifier_gives_no_vectors(tracked, model, stage):
    trained(tracked, 0.6, model, folds=(0,), stage=stage)
    with pytest.raises(UserError, match=rf"^{model} work-0 is a classifier and gives no vectors"):
        candidates.found(client(tracked), model)


def test_a_name_of_nothing_lists_what_there_is(tracked):
    with pytest.raises(UserError, match=r"^no finished run in MLflow is called 'vae-mel'; `dvc repro` trains the mod"):
        candidates.found(client(tracked), "vae-mel")
    trained(tracked, 0.4, "vae-mel", folds=(0, 1))
    trained(tracked, 0.4, "vae-mfcc", folds=(0,))
    with pytest.raises(UserError, match=r"^no finished run in MLflow is called 'vae'; there is vae-mel, vae-mfcc$"):
        candidates.found(client(tracked), "vae")
    with pytest.raises(UserError, match=r"^no finished run in MLflow is called 'vae-mel work-7'; there is vae-mel$"):
        candidates.found(client(tracked), "vae-mel work-7")
    with pytest.raises(UserError, match=r"^MLflow has no run whose id begins with 00000000$"):
        candidates.found(client(tracked), "00000000")


def test_a_wildcard_in_a_name_is_a_letter(tracked):
    trained(tracked, 0.4, "fairxcnn-mel", folds=(0,))
    with pytest.raises(UserError, match="no finished run in MLflow is called 'fair_cnn-mel'"):
        candidates.found(client(tracked), "fair_cnn-mel")


@pytest.mark.parametrize(("words", "readout"), [("x' or 1=1", ""), ("pca%", ""), ("pca-mel", "a'b")])
def test_what_is_no_name_is_refused_before_mlflow_is_asked(tracked, words, readout):
    with pytest.raises(UserError, match="is no name of a run or readout; those are of letters, digits and"):
        candidates.found(client(tracked), words, readout)


def test_what_may_mean_several_runs_lists_them(tracked, monkeypatch):
    (one,) = trained(tracked, 0.4, "long-128", folds=(0,), stage="ali")
    (other,) = trained(tracked, 0.4, "long-128", folds=(0,), stage="study")
    with pytest.raises(UserError, match=r"^'long-128' are runs of several experiments: .*; give the run's id$") as said:
        candidates.found(client(tracked), "long-128")
    assert all(f"long-128 work-0 {run_id[:12]}" in str(said.value) for run_id in (one, other))
    known = client(tracked)
    monkeypatch.setattr(candidates, "runs", lambda *_: [known.get_run(run_id) for run_id in (one, other)])
    with pytest.raises(UserError, match=r"^2 runs begin with abcdef01: long-128 work-0 .*; give more digits$"):
        candidates.found(known, "abcdef01")


def test_the_kin_of_a_run_are_the_newest_of_each_draw_with_its_settings(tracked):
    trained(tracked, 0.3, folds=(1,), settings_key="a")
    newer = trained(tracked, 0.4, folds=(1,), settings_key="a")
    own = trained(tracked, 0.5, folds=(0,), settings_key="a")
    trained(tracked, 0.9, folds=(0,), settings_key="a")  # newer than the one that is asked for, and not asked for
    third = trained(tracked, 0.6, folds=(10, 2), settings_key="a")
    trained(tracked, 0.9, folds=(3,), settings_key="another")
    trained(tracked, 0.9, folds=(4,), settings_key="a", split="movement")
    trained(tracked, 0.9, folds=(5,), settings_key="a", stage="study")
    known = client(tracked)
    found = evidence.gathered(known, tracked, candidates.found(known, own[0]))
    assert [(name, one.run_id) for name, one in found.items()] == [
        ("work-0", own[0]),
        ("work-1", newer[0]),
        ("work-2", third[1]),
        ("work-10", third[0]),
    ]


def test_a_run_of_unknown_settings_speaks_for_itself_alone(tracked):
    run_ids = trained(tracked, 0.5, folds=(0, 1))
    known = client(tracked)
    meant = candidates.found(known, run_ids[0])
    del meant.run.data.params["settings_key"]
    assert list(evidence.gathered(known, tracked, meant)) == ["work-0"]


def test_what_a_run_says_of_its_works_and_its_data(tracked):
    lock = "schema: '2.0'\nstages:\n  features:\n    outs:\n    - path: out/features\n      md5: 0123.dir\n"
    (tracked.root / "dvc.lock").write_text(lock)
    trained(tracked, 0.5, folds=(0,), readouts={"crops": 0.8})
    trained(tracked, None, folds=(1,), settings_key="pca-mel 0.5")
    known = client(tracked)
    main, crops = (
        evidence.gathered(known, tracked, candidates.found(known, "pca-mel", readout)) for readout in ("", "crops")
    )
    one = main["work-0"]
    assert (one.clips_key, one.seen, one.array) == ("clips of work-0", "out/features/mel.npy", "0123.dir")
    assert one.settings == {"audio.soundfont": "TimGM6mb", "features.mel_bands": "64"}
    shares = [found["work-0"].works["right"].sum() / found["work-0"].works["clips"].sum() for found in (main, crops)]
    assert shares == pytest.approx([0.5, 0.8], abs=0.03)
    assert main["work-1"].works is None


def test_a_damaged_table_of_works_is_one_line(tracked):
    (run_id,) = trained(tracked, 0.5, folds=(0,))
    (tracked.root / "works.csv").write_text("work,clips\nx,1\n")
    client(tracked).log_artifact(run_id, str(tracked.root / "works.csv"), "probe")
    known = client(tracked)
    with pytest.raises(
        UserError, match=rf"^probe/works.csv of the run {run_id} has no readout, right; probe it again$"
    ):
        evidence.gathered(known, tracked, candidates.found(known, run_id))
