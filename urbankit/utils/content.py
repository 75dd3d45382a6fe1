"""What a file is by its first bytes, for messages about files that are not what their name says."""

from __future__ import annotations

from pathlib import Path

_KINDS: list[tuple[tuple[bytes, ...], str]] = [
    ((b"version https://git-lfs",), "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    ((b"<!doctype html", b"<html", b"<head"), "an HTML page; the download failed or needs a login"),
    ((b"<vrtdataset", b"<ogrvrtdatasource"), "a GDAL VRT, which refers to other files"),
    ((b"<gdal_wm", b"<gdal_"), "a description of a map service"),
    ((b"<?xml", b"<"), "an XML file"),
    ((b"pk\x03\x04",), "a ZIP archive; unpack it"),
    ((b"\x1f\x8b",), "a gzip archive; unpack it"),
    ((b"%pdf",), "a PDF"),
    ((b"ii*\0", b"mm\0*", b"ii+\0", b"mm\0+"), "a TIFF"),
    ((b"\x89png",), "a PNG picture"),
    ((b"\xff\xd8\xff",), "a JPEG picture"),
    ((b"sqlite format 3",), "an SQLite database or GeoPackage"),
    ((b"\x89hdf", b"cdf\x01", b"cdf\x02", b"cdf\x05"), "an HDF5 or netCDF file"),
    ((b"par1",), "a Parquet file"),
    ((b"{", b"["), "a JSON file"),
]
_HEIF = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"hevc": "HEIC", b"avif": "AVIF"}


def explain_content(path: Path) -> str:
    """Return `": it is an HTML page; …"` for a file whose first bytes say what it is, otherwise an empty text."""
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError:
        return ""
    if not head:
        return ": it is empty"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return f": it is a picture in {_HEIF[head[8:12]]}; convert it to JPEG"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for starts, kind in _KINDS:
        if text.startswith(starts):
            return f": it is {kind}"
    return ""


def starts_with(path: Path, *signatures: bytes) -> bool:
    """Return whether a file begins with one of the signatures."""
    with path.open("rb") as stream:
        return stream.read(max(map(len, signatures))).startswith(signatures)
