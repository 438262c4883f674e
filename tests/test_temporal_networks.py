"""Shapes of the temporal networks, and what each output may depend on."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from symphony2vec.models.temporal import networks
from symphony2vec.models.temporal.networks import (
    FRAMES_PER_STEP,
    RENAMED_WEIGHTS,
    AttentionPooling,
    ClipClassifier,
    ClipEncoder,
    Discriminator,
    Encoder,
    Generator,
    ProjectionHead,
    crop_to_steps,
)
from symphony2vec.models.training import loop

LATENT, STEP, WIDTH, HIDDEN = 3, 2, 2, 16
CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def encoder(step: int = STEP, bins: int = 16) -> Encoder:
    return loop.create_network(lambda: Encoder(LATENT, step, WIDTH, bins), 0, CPU)


def generator(step: int = STEP, bins: int = 16) -> Generator:
    return loop.create_network(lambda: Generator(LATENT, step, WIDTH, bins), 1, CPU)


def discriminator(step: int = STEP, bins: int = 16, unary: bool = True) -> Discriminator:
    return loop.create_network(lambda: Discriminator(LATENT, step, WIDTH, bins, unary), 2, CPU)


# shapes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, STEP])
@pytest.mark.parametrize("bins", [16, 32])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_all_three_networks_agree_on_steps_and_bins(steps, bins, step):
    x = noise(3, bins, steps * FRAMES_PER_STEP)
    codes = encoder(step, bins)(x)
    assert codes.c_mean.shape == codes.c_log_sigma.shape == (3, LATENT)
    assert codes.z_mean.shape == codes.z_log_sigma.shape == (3, steps, step)
    assert codes.pooled.shape == (3, 2 * HIDDEN)
    x_hat = generator(step, bins)(codes.c_mean, codes.z_mean)
    assert x_hat.shape == x.shape
    assert discriminator(step, bins)(x_hat, codes.c_mean, codes.z_mean).shape == (3,)


def test_the_last_layer_has_eight_times_the_width():
    assert encoder().step_features(noise(1, 16, 64)).shape == (1, 4, networks.CHANNEL_MULTIPLIERS[-1] * WIDTH)


@pytest.mark.parametrize("step", [0, STEP])
def test_every_weight_of_every_network_affects_its_output(step):
    x = noise(4, 32, 64)
    models = {"encoder": encoder(step, 32), "generator": generator(step, 32), "discriminator": discriminator(step, 32)}
    codes = models["encoder"](x)
    x_hat = models["generator"](codes.c_mean, codes.z_mean)
    logits = models["discriminator"](x_hat, codes.c_mean, codes.z_mean)
    log_sigmas = codes.c_log_sigma.sum() + codes.z_log_sigma.sum()
    (logits.sum() + x_hat.square().sum() + codes.c_mean.sum() + log_sigmas).backward()
    for name, network in models.items():
        silent = [
            key
            for key, parameter in network.named_parameters()
            if parameter.numel() and not parameter.grad.abs().sum() > 0.0
        ]
        assert not silent, name


def test_weights_with_the_former_bias_of_the_attention_load():
    before = encoder().eval()
    state = before.state_dict() | {"pool.score.2.bias": torch.tensor([3.0])}
    after = loop.create_network(lambda: Encoder(LATENT, STEP, WIDTH, 16), 1, CPU).eval()
    after.load_state_dict(state)
    x = noise(2, 16, 64)
    torch.testing.assert_close(after(x).c_mean, before(x).c_mean, rtol=0.0, atol=0.0)


FORMER_NAMES = {  # first parts of the names of weights in version 0.1
    Encoder: {"convolutions", "fold", "along", "pool", "clip_code", "step_code"},
    Generator: {"enter", "along", "unfold", "convolutions"},
    Discriminator: {
        "of_clip", "fold", "of_codes", "joint", "of_steps", "of_whole", "clip_alone", "codes_alone"
    },
}  # fmt: skip
LATER_NAMES = {"z_branch", "z_unary", "clip_code", "step_code", "score"}


def with_former_names(state: dict[str, Tensor], names: Collection[str] = RENAMED_WEIGHTS) -> dict[str, Tensor]:
    """The state dict with every attribute under the first of these names that it had, as earlier versions saved it."""
    former = {RENAMED_WEIGHTS[name]: name for name in reversed(RENAMED_WEIGHTS) if name in names}
    return {".".join(former.get(part, part) for part in key.split(".")): value for key, value in state.items()}


@pytest.mark.parametrize("make", [encoder, generator, discriminator])
def test_weights_with_former_names_load(make):
    network = make()
    state = with_former_names(network.state_dict())
    assert {key.partition(".")[0] for key in state} == FORMER_NAMES[type(network)]
    for former_state in (state, with_former_names(network.state_dict(), LATER_NAMES)):
        other = make()
        for parameter in other.parameters():
            torch.nn.init.zeros_(parameter)
        other.load_state_dict(former_state)
        expected = network.state_dict()
        assert other.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in other.state_dict().items())
    assert "gru.bias_ih_l0" not in state  # loading leaves the caller's dict as it is
    incomplete = {key: value for key, value in state.items() if not key.startswith(("fold.", "enter."))}
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(incomplete)


@pytest.mark.parametrize("make", [lambda: ClipEncoder(LATENT, STEP, WIDTH, 16), lambda: AveragedModel(encoder())])
def test_weights_with_former_names_load_inside_packages_and_moving_averages(make):
    network = make()
    state = {key: value + 1 for key, value in network.state_dict().items()}
    network.load_state_dict(with_former_names(state))
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


# the encoder ----------------------------------------------------------------------------------------------------------


def test_a_code_does_not_depend_on_the_other_clips_of_its_batch():
    network, x = encoder(), noise(5, 16, 64)
    network(noise(8, 16, 64, seed=1) + 0.5)  # statistics of its own
    network.eval()
    batch_codes = network(x)
    others = x.clone()
    others[[0, 1, 3, 4]] = 9.0 * noise(4, 16, 64, seed=2)
    for with_others, alone, expected in zip(network(others), network(x[2:3]), batch_codes, strict=True):
        torch.testing.assert_close(with_others[2], expected[2])
        torch.testing.assert_close(alone[0], expected[2])


def test_a_step_code_depends_on_the_full_clip_in_both_directions():
    network, x = encoder().eval(), noise(1, 16, 5 * FRAMES_PER_STEP).requires_grad_()
    network(x).z_mean[0, 2].sum().backward()
    by_step = x.grad.abs().sum(dim=1).unflatten(1, (5, FRAMES_PER_STEP)).sum(dim=2)[0]
    assert (by_step > 0.0).all()


def test_an_untrained_encoder_has_little_noise_in_its_codes():
    codes = encoder().eval()(noise(8, 16, 64))
    for log_sigma in (codes.c_log_sigma, codes.z_log_sigma):
        assert abs(log_sigma.mean().item() - networks.INITIAL_LOG_SIGMA) < 0.3


def test_log_deviations_are_bounded():
    network = encoder().eval()
    with torch.no_grad():
        network.clip_head.bias[LATENT:] = torch.tensor([-99.0, 0.0, 99.0])
        network.clip_head.weight.zero_()
    low, middle, high = network(noise(1, 16, 64)).c_log_sigma[0].tolist()
    assert (low, middle, high) == (networks.LOG_SIGMA_LOW, 0.0, networks.LOG_SIGMA_HIGH)


def test_the_weights_of_the_attention_sum_to_one():
    network = loop.create_network(lambda: AttentionPooling(HIDDEN), 0, CPU)
    value = noise(4, 1, HIDDEN)
    pooled = network(value.expand(4, 7, HIDDEN))
    torch.testing.assert_close(pooled[:, :HIDDEN], value[:, 0])  # the mean of equal steps is any of them ...
    torch.testing.assert_close(pooled[:, HIDDEN:], torch.full((4, HIDDEN), 1e-5**0.5))  # ... and they do not differ


def test_the_attention_is_a_weighted_mean_and_deviation_by_hand():
    network, steps = loop.create_network(lambda: AttentionPooling(HIDDEN), 0, CPU), noise(1, 6, HIDDEN)
    logits = network.attention_logits(steps)[0, :, 0].detach().numpy().astype(float)
    shares = np.exp(logits) / np.exp(logits).sum()
    values = steps[0].numpy().astype(float)
    mean = shares @ values
    deviation = np.sqrt(shares @ (values - mean) ** 2 + 1e-5)
    np.testing.assert_allclose(network(steps)[0].detach(), np.concatenate([mean, deviation]), rtol=1e-5, atol=1e-6)


def test_pooling_is_invariant_to_the_order_of_the_steps():
    network, steps = loop.create_network(lambda: AttentionPooling(HIDDEN), 0, CPU), noise(2, 6, HIDDEN)
    torch.testing.assert_close(network(steps.flip(1)), network(steps))


# generator and discriminator ------------------------------------------------------------------------------------------


def test_a_step_code_affects_its_own_step_most_and_the_clip_code_all_steps():
    network, c, z = generator().eval(), noise(64, LATENT), noise(64, 6, STEP, seed=1)

    def moved_by_step(other_c: Tensor, other_z: Tensor) -> Tensor:
        moved = (network(other_c, other_z) - network(c, z)).abs().mean(dim=(0, 1))
        return moved.unflatten(0, (6, FRAMES_PER_STEP)).mean(dim=1)

    other_z = z.clone()
    other_z[:, 2] += 3.0
    by_step = moved_by_step(c, other_z)
    assert int(by_step.argmax()) == 2
    assert by_step[2] > 2.0 * by_step[5]
    by_clip = moved_by_step(c + 3.0, z)
    assert by_clip.min() > 0.5 * by_clip.max()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("unary", [True, False])
def test_a_logit_depends_on_its_pair_alone(unary, training):
    network = discriminator(unary=unary)
    pairs = (noise(5, 16, 64), noise(5, LATENT, seed=1), noise(5, 4, STEP, seed=2))
    network(*pairs)
    network.train(training)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    before = network(*pairs)
    for index in range(3):  # the clip, its code, its step codes
        network.load_state_dict(state)  # training moves the estimate of the spectral norm
        changed = [value.clone() for value in pairs]
        changed[index][3] += 1.0
        moved = (network(*changed) - before).abs()
        assert moved[3] > 1e-5
        assert moved[[0, 1, 2, 4]].max() < 1e-6


def test_the_unary_terms_are_optional():
    with_parts, without = (set(discriminator(unary=unary).state_dict()) for unary in (True, False))
    assert {name.partition(".")[0] for name in with_parts - without} == {"x_unary", "code_unary"}
    assert without < with_parts


def test_the_linear_layers_of_the_discriminator_have_spectral_norm_one():
    network = discriminator()
    pairs = (noise(5, 16, 64), noise(5, LATENT), noise(5, 4, STEP))
    for _ in range(60):  # each pass is a step of power iteration
        network(*pairs)
    network.eval()
    weights = {
        name: module.weight.detach() for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)
    }
    assert len(weights) == 9
    for name, weight in weights.items():
        assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1.0, abs=1e-2), name


def test_projections_are_unit_vectors():
    output = loop.create_network(lambda: ProjectionHead(LATENT), 0, CPU)(noise(6, LATENT))
    assert output.shape == (6, 256)
    torch.testing.assert_close(output.norm(dim=1), torch.ones(6))


# full clips -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "first", "length"), [(16, 0, 16), (17, 0, 16), (31, 7, 16), (70, 3, 64), (431, 7, 416)]
)
def test_cropping_to_steps_takes_the_middle(frames, first, length):
    x = torch.arange(float(frames)).expand(2, 3, frames)
    assert crop_to_steps(x)[1, 2].tolist() == list(range(first, first + length))


def test_a_clip_encoder_is_the_encoder_on_the_middle_of_clips():
    network, x = loop.create_network(lambda: ClipEncoder(LATENT, STEP, WIDTH, 16), 0, CPU).eval(), noise(3, 16, 70)
    codes = network.encoder(x[:, :, 3:67])
    torch.testing.assert_close(network.encode(x), codes.c_mean)
    torch.testing.assert_close(network.encode_pooled(x), codes.pooled)


def test_a_clip_classifier_gives_probabilities_of_the_middle_of_clips():
    network, x = (
        loop.create_network(lambda: ClipClassifier(LATENT, STEP, WIDTH, 16, 4), 0, CPU).eval(),
        noise(3, 16, 70),
    )
    probabilities = network.probabilities(x)
    torch.testing.assert_close(probabilities, network(x[:, :, 3:67]).softmax(dim=1))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))
