"""Satellite image of the synthetic city: every pixel is drawn by the rules of the region it lies in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.windows import Window
from scipy.ndimage import binary_dilation

from urbankit.datasets.synthetic.fields import lattice_noise, value_noise
from urbankit.datasets.synthetic.lattice import CRS, SPACING
from urbankit.datasets.synthetic.model import BUILDING_M, FARMLAND, INDUSTRIAL, LOW_RISE, PARK, TOWERS, CityModel
from urbankit.utils.progress import Stage

PIXELS = 64
"""Pixels along a region's side."""
PIXEL_M = SPACING / PIXELS
_STRIP = 32
"""Lattice columns drawn at a time."""
_SUN = np.array([0.64, 0.77])
"""Unit vector towards the sun, east and north."""
_SHADOW_PER_STOREY_M = 3.6
_SHADOW = 8
"""Pixels of the longest shadow."""

# Roof colours. Classes share them, so that colour alone does not reveal the class.
_ROOFS = np.array(
    [
        [176, 168, 158], [196, 186, 170], [158, 104, 84], [126, 130, 136], [108, 136, 168], [204, 204, 202],
        [148, 136, 118],
    ],
    dtype=np.float32,
)  # fmt: skip
_ROOF_ODDS = np.array(
    [
        [0.26, 0.24, 0.10, 0.14, 0.02, 0.10, 0.14],
        [0.12, 0.08, 0.34, 0.18, 0.10, 0.04, 0.14],
        [0.18, 0.12, 0.04, 0.26, 0.08, 0.22, 0.10],
        [0.10, 0.06, 0.06, 0.18, 0.30, 0.26, 0.04],
        [0.20, 0.10, 0.30, 0.20, 0.00, 0.00, 0.20],
        [0.10, 0.10, 0.30, 0.20, 0.20, 0.00, 0.10],
    ]
)
_PAVED = np.array([148, 144, 138], dtype=np.float32)
_LAWN = np.array([112, 128, 84], dtype=np.float32)
_TREE = np.array([58, 84, 48], dtype=np.float32)
_ROAD = np.array([104, 104, 106], dtype=np.float32)
_WATER = np.array([58, 82, 92], dtype=np.float32)
_DRY = np.array([150, 138, 108], dtype=np.float32)


def write_mosaic(path: Path, model: CityModel, seed: int, stage: Stage | None = None) -> None:
    """Write the RGB mosaic (uint8, 15 m) of the city and one cell around it; 0 is nodata.

    Drawn strip by strip: memory does not grow with the city.
    """
    lattice, style = model.lattice, Style(model, seed)
    in_picture = _city_and_rim(model).reshape(lattice.height, lattice.width)
    with rasterio.open(
        path, "w", driver="GTiff", width=lattice.width * PIXELS, height=lattice.height * PIXELS, count=3,
        dtype="uint8", crs=CRS, transform=from_origin(*lattice.north_west, PIXEL_M, PIXEL_M), nodata=0, tiled=True,
        blockxsize=256, blockysize=PIXELS, compress="deflate", zlevel=1, predictor=2, photometric="RGB",
        bigtiff="if_safer", sparse_ok=True,
    ) as mosaic:  # fmt: skip
        for row in range(lattice.height):
            for start in range(0, lattice.width, _STRIP):
                columns = start + np.flatnonzero(in_picture[row, start : start + _STRIP])
                if len(columns):
                    first, count = int(columns[0]), int(columns[-1] - columns[0]) + 1
                    cell = cell_raster(model, row, first, count)
                    picture = style.draw(first * PIXELS, row * PIXELS, cell)
                    picture = np.where(in_picture.ravel()[cell], picture.transpose(2, 0, 1), np.uint8(0))
                    picture = picture[:, _SHADOW:, :-_SHADOW]
                    mosaic.write(picture, window=Window(first * PIXELS, row * PIXELS, count * PIXELS, PIXELS))
            if stage is not None:
                stage.advance()


