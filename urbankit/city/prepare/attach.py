"""Captions that were made of a prepared city become part of it, as though its city.yaml had named them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from urbankit.city.city import City
from urbankit.city.ids import RegionIds
from urbankit.city.manifest import LOCK, MANIFEST, REPORT, hash_parts, sort_parts
from urbankit.city.prepare.captions import build_captions
from urbankit.city.prepare.prepare import report_of
from urbankit.city.report import SourceReport
from urbankit.city.spec import Captions
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.files import file_lock, hash_file, hash_json, write_json
from urbankit.utils.parquet import write_table

REGIONS = ("regions", "poi", "tables")
"""Kinds of parts that captions of regions are made of."""


def check_attachable(city: City, source: str) -> None:
    """Raise `UserError` where the city has captions of `source` that its city.yaml names."""
    part = city.manifest["parts"].get(f"captions.{source}")
    if part is not None and not part.get("attached"):
        message = (
            f"the city has captions of '{source}' that its city.yaml names; change captions.{source} there instead"
        )
        raise UserError(Problem(message, city.path))


def attach_captions(city: City, source: str, spec: Captions, folder: Path) -> City:
    """Add the captions that `spec` names in `folder` to the prepared city, and return it opened anew.

    `city` is the one that was described; what was attached to its folder since then stays. Captions of `source` that
    were attached before are replaced. The city has another content hash then, so that nothing computed from the old
    one is taken for its own. Preparing the city again leaves in it what its city.yaml names, and so takes attached
    captions out. Raises `UserError` as `check_attachable`, for captions that do not fit the city, and where it was
    prepared anew from other sources than those described; it is unchanged then, as after a kill or on a full disk.
    """
    with file_lock(city.path / LOCK):
        now = City.open(city.path)
        check_attachable(now, source)
        if _described(now, source, spec) != _described(city, source, spec):
            message = f"was prepared anew from other sources while captions of '{source}' were made; make them again"
            raise UserError(Problem(message, city.path))
        return _attach(now, source, spec, folder)


def _described(city: City, source: str, spec: Captions) -> dict[str, str]:
    """The hash of each part that captions of `source` are made of: its images, or what is known of the regions."""
    return city.part_hashes(*([f"images.{source}"] if spec.image is not None else REGIONS))


def _attach(city: City, source: str, spec: Captions, folder: Path) -> City:
    problems, report = Problems(), SourceReport(f"captions.{source}")
    images = city.images(source) if spec.image is not None else None
    table = build_captions(spec, RegionIds(city.region_ids), images, folder, problems, report)
    problems.raise_if_any()
    assert table is not None  # else a problem says why
    name, digest = _write(table, city.path, source)
    part = {"inputs": hash_json({"attached": digest}), "hash": digest, "files": [name], "report": vars(report)}
    parts = sort_parts(city.manifest["parts"] | {report.key: part | {"attached": True}})
    manifest = city.manifest | {"content_hash": hash_parts(parts), "parts": parts}
    report_of(city.path, manifest).write(city.path / REPORT)
    write_json(city.path / MANIFEST, manifest)
    for old in city.manifest["parts"].get(report.key, {"files": []})["files"]:
        if old != name:
            (city.path / old).unlink(missing_ok=True)
    return City.open(city.path)


def _write(table: pd.DataFrame, folder: Path, source: str) -> tuple[str, str]:
    """The file of attached captions in `folder`, and its hash.

    It is named by its content, so that the manifest vouches for the old file until it names the new one.
    """
    captions = folder / "captions"
    made = captions / f".{source}.parquet"
    write_table(table, made)
    digest = hash_json([hash_file(made)])
    name = f"{source}.{digest[:16]}.parquet"
    made.replace(captions / name)
    return f"captions/{name}", digest
