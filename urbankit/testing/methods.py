"""The conformance checks of a method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from urbankit import registry
from urbankit.city.city import City
from urbankit.methods.base import Method, MethodInputs
from urbankit.registry.component import Use
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.city import shuffled_city, tiny_city
from urbankit.testing.modules import determinism_faults, same, shape_fault, state_faults

VIT: dict[str, Any] = {"name": "vit", "patch_size": 8, "hidden_size": 16, "layers": 1, "heads": 2}
MODALITIES: dict[str, dict[str, Any]] = {
    "rsi": VIT,
    "svi": VIT,
    "text": {"name": "text", "hidden_size": 16, "layers": 1, "heads": 2, "vocabulary": 300},
    "location": {"name": "geoclip", "features": 8, "hidden": 16, "layers": 1, "width": 16},
    "poi_counts": {"name": "poi_counts"},
}
VIEWS: dict[str, dict[str, Any]] = {name: {"name": name} for name in ("poi", "mobility", "distance")}


def fits_the_recipe(candidate: Candidate) -> Iterator[str]:
    """`check` accepts the modalities and views of the test."""
    modalities, views = _recipe(candidate)
    for key, message in candidate.component.check(candidate.validated, set(modalities), set(views)):
        yield f"check() rejects method.{key}: {message}; pass the modalities and views that it needs to the test"


def embeds(candidate: Candidate) -> Iterator[str]:
    """It computes embeddings of `dim` numbers for any regions, and the sizes of the blocks sum to `dim`."""
    method = _method(candidate).eval()
    with torch.no_grad():
        for regions in (_all_regions(), torch.tensor([4]), torch.tensor([19, 2, 2])):
            yield from shape_fault(f"forward() of {len(regions)} regions", method(regions), len(regions), method.dim)
    if method.blocks and sum(method.blocks) != method.dim:
        yield f"blocks are {list(method.blocks)}, which sum to {sum(method.blocks)}; expected dim, {method.dim}"
    if method.block_names and len(method.block_names) != len(method.blocks):
        yield f"{len(method.block_names)} block_names for {len(method.blocks)} blocks; name each"


def has_losses(candidate: Candidate) -> Iterator[str]:
    """Its losses are finite and contain `total`, for any mini-batch."""
    method = _method(candidate).train()
    if not method.pretrains:
        return
    for regions in (_all_regions(), torch.tensor([7, 1]), torch.tensor([19])):
        losses = method.loss(regions)
        if "total" not in losses:
            yield f"loss() gives {', '.join(losses)}; expected `total`, which is minimised, and its terms"
            return
        for name, value in losses.items():
            yield from shape_fault(f"loss() of {len(regions)} regions, '{name}',", torch.as_tensor(value))


def learns(candidate: Candidate) -> Iterator[str]:
    """`parts` names every trainable parameter once, and each part gets a gradient."""
    method = _method(candidate).train()
    parts = method.parts()
    named = [id(p) for part in parts.values() for p in part]
    trainable = {id(p): name for name, p in method.named_parameters() if p.requires_grad}
    if missing := [name for key, name in trainable.items() if key not in named]:
        yield f"parts() leaves out {', '.join(missing[:4])}, which are then never updated; add them to a part"
    if len(set(named)) < len(named):
        yield "parts() names a parameter twice; each must be in one part"
    if not trainable or not method.pretrains:
        return
    method.loss(_all_regions())["total"].backward()
    for name, parameters in parts.items():
        if wrong := [p for p in parameters if p.grad is not None and not p.grad.isfinite().all()]:
            yield f"the gradient of {len(wrong)} parameters of the part '{name}' is not finite"
        elif parameters and not any(p.grad is not None and p.grad.any() for p in parameters):
            yield f"no gradient reaches the part '{name}'; use it in the loss, or leave it out"


def freezes(candidate: Candidate) -> Iterator[str]:
    """`freeze` of all parts leaves no trainable parameter and does not change the embeddings."""
    method = _method(candidate)
    before = _embeddings(method)
    method.freeze(set())
    if left := [name for name, p in method.named_parameters() if p.requires_grad]:
        yield f"freeze() of all parts leaves {', '.join(left[:4])} trainable; name them in parts()"
    if not same(_embeddings(method), before):
        yield "freeze() changes the embeddings; values that it caches must equal those of forward()"


def repeats(candidate: Candidate) -> Iterator[str]:
    """The same seed gives the same embeddings."""
    yield from determinism_faults(lambda seed: _method(candidate, seed=seed), _forward)


def restores(candidate: Candidate) -> Iterator[str]:
    """Saving and loading the state restores its embeddings."""

    def run(method: Method) -> Tensor:
        method.prepare()
        torch.manual_seed(3)
        return _forward(method.eval())

    yield from state_faults(lambda seed: _method(candidate, seed=seed), run)


def follows_the_batch(candidate: Candidate) -> Iterator[str]:
    """The embedding of a region does not depend on the rest of the batch, unless the method draws random numbers."""
    method = _method(candidate)
    if not _draws_nothing(method):
        return
    order = torch.randperm(len(_all_regions()), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        if not same(method(order), method(_all_regions())[order]):
            yield "the embedding of a region depends on its position in the batch; index by region number"


def follows_the_regions(candidate: Candidate) -> Iterator[str]:
    """The embeddings of an inductive method do not depend on the order of the regions in the city."""
    method = _method(candidate)
    if not method.inductive or not _draws_nothing(method):
        return
    city, order = shuffled_city()
    moved = _method(candidate, city)
    state = {name: tensor for name, tensor in method.state_dict().items() if name not in method.region_state}
    moved.load_state_dict(state, strict=False)
    moved.prepare()
    if not same(_embeddings(moved), _embeddings(method)[torch.from_numpy(order)]):
        yield (
            "the embeddings change with the order of the regions, though `inductive` is true; list buffers with one "
            "entry per region in region_state, or set inductive = False"
        )


def _method(candidate: Candidate, city: City | None = None, seed: int = 0) -> Method:
    city, (modalities, views) = (city or tiny_city()).unlabelled(), _recipe(candidate)
    graphs = {name: registry.create("view", Use(**view)).build(city) for name, view in views.items()}
    inputs = MethodInputs(city, {name: Use(**use) for name, use in modalities.items()}, graphs)
    method = candidate.create(inputs, seed=seed)
    method.prepare()
    return method


def _recipe(candidate: Candidate) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the modalities and views of the test, by default those of every kind."""
    modalities, views = candidate.options.get("modalities"), candidate.options.get("views")
    return MODALITIES if modalities is None else dict(modalities), VIEWS if views is None else dict(views)


def _all_regions() -> Tensor:
    return torch.arange(tiny_city().n_regions)


def _forward(method: Method) -> Tensor:
    return method(_all_regions())


def _embeddings(method: Method, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return method.eval()(_all_regions())


def _draws_nothing(method: Method) -> bool:
    return torch.equal(_embeddings(method, 1), _embeddings(method, 2))


CHECKS: tuple[Check, ...] = (
    fits_the_recipe,
    embeds,
    has_losses,
    learns,
    freezes,
    repeats,
    restores,
    follows_the_batch,
    follows_the_regions,
)
