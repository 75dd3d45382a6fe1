"""The model card: Hugging Face reads its front matter, nothing in it is markup of the data, and it is honest."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard

from urbankit import Run
from urbankit.report.card import escape, model_card, write_card
from urbankit.runs.writers import write_metrics
from urbankit.utils.files import read_json, write_json
from urbankit.utils.ledger import is_listed, start_ledger


def records(task: str, scores: dict[str, float], metric: str = "r2", split: str = "spatial") -> list[dict]:
    return [
        {"task": task, "model": model, "split": split, "seed": seed, "metric": metric, "value": value + seed / 100}
        for model, value in scores.items()
        for seed in range(2)
    ]


def test_a_card_that_someone_has_edited_stays_and_is_not_listed_any_more(make_run) -> None:
    run, city = make_run()
    start_ledger(run.path)
    card = write_card(run, city)
    assert is_listed(run.path.absolute(), card)
    card.write_text("mine")
    for _ in range(2):
        assert write_card(run, city).read_text() == "mine"
        assert not is_listed(run.path.absolute(), card)


def test_hugging_face_reads_the_card(make_run) -> None:
    run, city = make_run()
    card = ModelCard.load(write_card(run, city))
    assert card.data.license == "other" and card.data.library_name == "urbankit"
    assert {"region-embeddings", "urbanmmcl"} <= set(card.data.tags)
    assert card.data.model_name == "small"
    results = card.data.eval_results
    assert all(isinstance(result, EvalResult) for result in results)
    assert {(r.task_type, r.task_name, r.dataset_config) for r in results} == {
        (kind, task, split)
        for kind, task in (("tabular-regression", "density"), ("tabular-classification", "use"))
        for split in ("random", "spatial")
    }
    [r2] = [r for r in results if r.metric_type == "r2" and r.dataset_config == "spatial"]
    metrics = run.metrics
    rows = metrics[(metrics.model == "urbanmmcl") & (metrics.metric == "r2") & (metrics.split == "spatial")]
    assert r2.metric_value == pytest.approx(rows["value"].mean()) and r2.metric_name == "R², mean of 3 seeds"
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()


def test_tasks_of_one_kind_are_separate_in_the_front_matter(make_run) -> None:
    run, city = make_run()
    write_metrics(run.path, [*records("density", {"urbanmmcl": 0.5}), *records("co", {"urbanmmcl": 0.7})])
    front_matter = yaml.safe_load(model_card(Run.open(run.path), city).split("---\n")[1])
    results = front_matter["model-index"][0]["results"]
    assert [result["task"]["name"] for result in results] == ["density", "co"]


def test_markup_in_data_is_escaped(make_run) -> None:
    run, city = make_run()
    text = model_card(run, city).split("---\n", 2)[2]
    assert "<script" not in re.sub(r"`[^`\n]*`", "", text), "inside backticks it is shown as it is"
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert escape("a|b\n# c <i> [x](y) *z* `q` \\") == r"a\|b \# c &lt;i&gt; \[x\](y) \*z\* \`q\` " + "\\\\"


def test_floors_that_the_method_does_not_beat_are_named_by_the_direction_of_the_metric(make_run) -> None:
    run, city = make_run()
    scores = {"urbanmmcl": 0.5, "floor:raw-forest": 0.7, "floor:raw-ridge": 0.6, "floor:mean": -0.1}
    worse = {"urbanmmcl": 0.5, "floor:mean": 0.5}  # equal: it has not earned its place
    write_metrics(run.path, [*records("density", scores), *records("use", worse, "macro_f1"), *records("co", scores)])
    limits = model_card(Run.open(run.path), city).split("## Limits")[1]
    assert "density, spatial split: R² 0.505 ± 0.007 **does not beat** raw-forest (0.705 ± 0.007), raw-ridge" in limits
    assert "mean (-0.095" not in limits
    assert "use, spatial split: macro-F1 0.505 ± 0.007 **does not beat** mean (0.505 ± 0.007)." in limits
    write_metrics(run.path, records("density", {"urbanmmcl": 0.9, "floor:mean": 0.1, "floor:location": 0.3}))
    card = model_card(Run.open(run.path), city)
    assert "is better than every floor (best: location (0.305 ± 0.007))" in card and "does not beat" not in card
    write_metrics(run.path, records("density", {"urbanmmcl": 5.0, "floor:mean": 9.0, "floor:location": 4.0}, "mae"))
    assert "**does not beat** location (4.005 ± 0.007)." in model_card(Run.open(run.path), city)


def test_floors_that_are_better_by_another_metric_are_named(make_run) -> None:
    run, city = make_run()
    first = records("use", {"urbanmmcl": 0.5, "floor:mean": 0.1, "floor:location": 0.2}, "macro_f1")
    other = records("use", {"urbanmmcl": 0.5, "floor:mean": 0.7, "floor:location": 0.4}, "weighted_f1")
    write_metrics(run.path, [*first, *other])
    limits = model_card(Run.open(run.path), city).split("## Limits")[1]
    assert (
        "macro-F1 0.505 ± 0.007 is better than every floor (best: location (0.205 ± 0.007)). "
        "By weighted F1, 0.505 ± 0.007, it **does not beat** mean (0.705 ± 0.007).\n"
    ) in limits


def test_splits_are_described_as_in_the_recipe(make_run) -> None:
    run, city = make_run()
    write_metrics(run.path, records("density", {"urbanmmcl": 0.5}))
    assert "blocks of a 10 × 10 grid over the city, each wholly in one part (60/20/20 %)" in model_card(run, city)
    changed = yaml.safe_load((run.path / "recipe.yaml").read_text())
    changed["evaluation"] |= {"blocks": 6, "fractions": [0.7, 0.1, 0.2]}
    (run.path / "recipe.yaml").write_text(yaml.safe_dump(changed))
    card = model_card(Run.open(run.path), city)
    assert "blocks of a 6 × 6 grid over the city, each wholly in one part (70/10/20 %)" in card


def test_undefined_metrics_are_stated(make_run) -> None:
    run, city = make_run()
    write_metrics(run.path, records("density", {"urbanmmcl": np.nan, "floor:mean": np.nan}))
    text = model_card(Run.open(run.path), city)
    assert "R² is not defined on every seed." in text and "model-index" not in text
    ModelCard(text)


def test_missing_files_and_cities_are_stated(make_run) -> None:
    run, _ = make_run(tasks=())
    (run.path / "metrics.parquet").unlink()
    text = model_card(run, None)
    assert "None: the run has no task, or did not come to its end." in text
    assert "The prepared city was not there" in text
    ModelCard(text)
    (run.path / "embeddings.parquet").unlink()
    assert "Region embeddings, by the method `urbanmmcl`" in model_card(Run.open(run.path), None)


def test_card_states_coverage_gaps_and_pretrained_weights(make_run) -> None:
    run, city = make_run()
    facts = {"rsi": {"name": "openai/clip", "commit": "abc123", "weights": "f00", "revision": "main"}}
    write_json(
        run.path / "manifest.json", read_json(run.path / "manifest.json") | {"pretrained": facts, "notes": ["x."]}
    )
    text = model_card(Run.open(run.path), city)
    assert "Pretrained, rsi: openai/clip (commit abc123, weights f00, revision main)." in text
    assert "32 of 64 regions have no flows (view)." in text and "\n- x.\n" in text


def test_the_code_block_that_loads_the_run_works(make_run, tmp_path: Path) -> None:
    run, city = make_run()
    [code] = re.findall(r"```python\n(.*?)```", write_card(run, city).read_text(), flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=run.path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "region_id" in done.stdout
