"""Throughput of an update of the temporal ALI, on one device and on all, and its share of the peak of the device.

The baseline computes the gradients of the discriminator in one backward pass over detached pairs, and runs it again for
those of the generator and the encoder. Both alternate, round after round, so that other load on the machine affects
both; ratios are taken within a round. The peak is measured in the precision of the training, with a large matrix
product and the widest convolution. `python benchmarks/temporal.py --help` lists the options.
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
WARM_UP = 3  # updates, during which the networks are compiled on a GPU
SETTINGS = Path(__file__).resolve().parents[1] / "params.yaml"


class Baseline(TemporalLearner):
    """The temporal ALI with one pass through the discriminator for each of the two losses."""

    def _backpropagate_adversarial(
        self, view: Tensor, c: Tensor, z: Tensor, weight: float
    ) -> tuple[dict[str, Tensor], Tensor]:
        prior_c, prior_z = self._sample_noise(c.shape), self._sample_noise(z.shape)
        x_hat = self._devices.forward(self.generator, prior_c, prior_z)
        detached = self._logits(view, x_hat.detach(), c.detach(), z.detach(), prior_c, prior_z)
        discriminator_loss = weight * losses.discriminator_loss(*detached)
        discriminator_loss.backward()
        self.discriminator.requires_grad_(False)
        generator_loss = losses.generator_loss(*self._logits(view, x_hat, c, z, prior_c, prior_z))
        self.discriminator.requires_grad_(True)
        return {"discriminator_loss": discriminator_loss}, weight * self._setting.adversarial_weight * generator_loss

    def _logits(self, view: Tensor, x_hat: Tensor, *codes: Tensor) -> tuple[Tensor, Tensor]:
        c, z, prior_c, prior_z = codes
        x = torch.cat([view, views.augment(x_hat, self._augmentation, self._step_rng)])
        logits = self._devices.forward(self.discriminator, x, torch.cat([c, prior_c]), torch.cat([z, prior_z]))
        return logits.split(len(view))


@dataclass(frozen=True)
class Load:
    """What is measured: a setting, the latent size, the updates of a round, and the rounds."""

    setting: TemporalSetting
    latent: int
    updates: int
    rounds: int

    def learner(self, devices: Devices, kind: type[TemporalLearner] = TemporalLearner) -> TemporalLearner:
        """Return a learner on noise: the time of an update does not depend on its input."""
        array = np.random.default_rng(0).standard_normal((CLIPS, BINS, FRAMES), dtype=np.float32)
        scaling = Scaling(np.zeros(BINS, np.float32), np.ones(BINS, np.float32))
        source, movements = Source(array, scaling, devices.device), np.arange(CLIPS) // 8
        return kind(source, np.arange(CLIPS), movements, self.latent, self.setting, 0, devices)

    def work(self, learner: TemporalLearner) -> Callable[[], None]:
        """Return a function that runs the updates of a round, after a warm-up; the same batches on every rank."""
        rng = np.random.default_rng(0)

        def updates(count: int = self.updates) -> None:
            for _ in range(count):
                learner.step(rng.permutation(CLIPS)[: self.setting.batch])
            _synchronise(learner.encoder)

        updates(WARM_UP)
        return updates

    def measure(self, devices: Devices) -> list[float]:
        """Return the seconds of each round, as one of the ranks."""
        work = self.work(self.learner(devices))
        return [machine.elapsed_s(work) for _ in range(self.rounds)]


def _synchronise(network: torch.nn.Module) -> None:
    if next(network.parameters()).is_cuda:
        torch.cuda.synchronize()


def operations(load: Load, kind: type[TemporalLearner]) -> float:
    """Return the floating-point operations of an update, counted on the CPU, where the GRUs are counted too."""
    learner = load.learner(Devices(0, 1, torch.device("cpu")), kind)
    with FlopCounterMode(display=False) as counter:
        learner.step(np.arange(load.setting.batch))
    return float(counter.get_total_flops())


def limits(devices: Devices, width: int, rounds: int) -> dict[str, float]:
    """Return the FLOP/s that this device reaches in the precision of the training."""
    dtype, on_gpu = torch.bfloat16 if devices.bf16 else torch.float32, devices.device.type == "cuda"
    size = 8192 if on_gpu else 1024
    a, b = (torch.randn(size, size, device=devices.device, dtype=dtype) for _ in range(2))
    inputs, outputs = (multiplier * width for multiplier in networks.CHANNEL_MULTIPLIERS[-2:])
    x = torch.randn(256 if on_gpu else 16, inputs, 8, 64, device=devices.device, dtype=dtype)
    layer = torch.nn.Conv2d(inputs, outputs, networks.KERNELS[2], 1, 1, bias=False).to(devices.device, dtype)
    flops = {}
    for name, operation in {"matrix product": lambda: a @ b, "convolution": lambda: layer(x)}.items():
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            operation()

        def run(operation: Callable[[], Tensor] = operation) -> None:
            with torch.inference_mode():
                operation()
            _synchronise(layer)

        flops[name] = counter.get_total_flops() / min(machine.elapsed_s(run) for _ in range(max(5, rounds)))
    return flops


def busy(work: Callable[[], None]) -> float:
    """Return the share of the time in which at least one kernel runs on the GPU."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        elapsed_s = machine.elapsed_s(work)
    spans = [event.time_range for event in profiler.events() if event.device_type == DeviceType.CUDA]
    return covered([(span.start, span.end) for span in spans]) / (1e6 * elapsed_s)


def covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of the union of intervals."""
    total, covered_until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, covered_until))
        covered_until = max(covered_until, end)
    return total


def read_bytes() -> int:
    """Return the bytes that this process has read from disk (Linux)."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])


def one_device(load: Load, devices: Devices) -> list[str]:
    """Return the lines that compare our update with the baseline and with the peak of one device."""
    clips = 2 * load.setting.batch  # an update takes each clip and another one of its movement
    ours = "`TemporalLearner.step`"
    kinds = {"baseline, two passes through the discriminator": Baseline, ours: TemporalLearner}
    contenders = {name: load.work(load.learner(devices, kind)) for name, kind in kinds.items()}
    times_s: dict[str, list[float]] = {name: [] for name in contenders}
    start_bytes = read_bytes() if platform.system() == "Linux" else 0
    for _ in range(load.rounds):
        for name, work in contenders.items():
            times_s[name].append(machine.elapsed_s(work) / load.updates)
    bytes_read = read_bytes() - start_bytes if platform.system() == "Linux" else 0
    lines = ["| one device | ms an update | clips a second | time against ours | GFLOP |", "|---|---|---|---|---|"]
    gflop = {name: operations(load, kind) / 1e9 for name, kind in kinds.items()}
    for name, rounds_s in times_s.items():
        cells = machine.spread([1e3 * t for t in rounds_s], 1), machine.spread([clips / t for t in rounds_s], 0)
        ratio = machine.spread([t / own for t, own in zip(rounds_s, times_s[ours], strict=True)])
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {ratio} | {gflop[name]:.1f} |")
    rate = gflop[ours] / min(times_s[ours])  # the fastest round, as for the peak
    lines.append("")
    for name, limit in limits(devices, load.setting.width, load.rounds).items():
        lines.append(
            f"A {name} reaches {limit / 1e9:.0f} GFLOP/s here; an update {rate:.0f}, {1e9 * rate / limit:.0%}."
        )
    lines.append(f"Read from disk in {2 * load.rounds * load.updates} updates: {bytes_read} bytes.")
    if devices.device.type == "cuda":
        lines.append(f"Busy share of the GPU: {busy(contenders[ours]):.0%}.")
    else:
        lines.append("No GPU here: no busy share.")
    return lines


def all_devices(load: Load, count: int) -> list[str]:
    """Return the lines of a table: the same batch on several devices, and a batch that grows with their number."""
    lines = [f"| {count} processes | ms an update | clips a second |", "|---|---|---|"]
    for name, factor in (("the same batch", 1), (f"{count} times the batch", count)):
        setting = load.setting.model_copy(update={"batch": factor * load.setting.batch})
        scaled_load = Load(setting, load.latent, load.updates, load.rounds)
        with ranks.launch(count, partial(_follow, scaled_load), "benchmark") as devices:
            times_s = [t / load.updates for t in scaled_load.measure(devices)]
        clips = 2 * setting.batch
        cells = machine.spread([1e3 * t for t in times_s], 1), machine.spread([clips / t for t in times_s], 0)
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return lines


def _follow(load: Load, devices: Devices) -> None:
    load.measure(devices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setting", default="full", help="name of a setting in params.yaml")
    parser.add_argument("--latent", type=int, default=40)
    parser.add_argument("--batch", type=int, help="clips per update, each with another one of its movement")
    parser.add_argument("--updates", type=int, default=20, help="per round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--processes", type=int, help="default: one per GPU; 2 without a GPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    setting = params.read(SETTINGS).temporal.setting(options.setting)
    setting = setting.model_copy(update={"batch": options.batch or setting.batch})
    load = Load(setting, options.latent, options.updates, options.rounds)
    on_gpu = loop.device().type == "cuda"
    count = ranks.process_count(options.processes or (None if on_gpu else 2), setting.batch)
    with ranks.launch(1, partial(_follow, load), "benchmark") as devices:
        lines = one_device(load, devices)
    location = torch.cuda.get_device_name() if on_gpu else f"{options.threads} thread(s)"
    precision = f"{'bfloat16' if devices.bf16 else 'float32'}, {'' if devices.compiles else 'not '}compiled"
    print(f"\n{machine.described()}, torch {torch.__version__}, {location}, {precision}\n")
    print(
        f"{options.setting}-{options.latent}, {setting.batch} pairs an update, {setting.crop_frames} frames, ", end=""
    )
    print(f"{options.rounds} rounds of {options.updates}; median (smallest to largest)\n", *lines, sep="\n")
    if count > 1:
        print("", *all_devices(load, count), sep="\n")


if __name__ == "__main__":
    main()
