"""Runs of Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import Field

from urbankit.registry.component import Params
from urbankit.tracking.base import Loss, Score, TrackedRun, Tracker, means


class WandbParams(Params):
    """The parameters of `Wandb`."""

    project: str = Field("urbankit", min_length=1, description="Name of the project.")
    mode: Literal["online", "offline"] | None = Field(
        None,
        description="`offline` writes files into the run folder, for `wandb sync`; default that of the environment"
        " variable WANDB_MODE, or online.",
    )


class Wandb(Tracker[WandbParams]):
    """A run of Weights & Biases: the recipe as config, losses by epoch, scores in the summary, the report as files.

    A score without a seed in its name is the mean over the seeds. The key is read from the environment variable
    WANDB_API_KEY, or from `wandb login`.
    """

    requires = ("wandb", "urbankit[wandb]")

    def start(self, run: TrackedRun) -> str:
        """Start a run of the project, or continue the one of `run.id`."""
        import wandb  # noqa: PLC0415 - optional

        self._run = wandb.init(
            project=self.params.project, name=run.name, id=run.id, resume=None if run.id is None else "allow",
            config=dict(run.recipe), dir=str(run.folder), mode=self.params.mode,
            settings=wandb.Settings(console="off"),
        )  # fmt: skip
        return str(self._run.id)

    def log_losses(self, losses: Sequence[Loss]) -> None:
        """Log the losses of each epoch, over an axis of epochs for each training."""
        for (stage, epoch), rows in groupby(losses, key=lambda loss: (loss.stage, loss.epoch)):
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/epoch")
            self._run.log({f"{stage}/epoch": epoch} | {loss.key: loss.value for loss in rows})

    def log_scores(self, scores: Sequence[Score]) -> None:
        """Put the scores of every seed, and their means, into the summary."""
        self._run.summary.update({f"{score.key}/seed {score.seed}": score.value for score in scores} | means(scores))

    def log_files(self, files: Sequence[Path]) -> None:
        """Upload the files."""
        for file in files:
            base = file.parents[file.parent.name == "figures"]
            self._run.save(str(file), base_path=str(base), policy="now")

    def end(self, status: str) -> None:
        """Finish the run."""
        self._run.finish(exit_code=0 if status == "done" else 1)
