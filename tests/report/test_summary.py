"""The first paragraph of the report, and the files that it offers."""

import base64
import re
from pathlib import Path

import pandas as pd
import pytest
from helpers.report_runs import EVIL, context_of

from urbankit.export import export
from urbankit.report.page import downloads as saved
from urbankit.report.page import write_report
from urbankit.report.page.summary import joined, summarise
from urbankit.runs.folder import Run
from urbankit.runs.writers import write_metrics


def records(
    run: Run, values: dict[tuple[str, str, str], float], splits: tuple[str, ...] = ("random", "spatial")
) -> None:
    """Replace the metrics of a run: `values` by task, model and metric, better by 0.1 under the random split."""
    write_metrics(
        run.path,
        [
            {"task": task, "model": model, "split": split, "seed": seed, "metric": metric,
             "value": value + 0.1 * (split == "random")}
            for (task, model, metric), value in values.items() for split in splits for seed in (0, 1)
        ],
    )  # fmt: skip


def test_one_task_is_described_in_a_paragraph_by_its_strictest_split(make_run) -> None:
    run, city = make_run(tasks=("density",))
    records(
        run,
        {
            ("density", "urbanmmcl", "r2"): 0.61, ("density", "urbanmmcl", "mae"): 1234.5,
            ("density", "urbanmmcl", "coverage"): 0.88, ("density", "floor:mean", "r2"): -0.01,
            ("density", "floor:raw-ridge", "r2"): 0.5,
        },
    )  # fmt: skip
    context = context_of(Run.open(run.path), city)
    title, text = summarise(context.run, context.tasks, "New York", 64, 0.9)
    assert title == "density in New York"
    assert text == (
        "This run predicts density for the 64 regions of New York. Tested on entire parts of the city whose labels it "
        "had not seen, it explains 61% of the differences between regions and is off by 1,234 people/km² on average. "
        "That is better than the best prediction without representation learning: R² 0.61 against 0.50 (ridge), ahead "
        "in 2 of 2 tests. Where to trust it: intervals contain the true value for 88% of the regions, and should for "
        "90%."
    )


def test_several_tasks_share_the_sentences_that_differ_by_a_number(make_run) -> None:
    run, _ = make_run(tasks=("density", "use"))
    records(
        run,
        {
            ("density", "urbanmmcl", "r2"): -0.2, ("density", "floor:mean", "r2"): 0.1,
            ("use", "urbanmmcl", "macro_f1"): 0.5, ("use", "urbanmmcl", "accuracy"): 0.7,
            ("use", "urbanmmcl", "ece"): 0.04, ("use", "floor:untrained", "macro_f1"): 0.4,
            ("third", "urbanmmcl", "r2"): 0.3, ("fourth", "urbanmmcl", "r2"): 0.25,
        },
    )  # fmt: skip
    title, text = summarise(Run.open(run.path), [], "X", None, None)
    assert title == "density, use, third and fourth in X"
    assert (
        "it explains none of the differences between regions (density), and names the right class for 70% (use)" in text
    )
    assert "explains 30% (third) and 25% (fourth) of the differences between regions." in text
    assert (
        "better than the best prediction without representation learning for use, and not better for density." in text
    )
    assert text.endswith("Where to trust it: the stated probability of a class is off by 4% (use) on average.")


def test_run_without_tasks_or_metrics_has_a_summary(make_run) -> None:
    run, city = make_run(tasks=())
    context = context_of(run, city)
    assert summarise(run, context.tasks, "X", 64, 0.9).text.endswith("It predicts nothing.")
    run, city = make_run(tasks=("density",))
    (run.path / "metrics.parquet").unlink()
    context = context_of(Run.open(run.path), city)
    assert summarise(context.run, context.tasks, "X", 64, 0.9).text.endswith("have not been tested.")


def test_joined_names_read_as_a_sentence() -> None:
    assert [joined(texts) for texts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_first_screen_comes_before_the_map_and_floors_have_plain_names(make_run) -> None:
    run, city = make_run()
    page = write_report(context_of(run, city)).path.read_text()
    order = [page.index(text) for text in ("<h1>", "This run predicts", 'id="csv"', 'id="map"', 'id="results"')]
    assert order == sorted(order) and EVIL not in page
    assert "without representation learning</th>" in page and "mean of the labels" in page
    assert "floor: mean" not in page and "what for &lt;script&gt;" in page


@pytest.mark.parametrize("most", [2_000_000, 0])
def test_exported_predictions_can_be_saved_from_the_page(make_run, monkeypatch, most: int, tmp_path: Path) -> None:
    monkeypatch.setattr(saved, "MOST_BYTES", most)
    run, city = make_run()
    export(run, ["gpkg", "csv"])
    page = write_report(context_of(Run.open(run.path), city)).path.read_text()
    links = dict(re.findall(r'download="([^"]+)" href="([^"]+)"', page))
    assert set(links) == {"predictions.csv", "predictions.gpkg", "predictions.qml"}
    if most:
        content = base64.b64decode(links["predictions.gpkg"].split(",")[1])
        assert content == (run.path / "export" / "predictions.gpkg").read_bytes()
    else:
        assert links["predictions.gpkg"] == "export/predictions.gpkg"
        elsewhere = write_report(context_of(Run.open(run.path), city), tmp_path / "page.html").path.read_text()
        assert "download=" not in elsewhere
    assert pd.read_csv(run.path / "export" / "predictions.csv").shape[0] == 64
