"""The devices that one training is spread over, one process a device, and what a learner asks of them.

Every process ("rank") holds the same weights and takes every N-th clip of a batch. What they compute is the update that
one device would make of the whole batch: gradients are averaged before the optimisers step, the statistics of batch
norm are those of the whole batch, and the contrast compares the views of all ranks. Only the random numbers of views
and codes differ from those of one device. The spread gradients travel in one all-reduce; nothing hides it behind the
backward pass, since networks of a few megabytes do not need that.

On a GPU that has bfloat16 the networks' forward passes are in it while they learn, but not the recurrent layers, batch
norm's statistics, losses and optimisers; on any other device all is float32. TF32 is left as PyTorch has it: cuDNN's
convolutions may use it, matrix products do not. Convolutions are compiled on a GPU, where compiling works.

N ranks, B rows of a batch; (N, ...) and (B, ...) as in networks.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import check_cuda_p2p_ib_support, gather, patch_environment, reduce
from torch import Tensor, nn

from symphony2vec.models.training import loop

Passed = TypeVar("Passed")
PATIENCE = timedelta(hours=1)  # that ranks wait for another: longer than any evaluation takes


@dataclass(frozen=True)
class Devices:
    """One rank's part: its number, how many there are, its device, and whether it has bfloat16 and can compile."""

    rank: int
    count: int
    device: torch.device
    bf16: bool = False
    compiles: bool = False

    def shares(self, rows: np.ndarray) -> list[np.ndarray]:
        """The rows (B,) of a batch that each rank takes."""
        return [rows[rank :: self.count] for rank in range(self.count)]

    def weight(self, rows: np.ndarray) -> float:
        """What a mean over this rank's rows counts in the mean of the ranks; 1 where all have as many rows."""
        return len(self.shares(rows)[self.rank]) * self.count / len(rows)

    def dice(self, generator: torch.Generator, seed: int, rows: np.ndarray) -> torch.Generator:
        """What draws the views of an update: the learner's own `generator`, or one for this rank and this batch.

        The latter has no state that a checkpoint would have to hold for every rank.
        """
        if self.count == 1:
            return generator
        (drawn,) = np.random.SeedSequence([seed, self.rank, *rows.tolist()]).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(drawn >> 1))

    def passed(self, network: nn.Module, *inputs: Tensor) -> Any:
        """What a network gives while it learns, in float32 whatever it computes in."""
        if not self.bf16:
            return network(*inputs)
        with torch.autocast(self.device.type, torch.bfloat16):
            given = network(*inputs)
        return _in_float32(given)

    def gathered(self, values: Tensor, counts: Sequence[int]) -> Tensor:
        """The values of all ranks, of which each has `counts`, one rank after the other; with gradient."""
        if self.count == 1:
            return values
        found: Tensor = _Gathered.apply(values, tuple(counts), self.rank)  # type: ignore[no-untyped-call]
        return found

    def averaged(self, networks: Iterable[nn.Module], told: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Average the gradients of all networks over the ranks, in place, and what is told; returns the latter.

        What is told of one rank reaches all: a loss that is not finite ends them in the same update.
        """
        values = {name: value.detach() for name, value in told.items()}
        if self.count == 1:
            return values

        slopes = [one.grad for network in networks for one in network.parameters() if one.grad is not None]
        flat = reduce(torch.cat([*(slope.flatten() for slope in slopes), torch.stack([*values.values()])]), "mean")
        *parts, means = flat.split([*(slope.numel() for slope in slopes), len(values)])
        for slope, part in zip(slopes, parts, strict=True):
            slope.copy_(part.view(slope.shape))
        return dict(zip(values, means.unbind(), strict=True))

    def synchronise(self, *networks: nn.Module) -> None:
        """Let their batch norms over channels know the batches of all ranks; parameters stay the same objects."""
        if self.count == 1:
            return
        for network in networks:
            for parent in list(network.modules()):
                for name, child in parent.named_children():
                    if type(child) is nn.BatchNorm2d:
                        setattr(parent, name, SynchronisedNorm(child, self.rank, self.count))

    def compile(self, *parts: nn.Module) -> None:
        """Compile these parts of networks, in place; where a piece of one cannot be, it runs as it is."""
        if not self.compiles:
            return
        torch._dynamo.config.suppress_errors = True
        for part in parts:
            for norm in part.modules():
                if isinstance(norm, SynchronisedNorm):
                    norm.statistics = torch.compiler.disable(norm.statistics)  # type: ignore[method-assign]
            part.compile()


class SynchronisedNorm(nn.BatchNorm2d):
    """Batch norm by the mean and the variance of the batches of all ranks.

    With statistics of its own, each rank would mark its views, and the contrast could tell by that mark which views
    belong together. PyTorch's `SyncBatchNorm` does the same, on GPUs alone.
    """

    def __init__(self, norm: nn.BatchNorm2d, rank: int, count: int) -> None:
        """Takes over the weights of `norm` and its running statistics."""
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self._rank, self._count = rank, count

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, T) to (B, C, F, T)."""
        if not self.training:
            return super().forward(x)
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        mean, variance = self.statistics(exact)
        scale = self.weight * (variance + self.eps).rsqrt()
        found = (exact - _by_channel(mean)) * _by_channel(scale) + _by_channel(self.bias)
        return found.to(x.dtype)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) over all ranks, which the running ones move towards."""
        variances, means = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        seen = means.new_full((1,), x.numel() // x.shape[1])
        own, ones = torch.cat([means, variances, seen])[None], (1,) * self._count
        told: Tensor = _Gathered.apply(own, ones, self._rank)  # type: ignore[no-untyped-call]
        means, variances, counts = told.split([len(means), len(means), 1], dim=1)
        share = counts / counts.sum()
        mean = (share * means).sum(dim=0)
        variance = (share * (variances + (means - mean).square())).sum(dim=0)
        with torch.no_grad():
            assert self.momentum is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (counts.sum() / (counts.sum() - 1.0)), self.momentum)
            self.num_batches_tracked.add_(1)
        return mean, variance


class _Gathered(torch.autograd.Function):
    """The values of all ranks, one after the other; backward, each rank's own get the sum of what all say of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
        """`values` (counts[rank], ...) to (sum of counts, ...)."""

        ctx.counts, ctx.rank, most = counts, rank, max(counts)
        padded = values.new_zeros(most, *values.shape[1:])
        padded[: len(values)] = values
        parts = gather(padded).split(most)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        """(sum of counts, ...) to (counts[rank], ...)."""

        return reduce(slopes[0], "sum").split(ctx.counts)[ctx.rank], None, None


