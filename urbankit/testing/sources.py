"""The conformance checks of a source."""

from __future__ import annotations

from collections.abc import Iterator

from urbankit import registry
from urbankit.city.io.source import Source
from urbankit.testing.candidate import Candidate, Check


def names_its_suffixes(candidate: Candidate) -> Iterator[str]:
    """It names the ends of file names that it reads, which no other source reads."""
    suffixes = candidate.component.suffixes
    if not suffixes or isinstance(suffixes, str) or any(suffix != f".{suffix.lower()[1:]}" for suffix in suffixes):
        yield f"`suffixes` is {suffixes!r}; give a tuple of texts in lower case, each with its dot: ('.xlsx',)"
        return
    for name in registry.names("source"):
        shared = set(suffixes) & set(registry.get("source", name).suffixes)
        if name != candidate.name and shared:
            yield f"the source '{name}' also reads {', '.join(sorted(shared))}; a suffix has one source"


def reads_a_table_or_geometries(candidate: Candidate) -> Iterator[str]:
    """It overrides `scan_table`, `read_vector`, or both."""
    component = candidate.component
    if component.scan_table is Source.scan_table and component.read_vector is Source.read_vector:
        yield "it overrides neither scan_table nor read_vector; write one"


CHECKS: tuple[Check, ...] = (names_its_suffixes, reads_a_table_or_geometries)
