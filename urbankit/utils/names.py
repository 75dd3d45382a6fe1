"""Names of one thing in two data sets, spelled in different ways."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence


def match_names(names: Iterable[str], available: Sequence[str]) -> dict[str, str]:
    """Return for each of `names` the available name that it equals, or else spells the same.

    Names spell the same if only case, spaces, hyphens and underscores differ: `Fast food` and
    `fast_food`. A spelling that several available names share, or several of `names`, matches none.

    >>> match_names(["Fast food", "park"], ["fast_food", "Park", "park"])
    {'Fast food': 'fast_food', 'park': 'park'}
    """
    names = list(dict.fromkeys(names))
    exact = set(names) & set(available)
    open_names = Counter(spelling(name) for name in names if name not in exact)
    others = [name for name in available if name not in exact]
    by_spelling = Counter(map(spelling, others))
    unique = {spelling(name): name for name in others if by_spelling[spelling(name)] == 1}
    matches = {}
    for name in names:
        key = spelling(name)
        if name in exact:
            matches[name] = name
        elif key in unique and open_names[key] == 1:
            matches[name] = unique[key]
    return matches


def spelling(name: str) -> str:
    """Return a name without what people spell in different ways."""
    return re.sub(r"[\s_\-]+", " ", name.casefold()).strip()
