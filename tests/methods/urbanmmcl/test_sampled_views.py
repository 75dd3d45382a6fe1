"""Training that encodes the nodes on walks and sampled pairs, against training that encodes the whole graphs."""

import pytest
import torch

from urbankit import registry
from urbankit.graph import sampled_pairs
from urbankit.graph.vgae import VGAE
from urbankit.methods.base import MethodInputs
from urbankit.recipe.training_schema import Pretrain
from urbankit.registry.component import Use
from urbankit.training.pretrain import pretrain
from urbankit.utils.progress import Progress

MODALITIES = {
    "location": Use(name="geoclip", features=8, hidden=16, layers=1, width=16),
    "poi_counts": Use(name="poi_counts"),
}
VIEWS = ("poi", "mobility", "distance")
SMALL = {
    "dim": 16,
    "alignments": [["location", "poi_counts"]],
    "features": ["location", "poi_counts"],
    "graph_encoder": {"name": "vgae", "latent": 8, "standardise": True, "root_weight": True, "initial_sigma": 0.001},
    "subgraph_encoder": {"name": "gcn", "out": 8, "hidden": [8]},
}


def built(city, **params):
    torch.manual_seed(0)
    graphs = {name: registry.create("view", Use(name=name)).build(city) for name in VIEWS}
    method = registry.create(
        "method", Use(name="urbanmmcl", **(SMALL | params)), MethodInputs(city, MODALITIES, graphs)
    )
    method.prepare()
    return method


def sampled_and_whole(city, **params):
    methods = [built(city, whole_graph_up_to=limit, **params) for limit in (0, 5000)]
    assert methods[0].sampled is not None and methods[1].sampled is None
    return methods


@pytest.mark.parametrize("detached", [True, False])
def test_a_step_equals_that_on_the_whole_graphs_when_features_are_fresh(tiny_city, detached):
    """With `full` the walks have no chance in them, and in evaluation the encoding has none.

    Where the features carry a gradient they are not standardised, as stored means have none.
    """
    encoder = SMALL["graph_encoder"] | {"standardise": detached}
    params = {"subgraph": {"name": "full"}, "detach_reconstruction": detached, "graph_encoder": encoder}
    batch = torch.tensor([0, 3, 4, 11])
    results = []
    for method in sampled_and_whole(tiny_city, **params):
        method.eval().refresh()
        losses, embeddings = method.loss_and_embedding(batch)
        contrasts = sum(value for name, value in losses.items() if name.count("–") == 1 or name.endswith(" kl"))
        (contrasts + embeddings.square().sum()).backward()
        results.append((contrasts, embeddings, {name: p.grad for name, p in method.named_parameters()}))
    (loss, z, gradients), (whole_loss, whole_z, whole_gradients) = results
    torch.testing.assert_close(loss, whole_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(z, whole_z, rtol=1e-5, atol=1e-5)
    for name, expected in whole_gradients.items():
        if name.startswith(("graph_encoders", "subgraph_encoders", "channels")):
            ours = gradients[name]
            assert (ours is None) == (expected is None), name
            if expected is not None:
                torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4, msg=name)


def test_stored_values_follow_the_features_of_mini_batches(tiny_city):
    method = built(tiny_city, whole_graph_up_to=0).train()
    method.refresh()
    method.loss(torch.tensor([0, 3, 4]))
    nodes = torch.arange(tiny_city.n_regions)
    before = {view: stored.sums.rows(nodes).clone() for view, stored in method.sampled._stored.items()}
    bank = method.bank.clone()
    method.sampled.refresh(bank)
    for view, stored in method.sampled._stored.items():
        torch.testing.assert_close(stored.sums.rows(nodes), before[view], rtol=1e-5, atol=1e-5)


def test_a_step_neither_encodes_nor_weighs_the_whole_graph(tiny_city, monkeypatch):
    method = built(tiny_city, whole_graph_up_to=0, subgraph={"name": "random_walk", "length": 2}).train()
    monkeypatch.setattr(sampled_pairs, "COLUMNS", 2)
    monkeypatch.setattr(sampled_pairs, "MOST_EDGES", 2)
    method.refresh()
    sizes, encode_nodes = [], VGAE.encode_nodes

    def counted(self, sums, nodes, *features):
        sizes.append(len(nodes))
        return encode_nodes(self, sums, nodes, *features)

    monkeypatch.setattr(VGAE, "encode_nodes", counted)
    monkeypatch.setattr(VGAE, "forward", lambda *_: pytest.fail("the whole graph was encoded"))
    method.loss(torch.tensor([2, 5]))["total"].backward()
    assert len(sizes) == 3 and max(sizes) <= 2 * 3 + 2 * 2 + 2 < tiny_city.n_regions


