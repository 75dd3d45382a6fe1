"""The prompt of HREP (Zhou et al., AAAI 2023): a learned prefix before the frozen region embedding, one per task."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from urbankit.heads.base import Head
from urbankit.registry import component


class HREPPrompt(Head):
    """A transformer encoder over learned prefix tokens and the embedding, and a linear map of the embedding's token.

    The task trains the prefix while the region embedding is frozen (`finetune.update: []`). All regions share the
    prefix. In the authors' code each region has a separate prefix, trained by the label of that region only: weight
    decay reduces the prefixes of test regions to zero, and those of training regions fit the residuals.
    """

    class Params(component.Params):
        prefix: int = Field(1, ge=1, description="Tokens of the prefix.")
        width: int = Field(
            144, ge=1, description="Width of the tokens.", json_schema_extra={"source": "the authors' code"}
        )
        heads: int = Field(4, ge=1, description="Heads of the encoder's attention; `width` must be a multiple.")
        layers: int = Field(1, ge=1, description="Layers of the encoder.")
        dropout: float = Field(0.1, ge=0, lt=1, description="Dropout in the encoder.")

        @model_validator(mode="after")
        def _heads_divide(self) -> HREPPrompt.Params:
            if self.width % self.heads:
                raise ValueError(f"width = {self.width} must be a multiple of heads = {self.heads}")
            return self

    params: Params

    def __init__(self, params: Params, in_dim: int, out_dim: int) -> None:
        super().__init__(params, in_dim, out_dim)
        p = params
        self.prefix = nn.Parameter(torch.randn(p.prefix, p.width))
        self.token = nn.Linear(in_dim, p.width)
        layer = nn.TransformerEncoderLayer(p.width, p.heads, 2 * p.width, p.dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, p.layers, enable_nested_tensor=False)
        self.linear = nn.Linear(p.width, out_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        token = self.token(embedding).unsqueeze(1)
        sequence = torch.cat([self.prefix.expand(len(token), -1, -1), token], dim=1)
        return self.linear(self.encoder(sequence)[:, -1])
