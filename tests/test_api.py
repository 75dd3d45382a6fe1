"""What a user of Python calls: `Run` and `City` as `import urbankit` offers them."""

from pathlib import Path

import pandas as pd
import pytest

import urbankit
from urbankit import UserError
from urbankit.analysis import queries
from urbankit.runs.context import RunContext

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def run(copied_run: Path) -> urbankit.Run:
    return urbankit.Run.open(copied_run)


def test_neighbours_and_clusters_equal_those_of_the_commands(run: urbankit.Run) -> None:
    context, region = RunContext.of(run, prepare=False), run.embeddings["region_id"][3]
    pd.testing.assert_frame_equal(run.neighbours(region, k=4), queries.neighbours(context, region, 4))
    pd.testing.assert_frame_equal(run.clusters(3).regions, queries.clusters(context, 3).regions)
    with pytest.raises(UserError, match="no region"):
        run.neighbours("elsewhere")


def test_report_is_written_to_the_requested_path(run: urbankit.Run, tmp_path: Path) -> None:
    page = run.report(tmp_path / "page.html", figures=False)
    assert page == tmp_path / "page.html" and "</html>" in page.read_text()
    (tmp_path / "mine.html").write_text("notes of mine")
    with pytest.raises(UserError):
        run.report(tmp_path / "mine.html", figures=False)
    assert (tmp_path / "mine.html").read_text() == "notes of mine"


def test_table_converts_to_a_frame(run: urbankit.Run) -> None:
    frame = run.table().to_frame()
    values = run.metrics.groupby(["model", "task", "split", "metric"])["value"]
    expected = values.agg(lambda of_seeds: of_seeds.mean(skipna=False))
    indexed = frame.set_index(["row", "task", "split", "metric"])["mean"]
    assert len(indexed) > 20 and indexed.index.is_unique
    pd.testing.assert_series_equal(indexed, expected.loc[indexed.index], check_names=False)


def test_notebooks_show_runs_cities_and_tables(run: urbankit.Run, tiny_city: urbankit.City) -> None:
    assert run.table().html() == run.table()._repr_html_()
    assert run.table().html() in run._repr_html_()
    city = urbankit.City(tiny_city.path, tiny_city.manifest | {"name": EVIL})
    shown = city._repr_html_()
    assert EVIL not in shown and "alert(1)" in shown
    assert "rsi, svi" in shown and f"{city.n_regions}" in shown
    run.manifest["city"] = EVIL
    assert EVIL not in run._repr_html_()
