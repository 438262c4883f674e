"""params.yaml as typed, checked sections.

Every key of the file has a field here with its type and its bounds. A key that is unknown, missing or ill-typed raises
`UserError` with the name of the key, the value, and the closest key that exists.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from symphony2vec.errors import UserError

T = TypeVar("T")
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0.0)]
Share0 = Annotated[float, Field(ge=0.0, lt=1.0)]
Batch = Annotated[int, Field(ge=2)]  # batch normalisation has no deviation of one
ALI_NAME = r"^(paper|original|long|public|searched|encoder)-[1-9][0-9]{0,3}$"
AliName = Annotated[str, Field(pattern=ALI_NAME)]
TEMPORAL_NAME = r"^[a-z][a-z0-9_]*-[1-9][0-9]{0,3}$"
TemporalName = Annotated[str, Field(pattern=TEMPORAL_NAME)]
PartName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Section(BaseModel):
    """A section of params.yaml: unknown keys and silent conversions are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Corpus(Section):
    """Which folder of `data/` is played."""

    name: FolderName


class Audio(Section):
    """How recordings are decoded and scores are played; levels in dB, rates in Hz."""

    sample_rate_hz: Annotated[int, Field(ge=4000, le=192000)]
    loudness_lufs: Annotated[float, Field(ge=-70.0, le=-5.0)]
    peak_dbfs: Annotated[float, Field(le=0.0, ge=-40.0)]
    silence_db: Positive
    soundfont: str
    orchestration: Literal["score", "strings"]
    dynamics: Literal["fixed", "score"]
    velocity: Annotated[int, Field(ge=1, le=127)]
    tempo: Literal["fixed", "score"]
    beats_per_minute: Annotated[float, Field(ge=10.0, le=1000.0)]


class Clips(Section):
    """How movements are cut into clips and clips are split by composer and work."""

    duration_s: Annotated[float, Field(ge=0.5, le=3600.0)]
    overlap: Annotated[float, Field(ge=0.0, le=0.99)]
    max_per_movement: Annotated[int, Field(ge=0)]
    max_per_composer: Annotated[int, Field(ge=0)]
    minimum_fill: Annotated[float, Field(gt=0.0, le=1.0)]
    splits: Annotated[list[Literal["work", "movement", "clip"]], Field(min_length=1)]
    fallback: Literal["movement", "none"]
    validation: Share
    test: Share
    composers: list[str]
    small_composers: Literal["error", "drop"]
    alike_works: Literal["error", "allow"]
    leak_seeds: Count
    seed: Annotated[int, Field(ge=0)]

    @field_validator("splits")
    @classmethod
    def _each_once(cls, splits: list[str]) -> list[str]:
        if len(set(splits)) < len(splits):
            raise ValueError("a split is named twice")
        return splits

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Clips:
        if self.validation + self.test >= 1.0:
            raise ValueError(
                f"validation ({self.validation}) and test ({self.test}) leave no clip to train on; "
                "their sum must be below 1"
            )
        return self


class Features(Section):
    """Settings of the three representations."""

    fft_samples: Annotated[int, Field(ge=64)]
    hop_samples: Count
    mel_bands: Count
    mfcc_coefficients: Annotated[int, Field(ge=2, le=128)]
    chroma_bins: Count
    dynamic_range_db: Positive


class Labels(Section):
    """When a label counts as known."""

    minimum_notes: Count


class Network(Section):
    """How one kind of network is trained by Adam."""

    batch: Batch
    learning_rate: Positive
    weight_decay: NotNegative
    epochs: Count


class Lstm(Network):
    """How the LSTM is trained, and the length of the chunks that it hears."""

    chunk_frames: Count


class Classifiers(Section):
    """Settings of the supervised networks."""

    ff: Network
    cnn: Network
    fair_cnn: Network
    lstm: Lstm


class Pca(Section):
    """Settings of the PCA embedding."""

    batch_clips: Count


class Contractive(Network):
    """How the contractive autoencoder is trained, and the weight of its penalty."""

    contraction: NotNegative


class Embeddings(Section):
    """Settings of the baseline embeddings."""

    dimensions: Annotated[int, Field(ge=2)]
    probe_every_epochs: Count
    pca: Pca
    ae: Network
    cae: Contractive
    vae: Network


class Crop(Section):
    """Which part of a mel spectrogram ALI hears."""

    bands: Literal["low", "high", "random"]
    frames: Literal["random", "middle"]


