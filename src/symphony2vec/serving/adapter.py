"""What stands between MLflow's scoring server and the model of a package: limits, strict reading, refusals in a line.

By itself that server takes a body of any size, answers 500 to some faults of a client (no content type, a number of
5,000 digits, lists nested a thousand deep), reads Parquet and CSV of strangers, and sends a refused body back to whom
it came from, with a traceback. In a process that serves a package each request passes through this module first. One is
answered at a time, which bounds the memory; more processes (`mlflow models serve --workers N`) answer more at once.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, fields
from typing import Any

import fastapi
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.scoring_server import InvocationsResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from symphony2vec.errors import UserError

SERVER = "mlflow.pyfunc.scoring_server.app"
TABLES = ("dataframe_records", "dataframe_split", "inputs", "instances")
PARAMS, KNOWN_PARAMS = "params", ("form", "hop_s")
COLUMNS = ("audio", "waveform", "sample_rate")
SHOWN_CHARACTERS = 500  # of a reason
DRAINED = 8.0  # times the limit
LISTS_A_ROW = 8  # more than any of the four tables has
# What MLflow's reading of a request raises and does not call the client's fault: everything else is ours.
MISREAD = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """Of one request: seconds of sound in all its rows, megabytes (10^6 bytes) of its body, rows."""

    seconds: float = 1200.0
    megabytes: float = 32.0
    rows: float = 64.0

    @classmethod
    def of_environment(cls) -> Limits:
        """The limits with those that SYMPHONY2VEC_MAX_SECONDS, _MAX_MEGABYTES and _MAX_ROWS change."""
        return cls(**{one.name: _limit(f"SYMPHONY2VEC_MAX_{one.name.upper()}", one.default) for one in fields(cls)})


def _limit(name: str, default: Any) -> float:
    given = os.environ.get(name) or default
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not 0.0 < found < math.inf:
        raise UserError(f"{name} is '{given}'; it must be a number above 0, as {default:g}")
    return found


def guard(limits: Limits) -> bool:
    """In a process of MLflow's scoring server, put this module before it; in any other do nothing and return False.

    The server loads the model first and builds its application then, from `fastapi.FastAPI`; each request goes through
    its function `invocations`. Both are replaced.
    """
    if SERVER not in sys.modules:
        return False

    narrow = Middleware(Narrow, most_bytes=round(limits.megabytes * 1e6))
    fastapi.FastAPI = functools.partial(fastapi.FastAPI, middleware=[narrow], docs_url=None, openapi_url=None)  # type: ignore[misc, assignment]
    scoring_server.invocations = functools.partial(answered, scoring_server.invocations, threading.Lock(), limits)
    return True


class Narrow:
    """ASGI middleware: a body larger than the limit is answered with 413; what exceeds the limit is not kept.

    Some of it is read, as a client that is still sending when the connection closes does not see the answer.
    """

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        read_bytes = 0

        async def counted() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes <= self.most_bytes:
                return message
            while message.get("more_body") and read_bytes <= DRAINED * self.most_bytes:
                message = await receive()
                read_bytes += len(message.get("body", b""))
            raise HTTPException(413, f"the body is too large; the limit is {self.most_bytes / 1e6:g} MB")

        await self.app(scope, counted, send)


def answered(
    invocations: Callable[..., Any],
    one_at_a_time: threading.Lock,
    limits: Limits,
    body: bytes,
    content_type: str | None,
    model: Any,
    schema: Any,
) -> Any:
    """What MLflow's `invocations` answers to a request; its refusals say why in a line and repeat nothing else.

    Raises:
        MlflowException: the request is refused (400), or the server cannot answer it (500).
    """

    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        wanted = f"the content type must be application/json; it is {json.dumps(content_type)[:100]}"
        return InvocationsResponse(
            json.dumps({"error_code": "BAD_REQUEST", "message": wanted}), 415, "application/json"
        )
    try:
        with one_at_a_time:
            return invocations(read(body, limits), "application/json", model, schema)
    except MlflowException as fault:
        fault.message, fault.json_kwargs = reason(fault.message), {}
        raise
    except MISREAD as fault:
        raise refused(f"the request cannot be read as a table ({type(fault).__name__})") from None


def read(body: bytes, limits: Limits) -> dict[str, Any]:
    """The JSON of a request as `dataframe_records` and params, checked; what a row leaves out is None in it."""
    if body.count(b"[") + body.count(b"{") > LISTS_A_ROW * (limits.rows + 2.0):
        raise refused(f"the body holds more lists and objects than a table of {limits.rows:g} rows")
    try:
        found = json.loads(body, parse_int=float, parse_constant=_no_number)  # to MLflow an integer is no sample
    except RecursionError:
        raise refused("the body is nested too deep") from None
    except ValueError as fault:  # neither JSON nor UTF-8
        raise refused(f"the body is no JSON: {fault}") from None
    names = set(found) if isinstance(found, dict) else set()
    if len(names - {PARAMS}) != 1 or not names <= {*TABLES, PARAMS}:
        raise refused(f"the body must be a JSON object with one of {', '.join(TABLES)}, and {PARAMS} where wanted")
    params = {} if found.get(PARAMS) is None else found[PARAMS]
    if not isinstance(params, dict) or not set(params) <= set(KNOWN_PARAMS):
        raise refused(
            f"{PARAMS} is no object of {' and '.join(KNOWN_PARAMS)}, as {{'form': 'timestamps', 'hop_s': 0.5}}"
        )
    (name,) = names - {PARAMS}
    rows = _split(found[name]) if name == "dataframe_split" else found[name]
    if name == "inputs" and isinstance(rows, dict):  # one row needs no list
        rows = [rows]
    if not isinstance(rows, list) or not 1 <= len(rows) <= limits.rows:
        raise refused(f"{name} must be a list of rows, 1 to {limits.rows:g}, as [{{'audio': '...'}}]")
    return {"dataframe_records": [_row(number, row) for number, row in enumerate(rows)], PARAMS: params}


def _split(table: Any) -> Any:
    """The rows of columns and data; None where these do not fit each other."""
    columns, data = (table.get("columns"), table.get("data")) if isinstance(table, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(data, list):
        return None
    if not all(isinstance(one, str) for one in columns) or len(set(columns)) < len(columns):
        return None
    if not all(isinstance(row, list) and len(row) == len(columns) for row in data):
        return None
    return [dict(zip(columns, row, strict=True)) for row in data]


def _row(number: int, row: Any) -> dict[str, Any]:
    """One row, its waveform as an array: MLflow would check a list number by number, twice."""

    if not isinstance(row, dict) or not set(row) <= set(COLUMNS):
        raise refused(f"row {number}: it is no object of {' or '.join(COLUMNS)}")
    audio, waveform, rate = (row.get(name) for name in COLUMNS)
    if not isinstance(audio, str | None):
        raise refused(f"row {number}: audio is no string; wanted are the bytes of a sound file in base64")
    if waveform is not None and not (isinstance(waveform, list) and all(type(one) is float for one in waveform)):
        raise refused(f"row {number}: waveform is no list of numbers")
    if not isinstance(rate, float | None):
        raise refused(f"row {number}: sample_rate is no number")
    return {"audio": audio, "waveform": waveform and np.array(waveform), "sample_rate": rate}


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def reason(message: str) -> str:
    """The end of a message of MLflow, which says why, without the data before it."""
    last = message.rpartition("\nError: ")[2].rpartition(" Error: ")[2]
    line = " ".join(last.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]} ..."


def refused(text: str) -> Exception:
    """The exception that MLflow answers with 400."""

    made: Exception = MlflowException.invalid_parameter_value(text)
    return made
