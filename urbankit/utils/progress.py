"""One progress display for every long job: rich bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class Stage:
    """A running stage. `advance` moves it on and shows the latest numbers (losses, rows)."""

    def __init__(self, progress: Progress, name: str, total: int | None) -> None:
        self._progress, self.name, self.total, self.done = progress, name, total, 0
        self._started = self._said = time.monotonic()
        self._task = None if progress._bars is None else progress._bars.add_task(name, total=total, note="")

    def advance(self, step: int = 1, **numbers: float | int | str) -> None:
        self.done += step
        note = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items())
        if self._task is not None:
            self._progress._bars.update(self._task, advance=step, note=note)
        elif time.monotonic() - self._said >= self._progress.every:
            self._said = time.monotonic()
            left = ""
            if self.total and self.done:
                left = f", {(self._said - self._started) / self.done * (self.total - self.done):.0f} s left"
            of = f"/{self.total}" if self.total else ""
            self._progress.say(f"{self.name} {self.done}{of}  {note}{left}".rstrip())

    def _finish(self) -> None:
        if self._task is not None:
            self._progress._bars.remove_task(self._task)
        self._progress.say(f"{self.name} done in {time.monotonic() - self._started:.1f} s")


class Progress:
    """Shows stages. Use as a context manager; `Progress(quiet=True)` shows nothing.

    >>> with Progress() as progress, progress.stage("pretrain", total=100) as stage:
    ...     stage.advance(loss=0.5)
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False, every: float = 5.0) -> None:
        self.quiet, self.every = quiet, every
        self._bars: Any = None
        self._console = console

    @property
    def console(self) -> Console:
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True)
        return self._console

    def __enter__(self) -> Progress:
        if not self.quiet and self.console.is_terminal:
            from rich import progress as bars

            self._bars = bars.Progress(
                bars.TextColumn("[bold]{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(),
                bars.TimeElapsedColumn(), bars.TimeRemainingColumn(), bars.TextColumn("{task.fields[note]}"),
                console=self.console,
            )  # fmt: skip
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def say(self, text: str) -> None:
        """Print one line beside the bars."""
        if not self.quiet:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        stage = Stage(self, name, total)
        yield stage
        stage._finish()
