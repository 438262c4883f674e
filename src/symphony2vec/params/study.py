"""The section `study` of params.yaml: hyperparameter search and its spaces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from symphony2vec.params.types import Batch, Choices, Count, Latent, NotNegative, Positive, Section, Share


class Range(Section):
    """A range that a study samples from, both ends included."""

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


class AliSpace(Section):
    """Search space of the study of ALI, and the setting that gives the other values."""

    base: Literal["paper", "original", "long", "public"]
    learning_rate: Rates
    discriminator_learning_rate: Rates
    beta_1: Shares
    beta_2: Shares
    dropout: Shares
    latent: Choices[Latent]
    batch: Choices[Batch]


class TemporalSpace(Section):
    """Search space of the study of the temporal ALI, and the epochs of a trial; the rest is from `temporal.full`."""

    epochs: Count
    adversarial_weight: Range
    reconstruction_weight: Range
    contrastive_weight: Range
    temperature: Rates
    learning_rate: Rates
    discriminator_learning_rate: Rates
    mask_bins: Choices[Annotated[int, Field(ge=0)]]
    mask_frames: Choices[Annotated[int, Field(ge=0)]]
    shift_bins: Choices[Annotated[int, Field(ge=0)]]
    latent: Choices[Latent]


class Study(Section):
    """How a study searches and when it is sure; its spaces."""

    trials: Count
    epochs: Count
    averaged_probes: Count
    startup_trials: Count
    warm_up_epochs: Annotated[int, Field(ge=0)]
    repeated_trials: Count
    seeds: Count
    seed: Annotated[int, Field(ge=0)]
    ali: AliSpace
    temporal: TemporalSpace
