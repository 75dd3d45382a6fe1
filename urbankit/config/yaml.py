"""Reads YAML and remembers the line of every key, so that any later complaint can name its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from urbankit.utils.errors import Problem, Problems, UserError

MAX_NODES = 100_000
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")}


def load_yaml(path: str | Path, problems: Problems | None = None) -> tuple[Any, dict[tuple, int]]:
    """The data of a YAML file, and the line (from 1) of every key and list item by its path.

    `lines[("tasks", "co", "head")]` is the line of the key `head`; `lines[()]` is the first line. An empty
    file gives `None`. Scalars follow YAML 1.2: `1e-3` is a number; `no`, `2024-01-01` and `007` are text.

    Raises `UserError` for a file that is missing, not UTF-8 or not YAML (tabs among them), and for
    duplicate keys, unless a `problems` is given to collect those.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(Problem("there is no such file", path)) from None
    except IsADirectoryError:
        raise UserError(Problem("is a folder; name a YAML file", path)) from None
    except UnicodeDecodeError as error:
        raise UserError(Problem(f"is not UTF-8 text (byte {error.start}); save it as UTF-8", path)) from None
    except OSError as error:
        raise UserError(Problem(f"cannot be read: {error.strerror}", path)) from None
    return parse_yaml(text, path, problems)


def parse_yaml(
    text: str, file: str | Path | None = None, problems: Problems | None = None
) -> tuple[Any, dict[tuple, int]]:
    """As `load_yaml`, from text; `file` is named in errors."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(
            Problem(f"holds a control character ({error.character:#04x}): is it YAML?", file, line)
        ) from None
    try:
        root = loader.get_single_node()
        if root is None:
            return None, {(): 1}
        reader = _Reader(loader, Problems(file))
        data = reader.read(root, (), ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(Problem(_explain(error, text), file, mark.line + 1 if mark else None)) from None
    except yaml.YAMLError as error:
        raise UserError(Problem(f"is not YAML: {error}", file)) from None
    finally:
        loader.dispose()
    if problems is None:
        reader.problems.raise_if_any()
    else:
        problems.extend(reader.problems)
    return data, reader.lines


class _Reader:
    """Walks the composed nodes once, building the data and the lines, and collecting duplicate keys."""

    def __init__(self, loader: _Loader, problems: Problems) -> None:
        self.loader, self.problems, self.lines, self._seen = loader, problems, {(): 1}, 0

    def read(self, node: yaml.Node, path: tuple, ancestors: tuple[int, ...]) -> Any:
        self._seen += 1
        if node.tag not in _TAGS:
            raise _error(f"the tag {node.tag!r} is not allowed; write plain values", node)
        if id(node) in ancestors:
            raise _error("an alias refers to itself", node)
        if self._seen > MAX_NODES:
            raise _error(f"aliases expand to over {MAX_NODES} values", node)
        ancestors = (*ancestors, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path, ancestors)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.lines[(*path, index)] = item.start_mark.line + 1
            return [self.read(item, (*path, index), ancestors) for index, item in enumerate(node.value)]
        return self.loader.construct_object(node)

    def _read_mapping(self, node: yaml.MappingNode, path: tuple, ancestors: tuple[int, ...]) -> dict:
        data: dict[Any, Any] = {}
        first: dict[Any, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.add("a key must be plain text", line=line, key=dotted(path) or None)
                continue
            key = self.loader.construct_object(key_node)
            here = (*path, key)
            if key in first:
                message = f"is given twice, first in line {first[key]}; keep one of them"
                self.problems.add(message, line=line, key=dotted(here))
                continue
            first[key] = self.lines[here] = line
            data[key] = self.read(value_node, here, ancestors)
        return data


def _error(message: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)


def dotted(path: tuple) -> str:
    """`("tasks", "co", 0)` as a user writes it: `tasks.co[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _explain(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in str(error.problem):
        return "a tab in the indentation; YAML indents with spaces, replace the tab by spaces"
    what = ", ".join(part for part in (error.context, error.problem) if part)
    return f"is not valid YAML: {what}"


class _Loader(yaml.SafeLoader):
    """A safe loader whose plain scalars are those of YAML 1.2."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012


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
