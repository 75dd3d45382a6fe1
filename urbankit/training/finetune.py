"""Fine-tuning: heads for all tasks on top of a pre-trained method, on the labels of the training part alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from urbankit import registry
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import TaskData
from urbankit.heads.base import FittedHead, Head
from urbankit.methods.base import Method
from urbankit.recipe.training_schema import Finetune
from urbankit.registry.component import Use
from urbankit.training import checkpoint
from urbankit.training.loop import Loop, Losses, Mean, epoch_seed, load_trained_state
from urbankit.training.optimizer import build_optimizer
from urbankit.training.predictor import Labels, Predictor
from urbankit.utils.errors import Problems, suggest
from urbankit.utils.progress import Stage


@dataclass(frozen=True)
class Finetuned:
    """Predictions of every task for all regions, and what `Training.record` says of the heads that were trained.

    Regression: float64 [N] in the target's own units; classification: class numbers int64 [N]. `record` is empty where
    all heads are fitted. `block_weights` has, by task, those of a head that weighs the parts of the embedding, one a
    part.
    """

    predictions: dict[str, np.ndarray]
    record: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    block_weights: dict[str, list[float]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write to one safetensors file."""
        tensors = {name: torch.as_tensor(values) for name, values in self.predictions.items()}
        facts = {"record": self.record, "history": self.history, "block_weights": self.block_weights}
        checkpoint.save(path, tensors, facts)

    @classmethod
    def load(cls, path: Path) -> Finetuned:
        """Read what `save` wrote."""
        tensors, facts = checkpoint.load(path)
        try:
            predictions = {k: v.numpy() for k, v in tensors.items()}
            return cls(predictions, facts["record"], facts["history"], facts["block_weights"])
        except KeyError as error:
            raise checkpoint.damaged(path, f"it lacks {error}") from None


def updated_parts(method: Method, settings: Finetune) -> set[str]:
    """The parts of the method that the paradigm changes: none when probing, all end to end, else `update`."""
    everything = set(method.parts())
    if settings.paradigm == "linear_probe":
        return set()
    if settings.paradigm == "end_to_end" or "all" in settings.update:
        return everything
    return everything & set(settings.update)


def check_parts(method: Method, settings: Finetune) -> None:
    """Raise `UserError` for parts that `settings` name and neither the method nor the heads are."""
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
    shown: Stage | None = None,
    described: int | None = None,
) -> Finetuned:
    """Train fresh heads, and the unfrozen parts of `method`, on the training part of `split`, all tasks together.

    The labels of the validation part decide, task by task, which epoch's state predicts, and when to stop; those of
    the test part are not looked at. Heads of the fitted kind (`gp`, `forest`) are fitted to the training part of the
    pre-trained embedding instead. `method` holds its pre-trained state and is frozen as far as `settings` say;
    `embeddings` [N, dim] are its embeddings in that state; what heads see is standardised by the mean and spread of
    their first `described` rows, by default all.
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
    model = Predictor(method, trained, embeddings, frozen, described).to(embeddings.device)
    result = Finetuned({})
    if trained:
        result = _train(model, {task: labels[task] for task in trained}, settings, seed, name, last, shown)
    z = model.standardised(embeddings)
    for task, head in fitted.items():
        result.predictions[task] = _fit(head, labels[task], z, blocks)
    return result


def _fit(head: FittedHead, labels: Labels, z: Tensor, blocks: Sequence[int]) -> np.ndarray:
    """Predictions for all regions of a head fitted to the training part."""
    rows = labels.parts["train"].nonzero().squeeze(1)
    with torch.no_grad():
        head.fit(z[rows], labels.y[rows], blocks)
        return labels.predict(head(z))


def _train(
    model: Predictor,
    labels: Mapping[str, Labels],
    settings: Finetune,
    seed: int,
    name: str,
    last: Path | None,
    shown: Stage | None,
) -> Finetuned:
    """Train the heads, and the method as far as it is not frozen, by gradient steps on the tasks' summed losses."""
    parts = model.parts()
    optimizer = build_optimizer(
        parts,
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate,
        # Parts that are named but stay as they are have no rate.
        learning_rates={part: rate for part, rate in settings.learning_rates.items() if part in parts},
        weight_decay=settings.weight_decay,
        key="finetune",
    )
    device, n = model.shift.device, len(next(iter(labels.values())).y)
    regions = {part: _any(labels, part) for part in ("train", "validation")}

    def losses_of(batch: Tensor, part: str) -> dict[str, Tensor]:
        outputs = model(batch)
        there = {task: one.parts[part][batch] for task, one in labels.items()}
        losses = {
            task: labels[task].loss(outputs[task][rows], batch[rows]) for task, rows in there.items() if rows.any()
        }
        total = sum(settings.loss_weights.get(task, 1.0) * value for task, value in losses.items())
        return losses | {"total": total}

    def train_epoch() -> Losses:
        mean = Mean()
        shuffled = regions["train"][torch.randperm(len(regions["train"])).to(device)]
        for batch in shuffled.split(settings.batch_size or n):
            losses = losses_of(batch.sort().values, "train")
            optimizer.zero_grad(set_to_none=True)
            losses["total"].backward()
            optimizer.step()
            mean.add(losses, len(batch))
        return mean.values()

    def validate() -> Losses:
        mean = Mean()
        for batch in regions["validation"].split(settings.batch_size or n):
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
    training = loop.run(train_epoch, validate, shown)
    predictions, block_weights = {}, {}
    for task, one in labels.items():
        load_trained_state(model, training.best[task].state)
        model.eval()
        torch.manual_seed(epoch_seed(seed, f"{name} prediction", 0))
        weights = model.heads[task].block_weights()
        if weights is not None:
            block_weights[task] = weights.tolist()
        with torch.no_grad():
            chunks = torch.arange(n, device=device).split(settings.batch_size or n)
            predictions[task] = one.predict(torch.cat([model(chunk)[task] for chunk in chunks]))
    return Finetuned(predictions, training.record(), training.history, block_weights)


def _any(labels: Mapping[str, Labels], part: str) -> Tensor:
    """Regions, int64, with a label of any task in the part."""
    return torch.stack([one.parts[part] for one in labels.values()]).any(dim=0).nonzero().squeeze(1)
