"""The code of a logged model: MLflow runs this file to load a package and to ask it, also as a server.

A request is a row with either `audio`, the bytes of a FLAC, WAV, OGG or MP3 in base64, or `waveform`, a list of
samples with full scale 1, and `sample_rate`. It is answered with starts_s, ends_s and vectors, and where the package
holds a probe with composers and probabilities as well; a classifier has no vectors. Parameters: form and hop_s, as in
`symphony2vec.package.model`. A request with a fault is refused with the reason.
"""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from symphony2vec.errors import Unusable, UserError
from symphony2vec.package import contents
from symphony2vec.package.model import Model

LIMITS = {"SYMPHONY2VEC_MAX_SECONDS": 1200.0, "SYMPHONY2VEC_MAX_MEGABYTES": 64.0, "SYMPHONY2VEC_MAX_ROWS": 64.0}
MOST_VECTORS = 20_000  # of one answer


class Served(PythonModel):  # type: ignore[misc]
    """Sound in, vectors out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the package, and the limits of a request from the environment."""
        self.model = contents.read(Path(context.artifacts["config"]).parent, Model)
        read = [float(os.environ.get(name, default)) for name, default in LIMITS.items()]
        self.seconds, self.megabytes, self.rows = read

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None
    ) -> list[dict[str, Any]]:
        """One answer a row; see this module. Raises MlflowException (a bad request) with the reason."""
        asked = {"form": "clips", "hop_s": 0.5} | dict(params or {})
        rows: list[Any] = pd.DataFrame(model_input).to_dict("records")
        if len(rows) > self.rows:
            raise _refused(f"{len(rows)} rows; the limit is {self.rows:g}")
        return [self._answered(number, row, asked) for number, row in enumerate(rows)]

    def _answered(self, number: int, row: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        form = str(asked["form"])
        hop_s = float(asked["hop_s"]) if form == "timestamps" else None
        audio, waveform = _given(row.get("audio")), _given(row.get("waveform"))
        try:
            if (audio is None) == (waveform is None):
                raise UserError("wanted is either audio (base64 of a FLAC or WAV) or waveform with sample_rate")
            found = self._file(audio, form, hop_s) if audio is not None else self._wave(row, waveform, form, hop_s)
        except (UserError, Unusable) as reason:
            raise _refused(f"row {number}: {reason}") from None
        return self._plain(found)

    def _plain(self, found: Any) -> dict[str, Any]:
        answer = {"starts_s": found.starts_s.tolist(), "ends_s": found.ends_s.tolist()}
        if self.model.names:
            return answer | {"composers": self.model.names, "probabilities": found.vectors.tolist()}
        answer["vectors"] = found.vectors.tolist()
        if self.model.composers:
            answer["composers"] = self.model.composers
            answer["probabilities"] = self.model.classify(found.vectors).tolist()
        return answer

    def _file(self, audio: Any, form: str, hop_s: float | None) -> Any:
        """The bytes go to a private file, which is gone afterwards: no name of the client's is ever opened."""
        import soundfile

        if not isinstance(audio, str | bytes):
            raise UserError(f"audio is {type(audio).__name__}; wanted is a string in base64")
        if len(audio) * 0.75 > self.megabytes * 1e6:
            raise UserError(f"audio holds {len(audio) * 0.75e-6:.0f} MB; the limit is {self.megabytes:g}")
        try:
            held = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError) as fault:
            raise UserError(f"audio is not base64 ({fault})") from None
        with tempfile.NamedTemporaryFile(prefix="symphony2vec-") as file:
            file.write(held)
            file.flush()
            try:
                lasts_s = soundfile.info(file.name).duration
            except soundfile.LibsndfileError:
                lasts_s = 0.0  # no audio: the model says what is wrong with it
            self._short_enough(lasts_s, hop_s)
            return self.model.heard_file(Path(file.name), form, hop_s)

    def _wave(self, row: dict[str, Any], waveform: Any, form: str, hop_s: float | None) -> Any:
        rate = _given(row.get("sample_rate"))
        if rate is None:
            raise UserError("sample_rate is missing: the samples a second of waveform")
        if not isinstance(rate, int | float | np.number):
            raise UserError(f"sample_rate is {type(rate).__name__}; wanted is a number, as 44100")
        try:
            wave = np.asarray(waveform, dtype=np.float32)
        except (TypeError, ValueError):
            raise UserError("waveform is no list of numbers") from None
        if wave.size * 4 > self.megabytes * 1e6:
            raise UserError(f"waveform holds {wave.size * 4e-6:.0f} MB; the limit is {self.megabytes:g}")
        self._short_enough(len(wave) / float(rate) if wave.ndim and rate > 0 else 0.0, hop_s)
        return self.model.embed(wave, float(rate), form, hop_s)

    def _short_enough(self, lasts_s: float, hop_s: float | None) -> None:
        if lasts_s > self.seconds:
            raise UserError(f"it lasts {lasts_s:.0f} s; the limit is {self.seconds:g} s: send it in parts")
        if hop_s is not None and not lasts_s <= hop_s * MOST_VECTORS:
            raise UserError(f"hop_s of {hop_s:g} s makes more than {MOST_VECTORS} vectors")


def _given(value: Any) -> Any:
    """A column that a row leaves out arrives as None or NaN."""
    return None if value is None or (isinstance(value, float) and np.isnan(value)) else value


def _refused(reason: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(reason)


mlflow.models.set_model(Served())