class Setting(Section):
    """One way to train ALI: Adam's learning rates (the first of encoder and generator) and betas, and all the rest."""

    batch: Batch
    learning_rate: Positive
    discriminator_learning_rate: Positive
    betas: Annotated[list[Share0], Field(min_length=2, max_length=2)]
    epochs: Count
    patience: Annotated[int, Field(ge=0)]
    dropout: Share0
    batch_norm: bool
    gate: NotNegative
    instance_noise: NotNegative


class Ali(Section):
    """Settings of ALI: `models` names what is trained, as <setting>-<latent size>."""

    models: Annotated[list[AliName], Field(min_length=1)]
    crop: Crop
    probe_every_epochs: Count
    samples_every_epochs: Count
    paper: Setting
    original: Setting
    long: Setting
    public: Setting
    searched: Setting
    encoder: Network


class TemporalSetting(Section):
    """One way to train the temporal ALI; the weights of its losses come first, 0 for one that has no part."""

    adversary: NotNegative
    reconstruction: NotNegative
    contrast: NotNegative
    positives: Literal["movement", "clip"]
    unlabelled: str
    temperature: Positive
    unary: bool
    step_latent: Annotated[int, Field(ge=0, le=1024)]
    width: Annotated[int, Field(ge=2, le=512)]
    frames: Annotated[int, Field(ge=16)]
    masked_bins: Annotated[int, Field(ge=0)]
    masked_frames: Annotated[int, Field(ge=0)]
    shifted_bins: Annotated[int, Field(ge=0)]
    level: NotNegative
    tempo: Share0
    batch: Batch
    played: Batch
    learning_rate: Positive
    discriminator_learning_rate: Positive
    betas: Annotated[list[Share0], Field(min_length=2, max_length=2)]
    average: Share0
    epochs: Count

    @model_validator(mode="after")
    def _leaves_something_to_hear(self) -> TemporalSetting:
        if self.masked_frames >= self.frames:
            raise ValueError(f"masked_frames ({self.masked_frames}) must be below frames ({self.frames})")
        return self


class Temporal(Section):
    """Settings of the temporal ALI: `models` names what is trained, as <setting>-<latent size>.

    A setting is `full`, or one of `parts`: `full` with some of its values changed.
    """

    models: Annotated[list[TemporalName], Field(min_length=1)]
    probe_every_epochs: Count
    samples_every_epochs: Count
    full: TemporalSetting
    parts: dict[PartName, dict[str, Any]]

    @property
    def names(self) -> list[str]:
        """All settings."""
        return ["full", *self.parts]

    def setting(self, name: str) -> TemporalSetting:
        """The setting of this name."""
        return TemporalSetting.model_validate({**self.full.model_dump(), **self.parts.get(name, {})})

    @model_validator(mode="after")
    def _parts_are_settings(self) -> Temporal:
        if "full" in self.parts:
            raise ValueError("a part cannot be named full")
        for name in self.parts:
            try:
                self.setting(name)
            except ValidationError as fault:
                faults = [_explained({**error, "loc": ("temporal", "full", *error["loc"])}) for error in fault.errors()]
                own = (line.replace("temporal.full", f"parts.{name}", 1) for line in faults)  # a hint names full's key
                raise ValueError("; ".join(own)) from None
        unknown = [model for model in self.models if model.rpartition("-")[0] not in self.names]
        if unknown:
            raise ValueError(f"{unknown[0]} is none of {', '.join(self.names)} with a latent size")
        return self


class Probe(Section):
    """Settings of the logistic regression and of its interval."""

    strengths: Annotated[list[Positive], Field(min_length=1)]
    max_iterations: Count
    bootstrap_resamples: Count
    confidence: Share
    seed: Annotated[int, Field(ge=0)]


class Meaning(Section):
    """What vectors are asked about music: penalties of the ridge, C of the logistic regression, the fewest clips."""

    penalties: Annotated[list[Positive], Field(min_length=1)]
    strengths: Annotated[list[Positive], Field(min_length=1)]
    minimum_clips: Count
    shown: list[str]


class Registry(Section):
    """When a challenger becomes champion; the margin is a share of the test clips."""

    minimum_folds: Count
    margin: Share0


