"""Toy components, and plugins installed into a temporary folder."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import toys
from toys import RECIPE

from urbankit import registry
from urbankit.registry import discovery as plugin

OURS = ("urbankit-baselines", "urbankit-contiguity", "urbankit-raster")


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry without the packages of plugins/, which may be installed beside urbankit."""
    discover = plugin.discover
    monkeypatch.setattr(plugin, "discover", lambda: [one for one in discover() if one.distribution not in OURS])
    registry.reload()
    yield
    registry.reload()


@pytest.fixture
def toy() -> None:
    registry.add_plugin(toys.Plugin, "toys")


@pytest.fixture
def recipe_file(tmp_path: Path, toy: None) -> Callable[..., Path]:
    """Writes a recipe of toy components; `extra` text is appended, `name` is the file's."""

    def write(extra: str = "", name: str = "toy.yaml", base: str = RECIPE) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(base + textwrap.dedent(extra))
        return path

    return write


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Installs a distribution of one module into a folder on the path, as pip would leave it."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    installed = []

    def put(distribution: str, module: str, code: str, version: str = "1.0") -> Path:
        (site / f"{module}.py").write_text(textwrap.dedent(code))
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[urbankit]\n{module} = {module}\n")
        installed.append(module)
        importlib.invalidate_caches()
        registry.reload()
        return site

    yield put
    for module in installed:
        sys.modules.pop(module, None)
