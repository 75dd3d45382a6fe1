"""The `.npy` files that published methods of region embeddings come with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from urbankit.city.datasets.arrays import array_shape, read_array
from urbankit.city.datasets.base import (
    AnyLayer,
    DataFolder,
    Dataset,
    DatasetParams,
    Flows,
    PoiCounts,
    Regions,
    Table,
    TargetValues,
)
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.json_text import parse_json
from urbankit.utils.text import list_some


class BenchmarkParams(DatasetParams):
    """Which of the published sets, and where."""

    short: ClassVar[str] = "folder"
    layout: Literal["hrep", "hafusion", "mvure", "mgfn"] = Field(
        description="Whose files they are: their names and shapes differ by method."
    )
    folder: str = Field(description="The folder with the files, as in the authors' repository.")


Reader = Callable[[Path, int], AnyLayer]
"""Reads a layer from a file, for a number of regions."""


def read_flows(path: Path, n_regions: int) -> Flows:
    """Return flows from a matrix [N, N] or [1, N, N], row = origin. Raises `UserError` for negative or missing ones."""
    matrix = _array(path, n_regions, [(n_regions, n_regions), (1, n_regions, n_regions)]).reshape(n_regions, n_regions)
    _refuse(path, "flows", ~np.isfinite(matrix) | (matrix < 0), matrix)
    origin, destination = np.nonzero(matrix)
    pairs = pl.DataFrame({"origin": origin, "destination": destination, "weight": matrix[origin, destination]})
    return Flows(pairs, rows=matrix.size, dropped={"without a trip": matrix.size - len(pairs)})


def read_poi(path: Path, n_regions: int) -> PoiCounts:
    """Return points of interest from counts [N, C]; the authors do not name the categories."""
    counts = _read_counts(path, n_regions, "categories")
    return PoiCounts(counts, _numbered("category", counts), rows=n_regions)


def read_counts(path: Path, n_regions: int, *, name: str) -> Table:
    """Return a table of counts [N, C], whose columns the authors do not name."""
    counts = _read_counts(path, n_regions, "classes")
    return Table(counts, _numbered(name, counts), rows=n_regions)


def read_square(path: Path, n_regions: int, *, name: str) -> Table:
    """Return a table of numbers for each pair of regions [N, N], NaN missing."""
    values = _array(path, n_regions, [(n_regions, n_regions)])
    return Table(values, _numbered(name, values), rows=n_regions)


def read_target(path: Path, n_regions: int, *, unit: str = "") -> TargetValues:
    """Return a target from one number for each region, [N] or [N, 1]."""
    values = _array(path, n_regions, [(n_regions,), (n_regions, 1)]).reshape(n_regions)
    return TargetValues(values, unit=unit, rows=n_regions, dropped=_missing(values))


def read_classes(path: Path, n_regions: int) -> TargetValues:
    """Return a target from a JSON file `{"0": class, ...}` by the row of the region."""
    try:
        classes = parse_json(path.read_bytes())
    except ValueError as error:
        raise UserError(Problem(f"is not JSON: {error}", path)) from None
    expected = [str(row) for row in range(n_regions)]
    if not isinstance(classes, dict) or set(classes) != set(expected):
        absent = [row for row in expected if not isinstance(classes, dict) or row not in classes]
        unknown = sorted(set(classes) - set(expected)) if isinstance(classes, dict) else []
        message = f"must give a class for each region 0 to {n_regions - 1}"
        message += f"; missing: {list_some(absent)}" if absent else ""
        raise UserError(Problem(message + (f"; unknown: {list_some(unknown)}" if unknown else ""), path))
    values = np.array([str(classes[row]) for row in expected], dtype=object)
    return TargetValues(values, "classification", rows=n_regions)


@dataclass(frozen=True)
class Member:
    """A file of a layout: the layer that it holds, and how it is read."""

    file: str
    layer: str
    read: Reader


_CRIME = partial(read_target, unit="crimes")
_CHECK_INS = partial(read_target, unit="check-ins")
_POI_SIMILARITY = partial(read_square, name="region")

LAYOUTS: dict[str, tuple[Member, ...]] = {
    "mvure": (
        Member("mob-adj.npy", "flows", read_flows),
        Member("poi_simi.npy", "tables.poi_similarity", _POI_SIMILARITY),
        Member("crime_counts.npy", "targets.crime", _CRIME),
        Member("mh_cd.json", "targets.land_use", read_classes),
    ),
    "mgfn": (
        Member("mob_label.npy", "flows", read_flows),
        Member("crime_counts_label.npy", "targets.crime", _CRIME),
        Member("check_in_label.npy", "targets.check_ins", _CHECK_INS),
        Member("mh_cd.json", "targets.land_use", read_classes),
    ),
    "hrep": (
        Member("mobility_adj.npy", "flows", read_flows),
        Member("poi_similarity.npy", "tables.poi_similarity", _POI_SIMILARITY),
        Member("crime_counts.npy", "targets.crime", _CRIME),
        Member("check_counts.npy", "targets.check_ins", _CHECK_INS),
        Member("mh_cd.json", "targets.land_use", read_classes),
    ),
    "hafusion": (
        Member("mob-adj.npy", "flows", read_flows),
        Member("mob_dist.npy", "tables.mobility", partial(read_square, name="to region")),
        Member("poi_dist.npy", "poi", read_poi),
        Member("landUse_dist.npy", "tables.land_use", partial(read_counts, name="land use")),
        Member("crime_counts.npy", "targets.crime", _CRIME),
        Member("check_counts.npy", "targets.check_ins", _CHECK_INS),
        Member("serviceCall_counts.npy", "targets.service_calls", partial(read_target, unit="calls")),
    ),
}
"""The files by layout; the first is the one that no set lacks."""


class Benchmark(Dataset[BenchmarkParams]):
    """The `.npy` files of MVURE, MGFN, HREP and HAFusion: flows, points of interest, land use and targets.

    Row i of an array is the region with the id i if the ids are 0 to N-1, otherwise the i-th region. Files that a
    method computes from others, such as `source_adj.npy`, and those computed from a target, such as
    `checkin_similarity.npy`, are not read.
    """

    params: BenchmarkParams

    def files(self, data: DataFolder) -> Sequence[Path]:
        return [path for _, path in self._members(data)]

    def region_ids(self, data: DataFolder) -> Sequence[str]:
        """Return the rows of the flows: 0 to N-1."""
        path = self._members(data)[0][1]
        shape = array_shape(path)
        if len(shape) not in (2, 3) or shape[-1] != shape[-2] or shape[0] not in (1, shape[-1]) or not shape[-1]:
            raise UserError(Problem(f"has the shape {shape}, expected (regions, regions)", path))
        return [str(row) for row in range(shape[-1])]

    def provides(self, data: DataFolder) -> Sequence[str]:
        return [member.layer for member, _ in self._members(data)]

    def read(self, data: DataFolder, regions: Regions) -> Mapping[str, AnyLayer]:
        layers: dict[str, AnyLayer] = {}
        problems = Problems()
        for member, path in self._members(data):
            with problems.collect():
                layers[member.layer] = member.read(path, len(regions))
        problems.raise_if_any()
        rows = _rows_of(regions)
        return {key: _reordered(layer, rows) for key, layer in layers.items()}

    def _members(self, data: DataFolder) -> list[tuple[Member, Path]]:
        """Return the files of the layout that the folder has. Raises `UserError` if it lacks the first."""
        layout, key = LAYOUTS[self.params.layout], "benchmark.folder"
        paths = data.files(self.params.folder, [member.file for member in layout], key)
        if layout[0].file not in paths:
            names = ", ".join(member.file for member in layout)
            sizes = {
                name: len(data.files(self.params.folder, [member.file for member in members], key))
                for name, members in LAYOUTS.items()
            }
            likely = max(sizes, key=lambda name: sizes[name])
            hint = f"; it looks like `layout: {likely}`" if sizes[likely] > len(paths) else ""
            message = f"has no {layout[0].file}; the layout '{self.params.layout}' has {names}{hint}"
            raise UserError(Problem(message, data.folder / self.params.folder, key=key))
        return [(member, paths[member.file]) for member in layout if member.file in paths]


def _rows_of(regions: Regions) -> np.ndarray:
    """Return the row of the authors' arrays that belongs to each region, int64[N]."""
    ids, rows = regions.frame["region_id"].tolist(), range(len(regions))
    return np.array(ids, dtype=np.int64) if set(ids) == set(map(str, rows)) else np.arange(len(regions))


