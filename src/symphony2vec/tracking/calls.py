"""Calls to MLflow about a run: plain values that can be queued on disk, and functions that send them.

A call has a kind (key "call") and its values. Calls of the kinds open, metrics, image and end, whose effect depends on
the time, also have the time at which they were made (key "at_ms"). Calls are idempotent, so that they can be sent again
after an interruption: runs are looked up by MLflow's ID or their tag `local_id`, logged models by their run and name;
logging the same parameter, tag, input or artifact again changes nothing; MLflow deduplicates equal metrics; images are
logged only if they are missing. One exception: an image whose thumbnail did not arrive is logged a second time under
another name.
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
from mlflow.entities import (
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
)
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from symphony2vec.project import Project
from symphony2vec.tracking import server
from symphony2vec.tracking.provenance import RunIdentity, dvc_hash, tags

Call = dict[str, Any]
UPLOAD_KINDS = ("file", "folder", "model", "model_file")  # the server may take long to store their data
PARENT_RUN_TAG = "mlflow.parentRunId"
# Without this tag MLflow 3 may show an experiment in its GenAI view.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
CONTENT_TAG = "content"  # the hash of a run's identity and of the files that it produced
METRICS_PER_REQUEST = 500  # at most; MLflow accepts 1,000


def now_ms() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def build_open_call(
    project: Project,
    identity: RunIdentity,
    local_id: str,
    parameters: Mapping[str, Any],
    inputs: Iterable[Path] = (),
    extended_run_id: str = "",
) -> Call:
    """Return the call that creates a run, or resumes the run `local_id`.

    Args:
        project: the project whose git commit and DVC hashes are logged.
        identity: stage, model, representation and fold.
        local_id: ID by which the run is looked up, see `find_run`: for a new run a new random ID, which is logged as
            its tag `local_id`; for an interrupted run the ID in its marker file; for a finished run `extended_run_id`.
        parameters: names and plain values.
        inputs: files or folders with the input data of the run.
        extended_run_id: `run_id` of the record of the finished run to which results are added (MLflow's ID, a local ID
            or a content hash, see `read_run_record`); "" to train a model. If the server does not know that run, a new
            one is created, with this value in its tag `stands_for`.
    """
    names = {"entry": identity.entry, "model": identity.model, "representation": identity.input_representation}
    extension_tags = {"stands_for": extended_run_id} if extended_run_id else {}
    digests = [(path, dvc_hash(project, path)) for path in inputs]
    return {
        "call": "open",
        "stage": identity.stage,
        "name": identity.run_name,
        "local_id": local_id,
        "tags": tags(project, identity) | extension_tags | {"local_id": local_id},
        "parameters": {name: str(value) for name, value in (names | dict(parameters)).items()},
        "data": [
            {"source": str(project.home / relative_path), "name": relative_path.as_posix(), "digest": digest}
            for relative_path, digest in ((path.relative_to(project.root), digest) for path, digest in digests)
        ],
        "runs_again": not extended_run_id,  # whether the run is training; a stored key, also of earlier releases
        "at_ms": now_ms(),
    }


def find_run(client: MlflowClient, stage: str, run_id: str) -> Any:
    """Return the run with this MLflow ID, or the one whose tag `local_id` or `content` has this value, or None.

    Only the tags of runs in the stage's experiment are searched; deleted runs are ignored.
    """
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    else:
        if run.info.lifecycle_stage == "active":
            return run
    experiment = client.get_experiment_by_name(stage)
    if experiment is None:
        return None
    for tag in ("local_id", CONTENT_TAG):
        runs = client.search_runs([experiment.experiment_id], f"tags.{tag} = '{run_id}'", max_results=1)
        if runs:
            return runs[0]
    return None


def open_run(client: MlflowClient, project: Project, call: Call, is_new: bool) -> str:
    """Create or resume the run of an open call and return its MLflow ID; `is_new` skips the lookup."""
    run = None if is_new else find_run(client, call["stage"], call["local_id"])
    if run is None:
        experiment_id = _get_or_create_experiment(client, project, call["stage"])
        run = client.create_run(experiment_id, start_time=call["at_ms"], tags=call["tags"], run_name=call["name"])
    else:
        _resume(client, run, resumes_training=call["runs_again"])
    run_id = str(run.info.run_id)
    if not run.data.params:
        client.log_batch(run_id, params=[Param(name, value) for name, value in call["parameters"].items()])
    if call["data"] and not (run.inputs and run.inputs.dataset_inputs):
        _log_inputs(client, run_id, [_dataset_input(data) for data in call["data"]])
    return run_id


def send_call(client: MlflowClient, run_id: str, call: Call, attachment: Any = None, repeated: bool = False) -> None:
    """Send a call about an open run.

    Args:
        client: client of the tracking server.
        run_id: MLflow's ID of the run.
        call: any call except "open".
        attachment: for an image an array (H, W, 3) uint8, for an upload (see `UPLOAD_KINDS`) a path, otherwise None.
        repeated: whether the call may have been sent before.
    """
    match call["call"]:
        case "metrics":
            client.log_batch(run_id, metrics=_metrics(client, run_id, call))
        case "image":
            if not (repeated and _has_image(client, run_id, call)):
                client.log_image(run_id, attachment, key=call["key"], step=call["step"], timestamp=call["at_ms"])
        case "file":
            client.log_artifact(run_id, str(attachment), call["folder"])
        case "folder":  # queued by an earlier release
            client.log_artifacts(run_id, str(attachment), call["name"])
        case "model":
            _log_model(client, run_id, call["name"], attachment)
        case "model_file":
            _log_model_file(client, run_id, call, attachment)
        case "tag":
            client.set_tag(run_id, call["key"], _resolve_tag_value(client, call))
        case "end":
            if call["failure"]:
                client.set_tag(run_id, "failure", call["failure"])
            client.set_terminated(run_id, call["status"], call["at_ms"])


def _resolve_tag_value(client: MlflowClient, call: Call) -> str:
    """Return the value of a tag; a parent's local ID is replaced by its MLflow ID."""
    if call["key"] != PARENT_RUN_TAG:
        return str(call["value"])
    parent = find_run(client, call["stage"], call["value"])
    return str(call["value"] if parent is None else parent.info.run_id)


