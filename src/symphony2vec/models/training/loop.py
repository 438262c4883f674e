"""The training loop: batches, checkpoints, resuming, early stopping, learning curves and a check for divergence.

A training is a function of its learner, its rows and its schedule. All random numbers come from generators whose state
is part of the checkpoint, so a training that is killed and resumed gives the same numbers as one that was not. Sums on
a GPU have no fixed order; two runs on a GPU agree only approximately.

B clips or crops of a batch. Reads and writes <checkpoint folder>/checkpoint.pt.
"""

from __future__ import annotations

import math
import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from symphony2vec.errors import UserError
from symphony2vec.models.training.source import Source
from symphony2vec.params import Network
from symphony2vec.project import atomic_file

N = TypeVar("N", bound=nn.Module)
CHECKPOINT_EVERY_S = 60.0
LOSS_CHECK_EVERY = 25  # updates between two checks of the losses: each check waits for the device


class Learner(Protocol):
    """A model and its optimisers, as the loop trains them."""

    rng: torch.Generator  # of all noise and crops

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """Make one update on the clips of these rows (B,), and return its losses as 0-d tensors."""

    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimiser states, as plain values and tensors."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""


class NetworkLearner(ABC, Generic[N]):
    """A learner with one network and Adam; subclasses define the losses of a batch."""

    def __init__(self, source: Source, create: Callable[[], N], settings: Network, seed: int) -> None:
        self._source = source
        self.network = create_network(create, seed, source.device)
        self.rng = torch.Generator(source.device).manual_seed(seed)
        self._optimiser = adam(self.network, settings)

    @abstractmethod
    def batch_losses(self, rows: np.ndarray, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the losses on the clips of these rows (B,) as scalars; "loss" is the one to minimise."""

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """Make one update on the clips of these rows (B,), and return its detached losses."""
        self.network.train()
        losses = self.batch_losses(rows, self.rng)
        self._optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        self._optimiser.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of network and optimiser."""
        return {"network": self.network.state_dict(), "optimiser": self._optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])


@dataclass(frozen=True)
class Schedule:
    """Duration of a training and order of its batches.

    Attributes:
        epochs: passes over the training clips.
        batch: clips of an update.
        seed: of the order of the clips and of torch's global generator.
        evaluate_every: epochs between two evaluations.
        patience: evaluations without a better `monitor` after which the training stops with the best weights; 0 to
            train to the end and keep the last weights.
        monitor: the metric that `patience` compares; higher is better.
    """

    epochs: int
    batch: int
    seed: int
    evaluate_every: int = 1
    patience: int = 0
    monitor: str = ""


@dataclass
class Progress:
    """Finished epochs, updates within the current epoch and sums of their losses, curves, and the best evaluation."""

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    curves: list[dict[str, float]] = field(default_factory=list)
    best: float = -math.inf
    bad_evaluations: int = 0  # in a row, none of them better than `best`
    best_state: dict[str, Any] | None = None


def device() -> torch.device:
    """Return the GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def create_network(create: Callable[[], N], seed: int, on: torch.device) -> N:
    """Create a network with torch's default initialisation from a seed, and move it to a device.

    Args:
        create: returns the network; called with torch's global generator seeded, which is restored afterwards.
        seed: of the initial weights.
        on: device of the network.

    Examples:
        >>> linear = create_network(lambda: nn.Linear(2, 1), seed=0, on=torch.device("cpu"))
        >>> torch.equal(linear.weight, create_network(lambda: nn.Linear(2, 1), 0, torch.device("cpu")).weight)
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create().to(on)


def adam(network: nn.Module, settings: Network) -> torch.optim.Adam:
    """Return Adam with the paper's betas; weight decay is L2 regularisation, as in torch."""
    return torch.optim.Adam(
        network.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.999),
        weight_decay=settings.weight_decay,
        fused=True,
    )


