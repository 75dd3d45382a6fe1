"""Views against loops over all pairs, on random cities."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
from pydantic import ValidationError

from urbankit import registry
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError
from urbankit.views import similarity, strongest
from urbankit.views.base import View, ViewGraph
from urbankit.views.distance import DistanceView
from urbankit.views.mobility import MobilityView
from urbankit.views.poi import PoiView


def city(n: int = 30, seed: int = 0) -> SimpleNamespace:
    """Regions without points of interest (the last two), without any flow (the last), with inflow alone (the first)."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(1.0, (n, 6)).astype(float)
    counts[-2:] = 0
    flows = rng.poisson(0.4, (n, n)) * rng.integers(1, 100, (n, n)).astype(float)
    flows[0] = 0
    flows[1, 0] = 5
    flows[-1] = flows[:, -1] = 0
    return SimpleNamespace(
        poi_counts=lambda: (scipy.sparse.csr_array(counts), [f"c{i}" for i in range(6)]),
        flows=lambda: scipy.sparse.csr_array(flows),
        has_geometry=True,
        xy=rng.uniform(0, 5000, (n, 2)),
        region_ids=[f"r{i:02d}" for i in range(n)],
        counts=counts,
        od=flows,
    )


def build(view: type[View], made: SimpleNamespace, **params: object) -> ViewGraph:
    return view(view.Params(**params)).build(made)


def cosine(counts: np.ndarray) -> np.ndarray:
    n = len(counts)
    similar = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            lengths = math.dist(counts[i], 0 * counts[i]) * math.dist(counts[j], 0 * counts[j])
            similar[i, j] = counts[i] @ counts[j] / lengths if lengths and i != j else 0
    return similar


def kilometres(xy: np.ndarray) -> np.ndarray:
    return np.array([[math.dist(a, b) / 1000 for b in xy] for a in xy])


def either_keeps(weights: np.ndarray, k: int) -> np.ndarray:
    """Whether a pair is among the k largest weights of one of its two regions."""
    keeps = np.zeros(weights.shape, dtype=bool)
    for i, row in enumerate(weights):
        keeps[i, np.argsort(-row, kind="stable")[:k]] = True
    return (keeps | keeps.T) & (weights > 0)


class TestPoi:
    def test_every_pair_gets_its_cosine_similarity(self):
        made = city()
        view = build(PoiView, made)
        np.testing.assert_allclose(view.adjacency.toarray(), cosine(made.counts), atol=1e-6)
        assert view.present.tolist() == [True] * 28 + [False] * 2

    @pytest.mark.parametrize("block", [1, 100, 1 << 23])
    def test_the_sparse_form_keeps_the_strongest_of_either_region(self, monkeypatch, block):
        monkeypatch.setattr(similarity, "BLOCK", block)
        made = city()
        made.counts += np.random.default_rng(1).uniform(0, 0.01, made.counts.shape) * (made.counts > 0)  # no equals
        made.poi_counts = lambda: (scipy.sparse.csr_array(made.counts), list("abcdef"))
        expected = cosine(made.counts)
        sparse = build(PoiView, made, top_k=4).adjacency.toarray()
        np.testing.assert_allclose(sparse, np.where(either_keeps(expected, 4), expected, 0), atol=1e-6)

    @pytest.mark.parametrize("k", [None, 4])
    def test_sparse_and_dense_rows_have_the_same_similarities(self, monkeypatch, k):
        monkeypatch.setattr(similarity, "BLOCK", 100)
        rows = city().counts * np.random.default_rng(1).uniform(1, 1.01, city().counts.shape)  # no equals
        dense, sparse = (similarity.cosine_similarity(form(rows), k) for form in (np.asarray, scipy.sparse.csr_array))
        np.testing.assert_allclose(sparse.toarray(), dense.toarray(), atol=1e-6)

    def test_equal_similarities_are_resolved_by_location(self):
        made = city(8)
        made.xy = made.xy[np.argsort(made.xy[:, 1])]
        made.poi_counts = lambda: (scipy.sparse.csr_array(np.ones((8, 2))), ["a", "b"])
        sparse = build(PoiView, made, top_k=2).adjacency
        assert sparse[[7]].indices.tolist() == [0, 1]
        assert set(sparse[[0]].indices.tolist()) == set(range(1, 8))  # all others keep the first

    def test_top_k_of_all_regions_gives_every_pair(self):
        made = city()
        assert (build(PoiView, made, top_k=29).adjacency != build(PoiView, made, form="dense").adjacency).nnz == 0

    def test_counts_can_be_logarithms_or_tf_idf(self):
        made = city()
        np.testing.assert_allclose(
            build(PoiView, made, counts="log").adjacency.toarray(), cosine(np.log(1 + made.counts)), atol=1e-6
        )
        rarity = np.log(30 / (made.counts > 0).sum(axis=0))
        np.testing.assert_allclose(
            build(PoiView, made, counts="tf_idf").adjacency.toarray(), cosine(made.counts * rarity), atol=1e-6
        )


