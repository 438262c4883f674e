"""Data-parallel training over several devices, one process ("rank") per device.

Every rank holds the same weights and takes every N-th clip of a batch. The resulting update is that of a single device
with the whole batch: gradients are averaged before the optimiser steps, batch norm uses the statistics of the whole
batch, and the contrastive loss compares the views of all ranks. Only the random numbers of views and codes differ from
those of a single device. All gradients are averaged in one all-reduce that does not overlap with the backward pass:
networks of a few megabytes do not need that.

On a GPU with bfloat16 support the forward passes of the training run under autocast, except the GRUs, batch norm
statistics, losses and optimisers; on any other device everything is float32. TF32 keeps PyTorch's defaults: allowed in
cuDNN's convolutions, not in matrix products. Convolutions are compiled on a GPU where torch.compile works.

N ranks, B rows of a batch; other axes as in networks.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import check_cuda_p2p_ib_support, gather, patch_environment, reduce
from torch import Tensor, nn

from symphony2vec.models.training import loop

RANK_TIMEOUT = timedelta(hours=1)  # of a rank that waits for another; longer than any evaluation takes


@dataclass(frozen=True)
class Devices:
    """The view of one rank: its number, the number of ranks, its device, and whether it uses bfloat16 and compiles."""

    rank: int
    count: int
    device: torch.device
    bf16: bool = False
    compiles: bool = False

    def split_batch(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the part of a batch (B,) that each rank takes.

        Examples:
            >>> [part.tolist() for part in Devices(0, 2, torch.device("cpu")).split_batch(np.arange(5))]
            [[0, 2, 4], [1, 3]]
        """
        return [rows[rank :: self.count] for rank in range(self.count)]

    def batch_weight(self, rows: np.ndarray) -> float:
        """Return the weight of a mean over this rank's rows in the mean over ranks; 1 for parts of equal size."""
        return len(self.split_batch(rows)[self.rank]) * self.count / len(rows)

    def step_rng(self, rng: torch.Generator, seed: int, rows: np.ndarray) -> torch.Generator:
        """Return the random generator of an update: `rng` for a single device, else a new one per rank and batch.

        The latter has no state, which a checkpoint would have to hold for every rank.
        """
        if self.count == 1:
            return rng
        (step_seed,) = np.random.SeedSequence([seed, self.rank, *rows.tolist()]).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(step_seed >> 1))

    def forward(self, network: nn.Module, *inputs: Tensor) -> Any:
        """Return the output of a network in training, in float32 even where bfloat16 is used inside."""
        if not self.bf16:
            return network(*inputs)
        with torch.autocast(self.device.type, torch.bfloat16):
            output = network(*inputs)
        return _to_float32(output)

    def gather(self, values: Tensor, counts: Sequence[int]) -> Tensor:
        """Concatenate the values of all ranks, `counts` of each; differentiable."""
        if self.count == 1:
            return values
        gathered: Tensor = _Gather.apply(values, tuple(counts), self.rank)  # type: ignore[no-untyped-call]
        return gathered

    def average_gradients(self, networks: Iterable[nn.Module], metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Average the gradients of all networks over the ranks, in place; return the metrics averaged over the ranks.

        Every rank gets the same metrics, so a loss that is not finite ends all of them in the same update.
        """
        values = {name: value.detach() for name, value in metrics.items()}
        if self.count == 1:
            return values
        gradients = [
            parameter.grad for network in networks for parameter in network.parameters() if parameter.grad is not None
        ]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), torch.stack([*values.values()])])
        *parts, means = reduce(flat, "mean").split([*(gradient.numel() for gradient in gradients), len(values)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))
        return dict(zip(values, means.unbind(), strict=True))

    def synchronise_batch_norm(self, *networks: nn.Module) -> None:
        """Let two-dimensional batch norms use the batches of all ranks; parameters stay the same objects."""
        if self.count == 1:
            return
        for network in networks:
            for parent in list(network.modules()):
                for name, child in parent.named_children():
                    if type(child) is nn.BatchNorm2d:
                        setattr(parent, name, SynchronisedBatchNorm(child, self.rank, self.count))

    def compile(self, *modules: nn.Module) -> None:
        """Compile modules in place; what cannot be compiled runs as it is."""
        if not self.compiles:
            return
        torch._dynamo.config.suppress_errors = True
        for module in modules:
            for norm in module.modules():
                if isinstance(norm, SynchronisedBatchNorm):
                    norm.statistics = torch.compiler.disable(norm.statistics)  # type: ignore[method-assign]
            module.compile()


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch norm with the mean and the variance over the batches of all ranks.

    With statistics per rank, the contrastive loss could tell by them which views come from the same rank. PyTorch's
    `SyncBatchNorm` does the same, but only on GPUs. Weights and running statistics are those of `norm`.
    """

    def __init__(self, norm: nn.BatchNorm2d, rank: int, count: int) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self._rank, self._count = rank, count

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, F, T)."""
        if not self.training:
            return super().forward(x)
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        mean, variance = self.statistics(exact)
        scale = self.weight * (variance + self.eps).rsqrt()
        normalised = (exact - _per_channel(mean)) * _per_channel(scale) + _per_channel(self.bias)
        return normalised.to(x.dtype)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (C,) over all ranks, and update the running ones."""
        variances, means = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        size = means.new_full((1,), x.numel() // x.shape[1])
        packed, one_per_rank = torch.cat([means, variances, size])[None], (1,) * self._count
        gathered: Tensor = _Gather.apply(packed, one_per_rank, self._rank)  # type: ignore[no-untyped-call]
        means, variances, sizes = gathered.split([len(means), len(means), 1], dim=1)
        share = sizes / sizes.sum()
        mean = (share * means).sum(dim=0)
        variance = (share * (variances + (means - mean).square())).sum(dim=0)
        with torch.no_grad():
            assert self.momentum is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (sizes.sum() / (sizes.sum() - 1.0)), self.momentum)
            self.num_batches_tracked.add_(1)
        return mean, variance


