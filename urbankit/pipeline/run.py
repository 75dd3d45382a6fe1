"""One run, from a recipe to the report, in a folder that can be resumed."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path

from urbankit.pipeline import stages
from urbankit.pipeline.resume import open_run, undo
from urbankit.recipe.recipe import Recipe
from urbankit.runs.folder import Run
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress


def run(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run a recipe and return the run; see `urbankit.run`."""
    if not isinstance(recipe, Recipe):
        recipe = stages.load_recipe(recipe)
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    with nullcontext(progress) if progress is not None else Progress() as reporter:
        _run_stages(recipe, folder, resume, reporter)
    return Run.open(folder)


def _run_stages(recipe: Recipe, folder: Path, resume: bool, progress: Progress) -> None:
    """Run all stages. Wrong input before any training leaves the folder as it was."""
    existed = folder.exists()
    manifest = open_run(recipe, folder, resume=resume)
    accepted = False
    try:
        with manifest.stage("city"):
            city = stages.prepare_city(recipe, progress)
        state = stages.build_inputs(recipe, city, folder, manifest=manifest, progress=progress)
        stages.transfer(state)
        accepted = True
        stages.pretrain(state)
        embeddings = stages.embed(state)
        predictions = stages.finetune(state, embeddings)
        stages.predict(state, embeddings)
        stages.score(state, embeddings, predictions)
        stages.report(state)
    except BaseException as error:
        trained = (folder / "checkpoints").exists() or (folder / "embeddings.parquet").exists()
        unchanged = not accepted or (manifest.previous is None and not trained)
        if isinstance(error, UserError) and unchanged:
            undo(manifest, keep_folder=existed)
        elif not manifest.finished:
            with suppress(OSError):  # a full disk may be the reason why the run failed
                manifest.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
