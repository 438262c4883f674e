"""Runs: opened, told about, ended; what the server cannot be told now waits in an outbox and the training goes on."""

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
from symphony2vec.tracking.calls import LARGE, Call, found, now_ms, opened, opening, said
from symphony2vec.tracking.delivery import say, send
from symphony2vec.tracking.outbox import Outbox
from symphony2vec.tracking.provenance import Subject
from symphony2vec.tracking.server import Unanswered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_left: set[str] = set()  # outboxes of which this process has said why they stay


class Run:
    """An open run.

    run_id: its id in MLflow; a local one as long as the server has not answered.

    A call that the server does not answer is kept in the outbox, and so are those after it; the server is asked again
    every 30 s or less often, and is then sent first what was kept. A call that it refuses is a UserError.
    """

    def __init__(self, project: Project, opening: Call, is_new: bool) -> None:
        self.run_id: str = opening["local_id"]
        self._project, self._label, self._stage = project, str(opening["name"]), str(opening["stage"])
        self._opening: Call | None = opening  # until the server or the outbox has it
        self._is_new = is_new
        self._outbox = Outbox(project, self.run_id)
        if self._outbox.is_elsewhere():
            self._outbox = Outbox(project, f"{self.run_id}.{key_of(server.kept_name())[:8]}")
        self._warned, self._warned_of_loss, self._lost = False, False, 0

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers, in one call; `step` is the update at which they were true."""
        plain = {name: float(value) for name, value in values.items()}
        self._say({"call": "metrics", "values": plain, "step": step, "at_ms": now_ms()})

    def image(self, image: np.ndarray, key: str, step: int) -> None:
        """Log one image (H, W, 3) uint8 of the series `key`."""
        self._say({"call": "image", "key": key, "step": step, "at_ms": now_ms()}, image)

    def figure(self, figure: Figure, file: str) -> None:
        """Log a figure as an image."""
        with tempfile.TemporaryDirectory() as place:
            drawn = Path(place, Path(file).name)
            figure.savefig(drawn)
            folder = Path(file).parent.as_posix()
            self.file(drawn, None if folder == "." else folder)

    def file(self, path: Path, folder: str | None = None) -> None:
        """Log a file as an artifact."""
        self._say({"call": "file", "folder": folder}, Path(path))

    def folder(self, path: Path, name: str) -> None:
        """Log all files of a folder as artifacts below `name`."""
        self._say({"call": "folder", "name": name}, Path(path))

    def tag(self, key: str, value: str) -> None:
        """Give the run a tag; MLflow's own begin with "mlflow."."""
        self._say({"call": "tag", "key": key, "value": value, "stage": self._stage})

    def _begin(self) -> None:
        self._say(None, at_once=True)

    def _end(self, status: str, failure: str = "") -> None:
        if self._lost:
            self._say({"call": "tag", "key": "lost_calls", "value": str(self._lost)}, at_once=True)
        self._say({"call": "end", "status": status, "failure": failure, "at_ms": now_ms()}, at_once=True)

    def _say(self, call: Call | None, thing: Any = None, at_once: bool = False) -> None:
        """Say something to the server, or keep it; without a call, what opens the run."""
        if server.worth_asking(self._project, at_once):
            try:
                self._catch_up()
                if call is not None:
                    waits_s = server.UPLOAD_S if call["call"] in LARGE else server.ANSWER_S
                    with server.spoken(self._project, waits_s) as client:
                        said(client, self.run_id, call, thing)
                return
            except Unanswered as fault:
                self._warn(f"does not answer ({fault})")
        self._warn("does not answer")
        self._keep(call, thing)

    def _catch_up(self) -> None:
        """Send what was kept, or open the run where that has not been done."""
        if not self._outbox.is_empty() and not self._outbox.hold():
            raise Unanswered("another process sends what was kept")
        if not self._outbox.is_empty():
            self._go_on_as(self._outbox.deliver())
            say(f"MLflow at {server.shown(server.uri(self._project))} answers again and has what was kept")
            self._warned = False
        if self._opening is not None:
            is_new, self._is_new = self._is_new, False  # what fails halfway has made the run
            with server.spoken(self._project) as client:
                run_id = opened(client, self._project, self._opening, is_new)
            self._opening = None
            self._go_on_as(run_id)

    def _go_on_as(self, run_id: str) -> None:
        """What is kept from now on is kept under the id that MLflow gave."""
        if run_id != self.run_id:
            self._outbox.release()
            self.run_id, self._outbox = run_id, Outbox(self._project, run_id)

    def _keep(self, call: Call | None, thing: Any) -> None:
        """Write the call to the outbox. Where the disk does not take it, it is lost: no training ends for that."""
        try:
            if not self._outbox.hold():
                raise TimeoutError(f"another process sends {self._outbox.folder}")
            if self._opening is not None:
                self._outbox.add(self._opening, None, self._label)
                self._opening = None
            if call is not None:
                self._outbox.add(call, thing, self._label)
        except (OSError, UserError) as fault:
            self._lost += call is not None
            if not self._warned_of_loss:
                why = getattr(fault, "strerror", None) or fault
                say(f"{self._label}: nor can it be kept ({why}); what it logs meanwhile is lost, but the run goes on")
                self._warned_of_loss = True

    def _warn(self, why: str) -> None:
        if not self._warned:
            kept = self._outbox.folder.relative_to(self._project.home)
            say(
                f"MLflow at {server.shown(server.uri(self._project))} {why}; {self._label} goes on. What it logs is "
                f"kept in {kept} and sent when MLflow answers, by a later run, or by `symphony2vec runs send`"
            )
            self._warned = True

    def _let_go(self) -> None:
        self._outbox.release()


