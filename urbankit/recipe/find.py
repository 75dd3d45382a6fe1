"""Finds recipes and suites: a file, or one of the shipped ones by its name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from urbankit.utils.errors import UserError, suggest


def find(name: str | Path, folder: str | Path = ".") -> Path:
    """The recipe file `name` relative to `folder`, else the shipped one of that name (`ablations/no-views`).

    Raises `UserError` that lists the shipped recipes.
    """
    return _find("recipe", name, Path(folder), shipped())


def find_suite(name: str | Path) -> Path:
    """The suite file `name`, else the shipped suite of that name. Raises `UserError` that lists the shipped suites."""
    return _find("suite", name, Path(), shipped_suites())


def shipped() -> dict[str, Path]:
    """The recipes that come with urbankit, by name."""
    folder = shipped_folder()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.yaml"))
        if not {"cities", "suites"} & set(path.relative_to(folder).parts)  # those describe cities and suites, not runs
    }


def shipped_suites() -> dict[str, Path]:
    """The suites that come with urbankit, by name."""
    return {path.stem: path for path in sorted((shipped_folder() / "suites").glob("*.yaml"))}


def shipped_folder() -> Path:
    """Where the shipped recipes are: in the installed package, or beside it in a checkout."""
    package = Path(str(resources.files("urbankit")))
    packed = package / "_recipes"
    return packed if packed.is_dir() else package.parent / "recipes"


def _find(what: str, name: str | Path, folder: Path, shipped: Mapping[str, Path]) -> Path:
    path = Path(folder, Path(name).expanduser())
    if path.is_file():
        return path
    shipped_path = shipped.get(Path(name).with_suffix("").as_posix() if _is_yaml(name) else str(name))
    if shipped_path is not None:
        return shipped_path
    hint = suggest(str(name), shipped).replace(" Known:", f" Shipped {what}s:")
    if path.is_dir():
        raise UserError(f"'{name}' is a folder; name a {what} file in it.{hint}")
    raise UserError(f"there is no {what} file '{path}' and no shipped {what} '{name}'.{hint}")


def _is_yaml(name: str | Path) -> bool:
    return Path(name).suffix in (".yaml", ".yml")
