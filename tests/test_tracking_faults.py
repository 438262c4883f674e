"""Tracking when its server is away, refuses or hangs, when its database is locked, and when the disk is full."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from conftest import client, runs
from mlflow_server import Door, Server
from symphony2vec import tracking
from symphony2vec.cli import cli
from symphony2vec.errors import UserError
from symphony2vec.models.embeddings import stage as embeddings
from symphony2vec.project import Project
from symphony2vec.tracking import delivery, outbox, server
from test_embeddings import project_in, small, spectrograms

IDENTITY = tracking.RunIdentity("embeddings", "pca", "mel", "work-0")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """The server is asked again at every call, and a locked database is hardly waited for."""
    monkeypatch.setattr(server, "RETRY_INTERVAL_S", 0.0)
    monkeypatch.setattr(server, "RETRY_COST_FACTOR", 0.0)
    monkeypatch.setattr(server, "LOCK_TIMEOUT_S", 0.05)
    server._last_failures.clear()


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory, empty_database) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    made = Server(folder)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def door(mlflow_server, project, monkeypatch) -> Iterator[Door]:
    """The way to the server, shut."""
    made = Door(mlflow_server.port)
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, made.address)
    yield made
    made.shut()


@contextmanager
def locked(project: Project) -> Iterator[None]:
    """Somebody else writes to the database and does not end."""
    with closing(sqlite3.connect(project.mlruns / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def tell_all(opened: tracking.Run, folder: Path) -> None:
    """One call of every kind, and several epochs."""
    from matplotlib.figure import Figure

    (folder / "model").mkdir(parents=True)
    for name in ("a.txt", "model/b.txt"):
        (folder / name).write_text(name)
    for epoch in range(3):
        opened.log_metrics({"loss": 1.0 / (epoch + 1), "accuracy": 0.5}, step=epoch)
    opened.log_image(np.full((4, 6, 3), 7, np.uint8), "drawn/pairs", step=2)
    opened.log_figure(Figure(figsize=(1, 1)), "curves.png")
    opened.log_artifact(folder / "a.txt")
    opened.log_model(folder / "model", "model")
    opened.log_model_file(folder / "a.txt", "model", "artifacts")
    opened.log_metrics({"loss": 0.1}, step=3, model="model")
    shutil.rmtree(folder)  # what was logged may go


def heard(project: Project, run_id: str) -> dict[str, Any]:
    """All that the server knows of a run but for ids and times."""
    held = client(project)
    run = held.get_run(run_id)
    files, waiting = {}, [""]
    while waiting:
        for one in held.list_artifacts(run_id, waiting.pop() or None):
            if one.is_dir:
                waiting.append(one.path)
            else:
                image = one.path.rpartition("+timestamp+")
                files[(image[0], one.path.rpartition(".")[2]) if image[0] else one.path] = one.file_size
    return {
        "status": run.info.status,
        "name": run.info.run_name,
        "params": run.data.params,
        "tags": {name: value for name, value in run.data.tags.items() if name != "local_id"},
        "losses": [(one.step, one.value) for one in held.get_metric_history(run_id, "loss")],
        "data": sorted((one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs),
        "files": files,
        "models": [
            {
                "name": model.name,
                "type": model.model_type,
                "status": str(model.status),
                "params": model.params,
                "metrics": sorted((one.key, one.value, one.step) for one in model.metrics or []),
                "files": sizes(held, model.model_id),
                "is_output": model.model_id in {one.model_id for one in run.outputs.model_outputs},
            }
            for model in held.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
        ],
    }


def sizes(held: Any, model_id: str, folder: str | None = None) -> dict[str, int]:
    """The files of a logged model."""
    found: dict[str, int] = {}
    for one in held.list_logged_model_artifacts(model_id, folder):
        found |= sizes(held, model_id, one.path) if one.is_dir else {one.path: one.file_size}
    return found


def kept(project: Project) -> list[str]:
    """The kinds of all calls that wait."""
    return [
        call["call"]
        for about in tracking.list_pending_runs(project)
        for call in outbox.Outbox(project, about.name).calls()
    ]


def results_of(project: Project) -> Path:
    """The folder that a run produces."""
    return project.out("embeddings", "work-0", "pca-mel")


def told(project: Project, folder: Path, begun: Path | None = None) -> str:
    """A run with everything in it; returns the id by which it is known here."""
    with tracking.start_run(project, IDENTITY, {"batch": 32}, project.params, begun) as opened:
        tell_all(opened, folder)
        results = results_of(project)
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        (results / "vectors.npy").write_bytes(b"vectors")
        tracking.write_run_record(project, results, opened, IDENTITY, "clips")
    return opened.run_id


def command(project: Project, *words: str) -> str:
    done = CliRunner().invoke(cli, ["--project", str(project.root), "runs", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return str(done.output)


def only_run(project: Project) -> str:
    (found,) = runs(project)
    return str(found.info.run_id)


# a server that is away ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_no_server_heard_is_sent_later_as_if_it_had_been_heard(project, door, tmp_path_factory, capsys):
    local = told(project, tmp_path_factory.mktemp("things") / "a")
    assert capsys.readouterr().err.splitlines() == [
        f"symphony2vec: MLflow at {door.address} does not answer (connection refused); pca-mel work-0 continues. Its "
        f"calls are queued in mlruns/outbox/{local} and sent later: by this run or another one when MLflow answers, or "
        "by `symphony2vec runs send`"
    ]
    assert command(project, "pending").startswith("pca-mel work-0              12 calls  since 2")
    door.open()
    late = command(project, "send").removeprefix(f"pca-mel work-0 ({local}): sent, 12 calls, as run ").strip()
    assert command(project, "pending") == "nothing is queued: MLflow has everything that was logged\n"
    direct = told(project, tmp_path_factory.mktemp("things") / "b")
    assert heard(project, late) == heard(project, direct)
    assert heard(project, late)["losses"] == [(0, 1.0), (1, 0.5), (2, 1.0 / 3), (3, 0.1)]
    assert heard(project, late)["status"] == "FINISHED"
    record = tracking.read_run_record(project, results_of(project))
    with tracking.client(project) as asked:
        assert tracking.find_run_id(asked, record) == direct
        assert tracking.find_run_id(asked, record | {"run_id": local}) == late
        assert tracking.find_run_id(asked, record | {"run_id": "0" * 32}) is None
    with tracking.resume_run(project, record | {"run_id": local}) as opened:  # what a later stage does with run.json
        opened.log_metrics({"test_accuracy": 0.5})
    assert opened.run_id == late
    assert "stands_for" not in client(project).get_run(late).data.tags


@pytest.mark.slow
def test_a_server_that_is_killed_in_mid_run_gets_what_it_missed_when_it_is_back(project, mlflow_server, monkeypatch):
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, mlflow_server.address)
    with tracking.start_run(project, IDENTITY, {}, project.params) as opened:
        opened.log_metrics({"loss": 3.0}, step=1)
        mlflow_server.kill()
        opened.log_metrics({"loss": 2.0}, step=2)
        opened.log_image(np.zeros((4, 6, 3), np.uint8), "pairs", step=2)
        assert kept(project) == ["metrics", "image"]
        mlflow_server.start()
        opened.log_metrics({"loss": 1.0}, step=3)
        assert kept(project) == []
    known = heard(project, opened.run_id)
    assert known["losses"] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert known["status"] == "FINISHED"
    assert set(known["files"]) == {("images/pairs+step+2", "png"), ("images/pairs+step+2", "webp")}


@pytest.mark.slow
def test_the_stage_gives_the_same_vectors_with_a_dead_server_as_with_a_live_one(door, settings, tmp_path_factory):
    vectors, projects = {}, {}
    for name in ("dead", "live"):
        made = projects[name] = project_in(tmp_path_factory.mktemp(name), spectrograms())
        if name == "live":
            door.open()
        embeddings.run(made, small(settings), "ae", "mel")
        vectors[name] = made.out("embeddings", "work-0", "ae-mel", "vectors.npy").read_bytes()
    assert vectors["dead"] == vectors["live"]
    assert kept(projects["live"]) == []
    assert {"open", "metrics", "image", "file", "model", "tag", "end"} == set(kept(projects["dead"]))
    (sent,) = tracking.send_queued_calls(projects["dead"])
    record = tracking.read_run_record(projects["live"], projects["live"].out("embeddings", "work-0", "ae-mel"))
    with tracking.client(projects["live"]) as asked:
        late, direct = asked.get_run(sent.run_id).data, asked.get_run(record["run_id"]).data
    assert late.metrics == direct.metrics
    assert late.params == direct.params


def test_a_server_that_comes_back_between_two_calls_is_told_in_order(tracked, capsys):
    with locked(tracked):
        context = tracking.start_run(tracked, IDENTITY, {}, tracked.params)
        opened = context.__enter__()
        local = opened.run_id
        for step in range(3):
            opened.log_metrics({"loss": 1.0}, step=step)
    assert runs_of_any(tracked) == []
    opened.log_metrics({"loss": 1.0}, step=3)
    assert opened.run_id != local
    context.__exit__(None, None, None)
    assert [step for step, _ in heard(tracked, opened.run_id)["losses"]] == [0, 1, 2, 3]
    kept_line, sent_line = capsys.readouterr().err.splitlines()
    assert "does not answer (database is locked)" in kept_line
    assert sent_line.endswith("is reachable again; all queued calls have been sent")


def runs_of_any(project: Project) -> list[Any]:
    held = client(project)
    return list(held.search_runs([one.experiment_id for one in held.search_experiments()]))


def test_an_opening_that_was_heard_by_half_makes_one_run(tracked, monkeypatch):
    from mlflow import MlflowClient
    from requests.exceptions import ConnectTimeout

    log = MlflowClient.log_inputs
    monkeypatch.setattr(MlflowClient, "log_inputs", lambda *_: (_ for _ in ()).throw(ConnectTimeout("timed out")))
    with tracking.start_run(tracked, IDENTITY, {"batch": 32}, tracked.params) as opened:
        assert kept(tracked) == ["open"]
        monkeypatch.setattr(MlflowClient, "log_inputs", log)
        opened.log_metrics({"loss": 1.0})
    found = heard(tracked, only_run(tracked))
    assert (found["params"]["batch"], len(found["data"]), found["status"]) == ("32", 2, "FINISHED")


def test_of_two_runs_that_are_the_first_to_see_the_same_data_both_are_taken(tracked, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    log, asked = MlflowClient.log_inputs, []

    def slower(*words: Any) -> None:
        asked.append(words)
        if len(asked) == 1:
            raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name", error_code=3)
        log(*words)

    monkeypatch.setattr(MlflowClient, "log_inputs", slower)
    with tracking.start_run(tracked, IDENTITY, {}, tracked.params) as opened:
        pass
    assert len(asked) == 2
    assert len(heard(tracked, opened.run_id)["data"]) == 2


def test_a_later_run_sends_what_an_earlier_one_left(tracked, tmp_path_factory):
    with locked(tracked):
        told(tracked, tmp_path_factory.mktemp("things") / "a")
    with tracking.start_run(tracked, tracking.RunIdentity("ali", "paper", "128", "work-0"), {}, tracked.params):
        assert kept(tracked) == []
    assert heard(tracked, only_run(tracked))["status"] == "FINISHED"


@pytest.mark.parametrize(("fault", "status"), [(KeyboardInterrupt(), "KILLED"), (ZeroDivisionError("none"), "FAILED")])
def test_how_a_run_ended_is_kept_too(tracked, fault, status):
    with locked(tracked), pytest.raises(type(fault)), tracking.start_run(tracked, IDENTITY, {}, tracked.params):
        raise fault
    (sent,) = tracking.send_queued_calls(tracked)
    found = client(tracked).get_run(sent.run_id)
    assert found.info.status == status
    assert found.data.tags["failure"] == f"{type(fault).__name__}: {fault}"


def test_a_run_that_nobody_heard_and_that_was_stopped_goes_on_as_the_same_run(tracked):
    begun = tracked.root / "begun.json"
    for step, fault in ((1, KeyboardInterrupt), (2, KeyboardInterrupt)):
        with (
            locked(tracked),
            pytest.raises(fault),
            tracking.start_run(tracked, IDENTITY, {}, tracked.params, begun) as opened,
        ):
            opened.log_metrics({"loss": 1.0}, step=step)
            raise fault
    assert [about.calls for about in tracking.list_pending_runs(tracked)] == [6]  # both in one outbox
    with tracking.start_run(tracked, IDENTITY, {}, tracked.params, begun) as opened:
        opened.log_metrics({"loss": 1.0}, step=3)
    found = heard(tracked, only_run(tracked))
    assert opened.run_id == only_run(tracked)
    assert (found["status"], [step for step, _ in found["losses"]]) == ("FINISHED", [1, 2, 3])
    assert "failure" not in found["tags"]


def test_what_a_later_stage_adds_while_the_server_is_away_joins_the_run(tracked, tmp_path_factory):
    told(tracked, tmp_path_factory.mktemp("things") / "a")
    record = tracking.read_run_record(tracked, results_of(tracked))
    unknown = record | {"run_id": "0" * 32}
    with locked(tracked):
        for one in (record, unknown):
            with tracking.resume_run(tracked, one) as opened:
                opened.log_metrics({"test_accuracy": 0.5})
    assert [outcome.state for outcome in tracking.send_queued_calls(tracked)] == ["sent", "sent"]
    assert client(tracked).get_run(record["run_id"]).data.metrics["test_accuracy"] == 0.5
    (stand_in,) = runs(tracked, f"tags.stands_for = '{'0' * 32}'")
    assert stand_in.data.metrics["test_accuracy"] == 0.5
    with tracking.resume_run(tracked, unknown) as opened:
        assert opened.run_id == stand_in.info.run_id


# sending --------------------------------------------------------------------------------------------------------------


def test_sending_that_is_interrupted_after_every_call_doubles_nothing(tracked, tmp_path_factory, monkeypatch):
    with locked(tracked):
        told(tracked, tmp_path_factory.mktemp("things") / "a")
    note, stopped = outbox.write_json, []

    def stop_once(path: Path, values: Any) -> None:
        if path.name == "sent.json" and values["calls"] not in stopped:
            stopped.append(values["calls"])
            raise KeyboardInterrupt  # the call was sent, and nobody noted it
        note(path, values)

    monkeypatch.setattr(outbox, "write_json", stop_once)
    for _ in range(20):
        try:
            tracking.send_queued_calls(tracked)
        except KeyboardInterrupt:
            continue
        break
    assert stopped == [1, 4, 5, 6, 7, 8, 9, 10, 11, 12]  # three epochs went together
    late = heard(tracked, only_run(tracked))
    direct = heard(tracked, told(tracked, tmp_path_factory.mktemp("things") / "b"))
    assert late == direct


def test_a_queue_that_version_0_1_wrote_is_sent(tracked):
    local_id = "a" * 32
    folder = tracked.mlruns / "outbox" / local_id
    (folder / "things" / "b").mkdir(parents=True)
    (folder / "things" / "b" / "a.txt").write_text("a")
    (folder / "about.json").write_text('{"server": "", "label": "pca-mel work-0", "since_ms": 1}')
    tags, run = {"fold": "work-0", "local_id": local_id}, {"stage": "embeddings", "name": "pca-mel work-0"}
    parameters = {"row": "pca-mel", "batch": "32"}
    calls = [
        {"call": "open", **run, "local_id": local_id, "tags": tags, "parameters": parameters, "data": [],
         "runs_again": True, "at_ms": 1000},
        {"call": "metrics", "values": {"loss": 1.0}, "step": 1, "at_ms": 1001},
        {"call": "tag", "key": "lost_calls", "value": "1"},
        {"call": "file", "folder": None, "thing": "things/b/a.txt"},
        {"call": "folder", "name": "model", "thing": "things/b"},
        {"call": "end", "status": "FINISHED", "failure": "", "at_ms": 2000},
    ]  # fmt: skip
    (folder / "calls.jsonl").write_text("".join(f"{json.dumps(call)}\n" for call in calls))
    (outcome,) = tracking.send_queued_calls(tracked)
    found = heard(tracked, outcome.run_id)
    assert (found["status"], found["params"], found["losses"]) == ("FINISHED", parameters, [(1, 1.0)])
    assert (found["files"], found["tags"]["lost_calls"]) == ({"a.txt": 1, "model/a.txt": 1}, "1")


def test_two_senders_at_once_send_once(tracked, tmp_path_factory, monkeypatch):
    with locked(tracked):
        for name in ("a", "b"):
            told(tracked, tmp_path_factory.mktemp("things") / name)
    monkeypatch.setattr(server, "LOCK_TIMEOUT_S", 30.0)  # they write to the same database
    with ThreadPoolExecutor(3) as pool:
        outcomes = [one for sent in pool.map(tracking.send_queued_calls, [tracked] * 3) for one in sent]
    assert sorted(one.pending.name for one in outcomes if one.state == "sent") == sorted(
        {one.pending.name for one in outcomes}
    )
    assert {one.state for one in outcomes} <= {"sent", "busy"}, [one.reason for one in outcomes]
    assert [run.info.status for run in runs(tracked)] == ["FINISHED"] * 2
    assert all(len(heard(tracked, run.info.run_id)["losses"]) == 4 for run in runs(tracked))


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from symphony2vec import tracking
from symphony2vec.project import Project
from symphony2vec.tracking import server
server.LOCK_TIMEOUT_S = 0.05
project = Project(Path(sys.argv[1]))
other = sqlite3.connect(project.mlruns / "mlflow.db", isolation_level=None)
other.execute("BEGIN EXCLUSIVE")
identity = tracking.RunIdentity("embeddings", "pca", "mel", "work-0")
with tracking.start_run(project, identity, {}, project.params, project.root / "begun.json") as opened:
    opened.log_metrics({"loss": 1.0}, step=1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_training_kept_is_sent_but_for_a_torn_line(tracked):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tracked.root)], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    (about,) = tracking.list_pending_runs(tracked)
    with (about.folder / "calls.jsonl").open("ab") as file:
        file.write(b'{"call": "metrics", "val')
    begun = tracked.root / "begun.json"
    with (
        locked(tracked),
        pytest.raises(KeyboardInterrupt),
        tracking.start_run(tracked, IDENTITY, {}, tracked.params, begun),
    ):
        raise KeyboardInterrupt  # the next call does not join the torn line
    assert kept(tracked) == ["open", "metrics", "open", "end"]
    assert "4 calls, as run" in command(tracked, "send")
    assert heard(tracked, only_run(tracked))["losses"] == [(1, 1.0)]
    with tracking.start_run(tracked, IDENTITY, {}, tracked.params, begun) as opened:
        opened.log_metrics({"loss": 0.5}, step=2)
    assert heard(tracked, only_run(tracked))["losses"] == [(1, 1.0), (2, 0.5)]


def test_what_is_meant_for_another_server_stays(tracked, monkeypatch, tmp_path_factory):
    with locked(tracked):
        told(tracked, tmp_path_factory.mktemp("things") / "a")
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, f"sqlite:///{tmp_path_factory.mktemp('other') / 'mlflow.db'}")
    (outcome,) = tracking.send_queued_calls(tracked)
    assert outcome.state == "other_server"
    assert outcome.reason == "its calls are for the project's own database; unset MLFLOW_TRACKING_URI and send again"
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE)
    assert [outcome.state for outcome in tracking.send_queued_calls(tracked)] == ["sent"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://user:***@host", "http://user:***@host; set {} to that address with its password and"),
        ("http://host", "http://host; set {} to that address and"),
    ],
)
def test_a_hidden_password_has_to_be_set_as_well(address, expected):
    reason = delivery._explain_other_server(address)
    assert reason == f"its calls are for {expected.format(tracking.TRACKING_URI_VARIABLE)} send again"


def test_a_run_that_goes_on_with_another_server_leaves_what_waits_for_the_first(tracked, monkeypatch, tmp_path_factory):
    begun = tracked.root / "begun.json"
    context = tracking.start_run(tracked, IDENTITY, {}, tracked.params, begun)
    opened = context.__enter__()
    with locked(tracked):
        opened.log_metrics({"loss": 1.0}, step=1)
        context.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, f"sqlite:///{tmp_path_factory.mktemp('other') / 'mlflow.db'}")
    with tracking.start_run(tracked, IDENTITY, {}, tracked.params, begun) as other:
        other.log_metrics({"loss": 1.0}, step=2)
    assert other.run_id != opened.run_id
    assert [step for step, _ in heard(tracked, other.run_id)["losses"]] == [2]
    (waiting,) = tracking.list_pending_runs(tracked)
    assert waiting.name == opened.run_id
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE)
    assert [outcome.state for outcome in tracking.send_queued_calls(tracked)] == ["sent"]
    assert [step for step, _ in heard(tracked, opened.run_id)["losses"]] == [1]


def test_a_damaged_outbox_holds_up_no_other_run(tracked, tmp_path_factory):
    with locked(tracked):
        for name in "ab":
            told(tracked, tmp_path_factory.mktemp("things") / name)
    first, second = tracking.list_pending_runs(tracked)
    journal = first.folder / "calls.jsonl"
    journal.write_text('{"call": "open"}\n{\n')
    assert f"{first.name}: " in command(tracked, "pending")
    with tracking.start_run(tracked, IDENTITY, {}, tracked.params):
        pass
    (left,) = tracking.list_pending_runs(tracked)
    assert left.name == first.name
    assert left.error == (
        f"{journal}, line 2 is not valid JSON; repair it, or delete {first.folder} to discard the queued calls"
    )
    assert second.folder.exists() is False
    journal.write_text('{"call": "open"}\n')
    (first.folder / "about.json").write_text("{\n")
    (left,) = tracking.list_pending_runs(tracked)
    assert left.error.startswith(f"{first.folder / 'about.json'} is missing or damaged (")
    assert left.error.endswith(f"; repair it, or delete {first.folder} to discard the queued calls")


def test_calls_that_were_sent_but_not_recorded_are_not_blamed_on_the_server(tracked, tmp_path_factory, monkeypatch):
    with locked(tracked):
        for name in "ab":
            told(tracked, tmp_path_factory.mktemp("things") / name)

    def fail(path: Path, _: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "write_json", fail)
        outcomes = tracking.send_queued_calls(tracked)
        assert [outcome.state for outcome in outcomes] == ["unrecorded", "unrecorded"]  # the second is not tried
        assert "sent to MLflow, but not recorded as sent ([Errno 28] No space left" in outcomes[0].reason
    assert [outcome.state for outcome in tracking.send_queued_calls(tracked)] == ["sent", "sent"]
    assert [len(heard(tracked, run.info.run_id)["losses"]) for run in runs(tracked)] == [4, 4]


def test_a_queue_that_another_process_sends_is_not_blamed_on_the_server(tracked, monkeypatch, capsys):
    begun = tracked.root / "begun.json"
    context = tracking.start_run(tracked, IDENTITY, {}, tracked.params, begun)
    with locked(tracked), pytest.raises(KeyboardInterrupt), context:
        raise KeyboardInterrupt
    (waiting,) = tracking.list_pending_runs(tracked)
    sender, acquire = outbox.Outbox(tracked, waiting.name), outbox.Outbox.acquire
    assert sender.acquire()
    monkeypatch.setattr(outbox.Outbox, "acquire", lambda self, timeout_s=0.0: acquire(self, 0.0))
    capsys.readouterr()
    with tracking.start_run(tracked, IDENTITY, {}, tracked.params, begun):
        pass
    sender.release()
    lines = capsys.readouterr().err
    assert f"another process is sending the calls queued in mlruns/outbox/{waiting.name}; pca-mel work-0 cont" in lines
    assert "does not answer" not in lines


def test_what_the_server_refuses_stays_and_holds_up_no_other(tracked, tmp_path_factory, capsys):
    context = tracking.start_run(tracked, IDENTITY, {}, tracked.params)
    opened = context.__enter__()
    with locked(tracked):
        opened.log_metrics({"loss": 1.0})
        context.__exit__(None, None, None)
        told(tracked, tmp_path_factory.mktemp("things") / "a")
    client(tracked).delete_run(opened.run_id)
    refused, sent = tracking.send_queued_calls(tracked)
    assert (refused.pending.name, refused.state, sent.state) == (opened.run_id, "rejected", "sent")
    assert refused.reason.endswith(f"; to discard the queued calls, delete {refused.pending.folder}")
    capsys.readouterr()
    for _ in range(2):
        with tracking.start_run(tracked, IDENTITY, {}, tracked.params):
            pass
    (line,) = capsys.readouterr().err.splitlines()  # said once, however many runs follow
    assert line.startswith("symphony2vec: pca-mel work-0: the queued calls of an earlier run were not sent: MLflow at ")
    assert [about.name for about in tracking.list_pending_runs(tracked)] == [opened.run_id]


def test_a_silent_server_is_said_by_the_command(tracked, tmp_path_factory):
    with locked(tracked):
        told(tracked, tmp_path_factory.mktemp("things") / "a")
        with pytest.raises(
            UserError, match=r"1 of 1 runs were not sent: MLflow at sqlite:.* does not answer .*is locked"
        ):
            command(tracked, "send")
    assert len(tracking.list_pending_runs(tracked)) == 1


# a locked database, a full disk ---------------------------------------------------------------------------------------


def test_a_database_that_is_locked_for_a_while_is_waited_for(tracked, monkeypatch):
    monkeypatch.setattr(server, "LOCK_TIMEOUT_S", 30.0)
    with tracking.start_run(tracked, IDENTITY, {}, tracked.params) as opened:
        held, free = threading.Event(), threading.Event()

        def hold() -> None:
            with locked(tracked):
                held.set()
                free.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(30)
        threading.Timer(0.5, free.set).start()
        opened.log_metrics({"loss": 1.0})
        assert free.is_set()
        thread.join()
    assert not (tracked.mlruns / "outbox").exists()
    assert heard(tracked, opened.run_id)["losses"] == [(0, 1.0)]


@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_full_disk_loses_calls_but_no_training(tracked, monkeypatch, capsys, from_the_start):
    full = from_the_start

    def sync(_descriptor: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", sync)
    with locked(tracked):
        context = tracking.start_run(tracked, IDENTITY, {"batch": 32}, tracked.params)
        opened = context.__enter__()
        opened.log_metrics({"loss": 3.0}, step=1)
        full = True
        opened.log_metrics({"loss": 2.0}, step=2)
        full = False
        opened.log_metrics({"loss": 1.0}, step=3)
    context.__exit__(None, None, None)
    lines = capsys.readouterr().err.splitlines()
    (lost,) = [line for line in lines if "dropped" in line]
    assert "MLflow calls cannot be queued in mlruns/outbox/" in lost
    assert "No space left on device" in lost
    found = heard(tracked, only_run(tracked))
    assert [step for step, _ in found["losses"]] == ([3] if from_the_start else [1, 3])
    assert found["tags"]["dropped_calls"] == str(3 - len(found["losses"]))
    assert (found["status"], found["params"]["batch"]) == ("FINISHED", "32")


# servers that answer, but wrongly -------------------------------------------------------------------------------------


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """A server whose every request gets the same answer: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if self.raw_requestline and self.parse_request():
                asked.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer(self)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}", asked
    finally:
        made.shutdown()
        made.server_close()


