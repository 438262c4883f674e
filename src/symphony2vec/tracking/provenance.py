"""Provenance of a run: its identity, its parameters, and the versions of code and data."""

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

# Arguments that list uncommitted changes; dvc.lock is excluded, because `dvc repro` rewrites it.
GIT_STATUS = ("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)dvc.lock")
# By stage: the model that predicts composers. Every model of the stage `classifiers` does; all others give vectors.
CLASSIFIERS = {"ali": "encoder", "temporal": "labels"}
DVC_VARIABLES = ("DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")


@dataclass(frozen=True)
class RunIdentity:
    """What distinguishes a run from others: its stage (the experiment), model, representation and fold.

    ALI and the temporal models have their latent size in place of the representation, such as "128", and pretrained
    models the last part of their name, such as "base"; the input of all of these is the mel spectrogram.
    """

    stage: str
    model: str
    representation: str
    fold: str

    @property
    def entry(self) -> str:
        """Return the full name of the model, such as "pca-mel": the name of its folder, and the parameter `entry`."""
        return f"{self.model}-{self.representation}"

    @property
    def input_representation(self) -> str:
        """Return the input representation that is logged: mel, mfcc, chroma, or "crop".

        "crop" is that of the feed-forward network on ALI's crop; ALI itself, the temporal models and those that are
        installed with symphony2vec have "mel".
        """
        is_mel = self.representation.isdecimal() or self.stage == "pretrained"
        return "mel" if is_mel else self.representation

    @property
    def command(self) -> str:
        """Return the command that makes the run, which MLflow shows as its source; all runs of a study have the same.

        Examples:
            >>> RunIdentity("ali", "paper", "128", "work-0").command
            'symphony2vec ali paper-128 --fold work-0'
        """
        if self.stage == "study":
            return "symphony2vec study"
        is_entry = self.representation.isdecimal() or self.stage == "pretrained"
        names = self.entry if is_entry else f"{self.model} {self.representation}"
        return f"symphony2vec {self.stage} {names} --fold {self.fold}"

    @property
    def is_classifier(self) -> bool:
        """Return whether the model predicts composers and gives no vectors.

        Examples:
            >>> RunIdentity("temporal", "labels", "40", "work-0").is_classifier
            True
        """
        return self.stage == "classifiers" or CLASSIFIERS.get(self.stage) == self.model

    @property
    def description(self) -> str:
        """Return what the run is, as MLflow shows it above the run."""
        if self.stage == "pretrained":
            return f"Model {self.entry}, which is installed with symphony2vec, on the clips of the fold {self.fold}."
        what = (
            "Search for hyperparameters" if self.stage == "study" else f"Model {self.entry} of the stage {self.stage}"
        )
        return f"{what}, trained on the training clips of the fold {self.fold}."

    @property
    def run_name(self) -> str:
        """Return the name of the run, such as "pca-mel work-0"."""
        return f"{self.entry} {self.fold}"


def flatten_params(params: Params, *excluded_sections: str) -> dict[str, Any]:
    """Return every parameter by its dotted name, except those of some sections."""
    flattened: dict[str, Any] = {}
    queue: list[tuple[str, Any]] = [item for item in params.model_dump().items() if item[0] not in excluded_sections]
    while queue:
        name, value = queue.pop(0)
        if isinstance(value, dict):
            queue += [(f"{name}.{key}", inner) for key, inner in value.items()]
        else:
            flattened[name] = value
    return flattened


def tags(project: Project, identity: RunIdentity) -> dict[str, str]:
    """Return the tags of a run: command, description, stage, kind, fold, and the versions of code and data."""
    commit = git_commit(project)
    version_tags = {
        "mlflow.source.name": identity.command,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit.removesuffix("+changes"),
        "mlflow.note.content": identity.description,
        "stage": identity.stage,
        "kind": "classifier" if identity.is_classifier else "embedding",
        "fold": identity.fold,
        "git.commit": commit,
        "dvc.lock.md5": lock_hash(project),
    }
    environment = {f"dvc.{name.removeprefix('DVC_').lower()}": os.environ.get(name, "") for name in DVC_VARIABLES}
    return {name: value for name, value in {**version_tags, **environment}.items() if value}


def git_commit(project: Project) -> str:
    """Return the git commit of the project; "" outside git.

    The suffix is "+changes" if tracked files other than dvc.lock differ from the commit. A project that lies inside
    another repository, which does not track it, counts as outside git.
    """
    head = _git(project, "rev-parse", "HEAD") if _git(project, "ls-files", project.params.name) else ""
    return f"{head}+changes" if head and _git(project, *GIT_STATUS) else head


def lock_hash(project: Project) -> str:
    """Return the md5 of dvc.lock, which holds the hash of every input and output; "" before the first `dvc repro`."""
    lock = project.root / "dvc.lock"
    return hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest() if lock.is_file() else ""


def dvc_hash(project: Project, path: Path) -> str:
    """Return the md5 that dvc.lock records for a path, or for the closest parent folder that is an output of a stage.

    It is "" if there is none.
    """
    lock = project.root / "dvc.lock"
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml: 20 times as fast as ruamel.yaml
    text = lock.read_text(encoding="utf-8") if lock.is_file() else "stages: {}"
    stages = yaml.load(text, Loader=loader)["stages"]
    outputs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    relative_path = path.relative_to(project.root)
    names = (output.as_posix() for output in (relative_path, *relative_path.parents))
    return next((outputs[name] for name in names if name in outputs), "")


def _git(project: Project, *words: str) -> str:
    try:
        result = subprocess.run(["git", *words], cwd=project.root, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
