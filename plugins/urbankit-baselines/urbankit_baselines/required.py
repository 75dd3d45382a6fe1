"""Checks that the recipe and the city have the modalities and views that a method's parameters name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from urbankit.utils.errors import Problem, UserError, suggest


def missing(names: Mapping[str, str], available: Collection[str], kind: str) -> list[tuple[str, str]]:
    """Return (parameter, message) for each `kind` (modality, view) that the recipe lacks; `names` is by parameter."""
    return [
        (parameter, f"the recipe has no {kind} '{name}', which this method needs.{suggest(name, available)}")
        for parameter, name in names.items()
        if name not in available
    ]


def require(names: Mapping[str, str], available: Collection[str], kind: str) -> None:
    """Raise `UserError` if the city has no data for a `kind` (modality, view) in `names`, which is by parameter."""
    problems = [
        Problem(f"the city has no data for the {kind} '{name}', which this method needs", key=f"method.{parameter}")
        for parameter, name in names.items()
        if name not in available
    ]
    if problems:
        raise UserError(problems)
