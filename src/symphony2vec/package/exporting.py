"""From a network of PyTorch to ONNX.

B clips, F bins, T frames, D outputs.
"""

from __future__ import annotations

import importlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from symphony2vec.models.training import precision
from symphony2vec.package.session import INPUT, OUTPUT

OPSET = 17
EXAMPLES = 2  # clips that the network is traced with; their number is no part of the result
MOVED = re.compile(r"^symphony2vec\.(?=(ali|classifiers|embeddings|temporal)\.)")  # networks in earlier versions


class Method(nn.Module):
    """A method of a network, as a module. `name`: maps (B, F, T), or (B, F T), to (B, D)."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, x: Tensor) -> Tensor:
        """Return what the method returns."""
        y: Tensor = getattr(self.network, self.name)(x)
        return y


class TorchNetwork:
    """A network of PyTorch for `Model`, to compare the exported one with; see `session.OnnxNetwork`."""

    def __init__(self, network: nn.Module, method: str) -> None:
        self._method = Method(network, method).cpu().eval()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (B, D) float32 of x (B, ...) float32."""
        with precision.evaluation():
            return np.asarray(self._method(torch.from_numpy(x)).numpy())


def build_network(build: Mapping[str, Any], weights: Path) -> nn.Module:
    """Return the network that a package describes, with its weights.

    Only networks of symphony2vec are instantiated: a package cannot run other code.
    """
    module = MOVED.sub("symphony2vec.models.", build["module"])
    if not module.startswith("symphony2vec."):
        raise ImportError(f"{module} is not a module of symphony2vec")
    kind = getattr(importlib.import_module(module), build["name"])
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(f"{module}.{build['name']} is not a network")
    network = kind(**build["arguments"])
    try:
        network.load_state_dict(load_file(weights))
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    return network


def export(network: nn.Module, method: str, shape: Sequence[int]) -> bytes:
    """Return a method of a network in ONNX.

    Args:
        network: in evaluation mode or not.
        method: see `Method`.
        shape: of the input, without the clips.
    """
    x = torch.zeros(EXAMPLES, *shape)
    clips = {INPUT: {0: "clips"}, OUTPUT: {0: "clips"}}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), precision.evaluation():
        warnings.simplefilter("ignore")  # of the tracer: shapes that it takes for constants, which they are
        torch.onnx.export(
            Method(network, method).cpu().eval(),
            (x,),
            buffer,  # type: ignore[arg-type]  # it takes a stream, as its documentation says
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=clips,
        )
    return buffer.getvalue()
