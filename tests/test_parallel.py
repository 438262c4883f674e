"""Tasks in parallel processes: every result is returned, and only a task that kills its worker is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from symphony2vec import parallel
from symphony2vec.errors import Unusable, UserError


def square_or_crash(number: int) -> int:
    if number == 3:
        os._exit(9)
    if number == 5:
        raise Unusable("five is odd")
    return number * number


def count_concurrent_tasks(folder: Path) -> int:
    """Return how many tasks run at the same time as this one, itself included."""
    marker = folder / f"{time.monotonic_ns()}"
    marker.touch()
    time.sleep(0.1)
    count = len(list(folder.iterdir()))
    marker.unlink()
    return count


def get_process_id(_: int) -> int:
    return os.getpid()


def raise_key_error(_: int) -> None:
    raise KeyError("a bug")


@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 2])
def test_only_the_task_that_kills_its_worker_is_lost(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.delenv(parallel.WORKERS, raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    results = dict(parallel.spread(square_or_crash, range(40), "test", "task"))
    lost = {index: str(result) for index, result in results.items() if isinstance(result, Unusable)}
    assert lost == {3: "the program that reads it crashed, or ran out of memory", 5: "five is odd"}
    assert {index: result for index, result in results.items() if index not in lost} == {
        number: number * number for number in range(40) if number not in lost
    }


def test_with_one_core_tasks_run_one_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(parallel.WORKERS, raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    assert [result for _, result in parallel.spread(count_concurrent_tasks, [tmp_path] * 5, "test", "task")] == [1] * 5


def test_with_one_worker_tasks_run_in_the_calling_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(parallel.WORKERS, "1")
    assert list(parallel.spread(get_process_id, [0, 1], "test", "task")) == [(0, os.getpid()), (1, os.getpid())]


@pytest.mark.parametrize("setting", ["0", "-1", "two", "1.5", "²"])
def test_an_invalid_number_of_workers_is_an_error(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv(parallel.WORKERS, setting)
    with pytest.raises(UserError, match=rf"SYMPHONY2VEC_WORKERS is '{setting}'; it must be a number of processes"):
        list(parallel.spread(square_or_crash, [1], "test", "task"))


def test_without_tasks_nothing_runs() -> None:
    assert (
        list(parallel.spread(square_or_crash, [], "test", "task", warm_up=lambda: pytest.fail("warmed up for nothing")))
        == []
    )


def test_warm_up_precedes_the_first_task_even_for_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_unknown_user() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", raise_unknown_user)
    calls: list[bool] = []
    results = list(parallel.spread(square_or_crash, [1, 2], "test", "task", warm_up=lambda: calls.append(True)))
    assert calls == [True]
    assert sorted(results) == [(0, 1), (1, 4)]


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(KeyError, match="a bug"):
        list(parallel.spread(raise_key_error, [1], "test", "task"))
