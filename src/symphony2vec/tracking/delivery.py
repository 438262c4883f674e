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
class PendingRun:
    """The queued calls of one run.

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
        pending: the queued calls.
        state: sent;
            busy: the run is still training, or another process is sending its calls;
            unreachable: the server does not answer;
            unrecorded: calls were sent, but that could not be recorded, so they will be sent again;
            other_server: the calls are for another server;
            rejected: by the server, or because the folder is damaged.
        run_id: MLflow's run ID if the state is "sent", otherwise "".
        reason: what went wrong; "" if the state is "sent".
    """

    pending: PendingRun
    state: Literal["sent", "busy", "unreachable", "unrecorded", "other_server", "rejected"]
    run_id: str = ""
    reason: str = ""


def list_pending_runs(project: Project) -> list[PendingRun]:
    """Return the runs with queued calls, the oldest first."""
    pending_runs = [pending_run for outbox in outboxes(project) if (pending_run := _describe(outbox))]
    return sorted(pending_runs, key=lambda pending_run: pending_run.since_ms)


def send_queued_calls(project: Project) -> list[Delivery]:
    """Send all queued calls that no other process is sending, the oldest first, until one fails."""
    outcomes: list[Delivery] = []
    obstacle: Delivery | None = None
    for pending_run in list_pending_runs(project):
        if obstacle:
            outcomes.append(replace(obstacle, pending=pending_run))
        elif outcome := _deliver(project, pending_run):
            outcomes.append(outcome)
            obstacle = outcome if outcome.state in ("unreachable", "unrecorded") else None
    return outcomes


def print_notice(line: str) -> None:
    """Print one line on stderr, above a progress bar if there is one."""
    tqdm.write(f"symphony2vec: {line}", file=sys.stderr)


def _deliver(project: Project, pending_run: PendingRun) -> Delivery | None:
    """Send the calls of one outbox; return None if another process has sent them in the meantime."""
    outbox = Outbox(project, pending_run.name)
    if pending_run.error:
        return Delivery(pending_run, "rejected", reason=pending_run.error)
    if not outbox.acquire(timeout_s=0):
        reason = "the run is still training, or another process is sending its calls; try again later"
        return Delivery(pending_run, "busy", reason=reason)
    try:
        if outbox.is_empty():
            return None
        if pending_run.server != server.server_name():
            return Delivery(pending_run, "other_server", reason=_explain_other_server(pending_run.server))
        return Delivery(pending_run, "sent", outbox.deliver())
    except server.ServerUnavailableError as error:
        address = server.redact(server.tracking_uri(project))
        return Delivery(pending_run, "unreachable", reason=f"MLflow at {address} does not answer ({error})")
    except QueueUnavailableError as error:
        return Delivery(pending_run, "unrecorded", reason=str(error))
    except UserError as error:
        reason = f"{error}; to discard the queued calls, delete {pending_run.folder}"
        return Delivery(pending_run, "rejected", reason=reason)
    finally:
        outbox.release()


def _explain_other_server(name: str) -> str:
    variable = server.TRACKING_URI_VARIABLE
    if name:
        password = " with its password" if server.REDACTED in name else ""
        return f"its calls are for {name}; set {variable} to that address{password} and send again"
    return f"its calls are for the project's own database; unset {variable} and send again"


def _describe(outbox: Outbox) -> PendingRun | None:
    """Return the queued calls of an outbox; None if there are none. If it is damaged, `error` says so."""
    try:
        if outbox.is_empty():
            return None
        header = outbox.header
        since_ms = int(header["since_ms"])
        calls = outbox.count_queued_calls()
        return PendingRun(outbox.name, header["label"], calls, since_ms, header["server"], outbox.folder)
    except UserError as error:
        if outbox.folder.exists():
            return PendingRun(outbox.name, outbox.name, 0, 0, server.server_name(), outbox.folder, str(error))
        return None
