"""An ALI that hears all ten seconds: a recurrent encoder, a clip code and step codes, and what its parts are worth.

Reads   out/clips/folds/<fold>.csv, out/features/mel.npy
Writes  out/temporal/<setting>-<latent>/<fold>/
            vectors.npy           (clips, D) float32: the mean of the clip code c of a whole clip
            vectors-pooled.npy    (clips, 2 H): the features that c is made of
            probabilities.npy     of the setting `labels`, instead
            validation.csv        one row a validation work: clips, and how many of them were named rightly
            curves.csv            one row an epoch
            samples.npz           rows, originals, reconstructions, generated (N, F, T) in dB; where it generates
            generation.csv, frechet.csv    how well it reproduces and invents: see `symphony2vec.models.generation`
            networks.safetensors  encoder and generator, for `temporal.kept`; where it generates
            run.json              the MLflow run, which holds the model

`full` is the whole model; every other setting is `full` with some parts changed or taken away (params.yaml,
temporal.parts), and `labels` is its encoder trained to name composers: a yardstick. Positives of the contrast are clips
of one movement: that uses where a movement begins and ends, never who wrote it. With `unlabelled`, the clips of another
project are heard as well (symphony2vec.models.temporal.unlabelled). D latent dimensions, F bins, T frames.
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
from symphony2vec.models.temporal.networks import FOLD, STRIDE
from symphony2vec.models.temporal.training import Training
from symphony2vec.models.training import watch
from symphony2vec.models.training.folds import Task, train_folds
from symphony2vec.package import saving, scaling
from symphony2vec.params import TEMPORAL_NAME, Params, TemporalSetting
from symphony2vec.project import Project, SplitFold, key_of, read_array, write_array, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from symphony2vec.models.temporal.learner import TemporalLearner
    from symphony2vec.models.temporal.training import Training

LABELS = "labels"
SHOWN = 8  # clips that are drawn
CODE = ["models/temporal", "models/training/watch.py", "models/generation.py"]
DB = "dB below the clip's maximum"


def run(project: Project, params: Params, model: str, processes: int | None = None) -> None:
    """The stage `temporal` for one model, as "full-40", on every fold.

    Each training is spread over so many `processes` of this machine; by default one for every GPU.
    """
    name, _, size = model.rpartition("-")
    setting = _setting(params, model, name)
    array, latent = read_array(project.feature("mel"), "features"), int(size)
    check(array.shape[1:], name, setting)

    def subject(fold: SplitFold) -> tracking.Subject:
        return tracking.Subject("temporal", name, size, fold.name)

    def train(task: Task) -> None:
        spread = _training(task, project, array, params, setting, latent, name == LABELS)
        count = ranks.count(processes, min(setting.batch, setting.played, len(spread.rows)))
        if count > 1:
            task.run.tag("processes", str(count))
        (_labels if name == LABELS else _temporal)(task, array, params, spread, count)

    told = settings(params, setting, latent)
    if setting.unlabelled and name != LABELS:
        other = unlabelled.of(project, params, setting.unlabelled)
        told["unlabelled_key"] = key_of(other.feature("mel"), other.clips)
    train_folds(project, params, subject, told, CODE, project.feature("mel"), train)


def settings(params: Params, setting: TemporalSetting, latent: int) -> dict[str, Any]:
    """The flat parameters of one model, under the names that every model of the project uses."""
    own = setting.model_dump()
    beta_1, beta_2 = own.pop("betas")
    trained = {"optimiser": "adam", "beta_1": beta_1, "beta_2": beta_2, "weight_decay": 0.0}
    return {**trained, "dimensions": latent, "probe_every_epochs": params.temporal.probe_every_epochs, **own}


def _setting(params: Params, model: str, name: str) -> TemporalSetting:
    if name not in params.temporal.names or not re.fullmatch(TEMPORAL_NAME, model):
        known = ", ".join(params.temporal.names)
        raise UserError(f"no temporal model '{model}'; it is one of {known} and a latent size, as full-40")
    return params.temporal.setting(name)


def check(shape: tuple[int, ...], name: str, setting: TemporalSetting) -> None:
    """Whether a setting, called `name`, can hear spectrograms of this shape (F, T).

    Raises:
        UserError: it cannot: their bands, the frames of a crop, or what is masked.
    """

    bins, frames = shape
    if bins % FOLD or frames < setting.frames or setting.frames % STRIDE:
        raise UserError(
            f"the temporal model takes a multiple of {FOLD} mel bands (features.mel_bands is {bins}) and crops of a "
            f"multiple of {STRIDE} frames, no longer than a clip of {frames} (frames of temporal {name} is "
            f"{setting.frames})"
        )
    if setting.masked_bins >= bins:
        raise UserError(f"masked_bins of temporal {name} ({setting.masked_bins}) must be below the {bins} mel bands")


def _training(
    task: Task,
    project: Project,
    array: np.ndarray,
    params: Params,
    setting: TemporalSetting,
    latent: int,
    with_labels: bool,
) -> Training:
    """The training of one task."""

    features, rows = project.feature("mel"), task.rows("train")
    scaled, groups = scaling.standard(array, rows), task.codes if with_labels else movements(task)
    if setting.unlabelled and not with_labels:
        other = unlabelled.of(project, params, setting.unlabelled)
        features, groups = task.checkpoint_folder / "heard.npy", unlabelled.movements(task.clips, other)
        unlabelled.join(features, array, other)
        rows = np.concatenate([rows, unlabelled.rows(task.clips, other)])
    return Training(
        features=features,
        scaling=scaled,
        rows=rows,
        groups=groups,
        composers=len(task.composers) if with_labels else 0,
        latent=latent,
        setting=setting,
        seed=task.fold.seed,
        evaluate_every=params.temporal.probe_every_epochs,
        label=task.label,
        kept=task.checkpoint_folder,
    )


def _temporal(task: Task, array: np.ndarray, params: Params, training: Training, count: int) -> None:
    held_out, scaled, setting, latent = task.rows("validation"), training.scaling, training.setting, training.latent
    drawn = _chosen(held_out)

    def evaluate(epoch: int) -> dict[str, float]:
        if learner.generates and epoch % params.temporal.samples_every_epochs == 0:
            for what, made in (
                ("reconstructions", learner.reconstruct(drawn)),
                ("generated", learner.generate(*fixed)),
            ):
                task.run.image(figures.image(_to_unit(scaled.undo(made), params)), what, step=epoch)
        return attempt.looked_at(learner, task.codes, task.rows("train"), held_out)

    with ranks.together(count, training.follow, task.label) as devices:
        learner = training.temporal(devices)
        fixed = learner.prior(SHOWN, training.seed)
        curves = task.write_curves(training.fit(learner, evaluate, task.log_epoch))
    found = learner.codes(np.arange(len(array)))
    write_array(task.folder / "vectors.npy", found["c"])
    write_array(task.folder / "vectors-pooled.npy", found["pooled"])
    write_table(task.folder / "validation.csv", _by_work(task, _guessed(found["c"], task)))
    network, shape = learner.clip_encoder(), (latent, setting.step_latent, setting.width, array.shape[1])
    pictures = {"curves": _curves(curves, task.label)}
    if setting.adversary:
        pictures["game"] = figures.game(curves.rename(columns=lambda one: one.removeprefix("train_")), task.label)
    if learner.generates:
        kept.save(task.folder / kept.NETWORKS, network.encoder, learner.averaged_generator.module, shape, scaled)
        pictures |= _sampled(task, learner, array, scaled, params, drawn, fixed)
    for name, figure in pictures.items():
        task.run.figure(figure, f"{name}.png")
        figures.save(task.folder / f"{name}.png", figure)
    names = ("latent", "step_latent", "width", "bins")
    build = {"module": networks.__name__, "name": "ClipEncoder", "arguments": dict(zip(names, shape, strict=True))}
    saving.log(task, network, {**build, "method": "encode"}, scaled, "mel")
    saving.log(task, network, {**build, "method": "encode_pooled"}, scaled, "mel", "pooled")
    print(f"{task.label}: {len(curves)} epochs, {int(curves['update'].iloc[-1])} updates")


def _labels(task: Task, array: np.ndarray, params: Params, training: Training, count: int) -> None:
    held_out, scaled, setting, latent = task.rows("validation"), training.scaling, training.setting, training.latent

    def evaluate(epoch: int) -> dict[str, float]:
        return learner.losses(held_out)

    with ranks.together(count, training.follow, task.label) as devices:
        learner = training.labels(devices)
        curves = task.write_curves(training.fit(learner, evaluate, task.log_epoch))
    probabilities = learner.probabilities(np.arange(len(array)))
    write_array(task.folder / "probabilities.npy", probabilities)
    write_table(task.folder / "validation.csv", _by_work(task, probabilities[held_out].argmax(axis=1)))
    picture = figures.losses(curves, ["train_loss", "validation_loss", "validation_accuracy"], task.label)
    task.run.figure(picture, "curves.png")
    figures.save(task.folder / "curves.png", picture)
    arguments = {
        "latent": latent,
        "step_latent": setting.step_latent,
        "width": setting.width,
        "bins": array.shape[1],
        "composers": len(task.composers),
    }
    build = {"module": networks.__name__, "name": "ClipClassifier", "arguments": arguments, "method": "probabilities"}
    saving.log(task, learner.averaged.module.eval(), build, scaled, "mel")
    print(f"{task.label}: validation accuracy {curves['validation_accuracy'].iloc[-1]:.1%}")


def movements(task: Task) -> np.ndarray:
    """A number for the movement of every clip (clips,)."""

    numbers: np.ndarray = pd.factorize(task.clips["file"])[0]
    return numbers


def _chosen(rows: np.ndarray) -> np.ndarray:
    """Some of these rows, evenly spread."""

    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, SHOWN).round().astype(int)]
    return chosen


def _to_unit(values_db: np.ndarray, params: Params) -> np.ndarray:
    """From dB to [0, 1], for a picture."""
    scaled: np.ndarray = (values_db / params.features.dynamic_range_db + 1.0).clip(0.0, 1.0)
    return scaled


def _curves(curves: pd.DataFrame, label: str) -> Figure:
    names = (
        *(f"{side}_{name}" for name in ("contrast", "reconstruction") for side in ("train", "validation")),
        watch.PROBE_ACCURACY,
    )
    return figures.losses(curves, [name for name in names if name in curves], label)


def _by_work(task: Task, named: np.ndarray) -> pd.DataFrame:
    """One row a validation work: clips, and how many of them were `named` (B,) rightly."""
    rows = task.rows("validation")
    own = task.clips.iloc[rows]
    work = own["composer"].astype(str) + " / " + own["work"].astype(str)
    table = own.assign(work=work, right=named == task.codes[rows])
    return table.groupby("work")["right"].agg(clips="count", right="sum").reset_index()


def _guessed(vectors: np.ndarray, task: Task) -> np.ndarray:
    """What a probe of one strength, fitted on the training clips, names the validation clips: codes (B,)."""

    training = task.rows("train")
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=watch.PROBE_C, max_iter=1000))
    probe.fit(vectors[training], task.codes[training])
    named: np.ndarray = probe.predict(vectors[task.rows("validation")])
    return named


def _sampled(
    task: Task,
    learner: TemporalLearner,
    array: np.ndarray,
    scaled: scaling.Scaling,
    params: Params,
    drawn: np.ndarray,
    fixed: tuple[np.ndarray, np.ndarray],
) -> dict[str, Figure]:
    """Write what the model makes of clips and of nothing, and how good it is; returns the pictures of it."""

    low = -params.features.dynamic_range_db

    def in_db(made: np.ndarray) -> np.ndarray:
        values: np.ndarray = scaled.undo(made).clip(low, 0.0)
        return values

    copies, invented = in_db(learner.reconstruct(drawn)), in_db(learner.generate(*fixed))
    originals = _as_long(np.array(array[drawn]), copies.shape[2])
    samples = {"originals": originals, "reconstructions": copies, "generated": invented}
    np.savez_compressed(task.folder / "samples.npz", allow_pickle=False, rows=drawn, **samples)
    _judge(task, learner, array, in_db)
    frame_s = params.features.hop_samples / params.audio.sample_rate_hz
    names = [str(task.clips["composer"].iloc[row]) for row in drawn]
    look = (DB, frame_s, (low, 0.0))
    return {
        "pairs": figures.pairs(originals, copies, names, task.label, *look),
        "generated": figures.grid(invented, [""] * SHOWN, f"{task.label}: generated", *look),
    }


def _judge(task: Task, learner: TemporalLearner, array: np.ndarray, in_db: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write how well the model reproduces the test clips, and invents some, and tell MLflow."""

    seed, test = task.fold.seed, task.rows("test")
    invented = in_db(learner.generate(*learner.prior(generation.CLIPS, seed)))
    quality = generation.report(
        array, task.rows("train"), test, lambda rows: in_db(learner.reconstruct(rows)), invented, seed
    )
    for name, table in quality.tables(task.clips.iloc[test]).items():
        write_table(task.folder / f"{name}.csv", table)
    task.run.metrics(quality.metrics)


def _as_long(values: np.ndarray, frames: int) -> np.ndarray:
    """The middle frames (..., T), as many as a model gives."""
    first = (values.shape[-1] - frames) // 2
    return values[..., first : first + frames]
