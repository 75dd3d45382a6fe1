"""Images as a modality: a vision transformer (eq. 2-7), from scratch or pre-trained, of any bands and size."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import Tensor
from transformers import ViTConfig, ViTModel

from urbankit.city.city import City
from urbankit.modalities.base import Tokens
from urbankit.modalities.images import ImageEncoder, ImageParams, pair
from urbankit.modalities.pretrained.backbone import TransformerEncoder, TransformerParams
from urbankit.modalities.pretrained.vision import TRANSFORMERS, normalised_states, token_mask, vector_and_states


class ViTParams(TransformerParams, ImageParams):
    """The parameters of a vision transformer."""

    pretrained: str | None = Field(
        None,
        description="A checkpoint of ViT, CLIP, SigLIP, DINOv2 or DINOv3 (ViT): a local folder or a name on the "
        "Hugging Face hub. Decides patch_size, hidden_size, layers, heads and mlp_ratio.",
        json_schema_extra={"source": "section 4: CLIP ViT-B/32", "local_path": True},
    )
    patch_size: int = Field(8, ge=1, description="Side of a patch in pixels.", json_schema_extra={"source": "eq. 2"})
    hidden_size: int = Field(64, ge=1, description="Width of the transformer.")
    layers: int = Field(4, ge=1, description="Transformer layers.", json_schema_extra={"source": "eq. 3, 4"})
    heads: int = Field(4, ge=1, description="Attention heads per layer.", json_schema_extra={"source": "eq. 5"})
    mlp_ratio: float = Field(2.0, gt=0, description="Width of each layer's perceptron relative to hidden_size.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in training, from scratch only.")

    @model_validator(mode="after")
    def _whole_heads(self) -> ViTParams:
        if self.pretrained is None and self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        return self


class ViT(ImageEncoder[ViTParams], TransformerEncoder[ViTParams, Tensor]):
    """A vision transformer of the library transformers: ViT, CLIP, SigLIP, DINOv2 or DINOv3; from scratch a ViT.

    A vector is the final [CLS] state of an image (eq. 7), of SigLIP the output of its pooling head. A CLIP or SigLIP
    checkpoint's projection is the modality's where `dim` is its width, and a new one otherwise.
    """

    Params = ViTParams
    classes = TRANSFORMERS
    independent = True

    def __init__(self, params: ViTParams, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        projection = None
        if params.pretrained is None:
            self.model, self.size = _from_scratch(params, self.images.bands, self.images.size)
            self.normalise(*self.band_statistics())
        else:
            self.model, projection = self.load_pretrained(params.pretrained)
        self._interpolate = self.size != pair(self.model.config.image_size)
        fits = projection is not None and projection.out_features == dim
        self.connect(self.model.config.hidden_size, projection if fits else None)

    def forward(self, batch: Tensor) -> Tensor:
        return vector_and_states(self.model, self.pixels(batch), self._interpolate)[0]

    def tokens(self, batch: Tensor) -> Tokens:
        """The final states: [CLS] first where the model has one, then its registers, then the patches by rows."""
        vector, states = vector_and_states(self.model, self.pixels(batch), self._interpolate)
        states = normalised_states(self.model, states)
        return Tokens(vector, states, token_mask(states))


def _from_scratch(params: ViTParams, bands: int, size: tuple[int, int] | int) -> tuple[ViTModel, tuple[int, int]]:
    patch = params.patch_size
    height, width = (max(1, round(side / patch)) * patch for side in pair(params.image_size or size))
    config = ViTConfig(  # type: ignore[call-arg]  # attn_implementation is a keyword of its base class
        image_size=(height, width), patch_size=patch, num_channels=bands + params.validity_band,
        hidden_size=params.hidden_size, num_hidden_layers=params.layers, num_attention_heads=params.heads,
        intermediate_size=round(params.mlp_ratio * params.hidden_size), hidden_dropout_prob=params.dropout,
        attention_probs_dropout_prob=params.dropout, attn_implementation="sdpa",
    )  # fmt: skip
    return ViTModel(config, add_pooling_layer=False), (height, width)
