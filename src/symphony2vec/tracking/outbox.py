"""Calls about one run that wait on disk until the tracking server answers, in their order.

mlruns/outbox/<id>/     id: the run's own, or a local one as long as MLflow gave none; <id>.<server> where calls of that
                        run wait there for another server
    about.json          server: which one they are meant for; label, as "vae-mel work-0"; since_ms
    calls.jsonl         one call a line; a last line without its end was torn by a kill and counts for nothing
    things/<name>/      an image's array, a file or a folder that belongs to a call
    sent.json           calls: how many of them the server has taken; run_id: the run's id there
mlruns/outbox/.locks/   one lock an id, held by who writes or sends; the system lets go of it when that process ends
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
from symphony2vec.tracking.calls import AT_ONCE, Call, now_ms, opened, said, said_together

HELD_S = 60.0  # a sender that has the outbox is waited for


class Outbox:
    """What waits of one run. Whoever adds or delivers holds it."""

    def __init__(self, project: Project, name: str) -> None:
        self.project, self.name = project, name
        self.folder = project.mlruns / "outbox" / name
        self._journal = self.folder / "calls.jsonl"
        self._lock: BaseFileLock | None = None

    @property
    def about(self) -> dict[str, Any]:
        """Its server, label and beginning."""
        values: dict[str, Any] = read_json(self.folder / "about.json", "")
        return values

    def hold(self, timeout_s: float = HELD_S) -> bool:
        """Take it for this process; False when another has it for longer than the timeout."""

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
        """Let others have it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def add(self, call: Call, thing: Any, label: str) -> None:
        """Write one call down, whole or not at all.

        Args:
            call: plain values.
            thing: what belongs to it, an array or a path; copied, since the original may go.
            label: of the run, for people.

        Raises:
            OSError, UserError: the disk does not take it.
        """
        about = self.folder / "about.json"
        if not about.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(about, {"server": server.kept_name(), "label": label, "since_ms": now_ms()})
        line = dict(call) if thing is None else call | {"thing": self._copied(thing)}
        self._append(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def calls(self) -> list[Call]:
        """All calls that were written down whole, those already sent among them."""
        raw = self._journal.read_bytes() if self._journal.is_file() else b""
        try:
            return [json.loads(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]
        except ValueError as fault:
            raise UserError(f"{self._journal} is damaged ({fault}); mend that line, or remove {self.folder}") from None

    def waiting(self) -> int:
        """How many calls wait."""
        return len(self.calls()) - int(self._progress()["calls"])

    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self._journal.is_file() or not self.waiting()

    def is_elsewhere(self) -> bool:
        """Whether what waits is meant for another server than the one that is set now."""
        return not self.is_empty() and self.about["server"] != server.kept_name()

    def deliver(self) -> str:
        """Send all that waits, in order, and remove it; returns the run's id on the server.

        Interrupted, it goes on where it stopped: what was on its way is sent again, see `calls`.
        """
        every, progress = self.calls(), self._progress()
        for start, group in _groups(every, progress["calls"]):
            large = any("thing" in call for call in group)
            with server.spoken(self.project, server.UPLOAD_S if large else server.ANSWER_S) as client:
                progress["run_id"] = self._send(client, progress["run_id"], group)
            progress["calls"] = start + len(group)
            try:
                write_json(self.folder / "sent.json", progress)
            except (OSError, UserError) as fault:  # a full disk ends no training; the call is sent once more
                raise server.Unanswered(f"sent, but not noted: {fault}") from fault
        self._remove()
        return str(progress["run_id"])

    def _remove(self) -> None:
        """Out of sight at once, since a kill halfway would leave calls that look unsent."""
        self.folder.replace(self.folder.with_name(f".sent-{uuid.uuid4().hex}"))
        for sent in self.folder.parent.glob(".sent-*"):
            shutil.rmtree(sent, ignore_errors=True)

    def _send(self, client: MlflowClient, run_id: str, group: list[Call]) -> str:
        first = group[0]
        if first["call"] == "open":
            return opened(client, self.project, first, is_new=False)
        if first["call"] == "metrics":
            said_together(client, run_id, group)
        else:
            said(client, run_id, first, self._thing(first), repeated=True)
        return run_id

    def _progress(self) -> dict[str, Any]:
        sent = self.folder / "sent.json"
        return dict(read_json(sent, "")) if sent.is_file() else {"calls": 0, "run_id": self.name}

    def _append(self, line: bytes) -> None:
        with self._journal.open("ab", buffering=0) as file:
            start = self._whole(file.tell())
            try:
                os.truncate(file.fileno(), start)
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._journal))
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), start)
                raise

    def _whole(self, size: int) -> int:
        """The size of the journal without a torn last line."""
        with self._journal.open("rb") as file:
            file.seek(max(0, size - 1))
            return size if size == 0 or file.read(1) == b"\n" else self._journal.read_bytes().rfind(b"\n") + 1

    def _copied(self, thing: Any) -> str:
        """Copy what belongs to a call; returns its place below the outbox."""

        name = uuid.uuid4().hex
        partial, place = self.folder / "things" / f".{name}", self.folder / "things" / name
        partial.mkdir(parents=True)
        try:
            if not isinstance(thing, Path):
                inside = partial / "image.npy"
                np.save(inside, thing, allow_pickle=False)
            else:
                inside = partial / thing.name
                (shutil.copytree if thing.is_dir() else shutil.copyfile)(thing, inside)
            partial.replace(place)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return (place / inside.name).relative_to(self.folder).as_posix()

    def _thing(self, call: Call) -> Any:
        if "thing" not in call:
            return None
        path = self.folder / call["thing"]
        return np.load(path, allow_pickle=False) if call["call"] == "image" else path


def outboxes(project: Project) -> list[Outbox]:
    """All that were begun, in no order."""
    homes = sorted((project.mlruns / "outbox").glob("[!.]*/about.json"))
    return [Outbox(project, home.parent.name) for home in homes]


def _groups(every: list[Call], start: int) -> Iterator[tuple[int, list[Call]]]:
    """The calls from `start` on, one by one, but metrics that follow each other together; each with its place."""
    while start < len(every):
        group = [every[start]]
        while every[start]["call"] == "metrics" and len(group) < AT_ONCE and start + len(group) < len(every):
            following = every[start + len(group)]
            if following["call"] != "metrics":
                break
            group.append(following)
        yield start, group
        start += len(group)
