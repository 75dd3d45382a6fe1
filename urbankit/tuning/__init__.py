"""Hyper-parameter search: `urbankit tune`."""

from urbankit.tuning.study import Tuned, tune

__all__ = ["Tuned", "tune"]
