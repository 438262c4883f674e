"""Data-parallel training: two processes on the CPU compute what one does, and failures end both."""

from __future__ import annotations

import copy
import math
import multiprocessing
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from click.testing import CliRunner
from ruamel.yaml import YAML
from torch import nn

import temporal_ranks as one_rank
from conftest import lasting
from symphony2vec import tracking
from symphony2vec.cli import cli
from symphony2vec.errors import UserError
from symphony2vec.models.temporal import devices, ranks
from symphony2vec.models.temporal.devices import Devices
from symphony2vec.models.training.source import Source
from symphony2vec.project import read_table
from test_ali import project_in, spectrograms

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
ALONE = Devices(0, 1, CPU)
TWO = [Devices(rank, 2, CPU) for rank in range(2)]


def followers() -> list[Any]:
    """Return the running followers; joblib's processes, of other tests, wait for more work."""
    return [process for process in multiprocessing.active_children() if not process.name.startswith("Loky")]


def run_ranks(follow: Any, work: Any) -> Any:
    with ranks.launch(2, follow, "full-6 work-0") as rank_devices:
        return work(rank_devices)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of each of two ranks."""
    folder = tmp_path_factory.mktemp("pair")
    run_ranks(partial(one_rank.observe, folder), partial(one_rank.observe, folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def single() -> dict[str, Any]:
    return one_rank.observed(ALONE)


def is_equal(value: Any, other_value: Any) -> bool:
    """Whether two states are equal bit for bit."""
    if isinstance(value, torch.Tensor):
        return torch.equal(value, other_value)
    if isinstance(value, dict):
        return value.keys() == other_value.keys() and all(is_equal(value[key], other_value[key]) for key in value)
    if isinstance(value, list | tuple):
        return len(value) == len(other_value) and all(is_equal(*both) for both in zip(value, other_value, strict=True))
    return bool(value == other_value)


def test_two_devices_compute_the_gradients_of_one(pair, single):
    parts = {name.partition(".")[0] for name in single["gradients"]}
    assert parts == {"encoder", "generator", "discriminator", "projection", "pitch_projection"}
    for rank_results in pair:
        assert rank_results["gradients"].keys() == single["gradients"].keys()
        for name, gradient in single["gradients"].items():
            assert gradient.dtype == torch.float64
            torch.testing.assert_close(rank_results["gradients"][name], gradient, rtol=1e-8, atol=1e-10, msg=name)


def test_all_ranks_return_the_losses_of_the_whole_batch(pair, single):
    for rank_results in pair:
        assert rank_results["exact_losses"].keys() == single["exact_losses"].keys()
        for name, loss in single["exact_losses"].items():
            torch.testing.assert_close(rank_results["exact_losses"][name], loss, rtol=1e-10, atol=1e-12)


def test_batch_norm_uses_the_batches_of_all_ranks(pair, single):
    assert len(single["statistics"]) == 8
    for rank_results in pair:
        for name, value in single["statistics"].items():
            torch.testing.assert_close(rank_results["statistics"][name], value, rtol=1e-10, atol=1e-12)


def test_all_ranks_hold_the_same_weights_after_some_updates(pair):
    first, second = pair
    assert is_equal(first["state"], second["state"])
    assert is_equal(first["losses"], second["losses"])
    assert is_equal(first["labels_state"], second["labels_state"])
    assert all(math.isfinite(float(loss)) for losses in first["losses"] + first["labels"] for loss in losses.values())


def test_each_rank_has_its_own_views(pair):
    shapes = [[len(view) for view in rank_results["views"]] for rank_results in pair]
    assert shapes == [[3 * 4] * one_rank.UPDATES, [3 * 3] * one_rank.UPDATES]
    (first, *_), (second, *_) = (rank_results["views"] for rank_results in pair)
    assert not any(torch.equal(view, other_value) for view in first for other_value in second)


def test_the_random_numbers_of_a_rank_depend_on_seed_and_batch_alone():
    rows, unused = np.arange(8), torch.Generator()

    def random_numbers(rank_devices: Devices, seed: int, batch: np.ndarray) -> list[float]:
        return torch.rand(4, generator=rank_devices.step_rng(unused, seed, batch)).tolist()

    assert random_numbers(TWO[1], 0, rows) == random_numbers(TWO[1], 0, rows)
    others = [random_numbers(TWO[0], 0, rows), random_numbers(TWO[1], 1, rows), random_numbers(TWO[1], 0, rows[::-1])]
    assert all(random_numbers(TWO[1], 0, rows) != numbers for numbers in others)
    assert ALONE.step_rng(unused, 0, rows) is unused


@pytest.mark.parametrize("size", [2, 7, 8])
def test_the_shares_are_the_batch_and_their_weights_those_of_its_mean(size):
    rows, values = np.arange(size), np.random.default_rng(0).standard_normal(size)
    shares = TWO[0].split_batch(rows)
    assert sorted(np.concatenate(shares)) == list(rows)
    means = [
        rank_devices.batch_weight(rows) * values[share].mean() for rank_devices, share in zip(TWO, shares, strict=True)
    ]
    assert np.mean(means) == pytest.approx(values.mean())
    assert ALONE.batch_weight(rows) == 1.0


def test_a_follower_that_is_killed_ends_the_training_with_one_line(tmp_path):
    training = one_rank.training(tmp_path)
    with pytest.raises(UserError, match=r"^full-6 work-0: process 1 of 2 was killed by signal 9; what is done"):
        run_ranks(
            partial(one_rank.faulty, training, one_rank.killed),
            lambda rank_devices: training.fit(
                training.build_learner(rank_devices), lambda _epoch: {}, lambda _row: None
            ),
        )
    assert not followers()
    assert not torch.distributed.is_initialized()


def test_an_error_of_a_follower_is_reported(tmp_path):
    training = one_rank.training(tmp_path)
    with pytest.raises(
        UserError, match=r"process 1 of 2 failed: ValueError: no such thing \(\S+temporal_ranks.py:\d+\); what is done"
    ):
        run_ranks(
            partial(one_rank.faulty, training, one_rank.broken),
            lambda rank_devices: training.fit(
                training.build_learner(rank_devices), lambda _epoch: {}, lambda _row: None
            ),
        )
    assert not followers()


def test_a_loss_that_is_not_finite_on_one_rank_ends_all(tmp_path):
    training = one_rank.training(tmp_path)
    with pytest.raises(UserError, match=r"^full-6 work-0: contrastive_loss is nan at update 2; the training"):
        run_ranks(
            partial(one_rank.faulty, training, one_rank.not_finite),
            lambda rank_devices: training.fit(
                training.build_learner(rank_devices), lambda _epoch: {}, lambda _row: None
            ),
        )
    assert not followers()


def start_process(kind: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, one_rank.__file__, kind, str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_a_process_that_never_joins_ends_the_training(tmp_path):
    process = start_process("never", tmp_path)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        "symphony2vec: full-6 work-0: process 1 of 2 was killed by signal 9; "
        "what is done is kept: run the same command again to continue"
    )


def test_followers_exit_with_rank_0(tmp_path):
    process, path = start_process("ever", tmp_path), tmp_path / "follower"
    while not (path.is_file() and path.read_text()):
        assert process.poll() is None
        time.sleep(0.1)
    follower = psutil.Process(int(path.read_text()))
    process.kill()
    process.communicate()
    follower.wait(timeout=60)
    assert not follower.is_running()


def test_an_interrupted_training_that_is_resumed_ends_as_an_uninterrupted_one(tmp_path):
    def train(folder: Path, log: Any) -> dict[str, Any]:
        training = one_rank.training(folder)

        def fit(rank_devices: Devices) -> dict[str, Any]:
            learner = training.build_learner(rank_devices)
            curves = training.fit(learner, lambda _epoch: {}, log, 0.0)
            return copy.deepcopy({"state": learner.state_dict(), "curves": curves})

        return run_ranks(training.follow, fit)

    def interrupt(row: Any) -> None:
        raise KeyboardInterrupt

    for name in ("expected", "interrupted"):
        (tmp_path / name).mkdir()
    expected = train(tmp_path / "expected", lambda _row: None)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "interrupted", interrupt)
    assert not followers()
    assert (tmp_path / "interrupted" / "kept" / "checkpoint.pt").is_file()
    assert is_equal(train(tmp_path / "interrupted", lambda _row: None), expected)


def test_the_stage_trains_on_two_processes(tmp_path, settings, monkeypatch):
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    values = copy.deepcopy(settings)
    small = {"batch": 8, "epochs": 1, "crop_frames": 32, "width": 2, "step_latent": 4, "mask_frames": 6}
    values["temporal"]["full"] |= small
    values["clips"]["duration_s"] = lasting(70)
    project = project_in(tmp_path, spectrograms())
    YAML().dump(values, project.params)
    arguments = ["--project", str(tmp_path), "temporal", "context-4", "--processes", "2"]
    assert CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code == 0
    folder = project.out("temporal", "work-0", "context-4")
    vectors, curves = np.load(folder / "vectors.npy"), read_table(folder / "curves.csv", "temporal")
    assert vectors.shape == (40, 4)
    assert np.isfinite(vectors).all()
    assert list(curves["update"]) == [3]
    assert not followers()


def test_more_processes_than_clips_or_gpus_are_refused(monkeypatch):
    assert ranks.process_count(None, 32) == 1
    assert ranks.process_count(2, 32) == 2
    with pytest.raises(UserError, match="--processes is 9, but an update takes 8 clips"):
        ranks.process_count(9, 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert ranks.process_count(None, 32) == 4
    assert ranks.process_count(None, 3) == 3
    assert ranks.process_count(1, 32) == 1
    with pytest.raises(UserError, match="--processes is 5, but PyTorch sees 4 GPU"):
        ranks.process_count(5, 32)


def test_on_the_cpu_nothing_is_compiled_and_all_is_float32():
    cpu = devices.single_device(CPU)
    assert not cpu.compiles
    assert not cpu.bf16
    layer = nn.Linear(2, 2)
    cpu.compile(layer)
    assert layer._compiled_call_impl is None


def test_with_bfloat16_outputs_are_float32_and_losses_similar():
    bfloat16 = Devices(0, 1, CPU, bf16=True)

    def step_losses(rank_devices: Devices) -> dict[str, Any]:
        source = Source(one_rank.clips(), one_rank.SCALING, CPU)
        learner = one_rank.TemporalLearner(
            source, one_rank.ROWS, np.arange(one_rank.CLIPS), one_rank.LATENT, one_rank.setting(), 5, rank_devices
        )
        codes = rank_devices.forward(learner.encoder, source.batch(one_rank.ROWS))
        assert {value.dtype for value in codes} == {torch.float32}
        return dict(learner.step(one_rank.ROWS))

    expected, losses = step_losses(ALONE), step_losses(bfloat16)
    assert all(value.dtype == torch.float32 for value in losses.values())
    assert any(float(losses[name]) != float(expected[name]) for name in expected)
    for name, value in expected.items():
        tolerance = 0.1 if name == "equivariant_loss" else 0.05  # its part of this code has a single dimension
        assert float(losses[name]) == pytest.approx(float(value), abs=tolerance), name


def test_where_compiling_fails_one_line_is_printed(monkeypatch, capsys):
    def fails(_self: nn.Module) -> None:
        raise RuntimeError("Cannot find a working triton\ninstallation")

    monkeypatch.setattr(nn.Module, "compile", fails)
    devices.can_compile.cache_clear()
    assert not devices.can_compile(CPU)
    errors = capsys.readouterr().err.strip()
    devices.can_compile.cache_clear()
    assert errors == "torch.compile fails on cpu (RuntimeError: Cannot find a working triton); training is not compiled"


def test_a_compiled_network_keeps_its_names_and_its_moving_average_is_not_compiled(monkeypatch):
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    learner = one_rank.supervised_learner(Devices(0, 1, CPU, compiles=True))
    assert compiled == [learner.network.encoder.convolutions]
    assert set(learner.network.state_dict()) == set(one_rank.supervised_learner(ALONE).network.state_dict())
