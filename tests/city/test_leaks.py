"""Columns of inputs that give a target away are refused, unless they are allowed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.small_city import IDS, Sources

from urbankit.city.leaks import Columns, check_leaks
from urbankit.utils.errors import UserError

RNG = np.random.default_rng(0)
TARGET = RNG.random(200)


def check(column: np.ndarray, target: np.ndarray = TARGET, allowed: tuple = ()) -> list[str]:
    return check_leaks([Columns("tables.t", column[:, None], ["a"])], {"y": target}, allowed).noted


@pytest.mark.parametrize("column", [TARGET, -np.exp(TARGET), TARGET + 1e-3 * RNG.random(200)])
def test_column_that_equals_the_target_is_refused(column: np.ndarray) -> None:
    column = np.where(np.arange(200) % 3 == 0, np.nan, column)
    with pytest.raises(UserError, match=r"the column 'a' of tables\.t .* the target 'y'.*`allow_leak: \[a\]`"):
        check(column)
    for name in ("a", "t.a", "tables.t.a"):
        assert check(column, allowed=(name,)) == []


def test_a_column_close_to_the_target_is_noted_and_others_pass() -> None:
    assert check(TARGET + 0.2 * RNG.random(200))[0].startswith(
        "the column 'a' of tables.t has a rank correlation of 0.9"
    )
    assert check(RNG.random(200)) == check(np.ones(200)) == check(np.full(200, np.nan)) == []
    assert check(np.arange(9.0) * 2, np.arange(9.0)) == []  # few regions are in one order by chance
    with pytest.raises(UserError, match="equals the target"):
        check(np.arange(9.0), np.arange(9.0))


def test_a_column_that_names_the_class_is_refused() -> None:
    codes = RNG.integers(0, 4, 200)
    classes = np.array(["park", "shop", "home", "road"], object)[codes]
    with pytest.raises(UserError, match="the embedding would contain the label"):
        check(codes * 10.0 + 3, classes)
    with pytest.raises(UserError, match="equals the target"):
        check(codes.astype(float), codes.astype(str).astype(object))
    classes[0] = None
    assert check(RNG.integers(0, 4, 200).astype(float), classes) == []


def test_no_column_names_classes_of_one_region_each() -> None:
    classes = np.array([f"class {i}" for i in range(200)], object)
    assert check(RNG.random(200), classes) == []


def test_prepare_refuses_a_table_that_equals_a_target(sources: Sources) -> None:
    sources.csv("t.csv", id=IDS, income=[5, 3, 8, 1, 9, 2, 7, 4, 6])
    sources.spec |= {
        "tables": {"survey": {"file": "t.csv", "region": "id"}},
        "targets": {"income": {"table": "t.csv", "region": "id", "column": "income"}},
    }
    with pytest.raises(UserError, match=r"allow_leak: the column 'income' of tables\.survey equals the target"):
        sources.prepare()
    assert not sources.out.exists()
    sources.spec["allow_leak"] = ["income"]
    city = sources.prepare()
    check = json.loads((city.path / "manifest.json").read_text())["leak_check"]
    assert check["columns"] == {"tables.survey": 1} and check["targets"] == ["income"] and len(check["allowed"]) == 1
