"""Sending the queued calls of a project's outboxes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.tracking import server
from symphony2vec.tracking.outbox import Outbox, outboxes


@dataclass(frozen=True)
class Pending:
    """The queued calls of one run.

    Attributes:
        name: the run's id, or a local one.
        label: as "vae-mel work-0".
        calls: how many are queued.
        since_ms: when the first was queued.
        server: the server they are meant for; "" is the project's own database.
        folder: where they are stored.
        fault: what is wrong with the folder, if it is damaged.
    """

    name: str
    label: str
    calls: int
    since_ms: int
    server: str
    folder: Path
    fault: str = ""


@dataclass(frozen=True)
class Delivery:
    """The outcome of sending one run's calls.

    Attributes:
        pending: what was to be sent.
        state: sent; busy (its training goes on, or another process sends it); silent (the server does not answer);
            elsewhere (it is meant for another server); refused (by the server).
        run_id: the run's id on the server, if it was sent.
        reason: why it was not sent.
    """

    pending: Pending
    state: str
    run_id: str = ""
    reason: str = ""


def pending(project: Project) -> list[Pending]:
    """Return the runs with queued calls, the oldest first."""
    pending_runs = [pending_run for outbox in outboxes(project) if (pending_run := _describe(outbox))]
    return sorted(pending_runs, key=lambda pending_run: pending_run.since_ms)


def send(project: Project) -> list[Delivery]:
    """Send all queued calls that no other process is sending, the oldest first, until the server is silent."""
    outcomes: list[Delivery] = []
    no_answer = ""
    for pending_run in pending(project):
        if no_answer:
            outcomes.append(Delivery(pending_run, "silent", reason=no_answer))
        elif outcome := _deliver(project, pending_run):
            outcomes.append(outcome)
            no_answer = outcome.reason if outcome.state == "silent" else ""
    return outcomes


def notify(line: str) -> None:
    """Print one line on stderr, above a progress bar if there is one."""
    tqdm.write(f"symphony2vec: {line}", file=sys.stderr)


def _deliver(project: Project, pending_run: Pending) -> Delivery | None:
    """Send one outbox; None if another process has done so meanwhile."""
    outbox = Outbox(project, pending_run.name)
    if pending_run.fault:
        return Delivery(pending_run, "refused", reason=pending_run.fault)
    if not outbox.acquire(timeout_s=0):
        return Delivery(pending_run, "busy", reason="its training goes on, or another process sends it")
    try:
        if outbox.is_empty():
            return None
        if pending_run.server != server.server_name():
            meant = pending_run.server or "the project's own database"
            return Delivery(
                pending_run, "elsewhere", reason=f"it is meant for {meant}; set or unset {server.URI} for that"
            )
        return Delivery(pending_run, "sent", outbox.deliver())
    except server.NoAnswer as fault:
        address = server.redact(server.uri(project))
        return Delivery(pending_run, "silent", reason=f"MLflow at {address} does not answer ({fault})")
    except UserError as fault:
        return Delivery(pending_run, "refused", reason=f"{fault}; to discard it, remove {pending_run.folder}")
    finally:
        outbox.release()


def _describe(outbox: Outbox) -> Pending | None:
    """The queued calls of an outbox; None if it is empty or was sent meanwhile. A damaged one stops no other."""
    try:
        if outbox.is_empty():
            return None
        header = outbox.header
        since_ms = int(header["since_ms"])
        return Pending(outbox.name, header["label"], outbox.waiting_calls(), since_ms, header["server"], outbox.folder)
    except UserError as fault:
        if outbox.folder.exists():
            return Pending(outbox.name, outbox.name, 0, 0, server.server_name(), outbox.folder, str(fault))
        return None
