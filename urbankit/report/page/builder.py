"""Builds a page: its sections in order, what is missing, and the images that fit in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from urbankit.city.city import City
from urbankit.report.page.downloads import Download
from urbankit.report.page.missing import Missing
from urbankit.report.page.render import render, render_page, script
from urbankit.report.page.thumbnails import thumbnails
from urbankit.utils.files import write_text
from urbankit.utils.written import write_own

MOST_BYTES = 15_000_000
"""The most bytes of a page. Images of regions get what the other sections leave."""

_RESERVE = 200_000
"""Bytes kept free of images, because their size is an estimate."""


class Written(NamedTuple):
    """The path of a page, and sentences on what it could not show; they are on the page too."""

    path: Path
    missing: list[str]


class Section(NamedTuple):
    """One section: its HTML id, its name in the navigation, and its HTML."""

    id: str
    name: str
    html: str


class ReportPage:
    """Sections are added in order. A section that cannot be made becomes a sentence in `missing`.

    Args:
        title: The title of the page.
        description: The paragraph below the title.
        missing: Sentences on what is missing.
        subtitle: A line above the title.
        downloads: Files to save.
    """

    def __init__(
        self,
        title: str,
        description: str,
        missing: Missing,
        *,
        subtitle: str = "",
        downloads: Sequence[Download] = (),
    ) -> None:
        self.title, self.description, self.missing = title, description, missing
        self._first_screen = {"subtitle": subtitle, "downloads": list(downloads)}
        self._sections: list[Section] = []
        self._has_map = False

    def add(self, key: str, name: str, make: Callable[[], str]) -> None:
        """Add the HTML that `make` returns as a section with the id `key`, unless it is empty."""
        html = self.missing.attempt(f"No section '{name}'", make, "")
        if html:
            self._sections.append(Section(key, name, html))

    def add_map(self, make: Callable[[], dict[str, Any] | None]) -> None:
        """Add the map of the data that `make` returns, see `map_data`, with the script that draws it."""
        data = self.missing.attempt("No map", make, None)
        if data is not None:
            self._sections.append(Section("map", "Map", render("map", data=data, script=script())))
            self._has_map = True

    def write(self, path: Path, city: City | None, *, replace: bool = False) -> Written:
        """Write the page, with as many images of the regions of `city` as it has room for.

        `replace`: the page of the run itself, which replaces an earlier one also if that is damaged.
        """
        images = self._images(city) if self._has_map else None
        if replace:
            write_text(path, self._html(images))
        else:
            write_own(path, self._html(images))
        return Written(path, self.missing.sentences)

    def _images(self, city: City | None) -> dict[str, Any] | None:
        if city is None:
            self.missing.add("There are no images of regions: they are in the city, which cannot be read.")
            return None
        budget = MOST_BYTES - _RESERVE - len(self._html(None).encode())
        images = self.missing.attempt("No images of regions", lambda: thumbnails(city, budget), None)
        if images is None:
            return None
        self.missing.add(*images.notes)
        return images.payload

    def _html(self, images: dict[str, Any] | None) -> str:
        return render_page(
            title=self.title,
            description=self.description,
            has_map=self._has_map,
            **self._first_screen,
            missing=self.missing.sentences,
            sections=self._sections,
            images=images,
        )