class Range(Section):
    """Numbers that a study draws from, both ends included."""

    low: NotNegative
    high: Positive
    log: bool

    @model_validator(mode="after")
    def _holds_something(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.log and self.low == 0.0:
            raise ValueError("a logarithmic scale has no 0; low must be above it")
        return self


class Rates(Range):
    """A range of numbers above 0."""

    low: Positive


class Shares(Range):
    """A range of shares below 1."""

    high: Share


def _each_once(values: list[T]) -> list[T]:
    if len(set(values)) < len(values):
        raise ValueError("a value is named twice")
    return values


Latent = Annotated[int, Field(ge=1, le=9999)]
Choices = Annotated[list[T], Field(min_length=1), AfterValidator(_each_once)]


class AliSpace(Section):
    """What the study of ALI draws from, and the setting that gives what it does not."""

    base: Literal["paper", "original", "long", "public"]
    learning_rate: Rates
    discriminator_learning_rate: Rates
    beta_1: Shares
    beta_2: Shares
    dropout: Shares
    latent: Choices[Latent]
    batch: Choices[Batch]


class TemporalSpace(Section):
    """What the study of the temporal ALI draws from, and the epochs of a trial; the rest is as in `temporal.full`."""

    epochs: Count
    adversary: Range
    reconstruction: Range
    contrast: Range
    temperature: Rates
    learning_rate: Rates
    discriminator_learning_rate: Rates
    masked_bins: Choices[Annotated[int, Field(ge=0)]]
    masked_frames: Choices[Annotated[int, Field(ge=0)]]
    shifted_bins: Choices[Annotated[int, Field(ge=0)]]
    latent: Choices[Latent]


class Study(Section):
    """How a study searches and when it is sure; its spaces."""

    trials: Count
    epochs: Count
    averaged: Count
    startup_trials: Count
    warm_up_epochs: Annotated[int, Field(ge=0)]
    repeated: Count
    seeds: Count
    seed: Annotated[int, Field(ge=0)]
    ali: AliSpace
    temporal: TemporalSpace


class Params(Section):
    """The whole of params.yaml."""

    seeds: Annotated[int, Field(ge=1, le=100)]
    corpus: Corpus
    audio: Audio
    clips: Clips
    features: Features
    labels: Labels
    classifiers: Classifiers
    embeddings: Embeddings
    ali: Ali
    temporal: Temporal
    probe: Probe
    meaning: Meaning
    registry: Registry
    study: Study


# Keys of earlier versions -> what they are called now.
RENAMED = {
    "probe.bootstrap_draws": "probe.bootstrap_resamples",
    "registry.minimum_draws": "registry.minimum_folds",
}


def read(path: Path) -> Params:
    """Read and check a params.yaml.

    Raises:
        UserError: the file is missing or is no YAML, or a key is unknown, missing, ill-typed or out of bounds;
            every fault is named with its key and, for an unknown one, the closest key that exists.
    """
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the command inside the project, or name it with --project") from None
    except (YAMLError, UnicodeDecodeError) as fault:
        where = getattr(fault, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise UserError(f"{path}{line} is not valid YAML: {getattr(fault, 'problem', fault)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold sections ({', '.join(Params.model_fields)}), not {type(values).__name__}")
    return check(values, str(path))


def check(values: dict[str, Any], source: str = "params") -> Params:
    """Turn plain values into `Params`; `source` is named in the error."""
    try:
        return Params.model_validate(values)
    except ValidationError as fault:
        lines = [_explained(error) for error in fault.errors()]
        raise UserError(f"{source}: " + "; ".join(lines)) from None


def _explained(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "params"
    if error["type"] == "extra_forbidden" and key in RENAMED:
        return f"'{key}' is called '{RENAMED[key]}' now"
    if error["type"] == "extra_forbidden":
        return f"unknown key '{key}'{_closest(error['loc'])}"
    if error["type"] == "missing":
        return f"missing key '{key}'"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return (
        f"'{key}' is {error['input']!r}: {message}" if not isinstance(error["input"], dict) else f"'{key}': {message}"
    )


def _closest(location: tuple[Any, ...]) -> str:
    known = {name: name.rsplit(".", 1)[-1] for name in names()}
    wanted = ".".join(map(str, location))
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    near = near or [name for name, last in known.items() if last == str(location[-1])]
    near = near or [
        name for name, last in known.items() if difflib.get_close_matches(str(location[-1]), [last], cutoff=0.7)
    ]
    return f" (did you mean '{near[0]}'?)" if near else ""


def names(section: type[BaseModel] = Params, prefix: str = "") -> list[str]:
    """Every dotted key that params.yaml may hold, sections included."""
    found = []
    for name, field in section.model_fields.items():
        found.append(prefix + name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += names(inner, f"{prefix}{name}.")
    return found
