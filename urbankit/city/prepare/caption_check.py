"""Checks of captions by rules over words: empty, repeated, truncated, contradicting."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

MAX_TOKENS = 77
FLAGS = {
    "empty": "no letter or digit",
    "repeated": "the text of another image too",
    "truncated": "ends in the middle of a sentence, at the token limit",
    "contradicting": "claims two things that exclude each other, or what another caption of the image denies",
}


@dataclass
class CaptionCheck:
    """The result of a check: `flags` maps the row of a caption to its flags, each with an explanation."""

    ids: list[str]
    texts: list[str]
    flags: dict[int, dict[str, str]] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """The number of captions with each flag."""
        counts = Counter(flag for flags in self.flags.values() for flag in flags)
        return {flag: counts[flag] for flag in FLAGS}

    def to_json(self) -> dict[str, Any]:
        """The counts and all flagged captions."""
        flagged = [
            {"id": self.ids[row], "caption": self.texts[row], "flags": flags}
            for row, flags in sorted(self.flags.items())
        ]
        return {"captions": len(self.texts), "counts": self.counts(), "flagged": flagged}

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """For a table: flag, number of captions, meaning, an example."""
        for flag, count in self.counts().items():
            row = next((row for row, flags in sorted(self.flags.items()) if flag in flags), None)
            example = "" if row is None else f"{self.ids[row]}: {self.flags[row][flag]}"
            share = f" ({count / len(self.texts):.1%})" if count else ""
            yield flag, f"{count:,}{share}", FLAGS[flag], example


def check_captions(
    texts: Sequence[str | None],
    ids: Sequence[str],
    tokens: Sequence[int | None] | None = None,
    max_tokens: int = MAX_TOKENS,
) -> CaptionCheck:
    """Check captions; those with the same id describe the same image.

    - empty: no letter or digit.
    - repeated: another id has the same text, apart from case, spaces and final punctuation.
    - truncated: the text does not end like a sentence, and it has all `max_tokens` by `tokens` or, if its tokens are
      unknown, at least half as many words (most English words are one or two tokens).
    - contradicting: see `claims`.
    """
    captions = [text or "" for text in texts]
    check = CaptionCheck(list(ids), captions)
    ids_by_text: dict[str, set[str]] = defaultdict(set)
    normal = [_normal(text) for text in captions]
    for text, name in zip(normal, ids, strict=True):
        ids_by_text[text].add(name)
    earlier: dict[str, dict[str, dict[bool, str]]] = defaultdict(lambda: defaultdict(dict))
    counts = tokens if tokens is not None else [None] * len(captions)
    for row, (text, name, count) in enumerate(zip(captions, ids, counts, strict=True)):
        if not normal[row]:
            _flag(check, row, "empty", "no words")
            continue
        others = len(ids_by_text[normal[row]]) - 1
        if others:
            _flag(check, row, "repeated", f"{others:,} more: {_short(text)}")
        if _is_cut(text, count, max_tokens):
            _flag(check, row, "truncated", f"… {_short(text, end=True)}")
        for topic, holds, quote in claims(text):
            opposite = earlier[name][topic].get(not holds)
            if opposite is not None:
                _flag(check, row, "contradicting", f"'{quote}' against '{opposite}'")
            earlier[name][topic].setdefault(holds, quote)
    return check


@lru_cache(maxsize=1 << 16)
def claims(text: str) -> tuple[tuple[str, bool, str], ...]:
    """The claims of a caption: `(topic, holds, words)`.

    A claim is that an object is present ("several cars", "there are trees") or absent ("no cars", "without any trees"),
    or on which side of a pair an area is ("densely populated", "sparsely populated"). The rules look at words, not
    grammar: they know only the objects of `OBJECTS`, and treat "no cars on the road" and "several cars in the yard" as
    a contradiction. A sentence with a word of `CONTRAST` makes no claim about pairs, since it may compare areas.
    """
    result: list[tuple[str, bool, str]] = []
    for sentence in re.split(r"[.!?;]\s*", text.lower()):
        absent = []
        for match in _ABSENT.finditer(sentence):
            absent.append(match.span())
            result += [(name, False, match[0]) for name in _objects(match["objects"])]
        for match in _PRESENT.finditer(sentence):
            if not any(start < match.end() and match.start() < end for start, end in absent):
                result += [(name, True, match[0]) for name in _objects(match["object"])]
        if not _CONTRAST.search(sentence):
            for topic, (high, low) in _PAIRS.items():
                result += [(topic, True, match[0]) for match in high.finditer(sentence)]
                result += [(topic, False, match[0]) for match in low.finditer(sentence)]
    return tuple(result)


OBJECTS = {
    "trees": "trees?",
    "vegetation": "vegetation|greenery|plants",
    "buildings": "buildings?|houses?",
    "vehicles": "cars?|vehicles?|traffic",
    "people": "people|pedestrians?|persons?",
    "water": "water|rivers?|lakes?",
    "roads": "roads?|streets?",
}
CONTRAST = r"while|whereas|but|however|mix|mixture|both|other|others|some|parts?|contrast|from|between|or"
_QUANTITY = (
    r"many|several|some|numerous|multiple|various|plenty of|(?:a )?lots? of|a few|lined with|full of|dotted with"
)
_ANY_OBJECT = "|".join(f"(?:{words})" for words in OBJECTS.values())
_ABSENT = re.compile(
    r"\b(?:no|without(?: any)?|lacks?(?: any)?|lacking|absence of|devoid of|free of|not any)\s+"
    rf"(?:(?!and\b|but\b|with\b|{_QUANTITY})\w+\s+){{0,2}}?"
    rf"(?P<objects>(?:{_ANY_OBJECT})(?:(?:,| or|, or)\s+(?:{_ANY_OBJECT}))*)\b"
)
_PRESENT = re.compile(
    rf"\b(?:{_QUANTITY}|there (?:is|are)(?: a| an)?)\s+(?:(?!no\b|without\b|not\b|few\b)\w+\s+){{0,2}}?"
    rf"(?P<object>{_ANY_OBJECT})\b"
)
_CONTRAST = re.compile(rf"\b(?:{CONTRAST})\b")
_BUILT = r"(?:populated|built|packed|inhabited|developed)"
_PAIRS = {
    "density": (
        re.compile(rf"\b(?:densely(?: and \w+)? {_BUILT}|high[- ]density)\b"),
        re.compile(rf"\b(?:sparsely(?: and \w+)? {_BUILT}|low[- ]density)\b"),
    ),
    "height": (re.compile(r"\bhigh-rise\b"), re.compile(r"\blow-rise\b")),
    "bustle": (
        re.compile(r"\b(?:busy|crowded|bustling) (?:street|road|city street)\b"),
        re.compile(r"\b(?:empty|deserted|quiet) (?:street|road|city street)\b"),
    ),
}
_OBJECTS = {name: re.compile(rf"\b(?:{words})\b") for name, words in OBJECTS.items()}
_ENDS = re.compile(r"[.!?。！？…][\"'”’)\]]*$")


def _objects(text: str) -> list[str]:
    return [name for name, words in _OBJECTS.items() if words.search(text)]


def _normal(text: str) -> str:
    """Lower case, single spaces, no final punctuation; empty if there is no letter or digit."""
    plain = " ".join(text.casefold().split()).rstrip(" .!?")
    return plain if re.search(r"\w", plain) else ""


def _is_cut(text: str, tokens: int | None, limit: int) -> bool:
    if _ENDS.search(text.rstrip()):
        return False
    return tokens >= limit if tokens is not None else len(text.split()) >= limit / 2


def _flag(check: CaptionCheck, row: int, flag: str, explanation: str) -> None:
    check.flags.setdefault(row, {}).setdefault(flag, explanation)


def _short(text: str, end: bool = False) -> str:
    if len(text) <= 60:
        return text
    return text[-60:] if end else f"{text[:60]} …"
