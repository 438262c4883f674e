"""ALI as in the paper (Tables 5 and 6), in several settings, and its encoder as a classifier (Table 7).

    Reads   out/clips/folds/<fold>.csv, out/features/mel.npy
    Writes  out/ali/<fold>/<setting>-<latent>/
                vectors.npy           (clips, D) float32: the mean of z of the middle crop
                vectors-crops.npy, vectors-sample.npy, vectors-hidden.npy    other readouts: see `learner.AliLearner`
                probabilities.npy, probabilities-crops.npy                   of the encoder as a classifier, instead
                curves.csv            one row per epoch
                samples.npz           originals, reconstructions, generated (N, 32, 32) and walk (11, 32, 32), all in
                                      dB; steps (11,) of the walk
                latent.csv            test of the paper's claim about the latent space: see `latent`
                rays.csv              distance from the origin, loudness and flatness of crops generated along rays
                run.json              hashes of the clips and of the other files; see `tracking`

Mel spectrograms are scaled to [0, 1] as (dB + range) / range and cut into crops of 32x32. D latent dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from symphony2vec import figures, tracking
from symphony2vec.errors import UserError
from symphony2vec.models.ali import attempt, crops, latent
from symphony2vec.models.ali.learner import AliLearner, EncoderLearner
from symphony2vec.models.training import loop
from symphony2vec.models.training.folds import Task, train_folds
from symphony2vec.models.training.source import Source
from symphony2vec.package import saving, scaling
from symphony2vec.params import ALI_NAME, Network, Params, Setting
from symphony2vec.project import Project, SplitFold, read_array, write_array, write_table

SETTINGS = ("paper", "original", "long", "public", "searched", "encoder")
EXAMPLES = 8  # crops of Figure 8
CODE = ["models/ali", "models/training/watch.py"]
METRIC_SOURCES = {"generated along rays": "rays", "generated from the prior": "prior", "encoded test clips": "encoded"}


def run(project: Project, params: Params, model: str, fold: str | None = None) -> None:
    """Run the stage `ali` for one model, such as "paper-128", on one fold or on all.

    Raises:
        UserError: there is no such model, or the spectrograms are smaller than a crop.
    """
    setting, _, size = model.partition("-")
    if not re.fullmatch(ALI_NAME, model):
        raise UserError(
            f"unknown ALI model '{model}'; expected one of {', '.join(SETTINGS)} and a latent size, such as paper-128"
        )
    dimensions, array = int(size), read_array(project.feature("mel"), "features")
    scaling.middle_crop(array[:1], params.ali.crop.bands)  # raises if the spectrograms are too small

    def identity(split_fold: SplitFold) -> tracking.RunIdentity:
        return tracking.RunIdentity("ali", setting, size, split_fold.name)

    def train(task: Task) -> None:
        (_train_encoder if setting == "encoder" else _train_ali)(task, array, params, dimensions)

    parameters = settings(params, getattr(params.ali, setting), dimensions)
    train_folds(project, params, fold, identity, parameters, CODE, project.feature("mel"), train)


def settings(params: Params, setting: Setting | Network, latent: int) -> dict[str, Any]:
    """Return the flat parameters of one model, under the names that all models of the project share."""
    own_values = setting.model_dump()
    beta_1, beta_2 = own_values.pop("betas", (0.9, 0.999))
    optimiser = {"optimiser": "adam", "beta_1": beta_1, "beta_2": beta_2, "weight_decay": 0.0}
    crop = {"crop_bands": params.ali.crop.bands, "crop_frames": params.ali.crop.frames, "dimensions": latent}
    return {**optimiser, **crop, **own_values, "probe_every_epochs": params.ali.probe_every_epochs}


def _train_ali(task: Task, array: np.ndarray, params: Params, dimensions: int) -> None:
    ali, setting, seed = params.ali, getattr(params.ali, task.identity.model), task.fold.seed
    scaled = scaling.unit("mel", array.shape[1], params.features.dynamic_range_db)
    source = Source(array, scaled, loop.device())
    data = attempt.FoldData(source, task.codes, task.rows("train"), task.rows("validation"))
    learner = attempt.build_learner(data, dimensions, setting, ali.crop, seed)
    if source.device.type == "cuda":
        task.run.set_tag("step", learner.step_kind)
    fixed_z = np.random.default_rng(seed).standard_normal((2 * EXAMPLES, dimensions))

    def evaluate(epoch: int) -> dict[str, float]:
        if epoch % ali.samples_every_epochs == 0:
            reconstructions = learner.reconstruct(data.validation[:EXAMPLES])
            task.run.log_image(figures.image(learner.generate(fixed_z)), "generated", step=epoch)
            task.run.log_image(figures.image(reconstructions), "reconstructions", step=epoch)
        return attempt.evaluate(learner, data)

    schedule = attempt.make_schedule(setting, ali.probe_every_epochs, seed)
    curves = task.fit(learner, schedule, evaluate)
    all_rows = np.arange(len(array))
    write_array(task.folder / "vectors.npy", learner.encode(all_rows))
    for name, vectors in learner.readouts(all_rows).items():
        write_array(task.folder / f"vectors-{name}.npy", vectors)
    _write_samples(task, learner, params, fixed_z)
    _test_claim(task, learner, params)
    network = crops.CropEncoder(dimensions, ali.crop.bands)
    network.encoder.load_state_dict(learner.encoder.state_dict())
    build = {
        "module": crops.__name__,
        "name": "CropEncoder",
        "arguments": {"latent": dimensions, "bands": ali.crop.bands},
        "method": "encode",
    }
    saving.log(task, network, build, scaled, "mel")
    saving.log(task, network, {**build, "method": "encode_crops"}, scaled, "mel", "crops")
    print(f"{task.label}: {len(curves)} epochs, {int(curves['update'].iloc[-1])} updates")


def _write_samples(task: Task, learner: AliLearner, params: Params, fixed_z: np.ndarray) -> None:
    """Write samples.npz: validation clips and their reconstructions, generated crops and a walk."""
    in_db = _decibels(params)
    validation = task.rows("validation")
    rows = validation[np.linspace(0, len(validation) - 1, EXAMPLES).round().astype(int)]
    samples = {
        "originals": in_db(learner.originals(rows)),
        "reconstructions": in_db(learner.reconstruct(rows)),
        "generated": in_db(learner.generate(fixed_z[:EXAMPLES])),
        "walk": in_db(learner.generate(np.repeat(latent.WALK[:, None], fixed_z.shape[1], axis=1))),
        "steps": latent.WALK,
    }
    np.savez_compressed(task.folder / "samples.npz", allow_pickle=False, rows=rows, **samples)


def _test_claim(task: Task, learner: AliLearner, params: Params) -> None:
    """Test the paper's claim about the latent space on test clips; writes latent.csv, and the values along rays."""
    in_db, test = _decibels(params), task.rows("test")
    works = (task.clips["composer"].astype(str) + " / " + task.clips["work"].astype(str)).to_numpy()[test]
    rows, values = latent.measure_claim(
        lambda z: in_db(learner.generate(z)),
        learner.encode(test),
        in_db(learner.originals(test)),
        works,
        task.fold.seed,
    )
    write_table(task.folder / "latent.csv", pd.DataFrame(rows))
    write_table(task.folder / "rays.csv", pd.DataFrame(values["generated along rays"]))
    names = {f"rho_{METRIC_SOURCES[row['source']]}_{row['measure']}": row["rho"] for row in rows}
    task.run.log_metrics({name: rho for name, rho in names.items() if np.isfinite(rho)})


