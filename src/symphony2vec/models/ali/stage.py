"""ALI as in the paper (Tables 5 and 6), under several settings, and its encoder as a classifier (Table 7).

Reads   out/clips/folds/<fold>.csv, out/features/mel.npy
Writes  out/ali/<setting>-<latent>/<fold>/
            vectors.npy           (clips, D) float32: the mean of E(x) of the middle crop
            vectors-crops.npy, vectors-sample.npy, vectors-hidden.npy    other readouts: see `learner.AliLearner`
            probabilities.npy, probabilities-crops.npy                   of the encoder as a classifier, instead
            curves.csv            one row an epoch
            samples.npz           originals, reconstructions, generated (N, 32, 32) and walk (11, 32, 32), all in dB
            latent.csv            the paper's claim of distance from the origin, tested
            game.png, pairs.png, walk.png, latent.png    Figures 7, 8 and 9, and that claim
            run.json              the MLflow run, which holds the model

ALI sees mel spectrograms as (dB + range) / range in [0, 1], in crops of 32x32. D latent dimensions.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from symphony2vec import figures, tracking
from symphony2vec.errors import UserError
from symphony2vec.models.ali import attempt, crops, latent
from symphony2vec.models.ali.learner import EncoderLearner
from symphony2vec.models.training import loop
from symphony2vec.models.training.folds import Task, train_folds
from symphony2vec.models.training.source import Source
from symphony2vec.package import saving, scaling
from symphony2vec.params import ALI_NAME, Network, Params, Setting
from symphony2vec.project import Project, SplitFold, read_array, write_array, write_table

SETTINGS = ("paper", "original", "long", "public", "searched", "encoder")
SHOWN = 8  # crops of Figure 8
CODE = ["models/ali", "models/training/watch.py"]
DB = "dB below the clip's maximum"


def run(project: Project, params: Params, model: str) -> None:
    """The stage `ali` for one model, as "paper-128", on every fold."""
    setting, _, size = model.partition("-")
    if not re.fullmatch(ALI_NAME, model):
        raise UserError(f"no ALI '{model}'; it is one of {', '.join(SETTINGS)} and a latent size, as paper-128")
    latent, array = int(size), read_array(project.feature("mel"), "features")
    scaling.middle_crop(array[:1], params.ali.crop.bands)  # says so where the spectrograms are too small

    def subject(fold: SplitFold) -> tracking.Subject:
        return tracking.Subject("ali", setting, size, fold.name)

    def train(task: Task) -> None:
        if setting == "encoder":
            _encoder(task, array, params, latent)
        else:
            _ali(task, array, params, latent)

    train_folds(
        project,
        params,
        subject,
        settings(params, getattr(params.ali, setting), latent),
        CODE,
        project.feature("mel"),
        train,
    )


def settings(params: Params, setting: Setting | Network, latent: int) -> dict[str, Any]:
    """The flat parameters of one model, under the names that every model of the project uses."""
    ali, own = params.ali, setting.model_dump()
    beta_1, beta_2 = own.pop("betas", (0.9, 0.999))
    own["probe_every_epochs"] = ali.probe_every_epochs
    shared = {"crop_bands": ali.crop.bands, "crop_frames": ali.crop.frames, "dimensions": latent}
    trained = {"optimiser": "adam", "beta_1": beta_1, "beta_2": beta_2, "weight_decay": 0.0}
    return {**trained, **shared, **own}


def _ali(task: Task, array: np.ndarray, params: Params, latent: int) -> None:
    ali, setting, seed = params.ali, getattr(params.ali, task.subject.model), task.fold.seed
    scaled = scaling.unit("mel", array.shape[1], params.features.dynamic_range_db)
    source = Source(array, scaled, loop.device())
    heard = attempt.Heard(source, task.codes, task.rows("train"), task.rows("validation"))
    learner = attempt.begun(heard, latent, setting, ali.crop, seed)
    if source.device.type == "cuda":
        task.run.tag("step", learner.step_kind)
    fixed = np.random.default_rng(seed).standard_normal((2 * SHOWN, latent))

    def evaluate(epoch: int) -> dict[str, float]:
        if epoch % ali.samples_every_epochs == 0:
            task.run.image(figures.image(learner.generate(fixed)), "generated", step=epoch)
            task.run.image(figures.image(learner.reconstruct(heard.validation[:SHOWN])), "reconstructions", step=epoch)
        return attempt.looked_at(learner, heard)

    schedule = attempt.schedule(setting, ali.probe_every_epochs, seed)
    curves = task.finish(loop.fit(learner, heard.training, schedule, task.label, task.kept, evaluate, task.tell))
    everything = np.arange(len(array))
    write_array(task.folder / "vectors.npy", learner.encode(everything))
    for name, vectors in learner.readouts(everything).items():
        write_array(task.folder / f"vectors-{name}.npy", vectors)
    _look(task, learner, params, curves, fixed)
    network = crops.CropEncoder(latent, ali.crop.bands)
    network.encoder.load_state_dict(learner.encoder.state_dict())
    build = {
        "module": crops.__name__,
        "name": "CropEncoder",
        "arguments": {"latent": latent, "bands": ali.crop.bands},
        "method": "encode",
    }
    saving.log(task, network, build, scaled, "mel")
    saving.log(task, network, {**build, "method": "encode_crops"}, scaled, "mel", "crops")
    print(f"{task.label}: {len(curves)} epochs, {int(curves['update'].iloc[-1])} updates")


def _look(task: Task, learner: Any, params: Params, curves: pd.DataFrame, fixed: np.ndarray) -> None:
    """Figures 7, 8 and 9 and the paper's claim about them, from validation and test clips."""

    range_db = params.features.dynamic_range_db

    def in_db(values: np.ndarray) -> np.ndarray:
        decibels: np.ndarray = (values - 1.0) * range_db
        return decibels

    held_out, test = task.rows("validation"), task.rows("test")
    shown = held_out[np.linspace(0, len(held_out) - 1, SHOWN).round().astype(int)]
    walk = np.repeat(latent.WALK[:, None], fixed.shape[1], axis=1)
    samples = {
        "originals": in_db(learner.originals(shown)),
        "reconstructions": in_db(learner.reconstruct(shown)),
        "generated": in_db(learner.generate(fixed[:SHOWN])),
        "walk": in_db(learner.generate(walk)),
    }
    np.savez_compressed(task.folder / "samples.npz", allow_pickle=False, rows=shown, **samples)
    works = (task.clips["composer"].astype(str) + " / " + task.clips["work"].astype(str)).to_numpy()[test]
    rows, behind = latent.claim(
        lambda z: in_db(learner.generate(z)),
        learner.encode(test),
        in_db(learner.originals(test)),
        works,
        task.fold.seed,
    )
    claims = pd.DataFrame(rows)
    write_table(task.folder / "latent.csv", claims)
    frame_s = params.features.hop_samples / params.audio.sample_rate_hz
    limits, label = (-range_db, 0.0), task.label
    titles = [f"{value:.1f}" for value in latent.WALK]
    names = [str(task.clips["composer"].iloc[row]) for row in shown]
    one = claims[(claims["source"] == "generated along rays") & (claims["measure"] == "loudness")].iloc[0]
    along = behind["generated along rays"]
    pictures = {
        "game": figures.game(curves.rename(columns=lambda name: name.removeprefix("train_")), label),
        "pairs": figures.pairs(samples["originals"], samples["reconstructions"], names, label, DB, frame_s, limits),
        "generated": figures.grid(samples["generated"], [""] * SHOWN, f"{label}: generated", DB, frame_s, limits),
        "walk": figures.grid(samples["walk"], titles, f"{label}: from the origin to all ones", DB, frame_s, limits),
        "latent": figures.correlation(
            along["distance"], along["loudness"], label, "loudness (dB)", one["rho"], one["low"], one["high"]
        ),
    }
    for name, figure in pictures.items():
        task.run.figure(figure, f"{name}.png")
        figures.save(task.folder / f"{name}.png", figure)
    short = {"generated along rays": "rays", "generated from the prior": "prior", "encoded test clips": "encoded"}
    told = {f"rho_{short[row['source']]}_{row['measure']}": row["rho"] for row in rows if np.isfinite(row["rho"])}
    task.run.metrics(told)


