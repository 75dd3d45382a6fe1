"""Reads YAML into a tree whose values know their file and line; hostile files are refused.

PyYAML composes the nodes. ruamel.yaml was measured in its place: reading took 2.6 times as long, and its values
differ (`007` is 7, `2024-01-01` is a date, unknown tags are dropped, `<<` merges).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from urbankit.config.tree import Location, Node, dotted
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.text import printable

MAX_BYTES = 250_000
MAX_DEPTH = 100
MAX_NODES = 100_000
"""The most values after aliases are expanded."""

LARGEST = 2**64
"""The largest integer of any key."""

_UNUSABLE = re.compile(r"[\x00\ud800-\udfff]")
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")}


def load_mapping(path: str | Path, expected: str, problems: Problems | None = None) -> Node:
    """Read a YAML file that holds a mapping. Raises what `load_yaml` raises, and that the file should be `expected`."""
    tree = load_yaml(path, problems)
    if not isinstance(tree.value, dict):
        what = "is empty" if tree.value is None else "is not a mapping of keys to values"
        raise UserError(Problem(f"{what}; {expected}", path))
    return tree


def load_yaml(path: str | Path, problems: Problems | None = None) -> Node:
    """Read a YAML file into a tree. The line of a value in a mapping is that of its key.

    An empty file gives a tree of None. Scalars follow YAML 1.2: `1e-3` is a number; `no`, `2024-01-01` and `007` are
    text.

    Raises:
        UserError: The file is missing, too large, not UTF-8 or not YAML. Duplicate keys raise too, unless
            `problems` is there to collect them.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        text = content.decode("utf-8") if len(content) <= MAX_BYTES else ""
    except FileNotFoundError:
        raise UserError(Problem("there is no such file", path)) from None
    except IsADirectoryError:
        raise UserError(Problem("is a folder; name a YAML file", path)) from None
    except UnicodeDecodeError as error:
        raise UserError(Problem(f"is not UTF-8 text (byte {error.start}); save it as UTF-8", path)) from None
    except OSError as error:
        raise UserError(Problem(f"cannot be read: {error.strerror}", path)) from None
    if len(content) > MAX_BYTES:
        raise UserError(Problem(f"is larger than {MAX_BYTES:,} bytes: is it the right file?", path))
    return parse_yaml(text, path, problems)


def parse_yaml(text: str, file: str | Path | None = None, problems: Problems | None = None) -> Node:
    """Read YAML text into a tree, as `load_yaml` does. Messages name `file`; relative paths start from its folder."""
    folder = Path.cwd() if file is None else Path(file).resolve().parent
    duplicates = Problems(file)
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            reader = _Reader(loader, folder, duplicates)
            tree = Node(None, reader.file, 1, folder) if root is None else reader.read(root)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"contains a control character ({error.character:#04x}): is it YAML?"
        raise UserError(Problem(message, file, line)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(Problem(_message(error, text), file, mark.line + 1 if mark else None)) from None
    if problems is None:
        duplicates.raise_if_any()
    else:
        problems.extend(duplicates)
    return tree


class _Reader:
    """Builds the tree from composed nodes in one pass and collects duplicate keys."""

    def __init__(self, loader: _Loader, folder: Path, problems: Problems) -> None:
        self.loader, self.folder, self.problems = loader, folder, problems
        self.file, self.count = str(problems.file or ""), 0

    def read(self, node: yaml.Node) -> Node:
        """Return the tree of a document's root."""
        return self._read(node, 1, (), ())

    def _read(self, node: yaml.Node, line: int, location: Location, ancestors: tuple[int, ...]) -> Node:
        self.count += 1
        if node.tag not in _TAGS:
            raise _error(f"the tag {node.tag!r} is not allowed; write plain values", node)
        if id(node) in ancestors:
            raise _error("an alias refers to itself", node)
        if self.count > MAX_NODES:
            raise _error(f"aliases expand to over {MAX_NODES} values", node)
        _refuse_depth(len(ancestors), node)
        ancestors = (*ancestors, id(node))
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, location, ancestors)
        elif isinstance(node, yaml.SequenceNode):
            value = [
                self._read(item, item.start_mark.line + 1, (*location, index), ancestors)
                for index, item in enumerate(node.value)
            ]
        else:
            value = self._scalar(node)
        return Node(value, self.file, line, self.folder)

    def _mapping(self, node: yaml.MappingNode, location: Location, ancestors: tuple[int, ...]) -> dict[Any, Node]:
        children: dict[Any, Node] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.add("a key must be plain text", line=line, key=dotted(location) or None)
                continue
            key = self._scalar(key_node)
            if key in children:
                message = f"duplicate key, first in line {children[key].line}; keep one of them"
                self.problems.add(message, line=line, key=dotted((*location, key)))
                continue
            children[key] = self._read(value_node, line, (*location, key), ancestors)
        return children

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            value = self.loader.construct_object(node)
        except (
            ValueError,
            KeyError,
            TypeError,
            OverflowError,
        ):  # a number of thousands of digits, or a tag that the text does not fit
            kind = node.tag.rpartition(":")[2]
            raise _error(f"{node.value[:20]!r} cannot be read as {kind}", node) from None
        if isinstance(value, int) and abs(value) > LARGEST:
            raise _error(f"{node.value[:20]} is larger than any number that has a meaning here", node)
        if isinstance(value, str) and _UNUSABLE.search(value):
            raise _error(f"{printable(value)[:60]!r} holds a NUL byte or half of a surrogate pair", node)
        return value


def _refuse_depth(depth: int, node: yaml.Node | yaml.Event) -> None:
    if depth >= MAX_DEPTH:
        raise _error(f"values are nested more than {MAX_DEPTH} deep", node)


def _error(message: str, node: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)


def _message(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in str(error.problem):
        return "a tab in the indentation; YAML indents with spaces, replace the tab by spaces"
    what = ", ".join(part for part in (error.context, error.problem) if part)
    return f"is not valid YAML: {what}"


class _Loader(yaml.SafeLoader):
    """A safe loader whose plain scalars are those of YAML 1.2, and which bounds how deep values are nested."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node, composed by PyYAML, which calls this method for every nested one."""
        _refuse_depth(self.depth, self.peek_event())
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)
