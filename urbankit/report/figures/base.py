"""What a figure is: it draws some files from a finished run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from urbankit.registry.component import Component, P
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.style import Drawing


class Figure(Component[P], ABC):
    """Draws one kind of figure, at the end of every run and by `urbankit report`.

    Attributes:
        title: what is drawn, in the plural: `maps of residuals`.
        order: figures of lower numbers come first; those of urbankit have 10 to 110.
    """

    title: ClassVar[str]
    order: ClassVar[int] = 1000

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        """Draw and save the figures of a run, one after another (`urbankit.report.style.save`).

        Args:
            context: the run, its city, tasks, predictions, embeddings and what else several figures need.

        Yields:
            A `Drawing` for each figure, with its files and caption, or a `NotPossible` with the reason for one that
            this run cannot have.

        Raises:
            NotPossible: this run cannot have any of the figures.
        """