def _reordered(layer: AnyLayer, rows: np.ndarray) -> AnyLayer:
    """Return a layer in the order of the regions."""
    if isinstance(layer, Flows):
        region = pl.Series(np.argsort(rows))
        ends = {end: region.gather(layer.pairs[end]) for end in ("origin", "destination")}
        return replace(layer, pairs=layer.pairs.with_columns(**ends))
    if isinstance(layer, PoiCounts):
        return replace(layer, counts=layer.counts[rows])
    if isinstance(layer, Table | TargetValues):
        return replace(layer, values=layer.values[rows])
    return layer


def _array(path: Path, n_regions: int, shapes: Sequence[tuple[int | str, ...]]) -> np.ndarray:
    return read_array(path, shapes, f" for the {n_regions} regions of the city")


def _read_counts(path: Path, n_regions: int, columns: str) -> np.ndarray:
    counts = _array(path, n_regions, [(n_regions, columns)])
    _refuse(path, "counts", ~np.isfinite(counts) | (counts < 0), counts)
    return counts


def _refuse(path: Path, what: str, invalid: np.ndarray, values: np.ndarray) -> None:
    if invalid.any():
        row, column = np.argwhere(invalid)[0]
        example = f"{values[row, column]:g} in row {row}, column {column}"
        raise UserError(Problem(f"negative, infinite or missing {what}: {int(invalid.sum())}, such as {example}", path))


def _missing(values: np.ndarray) -> dict[str, int]:
    count = int((~np.isfinite(values)).sum())
    return {"without a value": count} if count else {}


def _numbered(name: str, values: np.ndarray) -> list[str]:
    return [f"{name} {column}" for column in range(values.shape[1])]
