"""Street views of the synthetic city: a horizon, two rows of facades, trees, people, cars and shops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from urbankit.datasets.synthetic.fields import lattice_noise
from urbankit.datasets.synthetic.model import FARMLAND, INDUSTRIAL, LOW_RISE, PARK, CityModel
from urbankit.utils.progress import Stage

HEIGHT, WIDTH = 64, 96
_FOCAL, _CAMERA_M = 62.0, 2.2
_LARGEST_BATCH = 64
_MISSING = np.array([0.12, 0.14, 0.10, 0.20, 0.32, 0.40])
"""The share of regions without any street view, by land use."""
_STREET_SHARE = np.array([1.0, 1.0, 1.0, 0.8, 0.6, 0.6])
"""How much of a class's land lies along a street."""

# Facades, as sRGB. Classes share them.
_WALLS = np.array(
    [
        [188, 178, 164], [206, 198, 184], [164, 112, 92], [142, 150, 160], [110, 126, 142], [170, 160, 138],
        [196, 202, 204],
    ],
    dtype=np.float32,
)  # fmt: skip
_WALL_ODDS = np.array(
    [
        [0.26, 0.26, 0.12, 0.10, 0.06, 0.16, 0.04],
        [0.22, 0.16, 0.26, 0.06, 0.04, 0.24, 0.02],
        [0.14, 0.12, 0.06, 0.26, 0.26, 0.04, 0.12],
        [0.14, 0.10, 0.08, 0.24, 0.14, 0.12, 0.18],
        [0.20, 0.20, 0.20, 0.10, 0.10, 0.10, 0.10],
        [0.20, 0.10, 0.30, 0.10, 0.10, 0.10, 0.10],
    ]
)
_SKIES = np.array([[128, 172, 218], [204, 208, 212], [168, 186, 204], [222, 200, 176]], dtype=np.float32)
_SIGNS = np.array([[206, 60, 52], [230, 176, 48], [60, 120, 190], [70, 160, 96], [226, 226, 220]], dtype=np.float32)
_ROAD = np.array([98, 98, 100], dtype=np.float32)
_PAVEMENT = np.array([158, 152, 144], dtype=np.float32)
_GRASS = np.array([108, 130, 74], dtype=np.float32)
_LEAF = np.array([66, 96, 52], dtype=np.float32)
_DRY = np.array([160, 142, 98], dtype=np.float32)
_TRUNK = np.array([84, 70, 56], dtype=np.float32)
_SKIN = np.array([182, 142, 116], dtype=np.float32)


@dataclass(frozen=True)
class Scenes:
    """The content of every street view; one row for each image, sorted by region."""

    region: np.ndarray
    """int64[M], position in `Lattice.city`."""
    xy: np.ndarray
    """float64[M, 2], where the picture was taken, projected metres."""
    use: np.ndarray
    """int64[M], the land-use class of the street."""
    storeys: np.ndarray
    """[M], typical height of the buildings."""
    gap: np.ndarray
    """[M], 0..1, the share of the frontage without a building."""
    trees: np.ndarray
    """[M], 0..1."""
    bustle: np.ndarray
    """[M], 0..1, people and traffic."""
    shops: np.ndarray
    """[M], 0..1, the share of ground floors that are shopfronts."""
    heavy: np.ndarray
    """[M], 0..1, stacks behind the sheds; 0 outside industry."""
    seed: int

    def __len__(self) -> int:
        return len(self.region)


def scenes(model: CityModel, seed: int) -> Scenes:
    """Where street views were taken (0 to 4 a region, about a fifth of the regions without) and what they show."""
    rng = np.random.default_rng([seed, 6])
    city, n = model.lattice.city, len(model.lattice.city)
    number = rng.choice([1, 2, 3, 4], n, p=[0.25, 0.30, 0.27, 0.18])
    number[rng.random(n) < _MISSING[model.land_use[city]]] = 0
    region = np.repeat(np.arange(n), number)
    cell = city[region]
    odds = (model.mixture[cell] * _STREET_SHARE).cumsum(axis=1)
    use = (rng.random(len(cell)) * odds[:, -1])[:, None] > odds
    use = np.minimum(use.sum(axis=1), 5)

    noise = rng.normal(0, 1, (5, len(cell)))
    storeys = np.maximum(model.storeys[cell, use] * np.exp(0.22 * noise[0]), 1)
    gap = (
        np.array([0.75, 0.5, 0.45, 0.5, 0.95, 0.9])[use]
        - np.array([0.5, 0.45, 0.4, 0.4, 0, 0])[use] * (model.compactness[cell])
    )
    trees = model.greenness[cell] * np.array([0.8, 0.45, 0.35, 0.25, 0.6, 0.4])[use] + 0.5 * (use == PARK)
    busy = np.log1p((model.residents[cell] + 1.5 * model.jobs[cell]) / 6000) / 3
    bustle = busy * np.array([0.8, 1.0, 1.3, 0.5, 0.5, 0.2])[use]
    shops = np.array([0.25, 0.45, 0.85, 0.05, 0.0, 0.0])[use] * (0.5 + busy)
    return Scenes(
        region, model.lattice.points_in(cell, rng), use, storeys,
        np.clip(gap + 0.08 * noise[1], 0.05, 0.97), np.clip(trees + 0.1 * noise[2], 0, 1),
        np.clip(bustle + 0.1 * noise[3], 0, 1), np.clip(shops + 0.1 * noise[4], 0, 1),
        np.where(use == INDUSTRIAL, model.heaviness[cell], 0.0), seed,
    )  # fmt: skip