def _encoder(task: Task, array: np.ndarray, params: Params, latent: int) -> None:
    own, crop = params.ali.encoder, params.ali.crop
    training, held_out, everything = task.rows("train"), task.rows("validation"), np.arange(len(array))
    scaled = scaling.unit("mel", array.shape[1], params.features.dynamic_range_db)
    source = Source(array, scaled, loop.device())
    learner = EncoderLearner(source, task.codes, latent, len(task.composers), own, crop, task.fold.seed)

    def evaluate(epoch: int) -> dict[str, float]:
        return learner.losses(held_out)

    schedule = loop.Schedule(own.epochs, own.batch, task.fold.seed)
    curves = task.finish(loop.fit(learner, training, schedule, task.label, task.kept, evaluate, task.tell))
    write_array(task.folder / "probabilities.npy", learner.probabilities(everything))
    for name, probabilities in learner.readouts(everything).items():
        write_array(task.folder / f"probabilities-{name}.npy", probabilities)
    picture = figures.losses(curves, ["train_loss", "validation_loss", "validation_accuracy"], task.label)
    task.run.figure(picture, "curves.png")
    figures.save(task.folder / "curves.png", picture)
    build = {
        "module": crops.__name__,
        "name": "EncoderClassifier",
        "arguments": {"latent": latent, "bands": crop.bands, "composers": len(task.composers)},
        "method": "probabilities",
    }
    saving.log(task, learner.network, build, scaled, "mel")
    saving.log(task, learner.network, {**build, "method": "probabilities_crops"}, scaled, "mel", "crops")
    print(f"{task.label}: validation accuracy {curves['validation_accuracy'].iloc[-1]:.1%}")
