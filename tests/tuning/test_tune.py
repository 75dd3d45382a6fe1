"""`urbankit tune`: what it searches, that it never reads the test part, that it goes on, and mistakes of users."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.edited_city import accept_changes
from sklearn.metrics import f1_score, r2_score

from urbankit import City, Recipe, RunError, UserError, run
from urbankit.pipeline import stages
from urbankit.runs.data import load_tasks, make_splits
from urbankit.training.finetune import Finetuned
from urbankit.tuning import study as searching
from urbankit.tuning import tune
from urbankit.tuning.space import Space
from urbankit.tuning.trial import Pruned, run_trial, without_labels
from urbankit.utils.progress import Progress

optuna = pytest.importorskip("optuna")

SPACE = """\
finetune.learning_rate: {low: 1e-3, high: 1e-1, log: true}
method.dim: {choices: [8, 16]}
tasks.land_use.head: {choices: [{name: linear}, {name: mlp, hidden: 8}]}
pretrain.epochs: {low: 1, high: 3, step: 2}
"""


@pytest.fixture
def files(cheap_recipe: dict[str, Any], tmp_path: Path) -> Path:
    """A folder with `mine.yaml` and `space.yaml`."""
    keys = cheap_recipe | {"evaluation": cheap_recipe["evaluation"] | {"seeds": [0, 1]}, "finetune": {"epochs": 2}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(keys | {"method": cheap_recipe["method"]}))
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def searched(files: Path, name: str = "study", **arguments: Any) -> Any:
    return tune(files / "mine.yaml", files / "space.yaml", files / name, **{"trials": 2, **arguments})


def test_the_score_of_a_trial_is_that_of_the_validation_parts(files, tiny_city):
    result = searched(files)
    assert [trial.state for trial in result.trials] == ["done", "done"]
    assert result.trials[0].value >= result.trials[1].value
    for trial in result.trials:
        folder = files / "study" / "trials" / f"{trial.number:03d}"
        recipe = Recipe.load(folder / "recipe.yaml")
        tasks, scores = load_tasks(recipe, tiny_city), []
        for (protocol, seed), split in make_splits(recipe, tiny_city).items():
            predictions = Finetuned.load(
                folder / "checkpoints" / "finetune" / f"{protocol}-{seed}.safetensors"
            ).predictions
            for name, task in tasks.items():
                rows = split.validation[task.labelled[split.validation]]
                truth, predicted = task.y[rows], predictions[name][rows]
                macro = f1_score(truth, predicted, average="macro") if task.classes else None
                scores.append(r2_score(truth, predicted) if macro is None else macro)
        assert trial.value == pytest.approx(np.mean(scores))
        assert not (folder / "metrics.parquet").exists() and not (folder / "report.html").exists()
        assert recipe.method.params["dim"] == trial.values["method.dim"] in (8, 16)
        assert recipe.pretrain.epochs == trial.values["pretrain.epochs"] in (1, 3)
        assert 1e-3 <= recipe.finetune.learning_rate == trial.values["finetune.learning_rate"] <= 1e-1
        assert recipe.tasks["land_use"].head.name == trial.values["tasks.land_use.head"]["name"]


def test_the_best_recipe_extends_the_given_one_with_its_changes(files):
    result = searched(files, sets=["finetune.epochs=1"], seeds=[7])
    assert result.best == files / "study" / "best.yaml"
    keys, best = yaml.safe_load(result.best.read_text()), result.trials[0]
    assert keys["extends"] == str(files / "mine.yaml") and keys["name"] == "mine-best"
    recipe = Recipe.load(result.best)
    assert recipe.finetune.epochs == 1 and recipe.method.params["dim"] == best.values["method.dim"]
    assert recipe.finetune.learning_rate == best.values["finetune.learning_rate"]
    assert recipe.evaluation.seeds == [0, 1]  # not those that the search was scored on
    trial = Recipe.load(files / "study" / "trials" / f"{best.number:03d}" / "recipe.yaml")
    assert trial.evaluation.seeds == [7] and trial.method == recipe.method


def other_city(city: City, folder: Path, regions: np.ndarray) -> City:
    """A copy of the city in which some regions have other labels; classes keep their number of regions."""
    shutil.copytree(city.path, folder)
    for path in folder.glob("targets/*.parquet"):
        table = pd.read_parquet(path)
        values = table.loc[regions, "value"]
        table.loc[regions, "value"] = values * 3 + 1 if values.dtype == float else values.to_numpy()[::-1]
        table.to_parquet(path, index=False)
    accept_changes(folder)
    return City.open(folder)


def test_other_test_labels_change_no_value(files, tiny_city):
    sets = ["evaluation={splits: [random], seeds: [3]}"]
    recipe = Recipe.load(files / "mine.yaml", sets)
    [split] = make_splits(recipe, tiny_city).values()
    city = other_city(tiny_city, files / "other", split.test)
    before, after = load_tasks(recipe, tiny_city), load_tasks(recipe, city)
    for name in before:
        changed = before[name].labelled & (before[name].y != after[name].y)
        assert changed[split.test].any() and not changed[split.train].any() and not changed[split.validation].any()
    values = [
        [trial.value for trial in searched(files, name, sets=[*sets, f"city={{prepared: {one.path}}}"]).trials]
        for name, one in (("here", tiny_city), ("there", city))
    ]
    assert values[0] == values[1]


def test_heads_get_no_label_of_the_test_part(files, tiny_city, monkeypatch):
    seen = []

    def finetune(state, embeddings):
        [split] = state.splits.values()
        seen.append({name: (task.labelled[split.test].any(), task.y[split.test]) for name, task in state.tasks.items()})
        return original(state, embeddings)

    original = stages.finetune
    monkeypatch.setattr(stages, "finetune", finetune)
    searched(files, trials=1)
    assert len(seen) == 2
    for tasks in seen:
        assert not any(labelled for labelled, _ in tasks.values())
        assert np.isnan(tasks["co"][1]).all() and (tasks["land_use"][1] == -1).all()


def test_a_search_goes_on_and_counts_earlier_trials(files):
    first = searched(files, trials=1)
    again = searched(files, trials=3)
    assert len(again.trials) == 3 and first.trials[0] in again.trials
    draws = {trial.values["finetune.learning_rate"] for trial in again.trials}
    assert len(draws) == 3
    assert searched(files, trials=2) == again  # there are enough
    assert not (files / "study" / ".urbankit-lock").exists()


def test_an_interrupted_trial_goes_on_with_its_values(files, monkeypatch):
    whole = searched(files, "whole")
    original, calls = stages.embed, iter(range(10))

    def interrupted(state):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return original(state)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages, "embed", interrupted)
        searched(files)
    assert (files / "study" / "best.yaml").is_file()
    assert sorted(path.name for path in (files / "study" / "trials").iterdir()) == ["000", "001"]
    done = searched(files)
    assert [(one.number, one.value, one.values) for one in done.trials] == [
        (one.number, one.value, one.values) for one in whole.trials
    ]


def test_a_trial_that_is_stopped_early_can_be_finished_as_a_run(files, tiny_city):
    recipe = Recipe.load(files / "mine.yaml")
    judged = []

    def judge(number: int, mean: float) -> bool:
        judged.append((number, mean))
        return True

    with pytest.raises(Pruned):
        run_trial(recipe, tiny_city, files / "trial", Progress(quiet=True), judge)
    assert [number for number, _ in judged] == [0]
    finished = run(recipe, files / "trial", resume=True, progress=Progress(quiet=True))
    whole = run(recipe, files / "run", progress=Progress(quiet=True))
    assert finished.status == "done"
    for name in ("metrics.json", "predictions.parquet"):
        assert (finished.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_trials_worse_than_the_median_are_stopped(files, monkeypatch):
    values = iter([0.5, 0.6, 0.7, 0.8, 0.9, 0.1])

    def trial(recipe, city, folder, progress, judge):
        value = next(values)
        if judge(0, value):
            raise Pruned
        return value

    monkeypatch.setattr(searching, "run_trial", trial)
    result = searched(files, trials=6)
    assert [trial.state for trial in result.trials] == ["done"] * 5 + ["stopped early"]
    assert result.trials[0].value == 0.9 and result.trials[-1].value == 0.1


def test_a_trial_that_fails_does_not_end_the_search(files, monkeypatch):
    def trial(recipe, city, folder, progress, judge):
        if folder.name == "001":
            raise RunError("the loss is nan")
        return 0.5

    monkeypatch.setattr(searching, "run_trial", trial)
    result = searched(files, trials=3)
    assert [(trial.number, trial.state, trial.value) for trial in result.trials] == [
        (0, "done", 0.5), (2, "done", 0.5), (1, "failed", None)
    ]  # fmt: skip


def test_an_error_of_the_first_trial_is_raised(files, monkeypatch):
    def trial(*_: object) -> float:
        raise RunError("the loss is nan")

    monkeypatch.setattr(searching, "run_trial", trial)
    with pytest.raises(RunError, match="the loss is nan"):
        searched(files)


def test_another_recipe_space_or_city_is_refused(files, tiny_city):
    searched(files, trials=1)
    with pytest.raises(UserError, match="study: the search in it has another recipe"):
        searched(files, sets=["finetune.epochs=3"])
    with pytest.raises(UserError, match="has another recipe"):
        searched(files, seeds=[5])
    searched(files, trials=1, sets=["tracking={name: wandb}"])  # it changes no number
    (files / "space.yaml").write_text(SPACE.replace("1e-1", "1e-2"))
    with pytest.raises(UserError, match="the search in it has another space"):
        searched(files)


def test_a_folder_with_something_else_is_refused(files):
    (files / "study").mkdir()
    (files / "study" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and has no search \(study.db\)"):
        searched(files)
    (files / "study" / "study.db").write_text("not a database")
    with pytest.raises(UserError, match=r"study.db: is damaged or cannot be written"):
        searched(files)
    (files / "file").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder"):
        searched(files, "file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method.dims: {low: 1, high: 2}", r"space.yaml:1: method.dims: unknown key. Did you mean 'dim'\?"),
        ("method.dim: {low: -8, high: 8}", r"space.yaml:1: method.dim: should be greater than"),
        ("seed: {low: 0, high: 9}\nmethod.dim: {choices: [8, many]}", r"space.yaml:2: method.dim: should be .*integer"),
        ("method.dim: {low: 8, hihg: 16}", r"method.dim.hihg: unknown key. Did you mean 'high'\?"),
        ("method.dim: {low: 16, high: 8}", r"method.dim: `low` should be below `high`, not 16 and 8"),
        ("method.dim: {low: 0, high: 8, log: true}", r"method.dim: `log` needs a `low` above 0"),
        ("method.dim: {low: 8, high: 16, log: true, step: 2}", r"give one of `log` and `step`"),
        ("method.dim: {low: 8, high: 16, step: 1.5}", r"`step` should be one, too"),
        ("method.dim: {choices: []}", r"method.dim.choices: .*at least 1 item"),
        ("method.dim: 8", r"method.dim: should be a mapping of keys to values, not 8"),
        ("tasks.co.head: {choices: [{name: gpp}]}", r"tasks.co.head.name: unknown head 'gpp'. Did you mean 'gp'\?"),
        ("evaluation.blocks: {low: 2, high: 9}", r"space.yaml:1: evaluation.blocks: cannot be searched"),
        ("tasks.co.scale: {choices: [own, log]}", r"tasks.co.scale: cannot be searched"),
        ("{}", r"is empty; a space has keys of a recipe"),
        ("", r"is empty; a space has keys of a recipe"),
        ("- a", r"is not a mapping of keys to values; a space has keys"),
    ],
)
def test_mistakes_in_a_space_are_named_with_their_line(files, text, message):
    (files / "space.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        searched(files)
    assert not (files / "study").exists()


def test_a_file_in_a_space_is_relative_to_the_space(files):
    (files / "elsewhere").mkdir()
    (files / "elsewhere" / "space.yaml").write_text("prior: {choices: [models/a]}")
    with pytest.raises(UserError, match=f"there is neither a model nor a run in '{files}/elsewhere/models/a'"):
        Space.read(files / "elsewhere" / "space.yaml", str(files / "mine.yaml"), ())


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["tasks=null"], "tasks: there is no task to score trials by"),
        (["evaluation.splits=[random, few]"], "evaluation.splits: few: no validation part"),
        (["finetune.epoch=3"], r"finetune.epoch: unknown key. Did you mean 'epochs'\?"),
    ],
)
def test_recipes_that_cannot_be_tuned_are_refused(files, sets, message):
    if sets == ["tasks=null"]:
        recipe = yaml.safe_load((files / "mine.yaml").read_text())
        (files / "mine.yaml").write_text(yaml.safe_dump(recipe | {"tasks": {}}))
        sets = []
    with pytest.raises(UserError, match=message):
        searched(files, sets=sets)
    assert not (files / "study").exists()


def test_labels_are_removed_from_a_copy(tiny_city, files):
    task = load_tasks(Recipe.load(files / "mine.yaml"), tiny_city)["co"]
    without = without_labels(task, np.array([0, 1]))
    assert not without.labelled[:2].any() and (without.labelled[2:] == task.labelled[2:]).all()
    assert np.isnan(without.y[:2]).all() and not np.isnan(task.y[:2]).all()


def test_a_missing_optuna_is_named(files, monkeypatch, cli):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    [error] = cli("tune", files / "mine.yaml", "--space", files / "space.yaml", status=2).errors
    assert error == "tune needs the package optuna: pip install 'urbankit[tune]'"


def test_the_command_prints_the_best_trials(files, cli, monkeypatch):
    monkeypatch.chdir(files)
    nothing = cli("tune", "mine.yaml", "--space", "space.yaml", "--timeout", 0)
    assert "the best of 0 trials" in nothing.stdout and "best.yaml" not in nothing.stdout
    result = cli("tune", "mine.yaml", "--space", "space.yaml", "--trials", 2, "--set", "finetune.epochs=2")
    lines = result.stdout.splitlines()
    assert lines[0] == "the best of 2 trials"
    assert lines[1].split() == ["trial", "score", "state", *yaml.safe_load(SPACE)]
    assert len([line for line in lines if " done " in line]) == 2
    assert "run it with: urbankit run runs/mine-tune/best.yaml" in lines[-1]
    assert "trial 1: " in result.stderr
    missing = cli("tune", "mine.yaml", "--space", "nowhere.yaml", status=2)
    assert missing.errors == ["nowhere.yaml: there is no such file"]
