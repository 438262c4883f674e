"""The gates on their own: which data agree, what is better, what a package must still say."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promoted import GOLDEN, package, works
from symphony2vec.registry import gates, smoke
from symphony2vec.registry.evidence import FoldEvidence

SETTINGS = {"audio.soundfont": "TimGM6mb", "features.mel_bands": "64"}


def fold(seed: int, accuracy: float, **changes: Any) -> FoldEvidence:
    name = f"work-{seed}"
    made = FoldEvidence(
        name, "0" * 32, works(accuracy, seed), f"clips of {name}", SETTINGS, "out/features/mel.npy", "a.dir"
    )
    return replace(made, **changes)


def model(accuracy: float, folds: int = 3, **changes: Any) -> dict[str, FoldEvidence]:
    return {f"work-{seed}": fold(seed, accuracy, **changes) for seed in range(folds)}


# The data -------------------------------------------------------------------------------------------------------------


def test_the_same_clips_sides_and_sound_agree_over_the_draws_that_both_have():
    verdict = gates.data(model(0.5, folds=4), model(0.4))
    assert verdict.passed
    assert verdict.figures == "the same clips, sides and sound in 3 folds (work-0, work-1, work-2)"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clips_key": "0123456789abcdef"}, "work-1: clips_key 0123456789ab against clips of wo"),
        ({"clips_key": ""}, "work-1: clips_key unknown against clips of wor"),
        ({"works": works(0.5)[:11]}, "work-1: other test works, or other numbers of their clips"),
        ({"works": works(0.5).assign(clips=9)}, "work-1: other test works, or other numbers of their clips"),
        ({"settings": {**SETTINGS, "audio.soundfont": "x.sf2"}}, "work-1: audio.soundfont x.sf2 against TimGM6mb"),
        ({"array": "b.dir"}, "work-1: DVC's hash of out/features/mel.npy b.dir against a.dir"),
        ({"array": ""}, "work-1: DVC's hash of out/features/mel.npy unknown against a.dir"),
        (
            {"seen": "out/features/mfcc.npy", "array": "b.dir"},
            "work-1: DVC's hash of out/features/mfcc.npy b.dir against",
        ),
    ],
)
def test_data_that_differ_in_one_draw_are_named_with_both_values(changes, told):
    own = model(0.5)
    own["work-1"] = replace(own["work-1"], **changes)
    verdict = gates.data(own, model(0.4))
    assert not verdict.passed
    assert verdict.figures.startswith(told)


@pytest.mark.parametrize(
    "changes",
    [
        # other settings of the arrays, and so another array: a model's own affair
        {"settings": {**SETTINGS, "features.mel_bands": "128"}, "array": "b.dir"},
        # hashes of two files are hashes of two things; of the folder that holds them they are of one
        {"seen": "out/features/mfcc.npy", "array": "b"},
        {"seen": "out/features/mfcc.npy"},
        # a parameter that the champion's version did not know
        {"settings": {**SETTINGS, "audio.hall": "dry"}},
    ],
)
def test_another_representation_of_the_same_sound_agrees(changes):
    assert gates.data(model(0.5, **changes), model(0.4)).passed


def test_where_dvc_hashed_nothing_it_says_so():
    verdict = gates.data(model(0.5, array=""), model(0.4, array=""))
    assert verdict.passed
    assert verdict.figures.endswith("; DVC has no hash of the arrays")


def test_models_without_a_draw_in_common_say_whose_are_missing():
    other = {"work-7": fold(7, 0.5)}
    assert gates.data(model(0.5, 1), other).figures == "no fold in common: work-0 against work-7"
    unprobed = model(0.5, works=None)
    assert "no fold of the champion was probed; run `dvc repro probe`" in gates.data(other, unprobed).figures
    assert "no fold of the challenger was probed" in gates.data(unprobed, other).figures
    assert not gates.data(other, unprobed).passed


def test_many_differences_are_counted_and_not_all_listed():
    figures = gates.data(model(0.5, 9, clips_key="x"), model(0.4, 9)).figures
    assert figures.count("clips_key") == gates.SHOWN
    assert figures.endswith(f"; and 5 more ({gates.ANEW})")


# Better ---------------------------------------------------------------------------------------------------------------


def test_better_is_an_interval_above_nothing(changed):
    verdict, found = gates.better(model(0.7), model(0.5), True, False, changed())
    assert verdict.passed
    assert found.mean == pytest.approx(0.2, abs=0.02)
    assert 0.0 < found.low <= found.mean <= found.high
    assert verdict.figures.startswith(
        f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f}, 95 %)"
    )
    assert verdict.figures.endswith("points over 3 folds (work-0, work-1, work-2); the interval lies above 0")


def test_the_difference_turns_its_sign_with_the_sides(changed):
    settings = changed().probe
    one, other = list(model(0.62).values()), list(model(0.5).values())
    there, back = gates.difference(one, other, settings), gates.difference(other, one, settings)
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))
    itself = gates.difference(one, one, settings)
    assert (itself.mean, itself.low, itself.high) == (0.0, 0.0, 0.0)


def test_the_same_model_again_is_refused_unless_equal_is_enough(changed):
    strict, _ = gates.better(model(0.5), model(0.5), True, False, changed())
    assert not strict.passed
    assert strict.figures.endswith("the interval must lie above 0 and reaches down to +0.0")
    lenient, _ = gates.better(model(0.5), model(0.5), True, True, changed())
    assert lenient.passed
    assert lenient.figures.endswith("not worse: the mean is not below -1")


def test_a_refusal_says_by_how_much_it_fell_short(changed):
    worse = {
        name: replace(own, works=own.works.assign(right=own.works["right"] - 1)) for name, own in model(0.5).items()
    }
    strict, found = gates.better(worse, model(0.5), True, False, changed())
    assert (found.mean, found.low, found.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert strict.figures.endswith("the interval must lie above 0 and reaches down to -10.0")
    lenient, _ = gates.better(worse, model(0.5), True, True, changed())
    assert not lenient.passed
    assert lenient.figures.endswith("the mean must not be below -1 and falls short by 9.0")
    wide, _ = gates.better(worse, model(0.5), True, True, changed(registry__margin=0.11))
    assert not wide.passed  # the mean is within the margin, and surely below 0 all the same
    assert wide.figures.endswith("the interval lies wholly below 0")


@pytest.mark.parametrize("equal_ok", [False, True])
def test_fewer_draws_than_the_house_asks_for_say_how_to_get_more(changed, equal_ok):
    verdict, found = gates.better(model(0.9), model(0.5, folds=2), True, equal_ok, changed())
    assert not verdict.passed
    assert found.low > 0.0
    assert verdict.figures.endswith(
        "over 2 folds (work-0, work-1); wanted are 3 folds: set `seeds: 3` in params.yaml and run `dvc repro`; "
        "missing are folds of the champion"
    )
    assert gates.better(model(0.9), model(0.5, folds=2), True, equal_ok, changed(registry__minimum_draws=2))[0].passed


def test_models_of_other_data_are_not_compared(changed):
    verdict, found = gates.better(model(0.9), model(0.5), False, True, changed())
    assert (verdict.passed, verdict.figures, found) == (False, "not compared: the data do not agree", None)


def test_the_first_champion_needs_a_probe_and_no_opponent(changed):
    data, better, found = gates.alone(model(0.5, folds=1), changed().probe)
    assert data.passed
    assert better.passed
    assert found.mean == pytest.approx(0.5, abs=0.02)
    assert better.figures == f"no champion to compare with; its accuracy is {found.told()} over 1 fold (work-0)"
    _, unprobed, nothing = gates.alone(model(0.5, works=None), changed().probe)
    assert (unprobed.passed, nothing) == (False, None)
    assert unprobed.figures == "no fold of it was probed; run `dvc repro probe`"


# The package ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(tmp_path_factory.mktemp("package"))


def answering(vectors: Any) -> Any:
    return lambda package, answer: np.save(answer, np.asarray(vectors, dtype=np.float64))


def test_a_package_that_is_as_it_was_answers_a_stranger_with_its_golden_vectors(packed):
    before = {path: path.stat().st_mtime_ns for path in packed.rglob("*")}
    verdict = gates.packaged(packed)
    assert (verdict.passed, verdict.figures) == (
        True,
        "its vectors of the example lie 0.0e+00 of their norm from the golden ones",
    )
    assert {path: path.stat().st_mtime_ns for path in packed.rglob("*")} == before  # the stranger had a copy


def test_a_package_that_raises_is_refused_with_its_own_words(tmp_path):
    verdict = gates.packaged(package(tmp_path, {"fault": "weights.safetensors is damaged"}))
    assert not verdict.passed
    assert verdict.figures == "it does not load or answer: RuntimeError: weights.safetensors is damaged"


@pytest.mark.parametrize(("share", "passed"), [(0.9e-4, True), (1.1e-4, False), (0.5, False)])
def test_vectors_may_lie_a_ten_thousandth_of_their_norm_away(packed, monkeypatch, share, passed):
    away = np.zeros_like(GOLDEN, dtype=np.float64)
    away[0, 0] = share * np.linalg.norm(GOLDEN)
    monkeypatch.setattr(smoke, "_asked", answering(GOLDEN + away))
    verdict = gates.packaged(packed)
    assert verdict.passed is passed
    assert verdict.figures.startswith(f"its vectors of the example lie {share:.1e} of their norm from")
    assert verdict.figures.endswith("; allowed are 1e-04") is not passed


@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        (GOLDEN[:1], "its vectors are 1 x 3, the golden ones 2 x 3"),
        (GOLDEN[:, :2], "its vectors are 2 x 2, the golden ones 2 x 3"),
        (np.where(GOLDEN > 3.0, np.nan, GOLDEN), "50% of the values of its vectors are not finite numbers"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(packed, monkeypatch, vectors, told):
    monkeypatch.setattr(smoke, "_asked", answering(vectors))
    assert gates.packaged(packed) == gates.Verdict("smoke", False, told)


def test_a_package_without_its_example_is_refused(packed, tmp_path):
    bare = shutil.copytree(packed, tmp_path / "bare")
    (bare / "artifacts" / "golden.npy").unlink()
    assert gates.packaged(bare).figures == "the package has no artifacts/golden.npy"


def test_a_package_that_never_answers_is_given_up(packed, monkeypatch):
    def hang(words: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(words, timeout)

    monkeypatch.setattr(smoke.subprocess, "run", hang)
    assert gates.packaged(packed).figures == "it did not answer within 600 s"


def test_the_stranger_knows_no_tracking_server(packed, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    script = "import os, sys; open(sys.argv[3], 'w').write(os.environ.get('MLFLOW_TRACKING_URI', 'none') + os.getcwd())"
    monkeypatch.setattr(smoke, "STRANGER", script)
    smoke._asked(packed, tmp_path / "answer")
    assert (tmp_path / "answer").read_text() == f"none{tmp_path}"
