"""Several processes for one training: this one is rank 0 and does all that people see, the others follow it.

The followers are started for one training and end with it. Whatever ends one of them ends all: this process with one
line, also where it waits for a GPU that waits for one that is gone; the others because this process ends them, or is
gone itself.
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

LEAVES_WITHIN_S = 20.0  # this process, when a follower has failed: by itself where the ranks talk over sockets
ENDS_WITHIN_S = 20.0  # a follower, when the training is over
AGAIN = "what is done is kept: run the same command again to continue"


@dataclass(frozen=True)
class Follower:
    """One of the other processes, and what it says when it fails."""

    rank: int
    process: BaseProcess
    says: connection.Connection

    @property
    def failed(self) -> bool:
        """Whether it has ended, and not well."""
        return self.process.exitcode not in (None, 0)

    def reason(self) -> str:
        """Why it failed, in one line; "" where it was ended from outside."""
        try:
            return str(self.says.recv()) if self.says.poll() else ""
        except EOFError:
            return ""


def count(asked: int | None, batch: int) -> int:
    """How many processes train: as many as were `asked` for, else one for every GPU, 1 where there is none.

    Args:
        asked: on the command line.
        batch: clips an update, of which every process takes some.
    """

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked is None:
        return max(1, min(gpus, batch))
    if asked > 1 and 0 < gpus < asked:
        raise UserError(f"--processes is {asked}, and PyTorch sees {gpus} GPU(s); each process needs one of its own")
    if asked > batch:
        raise UserError(f"--processes is {asked}, and an update takes {batch} clips; each process needs at least one")
    return asked


@contextmanager
def together(count: int, follow: Callable[[Devices], None], label: str) -> Iterator[Devices]:
    """This process's part of a training that `count` processes share; the others run `follow` with theirs.

    Args:
        count: processes, this one included.
        follow: takes part in the training until it ends; must be picklable.
        label: what an error calls the training.

    Raises:
        UserError: a follower failed.
    """

    if count == 1:
        yield devices.alone(loop.device())
        return
    port = _free_port()
    group = Group([_started(rank, count, port, follow) for rank in range(1, count)], count, label)
    threading.Thread(target=group.watch, daemon=True).start()
    try:
        with devices.joined(0, count, port) as own:
            try:
                yield own
            except BaseException as fault:
                group.leave(fault)  # before this process takes leave of the others, which may not answer any more
                raise
        for one in group.followers:
            one.process.join(ENDS_WITHIN_S)
    except Exception as fault:
        group.leave(fault)
        if isinstance(fault, UserError) or not group.blamed:
            raise
        raise UserError(group.blamed) from fault
    finally:
        group.over.set()
        group.end()


class Group:
    """The followers of one training."""

    def __init__(self, followers: list[Follower], count: int, label: str) -> None:
        self.followers, self._count, self._label = followers, count, label
        self.over = threading.Event()
        self.blamed = ""  # one line, where a follower's failure ended the training
        self._line = ""

    def leave(self, fault: BaseException) -> None:
        """End the followers after a fault in this process, whose cause may be one of theirs."""
        if self._line:
            return
        if isinstance(fault, Exception) and not isinstance(fault, UserError):
            for one in self.followers:  # who talks to a process that is gone sees a closed connection, and is first
                one.process.join(1.0)
            if any(one.failed for one in self.followers):
                self.blamed = self._told()
        self._line = self.blamed or f"{fault}" or f"{self._label}: interrupted; {AGAIN}"
        self.end()

    def watch(self) -> None:
        """End this process when a follower has failed, or was ended, and the training does not end by itself."""
        waiting = {one.process.sentinel: one for one in self.followers}
        while waiting and not self.over.is_set():
            for ended in connection.wait(list(waiting), timeout=1.0):
                one = waiting.pop(ended)  # type: ignore[arg-type]
                while one.process.exitcode is None:  # another thread is asking too, and only one is told at once
                    time.sleep(0.01)
                if one.failed:
                    if not self.over.wait(LEAVES_WITHIN_S):
                        try:
                            print(f"symphony2vec: {self._line or self._told()}", file=sys.stderr, flush=True)
                            self.end()
                        finally:  # also where nobody reads it any more
                            os._exit(1)
                    return

    def end(self) -> None:
        """End those that have not ended."""
        for one in self.followers:
            if one.process.is_alive():
                one.process.terminate()
        for one in self.followers:
            one.process.join(5.0)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()

    def _told(self) -> str:
        """Whose failure ended the training: one that was killed says nothing, and then others miss it and say so."""
        reasons = {one.rank: one.reason() for one in self.followers if one.failed}
        rank = next((rank for rank, reason in reasons.items() if not reason), min(reasons))
        ended = next(one.process.exitcode for one in self.followers if one.rank == rank) or 0
        how = f"was killed by signal {-ended}" if ended < 0 else f"ended with status {ended}"
        if reasons[rank]:
            how = f"failed: {reasons[rank]}"
        return f"{self._label}: process {rank} of {self._count} {how}; {AGAIN}"


def _started(rank: int, count: int, port: int, follow: Callable[[Devices], None]) -> Follower:
    context = multiprocessing.get_context("spawn")
    hears, says = context.Pipe(duplex=False)
    process = context.Process(target=_follow, args=(rank, count, port, says, follow), daemon=True)
    process.start()
    says.close()  # its end is the follower's alone: reading from one that was killed then ends
    return Follower(rank, process, hears)


def _follow(rank: int, count: int, port: int, says: connection.Connection, follow: Callable[[Devices], None]) -> None:
    """What a follower does from its start to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for rank 0, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TQDM_DISABLE"] = "1"  # one progress bar is enough
    try:
        with devices.joined(rank, count, port) as own:
            try:
                follow(own)
            except Exception as fault:
                _fail(fault, says)
    except Exception as fault:
        _fail(fault, says)


def _fail(fault: Exception, says: connection.Connection) -> None:
    """Say why, and end at once: taking leave of the others may never end."""
    line = " ".join(str(fault).split())
    if not isinstance(fault, UserError):
        *_, place = traceback.extract_tb(fault.__traceback__)
        line = f"{type(fault).__name__}: {line} ({place.filename}:{place.lineno})"
    says.send(line)
    says.close()
    os._exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
