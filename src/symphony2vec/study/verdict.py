"""Select the trials that are repeated from further seeds, and rank them by the mean of the repeats."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from symphony2vec.params import Study as StudyParams
from symphony2vec.study import kinds
from symphony2vec.study.database import CURRENT_SETTING, MAX_ATTEMPTS

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Finalist:
    """One of the best trials, with its repeats.

    Attributes:
        number: Number of the trial.
        value: Its value in the search.
        point: Its hyperparameters.
        repeats: Value by further seed; without the seeds that are not finished, NaN where the training failed.
        kind: What it is a trial of.
        is_current: Whether it is the setting that params.yaml had when the study began.
    """

    number: int
    value: float
    point: dict[str, Any]
    repeats: dict[int, float]
    kind: kinds.StudyKind = kinds.ALI
    is_current: bool = False

    @property
    def is_stable(self) -> bool:
        """Return whether no repeat failed (and there is at least one)."""
        return bool(self.repeats) and not any(map(math.isnan, self.repeats.values()))

    @property
    def mean(self) -> float:
        """Mean over the repeats; NaN without repeats."""
        return statistics.fmean(self.repeats.values()) if self.repeats else math.nan

    @property
    def lowest(self) -> float:
        """Lowest value of the repeats."""
        return min(self.repeats.values())

    @property
    def highest(self) -> float:
        """Highest value of the repeats."""
        return max(self.repeats.values())


def best_trials(study: Study, count: int) -> list[FrozenTrial]:
    """Return the complete trials of highest value, best first; the earlier of two equal ones first."""
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))[:count]


def select_finalists(study: Study, count: int) -> list[FrozenTrial]:
    """Return the best trials, followed by the setting that the winner would replace if it is not among them."""
    ordered = best_trials(study, len(study.get_trials(deepcopy=False)))
    current = [trial for trial in ordered if trial.user_attrs.get(CURRENT_SETTING)]
    return ordered[:count] + [trial for trial in current[:1] if trial not in ordered[:count]]


def rank_finalists(study: Study, repeats: Study, settings: StudyParams, first_seed: int) -> list[Finalist]:
    """Return the finalists, the highest mean over the repeats first; those with a failed repeat come last."""
    values, seeds = _repeat_values(repeats), repeat_seeds(first_seed, settings.seeds)
    finalists = [
        Finalist(
            trial.number,
            float(trial.value or 0.0),
            dict(trial.params),
            {seed: values[trial.number, seed] for seed in seeds if (trial.number, seed) in values},
            kinds.kind_of(study),
            trial.user_attrs.get(CURRENT_SETTING, False),
        )
        for trial in select_finalists(study, settings.repeated_trials)
    ]

    def rank(trial: Finalist) -> tuple[bool, float, float, int]:
        return not trial.is_stable, -trial.mean if trial.is_stable else 0.0, -trial.value, trial.number

    return sorted(finalists, key=rank)


def repeat_seeds(first_seed: int, count: int) -> list[int]:
    """Return the seeds of the repeats, which follow that of the fold.

    Examples:
        >>> repeat_seeds(0, 3)
        [1, 2, 3]
    """
    return [first_seed + offset for offset in range(1, count + 1)]


def missing_repeats(
    study: Study, repeats: Study, settings: StudyParams, first_seed: int
) -> list[tuple[FrozenTrial, int]]:
    """Return the trials and seeds of the repeats that are neither finished nor running, seed by seed."""
    running = {
        (trial.user_attrs.get("trial"), trial.user_attrs.get("seed"))
        for trial in repeats.get_trials(deepcopy=False)
        if trial.state.name == "RUNNING"
    }
    unavailable = running | set(_repeat_values(repeats))
    return [
        (trial, seed)
        for seed in repeat_seeds(first_seed, settings.seeds)
        for trial in select_finalists(study, settings.repeated_trials)
        if (trial.number, seed) not in unavailable
    ]


def _repeat_values(repeats: Study) -> dict[tuple[int, int], float]:
    """Return the value of every finished repeat by trial and seed.

    NaN means that the training failed, or that its worker died in each of `MAX_ATTEMPTS` attempts.
    """
    values: dict[tuple[int, int], float] = {}
    deaths: dict[tuple[int, int], int] = {}
    for trial in repeats.get_trials(deepcopy=False):
        if "seed" not in trial.user_attrs:
            continue
        pair, reason = (trial.user_attrs["trial"], trial.user_attrs["seed"]), trial.user_attrs.get("failure", "")
        if trial.state.name == "COMPLETE":
            values[pair] = trial.value if trial.value is not None else math.nan
        elif trial.state.name == "FAIL" and not reason:
            deaths[pair] = deaths.get(pair, 0) + 1
        elif trial.state.name == "FAIL" and reason != INTERRUPTED:
            values.setdefault(pair, math.nan)
    return {**{pair: math.nan for pair, count in deaths.items() if count >= MAX_ATTEMPTS}, **values}
