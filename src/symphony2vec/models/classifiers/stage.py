"""The supervised networks of Table 3: feed-forward, CNN, a fair CNN and LSTM, which see the labels.

Reads   out/clips/folds/<fold>.csv, out/features/<representation>.npy
Writes  out/classifiers/<model>-<representation>/<fold>/
            probabilities.npy         (clips, K) float32: of every clip; of the LSTM the vote of its chunks
            probabilities-chunks.npy  (clips, C, K): of every chunk (LSTM)
            curves.csv, curves.png    losses and accuracies by epoch
            run.json                  the MLflow run, which holds the model

Input is normalised by bin with the moments of the training clips. The representation "crop" is the 32x32 part of the
mel spectrogram that ALI hears, for the comparison beside Table 7. K composers, F bins, T frames, C chunks of a clip.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symphony2vec import figures, tracking
from symphony2vec.errors import UserError
from symphony2vec.models.classifiers.learner import ClassifierLearner
from symphony2vec.models.training import loop
from symphony2vec.models.training.folds import Task, train_folds
from symphony2vec.models.training.source import Source
from symphony2vec.package import saving, scaling
from symphony2vec.params import Params
from symphony2vec.project import REPRESENTATIONS, Project, SplitFold, read_array, write_array

MODELS = ("ff", "cnn", "fair_cnn", "lstm")
CROP = "crop"


def run(project: Project, params: Params, model: str, representation: str) -> None:
    """The stage `classifiers` for one model and one representation, on every fold."""
    if model not in MODELS:
        raise UserError(f"no classifier '{model}'; there are {', '.join(MODELS)}")
    if representation == CROP and model != "ff":
        raise UserError(f"the crop is for the feed-forward net alone; {model} takes {', '.join(REPRESENTATIONS)}")
    whole = "mel" if representation == CROP else representation
    array = read_array(project.feature(whole), "features")
    if representation == CROP:
        array = scaling.middle_crop(array, params.ali.crop.bands)
    own = getattr(params.classifiers, model)
    settings = {"optimiser": "adam", "beta_1": 0.9, "beta_2": 0.999, **own.model_dump()}
    if representation == CROP:
        settings["crop_bands"] = params.ali.crop.bands

    def subject(fold: SplitFold) -> tracking.Subject:
        return tracking.Subject("classifiers", model, representation, fold.name)

    def train(task: Task) -> None:
        _train(task, array, own)

    train_folds(project, params, subject, settings, ["models/classifiers"], project.feature(whole), train)


def _train(task: Task, array: np.ndarray, own: Any) -> None:
    training, held_out = task.rows("train"), task.rows("validation")
    scaled = scaling.standard(array, training)
    source = Source(array, scaled, loop.device())
    learner = ClassifierLearner(task.subject, source, task.codes, len(task.composers), own, task.fold.seed)

    def evaluate(epoch: int) -> dict[str, float]:
        return learner.losses(held_out)

    schedule = loop.Schedule(own.epochs, own.batch, task.fold.seed)
    curves = task.finish(loop.fit(learner, training, schedule, task.label, task.kept, evaluate, task.tell))
    probabilities, chunks = learner.probabilities(np.arange(len(array)))
    write_array(task.folder / "probabilities.npy", probabilities)
    if chunks is not None:
        write_array(task.folder / "probabilities-chunks.npy", chunks)
    picture = figures.losses(curves, ["train_loss", "validation_loss", "validation_accuracy"], task.label)
    task.run.figure(picture, "curves.png")
    figures.save(task.folder / "curves.png", picture)
    build = dict(learner.build)
    if task.subject.representation == CROP:
        build["crop"] = task.params.ali.crop.bands
    heard = "mel" if task.subject.representation == CROP else task.subject.representation
    saving.log(task, learner.network, build, scaled, heard)
    print(f"{task.label}: validation accuracy {curves['validation_accuracy'].iloc[-1]:.1%}")
