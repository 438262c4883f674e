"""One training of a temporal model as a value, so that other processes can be told it, and take part.

B clips of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from symphony2vec.models.temporal import attempt
from symphony2vec.models.temporal.devices import Devices
from symphony2vec.models.temporal.learner import LabelsLearner, TemporalLearner
from symphony2vec.models.training import loop
from symphony2vec.models.training.source import Source
from symphony2vec.package.scaling import Scaling
from symphony2vec.params import TemporalSetting
from symphony2vec.project import read_array


@dataclass(frozen=True)
class Training:
    """All that decides a training.

    features: the file of the array; scaling: of its bins; rows: the training clips; groups (clips,): a number for the
    movement of every clip, or for its composer where the model is trained with labels; composers: how many there are
    then, else 0; latent D; setting; seed; evaluate_every: epochs; label: for people; kept: the checkpoint's folder.
    """

    features: Path
    scaling: Scaling
    rows: np.ndarray
    groups: np.ndarray
    composers: int
    latent: int
    setting: TemporalSetting
    seed: int
    evaluate_every: int
    label: str
    kept: Path

    def temporal(self, devices: Devices) -> TemporalLearner:
        """What is trained without labels, on these devices."""
        return TemporalLearner(
            self._source(devices), self.rows, self.groups, self.latent, self.setting, self.seed, devices
        )

    def labels(self, devices: Devices) -> LabelsLearner:
        """What is trained with labels."""
        return LabelsLearner(
            self._source(devices), self.groups, self.latent, self.composers, self.setting, self.seed, devices
        )

    def fit(
        self,
        learner: TemporalLearner | LabelsLearner,
        evaluate: Callable[[int], dict[str, float]],
        told: Callable[[Mapping[str, float]], None],
        checkpoint_every_s: float = loop.CHECKPOINT_EVERY_S,
    ) -> list[dict[str, float]]:
        """See `training.loop.fit`."""
        schedule = attempt.schedule(self.setting, self.evaluate_every, self.seed)
        return loop.fit(learner, self.rows, schedule, self.label, self.kept, evaluate, told, checkpoint_every_s)

    def follow(self, devices: Devices) -> None:
        """Take part as one of the ranks that nobody sees: nothing is evaluated, told or written."""
        learner = self.labels(devices) if self.composers else self.temporal(devices)
        self.fit(learner, _nothing, _silence, math.inf)

    def _source(self, devices: Devices) -> Source:
        return Source(read_array(self.features, "features"), self.scaling, devices.device)


def _nothing(_epoch: int) -> dict[str, float]:
    return {}


def _silence(_row: Mapping[str, float]) -> None:
    pass
