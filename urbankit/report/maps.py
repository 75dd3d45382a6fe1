"""Maps of regions: outlines, scale bar, north arrow, and names beside points."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation, blended_transform_factory
from numpy.typing import NDArray

from urbankit.report.style import ABSENT, INK, SMALL

MOST_VECTORS = 20_000
"""Maps with up to this many corners are vectors in the PDF; others are images of 300 dots per inch."""

MOST_BORDERS = 5000
"""Maps of up to this many regions have borders between them; of more, borders would cover the regions."""

_FINEST = 4000
"""Many outlines are simplified to this part of the city's diagonal, about a dot of a printed map."""


class RegionMap:
    """The outlines of regions in metres, computed once and drawn in any number of panels.

    Regions without an area, such as points, are drawn as dots.
    """

    def __init__(self, regions: gpd.GeoDataFrame) -> None:
        shapes = np.asarray(regions.geometry.values)
        self.centres = np.column_stack([regions.geometry.centroid.x, regions.geometry.centroid.y])
        self.bounds = np.asarray(regions.total_bounds, np.float64)
        left, low, right, high = self.bounds
        diagonal = float(np.hypot(right - left, high - low))
        if not np.isfinite(diagonal) or diagonal == 0:  # one point, or nothing
            self.bounds = np.nan_to_num(self.bounds) + np.array([-500.0, -500.0, 500.0, 500.0])
        if shapely.get_num_coordinates(shapes).sum() > MOST_VECTORS:
            shapes = shapely.simplify(shapes, diagonal / _FINEST)
        self.original, self.shapes = np.asarray(regions.geometry.values), shapes
        self.areal = bool((shapely.area(shapes) > 0).any())
        self.rasterized = bool(shapely.get_num_coordinates(shapes).sum() > MOST_VECTORS)

    @cached_property
    def paths(self) -> list[Path]:
        """The outline of each region [N], holes cut out."""
        return _outlines(self.shapes)

    @property
    def border(self) -> str:
        """The colour of borders between regions of one colour, or `face` for none."""
        return "white" if len(self.shapes) <= MOST_BORDERS else "face"

    @property
    def ratio(self) -> float:
        """Height over width, for the size of a panel."""
        left, low, right, high = self.bounds
        return float(np.clip((high - low) / max(right - left, 1e-9), 0.35, 2.2))

    def size(self, width: float, most: float = 3.2) -> tuple[float, float]:
        """Width and height in inches of a panel of at most `width` and no higher than `most`."""
        return min(width, most / self.ratio), min(most, width * self.ratio)

    def fill(self, ax: Any, colours: Any, *, edge: Any = "face", bounds: NDArray[np.float64] | None = None) -> None:
        """Fill the regions with `colours` (one, or one per region), on axes that show `bounds` in true proportion."""
        if self.areal:
            # Edges of the fill's own colour close the hairlines between neighbours.
            width = 0.3 if isinstance(edge, str) and edge == "face" else 0.25
            drawn = PathCollection(self.paths, facecolors=colours, edgecolors=edge, linewidths=width)
            drawn.set_rasterized(self.rasterized)
            ax.add_collection(drawn, autolim=False)
        else:
            size = float(np.clip(3000 / max(len(self.centres), 1), 1.0, 30.0))
            ax.scatter(*self.centres.T, s=size, c=colours, linewidths=0, rasterized=len(self.centres) > 3000)
        self.frame(ax, bounds)

    def frame(self, ax: Any, bounds: NDArray[np.float64] | None = None) -> None:
        """Set axes without ticks that show `bounds`, by default the city, in true proportion."""
        left, low, right, high = self.bounds if bounds is None else bounds
        margin = 0.01 * max(right - left, high - low)
        ax.set(xlim=(left - margin, right + margin), ylim=(low - margin, high + margin), aspect="equal")
        ax.set_axis_off()


