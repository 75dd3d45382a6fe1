"""Runs of MLflow."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field

from urbankit.registry.component import Params
from urbankit.tracking.base import Loss, Score, TrackedRun, Tracker, means

SETTINGS = {
    # By default MLflow waits for minutes for a server that does not answer; the run waits with it.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Variables of MLflow that are set unless the environment has them."""

MOST_METRICS, MOST_PARAMS, LONGEST_VALUE, LONGEST_NAME = 1000, 100, 500, 250
"""What MLflow takes in one request, and the longest value and name of a parameter that every version takes."""

STATUS = {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflowParams(Params):
    """The parameters of `MLflow`."""

    uri: str | None = Field(
        None,
        description="Tracking URI, such as `sqlite:////data/mlflow.db` or `http://localhost:5000`; default that of the"
        " environment variable MLFLOW_TRACKING_URI, or else what MLflow uses by default. Leave passwords to the"
        " environment: a run folder contains its recipe.",
    )
    experiment: str = Field(
        "urbankit", min_length=1, description="Name of the experiment, which is created if missing."
    )


class MLflow(Tracker[MLflowParams]):
    """A run in MLflow: the recipe as parameters, losses by epoch, scores by seed, the report and figures as artifacts.

    The metric `mean/…` is the mean score over the seeds.
    """

    requires = ("mlflow", "urbankit[mlflow]")

    def start(self, run: TrackedRun) -> str:
        """Create a run of the experiment, or continue the one of `run.id`."""
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Param  # noqa: PLC0415 - optional
        from mlflow.tracking import MlflowClient  # noqa: PLC0415 - optional

        self._client = MlflowClient(tracking_uri=self.params.uri)
        if run.id is not None:
            self._client.update_run(run.id, status="RUNNING")
            self._id = run.id
            return run.id
        experiment = self._client.get_experiment_by_name(self.params.experiment)
        number = experiment.experiment_id if experiment else self._client.create_experiment(self.params.experiment)
        self._id = str(self._client.create_run(number, run_name=run.name).info.run_id)
        params = [
            Param(_name(key)[:LONGEST_NAME], str(value)[:LONGEST_VALUE] or "''") for key, value in run.recipe.items()
        ]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._id, params=params[first : first + MOST_PARAMS])
        return self._id

    def log_losses(self, losses: Sequence[Loss]) -> None:
        """Log a metric for each loss, at its epoch."""
        self._log((loss.key, loss.value, loss.epoch) for loss in losses)

    def log_scores(self, scores: Sequence[Score]) -> None:
        """Log a metric for each score, at its seed, and the means over the seeds."""
        self._log((score.key, score.value, score.seed) for score in scores)
        self._log((f"mean/{key}", value, 0) for key, value in means(scores).items())

    def log_files(self, files: Sequence[Path]) -> None:
        """Log the files as artifacts."""
        for file in files:
            self._client.log_artifact(self._id, str(file), "figures" if file.parent.name == "figures" else None)

    def end(self, status: str) -> None:
        """Set the status of the run."""
        self._client.set_terminated(self._id, STATUS[status])

    def _log(self, values: Iterable[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415 - optional

        now = int(time.time() * 1000)
        metrics = [Metric(_name(key), value, now, step) for key, value, step in values]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[first : first + MOST_METRICS])


def _name(key: str) -> str:
    """A key with the characters that MLflow allows in names."""
    return re.sub(r"[^\w\-./: ]", "_", key, flags=re.ASCII)
