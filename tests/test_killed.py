"""Every network, killed in the middle of its training: started again it ends with the numbers of one that was not."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML

import test_ali
import test_classifiers
import test_embeddings
from conftest import runs, with_database
from symphony2vec import params, tracking
from symphony2vec.models.ali import stage as ali
from symphony2vec.models.classifiers import stage as classifiers
from symphony2vec.models.embeddings import stage as embeddings
from symphony2vec.models.training import loop
from symphony2vec.project import Project

pytestmark = pytest.mark.slow


class Stage(NamedTuple):
    """A stage, and the small project and parameters of its own tests."""

    run: Callable[..., None]
    project_in: Callable[[Path], Project]
    reduced: Callable[[dict[str, Any]], params.Params]


MOST_EPOCHS = 20  # of 8 validation clips the accuracy rises 8 times at most, so patience for 2 ends it by the 19th
PATIENT = {"batch": 12, "patience": 2, "epochs": MOST_EPOCHS, "instance_noise": 0.1}  # which fades by updates made
STAGES = {
    "classifiers": Stage(classifiers.run, test_classifiers.project_in, partial(test_classifiers.reduced, epochs=2)),
    "embeddings": Stage(
        embeddings.run,
        partial(test_embeddings.project_in, array=test_embeddings.spectrograms()),
        partial(test_embeddings.small, epochs=2),
    ),
    "ali": Stage(
        ali.run,
        partial(test_ali.project_in, array=test_ali.spectrograms()),
        partial(test_ali.reduced, long=PATIENT),
    ),
}
COMMANDS = ["classifiers ff chroma", "classifiers lstm mfcc"]
COMMANDS += ["embeddings ae mel", "embeddings cae mel", "embeddings vae mel"]
COMMANDS += ["ali original-8", "ali long-8", "ali encoder-8"]


@pytest.fixture(autouse=True, scope="module")
def _alike() -> Iterator[None]:
    """Runs go to the project's own database; one thread, as the killed process has; no pictures at the end."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        patch.setattr(ali, "_write_samples", lambda *_: None)
        patch.setattr(ali, "_test_claim", lambda *_: None)
        patch.setattr(tracking.Run, "log_figure", lambda *_: None)
        yield
    torch.set_num_threads(threads)


def project_for(command: str, root: Path, empty_database: Path) -> Project:
    root.mkdir()
    return with_database(STAGES[command.split()[0]].project_in(root), empty_database)


def train(project: Project, command: str, begun: Callable[[], Any], every_s: float) -> None:
    """What the command does, with `begun` called as each update begins and a checkpoint every so many seconds."""
    stage, *words = command.split()
    fit = loop.fit

    def watched(learner: Any, *given: Any) -> Any:
        step = learner.step
        learner.step = lambda rows: (begun(), step(rows))[1]
        return fit(learner, *given, checkpoint_every_s=every_s)

    settings = YAML(typ="safe").load(project.params.read_text(encoding="utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "fit", watched)
        STAGES[stage].run(project, STAGES[stage].reduced(settings), *words)


def updates(project: Project, command: str, every_s: float) -> int:
    """Train in this process; how many updates that took."""
    begun: list[None] = []
    train(project, command, lambda: begun.append(None), every_s)
    return len(begun)


def talk(root: str, command: str, last: str) -> None:
    """What the killed process runs: it says each update, and before the last one waits for a word that never comes."""
    torch.set_num_threads(1)
    numbers = itertools.count(1)

    def say() -> None:
        number = next(numbers)
        print(number, flush=True)
        time.sleep(0.01)
        if number == int(last):
            sys.stdin.read()

    train(Project(Path(root)), command, say, every_s=0.0)


def kill(project: Project, command: str, update: int, share: float, last: int) -> None:
    """Train in a process that is killed once this share of the time of an update has passed in this update."""
    code = "import sys, test_killed; test_killed.talk(*sys.argv[1:])"
    words = [sys.executable, "-c", code, str(project.root), command, str(last)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        said_s = []
        for number in range(1, update + 1):
            assert process.stdout.readline().decode().strip() == str(number)
            said_s.append(time.monotonic())
        time.sleep(share * (said_s[-1] - said_s[0]) / (update - 1))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def home(project: Project, command: str) -> Path:
    """The folder of the command's model on the one fold."""
    stage, *words = command.split()
    return project.out(stage, "work-0", "-".join(words))


def digests_in(folder: Path) -> dict[str, str]:
    """The digests of all files: arrays, tables, the package and run.json."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_killed_training_started_again_ends_with_the_same_bytes(command, tmp_path, empty_database):
    whole, killed = (project_for(command, tmp_path / name, empty_database) for name in ("whole", "killed"))
    count = updates(whole, command, every_s=60.0)
    expected = home(whole, command)
    assert len(pd.read_csv(expected / "curves.csv")) < MOST_EPOCHS

    seed = int(np.random.default_rng().integers(2**32))
    rng = np.random.default_rng(seed)
    update, share = int(rng.integers(2, count)), rng.uniform()
    told = f"seed {seed}: killed in update {update} of {count}"
    kill(killed, command, update, share, count)
    assert len(list(killed.out(".partial").glob("*/checkpoint.pt"))) == 1, told
    assert not home(killed, command).exists(), told

    assert 1 <= updates(killed, command, every_s=0.0) <= count - update + 1, told
    found = digests_in(home(killed, command))
    assert {"curves.csv", "run.json", "model/model.onnx"} < set(found), told
    assert found == digests_in(expected), told
    assert list(home(killed, command).parent.iterdir()) == [home(killed, command)], told
    assert not list(killed.out(".partial").iterdir()), told
    assert [run.info.status for run in runs(killed, stage=command.split()[0])] == ["FINISHED"], told
