"""The commands `symphony2vec study ...`: search hyperparameters, and write the winner into params.yaml."""

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
    help="Database of the trials: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME for several machines. "
    "Also read from OPTUNA_STORAGE. [default: mlruns/optuna.db of the project]",
)
NAME = click.option("--name", default="ali", show_default=True, help="The study's name in its database.")
SEARCH = (
    click.option("--trials", type=click.IntRange(min=1), help="Trials in all. [default: study.trials of params.yaml]"),
    click.option("--timeout", type=click.FloatRange(min=0.0), help="Begin no trial after this many seconds."),
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
    """Search hyperparameters on validation works, and write the winner into params.yaml.

    The search spaces, the length of a trial and the number of repeats are in the section `study` of params.yaml.

    \b
    Search, repeat the best, name the winner   symphony2vec study ali
    Show what would be written, then write it  symphony2vec study apply --dry-run; symphony2vec study apply
    Train the winner                           dvc repro
    """


def _search_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a command that searches."""
    for option in reversed(SEARCH):
        command = option(command)
    return command


@study.command("ali")
@_search_options
@NAME
@click.pass_obj
def ali_command(folder: Path, /, **options: Any) -> None:
    """Search the settings of ALI by composer accuracy on validation works.

    Trials are trained on the first fold and scored on its validation clips; the best are trained again from further
    seeds, and the best mean wins. The same command resumes a stopped search; finished trials count. Run on several
    machines with one PostgreSQL URL, it is one study. Every trial is an MLflow run in the experiment `study`; figures
    and tables are in out/study/.
    """
    _search(folder, "ali", **options)


@study.command("temporal")
@_search_options
@click.option("--name", default="temporal", show_default=True, help="The study's name in its database.")
@click.pass_obj
def temporal_command(folder: Path, /, **options: Any) -> None:
    """Search the settings of the temporal ALI by composer accuracy on validation works.

    Works as `study ali`; the search space is study.temporal of params.yaml.
    """
    _search(folder, "temporal", **options)


def _search(
    folder: Path, kind: str, trials: int | None, timeout: float | None, workers: int, storage: str | None, name: str
) -> None:
    project, params, database = _load(folder, storage)
    ranking = lazy.study.run(project, params, database, name, trials, timeout, workers, lazy.kinds.KINDS[kind])
    click.echo(lazy.study.format_ranking(ranking, name, database))


@study.command("apply")
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
@STORAGE
@NAME
@click.pass_obj
def apply_command(folder: Path, dry_run: bool, storage: str | None, name: str) -> None:
    """Write the winner into params.yaml and show the difference.

    It becomes the setting ali.searched, and searched-LATENT in ali.models; the winner of a study of the temporal ALI
    (--name temporal) becomes temporal.full, and full-LATENT in temporal.models. `dvc repro` then trains it. Comments
    and layout of the file are kept. Refused while repeats of the best trials are missing.
    """
    project, params, database = _load(folder, storage)
    winner = lazy.winner.select_winner(params, database, name)
    changes = lazy.winner.apply_winner(project, params, winner, dry_run)
    click.echo(changes or "params.yaml already contains the winner", nl=not changes)
    if changes:
        seeds = len(winner.repeats)
        click.echo(f"\ntrial {winner.number}: {winner.mean:.1%} on validation clips, mean over {seeds} seeds")
        click.echo("nothing was written" if dry_run else "`dvc repro` trains it")


def _load(folder: Path, storage: str | None) -> tuple[Project, Params, Database]:
    project = lazy.project.Project.around(folder)
    return project, lazy.params.read(project.params), lazy.database.Database.from_url(project, storage)
