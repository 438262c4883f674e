"""Embedding the rows of one request, within limits: the part that the HTTP app and the MLflow model share.

A row holds either `audio`, the bytes of a sound file (FLAC, WAV, MP3, OGG, M4A, Opus ...) in base64, or `waveform`, a
list of samples with full scale 1, and `sample_rate`. Its answer holds starts_s, ends_s and vectors, and, if the package
holds a probe, composers and probabilities; a classifier returns no vectors. `note` describes an oddity of the sound.
No path or address in a request is ever opened.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from symphony2vec.decoding import ffmpeg
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable, UserError
from symphony2vec.package.model import HOP_S, LONGEST_S, Embedding, Model

MAX_VECTORS = 2400  # of one request: 20 minutes every half second
MIN_RATE_HZ, MAX_RATE_HZ = 1_000.0, 384_000.0
MAX_CHANNELS = 8
AUDIO = "the bytes of a sound file (FLAC, WAV, MP3, OGG, M4A, Opus ...) in base64"


@dataclass(frozen=True)
class Limits:
    """Limits of one request: seconds of sound in all its rows, megabytes (10^6 bytes) of its body, rows."""

    seconds: float = 1200.0
    megabytes: float = 32.0
    rows: float = 64.0

    @classmethod
    def from_environment(cls) -> Limits:
        """Return the limits, overridden by SYMPHONY2VEC_MAX_SECONDS, _MAX_MEGABYTES and _MAX_ROWS.

        Raises:
            UserError: one of them is not a number above 0.
        """
        return cls(**{field.name: _read_limit(field.name, field.default) for field in fields(cls)})


class Row(BaseModel):
    """One sound to embed."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    audio: str | None = Field(None, description=AUDIO)
    waveform: list[float] | None = Field(None, fail_fast=True, description="one channel, full scale 1")
    sample_rate: float | None = Field(None, ge=MIN_RATE_HZ, le=MAX_RATE_HZ, description="of waveform, in Hz")
    form: Literal["clips", "timestamps", "recording"] = "clips"
    hop_s: float | None = Field(None, gt=0.0, description=f"seconds between timestamps (default {HOP_S})")


class Answer(BaseModel):
    """The embedding of one sound: n passages with D-dimensional vectors and K composers."""

    starts_s: list[float]
    ends_s: list[float]
    vectors: list[list[float]] | None = None
    composers: list[str] | None = None
    probabilities: list[list[float]] | None = None
    note: str | None = None


