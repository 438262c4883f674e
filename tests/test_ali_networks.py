"""ALI's networks are those of Tables 5 and 6, layer by layer, and its lean update is the plain one."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.overrides import TorchFunctionMode

from symphony2vec.models.ali import networks
from symphony2vec.models.ali.losses import Game, discriminator_loss, generator_loss
from symphony2vec.models.ali.networks import Discriminator, Encoder, Generator

LATENT = 8
BATCH = 4
RATE, BETAS = 1e-4, (0.5, 0.999)
# Tables 5 and 6 as docs/departures.md reads them: operation, kernel, stride, feature maps, batch norm, dropout of the
# layer's input, nonlinearity (of a leaky ReLU the slope below 0).
TABLE_5_ENCODER = [
    ("convolution", (5, 5), (1, 1), 32, True, 0.0, 0.01),
    ("convolution", (4, 4), (2, 2), 64, True, 0.0, 0.01),
    ("convolution", (4, 4), (1, 1), 128, True, 0.0, 0.01),
    ("convolution", (4, 4), (2, 2), 256, True, 0.0, 0.01),
    ("convolution", (4, 4), (1, 1), 512, True, 0.0, 0.01),
    ("convolution", (1, 1), (1, 1), 512, True, 0.0, 0.01),
    ("convolution", (1, 1), (1, 1), "2 x LD", False, 0.0, "linear"),
]
TABLE_5_GENERATOR = [
    ("transposed convolution", (4, 4), (1, 1), 256, True, 0.0, 0.01),
    ("transposed convolution", (4, 4), (2, 2), 128, True, 0.0, 0.01),
    ("transposed convolution", (4, 4), (1, 1), 64, True, 0.0, 0.01),
    ("transposed convolution", (4, 4), (2, 2), 32, True, 0.0, 0.01),
    ("transposed convolution", (5, 5), (1, 1), 32, True, 0.0, 0.01),
    ("transposed convolution", (1, 1), (1, 1), 32, True, 0.0, 0.01),
    ("transposed convolution", (1, 1), (1, 1), 1, False, 0.0, "sigmoid"),
]
TABLE_6_X = [
    ("convolution", (5, 5), (1, 1), 32, False, 0.2, 0.01),
    ("convolution", (4, 4), (2, 2), 64, False, 0.2, 0.01),
    ("convolution", (4, 4), (1, 1), 128, False, 0.2, 0.01),
    ("convolution", (4, 4), (2, 2), 256, False, 0.2, 0.01),
    ("convolution", (4, 4), (1, 1), 512, False, 0.2, 0.01),
]
TABLE_6_Z = [
    ("convolution", (1, 1), (1, 1), 512, False, 0.2, 0.01),
    ("convolution", (1, 1), (1, 1), 512, False, 0.2, 0.01),
]
TABLE_6_JOINT = [
    ("convolution", (1, 1), (1, 1), 1024, False, 0.2, 0.01),
    ("convolution", (1, 1), (1, 1), 1024, False, 0.2, 0.01),
    ("convolution", (1, 1), (1, 1), 1, False, 0.2, "linear"),  # printed with a leaky ReLU; it is the logit
]
OPERATIONS = {nn.Conv2d: "convolution", nn.ConvTranspose2d: "transposed convolution"}


@pytest.fixture(autouse=True)
def one_thread():
    """Several threads of such small work wait for each other many times longer, once another process is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample_inputs(seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, z and noise."""
    rng = seeded(seed)
    x = torch.rand(BATCH, 1, 32, 32, generator=rng, dtype=dtype)
    z, noise = torch.randn(2, BATCH, LATENT, generator=rng, dtype=dtype)
    return x, z, noise


def game(
    dtype: torch.dtype = torch.float32,
    dropout: float = 0.2,
    batch_norm: bool = False,
    discriminator_learning_rate: float = RATE,
    **settings,
) -> Game:
    parts = Encoder(LATENT), Generator(LATENT), Discriminator(LATENT, dropout, batch_norm)
    rng = seeded()
    for part in parts:
        networks.initialise(part, rng)
        part.to(dtype)
    return Game(*parts, RATE, discriminator_learning_rate, BETAS, **settings)


def state(trained_game: Game) -> dict[str, torch.Tensor]:
    names = ("encoder", "generator", "discriminator")
    parts = {name: copy.deepcopy(getattr(trained_game, name).state_dict()) for name in names}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}


def gradients(trained_game: Game, *names: str) -> list[torch.Tensor]:
    return [parameter.grad.clone() for name in names for parameter in getattr(trained_game, name).parameters()]


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], name: str) -> bool:
    return any(not torch.equal(before[key], after[key]) for key in before if key.startswith(name))


def weights(*parts: torch.nn.Module) -> float:
    """Parameters in millions, to two digits after the point."""
    return round(sum(p.numel() for part in parts for p in part.parameters()) / 1e6, 2)


def sizes(outputs) -> list[tuple[int, int]]:
    return [tuple(y.shape[1:3]) for y in outputs]


def test_layers_have_the_sizes_of_the_tables():
    encoder, generator, discriminator = Encoder(LATENT), Generator(LATENT), Discriminator(LATENT)
    x, z, _ = sample_inputs()
    convolved = [(32, 28), (64, 13), (128, 10), (256, 4), (512, 1)]
    assert sizes(encoder.layers.outputs(x)) == [*convolved, (512, 1)]
    assert sizes(discriminator.x_branch.outputs(x)) == convolved
    assert sizes(discriminator.z_branch.outputs(z[:, :, None, None])) == [(512, 1), (512, 1)]
    assert sizes(discriminator.joint.outputs(torch.zeros(BATCH, 1024, 1, 1))) == [(1024, 1), (1024, 1)]
    y, seen = z[:, :, None, None], []
    for layer in generator.layers:
        y = layer(y)
        seen.append(y)
    assert sizes(seen) == [(256, 4), (128, 10), (64, 13), (32, 28), (32, 32), (32, 32)]
    assert [part.shape for part in encoder(x)] == [(BATCH, LATENT)] * 2
    assert encoder.hidden(x).shape == (BATCH, 256 * 16 + 512 + 512)
    assert generator(z).shape == x.shape
    assert discriminator(x, z).shape == (BATCH,)


class Observed(TorchFunctionMode):
    """What a network does while it runs, layer by layer, a matrix product for a convolution included.

    zeros: the share of zeros in what a layer takes; after: what follows a layer before the next one, in order (batch
    norm, the measured slope of a leaky ReLU below 0, a sigmoid).
    """

    def __init__(self) -> None:
        super().__init__()
        self.zeros: list[float] = []
        self.after: list[list[str | float]] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        taken = args[0].clone() if args and isinstance(args[0], torch.Tensor) else None
        given = function(*args, **(kwargs or {}))
        if function in (F.conv2d, F.conv_transpose2d, F.linear):
            self.zeros.append((taken == 0).double().mean().item())
            self.after.append([])
        elif function is F.batch_norm:
            self.after[-1].append("batch norm")
        elif function is F.leaky_relu:
            self.after[-1].append(round((given / taken)[taken < 0].mean().item(), 6))
        elif function is torch.sigmoid:
            self.after[-1].append("sigmoid")
        return given


def layers_of(network: nn.Module, *inputs: torch.Tensor) -> list[tuple[object, ...]]:
    """What each layer of a network in training is and does, in the order of its layers."""
    torch.manual_seed(0)  # of the dropout
    with Observed() as seen:
        network.train()(*inputs)
    layers = [layer for layer in network.modules() if type(layer) in OPERATIONS]
    return [
        (OPERATIONS[type(layer)], layer.kernel_size, layer.stride, layer.padding, layer.out_channels, zeros, *after)
        for layer, zeros, after in zip(layers, seen.zeros, seen.after, strict=True)
    ]


def printed(table: list[tuple], latent: int) -> list[tuple[object, ...]]:
    """What `layers_of` must find for a table of the paper, which pads no layer."""
    rows = []
    for operation, kernel, stride, maps, norm, dropout, nonlinearity in table:
        count = 2 * latent if maps == "2 x LD" else maps
        after = ["batch norm"] if norm else []
        after += [] if nonlinearity == "linear" else [nonlinearity]
        # a batch norm gives an exact zero now and then, which depends on the processor's rounding
        rows.append((operation, kernel, stride, (0, 0), count, pytest.approx(dropout, rel=0.15, abs=1e-4), *after))
    return rows


@pytest.mark.parametrize("latent", [256, 128, 40])
def test_encoder_generator_and_discriminator_are_tables_5_and_6_layer_by_layer(latent, settings):
    paper, count = settings["ali"]["paper"], 128
    x = 1.0 - torch.rand(count, 1, 32, 32, generator=seeded())  # never 0, which counts as dropped
    z = torch.randn(count, latent, generator=seeded())
    assert layers_of(Encoder(latent), x) == printed(TABLE_5_ENCODER, latent)
    assert layers_of(Generator(latent), z) == printed(TABLE_5_GENERATOR, latent)
    discriminator = Discriminator(latent, paper["dropout"], paper["batch_norm"])
    assert layers_of(discriminator, x, z) == printed([*TABLE_6_X, *TABLE_6_Z, *TABLE_6_JOINT], latent)


def test_parameter_counts_at_128_dimensions():
    discriminator = Discriminator(128)
    assert weights(Encoder(128)) == 3.18
    assert weights(Generator(128)) == 1.24
    assert weights(discriminator.x_branch) == 2.79
    assert weights(discriminator.z_branch) == 0.33
    assert weights(discriminator.joint, discriminator.head) == 2.10


def test_hidden_layers_end_where_the_mean_begins():
    encoder = Encoder(LATENT).eval()
    x, _, _ = sample_inputs()
    last = encoder.hidden(x)[:, -512:, None, None]
    torch.testing.assert_close(encoder.head(last)[:, :LATENT].flatten(1), encoder(x)[0])


def test_matrix_products_equal_the_layers_they_replace():
    x, _, _ = sample_inputs(dtype=torch.float64)
    for layer in Encoder(LATENT).double().layers.convolutions:
        torch.testing.assert_close(networks.convolve(layer, x), layer(x))
        x = layer(x)


def test_dropout_keeps_the_mean_and_drops_at_its_rate():
    torch.manual_seed(0)
    kept = networks.apply_dropout(torch.ones(20, 50, 10, 10), 0.2)
    assert kept.unique().tolist() == pytest.approx([0.0, 1.25], abs=1e-4)
    assert (kept == 0).double().mean().item() == pytest.approx(0.2, abs=0.006)  # 5 deviations
    assert kept.mean().item() == pytest.approx(1.0, abs=0.01)


def test_only_a_training_discriminator_drops():
    discriminator = Discriminator(LATENT)
    x, z, _ = sample_inputs()
    assert not torch.equal(discriminator(x, z), discriminator(x, z))
    discriminator.eval()
    assert torch.equal(discriminator(x, z), discriminator(x, z))


def test_a_crop_is_embedded_alike_in_any_batch():
    trained_game = game()
    trained_game.step(*sample_inputs())
    encoder, (x, _, _) = trained_game.encoder.eval(), sample_inputs(1)
    for together, alone in zip(encoder(x), encoder(x[:1]), strict=True):
        torch.testing.assert_close(together[:1], alone)


def test_the_untrained_generator_starts_from_the_mean_crop():
    mean = torch.rand(1, 32, 32, generator=seeded())
    mean[0, 0] = 0.0  # a band that is always silent
    generator = Generator(LATENT)
    networks.initialise(generator, seeded())
    generator.set_bias(mean)
    made = generator(torch.randn(64, LATENT, generator=seeded(1)))
    assert (made.mean(0) - mean).abs().mean() < 0.01
    assert (made.mean(0) - mean).abs().max() < 0.03
    assert torch.isfinite(generator.bias).all()


def test_initialisation_depends_on_the_random_generator_alone():
    first, second, other = (Discriminator(LATENT, batch_norm=True) for _ in range(3))
    for part, seed in ((first, 0), (second, 0), (other, 1)):
        networks.initialise(part, seeded(seed))
    same = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    weight = first.joint.convolutions[0].weight
    assert not torch.equal(weight, other.joint.convolutions[0].weight)
    assert weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not first.head.bias.any()
    assert torch.equal(first.x_branch.norms[1].weight, torch.ones(64))


def test_a_discriminator_saved_under_earlier_names_still_loads():
    saved, loaded = Discriminator(LATENT, batch_norm=True), Discriminator(LATENT, batch_norm=True)
    networks.initialise(saved, seeded())
    earlier_names = {name: earlier for earlier, name in networks.RENAMED_WEIGHTS.items()}
    state_dict = {}
    for key, value in saved.state_dict().items():
        part, _, rest = key.partition(".")
        state_dict[f"{earlier_names.get(part, part)}.{rest}"] = value
    assert {"of_x.convolutions.0.weight", "of_z.convolutions.0.weight"} <= state_dict.keys()
    loaded.load_state_dict(copy.deepcopy(state_dict))
    nn.ModuleDict({"discriminator": loaded}).load_state_dict({f"discriminator.{k}": v for k, v in state_dict.items()})
    for key, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_losses_are_the_cross_entropies_of_the_labels_and_of_the_swapped_labels():
    q, p = torch.randn(2, 50, generator=seeded(), dtype=torch.float64)
    entropy = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(q), torch.zeros_like(q)
    torch.testing.assert_close(discriminator_loss(q, p), entropy(q, ones) + entropy(p, zeros))
    torch.testing.assert_close(generator_loss(q, p), entropy(q, zeros) + entropy(p, ones))
    assert discriminator_loss(zeros, zeros).item() == pytest.approx(2 * math.log(2))


def test_the_lean_step_is_the_plain_one():
    lean, plain = game(torch.float64), game(torch.float64)
    start = state(lean)
    for update in range(4):
        values = []
        for step in (lean.step, plain.plain_step):
            torch.manual_seed(update)
            values.append(step(*sample_inputs(update, torch.float64)))
        assert values[0] == {name: pytest.approx(value.item(), abs=1e-10) for name, value in values[1].items()}
    assert all(moved(start, state(lean), name) for name in ("encoder", "generator", "discriminator"))
    for ours, theirs in zip(state(lean).values(), state(plain).values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [50.0, -50.0, 200.0, -200.0])
def test_saturated_logits_have_finite_and_right_gradients(bias, dtype):
    lean, plain = game(dtype, dropout=0.0), game(dtype, dropout=0.0)
    for trained_game, step in ((lean, lean.step), (plain, plain.plain_step)):
        torch.nn.init.constant_(trained_game.discriminator.head.bias, bias)
        step(*sample_inputs(0, dtype))
    for name in ("encoder", "generator", "discriminator"):
        unseen = 1e-12 if name == "discriminator" else 1e-30  # D's own are held above e^-30; Adam's epsilon is 1e-8
        for ours, theirs in zip(gradients(lean, name), gradients(plain, name), strict=True):
            assert torch.isfinite(ours).all()
            near = max(1e-4 * theirs.abs().max().item(), unseen)
            torch.testing.assert_close(ours, theirs, rtol=0, atol=near)


def test_with_batch_norm_in_the_discriminator_step_is_plain_step():
    one, other = game(batch_norm=True), game(batch_norm=True)
    for step in (one.step, other.plain_step):
        torch.manual_seed(0)
        step(*sample_inputs())
    for ours, theirs in zip(state(one).values(), state(other).values(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_gate_holds_only_the_discriminator():
    shut, open_, none = game(gate=0.0), game(gate=100.0), game()
    start = state(shut)
    for trained_game in (shut, open_, none):
        torch.manual_seed(0)
        trained_game.step(*sample_inputs())
    assert not moved(start, state(shut), "discriminator")
    assert moved(start, state(shut), "encoder")
    assert moved(start, state(shut), "generator")
    assert all(torch.equal(a, b) for a, b in zip(state(open_).values(), state(none).values(), strict=True))


def test_each_side_steps_at_its_own_rate():
    slow, fast = game(torch.float64), game(torch.float64, discriminator_learning_rate=10 * RATE)
    before = state(slow)
    for trained_game in (slow, fast):
        torch.manual_seed(0)
        trained_game.step(*sample_inputs(dtype=torch.float64))
    one, other = state(slow), state(fast)
    for key, start in before.items():
        if not start.is_floating_point():
            continue  # batches that batch norm has counted
        times = 10.0 if key.startswith("discriminator") else 1.0
        torch.testing.assert_close(other[key] - start, times * (one[key] - start))
    assert moved(before, one, "discriminator")
    assert moved(before, one, "encoder")


def test_instance_noise_comes_from_the_random_numbers_of_the_game():
    quiet, noisy, again, other = (game(torch.float64, dropout=0.0, rng=seeded(seed)) for seed in (3, 3, 3, 4))
    values = sample_inputs(0, torch.float64)
    losses = [
        trained_game.step(*values, instance_noise=0.5)["discriminator_loss"].item()
        for trained_game in (noisy, again, other)
    ]
    assert losses[0] == losses[1]
    assert len({quiet.step(*values)["discriminator_loss"].item(), *losses}) == 3
    assert torch.equal(quiet.rng.get_state(), seeded(3).get_state())
    assert not torch.equal(noisy.rng.get_state(), seeded(3).get_state())


def test_values_to_log_are_detached_scalars():
    values = game().step(*sample_inputs())
    assert {*values} == {"discriminator_loss", "generator_loss", "mean_output_real", "mean_output_generated"}
    assert all(value.shape == () and not value.requires_grad for value in values.values())
    assert values["discriminator_loss"].item() == pytest.approx(2 * math.log(2), abs=1e-3)
    assert values["mean_output_real"].item() == pytest.approx(0.5, abs=1e-3)
