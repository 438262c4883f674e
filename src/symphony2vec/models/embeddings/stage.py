"""The embeddings of Table 4: PCA, autoencoder (AE), contractive (CAE) and variational (VAE), on each representation.

Reads   out/clips/folds/<fold>.csv, out/features/<representation>.npy
Writes  out/embeddings/<model>-<representation>/<fold>/
            vectors.npy      (clips, D) float32, rows in the order of clips.csv
            curves.csv       one row per epoch (not PCA)
            samples.npz      rows, originals and reconstructions (N, F, T) in the unit of the representation (not PCA);
                             for a VAE on mel also generated (N, F, T) in dB, from samples of the prior
            generation.csv   log-spectral distance in dB of the reconstruction of each test clip (networks on mel)
            frechet.csv      distance of reconstructions, generated clips (VAE) and training clips from the test clips,
                             see `symphony2vec.models.generation` (networks on mel)
            scatter.png      the first two dimensions (PCA: Figure 4 of the paper)
            reconstructions.png, curves.png     Figure 5, and the losses
            generated.png    generated clips (VAE on mel)
            run.json         the MLflow run, which holds the model

A model is fitted to the training clips and then applied to all clips. D latent dimensions, F bins, T frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("pca", "ae", "cae", "vae")
EXAMPLES = 5  # reconstructed clips of the figure
GENERATED_EXAMPLES = 8
UNITS = {"mel": "dB below the clip's maximum", "mfcc": "coefficient", "chroma": "strength"}
CODE = ["models/embeddings", "models/generation.py", "models/training/watch.py"]


def run(project: Project, params: Params, model: str, representation: str) -> None:
    """Run the stage `embeddings` for one model and one representation, on every fold.

    Raises:
        UserError: there is no such model or representation.
    """
    if model not in MODELS:
        raise UserError(f"unknown embedding '{model}'; expected one of {', '.join(MODELS)}")
    array = read_array(project.feature(representation), "features")

    def identity(fold: SplitFold) -> tracking.RunIdentity:
        return tracking.RunIdentity("embeddings", model, representation, fold.name)

    def train(task: Task) -> None:
        (_fit_pca if model == "pca" else _train_network)(task, array, params)
        print(f"{task.label}: {params.embeddings.dimensions} dimensions")

    settings = _settings(params, model)
    train_folds(project, params, identity, settings, CODE, project.feature(representation), train)


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
    _write_vectors(task, vectors, list(variance_ratios[:2]))
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
    curves = task.fit(learner, schedule, evaluate)
    task.log_figures({"curves": figures.losses(curves, list(learner.loss_columns), _title(task))})
    generated = _evaluate_generation(task, array, params, scaled, learner) if representation == "mel" else {}
    samples = {"originals": np.array(array[examples]), "reconstructions": scaled.undo(learner.reconstruct(examples))}
    np.savez_compressed(task.folder / "samples.npz", allow_pickle=False, rows=examples, **samples, **generated)
    task.log_figures({"reconstructions": _draw_reconstructions(task, params, examples, **samples)})
    _write_vectors(task, learner.encode(np.arange(len(array))), [])
    saving.log(task, learner.network.encoder, learner.build, scaled, representation)


def _draw_reconstructions(
    task: Task, params: Params, rows: np.ndarray, originals: np.ndarray, reconstructions: np.ndarray
) -> Figure:
    """Draw clips of these rows above their reconstructions (Figure 5)."""
    composers = [str(task.clips["composer"].iloc[row]) for row in rows]
    if task.identity.representation == "mel":
        limits = (-params.features.dynamic_range_db, 0.0)
    else:  # the first MFCC is the level, which is many times larger than the others
        low, high = np.quantile(originals[:, 1:], (0.002, 0.998))
        limits = (float(low), float(high))
    unit = UNITS[task.identity.representation]
    return figures.pairs(originals, reconstructions, composers, _title(task), unit, _frame_s(params), limits)


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
    examples, limits = generated[:GENERATED_EXAMPLES], (-params.features.dynamic_range_db, 0.0)
    label, titles = f"{_title(task)}: generated", [""] * len(examples)
    task.log_figures({"generated": figures.grid(examples, titles, label, UNITS["mel"], _frame_s(params), limits)})
    return {"generated": examples}


def _write_vectors(task: Task, vectors: np.ndarray, variance_ratios: list[float]) -> None:
    """Write vectors.npy, and draw their first two dimensions."""
    write_array(task.folder / "vectors.npy", vectors)
    composers = list(task.clips["composer"])
    task.log_figures({"scatter": figures.scatter(vectors[:, :2], composers, _title(task), variance_ratios)})


def _choose_examples(task: Task) -> np.ndarray:
    """Return the middle validation clip of each of the first composers, as rows."""
    rows = task.rows("validation")
    rows_by_composer = [rows[task.codes[rows] == code] for code in range(min(EXAMPLES, len(task.composers)))]
    return np.array([composer_rows[len(composer_rows) // 2] for composer_rows in rows_by_composer])


def _frame_s(params: Params) -> float:
    return params.features.hop_samples / params.audio.sample_rate_hz


def _title(task: Task) -> str:
    return f"{task.identity.model.upper()} of the {task.identity.representation}, {task.fold.name}"
