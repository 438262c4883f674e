"""Open, log to and end MLflow runs. If the server does not answer, calls are queued on disk and training continues."""

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
from symphony2vec.project import Project, content_hash, key_of, read_json, write_json
from symphony2vec.tracking import server
from symphony2vec.tracking.calls import (
    CONTENT_TAG,
    UPLOAD_KINDS,
    Call,
    build_open_call,
    find_run,
    now_ms,
    open_run,
    send_call,
)
from symphony2vec.tracking.delivery import print_notice, send_queued_calls
from symphony2vec.tracking.outbox import Outbox, QueueUnavailableError
from symphony2vec.tracking.provenance import RunIdentity
from symphony2vec.tracking.server import ServerUnavailableError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_reported_outboxes: set[str] = set()  # those whose failure this process has reported


class Run:
    """An open MLflow run.

    A call that the server does not answer is queued in the outbox, and so are those after it. The server is retried at
    most every 30 s (at the start and the end of a run sooner, if its last failure was quick; see
    `server.should_retry`); queued calls are sent first, in order. A call that the server rejects raises a `UserError`.

    Attributes:
        run_id: its ID in MLflow; until the server has answered, the `local_id` of `build_open_call`.
    """

    def __init__(self, project: Project, open_call: Call, is_new: bool) -> None:
        self.run_id: str = open_call["local_id"]
        self._project, self._label, self._stage = project, str(open_call["name"]), str(open_call["stage"])
        self._open_call: Call | None = open_call  # None as soon as it is sent or queued
        self._is_new = is_new
        self._outbox = Outbox(project, self.run_id)
        if self._outbox.is_for_other_server():
            self._outbox = Outbox(project, f"{self.run_id}.{key_of(server.redacted_address())[:8]}")
        self._has_warned, self._has_warned_of_drops, self._dropped_calls = False, False, 0

    def log_metrics(self, values: Mapping[str, float], step: int = 0, model: str = "") -> None:
        """Log metrics in one call.

        Args:
            values: metrics by name.
            step: the number of optimiser updates so far.
            model: name of a logged model of the run to which the metrics belong as well; "" for none.
        """
        plain = {name: float(value) for name, value in values.items()}
        self._send({"call": "metrics", "values": plain, "step": step, "model": model, "at_ms": now_ms()})

    def log_image(self, image: np.ndarray, key: str, step: int) -> None:
        """Log one image (H, W, 3) uint8 of the series `key`."""
        self._send({"call": "image", "key": key, "step": step, "at_ms": now_ms()}, image)

    def log_figure(self, figure: Figure, path: str) -> None:
        """Log a figure as an artifact at `path`, whose suffix determines the format."""
        with tempfile.TemporaryDirectory() as scratch:
            image_file = Path(scratch, Path(path).name)
            figure.savefig(image_file)
            folder = Path(path).parent.as_posix()
            self.log_artifact(image_file, None if folder == "." else folder)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file as an artifact, below `folder` in the run's artifacts."""
        self._send({"call": "file", "folder": folder}, Path(path))

    def log_model(self, path: Path, name: str) -> None:
        """Log the folder of an MLflow model as a logged model of the run."""
        self._send({"call": "model", "name": name}, Path(path))

    def log_model_file(self, path: Path, model: str, folder: str | None = None) -> None:
        """Add a file to a logged model of the run, below `folder` in its artifacts."""
        self._send({"call": "model_file", "model": model, "folder": folder}, Path(path))

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag; MLflow's own begin with "mlflow."."""
        self._send({"call": "tag", "key": key, "value": value, "stage": self._stage})

    def _start(self) -> None:
        self._send(None, shorten_interval=True)

    def _end(self, status: str, failure: str = "") -> None:
        if self._dropped_calls:
            self._send(
                {"call": "tag", "key": "dropped_calls", "value": str(self._dropped_calls)}, shorten_interval=True
            )
        self._send({"call": "end", "status": status, "failure": failure, "at_ms": now_ms()}, shorten_interval=True)

    def _send(self, call: Call | None, attachment: Any = None, shorten_interval: bool = False) -> None:
        """Send a call, or queue it if the server does not answer; None only sends queued calls and opens the run."""
        address, reason = server.redact(server.tracking_uri(self._project)), ""
        if server.should_retry(self._project, shorten_interval):
            try:
                self._flush()
                if call is not None:
                    timeout_s = server.UPLOAD_TIMEOUT_S if call["call"] in UPLOAD_KINDS else server.CALL_TIMEOUT_S
                    with server.client_session(self._project, timeout_s) as client:
                        send_call(client, self.run_id, call, attachment)
                return
            except ServerUnavailableError as error:
                reason = f"MLflow at {address} does not answer ({error})"
            except QueueUnavailableError as error:
                reason = str(error)
        self._warn(reason or f"MLflow at {address} does not answer")
        self._queue(call, attachment)

    def _flush(self) -> None:
        """Send the queued calls, and open the run if its open call was neither sent nor queued."""
        if not self._outbox.is_empty() and not self._outbox.acquire():
            raise QueueUnavailableError(f"another process is sending the calls queued in {self._queue_name()}")
        if not self._outbox.is_empty():
            self._adopt_id(self._outbox.deliver())
            address = server.redact(server.tracking_uri(self._project))
            print_notice(f"MLflow at {address} is reachable again; all queued calls have been sent")
            self._has_warned = False
        if self._open_call is not None:
            is_new, self._is_new = self._is_new, False  # a failed attempt may have created the run
            with server.client_session(self._project) as client:
                run_id = open_run(client, self._project, self._open_call, is_new)
            self._open_call = None
            self._adopt_id(run_id)

    def _adopt_id(self, run_id: str) -> None:
        """Queue later calls under the ID that MLflow assigned."""
        if run_id != self.run_id:
            self._outbox.release()
            self.run_id, self._outbox = run_id, Outbox(self._project, run_id)

    def _queue(self, call: Call | None, attachment: Any) -> None:
        """Queue a call in the outbox. If it cannot be written, it is dropped: training must not stop for that."""
        try:
            if not self._outbox.acquire():
                raise TimeoutError(f"another process is sending the calls in {self._outbox.folder}")
            if self._open_call is not None:
                self._outbox.add(self._open_call, None, self._label)
                self._open_call = None
            if call is not None:
                self._outbox.add(call, attachment, self._label)
        except (OSError, UserError) as error:
            self._dropped_calls += call is not None
            if not self._has_warned_of_drops:
                why = getattr(error, "strerror", None) or error
                print_notice(
                    f"{self._label}: MLflow calls cannot be queued in {self._queue_name()} ({why}) and are dropped; "
                    "training continues"
                )
                self._has_warned_of_drops = True

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            print_notice(
                f"{reason}; {self._label} continues. Its calls are queued in {self._queue_name()} and sent later: by "
                "this run or another one when MLflow answers, or by `symphony2vec runs send`"
            )
            self._has_warned = True

    def _queue_name(self) -> Path:
        return self._outbox.folder.relative_to(self._project.home)

    def _release(self) -> None:
        self._outbox.release()


