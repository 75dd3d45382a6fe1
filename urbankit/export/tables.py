"""Tables to export: one row for each region in the order of the run, one column for each number or class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyproj import CRS

from urbankit.city.city import City
from urbankit.city.texts import class_titles
from urbankit.evaluation.out_of_sample import by_region, rows_of_test_parts
from urbankit.evaluation.parts import share_rows
from urbankit.runs.folder import Run
from urbankit.runs.prediction_table import ALL_LABELS, OUT_OF_FOLD
from urbankit.runs.writers import PREDICTION_COLUMNS
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.geometry import reproject, split_longitudes

RESERVED = ("region_id", "geometry", "geom", "fid", "lon", "lat")
"""Names that formats give to columns of their own."""


@dataclass(frozen=True)
class ExportTable:
    """One table of a run: `embeddings`, `predictions` or `predictions_all`.

    `frame` has `region_id` (text), the columns, and `geometry`. `classes` has for each column of class names the code
    of each, the one of `predictions.parquet`. `facts` say where it is from. `shown` is the column of the
    first predicted number, without numbers of the first predicted class; None in a table without predictions. `titles`
    are what readers see of classes, by column and class; a class without a title is not in it.
    """

    what: str
    frame: gpd.GeoDataFrame
    classes: dict[str, dict[int, str]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    shown: str | None = None
    titles: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def has_geometry(self) -> bool:
        """Whether any region has a geometry."""
        return bool(self.frame.geometry.notna().any())

    @property
    def columns(self) -> list[str]:
        """The columns but `region_id` and `geometry`."""
        return [name for name in self.frame.columns if name not in ("region_id", "geometry")]

    @property
    def region_ids(self) -> list[str]:
        return self.frame["region_id"].tolist()

    def numbers(self) -> NDArray[Any]:
        """The columns as one matrix [N, C] of their own precision, classes as their codes, NaN where missing."""
        return np.column_stack([self._codes(name) for name in self.columns])

    def to_crs(self, crs: CRS | None) -> ExportTable:
        """The same in another CRS; None leaves it. Regions that cross 180 degrees are cut there.

        Raises `UserError` where the regions have no CRS, or do not fit it.
        """
        if crs is None:
            return self
        if self.frame.crs is None:
            raise UserError("the run's regions have no CRS, so they cannot be projected; run the command without --crs")
        geometry = reproject(self.frame.geometry, crs)
        if crs.is_geographic:
            geometry = split_longitudes(geometry, -180)
        frame = self.frame.set_geometry(geometry)
        if not np.isfinite(frame.total_bounds).all() and np.isfinite(self.frame.total_bounds).all():
            raise UserError(f"the regions cannot be projected to {crs.to_string()}; choose another --crs")
        return replace(self, frame=frame)

    def _codes(self, name: str) -> NDArray[Any]:
        if name not in self.classes:
            return self.frame[name].to_numpy()
        codes = {label: code for code, label in self.classes[name].items()}
        return self.frame[name].map(codes).to_numpy(np.float64)


def embeddings(run: Run) -> ExportTable:
    """The embeddings, float32 columns `e0` to `e<dim - 1>`, zero-padded to one length."""
    regions = _regions(run)
    table = pd.DataFrame(run.vectors, columns=dimension_names(run.vectors.shape[1]), index=regions.index)
    return ExportTable("embeddings", _joined(regions, table), facts=run_facts(run))


def predictions(run: Run) -> ExportTable:
    """What was predicted for regions whose label the model never saw, with the truth.

    Regression: `TASK_truth`, and for each split `TASK_SPLIT_prediction` (median over the seeds in which a region was
    tested), `_std` (their sample standard deviation) and `_seeds` (how many). Classification: the commonest class,
    and `_agreement`, the share of the seeds that say it, in place of the standard deviation. Distribution: the same of
    the largest part, and the columns of a regression `TASK_share_PART` for each part.
    """
    regions = _regions(run)
    tested = _checked(run)
    tested = pd.concat([tested, share_rows(tested)], ignore_index=True)
    columns: dict[str, pd.Series] = {}
    classes: dict[str, dict[int, str]] = {}
    titles = _class_titles(run)
    titles_of: dict[str, dict[str, str]] = {}
    for task, of_task in rows_of_test_parts(tested).groupby("task", sort=False):
        names = _class_names(of_task)
        of_columns = {f"{task}_{name}": column for name, column in _columns(of_task, names)}
        of_classes = [name for name in of_columns if names and name.endswith(("_truth", "_prediction"))]
        classes |= dict.fromkeys(of_classes, names)
        titles_of |= dict.fromkeys(of_classes, titles.get(str(task), {}))
        columns |= of_columns
    table = pd.DataFrame({name: column.reindex(regions["region_id"]).to_numpy() for name, column in columns.items()})
    unique = dict(zip(table.columns, distinct(table.columns), strict=True))
    table = table.rename(columns=unique).set_axis(regions.index)
    codes = {unique[name]: names for name, names in classes.items()}
    predicted = [unique[name] for name in columns if name.endswith("_prediction")]
    titles_of = {unique[name]: of_class for name, of_class in titles_of.items()}
    frame, first = _joined(regions, table), _first(predicted, codes)
    return ExportTable("predictions", frame, codes, run_facts(run), first, titles_of)


def all_predictions(run: Run) -> ExportTable:
    """The predictions of every region, labelled or not, with intervals or class probabilities."""
    fits, _ = run.cross_fits
    classes = {name: fit.task.names for name, fit in fits.items()}
    return prediction_export(run.predictions_all, classes, run_facts(run), _class_titles(run))


def _class_titles(run: Run) -> dict[str, dict[str, str]]:
    """Return the titles of the classes by task; none if the run's city is not where it was."""
    try:
        city, tasks = City.open(run.manifest.get("city_folder") or ""), run.recipe.tasks
    except UserError:
        return {}
    return {name: class_titles(city, task.target or name) for name, task in tasks.items()}


