"""Time and memory of pre-training on graphs, run by hand: `python benchmarks/bench_graph.py --regions 957 5000 20000`.

One table has an epoch of pre-training with the method of `urbanmmcl.yaml`: two tables as modalities, three sparse
views, gradients and an Adam step. The other has the engines' operations, on which `engine: auto` is based.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from urbankit import registry
from urbankit.graph import engine
from urbankit.graph.graph import Graph
from urbankit.methods.base import Method, MethodInputs
from urbankit.pipeline.stages import load_recipe
from urbankit.registry.component import Use
from urbankit.views.base import ViewGraph

RECIPE = Path(__file__).parents[1] / "recipes/urbanmmcl.yaml"


def nearest(points: NDArray[np.float64], k: int) -> scipy.sparse.csr_array:
    """The graph of each point's k nearest others, in both directions, which weigh more the nearer they are."""
    n = len(points)
    distance, index = (values[:, 1:].ravel() for values in cKDTree(points).query(points, k=k + 1))
    rows = np.repeat(np.arange(n), k)
    one_way = scipy.sparse.csr_array((1 / (0.1 + distance), (rows, index)), shape=(n, n))
    return scipy.sparse.csr_array(one_way.maximum(one_way.T))


def flows(n: int, each: int, rng: np.random.Generator) -> scipy.sparse.csr_array:
    """Flows from every region to `each` others; a few attract most of them."""
    attraction = rng.pareto(1.5, n) + 0.1
    destination = rng.choice(n, n * each, p=attraction / attraction.sum())
    matrix = scipy.sparse.csr_array(
        (rng.pareto(1, n * each) + 1, (np.repeat(np.arange(n), each), destination)), shape=(n, n)
    )
    return scipy.sparse.csr_array(matrix / matrix.sum(axis=1)[:, None])


