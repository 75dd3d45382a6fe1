"""Checks a recipe's tree against the schema and the components it names; each mistake with file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from urbankit import registry
from urbankit.config.tree import Node
from urbankit.config.validation import explain, is_model
from urbankit.recipe.components import component_kind, may_be_path
from urbankit.recipe.schema import RecipeSchema
from urbankit.registry.component import Use
from urbankit.utils.errors import Problem, Problems, UserError, suggest

R = TypeVar("R", bound=RecipeSchema)


def check(model: type[R], tree: Node, problems: Problems) -> R:
    """The resolved recipe; raises one `UserError` with all mistakes, those already in `problems` first."""
    problems.extend(_mistakes(model, tree, ()))
    if problems:
        raise UserError(_by_place(problems))
    recipe = _completed(model.model_validate(tree.plain()), tree, ())
    problems.extend(_missing_files(recipe, tree))
    problems.extend(_method_mistakes(recipe, tree))
    problems.extend(_weights_of_no_task(recipe, tree))
    problems.extend(_transfer_mistakes(recipe, tree))
    problems.raise_if_any()
    return recipe


def check_use(kind: str, node: Node) -> Use:
    """The resolved component of `kind` that `node` names; raises one `UserError` with all mistakes."""
    mistakes = list(_use_mistakes(kind, node, ()))
    if mistakes:
        raise UserError(_by_place(mistakes))
    use: Use = _filled(Use.model_validate(node.plain()), kind, node, ())
    return use


def _by_place(problems: Iterable[Problem]) -> list[Problem]:
    """Problems as a user goes through them: file by file from the top, the command line last."""
    found = list(problems)
    files = list(dict.fromkeys(str(problem.file) for problem in found))
    files.sort(key=lambda file: file.startswith("--set"))
    return sorted(found, key=lambda problem: (files.index(str(problem.file)), problem.line or 0))


def _mistakes(model: type[BaseModel], node: Node, path: tuple) -> Iterator[Problem]:
    """What is wrong with `node` as `model`, and with every component named below it."""
    try:
        model.model_validate(node.plain())
    except ValidationError as error:
        yield from explain(error, model, node, path)
    for name, field in model.model_fields.items():
        child = node.child(name)
        if child is not None:
            yield from _component_mistakes(field.annotation, component_kind(field), child, (*path, name))


def _component_mistakes(annotation: Any, kind: str | None, node: Node, path: tuple) -> Iterator[Problem]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _component_mistakes(inner[0], kind, node, path)
    elif origin in (Union, UnionType):
        for option in inner:
            yield from _component_mistakes(option, kind, node, path)
    elif origin is dict and isinstance(node.value, dict):
        for name, child in node.value.items():
            yield from _component_mistakes(inner[1], kind, child, (*path, name))
    elif origin in (list, tuple) and isinstance(node.value, list):
        for index, child in enumerate(node.value):
            yield from _component_mistakes(inner[0], kind, child, (*path, index))
    elif annotation is Use and kind is not None:
        yield from _use_mistakes(kind, node, path)
    elif is_model(annotation):
        for name, field in annotation.model_fields.items():
            child = node.child(name)
            if child is not None:
                yield from _component_mistakes(field.annotation, component_kind(field), child, (*path, name))


def _use_mistakes(kind: str, node: Node, path: tuple) -> Iterator[Problem]:
    name = node.child("name")
    if name is None or not isinstance(name.value, str):
        return  # the schema says so
    try:
        found = registry.get(kind, name.value)
    except UserError as error:
        for problem in error.problems:
            yield name.problem(problem.message, _dotted((*path, "name")))
        return
    params = {key: child for key, child in node.value.items() if key != "name"}
    yield from _mistakes(found.Params, Node(params, node.file, node.line, node.folder), path)


def _completed(model: Any, node: Node | None, path: tuple) -> Any:
    """`model` with the defaults of its components written out and its paths absolute."""
    filled = {}
    for name, field in type(model).model_fields.items():
        child = node and node.child(name)
        value = _filled(getattr(model, name), component_kind(field), child, (*path, name))
        filled[name] = _local(value, child) if may_be_path(field) else value
    return model.model_copy(update=filled)


def _local(value: Any, node: Node | None) -> Any:
    """The absolute path of what is there beside the recipe; a name of something elsewhere, as on a hub, stays."""
    if not isinstance(value, str) or node is None:
        return value
    there = node.folder / Path(value).expanduser()
    return str(there.resolve()) if there.exists() or value.startswith((".", "~")) else value


def _filled(value: Any, kind: str | None, node: Node | None, path: tuple) -> Any:
    if isinstance(value, Use) and kind is not None:
        params = _completed(_params(kind, value, path), node, path)
        return Use(name=value.name, **params.model_dump(mode="json"))
    if isinstance(value, BaseModel):
        return _completed(value, node, path)
    if isinstance(value, dict):
        return {key: _filled(item, kind, node and node.child(key), (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = (_filled(item, kind, node and node.child(i), (*path, i)) for i, item in enumerate(value))
        return type(value)(items)
    if isinstance(value, Path) and node is not None:
        return (node.folder / value.expanduser()).resolve()
    return value


def _params(kind: str, use: Use, path: tuple) -> BaseModel:
    """The params of a use that may be a component's own default, whose mistakes no file holds."""
    try:
        return registry.get(kind, use.name).Params(**use.params)
    except ValidationError as error:
        faults = error.errors()
        raise UserError([Problem(fault["msg"], key=_dotted((*path, *fault["loc"]))) for fault in faults]) from None
    except UserError as error:
        raise UserError([Problem(problem.message, key=_dotted(path)) for problem in error.problems]) from None


