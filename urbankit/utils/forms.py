"""Compares a JSON value with the form that urbankit writes, a type of pydantic, and says where it differs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails


class Form(BaseModel):
    """The form of a JSON object: values are not converted, and further keys are allowed."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


def faults(form: type[Form] | TypeAdapter[Any], value: Any, path: str = "") -> list[str]:
    """Return the places where `value`, which is at `path` of its file, differs from `form`, and how."""
    try:
        if isinstance(form, TypeAdapter):
            form.validate_python(value)
        else:
            form.model_validate(value)
    except ValidationError as error:
        return [_sentence(path, one) for one in error.errors()]
    return []


def _sentence(path: str, error: ErrorDetails) -> str:
    place = ".".join(filter(None, [path, *map(str, error["loc"])]))
    return f"{place}: {'Input should be a mapping' if error['type'] == 'model_type' else error['msg']}"
