"""Values of a YAML file that remember their file and line, and how one tree is laid over another."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from urbankit.utils.errors import Problem

CITY_SOURCES = {"demo", "prepared", "spec"}

Location = tuple[Any, ...]
"""Keys and list positions that lead to a value: `("tasks", "co", "layers", 0)`."""


def dotted(location: Location) -> str:
    """Return a location as messages write it: `tasks.co.layers[0]`."""
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def split_key(key: str) -> Location:
    """Return the location that a dotted key names, the inverse of `dotted`."""
    return tuple(int(name) if name.isdigit() else name for name in re.findall(r"[^.\[\]]+", key))


@dataclass(frozen=True)
class Node:
    """A value with its origin.

    Attributes:
        value: A mapping of nodes, a list of nodes, or a scalar.
        file: The file or the command line option that it comes from, as messages name it.
        line: Its line in the file, counted from 1; None where there is no file.
        folder: The folder that relative paths in it start from.
    """

    value: Any
    file: str
    line: int | None
    folder: Path

    @staticmethod
    def of(data: Any, file: str, folder: Path) -> Node:
        """Return the tree of plain `data`, without lines."""
        if isinstance(data, dict):
            data = {key: Node.of(item, file, folder) for key, item in data.items()}
        elif isinstance(data, list):
            data = [Node.of(item, file, folder) for item in data]
        return Node(data, file, None, folder)

    def plain(self) -> Any:
        """Return the value without its origin: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, key: Any) -> Node | None:
        """Return the value of a key, or of a position in a list; None where there is none."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and key < len(self.value):
            return self.value[key]
        return None

    def at(self, location: Location) -> Node | None:
        """Return the value at `location`; None where there is none."""
        node, reached = self.deepest(location)
        return node if reached == location else None

    def deepest(self, location: Iterable[Any]) -> tuple[Node, Location]:
        """Return the last value that exists along `location`, and the location of that value."""
        node: Node = self
        reached: Location = ()
        for key in location:
            child = node.child(key)
            if child is None:
                break
            node, reached = child, (*reached, key)
        return node, reached

    def problem(self, message: str, key: str | None = None) -> Problem:
        """Return a problem with this value, which `key` leads to."""
        return Problem(message, self.file, self.line, key)

    def problem_at(self, location: Location, message: str) -> Problem:
        """Return a problem with the value at `location`, which need not exist."""
        return self.deepest(location)[0].problem(message, dotted(location) or None)


def merge(base: Node, over: Node, key: str | None = None) -> Node:
    """Return `over` laid over `base`: mappings are merged key by key, everything else is replaced.

    A null removes an inherited mapping (`views: {poi: null}`); over an inherited scalar it is a value. A
    component of another name, or another kind of city, replaces the inherited one with its parameters.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)) or _replaces(base, over, key):
        return over
    children = dict(base.value)
    for name, child in over.value.items():
        inherited = children.get(name)
        if inherited is None:
            children[name] = child
        elif child.value is None and isinstance(inherited.value, dict):
            del children[name]
        else:
            children[name] = merge(inherited, child, name)
    return Node(children, over.file, over.line, over.folder)


def _replaces(base: Node, over: Node, key: str | None) -> bool:
    """Whether `over` is another component, or another kind of city, than `base`."""
    if key is None:  # the recipe itself, whose `name` is not a component's
        return False
    if key == "city":
        named, inherited = (
            {name for name in CITY_SOURCES & node.value.keys() if node.value[name].value is not None}
            for node in (over, base)
        )
        return not named <= inherited
    name, new_name = base.value.get("name"), over.value.get("name")
    return name is not None and new_name is not None and name.value != new_name.value
