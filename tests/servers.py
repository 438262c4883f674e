"""Servers that the tests start and stop: Dask, an S3-compatible store, MLflow. All on free local ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

READY_WITHIN_S = 300.0  # two busy cores import the libraries of a worker in a minute
SECRETS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(true: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + READY_WITHIN_S
    while not true():
        assert time.monotonic() < end, f"{what}: not so after {READY_WITHIN_S} s"
        time.sleep(0.1)


def heeding() -> None:
    """Ctrl-C ends a child even where the tests run in a shell's background, whose jobs ignore it and pass that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(
    words: Sequence[str | Path], log: Path, ending: signal.Signals = signal.SIGKILL, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A program with all its children in a process group of its own, which is ended in the end."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(word) for word in words],
            stdout=out,
            stderr=out,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=heeding,
        )
    try:
        yield process
    finally:
        for sign in (ending, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


def program(name: str) -> Path:
    """A command of this environment."""
    return Path(sys.executable).with_name(name)


# Dask


@contextmanager
def dask_scheduler(folder: Path, **environment: str) -> Iterator[str]:
    """A scheduler; gives its address."""
    pytest.importorskip("distributed")
    port = free_port()
    words = [program("dask"), "scheduler", "--host", "127.0.0.1", "--port", f"{port}", "--no-dashboard", "--no-show"]
    with started(words, folder / "scheduler.log", **environment):
        until(lambda: listens(port), "the scheduler listens")
        yield f"tcp://127.0.0.1:{port}"


@contextmanager
def dask_worker(
    address: str, folder: Path, threads: int = 1, processes: int = 0, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """One worker without a nanny, whose death is a loss, or several `processes`, which a nanny starts again."""
    kind = ["--nworkers", f"{processes}"] if processes else ["--no-nanny"]
    words = [program("dask"), "worker", address, "--nthreads", f"{threads}", *kind, "--no-dashboard"]
    words += ["--host", "127.0.0.1", "--local-directory", str(folder / "scratch"), "--death-timeout", "30"]
    with started(words, folder / "workers.log", **environment) as process:
        yield process


def wait_for_workers(address: str, count: int) -> None:
    """Until that many workers are known to the scheduler."""
    from distributed import Client

    with Client(address, timeout=READY_WITHIN_S, set_as_default=False) as client:
        until(lambda: len(client.scheduler_info()["workers"]) == count, f"{count} workers")


# S3


@contextmanager
def s3(folder: Path, *buckets: str) -> Iterator[str]:
    """moto's S3-compatible server with some empty buckets; gives its URL. The keys are `SECRETS`."""
    pytest.importorskip("moto.server")

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started([program("moto_server"), "-H", "127.0.0.1", "-p", f"{port}"], folder / "s3.log", **SECRETS):
        until(lambda: listens(port), "the S3 server listens")
        for bucket in buckets:
            store(url).create_bucket(Bucket=bucket)
        yield url


def store(url: str) -> boto3.client:  # noqa: F821 - boto3 makes its classes as it runs
    """A client of the S3 server."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=SECRETS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=SECRETS["AWS_SECRET_ACCESS_KEY"],
        region_name=SECRETS["AWS_DEFAULT_REGION"],
    )


def stored(url: str, bucket: str) -> set[str]:
    """The keys of all objects in a bucket."""
    pages = store(url).get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"] for page in pages for entry in page.get("Contents", [])}


# MLflow


@contextmanager
def mlflow_server(folder: Path, *words: str, **environment: str) -> Iterator[str]:
    """An MLflow tracking server; gives its URL."""
    port = free_port()
    command = [program("mlflow"), "server", "--host", "127.0.0.1", "--port", f"{port}", "--workers", "1", *words]
    with started(command, folder / "mlflow.log", **environment):
        until(lambda: listens(port), "the MLflow server listens")
        yield f"http://127.0.0.1:{port}"
