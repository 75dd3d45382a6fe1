"""Fine-tuning: what it may see, what it may change, and settings that name what is not there."""

import numpy as np
import pytest
import torch
from torch import nn

from urbankit.evaluation.means import Means
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import TaskData
from urbankit.heads.stacking import members
from urbankit.methods.base import Method
from urbankit.recipe.schema import Predict
from urbankit.recipe.training_schema import Finetune
from urbankit.registry.component import Use
from urbankit.training.finetune import check_parts, finetune
from urbankit.training.head_training import HeadTraining
from urbankit.training.predictor import Labels
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress

N = 40
SPLIT = Split(np.arange(24), np.arange(24, 32), np.arange(32, N))
SHARES = np.random.default_rng(0).dirichlet([1, 2, 3], N)


class Lookup(Method):
    """A method whose embedding is one layer on fixed numbers."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.dim = 3
        self.x = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))
        self.layer = nn.Linear(5, self.dim)

    def loss(self, regions):
        return {"total": self(regions).square().mean()}

    def forward(self, regions):
        return self.layer(self.x[regions])

    def parts(self):
        return {"layer": list(self.layer.parameters())}


def task(kind: str = "regression", y: np.ndarray | None = None) -> TaskData:
    if kind == "classification":
        y = np.arange(N) % 2 if y is None else y
        return TaskData("type", kind, y, y >= 0, ("a", "b", "c"))
    if kind == "distribution":
        y = SHARES if y is None else y
        return TaskData("type", kind, y, ~np.isnan(y).any(axis=1), parts=("a", "b", "c"))
    y = np.random.default_rng(0).normal(size=N) if y is None else y
    return TaskData("type", kind, y, ~np.isnan(y), transform="standard")


def predicted(data: TaskData, head: str = "mlp", method: Method | None = None, **settings) -> np.ndarray:
    torch.manual_seed(1)
    method = Lookup() if method is None else method
    embeddings = method(torch.arange(N)).detach()
    made = Finetune(**({"epochs": 4, "patience": 2} | settings))
    result = finetune(method, embeddings, {"type": data}, {"type": Use(name=head)}, SPLIT, made, 0, name="fold")
    return result.predictions["type"]


@pytest.mark.parametrize("head", ["mlp", "gp", "forest", "stack"])
@pytest.mark.parametrize("kind", ["regression", "classification", "distribution"])
def test_labels_of_the_test_part_change_no_prediction(head, kind):
    data = task(kind)
    y = data.y.copy()
    y[SPLIT.test] = y[SPLIT.test][::-1] + (kind != "distribution")
    assert np.array_equal(predicted(data, head), predicted(task(kind, y), head))


@pytest.mark.parametrize("head", ["ridge", "gp", "kriging"])
def test_predicted_shares_do_not_depend_on_the_order_of_regions(head):
    """The training regions in another order, and the test regions with them."""
    order = np.concatenate([np.random.default_rng(1).permutation(24), np.random.default_rng(2).permutation(16) + 24])
    method = Lookup()
    moved = Lookup()
    moved.load_state_dict(method.state_dict())
    moved.x = method.x[torch.from_numpy(order)]
    shares = predicted(task("distribution"), head, method)
    np.testing.assert_allclose(predicted(task("distribution", SHARES[order]), head, moved), shares[order], atol=1e-4)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_a_fitted_head_is_fitted_to_one_coordinate_after_another():
    """A distribution of two parts is a regression of their log-ratio."""
    two = np.stack([SHARES[:, 0], 1 - SHARES[:, 0]], axis=1)
    data = TaskData("type", "distribution", two, np.ones(N, bool), parts=("a", "b"))
    form = data.form(SPLIT.train)
    ratio = TaskData("type", "regression", form.transform(two)[:, 0], np.ones(N, bool), transform="standard")
    method = Lookup()
    np.testing.assert_allclose(
        predicted(data, "ridge", method), form.inverse(predicted(ratio, "ridge", method)[:, None]), atol=1e-6
    )


@pytest.mark.parametrize("head", ["gp", "forest"])
def test_fitted_heads_do_not_see_labels_of_the_validation_part(head):
    y = task().y.copy()
    y[SPLIT.validation] = 100
    assert np.array_equal(predicted(task(), head), predicted(task(y=y), head))


def test_a_linear_probe_leaves_the_method_unchanged():
    method = Lookup()
    before = method.layer.weight.detach().clone()
    predicted(task(), method=method, paradigm="linear_probe", learning_rates={"layer": 0.1, "heads": 0.1})
    assert torch.equal(method.layer.weight, before)
    predicted(task(), method=method, paradigm="end_to_end")
    assert not torch.equal(method.layer.weight, before)


def fitted(tmp_path, names: list[str], head: str = "mlp", **settings):
    """The result of one split for some of three tasks, of a method whose weights are updated, too."""
    rng = np.random.default_rng(3)
    tasks = {
        "a": TaskData("a", "regression", rng.normal(size=N), np.ones(N, dtype=bool), transform="standard"),
        "b": TaskData("b", "regression", rng.normal(size=N), np.arange(N) % 5 > 0, transform="standard"),
        "c": TaskData("c", "classification", np.arange(N) % 2, np.ones(N, dtype=bool), ("x", "y")),
    }
    tasks = {name: tasks[name] for name in names}
    torch.manual_seed(1)
    method = Lookup()
    made = Finetune(**({"epochs": 6, "patience": 2, "learning_rate": 0.05} | settings))
    training = HeadTraining(
        method, method(torch.arange(N)).detach(), tasks, dict.fromkeys(tasks, Use(name=head)), made, tmp_path,
        Progress(quiet=True),
    )  # fmt: skip
    return training, training.fit(SPLIT, "random", 0, "finetune random 0", "random-0")


@pytest.mark.parametrize("head", ["mlp", "gp"])
def test_one_task_has_the_same_numbers_joint_and_apart(tmp_path, head):
    folds, xy = Predict(folds=3, split="random"), np.random.default_rng(0).normal(size=(N, 2))
    results = []
    for joint in (True, False):
        training, result = fitted(tmp_path / str(joint), ["a"], head, joint=joint)
        training.folder = tmp_path / f"predict {joint}"
        results.append((result.predictions["a"], training.cross_fit(folds, xy, 0, 4)["a"]))
    (one, of_folds), (other, of_other_folds) = results
    assert np.array_equal(one, other)
    assert np.array_equal(of_folds.by_fold, of_other_folds.by_fold)
    assert np.array_equal(of_folds.full, of_other_folds.full)


@pytest.mark.parametrize("head", ["mlp", "forest"])
def test_tasks_apart_equal_runs_of_one_task_each(tmp_path, head):
    apart = fitted(tmp_path / "all", ["a", "b", "c"], head, joint=False)[1]
    for name in ("a", "b", "c"):
        alone = fitted(tmp_path / name, [name], head)[1]
        assert np.array_equal(apart.predictions[name], alone.predictions[name])
    if head == "mlp":
        together = fitted(tmp_path / "joint", ["a", "b", "c"])[1]
        assert not np.array_equal(apart.predictions["b"], together.predictions["b"])
        assert set(apart.record["best_epoch"]) == {"a", "b", "c"} and apart.record["epochs"] <= 6
        assert {row["name"] for row in apart.history} == {"a", "b", "c"}


def test_the_order_of_tasks_apart_does_not_matter(tmp_path):
    one, other = (fitted(tmp_path / "".join(names), list(names), joint=False)[1] for names in ("abc", "cba"))
    assert all(np.array_equal(one.predictions[name], other.predictions[name]) for name in "abc")


def test_tasks_apart_continue_with_the_task_at_which_they_were_stopped(tmp_path, monkeypatch):
    complete = fitted(tmp_path / "complete", ["a", "b", "c"], joint=False)[1]
    losses = Labels.loss

    def stopping(labels, outputs, regions):
        if labels.data.name == "b":
            raise KeyboardInterrupt
        return losses(labels, outputs, regions)

    monkeypatch.setattr(Labels, "loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "resumed", ["a", "b", "c"], joint=False)
    assert (tmp_path / "resumed" / "random-0-a.safetensors").exists()
    monkeypatch.setattr(Labels, "loss", losses)
    resumed = fitted(tmp_path / "resumed", ["a", "b", "c"], joint=False)[1]
    assert all(np.array_equal(complete.predictions[name], resumed.predictions[name]) for name in "abc")


def test_classes_without_a_training_region_have_no_loss():
    y = np.arange(N) % 2
    y[30:] = 2
    labels = Labels(task("classification", y), SPLIT, 1.0, torch.device("cpu"))
    outputs = torch.randn(3, 3, requires_grad=True)
    assert labels.loss(outputs, torch.tensor([30, 31, 32])) == 0
    two, all_three = (labels.loss(outputs[:n], torch.tensor([0, 1, 30])[:n]) for n in (2, 3))
    assert torch.allclose(two, all_three)


def test_all_unknown_modules_are_reported_in_one_message():
    method = Lookup()
    check_parts(method, Finetune(update=["all"], learning_rates={"heads": 0.1, "layer": 0.1}))
    with pytest.raises(UserError) as caught:
        check_parts(method, Finetune(update=["layers"], learning_rates={"head": 0.1}))
    message = str(caught.value)
    assert "finetune.update: the method has no part 'layers'" in message and "'layer'" in message
    assert "finetune.learning_rates.head" in message and "'heads'" in message


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("mlp", []),
        (
            "gp",
            ["task type: the Gaussian process of 24 training regions uses all of them through 2,000 inducing points"],
        ),
        (
            "stack",
            ["task type: the Gaussian process of 24 training regions uses 10 of them, drawn at random"],
        ),
    ],
)
def test_what_heads_approximate_is_said_by_task(monkeypatch, tmp_path, head, expected):
    monkeypatch.setattr(members, "PROCESS", members.PROCESS.model_copy(update={"max_points": 10}))
    params = {"max_points": 20} if head == "gp" else {}
    training = HeadTraining(
        Lookup(), torch.zeros(N, 3), {"type": task()}, {"type": Use(name=head, **params)}, Finetune(), tmp_path,
        Progress(quiet=True),
    )  # fmt: skip
    assert training.approximations([SPLIT]) == expected


@pytest.mark.parametrize("head", ["mlp", "gp", "forest", "ridge", "kriging", "stack"])
def test_a_target_learned_in_logarithms_is_scored_by_means_from_validation_labels(tmp_path, head):
    y = np.exp(np.random.default_rng(5).normal(size=N))
    y[3] = y[27] = np.nan
    results = []
    for index, labels in enumerate((y, np.where(np.arange(N) < 32, y, 9.0))):  # other labels of the test part
        data = TaskData("a", "regression", labels, ~np.isnan(labels), transform="log")
        torch.manual_seed(1)
        method = Lookup()
        training = HeadTraining(
            method, method.x[:, :3], {"a": data}, {"a": Use(name=head)}, Finetune(epochs=3), tmp_path / str(index),
            Progress(quiet=True),
        )  # fmt: skip
        results.append(training.fit(SPLIT, "random", 0, "finetune random 0", "random-0"))
    one, other = (result.scored("a") for result in results)
    np.testing.assert_array_equal(one, other)
    validation = np.array([24, 25, 26, 28, 29, 30, 31])
    medians = results[0].predictions["a"]
    assert results[0].means["a"].factor != 1
    np.testing.assert_allclose(one, Means.fit(data, validation, medians[validation])(medians))
