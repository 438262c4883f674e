"""Modules whose libraries belong to an extra: a plain installation holds what embedding needs and no more."""

from __future__ import annotations

import gc
import importlib
from types import ModuleType

from symphony2vec.errors import UserError

EXTRAS = {"symphony2vec.atlas": "atlas", "symphony2vec.serving.app": "serve"}  # by module
DEFAULT_EXTRA = "pipeline"


def load(name: str) -> ModuleType:
    """Return a module of symphony2vec.

    Raises:
        UserError: a library that it imports is not installed; the message names the extra that brings it.
    """
    is_collecting = gc.isenabled()
    gc.disable()  # What an import creates stays: searching it for garbage takes a fifth of the time.
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "symphony2vec"):
            raise
        extra = EXTRAS.get(name, DEFAULT_EXTRA)
        raise UserError(f"this needs {library}, which is not installed: pip install 'symphony2vec[{extra}]'") from None
    finally:
        if is_collecting:
            gc.enable()
