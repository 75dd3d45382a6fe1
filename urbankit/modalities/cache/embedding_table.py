"""Reading a file of embeddings by region; all its mistakes are reported at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import torch

from urbankit.city.city import City
from urbankit.city.ids import RegionIds
from urbankit.city.io.codes import Codes, check_bands, decode
from urbankit.city.io.columns import data_columns, describe, holds_numbers, numbers
from urbankit.city.io.raster import zonal
from urbankit.city.io.raster_file import open_raster, raster_files
from urbankit.city.io.source import reading
from urbankit.city.io.tables import read
from urbankit.city.prepare.match_regions import explain_no_match
from urbankit.modalities.cache.files import MANIFEST, Features, damaged_features, read_features, read_features_manifest
from urbankit.modalities.cache.store import FeatureStore
from urbankit.utils.errors import Problem, Problems, UserError, suggest
from urbankit.utils.files import hash_json
from urbankit.utils.hashes import cached_hashes
from urbankit.utils.json_text import parse_json
from urbankit.utils.paths import explain_missing
from urbankit.utils.text import list_some

RASTERS = (".tif", ".tiff")


@dataclass(frozen=True)
class Rules:
    """How a file is read: the column of ids, the columns of numbers (None: all others), and what is allowed.

    `absent` allows regions without a row, `unknown` rows of regions that the city does not have. `codes` says whether
    the numbers are 8-bit codes (`decode`).
    """

    region: str = "region_id"
    columns: Sequence[str] | None = None
    absent: bool = False
    unknown: bool = False
    codes: Codes = "auto"


@dataclass
class EmbeddingTable:
    """`values` float64[M, F], NaN missing, with the F `names`, and the `region` of each row, int64[M]."""

    values: np.ndarray
    region: np.ndarray
    names: list[str]
    notes: list[str] = field(default_factory=list)


def read_embeddings(path: Path, city: City, rules: Rules, key: str) -> EmbeddingTable:
    """The embeddings of the city's regions in a table, a raster, or what `urbankit encode` wrote.

    Raises one `UserError` with all that is wrong; `key` is that of the modality.
    """
    problems = Problems(path)
    if not path.exists():
        raise UserError(Problem(explain_missing(path), path, key=f"{key}.file"))
    encoded = _encoded(path, f"{key}.file")
    if encoded is not None:
        table = _of_observations(encoded, city, rules, problems, key)
        if table is not None and path.is_dir():
            table.notes += _of_another_city(path, city)
    elif path.suffix.lower() in RASTERS:
        table = _of_raster(path, city, rules, problems, key)
    else:
        table = _of_table(path, city, rules, problems, key)
    problems.raise_if_any()
    assert table is not None  # it is None only with a problem
    return table


def embedding_files(path: Path) -> list[Path]:
    """Return the files that `read_embeddings` reads: `path`, a raster with the files beside it, or those of a folder.

    Raises `UserError` for a raster that cannot be opened.
    """
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    return raster_files(path) if path.suffix.lower() in RASTERS else [path]


# What `urbankit encode` wrote


def _encoded(path: Path, key: str) -> Features | None:
    """The features in a folder or file of `urbankit encode`; None for any other file."""
    if path.is_dir():
        try:
            facts = read_features_manifest(path)
        except FileNotFoundError:
            message = "is a folder without features; give a folder that `urbankit encode` wrote, or a file"
            raise UserError(Problem(message, path, key=key)) from None
        except (OSError, ValueError) as error:
            message = f"is no manifest of features, or damaged ({error}); run the same `urbankit encode` command again"
            raise UserError(Problem(message, path / MANIFEST, key=key)) from None
        files = [path / Path(name).name for name in facts["files"]]
        if not facts["complete"]:
            raise UserError(Problem("was not completed; run the same `urbankit encode` command again", path, key=key))
        if problems := damaged_features(path, facts):
            raise UserError(replace(problem, key=key) for problem in problems)
        features = [_features(file, key) for file in files]
        vectors = [one.vector for one in features]
        for file, vector in zip(files, vectors, strict=True):
            if vector.shape[1] != facts["width"]:
                raise UserError(Problem("has vectors of another width than stated in manifest.json", file, key=key))
        ids = [region for one in features for region in one.region_id]
        if len(ids) != facts["observations"]:
            message = f"lists files of {len(ids):,} observations, but says {facts['observations']:,}: it is damaged"
            message += "; run the same `urbankit encode` command again"
            raise UserError(Problem(message, path / MANIFEST, key=key))
        if not vectors:
            raise UserError(Problem("lists no files of features", path / MANIFEST, key=key))
        return Features(ids, np.arange(len(ids)), np.concatenate(vectors))
    if path.suffix == ".safetensors":
        return _features(path, key)
    return read_features(path) if path.suffix == ".parquet" else None


def _of_another_city(folder: Path, city: City) -> list[str]:
    facts = read_features_manifest(folder)
    if facts.get("city_hash") in (None, city.content_hash):
        return []
    return [
        f"{folder} was encoded from another city, or from an earlier version of this one (city "
        f"'{facts.get('city')}', city_hash in manifest.json)"
    ]


def _features(path: Path, key: str) -> Features:
    features = read_features(path) if path.is_file() else None
    if features is None:
        message = "is not a file that `urbankit encode` wrote; give a table as CSV, JSONL or Parquet"
        raise UserError(Problem(message if path.is_file() else "file not found; encode again", path, key=key))
    return features


def _of_observations(
    features: Features, city: City, rules: Rules, problems: Problems, key: str
) -> EmbeddingTable | None:
    region = pd.Index(city.region_ids).get_indexer(pd.Index(features.region_id))
    notes: list[str] = []
    unknown = np.flatnonzero(region < 0).tolist()
    _unknown([features.region_id[i] for i in unknown], [i + 1 for i in unknown], rules, problems, notes, key)
    rows = np.flatnonzero(region >= 0)
    if not len(rows):
        problems.add("has no observation of a region of this city", key=f"{key}.file")
        return None
    names = [f"vector {i + 1}" for i in range(features.vector.shape[1])]
    table = EmbeddingTable(features.vector[rows].astype(np.float64), region[rows].astype(np.int64), names, notes)
    _absent(table, city, Rules(absent=True), problems, key)
    return table


# Rasters


def _of_raster(path: Path, city: City, rules: Rules, problems: Problems, key: str) -> EmbeddingTable | None:
    with open_raster(path) as dataset:
        descriptions = dataset.descriptions
        with problems.collect(), reading(path, f"{key}.file"):
            check_bands(dataset.dtypes, rules.codes)
    numbered = len(set(descriptions)) < len(descriptions) or None in descriptions
    names = [f"band {number}" if numbered else text for number, text in enumerate(descriptions, start=1)]
    selected = _selected(rules.columns, names, "band", problems, key)
    if problems:
        return None
    bands = [names.index(name) + 1 for name in selected]
    means = _band_means(path, city, bands, problems, f"{key}.file")
    if means is None:
        return None
    values, notes_of_bands = means
    notes = [f"{name}: {note}" for name, of_band in zip(selected, notes_of_bands, strict=True) for note in of_band]
    table = EmbeddingTable(values, np.arange(city.n_regions), selected, notes)
    return _without_empty(table, city, rules, problems, key)


def _band_means(
    path: Path, city: City, bands: list[int], problems: Problems, key: str
) -> tuple[np.ndarray, list[list[str]]] | None:
    """The mean of each band over every region, float64[N, bands], and the notes on each band; None with problems.

    They are computed once and stored in the feature store.
    """
    files = cached_hashes(raster_files(path))
    store, content = FeatureStore(), hash_json(["band means 2", files, city.content_hash, bands])
    tensors = store.get(content)
    if tensors is None:
        statistics = []
        for band in bands:
            with problems.collect(key):
                statistics.append(zonal(path, city.regions[["region_id", "geometry"]], "mean", band))
            if problems:
                return None
        notes = json.dumps([one.notes for one in statistics]).encode()
        tensors = {
            "means": torch.from_numpy(np.column_stack([one.values for one in statistics])),
            "notes": torch.frombuffer(bytearray(notes), dtype=torch.uint8),
        }
        store.put(content, tensors)
    return tensors["means"].numpy(), parse_json(tensors["notes"].numpy().tobytes())


# Tables


def _of_table(path: Path, city: City, rules: Rules, problems: Problems, key: str) -> EmbeddingTable | None:
    frame = read(path, {"region": rules.region}, key)
    ids = RegionIds(city.region_ids)
    dtype = frame.schema[rules.region]
    frame = frame.with_row_index("__row", offset=1).with_columns(
        ids.index(rules.region, dtype).alias("__region"), ids.text(rules.region, dtype).alias("__id")
    )
    notes: list[str] = []
    _check_ids(frame, ids, rules, problems, notes, key)
    internal = {rules.region, "__row", "__region", "__id"}
    others = [name for name in frame.columns if name not in internal]
    if rules.columns is None:
        with problems.collect():
            data = data_columns(frame, internal, path, f"{key}.columns")
            others, notes = data.names, notes + data.notes
    selected = _selected(rules.columns, others, "column", problems, key)
    parsed = _vectors(frame, selected, path, problems, f"{key}.columns")
    region = frame["__region"].to_numpy()
    if parsed is None:  # report the regions without a row too
        _absent(EmbeddingTable(np.empty(0), region, [], notes), city, rules, problems, key)
        return None
    values, names, has = parsed
    with problems.collect(), reading(path, f"{key}.file"):
        values, decoded = decode(values, names, rules.codes)
        notes += decoded
    rows = (region >= 0) & has
    table = EmbeddingTable(values[rows[has]], region[rows], names, notes)
    return _without_empty(table, city, rules, problems, key)


def _check_ids(
    frame: pl.DataFrame, ids: RegionIds, rules: Rules, problems: Problems, notes: list[str], key: str
) -> None:
    empty = frame.filter(pl.col("__id").is_null())["__row"].to_list()
    if empty:
        problems.add(
            f"rows without a region id: {list_some(empty)}; give them one, or delete them", key=f"{key}.region"
        )
    unknown = frame.filter((pl.col("__region") < 0) & pl.col("__id").is_not_null())
    if (frame["__region"] < 0).all():
        problems.add(explain_no_match(frame["__id"], ids, rules.region), key=f"{key}.region")
    else:
        _unknown(unknown["__id"].to_list(), unknown["__row"].to_list(), rules, problems, notes, key)
    doubled = (
        frame.filter(pl.col("__region") >= 0)
        .group_by("__id", maintain_order=True)
        .agg(pl.col("__row"))
        .filter(pl.col("__row").list.len() > 1)
    )
    if len(doubled):
        named = [f"{name} (rows {', '.join(map(str, rows))})" for name, rows in doubled.iter_rows()]
        problems.add(f"regions with several rows: {list_some(named)}; keep one each", key=f"{key}.region")


def _vectors(
    frame: pl.DataFrame, selected: list[str], path: Path, problems: Problems, key: str
) -> tuple[np.ndarray, list[str], np.ndarray] | None:
    """Return numbers [m, F], their names, and which rows have any (bool[rows], m true); None with problems added."""
    if not selected:
        if not problems:
            problems.add("has no column beside that of the ids", key=key)
        return None
    listed = [name for name in selected if _is_list(frame[name])]
    if listed and len(selected) > 1:
        message = f"column '{listed[0]}' holds lists beside other columns; name it alone, or leave it out, by `columns`"
        problems.add(message, key=key)
        return None
    if listed:
        return _from_lists(frame, listed[0], problems, key)
    columns = []
    for name in selected:
        kind = frame.schema[name]
        if not holds_numbers(kind):
            problems.add(f"column '{name}' holds {describe(kind)}; name those with numbers by `columns`", key=key)
        else:
            with problems.collect():
                columns.append(numbers(frame, name, path, key))
    if len(columns) < len(selected):
        return None
    return np.column_stack(columns), selected, np.ones(len(frame), dtype=bool)


def _is_list(column: pl.Series) -> bool:
    """Whether a column holds lists, in text as `[0.1, 0.2]` or numpy's `[0.1 0.2]`."""
    if column.dtype != pl.String:
        return isinstance(column.dtype, pl.List | pl.Array)
    first = column.drop_nulls().head(1)
    return len(first) == 1 and first[0].lstrip().startswith("[")


