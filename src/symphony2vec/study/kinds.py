"""The two models that can be studied, and everything in which their studies differ.

A `StudyKind` knows its search space, how a point of it becomes a setting, how one setting is trained and evaluated, and
where the winner is written. The rest of the package gets the kind from the study (`kind_of`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from symphony2vec.errors import UserError
from symphony2vec.models.ali import attempt as ali_attempt
from symphony2vec.models.ali import stage as ali
from symphony2vec.models.ali.attempt import FoldData
from symphony2vec.models.temporal import attempt as temporal_attempt
from symphony2vec.models.temporal import stage as temporal
from symphony2vec.models.temporal.learner import TemporalLearner
from symphony2vec.models.training import loop, watch
from symphony2vec.models.training.source import Source
from symphony2vec.package import scaling
from symphony2vec.params import AliSpace, Params, Setting, TemporalSetting, TemporalSpace

if TYPE_CHECKING:
    from optuna import Study

    from symphony2vec.models.training.folds import Task
    from symphony2vec.models.training.loop import Learner, Schedule

Point = Mapping[str, Any]  # a point of the search space, by the names of params.yaml


@dataclass(frozen=True)
class Training:
    """One training, as `loop.fit` takes it.

    `evaluate` returns losses and accuracy on validation clips; `metric` names the one that scores the trial.
    """

    learner: Learner
    rows: np.ndarray
    schedule: Schedule
    evaluate: Callable[[], dict[str, float]]
    metric: str


class StudyKind(ABC):
    """A model that can be studied.

    Attributes:
        name: Its stage, its section of `study`, and the default name of its study.
        setting_name: The setting that the winner becomes.
        param_names: The hyperparameters searched, in order.
        replaces_winner: Whether a winner of another latent size replaces an earlier one in the list of models or is
            added to it.
        heading: Table heading for the searched values, for a terminal.
    """

    name: str
    setting_name: str
    param_names: tuple[str, ...]
    replaces_winner: bool
    heading: str

    @abstractmethod
    def space(self, params: Params) -> AliSpace | TemporalSpace:
        """Return the search space."""

    @abstractmethod
    def make_setting(self, point: Point, params: Params) -> tuple[int, Any]:
        """Return the latent size and the setting of a point, with numbers rounded as params.yaml will have them."""

    @abstractmethod
    def fixed_settings(self, params: Params) -> dict[str, Any]:
        """Return the part of a setting that is not searched."""

    @abstractmethod
    def evaluation_settings(self, params: Params) -> dict[str, Any]:
        """Return how a training is evaluated, by the names of params.yaml."""

    @abstractmethod
    def run_params(self, params: Params, setting: Any, latent: int) -> dict[str, Any]:
        """Return the flat parameters of one training, as the model's stage logs them to MLflow."""

    @abstractmethod
    def prepare_data(self, task: Task, array: np.ndarray, params: Params) -> Any:
        """Return the spectrograms (clips, F, T) and the rows for all trials of a worker; no row is a test clip."""

    @abstractmethod
    def prepare_training(self, data: Any, latent: int, setting: Any, params: Params, seed: int) -> Training:
        """Return one training that has not been started."""

    @abstractmethod
    def format_point(self, point: Point) -> str:
        """Return the searched values as a row below `heading`."""

    def current_point(self, params: Params) -> dict[str, Any]:
        """Return the point of the setting that a winner would replace; {} if it would replace none."""
        return {}

    def choices(self, params: Params) -> dict[str, list[Any]]:
        """Return the categorical dimensions of the space, by the names of params.yaml."""
        return {f"study.{self.name}.{name}": values for name, values in self.space(params) if isinstance(values, list)}

    def command(self, name: str) -> str:
        """Return the command that begins or resumes the study of this name."""
        return f"symphony2vec study {self.name}" + (f" --name {name}" if name != self.name else "")


class _Ali(StudyKind):
    name, setting_name, replaces_winner = "ali", "searched", True
    param_names = tuple(name for name in AliSpace.model_fields if name != "base")
    heading = "latent  batch  learning rates (D)"

    def space(self, params: Params) -> AliSpace:
        return params.study.ali

    def make_setting(self, point: Point, params: Params) -> tuple[int, Setting]:
        values = {name: _round(point[name]) for name in self.param_names}
        latent, betas = values.pop("latent"), [values.pop("beta_1"), values.pop("beta_2")]
        base = getattr(params.ali, params.study.ali.base).model_dump()
        return latent, Setting(**{**base, **values, "betas": betas, "epochs": params.study.epochs, "patience": 0})

    def fixed_settings(self, params: Params) -> dict[str, Any]:
        base, changed = params.study.ali.base, {*self.param_names, "betas", "epochs", "patience"}
        setting = getattr(params.ali, base).model_dump()
        fixed = {name: value for name, value in setting.items() if name not in changed}
        return {"study.epochs": params.study.epochs, "study.ali.base": {"setting": base, **fixed}}

    def evaluation_settings(self, params: Params) -> dict[str, Any]:
        crop = {f"ali.crop.{name}": value for name, value in params.ali.crop.model_dump().items()}
        return {"ali.probe_every_epochs": params.ali.probe_every_epochs, **crop}

    def run_params(self, params: Params, setting: Setting, latent: int) -> dict[str, Any]:
        return ali.settings(params, setting, latent)

    def prepare_data(self, task: Task, array: np.ndarray, params: Params) -> Any:
        scaled = scaling.unit("mel", array.shape[1], params.features.dynamic_range_db)
        source = Source(array, scaled, loop.device())
        return FoldData(source, task.codes, task.rows("train"), task.rows("validation"))

    def prepare_training(self, data: Any, latent: int, setting: Setting, params: Params, seed: int) -> Training:
        learner = ali_attempt.build_learner(data, latent, setting, params.ali.crop, seed)
        schedule = ali_attempt.make_schedule(setting, params.ali.probe_every_epochs, seed)
        return Training(
            learner, data.training, schedule, lambda: ali_attempt.evaluate(learner, data), watch.PROBE_ACCURACY
        )

    def format_point(self, point: Point) -> str:
        return f"{point['latent']:>6}{point['batch']:>7}  {_format_rates(point)}"


