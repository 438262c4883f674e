"""Crops, augmentation and positives: their distribution, strength and origin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from symphony2vec.models.temporal.views import Augmentation, PositiveSampler, augment, crop, shift

ALL = Augmentation(mask_bins=5, mask_frames=9, shift_bins=2, level_shift=0.3)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(clips: int = 3, bins: int = 4, frames: int = 64) -> Tensor:
    """(B, F, T) whose values tell clip, bin and frame: 10000 clip + 100 bin + frame."""
    of_clips, of_bins = torch.arange(float(clips)), torch.arange(float(bins))
    return 10000.0 * of_clips[:, None, None] + 100.0 * of_bins[:, None] + torch.arange(float(frames))


def lengths(view: Tensor, axis: int) -> list[int]:
    """How wide the zeros along one axis of every clip (B, F, T) are; they must be one stretch."""
    silent = (view == 0.0).all(dim=3 - axis)
    widths = []
    for clip in silent.tolist():
        places = [place for place, is_masked in enumerate(clip) if is_masked]
        assert not places or places[-1] - places[0] + 1 == len(places)
        widths.append(len(places))
    return widths


# crops ----------------------------------------------------------------------------------------------------------------


def test_a_crop_is_an_unbroken_piece_of_its_own_clip():
    cropped = crop(numbered(), 16, rng())
    assert cropped.shape == (3, 4, 16)
    for clip, piece in enumerate(cropped):
        first = int(piece[0, 0]) - 10000 * clip
        assert 0 <= first <= 64 - 16
        assert torch.equal(piece, numbered()[clip][:, first : first + 16])


def test_crops_begin_nearly_everywhere():
    first = crop(numbered(1, 1, 24).expand(2000, 1, 24), 16, rng())[:, 0, 0]
    assert set(range(8)) <= set(first.int().tolist()) <= set(range(9))


@pytest.mark.parametrize("tempo", [0.0, 0.2])
def test_a_crop_may_be_as_long_as_its_clip(tempo):
    cropped = crop(numbered(5), 64, rng(), tempo)
    assert cropped.shape == (5, 4, 64)
    if not tempo:
        assert torch.equal(cropped, numbered(5))
    beyond = cropped[:, 0] - 10000.0 * torch.arange(5.0)[:, None]
    assert beyond.min() >= 0.0
    assert beyond.max() <= 63.0


def test_a_seed_draws_the_same_crops_and_the_next_call_others():
    rng_a, rng_b = rng(4), rng(4)
    first = crop(numbered(20), 16, rng_a, 0.1)
    assert torch.equal(first, crop(numbered(20), 16, rng_b, 0.1))
    assert not torch.equal(first, crop(numbered(20), 16, rng_a, 0.1))


def test_a_tempo_reads_at_a_steady_pace_of_its_own_within_its_share():
    x = torch.arange(64.0).expand(500, 2, 64)
    moves = crop(x, 32, rng(), 0.15)[:, 0].diff(dim=1)
    pace = moves.mean(dim=1)
    torch.testing.assert_close(moves, pace[:, None].expand_as(moves), rtol=0.0, atol=1e-4)
    assert 0.85 - 1e-4 <= float(pace.min()) < 0.87
    assert 1.13 < float(pace.max()) <= 1.15 + 1e-4
    assert abs(float(pace.mean()) - 1.0) < 0.02


def test_a_ramp_read_at_a_pace_of_1_1_is_a_ramp_of_slope_1_1(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda count, **_: torch.ones(count))  # the fastest, and begun at the end
    cropped = crop(torch.arange(64.0).expand(2, 3, 64), 16, rng(), 0.1)
    torch.testing.assert_close(cropped.diff(dim=2), torch.full((2, 3, 15), 1.1), rtol=0.0, atol=1e-4)
    torch.testing.assert_close(cropped[..., -1], torch.full((2, 3), 63.0), rtol=0.0, atol=1e-4)


# augmentation ---------------------------------------------------------------------------------------------------------


def test_an_augmentation_of_strength_zero_returns_the_clip():
    x = numbered()
    assert torch.equal(augment(x, Augmentation(), rng()), x)


@pytest.mark.parametrize(("axis", "name"), [(1, "mask_bins"), (2, "mask_frames")])
def test_a_mask_is_one_stretch_of_every_width_up_to_its_most_and_lies_everywhere(axis, name):
    x = torch.ones(3000, 12, 20)
    view = augment(x, Augmentation(**{name: 4}), rng())
    assert set(view.unique().tolist()) == {0.0, 1.0}
    widths = lengths(view, axis)
    assert set(widths) == set(range(5))
    assert min(widths.count(width) for width in range(5)) > 450  # about 600 of each
    hidden = (view == 0.0).all(dim=3 - axis).float().mean(dim=0)
    assert (hidden > 0.0).all()
    assert len(hidden) == x.shape[axis]


def test_masks_do_not_depend_on_the_clip():
    """Otherwise the discriminator could tell real and generated clips by their masks."""
    x = torch.cat([torch.full((2000, 8, 8), 0.1), torch.full((2000, 8, 8), 50.0)])
    hidden = (augment(x, Augmentation(mask_bins=3, mask_frames=5), rng()) == 0.0).float().mean(dim=(1, 2))
    assert abs(float(hidden[:2000].mean() - hidden[2000:].mean())) < 0.02
    mask, other_mask = (augment(scale * torch.ones(50, 8, 8), ALL, rng(1)) == 0.0 for scale in (1.0, 7.0))
    assert torch.equal(mask, other_mask)


def test_a_shift_moves_bins_and_repeats_those_at_the_edge():
    view = augment(numbered(400, 6, 3), Augmentation(shift_bins=2), rng())
    places = ((view - 10000.0 * torch.arange(400.0)[:, None, None]) / 100.0).floor().int()
    assert (places == places[:, :, :1]).all()
    shifts = {tuple(clip) for clip in places[:, :, 0].tolist()}
    assert shifts == {tuple(min(max(bin_ - shift, 0), 5) for bin_ in range(6)) for shift in range(-2, 3)}


def test_views_moved_alike_have_the_shifts_of_the_first():
    x = numbered(100, 6, 3)
    view = shift(torch.cat([x, x, x]), Augmentation(shift_bins=2), rng(), same_pitch=100)
    assert torch.equal(view[200:], view[:100])
    assert not torch.equal(view[100:200], view[:100])


def test_a_level_is_one_number_a_clip_of_the_deviation_asked_for():
    view = augment(torch.zeros(4000, 3, 5), Augmentation(level_shift=0.3), rng())
    assert torch.equal(view, view[:, :1, :1].expand_as(view))
    assert float(view[:, 0, 0].std()) == pytest.approx(0.3, rel=0.05)
    assert float(view[:, 0, 0].mean()) == pytest.approx(0.0, abs=0.02)


def test_an_equaliser_is_a_smooth_curve_over_the_bins_and_constant_in_time():
    view = augment(torch.zeros(4000, 64, 5), Augmentation(equalisation=0.2), rng())
    assert torch.equal(view, view[:, :, :1].expand_as(view))
    assert float(view[:, 0].std()) == pytest.approx(0.2, rel=0.05)
    steps = view[:, 1:, 0] - view[:, :-1, 0]
    assert float(steps.std()) < 0.05
    assert float((view[:, 0, 0] * view[:, 63, 0]).mean()) == pytest.approx(0.0, abs=0.005)


def test_a_noise_floor_raises_the_quietest_values_alone():
    x = torch.rand(500, 16, 16, generator=rng()) * 4.0
    view = augment(x, Augmentation(noise_floor=1.5), rng())
    raised = view != x
    assert (view >= x).all()
    lowest = x.amin(dim=(1, 2))
    assert ((view.amin(dim=(1, 2)) - lowest) <= 1.5).all()
    assert float((view.amin(dim=(1, 2)) - lowest).mean()) == pytest.approx(0.75, abs=0.06)
    assert (view[raised] <= (lowest + 1.5).max()).all()
    assert not raised[x > (lowest + 1.5)[:, None, None]].any()


def test_what_is_masked_stays_the_mean_of_its_band_at_any_level():
    view = augment(torch.ones(50, 8, 8), Augmentation(mask_bins=3, level_shift=5.0), rng())
    assert max(lengths(view, 1)) == 3


def test_a_view_is_differentiable_and_a_masked_value_gets_no_gradient():
    x = torch.rand(6, 16, 32, generator=rng()).requires_grad_()
    augment(x, Augmentation(mask_bins=5, mask_frames=9, level_shift=0.3), rng(1)).sum().backward()
    view = augment(torch.ones(6, 16, 32), Augmentation(mask_bins=5, mask_frames=9), rng(1))
    assert set(x.grad.unique().tolist()) == {0.0, 1.0}
    assert x.grad.shape == view.shape
    clips_with_gradient = torch.ones(2, 6, 3, requires_grad=True)
    augment(clips_with_gradient, Augmentation(shift_bins=2), rng()).sum().backward()
    assert float(clips_with_gradient.grad.sum()) == 2 * 6 * 3  # what an edge gets twice another bin does not get


def test_a_seed_draws_the_same_changes_and_the_next_call_others():
    x, rng_a = torch.rand(8, 16, 32, generator=rng()), rng(3)
    first = augment(x, ALL, rng_a)
    assert torch.equal(first, augment(x, ALL, rng(3)))
    assert not torch.equal(first, augment(x, ALL, rng_a))


# positives ------------------------------------------------------------------------------------------------------------

MOVEMENTS = np.repeat([4, 0, 9, 2, 7], [4, 1, 3, 2, 2])
TRAINING = np.array([0, 2, 3, 4, 5, 6, 8, 9])  # a clip of two movements held out, and a movement whole


def test_positives_are_all_training_clips_of_the_same_movement():
    sampler, generator = PositiveSampler(MOVEMENTS, TRAINING, "movement"), rng()
    samples = np.stack([sampler.sample(TRAINING, generator) for _ in range(200)])
    for row, partners in zip(TRAINING, samples.T, strict=True):
        assert set(partners.tolist()) == {clip for clip in TRAINING.tolist() if MOVEMENTS[clip] == MOVEMENTS[row]}


def test_with_clips_as_groups_each_clip_is_its_own_positive():
    sampler = PositiveSampler(MOVEMENTS, TRAINING, "clip")
    np.testing.assert_array_equal(sampler.sample(TRAINING, rng()), TRAINING)
    assert len(set(sampler.groups(TRAINING).tolist())) == len(TRAINING)


def test_groups_are_movements_and_a_positive_is_of_the_same_group():
    sampler = PositiveSampler(MOVEMENTS, TRAINING, "movement")
    np.testing.assert_array_equal(sampler.groups(TRAINING), MOVEMENTS[TRAINING])
    partners = sampler.sample(TRAINING, rng(1))
    np.testing.assert_array_equal(sampler.groups(partners), sampler.groups(TRAINING))


def test_a_seed_samples_the_same_positives():
    sampler, many = PositiveSampler(MOVEMENTS, TRAINING, "movement"), np.repeat(TRAINING, 20)
    np.testing.assert_array_equal(sampler.sample(many, rng(5)), sampler.sample(many, rng(5)))
    assert (sampler.sample(many, rng(5)) != sampler.sample(many, rng(6))).any()
