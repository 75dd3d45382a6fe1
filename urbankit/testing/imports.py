"""The heavy imports of registering a distribution, and errors of importing a module first."""

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
    """Return the heavy libraries that a new process imports when it lists the components of a distribution."""
    # Only this distribution is loaded, so that the imports of other plugins do not count.
    environment = os.environ | {
        plugin.CHOICE: distribution,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-c", SCRIPT, json.dumps(HEAVY)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"a process that lists the components of {distribution} fails: {result.stderr.strip()}")
    return json.loads(result.stdout.splitlines()[-1])


def error_alone(module: str) -> str | None:
    """Return the error of importing `module` as the first module of its package, or None if it can be imported."""
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