def add_scale_bar(ax: Any) -> None:
    """Draw below the map a scale bar of a round number of metres or kilometres, and north; `ax` shows metres.

    Maps are drawn in a projected CRS, whose grid north is up.
    """
    left, right = ax.get_xlim()
    length = round_length((right - left) / 3.5)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    figure = ax.get_figure()
    below = blended_transform_factory(ax.transData, ax.transAxes) + ScaledTranslation(
        0, -5 / 72, figure.dpi_scale_trans
    )
    bar = Line2D([left, left + length], [0, 0], color=INK, linewidth=1.5, solid_capstyle="butt", transform=below)
    bar.set_clip_on(False)
    ax.add_artist(bar)
    look: dict[str, Any] = {"textcoords": "offset points", "va": "top", "color": INK, "annotation_clip": False}
    ax.annotate(text, (left, 0), (0, -7), xycoords=("data", "axes fraction"), ha="left", fontsize=SMALL, **look)
    # The arrow stands on its foot, the N beside it.
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.8, "mutation_scale": 6, "shrinkA": 0, "shrinkB": 0}
    ends = {"xycoords": ("axes fraction", "axes fraction"), "arrowprops": arrow, "annotation_clip": False}
    ax.annotate("", (0.98, 0), (0, -14), textcoords="offset points", **ends)
    ax.annotate("N", (0.98, 0), (-4, -5), xycoords="axes fraction", ha="right", fontsize=SMALL, **look)


def draw_locations(
    ax: Any, outlines: RegionMap, rows: Sequence[int], names: Sequence[str], colours: Sequence[str]
) -> None:
    """Draw a grey map with a scale bar, with the regions `rows` in their colours and with their names."""
    fill = np.tile(to_rgba(ABSENT), (len(outlines.centres), 1))
    fill[list(rows)] = [to_rgba(colour) for colour in colours]
    outlines.fill(ax, fill, edge=outlines.border)
    mark_points(ax, outlines.centres[list(rows)], names, colours)
    add_scale_bar(ax)


def mark_points(ax: Any, points: NDArray[np.float64], names: Sequence[str], colours: Sequence[str]) -> None:
    """Draw a dot at each of `points` [n, 2], and its name beside it, as far as possible from other dots and names."""
    point = (ax.get_xlim()[1] - ax.get_xlim()[0]) / (2.4 * 72)  # of a map as wide as a third of two columns
    ring = np.array([(np.cos(a), np.sin(a)) for a in np.arange(np.pi / 4, 2 * np.pi, np.pi / 4)])
    occupied = [np.asarray(xy) for xy in points]
    for name, colour, xy in zip(names, colours, points, strict=False):
        choices = xy + 9 * point * ring
        gaps = [min(np.hypot(*(choice - other)) for other in occupied) for choice in choices]
        at = choices[int(np.argmax(np.round(np.array(gaps) / point, 1)))]
        occupied.append(at)
        ax.scatter(*xy, s=8, color=colour, edgecolors="white", linewidths=0.4, zorder=3)
        ax.annotate(
            name, xy, (at - xy) / point, textcoords="offset points", ha="center", va="center", color=colour,
            fontsize=8, fontweight="bold", zorder=4, path_effects=[withStroke(linewidth=1.8, foreground="white")],
            annotation_clip=False,
        )  # fmt: skip


def round_length(length: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length))


def _outlines(shapes: NDArray) -> list[Path]:
    # After `normalize` a hole has the opposite orientation of its polygon, so that it is not filled.
    polygons, of_shape = shapely.get_parts(shapely.normalize(shapes), return_index=True)
    rings, of_polygon = shapely.get_rings(polygons, return_index=True)
    xy, of_ring = shapely.get_coordinates(rings, return_index=True)
    first = np.diff(of_ring, prepend=-1) > 0
    codes = np.full(len(xy), Path.LINETO, Path.code_type)
    codes[first] = Path.MOVETO
    codes[np.r_[first[1:], True][: len(xy)]] = Path.CLOSEPOLY
    starts = np.searchsorted(of_shape[of_polygon[of_ring]], np.arange(len(shapes) + 1))
    return [Path(xy[begin:end], codes[begin:end]) for begin, end in pairwise(starts)]
