"""Description of one training of a temporal model, which can be sent to other processes so that they take part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from symphony2vec.models.temporal import attempt
from symphony2vec.models.temporal.devices import Devices
from symphony2vec.models.temporal.learner import TemporalLearner
from symphony2vec.models.temporal.supervised import SupervisedLearner
from symphony2vec.models.training import loop
from symphony2vec.models.training.source import Source
from symphony2vec.package.scaling import Scaling
from symphony2vec.params import TemporalSetting
from symphony2vec.project import read_array


@dataclass(frozen=True)
class Training:
    """Everything that determines a training.

    features: file of the spectrograms; scaling: of their bins; rows: the training clips; groups (clips,): the number of
    the movement of every clip, or of its composer for a supervised model; composers: how many there are for a
    supervised model, else 0; latent: L; setting; seed; evaluate_every: epochs; label: the name in progress bars and
    errors; checkpoints: the folder of the checkpoint.
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
    checkpoints: Path

    def build_learner(self, devices: Devices) -> TemporalLearner:
        """Return the learner of a temporal ALI on these devices."""
        return TemporalLearner(
            self._source(devices), self.rows, self.groups, self.latent, self.setting, self.seed, devices
        )

    def build_supervised_learner(self, devices: Devices) -> SupervisedLearner:
        """Return the learner of a classifier on these devices."""
        return SupervisedLearner(
            self._source(devices), self.groups, self.latent, self.composers, self.setting, self.seed, devices
        )

    def fit(
        self,
        learner: TemporalLearner | SupervisedLearner,
        evaluate: Callable[[int], dict[str, float]],
        log: Callable[[Mapping[str, float]], None],
        checkpoint_every_s: float = loop.CHECKPOINT_EVERY_S,
    ) -> list[dict[str, float]]:
        """Train to the end of the schedule and return the curves; see `training.loop.fit`."""
        schedule = attempt.make_schedule(self.setting, self.evaluate_every, self.seed)
        return loop.fit(learner, self.rows, schedule, self.label, self.checkpoints, evaluate, log, checkpoint_every_s)

    def follow(self, devices: Devices) -> None:
        """Take part as one of the other ranks: evaluate, log and write nothing."""
        learner = self.build_supervised_learner(devices) if self.composers else self.build_learner(devices)
        self.fit(learner, lambda epoch: {}, lambda row: None, math.inf)

    def _source(self, devices: Devices) -> Source:
        return Source(read_array(self.features, "features"), self.scaling, devices.device)
