"""Captions by a vision-language model, BLIP-2 by default as in the UrbanMMCL paper (section 3.3.1)."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from pydantic import Field, field_validator
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

from urbankit.captioning.captioners.base import Batch, Caption, Captioner
from urbankit.city.city import City
from urbankit.modalities.pretrained.checkpoints import (
    BESIDE,
    checkpoint_folder,
    load_config,
    load_model,
    load_processor,
    provenance,
)
from urbankit.registry import component
from urbankit.utils.device import has_bf16, pick_device
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_file, hash_json

OVERHEAD = "What does this satellite image show of land use, buildings, roads, vegetation and water?"
AT_POINTS = "What does this street view show of buildings, the road, vegetation, vehicles and people?"
FORMS = {"blip-2": "Question: {prompt} Answer:"}


class VLM(Captioner):
    """BLIP-2, or any other model that transformers loads by `AutoModelForImageTextToText` and `AutoProcessor`.

    The prompt is put into the checkpoint's chat template if it has one, else into `form`. The caption is the generated
    text after the prompt. The most likely token is taken at each step, so that the same images give the same captions;
    with a `temperature` tokens are drawn, the same ones for the same `seed`.
    """

    no_effect = frozenset({"batch_size", "device", "prompts"})

    class Params(component.Params):
        model: str = Field(
            "Salesforce/blip2-opt-2.7b",
            description="A checkpoint: a local folder, or a name on the Hugging Face hub.",
            json_schema_extra={"source": "sections 3.3.1 and 4.2.3"},
        )
        revision: str | None = Field(None, description="Branch, tag or commit on the hub; null takes its main branch.")
        prompts: dict[str, str] = Field(
            {},
            description=f"Prompts by image source. Otherwise the prompt is '{OVERHEAD}' for a source with one image "
            f"for each region, and '{AT_POINTS}' for one of images at points. An empty prompt asks nothing.",
            json_schema_extra={"source": "figure 2: one prompt for satellite images, one for street views"},
        )
        form: str | None = Field(
            None,
            description="The text around a prompt for a model without a chat template, with {prompt} in it; null takes "
            f"'{FORMS['blip-2']}' for BLIP-2 and the bare prompt for others.",
        )
        max_tokens: int = Field(
            77,
            ge=1,
            le=1024,
            description="Longest caption in tokens of the model's tokenizer, without the end token.",
            json_schema_extra={"source": "section 4.2.3"},
        )
        beams: int = Field(1, ge=1, le=64, description="Beams of the search; 1 takes the most likely token each time.")
        repetition_penalty: float = Field(1.0, gt=0, description="Above 1, repeated tokens are less likely.")
        temperature: float = Field(0.0, ge=0, description="Above 0, tokens are sampled; the higher, the more evenly.")
        seed: int = Field(0, ge=0, description="Seed of the sampling.")
        batch_size: int = Field(
            16, ge=1, description="Images per batch; with a temperature, another size samples other tokens."
        )
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to compute; auto prefers a GPU.")
        precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
            "auto",
            description="Precision of the weights. auto is bf16 on a GPU that has it, otherwise fp32. int8 needs a GPU "
            "and the packages bitsandbytes and accelerate.",
        )

        @field_validator("form")
        @classmethod
        def _has_prompt(cls, form: str | None) -> str | None:
            if form is not None and "{prompt}" not in form:
                raise ValueError("must contain {prompt}, where the prompt goes")
            return form

    params: Params

    def __init__(self, params: Params, city: City) -> None:
        super().__init__(params, city)
        self.device = pick_device(params.device)
        self.precision = _precision(params.precision, self.device)
        self.batch_size = params.batch_size
        self._overhead = frozenset(city.overhead_sources)
        self.folder = checkpoint_folder(params.model, "model", params.revision)
        self.kind = _checked_kind(self.folder)
        origin = provenance(params.model, self.folder)
        self.model, self.revision = params.model, origin["commit"] or f"sha256:{origin['weights']}"
        # The commit alone does not show that a file was changed after its download.
        self._hashes = {"weights": origin["weights"], "files": _hash_beside(self.folder)}

    def prompt(self, modality: str) -> str:
        return self.params.prompts.get(modality, OVERHEAD if modality in self._overhead else AT_POINTS)

    def settings(self, modality: str) -> dict[str, Any]:
        # These replace the parameters of the same name: revision and precision are resolved.
        resolved: dict[str, Any] = {"revision": self.revision, "precision": self.precision, **self._hashes}
        if self.params.temperature:  # draws are seeded by batch
            resolved["batch_size"] = self.batch_size
        return super().settings(modality) | resolved

    def load(self, batch: Batch) -> tuple[int, Any]:
        """The batch's first row, which seeds its draws, and the model's inputs on the CPU."""
        pictures = [Image.fromarray(pixels) for pixels in batch.pixels]
        texts = [self._prompt_text(self.prompt(batch.modality))] * len(batch)
        return batch.start, self._processor(images=pictures, text=texts, padding=True, return_tensors="pt")

    @torch.inference_mode()
    def caption(self, batch: tuple[int, Any]) -> list[Caption]:
        start, inputs = batch
        params = self.params
        dtype = torch.float32 if self.precision == "fp32" else torch.bfloat16
        inputs = inputs.to(self.device, dtype)
        drawn = {"temperature": params.temperature} if params.temperature else {}
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(params.seed + start)
            out = self._model.generate(
                **inputs, max_new_tokens=params.max_tokens, num_beams=params.beams, do_sample=bool(drawn),
                repetition_penalty=params.repetition_penalty, pad_token_id=self._processor.tokenizer.pad_token_id,
                **drawn,
            )  # fmt: skip
        tokens = _after_prompt(out, inputs.get("input_ids"))
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        special = torch.tensor(self._processor.tokenizer.all_special_ids, device=tokens.device)
        counts = (~torch.isin(tokens, special)).sum(dim=1).tolist()
        return [Caption(" ".join(text.split()), count) for text, count in zip(texts, counts, strict=True)]

    @cached_property
    def _processor(self) -> Any:
        processor = load_processor(self.folder, "model")
        tokenizer = processor.tokenizer
        # Generated tokens follow the prompt, so padding goes before it.
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return processor

    @cached_property
    def _model(self) -> Any:
        options: dict[str, Any] = {"attn_implementation": None}
        if self.precision == "int8":
            options |= {
                "dtype": torch.bfloat16,
                "quantization_config": BitsAndBytesConfig(load_in_8bit=True),
                "device_map": {"": self.device},
            }
            return load_model(AutoModelForImageTextToText, self.folder, "model", **options)
        options["dtype"] = torch.float32 if self.precision == "fp32" else torch.bfloat16
        model: nn.Module = load_model(AutoModelForImageTextToText, self.folder, "model", **options)
        return model.to(self.device)

    def _prompt_text(self, prompt: str) -> str:
        """The text that goes into the model: the prompt in the chat template of the checkpoint, or in `form`."""
        if getattr(self._processor, "chat_template", None):
            content = [{"type": "image"}, *([{"type": "text", "text": prompt}] if prompt else [])]
            turns = [{"role": "user", "content": content}]
            return self._processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        form = self.params.form or FORMS.get(self.kind, "{prompt}")
        return form.replace("{prompt}", prompt) if prompt else ""


def _precision(requested: str, device: torch.device) -> str:
    if requested == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if requested == "int8":
        missing = [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]
        if device.type != "cuda":
            raise UserError(Problem("int8 needs a CUDA device; use bf16 or fp32", key="precision"))
        if missing:
            message = f"int8 needs {' and '.join(missing)}: pip install {' '.join(missing)}, or use bf16"
            raise UserError(Problem(message, key="precision"))
    return requested


def _hash_beside(folder: Path) -> str:
    """A hash of the other files of a checkpoint: configurations, processor, tokenizer and chat template."""
    files = {path for pattern in BESIDE for path in folder.glob(pattern) if path.is_file()}
    return hash_json({path.name: hash_file(path) for path in files})


def _checked_kind(folder: Any) -> str:
    """The type of the checkpoint in `folder`. Raises `UserError` for one that does not describe images."""
    kind = load_config(folder, "model").model_type
    if kind not in KNOWN:
        message = (
            f"a checkpoint of type '{kind}' is not an image-text-to-text model of transformers; name one that is, such "
            "as Salesforce/blip2-opt-2.7b (blip-2), or of type llava, qwen2_5_vl or smolvlm"
        )
        raise UserError(Problem(message, folder, key="model"))
    return kind


def _after_prompt(out: Tensor, prompt: Tensor | None) -> Tensor:
    """The generated tokens [n, t]: decoders repeat the prompt before them, BLIP without its last token."""
    if prompt is None:
        return out
    for length in (prompt.shape[1], prompt.shape[1] - 1):
        if 0 < length <= out.shape[1] and torch.equal(out[:, :length], prompt[:, :length]):
            return out[:, length:]
    return out
