# %% [markdown]
# # Into QGIS and scikit-learn
#
# This notebook takes the results of a run into other tools: a GeoPackage with its style for QGIS, a CSV file for R or a
# spreadsheet, and the embeddings as a step of a scikit-learn pipeline. It is for those who have a run and their own
# models.

# %%
import tempfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import urbankit
from urbankit.datasets.synthetic import write_demo
from urbankit.utils.progress import Progress

work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A run
#
# The city is synthetic and has 100 regions. The run reads points of interest, trips and coordinates, and no images.

# %%
write_demo(work / "sources", regions=100, seed=3)
city = urbankit.City.prepare(work / "sources" / "city.yaml", out=work / "city")
recipe = urbankit.Recipe.load(
    {
        "name": "results",
        "extends": "urbanmmcl",
        "city": {"prepared": str(city.path)},
        "modalities": {"rsi": None, "svi": None, "words": None, "rsi_stats": None},
        "method": {"alignments": None, "modality_groups": None},
        "tasks": {"population_density": {"head": {"name": "gp"}}, "co": None, "pm25": None, "land_use": None},
        "pretrain": {"epochs": 5},
        "evaluation": {"seeds": [0], "floors": ["mean", "raw-ridge"]},
        "report": {"figures": False},
    }
)
run = urbankit.run(recipe, out=work / "run", progress=Progress(quiet=True))

# %% [markdown]
# ## Files for QGIS, R and spreadsheets
#
# `predictions_all` is the table of predictions with intervals. `--to gpkg --to csv` on the command line writes the same
# files.

# %%
files = run.export(["gpkg", "csv"], what="predictions_all", out=work / "export")
sorted(path.name for path in (work / "export").iterdir())

# %% [markdown]
# Open the `.gpkg` in QGIS: the `.qml` file of the same name colours the layer at once. Other tools read the same layer:

# %%
layer = gpd.read_file(work / "export" / "predictions_all.gpkg")
layer.plot("population_density", scheme=None, cmap="viridis", legend=True, figsize=(5, 4)).set_axis_off()

# %% [markdown]
# A CSV file has no types. Name the type of the id when you read it, so that leading zeros stay.

# %%
table = pd.read_csv(work / "export" / "predictions_all.csv", dtype={"region_id": str})
table.head(3)

# %% [markdown]
# ## A step of a scikit-learn pipeline
#
# Your own table may have several rows for a region. Here it has 300 flats with their region, rooms and rent. The rents
# are invented: they rise with the rooms and with the population density of the region.

# %%
rng = np.random.default_rng(0)
density = city.target("population_density").values.astype(float)
rows = rng.choice(np.flatnonzero(~np.isnan(density)), 300)
flats = pd.DataFrame({"region": np.array(city.region_ids)[rows], "rooms": rng.integers(1, 6, 300)})
rent = 300 + 200 * flats["rooms"] + 0.02 * density[rows] + rng.normal(0, 100, 300)

# %% [markdown]
# `UrbanEmbedding` turns the column of ids into vectors. `GroupKFold` puts all flats of a region into the same fold.
# Without it, a model could recognise a region that it has seen, and the score would be too good for new regions.

# %%
embedding = urbankit.UrbanEmbedding(run)
models = {
    "rooms": make_column_transformer(("passthrough", ["rooms"])),
    "rooms and embedding": make_column_transformer((embedding, ["region"]), ("passthrough", ["rooms"])),
}
scores = {}
for name, columns in models.items():
    model = make_pipeline(columns, StandardScaler(), RidgeCV(np.logspace(0, 4, 9)))
    scores[name] = cross_val_score(model, flats, rent, groups=flats["region"], cv=GroupKFold(5), scoring="r2")
pd.DataFrame(scores).rename_axis("fold").round(2)

# %%
pd.DataFrame(scores).agg(["mean", "std"]).round(2)

# %% [markdown]
# Look at the gain in each fold, not only at the mean. When this page was written, the embedding helped on average, and
# nearly all of the gain came from one fold. The rents are made from the density, which explains most of what the rooms
# leave open, so a better embedding or more regions could gain more. The floors of the run tell how well plain input
# features do. To test on whole districts, group by blocks of regions instead of by region.
#
# [Getting results out](../export.md) lists all formats.
