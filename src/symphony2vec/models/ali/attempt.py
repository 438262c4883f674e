"""One training of ALI and the probe that watches it, as the stage `ali` and the study of ALI both run it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symphony2vec.models.ali.learner import AliLearner
from symphony2vec.models.training import loop, watch
from symphony2vec.models.training.source import Source
from symphony2vec.params import Crop, Setting


@dataclass(frozen=True)
class Heard:
    """What ALI hears of one fold: the clips, their composers (clips,), and the rows of two of the three sides."""

    source: Source
    codes: np.ndarray
    training: np.ndarray
    validation: np.ndarray


def begun(heard: Heard, latent: int, setting: Setting, crop: Crop, seed: int) -> AliLearner:
    """The three networks as they start; D = `latent`."""
    a_epoch = max(1, len(heard.training) // setting.batch)
    return AliLearner(heard.source, heard.training, latent, setting, crop, a_epoch, seed)


def schedule(setting: Setting, every: int, seed: int) -> loop.Schedule:
    """How long one setting is trained; the probe is tried every so many epochs."""
    return loop.Schedule(setting.epochs, setting.batch, seed, every, setting.patience, watch.PROBE_ACCURACY)


def looked_at(learner: AliLearner, heard: Heard) -> dict[str, float]:
    """Losses on validation clips, and how many of their composers a probe of the training clips names rightly."""
    seen = np.concatenate([heard.training, heard.validation])
    accuracy = watch.glance(learner.encode(seen), heard.codes[seen], len(heard.training))
    return learner.losses(heard.validation) | {watch.PROBE_ACCURACY: accuracy}
