"""Starting a run folder, and what `--resume` checks.

A run is resumed in its folder, to the same result, only if all of these are what they were when it started:

1. the recipe (`open_run`): the hash of the resolved recipe;
2. the city (`check_city`): the content hash of the prepared city;
3. the files that components read beside the city (`check_files`): the SHA-256 of each;
4. the pre-trained weights that encoders load (`check_weights`): what `ModalityEncoder.loaded` says of them;
5. the source run of a transfer (`check_source`): the hashes of its recipe, city and checkpoint;
6. the model that heads start from (`check_prior`): the hash of its files.

Each check records its facts in the manifest of a new run and compares them in a resumed one. A difference is a
`UserError`, and the folder stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from urbankit.city.city import City
from urbankit.methods.base import Method
from urbankit.modalities.base import ModalityEncoder
from urbankit.pipeline.transfer.source import Source
from urbankit.recipe.recipe import Recipe
from urbankit.runs.files_read import files_read
from urbankit.runs.folder import Run
from urbankit.runs.manifest import COPY, MANIFEST, Manifest, new_manifest
from urbankit.utils.errors import UserError, unwritable
from urbankit.utils.files import file_check, read_json, write_text
from urbankit.utils.ledger import LEDGER, PARTIAL, Ledger, start_ledger
from urbankit.utils.locks import LOCK, LOCKS, file_lock, in_use
from urbankit.utils.removal import remove_empty_folder, remove_file, remove_files, remove_partial_files


@contextmanager
def run_lock(folder: Path, *, resume: bool = False) -> Iterator[None]:
    """Hold the lock of a run folder, so that no other process works in it.

    Raises `UserError` if another process does, or if the folder is not one for this run (`check_folder`).
    """
    check_folder(folder, resume=resume)
    with folder_lock(folder, "run"):
        yield


@contextmanager
def folder_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of the folder of a run or a search. Raises `UserError` if another process does."""
    existed = folder.exists()
    with ExitStack() as stack:
        if not existed:
            stack.callback(remove_empty_folder, folder)
        try:
            stack.enter_context(file_lock(folder / LOCK, wait=False))
        except BlockingIOError:
            raise in_use(folder, what) from None
        except OSError as error:
            raise unwritable(folder, f"the {what} folder", error) from None
        stack.callback(remove_file, folder / LOCK)
        yield


def check_folder(folder: Path, *, resume: bool = False) -> None:
    """Raise `UserError` if the folder holds something and `resume` is not set, or if there is no run to resume."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, not a folder. Choose another --out.")
    has_run = any((folder / name).is_file() for name in (MANIFEST, COPY))
    if resume and not has_run:
        raise UserError(
            f"{folder}: there is no run to resume here (no manifest.json). Choose another --out, or leave --resume out "
            "to start a run."
        )
    if resume or not folder.is_dir():
        return
    # A run that was killed before its manifest was written leaves nothing else.
    if any(path.name not in (*LOCKS, LEDGER) and not path.name.startswith(PARTIAL) for path in folder.iterdir()):
        raise UserError(f"{folder}: is not empty. Resume the run in it with --resume, or choose another --out.")


def open_run(recipe: Recipe, folder: Path, *, resume: bool = False) -> Manifest:
    """Start a run of `recipe` in `folder`, or with `resume` continue the run there.

    Raises `UserError` as `check_folder` does, or if the run to resume has another recipe.
    """
    check_folder(folder, resume=resume)
    started = new_manifest(recipe)
    if resume:
        previous = previous_manifest(folder)
        if previous.get("recipe_hash") != started["recipe_hash"]:
            raise UserError(
                f"{folder}: --resume needs the recipe that the run started with, {folder / 'recipe.yaml'}; "
                "this one differs. Run that file, or choose another --out."
            )
        remove_partial_files(folder)
        start_ledger(folder)
        write_text(folder / "recipe.yaml", recipe.to_yaml())
        values = deepcopy(previous) | {"status": "running", "notes": [], "resumed": previous.get("resumed", 0) + 1}
        return Manifest(folder, values, previous)
    manifest, existed = Manifest(folder, started), folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial_files(folder)
        start_ledger(folder)
        manifest.write()  # written first, so that a run that is killed afterwards can be resumed
        write_text(folder / "recipe.yaml", recipe.to_yaml())
    except OSError as error:
        undo(manifest, keep_folder=existed)
        raise unwritable(folder, "the run folder", error) from None
    return manifest


def previous_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the run in a folder, or its copy if the manifest is damaged.

    A ledger that was cut lists neither; two equal copies are then the manifest.

    Raises:
        UserError: If there is no run, or if neither manifest nor copy is what urbankit wrote.
    """
    try:
        return Run.open(folder).manifest
    except UserError:
        with suppress(OSError, ValueError):
            copy = read_json(folder / COPY)
            listed = Ledger(folder).accepts(COPY, file_check(folder / COPY))
            if isinstance(copy, dict) and (listed or copy == read_json(folder / MANIFEST)):
                return copy
        raise


