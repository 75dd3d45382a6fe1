"""A component that a command names by an option, with its parameters by `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urbankit.registry.component import Use


def component_use(kind: str, option: str, name: str, sets: list[str]) -> Use:
    """The component of `kind` whose `name` the `option` gives, with the parameters that `sets` give, each as `A.B=C`.

    Raises one `UserError` for an unknown name, what is no `A=B`, and parameters that the component does not take.
    """
    from urbankit.config.tree import Node, merge
    from urbankit.recipe.check import check_use
    from urbankit.recipe.load import change_tree

    tree = Node.of({"name": name}, f"{option} {name}", Path.cwd())
    for change in sets:
        tree = merge(tree, change_tree(change))
    return check_use(kind, tree)
