"""`prepare`: from a city spec and its sources to a city folder, once, and later only what has changed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd

from urbankit.city.city import City
from urbankit.city.manifest import (
    FORMAT,
    LOCK,
    MANIFEST,
    REPORT,
    Entry,
    file_checks,
    hash_entries,
    is_intact,
    read_manifest,
    sort_entries,
)
from urbankit.city.prepare import layers
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.layers import Layer
from urbankit.city.report import PrepareReport, SourceReport
from urbankit.city.spec import CitySpec, load_city_spec
from urbankit.utils.errors import Problem, Problems, RunError, UserError
from urbankit.utils.files import PARTIAL, hash_json, write_json
from urbankit.utils.locks import file_lock
from urbankit.utils.paths import data_paths, explain_missing
from urbankit.utils.progress import Progress
from urbankit.utils.removal import remove_files, remove_partial_files
from urbankit.utils.text import list_some


def prepare(
    spec: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Align the sources that a city spec names to its regions.

    A layer whose sources and spec are unchanged is reused. A city is usable once its manifest says `complete`. An
    interrupted call leaves finished layers, and the same call continues from there. Calls that prepare the same folder
    or attach captions to it wait for each other.

    Args:
        spec: The city's YAML file.
        data: The folder that paths in the spec are relative to; default the spec's own.
        out: The folder to write; default `cities/NAME` in the working directory.
        progress: Shows long steps; default none.

    Returns:
        The city's folder.

    Raises:
        UserError: With all mistakes in the sources; a new folder is then removed again.
        RunError: If the disk is full.
    """
    spec_file = Path(spec)
    city = load_city_spec(spec_file)
    data_folder = Path(data) if data is not None else spec_file.parent
    out_folder = Path(out) if out is not None else Path("cities") / city.name
    _check_sources(city, spec_file, data_folder)
    _check_folder(out_folder, city.name)
    existed = out_folder.exists()
    _create(out_folder)
    with _explain_disk_errors(out_folder), file_lock(out_folder / LOCK):
        manifest = _check_folder(out_folder, city.name)  # again, now that no other process changes it
        context = Context(data_folder, out_folder, progress or Progress(quiet=True), allow=frozenset(city.allow))
        _Preparation(city, context, manifest, existed).run()
    return out_folder


class _Preparation:
    """One call of `prepare`: decides which layers to reuse, builds the others, and writes if there is no problem."""

    def __init__(self, spec: CitySpec, context: Context, manifest: dict[str, Any] | None, existed: bool) -> None:
        self.spec, self.context, self.before = spec, context, manifest or {}
        self.problems = Problems()
        self.valid: dict[str, Entry] = dict(self.before.get("parts", {}))  # earlier entries that files still match
        self.done: dict[str, Entry] = {}
        self.pending: list[tuple[Layer, Built, SourceReport]] = []
        self.existed, self.written = existed, False

    def run(self) -> None:
        try:
            self._build()
        except UserError:
            self._undo()
            raise

    def _undo(self) -> None:
        """Leave the folder as it was: without a city, or with the old one unless images of it were replaced."""
        if "parts" in self.before:
            if not self.written:
                write_json(self.context.out / MANIFEST, self.before)
        else:
            written = [name for entry in (self.valid | self.done).values() for name in entry["files"]]
            images = [f"images/{name}/{file}" for name in self.spec.images for file in self._image_files(name)]
            remove_partial_files(self.context.out)
            remove_files(self.context.out, [*written, *images, REPORT, MANIFEST, LOCK])
            if not self.existed and not any(self.context.out.iterdir()):
                self.context.out.rmdir()

    def _image_files(self, name: str) -> list[str]:
        """The names of the shards and the index that have been written of an image source."""
        folder = self.context.out / "images" / name
        return [path.name for pattern in ("shard-*.npy", "index.parquet") for path in folder.glob(pattern)]

    def _build(self) -> None:
        regions = layers.regions_layer(self.spec, self.context)
        self._add(regions)
        self.problems.raise_if_any()
        if self.context.built_regions is None:
            self.context.built_regions = gpd.read_parquet(self.context.out / "regions.parquet")
        for layer in layers.table_layers(self.spec, self.context, regions):
            self._add(layer)
        self.problems.raise_if_any()
        # Images take longest and are written while they are decoded, so they come after everything that may fail.
        images = {name: layers.image_layer(self.spec, self.context, name, regions) for name in self.spec.images}
        for layer in images.values():
            self._add(layer)
        self.problems.raise_if_any()
        for name, captions in self.spec.captions.items():
            if captions.image is not None:
                self.context.image_entries[name] = self.done[f"images.{name}"]["image"]
                self._add(layers.image_captions_layer(self.spec, self.context, name, regions, images[name]))
        self.problems.raise_if_any()
        self._finish()

    def _add(self, layer: Layer) -> None:
        """Reuse an unchanged layer, else build it. Images are written at once, all others by `_finish`."""
        old = self.valid.get(layer.key)
        if old and old["inputs"] == layer.inputs and is_intact(self.context.out, old):
            self.done[layer.key] = old
            return
        report, writes_itself = SourceReport(layer.key), layer.key.startswith("images.")
        self.context.progress.say(f"{layer.key} …")
        if writes_itself:
            self._invalidate(layer)
        with self.problems.collect(layer.key):
            self.pending.append((layer, layer.build(report), report))
            if writes_itself:
                self._flush()

    def _invalidate(self, layer: Layer) -> None:
        """Remove a layer from the manifest before its files change; the city is then incomplete."""
        self.valid.pop(layer.key, None)
        self._write_manifest(complete=False)

    def _flush(self) -> None:
        """Write the pending layers, then list them in the manifest."""
        for layer, built, report in self.pending:
            self._invalidate(layer)
            built.write(self.context.out)
            files = [*built.tables, *built.files]
            checks = file_checks(self.context.out, files)
            self.done[layer.key] = {
                "inputs": layer.inputs,
                "hash": built.digest or hash_json([checks[name]["sha256"] for name in files]),
                "files": files,
                "checks": checks,
                "report": vars(report),
                **built.entry,
            }
            self.written = True
        if self.pending:
            self._write_manifest(complete=False)
        self.pending.clear()

    def _finish(self) -> None:
        self._flush()
        changed = self.written or set(self.done) != set(self.before.get("parts", {}))
        changed = changed or self.before.get("sources") != self._sources()
        if not changed and self.before.get("complete") and (self.context.out / REPORT).is_file():
            return
        self._write_manifest(complete=False)
        report_of(self.context.out, self._manifest(complete=True)).write(self.context.out / REPORT)
        self._write_manifest(complete=True)
        self._remove_stale()

    def _manifest(self, *, complete: bool) -> dict[str, Any]:
        regions = self.context.built_regions
        return {
            "format": FORMAT,
            "complete": complete,
            "urbankit": version("urbankit"),
            "name": self.spec.name,
            "crs": None if regions is None else regions.crs.to_string(),
            "regions": None if regions is None else len(regions),
            "content_hash": hash_entries(self.done) if complete else None,
            "spec": self.spec.model_dump(mode="json"),
            "sources": self._sources(),
            "parts": sort_entries(self.done) if complete else self.valid | self.done,
        }

    def _sources(self) -> str:
        return str(self.context.data.resolve())

    def _write_manifest(self, *, complete: bool) -> None:
        write_json(self.context.out / MANIFEST, self._manifest(complete=complete))

    def _remove_stale(self) -> None:
        """Remove files of layers that the spec no longer names, and half-written ones of an interrupted call."""
        out = self.context.out
        current, old = (
            {name for entry in entries.values() for name in entry["files"]}
            for entries in (self.done, self.before.get("parts", {}))
        )
        remove_files(out, old - current)
        remove_partial_files(out)


