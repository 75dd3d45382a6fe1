"""Features written once through the command line: killed and gone on with, and found again by a run."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from helpers import checkpoints
from PIL import Image
from safetensors.torch import load_file, save_file
from shapely import box

from urbankit import City
from urbankit.modalities.cache.files import read_features, read_features_manifest, write_features
from urbankit.modalities.cache.store import FeatureStore
from urbankit.modalities.encode import encode
from urbankit.modalities.pooling import RegionEncoder
from urbankit.modalities.vit import ViT
from urbankit.utils.errors import UserError

# Of 400 images at 128 a file the last has 16. The larger the input, the longer a file takes, so that a kill finds some
# files written and others not.
IMAGES, IMAGE_SIZE = 400, 192


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> City:
    """Twelve regions, eleven of which have street views and one caption each."""
    folder = tmp_path_factory.mktemp("views")
    draw = np.random.default_rng(0)
    squares = [box(-74 + 0.01 * i, 40.7, -73.99 + 0.01 * i, 40.71) for i in range(12)]
    gpd.GeoDataFrame({"id": [f"r{i}" for i in range(12)]}, geometry=squares, crs=4326).to_file(
        folder / "regions.geojson"
    )
    names = [f"{i}.png" for i in range(IMAGES)]
    for name in names:
        Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name)
    region = draw.integers(0, 11, IMAGES)
    points = {"image": names, "lon": -73.995 + 0.01 * region, "lat": 40.705}
    pd.DataFrame(points).to_csv(folder / "views.csv", index=False)
    texts = pd.DataFrame({"id": [f"r{i}" for i in range(11)], "text": [f"street number {i}" for i in range(11)]})
    texts.to_csv(folder / "captions.csv", index=False)
    spec = {
        "name": "views",
        "regions": {"file": "regions.geojson", "id": "id"},
        "images": {"svi": {"points": "views.csv", "image": "image", "lon": "lon", "lat": "lat", "size": 16}},
        "captions": {"svi": {"file": "captions.csv", "region": "id", "text": "text"}},
    }
    (folder / "city.yaml").write_text(yaml.safe_dump(spec))
    return City.prepare(folder / "city.yaml", out=folder / "prepared")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP in the hub's layout, as `hf download` leaves it."""
    folder = tmp_path_factory.mktemp("clip")
    checkpoints.saved(checkpoints.clip, folder)
    record = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    record.parent.mkdir(parents=True)
    record.write_text("a" * 40 + "\netag\n0\n")
    return folder


def command(views: City, clip: Path, out: Path) -> list[str]:
    sets = [f"pretrained={clip}", f"image_size={IMAGE_SIZE}"]
    words = ["encode", str(views.path), "--modality", "svi", "--encoder", "vit", "--rows", "128", "--out", str(out)]
    return [*words, *(word for change in sets for word in ("--set", change))]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".urbankit-lock"}


def test_a_killed_encode_resumes_to_the_same_bytes(views: City, clip: Path, tmp_path: Path, cli) -> None:
    """`kill -9` after the first file; then the same command computes the others alone, to the same bytes."""
    killed, complete = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-m", "urbankit", *command(views, clip, killed)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (killed / "features-00000.parquet").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -9, "it was done before it could be killed"
    done = {path: path.stat().st_mtime_ns for path in killed.glob("features-*.parquet")}
    assert 0 < len(done) < 4 and not json.loads((killed / "manifest.json").read_text())["complete"]

    cli(*command(views, clip, killed))
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())
    shutil.rmtree(FeatureStore().folder)
    result = cli(*command(views, clip, complete))
    assert "400 observations of 11 of 12 regions, 16 numbers each" in result.stdout
    assert "encode svi done" in result.stderr
    assert files(killed) == files(complete) and len(files(complete)) == 5


