"""The report of `prepare`: rows that were read, matched and dropped, coverage, and suspicious values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from urbankit.utils.console import SafeConsole
from urbankit.utils.files import write_json
from urbankit.utils.text import list_some


@dataclass
class SourceReport:
    """What was read of one source and matched to the regions.

    Attributes:
        key: The source's key in the city spec, such as `images.svi`.
        rows: How many rows were read.
        matched: How many of them belong to a region.
        dropped: How many others were dropped, by reason.
        covers: Kind and name of the dataset, and the number of regions that have it.
        notes: Sentences for the user on what looks wrong.
    """

    key: str
    rows: int = 0
    matched: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    covers: tuple[str, str, int] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The source's name within its kind: `svi` of `images.svi`."""
        return self.key.split(".", 1)[1]

    def drop(self, count: int, reason: str) -> None:
        """Count rows that were dropped."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + int(count)

    def note(self, text: str) -> None:
        """Add a sentence for the user."""
        self.notes.append(text)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SourceReport:
        """The report of a source from its JSON form."""
        covers = data.get("covers")
        return cls(**{**data, "covers": tuple(covers) if covers else None})


@dataclass
class PrepareReport:
    """The report of a city with `regions` regions: its sources in the order of the city spec.

    `without_modality` are the ids of regions that no image, caption, count, flow or table covers.
    """

    city: str
    regions: int
    sources: list[SourceReport] = field(default_factory=list)
    without_modality: list[str] = field(default_factory=list)

    @property
    def suspicious(self) -> Iterator[tuple[str, str]]:
        """`(key, sentence)` of everything that looks wrong."""
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
        """Write the report as JSON."""
        write_json(path, asdict(self))

    def print(self, console: Console | None = None) -> None:
        """Show the report as tables on a terminal."""
        (console or SafeConsole()).print(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(title=f"{self.city}: {self.regions} regions", title_justify="left")
        for column in ("source", "rows", "matched", "dropped", "regions with it"):
            justify: JustifyMethod = "right" if column in ("rows", "matched") else "left"
            table.add_column(column, justify=justify, no_wrap=column == "source")
        for source in self.sources:
            dropped = "\n".join(f"{count:,} {reason}" for reason, count in source.dropped.items())
            count = source.covers[2] if source.covers else None
            cover = "" if count is None else f"{count} ({count / max(self.regions, 1):.1%})"
            table.add_row(source.key, f"{source.rows:,}", f"{source.matched:,}", Text(dropped), cover)
        yield table
        notes = list(self.suspicious)
        yield Text("Worth a look:" if notes else "Nothing suspicious found.", style="bold")
        for key, note in notes:
            yield Text.assemble("  ", (key, "bold"), f": {note}")
