"""Crops, changes and neighbours: where they begin, how much they change, and from which clips they come."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from symphony2vec.models.temporal.views import Changes, Neighbours, changed, crop

ALL = Changes(masked_bins=5, masked_frames=9, shifted_bins=2, level=0.3)


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(clips: int = 3, bins: int = 4, frames: int = 64) -> Tensor:
    """(B, F, T) whose values tell clip, bin and frame: 10000 clip + 100 bin + frame."""
    of_clips, of_bins = torch.arange(float(clips)), torch.arange(float(bins))
    return 10000.0 * of_clips[:, None, None] + 100.0 * of_bins[:, None] + torch.arange(float(frames))


def lengths(view: Tensor, axis: int) -> list[int]:
    """How wide the zeros along one axis of every clip (B, F, T) are; they must be one stretch."""
    silent = (view == 0.0).all(dim=3 - axis)
    found = []
    for clip in silent.tolist():
        places = [place for place, one in enumerate(clip) if one]
        assert not places or places[-1] - places[0] + 1 == len(places)
        found.append(len(places))
    return found


# crops ----------------------------------------------------------------------------------------------------------------


def test_a_crop_is_an_unbroken_piece_of_its_own_clip():
    found = crop(numbered(), 16, dice())
    assert found.shape == (3, 4, 16)
    for clip, one in enumerate(found):
        first = int(one[0, 0]) - 10000 * clip
        assert 0 <= first <= 64 - 16
        assert torch.equal(one, numbered()[clip][:, first : first + 16])


def test_crops_begin_nearly_everywhere():
    first = crop(numbered(1, 1, 24).expand(2000, 1, 24), 16, dice())[:, 0, 0]
    assert set(range(8)) <= set(first.int().tolist()) <= set(range(9))


@pytest.mark.parametrize("tempo", [0.0, 0.2])
def test_a_crop_may_be_as_long_as_its_clip(tempo):
    found = crop(numbered(5), 64, dice(), tempo)
    assert found.shape == (5, 4, 64)
    if not tempo:
        assert torch.equal(found, numbered(5))
    beyond = found[:, 0] - 10000.0 * torch.arange(5.0)[:, None]
    assert beyond.min() >= 0.0
    assert beyond.max() <= 63.0


def test_a_seed_draws_the_same_crops_and_the_next_call_others():
    one, other = dice(4), dice(4)
    first = crop(numbered(20), 16, one, 0.1)
    assert torch.equal(first, crop(numbered(20), 16, other, 0.1))
    assert not torch.equal(first, crop(numbered(20), 16, one, 0.1))


def test_a_tempo_reads_at_a_steady_pace_of_its_own_within_its_share():
    x = torch.arange(64.0).expand(500, 2, 64)
    moves = crop(x, 32, dice(), 0.15)[:, 0].diff(dim=1)
    pace = moves.mean(dim=1)
    torch.testing.assert_close(moves, pace[:, None].expand_as(moves), rtol=0.0, atol=1e-4)
    assert 0.85 - 1e-4 <= float(pace.min()) < 0.87
    assert 1.13 < float(pace.max()) <= 1.15 + 1e-4
    assert abs(float(pace.mean()) - 1.0) < 0.02


def test_a_ramp_read_at_a_pace_of_1_1_is_a_ramp_of_slope_1_1(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda count, **_: torch.ones(count))  # the fastest, and begun at the end
    found = crop(torch.arange(64.0).expand(2, 3, 64), 16, dice(), 0.1)
    torch.testing.assert_close(found.diff(dim=2), torch.full((2, 3, 15), 1.1), rtol=0.0, atol=1e-4)
    torch.testing.assert_close(found[..., -1], torch.full((2, 3), 63.0), rtol=0.0, atol=1e-4)


# changes --------------------------------------------------------------------------------------------------------------


def test_without_changes_a_view_is_its_clip():
    x = numbered()
    assert torch.equal(changed(x, Changes(), dice()), x)


@pytest.mark.parametrize(("axis", "name"), [(1, "masked_bins"), (2, "masked_frames")])
def test_a_mask_is_one_stretch_of_every_width_up_to_its_most_and_lies_everywhere(axis, name):
    x = torch.ones(3000, 12, 20)
    view = changed(x, Changes(**{name: 4}), dice())
    assert set(view.unique().tolist()) == {0.0, 1.0}
    widths = lengths(view, axis)
    assert set(widths) == set(range(5))
    assert min(widths.count(width) for width in range(5)) > 450  # about 600 of each
    hidden = (view == 0.0).all(dim=3 - axis).float().mean(dim=0)
    assert (hidden > 0.0).all()
    assert len(hidden) == x.shape[axis]


def test_masks_are_drawn_alike_for_every_clip_whatever_it_holds():
    """The discriminator could tell sides apart otherwise."""
    x = torch.cat([torch.full((2000, 8, 8), 0.1), torch.full((2000, 8, 8), 50.0)])
    hidden = (changed(x, Changes(masked_bins=3, masked_frames=5), dice()) == 0.0).float().mean(dim=(1, 2))
    assert abs(float(hidden[:2000].mean() - hidden[2000:].mean())) < 0.02
    one, other = (changed(scale * torch.ones(50, 8, 8), ALL, dice(1)) == 0.0 for scale in (1.0, 7.0))
    assert torch.equal(one, other)


def test_a_shift_moves_bins_and_repeats_those_at_the_edge():
    view = changed(numbered(400, 6, 3), Changes(shifted_bins=2), dice())
    places = ((view - 10000.0 * torch.arange(400.0)[:, None, None]) / 100.0).floor().int()
    assert (places == places[:, :, :1]).all()
    by = {tuple(one) for one in places[:, :, 0].tolist()}
    assert by == {tuple(min(max(bin_ - shift, 0), 5) for bin_ in range(6)) for shift in range(-2, 3)}


def test_a_level_is_one_number_a_clip_of_the_deviation_asked_for():
    view = changed(torch.zeros(4000, 3, 5), Changes(level=0.3), dice())
    assert torch.equal(view, view[:, :1, :1].expand_as(view))
    assert float(view[:, 0, 0].std()) == pytest.approx(0.3, rel=0.05)
    assert float(view[:, 0, 0].mean()) == pytest.approx(0.0, abs=0.02)


def test_what_is_masked_stays_the_mean_of_its_band_at_any_level():
    view = changed(torch.ones(50, 8, 8), Changes(masked_bins=3, level=5.0), dice())
    assert max(lengths(view, 1)) == 3


def test_a_view_is_differentiable_and_a_masked_value_gets_no_gradient():
    x = torch.rand(6, 16, 32, generator=dice()).requires_grad_()
    changed(x, Changes(masked_bins=5, masked_frames=9, level=0.3), dice(1)).sum().backward()
    view = changed(torch.ones(6, 16, 32), Changes(masked_bins=5, masked_frames=9), dice(1))
    assert set(x.grad.unique().tolist()) == {0.0, 1.0}
    assert x.grad.shape == view.shape
    moved = torch.ones(2, 6, 3, requires_grad=True)
    changed(moved, Changes(shifted_bins=2), dice()).sum().backward()
    assert float(moved.grad.sum()) == 2 * 6 * 3  # what an edge gets twice another bin does not get


def test_a_seed_draws_the_same_changes_and_the_next_call_others():
    x, one = torch.rand(8, 16, 32, generator=dice()), dice(3)
    first = changed(x, ALL, one)
    assert torch.equal(first, changed(x, ALL, dice(3)))
    assert not torch.equal(first, changed(x, ALL, one))


# neighbours -----------------------------------------------------------------------------------------------------------

MOVEMENTS = np.repeat([4, 0, 9, 2, 7], [4, 1, 3, 2, 2])
TRAINING = np.array([0, 2, 3, 4, 5, 6, 8, 9])  # a clip of two movements held out, and a movement whole


def test_a_partner_is_a_training_clip_of_the_same_movement_and_every_one_is_drawn():
    made, generator = Neighbours(MOVEMENTS, TRAINING, "movement"), dice()
    drawn = np.stack([made.drawn(TRAINING, generator) for _ in range(200)])
    for row, partners in zip(TRAINING, drawn.T, strict=True):
        assert set(partners.tolist()) == {other for other in TRAINING.tolist() if MOVEMENTS[other] == MOVEMENTS[row]}


def test_of_clips_alone_each_is_its_own_partner():
    made = Neighbours(MOVEMENTS, TRAINING, "clip")
    np.testing.assert_array_equal(made.drawn(TRAINING, dice()), TRAINING)
    assert len(set(made.groups(TRAINING).tolist())) == len(TRAINING)


def test_groups_are_movements_and_a_partner_is_of_the_group():
    made = Neighbours(MOVEMENTS, TRAINING, "movement")
    np.testing.assert_array_equal(made.groups(TRAINING), MOVEMENTS[TRAINING])
    partners = made.drawn(TRAINING, dice(1))
    np.testing.assert_array_equal(made.groups(partners), made.groups(TRAINING))


def test_a_seed_draws_the_same_partners():
    made, many = Neighbours(MOVEMENTS, TRAINING, "movement"), np.repeat(TRAINING, 20)
    np.testing.assert_array_equal(made.drawn(many, dice(5)), made.drawn(many, dice(5)))
    assert (made.drawn(many, dice(5)) != made.drawn(many, dice(6))).any()
