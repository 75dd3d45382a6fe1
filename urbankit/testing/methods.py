"""What a method promises."""

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


def fits_the_recipe(subject: Candidate) -> Iterator[str]:
    """Its own check has nothing against the modalities and views of the test."""
    modalities, views = _recipe(subject)
    for key, message in subject.component.check(subject.validated, set(modalities), set(views)):
        yield f"check() says of method.{key}: {message}; give the test the modalities and views that it needs"


def embeds(subject: Candidate) -> Iterator[str]:
    """It gives any regions embeddings of `dim` numbers, which its blocks divide."""
    method = _method(subject).eval()
    with torch.no_grad():
        for regions in (_everyone(), torch.tensor([4]), torch.tensor([19, 2, 2])):
            yield from shape_fault(f"forward() of {len(regions)} regions", method(regions), len(regions), method.dim)
    if method.blocks and sum(method.blocks) != method.dim:
        yield f"blocks are {list(method.blocks)}, which sum to {sum(method.blocks)}; expected dim, {method.dim}"
    if method.block_names and len(method.block_names) != len(method.blocks):
        yield f"{len(method.block_names)} block_names for {len(method.blocks)} blocks; name each"


def has_losses(subject: Candidate) -> Iterator[str]:
    """Its losses are finite, `total` among them, for any mini-batch."""
    method = _method(subject).train()
    if not method.pretrains:
        return
    for regions in (_everyone(), torch.tensor([7, 1]), torch.tensor([19])):
        losses = method.loss(regions)
        if "total" not in losses:
            yield f"loss() gives {', '.join(losses)}; expected `total`, which is minimised, and what it consists of"
            return
        for name, value in losses.items():
            yield from shape_fault(f"loss() of {len(regions)} regions, '{name}',", torch.as_tensor(value))


def learns(subject: Candidate) -> Iterator[str]:
    """`parts` names every trainable parameter once, and each part gets a gradient."""
    method = _method(subject).train()
    parts = method.parts()
    named = [id(p) for part in parts.values() for p in part]
    trainable = {id(p): name for name, p in method.named_parameters() if p.requires_grad}
    if missing := [name for key, name in trainable.items() if key not in named]:
        yield f"parts() leaves out {', '.join(missing[:4])}, which then are never updated; name the part they belong to"
    if len(set(named)) < len(named):
        yield "parts() names a parameter twice; each belongs to one part"
    if not trainable or not method.pretrains:
        return
    method.loss(_everyone())["total"].backward()
    for name, parameters in parts.items():
        if wrong := [p for p in parameters if p.grad is not None and not p.grad.isfinite().all()]:
            yield f"the gradient of {len(wrong)} parameters of the part '{name}' is not finite"
        elif parameters and not any(p.grad is not None and p.grad.any() for p in parameters):
            yield f"no gradient reaches the part '{name}'; use it in the loss, or leave it out"


def freezes(subject: Candidate) -> Iterator[str]:
    """Where fine-tuning updates none of its parts, no parameter changes and embeddings stay."""
    method = _method(subject)
    before = _embeddings(method)
    method.freeze(set())
    if left := [name for name, p in method.named_parameters() if p.requires_grad]:
        yield f"freeze() of all parts leaves {', '.join(left[:4])} trainable; parts() is to name them"
    if not same(_embeddings(method), before):
        yield "freeze() changes the embeddings; what it keeps is to be what forward() computes"


def repeats(subject: Candidate) -> Iterator[str]:
    """The same seed gives the same embeddings."""
    yield from determinism_faults(lambda seed: _method(subject, seed=seed), _forward)


def restores(subject: Candidate) -> Iterator[str]:
    """Its state is enough to have its embeddings again."""

    def run(method: torch.nn.Module) -> Tensor:
        method.prepare()
        torch.manual_seed(3)
        return _forward(method.eval())

    yield from state_faults(lambda seed: _method(subject, seed=seed), run)


def follows_the_batch(subject: Candidate) -> Iterator[str]:
    """Regions in another order, or fewer of them, have the same embeddings, where nothing is drawn at random."""
    method = _method(subject)
    if not _draws_nothing(method):
        return
    order = torch.randperm(len(_everyone()), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        if not same(method(order), method(_everyone())[order]):
            yield "a region's embedding depends on where it stands in the batch; index what belongs to it by its number"


def follows_the_regions(subject: Candidate) -> Iterator[str]:
    """An inductive method gives regions in another order the same embeddings, where nothing is drawn at random."""
    method = _method(subject)
    if not method.inductive or not _draws_nothing(method):
        return
    city, order = shuffled_city()
    moved = _method(subject, city)
    state = {name: tensor for name, tensor in method.state_dict().items() if name not in method.region_state}
    moved.load_state_dict(state, strict=False)
    moved.prepare()
    if not same(_embeddings(moved), _embeddings(method)[torch.from_numpy(order)]):
        yield (
            "of regions in another order the embeddings are others, though it says `inductive`; list buffers that hold "
            "something of single regions in region_state, or say inductive = False"
        )


def _method(subject: Candidate, city: City | None = None, seed: int = 0) -> Method:
    city, (modalities, views) = city or tiny_city(), _recipe(subject)
    graphs = {name: registry.create("view", Use(**view)).build(city) for name, view in views.items()}
    inputs = MethodInputs(city, {name: Use(**use) for name, use in modalities.items()}, graphs)
    method = subject.create(inputs, seed=seed)
    method.prepare()
    return method


def _recipe(subject: Candidate) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The modalities and views that were given, or those of every kind."""
    modalities, views = subject.given.get("modalities"), subject.given.get("views")
    return MODALITIES if modalities is None else dict(modalities), VIEWS if views is None else dict(views)


def _everyone() -> Tensor:
    return torch.arange(tiny_city().n_regions)


def _forward(method: torch.nn.Module) -> Tensor:
    return method(_everyone())


def _embeddings(method: Method, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return method.eval()(_everyone())


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
