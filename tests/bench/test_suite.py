"""Suites as they are written: what they mean, and every mistake told with its place before anything runs."""

import re
from pathlib import Path
from typing import Any

import pytest

from urbankit.bench.suite import load_plan
from urbankit.utils.errors import UserError


def messages(suite_file, text: str, **arguments: Any) -> list[str]:
    with pytest.raises(UserError) as error:
        load_plan(suite_file(text), **arguments)
    return [str(problem).replace(str(suite_file("").parent) + "/", "") for problem in error.value.problems]


def test_runs_are_rows_by_cities_by_seeds_and_the_first_seeds_come_first(suite_file):
    plan = load_plan(
        suite_file(
            """
            seeds: [3, 4]
            cities: {a: {set: {evaluation.blocks: 5}}, b: }
            runs:
              one: cheap.yaml
              two: {recipe: cheap.yaml, cities: [b], seeds: [7]}
            """
        )
    )
    keys = [(run.row, run.city, run.seed) for run in plan.runs]
    assert keys == [("one", "a", 3), ("one", "b", 3), ("two", "b", 7), ("one", "a", 4), ("one", "b", 4)]
    assert [run.recipe.seed for run in plan.runs] == [3, 3, 7, 4, 4]
    assert [run.recipe.evaluation.blocks for run in plan.runs] == [5, 10, 10, 5, 10]
    assert all(run.recipe.evaluation.floors == [] for run in plan.runs)
    # The floors are those of the reference, the last row, which runs on one city.
    assert {key: recipe.evaluation.floors for key, recipe in plan.floors.items()} == {
        ("two", "b"): ["mean", "location"]
    }


def test_controls_are_those_of_the_reference(suite_file):
    plan = load_plan(
        suite_file(
            """
            overrides: {evaluation.controls: [untrained]}
            runs: {one: cheap.yaml, two: cheap.yaml}
            """
        )
    )
    assert {run.row: run.recipe.evaluation.controls for run in plan.runs} == {"one": [], "two": ["untrained"]}


def test_overrides_are_applied_in_the_order_suite_city_row(suite_file):
    """The suite's, then the city's, then the row's, in dots or mappings; `--set` changes the suite itself."""
    plan = load_plan(
        suite_file(
            """
            overrides: {method.dim: 16, pretrain: {epochs: 9}, tasks.co: null}
            cities: {a: {set: {method.dim: 24, finetune.epochs: 5}}}
            runs:
              own: {recipe: cheap.yaml, set: {method: {dim: 32}}}
              plain: cheap.yaml
            """
        ),
        sets=["overrides.pretrain.epochs=1", "runs.plain.set.finetune.epochs=7"],
    )
    changed, plain = (run.recipe for run in plan.runs)
    assert (changed.method.params["dim"], plain.method.params["dim"]) == (32, 24)
    assert (changed.pretrain.epochs, changed.finetune.epochs, plain.finetune.epochs) == (1, 5, 7)
    assert list(changed.tasks) == ["land_use"]


def test_city_recipe_sets_city_and_tasks(suite_file, tmp_path: Path, tiny_city):
    """`recipe` of a city gives `city` and `tasks`; `{city}` in a row's recipe is the city's name."""
    (tmp_path / "elsewhere.yaml").write_text(
        f"extends: cheap.yaml\ncity: {{prepared: {tiny_city.path}}}\ntasks: {{co: null, pm25: {{}}}}\n"
    )
    plan = load_plan(
        suite_file(
            """
            cities: {elsewhere: {recipe: elsewhere.yaml}}
            runs: {base: cheap.yaml, own: "{city}.yaml"}
            """
        )
    )
    assert [sorted(run.recipe.tasks) for run in plan.runs] == [["land_use", "pm25"]] * 2
    assert [run.source for run in plan.runs] == ["cheap.yaml", "elsewhere.yaml"]


def test_data_folder_of_a_city_comes_from_the_suite_or_the_data_option(suite_file, tmp_path: Path, tiny_city):
    """A city's own `data` is relative to the suite, `--data` holds a folder a city, other cities can be left out."""
    spec = tiny_city.path.parent / "city.yaml"
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "own").mkdir()
    path = suite_file(
        f"""
        overrides: {{city: {{spec: {spec}}}}}
        cities: {{a: , b: {{data: own}}, c: }}
        runs: {{one: cheap.yaml}}
        """
    )
    plan = load_plan(path, data=tmp_path / "data", only_cities=["a", "b"])
    assert [run.recipe.city.data for run in plan.runs] == [tmp_path / "data" / "a", tmp_path / "own"]
    with pytest.raises(UserError, match=r"--data .*city\.data: there is no folder '.*/data/c'"):
        load_plan(path, data=tmp_path / "data")


