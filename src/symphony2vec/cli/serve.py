"""The command that serves a trained model over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from symphony2vec.cli import lazy
from symphony2vec.cli.embed import MODEL


@click.command("serve")
@MODEL
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 for any free port.")
@click.pass_obj
def serve(project: Path, model: str | None, host: str, port: int) -> None:
    """Serve a trained model over HTTP: POST /embed, GET /health, documentation at /docs.

    The model is loaded once, at the start. SYMPHONY2VEC_MAX_SECONDS, SYMPHONY2VEC_MAX_MEGABYTES and
    SYMPHONY2VEC_MAX_ROWS limit a request.

    \b
    Example
      symphony2vec serve --port 8080
      curl -s localhost:8080/embed -H 'Content-Type: application/json' -d @request.json
    """
    lazy.serving.serve(model, project, host, port)
