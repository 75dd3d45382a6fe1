"""Captions without a model: sentences from what the city's own counts and tables say of a region."""

from __future__ import annotations

from collections import Counter

import numpy as np
from pydantic import Field
from scipy.stats import rankdata

from urbankit.captioning.captioners.base import Batch, Caption, Captioner
from urbankit.city.city import City
from urbankit.registry import component
from urbankit.utils.errors import Problem, UserError, suggest
from urbankit.utils.text import format_number

LOW, HIGH = 0.25, 0.75
"""Ranks among the city's regions, from 0 to 1, below and above which a number is called low and high."""


class Template(Captioner):
    """Says of a region its area, its points of interest and what stands out in the city's tables, in fixed sentences.

    `An area of 0.92 km² with 153 points of interest, many for this city: 61 restaurant, 40 shop and 52 of 9 other
    kinds. High industrial share (0.62), income 54,000.`

    A number is "high" or "low" (points per km²: "many" or "few for this city") in the highest and lowest quarter of the
    regions that have one. Nothing is said that the city does not know: a region that was not counted is not told to
    have no points, and one with neither counts nor a value in any table gets no caption. Targets are never read, for a
    caption that names a label would leak it; land use is spoken of where it is a table.
    """

    reads_images = False

    class Params(component.Params):
        categories: int = Field(4, ge=0, description="Commonest categories of points of interest that are named.")
        tables: list[str] | None = Field(None, description="Tables that are spoken of; null takes all of the city's.")
        columns: int = Field(
            5,
            ge=0,
            description="Columns that are spoken of in a region: those in which it is furthest from the city's median, "
            "by rank; columns of all tables compete.",
        )

    params: Params

    def __init__(self, params: Params, city: City) -> None:
        super().__init__(params, city)
        self._names, self._values = _columns(city, params.tables)
        counted = city.poi_counts()
        if not self._names and counted is None:
            message = (
                f"the city '{city.name}' has neither points of interest nor tables, of which captions by template are "
                "made; add them to its city.yaml, or caption its images by a model: --captioner vlm"
            )
            raise UserError(Problem(message, city.path))
        self._counts, self._categories = counted if counted is not None else (None, [])
        density = np.full((city.n_regions, 1), np.nan)
        if self._counts is not None:
            density[city.poi_present, 0] = (self._counts.sum(axis=1) / city.area_km2)[city.poi_present]
        self._density = _ranks(density)[:, 0]
        self._ranks = _ranks(self._values)
        # What stands out first; columns without a value last.
        self._order = np.argsort(-np.nan_to_num(np.abs(self._ranks - 0.5), nan=-1.0), axis=1, kind="stable")

    def describes(self) -> np.ndarray:
        told = np.isfinite(self._values).any(axis=1) & (self.params.columns > 0)
        return np.isfinite(self._density) | told

    def caption(self, batch: Batch) -> list[Caption]:
        return [Caption(" ".join(self._sentences(region))) for region in batch.regions.tolist()]

    def _sentences(self, region: int) -> list[str]:
        area = f"An area of {_short(self.city.area_km2[region])} km²"
        found = [f"{area}{self._points(region) if np.isfinite(self._density[region]) else ''}."]
        told = [self._value(region, column) for column in self._order[region, : self.params.columns].tolist()]
        values = ", ".join(value for value in told if value)
        return [*found, f"{values[0].upper()}{values[1:]}."] if values else found

    def _points(self, region: int) -> str:
        counts = self._counts[[region]].toarray()[0]
        total = counts.sum()
        if total == 0:
            return " without points of interest"
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist()
        named, others = order[: self.params.categories], order[self.params.categories :]
        parts = [f"{format_number(counts[i])} {_words(self._categories[i])}" for i in named]
        if named and others:
            parts.append(
                f"{format_number(counts[others].sum())} of {len(others)} other kind{'s' if len(others) > 1 else ''}"
            )
        kinds = ": " + " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part) if parts else ""
        level = {"high": ", many for this city", "low": ", few for this city"}.get(_level(self._density[region]), "")
        return f" with {format_number(total)} point{'' if total == 1 else 's'} of interest{level}{kinds}"

    def _value(self, region: int, column: int) -> str:
        value, name = self._values[region, column], self._names[column]
        if np.isnan(value):
            return ""
        level = _level(self._ranks[region, column])
        return f"{level} {name} ({_short(value)})" if level else f"{name} {_short(value)}"


def _columns(city: City, chosen: list[str] | None) -> tuple[list[str], np.ndarray]:
    """The names [F] and values float64[N, F] of the columns of tables; a name of two tables is told with its table."""
    strangers = sorted(set(chosen or []) - set(city.tables))
    if strangers:
        problem = f"the city '{city.name}' has no table '{strangers[0]}'.{suggest(strangers[0], city.tables)}"
        raise UserError(Problem(problem, city.path, key="tables"))
    names: list[tuple[str, str]] = []
    blocks = [np.zeros((city.n_regions, 0))]
    for table in city.tables if chosen is None else chosen:
        values, columns = city.table(table)
        names += [(table, column) for column in columns]
        blocks.append(values)
    often = Counter(column for _, column in names)
    told = [_words(f"{table} {column}" if often[column] > 1 else column) for table, column in names]
    return told, np.hstack(blocks)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Mean rank of every value among those of its column, 0 to 1, NaN where there is none; 0.5 where all are equal."""
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
