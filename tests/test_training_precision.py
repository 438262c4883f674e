"""Evaluation in float32: TF32 is off while something is evaluated on a GPU, and as before afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from symphony2vec.models.training import precision


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.usefixtures("gpu")
def test_tf32_is_off_inside_and_as_before_outside(allowed):
    torch.backends.cudnn.allow_tf32 = allowed
    with precision.evaluation():
        assert not torch.backends.cudnn.allow_tf32
        assert torch.is_inference_mode_enabled()
        with precision.evaluation():
            assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == allowed
    assert not torch.is_inference_mode_enabled()


@pytest.mark.usefixtures("gpu")
def test_a_fault_inside_leaves_it_as_before():
    torch.backends.cudnn.allow_tf32 = True
    with pytest.raises(ValueError, match="stop"), precision.evaluation():
        raise ValueError("stop")
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.usefixtures("gpu")
def test_it_stays_off_until_the_last_of_several_threads_has_ended():
    torch.backends.cudnn.allow_tf32 = True
    inside, over = threading.Event(), threading.Event()

    def evaluate() -> None:
        with precision.evaluation():
            inside.set()
            over.wait(10.0)

    thread = threading.Thread(target=evaluate)
    with precision.evaluation():
        thread.start()
        assert inside.wait(10.0)
    assert not torch.backends.cudnn.allow_tf32
    over.set()
    thread.join()
    assert torch.backends.cudnn.allow_tf32


def test_without_a_gpu_nothing_is_switched(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    torch.backends.cudnn.allow_tf32 = True
    with precision.evaluation():
        assert torch.backends.cudnn.allow_tf32
        assert torch.is_inference_mode_enabled()