def send_metrics(client: MlflowClient, run_id: str, calls: Iterable[Call]) -> None:
    """Send calls of the kind "metrics" together, at most `METRICS_PER_REQUEST` metrics in one request."""
    metrics = [metric for call in calls for metric in _metrics(client, run_id, call)]
    for start in range(0, len(metrics), METRICS_PER_REQUEST):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_REQUEST])


def find_logged_model(client: MlflowClient, run_id: str, name: str) -> LoggedModel | None:
    """Return the logged model of a run by its name, "model" or "model-<readout>"; None if it has none.

    Runs of earlier releases have packages among their artifacts instead.
    """
    experiments = [client.get_run(run_id).info.experiment_id]
    models = client.search_logged_models(experiments, f"source_run_id = '{run_id}' AND name = '{name}'")
    return models[0] if models else None


def _metrics(client: MlflowClient, run_id: str, call: Call) -> list[Metric]:
    """Return the metrics of a call, linked to the logged model that the call names, if the run has that model."""
    model = find_logged_model(client, run_id, call["model"]) if call.get("model") else None
    model_id = model.model_id if model else None
    return [
        Metric(name, value, call["at_ms"], call["step"], model_id=model_id) for name, value in call["values"].items()
    ]


def _log_model(client: MlflowClient, run_id: str, name: str, folder: Path) -> None:
    """Log a package as a model of the run, with the parameters of the run."""
    run = client.get_run(run_id)
    model = find_logged_model(client, run_id, name)
    if model is None:
        tags = {"entry": run.info.run_name}
        model = client.create_logged_model(
            run.info.experiment_id, name, run_id, tags, run.data.params, run.data.tags.get("kind")
        )
    if model.model_id not in {output.model_id for output in run.outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _log_model_file(client: MlflowClient, run_id: str, call: Call, file: Path) -> None:
    """Add a file to a logged model, or to a package among the artifacts of a run of an earlier release."""
    model = find_logged_model(client, run_id, call["model"])
    if model is None:
        client.log_artifact(run_id, str(file), "/".join(filter(None, (call["model"], call["folder"]))))
    else:
        client.log_model_artifact(model.model_id, str(file), call["folder"])


def _has_image(client: MlflowClient, run_id: str, call: Call) -> bool:
    """Return whether the run has an image in both sizes, the full one and the thumbnail."""
    start = f"images/{call['key'].replace('/', '~')}+step+{call['step']}+timestamp+{call['at_ms']}+"
    paths = [file.path for file in client.list_artifacts(run_id, "images") if file.path.startswith(start)]
    return {path.rpartition(".")[2] for path in paths} == {"png", "webp"}


def _resume(client: MlflowClient, run: Any, resumes_training: bool) -> None:
    if "failure" in run.data.tags:
        client.delete_tag(run.info.run_id, "failure")
    if resumes_training:
        client.update_run(run.info.run_id, status="RUNNING")


def _get_or_create_experiment(client: MlflowClient, project: Project, stage: str) -> str:
    """Return the ID of the stage's experiment, created if it is missing."""
    project.mlruns.mkdir(exist_ok=True)
    with filelock.FileLock(project.mlruns / ".experiment.lock"):
        experiment = client.get_experiment_by_name(stage)
        if experiment is not None:
            if experiment.lifecycle_stage != "active":
                client.restore_experiment(experiment.experiment_id)
            for name, value in EXPERIMENT_TAGS.items():
                if name not in experiment.tags:
                    client.set_experiment_tag(experiment.experiment_id, name, value)
            return str(experiment.experiment_id)
        location = server.artifact_root(project, stage)
        return str(client.create_experiment(stage, artifact_location=location, tags=EXPERIMENT_TAGS))


def _log_inputs(client: MlflowClient, run_id: str, data: list[DatasetInput]) -> None:
    """Log inputs. If two runs log the same new data set at once, one of them gets a uniqueness error and retries."""
    try:
        client.log_inputs(run_id, data)
    except MlflowException as error:
        if not re.search("unique|duplicate", str(error), re.I):
            raise
        client.log_inputs(run_id, data)


def _dataset_input(data: Mapping[str, str]) -> DatasetInput:
    source = LocalArtifactDatasetSource(data["source"])
    dataset = MetaDataset(source=source, name=data["name"], digest=data["digest"] or None)
    tags = {MLFLOW_DATASET_CONTEXT: "training", **({"dvc.md5": data["digest"]} if data["digest"] else {})}
    return DatasetInput(dataset._to_mlflow_entity(), [InputTag(key, value) for key, value in tags.items()])
