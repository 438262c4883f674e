"""The code of a logged model: MLflow runs this file to load a package and to ask it, also as a server.

A request is a row with either `audio`, the bytes of a sound file (FLAC, WAV, MP3, OGG, M4A, Opus ...) in base64, or
`waveform`, a list of samples with full scale 1, and `sample_rate`. It is answered with starts_s, ends_s and vectors,
and where the package holds a probe with composers and probabilities as well; a classifier has no vectors. A note says
what is odd about a sound, where anything is. Parameters: form and hop_s, as in `symphony2vec.package.model`. A request
with a fault is refused with the reason; see `symphony2vec.serving.adapter`.
"""

from __future__ import annotations

import base64
import binascii
import logging
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from symphony2vec.decoding import ffmpeg
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable, UserError
from symphony2vec.package import contents
from symphony2vec.package.model import LONGEST_S, Model
from symphony2vec.serving import adapter as serving

MOST_VECTORS = 2400  # of one answer: 20 minutes every half second
RATES_HZ = (1_000.0, 384_000.0)
MOST_CHANNELS = 8
SOUND = "the bytes of a sound file (FLAC, WAV, MP3, OGG, M4A, Opus ...) in base64"

log = logging.getLogger(__name__)


class Served(PythonModel):  # type: ignore[misc]
    """Sound in, vectors out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the package, and the limits of a request from the environment."""
        self.limits = serving.Limits.of_environment()
        self.model = contents.read(Path(context.artifacts["config"]).parent, Model)
        if serving.guard(self.limits):  # the first sound takes seconds: libraries are loaded with it
            self.model.embed_file(context.artifacts["example"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None
    ) -> list[dict[str, Any]]:
        """One answer a row; see this module. Raises MlflowException with the reason: the client's fault, or not."""
        try:
            asked = Request(self.model, self.limits, {"form": "clips", "hop_s": 0.5} | dict(params or {}))
            return asked.answers(pd.DataFrame(model_input).to_dict("records"))
        except UserError as reason:
            raise serving.refused(str(reason)) from None
        except Exception:
            log.exception("a request could not be answered")
            raise MlflowException("the server failed to answer this request; its log says why") from None


class Request:
    """The rows of one request, and what it may still ask for: seconds of sound and vectors."""

    def __init__(self, model: Model, limits: serving.Limits, params: dict[str, Any]) -> None:
        self.model, self.limits, self.form = model, limits, str(params["form"])
        self.hop_s = float(params["hop_s"]) if self.form == "timestamps" else None
        self.lasts_s, self.vectors = 0.0, 0.0

    def answers(self, rows: list[Any]) -> list[dict[str, Any]]:
        """One answer a row. Raises UserError, with the row's number, at the first that is refused."""
        if not 1 <= len(rows) <= self.limits.rows:
            raise UserError(f"the table has {len(rows)} rows; 1 to {self.limits.rows:g} are answered")
        found = []
        for number, row in enumerate(rows):
            try:
                found.append(self._answer(row))
            except (UserError, Unusable) as reason:
                raise UserError(f"row {number}: {reason}") from None
        return found

    def _answer(self, row: dict[str, Any]) -> dict[str, Any]:
        audio, waveform = _given(row.get("audio")), _given(row.get("waveform"))
        if (audio is None) == (waveform is None):
            raise UserError(f"wanted is either audio ({SOUND}) or waveform with sample_rate")
        found = self._file(audio) if audio is not None else self._wave(waveform, _given(row.get("sample_rate")))
        answer = {"starts_s": found.starts_s.tolist(), "ends_s": found.ends_s.tolist()}
        if found.note:
            answer["note"] = found.note
        if self.model.names:
            return answer | {"composers": self.model.names, "probabilities": found.vectors.tolist()}
        answer["vectors"] = found.vectors.tolist()
        if self.model.composers:
            answer["composers"] = self.model.composers
            answer["probabilities"] = self.model.classify(found.vectors).tolist()
        return answer

    def _file(self, audio: Any) -> Any:
        """The bytes go to a private file, which is gone afterwards: no name of the client's is ever opened."""
        held = _decoded(audio, self.limits.megabytes)
        with tempfile.NamedTemporaryFile(prefix="symphony2vec-") as file:
            file.write(held)
            file.flush()
            before_s, before = self.lasts_s, self.vectors
            promised_s = _promised_s(Path(file.name))
            self._allow(promised_s)
            # The header may promise less than there is, so that decoding stops at what is left of the request.
            longest_s = self.limits.seconds - before_s
            if self.hop_s is not None and self.hop_s > 0.0:
                longest_s = min(longest_s, (MOST_VECTORS - before) * self.hop_s)
            found = self.model.heard_file(Path(file.name), self.form, self.hop_s, min(longest_s, LONGEST_S))
            self._allow(max(0.0, float(found.ends_s[-1]) - promised_s))
            return found

    def _wave(self, waveform: Any, rate: Any) -> Any:
        if rate is None:
            raise UserError("sample_rate is missing: the samples a second of waveform")
        if not isinstance(rate, int | float | np.number):
            raise UserError(f"sample_rate is {type(rate).__name__}; wanted is a number, as 44100")
        _refuse_rate(float(rate))
        try:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, which the model refuses
                wave = np.asarray(waveform, dtype=np.float32)
        except (TypeError, ValueError):
            raise UserError("waveform is no list of numbers") from None
        if wave.ndim != 1:
            raise UserError("waveform is no list of numbers: one channel is wanted, as [0.0, 0.1, -0.1]")
        self._allow(len(wave) / float(rate))
        return self.model.embed(wave, float(rate), self.form, self.hop_s)

    def _allow(self, lasts_s: float) -> None:
        self.lasts_s += lasts_s
        if not self.lasts_s <= self.limits.seconds:
            raise UserError(f"the sound lasts {self.lasts_s:.0f} s; the limit is {self.limits.seconds:g} s a request")
        if self.hop_s is None or self.hop_s <= 0.0:  # the model says what is wrong with that
            return
        self.vectors += lasts_s / self.hop_s
        if not self.vectors <= MOST_VECTORS:
            raise UserError(f"hop_s of {self.hop_s:g} s makes more than {MOST_VECTORS} vectors, the limit of a request")


def _decoded(audio: Any, megabytes: float) -> bytes:
    if not isinstance(audio, str | bytes):
        raise UserError(f"audio is {type(audio).__name__}; wanted is a string: {SOUND}")
    if len(audio) * 0.75 > megabytes * 1e6:
        raise UserError(f"audio holds {len(audio) * 0.75e-6:.0f} MB; the limit is {megabytes:g}")
    try:
        held = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise UserError(f"audio is not base64 ({fault}); wanted are {SOUND}, and no path or address") from None
    if not ffmpeg.detect_container(held):
        raise UserError(f"audio does not begin as a sound file does that can be read; wanted are {SOUND}")
    return held


def _promised_s(path: Path) -> float:
    """The length that a file's header promises, 0 where it does not; what it holds is found when it is decoded."""
    with decoding.open_recording(path, LONGEST_S) as recording:
        if recording.channels > MOST_CHANNELS:
            raise UserError(f"audio has {recording.channels} channels; the limit is {MOST_CHANNELS}")
        _refuse_rate(recording.samplerate)
        return recording.declared_s or 0.0


def _refuse_rate(rate_hz: float) -> None:
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise UserError(f"a sample rate of {rate_hz:g} Hz; wanted are {RATES_HZ[0]:g} to {RATES_HZ[1]:g} Hz")


def _given(value: Any) -> Any:
    """A column that a row leaves out arrives as None or NaN."""
    return None if value is None or (isinstance(value, float) and np.isnan(value)) else value


mlflow.models.set_model(Served())