class Service:
    """Embeds the rows of requests, one request at a time, which bounds the memory."""

    def __init__(self, model: Model, limits: Limits) -> None:
        self.model, self.limits, self._lock = model, limits, threading.Lock()

    def answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return one answer per row; see `Answer`.

        Raises:
            UserError: a row cannot be embedded, or exceeds a limit; the message begins with its number.
        """
        if not 1 <= len(rows) <= self.limits.rows:
            raise UserError(f"the request has {len(rows)} rows; expected 1 to {self.limits.rows:g}")
        answers, budget = [], _Budget(self.limits.seconds)
        with self._lock:
            for number, row in enumerate(rows):
                try:
                    answers.append(self._describe(self._embed(row, budget)))
                except (UserError, Unusable) as reason:
                    raise UserError(f"row {number}: {reason}") from None
        return answers

    def _embed(self, row: Row, budget: _Budget) -> Embedding:
        if (row.audio is None) == (row.waveform is None):
            raise UserError(f"expected either audio ({AUDIO}) or waveform with sample_rate")
        if row.audio is not None:
            return self._embed_audio(row, budget, _decode_base64(row.audio, self.limits.megabytes))
        if row.sample_rate is None:
            raise UserError("sample_rate is missing: the samples per second of waveform")
        with np.errstate(over="ignore"):  # values beyond float32 become infinite, which the model refuses
            wave = np.asarray(row.waveform, dtype=np.float32)
        budget.spend(len(wave) / row.sample_rate, row)
        return self.model.embed(wave, row.sample_rate, row.form, row.hop_s)

    def _embed_audio(self, row: Row, budget: _Budget, audio: bytes) -> Embedding:
        """Embed the bytes of a sound file through a private temporary file."""
        with tempfile.NamedTemporaryFile(prefix="symphony2vec-") as file:
            file.write(audio)
            file.flush()
            path, remaining_s = Path(file.name), budget.remaining_s(row)
            header_s = _header_duration_s(path)
            budget.spend(header_s, row)
            # The header may understate the length, so decoding stops at what the request has left.
            embedding = self.model.embed_recording(path, row.form, row.hop_s, min(remaining_s, LONGEST_S))
            budget.spend(max(0.0, float(embedding.ends_s[-1]) - header_s), row)
            return embedding

    def _describe(self, embedding: Embedding) -> dict[str, Any]:
        vectors = embedding.vectors.tolist()
        answer = {"starts_s": embedding.starts_s.tolist(), "ends_s": embedding.ends_s.tolist()}
        if embedding.note:
            answer["note"] = embedding.note
        if self.model.classes:
            return answer | {"composers": self.model.classes, "probabilities": vectors}
        if self.model.composers:
            probabilities = self.model.classify(embedding.vectors).tolist()
            answer |= {"composers": self.model.composers, "probabilities": probabilities}
        return answer | {"vectors": vectors}


class _Budget:
    """The seconds of sound and the vectors that a request has left."""

    def __init__(self, seconds: float) -> None:
        self._limit_s, self._spent_s, self._vectors = seconds, 0.0, 0.0

    def remaining_s(self, row: Row) -> float:
        remaining_s = self._limit_s - self._spent_s
        hop_s = _hop_s(row)
        return remaining_s if hop_s is None else min(remaining_s, (MAX_VECTORS - self._vectors) * hop_s)

    def spend(self, duration_s: float, row: Row) -> None:
        self._spent_s += duration_s
        if self._spent_s > self._limit_s:
            raise UserError(f"the sound lasts {self._spent_s:.0f} s; the limit is {self._limit_s:g} s per request")
        hop_s = _hop_s(row)
        if hop_s is not None:
            self._vectors += duration_s / hop_s
            if self._vectors > MAX_VECTORS:
                raise UserError(f"hop_s of {hop_s:g} s makes more than {MAX_VECTORS} vectors, the limit per request")


def explain(error: ValidationError) -> str:
    """Return the first error of a request in one line, without the request's own data.

    Examples:
        >>> try:
        ...     Row.model_validate({"audio": 3})
        ... except ValidationError as error:
        ...     explain(error)
        'audio: Input should be a valid string'
    """
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "extra_forbidden":
        place, message = first["loc"][:-1], f"unknown key; expected {', '.join(Row.model_fields)}"
    else:
        place, message = first["loc"], first["msg"]
    words = [f"row {part}" if isinstance(part, int) and at == 0 else str(part) for at, part in enumerate(place)]
    return ": ".join([*words, " ".join(message.split())])


def _read_limit(name: str, default: Any) -> float:
    variable = f"SYMPHONY2VEC_MAX_{name.upper()}"
    text = os.environ.get(variable) or default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise UserError(f"{variable} is '{text}'; it must be a number above 0, such as {default:g}")
    return value


def _hop_s(row: Row) -> float | None:
    return (row.hop_s or HOP_S) if row.form == "timestamps" else None


def _decode_base64(text: str, megabytes: float) -> bytes:
    if len(text) * 0.75 > megabytes * 1e6:
        raise UserError(f"audio holds {len(text) * 0.75e-6:.0f} MB; the limit is {megabytes:g} MB")
    try:
        audio = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"audio is not base64 ({error}); expected {AUDIO}, not a path or address") from None
    if not ffmpeg.detect_container(audio):
        raise UserError(f"audio does not begin like a supported sound file; expected {AUDIO}")
    return audio


def _header_duration_s(path: Path) -> float:
    """Return the length that a file's header states, 0 if it states none; decoding gives the true one."""
    with decoding.open_recording(path, LONGEST_S) as recording:
        if recording.channels > MAX_CHANNELS:
            raise UserError(f"audio has {recording.channels} channels; the limit is {MAX_CHANNELS}")
        if not MIN_RATE_HZ <= recording.samplerate <= MAX_RATE_HZ:
            raise UserError(
                f"audio has a sample rate of {recording.samplerate:g} Hz; expected {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}"
            )
        return recording.declared_s or 0.0
