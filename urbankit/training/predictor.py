"""What fine-tuning trains: a method with the heads of all tasks, and the labels that it may see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import TaskData
from urbankit.evaluation.transforms import TargetTransform
from urbankit.methods.base import Method
from urbankit.utils.torch_modules import NamedModules


class Predictor(nn.Module):
    """A method and the heads of all tasks.

    `embeddings` [N, dim] are the pre-trained ones: mean and spread of their first `described` rows (default all)
    standardise what heads see, and where nothing of the method is updated (`frozen`) they are what heads see.
    """

    def __init__(
        self,
        method: Method,
        heads: dict[str, nn.Module],
        embeddings: Tensor,
        frozen: bool,
        described: int | None = None,
    ) -> None:
        super().__init__()
        self.method = None if frozen else method
        self.heads = NamedModules(heads)
        self.register_buffer("shift", embeddings[:described].mean(dim=0), persistent=False)
        self.register_buffer("scale", embeddings[:described].std(dim=0).clamp(min=1e-6), persistent=False)
        self.register_buffer("embeddings", embeddings if frozen else None, persistent=False)

    def forward(self, regions: Tensor) -> dict[str, Tensor]:
        """Outputs [B, n_outputs] of every task for region indices int64 [B]."""
        z = self.embeddings[regions] if self.method is None else self.method(regions)
        z = self.standardised(z)
        return {name: head(z) for name, head in self.heads.items()}

    def standardised(self, z: Tensor) -> Tensor:
        """Embeddings [B, dim] as heads see them."""
        return (z.float() - self.shift) / self.scale

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Every trainable parameter by its part: those of the method, and `heads`."""
        parts = {} if self.method is None else self.method.parts()
        return parts | {"heads": list(self.heads.parameters())}


class Labels:
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
        """Mean loss of `outputs` [B, n_outputs] for labelled `regions` int64 [B].

        Classes without a training region count for nothing: where there is no other the loss is zero.
        """
        y = self.y[regions]
        if self.data.kind == "regression":
            return F.mse_loss(outputs.squeeze(1), y)
        if not self.class_weights[y].any():
            return outputs.sum() * 0.0
        return F.cross_entropy(outputs, y, weight=self.class_weights)

    def predict(self, outputs: Tensor) -> np.ndarray:
        """What `outputs` [N, n_outputs] say: float64 [N] in the target's own units, or class numbers int64 [N]."""
        if self.data.kind == "classification":
            return outputs.argmax(dim=1).cpu().numpy()
        return self.transform.inverse(outputs.squeeze(1).double().cpu().numpy())


def _class_weights(counts: np.ndarray, balance: float, device: torch.device) -> Tensor:
    """Weights proportional to (training members of the class) ** -balance, with mean 1 over the members."""
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -balance, 0.0)
    weights *= counts.sum() / (weights * counts).sum()
    return torch.as_tensor(weights, dtype=torch.float32, device=device)
