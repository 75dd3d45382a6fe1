"""QGIS styles: a layer beside its style file opens coloured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from urbankit.export.base import Exporter
from urbankit.export.tables import ExportTable
from urbankit.utils.colours import COLOURS
from urbankit.utils.errors import UserError
from urbankit.utils.files import write_text

RANGES = 7
"""Colours of a graduated style, each with about the same number of regions."""

MISSING = "#d9d9d9"
_HEADER = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class QGISStyle(Exporter):
    """A style that QGIS reads beside a layer of the same name: graduated colours, or one for each class."""

    files = ("{what}.qml",)

    def write(self, table: ExportTable, paths: Sequence[Path]) -> list[str]:
        """Colour the first predicted number, without numbers the first predicted class; else the first column."""
        [path] = paths
        column = table.shown or next(iter(table.columns), None)
        if column is None:
            raise UserError("the table has no column that a style could show")
        write_text(path, _HEADER + ElementTree.tostring(_style(table, column), encoding="unicode"))
        return [f"colours show {column}"]


def _style(table: ExportTable, column: str) -> ElementTree.Element:
    root = ElementTree.Element("qgis", {"version": "3.22.0", "styleCategories": "Symbology"})
    values = table.frame[column]
    points = bool(table.has_geometry and table.frame.geometry.dropna().geom_type.str.endswith("Point").all())
    if column in table.classes or not pd.api.types.is_numeric_dtype(values):
        names = list(table.classes.get(column, {}).values())
        _categories(root, column, values, names, table.titles.get(column, {}), points)
    else:
        _ranges(root, column, values.to_numpy(np.float64), points)
    return root


def _categories(
    root: ElementTree.Element,
    column: str,
    values: pd.Series,
    names: list[str],
    titles: Mapping[str, str],
    points: bool,
) -> None:
    """One colour for each class in the order of their codes, with its title, and grey for regions without one."""
    present = {str(value) for value in values.dropna()}
    names = [name for name in names if name in present] or sorted(present)
    renderer = _renderer(root, "categorizedSymbol", column)
    colours = [*(COLOURS[i % len(COLOURS)] for i in range(len(names))), MISSING]
    categories = ElementTree.SubElement(renderer, "categories")
    for i, name in enumerate([*names, ""]):
        label = _xml(titles.get(name, name)) or "no value"
        keys = {"symbol": str(i), "value": _xml(name), "label": label, "type": "string"}
        ElementTree.SubElement(categories, "category", keys | {"render": "true"})
    _symbols(renderer, colours, points)


def _ranges(root: ElementTree.Element, column: str, values: np.ndarray, points: bool) -> None:
    """Ranges from the smallest to the largest value, each with about the same number of regions."""
    finite = values[np.isfinite(values)]
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, RANGES + 1))) if len(finite) else np.zeros(1)
    edges = edges if len(edges) > 1 else np.repeat(edges, 2)
    renderer = _renderer(root, "graduatedSymbol", column)
    renderer.set("graduatedMethod", "GraduatedColor")
    ranges = ElementTree.SubElement(renderer, "ranges")
    for i, (low, high) in enumerate(pairwise(edges)):
        keys = {"lower": repr(float(low)), "upper": repr(float(high)), "symbol": str(i), "render": "true"}
        ElementTree.SubElement(ranges, "range", keys | {"label": f"{low:,.4g} – {high:,.4g}"})
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 1, len(edges) - 1))
    _symbols(renderer, [to_hex(colour) for colour in colours], points)


def _renderer(root: ElementTree.Element, kind: str, column: str) -> ElementTree.Element:
    keys = {"type": kind, "attr": _xml(column), "enableorderby": "0", "forceraster": "0", "symbollevels": "0"}
    return ElementTree.SubElement(root, "renderer-v2", keys)


def _symbols(renderer: ElementTree.Element, colours: Sequence[str], points: bool) -> None:
    """Polygons, or points, filled with each of the colours, and a thin white outline."""
    kind, layer_class = ("marker", "SimpleMarker") if points else ("fill", "SimpleFill")
    symbols = ElementTree.SubElement(renderer, "symbols")
    for i, colour in enumerate(colours):
        symbol = ElementTree.SubElement(symbols, "symbol", {"type": kind, "name": str(i), "alpha": "1"})
        layer = ElementTree.SubElement(symbol, "layer", {"class": layer_class, "enabled": "1", "locked": "0"})
        keys = {
            "color": _rgba(colour),
            "style": "solid",
            "outline_color": "255,255,255,255",
            "outline_style": "solid",
            "outline_width": "0.1",
            "outline_width_unit": "MM",
        }
        options = ElementTree.SubElement(layer, "Option", {"type": "Map"})
        for key, value in keys.items():
            ElementTree.SubElement(options, "Option", {"type": "QString", "name": key, "value": value})
        for key, value in keys.items():  # as versions of QGIS before 3.20 read them
            ElementTree.SubElement(layer, "prop", {"k": key, "v": value})


def _rgba(colour: str) -> str:
    return ",".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5)) + ",255"


def _xml(text: str) -> str:
    """Return a text without the characters that XML cannot hold."""
    return _NOT_XML.sub("", text)
