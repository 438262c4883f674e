"""Ablations of the temporal model, and the quality of generated spectrograms.

Both are means over folds with a paired bootstrap over works.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from symphony2vec.evaluation import statistics
from symphony2vec.params import Params, Probe
from symphony2vec.project import Project, key_of, read_json, read_table

PARTS = "model changes accuracy accuracy_low accuracy_high difference low high better folds clips works".split()
GENERATION = (
    "stage model distance_db distance_low distance_high difference low high closer reconstructed generated training "
    "compared folds clips works"
).split()


def tabulate_ablations(project: Project, params: Params, reference: str, folds: Sequence[str]) -> pd.DataFrame:
    """Return the *validation* accuracy of the full temporal model and of its ablations of the same size.

    `difference` is the accuracy of the ablation minus that of the full model, on the folds that both were trained on;
    `better` is "whole" or "part" if the full model or the ablation is significantly better (see
    `statistics.significance`). The table is empty without an ablation.

    Args:
        project: whose models are compared.
        params: of the project.
        reference: the full model, such as "full-40"; "" if there is none.
        folds: names of the folds.
    """
    size = reference.rpartition("-")[2]
    order = [f"{name}-{size}" for name in params.temporal.names]
    folders = project.out("temporal").glob(f"*/[!.]*-{size}") if reference else ()
    models = sorted({folder.name for folder in folders})
    tables_of = {model: _read_validation(project, model, folds) for model in models}
    full = tables_of.pop(reference, {})
    lines = []
    for model in sorted(set(order) & set(tables_of), key=order.index):
        shared = [fold for fold in folds if fold in tables_of[model] and fold in full]
        if shared:
            tables = [[full[fold] for fold in shared], [tables_of[model][fold] for fold in shared]]
            lines.append({"model": model, "changes": _changes(params, model), **_compare(tables, params.probe)})
    if lines:
        first = _compare([[full[fold] for fold in folds if fold in full]] * 2, params.probe)
        first |= {"difference": None, "low": None, "high": None, "better": ""}
        lines.insert(0, {"model": reference, "changes": "the full model", **first})
    return pd.DataFrame(lines, columns=PARTS).round(6)


def _read_validation(project: Project, model: str, folds: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return a model's counts on validation works by fold, without folds whose clips have changed since."""
    tables = {}
    for fold in folds:
        folder, clips = project.out("temporal", fold, model), project.out("clips", "folds", f"{fold}.csv")
        path = folder / "validation.csv"
        if path.is_file() and read_json(folder / "run.json", "temporal")["clips"] == key_of(clips):
            tables[fold] = read_table(path, "temporal")
    return tables


def _changes(params: Params, model: str) -> str:
    """Return the settings in which a model differs from the full model."""
    name = model.rpartition("-")[0]
    if name == "labels":
        return "its encoder, trained with labels"
    changes = params.temporal.ablations.get(name, {}).items()
    return ", ".join(f"{key.replace('_', ' ')}: {str(value).lower()}" for key, value in changes)


def _compare(tables: Sequence[Sequence[pd.DataFrame]], settings: Probe) -> dict[str, Any]:
    """Return the accuracy of the second of two models, and its difference from the first."""
    counts = statistics.count(tables)
    resampled = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
    low, high = statistics.interval(resampled, settings.confidence)
    lower, upper = statistics.paired_differences(resampled, settings.confidence)
    full, ablated = counts.accuracy().mean(axis=1)
    folds = len(tables[1])
    return {
        **{"accuracy": ablated, "accuracy_low": low[1], "accuracy_high": high[1]},
        **{"difference": ablated - full, "low": lower[1, 0], "high": upper[1, 0]},
        "better": ("", "part", "whole")[statistics.significance(lower[1, 0], upper[1, 0], folds)],
        "folds": folds,
        "clips": round(sum(int(table["clips"].sum()) for table in tables[1]) / folds),
        "works": round(sum(len(table) for table in tables[1]) / folds),
    }


def tabulate_generation(
    project: Project, models: Sequence[tuple[str, str]], reference: str, folds: Sequence[str], settings: Probe
) -> pd.DataFrame:
    """Return one row for each model whose spectrograms were evaluated on all folds, the best reconstruction first.

    `distance_db` is the log-spectral distance of test clips from their reconstructions; `difference` is that of the
    full temporal model minus that of the row, and `closer` is "whole" or "line" if the full model or the row is
    significantly closer. `reconstructed`, `generated` and `training` are Fréchet distances from the test clips, with
    `compared` clips each.

    Args:
        project: of the study.
        models: stage and model.
        reference: the full temporal model; "" if there is none.
        folds: names of the folds.
        settings: of the bootstrap.
    """
    folders_of = {
        (stage, model): [project.out(stage, fold, model) for fold in folds]
        for stage, model in models
        if all(project.out(stage, fold, model, "generation.csv").is_file() for fold in folds)
    }
    if not folders_of:
        return pd.DataFrame(columns=GENERATION)
    tables = [[_read_distances(folder) for folder in folders] for folders in folders_of.values()]
    counts = statistics.sum_values(tables)
    resampled = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
    low, high = statistics.interval(resampled, settings.confidence)
    lower, upper = statistics.paired_differences(resampled, settings.confidence)
    means = counts.accuracy().mean(axis=1)
    full = next((place for place, of in enumerate(folders_of) if of == ("temporal", reference)), None)
    lines = []
    for place, ((stage, model), folders) in enumerate(folders_of.items()):
        line: dict[str, Any] = {"stage": stage, "model": model, "distance_db": means[place]}
        line |= {"distance_low": low[place], "distance_high": high[place], "closer": ""}
        if full is not None and full != place:
            ends = lower[full, place], upper[full, place]
            closer = ("", "line", "whole")[statistics.significance(*ends, len(folds))]
            line |= {"difference": means[full] - means[place], "low": ends[0], "high": ends[1], "closer": closer}
        works = tables[place][0][["composer", "work"]].drop_duplicates()
        line |= {"folds": len(folds), "clips": len(tables[place][0]), "works": len(works)}
        lines.append(line | _mean_frechet(folders))
    return pd.DataFrame(lines, columns=GENERATION).sort_values("distance_db", kind="stable").round(6)


def _read_distances(folder: Path) -> pd.DataFrame:
    table = read_table(folder / "generation.csv", folder.parts[-3])
    return table.rename(columns={"log_spectral_distance": "value"})


def _mean_frechet(folders: Sequence[Path]) -> dict[str, float]:
    """Return the mean Fréchet distances over the folds, and the number of clips compared."""
    table = pd.concat([read_table(folder / "frechet.csv", folder.parts[-3]) for folder in folders])
    means = table.groupby("what")["frechet"].mean()
    return {**{str(name): float(mean) for name, mean in means.items()}, "compared": int(table["clips"].min())}