def _from_lists(
    frame: pl.DataFrame, name: str, problems: Problems, key: str
) -> tuple[np.ndarray, list[str], np.ndarray] | None:
    kind = frame.schema[name]
    has = frame[name].is_not_null().to_numpy()
    rows = frame.filter(pl.col(name).is_not_null()).select("__row", name)
    if kind == pl.String:
        text = pl.col(name).str.strip_chars().str.strip_chars("[]").str.strip_chars()
        rows = rows.with_columns(text.str.replace_all(r"[,;\s]+", ",").str.split(","))
    elif isinstance(kind, pl.Array):
        rows = rows.with_columns(pl.col(name).arr.to_list())
    cells = rows.explode(name)
    parsed = cells.with_columns(number=pl.col(name).cast(pl.Float64, strict=False))
    wrong = parsed.filter(pl.col("number").is_null() & pl.col(name).is_not_null())
    if len(wrong):
        named = [f"row {row} {cell!r}" for row, cell in wrong.select("__row", name).iter_rows()]
        problems.add(f"column '{name}' must hold lists of numbers, but: {list_some(named)}", key=key)
    lengths = rows[name].list.len().to_numpy()
    usual = int(np.bincount(lengths).argmax()) if len(lengths) else 0
    ragged = np.flatnonzero(lengths != usual)
    if len(ragged):
        named = [f"row {rows['__row'][int(i)]} has {lengths[i]}" for i in ragged]
        message = f"vectors differ in length: {list_some(named)}, where most have {usual} numbers; give all as many"
        problems.add(message, key=key)
    elif not usual:
        problems.add(f"column '{name}' holds no vector", key=key)
    if len(wrong) or len(ragged) or not usual:
        return None
    values = parsed["number"].fill_null(float("nan")).to_numpy().astype(np.float64).reshape(-1, usual)
    return values, [f"{name} {i + 1}" for i in range(usual)], has


