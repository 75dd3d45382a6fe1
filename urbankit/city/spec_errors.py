"""Turns pydantic's errors about a spec into problems with file, line, key and the closest right name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from urbankit.config.yaml import dotted
from urbankit.utils.errors import Problem, suggest


def problems_of(
    error: ValidationError, lines: dict[tuple, int], file: str | Path, model: type[BaseModel]
) -> list[Problem]:
    """One problem a key, in the order of the file.

    Only what the file holds is part of a key, and a key that is missing: pydantic also names the members of unions.
    """
    messages: dict[tuple, list[str]] = {}
    for mistake in error.errors(include_url=False):
        location = mistake["loc"]
        path = tuple(part for part in location if not _is_tag(part) and part != "[key]")
        held = next(path[:n] for n in range(len(path), -1, -1) if path[:n] in lines)
        key = (*held, location[-1]) if mistake["type"] == "missing" else held
        messages.setdefault((held, key), []).append(_message(mistake, _model_at(model, location[:-1])))
    problems = [
        Problem(", or ".join(texts), file, lines[held] if held else None, dotted(key) or None)
        for (held, key), texts in messages.items()
    ]
    return sorted(problems, key=lambda problem: problem.line or 0)


def _message(mistake: dict[str, Any], model: type[BaseModel] | None) -> str:
    kind, location = mistake["type"], mistake["loc"]
    if kind == "extra_forbidden":
        return "unknown key." + suggest(str(location[-1]), model.model_fields if model else ())
    if kind == "missing":
        return "is missing"
    if kind == "string_pattern_mismatch":
        return f"{mistake['input']!r}: only letters, digits, '_', '-' and '.', the first no '-' or '.'"
    if kind == "value_error":
        return str(mistake["ctx"]["error"])
    if kind == "which":
        given = mistake["input"]
        return mistake["msg"] + (f"; it has {', '.join(map(str, given))}" if isinstance(given, dict) and given else "")
    text = mistake["msg"][0].lower() + mistake["msg"][1:]
    value = repr(mistake["input"])
    return text if len(value) > 60 else f"{text}, but it is {value}"


def _model_at(model: type[BaseModel] | None, location: tuple) -> type[BaseModel] | None:
    """The model that holds the key after `location`."""
    options: list[type[BaseModel]] = [model] if model else []
    for part in location:
        if _is_tag(part):
            options = [option for option in options if option.__name__ == part[1:-1]] or options
            continue
        fields = [option.model_fields[part] for option in options if part in option.model_fields]
        options = [found for field in fields for found in _models_in(field.annotation)] or options
    return options[0] if len(options) == 1 else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _is_tag(part: Any) -> bool:
    return isinstance(part, str) and part.startswith("<") and part.endswith(">")
