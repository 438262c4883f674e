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
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial
from ruamel.yaml import YAML

from conftest import ROOT, client
from postgres import PASSWORD
from symphony2vec import params, tracking
from symphony2vec.artifacts import Project
from symphony2vec.errors import UserError
from symphony2vec.study import workers
from symphony2vec.study.database import Database
from test_ali import spectrograms
from test_study import beginning, ready, shrink  # noqa: F401 (ready is a fixture)

BIN = Path(sys.executable).parent
PATIENCE_S = 240.0


@pytest.fixture
def here(tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> Project:  # noqa: F811
    """A project whose study has four trials and one repeat."""
    monkeypatch.delenv(tracking.URI, raising=False)
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    made = beginning(tmp_path, ready, spectrograms())
    given = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values = shrink(given)
    values["study"] |= {"repeated": 1, "seeds": 1, "startup_trials": 10}
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


def searched(project: Project, which: int = 0, url: str | None = None) -> list[FrozenTrial]:
    return list(Database.of(project, url).studies("ali")[which].trials)


def in_the_middle(project: Project) -> list[FrozenTrial]:
    """Trials that run and have said something."""
    return [one for one in searched(project) if one.state.name == "RUNNING" and one.intermediate_values]


def pid_of(trial: FrozenTrial) -> int:
    return int(trial.user_attrs["worker"].split()[-1])


def told(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=PATIENCE_S)
    return text


def test_two_workers_share_one_file_heed_ctrl_c_and_outlive_the_death_of_one(here):
    with begun(here, "--workers", "2", "--trials", "5") as process:
        until(lambda: len({pid_of(one) for one in in_the_middle(here)}) == 2, process)
        os.killpg(process.pid, signal.SIGINT)
        text = told(process)
        assert process.returncode == 130, text
        assert text.endswith("symphony2vec: interrupted; run the same command again to go on\n")
        assert "Traceback" not in text
    stopped = searched(here)
    assert not [one for one in stopped if one.state.name == "RUNNING"]
    given_back = [one.params for one in stopped if one.user_attrs.get("failure") == "interrupted"]
    assert len(given_back) == 2
    with begun(here, "--workers", "2", "--trials", "5") as process:
        victim = until(lambda: in_the_middle(here), process)[0]
        os.kill(pid_of(victim), signal.SIGKILL)
        text = told(process)
        assert process.returncode == 0, text
    assert "was killed by SIGKILL; its trial is run again" in text
    trials = searched(here)
    assert Counter(one.state.name for one in trials if one.state.name != "FAIL") == {"COMPLETE": 5}
    done = [one.params for one in trials if one.state.name == "COMPLETE"]
    assert all(drawn in done for drawn in [*given_back, victim.params])
    assert [one.state.name for one in searched(here, 1)][-1] == "COMPLETE"
    dead = client(here).get_run(victim.user_attrs["mlflow_run_id"])
    assert (dead.info.status, dead.data.tags["failure"]) == ("FAILED", "its worker was killed")
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
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        (victim,) = until(lambda: in_the_middle(here), process)
        process.kill()
    assert [one.state.name for one in searched(here)] == ["RUNNING"]
    again = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    first, *others = searched(here)
    assert first.state.name == "FAIL"
    assert [one.state.name for one in others] == ["COMPLETE"] * 2
    assert victim.params in [one.params for one in others]
    assert client(here).get_run(victim.user_attrs["mlflow_run_id"]).info.status == "FAILED"


def test_two_commands_on_one_postgresql_server_are_one_study(here, postgres_url, tmp_path_factory, ready):  # noqa: F811
    other = beginning(tmp_path_factory.mktemp("machine"), ready, spectrograms())
    other.params.write_bytes(here.params.read_bytes())
    words = ("--trials", "6", "--storage", postgres_url)
    with begun(here, *words) as one, begun(other, *words) as another:
        texts = [told(one), told(another)]
        assert (one.returncode, another.returncode) == (0, 0), texts
    trials = searched(here, url=postgres_url)
    done = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(done) in (6, 7)  # two machines may begin the last trial in the same moment
    assert {pid_of(trial) for trial in done} == {one.pid, another.pid}
    assert len({tuple(trial.params.items()) for trial in done}) == len(done)
    for text in texts:
        assert PASSWORD not in text
        assert "optuna-dashboard 'postgresql+psycopg://music:***@127.0.0.1:" in text
    winners = {text.split("by which trial ")[1].split()[0] for text in texts}
    assert len(winners) == 1


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


def test_every_worker_killed_is_one_line(here, monkeypatch):
    """Workers that die at once, before any trial."""
    kept, given = Database.of(here, None), params.read(here.params)
    job = workers.Job(here, given, kept, "ali", 2, None, os.getpid())
    monkeypatch.setattr(workers, "_process", _die)
    with pytest.raises(UserError, match="every worker was killed; run the same command again to go on"):
        workers.work_through(job, 2)


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