# Rules that all forms share


def _selected(
    requested: Sequence[str] | None, available: list[str], what: str, problems: Problems, key: str
) -> list[str]:
    for name in requested or ():
        if name not in available:
            problems.add(f"there is no {what} '{name}'.{suggest(name, available)}", key=f"{key}.columns")
    return available if requested is None else [name for name in requested if name in available]


def _unknown(
    ids: Sequence[str], rows: Sequence[int], rules: Rules, problems: Problems, notes: list[str], key: str
) -> None:
    """Report rows whose id no region has, as a note or a problem."""
    if not len(ids):
        return
    named = [f"{name} (row {row})" for name, row in zip(ids, rows, strict=True)]
    if rules.unknown:
        notes.append(f"{len(ids)} rows of regions that the city does not have are skipped")
    else:
        remedy = "correct them, or skip such rows with `unknown: drop`"
        problems.add(f"ids that match no region: {list_some(named)}; {remedy}", key=f"{key}.region")


def _without_empty(table: EmbeddingTable, city: City, rules: Rules, problems: Problems, key: str) -> EmbeddingTable:
    """Return the table without the rows that hold no number."""
    rows = np.isfinite(table.values).any(axis=1)
    filled = EmbeddingTable(table.values[rows], table.region[rows], table.names, table.notes)
    _absent(filled, city, rules, problems, key)
    return filled


def _absent(table: EmbeddingTable, city: City, rules: Rules, problems: Problems, key: str) -> None:
    """Report regions that the file does not cover, as a note or a problem."""
    missing = np.setdiff1d(np.arange(city.n_regions), table.region)
    if not len(missing):
        return
    count = f"{len(missing)} of {city.n_regions} regions have no vector"
    if rules.absent and len(missing) < city.n_regions:
        table.notes.append(f"{count} and count as absent")
    else:
        named = list_some([city.region_ids[i] for i in missing])
        remedy = "add them, or set `absent: mask` to mask these regions"
        problems.add(f"{count}: {named}; {remedy}", key=f"{key}.file")
