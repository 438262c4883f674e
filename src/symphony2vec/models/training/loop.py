"""The training loop: batches, checkpoints, resuming, early stopping, the curves, and the end when a loss diverges.

A training is a function of its learner, its rows and its schedule. What is drawn at random comes from generators that
the checkpoint holds, so a training that is killed and started again ends with the same numbers as one that was not. A
GPU adds in no fixed order: there two runs agree only nearly.

B clips or crops of a batch.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from symphony2vec.errors import UserError
from symphony2vec.params import Network
from symphony2vec.project import atomic_file

N = TypeVar("N", bound=nn.Module)
CHECKPOINT_EVERY_S = 60.0
LOOKED_AT_EVERY = 25  # updates between two looks at the losses: each look waits for the device


class Learner(Protocol):
    """What is trained."""

    rng: torch.Generator  # of all noise and crops

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """One update on the clips of these rows (B,); its losses as 0-d tensors."""

    def state(self) -> dict[str, Any]:
        """Weights and optimisers, as plain values and tensors."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""


@dataclass(frozen=True)
class Schedule:
    """How long and in which order.

    epochs; batch: clips an update; seed; evaluate_every: epochs; patience: evaluations without a better `judge` (the
    name of a metric, higher is better) after which the training ends with the best weights, 0 for never.
    """

    epochs: int
    batch: int
    seed: int
    evaluate_every: int = 1
    patience: int = 0
    judge: str = ""


@dataclass
class Progress:
    """How far a training has come: whole epochs, updates within the next one, the sums of its losses, the curves."""

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    curves: list[dict[str, float]] = field(default_factory=list)
    best: float = -math.inf
    best_epoch: int = 0
    waited: int = 0
    best_state: dict[str, Any] | None = None


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def started(make: Callable[[], N], seed: int, on: torch.device) -> N:
    """A network as torch starts it, the same for the same seed, on its device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().to(on)


def adam(network: nn.Module, settings: Network) -> torch.optim.Adam:
    """Adam with the paper's betas; weight decay is L2, as torch has it."""
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
    kept: Path,
    evaluate: Callable[[int], dict[str, float]],
    told: Callable[[Mapping[str, float]], None],
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> list[dict[str, float]]:
    """Train to the end of the schedule; the learner is left with its last weights, or with its best ones.

    Args:
        learner: what is trained.
        rows: the training clips.
        schedule: epochs, batches, seed, patience.
        label: what the progress bar and an error call it.
        kept: the folder of the checkpoint; where one lies there, the training goes on from it.
        evaluate: epoch -> further numbers for the curves, called every `evaluate_every` epochs and after the last.
        told: called with each epoch's row of the curves as soon as it is known.
        checkpoint_every_s: seconds between two checkpoints.

    Returns:
        The curves: one row an epoch, with epoch, update, the mean of each loss over the epoch as train_<loss>, and what
        `evaluate` said.

    Raises:
        UserError: a loss is not a finite number; names the loss and the update.
    """
    path = kept / "checkpoint.pt"
    a_epoch = max(1, len(rows) // schedule.batch)
    with torch.random.fork_rng(devices=[*range(torch.cuda.device_count())]):
        torch.manual_seed(schedule.seed)
        progress = _resume(path, learner)
        saved = time.monotonic()
        done = progress.epoch * a_epoch + progress.step
        with tqdm(total=schedule.epochs * a_epoch, initial=done, desc=label, unit="update", mininterval=1.0) as bar:
            while progress.epoch < schedule.epochs and not _patience_is_over(progress, schedule):
                order = _batches(rows, schedule, progress.epoch)
                unseen: list[Mapping[str, Tensor]] = []
                while progress.step < a_epoch:
                    unseen.append(learner.step(order[progress.step]))
                    progress.step += 1
                    bar.update()
                    due = time.monotonic() - saved >= checkpoint_every_s
                    if due or len(unseen) == LOOKED_AT_EVERY or progress.step == a_epoch:
                        _add(progress, unseen, progress.epoch * a_epoch + progress.step, label)
                        unseen = []
                    if due:
                        _save(path, learner, progress)
                        saved = time.monotonic()
                _close_epoch(progress, a_epoch, schedule, learner, evaluate, told)
    if progress.best_state is not None:
        learner.restore(progress.best_state)
    return progress.curves


def _batches(rows: np.ndarray, schedule: Schedule, epoch: int) -> list[np.ndarray]:
    """The rows in this epoch's order, in whole batches; what is left over waits for another epoch's order."""
    order = np.random.default_rng([schedule.seed, epoch]).permutation(rows)
    whole = max(1, len(rows) // schedule.batch)
    return [order[start * schedule.batch : (start + 1) * schedule.batch] for start in range(whole)]


def _add(progress: Progress, losses: list[Mapping[str, Tensor]], update: int, label: str) -> None:
    """Add the losses of the last updates (the last one is number `update`) to the epoch's sums."""
    names = list(losses[0])
    values = torch.stack([torch.stack([one[name].detach().float() for name in names]) for one in losses]).cpu().double()
    wrong = (~torch.isfinite(values)).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        raise UserError(
            f"{label}: {names[column]} is {values[row, column].item()} at update {update - len(losses) + 1 + row}; "
            "the training has diverged. Lower its learning rate in params.yaml"
        )
    for name, total in zip(names, values.sum(dim=0).tolist(), strict=True):
        progress.sums[name] = progress.sums.get(name, 0.0) + total


def _close_epoch(
    progress: Progress,
    a_epoch: int,
    schedule: Schedule,
    learner: Learner,
    evaluate: Callable[[int], dict[str, float]],
    told: Callable[[Mapping[str, float]], None],
) -> None:
    """Turn the epoch's sums into a row of the curves, evaluate where due, and remember the best weights."""
    progress.epoch += 1
    row = {"epoch": float(progress.epoch), "update": float(progress.epoch * a_epoch)}
    row |= {f"train_{name}": total / a_epoch for name, total in progress.sums.items()}
    progress.step, progress.sums = 0, {}
    if progress.epoch % schedule.evaluate_every == 0 or progress.epoch == schedule.epochs:
        with torch.random.fork_rng(devices=[]):
            row |= evaluate(progress.epoch)
        if schedule.patience:
            _judge(progress, row[schedule.judge], learner)
    progress.curves.append(row)
    told(row)


def _judge(progress: Progress, value: float, learner: Learner) -> None:
    if value > progress.best:
        progress.best, progress.best_epoch, progress.waited = value, progress.epoch, 0
        progress.best_state = _copied(learner.state())
    else:
        progress.waited += 1


def _patience_is_over(progress: Progress, schedule: Schedule) -> bool:
    return bool(schedule.patience) and progress.waited >= schedule.patience


def _save(path: Path, learner: Learner, progress: Progress) -> None:
    held = {
        "learner": learner.state(),
        "generator": learner.rng.get_state(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "progress": vars(progress),
    }
    with atomic_file(path) as partial:
        torch.save(held, partial)


def _resume(path: Path, learner: Learner) -> Progress:
    """Put the learner back to the checkpoint; without one that can be read, the training starts anew."""
    if not path.is_file():
        return Progress()
    try:
        held = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        return Progress()
    learner.restore(held["learner"])
    learner.rng.set_state(held["generator"])
    torch.set_rng_state(held["rng"])
    if held["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(held["cuda_rng"])
    return Progress(**held["progress"])


def _copied(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return [_copied(value) for value in state] if isinstance(state, list) else state
