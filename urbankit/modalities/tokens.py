"""A tokenizer learned from a city's captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# <end> is not number 2: transformers' CLIP text model takes a 2 for a sign of its first, faulty configurations.
SPECIAL = ["<pad>", "<unused>", "<start>", "<end>"]
PAD, _, START, END = range(4)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-pair tokenizer of lower-cased words in any script, the same for the same texts in any order.

    Args:
        vocabulary: the most tokens it may have, the 256 bytes and 4 special ones included.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

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
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
    lengths = np.fromiter((len(ids) for ids in encoded), dtype=np.int32, count=len(encoded))
    ids = np.full((len(encoded), lengths.max(initial=1)), pad, dtype=np.int32)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = np.fromiter((i for one in encoded for i in one), dtype=np.int32)
    return ids, lengths
