"""Fixtures that many tests share."""

import os

# pytest runs two workers. Threads of both that compete for the same processors make the tests take twice as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import yaml
from helpers import toys
from helpers.short_run import SMALL
from helpers.toys import RECIPE

from urbankit import Recipe, Run, hookimpl, registry, run
from urbankit.cli.main import main
from urbankit.registry import discovery
from urbankit.testing.fixtures import demo_city as tiny_city
from urbankit.testing.fixtures import private_cache, session_cache
from urbankit.testing.fixtures import real_data as shared_data

__all__ = ["private_cache", "session_cache", "shared_data", "tiny_city"]

# Beside the checkout, where nothing else is named; tests that need it are skipped where it is absent.
os.environ.setdefault("URBANKIT_TEST_DATA", str(Path(__file__).parents[2] / "shared" / "data"))

UNTRAINED = [
    "city.demo.regions=30",
    "pretrain.epochs=0",
    "finetune.epochs=1",
    "evaluation={seeds: [0], floors: [mean], splits: [random], min_class_size: 1}",
    "report.figures=false",
    "modalities={location: {name: geoclip}}",
    "method.alignments=[]",
]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the main recipe on 30 regions, of weights that were never trained; to be read, not changed."""
    return run(Recipe.load("urbanmmcl", UNTRAINED), out=tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def copied_run(finished_run: Run, tmp_path: Path) -> Path:
    """The folder of a copy of it, to be spoilt."""
    return Path(shutil.copytree(finished_run.path, tmp_path / "run"))


class Result(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        return [line.removeprefix("error: ") for line in self.stderr.splitlines() if line.startswith("error: ")]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process and check its exit status."""

    def run(*args: object, status: int = 0) -> Result:
        monkeypatch.setattr(sys, "argv", ["urbankit", *map(str, args)])
        with pytest.raises(SystemExit) as exited:
            main()
        result = Result(*capfd.readouterr())
        assert (exited.value.code or 0) == status, result
        assert "Traceback" not in result.stderr and (status == 1 or "bug in urbankit" not in result.stderr), result
        return result

    return run


@pytest.fixture
def tiny_recipe(tiny_city, recipe_on) -> dict[str, Any]:
    """The keys of a recipe on the tiny city: every modality and view, a few epochs, two folds."""
    return recipe_on(tiny_city)


@pytest.fixture(scope="session")
def recipe_on() -> Callable[..., dict[str, Any]]:
    """The keys of such a recipe on any city."""
    return _recipe_on


def _recipe_on(city) -> dict[str, Any]:
    vit = {"name": "vit", "patch_size": 16, "hidden_size": 16, "layers": 1, "heads": 2}
    return {
        "name": "tiny",
        "city": {"prepared": str(city.path)},
        "modalities": {
            "rsi": {**vit, "augment": "overhead"},
            "svi": {**vit, "augment": "street"},
            "text": {"name": "text", "hidden_size": 16, "layers": 1, "heads": 2, "vocabulary": 300},
            "location": {"name": "geoclip", "features": 8, "hidden": 16, "layers": 1, "width": 16},
        },
        "views": {"poi": {"name": "poi"}, "mobility": {"name": "mobility"}, "distance": {"name": "distance"}},
        "method": {
            "name": "urbanmmcl",
            "dim": 16,
            "graph_encoder": {"name": "vgae", "latent": 8},
            "subgraph_encoder": {"name": "gcn", "hidden": [16], "out": 8},
        },
        "tasks": {"co": {}, "pm25": {}, "population_density": {"transform": "log"}, "land_use": {}},
        "pretrain": {"epochs": 3, "batch_size": 32, "patience": 2},
        "finetune": {"epochs": 3, "patience": 2, "update": ["projections", "graph_encoder"]},
        "evaluation": {
            "seeds": [0],
            "min_class_size": 1,
            "floors": ["mean", "location", "raw-ridge", "raw-forest"],
            "controls": [],
        },
        "predict": {"folds": 0},
        "report": {"figures": False},
    }


@pytest.fixture(scope="session")
def cheap_recipe(tiny_city) -> dict[str, Any]:
    """The keys of a recipe on the tiny city: one modality, one view, three splits, two floors."""
    return {
        "city": {"prepared": str(tiny_city.path)},
        **deepcopy(SMALL),
        "tasks": {"co": {}, "land_use": {}},
        "pretrain": {"epochs": 2, "batch_size": 32},
        "finetune": {"epochs": 3, "update": []},
        "evaluation": {
            "splits": ["random"],
            "seeds": [0, 1, 2],
            "min_class_size": 1,
            "floors": ["mean", "location"],
            "controls": [],
        },
        "report": {"figures": False},
    }


@pytest.fixture
def suite_file(tmp_path: Path, cheap_recipe: dict[str, Any]) -> Callable[..., Path]:
    """Writes a suite beside the recipe `cheap.yaml`, from text or keys."""

    def write(suite: str | dict[str, Any], name: str = "suite.yaml") -> Path:
        (tmp_path / "cheap.yaml").write_text(yaml.safe_dump(cheap_recipe))
        path = tmp_path / name
        path.write_text(suite if isinstance(suite, str) else yaml.safe_dump(suite, allow_unicode=True, sort_keys=False))
        return path

    return write


OURS = ("urbankit-baselines", "urbankit-contiguity", "urbankit-models", "urbankit-raster")


@pytest.fixture
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry without the packages of plugins/, which may be installed beside urbankit."""
    discover = discovery.discover
    monkeypatch.setattr(discovery, "discover", lambda: [one for one in discover() if one.distribution not in OURS])
    registry.reload()
    yield
    registry.reload()


@pytest.fixture
def toy(fresh_registry: None) -> None:
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
def install(fresh_registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
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


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, fresh_registry: None) -> Callable[[str, type], None]:
    """`plugin(kind, Class)` registers a class of this process as `mine`."""

    def add(kind: str, component: type) -> None:
        monkeypatch.setitem(sys.modules, "mine_plugin", SimpleNamespace(Mine=component))
        hook = hookimpl(lambda register: register("mine", "mine_plugin:Mine", "of a test"))
        registry.add_plugin(SimpleNamespace(**{registry.KINDS[kind].hook: hook}), "mine")

    return add
