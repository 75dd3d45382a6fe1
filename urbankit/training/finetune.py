"""Fine-tuning: heads for all tasks on top of a pre-trained method, on the labels of the training part alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit import registry
from urbankit.component import Use
from urbankit.evaluation.transforms import TargetTransform
from urbankit.progress import Stage
from urbankit.training import checkpoint
from urbankit.training.loop import Loop, Losses, epoch_seed, load_trained_state
from urbankit.training.optimizer import build_optimizer

if TYPE_CHECKING:
    from urbankit.evaluation.splits import Split
    from urbankit.evaluation.tasks import TaskData
    from urbankit.methods.base import Method
    from urbankit.recipe.training import Finetune


@dataclass(frozen=True)
class Finetuned:
    """Predictions of every task for all regions, each from the epoch that validated best on that task.

    Regression: float64 [N] in the target's own units; classification: class numbers int64 [N].
    """

    predictions: dict[str, np.ndarray]
    best_epochs: dict[str, int]
    history: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write to one safetensors file."""
        tensors = {name: torch.as_tensor(values) for name, values in self.predictions.items()}
        checkpoint.save(path, tensors, {"best_epochs": self.best_epochs, "history": self.history})

    @classmethod
    def load(cls, path: Path) -> Finetuned:
        """Read what `save` wrote."""
        tensors, facts = checkpoint.load(path)
        return cls({k: v.numpy() for k, v in tensors.items()}, facts["best_epochs"], facts["history"])


class Predictor(nn.Module):
    """A method and the heads of all tasks.

    `embeddings` [N, dim] are the pre-trained ones: their mean and spread standardise what heads see, and where nothing
    of the method is updated (`frozen`) they are what heads see.
    """

    def __init__(self, method: Method, heads: dict[str, nn.Module], embeddings: Tensor, frozen: bool) -> None:
        super().__init__()
        self.method = None if frozen else method
        self.heads = nn.ModuleDict(heads)
        self.register_buffer("shift", embeddings.mean(dim=0), persistent=False)
        self.register_buffer("scale", embeddings.std(dim=0).clamp(min=1e-6), persistent=False)
        self.register_buffer("embeddings", embeddings if frozen else None, persistent=False)

    def forward(self, regions: Tensor) -> dict[str, Tensor]:
        """Outputs [B, n_outputs] of every task for region indices int64 [B]."""
        z = self.embeddings[regions] if self.method is None else self.method(regions)
        z = (z.float() - self.shift) / self.scale
        return {name: head(z) for name, head in self.heads.items()}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        parts = {} if self.method is None else self.method.parts()
        return parts | {"heads": list(self.heads.parameters())}


