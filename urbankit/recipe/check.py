"""Checks a recipe's tree against the schema and the components it names; each mistake has its file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from urbankit import registry
from urbankit.config.tree import Location, Node, dotted, split_key
from urbankit.config.validation import is_model, problems_of
from urbankit.recipe.components import component_kind, may_be_path
from urbankit.recipe.schema import CityFolder, RecipeSchema
from urbankit.registry.component import Use
from urbankit.registry.models import model_folder
from urbankit.utils.errors import Problem, Problems, UserError, suggest

R = TypeVar("R", bound=RecipeSchema)


def check(model: type[R], tree: Node, problems: Problems) -> R:
    """Return the resolved recipe. Raises one `UserError` with all mistakes, those already in `problems` included."""
    problems.extend(_mistakes(model, tree, ()))
    problems.raise_if_any()
    recipe = _resolved(model.model_validate(tree.plain()), tree, ())
    checks = (_city_mistakes, _method_mistakes, _task_mistakes, _pretrain_mistakes, _transfer_mistakes, _prior_mistakes)
    for mistakes in checks:
        problems.extend(mistakes(recipe, tree))
    problems.raise_if_any()
    return recipe


def check_use(kind: str, node: Node) -> Use:
    """Return the resolved component of `kind` that `node` names. Raises one `UserError` with all mistakes."""
    problems = Problems()
    problems.extend(_use_mistakes(kind, node, ()))
    problems.raise_if_any()
    return _resolved_use(Use.model_validate(node.plain()), kind, node, ())


def _mistakes(model: type[BaseModel], node: Node, location: Location) -> Iterator[Problem]:
    """Yield what is wrong with `node` as `model`, and with every component that it names."""
    try:
        model.model_validate(node.plain())
    except ValidationError as error:
        yield from problems_of(error, model, node, location)
    yield from _field_mistakes(model, node, location)


def _field_mistakes(model: type[BaseModel], node: Node, location: Location) -> Iterator[Problem]:
    for name, field in model.model_fields.items():
        child = node.child(name)
        if child is not None:
            yield from _component_mistakes(field.annotation, component_kind(field), child, (*location, name))


def _component_mistakes(annotation: Any, kind: str | None, node: Node, location: Location) -> Iterator[Problem]:
    """Yield what is wrong with the components in `node`, a value of type `annotation`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _component_mistakes(arguments[0], kind, node, location)
    elif origin in (Union, UnionType):
        for option in arguments:
            yield from _component_mistakes(option, kind, node, location)
    elif origin is dict and isinstance(node.value, dict):
        for name, child in node.value.items():
            yield from _component_mistakes(arguments[1], kind, child, (*location, name))
    elif origin in (list, tuple) and isinstance(node.value, list):
        for index, child in enumerate(node.value):
            yield from _component_mistakes(arguments[0], kind, child, (*location, index))
    elif annotation is Use and kind is not None:
        yield from _use_mistakes(kind, node, location)
    elif is_model(annotation):
        yield from _field_mistakes(annotation, node, location)


def _use_mistakes(kind: str, node: Node, location: Location) -> Iterator[Problem]:
    name = node.child("name")
    if name is None or not isinstance(name.value, str):
        return  # the schema reports it
    try:
        component = registry.get(kind, name.value)
    except UserError as error:
        for problem in error.problems:
            yield name.problem(problem.message, dotted((*location, "name")))
        return
    params = {key: child for key, child in node.value.items() if key != "name"}
    yield from _mistakes(component.Params, Node(params, node.file, node.line, node.folder), location)


def _resolved(model: Any, node: Node | None, location: Location) -> Any:
    """Return `model` with the defaults of its components written out and its paths absolute."""
    values = {}
    for name, field in type(model).model_fields.items():
        child = node and node.child(name)
        value = _resolved_value(getattr(model, name), component_kind(field), child, (*location, name))
        values[name] = _local_path(value, child) if may_be_path(field) else value
    return model.model_copy(update=values)


