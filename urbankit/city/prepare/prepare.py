"""`prepare`: from a city spec and its sources to a city folder, once, and later only what has changed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd

from urbankit.city.city import City
from urbankit.city.manifest import FORMAT, LOCK, MANIFEST, REPORT, hash_parts, read_manifest, sort_parts
from urbankit.city.prepare import layers
from urbankit.city.prepare.layers import Built, Context, Part
from urbankit.city.report import PrepareReport, SourceReport, source_report
from urbankit.city.spec import CitySpec, load_city_spec
from urbankit.utils.errors import Problem, Problems, RunError, UserError
from urbankit.utils.files import file_lock, hash_file, hash_json, write_json
from urbankit.utils.paths import explain_missing, resolve_inside
from urbankit.utils.progress import Progress


def prepare(
    spec: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Align the sources that a city spec names to its regions, and return the city's folder.

    `data`: the folder that paths are relative to, by default the spec's own. `out`: by default `cities/NAME` in the
    working directory. Parts whose sources and keys are unchanged are kept as they are.

    A city is a city once its manifest says `complete`: a prepare that was killed leaves finished parts, and the same
    call goes on from there. Who prepares the same folder, or attaches captions to it, takes turns. Raises `UserError`
    with all mistakes of the sources, and then leaves no folder where none was; `RunError` when the disk is full.
    """
    spec_file = Path(spec)
    city = load_city_spec(spec_file)
    data_folder = Path(data) if data is not None else spec_file.parent
    out_folder = Path(out) if out is not None else Path("cities") / city.name
    _check_sources(city, spec_file, data_folder)
    _open_folder(out_folder, city.name)
    existed = out_folder.exists()
    _make(out_folder)
    with _disk(out_folder), file_lock(out_folder / LOCK):
        manifest = _open_folder(out_folder, city.name)  # as it is now that nobody else changes it
        context = Context(city, data_folder, out_folder, Problems(), progress or Progress(quiet=True))
        _Preparation(context, manifest, existed).run()
    return out_folder


