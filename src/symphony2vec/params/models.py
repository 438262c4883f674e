"""Sections of params.yaml about the models: classifiers, embeddings, ali, temporal."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from symphony2vec.params.messages import describe
from symphony2vec.params.types import (
    AblationName,
    AliName,
    Batch,
    Count,
    NotNegative,
    Positive,
    PretrainedName,
    Section,
    Share0,
    TemporalName,
)


class Network(Section):
    """How one kind of network is trained by Adam."""

    batch: Batch
    learning_rate: Positive
    weight_decay: NotNegative
    epochs: Count


class Lstm(Network):
    """How the LSTM is trained, and the length of its input chunks."""

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
    """Which part of a mel spectrogram ALI takes as input."""

    bands: Literal["low", "high", "random"]
    frames: Literal["random", "middle"]


class Setting(Section):
    """One setting of ALI; `learning_rate` is that of encoder and generator, `betas` are Adam's."""

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
    """Settings of ALI: `models` lists what is trained, as <setting>-<latent size>."""

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
    """One setting of the temporal ALI; first the weights of its losses, 0 to leave one out."""

    adversarial_weight: NotNegative
    reconstruction_weight: NotNegative
    contrastive_weight: NotNegative
    equivariant_weight: NotNegative = 0.0
    positives: Literal["movement", "clip"]
    unlabelled: str
    temperature: Positive
    unary: bool
    step_latent: Annotated[int, Field(ge=0, le=1024)]
    width: Annotated[int, Field(ge=2, le=512)]
    crop_frames: Annotated[int, Field(ge=16)]
    mask_bins: Annotated[int, Field(ge=0)]
    mask_frames: Annotated[int, Field(ge=0)]
    shift_bins: Annotated[int, Field(ge=0)]
    level_shift: NotNegative
    equalisation: NotNegative = 0.0
    noise_floor: NotNegative = 0.0
    time_stretch: Share0
    batch: Batch
    generator_batch: Batch
    learning_rate: Positive
    discriminator_learning_rate: Positive
    betas: Annotated[list[Share0], Field(min_length=2, max_length=2)]
    ema_decay: Share0
    epochs: Count

    @model_validator(mode="after")
    def _masks_are_shorter_than_a_crop(self) -> TemporalSetting:
        if self.mask_frames >= self.crop_frames:
            raise ValueError(f"mask_frames ({self.mask_frames}) must be below crop_frames ({self.crop_frames})")
        return self


class Pretrained(Section):
    """Models that are installed with symphony2vec, and whose vectors are evaluated beside those trained here."""

    models: list[PretrainedName]


class Temporal(Section):
    """Settings of the temporal ALI: `models` lists what is trained, as <setting>-<latent size>.

    A setting is `full`, or one of `ablations`: `full` with some of its values changed.
    """

    models: Annotated[list[TemporalName], Field(min_length=1)]
    probe_every_epochs: Count
    samples_every_epochs: Count
    full: TemporalSetting
    ablations: dict[AblationName, dict[str, Any]]

    @property
    def names(self) -> list[str]:
        """Return the names of all settings."""
        return ["full", *self.ablations]

    def setting(self, name: str) -> TemporalSetting:
        """Return the setting of this name."""
        return TemporalSetting.model_validate({**self.full.model_dump(), **self.ablations.get(name, {})})

    @model_validator(mode="after")
    def _ablations_are_settings(self) -> Temporal:
        if "full" in self.ablations:
            raise ValueError("an ablation cannot be named full")
        for name in self.ablations:
            try:
                self.setting(name)
            except ValidationError as error:
                keys = [f"temporal.full.{field}" for field in TemporalSetting.model_fields]
                errors = ({**detail, "loc": ("temporal", "full", *detail["loc"])} for detail in error.errors())
                lines = (describe(detail, keys).replace("temporal.full", f"ablations.{name}", 1) for detail in errors)
                raise ValueError("; ".join(lines)) from None  # a hint names the key of full
        unknown = [model for model in self.models if model.rpartition("-")[0] not in self.names]
        if unknown:
            raise ValueError(f"{unknown[0]} must be one of {', '.join(self.names)} with a latent size")
        return self
