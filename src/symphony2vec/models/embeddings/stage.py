"""The embeddings of Table 4: PCA, autoencoder (AE), contractive (CAE) and variational (VAE), on each representation.

Reads   out/clips/folds/<fold>.csv, out/features/<representation>.npy
Writes  out/embeddings/<model>-<representation>/<fold>/
            vectors.npy      (clips, D) float32, the rows in the order of clips.csv
            curves.csv       one row an epoch (not PCA)
            samples.npz      rows, originals and reconstructions (N, F, T) in the representation's unit (not PCA); of
                             the VAE of the mel also generated (N, F, T), drawn from its prior, in dB
            generation.csv   the log-spectral distance in dB of each test clip's reconstruction (networks on the mel)
            frechet.csv      how far reconstructions, generated clips (VAE) and training clips lie from the test clips,
                             see `symphony2vec.models.generation` (networks on the mel)
            scatter.png      the first two dimensions (of the PCA: Figure 4 of the paper)
            reconstructions.png, curves.png     Figure 5, and the losses
            generated.png    the generated clips (VAE on the mel)
            run.json         the MLflow run, which holds the model

A model is fitted on the training clips alone and then applied to all. D latent dimensions, F bins, T frames.
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

    from symphony2vec.models.embeddings.learner import AutoencoderLearner

MODELS = ("pca", "ae", "cae", "vae")
SHOWN = 5  # clips whose reconstruction is drawn
SHOWN_GENERATED = 8
UNITS = {"mel": "dB below the clip's maximum", "mfcc": "coefficient", "chroma": "strength"}
CODE = ["models/embeddings", "models/generation.py", "models/training/watch.py"]


def run(project: Project, params: Params, model: str, representation: str) -> None:
    """The stage `embeddings` for one model and one representation, on every fold."""
    if model not in MODELS:
        raise UserError(f"no embedding '{model}'; there are {', '.join(MODELS)}")
    array = read_array(project.feature(representation), "features")

    def subject(fold: SplitFold) -> tracking.Subject:
        return tracking.Subject("embeddings", model, representation, fold.name)

    def train(task: Task) -> None:
        if model == "pca":
            _pca(task, array, params)
        else:
            _network(task, array, params)
        print(f"{task.label}: {params.embeddings.dimensions} dimensions")

    settings = _settings(params, model)
    train_folds(project, params, subject, settings, CODE, project.feature(representation), train)


def _settings(params: Params, model: str) -> dict[str, Any]:
    """The flat parameters of one model, under the names that every model of the project uses."""
    own = getattr(params.embeddings, model).model_dump()
    own["batch"] = own.pop("batch_clips", None) or own["batch"]
    trained = {"optimiser": "none"} if model == "pca" else {"optimiser": "adam", "beta_1": 0.9, "beta_2": 0.999}
    if model != "pca":
        own["probe_every_epochs"] = params.embeddings.probe_every_epochs
    return {"dimensions": params.embeddings.dimensions, **trained, **own}


def _pca(task: Task, array: np.ndarray, params: Params) -> None:
    settings, training = params.embeddings, task.rows("train")
    scaled = scaling.standard(array, training)
    at_once = settings.pca.batch_clips
    fitted = pca.fit(scaling.batches(array, training, scaled, at_once), len(training), settings)
    everything = scaling.batches(array, np.arange(len(array)), scaled, at_once)
    vectors = np.concatenate([fitted.transform(batch) for batch in everything]).astype(np.float32)
    shares = fitted.explained_variance_ratio_
    task.run.metrics({"explained_variance": shares.sum()})
    _write(task, vectors, figures.scatter(vectors[:, :2], list(task.clips["composer"]), _title(task), list(shares[:2])))
    network = pca.Projection.of(fitted)
    build = {"module": pca.__name__, "name": "Projection", "arguments": network.arguments, "method": "encode"}
    saving.log(task, network, {**build, "flatten": True}, scaled, task.subject.representation)


def _network(task: Task, array: np.ndarray, params: Params) -> None:
    settings, training, held_out = params.embeddings, task.rows("train"), task.rows("validation")
    own = getattr(settings, task.subject.model)
    scaled = scaling.symmetric(task.subject.representation, array, training, params.features.dynamic_range_db)
    source = Source(array, scaled, loop.device())
    learner = AutoencoderLearner(task.subject.model, source, settings.dimensions, own, task.fold.seed)
    drawn = _chosen(task)

    def evaluate(epoch: int) -> dict[str, float]:
        seen = np.concatenate([training, held_out])
        vectors, codes = learner.encode(seen), task.codes[seen]
        found = learner.losses(held_out)
        picture = figures.image(scaled_to_unit(learner.reconstruct(drawn)))
        task.run.image(picture, "reconstructions", step=epoch)
        return found | {"probe_validation_accuracy": watch.glance(vectors, codes, len(training))}

    schedule = loop.Schedule(own.epochs, own.batch, task.fold.seed, settings.probe_every_epochs)
    curves = task.finish(loop.fit(learner, training, schedule, task.label, task.kept, evaluate, task.tell))
    vectors = learner.encode(np.arange(len(array)))
    originals, copies = np.array(array[drawn]), scaled.undo(learner.reconstruct(drawn))
    invented = _generation(task, array, params, scaled, learner) if task.subject.representation == "mel" else {}
    samples = {"originals": originals, "reconstructions": copies, **invented}
    np.savez_compressed(task.folder / "samples.npz", allow_pickle=False, rows=drawn, **samples)
    composers = [str(task.clips["composer"].iloc[row]) for row in drawn]
    limits = (-params.features.dynamic_range_db, 0.0) if task.subject.representation == "mel" else _limits(originals)
    frame_s = params.features.hop_samples / params.audio.sample_rate_hz
    unit = UNITS[task.subject.representation]
    pairs = figures.pairs(originals, copies, composers, _title(task), unit, frame_s, limits)
    _draw(task, {"reconstructions": pairs, "curves": figures.losses(curves, list(learner.names), _title(task))})
    _write(task, vectors, figures.scatter(vectors[:, :2], list(task.clips["composer"]), _title(task), ()))
    saving.log(task, learner.network.encoder, learner.build, scaled, task.subject.representation)


def _generation(
    task: Task, array: np.ndarray, params: Params, scaled: scaling.Scaling, learner: AutoencoderLearner
) -> dict[str, np.ndarray]:
    """How well the mel of test clips comes back, and what the VAE invents: tables, a picture, and clips to keep."""

    generated = None
    if task.subject.model == "vae":
        codes = np.random.default_rng(task.fold.seed).standard_normal(
            (generation.MAX_CLIPS, params.embeddings.dimensions)
        )
        generated = scaled.undo(learner.generate(codes))
    test = task.rows("test")

    def reconstruct(rows: np.ndarray) -> np.ndarray:
        return scaled.undo(learner.reconstruct(rows))

    found = generation.evaluate(array, task.rows("train"), test, reconstruct, generated, task.fold.seed)
    for name, table in found.tables(task.clips.iloc[test]).items():
        write_table(task.folder / f"{name}.csv", table)
    task.run.metrics(found.metrics)
    if generated is None:
        return {}
    shown, limits = generated[:SHOWN_GENERATED], (-params.features.dynamic_range_db, 0.0)
    frame_s, label = params.features.hop_samples / params.audio.sample_rate_hz, f"{_title(task)}: generated"
    _draw(task, {"generated": figures.grid(shown, [""] * len(shown), label, UNITS["mel"], frame_s, limits)})
    return {"generated": shown}


def scaled_to_unit(values: np.ndarray) -> np.ndarray:
    """From [-1, 1] to [0, 1], for a picture."""
    return (values + 1.0) / 2.0


def _write(task: Task, vectors: np.ndarray, scatter: Figure) -> None:
    write_array(task.folder / "vectors.npy", vectors)
    _draw(task, {"scatter": scatter})


def _draw(task: Task, pictures: dict[str, Figure]) -> None:
    for name, figure in pictures.items():
        task.run.figure(figure, f"{name}.png")
        figures.save(task.folder / f"{name}.png", figure)


def _chosen(task: Task) -> np.ndarray:
    """The middle validation clip of each composer, of a few composers: what is drawn is not what was learnt."""

    rows = task.rows("validation")
    own = [rows[task.codes[rows] == code] for code in range(min(SHOWN, len(task.composers)))]
    return np.array([places[len(places) // 2] for places in own])


def _limits(originals: np.ndarray) -> tuple[float, float]:
    """A range of colours; of MFCC the first coefficient is the level, many times larger than all others."""

    low, high = np.quantile(originals[:, 1:], (0.002, 0.998))
    return float(low), float(high)


def _title(task: Task) -> str:
    return f"{task.subject.model.upper()} of the {task.subject.representation}, {task.fold.name}"
