"""What registering a distribution imports, asked of a new process, and whether a module imports on its own."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from functools import cache

from urbankit.registry import discovery as plugin

HEAVY = ("torch", "transformers", "dgl", "numpy", "pandas", "polars", "scipy", "sklearn", "geopandas", "rasterio")

SCRIPT = """
import json, sys
from urbankit import registry
registry.entries()
print(json.dumps([name for name in json.loads(sys.argv[1]) if name in sys.modules]))
"""


@cache
def heavy_imports(distribution: str) -> list[str]:
    """The heavy libraries that a new process has imported once it has listed the components of a distribution."""
    # This distribution alone, so that what others import is not laid at its door.
    environment = os.environ | {
        plugin.CHOICE: distribution,
        "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
    }
    command = [sys.executable, "-c", SCRIPT, json.dumps(HEAVY)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a process that lists the components of {distribution} fails: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def error_alone(module: str) -> str | None:
    """Why `module` cannot be the first of its package to be imported, or None where it can."""
    package = module.partition(".")[0]
    loaded = {
        name: sys.modules[name] for name in list(sys.modules) if name == package or name.startswith(f"{package}.")
    }
    try:
        for name in loaded:
            del sys.modules[name]
        importlib.import_module(module)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
            del sys.modules[name]
        sys.modules.update(loaded)
    return None