def _decibels(params: Params) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from crops in [0, 1] to crops in dB."""
    return lambda values: (values - 1.0) * params.features.dynamic_range_db


def _train_encoder(task: Task, array: np.ndarray, params: Params, dimensions: int) -> None:
    encoder, crop, seed = params.ali.encoder, params.ali.crop, task.fold.seed
    validation, all_rows = task.rows("validation"), np.arange(len(array))
    scaled = scaling.unit("mel", array.shape[1], params.features.dynamic_range_db)
    source = Source(array, scaled, loop.device())
    learner = EncoderLearner(source, task.codes, dimensions, len(task.composers), encoder, crop, seed)
    schedule = loop.Schedule(encoder.epochs, encoder.batch, seed)
    curves = task.fit(learner, schedule, lambda epoch: learner.losses(validation))
    write_array(task.folder / "probabilities.npy", learner.probabilities(all_rows))
    for name, probabilities in learner.readouts(all_rows).items():
        write_array(task.folder / f"probabilities-{name}.npy", probabilities)
    build = {
        "module": crops.__name__,
        "name": "EncoderClassifier",
        "arguments": {"latent": dimensions, "bands": crop.bands, "composers": len(task.composers)},
        "method": "probabilities",
    }
    saving.log(task, learner.network, build, scaled, "mel")
    saving.log(task, learner.network, {**build, "method": "probabilities_crops"}, scaled, "mel", "crops")
    print(f"{task.label}: validation accuracy {curves['validation_accuracy'].iloc[-1]:.1%}")
