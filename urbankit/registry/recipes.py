"""Finds recipes and suites: a file, or one of the shipped ones by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from urbankit.registry.registry import recipe_folders
from urbankit.utils.errors import UserError, suggest
from urbankit.utils.version import __version__

SUFFIXES = (".yaml", ".yml", ".json")
"""How names of recipe files end. A recipe of somebody else cannot make urbankit open any other file as a recipe."""


def find(name: str | Path, folder: str | Path = ".") -> Path:
    """Return the path of a recipe: the file `name` relative to `folder`, else the shipped recipe of that name.

    Recipes are shipped with urbankit and with plugins, for example `ablations/no-views`. Raises `UserError` if there is
    none, with a list of the shipped recipes, and if two plugins ship a recipe of the same name.
    """
    path = _file(name, Path(folder))
    if path is not None and path.suffix.lower() in SUFFIXES:
        return path
    recipes = shipped_with_origin()
    matches = [(origin, path) for recipe, origin, path in recipes if recipe == _stem(name)]
    if len(matches) > 1:
        origins = " and ".join(f"{origin} ({path})" for origin, path in matches)
        raise UserError(f"recipe '{_stem(name)}' is shipped twice: by {origins}. Give the file instead of the name.")
    if matches:
        return matches[0][1]
    if path is not None:
        raise UserError(f"'{name}' is no recipe file: its name does not end in {' or '.join(SUFFIXES)}")
    of_others = ", ".join(f"{recipe} ({origin})" for recipe, origin, _ in of_plugins())
    more = f" Recipes of plugins: {of_others}." if of_others else ""
    raise _missing("recipe", name, Path(folder), [recipe for recipe, _, _ in recipes], more)


def find_suite(name: str | Path) -> Path:
    """Return the path of the suite file `name`, else of the shipped suite of that name; else raise `UserError`."""
    suites = shipped_suites()
    path = _file(name, Path()) or suites.get(_stem(name))
    if path is None:
        raise _missing("suite", name, Path(), list(suites))
    return path


def shipped_with_origin() -> list[tuple[str, str, Path]]:
    """Return the recipes of urbankit and of plugins as tuples of name, distribution with version, and path."""
    return [*((name, f"urbankit {__version__}", path) for name, path in shipped().items()), *of_plugins()]


def of_plugins() -> list[tuple[str, str, Path]]:
    """Return the recipes of plugins as tuples of name, distribution with version, and path."""
    return [
        (path.relative_to(folder).with_suffix("").as_posix(), origin, path)
        for origin, folder in recipe_folders()
        for path in sorted(folder.rglob("*.yaml"))
    ]


def shipped() -> dict[str, Path]:
    """Return the paths of the recipes that urbankit ships, by name."""
    folder = shipped_folder()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.yaml"))
        if not {"cities", "suites"}
        & set(path.relative_to(folder).parts)  # these folders hold cities and suites, not recipes of runs
    }


def description(path: Path) -> str:
    """Return the one-line `description` of a recipe, else an empty text; parsing all recipes would be slow."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    match = re.search(r"^description: +([^\s>|].*)$", text, re.MULTILINE)
    return match[1].strip().strip("'\"") if match else ""


def shipped_suites() -> dict[str, Path]:
    """Return the paths of the suites that urbankit ships, by name."""
    return {path.stem: path for path in sorted((shipped_folder() / "suites").glob("*.yaml"))}


def shipped_folder() -> Path:
    """Return the folder of the shipped recipes: in the installed package, or beside it in a checkout."""
    package = Path(str(resources.files("urbankit")))
    packed = package / "_recipes"
    return packed if packed.is_dir() else package.parent / "recipes"


def _file(name: str | Path, folder: Path) -> Path | None:
    path = Path(folder, Path(name).expanduser())
    try:
        return path if path.is_file() else None
    except OSError:  # a name that is too long
        return None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long
        return False


def _missing(what: str, name: str | Path, folder: Path, available: Sequence[str], more: str = "") -> UserError:
    path = Path(folder, Path(name).expanduser())
    hint = suggest(str(name), available).replace(" Known:", f" Shipped {what}s:") + more
    if _is_folder(path):
        return UserError(f"'{name}' is a folder; name a {what} file in it.{hint}")
    return UserError(f"there is no {what} file '{path}' and no shipped {what} '{name}'.{hint}")


def _stem(name: str | Path) -> str:
    """Return the name of a shipped recipe without a suffix such as `.yaml`."""
    return Path(name).with_suffix("").as_posix() if Path(name).suffix in (".yaml", ".yml") else str(name)
