"""Who was champion when: kept as tags of the model's versions, so that it goes where the registry goes.

Key champion.<time>, value JSON: event ("promoted" or "rolled back"), by, replaced (the version before, "" for none),
name of the model, and where it was promoted its accuracy and how far it lay above the one that it replaced.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.registry.sources import CHAMPION, MODEL, aliases

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREFIX = "champion."
PROMOTED, ROLLED_BACK = "promoted", "rolled back"
COLUMNS = (
    "when version model event accuracy accuracy_low accuracy_high folds replaced difference difference_low "
    "difference_high by present"
).split()


@dataclass(frozen=True)
class Event:
    """A version became champion: when (UTC, ISO 8601), which, how, by whom, in whose place, and the figures of it."""

    when: str
    version: str
    event: str
    by: str
    replaced: str
    name: str
    figures: Mapping[str, float] = field(default_factory=dict)


def champions(project: Project) -> pd.DataFrame:
    """Who was champion when, one row an event, oldest first (see `COLUMNS`); empty where nobody ever was."""
    with tracking.client(project, reads_only=True) as client:
        return table(read(client), aliases(client).get(CHAMPION))


def read(client: MlflowClient) -> list[Event]:
    """Every event of the versions that still exist, oldest first."""
    events = []
    for version in versions(client):
        for key, value in version.tags.items():
            if key.startswith(PREFIX):
                events.append(_event(key, str(version.version), value))
    return sorted(events, key=lambda event: event.when)


def versions(client: MlflowClient) -> list[Any]:
    """Every version of the registered model; none where it is not registered."""
    page = client.search_model_versions(f"name = '{MODEL}'")
    every = list(page)
    while page.token:
        page = client.search_model_versions(f"name = '{MODEL}'", page_token=page.token)
        every += page
    return every


def write(
    client: MlflowClient, version: str, event: str, replaced: str, name: str, figures: Mapping[str, float]
) -> None:
    """Note that a version has become champion at this moment."""
    last = max((datetime.fromisoformat(event.when) for event in read(client)), default=datetime.min.replace(tzinfo=UTC))
    now = max(datetime.now(UTC), last + timedelta(microseconds=1))  # another machine's clock may be ahead of this one's
    when = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    plain = {"event": event, "by": _user(), "replaced": replaced, "name": name, "figures": dict(figures)}
    client.set_model_version_tag(MODEL, version, f"{PREFIX}{when}", json.dumps(plain))


def before(events: Iterable[Event], champion: str) -> str | None:
    """The version that was champion before this one took its place; None where it was the first.

    Going back undoes a promotion, so going back twice undoes two: what was undone is no predecessor.
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


def table(events: Iterable[Event], champion: str | None) -> pd.DataFrame:
    """One row an event, oldest first; `present` marks the one that made today's champion."""

    rows = [
        {
            "when": event.when,
            "version": event.version,
            "model": event.name,
            "event": event.event,
            "replaced": event.replaced,
            "by": event.by,
            "present": "",
            **event.figures,
        }
        for event in events
    ]
    if champion and (not rows or rows[-1]["version"] != champion):
        unknown = dict.fromkeys(("when", "model", "replaced", "by"), "")
        rows.append({**unknown, "version": champion, "event": "set by other means", "present": ""})
    if champion:
        rows[-1]["present"] = "champion"
    return pd.DataFrame(rows, columns=COLUMNS)


def _event(key: str, version: str, value: str) -> Event:
    try:
        return Event(key.removeprefix(PREFIX), version, **json.loads(value))
    except (ValueError, TypeError):
        raise UserError(
            f"the tag {key} of version {version} of '{MODEL}' was changed by other means; delete it in MLflow's UI"
        ) from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())