class _Gather(torch.autograd.Function):
    """Concatenate the values of all ranks; backward sums the gradients that all ranks have for each rank's values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
        """Gather `values` (counts[rank], ...) to (sum of counts, ...)."""
        ctx.counts, ctx.rank, largest = counts, rank, max(counts)
        padded = values.new_zeros(largest, *values.shape[1:])
        padded[: len(values)] = values
        parts = gather(padded).split(largest)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Reduce (sum of counts, ...) to (counts[rank], ...)."""
        return reduce(gradients[0], "sum").split(ctx.counts)[ctx.rank], None, None


def single_device(device: torch.device) -> Devices:
    """Return a training on this device alone."""
    return _build_devices(0, 1, device)


@contextmanager
def join_group(rank: int, count: int, port: int) -> Iterator[Devices]:
    """Join a process group of `count` ranks on this machine: one GPU each, or all on the CPU, sharing its threads.

    Args:
        rank: of this process.
        count: ranks.
        port: at which the ranks meet.
    """
    on_gpu, threads = loop.device().type == "cuda", torch.get_num_threads()
    threads_per_rank = max(1, threads // count)
    environment = {"rank": rank, "local_rank": rank, "world_size": count, "local_world_size": count}
    environment |= {"master_port": port, "omp_num_threads": threads_per_rank}
    if not check_cuda_p2p_ib_support():
        environment |= {"nccl_p2p_disable": 1, "nccl_ib_disable": 1}
    with patch_environment(master_addr="127.0.0.1", **environment):
        state = PartialState(cpu=not on_gpu, timeout=RANK_TIMEOUT)
        if not on_gpu:
            torch.set_num_threads(threads_per_rank)
        try:
            yield _build_devices(rank, count, state.device)
            state.wait_for_everyone()  # so that all ranks leave the group together
        finally:
            state.destroy_process_group()
            PartialState._reset_state()
            torch.set_num_threads(threads)


@cache
def can_compile(device: torch.device) -> bool:
    """Try whether torch.compile works on this device; print one line where it does not."""
    layer = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LeakyReLU()).to(device)
    try:
        layer.compile()
        layer(torch.ones(1, 1, 4, 4, device=device)).sum().backward()
    except Exception as error:  # compilers fail in many ways, and training does not need one
        line = (str(error).splitlines() or [""])[0]
        print(
            f"torch.compile fails on {device} ({type(error).__name__}: {line}); training is not compiled",
            file=sys.stderr,
        )
        return False
    return True


def _build_devices(rank: int, count: int, device: torch.device) -> Devices:
    if device.type != "cuda":
        return Devices(rank, count, device)
    return Devices(rank, count, device, torch.cuda.is_bf16_supported(including_emulation=False), can_compile(device))


def _per_channel(values: Tensor) -> Tensor:
    return values[:, None, None]


def _to_float32(output: Any) -> Any:
    """Convert a tensor, or a named tuple of tensors, to float32."""
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(*(_to_float32(value) for value in output))
