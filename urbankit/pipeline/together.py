"""Pre-training in several processes: the first runs the recipe, the others take part in the pre-training and end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from urbankit.pipeline import stages
from urbankit.recipe.recipe import Recipe
from urbankit.runs.manifest import Manifest, new_manifest
from urbankit.utils import processes
from urbankit.utils.errors import RunError
from urbankit.utils.progress import Progress


class _NotWritten(Manifest):
    """The manifest of a process that writes nothing."""

    def write(self) -> None:
        """Write nothing."""


@contextmanager
def with_others(state: stages.RunState) -> Iterator[None]:
    """Let the other processes take part in the block, which pre-trains; they end after it."""
    trains = state.zero_shot is None and state.recipe.pretrain.epochs and state.method.pretrains
    if not processes.in_several() or not trains:
        yield
        return
    work = state.recipe.to_yaml(), str(state.manifest.folder), state.city.content_hash
    processes.of_first(lambda: work)
    with processes.together():
        yield
    processes.leave()


def dismiss() -> None:
    """Let the other processes end, if they still wait for work."""
    if processes.in_several():
        processes.of_first(lambda: None)


def take_part() -> None:
    """Wait until the first process pre-trains, and take part in it.

    Raises:
        RunError: This process sees another city.
    """
    work = processes.of_first(lambda: None)
    if work is None:
        return
    text, folder, content_hash = work
    quiet = Progress(quiet=True)
    recipe = Recipe.from_yaml(text).model_copy(update={"tracking": None})  # the first process tracks
    manifest = _NotWritten(Path(folder), new_manifest(recipe))
    city = stages.prepare_city(recipe, quiet)
    if city.content_hash != content_hash:
        raise RunError(
            f"the city {city.name} differs between the processes of this run. Prepare it with `urbankit prepare` "
            "into a folder that all machines share, and name that folder with city.prepared."
        )
    state = stages.build_inputs(recipe, city, folder, manifest=manifest, progress=quiet)
    stages.transfer(state)
    with processes.together():
        stages.pretrain(state)
