"""Sources that refer to other files, and files that are not what their suffix says."""

import http.server
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from helpers.rasters import write_raster
from helpers.small_city import CRS, EAST, IDS, NORTH, Sources, squares
from rasterio.vrt import WarpedVRT

from urbankit.city.io.access import Access, check_raster, vrt_sources
from urbankit.utils.errors import UserError

CELLS = np.full((30, 30), 7, np.float32)
HEAD = (
    '<VRTDataset rasterXSize="30" rasterYSize="30"><SRS>EPSG:32618</SRS>'
    f"<GeoTransform>{EAST}, 100, 0, {NORTH + 3000}, 0, -100</GeoTransform>"
)


def vrt(path: Path, source: object, relative: int = 1, band: str = "", more: str = "") -> Path:
    """A VRT of one source, with `band` as further attributes of its band and `more` as further elements."""
    path.write_text(
        f'{HEAD}{more}<VRTRasterBand dataType="Float32" band="1" {band}><SimpleSource><SourceFilename relativeToVRT='
        f'"{relative}">{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    return path


def ogr_vrt(source: Path) -> str:
    return (
        f'<OGRVRTDataSource><OGRVRTLayer name="secret"><SrcDataSource>{source}</SrcDataSource></OGRVRTLayer>'
        "</OGRVRTDataSource>"
    )


@pytest.fixture
def secret(sources: Sources) -> Path:
    """A raster outside the folder of the sources, and one inside; the target is `x.tif` until a test changes it."""
    (sources.folder.parent / "elsewhere").mkdir()
    write_raster(sources.folder / "inside.tif", CELLS, north=NORTH + 3000)
    sources.spec["targets"] = {"t": {"raster": "x.tif", "statistic": "mean"}}
    return write_raster(sources.folder.parent / "elsewhere" / "secret.tif", CELLS + 4235, north=NORTH + 3000)


def target(sources: Sources, file: str = "x.tif") -> np.ndarray:
    sources.spec["targets"]["t"]["raster"] = file
    return sources.prepare().target("t").values


def test_a_raster_is_opened_by_the_driver_of_its_suffix(sources: Sources, secret: Path) -> None:
    for name in ("x.tif", "x.png", "x.asc", "x.jp2", "x.img", "x.nc"):
        vrt(sources.folder / name, secret, 0)
        with pytest.raises(UserError, match=r"x.*: it is a GDAL VRT"):
            target(sources, name)
    shutil.copy(secret, sources.folder / "x.dat")
    with pytest.raises(UserError, match=r"'\.dat' is no suffix of a raster"):
        target(sources, "x.dat")


def test_vrt_reads_only_files_inside_the_folder(sources: Sources, secret: Path, monkeypatch: Any) -> None:
    assert target(sources, vrt(sources.folder / "good.vrt", "inside.tif").name) == pytest.approx(7)
    monkeypatch.chdir(secret.parent)
    vrt(sources.folder / "nested.vrt", "nested_2.vrt")
    vrt(sources.folder / "nested_2.vrt", "../elsewhere/secret.tif")
    vrt(sources.folder / "pretends.tif", secret, 0)
    (sources.folder / "link.tif").symlink_to(secret)
    references = [
        (secret, 0, "outside the folder"),
        ("../elsewhere/secret.tif", 1, "outside the folder"),
        ("secret.tif", 0, "outside the folder"),
        ("nested.vrt", 1, "outside the folder"),
        ("link.tif", 1, "outside the folder"),
        ("pretends.tif", 1, "it is a GDAL VRT"),
        ("/vsicurl/http://localhost/x.tif", 0, "download that file"),
        ("https://localhost/x.tif", 0, "download that file"),
        (f"/vsisubfile/0_9999,{secret}", 0, "download that file"),
        (f"GTIFF_DIR:1:{secret}", 0, "is no file"),
        ("vrt://inside.tif?bands=1", 1, "download that file"),
        ("regions.gpkg", 1, "can be its sources"),
    ]
    for source, relative, says in references:
        vrt(sources.folder / "bad.vrt", source, relative)
        with pytest.raises(UserError, match=says):
            target(sources, "bad.vrt")


@pytest.mark.parametrize(
    ("band", "more"),
    [
        ('subClass="VRTRawRasterBand"', ""),
        ('subClass="VRTDerivedRasterBand"', "<PixelFunctionCode>import os</PixelFunctionCode>"),
        ("", "<Option name='CUTLINE_DS'>/etc/passwd</Option>"),
        ("", "<GDALWarpOptions><DEMPath>inside.vrt</DEMPath></GDALWarpOptions>"),
        ("", "<Thing SourceDataset='/etc/passwd'/>"),
        ("", "<Group name='/'/>"),
    ],
)
def test_vrt_with_other_kinds_of_sources_is_refused(sources: Sources, secret: Path, band: str, more: str) -> None:
    path = vrt(sources.folder / "x.vrt", "inside.tif", 1, band, more)
    with pytest.raises(UserError, match=r"gdal_translate|outside the folder"):
        vrt_sources(path)


def test_a_vrt_that_is_no_xml_is_refused(sources: Sources, secret: Path) -> None:
    for text in ("", "<VRTDataset", "<!DOCTYPE x [<!ENTITY a 'b'>]><VRTDataset/>", "\x00" * 100):
        (sources.folder / "x.vrt").write_text(text)
        with pytest.raises(UserError, match="not a readable VRT"):
            vrt_sources(sources.folder / "x.vrt")


def test_overviews_and_masks_beside_a_raster_are_checked(sources: Sources, secret: Path) -> None:
    path = sources.folder / "x.tif"
    for suffix in (".ovr", ".msk"):
        shutil.copy(sources.folder / "inside.tif", path)
        beside = vrt(Path(f"{path}{suffix}"), secret, 0)
        with pytest.raises(UserError, match=f"{beside.name} beside it is no overview or mask: it is a GDAL VRT"):
            target(sources)
        beside.unlink()
        beside.symlink_to(secret)
        with pytest.raises(UserError, match="outside the folder"):
            target(sources)
        beside.unlink()
    for name in (secret, "/vsicurl/http://localhost/x.tif", ":::BASE:::../elsewhere/secret.tif"):
        Path(f"{path}.aux.xml").write_text(
            f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{name}</MDI></Metadata></PAMDataset>'
        )
        with pytest.raises(UserError, match=r"as its overviews|outside the folder"):
            target(sources)
    Path(f"{path}.aux.xml").unlink()
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(secret))
    with pytest.raises(UserError, match="outside the folder"):
        target(sources)


