"""What `urbankit.testing` says of components that break a promise: whose, what is expected, what to change."""

import importlib
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from pydantic import Field
from torch import nn

import urbankit
from urbankit import hookimpl, registry, testing
from urbankit.fusion.base import Fusion
from urbankit.graph.base import Encoded, GraphEncoder
from urbankit.graph.subgraph import SubgraphSampler
from urbankit.heads.base import Head
from urbankit.methods.base import Method
from urbankit.methods.pair_weights import PairWeight
from urbankit.modalities.features import FeatureEncoder
from urbankit.testing.city import LACKS, N, shuffled_city, tiny_city
from urbankit.views.base import View, ViewGraph

Register = Callable[[str, type], str]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Registers a class and gives what the checks say of it."""
    module = types.ModuleType("faulty")
    monkeypatch.setitem(sys.modules, "faulty", module)

    def check(kind: str, cls: type, **params: object) -> str:
        module.Faulty = cls
        hook = hookimpl(lambda register: register("faulty", "faulty:Faulty", "has a fault"))
        registry.add_plugin(types.SimpleNamespace(**{f"register_{kind}s": hook}), "mine")
        with pytest.raises(testing.ConformanceError) as caught:
            testing.check_component(kind, "faulty", params)
        message = str(caught.value)
        assert message.startswith(f"{kind} 'faulty' (this process, faulty:Faulty) does not conform:")
        return message

    yield check
    registry.reload()


def ring(n: int) -> scipy.sparse.csr_array:
    i = np.arange(n)
    return scipy.sparse.csr_array((np.ones(n, np.float32), (i, (i + 1) % n)), shape=(n, n))


class InTableOrder(View):
    """Each region with the next one of the table."""

    def build(self, city):
        return ViewGraph(ring(city.n_regions), np.ones(city.n_regions, dtype=bool))


class NearestInTableOrder(View):
    """Each region with its three nearest, of equals those that come first."""

    def build(self, city):
        apart = np.linalg.norm(city.xy[:, None] - city.xy[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        nearest = np.argsort(apart, axis=1, kind="stable")[:, :3]
        entries = (np.ones(nearest.size), (np.repeat(np.arange(city.n_regions), 3), nearest.ravel()))
        return ViewGraph(scipy.sparse.csr_array(entries, shape=apart.shape), np.ones(city.n_regions, dtype=bool))


class TooSmall(View):
    """Forgets a region."""

    def build(self, city):
        return ViewGraph(ring(city.n_regions - 1), np.ones(city.n_regions - 1, dtype=bool))


class Raises(View):
    """Divides by nothing."""

    def build(self, city):
        return 1 / 0


class Random(View):
    """Is another one each time."""

    def build(self, city):
        n = city.n_regions
        return ViewGraph(ring(n) * np.random.default_rng().random(), np.ones(n, dtype=bool))


class Bare(View):
    class Params(urbankit.Params):
        k: int = Field(3, description="Neighbours.")

    build = InTableOrder.build


class Rows(FeatureEncoder):
    """The number of the row."""

    def features(self, city):
        return np.arange(city.n_regions, dtype=float)[:, None], np.arange(city.n_regions)


class ReadsLabels(FeatureEncoder):
    """The target itself."""

    def features(self, city):
        return city.target("pm25").values[:, None], np.arange(city.n_regions)


class LinksEqualLabels(View):
    """Joins regions of one class."""

    def build(self, city):
        use = city.target("land_use").values
        return ViewGraph(scipy.sparse.csr_array(use[:, None] == use[None]), np.ones(city.n_regions, dtype=bool))


class Unseeded(Rows):
    """Features that are drawn anew."""

    def features(self, city):
        return np.random.default_rng().normal(size=(city.n_regions, 2)), np.arange(city.n_regions)


class Detached(GraphEncoder):
    """Learns nothing."""

    def __init__(self, params, in_dim, engine="auto"):
        super().__init__(params, in_dim, engine)
        self.out_dim = 4
        self.layer = nn.Linear(in_dim, 4)

    def forward(self, graph, x, generator=None):
        return Encoded(self.layer(x).detach())


class Unmasked(Fusion):
    """Lets absent vectors in."""

    def __init__(self, params, dims, dim):
        super().__init__(params, dims, dim)
        self.out_dim = dim

    def forward(self, vectors, present):
        return torch.stack(list(vectors)).sum(dim=0)


class Wide(Unmasked):
    """Says another width than it has."""

    def __init__(self, params, dims, dim):
        super().__init__(params, dims, dim)
        self.out_dim = 2 * dim


class Idle(Head):
    """Has a layer that it does not use."""

    def __init__(self, params, in_dim, out_dim):
        super().__init__(params, in_dim, out_dim)
        self.layer, self.spare = nn.Linear(in_dim, out_dim), nn.Linear(3, 3)

    def forward(self, embedding):
        return self.layer(embedding)


class Heavy(PairWeight):
    """Weighs everything twice, with a gradient."""

    def forward(self, a, b):
        return (a * b).sum(dim=1) * 0 + 2


class Nowhere(SubgraphSampler):
    """Gives no subgraphs."""

    def sample(self, graph, weight, roots, generator=None):
        return roots


class Hidden(Method):
    """Does not name its parameters."""

    dim = 3

    def __init__(self, params, inputs):
        super().__init__(params, inputs)
        self.table = nn.Embedding(inputs.n_regions, 3)

    def forward(self, regions):
        return self.table(regions)

    def loss(self, regions):
        return {"total": self(regions).square().mean()}

    def parts(self):
        return {}


@pytest.mark.parametrize(
    ("kind", "cls", "expected"),
    [
        ("view", InTableOrder, ["weights change with the order of the regions", "not from their row numbers"]),
        (
            "view",
            NearestInTableOrder,
            ["on a grid, ", "weights change with the order of the regions", "urbankit.views.base.location_order(city)"],
        ),
        ("view", TooSmall, ["a view of 19 regions; expected the city's 20"]),
        ("view", Raises, ["it raises ZeroDivisionError: division by zero", "test_conformance.py:"]),
        ("view", LinksEqualLabels, ["reads the target 'land_use'. Its labels would leak into the embedding"]),
        ("modality_encoder", ReadsLabels, ["reads the target 'pm25'. Its labels would leak into the embedding"]),
        ("view", Random, ["two builds differ; draw random numbers from a generator with a fixed seed"]),
        (
            "view",
            Bare,
            ["no docstring", "'k' is described as 'Neighbours.'", "'k' is a number without bounds; give its"],
        ),
        ("modality_encoder", Rows, ["the vectors change with the order of the regions"]),
        ("modality_encoder", Unseeded, ["_extra_state of two new components with one seed differ"]),
        ("graph_encoder", Detached, ["no gradient reaches its parameters; compute in torch, without detach()"]),
        ("fusion", Wide, ["forward() returned a Tensor [5, 6]; expected a Tensor [n, 12]"]),
        ("fusion", Unmasked, ["masked_fill(~present"]),
        ("head", Idle, ["no gradient reaches spare.weight, spare.bias; use it in the output, freeze it"]),
        ("pair_weight", Heavy, ["the weights have a gradient", "the weights are 2 on average"]),
        ("subgraph", Nowhere, ["sample() gives Tensor; expected urbankit.graph.subgraph.Subgraphs"]),
        ("method", Hidden, ["parts() leaves out table.weight, which are then never updated", "freeze() of all parts"]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_each_fault_is_reported_with_a_remedy(faults, kind, cls, expected):
    message = faults(kind, cls)
    for part in expected:
        assert part in message, message


def test_all_faults_are_in_one_error(faults):
    assert faults("view", Bare).count("\n  - ") >= 2


def test_a_fault_that_stops_several_checks_is_reported_once(faults):
    assert faults("fusion", Wide).count("\n  - ") == 1


def test_unknown_component_raises_before_any_check():
    with pytest.raises(testing.ConformanceError, match=r"unknown view 'rign'.*"):
        testing.check_view("rign")


def test_every_kind_has_checks_and_a_base_class():
    for kind in registry.KINDS.values():
        module, _, name = kind.base.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name), type)
        assert importlib.import_module(kind.checks).CHECKS


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import numpy\n", "registering urbankit-heavy imports numpy, which slows down `list-components`"),
        ("", "module 'urbankit_heavy.view' cannot be imported first: RuntimeError: not without its sibling"),
    ],
)
def test_heavy_imports_of_an_installed_plugin_are_reported(tmp_path, code, message):
    """Asked in a process of its own, in which a sibling is imported before."""
    package, info = tmp_path / "urbankit_heavy", tmp_path / "urbankit_heavy-1.0.dist-info"
    package.mkdir(), info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: urbankit-heavy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[urbankit]\nheavy = urbankit_heavy.plugin\n")
    (package / "__init__.py").write_text("")
    (package / "sibling.py").write_text("")
    (package / "plugin.py").write_text(
        f"{code}from urbankit import hookimpl\n\n\n@hookimpl\ndef register_views(register):\n"
        "    register('heavy', 'urbankit_heavy.view:Heavy', 'is heavy')\n"
    )
    (package / "view.py").write_text(
        "import sys\nfrom urbankit.views.distance import DistanceView\n"
        "if 'urbankit_heavy.sibling' not in sys.modules:\n    raise RuntimeError('not without its sibling')\n\n\n"
        "class Heavy(DistanceView):\n    'Is heavy.'\n"
    )
    check = "import urbankit_heavy.sibling\nfrom urbankit import testing\ntesting.check_view('heavy')\n"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", check], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert message in done.stderr, done.stderr


def test_checks_do_not_advance_the_random_generators():
    torch.manual_seed(8)
    expected = torch.rand(1)
    torch.manual_seed(8)
    testing.check_fusion("add")
    assert torch.equal(torch.rand(1), expected)


def test_only_the_fixtures_import_pytest():
    code = "import sys; from urbankit import testing; testing.check_fusion('add'); print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_tiny_city_has_every_source_and_regions_without_each():
    city = tiny_city()
    regions = {(kind, name): int(count) for kind, name, count, _ in city.coverage().itertuples(index=False)}
    assert regions["image", "rsi"] == N - len(LACKS["rsi"])
    assert regions["image", "svi"] == N - len(LACKS["svi"])
    assert regions["captions", "rsi"] == N - len(LACKS["captions"])
    assert regions["poi", "poi"] == N - len(LACKS["poi"]) == int(city.poi_present.sum())
    assert regions["flows", "flows"] == N - len(LACKS["flows"])
    assert regions["table", "census"] == N - len(LACKS["census"])
    assert city.flow_times() is not None and city.target_names == ["density", "land_use"]
    assert city.source("nightlight.tif").is_file()


def test_the_shuffled_city_is_the_same_in_another_order():
    city, order = shuffled_city()
    plain = tiny_city()
    assert city.region_ids == [plain.region_ids[i] for i in order]
    np.testing.assert_allclose(city.flows().toarray(), plain.flows().toarray()[order][:, order])
    np.testing.assert_allclose(city.poi_counts()[0].toarray(), plain.poi_counts()[0].toarray()[order])
    np.testing.assert_allclose(city.table("census")[0], plain.table("census")[0][order])


class Lines(View):
    """Links regions on one metro line, from a file of its own."""

    class Params(View.Params):
        file: str = Field("stations.csv", description="The file with the columns `region` and `line`.")

    def build(self, city):
        stations = pd.read_csv(city.source(self.params.file), dtype=str)
        line = stations.set_index("region")["line"].reindex(city.region_ids)
        same = (line.to_numpy()[:, None] == line.to_numpy()[None, :]) & line.notna().to_numpy()[:, None]
        np.fill_diagonal(same, False)
        present = line.notna().to_numpy()
        return ViewGraph(scipy.sparse.csr_array(same.astype(np.float32)), present)


def test_a_component_that_reads_a_file_of_its_own_is_checked_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("lines")
    module.Lines = Lines
    monkeypatch.setitem(sys.modules, "lines", module)
    registry.add_plugin(
        types.SimpleNamespace(
            register_views=hookimpl(lambda register: register("lines", "lines:Lines", "metro lines"))
        ),
        "mine",
    )
    try:
        rows = "".join(f"r{i:02d},{i % 3}\n" for i in range(12))
        with testing.files_beside({"stations.csv": "region,line\n" + rows}) as city:
            testing.check_view("lines", file="stations.csv")
        assert not (city.path.parent / "sources" / "stations.csv").exists()
        with pytest.raises(testing.ConformanceError, match="stations"):
            testing.check_view("lines")
    finally:
        registry.reload()


@pytest.mark.parametrize("name", ["../mine.csv", "census.csv"])
def test_files_beside_the_city_replace_no_source_and_stay_in_its_folder(name: str) -> None:
    message = "lies outside the folder of the sources, or is a source"
    with pytest.raises(ValueError, match=message), testing.files_beside({name: ""}):
        pass
    assert "region" in tiny_city().source("census.csv").read_text()
