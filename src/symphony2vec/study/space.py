"""What a study draws, and the setting of ALI that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from symphony2vec.artifacts import Draw, Project, key_of
from symphony2vec.errors import UserError
from symphony2vec.params import AliSpace, Params, Range, Setting

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

DRAWN = ("learning_rate", "discriminator_learning_rate", "beta_1", "beta_2", "dropout", "latent", "batch")


def suggested(trial: Trial, space: AliSpace) -> dict[str, Any]:
    """One point of the space, by the names of params.yaml."""
    found: dict[str, Any] = {}
    for name in DRAWN:
        values = getattr(space, name)
        if isinstance(values, Range):
            found[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
        else:
            found[name] = trial.suggest_categorical(name, values)
    return found


def setting(found: Mapping[str, Any], params: Params) -> tuple[int, Setting]:
    """The latent size and the setting of one point; numbers are rounded to what is worth writing down."""
    own = {name: found[name] if isinstance(found[name], int) else _short(found[name]) for name in DRAWN}
    latent, betas = int(own.pop("latent")), [own.pop("beta_1"), own.pop("beta_2")]
    base = getattr(params.ali, params.study.ali.base).model_dump()
    return latent, Setting(**{**base, **own, "betas": betas, "epochs": params.study.epochs, "patience": 0})


def conditions(project: Project, params: Params, draw: Draw) -> dict[str, Any]:
    """All that must be the same for two trials to be compared, by the names of params.yaml; and the data."""
    own, ali = params.study, params.ali
    return {
        **given(params),
        "study.averaged": own.averaged,
        "study.ali.latent": own.ali.latent,
        "study.ali.batch": own.ali.batch,
        "ali.probe_every_epochs": ali.probe_every_epochs,
        **{f"ali.crop.{name}": value for name, value in ali.crop.model_dump().items()},
        "features.dynamic_range_db": params.features.dynamic_range_db,
        "the clips of": f"{draw.name} {key_of(project.draw(draw))[:8]}",
        "the spectrograms": key_of(project.feature("mel"))[:8],
    }


def given(params: Params) -> dict[str, Any]:
    """The part of a setting that is not drawn."""
    own, drawn = params.study, {*DRAWN, "betas", "epochs", "patience"}
    base = {name: value for name, value in getattr(params.ali, own.ali.base).model_dump().items() if name not in drawn}
    return {"study.epochs": own.epochs, "study.ali.base": {"setting": own.ali.base, **base}}


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


def _short(value: float) -> float:
    """Four digits; more where they would make a share of 1."""
    short = float(f"{value:.4g}")
    return short if short < 1.0 else value
