"""UrbanVLP: Hao et al., "UrbanVLP: Multi-Granularity Vision-Language Pretraining for Urban Socioeconomic Indicator
Prediction", AAAI 2025.

Images of two granularities, tiles from above and street views, are aligned with captions. In the order of the paper:

- Encoders: an image encoder and a text encoder for each granularity, and GeoCLIP's encoder for the locations of the
  street views. The authors start from OpenCLIP ViT-B/16; here the recipe chooses them.
- Text calibration: the city's captions are generated, and those of poor quality should not be used. The paper scores
  them by PerceptionScore. CLIPScore, `2.5 · max(cos(image, text), 0)` under a pre-trained CLIP model, is one part of
  it. `min_clip_score` drops captions with a lower CLIPScore. The other parts and the rewriting of captions need
  generative models and are not in the authors' public code, so they are left out.
- Macro level: `L_macro`, the mean of both directions of InfoNCE between `tile + street view + location` and a caption
  of the tile.
- Micro level: `L_micro`, the same between street views and their captions, with the similarity of all tokens (FILIP):
  the mean over image tokens of the largest cosine with a text token.
- Total: `α L_macro + β L_micro`, α = β = 0.5, with a learned temperature that starts at 0.07 and stays above 0.01.
- The region embedding is the macro level's image side: `tile + street view + location`.

Departures:

- The authors blend the pixels of up to 25 street views into one image, with one learned weight per position in the
  list, and truncate the joined captions at 77 tokens. The position in the list has no meaning, and pixels of different
  streets should not be mixed. Here each street view and each caption is encoded separately; the vector of a region is
  the mean of the vectors, and its tokens are the tokens of all. `max_observations` limits how many are drawn.
- The authors use no temperature at the micro level, so that logits lie between -1 and 1; here it has the learned one.
- All three vectors of the sum of the macro level are normalised, including the location, and so is the sum before the
  comparison, as CLIP's similarity is a cosine.
- A region without street views has only its tile at the macro level. The authors encode black images at 0°, 0°.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.methods.base import Method, MethodInputs
from urbankit.methods.losses import two_way_info_nce
from urbankit.modalities.base import ModalityEncoder, move
from urbankit.modalities.pooling import RegionEncoder
from urbankit.registry import component
from urbankit.utils.device import autocast
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.torch_modules import NamedModules
from urbankit_baselines.encoding import cache_frozen, encode
from urbankit_baselines.required import missing, require
from urbankit_baselines.sampling import Observations, RegionTokens

# The number of token cosines computed at a time, 64 MB.
BLOCK = 1 << 24


class UrbanVLP(Method):
    """Aligns tiles, street views and locations with captions, by vectors and by tokens."""

    inductive = True

    class Params(component.Params):
        dim: int = Field(
            64, ge=2, description="Width of the shared space.", json_schema_extra={"source": "that of CLIP ViT-B/16"}
        )
        tiles: str = Field("rsi", description="The modality of the satellite tiles.")
        street: str = Field("svi", description="The modality of the street views.")
        text: str = Field("text", description="The modality of the captions of tiles and street views.")
        location: str | None = Field(
            "location", description="The modality of the locations of the street views; null leaves them out."
        )
        alpha: float = Field(
            0.5, ge=0, description="Weight of the macro level.", json_schema_extra={"source": "authors' code"}
        )
        beta: float = Field(
            0.5, ge=0, description="Weight of the micro level.", json_schema_extra={"source": "authors' code"}
        )
        temperature: float = Field(
            0.07, ge=0.01, description="Initial temperature.", json_schema_extra={"source": "CLIP"}
        )
        max_observations: int = Field(
            4,
            ge=1,
            description="Maximum number of street views, and of their captions, drawn for a region in a training step. "
            "Embeddings always use all street views.",
            json_schema_extra={"source": "25 in the authors' code"},
        )
        min_clip_score: float | None = Field(
            None,
            ge=0,
            le=2.5,
            description="Training drops captions with a lower CLIPScore. This needs image and text encoders of one "
            "pretrained CLIP checkpoint, with `dim` the width of its projections. Default: all captions.",
        )

    params: Params

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        p = params
        require(_modality_names(p), inputs.modalities, "modality")
        self.encoders = NamedModules({name: inputs.encoder(name, p.dim) for name in _modality_names(p).values()})
        # One text encoder per granularity.
        self.texts = NamedModules({p.tiles: self.encoders.pop(p.text), p.street: inputs.encoder(p.text, p.dim)})
        self.pools = {
            name: RegionEncoder(encoder, p.street if encoder.describes(p.street) else None)
            for name, encoder in self.encoders.items()
        }
        self.images = {name: Observations(self.encoders[name]) for name in (p.tiles, p.street)}
        self.captions = {
            name: Observations(encoder, name if encoder.describes(name) else None)
            for name, encoder in self.texts.items()
        }
        for name in self.images:
            if not (self.images[name].present & self.captions[name].present).any():
                raise UserError(Problem(f"no region has both an image and a caption of '{name}'", key="method"))
        self.log_scale = nn.Parameter(torch.tensor(-math.log(p.temperature)))
        self._calibrated = p.min_clip_score is None
        self.dim = p.dim
        if not self._calibrated:
            _check_clip([*(self.encoders[name] for name in self.images), *self.texts.values()], p.dim)

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Return `α L_macro + β L_micro` and both terms; each level is over the regions that have its data."""
        p = self.params
        if self.training:
            with torch.no_grad():
                self.log_scale.clamp_(0.0, math.log(100.0))
        temperature = (-self.log_scale).exp()
        street = self._sample(self.images[p.street], regions, p.max_observations)
        macro = self._macro(regions, street, temperature)
        micro = self._micro(regions, street, temperature)
        return {"total": p.alpha * macro + p.beta * micro, "macro": macro, "micro": micro}

    def forward(self, regions: Tensor) -> Tensor:
        return sum((self._unit(name, regions) for name in self.encoders), torch.zeros(()))

    def prepare(self) -> None:
        """Score the captions by the untrained encoders, and drop those of a low score."""
        if not self._calibrated:
            for name, captions in self.captions.items():
                selected = self.clip_scores(name) >= self.params.min_clip_score
                if not selected.any():
                    message = f"all captions of '{name}' have a lower CLIPScore; choose a smaller value"
                    raise UserError(Problem(message, key="method.min_clip_score"))
                captions.select(selected)
            self._calibrated = True

    @torch.no_grad()
    def clip_scores(self, name: str) -> np.ndarray:
        """Return the CLIPScore of every caption of `name` and the mean of its region's images: float32 [M]."""
        captions, device = self.captions[name], self.log_scale.device
        training = self.training
        self.eval()
        scores = []
        for rows in torch.arange(len(captions.region)).split(128):
            region = torch.from_numpy(captions.region[rows.numpy()]).to(device)
            batch = move(captions.encoder.load(captions.rows[rows.numpy()], captions.of), device)
            text = captions.encoder.project(captions.encoder(batch))
            image = self._unit(name, region)
            scores.append(2.5 * (image * F.normalize(text, dim=1)).sum(dim=1).clamp(min=0.0))
        self.train(training)
        return torch.cat(scores).cpu().numpy()

    def parts(self) -> dict[str, list[nn.Parameter]]:
        parts = [encoder.parts() for encoder in (*self.encoders.values(), *self.texts.values())]
        return {
            "encoders": [p for part in parts for p in part["backbone"]],
            "projections": [p for part in parts for p in part["projection"]],
            "pretext": [self.log_scale],
        }

    def freeze(self, updated: set[str]) -> None:
        super().freeze(updated)
        cache_frozen(self.pools.values(), self.inputs.precision)

    @classmethod
    def check(cls, params: Params, modalities: set[str], views: set[str]) -> list[tuple[str, str]]:
        return missing(_modality_names(params), modalities, "modality")

    def _macro(self, regions: Tensor, street: RegionTokens, temperature: Tensor) -> Tensor:
        """Return the loss of tiles, with street views and their locations, and captions of the tiles."""
        p = self.params
        tiles = self._sample(self.images[p.tiles], regions, 1)
        captions = self._sample(self.captions[p.tiles], regions, 1)
        image = tiles.vector + street.vector
        if p.location is not None:
            image = image + self._unit(p.location, regions)
        both = tiles.present & captions.present
        return two_way_info_nce(image[both], captions.vector[both], temperature) / 2

    def _micro(self, regions: Tensor, street: RegionTokens, temperature: Tensor) -> Tensor:
        """Return the loss of the tokens of street views and of their captions."""
        captions = self._sample(self.captions[self.params.street], regions, self.params.max_observations)
        both = street.present & captions.present
        logits = token_similarity(
            street.tokens[both], street.token_present[both], captions.tokens[both], captions.token_present[both]
        )
        if len(logits) < 2:
            return logits.sum() * 0.0
        target = torch.arange(len(logits), device=logits.device)
        logits = logits / temperature
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def _sample(self, observations: Observations, regions: Tensor, limit: int) -> RegionTokens:
        return observations.tokens(regions, limit, self.training, self.inputs.precision)

    def _unit(self, name: str, regions: Tensor) -> Tensor:
        """Return the unit vectors [B, dim] of the mean observation of a modality, zero for regions without any."""
        vectors, present = encode(self.pools[name], regions, self.inputs.precision)
        with autocast(regions.device, self.inputs.precision):
            projected = self.encoders[name].project(vectors).float()
        return F.normalize(projected, dim=1).masked_fill(~present.unsqueeze(1), 0.0)