@contextmanager
def run(
    project: Project, subject: Subject, parameters: Mapping[str, Any], seen: Path, begun: Path | None = None
) -> Iterator[Run]:
    """Open a run for one training of a model.

    Args:
        project: whose database is used.
        subject: stage, model, representation and fold.
        parameters: flat names and plain values.
        seen: the file or folder that the model learns from; logged as its data set with DVC's hash.
        begun: a file that notes the run while it lasts. Where it is there already, left by a training that was stopped
            in the middle, its run goes on instead of a new one.
    """
    stopped = read_json(begun, "")["run_id"] if begun is not None and begun.is_file() else ""
    first = opening(project, subject, stopped or uuid.uuid4().hex, parameters, (seen, project.clips))
    with _lasting(project, first, not stopped) as opened_run:
        if begun is not None:
            write_json(begun, {"run_id": opened_run.run_id})
        yield opened_run


@contextmanager
def reopen(project: Project, record: Mapping[str, Any]) -> Iterator[Run]:
    """Open the run that `write_record` noted, to add what a later stage found.

    Where the tracking server does not know that run (a fresh database, say, under outputs that DVC restored), a new one
    takes its place and says so in the tag `stands_for`.
    """
    subject = Subject(*(record[name] for name in ("stage", "model", "representation", "fold")))
    first = opening(project, subject, record["run_id"], {}, stands_for=record["run_id"])
    with _lasting(project, first, is_new=False) as opened_run:
        yield opened_run


def run_id_of(client: MlflowClient, record: Mapping[str, Any]) -> str | None:
    """The id under which the server knows the run that `write_record` noted; None when it does not know it.

    It differs from the one in the record where the run was opened while the server did not answer.
    """
    known = found(client, record["stage"], record["run_id"])
    return None if known is None else str(known.info.run_id)


def write_record(path: Path, opened: Run, subject: Subject, key: str, fold: str) -> None:
    """Note which run made the files of a folder and from what, for the stages that add to it.

    `key` stands for all that the files were made from, `fold` for the clips and their sides alone.
    """
    fields = {name: getattr(subject, name) for name in ("stage", "model", "representation", "fold")}
    write_json(path, {"run_id": opened.run_id, "key": key, "clips": fold, **fields})


@contextmanager
def _lasting(project: Project, first: Call, is_new: bool) -> Iterator[Run]:
    """The run ends as FINISHED, as KILLED when interrupted, or as FAILED with the reason as a tag."""
    _send_earlier(project)
    lasting = Run(project, first, is_new)
    try:
        lasting._begin()
        try:
            yield lasting
        except BaseException as fault:
            status = "KILLED" if isinstance(fault, KeyboardInterrupt) else "FAILED"
            try:
                lasting._end(status, f"{type(fault).__name__}: {fault}"[:500])
            except UserError as refused:  # what ended the run is what people must see
                if not isinstance(fault, UserError):
                    say(str(refused))
            raise
        lasting._end("FINISHED")
    finally:
        lasting._let_go()


def _send_earlier(project: Project) -> None:
    """Send what earlier runs left; what stays is said once. A silent server is left to the run that begins."""
    if not (project.mlruns / "outbox").is_dir() or not server.worth_asking(project, at_once=True):
        return
    for outcome in send(project):
        name = outcome.pending.name
        if outcome.state == "sent":
            say(f"{outcome.pending.label}: sent to MLflow what was kept of an earlier run")
        elif outcome.state in ("elsewhere", "refused") and name not in _left:
            say(f"{outcome.pending.label}: what was kept of an earlier run is not sent: {outcome.left}")
            _left.add(name)
