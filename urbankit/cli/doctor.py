"""The command `urbankit doctor`."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OPTIONAL = {
    "osmium": "sources", "umap-learn": "umap", "peft": "lora", "tensorboard": "tracking",
    "mlflow-skinny": "mlflow", "wandb": "wandb", "optuna": "tune", "distributed": "dask", "submitit": "slurm",
}  # fmt: skip
"""Packages that are not installed by default, and the extra that installs each."""


def doctor() -> None:
    """Show versions, processor, graph engine, cache folder and plugins.

    [bold]urbankit doctor[/bold]
    """
    from urbankit.cli.output import print_table
    from urbankit.runs.manifest import versions
    from urbankit.utils.files import cache_folder
    from urbankit.utils.version import __version__

    print_table(
        "",
        ("", ""),
        [
            ("urbankit", f"{__version__} in {Path(__file__).parents[1]}"),
            ("python", f"{platform.python_version()} at {sys.executable}, {platform.platform()}"),
            *((name, version or "not installed") for name, version in versions().items() if name != "urbankit"),
            *_optional(),
            *_compute(),
            ("cache", _folder(cache_folder())),
            *_plugins(),
        ],
    )


def _optional() -> list[tuple[str, str]]:
    """The packages that only some recipes and city files need, and how to install them."""
    rows = []
    for package, extra in OPTIONAL.items():
        try:
            rows.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            rows.append((package, f"not installed; optional: pip install 'urbankit[{extra}]'"))
    return rows


def _plugins() -> list[tuple[str, str]]:
    """Selected plugins, plugins that failed to load, and faults of components."""
    from urbankit import registry
    from urbankit.registry.discovery import CHOICE, choice

    chosen, left_out, faults = choice(), registry.left_out_plugins(), registry.faults()
    origins = dict.fromkeys(entry.origin for entry in registry.entries())
    state = "without faults" if not faults else f"{len(faults)} with a fault"
    return [
        ("plugins", ", ".join(origins) + ("" if chosen is None else f"; {CHOICE}={','.join(chosen)}")),
        *((f"plugin {p.name}", f"left out ({p.origin})") for p in left_out),
        *((f"plugin {p.name}", f"failed to load: {p.failure} ({p.origin})") for p in registry.failed_plugins()),
        ("components", f"{len(registry.entries())} registered, {state}"),
        *(("fault", fault) for fault in faults),
    ]


def _compute() -> list[tuple[str, str]]:
    import torch

    from urbankit.utils.device import has_bf16

    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    bf16 = [device.type for device in devices if has_bf16(device)]
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [
        ("processor", f"{os.cpu_count()} cores, torch computes on {torch.get_num_threads()} threads"),
        ("cuda", ", ".join(cuda) or "no device"),
        ("bf16", ", ".join(bf16) or "no GPU that has it; precision auto computes in fp32"),
        *((f"graph engine on {device.type}", _engine(device)) for device in devices),
    ]


def _engine(device: torch.device) -> str:
    """The engine that `engine: auto` selects, and why it is not dgl."""
    from urbankit.graph.engine import select_engine, why_not_dgl

    reason = why_not_dgl(device.type)
    return select_engine("auto", device) + (f"; dgl: {reason}" if reason else "")


def _folder(folder: Path) -> str:
    """The path of a folder, its size, and whether it is writable."""
    if not folder.exists():
        parent = next(parent for parent in folder.parents if parent.exists())
        return f"{folder}, does not exist yet{'' if os.access(parent, os.W_OK) else f'; {parent} is not writable'}"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    writable = "writable" if os.access(folder, os.W_OK) else "NOT writable; set URBANKIT_CACHE"
    return f"{folder}, {size / 2**20:.1f} MiB, {writable}"
