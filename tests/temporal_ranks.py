"""Functions that the processes of tests/test_temporal_ranks.py run, in a module that a new process can import."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symphony2vec.models.temporal import ranks
from symphony2vec.models.temporal.devices import Devices
from symphony2vec.models.temporal.learner import TemporalLearner
from symphony2vec.models.temporal.supervised import SupervisedLearner
from symphony2vec.models.temporal.training import Training
from symphony2vec.models.training.source import Source
from symphony2vec.package.scaling import Scaling
from symphony2vec.params import TemporalSetting

CLIPS, BINS, FRAMES, LATENT = 12, 32, 32, 6
ROWS = np.arange(7)  # an odd number: the ranks have shares of unequal size
UPDATES = 5
SCALING = Scaling(np.zeros(BINS, np.float32), np.ones(BINS, np.float32))


def setting(**changes: Any) -> TemporalSetting:
    """Return a small setting with all losses; without augmentation, only the codes are random."""
    plain = {
        "adversarial_weight": 0.25, "reconstruction_weight": 1.0, "contrastive_weight": 0.5, "positives": "clip",
        "temperature": 0.2, "unary": True, "step_latent": 3, "width": 2, "crop_frames": FRAMES, "mask_bins": 0,
        "mask_frames": 0, "shift_bins": 0, "level_shift": 0.0, "time_stretch": 0.0, "batch": 7, "learning_rate": 0.001,
        "discriminator_learning_rate": 0.001, "betas": [0.5, 0.99], "ema_decay": 0.9, "epochs": 2, "generator_batch": 7,
        "unlabelled": "", "equivariant_weight": 0.3,
    }  # fmt: skip
    return TemporalSetting.model_validate(plain | changes)


def clips() -> np.ndarray:
    """(12, 32, 32)."""
    return np.random.default_rng(3).standard_normal((CLIPS, BINS, FRAMES)).astype(np.float32)


def exact(devices: Devices, adversary: float = 0.25) -> TemporalLearner:
    """Return a learner in double precision whose noise for a clip does not depend on the rank."""
    torch.set_default_dtype(torch.float64)
    try:
        source = Source(clips(), SCALING, devices.device)
        source._cache = source._cache.double()
        learner = TemporalLearner(
            source, ROWS, np.arange(CLIPS), LATENT, setting(adversarial_weight=adversary), 5, devices
        )
    finally:
        torch.set_default_dtype(torch.float32)
    rng = torch.Generator().manual_seed(9)

    def normal(shape: torch.Size) -> Tensor:
        noise = torch.randn(len(ROWS), *shape[1:], generator=rng, dtype=torch.float64)
        return noise[devices.rank :: devices.count].to(devices.device)

    learner._sample_noise = normal
    return learner


def gradients(learner: TemporalLearner | SupervisedLearner) -> dict[str, Tensor]:
    """Return the gradient of every parameter after an update."""
    networks = learner._networks if isinstance(learner, TemporalLearner) else {"network": learner.network}
    return {
        f"{name}.{key}": parameter.grad.clone()
        for name, network in networks.items()
        for key, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def statistics(learner: TemporalLearner) -> dict[str, Tensor]:
    """Return the running statistics of batch norm."""
    return {key: value.clone() for key, value in learner.encoder.state_dict().items() if "running" in key}


def supervised_learner(devices: Devices) -> SupervisedLearner:
    """Return a supervised learner with random views."""
    source = Source(clips(), SCALING, devices.device)
    return SupervisedLearner(source, np.arange(CLIPS) % 3, LATENT, 3, setting(crop_frames=16), 5, devices)


def observed(devices: Devices) -> dict[str, Any]:
    """Return the results of one exact update, and of some updates with random views."""
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    learner = exact(devices)
    results["exact_losses"] = dict(learner.step(ROWS))
    results["gradients"], results["statistics"] = gradients(learner), statistics(learner)
    views: list[Tensor] = []
    source = Source(clips(), SCALING, devices.device)
    random_learner = TemporalLearner(
        source, ROWS, np.arange(CLIPS), LATENT, setting(crop_frames=16, level_shift=0.1), 5, devices
    )
    encode = random_learner.encoder.forward
    random_learner.encoder.forward = lambda x: views.append(x.detach()) or encode(x)  # type: ignore[method-assign]
    results["losses"] = [dict(random_learner.step(np.random.default_rng(i).permutation(ROWS))) for i in range(UPDATES)]
    results["state"], results["views"] = random_learner.state_dict(), views
    supervised = supervised_learner(devices)
    results["labels"] = [dict(supervised.step(ROWS)) for _ in range(2)]
    results["labels_state"] = supervised.state_dict()
    return results


def observe(folder: Path, devices: Devices) -> None:
    """Write the results of this rank."""
    torch.save(observed(devices), folder / f"{devices.rank}.pt")


def training(folder: Path, **changes: Any) -> Training:
    """Return a training with three updates per epoch on an array in this folder."""
    if not (folder / "mel.npy").is_file():
        np.save(folder / "mel.npy", clips())
    (folder / "kept").mkdir(exist_ok=True)
    options = setting(**{"batch": 4, "crop_frames": 16, "level_shift": 0.1, "positives": "movement", **changes})
    groups = np.arange(CLIPS) // 3
    return Training(
        folder / "mel.npy",
        SCALING,
        np.arange(CLIPS),
        groups,
        0,
        LATENT,
        options,
        5,
        1,
        "full-6 work-0",
        folder / "kept",
    )


def faulty(description: Training, fault: Callable[[], float], devices: Devices) -> None:
    """Take part, with a fault in the second update; its return value becomes a weight."""
    learner, updates = description.build_learner(devices), 0
    step = learner.step

    def stepped(rows: np.ndarray) -> Mapping[str, Tensor]:
        nonlocal updates
        updates += 1
        if updates == 2:
            value = fault()
            with torch.no_grad():
                learner.projection.layers[0].bias.fill_(value)
        return step(rows)

    learner.step = stepped  # type: ignore[method-assign]
    description.fit(learner, lambda _epoch: {}, lambda _row: None, math.inf)


def killed() -> float:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def not_finite() -> float:
    """Return a value that is not finite."""
    return math.nan


def broken() -> float:
    """Raise an error."""
    raise ValueError("no such thing")


class NeverThere:
    """Kills the process that unpickles it, before it joins the group."""

    def __reduce__(self) -> tuple[Any, ...]:
        return killed, ()


def waiting(folder: Path, devices: Devices) -> None:
    """Write the process id and wait forever."""
    (folder / "follower").write_text(str(os.getpid()), encoding="utf-8")
    threading.Event().wait()


def main(kind: str, folder: Path) -> None:
    """Run a process with a follower that never joins, or with one that never ends."""
    ranks.ABORT_TIMEOUT_S = 0.5
    follow: Any = NeverThere() if kind == "never" else partial(waiting, folder)
    with ranks.launch(2, follow, "full-6 work-0"):
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
