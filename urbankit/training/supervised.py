"""The supervised part of pre-training: heads that read the embedding and see labels of the training cities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.evaluation.tasks import TaskData
from urbankit.methods.base import Method
from urbankit.utils.torch_modules import NamedModules


class SupervisedMethod(nn.Module):
    """A method in pre-training with a linear head for each task on its standardised embedding.

    A target of numbers is brought into the form of its task and then standardised within each city, so that its level
    and unit, which differ from city to city, are not learned. Errors are squared; classes have the cross-entropy.

    Args:
        method: The method.
        tasks: The labels of the N regions by task.
        member: The city of each region, int64 [N].
        weight: The weight of the mean loss of the tasks.
    """

    def __init__(self, method: Method, tasks: Mapping[str, TaskData], member: NDArray[np.int64], weight: float) -> None:
        super().__init__()
        self.method, self.weight = method, weight
        self.heads: NamedModules[nn.Module] = NamedModules()
        self._labels: dict[str, Tensor] = {}
        for name, task in tasks.items():
            # The batch statistics standardise: the scale of an embedding changes while it is trained.
            self.heads[name] = nn.Sequential(
                nn.BatchNorm1d(method.dim, affine=False), nn.Linear(method.dim, task.outputs)
            )
            self._labels[name] = torch.as_tensor(task.y if task.classes else within_cities(task, member))

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Return the losses of the method, and those of the tasks on the labelled among `regions` (int64 [B])."""
        losses, embeddings = self.method.loss_and_embedding(regions)
        of_tasks = {}
        for name, head in self.heads.items():
            labels = self._labels[name].to(regions.device)[regions]
            mask = torch.isfinite(labels).all(dim=1) if labels.is_floating_point() else labels >= 0
            if int(mask.sum()) > 1:
                outputs = head(embeddings[mask])
                of_tasks[f"supervised {name}"] = (
                    F.mse_loss(outputs, labels[mask])
                    if labels.is_floating_point()
                    else F.cross_entropy(outputs, labels[mask])
                )
        if not of_tasks:
            return losses
        supervised = torch.stack(list(of_tasks.values())).mean()
        return losses | of_tasks | {"total": losses["total"] + self.weight * supervised}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parts of the method, and the heads as the part `supervised`."""
        return {**self.method.parts(), "supervised": list(self.heads.parameters())}


def within_cities(task: TaskData, member: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the learned labels of a task standardised within each city, float32 [N, outputs], NaN without a label.

    A city with fewer than two labels, or equal ones, has none. A coordinate of a distribution that is the same in all
    regions of a city is 0 there, unless all coordinates are.
    """
    values = np.full((len(member), task.outputs), np.nan)
    labelled = np.flatnonzero(task.labelled)
    values[labelled] = task.form(labelled).columns(task.y[labelled])
    for city in np.unique(member[labelled]):
        rows = labelled[member[labelled] == city]
        y = values[rows]
        # Equal labels differ by rounding, coordinates by that of logarithms.
        size = np.maximum(np.abs(y).max(axis=0), 1.0 if task.parts else 0.0)
        constant = y.std(axis=0) <= 1e-12 * size
        z = (y - y.mean(axis=0)) / np.where(constant, 1.0, y.std(axis=0))
        values[rows] = np.nan if constant.all() else np.where(constant, 0.0, z)
    return values.astype(np.float32)
