"""ViT (Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021) as the UrbanMMCL paper's section 4.2.1 uses it:
"concatenating extracted features from different modalities for final embeddings", without pre-training of its own.
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
from urbankit_baselines.encoding import encode, keep_frozen
from urbankit_baselines.named import missing, require


class ViTFeatures(Method):
    """A region's mean backbone vector of every modality, side by side; a modality that a region lacks is zeros.

    The backbone's own features (eq. 4 of ViT, the normalised [CLS] state) are taken as they are: projecting them to
    the shared width by weights that nothing has trained would only lose some. What they are worth is what the
    encoders bring with them by `pretrained`; from scratch they are random features. There is nothing to pre-train,
    so a recipe says `pretrain.epochs: 0`; `finetune.update: [encoders]` trains the backbones with the heads.
    """

    pretrains = False

    class Params(component.Params):
        features: list[str] | None = Field(
            None,
            min_length=1,
            description="Modalities whose features make the embedding. Default: all of the recipe.",
            json_schema_extra={"source": "UrbanMMCL 4.2.1: satellite and street-view images"},
        )

    params: Params

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        require(_named(params.features or []), inputs.modalities, "modality")
        self.encoders = NamedModules()
        for name in params.features or inputs.modalities:
            self.encoders[name] = inputs.encoder(name, 1)
            self.encoders[name].connect(self.encoders[name].width, nn.Identity())
        if not self.encoders:
            raise UserError(Problem("the city has no modality to take features of", key="modalities"))
        self.pools = [RegionEncoder(encoder) for encoder in self.encoders.values()]
        self.blocks = [encoder.width for encoder in self.encoders.values()]
        self.dim = sum(self.blocks)

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Raises `UserError`: features are taken, not learned."""
        message = "the method vit takes features as they are and has no pre-training; set 'pretrain.epochs: 0'"
        raise UserError(Problem(message, key="pretrain.epochs"))

    def forward(self, regions: Tensor) -> Tensor:
        return torch.cat([encode(pool, regions, self.inputs.precision)[0] for pool in self.pools], dim=1)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"encoders": [p for encoder in self.encoders.values() for p in encoder.parts()["backbone"]]}

    def freeze(self, updated: set[str]) -> None:
        super().freeze(updated)
        keep_frozen(self.pools, self.inputs.precision)

    @classmethod
    def check(cls, params: Params, modalities: set[str], views: set[str]) -> list[tuple[str, str]]:
        if not modalities:
            return [("name", "the recipe has no modality; name those whose features are wanted, such as images")]
        return missing(_named(params.features or []), modalities, "modality")


def _named(features: list[str]) -> dict[str, str]:
    return {f"features[{i}]": name for i, name in enumerate(features)}