def status(code: int, text: str = "") -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_server_that_refuses_is_one_line(project, monkeypatch, code):
    with answering(status(code, "no entry")) as (address, _):
        monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, address)
        line = rf"^MLflow at {address}: .*{code}.*; check the server, or unset MLFLOW_TRACKING_URI to use mlruns/$"
        with pytest.raises(UserError, match=line), tracking.start_run(project, IDENTITY, {}, project.params):
            pass
    assert tracking.list_pending_runs(project) == []


@pytest.mark.parametrize("code", [500, 503])
def test_a_server_that_fails_is_one_that_does_not_answer(project, monkeypatch, code, capsys):
    with answering(status(code)) as (address, _):
        monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, address)
        with tracking.start_run(project, IDENTITY, {}, project.params) as opened:
            opened.log_metrics({"loss": 1.0})
    assert kept(project) == ["open", "metrics", "end"]
    assert f"does not answer (too many {code} error responses)" in capsys.readouterr().err


def test_a_server_that_hangs_is_given_up_after_the_users_own_timeout(project, monkeypatch, capsys):
    released = threading.Event()
    bounds = {server.TIMEOUT_VARIABLE: "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    for name, value in bounds.items():
        monkeypatch.setenv(name, value)
    with answering(lambda _: released.wait(30)) as (address, asked):  # type: ignore[arg-type, return-value]
        monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, address)
        monkeypatch.setattr(server, "RETRY_COST_FACTOR", 50.0)
        before = dict(os.environ)
        with tracking.start_run(project, IDENTITY, {}, project.params) as opened:
            opened.log_metrics({"loss": 1.0})
        assert dict(os.environ) == before
        released.set()
    assert len(asked) == 1  # the next calls came before fifty times what the first one cost
    assert kept(project) == ["open", "metrics", "end"]
    assert "does not answer (timed out)" in capsys.readouterr().err


