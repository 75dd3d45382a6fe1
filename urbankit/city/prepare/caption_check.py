"""What looks wrong with captions: empty, repeated, cut off, contradicting. Rules over words, no model."""

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
    """What was found: `flags` has, for each caption that has any, its row and what is wrong with it and why."""

    ids: list[str]
    texts: list[str]
    flags: dict[int, dict[str, str]] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        found = Counter(flag for flags in self.flags.values() for flag in flags)
        return {flag: found[flag] for flag in FLAGS}

    def to_json(self) -> dict[str, Any]:
        flagged = [
            {"id": self.ids[row], "caption": self.texts[row], "flags": flags}
            for row, flags in sorted(self.flags.items())
        ]
        return {"captions": len(self.texts), "counts": self.counts(), "flagged": flagged}

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """For a table: flag, how many captions have it, what it means, an example."""
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
    """Check captions; those with one id describe one image.

    - empty: nothing, or only signs.
    - repeated: another id has the same text, but for case, spaces and the final sign.
    - truncated: the last sign ends no sentence, and the caption has all `max_tokens` by `tokens` or, where its tokens
      are not known, at least half as many words: an English word is mostly one token or two.
    - contradicting: see `claims`.
    """
    words = [text or "" for text in texts]
    check = CaptionCheck(list(ids), words)
    holders: dict[str, set[str]] = defaultdict(set)
    normal = [_normal(text) for text in words]
    for text, name in zip(normal, ids, strict=True):
        holders[text].add(name)
    said: dict[str, dict[str, dict[bool, str]]] = defaultdict(lambda: defaultdict(dict))
    counts = tokens if tokens is not None else [None] * len(words)
    for row, (text, name, count) in enumerate(zip(words, ids, counts, strict=True)):
        if not normal[row]:
            _flag(check, row, "empty", "nothing is said")
            continue
        others = len(holders[normal[row]]) - 1
        if others:
            _flag(check, row, "repeated", f"{others:,} more: {_short(text)}")
        if _is_cut(text, count, max_tokens):
            _flag(check, row, "truncated", f"… {_short(text, end=True)}")
        for subject, stance, quote in claims(text):
            denied = said[name][subject].get(not stance)
            if denied is not None:
                _flag(check, row, "contradicting", f"'{quote}' against '{denied}'")
            said[name][subject].setdefault(stance, quote)
    return check


@lru_cache(maxsize=1 << 16)
def claims(text: str) -> tuple[tuple[str, bool, str], ...]:
    """What a caption claims: `(subject, holds, words)`.

    Claims are that a thing is there ("several cars", "there are trees") or is not ("no cars", "without any trees"), and
    on which side of a pair an area is ("densely populated", "sparsely populated"). The rules read words, not sentences:
    they know the things of `THINGS` alone, and take "no cars on the road" and "cars in the yard" for a contradiction.
    So that a caption may compare parts of a picture, a sentence with a word of `CONTRAST` claims nothing of pairs.
    """
    found = []
    for sentence in re.split(r"[.!?;]\s*", text.lower()):
        absent = []
        for match in _ABSENT.finditer(sentence):
            absent.append(match.span())
            found += [(thing, False, match[0]) for thing in _things(match["things"])]
        for match in _PRESENT.finditer(sentence):
            if not any(start < match.end() and match.start() < end for start, end in absent):
                found += [(thing, True, match[0]) for thing in _things(match["thing"])]
        if not _CONTRAST.search(sentence):
            for subject, (holds, fails) in _PAIRS.items():
                found += [(subject, True, match[0]) for match in holds.finditer(sentence)]
                found += [(subject, False, match[0]) for match in fails.finditer(sentence)]
    return tuple(found)


THINGS = {
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
_ANY_THING = "|".join(f"(?:{words})" for words in THINGS.values())
_ABSENT = re.compile(
    r"\b(?:no|without(?: any)?|lacks?(?: any)?|lacking|absence of|devoid of|free of|not any)\s+"
    rf"(?:(?!and\b|but\b|with\b|{_QUANTITY})\w+\s+){{0,2}}?"
    rf"(?P<things>(?:{_ANY_THING})(?:(?:,| or|, or)\s+(?:{_ANY_THING}))*)\b"
)
_PRESENT = re.compile(
    rf"\b(?:{_QUANTITY}|there (?:is|are)(?: a| an)?)\s+(?:(?!no\b|without\b|not\b|few\b)\w+\s+){{0,2}}?"
    rf"(?P<thing>{_ANY_THING})\b"
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
_THING = {thing: re.compile(rf"\b(?:{words})\b") for thing, words in THINGS.items()}
_ENDS = re.compile(r"[.!?。！？…][\"'”’)\]]*$")


def _things(text: str) -> list[str]:
    return [thing for thing, words in _THING.items() if words.search(text)]


def _normal(text: str) -> str:
    """Without case, outer and doubled spaces and the final sign; empty where there is no letter or digit."""
    plain = " ".join(text.casefold().split()).rstrip(" .!?")
    return plain if re.search(r"\w", plain) else ""


def _is_cut(text: str, tokens: int | None, limit: int) -> bool:
    if _ENDS.search(text.rstrip()):
        return False
    return tokens >= limit if tokens is not None else len(text.split()) >= limit / 2


def _flag(check: CaptionCheck, row: int, flag: str, why: str) -> None:
    check.flags.setdefault(row, {}).setdefault(flag, why)


def _short(text: str, end: bool = False) -> str:
    if len(text) <= 60:
        return text
    return text[-60:] if end else f"{text[:60]} …"
