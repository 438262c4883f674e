"""The command line: one command a stage, and a few for people.

Nothing heavy is imported before a command runs, so that `--help` answers at once. A `UserError` is one line on stderr
and exit status 1; an interrupt is one line and status 130.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from symphony2vec import __version__
from symphony2vec.cli import lazy
from symphony2vec.cli.atlas import atlas
from symphony2vec.cli.backend import backend_option
from symphony2vec.cli.corpus import corpus
from symphony2vec.cli.embed import classify, embed, similar
from symphony2vec.cli.registry import champions, promote, rollback
from symphony2vec.cli.runs import runs
from symphony2vec.cli.serve import serve
from symphony2vec.cli.study import study
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    from symphony2vec.params import Params
    from symphony2vec.project import Project


REPRESENTATIONS = ("mel", "mfcc", "chroma")


class Sections(click.Group):
    """A group whose help lists the stages in the order in which they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were added."""
        return list(self.commands)


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The project's folder, or one inside it. [default: the current folder]",
)
@click.version_option(__version__, prog_name="symphony2vec")
@click.pass_context
def cli(ctx: click.Context, project: Path) -> None:
    """Embeddings of orchestral audio: from scores or recordings to a probed vector for every ten seconds.

    `dvc repro` runs all stages that a change touches, in their order; each command below runs one of them alone.
    Settings are in params.yaml, music in data/, everything made in out/, model runs in mlruns/.

    \b
    Begin with the starter corpus      symphony2vec corpus starter && dvc repro
    Bring your own recordings          symphony2vec corpus import FOLDER
    See the results                    symphony2vec results
    """
    ctx.obj = project


cli.add_command(corpus)


@cli.command("audio")
@backend_option
@click.pass_obj
def audio_command(folder: Path, backend: str | None) -> None:
    """Stage 1: decode recordings and play scores, to mono FLACs of equal loudness.

    Reads the catalogue of data/<corpus.name>/, writes out/audio/. A file that cannot be used is listed with its reason
    in out/audio/rejected.csv, and the rest goes on. Run again after an interruption, it goes on where it stopped.
    """
    lazy.audio.run(*_opened(folder), backend)


@cli.command("clips")
@click.pass_obj
def clips_command(folder: Path) -> None:
    """Stage 2: cut movements into clips and split them by whole works.

    Reads out/audio/movements.csv, writes out/clips/: the clips, the class balance (Table 1), how each composer was
    split.
    """
    lazy.clips.run(*_opened(folder))


@cli.command("features")
@backend_option
@click.pass_obj
def features_command(folder: Path, backend: str | None) -> None:
    """Stage 3: mel spectrogram, MFCC and chroma of every clip.

    Reads out/audio/ and out/clips/, writes out/features/: three memory-mapped arrays. Run again after an
    interruption, it goes on where it stopped.
    """
    lazy.features.run(*_opened(folder), backend)


@cli.command("labels")
@backend_option
@click.pass_obj
def labels_command(folder: Path, backend: str | None) -> None:
    """Beside stage 3: what is known exactly of every clip, from its score and from its sound.

    Reads out/audio/, out/clips/ and the scores of data/<corpus.name>/, writes out/labels/: loudness, brightness,
    density, pitch classes, key, instruments. A recording has no score, so its cells of these are empty. Run again after
    an interruption, it goes on where it stopped.
    """
    lazy.labels.run(*_opened(folder), backend)


@cli.command("classifiers")
@click.argument("model", type=click.Choice(["ff", "cnn", "fair_cnn", "lstm"]))
@click.argument("representation", type=click.Choice([*REPRESENTATIONS, "crop"]))
@click.pass_obj
def classifiers_command(folder: Path, model: str, representation: str) -> None:
    """Stage 4: train a supervised network on the training clips of every fold (Table 3).

    Reads out/features/, writes out/classifiers/MODEL-REPRESENTATION/, one MLflow run a fold. `ff crop` is the
    feed-forward net on the 32x32 crop that ALI hears. Run again after an interruption, it goes on where it stopped.
    """
    lazy.classifiers.run(*_opened(folder), model, representation)


@cli.command("embeddings")
@click.argument("model", type=click.Choice(["pca", "ae", "cae", "vae"]))
@click.argument("representation", type=click.Choice(REPRESENTATIONS))
@click.pass_obj
def embeddings_command(folder: Path, model: str, representation: str) -> None:
    """Stage 5: fit a baseline embedding on the training clips of every fold and embed every clip (Table 4).

    Reads out/features/, writes out/embeddings/MODEL-REPRESENTATION/, one MLflow run a fold. Run again after an
    interruption, it goes on where it stopped.
    """
    lazy.embeddings.run(*_opened(folder), model, representation)


@cli.command("ali")
@click.argument("model")
@click.pass_obj
def ali_command(folder: Path, model: str) -> None:
    """Stage 6: train ALI, or its encoder as a classifier, on 32x32 crops (Tables 5 to 7).

    MODEL is a setting of params.yaml and a latent size, as paper-128. Reads out/features/mel.npy, writes
    out/ali/MODEL/, one MLflow run a fold. Run again after an interruption, it goes on where it stopped.
    """
    lazy.ali.run(*_opened(folder), model)


@cli.command("temporal")
@click.argument("model")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Spread each training over so many processes of this machine. [default: one for every GPU; 1 without]",
)
@click.pass_obj
def temporal_command(folder: Path, model: str, processes: int | None) -> None:
    """Stage 7: train an ALI that hears all ten seconds, or one of its parts, on every fold.

    MODEL is full or a part of params.yaml (temporal.parts) and a latent size, as full-40. Reads out/features/mel.npy,
    writes out/temporal/MODEL/, one MLflow run a fold. Run again after an interruption, it goes on where it stopped.
    """
    lazy.temporal.run(*_opened(folder), model, processes)


@cli.command("probe")
@click.argument("stage", type=click.Choice(["classifiers", "embeddings", "ali", "temporal"]), required=False)
@click.argument("model", required=False)
@click.pass_obj
def probe_command(folder: Path, stage: str | None, model: str | None) -> None:
    """Stage 8: name the composer from the vectors of every model, or of one, with an interval over works.

    Reads what the model stages wrote, writes out/probe/, and adds what it finds to the models' MLflow runs. What is
    scored already is kept.

    \b
    Example:  symphony2vec probe embeddings pca-mel
    """
    lazy.probe.run(*_opened(folder), stage, model)


@cli.command("meaning")
@click.argument("stage", type=click.Choice(["embeddings", "ali", "temporal"]), required=False)
@click.argument("model", required=False)
@click.pass_obj
def meaning_command(folder: Path, stage: str | None, model: str | None) -> None:
    """Stage 9: what the vectors of every model, or of one, know of loudness, notes, instruments and keys; retrieval.

    Reads out/labels/ and what the model stages wrote, writes out/meaning/, and adds what it finds to the models' MLflow
    runs. What is asked already is kept. The tables over all models are written when none is named.

    \b
    Example:  symphony2vec meaning embeddings pca-mel
    """
    lazy.meaning.run(*_opened(folder), stage, model)


@cli.command("report")
@click.pass_obj
def report_command(folder: Path) -> None:
    """Stage 10: every table and figure on one page, out/report/index.html."""
    lazy.report.run(*_opened(folder))


@cli.command("results")
@click.option("--against", metavar="ROW", help="Print how far ROW lies above every other row instead, as pca-mfcc.")
@click.option(
    "--split",
    type=click.Choice(["work", "movement", "clip"]),
    help="With --against, the kind of split that counts. [default: the first of clips.splits]",
)
@click.option(
    "--counts",
    "table",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --against, the table of counts that is read. [default: that of the report]",
)
@click.pass_obj
def results_command(folder: Path, against: str | None, split: str | None, table: Path | None) -> None:
    """Print the table of results, where the report lies, and how to open the MLflow UI.

    With --against, one row beside every other: the difference in points, and its interval by a paired bootstrap over
    works. It needs the counts of clips alone, so that published figures can be compared without their models.

    \b
    Examples:  symphony2vec results --against pca-mfcc
               symphony2vec results --against "lstm-mel chunks" --counts docs/results/starter.csv
    """
    if against is not None:
        project, params = _opened(folder)
        click.echo(lazy.report.compared(project, params, against, split, table))
        return
    if split is not None or table is not None:
        raise UserError("--split and --counts go with --against ROW")
    project = lazy.project.Project.around(folder)
    click.echo(lazy.report.printed(project))
    click.echo(f"\nreport      {project.out('report', 'index.html')}")
    address = shlex.quote(lazy.tracking.shown(lazy.tracking.uri(project)))
    click.echo(f"MLflow UI   make ui      (mlflow ui --backend-store-uri {address})")


for command in (promote, rollback, champions, embed, similar, classify, serve):
    cli.add_command(command)


@cli.command("params")
@click.pass_obj
def params_command(folder: Path) -> None:
    """Check params.yaml: every key, type and bound. Prints what is wrong, or that all is well."""
    project, _ = _opened(folder)
    click.echo(f"{project.params}: all keys are known, and their values of the right type")


cli.add_command(atlas)
cli.add_command(runs)
cli.add_command(study)


def main() -> None:
    """The entry point of the command `symphony2vec`."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = cli.main(prog_name="symphony2vec", standalone_mode=False)
    except click.ClickException as fault:
        fault.show()
        status = fault.exit_code
    except (UserError, MemoryError) as fault:
        status = _say(f"{fault or 'out of memory'}", 1)
    except OSError as fault:
        if isinstance(fault, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        status = _say(f"{fault.filename or 'the system'}: {fault.strerror or fault}", 1)
    except (KeyboardInterrupt, click.Abort):
        status = _say("interrupted; run the same command again to go on", 130)
    sys.exit(status if isinstance(status, int) else 0)


def _opened(folder: Path) -> tuple[Project, Params]:
    project = lazy.project.Project.around(folder)
    return project, lazy.params.read(project.params)


def _say(text: str, status: int) -> int:
    click.echo(f"symphony2vec: {' '.join(text.split())}", err=True)
    return status


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
