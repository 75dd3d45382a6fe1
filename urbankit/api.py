"""What `import urbankit` offers of cities and runs: the readers, with what can be done with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from urbankit.city import city
from urbankit.city.prepare.prepare import prepare
from urbankit.export.export import Exported, export
from urbankit.pipeline import run as pipeline_run
from urbankit.recipe.recipe import Recipe
from urbankit.runs import folder
from urbankit.utils.progress import Progress


class City(city.City):
    __doc__ = city.City.__doc__

    @classmethod
    def prepare(
        cls,
        spec: str | Path,
        *,
        data: str | Path | None = None,
        out: str | Path | None = None,
        progress: Progress | None = None,
    ) -> City:
        """Prepare a city from its spec, or bring it up to date; see `urbankit.city.prepare.prepare.prepare`."""
        return cls.open(prepare(spec, data=data, out=out, progress=progress))


class Run(folder.Run):
    __doc__ = folder.Run.__doc__

    def export(
        self,
        to: str | Sequence[str],
        *,
        out: str | Path | None = None,
        what: str | Sequence[str] | None = None,
        crs: Any = None,
        resolution: float | None = None,
        force: bool = False,
    ) -> list[Exported]:
        """Write embeddings and predictions in the formats of other tools; the files, each with its notes.

        `to` is one or more of `gpkg`, `geoparquet`, `csv`, `npy` and `geotiff`; `what` one or more of `embeddings` and
        `predictions`, default all that the run has. Files are named `embeddings.gpkg`, `predictions.tif` and so on, in
        the folder `out`, default `export` in the run's. `crs` is anything that pyproj takes, default the run's own.
        `resolution` is the side of a raster's cells in metres, default about a quarter of the side of a median region.
        A file that is there is replaced only where it is as a former export left it, or with `force`. Raises
        `UserError`.
        """
        return export(self, to, out=out, what=what, crs=crs, resolution=resolution, force=force)


def run(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run a recipe and return the run.

    `out` is the run folder (default `runs/<name>`); it must not hold another run. `resume` goes on with the run that it
    holds, to the same result. `progress` is one that is already shown; by default the run shows its own. Raises
    `UserError` for wrong input and `RunError` where the run fails.
    """
    return Run(pipeline_run.run(recipe, out, resume=resume, progress=progress).path)
