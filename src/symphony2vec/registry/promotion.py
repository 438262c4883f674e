"""A run's model becomes challenger, and champion where all three gates let it through; and the way back.

On one machine a lock in mlruns/ lets one promotion or rollback at a time ask who is champion, judge, and set the alias:
of two promotions at once the second is judged against the first. MLflow has no compare-and-set, so between machines
that share a server the alias is asked for again before it is set, and once more after; where it changed meanwhile, the
challenger is judged again. What remains: two machines that both set the alias within the same few milliseconds, after
both asked. Then one alias stands all the same, the other machine is told so, and `champions` shows two events that
replaced the same version; promote the better one again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import filelock
from mlflow.exceptions import MlflowException

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

    from symphony2vec.registry.evidence import FoldEvidence

WAIT_S = 600.0  # for another promotion on this machine to end
TRIES = 5  # how often a challenger is judged again because the champion changed


@dataclass(frozen=True)
class Decision:
    """What became of a candidate.

    name: of the model; version: "" on a dry run of a model that has none; champion: the version it was measured
    against, "" for none; opponent: that one's name; verdicts: one a gate; figures: for the history; settled: whether
    the candidate was champion before.
    """

    name: str
    version: str
    champion: str
    opponent: str
    verdicts: tuple[Verdict, ...]
    figures: Mapping[str, float]
    settled: bool = False

    @property
    def passed(self) -> bool:
        """Whether every gate let it through."""
        return all(verdict.passed for verdict in self.verdicts)


def promote(
    project: Project, params: Params, words: str, readout: str = "", equal_ok: bool = False, dry_run: bool = False
) -> Decision:
    """Register a run's model as challenger, and make it champion where every gate lets it through.

    Args:
        project: whose tracking server is used.
        params: its sections probe (the bootstrap) and registry.
        words: a run's id or its beginning, or a model's name, perhaps with a fold.
        readout: of the run's model, as "crops"; "" for the one that counts.
        equal_ok: a model that is not worse is good enough.
        dry_run: nothing changes in the registry.
    """
    with tracking.client(project) as client:
        candidate = candidates.found(client, words, readout, project)
        package = sources.fetched(project, client, candidate.source)
        version = _version(client, candidate)
        if not dry_run:
            with _alone(project):
                version = _registered(client, candidate)
                if sources.aliases(client).get(CHAMPION) != version:
                    client.set_registered_model_alias(MODEL, CHALLENGER, version)
        folds = evidence.gathered(client, project, candidate)
        smoke = gates.packaged(package)
        if dry_run:
            return _judged(client, project, params, candidate, version, folds, smoke, equal_ok)
        with _alone(project):
            for _ in range(TRIES):
                found = _judged(client, project, params, candidate, version, folds, smoke, equal_ok)
                if found.settled or not found.passed:
                    return found
                if sources.aliases(client).get(CHAMPION, "") == found.champion:
                    _crown(client, version, history.PROMOTED, found.champion, found.name, found.figures)
                    return found
        raise UserError(f"the champion changed {TRIES} times while {candidate.name} was judged; promote it again")


def roll_back(project: Project, to: str = "") -> tuple[str, str]:
    """Give `champion` back to the version that had it before, or to any that once had it.

    Returns:
        The version that was champion ("" where none was) and the one that is now.

    Raises:
        UserError: there is no champion, or none before it; `to` never was champion, or its files are gone.
    """
    with tracking.client(project) as client, _alone(project):
        events = history.read(client)
        present = sources.aliases(client).get(CHAMPION, "")
        names = {event.version: event.name for event in events}
        if to and to not in names:
            known = ", ".join(sorted(names, key=int)) or "none"
            raise UserError(f"version {to} of '{MODEL}' never was champion; those that were: {known}")
        if to == present and to:
            raise UserError(f"version {to} of '{MODEL}' is champion already")
        target = to or history.before(events, present or sources.borne(client, CHAMPION))
        if target is None:
            raise UserError(f"version {present} of '{MODEL}' is the first champion: there is none to go back to")
        sources.fetched(project, client, f"models:/{MODEL}/{target}")
        _crown(client, target, history.ROLLED_BACK, present, names[target], {})
        return present, target


def _judged(
    client: MlflowClient,
    project: Project,
    params: Params,
    candidate: Candidate,
    version: str,
    folds: Mapping[str, FoldEvidence],
    smoke: Verdict,
    equal_ok: bool,
) -> Decision:
    """What the gates say of a candidate against the champion of this moment."""
    champion = sources.aliases(client).get(CHAMPION, "")
    own = gates.accuracy(folds, params.probe)
    found = Decision(candidate.name, version, champion, "", (), _figures("accuracy", own))
    probed = sum(fold.works is not None for fold in folds.values())
    found = replace(found, figures={**found.figures, "folds": probed})
    if not champion:
        data, better, _ = gates.alone(folds, params.probe)
        return replace(found, verdicts=(data, better, smoke))
    if champion == version:
        return replace(found, settled=True)
    opponent = candidates.of_source(client, client.get_model_version(MODEL, champion).source)
    if opponent is None:
        told = f"the run of champion version {champion} is gone: there is nothing to compare with; roll back, or delete"
        gone = Verdict("data", False, f"{told} the alias {CHAMPION} in MLflow's UI")
        return replace(found, verdicts=(gone, gates.better({}, {}, False, equal_ok, params)[0], smoke))
    theirs = evidence.gathered(client, project, opponent)
    data = gates.data(folds, theirs)
    better, gap = gates.better(folds, theirs, data.passed, equal_ok, params)
    figures = {**found.figures, **_figures("difference", gap)}
    return replace(found, opponent=opponent.name, verdicts=(data, better, smoke), figures=figures)


def _figures(name: str, found: Estimate | None) -> dict[str, float]:
    if found is None:
        return {}
    return {name: round(found.mean, 6), f"{name}_low": round(found.low, 6), f"{name}_high": round(found.high, 6)}


def _crown(
    client: MlflowClient, version: str, event: str, replaced: str, name: str, figures: Mapping[str, float]
) -> None:
    """Set the alias, note it in the history, and see that it stands."""
    client.set_registered_model_alias(MODEL, CHAMPION, version)
    history.write(client, version, event, replaced, name, figures)
    known = sources.aliases(client)
    if known.get(CHALLENGER) == version:
        client.delete_registered_model_alias(MODEL, CHALLENGER)
    if known.get(CHAMPION) != version:
        raise UserError(
            f"version {version} of '{MODEL}' was made champion, and version {known.get(CHAMPION, 'none')} by another "
            "machine in the same moment, which stands; see `symphony2vec champions`, and promote again"
        )


def _version(client: MlflowClient, candidate: Candidate) -> str:
    """The version that a candidate has already; "" when it has none."""
    return next((str(one.version) for one in history.versions(client) if one.source == candidate.source), "")


def _registered(client: MlflowClient, candidate: Candidate) -> str:
    """The version of a candidate, made where it has none."""

    known = _version(client, candidate)
    if known:
        return known
    if not client.search_registered_models(f"name = '{MODEL}'"):
        try:
            client.create_registered_model(MODEL)
        except MlflowException as fault:
            if fault.error_code != "RESOURCE_ALREADY_EXISTS":  # another machine was quicker
                raise
    made = client.create_model_version(
        MODEL, candidate.source, candidate.run_id, tags={"model": candidate.name}, description=candidate.name
    )
    return str(made.version)


@contextmanager
def _alone(project: Project) -> Iterator[None]:
    """One promotion or rollback at a time on this machine."""

    project.mlruns.mkdir(exist_ok=True)
    try:
        with filelock.FileLock(project.mlruns / ".registry.lock", timeout=WAIT_S):
            yield
    except filelock.Timeout:
        raise UserError(
            f"another promotion has held {project.mlruns / '.registry.lock'} for {WAIT_S:g} s; wait for it to end"
        ) from None
