"""Reads a component from an option of a command, with parameters from `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urbankit.registry.component import Use


def component_use(kind: str, option: str, name: str, sets: list[str]) -> Use:
    """Return the component `name` of a kind with the parameters `sets`, each `A.B=C`.

    Error messages name `option`. Raises `UserError` for an unknown name, a change that is not `A.B=C`, and unknown
    parameters.
    """
    from urbankit.config.tree import Node, merge
    from urbankit.recipe.check import check_use
    from urbankit.recipe.load import change_tree

    tree = Node.of({"name": name}, f"{option} {name}", Path.cwd())
    for change in sets:
        tree = merge(tree, change_tree(change))
    return check_use(kind, tree)
