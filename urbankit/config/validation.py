"""Checks a tree against a pydantic model; every mistake is reported with file, line, key and the closest name."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Discriminator, ValidationError
from pydantic_core import ErrorDetails

from urbankit.config.tree import Location, Node, dotted
from urbankit.registry.component import Use
from urbankit.utils.errors import Problem, Problems, UserError, suggest

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], node: Node, problems: Problems) -> M:
    """Return `node` as `model`. Raises one `UserError` with its mistakes and `problems` if it is not valid."""
    try:
        return model.model_validate(node.plain())
    except ValidationError as error:
        problems.extend(problems_of(error, model, node))
        raise UserError(problems.sorted()) from None


def one_of(*texts: type[BaseModel], **tags: str) -> Discriminator:
    """Return what chooses the member of a union by the key that marks it, so that errors are about one member only.

    Args:
        texts: A member that is chosen for a mapping with keys of it alone.
        tags: The members' tags by the keys that mark them; a tag is the class name in angle brackets.
    """

    def choose(value: Any) -> str | None:
        if isinstance(value, BaseModel):
            return f"<{type(value).__name__}>"
        if not isinstance(value, dict):
            return None
        alone = (f"<{one.__name__}>" for one in texts if value and value.keys() <= one.model_fields.keys())
        return next((tag for key, tag in tags.items() if key in value), next(alone, None))

    message = f"needs one of the keys {', '.join(tags)}"
    return Discriminator(choose, custom_error_type="one_of", custom_error_message=message)


def _is_tag(part: Any) -> bool:
    """Whether a part of pydantic's location is a model that `one_of` chose, which is not in the file."""
    return isinstance(part, str) and part.startswith("<") and part.endswith(">")


def problems_of(
    error: ValidationError, model: type[BaseModel], node: Node, location: Location = ()
) -> Iterator[Problem]:
    """Yield one problem per key from validating `node`, which is at `location` of its file, as `model`.

    Pydantic reports one error for each member of a union; their messages are joined.
    """
    messages: dict[Problem, dict[str, None]] = {}
    for mistake in error.errors():
        path = tuple(part for part in mistake["loc"] if part != "[key]" and not _is_tag(part))
        nearest, reached = node.deepest(path)
        if mistake["type"] == "missing":
            reached = (*reached, path[-1])
        problem = nearest.problem("", dotted((*location, *reached)) or None)
        messages.setdefault(problem, {})[_message(mistake, model)] = None
    for problem, texts in messages.items():
        yield Problem(", or ".join(texts), problem.file, problem.line, problem.key)


def _message(mistake: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value, location = mistake["type"], mistake["input"], mistake["loc"]
    owner = _model_at(model, location[:-1])
    name = str(location[-1]) if location else ""
    if kind == "extra_forbidden":
        return "unknown key." + (suggest(name, owner.model_fields if owner else ()) or " It takes no parameters.")
    if kind == "missing":
        description = owner.model_fields[name].description if owner and name in owner.model_fields else None
        return "is missing." + (f" {description}" if description else "")
    if kind == "value_error":
        return str(mistake["ctx"]["error"])
    if kind == "one_of":
        keys = ", ".join(map(str, value)) if isinstance(value, dict) else ""
        return mistake["msg"] + (f"; it has {keys}" if keys else "")
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return _not_a_mapping(value, _model_at(model, location))
    if kind == "string_pattern_mismatch" and name == "[key]":
        return "a name is made of letters, digits, _ and -, and begins with a letter"
    message = mistake["msg"].split(", unable to")[0].replace("Input should", "should")
    hint = ""
    if kind == "literal_error" and isinstance(value, str):
        options = mistake["ctx"]["expected"].replace(" or ", ", ").split(", ")
        hint = suggest(value, [option.strip("'") for option in options])
        hint = f".{hint}" if "Did you mean" in hint else ""
    return f"{message}, not {_short(value)}{hint}"


def _not_a_mapping(value: Any, model: type[BaseModel] | None) -> str:
    if model is Use and value is None:
        return "null removes an inherited component, and none of this name is inherited"
    if model is Use:
        return f"should name a component and its parameters, such as {{name: {_short(value).strip(chr(39))}}}"
    return f"should be a mapping of keys to values, not {_short(value)}"


def _short(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    """Return the model that the value at `location` of `model` should be, if it should be one."""
    annotation: Any = model
    for part in location:
        annotation = _step(annotation, part)
    return next((option for option in _options(annotation) if is_model(option)), None)


def is_model(annotation: Any) -> bool:
    """Whether a type is a pydantic model."""
    # In Python 3.10 `dict[str, int]` counts as a class, hence the origin.
    return get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _step(annotation: Any, part: Any) -> Any:
    """Return the type of the value that `part` of a location leads to, in a value of type `annotation`."""
    if _is_tag(part):
        options = [option for option in _options(annotation) if getattr(option, "__name__", "") == part[1:-1]]
        return next(iter(options), None)
    for option in _options(annotation):
        if is_model(option) and part in option.model_fields:
            return option.model_fields[part].annotation
        if get_origin(option) in (dict, list, tuple):
            return get_args(option)[-1 if get_origin(option) is dict else 0]
    return None


def _options(annotation: Any) -> list[Any]:
    """Return the types that an annotation allows, out of `Annotated` and unions."""
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [option for member in get_args(annotation) for option in _options(member)]
    return [annotation]
