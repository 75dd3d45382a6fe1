"""A component that returns something else than its base class says ends the run with its name and the fault."""

import numpy as np
import pytest
import torch
from scipy import sparse

import urbankit
from urbankit import hookimpl, registry
from urbankit.fusion.base import Fusion
from urbankit.graph.base import GraphEncoder
from urbankit.heads.base import FittedHead, Head
from urbankit.modalities.features import FeatureEncoder
from urbankit.registry.failure import ComponentError, explained
from urbankit.views.base import View, ViewGraph


class Right(FeatureEncoder):
    """Features of types that are as good as float and int."""

    def features(self, city):
        n = city.n_regions
        return [np.column_stack([np.arange(n) > 3, np.arange(n)]).astype(object), np.arange(n).astype(float)]


class DenseArray(View):
    def build(self, city):
        return np.ones((city.n_regions, city.n_regions))


class Derived(DenseArray):
    """Fails in its own method, beside the class that it derives from."""

    def build(self, city):
        return self.inner()

    def inner(self):
        raise ZeroDivisionError


class RegionShort(View):
    def build(self, city):
        n = city.n_regions - 1
        return ViewGraph(sparse.csr_array((n, n)), np.ones(n, bool))


class Crooked(View):
    """Raises in the class that it fills in, a module of urbankit."""

    def build(self, city):
        return ViewGraph(sparse.csr_array((3, 3)), np.ones(4, bool))


class Features(FeatureEncoder):
    def features(self, city):
        return np.zeros((city.n_regions, 2)), np.arange(city.n_regions)


class LostRow(Features):
    def features(self, city):
        return np.zeros((city.n_regions, 2)), np.arange(city.n_regions - 1)


class OneColumn(Features):
    def features(self, city):
        return np.zeros(city.n_regions), np.arange(city.n_regions)


class Ids(Features):
    def features(self, city):
        return np.zeros((city.n_regions, 2)), city.region_ids


class FromOne(Features):
    def features(self, city):
        return np.zeros((city.n_regions, 2)), np.arange(city.n_regions) + 1


class NameShort(Features):
    def names(self, city):
        return ["only"]


class Values(Features):
    def features(self, city):
        return np.zeros((city.n_regions, 2))


class Narrow(Features):
    def forward(self, batch):
        return batch[:, :1]


class Flat(Head):
    def __init__(self, params, in_dim, out_dim):
        super().__init__(params, in_dim, out_dim)
        self.layer = torch.nn.Linear(in_dim, out_dim)

    def forward(self, embedding):
        return self.layer(embedding)[:, 0]


class Nothing(FittedHead):
    def fit(self, embedding, labels, blocks):
        pass

    def forward(self, embedding):
        return torch.full((len(embedding), self.out_dim), torch.nan)


class First(Fusion):
    def __init__(self, params, dims, dim):
        super().__init__(params, dims, dim)
        self.out_dim = 2 * dim

    def forward(self, vectors, present):
        return vectors[0]


class Bare(GraphEncoder):
    def __init__(self, params, in_dim, engine="auto"):
        super().__init__(params, in_dim, engine)
        self.out_dim = in_dim

    def forward(self, graph, x, generator=None):
        return x


class Plugin:
    @staticmethod
    @hookimpl
    def register_views(register):
        for cls in (DenseArray, Derived, RegionShort, Crooked):
            register(cls.__name__.lower(), f"{__name__}:{cls.__name__}", "faulty")

    @staticmethod
    @hookimpl
    def register_modality_encoders(register):
        for cls in (Right, LostRow, OneColumn, Ids, FromOne, NameShort, Values, Narrow):
            register(cls.__name__.lower(), f"{__name__}:{cls.__name__}", "faulty")

    @staticmethod
    @hookimpl
    def register_heads(register):
        for cls in (Flat, Nothing):
            register(cls.__name__.lower(), f"{__name__}:{cls.__name__}", "faulty")

    @staticmethod
    @hookimpl
    def register_fusions(register):
        register("first", f"{__name__}:First", "faulty")

    @staticmethod
    @hookimpl
    def register_graph_encoders(register):
        register("bare", f"{__name__}:Bare", "faulty")


