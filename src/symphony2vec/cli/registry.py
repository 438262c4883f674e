"""The commands of the model registry: promote, rollback, champions."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from symphony2vec.cli import lazy
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    from symphony2vec.registry import Decision

HEADING = ("", "when (UTC)", "version", "model", "accuracy (%)", "event", "by")


@click.command()
@click.argument("run", nargs=-1, required=True)
@click.option("--readout", default="", metavar="NAME", help="Another readout of the run's network, such as crops.")
@click.option(
    "--equal-ok",
    is_flag=True,
    help="Accept a mean accuracy at most registry.margin below the champion's, unless significantly worse.",
)
@click.option("--dry-run", is_flag=True, help="Check all gates, but change nothing in the registry.")
@click.pass_obj
def promote(folder: Path, run: tuple[str, ...], readout: str, equal_ok: bool, dry_run: bool) -> None:
    """Register a run's model as challenger, and make it champion if it passes three gates.

    RUN is an MLflow run id (or its first eight or more digits), or a model's name with or without a fold. The gates:
    evaluated on the same data as the champion; significantly better, by a paired bootstrap over the test works of at
    least three folds; and the package still returns, for its example, the vectors that it returned when it was saved.

    \b
    Examples
      symphony2vec promote vae-mel
      symphony2vec promote long-128 work-1 --readout crops
      symphony2vec promote 3f2a90c1 --dry-run
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    project = lazy.project.Project.around(folder)
    params = lazy.params.read(project.params)
    _print_decision(lazy.registry.promote(project, params, " ".join(run), readout, equal_ok, dry_run), dry_run)


@click.command()
@click.option("--to", "version", type=click.IntRange(1), help="A former champion. [default: the last]")
@click.pass_obj
def rollback(folder: Path, version: int | None) -> None:
    """Restore the alias champion to the version that had it before.

    Two rollbacks undo two promotions. `symphony2vec champions` shows the history.
    """
    old, new = lazy.registry.roll_back(lazy.project.Project.around(folder), str(version or ""))
    click.echo(f"version {new} is champion again{f' and replaces version {old}' if old else ''}")


@click.command()
@click.option("--csv", is_flag=True, help="Print CSV, with all values.")
@click.pass_obj
def champions(folder: Path, csv: bool) -> None:
    """Print the history of champions with their accuracies; * marks the current one."""
    history = lazy.registry.champions(lazy.project.Project.around(folder))
    if csv:
        click.echo(history.to_csv(index=False, lineterminator="\n"), nl=False)
    elif history.empty:
        click.echo(f"no version of '{lazy.registry.MODEL}' was ever champion; `symphony2vec promote RUN` makes one")
    else:
        click.echo("\n".join(_align([HEADING, *(_history_row(row) for row in history.to_dict("records"))])))


def _print_decision(decision: Decision, dry_run: bool) -> None:
    """Print the gates as a table and the outcome; raises `UserError` if a gate refused."""
    version = f"version {decision.version}" if decision.version else "not registered yet"
    if decision.is_champion_already:
        click.echo(f"{decision.name} ({version}) is champion already")
        return
    champion = f"champion version {decision.champion}, {decision.champion_name}" if decision.champion else "no champion"
    click.echo(f"{decision.name} ({version}) against {champion}\n")
    rows = [(verdict.gate, "passed" if verdict.passed else "refused", verdict.details) for verdict in decision.verdicts]
    click.echo("\n".join(_align([("gate", "verdict", "details"), *rows])))
    refusals = [f"{verdict.gate}: {verdict.details}" for verdict in decision.verdicts if not verdict.passed]
    if refusals:
        stays = "would stay challenger" if dry_run else "stays challenger"
        raise UserError(f"{decision.name} {stays}; {' | '.join(refusals)}")
    click.echo(f"\n{decision.name} {'would be' if dry_run else 'is'} champion")


def _history_row(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    accuracy, low, high = (100.0 * row[name] for name in ("accuracy", "accuracy_low", "accuracy_high"))
    estimate = f"{accuracy:.1f} ({low:.1f} to {high:.1f})" if accuracy == accuracy else ""
    event = f"{row['event']}, replaced {row['replaced']}" if row["replaced"] else row["event"]
    when = row["when"][:19].replace("T", " ")
    return "*" if row["present"] else "", when, row["version"], row["model"], estimate, event, row["by"]


def _align(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the rows as lines with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
