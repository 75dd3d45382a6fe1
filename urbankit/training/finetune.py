"""Fine-tuning: trains heads for all tasks on a pre-trained method, with the labels of the training part only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from urbankit import registry
from urbankit.evaluation.means import Means
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import TaskData
from urbankit.heads.base import FittedHead, Head, RegionData, RegionHead
from urbankit.heads.prior import Prior
from urbankit.methods.base import Method
from urbankit.recipe.training_schema import Finetune
from urbankit.registry.component import Use
from urbankit.registry.contract import check_predictions, check_tensor
from urbankit.training import checkpoint
from urbankit.training.loop import Loop
from urbankit.training.losses import Losses, MeanLosses
from urbankit.training.optimizer import build_optimizer
from urbankit.training.predictor import Labels, Predictor
from urbankit.training.seeds import epoch_seed
from urbankit.utils.errors import Problems, suggest
from urbankit.utils.progress import Stage

OUTPUTS = "outputs/"
"""Prefix of the tensors in a checkpoint that are outputs of heads."""


@dataclass(frozen=True)
class Finetuned:
    """The result of fine-tuning.

    Attributes:
        predictions: by task, for all regions: float64 [N] in the target's units, class numbers int64 [N], or shares
            float64 [N, K].
        record: `Training.record` of the trained heads; empty if all heads are fitted.
        history: losses by epoch.
        block_weights: by task, the weight of each part of the embedding, for heads that have such weights.
        member_weights: by task, the weight of each model in the head, for heads that join several.
        outputs: by task of a classification, what the head returns for all regions, float64 [N, classes].
        means: by task, what turns predictions into means. It is not saved, since labels give it.
    """

    predictions: dict[str, np.ndarray]
    record: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    block_weights: dict[str, list[float]] = field(default_factory=dict)
    member_weights: dict[str, dict[str, float]] = field(default_factory=dict)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    means: dict[str, Means] = field(default_factory=dict)

    def scored(self, task: str) -> np.ndarray:
        """Return the predictions of a task as they are scored: means of a regression, [N]."""
        predictions, means = self.predictions[task], self.means.get(task)
        return predictions if means is None or means.factor == 1 else means(predictions)

    @classmethod
    def of_tasks(cls, results: Sequence[Finetuned]) -> Finetuned:
        """Return the results of tasks that were fine-tuned one by one as one result.

        Its epochs are those of the longest training, and an epoch takes the seconds that all trainings took together
        for each of them. The history has the loss of each task, and no total.
        """
        one = cls({}, history=[row for result in results for row in result.history if row["name"] != "total"])
        for result in results:
            for name in ("predictions", "block_weights", "member_weights", "outputs"):
                getattr(one, name).update(getattr(result, name))
        records = [result.record for result in results if result.record]
        if records:
            epochs = max(record["epochs"] for record in records)
            seconds = sum(record["epochs"] * record["seconds_per_epoch"] for record in records)
            best = {task: epoch for record in records for task, epoch in record["best_epoch"].items()}
            seconds_per_epoch = round(seconds / max(epochs, 1), 4)
            one.record.update(epochs=epochs, best_epoch=best, seconds_per_epoch=seconds_per_epoch)
        return one

    def add(self, labels: Labels, outputs: Tensor) -> None:
        """Add the predictions of a task from the outputs [N, n_outputs] of its head."""
        name = labels.data.name
        self.predictions[name] = labels.predict(outputs)
        if labels.data.classes:
            self.outputs[name] = outputs.double().cpu().numpy()

    def save(self, path: Path) -> None:
        """Write the result to one safetensors file."""
        tensors = {name: torch.as_tensor(values) for name, values in self.predictions.items()}
        tensors |= {f"{OUTPUTS}{name}": torch.as_tensor(values) for name, values in self.outputs.items()}
        facts = {name: getattr(self, name) for name in ("record", "history", "block_weights", "member_weights")}
        checkpoint.save(path, tensors, facts)

    @classmethod
    def load(cls, path: Path) -> Finetuned:
        """Read the result that `save` wrote. Raises `UserError` for any other file."""
        tensors, facts = checkpoint.load(path)
        try:
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            outputs = {k.removeprefix(OUTPUTS): v for k, v in arrays.items() if k.startswith(OUTPUTS)}
            predictions = {k: v for k, v in arrays.items() if not k.startswith(OUTPUTS)}
            records = {name: facts[name] for name in ("record", "history", "block_weights", "member_weights")}
            return cls(predictions, outputs=outputs, **records)
        except KeyError as error:
            raise checkpoint.damaged(path, f"it lacks {error}") from None


def updated_parts(method: Method, settings: Finetune) -> set[str]:
    """The parts of the method that the paradigm changes: none when probing, all end to end, else `update`."""
    parts = set(method.parts())
    if settings.paradigm == "linear_probe":
        return set()
    if settings.paradigm == "end_to_end" or "all" in settings.update:
        return parts
    return parts & set(settings.update)


def check_parts(method: Method, settings: Finetune) -> None:
    """Raise `UserError` if `settings` name a part that the method does not have."""
    parts, problems = method.parts(), Problems()
    for part in settings.update:
        if part not in (*parts, "all"):
            problems.add(f"the method has no part '{part}'.{suggest(part, [*parts, 'all'])}", key="finetune.update")
    for part in settings.learning_rates:
        if part not in (*parts, "heads"):
            message = f"the method has no part '{part}'.{suggest(part, [*parts, 'heads'])}"
            problems.add(message, key=f"finetune.learning_rates.{part}")
    problems.raise_if_any()


def finetune(
    method: Method,
    embeddings: Tensor,
    tasks: Mapping[str, TaskData],
    heads: Mapping[str, Use],
    split: Split,
    settings: Finetune,
    seed: int,
    *,
    name: str,
    last: Path | None = None,
    progress: Stage | None = None,
    reference_rows: int | None = None,
    regions: RegionData | None = None,
    priors: Mapping[str, NDArray[np.float64]] | None = None,
) -> Finetuned:
    """Train new heads, and the unfrozen parts of `method`, on the training part of `split`, all `tasks` together.

    The labels of the validation part decide for each task which epoch's state predicts, and when to stop; those of the
    test part are not used. A `FittedHead` is fitted to the training part of the pre-trained embeddings instead, one to
    each coordinate of a distribution (`ShareTransform`).

    Args:
        method: the method in its pre-trained state, frozen as `settings` say.
        embeddings: its embeddings in that state, [N, dim].
        tasks: the labels by task.
        heads: the recipe's head by task.
        split: training, validation and test regions.
        settings: the recipe's section `finetune`.
        seed: seed of the training.
        name: name of the stage in the history, in messages and in the checkpoint.
        last: the checkpoint file; None writes none.
        progress: shows the epochs.
        reference_rows: how many rows of `embeddings`, from the first, standardise the input of the heads; None for all.
        regions: what heads may read beside the embedding, N rows.
        priors: by task, the predictions of a model of other cities that its head starts from, as `Prior.of` takes them.
    """
    torch.manual_seed(epoch_seed(seed, name, -1))
    labels = {task: Labels(data, split, settings.class_balance, embeddings.device) for task, data in tasks.items()}
    linear = settings.paradigm == "linear_probe"
    built: dict[str, Head] = {
        task: registry.create("head", Use(name="linear") if linear else heads[task], embeddings.shape[1], data.outputs)
        for task, data in tasks.items()
    }
    blocks = method.blocks or [method.dim]
    fitted = {task: head for task, head in built.items() if isinstance(head, FittedHead)}
    trained = {task: head for task, head in built.items() if task not in fitted}
    for head in trained.values():
        head.divide(blocks)
    frozen = not updated_parts(method, settings) or not trained
    model = Predictor(method, trained, embeddings, frozen, reference_rows).to(embeddings.device)
    result = Finetuned({})
    if trained:
        result = _train(model, {task: labels[task] for task in trained}, settings, seed, name, last, progress)
    z, regions, priors = model.standardised(embeddings), regions or RegionData(), priors or {}
    for task, head in fitted.items():
        rows = labels[task].parts["train"].nonzero().squeeze(1)
        if tasks[task].parts:
            fits = [registry.create("head", heads[task], z.shape[1], 1) for _ in range(tasks[task].outputs)]
            columns = zip(fits, labels[task].y.T, strict=True)
            outputs = [_fit(fit, column, rows, z, blocks, regions) for fit, column in columns]
        else:
            transform, fits = labels[task].transform, [head]
            prior = Prior.of(priors[task], transform) if task in priors else None
            of_task = replace(regions, transform=transform, prior=prior)
            outputs = [_fit(head, labels[task].y, rows, z, blocks, of_task)]
        result.add(labels[task], torch.cat(outputs, dim=1))
        weights = [fit.member_weights() for fit in fits if isinstance(fit, RegionHead)]
        if names := dict.fromkeys(name for of_fit in weights for name in of_fit):
            means = {name: sum(of_fit.get(name, 0.0) for of_fit in weights) / len(weights) for name in names}
            result.member_weights[task] = means
    return result


def _fit(
    head: FittedHead, labels: Tensor, rows: Tensor, z: Tensor, blocks: Sequence[int], regions: RegionData
) -> Tensor:
    """The outputs for all regions of a head fitted to the labels [N] of the training regions `rows`."""
    with torch.no_grad():
        if isinstance(head, RegionHead):
            head.fit_regions(z[rows], labels[rows], blocks, regions.rows(rows.cpu().numpy()))
            outputs = head.predict_regions(z, regions)
            check_tensor(head, "predict_regions()", outputs, len(z), head.out_dim)
        else:
            head.fit(z[rows], labels[rows], blocks)
            outputs = head(z)
        check_predictions(head, outputs)
        return outputs


def _train(
    model: Predictor,
    labels: Mapping[str, Labels],
    settings: Finetune,
    seed: int,
    name: str,
    last: Path | None,
    progress: Stage | None,
) -> Finetuned:
    """Train the heads, and the method as far as it is not frozen, by gradient steps on the tasks' summed losses."""
    parts = model.parts()
    optimizer = build_optimizer(
        parts,
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate,
        # The recipe may give rates of parts that this paradigm does not update.
        learning_rates={part: rate for part, rate in settings.learning_rates.items() if part in parts},
        weight_decay=settings.weight_decay,
        key="finetune",
    )
    device, n = model.shift.device, len(next(iter(labels.values())).y)
    batch_size = settings.batch_size or n
    regions = {part: _labelled(labels, part) for part in ("train", "validation")}

    def losses_of(batch: Tensor, part: str) -> dict[str, Tensor]:
        outputs = model(batch)
        masks = {task: task_labels.parts[part][batch] for task, task_labels in labels.items()}
        losses = {
            task: labels[task].loss(outputs[task][mask], batch[mask]) for task, mask in masks.items() if mask.any()
        }
        weighted = [settings.loss_weights.get(task, 1.0) * value for task, value in losses.items()]
        return losses | {"total": sum(weighted[1:], weighted[0])}

    def train_epoch() -> Losses:
        mean = MeanLosses()
        shuffled = regions["train"][torch.randperm(len(regions["train"])).to(device)]
        for batch in shuffled.split(batch_size):
            losses = losses_of(batch.sort().values, "train")
            optimizer.zero_grad(set_to_none=True)
            losses["total"].backward()
            optimizer.step()
            mean.add(losses, len(batch))
        return mean.values()

    def validate() -> Losses:
        mean = MeanLosses()
        for batch in regions["validation"].split(batch_size):
            mean.add(losses_of(batch, "validation"), len(batch))
        return mean.values()

    loop = Loop(
        name,
        model,
        optimizer,
        settings.epochs,
        settings.patience,
        seed,
        judged=tuple(labels),
        schedule=settings.schedule,
        average=settings.average,
        last=last,
    )
    training = loop.run(train_epoch, validate, progress)
    result = Finetuned({}, training.record(), training.history)
    for task, task_labels in labels.items():
        checkpoint.load_trained_state(model, training.best[task].state)
        model.eval()
        torch.manual_seed(epoch_seed(seed, f"{name} prediction", 0))
        weights = model.heads[task].block_weights()
        if weights is not None:
            result.block_weights[task] = weights.tolist()
        with torch.no_grad():
            chunks = torch.arange(n, device=device).split(batch_size)
            outputs = torch.cat([model(chunk)[task] for chunk in chunks])
            check_predictions(model.heads[task], outputs)
            result.add(task_labels, outputs)
    return result


def _labelled(labels: Mapping[str, Labels], part: str) -> Tensor:
    """The regions, int64, that have a label of any task in the part."""
    return torch.stack([task_labels.parts[part] for task_labels in labels.values()]).any(dim=0).nonzero().squeeze(1)
