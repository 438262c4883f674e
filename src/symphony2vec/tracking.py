"""All that is said to MLflow: one run a model and drawn split, in the experiment of its stage.

Runs go to `MLFLOW_TRACKING_URI` where that is set, a server or a database, else to the database mlruns/mlflow.db of the
project. With a database their artifacts lie under mlruns/artifacts/<stage>, or under `MLFLOW_DEFAULT_ARTIFACT_ROOT`, as
s3://bucket/runs; a server has a place of its own. A run carries its parameters under the same flat names in every
model, the data it saw with DVC's hash, the git commit, the stage and the hash of dvc.lock. A run that raises is marked
FAILED.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from symphony2vec.artifacts import Project, read_json, write_json
from symphony2vec.errors import UserError
from symphony2vec.params import Params

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

URI = "MLFLOW_TRACKING_URI"
ARTIFACTS = "MLFLOW_DEFAULT_ARTIFACT_ROOT"  # MLflow's own name for it, which its server alone heeds
# dvc.lock changes while `dvc repro` runs; it says nothing of the code.
CHANGES = ("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)dvc.lock")
DVC_VARIABLES = ("DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")


@dataclass(frozen=True)
class Subject:
    """What a run is about: its stage (the experiment), its model, the representation it sees, and the drawn split."""

    stage: str
    model: str
    representation: str
    draw: str

    @property
    def name(self) -> str:
        """The name of the model's folder, as "pca-mel"."""
        return f"{self.model}-{self.representation}"


@dataclass(frozen=True)
class Run:
    """An open MLflow run."""

    client: MlflowClient
    run_id: str

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers, in one call; `step` is the update at which they were true."""
        from mlflow.entities import Metric

        now_ms = time.time_ns() // 1_000_000
        self.client.log_batch(self.run_id, [Metric(name, float(value), now_ms, step) for name, value in values.items()])

    def image(self, image: np.ndarray, key: str, step: int) -> None:
        """Log one image (H, W, 3) uint8 of the series `key`."""
        self.client.log_image(self.run_id, image, key=key, step=step)

    def figure(self, figure: Figure, file: str) -> None:
        """Log a figure as an image."""
        self.client.log_figure(self.run_id, figure, file)

    def file(self, path: Path, folder: str | None = None) -> None:
        """Log a file as an artifact."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def folder(self, path: Path, name: str) -> None:
        """Log all files of a folder as artifacts below `name`."""
        self.client.log_artifacts(self.run_id, str(path), name)


@contextmanager
def run(
    project: Project, subject: Subject, parameters: Mapping[str, Any], seen: Path, begun: Path | None = None
) -> Iterator[Run]:
    """Open a run for one training of a model.

    Args:
        project: whose database is used.
        subject: stage, model, representation and draw.
        parameters: flat names and plain values.
        seen: the file or folder that the model learns from; logged as its data set with DVC's hash.
        begun: a file that notes the run while it lasts. Where it is there already, left by a training that was stopped
            in the middle, its run goes on instead of a new one.
    """
    with _spoken(project) as client:
        opened = _stopped(client, begun)
        if opened is None:
            opened = _new(client, project, subject)
            _log_parameters(opened, subject, parameters)
            for path in (seen, project.clips):
                _log_data(opened, project, path)
        if begun is not None:
            write_json(begun, {"run_id": opened.run_id})
        with _ended(opened):
            yield opened


@contextmanager
def again(project: Project, record: Mapping[str, Any]) -> Iterator[Run]:
    """Open the run that `write_record` noted, to add what a later stage found.

    Where the tracking server does not know that run (a fresh database, say, under outputs that DVC restored), a new one
    takes its place and says so in the tag `stands_for`.
    """
    subject = Subject(*(record[name] for name in ("stage", "model", "representation", "draw")))
    with _spoken(project) as client:
        known = _known(client, record["run_id"])
        if known and "failure" in known.data.tags:
            client.delete_tag(record["run_id"], "failure")
        with _ended(Run(client, record["run_id"]) if known else _new(client, project, subject)) as opened:
            if not known:
                client.set_tag(opened.run_id, "stands_for", record["run_id"])
                _log_parameters(opened, subject, {})
            yield opened


def write_record(path: Path, opened: Run, subject: Subject, key: str, draw: str) -> None:
    """Note which run made the files of a folder and from what, for the stages that add to it.

    `key` stands for all that the files were made from, `draw` for the clips and their sides alone.
    """
    fields = {name: getattr(subject, name) for name in ("stage", "model", "representation", "draw")}
    write_json(path, {"run_id": opened.run_id, "key": key, "clips": draw, **fields})


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


def uri(project: Project) -> str:
    """Where runs are kept."""
    return os.environ.get(URI) or f"sqlite:///{project.mlruns / 'mlflow.db'}"


def commit(project: Project) -> str:
    """The git commit of the project, with "+changes" when files differ from it; "" outside git."""
    head = _git(project, "rev-parse", "HEAD")
    return f"{head}+changes" if head and _git(project, *CHANGES) else head


def lock_hash(project: Project) -> str:
    """The md5 of dvc.lock, which names the hash of every input and output; "" before the first `dvc repro`."""
    lock = project.root / "dvc.lock"
    return hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest() if lock.is_file() else ""


