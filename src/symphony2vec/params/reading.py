"""The whole of params.yaml: read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from symphony2vec.errors import UserError
from symphony2vec.params.data import Audio, Clips, Corpus, Features, Labels
from symphony2vec.params.evaluation import Meaning, Probe, Registry
from symphony2vec.params.messages import describe
from symphony2vec.params.models import Ali, Classifiers, Embeddings, Pretrained, Temporal
from symphony2vec.params.study import Study
from symphony2vec.params.types import Folds, Section


class Params(Section):
    """The whole of params.yaml."""

    folds: Folds
    corpus: Corpus
    audio: Audio
    clips: Clips
    features: Features
    labels: Labels
    classifiers: Classifiers
    embeddings: Embeddings
    ali: Ali
    temporal: Temporal
    pretrained: Pretrained = Pretrained(models=[])
    probe: Probe
    meaning: Meaning
    registry: Registry
    study: Study


def read(path: Path) -> Params:
    """Read and check a params.yaml.

    Raises:
        UserError: the file is missing or is not YAML, or a key is unknown, missing, ill-typed or out of bounds. Every
            error is listed with its key and, for an unknown one, its present name or the closest key that exists.
    """
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the command inside the project, or name it with --project") from None
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line} is not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold sections ({', '.join(Params.model_fields)}), not {type(values).__name__}")
    return check(values, str(path))


def check(values: dict[str, Any], source: str = "params") -> Params:
    """Turn plain values into `Params`; `source` is named in the error."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        keys = names()
        raise UserError(f"{source}: " + "; ".join(describe(detail, keys) for detail in error.errors())) from None


def names(section: type[BaseModel] = Params, prefix: str = "") -> list[str]:
    """Return every dotted key that params.yaml may hold, sections included."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += names(inner, f"{prefix}{name}.")
    return keys
