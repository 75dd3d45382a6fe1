"""Captions without a model: sentences built from the counts and tables of a region."""

from __future__ import annotations

from collections import Counter

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array
from scipy.stats import rankdata

from urbankit.captioning.captioners.base import Batch, Caption, Captioner
from urbankit.city.city import City
from urbankit.registry import component
from urbankit.utils.errors import Problem, UserError, suggest
from urbankit.utils.text import format_number

LOW, HIGH = 0.25, 0.75
"""A number is called low or high at these ranks among the city's regions, from 0 to 1."""


class Template(Captioner):
    """Describes a region's area, points of interest and most unusual table columns in fixed sentences.

    `An area of 0.92 km² with 153 points of interest, many for this city: 61 restaurant, 40 shop and 52 of 9 other
    kinds. High industrial share (0.62), income 54,000.`

    A number is "high" or "low" (points per km²: "many" or "few for this city") in the highest and lowest quarter of the
    regions that have one. Missing data is not mentioned: a region without counts is not described as having no points,
    and one with neither counts nor a value in any table gets no caption. Targets are never read, because a caption with
    a label would leak it; land use is mentioned if it is a table.
    """

    reads_images = False

    class Params(component.Params):
        categories: int = Field(4, ge=0, description="How many of the most frequent POI categories are named.")
        tables: list[str] | None = Field(None, description="Tables to describe; null takes all of the city's.")
        columns: int = Field(
            5,
            ge=0,
            description="Columns described for a region: those in which it is furthest from the city's median by rank, "
            "among the columns of all tables.",
        )

    params: Params

    def __init__(self, params: Params, city: City) -> None:
        super().__init__(params, city)
        self._names, self._values = _columns(city, params.tables)
        poi = city.poi_counts()
        if not self._names and poi is None:
            message = (
                f"the city '{city.name}' has neither points of interest nor tables, which template captions need; add "
                "them to its city.yaml, or caption its images with a model: --captioner vlm"
            )
            raise UserError(Problem(message, city.path))
        no_counts = csr_array((city.n_regions, 0))
        self._counts, self._categories = (no_counts, []) if poi is None else poi
        density = np.full((city.n_regions, 1), np.nan)
        density[city.poi_present, 0] = (self._counts.sum(axis=1) / city.area_km2)[city.poi_present]
        self._density = _ranks(density)[:, 0]
        self._ranks = _ranks(self._values)
        # The most unusual columns first; columns without a value last.
        self._order = np.argsort(-np.nan_to_num(np.abs(self._ranks - 0.5), nan=-1.0), axis=1, kind="stable")

    def describes(self) -> np.ndarray:
        has_values = np.isfinite(self._values).any(axis=1) & (self.params.columns > 0)
        return np.isfinite(self._density) | has_values

    def caption(self, batch: Batch) -> list[Caption]:
        return [Caption(" ".join(self._sentences(region))) for region in batch.regions.tolist()]

    def _sentences(self, region: int) -> list[str]:
        area = f"An area of {_short(self.city.area_km2[region])} km²"
        first = f"{area}{self._points(region) if np.isfinite(self._density[region]) else ''}."
        columns = self._order[region][: self.params.columns].tolist()
        values = ", ".join(filter(None, (self._value(region, column) for column in columns)))
        return [first, f"{values[0].upper()}{values[1:]}."] if values else [first]

    def _points(self, region: int) -> str:
        counts = self._counts[[region]].toarray()[0]
        total = counts.sum()
        if total == 0:
            return " without points of interest"
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist()
        named, others = order[: self.params.categories], order[self.params.categories :]
        phrases = [f"{format_number(counts[i])} {_words(self._categories[i])}" for i in named]
        if named and others:
            plural = "s" if len(others) > 1 else ""
            phrases.append(f"{format_number(counts[others].sum())} of {len(others)} other kind{plural}")
        kinds = ": " + " and ".join(filter(None, (", ".join(phrases[:-1]), phrases[-1]))) if phrases else ""
        level = {"high": ", many for this city", "low": ", few for this city"}.get(_level(self._density[region]), "")
        return f" with {format_number(total)} point{'' if total == 1 else 's'} of interest{level}{kinds}"

    def _value(self, region: int, column: int) -> str:
        value, name = self._values[region, column], self._names[column]
        if np.isnan(value):
            return ""
        level = _level(self._ranks[region, column])
        return f"{level} {name} ({_short(value)})" if level else f"{name} {_short(value)}"


def _columns(city: City, chosen: list[str] | None) -> tuple[list[str], np.ndarray]:
    """Names [F] and values float64[N, F] of the columns of tables; a name that two tables use includes the table's."""
    unknown = sorted(set(chosen or []) - set(city.tables))
    if unknown:
        problem = f"the city '{city.name}' has no table '{unknown[0]}'.{suggest(unknown[0], city.tables)}"
        raise UserError(Problem(problem, city.path, key="tables"))
    names: list[tuple[str, str]] = []
    blocks = [np.zeros((city.n_regions, 0))]
    for table in city.tables if chosen is None else chosen:
        values, columns = city.table(table)
        names += [(table, column) for column in columns]
        blocks.append(values)
    frequency = Counter(column for _, column in names)
    labels = [_words(f"{table} {column}" if frequency[column] > 1 else column) for table, column in names]
    return labels, np.hstack(blocks)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Mean rank of every value within its column, 0 to 1; NaN if missing, 0.5 if all values are equal."""
    if not values.shape[1]:
        return np.zeros(values.shape)
    return (rankdata(values, axis=0, nan_policy="omit") - 0.5) / np.maximum(np.isfinite(values).sum(axis=0), 1)


def _level(rank: float) -> str:
    return "high" if rank >= HIGH else "low" if rank <= LOW else ""


def _short(value: float) -> str:
    """Three significant figures: `153`, `0.92`, `54,000`."""
    return format_number(float(f"{value:.3g}"))


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").split())
