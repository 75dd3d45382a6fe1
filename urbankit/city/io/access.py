"""Limits on what GDAL opens: one driver for each suffix, and only files and addresses that the user named."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from threading import RLock

import pyogrio
import pyproj
import rasterio

from urbankit.utils.content import explain_content, starts_with
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.paths import is_inside

RASTER_DRIVERS = {
    ".tif": "GTiff", ".tiff": "GTiff", ".vrt": "VRT", ".img": "HFA", ".jp2": "JP2OpenJPEG", ".png": "PNG",
    ".jpg": "JPEG", ".jpeg": "JPEG", ".asc": "AAIGrid", ".nc": "netCDF",
}  # fmt: skip
VECTOR_DRIVERS = {
    ".gpkg": "GPKG", ".shp": "ESRI Shapefile", ".fgb": "FlatGeobuf", ".geojson": "GeoJSON", ".json": "GeoJSON",
}  # fmt: skip

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HDF5 = b"\x89HDF\r\n\x1a\n"
# GDAL recognises text by words anywhere in it, up to the first NUL. These signatures have one early on, so that a file
# with them is in no other format.
_SIGNATURES = {
    "GTiff": _TIFF,
    "HFA": (b"EHFA_HEADER_TAG",),
    "JP2OpenJPEG": (b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51\0"),
    "PNG": (b"\x89PNG\r\n\x1a\n\0",),
    "GPKG": (b"SQLite format 3\0",),
    "ESRI Shapefile": (b"\0\0\x27\x0a",),
    "FlatGeobuf": (b"fgb\x03fgb",),
}
_COMPANION_SIGNATURES = {".ovr": (*_TIFF, b"EHFA_HEADER_TAG"), ".msk": _TIFF, ".rrd": (b"EHFA_HEADER_TAG",)}

# Files are addressed by /vsicurl and its kind; a GeoJSON file can name its CRS by an address, which is fetched through
# the proxy: nothing listens at this port.
_NO_NETWORK = {"CPL_VSIL_CURL_ALLOWED_FILENAME": "/none", "GDAL_HTTP_PROXY": "127.0.0.1:9"}
_OPTIONS = {
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
    "SHAPE_RESTORE_SHX": "NO",
    "OGR_SQLITE_ALLOW_EXTERNAL_ACCESS": "NO",
    "OGR_SQLITE_LOAD_EXTENSIONS": "",
}
_ENVIRONMENT = ("GDAL_PAM_PROXY_DIR", "SPATIALITE_SECURITY", "PROJ_NETWORK", "PROJ_NETWORK_ENDPOINT")

MAX_UNZIPPED = 4 << 30
MAX_VRT = 64 << 20
MAX_NESTED_VRT = 20
_VRT_CLASSES = {
    "", "vrtdataset", "vrtwarpeddataset", "vrtpansharpeneddataset", "vrtrasterband", "vrtsourcedrasterband",
    "vrtwarpedrasterband", "vrtpansharpenedrasterband", "vrtderivedrasterband",
}  # fmt: skip
_VRT_SOURCES = ("sourcefilename", "sourcedataset")
_VRT_TEXTS = ("metadata", "srs", "targetsrs", "sourcesrs", "gcplist", "categorynames", "description")

_ogr_lock = RLock()


@dataclass(frozen=True)
class Access:
    """What the files of a city may refer to.

    Attributes:
        folder: References and links stay in this folder; None is the folder of each file.
        allow: `outside`: they may leave it. `network`: they may be addresses.
    """

    folder: Path | None = None
    allow: frozenset[str] = frozenset()

    def check(self, path: Path, named_by: Path, key: str | None = None) -> None:
        """Raise `UserError` if `path`, which the file `named_by` refers to, is outside the folder."""
        folder = self.folder or named_by.parent
        if "outside" not in self.allow and not is_inside(folder, path):
            message = (
                f"refers to {path}, outside the folder {folder}; put that file into the folder, or write "
                "`allow: [outside]` in the city file"
            )
            raise UserError(Problem(message, named_by, key=key))


NO_REFERENCES = Access()


@contextmanager
def gdal_raster(path: Path, access: Access = NO_REFERENCES, **options: int) -> Iterator[rasterio.DatasetReader]:
    """Open a raster by the driver of its suffix.

    `options` are GDAL's own for the time that it is open. Raises `UserError` for a file of another format, and for
    references that `access` does not allow; `RasterioError` for a damaged file.
    """
    _switch_off_networks()
    check_raster(path, access)
    network = {} if "network" in access.allow else _NO_NETWORK
    with rasterio.Env(**_OPTIONS, **network, **options), _open(path) as dataset:
        yield dataset


def check_raster(path: Path, access: Access = NO_REFERENCES, *, within: int = 0) -> None:
    """Raise `UserError` if a raster is not what its suffix says, or refers to what `access` does not allow.

    `within`: how many VRT files contain this one, each as a source of the next.
    """
    if within > MAX_NESTED_VRT:
        message = f"is within more than {MAX_NESTED_VRT} VRT, or refers to itself; make one VRT of the rasters"
        raise UserError(Problem(message, path))
    _check_raster(path, path.stat().st_mtime_ns, path.parent.stat().st_mtime_ns, access, within)


@lru_cache(maxsize=100_000)
def _check_raster(path: Path, modified: int, folder_modified: int, access: Access, within: int) -> None:
    driver = _driver(path, RASTER_DRIVERS, "raster", "make one, such as with `gdal_translate IN OUT.tif`")
    _check_companions(path, access)
    if driver == "VRT":
        for source in vrt_sources(path, access):
            if RASTER_DRIVERS.get(source.suffix.lower()) not in (*_SIGNATURES, "VRT"):
                message = f"refers to {source.name}: only GeoTIFF, PNG, JPEG 2000, IMG and VRT can be its sources"
                raise UserError(Problem(message, path))
            check_raster(source, access, within=within + 1)
    if driver == "netCDF" and starts_with(path, _HDF5) and "outside" not in access.allow:
        message = (
            "netCDF-4 and HDF5 files can refer to other files; convert it with `gdal_translate IN.nc OUT.tif`, or "
            "write `allow: [outside]` in the city file if you trust it"
        )
        raise UserError(Problem(message, path))
    with rasterio.Env(**_OPTIONS, **_NO_NETWORK), _open(path) as dataset:
        for tags in (dataset.tags(ns="OVERVIEWS"), dataset.tags(ns="GEOLOCATION")):
            for name in ("OVERVIEW_FILE", "X_DATASET", "Y_DATASET"):
                if name in tags:
                    _check_overview(tags[name], path, access)
        for file in dataset.files[1:]:  # the first is the raster itself
            if not (file.startswith("/vsicurl/") and "network" in access.allow):
                access.check(Path(file), path)


def explain_other_format(path: Path) -> str:
    """Return what a file actually is if its suffix is wrong, as `explain_content` does; otherwise an empty text."""
    signatures = _SIGNATURES.get(RASTER_DRIVERS.get(path.suffix.lower(), ""))
    return "" if signatures and starts_with(path, *signatures) else explain_content(path)


def _open(path: Path) -> rasterio.DatasetReader:
    return rasterio.open(Path(path).absolute(), driver=RASTER_DRIVERS[path.suffix.lower()])


def vrt_sources(path: Path, access: Access = NO_REFERENCES) -> list[Path]:
    """Return the files that a VRT refers to, each once. Raises `UserError` for references that are not allowed."""
    if path.stat().st_size > MAX_VRT:
        raise UserError(Problem(f"is larger than {MAX_VRT >> 20} MB; build the raster with gdal_translate", path))
    text = path.read_bytes()
    try:
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise ET.ParseError("it declares entities")
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UserError(Problem(f"is not a readable VRT ({error}){explain_content(path)}", path)) from None
    sources: dict[Path, None] = {}
    for name, value, element in _leaves(root):
        if name in _VRT_SOURCES:
            source = _vrt_source(value, element, path, access)
            if source is not None:
                sources[source] = None
        elif _is_refused(name, value):
            message = f"{name} is {value[:200]!r}, which is not read; write the raster with `gdal_translate`"
            raise UserError(Problem(message, path))
    return list(sources)


def _leaves(root: ET.Element) -> Iterator[tuple[str, str, ET.Element]]:
    """The names in lower case and texts of all attributes and elements of a VRT, except of those that hold text."""
    remaining = [root]
    while remaining:
        element = remaining.pop()
        yield from ((name.lower(), value, element) for name, value in element.attrib.items())
        text = (element.text or "").strip()
        if text:
            yield _local(element), text, element
        remaining += [child for child in element if _local(child) not in _VRT_TEXTS]


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2].lower()


def _is_refused(name: str, value: str) -> bool:
    """Whether a part of a VRT runs code, or may refer to files in another way than its sources do."""
    if name == "subclass":
        return value.lower() not in _VRT_CLASSES
    is_path = "/vsi" in value.lower() or "://" in value or "../" in value or value.startswith(("/", "\\", "<"))
    return is_path or any(word in name for word in ("pixelfunctioncode", "language", "dataset", "dempath", "filename"))


def _vrt_source(value: str, element: ET.Element, path: Path, access: Access) -> Path | None:
    """A source of a VRT, None for an address that is allowed."""
    if value.lower().startswith(("/vsi", "http:", "https:", "ftp:")) or "://" in value:
        if "network" not in access.allow:
            message = f"refers to {value[:200]}; download that file, or write `allow: [network]` in the city file"
            raise UserError(Problem(message, path))
        return None
    relative = {key.lower(): text for key, text in element.attrib.items()}.get("relativetovrt", "0").strip()
    source = (path.parent if relative == "1" else Path.cwd()) / value
    if "\0" in value or not source.is_file():
        message = f"refers to {value[:200]!r}, which is no file" + ("" if relative == "1" else " (not relative to it)")
        raise UserError(Problem(message, path))
    access.check(source, path)
    return source


def _check_overview(name: str, path: Path, access: Access) -> None:
    overview = path.parent / name.removeprefix(":::BASE:::")
    if not overview.is_file() or not starts_with(overview, *_COMPANION_SIGNATURES[".ovr"]):
        message = f"names {name!r} as its overviews; only a file beside it can be that. Remove its .aux.xml"
        raise UserError(Problem(message, path))
    access.check(overview, path)
    _check_companions(overview, access)


def read_files(path: Path, access: Access = NO_REFERENCES) -> list[Path]:
    """Return a raster, the files beside it that GDAL reads, and those that it refers to. Raises as `check_raster`."""
    files: dict[Path, None] = {}
    remaining = [path]
    while remaining:
        file = remaining.pop()
        if file not in files and file.is_file():
            files |= dict.fromkeys([file, *companions(file)])
            if file.suffix.lower() == ".vrt":
                remaining += vrt_sources(file, access)
    return list(files)


def companions(path: Path) -> list[Path]:
    """Return the files beside a source that GDAL reads with it: overviews, masks, world files, parts of a Shapefile."""
    stem = path.stem.lower() + "."
    return [
        path.parent / name
        for name in _names(path.parent, path.parent.stat().st_mtime_ns)
        if name.lower().startswith(stem) and name != path.name and Path(name).suffix.lower() not in _SOURCES
    ]


_SOURCES = {*RASTER_DRIVERS, *VECTOR_DRIVERS, ".parquet", ".geoparquet", ".csv", ".tsv", ".jsonl", ".zip", ".yaml"}


@lru_cache(maxsize=1000)
def _names(folder: Path, modified: int) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _check_companions(path: Path, access: Access) -> None:
    for companion in companions(path):
        access.check(companion, path)
        signatures = _COMPANION_SIGNATURES.get(companion.suffix.lower())
        if signatures and companion.is_file() and not starts_with(companion, *signatures):
            message = f"{companion.name} beside it is no overview or mask{explain_content(companion)}; remove it"
            raise UserError(Problem(message, path))


@contextmanager
def vector_name(path: Path) -> Iterator[str]:
    """Return the name with which OGR reads a vector file by the driver of its suffix only, without a network.

    Raises `UserError` for a file of another format.
    """
    _switch_off_networks()
    name = str(path.absolute())
    if path.suffix.lower() == ".zip":
        member, head = _zipped(path)
        name, driver = f"/vsizip/{{{name}}}/{member}", VECTOR_DRIVERS[Path(member).suffix.lower()]
        valid = driver == "GeoJSON" or head.startswith(_SIGNATURES[driver])
    else:
        driver = _driver(path, VECTOR_DRIVERS, "vector file", "make one, such as with `ogr2ogr OUT.gpkg IN`")
        valid = driver == "GeoJSON" or starts_with(path, *_SIGNATURES[driver])
    if not valid:
        raise UserError(Problem(f"is not {driver}, although its suffix says so{explain_content(path)}", path))
    # This prefix chooses the driver; other formats are chosen by their signature.
    name = f"GeoJSON:{name}" if driver == "GeoJSON" else name
    options = _OPTIONS | _NO_NETWORK
    with _ogr_lock:  # OGR's options are those of the whole process
        before = {option: pyogrio.get_gdal_config_option(option) for option in options}
        direct = {name: os.environ.pop(name) for name in ("NO_PROXY", "no_proxy") if name in os.environ}
        pyogrio.set_gdal_config_options(options)
        try:
            yield name
        finally:
            pyogrio.set_gdal_config_options(before)
            os.environ.update(direct)


def _zipped(path: Path) -> tuple[str, bytes]:
    """The one vector file in a ZIP archive, and its first bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.filename.startswith("__MACOSX/")]
            names = [info.filename for info in members if Path(info.filename).suffix.lower() in VECTOR_DRIVERS]
            if sum(info.file_size for info in members) > MAX_UNZIPPED:
                raise UserError(Problem(f"unpacks to more than {MAX_UNZIPPED >> 30} GB; unpack it yourself", path))
            if len(names) != 1:
                what = f"holds {len(names)} vector files" if names else "holds no Shapefile, GeoPackage or GeoJSON"
                raise UserError(Problem(f"{what}; unpack it and name one of its files", path))
            with archive.open(names[0]) as stream:
                return names[0], stream.read(16)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise UserError(Problem(f"is not a readable ZIP archive ({error}){explain_content(path)}", path)) from None


def _driver(path: Path, drivers: dict[str, str], kind: str, advice: str) -> str:
    driver = drivers.get(path.suffix.lower())
    if driver is None:
        suffixes = ", ".join(drivers)
        message = f"'{path.suffix}' is no suffix of a {kind} ({suffixes}){explain_content(path)}; {advice}"
        raise UserError(Problem(message, path))
    return driver


@cache
def _switch_off_networks() -> None:
    """Keep PROJ from fetching grids, and drop the environment variables by which GDAL reads other files."""
    for name in _ENVIRONMENT:
        os.environ.pop(name, None)
    os.environ["PROJ_NETWORK"] = "OFF"
    pyproj.network.set_network_enabled(False)
