"""Several processes of torchrun pre-train as one does, write one run folder, and show one message."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from urbankit import Recipe, Run, UserError, run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="gloo and signals")

RECIPE = {
    "name": "together",
    # Two random means (augmentation, drawn observations), batch normalisation, a frozen backbone, and a last mini-batch
    # of few regions.
    "modalities": {
        "rsi": {"name": "convnet", "widths": [4, 8], "augment": "overhead"},
        "svi": {"name": "vit", "patch_size": 16, "hidden_size": 16, "layers": 1, "heads": 2, "augment": "street"},
        "text": {
            "name": "text",
            "hidden_size": 16,
            "layers": 1,
            "heads": 2,
            "vocabulary": 300,
            "trainable": "projection",
        },
        "location": {"name": "geoclip", "features": 8, "hidden": 16, "layers": 1, "width": 16},
    },
    "views": {"poi": {"name": "poi"}, "mobility": {"name": "mobility"}},
    "method": {
        "name": "urbanmmcl",
        "dim": 16,
        "graph_encoder": {"name": "vgae", "latent": 8},
        "subgraph_encoder": {"name": "gcn", "hidden": [16], "out": 8},
    },
    "tasks": {},
    "pretrain": {"epochs": 3, "batch_size": 21, "patience": 2},
    "evaluation": {"floors": [], "controls": []},
    "report": {"figures": False},
    "precision": "fp32",
}
SMALL = RECIPE | {
    "modalities": {name: RECIPE["modalities"][name] for name in ("rsi", "location")},
    "views": {},
    "pretrain": {"epochs": 60, "batch_size": 16, "patience": 0},
}


@pytest.fixture
def start(tmp_path: Path, tiny_city):
    """Starts a command in as many processes, with a recipe on the tiny city in `recipe.yaml`."""

    def start(processes: int, *args: str, recipe=RECIPE) -> subprocess.Popen[str]:
        content = recipe | {"city": {"prepared": str(tiny_city.path)}}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
        path = os.environ.get("PYTHONPATH", str(Path(__file__).parents[2]))
        return subprocess.Popen(
            [sys.executable, "-m", *(launcher if processes > 1 else []), *args],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def ended(process: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == status, stderr
    return stdout, stderr


def assert_same(first: Path, second: Path, tolerance: float) -> None:
    """Rounding, which differs, grows with every step of Adam where a gradient is nearly zero."""
    losses = [pd.read_parquet(folder / "history.parquet") for folder in (first, second)]
    key = ["stage", "epoch", "part", "name"]
    pd.testing.assert_frame_equal(losses[0][key], losses[1][key])
    np.testing.assert_allclose(losses[0]["value"], losses[1]["value"], rtol=tolerance, atol=tolerance)
    vectors = [np.stack(Run.open(folder).embeddings["embedding"].to_numpy()) for folder in (first, second)]
    np.testing.assert_allclose(*vectors, rtol=10 * tolerance, atol=10 * tolerance)


def test_two_processes_have_the_losses_and_embeddings_of_one_and_write_one_run(start, tmp_path):
    alone = start(1, "urbankit", "run", "recipe.yaml", "--out", "one")
    stdout, stderr = ended(start(2, "urbankit", "run", "recipe.yaml", "--out", "two"))
    ended(alone)
    assert stdout.count("The run is in two") == 1 and stderr.count("pretrain done") == 1
    assert "Warning" not in stderr and "error" not in stderr
    assert Run.open(tmp_path / "two").status == "done"
    assert_same(tmp_path / "one", tmp_path / "two", 1e-3)


def test_run_of_two_that_is_interrupted_is_resumed_by_one(start, tmp_path):
    process = start(2, "urbankit", "run", "recipe.yaml", "--out", "run", recipe=SMALL)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("pretrain "):
            break
    process.send_signal(signal.SIGTERM)
    _, stderr = ended(process, status=1)  # that of torchrun
    assert stderr.count("interrupted; repeat the command") == 1 and "error:" not in stderr
    assert Run.open(tmp_path / "run").status == "interrupted"
    ended(start(1, "urbankit", "run", "recipe.yaml", "--out", "run", "--resume", recipe=SMALL))
    ended(start(1, "urbankit", "run", "recipe.yaml", "--out", "whole", recipe=SMALL))
    assert_same(tmp_path / "run", tmp_path / "whole", 3e-3)


def test_mistake_in_the_recipe_is_told_once_and_leaves_nothing(start, tmp_path):
    _, stderr = ended(start(2, "urbankit", "run", "recipe.yaml", "--set", "pretrain.epoch=3", "--out", "run"), status=1)
    assert stderr.count("error:") == 1 and "Did you mean 'epochs'?" in stderr
    assert not (tmp_path / "run").exists()


def test_dry_run_is_printed_once(start):
    stdout, stderr = ended(start(2, "urbankit", "run", "recipe.yaml", "--dry-run"))
    assert stdout.count("at most 3 epochs") == 1 and "error:" not in stderr


UNIT = """
from copy import deepcopy

