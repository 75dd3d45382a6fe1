"""Rasters as a modality of urbankit."""
