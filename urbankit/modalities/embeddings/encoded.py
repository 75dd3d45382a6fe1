"""Embeddings in what `urbankit encode` wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from urbankit.city.city import City
from urbankit.modalities.cache.files import MANIFEST, Features, damaged_features, read_features, read_features_manifest
from urbankit.modalities.embeddings.rules import EmbeddingTable, Rules, report_absent, report_unknown
from urbankit.utils.errors import Problem, Problems, UserError


def read_encoded(path: Path, key: str) -> Features | None:
    """The features in a folder or file of `urbankit encode`; None for any other file."""
    if path.is_dir():
        try:
            facts = read_features_manifest(path)
        except FileNotFoundError:
            message = "is a folder without features or tiles; give one with GeoTIFF or `.npy` tiles, or one that "
            message += "`urbankit encode` wrote"
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


def of_another_city(folder: Path, city: City) -> list[str]:
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


def read_observations(
    features: Features, city: City, rules: Rules, problems: Problems, key: str
) -> EmbeddingTable | None:
    region = pd.Index(city.region_ids).get_indexer(pd.Index(features.region_id))
    notes: list[str] = []
    unknown = np.flatnonzero(region < 0).tolist()
    report_unknown([features.region_id[i] for i in unknown], [i + 1 for i in unknown], rules, problems, notes, key)
    rows = np.flatnonzero(region >= 0)
    if not len(rows):
        problems.add("has no observation of a region of this city", key=f"{key}.file")
        return None
    names = [f"vector {i + 1}" for i in range(features.vector.shape[1])]
    table = EmbeddingTable(features.vector[rows].astype(np.float64), region[rows].astype(np.int64), names, notes)
    report_absent(table, city, Rules(absent=True), problems, key)
    return table
