"""One training of ALI and its evaluation by a linear probe, for the stage `ali` and for the study of ALI.

D latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symphony2vec.models.ali.learner import AliLearner
from symphony2vec.models.training import loop, watch
from symphony2vec.models.training.source import Source
from symphony2vec.params import Crop, Setting


@dataclass(frozen=True)
class FoldData:
    """The clips of one fold, their composers as integers (clips,), and the rows of training and validation clips."""

    source: Source
    codes: np.ndarray
    training: np.ndarray
    validation: np.ndarray


def build_learner(data: FoldData, latent: int, setting: Setting, crop: Crop, seed: int) -> AliLearner:
    """Return the three networks with their initial weights; D = `latent`."""
    updates_per_epoch = max(1, len(data.training) // setting.batch)
    return AliLearner(data.source, data.training, latent, setting, crop, updates_per_epoch, seed)


def make_schedule(setting: Setting, probe_every_epochs: int, seed: int) -> loop.Schedule:
    """Return the schedule of one setting; its patience counts evaluations of the linear probe."""
    return loop.Schedule(
        setting.epochs, setting.batch, seed, probe_every_epochs, setting.patience, watch.PROBE_ACCURACY
    )


def evaluate(learner: AliLearner, data: FoldData) -> dict[str, float]:
    """Return the validation losses, and the validation accuracy of a probe that is fitted to the training clips."""
    rows = np.concatenate([data.training, data.validation])
    accuracy = watch.score_probe(learner.encode(rows), data.codes[rows], len(data.training))
    return learner.losses(data.validation) | {watch.PROBE_ACCURACY: accuracy}
