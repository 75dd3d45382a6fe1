"""JSON that may be damaged is parsed, or refused by a `ValueError`."""

import pytest

from urbankit.utils.json_text import DEPTH, parse_json


@pytest.mark.parametrize("text", ["[" * DEPTH + "1" + "]" * DEPTH, '{"a": [' + "[1], " * 1000 + "{}]}", b"1"])
def test_json_of_usual_depth_is_parsed(text: str | bytes) -> None:
    assert parse_json(text) is not None


@pytest.mark.parametrize("depth", [DEPTH + 1, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deeply_nested_json_is_refused(depth: int, opening: str, closing: str) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(opening * depth + "1" + closing * depth)


@pytest.mark.parametrize("text", ["", "{", b"\xff", "9" * 10_000, "{'a': 1}"])
def test_text_that_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)
