"""From what people call a run to the run: by its MLflow id, or as "vae-mel" or "vae-mel work-0".

A model's name alone means its first fold of whole works. Of that the run counts whose model lies in out/, which
`dvc checkout` may have brought back; the newest run that finished, where out/ has no such model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException

from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.project import Project, SplitFold, read_json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SPLIT = "work"  # the split that counts: a model is not judged by works it has heard parts of
FOLD = re.compile(r"(work|movement|clip)-([0-9]+)")
ID = re.compile(r"[0-9a-f]{8,32}")
NAMES = re.compile(r"[\w.:/ -]*")
SHOWN = 8  # names in a message


@dataclass(frozen=True)
class Candidate:
    """One readout of a run's model; `readout` is "" for the one that counts. `run` is MLflow's, data included."""

    run: Run
    readout: str

    @property
    def run_id(self) -> str:
        """32 hexadecimal digits."""
        return str(self.run.info.run_id)

    @property
    def folder(self) -> str:
        """The run's artifact folder that holds the model."""
        return f"model-{self.readout}" if self.readout else "model"

    @property
    def source(self) -> str:
        """Where MLflow finds the model, as "runs:/<id>/model-crops"."""
        return f"runs:/{self.run_id}/{self.folder}"

    @property
    def fold(self) -> str:
        """As in "work-0"."""
        return fold_name(self.run)

    @property
    def name(self) -> str:
        """For people, as in "long-128 crops work-0"."""
        model = str(self.run.info.run_name).removesuffix(f" {self.fold}")
        return " ".join(part for part in (model, self.readout, self.fold) if part)


def found(client: MlflowClient, words: str, readout: str = "", project: Project | None = None) -> Candidate:
    """The candidate that is meant.

    Args:
        client: of the tracking server.
        words: a run's id, or the first eight or more of its digits, or a model's name, perhaps with a fold.
        readout: of the run's model; "" for the one that counts.
        project: whose out/ says which of several runs of one name is meant; the newest is where none is given.

    Raises:
        UserError: no run or several are meant, it has not finished, or its model gives no vectors; or the run of the
            model in out/ is not in MLflow.
    """
    words = " ".join(words.split())
    for given in (words, readout):
        if not NAMES.fullmatch(given):
            raise UserError(f"'{given}' is no name of a run or readout; those are of letters, digits and _-.:/")
    run = _by_id(client, words) if ID.fullmatch(words) else _by_name(client, words, project)
    candidate = Candidate(run, readout)
    if run.data.tags.get("kind") == "classifier" or run.data.params.get("model") == "encoder":
        raise UserError(f"{candidate.name} is a classifier and gives no vectors; promote an embedding")
    if run.info.status != "FINISHED":
        raise UserError(
            f"the run {candidate.run_id} ({candidate.name}) is {run.info.status}; only a finished one counts"
        )
    return candidate


def of_source(client: MlflowClient, source: str) -> Candidate | None:
    """The candidate whose model lies at "runs:/<id>/model[-<readout>]"; None where the run is gone, or it is no run."""

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


def _by_name(client: MlflowClient, words: str, project: Project | None) -> Run:
    """The finished run of a name that out/ holds, or the newest; the first fold where the name says none."""
    held = [] if project is None else _held(project, words)
    if len(held) == 1:
        return _of_record(client, words, *held[0])
    done = "attributes.status = 'FINISHED' and attributes.run_name LIKE "
    named = [run for run in runs(client, f"{done}'{words}%'") if _model(run) == words or run.info.run_name == words]
    if not named:
        raise UserError(_nothing_called(words, runs(client, f"{done}'%{words.split(' ')[0]}%'")))
    if any(run.info.run_name == words for run in named):
        drawn = [run for run in named if run.info.run_name == words]
    else:
        counting = [run for run in named if _fold(run).split == SPLIT] or named
        first = min(_fold(run).seed for run in counting)
        drawn = [run for run in counting if _fold(run).seed == first]
    if len({run.info.experiment_id for run in drawn}) > 1:
        newest = {run.info.experiment_id: run for run in reversed(drawn)}
        raise UserError(
            f"'{words}' are runs of several experiments: {_listed(list(newest.values()))}; give the run's id"
        )
    return drawn[0]


def _held(project: Project, words: str) -> list[tuple[Path, dict[str, Any]]]:
    """The records of the models in out/ that a name means, one a stage, each with its file."""
    model, _, name = words.partition(" ")
    if not model or "/" in model or model.startswith("."):
        return []
    records = []
    for folder in sorted(project.root.glob(f"out/*/{model}")):
        folds = {place.parent.name: place for place in folder.glob(f"{name or '*'}/run.json")}
        known = [SplitFold(parts[1], int(parts[2])) for parts in map(FOLD.fullmatch, folds) if parts]
        counting = [fold for fold in known if fold.split == SPLIT] or known
        if counting:
            place = folds[min(counting, key=lambda fold: fold.seed).name]
            records.append((place, dict(read_json(place, folder.parent.name))))
    return records


def _of_record(client: MlflowClient, words: str, place: Path, record: Mapping[str, Any]) -> Run:
    """The run that made a folder of out/; said where it is not the newest of its name.

    Raises:
        UserError: MLflow does not know it.
    """
    known = tracking.run_id_of(client, record)
    run = client.get_run(known) if known else None
    if run is None or "stands_for" in run.data.tags:
        stage, model, fold = place.parts[-4:-1]
        done = f"attributes.status = 'FINISHED' and attributes.run_name = '{model} {fold}'"
        newest = [run for run in runs(client, done) if "stands_for" not in run.data.tags]
        other = f", or promote another run of that name: {_listed(newest)}" if newest else ""
        raise UserError(
            f"out/{stage}/{model}/{fold} is of run {record['run_id']}, which was trained elsewhere and is not in this "
            f"MLflow; remove that folder and run `dvc repro -f` of its stage to train it here{other}"
        )
    done = f"attributes.status = 'FINISHED' and attributes.run_name = '{run.info.run_name}'"
    newest = runs(client, done, [run.info.experiment_id])
    if newest and newest[0].info.run_id != run.info.run_id:
        here, other = run.info.run_id[:12], newest[0].info.run_id[:12]
        tracking.notify(
            f"'{words}' is run {here}, whose model lies in out/; the newest is {other}: give that id for it"
        )
    return run


def _nothing_called(words: str, near: list[Any]) -> str:
    names = sorted({_model(run) for run in near if run.data.tags.get("kind") == "embedding"})
    hint = f"; there is {', '.join(names[:SHOWN])}" if names else "; `dvc repro` trains the models of params.yaml"
    return f"no finished run in MLflow is called '{words}'{hint}"


def _model(run: Run) -> str:
    """The name of a run without its fold."""
    return str(run.info.run_name).removesuffix(f" {fold_name(run)}")


def fold_name(run: Run) -> str:
    """Return the fold of a run, as "work-0"; runs of earlier versions have it under "draw"."""
    tags = run.data.tags
    return str(tags.get("fold") or tags.get("draw", ""))


def _fold(run: Run) -> SplitFold:
    parts = FOLD.fullmatch(fold_name(run))
    return SplitFold(parts[1], int(parts[2])) if parts else SplitFold("", 0)


def _listed(several: list[Any]) -> str:
    rest = f" and {len(several) - SHOWN} more" if len(several) > SHOWN else ""
    return ", ".join(f"{run.info.run_name} {run.info.run_id[:12]}" for run in several[:SHOWN]) + rest
