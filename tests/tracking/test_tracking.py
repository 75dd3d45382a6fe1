"""Trackers get every number of a run once, and whatever they do, the run stays the same."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from urbankit import Recipe, Run, UserError, run, testing
from urbankit.bench.store import Store
from urbankit.bench.suite import SuiteRun
from urbankit.pipeline import stages, tracking
from urbankit.runs.manifest import recipe_hash
from urbankit.tracking.base import Score, Tracker, means
from urbankit.training.loop import Loop
from urbankit.utils.progress import Progress

CALLS: list[tuple[str, Any]] = []
"""What the tracker `mine` of a test was called with."""


class Listener(Tracker):
    """Notes its calls, uses up random numbers, and raises where a test says so."""

    raises: str = ""

    def _note(self, method: str, argument: Any) -> None:
        CALLS.append((method, argument))
        random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
        if method == self.raises:
            raise ConnectionError("the server\nis down")

    def start(self, run):
        self._note("start", run)
        return run.id or "run-1"

    def log_losses(self, losses):
        self._note("losses", losses)

    def log_scores(self, scores):
        self._note("scores", scores)

    def log_files(self, files):
        self._note("files", files)

    def end(self, status):
        self._note("end", status)


def called(method: str) -> list[Any]:
    return [argument for name, argument in CALLS if name == method]


def sent(method: str) -> list[Any]:
    return [row for rows in called(method) for row in rows]


@pytest.fixture
def keys(cheap_recipe: dict[str, Any], plugin: Callable[[str, type], None], monkeypatch) -> dict[str, Any]:
    """The keys of a recipe with the tracker, which is sent every epoch at once."""
    plugin("tracker", Listener)
    monkeypatch.setattr(Listener, "raises", "")
    monkeypatch.setattr(tracking, "EVERY", 0.0)
    CALLS.clear()
    recipe = {key: dict(value) for key, value in cheap_recipe.items()}
    recipe["evaluation"]["seeds"] = [0, 1]
    return {"name": "tracked", **recipe, "predict": {"folds": 0}, "tracking": {"name": "mine"}}


@pytest.fixture(scope="module")
def untracked(tiny_city, cheap_recipe, tmp_path_factory) -> Run:
    """The same run without a tracker."""
    evaluation = cheap_recipe["evaluation"] | {"seeds": [0, 1]}
    recipe = {"name": "tracked", **cheap_recipe, "evaluation": evaluation, "predict": {"folds": 0}}
    return completed(recipe, tmp_path_factory.mktemp("untracked") / "run")


def completed(recipe: dict[str, Any], out: Path, **arguments: Any) -> Run:
    return run(Recipe.load(recipe), out, progress=Progress(quiet=True), **arguments)


def assert_same_results(one: Path, other: Path) -> None:
    names = ("embeddings.parquet", "predictions.parquet", "metrics.json", "history.parquet")
    assert [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()] == []


def test_a_tracker_gets_the_rows_of_the_run_folder_and_changes_no_number(keys, untracked, tmp_path):
    result = completed(keys, tmp_path / "run")
    assert_same_results(result.path, untracked.path)
    assert CALLS[0][0] == "start" and [name for name, _ in CALLS[-2:]] == ["files", "end"]
    [started] = called("start")
    assert (started.name, started.id, started.recipe["pretrain.epochs"]) == ("run", None, 2)
    assert json.loads(started.recipe["evaluation.seeds"]) == [0, 1] and "tracking.name" not in started.recipe

    history = [tuple(row) for row in result.history.itertuples(index=False)]
    assert [tuple(loss) for loss in sent("losses")] == history and len(called("losses")) >= 2 + 2
    scores = {tuple(row) for row in result.metrics.dropna().itertuples(index=False)}
    assert {tuple(score) for score in sent("scores")} == scores
    assert called("end") == ["done"]
    assert {path.name for path in sent("files")} == {"recipe.yaml", "metrics.json", "report.html"}
    [entry] = result.manifest["tracking"]
    epochs = {"pretrain": 2, "finetune random 0": 3, "finetune random 1": 3}
    assert (entry["run"], entry["epochs"], entry["scores"], entry["status"]) == ("run-1", epochs, True, "done")


@pytest.mark.parametrize("method", ["start", "losses", "scores", "files", "end"])
def test_a_tracker_that_raises_gives_one_warning_and_the_run_goes_on(method, keys, untracked, tmp_path, monkeypatch):
    monkeypatch.setattr(Listener, "raises", method)
    result = completed(keys, tmp_path / "run")
    assert result.status == "done"
    assert_same_results(result.path, untracked.path)
    [note] = [note for note in result.manifest["notes"] if "tracking" in note]
    assert note == "tracking by mine ended: ConnectionError: the server is down; the run goes on"
    assert CALLS[-1][0] == method and len(called(method)) == 1


def test_scores_that_a_tracker_did_not_take_are_sent_by_resume(keys, tmp_path, monkeypatch):
    monkeypatch.setattr(Listener, "raises", "scores")
    completed(keys, tmp_path / "run")
    monkeypatch.setattr(Listener, "raises", "")
    CALLS.clear()
    completed(keys, tmp_path / "run", resume=True)
    assert [name for name, _ in CALLS] == ["start", "scores", "files", "end"]
    CALLS.clear()
    completed(keys, tmp_path / "run", resume=True)
    assert CALLS == []


def test_an_interrupted_run_goes_on_in_the_same_run_of_the_tracker(keys, untracked, tmp_path, monkeypatch):
    """Without a checkpoint, so that epochs that were sent are trained again."""
    judge, calls = Loop._judge, iter(range(100))

    def interrupted(self, *arguments):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return judge(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_judge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            completed(keys, tmp_path / "run")
    assert {loss.epoch for loss in sent("losses")} == {0} and called("end") == ["interrupted"]
    completed(keys, tmp_path / "run", resume=True)
    assert_same_results(tmp_path / "run", untracked.path)
    assert [one.id for one in called("start")] == [None, "run-1"] and called("end") == ["interrupted", "done"]
    assert sorted(sent("losses")) == sorted(tuple(row) for row in untracked.history.itertuples(index=False))


def test_a_run_is_resumed_with_another_tracker_which_gets_everything(keys, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages, "embed", stop)
        completed(keys | {"tracking": None}, tmp_path / "run")
    result = completed(keys, tmp_path / "run", resume=True)
    assert len(sent("losses")) == len(result.history)
    assert result.recipe.tracking.name == "mine"


def test_two_trackers_get_the_same(keys, tmp_path):
    result = completed(keys | {"tracking": [{"name": "mine"}, {"name": "mine"}]}, tmp_path / "run")
    assert len(sent("losses")) == 2 * len(result.history) and called("end") == ["done", "done"]


def test_trackers_do_not_enter_the_hash_of_a_recipe_or_the_key_of_a_suite(keys, tiny_city, tmp_path):
    with_tracker, without = Recipe.load(keys), Recipe.load(keys | {"tracking": None})
    assert recipe_hash(with_tracker) == recipe_hash(without) != recipe_hash(Recipe.load(keys | {"seed": 1}))
    stored = [
        Store(tmp_path).run(SuiteRun("row", "", 0, "cheap", recipe), "tiny", tiny_city).key
        for recipe in (with_tracker, without)
    ]
    assert stored[0] == stored[1]


def test_means_are_over_the_seeds():
    scores = [Score("co", model, "random", s, "r2", 0.5 + s) for model in ("hrep", "floor:mean") for s in (0, 1)]
    assert means(scores) == {"co/random/r2": 1.0, "co/random/r2/floor:mean": 1.0}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{name: tensorbord}", r"tracking.name: unknown tracker 'tensorbord'. Did you mean 'tensorboard'\?"),
        ("[{name: mlflow}, {name: wandb, mode: off-line}]", r"tracking\[1\].mode: should be .*'online' or 'offline'"),
        ("{name: mlflow, url: x}", r"tracking.url: unknown key. Did you mean 'uri'\?"),
        ("mlflow", r"tracking: should name a component and its parameters, such as {name: mlflow}"),
        ("[mlflow]", r"tracking\[0\]: should name a component and its parameters"),
    ],
)
def test_a_wrong_tracker_is_refused_with_its_key(value, message):
    with pytest.raises(UserError, match=message):
        Recipe.load("urbanmmcl", [f"tracking={value}"])


def test_a_package_that_is_not_installed_is_refused_before_anything_is_trained(keys, tmp_path, monkeypatch):
    monkeypatch.setattr("urbankit.tracking.base.find_spec", lambda name: None)
    recipe = keys | {"tracking": [{"name": "mlflow"}, {"name": "tensorboard"}]}
    message = (
        r"tracking: the tracker mlflow needs the package mlflow: pip install 'urbankit\[mlflow\]'\n"
        r".*tensorboard needs the package tensorboard: pip install 'urbankit\[tracking\]'"
    )
    with pytest.raises(UserError, match=message):
        completed(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Forgetful(Listener):
    """Begins a new run each time."""

    def start(self, run):
        return f"run-{len(CALLS)}-{run.id}"


def test_the_checks_find_a_tracker_that_does_not_continue_a_run(plugin):
    plugin("tracker", Forgetful)
    with pytest.raises(testing.ConformanceError, match="continue that run and return its id"):
        testing.check_component("tracker", "mine")


def test_dry_run_lists_the_trackers(cli):
    printed = cli("run", "urbanmmcl", "--dry-run", "--set", "tracking.name=wandb").stdout
    assert any(line.split() == ["tracking", "wandb"] for line in printed.splitlines())
