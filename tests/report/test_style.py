"""Names of the files of figures."""

import pytest

from urbankit.report.style import LONGEST, file_name


def test_names_that_files_may_have_stay() -> None:
    assert file_name("residuals-age_share_18.to-64") == "residuals-age_share_18.to-64"


@pytest.mark.parametrize(("one", "other"), [("age <65", "age ≥65"), ("a/b", "a b"), ("x" * 100, "x" * 101)])
def test_names_that_were_changed_stay_distinct(one: str, other: str) -> None:
    first, second = file_name(one), file_name(other)
    assert first != second and first == file_name(one)
    assert max(len(first), len(second)) <= LONGEST + 9 and not set(first + second) & set("<>/ ")
