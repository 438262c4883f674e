"""Scaling: numpy's own moments, ranges, the way back, and what the training clips alone decide."""

from __future__ import annotations

import json

import numpy as np
import pytest

from symphony2vec.package import scaling
from symphony2vec.package.scaling import CROP, Scaling

RANGE_DB = 80.0
TRAINING = np.arange(0, 40, 2)


def sounds(representation: str, clips: int = 40, frames: int = 50, seed: int = 0) -> np.ndarray:
    """Arrays (clips, F, T) with the ranges of the three representations; every bin has its own mean and spread."""
    rng = np.random.default_rng(seed)
    if representation == "mfcc":
        bins = np.arange(13.0)[:, None]
        return (rng.standard_normal((clips, 13, frames)) * (1.0 + 5.0 * bins) - 200.0 / (1.0 + bins)).astype(np.float32)
    shape = (clips, 64 if representation == "mel" else 12, frames)
    strengths = rng.beta(2.0, np.linspace(1.0, 5.0, shape[1])[:, None], shape)
    strengths[0, 0, :2] = (0.0, 1.0)  # both ends of the range are there
    return (RANGE_DB * (strengths - 1.0) if representation == "mel" else strengths).astype(np.float32)


def every_scaling(representation: str, array: np.ndarray) -> list[Scaling]:
    """All scalings that the representation has."""
    made = [
        scaling.standard(array, TRAINING),
        scaling.symmetric(representation, array, TRAINING, RANGE_DB),
    ]
    if representation != "mfcc":
        made.append(scaling.unit(representation, array.shape[1], RANGE_DB))
    return made


# There and back


@pytest.mark.parametrize("representation", ["mel", "mfcc", "chroma"])
def test_what_is_scaled_and_lies_within_the_range_comes_back(representation):
    array = sounds(representation)
    for scaled_by in every_scaling(representation, array):
        scaled = scaled_by.apply(array)
        inside = (scaled > scaled_by.low) & (scaled < scaled_by.high)
        assert inside.mean() > 0.95
        back = scaled_by.undo(scaled)
        np.testing.assert_allclose(back[inside], array[inside], rtol=1e-5, atol=1e-3)
        assert scaled.dtype == back.dtype == np.float32
        assert scaled.shape == back.shape == array.shape


@pytest.mark.parametrize("representation", ["mel", "mfcc", "chroma"])
def test_a_scaling_that_went_through_json_scales_to_the_same_bits(representation):
    array = sounds(representation)
    for before in every_scaling(representation, array):
        after = Scaling.from_plain(json.loads(json.dumps(before.as_plain(), allow_nan=False)))
        assert (after.low, after.high) == (before.low, before.high)
        np.testing.assert_array_equal(after.apply(array), before.apply(array))
        np.testing.assert_array_equal(after.undo(array), before.undo(array))
        assert after.offset.dtype == after.scale.dtype == np.float32


def test_an_open_range_is_not_written_down():
    array = sounds("mfcc")
    assert set(scaling.standard(array, TRAINING).as_plain()) == {"offset", "scale"}
    assert set(scaling.symmetric("mfcc", array, TRAINING, RANGE_DB).as_plain()) == {"offset", "scale", "low", "high"}


def test_one_clip_is_scaled_as_it_is_among_others():
    array = sounds("mel")
    for scaled_by in every_scaling("mel", array):
        np.testing.assert_array_equal(scaled_by.apply(array[3]), scaled_by.apply(array)[3])


def test_scaling_leaves_its_input_alone():
    array = sounds("mel")
    before = array.copy()
    for scaled_by in every_scaling("mel", array):
        scaled_by.undo(scaled_by.apply(array))
    np.testing.assert_array_equal(array, before)


# Ranges


@pytest.mark.parametrize("representation", ["mel", "chroma"])
def test_unit_reaches_from_0_to_1_and_no_further(representation):
    array = sounds(representation)
    scaled_by = scaling.unit(representation, array.shape[1], RANGE_DB)
    scaled = scaled_by.apply(array)
    assert (scaled.min(), scaled.max()) == (0.0, 1.0)
    wild = scaled_by.apply(3.0 * array + 10.0)
    assert wild.min() >= 0.0
    assert wild.max() == 1.0


@pytest.mark.parametrize("representation", ["mel", "chroma"])
def test_symmetric_is_unit_stretched_to_minus_1_to_1(representation):
    array = sounds(representation)
    scaled = scaling.symmetric(representation, array, TRAINING, RANGE_DB).apply(array)
    unit = scaling.unit(representation, array.shape[1], RANGE_DB).apply(array)
    np.testing.assert_allclose(scaled, 2.0 * unit - 1.0, atol=1e-5)
    assert (scaled.min(), scaled.max()) == (-1.0, 1.0)


