"""Heads on a few labels: they survive five of them, and see no others."""

import numpy as np
import pytest
import torch
from torch import nn

from urbankit.evaluation.few_labels import Draws
from urbankit.evaluation.tasks import TaskData
from urbankit.methods.base import Method
from urbankit.recipe.schema import Few
from urbankit.recipe.training_schema import Finetune
from urbankit.registry.component import Use
from urbankit.training import few_labels
from urbankit.training.few_labels import FewTraining
from urbankit.utils.progress import Progress

N = 40
IDS = [f"{i:02}" for i in range(N)]
XY = np.random.default_rng(1).uniform(size=(N, 2))
HEADS = ("gp", "forest", "kriging", "ridge", "stack", "linear", "mlp", "task_adaptive")
FIVE = Draws.of("few", np.ones(N, dtype=bool), IDS, XY, 1).order[0, :5]


class Frozen(Method):
    """A method whose embedding is fixed numbers in two parts."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.dim, self.blocks = 6, [2, 4]
        self.x = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))

    def loss(self, regions):
        raise AssertionError("nothing is pre-trained")

    def forward(self, regions):
        return self.x[regions]

    def parts(self):
        return {}


def curves(task: TaskData, head: str, labels: int = 5, draws: int = 1, priors: dict | None = None, **params) -> dict:
    method = Frozen()
    training = FewTraining(
        method, method.x, {task.name: task}, {task.name: Use(name=head, **params)},
        Finetune(epochs=2, patience=1), Few(labels=[labels], draws=draws), 0, {}, priors or {}, Progress(quiet=True),
    )  # fmt: skip
    return training.curves("m", ["few"], IDS, XY)


def predicted(monkeypatch, *arguments, **settings) -> np.ndarray:
    """The predictions of all draws for their test regions."""
    seen = []
    monkeypatch.setattr(few_labels, "curve_records", lambda *row: seen.append(row[5]) or [])
    curves(*arguments, **settings)
    return seen[0]


def regression(y: np.ndarray, transform: str = "standard") -> TaskData:
    return TaskData("y", "regression", y, ~np.isnan(y), transform=transform)


def classes(codes: list[int]) -> TaskData:
    """Five classes; those of the five training regions of the first draw are given."""
    y = np.arange(N) % 5
    y[FIVE] = codes
    return TaskData("c", "classification", y, y >= 0, tuple("abcde"))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("codes", [[0] * 5, [0, 1, 2, 3, 4], [0, 0, 0, 0, 3]])
def test_heads_learn_from_five_labels_of_classes(head, codes):
    records = curves(classes(codes), head).records
    assert [record["metric"] for record in records] == ["macro_f1_area"] and 0 <= records[0]["value"] < 1


@pytest.mark.parametrize("head", HEADS)
def test_only_class_among_the_labels_is_predicted_everywhere(head, monkeypatch):
    if head in ("linear", "mlp", "task_adaptive"):
        pytest.skip("two epochs do not converge")
    assert (predicted(monkeypatch, classes([2] * 5), head) == 2).all()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("transform", ["none", "standard", "log", "soft-log"])
def test_heads_learn_from_five_equal_values(head, transform, monkeypatch):
    y = np.random.default_rng(0).uniform(1, 9, N)
    y[FIVE] = 4.0
    values = predicted(monkeypatch, regression(y, transform), head)
    assert np.isfinite(values).all()
    if head in ("gp", "forest", "kriging", "ridge", "stack"):
        np.testing.assert_allclose(values, 4.0, rtol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_labels_of_test_regions_change_no_prediction(head, monkeypatch):
    y = np.random.default_rng(0).normal(size=N)
    other = y.copy()
    rest = np.setdiff1d(np.arange(N), FIVE)
    other[rest] = -7 * other[rest[::-1]]
    one, two = (predicted(monkeypatch, regression(values), head) for values in (y, other))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("task", [regression(np.random.default_rng(2).normal(size=N)), classes([0, 1, 2, 3, 4])])
def test_draws_that_a_head_fits_at_once_equal_one_after_another(task, monkeypatch):
    from urbankit.heads.base import FittedHead
    from urbankit.heads.gp import GP

    at_once = predicted(monkeypatch, task, "gp", labels=12, draws=3)
    monkeypatch.setattr(GP, "fit_each", classmethod(FittedHead.fit_each.__func__))
    np.testing.assert_allclose(at_once, predicted(monkeypatch, task, "gp", labels=12, draws=3), atol=1e-6)


@pytest.mark.parametrize("head", ["gp", "kriging", "ridge", "stack"])
def test_heads_start_from_the_predictions_of_another_model(head):
    y = np.random.default_rng(3).normal(size=N)
    priors = {"y": 20 + 0.5 * y + 0.1 * np.random.default_rng(4).normal(size=N)}
    area, without = (
        curves(regression(y), head, labels=10, draws=3, priors=start).records[0]["value"] for start in (priors, None)
    )
    assert area > max(without, 0) + 0.4
