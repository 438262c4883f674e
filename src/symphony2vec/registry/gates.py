"""The three gates between challenger and champion: data, better, smoke. Each gives a verdict with its figures.

data    both were measured on the same clips, on the same sides, in the same sound
better  the paired bootstrap over their test works (`symphony2vec.evaluation.statistics`), over all folds that both have
smoke   the package still says what it said when it was made (`symphony2vec.registry.smoke`)

Draws here are folds; accuracies and differences are shares, in the figures they are points of a hundred.
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

SHOWN = 4  # differences in one line
ANEW = "to begin anew on other data, take the alias champion away in MLflow's UI"


@dataclass(frozen=True)
class Verdict:
    """What one gate says, and the figures behind it."""

    gate: str
    passed: bool
    figures: str


@dataclass(frozen=True)
class Estimate:
    """A mean over folds with the interval of its bootstrap over works."""

    mean: float
    low: float
    high: float
    confidence: float

    def told(self, form: str = ".1f") -> str:
        """In points, as in "41.0 (31.1 to 59.1, 95 %)"."""
        mean, low, high = (format(100.0 * value, form) for value in (self.mean, self.low, self.high))
        return f"{mean} ({low} to {high}, {self.confidence:.0%})".replace("%)", " %)")


def shared(candidate: Mapping[str, FoldEvidence], champion: Mapping[str, FoldEvidence]) -> list[str]:
    """The names of the folds in which both were probed."""
    return [
        name
        for name, own in candidate.items()
        if own.works is not None and name in champion and champion[name].works is not None
    ]


def data(candidate: Mapping[str, FoldEvidence], champion: Mapping[str, FoldEvidence]) -> Verdict:
    """Whether the folds that both have are of the same clips, sides and sound.

    The hash of a fold's clips and sides says it of the clips. DVC's hash of out/clips is not asked: it changes with
    every seed that is added, though no fold changes. Of the arrays DVC's hash must agree where both models saw arrays
    of the same settings; other settings of the same sound are a model's own affair.
    """
    names = shared(candidate, champion)
    if not names:
        return Verdict("data", False, _nothing_shared(candidate, champion))
    faults = [fault for name in names for fault in _differences(name, candidate[name], champion[name])]
    if faults:
        rest = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        return Verdict("data", False, f"{'; '.join(faults[:SHOWN])}{rest} ({ANEW})")
    unhashed = "" if all(candidate[name].array for name in names) else "; DVC has no hash of the arrays"
    return Verdict("data", True, f"the same clips, sides and sound in {_counted(names)}{unhashed}")


def better(
    candidate: Mapping[str, FoldEvidence],
    champion: Mapping[str, FoldEvidence],
    agree: bool,
    equal_ok: bool,
    params: Params,
) -> tuple[Verdict, Estimate | None]:
    """Whether the candidate's accuracy lies above the champion's, and by how much.

    Args:
        candidate: its folds by name.
        champion: the champion's.
        agree: the verdict of the gate `data`; models of other data cannot be compared.
        equal_ok: a mean difference down to -registry.margin is enough, where the interval is not wholly below 0.
        params: bootstrap settings of the probe, and the section `registry`.
    """
    if not agree:
        return Verdict("better", False, "not compared: the data do not agree"), None
    names, minimum = shared(candidate, champion), params.registry.minimum_folds
    found = difference([candidate[name] for name in names], [champion[name] for name in names], params.probe)
    if len(names) < minimum:
        passed, why = False, f"wanted are {minimum} folds: {_more(candidate, champion, minimum)}"
    elif equal_ok:
        passed, why = _not_worse(found, params.registry.margin)
    else:
        passed, why = _above(found)
    return Verdict("better", passed, f"{found.told('+.1f')} points over {_counted(names)}; {why}"), found


def _above(found: Estimate) -> tuple[bool, str]:
    if found.low > 0.0:
        return True, "the interval lies above 0"
    return False, f"the interval must lie above 0 and reaches down to {100.0 * found.low:+.1f}"


def _not_worse(found: Estimate, margin: float) -> tuple[bool, str]:
    lowest = f"{-100.0 * margin:g}"
    if found.mean < -margin:
        return False, f"the mean must not be below {lowest} and falls short by {-100.0 * (found.mean + margin):.1f}"
    if found.high < 0.0:
        return False, "the interval lies wholly below 0"
    return True, f"not worse: the mean is not below {lowest}"


def alone(candidate: Mapping[str, FoldEvidence], settings: Probe) -> tuple[Verdict, Verdict, Estimate | None]:
    """The gates `data` and `better` where there is no champion, and the candidate's accuracy."""
    data = Verdict("data", True, "no champion to agree with")
    found = accuracy(candidate, settings)
    if found is None:
        return data, Verdict("better", False, "no fold of it was probed; run `dvc repro probe`"), None
    names = [name for name, own in candidate.items() if own.works is not None]
    told = f"no champion to compare with; its accuracy is {found.told()} over {_counted(names)}"
    return data, Verdict("better", True, told), found


