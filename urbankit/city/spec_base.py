"""What the models of a city file share: names, unknown keys, and the texts that readers see instead of ids."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from urbankit.city.io.crs import placed_crs

NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"


def _check_name(name: str) -> str:
    if not re.match(NAME_PATTERN, name):
        raise ValueError("a name is made of letters, digits, '_', '-' and '.', and does not begin with '-' or '.'")
    return name


Name = Annotated[str, Field(max_length=64), AfterValidator(_check_name)]


class Spec(BaseModel):
    """A part of a city spec: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)


class WithCRS(Spec):
    """A source that may lack a CRS."""

    crs: str | None = Field(
        None,
        description="What the file's CRS must be; needed where the file has none, or one without a place on Earth.",
    )

    check_crs = field_validator("crs")(placed_crs)


class VectorKeys(WithCRS):
    """How to read a vector file."""

    layer: str | None = Field(None, description="Layer of a vector file that has several.")


class PointFile(VectorKeys):
    """How to read a file of points."""

    lon: str | None = Field("lon", description="Column with the longitude in degrees; unused for point files.")
    lat: str | None = Field("lat", description="Column with the latitude in degrees; unused for point files.")


def _one_line(text: str) -> str:
    """Return a text without line breaks and repeated spaces."""
    return " ".join(text.split())


class Described(Spec):
    """A part that has a title and a description for readers; files keep its id."""

    title: Annotated[str, Field(max_length=80), AfterValidator(_one_line)] = Field(
        "", description="Name in reports, maps and figures; by default its id."
    )
    description: Annotated[str, Field(max_length=1000), AfterValidator(_one_line)] = Field(
        "", description="What it is, in a sentence or two, for reports and model cards."
    )


class ClassText(Described):
    """The title and the description of one class of a target."""


class DescribedTarget(Described):
    """A target with its unit, and the texts of its classes or parts."""

    unit: str = Field("", description="Unit shown in tables and figures.")
    classes: dict[str, ClassText] = Field(
        {},
        max_length=1000,
        description="Titles and descriptions of the classes (classification) or of the parts (distribution), by name.",
    )


class TargetTexts(DescribedTarget):
    """The texts of a target that a dataset gives."""
