"""Names of one thing in two data sets."""

from urbankit.utils.names import match_names


def test_names_match_however_they_are_spelled():
    assert match_names(["Fast food", "park"], ["fast_food", "Park", "park"]) == {
        "Fast food": "fast_food",
        "park": "park",
    }
    assert match_names(["bus-stop"], ["BUS  STOP"]) == {"bus-stop": "BUS  STOP"}


def test_a_spelling_of_several_names_matches_none():
    assert match_names(["a b"], ["a_b", "a-b"]) == {}
    assert match_names(["A", "a "], ["a_"]) == {}
    assert match_names(["x"], ["y"]) == {}
