"""Which trials are trained again, from which seeds, and which of them wins."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from symphony2vec.params import Study as Settings
from symphony2vec.study import kinds
from symphony2vec.study.database import PRESENT

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

INTERRUPTED = "interrupted"
DEATHS = 3  # of the worker of one repeat, after which it counts as failed


@dataclass(frozen=True)
class Standing:
    """One of the best trials: its value in the search, what it had drawn, and its value from each further seed; and
    what it is a trial of; `present` marks the setting that params.yaml had when the study began.

    A seed is missing until it is done; not a number says that the training failed.
    """

    number: int
    value: float
    found: dict[str, Any]
    seeds: dict[int, float]
    kind: kinds.Kind = kinds.ALI
    present: bool = False

    @property
    def sound(self) -> bool:
        """Every seed that was tried could be trained."""
        return bool(self.seeds) and not any(map(math.isnan, self.seeds.values()))

    @property
    def mean(self) -> float:
        """Over the further seeds."""
        return statistics.fmean(self.seeds.values()) if self.seeds else math.nan

    @property
    def lowest(self) -> float:
        """Of the further seeds."""
        return min(self.seeds.values())

    @property
    def highest(self) -> float:
        """Of the further seeds."""
        return max(self.seeds.values())


def best(study: Study, count: int) -> list[FrozenTrial]:
    """The complete trials of highest value, the best first; of two equal ones the earlier."""
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))[:count]


def contenders(study: Study, count: int) -> list[FrozenTrial]:
    """The best trials, and after them the setting that the winner would replace, wherever it stands."""
    found = best(study, count)
    present = [trial for trial in best(study, len(study.get_trials(deepcopy=False))) if trial.user_attrs.get(PRESENT)]
    return found + [trial for trial in present[:1] if trial not in found]


def standings(study: Study, repeats: Study, settings: Settings, first_seed: int) -> list[Standing]:
    """The contenders with what is known of them from further seeds, the highest mean first.

    Those of which a seed failed come last: a setting that diverges now and then is no winner.
    """
    known, seeds = _done(repeats), further(first_seed, settings.seeds)
    found = [
        Standing(
            trial.number,
            float(trial.value or 0.0),
            dict(trial.params),
            {seed: known[trial.number, seed] for seed in seeds if (trial.number, seed) in known},
            kinds.of(study),
            trial.user_attrs.get(PRESENT, False),
        )
        for trial in contenders(study, settings.repeated)
    ]
    return sorted(found, key=lambda one: (not one.sound, -one.mean if one.sound else 0.0, -one.value, one.number))


def further(first_seed: int, count: int) -> list[int]:
    """The seeds after that of the fold, from which networks start."""
    return [first_seed + place for place in range(1, count + 1)]


def missing(study: Study, repeats: Study, settings: Settings, first_seed: int) -> list[tuple[FrozenTrial, int]]:
    """The repeats that nobody has done or is doing, seed by seed."""
    running = {
        (trial.user_attrs.get("trial"), trial.user_attrs.get("seed"))
        for trial in repeats.get_trials(deepcopy=False)
        if trial.state.name == "RUNNING"
    }
    taken = running | set(_done(repeats))
    return [
        (trial, seed)
        for seed in further(first_seed, settings.seeds)
        for trial in contenders(study, settings.repeated)
        if (trial.number, seed) not in taken
    ]


def _done(repeats: Study) -> dict[tuple[int, int], float]:
    """The value of every repeat that is done, by trial and seed; not a number where it failed."""
    found: dict[tuple[int, int], float] = {}
    deaths: dict[tuple[int, int], int] = {}
    for pair, state, value, reason in _told(repeats):
        if state == "COMPLETE":
            found[pair] = value
        elif state == "FAIL" and reason and reason != INTERRUPTED:
            found.setdefault(pair, math.nan)
        elif state == "FAIL" and not reason:
            deaths[pair] = deaths.get(pair, 0) + 1
    lost = {pair: math.nan for pair, count in deaths.items() if count >= DEATHS}
    return {**lost, **found}


def _told(repeats: Study) -> Iterator[tuple[tuple[int, int], str, float, str]]:
    for trial in repeats.get_trials(deepcopy=False):
        own = trial.user_attrs
        if "seed" in own:
            value = trial.value if trial.value is not None else math.nan
            yield (own["trial"], own["seed"]), trial.state.name, value, own.get("failure", "")
