"""The code of a logged model: MLflow runs this file to load a package and to predict with it, also as a server.

A request is a table with a column `audio`, or `waveform` and `sample_rate`; see `symphony2vec.serving.inference`. The
parameters form and hop_s apply to all rows; see `symphony2vec.package.model`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext
from pydantic import ValidationError

from symphony2vec.errors import UserError
from symphony2vec.package import contents
from symphony2vec.package.model import Model
from symphony2vec.serving.inference import Limits, Row, Service, explain

log = logging.getLogger(__name__)


class PackagedModel(PythonModel):  # type: ignore[misc]
    """Sound in, vectors out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the package; the limits of a request come from the environment."""
        model = contents.read(Path(context.artifacts["config"]).parent, Model)
        self.service = Service(model, Limits.from_environment())

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None
    ) -> list[dict[str, Any]]:
        """Return one answer per row.

        Raises:
            MlflowException: the request is invalid (status 400), or cannot be answered (500).
        """
        try:
            rows = pd.DataFrame(model_input).to_dict("records")
            return self.service.answer([_row(number, row, dict(params or {})) for number, row in enumerate(rows)])
        except UserError as reason:
            raise MlflowException.invalid_parameter_value(str(reason)) from None
        except Exception:
            log.exception("a request could not be answered")
            raise MlflowException("the server failed to answer this request; see its log") from None


def _row(number: int, values: dict[Any, Any], params: dict[str, Any]) -> Row:
    """Return a row of MLflow's table, in which a missing cell is None or NaN, as a typed row."""
    cells = {}
    for name, value in values.items():
        cell = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        if cell is not None and cell == cell:
            cells[name] = cell
    if params.get("form") == "timestamps":
        cells["hop_s"] = params.get("hop_s")
    try:
        return Row.model_validate({**cells, "form": params.get("form", "clips")})
    except ValidationError as error:
        raise UserError(f"row {number}: {explain(error)}") from None


mlflow.models.set_model(PackagedModel())
