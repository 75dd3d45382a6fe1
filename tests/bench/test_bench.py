"""Whole suites: what they leave, what is run again and what not, and that nothing stops them for good."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from urbankit import testing
from urbankit.bench import compare_runs, run_suite
from urbankit.bench.store import Store
from urbankit.bench.suite import load_plan
from urbankit.tables.records import COLUMNS
from urbankit.tables.table import TRAINING_LABELS
from urbankit.utils.errors import UserError
from urbankit.utils.files import write_json
from urbankit.utils.locks import LOCK
from urbankit.utils.progress import Progress

QUIET = Progress(quiet=True)

SUITE: dict[str, Any] = {
    "seeds": [0, 1],
    "runs": {
        "w/o graph": {"recipe": "cheap.yaml", "set": {"method.beta": 0.0, "method.alpha": 1.0}},
        "diverges": {"recipe": "cheap.yaml", "set": {"pretrain.learning_rate": 1e30}, "seeds": [0]},
        "dies": {"recipe": "cheap.yaml", "set": {"views": {"distance": {"name": "dies"}}}, "seeds": [0]},
        "the same": "cheap.yaml",
        "UrbanMMCL": "cheap.yaml",
    },
    "tables": {"all": {"title": "Everything"}, "cost": {"tasks": ["training"], "metrics": ["pretrain_epochs"]}},
    "labels": {"co": "CO"},
}

# A view whose process is killed as though memory had run out.
PLUGIN = """
import os, signal
from urbankit import hookimpl
from urbankit.views.distance import DistanceView


@hookimpl
def register_views(register):
    register("dies", "dies:Dies")


