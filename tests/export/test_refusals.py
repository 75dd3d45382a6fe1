"""What an export says where it cannot be, and what it never does."""

import json
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from helpers.small_run import squares
from shapely.geometry import Point

from urbankit import Run, UserError
from urbankit.export import geotiff
from urbankit.export.export import UNFINISHED
from urbankit.export.tables import dimension_names, distinct
from urbankit.utils.errors import UrbankitError


def refusal(run: Run, *args: object, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        run.export(*args, **options)
    return str(caught.value)


def test_wrong_arguments_are_refused(make_run) -> None:
    run = make_run()
    message = refusal(run, ["gpgk", "shapefile"])
    assert "Did you mean 'gpkg'?" in message and "'shapefile'" in message
    assert "--what: 'embedings' is not" in refusal(run, "csv", what="embedings")
    assert "--resolution: 0 is not" in refusal(run, "geotiff", resolution=0.0)
    assert "goes with --to geotiff" in refusal(run, "csv", resolution=10.0)
    assert "--crs: 'EPSG:0' is not a CRS" in refusal(run, "csv", crs="EPSG:0")
    assert "is not of maps" in refusal(run, "csv", crs="EPSG:4978"), "it is of the whole Earth, in three dimensions"
    assert "names nothing" in refusal(run, [])
    assert not (run.path / "export").exists()


def test_files_that_an_export_did_not_write_are_kept_without_force(make_run) -> None:
    run = make_run()
    target = run.path / "export" / "embeddings.csv"
    target.parent.mkdir()
    target.write_text("mine")
    assert "no export wrote it or it has changed since" in refusal(run, ["gpkg", "csv"])
    assert target.read_text() == "mine" and not target.with_suffix(".gpkg").exists(), "nothing is written then"
    run.export("csv", force=True)
    first = target.read_text()
    assert first != "mine"
    run.export("csv")  # its own
    assert target.read_text() == first
    target.write_text(first + "edited")
    assert "no export wrote it or it has changed since" in refusal(run, "csv")


def test_a_run_folder_and_a_file_are_refused_as_output_folder(make_run, tmp_path: Path) -> None:
    run = make_run()
    before = (run.path / "embeddings.parquet").read_bytes()
    assert "is a run folder" in refusal(run, "geoparquet", out=run.path, force=True)
    assert (run.path / "embeddings.parquet").read_bytes() == before
    (tmp_path / "file").write_text("")
    assert "is a file, not a folder" in refusal(run, "csv", out=tmp_path / "file")


def test_failed_run_exports_its_existing_tables(make_run) -> None:
    run = make_run(tasks=(), status="failed")
    assert [one.path.name for one in run.export("csv")] == ["embeddings.csv"]
    assert "has not written predictions.parquet (its status: failed)" in refusal(run, "csv", what="predictions")
    (run.path / "embeddings.parquet").unlink()
    assert "has not written embeddings.parquet" in refusal(Run.open(run.path), "csv")


def test_a_run_without_tasks_exports_embeddings_only(make_run) -> None:
    run = make_run(tasks=())
    pd.DataFrame(columns=["region_id", "task"]).to_parquet(run.path / "predictions.parquet")
    assert "no task that predicts" in refusal(run, "csv", what="predictions")
    assert len(run.export("csv")) == 1


def test_tables_of_another_version_are_refused(make_run) -> None:
    run = make_run()
    table = pd.read_parquet(run.path / "predictions.parquet").rename(columns={"prediction": "predicted"})
    table.to_parquet(run.path / "predictions.parquet")
    run = Run.open(run.path)
    message = refusal(run, "csv")
    assert "has no column 'prediction'" in message and "run the recipe again" in message
    assert len(run.export("csv", what="embeddings")) == 1
    gpd.GeoDataFrame(geometry=[Point(0, 0)], crs="EPSG:32618").to_parquet(run.path / "embeddings.parquet")
    assert "no run of this version" in refusal(Run.open(run.path), "csv", what="embeddings")


def test_export_works_without_a_readable_recipe(make_run) -> None:
    run = make_run()
    (run.path / "recipe.yaml").write_text("method: {name: no_longer_there, x: 1}\nold: true\n")
    assert len(Run.open(run.path).export(["csv", "geotiff"])) == 4


def test_a_damaged_table_and_ids_that_occur_twice_are_refused(make_run) -> None:
    run = make_run()
    (run.path / "embeddings.parquet").write_bytes(b"PAR1 no")
    assert "cannot be read" in refusal(run, "csv")
    run = make_run(squares(["a", "b", "a", "c"]), tasks=())
    assert "more than once: 'a'" in refusal(run, "csv")


def test_a_raster_that_is_too_large_is_refused_with_a_resolution_that_fits(
    make_run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    monkeypatch.setattr(geotiff, "MAX_BYTES", 100_000)
    message = refusal(run, "geotiff", what="embeddings", resolution=20.0)
    assert "5 bands of 200 × 150 cells of 20 m are 0.0 GB" in message
    enough = float(message.rsplit("--resolution ", 1)[1].split()[0])
    assert 20 < enough < 60
    run.export("geotiff", what="embeddings", resolution=enough)


def test_raster_of_one_point_requires_a_resolution(make_run) -> None:
    regions = gpd.GeoDataFrame({"region_id": ["a"]}, geometry=[Point(583_000, 4_507_000)], crs="EPSG:32618")
    run = make_run(regions, tasks=())
    assert "give --resolution in metres" in refusal(run, "geotiff")
    assert len(run.export("geotiff", resolution=10.0)) == 1


def test_regions_without_a_crs_are_exported_as_csv_only(make_run) -> None:
    run = make_run(squares().set_crs(None, allow_override=True))
    assert "have no CRS" in refusal(run, "geotiff")
    assert "have no CRS" in refusal(run, "gpkg", crs="EPSG:4326")
    table = pd.read_csv(run.export("csv", what="embeddings")[0].path)
    assert table["lon"].isna().all() and table["e0"].notna().all()


def test_a_geopackage_has_a_maximum_number_of_dimensions(make_run) -> None:
    run = make_run(dim=2000, tasks=())
    path = run.path / "export" / "embeddings.gpkg"
    assert f"{path}: 2,000 columns are more than a GeoPackage holds" in refusal(run, "gpkg")
    assert not path.parent.exists(), "a failed export makes no folder"
    assert len(run.export("geoparquet")) == 1
    run = make_run(dim=1997, tasks=(), name="fits")
    assert gpd.read_file(run.export("gpkg")[0].path).shape == (12, 1999)


def test_column_names_are_distinct_whatever_their_case(make_run) -> None:
    run = make_run(tasks=("density", "Density"))
    table = gpd.read_file(run.export("gpkg", what="predictions")[0].path)
    assert {"density_truth", "Density_truth_2"} <= set(table.columns)
    assert dimension_names(3) == ["e0", "e1", "e2"] and dimension_names(11)[-1] == "e10"
    assert dimension_names(11)[0] == "e00" and dimension_names(0) == []
    assert distinct(["a", "A", "a", "FID", "lon"]) == ["a", "A_2", "a_3", "FID_2", "lon_2"]


def test_failed_export_leaves_no_partial_file(make_run, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    run.export("npy", what="embeddings")
    before = (run.path / "export" / "embeddings.npy").read_bytes()

    def fail(stream: object, *_: object, **__: object) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(Exception, match="disk is full"):
        run.export("npy", what="embeddings")
    assert (run.path / "export" / "embeddings.npy").read_bytes() == before
    assert sorted(p.name for p in (run.path / "export").iterdir()) == [
        "embeddings.json", "embeddings.npy", "exports.json",
    ]  # fmt: skip


def test_an_interrupted_export_can_be_repeated_without_force(make_run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the note of a file and the file, and while files are written: no --force, and nothing is left."""
    run = make_run()
    run.export("csv", what="embeddings")
    folder = run.path / "export"
    first = (folder / "embeddings.csv").read_text()
    plain = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if self.name == "embeddings.csv":
            raise KeyboardInterrupt
        return plain(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run.export("csv", what="embeddings", crs="EPSG:4326")
    (folder / UNFINISHED).mkdir()
    (folder / UNFINISHED / ".embeddings-half.csv").write_text("ha")
    assert (folder / "embeddings.csv").read_text() == first
    run.export("csv", what="embeddings")
    assert sorted(path.name for path in folder.iterdir()) == ["embeddings.csv", "exports.json"]
    (folder / "embeddings.csv").write_text("mine")
    assert "no export wrote it or it has changed since" in refusal(run, "csv")


@pytest.mark.parametrize(
    ("error", "free", "full"),
    [
        (OSError("409600 requested and 262112 written"), 0, True),  # numpy
        (RuntimeError("failed to execute insert : database or disk is full"), 1 << 30, True),  # SQLite, through GDAL
        (OSError("Write failed. See previous exception for details."), 0, True),  # rasterio
        (OSError("409600 requested and 262112 written"), 1 << 30, False),
    ],
)
def test_full_disk_is_reported_for_every_format(make_run, monkeypatch, error, free: int, full: bool) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    run = make_run()
    monkeypatch.setattr(np, "save", fail)
    monkeypatch.setattr("urbankit.utils.files.shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(UrbankitError, match="the disk is full" if full else "262112 written"):
        run.export("npy", what="embeddings")


def test_record_names_city_and_run_and_a_damaged_record_keeps_existing_files(make_run) -> None:
    run = make_run()
    run.export("csv")
    record = json.loads((run.path / "export" / "exports.json").read_text())
    assert record["embeddings.csv"]["city"] == "small & odd" and record["embeddings.csv"]["run"] == "run"
    for text in ("{", "[]", '{"embeddings.csv": 3}'):
        (run.path / "export" / "exports.json").write_text(text)
        run.export("csv")  # the files are as an export wrote them
        (run.path / "export" / "exports.json").write_text(text)
        with (run.path / "export" / "embeddings.csv").open("a") as stream:
            stream.write("mine")
        assert "no export wrote it or it has changed since" in refusal(run, "csv")
        run.export("csv", force=True)


@pytest.mark.parametrize("text", ['{"my": "own"}', '{"a": {"b": 1}}', "[1, 2", ""])
def test_a_file_of_the_user_with_the_name_of_the_record_stays(make_run, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "exports.json").write_text(text)
    with pytest.raises(UserError, match=r"exports\.json: exists, and is no record of an export"):
        make_run().export("csv", out=folder)
    assert [path.name for path in folder.iterdir()] == ["exports.json"]
    assert (folder / "exports.json").read_text() == text
