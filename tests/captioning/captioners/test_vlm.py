"""Captions by vision-language models: token for token those of transformers called directly, and every mistake."""

import hashlib
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from transformers import AutoModelForImageTextToText, AutoProcessor

from urbankit import UserError, testing
from urbankit.captioning.captioners.base import Batch, Caption
from urbankit.captioning.captioners.vlm import AT_POINTS, OVERHEAD, VLM


@pytest.fixture(scope="module")
def pixels(city) -> list[np.ndarray]:
    return list(city.images("svi").read(np.arange(6)).transpose(0, 2, 3, 1))


def describe(city: Any, model: Path, pixels: list[np.ndarray], modality: str = "svi", start: int = 0, **params: Any):
    captioner = VLM(VLM.Params(model=str(model), **params), city)
    return captioner.caption(captioner.load(Batch(modality, start, np.zeros(len(pixels), np.int64), pixels)))


def directly(model: Path, text: str, pixels: list[np.ndarray], **options: Any) -> list[Caption]:
    """What a user of transformers would write."""
    processor = AutoProcessor.from_pretrained(model)
    network = AutoModelForImageTextToText.from_pretrained(model).eval()
    pictures = [Image.fromarray(one) for one in pixels]
    inputs = processor(images=pictures, text=[text] * len(pixels), return_tensors="pt")
    out = network.generate(**inputs, do_sample=False, **options)[:, inputs["input_ids"].shape[1] :]
    texts = processor.batch_decode(out, skip_special_tokens=True)
    counts = [(row > 2).sum().item() for row in out]  # <s>, <pad> and </s> are 0, 1 and 2
    return [Caption(" ".join(text.split()), count) for text, count in zip(texts, counts, strict=True)]


@pytest.mark.parametrize(("modality", "prompt"), [("rsi", OVERHEAD), ("svi", AT_POINTS)])
def test_blip2_captions_equal_those_of_transformers(city, blip2: Path, pixels, modality: str, prompt: str) -> None:
    captions = describe(city, blip2, pixels, modality)
    assert captions == directly(blip2, f"Question: {prompt} Answer:", pixels, max_new_tokens=77)
    assert len({caption.text for caption in captions}) > 1
    assert max(caption.tokens for caption in captions) <= 77


def test_llava_gets_its_chat_template(city, llava: Path, pixels) -> None:
    captions = describe(city, llava, pixels, "rsi", max_tokens=9)
    assert captions == directly(llava, f"USER: <image> {OVERHEAD} ASSISTANT:", pixels, max_new_tokens=9)
    assert max(one.tokens for one in captions) <= 9


def test_prompts_and_form_can_be_set(city, blip2: Path, pixels) -> None:
    captions = describe(city, blip2, pixels, prompts={"svi": "A street"}, form="{prompt} with", max_tokens=5)
    assert captions == directly(blip2, "A street with", pixels, max_new_tokens=5)
    captioner = VLM(VLM.Params(model=str(blip2), prompts={"svi": "A street"}), city)
    assert (captioner.prompt("svi"), captioner.prompt("rsi")) == ("A street", OVERHEAD)


def test_the_prompt_follows_the_kind_of_the_source_and_not_its_name(blip2: Path) -> None:
    captioner = VLM(VLM.Params(model=str(blip2)), SimpleNamespace(overhead_sources=["svi"]))
    assert (captioner.prompt("svi"), captioner.prompt("rsi")) == (OVERHEAD, AT_POINTS)


def test_beam_search_equals_that_of_transformers(city, blip2: Path, pixels) -> None:
    captions = describe(city, blip2, pixels, beams=3, max_tokens=6)
    question = f"Question: {AT_POINTS} Answer:"
    assert captions == directly(blip2, question, pixels, max_new_tokens=6, num_beams=3)


def test_sampled_captions_depend_on_seed_and_start(city, blip2: Path, pixels) -> None:
    def drawn(seed: int, start: int) -> list[Caption]:
        torch.rand(3)  # what else was drawn in the process does not matter
        return describe(city, blip2, pixels, temperature=1.5, seed=seed, start=start, max_tokens=8)

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(2, 0)
    assert drawn(1, 0) != drawn(1, 6)


def test_settings_record_model_and_weights_and_for_sampling_the_batch_size(city, blip2: Path, tmp_path: Path) -> None:
    captioner = VLM(VLM.Params(model=str(blip2)), city)
    digest = hashlib.sha256((blip2 / "model.safetensors").read_bytes()).hexdigest()
    settings = captioner.settings("rsi")
    assert (settings["model"], settings["revision"]) == (str(blip2), f"sha256:{digest}")
    assert settings["prompt"] == OVERHEAD
    assert settings["precision"] in ("fp32", "bf16")
    assert settings["weights"] == digest
    assert not {"batch_size", "device", "prompts"} & set(settings)
    captioner = VLM(VLM.Params(model=str(blip2), temperature=0.7, batch_size=3), city)
    assert captioner.settings("svi")["batch_size"] == 3


@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer_config.json", "chat_template.jinja"])
def test_changed_files_beside_the_weights_change_the_settings(city, blip2: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(blip2, tmp_path / "model")
    params = VLM.Params(model=str(folder))
    before = VLM(params, city).settings("svi")
    with (folder / name).open("a") as stream:
        stream.write("\n")
    after = VLM(params, city).settings("svi")
    assert {key for key in before if before[key] != after[key]} == {"files"}


def test_checkpoint_of_another_kind_is_refused(city, tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = CLIPConfig(text_config=small, vision_config=small | {"image_size": 16, "patch_size": 8})
    CLIPModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"type 'clip' is not an image-text-to-text model.*blip2-opt-2\.7b"):
        VLM(VLM.Params(model=str(tmp_path)), city)


def test_checkpoint_without_a_processor_is_refused(city, blip2: Path, pixels, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((blip2 / name).read_bytes())
    with pytest.raises(UserError, match=r"processor|tokenizer"):
        describe(city, tmp_path, pixels)


def test_pickled_code_is_not_run(city, blip2: Path, pixels, tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    folder = shutil.copytree(blip2, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(UserError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        VLM(VLM.Params(model=str(folder)), city)
    torch.save({"weight": Code()}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be read: damaged, or pickled objects other than tensors"):
        describe(city, folder, pixels)
    assert not (tmp_path / "ran").exists()


def test_a_name_without_network_fails_in_seconds(city, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"hf download Salesforce/blip2-opt-2\.7b --local-dir FOLDER"):
        VLM(VLM.Params(), city)
    assert time.monotonic() - start < 10


def test_a_form_without_its_prompt_and_int8_without_its_library_are_refused(city, blip2: Path) -> None:
    with pytest.raises(UserError, match=r"int8 needs (a CUDA device|bitsandbytes)"):
        VLM(VLM.Params(model=str(blip2), precision="int8"), city)
    with pytest.raises(ValidationError, match=r"must contain \{prompt\}"):
        VLM.Params(form="Describe this.")


def test_vlm_passes_the_checks_of_captioners(blip2):
    testing.check_captioner("vlm", model=str(blip2), max_tokens=4)
