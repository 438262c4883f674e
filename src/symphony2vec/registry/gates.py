"""Gates that a challenger must pass to become champion: data, improvement, smoke. Each check gives a `Verdict`.

    data         both models were evaluated on the same clips, in the same splits, with the same audio settings
    improvement  the challenger is significantly better on the folds that both have: a paired bootstrap over test works
                 (`symphony2vec.evaluation.statistics`), of predictions of clips, movements or works (registry.level)
    smoke        a golden-file test: the package still returns the vectors that it returned when it was saved
                 (`symphony2vec.registry.smoke`)

The gate `improvement` needs at least registry.minimum_folds shared folds. With --equal-ok it also accepts a challenger
that is at most registry.margin worse, unless it is significantly worse. If there is no champion, it only requires that
the challenger was probed.

Accuracies and differences are fractions; messages give accuracies in percent and differences in percentage points.
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
from symphony2vec.registry.sources import CHAMPION

Folds = Mapping[str, FoldEvidence]  # the folds of one model by name

MAX_LISTED_DIFFERENCES = 4
PROBE_REMEDY = "run `dvc repro probe`"
CHAMPION_PROBE_REMEDY = f"{PROBE_REMEDY} in the project that trained it"
RETRAIN_REMEDY = (
    f"train both models on the same data or, to start over on other data, remove the alias '{CHAMPION}' in MLflow's UI"
)
DEVIATION_REMEDY = (
    "the package or its libraries have probably changed since it was saved; to train the model again, remove its "
    "folder in out/ and run `dvc repro -f STAGE`, where STAGE is, for example, embeddings@pca-mel-work-0"
)


@dataclass(frozen=True)
class Verdict:
    """The result of one gate; `details` is the message shown to users."""

    gate: str
    passed: bool
    details: str


@dataclass(frozen=True)
class Estimate:
    """A mean over folds with the confidence interval of the bootstrap over works."""

    mean: float
    low: float
    high: float
    confidence: float

    def format(self, unit: str, spec: str = ".1f") -> str:
        """Return the estimate times 100 as text: mean, `unit` and confidence interval; `spec` formats the numbers.

        Examples:
            >>> Estimate(0.41, 0.311, 0.591, 0.95).format(" %")
            '41.0 % (95 % CI 31.1 to 59.1)'
        """
        mean, low, high = (format(100.0 * value, spec) for value in (self.mean, self.low, self.high))
        return f"{mean}{unit} ({100.0 * self.confidence:.0f} % CI {low} to {high})"


def shared_folds(challenger: Folds, champion: Folds) -> list[str]:
    """Return the names of the folds in which the probe has evaluated both models."""
    return [name for name in _probed_folds(challenger) if name in _probed_folds(champion)]


def check_data(challenger: Folds, champion: Folds) -> Verdict:
    """Check that both models were evaluated on the same clips, splits and audio in all shared folds.

    Clips and splits are compared by the hash of each fold, not by DVC's hash of out/clips, which changes whenever a
    fold is added. DVC's hashes of the input must agree if two conditions hold: the feature settings agree, and the
    hashes are comparable, that is, either of the same file or of the folder that holds both files. Models with
    different features of the same audio may be compared.
    """
    names = shared_folds(challenger, champion)
    if not names:
        return Verdict("data", False, _explain_no_shared_fold(challenger, champion))
    differences = [item for name in names for item in _find_differences(name, challenger[name], champion[name])]
    if differences:
        listed = [difference for difference, _ in differences[:MAX_LISTED_DIFFERENCES]]
        if len(differences) > len(listed):
            listed.append(f"and {len(differences) - len(listed)} more")
        remedies = dict.fromkeys(remedy for _, remedy in differences)
        return Verdict("data", False, "; ".join([*listed, *remedies]))
    has_hashes = all(challenger[name].dataset_hash for name in names)
    note = "" if has_hashes else "; the arrays were not compared: DVC's hash of them is unknown"
    warning = _describe_contamination([challenger[name] for name in names], [champion[name] for name in names])
    return Verdict("data", True, f"same clips, splits and audio in {_list_folds(names)}{note}{warning}")


def check_improvement(
    challenger: Folds, champion: Folds, same_data: bool, equal_ok: bool, params: Params
) -> tuple[Verdict, Estimate | None]:
    """Check that the challenger is significantly more accurate than the champion.

    Args:
        challenger: Folds of the challenger by name.
        champion: Folds of the champion by name.
        same_data: Whether the data gate passed; otherwise the models are not compared.
        equal_ok: Require only that the mean difference is at least -registry.margin (a fraction) and its interval does
            not lie entirely below 0.
        params: Bootstrap settings of the section probe, and the section registry.

    Returns:
        The verdict, and the difference in accuracy (None if they are not compared).
    """
    if not same_data:
        return Verdict("improvement", False, "not compared: the data gate failed"), None
    names, minimum = shared_folds(challenger, champion), params.registry.minimum_folds
    level = params.registry.level
    difference = estimate_difference(
        [challenger[name] for name in names], [champion[name] for name in names], params.probe, level
    )
    if len(names) < minimum:
        passed, reason = False, _explain_few_folds(challenger, champion, minimum)
    elif equal_ok:
        passed, reason = _check_not_worse(difference, params.registry.margin)
    elif difference.low > 0.0:
        passed, reason = True, "significantly better: the interval lies above 0"
    else:
        passed, reason = False, "not significantly better: the interval must lie above 0"
    estimate = f"accuracy difference {difference.format(' points', '+.1f')} on {level}s over {_list_folds(names)}"
    return Verdict("improvement", passed, f"{estimate}; {reason}"), difference


def check_without_champion(challenger: Folds, params: Params) -> tuple[Verdict, Verdict, Estimate | None]:
    """Return the verdicts of the gates data and improvement when there is no champion, and the challenger's accuracy.

    The accuracy is None if no fold of the challenger was probed.
    """
    warning = _describe_contamination([*challenger.values()], [])
    data = Verdict("data", True, f"no champion to compare with{warning}")
    accuracy = estimate_accuracy(challenger, params.probe, params.registry.level)
    if accuracy is None:
        return data, Verdict("improvement", False, f"no fold of the challenger was probed; {PROBE_REMEDY}"), None
    folds = _list_folds(_probed_folds(challenger))
    details = f"no champion to compare with; accuracy {accuracy.format(' %')} on {params.registry.level}s over {folds}"
    return data, Verdict("improvement", True, details), accuracy


def check_package(package: Path) -> Verdict:
    """Check that a package returns, for its own example, the vectors that it returned when it was saved."""
    try:
        deviation = smoke.measure_deviation(package)
    except smoke.PackageError as error:
        return Verdict("smoke", False, str(error))
    comparison = f"{deviation:.1e} (tolerance {smoke.TOLERANCE:.0e})"
    details = f"relative deviation of the example's vectors from golden.npy: {comparison}"
    passed = deviation <= smoke.TOLERANCE
    return Verdict("smoke", passed, details if passed else f"{details}; {DEVIATION_REMEDY}")


def estimate_accuracy(folds: Folds, settings: Probe, level: str) -> Estimate | None:
    """Return the mean test accuracy over the probed folds; None if no fold was probed."""
    probed_folds = _probed_folds(folds).values()
    if not probed_folds:
        return None
    counts = statistics.count([[fold.works for fold in probed_folds if fold.works is not None]], level)
    resampled = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)[:, 0]
    return _build_estimate(counts.accuracy()[0], statistics.interval(resampled, settings.confidence), settings)


def estimate_difference(
    challenger: list[FoldEvidence], champion: list[FoldEvidence], settings: Probe, level: str
) -> Estimate:
    """Return the challenger's accuracy minus the champion's, over the same folds in the same order."""
    counts = statistics.count(
        [[fold.works for fold in folds if fold.works is not None] for folds in (challenger, champion)], level
    )
    resampled = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
    low, high = statistics.paired_differences(resampled, settings.confidence)
    challenger_accuracy, champion_accuracy = counts.accuracy()
    return _build_estimate(challenger_accuracy - champion_accuracy, (low[0, 1], high[0, 1]), settings)


def _build_estimate(fold_values: np.ndarray, interval: tuple[np.ndarray, np.ndarray], settings: Probe) -> Estimate:
    """Return the mean of values (folds,) with an interval (low, high)."""
    return Estimate(float(fold_values.mean()), float(interval[0]), float(interval[1]), settings.confidence)


def _probed_folds(folds: Folds) -> dict[str, FoldEvidence]:
    return {name: fold for name, fold in folds.items() if fold.works is not None}


def _check_not_worse(difference: Estimate, margin: float) -> tuple[bool, str]:
    """Return whether the challenger passes with --equal-ok, and the reason."""
    lowest = f"{-100.0 * margin:g}"
    if difference.mean < -margin:
        return False, f"too low: with --equal-ok the mean difference must be at least {lowest} points"
    if difference.high < 0.0:
        return False, "significantly worse: the interval lies entirely below 0"
    return True, (
        f"accepted with --equal-ok: the mean difference is at least {lowest} points and the interval does not lie "
        "entirely below 0"
    )


def _find_differences(name: str, challenger: FoldEvidence, champion: FoldEvidence) -> list[tuple[str, str]]:
    """Return each difference between the two models' data in one fold, as a message and its remedy."""
    keys = challenger.clips_key, champion.clips_key
    if keys[0] != keys[1] or not all(keys):
        values = _format_pair(*(_shorten(key) for key in keys))
        problem = "different clips or splits" if all(keys) else "clips and splits cannot be compared"
        return [(f"{name}: {problem} (clips_key: {values})", RETRAIN_REMEDY)]
    differences = []
    if _clips_by_work(challenger) != _clips_by_work(champion):
        differences.append((f"{name}: different test works, or different numbers of clips per work", PROBE_REMEDY))
    common = sorted({*challenger.settings} & {*champion.settings})
    changed = [key for key in common if challenger.settings[key] != champion.settings[key]]
    for key in changed:
        if not key.startswith(FEATURES):
            values = _format_pair(challenger.settings[key], champion.settings[key])
            differences.append((f"{name}: {key} differs ({values})", RETRAIN_REMEDY))
    same_features = not any(key.startswith(FEATURES) for key in changed)
    hashes = challenger.dataset_hash, champion.dataset_hash
    # Hashes are comparable if they are of the same file, or of the folder that holds both files (DVC's hash of a folder
    # ends in ".dir"); "" is an unknown hash. The input of a pretrained model is the audio, that of a model trained here
    # an array of features: these two are never comparable.
    same_folder = Path(challenger.dataset).parent == Path(champion.dataset).parent
    of_folder = {digest[-4:] for digest in hashes} <= {".dir", ""}
    comparable = challenger.dataset == champion.dataset or (same_folder and of_folder)
    if same_features and hashes[0] != hashes[1] and comparable:
        values = _format_pair(*(_shorten(digest) for digest in hashes))
        problem = "differs" if all(hashes) else "cannot be compared"
        differences.append((f"{name}: {challenger.dataset} {problem} (DVC's hash: {values})", RETRAIN_REMEDY))
    return differences


