"""The command `urbankit list-components`."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def list_components(
    kind: Annotated[str | None, typer.Option(help="Only components of this kind, such as `view`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the components that a recipe can name, and the plugins that failed to load or are left out.

    [bold]urbankit list-components --kind view[/bold]
    """
    from urbankit import registry
    from urbankit.cli.output import print_json, print_table

    components = [_described(entry) for entry in registry.entries(kind)]
    failed, left_out = registry.failed_plugins(), registry.left_out_plugins()
    if as_json:
        reasons = [
            {"plugin": p.name, "distribution": p.distribution, "version": p.version, "reason": p.failure}
            for p in failed
        ]
        others = [{"plugin": p.name, "distribution": p.distribution, "version": p.version} for p in left_out]
        print_json({"components": components, "failed": reasons, "left_out": others})
        return
    print_table(
        "",
        ("kind", "name", "description", "from"),
        [(c["kind"], c["name"], _line(c), f"{c['distribution']} {c['version']}".strip()) for c in components],
    )
    if failed:
        rows = [(plugin.name, plugin.origin, plugin.failure or "") for plugin in failed]
        print_table("plugins that failed to load", ("plugin", "from", "reason"), rows)
    if left_out:
        rows = [(plugin.name, plugin.origin, "by URBANKIT_PLUGINS or --no-plugins") for plugin in left_out]
        print_table("plugins that are left out", ("plugin", "from", "why"), rows)


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
