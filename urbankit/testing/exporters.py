"""The conformance checks of an exporter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from urbankit.export.base import FolderExporter
from urbankit.export.tables import ExportTable
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.city import tiny_city


def names_its_files(candidate: Candidate) -> Iterator[str]:
    """The names of its files contain the name of the table."""
    if issubclass(candidate.component, FolderExporter):
        return
    files = getattr(candidate.component, "files", ())
    if not files or isinstance(files, str) or any("{what}" not in file for file in files):
        yield f"`files` is {files!r}; give a tuple of file names, each with {{what}} in it"


def writes_its_files(candidate: Candidate) -> Iterator[str]:
    """It writes all of its files, and returns notes."""
    if issubclass(candidate.component, FolderExporter):  # what it writes needs a finished run
        return
    frame = tiny_city().regions[["geometry"]].reset_index(drop=True)
    frame.insert(0, "region_id", list(tiny_city().region_ids))
    frame.insert(1, "e0", np.linspace(0, 1, len(frame), dtype=np.float32))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, file.format(what="embeddings")) for file in candidate.component.files]
        notes = candidate.create().write(ExportTable("embeddings", frame), paths)
        if missing := [path.name for path in paths if not path.is_file()]:
            yield f"write() leaves out {', '.join(missing)}; write every file of `files`"
        if not isinstance(notes, list) or any(not isinstance(note, str) for note in notes):
            yield f"write() returns {notes!r}; expected a list of texts, empty for none"


CHECKS: tuple[Check, ...] = (names_its_files, writes_its_files)