def report_of(folder: Path, manifest: dict[str, Any]) -> PrepareReport:
    """The report of the city in `folder` with this complete manifest."""
    city = City(folder, manifest)
    present = city.any_modality()
    without = [] if present is None else city.regions.region_id[~present].tolist()
    sources = [SourceReport.from_json(entry["report"]) for entry in manifest["parts"].values()]
    return PrepareReport(city.name, city.n_regions, sources, without)


def _check_sources(spec: CitySpec, spec_file: Path, data: Path) -> None:
    """Raise `UserError` if a file that the spec names is missing, or lies outside the data folder."""
    if not data.is_dir():
        message = f"there is no data folder {data}; give the folder of the sources with --data"
        raise UserError(Problem(message, spec_file))
    problems = Problems()
    for key, name in layers.source_files(spec):
        with problems.collect():
            [path] = data_paths(data, [name], key, spec_file, outside="outside" in spec.allow)
            if not path.is_file():
                raise UserError(Problem(f"{path}: {explain_missing(path)}", spec_file, key=key))
    problems.raise_if_any()


def _check_folder(out: Path, name: str) -> dict[str, Any] | None:
    """The manifest of the city in `out`, None if that is empty or missing. Raises `UserError` for anything else."""
    if out.exists() and not out.is_dir():
        raise UserError(Problem("exists and is no folder; choose another --out", out))
    manifest = read_manifest(out) if (out / MANIFEST).is_file() else None
    if manifest is None and out.is_dir():
        foreign = sorted(path.name for path in out.iterdir() if path.name != LOCK and not path.name.startswith(PARTIAL))
        if foreign:
            message = f"exists and is no prepared city (it holds {list_some(foreign, 3)}); choose another --out"
            raise UserError(Problem(message, out))
    if manifest is not None and manifest.get("name") != name:
        raise UserError(Problem(f"holds the city '{manifest.get('name')}', not '{name}'; choose another --out", out))
    nearest = next(folder for folder in [out, *out.absolute().parents] if folder.is_dir())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(Problem(f"is not writable; choose another --out than {out}", nearest))
    return manifest if manifest is None or manifest.get("format") == FORMAT else {"name": name}


def _create(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(Problem(f"cannot be created ({error.strerror}); choose another folder", out)) from None


@contextmanager
def _explain_disk_errors(out: Path) -> Iterator[None]:
    """Raise `RunError` for a full disk, which finished layers survive, and `UserError` for missing permissions."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error):
            message = f"{out}: the disk is full; make room and run the same command again to continue"
            raise RunError(message) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(Problem(f"is not writable ({error.strerror}); choose another --out", out)) from None
        raise
