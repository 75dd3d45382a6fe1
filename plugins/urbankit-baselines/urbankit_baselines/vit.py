"""ViT (Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021) as a baseline without pre-training.

UrbanMMCL paper, section 4.2.1: "concatenating extracted features from different modalities for final embeddings".
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from urbankit.methods.base import Method, MethodInputs
from urbankit.modalities.pooling import RegionEncoder
from urbankit.registry import component
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.torch_modules import NamedModules
from urbankit_baselines.encoding import cache_frozen, encode
from urbankit_baselines.required import missing, require


class ViTFeatures(Method):
    """The concatenated mean backbone vectors of a region's modalities; zeros for a modality that the region lacks.

    The features of the backbone (eq. 4 of ViT, the normalised [CLS] state) are not projected, because an untrained
    projection would only lose information. Their quality depends on `pretrained` of the encoders; without it they are
    random features. The method has no pre-training: recipes need `pretrain.epochs: 0`. `finetune.update: [encoders]`
    trains the backbones together with the heads.
    """

    pretrains = False

    class Params(component.Params):
        features: list[str] | None = Field(
            None,
            min_length=1,
            description="Modalities whose features are concatenated. Default: all of the recipe.",
            json_schema_extra={"source": "UrbanMMCL 4.2.1: satellite and street-view images"},
        )

    params: Params

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        require(_names_by_key(params.features or []), inputs.modalities, "modality")
        self.encoders = NamedModules()
        for name in params.features or inputs.modalities:
            self.encoders[name] = inputs.encoder(name, 1)
            self.encoders[name].connect(self.encoders[name].width, nn.Identity())
        if not self.encoders:
            raise UserError(Problem("the city has no data for the recipe's modalities", key="modalities"))
        self.pools = [RegionEncoder(encoder) for encoder in self.encoders.values()]
        self.blocks = [encoder.width for encoder in self.encoders.values()]
        self.dim = sum(self.blocks)

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Raise `UserError`, because there is no pre-training."""
        message = "the method vit has no pre-training; set 'pretrain.epochs: 0'"
        raise UserError(Problem(message, key="pretrain.epochs"))

    def forward(self, regions: Tensor) -> Tensor:
        return torch.cat([encode(pool, regions, self.inputs.precision)[0] for pool in self.pools], dim=1)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"encoders": [p for encoder in self.encoders.values() for p in encoder.parts()["backbone"]]}

    def freeze(self, updated: set[str]) -> None:
        super().freeze(updated)
        cache_frozen(self.pools, self.inputs.precision)

    @classmethod
    def check(cls, params: Params, modalities: set[str], views: set[str]) -> list[tuple[str, str]]:
        if not modalities:
            return [("name", "the recipe has no modality; add the ones to use, such as images")]
        return missing(_names_by_key(params.features or []), modalities, "modality")


def _names_by_key(features: list[str]) -> dict[str, str]:
    return {f"features[{i}]": name for i, name in enumerate(features)}
