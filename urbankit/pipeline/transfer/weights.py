"""Takes the weights of a run on another city over into a method that was built for this one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor

from urbankit import registry
from urbankit.methods.base import Method, MethodInputs
from urbankit.modalities.base import ModalityEncoder
from urbankit.pipeline.transfer.source import KEY, Source
from urbankit.recipe.recipe import Recipe
from urbankit.utils.errors import Problem, Problems, UserError


def transfer_weights(method: Method, inputs: MethodInputs, recipe: Recipe, source: Source) -> list[str]:
    """Load the weights of `source` that `recipe.transfer` wants into `method`; returns what there is to note.

    Raises one `UserError` with everything that does not fit.
    """
    wanted, problems, notes = recipe.transfer, Problems(), []
    assert wanted is not None
    keep = wanted.graph == "keep"
    if recipe.method.name != source.recipe.method.name:
        message = f"the run's method is {source.recipe.method.name}, this one's {recipe.method.name}; take the same"
        raise UserError(Problem(message, source.run.path, key="method.name"))
    state: dict[str, Tensor] = {}
    encoders = {path: module for path, module in method.named_modules() if isinstance(module, ModalityEncoder)}
    for path, encoder in encoders.items():
        name = encoder.modality
        if wanted.modalities is not None and name not in wanted.modalities:
            notes.append(f"transfer: modality {name} begins anew, as it is not among transfer.modalities")
            continue
        there = _below(f"{path}.", source.state)
        if not there and not keep and wanted.modalities is None:
            notes.append(f"transfer: modality {name} begins anew, as the run has none")
            continue
        try:
            _check_encoder(recipe, source, name, there)
            carried, more = encoder.carried(there, wanted.statistics)
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
        problems.add("no encoder of the run fits into this recipe, so nothing would be taken over", key=KEY)
    if problems:
        raise UserError([Problem(found.message, source.run.path, key=found.key) for found in problems])
    method.load_state_dict(state, strict=False)
    if keep:
        method.prepare()
        # It may have measured this city, as `urbanmmcl` does for `block_scale: unit`; what is kept is the source's.
        method.load_state_dict(state, strict=False)
    return notes


def _check_encoder(recipe: Recipe, source: Source, name: str, there: dict[str, Tensor]) -> None:
    """Raise `ValueError` where weights of the run's modality `name`, `there`, would mean nothing here."""
    here, other = recipe.modalities[name], source.recipe.modalities.get(name)
    if other is None or not there:
        raise ValueError("the run has no such modality")
    if other.name != here.name:
        raise ValueError(f"it is encoded by {other.name} there and by {here.name} here")
    encoder = registry.get("modality_encoder", here.name)
    differing = _differing(other.params, here.params, encoder.free_in_transfer)
    if unlike := [f"{key} {a} there and {b} here" for key, a, b in differing]:
        raise ValueError(f"its parameters differ: {', '.join(unlike)}")
    reason = encoder.untransferable(encoder.Params(**here.params))
    if reason is not None:
        raise ValueError(reason)


def _method_mistakes(method: Method, inputs: MethodInputs, recipe: Recipe, source: Source) -> Iterator[Problem]:
    """Why the whole of the run's weights cannot serve the regions of this city."""
    if not method.inductive:
        message = f"the weights of {recipe.method.name} are tied to the regions that it was trained on: graph: new"
        yield Problem(message, key="transfer.graph")
    for key, there, here in _differing(source.recipe.method.params, recipe.method.params):
        yield Problem(f"is {there} in the run and {here} here; graph: keep takes the run's", key=f"method.{key}")
    for kind, here in (("modalities", list(inputs.modalities)), ("views", list(inputs.views))):
        there = source.manifest.get(kind, list(getattr(source.recipe, kind)))
        for name in there:
            if name not in here:
                message = "the run has it and this city or recipe has not, so that its weights have nothing to read"
                yield Problem(f"{message}. {_remedy(True)}", key=f"{kind}.{name}")
        for name in here:
            if name not in there and kind == "views":
                yield Problem(f"the run has no such view. {_remedy(True)}", key=f"{kind}.{name}")
        if sorted(here) == sorted(there) and here != there:
            yield Problem(f"the run has them in another order, in which they are joined: {', '.join(there)}", key=kind)
    for name, view in recipe.views.items():
        other = source.recipe.views.get(name)
        if other is not None and other.name != view.name:
            yield Problem(f"it is built by {other.name} there and by {view.name} here", key=f"views.{name}")


def _view_notes(recipe: Recipe, source: Source, names: list[str]) -> Iterator[str]:
    """Parameters of views that differ: another city may want other neighbours, and the user should know."""
    for name in names:
        there, here = source.recipe.views.get(name), recipe.views.get(name)
        if there is None or here is None or there.name != here.name:
            continue
        for key, a, b in _differing(there.params, here.params):
            yield f"transfer: view {name}: {key} is {a} in the run and {b} here"


def _rest(method: Method, encoders: list[str], source: Source, problems: Problems) -> dict[str, Tensor]:
    """The state of everything but the encoders and what belongs to single regions."""

    def rest(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: value
            for name, value in state.items()
            if name not in method.region_state and not any(name.startswith(f"{path}.") for path in encoders)
        }

    there, here = rest(source.state), rest(method.state_dict())
    shapes = [{name: list(value.shape) for name, value in state.items()} for state in (there, here)]
    if shapes[0] != shapes[1] and not problems:
        name = next(name for name in {**here, **there} if shapes[0].get(name) != shapes[1].get(name))
        shape = " and ".join(str(one.get(name, "nothing")) for one in shapes)
        problems.add(f"'{name}' has the shapes {shape} in the run and here; use the run's recipe", key="method")
    return there


def _differing(there: dict[str, Any], here: dict[str, Any], free: Collection[str] = ()) -> Iterator[tuple]:
    """Key, value there and value here of parameters that differ."""
    for key in dict.fromkeys([*there, *here]):
        if key not in free and there.get(key) != here.get(key):
            yield key, there.get(key), here.get(key)


def _remedy(keep: bool) -> str:
    if keep:
        return "Leave it out of both recipes, or give both the same"
    return "Give it the run's parameters, or name the others in transfer.modalities, so that it begins anew"


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