def dvc_hash(project: Project, path: Path) -> str:
    """The hash that dvc.lock gives to an output, or to the output folder that holds it; "" when it names neither."""
    from ruamel.yaml import YAML

    lock = project.root / "dvc.lock"
    stages = YAML(typ="safe").load(lock.read_text(encoding="utf-8"))["stages"] if lock.is_file() else {}
    outputs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    inside = path.relative_to(project.root)
    return next((outputs[place.as_posix()] for place in (inside, *inside.parents) if place.as_posix() in outputs), "")


@contextmanager
def _spoken(project: Project) -> Iterator[MlflowClient]:
    """A client of the tracking server. MLflow's own faults become one line for people; its chatter is kept down.

    No global state of MLflow is touched, so that two projects can be used in one process.
    """
    import logging

    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        _prepare(project)
        yield MlflowClient(uri(project))
    except MlflowException as fault:
        line = str(fault).strip().splitlines()[0][:300]
        raise UserError(f"MLflow at {uri(project)}: {line}; check the server, or unset {URI} to use mlruns/") from fault


@contextmanager
def _ended(opened: Run) -> Iterator[Run]:
    """The run ends as FINISHED, as KILLED when interrupted, or as FAILED with the reason as a tag."""
    try:
        yield opened
    except BaseException as fault:
        opened.client.set_tag(opened.run_id, "failure", f"{type(fault).__name__}: {fault}"[:500])
        opened.client.set_terminated(opened.run_id, "KILLED" if isinstance(fault, KeyboardInterrupt) else "FAILED")
        raise
    opened.client.set_terminated(opened.run_id, "FINISHED")


def _prepare(project: Project) -> None:
    """Make the database once, however many processes start at the same time; they would trip each other up."""
    if _is_server(project):
        return
    import filelock

    project.mlruns.mkdir(exist_ok=True)
    database = project.mlruns / "mlflow.db"
    with filelock.FileLock(project.mlruns / ".mlflow.db.lock"):
        if not os.environ.get(URI) and database.is_file() and database.stat().st_size:
            return
        from mlflow import MlflowClient

        MlflowClient(uri(project)).search_experiments(max_results=1)
        if os.environ.get(URI):
            return
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _new(client: MlflowClient, project: Project, subject: Subject) -> Run:
    made = client.create_run(
        _experiment(client, project, subject.stage),
        tags=_tags(project, subject),
        run_name=f"{subject.name} {subject.draw}",
    )
    return Run(client, made.info.run_id)


def _stopped(client: MlflowClient, begun: Path | None) -> Run | None:
    """The run that a stopped training noted, running again; None when there is none."""
    if begun is None or not begun.is_file():
        return None
    run_id = read_json(begun, "")["run_id"]
    known = _known(client, run_id)
    if known is None:
        return None
    if "failure" in known.data.tags:
        client.delete_tag(run_id, "failure")
    client.update_run(run_id, status="RUNNING")
    return Run(client, run_id)


def _experiment(client: MlflowClient, project: Project, stage: str) -> str:
    """The id of the stage's experiment, made when it is missing."""
    import filelock

    project.mlruns.mkdir(exist_ok=True)
    with filelock.FileLock(project.mlruns / ".experiment.lock"):
        found = client.get_experiment_by_name(stage)
        if found is not None:
            if found.lifecycle_stage != "active":
                client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        return str(client.create_experiment(stage, artifact_location=_artifacts(project, stage)))


def _is_server(project: Project) -> bool:
    """Whether runs are told to a tracking server, and not written to a database by this process itself."""
    return urlsplit(uri(project)).scheme in ("http", "https")


def _artifacts(project: Project, stage: str) -> str | None:
    """Where the files of an experiment's runs go. A server decides itself; a database leaves it to its clients."""
    if _is_server(project):
        return None
    root = os.environ.get(ARTIFACTS) or (project.mlruns / "artifacts").as_uri()
    return f"{root.rstrip('/')}/{stage}"


def _known(client: MlflowClient, run_id: str) -> Any:
    """The run, or None when the server does not have it or somebody deleted it."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(run_id)
    except MlflowException as fault:
        if fault.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return found if found.info.lifecycle_stage == "active" else None


def _tags(project: Project, subject: Subject) -> dict[str, str]:
    tags = {
        "stage": subject.stage,
        "kind": "classifier" if subject.stage == "classifiers" else "embedding",
        "draw": subject.draw,
        "git.commit": commit(project),
        "dvc.lock.md5": lock_hash(project),
    }
    environment = {f"dvc.{name.removeprefix('DVC_').lower()}": os.environ.get(name, "") for name in DVC_VARIABLES}
    return {name: value for name, value in {**tags, **environment}.items() if value}


def _log_parameters(opened: Run, subject: Subject, parameters: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    named = {"model": subject.model, "representation": subject.representation, **parameters}
    opened.client.log_batch(opened.run_id, params=[Param(name, str(value)) for name, value in named.items()])


def _log_data(opened: Run, project: Project, seen: Path) -> None:
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    digest = dvc_hash(project, seen)
    name = seen.relative_to(project.root).as_posix()
    data = MetaDataset(source=LocalArtifactDatasetSource(str(seen)), name=name, digest=digest or None)
    tags = {MLFLOW_DATASET_CONTEXT: "training", **({"dvc.md5": digest} if digest else {})}
    entry = DatasetInput(data._to_mlflow_entity(), [InputTag(key, value) for key, value in tags.items()])
    opened.client.log_inputs(opened.run_id, [entry])


def _git(project: Project, *words: str) -> str:
    try:
        asked = subprocess.run(["git", *words], cwd=project.root, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