def packaged(package: Path) -> Verdict:
    """Whether the package still says of its example what it said when it was made."""
    try:
        away = smoke.deviation(package)
    except smoke.Silent as reason:
        return Verdict("smoke", False, str(reason))
    told = f"its vectors of the example lie {away:.1e} of their norm from the golden ones"
    if away <= smoke.TOLERANCE:
        return Verdict("smoke", True, told)
    return Verdict("smoke", False, f"{told}; allowed are {smoke.TOLERANCE:.0e}")


def accuracy(folds: Mapping[str, FoldEvidence], settings: Probe) -> Estimate | None:
    """Mean test accuracy over the probed folds; None where there is none."""
    works = [own.works for own in folds.values() if own.works is not None]
    if not works:
        return None
    counts = statistics.count([works])
    drawn = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)[:, 0]
    return _estimate(counts.accuracy()[0], statistics.interval(drawn, settings.confidence), settings)


def difference(candidate: list[FoldEvidence], champion: list[FoldEvidence], settings: Probe) -> Estimate:
    """How far the candidate's accuracy lies above the champion's, over the same folds in the same order."""
    tables = [[own.works for own in folds if own.works is not None] for folds in (candidate, champion)]
    counts = statistics.count(tables)
    drawn = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
    low, high = statistics.paired_differences(drawn, settings.confidence)
    own, other = counts.accuracy()
    return _estimate(own - other, (low[0, 1], high[0, 1]), settings)


def _estimate(values: np.ndarray, ends: tuple[np.ndarray, np.ndarray], settings: Probe) -> Estimate:
    return Estimate(float(values.mean()), float(ends[0]), float(ends[1]), settings.confidence)


def _differences(name: str, own: FoldEvidence, other: FoldEvidence) -> list[str]:
    """What of one fold's data is not the same, the challenger's value first."""
    if own.clips_key != other.clips_key or not own.clips_key:
        return [f"{name}: clips_key {_short(own.clips_key)} against {_short(other.clips_key)}"]
    faults = [] if _tested(own) == _tested(other) else [f"{name}: other test works, or other numbers of their clips"]
    known = sorted({*own.settings} & {*other.settings})
    unlike = [key for key in known if own.settings[key] != other.settings[key]]
    for key in unlike:
        if not key.startswith(FEATURES):
            faults.append(f"{name}: {key} {own.settings[key]} against {other.settings[key]}")
    same_settings = not any(key.startswith(FEATURES) for key in unlike)
    if same_settings and own.array != other.array and _of_one_output(own, other):
        faults.append(f"{name}: DVC's hash of {own.seen} {_short(own.array)} against {_short(other.array)}")
    return faults


def _of_one_output(own: FoldEvidence, other: FoldEvidence) -> bool:
    """Whether two hashes are of one thing: of the same file, or both of the folder that holds the files."""
    return own.seen == other.seen or {own.array[-4:], other.array[-4:]} <= {".dir", ""}


def _tested(fold: FoldEvidence) -> list[tuple[str, int]]:
    return [] if fold.works is None else list(zip(fold.works["work"], fold.works["clips"], strict=True))


def _nothing_shared(candidate: Mapping[str, FoldEvidence], champion: Mapping[str, FoldEvidence]) -> str:
    """Why two models have no fold in common."""
    for who, folds in (("the challenger", candidate), ("the champion", champion)):
        if not any(own.works is not None for own in folds.values()):
            return f"no fold of {who} was probed; run `dvc repro probe`"
    return f"no fold in common: {', '.join(candidate)} against {', '.join(champion)}"


def _more(candidate: Mapping[str, FoldEvidence], champion: Mapping[str, FoldEvidence], minimum: int) -> str:
    """How to come by enough folds, and whose are missing."""
    few = [
        who
        for who, folds in (("the challenger", candidate), ("the champion", champion))
        if sum(own.works is not None for own in folds.values()) < minimum
    ]
    whose = f" of {' and '.join(few)}" if few else ""
    return f"set `seeds: {minimum}` in params.yaml and run `dvc repro`; missing are folds{whose}"


def _counted(names: list[str]) -> str:
    return f"{len(names)} fold{'' if len(names) == 1 else 's'} ({', '.join(names)})"


def _short(digest: str) -> str:
    return digest[:12] or "unknown"
