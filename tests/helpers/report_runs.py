"""Cities and runs for the tests of the page: the fixture's run, with images and all else that a page reads."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import scipy.sparse

from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run


def furnished(city: SimpleNamespace) -> SimpleNamespace:
    """The fixture's city with one image a region, two street views in every second, points and flows."""
    n = city.n_regions
    sources = {
        "rsi": image_source("rsi", np.arange(n)),
        "svi": image_source("svi", np.repeat(np.arange(0, n, 2), 2)),
    }
    counts = scipy.sparse.csr_array(np.arange(n, dtype=float)[:, None])
    vars(city).update(
        image_sources=list(sources),
        images=sources.__getitem__,
        caption_sources=[],
        tables=[],
        poi_counts=lambda: (counts, ["shop"]),
        flows=lambda: scipy.sparse.csr_array((n, n)),
    )
    return city


def image_source(name: str, region: np.ndarray) -> SimpleNamespace:
    """Plain pictures of 16 x 24 pixels, each of the colour of its region's number; equal ones for equal regions."""

    def read(rows: np.ndarray) -> np.ndarray:
        shade = (region[rows] * 3 % 256).astype(np.uint8)
        return np.broadcast_to(shade[:, None, None, None], (len(rows), 3, 16, 24)).copy()

    return Source(name=name, region=region, read=read, bands=3, dtype="uint8", band_names=["red", "green", "blue"])


class Source(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.region)


def context_of(run: Run, city: SimpleNamespace) -> RunContext:
    return RunContext.of(run, furnished(city))
