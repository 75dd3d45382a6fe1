"""Why a figure cannot be drawn."""

from __future__ import annotations


class NotPossible(Exception):
    """A figure that this run cannot have; its text is the sentence that says why."""
