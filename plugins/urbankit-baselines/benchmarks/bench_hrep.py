"""Time of one epoch of HREP on the 180 regions of Manhattan, and of the authors' code if there is a checkout.

    python bench_hrep.py --data FOLDER_OF_MANHATTAN [--authors CHECKOUT_OF_HREP] [--rounds 10] [--threads 2]

An epoch is forward, losses, backward and optimiser step over all regions, without set-up. Blocks of epochs of both
alternate; the output is the medians of wall and processor time. The authors' module needs `torch_geometric`. The script
runs their network and their sampling of triplets. It computes their losses by the formulas of the paper, because their
script trains when it is imported.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from urbankit import City, registry
from urbankit.methods.base import MethodInputs
from urbankit.recipe.recipe import Recipe
from urbankit.registry.recipes import shipped_folder
from urbankit.runs.data import method_inputs
from urbankit.training.loop import Loop
from urbankit.training.optimizer import build_optimizer

EPOCHS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with Manhattan's regions, flows and counts")
    parser.add_argument("--authors", type=Path, help="checkout of the authors' HREP")
    parser.add_argument("--rounds", type=int, default=10, help=f"blocks of {EPOCHS} epochs of each")
    parser.add_argument("--threads", type=int, help="threads of torch, for both; default: torch's default")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = Recipe.load("baselines/hrep", ["tasks=null"])
    spec = shipped_folder() / "cities" / "manhattan.yaml"
    with tempfile.TemporaryDirectory() as folder:
        city = City.prepare(spec, data=arguments.data, out=Path(folder) / "city")
        inputs = method_inputs(recipe, city)[0]
    timed = {
        "urbankit": urbankit_epochs(recipe, inputs),
        "urbankit, with the training loop": in_training_loop(recipe, inputs),
    }
    if arguments.authors is not None:
        timed["authors"] = authors_epochs(recipe, inputs, arguments.authors)
    for name, (wall, processor) in alternate(timed, arguments.rounds).items():
        print(f"{name:34} {wall * 1e3:7.1f} ms wall, {processor * 1e3:7.1f} ms processor an epoch")


def alternate(timed: dict[str, Callable[[], None]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median wall and processor seconds per epoch of functions that run `EPOCHS` epochs."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
    for run in timed.values():
        run()
    for _ in range(rounds):
        for name, run in timed.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            seconds[name].append((wall / EPOCHS, processor / EPOCHS))
    return {name: tuple(map(statistics.median, zip(*values, strict=True))) for name, values in seconds.items()}


def urbankit_epochs(recipe: Recipe, inputs: MethodInputs) -> Callable[[], None]:
    """Return a function that runs epochs of the method."""
    step = stepper(recipe, inputs)[0]

    def run() -> None:
        for _ in range(EPOCHS):
            step()

    return run


def in_training_loop(recipe: Recipe, inputs: MethodInputs) -> Callable[[], None]:
    """Return a function that runs epochs in the training loop of pre-training."""
    step, method, optimizer = stepper(recipe, inputs)

    def train_epoch() -> dict[str, float]:
        return {name: float(value.detach()) for name, value in step().items()}

    def run() -> None:
        Loop("pretrain", method, optimizer, EPOCHS, 0, 0).run(train_epoch, dict)

    return run


def stepper(recipe: Recipe, inputs: MethodInputs) -> tuple[Callable, torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    method = registry.create("method", recipe.method, inputs).train()
    settings = recipe.pretrain
    optimizer = build_optimizer(
        method.parts(),
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate,
        learning_rates={},
        weight_decay=settings.weight_decay,
        key="pretrain",
    )
    regions = torch.arange(inputs.n_regions)

    def step() -> dict[str, torch.Tensor]:
        losses = method.loss(regions)
        optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()
        optimizer.step()
        return losses

    return step, method, optimizer


def authors_epochs(recipe: Recipe, inputs: MethodInputs, checkout: Path) -> Callable[[], None]:
    """Return a function that runs epochs of the authors' network on the same graphs."""
    sys.path.insert(0, str(checkout))
    # The authors' modules read the command line when they are imported.
    arguments, sys.argv = sys.argv, sys.argv[:1]
    network, utils = importlib.import_module("HRE_Module"), importlib.import_module("utils")
    sys.argv = arguments
    settings, p = recipe.pretrain, registry.create("method", recipe.method, inputs)
    torch.manual_seed(0)
    net = network.HRE(p.params.dim, p.params.dropout, p.params.layers).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    n = inputs.n_regions
    edges = []
    for view in ("poi", "outflow", "inflow", "neighbours"):
        adjacency = torch.as_tensor(inputs.views[view].adjacency.toarray()) + torch.eye(n)
        edges.append(adjacency.nonzero().T.contiguous())
    neighbours = [row.indices.tolist() for row in inputs.views["neighbours"].adjacency]
    features, relations = torch.randn(n, p.params.dim), list(torch.randn(4, p.params.dim))

    def run() -> None:
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            _, near, poi, origin, destination = net(features, relations, edges)
            positive, negative = utils.pair_sample(neighbours)
            out = (origin @ destination.T).softmax(dim=-1).log()
            into = (destination @ origin.T).softmax(dim=-1).log()
            loss = F.triplet_margin_loss(near, near[positive], near[negative])
            loss = loss - (p.flows * out).sum() - (p.flows * into).sum() + F.mse_loss(poi @ poi.T, p.similarity)
            loss.backward()
            optimizer.step()

    return run


if __name__ == "__main__":
    main()
