"""Sections of params.yaml about the data: corpus, audio, clips, features, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from symphony2vec.params.types import Count, FolderName, Positive, Section, Share


class Corpus(Section):
    """Which folder of `data/` is played."""

    name: FolderName


class Audio(Section):
    """How recordings are decoded and scores are played; levels in dB, rates in Hz."""

    sample_rate_hz: Annotated[int, Field(ge=4000, le=192000)]
    loudness_lufs: Annotated[float, Field(ge=-70.0, le=-5.0)]
    peak_dbfs: Annotated[float, Field(le=0.0, ge=-40.0)]
    silence_db: Positive
    renderer: Literal["built-in", "fluidsynth"]
    soundfonts: Annotated[list[str], Field(min_length=1)]
    tempo_spread: Annotated[float, Field(ge=0.0, le=1.0)]
    reverberation_s: Annotated[float, Field(ge=0.0, le=10.0)]
    performance_seed: Annotated[int, Field(ge=0)]
    orchestration: Literal["score", "strings"]
    dynamics: Literal["fixed", "score"]
    velocity: Annotated[int, Field(ge=1, le=127)]
    tempo: Literal["fixed", "score"]
    beats_per_minute: Annotated[float, Field(ge=10.0, le=1000.0)]

    @model_validator(mode="after")
    def _names_soundfonts_apart(self) -> Audio:
        names = [Path(soundfont).stem for soundfont in self.soundfonts]
        if len(names) != len(set(names)):
            raise ValueError(f"two soundfonts have the same name, which is that of a performance ({', '.join(names)})")
        return self


class Clips(Section):
    """How movements are cut into clips and clips are split by composer and work."""

    duration_s: Annotated[float, Field(ge=0.5, le=3600.0)]
    overlap: Annotated[float, Field(ge=0.0, le=0.99)]
    max_per_movement: Annotated[int, Field(ge=0)]
    max_per_composer: Annotated[int, Field(ge=0)]
    minimum_fill: Annotated[float, Field(gt=0.0, le=1.0)]
    fallback: Literal["movement", "none"]
    validation: Share
    test: Share
    composers: list[str]
    small_composers: Literal["error", "drop"]
    ambiguous_works: Literal["error", "allow"]

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
