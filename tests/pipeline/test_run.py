"""A whole run: what it leaves behind, that it can be stopped anywhere, and that mistakes leave nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.runs.folder import Run
from urbankit.runs.member_weights import member_lines
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress

QUIET = Progress(quiet=True)


def completed(recipe: dict, out: Path, **arguments):
    return run(Recipe.load(recipe), out, progress=QUIET, **arguments)


@pytest.fixture(scope="module")
def tiny_run(recipe_on, tiny_city, tmp_path_factory) -> Run:
    """A run of the tiny recipe; to be read, not changed."""
    return completed(recipe_on(tiny_city), tmp_path_factory.mktemp("tiny") / "run")


def test_run_writes_the_documented_files(tiny_recipe, tiny_city, tiny_run):
    folder = tiny_run.path
    for name in (
        "recipe.yaml", "manifest.json", "metrics.parquet", "metrics.json", "embeddings.parquet", "predictions.parquet",
        "checkpoints/last.safetensors", "checkpoints/best.safetensors", "report.html",
    ):  # fmt: skip
        assert (folder / name).is_file(), name
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "done" and manifest["city_hash"] == tiny_city.content_hash
    assert {"city", "pretrain", "finetune", "floors"} <= set(manifest["seconds"])

    training = manifest["training"]
    assert set(training) == {"pretrain", "finetune random 0", "finetune spatial 0"}
    assert training["pretrain"]["epochs"] == 3 and training["pretrain"]["seconds_per_epoch"] > 0
    assert set(training["finetune random 0"]["best_epoch"]) == set(tiny_recipe["tasks"])

    embeddings = tiny_run.embeddings
    assert list(embeddings["region_id"]) == tiny_city.region_ids and embeddings.crs is not None
    assert np.isfinite(np.stack(embeddings["embedding"])).all()

    metrics = pd.read_parquet(folder / "metrics.parquet")
    assert list(metrics.columns) == ["task", "model", "split", "seed", "metric", "value"]
    assert set(metrics["model"]) == {"urbanmmcl", "floor:mean", "floor:location", "floor:raw-ridge", "floor:raw-forest"}
    assert set(metrics["split"]) == {"random", "spatial"}

    measures = tiny_run.view_measures
    assert {"spearman", "spearman_all", "related", "held_out", "reference"} == set(measures["metric"])
    assert set(measures["name"][measures["metric"] == "spearman"]) <= set(tiny_recipe["views"])
    records = json.loads((folder / "metrics.json").read_text())
    views = [(row["split"], row["metric"]) for row in records if row["task"] == "views"]
    assert views == list(zip(measures["name"], measures["metric"], strict=True))
    assert "Rank correlation of similarity" in (folder / "README.md").read_text()
    assert "Views and pre-training" in (folder / "report.html").read_text()

    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert {"region_id", "task", "split", "seed", "fold", "truth", "prediction"} <= set(predictions.columns)


def test_a_run_says_without_labels_what_its_blocks_learned(tiny_recipe, tmp_path):
    tiny_recipe |= {"tasks": {}, "pretrain": {"epochs": 1, "validation_share": 0.7}}
    tiny_recipe["modalities"]["text"]["trainable"] = "none"
    result = completed(tiny_recipe, tmp_path / "run")
    recalls = [row for row in result.view_measures.itertuples() if row.metric == "recall"]
    assert {"rsi → location", "location → rsi", "rsi → text/rsi", "poi → mobility", "mobility → poi"} <= {
        row.name for row in recalls
    }
    assert not [row for row in recalls if row.name.startswith("text")]
    records = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {r["metric"] for r in records if r["split"] == "rsi → location"} == {
        "recall", "recall_before", "recall_chance", "recall_error", "recall_k", "recall_regions"
    }  # fmt: skip
    notes = [note for note in result.manifest["notes"] if "learned nothing" in note or "no clear sign" in note]
    assert notes  # one epoch teaches some block nothing
    page, card = ((tmp_path / "run" / name).read_text() for name in ("report.html", "README.md"))
    assert notes[0] in card and (notes[0].partition(": ")[2].partition(" (")[0]) in page and "rsi → location" in page


def test_a_run_without_pretraining_says_nothing_of_what_was_learned(tiny_recipe, tmp_path):
    tiny_recipe |= {"tasks": {}, "pretrain": {"epochs": 0, "validation_share": 0.7}}
    result = completed(tiny_recipe, tmp_path / "run")
    assert not any("learned" in note for note in result.manifest["notes"])
    assert not set(result.view_measures["metric"]) & {"recall", "held_out"}


def test_folds_probe_the_written_embedding_without_fine_tuning(tiny_recipe, tiny_city, tmp_path):
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold, cross_val_predict

    tiny_recipe["evaluation"] |= {"splits": ["folds"], "folds": {"clip": False}}
    tiny_recipe["tasks"] = {"pm25": {}, "land_use": {}}
    tiny_recipe["report"] = {"figures": True}
    result = completed(tiny_recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "finetune").exists()
    y = tiny_city.target("pm25").values
    labelled = ~np.isnan(y)
    x = np.stack(result.embeddings["embedding"])[labelled].astype(float)
    pooled = cross_val_predict(Ridge(1.0), x, y[labelled], cv=KFold(5))
    np.testing.assert_allclose(result.predictions["prediction"], pooled, rtol=1e-4)
    scores = result.metrics.query("model == 'urbanmmcl'").set_index(["task", "metric"])["value"]
    assert scores["pm25", "mae"] == pytest.approx(np.abs(pooled - y[labelled]).mean(), rel=1e-4)
    assert 0 <= scores["land_use", "nmi"] <= 1
    page = (tmp_path / "run" / "report.html").read_text()
    for part in ("pooled R²", "fold-mean R²", "NMI", "ARI", "5 folds in the order"):
        assert part in page
    assert "land_use was clustered, not predicted" in page


def assert_same_results(one: Path, other: Path) -> None:
    for file in ("embeddings.parquet", "predictions.parquet", "metrics.parquet"):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


def test_the_same_recipe_gives_the_same_bits(tiny_recipe, tiny_run, tmp_path):
    completed(tiny_recipe, tmp_path / "again")
    assert_same_results(tmp_path / "again", tiny_run.path)


def test_another_seed_gives_other_embeddings(tiny_recipe, tiny_run, tmp_path):
    other = completed(tiny_recipe | {"seed": 1, "tasks": {}}, tmp_path / "other")
    assert not np.allclose(tiny_run.vectors, other.vectors)


@pytest.fixture(scope="module")
def longer_run(recipe_on, tiny_city, tmp_path_factory) -> Path:
    """The folder of a longer run, `uninterrupted`, and its recipe, `tiny.yaml`."""
    folder, keys = tmp_path_factory.mktemp("longer"), recipe_on(tiny_city)
    keys["pretrain"]["epochs"] = keys["finetune"]["epochs"] = 6
    (folder / "tiny.yaml").write_text(yaml.safe_dump(keys, sort_keys=False))
    completed(keys, folder / "uninterrupted")
    return folder


@pytest.mark.parametrize(
    "awaited",
    ["checkpoints/last.safetensors", "embeddings.parquet", "checkpoints/finetune/random-0.safetensors"],
    ids=["pretrain", "embed", "finetune"],
)
def test_a_killed_run_resumes_to_the_same_bits(awaited, longer_run, tmp_path):
    """SIGKILL as soon as the stage's first file exists; then `--resume`."""
    cut = tmp_path / "cut"
    code = (
        "import urbankit.training.loop as loop; loop.Loop.save_every = 0.0\nfrom urbankit.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "run", str(longer_run / "tiny.yaml"), "--out", str(cut)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (cut / awaited).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_results(cut, longer_run / "uninterrupted")


def test_a_folder_with_other_files_is_not_overwritten(tiny_recipe, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="--resume"):
        completed(tiny_recipe, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_resume_refuses_another_recipe(tiny_recipe, tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "run")
    with pytest.raises(UserError, match="differs"):
        completed(tiny_recipe | {"seed": 5}, tmp_path / "run", resume=True)


def test_a_finished_run_resumes_without_training_again(tiny_recipe, tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "run")
    completed(tiny_recipe, tmp_path / "run", resume=True)
    assert_same_results(tmp_path / "run", tiny_run.path)


@pytest.mark.parametrize("paradigm", ["linear_probe", "end_to_end", "finetune"])
def test_every_paradigm_gives_finite_metrics(paradigm, tiny_recipe, tmp_path):
    tiny_recipe["finetune"] |= {"paradigm": paradigm, "batch_size": 16, "update": ["all"]}
    tiny_recipe["evaluation"]["floors"] = ["mean"]
    result = completed(tiny_recipe, tmp_path / "run")
    assert np.isfinite(result.metrics.query("metric == 'mae'")["value"]).all()


def test_weights_of_the_models_in_a_stack_are_written(tiny_recipe, tmp_path):
    tiny_recipe["tasks"] = {"co": {"head": {"name": "stack"}}, "pm25": {"head": {"name": "gp"}}}
    tiny_recipe["finetune"] |= {"update": []}
    tiny_recipe["evaluation"]["floors"] = ["mean", "raw-gp", "raw-stack"]
    result = completed(tiny_recipe, tmp_path / "run")
    weights = result.member_weights
    assert list(weights.columns) == ["task", "split", "seed", "member", "weight"]
    assert set(weights["task"]) == {"co"} and set(weights["split"]) == {"random", "spatial"}
    assert {"ridge on embedding", "ridge on features", "smoother on coordinates"} <= set(weights["member"])
    np.testing.assert_allclose(weights.groupby(["split", "seed"])["weight"].sum(), 1)
    lines = list(member_lines(weights.to_dict("records")))
    assert lines[0].startswith("co, random split: ")
    assert lines[0] in (result.path / "report.html").read_text(encoding="utf-8")
    scores = result.metrics.query("metric == 'mae'")
    assert {"floor:raw-gp", "floor:raw-stack"} < set(scores["model"])
    assert np.isfinite(scores["value"]).all()
    assert [floor.label for floor in result.table().tables[0].floors][1:] == ["floor: raw-gp", "floor: raw-stack"]


def test_block_weights_of_tasks_are_written(tiny_recipe, tmp_path):
    tiny_recipe["tasks"] = {"co": {"head": {"name": "task_adaptive"}}, "pm25": {}}
    tiny_recipe["method"]["fusion"] = {"name": "concat"}
    tiny_recipe["finetune"] |= {"update": [], "learning_rate": 0.01}
    tiny_recipe["evaluation"]["floors"] = ["mean"]
    weights = completed(tiny_recipe, tmp_path / "run").block_weights
    assert list(weights.columns) == ["task", "split", "seed", "block", "weight"]
    assert set(weights["task"]) == {"co"} and set(weights["split"]) == {"random", "spatial"}
    blocks = {"rsi", "svi", "location", "location/svi", "poi", "mobility", "distance"}
    for _, fold in weights.groupby(["split", "seed"]):
        assert set(fold["block"]) == blocks
        assert fold["weight"].mean() == pytest.approx(1, abs=1e-5) and fold["weight"].std() > 1e-4


def test_temporal_views_are_left_out_if_flows_have_no_times(tiny_recipe, tiny_city, tmp_path):
    shutil.copytree(tiny_city.path.parent, tmp_path / "city", ignore=shutil.ignore_patterns("prepared"))
    spec = tmp_path / "city" / "city.yaml"
    spec.write_text(spec.read_text().replace("  time: time\n", ""))
    tiny_recipe |= {"city": {"spec": str(spec)}, "tasks": {}}
    tiny_recipe["views"]["night"] = {"name": "temporal", "hours": [20, 5]}
    tiny_recipe["method"]["view_groups"] = {"dark": {"views": ["night"]}}
    result = completed(tiny_recipe, tmp_path / "run")
    assert "view night is left out: the city's flows have no times" in result.manifest["notes"]


def test_an_unknown_part_of_the_method_is_refused_before_training(tiny_recipe, tmp_path):
    tiny_recipe["finetune"]["update"] = ["projection"]
    with pytest.raises(UserError, match=r"finetune.update: .* 'projections'"):
        completed(tiny_recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_modalities_and_views_missing_in_the_city_are_left_out_with_a_note(tiny_recipe, tmp_path):
    tiny_recipe["modalities"]["aerial"] = {"name": "vit"}
    tiny_recipe["tasks"] = {}
    result = completed(tiny_recipe, tmp_path / "run")
    assert any("aerial" in note for note in result.manifest["notes"])


def test_a_run_whose_card_cannot_be_written_stays_done_and_resumes(tiny_recipe, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("urbankit.report.card.write_text", full)
        with pytest.raises(OSError, match="No space left"):
            completed(tiny_recipe, tmp_path / "run")
    assert Run.open(tmp_path / "run").manifest["status"] == "done"
    completed(tiny_recipe, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "README.md").is_file()


def test_a_run_that_is_interrupted_while_its_report_is_written_is_not_done(tiny_recipe, tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("urbankit.pipeline.stages.write_card", interrupted)
        with pytest.raises(KeyboardInterrupt):
            completed(tiny_recipe, tmp_path / "run")
    assert Run.open(tmp_path / "run").status == "interrupted"
    resumed = completed(tiny_recipe, tmp_path / "run", resume=True)
    assert resumed.status == "done" and "status" in (tmp_path / "run" / "report.html").read_text()
    assert (tmp_path / "run" / "README.md").is_file()
