"""MLflow runs: opened, logged to and ended. Calls that the server does not take are queued and the training goes on."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow import MlflowClient

from symphony2vec.errors import UserError
from symphony2vec.project import Project, key_of, read_json, write_json
from symphony2vec.tracking import server
from symphony2vec.tracking.calls import LARGE, Call, find_run, now_ms, open_call, open_run, send_call
from symphony2vec.tracking.delivery import notify, send
from symphony2vec.tracking.outbox import Outbox
from symphony2vec.tracking.provenance import Subject
from symphony2vec.tracking.server import NoAnswer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_reported: set[str] = set()  # outboxes whose failure this process has reported


class Run:
    """An open MLflow run.

    A call that the server does not answer is queued in the outbox, and so are those after it. The server is tried again
    every 30 s or less often, and then gets the queued calls first. A call that it refuses raises a UserError.

    Attributes:
        run_id: its id in MLflow; a local one until the server has answered.
    """

    def __init__(self, project: Project, open_call: Call, is_new: bool) -> None:
        self.run_id: str = open_call["local_id"]
        self._project, self._label, self._stage = project, str(open_call["name"]), str(open_call["stage"])
        self._opening: Call | None = open_call  # until the server or the outbox has it
        self._is_new = is_new
        self._outbox = Outbox(project, self.run_id)
        if self._outbox.is_elsewhere():
            self._outbox = Outbox(project, f"{self.run_id}.{key_of(server.server_name())[:8]}")
        self._has_warned, self._has_warned_of_loss, self._lost_calls = False, False, 0

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics in one call; `step` is the update at which they were measured."""
        plain = {name: float(value) for name, value in values.items()}
        self._send({"call": "metrics", "values": plain, "step": step, "at_ms": now_ms()})

    def image(self, image: np.ndarray, key: str, step: int) -> None:
        """Log one image (H, W, 3) uint8 of the series `key`."""
        self._send({"call": "image", "key": key, "step": step, "at_ms": now_ms()}, image)

    def figure(self, figure: Figure, file: str) -> None:
        """Log a figure as an image."""
        with tempfile.TemporaryDirectory() as place:
            image_file = Path(place, Path(file).name)
            figure.savefig(image_file)
            folder = Path(file).parent.as_posix()
            self.file(image_file, None if folder == "." else folder)

    def file(self, path: Path, folder: str | None = None) -> None:
        """Log a file as an artifact."""
        self._send({"call": "file", "folder": folder}, Path(path))

    def folder(self, path: Path, name: str) -> None:
        """Log all files of a folder as artifacts below `name`."""
        self._send({"call": "folder", "name": name}, Path(path))

    def tag(self, key: str, value: str) -> None:
        """Set a tag; MLflow's own begin with "mlflow."."""
        self._send({"call": "tag", "key": key, "value": value, "stage": self._stage})

    def _start(self) -> None:
        self._send(None, at_once=True)

    def _end(self, status: str, failure: str = "") -> None:
        if self._lost_calls:
            self._send({"call": "tag", "key": "lost_calls", "value": str(self._lost_calls)}, at_once=True)
        self._send({"call": "end", "status": status, "failure": failure, "at_ms": now_ms()}, at_once=True)

    def _send(self, call: Call | None, attachment: Any = None, at_once: bool = False) -> None:
        """Send a call to the server, or queue it; None sends what opens the run."""
        if server.should_ask(self._project, at_once):
            try:
                self._flush()
                if call is not None:
                    waits_s = server.UPLOAD_S if call["call"] in LARGE else server.ANSWER_S
                    with server.client_session(self._project, waits_s) as client:
                        send_call(client, self.run_id, call, attachment)
                return
            except NoAnswer as fault:
                self._warn(f"does not answer ({fault})")
        self._warn("does not answer")
        self._queue(call, attachment)

    def _flush(self) -> None:
        """Send the queued calls, or open the run if that has not been done."""
        if not self._outbox.is_empty() and not self._outbox.acquire():
            raise NoAnswer("another process sends the queued calls")
        if not self._outbox.is_empty():
            self._adopt_id(self._outbox.deliver())
            notify(f"MLflow at {server.redact(server.uri(self._project))} answers again and has all queued calls")
            self._has_warned = False
        if self._opening is not None:
            is_new, self._is_new = self._is_new, False  # a call that fails halfway has created the run
            with server.client_session(self._project) as client:
                run_id = open_run(client, self._project, self._opening, is_new)
            self._opening = None
            self._adopt_id(run_id)

    def _adopt_id(self, run_id: str) -> None:
        """Queue later calls under the id that MLflow gave."""
        if run_id != self.run_id:
            self._outbox.release()
            self.run_id, self._outbox = run_id, Outbox(self._project, run_id)

    def _queue(self, call: Call | None, attachment: Any) -> None:
        """Queue a call in the outbox. If the disk does not take it, it is lost: a training does not end for that."""
        try:
            if not self._outbox.acquire():
                raise TimeoutError(f"another process sends {self._outbox.folder}")
            if self._opening is not None:
                self._outbox.add(self._opening, None, self._label)
                self._opening = None
            if call is not None:
                self._outbox.add(call, attachment, self._label)
        except (OSError, UserError) as fault:
            self._lost_calls += call is not None
            if not self._has_warned_of_loss:
                why = getattr(fault, "strerror", None) or fault
                notify(f"{self._label}: calls cannot be queued either ({why}) and are lost; the training goes on")
                self._has_warned_of_loss = True

    def _warn(self, why: str) -> None:
        if not self._has_warned:
            queue = self._outbox.folder.relative_to(self._project.home)
            notify(
                f"MLflow at {server.redact(server.uri(self._project))} {why}; {self._label} goes on. What it logs is "
                f"queued in {queue} and sent when MLflow answers, by a later run, or by `symphony2vec runs send`"
            )
            self._has_warned = True

    def _release(self) -> None:
        self._outbox.release()


