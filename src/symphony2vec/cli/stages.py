"""One command for each stage of the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from symphony2vec.cli import lazy
from symphony2vec.cli.backend import backend_option

if TYPE_CHECKING:
    from symphony2vec.params import Params
    from symphony2vec.project import Project

REPRESENTATIONS = ("mel", "mfcc", "chroma")
fold_option = click.option(
    "--fold", metavar="NAME", help="One fold, such as work-0. [default: every fold of params.yaml]"
)


@click.command("audio")
@backend_option
@click.pass_obj
def audio(folder: Path, backend: str | None) -> None:
    """Stage 1: decode recordings and render scores, to mono FLACs of equal loudness.

    Reads the catalogue of data/<corpus.name>/, writes out/audio/. A file that cannot be used is listed with the reason
    in out/audio/rejected.csv, and the others are still processed. After an interruption, the next call continues where
    it stopped.
    """
    lazy.audio.run(*open_project(folder), backend)


@click.command("clips")
@click.pass_obj
def clips(folder: Path) -> None:
    """Stage 2: cut movements into clips and split them by whole works.

    Reads out/audio/movements.csv, writes out/clips/: the clips, the class balance (Table 1), the split of each
    composer.
    """
    lazy.clips.run(*open_project(folder))


@click.command("features")
@backend_option
@click.pass_obj
def features(folder: Path, backend: str | None) -> None:
    """Stage 3: compute the mel spectrogram, MFCC and chroma of every clip.

    Reads out/audio/ and out/clips/, writes out/features/: three memory-mapped arrays. After an interruption, the next
    call continues where it stopped.
    """
    lazy.features.run(*open_project(folder), backend)


@click.command("labels")
@backend_option
@click.pass_obj
def labels(folder: Path, backend: str | None) -> None:
    """Beside stage 3: extract the known properties of every clip from its score and its audio.

    Reads out/audio/, out/clips/ and the scores of data/<corpus.name>/, writes out/labels/: loudness, brightness, note
    density, pitch classes, key, instruments. A recording has no score: its cells of these are empty. After an
    interruption, the next call continues where it stopped.
    """
    lazy.labels.run(*open_project(folder), backend)


@click.command("classifiers")
@click.argument("model", type=click.Choice(["ff", "cnn", "fair_cnn", "lstm"]))
@click.argument("representation", type=click.Choice([*REPRESENTATIONS, "crop"]))
@fold_option
@click.pass_obj
def classifiers(folder: Path, model: str, representation: str, fold: str | None) -> None:
    """Stage 4: train a supervised network on the training clips of every fold (Table 3).

    Reads out/features/, writes out/classifiers/FOLD/MODEL-REPRESENTATION/, one MLflow run a fold. `ff crop` is the
    feed-forward network on the 32x32 crop that ALI takes. An interrupted training continues in the next call. `dvc
    repro` trains only what is not up to date.
    """
    lazy.classifiers.run(*open_project(folder), model, representation, fold)


@click.command("embeddings")
@click.argument("model", type=click.Choice(["pca", "ae", "cae", "vae"]))
@click.argument("representation", type=click.Choice(REPRESENTATIONS))
@fold_option
@click.pass_obj
def embeddings(folder: Path, model: str, representation: str, fold: str | None) -> None:
    """Stage 5: fit a baseline embedding on the training clips of every fold and embed every clip (Table 4).

    Reads out/features/, writes out/embeddings/FOLD/MODEL-REPRESENTATION/, one MLflow run a fold. An interrupted
    training continues in the next call. `dvc repro` trains only what is not up to date.
    """
    lazy.embeddings.run(*open_project(folder), model, representation, fold)


@click.command("ali")
@click.argument("model")
@fold_option
@click.pass_obj
def ali(folder: Path, model: str, fold: str | None) -> None:
    """Stage 6: train ALI, or its encoder as a classifier, on 32x32 crops (Tables 5 to 7).

    MODEL is a setting of params.yaml and a latent size, such as paper-128. Reads out/features/mel.npy, writes
    out/ali/FOLD/MODEL/, one MLflow run a fold. An interrupted training continues in the next call. `dvc repro`
    trains only what is not up to date.
    """
    lazy.ali.run(*open_project(folder), model, fold)


@click.command("temporal")
@click.argument("model")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Spread each training over this many processes. [default: one for every GPU; 1 without]",
)
@fold_option
@click.pass_obj
def temporal(folder: Path, model: str, processes: int | None, fold: str | None) -> None:
    """Stage 7: train the temporal ALI, which takes whole clips, or an ablation of it, on every fold.

    MODEL is full or an ablation of params.yaml (temporal.ablations) and a latent size, such as full-40. Reads
    out/features/mel.npy, writes out/temporal/FOLD/MODEL/, one MLflow run a fold. An interrupted training continues
    in the next call. `dvc repro` trains only what is not up to date.
    """
    lazy.temporal.run(*open_project(folder), model, processes, fold)


@click.command("pretrained")
@click.argument("model", required=False)
@fold_option
@click.pass_obj
def pretrained(folder: Path, model: str | None, fold: str | None) -> None:
    """Beside stage 7: embed every clip by a model that is installed with symphony2vec, such as symphony2vec-base.

    Without MODEL by those that params.yaml lists. Nothing is trained: the model is evaluated beside those of this
    project. Reads out/audio/, writes out/pretrained/FOLD/MODEL/, one MLflow run a fold. training_works.csv there lists
    the works that the model was trained on.
    """
    lazy.pretrained.run(*open_project(folder), model, fold)


@click.command("probe")
@click.argument(
    "stage", type=click.Choice(["classifiers", "embeddings", "ali", "temporal", "pretrained"]), required=False
)
@click.argument("model", required=False)
@fold_option
@click.pass_obj
def probe(folder: Path, stage: str | None, model: str | None, fold: str | None) -> None:
    """Stage 8: predict the composer from the vectors of every model, or of one, with an interval over works.

    Reads what the model stages wrote, writes out/probe/FOLD/, and adds the scores to the models' MLflow runs.

    \b
    Example:  symphony2vec probe embeddings pca-mel
    """
    lazy.probe.run(*open_project(folder), stage, model, fold)


@click.command("meaning")
@click.argument("stage", type=click.Choice(["embeddings", "ali", "temporal", "pretrained"]), required=False)
@click.argument("model", required=False)
@fold_option
@click.pass_obj
def meaning(folder: Path, stage: str | None, model: str | None, fold: str | None) -> None:
    """Stage 9: measure what the vectors encode: loudness, notes, instruments, keys; and retrieval.

    Reads out/labels/ and what the model stages wrote, writes out/meaning/FOLD/, and adds the results to the models'
    MLflow runs.

    \b
    Example:  symphony2vec meaning embeddings pca-mel
    """
    lazy.meaning.run(*open_project(folder), stage, model, fold)


@click.command("report")
@click.pass_obj
def report(folder: Path) -> None:
    """Stage 10: write every table and figure on one page, out/report/index.html."""
    lazy.report.run(*open_project(folder))


def open_project(folder: Path) -> tuple[Project, Params]:
    """Return the project around a folder and its parameters."""
    project = lazy.project.Project.around(folder)
    return project, lazy.params.read(project.params)
