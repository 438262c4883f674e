"""What each part of the temporal model is worth, and how well models generate: both in the mean over folds, with
intervals from whole works drawn with replacement, the same for all models that are compared.
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


def parts(project: Project, params: Params, against: str, folds: Sequence[str]) -> pd.DataFrame:
    """One line a temporal model of the size of the whole one, which comes first: named rightly of *validation* works.

    `difference` is the line's accuracy less that of the whole, on the folds that both were trained on, and
    `better` is "whole" or "part" where its interval does not hold 0 (see `statistics.significance`). Empty where there
    is nothing to compare.

    Args:
        project, params: what was run.
        against: the whole model, as "full-40"; "" if there is none.
        folds: names of the folds.
    """

    size = against.rpartition("-")[2]
    folders = sorted(project.out("temporal").glob(f"[!.]*-{size}")) if against else []
    tables = {folder.name: _validated(project, folder, folds) for folder in folders}
    whole = tables.pop(against, {})
    lines = []
    if whole:
        order = {f"{name}-{size}": place for place, name in enumerate(params.temporal.names)}
        for model, own in sorted(tables.items(), key=lambda item: order.get(item[0], len(order))):
            shared = [fold for fold in folds if fold in own and fold in whole]
            if shared and model in order:
                pair = [[whole[fold] for fold in shared], [own[fold] for fold in shared]]
                lines.append({"model": model, "changes": _changes(params, model), **_of_part(pair, params.probe)})
    if lines:
        alone = [[whole[fold] for fold in folds if fold in whole]] * 2
        first = {**_of_part(alone, params.probe), "difference": None, "low": None, "high": None, "better": ""}
        lines.insert(0, {"model": against, "changes": "the whole model", **first})
    return pd.DataFrame(lines, columns=PARTS).round(6)


def _validated(project: Project, folder: Path, folds: Sequence[str]) -> dict[str, pd.DataFrame]:
    """What a model says of validation works, by fold; not where the clips have changed since."""
    found = {}
    for fold in folds:
        path, clips = folder / fold / "validation.csv", project.out("clips", "folds", f"{fold}.csv")
        if path.is_file() and read_json(folder / fold / "run.json", "temporal")["clips"] == key_of(clips):
            found[fold] = read_table(path, "temporal")
    return found


def _changes(params: Params, model: str) -> str:
    name = model.rpartition("-")[0]
    if name == "labels":
        return "its encoder, trained with labels"
    told = params.temporal.parts.get(name, {}).items()
    return ", ".join(f"{key.replace('_', ' ')}: {str(value).lower()}" for key, value in told)


def _of_part(pair: Sequence[Sequence[pd.DataFrame]], settings: Probe) -> dict[str, Any]:
    """The second of two models, beside the first."""
    counts = statistics.count(pair)
    drawn = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
    low, high = statistics.interval(drawn, settings.confidence)
    below, above = statistics.paired_differences(drawn, settings.confidence)
    whole, part = counts.accuracy().mean(axis=1)
    better = ("", "part", "whole")[statistics.significance(below[1, 0], above[1, 0], len(pair[1]))]
    return {
        **{"accuracy": part, "accuracy_low": low[1], "accuracy_high": high[1]},
        **{"difference": part - whole, "low": below[1, 0], "high": above[1, 0], "better": better},
        **_counted(pair[1]),
    }


def _counted(tables: Sequence[pd.DataFrame]) -> dict[str, int]:
    """Drawn splits, and clips and works of one in the mean."""
    clips, works = sum(int(table["clips"].sum()) for table in tables), sum(len(table) for table in tables)
    return {"folds": len(tables), "clips": round(clips / len(tables)), "works": round(works / len(tables))}


def generation(
    project: Project, models: Sequence[tuple[str, str]], against: str, folds: Sequence[str], settings: Probe
) -> pd.DataFrame:
    """One line for each of these models (stage, model) that was judged on all folds, the closest copies first.

    `distance_db` is the log-spectral distance of test clips from what comes back of them; `difference` is that of the
    whole temporal model less the line's, and `closer` is "whole" or "line" where its interval does not hold 0.
    `reconstructed`, `generated` and `training` are Frechet distances from the test clips, of `compared` clips each.

    Args:
        project: whose models.
        models: to look for.
        against: the whole temporal model; "" if there is none.
        folds: names of the folds.
        settings: of the bootstrap.
    """

    folders = [project.out(stage, model) for stage, model in models]
    judged = [one for one in folders if all((one / fold / "generation.csv").is_file() for fold in folds)]
    if not judged:
        return pd.DataFrame(columns=GENERATION)
    tables = [[_distances(folder / fold) for fold in folds] for folder in judged]
    counts = statistics.sum_values(tables)
    drawn = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
    low, high = statistics.interval(drawn, settings.confidence)
    below, above = statistics.paired_differences(drawn, settings.confidence)
    means = counts.accuracy().mean(axis=1)
    whole = next((place for place, folder in enumerate(judged) if folder.parts[-2:] == ("temporal", against)), None)
    lines = []
    for place, folder in enumerate(judged):
        line: dict[str, Any] = {"stage": folder.parts[-2], "model": folder.name, "distance_db": means[place]}
        line |= {"distance_low": low[place], "distance_high": high[place], "closer": ""}
        if whole is not None and whole != place:
            ends = below[whole, place], above[whole, place]
            closer = ("", "line", "whole")[statistics.significance(*ends, len(folds))]
            difference = means[whole] - means[place]
            line |= {"difference": difference, "low": ends[0], "high": ends[1], "closer": closer}
        works = tables[place][0][["composer", "work"]].drop_duplicates()
        line |= {"folds": len(folds), "clips": len(tables[place][0]), "works": len(works)}
        lines.append(line | _frechet(folder, folds))
    return pd.DataFrame(lines, columns=GENERATION).sort_values("distance_db", kind="stable").round(6)


def _distances(folder: Path) -> pd.DataFrame:
    table = read_table(folder / "generation.csv", folder.parts[-3])
    return table.rename(columns={"log_spectral_distance": "value"})


def _frechet(folder: Path, folds: Sequence[str]) -> dict[str, float]:
    """Means over the folds."""

    told = pd.concat([read_table(folder / fold / "frechet.csv", folder.parts[-2]) for fold in folds])
    means = told.groupby("what")["frechet"].mean()
    return {**{str(what): float(mean) for what, mean in means.items()}, "compared": int(told["clips"].min())}
