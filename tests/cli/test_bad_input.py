"""Wrong input through the command line: status 2, one clear message, and nothing left behind."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml
from helpers.pictures import enormous_png

N = 49
Change = Callable[[Path, dict[str, Any]], None]


@pytest.fixture
def sources(tiny_city, tmp_path: Path) -> Path:
    """A copy of the synthetic city's sources, to spoil."""
    folder = tmp_path / "sources"
    shutil.copytree(tiny_city.path.parent, folder, ignore=shutil.ignore_patterns("prepared"))
    return folder


def spoil(sources: Path, change: Change) -> Path:
    spec = yaml.safe_load((sources / "city.yaml").read_text())
    change(sources, spec)
    (sources / "city.yaml").write_text(yaml.safe_dump(spec, sort_keys=False, allow_unicode=True))
    return sources / "city.yaml"


# What may be wrong with the sources of a city


def without(name: str) -> Change:
    return lambda folder, spec: (folder / name).unlink()


def cut(name: str) -> Change:
    def change(folder: Path, spec: dict[str, Any]) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return change


def without_crs(name: str) -> Change:
    def change(folder: Path, spec: dict[str, Any]) -> None:
        with rasterio.open(folder / name) as raster:
            pixels, profile = raster.read(), raster.profile
        del profile["crs"]
        (folder / name).unlink()
        with rasterio.open(folder / name, "w", **profile) as raster:
            raster.write(pixels)

    return change


def regions(edit: Callable[[gpd.GeoDataFrame], gpd.GeoDataFrame]) -> Change:
    def change(folder: Path, spec: dict[str, Any]) -> None:
        frame = gpd.read_file(folder / "regions.gpkg")
        (folder / "regions.gpkg").unlink()
        edit(frame).to_file(folder / "regions.gpkg")

    return change


def with_id(value: str | None) -> Change:
    return regions(lambda frame: frame.assign(region_id=[value, *frame.region_id[1:]]))


def key(value: Any, *path: str) -> Change:
    def change(folder: Path, spec: dict[str, Any]) -> None:
        for part in path[:-1]:
            spec = spec[part]
        spec[path[-1]] = value

    return change


def flows(origin: list[str], weight: list[float]) -> Change:
    def change(folder: Path, spec: dict[str, Any]) -> None:
        columns = {"from": origin, "to": ["r0002"] * len(origin), "trips": weight}
        pd.DataFrame(columns).to_csv(folder / "flows.csv", index=False)
        spec["flows"] = {"file": "flows.csv", "origin": "from", "destination": "to", "weight": "trips"}

    return change


def target(values: list[Any], kind: str = "regression") -> Change:
    def change(folder: Path, spec: dict[str, Any]) -> None:
        ids = [f"r{row:04d}" for row in range(1, N + 1)]
        pd.DataFrame({"id": ids, "value": values}).to_csv(folder / "t.csv", index=False)
        spec["targets"] = {"t": {"table": "t.csv", "region": "id", "column": "value", "kind": kind}}

    return change


def column(file: str, name: str, value: Any) -> Change:
    def change(folder: Path, spec: dict[str, Any]) -> None:
        pd.read_csv(folder / file).assign(**{name: value}).to_csv(folder / file, index=False)

    return change


def enormous_picture(folder: Path, spec: dict[str, Any]) -> None:
    enormous_png(folder / "street_views/r0001_0.jpg", 50_000)


def one_region(folder: Path, spec: dict[str, Any]) -> None:
    regions(lambda frame: frame[:1])(folder, spec)
    del spec["flows"]


