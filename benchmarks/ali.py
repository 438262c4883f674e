"""Crops per second of one ALI update: `Game.step` against the tables' networks as plain torch layers.

The plain reference runs all three networks once for generator and encoder and once, on detached pairs, for the
discriminator; a second variant reuses the first pass through generator and encoder. Then all networks step, as in
`Game.step`. The variants take turns in rounds, so that other work on the machine affects all of them alike; ratios are
taken within a round. Then the benchmark measures how far the losses of the variants diverge from the same weights, and
plots them with `--picture`.
`python benchmarks/ali.py --help` lists the options.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from matplotlib.figure import Figure
from torch import Tensor, nn

import machine
from symphony2vec.figures import canvas
from symphony2vec.models.ali import networks
from symphony2vec.models.ali.losses import Game

RATE, BETAS = 1e-4, (0.5, 0.999)
DROPOUT = 0.2
TRACED_CROPS = 10
TRACED_UPDATES = 50
EARLY = 10  # updates before the game becomes chaotic
COMPARED = (("step", "plain_step"), ("step, no dropout", "plain reference, no dropout"))
FORWARD_AND_BACKWARD = 3  # the gradients of a layer by its input and by its weights each cost a forward pass


def layers(
    maps: int, shapes: tuple[tuple[int, int, int], ...], kind: type[nn.Module], norm: bool, dropout: float = 0.0
) -> list[nn.Module]:
    """Return the rows of Tables 5 and 6: dropout, (transposed) convolution, batch norm, leaky ReLU."""
    built: list[nn.Module] = []
    for count, kernel, stride in shapes:
        built += [nn.Dropout(dropout)] if dropout else []
        built += [kind(maps, count, kernel, stride, bias=not norm)]
        built += [nn.BatchNorm2d(count)] if norm else []
        built += [nn.LeakyReLU(networks.NEGATIVE_SLOPE)]
        maps = count
    return built


class Plain:
    """ALI in plain torch layers, without optimisation."""

    def __init__(self, latent: int, device: torch.device, dropout: float = DROPOUT) -> None:
        x_shapes, joint_shapes = networks.CONVOLUTIONS, ((1024, 1, 1), (1024, 1, 1))
        self.encoder = nn.Sequential(
            *layers(1, (*x_shapes, (512, 1, 1)), nn.Conv2d, norm=True), nn.Conv2d(512, 2 * latent, 1)
        )
        self.generator = nn.Sequential(
            *layers(latent, networks.TRANSPOSED_CONVOLUTIONS, nn.ConvTranspose2d, norm=True),
            nn.ConvTranspose2d(32, 1, 1, bias=False),
        )
        self.x_branch = nn.Sequential(*layers(1, x_shapes, nn.Conv2d, norm=False, dropout=dropout))
        self.z_branch = nn.Sequential(*layers(latent, ((512, 1, 1),) * 2, nn.Conv2d, norm=False, dropout=dropout))
        joint = layers(1024, joint_shapes, nn.Conv2d, norm=False, dropout=dropout)
        self.joint = nn.Sequential(*joint, nn.Dropout(dropout), nn.Conv2d(1024, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, 32, 32, device=device))
        for part in (self.encoder, self.generator, self.x_branch, self.z_branch, self.joint):
            networks.initialise(part, torch.Generator().manual_seed(0))
            part.to(device)
        parts = [self.x_branch, self.z_branch, self.joint]
        generator_parameters = [*self.encoder.parameters(), *self.generator.parameters(), self.bias]
        self.discriminator_optimiser = torch.optim.Adam([p for part in parts for p in part.parameters()], RATE, BETAS)
        self.generator_optimiser = torch.optim.Adam(generator_parameters, RATE, BETAS)

    def pairs(self, x: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_hat (B, 1, 32, 32) and z_hat (B, D)."""
        mean, log_sigma = self.encoder(x).flatten(1).chunk(2, dim=1)
        return torch.sigmoid(self.generator(z[:, :, None, None]) + self.bias), mean + torch.exp(log_sigma) * noise

    def logits(self, x: Tensor, z: Tensor) -> Tensor:
        """Return logits (B,) of pairs."""
        return self.joint(torch.cat([self.x_branch(x), self.z_branch(z[:, :, None, None])], dim=1)).flatten()

    def step(self, x: Tensor, z: Tensor, noise: Tensor, again: bool = True) -> dict[str, Tensor]:
        """Update E and G, and D, from the same weights; the pairs of D are computed `again` or reused.

        The published source steps D first and then E and G against the new D, at the same cost.
        """
        entropy, ones, zeros = F.binary_cross_entropy_with_logits, x.new_ones(len(x)), x.new_zeros(len(x))
        x_hat, z_hat = self.pairs(x, z, noise)
        self.generator_optimiser.zero_grad()
        generator_loss = entropy(self.logits(x, z_hat), zeros) + entropy(self.logits(x_hat, z), ones)
        generator_loss.backward()
        if again:
            x_hat, z_hat = self.pairs(x, z, noise)
        self.discriminator_optimiser.zero_grad()
        loss = entropy(self.logits(x, z_hat.detach()), ones) + entropy(self.logits(x_hat.detach(), z), zeros)
        loss.backward()
        self.discriminator_optimiser.step()
        self.generator_optimiser.step()
        return {"discriminator_loss": loss.detach(), "generator_loss": generator_loss.detach()}

    @torch.no_grad()
    def copy_weights(self, game: Game) -> None:
        """Copy the weights of a game; everything else has the same initial values."""
        pairs = ((self.encoder, game.encoder), (self.generator, game.generator))
        discriminator = nn.ModuleList([self.x_branch, self.z_branch, self.joint])
        for network, source in (*pairs, (discriminator, game.discriminator)):
            for layer, source_layer in zip(_convolutions(network), _convolutions(source), strict=True):
                layer.weight.copy_(source_layer.weight)


