"""The command line: what it prints, and one clear message with the right exit status for everything that goes wrong."""

import errno
import json
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from urbankit import RunError, UserError, hookimpl, registry
from urbankit.utils.version import __version__

pytestmark = pytest.mark.usefixtures("fresh_registry")


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Stands in for the run itself, and keeps what it was asked to do."""
    calls: list[dict] = []
    module = types.ModuleType("urbankit.pipeline.run")

    def run(recipe: object, **options: object) -> types.SimpleNamespace:
        calls.append({"recipe": recipe, **options})
        return types.SimpleNamespace(has=lambda name: False)

    module.run = run
    monkeypatch.setitem(sys.modules, "urbankit.pipeline.run", module)
    return calls


def test_version_is_printed(cli) -> None:
    assert cli("--version").stdout == f"urbankit {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        "run", "bench", "compare", "validate", "list-components", "show", "prepare", "demo", "schema", "doctor",
        "new-plugin",
    ],
)  # fmt: skip
def test_help_of_every_command_has_an_example(cli, command: str) -> None:
    assert f"urbankit {command}" in cli(command, "--help").stdout.replace(f"Usage: urbankit {command}", "")


def test_usage_errors_exit_2(cli) -> None:
    cli("run", status=2)
    cli("run", "x", "--no-such-option", status=2)
    cli("no-such-command", status=2)


def test_list_components_prints_all_components(cli, toy) -> None:
    lines = cli("list-components").stdout.splitlines()
    (line,) = [line for line in lines if "toy_ring" in line]
    assert all(part in line for part in ("view", "a ring", "this process"))
    assert "toy_ring" not in cli("list-components", "--kind", "head").stdout
    listed = json.loads(cli("list-components", "--kind", "view", "--json").stdout)
    (ring,) = [component for component in listed["components"] if component["name"] == "toy_ring"]
    assert ring == {
        "kind": "view",
        "name": "toy_ring",
        "description": "a ring",
        "distribution": "this process",
        "version": "",
        "plugin": "toys",
        "target": "helpers.toys:Ring",
        "conflicts_with": [],
    }
    assert listed["failed"] == []
    assert listed["recipes"] == []
    assert "unknown kind 'veiw'. Did you mean 'view'?" in cli("list-components", "--kind", "veiw", status=2).stderr


def test_list_components_shows_recipes_of_urbankit_and_of_plugins(cli, tmp_path: Path, fresh_registry) -> None:
    (tmp_path / "subway.yaml").write_text("extends: urbanmmcl\ndescription: 'Stations: near and far'\n")
    hook = hookimpl(lambda register: register(tmp_path))
    registry.add_plugin(types.SimpleNamespace(register_recipes=hook), "metro")
    lines = cli("list-components", "--kind", "recipe").stdout.splitlines()
    [line_of_plugin] = [line for line in lines if " subway " in line]
    assert "Stations: near and far" in line_of_plugin
    assert "this process" in line_of_plugin and any(" urbanmmcl " in line and "urbankit 0" in line for line in lines)
    assert not any(line.startswith("view ") for line in lines)
    listed = json.loads(cli("list-components", "--kind", "recipe", "--json").stdout)
    assert listed["recipes"][-1] == {"name": "subway", "from": "this process", "file": str(tmp_path / "subway.yaml")}
    assert listed["components"] == [] and " subway " in cli("list-components").stdout


def test_list_components_shows_failed_plugins_and_conflicts(cli, toy) -> None:
    from helpers import toys

    registry.add_plugin(
        types.SimpleNamespace(register_views=toys.hookimpl(lambda register: register("plain", "helpers.toys:Ring"))),
        "harmless",
    )
    registry.add_plugin(toys.Plugin, "again")

    class Raises:
        register_views = staticmethod(toys.hookimpl(lambda register: 1 / 0))

    registry.add_plugin(Raises, "raises")
    output = cli("list-components").stdout
    assert "raises" in output and "ZeroDivisionError: division by zero" in output
    assert "CONFLICT, also from this process: a ring" in output
    listed = json.loads(cli("list-components", "--json").stdout)
    assert listed["failed"] == [
        {
            "plugin": "raises",
            "distribution": "this process",
            "version": "",
            "reason": "ZeroDivisionError: division by zero",
        }
    ]


def test_show_lists_the_parameters_of_a_component(cli, toy) -> None:
    shown = cli("show", "view", "toy_ring").stdout
    (line,) = [line for line in shown.splitlines() if "neighbours" in line]
    assert re.split("  +", line) == [
        "neighbours", "int", "2", "≥ 1", "Neighbours on each side.", "eq. 1"
    ]  # fmt: skip
    assert "Toy view." in shown
    assert "takes no parameters" in cli("show", "fusion", "toy_sum").stdout
    assert "Did you mean 'toy_ring'?" in cli("show", "view", "toy_rong", status=2).stderr


def test_a_kind_is_found_by_the_name_that_new_plugin_gives_it(cli, toy) -> None:
    listed = cli("list-components", "--kind", "modality").stdout
    assert "toy_pixels" in listed and "toy_ring" not in listed
    assert "Toy modality encoder." in cli("show", "modality", "toy_pixels").stdout


def test_show_prints_json(cli, toy) -> None:
    parameters = json.loads(cli("show", "method", "toy_contrast", "--json").stdout)["parameters"]
    by_name = {parameter["name"]: parameter for parameter in parameters}
    assert by_name["mode"]["type"] == "mean | root"
    assert by_name["rate"]["bounds"] == "≥ 0, < 1"
    assert by_name["clip"]["type"] == "float or null"
    assert by_name["alignments"]["type"] == "list[tuple[str, str]]"
    assert (by_name["fusion"]["type"], by_name["fusion"]["default"]) == ("a fusion", "toy_sum")
    assert by_name["fusion"]["component_kind"] == by_name["stages"]["component_kind"] == "fusion"


def test_validate_reports_mistakes_with_file_and_line(cli, recipe_file) -> None:
    assert "toy is a valid recipe" in cli("validate", recipe_file()).stdout
    failed = cli("validate", recipe_file("veiws: {}\nsede: 1\n", "bad.yaml"), status=2)
    assert failed.stdout == ""
    lines = failed.stderr.splitlines()
    assert lines[0].endswith("bad.yaml:9: veiws: unknown key. Did you mean 'views'?")
    assert lines[1].endswith("bad.yaml:10: sede: unknown key. Did you mean 'seed'?")


def test_run_passes_recipe_output_and_resume_to_the_pipeline(cli, recipe_file, pipeline, tmp_path: Path) -> None:
    cli("run", recipe_file(), "--out", tmp_path / "out", "--set", "method.dim=8", "--set", "seed=3", "--resume")
    (call,) = pipeline
    assert (call["out"], call["resume"]) == (tmp_path / "out", True)
    assert (call["recipe"].seed, call["recipe"].method.params["dim"]) == (3, 8)
    cli("run", recipe_file())
    assert pipeline[1]["out"] == Path("runs/toy")


def test_run_prints_the_table_and_the_folder(cli, recipe_file, monkeypatch, pipeline) -> None:
    finished = types.SimpleNamespace(has=lambda name: name == "metrics.parquet", table=lambda: "the results table")
    monkeypatch.setattr(sys.modules["urbankit.pipeline.run"], "run", lambda recipe, **options: finished)
    lines = cli("run", recipe_file(), "--out", "runs/x").stdout.splitlines()
    assert lines == ["the results table", "The run is in runs/x; start with runs/x/report.html"]


def test_dry_run_prints_the_resolved_recipe_and_the_plan(cli, recipe_file, pipeline) -> None:
    output = cli("run", recipe_file("finetune: {batch_size: null}\n"), "--dry-run").stdout
    assert pipeline == []
    resolved = yaml.safe_load(output[: output.index("components")])
    assert resolved["method"]["fusion"] == {"name": "toy_sum"}
    (line,) = [line for line in output.splitlines() if "method.fusion" in line]
    assert "toy_sum" in line and "this process" in line
    for part in ("synthetic city of 30 regions", "2 splits (random, spatial) × 5 seeds = 10 trainings", "runs/toy"):
        assert part in output


def raising(error: BaseException) -> Callable[..., None]:
    def run(*args: object, **options: object) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("the city has one region"), 2, "error: the city has one region"),
        (RunError("the loss is not finite"), 1, "error: the loss is not finite"),
        (OSError(errno.ENOSPC, "No space left", "runs/x"), 1, "error: runs/x: the disk is full; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 2, "error: runs/x: no permission; choose"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.tif"), 1, "error: a.tif: No such file or directory"),
        (MemoryError(), 1, "error: out of memory"),
        (KeyboardInterrupt(), 130, "interrupted; repeat the command to continue, a run with --resume"),
        (ZeroDivisionError("division by zero"), 1, "error: ZeroDivisionError: division by zero\nThis is a bug in"),
    ],
)
def test_errors_of_a_run_set_exit_status_and_message(
    cli, recipe_file, pipeline, monkeypatch, error, status: int, message: str
) -> None:
    monkeypatch.setattr(sys.modules["urbankit.pipeline.run"], "run", raising(error))
    assert cli("run", recipe_file(), status=status).stderr.startswith(message)


def test_debug_shows_the_traceback(cli, recipe_file, pipeline, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["urbankit.pipeline.run"], "run", raising(ZeroDivisionError()))
    monkeypatch.setenv("URBANKIT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli("run", recipe_file())


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m urbankit list-components | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""
