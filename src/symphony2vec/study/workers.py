"""The worker processes of a study: they share its trials and repeats until nothing is missing.

A worker begins a trial while fewer than `n_trials` are finished or running, then waits for the others, so that it can
run what a dead worker leaves. The repeats are shared in the same way. An interrupt (Ctrl-C or SIGTERM) fails the
running trial with that reason and queues its parameters for the next worker. A worker stops when its command is gone.

Optuna has the heartbeat, the pruner and the queue. It has no processes and no repeats, and it notices a killed worker
only after two silent minutes; the command that started the worker notices at once and fails its trial here.
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
from symphony2vec.study.database import Database, requeue_dead, requeue_interrupted
from symphony2vec.study.trials import StudyRun, TrialContext, record_failure, run_repeat, run_trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

POLL_S = 1.0
MAX_FAILURES_IN_A_ROW = 5  # then the cause is something other than a setting
STOP_TIMEOUT_S = 60.0  # for a worker to give its trial back
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class StudyJob:
    """What a worker needs to know.

    Attributes:
        project: Project whose clips and features are used.
        params: The parameters.
        database: The Optuna storage.
        name: Name of the study.
        n_trials: Trials in all.
        deadline: No trial begins later (seconds of the epoch); None for no limit.
        command_pid: Process of the command; its workers end when it ends.
    """

    project: Project
    params: Params
    database: Database
    name: str
    n_trials: int
    deadline: float | None
    command_pid: int

    @property
    def is_active(self) -> bool:
        """Return whether the command is still running: it is this process or its parent."""
        return self.command_pid in (os.getpid(), os.getppid())

    def check_active(self) -> None:
        """Raise KeyboardInterrupt if the command has ended."""
        if not self.is_active:
            raise KeyboardInterrupt


class InterruptGuard:
    """Raises an interrupt only while a trial is running, so that its reason can be recorded; otherwise remembers it."""

    def __init__(self) -> None:
        self.is_requested = False
        self._may_raise = False

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM within the block."""
        handlers = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    @contextmanager
    def raise_inside(self) -> Iterator[None]:
        """Raise KeyboardInterrupt within the block when a signal arrives or has arrived."""
        self._may_raise = True
        try:
            if self.is_requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._may_raise = False

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        is_first, self.is_requested = not self.is_requested, True
        if is_first and self._may_raise:
            self._may_raise = False
            raise KeyboardInterrupt


def run_trials(job: StudyJob, processes: int) -> None:
    """Run all missing trials and repeats of a study, with so many workers on this machine."""
    study, repeats = job.database.open_studies(job.name)
    n_missing = job.n_trials - len(_trials_in(study, "COMPLETE", "PRUNED"))
    if n_missing > 0 and job.deadline is None:
        processes = min(processes, max(n_missing, job.params.study.repeated_trials * job.params.study.seeds))
    if processes == 1:
        run_worker(job)
    elif n_missing > 0 or _has_open_repeats(job, study, repeats):
        _run_processes(job, processes)


def run_worker(job: StudyJob) -> None:
    """Run one worker in this process: its share of the trials, then of the repeats."""
    study, repeats = job.database.open_studies(job.name)
    settings = job.params.study
    study.pruner = MedianPruner(
        n_startup_trials=settings.startup_trials, n_warmup_steps=settings.warm_up_epochs, n_min_trials=2
    )
    study_run = StudyRun(job.project, study.user_attrs["mlflow_run_id"])
    lock = filelock.FileLock(job.project.mlruns / ".study.lock")
    context = TrialContext(job.project, job.params, kinds.kind_of(study), study_run, job.check_active)
    worker = _Worker(job, study, repeats, context, lock, InterruptGuard())
    with worker.guard.handle_signals():
        worker.run_search()
        worker.run_repeats()
    if worker.guard.is_requested:
        raise KeyboardInterrupt


@dataclass
class _Worker:
    job: StudyJob
    study: Study
    repeats: Study
    context: TrialContext
    lock: BaseFileLock  # held from counting the trials until a new one has begun
    guard: InterruptGuard
    failures: int = 0

    def run_search(self) -> None:
        """Run trials until enough are finished or the time is up, and no other worker is running one."""
        while not self._must_stop():
            with self.lock:
                n_finished = len(_trials_in(self.study, "COMPLETE", "PRUNED"))
                n_running = len(_trials_in(self.study, "RUNNING"))
                is_late = self.job.deadline is not None and time.time() >= self.job.deadline
                may_begin = n_finished + n_running < self.job.n_trials and not is_late
                if not may_begin and not n_running:
                    return
                if may_begin:
                    self.study.sampler = self._make_sampler()
                    self._run_one(self.study, run_trial)
            if not may_begin:
                _wait(self.study)

    def run_repeats(self) -> None:
        """Repeat the best trials from further seeds until no repeat is missing or running."""
        while not self._must_stop():
            with self.lock:
                missing = verdict.missing_repeats(
                    self.study, self.repeats, self.job.params.study, self.context.fold.seed
                )
                if not missing and not _trials_in(self.repeats, "RUNNING"):
                    return
                if missing:
                    self._run_one(self.repeats, run_repeat, *missing[0])
            if not missing:
                _wait(self.repeats)

    def _run_one(self, study: Study, function: Callable[..., float], *original: Any) -> None:
        """Run one trial; release the lock as soon as other workers can see that it has begun.

        Args:
            study: The search or its repeats.
            function: `run_trial` or `run_repeat`.
            *original: For a repeat, the original trial and the seed.
        """
        numbers: list[int] = []

        def objective(trial: Trial) -> float:
            numbers.append(trial.number)
            with record_failure(trial), self.guard.raise_inside():
                trial.set_user_attr("worker", worker_id(os.getpid()))
                if original:
                    trial.set_user_attr("trial", original[0].number)
                    trial.set_user_attr("seed", original[1])
                self.lock.release()
                return function(trial, self.context, *original)

        try:
            study.optimize(objective, n_trials=1, catch=(Exception,), callbacks=[self._report])
        except KeyboardInterrupt:
            requeue_interrupted(study, study.get_trials(deepcopy=False)[numbers[0]])

    def _make_sampler(self) -> TPESampler:
        """Return TPE with a seed of its own for each trial, so that a resumed search samples what it would have anyway.

        A trial that was interrupted and run again counts twice: after it other settings are sampled. The lock keeps two
        workers of one machine from seeing the same number of trials; two machines have different client names.
        """
        settings, n_begun = self.job.params.study, len(self.study.get_trials(deepcopy=False))
        text = f"{settings.seed} {n_begun} {self.job.database.client_name(self.job.project)}"
        return TPESampler(n_startup_trials=settings.startup_trials, seed=zlib.crc32(text.encode()))

    def _report(self, study: Study, trial: FrozenTrial) -> None:
        """Print one line per trial; end the worker after several failures in a row."""
        reason = trial.user_attrs.get("failure", "")
        self.failures = self.failures + 1 if reason else 0
        print(_format_result(study, trial), flush=True)
        if self.failures >= MAX_FAILURES_IN_A_ROW:
            raise UserError(f"{self.failures} trials in a row failed; the last one: {reason}")

    def _must_stop(self) -> bool:
        return self.guard.is_requested or not self.job.is_active