class _Preparation:
    """One call of `prepare`: decides what to keep, builds the rest, and writes only when nothing is wrong."""

    def __init__(self, context: Context, manifest: dict[str, Any] | None, existed: bool) -> None:
        self.context, self.before = context, manifest or {}
        self.kept: dict[str, dict[str, Any]] = dict(self.before.get("parts", {}))
        self.done: dict[str, dict[str, Any]] = {}
        self.pending: list[tuple[Part, Built, SourceReport]] = []
        self.existed, self.written = existed, False

    def run(self) -> None:
        try:
            self._build()
        except UserError:
            self._undo()
            raise

    def _undo(self) -> None:
        """Leave the folder as it was: without a city, or with the old one unless images of it were redone already."""
        if "parts" in self.before:
            if not self.written:
                write_json(self.context.out / MANIFEST, self.before)
        else:
            shutil.rmtree(self.context.out)
            if self.existed:
                self.context.out.mkdir()

    def _build(self) -> None:
        spec, problems = self.context.spec, self.context.problems
        regions = layers.regions_part(self.context)
        self._do(regions)
        problems.raise_if_any()
        if self.context.regions is None:
            self.context.regions = gpd.read_parquet(self.context.out / "regions.parquet")
        known = regions.inputs
        tables = [layers.table_part(self.context, name, part, known) for name, part in spec.tables.items()]
        targets = [layers.target_part(self.context, name, part, known) for name, part in spec.targets.items()]
        poi = [layers.poi_part(self.context, spec.poi, known)] if spec.poi else []
        flows = [layers.flows_part(self.context, spec.flows, known)] if spec.flows else []
        of_regions = {name: part for name, part in spec.captions.items() if part.region is not None}
        captions = [layers.captions_part(self.context, name, part, known, "") for name, part in of_regions.items()]
        for part in [*poi, *flows, *tables, *targets, *captions]:
            self._do(part)
        problems.raise_if_any()
        # Pictures take longest and are written as they are decoded, so they come when all else is known to be right.
        stamps = {}
        for name, image in spec.images.items():
            part = layers.image_part(self.context, name, image, known)
            self._do(part)
            stamps[name] = part.inputs
        problems.raise_if_any()
        for name, part in spec.captions.items():
            if part.image is not None:
                self.context.images[name] = self.done[f"images.{name}"]["image"]
                self._do(layers.captions_part(self.context, name, part, known, stamps[name]))
        problems.raise_if_any()
        self._finish()

    def _do(self, part: Part) -> None:
        """Keep a part that is unchanged, else build it; pictures are written at once, the rest by `_finish`."""
        old = self.kept.get(part.key)
        if old and old["inputs"] == part.inputs and self._intact(old):
            self.done[part.key] = old
            return
        report = SourceReport(part.key)
        self.context.progress.say(f"{part.key} …")
        if part.key.startswith("images."):
            self._forget(part)
        built = part.build(self.context, report)
        if built is None:
            return
        self.pending.append((part, built, report))
        if part.key.startswith("images."):
            self._flush()

    def _intact(self, entry: dict[str, Any]) -> bool:
        return all((self.context.out / name).is_file() for name in entry["files"])

    def _forget(self, part: Part) -> None:
        """Before the files of a part change, the manifest stops vouching for them, and for the city."""
        self.kept.pop(part.key, None)
        self._write_manifest(complete=False)

    def _flush(self) -> None:
        """Write what is pending, and each part into the manifest once it is whole."""
        for part, built, report in self.pending:
            self._forget(part)
            built.write()
            files, digest = part.files, None
            if "image" in built.entry:
                image = built.entry["image"]
                files = [*files, *(f"{part.key.replace('.', '/', 1)}/{shard['file']}" for shard in image["shards"])]
                digest = image["content_hash"]
            self.done[part.key] = {
                "inputs": part.inputs,
                "hash": digest or hash_json([hash_file(self.context.out / name) for name in files]),
                "files": files,
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
        entries = self.done if complete else self.kept | self.done
        return {
            "format": FORMAT,
            "complete": complete,
            "urbankit": version("urbankit"),
            "name": self.context.spec.name,
            "crs": None if self.context.regions is None else self.context.regions.crs.to_string(),
            "regions": None if self.context.regions is None else len(self.context.regions),
            "content_hash": hash_parts(self.done) if complete else None,
            "spec": self.context.spec.model_dump(mode="json"),
            "sources": self._sources(),
            "parts": sort_parts(entries) if complete else entries,
        }

    def _sources(self) -> str:
        return str(self.context.data.resolve())

    def _write_manifest(self, *, complete: bool) -> None:
        write_json(self.context.out / MANIFEST, self._manifest(complete=complete))

    def _remove_stale(self) -> None:
        """Files of parts that the spec no longer names, and half-written ones of a prepare that was killed."""
        out = self.context.out
        kept = {name for entry in self.done.values() for name in entry["files"]}
        old = {name for entry in self.before.get("parts", {}).values() for name in entry["files"]}
        for name in old - kept:
            (out / name).unlink(missing_ok=True)
            if not any((out / name).parent.iterdir()):
                (out / name).parent.rmdir()
        for left_by_a_kill in out.rglob(".*"):
            if left_by_a_kill.name != LOCK:
                left_by_a_kill.unlink()


def report_of(folder: Path, manifest: dict[str, Any]) -> PrepareReport:
    """What there is to report of the city in `folder` that `manifest` describes, complete."""
    city = City(folder, manifest)
    present = city.any_modality()
    without = [] if present is None else city.regions.region_id[~present].tolist()
    sources = [source_report(part["report"]) for part in manifest["parts"].values()]
    return PrepareReport(city.name, city.n_regions, sources, without)


def _check_sources(spec: CitySpec, spec_file: Path, data: Path) -> None:
    """Every file that the spec names must be in the data folder."""
    if not data.is_dir():
        raise UserError(
            Problem(f"there is no data folder {data}; give the folder of the sources with --data", spec_file)
        )
    problems = Problems(spec_file)
    base = data.resolve()
    for key, name in layers.sources(spec):
        path = resolve_inside(data, name)
        if path is None or not path.resolve().is_relative_to(base):
            problems.add(f"the path '{name}' leaves the data folder {data}; put the file in it", key=key)
        elif not path.is_file():
            problems.add(f"{path}: {explain_missing(path)}", key=key)
    problems.raise_if_any()


def _open_folder(out: Path, name: str) -> dict[str, Any] | None:
    """The manifest of a city that is already at `out`, None where nothing is. Raises for anything else there."""
    if out.exists() and not out.is_dir():
        raise UserError(Problem("exists and is no folder; choose another --out", out))
    found = read_manifest(out) if (out / MANIFEST).is_file() else None
    if found is None and out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise UserError(Problem("exists and is no prepared city; choose another --out or empty it", out))
    if found is not None and found.get("name") != name:
        raise UserError(Problem(f"holds the city '{found.get('name')}', not '{name}'; choose another --out", out))
    nearest = next(folder for folder in [out, *out.absolute().parents] if folder.is_dir())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(Problem(f"is not writable; choose another --out than {out}", nearest))
    return found if found is None or found.get("format") == FORMAT else {"name": name}


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(Problem(f"cannot be created ({error.strerror}); choose another folder", out)) from None


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """A full disk is no fault of the input: it ends the run with one message, and what is finished stays."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error):
            raise RunError(f"{out}: the disk is full; make room and give the same command: it goes on") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(Problem(f"is not writable ({error.strerror}); choose another --out", out)) from None
        raise
