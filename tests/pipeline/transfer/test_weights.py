"""Transfer of weights from a run on another city: what is loaded, what is initialised, and mismatches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.transfer_runs import Keys, completed, keys_on

from urbankit import registry
from urbankit.city.city import City
from urbankit.pipeline.transfer.source import Source
from urbankit.pipeline.transfer.weights import transfer_weights
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import method_inputs
from urbankit.training import checkpoint
from urbankit.utils.errors import UserError


def built(keys: Keys):
    """The recipe, its inputs and a fresh method, as a run makes them."""
    recipe = Recipe.load(keys)
    inputs, _ = method_inputs(recipe, City.open(recipe.city.prepared))
    torch.manual_seed(recipe.seed)
    return recipe, inputs, registry.create("method", recipe.method, inputs)


def taken_over(keys: Keys, source: Path):
    recipe, inputs, method = built(keys)
    transfer_weights(method, inputs, recipe, Source(source))
    return method


def test_graph_new_copies_the_encoders_and_initialises_the_rest(new, source):
    fresh, method = built(new)[2].state_dict(), taken_over(new, source).state_dict()
    source_weights = checkpoint.load(source / "checkpoints/best.safetensors")[0]
    bound = ("location.centre", "location.std")
    for name, value in method.items():
        encoder = name.startswith("channels.encoders.") and not name.endswith(bound)
        if name.endswith("encoders.poi_counts._extra_state"):
            continue
        assert torch.equal(value, (source_weights if encoder else fresh)[name]), name
    trained = [name for name in fresh if name.endswith("encoders.rsi.projection.weight")]
    assert trained and not any(torch.equal(fresh[name], method[name]) for name in trained)


def test_graph_keep_copies_all_weights_except_those_of_single_regions(keep, source):
    method = taken_over(keep, source)
    source_weights = checkpoint.load(source / "checkpoints/best.safetensors")[0]
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, source_weights[name])}
    assert changed == {"bank", "channels.encoders.location.centre", "channels.encoders.location.std"}


def test_blocks_of_the_embedding_keep_the_sources_size(tiny_city, other_city, recipe_on, tmp_path):
    keys = keys_on(tiny_city, recipe_on, tasks={})
    keys["method"]["block_scale"] = "unit"
    completed(keys, tmp_path / "source")
    keys |= {
        "city": {"prepared": str(other_city.path)},
        "transfer": {"from": str(tmp_path / "source"), "graph": "keep"},
    }
    state = checkpoint.load(tmp_path / "source/checkpoints/best.safetensors")[0]
    method = taken_over(keys, tmp_path / "source")
    assert torch.equal(method.scale, state["scale"]) and torch.equal(method.shift, state["shift"])


def test_only_the_named_modalities_are_copied(new, source):
    new["transfer"]["modalities"] = ["text"]
    fresh, method = built(new)[2].state_dict(), taken_over(new, source).state_dict()
    changed = {name.split(".")[2] for name, value in method.items() if not torch.equal(value, fresh[name])}
    assert changed == {"text"}


def test_tokenizer_of_the_source_run_is_loaded(new, source, tiny_city):
    from urbankit.modalities.pretrained.tokenizer import PAD, encode_texts, train_tokenizer

    encoder = taken_over(new, source).channels.encoders["text"]
    learned = train_tokenizer(tiny_city.captions()["text"].unique().tolist(), 300)
    assert encoder._learned.get_vocab() == learned.get_vocab()
    batch = encoder.load(np.arange(5))
    texts = encoder._captions["text"][:5].tolist()
    ids, lengths = encode_texts(learned, texts, 77, PAD)
    assert batch["length"].tolist() == lengths.tolist()
    assert batch["ids"][0, : lengths[0]].tolist() == ids[0, : lengths[0]].tolist()


@pytest.mark.parametrize("statistics", ["source", "own"])
def test_statistics_come_from_the_source_run_or_the_city(statistics, new, source, tiny_city, other_city):
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


@pytest.mark.parametrize(
    ("graph", "change", "message"),
    [
        (
            "new",
            lambda k: k["method"].update(dim=8),
            r"modalities\.rsi: .*\[16, 16\] in the source city and \[8, 16\] in this one",
        ),
        (
            "new",
            lambda k: k["modalities"]["svi"].update(heads=4),
            r"modalities\.svi: .*heads is 2 in the source run and 4",
        ),
        (
            "new",
            lambda k: k["modalities"].update(rsi={"name": "image_stats"}),
            r"modalities\.rsi: .*vit in the source run",
        ),
        ("keep", lambda k: k["method"].update(walks=2), r"method\.walks: is 4 in the source run and 2 in this recipe"),
        (
            "keep",
            lambda k: k["views"].pop("poi"),
            r"views\.poi: the source run has it, but this city or recipe does not",
        ),
        ("keep", lambda k: k["modalities"].pop("svi"), r"modalities\.svi: the source run has it, but"),
        (
            "keep",
            lambda k: k["views"].update(near={"name": "distance"}),
            r"views\.near: the source run has no such view",
        ),
        (
            "keep",
            lambda k: k["views"].update(poi={"name": "distance"}),
            r"views\.poi: the view is poi in the source run",
        ),
        ("keep", lambda k: k["modalities"].update(shape={"name": "shape"}), r"modalities\.shape: .*no such modality"),
        ("keep", lambda k: k["tasks"].update(pm25={}), r"tasks\.pm25: the source run has no task of this name"),
        (
            "keep",
            lambda k: k.update(views=dict(reversed(k["views"].items()))),
            "views: the source run has them in another order",
        ),
        (
            "keep",
            lambda k: k.update(modalities=dict(reversed(k["modalities"].items()))),
            "modalities: the source run has them in another order",
        ),
    ],
)
def test_transfer_refuses_mismatches_and_names_the_key(graph, change, message, new, tmp_path):
    new["transfer"]["graph"] = graph
    change(new)
    with pytest.raises(UserError, match=message):
        completed(new, tmp_path / "run")


def test_parameters_of_views_that_differ_are_noted(keep, source):
    keep["views"]["poi"]["top_k"] = 3
    recipe, inputs, method = built(keep)
    notes = transfer_weights(method, inputs, recipe, Source(source))
    assert "transfer: view poi: top_k is None in the source run and 3 in this recipe" in notes


def test_transfer_refuses_features_without_statistics(new, copied, tmp_path):
    best = copied / "checkpoints/best.safetensors"
    tensors, facts = checkpoint.load(best)
    selected = {name: value for name, value in tensors.items() if not name.endswith("poi_counts._extra_state")}
    checkpoint.save(best, selected, facts)
    new["transfer"]["from"] = str(copied)
    with pytest.raises(UserError, match=r"modalities\.poi_counts: .*lack the statistics of its features"):
        completed(new, tmp_path / "run")


def test_transfer_reports_all_mismatches_in_one_error(new, tmp_path):
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
    assert sum("is initialised at random" in note for note in notes) == 2
