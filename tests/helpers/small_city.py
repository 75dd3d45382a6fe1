"""Nine square regions of 1 km, and the folder of sources that a test fills."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import yaml
from pyproj import Transformer
from shapely.geometry import box

from urbankit import City, UserError

EAST, NORTH, CRS = 500_000.0, 4_500_000.0, "EPSG:32618"
IDS = [f"00{i}" for i in range(9)]


def squares(side: float = 1000.0, count: int = 9) -> list:
    """Squares in rows of three, from the south-west."""
    return [
        box(EAST + side * (i % 3), NORTH + side * (i // 3), EAST + side * (i % 3 + 1), NORTH + side * (i // 3 + 1))
        for i in range(count)
    ]


def lonlat(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Degrees of metres counted from the south-west corner."""
    transform = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    return transform.transform(EAST + np.asarray(x, float), NORTH + np.asarray(y, float))


def centre(i: int) -> tuple[float, float]:
    lon, lat = lonlat(1000 * (i % 3) + 500, 1000 * (i // 3) + 500)
    return float(lon), float(lat)


@dataclass
class Sources:
    """The folder of sources, and the spec that names them: change either, then `prepare()`."""

    folder: Path
    spec: dict[str, Any]

    @property
    def out(self) -> Path:
        return self.folder.parent / "prepared"

    def prepare(self, **options: Any) -> City:
        file = self.folder / "city.yaml"
        file.write_text(yaml.safe_dump(self.spec, sort_keys=False))
        return City.prepare(file, **{"out": self.out} | options)

    def refusal(self) -> str:
        """The only problem that `prepare` refuses the city with."""
        with pytest.raises(UserError) as caught:
            self.prepare()
        (problem,) = caught.value.problems
        return str(problem)

    def csv(self, file: str, **columns: Any) -> None:
        pd.DataFrame(columns).to_csv(self.folder / file, index=False)

    def regions(self, name: str = "regions.gpkg", ids: Any = IDS, shapes: Any = None, crs: str | None = CRS) -> None:
        frame = gpd.GeoDataFrame({"id": ids}, geometry=squares() if shapes is None else shapes, crs=crs)
        frame.to_file(self.folder / name)
