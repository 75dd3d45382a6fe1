"""The progress display of every long job: rich bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich import progress as bars
from rich.console import Console

from urbankit.utils.console import SafeConsole


class Stage:
    """A running stage of a job, with a bar or with lines."""

    def __init__(self, progress: Progress, name: str, total: int | None) -> None:
        self._progress, self.name, self.total, self.done = progress, name, total, 0
        self._started = self._last_line = time.monotonic()
        self._bar = None if progress.bars is None else progress.bars.add_task(name, total=total, note="")

    def advance(self, step: int = 1, **numbers: float | int | str) -> None:
        """Count `step` more items as done and show the latest numbers (losses, rows)."""
        self.done += step
        note = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items())
        if self._progress.bars is not None and self._bar is not None:
            self._progress.bars.update(self._bar, advance=step, note=note)
        elif time.monotonic() - self._last_line >= self._progress.every:
            self._last_line = time.monotonic()
            remaining = ""
            if self.total and self.done:
                seconds = (self._last_line - self._started) / self.done * (self.total - self.done)
                remaining = f", {seconds:.0f} s left"
            of = f"/{self.total}" if self.total else ""
            self._progress.say(f"{self.name} {self.done}{of}  {note}{remaining}".rstrip())

    def say(self, text: str) -> None:
        """Print one line beside the bars."""
        self._progress.say(text)

    def finish(self) -> None:
        """Remove the bar and print how long the stage took."""
        if self._progress.bars is not None and self._bar is not None:
            self._progress.bars.remove_task(self._bar)
        self._progress.say(f"{self.name} done in {time.monotonic() - self._started:.1f} s")


class Progress:
    """Shows stages. Use it as a context manager; `Progress(quiet=True)` shows nothing.

    Args:
        console: Where to print; default standard error.
        quiet: Print nothing.
        every: Seconds between two lines of a stage where there is no terminal.

    >>> with Progress() as progress, progress.stage("pretrain", total=100) as stage:
    ...     stage.advance(loss=0.5)
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False, every: float = 5.0) -> None:
        self.quiet, self.every = quiet, every
        self.console = console or SafeConsole(stderr=True)
        self.bars: bars.Progress | None = None

    def __enter__(self) -> Progress:
        if not self.quiet and self.console.is_terminal:
            self.bars = bars.Progress(
                bars.TextColumn("[bold]{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(),
                bars.TimeElapsedColumn(), bars.TimeRemainingColumn(), bars.TextColumn("{task.fields[note]}"),
                console=self.console,
            )  # fmt: skip
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()
            self.bars = None

    def say(self, text: str) -> None:
        """Print one line beside the bars."""
        if not self.quiet:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """Show a stage of `total` items while the block runs."""
        stage = Stage(self, name, total)
        yield stage
        stage.finish()
