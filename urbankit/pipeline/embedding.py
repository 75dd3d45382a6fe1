"""Embeddings of all regions of a city by a trained method."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from urbankit.methods.base import Method
from urbankit.modalities.base import ModalityEncoder
from urbankit.recipe.recipe import Recipe
from urbankit.training.seeds import epoch_seed
from urbankit.utils.device import pick_device
from urbankit.utils.errors import Diverged

REGIONS_AT_ONCE = 1024


def embed_regions(method: Method, recipe: Recipe, n_regions: int) -> Tensor:
    """Return the embeddings, float32 [N, dim] on the device of the method. Raises `Diverged` if one is not finite."""
    method.eval()
    torch.manual_seed(epoch_seed(recipe.seed, "embed", 0))
    with torch.no_grad(), method.unchanged():
        batches = torch.arange(n_regions, device=pick_device(recipe.device)).split(REGIONS_AT_ONCE)
        embeddings = torch.cat([method(batch).float() for batch in batches])
    if not torch.isfinite(embeddings).all():
        raise Diverged("the method's embeddings are not all finite; nothing was written. Lower the learning rate.")
    return embeddings


def described(encoders: Iterable[ModalityEncoder]) -> dict[str, list[str]]:
    """Return for each modality that describes others, such as `text`, which of them it describes observation by
    observation in its city.
    """
    encoders = list(encoders)
    names = {
        encoder.modality: [other.modality for other in encoders if encoder.describes(other.modality)]
        for encoder in encoders
    }
    return {name: others for name, others in names.items() if others}
