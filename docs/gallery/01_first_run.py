# %% [markdown]
# # A first run
#
# This notebook runs UrbanMMCL on a small synthetic city: it trains region embeddings, predicts a target, and looks at
# the results as a table, a map, nearest regions and clusters. It is for everyone who sees urbankit for the first time.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import urbankit
from urbankit.datasets.synthetic import write_demo
from urbankit.utils.progress import Progress

work = Path(tempfile.mkdtemp())
quiet = Progress(quiet=True)  # without it, a run shows its stages

# %% [markdown]
# ## The city
#
# `write_demo` writes the files of a synthetic city with 64 regions: satellite tiles, street views, captions, points of
# interest, trips and four targets. `City.prepare` reads them as it reads the files of a real city, and aligns them to
# the regions.

# %%
write_demo(work / "sources", regions=64, seed=4)
city = urbankit.City.prepare(work / "sources" / "city.yaml", out=work / "city")
city.coverage()

# %% [markdown]
# Some regions have no street views, and two have no points of interest. They stay missing: urbankit does not fill them
# in.
#
# ## The recipe
#
# A recipe names the city, the components and their parameters. This one starts from the shipped recipe `urbanmmcl` and
# makes it smaller: one of the four targets, a Gaussian process as head, five epochs, two seeds and three floors.

# %%
recipe = urbankit.Recipe.load(
    {
        "name": "first",
        "extends": "urbanmmcl",
        "city": {"prepared": str(city.path)},
        "tasks": {"population_density": {"head": {"name": "gp"}}, "land_use": None, "co": None, "pm25": None},
        "pretrain": {"epochs": 5},
        "evaluation": {"seeds": [0, 1], "floors": ["mean", "location", "raw-ridge"]},
        "report": {"figures": False},
    }
)
run = urbankit.run(recipe, out=work / "run", progress=quiet)

# %% [markdown]
# ## The table
#
# Every row below the first is a *floor*: a prediction without representation learning. `untrained` is the method with
# its initial weights. Under `spatial`, whole blocks of the city are test regions, which is the harder test.

# %%
run.table()

# %% [markdown]
# Compare the method with the ridge regression on its input features (`raw-ridge`) and with its initial weights
# (`untrained`). When this page was written, it was above the first and no better than the second. Read the ± before the
# means. A test part has about 13 regions here, and two seeds are only two draws of it, so differences smaller than the
# spread say nothing. A city of this size shows how urbankit works. It cannot show which method is better.
#
# ## The map
#
# `run.embeddings` is a GeoDataFrame with one vector for each region. Clusters of the vectors show what the embedding
# separates.

# %%
clusters = run.clusters(4)
truth = city.target("land_use").values
regions = run.embeddings.merge(clusters.regions, on="region_id").assign(land_use=truth)

figure, axes = plt.subplots(1, 2, figsize=(10, 4))
regions.plot("cluster", categorical=True, legend=True, cmap="Set2", ax=axes[0])
regions.plot("land_use", categorical=True, legend=True, cmap="tab10", ax=axes[1], missing_kwds={"color": "lightgrey"})
axes[1].get_legend().set_bbox_to_anchor((1.0, 1.0))
for axis, title in zip(axes, ["clusters of the embedding", "land use"], strict=True):
    axis.set_title(title)
    axis.set_axis_off()

# %%
clusters.summary

# %% [markdown]
# ## Regions that are alike
#
# The first row is the region itself. Similarity is the cosine of the centred embeddings.

# %%
run.neighbours("r0028", k=4)

# %% [markdown]
# The page `report.html` in the run folder has all of this and more, as one file. [The next
# notebook](02_my_city_from_openstreetmap.py) describes a city of your own. [The run folder](../run-folder.md) explains
# every column of the table.
