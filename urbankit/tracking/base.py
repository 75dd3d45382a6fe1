"""What a tracker is: it sends the losses, scores and files of a run to an experiment tracker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import ClassVar, NamedTuple

from urbankit.registry.component import Component, P


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker is told about.

    Attributes:
        name: The name of the run folder.
        folder: The run folder.
        recipe: The values of the resolved recipe by dotted key; lists and null are JSON text.
        text: The resolved recipe as YAML.
        id: What `start` returned when the run was started; None for a new run.
    """

    name: str
    folder: Path
    recipe: Mapping[str, str | int | float | bool]
    text: str
    id: str | None = None


class Loss(NamedTuple):
    """One loss of one epoch, a row of `history.parquet`.

    Attributes:
        stage: The training: `pretrain`, or `finetune SPLIT SEED`.
        epoch: The epoch, from 0.
        part: `train` or `validation`.
        name: The name of the loss: `total`, or a part of it.
        value: The mean over the epoch.
    """

    stage: str
    epoch: int
    part: str
    name: str
    value: float

    @property
    def key(self) -> str:
        """A name for the curve over the epochs: `pretrain/total/train`."""
        return f"{self.stage}/{self.name}/{self.part}"


class Score(NamedTuple):
    """One final score, a row of `metrics.parquet`.

    Attributes:
        task: The task.
        model: The method, or `floor:NAME`.
        split: The split protocol.
        seed: The seed of the split.
        metric: The metric.
        value: The value, a finite number.
    """

    task: str
    model: str
    split: str
    seed: int
    metric: str
    value: float

    @property
    def key(self) -> str:
        """A name that all seeds share: `co/random/r2` of the method, `co/random/r2/floor:mean` of a floor."""
        name = f"{self.task}/{self.split}/{self.metric}"
        return f"{name}/{self.model}" if self.model.startswith("floor:") else name


def means(scores: Iterable[Score]) -> dict[str, float]:
    """Return the mean of the scores over the seeds, by key."""
    values: dict[str, list[float]] = {}
    for score in scores:
        values.setdefault(score.key, []).append(score.value)
    return {key: fmean(one) for key, one in values.items()}


class Tracker(Component[P], ABC):
    """Sends what a run computes to an experiment tracker.

    A run calls `start`, then `log_losses` and `log_scores` as numbers come, and at the end `log_files` and `end`. It
    sends every number once, also if it is interrupted and resumed. If a method raises, the run prints one warning and
    goes on without the tracker.

    Attributes:
        requires: The module that the tracker imports, and what `pip install` takes to install it; None if it needs no
            optional package.

    Args:
        params: The tracker's `Params`.
    """

    requires: ClassVar[tuple[str, str] | None] = None

    def __init__(self, params: P) -> None:
        self.params = params

    @classmethod
    def is_installed(cls) -> bool:
        """Whether the optional package of the tracker is installed."""
        return cls.requires is None or find_spec(cls.requires[0]) is not None

    @abstractmethod
    def start(self, run: TrackedRun) -> str:
        """Begin a run in the tracker, or continue the one of `run.id`.

        Args:
            run: The run.

        Returns:
            What identifies the run in the tracker: `run.id`, if there is one.
        """

    @abstractmethod
    def log_losses(self, losses: Sequence[Loss]) -> None:
        """Send losses.

        Args:
            losses: All losses of one or more epochs, in the order of the epochs.
        """

    @abstractmethod
    def log_scores(self, scores: Sequence[Score]) -> None:
        """Send the final scores.

        Args:
            scores: Those of the method and of the floors. Undefined scores are left out.
        """

    def log_files(self, files: Sequence[Path]) -> None:
        """Send files of the finished run; does nothing by default.

        Args:
            files: The recipe, the metrics, the report and the figures, in the run folder.
        """

    def end(self, status: str) -> None:
        """End the run, or this part of it; does nothing by default.

        Args:
            status: `done`, `interrupted` or `failed`.
        """
