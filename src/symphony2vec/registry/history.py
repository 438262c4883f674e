"""The history of champions, kept as tags of the registered model's versions, so that it moves with the registry.

Key champion.<time>, value JSON: event ("promoted" or "rolled back"), by (the user's name), replaced (the version that
was champion until then, "" for none), name (of the model), and figures (the metrics of a promotion: accuracy, and
difference from the replaced champion).
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.registry.sources import CHAMPION, MODEL, read_aliases

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PREFIX = "champion."
METRICS_KEY = "figures"  # of `Event.metrics` in the stored tags; registries of earlier releases have it too
PROMOTED, ROLLED_BACK = "promoted", "rolled back"
COLUMNS = (
    "when version model event accuracy accuracy_low accuracy_high folds replaced difference difference_low "
    "difference_high by present"
).split()


@dataclass(frozen=True)
class Event:
    """An entry of the history: a version became champion, by promotion or by rollback.

    Attributes:
        when: Time (UTC, ISO 8601).
        version: The version that became champion.
        event: `PROMOTED` or `ROLLED_BACK`.
        by: User name.
        replaced: The version that was champion before; "" for none.
        name: Name of the model.
        metrics: Accuracy and difference with their confidence intervals.
    """

    when: str
    version: str
    event: str
    by: str
    replaced: str
    name: str
    metrics: Mapping[str, float] = field(default_factory=dict)


def champions(project: Project) -> pd.DataFrame:
    """Return the history of champions, oldest first (see `tabulate_events`); empty if there was none."""
    with tracking.client(project, read_only=True) as client:
        return tabulate_events(read_events(client), read_aliases(client).get(CHAMPION))


def read_events(client: MlflowClient) -> list[Event]:
    """Return all events of the versions that still exist, oldest first."""
    events = [
        _parse_event(key, str(version.version), value)
        for version in list_versions(client)
        for key, value in version.tags.items()
        if key.startswith(PREFIX)
    ]
    return sorted(events, key=lambda event: event.when)


def list_versions(client: MlflowClient) -> list[ModelVersion]:
    """Return all versions of the registered model; none if it is not registered."""
    page = client.search_model_versions(f"name = '{MODEL}'")
    versions = list(page)
    while page.token:
        page = client.search_model_versions(f"name = '{MODEL}'", page_token=page.token)
        versions += page
    return versions


def record_event(
    client: MlflowClient, version: str, event: str, replaced: str, name: str, metrics: Mapping[str, float]
) -> None:
    """Record that a version has just become champion."""
    times = (datetime.fromisoformat(earlier.when) for earlier in read_events(client))
    last = max(times, default=datetime.min.replace(tzinfo=UTC))
    now = max(datetime.now(UTC), last + timedelta(microseconds=1))  # the clock of another machine may be ahead
    when = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    value = {"event": event, "by": _user(), "replaced": replaced, "name": name, METRICS_KEY: dict(metrics)}
    client.set_model_version_tag(MODEL, version, f"{PREFIX}{when}", json.dumps(value))


def previous_champion(events: Iterable[Event], champion: str) -> str | None:
    """Return the version to which a rollback leads; None if there is none.

    That is the version that `champion` replaced when it was promoted: a rollback undoes a promotion, so that two
    rollbacks undo two promotions. If `champion` is not the last recorded champion, because the alias was set outside
    symphony2vec, a rollback leads to the last recorded one.

    Examples:
        >>> events = [Event(time, time, PROMOTED, "", "", "") for time in ("1", "2", "3")]
        >>> previous_champion(events, "3")
        '2'
        >>> previous_champion([*events, Event("4", "2", ROLLED_BACK, "", "3", "")], "2")
        '1'
    """
    line: list[str] = []
    for event in events:
        if event.event == ROLLED_BACK and event.version in line:
            while line[-1] != event.version:
                line.pop()
        else:
            line.append(event.version)
    if line[-1:] == [champion]:
        line.pop()
    return line[-1] if line else None


def tabulate_events(events: Iterable[Event], champion: str | None) -> pd.DataFrame:
    """Return one row per event, oldest first, with the columns `COLUMNS`.

    If the alias of `champion` was set outside symphony2vec, a last row says so. The column `present` is "champion" in
    the row of the current champion, otherwise "".
    """
    rows = [{**vars(event), "model": event.name, "present": "", **event.metrics} for event in events]
    if champion and (not rows or rows[-1]["version"] != champion):
        unknown = dict.fromkeys(("when", "model", "replaced", "by"), "")
        rows.append({**unknown, "version": champion, "event": "set outside symphony2vec", "present": ""})
    if champion:
        rows[-1]["present"] = "champion"
    return pd.DataFrame(rows, columns=COLUMNS)


def _parse_event(key: str, version: str, value: str) -> Event:
    try:
        values = json.loads(value)
        return Event(key.removeprefix(PREFIX), version, metrics=values.pop(METRICS_KEY, {}), **values)
    except (ValueError, TypeError, AttributeError):
        raise UserError(
            f"tag {key} of version {version} of '{MODEL}' is not a valid event; delete it in MLflow's UI"
        ) from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        return str(os.getuid())
