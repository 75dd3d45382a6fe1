"""A source of a plugin is used wherever a city file names a table or a vector file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import polars as pl
import pytest
from helpers.small_city import IDS, Sources

from urbankit import UserError, testing
from urbankit.city.io.source import Source, find_source
from urbankit.testing import ConformanceError

Plugin = Callable[[str, type], None]


class Semicolons(Source):
    """Tables separated by semicolons."""

    suffixes = (".ssv",)

    def scan_table(self, path: Path) -> pl.LazyFrame:
        return pl.scan_csv(path, separator=";", infer_schema=False)


class Packed(Source):
    """Geometries of a GeoPackage with another suffix, in one of several layers."""

    suffixes = (".city.pack",)

    def read_vector(self, path: Path, layer: str | None) -> gpd.GeoDataFrame:
        return gpd.read_file(f"GPKG:{path}") if layer != "broken" else 1 / 0

    def layers(self, path: Path) -> list[str]:
        return ["blocks", "broken"]

    def files(self, path: Path) -> list[Path]:
        return [path, path.with_suffix(".txt")]


def with_table(sources: Sources, name: str, text: str = "") -> Sources:
    (sources.folder / name).write_text(text)
    sources.spec["tables"] = {"t": {"file": name, "region": "id"}}
    return sources


def test_a_table_of_a_plugins_format_is_prepared(plugin: Plugin, sources: Sources) -> None:
    plugin("source", Semicolons)
    testing.check_component("source", "mine")
    city = with_table(sources, "T.SSV", "id;value\n" + "".join(f"{name};{i}\n" for i, name in enumerate(IDS))).prepare()
    assert city.table("t")[0][:, 0].tolist() == list(range(9))


def test_regions_of_a_plugins_format_are_prepared(plugin: Plugin, sources: Sources) -> None:
    plugin("source", Packed)
    testing.check_component("source", "mine")
    expected = sources.prepare().regions
    (sources.folder / "regions.gpkg").rename(sources.folder / "regions.city.pack")
    (sources.folder / "regions.city.txt").write_text("a file of the same data set")
    sources.spec["regions"] = {"file": "regions.city.pack", "id": "id", "layer": "blocks"}
    city = sources.prepare()
    assert city.regions["region_id"].tolist() == expected["region_id"].tolist()
    before = city.manifest["parts"]["regions"]["inputs"]
    (sources.folder / "regions.city.txt").write_text("changed")
    assert sources.prepare().manifest["parts"]["regions"]["inputs"] != before


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("broken", r"regions\.city\.pack: regions: cannot be read, it may be truncated: division by zero"),
        ("roads", r"regions\.layer: has no layer 'roads', only blocks, broken"),
        (None, "has several layers, name one as `layer`: blocks, broken"),
    ],
)
def test_an_error_of_a_source_names_file_and_key(
    plugin: Plugin, sources: Sources, layer: str | None, message: str
) -> None:
    plugin("source", Packed)
    (sources.folder / "regions.gpkg").rename(sources.folder / "regions.city.pack")
    (sources.folder / "regions.city.txt").touch()
    sources.spec["regions"] = {"file": "regions.city.pack", "id": "id"} | ({"layer": layer} if layer else {})
    with pytest.raises(UserError, match=message):
        sources.prepare()


def test_a_table_that_no_source_reads_lists_the_suffixes_and_broken_sources(plugin: Plugin, sources: Sources) -> None:
    plugin("source", type("Broken", (), {}))
    with pytest.raises(UserError, match=r"'\.xyz' is not a table; use \.csv, .*\.parquet.*'mine'.*lacks a `Params`"):
        with_table(sources, "t.xyz", "x").prepare()
    with_table(sources, "t.csv", "id,value\n000,1\n").prepare()


def test_two_sources_of_one_suffix_are_refused_when_it_is_used(plugin: Plugin) -> None:
    plugin("source", type("Commas", (Source,), {"suffixes": (".csv",), "scan_table": Semicolons.scan_table}))
    with pytest.raises(UserError, match=r"several sources read '\.csv': csv, mine"):
        find_source(Path("t.csv"))
    with pytest.raises(ConformanceError, match=r"the source 'csv' also reads \.csv"):
        testing.check_component("source", "mine")


def test_source_with_the_longest_suffix_is_used(plugin: Plugin) -> None:
    plugin("source", type("Counts", (Source,), {"suffixes": (".counts.csv",), "scan_table": Semicolons.scan_table}))
    assert type(find_source(Path("poi.counts.csv"))).__name__ == "Counts"
    assert type(find_source(Path("poi.csv"))).__name__ == "CSV"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"suffixes": ()}, r"`suffixes` is \(\); give a tuple"),
        ({"suffixes": ("XLSX",)}, "each with its dot"),
        ({"suffixes": (".abc",)}, "overrides neither scan_table nor read_vector"),
    ],
)
def test_checks_of_a_source_report_each_fault(plugin: Plugin, attributes: dict, message: str) -> None:
    plugin("source", type("Wrong", (Source,), attributes | {"__doc__": "Reads nothing."}))
    with pytest.raises(ConformanceError, match=message):
        testing.check_component("source", "mine")
