"""Learning curves of a method: the recipe's heads on its frozen embedding, trained on a few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from urbankit import registry
from urbankit.evaluation.few_labels import Draws, curve_records, curves_scored
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import Scored, TaskData
from urbankit.heads.base import FittedHead, RegionData, RegionHead
from urbankit.methods.base import Method
from urbankit.recipe.schema import Few
from urbankit.recipe.training_schema import Finetune
from urbankit.registry.component import Use
from urbankit.registry.contract import check_predictions, check_tensor
from urbankit.training.finetune import finetune
from urbankit.training.seeds import epoch_seed
from urbankit.utils.progress import Progress
from urbankit.utils.torch_modules import mean_and_std

VALIDATION = 5
"""Of the labels of heads that are trained by gradient steps, one in so many tells when to stop."""


@dataclass(frozen=True)
class FewTraining:
    """Trains heads on few labels of one city.

    Attributes:
        method: the method; nothing of it is changed.
        embeddings: its embeddings, [N, dim].
        tasks: the labels by task, of N regions.
        heads: the recipe's head by task.
        settings: the recipe's section `finetune`; of the method nothing is updated.
        few: numbers of labels and of draws.
        seed: seed of the training.
        regions: what heads may read beside the embedding, by split protocol.
        priors: by task, the predictions of a model of other cities that its head starts from, as `Prior.of` takes them.
        progress: where progress is shown.
    """

    method: Method
    embeddings: Tensor
    tasks: Mapping[str, TaskData]
    heads: Mapping[str, Use]
    settings: Finetune
    few: Few
    seed: int
    regions: Mapping[str, RegionData]
    priors: Mapping[str, NDArray[np.float64]]
    progress: Progress

    def curves(
        self, model: str, protocols: Sequence[str], region_ids: Sequence[str], xy: NDArray[np.float64]
    ) -> Scored:
        """Return the learning curves of the embeddings under the name `model`, and the areas below them.

        Args:
            model: the name in the results.
            protocols: protocols of few labels.
            region_ids: ids of the regions; draws do not depend on their order.
            xy: centres of the regions in metres, [N, 2].
        """
        curves: list[dict[str, Any]] = []
        total = len(protocols) * len(self.tasks) * len(self.few.labels)
        with self.progress.stage(f"few labels, {model}", total=total) as stage:
            for protocol in protocols:
                for task in self.tasks.values():
                    draws = Draws.of(protocol, task.labelled, region_ids, xy, self.few.draws)
                    for labels in self.few.labels:
                        test = draws.test(labels)
                        predictions = self._predictions(task, protocol, draws.train(labels), test)
                        curves += curve_records(model, protocol, task, labels, test, predictions)
                        stage.advance()
        return curves_scored(curves, self.tasks)

    def _predictions(
        self, task: TaskData, protocol: str, train: NDArray[np.int64], test: NDArray[np.int64]
    ) -> NDArray[Any]:
        """Predictions [draws, m] for the test regions [draws, m], of heads trained on `train` [draws, k]."""
        name = f"{protocol} {task.name} {train.shape[1]}"
        head = registry.get("head", self.heads[task.name].name)
        fitted = self.settings.paradigm != "linear_probe" and issubclass(head, FittedHead)
        reads_more = issubclass(head, RegionHead) and (head.reads_features or task.name in self.priors)
        if fitted and not reads_more:
            return self._fitted_at_once(head, task, name, train, test)
        paradigm = "linear_probe" if self.settings.paradigm == "linear_probe" else "finetune"
        settings = self.settings.model_copy(update={"paradigm": paradigm, "update": []})
        predictions = []
        for draw, (rows, tested) in enumerate(zip(train, test, strict=True)):
            held_out = np.zeros(len(rows), dtype=bool)
            held_out[::VALIDATION] = not fitted
            split = Split(np.sort(rows[~held_out]), np.sort(rows[held_out] if held_out.any() else rows), tested)
            result = finetune(
                self.method, self.embeddings, {task.name: task}, self.heads, split, settings, self.seed,
                name=f"{name} {draw}", regions=self.regions.get(protocol), priors=self.priors,
            )  # fmt: skip
            predictions.append(result.predictions[task.name][tested])
        return np.stack(predictions)

    def _fitted_at_once(
        self, head: type[FittedHead[Any]], task: TaskData, name: str, train: NDArray[np.int64], test: NDArray[np.int64]
    ) -> NDArray[Any]:
        torch.manual_seed(epoch_seed(self.seed, name, -1))
        mean, std = mean_and_std(self.embeddings)
        z = (self.embeddings.float() - mean) / std
        forms = None if task.classes else [task.form(rows) for rows in train]
        if forms is None:
            columns = [torch.as_tensor(task.y[train])]
        else:
            learned = [form.columns(task.y[rows]) for form, rows in zip(forms, train, strict=True)]
            columns = list(torch.as_tensor(np.stack(learned), dtype=torch.float32).unbind(dim=2))
        params, blocks = head.Params(**self.heads[task.name].params), self.method.blocks or [self.method.dim]
        rows, width = torch.as_tensor(train, device=z.device), task.outputs // len(columns)
        with torch.no_grad():
            fits = [head.fit_each(params, z, rows, labels.to(z.device), width, blocks) for labels in columns]
        for fit in fits:
            check_tensor(head, "fit_each()", fit, len(rows), len(z), width)
            check_predictions(head, fit)
        of_test = torch.cat(fits, dim=2).double().cpu().numpy()[np.arange(len(test))[:, None], test]
        if forms is None:
            return of_test.argmax(axis=2)
        return np.stack([form.predicted(values) for form, values in zip(forms, of_test, strict=True)])