def _city_and_rim(model: CityModel) -> np.ndarray:
    """bool[cells]: the regions and the cells that touch them."""
    city = np.zeros(model.lattice.cells, bool)
    city[model.lattice.city] = True
    shape = model.lattice.height, model.lattice.width
    return binary_dilation(city.reshape(shape), np.ones((3, 3))).ravel()


def cell_raster(model: CityModel, row: int, column: int, columns: int) -> np.ndarray:
    """int64[64 + 8, 64 · columns + 8]: the cell under every pixel of a strip one lattice row high.

    The strip has 8 pixels more to the north and the east, where shadows come from.
    """
    lattice = model.lattice
    rows = np.arange(max(row - 2, 0), min(row + 2, lattice.height))
    around = np.arange(max(column - 1, 0), min(column + columns + 2, lattice.width))
    cells = (rows[:, None] * lattice.width + around).ravel()
    west, north = lattice.north_west
    return rasterize(
        zip(lattice.polygons(cells), cells, strict=True), out_shape=(PIXELS + _SHADOW, PIXELS * columns + _SHADOW),
        transform=from_origin(west + column * SPACING, north - row * SPACING + _SHADOW * PIXEL_M, PIXEL_M, PIXEL_M),
        fill=row * lattice.width + column, dtype="int32",
    ).astype(np.int64)  # fmt: skip


