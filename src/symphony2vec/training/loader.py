"""The code of a logged model: MLflow runs this file to load one and to ask it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext
from safetensors.torch import load_file

from symphony2vec.scaling import Scaling
from symphony2vec.training import exported


class Network(PythonModel):  # type: ignore[misc]
    """Clips of one representation in, vectors or probabilities out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network and give it its weights."""
        self.config = json.loads(Path(context.artifacts["config"]).read_text(encoding="utf-8"))
        make = getattr(importlib.import_module(self.config["module"]), self.config["name"])
        self.network = make(**self.config["arguments"])
        self.network.load_state_dict(load_file(context.artifacts["weights"]))
        self.scaling = Scaling.from_plain(self.config["scaling"])

    def predict(self, context: PythonModelContext, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        """(B, F, T) in the representation's unit -> (B, D) float32."""
        return exported.call(self.network, self.config, self.scaling, model_input)


mlflow.models.set_model(Network())