def test_a_silent_server_is_not_asked_at_every_call(project, monkeypatch):
    monkeypatch.setattr(server, "RETRY_INTERVAL_S", 30.0)
    clock = 0.0
    monkeypatch.setattr(server, "monotonic", lambda: clock)
    with answering(status(503)) as (address, asked):
        monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with tracking.start_run(project, IDENTITY, {}, project.params) as opened:
            counts = []
            for later_s in (0.0, 10.0, 19.0, 2.0, 0.0):
                clock += later_s
                opened.log_metrics({"loss": 1.0})
                counts.append(len(asked))
    assert counts[0] == counts[1] == counts[2] == 1
    assert counts[3] == counts[4] > counts[2]
    assert len(asked) > counts[4]  # a run's end asks again


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("http://user:s3cret@host:5000/path", "http://user:***@host:5000/path"),
        ("postgresql://user:s3/c@ret@host/db", "postgresql://user:***@host/db"),
        ("postgresql://host/db?user=me&password=s3cret", "postgresql://host/db?user=me&password=***"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_password(address, safe):
    assert tracking.redact(address) == safe


def test_no_password_is_printed_or_written(project, monkeypatch, capsys):
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, "http://user:s3cret%21@127.0.0.1:9")
    with tracking.start_run(project, IDENTITY, {}, project.params) as opened:
        opened.log_metrics({"loss": 1.0})
    said = capsys.readouterr().err + command(project, "pending")
    with pytest.raises(UserError) as asked, tracking.client(project) as held:
        held.search_experiments()
    with answering(status(403, "no entry")) as (address, _):
        monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, address.replace("://", "://user:s3cret%21@"))
        with pytest.raises(UserError) as refused, tracking.client(project) as held:
            held.search_experiments()
    said += str(asked.value) + str(refused.value)
    said += "".join(path.read_text() for path in (project.mlruns / "outbox").rglob("*.json*"))
    assert "user:***@127.0.0.1:9" in said
    assert "s3cret" not in said
