"""Sending what waits in the outboxes of a project."""

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
    """What waits of one run.

    name: the run's id, or a local one; label: as "vae-mel work-0"; calls: how many wait; since_ms: of the first;
    server: which one they are meant for, "" for the project's own database; folder: where they lie; fault: what is
    wrong with it, where it is damaged.
    """

    name: str
    label: str
    calls: int
    since_ms: int
    server: str
    folder: Path
    fault: str = ""


@dataclass(frozen=True)
class Sent:
    """What became of it.

    state: sent; busy: its training goes on, or another process sends it; silent: the server does not answer; elsewhere:
    it is meant for another server; refused: by the server. run_id: the run's id on the server, where it was sent; left:
    why it was not.
    """

    pending: Pending
    state: str
    run_id: str = ""
    left: str = ""


def pending(project: Project) -> list[Pending]:
    """All that waits, the oldest first."""
    every = [about for outbox in outboxes(project) if (about := _described(outbox))]
    return sorted(every, key=lambda about: about.since_ms)


def send(project: Project) -> list[Sent]:
    """Send all that waits and nobody holds, the oldest first, until the server is silent."""
    outcomes: list[Sent] = []
    silence = ""
    for about in pending(project):
        if silence:
            outcomes.append(Sent(about, "silent", left=silence))
        elif outcome := _sent(project, about):
            outcomes.append(outcome)
            silence = outcome.left if outcome.state == "silent" else ""
    return outcomes


def say(line: str) -> None:
    """One line on stderr, above a progress bar if there is one."""

    tqdm.write(f"symphony2vec: {line}", file=sys.stderr)


def _sent(project: Project, about: Pending) -> Sent | None:
    """Send one outbox, unless somebody else has done so meanwhile."""
    outbox = Outbox(project, about.name)
    if about.fault:
        return Sent(about, "refused", left=about.fault)
    if not outbox.hold(timeout_s=0):
        return Sent(about, "busy", left="its training goes on, or another process sends it")
    try:
        if outbox.is_empty():
            return None
        if about.server != server.kept_name():
            meant = about.server or "the project's own database"
            return Sent(about, "elsewhere", left=f"it is meant for {meant}; set or unset {server.URI} for that")
        return Sent(about, "sent", outbox.deliver())
    except server.Unanswered as fault:
        return Sent(about, "silent", left=f"MLflow at {server.shown(server.uri(project))} does not answer ({fault})")
    except UserError as fault:
        return Sent(about, "refused", left=f"{fault}; to give it up, remove {about.folder}")
    finally:
        outbox.release()


def _described(outbox: Outbox) -> Pending | None:
    """What an outbox holds; None when that is nothing, or was sent meanwhile. One that is damaged stops no other."""
    try:
        if outbox.is_empty():
            return None
        about = outbox.about
        since_ms = int(about["since_ms"])
        return Pending(outbox.name, about["label"], outbox.waiting(), since_ms, about["server"], outbox.folder)
    except UserError as fault:
        if outbox.folder.exists():
            return Pending(outbox.name, outbox.name, 0, 0, server.kept_name(), outbox.folder, str(fault))
        return None
