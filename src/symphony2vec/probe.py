"""Frozen vectors in, composer accuracy with its interval out; the same code for every model.

Reads   out/<stage>/<model>/<draw>/vectors*.npy or probabilities*.npy and run.json, out/clips/draws/<draw>.csv
Writes  out/probe/<stage>/<model>/<draw>/scores.json, predictions.csv (test clips), works.csv (clips of each test
        work, and how many were named rightly), confusion.png; and the model's MLflow run

The probe is a multinomial logistic regression on standardised vectors (the paper's measure). It is fitted on the
training clips; its strength C is the one with the best validation accuracy; the test clips choose nothing. A classifier
has probabilities instead of vectors; they are scored as they are. A model may offer several *readings*: vectors.npy is
the one that counts, vectors-<reading>.npy are others of the same model.

Symbols: B test clips, K composers, G works with test clips, R bootstrap draws.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec import tracking
from symphony2vec.artifacts import (
    Project,
    key_of,
    read_array,
    read_json,
    read_table,
    whole_folder,
    write_json,
    write_table,
)
from symphony2vec.errors import UserError
from symphony2vec.params import Params, Probe

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

    from symphony2vec.package.head import Head

STAGES = ("classifiers", "embeddings", "ali", "temporal")  # those that make what is probed
FEW_WORKS = 3  # with fewer test works of a composer the interval says little about him


@dataclass(frozen=True)
class Outcome:
    """What the probe found: composers (K,), chosen strength, probabilities of all clips (clips, K), convergence.

    `head` is the fitted probe, calibrated on validation clips (the probabilities here are not). A classifier's
    own probabilities have neither strength nor head.
    """

    composers: list[str]
    strength: float | None
    probabilities: np.ndarray
    converged: bool
    head: Head | None = None
    calibration: Mapping[str, float] = field(default_factory=dict)


def run(project: Project, params: Params, stage: str | None = None, model: str | None = None) -> None:
    """The stage `probe`: of every model that is there, or of one stage, or of one model."""
    from tqdm import tqdm

    made = found(project, stage, model)
    if stage is None:
        made = asked_for(made, params)
    with tqdm(made, desc="probe", unit="draw", mininterval=1.0) as bar:
        for folder in bar:
            bar.set_postfix_str("/".join(folder.parts[-3:-1]))
            _one(project, params.probe, folder)
    if stage is None:
        tidy(project.out("probe"), {folder.parts[-3:] for folder in made})
    print(f"probe: {len(made)} vectors and classifiers, {len({folder.parent for folder in made})} models")


def found(project: Project, stage: str | None = None, model: str | None = None) -> list[Path]:
    """The folders out/<stage>/<model>/<draw> that can be probed."""
    stages = [stage] if stage else STAGES
    folders = [record.parent for one in stages for record in project.out(one).glob("[!.]*/[!.]*/run.json")]
    folders = sorted(folder for folder in folders if model in (None, folder.parent.name))
    if not folders:
        what = f"no model '{model}' in" if model else "no models in"
        raise UserError(f"{what} {', '.join(str(project.out(one)) for one in stages)}; `dvc repro` makes them")
    return folders


def asked_for(folders: list[Path], params: Params) -> list[Path]:
    """Those of params.yaml: what it no longer asks for, or what was tried by hand, may lie there as well."""
    models = {"ali": params.ali.models, "temporal": params.temporal.models}
    return [folder for folder in folders if folder.parts[-2] in models.get(folder.parts[-3], [folder.parts[-2]])]


def _one(project: Project, settings: Probe, folder: Path) -> None:
    """Probe all readings of one model on one draw, unless that is done."""
    import pandas as pd

    stage, model, draw = folder.parts[-3:]
    table, record = project.out("clips", "draws", f"{draw}.csv"), read_json(folder / "run.json", stage)
    if not table.is_file() or record["clips"] != key_of(table):
        raise UserError(f"the clips have changed since the stage {stage} made {model}; run `dvc repro`")
    key = key_of(Path(__file__), settings.model_dump(), record)
    target = project.out("probe", stage, model, draw)
    if (target / "scores.json").is_file() and read_json(target / "scores.json", "probe").get("key") == key:
        return
    clips = read_table(table, "clips")
    with tracking.again(project, record) as opened, whole_folder(target) as filling:
        readings = {name: _read(path, clips, settings) for name, path in _readings(folder).items()}
        scores = [{"reading": name, **score(*outcome, settings)} for name, outcome in readings.items()]
        outcome, _ = readings[""]
        write_json(
            filling / "scores.json", {"stage": stage, "model": model, "draw": draw, "key": key, "scores": scores}
        )
        write_table(filling / "predictions.csv", _told(readings, clips))
        write_table(filling / "works.csv", pd.concat([by_work(*one).assign(reading=n) for n, one in readings.items()]))
        confused = _confusion(scores[0], outcome, f"{model}, {draw}: test clips")
        opened.figure(confused, "confusion.png")
        _save(filling / "confusion.png", confused)
        opened.metrics({name: value for one in scores for name, value in _logged(one).items()})
        opened.file(filling / "works.csv", "probe")
        _complete(opened, folder, {one["reading"]: one for one in scores}, {n: o for n, (o, _) in readings.items()})


def _complete(opened: tracking.Run, folder: Path, scores: dict[str, Any], outcomes: dict[str, Outcome]) -> None:
    """Give the model's packages their probe and the figures of their card."""
    from symphony2vec.package import contents

    for reading, outcome in outcomes.items():
        noted = folder / f"{contents.folder_name(reading)}.json"
        if noted.is_file():
            contents.complete(opened, noted, outcome.head, scores[reading])


