"""A run as a model: its folder, and what it embeds and predicts in another city."""

import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from helpers.edited_city import accept_changes
from helpers.transfer_runs import completed, keys_on
from huggingface_hub import ModelCard

import urbankit
from urbankit import City, Model, UrbanEmbedding, UserError
from urbankit.city.manifest import read_manifest, write_manifest
from urbankit.pipeline.model_files import HEADS, MODEL, WEIGHTS
from urbankit.runs.folder import Run
from urbankit.training import checkpoint
from urbankit.utils.files import write_json
from urbankit.utils.ledger import LEDGER, PARTIAL

TASKS = ["co", "population_density", "land_use"]


@pytest.fixture
def copy(model_folder, tmp_path) -> Path:
    """A copy of the model, to spoil."""
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


@pytest.fixture
def copied_city(other_city, tmp_path) -> Path:
    """A copy of the other city, to change."""
    return Path(shutil.copytree(other_city.path, tmp_path / "city"))


def change_manifest(folder: Path, change) -> City:
    manifest = read_manifest(folder)
    change(manifest)
    write_manifest(folder, manifest)
    return City.open(folder)


def without(folder: Path, *layers: str) -> City:
    """The city without the layers whose keys begin so."""

    def change(manifest):
        manifest["parts"] = {key: entry for key, entry in manifest["parts"].items() if not key.startswith(layers)}

    return change_manifest(folder, change)


def test_a_model_of_a_run_and_of_its_folder_predict_the_same(source, model_folder, other_city):
    of_run, of_folder = (Model.open(path).predict(other_city) for path in (source, model_folder))
    pd.testing.assert_frame_equal(pd.DataFrame(of_run), pd.DataFrame(of_folder))
    assert of_run["region_id"].tolist() == other_city.region_ids
    assert (of_run["co_lower"] <= of_run["co"]).all() and (of_run["co"] <= of_run["co_upper"]).all()
    probabilities = of_run.filter(regex="land_use_probability_.").to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (
        set(of_run["co_from"]) == {"labels of synthetic city 1"} or of_run["co_from"].str.startswith("labels of").all()
    )


def test_a_model_holds_no_label_no_region_and_no_path(model_folder, source, tiny_city):
    state, _ = checkpoint.load(model_folder / WEIGHTS)
    assert "bank" not in state
    n = tiny_city.n_regions
    heads, _ = checkpoint.load(model_folder / HEADS)
    assert not [name for name, tensor in heads.items() if n in tensor.shape and not name.endswith("residuals")]
    texts = [(model_folder / name).read_bytes() for name in (MODEL, WEIGHTS, HEADS, "README.md", LEDGER)]
    for word in (str(source.parent), str(tiny_city.path), str(Path.home()), tiny_city.region_ids[0] + '"'):
        assert not [text for text in texts if word.encode() in text]


def test_the_hub_reads_the_card_of_a_model(model_folder):
    card = ModelCard.load(model_folder / "README.md")
    assert card.data.license == "other" and card.data.library_name == "urbankit" and card.data.model_name == "tiny"
    heads, facts = Model.open(model_folder).heads, Model.open(model_folder).facts
    results = {(one.task_type, one.task_name): one.metric_value for one in card.data.eval_results}
    assert results == {
        ("tabular-classification" if head.classes else "tabular-regression", name): pytest.approx(head.score)
        for name, head in heads.items()
    }
    assert {one.dataset_name for one in card.data.eval_results} == {facts["city"]}
    assert "## Licence and attribution" in card.text and card.text.lstrip().startswith("# tiny\n")


def test_embed_of_the_own_city_is_the_run_where_nothing_is_left_out(tiny_city, recipe_on, tmp_path):
    keys = keys_on(tiny_city, recipe_on, tasks={})
    del keys["modalities"]["location"]
    run = completed(keys, tmp_path / "run")
    table = Model.open(run.path).embed(tiny_city, statistics="source")
    np.testing.assert_array_equal(np.stack(table["embedding"]), run.vectors)


