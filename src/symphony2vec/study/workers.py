"""The processes that share the trials of a study: how many are left to do, what ends a worker, and who is dead.

A worker begins a trial while fewer than wanted are done or running; when all are begun it waits for those of others, so
that it can take over what a dead one leaves. Then all share the repeats in the same way. An interrupt (Ctrl-C, or
SIGTERM) fails the trial that is running with that reason, and what it had drawn is drawn again by the next worker. A
worker whose command is gone stops by itself. A worker that is killed is noticed at once by its command, and by others
when its heartbeat is silent for two minutes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import TYPE_CHECKING, Any

import filelock
import optuna
import torch
from filelock import BaseFileLock
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from tqdm import tqdm

from symphony2vec.clips import splits
from symphony2vec.errors import UserError
from symphony2vec.params import Params
from symphony2vec.project import Project
from symphony2vec.study import kinds, verdict
from symphony2vec.study.database import Database, requeue
from symphony2vec.study.trials import Ground, Tracked, reasoned, repeated, searched

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

POLL_S = 1.0
FAILURES_IN_A_ROW = 5  # after which something else than a setting is wrong
GOODBYE_S = 60.0  # for a worker to give its trial back
INTERRUPTED = 130


@dataclass(frozen=True)
class Job:
    """What a worker is given.

    wanted: trials in all; until: no trial begins later (seconds of the epoch); command: the process of the command,
    with which its workers end.
    """

    project: Project
    params: Params
    kept: Database
    name: str
    wanted: int
    until: float | None
    command: int


class Interruption:
    """An interrupt is raised only while a trial is running, where it can be written down; else it is remembered."""

    def __init__(self) -> None:
        self.asked = False
        self._allowed = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Signals are heard here for the length of the block."""
        before = {one: signal.signal(one, self._hear) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """The block may be interrupted."""
        self._allowed = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    def _hear(self, _signal: int, _frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        if first and self._allowed:
            self._allowed = False
            raise KeyboardInterrupt


def token(pid: int) -> str:
    """Who runs a trial: its user attribute `worker`, by which a command finds what its dead worker was doing."""
    return f"{socket.gethostname()} {pid}"


def work_through(job: Job, processes: int) -> None:
    """All that is missing of a study, by so many workers; returns when nothing is."""
    study, repeats = job.kept.studies(job.name)
    left = job.wanted - len(_in_state(study, "COMPLETE", "PRUNED"))
    if left > 0 and job.until is None:
        processes = min(processes, max(left, job.params.study.repeated * job.params.study.seeds))
    if processes == 1:
        work(job)
    elif left > 0 or _unfinished(job, study, repeats):
        _together(job, processes)


def work(job: Job) -> None:
    """What one worker does: its share of the trials, then of the repeats."""

    study, repeats = job.kept.studies(job.name)
    own = job.params.study
    study.pruner = MedianPruner(n_startup_trials=own.startup_trials, n_warmup_steps=own.warm_up_epochs, n_min_trials=2)
    tracked = Tracked(job.project, study.user_attrs["mlflow_run_id"])
    begins = filelock.FileLock(job.project.mlruns / ".study.lock")
    ground = Ground(job.project, job.params, kinds.of(study))
    worker = _Worker(job, study, repeats, ground, tracked, begins, Interruption())
    with worker.interruption.heard():
        worker.search()
        worker.repeat()
    if worker.interruption.asked:
        raise KeyboardInterrupt


@dataclass
class _Worker:
    job: Job
    study: Study
    repeats: Study
    ground: Ground
    tracked: Tracked
    begins: BaseFileLock  # held from the look at what is missing until a trial has begun
    interruption: Interruption
    failures: int = 0

    def search(self) -> None:
        """Trials until enough are done, or the time is up, and none of another worker is running any more."""
        while not self._stopped():
            with self.begins:
                done = len(_in_state(self.study, "COMPLETE", "PRUNED"))
                running = len(_in_state(self.study, "RUNNING"))
                late = self.job.until is not None and time.time() >= self.job.until
                free = done + running < self.job.wanted and not late
                if not free and not running:
                    return
                if free:
                    self.study.sampler = self._sampler()
                    self._one(self.study, searched)
            if not free:
                _wait(self.study)

    def repeat(self) -> None:
        """The best trials from further seeds, until none is missing and none is running."""
        while not self._stopped():
            with self.begins:
                left = verdict.missing(self.study, self.repeats, self.job.params.study, self.ground.fold.seed)
                if not left and not _in_state(self.repeats, "RUNNING"):
                    return
                if left:
                    self._one(self.repeats, repeated, *left[0])
            if not left:
                _wait(self.repeats)

    def _one(self, study: Study, work: Callable[..., float], *what: Any) -> None:
        """One trial of a study; the lock is given back as soon as others can see that it has begun."""
        begun: list[int] = []

        def objective(trial: Trial) -> float:
            begun.append(trial.number)
            with reasoned(trial), self.interruption.allowed():
                own = {"trial": what[0].number, "seed": what[1]} if what else {}
                for key, value in {"worker": token(os.getpid()), **own}.items():
                    trial.set_user_attr(key, value)
                self.begins.release()
                return work(trial, self.ground, self.tracked, *what, self._live)

        try:
            study.optimize(objective, n_trials=1, catch=(Exception,), callbacks=[self._tell])
        except KeyboardInterrupt:
            requeue(study, study.get_trials(deepcopy=False)[begun[0]], counted=False)

    def _sampler(self) -> BaseSampler:
        """TPE with a seed of its own for each trial: a search that was stopped between two trials goes on as if it had
        not been. A trial that was interrupted and run again counts twice: after it other settings are drawn.

        The lock keeps two workers from seeing the same number of trials, but not two machines: their places differ.
        """

        own, begun = self.job.params.study, len(self.study.get_trials(deepcopy=False))
        source = f"{own.seed} {begun} {self.job.kept.place(self.job.project)}"
        return TPESampler(n_startup_trials=own.startup_trials, seed=zlib.crc32(source.encode()))

    def _tell(self, study: Study, trial: FrozenTrial) -> None:
        """One line a trial; the worker ends when one after the other fails."""
        reason = trial.user_attrs.get("failure", "")
        self.failures = self.failures + 1 if reason else 0
        print(_line(study, trial), flush=True)
        if self.failures >= FAILURES_IN_A_ROW:
            raise UserError(f"{self.failures} trials in a row failed, the last one because: {reason}")

    def _stopped(self) -> bool:
        return self.interruption.asked or not self._commanded()

    def _commanded(self) -> bool:
        return self.job.command in (os.getpid(), os.getppid())

    def _live(self) -> None:
        """Called once an epoch."""
        if not self._commanded():
            raise KeyboardInterrupt


def _together(job: Job, processes: int) -> None:
    """Workers in processes of their own; an interrupt stops them all, a death is told and its trial given back.

    Raises:
        UserError: every worker has ended badly; the reason of the last one.
    """

    context = multiprocessing.get_context("spawn")
    fresh = replace(job, kept=replace(job.kept))  # a connection of its own in each process
    told, telling = context.Pipe(duplex=False)
    running = {
        number: context.Process(target=_process, args=(fresh, telling), daemon=True)
        for number in range(1, processes + 1)
    }
    for process in running.values():
        process.start()
    good = 0
    try:
        while running:
            wait([process.sentinel for process in running.values()])
            for number in [number for number, process in running.items() if not process.is_alive()]:
                process = running.pop(number)
                process.join()
                good += process.exitcode == 0
                if (process.exitcode or 0) < 0:
                    _buried(job, number, process)
    finally:
        _dismissed(list(running.values()))
    reason = told.recv() if told.poll() else ""
    if not good:
        raise UserError(reason or "no worker is left; run the same command again to continue")
    if reason:
        print(f"a worker ended before the others: {reason}")


def _process(job: Job, telling: Connection) -> None:
    """The life of one worker process: one thread, no progress bars, its fault told to the command."""
    os.environ["TQDM_DISABLE"] = "1"

    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a killed process leaves behind
    torch.set_num_threads(1)
    try:
        with job.kept.spoken():
            work(job)
    except UserError as fault:
        telling.send(str(fault))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _buried(job: Job, number: int, process: SpawnProcess) -> None:
    """A worker was killed: its trial is failed now, and what it had drawn waits for another worker."""
    killer = signal.Signals(-(process.exitcode or 0)).name
    print(f"worker {number} was killed by {killer}; its trial is run again", flush=True)
    for study in job.kept.studies(job.name):
        for trial in _in_state(study, "RUNNING"):
            if trial.user_attrs.get("worker") == token(process.pid or 0):
                study.tell(trial.number, state=trial.state.FAIL)
                requeue(study, trial)


def _dismissed(processes: list[SpawnProcess]) -> None:
    """Ask what still runs to give its trial back and end; kill what does not."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + GOODBYE_S
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _unfinished(job: Job, study: Study, repeats: Study) -> bool:
    first_seed = splits.list_folds(job.params)[0].seed
    left = verdict.missing(study, repeats, job.params.study, first_seed)
    return bool(left or _in_state(study, "RUNNING") or _in_state(repeats, "RUNNING"))


def _wait(study: Study) -> None:
    """A moment, after which the trials of workers that have fallen silent are failed."""

    time.sleep(POLL_S)
    optuna.storages.fail_stale_trials(study)


def _in_state(study: Study, *states: str) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name in states]


def _line(study: Study, trial: FrozenTrial) -> str:
    """What one trial came to, for people."""
    own, state = trial.user_attrs, trial.state.name
    name = f"trial {own['trial']} seed {own['seed']}" if "seed" in own else f"trial {trial.number}"
    if state == "FAIL":
        return f"{name}: failed: {own.get('failure', 'no reason is known')}"
    told = f"{name}: {trial.value:.1%}" + (" (pruned)" if state == "PRUNED" else "")
    best = verdict.best(study, 1)
    return told if "seed" in own or not best else f"{told}, best {best[0].value:.1%} (trial {best[0].number})"
