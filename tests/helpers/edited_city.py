"""A prepared city with files that a test has changed."""

from pathlib import Path

from urbankit.city.manifest import file_checks, read_manifest, write_manifest


def accept_changes(folder: Path) -> None:
    """Record the files of a prepared city as they are now, as if `prepare` had written them."""
    manifest = read_manifest(folder)
    for entry in manifest["parts"].values():
        entry["checks"] = file_checks(folder, entry["checks"])
    write_manifest(folder, manifest)