@pytest.mark.parametrize(
    "params", [{}, {"masked_features": 1.0, "relation": 1, "projection_head": 8, "readout": "mean+root"}]
)
def test_losses_have_the_same_names_and_train_the_same_parts(tiny_city, params):
    names, parts = [], []
    for method in sampled_and_whole(tiny_city, **params):
        method.train().refresh()
        losses = method.loss(torch.arange(12))
        losses["total"].backward()
        names.append(set(losses))
        trained = {p for p in method.parameters() if p.grad is not None and p.grad.any()}
        parts.append({part for part, parameters in method.parts().items() if trained & set(parameters)})
    assert names[0] == names[1] and parts[0] == parts[1]


def test_hidden_features_reach_no_subgraph_encoder(tiny_city, monkeypatch):
    """If all features are hidden, embeddings are the same for any features with the same edge weights."""
    method = built(tiny_city, whole_graph_up_to=0, masked_features=1.0, graph_encoder={"name": "gcn"}).train()
    draw_mask = "urbankit.methods.urbanmmcl.model.draw_mask"
    monkeypatch.setattr(draw_mask, lambda n, share, device: torch.ones(n, dtype=torch.bool))
    results = []
    for scale in (1.0, 5.0):
        torch.manual_seed(3)
        features = torch.randn(2, method.bank.shape[1]) * scale
        embeddings, _, mask, _ = method._views(torch.tensor([2, 5]), features)
        assert mask.all()
        results.append(embeddings["poi"])
    torch.testing.assert_close(*results)


class WholeGraphOnly(VGAE):
    def neighbour_sums(self, graph, x):
        return None


@pytest.mark.parametrize("encoder", [VGAE, WholeGraphOnly])
def test_every_graph_encoder_can_be_trained(tiny_city, encoder, monkeypatch):
    method = built(tiny_city, whole_graph_up_to=0)
    for view in VIEWS:
        method.graph_encoders[view].__class__ = encoder
    method.train().refresh()
    losses = method.loss(torch.tensor([2, 5, 6]))
    losses["total"].backward()
    assert {f"{view} reconstruction" for view in VIEWS} <= set(losses)
    assert all(p.grad is not None and p.grad.any() for p in method.graph_encoders.parameters())


def test_regions_without_an_edge_in_any_view_train(tiny_city):
    method = built(tiny_city, whole_graph_up_to=0)
    for view, graph in method.multiview.graphs.items():
        within = (graph.src != 5) & (graph.dst != 5)
        method.multiview.graphs[view] = type(graph)(graph.n, graph.src[within], graph.dst[within], graph.weight[within])
    method.train().refresh()
    for batch in ([5, 6, 7], [5, 8]):
        losses = method.loss(torch.tensor(batch))
        losses["total"].backward()
        assert all(torch.isfinite(value) for value in losses.values())


def test_embeddings_of_an_unchanged_method_are_computed_from_one_encoding(tiny_city, monkeypatch):
    method = built(tiny_city).eval()
    batches = torch.arange(tiny_city.n_regions).split(7)

    def embedded():
        torch.manual_seed(1)
        return torch.cat([method(batch) for batch in batches])

    with torch.no_grad():
        expected = embedded()
        calls, forward = [], VGAE.forward
        monkeypatch.setattr(VGAE, "forward", lambda self, *values: calls.append(1) or forward(self, *values))
        with method.unchanged():
            torch.testing.assert_close(embedded(), expected, rtol=1e-5, atol=1e-5)
        assert len(calls) == len(VIEWS)
        embedded()
        assert len(calls) > len(VIEWS), "outside the context weights may have changed"


def test_training_is_resumed_to_the_same_bits(tiny_city, tmp_path):
    states = []
    for name, epochs in (("straight", [4]), ("resumed", [2, 4])):
        for n in epochs:
            method = built(tiny_city, whole_graph_up_to=0, masked_features=1.0)
            settings = Pretrain(epochs=n, batch_size=6, validation_share=0.2, patience=9)
            (tmp_path / name).mkdir(exist_ok=True)
            pretrain(method, settings, tiny_city.n_regions, 0, tmp_path / name, Progress(quiet=True))
        states.append(method.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
