import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from urbankit import hookimpl, registry
from urbankit.city.raw_features import RawFeatures, RawSource, principal_components
from urbankit.evaluation.raw_features import build_raw_features, unread_inputs
from urbankit.modalities.base import ModalityEncoder
from urbankit.modalities.features import FeatureEncoder
from urbankit.registry.component import Use
from urbankit.views.base import View


class SmallCity:
    """Twelve regions with every source; what the reader API of a city promises, from memory."""

    def unlabelled(self):
        return self

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.n_regions, self.content_hash, self.members = 12, "small", {"small": self}
        self.has_geometry, self.xy = True, rng.uniform(0, 1000, (12, 2))
        self.area_km2 = rng.uniform(0.1, 2, 12)
        self.image_sources, self.caption_sources, self.tables = ["rsi", "svi"], ["rsi"], ["census"]
        self.pixels = rng.normal(size=(14, 2, 8, 8)).astype(np.float32)
        self.pixels[0, 0, :4] = np.nan
        self.pixels[1] = np.nan
        self.image_region = np.array([0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10])
        self.counts = rng.poisson(2, (12, 3)).astype(float)
        self.matrix = rng.poisson(3, (12, 12)).astype(float)
        self.poi_present = np.arange(12) != 5
        self.census = np.arange(24.0).reshape(12, 2)

    def images(self, name: str) -> SimpleNamespace:
        def read(rows):
            return self.pixels[rows]

        return SimpleNamespace(region=self.image_region, bands=2, size=(8, 8), read=read, content_hash=name)

    def captions(self, source: str) -> pd.DataFrame:
        texts = ["a green park", "dense towers", "park by the river"]
        return pd.DataFrame({"region": [0, 0, 3], "image": [-1, -1, -1], "text": texts})

    def poi_counts(self):
        return sparse.csr_array(self.counts), ["shop", "school", "office"]

    def flows(self):
        return sparse.csr_array(self.matrix)

    def table(self, name: str):
        return self.census, ["rooms", "rent"]


def recipe(modalities: dict | None = None, views: dict | None = None) -> SimpleNamespace:
    parts = ({k: Use(**v) for k, v in (part or {}).items()} for part in (modalities, views))
    return SimpleNamespace(**dict(zip(("modalities", "views"), parts, strict=True)))


def column(raw, name: str) -> np.ndarray:
    return raw.values[:, raw.names.index(name)]


def test_recipe_without_sources_gives_location_and_area() -> None:
    city = SmallCity()
    raw = build_raw_features(city, recipe({"location": {"name": "geoclip"}}))
    assert raw.names == ("x", "y", "log area")
    np.testing.assert_allclose(raw.values[:, 2], np.log(city.area_km2))


def test_points_of_interest_are_read_for_views_and_modalities_also_in_another_form() -> None:
    city = SmallCity()
    for used in (recipe(views={"function": {"name": "poi"}}), recipe({"poi": {"name": "poi_counts"}})):
        raw = build_raw_features(city, used)
        present = city.poi_present
        np.testing.assert_allclose(column(raw, "poi:school")[present], np.log1p(city.counts[present, 1]))
        assert np.isnan(column(raw, "poi:total")[5])
    raw = build_raw_features(
        city, recipe({"poi": {"name": "poi_counts"}, "root": {"name": "poi_counts", "form": "root"}})
    )
    np.testing.assert_allclose(column(raw, "root feature 2")[present], np.sqrt(city.counts[present, 1]))
    assert not any(name.startswith("poi feature") for name in raw.names)


def test_band_statistics_are_over_valid_pixels_and_averaged_over_a_regions_images() -> None:
    city = SmallCity()
    raw = build_raw_features(city, recipe({"rsi": {"name": "vit"}}))
    assert not any(name.startswith("svi") for name in raw.names)
    of_region_2 = city.pixels[[2, 3, 4], 1].astype(float)
    expected = {
        "mean": np.mean([image.mean() for image in of_region_2]),
        "std": np.mean([image.std() for image in of_region_2]),
        "max": np.mean([image.max() for image in of_region_2]),
        "centre mean": np.mean([image[2:6, 2:6].mean() for image in of_region_2]),
    }
    for name, value in expected.items():
        assert column(raw, f"rsi band 2 {name}")[2] == pytest.approx(value, rel=1e-5)
    assert column(raw, "rsi band 1 mean")[0] == pytest.approx(np.nanmean(city.pixels[0, 0].astype(float)), rel=1e-5)
    without = np.isnan(column(raw, "rsi band 1 min"))
    assert np.flatnonzero(without).tolist() == [1, 11]


