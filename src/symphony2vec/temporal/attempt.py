"""One training of the temporal ALI and the probe that watches it, as the stage `temporal` and its study both run it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symphony2vec.params import TemporalSetting
from symphony2vec.temporal import JUDGE
from symphony2vec.temporal.learner import TemporalLearner
from symphony2vec.training import loop, watch
from symphony2vec.training.source import Source


@dataclass(frozen=True)
class Heard:
    """What is heard of one draw: the clips, their composers and movements as numbers (clips,), and the rows of two of
    the three sides."""

    source: Source
    codes: np.ndarray
    movements: np.ndarray
    training: np.ndarray
    validation: np.ndarray


def begun(heard: Heard, latent: int, setting: TemporalSetting, seed: int) -> TemporalLearner:
    """The networks as they start; D = `latent`."""
    return TemporalLearner(heard.source, heard.training, heard.movements, latent, setting, seed)


def schedule(setting: TemporalSetting, every: int, seed: int) -> loop.Schedule:
    """How long one setting is trained; the probe is tried every so many epochs."""
    return loop.Schedule(setting.epochs, setting.batch, seed, every)


def looked_at(learner: TemporalLearner, heard: Heard) -> dict[str, float]:
    """Losses on validation clips, and how many of their composers a probe of the training clips names rightly."""
    seen = np.concatenate([heard.training, heard.validation])
    accuracy = watch.glance(learner.encode(seen), heard.codes[seen], len(heard.training))
    return learner.losses(heard.validation) | {JUDGE: accuracy}
