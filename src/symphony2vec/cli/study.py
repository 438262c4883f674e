"""The commands `symphony2vec study ...`: search hyper-parameters, and take what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from symphony2vec.cli import lazy

if TYPE_CHECKING:
    from symphony2vec.params import Params
    from symphony2vec.project import Project
    from symphony2vec.study.database import Database

STORAGE = click.option(
    "--storage",
    envvar="OPTUNA_STORAGE",
    help="Where trials are kept: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME for several machines. "
    "Also read from OPTUNA_STORAGE. [default: mlruns/optuna.db of the project]",
)
NAME = click.option("--name", default="ali", show_default=True, help="The study's name in its database.")
SEARCH = (
    click.option("--trials", type=click.IntRange(min=1), help="Trials in all. [default: study.trials of params.yaml]"),
    click.option("--timeout", type=click.FloatRange(min=0.0), help="Begin no trial after so many seconds."),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Processes; more than one have one thread each.",
    ),
    STORAGE,
)


@click.group("study")
def study() -> None:
    """Search hyper-parameters on validation works, and write the winner into params.yaml.

    The spaces, the length of a trial and the number of repeats are the section `study` of params.yaml.

    \b
    Search, repeat the best, name a winner     symphony2vec study ali
    See what would be written, then do it      symphony2vec study apply --dry-run; symphony2vec study apply
    Train the winner                           dvc repro
    """


def _searching(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that searches."""
    for option in reversed(SEARCH):
        command = option(command)
    return command


@study.command("ali")
@_searching
@NAME
@click.pass_obj
def ali_command(folder: Path, /, **asked: Any) -> None:
    """Search the settings of ALI by composer accuracy on validation works.

    Trials are trained on the first draw and judged on its validation clips; the best are trained again from other
    seeds, and the best mean wins. Run again, it goes on where it stopped: trials that are done count. The same command
    on several machines with one PostgreSQL URL is one study. Every trial is an MLflow run in the experiment `study`;
    figures and tables are in out/study/.
    """
    _search(folder, "ali", **asked)


@study.command("temporal")
@_searching
@click.option("--name", default="temporal", show_default=True, help="The study's name in its database.")
@click.pass_obj
def temporal_command(folder: Path, /, **asked: Any) -> None:
    """Search the settings of the temporal ALI by composer accuracy on validation works.

    As `study ali`, of which it shares everything but the space: study.temporal of params.yaml.
    """
    _search(folder, "temporal", **asked)


def _search(
    folder: Path, kind: str, trials: int | None, timeout: float | None, workers: int, storage: str | None, name: str
) -> None:
    project, params, kept = _opened(folder, storage)
    standings = lazy.study.run(project, params, kept, name, trials, timeout, workers, lazy.kinds.KINDS[kind])
    click.echo(lazy.study.told(standings, name, kept))


@study.command("apply")
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
@STORAGE
@NAME
@click.pass_obj
def apply_command(folder: Path, dry_run: bool, storage: str | None, name: str) -> None:
    """Write the winner into params.yaml and show the difference.

    It becomes the setting ali.searched, and searched-LATENT one of ali.models; the winner of a study of the temporal
    ALI (--name temporal) becomes temporal.full, and full-LATENT one of temporal.models. `dvc repro` then trains it.
    Comments and layout of the file stay. Refused while repeats of the best trials are missing.
    """
    project, params, kept = _opened(folder, storage)
    chosen = lazy.winner.chosen(project, params, kept, name)
    changes = lazy.winner.apply(project, params, chosen, dry_run)
    click.echo(changes or "params.yaml holds the winner already", nl=not changes)
    if changes:
        seeds = len(chosen.seeds)
        click.echo(f"\ntrial {chosen.number}: {chosen.mean:.1%} on validation clips in the mean over {seeds} seeds")
        click.echo("nothing was written" if dry_run else "`dvc repro` trains it")


def _opened(folder: Path, storage: str | None) -> tuple[Project, Params, Database]:
    project = lazy.project.Project.around(folder)
    return project, lazy.params.read(project.params), lazy.database.Database.of(project, storage)
