"""What a baseline's parameters name: whether the recipe and the city have it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from urbankit.utils.errors import Problem, UserError, suggest


def missing(named: Mapping[str, str], known: Collection[str], kind: str) -> list[tuple[str, str]]:
    """What a recipe lacks of the `kind` (modality, view) that parameters name: (parameter, message) each."""
    return [
        (parameter, f"the recipe has no {kind} '{name}', which this method learns from.{suggest(name, known)}")
        for parameter, name in named.items()
        if name not in known
    ]


def require(named: Mapping[str, str], known: Collection[str], kind: str) -> None:
    """Raise `UserError` for each `kind` that parameters name and that recipe and city together do not give."""
    problems = [
        Problem(
            f"the city has no data for the {kind} '{name}', which this method learns from", key=f"method.{parameter}"
        )
        for parameter, name in named.items()
        if name not in known
    ]
    if problems:
        raise UserError(problems)