SPOILT_SOURCES: dict[str, tuple[Change, str]] = {
    "missing file": (without("pois.csv"), r"city\.yaml: poi\.points: .*pois\.csv: file not found"),
    "missing picture": (without("street_views/r0001_0.jpg"), r"r0001_0\.jpg: images\.svi: image not found"),
    "truncated picture": (cut("street_views/r0001_0.jpg"), r"r0001_0\.jpg: images\.svi: .*truncated or damaged"),
    "truncated mosaic": (cut("satellite.tif"), r"satellite\.tif: images\.rsi: .*truncated or damaged"),
    "truncated raster": (cut("co.tif"), r"co\.tif: targets\.co: .*truncated or damaged"),
    "truncated parquet": (cut("trips.parquet"), r"trips\.parquet: flows: .*truncated or damaged"),
    "truncated regions": (cut("regions.gpkg"), r"regions\.gpkg: regions: .*truncated"),
    "truncated jsonl": (
        cut("satellite_captions.jsonl"),
        r"captions\.jsonl: captions\.rsi: .*row \d+ is not a JSON object",
    ),
    "raster without CRS": (without_crs("co.tif"), r"co\.tif: targets\.co: has no CRS; declare it"),
    "mosaic without CRS": (without_crs("satellite.tif"), r"satellite\.tif: images\.rsi: has no CRS"),
    "another CRS than declared": (
        key("EPSG:3857", "regions", "crs"),
        r"regions\.gpkg: regions\.crs: is in .*, but EPSG:3857 is",
    ),
    "another CRS than its own": (
        regions(lambda frame: frame.set_crs(4326, allow_override=True)),
        r"regions\.gpkg: regions: is declared in EPSG:4326, .* they are in another CRS",
    ),
    "duplicate id": (with_id("r0002"), r"regions\.gpkg: regions\.id: ids that occur more than once: r0002"),
    "null id": (with_id(None), r"regions\.gpkg: regions\.id: regions without an id: row 1"),
    "flows of no region": (flows(["x", "y"], [1, 2]), r"flows\.csv: flows: no id in column 'from' matches a region"),
    "negative flows": (flows(["r0001", "r0003"], [1, -2]), r"flows\.csv: flows\.weight: negative.*row 2 '-2'"),
    "flows that leave": (
        regions(lambda frame: frame[:1]),
        r"trips\.parquet: flows: no trip both starts and ends in a region",
    ),
    "no category": (column("pois.csv", "category", None), r"pois\.csv: poi\.category: .*empty in every row"),
    "target all null": (target([None] * N), r"t\.csv: targets\.t: has no value in any region: all empty"),
    "classes all null": (target([None] * N, "classification"), r"t\.csv: targets\.t: has no value in any region"),
    "target all infinite": (target([np.inf] * N), r"t\.csv: targets\.t: has no value .*infinite"),
    "target of text": (target(["many"] * N), r"t\.csv: targets\.t\.column: .*must hold numbers, but: row 1 'many'"),
    "50,000 x 50,000 pixels": (enormous_picture, r"r0001_0\.jpg: images\.svi: image too large: .*2500000000 pixels"),
    "path that leaves": (key("../co.tif", "targets", "co", "raster"), r"city\.yaml: targets\.co\.raster: .*leaves the"),
    "absolute path": (key("/etc/passwd", "poi", "points"), r"city\.yaml: poi\.points: .*leaves the data folder"),
    "path in a table that leaves": (
        column("street_views.csv", "image", "../../x.jpg"),
        r"street_views\.csv: images\.svi\.image: the path '\.\./\.\./x\.jpg' leaves",
    ),
    "unknown key": (key(32, "images", "rsi", "siz"), r"city\.yaml:\d+: images\.rsi\.siz: unknown key\. Did"),
    "wrong type": (key("big", "images", "rsi", "size"), r"city\.yaml:\d+: images\.rsi\.size: .* integer, .* or "),
}


@pytest.mark.parametrize("case", SPOILT_SOURCES)
def test_wrong_sources_are_refused_with_file_and_key(case: str, sources: Path, cli, tmp_path: Path) -> None:
    change, message = SPOILT_SOURCES[case]
    result = cli("prepare", spoil(sources, change), "--out", tmp_path / "out", status=2)
    assert any(re.search(message, line) for line in result.errors), result
    assert not (tmp_path / "out").exists()


def test_a_failed_prepare_leaves_the_old_city(sources: Path, cli, tmp_path: Path) -> None:
    cli("prepare", sources / "city.yaml", "--out", tmp_path / "out")
    before = contents(tmp_path / "out")
    cli("prepare", spoil(sources, cut("street_views/r0001_0.jpg")), "--out", tmp_path / "out", status=2)
    assert contents(tmp_path / "out") == before