import torch
from torch import nn

from urbankit.utils import processes
from urbankit.utils.errors import RunError

with processes.joined(), processes.together():
    torch.manual_seed(0)
    x, weight = torch.randn(7, 2, 4, 4), torch.randn(7, 3, 4, 4)
    layers = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3))
    initial = deepcopy(layers)
    begin, end = processes.bounds(7, 2)

    def gradients(layers, begin, end, total):
        vectors = (layers(x[begin:end]).exp() * weight[begin:end]).sum(dim=(2, 3))
        total(vectors.sum(dim=0)).square().sum().backward()
        return [*(p.grad for p in layers.parameters()), *layers.buffers()]

    expected = gradients(layers, 0, 7, lambda total: total)
    layers = initial
    with processes.norms_over_all(layers):
        found = gradients(layers, begin, end, processes.total)
    assert "forward" not in vars(layers[1])
    for value in found[:3]:  # what DistributedDataParallel does
        torch.distributed.all_reduce(value)
        value /= 2
    for one, other in zip(expected, found):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)

    assert processes.in_any(not processes.is_first()) and not processes.in_any(False)
    assert processes.of_first(lambda: begin) == 0
    processes.check_same(float("nan"), "loss")
    processes.check_same(1.0, "loss")
    try:
        processes.check_same(1.0 + begin, "the loss")
    except RunError as error:
        assert "the loss is 1 in one process and 4 in another" in str(error)
    else:
        raise AssertionError
assert processes.count() == 1 and processes.is_first()
print("all is well")
"""


GRADIENTS = """
import torch

from urbankit.pipeline import stages
from urbankit.training.seeds import reseed
from urbankit.utils import processes

with processes.joined():
    recipe = stages.load_recipe("recipe.yaml")
    state = stages.build_inputs(recipe, stages.prepare_city(recipe), f"of-{processes.is_first()}")
    method = state.method
    method.prepare()
    method.train()
    before = {name: value.clone() for name, value in method.state_dict().items()}

    def step(regions, loss_of):
        method.load_state_dict(before)
        method.zero_grad()
        reseed(5)
        losses = loss_of(regions)
        processes.backward(losses["total"])
        gradient = torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None]).clone()
        return {name: loss.item() for name, loss in losses.items()}, gradient

    for regions in (torch.arange(21), torch.tensor([3, 40])):
        losses, gradient = step(regions, method.loss)
        with processes.together():
            divided, averaged = step(regions, processes.data_parallel(method))
        torch.testing.assert_close(divided, losses, rtol=1e-5, atol=1e-5)
        assert (averaged - gradient).norm() < 1e-5 * gradient.norm()
print("all is well")
"""


def test_loss_and_gradient_of_a_mini_batch_are_those_of_one_process(start, tmp_path):
    process = start(2, "gradients")
    (tmp_path / "gradients.py").write_text(GRADIENTS)
    stdout, _ = ended(process)
    assert stdout.count("all is well") == 2


def test_batch_normalisation_and_sums_have_the_gradients_of_one_process(start, tmp_path):
    (tmp_path / "unit.py").write_text(UNIT)
    stdout, _ = ended(start(2, "unit"))
    assert stdout.count("all is well") == 2


def test_a_script_in_several_processes_is_told_that_they_do_not_share_its_runs(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError, match="let the launcher start `-m urbankit run RECIPE`"):
        run(Recipe.load(tiny_recipe), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
