"""Attach captions that were made from a prepared city to that city, as if its city.yaml had named them."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

from urbankit.city.city import City
from urbankit.city.manifest import REPORT, file_checks, hash_entries, sort_entries, write_manifest
from urbankit.city.prepare.captions import build_captions
from urbankit.city.prepare.context import Context
from urbankit.city.prepare.prepare import report_of
from urbankit.city.report import SourceReport
from urbankit.city.spec import Captions
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import atomic_path, hash_file, hash_json
from urbankit.utils.locks import LOCK, file_lock
from urbankit.utils.parquet import write_parquet
from urbankit.utils.paths import is_name_inside
from urbankit.utils.removal import remove_unchanged

DESCRIBED_LAYERS = ("regions", "poi", "tables")
"""Kinds of layers that captions of regions describe."""


def check_attachable(city: City, source: str) -> None:
    """Raise `UserError` if the city has captions of `source` that its city.yaml names."""
    entry = city.manifest["parts"].get(f"captions.{source}")
    if entry is not None and not entry.get("attached"):
        message = (
            f"the city has captions of '{source}' that its city.yaml names; change captions.{source} there instead"
        )
        raise UserError(Problem(message, city.path))


def attach_captions(city: City, source: str, spec: Captions, folder: Path) -> City:
    """Add the captions that `spec` names in `folder` to a prepared city.

    Captions of `source` that were attached before are replaced; all else in the city's folder stays. The content hash
    of the city changes, so that nothing computed from the earlier city is reused. Preparing the city again removes
    attached captions, since its city.yaml does not name them.

    Args:
        city: The city that the captions describe.
        source: The image source that they describe.
        spec: Their file and columns.
        folder: The folder of that file.

    Returns:
        The city, opened again.

    Raises:
        UserError: If `check_attachable` does, if the captions do not match the city, or if the city has been prepared
            from other sources since. The city is then unchanged.
    """
    with file_lock(city.path / LOCK):
        current = City.open(city.path)
        check_attachable(current, source)
        if _described_hashes(current, source, spec) != _described_hashes(city, source, spec):
            message = f"was prepared from other sources while captions of '{source}' were made; make them again"
            raise UserError(Problem(message, city.path))
        return _attach(current, source, spec, folder)


def _described_hashes(city: City, source: str, spec: Captions) -> dict[str, str]:
    """The hash of each layer that captions of `source` describe."""
    return city.layer_hashes(*([f"images.{source}"] if spec.image is not None else DESCRIBED_LAYERS))


def _attach(city: City, source: str, spec: Captions, folder: Path) -> City:
    entries = city.manifest["parts"]
    context = Context(folder, city.path, built_regions=city.regions)
    if spec.image is not None:
        context.image_entries[source] = entries[f"images.{source}"]
    report = SourceReport(f"captions.{source}")
    [table] = build_captions(spec, context, report).tables.values()
    # The file is named by its content, so that the manifest stays valid for the old file until it names the new one.
    content = BytesIO()
    write_parquet(table, content)
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    digest = hash_json([sha256])
    name = f"captions/{source}.{digest[:16]}.parquet"
    path = city.path / name
    if not is_name_inside(city.path, name) or (path.exists() and hash_file(path) != sha256):
        raise UserError(Problem("exists, but urbankit did not write it; move it", path))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
    entry = {"inputs": hash_json({"attached": digest}), "hash": digest, "files": [name], "report": vars(report)}
    entry["checks"] = file_checks(city.path, [name])
    updated = sort_entries(entries | {report.key: entry | {"attached": True}})
    manifest = city.manifest | {"content_hash": hash_entries(updated), "parts": updated}
    prepared = report_of(city.path, manifest)
    prepared.write(city.path / REPORT)
    manifest["without_modality"] = prepared.without_modality
    write_manifest(city.path, manifest | {"checks": file_checks(city.path, [REPORT])})
    old = entries.get(report.key, {}).get("checks", {})
    remove_unchanged(city.path, {file: [check["sha256"]] for file, check in old.items() if file != name})
    return City.open(city.path)
