"""What every component promises: how it is registered, imported and documented."""

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


def registered(subject: Candidate) -> Iterator[str]:
    """It is registered with a line that says what it is."""
    if not subject.entries[0].description.strip():
        yield (
            f"'{subject.name}' is registered without a description, so that list-components says nothing of it; "
            'register(name, target, "what it is")'
        )
    if not (vars(subject.component)["__doc__"] or "").strip():
        yield "the class has no docstring, which `urbankit show` prints; say in a line or two what it computes"


def derived(subject: Candidate) -> Iterator[str]:
    """Its class has everything that a run calls, as the base of its kind has."""
    base = registry.KINDS[subject.kind].base
    module, _, name = base.rpartition(".")
    if not issubclass(subject.component, getattr(importlib.import_module(module), name)):
        yield f"the class does not derive from {base}, whose other methods a run calls as well"


def documented(subject: Candidate) -> Iterator[str]:
    """Every parameter says what it means, what it is by default and between which bounds."""
    described = {record["name"]: record for record in describe(subject.component.Params)}
    for name, field in subject.component.Params.model_fields.items():
        # That a description is there is checked wherever the class is loaded.
        if len(described[name]["description"].split()) < 2:
            yield f"parameter '{name}' is described as '{field.description}'; say in a sentence what it does"
        if _is_number(field.annotation) and not described[name]["bounds"] and not _bounded_inside(field):
            yield f"parameter '{name}' is a number without bounds; give its Field a ge, gt, le or lt"


def survives_the_recipe(subject: Candidate) -> Iterator[str]:
    """Its parameters survive the resolved recipe that a run writes down."""
    written = json.loads(json.dumps(subject.validated.model_dump(mode="json")))
    again = subject.component.Params(**written)
    if again != subject.validated:
        yield f"parameters written as {written} are read back as {again}; use types that JSON knows, or a serializer"


def imported_late(subject: Candidate) -> Iterator[str]:
    """Listing it imports nothing heavy, and its module imports on its own."""
    entry = subject.entries[0]
    if entry.distribution == registry.THIS_PROCESS:  # a class of a notebook or test: there is no package to import
        return
    if heavy := heavy_imports(entry.distribution):
        yield (
            f"registering {entry.distribution} imports {', '.join(heavy)}, so that `list-components` waits for them;"
            " import in the plugin's module urbankit.hookimpl alone, and name classes as 'module:Class'"
        )
    module = entry.target.partition(":")[0]
    if error := error_alone(module):
        yield f"module '{module}' does not import on its own: {error}; let it import itself what it uses"


def _is_number(annotation: Any) -> bool:
    """Whether a field holds one number, or null."""
    if get_origin(annotation) in (Union, UnionType):
        return any(_is_number(option) for option in get_args(annotation))
    return annotation in (int, float)


def _bounded_inside(field: FieldInfo) -> bool:
    """Whether bounds stand on the number itself, as in `Annotated[int, Field(ge=1)] | None`."""
    return any(getattr(part, "__metadata__", ()) for part in get_args(field.annotation))


CHECKS: tuple[Check, ...] = (registered, derived, documented, survives_the_recipe, imported_late)
