import numpy as np
import pytest

from urbankit.evaluation.splits import PARTS, Split, grid_blocks, make_split, random_split, spatial_split
from urbankit.utils.errors import UserError


def parts(split: Split) -> list[np.ndarray]:
    return [getattr(split, part) for part in PARTS]


def uneven_city(n: int = 900) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.vstack([rng.normal(0, 800, (n // 2, 2)), rng.uniform(-6000, 6000, (n - n // 2, 2))])


@pytest.mark.parametrize("protocol", ["random", "spatial"])
@pytest.mark.parametrize("seed", range(5))
def test_every_region_is_in_exactly_one_part_and_sizes_are_close_to_the_fractions(protocol: str, seed: int) -> None:
    xy = uneven_city()
    split = make_split(protocol, xy, seed)
    assert np.array_equal(np.sort(np.concatenate(parts(split))), np.arange(len(xy)))
    assert all(part.dtype == np.int64 for part in parts(split))
    np.testing.assert_allclose([len(part) / len(xy) for part in parts(split)], (0.6, 0.2, 0.2), atol=0.03)


@pytest.mark.parametrize("protocol", ["random", "spatial"])
def test_the_same_seed_gives_the_same_split_and_another_seed_another(protocol: str) -> None:
    xy = uneven_city()
    assert np.array_equal(make_split(protocol, xy, 4).test, make_split(protocol, xy, 4).test)
    assert not np.array_equal(make_split(protocol, xy, 4).test, make_split(protocol, xy, 5).test)


def test_no_spatial_block_is_in_two_parts() -> None:
    xy = uneven_city()
    split = spatial_split(xy, 1)
    low, high = xy.min(axis=0), xy.max(axis=0)
    home: dict[tuple[int, int], str] = {}
    for part in PARTS:
        for region in getattr(split, part):
            column, row = (min(int(10 * (xy[region, i] - low[i]) / (high[i] - low[i])), 9) for i in (0, 1))
            assert home.setdefault((row, column), part) == part


def test_city_on_one_line_is_divided_into_blocks() -> None:
    xy = np.column_stack([np.arange(100.0), np.full(100, 7.0)])
    assert grid_blocks(xy).tolist() == np.repeat(np.arange(10), 10).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_no_part_is_empty_even_with_one_huge_block(seed: int) -> None:
    xy = np.vstack([np.zeros((97, 2)), [[9000, 0], [0, 9000], [9000, 9000]]])
    assert all(len(part) for part in parts(spatial_split(xy, seed)))
    assert all(len(part) for part in parts(random_split(3, seed)))


def test_city_too_small_for_three_parts_is_refused() -> None:
    with pytest.raises(UserError, match=r"the city has 1 regions; .* needs at least 3"):
        random_split(1, 0)
    with pytest.raises(UserError, match=r"2 occupied blocks.*random protocol"):
        spatial_split(np.array([[0.0, 0], [1, 1], [1, 1]]), 0)


def test_unknown_protocols_and_fractions_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown split 'temporal'\. Known: few, few-spatial, folds, random, spatial"):
        make_split("temporal", np.zeros((10, 2)), 0)
    with pytest.raises(UserError, match="sum to 1"):
        random_split(10, 0, (0.5, 0.2, 0.2))


def test_split_can_be_restricted_to_labelled_regions() -> None:
    split = Split(np.array([0, 1, 2]), np.array([3]), np.array([4, 5]))
    narrowed = split.of(np.array([True, False, True, True, False, True]))
    assert [part.tolist() for part in parts(narrowed)] == [[0, 2], [3], [5]]
    with pytest.raises(UserError, match="co: no labelled region falls into the validation part"):
        split.of(np.array([True, True, True, False, True, True]), "co")
    assert split.fold(7).tolist() == ["train"] * 3 + ["validation"] + ["test"] * 2 + [None]
