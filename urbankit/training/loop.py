"""The training loop of pre-training and fine-tuning: epochs, early stopping, checkpoints and resuming.

Every epoch seeds torch's generator from (seed, stage, epoch). A training that is resumed from its last checkpoint
therefore draws the same random numbers as one that was not interrupted. On a CPU the results are equal bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from urbankit.training import checkpoint
from urbankit.training.ema import WeightAverage
from urbankit.training.interrupt import interruptible
from urbankit.training.losses import Losses
from urbankit.training.optimizer import build_scheduler
from urbankit.training.seeds import epoch_seed, reseed
from urbankit.utils import processes
from urbankit.utils.errors import Diverged
from urbankit.utils.files import replace_file
from urbankit.utils.progress import Stage
from urbankit.utils.removal import remove_file


@dataclass
class Best:
    """The lowest validation loss, the epoch that reached it, and the model's state after that epoch."""

    score: float = math.inf
    epoch: int = -1
    state: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Training:
    """The progress of a training.

    Attributes:
        epoch: the next epoch, from 0.
        seconds: time of the epochs so far, without those that were lost in an interruption.
        history: one row for each epoch, part and loss.
        best: the best state by the name of the loss that decides.
        held_out: after pre-training, by name, the loss on held-out regions and that of a model that learned nothing.
        retrieval: after pre-training, by (block, other block), what `Recalled.beside` returns for held-out regions.
    """

    epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Best] = field(default_factory=dict)
    held_out: dict[str, tuple[float, float]] = field(default_factory=dict)
    retrieval: dict[tuple[str, str], tuple[float, float, float, float, int, int]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the entries of the manifest: number of epochs, best epoch (from 0) by loss, seconds an epoch."""
        return {
            "epochs": self.epoch,
            "best_epoch": {name: best.epoch for name, best in self.best.items()},
            "seconds_per_epoch": round(self.seconds / max(self.epoch, 1), 4),
        }


@dataclass
class Loop:
    """Trains `model` epoch by epoch.

    Attributes:
        stage: name of the training in messages, history and checkpoints.
        model: the module that is trained.
        optimizer: over the trainable parameters of `model`.
        epochs: number of epochs at most.
        patience: epochs without any improvement after which training stops. 0 runs all epochs and keeps the last
            state, as is done for a loss that was never finite.
        seed: seed of the training.
        judged: validation losses that decide; for each of them the state with the lowest is kept.
        schedule: of the learning rates over the epochs: `constant`, or `cosine` with a linear warm-up.
        average: decay of the running average of the weights, which is then validated and kept (see `WeightAverage`).
        last: the checkpoint file; None writes nothing.
        save_every: least seconds between two checkpoints.
        record: gets the rows of the history, those of each epoch after it, and those of a checkpoint at once.
    """

    stage: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    epochs: int
    patience: int
    seed: int
    judged: tuple[str, ...] = ("total",)
    schedule: Literal["constant", "cosine"] = "constant"
    average: float = 0.0
    last: Path | None = None
    save_every: float = 20.0
    record: Callable[[list[dict[str, Any]]], None] | None = None

    def __post_init__(self) -> None:
        self._average = WeightAverage(self.model, self.average)

    def run(
        self, train_epoch: Callable[[], Losses], validate: Callable[[], Losses], progress: Stage | None = None
    ) -> Training:
        """Train until the epochs or the patience are exhausted; the model is left in its last state.

        Args:
            train_epoch: trains one epoch and returns its mean losses, `total` among them.
            validate: returns the mean losses of the validation part.
            progress: shows the epochs.

        Raises:
            Diverged: a loss is not finite.
            KeyboardInterrupt: Ctrl-C or SIGTERM was received; the current epoch has been finished and saved.
        """
        training = self._as_in_first(self._resume(progress))
        scheduler = build_scheduler(self.optimizer, self.schedule, self.epochs, training.epoch)
        if progress and training.epoch:
            progress.advance(training.epoch)
        if self.record:
            self.record(training.history)
        saved = time.monotonic()
        with interruptible() as interrupted:
            while training.epoch < self.epochs and not self._exhausted(training):
                self._epoch(training, scheduler, train_epoch, validate, progress)
                if processes.in_any(interrupted()):
                    self._save(training)
                    raise KeyboardInterrupt
                if time.monotonic() - saved > self.save_every:
                    self._save(training)
                    saved = time.monotonic()
        self._save(training)
        if self.last is not None:
            remove_file(checkpoint.previous(self.last))
        without_best = [name for name in self.judged if name not in training.best]
        if without_best:
            with self._average.in_place():
                state = checkpoint.trained_state(self.model)
            training.best |= {name: Best(math.nan, training.epoch - 1, state) for name in without_best}
        return training

    def _epoch(
        self,
        training: Training,
        scheduler: LRScheduler,
        train_epoch: Callable[[], Losses],
        validate: Callable[[], Losses],
        progress: Stage | None,
    ) -> None:
        started = time.perf_counter()
        reseed(epoch_seed(self.seed, self.stage, training.epoch))
        self.model.train()
        losses = train_epoch()
        scheduler.step()
        self._average.update()
        self.model.eval()
        reseed(epoch_seed(self.seed, f"{self.stage} validation", 0))
        with torch.no_grad(), self._average.in_place():
            scores = validate()
            processes.check_same(losses["total"], f"{self.stage}: the loss of epoch {training.epoch}")
            # Losses may differ in their last digits, and all processes must stop after the same epoch.
            losses, scores = processes.shared(lambda: (losses, scores))
            if self.patience:
                self._judge(training, scores)
        if not math.isfinite(losses["total"]):
            raise Diverged(
                f"{self.stage}: the loss is {losses['total']} in epoch {training.epoch}. Lower the learning rate, or "
                "look at the report of prepare for extreme values."
            )
        row = {"stage": self.stage, "epoch": training.epoch}
        rows = [row | {"part": "train", "name": k, "value": v} for k, v in losses.items()]
        rows += [row | {"part": "validation", "name": k, "value": v} for k, v in scores.items()]
        training.history += rows
        if self.record:
            self.record(rows)
        training.epoch += 1
        training.seconds += time.perf_counter() - started
        if progress and scores:
            progress.advance(loss=losses["total"], validation=scores["total"])
        elif progress:
            progress.advance(loss=losses["total"])

    def _judge(self, training: Training, scores: Losses) -> None:
        improved = [n for n in self.judged if n in scores and scores[n] < training.best.get(n, Best()).score]
        state = checkpoint.trained_state(self.model) if improved else {}
        for name in improved:
            training.best[name] = Best(scores[name], training.epoch, state)

    def _exhausted(self, training: Training) -> bool:
        latest = max((best.epoch for best in training.best.values()), default=-1)
        return bool(self.patience) and training.epoch - 1 - latest >= self.patience

    def _save(self, training: Training) -> None:
        if self.last is None:
            return
        tensors = {f"model/{k}": v for k, v in checkpoint.trained_state(self.model).items()}
        tensors |= {f"best/{n}/{k}": v for n, best in training.best.items() for k, v in best.state.items()}
        tensors |= {f"average/{k}": v for k, v in self._average.state.items()}
        tensors |= checkpoint.optimizer_tensors(self.optimizer)
        best = {name: {"score": best.score, "epoch": best.epoch} for name, best in training.best.items()}
        facts = {
            "stage": self.stage,
            "epoch": training.epoch,
            "seconds": training.seconds,
            "best": best,
            "history": training.history,
        }
        if self.last.exists():
            replace_file(self.last, checkpoint.previous(self.last))
        checkpoint.save(self.last, tensors, facts)

    def _resume(self, progress: Stage | None) -> Training:
        """Continue from the last checkpoint, from the one before if that is damaged, or else from the start."""
        if self.last is None:
            return Training()
        for path in (self.last, checkpoint.previous(self.last)):
            if not path.exists():
                continue
            try:
                return self._read(path)
            except checkpoint.DamagedCheckpoint as error:
                if progress:
                    progress.say(f"{error.problems[0]}; continuing from the checkpoint before, or from the start")
        return Training()

    def _as_in_first(self, training: Training) -> Training:
        """Continue as the first of several processes does, which alone reads the checkpoint."""
        if processes.count() == 1:
            return training
        state = checkpoint.trained_state(self.model), checkpoint.optimizer_tensors(self.optimizer)
        training, weights, moments = processes.of_first(lambda: (training, _on_cpu(state[0]), _on_cpu(state[1])))
        if not processes.is_first():
            checkpoint.load_trained_state(self.model, weights)
            checkpoint.restore_optimizer(self.optimizer, moments)
        return training

    def _read(self, path: Path) -> Training:
        tensors, facts = checkpoint.load(path)
        before = checkpoint.trained_state(self.model)
        try:
            return self._restored(tensors, facts)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            checkpoint.load_trained_state(self.model, before)
            raise checkpoint.damaged(path, str(error).splitlines()[0]) from None

    def _restored(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Training:
        if facts["stage"] != self.stage:
            raise ValueError(f"it is of {facts['stage']}")
        state = checkpoint.with_prefix("model/", tensors)
        missing = checkpoint.trained_state(self.model).keys() - state.keys()
        if missing:
            raise ValueError(f"it lacks {min(missing)}")
        checkpoint.load_trained_state(self.model, state)
        checkpoint.restore_optimizer(self.optimizer, tensors)
        self._average.restore(checkpoint.with_prefix("average/", tensors), facts["epoch"])
        best = {
            name: Best(entry["score"], entry["epoch"], checkpoint.with_prefix(f"best/{name}/", tensors))
            for name, entry in facts["best"].items()
        }
        return Training(facts["epoch"], facts["seconds"], facts["history"], best)


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}
