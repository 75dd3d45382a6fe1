"""Every encoder on a city that was prepared from files, not on one in memory."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from shapely import box

from urbankit import City, registry
from urbankit.modalities.pooling import RegionEncoder
from urbankit.registry.component import Use

SPEC = {
    "name": "four",
    "regions": {"file": "regions.geojson", "id": "region"},
    "images": {"svi": {"points": "views.csv", "image": "image", "lon": "lon", "lat": "lat", "size": [16, 24]}},
    "captions": {"svi": {"file": "captions.csv", "image": "image", "text": "text"}},
    "poi": {"counts": "poi.csv", "region": "region"},
    "flows": {"file": "flows.csv", "origin": "from", "destination": "to", "weight": "trips"},
    "tables": {"census": {"file": "census.csv", "region": "region"}},
}
# Region c has no street view.
PLACES = {"a": 3, "b": 1, "c": 0, "d": 2}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> City:
    folder = tmp_path_factory.mktemp("four")
    draw = np.random.default_rng(0)
    squares = [box(-74 + 0.01 * i, 40.7, -73.99 + 0.01 * i, 40.71) for i in range(4)]
    gpd.GeoDataFrame({"region": list(PLACES)}, geometry=squares, crs=4326).to_file(folder / "regions.geojson")
    views = []
    for i, (region, number) in enumerate(PLACES.items()):
        for j in range(number):
            name = f"{region}{j}.png"
            Image.fromarray(draw.integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(folder / name)
            views.append({"image": name, "lon": -73.995 + 0.01 * i, "lat": 40.701 + 0.002 * j})
    pd.DataFrame(views).to_csv(folder / "views.csv", index=False)
    captions = [{"image": view["image"], "text": f"a street number {i}"} for i, view in enumerate(views)]
    pd.DataFrame(captions).to_csv(folder / "captions.csv", index=False)
    counts = pd.DataFrame(draw.integers(0, 9, (4, 3)), columns=["shop", "park", "school"])
    counts.insert(0, "region", list(PLACES))
    counts.to_csv(folder / "poi.csv", index=False)
    pairs = [{"from": o, "to": d, "trips": int(draw.integers(1, 50))} for o in "abcd" for d in "abc"]
    pd.DataFrame(pairs).to_csv(folder / "flows.csv", index=False)
    pd.DataFrame({"region": list("abd"), "income": [1.0, 2.0, 4.0]}).to_csv(folder / "census.csv", index=False)
    (folder / "city.yaml").write_text(yaml.safe_dump(SPEC))
    return City.prepare(folder / "city.yaml", out=folder / "prepared")


@pytest.mark.parametrize(
    ("modality", "use", "of", "present"),
    [
        ("svi", {"name": "vit", "patch_size": 8, "augment": "street"}, None, "abd"),
        ("text", {"name": "text"}, "svi", "abd"),
        ("text", {"name": "text"}, None, "abd"),
        ("location", {"name": "geoclip"}, None, "abcd"),
        ("location", {"name": "geoclip"}, "svi", "abd"),
        ("poi", {"name": "poi_counts"}, None, "abcd"),
        ("flows", {"name": "flow_profile", "components": 2}, None, "abcd"),
        ("census", {"name": "table"}, None, "abd"),
        ("svi", {"name": "image_stats"}, None, "abd"),
    ],
)
def test_encodes(prepared: City, modality: str, use: dict, of: str | None, present: str) -> None:
    encoder = registry.create("modality_encoder", Use(**use), prepared, modality, 8)
    pooled = RegionEncoder(encoder, of)
    vectors, mask = pooled.encode(torch.arange(4), 2, torch.Generator().manual_seed(0), augment=True)
    assert [prepared.region_ids[i] for i in mask.nonzero().flatten()] == list(present)
    assert vectors.isfinite().all() and not vectors[~mask].any()
    assert encoder.project(vectors).shape == (4, 8)
    features, kept = pooled.keep()
    assert torch.equal(kept, mask) and features.shape == vectors.shape
