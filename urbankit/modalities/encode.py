"""`urbankit encode`: the vectors of all observations in files, and their means by region in the feature store.

An interrupted call can be repeated: it does not compute the finished files again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from urbankit.city.city import City
from urbankit.modalities.cache.files import Features, Form, read_features, write_features
from urbankit.modalities.cache.store import FeatureStore
from urbankit.modalities.pooling import RegionEncoder, with_progress
from urbankit.utils.errors import Problem, UserError, unwritable
from urbankit.utils.files import file_check, read_json, write_json
from urbankit.utils.locks import LOCK, file_lock, in_use
from urbankit.utils.prefetch import in_background
from urbankit.utils.progress import Progress, Stage
from urbankit.utils.removal import remove_partial_files

FORMAT = 1
ROWS = 4096


def encode(
    pool: RegionEncoder,
    city: City,
    out: str | Path | None = None,
    *,
    form: Form = "parquet",
    rows: int = ROWS,
    precision: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the backbone's vectors of all observations, and store their means by region for runs with this encoder.

    Args:
        pool: the encoder and what its observations describe; its backbone is not trained, whatever `trainable` is.
        city: the encoder's city.
        out: the folder, by default `features/CITY-MODALITY-KEY`. KEY is a hash of everything the vectors depend on.
            The files are `features-00000.parquet`, …, readable with `read_features`, and `manifest.json`.
        form: the file format.
        rows: observations per file, a multiple of the chunk of `pool`.
        precision: the type that autocast computes in; None computes in the weights' own.

    Raises:
        UserError: `out` holds features of something else, cannot be written, or is being written by another process.
    """
    if rows < 1 or rows % pool.chunk:
        raise UserError(
            f"--rows must be a multiple of {pool.chunk}, the number of observations computed at once, not {rows}"
        )
    content = pool.content(precision)
    folder = Path("features") / _folder_name(city, pool, content) if out is None else Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, "features", error) from None
    try:
        with file_lock(folder / LOCK, wait=False):
            work = _Encoding(pool, city, folder, form, rows, precision, content)
            work.run(Progress(quiet=True) if progress is None else progress)
    except BlockingIOError:
        raise in_use(folder, "encode") from None
    return folder


