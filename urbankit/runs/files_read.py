"""The files that the components of a recipe read beside the city: whether they exist, and their hashes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from urbankit import registry
from urbankit.city.city import City
from urbankit.recipe.components import Used, components
from urbankit.recipe.recipe import Recipe
from urbankit.registry.component import SourceFolder
from urbankit.utils.errors import Problems
from urbankit.utils.hashes import cached_hash
from urbankit.utils.paths import explain_missing


def files_read(recipe: Recipe, city: City, hash_of: Callable[[Path], str] = cached_hash) -> dict[str, dict[str, str]]:
    """SHA-256 of the files that components of a recipe read beside the city, by the component's key and the path.

    Raises `UserError` or `OSError` if such a file is missing or cannot be read.
    """
    hashes = {}
    for used in components(recipe):
        if files := _read_by(used, city):
            hashes[used.key] = {str(file): hash_of(file) for file in files}
    return hashes


def check_files_read(recipe: Recipe, folder: SourceFolder) -> None:
    """Raise `UserError` with every file that a component reads beside the city and that is missing."""
    problems = Problems()
    for used in components(recipe):
        with problems.collect(used.key):
            try:
                files = [Path(file) for file in _read_by(used, folder)]
            except AttributeError:  # it asks for more than a `SourceFolder` has; the run will tell
                continue
            for file in files:
                if not file.exists():
                    problems.add(explain_missing(file), file=file, key=used.key)
    problems.raise_if_any()


def _read_by(used: Used, folder: SourceFolder) -> Sequence[Path]:
    component = registry.get(used.kind, used.use.name)
    files: Sequence[Path] = component.reads(component.Params(**used.use.params), folder)
    return files
