"""Types of the values in params.yaml, and the base class of its sections."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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
PretrainedName = Literal["symphony2vec-base"]
AblationName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
FoldName = Annotated[str, Field(pattern=r"^(work|movement|clip)-(0|[1-9][0-9]{0,5})$")]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Section(BaseModel):
    """A section of params.yaml: unknown keys and silent conversions are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def refuse_repeats(values: list[T]) -> list[T]:
    """Return the values; a repeated one is a ValueError."""
    if len(set(values)) < len(values):
        raise ValueError("a value is named twice")
    return values


def refuse_count(values: object) -> object:
    """Return the values; a number of folds, as earlier versions had it, is a ValueError that says what to write."""
    if isinstance(values, int):
        raise ValueError("folds are listed by name, such as [work-0, work-1, work-2]")
    return values


Latent = Annotated[int, Field(ge=1, le=9999)]
Choices = Annotated[list[T], Field(min_length=1), AfterValidator(refuse_repeats)]
Folds = Annotated[Choices[FoldName], BeforeValidator(refuse_count)]
