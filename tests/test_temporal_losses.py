"""The losses of the temporal ALI against explicit formulas, and gradients of both players from one backward pass."""

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


# adversarial ----------------------------------------------------------------------------------------------------------


def test_both_losses_at_chance_level_are_two_ln_two():
    logits = torch.zeros(5)
    for loss in (losses.discriminator_loss, losses.generator_loss):
        assert float(loss(logits, logits)) == pytest.approx(2 * math.log(2))


def test_both_losses_are_those_of_their_docstrings():
    q, p = noise(7), noise(7, seed=1)
    share_q, share_p = (1.0 / (1.0 + np.exp(-logit.numpy())) for logit in (q, p))
    expected = -np.log(share_q).mean() - np.log(1.0 - share_p).mean()
    assert float(losses.discriminator_loss(q, p)) == pytest.approx(expected, rel=1e-12)
    assert float(losses.generator_loss(q, p)) == pytest.approx(float(losses.discriminator_loss(p, q)), rel=1e-12)


def test_logit_gradients_are_the_derivatives_of_both_losses():
    q, p = (3.0 * noise(9, seed=seed) for seed in (0, 1))
    q.requires_grad_()
    p.requires_grad_()
    discriminator_gradients = torch.autograd.grad(losses.discriminator_loss(q, p), (q, p))
    generator_gradients = torch.autograd.grad(losses.generator_loss(q, p), (q, p))
    gradient_q, gradient_p, scale_q, scale_p = losses.logit_gradients(q, p)
    for actual, expected in zip(
        (gradient_q, gradient_p, gradient_q * scale_q, gradient_p * scale_p),
        (*discriminator_gradients, *generator_gradients),
        strict=True,
    ):
        assert not actual.requires_grad
        torch.testing.assert_close(actual, expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_certain_discriminator_gives_finite_gradients_to_the_generator(dtype):
    q, p = torch.tensor([14.0, 40.0, 1000.0], dtype=dtype), torch.tensor([-14.0, -40.0, -1000.0], dtype=dtype)
    gradient_q, gradient_p, scale_q, scale_p = losses.logit_gradients(q, p)
    maximum = torch.full((3,), 1 / 3, dtype=dtype)  # its largest, of three pairs
    torch.testing.assert_close(gradient_q * scale_q, maximum, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(gradient_p * scale_p, -maximum, rtol=1e-5, atol=0.0)
    assert (gradient_q.abs() < 1e-6).all()


def test_a_wrong_discriminator_gets_the_largest_gradient():
    gradient_q, gradient_p, scale_q, scale_p = losses.logit_gradients(torch.tensor([-1000.0]), torch.tensor([1000.0]))
    assert (float(gradient_q), float(gradient_p), float(scale_q), float(scale_p)) == (-1.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("unary", [True, False])
def test_one_backward_pass_gives_the_gradients_of_both_losses(unary):
    """Of the discriminator's loss by its weights, and of the generator's by what it is given."""
    discriminator = loop.create_network(lambda: Discriminator(3, 2, 2, 16, unary), 0, torch.device("cpu")).double()
    inputs = [noise(12, 16, 64), noise(12, 3, seed=1), noise(12, 4, 2, seed=2)]
    for tensor in inputs:
        tensor.requires_grad_()
    logit_q, logit_p = discriminator(*inputs).split(6)
    weights = tuple(discriminator.parameters())
    by_weights = torch.autograd.grad(losses.discriminator_loss(logit_q, logit_p), weights, retain_graph=True)
    by_inputs = torch.autograd.grad(losses.generator_loss(logit_q, logit_p), inputs, retain_graph=True)
    gradient_q, gradient_p, scale_q, scale_p = losses.logit_gradients(logit_q, logit_p)
    (logit_q @ gradient_q + logit_p @ gradient_p).backward()
    for weight, expected in zip(weights, by_weights, strict=True):
        torch.testing.assert_close(weight.grad, expected, rtol=0.0, atol=1e-10)
    scale = torch.cat([scale_q, scale_p])
    for tensor, expected in zip(inputs, by_inputs, strict=True):
        assert expected.abs().max() > 1e-6
        torch.testing.assert_close(
            tensor.grad * scale.view(-1, *[1] * (tensor.dim() - 1)), expected, rtol=0.0, atol=1e-10
        )


# reconstruction and InfoNCE -------------------------------------------------------------------------------------------


def test_the_reconstruction_is_the_mean_absolute_difference():
    x = noise(2, 3, 4)
    assert float(losses.reconstruction_loss(x, x)) == 0.0
    assert float(losses.reconstruction_loss(x, x - 0.5)) == pytest.approx(0.5)


def info_nce_loop(views: np.ndarray, groups: list[int], temperature: float, queries: list[int] | None = None) -> float:
    """InfoNCE as in its docstring: for every view, the mean cross-entropy over its positives."""
    losses_of_views = []
    for i in range(len(views)) if queries is None else queries:
        others = [j for j in range(len(views)) if j != i]
        total = sum(math.exp(views[i] @ views[j] / temperature) for j in others)
        shares = [math.exp(views[i] @ views[j] / temperature) / total for j in others if groups[j] == groups[i]]
        losses_of_views.append(-sum(map(math.log, shares)) / len(shares))
    return sum(losses_of_views) / len(losses_of_views)


def test_info_nce_of_some_queries_has_all_other_views_as_negatives():
    views, groups, queries = torch.nn.functional.normalize(noise(6, 5), dim=1), [0, 1, 7, 8, 0, 1], [0, 1, 4, 5]
    actual = losses.info_nce(views, torch.tensor(groups), 0.2, torch.tensor(queries))
    assert float(actual) == pytest.approx(info_nce_loop(views.numpy(), groups, 0.2, queries), rel=1e-10)


@pytest.mark.parametrize("groups", [[0, 1, 2, 0, 1, 2], [5, 5, 7, 7, 7, 5], [3, 3, 3, 3, 3, 3], [9, 1, 1, 1, 9, 1]])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_info_nce_equals_a_double_loop(groups, temperature):
    views = torch.nn.functional.normalize(noise(6, 5), dim=1)
    actual = losses.info_nce(views, torch.tensor(groups), temperature)
    assert float(actual) == pytest.approx(info_nce_loop(views.numpy(), groups, temperature), rel=1e-10)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_equal_views_give_info_nce_at_chance_level(temperature):
    views = torch.ones(8, 1, dtype=torch.float64)
    actual = losses.info_nce(views, torch.arange(4).repeat(2), temperature)
    assert float(actual) == pytest.approx(math.log(7))


def test_orthogonal_groups_have_no_loss_in_pairs_and_chance_level_within_groups_of_three():
    orthogonal = torch.eye(4, dtype=torch.float64)
    assert float(losses.info_nce(orthogonal.repeat(2, 1), torch.arange(4).repeat(2), 0.01)) == pytest.approx(
        0.0, abs=1e-12
    )
    threes = losses.info_nce(orthogonal.repeat(3, 1), torch.arange(4).repeat(3), 0.01)
    assert float(threes) == pytest.approx(math.log(2))


def test_info_nce_is_invariant_to_group_numbers_and_order():
    views, groups = torch.nn.functional.normalize(noise(6, 5), dim=1), torch.tensor([0, 0, 1, 1, 2, 2])
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    actual = losses.info_nce(views[order], 70 - 3 * groups[order], 0.2)
    torch.testing.assert_close(actual, losses.info_nce(views, groups, 0.2))


def test_info_nce_pulls_positives_together():
    views, groups = noise(8, 4).requires_grad_(), torch.arange(4).repeat(2)

    def loss() -> Tensor:
        return losses.info_nce(torch.nn.functional.normalize(views, dim=1), groups, 0.1)

    before = loss().item()
    for _ in range(50):
        (gradient,) = torch.autograd.grad(loss(), views)
        views = (views - 0.1 * gradient).detach().requires_grad_()
    assert loss().item() < 0.2 * before
