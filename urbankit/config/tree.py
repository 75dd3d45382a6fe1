"""A recipe before it is checked: plain values that remember which file and line they came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from urbankit.utils.errors import Problem

CITY_SOURCES = {"demo", "prepared", "spec"}


@dataclass(frozen=True)
class Node:
    """A value: a mapping of nodes, a list of nodes, or a scalar; relative paths in it start from `folder`."""

    value: Any
    file: str
    line: int | None
    folder: Path

    @staticmethod
    def of(data: Any, file: str, folder: Path, lines: dict[tuple, int] | None = None, path: tuple = ()) -> Node:
        """The tree of plain `data`; `lines` gives the line of a value by its path."""
        if isinstance(data, dict):
            value: Any = {key: Node.of(item, file, folder, lines, (*path, key)) for key, item in data.items()}
        elif isinstance(data, list):
            value = [Node.of(item, file, folder, lines, (*path, i)) for i, item in enumerate(data)]
        else:
            value = data
        return Node(value, file, (lines or {}).get(path), folder)

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, key: Any) -> Node | None:
        if isinstance(self.value, dict):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and key < len(self.value):
            return self.value[key]
        return None

    def deepest(self, path: Iterable[Any]) -> tuple[Node, tuple]:
        """The last node that exists along `path`, and the path that leads to it."""
        node: Node = self
        reached: tuple = ()
        for key in path:
            found = node.child(key)
            if found is None:
                break
            node, reached = found, (*reached, key)
        return node, reached

    def problem(self, message: str, key: str | None = None) -> Problem:
        return Problem(message, self.file, self.line, key)


def merge(base: Node, over: Node, key: str | None = None) -> Node:
    """`over` laid on `base`: mappings merge key by key, everything else is replaced.

    A null removes an inherited mapping (`views: {poi: null}`); over an inherited scalar it is a value. A
    component of another name, or another kind of city, replaces the inherited one with its parameters.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)) or _replaces(base, over, key):
        return over
    children = dict(base.value)
    for name, child in over.value.items():
        held = children.get(name)
        if held is None:
            children[name] = child
        elif child.value is None and isinstance(held.value, dict):
            del children[name]
        else:
            children[name] = merge(held, child, name)
    return Node(children, over.file, over.line, over.folder)


def _replaces(base: Node, over: Node, key: str | None) -> bool:
    if key is None:  # the recipe itself, whose `name` is not a component's
        return False
    if key == "city":
        return not (over.value.keys() & CITY_SOURCES <= base.value.keys() & CITY_SOURCES)
    named, renamed = base.value.get("name"), over.value.get("name")
    return named is not None and renamed is not None and named.value != renamed.value
