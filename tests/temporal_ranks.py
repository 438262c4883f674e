"""What the processes of tests/test_temporal_ranks.py do: a module of its own, which a new process can import."""

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
from symphony2vec.models.temporal.learner import SupervisedLearner, TemporalLearner
from symphony2vec.models.temporal.training import Training
from symphony2vec.models.training.source import Source
from symphony2vec.package.scaling import Scaling
from symphony2vec.params import TemporalSetting

CLIPS, BINS, FRAMES, LATENT = 12, 32, 32, 6
ROWS = np.arange(7)  # an odd number: the ranks have shares of unequal size
UPDATES = 5
SCALING = Scaling(np.zeros(BINS, np.float32), np.ones(BINS, np.float32))


def setting(**changes: Any) -> TemporalSetting:
    """Everything the model has, small; whole clips that are not changed leave nothing to chance but the codes."""
    plain = {
        "adversary": 0.25, "reconstruction": 1.0, "contrast": 0.5, "positives": "clip", "temperature": 0.2,
        "unary": True, "step_latent": 3, "width": 2, "frames": FRAMES, "masked_bins": 0, "masked_frames": 0,
        "shifted_bins": 0, "level": 0.0, "tempo": 0.0, "batch": 7, "learning_rate": 0.001,
        "discriminator_learning_rate": 0.001, "betas": [0.5, 0.99], "average": 0.9, "epochs": 2, "played": 7,
        "unlabelled": "",
    }  # fmt: skip
    return TemporalSetting.model_validate(plain | changes)


def clips() -> np.ndarray:
    """(12, 32, 32)."""
    return np.random.default_rng(3).standard_normal((CLIPS, BINS, FRAMES)).astype(np.float32)


def exact(devices: Devices, adversary: float = 0.25) -> TemporalLearner:
    """A learner in double precision whose noise is the same for a clip on whichever rank it lies."""
    torch.set_default_dtype(torch.float64)
    try:
        source = Source(clips(), SCALING, devices.device)
        source._held = source._held.double()
        made = TemporalLearner(source, ROWS, np.arange(CLIPS), LATENT, setting(adversary=adversary), 5, devices)
    finally:
        torch.set_default_dtype(torch.float32)
    drawn = torch.Generator().manual_seed(9)

    def normal(shape: torch.Size) -> Tensor:
        whole = torch.randn(len(ROWS), *shape[1:], generator=drawn, dtype=torch.float64)
        return whole[devices.rank :: devices.count].to(devices.device)

    made._sample_noise = normal
    return made


def slopes(made: TemporalLearner | SupervisedLearner) -> dict[str, Tensor]:
    """The gradient of every parameter after an update."""
    networks = made._networks if isinstance(made, TemporalLearner) else {"network": made.network}
    return {
        f"{name}.{key}": one.grad.clone()
        for name, network in networks.items()
        for key, one in network.named_parameters()
        if one.grad is not None
    }


def statistics(made: TemporalLearner) -> dict[str, Tensor]:
    """What batch norm has seen so far."""
    return {key: value.clone() for key, value in made.encoder.state_dict().items() if "running" in key}


def labelled(devices: Devices) -> SupervisedLearner:
    """A learner with labels, whose views are drawn by chance."""
    source = Source(clips(), SCALING, devices.device)
    return SupervisedLearner(source, np.arange(CLIPS) % 3, LATENT, 3, setting(frames=16), 5, devices)


def observed(devices: Devices) -> dict[str, Any]:
    """One exact update; then some of a learner whose views are drawn, and what its batches were."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    made = exact(devices)
    found["told"] = dict(made.step(ROWS))
    found["slopes"], found["statistics"] = slopes(made), statistics(made)
    views: list[Tensor] = []
    source = Source(clips(), SCALING, devices.device)
    drawn = TemporalLearner(source, ROWS, np.arange(CLIPS), LATENT, setting(frames=16, level=0.1), 5, devices)
    encode = drawn.encoder.forward
    drawn.encoder.forward = lambda x: views.append(x.detach()) or encode(x)  # type: ignore[method-assign]
    found["losses"] = [dict(drawn.step(np.random.default_rng(i).permutation(ROWS))) for i in range(UPDATES)]
    found["state"], found["views"] = drawn.state(), views
    named = labelled(devices)
    found["labels"] = [dict(named.step(ROWS)) for _ in range(2)]
    found["labels_state"] = named.state()
    return found


def observe(folder: Path, devices: Devices) -> None:
    """Write what is observed on this rank."""
    torch.save(observed(devices), folder / f"{devices.rank}.pt")


def training(folder: Path, **changes: Any) -> Training:
    """A training of three updates an epoch on an array that lies in a folder."""
    if not (folder / "mel.npy").is_file():
        np.save(folder / "mel.npy", clips())
    (folder / "kept").mkdir(exist_ok=True)
    own = setting(**{"batch": 4, "frames": 16, "level": 0.1, "positives": "movement", **changes})
    groups = np.arange(CLIPS) // 3
    return Training(
        folder / "mel.npy", SCALING, np.arange(CLIPS), groups, 0, LATENT, own, 5, 1, "full-6 work-0", folder / "kept"
    )


def faulty(spread: Training, fault: Callable[[], float], devices: Devices) -> None:
    """Take part, with a fault in the second update: whatever it gives is the loss."""
    learner, done = spread.build_learner(devices), 0
    step = learner.step

    def stepped(rows: np.ndarray) -> Mapping[str, Tensor]:
        nonlocal done
        done += 1
        if done == 2:
            bad = fault()
            with torch.no_grad():
                learner.projection.layers[0].bias.fill_(bad)
        return step(rows)

    learner.step = stepped  # type: ignore[method-assign]
    spread.fit(learner, lambda _epoch: {}, lambda _row: None, math.inf)


def killed() -> float:
    """The end of this process, from outside."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def not_finite() -> float:
    """What a diverged network holds."""
    return math.nan


def broken() -> float:
    """A fault of the program."""
    raise ValueError("no such thing")


class NeverThere:
    """What kills the process that it is sent to, before that has met the others."""

    def __reduce__(self) -> tuple[Any, ...]:
        return killed, ()


def waiting(folder: Path, devices: Devices) -> None:
    """Say who this is, and go on for ever."""
    (folder / "follower").write_text(str(os.getpid()), encoding="utf-8")
    threading.Event().wait()


def main(kind: str, folder: Path) -> None:
    """A process with a follower that never comes, or with one that never ends."""
    ranks.ABORT_TIMEOUT_S = 0.5
    follow: Any = NeverThere() if kind == "never" else partial(waiting, folder)
    with ranks.launch(2, follow, "full-6 work-0"):
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
