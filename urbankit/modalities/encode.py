"""Features of a city computed once and written: a vector an observation in files, and their means in the feature store.

What a kill leaves is gone on with: files that are there are not computed again.
"""

from __future__ import annotations

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
from urbankit.modalities.pooling import RegionEncoder, shown
from urbankit.utils.errors import Problem, UserError, unwritable
from urbankit.utils.files import read_json, write_json
from urbankit.utils.locks import file_lock
from urbankit.utils.prefetch import in_background
from urbankit.utils.progress import Progress, Stage

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
    """Write the backbone's vectors of all observations, and keep their means by region for runs with this encoder.

    Args:
        pool: the encoder and what its observations describe; its backbone is taken as it is, whatever `trainable` says.
        city: the encoder's city.
        out: the folder, by default `features/CITY-MODALITY-KEY`, KEY being of everything the vectors depend on. It
            gets `features-00000.parquet`, … of `rows` observations each (a multiple of the chunk of `pool`), which one
            `read_features` each, and `manifest.json`, which says what they are.
        precision: the type that autocast computes in; None computes in the weights' own.

    Raises:
        UserError: `out` holds features of something else, cannot be written, or is being written by another process.
    """
    if rows < 1 or rows % pool.chunk:
        raise UserError(f"--rows should be a multiple of {pool.chunk}, which are computed at once, not {rows}")
    content = pool.content(precision)
    folder = Path("features") / _folder_name(city, pool, content) if out is None else Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, "features", error) from None
    try:
        with file_lock(folder / ".lock", wait=False):
            work = _Encoding(pool, city, folder, form, rows, precision, content)
            work.run(Progress(quiet=True) if progress is None else progress)
    except BlockingIOError:
        raise UserError(Problem("another process is encoding into this folder; wait for it", folder)) from None
    return folder


class _Encoding:
    """Features on their way into one folder."""

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
        left = [part for part in self.parts if not part[0].exists() or self._read(*part) is None]
        if len(left) < len(self.parts):
            progress.say(f"{len(self.parts) - len(left)} of {len(self.parts)} files are there already")
        with progress.stage(f"encode {self.pool.name}", sum(end - begin for _, begin, end in left)) as stage:
            self._compute(left, stage)
        self._keep()
        write_json(self.folder / "manifest.json", self.manifest | {"complete": True})

    def _compute(self, parts: list[tuple[Path, int, int]], stage: Stage) -> None:
        """Write the files of `parts`, one while the next is computed."""
        chunks = [chunk for _, begin, end in parts for chunk in self.pool.chunks(begin, end)]
        coming = shown(self.pool.vectors(self.precision, chunks), stage)
        writing: Future[None] | None = None
        for path, begin, end in parts:
            vectors = [next(coming)[1] for _ in self.pool.chunks(begin, end)]
            features = self._features(np.arange(begin, end), torch.cat(vectors).float().cpu().numpy())
            if writing is not None:
                writing.result()
            writing = in_background(partial(write_features, path), features)
        next(coming, None)  # so that it counts the last chunk and leaves the encoder as it was
        if writing is not None:
            writing.result()

    def _features(self, rows: np.ndarray, vectors: np.ndarray) -> Features:
        ids = np.asarray(self.city.region_ids, dtype=object)[self.pool.region[rows]]
        return Features(ids.tolist(), rows, vectors, self.content)

    def _keep(self) -> None:
        """Put the means by region where `RegionEncoder.keep` looks for them."""
        store = FeatureStore()
        if store.get(self.content) is None:
            store.put(self.content, {"features": self.pool.mean_of(self._written()), "mask": self.pool.present})

    def _written(self) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        for path, begin, end in self.parts:
            found = self._read(path, begin, end)
            if found is None:
                raise UserError(Problem("does not hold the features that were written; delete it, encode again", path))
            yield found.observation, torch.from_numpy(found.vector.copy())

    def _read(self, path: Path, begin: int, end: int) -> Features | None:
        """The features of the observations `begin` to `end` in their file, or None where it holds something else."""
        found = read_features(path)
        if found is None or found.content != self.content:
            return None
        whole = found.vector.shape == (end - begin, self.pool.encoder.width)
        return found if whole and np.array_equal(found.observation, np.arange(begin, end)) else None

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
        """Raise `UserError` where the folder holds something else than these features, whole or begun."""
        path = self.folder / "manifest.json"
        try:
            before = read_json(path) if path.exists() else None
        except ValueError as error:
            raise UserError(Problem(f"is damaged ({error}); choose another --out", path)) from None
        if before is not None and not isinstance(before, dict):
            raise UserError(Problem("is damaged (it is no JSON object); choose another --out", path))
        if before is None and any(self.folder.glob("features-*")):
            raise UserError(Problem("holds features without a manifest.json; choose another --out", self.folder))
        if before is None:
            return
        same = [key for key in ("content", "rows", "files") if before.get(key) == self.manifest[key]]
        if "content" in same and "rows" not in same and before.get("rows"):
            message = f"was begun with --rows {before['rows']}; give that again, or choose another --out"
            raise UserError(Problem(message, self.folder))
        if "content" not in same or "files" not in same:
            message = (
                "holds features of another city, encoder, checkpoint or precision, or in other files (manifest.json "
                "says which); choose another --out"
            )
            raise UserError(Problem(message, self.folder))


def _folder_name(city: City, pool: RegionEncoder, content: str) -> str:
    return "-".join([city.name, pool.name.replace(" ", "-"), content[:8]])