class Style:
    """How every cell looks from above: its street grid, roofs, season and the light of its acquisition."""

    def __init__(self, model: CityModel, seed: int) -> None:
        rng, cells = np.random.default_rng([seed, 4]), model.lattice.cells
        self.model = model
        self.shares = model.mixture.cumsum(axis=1).T[:-1]
        self.spacing = model.spacing_m.astype(np.float32)
        self.storeys = model.storeys.astype(np.float32)
        angle = rng.uniform(0, np.pi / 2, cells)
        self.cos, self.sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        self.block_m = rng.uniform(150, 230, cells).astype(np.float32)
        self.start = rng.random(cells)
        self.slab = rng.uniform(1.0, 1.7, cells).astype(np.float32)
        odds = _ROOF_ODDS.cumsum(axis=1)
        drawn = rng.random((cells, 6, 2))
        roof = np.minimum((drawn[..., None] > odds[None, :, None, :]).sum(axis=-1), len(_ROOFS) - 1)
        self.roof = _ROOFS[roof] * np.exp(0.10 * rng.standard_normal((cells, 6, 1, 1))).astype(np.float32)
        lawn = np.array([0.5, 0.2, 0.1, 0.1, 0.9, 0.9]) + rng.normal(0, 0.15, (cells, 6))
        self.lawn = np.clip(lawn + 0.3 * (model.greenness[:, None] - 0.5), 0, 1).astype(np.float32)
        self.paved = (_PAVED * np.exp(0.10 * rng.standard_normal((cells, 1)))).astype(np.float32)
        self.dryness = rng.beta(0.9, 0.9, cells).astype(np.float32)
        light = 0.13 * rng.standard_normal((cells, 1)) + 0.025 * rng.standard_normal((cells, 3)) - 0.05
        self.light = np.exp(light).astype(np.float32)
        self.haze = (rng.uniform(0, 26, (cells, 1)) + rng.normal(0, 2.0, (cells, 3))).astype(np.float32)

    def draw(self, column: int, row: int, cell: np.ndarray) -> np.ndarray:
        """uint8[h, w, 3]: the mosaic from pixel (`column`, `row` - 8) on; `cell` is int64[h, w].

        The first 8 rows and the last 8 columns lack a part of their shadows.
        """
        west, north = self.model.lattice.north_west
        x = west + (column + np.arange(cell.shape[1]) + 0.5) * PIXEL_M + np.zeros(cell.shape)
        y = north - (row - _SHADOW + np.arange(cell.shape[0])[:, None] + 0.5) * PIXEL_M + np.zeros(cell.shape)
        u, v = self._street_axes(x, y, cell)
        use, road = self._plan(u, v, cell)
        roof, cover, storeys = self._buildings(u, v, cell, use)
        cover *= 1 - road
        colour = self._ground(x, y, u, v, cell, use)
        colour += (_ROAD - colour) * road[..., None]
        colour *= 1 - 0.58 * (_shadow(cover, storeys) * (1 - cover))[..., None]
        colour += (roof - colour) * cover[..., None]
        colour = self._tanks(colour, u, v, cell, use, road)
        colour = self._river(colour, x, y)
        grain = lattice_noise(np.floor(x / PIXEL_M), np.floor(y / PIXEL_M), 77)[..., None] * 14 - 7
        return np.clip(colour * self.light[cell] + self.haze[cell] + grain, 1, 255).astype(np.uint8)

    def _street_axes(self, x: np.ndarray, y: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Metres along the two directions of the region's street grid."""
        centre = self.model.lattice.centre
        cos, sin = self.cos[cell], self.sin[cell]
        x, y = (x - centre[0]).astype(np.float32), (y - centre[1]).astype(np.float32)
        return cos * x + sin * y, cos * y - sin * x

    def _plan(self, u: np.ndarray, v: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The land-use class of the block at (u, v), and how much of the pixel is road.

        Blocks take their class from a low-discrepancy sequence, so that a region shows its mixture.
        """
        side = self.block_m[cell]
        column, row = np.floor(u / side), np.floor(v / side)
        position = (self.start[cell] + 0.7548776662 * column + 0.5698402910 * row) % 1
        use = sum((position >= share[cell]).astype(np.int64) for share in self.shares)
        kerb = np.minimum(_to_edge(u, column, side), _to_edge(v, row, side))
        width = np.where(use == FARMLAND, 1.0, np.where(use == PARK, 3.5, np.where(row % 3 == 0, 11.0, 7.0)))
        return use, _soft(width - kerb)

    def _buildings(
        self, u: np.ndarray, v: np.ndarray, cell: np.ndarray, use: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Roof colour float[n, 3], the share of the pixel that is roof, and the building's storeys."""
        pitch = self.spacing[cell, use]
        column, row = np.floor(u / pitch), np.floor(v / pitch)
        salt = cell * 7 + use
        one, two = lattice_noise(column, row, salt), lattice_noise(column, row, salt + 1_000_003)
        size = 0.5 * BUILDING_M[use].astype(np.float32) * (0.8 + 0.4 * one)
        longer = np.sqrt(np.where((use == TOWERS) | (use == INDUSTRIAL), self.slab[cell], 1 + 0.3 * two))
        longer = np.where(two > 0.5, longer, 1 / longer)
        give = np.maximum(0.5 * pitch - size * 1.1, 0) * np.where(use == LOW_RISE, 0.9, 0.45)
        off_u = u - (column + 0.5) * pitch - give * (2 * one - 1)
        off_v = v - (row + 0.5) * pitch - give * (2 * two - 1)
        cover = _soft(size * longer - np.abs(off_u)) * _soft(size / longer - np.abs(off_v))
        cover *= lattice_noise(column, row, salt + 2_000_003) < np.array([0.95, 0.95, 0.92, 0.9, 0.5, 0.6])[use]
        shade = 0.86 + 0.28 * lattice_noise(column, row, salt + 3_000_017)
        roof = self.roof[cell, use, (one > 0.7).astype(np.int64)] * shade[..., None]
        return roof, cover, self.storeys[cell, use] * (0.7 + 0.6 * two)

    def _ground(
        self, x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray, cell: np.ndarray, use: np.ndarray
    ) -> np.ndarray:
        """float[n, 3]: paving, lawn, trees, fields and ponds."""
        dry = self.dryness[cell][..., None]
        lawn = _LAWN + (_DRY - _LAWN) * (0.85 * dry)
        tree = _TREE + (_DRY * 0.72 - _TREE) * (0.6 * dry)
        colour = self.paved[cell] + (lawn - self.paved[cell]) * self.lawn[cell, use][..., None]

        canopy = value_noise(x / 34, y / 34, 11) * 0.55 + value_noise(x / 90, y / 90, 12) * 0.45
        wooded = np.array([0.18, 0.10, 0.02, 0.0, 0.52, 0.05])[use] + 0.22 * self.model.greenness[cell]
        trees = np.clip((canopy - (0.86 - 0.62 * wooded)) * 12, 0, 1).astype(np.float32)
        dapple = 0.82 + 0.36 * lattice_noise(np.floor(x / 17), np.floor(y / 17), 13)

        field = use == FARMLAND
        column, row = np.floor(u / 130), np.floor(v / 75)
        crop, along = lattice_noise(column, row, cell), lattice_noise(column, row, cell + 1_000_003) > 0.5
        stripe = np.sin(2 * np.pi * np.where(along, u, v) / 46)
        tilled = lawn + (_DRY * 1.1 - lawn) * (crop * 0.8)[..., None] + (stripe * 17)[..., None]
        colour = np.where(field[..., None], tilled, colour)
        trees = np.where(field, trees * (crop > 0.8), trees)

        colour += (tree * dapple[..., None] - colour) * trees[..., None]
        pond = (use == PARK) & (value_noise(x / 150, y / 150, 14) > 0.78)
        return np.where(pond[..., None], _WATER, colour).astype(np.float32)

    def _tanks(
        self, colour: np.ndarray, u: np.ndarray, v: np.ndarray, cell: np.ndarray, use: np.ndarray, road: np.ndarray
    ) -> np.ndarray:
        """Round storage tanks, pale with a dark rim, more of them in heavier industry."""
        column, row = np.floor(u / 62), np.floor(v / 62)
        radius = np.hypot(u - (column + 0.5) * 62, v - (row + 0.5) * 62)
        present = lattice_noise(column, row, cell + 5_000_011) < 0.75 * self.model.heaviness[cell] ** 1.5
        present &= (use == INDUSTRIAL) & (road < 0.1)
        disc, rim = _soft(21 - radius) * present, _soft(30 - radius) * present
        colour += (np.float32(60) - colour) * rim[..., None]
        return colour + (np.float32(208) - colour) * disc[..., None]

    def _river(self, colour: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        centre = self.model.lattice.centre
        metres = 1000 * self.model.river.distance_km((x - centre[0]) / 1000, (y - centre[1]) / 1000)
        ripple = value_noise(x / 40, y / 40, 15)[..., None] * 10
        water = _soft(95 - metres)[..., None]
        bank = _soft(125 - metres)[..., None]
        colour += (_DRY - colour) * (0.7 * bank)
        return colour + (_WATER + ripple - colour) * water


def _shadow(cover: np.ndarray, storeys: np.ndarray) -> np.ndarray:
    """0..1: how much of a pixel lies in shadow, which reaches away from the sun by the building's height."""
    shadow = np.zeros_like(cover)
    for step in range(1, _SHADOW + 1):
        down, left = round(step * _SUN[1]), round(step * _SUN[0])
        cast = cover * _soft(storeys * _SHADOW_PER_STOREY_M - step * PIXEL_M)
        height, width = cover.shape
        np.maximum(shadow[down:, : width - left], cast[: height - down, left:], out=shadow[down:, : width - left])
    return shadow


def _to_edge(along: np.ndarray, index: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Metres from a point to the nearer edge of its block."""
    inside = along - index * side
    return np.minimum(inside, side - inside)


def _soft(metres_inside: np.ndarray) -> np.ndarray:
    """The share of a pixel that is covered when its middle lies this far inside an edge."""
    return np.clip(metres_inside / PIXEL_M + 0.5, 0, 1).astype(np.float32)
