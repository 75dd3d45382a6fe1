"""Reading a file or folder of embeddings by region; all its mistakes are reported at once."""

from __future__ import annotations

from pathlib import Path

from urbankit.city.city import City
from urbankit.city.io.source import Source, find_source
from urbankit.city.io.tables import scan
from urbankit.city.io.vectors import is_vector
from urbankit.modalities.cache.files import MANIFEST
from urbankit.modalities.embeddings.encoded import of_another_city, read_encoded, read_observations
from urbankit.modalities.embeddings.ids import recognise
from urbankit.modalities.embeddings.positions import read_positions
from urbankit.modalities.embeddings.rules import EmbeddingTable, Rules
from urbankit.modalities.embeddings.table import read_table
from urbankit.modalities.embeddings.tiles import find_tiles, holds_tiles, read_tiles
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.paths import explain_missing


def read_embeddings(path: Path, city: City, rules: Rules, key: str) -> EmbeddingTable:
    """The embeddings of the city's regions in a table, in cells of rasters, or in what `urbankit encode` wrote.

    Raises one `UserError` with all that is wrong; `key` is that of the modality.
    """
    problems = Problems(path)
    if not path.exists():
        raise UserError(Problem(explain_missing(path), path, key=f"{key}.file"))
    if _is_in_tiles(path):
        table = read_tiles(path, city, rules, problems, key)
    elif (encoded := read_encoded(path, f"{key}.file")) is not None:
        table = read_observations(encoded, city, rules, problems, key)
        if table is not None and path.is_dir():
            table.notes += of_another_city(path, city)
    elif _is_placed(path, rules.region, key):
        table = read_positions(path, city, rules, problems, key)
    else:
        table = read_table(path, city, rules, problems, key)
    problems.raise_if_any()
    assert table is not None  # it is None only with a problem
    return table


def embedding_files(path: Path, year: int | None = None) -> list[Path]:
    """Return the files that `read_embeddings` reads: `path`, a raster with the files beside it, or those of a folder.

    Raises `UserError` for tiles that cannot be used.
    """
    if _is_in_tiles(path):
        return find_tiles(path, year, "").files()
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    return [path]


def _is_in_tiles(path: Path) -> bool:
    return not (path / MANIFEST).is_file() and holds_tiles(path)


def _is_placed(path: Path, region: str, key: str) -> bool:
    """Return whether rows are placed by their geometry, because no column has ids of regions."""
    if not is_vector(path):
        return False
    source = find_source(path)
    if source is None or type(source).scan_table is Source.scan_table:
        return True
    columns = scan(path, {}, key, only_named=False).collect_schema().names()
    return region not in columns and recognise(columns) is None
