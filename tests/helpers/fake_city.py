"""A small city in memory with the reader API of a prepared one."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from scipy import sparse

WORDS = [
    "dense", "block", "of", "towers", "green", "park", "wide", "road", "low", "houses", "water", "harbour", "trees",
]  # fmt: skip


class FakeImages:
    def __init__(self, name: str, region: np.ndarray, pixels: np.ndarray, lonlat: np.ndarray) -> None:
        self.name, self.region, self.pixels, self.lonlat = name, region, pixels, lonlat
        self.bands, self.size, self.dtype = pixels.shape[1], pixels.shape[2:], str(pixels.dtype)
        scaled = pixels / 255 if pixels.dtype == np.uint8 else pixels
        self.band_mean, self.band_std = np.nanmean(scaled, axis=(0, 2, 3)), np.nanstd(scaled, axis=(0, 2, 3))
        self.content_hash = hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()
        self.image_ids = [str(i) for i in range(len(region))]
        self.reads = 0

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.reads += 1
        return self.pixels[rows]


class FakeCity:
    """12 regions. `rsi`: one float image of 2 bands with missing pixels for all regions but number 3. `svi`: 0 to 5
    uint8 colour images a region. Captions of both."""

    name, n_regions, has_geometry = "fake", 12, True

    def __init__(self, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        n = self.n_regions
        self.content_hash = f"fake-{seed}"
        self.lonlat = np.column_stack([draw.uniform(-74.1, -73.8, n), draw.uniform(40.6, 40.9, n)])
        rsi_region = np.delete(np.arange(n), 3)
        rsi = draw.gamma(2.0, 5.0, (n - 1, 2, 16, 16)).astype(np.float32)
        rsi[draw.random(rsi.shape) < 0.1] = np.nan
        rsi[4, 1] = np.nan
        svi_region = np.repeat(np.arange(n), draw.permutation(np.arange(n) % 6))
        svi = draw.integers(0, 256, (len(svi_region), 3, 16, 24), dtype=np.uint8)
        points = self.lonlat[svi_region] + draw.normal(0, 0.001, (len(svi_region), 2))
        self._images = {
            "rsi": FakeImages("rsi", rsi_region, rsi, self.lonlat[rsi_region]),
            "svi": FakeImages("svi", svi_region, svi, points),
        }
        self._captions = {
            "rsi": _captions(draw, rsi_region[:-2], image=-1),
            "svi": _captions(draw, svi_region, image=np.arange(len(svi_region))),
        }
        self._poi = sparse.csr_array(draw.poisson(2.0, (n, 5)).astype(float))
        self.poi_present = np.arange(n) != 7
        flows = draw.poisson(1.0, (n, n)).astype(float) * draw.integers(1, 50, (n, n))
        flows[5], flows[:, 5] = 0, 0
        self._flows = sparse.csr_array(flows)
        census = draw.normal(100, 20, (n, 3))
        census[2, 1], census[9] = np.nan, np.nan
        self._tables = {"census": (census, ["income", "age", "rooms"])}

    @property
    def image_sources(self) -> list[str]:
        return list(self._images)

    def images(self, name: str) -> FakeImages:
        return self._images[name]

    @property
    def caption_sources(self) -> list[str]:
        return list(self._captions)

    def captions(self, source: str | None) -> pd.DataFrame:
        return self._captions[source]

    def poi_counts(self) -> tuple[sparse.csr_array, list[str]]:
        return self._poi, list("abcde")

    def flows(self) -> sparse.csr_array:
        return self._flows

    @property
    def tables(self) -> list[str]:
        return list(self._tables)

    def table(self, name: str) -> tuple[np.ndarray, list[str]]:
        return self._tables[name]

    @property
    def members(self) -> dict[str, FakeCity]:
        return {self.name: self}

    def unlabelled(self) -> FakeCity:
        return self

    def permuted(self, order: np.ndarray) -> FakeCity:
        """The same city with its regions in another order: region i is this city's region `order[i]`."""
        other = FakeCity.__new__(FakeCity)
        other.content_hash = f"{self.content_hash}-permuted"
        new_row = np.argsort(order)
        other.lonlat = self.lonlat[order]
        other._images, other._captions = {}, {}
        for name, images in self._images.items():
            region = new_row[images.region]
            rows = np.argsort(region, kind="stable")
            other._images[name] = FakeImages(name, region[rows], images.pixels[rows], images.lonlat[rows])
        for name, captions in self._captions.items():
            moved = captions.assign(region=new_row[captions["region"]])
            other._captions[name] = moved.sort_values("region", kind="stable", ignore_index=True)
        other._poi, other.poi_present = self._poi[order], self.poi_present[order]
        other._flows = self._flows[order][:, order]
        other._tables = {name: (values[order], columns) for name, (values, columns) in self._tables.items()}
        return other


def _captions(draw: np.random.Generator, region: np.ndarray, image: np.ndarray | int) -> pd.DataFrame:
    texts = [" ".join(draw.choice(WORDS, draw.integers(3, 12))) for _ in region]
    return pd.DataFrame({"region": region.astype(np.int64), "image": image, "text": texts})
