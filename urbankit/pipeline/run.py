"""One run: from a recipe to embeddings, predictions, an honest table and a report, stage by stage.

    city ── inputs ── (transfer) ── pretrain ── embed ── finetune ── (probe) ── floors ── report

What a stage has finished is on disk; a run that was cut short goes on from there with `resume`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from urbankit import registry
from urbankit.evaluation.folds import check_folds, evaluate_folds
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import Scored, TaskData
from urbankit.graph.engine import select_engine
from urbankit.methods.base import Method, MethodInputs
from urbankit.modalities.base import ModalityEncoder
from urbankit.pipeline import results
from urbankit.pipeline.transfer.floors import carried_floors
from urbankit.pipeline.transfer.source import Source
from urbankit.pipeline.transfer.weights import transfer_weights
from urbankit.pipeline.transfer.zero_shot import ZeroShot
from urbankit.recipe.recipe import Recipe
from urbankit.recipe.transfer_schema import Transfer
from urbankit.report.check import check_report
from urbankit.runs.data import (
    build_inputs,
    changed_files,
    files_read,
    load_tasks,
    make_splits,
    prepare_city,
    run_floors,
)
from urbankit.runs.folder import Run
from urbankit.runs.manifest import new_manifest
from urbankit.runs.writers import write_embeddings
from urbankit.training.finetune import Finetuned, check_parts, finetune, updated_parts
from urbankit.training.loop import epoch_seed, load_trained_state, trained_state
from urbankit.training.pretrain import pretrain
from urbankit.utils.device import pick_device
from urbankit.utils.errors import Diverged, UserError, unwritable
from urbankit.utils.files import write_json, write_text
from urbankit.utils.progress import Progress


def run(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run a recipe and return the run.

    `out` is the run folder (default `runs/<name>`); it must not hold another run. `resume` goes on with the run that it
    holds, to the same result. `progress` is one that is already shown; by default the run shows its own. Raises
    `UserError` for wrong input and `RunError` where the run fails.
    """
    if not isinstance(recipe, Recipe):
        recipe = Recipe.load(recipe)
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    with nullcontext(progress) if progress is not None else Progress() as shown:
        _Run(recipe, folder, resume, shown).all_stages()
    return Run.open(folder)