def prediction_export(
    table: gpd.GeoDataFrame,
    classes: Mapping[str, Sequence[str]],
    facts: Mapping[str, str],
    titles: Mapping[str, Mapping[str, str]] | None = None,
) -> ExportTable:
    """A table of predictions of every region for export; columns of text are classes with a code each.

    Args:
        table: As `prediction_table` returns it.
        classes: The classes by task, the parts of a distribution; none of a regression.
        facts: Where the table is from.
        titles: The titles of the classes by task.
    """
    codes: dict[str, dict[int, str]] = {}
    for name, of_task in classes.items():
        codes[f"{name}_from"] = dict(enumerate(dict.fromkeys([OUT_OF_FOLD, ALL_LABELS, *table[f"{name}_from"]])))
        truth = table[f"{name}_truth"].dropna() if f"{name}_truth" in table else []
        if of_task:
            codes[name] = dict(enumerate(of_task))
            codes[f"{name}_truth"] = dict(enumerate(dict.fromkeys([*of_task, *truth])))
    titles_of = {name: dict(of_task) for name, of_task in (titles or {}).items() if name in codes}
    titles_of |= {f"{name}_truth": of_task for name, of_task in titles_of.items()}
    columns = [name for name in table if name not in ("region_id", "geometry")]
    unique = dict(zip(columns, distinct(columns), strict=True))
    frame = table.assign(region_id=table["region_id"].astype(str)).rename(columns=unique)
    codes = {unique[name]: of_task for name, of_task in codes.items() if name in unique}
    titles_of = {unique[name]: of_task for name, of_task in titles_of.items() if name in unique}
    first = _first([unique[name] for name in classes], codes)
    return ExportTable("predictions_all", frame, codes, dict(facts), first, titles_of)


def _first(predicted: Sequence[str], classes: Mapping[str, Any]) -> str | None:
    """Return the first column of numbers among those of predictions, else the first of classes."""
    return next((name for name in predicted if name not in classes), next(iter(predicted), None))


