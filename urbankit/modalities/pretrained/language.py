"""Text models of the library transformers: loading, and how their states are pooled to one vector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import transformers
from torch import nn
from transformers import PreTrainedModel

from urbankit.modalities.pretrained.checkpoints import load_config, load_model, read_json_of
from urbankit.modalities.pretrained.vision import identity
from urbankit.utils.errors import Problem, UserError

Pooling = Literal["auto", "end", "start", "mean"]
TextPooling = Literal["end", "start", "mean", "own"]

BERT_FAMILY = ("albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
# What sentence-transformers calls its ways of pooling.
SENTENCE_POOLING: dict[str, TextPooling] = {
    "cls": "start",
    "cls_token": "start",
    "mean": "mean",
    "mean_tokens": "mean",
    "lasttoken": "end",
}


@dataclass(frozen=True)
class LanguageModel:
    """A text model, its projection into the space shared with images if it has one, and how it pools.

    `pooling` is `end`, `start` or `mean` of the states, or `own` for the model's own pooled output; `normalised` says
    whether vectors are scaled to length 1.
    """

    model: PreTrainedModel
    projection: nn.Linear | None
    pooling: TextPooling
    normalised: bool = False


def load_language(folder: Path, key: str, pooling: Pooling) -> LanguageModel:
    """Load the text model in `folder` with the requested `pooling`.

    Raises:
        UserError: the checkpoint is of another kind or damaged, or it does not pool like that.
    """
    config = load_config(folder, key)
    kind = config.model_type
    if kind == "clip" or "CLIPTextModelWithProjection" in (config.architectures or []):
        text = getattr(config, "text_config", config)
        text.projection_dim = config.projection_dim
        both = load_model(transformers.CLIPTextModelWithProjection, folder, key, config=text)
        assert isinstance(both, transformers.CLIPTextModelWithProjection)
        resolved = _resolved(pooling, "end")
        projection = both.text_projection if resolved == "end" else None
        return LanguageModel(both.text_model, projection, resolved)
    if kind == "clip_text_model":
        return LanguageModel(load_model(transformers.CLIPTextModel, folder, key), None, _resolved(pooling, "end"))
    if kind in ("siglip", "siglip_text_model"):
        if pooling != "auto":
            message = "SigLIP pools with its own head only; remove `pooling`"
            raise UserError(Problem(message, folder, key=f"{key.rpartition('.')[0]}.pooling"))
        text = getattr(config, "text_config", config)
        model = load_model(transformers.SiglipTextModel, folder, key, config=text)
        return LanguageModel(model, identity(text.projection_size), "own")
    if kind in BERT_FAMILY:
        model = load_model(transformers.AutoModel, folder, key, unneeded="pooler")
        model.register_module("pooler", None)  # only the states are used
        pooling_folder, normalised = _sentence_modules(folder, key)
        default: TextPooling = "start"
        if pooling_folder is not None and pooling == "auto":
            default = _sentence_pooling(folder, pooling_folder, key)
        return LanguageModel(model, None, _resolved(pooling, default), normalised)
    supported = ", ".join(("clip", "siglip", *BERT_FAMILY))
    message = f"a checkpoint of type '{kind}' is not a text model that text reads ({supported})"
    raise UserError(Problem(message, folder, key=key))


def _resolved(pooling: Pooling, default: TextPooling) -> TextPooling:
    return default if pooling == "auto" else pooling


def _sentence_modules(folder: Path, key: str) -> tuple[str | None, bool]:
    """Return the folder with the pooling of a sentence-transformers checkpoint, and whether it normalises.

    `modules.json` lists its modules in order: the transformer, the pooling, and perhaps the normalisation. The folder
    is None for other checkpoints.
    """
    pooling, normalised = None, False
    modules = read_json_of(folder, "modules.json", key, list) or []
    if not all(isinstance(module, dict) for module in modules):
        raise UserError(Problem("must be a list of objects, one per module", folder / "modules.json", key=key))
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pooling = str(module.get("path", ""))
        elif kind == "Normalize":
            normalised = True
        elif kind != "Transformer":
            message = f"modules.json has a module {kind}, which is not supported; use a checkpoint without it"
            raise UserError(Problem(message, folder, key=key))
    return pooling, normalised


def _sentence_pooling(folder: Path, path: str, key: str) -> TextPooling:
    settings = read_json_of(folder, f"{path}/config.json", key) or {}
    ways = [
        name.removeprefix("pooling_mode_") for name, on in settings.items() if on is True and "pooling_mode_" in name
    ]
    ways = ways or [str(settings.get("pooling_mode", "none"))]
    if len(ways) == 1 and ways[0] in SENTENCE_POOLING:
        return SENTENCE_POOLING[ways[0]]
    message = f"pooling by {', '.join(ways)} is not supported; set `pooling` to start, mean or end"
    raise UserError(Problem(message, folder / path / "config.json", key=key))