def _resolved_value(value: Any, kind: str | None, node: Node | None, location: Location) -> Any:
    if isinstance(value, Use) and kind is not None:
        return _resolved_use(value, kind, node, location)
    if isinstance(value, BaseModel):
        return _resolved(value, node, location)
    if isinstance(value, dict):
        return {
            key: _resolved_value(item, kind, node and node.child(key), (*location, key)) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        items = (_resolved_value(item, kind, node and node.child(i), (*location, i)) for i, item in enumerate(value))
        return type(value)(items)
    if kind == "model" and isinstance(value, Path) and node is not None:
        with suppress(UserError):  # `_prior_mistakes` reports it
            return model_folder(value, node.folder).resolve()
    if isinstance(value, Path) and node is not None:
        return (node.folder / value.expanduser()).resolve()
    return value


def _resolved_use(use: Use, kind: str, node: Node | None, location: Location) -> Use:
    params = _resolved(_params(kind, use, location), node, location)
    return Use(name=use.name, **params.model_dump(mode="json"))


def _params(kind: str, use: Use, location: Location) -> BaseModel:
    """Return the parameters of a component, which may be another component's default that no file contains."""
    try:
        return registry.get(kind, use.name).Params(**use.params)
    except ValidationError as error:
        mistakes = error.errors()
        problems = [Problem(mistake["msg"], key=dotted((*location, *mistake["loc"]))) for mistake in mistakes]
        raise UserError(problems) from None
    except UserError as error:
        raise UserError([Problem(problem.message, key=dotted(location)) for problem in error.problems]) from None


def _local_path(value: Any, node: Node | None) -> Any:
    """Return the absolute path of a file beside the recipe; a name that is no file there, as of a hub, stays."""
    if not isinstance(value, str) or node is None:
        return value
    path = node.folder / Path(value).expanduser()
    return str(path.resolve()) if path.exists() or value.startswith((".", "~")) else value


def _city_mistakes(recipe: RecipeSchema, tree: Node) -> Iterator[Problem]:
    if isinstance(recipe.cities, CityFolder):
        yield from _missing_paths(recipe.cities, ("folder", "spec"), ("cities",), tree)
    for index, city in enumerate(recipe.cities if isinstance(recipe.cities, list) else []):
        yield from _missing_paths(city, ("prepared", "spec", "data"), ("cities", index), tree)
    if recipe.city is not None:
        yield from _missing_paths(recipe.city, ("prepared", "spec", "data"), ("city",), tree)


def _missing_paths(settings: BaseModel, names: Iterable[str], location: Location, tree: Node) -> Iterator[Problem]:
    """Yield a problem for each path among the fields `names` that does not exist; `spec` is a file."""
    for name in names:
        path = getattr(settings, name)
        if path is not None and not (path.is_file() if name == "spec" else path.is_dir()):
            kind = "file" if name == "spec" else "folder"
            yield tree.problem_at((*location, name), f"there is no {kind} '{path}'")


def _method_mistakes(recipe: RecipeSchema, tree: Node) -> Iterator[Problem]:
    """Yield what the method's class finds wrong with its parameters together with the modalities and views."""
    method = registry.get("method", recipe.method.name)
    if hasattr(method, "check"):
        params = method.Params(**recipe.method.params)
        for key, message in method.check(params, set(recipe.modalities), set(recipe.views)):
            yield tree.problem_at(("method", *split_key(key)), message)


def _task_mistakes(recipe: RecipeSchema, tree: Node) -> Iterator[Problem]:
    """Yield the tasks that sections name and the recipe does not have."""
    supervised = recipe.pretrain.supervised
    named: list[tuple[Location, str]] = [
        (("finetune", "loss_weights", name), name) for name in recipe.finetune.loss_weights
    ]
    named += [
        (("pretrain", "supervised", "tasks", i), name) for i, name in enumerate(supervised.tasks if supervised else [])
    ]
    for location, name in named:
        if name not in recipe.tasks:
            message = f"the recipe has no task '{name}'.{suggest(name, recipe.tasks)}"
            yield tree.problem_at(location, message)
    if recipe.finetune.loss_weights and not recipe.finetune.joint:
        message = "with `joint: false` each task has a training of its own, so there is no sum of losses; remove it"
        yield tree.problem_at(("finetune", "loss_weights"), message)


def _pretrain_mistakes(recipe: RecipeSchema, tree: Node) -> Iterator[Problem]:
    """Yield what `pretrain` needs several cities for, where the recipe has one."""
    if recipe.cities is not None:
        return
    for name, value in (("hold_out", recipe.pretrain.hold_out), ("supervised", recipe.pretrain.supervised)):
        if value:
            message = "needs `cities`: with one city, the city that is learned from would be the one that is evaluated"
            yield tree.problem_at(("pretrain", name), message)


def _transfer_mistakes(recipe: RecipeSchema, tree: Node) -> Iterator[Problem]:
    """Yield what is wrong with the section `transfer` together with the rest of the recipe."""
    transfer, finetune = recipe.transfer, recipe.finetune
    if transfer is None:
        return
    if not (transfer.source / "manifest.json").is_file():
        message = f"there is no run in '{transfer.source}'; name the folder of a run on the source city"
        yield tree.problem_at(("transfer", "from"), message)
    for name in transfer.modalities or ():
        if name not in recipe.modalities:
            message = f"the recipe has no modality '{name}'.{suggest(name, recipe.modalities)}"
            yield tree.problem_at(("transfer", "modalities"), message)
    probes = [name for name in recipe.evaluation.splits if not registry.get("split", name).sampled]
    if transfer.graph == "keep" and probes:
        message = f"`{probes[0]}` fits models to this city's labels, which `transfer.graph: keep` does not use"
        yield tree.problem_at(("evaluation", "splits"), f"{message}: remove it")
    frozen = finetune.paradigm == "linear_probe" or (finetune.paradigm == "finetune" and not finetune.update)
    if transfer.graph == "keep" and not frozen:
        key = "update" if finetune.paradigm == "finetune" else "paradigm"
        message = "`transfer.graph: keep` changes no weight: use finetune.paradigm finetune with `update: []`"
        yield tree.problem_at(("finetune", key), f"{message}, or linear_probe")


def _prior_mistakes(recipe: RecipeSchema, tree: Node) -> Iterator[Problem]:
    """Yield what is wrong with the key `prior` together with the rest of the recipe."""
    if recipe.prior is None:
        return
    if not any((recipe.prior / name).is_file() for name in ("model.json", "manifest.json")):
        message = f"there is neither a model nor a run in '{recipe.prior}'; `urbankit export RUN --to model` writes one"
        node = tree.child("prior")
        try:
            model_folder(node.value if node else recipe.prior, node.folder if node else Path())
        except UserError as error:
            message = str(error)
        yield tree.problem_at(("prior",), message)
    if recipe.transfer is not None and recipe.transfer.graph == "keep":
        message = "`transfer.graph: keep` fits heads to the labels of another city alone, which no prior can precede"
        yield tree.problem_at(("prior",), f"{message}: remove one of the two")
    if recipe.finetune.paradigm == "linear_probe":
        message = "`finetune.paradigm: linear_probe` replaces all heads by linear ones, which do not take a prior"
        yield tree.problem_at(("prior",), f"{message}: remove one of the two")
        return
    for name, task in recipe.tasks.items():
        if task.prior and not takes_prior(task.head.name):
            heads = ", ".join(other for other in registry.names("head") if takes_prior(other))
            message = f"the head {task.head.name} does not take a prior; use one of {heads}, or leave the task out"
            yield tree.problem_at(("tasks", name, "head"), f"{message} with `prior: false`")


def takes_prior(head: str) -> bool:
    """Whether a head of this name can start from the predictions of another model."""
    try:
        return bool(registry.get("head", head).takes_prior)
    except UserError:  # a plugin that cannot be loaded
        return False