@pytest.fixture(autouse=True)
def plugin(fresh_registry):
    registry.add_plugin(Plugin, "faulty")


@pytest.mark.parametrize(
    ("section", "name", "fault"),
    [
        ("views", "densearray", "build() returned a ndarray; expected urbankit.views.base.ViewGraph"),
        ("views", "derived", "ZeroDivisionError"),
        ("views", "regionshort", "build() returned a view of 48 regions; the city has 49"),
        ("views", "crooked", "a view of 4 regions has an adjacency of shape (3, 3)"),
        ("modalities", "lostrow", "regions of shape [48] and type int64 for 49 rows of values"),
        ("modalities", "onecolumn", "values of shape [49] and type float64; expected numbers [M, F]"),
        ("modalities", "ids", "for 49 rows of values; expected the row number of a region for each"),
        ("modalities", "fromone", "regions from 1 to 49; the city has 49, counted from 0"),
        ("modalities", "nameshort", "names() returned 1 names; features() has 2 columns"),
        ("modalities", "values", "features() is to return two arrays"),
        ("modalities", "narrow", "forward() returned a Tensor [49, 1]; expected a Tensor [n, 2]"),
        ("head", "flat", "]; expected a Tensor ["),
        ("head", "nothing", "it predicts NaN for 49 of 49 regions"),
        ("fusion", "first", "forward() returned a Tensor [49, 16]; expected a Tensor [n, 32]"),
        ("graph_encoder", "bare", "forward() returned a Tensor; expected urbankit.graph.base.Encoded"),
    ],
)
def test_the_error_of_a_run_names_the_component_and_the_fault(tiny_recipe, tmp_path, section, name, fault):
    tiny_recipe["modalities"] = {"location": tiny_recipe["modalities"]["location"]}
    tiny_recipe["method"]["alignments"] = []
    tiny_recipe["tasks"] = {"co": {}}
    tiny_recipe["evaluation"] |= {"splits": ["random"], "floors": ["mean"]}
    if section in ("views", "modalities"):
        tiny_recipe[section]["mine"] = {"name": name}
    elif section == "head":
        tiny_recipe["tasks"]["co"] = {"head": {"name": name}}
    else:
        tiny_recipe["method"][section] = {"name": name}
    with pytest.raises(Exception) as caught:
        urbankit.run(urbankit.Recipe.load(tiny_recipe), out=tmp_path / "run")
    error = explained(caught.value)
    assert isinstance(error, ComponentError), error
    assert f"'{name}' of plugin 'faulty' (this process)" in str(error)
    assert fault in str(error)


def test_features_of_other_types_of_numbers_are_read(tiny_city):
    city = tiny_city.unlabelled()
    encoder = registry.create("modality_encoder", urbankit.Use(name="right"), city, "mine", 8)
    assert encoder.observations().dtype == np.int64 and encoder.width == 2


def test_nan_of_a_head_is_named_with_few_labels(tiny_recipe, tmp_path):
    tiny_recipe["modalities"] = {"location": tiny_recipe["modalities"]["location"]}
    tiny_recipe["method"]["alignments"] = []
    tiny_recipe["tasks"] = {"land_use": {"head": {"name": "nothing"}}}
    tiny_recipe["evaluation"] |= {"splits": ["few"], "floors": ["mean"], "few": {"labels": [10], "draws": 2}}
    with pytest.raises(ComponentError, match=r"'nothing' of plugin 'faulty' .* it predicts NaN for 98 of 98 regions"):
        urbankit.run(urbankit.Recipe.load(tiny_recipe), out=tmp_path / "run")
