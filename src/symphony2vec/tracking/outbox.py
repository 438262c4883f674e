"""A queue on disk of the calls about one run, kept until the tracking server answers.

    mlruns/outbox/<id>/     MLflow's run ID, or the local ID; <id>.<hash of the server> if calls of that run are already
                            queued for another server
        about.json          the header. server: address that the calls are for; label, such as "vae-mel work-0";
                            since_ms: when the first call was queued, in milliseconds since 1970
        calls.jsonl         one call per line; an incomplete last line (the process was killed) is ignored
        things/<uuid>/      the attachment of a call (its key "thing"): an image's array, a file or a folder
        sent.json           calls: number of calls already sent; run_id: MLflow's run ID
    mlruns/outbox/.locks/   one lock per folder above, held by the process that writes or sends

Why are runs not logged to the project's own database first and copied to the server later? MLflow would give the copy
another run ID than that of the original, which the registry, mlruns/produced/ and the MLflow UI would already use.
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
from symphony2vec.project import Project, write_json
from symphony2vec.tracking import server
from symphony2vec.tracking.calls import METRICS_PER_REQUEST, Call, now_ms, open_run, send_call, send_metrics

LOCK_TIMEOUT_S = 60.0  # how long to wait for another process that is sending


class QueueUnavailableError(Exception):
    """The queued calls cannot be sent, or cannot be marked as sent; they stay queued.

    The message is the full reason.
    """


class Outbox:
    """The queued calls of one run. A process acquires its lock before it adds or delivers calls."""

    def __init__(self, project: Project, name: str) -> None:
        self.project, self.name = project, name
        self.folder = project.mlruns / "outbox" / name
        self._journal = self.folder / "calls.jsonl"
        self._lock: BaseFileLock | None = None

    @property
    def header(self) -> dict[str, Any]:
        """The header, about.json: server, label and since_ms."""
        return self._read("about.json")

    def acquire(self, timeout_s: float = LOCK_TIMEOUT_S) -> bool:
        """Lock the queue for this process; return False if another process holds it for longer than the timeout."""
        if self._lock is None:
            path = self.folder.parent / ".locks" / self.name
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path)
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
            label: display name of the run.

        Raises:
            OSError, UserError: it cannot be written.
        """
        header = self.folder / "about.json"
        if not header.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(header, {"server": server.redacted_address(), "label": label, "since_ms": now_ms()})
        line = dict(call) if attachment is None else call | {"thing": self._copy_attachment(attachment)}
        self._append(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def calls(self) -> list[Call]:
        """Return all complete calls, including those already sent."""
        raw = self._journal.read_bytes() if self._journal.is_file() else b""
        return [self._parse(number, line) for number, line in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines(), 1)]

    def _parse(self, number: int, line: bytes) -> Call:
        try:
            call: Call = json.loads(line)
        except ValueError:
            raise UserError(
                f"{self._journal}, line {number} is not valid JSON; repair it, or delete {self.folder} to discard the "
                "queued calls"
            ) from None
        return call

    def count_queued_calls(self) -> int:
        """Return how many calls are queued."""
        return len(self.calls()) - int(self._progress()["calls"])

    def is_empty(self) -> bool:
        """Return whether there is nothing to send."""
        return not self._journal.is_file() or not self.count_queued_calls()

    def is_for_other_server(self) -> bool:
        """Return whether the calls are for a server other than the one configured now."""
        return not self.is_empty() and self.header["server"] != server.redacted_address()

    def deliver(self) -> str:
        """Send the queued calls in order, remove them, and return MLflow's run ID.

        After an interruption it continues where it stopped: the call that was being sent is sent again (calls are
        idempotent, see `tracking.calls`).

        Raises:
            ServerUnavailableError: The server does not answer.
            QueueUnavailableError: A call was sent, but that could not be recorded.
            UserError: The server rejects a call, or the queue is damaged.
        """
        progress = self._progress()
        for start, group in _batch_calls(self.calls(), progress["calls"]):
            has_upload = any("thing" in call for call in group)
            timeout_s = server.UPLOAD_TIMEOUT_S if has_upload else server.CALL_TIMEOUT_S
            with server.client_session(self.project, timeout_s) as client:
                progress["run_id"] = self._send(client, progress["run_id"], group)
            progress["calls"] = start + len(group)
            try:
                write_json(self.folder / "sent.json", progress)
            except (OSError, UserError) as error:  # a full disk must not stop training
                raise QueueUnavailableError(
                    f"queued calls were sent to MLflow, but not recorded as sent ({error}); they are sent again later"
                ) from error
        self._remove()
        return str(progress["run_id"])

    def _remove(self) -> None:
        """Remove the folder; it is renamed first, so that a killed process leaves no calls that look unsent."""
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
        is_started = (self.folder / "sent.json").is_file()
        return self._read("sent.json") if is_started else {"calls": 0, "run_id": self.name}

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / name).read_text(encoding="utf-8")))
        except (ValueError, TypeError, OSError) as error:
            raise UserError(
                f"{self.folder / name} is missing or damaged ({error}); repair it, or delete {self.folder} to discard "
                "the queued calls"
            ) from None

    def _append(self, line: bytes) -> None:
        with self._journal.open("ab", buffering=0) as file:
            start = self._complete_size(file.tell())
            try:
                os.truncate(file.fileno(), start)
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._journal))
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), start)
                raise

    def _complete_size(self, size: int) -> int:
        """Return the size in bytes of the journal up to its last complete line."""
        with self._journal.open("rb") as file:
            file.seek(max(0, size - 1))
            return size if size == 0 or file.read(1) == b"\n" else self._journal.read_bytes().rfind(b"\n") + 1

    def _copy_attachment(self, attachment: Any) -> str:
        """Copy the attachment of a call; return its path below the outbox."""
        name = uuid.uuid4().hex
        partial, complete = self.folder / "things" / f".{name}", self.folder / "things" / name
        partial.mkdir(parents=True)
        try:
            if not isinstance(attachment, Path):
                copy = partial / "image.npy"
                np.save(copy, attachment, allow_pickle=False)
            else:
                copy = partial / attachment.name
                (shutil.copytree if attachment.is_dir() else shutil.copyfile)(attachment, copy)
            partial.replace(complete)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return (complete / copy.name).relative_to(self.folder).as_posix()

    def _attachment(self, call: Call) -> Any:
        if "thing" not in call:
            return None
        path = self.folder / call["thing"]
        return np.load(path, allow_pickle=False) if call["call"] == "image" else path


def outboxes(project: Project) -> list[Outbox]:
    """Return all outboxes of a project, sorted by name."""
    headers = sorted((project.mlruns / "outbox").glob("[!.]*/about.json"))
    return [Outbox(project, header.parent.name) for header in headers]


def _batch_calls(calls: list[Call], start: int) -> Iterator[tuple[int, list[Call]]]:
    """Yield (index, group) from `start` on: single calls, but up to `METRICS_PER_REQUEST` consecutive metrics calls."""
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
