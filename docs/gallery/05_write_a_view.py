# %% [markdown]
# # Write a view
#
# A view is a graph over the regions. This notebook writes one that urbankit does not have, checks it, and uses it in a
# run. It is for those who want to bring their own idea of which regions belong together.

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field
from scipy import sparse

import urbankit
from urbankit import Use, hookimpl, registry, testing
from urbankit.city.raw_features import flows
from urbankit.datasets.synthetic import write_demo
from urbankit.utils.progress import Progress
from urbankit.views.base import View, ViewGraph

work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The class
#
# The built-in view `mobility` joins a region to the regions that its trips go to. The view below joins regions whose
# trips go to the *same* regions, such as two suburbs of one centre. The weight is `a_ij = Σ_k min(p_ik, p_jk)`, where
# `p_ik` is the share of the trips from i that go to k. It lies between 0 and 1.
#
# A view has parameters with a description and bounds, says what it needs in `requires`, and builds a sparse matrix.
# `present` says which regions have the data. `raw_features` names what the view reads, so that the floors may read it
# too.


# %%
class SameDestinations(View):
    """`a_ij = Σ_k min(p_ik, p_jk)`, the common share of the destinations of two regions, from `least` on."""

    class Params(urbankit.Params):
        least: float = Field(0.3, gt=0, le=1, description="Pairs with a smaller weight have no edge.")

    def requires(self, city):
        return None if city.flows() is not None else "the city has no flows"

    def raw_features(self, city, name):
        return flows(city)

    def build(self, city):
        trips = city.flows().toarray().astype(float)
        present = trips.sum(axis=1) > 0
        share = trips / np.maximum(trips.sum(axis=1, keepdims=True), 1)
        weight = np.stack([np.minimum(row, share).sum(axis=1) for row in share])
        weight[weight < self.params.least] = 0
        np.fill_diagonal(weight, 0)
        return ViewGraph(sparse.csr_array(weight), present)


class Plugin:
    @staticmethod
    @hookimpl
    def register_views(register):
        register("same_destinations", f"{__name__}:SameDestinations", "regions whose trips go to the same places")


registry.add_plugin(Plugin, "notebook")

# %% [markdown]
# ## The check
#
# `check_view` builds the view on a tiny city in which every source lacks some regions. It says nothing if all is well.

# %%
testing.check_view("same_destinations", least=0.2)

# %% [markdown]
# What does it say if something is wrong? This variant joins every region to the next row of the table, which means
# nothing:


# %%
class NextRow(SameDestinations):
    """Joins each region to the next one in the table."""

    def build(self, city):
        return ViewGraph(sparse.eye_array(city.n_regions, k=1), np.ones(city.n_regions, dtype=bool))


class Wrong:
    @staticmethod
    @hookimpl
    def register_views(register):
        register("next_row", f"{__name__}:NextRow", "a view with a mistake")


registry.add_plugin(Wrong, "mistake")
try:
    testing.check_view("next_row")
except testing.ConformanceError as error:
    print(error)

# %% [markdown]
# ## On a city
#
# Before a run, compare the view with the one that it resembles.

# %%
write_demo(work / "sources", regions=81, seed=2)
city = urbankit.City.prepare(work / "sources" / "city.yaml", out=work / "city")
mine = registry.create("view", Use(name="same_destinations", least=0.3)).build(city)
mobility = registry.create("view", Use(name="mobility", self_flows=False)).build(city)
both = (mine.adjacency > 0).multiply(mobility.adjacency > 0).nnz
print(mine, mobility, f"edges of both: {both}", sep="\n")

# %% [markdown]
# Nine of ten edges are edges of `mobility` too, with other weights: trips are short here, so regions with the same
# destinations also exchange trips. The view may add little in this city.
#
# ## In a recipe
#
# A recipe names the view like any other. Two runs differ only in this view. The head is a Gaussian process on the
# embedding.


# %%
def scores(name, views):
    recipe = {
        "name": name,
        "extends": "urbanmmcl",
        "city": {"prepared": str(city.path)},
        "modalities": {"rsi": None, "svi": None, "words": None, "rsi_stats": None},
        "views": views,
        "method": {"alignments": None, "modality_groups": None},
        "tasks": {
            "population_density": {"head": {"name": "gp"}},
            "co": {"head": {"name": "gp"}},
            "pm25": None,
            "land_use": None,
        },
        "pretrain": {"epochs": 5},
        "evaluation": {"seeds": [0, 1, 2], "splits": ["random"], "floors": ["mean"], "controls": []},
        "predict": {"folds": 0},
        "report": {"figures": False},
    }
    metrics = urbankit.run(urbankit.Recipe.load(recipe), out=work / name, progress=Progress(quiet=True)).metrics
    return metrics[(metrics["metric"] == "r2") & (metrics["model"] == "urbanmmcl")].set_index(["task", "seed"])["value"]


table = pd.DataFrame(
    {"without": scores("without", {}), "with": scores("with", {"mine": {"name": "same_destinations"}})}
)
table.round(2)

# %% [markdown]
# One row is one seed, that is one draw of about 16 test regions. For `co` all three differences are positive, for the
# density they change their sign. With three such draws this is no verdict: it needs a larger city and more seeds
# ([suites of runs](../bench.md)).
#
# To share the view, put it into a package: `urbankit new-plugin destinations --kind view` writes one with its tests.
# [Write a plugin](../plugins.md) goes on from there.
