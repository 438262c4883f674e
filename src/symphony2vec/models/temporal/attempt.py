"""The schedule of a training of the temporal ALI and its evaluation, shared by the stage and the study."""

from __future__ import annotations

import numpy as np

from symphony2vec.models.temporal.learner import TemporalLearner
from symphony2vec.models.training import loop, watch
from symphony2vec.params import TemporalSetting


def make_schedule(setting: TemporalSetting, evaluate_every: int, seed: int) -> loop.Schedule:
    """Return the schedule of a training that is evaluated every `evaluate_every` epochs."""
    return loop.Schedule(setting.epochs, setting.batch, seed, evaluate_every)


def evaluate(
    learner: TemporalLearner, codes: np.ndarray, training: np.ndarray, validation: np.ndarray
) -> dict[str, float]:
    """Return the losses of the validation clips and the accuracy of a probe on them.

    Args:
        learner: the model.
        codes: (clips,) composers of all clips, as integers.
        training: rows of the clips that the probe is fitted on.
        validation: rows of the validation clips.
    """
    rows = np.concatenate([training, validation])
    accuracy = watch.score_probe(learner.encode(rows), codes[rows], len(training))
    return learner.evaluate(validation) | {watch.PROBE_ACCURACY: accuracy}