MISTAKES = {
    "unknown key": ("runs: {a: cheap.yaml}\nseed: [1]\n", r"suite\.yaml:2: seed: unknown key\. Did you mean 'seeds'\?"),
    "no runs": ("seeds: [0]\n", r"suite\.yaml:1: runs: is missing"),
    "empty": ("", r"suite\.yaml: is empty; a suite has keys"),
    "wrong type": ("runs: {a: cheap.yaml}\nseeds: [x]\n", r"suite\.yaml:2: seeds\[0\]: should be a valid integer"),
    "row key": (
        "runs:\n  a:\n    recipe: cheap.yaml\n    sets: {}\n",
        r"suite\.yaml:4: runs\.a\.sets: unknown key\. Did you mean 'set'",
    ),
    "no such recipe": ("runs:\n  a: chaep.yaml\n", r"suite\.yaml:2: runs\.a\.recipe: there is no recipe file"),
    "wrong override": (
        "runs: {a: cheap.yaml}\noverrides:\n  pretrain.epoch: 3\n",
        r"suite\.yaml:3: pretrain\.epoch: unknown key\. Did you mean 'epochs'\?",
    ),
    "unknown component": (
        "runs:\n  a:\n    recipe: cheap.yaml\n    set: {method: {name: mvuer}}\n",
        r"suite\.yaml:4: method\.name: unknown method 'mvuer'",
    ),
    "seed": (
        "runs:\n  a:\n    recipe: cheap.yaml\n    set: {seed: 3}\n",
        r"suite\.yaml:4: runs\.a\.set\.seed: set the seeds of pre-training with the key `seeds`",
    ),
    "seed twice": ("runs: {a: cheap.yaml}\nseeds: [1, 1]\n", r"suite\.yaml:2: seeds: has a value twice"),
    "city of a row": (
        "cities: {x: }\nruns: {a: {recipe: cheap.yaml, cities: [y]}}\n",
        r"suite\.yaml:2: runs\.a\.cities\[0\]: there is no city 'y'\. Known: x",
    ),
    "no cities": ('runs: {a: "{city}"}\n', r"suite\.yaml:1: runs\.a\.recipe: `\{city\}` needs a suite that names"),
    "row of a table": (
        "runs: {first: cheap.yaml}\ntables: {t: {rows: [frist]}}\n",
        r"suite\.yaml:2: tables\.t\.rows\[0\]: there is no row 'frist'\. Did you mean 'first'\?",
    ),
    "reference": (
        "runs: {a: cheap.yaml, b: cheap.yaml}\ntables: {t: {rows: [a], reference: b}}\n",
        r"tables\.t\.reference: is no row of the table: 'b'",
    ),
    "task of a table": (
        "runs: {a: cheap.yaml}\ntables: {t: {tasks: [land_us]}}\n",
        r"tables\.t\.tasks\[0\]: there is no task 'land_us'\. Did you mean 'land_use'\?",
    ),
    "metric of a table": ("runs: {a: cheap.yaml}\ntables: {t: {metrics: [mea]}}\n", r"there is no metric 'mea'\. Did"),
    "split of a table": ("runs: {a: cheap.yaml}\ntables: {t: {splits: [spatial]}}\n", r"there is no split 'spatial'"),
    "duplicate row": ("runs:\n  a: cheap.yaml\n  a: cheap.yaml\n", r"suite\.yaml:3: runs\.a: duplicate key"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_name_the_line_and_key(case: str, suite_file):
    text, message = MISTAKES[case]
    assert any(re.search(message, line) for line in messages(suite_file, text)), messages(suite_file, text)


def test_all_mistakes_are_reported_once_in_one_message(suite_file):
    lines = messages(
        suite_file,
        """
        seeds: [0, 1]
        overrides: {pretrain.epoch: 3}
        runs:
          a: {recipe: cheap.yaml, set: {method.dmi: 3}}
          b: cheap.yaml
          c: nowhere
        """,
    )
    assert [line.split(": ")[1] for line in lines] == ["pretrain.epoch", "method.dmi", "runs.c.recipe"]


def test_unknown_rows_cities_and_suites_are_refused_with_a_suggestion(suite_file):
    path = suite_file("cities: {here: }\nruns: {first: cheap.yaml}\n")
    with pytest.raises(UserError, match=r"suite suite: there is no row 'fist'. Did you mean 'first'"):
        load_plan(path).select(["fist"])
    with pytest.raises(UserError, match=r"there is no city 'hree'. Did you mean 'here'"):
        load_plan(path, only_cities=["hree"])
    with pytest.raises(UserError, match=r"no shipped suite 'paper-table'. Did you mean 'paper-tables'"):
        load_plan("paper-table")


def test_table_accepts_the_split_all_of_zero_shot_transfer(suite_file, tmp_path: Path):
    text = """
        runs: {zero: {recipe: cheap.yaml, set: {transfer: {from: FOLDER, graph: GRAPH}, finetune.update: []}}}
        tables: {t: {splits: [all]}}
        """.replace("FOLDER", str(tmp_path))
    (tmp_path / "manifest.json").write_text("{}")
    plan = load_plan(suite_file(text.replace("GRAPH", "keep")))
    assert plan.suite.tables["t"].splits == ["all"]
    (line,) = messages(suite_file, text.replace("GRAPH", "new"))
    assert "there is no split 'all'" in line
