"""Shapes of the temporal networks, and what each output may depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from symphony2vec.models.temporal import networks
from symphony2vec.models.temporal.networks import (
    STRIDE,
    AttentionPooling,
    ClipClassifier,
    ClipEncoder,
    Discriminator,
    Encoder,
    Generator,
    Projection,
    whole,
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
def test_all_three_networks_speak_of_the_same_steps_and_bins(steps, bins, step):
    x = noise(3, bins, steps * STRIDE)
    codes = encoder(step, bins)(x)
    assert codes.c.shape == codes.c_log_sigma.shape == (3, LATENT)
    assert codes.z.shape == codes.z_log_sigma.shape == (3, steps, step)
    assert codes.pooled.shape == (3, 2 * HIDDEN)
    x_hat = generator(step, bins)(codes.c, codes.z)
    assert x_hat.shape == x.shape
    assert discriminator(step, bins)(x_hat, codes.c, codes.z).shape == (3,)


def test_the_last_layer_has_eight_times_the_width():
    assert encoder().steps(noise(1, 16, 64)).shape == (1, 4, networks.CHANNELS[-1] * WIDTH)


@pytest.mark.parametrize("step", [0, STEP])
def test_every_weight_of_every_network_has_a_part_in_what_it_gives(step):
    x = noise(4, 32, 64)
    made = {"encoder": encoder(step, 32), "generator": generator(step, 32), "discriminator": discriminator(step, 32)}
    codes = made["encoder"](x)
    x_hat = made["generator"](codes.c, codes.z)
    logits = made["discriminator"](x_hat, codes.c, codes.z)
    log_sigmas = codes.c_log_sigma.sum() + codes.z_log_sigma.sum()
    (logits.sum() + x_hat.square().sum() + codes.c.sum() + log_sigmas).backward()
    for name, network in made.items():
        silent = [key for key, one in network.named_parameters() if one.numel() and not one.grad.abs().sum() > 0.0]
        assert not silent, name


def test_weights_with_the_former_bias_of_the_attention_score_load():
    before = encoder().eval()
    state = before.state_dict() | {"pool.score.2.bias": torch.tensor([3.0])}
    after = loop.create_network(lambda: Encoder(LATENT, STEP, WIDTH, 16), 1, CPU).eval()
    after.load_state_dict(state)
    x = noise(2, 16, 64)
    torch.testing.assert_close(after(x).c, before(x).c, rtol=0.0, atol=0.0)


# the encoder ----------------------------------------------------------------------------------------------------------


def test_a_code_does_not_depend_on_the_other_clips_of_its_batch():
    made, x = encoder(), noise(5, 16, 64)
    made(noise(8, 16, 64, seed=1) + 0.5)  # statistics of its own
    made.eval()
    together = made(x)
    others = x.clone()
    others[[0, 1, 3, 4]] = 9.0 * noise(4, 16, 64, seed=2)
    for beside, alone, own in zip(made(others), made(x[2:3]), together, strict=True):
        torch.testing.assert_close(beside[2], own[2])
        torch.testing.assert_close(alone[0], own[2])


def test_a_step_hears_the_whole_clip_in_both_directions():
    made, x = encoder().eval(), noise(1, 16, 5 * STRIDE).requires_grad_()
    made(x).z[0, 2].sum().backward()
    by_step = x.grad.abs().sum(dim=1).unflatten(1, (5, STRIDE)).sum(dim=2)[0]
    assert (by_step > 0.0).all()


def test_a_fresh_encoder_is_nearly_sure_of_its_codes():
    codes = encoder().eval()(noise(8, 16, 64))
    for log_sigma in (codes.c_log_sigma, codes.z_log_sigma):
        assert abs(log_sigma.mean().item() - networks.LOG_SIGMA_AT_START) < 0.3


def test_log_deviations_keep_their_bounds():
    made = encoder().eval()
    with torch.no_grad():
        made.clip_code.bias[LATENT:] = torch.tensor([-99.0, 0.0, 99.0])
        made.clip_code.weight.zero_()
    low, middle, high = made(noise(1, 16, 64)).c_log_sigma[0].tolist()
    assert (low, middle, high) == (networks.LOG_SIGMA_LOW, 0.0, networks.LOG_SIGMA_HIGH)


def test_the_weights_of_the_attention_sum_to_one():
    made = loop.create_network(lambda: AttentionPooling(HIDDEN), 0, CPU)
    value = noise(4, 1, HIDDEN)
    pooled = made(value.expand(4, 7, HIDDEN))
    torch.testing.assert_close(pooled[:, :HIDDEN], value[:, 0])  # the mean of equal steps is any of them ...
    torch.testing.assert_close(pooled[:, HIDDEN:], torch.full((4, HIDDEN), 1e-5**0.5))  # ... and they do not differ


def test_the_attention_is_a_weighted_mean_and_deviation_by_hand():
    made, steps = loop.create_network(lambda: AttentionPooling(HIDDEN), 0, CPU), noise(1, 6, HIDDEN)
    said = made.score(steps)[0, :, 0].detach().numpy().astype(float)
    shares = np.exp(said) / np.exp(said).sum()
    values = steps[0].numpy().astype(float)
    mean = shares @ values
    deviation = np.sqrt(shares @ (values - mean) ** 2 + 1e-5)
    np.testing.assert_allclose(made(steps)[0].detach(), np.concatenate([mean, deviation]), rtol=1e-5, atol=1e-6)


def test_pooling_forgets_the_order_of_the_steps():
    made, steps = loop.create_network(lambda: AttentionPooling(HIDDEN), 0, CPU), noise(2, 6, HIDDEN)
    torch.testing.assert_close(made(steps.flip(1)), made(steps))


# generator and discriminator ------------------------------------------------------------------------------------------


def test_a_step_code_moves_its_own_step_most_and_the_clip_code_all_of_them():
    made, c, z = generator().eval(), noise(64, LATENT), noise(64, 6, STEP, seed=1)

    def moved_by_step(other_c: Tensor, other_z: Tensor) -> Tensor:
        moved = (made(other_c, other_z) - made(c, z)).abs().mean(dim=(0, 1))
        return moved.unflatten(0, (6, STRIDE)).mean(dim=1)

    other_z = z.clone()
    other_z[:, 2] += 3.0
    by_step = moved_by_step(c, other_z)
    assert int(by_step.argmax()) == 2
    assert by_step[2] > 2.0 * by_step[5]
    by_clip = moved_by_step(c + 3.0, z)
    assert by_clip.min() > 0.5 * by_clip.max()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("unary", [True, False])
def test_each_pair_alone_makes_its_logit(unary, training):
    made = discriminator(unary=unary)
    given = (noise(5, 16, 64), noise(5, LATENT, seed=1), noise(5, 4, STEP, seed=2))
    made(*given)
    made.train(training)
    state = {name: value.clone() for name, value in made.state_dict().items()}
    before = made(*given)
    for place in range(3):  # the clip, its code, its step codes
        made.load_state_dict(state)  # training moves the estimate of the spectral norm
        changed = [one.clone() for one in given]
        changed[place][3] += 1.0
        moved = (made(*changed) - before).abs()
        assert moved[3] > 1e-5
        assert moved[[0, 1, 2, 4]].max() < 1e-6


def test_only_what_is_unary_adds_the_parts_of_one_side_alone():
    with_parts, without = (set(discriminator(unary=unary).state_dict()) for unary in (True, False))
    assert {name.partition(".")[0] for name in with_parts - without} == {"clip_alone", "codes_alone"}
    assert without < with_parts


def test_the_discriminator_has_no_steeper_layer_than_one():
    made = discriminator()
    given = (noise(5, 16, 64), noise(5, LATENT), noise(5, 4, STEP))
    for _ in range(60):  # each pass is a step of power iteration
        made(*given)
    made.eval()
    weights = {name: one.weight.detach() for name, one in made.named_modules() if isinstance(one, torch.nn.Linear)}
    assert len(weights) == 9
    for name, weight in weights.items():
        assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1.0, abs=1e-2), name


def test_projections_are_unit_vectors():
    found = loop.create_network(lambda: Projection(LATENT), 0, CPU)(noise(6, LATENT))
    assert found.shape == (6, 256)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6))


# whole clips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "first", "length"), [(16, 0, 16), (17, 0, 16), (31, 7, 16), (70, 3, 64), (431, 7, 416)]
)
def test_whole_takes_the_middle(frames, first, length):
    x = torch.arange(float(frames)).expand(2, 3, frames)
    assert whole(x)[1, 2].tolist() == list(range(first, first + length))


def test_a_clip_encoder_is_the_encoder_on_the_middle_of_clips():
    made, x = loop.create_network(lambda: ClipEncoder(LATENT, STEP, WIDTH, 16), 0, CPU).eval(), noise(3, 16, 70)
    codes = made.encoder(x[:, :, 3:67])
    torch.testing.assert_close(made.encode(x), codes.c)
    torch.testing.assert_close(made.encode_pooled(x), codes.pooled)


def test_a_clip_classifier_gives_probabilities_of_the_middle_of_clips():
    made, x = loop.create_network(lambda: ClipClassifier(LATENT, STEP, WIDTH, 16, 4), 0, CPU).eval(), noise(3, 16, 70)
    found = made.probabilities(x)
    torch.testing.assert_close(found, made(x[:, :, 3:67]).softmax(dim=1))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3))
