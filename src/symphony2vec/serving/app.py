"""The HTTP app of a trained model: POST /embed, GET /health, and an OpenAPI page at /docs.

The body of POST /embed is one row or a list of rows in JSON, and the answer is one answer or a list of answers; see
`symphony2vec.serving.inference`. An invalid request is refused with 4xx and {"detail": <one line>}, which repeats none
of its data. One request is embedded at a time.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import FailFast, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from symphony2vec import __version__, embedder
from symphony2vec.errors import UserError
from symphony2vec.package import contents
from symphony2vec.package.model import Model
from symphony2vec.serving.inference import Answer, Limits, Row, Service, explain

DRAIN = 8  # times the limit of a body is read before it is refused: a client still sending would miss the answer
BRACKETS_PER_ROW = 4  # more than the lists and objects that a row can hold
ROWS = TypeAdapter(Annotated[list[Row], FailFast()])
ROW_SCHEMA = Row.model_json_schema()
BODY_SCHEMA = {"anyOf": [ROW_SCHEMA, {"type": "array", "items": ROW_SCHEMA}]}
REQUEST_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": BODY_SCHEMA}}}}

log = logging.getLogger(__name__)


def serve(source: str | None, project: str | Path, host: str, port: int) -> None:
    """Load a model and answer HTTP requests until the process is interrupted.

    Args:
        source: see `Embedder.load`.
        project: the project whose MLflow holds the model.
        host: the address to listen on.
        port: 0 for any free port.

    Raises:
        UserError: the model cannot be loaded, or a limit in the environment is not a number.
    """
    limits = Limits.from_environment()
    folder, exact_source = embedder.locate(source, project)
    model = contents.read(folder, Model)
    model.embed_file(folder / "artifacts" / contents.EXAMPLE)  # the first call takes seconds: it compiles
    uvicorn.run(create_app(model, limits, exact_source), host=host, port=port)


def create_app(model: Model, limits: Limits, source: str = "") -> FastAPI:
    """Return the app of a loaded model.

    Args:
        model: the model.
        limits: of one request.
        source: where the model was loaded from, for /health.
    """
    app = FastAPI(
        title="symphony2vec", version=__version__, description=f"Embeddings by {model.name}.", redirect_slashes=False
    )
    service = Service(model, limits)

    @app.get("/health")
    def health() -> dict[str, Any]:
        """Return the name and the properties of the model."""
        return {
            "status": "ok",
            "model": model.name,
            "source": source,
            "fingerprint": model.fingerprint,
            "sample_rate_hz": model.sample_rate_hz,
            "window_s": model.duration_s,
            "dimensions": model.dimensions,
            "composers": model.classes or model.composers,
        }

    @app.post("/embed", response_model=Answer | list[Answer], openapi_extra=REQUEST_BODY)
    async def embed(request: Request) -> JSONResponse:
        """Embed one sound, or a list of sounds."""
        body = await _read_body(request, round(limits.megabytes * 1e6))
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise HTTPException(415, "the content type must be application/json")
        try:
            return JSONResponse(await run_in_threadpool(_answer, service, body))
        except UserError as reason:
            raise HTTPException(400, str(reason)) from None
        except Exception:
            log.exception("a request could not be answered")
            raise HTTPException(500, "the server failed to answer this request; see its log") from None

    return app


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body; what exceeds the limit is discarded while it arrives."""
    body, size = bytearray(), 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= max_bytes:
                body += chunk
            elif size > DRAIN * max_bytes:
                break
    except ClientDisconnect:
        raise HTTPException(400, "the client disconnected before the end of the body") from None
    if size > max_bytes:
        raise HTTPException(413, f"the body is too large; the limit is {max_bytes / 1e6:g} MB")
    return bytes(body)


def _answer(service: Service, body: bytes) -> Any:
    """Return the answer to a body: one for an object, a list for a list."""
    if body.count(b"[") + body.count(b"{") > BRACKETS_PER_ROW * (service.limits.rows + 1.0):
        raise UserError(f"the body holds more lists and objects than {service.limits.rows:g} rows can")
    is_list = body.lstrip()[:1] == b"["
    try:
        rows = ROWS.validate_json(body) if is_list else [Row.model_validate_json(body)]
    except ValidationError as error:
        raise UserError(explain(error)) from None
    answers = service.answer(rows)
    return answers if is_list else answers[0]
