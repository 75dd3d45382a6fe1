"""TensorBoard event files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from urbankit.registry.component import Params
from urbankit.tracking.base import Loss, Score, TrackedRun, Tracker, means


class TensorBoardParams(Params):
    """The parameters of `TensorBoard`."""

    folder: Path | None = Field(
        None,
        description="Folder of the event files, with a folder for each run; default `tensorboard` in the run folder.",
    )


class TensorBoard(Tracker[TensorBoardParams]):
    """Event files for `tensorboard --logdir runs`: losses by epoch, scores by seed, the recipe as text.

    The tab HPARAMS has the values of the recipe with the mean scores over the seeds.
    """

    requires = ("tensorboard", "urbankit[tracking]")

    def start(self, run: TrackedRun) -> str:
        """Open the event files; a resumed run adds another file to the same folder."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional

        # An id without the run folder, which may be moved.
        name = "tensorboard" if self.params.folder is None else str(self.params.folder / run.name)
        self._recipe = dict(run.recipe)
        self._writer = SummaryWriter(str(run.folder / name))
        if run.id is None:
            self._writer.add_text("recipe", "".join(f"    {line}\n" for line in run.text.splitlines()))
        return name

    def log_losses(self, losses: Sequence[Loss]) -> None:
        """Add a scalar for each loss, at its epoch."""
        for loss in losses:
            self._writer.add_scalar(loss.key, loss.value, loss.epoch)
        self._writer.flush()  # a run that is killed does not send them again

    def log_scores(self, scores: Sequence[Score]) -> None:
        """Add a scalar for each score, at its seed, and the hyper-parameters with the mean scores."""
        for score in scores:
            self._writer.add_scalar(score.key, score.value, score.seed)
        mean = {f"mean/{key}": value for key, value in means(scores).items()}
        self._writer.add_hparams(self._recipe, mean, run_name=".")
        self._writer.flush()

    def end(self, status: str) -> None:
        """Close the event files."""
        self._writer.close()
