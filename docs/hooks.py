"""The hooks of `mkdocs build`: the component and API pages, the tables of `results/*.csv`, and the links of notebooks.

A page holds a table as a line of its own, `[Table: title](results/name.csv)`, which GitHub shows as a link to the data.
"""

from __future__ import annotations

import csv
import logging
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

import urbankit
from urbankit import bench, registry, testing
from urbankit.recipe.describe import describe
from urbankit.registry.kinds import KINDS

DOCS = Path(__file__).parent
TABLE = re.compile(r"^\[Table: (?P<title>[^\]]+)\]\((?P<file>results/[\w-]+\.csv)\)$", flags=re.MULTILINE)
LINK = re.compile(r'href="(?P<path>[^":#]+\.(?:md|py))(?P<anchor>#[^"]*)?"')
DISTRIBUTION = "urbankit"
NO_PARAMETERS = ["", "This component has no parameters."]
DOCSTRING_ONLY = ("members: false", "show_root_heading: false", "show_root_toc_entry: false", "show_bases: false")
SECTIONS = {
    "What most users call": [f"urbankit.{name}" for name in urbankit.__all__ if not name.startswith("_")],
    "Suites of runs": [f"urbankit.bench.{name}" for name in bench.__all__],
    "The component registry": [f"urbankit.registry.{name}" for name in registry.__all__],
    "Base classes of components": sorted(kind.base for kind in KINDS.values()),
    "Conformance checks for plugin authors": [f"urbankit.testing.{name}" for name in testing.__all__],
}


def on_config(config: MkDocsConfig) -> None:
    """Keep a warning of tqdm, which looks for widgets in a notebook, out of the pages of notebooks."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the site."""
    for name, text in {"components.md": components_page(), "api.md": api_page()}.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace each link to a table of results by the table."""
    return TABLE.sub(lambda match: table(match["title"], match["file"]), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a notebook, which are paths of files as on other pages, to the pages of the site."""

    def link(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), match["path"]))
        target = files.get_file_from_path(path)
        if target is None:
            logging.getLogger("mkdocs.hooks").warning("%s links to %s, which is no page", page.file.src_uri, path)
            return match[0]
        return f'href="{get_relative_url(target.url, page.url)}{match["anchor"] or ""}"'

    return LINK.sub(link, html) if page.file.src_uri.endswith(".py") else html


def components_page() -> str:
    """List the built-in components by kind, with docstring and parameters."""
    lines = [
        "# Components",
        "",
        "The components of urbankit itself, by kind. A recipe names a component and sets its parameters.",
        "`urbankit list-components` also lists the components of plugins. `urbankit show KIND NAME` prints the",
        "parameters of one component.",
    ]
    for kind, row in KINDS.items():
        entries = [entry for entry in registry.entries(kind) if entry.distribution == DISTRIBUTION]
        lines += ["", f"## {kind}", "", f"{row.title} {row.does}."]
        lines += ["", "| name | what it is |", "|---|---|"] if entries else ["", "None is built in."]
        lines += [f"| [`{e.name}`](#{kind}-{e.name}) | {_cell(e.description)} |" for e in entries]
        for entry in entries:
            lines += ["", f"### {kind} {entry.name}", "", *_directive(entry.target.replace(":", "."), *DOCSTRING_ONLY)]
            lines += _parameters(registry.get(kind, entry.name).Params)
    return "\n".join(lines) + "\n"


def api_page() -> str:
    """List the public classes and functions by what they are for."""
    lines = ["# API reference", "", "The public classes and functions, from their docstrings."]
    for title, names in SECTIONS.items():
        lines += ["", f"## {title}", ""]
        for name in names:
            # City and Run are subclasses of the classes that hold most of their members.
            lines += _directive(name, "inherited_members: true" if name.count(".") == 1 else "members: true")
    return "\n".join(lines) + "\n"


def table(title: str, file: str) -> str:
    """Render a table of `results/` as Markdown, with a link to its data."""
    with (DOCS / file).open(encoding="utf-8", newline="") as stream:
        records = list(csv.DictReader(stream))
    rows = list(_layout(records)(records))
    lines = [" | ".join(row) for row in [rows[0], ["---", *["---:"] * (len(rows[0]) - 1)], *rows[1:]]]
    return "\n".join([f"*{title} ([data]({file}))*", "", *(f"| {line} |" for line in lines)])


def _layout(records: list[dict[str, str]]) -> Callable[[list[dict[str, str]]], Iterator[list[str]]]:
    """How to lay a table out, by its columns."""
    if "best_floor" in records[0]:
        return _with_floors
    return _by_row if "rank" in records[0] else _as_it_is


def _as_it_is(records: list[dict[str, str]]) -> Iterator[list[str]]:
    """The rows and columns of the file."""
    yield [name.replace("_", " ") for name in records[0]]
    yield from (list(record.values()) for record in records)


def _with_floors(records: list[dict[str, str]]) -> Iterator[list[str]]:
    """One method beside itself without training and beside its floors; a score above every floor is bold."""
    floors = [name for name in records[0] if name.startswith("floor_")]
    names = [name.removeprefix("floor_").replace("_", "-") for name in floors]
    yield ["task", "split", "UrbanMMCL", "untrained", "best floor", "seeds above it", *names]
    for record in records:
        above = all(float(record["mean"]) > float(record[name]) for name in floors)
        score = f"{record['mean']} ± {record['std']}"
        best = [record["best_floor"], f"{record['seeds_above_best_floor']} of {record['seeds']}"]
        method = [f"**{score}**" if above else score, record["untrained"]]
        task = f"{record['task']} ({record['metric']})"
        yield [task, record["split"], *method, *best, *(record[name] for name in floors)]


def _by_row(records: list[dict[str, str]]) -> Iterator[list[str]]:
    """One row for each method, one column for each split and task."""
    columns = list(dict.fromkeys((record["split"], record["task"]) for record in records))
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for record in records:
        rows.setdefault(record["row"], {})[record["split"], record["task"]] = _score(record)
    yield ["", *(f"{split} {task}".strip() for split, task in columns)]
    for name, scores in rows.items():
        yield [f"*{name}*" if name.startswith("floor: ") else name, *(scores.get(column, "") for column in columns)]


def _score(record: dict[str, str]) -> str:
    """Mean ± standard deviation: the best in bold, the second underlined, † where UrbanMMCL is significantly better."""
    score = record["mean"] + (f" ± {record['std']}" if record["std"] else "")
    score = {"1": f"**{score}**", "2": f"<u>{score}</u>"}.get(record["rank"], score)
    return score + ("†" if record["significant"] else "") + (f" ({record['note']})" if record["note"] else "")


def _directive(name: str, *options: str) -> list[str]:
    """The lines that make mkdocstrings write the docstring of a public name."""
    return [f"::: {name}", "    options:", *(f"      {option}" for option in options), ""]


def _parameters(params: type[urbankit.Params]) -> list[str]:
    parameters = describe(params)
    if not parameters:
        return NO_PARAMETERS
    lines = ["", "| parameter | type | default | bounds | meaning | source |", "|---|---|---|---|---|---|"]
    for p in parameters:
        cells = [f"`{p['name']}`", p["type"], f"`{p['default']}`", p["bounds"], p["description"], p["source"]]
        lines.append("| " + " | ".join(_cell(str(cell or "")) for cell in cells) + " |")
    return lines


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "")
