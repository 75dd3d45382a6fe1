"""A run with as much of its city as is still available, for reports and analyses."""

from __future__ import annotations

from dataclasses import dataclass, field

import geopandas as gpd

from urbankit.city.city import City
from urbankit.evaluation.tasks import TaskData
from urbankit.runs.data import load_tasks, prepare_city
from urbankit.runs.folder import Run
from urbankit.utils.errors import Problem, RunError, UserError
from urbankit.utils.progress import Progress


@dataclass
class RunContext:
    """A run with its city, regions and tasks.

    Attributes:
        run: The run.
        city: None if the city is not available any more, or has changed since the run.
        regions: The regions of the city; without the city those of `embeddings.parquet`, or None.
        tasks: The tasks with their labels; empty without the city.
        missing: Sentences on what is missing, and why.
    """

    run: Run
    city: City | None = None
    regions: gpd.GeoDataFrame | None = None
    tasks: list[TaskData] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, run: Run, city: City | None = None, progress: Progress | None = None, *, prepare: bool = True
    ) -> RunContext:
        """Return the context of `run`. Without `city`, `find_city` looks it up.

        Errors of the run or the city are not raised: `missing` names what cannot be read.
        """
        context = cls(run, city)
        status = run.manifest.get("status", "unknown")
        if city is None and status != "done":  # with a city given, the run is at its report
            context.missing.append(f"The run is not finished (status: {status}); this is what it had written by then.")
        if context.city is None:
            context._find_city(progress, prepare)
        context._find_regions()
        if context.city is not None:
            context._find_tasks()
        return context

    def _find_city(self, progress: Progress | None, prepare: bool) -> None:
        try:
            city = find_city(self.run, progress, prepare=prepare)
        except (UserError, RunError) as error:
            self.missing.append(f"The city is not available any more: {error}")
            return
        if city.content_hash == self.run.manifest.get("city_hash"):
            self.city = city
        else:
            self.missing.append("The city has changed since the run; only what the run itself wrote is shown.")

    def _find_regions(self) -> None:
        if self.city is not None:
            self.regions = self.city.regions
            return
        try:
            self.regions = self.run.embeddings[["region_id", "geometry"]]
        except UserError as error:
            self.missing.append(f"There are no regions to draw: {error}")

    def _find_tasks(self) -> None:
        assert self.city is not None  # the caller asked
        try:
            self.tasks = list(load_tasks(self.run.recipe, self.city).values())
        except UserError as error:
            self.missing.append(f"The recipe's targets cannot be read: {error}")


def find_city(run: Run, progress: Progress | None = None, *, prepare: bool = True) -> City:
    """The city of a run: the folder it was read from, or where that is gone prepared anew as the recipe says.

    Without `prepare`, which may take minutes, only the folder. Raises UserError if it is not available.
    """
    folder = run.manifest.get("city_folder")
    if run.recipe.cities is not None:
        return prepare_city(run.recipe, progress)
    if folder:
        try:
            return City.open(folder)
        except UserError:
            if not prepare or (run.recipe.city is not None and run.recipe.city.prepared is not None):
                raise
    if not prepare and (run.recipe.city is None or run.recipe.city.prepared is None):
        raise UserError(Problem("the run does not say where its city is", run.path))
    return prepare_city(run.recipe, progress)
