"""Register a run's model as challenger, make it champion if all three gates pass, and roll back.

In a project folder, a lock in mlruns/ serialises promotions and rollbacks: one at a time reads the champion, checks the
gates data and improvement and sets the alias, so that the second of two concurrent promotions is compared with the
result of the first. (The gate smoke does not depend on the champion; it is checked once, before that.) Project folders
that share a server, on one machine or several, share no lock, and MLflow has no compare-and-set. A promotion therefore
reads the alias again just before it sets it (if it has changed, data and improvement are checked again), and promotion
and rollback read it once more afterwards. Two processes can still set it within the same few milliseconds. Then the
later write stands, the other command reports that its alias was overwritten, and `champions` shows two events that
replaced the same version; promote the better model again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import filelock
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.params import Params
from symphony2vec.project import Project
from symphony2vec.registry import candidates, evidence, gates, history, sources
from symphony2vec.registry.candidates import Candidate
from symphony2vec.registry.gates import Estimate, Verdict
from symphony2vec.registry.sources import CHALLENGER, CHAMPION, MODEL

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

LOCK_TIMEOUT_S = 600.0
MAX_ATTEMPTS = 5  # how often the gates are evaluated before giving up, if the champion changes every time


@dataclass(frozen=True)
class Decision:
    """The outcome of a promotion.

    Attributes:
        name: Name of the challenger.
        version: Its version; "" on a dry run if it has none.
        champion: The version that it was compared with; "" for none.
        champion_name: Name of that version's model; "" for none.
        verdicts: One per gate.
        metrics: Accuracy and difference, as the history records them.
        is_champion_already: Whether the candidate is the current champion; then `verdicts` is empty.
    """

    name: str
    version: str
    champion: str
    champion_name: str
    verdicts: tuple[Verdict, ...]
    metrics: Mapping[str, float]
    is_champion_already: bool = False

    @property
    def passed(self) -> bool:
        """Return whether all gates passed."""
        return all(verdict.passed for verdict in self.verdicts)


def promote(
    project: Project, params: Params, query: str, readout: str = "", equal_ok: bool = False, dry_run: bool = False
) -> Decision:
    """Register a run's model as challenger, and make it champion if all gates pass.

    Args:
        project: Project whose tracking server is used.
        params: Parameters; the sections probe (settings of the bootstrap) and registry are used.
        query: A run id or the beginning of one, or a model's name with or without a fold.
        readout: Readout of the run's model, such as "crops"; "" for the default one.
        equal_ok: Accept a model whose mean accuracy is at most registry.margin below the champion's, unless it is
            significantly worse.
        dry_run: Change nothing in the registry.

    Returns:
        The verdicts, and the versions of challenger and champion.

    Raises:
        UserError: No run matches the query, its model cannot be promoted, or the champion kept changing.
    """
    with tracking.client(project) as client:
        candidate = candidates.find_candidate(client, query, readout, project)
        package = sources.fetch_model(project, client, candidate.source)
        if dry_run:
            version = _find_version(client, candidate)
        else:
            with _lock_registry(project):
                version = _register(client, candidate)
                if sources.read_aliases(client).get(CHAMPION) != version:
                    client.set_registered_model_alias(MODEL, CHALLENGER, version)
        folds = evidence.collect_evidence(client, project, candidate, params.registry.level)
        metrics = _accuracy_metrics(folds, params)
        pending = Decision(candidate.name, version, "", "", (gates.check_package(package),), metrics)
        if dry_run:
            return _judge(client, project, params, pending, folds, equal_ok)
        with _lock_registry(project):
            for _ in range(MAX_ATTEMPTS):
                decision = _judge(client, project, params, pending, folds, equal_ok)
                if decision.is_champion_already or not decision.passed:
                    return decision
                if sources.read_aliases(client).get(CHAMPION, "") == decision.champion:
                    replaced, name = decision.champion, decision.name
                    _set_champion(client, version, history.PROMOTED, replaced, name, decision.metrics)
                    return decision
        raise UserError(
            f"the champion changed {MAX_ATTEMPTS} times while {candidate.name} was being judged; promote it again"
        )


def roll_back(project: Project, to: str = "") -> tuple[str, str]:
    """Restore the alias champion to the version that had it before, or to any version that once had it.

    Returns:
        The version that was champion ("" for none) and the version that is champion now.

    Raises:
        UserError: There is no champion, or none before it; `to` was never champion, or its files are gone.
    """
    with tracking.client(project) as client, _lock_registry(project):
        events = history.read_events(client)
        champion = sources.read_aliases(client).get(CHAMPION, "")
        names = {event.version: event.name for event in events}
        if to and to not in names:
            former = ", ".join(sorted(names, key=int)) or "none"
            raise UserError(f"version {to} of '{MODEL}' was never champion; former champions: {former}")
        if to and to == champion:
            raise UserError(f"version {to} of '{MODEL}' is champion already")
        target = to or history.previous_champion(events, champion or sources.version_of_alias(client, CHAMPION))
        if target is None:
            raise UserError(f"version {champion} of '{MODEL}' is the first champion; there is none to roll back to")
        sources.fetch_model(project, client, f"models:/{MODEL}/{target}")
        _set_champion(client, target, history.ROLLED_BACK, champion, names[target], {})
        return champion, target


def _accuracy_metrics(folds: gates.Folds, params: Params) -> dict[str, float]:
    """Return the accuracy of a challenger with its interval (if a fold was probed), and the number of probed folds."""
    probed = sum(fold.works is not None for fold in folds.values())
    accuracy = gates.estimate_accuracy(folds, params.probe, params.registry.level)
    return {**_estimate_metrics("accuracy", accuracy), "folds": probed}


def _judge(
    client: MlflowClient, project: Project, params: Params, pending: Decision, folds: gates.Folds, equal_ok: bool
) -> Decision:
    """Complete a pending decision, which has only the verdict of the smoke gate, against the current champion."""
    champion = sources.read_aliases(client).get(CHAMPION, "")
    pending = replace(pending, champion=champion)
    if not champion:
        data, improvement, _ = gates.check_without_champion(folds, params)
        return replace(pending, verdicts=(data, improvement, *pending.verdicts))
    if champion == pending.version:
        return replace(pending, verdicts=(), is_champion_already=True)
    champion_candidate = candidates.candidate_of_source(client, client.get_model_version(MODEL, champion).source)
    if champion_candidate is None:
        text = f"the run of champion version {champion} was not found in MLflow, so there is nothing to compare with;"
        data = Verdict("data", False, f"{text} roll back, or delete the alias {CHAMPION} in MLflow's UI")
        improvement, _ = gates.check_improvement({}, {}, False, equal_ok, params)
        return replace(pending, verdicts=(data, improvement, *pending.verdicts))
    champion_folds = evidence.collect_evidence(client, project, champion_candidate, params.registry.level)
    data = gates.check_data(folds, champion_folds)
    improvement, difference = gates.check_improvement(folds, champion_folds, data.passed, equal_ok, params)
    metrics = {**pending.metrics, **_estimate_metrics("difference", difference)}
    verdicts = (data, improvement, *pending.verdicts)
    return replace(pending, champion_name=champion_candidate.name, verdicts=verdicts, metrics=metrics)


def _estimate_metrics(name: str, estimate: Estimate | None) -> dict[str, float]:
    if estimate is None:
        return {}
    ends = {f"{name}_low": round(estimate.low, 6), f"{name}_high": round(estimate.high, 6)}
    return {name: round(estimate.mean, 6), **ends}


def _set_champion(
    client: MlflowClient, version: str, event: str, replaced: str, name: str, metrics: Mapping[str, float]
) -> None:
    """Set the alias, record it in the history, and check that the alias stands."""
    client.set_registered_model_alias(MODEL, CHAMPION, version)
    history.record_event(client, version, event, replaced, name, metrics)
    aliases = sources.read_aliases(client)
    if aliases.get(CHALLENGER) == version:
        client.delete_registered_model_alias(MODEL, CHALLENGER)
    if aliases.get(CHAMPION) != version:
        raise UserError(
            f"version {version} of '{MODEL}' was made champion, but another process made version "
            f"{aliases.get(CHAMPION, 'none')} champion at the same moment, and that stands; see `symphony2vec "
            "champions`, and promote again"
        )


def _find_version(client: MlflowClient, candidate: Candidate) -> str:
    """Return the version of a candidate; "" if it is not registered."""
    model = tracking.find_logged_model(client, candidate.run_id, candidate.artifact_name)
    for version in history.list_versions(client):
        model_id = candidates.logged_model_id(version.source)
        if version.source == candidate.source or (model is not None and model_id == model.model_id):
            return str(version.version)
    return ""


def _register(client: MlflowClient, candidate: Candidate) -> str:
    """Return the version of a candidate; register it if it has none."""
    if version := _find_version(client, candidate):
        return version
    if not client.search_registered_models(f"name = '{MODEL}'"):
        try:
            client.create_registered_model(MODEL)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                raise
    model = tracking.find_logged_model(client, candidate.run_id, candidate.artifact_name)
    created = client.create_model_version(
        MODEL,
        model.artifact_location if model else candidate.source,
        candidate.run_id,
        tags={"model": candidate.name},
        description=candidate.name,
        model_id=model.model_id if model else None,
    )
    if model:
        _link_version(client, model, str(created.version))
    return str(created.version)


def _link_version(client: MlflowClient, model: LoggedModel, version: str) -> None:
    """Record a version in the tags of its logged model, from which MLflow's UI links to it.

    An MLflow server has already done so when it created the version; with a database it is done here.
    """
    versions = json.loads(client.get_logged_model(model.model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    if not any(link["name"] == MODEL and str(link["version"]) == version for link in versions):
        versions.append({"name": MODEL, "version": version})
        client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(versions)})


@contextmanager
def _lock_registry(project: Project) -> Iterator[None]:
    """Allow one promotion or rollback at a time in this project folder."""
    project.mlruns.mkdir(exist_ok=True)
    lock = project.mlruns / ".registry.lock"
    try:
        with filelock.FileLock(lock, timeout=LOCK_TIMEOUT_S):
            yield
    except filelock.Timeout:
        raise UserError(
            f"another promotion or rollback has held {lock} for {LOCK_TIMEOUT_S:g} s; wait for it to end"
        ) from None
