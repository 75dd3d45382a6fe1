"""Captions of counts and tables: every word checked by hand on five regions."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from urbankit import UserError
from urbankit.captioning.captioners.base import Batch
from urbankit.captioning.captioners.template import Template

COUNTS = [[6, 0, 1, 2], [0, 1, 0, 0], [0, 0, 0, 0], [9, 9, 9, 9], [0, 0, 0, 0]]
CATEGORIES = ["cafe", "farm_shop", "bank", "school"]
COUNTED = [True, True, True, True, False]
CENSUS = [[100.0, 0.5], [np.nan, 0.5], [300.0, 0.5], [400.0, 0.5], [np.nan, np.nan]]
AREAS = [0.9234, 1.0, 2.0, 1.5, 1234.5]


def small(counts: Any = COUNTS, tables: Any = None) -> Any:
    tables = {"census": (np.array(CENSUS), ["mean_income", "share"])} if tables is None else tables
    return SimpleNamespace(
        name="small", path="small", n_regions=5, area_km2=np.array(AREAS),
        poi_counts=lambda: None if counts is None else (scipy.sparse.csr_array(np.array(counts, float)), CATEGORIES),
        poi_present=np.array(COUNTED) & (counts is not None), tables=list(tables), table=lambda name: tables[name],
    )  # fmt: skip


def captions(city: Any, **params: Any) -> list[str]:
    template = Template(Template.Params(**params), city)
    regions = np.flatnonzero(template.describes())
    return [one.text for one in template.caption(Batch("rsi", 0, regions, []))]


def test_captions_of_counts_and_tables_have_the_expected_text() -> None:
    # Points per km² of the counted regions are 9.75, 1, 0 and 24: by rank 5/8, 3/8, 1/8 and 7/8. Incomes rank 1/6, 3/6
    # and 5/6; shares are all equal, so that they rank 1/2 and are neither high nor low.
    assert captions(small()) == [
        "An area of 0.923 km² with 9 points of interest: 6 cafe, 2 school and 1 bank."
        " Low mean income (100), share 0.5.",
        "An area of 1 km² with 1 point of interest: 1 farm shop. Share 0.5.",
        "An area of 2 km² without points of interest. Mean income 300, share 0.5.",
        "An area of 1.5 km² with 36 points of interest, many for this city: 9 cafe, 9 farm shop, 9 bank and 9 school."
        " High mean income (400), share 0.5.",
    ]


def test_parameters_limit_the_named_categories_and_columns() -> None:
    first, *_, last = captions(small(), categories=2, columns=1)
    assert first == (
        "An area of 0.923 km² with 9 points of interest: 6 cafe, 2 school and 1 of 1 other kind. Low mean income (100)."
    )
    assert "9 cafe, 9 farm shop and 18 of 2 other kinds." in last
    assert captions(small(), categories=0, columns=0)[0] == "An area of 0.923 km² with 9 points of interest."


def test_captions_say_few_for_the_lowest_quarter_only() -> None:
    # Six per km² against one: ranks 1/8, 3/8, 5/8, 7/8 in the order of the regions.
    texts = captions(small(counts=[[1, 0, 0, 0], [2, 0, 0, 0], [9, 0, 0, 0], [20, 0, 0, 0], [0, 0, 0, 0]]))
    assert "1 point of interest, few for this city: 1 cafe." in texts[0]
    assert "for this city" not in texts[1] + texts[2]


def test_a_region_without_data_gets_no_caption_and_uncounted_points_are_not_mentioned() -> None:
    tables = {"census": (np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]), ["rent"])}
    assert captions(small(tables=tables))[4] == "An area of 1,230 km². High rent (5)."
    template = Template(Template.Params(), small())
    assert template.describes().tolist() == [True, True, True, True, False]
    assert Template(Template.Params(columns=0), small(counts=None)).describes().sum() == 0


def test_equal_column_names_of_two_tables_are_distinguished() -> None:
    column = np.arange(5.0)[:, None]
    texts = captions(small(tables={"census": (column, ["rent"]), "survey": (column, ["rent"])}))
    assert texts[0].endswith("Low census rent (0), low survey rent (0).")
    assert captions(small(tables={"census": (column, ["rent"]), "survey": (column, ["rent"])}), tables=["survey"])[
        0
    ].endswith("Low rent (0).")


def test_a_city_without_counts_and_tables_and_an_unknown_table_are_refused() -> None:
    with pytest.raises(UserError, match=r"neither points of interest nor tables.*--captioner vlm"):
        captions(small(counts=None, tables={}))
    with pytest.raises(UserError, match=r"no table 'cnsus'\. Did you mean 'census'\?"):
        captions(small(), tables=["cnsus"])


def test_template_captions_are_repeatable_and_read_no_target(city) -> None:
    class Blind:
        def __getattr__(self, name: str) -> Any:
            assert not name.startswith("target")
            return getattr(city, name)

    first, second = captions(Blind()), captions(Blind())
    assert first == second
    assert len(first) == city.n_regions
