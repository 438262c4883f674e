"""Crops per second of one ALI update: `Game.step` against the tables' networks as plain torch layers.

The plain reference runs all three networks once for generator and encoder and once, on detached pairs, for the
discriminator; a second one keeps the first pass through generator and encoder. Then both sides step, as in `Game.step`.
The contenders take turns, round after round, so that whatever else the machine does meets all of them; a ratio is taken
within a round. Then: how far their losses drift apart from the same weights, drawn with `--picture`.
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
EARLY = 10  # updates before the game turns chaotic
COMPARED = (("step", "plain_step"), ("step, no dropout", "plain reference, no dropout"))
FORWARD_AND_BACKWARD = 3  # a layer's gradients by its input and by its weights each cost a forward pass


def layers(
    maps: int, shapes: tuple[tuple[int, int, int], ...], kind: type[nn.Module], norm: bool, dropout: float = 0.0
) -> list[nn.Module]:
    """The rows of Tables 5 and 6: dropout, (transposed) convolution, batch norm, leaky ReLU."""
    built: list[nn.Module] = []
    for count, kernel, stride in shapes:
        built += [nn.Dropout(dropout)] if dropout else []
        built += [kind(maps, count, kernel, stride, bias=not norm)]
        built += [nn.BatchNorm2d(count)] if norm else []
        built += [nn.LeakyReLU(networks.LEAK)]
        maps = count
    return built


class Plain:
    """ALI without any haste."""

    def __init__(self, latent: int, device: torch.device, dropout: float = DROPOUT) -> None:
        of_x, both = networks.CONVOLUTIONS, ((1024, 1, 1), (1024, 1, 1))
        self.encoder = nn.Sequential(
            *layers(1, (*of_x, (512, 1, 1)), nn.Conv2d, norm=True), nn.Conv2d(512, 2 * latent, 1)
        )
        self.generator = nn.Sequential(
            *layers(latent, networks.TRANSPOSED, nn.ConvTranspose2d, norm=True),
            nn.ConvTranspose2d(32, 1, 1, bias=False),
        )
        self.of_x = nn.Sequential(*layers(1, of_x, nn.Conv2d, norm=False, dropout=dropout))
        self.of_z = nn.Sequential(*layers(latent, ((512, 1, 1),) * 2, nn.Conv2d, norm=False, dropout=dropout))
        joint = layers(1024, both, nn.Conv2d, norm=False, dropout=dropout)
        self.joint = nn.Sequential(*joint, nn.Dropout(dropout), nn.Conv2d(1024, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, 32, 32, device=device))
        for part in (self.encoder, self.generator, self.of_x, self.of_z, self.joint):
            networks.initialise(part, torch.Generator().manual_seed(0))
            part.to(device)
        parts = [self.of_x, self.of_z, self.joint]
        makers = [*self.encoder.parameters(), *self.generator.parameters(), self.bias]
        self.discriminator_optimiser = torch.optim.Adam([p for part in parts for p in part.parameters()], RATE, BETAS)
        self.generator_optimiser = torch.optim.Adam(makers, RATE, BETAS)

    def pairs(self, x: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x_hat (B, 1, 32, 32) and z_hat (B, D)."""
        mean, log_sigma = self.encoder(x).flatten(1).chunk(2, dim=1)
        return torch.sigmoid(self.generator(z[:, :, None, None]) + self.bias), mean + torch.exp(log_sigma) * noise

    def logits(self, x: Tensor, z: Tensor) -> Tensor:
        """Logits (B,)."""
        return self.joint(torch.cat([self.of_x(x), self.of_z(z[:, :, None, None])], dim=1)).flatten()

    def step(self, x: Tensor, z: Tensor, noise: Tensor, again: bool = True) -> dict[str, Tensor]:
        """One update of E and G and one of D, from the weights that all had before; D's pairs are made `again` or kept.

        The published source steps D first and lets E and G meet the new D; that computes as much.
        """
        entropy, ones, zeros = F.binary_cross_entropy_with_logits, x.new_ones(len(x)), x.new_zeros(len(x))
        x_hat, z_hat = self.pairs(x, z, noise)
        self.generator_optimiser.zero_grad()
        of_makers = entropy(self.logits(x, z_hat), zeros) + entropy(self.logits(x_hat, z), ones)
        of_makers.backward()
        if again:
            x_hat, z_hat = self.pairs(x, z, noise)
        self.discriminator_optimiser.zero_grad()
        loss = entropy(self.logits(x, z_hat.detach()), ones) + entropy(self.logits(x_hat.detach(), z), zeros)
        loss.backward()
        self.discriminator_optimiser.step()
        self.generator_optimiser.step()
        return {"discriminator_loss": loss.detach(), "generator_loss": of_makers.detach()}

    @torch.no_grad()
    def start_as(self, other: Game) -> None:
        """Take the weights of another start; all else starts alike."""
        pairs = ((self.encoder, other.encoder), (self.generator, other.generator))
        for own, theirs in (*pairs, (nn.ModuleList([self.of_x, self.of_z, self.joint]), other.discriminator)):
            for one, another in zip(_convolutions(own), _convolutions(theirs), strict=True):
                one.weight.copy_(another.weight)


