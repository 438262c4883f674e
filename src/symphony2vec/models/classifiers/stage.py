"""The supervised networks of Table 3: feed-forward network, CNN, a fair CNN and LSTM.

    Reads   out/clips/folds/<fold>.csv, out/features/<representation>.npy
    Writes  out/classifiers/<fold>/<model>-<representation>/
                probabilities.npy         (clips, K) float32: of every clip; of an LSTM the vote of its chunks
                probabilities-chunks.npy  (clips, C, K) float32: of every chunk (LSTM)
                curves.csv                losses and accuracy by epoch
                run.json                  hashes of the clips and of the other files; see `tracking`

Each bin is standardised with the mean and standard deviation of the training clips. The representation "crop" is the
middle 32x32 crop of the mel spectrogram, the input of ALI, for a comparison with Table 7. K composers, F bins,
T frames, C chunks of a clip.
"""

from __future__ import annotations

import numpy as np

from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.models.classifiers.learner import ClassifierLearner
from symphony2vec.models.training import loop
from symphony2vec.models.training.folds import Task, train_folds
from symphony2vec.models.training.source import Source
from symphony2vec.package import saving, scaling
from symphony2vec.params import Network, Params
from symphony2vec.project import REPRESENTATIONS, Project, SplitFold, read_array, write_array

MODELS = ("ff", "cnn", "fair_cnn", "lstm")
CROP = "crop"


def run(project: Project, params: Params, model: str, representation: str, fold: str | None = None) -> None:
    """Run the stage `classifiers` for one model and one representation, on one fold or on all.

    Raises:
        UserError: there is no such model or representation, or the model cannot take it.
    """
    if model not in MODELS:
        raise UserError(f"unknown classifier '{model}'; expected one of {', '.join(MODELS)}")
    is_crop = representation == CROP
    if is_crop and model != "ff":
        raise UserError(f"only the feed-forward network (ff) takes crops; {model} takes {', '.join(REPRESENTATIONS)}")
    features = project.feature("mel" if is_crop else representation)
    array = read_array(features, "features")
    network_settings = getattr(params.classifiers, model)
    settings = {"optimiser": "adam", "beta_1": 0.9, "beta_2": 0.999, **network_settings.model_dump()}
    if is_crop:
        array = scaling.middle_crop(array, params.ali.crop.bands)
        settings["crop_bands"] = params.ali.crop.bands

    def identity(split_fold: SplitFold) -> tracking.RunIdentity:
        return tracking.RunIdentity("classifiers", model, representation, split_fold.name)

    def train(task: Task) -> None:
        _train(task, array, network_settings)

    train_folds(project, params, fold, identity, settings, ["models/classifiers"], features, train)


def _train(task: Task, array: np.ndarray, settings: Network) -> None:
    training, validation = task.rows("train"), task.rows("validation")
    scaled = scaling.standard(array, training)
    source = Source(array, scaled, loop.device())
    learner = ClassifierLearner(task.identity, source, task.codes, len(task.composers), settings, task.fold.seed)
    schedule = loop.Schedule(settings.epochs, settings.batch, task.fold.seed)
    curves = task.fit(learner, schedule, lambda epoch: learner.losses(validation))
    probabilities, chunks = learner.probabilities(np.arange(len(array)))
    write_array(task.folder / "probabilities.npy", probabilities)
    if chunks is not None:
        write_array(task.folder / "probabilities-chunks.npy", chunks)
    build, representation = dict(learner.build), task.identity.representation
    if representation == CROP:
        build["crop"], representation = task.params.ali.crop.bands, "mel"
    saving.log(task, learner.network, build, scaled, representation)
    print(f"{task.label}: validation accuracy {curves['validation_accuracy'].iloc[-1]:.1%}")
