"""Training on several devices: two processes on the CPU do what one does, and end as one."""

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

CPU = torch.device("cpu")
ALONE = Devices(0, 1, CPU)
TWO = [Devices(rank, 2, CPU) for rank in range(2)]


def followers() -> list[Any]:
    """The processes that are left; joblib's, of other tests, wait for more work and are not ours."""
    return [one for one in multiprocessing.active_children() if not one.name.startswith("Loky")]


def together(follow: Any, work: Any) -> Any:
    with ranks.launch(2, follow, "full-6 work-0") as own:
        return work(own)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks observed."""
    folder = tmp_path_factory.mktemp("pair")
    together(partial(one_rank.observe, folder), partial(one_rank.observe, folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def single() -> dict[str, Any]:
    return one_rank.observed(ALONE)


def same(one: Any, other: Any) -> bool:
    """Bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*both) for both in zip(one, other, strict=True))
    return bool(one == other)


def test_two_devices_make_the_gradients_that_one_makes(pair, single):
    parts = {name.partition(".")[0] for name in single["slopes"]}
    assert parts == {"encoder", "generator", "discriminator", "projection"}
    for found in pair:
        assert found["slopes"].keys() == single["slopes"].keys()
        for name, slope in single["slopes"].items():
            assert slope.dtype == torch.float64
            torch.testing.assert_close(found["slopes"][name], slope, rtol=1e-8, atol=1e-10, msg=name)


def test_they_tell_the_losses_of_the_whole_batch(pair, single):
    for found in pair:
        assert found["told"].keys() == single["told"].keys()
        for name, loss in single["told"].items():
            torch.testing.assert_close(found["told"][name], loss, rtol=1e-10, atol=1e-12)


def test_batch_norm_sees_the_batches_of_all(pair, single):
    assert len(single["statistics"]) == 8
    for found in pair:
        for name, value in single["statistics"].items():
            torch.testing.assert_close(found["statistics"][name], value, rtol=1e-10, atol=1e-12)


def test_all_ranks_hold_the_same_weights_after_some_updates(pair):
    one, other = pair
    assert same(one["state"], other["state"])
    assert same(one["losses"], other["losses"])
    assert same(one["labels_state"], other["labels_state"])
    assert all(math.isfinite(float(loss)) for told in one["losses"] + one["labels"] for loss in told.values())


def test_each_rank_sees_views_of_its_own(pair):
    shapes = [[len(view) for view in found["views"]] for found in pair]
    assert shapes == [[2 * 4] * one_rank.UPDATES, [2 * 3] * one_rank.UPDATES]
    (first, *_), (second, *_) = (found["views"] for found in pair)
    assert not any(torch.equal(view, other) for view in first for other in second)


def test_what_a_rank_draws_follows_from_the_batch_alone():
    rows, unused = np.arange(8), torch.Generator()

    def drawn(own: Devices, seed: int, batch: np.ndarray) -> list[float]:
        return torch.rand(4, generator=own.step_rng(unused, seed, batch)).tolist()

    assert drawn(TWO[1], 0, rows) == drawn(TWO[1], 0, rows)
    others = [drawn(TWO[0], 0, rows), drawn(TWO[1], 1, rows), drawn(TWO[1], 0, rows[::-1])]
    assert all(drawn(TWO[1], 0, rows) != other for other in others)
    assert ALONE.step_rng(unused, 0, rows) is unused


@pytest.mark.parametrize("size", [2, 7, 8])
def test_the_shares_are_the_batch_and_their_weights_those_of_its_mean(size):
    rows, values = np.arange(size), np.random.default_rng(0).standard_normal(size)
    shares = TWO[0].split_batch(rows)
    assert sorted(np.concatenate(shares)) == list(rows)
    means = [own.batch_weight(rows) * values[share].mean() for own, share in zip(TWO, shares, strict=True)]
    assert np.mean(means) == pytest.approx(values.mean())
    assert ALONE.batch_weight(rows) == 1.0


def test_a_follower_that_is_killed_ends_the_training_with_one_line(tmp_path):
    spread = one_rank.training(tmp_path)
    with pytest.raises(UserError, match=r"^full-6 work-0: process 1 of 2 was killed by signal 9; what is done"):
        together(
            partial(one_rank.faulty, spread, one_rank.killed),
            lambda own: spread.fit(spread.build_learner(own), lambda _epoch: {}, lambda _row: None),
        )
    assert not followers()
    assert not torch.distributed.is_initialized()


def test_a_fault_of_a_follower_is_named(tmp_path):
    spread = one_rank.training(tmp_path)
    with pytest.raises(
        UserError, match=r"process 1 of 2 failed: ValueError: no such thing \(\S+temporal_ranks.py:\d+\); what is done"
    ):
        together(
            partial(one_rank.faulty, spread, one_rank.broken),
            lambda own: spread.fit(spread.build_learner(own), lambda _epoch: {}, lambda _row: None),
        )
    assert not followers()


