"""Locations as a modality: GeoCLIP's encoder of coordinates (eq. 11)."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from urbankit.city.city import City
from urbankit.modalities.location import LocationEncoder, LocationParams
from urbankit.modalities.pretrained.checkpoints import read_weights, weights_file
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.torch_modules import ModuleList

SIGMAS = {"global": (1.0, 16.0, 256.0), "local": (0.125, 0.5, 2.0)}
# GeoCLIP scales the equal-earth projection of the unit sphere so that x spans about -1 to 1.
GEOCLIP_SCALE = 66.50336 / 180


class GeoCLIP(LocationEncoder):
    """Equal-earth projection, random Fourier features of several frequencies, and a perceptron for each, summed.

    From GeoCLIP (Vivanco Cepeda et al., 2023), which the paper takes its location encoder from. A region's observation
    is its centroid; `of` an image source, its images' own locations.

    GeoCLIP's frequencies are made for the globe: across a city of 30 km the projected coordinates differ by 0.002, so
    features with σ = 1 and 16 are constant there and those with σ = 256 turn by half a cycle. `scale: local` therefore
    centres the projected coordinates on the city and divides them by their standard deviation (of both axes
    together, about a quarter of the city's width). A σ is then in cycles per standard deviation, and the default 1/8,
    1/2, 2 reach from the whole city to an eighth of its width. Another city that loads the weights keeps its own
    centre and standard deviation.
    """

    bound = ("centre", "std")

    class Params(LocationParams):
        scale: Literal["local", "global"] = Field(
            "local", description="Coordinates relative to the city, or GeoCLIP's own, relative to the globe."
        )
        sigmas: list[float] | None = Field(
            None,
            min_length=1,
            description="Standard deviation of the random frequencies of each level, in cycles per unit of the scaled "
            "coordinates. Default: 0.125, 0.5, 2 at local scale; 1, 16, 256 at global scale.",
            json_schema_extra={"source": "GeoCLIP: 2^0, 2^4, 2^8"},
        )
        features: int = Field(64, ge=1, description="Random frequencies per level (GeoCLIP: 256).")
        hidden: int = Field(128, ge=1, description="Width of each level's hidden layers (GeoCLIP: 1024).")
        layers: int = Field(2, ge=0, description="Hidden layers of each level (GeoCLIP: 3).")
        width: int = Field(64, ge=1, description="Width of the encoder's vectors (GeoCLIP: 512).")
        pretrained: str | None = Field(
            None,
            description="A file with GeoCLIP's location encoder (safetensors, or a state dict that torch reads without "
            "running code), a hub name with one, or pip:geoclip; it also decides features, hidden, layers and "
            "width, and needs `scale: global`.",
            json_schema_extra={"local_path": True},
        )

        @model_validator(mode="after")
        def _global_when_pretrained(self) -> GeoCLIP.Params:
            if self.pretrained is not None and self.scale != "global":
                raise ValueError("pretrained weights are for GeoCLIP's own coordinates: set 'scale: global'")
            if self.pretrained is not None and self.sigmas is not None:
                raise ValueError("pretrained weights have their own frequencies: remove 'sigmas'")
            return self

    params: Params
    centre: Tensor
    std: Tensor

    def __init__(self, params: GeoCLIP.Params, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        if params.pretrained is None:
            sigmas = params.sigmas or list(SIGMAS[params.scale])
            width = params.width
            self.levels = _levels(sigmas, params.features, params.hidden, params.layers, width)
        else:
            key = f"modalities.{modality}.pretrained"
            self._weights = weights_file(params.pretrained, key, params.revision, prefer="location_encoder")
            self.levels, width = _pretrained_levels(self._weights, key)
        centre, std = torch.zeros(2, dtype=torch.float64), torch.tensor(1 / GEOCLIP_SCALE, dtype=torch.float64)
        if params.scale == "local":
            projected = equal_earth(torch.from_numpy(self._centroids))
            centre = projected.mean(0)
            std = (projected - centre).square().mean().sqrt()
            std = torch.where(std > 0, std, torch.ones_like(std))
        self.register_buffer("centre", centre)
        self.register_buffer("std", std)
        self.connect(width)

    def forward(self, batch: Tensor) -> Tensor:
        coordinates = ((equal_earth(batch.double()) - self.centre) / self.std).float()
        return torch.stack([level(coordinates) for level in self.levels]).sum(0)


class FourierFeatures(nn.Module):
    """cos(2π B x), sin(2π B x) with B drawn from N(0, σ²): Tensor[n, 2] to Tensor[n, 2 · features], in float32."""

    b: Tensor

    def __init__(self, sigma: float, features: int) -> None:
        super().__init__()
        self.register_buffer("b", torch.randn(features, 2) * sigma)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # a phase in bfloat16 is noise
            phase = 2 * math.pi * x.float() @ self.b.T
        return torch.cat([phase.cos(), phase.sin()], dim=-1)


def equal_earth(lonlat: Tensor) -> Tensor:
    """The equal-earth projection (Šavrič et al., 2018) on the unit sphere.

    Args:
        lonlat: Tensor[n, 2] longitude and latitude in degrees.

    Returns:
        Tensor[n, 2], x and y in radii.
    """
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    longitude, latitude = torch.deg2rad(lonlat).unbind(-1)
    theta = torch.asin(math.sqrt(3) / 2 * latitude.sin())
    slope = 9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1
    x = 2 * math.sqrt(3) * longitude * theta.cos() / (3 * slope)
    y = a4 * theta**9 + a3 * theta**7 + a2 * theta**3 + a1 * theta
    return torch.stack([x, y], dim=-1)


def _levels(sigmas: list[float], features: int, hidden: int, layers: int, width: int) -> ModuleList[nn.Sequential]:
    """One perceptron on Fourier features for every sigma."""
    sizes = [2 * features, *[hidden] * layers, width]
    levels: ModuleList[nn.Sequential] = ModuleList()
    for sigma in sigmas:
        linear = [nn.Linear(inside, outside) for inside, outside in pairwise(sizes)]
        between = [module for layer in linear[:-1] for module in (layer, nn.ReLU())]
        levels.append(nn.Sequential(FourierFeatures(sigma, features), *between, linear[-1]))
    return levels


def _pretrained_levels(path: Path, key: str) -> tuple[ModuleList[nn.Sequential], int]:
    """Return GeoCLIP's levels and their width from its tensors: `LocEnc0.capsule.0.b`, …, `LocEnc0.head.0.weight`."""
    weights = {}
    for name, tensor in read_weights(path, key)[0].items():
        match = re.search(r"LocEnc(\d+)\.(capsule|head)\.(\d+)\.(b|weight|bias)$", name)
        if match:
            weights[match.groups()] = tensor
    try:
        b, first = weights["0", "capsule", "0", "b"], weights["0", "capsule", "1", "weight"]
        last = weights["0", "head", "0", "weight"]
        count = len({level for level, *_ in weights})
        layers = sum(level == "0" and block == "capsule" and kind == "weight" for level, block, _, kind in weights)
        levels = _levels([1.0] * count, len(b), len(first), layers, len(last))
        # The head follows the last hidden layer and its ReLU.
        levels.load_state_dict(
            {
                f"{level}.{number if block == 'capsule' else 2 * layers + 1}.{kind}": tensor
                for (level, block, number, kind), tensor in weights.items()
            }
        )
    except (KeyError, RuntimeError) as error:
        message = f"these are not the weights of GeoCLIP's location encoder: {str(error).splitlines()[-1].strip()}"
        raise UserError(Problem(message, path, key=key)) from None
    return levels, len(last)
