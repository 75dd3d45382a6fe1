"""Embeddings in cells of rasters: GeoTIFF and VRT files, and folders of tiles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.windows import Window

from urbankit.city.city import City
from urbankit.city.io.cell_vectors import Tile, cell_means
from urbankit.city.io.codes import CellDecoder, Codes
from urbankit.city.io.nodata import NodataWatch
from urbankit.city.io.raster import check_amounts, check_exact, read_cells, share_notes
from urbankit.city.io.raster_file import open_raster, raster_files
from urbankit.city.io.source import reading
from urbankit.city.points import NEEDS_GEOMETRY
from urbankit.modalities.cache.store import FeatureStore
from urbankit.modalities.embeddings.reader import Reader
from urbankit.modalities.embeddings.rules import EmbeddingTable, Rules, select_names, without_empty
from urbankit.modalities.embeddings.tessera import TesseraTile, is_array_tile, tessera_tile
from urbankit.modalities.embeddings.years import choose_year, names_of_year, year_of
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.files import hash_json
from urbankit.utils.hashes import cached_hashes
from urbankit.utils.json_text import parse_json
from urbankit.utils.text import list_some

RASTERS = (".tif", ".tiff", ".vrt")


@dataclass
class RasterTile:
    """The bands of a raster file."""

    path: Path
    names: list[str]
    dtypes: list[str]

    @classmethod
    def of(cls, path: Path) -> RasterTile:
        """Return the tile of a file. Raises `UserError` as `open_raster`."""
        with open_raster(path) as dataset:
            descriptions, dtypes = dataset.descriptions, list(dataset.dtypes)
        numbered = len(set(descriptions)) < len(descriptions) or None in descriptions
        names = [f"band {number}" if numbered else str(text) for number, text in enumerate(descriptions, start=1)]
        return cls(path, names, dtypes)

    def files(self) -> list[Path]:
        """Return the files that are read."""
        return raster_files(self.path)

    def reader(self, bands: Mapping[str, str], codes: Codes) -> Reader:
        """Return what reads the `bands`, a name for each of the new names. Raises `UserError` for unknown codes."""
        numbers = [self.names.index(name) + 1 for name in bands.values()]
        decoder = CellDecoder(list(bands), [self.dtypes[number - 1] for number in numbers], codes)
        watches = [NodataWatch() for _ in numbers]

        def read(dataset: rasterio.DatasetReader, window: Window) -> np.ndarray:
            layers = []
            for number, watch in zip(numbers, watches, strict=True):
                check_amounts(dataset, number)
                cells = read_cells(dataset, number, window=window)
                check_exact(cells, self.path)
                if not decoder.decodes:
                    watch.add(cells)
                layers.append(np.ma.filled(cells.astype(np.float64), np.nan))
            return decoder(np.stack(layers, axis=-1))

        def notes() -> list[tuple[str, str]]:
            suspects = zip(bands, watches, strict=True)
            of_bands = [(name, note) for name, watch in suspects for note in watch.notes("the raster")]
            return [*(("", note) for note in decoder.check()), *of_bands]

        return Reader(Tile(self.path, list(bands), read), notes)


@dataclass
class Tiles:
    """The tiles in a file or folder; those of one year if their paths say years (`in_years`)."""

    path: Path
    tiles: Sequence[RasterTile | TesseraTile]
    in_years: bool

    def files(self) -> list[Path]:
        """Return all files that are read."""
        return sorted({file for tile in self.tiles for file in tile.files()})


def holds_tiles(path: Path) -> bool:
    """Return whether a file or folder holds cells of rasters."""
    return next(_files(path), None) is not None


def find_tiles(path: Path, year: int | None, key: str) -> Tiles:
    """Return the tiles of a file or folder, those of one year if their paths say years.

    In a folder, `.npy` tiles have the first choice, then GeoTIFF, then VRT: others are made of them.

    Raises:
        UserError: For tiles that cannot be used, and if the choice of a year is missing or not available.
    """
    files = list(_files(path))
    years = {file: year_of("/".join(file.relative_to(path.parent).parts)) for file in files}
    available = {one for one in years.values() if one is not None}
    if available:
        chosen = choose_year(available, year, path, key, "has tiles")
        files = [file for file in files if years[file] == chosen]
    problems = Problems(path)
    tiles: list[RasterTile | TesseraTile] = []
    for file in files:
        with problems.collect(f"{key}.file"):
            tiles.append(tessera_tile(file) if is_array_tile(file) else RasterTile.of(file))
    problems.raise_if_any()
    different = [tile.path.name for tile in tiles if tile.names != tiles[0].names]
    if different:
        message = f"has tiles with other bands than {tiles[0].path.name}: {list_some(different)}; give them apart"
        raise UserError(Problem(message, path, key=f"{key}.file"))
    return Tiles(path, tiles, bool(available))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield from [path] if path.suffix.lower() in RASTERS or is_array_tile(path) else []
        return
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    arrays = [file for file in files if is_array_tile(file)]
    tiffs = [file for file in files if file.suffix.lower() in RASTERS[:2]]
    yield from arrays or tiffs or [file for file in files if file.suffix.lower() == ".vrt"]


def read_tiles(path: Path, city: City, rules: Rules, problems: Problems, key: str) -> EmbeddingTable | None:
    """Return the means of the cells of each region; None with problems added."""
    if not city.has_geometry:
        problems.add(NEEDS_GEOMETRY, key=f"{key}.file")
        return None
    tiles = find_tiles(path, rules.year, key)
    names = tiles.tiles[0].names
    of_bands = None if tiles.in_years else rules.year
    bands = names_of_year(names, of_bands, path, key, "has bands")
    selected = select_names(rules.columns, list(bands), "band", problems, key)
    if problems:
        return None
    values, notes = _means(tiles, city, {name: bands[name] for name in selected}, rules.codes, f"{key}.file")
    return without_empty(EmbeddingTable(values, np.arange(city.n_regions), selected, notes), city, rules, problems, key)


def _means(tiles: Tiles, city: City, bands: dict[str, str], codes: Codes, key: str) -> tuple[np.ndarray, list[str]]:
    """Return the mean of each band over every region, float64[N, bands], and notes.

    They are computed once and stored in the feature store.
    """
    files = cached_hashes(tiles.files())
    store, content = FeatureStore(), hash_json(["cell means 1", files, city.content_hash, bands, codes])
    tensors = store.get(content)
    if tensors is None:
        with reading(tiles.path, key):
            readers = [tile.reader(bands, codes) for tile in tiles.tiles]
            means = cell_means([one.tile for one in readers], city.regions[["region_id", "geometry"]])
            notes = _notes([note for one in readers for note in one.notes()], means.share, list(bands))
        tensors = {
            "means": torch.from_numpy(means.values),
            "notes": torch.frombuffer(bytearray(json.dumps(notes).encode()), dtype=torch.uint8),
        }
        store.put(content, tensors)
    return tensors["means"].numpy(), parse_json(tensors["notes"].numpy().tobytes())


def _notes(of_bands: list[tuple[str, str]], share: np.ndarray, names: list[str]) -> list[str]:
    """Return notes of all tiles, each once, with the bands that it is about unless it is about all."""
    bands: dict[str, dict[str, None]] = {}
    for name, note in of_bands:
        bands.setdefault(note, {}).update(dict.fromkeys([name] if name else names))
    for name, column in zip(names, share.T, strict=True):
        for note in share_notes(column):
            bands.setdefault(note, {})[name] = None
    return [note if len(about) == len(names) else f"{list_some(about)}: {note}" for note, about in bands.items()]
