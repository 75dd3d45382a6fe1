# %% [markdown]
# # Predict unlabelled tracts, with intervals
#
# A target was measured in half of the tracts. This notebook predicts the other half, with an interval for each tract,
# and then looks at the labels that were held back: how many lie in their intervals? It is for those who fill gaps in a
# map.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml

import urbankit
from urbankit.datasets.synthetic import write_demo
from urbankit.utils.progress import Progress

work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Labels in half of the tracts
#
# A synthetic city has a population density in every region. We keep the labels of 50 of its 100 regions, drawn at
# random, and write them as a table, as a census office would. The other labels stay outside of everything that follows,
# until the end.

# %%
file = write_demo(work / "sources", regions=100, seed=3)
spec = yaml.safe_load(file.read_text())
for name in ("images", "captions"):  # this notebook does without them
    del spec[name]
file.write_text(yaml.safe_dump(spec))
whole = urbankit.City.prepare(file, out=work / "whole")
density = pd.Series(whole.target("population_density").values.astype(float), whole.region_ids)

known = density.sample(50, random_state=0)
known.rename("density").rename_axis("tract").to_csv(work / "sources" / "census.csv")
spec |= {"name": "half", "targets": {"density": {"table": "census.csv", "region": "tract", "column": "density"}}}
file.write_text(yaml.safe_dump(spec))
city = urbankit.City.prepare(file, out=work / "half")
city.coverage().tail(1)

# %% [markdown]
# ## A run and its predictions
#
# The head `kriging` reads the embedding and the coordinates. `run.predict` predicts every region: those without a label
# with all labels, the others with the labels of the other folds.

# %%
recipe = urbankit.Recipe.load(
    {
        "name": "half",
        "extends": "urbanmmcl",
        "city": {"prepared": str(city.path)},
        "modalities": {"rsi": None, "svi": None, "words": None, "rsi_stats": None},
        "method": {"alignments": None, "modality_groups": None},
        "tasks": {"density": {"transform": "log", "head": {"name": "kriging"}}}
        | dict.fromkeys(("population_density", "co", "pm25", "land_use")),
        "pretrain": {"epochs": 5},
        "evaluation": {"seeds": [0], "floors": ["mean"], "controls": []},
        "report": {"figures": False},
    }
)
run = urbankit.run(recipe, out=work / "run", progress=Progress(quiet=True))
table = run.predict(interval=0.9).set_index("region_id")
table[["density", "density_lower", "density_upper", "density_truth", "density_from"]].head()

# %% [markdown]
# ## Were the intervals right?
#
# Of the tracts that were held back, about 90 % should lie in their intervals.

# %%
gaps = table[table["density_truth"].isna()].assign(held_back=density)
inside = gaps["held_back"].between(gaps["density_lower"], gaps["density_upper"])
error = (gaps["density"] - gaps["held_back"]).abs()
pd.Series(
    {
        "tracts held back": len(gaps),
        "in their interval": inside.mean(),
        "mean width of an interval": (gaps["density_upper"] - gaps["density_lower"]).mean(),
        "mean absolute error": error.mean(),
        "the same for the mean of the known labels": (known.mean() - gaps["held_back"]).abs().mean(),
    }
).round(2)

# %%
order = gaps.sort_values("density")
figure, axis = plt.subplots(figsize=(9, 3.5))
axis.vlines(
    range(len(order)), order["density_lower"], order["density_upper"], color="lightgrey", lw=4, label="90 % interval"
)
axis.plot(order["density"].to_numpy(), "_", color="black", label="prediction")
axis.plot(order["held_back"].to_numpy(), ".", color="tab:red", label="label held back")
axis.set(xlabel="tracts without a label, by prediction", ylabel="people/km²")
_ = axis.legend()

# %% [markdown]
# ## Where the map is uncertain
#
# The target is learned in logarithms. Its intervals are therefore wider where the prediction is larger. Tracts with a
# label are hatched.

# %%
table["width"] = table["density_upper"] - table["density_lower"]
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
for axis, column, title in zip(axes, ["density", "width"], ["prediction", "width of the interval"], strict=True):
    table.plot(column, cmap="viridis", legend=True, ax=axis)
    table[table["density_truth"].notna()].plot(facecolor="none", edgecolor="white", hatch="///", lw=0, ax=axis)
    axis.set_title(title)
    axis.set_axis_off()

# %% [markdown]
# Of the 50 tracts about nine in ten lie in their intervals, as they should; with 50 tracts, anything from 0.8 to 0.98
# would be no surprise. The intervals are wide: fifty labels do not predict a density well. This test was fair because
# the labels were removed at random. If whole districts lack labels, take `run.predict(split="spatial")`. [Predictions
# for every region](../predict.md) explains the intervals.
