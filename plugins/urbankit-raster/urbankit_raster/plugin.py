"""The components of this package."""

from __future__ import annotations

from urbankit import hookimpl
from urbankit.registry.hookspecs import Register


@hookimpl
def register_modality_encoders(register: Register) -> None:
    register("raster", "urbankit_raster.encoder:Raster", "statistics of the cells of a GeoTIFF in every region")