def worker_id(pid: int) -> str:
    """Return the user attribute `worker` of a trial, by which a command finds the trials of its dead worker."""
    return f"{socket.gethostname()} {pid}"


def _run_processes(job: StudyJob, processes: int) -> None:
    """Run workers in processes; an interrupt stops them all, and the trial of a killed worker is queued again.

    Raises:
        UserError: All workers failed; gives the reason of the first.
    """
    context = multiprocessing.get_context("spawn")
    worker_job = replace(job, database=replace(job.database))  # each process opens its own connection
    receiver, sender = context.Pipe(duplex=False)
    running = {
        number: context.Process(target=_process_main, args=(worker_job, sender), daemon=True)
        for number in range(1, processes + 1)
    }
    for process in running.values():
        process.start()
    exit_codes: list[int | None] = []
    try:
        while running:
            wait([process.sentinel for process in running.values()])
            for number in [number for number, process in running.items() if not process.is_alive()]:
                process = running.pop(number)
                process.join()
                exit_codes.append(process.exitcode)
                if (process.exitcode or 0) < 0:
                    _reap(job, number, process)
    finally:
        _stop(list(running.values()))
    reason = receiver.recv() if receiver.poll() else ""
    if 0 not in exit_codes and EXIT_INTERRUPTED in exit_codes:  # the signal was lost in this process
        raise KeyboardInterrupt
    if 0 not in exit_codes:
        raise UserError(reason or "no worker is left; run the same command again to resume")
    if reason:
        print(f"a worker ended before the others: {reason}")


def _process_main(job: StudyJob, sender: Connection) -> None:
    """Run one worker process: one thread, no progress bars, its error sent to the command."""
    os.environ["TQDM_DISABLE"] = "1"
    tqdm.set_lock(threading.RLock())  # the default is a system semaphore, which a killed process would leave behind
    torch.set_num_threads(1)
    try:
        with job.database.report_errors():
            run_worker(job)
    except UserError as error:
        sender.send(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _reap(job: StudyJob, number: int, process: SpawnProcess) -> None:
    """Fail the trial of a killed worker now, and queue its parameters for another worker."""
    name = signal.Signals(-(process.exitcode or 0)).name
    print(f"worker {number} was killed by {name}; its trial is run again", flush=True)
    for study in job.database.open_studies(job.name):
        for trial in _trials_in(study, "RUNNING"):
            if trial.user_attrs.get("worker") == worker_id(process.pid or 0):
                study.tell(trial.number, state=trial.state.FAIL)
                requeue_dead(study, trial)


def _stop(processes: list[SpawnProcess]) -> None:
    """Ask processes to give their trials back and end; kill those that do not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _has_open_repeats(job: StudyJob, study: Study, repeats: Study) -> bool:
    """Return whether a repeat is missing, or a trial or repeat is running."""
    first_seed = next(iter(splits.list_folds(job.params))).seed
    missing = verdict.missing_repeats(study, repeats, job.params.study, first_seed)
    return bool(missing or _trials_in(study, "RUNNING") or _trials_in(repeats, "RUNNING"))


def _wait(study: Study) -> None:
    """Wait a moment, then fail the trials whose heartbeat has stopped."""
    time.sleep(POLL_S)
    optuna.storages.fail_stale_trials(study)


def _trials_in(study: Study, *states: str) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name in states]


def _format_result(study: Study, trial: FrozenTrial) -> str:
    """Return the result of one trial as a line."""
    attrs, state = trial.user_attrs, trial.state.name
    name = f"trial {attrs['trial']} seed {attrs['seed']}" if "seed" in attrs else f"trial {trial.number}"
    if state == "FAIL":
        return f"{name}: failed: {attrs.get('failure', 'unknown reason')}"
    line = f"{name}: {trial.value:.1%}" + (" (pruned)" if state == "PRUNED" else "")
    best = verdict.best_trials(study, 1)
    return line if "seed" in attrs or not best else f"{line}, best {best[0].value:.1%} (trial {best[0].number})"
