"""The report of `prepare`: what was read, matched and dropped, what is covered, and what looks suspicious."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from urbankit.utils.files import read_json, write_json
from urbankit.utils.text import list_some


@dataclass
class SourceReport:
    """One source: how many rows were read and matched to regions, why others were dropped, and what looks odd.

    `key` is the source's key in the city spec, such as `images.svi`; `covers` holds the kind, name and number of
    regions that have it; `notes` are sentences for the user.
    """

    key: str
    rows: int = 0
    matched: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    covers: tuple[str, str, int] | None = None
    notes: list[str] = field(default_factory=list)

    def drop(self, count: int, why: str) -> None:
        """Record rows that were left out."""
        if count:
            self.dropped[why] = self.dropped.get(why, 0) + int(count)

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class PrepareReport:
    """The reports of all sources of a city, in the order of the city spec."""

    city: str
    regions: int
    sources: list[SourceReport] = field(default_factory=list)
    without_modality: list[str] = field(default_factory=list)

    @property
    def suspicious(self) -> Iterator[tuple[str, str]]:
        """`(key, sentence)` of everything that looks odd."""
        for source in self.sources:
            for note in source.notes:
                yield source.key, note
        if self.without_modality:
            yield "regions", f"regions with no modality but their location: {list_some(self.without_modality)}"

    def coverage(self) -> list[tuple[str, str, int, float]]:
        """`(kind, name, regions, share)` of every modality, view source and target."""
        covers = [source.covers for source in self.sources if source.covers]
        return [(kind, name, count, count / max(self.regions, 1)) for kind, name, count in covers]

    def write(self, path: str | Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: str | Path) -> PrepareReport:
        data = read_json(path)
        return cls(
            data["city"],
            data["regions"],
            [source_report(source) for source in data["sources"]],
            data["without_modality"],
        )

    def print(self, console: Console | None = None) -> None:
        """Show the report as tables on a terminal."""
        console = console or Console()
        console.print(self)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        table = Table(title=f"{self.city}: {self.regions} regions", title_justify="left")
        for column in ("source", "rows", "matched", "dropped", "regions with it"):
            number = column in ("rows", "matched")
            table.add_column(column, justify="right" if number else "left", no_wrap=column == "source")
        for source in self.sources:
            dropped = "\n".join(f"{count:,} {why}" for why, count in source.dropped.items())
            cover = ""
            if source.covers:
                cover = f"{source.covers[2]} ({source.covers[2] / max(self.regions, 1):.1%})"
            table.add_row(source.key, f"{source.rows:,}", f"{source.matched:,}", Text(dropped), cover)
        yield table
        notes = list(self.suspicious)
        yield Text("Worth a look:" if notes else "Nothing suspicious found.", style="bold")
        for key, note in notes:
            yield Text.assemble("  ", (key, "bold"), f": {note}")


def source_report(data: dict[str, Any]) -> SourceReport:
    """A source report from its JSON form."""
    covers = data.get("covers")
    return SourceReport(**{**data, "covers": tuple(covers) if covers else None})
