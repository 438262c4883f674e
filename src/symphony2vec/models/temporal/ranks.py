"""Processes of one data-parallel training: this process is rank 0, the others ("followers") do the same work silently.

Followers are started for one training and end with it. A failure of any process ends all of them: this process reports
it in one line, even while it waits on a GPU for a rank that no longer exists; the others are terminated by this
process, or exit when it does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

import torch

from symphony2vec.errors import UserError
from symphony2vec.models.temporal import devices
from symphony2vec.models.training import loop

if TYPE_CHECKING:
    from symphony2vec.models.temporal.devices import Devices

ABORT_TIMEOUT_S = 20.0  # for this process to fail by itself after a follower did, as it does where ranks use sockets
EXIT_TIMEOUT_S = 20.0  # for a follower to exit when the training is over
RESUME_HINT = "what is done is kept: run the same command again to continue"


@dataclass(frozen=True)
class Follower:
    """One of the other processes, and the connection on which it reports its failure."""

    rank: int
    process: BaseProcess
    reports: connection.Connection

    @property
    def failed(self) -> bool:
        """Return whether the process has ended with an error."""
        return self.process.exitcode not in (None, 0)

    def reason(self) -> str:
        """Return the reported failure in one line; "" for a process that was killed."""
        try:
            return str(self.reports.recv()) if self.reports.poll() else ""
        except EOFError:
            return ""


def process_count(requested: int | None, batch: int) -> int:
    """Return the number of processes of a training: `requested`, else one per GPU, or 1 without a GPU.

    Args:
        requested: the value of --processes.
        batch: clips per update, of which every process takes at least one.

    Raises:
        UserError: more processes are requested than there are GPUs or clips.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if requested is None:
        return max(1, min(gpus, batch))
    if requested > 1 and 0 < gpus < requested:
        raise UserError(f"--processes is {requested}, but PyTorch sees {gpus} GPU(s); each process needs its own")
    if requested > batch:
        raise UserError(
            f"--processes is {requested}, but an update takes {batch} clips; each process needs at least one"
        )
    return requested


@contextmanager
def launch(count: int, follow: Callable[[Devices], None], label: str) -> Iterator[Devices]:
    """Start the other processes of a training, and yield the devices of this one, rank 0.

    Args:
        count: processes, including this one.
        follow: what a follower runs with its own devices: its part of the training; must be picklable.
        label: the name of the training in error messages.

    Raises:
        UserError: a follower failed.
    """
    if count == 1:
        yield devices.single_device(loop.device())
        return
    port = _free_port()
    group = Group([_start_follower(rank, count, port, follow) for rank in range(1, count)], count, label)
    threading.Thread(target=group.watch, daemon=True).start()
    try:
        with devices.join_group(0, count, port) as rank_0:
            try:
                yield rank_0
            except BaseException as error:
                group.abort(error)  # before this process leaves the process group, whose ranks may not respond
                raise
        for follower in group.followers:
            follower.process.join(EXIT_TIMEOUT_S)
    except Exception as error:
        group.abort(error)
        if isinstance(error, UserError) or not group.failure:
            raise
        raise UserError(group.failure) from error
    finally:
        group.finished.set()
        group.terminate()


class Group:
    """The followers of one training of `count` processes."""

    def __init__(self, followers: list[Follower], count: int, label: str) -> None:
        self.followers, self._count, self._label = followers, count, label
        self.finished = threading.Event()
        self.failure = ""  # one line, if the failure of a follower ended the training
        self._message = ""

    def abort(self, error: BaseException) -> None:
        """Terminate the followers after an error in this process, which a follower may have caused."""
        if self._message:
            return
        if isinstance(error, Exception) and not isinstance(error, UserError):
            for follower in self.followers:  # a closed connection is noticed here before its process has ended
                follower.process.join(1.0)
            if any(follower.failed for follower in self.followers):
                self.failure = self._describe_failure()
        self._message = self.failure or f"{error}" or f"{self._label}: interrupted; {RESUME_HINT}"
        self.terminate()

    def watch(self) -> None:
        """Exit this process after a follower has failed or was killed, unless the training ends by itself in time."""
        running = {follower.process.sentinel: follower for follower in self.followers}
        while running and not self.finished.is_set():
            for sentinel in connection.wait(list(running), timeout=1.0):
                follower = running.pop(sentinel)  # type: ignore[arg-type]
                while follower.process.exitcode is None:  # only one of two threads that ask gets the exit status
                    time.sleep(0.01)
                if follower.failed:
                    if not self.finished.wait(ABORT_TIMEOUT_S):
                        try:
                            message = self._message or self._describe_failure()
                            print(f"symphony2vec: {message}", file=sys.stderr, flush=True)
                            self.terminate()
                        finally:  # even if standard error is closed
                            os._exit(1)
                    return

    def terminate(self) -> None:
        """End the followers that are still running."""
        for follower in self.followers:
            if follower.process.is_alive():
                follower.process.terminate()
        for follower in self.followers:
            follower.process.join(5.0)
            if follower.process.is_alive():
                follower.process.kill()
                follower.process.join()

    def _describe_failure(self) -> str:
        """Return the cause in one line: a killed follower, if any, since the others only report its absence."""
        reasons = {follower.rank: follower.reason() for follower in self.followers if follower.failed}
        rank = next((rank for rank, reason in reasons.items() if not reason), min(reasons))
        exitcode = next(follower.process.exitcode for follower in self.followers if follower.rank == rank) or 0
        outcome = f"was killed by signal {-exitcode}" if exitcode < 0 else f"ended with status {exitcode}"
        if reasons[rank]:
            outcome = f"failed: {reasons[rank]}"
        return f"{self._label}: process {rank} of {self._count} {outcome}; {RESUME_HINT}"


def _start_follower(rank: int, count: int, port: int, follow: Callable[[Devices], None]) -> Follower:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_follower, args=(rank, count, port, sender, follow), daemon=True)
    process.start()
    sender.close()  # only the follower keeps it open: reading after it was killed then ends
    return Follower(rank, process, receiver)


def _run_follower(
    rank: int, count: int, port: int, reports: connection.Connection, follow: Callable[[Devices], None]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for rank 0, which ends this process
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.environ["TQDM_DISABLE"] = "1"  # rank 0 shows the progress bar
    try:
        with devices.join_group(rank, count, port) as rank_devices:
            try:
                follow(rank_devices)
            except Exception as error:
                _report_failure(error, reports)
    except Exception as error:
        _report_failure(error, reports)


def _report_failure(error: Exception, reports: connection.Connection) -> None:
    """Report an error and exit at once: leaving the process group properly may never end."""
    line = " ".join(str(error).split())
    if not isinstance(error, UserError):
        *_, frame = traceback.extract_tb(error.__traceback__)
        line = f"{type(error).__name__}: {line} ({frame.filename}:{frame.lineno})"
    reports.send(line)
    reports.close()
    os._exit(1)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