def test_no_label_of_the_city_is_read(model_folder, other_city, copied_city):
    before = Model.open(model_folder).predict(other_city)
    unlabelled = without(copied_city, "targets")
    after = Model.open(model_folder).predict(unlabelled)
    for task in TASKS:
        assert before[task].equals(after[task])
        assert f"{task}_truth" in before and f"{task}_truth" not in after


def test_local_modalities_are_left_out_and_named(model_folder, other_city):
    model = Model.open(model_folder)
    assert set(model.facts["left_out"]) == {"location"}
    notes = model.embed(other_city).attrs["notes"]
    assert any(note.startswith("not carried over: modality location: equal coordinates") for note in notes)


def test_all_that_the_city_lacks_is_named_at_once(model_folder, copied_city):
    city = without(copied_city, "poi", "flows", "images.svi", "captions.svi")
    with pytest.raises(UserError) as raised:
        Model.open(model_folder).embed(city)
    messages = str(raised.value)
    for key in ("modalities.svi", "modalities.poi_counts", "views.poi", "views.mobility"):
        assert f"{key}: the model reads it, but the city has no" in messages
    assert "modalities.rsi:" not in messages


def test_what_the_city_lacks_may_be_allowed(model_folder, other_city, copied_city, cli, tmp_path):
    whole = Model.open(model_folder).predict(other_city)
    city = without(copied_city, "poi", "flows")
    table = Model.open(model_folder).predict(city, allow_missing=True)
    notes = [note for note in table.attrs["notes"] if note.startswith("without the ")]
    assert len(notes) == 3 and any(
        note.startswith("without the view mobility, which the model reads: ") for note in notes
    )
    assert np.isfinite(table["co"]).all()
    assert np.corrcoef(table["co"], whole["co"])[0, 1] > 0.3
    shown = cli("predict", model_folder, "--city", city.path, status=2).stderr
    assert "the city has no flows; --allow-missing goes on without it" in shown
    cli("embed", model_folder, city.path, "--allow-missing", "--out", tmp_path / "partly.parquet")
    assert len(pd.read_parquet(tmp_path / "partly.parquet")) == city.n_regions


def test_a_city_with_nothing_that_the_model_reads_is_refused(model_folder, copied_city):
    parts = read_manifest(copied_city)["parts"]
    parts = [name for name in parts if not name.startswith(("regions", "targets"))]
    with pytest.raises(UserError, match="the model reads it, but"):
        Model.open(model_folder).embed(without(copied_city, *parts), allow_missing=True)


def test_categories_are_matched_by_name_however_they_are_spelled(model_folder, other_city, copied_city):
    before = Model.open(model_folder).embed(other_city)

    def respell(manifest):
        entry = manifest["parts"]["poi"]
        entry["categories"] = [name.upper().replace(" ", "_") for name in entry["categories"]]

    path = copied_city / "poi.parquet"
    table = pd.read_parquet(path)
    table.assign(category=table["category"].str.upper().str.replace(" ", "_")).to_parquet(path)
    accept_changes(copied_city)
    after = Model.open(model_folder).embed(change_manifest(copied_city, respell))
    np.testing.assert_allclose(np.stack(before["embedding"]), np.stack(after["embedding"]), atol=1e-5)


def test_bands_are_matched_by_name(model_folder, other_city, copied_city):
    before = Model.open(model_folder).embed(other_city)
    images = other_city.images("rsi")
    turned = other_city.with_bands({"rsi": [2, 0, 1]})
    assert turned.images("rsi").band_names == [images.band_names[i] for i in (2, 0, 1)]
    after = Model.open(model_folder).embed(turned)
    np.testing.assert_array_equal(np.stack(before["embedding"]), np.stack(after["embedding"]))
    assert any("bands are matched by name" in note for note in after.attrs["notes"])
    fewer = other_city.with_bands({"rsi": [0, 1]})
    with pytest.raises(UserError, match=r"images\.rsi: its bands are not those of the model"):
        Model.open(model_folder).embed(fewer)