def draw(scenes: Scenes, rows: np.ndarray) -> np.ndarray:
    """uint8[len(rows), 64, 96, 3]; the same picture whatever else is in the batch."""
    return _Street(scenes, rows).draw()


class _Street:
    """A batch of scenes; arrays are [n, 64, 96] or broadcast to it, so a row's or a column's work is done once."""

    def __init__(self, scenes: Scenes, rows: np.ndarray) -> None:
        self._rows, self._seed = rows, scenes.seed
        self.storeys, self.gap, self.trees, self.bustle, self.shops, self.heavy = (
            values[rows].astype(np.float32)[:, None, None]
            for values in (scenes.storeys, scenes.gap, scenes.trees, scenes.bustle, scenes.shops, scenes.heavy)
        )
        self.use = scenes.use[rows][:, None, None]
        self.horizon = 37 + 6 * self._chance(1)
        self.vanish = 48 + 14 * (self._chance(2) - 0.5)
        self.road_m = np.array([6.0, 3.6, 7.5, 6.5, 2.0, 2.6], np.float32)[self.use] * (0.8 + 0.4 * self._chance(3))
        self.front_m = self.road_m + np.array([7, 2.5, 5, 6, 6, 8], np.float32)[self.use]
        self.up = self.horizon - np.arange(HEIGHT, dtype=np.float32)[None, :, None]
        self.right = np.arange(WIDTH, dtype=np.float32) - self.vanish

    def _chance(self, what: int) -> np.ndarray:
        """A fixed uniform number for every picture."""
        return lattice_noise(self._rows, np.full(len(self._rows), what), self._seed)[:, None, None]

    def draw(self) -> np.ndarray:
        colour = self._sky()
        colour = self._skyline(colour)
        colour = self._ground(colour)
        colour = self._facades(colour)
        colour = self._trees(colour)
        colour = self._cars(colour)
        colour = self._people(colour)
        light = np.exp(0.45 * (self._chance(4) - 0.5))[..., None] * (
            1 + 0.10 * (np.stack([self._chance(5), self._chance(6), self._chance(7)], axis=-1) - 0.5)
        )
        pixel = np.arange(HEIGHT * WIDTH).reshape(1, HEIGHT, WIDTH)
        grain = 12 * lattice_noise(pixel, self._rows[:, None, None], self._seed + 1) - 6
        return np.clip(colour * light + grain[..., None], 0, 255).astype(np.uint8)

    def _sky(self) -> np.ndarray:
        zenith = _SKIES[(self._chance(8) * len(_SKIES)).astype(np.int64)]
        fade = np.clip(self.up / 45, 0, 1)[..., None]
        sky = 236 + (zenith - 236) * (0.35 + 0.65 * fade)
        return np.broadcast_to(sky, (len(self._rows), HEIGHT, WIDTH, 3)).astype(np.float32)

    def _skyline(self, colour: np.ndarray) -> np.ndarray:
        """What stands behind the first row: buildings 120 m away, woods, or stacks."""
        column = np.floor((self.right + 200) / 7)
        tall = lattice_noise(column, self._rows[:, None, None], self._seed + 2)
        metres = self.storeys * 3.1 * (0.4 + 0.8 * tall)
        built = np.isin(self.use, (PARK, FARMLAND))
        top = np.where(built, 4 + 4 * tall, metres) * _FOCAL / 120
        far = np.where(built[..., None], _LEAF * 1.25, 0.75 * colour + 0.25 * self._wall(column, 3))
        colour = _over(colour, far, (self.up > -1) & (self.up < top))
        column = np.floor((self.right + 200) / 17)
        across = np.abs((self.right + 200) % 17 - 8.5)
        stack = lattice_noise(column, self._rows[:, None, None], self._seed + 4) < self.heavy**1.2
        drift = (self.up - 26) * 0.35
        smoke = np.abs((self.right + 200) % 17 - 8.5 - drift) < 2.2 + 0.16 * (self.up - 26)
        colour = _over(colour, np.float32(150), stack & smoke & (self.up > 26) & (self.up < 40))
        return _over(
            colour, np.array([150, 120, 112], np.float32), stack & (across < 1.3) & (self.up > 0) & (self.up < 27)
        )

    def _ground(self, colour: np.ndarray) -> np.ndarray:
        depth = _FOCAL * _CAMERA_M / np.maximum(-self.up, 0.4)
        lateral = self.right * depth / _FOCAL
        grass = _GRASS + (_DRY - _GRASS) * (0.8 * self._chance(9))[..., None]
        furrow = np.where((lateral / 1.6) % 1 < 0.5, 1.12, 0.88).astype(np.float32)[..., None]
        paved = _PAVEMENT * (0.85 + 0.3 * self._chance(10))[..., None]
        soft = (self.use == PARK) | (self.use == FARMLAND)
        land = np.where(soft[..., None], np.where((self.use == FARMLAND)[..., None], grass * furrow, grass), paved)
        path = np.where(
            (self.use == PARK)[..., None], _PAVEMENT * 1.1, _ROAD * (0.85 + 0.3 * self._chance(11))[..., None]
        )
        land = np.where((np.abs(lateral) < self.road_m)[..., None], path, land)
        line = (np.abs(lateral) < 0.18) & (depth % 8 < 4) & ~soft & (self.use != LOW_RISE)
        return _over(_over(colour, land, self.up < 0), np.float32(220), line & (self.up < -1))

    def _facades(self, colour: np.ndarray) -> np.ndarray:
        """Both sides of the street: where a building stands, its height sets how much sky is left."""
        depth = _FOCAL * self.front_m / np.maximum(np.abs(self.right), 0.5)
        above = _CAMERA_M + self.up * depth / _FOCAL
        frontage = np.array([26, 9, 22, 38, 20, 22], np.float32)[self.use]
        side = np.where(self.right > 0, 1, 2)
        house = np.floor(depth / frontage + self._chance(12)) * 2 + side
        along = (depth / frontage + self._chance(12)) % 1
        height = self.storeys * 3.1 * (0.75 + 0.5 * lattice_noise(house, self._rows[:, None, None], self._seed + 5))
        stands = lattice_noise(house, self._rows[:, None, None], self._seed + 6) > self.gap - 0.15
        stands = stands & (along > 0.15 * self.gap) & (depth < 160)
        facade = stands & (above > 0) & (above < height)

        sunlit = np.where(side == 1, np.float32(1.12), np.float32(0.82))[..., None]
        fog = np.clip(depth / 260, 0, 0.6)[..., None]
        wall = self._wall(house, 7) * sunlit
        wall += (205 - wall) * fog
        colour = _over(colour, wall, facade)
        storey = above % 3.1
        pane = (self.use != INDUSTRIAL) & (depth % 3.4 > 1.2) & (depth < 70)
        colour = _over(colour, wall * 0.58, facade & pane & (storey > 1.1) & (storey < 2.5) & (above > 3))
        colour = _over(colour, wall * 0.9, facade & (self.use == INDUSTRIAL) & (depth % 3 < 1) & (depth < 60))
        shop = lattice_noise(np.floor(depth / 6) * 2 + side, self._rows[:, None, None], self._seed + 8)
        sign = _SIGNS[(shop * 997 % len(_SIGNS)).astype(np.int64)]
        open_ = stands & (shop < self.shops)
        colour = _over(colour, sign, open_ & (above < 4.2) & (above > 2.6))
        return _over(colour, wall * 0.4 + 30, open_ & (above > 0) & (above < 2.6) & (depth % 6 < 4.6))

    def _wall(self, house: np.ndarray, salt: int) -> np.ndarray:
        odds = _WALL_ODDS.cumsum(axis=1)[self.use[:, 0, 0]]
        drawn = lattice_noise(house, self._rows[:, None, None], self._seed + salt)
        drawn = 0.6 * self._chance(13) + 0.4 * drawn
        pick = np.minimum(sum(drawn > odds[:, None, None, c] for c in range(odds.shape[1])), len(_WALLS) - 1)
        return _WALLS[pick]

    def _trees(self, colour: np.ndarray) -> np.ndarray:
        """Round crowns on trunks along both kerbs."""
        leaf = _LEAF + (_DRY * 0.8 - _LEAF) * (0.5 * self._chance(9))[..., None]
        for slot in range(7, -1, -1):
            depth = 7 + 6.5 * slot + 4 * self._chance(20 + slot)
            for side in (-1, 1):
                present = self._chance(40 + 2 * slot + (side > 0)) < self.trees * 1.15
                visible, across, high = self._stand(present, depth, side * (self.road_m + 1.6))
                crown = (high - 4.6 - 1.5 * self._chance(60 + slot)[visible]) / 2.1
                shade = 0.8 + 0.35 * np.clip(crown + 0.5, 0, 1)
                picture = _over(colour[visible], _TRUNK, (np.abs(across) < 0.18) & (high < 5) & (high > 0))
                inside = (across / 2.1) ** 2 + (crown * 0.85) ** 2 < 1
                colour[visible] = _over(picture, leaf[visible] * shade[..., None], inside)
        return colour

    def _cars(self, colour: np.ndarray) -> np.ndarray:
        for slot in range(4, -1, -1):
            depth = 8 + 8 * slot + 5 * self._chance(80 + slot)
            present = (self._chance(100 + slot) < self.bustle * 1.1) & (self.use != PARK)
            lane = np.where(self._chance(90 + slot) > 0.5, np.float32(0.5), np.float32(-0.5)) * self.road_m
            visible, across, high = self._stand(present, depth, lane)
            truck = ((self.use == INDUSTRIAL) & (self._chance(110 + slot) < 0.7))[visible]
            body = (np.abs(across) < np.where(truck, 1.25, 0.9)) & (high > 0.3) & (high < np.where(truck, 3.4, 1.45))
            paint = 50 + 190 * self._chance(120 + slot)[visible][..., None] * np.array([1, 0.95, 0.9], np.float32)
            picture = _over(colour[visible], paint, body)
            colour[visible] = _over(picture, np.float32(46), body & (high > 0.95) & (high < 1.3) & ~truck)
        return colour

    def _people(self, colour: np.ndarray) -> np.ndarray:
        for slot in range(9, -1, -1):
            depth = 5 + 2.2 * slot + 2 * self._chance(130 + slot)
            present = self._chance(160 + slot) < self.bustle * np.where(self.use == INDUSTRIAL, 0.4, 1.0)
            side = np.where(self._chance(140 + slot) > 0.5, np.float32(1), np.float32(-1))
            lateral = side * (self.road_m + 0.6 + 1.6 * self._chance(150 + slot))
            visible, across, high = self._stand(present, depth, lateral)
            cloth = 40 + 170 * np.stack([self._chance(170 + slot + 20 * c)[visible] for c in range(3)], axis=-1)
            picture = _over(colour[visible], cloth, (np.abs(across) < 0.26) & (high > 0) & (high < 1.45))
            colour[visible] = _over(picture, _SKIN, (np.abs(across) < 0.15) & (high >= 1.45) & (high < 1.75))
        return colour

    def _stand(
        self, present: np.ndarray, depth: np.ndarray, lateral: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pictures that show a thing, and every pixel's metres beside its middle and above its foot."""
        visible = np.flatnonzero(present)
        per_pixel = depth[visible] / _FOCAL
        return visible, self.right[visible] * per_pixel - lateral[visible], self.up[visible] * per_pixel + _CAMERA_M


def _over(below: np.ndarray, above: np.ndarray | np.float32, where: np.ndarray) -> np.ndarray:
    """Paint `above` over `below` at `where`, in place."""
    where = np.broadcast_to(where, below.shape[:3])
    below[where] = np.broadcast_to(above, below.shape)[where]
    return below


def write_street_views(folder: Path, names: list[str], scenes: Scenes, stage: Stage | None = None) -> None:
    """Write one JPEG per scene under `folder`, in batches: memory does not grow with their number."""
    for parent in {(folder / name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(scenes), _LARGEST_BATCH):
        rows = np.arange(start, min(start + _LARGEST_BATCH, len(scenes)))
        for row, picture in zip(rows, draw(scenes, rows), strict=True):
            Image.fromarray(picture).save(folder / names[row], quality=88)
        if stage is not None:
            stage.advance(len(rows))
