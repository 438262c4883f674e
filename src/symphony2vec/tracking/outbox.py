"""A queue on disk of the calls about one run, kept until the tracking server answers.

mlruns/outbox/<id>/     id: the run's own, or a local one until MLflow has given one; <id>.<server> if calls of that run
                        are already queued there for another server
    about.json          server: the one the calls are meant for; label, as "vae-mel work-0"; since_ms
    calls.jsonl         one call a line; a last line without its line end was cut off by a kill and is ignored
    things/<name>/      the attachment of a call: an image's array, a file or a folder
    sent.json           calls: how many of them the server has taken; run_id: the run's id there
mlruns/outbox/.locks/   one lock an id, held by the process that writes or sends and released when it ends

Runs are not written to the project's own database first and copied from there: a run has one id, which the registry,
out/ and the MLflow UI share, and a copy would have another.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from filelock import BaseFileLock
from mlflow import MlflowClient

from symphony2vec.errors import UserError
from symphony2vec.project import Project, read_json, write_json
from symphony2vec.tracking import server
from symphony2vec.tracking.calls import METRICS_PER_REQUEST, Call, now_ms, open_run, send_call, send_metrics

LOCK_TIMEOUT_S = 60.0  # a sender that has the outbox is waited for


class Outbox:
    """The queued calls of one run. A process acquires it before it adds or delivers."""

    def __init__(self, project: Project, name: str) -> None:
        self.project, self.name = project, name
        self.folder = project.mlruns / "outbox" / name
        self._journal = self.folder / "calls.jsonl"
        self._lock: BaseFileLock | None = None

    @property
    def header(self) -> dict[str, Any]:
        """Return its server, label and since_ms."""
        values: dict[str, Any] = read_json(self.folder / "about.json", "")
        return values

    def acquire(self, timeout_s: float = LOCK_TIMEOUT_S) -> bool:
        """Lock it for this process; return False if another process holds it for longer than the timeout."""
        if self._lock is None:
            place = self.folder.parent / ".locks" / self.name
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(place)
            try:
                lock.acquire(timeout=timeout_s)
            except filelock.Timeout:
                return False
            self._lock = lock
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def add(self, call: Call, attachment: Any, label: str) -> None:
        """Queue one call, completely or not at all.

        Args:
            call: plain values.
            attachment: an array or a path that belongs to it; copied, since the original may be removed.
            label: of the run, for people.

        Raises:
            OSError, UserError: it cannot be written.
        """
        header = self.folder / "about.json"
        if not header.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(header, {"server": server.server_name(), "label": label, "since_ms": now_ms()})
        line = dict(call) if attachment is None else call | {"thing": self._copy_attachment(attachment)}
        self._append(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def calls(self) -> list[Call]:
        """Return all complete calls, including those already sent."""
        raw = self._journal.read_bytes() if self._journal.is_file() else b""
        try:
            return [json.loads(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]
        except ValueError as fault:
            raise UserError(
                f"{self._journal} is damaged ({fault}); repair that line, or remove {self.folder}"
            ) from None

    def waiting_calls(self) -> int:
        """Return how many calls are queued."""
        return len(self.calls()) - int(self._progress()["calls"])

    def is_empty(self) -> bool:
        """Return whether there is nothing to send."""
        return not self._journal.is_file() or not self.waiting_calls()

    def is_elsewhere(self) -> bool:
        """Return whether the calls are meant for another server than the present one."""
        return not self.is_empty() and self.header["server"] != server.server_name()

    def deliver(self) -> str:
        """Send the queued calls in order, remove them, and return the run's id on the server.

        After an interruption it continues where it stopped: the call that was on its way is sent again, see `calls`.
        """
        progress = self._progress()
        for start, group in _group_metrics(self.calls(), progress["calls"]):
            is_large = any("thing" in call for call in group)
            with server.client_session(self.project, server.UPLOAD_S if is_large else server.ANSWER_S) as client:
                progress["run_id"] = self._send(client, progress["run_id"], group)
            progress["calls"] = start + len(group)
            try:
                write_json(self.folder / "sent.json", progress)
            except (OSError, UserError) as fault:  # a full disk ends no training; the call is sent once more
                raise server.NoAnswer(f"sent, but not recorded: {fault}") from fault
        self._remove()
        return str(progress["run_id"])

    def _remove(self) -> None:
        """Rename the folder before it is removed: a kill in between would leave calls that look unsent."""
        self.folder.replace(self.folder.with_name(f".sent-{uuid.uuid4().hex}"))
        for sent in self.folder.parent.glob(".sent-*"):
            shutil.rmtree(sent, ignore_errors=True)

    def _send(self, client: MlflowClient, run_id: str, group: list[Call]) -> str:
        first = group[0]
        if first["call"] == "open":
            return open_run(client, self.project, first, is_new=False)
        if first["call"] == "metrics":
            send_metrics(client, run_id, group)
        else:
            send_call(client, run_id, first, self._attachment(first), repeated=True)
        return run_id

    def _progress(self) -> dict[str, Any]:
        sent = self.folder / "sent.json"
        return dict(read_json(sent, "")) if sent.is_file() else {"calls": 0, "run_id": self.name}

    def _append(self, line: bytes) -> None:
        with self._journal.open("ab", buffering=0) as file:
            start = self._intact_size(file.tell())
            try:
                os.truncate(file.fileno(), start)
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._journal))
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), start)
                raise

    def _intact_size(self, size: int) -> int:
        """The size of the journal without an incomplete last line."""
        with self._journal.open("rb") as file:
            file.seek(max(0, size - 1))
            return size if size == 0 or file.read(1) == b"\n" else self._journal.read_bytes().rfind(b"\n") + 1

    def _copy_attachment(self, attachment: Any) -> str:
        """Copy the attachment of a call; return its path below the outbox."""
        name = uuid.uuid4().hex
        partial, place = self.folder / "things" / f".{name}", self.folder / "things" / name
        partial.mkdir(parents=True)
        try:
            if not isinstance(attachment, Path):
                inside = partial / "image.npy"
                np.save(inside, attachment, allow_pickle=False)
            else:
                inside = partial / attachment.name
                (shutil.copytree if attachment.is_dir() else shutil.copyfile)(attachment, inside)
            partial.replace(place)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return (place / inside.name).relative_to(self.folder).as_posix()

    def _attachment(self, call: Call) -> Any:
        if "thing" not in call:
            return None
        path = self.folder / call["thing"]
        return np.load(path, allow_pickle=False) if call["call"] == "image" else path


def outboxes(project: Project) -> list[Outbox]:
    """Return all outboxes of a project, in no particular order."""
    headers = sorted((project.mlruns / "outbox").glob("[!.]*/about.json"))
    return [Outbox(project, header.parent.name) for header in headers]


def _group_metrics(calls: list[Call], start: int) -> Iterator[tuple[int, list[Call]]]:
    """Yield the calls from `start` on with their index: one by one, but consecutive metrics together."""
    while start < len(calls):
        group = [calls[start]]
        while (
            calls[start]["call"] == "metrics" and len(group) < METRICS_PER_REQUEST and start + len(group) < len(calls)
        ):
            following = calls[start + len(group)]
            if following["call"] != "metrics":
                break
            group.append(following)
        yield start, group
        start += len(group)
