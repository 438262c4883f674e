"""The distance of copies from their originals, and of invented clips from real ones, on made-up spectrograms."""

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
    """Every frame the mean of so many around it."""
    shifted = [np.roll(mel_db, shift, axis=2) for shift in range(-(frames // 2), frames - frames // 2)]
    return np.mean(shifted, axis=0)


def rows(count: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, width)) @ rng.standard_normal((width, width)) + rng.standard_normal(width)


# the log-spectral distance --------------------------------------------------------------------------------------------


def test_a_copy_that_is_the_original_has_no_distance():
    np.testing.assert_array_equal(generation.log_spectral_distance(clips(), clips()), np.zeros(CLIPS))


@pytest.mark.parametrize("offset_db", [3.0, -7.5])
def test_a_copy_that_is_louder_by_some_db_is_as_many_db_away(offset_db):
    found = generation.log_spectral_distance(clips(), clips() + np.float32(offset_db))
    np.testing.assert_allclose(found, abs(offset_db), rtol=1e-5)


def test_the_distance_is_the_root_mean_square_over_bins_and_the_mean_over_frames():
    originals, copies = np.zeros((2, 2, 3)), np.zeros((2, 2, 3))
    copies[1, :, 0], copies[1, 0, 1] = (3.0, 4.0), 2.0
    expected = (np.sqrt((9.0 + 16.0) / 2.0) + np.sqrt(4.0 / 2.0) + 0.0) / 3.0
    np.testing.assert_allclose(generation.log_spectral_distance(originals, copies), [0.0, expected])


# the description ------------------------------------------------------------------------------------------------------


def test_it_begins_with_mean_and_deviation_of_librosas_mfcc():
    mel_db = clips(70)  # more than are described at once
    found = generation.described(mel_db)
    assert found.shape == (70, 4 * 13)
    mfcc = np.stack([librosa.feature.mfcc(S=one, n_mfcc=13) for one in mel_db])
    np.testing.assert_allclose(found[:, :13], mfcc.mean(axis=2), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[:, 13:26], mfcc.std(axis=2), rtol=1e-4, atol=1e-4)


def test_a_clip_that_stands_still_does_not_move_and_one_played_backwards_moves_as_much():
    still = np.repeat(clips()[:, :, :1], FRAMES, axis=2)
    np.testing.assert_allclose(generation.described(still)[:, 13:], 0.0, atol=1e-5)
    np.testing.assert_allclose(generation.described(clips()[:, :, ::-1]), generation.described(clips()), atol=1e-9)


def test_the_order_of_frames_shows_in_the_moves_alone():
    mixed = clips()[:, :, np.random.default_rng(1).permutation(FRAMES)]
    one, other = generation.described(clips()), generation.described(mixed)
    np.testing.assert_allclose(other[:, :26], one[:, :26], atol=1e-9)
    assert (np.abs(other[:, 26:] - one[:, 26:]) > 1e-6).all()


def test_of_few_bins_there_are_as_few_coefficients():
    assert generation.described(clips()[:, :4]).shape == (CLIPS, 4 * 4)


def test_training_clips_become_standard_and_a_number_that_never_changes_is_centred():
    training = np.column_stack([rows(50, 3, 0), np.full(50, 7.0)])
    found = generation.standardised(training, training)
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(found.std(axis=0), [1.0, 1.0, 1.0, 0.0], atol=1e-12)


# the Frechet distance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [80, 6, 1])  # six clips do not span ten numbers; one has no spread
def test_clips_are_at_no_distance_from_themselves(count):
    one = rows(count, 10, 0)
    assert generation.frechet(one, one) == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("count", [80, 6])
def test_there_and_back_are_equally_far(count):
    one, other = rows(count, 10, 0), rows(count, 10, 1)
    assert generation.frechet(one, other) == pytest.approx(generation.frechet(other, one), rel=1e-10)
    assert generation.frechet(one, other) > 1.0


@pytest.mark.parametrize("count", [80, 6, 1])
def test_a_shift_adds_its_square(count):
    one, shift = rows(count, 10, 0), np.random.default_rng(5).standard_normal(10)
    assert generation.frechet(one, one + shift) == pytest.approx(np.square(shift).sum(), rel=1e-8)


def test_a_wider_spread_adds_the_square_of_the_difference_of_deviations():
    one = rows(80, 10, 0)
    centred = one - one.mean(axis=0)
    expected = 0.25 * np.trace(np.cov(one.T))  # (1.5 - 1)^2 of every variance
    assert generation.frechet(one, one.mean(axis=0) + 1.5 * centred) == pytest.approx(expected, rel=1e-8)


def test_it_is_the_textbooks_formula_where_that_can_be_computed():
    one, other = rows(200, 10, 0), rows(200, 10, 1)
    cov_one, cov_other = np.cov(one.T), np.cov(other.T)
    shared = np.trace(sqrtm(cov_one @ cov_other)).real
    means = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    expected = means + np.trace(cov_one) + np.trace(cov_other) - 2.0 * shared
    assert generation.frechet(one, other) == pytest.approx(expected, rel=1e-6)


def test_fewer_clips_of_one_kind_seem_further_apart():
    rng = np.random.default_rng(0)
    few, many = ([generation.frechet(*rng.standard_normal((2, count, 10))) for _ in range(10)] for count in (20, 200))
    assert np.mean(few) > 5.0 * np.mean(many)


def test_unequal_numbers_of_clips_are_refused():
    with pytest.raises(UserError, match="a Frechet distance of 20 clips from 30 would depend on the numbers"):
        generation.frechet(rows(20, 3, 0), rows(30, 3, 0))


# the report -----------------------------------------------------------------------------------------------------------

TRAINING, HELD_OUT = np.arange(0, 90), np.arange(90, 150)


@pytest.fixture(scope="module")
def array() -> np.ndarray:
    return clips(150)


def report(array: np.ndarray, copies: np.ndarray, generated: np.ndarray | None = None) -> generation.Quality:
    return generation.report(array, TRAINING, HELD_OUT, lambda rows: copies[rows], generated, 0)


def distances(found: generation.Quality) -> dict[str, float]:
    return {row["what"]: row["frechet"] for row in found.frechet}


def test_a_perfect_copy_is_at_no_distance_and_training_clips_are_at_the_floor(array):
    found = report(array, array)
    np.testing.assert_array_equal(found.distances_db, np.zeros(60))
    assert [row["what"] for row in found.frechet] == ["reconstructed", "training"]
    assert {row["clips"] for row in found.frechet} == {60}
    assert distances(found)["reconstructed"] == pytest.approx(0.0, abs=1e-8)
    assert distances(found)["training"] > 0.5


def test_the_more_a_copy_is_blurred_along_time_the_further_it_is(array):
    known = [report(array, blurred(array, frames)) for frames in (1, 2, 4, 8)]
    assert (np.diff([distances(found)["reconstructed"] for found in known]) > 1.0).all()
    assert (np.diff([found.distances_db.mean() for found in known]) > 0.1).all()
    assert len({distances(found)["training"] for found in known}) == 1


def test_frames_in_another_order_are_far_in_their_moves_alone(array):
    mixed = blurred(array, 4)[:, :, np.random.default_rng(1).permutation(FRAMES)]
    (found, _), (smooth, _) = report(array, mixed).frechet, report(array, blurred(array, 4)).frechet
    assert found["frechet_spectrum"] == pytest.approx(smooth["frechet_spectrum"], rel=1e-4)
    assert found["frechet_moves"] < 0.8 * smooth["frechet_moves"]  # rougher again
    level = report(array, array + np.float32(10.0)).frechet[0]
    assert level["frechet_moves"] == pytest.approx(0.0, abs=1e-4)
    assert level["frechet_spectrum"] == pytest.approx(level["frechet"], rel=1e-3)


def test_invented_clips_like_the_real_ones_are_near_the_floor_and_others_are_not(array):
    alike, louder = (report(array, array, clips(100, 7, level)) for level in (-40.0, -20.0))
    assert distances(alike)["generated"] < 1.5 * distances(alike)["training"]
    assert distances(louder)["generated"] > distances(alike)["generated"] + 15.0  # five deviations, of the level


def test_every_distance_is_of_as_many_clips_as_the_smallest_number(array):
    found = report(array, array, clips(25, 7))
    assert [(row["what"], row["clips"]) for row in found.frechet] == [
        ("generated", 25), ("reconstructed", 25), ("training", 25)
    ]  # fmt: skip
    assert len(found.distances_db) == 60


def test_no_more_clips_are_taken_than_the_named_number(array, monkeypatch):
    monkeypatch.setattr(generation, "CLIPS", 11)
    assert {row["clips"] for row in report(array, array).frechet} == {11}


def test_frames_that_a_model_does_not_give_are_left_out_everywhere(array):
    first, generated = (array.shape[2] - 32) // 2, clips(60, 7)
    shorter, middle = (of[:, :, first : first + 32] for of in (array, generated))
    found, expected = report(array, shorter, generated), report(shorter, shorter, middle)
    assert found.frechet == expected.frechet
    np.testing.assert_array_equal(found.distances_db, np.zeros(60))


def test_a_model_is_asked_for_a_few_clips_at_a_time(array):
    asked: list[int] = []

    def reconstruct(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return array[rows]

    everything = np.arange(150)
    generation.report(array, TRAINING, everything, reconstruct, None, 0)
    assert sum(asked) == 151  # one clip tells the number of frames
    assert max(asked) <= generation.CLIPS_AT_ONCE


def test_metrics_and_tables_say_what_was_found(array):
    found = report(array, array + 2.0, clips(60, 7))
    table = pd.DataFrame({"clip": range(150), "composer": "a", "work": "b", "split": "test"})
    tables = found.tables(table.iloc[HELD_OUT])
    assert tables["generation"].columns.tolist() == ["clip", "composer", "work", "log_spectral_distance"]
    assert tables["generation"]["clip"].tolist() == HELD_OUT.tolist()
    np.testing.assert_allclose(tables["generation"]["log_spectral_distance"], 2.0, rtol=1e-5)
    assert tables["frechet"].columns.tolist() == [
        "what", "frechet", "frechet_spectrum", "frechet_moves", "clips"
    ]  # fmt: skip
    assert set(found.metrics) == {
        "log_spectral_distance", "frechet_generated", "frechet_reconstructed", "frechet_training"
    }  # fmt: skip
    assert found.metrics["log_spectral_distance"] == pytest.approx(2.0)
