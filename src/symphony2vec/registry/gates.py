"""The three gates between challenger and champion: data, better, smoke. Each returns a verdict with its figures.

data    both models were measured on the same clips, in the same splits, with the same audio settings
better  the challenger is significantly better: paired bootstrap over test works (`symphony2vec.evaluation.statistics`)
        on all folds that both have
smoke   the package still returns the vectors that it returned when it was saved (`symphony2vec.registry.smoke`)

Accuracies and differences are shares (0 to 1); the text of a verdict gives them in percentage points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from symphony2vec.evaluation import statistics
from symphony2vec.params import Params, Probe
from symphony2vec.registry import smoke
from symphony2vec.registry.evidence import FEATURES, FoldEvidence

Folds = Mapping[str, FoldEvidence]  # the folds of one model by name

MAX_LISTED = 4  # differences in one line
START_OVER = "to start over on other data, remove the alias champion in MLflow's UI"


@dataclass(frozen=True)
class Verdict:
    """The result of one gate; `figures` is the text shown to users."""

    gate: str
    passed: bool
    figures: str


@dataclass(frozen=True)
class Estimate:
    """A mean over folds with the confidence interval of the bootstrap over works."""

    mean: float
    low: float
    high: float
    confidence: float

    def format(self, spec: str = ".1f") -> str:
        """Return the estimate in percentage points.

        Example:
            >>> Estimate(0.41, 0.311, 0.591, 0.95).format()
            '41.0 (31.1 to 59.1, 95 %)'
        """
        mean, low, high = (format(100.0 * value, spec) for value in (self.mean, self.low, self.high))
        return f"{mean} ({low} to {high}, {100.0 * self.confidence:.0f} %)"


def shared_folds(candidate: Folds, champion: Folds) -> list[str]:
    """Return the names of the folds in which both models have been probed."""
    return [name for name in _probed(candidate) if name in _probed(champion)]


def check_data(candidate: Folds, champion: Folds) -> Verdict:
    """Check that the folds that both models have consist of the same clips, splits and audio.

    Clips and splits are compared by the hash of each fold, not by DVC's hash of out/clips, which changes whenever a
    seed is added. DVC's hashes of the arrays must agree if both models used the same feature settings; models with
    different features of the same audio may be compared.
    """
    names = shared_folds(candidate, champion)
    if not names:
        return Verdict("data", False, _explain_no_shared_fold(candidate, champion))
    faults = [fault for name in names for fault in _differences(name, candidate[name], champion[name])]
    if faults:
        rest = f"; and {len(faults) - MAX_LISTED} more" if len(faults) > MAX_LISTED else ""
        return Verdict("data", False, f"{'; '.join(faults[:MAX_LISTED])}{rest} ({START_OVER})")
    unhashed = "" if all(candidate[name].dataset_hash for name in names) else "; DVC has no hash of the arrays"
    return Verdict("data", True, f"same clips, splits and audio in {_list_folds(names)}{unhashed}")


def check_better(
    candidate: Folds, champion: Folds, same_data: bool, equal_ok: bool, params: Params
) -> tuple[Verdict, Estimate | None]:
    """Check that the candidate is significantly more accurate than the champion.

    Args:
        candidate: Folds of the candidate by name.
        champion: Folds of the champion by name.
        same_data: Whether the gate `data` passed; models measured on different data are not compared.
        equal_ok: Accept a mean difference down to -registry.margin unless the interval lies below 0.
        params: Bootstrap settings of the section probe, and the section registry.

    Returns:
        The verdict, and the difference in accuracy (None if the data differ).
    """
    if not same_data:
        return Verdict("better", False, "not compared: the data differ"), None
    names, minimum = shared_folds(candidate, champion), params.registry.minimum_folds
    difference = estimate_difference(
        [candidate[name] for name in names], [champion[name] for name in names], params.probe
    )
    if len(names) < minimum:
        passed, reason = False, _explain_few_folds(candidate, champion, minimum)
    elif equal_ok:
        passed, reason = _is_not_worse(difference, params.registry.margin)
    elif difference.low > 0.0:
        passed, reason = True, "significantly better: the interval lies above 0"
    else:
        passed, reason = False, f"the interval must lie above 0 but begins at {100.0 * difference.low:+.1f}"
    return Verdict(
        "better", passed, f"{difference.format('+.1f')} points over {_list_folds(names)}; {reason}"
    ), difference


def check_first(candidate: Folds, settings: Probe) -> tuple[Verdict, Verdict, Estimate | None]:
    """Return the verdicts of the gates data and better if there is no champion, and the candidate's accuracy."""
    data = Verdict("data", True, "no champion to compare with")
    accuracy = estimate_accuracy(candidate, settings)
    if accuracy is None:
        return data, Verdict("better", False, "no fold of the challenger was probed; run `dvc repro probe`"), None
    text = f"no champion to compare with; accuracy {accuracy.format()} over {_list_folds(_probed(candidate))}"
    return data, Verdict("better", True, text), accuracy


