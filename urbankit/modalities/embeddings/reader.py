"""What reads one tile of an embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from urbankit.city.io.cell_vectors import Tile


@dataclass(frozen=True)
class Reader:
    """A tile, and what its cells turned out to hold: notes with the name of a band, or "" for all bands."""

    tile: Tile
    notes: Callable[[], list[tuple[str, str]]]
