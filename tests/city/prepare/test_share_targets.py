"""Targets of shares: what a city file says, what `prepare` refuses and reports, and what a city returns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import share_city
from helpers.share_city import COLUMNS, IDS, UNLABELLED, counts
from numpy.testing import assert_allclose, assert_array_equal

from urbankit import City, UserError
from urbankit.city.joined import JoinedCity


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    return share_city.prepare(tmp_path_factory.mktemp("shares"))


def test_rows_are_divided_by_their_sum(city: City) -> None:
    target = city.target("age")
    assert (target.kind, target.parts, target.title) == ("distribution", tuple(COLUMNS), "Age groups")
    assert target.classes["under 18"].title == "Children"
    labelled = np.setdiff1d(np.arange(len(IDS)), UNLABELLED)
    expected = counts() / counts().sum(axis=1, keepdims=True)
    assert_allclose(target.values[labelled], expected[labelled])
    assert np.isnan(target.values[UNLABELLED]).all()
    assert_array_equal(np.flatnonzero(~target.present), UNLABELLED)


def test_rows_without_a_label_are_counted_in_the_report(city: City) -> None:
    [report] = [one for one in city.report.sources if one.key == "targets.age"]
    assert report.covers == ("target", "age", len(IDS) - 3)
    assert report.notes == [
        "regions without a label, because a value is missing: 1 (r07)",
        "regions without a label, because a value is negative: 1 (r05)",
        "regions without a label, because all values are zero: 1 (r03)",
    ]


def test_the_manifest_names_the_parts(city: City) -> None:
    entry = city.manifest["parts"]["targets.age"]
    assert (entry["kind"], entry["parts"]) == ("distribution", COLUMNS)
    assert "parts" not in city.manifest["parts"]["targets.wealth"]
    again = City.open(city.path)
    again.check()
    assert_array_equal(again.target("age").values, city.target("age").values)


def test_an_encoder_cannot_read_it(city: City) -> None:
    with pytest.raises(UserError, match="reads the target 'age'"):
        city.unlabelled().target("age")


def test_counts_and_shares_are_the_same_target(city: City, tmp_path: Path) -> None:
    file = share_city.write_sources(tmp_path)
    table = pd.read_csv(tmp_path / "age.csv")
    table[COLUMNS] = table[COLUMNS].div(table[COLUMNS].sum(axis=1), axis=0)
    table.drop(index=UNLABELLED).to_csv(tmp_path / "age.csv", index=False)
    shares = City.prepare(file, out=tmp_path / "prepared").target("age")
    assert_allclose(shares.values, city.target("age").values)


def test_the_order_of_regions_changes_nothing_else(city: City, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(IDS))
    moved = share_city.prepare(tmp_path, order)
    assert_allclose(moved.target("age").values, city.target("age").values[order])


def refusals(folder: Path, edit: Any = None, **target: Any) -> list[str]:
    file = share_city.write_sources(folder, **target)
    if edit is not None:
        edit(folder)
    with pytest.raises(UserError) as caught:
        City.prepare(file, out=folder / "prepared")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"unit": "people"}, "targets.age: a distribution has no `unit`: it is shares, whatever the columns"),
        ({"columns": ["under 18"]}, "targets.age: a distribution has at least two parts; name two or more in"),
        ({"columns": ["under 18", "18_to_64", "under 18"]}, "names under 18 more than once; name each part once"),
        ({"columns": ["under 18", "18_to_65"]}, "no column '18_to_65'. Did you mean '18_to_64'?"),
        ({"columns": ["under 18", "name"]}, "column 'name' must hold numbers, but: row 1 'a name'"),
        ({"columns": None}, "targets.age.columns: is missing. Columns with the counts or shares of the parts"),
        ({"kind": "regression"}, "targets.age.kind: should be 'distribution', not 'regression'"),
        ({"table": "ages.csv"}, "targets.age"),
        ({"region": "name"}, "no id in column 'name' matches a region"),
        ({"columns": ["empty", "zero"]}, "has no value in any region: no row has shares"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_message(tmp_path: Path, target: dict[str, Any], message: str) -> None:
    def edit(folder: Path) -> None:
        table = pd.read_csv(folder / "age.csv").assign(zero=0, empty=None)
        table.to_csv(folder / "age.csv", index=False)

    problems = refusals(tmp_path, edit, **target)
    assert len(problems) == 1 and message in problems[0]


def test_titles_of_parts_that_are_no_columns_are_noted(tmp_path: Path) -> None:
    city = share_city.prepare(tmp_path, classes={"below 18": {"title": "Children"}})
    [report] = [one for one in city.report.sources if one.key == "targets.age"]
    assert "`classes` that are no columns: 'below 18'" in report.notes


def test_declared_missing_values_are_no_counts(tmp_path: Path) -> None:
    city = share_city.prepare(tmp_path, missing=[-1])
    [report] = [one for one in city.report.sources if one.key == "targets.age"]
    assert "because a value is missing: 2 (r05, r07)" in report.notes[0]


def test_a_column_that_is_a_share_is_refused(tmp_path: Path) -> None:
    def edit(folder: Path) -> None:
        ages = pd.read_csv(folder / "age.csv")
        table = pd.read_csv(folder / "census.csv").assign(cars=ages["18_to_64"] / ages[COLUMNS].sum(axis=1))
        table.to_csv(folder / "census.csv", index=False)

    [problem] = refusals(tmp_path, edit)
    assert "the column 'cars' of tables.census" in problem and "the target 'age (share: 18_to_64)'" in problem


def joined(folder: Path, **target: Any) -> JoinedCity:
    cities = {
        "one": share_city.prepare(folder / "one", name="one"),
        "two": share_city.prepare(folder / "two", name="two", east=600_000, **target),
    }
    return JoinedCity(cities, folder)


def test_parts_of_several_cities_are_matched_by_name(tmp_path: Path) -> None:
    both = joined(tmp_path, columns=COLUMNS[::-1])
    target = both.target("age")
    first, second = (member.target("age") for member in both.members.values())
    assert target.parts == first.parts == tuple(COLUMNS)
    assert_array_equal(target.values, np.concatenate([first.values, second.values[:, ::-1]]))


def test_a_city_without_the_target_has_no_labels(tmp_path: Path) -> None:
    one = share_city.prepare(tmp_path / "one", name="one")
    file = share_city.write_sources(tmp_path / "two", name="two", east=600_000)
    text = file.read_text()
    file.write_text(text.replace("  age:\n", "  ages:\n"))
    both = JoinedCity({"one": one, "two": City.prepare(file, out=tmp_path / "prepared")}, tmp_path)
    assert_array_equal(both.target("age").present, np.r_[one.target("age").present, np.zeros(len(IDS), bool)])


def test_different_parts_are_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        joined(tmp_path, columns=COLUMNS[:2])
    [problem] = caught.value.problems
    assert "targets.age" in str(problem) and "the list of parts differs between cities" in str(problem)


def test_preparing_again_changes_nothing(tmp_path: Path) -> None:
    city = share_city.prepare(tmp_path)
    before = json.loads((city.path / "manifest.json").read_text())
    City.prepare(tmp_path / "sources" / "city.yaml", out=city.path)
    assert json.loads((city.path / "manifest.json").read_text()) == before