class _Run:
    """The stages of one run and what they hand on."""

    def __init__(self, recipe: Recipe, folder: Path, resume: bool, progress: Progress) -> None:
        self.recipe, self.folder, self.progress = recipe, folder, progress
        self.checkpoints = folder / "checkpoints"
        self.folds = recipe.evaluation.folds if "folds" in recipe.evaluation.splits else None
        self.existed = folder.exists()
        self.before: dict[str, Any] | None = None  # the manifest of the run that is resumed
        self.accepted = False  # whether its inputs are right
        self.finished = False  # all but the report and the model card
        self.manifest = self._open(resume)

    def all_stages(self) -> None:
        """All stages; a run that wrong input stops before it has trained, or goes on, leaves its folder as it was."""
        try:
            self._all_stages()
        except BaseException as error:
            trained = self.checkpoints.exists() or (self.folder / "embeddings.parquet").exists()
            untouched = not self.accepted or (self.before is None and not trained)
            if isinstance(error, UserError) and untouched:
                self._undo()
            elif not self.finished:
                self._end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise

    def _undo(self) -> None:
        if self.before is not None:
            write_json(self.folder / "manifest.json", self.before)
        elif self.folder.is_dir():
            for name in ("manifest.json", "recipe.yaml"):
                (self.folder / name).unlink(missing_ok=True)
            if not self.existed:
                self.folder.rmdir()

    def _all_stages(self) -> None:
        with self._stage("city"):
            self.city = prepare_city(self.recipe, self.progress)
            self._same_city()
            check_report(self.recipe.report, self.city)
        with self._stage("inputs"):
            inputs, notes = build_inputs(self.recipe, self.city)
            tasks = load_tasks(self.recipe, self.city)
            splits = make_splits(self.recipe, self.city)
            for task in tasks.values():
                for split in splits.values():
                    split.of(task.labelled, f"tasks.{task.name}")
            if self.folds:
                check_folds(tasks, self.folds)
            self._note([*notes, *(note for task in tasks.values() for note in task.notes)])
            method = self._method(inputs)
            check_parts(method, self.recipe.finetune)
        zero_shot = None
        if self.recipe.transfer is not None:
            with self._stage("transfer"):
                zero_shot = self._transfer(method, inputs, tasks, self.recipe.transfer)
        self.accepted = True
        with self._stage("pretrain"):
            history = [] if zero_shot else self._pretrain(method)
        with self._stage("embed"):
            method.freeze(updated_parts(method, self.recipe.finetune))
            embeddings = self._embed(method)
            results.draw_walks(self.folder, self.city, method, self.recipe)
        with self._stage("finetune"):
            finetuned = self._finetune(method, embeddings, tasks, splits, zero_shot)
            history += [row for result in finetuned.values() for row in result.history]
        with self._stage("probe"):
            probed = self._probe(embeddings, tasks)
        with self._stage("floors"):
            floors = run_floors(self.recipe, self.city, tasks, splits, self.progress)
            if zero_shot:
                carried = carried_floors(zero_shot, self.city, self.recipe, splits, self.progress)
                floors = Scored.joined([floors, carried])
        with self._stage("report"):
            scored = zero_shot.scored if zero_shot else tasks
            predicted = Scored.joined([results.score(self.recipe.method.name, scored, splits, finetuned), probed])
            results.write_results(self.folder, self.city, predicted, floors, history)
            results.write_weights_of_blocks(self.folder, finetuned, method.block_names)
            if self.recipe.report.figures:
                results.draw_figures(self.folder, self.city)
        self._end("done")
        self.finished = True
        results.write_pages(self.folder, self.city, self.progress)

    def _end(self, status: str) -> None:
        self.manifest["status"] = status
        with nullcontext() if status == "done" else suppress(OSError):  # the disk may be what failed
            self._write_manifest()

    # The run folder

    def _open(self, resume: bool) -> dict[str, Any]:
        manifest = self.folder / "manifest.json"
        started = new_manifest(self.recipe)
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: is a file, not a folder. Choose another --out.")
        if self.folder.exists() and any(self.folder.iterdir()):
            if not resume:
                raise UserError(
                    f"{self.folder}: there is something here already. Go on with that run by --resume, or choose "
                    "another folder by --out."
                )
            if not manifest.is_file():
                raise UserError(f"{self.folder}: --resume finds no run here (no manifest.json). Choose another --out.")
            before = Run.open(self.folder).manifest
            if before.get("recipe_hash") != started["recipe_hash"]:
                raise UserError(
                    f"{self.folder}: --resume needs the recipe that the run began with, {self.folder / 'recipe.yaml'}; "
                    "this one differs. Run that file, or choose another --out."
                )
            self.before = deepcopy(before)
            write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())
            return before | {"status": "running", "notes": [], "resumed": before.get("resumed", 0) + 1}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())
            write_json(manifest, started)
        except OSError as error:
            self._undo()
            raise unwritable(self.folder, "the run folder", error) from None
        return started

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds = self.manifest["seconds"]
        seconds[name] = round(seconds.get(name, 0.0) + time.perf_counter() - started, 2)
        self._write_manifest()

    def _write_manifest(self) -> None:
        write_json(self.folder / "manifest.json", self.manifest)

    def _note(self, notes: list[str]) -> None:
        self.manifest["notes"] += notes
        for note in notes:
            self.progress.say(f"note: {note}")

    def _same_city(self) -> None:
        before = self.manifest.get("city_hash")
        if before not in (None, self.city.content_hash):
            raise UserError(f"{self.folder}: the city has changed since this run began. Start anew in another --out.")
        self.manifest |= {
            "city": self.city.name,
            "city_folder": str(self.city.path.resolve()),
            "city_hash": self.city.content_hash,
            "regions": self.city.n_regions,
        }

    # The stages

    def _method(self, inputs: MethodInputs) -> Method:
        device = pick_device(self.recipe.device)
        torch.manual_seed(self.recipe.seed)
        method = registry.create("method", self.recipe.method, inputs).to(device)
        self.manifest |= {
            "device": device.type,
            "engine": select_engine(self.recipe.engine, device),
            "precision": "float32" if inputs.precision is None else str(inputs.precision).removeprefix("torch."),
            "modalities": list(inputs.modalities),
            "views": list(inputs.views),
            "parameters": sum(p.numel() for p in method.parameters()),
            "embedding_width": method.dim,
            "blocks": _blocks(method),
        }
        self._same_files()
        self._same_weights(method)
        return method

    def _same_files(self) -> None:
        """Note which files beside the city components read; a resumed run needs the same content of them."""
        files = files_read(self.recipe, self.city)
        changed = changed_files(self.manifest.setdefault("files", files), files)
        if changed:
            raise UserError(
                f"{self.folder}: changed since this run began: {'; '.join(changed)}. Put back what it was, or start "
                "anew in another --out."
            )

    def _same_weights(self, method: Method) -> None:
        """Note which weights encoders loaded and what they found in the city; a resumed run needs the same weights."""
        encoders = [module for module in method.modules() if isinstance(module, ModalityEncoder)]
        loaded = {encoder.modality: facts for encoder in encoders if (facts := encoder.loaded()) is not None}
        if self.manifest.setdefault("pretrained", loaded) != loaded:
            raise UserError(
                f"{self.folder}: pre-trained weights have changed since this run began. Pin their `revision`, or start "
                "anew in another --out."
            )
        self._note([f"modality {encoder.modality}: {note}" for encoder in encoders for note in encoder.notes])

    def _transfer(
        self, method: Method, inputs: MethodInputs, tasks: dict[str, TaskData], wanted: Transfer
    ) -> ZeroShot | None:
        """Take weights of the source run over; where they are all kept, what heads are fitted to instead of labels."""
        source = Source(wanted.source)
        facts = source.facts()
        if self.manifest.setdefault("transfer", facts) != facts:
            raise UserError(
                f"{self.folder}: the source run {source.run.path} has changed since this run began. Start anew in "
                "another --out."
            )
        self._note(transfer_weights(method, inputs, self.recipe, source))
        if wanted.graph == "new":
            return None
        zero_shot = ZeroShot.of(source, self.recipe, tasks, self.progress)
        self._note(zero_shot.notes())
        return zero_shot

    def _pretrain(self, method: Method) -> list[dict[str, Any]]:
        if not self.recipe.pretrain.epochs:
            method.prepare()
            return []
        settings = self.recipe.pretrain
        training = pretrain(method, settings, self.city.n_regions, self.recipe.seed, self.checkpoints, self.progress)
        self.manifest["training"]["pretrain"] = training.record()
        return training.history

    def _embed(self, method: Method) -> torch.Tensor:
        method.eval()
        torch.manual_seed(epoch_seed(self.recipe.seed, "embed", 0))
        with torch.no_grad():
            regions = torch.arange(self.city.n_regions, device=pick_device(self.recipe.device)).split(1024)
            embeddings = torch.cat([method(part).float() for part in regions])
        if not torch.isfinite(embeddings).all():
            raise Diverged("the method's embeddings are not all finite; nothing was written. Lower the learning rate.")
        write_embeddings(self.folder, self.city, embeddings.cpu().numpy())
        return embeddings

    def _finetune(
        self,
        method: Method,
        embeddings: torch.Tensor,
        tasks: dict[str, TaskData],
        splits: dict[tuple[str, int], Split],
        zero_shot: ZeroShot | None = None,
    ) -> dict[tuple[str, int], Finetuned]:
        if not tasks:
            return {}
        described = None
        if zero_shot is not None:
            embeddings, described = zero_shot.joined(embeddings), zero_shot.n_source
            tasks, splits = zero_shot.tasks, zero_shot.splits
        heads = {name: self.recipe.tasks[name].head for name in tasks}
        settings = self.recipe.finetune
        pretrained = trained_state(method)
        finetuned = {}
        for (protocol, seed), split in splits.items():
            name = f"finetune {protocol} {seed}"
            done = self.checkpoints / "finetune" / f"{protocol}-{seed}.safetensors"
            if not done.exists():
                load_trained_state(method, pretrained)
                last = done.with_suffix(".last.safetensors")
                with self.progress.stage(name, total=settings.epochs) as shown:
                    result = finetune(
                        method, embeddings, tasks, heads, split, settings, seed, name=name, last=last, shown=shown,
                        described=described,
                    )  # fmt: skip
                result.save(done)
                last.unlink(missing_ok=True)
            finetuned[protocol, seed] = Finetuned.load(done)
            if finetuned[protocol, seed].record:
                self.manifest["training"][name] = finetuned[protocol, seed].record
        return finetuned if zero_shot is None else zero_shot.results(finetuned)

    def _probe(self, embeddings: torch.Tensor, tasks: dict[str, TaskData]) -> Scored:
        if not self.folds:
            return Scored.joined([])
        seeds = self.recipe.evaluation.seeds
        return evaluate_folds(self.recipe.method.name, embeddings.cpu().numpy(), tasks, self.folds, seeds)


def _blocks(method: Method) -> list[dict[str, Any]]:
    names = method.block_names or map(str, range(len(method.blocks)))
    return [{"name": name, "width": width} for name, width in zip(names, method.blocks, strict=True)]