@contextmanager
def start_run(
    project: Project, identity: RunIdentity, parameters: Mapping[str, Any], inputs: Path, marker: Path | None = None
) -> Iterator[Run]:
    """Open a run in which one model is trained.

    Args:
        project: the project whose tracking server or database is used.
        identity: stage, model, representation and fold.
        parameters: names and plain values.
        inputs: the file or folder with the input data of the model; logged with DVC's hash, as is the table of clips.
        marker: a file to which the run's ID is written, and which the caller removes when the run must not be resumed
            any more. If it exists already, for example after an interrupted training, that run is resumed.
    """
    interrupted_id = read_json(marker, "")["run_id"] if marker is not None and marker.is_file() else ""
    call = build_open_call(project, identity, interrupted_id or uuid.uuid4().hex, parameters, (inputs, project.clips))
    with _open(project, call, not interrupted_id) as run:
        if marker is not None:
            write_json(marker, {"run_id": run.run_id})
        yield run


@contextmanager
def resume_run(project: Project, record: Mapping[str, Any]) -> Iterator[Run]:
    """Resume a finished run to add the results of a later stage.

    If the tracking server does not know the run (for example if DVC restored out/, but mlruns/ is new), a new run takes
    its place, with the ID of the unknown run in its tag `stands_for`.

    Args:
        project: the project whose tracking server or database is used.
        record: see `read_run_record`; its `run_id` may be MLflow's ID, a local ID or a content hash.
    """
    identity = RunIdentity(*(record[name] for name in ("stage", "model", "representation", "fold")))
    call = build_open_call(project, identity, record["run_id"], {}, extended_run_id=record["run_id"])
    with _open(project, call, is_new=False) as run:
        yield run