class TestMobility:
    def expected(self, od: np.ndarray) -> np.ndarray:
        n = len(od)
        shares = np.zeros((n, n))
        for i in range(n):
            total = sum(math.log(1 + od[i, k]) for k in range(n))
            for j in range(n):
                shares[i, j] = math.log(1 + od[i, j]) / total if total else 0
        return shares

    def test_shares_match_the_equation(self):
        made = city()
        view = build(MobilityView, made)
        np.testing.assert_allclose(view.adjacency.toarray(), self.expected(made.od), rtol=1e-5)
        sums = view.adjacency.sum(axis=1)
        np.testing.assert_allclose(sums[view.present][1:], 1, rtol=1e-5)
        assert view.present.tolist() == [True] * 29 + [False] and sums[0] == 0

    def test_self_flows_can_be_left_out(self):
        made = city()
        od = made.od.copy()
        np.fill_diagonal(od, 0)
        view = build(MobilityView, made, self_flows=False)
        np.testing.assert_allclose(view.adjacency.toarray(), self.expected(od), rtol=1e-5)

    def test_the_strongest_flows_keep_their_shares(self):
        made = city()
        expected = self.expected(made.od)
        strongest = np.zeros(expected.shape, dtype=bool)
        for i, row in enumerate(expected):
            strongest[i, np.argsort(-row, kind="stable")[:3]] = True
        view = build(MobilityView, made, top_k=3)
        np.testing.assert_allclose(view.adjacency.toarray(), np.where(strongest, expected, 0), rtol=1e-5)
        assert np.diff(view.adjacency.indptr).max() == 3

    def test_flows_of_the_city_are_not_changed(self):
        made = city()
        flows = made.flows()
        made.flows = lambda: flows
        build(MobilityView, made, self_flows=False)
        np.testing.assert_array_equal(flows.toarray(), made.od)


class TestDistance:
    def test_every_pair_gets_its_inverse_distance(self):
        made = city()
        km = kilometres(made.xy)
        np.fill_diagonal(km, np.inf)
        np.testing.assert_allclose(build(DistanceView, made).adjacency.toarray(), 1 / km, rtol=1e-5)
        np.testing.assert_allclose(build(DistanceView, made, power=2).adjacency.toarray(), km**-2, rtol=1e-5)

    def test_the_sparse_form_keeps_the_nearest_of_either_region(self):
        made = city()
        km = kilometres(made.xy)
        np.fill_diagonal(km, np.inf)
        for params, mask in {
            (("top_k", 4),): either_keeps(1 / km, 4),
            (("radius_km", 1.2),): km <= 1.2,
            (("top_k", 4), ("radius_km", 0.8)): either_keeps(1 / km, 4) & (km <= 0.8),
        }.items():
            sparse = build(DistanceView, made, **dict(params)).adjacency.toarray()
            np.testing.assert_allclose(sparse, np.where(mask, 1 / km, 0), rtol=1e-5)

    @pytest.mark.parametrize("params", [{}, {"top_k": 2}, {"radius_km": 1.0}])
    def test_coincident_centroids_count_as_ten_metres_apart(self, params):
        made = SimpleNamespace(
            has_geometry=True, xy=np.array([[0.0, 0], [0, 0], [0, 0], [0, 0], [500, 0]]), region_ids=list("abcde")
        )
        adjacency = build(DistanceView, made, **params).adjacency
        assert np.isfinite(adjacency.data).all() and adjacency.max() == pytest.approx(100)
        assert (adjacency.diagonal() == 0).all()
        assert (np.diff(adjacency.indptr) >= params.get("top_k", 4) * (not params.get("radius_km"))).all()

    def test_too_many_pairs_are_refused(self, monkeypatch):
        monkeypatch.setattr("urbankit.views.distance.MOST_PAIRS", 100)
        with pytest.raises(UserError, match=r"870 pairs of regions are within 100 km.*lower radius_km or give top_k"):
            build(DistanceView, city(), radius_km=100)


@pytest.mark.parametrize("view", [PoiView, DistanceView])
class TestForms:
    def test_number_of_regions_selects_dense_or_sparse(self, view):
        made = city(60)
        assert build(view, made).adjacency.nnz == build(view, made, form="dense").adjacency.nnz
        sparse = build(view, made, dense_limit=59).adjacency
        assert sparse.nnz == build(view, made, form="sparse").adjacency.nnz
        assert sparse.nnz == build(view, made, top_k=25).adjacency.nnz < build(view, made).adjacency.nnz

    def test_dense_view_of_too_many_regions_is_refused(self, view):
        with pytest.raises(UserError, match=r"60 regions has 3,600 pairs, dense_limit is 59.*sparse"):
            build(view, city(60), form="dense", dense_limit=59)

    def test_dense_form_with_a_limit_is_refused(self, view):
        with pytest.raises(ValidationError, match="leave out top_k"):
            view.Params(form="dense", top_k=3)

    def test_adjacency_is_symmetric_without_diagonal(self, view):
        for params in ({}, {"top_k": 3}):
            adjacency = build(view, city(), **params).adjacency
            assert (adjacency != adjacency.T).nnz == 0 and (adjacency.diagonal() == 0).all()


