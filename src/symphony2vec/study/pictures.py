"""Tables and figures of a study in its folder and in its MLflow run, and an interactive page in the run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
from optuna import visualization

from symphony2vec import figures, tracking
from symphony2vec.project import atomic_file, write_table
from symphony2vec.study.kinds import kind_of
from symphony2vec.study.verdict import Finalist

if TYPE_CHECKING:
    from optuna import Study

MIN_COMPLETE = 4  # trials from which importances are estimated


def write_outputs(folder: Path, name: str, study: Study, ranking: list[Finalist], run: tracking.Run) -> None:
    """Write tables and figures to the folder of a study, and log them and the page to its MLflow run."""
    param_names, title = kind_of(study).param_names, f"Study {name}"
    table, log_params = tabulate_trials(study), _log_params(study)
    write_table(folder / "trials.csv", table)
    write_table(folder / "repeats.csv", tabulate_repeats(ranking, param_names))
    varied, scored = select_varied(table, param_names), table.dropna(subset=["value"])
    plots: dict[str, Any] = {}
    if len(scored):
        plots["history"] = figures.history(scored, title)
        plots["parallel"] = figures.parallel(scored, varied, log_params, title)
        plots["slices"] = figures.slices(scored, varied, log_params, title)
    importances = {param: share for param, share in estimate_importances(study).items() if param in varied}
    if importances:
        plots["importances"] = figures.importances(importances, title)
    for plot, figure in plots.items():
        figures.save(folder / f"{plot}.png", figure)
        run.log_artifact(folder / f"{plot}.png")
    for file in ("trials.csv", "repeats.csv"):
        run.log_artifact(folder / file)
    with tempfile.TemporaryDirectory() as place:
        page = Path(place, "study.html")
        if _write_page(page, study, bool(importances)):
            run.log_artifact(page)


def select_varied(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the parameters of which more than one value was tried; all of them if there is none."""
    return [name for name in names if table[name].nunique() > 1] or list(names)


def tabulate_trials(study: Study) -> pd.DataFrame:
    """Return one row per finished trial: trial, state, value (NaN if it failed), epochs, parameters, run and reason."""
    names, rows = kind_of(study).param_names, []
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            continue
        row = {"trial": trial.number, "state": trial.state.name.lower(), "value": trial.value}
        row |= {"epochs": max(trial.intermediate_values, default=0), **{name: trial.params.get(name) for name in names}}
        row |= {"mlflow_run": trial.user_attrs.get("mlflow_run_id", ""), "reason": trial.user_attrs.get("failure", "")}
        rows.append(row)
    columns = ["trial", "state", "value", "epochs", *names, "mlflow_run", "reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("value", *names), float))


def tabulate_repeats(ranking: list[Finalist], names: tuple[str, ...]) -> pd.DataFrame:
    """Return one row per repeated trial, the winner first: trial, value, mean, lowest, highest, seeds, parameters."""
    rows = [
        {
            "trial": trial.number,
            "value": trial.value,
            "mean": trial.mean,
            "lowest": trial.lowest,
            "highest": trial.highest,
            "seeds": len(trial.repeats),
            **{name: trial.point[name] for name in names},
        }
        for trial in ranking
        if trial.repeats
    ]
    return pd.DataFrame(rows, columns=["trial", "value", "mean", "lowest", "highest", "seeds", *names])


def estimate_importances(study: Study) -> dict[str, float]:
    """Return each parameter's share of the variance of the value (fANOVA); {} if there are too few trials."""
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if len(complete) < MIN_COMPLETE or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _log_params(study: Study) -> list[str]:
    """Return the parameters that are sampled on a logarithmic scale."""
    trials = study.get_trials(deepcopy=False)
    distributions = {name: distribution for trial in trials for name, distribution in trial.distributions.items()}
    return [name for name, distribution in distributions.items() if getattr(distribution, "log", False)]


def _write_page(path: Path, study: Study, with_importances: bool) -> bool:
    """Write Optuna's plots to one page that needs no network; return False if no trial is complete."""
    if not any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)):
        return False
    plots = [visualization.plot_optimization_history(study), visualization.plot_intermediate_values(study)]
    if with_importances:
        plots.append(visualization.plot_param_importances(study))
    plots += [visualization.plot_parallel_coordinate(study), visualization.plot_slice(study)]
    parts = [plot.to_html(full_html=False, include_plotlyjs=number == 0) for number, plot in enumerate(plots)]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{study.study_name}</title>'
    with atomic_file(path) as partial:
        partial.write_text(head + "\n".join(parts) + "</html>", encoding="utf-8")
    return True
