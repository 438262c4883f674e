"""Experiment tracking with MLflow: one run a model and fold, in the experiment of its stage.

Runs go to `MLFLOW_TRACKING_URI` where that is set, a server or a database, else to the database mlruns/mlflow.db of the
project. With a database their artifacts lie under mlruns/artifacts/<stage>, or under `MLFLOW_DEFAULT_ARTIFACT_ROOT`, as
s3://bucket/runs; a server has a place of its own. A run carries its parameters under the same flat names in every
model, the data it saw with DVC's hash, the git commit, the stage and the hash of dvc.lock. A run that raises is marked
FAILED.

A server that does not answer does not stop a training: calls that cannot be delivered are queued in mlruns/outbox and
sent in order later.
"""

from __future__ import annotations

from symphony2vec.tracking.delivery import Delivery, Pending, notify, pending, send
from symphony2vec.tracking.provenance import Subject, commit, dvc_hash, flat, lock_hash
from symphony2vec.tracking.runs import Run, reopen, run, run_id_of, write_record
from symphony2vec.tracking.server import URI, client, redact, uri

__all__ = [
    "URI",
    "Delivery",
    "Pending",
    "Run",
    "Subject",
    "client",
    "commit",
    "dvc_hash",
    "flat",
    "lock_hash",
    "notify",
    "pending",
    "redact",
    "reopen",
    "run",
    "run_id_of",
    "send",
    "uri",
    "write_record",
]