def inputs(n: int, neighbours: int, engine_name: str) -> MethodInputs:
    """A city of regions of one kilometre, with 34 categories of points of interest, and three sparse views."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 1000 * math.sqrt(n), (n, 2))
    counts = scipy.sparse.csr_array(rng.poisson(rng.gamma(0.3, 2, (n, 34))).astype(float))
    city = SimpleNamespace(
        n_regions=n,
        sizes=[n],
        content_hash="benchmark",
        xy=xy,
        has_geometry=True,
        poi_counts=lambda: (counts, [str(i) for i in range(34)]),
        poi_present=np.ones(n, dtype=bool),
    )
    city.members = {"benchmark": city}
    k = min(neighbours, n - 1)
    adjacency = {
        "poi": nearest(rng.normal(size=(n, 4)), k),
        "mobility": flows(n, k, rng),
        "distance": nearest(xy / 1000, k),
    }
    views = {name: ViewGraph(matrix, np.ones(n, dtype=bool)) for name, matrix in adjacency.items()}
    modalities = {name: Use(name=name) for name in ("coordinates", "poi_counts")}
    return MethodInputs(city, modalities, views, engine=engine_name)  # type: ignore[arg-type] - the members it reads


def built_method(n: int, neighbours: int, engine_name: str, whole_graph_up_to: int | None = None) -> Method:
    recipe = load_recipe(RECIPE)
    modalities = {"alignments": [["coordinates", "poi_counts"]], "features": ["coordinates", "poi_counts"]}
    limit = {} if whole_graph_up_to is None else {"whole_graph_up_to": whole_graph_up_to}
    use = Use(**({"name": recipe.method.name} | recipe.method.params | modalities | limit))
    torch.manual_seed(0)
    method: Method = registry.create("method", use, inputs(n, neighbours, engine_name))
    method.prepare()
    return method.train()


def epochs(
    sizes: list[int], neighbours: int, engine_name: str, batch: int, steps: int, whole_graph_up_to: int | None
) -> None:
    """Print the time of an epoch by number of regions: that of the median step times the number of steps.

    What a method stores at the beginning of an epoch is included.
    """
    print("| regions | edges of the views | steps an epoch | a step, s | an epoch, s | peak memory, GB |")
    print("|---:|---:|---:|---:|---:|---:|")
    measured = []
    for n in sizes:
        method = built_method(n, neighbours, engine_name, whole_graph_up_to)
        adam = torch.optim.Adam(method.parameters(), lr=1e-3)
        batches = [rows.sort().values for rows in torch.randperm(n).split(batch)]
        seconds = []
        started = time.process_time()
        method.refresh()
        refresh = time.process_time() - started
        for step in range(steps + 1):
            started = time.process_time()
            adam.zero_grad()
            method.loss(batches[step % len(batches)])["total"].backward()
            adam.step()
            seconds.append(time.process_time() - started)
        a_step = float(np.median(seconds[1:]))
        epoch = refresh + a_step * len(batches)
        measured.append(epoch)
        edges = ", ".join(f"{graph.adjacency.nnz:,}" for graph in method.inputs.views.values())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {n:,} | {edges} | {len(batches)} | {a_step:.3f} | {epoch:.2f} | {peak:.1f} |", flush=True)
    if len(sizes) > 1 and sizes[0] != sizes[-1]:
        exponent = math.log(measured[-1] / measured[0]) / math.log(sizes[-1] / sizes[0])
        print(f"\nThe time of an epoch grows with the number of regions to the power of {exponent:.2f}.", flush=True)


def operations(sizes: list[int], neighbours: int, width: int = 128) -> None:
    """Print the milliseconds of the engines' operations by number of regions."""
    names = [name for name in ("torch", "dgl") if name == "torch" or engine.why_not_dgl() is None]
    print("\n| operation | regions | " + " | ".join(f"{name}, ms" for name in names) + " |")
    print("|---|---:|" + "---:|" * len(names))
    for n in sizes:
        rng = np.random.default_rng(0)
        graph = Graph.from_scipy(flows(n, min(neighbours, n - 1), rng))
        x, weight = torch.randn(n, width, requires_grad=True), graph.weight.clone().requires_grad_()

        def forward(name: str) -> object:
            return engine.propagate(graph, x.detach(), None, name)  # noqa: B023 - called in this pass of the loop

        def gradient(name: str) -> object:
            return torch.autograd.grad(engine.propagate(graph, x, None, name).sum(), x)  # noqa: B023

        def weights(name: str) -> object:
            weighted = graph.with_weight(weight)  # noqa: B023
            return torch.autograd.grad(engine.propagate(weighted, x, None, name).sum(), [x, weight])  # noqa: B023

        def products(name: str) -> object:
            return torch.autograd.grad(engine.edge_dot(graph, x, x, name).sum(), x)  # noqa: B023

        for label, operation in (
            ("messages", forward),
            ("messages with gradient", gradient),
            ("messages with gradient of the weights too", weights),
            ("products of the ends of each edge, with gradient", products),
        ):
            times = " | ".join(f"{1000 * median_seconds(operation, name):.1f}" for name in names)
            print(f"| {label} | {n:,} | {times} |", flush=True)


def median_seconds(operation: Callable[[str], object], name: str, repeats: int = 3) -> float:
    seconds = []
    for _ in range(repeats + 1):
        started = time.process_time()
        operation(name)
        seconds.append(time.process_time() - started)
    return float(np.median(seconds[1:]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, nargs="+", default=[957], help="numbers of regions, ascending")
    parser.add_argument("--neighbours", type=int, default=15)
    parser.add_argument("--engine", choices=engine.ENGINES, default="auto")
    parser.add_argument("--batch", type=int, default=256, help="regions a step")
    parser.add_argument("--steps", type=int, default=10, help="steps that are measured")
    parser.add_argument("--whole-graph-up-to", type=int, help="as in the method, which has the default")
    parser.add_argument("--operations", action="store_true", help="also measure the engines' operations")
    arguments = parser.parse_args()
    epochs(
        arguments.regions,
        arguments.neighbours,
        arguments.engine,
        arguments.batch,
        arguments.steps,
        arguments.whole_graph_up_to,
    )
    if arguments.operations:
        operations(arguments.regions, arguments.neighbours)