def _convolutions(network: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    return [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)]


def game(latent: int, device: torch.device, dtype: torch.dtype = torch.float32, dropout: float = DROPOUT) -> Game:
    random = torch.Generator().manual_seed(0)
    parts = networks.Encoder(latent), networks.Generator(latent), networks.Discriminator(latent, dropout)
    for part in parts:
        networks.initialise(part, random)
        part.to(device, dtype)
    return Game(*parts, RATE, RATE, BETAS)


def drawn(crops: int, latent: int, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """x (bands of unequal loudness), z and noise."""
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(crops, 1, 32, 32, generator=random) * torch.linspace(1.0, 0.2, 32)[:, None]
    z, noise = torch.randn(2, crops, latent, generator=random)
    return x.to(device), z.to(device), noise.to(device)


def operations(latent: int) -> float:
    """Floating-point operations of `Game.step` for one crop: x passes D twice, everything else once."""
    encoder, generator, discriminator = networks.Encoder(latent), networks.Generator(latent), networks.Discriminator(1)
    multiplied, side = 0, networks.SIDE
    for number, (layer, y) in enumerate(
        zip(encoder.layers.convolutions, encoder.layers.outputs(torch.zeros(2, 1, side, side)), strict=True)
    ):
        passes = 1 + 2 * (number < len(discriminator.of_x.convolutions))  # those of D(x) have the same sizes
        multiplied += passes * layer.weight.numel() * y.shape[-1] ** 2
    sides = (1, *[y.shape[-1] for y in _made(generator, latent)])
    layers_of_g = [*generator.layers, generator.head]
    multiplied += sum(layer.weight.numel() * before**2 for layer, before in zip(layers_of_g, sides, strict=True))
    dense = [discriminator.of_z.convolutions[1], *discriminator.joint.convolutions, discriminator.head]
    multiplied += encoder.head.weight.numel() + 2 * (512 * latent + sum(layer.weight.numel() for layer in dense))
    return 2.0 * FORWARD_AND_BACKWARD * multiplied


def _made(generator: networks.Generator, latent: int) -> list[Tensor]:
    y, made = torch.zeros(2, latent, 1, 1), []
    for layer in generator.layers:
        y = layer(y)
        made.append(y)
    return made


def speeds(crops: int, rounds: int, latent: int, device: torch.device) -> list[str]:
    reference, ours, values = Plain(latent, device), game(latent, device), drawn(crops, latent, device)

    def finished(work: Callable[[], object]) -> Callable[[], object]:
        def waited() -> None:
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()

        return waited

    contenders = {
        "plain, all three networks again": finished(lambda: reference.step(*values)),
        "plain, only the discriminator again": finished(lambda: reference.step(*values, again=False)),
        "`Game.plain_step`": finished(lambda: ours.plain_step(*values)),
        "`Game.step`": finished(lambda: ours.step(*values)),
    }
    for work in contenders.values():
        work()
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            took[name].append(machine.elapsed_s(work))
    lines = ["| | ms an update | crops a second | time against `Game.step` |", "|---|---|---|---|"]
    ours_s = took["`Game.step`"]
    for name, own_s in took.items():
        cells = ([1e3 * t for t in own_s], [crops / t for t in own_s])
        ratio = machine.spread([t / o for t, o in zip(own_s, ours_s, strict=True)])
        lines.append(f"| {name} | {machine.spread(cells[0], 0)} | {machine.spread(cells[1], 0)} | {ratio} |")
    work_g = crops * operations(latent) / 1e9
    rate = work_g / statistics.median(ours_s)
    return [*lines, "", f"`Game.step` computes {work_g:.1f} GFLOP, at {rate:.0f} GFLOP/s."]


def losses(step: Callable[..., dict[str, Tensor]], latent: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Both losses at each update, (2, updates) float64; every run sees the same crops, noise and draws of dropout."""
    curve = []
    for update in range(TRACED_UPDATES):
        values = [value.to(dtype) for value in drawn(TRACED_CROPS, latent, device, update)]
        torch.manual_seed(update)
        found = step(*values)
        curve.append(torch.stack([found["discriminator_loss"], found["generator_loss"]]).double())
    return torch.stack(curve, dim=1)


def plain(latent: int, device: torch.device, dtype: torch.dtype) -> Plain:
    """The reference without dropout, from the weights of `game`."""
    torch.set_default_dtype(dtype)
    made = Plain(latent, device, dropout=0.0)
    torch.set_default_dtype(torch.float32)
    made.start_as(game(latent, device, dtype))
    return made


def drift(latent: int, device: torch.device, picture: Path | None) -> list[str]:
    """How far loss curves from the same start lie apart; rounding alone tells what to expect of float32.

    The reference draws its dropout otherwise, so it is held against `step` without any.
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
    for name, one, other in pairs:
        apart = (traced[name, one] - traced[name, other]).abs()
        lines.append(f"| {name}: {one}; {other} | {apart[:, :EARLY].max().item():.1e} | {apart.max().item():.1e} |")
    apart = (traced["float32", "plain_step"] - traced["float64", "plain_step"]).abs()
    lines.append(f"| plain_step: float32; float64 | {apart[:, :EARLY].max().item():.1e} | {apart.max().item():.1e} |")
    if picture:
        canvas.save(picture, drawing(traced, pairs))
    return lines


def drawing(traced: dict[tuple[str, str], Tensor], pairs: list[tuple[str, str, str]]) -> Figure:
    """The loss curves, one panel a pair: the first dashed upon the second."""
    figure = canvas.figure(10.0, 7.0)
    updates = range(1, TRACED_UPDATES + 1)
    for axis, (name, one, other) in zip(figure.subplots(2, 2).flat, pairs, strict=True):
        for row, (loss, colour) in enumerate((("discriminator", "C0"), ("generator", "C1"))):
            lean, wide = (traced[name, what][row].cpu().numpy() for what in (one, other))
            axis.plot(updates, wide, color=colour, linewidth=4.0, alpha=0.35, label=f"{loss}, {other}")
            axis.plot(updates, lean, color=colour, linewidth=1.2, linestyle="--", label=f"{loss}, {one}")
        axis.set(title=name, xlabel="update", ylabel="loss")
        axis.legend(fontsize=7)
    return figure


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--crops", type=int, default=100, help="crops in a batch")
    asked.add_argument("--latent", type=int, default=128)
    asked.add_argument("--rounds", type=int, default=15)
    asked.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked.add_argument("--picture", type=Path, help="where to draw the loss curves, as PNG")
    options = asked.parse_args()
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
