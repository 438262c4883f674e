"""The commands `symphony2vec runs ...`: MLflow calls that could not be delivered, and moved projects."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from symphony2vec.cli import lazy
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    from symphony2vec.tracking import QueueSummary

NOTHING_QUEUED = "nothing is queued: MLflow has everything that was logged"


@click.group("runs")
def runs() -> None:
    """Send what MLflow could not receive, and correct its paths in a moved project.

    While the tracking server does not answer, training continues and its calls are queued in mlruns/outbox/. A later
    run sends them; so does `symphony2vec runs send`.
    """


@runs.command("pending")
@click.pass_obj
def pending_command(folder: Path) -> None:
    """List the runs with queued calls: how many, since when, and for which server."""
    pending_runs = lazy.tracking.list_pending_runs(lazy.project.Project.around(folder))
    for pending in pending_runs:
        click.echo(_describe(pending))
    if not pending_runs:
        click.echo(NOTHING_QUEUED)


@runs.command("send")
@click.pass_obj
def send_command(folder: Path) -> None:
    """Send the queued calls to the MLflow server, the oldest run first.

    After an interruption, the next call continues where it stopped. What the server rejects stays queued, with the
    reason.
    """
    deliveries = lazy.tracking.send_queued_calls(lazy.project.Project.around(folder))
    for delivery in deliveries:
        pending = delivery.pending
        outcome = f"sent, {_count_calls(pending)}, as run {delivery.run_id}" if delivery.run_id else delivery.reason
        click.echo(f"{pending.label} ({pending.name}): {outcome}")
    unsent = [delivery for delivery in deliveries if delivery.state not in ("sent", "busy")]
    if unsent:
        raise UserError(f"{len(unsent)} of {len(deliveries)} runs were not sent: {unsent[0].reason}")
    if not deliveries:
        click.echo(NOTHING_QUEUED)


@runs.command("settle")
@click.pass_obj
def settle_command(folder: Path) -> None:
    """Correct where MLflow looks for artifacts in a moved or copied project; print the tracking URI of its runs.

    Commands that write do the same. MLflow's own tools do not: `make ui` calls this first.

    \b
    Example:  MLFLOW_TRACKING_URI=$(symphony2vec runs settle) mlflow models serve -m models:/symphony2vec@champion
    """
    project = lazy.project.Project.around(folder)
    with lazy.tracking.client(project):
        click.echo(lazy.tracking.tracking_uri(project))


def _count_calls(pending: QueueSummary) -> str:
    return f"{pending.calls} call{'' if pending.calls == 1 else 's'}"


def _describe(pending: QueueSummary) -> str:
    if pending.error:
        return f"{pending.label}: {pending.error}"
    since = f"{datetime.fromtimestamp(pending.since_ms / 1e3, UTC):%Y-%m-%d %H:%M} UTC"
    server = pending.server or "mlruns/mlflow.db"
    calls = f"{_count_calls(pending):>10}"
    return f"{pending.label:24}  {calls}  since {since}  for {server}  ({pending.name})"
