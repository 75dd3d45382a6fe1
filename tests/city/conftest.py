"""A city of nine square regions of 1 km, with every kind of source, small enough to check by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.rasters import write_raster
from helpers.small_city import IDS, NORTH, Sources, centre
from PIL import Image


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Regions only; tests add what they need."""
    folder = tmp_path / "sources"
    folder.mkdir()
    made = Sources(folder, {"name": "small", "regions": {"file": "regions.gpkg", "id": "id"}})
    made.regions()
    return made


@pytest.fixture
def full(sources: Sources) -> Sources:
    """Every kind of source. Region 8 has only its location; regions 6 and 7 lack street views."""
    folder = sources.folder
    cells = np.arange(900, dtype=np.float32).reshape(30, 30)
    write_raster(folder / "people.tif", cells, north=NORTH + 3000, nodata=-1)
    (folder / "svi").mkdir()
    seen = [0, 0, 1, 2, 3, 4, 5]
    for i, region in enumerate(seen):
        Image.new("RGB", (12, 8), (30 * i, region, 0)).save(folder / f"svi/{i}.png")
    centres = [centre(region) for region in seen]
    names = [f"svi/{i}.png" for i in range(len(seen))]
    sources.csv("svi.csv", image=names, lon=[p[0] for p in centres], lat=[p[1] for p in centres])
    texts = [{"image": name, "text": f"street {name}"} for name in names]
    (folder / "texts.jsonl").write_text("\n".join(json.dumps(text) for text in texts))
    sources.csv("tiles.csv", id=IDS[:8], text=[f"tile {name}" for name in IDS[:8]])
    sources.csv("poi.csv", id=IDS[:8], shop=[1, 0, 2, 0, 0, 0, 0, 5], park=[0, 0, 1, 0, 0, 0, 0, 0])
    sources.csv("flows.csv", start=IDS[:4] + IDS[:1], end=[*IDS[1:5], IDS[1]], trips=[1, 2, 3, 4, 10])
    sources.csv("census.csv", id=IDS[:8], age=np.arange(8.0), name=[1] * 8)
    sources.csv("targets.csv", id=IDS, price=np.arange(9.0) + 1, use=list("aabbaabba"))
    sources.spec |= {
        "images": {"svi": {"points": "svi.csv", "size": [4, 6]}},
        "captions": {
            "svi": {"file": "texts.jsonl", "image": "image"},
            "rsi": {"file": "tiles.csv", "region": "id"},
        },
        "poi": {"counts": "poi.csv", "region": "id"},
        "flows": {"file": "flows.csv", "origin": "start", "destination": "end", "weight": "trips"},
        "tables": {"census": {"file": "census.csv", "region": "id", "columns": ["age"]}},
        "targets": {
            "people": {"raster": "people.tif", "statistic": "sum"},
            "price": {"table": "targets.csv", "region": "id", "column": "price", "unit": "€"},
            "use": {"table": "targets.csv", "region": "id", "column": "use", "kind": "classification"},
        },
    }
    return sources