def _describe_contamination(challenger: list[FoldEvidence], champion: list[FoldEvidence]) -> str:
    """Return a warning for each model that has test works in its training data; "" if neither has."""
    warnings = ""
    for name, folds in (("challenger", challenger), ("champion", champion)):
        count = max((fold.contaminated_test_works for fold in folds), default=0)
        if count:
            warnings += f"; WARNING: contamination: up to {count} of the test works of a fold were in the training "
            warnings += f"data of the {name}, so its accuracy is too high (training_works.csv)"
    return warnings


def _format_pair(challenger: str, champion: str) -> str:
    return f"challenger {challenger}, champion {champion}"


def _clips_by_work(fold: FoldEvidence) -> list[tuple[str, int]]:
    return [] if fold.works is None else list(zip(fold.works["work"], fold.works["clips"], strict=True))


def _explain_no_shared_fold(challenger: Folds, champion: Folds) -> str:
    probed = _probed_folds(challenger), _probed_folds(champion)
    remedies = {"challenger": PROBE_REMEDY, "champion": CHAMPION_PROBE_REMEDY}
    for (model, remedy), folds in zip(remedies.items(), probed, strict=True):
        if not folds:
            return f"no fold of the {model} was probed; {remedy}"
    names = _format_pair(", ".join(probed[0]), ", ".join(probed[1]))
    return f"no probed fold in common ({names}); train and probe both on the same `folds`"


def _explain_few_folds(challenger: Folds, champion: Folds, minimum: int) -> str:
    counts = {"challenger": len(_probed_folds(challenger)), "champion": len(_probed_folds(champion))}
    few = "".join(f"; the {model} has only {count}" for model, count in counts.items() if count < minimum)
    return (
        f"at least {minimum} shared folds are needed: list as many in `folds` of params.yaml and run `dvc repro`{few}"
    )


def _list_folds(names: Mapping[str, FoldEvidence] | list[str]) -> str:
    return f"{len(names)} fold{'' if len(names) == 1 else 's'} ({', '.join(names)})"


def _shorten(digest: str) -> str:
    return digest[:12] or "unknown"
