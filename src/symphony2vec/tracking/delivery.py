"""Sending the queued calls of a project's outboxes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.tracking import server
from symphony2vec.tracking.outbox import Outbox, QueueUnavailableError, outboxes


@dataclass(frozen=True)
class QueueSummary:
    """Summary of the queued calls of one run.

    Attributes:
        name: name of the queue's folder, see `tracking.outbox`.
        label: display name, such as "vae-mel work-0".
        calls: how many are queued.
        since_ms: when the first was queued, in milliseconds since 1970.
        server: the server that they are for; "" is the project's own database.
        folder: where they are stored.
        error: what is wrong with the folder, if it is damaged.
    """

    name: str
    label: str
    calls: int
    since_ms: int
    server: str
    folder: Path
    error: str = ""


@dataclass(frozen=True)
class Delivery:
    """The outcome of sending one run's calls.

    Attributes:
        pending: the run and its queued calls.
        state: sent;
            busy: the run is still training, or another process is sending its calls;
            unreachable: the server does not answer;
            unrecorded: calls were sent, but that could not be recorded, so they will be sent again;
            other_server: the calls are for another server;
            rejected: by the server, or because the folder is damaged.
            After "unreachable" or "unrecorded" the remaining runs are not tried and get the same state and reason.
        run_id: MLflow's run ID if the state is "sent", otherwise "".
        reason: what went wrong; "" if the state is "sent".
    """

    pending: QueueSummary
    state: Literal["sent", "busy", "unreachable", "unrecorded", "other_server", "rejected"]
    run_id: str = ""
    reason: str = ""


def list_pending_runs(project: Project) -> list[QueueSummary]:
    """Return the runs with queued calls, the oldest first."""
    summaries = [summary for outbox in outboxes(project) if (summary := _summarize(outbox))]
    return sorted(summaries, key=lambda summary: summary.since_ms)


def send_queued_calls(project: Project) -> list[Delivery]:
    """Send all queued calls that no other process is sending, those of the oldest run first.

    It stops as soon as the server does not answer, or calls cannot be recorded as sent. If the calls of a run are
    rejected or belong to another server, it continues with the next run.
    """
    outcomes: list[Delivery] = []
    obstacle: Delivery | None = None
    for summary in list_pending_runs(project):
        if obstacle:
            outcomes.append(replace(obstacle, pending=summary))
        elif outcome := _deliver(project, summary):
            outcomes.append(outcome)
            obstacle = outcome if outcome.state in ("unreachable", "unrecorded") else None
    return outcomes


def print_notice(line: str) -> None:
    """Print one line on stderr, above a progress bar if there is one."""
    tqdm.write(f"symphony2vec: {line}", file=sys.stderr)


def _deliver(project: Project, summary: QueueSummary) -> Delivery | None:
    """Send the calls of one outbox; return None if another process has sent them in the meantime."""
    outbox = Outbox(project, summary.name)
    if summary.error:
        return Delivery(summary, "rejected", reason=summary.error)
    if not outbox.acquire(timeout_s=0):
        reason = "the run is still training, or another process is sending its calls; try again later"
        return Delivery(summary, "busy", reason=reason)
    try:
        if outbox.is_empty():
            return None
        if summary.server != server.redacted_address():
            return Delivery(summary, "other_server", reason=_explain_other_server(summary.server))
        return Delivery(summary, "sent", outbox.deliver())
    except server.ServerUnavailableError as error:
        address = server.redact(server.tracking_uri(project))
        return Delivery(summary, "unreachable", reason=f"MLflow at {address} does not answer ({error})")
    except QueueUnavailableError as error:
        return Delivery(summary, "unrecorded", reason=str(error))
    except UserError as error:
        reason = f"{error}; to discard the queued calls, delete {summary.folder}"
        return Delivery(summary, "rejected", reason=reason)
    finally:
        outbox.release()


def _explain_other_server(name: str) -> str:
    variable = server.TRACKING_URI_VARIABLE
    if name:
        password = " with its password" if server.REDACTED in name else ""
        return f"its calls are for {name}; set {variable} to that address{password} and send again"
    return f"its calls are for the project's own database; unset {variable} and send again"


def _summarize(outbox: Outbox) -> QueueSummary | None:
    """Return a summary of an outbox; None if it is empty. If it is damaged, `error` says so."""
    try:
        if outbox.is_empty():
            return None
        header = outbox.header
        since_ms = int(header["since_ms"])
        calls = outbox.count_queued_calls()
        return QueueSummary(outbox.name, header["label"], calls, since_ms, header["server"], outbox.folder)
    except UserError as error:
        if outbox.folder.exists():
            return QueueSummary(outbox.name, outbox.name, 0, 0, server.redacted_address(), outbox.folder, str(error))
        return None
