"""Extensions of the UrbanMMCL paper: projection heads, masked node features, blocks of equal size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from urbankit.utils.torch_modules import NamedModules, mean_and_std


def pretext_heads(
    dims: Mapping[str, int], projection: int, masked: bool, width: int
) -> tuple[NamedModules[nn.Module], NamedModules[nn.Module]]:
    """The modules that only pre-training uses, by joined view of width `dims[view]`.

    The projection heads (SimCLR) have the width `projection`, 0 for none. The decoders of masked node features give
    [B, width]; without `masked` there are none.
    """
    projection_heads: NamedModules[nn.Module] = NamedModules()
    decoders: NamedModules[nn.Module] = NamedModules()
    for view, dim in dims.items():
        if projection:
            projection_heads[view] = nn.Sequential(
                nn.Linear(dim, projection), nn.LeakyReLU(), nn.Linear(projection, projection)
            )
        if masked:
            decoders[view] = nn.Linear(dim, width)
    return projection_heads, decoders


def draw_mask(n: int, share: float, device: torch.device) -> Tensor:
    """Return which of `n` regions (bool [n]) a training step masks, each with probability `share`."""
    return torch.rand(n).to(device) < share


def masked_losses(
    decoders: NamedModules[nn.Module], embeddings: Mapping[str, Tensor], features: Tensor, mask: Tensor
) -> dict[str, Tensor]:
    """The mean squared error of each view's embeddings in predicting the masked node features (after GraphMAE).

    Args:
        decoders: by joined view, map embeddings to node features.
        embeddings: by joined view, [B, d].
        features: node features of the mini-batch, [B, width]. They are standardised over it and carry no gradient, so
            that nothing is gained by making them easy to predict.
        mask: bool [B], whose features were hidden.

    Returns:
        A loss by name; none where nothing is masked, or for a single region, which has no standard deviation.
    """
    if len(features) < 2 or not mask.any():
        return {}
    mean, std = mean_and_std(features)
    target = ((features - mean) / std).detach()[mask]
    return {
        f"{view} masked": (decoder(embeddings[view][mask]) - target).square().mean()
        for view, decoder in decoders.items()
    }


def block_statistics(z: Tensor, widths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean [dim] of the embeddings `z` [N, dim], and for each column [dim] the size of its block.

    A block's size is the root of its mean squared length about the mean, 1 for a constant block (after multiple factor
    analysis).
    """
    mean, size = z.mean(dim=0), torch.ones_like(z[0])
    for block, values in zip((z - mean).split(widths, dim=1), size.split(widths), strict=True):
        length = block.square().sum(dim=1).mean().sqrt()
        values.fill_(length if length > 1e-6 else 1.0)
    return mean, size
