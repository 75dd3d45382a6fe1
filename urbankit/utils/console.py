"""Consoles whose output holds no control characters from data, and that print on every encoding."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from urbankit.utils.text import printable


class SafeConsole(Console):
    """A rich console that shows control characters of a text escaped, so that no id clears the screen.

    It draws lines of ASCII where the stream has another encoding than UTF-8.
    """

    @property
    def encoding(self) -> str:
        """The encoding of the stream in use."""
        return (getattr(self.file, "encoding", None) or "utf-8").lower()

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable; only rich's own control codes stay as they are."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, keep="\n"), segment.style)
