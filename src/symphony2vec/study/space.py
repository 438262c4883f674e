"""The search space of a study, and the conditions that must not change while it lasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from symphony2vec.errors import UserError
from symphony2vec.params import AliSpace, Params, Range, TemporalSpace
from symphony2vec.project import Project, SplitFold, key_of
from symphony2vec.study import kinds
from symphony2vec.study.kinds import StudyKind

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial


def suggest_point(trial: Trial, space: AliSpace | TemporalSpace, names: Iterable[str]) -> dict[str, Any]:
    """Return one point of the space, by the names of params.yaml."""
    point: dict[str, Any] = {}
    for name in names:
        values = getattr(space, name)
        if isinstance(values, Range):
            point[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
        else:
            point[name] = trial.suggest_categorical(name, values)
    return point


def contains(space: AliSpace | TemporalSpace, point: Mapping[str, Any]) -> bool:
    """Return whether a point lies in the space; False for an empty point."""

    def is_allowed(name: str, value: Any) -> bool:
        values = getattr(space, name)
        return bool(values.low <= value <= values.high if isinstance(values, Range) else value in values)

    return bool(point) and all(is_allowed(name, value) for name, value in point.items())


def collect_conditions(project: Project, kind: StudyKind, params: Params, fold: SplitFold) -> dict[str, Any]:
    """Return what must be equal for two trials to be compared: settings by the names of params.yaml, and the data."""
    return {
        **kind.fixed_settings(params),
        "study.averaged_probes": params.study.averaged_probes,
        **kind.choices(params),
        **kind.evaluation_settings(params),
        "features.dynamic_range_db": params.features.dynamic_range_db,
        "the clips of": f"{fold.name} {key_of(project.fold(fold))[:8]}",
        "the spectrograms": key_of(project.feature("mel"))[:8],
    }


def begin_or_resume(study: Study, kind: StudyKind, conditions: Mapping[str, Any], location: str) -> None:
    """Record the kind and the conditions of a new study; check that they are the same if it is resumed.

    Raises:
        UserError: The study is of another kind, or was begun under other conditions.
    """
    if "conditions" not in study.user_attrs:
        study.set_user_attr("kind", kind.name)
        study.set_user_attr("conditions", conditions)
    if kinds.kind_of(study) is not kind:
        raise UserError(
            f"study '{study.study_name}' in {location} is a study of {kinds.kind_of(study).name}, not of {kind.name}; "
            "begin another study with --name"
        )
    check_conditions(study, conditions, location)


def check_conditions(study: Study, conditions: Mapping[str, Any], location: str) -> None:
    """Check that a study was begun under these conditions, because its trials are compared with each other.

    Raises:
        UserError: One of the conditions differs.
    """
    recorded = study.user_attrs["conditions"]
    for key, value in conditions.items():
        if recorded.get(key) != value:
            raise UserError(
                f"study '{study.study_name}' in {location} began with {key} {recorded.get(key)}, now it is {value}. "
                "Its trials could not be compared: restore that value, or begin another study with --name"
            )
