"""A component that a command names by an option, with its parameters by `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urbankit.registry.component import Use


def component_use(kind: str, option: str, name: str, sets: list[str]) -> Use:
    """The component `name` of a kind, with parameters of `sets`, each `A.B=C`; `option` is named in error messages.

    Raises one `UserError` for an unknown name, a change that is not `A=B`, and unknown parameters.
    """
    from urbankit.config.tree import Node, merge
    from urbankit.recipe.check import check_use
    from urbankit.recipe.load import change_tree

    tree = Node.of({"name": name}, f"{option} {name}", Path.cwd())
    for change in sets:
        tree = merge(tree, change_tree(change))
    return check_use(kind, tree)
