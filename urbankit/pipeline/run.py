"""One run, from a recipe to the report, in a folder that can be resumed."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path

from urbankit.pipeline import stages
from urbankit.pipeline.resume import open_run, run_lock, undo
from urbankit.pipeline.together import with_others
from urbankit.recipe.recipe import Recipe
from urbankit.registry.failure import explained
from urbankit.runs.folder import Run
from urbankit.utils.errors import RunError, UserError
from urbankit.utils.launcher import launched_first
from urbankit.utils.processes import in_several
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
    if not launched_first() and not in_several():
        raise UserError(
            "urbankit.run was called in several processes of a launcher, which do not divide the work of a script. Call"
            " it in the first of them, or let the launcher start `-m urbankit run RECIPE`."
        )
    with nullcontext(progress) if progress is not None else Progress() as reporter, run_lock(folder, resume=resume):
        _run_stages(recipe, folder, resume, reporter)
    return Run.open(folder)


def _run_stages(recipe: Recipe, folder: Path, resume: bool, progress: Progress) -> None:
    """Run all stages. If anything fails before training starts, the folder is left as it was."""
    manifest = open_run(recipe, folder, resume=resume)
    accepted, state = False, None
    try:
        with manifest.stage("city"):
            city = stages.prepare_city(recipe, progress)
        state = stages.build_inputs(recipe, city, folder, manifest=manifest, progress=progress)
        stages.transfer(state)
        stages.prior(state)
        accepted = True
        with with_others(state):
            stages.pretrain(state)
        embeddings = stages.embed(state)
        predictions = stages.finetune(state, embeddings)
        stages.predict(state, embeddings)
        stages.score(state, embeddings, predictions)
        stages.report(state)
    except BaseException as raised:
        error = explained(raised)
        trained = (folder / "checkpoints").exists() or (folder / "embeddings.parquet").exists()
        unchanged = not accepted or (manifest.previous is None and not trained)
        # A full disk, an interruption and a loss that diverged leave a run that can be resumed or looked at.
        resumable = isinstance(error, OSError | RunError) or not isinstance(error, Exception)
        with suppress(OSError):  # a full disk may be the reason why the run failed
            if unchanged and not resumable:
                undo(manifest, keep_folder=True)
            elif not manifest.finished:
                manifest.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
                if state is not None:
                    state.tracking.end(manifest.values["status"])
        if error is raised:
            raise
        raise error from raised
