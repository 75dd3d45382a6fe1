"""What the registration of a distribution imports, and whether its modules import on their own: asked of a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from urbankit import plugin

HEAVY = ("torch", "transformers", "dgl", "numpy", "pandas", "polars", "scipy", "sklearn", "geopandas", "rasterio")

# Modules are imported in forks, each as though it were the first, of a process that has the heavy libraries already.
SCRIPT = """
import importlib, json, os, sys
heavy, distribution, shared = json.loads(sys.argv[1])
from urbankit import registry
entries = [entry for entry in registry.entries() if entry.distribution == distribution]
before = [name for name in heavy if name in sys.modules]
modules = sorted({entry.target.partition(":")[0] for entry in entries})
errors = {}

def failure(module):
    try:
        importlib.import_module(module)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"

def forked(module):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, json.dumps(failure(module)).encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else "its process died"

for name in shared:
    failure(name)
for module in modules:
    errors[module] = forked(module) if hasattr(os, "fork") else failure(module)
print(json.dumps({"heavy": before, "errors": {name: error for name, error in errors.items() if error}}))
"""
SHARED = ("torch", "pydantic", "numpy", "scipy.sparse")


@dataclass(frozen=True)
class Imports:
    """`heavy` libraries that registering imports; the `errors` of modules that do not import first, by module."""

    heavy: tuple[str, ...]
    errors: Mapping[str, str]


@cache
def imports_of(distribution: str) -> Imports:
    """What a new process finds of an installed distribution."""
    # This distribution alone, so that what others import is not laid at its door.
    environment = os.environ | {
        plugin.CHOICE: distribution,
        "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([HEAVY, distribution, SHARED])],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"a process that lists the components of {distribution} fails: {done.stderr.strip()}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Imports(tuple(answer["heavy"]), answer["errors"])
