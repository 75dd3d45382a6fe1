"""Writes the pages of the docs that are made from the code: `components.md` and `api.md`.

    python docs/generate.py

A test fails while they differ from what is written here.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from urbankit import registry
from urbankit.recipe.describe import describe

DISTRIBUTION = "urbankit"
WIDTH = 120

KINDS = {
    "modality_encoder": ("Modality encoders", "turn the observations of one modality into vectors"),
    "view": ("Views", "build a weighted graph over the regions"),
    "graph_encoder": ("Graph encoders", "turn a view and node features into node embeddings"),
    "subgraph": ("Subgraphs", "take the graph around each region"),
    "fusion": ("Fusions", "join several vectors of a region into one"),
    "pair_weight": ("Pair weights", "say how much each matched pair of a contrast counts"),
    "head": ("Heads", "predict a task from the region embedding"),
    "method": ("Methods", "pre-train region embeddings"),
    "captioner": ("Captioners", "write a text for an image of a region"),
}

API = {
    "What a user calls": [
        "urbankit:City",
        "urbankit:Recipe",
        "urbankit:run",
        "urbankit:Run",
        "urbankit:UrbanEmbedding",
        "urbankit:UserError",
    ],
    "Many runs": ["urbankit.bench:run_suite", "urbankit.bench:Bench", "urbankit.bench:compare_runs"],
    "Finding components": [
        "urbankit.registry:add_plugin",
        "urbankit.registry:entries",
        "urbankit.registry:get",
        "urbankit.registry:create",
    ],
    "Checks for plugin authors": [
        "urbankit.testing:tiny_city",
        "urbankit.testing:check_component",
        "urbankit.testing:check_modality",
        "urbankit.testing:check_view",
        "urbankit.testing:check_graph_encoder",
        "urbankit.testing:check_subgraph",
        "urbankit.testing:check_fusion",
        "urbankit.testing:check_pair_weight",
        "urbankit.testing:check_head",
        "urbankit.testing:check_method",
        "urbankit.testing:check_captioner",
        "urbankit.testing:ConformanceError",
    ],
    "What a plugin derives from": [
        "urbankit:Params",
        "urbankit:Component",
        "urbankit.modalities.base:ModalityEncoder",
        "urbankit.modalities.features:FeatureEncoder",
        "urbankit.views.base:View",
        "urbankit.views.base:ViewGraph",
        "urbankit.views.base:place_order",
        "urbankit.graph.base:GraphEncoder",
        "urbankit.graph.subgraph:SubgraphSampler",
        "urbankit.fusion.base:Fusion",
        "urbankit.methods.pair_weights:PairWeight",
        "urbankit.heads.base:Head",
        "urbankit.heads.base:FittedHead",
        "urbankit.methods.base:Method",
        "urbankit.methods.base:MethodInputs",
        "urbankit.captioning.captioners.base:Captioner",
    ],
}


def pages() -> dict[str, str]:
    """The text of each generated page by its file name."""
    made = {"components.md": components_page(), "api.md": api_page()}
    return {name: re.sub(r"\n{3,}", "\n\n", text) for name, text in made.items()}


def components_page() -> str:
    lines = [
        "# Components",
        "",
        "What urbankit itself brings, by kind; `urbankit list-components` shows what plugins add, and `urbankit show`",
        "prints what stands here. A recipe names a component and gives its parameters beside the name.",
    ]
    for kind in registry.KINDS:
        title, meaning = KINDS.get(kind, (kind.replace("_", " ").capitalize() + "s", ""))
        entries = [entry for entry in registry.entries(kind) if entry.distribution == DISTRIBUTION]
        lines += ["", f"## {title}", "", f"The kind `{kind}`" + (f": they {meaning}." if meaning else "."), ""]
        lines += ["| name | what it is |", "|---|---|"]
        lines += [f"| [`{e.name}`](#{_anchor(kind, e.name)}) | {_cell(e.description)} |" for e in entries]
        for entry in entries:
            lines += ["", f"### {kind} {entry.name}", "", *_component(kind, entry.name, entry.target)]
    return "\n".join(lines) + "\n"


def api_page() -> str:
    lines = [
        "# API reference",
        "",
        "The public classes and functions, from their docstrings. Names of `urbankit` itself are imported when they",
        "are first used, so that `import urbankit` costs nothing.",
    ]
    for title, names in API.items():
        lines += ["", f"## {title}"]
        for name in names:
            module, attribute = name.split(":")
            lines += ["", *_api(module, attribute, getattr(importlib.import_module(module), attribute))]
    return "\n".join(lines) + "\n"


def _component(kind: str, name: str, target: str) -> Iterator[str]:
    component = registry.get(kind, name)
    yield from _docstring(component)
    yield from ["", f"`{target}`"]
    parameters = describe(component.Params)
    if not parameters:
        yield from ["", "It takes no parameters."]
        return
    yield from ["", "| parameter | type | default | bounds | meaning | source |", "|---|---|---|---|---|---|"]
    for p in parameters:
        cells = [f"`{p['name']}`", p["type"], f"`{p['default']}`", p["bounds"], p["description"], p["source"]]
        yield "| " + " | ".join(_cell(str(cell or "")) for cell in cells) + " |"


def _api(module: str, name: str, thing: object) -> Iterator[str]:
    yield from [f"### `{module}.{name}`", ""]
    if not inspect.isclass(thing):
        yield from [*_signature(name, thing), "", *_docstring(thing)]
        return
    if not issubclass(thing, Exception) and "__init__" in vars(thing) and not dataclasses.is_dataclass(thing):
        yield from [*_signature(name, thing), ""]
    yield from _docstring(thing)
    for member, value in vars(thing).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if member.startswith("_") or not (inspect.isfunction(function) or isinstance(function, property)):
            continue
        if not inspect.getdoc(function):
            continue
        yield from ["", f"#### `{name}.{member}`", ""]
        if inspect.isfunction(function):
            yield from [*_signature(member, getattr(thing, member)), ""]
        yield from _docstring(function)


def _signature(name: str, thing: object) -> list[str]:
    parameters = inspect.signature(thing)  # type: ignore[arg-type]
    text = f"{name}{parameters}"
    if len(text) > WIDTH - 20:
        inside = ",\n    ".join(str(p) for p in parameters.parameters.values())
        arrow = "" if parameters.return_annotation is inspect.Signature.empty else f" -> {parameters.return_annotation}"
        text = f"{name}(\n    {inside},\n){arrow}"
    return ["```text", text.replace("'", ""), "```"]


def _docstring(thing: object) -> Iterator[str]:
    """The docstring as Markdown: sections such as `Args:` become a list, indented code stays code."""
    text = inspect.getdoc(thing) or ""
    for block in re.split(r"\n\s*\n", text):
        head, _, rest = block.partition("\n")
        if re.fullmatch(r"(Args|Raises|Attributes|Returns|Example):", head.strip()):
            yield from [f"**{head.strip()}**", ""]
            yield from _items(textwrap.dedent(rest))
        elif block.startswith(">>>"):
            yield from ["```pycon", block, "```"]
        elif all(line.startswith("    ") or not line for line in block.splitlines()):
            yield from ["```text", textwrap.dedent(block), "```"]
        else:
            yield " ".join(line.strip() for line in block.splitlines())
        yield ""


def _items(text: str) -> Iterator[str]:
    """`name: meaning` entries, whose further lines are indented, as a list."""
    for item in re.split(r"\n(?=\S)", text):
        joined = " ".join(line.strip() for line in item.splitlines())
        name, colon, meaning = joined.partition(": ")
        yield f"- `{name}`: {meaning}" if colon and " " not in name else f"- {joined}"


def _anchor(kind: str, name: str) -> str:
    """The anchor that both GitHub and mkdocs give the heading."""
    return f"{kind}-{name}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "")


if __name__ == "__main__":
    for name, text in pages().items():
        path = Path(__file__).parent / name
        path.write_text(text, encoding="utf-8")
        print(path)