class Dies(DistanceView):
    def build(self, city):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, cheap_recipe) -> Path:
    """A folder with the recipe, the suite, the plugin and a cache."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "cheap.yaml").write_text(yaml.safe_dump(cheap_recipe))
    (folder / "suite.yaml").write_text(yaml.safe_dump(SUITE, sort_keys=False))
    (folder / "sound.yaml").write_text(yaml.safe_dump(sound(SUITE), sort_keys=False))
    site = folder / "site"
    (site / "dies-1.0.dist-info").mkdir(parents=True)
    (site / "dies.py").write_text(textwrap.dedent(PLUGIN))
    (site / "dies-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: dies\nVersion: 1.0\n")
    (site / "dies-1.0.dist-info" / "entry_points.txt").write_text("[urbankit]\ndies = dies\n")
    return folder


def sound(suite: dict[str, Any]) -> dict[str, Any]:
    """The suite without the rows that fail."""
    runs = {name: row for name, row in suite["runs"].items() if name not in ("diverges", "dies")}
    return suite | {"runs": runs}


def started(workplace: Path, *args: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(workplace / "site"), os.environ.get("PYTHONPATH", str(Path(__file__).parents[2]))])
    return subprocess.Popen(
        [sys.executable, "-m", "urbankit", *args],
        cwd=workplace,
        env=os.environ | {"PYTHONPATH": path, "URBANKIT_CACHE": str(workplace / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(workplace: Path, *args: str, status: int = 0) -> tuple[str, str]:
    process = started(workplace, *args)
    stdout, stderr = process.communicate(timeout=1200)
    assert process.returncode == status, stderr
    assert "Traceback" not in stderr
    return stdout, stderr


@pytest.fixture(scope="module")
def finished(workplace: Path) -> tuple[Path, str, str]:
    """The suite run once, two at a time; its folder, what it printed and what it said."""
    out = workplace / "out"
    return out, *ended(workplace, "bench", "suite.yaml", "--out", str(out), "--jobs", "2", status=1)


def of(results: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    for name, value in columns.items():
        results = results[results[name] == value]
    return results


def test_results_are_tidy(finished):
    out, _, _ = finished
    results = pd.read_parquet(out / "results.parquet")
    assert tuple(results.columns) == COLUMNS
    assert set(results["suite"]) == {"suite"} and set(results["recipe"]) == {"cheap.yaml"}
    assert set(results["row"]) == {"w/o graph", "the same", "UrbanMMCL"}
    r2 = of(results, task="co", metric="r2", split="random")
    methods, floors = (r2[r2["model"].str.startswith("floor:") == floor] for floor in (False, True))
    assert not methods.duplicated(["row", "run_seed", "seed"]).any() and len(methods) == 3 * 2 * 3
    # Floors once, those of the reference; they have no seed of pre-training.
    assert set(floors["row"]) == {"UrbanMMCL"} and floors["run_seed"].isna().all()
    assert sorted(zip(floors["model"], floors["seed"], strict=True)) == [
        (model, seed) for model in ("floor:location", "floor:mean") for seed in range(3)
    ]


def test_training_costs_are_recorded_as_metrics(finished):
    out, _, _ = finished
    costs = of(pd.read_parquet(out / "results.parquet"), task="training", row="UrbanMMCL", run_seed=0)
    assert set(costs["metric"]) == set(TRAINING_LABELS)
    once = costs[costs["split"] == ""].set_index("metric")["value"]
    assert once["pretrain_epochs"] == 2 and once["seconds"] >= once["pretrain_seconds"] > 0
    assert list(of(costs, metric="finetune_epochs")["seed"]) == [0, 1, 2]
    assert "| UrbanMMCL | **2.000 ± 0.000** |" in (out / "tables" / "cost.md").read_text()


def test_a_failed_run_is_reported_and_does_not_stop_the_others(finished):
    out, printed, stderr = finished
    failures = {failure["row"]: failure for failure in json.loads((out / "failures.json").read_text())}
    assert set(failures) == {"diverges", "dies"}
    assert not failures["diverges"]["resumable"] and "Lower the learning rate" in failures["diverges"]["errors"][0]
    assert (
        failures["dies"]["resumable"] and "killed by SIGKILL; memory may have run out" in failures["dies"]["errors"][0]
    )
    assert Path(failures["dies"]["log"]).is_file()
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and all(failure["errors"][0] in stderr for failure in failures.values())
    assert "Everything, " in printed
    assert "diverges: 1 of its runs is not finished or failed." in (out / "tables" / "all.md").read_text()


def test_rows_with_the_same_recipe_share_their_runs(finished):
    out, _, stderr = finished
    assert "7 to do of 6 runs and 1 floors" in stderr
    assert sorted(
        path.name.rsplit("-", 1)[0] for path in (out / "runs").iterdir() if (path / "metrics.json").is_file()
    ) == [f"{row}-{city(out)}-seed{seed}" for row in ("the-same", "w-o-graph") for seed in (0, 1)]
    results = of(pd.read_parquet(out / "results.parquet"), task="co")
    results = results[~results["model"].str.startswith("floor:")]
    one, other = (of(results, row=row)["value"].tolist() for row in ("the same", "UrbanMMCL"))
    assert one == other


def city(out: Path) -> str:
    return pd.read_parquet(out / "results.parquet")["city"].iloc[0]


def test_run_in_a_worker_equals_a_direct_run(finished, workplace):
    """Several runs of one process leave nothing to one another: their numbers are those of `urbankit run`."""
    out, _, _ = finished
    ended(workplace, "run", "cheap.yaml", "--out", "alone", "--set", "seed=1")
    (run_folder,) = (out / "runs").glob("the-same-*-seed1-*")
    for name in ("embeddings.parquet", "predictions.parquet"):
        assert (run_folder / name).read_bytes() == (workplace / "alone" / name).read_bytes()


def test_only_changed_rows_are_run_again(finished, workplace, tmp_path):
    """A copy of the bench in which a row is renamed, a title changed, and one row has another parameter."""
    out, _, _ = finished
    shutil.copytree(out, tmp_path / "out")
    shutil.copy(workplace / "cheap.yaml", tmp_path)
    suite = sound(SUITE)
    graph = {"recipe": "cheap.yaml", "set": {"method.beta": 0.1, "method.alpha": 0.9, "report.figures": False}}
    suite["runs"] = {"Renamed" if name == "UrbanMMCL" else name: row for name, row in suite["runs"].items()}
    suite["runs"]["w/o graph"] = graph
    suite["tables"] = {"all": {"title": "Anew"}}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").glob("*/manifest.json")}
    bench = run_suite(tmp_path / "suite.yaml", tmp_path / "out", progress=QUIET)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").glob("*/manifest.json")}
    assert [path.parent.name.rsplit("-", 1)[0] for path in sorted(after.keys() - before.keys())] == [
        f"w-o-graph-{city(out)}-seed{seed}" for seed in (0, 1)
    ]
    assert all(after[path] == mtime for path, mtime in before.items())
    assert not bench.failures and [table.title for table in bench.tables["all"]] == [f"Anew, {city(out)}, random split"]
    assert set(bench.results["row"]) == {"w/o graph", "the same", "Renamed"}


def test_an_interrupted_bench_resumes_to_the_same_tables(finished, workplace, tmp_path):
    """SIGINT in the first runs, then SIGKILL, then the same command to the end."""
    complete, _, _ = finished
    out = tmp_path / "out"
    command = ("bench", "sound.yaml", "--out", str(out))

    process = started(workplace, *command)
    wait_for(lambda: any(out.glob("runs/*/manifest.json")), process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 130 and "interrupted; repeat the command" in stderr
    assert (out / "tables" / "all.md").is_file()

    process = started(workplace, *command)
    wait_for(lambda: len(list(out.glob("runs/*/embeddings.parquet"))) >= 2, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    ended(workplace, *command, "--jobs", "2")
    assert json.loads((out / "failures.json").read_text()) == []
    lines = [line for line in (complete / "tables" / "all.md").read_text().splitlines() if " of its runs " not in line]
    assert (out / "tables" / "all.md").read_text().splitlines() == lines
    assert {path.stem for path in (out / "tables").iterdir()} == {"all", "cost"}

    # What a process left that was killed as its run ended.
    left = next(out.glob("runs/*/manifest.json")).with_name(LOCK)
    left.touch()
    floors = next(out.glob("floors/*.parquet"))
    predictions = next(out.glob("runs/*/predictions.parquet"))
    whole = [path.read_bytes() for path in (floors, predictions)]
    for path in (floors, predictions):  # files that were cut are made again
        os.truncate(path, 300)
    ended(workplace, *command)
    assert not left.exists()
    assert [path.read_bytes() for path in (floors, predictions)] == whole


def wait_for(happened: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()


def test_second_bench_in_a_folder_is_refused(finished, workplace, monkeypatch, tmp_path):
    from urbankit.bench import run
    from urbankit.utils.locks import LOCK, file_lock

    monkeypatch.setattr(run, "LOCK_TIMEOUT", 0.0)
    with (
        file_lock(tmp_path / "out" / LOCK),
        pytest.raises(UserError, match="another bench uses this folder"),
    ):
        run_suite(workplace / "sound.yaml", tmp_path / "out", progress=QUIET)


def test_cities_that_cannot_be_prepared_are_reported_before_any_run(workplace, tiny_city, tmp_path):
    """Both of them, with exit status 2 and nothing run."""
    spec = tiny_city.path.parent / "city.yaml"
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
    suite = {
        "cities": {"a": None, "b": None},
        "runs": {"one": {"recipe": "cheap.yaml", "set": {"city": {"spec": str(spec)}}}},
    }
    (workplace / "no-data.yaml").write_text(yaml.safe_dump(suite))
    out = tmp_path / "out"
    _, stderr = ended(workplace, "bench", "no-data.yaml", "--data", str(tmp_path / "data"), "--out", str(out), status=2)
    assert all(f"{tmp_path}/data/{name}/regions.gpkg: file not found" in stderr for name in ("a", "b"))
    assert not (out / "runs").exists()


def test_results_of_other_cities_are_kept_when_one_is_run(cheap_recipe, tiny_city, tmp_path):
    """Their results, tables and failures; and where they are not here any more, at least the failures."""
    shutil.copytree(tiny_city.path, tmp_path / "there")
    (tmp_path / "cheap.yaml").write_text(yaml.safe_dump(cheap_recipe))
    suite = {
        "cities": {"here": None, "there": {"set": {"city.prepared": str(tmp_path / "there"), "evaluation.blocks": 5}}},
        "runs": {
            "diverges": {"recipe": "cheap.yaml", "set": {"pretrain.learning_rate": 1e30}},
            "sound": "cheap.yaml",
        },
    }
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    first = run_suite(tmp_path / "two.yaml", tmp_path / "out", cities=["there"], progress=QUIET)
    assert set(first.results["city"]) == {"there"}
    both = run_suite(tmp_path / "two.yaml", tmp_path / "out", cities=["here"], progress=QUIET)
    assert [failure.city for failure in both.failures] == ["here"]  # of this time
    assert set(both.results["city"]) == {"here", "there"} and len(both.tables["results"]) == 2
    assert cities_of_failures(tmp_path) == {"here", "there"}
    shutil.rmtree(tmp_path / "there")
    one = run_suite(tmp_path / "two.yaml", tmp_path / "out", cities=["here"], progress=QUIET)
    assert set(one.results["city"]) == {"here"} and cities_of_failures(tmp_path) == {"here", "there"}


def cities_of_failures(folder: Path) -> set[str]:
    return {failure["city"] for failure in json.loads((folder / "out" / "failures.json").read_text())}


@pytest.mark.parametrize(
    ("out", "message"), [("file", "is a file, not a folder"), ("file/deeper", "the bench's folder cannot be written")]
)
def test_unsuitable_output_folders_are_refused(workplace, out, message):
    (workplace / "file").write_text("")
    _, stderr = ended(workplace, "bench", "sound.yaml", "--out", out, status=2)
    assert message in stderr and "Choose another --out" in stderr


def test_a_transfer_source_is_identified_by_its_content(finished, workplace, tmp_path):
    """Moved, it is the same; other weights in its place are another run; one that is not finished is told."""
    out, _, _ = finished
    (source,) = (out / "runs").glob("the-same-*-seed0-*")

    def key(folder: Path) -> str:
        recipe = {"recipe": str(workplace / "cheap.yaml"), "set": {"transfer": {"from": str(folder)}}}
        (suite_run,) = load_plan({"runs": {"it": recipe}}).runs
        return Store(tmp_path / "out").run(suite_run, "city", testing.tiny_city()).key

    shutil.copytree(source, tmp_path / "moved")
    assert key(source) == key(tmp_path / "moved")
    (other,) = (out / "runs").glob("the-same-*-seed1-*")
    shutil.rmtree(tmp_path / "moved")
    shutil.copytree(other, tmp_path / "moved")
    assert key(source) != key(tmp_path / "moved")
    manifest = tmp_path / "moved" / "manifest.json"
    write_json(manifest, json.loads(manifest.read_text()) | {"status": "running"})
    with pytest.raises(UserError, match=r"transfer\.from: the run is not finished"):
        key(tmp_path / "moved")


def test_dry_run_starts_no_run(workplace):
    stdout, _ = ended(workplace, "bench", "sound.yaml", "--out", "dry", "--only", "UrbanMMCL", "--dry-run")
    assert "2 runs into dry" in stdout and "w/o graph" not in stdout
    assert not (workplace / "dry").exists()


# compare


def test_compare_command_writes_markdown_and_latex(finished, workplace, tmp_path):
    out, _, _ = finished
    runs = [str(next((out / "runs").glob(f"{row}-*-seed0-*"))) for row in ("w-o-graph", "the-same")]
    stdout, _ = ended(
        workplace, "compare", *runs, "--name", "w/o graph", "--name", "UrbanMMCL",
        "--markdown", str(tmp_path / "t.md"), "--latex", str(tmp_path / "t.tex"),
    )  # fmt: skip
    results = of(pd.read_parquet(out / "results.parquet"), row="w/o graph", run_seed=0, task="co", metric="r2")
    row = f"{results['value'].mean():.4f} ± {results['value'].std():.4f}"
    for text in (stdout, (tmp_path / "t.md").read_text()):
        assert row in text
    assert r"\begin{tabular}" in (tmp_path / "t.tex").read_text()
    assert "Nadeau" in stdout


def test_runs_of_one_name_are_seeds_of_one_row(finished):
    out, _, _ = finished
    runs = sorted((out / "runs").glob("the-same-*"))
    (table,) = compare_runs(runs, ["it", "it"])
    assert [(line.label, line.cells[0].n) for line in table.rows] == [("it", 2 * 3)]
    with pytest.raises(UserError, match="has the name 'it' and seed 0"):
        compare_runs([runs[0], runs[0]], ["it", "it"])
    with pytest.raises(UserError, match="2 runs and 1 names"):
        compare_runs(runs, ["it"])


def test_unfinished_runs_and_other_folders_are_refused_by_compare(finished, tmp_path):
    out, _, _ = finished
    (failed,) = (out / "runs").glob("diverges-*")
    (tmp_path / "no-run").mkdir()
    with pytest.raises(UserError) as error:
        compare_runs([failed, tmp_path / "no-run"])
    failed_line, no_run = map(str, error.value.problems)
    assert "the run is not done (its status: failed)" in failed_line
    assert "is not a run folder" in no_run
