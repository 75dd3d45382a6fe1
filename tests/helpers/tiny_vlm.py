"""Vision-language models of a few thousand weights, written to disk in the layout of the Hugging Face hub."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXTS = [
    "Question: What does this satellite image show of land use, buildings, roads, vegetation and water? Answer:",
    "Question: What does this street view show of buildings, the road, vegetation, vehicles and people? Answer:",
    "A street lined with tall buildings. Many trees and several cars. There is no water.",
]
CHAT = "{% for m in messages %}USER: {% for c in m.content %}{% if c.type == 'image' %}<image> {% else %}{{ c.text }}"
CHAT += "{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
LAYERS = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}


def write_blip2(
    folder: Path, seed: int = 0, *, width: int = 16, layers: int = 1, side: int = 28, ends: bool = True
) -> Path:
    """BLIP-2 on OPT, as Salesforce/blip2-opt-2.7b but in size; unless it `ends`, it always says all of its tokens."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    images = BlipImageProcessorPil(size={"height": side, "width": side})
    processor = Blip2Processor(images, _tokenizer(), num_query_tokens=4)
    words = len(processor.tokenizer)
    sizes = LAYERS | {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers}
    config = Blip2Config(
        vision_config=sizes | {"image_size": side, "patch_size": 14},
        qformer_config=sizes | {"num_hidden_layers": 2, "vocab_size": 30, "encoder_hidden_size": width},
        text_config={
            **sizes, "model_type": "opt", "vocab_size": words, "ffn_dim": 2 * width, "word_embed_proj_dim": width,
            "max_position_embeddings": 256, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2 if ends else None,
        },
        num_query_tokens=4, image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return _save(folder, Blip2ForConditionalGeneration(config), processor, seed)


def write_llava(folder: Path, seed: int = 0) -> Path:
    """LLaVA: a CLIP image model and a Llama, asked through a chat template."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        images, _tokenizer("<image>"), patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=CHAT,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=LAYERS | {"model_type": "clip_vision_model", "num_hidden_layers": 2, "image_size": 28,
                                "patch_size": 14, "projection_dim": 16},
        text_config=LAYERS | {"model_type": "llama", "vocab_size": len(processor.tokenizer), "num_key_value_heads": 2,
                              "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2},
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return _save(folder, LlavaForConditionalGeneration(config), processor, seed)


def _tokenizer(*more: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    marks = ["<s>", "<pad>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    learned.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learned, bos_token="<s>", pad_token="<pad>", eos_token="</s>")
    tokenizer.add_tokens(list(more), special_tokens=True)
    return tokenizer


def _save(folder: Path, model: Any, processor: Any, seed: int) -> Path:
    """Weights far from zero, so that what is said depends on the image."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.6, generator=generator)
            elif "bias" not in name:
                weight.fill_(1.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