def _readings(folder: Path) -> dict[str, Path]:
    """The files to score by the name of their reading; the one that counts, "", comes first."""
    files = [path for kind in ("vectors", "probabilities") for path in sorted(folder.glob(f"{kind}*.npy"))]
    named = {path.stem.partition("-")[2]: path for path in files}
    if "" not in named:
        raise UserError(f"{folder} holds neither vectors.npy nor probabilities.npy; `dvc repro` makes it again")
    return dict(sorted(named.items()))


def _read(path: Path, clips: pd.DataFrame, settings: Probe) -> tuple[Outcome, pd.DataFrame]:
    """The outcome of one reading, and the clips (or the chunks of clips) that it is about."""
    import numpy as np

    values = np.asarray(read_array(path, path.parts[-4]))
    if len(values) != len(clips):
        raise UserError(f"{path} holds {len(values)} rows for {len(clips)} clips; run `dvc repro`")
    if path.name.startswith("vectors"):
        return fit(values, clips, settings), clips
    if not np.isfinite(values).all():
        raise UserError(f"{path} holds values that are not finite numbers: the model that made them has diverged")
    composers = sorted(clips["composer"].astype(str).unique())
    chunks = values.shape[1] if values.ndim == 3 else 1
    about = clips.loc[clips.index.repeat(chunks)].reset_index(drop=True)
    return Outcome(composers, None, values.reshape(-1, values.shape[-1]), True), about


