"""The generative model of the synthetic city: the latent state of every cell (docs/demo.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from urbankit.datasets.synthetic.fields import smooth_field
from urbankit.datasets.synthetic.lattice import Lattice, build_lattice

CLASSES = ("residential towers", "low-rise housing", "commercial", "industrial", "park", "farmland")
TOWERS, LOW_RISE, COMMERCIAL, INDUSTRIAL, PARK, FARMLAND = range(len(CLASSES))
BUILDING_M = np.array([34.0, 15.0, 46.0, 78.0, 12.0, 14.0])
"""Side of a typical building's footprint by class, metres."""

_SHARES = np.array([0.24, 0.23, 0.14, 0.15, 0.12, 0.12])
_RESIDENTS_PER_M2 = np.array([0.020, 0.023, 0.003, 0.0006, 0.002, 0.010])
_JOBS_PER_M2 = np.array([0.001, 0.003, 0.024, 0.012, 0.002, 0.002])
_REACH_KM = 6.0
_COMMUTE_KM = 1.2


@dataclass(frozen=True)
class River:
    """A river that crosses the city from west to east; `bends` is float64[k, 3]: amplitude, wavelength, phase."""

    bends: np.ndarray

    def distance_km(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Kilometres from the river's middle at kilometres east and north of the city's centre."""
        course, slope = np.zeros_like(x), np.zeros_like(x)
        for amplitude, wavelength, phase in self.bends:
            angle = 2 * np.pi / wavelength
            course += amplitude * np.sin(angle * x + phase)
            slope += amplitude * angle * np.cos(angle * x + phase)
        return np.abs(y - course) / np.sqrt(1 + slope**2)


@dataclass(frozen=True)
class CityModel:
    """The latent state of the city. Every array has a row for each cell of the lattice, also outside the city."""

    lattice: Lattice
    river: River
    mixture: np.ndarray
    """[cells, 6], the share of the land in every class of `CLASSES`."""
    compactness: np.ndarray
    """[cells], 0..1: how closely buildings stand."""
    stature: np.ndarray
    """[cells], 0..1: how tall buildings are for their class."""
    greenness: np.ndarray
    """[cells], 0..1: trees between the buildings."""
    heaviness: np.ndarray
    """[cells], 0..1: industry from logistics sheds (0) to plants with tanks and stacks (1)."""
    spacing_m: np.ndarray
    """[cells, 6], metres between neighbouring buildings."""
    storeys: np.ndarray
    """[cells, 6], height of a typical building."""
    residents: np.ndarray
    """[cells], people per km²."""
    jobs: np.ndarray
    """[cells], jobs per km²."""
    travel: sp.csr_array
    """[cells, cells], mean daily trips from the row's residents to the column's jobs."""

    @property
    def land_use(self) -> np.ndarray:
        """int64[cells], the class with the largest share."""
        return self.mixture.argmax(axis=1)


def draw_model(regions: int, seed: int) -> CityModel:
    """Draw the latent state of a city of this many regions; the same seed gives the same city."""
    rng = np.random.default_rng([seed, 0])
    lattice = build_lattice(regions, rng)
    km = (lattice.centres - lattice.centre) / 1000
    river = River(np.stack([rng.uniform(0.4, 1.6, 3), rng.uniform(7, 24, 3), rng.uniform(0, 2 * np.pi, 3)], axis=1))

    def latent(smooth: float, length: float, noise: float, trend: np.ndarray | float = 0.0) -> np.ndarray:
        value = trend + smooth * smooth_field(km, rng, length) + noise * rng.standard_normal(len(km))
        return 1 / (1 + np.exp(-1.5 * value))

    centrality = _centrality(km, max(1, round(regions / 60)), rng)
    mixture = _mixture(km, centrality, river, lattice.city, rng)
    compactness = latent(0.7, 1.6, 0.9, 0.8 * (centrality - 0.4))
    stature = latent(0.6, 1.8, 1.0, 0.9 * (centrality - 0.4))
    greenness = latent(0.6, 1.5, 0.8)
    heaviness = latent(0.5, 1.5, 1.6)

    one, d, s = np.ones(len(km)), compactness, stature
    spacing = np.stack([150 - 80 * d, 42 - 22 * d, 130 - 65 * d, 190 - 80 * d, 420 * one, 260 * one], axis=1)
    storeys = np.stack([6 + 26 * s, 1.5 + 4 * s, 3 + 17 * s, 1.5 + s, one, one], axis=1)
    floor_m2 = mixture * (BUILDING_M / spacing) ** 2 * storeys * 1e6
    residents = floor_m2 @ _RESIDENTS_PER_M2 * np.exp(0.12 * rng.standard_normal(len(km)))
    jobs = floor_m2 @ _JOBS_PER_M2 * np.exp(0.25 * rng.standard_normal(len(km)))
    travel = _gravity(km, residents, jobs, regions, rng)
    return CityModel(
        lattice, river, mixture, compactness, stature, greenness, heaviness, spacing, storeys, residents, jobs, travel
    )


def neighbours(km: np.ndarray, reach_km: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every ordered pair (i, j), i ≠ j, within `reach_km`, and its distance in km."""
    half = cKDTree(km).query_pairs(reach_km, output_type="ndarray")
    i, j = np.concatenate([half, half[:, ::-1]]).T
    order = np.lexsort((j, i))
    i, j = i[order], j[order]
    return i, j, np.hypot(*(km[i] - km[j]).T)


def _centrality(km: np.ndarray, centres: int, rng: np.random.Generator) -> np.ndarray:
    """0..1: nearness to the best of several centres of differing importance."""
    best = np.zeros(len(km))
    for centre in km[rng.choice(len(km), centres, replace=False)]:
        reach = np.exp(-np.hypot(*(km - centre).T) / 2.0)
        best = np.maximum(best, rng.uniform(0.5, 1.0) * reach)
    return best


def _mixture(
    km: np.ndarray, centrality: np.ndarray, river: River, city: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """[cells, 6]: softmax of suitabilities, their levels set so that the classes hold `_SHARES` of the city."""
    water = np.exp(-river.distance_km(km[:, 0], km[:, 1]) / 0.8)
    belt = np.exp(-np.abs(km @ _direction(rng) - rng.normal(0, 2.0)) / 1.5)
    edge = np.linalg.norm(km, axis=1) / np.linalg.norm(km, axis=1).max()
    suitability = np.stack(
        [0.5 * centrality, -0.4 * water, 2.2 * centrality, 0.8 * belt + 0.4 * water, 0.6 * water, 1.6 * edge], axis=1
    )
    for column in suitability.T:
        column += 0.75 * smooth_field(km, rng, 1.5) + 1.0 * rng.standard_normal(len(km))
    suitability *= 1.7
    level = np.log(_SHARES)
    for _ in range(60):
        mixture = _softmax(suitability + level)
        level += np.log(_SHARES / mixture[city].mean(axis=0))
    return mixture


def _softmax(logits: np.ndarray) -> np.ndarray:
    value = np.exp(logits - logits.max(axis=1, keepdims=True))
    return value / value.sum(axis=1, keepdims=True)


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _gravity(
    km: np.ndarray, residents: np.ndarray, jobs: np.ndarray, regions: int, rng: np.random.Generator
) -> sp.csr_array:
    """Production-constrained gravity law: residents choose jobs, and rarely those at a high travel cost.

    Travel within the corridor of both cells (an expressway or metro line) is cheap.
    """
    corridor = _corridors(km, max(2, round(regions / 12)), rng)
    i, j, distance = neighbours(km, _REACH_KM)
    between = corridor[i] != corridor[j]
    within = _same(corridor)
    i, j = np.concatenate([i[between], within[0]]), np.concatenate([j[between], within[1]])
    distance = np.hypot(*(km[i] - km[j]).T)
    cost = np.where(corridor[i] == corridor[j], 0.12 * distance / _COMMUTE_KM, 1 + distance / _COMMUTE_KM)
    pull = jobs[j] ** 0.8 * np.exp(-cost + 0.5 * rng.standard_normal(len(i)))
    pull = sp.csr_array((pull, (i, j)), shape=(len(km), len(km)))
    made = 0.6 * residents / np.maximum(pull.sum(axis=1), 1e-12)
    return sp.csr_array(sp.diags_array(made) @ pull)


def _same(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every ordered pair (i, j), i ≠ j, of cells in one group."""
    member = sp.csr_array((np.ones(len(group)), (np.arange(len(group)), group)))
    i, j = sp.coo_array(member @ member.T).coords
    return i[i != j], j[i != j]


def _corridors(km: np.ndarray, lines: int, rng: np.random.Generator) -> np.ndarray:
    """int64[cells]: the corridor of a cell, one of the straight lines that pass near it."""
    best, corridor = np.full(len(km), np.inf), np.zeros(len(km), dtype=np.int64)
    for line in range(lines):
        through, along = km[rng.integers(len(km))], _direction(rng)
        beside = np.abs((km - through) @ np.array([-along[1], along[0]]))
        beyond = np.maximum(np.abs((km - through) @ along) - 5, 0)
        far = np.hypot(beside, beyond) + rng.exponential(2.0, len(km))
        corridor[far < best] = line
        best = np.minimum(best, far)
    return corridor
