"""The Python interface: `City`, `Run` and `run`, as `import urbankit` offers them."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pandas as pd

from urbankit.analysis import queries
from urbankit.city import city
from urbankit.city.prepare import prepare as preparation
from urbankit.export.export import export
from urbankit.pipeline import run as pipeline
from urbankit.pipeline.model import Model
from urbankit.pipeline.predict_run import predict_run
from urbankit.recipe.recipe import Recipe
from urbankit.report.rewrite import rewrite_report
from urbankit.runs import folder
from urbankit.runs.context import RunContext
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress
from urbankit.utils.written import check_replaceable


class City(city.City):
    """A prepared city: N regions, and the data aligned to them, as numpy, scipy and pandas objects.

    `City.prepare` makes it from a city file, and `City.open` opens it. A missing value is NaN or None, or has no row.

    >>> city = City.prepare("my-city.yaml", out="cities/mine")
    >>> city.coverage()

    Attributes:
        path: The folder of the city.
        name: The name of the city.
        crs: The projected CRS, in metres, of `regions` and `xy`; empty if the regions have no geometry.
        content_hash: The hash of all data of the city.
        manifest: The content of `manifest.json`.
    """

    @classmethod
    def prepare(
        cls,
        spec: str | Path,
        *,
        data: str | Path | None = None,
        out: str | Path | None = None,
        progress: Progress | None = None,
    ) -> City:
        """Prepare a city from its city file. If the city exists, only what has changed is prepared again.

        Args:
            spec: The city file, which names the sources.
            data: The folder that its paths are relative to; by default the folder of the city file.
            out: The folder of the prepared city; by default `cities/NAME`.
            progress: Where progress is shown; nowhere by default.

        Returns:
            The prepared city.

        Raises:
            UserError: If the city file or a source is wrong; the message lists all mistakes.
            RunError: If the disk is full.
        """
        return cls.open(preparation.prepare(spec, data=data, out=out, progress=progress))


class Run(folder.Run):
    """A finished run: its embeddings, predictions, metrics and figures, read from the run folder.

    `Run.open` opens it, and `urbankit.run` returns it. A property reads its file when it is first used, and raises
    `UserError` if the file is missing or damaged.

    >>> run = Run.open("runs/new-york")
    >>> print(run.table())
    >>> run.embeddings.plot()

    Attributes:
        path: The run folder.
    """

    export = export

    def neighbours(self, region_id: str, *, k: int = 5, view: str | None = None) -> pd.DataFrame:
        """Return the regions most similar to a region.

        Args:
            region_id: The id of the region.
            k: The number of neighbours.
            view: Compare only the block of this view or modality, such as `poi`; by default whole embeddings.

        Returns:
            The region itself and its `k` neighbours: `region_id`, `similarity` (the cosine of embeddings about their
            mean), `distance_km`, and a column for each target.

        Raises:
            UserError: If the run has no such region, view or modality.
        """
        return queries.neighbours(RunContext.of(self, prepare=False), region_id, k, view)

    def clusters(self, k: int) -> queries.Clusters:
        """Return the regions in `k` clusters of Ward's hierarchy.

        Args:
            k: The number of clusters; there are fewer if embeddings are equal.

        Returns:
            `summary`, one row for each cluster with size, targets and typical regions, and `regions`, the cluster of
            every region.

        Raises:
            UserError: If there are fewer regions than clusters.
        """
        return queries.clusters(RunContext.of(self, prepare=False), k)

    def report(self, out: str | Path | None = None, *, figures: bool = True, progress: Progress | None = None) -> Path:
        """Write the report of the run again, with its figures and model card.

        Args:
            out: The file of the page, by default `report.html` in the run's folder.
            figures: Whether figures are drawn again.
            progress: Where progress is shown; nowhere by default.

        Returns:
            The path of the page.

        Raises:
            UserError: If the page cannot be written.
        """
        path = None if out is None else Path(out)
        if path is not None:
            check_replaceable(path)
        return rewrite_report(self, path, figures=figures, progress=progress).path

    def predict(
        self,
        city: City | str | Path | None = None,
        *,
        tasks: str | list[str] | None = None,
        interval: float | None = None,
        split: str | None = None,
        progress: Progress | None = None,
    ) -> gpd.GeoDataFrame:
        """Predict the tasks for every region, labelled or not, with intervals or class probabilities.

        Args:
            city: Another city: a prepared city, its folder, or a city file; see `Model.predict`. By default the city of
                the run.
            tasks: One or more tasks; by default all of the run.
            interval: The share of regions that an interval should cover; by default that of the recipe.
            split: The split protocol that calibrates intervals and probabilities: `random` if regions without labels
                lie between labelled ones, `spatial` if whole districts have no labels; by default that of the recipe.
            progress: Where progress is shown; nowhere by default.

        Returns:
            One row for each region: `region_id`, `geometry`, and for each task the columns that
            `urbankit.runs.prediction_table.prediction_table` lists.

        Raises:
            UserError: If an argument is wrong, or the run has no predictions.
        """
        if city is not None:
            if split is not None:
                raise UserError("predict: `split` goes without `city`; intervals are calibrated in the city of the run")
            return Model.open(self.path).predict(city, interval, tasks=tasks, progress=progress)
        return predict_run(self, tasks=tasks, interval=interval, split=split, progress=progress).table


def run(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run a recipe: prepare the city, pre-train, embed, fine-tune, score and report.

    The stages are functions of `urbankit.pipeline.stages`.

    Args:
        recipe: A recipe, a recipe file, or the name of a shipped recipe.
        out: The run folder; by default `runs/NAME`. It must be empty, unless `resume` is set.
        resume: Continue the interrupted run in `out`, to the same result.
        progress: Where progress is shown; by default the run shows its own.

    Returns:
        The finished run.

    Raises:
        UserError: If the input is wrong; nothing is left in `out` then.
        RunError: If the run fails, for example because a loss is not finite or the disk is full.
    """
    return Run(pipeline.run(recipe, out, resume=resume, progress=progress).path)
