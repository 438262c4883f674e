"""Search the hyperparameters of ALI or of the temporal ALI by composer accuracy on validation works (Optuna).

    Reads   out/clips/folds/<fold>.csv (of the first fold), out/features/mel.npy, params.yaml
    Writes  the database of the study: mlruns/optuna.db, or a PostgreSQL server that several machines share
            out/study/<name>/
                trials.csv          one row per trial: state, value, hyperparameters, MLflow run, reason of a failure
                repeats.csv         the best trials trained again from further seeds; the winner has the best mean
                history.png, importances.png, parallel.png, slices.png
                run.json            the MLflow run of the study, parent of the runs of its trials

A trial is one training of the model. Its value is the mean of its last probes (`study.averaged_probes`), and the same
running mean is reported at every probe, so that the pruner compares what the study compares. The maximum over the
training would reward the luckiest of many probes. A probe is scored on about 150 validation clips of few
works, so its standard error is 4 points or more; the mean reduces the noise of the training, not that of the clips,
which all trials share. Therefore the best trials are trained again from further seeds, and the winner has the highest
mean over these alone: the value by which a trial was selected is optimistic. If the winner would replace a setting of
params.yaml, that setting is the first trial and is always repeated, so it is replaced only by a better one. Test clips
are never used.

    kinds       what differs between a study of ALI and one of the temporal ALI
    space       the search space, and the conditions that must not change
    database    the Optuna storage
    trials      one trial or repeat: the training and its MLflow run
    workers     the processes that share the trials; interrupted and dead workers
    verdict     which trials are repeated, and which one wins
    pictures    tables, figures and an interactive page
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
from symphony2vec.study import pictures, space, trials, verdict, workers
from symphony2vec.study.database import CURRENT_SETTING, Database
from symphony2vec.study.kinds import ALI, KINDS, StudyKind

if TYPE_CHECKING:
    from optuna import Study

    from symphony2vec.study.verdict import Finalist


def run(
    project: Project,
    params: Params,
    database: Database,
    name: str = "ali",
    n_trials: int | None = None,
    timeout_s: float | None = None,
    processes: int = 1,
    kind: StudyKind = ALI,
) -> list[Finalist]:
    """Run trials until there are enough, repeat the best, and write tables and figures; resumes a stopped study.

    Args:
        project: Project whose clips and features are used.
        params: The whole of params.yaml.
        database: The Optuna storage.
        name: Name of the study.
        n_trials: Trials in all, including those of earlier calls and of other machines; None for `study.trials`.
        timeout_s: No trial begins later than this; the best are still repeated.
        processes: Workers on this machine; a single one runs in this process, several have one thread each.
        kind: The model that is studied.

    Returns:
        The repeated trials, the winner first.

    Raises:
        UserError: The study is of another model or was begun under other conditions, all trials failed, or the
            database cannot be reached.
    """
    fold = next(iter(splits.list_folds(params)))
    deadline = time.time() + timeout_s if timeout_s is not None else None
    project.mlruns.mkdir(exist_ok=True)
    with database.report_errors():
        study, repeats = database.open_studies(name)
        conditions = space.collect_conditions(project, kind, params, fold)
        space.begin_or_resume(study, kind, conditions, database.safe_url)
        point = kind.current_point(params)
        if not study.get_trials(deepcopy=False) and space.contains(kind.space(params), point):
            study.enqueue_trial(point, user_attrs={CURRENT_SETTING: True})
        identity, record = tracking.RunIdentity("study", name, "mel", fold.name), project.out("study", name, "run.json")
        _adopt_run(study, record)
        run_params = _run_params(params, kind, fold.seed)
        with tracking.start_run(project, identity, run_params, project.feature("mel"), record) as run:
            study.set_user_attr("mlflow_run_id", run.run_id)
            study_run = trials.StudyRun(project, run.run_id)
            run.set_tag("mlflow.runName", f"study {name}")
            study_run.close_dead_runs(study, repeats)
            count = n_trials or params.study.trials
            job = workers.StudyJob(project, params, database, name, count, deadline, os.getpid())
            workers.run_trials(job, processes)
            study_run.close_dead_runs(study, repeats)
            ranking = verdict.rank_finalists(study, repeats, params.study, fold.seed)
            folder = project.out("study", name)
            pictures.write_outputs(folder, name, study, ranking, run)
            if not ranking:
                raise UserError(f"no trial of the study '{name}' was completed; see {folder}")
            run.log_metrics(_winner_metrics(ranking[0]))
    return ranking


def format_ranking(ranking: list[Finalist], name: str, database: Database) -> str:
    """Return the repeated trials as a table for a terminal, with the next commands."""
    winner, seeds, kind = ranking[0], len(ranking[0].repeats), ranking[0].kind
    lines = [f"{'trial':>7}{'searched':>10}{'mean':>8}  {'lowest and highest':<20}{kind.heading}"]
    for trial in ranking:
        spread = f"{trial.lowest:.1%} to {trial.highest:.1%}" if trial.is_stable else "a seed failed"
        point = kind.format_point(trial.point)
        lines.append(f"{trial.number:>7}{trial.value:>10.1%}{trial.mean:>8.1%}  {spread:<20}{point}")
    option = f" --name {name}" if name != "ali" else ""
    lines += [
        f"searched: value in the search; mean: over {seeds} further seed{'s' if seeds > 1 else ''}, by which trial "
        f"{winner.number} wins. All on validation clips.",
        *[
            f"trial {trial.number} is the setting that params.yaml had when the study began."
            for trial in ranking
            if trial.is_current
        ],
        f"\nbrowse     optuna-dashboard '{database.safe_url}'",
        f"apply      symphony2vec study apply{option} && dvc repro",
    ]
    return "\n".join(lines)


def _adopt_run(study: Study, record: Path) -> None:
    """Record the MLflow run of a study that was begun on another machine, so that it is resumed here."""
    run_id = study.user_attrs.get("mlflow_run_id")
    if run_id and not (record.is_file() and read_json(record, "")["run_id"] == run_id):
        write_json(record, {"run_id": run_id})


def _run_params(params: Params, kind: StudyKind, seed: int) -> dict[str, Any]:
    excluded = "labels classifiers embeddings ali temporal pretrained probe folds".split()
    flat = tracking.flatten_params(params, *excluded)
    others = tuple(f"study.{other}." for other in KINDS if other != kind.name)
    shared = {name: value for name, value in flat.items() if not name.startswith(others)}
    return {**shared, "split": splits.list_folds(params)[0].split, "seed": seed}


def _winner_metrics(winner: Finalist) -> dict[str, float]:
    """Return the metrics of the winner; without the mean if one of its repeats failed."""
    mean = {"winner_mean": winner.mean} if winner.is_stable else {}
    return {"winner_trial": float(winner.number), "winner_value": winner.value, **mean}