def find_run_id(client: MlflowClient, record: Mapping[str, Any]) -> str | None:
    """Return the MLflow ID of the run of a record (see `read_run_record`); None if the server has no such run.

    It differs from the record's `run_id` if the run was opened while the server did not answer, or on another machine.
    """
    run = find_run(client, record["stage"], record["run_id"])
    return None if run is None else str(run.info.run_id)


def write_run_record(project: Project, folder: Path, run: Run, identity: RunIdentity, clips_key: str) -> None:
    """Write run.json to a folder, and record below mlruns/ which MLflow run produced the folder.

    run.json holds no run ID, so that equal results have equal files on every machine. It holds the *content hash*: a
    hash of the identity and of the folder's files. The run has the same hash as its tag `content`, and
    mlruns/produced/<content hash>.json holds its ID. The run of a folder that DVC restored is found by this hash.

    Args:
        project: the project that the run belongs to.
        folder: the finished folder.
        run: the run that produced it.
        identity: stage, model, representation and fold.
        clips_key: hash of the clips and their splits; stored as "clips".
    """
    fields = {name: getattr(identity, name) for name in ("stage", "model", "representation", "fold")}
    content = key_of(fields, content_hash(folder))  # two models may have equal files
    run.set_tag(CONTENT_TAG, content)
    try:
        write_json(_producer(project, content), {"run_id": run.run_id})
    except (OSError, UserError) as error:  # the run is found by its tag, too: training must not stop for that
        print_notice(f"{identity.run_name}: mlruns/ does not record which run produced the folder ({error})")
    write_json(folder / "run.json", {**fields, "clips": clips_key, "content": content})


def read_run_record(project: Project, folder: Path) -> dict[str, Any]:
    """Return the content of a folder's run.json, and `run_id`, by which `find_run_id` finds the run that produced it.

    It is the ID of the run, or its local ID if the server did not answer while the run was open. In a project folder
    whose mlruns/ does not record the run, it is the content hash in run.json (see `write_run_record`).
    """
    record = dict(read_json(folder / "run.json", folder.parts[-3]))
    producer = _producer(project, str(record.get("content", "")))
    run_id = read_json(producer, "")["run_id"] if producer.is_file() else record.get("content", "")
    return {"run_id": run_id, **record}


def _producer(project: Project, content: str) -> Path:
    return project.mlruns / "produced" / f"{content}.json"


@contextmanager
def _open(project: Project, call: Call, is_new: bool) -> Iterator[Run]:
    """Yield an open run. It ends as FINISHED, or as KILLED (Ctrl-C) or FAILED, with the exception as tag `failure`."""
    _send_earlier_calls(project)
    active = Run(project, call, is_new)
    try:
        active._start()
        try:
            yield active
        except BaseException as error:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            try:
                active._end(status, f"{type(error).__name__}: {error}"[:500])
            except UserError as rejection:  # the user must see what ended the run
                if not isinstance(error, UserError):
                    print_notice(str(rejection))
            raise
        active._end("FINISHED")
    finally:
        active._release()


def _send_earlier_calls(project: Project) -> None:
    """Send the queued calls of earlier runs; report once per process what could not be sent.

    If the server does not answer, the new run reports that itself.
    """
    if not (project.mlruns / "outbox").is_dir() or not server.should_retry(project, shorten_interval=True):
        return
    for outcome in send_queued_calls(project):
        name = outcome.pending.name
        if outcome.state == "sent":
            print_notice(f"{outcome.pending.label}: sent the queued calls of an earlier run to MLflow")
        elif outcome.state not in ("busy", "unreachable") and name not in _reported_outboxes:
            print_notice(f"{outcome.pending.label}: the queued calls of an earlier run were not sent: {outcome.reason}")
            _reported_outboxes.add(name)
