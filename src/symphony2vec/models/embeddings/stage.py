"""The embeddings of Table 4: PCA, autoencoder (AE), contractive (CAE) and variational (VAE), on each representation.

    Reads   out/clips/folds/<fold>.csv, out/features/<representation>.npy
    Writes  out/embeddings/<fold>/<model>-<representation>/
                vectors.npy      (clips, D) float32, rows in the order of clips.csv
                curves.csv       one row per epoch (not PCA)
                samples.npz      rows, originals and reconstructions (N, F, T) in the unit of the representation (not
                                 PCA); for a VAE on mel also generated (N, F, T) in dB, from samples of the prior
                generation.csv   log-spectral distance in dB of the reconstruction of each test clip (networks on mel)
                frechet.csv      distance of reconstructions, generated clips (VAE) and training clips from the test
                                 clips, see `symphony2vec.models.generation` (networks on mel)
                explained_variance.csv    share of the variance of each component (PCA)
                run.json         hashes of the clips and of the other files; see `tracking`

A model is fitted to the training clips and then applied to all clips. D latent dimensions, F bins, T frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from symphony2vec import figures, tracking
from symphony2vec.errors import UserError
from symphony2vec.models import generation
from symphony2vec.models.embeddings import pca
from symphony2vec.models.embeddings.learner import AutoencoderLearner
from symphony2vec.models.training import loop, watch
from symphony2vec.models.training.folds import Task, train_folds
from symphony2vec.models.training.source import Source
from symphony2vec.package import saving, scaling
from symphony2vec.params import Params
from symphony2vec.project import Project, SplitFold, read_array, write_array, write_table

MODELS = ("pca", "ae", "cae", "vae")
EXAMPLES = 5  # reconstructed clips of the figure
GENERATED_EXAMPLES = 8
CODE = ["models/embeddings", "models/generation.py", "models/training/watch.py"]


def run(project: Project, params: Params, model: str, representation: str, fold: str | None = None) -> None:
    """Run the stage `embeddings` for one model and one representation, on one fold or on all.

    Raises:
        UserError: there is no such model or representation.
    """
    if model not in MODELS:
        raise UserError(f"unknown embedding '{model}'; expected one of {', '.join(MODELS)}")
    array = read_array(project.feature(representation), "features")

    def identity(split_fold: SplitFold) -> tracking.RunIdentity:
        return tracking.RunIdentity("embeddings", model, representation, split_fold.name)

    def train(task: Task) -> None:
        (_fit_pca if model == "pca" else _train_network)(task, array, params)
        print(f"{task.label}: {params.embeddings.dimensions} dimensions")

    settings = _settings(params, model)
    train_folds(project, params, fold, identity, settings, CODE, project.feature(representation), train)


def _settings(params: Params, model: str) -> dict[str, Any]:
    """Return the flat parameters of one model, under the names that all models of the project share."""
    values = getattr(params.embeddings, model).model_dump()
    values["batch"] = values.pop("batch_clips", None) or values["batch"]
    dimensions = params.embeddings.dimensions
    if model == "pca":
        return {"dimensions": dimensions, "optimiser": "none", **values}
    values["probe_every_epochs"] = params.embeddings.probe_every_epochs
    return {"dimensions": dimensions, "optimiser": "adam", "beta_1": 0.9, "beta_2": 0.999, **values}


def _fit_pca(task: Task, array: np.ndarray, params: Params) -> None:
    settings, training = params.embeddings, task.rows("train")
    scaled = scaling.standard(array, training)
    batch_size = settings.pca.batch_clips
    model = pca.fit(scaling.batches(array, training, scaled, batch_size), len(training), settings)
    batches = scaling.batches(array, np.arange(len(array)), scaled, batch_size)
    vectors = np.concatenate([model.transform(batch) for batch in batches]).astype(np.float32)
    variance_ratios = model.explained_variance_ratio_
    task.run.log_metrics({"explained_variance": variance_ratios.sum()})
    write_array(task.folder / "vectors.npy", vectors)
    shares = pd.DataFrame({"component": range(1, len(variance_ratios) + 1), "share": variance_ratios})
    write_table(task.folder / "explained_variance.csv", shares)
    network = pca.Projection.from_pca(model)
    build = {"module": pca.__name__, "name": "Projection", "arguments": network.arguments, "method": "encode"}
    saving.log(task, network, {**build, "flatten": True}, scaled, task.identity.representation)


def _train_network(task: Task, array: np.ndarray, params: Params) -> None:
    settings, representation = params.embeddings, task.identity.representation
    network_settings = getattr(settings, task.identity.model)
    training, validation = task.rows("train"), task.rows("validation")
    scaled = scaling.symmetric(representation, array, training, params.features.dynamic_range_db)
    source = Source(array, scaled, loop.device())
    learner = AutoencoderLearner(task.identity.model, source, settings.dimensions, network_settings, task.fold.seed)
    examples = _choose_examples(task)

    def evaluate(epoch: int) -> dict[str, float]:
        rows = np.concatenate([training, validation])
        accuracy = watch.score_probe(learner.encode(rows), task.codes[rows], len(training))
        picture = figures.image((learner.reconstruct(examples) + 1.0) / 2.0)
        task.run.log_image(picture, "reconstructions", step=epoch)
        return learner.losses(validation) | {watch.PROBE_ACCURACY: accuracy}

    schedule = loop.Schedule(
        network_settings.epochs, network_settings.batch, task.fold.seed, settings.probe_every_epochs
    )
    task.fit(learner, schedule, evaluate)
    generated = _evaluate_generation(task, array, params, scaled, learner) if representation == "mel" else {}
    samples = {"originals": np.array(array[examples]), "reconstructions": scaled.undo(learner.reconstruct(examples))}
    np.savez_compressed(task.folder / "samples.npz", allow_pickle=False, rows=examples, **samples, **generated)
    write_array(task.folder / "vectors.npy", learner.encode(np.arange(len(array))))
    saving.log(task, learner.network.encoder, learner.build, scaled, representation)


def _evaluate_generation(
    task: Task, array: np.ndarray, params: Params, scaled: scaling.Scaling, learner: AutoencoderLearner
) -> dict[str, np.ndarray]:
    """Measure reconstructions of test clips, and clips generated by a VAE; returns generated clips for samples.npz."""
    generated = None
    if task.identity.model == "vae":
        rng = np.random.default_rng(task.fold.seed)
        z = rng.standard_normal((generation.MAX_CLIPS, params.embeddings.dimensions))
        generated = scaled.undo(learner.generate(z))
    test = task.rows("test")

    def reconstruct(rows: np.ndarray) -> np.ndarray:
        return scaled.undo(learner.reconstruct(rows))

    quality = generation.evaluate(array, task.rows("train"), test, reconstruct, generated, task.fold.seed)
    for name, table in quality.tables(task.clips.iloc[test]).items():
        write_table(task.folder / f"{name}.csv", table)
    task.run.log_metrics(quality.metrics)
    if generated is None:
        return {}
    return {"generated": generated[:GENERATED_EXAMPLES]}


def _choose_examples(task: Task) -> np.ndarray:
    """Return the middle validation clip of each of the first composers, as rows."""
    rows = task.rows("validation")
    rows_by_composer = [rows[task.codes[rows] == code] for code in range(min(EXAMPLES, len(task.composers)))]
    return np.array([composer_rows[len(composer_rows) // 2] for composer_rows in rows_by_composer])
