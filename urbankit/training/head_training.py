"""Training of heads on one split after another, each kept in a checkpoint, and cross-fitting."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from urbankit import registry
from urbankit.evaluation.cross_fit import CrossFit
from urbankit.evaluation.means import Means
from urbankit.evaluation.splits import Split, make_folds
from urbankit.evaluation.tasks import TaskData
from urbankit.heads.base import FittedHead, RegionData
from urbankit.methods.base import Method
from urbankit.recipe.schema import Predict
from urbankit.recipe.training_schema import Finetune
from urbankit.registry.component import Use
from urbankit.training.checkpoint import DamagedCheckpoint, load_trained_state, trained_state
from urbankit.training.finetune import Finetuned, finetune
from urbankit.utils.progress import Progress
from urbankit.utils.removal import remove_file


@dataclass
class HeadTraining:
    """Trains heads on a pre-trained method. Every split starts from the same state of the method and restores it.

    Attributes:
        method: The method in its pre-trained state, frozen as `settings` say.
        embeddings: Its embeddings, [N, dim].
        tasks: The labels by task, of N regions.
        heads: The recipe's head by task.
        settings: The recipe's section `finetune`.
        folder: The folder of the checkpoints. A split that has one is read from it.
        progress: Where progress is shown.
        reference_rows: As in `finetune`.
        regions: What heads may read beside the embedding, by split protocol.
        priors: By task, the predictions of a model of other cities that its head starts from, as `Prior.of` takes them.
    """

    method: Method
    embeddings: Tensor
    tasks: Mapping[str, TaskData]
    heads: Mapping[str, Use]
    settings: Finetune
    folder: Path
    progress: Progress
    reference_rows: int | None = None
    regions: Mapping[str, RegionData] = field(default_factory=dict)
    priors: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    pretrained: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.pretrained = trained_state(self.method)

    def fit(
        self, split: Split, protocol: str, seed: int, name: str, file: str, tasks: Collection[str] | None = None
    ) -> Finetuned:
        """Train the heads on one split: all tasks together, or one after another if `settings.joint` is false.

        The labels of the validation part turn predictions of targets learned in logarithms into means.

        Args:
            split: The regions to train on, to stop training by, and to test on.
            protocol: The split protocol.
            seed: Seed of the training.
            name: Name of the stage in the history, in messages and in the progress display.
            file: Name of the checkpoint, without suffix.
            tasks: The tasks to train; all by default.
        """
        result = self._fit_tasks(split, protocol, seed, name, file, tasks)
        for task in result.predictions:
            validation = split.validation[self.tasks[task].labelled[split.validation]]
            result.means[task] = Means.fit(self.tasks[task], validation, result.predictions[task][validation])
        return result

    def _fit_tasks(
        self, split: Split, protocol: str, seed: int, name: str, file: str, tasks: Collection[str] | None
    ) -> Finetuned:
        selected = [task for task in self.tasks if tasks is None or task in tasks]
        if self.settings.joint or len(selected) < 2:
            return self._fit(split, protocol, seed, name, file, selected)
        return Finetuned.of_tasks(
            [self._fit(split, protocol, seed, name, f"{file}-{task}", [task]) for task in selected]
        )

    def _fit(self, split: Split, protocol: str, seed: int, name: str, file: str, tasks: list[str]) -> Finetuned:
        """Train the heads of `tasks` together, or read them from their checkpoint."""
        path = self.folder / f"{file}.safetensors"
        last = path.with_suffix(".last.safetensors")
        if path.exists():
            try:
                result = Finetuned.load(path)
            except DamagedCheckpoint as error:
                self.progress.say(f"{error.problems[0]}; the split is trained again")
            else:
                remove_file(last)  # a process may have been killed before it did
                return result
        title = name if self.settings.joint else f"{name}, {tasks[0]}"
        with self.progress.stage(title, total=self.settings.epochs) as shown:
            result = finetune(
                self.method, self.embeddings, {task: self.tasks[task] for task in tasks},
                {task: self.heads[task] for task in tasks}, split, self.settings, seed, name=name, last=last,
                progress=shown, reference_rows=self.reference_rows, regions=self.regions.get(protocol),
                priors=self.priors,
            )  # fmt: skip
        # The labels of this task and split must not reach the next, nor another `HeadTraining`.
        load_trained_state(self.method, self.pretrained)
        result.save(path)
        remove_file(last)
        return Finetuned.load(path)

    def cross_fit(self, settings: Predict, xy: NDArray[np.float64], seed: int, blocks: int) -> dict[str, CrossFit]:
        """Fit the heads without each fold of the labels, and once to all labels.

        A head that is fitted at once gets all labels outside the fold. Heads that are trained by gradient steps are
        trained together if `settings.joint`; the next fold tells when to stop.

        Args:
            settings: The recipe's section `predict`.
            xy: Centres of the regions in metres, [N, 2]; regions that no task labels may be missing at the end.
            seed: Seed of the folds and of the training.
            blocks: Blocks along each side of the grid of spatial folds.

        Returns:
            Cross-fitted predictions by task.

        Raises:
            UserError: If the labels of a task are too few for the folds.
        """
        groups = [[task] for task in self.tasks if self._is_alone(task)]
        trained = [task for task in self.tasks if not self._is_alone(task)]
        results = {}
        for group in [*groups, trained] if trained else groups:
            labelled = np.any([self.tasks[task].labelled for task in group], axis=0)
            fold = np.full(len(labelled), -1, dtype=np.int64)
            rows = np.flatnonzero(labelled)
            fold[rows] = make_folds(settings.split, xy[rows], settings.folds, seed, blocks)
            fits = [self._fit_without(k, fold, settings, group, seed) for k in range(settings.folds + 1)]
            for task in group:
                data = self.tasks[task]
                arrays = [(fit.outputs if data.classes else fit.predictions)[task] for fit in fits]
                results[task] = CrossFit(data, np.where(data.labelled, fold, -1), np.stack(arrays[:-1]), arrays[-1])
        return {task: results[task] for task in self.tasks}

    def approximations(self, splits: Iterable[Split]) -> list[str]:
        """Return sentences on what the heads approximate or sample in the largest of the splits; none without one."""
        largest, sentences = max(splits, key=lambda split: len(split.train), default=None), []
        if largest is None:
            return []
        for task, data in self.tasks.items():
            if self._is_fitted(task):
                use = self.heads[task]
                kind = registry.get("head", use.name)
                n = int(data.labelled[largest.train].sum())
                approximations = kind.approximations(kind.Params(**use.params), n)
                sentences += [f"task {task}: {sentence}" for sentence in approximations]
        return sentences

    def _is_alone(self, task: str) -> bool:
        """Whether no other task affects how the head is trained."""
        return self._is_fitted(task) or not self.settings.joint

    def _is_fitted(self, task: str) -> bool:
        linear = self.settings.paradigm == "linear_probe"
        return not linear and issubclass(registry.get("head", self.heads[task].name), FittedHead)

    def _fit_without(
        self, k: int, fold: NDArray[np.int64], settings: Predict, group: list[str], seed: int
    ) -> Finetuned:
        """Fit the heads of `group` without fold k, or with k = `settings.folds` to all labels."""
        name = f"{settings.split}-{k}"
        file = f"{name}-{group[0]}" if self._is_alone(group[0]) else name
        train = (fold >= 0) & (fold != k)
        stops = train
        if self._is_fitted(group[0]):
            name = file
        else:
            stops = fold == (k + 1) % settings.folds
            train = train & ~stops
        split = Split(*(np.flatnonzero(mask) for mask in (train, stops, fold == k)))
        return self._fit_tasks(split, settings.split, seed, f"predict {name}", file, group)
