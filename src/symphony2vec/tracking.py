"""All that is said to MLflow: one run a model, in the experiment of its stage.

The tracking server is `MLFLOW_TRACKING_URI` where that is set, else the database mlruns/mlflow.db of the project, with
the artifacts under mlruns/artifacts/<stage>. A run carries its parameters under the same flat names in every model, the
data it saw with DVC's hash, the git commit, the stage and the hash of dvc.lock. A run that raises is marked FAILED.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec.artifacts import Project, write_json
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

URI = "MLFLOW_TRACKING_URI"


@dataclass(frozen=True)
class Subject:
    """What a run is about: its stage (the experiment), its model, and the representation the model sees."""

    stage: str
    model: str
    representation: str

    @property
    def name(self) -> str:
        """The name of the run and of the model's folder, as "pca-mel"."""
        return f"{self.model}-{self.representation}"


@dataclass(frozen=True)
class Run:
    """An open MLflow run."""

    run_id: str

    def metrics(self, values: Mapping[str, float]) -> None:
        """Log numbers, in one call."""
        import mlflow

        mlflow.log_metrics({name: float(value) for name, value in values.items()}, run_id=self.run_id)

    def figure(self, figure: Figure, file: str) -> None:
        """Log a figure as an image."""
        import mlflow

        mlflow.log_figure(figure, file)

    def file(self, path: Path, folder: str | None = None) -> None:
        """Log a file as an artifact."""
        import mlflow

        mlflow.log_artifact(str(path), folder)


@contextmanager
def run(project: Project, subject: Subject, parameters: Mapping[str, Any], seen: Path) -> Iterator[Run]:
    """Open a new run for one training of a model.

    Args:
        project: whose database is used.
        subject: stage, model and representation.
        parameters: flat names and plain values.
        seen: the file or folder that the model learns from; logged as its data set with DVC's hash.
    """
    import mlflow

    with _spoken(project):
        _experiment(project, subject.stage)
        with _failing_in_words(mlflow.start_run(run_name=subject.name, tags=_tags(project, subject))) as run_id:
            mlflow.log_params({"model": subject.model, "representation": subject.representation, **parameters})
            _log_data(project, seen)
            yield Run(run_id)


@contextmanager
def again(project: Project, record: Mapping[str, Any]) -> Iterator[Run]:
    """Open the run that `write_record` noted, to add what a later stage found.

    Where the tracking server does not know that run (a fresh database, say, under outputs that DVC restored), a new one
    takes its place and says so in the tag `stands_for`.
    """
    import mlflow

    subject = Subject(record["stage"], record["model"], record["representation"])
    with _spoken(project):
        _experiment(project, subject.stage)
        known = {"run_id": record["run_id"]} if _known(record["run_id"]) else {"run_name": subject.name}
        with _failing_in_words(mlflow.start_run(**known)) as run_id:
            if run_id != record["run_id"]:
                mlflow.set_tags({**_tags(project, subject), "stands_for": record["run_id"]})
                mlflow.log_params({"model": subject.model, "representation": subject.representation})
            yield Run(run_id)


def write_record(path: Path, opened: Run, subject: Subject) -> None:
    """Note which run made the files of a folder, for the stages that add to it."""
    fields = {"stage": subject.stage, "model": subject.model, "representation": subject.representation}
    write_json(path, {"run_id": opened.run_id, **fields})


def uri(project: Project) -> str:
    """Where runs are kept."""
    return os.environ.get(URI) or f"sqlite:///{project.mlruns / 'mlflow.db'}"


def commit(project: Project) -> str:
    """The git commit of the project, with "+changes" when files differ from it; "" outside git."""
    head = _git(project, "rev-parse", "HEAD")
    return f"{head}+changes" if head and _git(project, "status", "--porcelain", "--untracked-files=no") else head


def lock_hash(project: Project) -> str:
    """The md5 of dvc.lock, which names the hash of every input and output; "" before the first `dvc repro`."""
    lock = project.root / "dvc.lock"
    return hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest() if lock.is_file() else ""


def dvc_hash(project: Project, path: Path) -> str:
    """The hash that dvc.lock gives to an output file or folder; "" when it names none."""
    from ruamel.yaml import YAML

    lock = project.root / "dvc.lock"
    stages = YAML(typ="safe").load(lock.read_text(encoding="utf-8"))["stages"] if lock.is_file() else {}
    name = path.relative_to(project.root).as_posix()
    found = [out["md5"] for stage in stages.values() for out in stage.get("outs", []) if out["path"] == name]
    return found[0] if found else ""


@contextmanager
def _spoken(project: Project) -> Iterator[None]:
    """MLflow's own faults become one line for people; its chatter is kept down."""
    import logging

    import mlflow
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        _prepare(project)
        mlflow.set_tracking_uri(uri(project))
        yield
    except MlflowException as fault:
        line = str(fault).strip().splitlines()[0][:300]
        raise UserError(f"MLflow at {uri(project)}: {line}; check the server, or unset {URI} to use mlruns/") from fault


@contextmanager
def _failing_in_words(active: Any) -> Iterator[str]:
    """An active run that, when the block raises, ends as FAILED with the reason as a tag."""
    import mlflow

    with active as opened:
        try:
            yield opened.info.run_id
        except BaseException as fault:
            mlflow.set_tag("failure", f"{type(fault).__name__}: {fault}"[:500])
            raise


def _prepare(project: Project) -> None:
    """Make the local database once, however many processes start at the same time."""
    if os.environ.get(URI):
        return
    import filelock

    project.mlruns.mkdir(exist_ok=True)
    database = project.mlruns / "mlflow.db"
    with filelock.FileLock(project.mlruns / ".mlflow.db.lock"):
        if database.is_file() and database.stat().st_size:
            return
        from mlflow.tracking import MlflowClient

        MlflowClient(f"sqlite:///{database}").search_experiments(max_results=1)
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _experiment(project: Project, stage: str) -> None:
    import filelock
    import mlflow

    project.mlruns.mkdir(exist_ok=True)
    with filelock.FileLock(project.mlruns / ".experiment.lock"):
        if mlflow.get_experiment_by_name(stage) is None:
            local = None if os.environ.get(URI) else (project.mlruns / "artifacts" / stage).as_uri()
            mlflow.create_experiment(stage, artifact_location=local)
    mlflow.set_experiment(stage)


def _known(run_id: str) -> bool:
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        mlflow.get_run(run_id)
    except MlflowException as fault:
        if fault.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _tags(project: Project, subject: Subject) -> dict[str, str]:
    tags = {
        "stage": subject.stage,
        "kind": "embedding",
        "git.commit": commit(project),
        "dvc.lock.md5": lock_hash(project),
    }
    environment = {f"dvc.{name.removeprefix('DVC_').lower()}": os.environ.get(name, "") for name in DVC_VARIABLES}
    return {name: value for name, value in {**tags, **environment}.items() if value}


DVC_VARIABLES = ("DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")


def _log_data(project: Project, seen: Path) -> None:
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource

    digest = dvc_hash(project, seen)
    source = LocalArtifactDatasetSource(str(seen))
    name = seen.relative_to(project.root).as_posix()
    data = MetaDataset(source=source, name=name, digest=digest or None)
    mlflow.log_input(data, context="training", tags={"dvc.md5": digest} if digest else None)


def _git(project: Project, *words: str) -> str:
    try:
        asked = subprocess.run(["git", *words], cwd=project.root, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
