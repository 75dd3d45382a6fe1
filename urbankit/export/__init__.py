"""Getting results out of a run: the formats that other tools open."""

from urbankit.export.export import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]
