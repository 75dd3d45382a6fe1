from __future__ import annotations

import base64
import html
import re

import numpy as np
import pandas as pd

from urbankit.evaluation.tasks import make_task
from urbankit.report import write_report
from urbankit.report.figures import Figures
from urbankit.report.maps import out_of_sample
from urbankit.report.style import Drawing

EVIL = "<script>alert(1)</script>"
"""What the fixtures write into names and notes."""


def test_the_report_needs_nothing_beside_it_and_escapes_what_comes_from_data(make_run) -> None:
    run, city = make_run()
    png = run.path / "figures" / "map.png"
    png.parent.mkdir()
    png.write_bytes(b"\x89PNG of a map")
    Figures([Drawing(png, f"a map of {EVIL}")], [f"none of {EVIL}"]).save(png.parent)
    page = write_report(run, city).read_text()
    assert EVIL not in page
    # Title, heading, city, description, note; a figure's alt and caption, one left out; drop, odd; recipe, manifest.
    assert page.count(html.escape(EVIL)) == 12
    assert f"src='data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}'" in page
    assert not re.search(r"""(src|href)=(?!'data:)""", page)
    for text in ("floor: mean", "constant run", "unknown ids", "location (geoclip)", "64 regions", "50.0%"):
        assert text in page


def test_a_report_without_figures(make_run) -> None:
    run, city = make_run()
    assert "No figures were drawn" in write_report(run, city).read_text()


def test_a_map_shows_the_median_or_commonest_prediction_of_the_test_parts(make_run) -> None:
    run, _ = make_run()
    row = run.predictions.iloc[:1]
    regression, classification = (
        make_task("t", kind, np.array(values)) if kind == "regression" else make_task("t", kind, values)
        for kind, values in (("regression", np.arange(20.0)), ("classification", np.array(list("ab") * 10, object)))
    )
    seen = [("r1", 5.0, "test"), ("r1", 1.0, "test"), ("r1", 2.0, "test"), ("r1", 99.0, "train"), ("r2", 7.0, "test")]
    table = pd.concat([row.assign(region_id=r, prediction=p, fold=f) for r, p, f in seen])
    ids = np.array(["r1", "r2", "r3"])
    np.testing.assert_array_equal(out_of_sample(table, ids, regression), [2.0, 7.0, np.nan])
    votes = pd.concat([row.assign(region_id="r1", prediction=p, fold="test") for p in (1.0, 0.0, 1.0)])
    np.testing.assert_array_equal(out_of_sample(votes, ids[:1], classification), [1.0])
