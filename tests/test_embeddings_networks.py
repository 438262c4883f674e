from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from symphony2vec.models.embeddings import losses
from symphony2vec.models.embeddings.networks import Autoencoder, VariationalAutoencoder


def tiny() -> tuple[nn.Sequential, torch.Tensor]:
    """An encoder of 7 values to 3 dimensions with two hidden layers, in double precision, and 5 inputs."""
    torch.manual_seed(3)
    encoder = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    return encoder, torch.randn(5, 7, dtype=torch.float64)


def weights_gradient(penalty: torch.Tensor, encoder: nn.Module) -> torch.Tensor:
    weights = [parameter for name, parameter in encoder.named_parameters() if name.endswith("weight")]
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(penalty, weights)])


def jacobian_norm(encoder: nn.Module, x: torch.Tensor, create_graph: bool = False) -> torch.Tensor:
    whole = [torch.autograd.functional.jacobian(encoder, row, create_graph=create_graph) for row in x]
    return torch.stack([one.square().sum() for one in whole]).mean()


def linears(network: nn.Module) -> list[int]:
    return [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]


def test_the_autoencoder_is_mirrored_with_a_linear_code_and_a_tanh_output():
    torch.manual_seed(0)
    model = Autoencoder(60, 40)
    assert linears(model.encoder) == [1024, 512, 256, 128, 40]
    assert linears(model.decoder) == [128, 256, 512, 1024, 60]
    assert [type(layer) for layer in model.encoder] == [nn.Linear, nn.ReLU] * 4 + [nn.Linear]
    assert [type(layer) for layer in model.decoder] == [nn.Linear, nn.ReLU] * 4 + [nn.Linear, nn.Tanh]
    x = torch.randn(4, 60)
    x_hat, z = model(x)
    assert (x_hat.shape, z.shape) == ((4, 60), (4, 40))
    torch.testing.assert_close(z, model.encode(x))
    torch.testing.assert_close(x_hat, model.decode(z))
    far = model.decode(1e6 * torch.randn(4, 40))
    assert 0.99 < far.abs().max() <= 1.0


def test_the_variational_code_is_drawn_around_the_mean_with_the_variance():
    torch.manual_seed(0)
    model = VariationalAutoencoder(60, 4)
    model.decoder = nn.Identity()
    x = torch.randn(1, 60)
    mean, log_variance = model.posterior(x)
    torch.testing.assert_close(model.encode(x), mean)
    z, again, log_again = model(x.expand(20000, -1), torch.Generator().manual_seed(1))
    assert z.shape == again.shape == log_again.shape == (20000, 4)
    torch.testing.assert_close(z.mean(dim=0), mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(dim=0), log_variance[0].exp(), atol=0, rtol=0.05)


def test_one_seed_gives_one_draw():
    model = VariationalAutoencoder(10, 3)
    x = torch.randn(4, 10)
    first, second, other = (model(x, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert linears(model.encoder)[-1] == 6
    assert linears(model.decoder) == [128, 256, 512, 1024, 10]


def test_the_divergence_is_that_of_torch_distributions():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(6, 4), torch.randn(6, 4)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    torch.testing.assert_close(losses.kl(mean, log_variance), expected)
    assert losses.kl(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


def test_the_bound_is_the_unit_variance_likelihood_and_the_divergence():
    torch.manual_seed(0)
    x, x_hat, mean, log_variance = torch.randn(6, 8), torch.randn(6, 8), torch.randn(6, 2), torch.randn(6, 2)
    constant = -Normal(0.0, 1.0).log_prob(torch.tensor(0.0)) * 8
    likelihood = Normal(x_hat, 1.0).log_prob(x).sum(dim=1).mean()
    loss = losses.elbo_loss(x, x_hat, mean, log_variance)
    torch.testing.assert_close(loss + constant, losses.kl(mean, log_variance) - likelihood)


def test_the_reconstruction_error_is_summed_over_values_and_averaged_over_clips():
    x = torch.zeros(2, 3)
    assert losses.reconstruction(x, torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 1.0]])) == pytest.approx(5.0)


def test_the_exact_penalty_and_its_gradient_are_those_of_the_jacobian():
    encoder, x = tiny()
    exact, expected = losses.contractive_exact(encoder, x), jacobian_norm(encoder, x, create_graph=True)
    torch.testing.assert_close(exact, expected)
    torch.testing.assert_close(weights_gradient(exact, encoder), weights_gradient(expected, encoder))


def test_one_draw_is_one_vector_jacobian_product_of_autograd():
    encoder, x = tiny()
    ours = losses.contractive(encoder, x, torch.Generator().manual_seed(5))
    inputs = x.clone().requires_grad_()
    z = encoder(inputs)
    v = 2.0 * torch.randint(2, z.shape, generator=torch.Generator().manual_seed(5)) - 1.0
    (product,) = torch.autograd.grad(z, inputs, v.double(), create_graph=True)
    theirs = product.square().sum(dim=1).mean()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(weights_gradient(ours, encoder), weights_gradient(theirs, encoder))


def test_the_mean_of_many_draws_is_the_exact_penalty_and_so_is_its_gradient():
    encoder, x = tiny()
    generator = torch.Generator().manual_seed(0)
    folds = [losses.contractive(encoder, x, generator) for _ in range(4000)]
    values = torch.stack([torch.cat([fold[None], weights_gradient(fold, encoder)]).detach() for fold in folds])
    exact = losses.contractive_exact(encoder, x)
    expected = torch.cat([exact[None], weights_gradient(exact, encoder)]).detach()
    error = values.std(dim=0) / len(values) ** 0.5
    off = (values.mean(dim=0) - expected).abs()
    moves = error > 1e-12
    assert moves[0]
    assert moves.sum() > 80
    assert off[0] < 2 * error[0]
    assert (off[moves] / error[moves]).square().mean() < 1.5
    assert (off[moves] < 4.5 * error[moves]).all()
    assert (off[~moves] < 1e-12).all()


def test_random_signs_vary_less_than_normal_draws():
    encoder, x = tiny()
    rows = [torch.autograd.functional.jacobian(encoder, row) for row in x]
    generator = torch.Generator().manual_seed(0)
    signs = torch.stack([losses.contractive(encoder, x, generator) for _ in range(1000)]).var()
    normal = torch.stack(
        [
            torch.stack([(torch.randn(3, generator=generator).double() @ row).square().sum() for row in rows]).mean()
            for _ in range(1000)
        ]
    ).var()
    assert signs < 0.7 * normal


def test_the_penalty_is_not_that_of_the_last_layer_alone():
    encoder, x = tiny()
    last_only = encoder[-1].weight.square().sum()
    behind_the_mask = jacobian_norm(encoder[-2:], encoder[:-2](x).detach())
    exact = losses.contractive_exact(encoder, x)
    assert abs(exact - last_only) > 0.2 * exact
    assert abs(exact - behind_the_mask) > 0.2 * exact
    first = weights_gradient(exact, encoder)[: 9 * 7]
    assert first.abs().max() > 0  # the last layer alone would leave the first one free
