"""Spreading tasks: every result comes back, and a task that kills its worker takes no other with it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from symphony2vec import parallel
from symphony2vec.errors import Unusable, UserError


def squared(number: int) -> int:
    if number == 3:
        os._exit(9)
    if number == 5:
        raise Unusable("five is odd")
    return number * number


def in_turn(folder: Path) -> int:
    """How many tasks are at work at the same time as this one, itself included."""
    own = folder / f"{time.monotonic_ns()}"
    own.touch()
    time.sleep(0.1)
    at_work = len(list(folder.iterdir()))
    own.unlink()
    return at_work


def process_of(_: int) -> int:
    return os.getpid()


def broken(_: int) -> None:
    raise KeyError("a bug")


@pytest.mark.parametrize("cores", [1, 2])
def test_only_the_task_that_kills_its_worker_is_lost(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.delenv(parallel.WORKERS, raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    results = dict(parallel.spread(squared, range(40), "test", "task"))
    lost = {index: str(result) for index, result in results.items() if isinstance(result, Unusable)}
    assert lost == {3: "the program that reads it crashed, or needed more memory than there is", 5: "five is odd"}
    assert {index: result for index, result in results.items() if index not in lost} == {
        number: number * number for number in range(40) if number not in lost
    }


def test_one_core_does_one_task_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(parallel.WORKERS, raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    assert [result for _, result in parallel.spread(in_turn, [tmp_path] * 5, "test", "task")] == [1] * 5


def test_one_worker_asked_for_is_the_calling_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(parallel.WORKERS, "1")
    assert list(parallel.spread(process_of, [0, 1], "test", "task")) == [(0, os.getpid()), (1, os.getpid())]


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5", "²"])
def test_a_number_of_workers_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv(parallel.WORKERS, asked)
    with pytest.raises(UserError, match=rf"SYMPHONY2VEC_WORKERS is '{asked}'; it must be a whole number of processes"):
        list(parallel.spread(squared, [1], "test", "task"))


def test_without_tasks_nothing_starts() -> None:
    assert (
        list(parallel.spread(squared, [], "test", "task", warm_up=lambda: pytest.fail("warmed up for nothing"))) == []
    )


def test_it_warms_up_before_the_first_task_even_for_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nameless)
    warmed: list[bool] = []
    results = list(parallel.spread(squared, [1, 2], "test", "task", warm_up=lambda: warmed.append(True)))
    assert warmed == [True]
    assert sorted(results) == [(0, 1), (1, 4)]


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(KeyError, match="a bug"):
        list(parallel.spread(broken, [1], "test", "task"))
