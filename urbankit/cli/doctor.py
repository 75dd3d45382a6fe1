"""`urbankit doctor`"""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "transformers", "dgl", "numpy", "pandas", "polars", "geopandas", "rasterio", "pydantic")


def doctor() -> None:
    """Show what urbankit runs on: versions, processor, graph engine, cache folder and plugins.

    [bold]urbankit doctor[/bold]
    """
    from urbankit import __version__, registry
    from urbankit.cli.output import print_table
    from urbankit.files import cache_folder

    failed = [(f"plugin {p.name}", f"failed to load: {p.failure} ({p.origin})") for p in registry.failed_plugins()]
    print_table(
        "",
        ("", ""),
        [
            ("urbankit", f"{__version__} in {Path(__file__).parents[1]}"),
            ("python", f"{platform.python_version()} at {sys.executable}, {platform.platform()}"),
            *((name, _version(name)) for name in PACKAGES),
            *_compute(),
            ("graph engine", _engine()),
            ("cache", _folder(cache_folder())),
            ("components", f"{len(registry.entries())} registered"),
            *failed,
        ],
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _compute() -> list[tuple[str, str]]:
    import torch

    from urbankit.training.device import bf16_is_fast

    cpu = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    cuda = "none"
    if torch.cuda.is_available():
        cuda = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    bf16 = [device for device in ("cpu", "cuda") if (device == "cpu" or cuda != "none") and bf16_is_fast(device)]
    return [("processor", cpu), ("cuda", cuda), ("bf16", ", ".join(bf16) or "not in hardware")]


def _engine() -> str:
    from urbankit.graph import engine

    return engine.describe()


def _folder(folder: Path) -> str:
    """A folder's path, size and whether it can be written."""
    if not folder.exists():
        parent = next(parent for parent in folder.parents if parent.exists())
        return f"{folder}, not there yet{'' if os.access(parent, os.W_OK) else f'; {parent} is not writable'}"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    writable = "writable" if os.access(folder, os.W_OK) else "NOT writable; set URBANKIT_CACHE"
    return f"{folder}, {size / 2**20:.1f} MiB, {writable}"
