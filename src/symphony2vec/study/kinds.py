"""The two models that can be studied, and all that differs between their studies.

What is drawn, and the setting that it makes; how one setting is trained and looked at; where the winner is written. The
rest of the room asks a `Kind`, and finds it by the study (`of`).
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
    from symphony2vec.models.training.source import Source


@dataclass(frozen=True)
class Attempt:
    """One training, as `loop.fit` takes it; `look` tells of validation clips, `judge` names the figure that counts."""

    learner: Learner
    rows: np.ndarray
    schedule: Schedule
    look: Callable[[], dict[str, float]]
    judge: str


class Kind(ABC):
    """One of the models that can be studied.

    name: its stage, its section of `study`, and the name of its study where none is given; searched: the setting that a
    winner becomes; drawn: the names in its space, in their order; replaces: whether a winner of another latent size
    takes the place of an earlier one in the list of models, or stands beside it; shown: of what was drawn, the heading
    of a table for a terminal.
    """

    name: str
    searched: str
    drawn: tuple[str, ...]
    replaces: bool
    shown: str

    @abstractmethod
    def space(self, params: Params) -> AliSpace | TemporalSpace:
        """What is drawn from."""

    @abstractmethod
    def setting(self, found: Mapping[str, Any], params: Params) -> tuple[int, Any]:
        """The latent size and the setting of one point; numbers are rounded to what is worth writing down."""

    @abstractmethod
    def given(self, params: Params) -> dict[str, Any]:
        """The part of a setting that is not drawn."""

    @abstractmethod
    def watched(self, params: Params) -> dict[str, Any]:
        """How a training is looked at, by the names of params.yaml."""

    @abstractmethod
    def parameters(self, params: Params, setting: Any, latent: int) -> dict[str, Any]:
        """The flat parameters of one training, as the stage tells them to MLflow."""

    @abstractmethod
    def heard(self, task: Task, array: np.ndarray, params: Params) -> Any:
        """Spectrograms (clips, F, T) and rows, for all trials of a worker; no test clip is among the rows."""

    @abstractmethod
    def attempt(self, heard: Any, latent: int, setting: Any, params: Params, seed: int) -> Attempt:
        """One training, not begun yet."""

    @abstractmethod
    def told(self, found: Mapping[str, Any]) -> str:
        """What was drawn, under the heading `shown`."""

    def present(self, params: Params) -> dict[str, Any]:
        """What was drawn, as it is in the setting that a winner replaces; {} where it stands beside all others."""
        return {}

    def choices(self, params: Params) -> dict[str, list[Any]]:
        """What is drawn from a list, by the names of params.yaml."""
        return {f"study.{self.name}.{name}": own for name, own in self.space(params) if isinstance(own, list)}

    def command(self, name: str) -> str:
        """The command that begins or goes on with the study of this name."""
        return f"symphony2vec study {self.name}" + (f" --name {name}" if name != self.name else "")


class _Ali(Kind):
    name, searched, replaces = "ali", "searched", True
    drawn = tuple(name for name in AliSpace.model_fields if name != "base")
    shown = "latent  batch  learning rates (D)"

    def space(self, params: Params) -> AliSpace:
        return params.study.ali

    def setting(self, found: Mapping[str, Any], params: Params) -> tuple[int, Setting]:
        own = {name: _short(found[name]) for name in self.drawn}
        latent, betas = own.pop("latent"), [own.pop("beta_1"), own.pop("beta_2")]
        base = getattr(params.ali, params.study.ali.base).model_dump()
        return latent, Setting(**{**base, **own, "betas": betas, "epochs": params.study.epochs, "patience": 0})

    def given(self, params: Params) -> dict[str, Any]:
        own, changed = params.study, {*self.drawn, "betas", "epochs", "patience"}
        setting = getattr(params.ali, own.ali.base).model_dump()
        base = {name: value for name, value in setting.items() if name not in changed}
        return {"study.epochs": own.epochs, "study.ali.base": {"setting": own.ali.base, **base}}

    def watched(self, params: Params) -> dict[str, Any]:
        crop = {f"ali.crop.{name}": value for name, value in params.ali.crop.model_dump().items()}
        return {"ali.probe_every_epochs": params.ali.probe_every_epochs, **crop}

    def parameters(self, params: Params, setting: Setting, latent: int) -> dict[str, Any]:
        return ali.settings(params, setting, latent)

    def heard(self, task: Task, array: np.ndarray, params: Params) -> Any:
        scaled = scaling.unit("mel", array.shape[1], params.features.dynamic_range_db)
        source = Source(array, scaled, loop.device())
        return FoldData(source, task.codes, task.rows("train"), task.rows("validation"))

    def attempt(self, heard: Any, latent: int, setting: Setting, params: Params, seed: int) -> Attempt:
        learner = ali_attempt.build_learner(heard, latent, setting, params.ali.crop, seed)
        schedule = ali_attempt.make_schedule(setting, params.ali.probe_every_epochs, seed)
        return Attempt(
            learner, heard.training, schedule, lambda: ali_attempt.evaluate(learner, heard), watch.PROBE_ACCURACY
        )

    def told(self, found: Mapping[str, Any]) -> str:
        rates = f"{found['learning_rate']:.2g} ({found['discriminator_learning_rate']:.2g})"
        return f"{found['latent']:>6}{found['batch']:>7}  {rates}"


@dataclass(frozen=True)
class _Heard:
    """What the temporal ALI hears of one fold: the clips, their composers and movements as numbers (clips,), and the
    rows of two of the three sides."""

    source: Source
    codes: np.ndarray
    movements: np.ndarray
    training: np.ndarray
    validation: np.ndarray


class _Temporal(Kind):
    name, searched, replaces = "temporal", "full", False
    drawn = tuple(name for name in TemporalSpace.model_fields if name != "epochs")
    shown = "adversary  reconstruction  contrast  temperature  learning rates (D)    masks, shift  latent"

    def space(self, params: Params) -> TemporalSpace:
        return params.study.temporal

    def setting(self, found: Mapping[str, Any], params: Params) -> tuple[int, TemporalSetting]:
        own = {name: _short(found[name]) for name in self.drawn}
        latent, full = own.pop("latent"), params.temporal.full.model_dump()
        return latent, TemporalSetting(**{**full, **own, "epochs": params.study.temporal.epochs})

    def present(self, params: Params) -> dict[str, Any]:
        sizes = [int(model.rpartition("-")[2]) for model in params.temporal.models if model.startswith("full-")]
        found = {**params.temporal.full.model_dump(), "latent": sizes[0] if sizes else None}
        return {name: found[name] for name in self.drawn}

    def given(self, params: Params) -> dict[str, Any]:
        changed, full = {*self.drawn, "epochs"}, params.temporal.full.model_dump()
        base = {f"temporal.full.{name}": value for name, value in full.items() if name not in changed}
        return {"study.temporal": list(self.drawn), "study.temporal.epochs": params.study.temporal.epochs, **base}

    def watched(self, params: Params) -> dict[str, Any]:
        return {"temporal.probe_every_epochs": params.temporal.probe_every_epochs}

    def parameters(self, params: Params, setting: TemporalSetting, latent: int) -> dict[str, Any]:
        return temporal.settings(params, setting, latent)

    def heard(self, task: Task, array: np.ndarray, params: Params) -> _Heard:
        training = task.rows("train")
        source = Source(array, scaling.standard(array, training), loop.device())
        return _Heard(source, task.codes, temporal.number_movements(task), training, task.rows("validation"))

    def attempt(self, heard: _Heard, latent: int, setting: TemporalSetting, params: Params, seed: int) -> Attempt:
        temporal.check_setting(heard.source.shape, self.searched, setting)
        if setting.unlabelled:
            raise UserError('a study hears the project\'s own clips alone; set temporal.full.unlabelled to ""')
        learner = TemporalLearner(heard.source, heard.training, heard.movements, latent, setting, seed)

        def look() -> dict[str, float]:
            return temporal_attempt.evaluate(learner, heard.codes, heard.training, heard.validation)

        schedule = temporal_attempt.make_schedule(setting, params.temporal.probe_every_epochs, seed)
        return Attempt(learner, heard.training, schedule, look, watch.PROBE_ACCURACY)

    def told(self, found: Mapping[str, Any]) -> str:
        rates = f"{found['learning_rate']:.2g} ({found['discriminator_learning_rate']:.2g})"
        weights = f"{found['adversary']:>9.2g}{found['reconstruction']:>16.2g}{found['contrast']:>10.2g}"
        changes = f"{found['masked_bins']}, {found['masked_frames']}, {found['shifted_bins']}"
        return f"{weights}{found['temperature']:>13.2g}  {rates:<20}{changes:>14}{found['latent']:>8}"


ALI, TEMPORAL = _Ali(), _Temporal()
KINDS: dict[str, Kind] = {kind.name: kind for kind in (ALI, TEMPORAL)}


def of(study: Study) -> Kind:
    """What a study is about; one that does not say so was begun when only ALI could be studied."""
    return KINDS[study.user_attrs.get("kind", ALI.name)]


def _short(value: Any) -> Any:
    """A whole number as it is, another with four digits; more where they would make 1 of a share."""
    short = float(f"{value:.4g}")
    return value if isinstance(value, int) or value < 1.0 <= short else short