def _convolutions(network: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    return [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)]


def game(latent: int, device: torch.device, dtype: torch.dtype = torch.float32, dropout: float = DROPOUT) -> Game:
    rng = torch.Generator().manual_seed(0)
    parts = networks.Encoder(latent), networks.Generator(latent), networks.Discriminator(latent, dropout)
    for part in parts:
        networks.initialise(part, rng)
        part.to(device, dtype)
    return Game(*parts, RATE, RATE, BETAS)


def sample_inputs(crops: int, latent: int, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return crops x with bands of unequal loudness, z and noise."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(crops, 1, 32, 32, generator=rng) * torch.linspace(1.0, 0.2, 32)[:, None]
    z, noise = torch.randn(2, crops, latent, generator=rng)
    return x.to(device), z.to(device), noise.to(device)


def operations(latent: int) -> float:
    """Return the floating-point operations of `Game.step` per crop: x passes D twice, everything else once."""
    encoder, generator, discriminator = networks.Encoder(latent), networks.Generator(latent), networks.Discriminator(1)
    products, size = 0, networks.CROP_SIZE
    for number, (layer, y) in enumerate(
        zip(encoder.layers.convolutions, encoder.layers.outputs(torch.zeros(2, 1, size, size)), strict=True)
    ):
        passes = 1 + 2 * (number < len(discriminator.x_branch.convolutions))  # those of D(x) have the same sizes
        products += passes * layer.weight.numel() * y.shape[-1] ** 2
    sizes = (1, *[y.shape[-1] for y in _layer_outputs(generator, latent)])
    layers_of_g = [*generator.layers, generator.head]
    products += sum(layer.weight.numel() * input_size**2 for layer, input_size in zip(layers_of_g, sizes, strict=True))
    dense = [discriminator.z_branch.convolutions[1], *discriminator.joint.convolutions, discriminator.head]
    products += encoder.head.weight.numel() + 2 * (512 * latent + sum(layer.weight.numel() for layer in dense))
    return 2.0 * FORWARD_AND_BACKWARD * products


def _layer_outputs(generator: networks.Generator, latent: int) -> list[Tensor]:
    y, outputs = torch.zeros(2, latent, 1, 1), []
    for layer in generator.layers:
        y = layer(y)
        outputs.append(y)
    return outputs


def speeds(crops: int, rounds: int, latent: int, device: torch.device) -> list[str]:
    reference, ours, values = Plain(latent, device), game(latent, device), sample_inputs(crops, latent, device)

    def synchronised(work: Callable[[], object]) -> Callable[[], object]:
        def work_and_wait() -> None:
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()

        return work_and_wait

    variants = {
        "plain, all three networks again": synchronised(lambda: reference.step(*values)),
        "plain, only the discriminator again": synchronised(lambda: reference.step(*values, again=False)),
        "`Game.plain_step`": synchronised(lambda: ours.plain_step(*values)),
        "`Game.step`": synchronised(lambda: ours.step(*values)),
    }
    for work in variants.values():
        work()
    times_s: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            times_s[name].append(machine.elapsed_s(work))
    lines = ["| | ms an update | crops a second | time against `Game.step` |", "|---|---|---|---|"]
    ours_s = times_s["`Game.step`"]
    for name, variant_s in times_s.items():
        cells = ([1e3 * t for t in variant_s], [crops / t for t in variant_s])
        ratio = machine.spread([t / o for t, o in zip(variant_s, ours_s, strict=True)])
        lines.append(f"| {name} | {machine.spread(cells[0], 0)} | {machine.spread(cells[1], 0)} | {ratio} |")
    work_g = crops * operations(latent) / 1e9
    rate = work_g / statistics.median(ours_s)
    return [*lines, "", f"`Game.step` computes {work_g:.1f} GFLOP, at {rate:.0f} GFLOP/s."]


def losses(step: Callable[..., dict[str, Tensor]], latent: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return both losses at each update, (2, updates) float64; every run has the same crops, noise and dropout."""
    curve = []
    for update in range(TRACED_UPDATES):
        values = [value.to(dtype) for value in sample_inputs(TRACED_CROPS, latent, device, update)]
        torch.manual_seed(update)
        update_losses = step(*values)
        curve.append(torch.stack([update_losses["discriminator_loss"], update_losses["generator_loss"]]).double())
    return torch.stack(curve, dim=1)


def plain(latent: int, device: torch.device, dtype: torch.dtype) -> Plain:
    """Return the reference without dropout, with the weights of `game`."""
    torch.set_default_dtype(dtype)
    reference = Plain(latent, device, dropout=0.0)
    torch.set_default_dtype(torch.float32)
    reference.copy_weights(game(latent, device, dtype))
    return reference


def drift(latent: int, device: torch.device, picture: Path | None) -> list[str]:
    """Return a table of the largest differences between loss curves from the same weights.

    The difference between float32 and float64 shows the effect of rounding. The reference samples its dropout
    differently, so it is compared with `step` without dropout.
    """
    traced = {}
    for name, dtype in (("float64", torch.float64), ("float32", torch.float32)):
        steps = {
            "step": game(latent, device, dtype).step,
            "plain_step": game(latent, device, dtype).plain_step,
            "step, no dropout": game(latent, device, dtype, 0.0).step,
            "plain reference, no dropout": plain(latent, device, dtype).step,
        }
        traced |= {(name, what): losses(step, latent, device, dtype) for what, step in steps.items()}
    pairs = [(name, *pair) for name in ("float64", "float32") for pair in COMPARED]
    lines = [f"| largest difference of losses, {TRACED_CROPS} crops | {EARLY} updates | {TRACED_UPDATES} updates |"]
    lines.append("|---|---|---|")
    for name, first, second in pairs:
        lines.append(_difference_row(f"{name}: {first}; {second}", traced[name, first], traced[name, second]))
    rounding = traced["float32", "plain_step"], traced["float64", "plain_step"]
    lines.append(_difference_row("plain_step: float32; float64", *rounding))
    if picture:
        canvas.save(picture, plot_losses(traced, pairs))
    return lines


def _difference_row(label: str, first: Tensor, second: Tensor) -> str:
    difference = (first - second).abs()
    return f"| {label} | {difference[:, :EARLY].max().item():.1e} | {difference.max().item():.1e} |"


def plot_losses(traced: dict[tuple[str, str], Tensor], pairs: list[tuple[str, str, str]]) -> Figure:
    """Plot the loss curves, one panel per pair: the first dashed, on top of the second."""
    figure = canvas.new_figure(10.0, 7.0)
    updates = range(1, TRACED_UPDATES + 1)
    for axis, (name, first, second) in zip(figure.subplots(2, 2).flat, pairs, strict=True):
        for row, (loss, colour) in enumerate((("discriminator", "C0"), ("generator", "C1"))):
            top, bottom = (traced[name, what][row].cpu().numpy() for what in (first, second))
            axis.plot(updates, bottom, color=colour, linewidth=4.0, alpha=0.35, label=f"{loss}, {second}")
            axis.plot(updates, top, color=colour, linewidth=1.2, linestyle="--", label=f"{loss}, {first}")
        axis.set(title=name, xlabel="update", ylabel="loss")
        axis.legend(fontsize=7)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=100, help="crops in a batch")
    parser.add_argument("--latent", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--picture", type=Path, help="PNG file for a plot of the loss curves")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{options.threads} threads"
    lines = speeds(options.crops, options.rounds, options.latent, device)
    print(f"\n{machine.described()}, torch {torch.__version__}, {where}, Python {platform.python_version()}\n")
    print(f"{options.crops} crops, {options.latent} dimensions, {options.rounds} rounds; ", end="")
    print("median (smallest to largest)\n", *lines, sep="\n")
    print("", *drift(options.latent, device, options.picture), sep="\n")


if __name__ == "__main__":
    main()
