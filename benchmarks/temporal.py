"""Clips per second of one update of the temporal ALI, on one device and on all; what share of a device's limit that is.

The plain step beside ours gives the discriminator its gradients in one backward pass over detached pairs, and then runs
it again for those of the generator and the encoder. The two take turns, round after round, so that whatever else the
machine does meets both; a ratio is taken within a round. The limit is measured here, in the precision of the training:
a large matrix product and the widest convolution. `python benchmarks/temporal.py --help` lists the options.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import machine
from symphony2vec import params
from symphony2vec.models.temporal import losses, networks, ranks, views
from symphony2vec.models.temporal.devices import Devices
from symphony2vec.models.temporal.learner import TemporalLearner
from symphony2vec.models.training import loop
from symphony2vec.models.training.source import Source
from symphony2vec.package.scaling import Scaling
from symphony2vec.params import TemporalSetting

BINS, FRAMES = 64, 431
CLIPS = 512
WARM_UP = 3  # updates, in which a GPU's parts are compiled as well
SETTINGS = Path(__file__).resolve().parents[1] / "params.yaml"


class Plain(TemporalLearner):
    """The game without any haste."""

    def _game(self, heard: Tensor, c: Tensor, z: Tensor, share: float) -> tuple[dict[str, Tensor], Tensor]:
        prior_c, prior_z = self._normal(c.shape), self._normal(z.shape)
        x_hat = self._devices.passed(self.generator_network, prior_c, prior_z)
        told = losses.discriminator_loss(*self._logits(heard, x_hat.detach(), c.detach(), z.detach(), prior_c, prior_z))
        (share * told).backward()
        self.discriminator.requires_grad_(False)
        of_makers = losses.generator_loss(*self._logits(heard, x_hat, c, z, prior_c, prior_z))
        self.discriminator.requires_grad_(True)
        return {"discriminator_loss": share * told}, share * self._setting.adversary * of_makers

    def _logits(self, heard: Tensor, x_hat: Tensor, *codes: Tensor) -> tuple[Tensor, Tensor]:
        c, z, prior_c, prior_z = codes
        seen = torch.cat([heard, views.changed(x_hat, self._changes, self._dice)])
        logits = self._devices.passed(self.discriminator, seen, torch.cat([c, prior_c]), torch.cat([z, prior_z]))
        return logits.split(len(heard))


@dataclass(frozen=True)
class Load:
    """What is trained: a setting, D, and how often."""

    setting: TemporalSetting
    latent: int
    updates: int
    rounds: int

    def learner(self, devices: Devices, kind: type[TemporalLearner] = TemporalLearner) -> TemporalLearner:
        """On clips of noise: how long an update takes does not depend on what it hears."""
        array = np.random.default_rng(0).standard_normal((CLIPS, BINS, FRAMES), dtype=np.float32)
        scaling = Scaling(np.zeros(BINS, np.float32), np.ones(BINS, np.float32))
        source, movements = Source(array, scaling, devices.device), np.arange(CLIPS) // 8
        return kind(source, np.arange(CLIPS), movements, self.latent, self.setting, 0, devices)

    def work(self, learner: TemporalLearner) -> Callable[[], None]:
        """Some updates, to their end; the same batches on every rank."""
        drawn = np.random.default_rng(0)

        def updates(count: int = self.updates) -> None:
            for _ in range(count):
                learner.step(drawn.permutation(CLIPS)[: self.setting.batch])
            _wait(learner.encoder)

        updates(WARM_UP)
        return updates

    def spread(self, devices: Devices) -> list[float]:
        """Seconds of each round, as one of the ranks."""
        work = self.work(self.learner(devices))
        return [machine.elapsed_s(work) for _ in range(self.rounds)]


def _wait(network: torch.nn.Module) -> None:
    if next(network.parameters()).is_cuda:
        torch.cuda.synchronize()


def operations(load: Load, kind: type[TemporalLearner]) -> float:
    """Floating-point operations of one update, counted on the CPU, where the counter sees the recurrent layers too."""
    learner = load.learner(Devices(0, 1, torch.device("cpu")), kind)
    with FlopCounterMode(display=False) as counter:
        learner.step(np.arange(load.setting.batch))
    return float(counter.get_total_flops())


def limits(devices: Devices, width: int, rounds: int) -> dict[str, float]:
    """The FLOP/s that this device reaches in the precision of the training."""
    kind, big = torch.bfloat16 if devices.bf16 else torch.float32, 8192 if devices.device.type == "cuda" else 1024
    one, other = (torch.randn(big, big, device=devices.device, dtype=kind) for _ in range(2))
    before, after = (factor * width for factor in networks.CHANNELS[-2:])
    x = torch.randn(256 if devices.device.type == "cuda" else 16, before, 8, 64, device=devices.device, dtype=kind)
    layer = torch.nn.Conv2d(before, after, networks.KERNELS[2], 1, 1, bias=False).to(devices.device, kind)
    found = {}
    for name, work in {"matrix product": lambda: one @ other, "convolution": lambda: layer(x)}.items():
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            work()

        def waited(work: Callable[[], Tensor] = work) -> None:
            with torch.inference_mode():
                work()
            _wait(layer)

        found[name] = counter.get_total_flops() / min(machine.elapsed_s(waited) for _ in range(max(5, rounds)))
    return found


def busy(work: Callable[[], None]) -> float:
    """The share of the time in which some kernel runs on the GPU."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        took_s = machine.elapsed_s(work)
    spans = [one.time_range for one in profiled.events() if one.device_type == DeviceType.CUDA]
    return covered([(span.start, span.end) for span in spans]) / (1e6 * took_s)


