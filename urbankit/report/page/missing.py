"""Sentences on what a report could not show, and why. The rest of the report is still made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from urbankit.utils.errors import UrbankitError

T = TypeVar("T")


class Missing:
    """Sentences on what is missing, each once, in order."""

    def __init__(self, sentences: Iterable[str] = ()) -> None:
        self.sentences: list[str] = list(dict.fromkeys(sentences))

    def add(self, *sentences: str) -> None:
        self.sentences += [text for text in dict.fromkeys(sentences) if text not in self.sentences]

    def attempt(self, what: str, make: Callable[[], T], otherwise: T) -> T:
        """Return what `make` returns, or `otherwise` with a sentence that begins with `what`.

        Every error is caught: a run folder of another version can be wrong in any way, and a page without one section
        is of more use than no page.
        """
        try:
            return make()
        except UrbankitError as error:
            self.add(f"{what}: {error}")
        except Exception as error:
            self.add(f"{what}: it could not be made ({type(error).__name__}: {error}).")
        return otherwise
