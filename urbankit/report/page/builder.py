"""A page that is being put together: its sections in order, what is missing, and the images that still fit in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from urbankit.city.city import City
from urbankit.report.page.document import data_block, document, program
from urbankit.report.page.explorer import FRAME
from urbankit.report.page.missing import Missing
from urbankit.report.page.sections import head, notice
from urbankit.report.page.thumbnails import thumbnails
from urbankit.utils.files import write_text

MOST_BYTES = 15_000_000
"""Of a page. Images of regions get what the rest leaves of it."""

_FREE = 200_000
"""Bytes kept free of images, since how many they take is judged beforehand."""


class Written(NamedTuple):
    """A page, and what it could not show, in sentences that stand on it too."""

    path: Path
    missing: list[str]


class ReportPage:
    """Sections are added in their order; a section that cannot be made is one of the sentences of `missing`."""

    def __init__(self, title: str, description: str, missing: Missing) -> None:
        self.title, self.description, self.missing = title, description, missing
        self._sections: list[tuple[str, str, str]] = []
        self._mapped = False

    def add(self, key: str, name: str, make: Callable[[], str]) -> None:
        """The section that `make` returns as HTML, under the id `key`; none where that is empty."""
        content = self.missing.attempt(f"No section '{name}'", make, "")
        if content:
            self._sections.append((key, name, content))

    def add_map(self, make: Callable[[], dict[str, Any] | None]) -> None:
        """The map of what `make` returns, see `map_data`; its script comes with it, before what is heavy."""
        data = self.missing.attempt("No map", make, None)
        if data is not None:
            self._sections.append(("map", "Map", FRAME + data_block("map", data) + program()))
            self._mapped = True

    def write(self, path: Path, city: City | None) -> Written:
        """Write the page, with as many images of the regions of `city` as it has room for."""
        images = self._images(city) if self._mapped else ""
        write_text(path, self._html(images))
        return Written(path, self.missing.sentences)

    def _images(self, city: City | None) -> str:
        if city is None:
            self.missing.add("There are no images of regions: they are in the city, which cannot be read.")
            return ""
        room = MOST_BYTES - _FREE - len(self._html("").encode())
        found = self.missing.attempt("No images of regions", lambda: thumbnails(city, room), None)
        if found is None:
            return ""
        self.missing.add(*found.notes)
        return data_block("images", found.payload)

    def _html(self, images: str) -> str:
        top = head(self.title, self.description, [(key, name) for key, name, _ in self._sections])
        body = "".join(content for *_, content in self._sections)
        return document(self.title, f"{top}{notice(self.missing.sentences)}<main>{body}</main>{images}")