def _missing_files(recipe: RecipeSchema, tree: Node) -> Iterator[Problem]:
    for name, there in (("prepared", Path.is_dir), ("spec", Path.is_file), ("data", Path.is_dir)):
        path = getattr(recipe.city, name)
        if path is not None and not there(path):
            kind = "file" if name == "spec" else "folder"
            yield tree.deepest(("city", name))[0].problem(f"there is no {kind} '{path}'", f"city.{name}")


def _weights_of_no_task(recipe: RecipeSchema, tree: Node) -> Iterator[Problem]:
    for name in recipe.finetune.loss_weights:
        if name not in recipe.tasks:
            path = ("finetune", "loss_weights", name)
            message = f"the recipe has no task '{name}'.{suggest(name, recipe.tasks)}"
            yield tree.deepest(path)[0].problem(message, _dotted(path))


def _transfer_mistakes(recipe: RecipeSchema, tree: Node) -> Iterator[Problem]:
    """What is wrong with the section `transfer` in view of the rest of the recipe."""
    wanted = recipe.transfer
    if wanted is None:
        return

    def problem(message: str, *path: str) -> Problem:
        return tree.deepest(path)[0].problem(message, _dotted(path))

    if not (wanted.source / "manifest.json").is_file():
        message = f"there is no run in '{wanted.source}'; name the folder that `urbankit run` wrote on the source city"
        yield problem(message, "transfer", "from")
    for name in wanted.modalities or ():
        if name not in recipe.modalities:
            yield problem(
                f"the recipe has no modality '{name}'.{suggest(name, recipe.modalities)}", "transfer", "modalities"
            )
    finetune = recipe.finetune
    frozen = finetune.paradigm == "linear_probe" or (finetune.paradigm == "finetune" and not finetune.update)
    if wanted.graph == "keep" and "folds" in recipe.evaluation.splits:
        message = "`folds` fits a probe to this city's labels, which `transfer.graph: keep` does not see: remove it"
        yield problem(message, "evaluation", "splits")
    if wanted.graph == "keep" and not frozen:
        key = "update" if finetune.paradigm == "finetune" else "paradigm"
        message = "`transfer.graph: keep` changes no weight: take finetune.paradigm finetune with `update: []`"
        yield problem(f"{message}, or linear_probe", "finetune", key)


def _method_mistakes(recipe: RecipeSchema, tree: Node) -> Iterator[Problem]:
    """What the method's class says about the recipe as a whole."""
    found = registry.get("method", recipe.method.name)
    if not hasattr(found, "check"):
        return
    params = found.Params(**recipe.method.params)
    for key, message in found.check(params, set(recipe.modalities), set(recipe.views)):
        path = ("method", *(int(part) if part.isdigit() else part for part in key.split(".")))
        yield tree.deepest(path)[0].problem(message, _dotted(path))


def _dotted(path: tuple) -> str:
    return ".".join(map(str, path))