def dimension_names(dim: int) -> list[str]:
    """`e00` to `e63` for 64 dimensions: names that sort in order."""
    width = len(str(max(dim - 1, 0)))
    return [f"e{i:0{width}}" for i in range(dim)]


def distinct(names: Iterable[str], reserved: Sequence[str] = RESERVED) -> list[str]:
    """`names`, numbered where they equal an earlier or a taken one but for case, as SQL compares them."""
    used, result = {name.lower() for name in reserved}, []
    for name in map(str, names):
        unique, number = name, 2
        while unique.lower() in used:
            unique, number = f"{name}_{number}", number + 1
        used.add(unique.lower())
        result.append(unique)
    return result


def _columns(of_task: pd.DataFrame, names: dict[int, str]) -> Iterator[tuple[str, pd.Series]]:
    """The columns of one task, each a series by region id; `names` are those of its classes."""
    truth = of_task.drop_duplicates("region_id").set_index("region_id")
    yield "truth", truth["truth_class" if names else "truth"]
    for split, one in of_task.groupby("split", sort=False):
        for column, values in by_region(one, classified=bool(names)).items():
            yield f"{split}_{column}", values.map(names) if names and column == "prediction" else values


def _class_names(of_task: pd.DataFrame) -> dict[int, str]:
    """The code of each class that occurs; empty for a regression."""
    pairs = pd.concat(
        [
            of_task[[side, f"{side}_class"]].set_axis(["code", "name"], axis=1).drop_duplicates()
            for side in ("truth", "prediction")
        ]
    )
    pairs = pairs[pairs["name"].notna()].sort_values("code").drop_duplicates("code")
    return {int(code): str(name) for code, name in zip(pairs["code"], pairs["name"], strict=True)}


def _regions(run: Run) -> gpd.GeoDataFrame:
    regions = run.embeddings
    missing = {"region_id", "geometry", "embedding"} - set(regions.columns)
    if missing:
        raise _another(run, "embeddings.parquet", missing)
    ids = regions["region_id"].astype(str)
    twice = ids[ids.duplicated()].unique()
    if len(twice):
        raise UserError(Problem(f"region ids that occur more than once: {', '.join(map(repr, twice[:5]))}", run.path))
    return regions[["region_id", "geometry"]].assign(region_id=ids).reset_index(drop=True)


def _checked(run: Run) -> pd.DataFrame:
    rows = run.predictions
    missing = set(PREDICTION_COLUMNS) - set(rows.columns)
    if missing:
        raise _another(run, "predictions.parquet", missing)
    return rows.assign(region_id=rows["region_id"].astype(str))


def _another(run: Run, name: str, missing: Iterable[str]) -> UserError:
    version = (run.manifest.get("versions") or {}).get("urbankit") or "unknown"
    return UserError(
        Problem(
            f"lacks {', '.join(sorted(missing))}; it was written by another version of urbankit ({version}) or "
            "changed afterwards. Run its recipe.yaml again",
            run.path / name,
        )
    )


def _joined(regions: gpd.GeoDataFrame, table: pd.DataFrame) -> gpd.GeoDataFrame:
    joined = pd.concat([regions[["region_id"]], table, regions[["geometry"]]], axis=1)
    return joined.set_geometry("geometry", crs=regions.crs)


def run_facts(run: Run) -> dict[str, str]:
    """Where what is exported of a run is from."""
    manifest = run.manifest
    facts = {
        "run": run.path.resolve().name,
        "recipe": manifest.get("recipe"),
        "recipe_hash": manifest.get("recipe_hash"),
        "city": manifest.get("city"),
        "city_hash": manifest.get("city_hash"),
        "urbankit": (manifest.get("versions") or {}).get("urbankit"),
        "status": manifest.get("status"),
    }
    return {key: str(value) for key, value in facts.items() if value is not None}
