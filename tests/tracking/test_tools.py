"""The built-in trackers, read back by the tools' own readers."""

from pathlib import Path
from typing import Any

import pytest

from urbankit import Recipe, Run, run, testing
from urbankit.tracking.base import Loss, Score, TrackedRun
from urbankit.tracking.mlflow import MLflow
from urbankit.utils.progress import Progress

HISTORY = [Loss("pretrain", epoch, "train", "total", 1.0 / (epoch + 1)) for epoch in range(4)]
SCORES = [Score("co", "urbanmmcl", "random", seed, "r2", 0.25 + seed / 2) for seed in (0, 1)]


@pytest.fixture
def keys(cheap_recipe: dict[str, Any]) -> dict[str, Any]:
    evaluation = cheap_recipe["evaluation"] | {"seeds": [0, 1], "floors": ["mean"]}
    return {"name": "tracked", **cheap_recipe, "evaluation": evaluation, "predict": {"folds": 0}}


def completed(keys: dict[str, Any], out: Path, tracking: dict[str, Any], **arguments: Any) -> Run:
    return run(Recipe.load(keys | {"tracking": tracking}), out, progress=Progress(quiet=True), **arguments)


def accumulated(folder: Path) -> Any:
    """What TensorBoard reads from a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_reads_the_losses_and_scores_of_a_run(keys, tmp_path):
    pytest.importorskip("tensorboard")
    result = completed(keys, tmp_path / "run", {"name": "tensorboard"})
    assert not [note for note in result.manifest["notes"] if "tracking" in note]
    events = accumulated(tmp_path / "run" / "tensorboard")
    for (stage, part, name), rows in result.history.groupby(["stage", "part", "name"]):
        read = [(event.step, event.value) for event in events.Scalars(f"{stage}/{name}/{part}")]
        assert read == [
            (epoch, pytest.approx(value)) for epoch, value in zip(rows["epoch"], rows["value"], strict=True)
        ]
    scores = result.metrics.query("task == 'co' and metric == 'r2'")
    method = scores[scores["model"] == "urbanmmcl"]
    assert [event.value for event in events.Scalars("co/random/r2")] == pytest.approx(method["value"].to_list())
    assert [event.step for event in events.Scalars("co/random/r2")] == [0, 1]
    assert events.Scalars("mean/co/random/r2")[0].value == pytest.approx(method["value"].mean())
    assert "co/random/r2/floor:mean" in events.Tags()["scalars"]
    assert b"pretrain:" in events.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0]
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert "tensorboard" in [path.name for path in (tmp_path / "run").iterdir()]


def test_tensorboard_files_of_a_resumed_run_have_no_step_twice(tmp_path):
    pytest.importorskip("tensorboard")
    from urbankit.tracking.tensorboard import TensorBoard

    def part(identity: str | None, losses: list[Loss]) -> str:
        tracker = TensorBoard(TensorBoard.Params(folder=tmp_path / "boards"))
        name = tracker.start(TrackedRun("mine", tmp_path, {"seed": 0}, "seed: 0\n", identity))
        tracker.log_losses(losses)
        tracker.end("interrupted")
        return name

    first = part(None, HISTORY[:2])
    assert part(first, HISTORY[2:]) == first
    events = accumulated(tmp_path / "boards" / "mine")
    assert [event.step for event in events.Scalars("pretrain/total/train")] == [0, 1, 2, 3]
    assert len(events.Tensors("recipe/text_summary")) == 1


def test_mlflow_has_one_run_with_the_losses_scores_and_files_of_a_resumed_run(keys, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", exc_type=ImportError)
    from mlflow.tracking import MlflowClient

    from urbankit.pipeline import stages

    monkeypatch.chdir(tmp_path)  # artifacts of a database go into the working folder
    tracker = {"name": "mlflow", "uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "experiment": "tests"}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages, "embed", stop)
        completed(keys, tmp_path / "run", tracker)
    client = MlflowClient(tracking_uri=tracker["uri"])
    [experiment] = [one for one in client.search_experiments() if one.name == "tests"]
    [interrupted] = client.search_runs([experiment.experiment_id])
    assert interrupted.info.status == "KILLED" and interrupted.info.run_name == "run"

    result = completed(keys, tmp_path / "run", tracker, resume=True)
    assert not [note for note in result.manifest["notes"] if "tracking" in note]
    [finished] = client.search_runs([experiment.experiment_id])
    assert finished.info.run_id == interrupted.info.run_id and finished.info.status == "FINISHED"
    assert finished.data.params["pretrain.epochs"] == "2" and finished.data.params["method.name"] == "urbanmmcl"
    for stage, name, part in (("pretrain", "total", "train"), ("finetune random 1", "co", "validation")):
        rows = result.history.query("stage == @stage and name == @name and part == @part")
        read = client.get_metric_history(finished.info.run_id, f"{stage}/{name}/{part}")
        expected = list(zip(rows["epoch"], rows["value"], strict=True))
        assert [(one.step, one.value) for one in read] == expected
    values = result.metrics.query("task == 'co' and metric == 'r2' and model == 'urbanmmcl'")["value"]
    assert [one.value for one in client.get_metric_history(finished.info.run_id, "co/random/r2")] == values.to_list()
    assert finished.data.metrics["mean/co/random/r2"] == pytest.approx(values.mean())
    artifacts = {file.path for file in client.list_artifacts(finished.info.run_id)}
    assert artifacts == {"recipe.yaml", "metrics.json", "report.html"}


def test_mlflow_without_a_server_gives_a_warning_and_the_run_is_done(keys, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", exc_type=ImportError)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = completed(keys, tmp_path / "run", {"name": "mlflow", "uri": "http://127.0.0.1:9"})
    assert result.status == "done"
    [note] = [note for note in result.manifest["notes"] if "tracking" in note]
    assert note.startswith("tracking by mlflow ended: ") and "127.0.0.1" in note


def test_mlflow_passes_the_checks_of_its_kind(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    testing.check_component("tracker", "mlflow", {"uri": f"sqlite:///{tmp_path / 'mlflow.db'}"})


@pytest.mark.parametrize("key", ["alignment rsi → text", "a|b", "ü"])
def test_names_that_mlflow_refuses_are_changed(key, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    tracker = MLflow(MLflow.Params(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"))
    tracker.start(TrackedRun("run", tmp_path, {f"key.{key}": "x" * 10_000, "empty": ""}, ""))
    tracker.log_losses([Loss("pretrain", 0, "train", key, 1.0)])
    tracker.log_scores(SCORES)
    tracker.end("failed")


def test_wandb_writes_a_run_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", exc_type=ImportError)
    monkeypatch.setenv("WANDB_MODE", "offline")
    testing.check_component("tracker", "wandb")
    testing.check_component("tracker", "wandb", {"mode": "offline"})
