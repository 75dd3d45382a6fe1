"""Reads a recipe file, the recipes that it extends and the changes of `--set` into one tree with line numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from urbankit.config.tree import Node, merge
from urbankit.config.yaml import load_mapping, parse_yaml
from urbankit.registry.recipes import find
from urbankit.utils.errors import Problem, Problems, UserError

MAX_CHAIN = 50
"""The most recipes that extend each other in a row."""

NOT_INHERITED = ("name", "description")


def load(source: str | Path | Mapping[str, Any], sets: Iterable[str], problems: Problems) -> Node:
    """Return the tree of a recipe, and add mistakes that do not stop reading to `problems`.

    Raises `UserError` for files that are missing, are not YAML, or extend each other.
    """
    if isinstance(source, Mapping):
        tree = _extended(Node.of(dict(source), "recipe", Path.cwd()), (), problems)
    else:
        path = find(source)
        tree = _file(path, (), problems)
        name = Node(path.stem, str(path), 1, path.parent)
        tree = Node({"name": name, **tree.value}, tree.file, tree.line, tree.folder)
    for change in sets:
        try:
            tree = merge(tree, change_tree(change))
        except UserError as error:
            problems.extend(error.problems)
    return tree


def change_tree(change: str) -> Node:
    """Return the tree of one change `a.b=c`; `c` is YAML, with paths relative to the working folder."""
    file = f"--set {change}"
    key, equals, text = change.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise UserError(Problem("write it as key=value, such as --set method.dim=32", file))
    value = parse_yaml(text, file).plain()
    for name in reversed(keys):
        value = {name: value}
    return Node.of(value, file, Path.cwd())


def _file(path: Path, chain: tuple[Path, ...], problems: Problems) -> Node:
    tree = load_mapping(path, "a recipe has keys such as `city`, `modalities` and `method`", problems)
    return _extended(tree, (*chain, path.resolve()), problems)


def _extended(tree: Node, chain: tuple[Path, ...], problems: Problems) -> Node:
    children = dict(tree.value)
    extends = children.pop("extends", None)
    tree = Node(children, tree.file, tree.line, tree.folder)
    if extends is None:
        return tree
    if not isinstance(extends.value, str):
        raise UserError(extends.problem("should be the file or the name of one recipe", "extends"))
    try:
        path = find(extends.value, _beside(tree))
    except UserError as error:
        raise UserError([extends.problem(str(error), "extends")]) from None
    if len(chain) >= MAX_CHAIN:
        raise UserError(extends.problem(f"more than {MAX_CHAIN} recipes extend each other", "extends"))
    if path.resolve() in chain:
        circle = " → ".join(file.name for file in (*chain[chain.index(path.resolve()) :], path))
        raise UserError(extends.problem(f"the recipes extend each other in a circle: {circle}", "extends"))
    base = _file(path, chain, problems)
    inherited = {key: node for key, node in base.value.items() if key not in NOT_INHERITED}
    return merge(Node(inherited, base.file, base.line, base.folder), tree)


def _beside(tree: Node) -> Path:
    """Return the folder of the tree's file as the user wrote it, so that messages show the same path."""
    written = Path(tree.file).parent
    return written if written.resolve() == tree.folder else tree.folder
