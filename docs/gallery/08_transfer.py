# %% [markdown]
# # From one city to another
#
# This notebook trains a model in one city, exports it, and predicts another city of which the model has never seen a
# label. It is for those who have data of a second city but no measurements there.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from scipy.stats import spearmanr

import urbankit
from urbankit.datasets.synthetic import write_demo
from urbankit.utils.progress import Progress

work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Two cities
#
# Both are synthetic, with 100 regions each. They come from the same model of a city, so they are more alike than real
# cities are.


# %%
def prepared(name, seed):
    file = write_demo(work / name / "sources", regions=100, seed=seed)
    keys = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({key: keys[key] for key in keys if key not in ("images", "captions")}))
    return urbankit.City.prepare(file, out=work / name / "city")


here, there = prepared("here", 3), prepared("there", 8)

# %% [markdown]
# ## A model of the first city
#
# The export writes the weights of the method and one ridge regression for each task. It says what does not carry over.

# %%
recipe = urbankit.Recipe.load(
    {
        "name": "here",
        "extends": "urbanmmcl",
        "city": {"prepared": str(here.path)},
        "modalities": {"rsi": None, "svi": None, "words": None, "rsi_stats": None},
        "method": {"alignments": None, "modality_groups": None},
        "tasks": {
            "population_density": {"transform": "log", "head": {"name": "ridge"}},
            "co": {"head": {"name": "ridge"}},
            "pm25": None,
            "land_use": None,
        },
        "pretrain": {"epochs": 5},
        "evaluation": {"seeds": [0], "floors": ["mean"], "controls": []},
        "predict": {"folds": 0},
        "report": {"figures": False},
    }
)
run = urbankit.run(recipe, out=work / "run", progress=Progress(quiet=True))
[(folder, notes)] = run.export("model", out=work / "model")
print(*notes, sep="\n")

# %% [markdown]
# ## The second city
#
# `predict` gives the targets with intervals (`embed` gives the vectors). Nothing is trained, and no label of the second
# city is read. The notes are part of the result.

# %%
model = urbankit.Model.open(folder)
table = model.predict(there, interval=0.9)
print(*table.attrs["notes"], sep="\n")

# %% [markdown]
# ## How good is it?
#
# The second city does have labels, so we can look. *Rank correlation* asks only whether regions are in the right order.
# R² also asks for the right level. The coverage of the 90 % intervals should be 0.9, but they were calibrated in the
# first city.

# %%
rows = {}
for task in ("population_density", "co"):
    has = table[table[f"{task}_truth"].notna()]
    truth, predicted = has[f"{task}_truth"].to_numpy(float), has[task].to_numpy(float)
    rows[task] = {
        "rank correlation": spearmanr(truth, predicted)[0],
        "R²": 1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum(),
        "coverage": has[f"{task}_truth"].between(has[f"{task}_lower"], has[f"{task}_upper"]).mean(),
        "mean there": truth.mean(),
        "mean here": np.nanmean(here.target(task).values.astype(float)),
    }
pd.DataFrame(rows).T.round(2)

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
for axis, column in zip(axes, ["population_density", "population_density_truth"], strict=True):
    table.plot(column, cmap="viridis", legend=True, ax=axis)
    axis.set_title(column)
    axis.set_axis_off()

# %% [markdown]
# The order of the regions carries over well for the density, which points of interest and trips explain, and less for
# `co`. The intervals of `co` cover less than they say. Both cities come from the same generator, so take this as the
# good case: between real cities the level of a target often differs, and R² falls below 0 ([measured
# results](../transfer.md#results)). A few labels of the new city repair the level: see [ten labels in a new
# city](04_ten_labels_in_a_new_city.py).
