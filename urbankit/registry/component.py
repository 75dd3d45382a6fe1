"""The base class of components, each with a pydantic `Params` whose fields have descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Protocol, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from typing_extensions import Self, TypeVar

from urbankit.registry.kinds import NAME
from urbankit.utils.errors import Problem, UserError

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=200)]

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed that numpy, scikit-learn and torch all take."""


class Params(BaseModel):
    """The parameters of a component. Unknown keys are refused, and every field has a description.

    Write fields as `width: int = Field(64, ge=1, description="Channels of every layer.")`. A field that came from a
    paper adds `json_schema_extra={"source": "eq. 17"}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def checked(cls, values: Mapping[str, Any], component: str) -> Self:
        """Return the parameters with these values; raises `UserError` naming the `component` and each wrong key."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise UserError(
                [
                    Problem(mistake["msg"], component, key=".".join(map(str, mistake["loc"])))
                    for mistake in error.errors()
                ]
            ) from None


class Use(BaseModel):
    """A component chosen in a recipe: its registered `name` and its parameters.

    In YAML: `fusion: {name: mlp, hidden: 128}`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="The registered name of the component.")

    @property
    def params(self) -> dict[str, Any]:
        """The parameters beside the name."""
        return dict(self.model_extra or {})


def uses(kind: str, default: dict[str, Any] | str | None = None, description: str = "") -> Any:
    """A `Params` field that names another component of `kind`, checked against the registry with the recipe.

    >>> class P(Params):
    ...     fusion: Use = uses("fusion", "add", description="How vectors of one region are joined.")
    """
    if isinstance(default, str):
        default = {"name": default}
    schema: dict[str, Any] = {"component_kind": kind}
    if default is None:
        return Field(description=description, json_schema_extra=schema)
    return Field(default_factory=lambda: Use(**default), description=description, json_schema_extra=schema)


class SourceFolder(Protocol):
    """The part of a city that `reads` of a component may use; `urbankit.City` provides it."""

    @property
    def path(self) -> Path:
        """The folder of the city, or its city file."""
        ...

    def source(self, name: str) -> Path:
        """The file `name` in the folder of the sources."""
        ...


P = TypeVar("P", bound=Params, default=Params)


class Component(Generic[P]):
    """Base of every component: `Component(params)` with a validated `Params`.

    There are two ways to declare the parameters; both give `self.params` its type:

        class Ring(View[RingParams]):  # `Ring.Params` is `RingParams`
            ...

        class Ring(View):
            class Params(urbankit.Params):
                size: int = Field(3, ge=1, description="Neighbours of each region.")

            params: Params

    A component without parameters declares nothing; its `Params` is empty.

    Attributes:
        Params: the class of the parameters, derived from `urbankit.Params`.
        params: the validated parameters.
    """

    Params: ClassVar[type[Any]] = Params
    params: P

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Params" not in vars(cls):
            arguments = [argument for base in vars(cls).get("__orig_bases__", ()) for argument in get_args(base)]
            for argument in arguments:
                if isinstance(argument, type) and get_origin(argument) is None and issubclass(argument, Params):
                    cls.Params = argument

    @classmethod
    def reads(cls, params: Any, city: SourceFolder) -> Sequence[Path]:
        """Return the files beside the city that a component with these parameters reads; none by default.

        A run records their SHA-256 and is not resumed if they changed; `urbankit bench` then runs the recipe again.
        """
        return []

    @classmethod
    def details(cls) -> Mapping[str, str]:
        """Return what else `urbankit show` prints, by name, such as a licence; nothing by default."""
        return {}
