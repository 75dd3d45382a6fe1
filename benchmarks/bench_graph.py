"""Time and memory of the graph part, run by hand: `python benchmarks/bench_graph.py --help`.

One epoch is what pre-training does for all regions at once: for each of three views VGAE, its losses, a walk a region,
GCN 128 → 64 on the subgraphs and readout; then the contrast of each pair of views, gradients and an Adam step.
"""

from __future__ import annotations

import argparse
import resource
import time
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import scipy.sparse
import torch

from urbankit.graph.gcn import GCN
from urbankit.graph.graph import Graph
from urbankit.graph.random_walk import RandomWalk
from urbankit.graph.vgae import VGAE
from urbankit.methods.losses import info_nce
from urbankit.views.distance import DistanceView
from urbankit.views.mobility import MobilityView
from urbankit.views.poi import PoiView


def city(n: int, flows_each: int) -> SimpleNamespace:
    """Regions of one kilometre in a square, 34 categories, flows that fall with distance and grow with attraction."""
    rng = np.random.default_rng(0)
    side = n**0.5
    xy = rng.uniform(0, 1000 * side, (n, 2))
    counts = scipy.sparse.csr_array(rng.poisson(rng.gamma(0.3, 2, (n, 34))).astype(float))
    attraction = rng.pareto(1.5, n) + 0.1
    origin = np.repeat(np.arange(n), flows_each)
    destination = rng.choice(n, n * flows_each, p=attraction / attraction.sum())
    flows = scipy.sparse.csr_array((rng.pareto(1, len(origin)) + 1, (origin, destination)), shape=(n, n))
    return SimpleNamespace(xy=xy, poi_counts=lambda: (counts, list(range(34))), flows=lambda: flows)


def graphs(n: int, form: str, top_k: int) -> list[Graph]:
    sparse = {"top_k": top_k} if form == "sparse" else {}
    made = city(n, flows_each=top_k)
    views = [
        PoiView(PoiView.Params(form=form, dense_limit=n, **sparse)).build(made),
        MobilityView(MobilityView.Params()).build(made if form == "sparse" else city(n, n // 2)),
        DistanceView(DistanceView.Params(form=form, dense_limit=n, **sparse)).build(made),
    ]
    found = [Graph.from_scipy(view.adjacency) for view in views]
    return [graph.with_weight(graph.weight / graph.weight.square().mean().sqrt()) for graph in found]


class GraphPart(torch.nn.Module):
    def __init__(self, views: list[Graph], features: int, engine: str) -> None:
        super().__init__()
        self.views = views
        self.encoders = torch.nn.ModuleList(VGAE(VGAE.Params(), features, engine) for _ in views)
        self.subgraph_encoders = torch.nn.ModuleList(GCN(GCN.Params(), features, engine) for _ in views)
        self.walk = RandomWalk(RandomWalk.Params())

    def loss(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        total, embeddings = x.new_zeros(()), []
        for graph, encoder, subgraph_encoder in zip(self.views, self.encoders, self.subgraph_encoders, strict=True):
            encoded = encoder(graph, x)
            total = total + sum(encoder.losses(graph, encoded, rows).values())
            drawn = self.walk.sample(graph, encoder.edge_weight(graph, encoded, graph.src, graph.dst), rows)
            embeddings.append(subgraph_encoder.embed(drawn, x))
        return total + sum(info_nce(a, b, 0.5) for a, b in combinations(embeddings, 2))


def measure(regions: int, form: str, top_k: int, features: int, engine: str, batch: int | None, steps: int) -> None:
    started = time.perf_counter()
    views = graphs(regions, form, top_k)
    built = time.perf_counter() - started
    torch.manual_seed(0)
    model = GraphPart(views, features, engine)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = torch.randn(regions, features, requires_grad=True)
    batches = torch.arange(regions).split(batch or regions)
    seconds, processor = [], []
    for step in range(steps + 2):
        wall, cpu = time.perf_counter(), time.process_time()
        adam.zero_grad()
        x.grad = None
        model.loss(x, batches[step % len(batches)]).backward()
        adam.step()
        if step >= 2:
            seconds.append(time.perf_counter() - wall)
            processor.append(time.process_time() - cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    edges = ", ".join(f"{graph.n_edges:,}" for graph in views)
    print(
        f"{regions} regions, {form} ({edges} edges), {features} features, engine {engine},"
        f" {len(batches[0])} regions a step: {np.median(seconds):.3f} s a step (best {min(seconds):.3f}, processor"
        f" {np.median(processor):.3f}), views built in {built:.1f} s, peak {peak:.2f} GB",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=957)
    parser.add_argument("--form", choices=["sparse", "dense"], default="sparse")
    parser.add_argument("--top-k", type=int, default=25)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--engine", choices=["auto", "dgl", "torch"], default="auto")
    parser.add_argument("--batch", type=int, default=None, help="regions a step; all by default")
    parser.add_argument("--steps", type=int, default=10)
    measure(**{name: value for name, value in vars(parser.parse_args()).items()})
