"""Log-spectral and Frechet distances on synthetic spectrograms."""

from __future__ import annotations

import librosa
import numpy as np
import pandas as pd
import pytest
from scipy.linalg import sqrtm

from symphony2vec.errors import UserError
from symphony2vec.models import generation

CLIPS, BINS, FRAMES = 60, 20, 40


def clips(count: int = CLIPS, seed: int = 0, level_db: float = -40.0) -> np.ndarray:
    """(count, F, T) in dB: each clip with its own level, tilt over the bins, and rough frames."""
    rng = np.random.default_rng(seed)
    level, tilt = rng.normal(level_db, 4.0, (count, 1, 1)), rng.normal(0.0, 8.0, (count, 1, 1))
    shape = level + tilt * np.linspace(-1.0, 1.0, BINS)[:, None]
    return (shape + rng.normal(0.0, 5.0, (count, BINS, FRAMES))).astype(np.float32)


def blurred(mel_db: np.ndarray, frames: int) -> np.ndarray:
    """Return the moving average over so many frames."""
    shifted = [np.roll(mel_db, shift, axis=2) for shift in range(-(frames // 2), frames - frames // 2)]
    return np.mean(shifted, axis=0)


def rows(count: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, width)) @ rng.standard_normal((width, width)) + rng.standard_normal(width)


# the log-spectral distance --------------------------------------------------------------------------------------------


def test_the_distance_of_an_original_from_itself_is_zero():
    np.testing.assert_array_equal(generation.log_spectral_distance(clips(), clips()), np.zeros(CLIPS))


@pytest.mark.parametrize("offset_db", [3.0, -7.5])
def test_a_copy_that_is_louder_by_some_db_is_as_many_db_away(offset_db):
    distances_db = generation.log_spectral_distance(clips(), clips() + np.float32(offset_db))
    np.testing.assert_allclose(distances_db, abs(offset_db), rtol=1e-5)


def test_the_distance_is_the_root_mean_square_over_bins_and_the_mean_over_frames():
    originals, copies = np.zeros((2, 2, 3)), np.zeros((2, 2, 3))
    copies[1, :, 0], copies[1, 0, 1] = (3.0, 4.0), 2.0
    expected = (np.sqrt((9.0 + 16.0) / 2.0) + np.sqrt(4.0 / 2.0) + 0.0) / 3.0
    np.testing.assert_allclose(generation.log_spectral_distance(originals, copies), [0.0, expected])


# the description ------------------------------------------------------------------------------------------------------


def test_descriptors_start_with_mean_and_deviation_of_librosas_mfcc():
    mel_db = clips(70)  # more than are described at once
    descriptors = generation.describe_clips(mel_db)
    assert descriptors.shape == (70, 4 * 13)
    mfcc = np.stack([librosa.feature.mfcc(S=clip, n_mfcc=13) for clip in mel_db])
    np.testing.assert_allclose(descriptors[:, :13], mfcc.mean(axis=2), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(descriptors[:, 13:26], mfcc.std(axis=2), rtol=1e-4, atol=1e-4)


def test_a_clip_that_stands_still_does_not_move_and_one_played_backwards_moves_as_much():
    still = np.repeat(clips()[:, :, :1], FRAMES, axis=2)
    np.testing.assert_allclose(generation.describe_clips(still)[:, 13:], 0.0, atol=1e-5)
    np.testing.assert_allclose(
        generation.describe_clips(clips()[:, :, ::-1]), generation.describe_clips(clips()), atol=1e-9
    )


def test_the_order_of_frames_shows_in_the_moves_alone():
    mixed = clips()[:, :, np.random.default_rng(1).permutation(FRAMES)]
    original, shuffled = generation.describe_clips(clips()), generation.describe_clips(mixed)
    np.testing.assert_allclose(shuffled[:, :26], original[:, :26], atol=1e-9)
    assert (np.abs(shuffled[:, 26:] - original[:, 26:]) > 1e-6).all()


def test_there_are_at_most_as_many_coefficients_as_bins():
    assert generation.describe_clips(clips()[:, :4]).shape == (CLIPS, 4 * 4)


def test_training_clips_become_standard_and_a_number_that_never_changes_is_centred():
    training = np.column_stack([rows(50, 3, 0), np.full(50, 7.0)])
    standardised = generation.standardise(training, training)
    np.testing.assert_allclose(standardised.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(standardised.std(axis=0), [1.0, 1.0, 1.0, 0.0], atol=1e-12)


# the Frechet distance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [80, 6, 1])  # six clips do not span ten numbers; one has no spread
def test_the_frechet_distance_of_clips_from_themselves_is_zero(count):
    a = rows(count, 10, 0)
    assert generation.frechet_distance(a, a) == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("count", [80, 6])
def test_the_frechet_distance_is_symmetric(count):
    a, b = rows(count, 10, 0), rows(count, 10, 1)
    assert generation.frechet_distance(a, b) == pytest.approx(generation.frechet_distance(b, a), rel=1e-10)
    assert generation.frechet_distance(a, b) > 1.0


@pytest.mark.parametrize("count", [80, 6, 1])
def test_a_shift_adds_its_square(count):
    a, shift = rows(count, 10, 0), np.random.default_rng(5).standard_normal(10)
    assert generation.frechet_distance(a, a + shift) == pytest.approx(np.square(shift).sum(), rel=1e-8)


def test_a_wider_spread_adds_the_square_of_the_difference_of_deviations():
    a = rows(80, 10, 0)
    centred = a - a.mean(axis=0)
    expected = 0.25 * np.trace(np.cov(a.T))  # (1.5 - 1)^2 of every variance
    assert generation.frechet_distance(a, a.mean(axis=0) + 1.5 * centred) == pytest.approx(expected, rel=1e-8)


def test_the_frechet_distance_equals_the_textbook_formula():
    a, b = rows(200, 10, 0), rows(200, 10, 1)
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    shared = np.trace(sqrtm(cov_a @ cov_b)).real
    means = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    expected = means + np.trace(cov_a) + np.trace(cov_b) - 2.0 * shared
    assert generation.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_fewer_clips_of_one_kind_seem_further_apart():
    rng = np.random.default_rng(0)
    few, many = (
        [generation.frechet_distance(*rng.standard_normal((2, count, 10))) for _ in range(10)] for count in (20, 200)
    )
    assert np.mean(few) > 5.0 * np.mean(many)


def test_unequal_numbers_of_clips_are_refused():
    with pytest.raises(UserError, match="the Frechet distance of 20 clips from 30 depends on the numbers"):
        generation.frechet_distance(rows(20, 3, 0), rows(30, 3, 0))


# the report -----------------------------------------------------------------------------------------------------------

TRAINING, HELD_OUT = np.arange(0, 90), np.arange(90, 150)


@pytest.fixture(scope="module")
def array() -> np.ndarray:
    return clips(150)


def report(array: np.ndarray, copies: np.ndarray, generated: np.ndarray | None = None) -> generation.GenerationQuality:
    return generation.evaluate(array, TRAINING, HELD_OUT, lambda rows: copies[rows], generated, 0)


def distances(result: generation.GenerationQuality) -> dict[str, float]:
    return {row["what"]: row["frechet"] for row in result.frechet}


def test_a_perfect_copy_has_distance_zero_and_training_clips_give_the_floor(array):
    result = report(array, array)
    np.testing.assert_array_equal(result.distances_db, np.zeros(60))
    assert [row["what"] for row in result.frechet] == ["reconstructed", "training"]
    assert {row["clips"] for row in result.frechet} == {60}
    assert distances(result)["reconstructed"] == pytest.approx(0.0, abs=1e-8)
    assert distances(result)["training"] > 0.5


def test_the_more_a_copy_is_blurred_along_time_the_further_it_is(array):
    results = [report(array, blurred(array, frames)) for frames in (1, 2, 4, 8)]
    assert (np.diff([distances(result)["reconstructed"] for result in results]) > 1.0).all()
    assert (np.diff([result.distances_db.mean() for result in results]) > 0.1).all()
    assert len({distances(result)["training"] for result in results}) == 1


def test_frames_in_another_order_are_far_in_their_moves_alone(array):
    mixed = blurred(array, 4)[:, :, np.random.default_rng(1).permutation(FRAMES)]
    (shuffled, _), (smooth, _) = report(array, mixed).frechet, report(array, blurred(array, 4)).frechet
    assert shuffled["frechet_spectrum"] == pytest.approx(smooth["frechet_spectrum"], rel=1e-4)
    assert shuffled["frechet_moves"] < 0.8 * smooth["frechet_moves"]  # rougher again
    level = report(array, array + np.float32(10.0)).frechet[0]
    assert level["frechet_moves"] == pytest.approx(0.0, abs=1e-4)
    assert level["frechet_spectrum"] == pytest.approx(level["frechet"], rel=1e-3)


def test_generated_clips_like_the_real_ones_are_near_the_floor_and_others_are_not(array):
    alike, louder = (report(array, array, clips(100, 7, level)) for level in (-40.0, -20.0))
    assert distances(alike)["generated"] < 1.5 * distances(alike)["training"]
    assert distances(louder)["generated"] > distances(alike)["generated"] + 15.0  # five deviations, of the level


def test_every_distance_is_of_as_many_clips_as_the_smallest_number(array):
    result = report(array, array, clips(25, 7))
    assert [(row["what"], row["clips"]) for row in result.frechet] == [
        ("generated", 25), ("reconstructed", 25), ("training", 25)
    ]  # fmt: skip
    assert len(result.distances_db) == 60


def test_the_number_of_clips_has_a_maximum(array, monkeypatch):
    monkeypatch.setattr(generation, "MAX_CLIPS", 11)
    assert {row["clips"] for row in report(array, array).frechet} == {11}


def test_frames_that_a_model_does_not_give_are_left_out_everywhere(array):
    first, generated = (array.shape[2] - 32) // 2, clips(60, 7)
    shorter, middle = (clips_db[:, :, first : first + 32] for clips_db in (array, generated))
    result, expected = report(array, shorter, generated), report(shorter, shorter, middle)
    assert result.frechet == expected.frechet
    np.testing.assert_array_equal(result.distances_db, np.zeros(60))


def test_clips_are_reconstructed_in_batches(array):
    batch_sizes: list[int] = []

    def reconstruct(rows: np.ndarray) -> np.ndarray:
        batch_sizes.append(len(rows))
        return array[rows]

    everything = np.arange(150)
    generation.evaluate(array, TRAINING, everything, reconstruct, None, 0)
    assert sum(batch_sizes) == 151  # one clip tells the number of frames
    assert max(batch_sizes) <= generation.CLIPS_AT_ONCE


def test_metrics_and_tables_hold_the_results(array):
    result = report(array, array + 2.0, clips(60, 7))
    table = pd.DataFrame({"clip": range(150), "composer": "a", "work": "b", "split": "test"})
    tables = result.tables(table.iloc[HELD_OUT])
    assert tables["generation"].columns.tolist() == ["clip", "composer", "work", "log_spectral_distance"]
    assert tables["generation"]["clip"].tolist() == HELD_OUT.tolist()
    np.testing.assert_allclose(tables["generation"]["log_spectral_distance"], 2.0, rtol=1e-5)
    assert tables["frechet"].columns.tolist() == [
        "what", "frechet", "frechet_spectrum", "frechet_moves", "clips"
    ]  # fmt: skip
    assert set(result.metrics) == {
        "log_spectral_distance", "frechet_generated", "frechet_reconstructed", "frechet_training"
    }  # fmt: skip
    assert result.metrics["log_spectral_distance"] == pytest.approx(2.0)