@contextmanager
def run(
    project: Project, subject: Subject, parameters: Mapping[str, Any], inputs: Path, marker: Path | None = None
) -> Iterator[Run]:
    """Open a run for one training of a model.

    Args:
        project: whose database is used.
        subject: stage, model, representation and fold.
        parameters: flat names and plain values.
        inputs: the file or folder that the model learns from; logged as its data set with DVC's hash.
        marker: a file that records the run while it is open. If it exists already, left by an interrupted training,
            that run is continued instead of a new one.
    """
    interrupted_id = read_json(marker, "")["run_id"] if marker is not None and marker.is_file() else ""
    call = open_call(project, subject, interrupted_id or uuid.uuid4().hex, parameters, (inputs, project.clips))
    with _open(project, call, not interrupted_id) as active:
        if marker is not None:
            write_json(marker, {"run_id": active.run_id})
        yield active


@contextmanager
def reopen(project: Project, record: Mapping[str, Any]) -> Iterator[Run]:
    """Open the run of a `write_record` file again, to add the results of a later stage.

    If the tracking server does not know that run (a fresh database under outputs that DVC restored, say), a new run
    takes its place, with its id in the tag `stands_for`.
    """
    subject = Subject(*(record[name] for name in ("stage", "model", "representation", "fold")))
    call = open_call(project, subject, record["run_id"], {}, stands_for=record["run_id"])
    with _open(project, call, is_new=False) as active:
        yield active


def run_id_of(client: MlflowClient, record: Mapping[str, Any]) -> str | None:
    """Return the id under which the server knows the run of a `write_record` file; None if it does not know it.

    It differs from the recorded id if the run was opened while the server did not answer.
    """
    found_run = find_run(client, record["stage"], record["run_id"])
    return None if found_run is None else str(found_run.info.run_id)


def write_record(path: Path, run: Run, subject: Subject, key: str, fold: str) -> None:
    """Record which run made the files of a folder and from what, for the stages that add to it.

    Args:
        path: the JSON file to write.
        run: the run.
        subject: what it is about.
        key: a hash of everything that the files were made from.
        fold: a hash of the clips and their splits alone.
    """
    fields = {name: getattr(subject, name) for name in ("stage", "model", "representation", "fold")}
    write_json(path, {"run_id": run.run_id, "key": key, "clips": fold, **fields})


@contextmanager
def _open(project: Project, call: Call, is_new: bool) -> Iterator[Run]:
    """Give an open run, which ends as FINISHED, as KILLED if interrupted, or as FAILED with the reason as a tag."""
    _send_queued(project)
    active = Run(project, call, is_new)
    try:
        active._start()
        try:
            yield active
        except BaseException as fault:
            status = "KILLED" if isinstance(fault, KeyboardInterrupt) else "FAILED"
            try:
                active._end(status, f"{type(fault).__name__}: {fault}"[:500])
            except UserError as refused:  # the user must see what ended the run
                if not isinstance(fault, UserError):
                    notify(str(refused))
            raise
        active._end("FINISHED")
    finally:
        active._release()


def _send_queued(project: Project) -> None:
    """Send the queued calls of earlier runs; report once what stays queued. A silent server is left to the new run."""
    if not (project.mlruns / "outbox").is_dir() or not server.should_ask(project, at_once=True):
        return
    for outcome in send(project):
        name = outcome.pending.name
        if outcome.state == "sent":
            notify(f"{outcome.pending.label}: sent the queued calls of an earlier run to MLflow")
        elif outcome.state in ("elsewhere", "refused") and name not in _reported:
            notify(f"{outcome.pending.label}: the queued calls of an earlier run are not sent: {outcome.reason}")
            _reported.add(name)
