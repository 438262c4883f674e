"""Several workers on one study, for real: processes that are interrupted and killed, a file and a PostgreSQL server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial
from ruamel.yaml import YAML

from conftest import ROOT, client
from postgres import PASSWORD
from symphony2vec import params, study, tracking
from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.study import verdict, workers
from symphony2vec.study.database import Database
from test_ali import spectrograms
from test_study import beginning, ready, shrink  # noqa: F401 (ready is a fixture)

BIN = Path(sys.executable).parent
PATIENCE_S = 240.0


@pytest.fixture
def here(tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> Project:  # noqa: F811
    """A project whose trials take six updates, and whose study repeats one of them once."""
    monkeypatch.delenv(tracking.URI, raising=False)
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    made = beginning(tmp_path, ready, spectrograms())
    given = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values = shrink(given)
    values["study"] |= {"epochs": 3, "repeated": 1, "seeds": 1, "startup_trials": 10}
    values["study"]["ali"] |= {"latent": [4], "batch": [12]}
    with made.params.open("w", encoding="utf-8") as file:
        YAML().dump(values, file)
    return made


@contextmanager
def begun(project: Project, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`symphony2vec study ali` in a process group of its own, gone at the end."""
    command = [str(BIN / "symphony2vec"), "study", "ali", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=project.root, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def until(true: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Wait for something to be true, and give it; no longer than the process lives."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        if process is not None and process.poll() is not None:
            raise AssertionError(process.stdout.read() if process.stdout else "")
        time.sleep(0.1)
    raise AssertionError("waited in vain")


@cache
def database(project: Project, url: str | None = None) -> Database:
    return Database.of(project, url)


def searched(project: Project, which: int = 0, url: str | None = None) -> list[FrozenTrial]:
    return list(database(project, url).studies("ali")[which].trials)


def in_the_middle(project: Project) -> list[FrozenTrial]:
    """Trials that run and have said something."""
    return [one for one in searched(project) if one.state.name == "RUNNING" and one.intermediate_values]


def pid_of(trial: FrozenTrial) -> int:
    return int(trial.user_attrs["worker"].split()[-1])


def told(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=PATIENCE_S)
    return text


def test_of_two_workers_one_is_killed_and_the_other_interrupted_and_nothing_is_lost(here):
    with begun(here, "--workers", "2", "--trials", "4") as process:
        both = until(lambda: len(one := in_the_middle(here)) == 2 and one, process)
        assert pid_of(both[0]) != pid_of(both[1])
        os.kill(pid_of(both[0]), signal.SIGKILL)
        # Its trial is failed at once by the command, and the other worker begins it again.
        until(lambda: any(one.user_attrs.get("again") is not None for one in in_the_middle(here)), process)
        os.killpg(process.pid, signal.SIGINT)
        text = told(process)
        assert process.returncode == 130, text
    assert text.endswith("symphony2vec: interrupted; run the same command again to continue\n")
    assert "was killed by SIGKILL; its trial is run again" in text
    assert "Traceback" not in text
    stopped = searched(here)
    assert not [one for one in stopped if one.state.name == "RUNNING"]
    (dead,) = [one for one in stopped if one.state.name == "FAIL" and not one.user_attrs.get("failure")]
    (given_back,) = [one for one in stopped if one.user_attrs.get("failure") == "interrupted"]
    study.run(here, params.read(here.params), database(here), wanted=4)
    trials = searched(here)
    assert Counter(one.state.name for one in trials if one.state.name != "FAIL") == {"COMPLETE": 4}
    done = [one.params for one in trials if one.state.name == "COMPLETE"]
    assert dead.params in done
    assert given_back.params in done
    assert [one.state.name for one in searched(here, 1)] == ["COMPLETE"]
    run = client(here).get_run(dead.user_attrs["mlflow_run_id"])
    assert (run.info.status, run.data.tags["failure"]) == ("FAILED", "its worker was killed")
    experiment = client(here).get_experiment_by_name("study").experiment_id
    assert not client(here).search_runs([experiment], "attributes.status = 'RUNNING'")


ALONE = """
import sys
from pathlib import Path
from symphony2vec import params, study
from symphony2vec.artifacts import Project
from symphony2vec.study.database import Database
project = Project(Path(sys.argv[1]))
kept = Database(Database.of(project, None).url, heartbeat_s=1, grace_s=2)
study.run(project, params.read(project.params), kept, wanted=2)
"""


def test_a_trial_of_a_killed_command_is_noticed_by_its_silence_and_run_again(here):
    words = [sys.executable, "-c", ALONE, str(here.root)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: in_the_middle(here), process)
        process.kill()
    (victim,) = [one for one in searched(here) if one.state.name == "RUNNING"]
    kept = Database(database(here).url, heartbeat_s=1, grace_s=2)
    study.run(here, params.read(here.params), kept, wanted=2)
    trials = searched(here)
    assert trials[victim.number].state.name == "FAIL"
    done = [one for one in trials if one.state.name == "COMPLETE"]
    assert len(done) == 2
    assert victim.params in [one.params for one in done]
    assert client(here).get_run(victim.user_attrs["mlflow_run_id"]).info.status == "FAILED"


def test_two_machines_on_one_postgresql_server_are_one_study(here, postgres_url, tmp_path_factory, ready, capsys):  # noqa: F811
    """One has two workers, the other is this process; each has a project and an MLflow of its own."""
    other = beginning(tmp_path_factory.mktemp("machine"), ready, spectrograms())
    other.params.write_bytes(here.params.read_bytes())
    kept = Database.of(other, postgres_url)
    with begun(here, "--trials", "5", "--workers", "2", "--storage", postgres_url) as process:
        until(
            lambda: len({pid_of(one) for one in searched(here, url=postgres_url) if one.intermediate_values}) == 2,
            process,
        )
        study.run(other, params.read(other.params), kept, wanted=5)
        text = told(process)
        assert process.returncode == 0, text
    trials = searched(here, url=postgres_url)
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(done) == len(trials)
    assert len(done) in (5, 6)  # two machines may begin the last trial in the same moment
    assert len({pid_of(trial) for trial in done}) == 3
    assert len({tuple(trial.params.items()) for trial in done}) == len(done)
    assert PASSWORD not in text + capsys.readouterr().out
    assert "optuna-dashboard 'postgresql+psycopg://music:***@127.0.0.1:" in text
    chosen = verdict.standings(*kept.studies("ali"), params.read(other.params).study, 0)[0]
    assert f"by which trial {chosen.number} wins" in text


def test_the_dashboard_opens_the_same_storage(here):
    kept = Database.of(here, None)
    for number in range(3):
        trial = kept.studies("ali")[0].ask()
        kept.studies("ali")[0].tell(trial, number)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(BIN / "optuna-dashboard"), kept.shown, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            studies = until(lambda: _json(f"http://127.0.0.1:{port}/api/studies"), process)
            (mine,) = [one for one in studies["study_summaries"] if one["study_name"] == "ali"]
            found = _json(f"http://127.0.0.1:{port}/api/studies/{mine['study_id']}?after=0")
        finally:
            process.terminate()
    assert mine["directions"] == ["maximize"]
    assert [trial["values"] for trial in found["trials"]] == [[0], [1], [2]]


def _json(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return None


def test_no_worker_left_is_one_line(here, monkeypatch):
    kept, given = Database.of(here, None), params.read(here.params)
    job = workers.Job(here, given, kept, "ali", 2, None, os.getpid())
    monkeypatch.setattr(workers, "_process", os.abort)  # ends at once, whatever it is given
    with pytest.raises(UserError, match=r"^no worker is left; run the same command again to continue$"):
        workers.work_through(job, 2)
