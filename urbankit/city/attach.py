"""Captions that were made of a prepared city become part of it, as though its city.yaml had named them."""

from __future__ import annotations

from pathlib import Path

from urbankit.city.captions import build_captions
from urbankit.city.city import City
from urbankit.city.ids import RegionIds
from urbankit.city.parts import write_table
from urbankit.city.prepare import MANIFEST, REPORT, in_order
from urbankit.city.report import PrepareReport, SourceReport
from urbankit.city.spec import Captions
from urbankit.errors import Problem, Problems, UserError
from urbankit.files import hash_file, hash_json, write_json


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

    Captions of `source` that were attached before are replaced. The city has another content hash then, so that
    nothing computed from the old one is taken for its own. Preparing the city again leaves in it what its city.yaml
    names, and so takes attached captions out. Raises `UserError` as `check_attachable`, and for captions that do not
    fit the city; it is unchanged then.
    """
    check_attachable(city, source)
    problems, report = Problems(), SourceReport(f"captions.{source}")
    images = city.images(source) if spec.image is not None else None
    table = build_captions(spec, RegionIds(city.region_ids), images, folder, problems, report)
    problems.raise_if_any()
    assert table is not None  # else a problem says why
    key, name = report.key, f"captions/{source}.parquet"
    # Until all is written the manifest does not vouch for the city.
    write_json(city.path / MANIFEST, city.manifest | {"complete": False})
    write_table(table, city.path / name)
    digest = hash_json([hash_file(city.path / name)])
    part = {"inputs": hash_json({"attached": digest}), "hash": digest, "files": [name], "report": vars(report)}
    parts = city.manifest["parts"] | {key: part | {"attached": True}}
    manifest = city.manifest | {
        "content_hash": hash_json({key: part["hash"] for key, part in parts.items()}),
        "parts": {key: parts[key] for key in in_order(parts)},
    }
    changed = City(city.path, manifest)
    found = {one.key: one for one in city.report.sources} | {key: report}
    present = changed.any_modality()
    told = PrepareReport(city.name, city.n_regions, [found[one] for one in in_order(found)])
    told.without_modality = [] if present is None else changed.regions.region_id[~present].tolist()
    told.write(city.path / REPORT)
    write_json(city.path / MANIFEST, manifest)
    return City.open(city.path)