def test_symmetric_mfcc_is_cut_at_a_few_deviations():
    array = sounds("mfcc")
    mean, deviation = scaling.moments(array, TRAINING)
    level = np.broadcast_to(mean[:, None], array.shape[1:])
    widest = scaling.CLIP_DEVIATIONS * deviation[:, None]
    scaled_by = scaling.symmetric("mfcc", array, TRAINING, RANGE_DB)
    for deviations, wanted in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (3.0, 1.0), (-9.0, -1.0)):
        np.testing.assert_allclose(scaled_by.apply(level + deviations * widest), wanted, atol=1e-5)


def test_standard_cuts_nothing():
    array = sounds("mfcc")
    scaled = scaling.standard(array, TRAINING).apply(array * 100.0)
    assert abs(scaled).max() > 100.0


# The training clips alone


@pytest.mark.parametrize("representation", ["mel", "mfcc", "chroma"])
def test_standard_gives_every_bin_mean_0_and_deviation_1_on_the_training_rows(representation):
    array = sounds(representation)
    scaled = scaling.standard(array, TRAINING).apply(array[TRAINING]).astype(np.float64)
    np.testing.assert_allclose(scaled.mean(axis=(0, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=(0, 2)), 1.0, atol=1e-4)


@pytest.mark.parametrize("representation", ["mel", "mfcc", "chroma"])
def test_only_the_training_rows_matter(representation):
    array = sounds(representation)
    others = np.setdiff1d(np.arange(len(array)), TRAINING)
    before = [one.as_plain() for one in every_scaling(representation, array)]
    array[others] = array[others] * 2.0 + 100.0
    assert [one.as_plain() for one in every_scaling(representation, array)] == before
    array[TRAINING[-1]] += 1.0
    assert scaling.standard(array, TRAINING).as_plain() != before[0]


@pytest.mark.parametrize("count", [1, 255, 256, 257, 700])
def test_moments_are_numpys_in_double_precision(count):
    rng = np.random.default_rng(count)
    array = (rng.standard_normal((900, 5, 7)) * [[1.0], [1e-3], [50.0], [1.0], [0.0]]).astype(np.float32)
    array += np.array([[0.0], [1000.0], [-80.0], [0.0], [-80.0]], np.float32)  # the last bin is constant
    array[:, 3] = 0.0
    rows = np.sort(rng.choice(900, count, replace=False))
    mean, deviation = scaling.moments(array, rows)
    exact = array[rows].astype(np.float64)
    wanted = exact.std(axis=(0, 2))
    wanted[wanted < 1e-6] = 1.0
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(deviation, wanted, rtol=1e-5)
    assert mean.dtype == deviation.dtype == np.float32
    assert list(deviation[3:]) == [1.0, 1.0]


@pytest.mark.parametrize("at_once", [1, 7, 10, 64])
def test_batches_hold_every_row_once_in_its_place_scaled_and_flat(at_once):
    array = np.random.default_rng(0).standard_normal((30, 4, 5)).astype(np.float32)
    rows = np.random.default_rng(1).permutation(np.arange(3, 23))
    scaled_by = Scaling(np.arange(4.0, dtype=np.float32), np.full(4, 2.0, np.float32), -1.0, 0.5)
    batches = list(scaling.batches(array, rows, scaled_by, at_once))
    wanted = np.clip((array[rows] - np.arange(4.0)[:, None]) / 2.0, -1.0, 0.5).reshape(20, 20)
    np.testing.assert_allclose(np.concatenate(batches), wanted, rtol=1e-6)
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= at_once
    assert max(sizes) - min(sizes) <= 1
    assert batches[0].dtype == np.float32


# The crop


@pytest.mark.parametrize(("bands", "first_bin"), [("low", 0), ("high", 32), ("random", 16)])
@pytest.mark.parametrize("frames", [32, 33, 50, 431])
def test_the_crop_lies_in_the_middle_frames_and_at_its_bands(bands, first_bin, frames):
    clips, bins = 3, 64
    places = np.arange(clips * bins * frames).reshape(clips, bins, frames)
    crop = scaling.middle_crop(places, bands)
    assert crop.shape == (clips, CROP, CROP)
    first, last = crop[0, 0, 0], crop[0, -1, -1]
    assert (first // frames, last // frames) == (first_bin, first_bin + CROP - 1)
    before, after = first % frames, frames - 1 - last % frames
    assert after - before in (0, 1)
    np.testing.assert_array_equal(crop[2] - crop[0], 2 * bins * frames)


@pytest.mark.parametrize("bands", ["low", "high", "random"])
def test_a_spectrogram_of_32_bins_has_one_crop(bands):
    assert scaling.first_band(CROP, bands) == 0
