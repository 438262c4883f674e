"""Stage `temporal`: train the temporal ALI, a bidirectional encoder-decoder over the full clip, and its ablations.

    Reads   out/clips/folds/<fold>.csv, out/features/mel.npy
    Writes  out/temporal/<fold>/<setting>-<latent>/
                vectors.npy           (clips, L) float32: the posterior mean of the clip code c
                vectors-pooled.npy    (clips, 2 H) float32: the pooled features from which c is computed
                probabilities.npy     (clips, K) float32: of the setting `labels`, instead of vectors
                validation.csv        one row per validation work: clips, and how many of them are classified correctly
                curves.csv            one row per epoch
                samples.npz           rows, originals, reconstructions, generated (N, F, T) in dB; with a trained
                                      generator
                generation.csv, frechet.csv    quality of reconstructed and generated clips: see `models.generation`
                networks.safetensors  encoder and generator, read by `temporal.kept`; with a trained generator
                run.json              hashes of the clips and of the other files; see `tracking`

`full` is the complete model; every other setting is an ablation: `full` with some values changed (params.yaml,
temporal.ablations). `labels` is the supervised reference, the same encoder trained to classify composers. Positives of
the contrastive loss are clips of one movement: that uses where a movement starts and ends, never who composed it. With
`unlabelled`, the clips of another project are added to the training (symphony2vec.models.temporal.unlabelled).
L latent dimensions, F bins, H features of a step, K composers, T frames.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from symphony2vec import figures, tracking
from symphony2vec.errors import UserError
from symphony2vec.models import generation
from symphony2vec.models.temporal import attempt, kept, networks, ranks, unlabelled
from symphony2vec.models.temporal.networks import BINS_PER_ROW, EQUIVARIANT_DIVISOR, FRAMES_PER_STEP
from symphony2vec.models.temporal.training import Training
from symphony2vec.models.training import watch
from symphony2vec.models.training.folds import Task, train_folds
from symphony2vec.package import saving, scaling
from symphony2vec.params import TEMPORAL_NAME, Params, TemporalSetting
from symphony2vec.project import Project, SplitFold, key_of, read_array, write_array, write_table

if TYPE_CHECKING:
    from symphony2vec.models.temporal.learner import TemporalLearner

SUPERVISED = "labels"
SAMPLES = 8  # clips in figures and in samples.npz
CODE = ["models/temporal", "models/training/watch.py", "models/generation.py"]


def run(project: Project, params: Params, model: str, processes: int | None = None, fold: str | None = None) -> None:
    """Run the stage `temporal` for one model, such as "full-40", on one fold or on all.

    Args:
        project: whose clips and mel spectrograms are used.
        params: the content of params.yaml.
        model: <setting>-<latent size>.
        processes: over how many processes each training is distributed; one per GPU by default.
        fold: such as "work-0"; None for every fold of params.yaml.

    Raises:
        UserError: the model is unknown, or its setting does not fit the spectrograms.
    """
    name, _, size = model.rpartition("-")
    setting, latent = _find_setting(params, model, name), int(size)
    array = read_array(project.feature("mel"), "features")
    check_setting(array.shape[1:], name, setting)
    if setting.equivariant_weight and latent < EQUIVARIANT_DIVISOR:
        raise UserError(f"temporal {model}: equivariant_weight needs a latent size of at least {EQUIVARIANT_DIVISOR}")

    def identity(split_fold: SplitFold) -> tracking.RunIdentity:
        return tracking.RunIdentity("temporal", name, size, split_fold.name)

    def train(task: Task) -> None:
        training = _build_training(task, project, array, params, setting, latent, name == SUPERVISED)
        count = ranks.process_count(processes, min(setting.batch, setting.generator_batch, len(training.rows)))
        if count > 1:
            task.run.set_tag("processes", str(count))
        if name == SUPERVISED:
            _train_supervised(task, array, training, count)
        else:
            _train_temporal(task, array, params, training, count)

    model_settings = settings(params, setting, latent)
    if setting.unlabelled and name != SUPERVISED:
        other = unlabelled.open_project(project, params, setting.unlabelled)
        model_settings["unlabelled_key"] = key_of(other.feature("mel"), other.clips)
    train_folds(project, params, fold, identity, model_settings, CODE, project.feature("mel"), train)


def settings(params: Params, setting: TemporalSetting, latent: int) -> dict[str, Any]:
    """Return the flat parameters of one model, under the names that every model of the project uses."""
    values = setting.model_dump()
    beta_1, beta_2 = values.pop("betas")
    optimiser = {"optimiser": "adam", "beta_1": beta_1, "beta_2": beta_2, "weight_decay": 0.0}
    return {**optimiser, "dimensions": latent, "probe_every_epochs": params.temporal.probe_every_epochs, **values}


def check_setting(shape: tuple[int, ...], name: str, setting: TemporalSetting) -> None:
    """Check that spectrograms of this shape (F, T) fit a setting with this name.

    Raises:
        UserError: the number of bands, the length of a crop or the largest mask does not fit.
    """
    bins, frames = shape
    if bins % BINS_PER_ROW or frames < setting.crop_frames or setting.crop_frames % FRAMES_PER_STEP:
        raise UserError(
            f"the temporal model takes a multiple of {BINS_PER_ROW} mel bands (features.mel_bands is {bins}) and crops "
            f"of a multiple of {FRAMES_PER_STEP} frames, no longer than a clip of {frames} (crop_frames of temporal "
            f"{name} is {setting.crop_frames})"
        )
    if setting.mask_bins >= bins:
        raise UserError(f"mask_bins of temporal {name} ({setting.mask_bins}) must be below the {bins} mel bands")


def number_movements(task: Task) -> np.ndarray:
    """Return the number of the movement of every clip (clips,): one for each file.

    If scores have several performances, all those of a movement have the same number.
    """
    several = task.clips["performance"].nunique() > 1
    titles = ["composer", "work", "movement"] if several else ["file"]
    numbers: np.ndarray = task.clips.groupby(titles, sort=False).ngroup().to_numpy()
    return numbers


def _find_setting(params: Params, model: str, name: str) -> TemporalSetting:
    if name not in params.temporal.names or not re.fullmatch(TEMPORAL_NAME, model):
        names = ", ".join(params.temporal.names)
        raise UserError(f"unknown temporal model '{model}': expected one of {names} and a latent size, such as full-40")
    return params.temporal.setting(name)


def _build_training(
    task: Task,
    project: Project,
    array: np.ndarray,
    params: Params,
    setting: TemporalSetting,
    latent: int,
    supervised: bool,
) -> Training:
    """Return the training of one task; the features of an unlabelled project are written beside its checkpoint."""
    features, rows = project.feature("mel"), task.rows("train")
    clip_scaling = scaling.standard(array, rows)
    groups = task.codes if supervised else number_movements(task)
    if setting.unlabelled and not supervised:
        other = unlabelled.open_project(project, params, setting.unlabelled)
        features, groups = task.checkpoint_folder / "features.npy", unlabelled.number_movements(task.clips, other)
        unlabelled.concatenate_features(features, array, other)
        rows = np.concatenate([rows, unlabelled.training_rows(task.clips, other)])
    return Training(
        features=features,
        scaling=clip_scaling,
        rows=rows,
        groups=groups,
        composers=len(task.composers) if supervised else 0,
        latent=latent,
        setting=setting,
        seed=task.fold.seed,
        evaluate_every=params.temporal.probe_every_epochs,
        label=task.label,
        checkpoints=task.checkpoint_folder,
    )


def _train_temporal(task: Task, array: np.ndarray, params: Params, training: Training, count: int) -> None:
    """Train a temporal ALI on `count` processes and write its outputs."""
    validation = task.rows("validation")
    sample_rows = _select_evenly(validation)

    def evaluate(epoch: int) -> dict[str, float]:
        if learner.trains_generator and epoch % params.temporal.samples_every_epochs == 0:
            for name, x_hat in (
                ("reconstructions", learner.reconstruct(sample_rows)),
                ("generated", learner.generate(*prior_codes)),
            ):
                task.run.log_image(figures.image(_to_unit(training.scaling.undo(x_hat), params)), name, step=epoch)
        return attempt.evaluate(learner, task.codes, task.rows("train"), validation)

    with ranks.launch(count, training.follow, task.label) as devices:
        learner = training.build_learner(devices)
        prior_codes = learner.sample_prior(SAMPLES, training.seed)
        curves = task.write_curves(training.fit(learner, evaluate, task.log_epoch))
    codes = learner.infer_codes(np.arange(len(array)))
    write_array(task.folder / "vectors.npy", codes["c"])
    write_array(task.folder / "vectors-pooled.npy", codes["pooled"])
    write_table(task.folder / "validation.csv", _count_correct(task, _probe_predictions(codes["c"], task)))
    network, arguments = learner.build_clip_encoder(), _network_arguments(training, array)
    if learner.trains_generator:
        shape = (arguments["latent"], arguments["step_latent"], arguments["width"], arguments["bins"])
        generator = learner.ema_generator.module
        kept.save(task.folder / kept.NETWORKS, network.encoder, generator, shape, training.scaling)
        _write_samples(task, learner, array, training.scaling, params, sample_rows, prior_codes)
    build = {"module": networks.__name__, "name": "ClipEncoder", "arguments": arguments}
    saving.log(task, network, {**build, "method": "encode"}, training.scaling, "mel")
    saving.log(task, network, {**build, "method": "encode_pooled"}, training.scaling, "mel", "pooled")
    print(f"{task.label}: {len(curves)} epochs, {int(curves['update'].iloc[-1])} updates")


def _train_supervised(task: Task, array: np.ndarray, training: Training, count: int) -> None:
    """Train the supervised reference on `count` processes and write its outputs."""
    validation = task.rows("validation")
    with ranks.launch(count, training.follow, task.label) as devices:
        learner = training.build_supervised_learner(devices)
        curves = task.write_curves(training.fit(learner, lambda epoch: learner.evaluate(validation), task.log_epoch))
    probabilities = learner.probabilities(np.arange(len(array)))
    write_array(task.folder / "probabilities.npy", probabilities)
    write_table(task.folder / "validation.csv", _count_correct(task, probabilities[validation].argmax(axis=1)))
    arguments = {**_network_arguments(training, array), "composers": len(task.composers)}
    build = {"module": networks.__name__, "name": "ClipClassifier", "arguments": arguments, "method": "probabilities"}
    saving.log(task, learner.ema_network.module.eval(), build, training.scaling, "mel")
    print(f"{task.label}: validation accuracy {curves['validation_accuracy'].iloc[-1]:.1%}")


def _network_arguments(training: Training, array: np.ndarray) -> dict[str, int]:
    setting, bins = training.setting, int(array.shape[1])
    return {"latent": training.latent, "step_latent": setting.step_latent, "width": setting.width, "bins": bins}


def _select_evenly(rows: np.ndarray) -> np.ndarray:
    """Return `SAMPLES` evenly spaced rows."""
    spaced: np.ndarray = rows[np.linspace(0, len(rows) - 1, SAMPLES).round().astype(int)]
    return spaced


def _to_unit(values_db: np.ndarray, params: Params) -> np.ndarray:
    """Map dB to [0, 1] for an image."""
    unit: np.ndarray = (values_db / params.features.dynamic_range_db + 1.0).clip(0.0, 1.0)
    return unit


def _count_correct(task: Task, predictions: np.ndarray) -> pd.DataFrame:
    """Return one row per validation work: its clips, and how many `predictions` (B,) of their composer are correct."""
    rows = task.rows("validation")
    clips = task.clips.iloc[rows]
    work = clips["composer"].astype(str) + " / " + clips["work"].astype(str)
    table = clips.assign(work=work, right=predictions == task.codes[rows])
    return table.groupby("work")["right"].agg(clips="count", right="sum").reset_index()


def _probe_predictions(vectors: np.ndarray, task: Task) -> np.ndarray:
    """Return the composers (B,) that a probe, fitted on the training clips, predicts for the validation clips."""
    training = task.rows("train")
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=watch.PROBE_C, max_iter=1000))
    probe.fit(vectors[training], task.codes[training])
    predictions: np.ndarray = probe.predict(vectors[task.rows("validation")])
    return predictions


def _write_samples(
    task: Task,
    learner: TemporalLearner,
    array: np.ndarray,
    clip_scaling: scaling.Scaling,
    params: Params,
    rows: np.ndarray,
    prior_codes: tuple[np.ndarray, np.ndarray],
) -> None:
    """Write reconstructions of the clips in `rows`, generated clips and their quality."""
    low = -params.features.dynamic_range_db

    def to_db(x_hat: np.ndarray) -> np.ndarray:
        values: np.ndarray = clip_scaling.undo(x_hat).clip(low, 0.0)
        return values

    reconstructions, generated = to_db(learner.reconstruct(rows)), to_db(learner.generate(*prior_codes))
    originals = generation.crop_middle(np.array(array[rows]), reconstructions.shape[2])
    samples = {"originals": originals, "reconstructions": reconstructions, "generated": generated}
    np.savez_compressed(task.folder / "samples.npz", allow_pickle=False, rows=rows, **samples)
    _write_quality(task, learner, array, to_db)


def _write_quality(
    task: Task, learner: TemporalLearner, array: np.ndarray, to_db: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Write and log how well the model reconstructs the test clips and how realistic its generated clips are."""
    seed, test = task.fold.seed, task.rows("test")
    generated = to_db(learner.generate(*learner.sample_prior(generation.MAX_CLIPS, seed)))
    quality = generation.evaluate(
        array, task.rows("train"), test, lambda rows: to_db(learner.reconstruct(rows)), generated, seed
    )
    for name, table in quality.tables(task.clips.iloc[test]).items():
        write_table(task.folder / f"{name}.csv", table)
    task.run.log_metrics(quality.metrics)
