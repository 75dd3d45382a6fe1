"""The loop that pre-training and fine-tuning share: epochs, early stopping, checkpoints, resuming, Ctrl-C.

Every epoch seeds torch's generator from (seed, stage, epoch). A training that was cut short and goes on from its last
checkpoint therefore draws what it would have drawn, and ends in the same bits on a CPU.
"""

from __future__ import annotations

import hashlib
import math
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from urbankit.training import checkpoint
from urbankit.training.ema import WeightAverage
from urbankit.utils.errors import Diverged
from urbankit.utils.progress import Stage

Losses = dict[str, float]


@dataclass
class Best:
    """The lowest validation loss so far, when it was reached, and what the model was then."""

    score: float = math.inf
    epoch: int = -1
    state: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Training:
    """What a training has reached: the next epoch, the history of its losses, the best state by judged loss.

    `seconds` is the time of the epochs it counts; those that a kill lost are trained, and timed, again.
    """

    epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Best] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """For the manifest: epochs that were run, the best one (from 0) by judged loss, seconds an epoch."""
        return {
            "epochs": self.epoch,
            "best_epoch": {name: best.epoch for name, best in self.best.items()},
            "seconds_per_epoch": round(self.seconds / max(self.epoch, 1), 4),
        }


@dataclass
class Loop:
    """Trains `model` epoch by epoch.

    `judged` names the validation losses that decide: for each of them the state with the lowest is kept, and training
    stops once none has improved for `patience` epochs. With `patience` 0 all epochs run and the last state is the one
    kept, as it is for a loss that was never finite. `schedule` is of the learning rates over the epochs: `constant`, or
    `cosine`, which rises over the first tenth and falls to zero. With `average` the running average of the weights (see
    `WeightAverage`) is what is validated and kept. `last` is the checkpoint file; without it nothing is written.
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

    def __post_init__(self) -> None:
        self._average = WeightAverage(self.model, self.average)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]

    def run(
        self, train_epoch: Callable[[], Losses], validate: Callable[[], Losses], shown: Stage | None = None
    ) -> Training:
        """Train until the epochs or the patience are spent; the model is left in its last state.

        `train_epoch` does one epoch and returns its mean losses, `total` among them; `validate` returns those of the
        validation part. Raises `RunError` when a loss is no longer finite.
        """
        training = self._resume()
        if shown and training.epoch:
            shown.advance(training.epoch)
        saved = time.monotonic()
        with interruptible() as interrupted:
            while training.epoch < self.epochs and not self._exhausted(training):
                self._epoch(training, train_epoch, validate, shown)
                if interrupted():
                    self._save(training)
                    raise KeyboardInterrupt
                if time.monotonic() - saved > self.save_every:
                    self._save(training)
                    saved = time.monotonic()
        self._save(training)
        unjudged = [name for name in self.judged if name not in training.best]
        if unjudged:
            with self._average.in_place():
                state = trained_state(self.model)
            training.best |= {name: Best(math.nan, training.epoch - 1, state) for name in unjudged}
        return training

    def _epoch(
        self,
        training: Training,
        train_epoch: Callable[[], Losses],
        validate: Callable[[], Losses],
        shown: Stage | None,
    ) -> None:
        started = time.perf_counter()
        reseed(epoch_seed(self.seed, self.stage, training.epoch))
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * (cosine(training.epoch, self.epochs) if self.schedule == "cosine" else 1.0)
        self.model.train()
        losses = train_epoch()
        self._average.update()
        self.model.eval()
        reseed(epoch_seed(self.seed, f"{self.stage} validation", 0))
        with torch.no_grad(), self._average.in_place():
            scores = validate()
            if self.patience:
                self._judge(training, scores)
        if not math.isfinite(losses["total"]):
            raise Diverged(
                f"{self.stage}: the loss is {losses['total']} in epoch {training.epoch}. Lower the learning rate, or "
                "look at the report of prepare for extreme values."
            )
        row = {"stage": self.stage, "epoch": training.epoch}
        training.history += [row | {"part": "train", "name": k, "value": v} for k, v in losses.items()]
        training.history += [row | {"part": "validation", "name": k, "value": v} for k, v in scores.items()]
        training.epoch += 1
        training.seconds += time.perf_counter() - started
        if shown:
            shown.advance(loss=losses["total"], **({"validation": scores["total"]} if scores else {}))

    def _judge(self, training: Training, scores: Losses) -> None:
        improved = [n for n in self.judged if n in scores and scores[n] < training.best.get(n, Best()).score]
        state = trained_state(self.model) if improved else {}
        for name in improved:
            training.best[name] = Best(scores[name], training.epoch, state)

    def _exhausted(self, training: Training) -> bool:
        latest = max((best.epoch for best in training.best.values()), default=-1)
        return bool(self.patience) and training.epoch - 1 - latest >= self.patience

    def _save(self, training: Training) -> None:
        if self.last is None:
            return
        tensors = {f"model/{k}": v for k, v in trained_state(self.model).items()}
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
        checkpoint.save(self.last, tensors, facts)

    def _resume(self) -> Training:
        if self.last is None or not self.last.exists():
            return Training()
        tensors, facts = checkpoint.load(self.last)
        try:
            return self._restored(tensors, facts)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise checkpoint.damaged(self.last, str(error).splitlines()[0]) from None

    def _restored(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Training:
        if facts["stage"] != self.stage:
            raise ValueError(f"it is of {facts['stage']}")
        state = _below("model/", tensors)
        missing = trained_state(self.model).keys() - state.keys()
        if missing:
            raise ValueError(f"it lacks {min(missing)}")
        load_trained_state(self.model, state)
        checkpoint.restore_optimizer(self.optimizer, tensors)
        self._average.restore(_below("average/", tensors), facts["epoch"])
        best = {
            name: Best(of["score"], of["epoch"], _below(f"best/{name}/", tensors)) for name, of in facts["best"].items()
        }
        return Training(facts["epoch"], facts["seconds"], facts["history"], best)


class Mean:
    """The mean of losses over the batches that have them, weighted by size."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = defaultdict(float)
        self._weights: dict[str, int] = defaultdict(int)

    def add(self, losses: dict[str, Tensor], weight: int) -> None:
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value.detach() * weight
            self._weights[name] += weight

    def values(self) -> Losses:
        return {name: float(total) / self._weights[name] for name, total in self._sums.items()}


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters that train and of the buffers that are saved."""
    still = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: value.detach().clone() for name, value in model.state_dict().items() if name not in still}


def load_trained_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put back what `trained_state` copied."""
    model.load_state_dict(state, strict=False)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def cosine(epoch: int, epochs: int) -> float:
    """The share of the learning rate in an epoch: a linear rise over the first tenth, then half a cosine to zero."""
    rise = max(1, epochs // 10)
    if epoch < rise:
        return (epoch + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (epoch + 1 - rise) / max(1, epochs - rise)))


def epoch_seed(seed: int, stage: str, epoch: int) -> int:
    """A seed that depends on all three and on nothing else."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}/{epoch}".encode()).digest()[:8], "little") >> 1


def reseed(seed: int) -> None:
    """As `torch.manual_seed`, which also notes a stack trace for each kind of absent device: 0.2 ms, twice an epoch."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turns Ctrl-C and SIGTERM into a flag, so that the epoch under way ends and is saved; a second stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False

    def ask(signum: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {kind: signal.signal(kind, ask) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