def test_a_target_in_another_unit_is_refused(model_folder, copied_city):
    city = change_manifest(copied_city, lambda manifest: manifest["spec"]["targets"]["co"].update(unit="ppb"))
    with pytest.raises(
        UserError, match=r"targets\.co: it is a regression in .* in the city of the model and .* in ppb"
    ):
        Model.open(model_folder).predict(city)
    assert "land_use" in Model.open(model_folder).predict(city, tasks="land_use")


def test_classes_that_the_model_lacks_are_noted(model_folder, copied_city):
    path = copied_city / "targets/land_use.parquet"
    table = pd.read_parquet(path)
    table["value"] = table["value"].where(table.index % 2 == 0, "harbour")
    table.to_parquet(path)
    accept_changes(copied_city)
    table = Model.open(model_folder).predict(City.open(copied_city))
    assert any("never predicted: harbour" in note for note in table.attrs["notes"])
    assert "harbour" in set(table["land_use_truth"]) and "harbour" not in set(table["land_use"])


def test_a_city_of_one_region(model_folder, other_city, tmp_path):
    folder = Path(shutil.copytree(other_city.path.parent, tmp_path / "sources"))
    regions = gpd.read_file(folder / "regions.gpkg")
    (folder / "regions.gpkg").unlink()
    regions[:1].to_file(folder / "regions.gpkg")
    trips = pd.read_parquet(folder / "trips.parquet")
    ends = {"destination_lon": trips["origin_lon"], "destination_lat": trips["origin_lat"]}
    trips.assign(**ends).to_parquet(folder / "trips.parquet")
    city = City.prepare(folder / "city.yaml", out=tmp_path / "one")
    model = Model.open(model_folder)
    with pytest.raises(UserError, match="one region has no mean and standard deviation of its own"):
        model.predict(city)
    table = model.predict(city, statistics="source")
    assert len(table) == 1 and np.isfinite(table["co"]).all()


@pytest.mark.parametrize("name", [MODEL, WEIGHTS, HEADS])
def test_a_damaged_or_missing_file_is_refused(name, copy):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"{name}: is damaged"):
        Model.open(copy)
    (copy / name).write_bytes(content.replace(b"0", b"1", 1))
    with pytest.raises(UserError, match=f"{name}: is damaged"):
        Model.open(copy)
    if name != MODEL:
        (copy / name).unlink()
        with pytest.raises(UserError, match=f"{name}: is missing"):
            Model.open(copy)


def test_another_format_is_refused(copy):
    facts = json.loads((copy / MODEL).read_text())
    write_json(copy / MODEL, facts | {"format": 99, "urbankit": "9.9"})
    with pytest.raises(UserError, match=r"has the format 99; .* reads 1\. Use the version that wrote it \(9\.9\)"):
        Model.open(copy)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("method", None, "method: Input should be a valid string"),
        ("bands", {"rsi": [["red"]]}, r"bands\.rsi\.0: Input should be a valid string"),
        ("modalities", "poi", "modalities: Input should be a valid list"),
        ("recipe", [], "recipe: Input should be a valid dictionary"),
    ],
)
def test_a_description_of_another_form_is_refused(copy, key, value, message):
    facts = json.loads((copy / MODEL).read_text())
    (copy / MODEL).write_text(json.dumps(facts | {key: value}))
    with pytest.raises(UserError, match=rf"model\.json: is not the description of a model of urbankit: {message}"):
        Model.open(copy)


def test_a_recipe_with_a_width_below_one_is_refused(copy, other_city):
    facts = json.loads((copy / MODEL).read_text())
    facts["recipe"]["method"]["subgraph_encoder"]["hidden"] = [-1]
    write_json(copy / MODEL, facts)
    with pytest.raises(UserError, match=r"hidden\.0: Input should be greater than or equal to 1"):
        Model.open(copy).embed(other_city)


def test_folders_that_are_no_models_are_refused(tmp_path, other_city, tiny_city, cheap_recipe):
    for folder in (tmp_path, tmp_path / "missing", other_city.path):
        with pytest.raises(UserError, match="is neither a model nor a run"):
            Model.open(folder)
    completed(cheap_recipe | {"name": "cheap", "tasks": {}}, tmp_path / "coordinates")
    with pytest.raises(UserError, match="no modality of the run carries over"):
        Model.open(tmp_path / "coordinates")


