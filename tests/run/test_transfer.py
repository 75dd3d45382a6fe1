"""A run hands its weights on to another city: what is taken over, what begins anew, and what labels are seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch

from urbankit import registry
from urbankit.city.city import City
from urbankit.demo import write_demo
from urbankit.errors import UserError
from urbankit.evaluation.raw import RawInputs
from urbankit.evaluation.splits import make_split
from urbankit.inputs import build_inputs
from urbankit.pipeline import run
from urbankit.progress import Progress
from urbankit.recipe.find import shipped
from urbankit.recipe.schema import Recipe
from urbankit.runfolder import Run
from urbankit.training import checkpoint
from urbankit.transfer.floors import _shared
from urbankit.transfer.source import Source
from urbankit.transfer.weights import take_over

Keys = dict[str, Any]


def completed(keys: Keys, out: Path, **arguments) -> Run:
    return run(Recipe.load(keys), out, progress=Progress(quiet=True), **arguments)


def keys_on(city: City, recipe_on, **more) -> Keys:
    """A recipe with every kind of head and features with names, of which only heads are trained on labels."""
    keys = recipe_on(city)
    keys["modalities"] |= {"poi_counts": {"name": "poi_counts"}, "rsi_stats": {"name": "image_stats", "source": "rsi"}}
    keys["tasks"] = {
        "co": {"head": {"name": "gp"}},
        "population_density": {"transform": "log"},
        "land_use": {"head": {"name": "forest"}},
    }
    keys["finetune"]["update"] = []
    keys["evaluation"] |= {"floors": ["mean"]}
    return keys | more


@pytest.fixture(scope="module")
def other_city(tmp_path_factory) -> City:
    folder = tmp_path_factory.mktemp("other")
    return City.prepare(write_demo(folder, regions=49, seed=2), out=folder / "prepared")


@pytest.fixture(scope="module")
def source(tiny_city, recipe_on, tmp_path_factory) -> Path:
    """A finished run on the tiny city."""
    folder = tmp_path_factory.mktemp("source") / "run"
    completed(keys_on(tiny_city, recipe_on), folder)
    return folder


@pytest.fixture
def new(source, other_city, recipe_on) -> Keys:
    return keys_on(other_city, recipe_on, transfer={"from": str(source), "graph": "new"})


@pytest.fixture
def keep(source, other_city, recipe_on) -> Keys:
    return keys_on(other_city, recipe_on, transfer={"from": str(source), "graph": "keep"})


@pytest.fixture
def copied(source, tmp_path) -> Path:
    """A copy of the source run, to spoil."""
    return Path(shutil.copytree(source, tmp_path / "copied"))


def built(keys: Keys):
    """The recipe, its inputs and a fresh method, as a run makes them."""
    recipe = Recipe.load(keys)
    inputs, _ = build_inputs(recipe, City.open(recipe.city.prepared))
    torch.manual_seed(recipe.seed)
    return recipe, inputs, registry.create("method", recipe.method, inputs)


def taken_over(keys: Keys, source: Path):
    recipe, inputs, method = built(keys)
    take_over(method, inputs, recipe, Source(source))
    return method


# Weights


def test_new_takes_the_encoders_over_and_begins_the_rest_as_from_nothing(new, source):
    fresh, method = built(new)[2].state_dict(), taken_over(new, source).state_dict()
    there = checkpoint.load(source / "checkpoints/best.safetensors")[0]
    bound = ("centre", "spread")
    for name, value in method.items():
        encoder = name.startswith("channels.encoders.") and not name.endswith(bound)
        if name.endswith("encoders.poi_counts._extra_state"):
            continue
        assert torch.equal(value, (there if encoder else fresh)[name]), name
    trained = [name for name in fresh if name.endswith("encoders.rsi.projection.weight")]
    assert trained and not any(torch.equal(fresh[name], method[name]) for name in trained)


def test_keep_takes_every_weight_over_but_what_is_of_single_regions(keep, source):
    method = taken_over(keep, source)
    there = checkpoint.load(source / "checkpoints/best.safetensors")[0]
    own = {name for name, value in method.state_dict().items() if not torch.equal(value, there[name])}
    assert own == {"bank", "channels.encoders.location.centre", "channels.encoders.location.spread"}


def test_blocks_of_the_embedding_keep_the_sources_size(tiny_city, other_city, recipe_on, tmp_path):
    keys = keys_on(tiny_city, recipe_on, tasks={})
    keys["method"]["block_scale"] = "unit"
    completed(keys, tmp_path / "source")
    keys |= {
        "city": {"prepared": str(other_city.path)},
        "transfer": {"from": str(tmp_path / "source"), "graph": "keep"},
    }
    there = checkpoint.load(tmp_path / "source/checkpoints/best.safetensors")[0]
    method = taken_over(keys, tmp_path / "source")
    assert torch.equal(method.scale, there["scale"]) and torch.equal(method.shift, there["shift"])


def test_only_the_named_modalities_are_taken_over(new, source):
    new["transfer"]["modalities"] = ["text"]
    fresh, method = built(new)[2].state_dict(), taken_over(new, source).state_dict()
    changed = {name.split(".")[2] for name, value in method.items() if not torch.equal(value, fresh[name])}
    assert changed == {"text"}


def test_the_tokenizer_comes_along(new, source, tiny_city):
    from urbankit.modalities.tokens import PAD, encode_texts, train_tokenizer

    encoder = taken_over(new, source).channels.encoders["text"]
    learned = train_tokenizer(tiny_city.captions()["text"].unique().tolist(), 300)
    assert encoder._learned.get_vocab() == learned.get_vocab()
    batch = encoder.load(np.arange(5))
    texts = encoder._captions["text"][:5].tolist()
    ids, lengths = encode_texts(learned, texts, 77, PAD)
    assert batch["length"].tolist() == lengths.tolist()
    assert batch["ids"][0, : lengths[0]].tolist() == ids[0, : lengths[0]].tolist()


@pytest.mark.parametrize("statistics", ["source", "own"])
def test_statistics_are_the_sources_or_the_citys_own(statistics, new, source, tiny_city, other_city):
    new["transfer"]["statistics"] = statistics
    method = taken_over(new, source)
    described = tiny_city if statistics == "source" else other_city

    def logs(city: City) -> np.ndarray:
        counts, categories = city.poi_counts()
        return np.log1p(counts.toarray()[np.ix_(city.poi_present, np.argsort(categories))])

    assert sorted(tiny_city.poi_counts()[1]) == sorted(other_city.poi_counts()[1])
    within = np.clip(logs(other_city), logs(described).min(0), logs(described).max(0))
    expected = (within - logs(described).mean(0)) / np.where(logs(described).std(0), logs(described).std(0), 1)
    poi = method.channels.encoders["poi_counts"]
    order = np.argsort(other_city.poi_counts()[1])
    np.testing.assert_allclose(poi.load(np.arange(len(expected))).numpy()[:, order], expected, atol=1e-5)
    rsi = method.channels.encoders["rsi"]
    np.testing.assert_allclose(rsi.mean.flatten(), described.images("rsi").band_mean, rtol=1e-6)
    location = method.channels.encoders["location"]
    assert float(location.centre[0]) == float(built(new)[2].channels.encoders["location"].centre[0])


# Zero-shot


def test_zero_shot_on_the_source_city_itself_is_the_source_run(source, tiny_city, recipe_on, tmp_path):
    keys = keys_on(tiny_city, recipe_on, transfer={"from": str(source), "graph": "keep"})
    result, there = completed(keys, tmp_path / "run"), Run.open(source)
    one, two = (np.stack(r.embeddings["embedding"]) for r in (there, result))
    np.testing.assert_array_equal(one, two)
    split = result.predictions.query("split != 'all'").reset_index(drop=True)
    assert split["prediction_class"].equals(there.predictions["prediction_class"])
    np.testing.assert_allclose(split["prediction"], there.predictions["prediction"], rtol=1e-6)


def test_zero_shot_sees_no_label_of_the_city(keep, other_city, tmp_path):
    """Other labels, fewer of them: the same predictions."""
    before = completed(keep, tmp_path / "before")
    relabelled = Path(shutil.copytree(other_city.path, tmp_path / "relabelled"))
    draw = np.random.default_rng(0)
    for path in (relabelled / "targets").glob("*.parquet"):
        table = pd.read_parquet(path)
        table["value"] = draw.permutation(table["value"].to_numpy())
        table.to_parquet(path)
    after = completed(keep | {"city": {"prepared": str(relabelled)}}, tmp_path / "after")
    assert not before.metrics["value"].equals(after.metrics["value"])
    rows = ["region_id", "task", "split", "seed"]
    one, two = (r.predictions.set_index(rows) for r in (before, after))
    shared = one.index.intersection(two.index)
    assert len(shared) > 100
    regression = [row for row in shared if row[1] != "land_use"]
    assert one.loc[regression, "prediction"].equals(two.loc[regression, "prediction"])
    assert one.loc[shared, "prediction_class"].equals(two.loc[shared, "prediction_class"])


def test_zero_shot_trains_nothing_and_scores_beside_the_floors(keep, other_city, tmp_path):
    result = completed(keep, tmp_path / "run")
    assert not (tmp_path / "run/checkpoints/best.safetensors").exists()
    assert set(result.metrics["split"]) == {"random", "spatial", "all"}
    everywhere = result.predictions.query("split == 'all' and task == 'co'")
    assert len(everywhere) == int(np.isfinite(other_city.target("co").values).sum())
    splits = {model: set(rows["split"]) for model, rows in result.metrics.groupby("model")}
    assert splits == {
        "urbanmmcl": {"random", "spatial", "all"},
        "floor:mean": {"random", "spatial"},
        "floor:carried-mean": {"random", "spatial", "all"},
    }
    assert "co, all: urbanmmcl" in str(result.table())


def test_floors_are_carried_over_from_the_labels_that_the_heads_see(keep, tiny_city, tmp_path):
    keep["evaluation"]["floors"] = ["mean", "location", "raw-forest"]
    result = completed(keep | {"tasks": {"co": {"head": {"name": "gp"}}}}, tmp_path / "run")
    there = tiny_city.target("co").values
    train = make_split("random", tiny_city.xy, 0).of(np.isfinite(there)).train
    floors = result.floor_predictions.query("split == 'all'").set_index("model")
    assert set(floors.index) == {"floor:carried-mean", "floor:carried-raw-forest"}
    np.testing.assert_allclose(floors.loc["floor:carried-mean", "prediction"], there[train].mean())
    assert floors.loc["floor:carried-raw-forest", "prediction"].between(np.nanmin(there), np.nanmax(there)).all()
    assert list(floors.loc["floor:carried-mean", "region_id"]) == list(
        result.predictions.query("split == 'all'").region_id
    )


def test_classes_of_one_city_alone_are_noted_and_count_as_wrong(keep, other_city, tmp_path):
    renamed = Path(shutil.copytree(other_city.path, tmp_path / "renamed"))
    path = renamed / "targets/land_use.parquet"
    table = pd.read_parquet(path)
    keep["tasks"] = {"land_use": {"head": {"name": "forest"}}}
    lost = completed(keep, tmp_path / "before").predictions.query("split == 'all'")["prediction_class"].mode()[0]
    pd.DataFrame({"value": table["value"].replace(lost, "elsewhere")}).to_parquet(path)
    result = completed(keep | {"city": {"prepared": str(renamed)}}, tmp_path / "run")
    notes = " ".join(result.manifest["notes"])
    assert (
        f"this city lacks; predicting them counts as wrong: {lost}" in notes and "never predicted: elsewhere" in notes
    )
    found = result.predictions.query("task == 'land_use' and split == 'all'")
    assert not (found["prediction_class"] == "elsewhere").any() and (found["prediction_class"] == lost).any()
    scores = result.metrics.query("task == 'land_use' and split == 'all' and model == 'urbanmmcl'")
    accuracy = scores.set_index("metric").loc["accuracy", "value"]
    assert accuracy == pytest.approx((found["truth_class"] == found["prediction_class"]).mean())


def test_permuting_the_regions_permutes_the_embeddings(keep, other_city, source, tiny_city, recipe_on, tmp_path):
    """Without views: walks are drawn in the order of the regions."""
    plain = keys_on(tiny_city, recipe_on, views={}, tasks={})
    completed(plain, tmp_path / "source")
    sources = Path(shutil.copytree(other_city.path.parent, tmp_path / "permuted"))
    frame = gpd.read_file(sources / "regions.gpkg")
    (sources / "regions.gpkg").unlink()
    frame.sample(frac=1, random_state=0).to_file(sources / "regions.gpkg")
    permuted = City.prepare(sources / "city.yaml", out=tmp_path / "prepared")
    assert permuted.region_ids != other_city.region_ids
    transfer = {"from": str(tmp_path / "source"), "graph": "keep"}
    one, two = (
        completed(keys_on(city, recipe_on, views={}, tasks={}, transfer=transfer), tmp_path / name).embeddings
        for name, city in (("one", other_city), ("two", permuted))
    )
    two = two.set_index("region_id").loc[one["region_id"]]
    np.testing.assert_allclose(np.stack(one["embedding"]), np.stack(two["embedding"]), atol=1e-4)


def test_raw_inputs_of_carried_floors_stay_within_the_sources_range():
    source = RawInputs(np.array([[0.0, 1, 5], [9, 3, np.nan]]), ("x", "a", "b"))
    own = RawInputs(np.array([[7.0, 2, 4], [np.nan, 0, 4]]), ("b", "a", "flow in component 1"))
    shared = _shared(source, own)
    assert shared.names == ("b", "a")
    np.testing.assert_array_equal(shared.values, [[5, 1], [np.nan, 3], [5, 2], [np.nan, 1]])


# The run folder


def test_the_manifest_says_where_the_weights_come_from(new, source, tiny_city, tmp_path):
    manifest = completed(new | {"tasks": {}}, tmp_path / "run").manifest
    there = Run.open(source).manifest
    assert manifest["transfer"]["recipe_hash"] == there["recipe_hash"]
    assert manifest["transfer"]["city_hash"] == tiny_city.content_hash
    assert len(manifest["transfer"]["checkpoint"]) == 64 and "transfer" in manifest["seconds"]


@pytest.mark.parametrize("graph", ["new", "keep"])
def test_it_resumes_to_the_same_bits(graph, new, tmp_path):
    new["transfer"]["graph"] = graph
    completed(new, tmp_path / "whole")
    cut = Path(shutil.copytree(tmp_path / "whole", tmp_path / "cut"))
    for name in ("embeddings.parquet", "predictions.parquet", "metrics.parquet", "report.html"):
        (cut / name).unlink()
    (cut / "checkpoints/finetune/spatial-0.safetensors").unlink()
    completed(new, cut, resume=True)
    for name in ("embeddings.parquet", "predictions.parquet", "metrics.parquet"):
        assert (cut / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_it_does_not_resume_on_another_source(new, copied, tmp_path):
    new["transfer"]["from"], new["tasks"] = str(copied), {}
    completed(new, tmp_path / "run")
    best = copied / "checkpoints/best.safetensors"
    tensors, facts = checkpoint.load(best)
    checkpoint.save(best, {name: value.clone().zero_() for name, value in tensors.items()}, facts)
    with pytest.raises(UserError, match="has changed since this run began"):
        completed(new, tmp_path / "run", resume=True)


# What may be wrong


def test_a_shipped_recipe_says_what_to_give():
    command = [sys.executable, "-m", "urbankit", "validate", "transfer/singapore-zero-shot"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "transfer.from: is missing" in result.stderr and "--set transfer.from=runs/NAME" in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transfer": {"from": "nowhere"}}, r"transfer\.from: there is no run in '.*nowhere'"),
        ({"transfer": {"graph": "keep", "modalities": ["rsi"]}}, "takes all modalities over"),
        ({"transfer": {"modalities": ["rsy"]}}, r"transfer\.modalities: .* no modality 'rsy'.*'rsi'"),
        ({"transfer": {"graph": "keep"}, "finetune": {"update": ["all"]}}, r"finetune\.update: .*`update: \[\]`"),
        (
            {"transfer": {"graph": "keep"}, "evaluation": {"splits": ["folds"]}},
            r"evaluation\.splits: `folds` fits a probe",
        ),
        ({"transfer": {"graph": "keep"}, "finetune": {"paradigm": "end_to_end"}}, r"finetune\.paradigm: .*no weight"),
    ],
)
def test_mistakes_of_the_recipe(change, message, new):
    for section, keys in change.items():
        new[section] |= keys
    with pytest.raises(UserError, match=message):
        Recipe.load(new)


def manifest_says(key: str, value: Any):
    def spoil(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {key: value}))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            manifest_says("status", "running"),
            r"transfer\.from: the run is not finished \(its status: running\).*--resume",
        ),
        (lambda f: (f / "checkpoints/best.safetensors").unlink(), r"transfer\.from: .*it pre-trained no weights"),
        (lambda f: (f / "checkpoints/best.safetensors").write_bytes(b"x" * 99), r"transfer\.from: .*cannot be read"),
        (manifest_says("city_hash", "0"), r"transfer\.from: its city, .*, has changed since"),
        (lambda f: (f / "embeddings.parquet").write_bytes(b"x" * 99), "embeddings.parquet: cannot be read"),
    ],
)
def test_a_source_that_cannot_be_used(spoil, message, keep, copied, tmp_path):
    spoil(copied)
    keep["transfer"]["from"] = str(copied)
    with pytest.raises(UserError, match=message):
        completed(keep, tmp_path / "run")


@pytest.mark.parametrize(
    ("graph", "change", "message"),
    [
        ("new", lambda k: k["method"].update(dim=8), r"modalities\.rsi: .*\[16, 16\] there and \[8, 16\] here"),
        ("new", lambda k: k["modalities"]["svi"].update(heads=4), r"modalities\.svi: .*heads 2 there and 4 here"),
        ("new", lambda k: k["modalities"].update(rsi={"name": "image_stats"}), r"modalities\.rsi: .*vit there"),
        ("keep", lambda k: k["method"].update(walks=2), r"method\.walks: is 4 in the run and 2 here"),
        ("keep", lambda k: k["views"].pop("poi"), r"views\.poi: the run has it and this city or recipe has not"),
        ("keep", lambda k: k["modalities"].pop("svi"), r"modalities\.svi: the run has it and"),
        ("keep", lambda k: k["views"].update(near={"name": "distance"}), r"views\.near: the run has no such view"),
        ("keep", lambda k: k["modalities"].update(shape={"name": "shape"}), r"modalities\.shape: .*no such modality"),
        ("keep", lambda k: k["tasks"].update(pm25={}), r"tasks\.pm25: the source run has no task of this name"),
        (
            "keep",
            lambda k: k.update(views=dict(reversed(k["views"].items()))),
            "views: the run has them in another order",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_its_key(graph, change, message, new, tmp_path):
    new["transfer"]["graph"] = graph
    change(new)
    with pytest.raises(UserError, match=message):
        completed(new, tmp_path / "run")


def test_all_that_does_not_fit_is_told_at_once(new, tmp_path):
    new["modalities"]["svi"]["heads"] = 4
    new["modalities"]["rsi"] = {"name": "image_stats"}
    with pytest.raises(UserError) as error:
        completed(new, tmp_path / "run")
    assert {problem.key for problem in error.value.problems} == {"modalities.rsi", "modalities.svi"}
    assert not (tmp_path / "run").exists()


def test_components_of_one_citys_flows_and_words_do_not_carry_over(tiny_city, other_city, recipe_on, tmp_path):
    numbers = {"flows": {"name": "flow_profile"}, "words": {"name": "words"}, "rsi": {"name": "image_stats"}}
    completed(keys_on(tiny_city, recipe_on, modalities=numbers, tasks={}), tmp_path / "source")
    transfer = {"from": str(tmp_path / "source")}
    keys = keys_on(other_city, recipe_on, modalities=numbers, tasks={}, transfer=transfer)
    with pytest.raises(UserError, match="flows: principal components are of one") as error:
        completed(keys, tmp_path / "run")
    assert {problem.key for problem in error.value.problems} == {"modalities.flows", "modalities.words"}
    keys["transfer"]["modalities"] = ["rsi"]
    notes = completed(keys, tmp_path / "run").manifest["notes"]
    assert sum("begins anew" in note for note in notes) == 2


# Shipped recipes

SHIPPED = [name for name in shipped() if name.startswith("transfer/")]
SHORT = [
    "pretrain.epochs=1",
    "finetune.epochs=1",
    "evaluation={seeds: [0], floors: [mean], min_class_size: 1, splits: [random]}",
    "report.figures=false",
]


def test_shipped_recipes_are_valid(source):
    for name in SHIPPED:
        needs_run = name.endswith(("-encoders", "-zero-shot"))
        recipe = Recipe.load(name, [f"transfer.from={source}"] if needs_run else [])
        assert recipe.description and (recipe.transfer is not None) == needs_run


@pytest.mark.parametrize("name", ["new-york", "synthetic"])
def test_shipped_recipes_run_to_the_end(name, tiny_city, other_city, tmp_path):
    def shipped_run(recipe: str, city: City, *changes: str) -> Run:
        loaded = Recipe.load(f"transfer/{recipe}", [f"city={{prepared: {city.path}}}", *SHORT, *changes])
        return run(loaded, tmp_path / recipe, progress=Progress(quiet=True))

    there = shipped_run(name, tiny_city).path
    for variant in ("encoders", "zero-shot"):
        recipe = f"{'singapore' if name == 'new-york' else 'synthetic-8'}-{variant}"
        result = shipped_run(recipe, other_city, f"transfer.from={there}")
        assert np.isfinite(result.metrics.query("metric in ['mae', 'accuracy']")["value"]).all()
