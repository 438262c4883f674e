"""What a run is about and what it was made from: its subject, its parameters, and the versions of code and data."""

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

# dvc.lock changes while `dvc repro` runs; it says nothing of the code.
CHANGES = ("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)dvc.lock")
DVC_VARIABLES = ("DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")


@dataclass(frozen=True)
class Subject:
    """What a run is about: its stage (the experiment), its model, the representation it sees, and the fold.

    An ALI has its latent size in the place of the representation: it sees the mel spectrogram.
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
    def seen(self) -> str:
        """The representation that the model sees, or the part of it, as "crop"."""
        return "mel" if self.representation.isdecimal() else self.representation

    @property
    def label(self) -> str:
        """The name of the run, as "pca-mel work-0"."""
        return f"{self.name} {self.fold}"


def flat(params: Params, *without: str) -> dict[str, Any]:
    """Every parameter under its dotted name, but for the sections that a run has no part in."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [
        (name, values) for name, values in params.model_dump().items() if name not in without
    ]
    while waiting:
        name, values = waiting.pop(0)
        if isinstance(values, dict):
            waiting += [(f"{name}.{key}", inner) for key, inner in values.items()]
        else:
            found[name] = values
    return found


def tags(project: Project, subject: Subject) -> dict[str, str]:
    """The tags of a run: what it is, and the versions it was made from."""
    own = {
        "stage": subject.stage,
        "kind": "classifier" if subject.stage == "classifiers" else "embedding",
        "fold": subject.fold,
        "git.commit": commit(project),
        "dvc.lock.md5": lock_hash(project),
    }
    environment = {f"dvc.{name.removeprefix('DVC_').lower()}": os.environ.get(name, "") for name in DVC_VARIABLES}
    return {name: value for name, value in {**own, **environment}.items() if value}


def commit(project: Project) -> str:
    """The git commit of the project, with "+changes" when files differ from it; "" outside git.

    A project that was unpacked somewhere below another repository is outside git.
    """
    head = _git(project, "rev-parse", "HEAD") if _git(project, "ls-files", project.params.name) else ""
    return f"{head}+changes" if head and _git(project, *CHANGES) else head


def lock_hash(project: Project) -> str:
    """The md5 of dvc.lock, which names the hash of every input and output; "" before the first `dvc repro`."""
    lock = project.root / "dvc.lock"
    return hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest() if lock.is_file() else ""


def dvc_hash(project: Project, path: Path) -> str:
    """The hash that dvc.lock gives to an output, or to the output folder that holds it; "" when it names neither."""

    lock = project.root / "dvc.lock"
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # in C, a twentieth of ruamel.yaml's time
    text = lock.read_text(encoding="utf-8") if lock.is_file() else "stages: {}"
    stages = yaml.load(text, Loader=loader)["stages"]
    outputs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    inside = path.relative_to(project.root)
    return next((outputs[place.as_posix()] for place in (inside, *inside.parents) if place.as_posix() in outputs), "")


def _git(project: Project, *words: str) -> str:
    try:
        asked = subprocess.run(["git", *words], cwd=project.root, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