def check_package(package: Path) -> Verdict:
    """Check that a package returns, for its own example, the vectors that it returned when it was saved."""
    try:
        deviation = smoke.measure_deviation(package)
    except smoke.PackageError as error:
        return Verdict("smoke", False, str(error))
    text = f"the vectors of its example deviate from the golden vectors by {deviation:.1e} of their norm"
    if deviation <= smoke.TOLERANCE:
        return Verdict("smoke", True, text)
    return Verdict("smoke", False, f"{text}; at most {smoke.TOLERANCE:.0e} is allowed")


def estimate_accuracy(folds: Folds, settings: Probe) -> Estimate | None:
    """Return the mean test accuracy over the probed folds; None if there is none."""
    works = list(_probed(folds).values())
    if not works:
        return None
    counts = statistics.count([[fold.works for fold in works if fold.works is not None]])
    resampled = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)[:, 0]
    return _estimate(counts.accuracy()[0], statistics.interval(resampled, settings.confidence), settings)


def estimate_difference(candidate: list[FoldEvidence], champion: list[FoldEvidence], settings: Probe) -> Estimate:
    """Return the candidate's accuracy minus the champion's, over the same folds in the same order."""
    counts = statistics.count(
        [[fold.works for fold in folds if fold.works is not None] for folds in (candidate, champion)]
    )
    resampled = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
    low, high = statistics.paired_differences(resampled, settings.confidence)
    candidate_accuracy, champion_accuracy = counts.accuracy()
    return _estimate(candidate_accuracy - champion_accuracy, (low[0, 1], high[0, 1]), settings)


def _estimate(values: np.ndarray, ends: tuple[np.ndarray, np.ndarray], settings: Probe) -> Estimate:
    return Estimate(float(values.mean()), float(ends[0]), float(ends[1]), settings.confidence)


def _probed(folds: Folds) -> dict[str, FoldEvidence]:
    return {name: fold for name, fold in folds.items() if fold.works is not None}


def _is_not_worse(difference: Estimate, margin: float) -> tuple[bool, str]:
    lowest = f"{-100.0 * margin:g}"
    if difference.mean < -margin:
        return False, f"the mean must be at least {lowest} and is {-100.0 * (difference.mean + margin):.1f} below that"
    if difference.high < 0.0:
        return False, "significantly worse: the interval lies below 0"
    return True, f"not worse: the mean is at least {lowest}"


def _differences(name: str, candidate: FoldEvidence, champion: FoldEvidence) -> list[str]:
    """Return how the data of one fold differ, with the candidate's value first."""
    if candidate.clips_key != champion.clips_key or not candidate.clips_key:
        return [f"{name}: clips_key {_shorten(candidate.clips_key)} against {_shorten(champion.clips_key)}"]
    faults = []
    if _clips_by_work(candidate) != _clips_by_work(champion):
        faults.append(f"{name}: the test works, or their numbers of clips, differ")
    common = sorted({*candidate.settings} & {*champion.settings})
    changed = [key for key in common if candidate.settings[key] != champion.settings[key]]
    for key in changed:
        if not key.startswith(FEATURES):
            faults.append(f"{name}: {key} {candidate.settings[key]} against {champion.settings[key]}")
    same_features = not any(key.startswith(FEATURES) for key in changed)
    hashes = candidate.dataset_hash, champion.dataset_hash
    # Hashes are comparable if they are of the same file, or both of the folder that holds the files.
    comparable = candidate.dataset == champion.dataset or {digest[-4:] for digest in hashes} <= {".dir", ""}
    if same_features and hashes[0] != hashes[1] and comparable:
        faults.append(f"{name}: DVC's hash of {candidate.dataset} {_shorten(hashes[0])} against {_shorten(hashes[1])}")
    return faults


def _clips_by_work(fold: FoldEvidence) -> list[tuple[str, int]]:
    return [] if fold.works is None else list(zip(fold.works["work"], fold.works["clips"], strict=True))


def _explain_no_shared_fold(candidate: Folds, champion: Folds) -> str:
    for model, folds in (("the challenger", candidate), ("the champion", champion)):
        if not _probed(folds):
            return f"no fold of {model} was probed; run `dvc repro probe`"
    return f"no fold in common: {', '.join(candidate)} against {', '.join(champion)}"


def _explain_few_folds(candidate: Folds, champion: Folds, minimum: int) -> str:
    models = (("the challenger", candidate), ("the champion", champion))
    few = [model for model, folds in models if len(_probed(folds)) < minimum]
    lacking = f"; {' and '.join(few)} {'has' if len(few) == 1 else 'have'} fewer" if few else ""
    return f"at least {minimum} folds are needed: set `folds: {minimum}` in params.yaml and run `dvc repro`{lacking}"


def _list_folds(names: Mapping[str, FoldEvidence] | list[str]) -> str:
    return f"{len(names)} fold{'' if len(names) == 1 else 's'} ({', '.join(names)})"


def _shorten(digest: str) -> str:
    return digest[:12] or "unknown"
