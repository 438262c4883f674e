"""The commands `results` and `params`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from symphony2vec.cli import lazy
from symphony2vec.cli.stages import open_project
from symphony2vec.errors import UserError


@click.command("results")
@click.option(
    "--against", metavar="MODEL", help="Print the difference of MODEL to every other model, such as pca-mfcc."
)
@click.option(
    "--split",
    type=click.Choice(["work", "movement", "clip"]),
    help="With --against, the kind of split that is compared. [default: that of the first fold in params.yaml]",
)
@click.option(
    "--level",
    type=click.Choice(["clip", "movement", "work"]),
    help="With --against, whose predictions are compared. [default: clip]",
)
@click.option(
    "--counts",
    "table",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --against, the table of counts to read. [default: that of the report]",
)
@click.pass_obj
def results(folder: Path, against: str | None, split: str | None, level: str | None, table: Path | None) -> None:
    """Print the table of results, the path of the report, and how to open the MLflow UI.

    With --against, print the difference of one model to every other in percentage points, with its interval by a
    paired bootstrap over works. This needs only counts of clips: published results can be compared without their
    models.

    \b
    Examples:  symphony2vec results --against pca-mfcc
               symphony2vec results --against pca-mfcc --level work
               symphony2vec results --against "lstm-mel chunks" --counts docs/results/starter.csv
    """
    if against is not None:
        project, params = open_project(folder)
        click.echo(lazy.report.format_comparison(project, params, against, split, table, level or "clip"))
        return
    if any(value is not None for value in (split, level, table)):
        raise UserError("--split, --level and --counts need --against MODEL")
    project = lazy.project.Project.around(folder)
    click.echo(lazy.report.format_results(project))
    click.echo(f"\nreport      {project.out('report', 'index.html')}")
    address = shlex.quote(lazy.tracking.redact(lazy.tracking.tracking_uri(project)))
    command = f"mlflow ui --backend-store-uri {address}"
    has_makefile = (project.root / "Makefile").is_file()
    click.echo(f"MLflow UI   {f'make ui      ({command})' if has_makefile else command}")


@click.command("params")
@click.pass_obj
def params(folder: Path) -> None:
    """Check params.yaml: every key, type and bound. Print what is wrong, or that it is valid."""
    project, _ = open_project(folder)
    click.echo(f"{project.params} is valid")