class _Encoding:
    """The work of `encode` on one folder."""

    def __init__(
        self,
        pool: RegionEncoder,
        city: City,
        folder: Path,
        form: Form,
        rows: int,
        precision: torch.dtype | None,
        content: str,
    ) -> None:
        self.pool, self.city, self.folder, self.precision, self.content = pool, city, folder, precision, content
        self.rows = rows
        n = len(pool.region)
        self.parts = [
            (folder / f"features-{number:05d}.{form}", begin, min(begin + rows, n))
            for number, begin in enumerate(range(0, n, rows))
        ]
        self.manifest = self._manifest()

    def run(self, progress: Progress) -> None:
        self._check_folder()
        write_json(self.folder / "manifest.json", self.manifest | {"complete": False})
        remove_partial_files(self.folder)
        remaining = [part for part in self.parts if not self._is_finished(*part)]
        if len(remaining) < len(self.parts):
            progress.say(f"{len(self.parts) - len(remaining)} of {len(self.parts)} files exist already")
        with progress.stage(f"encode {self.pool.name}", sum(end - begin for _, begin, end in remaining)) as stage:
            self._compute(remaining, stage)
        self._store_means()
        checks = {path.name: file_check(path) for path, _, _ in self.parts}
        write_json(self.folder / "manifest.json", self.manifest | {"complete": True, "checks": checks})

    def _compute(self, parts: list[tuple[Path, int, int]], stage: Stage) -> None:
        """Write the files of `parts`, one while the next is computed."""
        chunks = [chunk for _, begin, end in parts for chunk in self.pool.chunks(begin, end)]
        computed = with_progress(self.pool.vectors(self.precision, chunks), stage)
        writing: Future[None] | None = None
        for path, begin, end in parts:
            vectors = [next(computed)[1] for _ in self.pool.chunks(begin, end)]
            features = self._features(np.arange(begin, end), torch.cat(vectors).float().cpu().numpy())
            if writing is not None:
                writing.result()
            writing = in_background(partial(write_features, path), features)
        next(computed, None)  # the generator then counts the last chunk and restores the mode of the encoder
        if writing is not None:
            writing.result()

    def _features(self, rows: np.ndarray, vectors: np.ndarray) -> Features:
        ids = np.asarray(self.city.region_ids, dtype=object)[self.pool.region[rows]]
        return Features(ids.tolist(), rows, vectors, self.content)

    def _store_means(self) -> None:
        """Write the means by region to the feature store, from which `RegionEncoder.keep` reads."""
        store = FeatureStore()
        if store.get(self.content) is None:
            store.put(self.content, {"features": self.pool.mean_of(self._written()), "mask": self.pool.present})

    def _written(self) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        for path, begin, end in self.parts:
            features = self._read(path, begin, end)
            if features is None:
                raise UserError(Problem("was changed during encoding; delete it and run the command again", path))
            yield features.observation, torch.from_numpy(features.vector.copy())

    def _is_finished(self, path: Path, begin: int, end: int) -> bool:
        """Whether a file holds its features; a damaged one is computed again."""
        try:
            return path.exists() and self._read(path, begin, end) is not None
        except UserError:
            return False

    def _read(self, path: Path, begin: int, end: int) -> Features | None:
        """Read the features of the observations `begin` to `end`; None if the file holds something else."""
        features = read_features(path)
        if features is None or features.content != self.content:
            return None
        complete = features.vector.shape == (end - begin, self.pool.encoder.width)
        return features if complete and np.array_equal(features.observation, np.arange(begin, end)) else None

    def _manifest(self) -> dict[str, Any]:
        encoder = self.pool.encoder
        return {
            "format": FORMAT,
            "city": self.city.name,
            "city_hash": self.city.content_hash,
            "modality": encoder.modality,
            "of": self.pool.of,
            "encoder": f"{type(encoder).__module__}.{type(encoder).__qualname__}",
            "params": encoder.params.model_dump(mode="json"),
            "pretrained": encoder.loaded(),
            "precision": "float32" if self.precision is None else str(self.precision).removeprefix("torch."),
            "device": encoder.device.type,
            "content": self.content,
            "observations": len(self.pool.region),
            "regions": int(self.pool.present.sum()),
            "width": encoder.width,
            "rows": self.rows,
            "files": [path.name for path, _, _ in self.parts],
        }

    def _check_folder(self) -> None:
        """Raise `UserError` if the folder holds other files of features than those of this call."""
        path = self.folder / "manifest.json"
        try:
            before = read_json(path) if path.exists() else None
        except ValueError as error:
            if self._is_own_manifest(path.read_bytes()):
                return  # it was cut short, and is written again
            raise UserError(Problem(f"is damaged ({error}); choose another --out", path)) from None
        if before is not None and not isinstance(before, dict):
            raise UserError(Problem("is damaged (not a JSON object); choose another --out", path))
        if before is None and any(self.folder.glob("features-*")):
            raise UserError(Problem("holds features without a manifest.json; choose another --out", self.folder))
        if before is None:
            return
        same = [key for key in ("content", "rows", "files") if before.get(key) == self.manifest[key]]
        if "content" in same and "rows" not in same and before.get("rows"):
            message = f"was started with --rows {before['rows']}; use the same value, or choose another --out"
            raise UserError(Problem(message, self.folder))
        if "content" not in same or "files" not in same:
            message = (
                "holds features of another city, encoder, checkpoint, precision or file format (see its "
                "manifest.json); choose another --out"
            )
            raise UserError(Problem(message, self.folder))

    def _is_own_manifest(self, content: bytes) -> bool:
        """Whether a damaged manifest is the beginning of the one that this call writes."""
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False).removesuffix("\n}").encode()
        return text.startswith(content) or content.startswith(text)


def _folder_name(city: City, pool: RegionEncoder, content: str) -> str:
    return "-".join([city.name, pool.name.replace(" ", "-"), content[:8]])
