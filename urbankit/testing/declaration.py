"""The conformance checks of every component: registration, imports and documentation."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from urbankit import registry
from urbankit.recipe.describe import describe
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.imports import error_alone, heavy_imports


def registered(candidate: Candidate) -> Iterator[str]:
    """It is registered with a description."""
    if not candidate.entries[0].description.strip():
        yield (
            f"'{candidate.name}' is registered without a description for `urbankit list-components`; "
            'use register(name, target, "description")'
        )
    if not (vars(candidate.component)["__doc__"] or "").strip():
        yield "the class has no docstring, which `urbankit show` prints; describe in a line or two what it computes"


def derived(candidate: Candidate) -> Iterator[str]:
    """Its class derives from the base class of its kind."""
    base = registry.KINDS[candidate.kind].base
    module, _, name = base.rpartition(".")
    if not issubclass(candidate.component, getattr(importlib.import_module(module), name)):
        yield f"the class does not derive from {base}, whose methods a run calls"


def documented(candidate: Candidate) -> Iterator[str]:
    """Every parameter has a description, and every number has bounds."""
    described = {record["name"]: record for record in describe(candidate.component.Params)}
    for name, field in candidate.component.Params.model_fields.items():
        # A missing description is an error when the class is loaded.
        if len(described[name]["description"].split()) < 2:
            yield f"parameter '{name}' is described as '{field.description}'; describe in a sentence what it does"
        if _is_number(field.annotation) and not described[name]["bounds"] and not _bounded_inside(field):
            yield f"parameter '{name}' is a number without bounds; give its Field a ge, gt, le or lt"


def survives_the_recipe(candidate: Candidate) -> Iterator[str]:
    """Its parameters can be written to the resolved recipe of a run and read again."""
    written = json.loads(json.dumps(candidate.validated.model_dump(mode="json")))
    again = candidate.component.Params(**written)
    if again != candidate.validated:
        yield f"parameters written as {written} are read back as {again}; use types that JSON knows, or a serializer"


def imported_late(candidate: Candidate) -> Iterator[str]:
    """Listing it imports no heavy library, and its module can be imported first."""
    entry = candidate.entries[0]
    if entry.distribution == registry.THIS_PROCESS:  # a class of a notebook or test, without a package
        return
    if heavy := heavy_imports(entry.distribution):
        yield (
            f"registering {entry.distribution} imports {', '.join(heavy)}, which slows down `list-components`;"
            " import only urbankit.hookimpl in the plugin's module, and name classes as 'module:Class'"
        )
    module = entry.target.partition(":")[0]
    if error := error_alone(module):
        yield f"module '{module}' cannot be imported first: {error}; import in it everything that it uses"


def _is_number(annotation: Any) -> bool:
    """Return whether a field is a number or null."""
    if get_origin(annotation) in (Union, UnionType):
        return any(_is_number(option) for option in get_args(annotation))
    return annotation in (int, float)


def _bounded_inside(field: FieldInfo) -> bool:
    """Return whether the bounds are inside the type, as in `Annotated[int, Field(ge=1)] | None`."""
    return any(getattr(part, "__metadata__", ()) for part in get_args(field.annotation))


CHECKS: tuple[Check, ...] = (registered, derived, documented, survives_the_recipe, imported_late)
