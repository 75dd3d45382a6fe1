"""Loads the weights of a run on another city into a method that was built for this city."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from urbankit import registry
from urbankit.methods.base import Method, MethodInputs
from urbankit.modalities.absent import AbsentEncoder
from urbankit.modalities.base import ModalityEncoder
from urbankit.pipeline.transfer.source import KEY, Trained
from urbankit.recipe.recipe import Recipe
from urbankit.training.checkpoint import with_prefix
from urbankit.utils.errors import Problem, Problems, UserError


def transfer_weights(method: Method, inputs: MethodInputs, recipe: Recipe, source: Trained) -> list[str]:
    """Load the weights of `source` that `recipe.transfer` selects into `method`, and return notes for the manifest.

    Raises one `UserError` with every mismatch.
    """
    transfer, problems, notes = recipe.transfer, Problems(), []
    assert transfer is not None
    keep = transfer.graph == "keep"
    if recipe.method.name != source.recipe.method.name:
        message = f"the method is {source.recipe.method.name} in {source.title} and {recipe.method.name} in this recipe"
        raise UserError(Problem(message, source.path, key="method.name"))
    state: dict[str, Tensor] = {}
    encoders = {path: module for path, module in method.named_modules() if isinstance(module, ModalityEncoder)}
    for path, encoder in encoders.items():
        name = encoder.modality
        if isinstance(encoder, AbsentEncoder):
            continue
        if transfer.modalities is not None and name not in transfer.modalities:
            notes.append(
                f"transfer: modality {name} is initialised at random, because it is not in transfer.modalities"
            )
            continue
        state_of_source = with_prefix(f"{path}.", source.state)
        if not state_of_source and not keep and transfer.modalities is None:
            notes.append(f"transfer: modality {name} is initialised at random, because {source.title} does not have it")
            continue
        try:
            _check_encoder(recipe, source, name, state_of_source)
            carried, more = encoder.carried(state_of_source, transfer.statistics)
        except ValueError as error:
            problems.add(f"{error}. {_remedy(keep)}", key=f"modalities.{name}")
            continue
        notes += [f"transfer: modality {name}: {note}" for note in more]
        state |= {f"{path}.{key}": value for key, value in carried.items()}
    if keep:
        problems.extend(_method_mistakes(method, inputs, recipe, source))
        notes += _view_notes(recipe, source, list(inputs.views))
        state |= _rest(method, list(encoders), source, problems)
    elif not state and not problems:
        problems.add(f"no encoder of {source.title} fits into this recipe, so no weights would be loaded", key=KEY)
    if problems:
        raise UserError([Problem(problem.message, source.path, key=problem.key) for problem in problems])
    method.load_state_dict(state, strict=False)
    if keep:
        method.prepare()
        # `prepare` may overwrite state with statistics of this city, as `urbanmmcl` does for `block_scale: unit`.
        method.load_state_dict(state, strict=False)
    return notes


def _check_encoder(recipe: Recipe, source: Trained, name: str, state: dict[str, Tensor]) -> None:
    """Raise `ValueError` if the source's weights `state` of the modality `name` do not fit the recipe's encoder."""
    target, origin = recipe.modalities[name], source.recipe.modalities.get(name)
    if origin is None or not state:
        raise ValueError(f"{source.title} has no such modality")
    if origin.name != target.name:
        raise ValueError(f"its encoder is {origin.name} in {source.title} and {target.name} in this recipe")
    encoder = registry.get("modality_encoder", target.name)
    differences = _differences(origin.params, target.params, encoder.free_in_transfer)
    if texts := [f"{key} is {a} in {source.title} and {b} in this recipe" for key, a, b in differences]:
        raise ValueError(f"its parameters differ: {', '.join(texts)}")
    reason = encoder.untransferable(encoder.Params(**target.params))
    if reason is not None:
        raise ValueError(reason)


def _method_mistakes(method: Method, inputs: MethodInputs, recipe: Recipe, source: Trained) -> Iterator[Problem]:
    """Yield the reasons why all weights of the source run cannot be used for the regions of this city."""
    if not method.inductive:
        message = f"the weights of {recipe.method.name} belong to the regions that it was trained on; use graph: new"
        yield Problem(message, key="transfer.graph")
    for key, a, b in _differences(source.recipe.method.params, recipe.method.params):
        message = f"is {a} in {source.title} and {b} in this recipe; graph: keep needs the same value"
        yield Problem(message, key=f"method.{key}")
    for kind, names in (("modalities", list(inputs.modalities)), ("views", list(inputs.views))):
        names_of_source = getattr(source, kind)
        for name in names_of_source:
            if name not in names:
                message = f"{source.title} has it, but this city or recipe does not"
                yield Problem(f"{message}. {_remedy(True)}", key=f"{kind}.{name}")
        for name in names:
            if name not in names_of_source and kind == "views":
                yield Problem(f"{source.title} has no such view. {_remedy(True)}", key=f"{kind}.{name}")
        if sorted(names) == sorted(names_of_source) and names != names_of_source:
            message = f"{source.title} has them in another order, which must be the same: {', '.join(names_of_source)}"
            yield Problem(message, key=kind)
    for name, view in recipe.views.items():
        origin = source.recipe.views.get(name)
        if origin is not None and origin.name != view.name:
            message = f"the view is {origin.name} in {source.title} and {view.name} in this recipe"
            yield Problem(message, key=f"views.{name}")


def _view_notes(recipe: Recipe, source: Trained, names: list[str]) -> Iterator[str]:
    """Yield a note for each parameter of a view that differs; this is allowed, as cities may need other neighbours."""
    for name in names:
        origin, target = source.recipe.views.get(name), recipe.views.get(name)
        if origin is None or target is None or origin.name != target.name:
            continue
        for key, a, b in _differences(origin.params, target.params):
            yield f"transfer: view {name}: {key} is {a} in {source.title} and {b} in this recipe"


def _rest(method: Method, encoders: list[str], source: Trained, problems: Problems) -> dict[str, Tensor]:
    """Return the source's state without encoders and tensors of single regions; adds a problem if shapes differ."""

    def rest(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: value
            for name, value in state.items()
            if name not in method.region_state and not any(name.startswith(f"{path}.") for path in encoders)
        }

    loaded, current = rest(source.state), rest(method.state_dict())
    shapes = [{name: list(value.shape) for name, value in state.items()} for state in (loaded, current)]
    if shapes[0] != shapes[1] and not problems:
        name = next(name for name in {**current, **loaded} if shapes[0].get(name) != shapes[1].get(name))
        a, b = (str(by_name.get(name, "missing")) for by_name in shapes)
        problems.add(f"the shape of '{name}' is {a} in {source.title} and {b} here; use its recipe", key="method")
    return loaded


def _differences(a: dict[str, Any], b: dict[str, Any], ignored: Collection[str] = ()) -> Iterator[tuple]:
    """Yield the key and both values of each parameter that differs between `a` and `b`, except `ignored` keys."""
    for key in dict.fromkeys([*a, *b]):
        if key not in ignored and a.get(key) != b.get(key):
            yield key, a.get(key), b.get(key)


def _remedy(keep: bool) -> str:
    if keep:
        return "Remove it from both recipes, or use the same in both"
    return "Use the parameters of the source run, or list only the other modalities in transfer.modalities"
