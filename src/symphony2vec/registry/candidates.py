"""From what people call a run to the run: by its MLflow id, or as "vae-mel" or "vae-mel work-0".

A model's name alone means its first draw of whole works, and of that the newest run that finished.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from symphony2vec.artifacts import Draw
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SPLIT = "work"  # the split that counts: a model is not judged by works it has heard parts of
DRAW = re.compile(r"(work|movement|clip)-([0-9]+)")
ID = re.compile(r"[0-9a-f]{8,32}")
NAMES = re.compile(r"[\w.:/ -]*")
SHOWN = 8  # names in a message


@dataclass(frozen=True)
class Candidate:
    """One reading of a run's model; `reading` is "" for the one that counts. `run` is MLflow's, data included."""

    run: Run
    reading: str

    @property
    def run_id(self) -> str:
        """32 hexadecimal digits."""
        return str(self.run.info.run_id)

    @property
    def folder(self) -> str:
        """The run's artifact folder that holds the model."""
        return f"model-{self.reading}" if self.reading else "model"

    @property
    def source(self) -> str:
        """Where MLflow finds the model, as "runs:/<id>/model-crops"."""
        return f"runs:/{self.run_id}/{self.folder}"

    @property
    def draw(self) -> str:
        """As in "work-0"."""
        return str(self.run.data.tags.get("draw", ""))

    @property
    def name(self) -> str:
        """For people, as in "long-128 crops work-0"."""
        model = str(self.run.info.run_name).removesuffix(f" {self.draw}")
        return " ".join(part for part in (model, self.reading, self.draw) if part)


def found(client: MlflowClient, words: str, reading: str = "") -> Candidate:
    """The candidate that is meant.

    Args:
        client: of the tracking server.
        words: a run's id, or the first eight or more of its digits, or a model's name, perhaps with a draw.
        reading: of the run's model; "" for the one that counts.

    Raises:
        UserError: no run or several are meant, it has not finished, or its model gives no vectors.
    """
    words = " ".join(words.split())
    for given in (words, reading):
        if not NAMES.fullmatch(given):
            raise UserError(f"'{given}' is no name of a run or reading; those are of letters, digits and _-.:/")
    run = _by_id(client, words) if ID.fullmatch(words) else _by_name(client, words)
    candidate = Candidate(run, reading)
    if run.data.tags.get("kind") == "classifier" or run.data.params.get("model") == "encoder":
        raise UserError(f"{candidate.name} is a classifier and gives no vectors; promote an embedding")
    if run.info.status != "FINISHED":
        raise UserError(
            f"the run {candidate.run_id} ({candidate.name}) is {run.info.status}; only a finished one counts"
        )
    return candidate


def of_source(client: MlflowClient, source: str) -> Candidate | None:
    """The candidate whose model lies at "runs:/<id>/model[-<reading>]"; None where the run is gone, or it is no run."""
    from mlflow.exceptions import MlflowException

    meant = re.fullmatch(r"runs:/([0-9a-f]{32})/model(?:-(.+))?", source)
    if meant is None:
        return None
    try:
        return Candidate(client.get_run(meant[1]), meant[2] or "")
    except MlflowException as fault:
        if fault.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def runs(client: MlflowClient, wanted: str, experiments: Sequence[str] | None = None) -> list[Run]:
    """All runs that fulfil a filter, newest first; of every experiment when none is named."""
    ids = experiments or [one.experiment_id for one in client.search_experiments()]
    order = ["attributes.start_time DESC"]
    page = client.search_runs(ids, filter_string=wanted, order_by=order)
    every = list(page)
    while page.token:
        page = client.search_runs(ids, filter_string=wanted, order_by=order, page_token=page.token)
        every += page
    return every


def _by_id(client: MlflowClient, digits: str) -> Run:
    several = runs(client, f"attributes.run_id LIKE '{digits}%'")
    if not several:
        raise UserError(f"MLflow has no run whose id begins with {digits}")
    if len(several) > 1:
        raise UserError(f"{len(several)} runs begin with {digits}: {_listed(several)}; give more digits")
    return several[0]


def _by_name(client: MlflowClient, words: str) -> Run:
    """The newest finished run of a name; the first draw where the name says none."""
    done = "attributes.status = 'FINISHED' and attributes.run_name LIKE "
    named = [run for run in runs(client, f"{done}'{words}%'") if _model(run) == words or run.info.run_name == words]
    if not named:
        raise UserError(_nothing_called(words, runs(client, f"{done}'%{words.split(' ')[0]}%'")))
    if any(run.info.run_name == words for run in named):
        drawn = [run for run in named if run.info.run_name == words]
    else:
        counting = [run for run in named if _draw(run).split == SPLIT] or named
        first = min(_draw(run).seed for run in counting)
        drawn = [run for run in counting if _draw(run).seed == first]
    if len({run.info.experiment_id for run in drawn}) > 1:
        newest = {run.info.experiment_id: run for run in reversed(drawn)}
        raise UserError(
            f"'{words}' are runs of several experiments: {_listed(list(newest.values()))}; give the run's id"
        )
    return drawn[0]


def _nothing_called(words: str, near: list[Any]) -> str:
    names = sorted({_model(run) for run in near if run.data.tags.get("kind") == "embedding"})
    hint = f"; there is {', '.join(names[:SHOWN])}" if names else "; `dvc repro` trains the models of params.yaml"
    return f"no finished run in MLflow is called '{words}'{hint}"


def _model(run: Run) -> str:
    """The name of a run without its draw."""
    return str(run.info.run_name).removesuffix(f" {run.data.tags.get('draw', '')}")


def _draw(run: Run) -> Draw:
    parts = DRAW.fullmatch(run.data.tags.get("draw", ""))
    return Draw(parts[1], int(parts[2])) if parts else Draw("", 0)


def _listed(several: list[Any]) -> str:
    rest = f" and {len(several) - SHOWN} more" if len(several) > SHOWN else ""
    return ", ".join(f"{run.info.run_name} {run.info.run_id[:12]}" for run in several[:SHOWN]) + rest
