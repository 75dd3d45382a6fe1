"""Files of the run that a reader of the page can save: earlier exports of predictions."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from urbankit.export.record import Record
from urbankit.runs.folder import Run

MOST_BYTES = 2_000_000
"""Exported files that the page holds; larger ones are linked, and open while the page lies in the folder of its run."""


class Download(NamedTuple):
    """The name of a file, and its address: a `data:` URL, or a path relative to the page."""

    name: str
    address: str


def exported(run: Run, page: Path) -> list[Download]:
    """Return the files of predictions that `urbankit export` wrote into the run folder, for a page at `page`."""
    folder, size = run.path / "export", 0
    downloads = []
    for name in sorted(Record(folder).files):
        path = folder / name
        if not name.startswith("predictions") or not path.is_file():
            continue
        size += path.stat().st_size
        if size <= MOST_BYTES:
            content = base64.b64encode(path.read_bytes()).decode("ascii")
            downloads.append(Download(name, f"data:application/octet-stream;base64,{content}"))
        elif page.resolve().parent == run.path.resolve():
            downloads.append(Download(name, quote(f"{folder.name}/{name}")))
    return downloads