def test_encode_writes_vectors_ids_and_the_checkpoint(views: City, clip: Path, tmp_path: Path) -> None:
    encoder = ViT(ViT.Params(pretrained=str(clip), revision="aaaaaaaa", trainable="none"), views, "svi", 8)
    direct, mask = RegionEncoder(encoder).encode(torch.arange(12))
    for form in ("parquet", "safetensors"):
        folder = encode(RegionEncoder(encoder), views, tmp_path / form, form=form, rows=256)
        parts = [read_features(path) for path in sorted(folder.glob("features-*"))]
        vectors = np.concatenate([part.vector for part in parts])
        with torch.no_grad():
            expected = torch.cat([encoder(encoder.load(np.arange(b, min(b + 128, 400)))) for b in range(0, 400, 128)])
        np.testing.assert_array_equal(vectors, expected.numpy())
        ids = [name for part in parts for name in part.region_id]
        assert ids == [views.region_ids[i] for i in encoder.observations()]
    facts = json.loads((tmp_path / "parquet" / "manifest.json").read_text())
    assert facts["pretrained"] == {**encoder.loaded(), "revision": "aaaaaaaa"}
    assert facts["pretrained"]["commit"] == "a" * 40 and facts["complete"]
    assert facts["files"] == ["features-00000.parquet", "features-00001.parquet"]
    frame = pd.read_parquet(tmp_path / "parquet" / "features-00001.parquet")
    assert list(frame.columns) == ["region_id", "observation", "vector"] and frame["observation"].iloc[0] == 256
    cached, _ = RegionEncoder(encoder).keep()
    assert len(list(FeatureStore().folder.rglob("*.safetensors"))) == 1
    torch.testing.assert_close(cached, direct, atol=1e-6, rtol=1e-6)
    assert mask.sum() == 11


def recipe(views: City, folder: Path, **modalities: dict) -> Path:
    path = folder / "recipe.yaml"
    keys = {
        "city": {"prepared": str(views.path)},
        "modalities": modalities,
        "views": {"distance": {"name": "distance"}},
        "method": {"name": "urbanmmcl", "dim": 8, "alignments": [], "subgraph_encoder": {"name": "gcn", "hidden": [8]}},
        "pretrain": {"epochs": 1, "batch_size": 12, "patience": 0},
        "report": {"figures": False},
    }
    path.write_text(yaml.safe_dump(keys))
    return path


def test_a_run_reuses_encoded_features_and_records_the_checkpoint(
    views: City, clip: Path, tmp_path: Path, cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    vit = {"name": "vit", "pretrained": str(clip), "trainable": "projection", "augment": "street"}
    path = recipe(views, tmp_path, svi=vit)
    out = tmp_path / "features"
    cli("encode", "--recipe", path, "--modality", "svi", "--out", out)

    def no_more(*_: object) -> None:
        raise AssertionError("images were encoded again")

    with monkeypatch.context() as patched:
        patched.setattr(ViT, "forward", no_more)
        cli("run", path, "--out", tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    loaded = manifest["pretrained"]["svi"]
    assert loaded["commit"] == "a" * 40 and loaded["name"] == str(clip) and len(loaded["weights"]) == 64

    table = {"name": "precomputed", "file": "features"}  # relative to the recipe
    cli("run", recipe(views, tmp_path, svi=table), "--out", tmp_path / "again")
    manifest = json.loads((tmp_path / "again" / "manifest.json").read_text())
    assert manifest["notes"] == ["modality svi: 1 of 12 regions have no vector and count as absent"]


def test_resuming_with_other_weights_is_refused(views: City, clip: Path, tmp_path: Path, cli) -> None:
    shutil.copytree(clip, tmp_path / "clip")
    path = recipe(views, tmp_path, svi={"name": "vit", "pretrained": "clip", "trainable": "projection"})
    cli("run", path, "--out", tmp_path / "run")
    weights = load_file(tmp_path / "clip" / "model.safetensors")
    changed = {name: value * 2 for name, value in weights.items()}
    save_file(changed, tmp_path / "clip" / "model.safetensors", metadata={"format": "pt"})
    stderr = cli("run", path, "--out", tmp_path / "run", "--resume", status=2).stderr
    assert "changed since this run started: modalities.svi" in stderr and "clip/model.safetensors" in stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--encoder", "vit"], "Missing option '--modality'"),
        (["--modality", "svi"], "give either --encoder (with --set for its parameters) or --recipe"),
        (["--modality", "svi", "--encoder", "vitt"], "--encoder vitt: name: unknown modality_encoder 'vitt'. Did you"),
        (["--modality", "sv", "--encoder", "vit"], "modalities.sv: the city has no image source 'sv'"),
        (["--modality", "svi", "--encoder", "vit", "--set", "patch=8"], "--set patch=8: patch: unknown key"),
        (["--modality", "svi", "--encoder", "vit", "--rows", "100"], "--rows must be a multiple of 128"),
        (["--modality", "text", "--encoder", "text", "--of", "rsi"], "no observations that describe 'rsi'"),
        (
            ["--modality", "svi", "--encoder", "vit", "--set", "pretrained=./absent"],
            "modalities.svi.pretrained: no folder",
        ),
    ],
)
def test_wrong_options_of_encode_are_refused(
    views: City, cli, words: list[str], says: str, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in cli("encode", views.path, *words, status=2).stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
def test_files_of_other_features_are_written_again(views: City, clip: Path, tmp_path: Path, form: str) -> None:
    pool = RegionEncoder(ViT(ViT.Params(pretrained=str(clip), trainable="none"), views, "svi", 8))
    folder = encode(pool, views, tmp_path / "out", form=form, rows=256)
    before = files(folder)
    first, second = sorted(folder.glob("features-*"))
    features = read_features(first)
    for wrong in (
        features._replace(content="another"),
        features._replace(observation=features.observation + 1),
        features._replace(vector=features.vector[:, 1:]),
        read_features(second),
    ):
        write_features(first, wrong)
        encode(pool, views, folder, form=form, rows=256)
        assert files(folder) == before


def test_a_damaged_manifest_is_refused(views: City, clip: Path, tmp_path: Path) -> None:
    pool = RegionEncoder(ViT(ViT.Params(pretrained=str(clip), trainable="none"), views, "svi", 8))
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match=r"manifest\.json: is damaged"):
        encode(pool, views, tmp_path)


