"""The command `urbankit list-components`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

RECIPE = "recipe"
"""What `--kind` calls the shipped recipes, which are no components."""


def list_components(
    kind: Annotated[
        str | None, typer.Option(help="Only components of this kind, such as `view`; `recipe` for the shipped recipes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the components, the shipped recipes, and the plugins that failed to load or are left out.

    [bold]urbankit list-components --kind view[/bold]
    """
    from urbankit import registry
    from urbankit.cli.output import print_json, print_table
    from urbankit.registry.recipes import description, shipped_with_origin

    kind = None if kind is None else registry.full_name(kind)
    components = [] if kind == RECIPE else [_described(entry) for entry in registry.entries(kind)]
    recipes = shipped_with_origin() if kind in (None, RECIPE) else []
    failed, left_out = registry.failed_plugins(), registry.left_out_plugins()
    if as_json:
        reasons = [
            {"plugin": p.name, "distribution": p.distribution, "version": p.version, "reason": p.failure}
            for p in failed
        ]
        others = [{"plugin": p.name, "distribution": p.distribution, "version": p.version} for p in left_out]
        shipped = [{"name": name, "from": origin, "file": path} for name, origin, path in recipes]
        print_json({"components": components, "recipes": shipped, "failed": reasons, "left_out": others})
        return
    rows = [(c["kind"], c["name"], _line(c), f"{c['distribution']} {c['version']}".strip()) for c in components]
    rows += [(RECIPE, name, description(path) or f"urbankit run {name}", origin) for name, origin, path in recipes]
    print_table("", ("kind", "name", "description", "from"), rows)
    if failed:
        reasons_by_plugin = [(plugin.name, plugin.origin, plugin.failure or "") for plugin in failed]
        print_table("plugins that failed to load", ("plugin", "from", "reason"), reasons_by_plugin)
    if left_out:
        by_plugin = [(plugin.name, plugin.origin, "by URBANKIT_PLUGINS or --no-plugins") for plugin in left_out]
        print_table("plugins that are left out", ("plugin", "from", "why"), by_plugin)


def _described(entry: Any) -> dict[str, Any]:
    from urbankit import registry

    conflicts = [other for other in registry.entries(entry.kind) if other.name == entry.name and other is not entry]
    return {
        "kind": entry.kind,
        "name": entry.name,
        "description": entry.description,
        "distribution": entry.distribution,
        "version": entry.version,
        "plugin": entry.plugin,
        "target": entry.target,
        "conflicts_with": [other.origin for other in conflicts],
    }


def _line(component: dict[str, Any]) -> str:
    if not component["conflicts_with"]:
        return component["description"]
    return f"CONFLICT, also from {', '.join(component['conflicts_with'])}: {component['description']}"
