"""Air quality of the synthetic city: carbon monoxide, fine particles, and their causes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from urbankit.datasets.synthetic.model import BUILDING_M, INDUSTRIAL, PARK, CityModel, neighbours

_CAR_REACH_KM = 1.1
_PLUME_KM = 1.6


@dataclass(frozen=True)
class Air:
    """Concentrations and what causes them; one value a cell."""

    co: np.ndarray
    """mg/m³"""
    pm25: np.ndarray
    """µg/m³"""
    causes: dict[str, np.ndarray]
    """The terms of both concentrations, each of variance 1 over the city."""


def air(model: CityModel, seed: int) -> Air:
    """CO and PM2.5 of every cell (docs/demo.md, "Air")."""
    rng = np.random.default_rng([seed, 5])
    cells, city = model.lattice.cells, model.lattice.city
    km = model.lattice.centres / 1000
    both_ways = sp.csr_array(model.travel + model.travel.T)
    trips = both_ways.sum(axis=1)
    exchange = sp.csr_array(sp.diags_array(1 / np.maximum(trips, 1e-9)) @ both_ways)

    works = model.mixture[:, INDUSTRIAL] * (BUILDING_M[INDUSTRIAL] / model.spacing_m[:, INDUSTRIAL]) ** 2
    stack = works * model.heaviness**1.5
    freight = works * (1.1 - model.heaviness) ** 2
    cars = trips * np.exp(0.1 * rng.standard_normal(cells))
    built = (model.mixture * model.storeys / model.spacing_m).sum(axis=1)
    leaves = model.mixture[:, PARK] + 0.4 * model.greenness

    def scaled(value: np.ndarray) -> np.ndarray:
        return (value - value[city].mean()) / max(value[city].std(), 1e-12)

    emission = scaled(np.sqrt(cars)) + scaled(np.sqrt(freight)) + scaled(np.sqrt(stack))
    causes = {
        "cars": scaled(np.sqrt(cars)),
        "trucks": scaled(np.sqrt(exchange @ freight)),
        "drift": scaled(_kernel(km, _CAR_REACH_KM, 3.0) @ emission),
        "plume": scaled(_kernel(km, _PLUME_KM, 6.0) @ np.sqrt(stack)),
        "canyon": scaled(np.sqrt(built)),
        "stack": scaled(np.sqrt(stack)),
        "leaves": scaled(leaves),
    }
    c, noise = causes, rng.standard_normal((2, cells))
    co = 0.80 + 0.16 * (0.60 * c["cars"] + 0.65 * c["trucks"] + 0.22 * c["drift"] + 0.2 * noise[0])
    pm25 = 34 + 5.0 * (0.45 * c["plume"] + 0.50 * c["canyon"] + 0.45 * c["stack"] - 0.45 * c["leaves"] + 0.2 * noise[1])
    return Air(np.maximum(co, 0.05), np.maximum(pm25, 3.0), causes)


def _kernel(km: np.ndarray, length: float, reach: float) -> sp.csr_array:
    """Row-normalised exp(-d / length) over the other cells within `reach` km."""
    i, j, distance = neighbours(km, reach)
    weight = sp.csr_array((np.exp(-distance / length), (i, j)), shape=(len(km), len(km)))
    return sp.csr_array(sp.diags_array(1 / np.maximum(weight.sum(axis=1), 1e-12)) @ weight)
