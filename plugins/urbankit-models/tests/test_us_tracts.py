"""The models of US tracts: the checks of every model, and predictions for regions of another city."""

import shutil

import numpy as np
import pytest
from urbankit_models import plugin

from urbankit import City, Model, UserError, registry, testing
from urbankit.city.manifest import read_manifest, write_manifest

TASKS = [
    "population_density",
    "median_age",
    "under_15",
    "age_20_34",
    "bachelors_share",
    "poverty",
    "no_vehicle",
    "household_size",
]


@pytest.fixture(autouse=True)
def _registered():
    if "us-tracts" not in registry.names("model"):
        registry.add_plugin(plugin, "models")


MODELS = ["us-tracts", "us-tracts-no-flows"]


@pytest.mark.parametrize("name", MODELS)
def test_it_passes_the_checks_of_a_model(name):
    testing.check_component("model", name)


@pytest.mark.parametrize("name", MODELS)
def test_it_embeds_and_predicts_another_city_by_name(name, tiny_city, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Model.open(name)
    assert list(model.heads) == TASKS
    table = model.predict(tiny_city)
    assert table["region_id"].tolist() == tiny_city.region_ids
    assert np.isfinite(table[TASKS].to_numpy()).all()


def test_a_city_without_flows_has_a_model(tiny_city, tmp_path):
    path = tmp_path / "city"
    shutil.copytree(tiny_city.path, path)
    manifest = read_manifest(path)
    del manifest["parts"]["flows"]
    write_manifest(path, manifest)
    city = City.open(path)
    with pytest.raises(UserError, match="the city has no flows"):
        Model.open("us-tracts").predict(city)
    assert np.isfinite(Model.open("us-tracts-no-flows").predict(city)[TASKS].to_numpy()).all()
