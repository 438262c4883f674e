"""Sections of params.yaml about evaluation: probe, meaning, registry."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from symphony2vec.params.types import Count, Positive, Section, Share, Share0


class Probe(Section):
    """Settings of the logistic regression and of its interval."""

    inverse_regularisation: Annotated[list[Positive], Field(min_length=1)]
    max_iterations: Count
    bootstrap_resamples: Count
    confidence: Share
    seed: Annotated[int, Field(ge=0)]


class Meaning(Section):
    """What vectors are asked about music: penalties of the ridge, C of the logistic regression, the fewest clips."""

    penalties: Annotated[list[Positive], Field(min_length=1)]
    inverse_regularisation: Annotated[list[Positive], Field(min_length=1)]
    minimum_clips: Count
    profile_models: list[str]


class Registry(Section):
    """When a challenger becomes champion; `level` is that of the accuracies, and the margin is a share of them."""

    level: Literal["clip", "movement", "work"]
    minimum_folds: Count
    margin: Share0
