"""What a file is by its first bytes, for messages about files that are not what their name says."""

from __future__ import annotations

from pathlib import Path

_KINDS: list[tuple[tuple[bytes, ...], str]] = [
    ((b"version https://git-lfs",), "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    ((b"<!doctype html", b"<html", b"<head"), "an HTML page; the download failed or needs a login"),
    ((b"<vrtdataset", b"<ogrvrtdatasource"), "a GDAL VRT, which refers to other files"),
    ((b"<gdal_wm", b"<gdal_"), "a description of a map service"),
    ((b"<?xml",), "an XML file"),
    ((b"pk\x03\x04",), "a ZIP archive or an Excel workbook; unpack it, or save the table as CSV"),
    ((b"\xd0\xcf\x11\xe0",), "an old Excel workbook; save the table as CSV"),
    ((b"\x1f\x8b",), "a gzip archive; unpack it"),
    ((b"bzh",), "a bzip2 archive; unpack it"),
    ((b"\xfd7zxz",), "an xz archive; unpack it"),
    ((b"\x28\xb5\x2f\xfd",), "a zstd archive; unpack it"),
    ((b"%pdf",), "a PDF"),
    ((b"ii*\0", b"mm\0*", b"ii+\0", b"mm\0+"), "a TIFF"),
    ((b"\x89png",), "a PNG picture"),
    ((b"\xff\xd8\xff",), "a JPEG picture"),
    ((b"sqlite format 3",), "an SQLite database or GeoPackage"),
    ((b"\x89hdf", b"cdf\x01", b"cdf\x02", b"cdf\x05"), "an HDF5 or netCDF file"),
    ((b"par1",), "a Parquet file"),
]
_TEXT_KINDS: list[tuple[tuple[bytes, ...], str]] = [
    ((b"<",), "an XML file"),
    ((b"{", b"["), "a JSON file"),
]
"""Signatures that a table of text may begin with too."""

_HEIF = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"hevc": "HEIC", b"avif": "AVIF"}


def explain_content(path: Path) -> str:
    """Return `": it is an HTML page; …"` for a file whose first bytes say what it is, otherwise an empty text."""
    kind = _kind(path, [*_KINDS, *_TEXT_KINDS])
    return "" if kind is None else f": it is {kind}"


def unlike_text(path: Path) -> str | None:
    """Return what a file is that cannot be a table of text, such as `an HTML page; …`, otherwise None."""
    return _kind(path, _KINDS)


def _kind(path: Path, kinds: list[tuple[tuple[bytes, ...], str]]) -> str | None:
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError:
        return None
    if not head:
        return "empty"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return f"a picture in {_HEIF[head[8:12]]}; convert it to JPEG"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((kind for starts, kind in kinds if text.startswith(starts)), None)


def starts_with(path: Path, *signatures: bytes) -> bool:
    """Return whether a file begins with one of the signatures."""
    with path.open("rb") as stream:
        return stream.read(max(map(len, signatures))).startswith(signatures)