def _told(readings: dict[str, tuple[Outcome, pd.DataFrame]], clips: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    of_clips = {name: outcome for name, (outcome, about) in readings.items() if len(about) == len(clips)}
    parts = [predictions(outcome, clips).assign(reading=name) for name, outcome in of_clips.items()]
    return pd.concat(parts, ignore_index=True)


def _logged(scores: dict[str, Any]) -> dict[str, float]:
    before = f"{scores['reading']}." if scores["reading"] else ""
    return {f"{before}{name}": value for name, value in scores.items() if name in LOGGED and value is not None}


def _confusion(scores: dict[str, Any], outcome: Outcome, label: str) -> Figure:
    import numpy as np

    from symphony2vec import figures

    return figures.confusion(np.array(scores["confusion"]), outcome.composers, label)


def _save(path: Path, figure: Figure) -> None:
    from symphony2vec import figures

    figures.save(path, figure)


def tidy(home: Path, wanted: set[tuple[str, ...]]) -> None:
    """Remove what was found of models and draws that are no longer there: `wanted` holds (stage, model, draw)."""
    for folder in home.glob("[!.]*/[!.]*/[!.]*"):
        if folder.parts[-3:] not in wanted:
            shutil.rmtree(folder)
    for folder in home.glob("[!.]*/[!.]*"):
        if not any(folder.iterdir()):
            folder.rmdir()


LOGGED = (
    "test_accuracy test_accuracy_low test_accuracy_high test_macro_f1 test_macro_f1_low test_macro_f1_high "
    "train_accuracy validation_accuracy majority_accuracy strength temperature test_log_loss test_log_loss_calibrated"
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
    from sklearn.preprocessing import StandardScaler

    from symphony2vec.package.head import Head

    if not np.isfinite(vectors).all():
        raise UserError("some vectors are not finite numbers: the model that made them has diverged")
    composer = clips["composer"].to_numpy(dtype=str)
    training, validation = (np.flatnonzero(clips["split"] == side) for side in ("train", "validation"))
    scaler = StandardScaler().fit(vectors[training])
    scaled = scaler.transform(vectors)
    probe = LogisticRegression(max_iter=settings.max_iterations, warm_start=True)
    best, best_accuracy = None, -1.0
    for strength in sorted(settings.strengths):  # each starts from the one before it, which is near
        probe.set_params(C=strength)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            probe.fit(scaled[training], composer[training])
        accuracy = probe.score(scaled[validation], composer[validation])
        if accuracy > best_accuracy:
            converged = not any(issubclass(one.category, ConvergenceWarning) for one in caught)
            names = [str(name) for name in probe.classes_]
            best, best_accuracy = Outcome(names, float(strength), probe.predict_proba(scaled), converged), accuracy
            head = Head.of(scaler, probe)
    assert best is not None
    return replace(best, **_calibrated(head, vectors, clips))


def _calibrated(head: Head, vectors: np.ndarray, clips: pd.DataFrame) -> dict[str, Any]:
    """The head at the temperature that suits the validation clips, and what that does to the log loss of test clips."""
    import numpy as np

    from symphony2vec.package.head import log_loss, softmax

    composer = clips["composer"].astype(str).to_numpy()
    validation, test = (np.flatnonzero(clips["split"] == side) for side in ("validation", "test"))
    of_validation, of_test = (
        np.array([head.composers.index(name) for name in composer[rows]]) for rows in (validation, test)
    )
    warmed = head.calibrated(vectors[validation], of_validation)
    found = {
        "temperature": warmed.temperature,
        "test_log_loss": log_loss(softmax(head.logits(vectors[test])), of_test),
        "test_log_loss_calibrated": log_loss(warmed.probabilities(vectors[test]), of_test),
    }
    return {"head": warmed, "calibration": found}


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
        **outcome.calibration,
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
    table = clips.loc[rows, ["clip", "composer", "work", "group"]].reset_index(drop=True)
    probabilities = outcome.probabilities[rows.to_numpy()]
    table["predicted"] = [outcome.composers[code] for code in probabilities.argmax(axis=1)]
    by_composer = pd.DataFrame(probabilities.round(6), columns=[f"p({name})" for name in outcome.composers])
    return pd.concat([table, by_composer], axis=1)


def by_work(outcome: Outcome, clips: pd.DataFrame) -> pd.DataFrame:
    """One row a test work: work (with its composer), clips, and how many of them were named rightly."""
    test = (clips["split"] == "test").to_numpy()
    own = clips[test]
    named = outcome.probabilities[test].argmax(axis=1)
    table = own.assign(
        work=own["composer"].astype(str) + " / " + own["work"].astype(str), right=named == _codes(own, outcome)
    )
    return table.groupby("work")["right"].agg(clips="count", right="sum").reset_index()


def _codes(clips: pd.DataFrame, outcome: Outcome) -> np.ndarray:
    import numpy as np

    place = {name: code for code, name in enumerate(outcome.composers)}
    return np.array([place[name] for name in clips["composer"].astype(str)])
