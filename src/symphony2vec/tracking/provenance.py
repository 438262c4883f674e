"""Provenance of a run: its subject, its parameters, and the versions of code and data."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from symphony2vec.params import Params
from symphony2vec.project import Project

# dvc.lock changes while `dvc repro` runs, without a change of the code.
CHANGES = ("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)dvc.lock")
DVC_VARIABLES = ("DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")


@dataclass(frozen=True)
class Subject:
    """What a run is about: its stage (the experiment), model, representation and fold.

    ALI has its latent size in place of the representation; its input is the mel spectrogram.
    """

    stage: str
    model: str
    representation: str
    fold: str

    @property
    def name(self) -> str:
        """The name of the model's folder, as "pca-mel"."""
        return f"{self.model}-{self.representation}"

    @property
    def input(self) -> str:
        """The representation that the model takes, or the part of it, as "crop"."""
        return "mel" if self.representation.isdecimal() else self.representation

    @property
    def label(self) -> str:
        """The name of the run, as "pca-mel work-0"."""
        return f"{self.name} {self.fold}"


def flat(params: Params, *without: str) -> dict[str, Any]:
    """Return every parameter by its dotted name, except the sections named in `without`."""
    flattened: dict[str, Any] = {}
    queue: list[tuple[str, Any]] = [item for item in params.model_dump().items() if item[0] not in without]
    while queue:
        name, value = queue.pop(0)
        if isinstance(value, dict):
            queue += [(f"{name}.{key}", inner) for key, inner in value.items()]
        else:
            flattened[name] = value
    return flattened


def tags(project: Project, subject: Subject) -> dict[str, str]:
    """Return the tags of a run: what it is about, and the versions of code and data."""
    subject_tags = {
        "stage": subject.stage,
        "kind": "classifier" if subject.stage == "classifiers" else "embedding",
        "fold": subject.fold,
        "git.commit": commit(project),
        "dvc.lock.md5": lock_hash(project),
    }
    environment = {f"dvc.{name.removeprefix('DVC_').lower()}": os.environ.get(name, "") for name in DVC_VARIABLES}
    return {name: value for name, value in {**subject_tags, **environment}.items() if value}


def commit(project: Project) -> str:
    """Return the git commit of the project, with "+changes" if files differ from it; "" outside git.

    A project that was unpacked below another repository is outside git.
    """
    head = _git(project, "rev-parse", "HEAD") if _git(project, "ls-files", project.params.name) else ""
    return f"{head}+changes" if head and _git(project, *CHANGES) else head


def lock_hash(project: Project) -> str:
    """Return the md5 of dvc.lock, which holds the hash of every input and output; "" before the first `dvc repro`."""
    lock = project.root / "dvc.lock"
    return hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest() if lock.is_file() else ""


def dvc_hash(project: Project, path: Path) -> str:
    """Return the hash in dvc.lock of an output, or of the output folder around it; "" if it has neither."""

    lock = project.root / "dvc.lock"
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # in C, a twentieth of ruamel.yaml's time
    text = lock.read_text(encoding="utf-8") if lock.is_file() else "stages: {}"
    stages = yaml.load(text, Loader=loader)["stages"]
    outputs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    inside = path.relative_to(project.root)
    return next((outputs[place.as_posix()] for place in (inside, *inside.parents) if place.as_posix() in outputs), "")


def _git(project: Project, *words: str) -> str:
    try:
        result = subprocess.run(["git", *words], cwd=project.root, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