def covered(spans: list[tuple[float, float]]) -> float:
    """The length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def read_bytes() -> int:
    """What this process has had read from a disk (Linux)."""
    told = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in told if line.startswith("read_bytes")).split()[1])


def one_device(load: Load, devices: Devices) -> list[str]:
    clips = 2 * load.setting.batch  # an update hears a clip and another one of its movement
    kinds = {"plain, the discriminator runs again": Plain, "`TemporalLearner.step`": TemporalLearner}
    contenders = {name: load.work(load.learner(devices, kind)) for name, kind in kinds.items()}
    took: dict[str, list[float]] = {name: [] for name in contenders}
    before = read_bytes() if platform.system() == "Linux" else 0
    for _ in range(load.rounds):
        for name, work in contenders.items():
            took[name].append(machine.elapsed_s(work) / load.updates)
    read = read_bytes() - before if platform.system() == "Linux" else 0
    lines = ["| one device | ms an update | clips a second | time against ours | GFLOP |", "|---|---|---|---|---|"]
    ours_s, counted = took["`TemporalLearner.step`"], {}
    for name, own_s in took.items():
        counted[name] = operations(load, kinds[name]) / 1e9
        cells = machine.spread([1e3 * t for t in own_s], 1), machine.spread([clips / t for t in own_s], 0)
        ratio = machine.spread([t / o for t, o in zip(own_s, ours_s, strict=True)])
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {ratio} | {counted[name]:.1f} |")
    rate = counted["`TemporalLearner.step`"] / min(ours_s)  # the best, as that of the limits is
    lines.append("")
    for name, limit in limits(devices, load.setting.width, load.rounds).items():
        lines.append(
            f"A {name} reaches {limit / 1e9:.0f} GFLOP/s here; an update {rate:.0f}, {1e9 * rate / limit:.0%}."
        )
    lines.append(f"Read from a disk in {2 * load.rounds * load.updates} updates: {read} bytes.")
    if devices.device.type == "cuda":
        lines.append(f"Busy share of the GPU: {busy(contenders['`TemporalLearner.step`']):.0%}.")
    else:
        lines.append("No GPU here: no busy share.")
    return lines


def all_devices(load: Load, count: int) -> list[str]:
    """The same batch on several devices, and a batch that grows with their number."""
    lines = [f"| {count} processes | ms an update | clips a second |", "|---|---|---|"]
    for name, factor in (("the same batch", 1), (f"{count} times the batch", count)):
        setting = load.setting.model_copy(update={"batch": factor * load.setting.batch})
        own = Load(setting, load.latent, load.updates, load.rounds)
        with ranks.together(count, partial(_spread, own), "benchmark") as devices:
            took_s = [t / load.updates for t in own.spread(devices)]
        cells = machine.spread([1e3 * t for t in took_s], 1), machine.spread([2 * setting.batch / t for t in took_s], 0)
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return lines


def _spread(load: Load, devices: Devices) -> None:
    load.spread(devices)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--setting", default="full", help="of params.yaml")
    asked.add_argument("--latent", type=int, default=40)
    asked.add_argument("--batch", type=int, help="clips an update, each with another of its movement")
    asked.add_argument("--updates", type=int, default=20, help="in a round")
    asked.add_argument("--rounds", type=int, default=10)
    asked.add_argument("--processes", type=int, help="one for every GPU; 2 without")
    asked.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = asked.parse_args()
    torch.set_num_threads(options.threads)
    setting = params.read(SETTINGS).temporal.setting(options.setting)
    setting = setting.model_copy(update={"batch": options.batch or setting.batch})
    load = Load(setting, options.latent, options.updates, options.rounds)
    on_gpu = loop.device().type == "cuda"
    count = ranks.count(options.processes or (None if on_gpu else 2), setting.batch)
    with ranks.together(1, partial(_spread, load), "benchmark") as devices:
        lines = one_device(load, devices)
    where = torch.cuda.get_device_name() if on_gpu else f"{options.threads} thread(s)"
    precise = f"{'bfloat16' if devices.bf16 else 'float32'}, {'' if devices.compiles else 'not '}compiled"
    print(f"\n{machine.described()}, torch {torch.__version__}, {where}, {precise}\n")
    print(f"{options.setting}-{options.latent}, {setting.batch} pairs an update, {setting.frames} frames, ", end="")
    print(f"{options.rounds} rounds of {options.updates}; median (smallest to largest)\n", *lines, sep="\n")
    if count > 1:
        print("", *all_devices(load, count), sep="\n")


if __name__ == "__main__":
    main()
