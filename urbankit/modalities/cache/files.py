"""Files of features: one vector for each observation, with the id of its region, as Parquet or safetensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.numpy import save_file

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import atomic_path, file_check, read_json
from urbankit.utils.json_text import parse_json

Form = Literal["parquet", "safetensors"]
COLUMNS = ("region_id", "observation", "vector")
MANIFEST = "manifest.json"


class Features(NamedTuple):
    """Of n observations: the id of its region, its number among the modality's, and its vector.

    `region_id` list[n]; `observation` int64[n]; `vector` float32[n, width]. `content` is their key in the store.
    """

    region_id: Sequence[str]
    observation: np.ndarray
    vector: np.ndarray
    content: str = ""


_LONGEST_NAME = 200


def write_features(path: Path, features: Features) -> None:
    """Write a file of features whole; the name's ending says the form.

    The same features give the same bytes. Parquet has the columns `region_id`, `observation` and `vector`, a fixed-size
    list. safetensors has the tensors `region`, `observation` and `vector`, and the ids that `region` counts in its
    metadata.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            _write_parquet(temporary, features)
        else:
            _write_safetensors(temporary, features)


def read_features(path: Path) -> Features | None:
    """Return the features in a file of `write_features`; None for any other file.

    Raises `UserError` for a damaged file.
    """
    try:
        return _read_parquet(path) if path.suffix == ".parquet" else _read_safetensors(path)
    except Exception as error:  # pyarrow and safetensors raise errors of any kind for a damaged file
        raise UserError(Problem(f"cannot be read, it may be truncated or damaged: {error}", path)) from None


def read_features_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder of features. Raises `ValueError` if it is damaged; `OSError` if it is missing."""
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict):
        raise ValueError("it is no JSON object")
    kinds = {"files": list, "complete": bool, "width": int, "checks": dict, "observations": int}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key, {} if key == "checks" else None), kind):
            raise ValueError(f"its `{key}` is missing or of another type")
    files, checks = manifest["files"], manifest.get("checks", {})
    if not all(isinstance(name, str) and "\0" not in name and len(name) <= _LONGEST_NAME for name in [*files, *checks]):
        raise ValueError("`files` are no names")
    if len(set(files)) < len(files) or (checks and set(files) != set(checks)):
        raise ValueError("`files` are not those of `checks`, or repeat one")
    if not all(isinstance(check, dict) for check in checks.values()):
        raise ValueError("`checks` are no sizes and hashes")
    return manifest


def damaged_features(folder: Path, manifest: Mapping[str, Any]) -> list[Problem]:
    """Return a problem for each file of a folder of features that differs from `checks` in its manifest."""
    problems = []
    for name in manifest["files"]:
        path = folder / Path(name).name
        recorded = manifest.get("checks", {}).get(name)
        if not path.is_file():
            problems.append(Problem("is missing; run the same `urbankit encode` command again", path))
        elif recorded is not None and recorded != file_check(path):
            problems.append(Problem("is damaged; run the same `urbankit encode` command again", path))
    return problems


def _write_parquet(path: Path, features: Features) -> None:
    vectors = np.ascontiguousarray(features.vector, dtype=np.float32)
    columns = [
        pa.array(features.region_id, pa.string()),
        pa.array(features.observation, pa.int64()),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
    ]
    table = pa.table(dict(zip(COLUMNS, columns, strict=True)))
    table = table.replace_schema_metadata({"urbankit": _facts(features)})
    # Vectors neither repeat nor compress: zstd saves 8 %.
    pq.write_table(table, path, compression="none", use_dictionary=["region_id"])


def _read_parquet(path: Path) -> Features | None:
    schema = pq.read_schema(path)
    if not set(COLUMNS) <= set(schema.names) or b"urbankit" not in (schema.metadata or {}):
        return None
    table = pq.read_table(path, columns=list(COLUMNS)).combine_chunks()
    vectors = table["vector"].combine_chunks()
    values = vectors.flatten().to_numpy(zero_copy_only=False)
    width = vectors.type.list_size
    facts = parse_json(schema.metadata[b"urbankit"])
    vector, observation = values.reshape(-1, width), table["observation"].to_numpy()
    features = Features(table["region_id"].to_pylist(), observation, vector, facts.get("content", ""))
    return _verified(features, facts)


def _write_safetensors(path: Path, features: Features) -> None:
    ids, region = np.unique(np.asarray(features.region_id, dtype=object).astype(str), return_inverse=True)
    tensors: dict[str, np.ndarray] = {
        "region": region.astype(np.int64),
        "observation": np.asarray(features.observation, dtype=np.int64),
        "vector": np.ascontiguousarray(features.vector, dtype=np.float32),
    }
    save_file(tensors, path, metadata={"urbankit": _facts(features, region_ids=ids.tolist())})


def _read_safetensors(path: Path) -> Features | None:
    with safe_open(path, framework="np") as file:
        facts = parse_json((file.metadata() or {}).get("urbankit", "{}"))
        if "region_ids" not in facts:
            return None
        region, observation, vector = (file.get_tensor(name) for name in ("region", "observation", "vector"))
    ids = np.asarray(facts["region_ids"], dtype=object)
    return _verified(Features(ids[region].tolist(), observation, vector, facts.get("content", "")), facts)


def _facts(features: Features, **more: object) -> str:
    return json.dumps({"content": features.content, "sha256": _digest(features), **more})


def _digest(features: Features) -> str:
    """The SHA-256 of the observations and vectors."""
    digest = hashlib.sha256(json.dumps(list(features.region_id)).encode())
    digest.update(np.ascontiguousarray(features.observation, dtype=np.int64).data)
    digest.update(np.ascontiguousarray(features.vector, dtype=np.float32).data)
    return digest.hexdigest()


def _verified(features: Features, facts: Mapping[str, Any]) -> Features:
    if facts.get("sha256") not in (None, _digest(features)):
        raise ValueError("its content does not have the hash that was written with it")
    return features
