"""Packages of untrained networks, in the current format (model.onnx) and in the earlier one (weights.safetensors)."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from symphony2vec.package import contents, exporting


def build(description: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """Return the network that `Config.build` describes, in evaluation mode, with random weights and statistics."""
    torch.manual_seed(seed)
    kind = getattr(importlib.import_module(description["module"]), description["name"])
    network: nn.Module = kind(**description["arguments"])
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.ndim > 1 and name.endswith("weight"):
            value.mul_(1.5)  # clips differ more than with the initial weights
        elif name.endswith(("running_mean", "components", "mean")):
            value.normal_(0.0, 0.2)
    return network.eval()


def write(folder: Path, network: nn.Module, config: contents.Config) -> Path:
    """Write the files that a model is loaded from; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / contents.CONFIG).write_text(json.dumps(asdict(config)), encoding="utf-8")
    model = exporting.export(network, config.build["method"], contents.input_shape(config))
    (folder / contents.ONNX).write_bytes(model)
    return folder


def write_earlier(folder: Path, network: nn.Module, config: contents.Config) -> Path:
    """Write the same as earlier versions did: with the weights in place of the ONNX model; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / contents.CONFIG).write_text(json.dumps(asdict(config)), encoding="utf-8")
    save_weights(network, folder / contents.WEIGHTS)
    return folder


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the weights of a network as earlier versions did."""
    save_file({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, path)