def test_netcdf_4_is_refused(sources: Sources, secret: Path) -> None:
    (sources.folder / "x.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(UserError, match="gdal_translate"):
        target(sources, "x.nc")


def test_allow_in_the_city_file_permits_references(sources: Sources, secret: Path) -> None:
    vrt(sources.folder / "bad.vrt", secret, 0)
    sources.spec["allow"] = ["network"]
    with pytest.raises(UserError, match=r"allow: \[outside\]"):
        target(sources, "bad.vrt")
    sources.spec["allow"] = ["outside"]
    assert target(sources, "bad.vrt") == pytest.approx(4242)
    assert target(sources, "../elsewhere/secret.tif") == pytest.approx(4242)
    vrt(sources.folder / "net.vrt", "/vsicurl/http://localhost:1/x.tif", 0)
    check_raster(sources.folder / "net.vrt", Access(sources.folder, frozenset(["network"])))


def test_environment_variables_allow_no_further_files(sources: Sources, secret: Path, monkeypatch: Any) -> None:
    for name, value in {
        "GDAL_VRT_ENABLE_PYTHON": "YES",
        "CPL_VSIL_CURL_ALLOWED_FILENAME": "",
        "PROJ_NETWORK": "ON",
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    }.items():
        monkeypatch.setenv(name, value)
    vrt(sources.folder / "x.vrt", secret, 0)
    with pytest.raises(UserError, match="outside the folder"):
        target(sources, "x.vrt")


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request, and notes it."""

    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Answers) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_no_source_opens_a_network_connection(sources: Sources, secret: Path, server: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    link = {"type": "link", "properties": {"href": f"{server}/crs", "type": "ogcwkt"}}
    shapes = gpd.GeoDataFrame({"id": IDS}, geometry=squares(), crs=CRS).to_crs("EPSG:4326")
    (sources.folder / "r.geojson").write_text(json.dumps(json.loads(shapes.to_json()) | {"crs": link}))
    sources.spec["regions"]["file"] = "r.geojson"
    with suppress(UserError):
        sources.prepare()
    sources.spec["regions"]["file"] = "regions.gpkg"
    vrt(sources.folder / "a.vrt", f"/vsicurl/{server}/x.tif", 0)
    vrt(sources.folder / "b.vrt", "inside.tif", 1, "", f"<Metadata><MDI key='x'>{server}</MDI></Metadata>")
    (sources.folder / "c.vrt").write_text((sources.folder / "b.vrt").read_text().replace("EPSG:32618", f"{server}/crs"))
    for name in ("a.vrt", "b.vrt", "c.vrt"):
        with suppress(UserError):
            target(sources, name)
    assert _Answers.requests == []


def test_vrts_of_gdal_tools_are_read(sources: Sources, secret: Path) -> None:
    with rasterio.open(sources.folder / "inside.tif") as dataset, WarpedVRT(dataset, crs="EPSG:4326") as warped:
        rasterio.shutil.copy(warped, sources.folder / "warped.vrt", driver="VRT")
        rasterio.shutil.copy(dataset, sources.folder / "copied.vrt", driver="VRT")
    for name in ("warped.vrt", "copied.vrt"):
        assert target(sources, name) == pytest.approx(7)


@pytest.mark.parametrize("name", ["r.geojson", "r.json", "r.gpkg", "r.shp", "r.fgb"])
def test_a_vector_file_is_read_by_the_driver_of_its_suffix(sources: Sources, secret: Path, name: str) -> None:
    elsewhere = secret.parent / "secret.gpkg"
    gpd.GeoDataFrame({"id": IDS}, geometry=squares(), crs=CRS).to_file(elsewhere, layer="secret")
    command = f"gdal vector pipeline ! read {elsewhere} ! write --of=stream streamed"
    others = [ogr_vrt(elsewhere), json.dumps({"type": "gdal_streamed_alg", "command_line": command})]
    for text in others:
        (sources.folder / name).write_text(text)
        sources.spec |= {"regions": {"file": name, "id": "id"}, "targets": {}}
        with pytest.raises(UserError, match=name):
            sources.prepare()


def test_links_to_files_outside_the_folder_are_refused(full: Sources) -> None:
    elsewhere = full.folder.parent / "elsewhere"
    elsewhere.mkdir()
    for name in ("people.tif", "svi/0.png", "texts.jsonl", "poi.csv", "regions.gpkg"):
        path, moved = full.folder / name, elsewhere / Path(name).name
        shutil.move(path, moved)
        path.symlink_to(moved)
        with pytest.raises(UserError, match="leaves the data folder"):
            full.prepare()
        full.spec["allow"] = ["outside"]
        full.prepare()
        del full.spec["allow"]
        path.unlink()
        shutil.move(moved, path)


def test_parts_of_a_shapefile_stay_in_the_folder(sources: Sources) -> None:
    sources.regions("r.shp")
    elsewhere = sources.folder.parent / "other.dbf"
    shutil.move(sources.folder / "r.dbf", elsewhere)
    (sources.folder / "r.dbf").symlink_to(elsewhere)
    sources.spec["regions"]["file"] = "r.shp"
    with pytest.raises(UserError, match="outside the folder"):
        sources.prepare()


def zipped(path: Path, *files: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, file.name)
    return path


def test_zipped_and_json_vector_files_are_read_everywhere(sources: Sources) -> None:
    sources.regions("r.shp")
    zipped(sources.folder / "r.zip", *sources.folder.glob("r.*"))
    points = gpd.GeoDataFrame({"kind": ["shop"] * 9}, geometry=[s.centroid for s in squares()], crs=CRS)
    points.to_crs("EPSG:4326").to_file(sources.folder / "p.json", driver="GeoJSON")
    sources.spec |= {"regions": {"file": "r.zip", "id": "id"}, "poi": {"points": "p.json", "category": "kind"}}
    city = sources.prepare()
    assert city.region_ids == IDS and city.poi_counts()[0].toarray().ravel().tolist() == [1] * 9
    for covering in ("r.zip", "p.json"):
        sources.spec |= {"regions": {"grid": {"size_m": 1000, "covering": covering}}, "poi": None}
        if covering == "r.zip":
            assert sources.prepare().n_regions >= 9
        else:
            with pytest.raises(UserError, match="holds no polygons"):
                sources.prepare()


def test_unreadable_zip_archive_is_refused_with_the_reason(sources: Sources) -> None:
    sources.regions("a.gpkg")
    sources.regions("b.gpkg")
    (sources.folder / "v.gpkg").write_text(ogr_vrt(sources.folder / "a.gpkg"))
    sources.spec["regions"]["file"] = "r.zip"
    for files, says in [
        (["a.gpkg", "b.gpkg"], "holds 2 vector files"),
        ([], "holds no Shape"),
        (["v.gpkg"], "not GPKG"),
    ]:
        zipped(sources.folder / "r.zip", *(sources.folder / file for file in files))
        with pytest.raises(UserError, match=says):
            sources.prepare()
    (sources.folder / "r.zip").write_text("<html>")
    with pytest.raises(UserError, match="an HTML page"):
        sources.prepare()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"PK\x03\x04", "unpack it"),
        (b"", "it is empty"),
    ],
)
def test_error_names_the_actual_kind_of_a_file(sources: Sources, secret: Path, content: bytes, says: str) -> None:
    for name in ("x.tif", "x.gpkg", "x.vrt"):
        (sources.folder / name).write_bytes(content)
    for name in ("x.tif", "x.vrt"):
        with pytest.raises(UserError, match=says):
            target(sources, name)
    sources.spec["regions"]["file"] = "x.gpkg"
    with pytest.raises(UserError, match=says):
        sources.prepare()


def test_a_vrt_that_refers_to_itself_is_refused(sources: Sources) -> None:
    source = (
        '<VRTRasterBand dataType="Float32" band="1"><SimpleSource><SourceFilename relativeToVRT="1">{}</SourceFilename>'
    )
    for name, other in (("a.vrt", "b.vrt"), ("b.vrt", "a.vrt")):
        text = HEAD + source.format(other) + "</SimpleSource></VRTRasterBand></VRTDataset>"
        (sources.folder / name).write_text(text)
    with pytest.raises(UserError, match="or refers to itself"):
        check_raster(sources.folder / "a.vrt", Access(sources.folder))
