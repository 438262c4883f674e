"""Several worker processes on one study: interrupted and killed ones, on a file and on a PostgreSQL server."""

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
from symphony2vec import params, tracking
from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.study import search, verdict, workers
from symphony2vec.study.database import Database
from test_ali import spectrograms
from test_study import make_project, mlflow_database, shrink  # noqa: F401 (mlflow_database is a fixture)

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
TIMEOUT_S = 240.0


@pytest.fixture
def here(tmp_path: Path, mlflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Project:  # noqa: F811
    """A project whose trials take six updates, and whose study repeats one of them once."""
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    project = make_project(tmp_path, mlflow_database, spectrograms())
    values = shrink(YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    values["study"] |= {"epochs": 3, "repeated_trials": 1, "seeds": 1, "startup_trials": 10}
    values["study"]["ali"] |= {"latent": [4], "batch": [12]}
    with project.params.open("w", encoding="utf-8") as file:
        YAML().dump(values, file)
    return project


@contextmanager
def start_study(project: Project, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run `symphony2vec study ali` in a separate process group, killed at the end."""
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


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Wait until a condition is true and return its value; stop when the process ends."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        if process is not None and process.poll() is not None:
            raise AssertionError(process.stdout.read() if process.stdout else "")
        time.sleep(0.1)
    raise AssertionError("the condition did not become true in time")


@cache
def database(project: Project, url: str | None = None) -> Database:
    return Database.from_url(project, url)


def trials_of(project: Project, which: int = 0, url: str | None = None) -> list[FrozenTrial]:
    return list(database(project, url).open_studies("ali")[which].trials)


def running_trials(project: Project) -> list[FrozenTrial]:
    """Return the running trials that have reported a value."""
    return [trial for trial in trials_of(project) if trial.state.name == "RUNNING" and trial.intermediate_values]


def active_workers(project: Project, url: str) -> set[int]:
    """Return the processes whose trials have reported a value."""
    return {pid_of(trial) for trial in trials_of(project, url=url) if trial.intermediate_values}


def pid_of(trial: FrozenTrial) -> int:
    return int(trial.user_attrs["worker"].split()[-1])


def output_of(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=TIMEOUT_S)
    return text


def test_a_killed_and_an_interrupted_worker_lose_no_trial(here):
    with start_study(here, "--workers", "2", "--trials", "4") as process:
        both = wait_for(lambda: len(running := running_trials(here)) == 2 and running, process)
        assert pid_of(both[0]) != pid_of(both[1])
        os.kill(pid_of(both[0]), signal.SIGKILL)
        # The command fails its trial at once, and the other worker runs it again.
        wait_for(lambda: any("retry_history" in trial.system_attrs for trial in running_trials(here)), process)
        os.killpg(process.pid, signal.SIGINT)
        text = output_of(process)
        assert process.returncode == 130, text
    assert text.endswith("symphony2vec: interrupted; run the same command again to continue\n")
    assert "was killed by SIGKILL; its trial is run again" in text
    assert "Traceback" not in text
    stopped = trials_of(here)
    assert not [trial for trial in stopped if trial.state.name == "RUNNING"]
    (dead,) = [trial for trial in stopped if trial.state.name == "FAIL" and not trial.user_attrs.get("failure")]
    (interrupted,) = [trial for trial in stopped if trial.user_attrs.get("failure") == "interrupted"]
    search.run(here, params.read(here.params), database(here), n_trials=4)
    trials = trials_of(here)
    assert Counter(trial.state.name for trial in trials if trial.state.name != "FAIL") == {"COMPLETE": 4}
    completed = [trial.params for trial in trials if trial.state.name == "COMPLETE"]
    assert dead.params in completed
    assert interrupted.params in completed
    assert [trial.state.name for trial in trials_of(here, 1)] == ["COMPLETE"]
    run = client(here).get_run(dead.user_attrs["mlflow_run_id"])
    assert (run.info.status, run.data.tags["failure"]) == ("FAILED", "its worker was killed")
    experiment = client(here).get_experiment_by_name("study").experiment_id
    assert not client(here).search_runs([experiment], "attributes.status = 'RUNNING'")


SCRIPT = """
import sys
from pathlib import Path
from symphony2vec import params
from symphony2vec.project import Project
from symphony2vec.study import search
from symphony2vec.study.database import Database
project = Project(Path(sys.argv[1]))
storage = Database(Database.from_url(project, None).url, heartbeat_s=1, grace_s=2)
search.run(project, params.read(project.params), storage, n_trials=2)
"""


def test_the_trial_of_a_killed_command_is_run_again_when_its_heartbeat_stops(here):
    words = [sys.executable, "-c", SCRIPT, str(here.root)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: running_trials(here), process)
        process.kill()
    (killed,) = [trial for trial in trials_of(here) if trial.state.name == "RUNNING"]
    storage = Database(database(here).url, heartbeat_s=1, grace_s=2)
    search.run(here, params.read(here.params), storage, n_trials=2)
    trials = trials_of(here)
    assert trials[killed.number].state.name == "FAIL"
    completed = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(completed) == 2
    assert killed.params in [trial.params for trial in completed]
    assert client(here).get_run(killed.user_attrs["mlflow_run_id"]).info.status == "FAILED"


def test_two_machines_share_a_study_on_one_postgresql_server(
    here,
    postgres_url,
    tmp_path_factory,
    mlflow_database,  # noqa: F811
    capsys,
):
    """One has two workers, the other is this process; each has its own project and MLflow database."""
    other = make_project(tmp_path_factory.mktemp("machine"), mlflow_database, spectrograms())
    other.params.write_bytes(here.params.read_bytes())
    storage = Database.from_url(other, postgres_url)
    with start_study(here, "--trials", "5", "--workers", "2", "--storage", postgres_url) as process:
        wait_for(lambda: len(active_workers(here, postgres_url)) == 2, process)
        search.run(other, params.read(other.params), storage, n_trials=5)
        text = output_of(process)
        assert process.returncode == 0, text
    trials = trials_of(here, url=postgres_url)
    completed = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(completed) == len(trials)
    assert len(completed) in (5, 6)  # two machines may begin the last trial in the same moment
    assert len({pid_of(trial) for trial in completed}) == 3
    assert len({tuple(trial.params.items()) for trial in completed}) == len(completed)
    assert PASSWORD not in text + capsys.readouterr().out
    assert "optuna-dashboard 'postgresql+psycopg://music:***@127.0.0.1:" in text
    best = verdict.rank_finalists(*storage.open_studies("ali"), params.read(other.params).study, 0)[0]
    assert f"by which trial {best.number} wins" in text


def test_the_dashboard_opens_the_same_storage(here):
    storage = Database.from_url(here, None)
    for number in range(3):
        trial = storage.open_studies("ali")[0].ask()
        storage.open_studies("ali")[0].tell(trial, number)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(BIN / "optuna-dashboard"), storage.safe_url, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            studies = wait_for(lambda: _json(f"http://127.0.0.1:{port}/api/studies"), process)
            (mine,) = [summary for summary in studies["study_summaries"] if summary["study_name"] == "ali"]
            details = _json(f"http://127.0.0.1:{port}/api/studies/{mine['study_id']}?after=0")
        finally:
            process.terminate()
    assert mine["directions"] == ["maximize"]
    assert [trial["values"] for trial in details["trials"]] == [[0], [1], [2]]


def _json(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return None


def test_the_end_of_all_workers_is_reported_in_one_line(here, monkeypatch):
    database, settings = Database.from_url(here, None), params.read(here.params)
    job = workers.StudyJob(here, settings, database, "ali", 2, None, os.getpid())
    monkeypatch.setattr(workers, "_process_main", os.abort)  # ends at once
    with pytest.raises(UserError, match=r"^no worker is left; run the same command again to resume$"):
        workers.run_trials(job, 2)