@dataclass(frozen=True)
class _TemporalData:
    """One fold for the temporal ALI: the clips, their composers and movements as codes (clips,), and the rows of the
    training and validation split."""

    source: Source
    codes: np.ndarray
    movements: np.ndarray
    training: np.ndarray
    validation: np.ndarray


class _Temporal(StudyKind):
    name, setting_name, replaces_winner = "temporal", "full", False
    param_names = tuple(name for name in TemporalSpace.model_fields if name != "epochs")
    heading = "adversary  reconstruction  contrast  temperature  learning rates (D)    masks, shift  latent"

    def space(self, params: Params) -> TemporalSpace:
        return params.study.temporal

    def make_setting(self, point: Point, params: Params) -> tuple[int, TemporalSetting]:
        values = {name: _round(point[name]) for name in self.param_names}
        latent, full = values.pop("latent"), params.temporal.full.model_dump()
        return latent, TemporalSetting(**{**full, **values, "epochs": params.study.temporal.epochs})

    def current_point(self, params: Params) -> dict[str, Any]:
        sizes = [int(model.rpartition("-")[2]) for model in params.temporal.models if model.startswith("full-")]
        values = {**params.temporal.full.model_dump(), "latent": sizes[0] if sizes else None}
        return {name: values[name] for name in self.param_names}

    def fixed_settings(self, params: Params) -> dict[str, Any]:
        changed, full = {*self.param_names, "epochs"}, params.temporal.full.model_dump()
        fixed = {f"temporal.full.{name}": value for name, value in full.items() if name not in changed}
        searched, epochs = list(self.param_names), params.study.temporal.epochs
        return {"study.temporal": searched, "study.temporal.epochs": epochs, **fixed}

    def evaluation_settings(self, params: Params) -> dict[str, Any]:
        return {"temporal.probe_every_epochs": params.temporal.probe_every_epochs}

    def run_params(self, params: Params, setting: TemporalSetting, latent: int) -> dict[str, Any]:
        return temporal.settings(params, setting, latent)

    def prepare_data(self, task: Task, array: np.ndarray, params: Params) -> _TemporalData:
        training = task.rows("train")
        source = Source(array, scaling.standard(array, training), loop.device())
        return _TemporalData(source, task.codes, temporal.number_movements(task), training, task.rows("validation"))

    def prepare_training(
        self, data: _TemporalData, latent: int, setting: TemporalSetting, params: Params, seed: int
    ) -> Training:
        temporal.check_setting(data.source.shape, self.setting_name, setting)
        if setting.unlabelled:
            raise UserError('a study uses the clips of its own project only; set temporal.full.unlabelled to ""')
        learner = TemporalLearner(data.source, data.training, data.movements, latent, setting, seed)

        def evaluate() -> dict[str, float]:
            return temporal_attempt.evaluate(learner, data.codes, data.training, data.validation)

        schedule = temporal_attempt.make_schedule(setting, params.temporal.probe_every_epochs, seed)
        return Training(learner, data.training, schedule, evaluate, watch.PROBE_ACCURACY)

    def format_point(self, point: Point) -> str:
        adversarial, contrastive = point["adversarial_weight"], point["contrastive_weight"]
        weights = f"{adversarial:>9.2g}{point['reconstruction_weight']:>16.2g}{contrastive:>10.2g}"
        masks = f"{point['mask_bins']}, {point['mask_frames']}, {point['shift_bins']}"
        return f"{weights}{point['temperature']:>13.2g}  {_format_rates(point):<20}{masks:>14}{point['latent']:>8}"


ALI, TEMPORAL = _Ali(), _Temporal()
KINDS: dict[str, StudyKind] = {kind.name: kind for kind in (ALI, TEMPORAL)}


def kind_of(study: Study) -> StudyKind:
    """Return the kind of a study; ALI for one that was begun before kinds were recorded."""
    return KINDS[study.user_attrs.get("kind", ALI.name)]


def _format_rates(point: Point) -> str:
    return f"{point['learning_rate']:.2g} ({point['discriminator_learning_rate']:.2g})"


def _round(value: Any) -> Any:
    """Return a float with four significant digits, unless they would round a share below 1 up to 1."""
    rounded = float(f"{value:.4g}")
    return value if isinstance(value, int) or value < 1.0 <= rounded else rounded
