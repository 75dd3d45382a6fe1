"""The model that fine-tuning trains, a method with the heads of all tasks, and the labels of each task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.evaluation.shares import ShareTransform
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import TaskData
from urbankit.evaluation.transforms import TargetTransform
from urbankit.heads.base import Head
from urbankit.methods.base import Method
from urbankit.utils.torch_modules import NamedModules, mean_and_std


class Predictor(nn.Module):
    """A method and the heads of all tasks.

    Args:
        method: the pre-trained method.
        heads: the trained heads by task.
        embeddings: the pre-trained embeddings, [N, dim]. Their mean and standard deviation standardise the input of the
            heads.
        frozen: whether nothing of the method is updated; `embeddings` are then the input of the heads.
        reference_rows: how many rows of `embeddings`, from the first, give mean and standard deviation; None for all.
    """

    shift: Tensor
    scale: Tensor
    embeddings: Tensor | None

    def __init__(
        self,
        method: Method,
        heads: Mapping[str, Head],
        embeddings: Tensor,
        frozen: bool,
        reference_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.method = None if frozen else method
        self.heads: NamedModules[Head] = NamedModules(heads)
        mean, std = mean_and_std(embeddings[:reference_rows])
        self.register_buffer("shift", mean, persistent=False)
        self.register_buffer("scale", std, persistent=False)
        self.register_buffer("embeddings", embeddings if frozen else None, persistent=False)

    def forward(self, regions: Tensor) -> dict[str, Tensor]:
        """Return the outputs [B, n_outputs] of every task for region indices int64 [B]."""
        if self.embeddings is not None:
            z = self.embeddings[regions]
        else:
            assert self.method is not None
            z = self.method(regions)
        z = self.standardised(z)
        return {task: head(z) for task, head in self.heads.items()}

    def standardised(self, z: Tensor) -> Tensor:
        """Return embeddings [B, dim] as the heads get them."""
        return (z.float() - self.shift) / self.scale

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters by part: those of the method, and `heads`."""
        parts = {} if self.method is None else self.method.parts()
        return parts | {"heads": list(self.heads.parameters())}


class Labels:
    """The labels of one task in the form they are learned in.

    Attributes:
        y: the transformed target, float32 [N], or [N, K - 1] of a distribution, or class numbers, int64 [N].
        transform: how the target was transformed; None for classes.
        parts: the labelled regions of the `train` and the `validation` part, bool [N] each.
    """

    def __init__(self, data: TaskData, split: Split, balance: float, device: torch.device) -> None:
        self.data = data
        visible = split.of(data.labelled, data.name, required=("train", "validation"))
        self.parts = {
            part: torch.zeros(len(data.y), dtype=torch.bool).index_fill(0, torch.as_tensor(rows), True).to(device)
            for part, rows in (("train", visible.train), ("validation", visible.validation))
        }
        self.transform: TargetTransform | ShareTransform | None = None
        if data.classes:
            self.y = torch.as_tensor(data.y, device=device)
            counts = np.bincount(data.y[visible.train], minlength=data.outputs)
            self.class_weights = _class_weights(counts, balance, device)
        else:
            self.transform = data.form(visible.train)
            self.y = torch.as_tensor(self.transform.transform(data.y), dtype=torch.float32, device=device)

    def loss(self, outputs: Tensor, regions: Tensor) -> Tensor:
        """Return the mean loss of `outputs` [B, n_outputs] for labelled `regions` int64 [B].

        Classes without a training region have the weight 0; the loss is zero if there are no others.
        """
        y = self.y[regions]
        if self.transform is not None:
            return F.mse_loss(outputs.reshape(y.shape), y)
        if not self.class_weights[y].any():
            return outputs.sum() * 0.0
        return F.cross_entropy(outputs, y, weight=self.class_weights)

    def predict(self, outputs: Tensor) -> np.ndarray:
        """Return predictions from `outputs` [N, n_outputs].

        They are float64 [N] in the target's units, shares float64 [N, K], or classes int64 [N].
        """
        if self.transform is None:
            return outputs.argmax(dim=1).cpu().numpy()
        return self.transform.predicted(outputs.double().cpu().numpy())


def _class_weights(counts: np.ndarray, balance: float, device: torch.device) -> Tensor:
    """Weights proportional to `n_c ** -balance` for n_c training regions of class c, with mean 1 over the regions."""
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -balance, 0.0)
    weights *= counts.sum() / (weights * counts).sum()
    return torch.as_tensor(weights, dtype=torch.float32, device=device)
