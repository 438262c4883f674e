"""The three gates: same data, significantly better, unchanged package."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promoted import GOLDEN, make_works, save_package
from symphony2vec.registry import gates, smoke
from symphony2vec.registry.evidence import FoldEvidence

OTHER_WORKS = "different test works, or different numbers of clips per work"
SETTINGS = {"audio.soundfonts": "TimGM6mb", "features.mel_bands": "64"}


def fold(seed: int, accuracy: float, **changes: Any) -> FoldEvidence:
    name = f"work-{seed}"
    evidence = FoldEvidence(
        name, "0" * 32, make_works(accuracy, seed), f"clips of {name}", SETTINGS, "out/features/mel.npy", "a.dir"
    )
    return replace(evidence, **changes)


def model(accuracy: float, folds: int = 3, **changes: Any) -> dict[str, FoldEvidence]:
    return {f"work-{seed}": fold(seed, accuracy, **changes) for seed in range(folds)}


# The data -------------------------------------------------------------------------------------------------------------


def test_the_same_data_in_the_shared_folds_pass():
    verdict = gates.check_data(model(0.5, folds=4), model(0.4))
    assert verdict.passed
    assert verdict.details == "same clips, splits and audio in 3 folds (work-0, work-1, work-2)"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"clips_key": "0123456789abcdef"},
            "work-1: different clips or splits (clips_key: challenger 0123456789ab, champion clips of wor); train both",
        ),
        (
            {"clips_key": ""},
            "work-1: clips and splits cannot be compared (clips_key: challenger unknown, champion clips of wor); ",
        ),
        ({"works": make_works(0.5)[:11]}, f"work-1: {OTHER_WORKS}; run `dvc repro probe`"),
        ({"works": make_works(0.5).assign(clips=9)}, f"work-1: {OTHER_WORKS}; run `dvc repro probe`"),
        (
            {"settings": {**SETTINGS, "audio.soundfonts": "x.sf2"}},
            "work-1: audio.soundfonts differs (challenger x.sf2, champion TimGM6mb); train both",
        ),
        (
            {"dataset_hash": "b.dir"},
            "work-1: out/features/mel.npy differs (DVC's hash: challenger b.dir, champion a.dir)",
        ),
        (
            {"dataset_hash": ""},
            "work-1: out/features/mel.npy cannot be compared (DVC's hash: challenger unknown, champion a.dir); ",
        ),
        (
            {"dataset": "out/features/mfcc.npy", "dataset_hash": "b.dir"},
            "work-1: out/features/mfcc.npy differs (DVC's hash: challenger b.dir, champion a.dir)",
        ),
    ],
)
def test_data_that_differ_in_one_fold_are_named_with_both_values(changes, expected):
    folds = model(0.5)
    folds["work-1"] = replace(folds["work-1"], **changes)
    verdict = gates.check_data(folds, model(0.4))
    assert not verdict.passed
    assert verdict.details.startswith(expected)


@pytest.mark.parametrize(
    "changes",
    [
        # other feature settings, and so another array
        {"settings": {**SETTINGS, "features.mel_bands": "128"}, "dataset_hash": "b.dir"},
        # hashes of two files cannot be compared; two hashes of their folder can
        {"dataset": "out/features/mfcc.npy", "dataset_hash": "b"},
        {"dataset": "out/features/mfcc.npy"},
        # a parameter that the champion's version did not have
        {"settings": {**SETTINGS, "audio.hall": "dry"}},
    ],
)
def test_another_representation_of_the_same_audio_passes(changes):
    assert gates.check_data(model(0.5, **changes), model(0.4)).passed


def test_missing_dvc_hashes_are_mentioned():
    verdict = gates.check_data(model(0.5, dataset_hash=""), model(0.4, dataset_hash=""))
    assert verdict.passed
    assert verdict.details.endswith("; the arrays were not compared: DVC's hash of them is unknown")


def test_models_without_a_shared_fold_say_whose_are_missing():
    other = {"work-7": fold(7, 0.5)}
    challenger = model(0.5, 1) | {"work-7": fold(7, 0.5, works=None)}  # a fold that was trained, but not probed
    assert gates.check_data(challenger, other).details == (
        "no probed fold in common (challenger work-0, champion work-7); train and probe both on the same `folds`"
    )
    unprobed = model(0.5, works=None)
    assert gates.check_data(other, unprobed).details == (
        "no fold of the champion was probed; run `dvc repro probe` in the project that trained it"
    )
    assert "no fold of the challenger was probed" in gates.check_data(unprobed, other).details
    assert not gates.check_data(other, unprobed).passed


def test_models_without_a_clips_key_are_not_said_to_differ():
    details = gates.check_data(model(0.5, 1, clips_key=""), model(0.4, 1, clips_key="")).details
    assert details.startswith(
        "work-0: clips and splits cannot be compared (clips_key: challenger unknown, champion unknown); train both"
    )


def test_many_differences_are_counted_and_not_all_listed():
    details = gates.check_data(model(0.5, 9, clips_key="x"), model(0.4, 9)).details
    assert details.count("clips_key") == gates.MAX_LISTED_DIFFERENCES
    assert details.endswith(f"; and 5 more; {gates.RETRAIN_REMEDY}")


def test_only_the_remedies_of_the_differences_are_named():
    challenger = model(0.5, works=make_works(0.5)[:11])
    assert gates.RETRAIN_REMEDY not in gates.check_data(challenger, model(0.4)).details
    challenger["work-2"] = replace(challenger["work-2"], clips_key="x")
    assert gates.check_data(challenger, model(0.4)).details.endswith(f"; {gates.PROBE_REMEDY}; {gates.RETRAIN_REMEDY}")


# Better ---------------------------------------------------------------------------------------------------------------


def test_an_improvement_requires_an_interval_above_zero(changed):
    verdict, difference = gates.check_improvement(model(0.7), model(0.5), True, False, changed())
    assert verdict.passed
    assert difference.mean == pytest.approx(0.2, abs=0.02)
    assert 0.0 < difference.low <= difference.mean <= difference.high
    assert verdict.details.startswith(
        f"accuracy difference {100 * difference.mean:+.1f} points (95 % CI {100 * difference.low:+.1f} to "
        f"{100 * difference.high:+.1f}) on clips over 3 folds"
    )
    assert verdict.details.endswith(
        " over 3 folds (work-0, work-1, work-2); significantly better: the interval lies above 0"
    )


def test_the_difference_is_antisymmetric(changed):
    settings = changed().probe
    first, second = list(model(0.62).values()), list(model(0.5).values())
    forward = gates.estimate_difference(first, second, settings, "clip")
    backward = gates.estimate_difference(second, first, settings, "clip")
    assert (forward.mean, forward.low, forward.high) == pytest.approx((-backward.mean, -backward.high, -backward.low))
    itself = gates.estimate_difference(first, first, settings, "clip")
    assert (itself.mean, itself.low, itself.high) == (0.0, 0.0, 0.0)


def test_an_equal_model_passes_only_with_equal_ok(changed):
    strict, _ = gates.check_improvement(model(0.5), model(0.5), True, False, changed())
    assert not strict.passed
    assert strict.details.endswith("; not significantly better: the interval must lie above 0")
    lenient, _ = gates.check_improvement(model(0.5), model(0.5), True, True, changed())
    assert lenient.passed
    assert lenient.details.endswith(
        "; accepted with --equal-ok: the mean difference is at least -1 points and the interval does not lie entirely "
        "below 0"
    )


def test_a_refusal_says_by_how_much_it_fell_short(changed):
    worse = {
        name: replace(fold, works=fold.works.assign(right=fold.works["right"] - 1)) for name, fold in model(0.5).items()
    }
    strict, difference = gates.check_improvement(worse, model(0.5), True, False, changed())
    assert (difference.mean, difference.low, difference.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert "accuracy difference -10.0 points (95 % CI -10.0 to -10.0) on clips" in strict.details
    lenient, _ = gates.check_improvement(worse, model(0.5), True, True, changed())
    assert not lenient.passed
    assert lenient.details.endswith("; too low: with --equal-ok the mean difference must be at least -1 points")
    wide, _ = gates.check_improvement(worse, model(0.5), True, True, changed(registry__margin=0.11))
    assert not wide.passed  # the mean is within the margin, but significantly below 0
    assert wide.details.endswith("significantly worse: the interval lies entirely below 0")


def test_the_level_of_the_parameters_is_compared(changed):
    """The challenger has fewer clips right but more works."""
    better, worse = (
        {
            name: replace(fold, works=fold.works.assign(right=right, right_works=of_work))
            for name, fold in model(0.5).items()
        }
        for right, of_work in ((4, 1), (6, 0))
    )
    on_clips, _ = gates.check_improvement(better, worse, True, False, changed())
    assert not on_clips.passed
    on_works, difference = gates.check_improvement(better, worse, True, False, changed(registry__level="work"))
    assert on_works.passed
    assert difference.mean == 1.0
    assert "accuracy difference +100.0 points (95 % CI +100.0 to +100.0) on works" in on_works.details


@pytest.mark.parametrize("equal_ok", [False, True])
def test_too_few_folds_are_refused_with_what_to_do(changed, equal_ok):
    verdict, difference = gates.check_improvement(model(0.9), model(0.5, folds=2), True, equal_ok, changed())
    assert not verdict.passed
    assert difference.low > 0.0
    assert verdict.details.endswith(
        "over 2 folds (work-0, work-1); at least 3 shared folds are needed: list as many in `folds` of "
        "params.yaml and run `dvc repro`; the champion has only 2"
    )
    assert gates.check_improvement(model(0.9), model(0.5, folds=2), True, equal_ok, changed(registry__minimum_folds=2))[
        0
    ].passed


def test_models_of_other_data_are_not_compared(changed):
    verdict, difference = gates.check_improvement(model(0.9), model(0.5), False, True, changed())
    assert (verdict.passed, verdict.details, difference) == (False, "not compared: the data gate failed", None)


def test_the_first_champion_needs_a_probe_and_no_opponent(changed):
    data, improvement, accuracy = gates.check_without_champion(model(0.5, folds=1), changed())
    assert data.passed
    assert improvement.passed
    assert accuracy.mean == pytest.approx(0.5, abs=0.02)
    assert (
        improvement.details
        == f"no champion to compare with; accuracy {accuracy.format(' %')} on clips over 1 fold (work-0)"
    )
    _, unprobed, nothing = gates.check_without_champion(model(0.5, works=None), changed())
    assert (unprobed.passed, nothing) == (False, None)
    assert unprobed.details == "no fold of the challenger was probed; run `dvc repro probe`"


# The package ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_package(tmp_path_factory.mktemp("package"))


def writing(vectors: Any) -> Any:
    return lambda package, output: np.save(output, np.asarray(vectors, dtype=np.float64))


def test_an_unchanged_package_returns_its_golden_vectors_in_a_new_process(packed):
    before = {path: path.stat().st_mtime_ns for path in packed.rglob("*")}
    verdict = gates.check_package(packed)
    assert (verdict.passed, verdict.details) == (
        True,
        "relative deviation of the example's vectors from golden.npy: 0.0e+00 (tolerance 1e-04)",
    )
    assert {path: path.stat().st_mtime_ns for path in packed.rglob("*")} == before  # the process had a copy


def test_a_package_that_raises_is_refused_with_its_message(tmp_path):
    verdict = gates.check_package(save_package(tmp_path, {"fault": "model.onnx is damaged"}))
    assert not verdict.passed
    assert verdict.details == "it cannot be loaded and run: RuntimeError: model.onnx is damaged"


@pytest.mark.parametrize(("share", "passed"), [(0.9e-4, True), (1.1e-4, False), (0.5, False)])
def test_vectors_may_deviate_by_a_ten_thousandth_of_their_norm(packed, monkeypatch, share, passed):
    error = np.zeros_like(GOLDEN, dtype=np.float64)
    error[0, 0] = share * np.linalg.norm(GOLDEN)
    monkeypatch.setattr(smoke, "_embed_example", writing(GOLDEN + error))
    verdict = gates.check_package(packed)
    assert verdict.passed is passed
    remedy = "" if passed else f"; {gates.DEVIATION_REMEDY}"
    assert verdict.details.endswith(f" from golden.npy: {share:.1e} (tolerance 1e-04){remedy}")


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [
        (GOLDEN[:1], "its vectors have shape 1 x 3, the golden vectors 2 x 3"),
        (GOLDEN[:, :2], "its vectors have shape 2 x 2, the golden vectors 2 x 3"),
        (np.where(GOLDEN > 3.0, np.nan, GOLDEN), "50% of the values of its vectors are not finite numbers"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(packed, monkeypatch, vectors, expected):
    monkeypatch.setattr(smoke, "_embed_example", writing(vectors))
    assert gates.check_package(packed) == gates.Verdict("smoke", False, expected)


def test_a_package_without_its_example_is_refused(packed, tmp_path):
    bare = shutil.copytree(packed, tmp_path / "bare")
    (bare / "artifacts" / "golden.npy").unlink()
    assert gates.check_package(bare).details == "the package has no artifacts/golden.npy"


def test_a_package_that_hangs_is_refused(packed, monkeypatch):
    def hang(command: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(smoke.subprocess, "run", hang)
    assert gates.check_package(packed).details == "it did not return vectors within 600 s"


def test_the_new_process_does_not_see_the_tracking_server(packed, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    script = "import os, sys; open(sys.argv[3], 'w').write(os.environ.get('MLFLOW_TRACKING_URI', 'none') + os.getcwd())"
    monkeypatch.setattr(smoke, "SCRIPT", script)
    smoke._embed_example(packed, tmp_path / "output")
    assert (tmp_path / "output").read_text() == f"none{tmp_path}"
