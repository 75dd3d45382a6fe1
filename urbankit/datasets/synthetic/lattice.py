"""The regions of the synthetic city: irregular quadrilaterals of about 1 km that tile the plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from urbankit.datasets.synthetic.fields import smooth_field

CRS = "EPSG:32631"
"""UTM 31N. The city lies in the empty Sahara, so that it is not mistaken for a real one."""
SPACING = 960.0
"""Metres between neighbouring regions: 64 pixels of 15 m."""
_CENTRE = (500_000.0, 2_500_000.0)
_JITTER = 0.16


@dataclass(frozen=True)
class Lattice:
    """A rectangle of `height × width` cells; those in `city` are the regions, the others surround them.

    Cell c lies in row c // width (rows run north to south) and column c % width.
    """

    width: int
    height: int
    corners: np.ndarray
    """float64[height + 1, width + 1, 2], projected metres, shared by the cells that meet there."""
    city: np.ndarray
    """int64[N], the cells that are regions, in reading order."""

    @property
    def cells(self) -> int:
        return self.width * self.height

    @property
    def quads(self) -> np.ndarray:
        """float64[cells, 4, 2]: north-west, north-east, south-east, south-west."""
        c = self.corners
        return np.stack([c[:-1, :-1], c[:-1, 1:], c[1:, 1:], c[1:, :-1]], axis=2).reshape(-1, 4, 2)

    @property
    def centres(self) -> np.ndarray:
        """float64[cells, 2], the mean of a cell's corners."""
        return self.quads.mean(axis=1)

    @property
    def area_km2(self) -> np.ndarray:
        """float64[cells], by the shoelace formula."""
        x, y = self.quads[..., 0], self.quads[..., 1]
        return np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(axis=1)) / 2e6

    @property
    def centre(self) -> np.ndarray:
        return np.array(_CENTRE)

    @property
    def north_west(self) -> tuple[float, float]:
        return _CENTRE[0] - self.width * SPACING / 2, _CENTRE[1] + self.height * SPACING / 2

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) of the unjittered rectangle."""
        west, north = self.north_west
        return west, north - self.height * SPACING, west + self.width * SPACING, north

    def polygons(self, cells: np.ndarray) -> np.ndarray:
        """Shapely polygons of these cells."""
        return shapely.polygons(self.quads[cells])

    def points_in(self, cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One random point inside each of these cells; float64[len(cells), 2]."""
        quads, (u, v) = self.quads[cells], rng.uniform(0.02, 0.98, (2, len(cells), 1))
        north = quads[:, 0] * (1 - u) + quads[:, 1] * u
        south = quads[:, 3] * (1 - u) + quads[:, 2] * u
        return north * (1 - v) + south * v


def build_lattice(regions: int, rng: np.random.Generator) -> Lattice:
    """`regions` cells with an irregular outline, inside a rectangle with a margin of at least one cell."""
    width = int(np.ceil(1.08 * np.sqrt(regions))) + 2
    height = int(np.ceil(1.08 * 1.08 * regions / (width - 2))) + 2
    row, column = np.divmod(np.arange(width * height), width)
    across, down = (2 * column + 1) / width - 1, (2 * row + 1) / height - 1
    outline = (across**4 + down**4) ** 0.25 + 0.05 * smooth_field(np.stack([across, down], 1), rng, 0.5)
    outline[(row == 0) | (row == height - 1) | (column == 0) | (column == width - 1)] = np.inf
    city = np.sort(np.argsort(outline, kind="stable")[:regions])

    west, north = _CENTRE[0] - width * SPACING / 2, _CENTRE[1] + height * SPACING / 2
    grid = np.stack(np.meshgrid(np.arange(width + 1), np.arange(height + 1)), axis=-1)
    moved = grid + rng.uniform(-_JITTER, _JITTER, grid.shape)
    corners = np.array([west, north]) + moved * np.array([SPACING, -SPACING])
    return Lattice(width, height, corners, city)
