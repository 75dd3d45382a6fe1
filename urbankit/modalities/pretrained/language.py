"""Text models of transformers in one form: loaded from a checkpoint, with how it makes one vector of a text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import transformers
from torch import nn

from urbankit.modalities.pretrained.checkpoints import load_config, load_model, read_json_of
from urbankit.modalities.pretrained.vision import identity
from urbankit.utils.errors import Problem, UserError

Pooling = Literal["auto", "end", "start", "mean"]

BERT_FAMILY = ("albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
# What sentence-transformers calls its ways of pooling.
SENTENCE_POOLING = {"cls": "start", "cls_token": "start", "mean": "mean", "mean_tokens": "mean", "lasttoken": "end"}


@dataclass(frozen=True)
class LanguageModel:
    """A text model, its projection into the space shared with images where it has one, and how it pools.

    `pooling` is `end`, `start` or `mean` of the states, or `own` for the model's own pooled output; `normalised` says
    whether vectors are scaled to length 1.
    """

    model: nn.Module
    projection: nn.Linear | None
    pooling: str
    normalised: bool = False


def load_language(folder: Path, key: str, pooling: Pooling) -> LanguageModel:
    """The text model in `folder`, with the `pooling` that was asked for.

    Raises:
        UserError: the checkpoint is of another kind or damaged, or it does not pool like that.
    """
    config = load_config(folder, key)
    kind = config.model_type
    if kind == "clip" or "CLIPTextModelWithProjection" in (config.architectures or []):
        text = getattr(config, "text_config", config)
        text.projection_dim = config.projection_dim
        both = load_model(transformers.CLIPTextModelWithProjection, folder, key, config=text)
        chosen = _chosen(pooling, "end")
        return LanguageModel(both.text_model, both.text_projection if chosen == "end" else None, chosen)
    if kind == "clip_text_model":
        return LanguageModel(load_model(transformers.CLIPTextModel, folder, key), None, _chosen(pooling, "end"))
    if kind in ("siglip", "siglip_text_model"):
        if pooling != "auto":
            message = "SigLIP makes a vector of a text by its own head alone; leave `pooling` out"
            raise UserError(Problem(message, folder, key=f"{key.rpartition('.')[0]}.pooling"))
        text = getattr(config, "text_config", config)
        model = load_model(transformers.SiglipTextModel, folder, key, config=text)
        return LanguageModel(model, identity(text.projection_size), "own")
    if kind in BERT_FAMILY:
        model = load_model(transformers.AutoModel, folder, key, unneeded="pooler")
        model.pooler = None  # only the states are used
        said, normalised = _sentence_modules(folder, key)
        usual = "start" if said is None or pooling != "auto" else _sentence_pooling(folder, said, key)
        return LanguageModel(model, None, _chosen(pooling, usual), normalised)
    known = ", ".join(("clip", "siglip", *BERT_FAMILY))
    message = f"a checkpoint of type '{kind}' is not a text model that text reads ({known})"
    raise UserError(Problem(message, folder, key=key))


def _chosen(asked: Pooling, usual: str) -> str:
    return usual if asked == "auto" else asked


def _sentence_modules(folder: Path, key: str) -> tuple[str | None, bool]:
    """The folder of a sentence-transformers checkpoint that says how it pools, None of others, and if it normalises.

    Its `modules.json` lists what is done in turn: the transformer, pooling, and perhaps normalisation.
    """
    pooling, normalised = None, False
    modules = read_json_of(folder, "modules.json", key, list) or []
    if not all(isinstance(module, dict) for module in modules):
        raise UserError(Problem("must be a list of objects, one a module", folder / "modules.json", key=key))
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pooling = str(module.get("path", ""))
        elif kind == "Normalize":
            normalised = True
        elif kind != "Transformer":
            message = f"modules.json names a module {kind}, which is not read; name a checkpoint without it"
            raise UserError(Problem(message, folder, key=key))
    return pooling, normalised


def _sentence_pooling(folder: Path, path: str, key: str) -> str:
    said = read_json_of(folder, f"{path}/config.json", key) or {}
    ways = [name.removeprefix("pooling_mode_") for name, on in said.items() if on is True and "pooling_mode_" in name]
    ways = ways or [str(said.get("pooling_mode", "none"))]
    if len(ways) == 1 and ways[0] in SENTENCE_POOLING:
        return SENTENCE_POOLING[ways[0]]
    message = f"it pools by {', '.join(ways)}, which is not read; choose by `pooling`: start, mean or end"
    raise UserError(Problem(message, folder / path / "config.json", key=key))