def test_source_parameter_selects_the_image_source_or_table() -> None:
    raw = build_raw_features(
        SmallCity(), recipe({"sky": {"name": "image_stats", "source": "svi"}, "census": {"name": "table"}})
    )
    assert "svi band 1 mean" in raw.names and "rsi band 1 mean" not in raw.names
    np.testing.assert_array_equal(column(raw, "census: rent"), np.arange(1.0, 24, 2))


def test_flows_become_principal_components_and_totals() -> None:
    city = SmallCity()
    raw = build_raw_features(city, recipe(views={"mobility": {"name": "mobility"}}))
    np.testing.assert_allclose(column(raw, "flow in total"), np.log1p(city.matrix.sum(axis=0)))
    np.testing.assert_allclose(column(raw, "flow within"), np.log1p(np.diag(city.matrix)))
    logs = np.log1p(city.matrix)
    u, s, _ = np.linalg.svd(logs - logs.mean(axis=0))
    np.testing.assert_allclose(np.abs(column(raw, "flow out component 1")), np.abs(u[:, 0] * s[0]), atol=1e-6)


def test_principal_components_of_an_empty_or_tiny_matrix_are_finite() -> None:
    assert principal_components(sparse.csr_array((5, 5)), 40).shape == (5, 0)
    assert principal_components(sparse.csr_array(np.ones((1, 1))), 40).shape == (1, 0)


@pytest.mark.parametrize("encoder", ["text", "words"])
def test_captions_become_tf_idf_and_are_missing_for_regions_without_captions(encoder: str) -> None:
    raw = build_raw_features(SmallCity(), recipe({"told": {"name": encoder}}))
    park = column(raw, "rsi caption 'park'")
    assert park[0] > 0 and park[3] > 0
    assert np.isnan(park[[1, 2, *range(4, 12)]]).all()
    assert "rsi caption 'by'" not in raw.names


def test_captions_of_the_recipes_source_are_read_without_its_images() -> None:
    city = SmallCity()
    city.caption_sources = ["rsi", "svi"]
    one = recipe({"text": {"name": "text", "source": "svi"}, "words": {"name": "words", "source": "svi"}})
    assert {name.split()[0] for name in build_raw_features(city, one).names if "caption" in name} == {"svi"}
    assert not any("band" in name for name in build_raw_features(city, one).names)
    both = recipe({"text": {"name": "text"}, "words": {"name": "words", "source": "svi"}})
    assert {name.split()[0] for name in build_raw_features(city, both).names if "caption" in name} == {"rsi", "svi"}


class Heights(FeatureEncoder):
    """Storeys of a region's buildings: an encoder of numbers, which says nothing of floors."""

    @classmethod
    def requires(cls, params, city, modality):
        return None if city.tables else "the city has no tables"

    def features(self, city):
        return np.array([[3.0], [5.0], [40.0]]), np.array([0, 0, 7])


class Sounds(ModalityEncoder):
    """Recordings: an encoder with weights of its own, which does not say what floors can read."""

    def observations(self, of=None): ...
    def load(self, rows, of=None): ...
    def forward(self, batch): ...


class Tram(View):
    """Stops of a region: a view that says what it reads."""

    def build(self, city): ...

    def raw_features(self, city, name):
        def stops() -> RawFeatures:
            return RawFeatures(np.arange(12.0)[:, None], (f"{name} stops",))

        return [RawSource("tram stops", stops)]


@pytest.fixture
def plugin(monkeypatch):
    module = SimpleNamespace(Heights=Heights, Sounds=Sounds, Tram=Tram)
    monkeypatch.setitem(sys.modules, "floors_plugin", module)

    def encoders(register):
        register("heights", "floors_plugin:Heights")
        register("sounds", "floors_plugin:Sounds")

    views = hookimpl(lambda register: register("tram", "floors_plugin:Tram"))
    registry.add_plugin(
        SimpleNamespace(register_modality_encoders=hookimpl(encoders), register_views=views), "floors_plugin"
    )
    yield
    registry.reload()


def test_raw_features_include_those_of_plugin_encoders_and_views(plugin) -> None:
    used = recipe({"storeys": {"name": "heights"}}, {"tram": {"name": "tram"}, "again": {"name": "tram"}})
    raw = build_raw_features(SmallCity(), used)
    assert raw.names == ("x", "y", "log area", "storeys feature 1", "tram stops")
    assert column(raw, "storeys feature 1")[[0, 7]].tolist() == [4.0, 40.0]
    assert np.isnan(column(raw, "storeys feature 1")).sum() == 10


def test_components_without_raw_features_are_named(plugin) -> None:
    used = recipe({"noise": {"name": "sounds"}, "storeys": {"name": "heights"}}, {"tram": {"name": "tram"}})
    assert unread_inputs(SmallCity(), used) == ["modality noise"]
    assert build_raw_features(SmallCity(), recipe({"noise": {"name": "sounds"}})).names == ("x", "y", "log area")