@pytest.mark.parametrize(
    ("files", "checks"), [(["a", "a"], {"a": {}}), (["a"], {"a": {}, "b": {}}), (["a" * 300], {"a" * 300: {}})]
)
def test_a_manifest_with_repeated_missing_or_endless_names_is_refused(
    tmp_path: Path, files: list, checks: dict
) -> None:
    manifest = {"complete": True, "width": 2, "observations": 2, "files": files, "checks": checks}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="`files` are "):
        read_features_manifest(tmp_path)


def test_a_manifest_that_was_cut_short_is_written_again(views: City, clip: Path, tmp_path: Path) -> None:
    pool = RegionEncoder(ViT(ViT.Params(pretrained=str(clip), trainable="none"), views, "svi", 8))
    before = files(encode(pool, views, tmp_path / "out"))
    for length in (0, 5, 400, len(before["manifest.json"]) - 2):
        (tmp_path / "out" / "manifest.json").write_bytes(before["manifest.json"][:length])
        encode(pool, views, tmp_path / "out")
        assert files(tmp_path / "out") == before
    (tmp_path / "out" / "manifest.json").write_text('{"mine": ')
    with pytest.raises(UserError, match=r"manifest\.json: is damaged"):
        encode(pool, views, tmp_path / "out")


def test_a_folder_with_other_features_is_refused(views: City, clip: Path, tmp_path: Path, cli) -> None:
    words = ["encode", views.path, "--modality", "svi", "--encoder", "vit", "--out", tmp_path / "out"]
    cli(*words, "--set", f"pretrained={clip}")
    stderr = cli(*words, "--set", "patch_size=8", status=2).stderr
    assert "holds features of another city, encoder, checkpoint, precision or file format" in stderr
    assert "random weights" in stderr
    before = files(tmp_path / "out")
    stderr = cli(*words, "--set", f"pretrained={clip}", "--rows", "512", status=2).stderr
    assert "was started with --rows 4096" in stderr and files(tmp_path / "out") == before
    (tmp_path / "out" / "features-00000.parquet").write_bytes(b"cut")
    shutil.rmtree(FeatureStore().folder)
    cli(*words, "--set", f"pretrained={clip}")
    assert files(tmp_path / "out") == before, "a damaged file is computed again"