def test_a_loss_that_is_not_finite_on_one_rank_ends_all(tmp_path):
    spread = one_rank.training(tmp_path)
    with pytest.raises(UserError, match=r"^full-6 work-0: contrast is nan at update 2; the training has diverged"):
        together(
            partial(one_rank.faulty, spread, one_rank.not_finite),
            lambda own: spread.fit(spread.build_learner(own), lambda _epoch: {}, lambda _row: None),
        )
    assert not followers()


def started(kind: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, one_rank.__file__, kind, str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_nobody_waits_for_a_process_that_never_came(tmp_path):
    waits = started("never", tmp_path)
    _, said = waits.communicate(timeout=300)
    assert waits.returncode == 1
    assert said.splitlines()[-1] == (
        "symphony2vec: full-6 work-0: process 1 of 2 was killed by signal 9; "
        "what is done is kept: run the same command again to go on"
    )


def test_followers_end_when_the_process_they_follow_is_gone(tmp_path):
    leads, place = started("ever", tmp_path), tmp_path / "follower"
    while not (place.is_file() and place.read_text()):
        assert leads.poll() is None
        time.sleep(0.1)
    follower = psutil.Process(int(place.read_text()))
    leads.kill()
    leads.communicate()
    follower.wait(timeout=60)
    assert not follower.is_running()


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    def fitted(folder: Path, told: Any) -> dict[str, Any]:
        spread = one_rank.training(folder)

        def fit(own: Devices) -> dict[str, Any]:
            learner = spread.build_learner(own)
            curves = spread.fit(learner, lambda _epoch: {}, told, 0.0)
            return copy.deepcopy({"state": learner.state(), "curves": curves})

        return together(spread.follow, fit)

    def stopped(row: Any) -> None:
        raise KeyboardInterrupt

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = fitted(tmp_path / "whole", lambda _row: None)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "stopped", stopped)
    assert not followers()
    assert (tmp_path / "stopped" / "kept" / "checkpoint.pt").is_file()
    assert same(fitted(tmp_path / "stopped", lambda _row: None), whole)


def test_the_stage_trains_on_two_processes(tmp_path, settings, monkeypatch):
    monkeypatch.delenv(tracking.URI, raising=False)
    values = copy.deepcopy(settings)
    small = {"batch": 8, "epochs": 1, "frames": 32, "width": 2, "step_latent": 4, "masked_frames": 6}
    values["temporal"]["full"] |= small
    values["clips"]["duration_s"] = lasting(70)
    made = project_in(tmp_path, spectrograms())
    YAML().dump(values, made.params)
    asked = ["--project", str(tmp_path), "temporal", "context-4", "--processes", "2"]
    assert CliRunner().invoke(cli, asked, catch_exceptions=False).exit_code == 0
    folder = made.out("temporal", "context-4", "work-0")
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
    own = devices.single_device(CPU)
    assert not own.compiles
    assert not own.bf16
    layer = nn.Linear(2, 2)
    own.compile(layer)
    assert layer._compiled_call_impl is None


def test_in_bfloat16_what_a_network_gives_is_float32_and_near():
    rough = Devices(0, 1, CPU, bf16=True)

    def stepped(own: Devices) -> dict[str, Any]:
        source = Source(one_rank.clips(), one_rank.SCALING, CPU)
        made = one_rank.TemporalLearner(
            source, one_rank.ROWS, np.arange(one_rank.CLIPS), one_rank.LATENT, one_rank.setting(), 5, own
        )
        codes = own.forward(made.encoder, source.batch(one_rank.ROWS))
        assert {value.dtype for value in codes} == {torch.float32}
        return dict(made.step(one_rank.ROWS))

    fine, found = stepped(ALONE), stepped(rough)
    assert all(value.dtype == torch.float32 for value in found.values())
    assert any(float(found[name]) != float(fine[name]) for name in fine)
    for name, value in fine.items():
        assert float(found[name]) == pytest.approx(float(value), abs=0.05), name


def test_where_compiling_fails_one_line_says_so_and_training_goes_on(monkeypatch, capsys):
    def fails(_self: nn.Module) -> None:
        raise RuntimeError("Cannot find a working triton\ninstallation")

    monkeypatch.setattr(nn.Module, "compile", fails)
    devices.can_compile.cache_clear()
    assert not devices.can_compile(CPU)
    said = capsys.readouterr().err.strip()
    devices.can_compile.cache_clear()
    assert said == "torch.compile fails on cpu (RuntimeError: Cannot find a working triton); training is not compiled"


def test_a_compiled_network_keeps_its_names_and_its_moving_average_is_not_compiled(monkeypatch):
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    made = one_rank.labelled(Devices(0, 1, CPU, compiles=True))
    assert compiled == [made.network.encoder.convolutions]
    assert set(made.network.state_dict()) == set(one_rank.labelled(ALONE).network.state_dict())
