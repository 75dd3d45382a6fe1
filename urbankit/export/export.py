"""`export`: a run's embeddings and predictions in the formats of other tools."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pyproj import CRS
from pyproj.exceptions import CRSError

from urbankit import registry
from urbankit.export.base import Exporter, FolderExporter
from urbankit.export.record import Record
from urbankit.export.tables import ExportTable, all_predictions, embeddings, predictions
from urbankit.registry.component import Use
from urbankit.runs.folder import Run
from urbankit.runs.prediction_table import FILE as CROSS_FIT
from urbankit.utils.errors import Problem, Problems, UserError, suggest, unwritable
from urbankit.utils.ledger import PARTIAL
from urbankit.utils.locks import LOCK, LOCKS, file_lock
from urbankit.utils.removal import remove_empty_folder, remove_files, work_folder

WHAT: dict[str, Callable[[Run], ExportTable]] = {
    "embeddings": embeddings,
    "predictions": predictions,
    "predictions_all": all_predictions,
}

PREDICTED = ("predictions", "predictions_all")
"""The tables of predictions."""

UNFINISHED = f"{PARTIAL}export"


class Exported(NamedTuple):
    """The path of a file that was written, and notes on it."""

    path: Path
    notes: tuple[str, ...] = ()


def export(
    run: Run,
    to: str | Sequence[str],
    *,
    out: str | Path | None = None,
    what: str | Sequence[str] | None = None,
    crs: Any = None,
    resolution: float | None = None,
    force: bool = False,
) -> list[Exported]:
    """Write the embeddings and predictions of a run in the formats of other tools.

    Args:
        run: The run.
        to: One or more exporters: `gpkg`, `flatgeobuf`, `pmtiles`, `geoparquet`, `csv`, `npy`, `geotiff`, `model` or
            a plugin's.
        out: The folder to write; by default `export` in the run folder. Files are named `embeddings.gpkg`,
            `predictions.tif` and so on. A format that is a folder, such as `model`, is `out` itself if it is the only
            one, otherwise a folder of its name in it.
        what: Some of `embeddings`, `predictions` (of test regions) and `predictions_all` (of every region); by default
            all that the run has.
        crs: A coordinate reference system, as pyproj reads them; by default that of the run.
        resolution: The side of the pixels of a raster in metres; by default about a quarter of the side of a median
            region.
        force: Also replace files that no export has written, or that have changed since.

    Returns:
        The files that were written, each with notes.

    Raises:
        UserError: If an argument is wrong, the run lacks what is exported, or a file would be replaced.
    """
    names = _formats(to)
    exporters: list[Exporter] = [registry.create("exporter", Use(name=name), resolution) for name in names]
    target = _settings(crs, resolution, names)
    _check_geometry(run, names)
    folder = Path(out) if out is not None else run.path / "export"
    if (folder / "manifest.json").exists():
        raise UserError(Problem("is a run folder, whose files an export would replace; choose another --out", folder))
    folders = {name: one for name, one in zip(names, exporters, strict=True) if isinstance(one, FolderExporter)}
    exporters = [exporter for exporter in exporters if not isinstance(exporter, FolderExporter)]
    if folders and not exporters and (what is not None or crs is not None):
        raise UserError(Problem("is of tables, which this format does not write", key="--what" if what else "--crs"))
    selected = _what(run, what) if exporters else []
    alone = out is not None and len(names) == 1
    paths = {name: folder if alone else folder / name for name in folders}
    written = [
        Exported(paths[name], tuple(exporter.write_folder(run, paths[name], force=force)))
        for name, exporter in folders.items()
    ]
    return written + (_write_tables(run, selected, exporters, folder, target, force) if exporters else [])


def _write_tables(
    run: Run, selected: Sequence[str], exporters: Sequence[Exporter], folder: Path, target: CRS | None, force: bool
) -> list[Exported]:
    """Write each of the `selected` tables with each exporter."""
    of_table = {one: [*exporters, *(_beside(exporters) if one in PREDICTED else [])] for one in selected}
    with _unfinished(folder) as unfinished:
        record = Record(folder)
        files = [file.format(what=one) for one in selected for exporter in of_table[one] for file in exporter.files]
        record.check(files, force=force)
        written: list[Exported] = []
        for one in selected:
            table = WHAT[one](run).to_crs(target)
            for exporter in of_table[one]:
                written += _write(table, exporter, unfinished, record)
    return written


def _beside(exporters: Sequence[Exporter]) -> list[Exporter]:
    """The exporters whose files belong beside those of `exporters`, without those that are among them."""
    names = dict.fromkeys(name for exporter in exporters for name in exporter.beside)
    others = [registry.create("exporter", Use(name=name), None) for name in names]
    return [other for other in others if not any(type(other) is type(exporter) for exporter in exporters)]


def _check_geometry(run: Run, names: Sequence[str]) -> None:
    """Raise `UserError` for formats that need the geometry of regions that have none."""
    needy = [name for name in names if registry.get("exporter", name).needs_geometry]
    if needy and run.has("embeddings.parquet") and not run.embeddings.geometry.notna().any():
        raise UserError(Problem(without_geometry(needy), run.path, key="--to"))


def without_geometry(names: Sequence[str]) -> str:
    """Return the message that regions have no geometry, which the formats `names` need, and which formats need none."""
    others = []
    for name in registry.names("exporter"):
        with suppress(UserError):  # a plugin that does not load
            others += [] if registry.get("exporter", name).needs_geometry else [name]
    verb = "needs" if len(names) == 1 else "need"
    message = f"the regions have no geometry, which {', '.join(names)} {verb}; formats that work without it:"
    return f"{message} {', '.join(others)}"


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder in `folder` for unfinished files, removed afterwards with what an interrupted export left in it.

    Exports into one `folder` run one after the other.
    """
    existed, unfinished = folder.exists(), folder / UNFINISHED
    try:
        try:
            with file_lock(unfinished / LOCK), work_folder(unfinished):
                remove_files(unfinished, [path.name for path in unfinished.iterdir() if path.name not in LOCKS])
                yield unfinished
        finally:
            if not existed:
                remove_empty_folder(folder)
    except OSError as error:
        raise unwritable(folder, "the export", error) from None