TOLD: dict[str, tuple[Change, str]] = {
    "some flows of no region": (flows(["r0001", "x"], [1, 2]), "flows: ids that match no region: x"),
    "a class with one member": (
        target(["a"] * 30 + ["b"] * 18 + ["c"], "classification"),
        "targets.t: classes with one member, which no split can hold: 'c'",
    ),
    "NaN and infinite values": (
        target([np.nan, np.inf, *range(N - 2)]),
        "targets.t: infinite, taken as missing, in r0002",
    ),
    "regions without a modality": (
        lambda folder, spec: [
            spec["images"].pop("rsi"),
            spec["captions"].pop("rsi"),
            spec.pop("poi"),
            spec.pop("flows"),
        ],
        "regions: regions with no modality but their location",
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_suspicious_sources_are_reported_and_prepared(case: str, sources: Path, cli, tmp_path: Path) -> None:
    change, note = TOLD[case]
    result = cli("prepare", spoil(sources, change), "--out", tmp_path / "out", status=0)
    assert note in result.stdout, result


# What may be wrong with the YAML

SPOILT_YAML = {
    "tab": ("name: x\nregions:\n\tfile: r.gpkg\n", r"\.yaml:3: a tab in the indentation"),
    "duplicate key": ("name: x\nseed: 1\nname: y\n", r"\.yaml:3: name: duplicate key, first in line 1"),
    "no mapping": ("- 1\n", r"\.yaml: (must be|is not) a mapping"),
    "empty": ("", r"\.yaml: (must be|is empty)"),
    "binary": ("a: 1\nb: \0", r"\.yaml:2: contains a control character"),
    "unclosed": ("name: [x\n", r"\.yaml:2: is not valid YAML"),
    "alias of itself": ("name: x\nregions: &a {file: *a}\n", r"\.yaml:2: is not valid YAML: an alias refers to itself"),
}


@pytest.mark.parametrize("command", ["prepare", "validate", "run"])
@pytest.mark.parametrize("case", SPOILT_YAML)
def test_wrong_yaml_is_refused_with_its_line(command: str, case: str, cli, tmp_path: Path) -> None:
    text, message = SPOILT_YAML[case]
    (tmp_path / "a.yaml").write_text(text)
    out = [] if command == "validate" else ["--out", tmp_path / "out"]
    result = cli(command, tmp_path / "a.yaml", *out, status=2)
    assert any(re.search(message, line) for line in result.errors), result
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


SPOILT_RECIPE: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"sede": 1}, r"r\.yaml:\d+: sede: unknown key\. Did you mean 'seed'"),
    "wrong type": ({"seed": "one"}, r"r\.yaml:\d+: seed: should be a valid integer, not 'one'"),
    "unknown component": (
        {"views": {"poi": {"name": "pio"}}},
        r"r\.yaml:\d+: views\.poi\.name: unknown view 'pio'\. Did you",
    ),
    "unknown parameter": (
        {"views": {"poi": {"name": "poi", "tpo": 1}}},
        r"r\.yaml:\d+: views\.poi\.tpo: unknown key",
    ),
    "cyclic extends": ({"extends": "r.yaml"}, r"r\.yaml:\d+: extends: the recipes extend each other in a circle"),
    "missing base": ({"extends": "gone.yaml"}, r"r\.yaml:\d+: extends: there is no recipe file"),
    "missing city": ({"city": {"prepared": "gone"}}, r"r\.yaml:\d+: city\.prepared: there is no folder"),
}


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize("case", SPOILT_RECIPE)
def test_wrong_recipes_are_refused_with_line_and_key(
    command: str, case: str, small: dict[str, Any], cli, tmp_path: Path
) -> None:
    change, message = SPOILT_RECIPE[case]
    recipe = written(tmp_path, small | change)
    result = cli(command, recipe, *(["--out", tmp_path / "out"] if command == "run" else []), status=2)
    assert any(re.search(message, line) for line in result.errors), result
    assert not (tmp_path / "out").exists()


def test_a_plugin_that_raises_fails_only_recipes_that_use_it(
    small: dict[str, Any], cli, install, tmp_path: Path
) -> None:
    install("metro", "metro_plugin", "raise RuntimeError('no licence found')")
    cli("validate", written(tmp_path, small))
    recipe = written(tmp_path, small | {"views": {"metro": {"name": "metro"}}})
    (error,) = cli("validate", recipe, status=2).errors
    assert "views.metro.name: unknown view 'metro'" in error
    assert "failed to load: RuntimeError: no licence found" in error


# What a run finds out about its city


