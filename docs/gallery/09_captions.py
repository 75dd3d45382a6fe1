# %% [markdown]
# # Captions
#
# A caption describes an image or a region in words. This notebook writes captions by template, checks them, and uses
# them in a run. It is for those who want text as a modality and have none yet.

# %%
import tempfile
from pathlib import Path

import pandas as pd
import yaml

import urbankit
from urbankit import Use
from urbankit.captioning.run import caption_city
from urbankit.city.prepare.caption_check import check_captions
from urbankit.datasets.synthetic import write_demo
from urbankit.utils.progress import Progress

work = Path(tempfile.mkdtemp())
pd.set_option("display.max_colwidth", None)

# %% [markdown]
# ## A city without captions
#
# The synthetic city has captions of its own. We remove them from its city file, and the street views, which are not
# needed here.

# %%
file = write_demo(work / "sources", regions=64, seed=5)
spec = yaml.safe_load(file.read_text())
del spec["captions"], spec["images"]["svi"]
file.write_text(yaml.safe_dump(spec))
city = urbankit.City.prepare(file, out=work / "city")

# %% [markdown]
# ## Captions by template
#
# The captioner `template` writes sentences from the points of interest, the area and the tables of a region. It needs
# no download and never reads a target. `attach=True` adds the captions to the prepared city. On the command line this
# is `urbankit caption CITY --attach`.

# %%
[captions] = caption_city(city, Use(name="template"), work / "captions", attach=True)
city = urbankit.City.open(city.path)
city.captions("rsi")[["region", "text"]].head(4)

# %% [markdown]
# The captioner `vlm` describes every image by a vision-language model instead, such as BLIP-2. It needs the weights of
# that model and better a GPU, so it is only named here: `urbankit caption CITY --captioner vlm`.
# [Captions](../captions.md) has the details.
#
# ## The caption check
#
# The check looks for captions that are empty, repeated, cut off, or that contradict themselves. These captions pass:

# %%
columns = ["check", "captions", "meaning", "first"]
pd.DataFrame(captions.check.rows(), columns=columns)

# %% [markdown]
# Four captions that do not pass:

# %%
faulty = ["There are trees along the road. No trees can be seen.", "A park.", "a park", "..."]
pd.DataFrame(check_captions(faulty, ["a", "b", "c", "d"], None).rows(), columns=columns)

# %% [markdown]
# The check reads single words. It misses errors that are stated only once, and it removes nothing: you decide.
#
# ## In a run
#
# The encoder `words` reads captions as frequencies of words. Two runs differ only in it. Points of interest are a
# modality of both runs, so the text can add little: it is made from them.


# %%
def scores(name, modalities):
    recipe = {
        "name": name,
        "extends": "urbanmmcl",
        "city": {"prepared": str(city.path)},
        "modalities": {"rsi": None, "svi": None, "rsi_stats": None, **modalities},
        "method": {"alignments": None, "modality_groups": None},
        "tasks": {"population_density": {"head": {"name": "gp"}}, "land_use": None, "co": None, "pm25": None},
        "pretrain": {"epochs": 5},
        "evaluation": {"seeds": [0, 1, 2], "splits": ["random"], "floors": ["mean"], "controls": []},
        "predict": {"folds": 0},
        "report": {"figures": False},
    }
    metrics = urbankit.run(urbankit.Recipe.load(recipe), out=work / name, progress=Progress(quiet=True)).metrics
    return metrics[(metrics["metric"] == "r2") & (metrics["model"] == "urbanmmcl")].set_index("seed")["value"]


table = pd.DataFrame({"without captions": scores("without", {"words": None}), "with captions": scores("with", {})})
table.round(2)

# %% [markdown]
# Count the seeds that gain. When this page was written, two gained and one lost: the difference was within the noise of
# 13 test regions. Sentences by template tell an encoder little that counts do not. With them, a recipe that needs text
# runs on every city. Captions of images say more, if a good model writes them.