def alone(device: torch.device) -> Devices:
    """This process and one device."""
    on_gpu = device.type == "cuda"
    return Devices(0, 1, device, on_gpu and _has_bf16(), on_gpu and can_compile(device))


@contextmanager
def joined(rank: int, count: int, port: int) -> Iterator[Devices]:
    """This process as one of `count` on this machine, which meet at a `port`; on a GPU each, or all on the CPU.

    On the CPU the processes share this process's threads.
    """

    on_gpu, threads = loop.device().type == "cuda", torch.get_num_threads()
    own = max(1, threads // count)
    place = {"rank": rank, "local_rank": rank, "world_size": count, "local_world_size": count}
    place |= {"master_port": port, "omp_num_threads": own}
    if not check_cuda_p2p_ib_support():
        place |= {"nccl_p2p_disable": 1, "nccl_ib_disable": 1}
    with patch_environment(master_addr="127.0.0.1", **place):
        state = PartialState(cpu=not on_gpu, timeout=PATIENCE)
        if not on_gpu:
            torch.set_num_threads(own)
        try:
            device = state.device
            yield Devices(rank, count, device, on_gpu and _has_bf16(), on_gpu and can_compile(device))
            state.wait_for_everyone()  # so that all take leave at once
        finally:
            state.destroy_process_group()
            PartialState._reset_state()
            torch.set_num_threads(threads)


@cache
def can_compile(device: torch.device) -> bool:
    """Whether torch.compile works on this device, by trying; says so where it does not."""
    layer = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LeakyReLU()).to(device)
    try:
        layer.compile()
        layer(torch.ones(1, 1, 4, 4, device=device)).sum().backward()
    except Exception as fault:  # compilers fail in many ways, and training does not need one
        line = (str(fault).splitlines() or [""])[0]
        print(
            f"torch.compile fails on {device} ({type(fault).__name__}: {line}); training is not compiled",
            file=sys.stderr,
        )
        return False
    return True


def _has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _by_channel(values: Tensor) -> Tensor:
    return values[:, None, None]


def _in_float32(given: Any) -> Any:
    """A tensor, or a tuple of them."""
    if isinstance(given, Tensor):
        return given.float()
    return type(given)(*(_in_float32(one) for one in given))
