"""A trained network as an MLflow model: weights as safetensors, everything else as JSON, nothing pickled.

The model takes one representation of clips, (B, F, T) in the units of `symphony2vec.features`, and gives (B, D) vectors
or (B, K) probabilities. Scaling and, for probabilities, the names of the composers travel with it.
"""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from symphony2vec.scaling import Scaling

# What loading imports: the network, and of the package what its module rests on.
PACKAGES = ("torch", "numpy", "safetensors", "scikit-learn", "pydantic", "ruamel.yaml", "tqdm")
SOURCE = Path(__file__).resolve().parents[1]
LOADER = Path(__file__).with_name("loader.py")


def log(task: Any, network: nn.Module, build: Mapping[str, Any], scaling: Scaling, example: np.ndarray) -> None:
    """Log `network` with the run of a task.

    Args:
        task: whose run gets the model.
        network: its weights are taken.
        build: how the network is made again and called: module, name, arguments, method (a method of the network that
            takes (B, F, T), or with "flatten" (B, F T), and gives (B, D)).
        scaling: of the values before they enter the network.
        example: (1, F, T), a clip in the representation's unit.
    """
    import mlflow.pyfunc
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    with tempfile.TemporaryDirectory() as place:
        weights, config = Path(place, "weights.safetensors"), Path(place, "config.json")
        save_file({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, weights)
        plain = {**build, "scaling": scaling.as_plain(), "composers": task.composers}
        config.write_text(json.dumps(plain), encoding="utf-8")
        example = np.ascontiguousarray(example, dtype=np.float32)
        signature = ModelSignature(
            inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
            outputs=Schema([TensorSpec(example.dtype, (-1, -1))]),
        )
        saved = Path(place, "model")
        mlflow.pyfunc.save_model(
            saved,
            python_model=str(LOADER),
            artifacts={"weights": str(weights), "config": str(config)},
            code_paths=[str(SOURCE)],
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in PACKAGES],
        )
        task.opened.folder(saved, "model")


def call(network: nn.Module, build: Mapping[str, Any], scaling: Scaling, clips: np.ndarray) -> np.ndarray:
    """What a network says of clips: (B, F, T) in the representation's unit -> (B, D) float32."""
    network.eval()
    with torch.inference_mode():
        values = torch.from_numpy(scaling.apply(clips))
        values = values.flatten(1) if build.get("flatten") else values
        found: np.ndarray = getattr(network, build["method"])(values).numpy()
    return found
