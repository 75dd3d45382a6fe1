"""Captions as a modality: a transformer over their tokens (eq. 8-10), from scratch or pre-trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource, captions
from urbankit.modalities.base import Tokens, hash_arrays
from urbankit.modalities.pretrained import tokenizer as tokens
from urbankit.modalities.pretrained.backbone import TransformerEncoder, TransformerParams
from urbankit.modalities.pretrained.checkpoints import checkpoint_folder, load_tokenizer
from urbankit.modalities.pretrained.language import Pooling, TextPooling, load_language
from urbankit.utils.errors import suggest


class Text(TransformerEncoder[TransformerParams, dict[str, Tensor]]):
    """A text model of the library transformers: CLIP, SigLIP or the BERT family, including sentence-transformers.

    A vector is a caption's [EOS] state (eq. 10), of SigLIP the model's own pooled output, of a sentence-transformers
    checkpoint what its modules make of the states.

    `of` a modality, the observations are the captions of that modality's images or, where a caption names none, of the
    region in it; without `of`, all captions of the city. From scratch it is a small CLIP text model with a byte-pair
    tokenizer learned from the city's captions, which is part of the encoder's state.

    A CLIP or SigLIP checkpoint's projection is the modality's where `dim` is its width, and a new one otherwise.
    """

    class Params(TransformerParams):
        pretrained: str | None = Field(
            None,
            description="A CLIP, SigLIP, BERT-family or sentence-transformers checkpoint with its tokenizer: a local "
            "folder or a name on the Hugging Face hub. Decides vocabulary, hidden_size, layers, heads and mlp_ratio.",
            json_schema_extra={"source": "section 4: CLIP's text encoder", "local_path": True},
        )
        source: str | None = Field(None, description="Read only captions of this image source; default all captions.")
        captions: dict[str, str] = Field(
            default_factory=dict,
            description="Source of the captions of a described modality, if it differs from the modality's name.",
        )
        max_tokens: int = Field(
            77,
            ge=3,
            le=512,
            description="Longest caption in tokens; the rest is cut.",
            json_schema_extra={"source": "section 4"},
        )
        pooling: Pooling = Field(
            "auto",
            description="The vector of a caption: the state of its last token, of its first, or the mean of all. auto: "
            "last for CLIP, the model's own for SigLIP, what 1_Pooling/config.json says for sentence-transformers, "
            "first for the rest of the BERT family.",
            json_schema_extra={"source": "eq. 10"},
        )
        vocabulary: int = Field(2048, ge=300, description="Most tokens of the learned byte-pair tokenizer.")
        hidden_size: int = Field(
            64, ge=1, description="Width of the transformer.", json_schema_extra={"source": "eq. 8"}
        )
        layers: int = Field(2, ge=1, description="Transformer layers.", json_schema_extra={"source": "eq. 9"})
        heads: int = Field(4, ge=1, description="Attention heads per layer.")
        mlp_ratio: float = Field(2.0, gt=0, description="Width of each layer's perceptron relative to hidden_size.")

        @model_validator(mode="after")
        def _whole_heads(self) -> Text.Params:
            if self.pretrained is None and self.hidden_size % self.heads:
                raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
            return self

    params: Params
    describes_by = "text"
    independent = True
    free_in_transfer = TransformerEncoder.free_in_transfer | {"captions"}

    def __init__(self, params: Text.Params, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        self._captions = _captions(city, params.source)
        # Equal captions share their tokens: caption i has the text number _text[i].
        self._text, self._texts = pd.factorize(self._captions["text"])
        self._rows: dict[str | None, np.ndarray] = {None: np.arange(len(self._captions))}
        for source, rows in self._captions.groupby("source").indices.items():
            self._rows[str(source)] = np.sort(rows)
        projection = None
        self._learned: Tokenizer | None = None
        if params.pretrained is None:
            self.model = _from_scratch(params)
            self.pooling: TextPooling = "end" if params.pooling == "auto" else params.pooling
            self.normalised = False
            self._learn(tokens.train_tokenizer(self._texts.tolist(), params.vocabulary))
        else:
            key = f"modalities.{modality}.pretrained"
            self._weights = folder = checkpoint_folder(params.pretrained, key, params.revision)
            loaded = load_language(folder, key, params.pooling)
            self.model, projection = loaded.model, loaded.projection
            self.pooling, self.normalised = loaded.pooling, loaded.normalised
            self._ids, self._lengths = self._pretrained_tokens(load_tokenizer(folder, key))
        self._causal = self.model.config.model_type == "clip_text_model"
        width = self.model.config.projection_size if self.pooling == "own" else self.model.config.hidden_size
        fits = projection is not None and projection.out_features == dim
        self.connect(width, projection if fits else None)

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        sources = city.caption_sources
        if params.source is not None and params.source not in sources:
            return f"the city has no captions of '{params.source}'.{suggest(params.source, sources)}"
        return None if sources else "the city has no captions"

    @classmethod
    def raw_features(cls, params: Any, city: City, modality: str) -> list[RawSource]:
        return captions(city, params.source)

    def observations(self, of: str | None = None) -> np.ndarray:
        return self._captions["region"].to_numpy(np.int64)[self._described(of)]

    def describes(self, modality: str) -> bool:
        return len(self._described(modality)) > 0

    def load(self, rows: np.ndarray, of: str | None = None) -> dict[str, Tensor]:
        """`ids` int64 Tensor[n, L] and `length` int64 Tensor[n], L being the longest of these captions.

        SigLIP reads captions of one length only, so they are padded to it.
        """
        text = self._text[self._described(of)[rows]]
        length = self._lengths[text]
        ids = self._ids[text] if self.pooling == "own" else self._ids[text, : length.max(initial=1)]
        return {"ids": torch.from_numpy(ids).long(), "length": torch.from_numpy(length).long()}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.tokens(batch).vector

    def tokens(self, batch: dict[str, Tensor]) -> Tokens:
        """Return the final states of all tokens, including those of start and end."""
        ids, length = batch["ids"], batch["length"]
        mask = torch.arange(ids.shape[1], device=ids.device) < length.unsqueeze(1)
        # CLIP reads from left to right, so that padding on the right changes no token, and is faster without a mask.
        # SigLIP was trained with padding.
        unmasked = self._causal or self.pooling == "own"
        output = self.model(ids, attention_mask=None if unmasked else mask)
        states = output.last_hidden_state
        if self.pooling == "own":
            vector = output.pooler_output
        elif self.pooling == "mean":
            weights = mask.to(states.dtype).unsqueeze(-1)
            vector = (states * weights).sum(1) / weights.sum(1)
        elif self.pooling == "start":
            vector = states[:, 0]
        else:
            vector = states[torch.arange(len(ids), device=ids.device), length - 1]
        return Tokens(functional.normalize(vector, dim=-1) if self.normalised else vector, states, mask)

    def computed_by(self) -> dict[str, Any]:
        return {**super().computed_by(), "pooling": self.pooling, "normalised": self.normalised}

    def fingerprint(self, of: str | None = None) -> str:
        text = self._text[self._described(of)]
        return hash_arrays(self._ids[text], self._lengths[text])

    def get_extra_state(self) -> Tensor:
        """The learned tokenizer as JSON in bytes, so that it is saved with the weights that were trained on it."""
        text = "" if self._learned is None else self._learned.to_str()
        return torch.from_numpy(np.frombuffer(text.encode(), dtype=np.uint8).copy())

    def set_extra_state(self, state: Tensor) -> None:
        if self._learned is not None and state.numel():
            self._learn(Tokenizer.from_str(state.cpu().numpy().tobytes().decode()))

    def _learn(self, tokenizer: Tokenizer) -> None:
        self._learned = tokenizer
        longest = self.params.max_tokens
        self._ids, self._lengths = tokens.encode_texts(tokenizer, self._texts.tolist(), longest, tokens.PAD)

    def _pretrained_tokens(self, tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
        positions = self.model.config.max_position_embeddings
        longest = min(self.params.max_tokens, positions, tokenizer.model_max_length)
        ids, lengths = tokens.encode_pretrained(tokenizer, self._texts.tolist(), longest)
        if self.pooling == "own":
            padding = ((0, 0), (0, positions - ids.shape[1]))
            ids = np.pad(ids, padding, constant_values=tokens.padding_of(tokenizer))
        return ids, lengths

    def _described(self, of: str | None) -> np.ndarray:
        """The captions' rows that describe `of`; none where the city has no such captions."""
        source = None if of is None else self.params.captions.get(of, of)
        return self._rows.get(source, np.zeros(0, dtype=np.int64))


def _captions(city: City, source: str | None) -> pd.DataFrame:
    """region, text and source of every caption of `source`, or of all sources, sorted by region."""
    sources = city.caption_sources if source is None else [source]
    parts = [city.captions(name).assign(source=name) for name in sources]
    captions = pd.concat(parts, ignore_index=True)[["region", "text", "source"]]
    return captions.sort_values("region", kind="stable", ignore_index=True)


def _from_scratch(params: Text.Params) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=params.vocabulary, hidden_size=params.hidden_size, num_hidden_layers=params.layers,
            num_attention_heads=params.heads, intermediate_size=round(params.mlp_ratio * params.hidden_size),
            max_position_embeddings=params.max_tokens, pad_token_id=tokens.PAD, bos_token_id=tokens.START,
            eos_token_id=tokens.END, attn_implementation="sdpa",
        )  # type: ignore[call-arg]  # attn_implementation is a keyword of its base class
    )  # fmt: skip
