"""What is said to MLflow about a run, as plain values that can wait on disk, and the saying of it.

A call has a kind, its values and the time at which it was true, so that it says the same whenever it is sent. Sent
twice it changes nothing: a run is found again by its tag `local_id`; parameters, tags, data sets and files are replaced
by themselves; MLflow keeps one of several equal metrics; an image is looked for first. One that was sent by half (the
full picture without its small copy) is sent whole again, under a second name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import filelock
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from symphony2vec.project import Project
from symphony2vec.tracking import server
from symphony2vec.tracking.provenance import Subject, dvc_hash, tags

Call = dict[str, Any]
LARGE = ("file", "folder")  # kinds that a server may need long to store
PARENT = "mlflow.parentRunId"
AT_ONCE = 500  # metrics of one request; MLflow takes 1,000


def now_ms() -> int:
    """The time since 1970 in milliseconds."""
    return time.time_ns() // 1_000_000


def opening(
    project: Project,
    subject: Subject,
    local_id: str,
    parameters: Mapping[str, Any],
    seen: Iterable[Path] = (),
    stands_for: str = "",
) -> Call:
    """The call that opens a run, or goes on with the one of this id.

    Args:
        project: whose versions of code and data are noted.
        subject: what the run is about.
        local_id: the id of the run that goes on, or a new one; the name of the run here as long as MLflow gave none.
        parameters: flat names and plain values.
        seen: files or folders that the run learns from.
        stands_for: the id of a finished run that is only added to; "" for a training.
    """
    named = {"row": subject.name, "model": subject.model, "representation": subject.seen, **parameters}
    digests = [(path, dvc_hash(project, path)) for path in seen]
    return {
        "call": "open",
        "stage": subject.stage,
        "name": subject.label,
        "local_id": local_id,
        "tags": tags(project, subject) | ({"stands_for": stands_for} if stands_for else {}) | {"local_id": local_id},
        "parameters": {name: str(value) for name, value in named.items()},
        "data": [
            {"source": str(project.home / inside), "name": inside.as_posix(), "digest": digest}
            for inside, digest in ((path.relative_to(project.root), digest) for path, digest in digests)
        ],
        "runs_again": not stands_for,
        "at_ms": now_ms(),
    }


def found(client: MlflowClient, stage: str, known_as: str) -> Any:
    """The run of this id, or else the one that was opened under it while the server was away; None without either.

    A run that somebody deleted counts as none.
    """

    try:
        run = client.get_run(known_as)
    except MlflowException as fault:
        if fault.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    else:
        if run.info.lifecycle_stage == "active":
            return run
    experiment = client.get_experiment_by_name(stage)
    if experiment is None:
        return None
    wanted = f"tags.local_id = '{known_as}'"
    return next(iter(client.search_runs([experiment.experiment_id], wanted, max_results=1)), None)


def opened(client: MlflowClient, project: Project, call: Call, is_new: bool) -> str:
    """Perform an opening; returns the id that MLflow gives. A run that `is_new` is not looked for first."""

    known = None if is_new else found(client, call["stage"], call["local_id"])
    if known is None:
        home = _experiment(client, project, call["stage"])
        known = client.create_run(home, start_time=call["at_ms"], tags=call["tags"], run_name=call["name"])
    else:
        _reopen(client, known, call["runs_again"])
    run_id = str(known.info.run_id)
    if not known.data.params:
        client.log_batch(run_id, params=[Param(name, value) for name, value in call["parameters"].items()])
    if call["data"] and not (known.inputs and known.inputs.dataset_inputs):
        _note_data(client, run_id, [_data(one) for one in call["data"]])
    return run_id


def said(client: MlflowClient, run_id: str, call: Call, thing: Any = None, repeated: bool = False) -> None:
    """Perform a call about a run.

    Args:
        client: of the server.
        run_id: the run's id there.
        call: any but an opening.
        thing: what belongs to it: an image's array (H, W, 3), the path of a file or folder.
        repeated: it may have been sent before.
    """
    match call["call"]:
        case "metrics":
            client.log_batch(run_id, metrics=_metrics(call))
        case "image":
            if not (repeated and _is_there(client, run_id, call)):
                client.log_image(run_id, thing, key=call["key"], step=call["step"], timestamp=call["at_ms"])
        case "file":
            client.log_artifact(run_id, str(thing), call["folder"])
        case "folder":
            client.log_artifacts(run_id, str(thing), call["name"])
        case "tag":
            client.set_tag(run_id, call["key"], _value(client, call))
        case "end":
            if call["failure"]:
                client.set_tag(run_id, "failure", call["failure"])
            client.set_terminated(run_id, call["status"], call["at_ms"])


def _value(client: MlflowClient, call: Call) -> str:
    """The value of a tag; that of a parent is its id on this server, which a silent one could not give."""
    if call["key"] != PARENT:
        return str(call["value"])
    parent = found(client, call["stage"], call["value"])
    return str(call["value"] if parent is None else parent.info.run_id)


def said_together(client: MlflowClient, run_id: str, calls: Iterable[Call]) -> None:
    """Perform calls that are metrics alone, in as few requests as MLflow allows."""
    every = [metric for call in calls for metric in _metrics(call)]
    for start in range(0, len(every), AT_ONCE):
        client.log_batch(run_id, metrics=every[start : start + AT_ONCE])


def _metrics(call: Call) -> list[Metric]:

    return [Metric(name, value, call["at_ms"], call["step"]) for name, value in call["values"].items()]


def _is_there(client: MlflowClient, run_id: str, call: Call) -> bool:
    """Whether both the full picture and the small one of an image lie with the run."""
    start = f"images/{call['key'].replace('/', '~')}+step+{call['step']}+timestamp+{call['at_ms']}+"
    paths = [one.path for one in client.list_artifacts(run_id, "images") if one.path.startswith(start)]
    return {path.rpartition(".")[2] for path in paths} == {"png", "webp"}


def _reopen(client: MlflowClient, known: Any, runs_again: bool) -> None:
    if "failure" in known.data.tags:
        client.delete_tag(known.info.run_id, "failure")
    if runs_again:
        client.update_run(known.info.run_id, status="RUNNING")


def _experiment(client: MlflowClient, project: Project, stage: str) -> str:
    """The id of the stage's experiment, made when it is missing."""

    project.mlruns.mkdir(exist_ok=True)
    with filelock.FileLock(project.mlruns / ".experiment.lock"):
        known = client.get_experiment_by_name(stage)
        if known is not None:
            if known.lifecycle_stage != "active":
                client.restore_experiment(known.experiment_id)
            return str(known.experiment_id)
        return str(client.create_experiment(stage, artifact_location=server.artifacts(project, stage)))


def _note_data(client: MlflowClient, run_id: str, data: list[DatasetInput]) -> None:
    """Log data sets. Of two runs that are the first to see one, MLflow refuses the slower, unless it asks again."""

    try:
        client.log_inputs(run_id, data)
    except MlflowException as fault:
        if not re.search("unique|duplicate", str(fault), re.I):
            raise
        client.log_inputs(run_id, data)


def _data(one: Mapping[str, str]) -> DatasetInput:

    source = LocalArtifactDatasetSource(one["source"])
    data = MetaDataset(source=source, name=one["name"], digest=one["digest"] or None)
    noted = {MLFLOW_DATASET_CONTEXT: "training", **({"dvc.md5": one["digest"]} if one["digest"] else {})}
    return DatasetInput(data._to_mlflow_entity(), [InputTag(key, value) for key, value in noted.items()])
