"""Experiment tracking with MLflow: one run per model and fold, in an experiment named after the stage that trains it.

Runs are logged to `MLFLOW_TRACKING_URI` (a server or a database) if it is set, otherwise to the project's own database,
mlruns/mlflow.db. An HTTP server decides where artifacts are stored. For a database they go to mlruns/artifacts/<stage>,
or to <root>/<stage> if `MLFLOW_DEFAULT_ARTIFACT_ROOT` (such as s3://bucket/runs) is set. Every run logs the parameters
of the data under their dotted names in params.yaml, those of the model under names without a section that are the same
for all models (such as `learning_rate`), its input data with DVC's hash, the git commit, the stage and the hash of
dvc.lock. If the `with` block of a run raises an exception, the run ends as FAILED, or as KILLED after Ctrl-C.

A server that does not answer does not stop training: calls that cannot be delivered are queued in mlruns/outbox and
sent in order later.
"""

from __future__ import annotations

from symphony2vec.tracking.calls import find_logged_model
from symphony2vec.tracking.delivery import Delivery, QueueSummary, list_pending_runs, print_notice, send_queued_calls
from symphony2vec.tracking.provenance import CLASSIFIERS, RunIdentity, dvc_hash, flatten_params, git_commit, lock_hash
from symphony2vec.tracking.runs import Run, find_run_id, read_run_record, resume_run, start_run, write_run_record
from symphony2vec.tracking.server import TRACKING_URI_VARIABLE, client, redact, tracking_uri

__all__ = [
    "CLASSIFIERS",
    "TRACKING_URI_VARIABLE",
    "Delivery",
    "QueueSummary",
    "Run",
    "RunIdentity",
    "client",
    "dvc_hash",
    "find_logged_model",
    "find_run_id",
    "flatten_params",
    "git_commit",
    "list_pending_runs",
    "lock_hash",
    "print_notice",
    "read_run_record",
    "redact",
    "resume_run",
    "send_queued_calls",
    "start_run",
    "tracking_uri",
    "write_run_record",
]
