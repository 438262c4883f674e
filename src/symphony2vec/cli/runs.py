"""`symphony2vec runs`: what could not be told to MLflow in time, and where MLflow looks for artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from symphony2vec.cli import lazy
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    from symphony2vec.tracking import Pending


@click.group("runs")
def runs() -> None:
    """What MLflow has not heard of yet because its server did not answer, and where it looks for artifacts.

    While the server does not answer, a training goes on and what it logs is kept in mlruns/outbox/. A later run sends
    it; so does `symphony2vec runs send`.
    """


@runs.command("pending")
@click.pass_obj
def pending_command(folder: Path) -> None:
    """List what waits to be sent: the run, how many calls, since when, and for which server."""
    waiting = lazy.tracking.pending(lazy.project.Project.around(folder))
    for line in _listed(waiting):
        click.echo(line)
    if not waiting:
        click.echo("nothing waits: MLflow has all that was logged")


@runs.command("send")
@click.pass_obj
def send_command(folder: Path) -> None:
    """Send what waits to the MLflow server, the oldest run first.

    Interrupted, it goes on where it stopped when it is called again. What the server refuses stays, with the reason.
    """
    outcomes = lazy.tracking.send(lazy.project.Project.around(folder))
    for outcome in outcomes:
        told = f"sent, {_calls(outcome.pending)}, as run {outcome.run_id}" if outcome.run_id else outcome.left
        click.echo(f"{outcome.pending.label} ({outcome.pending.name}): {told}")
    left = [outcome for outcome in outcomes if outcome.state not in ("sent", "busy")]
    if left:
        raise UserError(f"{len(left)} of {len(outcomes)} runs were not sent: {left[0].left}")
    if not outcomes:
        click.echo("nothing waits: MLflow has all that was logged")


@runs.command("settle")
@click.pass_obj
def settle_command(folder: Path) -> None:
    """Correct where MLflow looks for artifacts, in a project that was moved or copied; print the address of its runs.

    Commands that write do the same. MLflow's own programs do not: `make ui` calls this first.

    \b
    Example:  MLFLOW_TRACKING_URI=$(symphony2vec runs settle) mlflow models serve -m models:/symphony2vec@champion
    """
    project = lazy.project.Project.around(folder)
    with lazy.tracking.client(project):
        click.echo(lazy.tracking.uri(project))


def _calls(about: Pending) -> str:
    return f"{about.calls} call{'' if about.calls == 1 else 's'}"


def _listed(waiting: Sequence[Pending]) -> list[str]:
    lines = []
    for about in waiting:
        if about.fault:
            lines.append(f"{about.label}: {about.fault}")
            continue
        since = datetime.fromtimestamp(about.since_ms / 1e3, UTC)
        meant = about.server or "mlruns/mlflow.db"
        lines.append(
            f"{about.label:24}  {_calls(about):>10}  since {since:%Y-%m-%d %H:%M} UTC  for {meant}  ({about.name})"
        )
    return lines
