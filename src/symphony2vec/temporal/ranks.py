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
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING

from symphony2vec.errors import UserError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from symphony2vec.temporal.devices import Devices

LEAVES_WITHIN_S = 20.0  # this process, when a follower has failed: by itself where the ranks talk over sockets
ENDS_WITHIN_S = 20.0  # a follower, when the training is over
AGAIN = "what is done is kept: run the same command again to go on"


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
    import torch

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
    from symphony2vec.temporal import devices
    from symphony2vec.training import loop

    if count == 1:
        yield devices.alone(loop.device())
        return
    port, over = _free_port(), threading.Event()
    followers = [_started(rank, count, port, follow) for rank in range(1, count)]
    watch = threading.Thread(target=_watch, args=(followers, count, label, over), daemon=True)
    watch.start()
    try:
        with devices.joined(0, count, port) as own:
            yield own
            for one in followers:
                one.process.join(ENDS_WITHIN_S)
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as fault:
        for one in followers:  # the cause may be theirs: ranks that talk to one that is gone see a closed connection
            one.process.join(1.0)
        if any(one.failed for one in followers):
            raise UserError(_told(followers, count, label)) from fault
        raise
    finally:
        over.set()
        _end(followers)


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
        from symphony2vec.temporal import devices

        with devices.joined(rank, count, port) as own:
            follow(own)
    except Exception as fault:
        if not isinstance(fault, UserError):
            traceback.print_exc()
        line = " ".join(str(fault).split())
        says.send(line if isinstance(fault, UserError) else f"{type(fault).__name__}: {line}")
        says.close()
        os._exit(1)  # its collective calls may never end


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _watch(followers: list[Follower], count: int, label: str, over: threading.Event) -> None:
    """End this process when a follower has failed and the training does not end by itself."""
    waiting = {one.process.sentinel: one for one in followers}
    while waiting and not over.is_set():
        for ended in connection.wait(list(waiting), timeout=1.0):
            if not waiting.pop(ended).failed:  # type: ignore[arg-type]
                continue
            if not over.wait(LEAVES_WITHIN_S):
                print(f"symphony2vec: {_told(followers, count, label)}", file=sys.stderr, flush=True)
                _end(followers)
                os._exit(1)
            return


def _told(followers: list[Follower], count: int, label: str) -> str:
    """Whose failure ended the training: one that was killed says nothing, and then others miss it and say so."""
    reasons = {one.rank: one.reason() for one in followers if one.failed}
    rank = next((rank for rank, reason in reasons.items() if not reason), min(reasons))
    ended = next(one.process.exitcode for one in followers if one.rank == rank) or 0
    how = f"was killed by signal {-ended}" if ended < 0 else f"ended with status {ended}"
    if reasons[rank]:
        how = f"failed: {reasons[rank]}"
    return f"{label}: process {rank} of {count} {how}; {AGAIN}"


def _end(followers: list[Follower]) -> None:
    for one in followers:
        if one.process.is_alive():
            one.process.terminate()
    for one in followers:
        one.process.join(5.0)
        if one.process.is_alive():
            one.process.kill()
            one.process.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
