# %% [markdown]
# # My city from OpenStreetMap
#
# This notebook goes all the way from files to a report: polygons of tracts, an OpenStreetMap extract and a table become
# a city, and the city a run. It is for those who have a city of their own. The notebook writes a small extract of an
# invented town, so it needs no download. For your own city, download an extract.

# %%
import tempfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import osmium
import pandas as pd
from osmium.osm.mutable import Node, Way
from shapely import box

import urbankit
from urbankit.utils.progress import Progress

work = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)

# %% [markdown]
# ## The polygons and the table
#
# 64 square tracts of about 500 m. The table has the rent of 44 of them. In the invented town the rent falls with the
# distance from the centre.

# %%
side, west, south = 0.005, 10.0, 50.0
column, row = (axis.ravel() for axis in np.meshgrid(np.arange(8), np.arange(8)))
left, bottom = west + column * side, south + row * side
ids = [f"T{i:02d}" for i in range(64)]
tracts = gpd.GeoDataFrame({"tract": ids}, geometry=box(left, bottom, left + side, bottom + side), crs="EPSG:4326")
tracts.to_file(work / "tracts.gpkg")
centre = np.exp(-((column - 3) ** 2 + (row - 4) ** 2) / 8)  # 1 in the centre, 0 far away
rent = pd.DataFrame({"tract": ids, "rent": 8 + 10 * centre + rng.normal(0, 1, 64)}).sample(44, random_state=0)
rent.to_csv(work / "rents.csv", index=False)

# %% [markdown]
# ## The extract
#
# Cafes, shops, houses and parks: more cafes and shops near the centre, more parks far from it. One road for every row
# of tracts.

# %%
nodes, ways = [], []


def node(lon, lat, **tags):
    nodes.append(Node(id=len(nodes) + 1, location=(float(lon), float(lat)), tags=tags))
    return len(nodes)


def way(points, **tags):
    ways.append(Way(id=len(ways) + 1, nodes=[node(*point) for point in points], tags=tags))


def house(lon, lat, size, **tags):
    way([(lon, lat), (lon + size, lat), (lon + size, lat + size), (lon, lat + size)], **tags)
    ways[-1].nodes.append(ways[-1].nodes[0])  # a polygon ends where it begins


for i in range(64):
    for tags, number in (({"amenity": "cafe"}, 8 * centre[i]), ({"shop": "bakery"}, 4 * centre[i] + 0.5)):
        for _ in range(rng.poisson(number)):
            node(left[i] + rng.random() * side, bottom[i] + rng.random() * side, **tags)
    for _ in range(rng.poisson(3 + 12 * centre[i])):
        house(*(corner + rng.random() * 0.9 * side for corner in (left[i], bottom[i])), 0.0002, building="yes")
    if rng.random() > 0.4 + centre[i]:
        house(left[i] + 0.001, bottom[i] + 0.001, 0.003, leisure="park")
for lat in south + (np.arange(8) + 0.5) * side:
    way([(west, lat), (west + 8 * side, lat)], highway="residential")
with osmium.SimpleWriter(str(work / "my-city.osm.pbf")) as writer:
    for item in nodes:
        writer.add_node(item)
    for item in ways:
        writer.add_way(item)

# %% [markdown]
# ## The city file
#
# The key `osm` reads points of interest, roads, buildings and land use. For the map of the report it also reads water,
# main roads and names of places. The report of `prepare` says what matched.

# %%
(work / "my-city.yaml").write_text("""
name: my-city
regions: {file: tracts.gpkg, id: tract}
osm: my-city.osm.pbf
targets:
  rent: {table: rents.csv, region: tract, column: rent, unit: €/m²}
""")
city = urbankit.City.prepare(work / "my-city.yaml", out=work / "city")
city.coverage()

# %%
counts, categories = city.poi_counts()
cafes = counts.toarray()[:, categories.index("cafe")]
city.regions.assign(cafes=cafes).plot("cafes", cmap="viridis", legend=True, figsize=(5, 4)).set_axis_off()

# %% [markdown]
# ## The run
#
# The recipe adds the tables of the extract as modalities and replaces the targets of the synthetic city by the rent.
# What the city lacks, such as images and trips, is left out, and a note says so.

# %%
recipe = urbankit.Recipe.load(
    {
        "name": "my-city",
        "extends": "urbanmmcl",
        "city": {"prepared": str(city.path)},
        "modalities": {f"osm_{name}": {"name": "table"} for name in ("roads", "buildings", "land_use")},
        "tasks": {"rent": {"head": {"name": "kriging"}}}
        | dict.fromkeys(("population_density", "co", "pm25", "land_use")),
        "pretrain": {"epochs": 5},
        "evaluation": {"seeds": [0, 1, 2], "splits": ["random"], "floors": ["mean", "location", "raw-ridge"]},
        "report": {"figures": False},
    }
)
run = urbankit.run(recipe, out=work / "run", progress=Progress(quiet=True))
print(*run.manifest["notes"], sep="\n")

# %%
run.table()

# %%
# the rent of every tract, also of the 20 without a label
run.predict().plot("rent", cmap="viridis", legend=True, figsize=(5, 4)).set_axis_off()
run.report(figures=False).name

# %% [markdown]
# Look at the floors. When this page was written, a ridge regression on the counts (`raw-ridge`) predicted the rent
# about as well as the embedding, and so did the initial weights (`untrained`). The invented rent follows one simple
# thing, the distance from the centre, which cafes and shops show. Real targets are less simple, and real cities larger;
# look at the floors there too.
#
# `report.html` in the run folder is the report: one file with the table and a map of every target and prediction. [Your
# own city](../city.md) lists all sources that a city file can name.
