"""What a study draws, and what must stay the same while it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from symphony2vec.errors import UserError
from symphony2vec.params import AliSpace, Params, Range, TemporalSpace
from symphony2vec.project import Project, SplitFold, key_of
from symphony2vec.study import kinds
from symphony2vec.study.kinds import Kind

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial


def suggested(trial: Trial, space: AliSpace | TemporalSpace, names: Iterable[str]) -> dict[str, Any]:
    """One point of the space, by the names of params.yaml."""
    found: dict[str, Any] = {}
    for name in names:
        values = getattr(space, name)
        if isinstance(values, Range):
            found[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
        else:
            found[name] = trial.suggest_categorical(name, values)
    return found


def holds(space: AliSpace | TemporalSpace, found: Mapping[str, Any]) -> bool:
    """Whether a point lies in the space; the empty one does not."""
    within = []
    for name, value in found.items():
        values = getattr(space, name)
        within.append(values.low <= value <= values.high if isinstance(values, Range) else value in values)
    return bool(within) and all(within)


def begun(study: Study, kind: Kind, now: Mapping[str, Any], where: str) -> None:
    """A study notes what it is about and its conditions as it begins; later they must be the same.

    Raises:
        UserError: it is about another model, or was begun under other conditions.
    """
    if "conditions" not in study.user_attrs:
        study.set_user_attr("kind", kind.name)
        study.set_user_attr("conditions", now)
    if kinds.of(study) is not kind:
        raise UserError(
            f"the study '{study.study_name}' in {where} is one of {kinds.of(study).name}, not of {kind.name}; "
            "begin another study with --name"
        )
    agreed(study, now, where)


def conditions(project: Project, kind: Kind, params: Params, fold: SplitFold) -> dict[str, Any]:
    """All that must be the same for two trials to be compared, by the names of params.yaml; and the data."""
    return {
        **kind.given(params),
        "study.averaged": params.study.averaged,
        **kind.choices(params),
        **kind.watched(params),
        "features.dynamic_range_db": params.features.dynamic_range_db,
        "the clips of": f"{fold.name} {key_of(project.fold(fold))[:8]}",
        "the spectrograms": key_of(project.feature("mel"))[:8],
    }


def agreed(study: Study, now: Mapping[str, Any], where: str) -> None:
    """The trials of a study are compared, so all of them must have been made under the same conditions.

    Raises:
        UserError: one of these conditions was another when the study was begun.
    """
    before = study.user_attrs["conditions"]
    for key, value in now.items():
        if before.get(key) != value:
            raise UserError(
                f"the study '{study.study_name}' in {where} was begun with {key} {before.get(key)}, now it is {value}; "
                "its trials could not be compared. Put that back, or begin another study with --name"
            )
