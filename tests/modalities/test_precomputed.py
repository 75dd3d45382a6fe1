"""Features from files: tables, rasters and encoded files give their numbers; every mistake in them is told at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import rasterio
import yaml
from helpers.rasters import NORTH, write_raster
from helpers.twelve import IDS, encoder, rows
from safetensors.numpy import save_file

from urbankit import City, testing
from urbankit.modalities.cache.files import Features, write_features
from urbankit.modalities.precomputed import Precomputed
from urbankit.utils.errors import UserError
from urbankit.utils.hashes import cached_hashes

VALUES = np.random.default_rng(0).normal(size=(12, 3)).round(3)


def table(values: np.ndarray = VALUES, ids: list = IDS) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[f"f{i}" for i in range(values.shape[1])]).assign(region_id=ids)


def as_lists(values: np.ndarray = VALUES) -> pl.DataFrame:
    return pl.DataFrame({"region_id": IDS, "embedding": values.tolist()})


WRITTEN: dict[str, Callable[[Path], Path]] = {
    "csv": lambda f: table().to_csv(f / "t.csv", index=False) or f / "t.csv",
    "parquet": lambda f: table().to_parquet(f / "t.parquet") or f / "t.parquet",
    "lists": lambda f: as_lists().write_parquet(f / "t.parquet") or f / "t.parquet",
    "arrays": lambda f: (
        as_lists().cast({"embedding": pl.Array(pl.Float32, 3)}).write_parquet(f / "t.parquet") or f / "t.parquet"
    ),
    "jsonl": lambda f: as_lists().write_ndjson(f / "t.jsonl") or f / "t.jsonl",
    "lists in text": lambda f: (
        pd.DataFrame({"region_id": IDS, "v": [json.dumps(v) for v in VALUES.tolist()]}).to_csv(f / "t.csv", index=False)
        or f / "t.csv"
    ),
    "numpy in text": lambda f: (
        pd.DataFrame({"region_id": IDS, "v": [str(v) for v in VALUES]}).to_csv(f / "t.csv", index=False) or f / "t.csv"
    ),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_a_table_gives_its_numbers_by_id(twelve: City, tmp_path: Path, form: str) -> None:
    np.testing.assert_allclose(rows(twelve, WRITTEN[form](tmp_path)), VALUES, atol=1e-6)


def test_row_order_leading_zeros_and_other_columns_do_not_matter(twelve: City, tmp_path: Path) -> None:
    shuffled = table().assign(name="x").sample(frac=1, random_state=1)
    shuffled["tract"] = shuffled.pop("region_id").astype(int)  # as a spreadsheet leaves census codes
    shuffled.to_csv(tmp_path / "t.csv", index=False)
    values = rows(twelve, tmp_path / "t.csv", region="tract", columns=["f2", "f0"])
    np.testing.assert_allclose(values, VALUES[:, [2, 0]], atol=1e-6)


def test_features_are_standardised_like_all_encoders_of_numbers(twelve: City, tmp_path: Path) -> None:
    values = encoder(twelve, WRITTEN["csv"](tmp_path)).load(np.arange(12)).numpy()
    np.testing.assert_allclose(values, (VALUES - VALUES.mean(0)) / VALUES.std(0), atol=1e-5)
    assert encoder(twelve, WRITTEN["csv"](tmp_path)).names(twelve) == ["f0", "f1", "f2"]


def test_absent_regions_can_be_masked_and_unknown_rows_dropped(twelve: City, tmp_path: Path) -> None:
    ids = [*IDS[:9], "97", "98", "99"]
    table(ids=ids).to_csv(tmp_path / "t.csv", index=False)
    values = rows(twelve, tmp_path / "t.csv", absent="mask", unknown="drop")
    np.testing.assert_allclose(values[:9], VALUES[:9], atol=1e-6)
    assert np.isnan(values[9:]).all()
    assert encoder(twelve, tmp_path / "t.csv", absent="mask", unknown="drop").notes == [
        "3 rows of regions that the city does not have are skipped",
        "3 of 12 regions have no vector and count as absent",
    ]


def test_a_row_without_numbers_counts_as_absent(twelve: City, tmp_path: Path) -> None:
    values = VALUES.copy()
    values[4], values[5, 1] = np.nan, np.nan
    table(values).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"alpha\.file: 1 of 12 regions have no vector: 04"):
        rows(twelve, tmp_path / "t.csv")
    built = encoder(twelve, tmp_path / "t.csv", absent="mask")
    assert 4 not in built.observations() and built.width == 4  # a missing number brings a flag


def test_all_mistakes_of_a_feature_file_are_reported_in_one_message(twelve: City, tmp_path: Path) -> None:
    frame = table().astype(object)
    frame.loc[12] = [1, 2, 3, "03"]
    frame.loc[0, "region_id"], frame.loc[1, "region_id"] = "xy", ""
    frame.loc[2, "f0"], frame.loc[5, "f2"] = "high", "n/k"
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError) as caught:
        rows(twelve, tmp_path / "t.csv")
    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path / 't.csv'}: modalities.alpha.{text}"
        for text in (
            "region: rows without a region id: 2; give them one, or delete them",
            "region: ids that match no region: xy (row 1); correct them, or skip such rows with `unknown: drop`",
            "region: regions with several rows: 03 (rows 4, 13); keep one each",
            "columns: column 'f0' must hold numbers, but: row 3 'high'",
            "columns: column 'f2' must hold numbers, but: row 6 'n/k'",
            "file: 2 of 12 regions have no vector: 00, 01; add them, or set `absent: mask` to mask these regions",
        )
    ]


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        ([[1.0, 2], [1], *[[3.0, 4]] * 9, [1, 2, 3]], "differ in length: row 2 has 1, row 12 has 3, where most have 2"),
        ([["1", "x"], *[["3", "4"]] * 11], "must hold lists of numbers, but: row 1 'x'"),
        ([[]] * 12, "holds no vector"),
    ],
)
def test_malformed_vectors_are_refused(twelve: City, tmp_path: Path, lists: list, says: str) -> None:
    pl.DataFrame({"region_id": IDS, "v": lists}).write_ndjson(tmp_path / "t.jsonl")
    with pytest.raises(UserError, match=says):
        rows(twelve, tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("change", "params", "says"),
    [
        (
            lambda t: t,
            {"region": "regionid"},
            r"alpha\.region: there is no column 'regionid'\. Did you mean 'region_id'",
        ),
        (lambda t: t, {"columns": ["f0", "g1"]}, r"alpha\.columns: there is no column 'g1'"),
        (lambda t: t[["region_id"]], {}, "no column beside that of the ids"),
        (lambda t: t.assign(region_id="none"), {}, "no id in column 'region_id' matches a region"),
        (lambda t: t.assign(v=[[1.0]] * 12), {}, r"column 'v' holds lists beside other columns; name it alone"),
        (lambda t: t.assign(when=pd.Timestamp("2024-01-01")), {}, r"'when' holds dates with a time.*by `columns`"),
    ],
)
def test_unsuitable_columns_are_refused(
    twelve: City, tmp_path: Path, change: Callable, params: dict, says: str
) -> None:
    change(table()).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=says):
        rows(twelve, tmp_path / "t.parquet", **params)


def test_files_that_are_not_tables_of_features_are_refused(twelve: City, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"alpha\.file: file not found\. Did you mean 't.csv'"):
        rows(twelve, WRITTEN["csv"](tmp_path).with_name("s.csv"))
    (tmp_path / "t.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(UserError, match="truncated or damaged"):
        rows(twelve, tmp_path / "t.parquet")
    (tmp_path / "t.xlsx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"'\.xlsx' is not a table"):
        rows(twelve, tmp_path / "t.xlsx")
    for manifest in (None, [], {"files": [], "complete": True}, {"files": [], "complete": True, "width": "wide"}):
        if manifest is not None:
            (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(
            UserError, match=r"a folder without features or tiles|no manifest of features, or damaged \(it"
        ):
            rows(twelve, tmp_path)
    save_file({"x": np.ones((12, 3))}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="not a file that `urbankit encode` wrote"):
        rows(twelve, tmp_path / "x.safetensors")


def raster(path: Path, bands: np.ndarray, descriptions: list[str] | None = None, nodata: float | None = -9999) -> Path:
    write_raster(path, bands.astype(np.float32), 50, NORTH + 100, nodata=nodata)
    with rasterio.open(path, "r+") as file:
        file.descriptions = descriptions or [None] * len(bands)
    return path


def test_a_raster_gives_the_means_of_its_bands(twelve: City, tmp_path: Path) -> None:
    bands = np.random.default_rng(1).uniform(-1, 1, size=(5, 2, 24))
    path = raster(tmp_path / "alpha.tif", bands, [f"A{i:02d}" for i in range(5)])
    expected = bands.reshape(5, 2, 12, 2).mean(axis=(1, 3)).T
    np.testing.assert_allclose(rows(twelve, path), expected, atol=1e-5)
    np.testing.assert_allclose(rows(twelve, path, columns=["A03"]), expected[:, [3]], atol=1e-5)
    unnamed = raster(tmp_path / "plain.tif", bands, ["same"] * 5)
    np.testing.assert_allclose(rows(twelve, unnamed, columns=["band 4"]), expected[:, [3]], atol=1e-5)
    with pytest.raises(UserError, match="there is no band 'B03'"):
        rows(twelve, path, columns=["B03"])


def test_raster_over_some_regions_requires_absent_mask(twelve: City, tmp_path: Path) -> None:
    bands = np.ones((2, 2, 24))
    bands[:, :, :4] = -9999
    path = raster(tmp_path / "part.tif", bands)
    with pytest.raises(UserError, match=r"2 of 12 regions have no vector: 00, 01; .*absent: mask"):
        rows(twelve, path)
    assert np.isnan(rows(twelve, path, absent="mask")).all(axis=1).sum() == 2
    bands[:] = -9999
    with pytest.raises(UserError, match="no region overlaps a valid cell"):
        rows(twelve, raster(tmp_path / "none.tif", bands), absent="mask")


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
def test_one_file_written_by_encode_is_read(twelve: City, tmp_path: Path, form: str) -> None:
    ids = ["03", "03", "05"]
    vectors = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    path = tmp_path / f"features-00000.{form}"
    write_features(path, Features(ids, np.arange(3), vectors))
    first = path.read_bytes()
    write_features(path, Features(ids, np.arange(3), vectors))
    assert path.read_bytes() == first
    values = rows(twelve, path)
    np.testing.assert_allclose(values[[3, 5]], [[2, 3], [5, 6]])
    assert np.isnan(values).all(axis=1).sum() == 10
    assert encoder(twelve, path).notes == ["10 of 12 regions have no vector and count as absent"]
    write_features(path, Features(["xx", "03", "05"], np.arange(3), vectors))
    with pytest.raises(UserError, match=r"ids that match no region: xx \(row 1\)"):
        rows(twelve, path)


def test_a_folder_written_by_encode_is_read(twelve: City, tmp_path: Path) -> None:
    facts = {"city": "twelve", "files": ["a.parquet"], "complete": True, "width": 2, "observations": 12}
    write_features(tmp_path / "a.parquet", Features(IDS, np.arange(12), VALUES[:, :2]))

    def build(**more: Any) -> Precomputed:
        (tmp_path / "manifest.json").write_text(json.dumps(facts | more))
        return encoder(twelve, tmp_path)

    same_city, other = build(city_hash=twelve.content_hash), build(city_hash="another")
    assert not same_city.notes
    (note,) = other.notes
    assert "encoded from another city, or from an earlier version of this one (city 'twelve'" in note
    with pytest.raises(UserError, match="vectors of another width than stated in manifest"):
        build(width=3)
    with pytest.raises(UserError, match="lists files of 12 observations, but says 24: it is damaged"):
        build(observations=24)
    with pytest.raises(UserError, match="its `files` is missing or of another type"):
        build(files="a.parquet")


@pytest.mark.parametrize("form", ["csv", "folder", "raster"])
def test_hash_of_feature_files_changes_with_their_content(twelve: City, tmp_path: Path, form: str) -> None:
    if form == "csv":
        path = changed = WRITTEN["csv"](tmp_path)
    elif form == "raster":
        path, changed = raster(tmp_path / "a.tif", np.ones((1, 2, 24))), tmp_path / "a.tif.aux.xml"
    else:
        path, changed = tmp_path / "features", tmp_path / "features" / "a.parquet"
        path.mkdir()
        write_features(changed, Features(IDS, np.arange(12), VALUES))
        facts = {
            "files": ["a.parquet"],
            "complete": True,
            "width": 3,
            "observations": 12,
            "city_hash": twelve.content_hash,
        }
        (path / "manifest.json").write_text(json.dumps(facts))
    params = Precomputed.Params(file=path)
    before = cached_hashes(Precomputed.reads(params, twelve))
    assert before == cached_hashes(Precomputed.reads(params, twelve)) and len(before[0]) == 64
    if form == "csv":
        table(VALUES + 1).to_csv(path, index=False)
    elif form == "raster":
        changed.write_text("<PAMDataset><Metadata><MDI key='a'>b</MDI></Metadata></PAMDataset>")
    else:
        write_features(changed, Features(IDS, np.arange(12), VALUES + 1))
    assert cached_hashes(Precomputed.reads(params, twelve)) != before


def test_nodata_declared_in_a_sidecar_changes_the_features(twelve: City, tmp_path: Path) -> None:
    bands = np.ones((2, 2, 24))
    bands[0, :, :2] = -9999
    path = raster(tmp_path / "alpha.tif", bands, nodata=None)
    for _ in range(2):  # the second time from the feature store
        (note,) = encoder(twelve, path).notes
        assert note.startswith(
            "band 1: the raster holds the value -9999, which looks like nodata but is not declared so"
        )
    nodata = "".join(
        f"<PAMRasterBand band='{band}'><NoDataValue>-9999</NoDataValue></PAMRasterBand>" for band in (1, 2)
    )
    (tmp_path / "alpha.tif.aux.xml").write_text(f"<PAMDataset>{nodata}</PAMDataset>")
    assert encoder(twelve, path).notes == ["band 1: 1 of 12 regions overlap no valid cell"]


def test_precomputed_passes_the_checks_of_modality_encoders(tmp_path):
    ids = testing.tiny_city().region_ids
    values = np.random.default_rng(0).normal(size=(len(ids), 3))
    pd.DataFrame(values, columns=list("abc")).assign(region_id=ids).to_csv(tmp_path / "table.csv", index=False)
    testing.check_modality("precomputed", file=str(tmp_path / "table.csv"))


CODES = np.random.default_rng(1).integers(-127, 128, (12, 64))
DECODED = np.sign(CODES) * (CODES / 127.5) ** 2


def alphaearth(values: np.ndarray, names: str = "A") -> pd.DataFrame:
    return pd.DataFrame(values, columns=[f"{names}{i:02d}" for i in range(64)]).assign(region_id=IDS)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_codes_of_alphaearth_are_decoded_with_a_note(twelve: City, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"alphaearth{suffix}"
    frame = alphaearth(np.where(CODES[0, 0] == CODES, -128, CODES).astype(np.int8))
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    one = encoder(twelve, path, standardise=False)
    values, _ = one.features(twelve)
    missing = CODES[0, 0] == CODES
    assert np.isnan(values[missing]).all()
    assert np.allclose(values[~missing], DECODED[~missing], atol=1e-12)
    assert any("were decoded" in note for note in one.notes)


def test_decoded_alphaearth_is_read_as_it_is(twelve: City, tmp_path: Path) -> None:
    alphaearth(DECODED).to_parquet(tmp_path / "a.parquet")
    assert np.allclose(rows(twelve, tmp_path / "a.parquet"), DECODED, atol=1e-6)


def test_means_of_codes_are_refused(twelve: City, tmp_path: Path) -> None:
    alphaearth(CODES / 2).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: .*means of codes of AlphaEarth"):
        rows(twelve, tmp_path / "a.parquet")


def test_other_codes_are_refused_until_the_user_says_what_they_are(twelve: City, tmp_path: Path) -> None:
    alphaearth(CODES, "dim").to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match="look like the 8-bit codes of an embedding"):
        rows(twelve, tmp_path / "a.csv")
    assert np.allclose(rows(twelve, tmp_path / "a.csv", codes="alphaearth"), DECODED, atol=1e-6)
    assert np.allclose(rows(twelve, tmp_path / "a.csv", codes="none"), CODES)


def test_codes_in_lists_are_recognised(twelve: City, tmp_path: Path) -> None:
    as_lists(CODES).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="codes: alphaearth"):
        rows(twelve, tmp_path / "a.parquet")
    assert np.allclose(rows(twelve, tmp_path / "a.parquet", codes="alphaearth"), DECODED, atol=1e-6)


def test_raster_of_unknown_codes_is_refused_with_what_to_write(twelve: City, tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", np.zeros((32, 4, 4), np.int8))
    with pytest.raises(UserError, match=r"whose means over regions are no embedding; write `codes: alphaearth` if"):
        rows(twelve, tmp_path / "a.tif")


def test_city_table_of_codes_is_refused(twelve: City, tmp_path: Path) -> None:
    alphaearth(CODES).to_csv(tmp_path / "a.csv", index=False)
    twelve.regions.to_file(tmp_path / "regions.gpkg")
    spec = {"name": "coded", "regions": {"file": "regions.gpkg", "id": "region_id"}}
    spec["tables"] = {"alphaearth": {"file": "a.csv", "region": "region_id"}}
    (tmp_path / "city.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(UserError, match=r"tables\.alphaearth: holds 8-bit codes.*`precomputed`"):
        City.prepare(tmp_path / "city.yaml", out=tmp_path / "prepared")


def test_file_may_be_among_the_sources_of_the_city(twelve: City) -> None:
    sources = Path(twelve.manifest["sources"])
    table().to_csv(sources / "among.csv", index=False)
    np.testing.assert_allclose(rows(twelve, Path("among.csv")), VALUES, atol=1e-6)
    assert Precomputed.reads(Precomputed.Params(file="among.csv"), twelve) == [sources / "among.csv"]
    with pytest.raises(UserError, match=r"alpha\.file: there is no 'amnog\.csv' beside the recipe, and among"):
        rows(twelve, Path("amnog.csv"))


def test_cells_need_the_geometry_of_the_regions(twelve: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = raster(tmp_path / "a.tif", np.ones((2, 2, 24)))
    monkeypatch.setattr(City, "has_geometry", False)
    with pytest.raises(UserError, match=r"alpha\.file: needs the geometry of the regions"):
        rows(twelve, path)
