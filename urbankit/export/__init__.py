"""Getting results out of a run: the formats that other tools open."""

from urbankit.export.export import Exported, export

__all__ = ["Exported", "export"]