def test_wrong_arguments_are_refused(model_folder, other_city):
    model = Model.open(model_folder)
    with pytest.raises(UserError, match="--interval: "):
        model.predict(other_city, interval=1.5)
    with pytest.raises(UserError, match="--task: the model has no task 'cu'"):
        model.predict(other_city, tasks="cu")
    notes = model.predict(other_city, interval=0.999, tasks="co").attrs["notes"]
    assert any("too few for an interval of level 0.999" in note for note in notes)


def test_the_commands(cli, copy, source, other_city, tmp_path):
    model_folder = copy
    cli("embed", model_folder, other_city.path, "--out", tmp_path / "e.parquet")
    embeddings, of_run = gpd.read_parquet(tmp_path / "e.parquet"), Run.open(source).embeddings
    assert (
        list(embeddings.columns) == list(of_run.columns) and embeddings["region_id"].tolist() == other_city.region_ids
    )
    result = cli("predict", model_folder, "--city", other_city.path, "--task", "co", "--out", tmp_path / "p.gpkg")
    assert "they may not hold in" in result.stdout
    assert len(gpd.read_file(tmp_path / "p.gpkg")) == other_city.n_regions
    assert "exists" in cli("embed", model_folder, other_city.path, "--out", tmp_path / "e.parquet", status=2).stderr
    assert "--city" in cli("predict", model_folder, status=2).stderr
    assert (
        "--split goes without --city"
        in cli("predict", source, "--city", other_city.path, "--split", "random", status=2).stderr
    )
    again = cli("export", source, "--to", "model", "--out", model_folder)
    assert "not carried over: modality location" in again.stdout
    # What a killed export leaves.
    (model_folder / MODEL).unlink()
    (model_folder / f"{PARTIAL}weights").touch()
    cli("export", source, "--to", "model", "--out", model_folder)
    assert (model_folder / MODEL).is_file() and not list(model_folder.glob(f"{PARTIAL}*"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    assert "holds other files" in cli("export", source, "--to", "model", "--out", tmp_path / "mine", status=2).stderr
    (model_folder / "README.md").write_text("changed")
    assert "changed since" in cli("export", source, "--to", "model", "--out", model_folder, status=2).stderr


def test_run_predict_takes_a_city(source, model_folder, other_city):
    run = urbankit.Run.open(source)
    table = run.predict(city=other_city.path, interval=0.8, tasks="co")
    expected = Model.open(model_folder).predict(other_city, 0.8, tasks="co")
    assert table["co_upper"].equals(expected["co_upper"])
    with pytest.raises(UserError, match="without `city`"):
        run.predict(other_city, split="random")


def test_urban_embedding_takes_a_model_and_a_city(model_folder, other_city):
    expected = np.stack(Model.open(model_folder).embed(other_city)["embedding"])
    ids = np.array(other_city.region_ids[:5], dtype=object)[:, None]
    np.testing.assert_array_equal(UrbanEmbedding(model_folder, city=other_city).fit_transform(ids), expected[:5])
    with pytest.raises(UserError, match="name its city"):
        UrbanEmbedding(model_folder).fit(ids)


def test_source_names_can_be_set(model_folder, other_city, copied_city):
    """A city whose images have another name: `--set` says so."""

    def rename(manifest):
        entry = manifest["parts"].pop("images.rsi")
        manifest["parts"]["images.overhead"] = entry

    city = change_manifest(copied_city, rename)
    with pytest.raises(UserError, match=r"modalities\.rsi: the model reads it, but"):
        Model.open(model_folder).embed(city)
    sets = ("modalities.rsi.source=overhead", "modalities.rsi_stats.source=overhead")
    table = Model.open(model_folder).embed(city, sets=sets)
    expected = np.stack(Model.open(model_folder).embed(other_city)["embedding"])
    np.testing.assert_allclose(np.stack(table["embedding"]), expected, atol=1e-5)
    with pytest.raises(UserError, match="sourse"):
        Model.open(model_folder).embed(city, sets=("modalities.rsi.sourse=overhead",))
