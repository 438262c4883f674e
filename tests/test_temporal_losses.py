"""The losses of the temporal ALI by hand, and that one backward pass serves both sides of the game."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from symphony2vec.models.temporal import losses
from symphony2vec.models.temporal.networks import Discriminator
from symphony2vec.models.training import loop


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# the game -------------------------------------------------------------------------------------------------------------


def test_who_cannot_tell_loses_twice_the_logarithm_of_two():
    nothing = torch.zeros(5)
    for loss in (losses.discriminator_loss, losses.generator_loss):
        assert float(loss(nothing, nothing)) == pytest.approx(2 * math.log(2))


def test_both_losses_are_those_of_their_docstrings():
    q, p = noise(7), noise(7, seed=1)
    share_q, share_p = (1.0 / (1.0 + np.exp(-logit.numpy())) for logit in (q, p))
    expected = -np.log(share_q).mean() - np.log(1.0 - share_p).mean()
    assert float(losses.discriminator_loss(q, p)) == pytest.approx(expected, rel=1e-12)
    assert float(losses.generator_loss(q, p)) == pytest.approx(float(losses.discriminator_loss(p, q)), rel=1e-12)


def test_slopes_are_the_derivatives_of_both_losses_by_each_logit():
    q, p = (3.0 * noise(9, seed=seed) for seed in (0, 1))
    q.requires_grad_()
    p.requires_grad_()
    of_d = torch.autograd.grad(losses.discriminator_loss(q, p), (q, p))
    of_g = torch.autograd.grad(losses.generator_loss(q, p), (q, p))
    slope_q, slope_p, turn_q, turn_p = losses.slopes(q, p)
    for found, expected in zip((slope_q, slope_p, slope_q * turn_q, slope_p * turn_p), (*of_d, *of_g), strict=True):
        assert not found.requires_grad
        torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_discriminator_that_is_sure_still_gives_finite_slopes_that_push_back(dtype):
    q, p = torch.tensor([14.0, 40.0, 1000.0], dtype=dtype), torch.tensor([-14.0, -40.0, -1000.0], dtype=dtype)
    slope_q, slope_p, turn_q, turn_p = losses.slopes(q, p)
    third = torch.full((3,), 1 / 3, dtype=dtype)  # its largest, of three pairs
    torch.testing.assert_close(slope_q * turn_q, third, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(slope_p * turn_p, -third, rtol=1e-5, atol=0.0)
    assert (slope_q.abs() < 1e-6).all()


def test_a_discriminator_that_is_quite_wrong_gets_its_full_slope():
    slope_q, slope_p, turn_q, turn_p = losses.slopes(torch.tensor([-1000.0]), torch.tensor([1000.0]))
    assert (float(slope_q), float(slope_p), float(turn_q), float(turn_p)) == (-1.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("unary", [True, False])
def test_one_backward_pass_gives_the_gradients_of_both_losses(unary):
    """Of the discriminator's loss by its weights, and of the generator's by what it is given."""
    made = loop.create_network(lambda: Discriminator(3, 2, 2, 16, unary), 0, torch.device("cpu")).double()
    given = [noise(12, 16, 64), noise(12, 3, seed=1), noise(12, 4, 2, seed=2)]
    for one in given:
        one.requires_grad_()
    logit_q, logit_p = made(*given).split(6)
    weights = tuple(made.parameters())
    by_weights = torch.autograd.grad(losses.discriminator_loss(logit_q, logit_p), weights, retain_graph=True)
    by_given = torch.autograd.grad(losses.generator_loss(logit_q, logit_p), given, retain_graph=True)
    slope_q, slope_p, turn_q, turn_p = losses.slopes(logit_q, logit_p)
    (logit_q @ slope_q + logit_p @ slope_p).backward()
    for weight, expected in zip(weights, by_weights, strict=True):
        torch.testing.assert_close(weight.grad, expected, rtol=0.0, atol=1e-10)
    turn = torch.cat([turn_q, turn_p])
    for one, expected in zip(given, by_given, strict=True):
        assert expected.abs().max() > 1e-6
        torch.testing.assert_close(one.grad * turn.view(-1, *[1] * (one.dim() - 1)), expected, rtol=0.0, atol=1e-10)


# reconstruction and contrast ------------------------------------------------------------------------------------------


def test_the_reconstruction_is_the_mean_absolute_difference():
    x = noise(2, 3, 4)
    assert float(losses.reconstruction(x, x)) == 0.0
    assert float(losses.reconstruction(x, x - 0.5)) == pytest.approx(0.5)


def looped(views: np.ndarray, groups: list[int], temperature: float) -> float:
    """The contrast as its docstring has it: of every view, the mean over its positives of their cross-entropy."""
    found = []
    for i in range(len(views)):
        others = [j for j in range(len(views)) if j != i]
        total = sum(math.exp(views[i] @ views[j] / temperature) for j in others)
        shares = [math.exp(views[i] @ views[j] / temperature) / total for j in others if groups[j] == groups[i]]
        found.append(-sum(map(math.log, shares)) / len(shares))
    return sum(found) / len(found)


@pytest.mark.parametrize("groups", [[0, 1, 2, 0, 1, 2], [5, 5, 7, 7, 7, 5], [3, 3, 3, 3, 3, 3], [9, 1, 1, 1, 9, 1]])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_contrast_is_that_of_a_plain_double_loop(groups, temperature):
    views = torch.nn.functional.normalize(noise(6, 5), dim=1)
    found = losses.contrast(views, torch.tensor(groups), temperature)
    assert float(found) == pytest.approx(looped(views.numpy(), groups, temperature), rel=1e-10)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_equal_views_leave_a_guess_among_all_others(temperature):
    views = torch.ones(8, 1, dtype=torch.float64)
    found = losses.contrast(views, torch.arange(4).repeat(2), temperature)
    assert float(found) == pytest.approx(math.log(7))


def test_groups_that_lie_apart_cost_nothing_in_pairs_and_a_guess_among_themselves_in_threes():
    apart = torch.eye(4, dtype=torch.float64)
    assert float(losses.contrast(apart.repeat(2, 1), torch.arange(4).repeat(2), 0.01)) == pytest.approx(0.0, abs=1e-12)
    threes = losses.contrast(apart.repeat(3, 1), torch.arange(4).repeat(3), 0.01)
    assert float(threes) == pytest.approx(math.log(2))


def test_the_names_of_the_groups_and_the_order_of_the_views_mean_nothing():
    views, groups = torch.nn.functional.normalize(noise(6, 5), dim=1), torch.tensor([0, 0, 1, 1, 2, 2])
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    found = losses.contrast(views[order], 70 - 3 * groups[order], 0.2)
    torch.testing.assert_close(found, losses.contrast(views, groups, 0.2))


def test_the_contrast_pulls_its_own_group_near():
    views, groups = noise(8, 4).requires_grad_(), torch.arange(4).repeat(2)

    def loss() -> Tensor:
        return losses.contrast(torch.nn.functional.normalize(views, dim=1), groups, 0.1)

    before = loss().item()
    for _ in range(50):
        (slope,) = torch.autograd.grad(loss(), views)
        views = (views - 0.1 * slope).detach().requires_grad_()
    assert loss().item() < 0.2 * before
