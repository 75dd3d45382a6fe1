"""Locations as a modality: SatCLIP's encoder, spherical harmonics and a sinusoidal network."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from urbankit.city.city import City
from urbankit.modalities.location import LocationEncoder, LocationParams
from urbankit.modalities.pretrained.checkpoints import read_weights, weights_file
from urbankit.modalities.spherical_harmonics import real_spherical_harmonics
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.torch_modules import ModuleList

# The settings in a SatCLIP checkpoint that this file supports.
READ = {"le_type": "sphericalharmonics", "pe_type": "siren", "harmonics_calculation": "analytic"}


class SatCLIP(LocationEncoder):
    """Real spherical harmonics of coordinates, and a network of sines on them (SIREN).

    From SatCLIP (Klemmer et al., 2025), as its code computes it: of longitude λ and latitude β in degrees, φ = λ + 180
    and θ = β + 90 in radians; harmonics without Condon-Shortley phase, of which those of order 0 are π times the
    orthonormal ones; hidden layers sin(30 (W x + b)) first and sin(W x + b) after; the last one linear. Harmonics are
    computed in float64, the network in float32 (SatCLIP: float64).

    SatCLIP is made for the globe. 10 degrees of harmonics resolve about 2,000 km and 40 degrees about 500 km, so that
    the vectors of one city's regions are nearly the same: they say where on Earth the city is. Within it, `geoclip` at
    local scale tells regions apart.
    """

    class Params(LocationParams):
        pretrained: str | None = Field(
            None,
            description="A file with SatCLIP's weights (safetensors, a state dict or the published Lightning "
            "checkpoint, read without running code) or a hub name: microsoft/SatCLIP-ViT16-L40. It also decides "
            "degrees, hidden, layers and width.",
            json_schema_extra={"local_path": True},
        )
        degrees: int = Field(
            10,
            ge=1,
            le=100,
            description="Degrees of spherical harmonics, from 0 on; their square is the number of features.",
            json_schema_extra={"source": "SatCLIP: L = 10 or 40"},
        )
        hidden: int = Field(128, ge=1, description="Width of the hidden layers (SatCLIP: 512).")
        layers: int = Field(2, ge=1, description="Hidden layers.", json_schema_extra={"source": "SatCLIP: 2"})
        width: int = Field(64, ge=1, description="Width of the encoder's vectors (SatCLIP: 256).")
        dropout: float = Field(
            0.5,
            ge=0,
            lt=1,
            description="Dropout before each sine, in training.",
            json_schema_extra={"source": "SatCLIP's code"},
        )

    params: Params

    def __init__(self, params: SatCLIP.Params, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        if params.pretrained is None:
            sizes = [params.degrees**2, *[params.hidden] * params.layers, params.width]
            self.network = Siren(sizes, params.dropout)
        else:
            key = f"modalities.{modality}.pretrained"
            self._weights = weights_file(params.pretrained, key, params.revision)
            self.network = _pretrained(self._weights, params.dropout, key)
        self.degrees = math.isqrt(self.network.layers[0].in_features)
        self.connect(self.network.layers[-1].out_features)

    def forward(self, batch: Tensor) -> Tensor:
        longitude, latitude = batch.double().unbind(-1)
        harmonics = satclip_harmonics(longitude, latitude, self.degrees)
        with torch.autocast(batch.device.type, enabled=False):  # 30 times a bfloat16 is no phase
            return self.network(harmonics.float())


class Siren(nn.Module):
    """A network of sines (Sitzmann et al., 2020): Tensor[n, sizes[0]] to Tensor[n, sizes[-1]].

    Every layer but the last is sin(ω (W x + b)), with ω = 30 in the first and 1 after; the last is linear.
    """

    first_frequency = 30.0

    def __init__(self, sizes: list[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.layers: ModuleList[nn.Linear] = ModuleList(
            nn.Linear(inside, outside) for inside, outside in pairwise(sizes)
        )
        for i, layer in enumerate(self.layers):
            bound = 1 / layer.in_features if i == 0 else math.sqrt(6 / layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.uniform_(layer.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for i, layer in enumerate(hidden):
            phase = functional.dropout(layer(x), self.dropout, self.training)
            x = torch.sin((self.first_frequency if i == 0 else 1.0) * phase)
        return last(x)


def satclip_harmonics(longitude: Tensor, latitude: Tensor, degrees: int) -> Tensor:
    """SatCLIP's features of coordinates in degrees, Tensor[n] each: Tensor[n, degrees²].

    The harmonics that its code writes out lack a pair of brackets at order 0, √((2l + 1) / 4 · π), so that these are π
    times the orthonormal ones. Weights were trained on that.
    """
    harmonics = real_spherical_harmonics(torch.deg2rad(latitude + 90), torch.deg2rad(longitude + 180), degrees)
    zonal = torch.tensor([degree**2 + degree for degree in range(degrees)], device=harmonics.device)
    return harmonics.index_copy(1, zonal, math.pi * harmonics[:, zonal])


def _pretrained(path: Path, dropout: float, key: str) -> Siren:
    """The network from SatCLIP's own tensor names: `nnet.layers.0.weight`, …, `nnet.last_layer.bias`."""
    tensors, facts = read_weights(path, key)
    _check_kind(facts, path, key)
    hidden: dict[tuple[int, str], Tensor] = {}
    last: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        # A whole model has the network twice, as `model.nnet` and `model.location.nnet`, with the same tensors.
        if match := re.search(r"nnet\.layers\.(\d+)\.(weight|bias)$", name):
            hidden[int(match[1]), match[2]] = tensor
        elif match := re.search(r"nnet\.last_layer\.(weight|bias)$", name):
            last[match[1]] = tensor
    try:
        n = 1 + max((number for number, _ in hidden), default=0)
        weights = [*(hidden[number, "weight"] for number in range(n)), last["weight"]]
        network = Siren([weights[0].shape[1], *(weight.shape[0] for weight in weights)], dropout)
        state = {f"layers.{number}.{kind}": tensor for (number, kind), tensor in hidden.items()}
        network.load_state_dict({**state, **{f"layers.{n}.{kind}": tensor for kind, tensor in last.items()}})
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        message = f"these are not the weights of SatCLIP's location encoder: {reason}"
        raise UserError(Problem(message, path, key=key)) from None
    if math.isqrt(weights[0].shape[1]) ** 2 != weights[0].shape[1]:
        message = f"reads {weights[0].shape[1]} features, which is no square, so they are not spherical harmonics"
        raise UserError(Problem(message, path, key=key))
    return network


def _check_kind(facts: dict[str, Any], path: Path, key: str) -> None:
    """Raise `UserError` where a checkpoint says that it computes something else."""
    other = [f"{name}: {facts[name]}" for name, value in READ.items() if facts.get(name, value) != value]
    if other:
        supported = ", ".join(f"{name}: {value}" for name, value in READ.items())
        message = f"a SatCLIP with {', '.join(other)} is not supported; supported: {supported}"
        raise UserError(Problem(message, path, key=key))
