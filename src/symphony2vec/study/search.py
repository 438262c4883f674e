"""Hyper-parameters of ALI, or of the temporal ALI, by composer accuracy on validation works of the first fold (Optuna).

Reads   out/clips/folds/<fold>.csv, out/features/mel.npy, params.yaml
Writes  the database of the study: mlruns/optuna.db, or a PostgreSQL server that several machines share
        out/study/<name>/
            trials.csv          one row a trial: state, value, what was drawn, its MLflow run, why it failed
            repeats.csv         the best trials trained again from further seeds; the winner has the best mean
            history.png, importances.png, parallel.png, slices.png
            run.json            the MLflow run of the whole study, under which every trial has a run of its own

A trial is one training of the model. What it is worth is the mean of its last few probes (`study.averaged`), smoothed
in the same way at every probe while it lasts: the pruner compares what the study compares. No maximum over a training
is taken: that would reward the luckiest of many looks. One probe is right or wrong on some 150 validation clips of few
works, so that its standard error is 4 points and more; the mean over the last probes calms the training's own noise,
not that of the clips, which all trials share. So the best trials are trained again from other seeds, and a winner is
named by the mean over these alone: the value by which a trial was chosen flatters it. Where a winner would replace a
setting of params.yaml, that setting is the first trial and is always among the repeated: it goes only if something is
better. Test clips are never looked at.

    kinds       what differs between a study of ALI and one of the temporal ALI
    space       what is drawn, and what must not change meanwhile
    database    where trials are kept; its faults in the user's words
    trials      one trial, and one repeat: the training and its MLflow run
    workers     processes that share the trials, what ends them, and what becomes of a dead one's trial
    verdict     which trials are repeated, and which one wins
    pictures    tables, figures and a page to look into
    winner      the winner written into params.yaml
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec import tracking
from symphony2vec.clips import splits
from symphony2vec.errors import UserError
from symphony2vec.params import Params
from symphony2vec.project import Project, read_json, write_json
from symphony2vec.study import database, pictures, space, trials, verdict, workers
from symphony2vec.study.kinds import ALI, KINDS, Kind

if TYPE_CHECKING:
    from optuna import Study

    from symphony2vec.study.verdict import Standing


def run(
    project: Project,
    params: Params,
    kept: database.Database,
    name: str = "ali",
    wanted: int | None = None,
    timeout_s: float | None = None,
    processes: int = 1,
    kind: Kind = ALI,
) -> list[Standing]:
    """Search until so many trials are done, repeat the best, and show what was found; goes on where it stopped.

    Args:
        project: whose clips and features are used.
        params: the whole of params.yaml.
        kept: the database.
        name: of the study in it.
        wanted: trials in all, those of earlier calls and of other machines included; None for `study.trials`.
        timeout_s: no trial begins later than this; the repeats of the best follow all the same.
        processes: workers on this machine; one works in this process, several have one thread each.
        kind: the model that is studied.

    Returns:
        The repeated trials, the winner first.

    Raises:
        UserError: the study is about another model or was begun under other conditions, every trial failed, or the
            database is out of reach.
    """
    fold = splits.list_folds(params)[0]
    until = time.time() + timeout_s if timeout_s is not None else None
    project.mlruns.mkdir(exist_ok=True)
    with kept.spoken():
        study, repeats = kept.studies(name)
        space.begun(study, kind, space.conditions(project, kind, params, fold), kept.shown)
        if not study.get_trials(deepcopy=False) and space.holds(kind.space(params), present := kind.present(params)):
            study.enqueue_trial(present, user_attrs={database.PRESENT: True})
        subject, begun = tracking.Subject("study", name, "mel", fold.name), project.out("study", name, "run.json")
        _noted_elsewhere(study, begun)
        with tracking.run(project, subject, _parameters(params, kind, fold.seed), project.feature("mel"), begun) as run:
            study.set_user_attr("mlflow_run_id", run.run_id)
            tracked = trials.Tracked(project, run.run_id)
            run.tag("mlflow.runName", f"study {name}")
            tracked.close_dead(study, repeats)
            job = workers.Job(project, params, kept, name, wanted or params.study.trials, until, os.getpid())
            workers.work_through(job, processes)
            tracked.close_dead(study, repeats)
            standings = verdict.standings(study, repeats, params.study, fold.seed)
            pictures.keep(project.out("study", name), name, study, standings, run)
            if not standings:
                raise UserError(f"no trial of the study '{name}' was completed; see {project.out('study', name)}")
            run.metrics(_found(standings))
    return standings


def told(standings: list[Standing], name: str, kept: database.Database) -> str:
    """The repeated trials as a table for a terminal, and what to do next."""
    first, seeds, kind = standings[0], len(standings[0].seeds), standings[0].kind
    lines = [f"{'trial':>7}{'searched':>10}{'mean':>8}  {'lowest and highest':<20}{kind.shown}"]
    for one in standings:
        spread = f"{one.lowest:.1%} to {one.highest:.1%}" if one.sound else "a seed failed"
        lines.append(f"{one.number:>7}{one.value:>10.1%}{one.mean:>8.1%}  {spread:<20}{kind.told(one.found)}")
    chosen = f" --name {name}" if name != "ali" else ""
    lines += [
        f"searched: the value that chose the trial; mean: over {seeds} further seed{'s' if seeds > 1 else ''}, by "
        f"which trial {first.number} wins. All on validation clips.",
        *[f"trial {one.number} is what params.yaml had when the study began." for one in standings if one.present],
        f"\nlook       optuna-dashboard '{kept.shown}'",
        f"take it    symphony2vec study apply{chosen} && dvc repro",
    ]
    return "\n".join(lines)


def _noted_elsewhere(study: Study, begun: Path) -> None:
    """The MLflow run of the study may have been run on another machine: here, too, it goes on."""
    known = study.user_attrs.get("mlflow_run_id")
    if known and not (begun.is_file() and read_json(begun, "")["run_id"] == known):
        write_json(begun, {"run_id": known})


def _parameters(params: Params, kind: Kind, seed: int) -> dict[str, Any]:
    flat = tracking.flat(params, "labels", "classifiers", "embeddings", "ali", "temporal", "probe", "seeds")
    others = tuple(f"study.{other}." for other in KINDS if other != kind.name)
    shared = {name: value for name, value in flat.items() if not name.startswith(others)}
    return {**shared, "split": params.clips.splits[0], "seed": seed}


def _found(standings: list[Standing]) -> dict[str, float]:
    """The winner's figures; none where every repeated trial failed from some seed."""
    first = standings[0]
    means = {"winner_mean": first.mean} if first.sound else {}
    return {"winner_trial": float(first.number), "winner_value": first.value, **means}
