"""`prepare`: builds a city folder from a city spec and its sources; later calls build only what has changed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import polars as pl
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.city.leaks import Columns, LeakCheck, check_leaks, values_of
from urbankit.city.manifest import (
    COPY,
    FORMAT,
    MANIFEST,
    ORDER,
    REPORT,
    Entry,
    file_checks,
    hash_entries,
    is_intact,
    is_recorded,
    read_repairable_manifest,
    recorded_hashes,
    sort_entries,
    write_manifest,
)
from urbankit.city.prepare import layers
from urbankit.city.prepare.check import check_files
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.layers import Layer
from urbankit.city.report import PrepareReport, SourceReport
from urbankit.city.spec import CitySpec, load_city_spec
from urbankit.utils.errors import Problem, Problems, RunError, UserError, unwritable
from urbankit.utils.files import PARTIAL, hash_json
from urbankit.utils.locks import LOCK, LOCKS, file_lock
from urbankit.utils.paths import is_name_inside
from urbankit.utils.progress import Progress
from urbankit.utils.removal import remove_empty_folder, remove_files, remove_partial_files, remove_unchanged
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
    check_files(city, spec_file, data_folder)
    _check_folder(out_folder, city.name)
    existed = out_folder.exists()
    _create(out_folder)
    progress = progress or Progress(quiet=True)
    with _explain_disk_errors(out_folder), file_lock(out_folder / LOCK, say=progress.say):
        manifest = _check_folder(out_folder, city.name)  # again, now that no other process changes it
        context = Context(data_folder, out_folder, progress, allow=frozenset(city.allow))
        _Preparation(city, context, manifest, existed).run()
    return out_folder


class _Preparation:
    """One call of `prepare`: decides which layers to reuse, builds the others, and writes if there is no problem."""

    def __init__(self, spec: CitySpec, context: Context, manifest: dict[str, Any] | None, existed: bool) -> None:
        self.spec, self.context, self.before = spec, context, manifest or {}
        self.problems = Problems()
        self.valid: dict[str, Entry] = dict(self.before.get("parts", {}))  # earlier entries that files still match
        self.order: list[str] = []  # keys of all layers
        self.done: dict[str, Entry] = {}
        self.pending: list[tuple[Layer, Built, SourceReport]] = []
        self.existed, self.written = existed, False
        self.hashes = recorded_hashes(self.before)
        self.leak_check: LeakCheck | None = None

    def run(self) -> None:
        remove_partial_files(self.context.out)
        try:
            self._build()
        except BaseException as error:
            self.context.staging.discard()
            resumable = isinstance(error, OSError | RunError) or not isinstance(error, Exception)
            if not (self.written and resumable):
                with suppress(OSError):  # a full disk may be the reason
                    self._undo()
            raise

    def _undo(self) -> None:
        """Restore the folder: remove a new city, keep an old one unless layers of it were replaced."""
        out = self.context.out
        if "parts" in self.before:
            if not self.written:
                write_manifest(out, self.before)
            return
        remove_unchanged(out, self.hashes)
        remove_files(out, [REPORT, MANIFEST, COPY, LOCK])
        if not self.existed:
            remove_empty_folder(out)

    def _build(self) -> None:
        regions = layers.regions_layer(self.spec, self.context)
        self._add(regions)
        self.problems.raise_if_any()
        if self.context.built_regions is None:
            self.context.built_regions = gpd.read_parquet(self.context.out / "regions.parquet")
        for layer in layers.table_layers(self.spec, self.context, regions):
            self._add(layer)
        self.problems.raise_if_any()
        self._check_leaks()
        # Images take longest and are written while they are decoded, so they come after everything that may fail.
        images = {name: layers.image_layer(self.spec, self.context, name, regions) for name in self.spec.images}
        for layer in images.values():
            self._add(layer)
        self.problems.raise_if_any()
        for name, captions in self.spec.captions.items():
            if captions.image is not None:
                self.context.image_entries[name] = self.done[f"images.{name}"]
                self._add(layers.image_captions_layer(self.spec, self.context, name, regions, images[name]))
        self.problems.raise_if_any()
        self._finish()

    def _check_leaks(self) -> None:
        """Compare the columns of all tables with all targets; raises `UserError` for a column that reveals a target."""
        tables = {name: table for _, part, _ in self.pending for name, table in part.tables.items()}
        for entry in self.done.values():
            for name in entry["files"]:
                if name.startswith(("tables/", "targets/")):
                    tables[name] = pl.read_parquet(self.context.out / name)
        sources = []
        targets: dict[str, NDArray[Any]] = {}
        for file, table in sorted(tables.items(), key=lambda item: item[0]):
            kind, _, name = file.removesuffix(".parquet").partition("/")
            if kind == "tables":
                sources.append(Columns(f"tables.{name}", table.to_numpy(), list(table.columns)))
            elif kind == "targets":
                columns = [column for column in table.columns if column != "region_id"]
                named = {name if column == "value" else f"{name} ({column})": column for column in columns}
                targets |= {key: values_of(pl.DataFrame(table)[column]) for key, column in named.items()}
        self.leak_check = check_leaks(sources, targets, self.spec.allow_leak)
        for note in self.leak_check.noted:
            self.context.progress.say(f"note: {note}")

    def _add(self, layer: Layer) -> None:
        """Reuse an unchanged layer, else build it. Images are moved to their place at once, all others by `_finish`."""
        self.order.append(layer.key)
        old = self.valid.get(layer.key)
        if old and old["inputs"] == layer.inputs and is_intact(self.context.out, old):
            self.done[layer.key] = old
            return
        report = SourceReport(layer.key)
        self.context.progress.say(f"{layer.key} …")
        with self.problems.collect(layer.key):
            self.pending.append((layer, layer.build(report), report))
            if layer.key.startswith("images."):
                self._flush()

    def _flush(self) -> None:
        """Write the pending layers, then list them in the manifest.

        The manifest names the new files before they replace others, so that after a kill they are known as urbankit's.
        """
        staging = self.context.staging
        for _, built, _ in self.pending:
            built.write(staging)
        checks = staging.checks()
        self._check_free(checks)
        for layer, _, _ in self.pending:
            self.valid.pop(layer.key, None)
        for name, check in checks.items():
            self.hashes.setdefault(name, set()).add(check["sha256"])
        if self.pending:
            self._write_manifest(complete=False)
            self.written = True
        staging.commit()
        for layer, built, report in self.pending:
            files = [*built.tables, *built.files]
            self.done[layer.key] = {
                "inputs": layer.inputs,
                "hash": built.digest or hash_json([checks[name]["sha256"] for name in files]),
                "files": files,
                "checks": {name: checks[name] for name in files},
                "report": vars(report),
                **built.entry,
            }
        if self.pending:
            self._write_manifest(complete=False)
        self.pending.clear()

    def _check_free(self, names: Iterable[str]) -> None:
        """Raise `UserError` for each file that would be replaced but that urbankit did not write."""
        problems = Problems()
        for name in names:
            path = self.context.out / name
            if not is_name_inside(self.context.out, name):
                problems.add("lies outside the city folder, because of a link; remove the link", file=path)
            elif os.path.lexists(path) and name not in self.hashes:
                problems.add("exists, but urbankit did not write it; move it, or choose another --out", file=path)
        problems.raise_if_any()

    def _finish(self) -> None:
        self._flush()
        out = self.context.out
        changed = self.written or set(self.done) != set(self.before.get("parts", {}))
        changed = changed or self.before.get("spec") != self.spec.to_json()
        changed = changed or self.before.get("sources") != self._sources() or not is_recorded(out, self.before)
        if not changed and self.before.get("complete"):
            return
        self._write_manifest(complete=False)
        self._remove_stale()
        complete = self._manifest(complete=True)
        report = report_of(out, complete)
        report.write(out / REPORT)
        complete |= {"without_modality": report.without_modality, "checks": file_checks(out, [REPORT])}
        write_manifest(out, complete)

    def _manifest(self, *, complete: bool) -> dict[str, Any]:
        regions = self.context.built_regions
        manifest = {
            "format": FORMAT,
            "complete": complete,
            "urbankit": version("urbankit"),
            "name": self.spec.name,
            "crs": None if regions is None or regions.crs is None else regions.crs.to_string(),
            "regions": None if regions is None else len(regions),
            "content_hash": hash_entries(self.done) if complete else None,
            "spec": self.spec.to_json(),
            "sources": self._sources(),
            "leak_check": None if self.leak_check is None else self.leak_check.to_json(),
            "parts": self._ordered() if complete else self.valid | self.done,
        }
        return manifest if complete else manifest | {"written": {name: sorted(h) for name, h in self.hashes.items()}}

    def _ordered(self) -> dict[str, Entry]:
        """The entries of the layers, in an order that does not depend on which layers an earlier call had finished."""
        return sort_entries({key: self.done[key] for key in self.order if key in self.done})

    def _sources(self) -> str:
        return str(self.context.data.resolve())

    def _write_manifest(self, *, complete: bool) -> None:
        write_manifest(self.context.out, self._manifest(complete=complete))

    def _remove_stale(self) -> None:
        """Remove files of layers that the spec no longer names, unless someone has changed them."""
        current = {name for entry in self.done.values() for name in entry["files"]}
        stale = {name: hashes for name, hashes in self.hashes.items() if name not in current}
        for name in remove_unchanged(self.context.out, stale):
            self.context.progress.say(f"{name} is no part of the city any more; it stays, because it was changed")


def report_of(folder: Path, manifest: dict[str, Any]) -> PrepareReport:
    """The report of the city in `folder` with this complete manifest."""
    city = City(folder, manifest)
    present = city.any_modality()
    without = [] if present is None else city.regions.region_id[~present].tolist()
    sources = [SourceReport.from_json(entry["report"]) for entry in manifest["parts"].values()]
    return PrepareReport(city.name, city.n_regions, sources, without)


def _check_folder(out: Path, name: str) -> dict[str, Any] | None:
    """Return the manifest of the city in `out`, None for an empty or missing folder. Raises `UserError` otherwise."""
    if out.exists() and not out.is_dir():
        raise UserError(Problem("exists and is no folder; choose another --out", out))
    manifest = read_repairable_manifest(out) if (out / MANIFEST).exists() or (out / COPY).exists() else None
    if manifest is None and out.is_dir():
        foreign = sorted(path.name for path in out.iterdir() if _is_foreign(path))
        if foreign:
            message = f"exists and is no prepared city (it holds {list_some(foreign, 3)}); choose another --out"
            raise UserError(Problem(message, out))
    if manifest is not None and manifest.get("name") != name:
        raise UserError(Problem(f"holds the city '{manifest.get('name')}', not '{name}'; choose another --out", out))
    nearest = next(folder for folder in [out, *out.absolute().parents] if folder.is_dir())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(Problem(f"is not writable; choose another --out than {out}", nearest))
    if manifest is None or manifest.get("format") == FORMAT:
        return manifest
    hashes = recorded_hashes(manifest)
    return {"name": name, "parts": {}, "written": {file: sorted(recorded) for file, recorded in hashes.items()}}


def _is_foreign(path: Path) -> bool:
    """Whether an entry of a folder without a manifest is more than what a killed `prepare` leaves."""
    if path.name in LOCKS or path.name.startswith(PARTIAL):
        return False
    if path.is_symlink() or not path.is_dir():
        return True
    children = list(path.iterdir())
    # `prepare` was killed between making a folder of its own, such as `captions` or `images/rsi`, and its first file.
    is_own = path.name in ORDER or path.parent.name in ORDER
    return any(_is_foreign(child) for child in children) if children else not is_own


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
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            message = f"{out}: the disk is full; make room and run the same command again to continue"
            raise RunError(message) from None
        if error.errno == errno.EFBIG:
            raise unwritable(out, "the city", error) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(Problem(f"is not writable ({error.strerror}); choose another --out", out)) from None
        raise