def fit(
    learner: Learner,
    rows: np.ndarray,
    schedule: Schedule,
    label: str,
    checkpoint_folder: Path,
    evaluate: Callable[[int], dict[str, float]],
    on_epoch: Callable[[Mapping[str, float]], None],
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> list[dict[str, float]]:
    """Train a learner to the end of the schedule; it keeps its last weights, or with patience its best ones.

    Args:
        learner: the model to train.
        rows: rows of the training clips.
        schedule: epochs, batch size, seed and patience.
        label: name of the training in the progress bar and in errors.
        checkpoint_folder: folder of the checkpoint; the training resumes from a checkpoint that is there.
        evaluate: epoch -> further columns of the curves, called every `evaluate_every` epochs and after the last one.
        on_epoch: called with the row of the curves at the end of each epoch.
        checkpoint_every_s: seconds between two checkpoints.

    Returns:
        The learning curves, one row per epoch: epoch, update, the mean of each loss as train_<loss>, and the columns
        of `evaluate`.

    Raises:
        UserError: a loss is not finite.
    """
    path = checkpoint_folder / "checkpoint.pt"
    updates_per_epoch = max(1, len(rows) // schedule.batch)
    with torch.random.fork_rng(devices=[*range(torch.cuda.device_count())]):
        torch.manual_seed(schedule.seed)
        progress = _load_checkpoint(path, learner)
        saved_s = time.monotonic()
        first_update = progress.epoch * updates_per_epoch + progress.step
        total = schedule.epochs * updates_per_epoch
        with tqdm(total=total, initial=first_update, desc=label, unit="update", mininterval=1.0) as bar:
            while progress.epoch < schedule.epochs and not _is_out_of_patience(progress, schedule):
                batches = _shuffle_into_batches(rows, schedule, progress.epoch)
                unchecked: list[Mapping[str, Tensor]] = []
                while progress.step < updates_per_epoch:
                    unchecked.append(learner.step(batches[progress.step]))
                    progress.step += 1
                    bar.update()
                    is_due = time.monotonic() - saved_s >= checkpoint_every_s
                    if is_due or len(unchecked) == LOSS_CHECK_EVERY or progress.step == updates_per_epoch:
                        _add_losses(progress, unchecked, progress.epoch * updates_per_epoch + progress.step, label)
                        unchecked = []
                    if is_due:
                        _save_checkpoint(path, learner, progress)
                        saved_s = time.monotonic()
                _finish_epoch(progress, updates_per_epoch, schedule, learner, evaluate, on_epoch)
    if progress.best_state is not None:
        learner.load_state_dict(progress.best_state)
    return progress.curves


def _shuffle_into_batches(rows: np.ndarray, schedule: Schedule, epoch: int) -> list[np.ndarray]:
    """Return full batches of the rows in the order of this epoch; a smaller rest is not used in it."""
    shuffled = np.random.default_rng([schedule.seed, epoch]).permutation(rows)
    count = max(1, len(rows) // schedule.batch)
    return [shuffled[start * schedule.batch : (start + 1) * schedule.batch] for start in range(count)]


def _add_losses(progress: Progress, losses: list[Mapping[str, Tensor]], update: int, label: str) -> None:
    """Add the losses of the last updates, up to number `update`, to the sums of the epoch."""
    names = list(losses[0])
    values = torch.stack([torch.stack([step[name].detach().float() for name in names]) for step in losses])
    values = values.cpu().double()
    invalid = (~torch.isfinite(values)).nonzero()
    if len(invalid):
        row, column = invalid[0].tolist()
        raise UserError(
            f"{label}: {names[column]} is {values[row, column].item()} at update {update - len(losses) + 1 + row}; "
            "the training has diverged. Lower its learning rate in params.yaml"
        )
    for name, total in zip(names, values.sum(dim=0).tolist(), strict=True):
        progress.sums[name] = progress.sums.get(name, 0.0) + total


def _finish_epoch(
    progress: Progress,
    updates_per_epoch: int,
    schedule: Schedule,
    learner: Learner,
    evaluate: Callable[[int], dict[str, float]],
    on_epoch: Callable[[Mapping[str, float]], None],
) -> None:
    """Append a row to the curves, evaluate the learner if it is due, and remember the best weights."""
    progress.epoch += 1
    row = {"epoch": float(progress.epoch), "update": float(progress.epoch * updates_per_epoch)}
    row |= {f"train_{name}": total / updates_per_epoch for name, total in progress.sums.items()}
    progress.step, progress.sums = 0, {}
    if progress.epoch % schedule.evaluate_every == 0 or progress.epoch == schedule.epochs:
        with torch.random.fork_rng(devices=[]):
            row |= evaluate(progress.epoch)
        if schedule.patience:
            _remember_best(progress, row[schedule.monitor], learner)
    progress.curves.append(row)
    on_epoch(row)


def _remember_best(progress: Progress, value: float, learner: Learner) -> None:
    if value > progress.best:
        progress.best, progress.bad_evaluations = value, 0
        progress.best_state = _copy_state(learner.state_dict())
    else:
        progress.bad_evaluations += 1


def _is_out_of_patience(progress: Progress, schedule: Schedule) -> bool:
    return bool(schedule.patience) and progress.bad_evaluations >= schedule.patience


def _save_checkpoint(path: Path, learner: Learner, progress: Progress) -> None:
    checkpoint = {
        "learner": learner.state_dict(),
        "generator": learner.rng.get_state(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "progress": vars(progress),
    }
    with atomic_file(path) as partial:
        torch.save(checkpoint, partial)


def _load_checkpoint(path: Path, learner: Learner) -> Progress:
    """Restore learner and random generators from a checkpoint; without a readable one the training starts anew."""
    if not path.is_file():
        return Progress()
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        return Progress()
    learner.load_state_dict(checkpoint["learner"])
    learner.rng.set_state(checkpoint["generator"])
    torch.set_rng_state(checkpoint["rng"])
    if checkpoint["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(checkpoint["cuda_rng"])
    return Progress(**checkpoint["progress"])


def _copy_state(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: _copy_state(value) for key, value in state.items()}
    return [_copy_state(value) for value in state] if isinstance(state, list) else state
