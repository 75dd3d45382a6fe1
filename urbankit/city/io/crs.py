"""The CRS of a source: its own, or the one that the city file declares."""

from __future__ import annotations

from pathlib import Path

from pyproj import CRS
from pyproj.exceptions import CRSError

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.geometry import placeable

_WITHOUT_PLACE = (
    "a local CRS without a position on Earth; declare the CRS of its coordinates as `crs` beside the file, such as "
    "`crs: EPSG:32618`"
)


def source_crs(file_crs: CRS | None, declared: str | None, path: Path, key: str | None = None) -> CRS:
    """Return the CRS of a file, or the declared one where the file has none or only a local one.

    Raises `UserError` if there is no usable CRS, or if the file has another than the declared one.
    """
    usable = file_crs is not None and placeable(file_crs)
    if declared is None:
        if file_crs is None:
            message = "has no CRS; declare it as `crs` beside the file, or save the file with one"
            raise UserError(Problem(message, path, key=key))
        if not usable:
            raise UserError(Problem(f"is in '{crs_name(file_crs)}', {_WITHOUT_PLACE}", path, key=key))
        return file_crs
    crs = CRS.from_user_input(declared)
    if usable and file_crs is not None and not file_crs.equals(crs, ignore_axis_order=True):
        message = f"is in {crs_name(file_crs)}, but {declared} is declared"
        raise UserError(Problem(message, path, key=None if key is None else f"{key}.crs"))
    return crs


def crs_name(crs: CRS) -> str:
    """Return a short name of a CRS."""
    return crs.to_string() if len(crs.to_string()) < 40 else crs.name


def known_crs(crs: str | None) -> str | None:
    """Return the name of a CRS, `EPSG:4326` for `4326`. Raises `ValueError` if it is unknown."""
    if crs is None:
        return None
    if crs.isdigit():
        crs = f"EPSG:{crs}"
    try:
        CRS.from_user_input(crs)
    except CRSError:
        raise ValueError(f"{crs!r} is not a known CRS; write it as EPSG:4326") from None
    return crs


def placed_crs(crs: str | None) -> str | None:
    """Return the name of a CRS that has a place on Earth. Raises `ValueError` for others."""
    crs = known_crs(crs)
    if crs is not None and not placeable(CRS.from_user_input(crs)):
        raise ValueError(f"{crs} has no place on Earth; give a geographic or projected CRS such as EPSG:4326")
    return crs


def projected_crs(crs: str | None) -> str | None:
    """Return the name of a projected CRS in metres. Raises `ValueError` for others."""
    crs = known_crs(crs)
    if crs is not None:
        parsed = CRS.from_user_input(crs)
        if not parsed.is_projected or any(axis.unit_name != "metre" for axis in parsed.axis_info):
            raise ValueError(f"{crs} is not a projected CRS in metres; leave it out to use the UTM zone")
    return crs
