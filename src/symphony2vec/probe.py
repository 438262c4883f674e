"""Frozen vectors in, composer accuracy with its interval out; the same code for every model.

Reads   out/<stage>/<model>/vectors.npy and run.json, out/clips/clips.csv
Writes  out/probe/<stage>/<model>/scores.json, predictions.csv (test clips), confusion.png; and the model's MLflow run

The probe is a multinomial logistic regression on standardised vectors (the paper's measure). It is fitted on the
training clips; its strength C is the one with the best validation accuracy; the test clips choose nothing.
Symbols: B test clips, K composers, G works with test clips, R bootstrap draws.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from symphony2vec import tracking
from symphony2vec.artifacts import (
    Project,
    clips_hash,
    read_array,
    read_json,
    read_table,
    same_clips,
    whole_folder,
    write_json,
    write_table,
)
from symphony2vec.errors import UserError
from symphony2vec.params import Params, Probe

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


FEW_WORKS = 3  # with fewer test works of a composer the interval says little about him


@dataclass(frozen=True)
class Outcome:
    """What the probe found: composers (K,), chosen strength, probabilities of all clips (clips, K), convergence."""

    composers: list[str]
    strength: float
    probabilities: np.ndarray
    converged: bool


def run(project: Project, params: Params, stage: str, model: str) -> None:
    """The stage `probe` for the vectors of one model."""
    import numpy as np

    from symphony2vec import figures

    clips = read_table(project.clips, "clips")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", model):
        raise UserError(f"'{model}' cannot name a model; it is a folder of out/{stage}")
    vectors = read_array(project.out(stage, model, "vectors.npy"), stage)
    record = read_json(project.out(stage, model, "run.json"), stage)
    same_clips(record["clips"], clips_hash(project), stage)
    if len(vectors) != len(clips):
        raise UserError(f"{stage}/{model} holds {len(vectors)} vectors for {len(clips)} clips; run `dvc repro`")
    with tracking.again(project, record) as opened, whole_folder(project.out("probe", stage, model)) as folder:
        outcome = fit(np.asarray(vectors), clips, params.probe)
        scores = score(outcome, clips, params.probe)
        told = predictions(outcome, clips)
        confused = figures.confusion(np.array(scores["confusion"]), outcome.composers, f"{model}: test clips")
        write_json(folder / "scores.json", {"stage": stage, "model": model, **scores})
        write_table(folder / "predictions.csv", told)
        opened.figure(confused, "confusion.png")
        figures.save(folder / "confusion.png", confused)
        opened.metrics({name: value for name, value in scores.items() if name in LOGGED})
    interval = f"[{scores['test_accuracy_low']:.1%}, {scores['test_accuracy_high']:.1%}]"
    print(
        f"{model}: test accuracy {scores['test_accuracy']:.1%} {interval}, majority {scores['majority_accuracy']:.1%}"
    )


LOGGED = (
    "test_accuracy test_accuracy_low test_accuracy_high test_macro_f1 test_macro_f1_low test_macro_f1_high "
    "train_accuracy validation_accuracy majority_accuracy strength"
).split()


def fit(vectors: np.ndarray, clips: pd.DataFrame, settings: Probe) -> Outcome:
    """Fit the probe on the training clips, choosing its strength on the validation clips.

    Between strengths of equal validation accuracy the smallest, the most regularised, is taken.

    Args:
        vectors: (clips, D).
        clips: columns composer and split, in the order of the vectors.
        settings: the strengths to try.
    """
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not np.isfinite(vectors).all():
        raise UserError("some vectors are not finite numbers: the model that made them has diverged")
    composer = clips["composer"].to_numpy(dtype=str)
    training, validation = (np.flatnonzero(clips["split"] == side) for side in ("train", "validation"))
    best, best_accuracy, best_converged = None, -1.0, False
    for strength in sorted(settings.strengths):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=settings.max_iterations))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            probe.fit(vectors[training], composer[training])
        accuracy = probe.score(vectors[validation], composer[validation])
        if accuracy > best_accuracy:
            best, best_accuracy = probe, accuracy
            best_converged = not any(issubclass(one.category, ConvergenceWarning) for one in caught)
    assert best is not None
    names = [str(name) for name in best.classes_]
    return Outcome(names, float(best[-1].C), best.predict_proba(vectors), best_converged)


def score(outcome: Outcome, clips: pd.DataFrame, settings: Probe) -> dict[str, Any]:
    """Every number that is reported of one probe, as plain values; see `LOGGED` and the keys themselves."""
    import numpy as np

    true = _codes(clips, outcome)
    named = outcome.probabilities.argmax(axis=1)
    side = {name: np.flatnonzero(clips["split"] == name) for name in ("train", "validation", "test")}
    test = side["test"]
    work = (clips["composer"].astype(str) + " / " + clips["work"].astype(str)).to_numpy(dtype=str)[test]
    works, place = np.unique(work, return_inverse=True)
    counts = confusion_by_work(true[test], named[test], place, len(outcome.composers))
    owners = [name.split(" / ")[0] for name in works]
    majority = int(np.bincount(true[side["train"]]).argmax())
    found: dict[str, Any] = {
        f"{name}_accuracy": float((true[rows] == named[rows]).mean()) for name, rows in side.items()
    }
    found["test_macro_f1"] = float(macro_f1(counts.sum(axis=0)))
    drawn = bootstrap(counts, settings)
    tails = [(1.0 - settings.confidence) / 2.0, (1.0 + settings.confidence) / 2.0]
    for name, values in drawn.items():
        low, high = np.quantile(values, tails)
        found |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    found |= {
        "majority_accuracy": float((true[test] == majority).mean()),
        "majority_composer": outcome.composers[majority],
        "strength": outcome.strength,
        "converged": outcome.converged,
        "confidence": settings.confidence,
        "composers": outcome.composers,
        "confusion": counts.sum(axis=0).tolist(),
        "clips": {name: len(rows) for name, rows in side.items()},
        "test_works": len(works),
        "few_test_works": sorted({name for name in owners if owners.count(name) < FEW_WORKS}),
    }
    return found


def confusion_by_work(true: np.ndarray, named: np.ndarray, work: np.ndarray, composers: int) -> np.ndarray:
    """Confusion counts (G, K, K) of each work: [g, i, j] clips of composer i in work g that were named j."""
    import numpy as np

    counts = np.zeros((int(work.max()) + 1, composers, composers), dtype=np.int64)
    np.add.at(counts, (work, true, named), 1)
    return counts


def bootstrap(counts: np.ndarray, settings: Probe) -> dict[str, np.ndarray]:
    """Accuracy and macro-F1 (R,) of whole works drawn with replacement: the clips of one work are not independent.

    Args:
        counts: (G, K, K), from `confusion_by_work`.
        settings: how many draws, and their seed.
    """
    import numpy as np

    rng = np.random.default_rng(settings.seed)
    times_drawn = rng.multinomial(len(counts), np.full(len(counts), 1.0 / len(counts)), size=settings.bootstrap_draws)
    drawn = np.einsum("rg,gij->rij", times_drawn, counts)
    right = np.trace(drawn, axis1=1, axis2=2)
    return {"test_accuracy": right / drawn.sum(axis=(1, 2)), "test_macro_f1": macro_f1(drawn)}


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 over the composers, of confusion counts (..., K, K).

    A composer without a clip (in a bootstrap draw, say) is left out of the mean.
    """
    import numpy as np

    right, true = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1)
    f1 = np.divide(2.0 * right, true + counts.sum(axis=-2), out=np.zeros(right.shape), where=true > 0)
    mean: np.ndarray = f1.sum(axis=-1) / (true > 0).sum(axis=-1)
    return mean


def predictions(outcome: Outcome, clips: pd.DataFrame) -> pd.DataFrame:
    """The test clips with what the probe named them, and the probability of every composer."""
    import pandas as pd

    rows = clips["split"] == "test"
    table = clips.loc[rows, ["clip", "composer", "group"]].reset_index(drop=True)
    probabilities = outcome.probabilities[rows.to_numpy()]
    table["predicted"] = [outcome.composers[code] for code in probabilities.argmax(axis=1)]
    by_composer = pd.DataFrame(probabilities.round(6), columns=[f"p({name})" for name in outcome.composers])
    return pd.concat([table, by_composer], axis=1)


def _codes(clips: pd.DataFrame, outcome: Outcome) -> np.ndarray:
    import numpy as np

    place = {name: code for code, name in enumerate(outcome.composers)}
    return np.array([place[name] for name in clips["composer"].astype(str)])