@pytest.mark.parametrize("view", [PoiView, MobilityView, DistanceView])
class TestAll:
    @pytest.mark.parametrize("params", [{}, {"top_k": 3}])
    def test_views_of_one_region_have_no_edges(self, view, params):
        made = SimpleNamespace(
            has_geometry=True,
            xy=np.zeros((1, 2)),
            region_ids=["one"],
            poi_counts=lambda: (scipy.sparse.csr_array([[3.0]]), ["cafe"]),
            flows=lambda: scipy.sparse.csr_array((1, 1)),
        )
        built = build(view, made, **params)
        assert built.adjacency.shape == (1, 1) and built.adjacency.nnz == 0


def test_requires_names_missing_sources():
    bare = SimpleNamespace(poi_counts=lambda: None, flows=lambda: None, has_geometry=True, xy=np.zeros((2, 2)))
    reasons = {name: registry.create("view", Use(name=name)).requires(bare) for name in ("poi", "mobility", "distance")}
    assert reasons == {
        "poi": "the city has no points of interest",
        "mobility": "the city has no flows",
        "distance": None,
    }


@pytest.mark.parametrize(
    ("matrix", "present", "message"),
    [
        ([[0, -1.0], [0, 0]], [True, True], "not negative"),
        ([[0, np.nan], [0, 0]], [True, True], "finite"),
        ([[0, 1.0], [0, 0]], [True, False], "not present"),
        ([[0, 1.0], [0, 0]], [True], "1 regions has an adjacency of shape"),
    ],
)
def test_a_view_that_breaks_the_contract_is_refused(matrix, present, message):
    with pytest.raises(ValueError, match=message):
        ViewGraph(scipy.sparse.csr_array(matrix), np.array(present))


def test_views_of_new_york_match_their_source_files(shared_data):
    """The real files: counts and flows by tract id, without the city in between."""
    import geopandas
    import pandas as pd

    folder = shared_data / "new-york"
    tracts = geopandas.read_file(folder / "tracts.gpkg").to_crs(32618)
    ids = tracts["tract"].astype("int64")
    row = pd.Series(np.arange(len(ids)), index=ids)
    table = pd.read_csv(folder / "poi_counts.csv").set_index("tract").reindex(ids).fillna(0).to_numpy(dtype=float)
    od = pd.read_csv(folder / "commuting.csv")
    od = od[od["origin"].isin(ids) & od["destination"].isin(ids)]
    ends = row[od["origin"]].to_numpy(), row[od["destination"]].to_numpy()
    made = SimpleNamespace(
        has_geometry=True,
        xy=np.column_stack([tracts.centroid.x, tracts.centroid.y]),
        region_ids=ids.astype(str).tolist(),
        poi_counts=lambda: (scipy.sparse.csr_array(table), []),
        flows=lambda: scipy.sparse.coo_array((od["commuters"], ends), shape=(957, 957)).tocsr(),
    )
    similar = build(PoiView, made)
    assert similar.present.sum() == (table.sum(axis=1) > 0).sum()
    strongest = build(PoiView, made, top_k=25)
    assert strongest.adjacency.nnz < similar.adjacency.nnz
    mobility = build(MobilityView, made)
    assert mobility.adjacency.nnz == len(od)
    near = build(DistanceView, made, top_k=25).adjacency
    assert np.diff(near.indptr).min() >= 25 and near.nnz < 957 * 50


@pytest.mark.parametrize(("n", "categories", "rate"), [(300, 3, 0.3), (400, 2, 0.1), (700, 12, 1.0)])
@pytest.mark.parametrize("k", [1, 5, 25])
def test_strongest_pairs_of_many_rows_equal_those_of_all_similarities(monkeypatch, n, categories, rate, k):
    monkeypatch.setattr(strongest, "COLUMNS", 64)
    monkeypatch.setattr(strongest, "ROWS", 32)
    counts = np.random.default_rng(0).poisson(rate, (n, categories)).astype(float)
    length = np.linalg.norm(counts, axis=1, keepdims=True)
    # Multiples of 1/64 have exact products, so that equal similarities are equal in any order of sums.
    unit = np.round(np.divide(counts, length, out=np.zeros_like(counts), where=length > 0) * 64) / 64
    similar = np.minimum(unit @ unit.T, 1)
    np.fill_diagonal(similar, 0)
    order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    expected = np.zeros_like(similar)
    np.put_along_axis(expected, order, np.take_along_axis(similar, order, axis=1), axis=1)
    np.testing.assert_array_equal(strongest.strongest_pairs(unit.astype(np.float32), k).toarray(), expected)


def test_similarities_of_more_rows_than_the_limit_come_from_strongest_pairs(monkeypatch):
    counts = np.random.default_rng(0).poisson(1.0, (300, 12)).astype(float)
    direct = similarity.cosine_similarity(counts, 5)
    sizes = []
    monkeypatch.setattr(similarity, "strongest_pairs", lambda unit, k: sizes.append((len(unit), k)) or direct)
    similarity.cosine_similarity(counts, 5)
    monkeypatch.setattr(similarity, "MANY", 299)
    similarity.cosine_similarity(counts, 5)
    assert sizes == [(300, 5)]
