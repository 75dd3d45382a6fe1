"""Captions: tokens, the state of the last token against transformers, channels, and the saved tokenizer."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import checkpoints
from helpers.checkpoints import SMALL, TEXTS, save_tokenizer
from helpers.fake_city import FakeCity
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertModel

from urbankit.modalities.pretrained.tokenizer import END, PAD, START, encode_texts, train_tokenizer
from urbankit.modalities.text import Text
from urbankit.utils.errors import UserError


def encode(city: FakeCity, of: str | None = None, dim: int = 8, **params: object) -> tuple[Text, dict, Tensor]:
    encoder = Text(Text.Params(**params), city, "text", dim).eval()
    batch = encoder.load(np.arange(len(encoder.observations(of))), of)
    with torch.no_grad():
        return encoder, batch, encoder(batch)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    checkpoints.saved(checkpoints.clip, tmp_path / "clip")
    save_tokenizer(tmp_path / "clip")
    return tmp_path / "clip"


def test_tokens_decode_to_the_caption() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    ids, lengths = encode_texts(tokenizer, TEXTS, 77, PAD)
    assert (ids[:, 0] == START).all() and all(ids[i, n - 1] == END for i, n in enumerate(lengths))
    assert tokenizer.decode(ids[1, : lengths[1]]) == " low houses, wide road"
    assert (ids[np.arange(ids.shape[1]) >= lengths[:, None]] == PAD).all()


def test_long_captions_are_cut_and_unknown_words_and_scripts_are_split() -> None:
    ids, lengths = encode_texts(train_tokenizer(TEXTS, 300), ["water " * 100, "trees"], 9, PAD)
    assert ids.shape == (2, 9) and lengths[0] == 9 and ids[0, -1] == END
    tokenizer = train_tokenizer(TEXTS, 300)
    ids, lengths = encode_texts(tokenizer, ["wart 山"], 77, PAD)
    assert lengths[0] > 4 and tokenizer.decode(ids[0]) == " wart 山"


def test_the_tokenizer_depends_on_the_texts_alone() -> None:
    code = (
        "import sys; from urbankit.modalities.pretrained.tokenizer import train_tokenizer\n"
        "print(hash(0), train_tokenizer(sys.argv[1:], 330).to_str())"
    )
    texts = [*TEXTS, *(f"{a} {b}" for a in "abcdefgh" for b in "klmnopqr")]
    runs = {subprocess.check_output([sys.executable, "-c", code, *order]) for order in (texts, texts[::-1], texts)}
    assert len(runs) == 1


def test_vector_is_the_end_state_of_transformers(city: FakeCity) -> None:
    encoder, batch, vectors = encode(city, "rsi")
    with torch.no_grad():
        direct = encoder.model(batch["ids"]).pooler_output
        pairs = zip(batch["ids"], batch["length"], strict=True)
        alone = [encoder({"ids": ids[None, :n], "length": n[None]}) for ids, n in pairs]
    torch.testing.assert_close(vectors, direct)
    torch.testing.assert_close(vectors, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_channels_hold_the_captions_of_each_described_source(city: FakeCity) -> None:
    encoder = Text(Text.Params(captions={"street": "svi"}), city, "text", 8)
    for of, source in (("rsi", "rsi"), ("svi", "svi"), ("street", "svi")):
        np.testing.assert_array_equal(encoder.observations(of), city.captions(source)["region"])
        batch = encoder.load(np.arange(3), of)
        read = [encoder._learned.decode(ids.tolist()) for ids in batch["ids"]]
        assert read == [f" {text}" for text in city.captions(source)["text"][:3]]
        assert encoder.describes(of)
    assert not encoder.describes("location") and len(encoder.observations("location")) == 0
    every = encoder.observations()
    assert len(every) == sum(len(city.captions(s)) for s in city.caption_sources) and (np.diff(every) >= 0).all()


@pytest.mark.parametrize("pooling", ["auto", "mean", "end"])
def test_bert_checkpoint_equals_a_direct_call(city: FakeCity, tmp_path: Path, pooling: str) -> None:
    model = BertModel(BertConfig(vocab_size=300, **SMALL)).eval()
    model.save_pretrained(tmp_path / "bert")
    tokenizer = save_tokenizer(tmp_path / "bert")
    encoder, _, vectors = encode(city, "rsi", pretrained=str(tmp_path / "bert"), pooling=pooling)
    tokens = tokenizer(city.captions("rsi")["text"].tolist(), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
    lengths = tokens["attention_mask"].sum(1)
    expected = {
        "auto": states[:, 0],
        "end": torch.stack([s[n - 1] for s, n in zip(states, lengths, strict=True)]),
        "mean": torch.stack([s[:n].mean(0) for s, n in zip(states, lengths, strict=True)]),
    }[pooling]
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-5)
    assert all(p.requires_grad for p in encoder.parameters())


def test_the_learned_tokenizer_is_part_of_the_state(city: FakeCity, tmp_path: Path) -> None:
    encoder, _, vectors = encode(city, "rsi")
    save_file(encoder.state_dict(), tmp_path / "text.safetensors")
    # Another city would learn another tokenizer; its captions are read by the one that the weights were trained on.
    other_city = FakeCity()
    more = other_city.captions("svi").assign(text="an entirely different vocabulary of boulevards")
    other_city._captions["svi"] = more
    other = Text(Text.Params(), other_city, "text", 8).eval()
    assert other._learned.to_str() != encoder._learned.to_str()
    other.load_state_dict(load_file(tmp_path / "text.safetensors"))
    assert other._learned.to_str() == encoder._learned.to_str()
    with torch.no_grad():
        again = other(other.load(np.arange(len(vectors)), "rsi"))
    torch.testing.assert_close(again, vectors)


def test_captions_can_be_of_one_source_and_a_city_without_captions_is_refused(city: FakeCity) -> None:
    source, other = city.caption_sources
    encoder, _, _ = encode(city, source=source)
    assert len(encoder.observations()) == len(city.captions(source))
    assert encoder.describes(source) and not encoder.describes(other)
    assert "no captions of 'nowhere'" in Text.requires(Text.Params(source="nowhere"), city, "text")
    city._captions = {}
    with pytest.raises(UserError, match=r"modalities\.text: the city has no captions"):
        Text(Text.Params(), city, "text", 8)


def test_a_checkpoint_without_a_tokenizer(city: FakeCity, clip: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (clip / name).unlink()
    with pytest.raises(UserError, match=r"modalities\.text\.pretrained"):
        encode(city, pretrained=str(clip))


def test_number_of_tokens_equals_the_caption_length(city: FakeCity) -> None:
    encoder, batch, vectors = encode(city, of="svi", hidden_size=16, layers=1, heads=2)
    with torch.no_grad():
        encoded = encoder.tokens(batch)
    assert (encoded.present.sum(dim=1) == batch["length"]).all()
    last = encoded.tokens[torch.arange(len(vectors)), batch["length"] - 1]
    torch.testing.assert_close(encoded.vector, vectors)
    torch.testing.assert_close(last, vectors)
