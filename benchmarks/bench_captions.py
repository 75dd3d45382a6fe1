"""Do captions of the wrong region count less? `python benchmarks/bench_captions.py [OUT]`

A share of the synthetic city's captions is dealt out anew among the regions (or images) that had them. Printed are, for
the recipe as it is and with captions weighed by agreement, the scores, and how well the weights tell the wrong captions
of satellite images: the area under the ROC curve, and the mean weight of right and wrong ones.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from urbankit import Recipe, Use, registry
from urbankit.datasets.synthetic import write_demo
from urbankit.pipeline.run import run
from urbankit.runs.data import method_inputs, prepare_city
from urbankit.training import checkpoint

SHARE = 0.3
CITY = {"regions": 400, "seed": 7}
RECIPES = {"uniform": "urbanmmcl", "agreement": "ablations/caption-quality"}


def main(folder: Path) -> None:
    clean = write_demo(folder / "clean", **CITY)
    spoilt = write_demo(folder / "spoilt", **CITY)
    rng = np.random.default_rng(0)
    wrong = deal_anew(spoilt.with_name("satellite_captions.jsonl"), "region_id", rng)
    deal_anew(spoilt.with_name("street_view_captions.jsonl"), "image", rng)
    for captions, spec in (("30 % wrong", spoilt), ("as written", clean)):
        for weights, name in RECIPES.items():
            sets = [f"city={{spec: {spec}}}", "evaluation.floors=[mean]", "report.figures=false"]
            recipe = Recipe.load(name, sets)
            done = run(recipe, folder / f"{spec.parent.name}-{weights}")
            scores = done.metrics.query("model == 'urbanmmcl' and metric in ('r2', 'macro_f1')")
            print(f"captions {captions}, weights {weights}")
            print(scores.groupby(["task", "split"])["value"].agg(["mean", "std"]).round(3).to_string())
            if spec == spoilt:
                report_weights(recipe, done.path, wrong)


def deal_anew(path: Path, key: str, rng: np.random.Generator) -> set[str]:
    """Give a share of the captions, drawn at random, to the next of one another; the keys that have a wrong one now."""
    table = pd.read_json(path, lines=True, dtype=False)
    rows = rng.permutation(len(table))[: round(SHARE * len(table))]
    table.loc[rows, "text"] = table.loc[np.roll(rows, 1), "text"].to_numpy()
    table.to_json(path, orient="records", lines=True, force_ascii=False)
    return set(table.loc[rows, key])


def report_weights(recipe: Recipe, folder: Path, wrong: set[str]) -> None:
    """What `agreement` says of the satellite captions, all in one batch, by the encoders that the run trained."""
    city = prepare_city(recipe)
    method = registry.create("method", recipe.method, method_inputs(recipe, city)[0])
    method.load_state_dict(checkpoint.load(folder / "checkpoints" / "best.safetensors")[0], strict=False)
    weigh = registry.create("pair_weight", Use(name="agreement", warmup=0))
    with torch.no_grad():
        vectors, present = method.eval().channels(torch.arange(city.n_regions))
        both = present["rsi"] & present["text/rsi"]
        weight = weigh(vectors["rsi"][both], vectors["text/rsi"][both]).numpy()
    bad = np.isin(np.asarray(city.region_ids)[both.numpy()], list(wrong))
    print(f"area under the ROC curve {roc_auc_score(~bad, weight):.3f}")
    print(f"mean weight of right captions {weight[~bad].mean():.2f}, of wrong ones {weight[bad].mean():.2f}\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary))