RESULTS = (".json", ".parquet", ".safetensors", ".yaml")
"""How the files end that hold what a run computed; its page, card, figures and exports may be edited or removed."""


def is_finished(folder: Path) -> bool:
    """Whether a folder has a finished run, whose results have the sizes that its ledger records."""
    try:
        done = Run.open(folder).status == "done"
    except UserError:
        return False
    cut = (Path(name) for name in Ledger(folder).incomplete())
    return done and not any(name.suffix in RESULTS and name.parts[0] not in ("export", "figures") for name in cut)


def undo(manifest: Manifest, *, keep_folder: bool) -> None:
    """Leave the run folder as it was before `open_run`; an empty folder stays only with `keep_folder`."""
    folder = manifest.folder
    if manifest.previous is not None:
        Manifest(folder, manifest.previous).write()
    elif folder.is_dir():
        remove_files(folder, ["recipe.yaml", MANIFEST, COPY, LEDGER])
        if not keep_folder:
            remove_empty_folder(folder)


def check_city(manifest: Manifest, city: City) -> None:
    """Raise `UserError` if the city has changed since the run started."""
    _check(manifest, "city_hash", city.content_hash, "the city has changed since this run started")
    manifest.values |= {
        "city": city.name,
        "city_folder": str(city.path.resolve()),
        "city_hash": city.content_hash,
        "regions": city.n_regions,
    }


def check_files(manifest: Manifest, recipe: Recipe, city: City) -> None:
    """Raise `UserError` if files that components read beside the city have other contents than at the start."""
    files = files_read(recipe, city)
    changes = changed_files(manifest.values.setdefault("files", files), files)
    if changes:
        raise UserError(
            f"{manifest.folder}: files have changed since this run started: {'; '.join(changes)}. "
            "Restore them, or start a new run in another --out."
        )


def changed_files(before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> list[str]:
    """Return one sentence for each component whose files (see `files_read`) differ in content, with their names."""
    changes = []
    for key in {**before, **now}:
        old, new = before.get(key, {}), now.get(key, {})
        if [*old.values()] != [*new.values()]:
            added = [path for path, digest in new.items() if digest not in old.values()]
            removed = [path for path, digest in old.items() if digest not in new.values()]
            if added:
                difference = f"reads {', '.join(added)}"
            elif removed:
                difference = f"no longer reads {', '.join(removed)}"
            else:
                difference = "reads the same files in another order"
            changes.append(f"{key} {difference}")
    return changes


def check_weights(manifest: Manifest, method: Method) -> None:
    """Raise `UserError` if encoders load other pre-trained weights than at the start."""
    encoders = [module for module in method.modules() if isinstance(module, ModalityEncoder)]
    weights = {encoder.modality: facts for encoder in encoders if (facts := encoder.loaded()) is not None}
    message = "pre-trained weights have changed since this run started; set their `revision` in the recipe"
    _check(manifest, "pretrained", weights, message)


def check_source(manifest: Manifest, source: Source) -> None:
    """Raise `UserError` if the source run of the transfer has changed since the run started."""
    _check(manifest, "transfer", source.facts(), f"the source run {source.run.path} has changed since this run started")


def check_prior(manifest: Manifest, facts: dict[str, Any]) -> None:
    """Raise `UserError` if the model that heads start from has changed since the run started."""
    _check(manifest, "prior", facts, f"the model {facts['model']} has changed since this run started")


def _check(manifest: Manifest, key: str, value: Any, message: str) -> None:
    """Record `value` in the manifest of a new run; raise `UserError` if a resumed one has recorded another."""
    recorded = manifest.values.get(key)
    if recorded is None:
        manifest.values[key] = value
    elif recorded != value:
        raise UserError(f"{manifest.folder}: {message}. Start a new run in another --out.")
