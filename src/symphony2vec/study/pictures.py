"""What is to be seen of a study: tables and figures in its folder, and a page to look into under its MLflow run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
from optuna import visualization as shown

from symphony2vec import figures, tracking
from symphony2vec.project import atomic_file, write_table
from symphony2vec.study import kinds
from symphony2vec.study.verdict import Standing

if TYPE_CHECKING:
    from optuna import Study

ENOUGH = 4  # complete trials from which an importance can be told


def keep(folder: Path, name: str, study: Study, standings: list[Standing], run: tracking.Run) -> None:
    """Write tables and figures into the folder of the study, and all of them and the page to its MLflow run."""
    table, names, logarithmic = trials(study), kinds.of(study).drawn, _logarithmic(study)
    write_table(folder / "trials.csv", table)
    write_table(folder / "repeats.csv", repeats(standings, names))
    done = table.dropna(subset=["value"])
    drawn: dict[str, Any] = {}
    if len(done):
        drawn["history"] = figures.history(done, f"Study {name}")
        shown = varied(table, names)
        drawn["parallel"] = figures.parallel(done, shown, logarithmic, f"Study {name}")
        drawn["slices"] = figures.slices(done, shown, logarithmic, f"Study {name}")
    weights = {name: weight for name, weight in importances(study).items() if name in varied(table, names)}
    if weights:
        drawn["importances"] = figures.importances(weights, f"Study {name}")
    for what, figure in drawn.items():
        figures.save(folder / f"{what}.png", figure)
        run.file(folder / f"{what}.png")
    for file in ("trials.csv", "repeats.csv"):
        run.file(folder / file)
    with tempfile.TemporaryDirectory() as place:
        page = Path(place, "study.html")
        if _page(page, study, bool(weights)):
            run.file(page)


def varied(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Those of which more than one value was tried; all of them where none was."""
    return [name for name in names if table[name].nunique() > 1] or list(names)


def trials(study: Study) -> pd.DataFrame:
    """One row a trial that has ended: trial, state, value (no number where it failed), epochs, what was drawn, why."""

    names, rows = kinds.of(study).drawn, []
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            continue
        own = trial.user_attrs
        row = {"trial": trial.number, "state": trial.state.name.lower(), "value": trial.value}
        row |= {"epochs": max(trial.intermediate_values, default=0), **{name: trial.params.get(name) for name in names}}
        rows.append({**row, "mlflow_run": own.get("mlflow_run_id", ""), "reason": own.get("failure", "")})
    columns = ["trial", "state", "value", "epochs", *names, "mlflow_run", "reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("value", *names), float))


def repeats(standings: list[Standing], names: tuple[str, ...]) -> pd.DataFrame:
    """One row a repeated trial, the winner first: trial, value, mean, lowest, highest, seeds, what was drawn."""

    rows = [
        {"trial": one.number, "value": one.value, "mean": one.mean, "lowest": one.lowest, "highest": one.highest}
        | {"seeds": len(one.seeds), **{name: one.found[name] for name in names}}
        for one in standings
        if one.seeds
    ]
    return pd.DataFrame(rows, columns=["trial", "value", "mean", "lowest", "highest", "seeds", *names])


def _logarithmic(study: Study) -> list[str]:
    """What is drawn on a logarithmic scale."""
    ranges = {name: one for trial in study.get_trials(deepcopy=False) for name, one in trial.distributions.items()}
    return [name for name, one in ranges.items() if getattr(one, "log", False)]


def importances(study: Study) -> dict[str, float]:
    """The share of each parameter in the variance of the value over the space (fANOVA); none of too few trials."""

    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if len(complete) < ENOUGH or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _page(path: Path, study: Study, weighed: bool) -> bool:
    """The figures of Optuna on one page that needs no network; False where nothing is there to be shown."""

    if not any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)):
        return False
    drawn = [shown.plot_optimization_history(study), shown.plot_intermediate_values(study)]
    if weighed:
        drawn.append(shown.plot_param_importances(study))
    drawn += [shown.plot_parallel_coordinate(study), shown.plot_slice(study)]
    parts = [one.to_html(full_html=False, include_plotlyjs=not place) for place, one in enumerate(drawn)]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{study.study_name}</title>'
    with atomic_file(path) as partial:
        partial.write_text(head + "\n".join(parts) + "</html>", encoding="utf-8")
    return True