def updated_parts(method: Method, settings: Finetune) -> set[str]:
    """The parts of the method that the paradigm changes: none when probing, all end to end, else `update`."""
    everything = set(method.parts())
    if settings.paradigm == "linear_probe":
        return set()
    if settings.paradigm == "end_to_end" or "all" in settings.update:
        return everything
    return everything & set(settings.update)


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
) -> Finetuned:
    """Train fresh heads, and the unfrozen parts of `method`, on the training part of `split`, all tasks together.

    The labels of the validation part decide, task by task, which epoch's state predicts, and when to stop; those of
    the test part are not looked at. `method` holds its pre-trained state and is frozen as far as `settings` say;
    `embeddings` [N, dim] are its embeddings in that state.
    """
    device, n = embeddings.device, len(embeddings)
    torch.manual_seed(epoch_seed(seed, name, -1))
    labels = {task: _Labels(data, split, settings.class_balance, device) for task, data in tasks.items()}
    frozen = not updated_parts(method, settings)
    probing = settings.paradigm == "linear_probe"
    built = {
        task: registry.create("head", Use(name="linear") if probing else heads[task], embeddings.shape[1], data.outputs)
        for task, data in tasks.items()
    }
    model = Predictor(method, built, embeddings, frozen).to(device)
    optimizer = build_optimizer(
        model.parts(),
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate,
        learning_rates=settings.learning_rates,
        weight_decay=settings.weight_decay,
        key="finetune",
    )
    labelled = {
        part: torch.stack([one.parts[part] for one in labels.values()]).any(dim=0) for part in ("train", "validation")
    }
    train, validation = (labelled[part].nonzero().squeeze(1) for part in ("train", "validation"))

    def losses_of(regions: Tensor, part: str) -> dict[str, Tensor]:
        outputs = model(regions)
        losses = {}
        for task, one in labels.items():
            there = one.parts[part][regions]
            if there.any():
                losses[task] = one.loss(outputs[task][there], regions[there])
        total = sum(settings.loss_weights.get(task, 1.0) * value for task, value in losses.items())
        return losses | {"total": total}

    def train_epoch() -> Losses:
        shuffled = train[torch.randperm(len(train)).to(device)]
        batches = shuffled.split(settings.batch_size or n)
        sums: dict[str, float] = {}
        for batch in batches:
            losses = losses_of(batch.sort().values, "train")
            optimizer.zero_grad(set_to_none=True)
            losses["total"].backward()
            optimizer.step()
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + float(value.detach()) * len(batch) / len(shuffled)
        return sums

    def validate() -> Losses:
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for batch in validation.split(settings.batch_size or n):
            for key, value in losses_of(batch, "validation").items():
                sums[key] = sums.get(key, 0.0) + float(value) * len(batch)
                counts[key] = counts.get(key, 0) + len(batch)
        return {key: value / counts[key] for key, value in sums.items()}

    loop = Loop(
        name,
        model,
        optimizer,
        settings.epochs,
        settings.patience,
        seed,
        judged=tuple(tasks),
        schedule=settings.schedule,
        average=settings.average,
        last=last,
    )
    training = loop.run(train_epoch, validate, shown)
    predictions = {}
    for task, one in labels.items():
        load_trained_state(model, training.best[task].state)
        model.eval()
        torch.manual_seed(epoch_seed(seed, f"{name} prediction", 0))
        with torch.no_grad():
            chunks = torch.arange(n, device=device).split(settings.batch_size or n)
            predictions[task] = one.predict(torch.cat([model(chunk)[task] for chunk in chunks]))
    return Finetuned(predictions, {task: training.best[task].epoch for task in tasks}, training.history)


class _Labels:
    """One task's labels in the form they are learned in, and which of them each part may see."""

    def __init__(self, data: TaskData, split: Split, balance: float, device: torch.device) -> None:
        self.data = data
        visible = split.of(data.labelled, data.name)
        self.parts = {
            part: torch.zeros(len(data.y), dtype=torch.bool).index_fill(0, torch.as_tensor(rows), True).to(device)
            for part, rows in (("train", visible.train), ("validation", visible.validation))
        }
        if data.kind == "classification":
            self.y = torch.as_tensor(data.y, device=device)
            counts = np.bincount(data.y[visible.train], minlength=data.outputs)
            self.class_weights = _class_weights(counts, balance, device)
        else:
            self.transform = TargetTransform.fit(data.transform, data.y[visible.train])
            self.y = torch.as_tensor(self.transform.transform(data.y), dtype=torch.float32, device=device)

    def loss(self, outputs: Tensor, regions: Tensor) -> Tensor:
        if self.data.kind == "classification":
            return F.cross_entropy(outputs, self.y[regions], weight=self.class_weights)
        return F.mse_loss(outputs.squeeze(1), self.y[regions])

    def predict(self, outputs: Tensor) -> np.ndarray:
        if self.data.kind == "classification":
            return outputs.argmax(dim=1).cpu().numpy()
        return self.transform.inverse(outputs.squeeze(1).double().cpu().numpy())


def _class_weights(counts: np.ndarray, balance: float, device: torch.device) -> Tensor:
    """Weights proportional to (training members of the class) ** -balance, with mean 1 over the members."""
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -balance, 0.0)
    weights *= counts.sum() / (weights * counts).sum()
    return torch.as_tensor(weights, dtype=torch.float32, device=device)
