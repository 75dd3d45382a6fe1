"""The baseline vit, which concatenates the features of encoders without pre-training."""

from __future__ import annotations

import pytest
import torch

from urbankit import registry
from urbankit.methods.base import MethodInputs
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress

VIT = {"patch_size": 16, "hidden_size": 16, "layers": 1, "heads": 2}
MODALITIES = {"rsi": Use(name="vit", **VIT), "svi": Use(name="vit", **VIT | {"hidden_size": 8})}


def build(city, **params):
    torch.manual_seed(0)
    return registry.create("method", Use(name="vit", **params), MethodInputs(city, MODALITIES)).eval()


def test_block_is_the_mean_of_the_features_of_a_modality(tiny_city):
    method = build(tiny_city)
    with torch.no_grad():
        embeddings = method(torch.arange(tiny_city.n_regions))
        svi = method.encoders["svi"]
        rows = svi.observations()
        features = svi(svi.load(torch.arange(len(rows)).numpy()))
    assert method.blocks == [16, 8] and embeddings.shape == (tiny_city.n_regions, 24)
    for region in range(tiny_city.n_regions):
        of_region = features[torch.from_numpy(rows == region)]
        expected = of_region.mean(dim=0) if len(of_region) else torch.zeros(8)
        assert torch.allclose(embeddings[region, 16:], expected, atol=1e-5)


def test_embeddings_do_not_depend_on_the_order_of_a_batch(tiny_city):
    method, order = build(tiny_city), torch.tensor([5, 0, 48, 7])
    with torch.no_grad():
        assert torch.allclose(method(order), method(torch.arange(49))[order], atol=1e-5)


def test_features_choose_modalities(tiny_city):
    assert build(tiny_city, features=["svi"]).dim == 8


def test_frozen_encoders_are_computed_once(tiny_city):
    method = build(tiny_city)
    regions = torch.arange(tiny_city.n_regions)
    with torch.no_grad():
        before = method(regions)
        method.freeze(set())
        assert torch.allclose(method(regions), before, atol=1e-5)
    assert method.parts() == {"encoders": []}


def test_parts_cover_all_parameters(tiny_city):
    method = build(tiny_city)
    assert {id(p) for p in method.parameters()} == {id(p) for ps in method.parts().values() for p in ps}


def test_pre_training_is_refused(tiny_city, tmp_path):
    recipe = Recipe.load(
        {
            "name": "pretrained",
            "city": {"prepared": str(tiny_city.path)},
            "modalities": {"rsi": {"name": "vit", **VIT}},
            "method": {"name": "vit"},
            "pretrain": {"epochs": 1},
        }
    )
    with pytest.raises(UserError, match=r"pretrain.epochs: .*epochs: 0"):
        run(recipe, tmp_path / "run", progress=Progress(quiet=True))
    assert not (tmp_path / "run").exists()


def test_errors_name_the_missing_modality(tiny_city):
    cls = registry.get("method", "vit")
    assert cls.check(cls.Params(), set(), set())[0][0] == "name"
    [(key, message)] = cls.check(cls.Params(features=["rsi", "sv"]), {"rsi", "svi"}, set())
    assert key == "features[1]" and "'svi'" in message
    with pytest.raises(UserError, match=r"method.features\[0\]: the city has no data for the modality 'aerial'"):
        build(tiny_city, features=["aerial"])