def token_similarity(a: Tensor, a_present: Tensor, b: Tensor, b_present: Tensor) -> Tensor:
    """Return FILIP's similarity of images and captions [B, B].

    It is the mean, over the tokens of image i, of the largest cosine with a token of caption j.

    Args:
        a: tokens of images, unit vectors [B, La, d].
        a_present: which tokens exist, bool [B, La].
        b: tokens of captions, unit vectors [B, Lb, d].
        b_present: which tokens exist, bool [B, Lb].
    """
    step = max(1, BLOCK // max(1, a.shape[1] * b.shape[0] * b.shape[1]))
    rows = []
    for chunk, chunk_present in zip(a.split(step), a_present.split(step), strict=True):
        cosines = torch.einsum("ald,bmd->ablm", chunk, b).masked_fill(~b_present[None, :, None, :], -torch.inf)
        best = cosines.max(dim=3).values
        weight = chunk_present.unsqueeze(1).to(best.dtype)
        rows.append((best * weight).sum(dim=2) / weight.sum(dim=2))
    return torch.cat(rows)


def _modality_names(params: UrbanVLP.Params) -> dict[str, str]:
    """Return the names of the modalities in use by parameter."""
    names = {"tiles": params.tiles, "street": params.street, "text": params.text}
    return names if params.location is None else names | {"location": params.location}


def _check_clip(encoders: list[ModalityEncoder], dim: int) -> None:
    """Raise `UserError` unless all encoders are of one CLIP checkpoint, with its projections to `dim` numbers."""
    checkpoints = {getattr(encoder.params, "pretrained", None) for encoder in encoders}
    models = [getattr(encoder, "model", None) for encoder in encoders]
    widths = {getattr(getattr(model, "config", None), "projection_dim", None) for model in models}
    if len(checkpoints) > 1 or None in checkpoints or widths != {dim}:
        message = (
            "CLIPScore needs image and text encoders of one pretrained CLIP checkpoint (`pretrained`), and `dim` equal "
            "to the width of its projections; otherwise leave min_clip_score out"
        )
        raise UserError(Problem(message, key="method.min_clip_score"))