def _write(table: ExportTable, exporter: Exporter, unfinished: Path, record: Record) -> list[Exported]:
    temporaries = [unfinished / file.format(what=table.what) for file in exporter.files]
    try:
        notes = exporter.write(table, temporaries)
    except UserError as error:
        file = record.folder / temporaries[0].name
        raise UserError(replace(problem, file=file) for problem in error.problems) from None
    paths = [record.move(path, table.facts) for path in temporaries]
    return [Exported(path, tuple(notes) if path is paths[0] else ()) for path in paths]


def _formats(to: str | Sequence[str]) -> list[str]:
    return _chosen(to, registry.names("exporter"), "a format", "--to")


def _what(run: Run, what: str | Sequence[str] | None) -> list[str]:
    """The requested tables, by default all that the run has. Raises UserError if the run lacks them."""
    if what is not None:
        selected = _chosen(what, list(WHAT), "a thing to export", "--what")
        if "predictions" in selected and run.has("predictions.parquet") and not len(run.predictions):
            raise UserError(Problem("the run has no predictions: its recipe has no task that predicts", run.path))
        return selected
    run.embeddings  # noqa: B018  the error of a run without them says its status
    predicts = run.has("predictions.parquet") and len(run.predictions) > 0
    return ["embeddings"] + ["predictions"] * predicts + ["predictions_all"] * run.has(CROSS_FIT)


def _chosen(requested: str | Sequence[str], valid: list[str], kind: str, key: str) -> list[str]:
    """The distinct names in a list, or in a text with commas."""
    texts = [requested] if isinstance(requested, str) else list(requested)
    names = list(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))
    problems = Problems()
    for name in names:
        if name not in valid:
            problems.add(f"'{name}' is not {kind}.{suggest(name, valid)}", key=key)
    if not names:
        problems.add(f"names nothing; known: {', '.join(valid)}", key=key)
    problems.raise_if_any()
    return names


def _settings(crs: Any, resolution: float | None, formats: Sequence[str]) -> CRS | None:
    """The requested CRS, None for that of the run. Raises UserError with all mistakes in the CRS and resolution."""
    problems = Problems()
    if resolution is not None:
        if not (math.isfinite(resolution) and resolution > 0):
            problems.add(f"{resolution:g} is not a number of metres above 0", key="--resolution")
        elif not any(registry.get("exporter", name).has_resolution for name in formats):
            problems.add("is of rasters; it goes with --to geotiff", key="--resolution")
    parsed = None
    if crs is not None:
        try:
            parsed = CRS.from_user_input(crs)
        except CRSError:
            problems.add(f"'{crs}' is not a CRS; give one such as EPSG:4326", key="--crs")
        else:
            if not (parsed.is_geographic or parsed.is_projected):
                problems.add(f"'{crs}' ({parsed.name}) is not of maps; give one such as EPSG:4326", key="--crs")
    problems.raise_if_any()
    return parsed
