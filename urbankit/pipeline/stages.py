"""The stages of a run, in their order.

    load_recipe → prepare_city → build_inputs → (transfer → prior) → pretrain → embed → finetune → predict → score
    → report

`urbankit.run` calls them one after another. You can also call each of them yourself, and start or stop at any of them:

>>> recipe = load_recipe("urbanmmcl")
>>> city = prepare_city(recipe)
>>> state = build_inputs(recipe, city, "runs/mine")
>>> pretrain(state)
>>> embeddings = embed(state)                 # or your own, [N, dim]
>>> predictions = finetune(state, embeddings)
>>> all_regions = predict(state, embeddings)  # also of regions without labels
>>> scores = score(state, embeddings, predictions)
>>> report(state)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from urbankit import registry
from urbankit.analysis.anchors import find_anchors
from urbankit.analysis.walks import sample_walks
from urbankit.city.city import City
from urbankit.evaluation.splits import probes
from urbankit.evaluation.tasks import Scored
from urbankit.graph.engine import select_engine
from urbankit.methods.base import Method
from urbankit.modalities.base import ModalityEncoder
from urbankit.pipeline.embedding import described, embed_regions
from urbankit.pipeline.leaks import check_encoders
from urbankit.pipeline.predict import predict
from urbankit.pipeline.prior import city_prior
from urbankit.pipeline.resume import check_city, check_files, check_prior, check_source, check_weights, open_run
from urbankit.pipeline.scores import few_labels, score_splits
from urbankit.pipeline.state import Predictions, RunState
from urbankit.pipeline.tracking import check_trackers
from urbankit.pipeline.transfer.floors import carried_floors
from urbankit.pipeline.transfer.source import Source
from urbankit.pipeline.transfer.weights import transfer_weights
from urbankit.pipeline.transfer.zero_shot import ZeroShot
from urbankit.pipeline.untrained import score_untrained
from urbankit.pipeline.view_measures import measure_views
from urbankit.recipe.recipe import Recipe
from urbankit.report import draw_all, write_report
from urbankit.report.card import write_card
from urbankit.report.check import check_report
from urbankit.runs import view_measures, writers
from urbankit.runs.context import RunContext
from urbankit.runs.data import (
    held_out_regions,
    load_labels,
    method_inputs,
    prepare_city,
    run_floors,
)
from urbankit.runs.folder import Run
from urbankit.runs.manifest import Manifest
from urbankit.runs.member_weights import member_lines
from urbankit.training.finetune import check_parts, updated_parts
from urbankit.training.pretrain import pretrain as train_method
from urbankit.training.supervised import SupervisedMethod
from urbankit.utils.device import pick_device
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress
from urbankit.utils.written import is_own

__all__ = [
    "RunState",
    "Scores",
    "build_inputs",
    "embed",
    "finetune",
    "load_recipe",
    "predict",
    "prepare_city",
    "pretrain",
    "prior",
    "report",
    "score",
    "transfer",
]


class Scores(NamedTuple):
    """Metric records and test predictions of the method, and of the floors."""

    method: Scored
    floors: Scored


def load_recipe(recipe: str | Path | Mapping[str, Any], sets: Iterable[str] = ()) -> Recipe:
    """Read, check and resolve a recipe; see `Recipe.load`."""
    return Recipe.load(recipe, sets)


def build_inputs(
    recipe: Recipe,
    city: City,
    folder: str | Path,
    *,
    manifest: Manifest | None = None,
    progress: Progress | None = None,
) -> RunState:
    """Build everything that training needs: modalities, views, labels, splits and the untrained method.

    Args:
        recipe: The recipe.
        city: Its prepared city.
        folder: The run folder. A new run is started in it, unless `manifest` is given.
        manifest: The manifest of a run that `open_run` has started or resumed in `folder`.
        progress: Where progress is shown; nowhere by default.

    Returns:
        The state that the other stages work on.

    Raises:
        UserError: If the recipe asks for what the city lacks, a label or split is unusable, the folder is in use, or a
            resumed run started from something else (see `urbankit.pipeline.resume`).
    """
    progress = progress or Progress(quiet=True)
    manifest = manifest or open_run(recipe, Path(folder))
    check_city(manifest, city)
    check_report(recipe.report, city)
    check_trackers(recipe)
    with manifest.stage("inputs"):
        inputs, notes = method_inputs(recipe, city)
        tasks, splits = load_labels(recipe, city)
        manifest.note([*notes, *(note for task in tasks.values() for note in task.notes)], progress)
        device = pick_device(recipe.device)
        torch.manual_seed(recipe.seed)
        method = registry.create("method", recipe.method, inputs).to(device)
        manifest.values |= {
            "device": device.type,
            "engine": select_engine(recipe.engine, device),
            "precision": "float32" if inputs.precision is None else str(inputs.precision).removeprefix("torch."),
            "modalities": list(inputs.modalities),
            "views": list(inputs.views),
            "parameters": sum(p.numel() for p in method.parameters()),
            "embedding_width": method.dim,
            "blocks": [
                {"name": name, "width": width}
                for name, width in zip(_block_names(method, len(method.blocks)), method.blocks, strict=True)
            ],
        }
        encoders = [module for module in method.modules() if isinstance(module, ModalityEncoder)]
        manifest.values["describes"] = described(encoders)
        manifest.values["bands"] = {name: city.images(name).band_names for name in city.image_sources}
        leaks = check_encoders(encoders, tasks, recipe, city)
        manifest.values["leak_check"] = leaks.to_json()
        manifest.note(leaks.noted, progress)
        check_files(manifest, recipe, city)
        check_weights(manifest, method)
        for encoder in encoders:
            manifest.note([f"modality {encoder.modality}: {note}" for note in encoder.notes], progress)
        check_parts(method, recipe.finetune)
        settings = recipe.pretrain.supervised
        learned = {name: tasks.pop(name) for name in settings.tasks} if settings else {}
        if learned:
            message = "pre-training learns from their labels, so they are not scored on these cities"
            manifest.note([f"tasks {', '.join(learned)}: {message}; apply the model to another city"], progress)
    return RunState(recipe, city, inputs, tasks, splits, method, manifest, progress, learned)


def transfer(state: RunState) -> None:
    """Load the weights of another run into the method, if the recipe has a section `transfer`.

    With `graph: keep` all weights are loaded, nothing is pre-trained, and heads are fitted to the labels of the other
    run's city (`state.zero_shot`).

    Raises:
        UserError: If weights of the other run do not fit, or it has changed since this run started.
    """
    settings = state.recipe.transfer
    if settings is None:
        return
    with state.manifest.stage("transfer"):
        source = Source(settings.source)
        check_source(state.manifest, source)
        notes = transfer_weights(state.method, state.inputs, state.recipe, source)
        state.manifest.note(notes, state.progress)
        if settings.graph == "keep":
            state.zero_shot = ZeroShot.of(source, state.recipe, state.tasks, state.progress)
            state.manifest.note(state.zero_shot.notes(), state.progress)


def prior(state: RunState) -> None:
    """Predict the city with the model that `prior` in the recipe names; heads start from that. Nothing without it.

    Raises:
        UserError: If the model cannot predict this city, knows its labels, predicts another quantity, or has changed
            since this run started.
    """
    if state.recipe.prior is None:
        return
    with state.manifest.stage("prior"):
        loaded = city_prior(state.recipe, state.recipe.prior, state.city, state.tasks, state.progress)
        check_prior(state.manifest, loaded.facts)
        state.manifest.note(loaded.notes, state.progress)
        state.priors = loaded.predictions


def pretrain(state: RunState) -> None:
    """Train the method without labels; an interrupted training continues from its checkpoint.

    Writes `checkpoints/last` and `checkpoints/best`. After a zero-shot transfer there is nothing to train.

    Raises:
        Diverged: If a loss is not finite.
    """
    with state.manifest.stage("pretrain"):
        recipe = state.recipe
        if state.zero_shot is not None:
            return
        if not recipe.pretrain.epochs:
            state.method.prepare()
            return
        training = train_method(
            state.method,
            recipe.pretrain,
            state.city.n_regions,
            recipe.seed,
            state.checkpoints,
            state.progress,
            held_out_regions=held_out_regions(recipe.pretrain.hold_out, state.city),
            member=torch.as_tensor(state.city.member),
            supervised=_supervised(state),
            record=state.tracking.losses,
        )
        state.tracking.flush()
        state.manifest.values["training"]["pretrain"] = training.record()
        state.held_out, state.retrieval = training.held_out, training.retrieval
        state.history += training.history


def embed(state: RunState) -> Tensor:
    """Compute the region embeddings and write `embeddings.parquet`, and what they show without labels.

    The latter is `views.parquet`, and `walks.parquet` of methods that walk.

    Returns:
        Embeddings, float32 [N, dim], on the device of the method. Parts that fine-tuning does not change are frozen.

    Raises:
        Diverged: If an embedding is not finite.
    """
    recipe, method, city, folder = state.recipe, state.method, state.city, state.manifest.folder
    with state.manifest.stage("embed"):
        method.freeze(updated_parts(method, recipe.finetune))
        embeddings = embed_regions(method, recipe, city.n_regions)
        writers.write_embeddings(folder, city, embeddings.cpu().numpy())
        anchors = find_anchors(city, recipe.report.anchors)
        state.view_measures = measure_views(state, embeddings.cpu().numpy())
        writers.write_view_measures(folder, state.view_measures)
        writers.write_walks(folder, sample_walks(method, anchors, city.region_ids, recipe.seed))
    return embeddings


def finetune(state: RunState, embeddings: Tensor) -> Predictions:
    """Train heads on the training regions of every split, and with them the parts in `finetune.update`.

    Args:
        state: The state. Splits that a resumed run has trained before are read from its checkpoints.
        embeddings: Region embeddings [N, dim] of `embed`, or your own; heads see these alone if `update` is empty.

    Returns:
        Predictions for all regions, by split protocol and seed; empty without tasks.
    """
    with state.manifest.stage("finetune"):
        if not state.tasks:
            return {}
        zero_shot, splits = state.zero_shot, state.splits if state.zero_shot is None else state.zero_shot.splits
        training = state.head_training(embeddings, "finetune")
        state.manifest.note(training.approximations(splits.values()), state.progress)
        predictions = {}
        for (protocol, seed), split in splits.items():
            name = f"finetune {protocol} {seed}"
            predictions[protocol, seed] = training.fit(split, protocol, seed, name, f"{protocol}-{seed}")
            if predictions[protocol, seed].record:
                state.manifest.values["training"][name] = predictions[protocol, seed].record
            state.tracking.losses(predictions[protocol, seed].history)
        if zero_shot is not None:
            predictions = zero_shot.results(predictions)
        state.history += [row for result in predictions.values() for row in result.history]
        for line in member_lines(_member_weights(predictions)):
            state.progress.say(line)
        return predictions


def score(state: RunState, embeddings: Tensor, predictions: Predictions) -> Scores:
    """Score the predictions, fit the probes of split protocols, score floors and controls, and write the results.

    Writes `metrics.parquet`, `metrics.json`, `predictions.parquet`, `floor_predictions.parquet`, `history.parquet`, for
    protocols of few labels `learning_curves.parquet`, for heads that weigh the blocks of the embedding
    `block_weights.parquet`, and for heads that join several models `member_weights.parquet`.

    Args:
        state: The state.
        embeddings: Region embeddings [N, dim]; a probe, such as the split protocol `folds`, fits a model to them.
        predictions: What `finetune` returned.

    Returns:
        The scores of the method and of the floors, on the same test regions.
    """
    recipe, city, tasks, zero_shot = state.recipe, state.city, state.tasks, state.zero_shot
    name, evaluation, folder = recipe.method.name, recipe.evaluation, state.manifest.folder
    with state.manifest.stage("probe"):
        vectors = embeddings.cpu().numpy()
        probed = [probe.score(name, vectors, tasks, evaluation) for probe in probes(evaluation.splits)]
        probed.append(few_labels(state, name, embeddings, state.method))
    with state.manifest.stage("untrained"):
        untrained = score_untrained(state)
    with state.manifest.stage("floors"):
        floors = [run_floors(recipe, city, tasks, state.splits, state.progress)]
        if zero_shot is not None:
            floors.append(carried_floors(zero_shot, city, recipe, state.splits, state.progress))
        floors.append(untrained)
    with state.manifest.stage("report"):
        scored_tasks = tasks if zero_shot is None else zero_shot.scored
        level = recipe.predict.interval if zero_shot is None else None  # no label of this city may calibrate
        finetuned = score_splits(name, scored_tasks, state.splits, predictions, level)
        scores = Scores(Scored.joined([*finetuned, *probed]), Scored.joined(floors))
        writers.write_history(folder, state.history)
        writers.write_predictions(folder, city, scores.method.predictions, scores.floors.predictions)
        measures = view_measures.records(state.view_measures, name, recipe.seed)
        writers.write_metrics(folder, [*scores.method.records, *scores.floors.records], measures)
        writers.write_learning_curves(folder, [*scores.method.curves, *scores.floors.curves], recipe.seed)
        writers.write_block_weights(folder, _block_weights(predictions, state.method))
        writers.write_member_weights(folder, _member_weights(predictions))
        state.tracking.scores([*scores.method.records, *scores.floors.records])
    return scores


def report(state: RunState) -> None:
    """Draw the figures, write the HTML report and the model card, and mark the run as done.

    A killed run is therefore not taken for a finished one that lacks its report. A run whose report cannot be written,
    for example because the disk is full, is done all the same: its results are complete.
    """
    folder, city = state.manifest.folder, state.city
    with state.manifest.stage("report"):
        if state.recipe.report.figures:
            draw_all(RunContext.of(Run.open(folder), city))
    run = Run.open(folder)
    run.manifest = {**state.manifest.values, "status": "done"}  # the page and the card show the manifest of the end
    try:
        context = RunContext.of(run, city)
        for sentence in write_report(context).missing:
            state.progress.say(f"report: {sentence}")
        card = write_card(run, city, context.tasks)
        if not is_own(card):
            state.progress.say(f"{card} has changed since urbankit wrote it, and stays")
    except (OSError, UserError):
        state.manifest.end("done")
        raise
    state.tracking.end("done")
    state.manifest.end("done")


def _supervised(state: RunState) -> SupervisedMethod | None:
    """The method with the heads of `pretrain.supervised`; None without that section."""
    settings = state.recipe.pretrain.supervised
    if settings is None:
        return None
    return SupervisedMethod(state.method, state.learned, state.city.member, settings.weight)


def _block_weights(predictions: Predictions, method: Method) -> list[dict[str, Any]]:
    """The rows of `block_weights.parquet`, of heads that weigh the blocks of the embedding."""
    return [
        {"task": task, "split": protocol, "seed": seed, "block": block, "weight": weight}
        for (protocol, seed), result in predictions.items()
        for task, weights in result.block_weights.items()
        for block, weight in zip(_block_names(method, len(weights)), weights, strict=True)
    ]


def _member_weights(predictions: Predictions) -> list[dict[str, Any]]:
    """The rows of `member_weights.parquet`, of heads that join several models."""
    return [
        {"task": task, "split": protocol, "seed": seed, "member": member, "weight": weight}
        for (protocol, seed), result in predictions.items()
        for task, weights in result.member_weights.items()
        for member, weight in weights.items()
    ]


def _block_names(method: Method, n_blocks: int) -> list[str]:
    return list(method.block_names) or [str(index) for index in range(n_blocks)]