@pytest.fixture
def small(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    """A run of a second: two modalities, one task."""
    modalities = {name: tiny_recipe["modalities"][name] for name in ("rsi", "location")}
    method = tiny_recipe["method"] | {"alignments": [["rsi", "location"]]}
    return tiny_recipe | {
        "modalities": modalities,
        "method": method,
        "tasks": {"co": {}},
        "evaluation": {"seeds": [0], "min_class_size": 1, "floors": ["mean"]},
    }


def written(folder: Path, recipe: dict[str, Any]) -> Path:
    (folder / "r.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return folder / "r.yaml"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


UNFIT_CITY: dict[str, tuple[Change, dict[str, Any], str]] = {
    "one region": (one_region, {"tasks": {"co": {}}}, r"tasks\.co: only 1 region has a value; .* at least 10"),
    "one region, no task": (one_region, {"tasks": {}}, r"the city has 1 regions; .* needs at least 3"),
    "few labels": (
        target([1, 2, 3] + [None] * (N - 3)),
        {"tasks": {"t": {}}},
        r"tasks\.t: only 3 regions have a value",
    ),
    "one class": (target(["a"] * N, "classification"), {"tasks": {"t": {}}}, r"tasks\.t: .*needs two classes .*'a' 49"),
    "missing stands for 1e300": (target([1e300] + [1] * (N - 1)), {"tasks": {"t": {}}}, r"tasks\.t: .*beyond 1e\+30"),
    "no such target": (one_region, {"tasks": {"cu": {}}}, r"has no target 'cu'\. .*co, "),
    "task to remove": (one_region, {"tasks": {"cu": {}}}, r"tasks: name targets of the city.*`cu: null`"),
    "no modality": (
        lambda folder, spec: [spec.pop("images"), spec.pop("captions")],
        {"modalities": {"rsi": {"name": "vit", "patch_size": 16}}, "method": {"name": "urbanmmcl", "alignments": []}},
        r"modalities: the city has none of the recipe's modalities; name one",
    ),
    "missing source": (without("co.tif"), {}, r"city\.yaml: targets\.co\.raster: .*co\.tif: file not found"),
}


@pytest.mark.parametrize("case", UNFIT_CITY)
def test_run_on_an_unsuitable_city_writes_nothing(case: str, sources: Path, small, cli, tmp_path: Path) -> None:
    change, keys, message = UNFIT_CITY[case]
    recipe = written(tmp_path, small | {"city": {"spec": str(spoil(sources, change))}} | keys)
    result = cli("run", recipe, "--out", tmp_path / "out", status=2)
    assert any(re.search(message, line) for line in result.errors), result
    assert not (tmp_path / "out").exists()


# Folders, disks, and what a run left


@pytest.mark.parametrize("command", ["prepare", "run"])
@pytest.mark.parametrize("way", ["a file", "below a file", "something else in it"])
def test_unwritable_folders_are_refused(command: str, way: str, tiny_city, small, cli, tmp_path: Path) -> None:
    file = tiny_city.path.parent / "city.yaml" if command == "prepare" else written(tmp_path, small)
    (tmp_path / "place").mkdir()
    out = tmp_path / "place" / "out"
    if way == "something else in it":
        out.mkdir()
        (out / "letter.txt").write_text("mine")
    else:
        out.write_text("mine")
    before = contents(tmp_path / "place")
    result = cli(command, file, "--out", out / "deeper" if way == "below a file" else out, status=2)
    (error,) = result.errors
    assert str(out) in error and re.search("[Cc]hoose (--out|another)", error), error
    assert contents(tmp_path / "place") == before


def full_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full from the file on that comes after `writes` others."""
    left, sync = writes, os.fsync

    def fsync(file: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("writes", [0, 1, 4, 9, 14])
def test_prepare_reports_a_full_disk(writes: int, tiny_city, cli, monkeypatch, tmp_path: Path) -> None:
    command = ("prepare", tiny_city.path.parent / "city.yaml", "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        full_after(writes, patch)
        result = cli(*command, status=1)
    assert "the disk is full" in result.errors[0]
    assert not [name for name in contents(tmp_path / "out") if "/." in f"/{name}" and name != ".urbankit-lock"]
    cli(*command)
    assert contents(tmp_path / "out").keys() == contents(tiny_city.path).keys()


@pytest.fixture
def finished(small: dict[str, Any], cli, tmp_path: Path) -> dict[str, bytes]:
    """The files of a run that nothing disturbed; its recipe is `r.yaml`."""
    cli("run", written(tmp_path, small), "--out", tmp_path / "whole")
    return contents(tmp_path / "whole")


RESULTS = ("embeddings.parquet", "predictions.parquet", "metrics.parquet")


def test_a_run_on_a_full_disk_resumes(finished, cli, monkeypatch, tmp_path: Path) -> None:
    command, resume = ("run", tmp_path / "r.yaml", "--out", tmp_path / "cut"), []
    for writes in (0, 12, 4, 8, 12, 16):
        with monkeypatch.context() as patch:
            full_after(writes, patch)
            result = cli(*command, *resume, status=1)
        resume = ["--resume"] if (tmp_path / "cut" / "manifest.json").exists() else []
        assert "the disk is full" in result.errors[0], result
        assert not [name for name in contents(tmp_path / "cut") if "/." in f"/{name}"]
    cli(*command, *resume)
    after = contents(tmp_path / "cut")
    assert all(after[name] == finished[name] for name in RESULTS)


def test_full_disk_error_of_a_library_is_recognised(small, cli, monkeypatch, tmp_path: Path) -> None:
    def save_file(*args: object, **options: object) -> None:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("urbankit.training.checkpoint.save_file", save_file)
    result = cli("run", written(tmp_path, small), "--out", tmp_path / "out", status=1)
    assert "last.safetensors: the disk is full" in result.errors[0]


CHECKPOINTS = ("checkpoints/last.safetensors", "checkpoints/finetune/random-0.safetensors")


def test_resume_skips_damaged_checkpoints_and_rewrites_results(finished, cli, tmp_path: Path) -> None:
    folder, recipe = tmp_path / "whole", tmp_path / "r.yaml"
    for name in CHECKPOINTS:
        other = next(path for path in CHECKPOINTS if path != name)
        for content in (finished[name][:-50], b"", finished[other]):
            (folder / name).write_bytes(content)
            result = cli("run", recipe, "--out", folder, "--resume")
            assert re.search(rf"{name}: is not a checkpoint .*(from the start|trained again)", result.stderr), result
            assert all((folder / result).read_bytes() == finished[result] for result in RESULTS)
    # What a run only writes is written anew.
    for name in ("recipe.yaml", "embeddings.parquet", "metrics.json"):
        (folder / name).write_bytes(b"\0")
    cli("run", recipe, "--out", folder, "--resume")
    assert all((folder / name).read_bytes() == finished[name] for name in ("recipe.yaml", *RESULTS, "metrics.json"))
    (folder / "recipe.yaml").write_bytes(finished["recipe.yaml"][:-10] + b"\0")
    result = cli("run", folder / "recipe.yaml", "--out", folder, "--resume", status=2)
    assert "recipe.yaml" in result.errors[0]
    cut = finished["manifest.json"][:-40]
    (folder / "manifest.json").write_bytes(cut)
    cli("run", recipe, "--out", folder, "--resume")  # goes on from the copy
    for content in (b"[]", cut):
        (folder / "manifest.json").write_bytes(content)
        (folder / "manifest-copy.json").write_bytes(content)
        result = cli("run", recipe, "--out", folder, "--resume", status=2)
        assert re.search(r"manifest\.json: is .* another folder", result.errors[0]), result


def test_a_process_prints_the_error_on_stderr_and_exits_with_2(sources: Path, tmp_path: Path) -> None:
    """What a shell sees: the status, a message on stderr alone, and no folder."""
    spec = spoil(sources, cut("street_views/r0001_0.jpg"))
    command = [sys.executable, "-m", "urbankit", "prepare", str(spec), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(f"error: {sources / 'street_views/r0001_0.jpg'}: images.svi: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["prepared", "spec"])
def test_validate_names_every_missing_file_that_components_read(
    where: str, small: dict[str, Any], sources: Path, cli, tmp_path: Path
) -> None:
    city = small["city"] if where == "prepared" else {"spec": str(sources / "city.yaml")}
    modalities = {name: {"name": "precomputed", "file": f"{name}.csv"} for name in ("one", "two")}
    changed = {"city": city, "modalities": small["modalities"] | modalities}
    errors = cli("validate", written(tmp_path, small | changed), status=2).errors
    assert len(errors) == 2
    for name, error in zip(modalities, sorted(errors), strict=True):
        assert f"{name}.csv: modalities.{name}: there is no '{name}.csv' beside the recipe" in error
