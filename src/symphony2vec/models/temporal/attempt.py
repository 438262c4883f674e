"""How long a setting of the temporal ALI is trained, and the probe that watches it: for its stage and for its study."""

from __future__ import annotations

import numpy as np

from symphony2vec.models.temporal.learner import TemporalLearner
from symphony2vec.models.training import loop, watch
from symphony2vec.params import TemporalSetting


def schedule(setting: TemporalSetting, every: int, seed: int) -> loop.Schedule:
    """How long one setting is trained; the probe is tried every so many epochs."""
    return loop.Schedule(setting.epochs, setting.batch, seed, every)


def looked_at(
    learner: TemporalLearner, codes: np.ndarray, training: np.ndarray, validation: np.ndarray
) -> dict[str, float]:
    """Losses on validation rows, and how many of their composers (`codes`, of all clips) a probe of the training rows
    names rightly."""
    seen = np.concatenate([training, validation])
    accuracy = watch.score_probe(learner.encode(seen), codes[seen], len(training))
    return learner.losses(validation) | {watch.PROBE_ACCURACY: accuracy}
