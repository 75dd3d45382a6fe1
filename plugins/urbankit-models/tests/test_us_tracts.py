"""The model `us-tracts`: the checks of every model, and predictions for regions of another city."""

import numpy as np
import pytest
from urbankit_models import plugin

from urbankit import Model, registry, testing

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


def test_it_passes_the_checks_of_a_model():
    testing.check_component("model", "us-tracts")


def test_it_embeds_and_predicts_another_city_by_name(tiny_city, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Model.open("us-tracts")
    assert list(model.heads) == TASKS
    table = model.predict(tiny_city)
    assert table["region_id"].tolist() == tiny_city.region_ids
    assert np.isfinite(table[TASKS].to_numpy()).all()
