"""Captions as token ids: by a tokenizer learned from them, or that of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

# <end> is not number 2: transformers' CLIP text model takes a 2 for a sign of its first, faulty configurations.
SPECIAL = ["<pad>", "<unused>", "<start>", "<end>"]
PAD, _, START, END = range(4)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-pair tokenizer of lower-cased words in any script, the same for the same texts in any order.

    Args:
        vocabulary: the most tokens it may have, the 256 bytes and 4 special ones included.
    """
    # Bytes as the alphabet: nothing is unknown, and it comes sorted. With an end-of-word suffix the trainer would add
    # tokens in the order of a randomly seeded hash table.
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[START]} $A {SPECIAL[END]}", special_tokens=[(SPECIAL[START], START), (SPECIAL[END], END)]
    )
    return tokenizer


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], longest: int, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids int32[n, L], padded with `pad` to the longest text, and the number of each text's tokens int32[n].

    Texts are cut to `longest` tokens; the closing token stays.
    """
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=pad, length=longest)
    ids, lengths = np.empty((len(texts), longest), np.int32), np.empty(len(texts), np.int32)
    for begin in range(0, len(texts), 4096):
        encoded = tokenizer.encode_batch(texts[begin : begin + 4096])
        ids[begin : begin + 4096] = [encoding.ids for encoding in encoded]
        lengths[begin : begin + 4096] = [sum(encoding.attention_mask) for encoding in encoded]
    return ids[:, : lengths.max(initial=1)].copy(), lengths


def encode_pretrained(tokenizer: Any, texts: Sequence[str], longest: int) -> tuple[np.ndarray, np.ndarray]:
    """As `encode_texts`, by the tokenizer of a checkpoint, padded with what it pads with."""
    ids = np.full((len(texts), longest), padding_of(tokenizer), np.int32)
    lengths = np.empty(len(texts), np.int32)
    for begin in range(0, len(texts), 4096):
        encoded = tokenizer(list(texts[begin : begin + 4096]), truncation=True, max_length=longest)["input_ids"]
        for row, tokens in enumerate(encoded, start=begin):
            ids[row, : len(tokens)], lengths[row] = tokens, len(tokens)
    return ids[:, : lengths.max(initial=1)].copy(), lengths


def padding_of(tokenizer: Any) -> int:
    """The id that a checkpoint's tokenizer pads with."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
