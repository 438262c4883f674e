"""The commands of the registry: which model is champion, and how it came to be."""

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

HEAD = ("", "when (UTC)", "version", "model", "accuracy (%)", "event", "by")


@click.command()
@click.argument("run", nargs=-1, required=True)
@click.option("--readout", default="", metavar="NAME", help="Another readout of the run's network, as crops of ALI.")
@click.option("--equal-ok", is_flag=True, help="A model that is not worse than the champion is good enough.")
@click.option("--dry-run", is_flag=True, help="Ask every gate, and change nothing in the registry.")
@click.pass_obj
def promote(folder: Path, run: tuple[str, ...], readout: str, equal_ok: bool, dry_run: bool) -> None:
    """Register a run's model as challenger; make it champion where three gates let it through.

    RUN is an MLflow run id (eight digits of it or more), or a model's name with or without a fold. The gates: the
    same data as the champion's; better, by the paired bootstrap over the same test works of at least three drawn
    splits; and the package still says of its example what it said when it was made.

    \b
    Examples
      symphony2vec promote vae-mel
      symphony2vec promote long-128 work-1 --readout crops
      symphony2vec promote 3f2a90c1 --dry-run
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    project = lazy.project.Project.around(folder)
    found = lazy.registry.promote(project, lazy.params.read(project.params), " ".join(run), readout, equal_ok, dry_run)
    _tell(found, dry_run)


@click.command()
@click.option("--to", "version", type=click.IntRange(1), help="A version that once was champion. [default: the last]")
@click.pass_obj
def rollback(folder: Path, version: int | None) -> None:
    """Give the alias champion back to the version that had it before.

    Going back twice undoes two promotions. `symphony2vec champions` shows who was champion when.
    """
    old, new = lazy.registry.roll_back(lazy.project.Project.around(folder), str(version or ""))
    click.echo(f"champion is version {new} again{f', in place of version {old}' if old else ''}")


@click.command()
@click.option("--csv", is_flag=True, help="Print CSV, with every figure.")
@click.pass_obj
def champions(folder: Path, csv: bool) -> None:
    """Print who was champion when, with accuracies, and who is now (*)."""
    found = lazy.registry.champions(lazy.project.Project.around(folder))
    if csv:
        click.echo(found.to_csv(index=False, lineterminator="\n"), nl=False)
    elif found.empty:
        click.echo(f"no version of '{lazy.registry.MODEL}' was ever champion; `symphony2vec promote RUN` makes one")
    else:
        click.echo("\n".join(_aligned([HEAD, *(_line(row) for row in found.to_dict("records"))])))


def _tell(found: Decision, dry_run: bool) -> None:
    """The gates as a table and what became of the candidate; a refusal is a `UserError`."""
    version = f"version {found.version}" if found.version else "not registered yet"
    if found.settled:
        click.echo(f"{found.name} ({version}) is champion already")
        return
    click.echo(f"{found.name} ({version}) against {_opponent(found)}\n")
    rows = [(one.gate, "passed" if one.passed else "refused", one.figures) for one in found.verdicts]
    click.echo("\n".join(_aligned([("gate", "verdict", "figures"), *rows])))
    refused = [f"{one.gate}: {one.figures}" for one in found.verdicts if not one.passed]
    if refused:
        stays = "would stay challenger" if dry_run else "stays challenger"
        raise UserError(f"{found.name} {stays}; {' | '.join(refused)}")
    click.echo(f"\n{found.name} {'would be' if dry_run else 'is'} champion")


def _opponent(found: Decision) -> str:
    return f"champion version {found.champion}, {found.opponent}" if found.champion else "no champion"


def _line(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    accuracy, low, high = (100.0 * row[name] for name in ("accuracy", "accuracy_low", "accuracy_high"))
    told = f"{accuracy:.1f} ({low:.1f} to {high:.1f})" if accuracy == accuracy else ""
    event = f"{row['event']}, replaced {row['replaced']}" if row["replaced"] else row["event"]
    when = row["when"][:19].replace("T", " ")
    return "*" if row["present"] else "", when, row["version"], row["model"], told, event, row["by"]


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines whose columns stand below each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
