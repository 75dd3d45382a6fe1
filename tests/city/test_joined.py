"""Several cities as one: every dataset is that of the cities, one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.many_cities import keys, write_cities
from numpy.testing import assert_array_equal

from urbankit import testing
from urbankit.city.city import City
from urbankit.city.joined import JoinedCity, vocabulary
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import prepare_city
from urbankit.utils.errors import UserError


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory, session_cache: None) -> JoinedCity:
    """Three cities of 25 regions; the second spells the categories of points of interest in its own way."""
    return prepare_city(Recipe.load(keys(write_cities(tmp_path_factory.mktemp("many")))))


@pytest.fixture
def pair(tiny_city: City) -> JoinedCity:
    """A city with images, captions and a table beside one with other datasets."""
    return JoinedCity({"small": testing.tiny_city(), "demo": tiny_city}, Path("pair"))


def test_regions_follow_each_other_with_the_name_of_their_city(joined):
    assert joined.n_regions == len(joined.regions) == 75 and list(joined.members) == ["first", "second", "third"]
    assert joined.region_ids[:1] == ["first/r00"] and joined.region_ids[25] == "second/r00"
    assert_array_equal(joined.member, np.repeat([0, 1, 2], 25))


def test_positions_are_right_within_a_city_and_far_between_cities(joined):
    for index, city in enumerate(joined.members.values()):
        xy = joined.xy[joined.member == index]
        np.testing.assert_allclose(xy - xy[0], city.xy - city.xy[0], atol=1e-6)
    assert np.linalg.norm(joined.xy[0] - joined.xy[25]) > 1e5
    np.testing.assert_allclose(joined.area_km2, np.concatenate([c.area_km2 for c in joined.members.values()]))


def test_categories_are_matched_by_name_however_they_are_spelled(joined):
    counts, categories = joined.poi_counts()
    assert categories == ["cafe", "fast_food", "park"]
    of_second, spelled = joined.members["second"].poi_counts()
    order = [spelled.index(name) for name in ("cafe", "Fast food", "park")]
    assert_array_equal(counts.toarray()[25:50], of_second.toarray()[:, order])


def test_flows_stay_within_cities(joined):
    flows = joined.flows().toarray()
    for index, city in enumerate(joined.members.values()):
        rows = slice(25 * index, 25 * (index + 1))
        assert_array_equal(flows[rows, rows], city.flows().toarray())
        flows[rows, rows] = 0
    assert flows.sum() == 0


def test_targets_are_those_of_the_cities(joined):
    for name in ("density", "use"):
        values = [city.target(name).values for city in joined.members.values()]
        assert_array_equal(joined.target(name).values, np.concatenate(values))
    assert joined.target("density").unit == "people/km²"
    with pytest.raises(UserError, match="Its labels would leak"):
        joined.unlabelled().target("density")


def test_datasets_that_one_city_lacks_are_missing_there(pair):
    small, demo = pair.members.values()
    for name in pair.tables:
        values, _ = pair.table(name)
        assert np.isnan(values[20:]).all() == (name not in demo.tables)
    for name in pair.target_names:
        expected = name in small.target_names, name in demo.target_names
        present = pair.target(name).present
        assert (present[:20].any(), present[20:].any()) == expected
    assert set(pair.image_sources) == {*small.image_sources, *demo.image_sources}


def test_captions_have_the_regions_and_images_of_their_city(pair):
    small, demo = pair.members.values()
    for source in pair.caption_sources:
        captions = pair.captions(source)
        of_small = small.captions(source) if source in small.caption_sources else None
        of_demo = demo.captions(source) if source in demo.caption_sources else None
        expected = [table["text"].tolist() for table in (of_small, of_demo) if table is not None]
        assert captions["text"].tolist() == [text for texts in expected for text in texts]
        if of_demo is not None:
            last = captions.iloc[-len(of_demo) :]
            assert_array_equal(last["region"], of_demo["region"] + 20)


def test_images_are_read_from_the_city_that_has_them(tiny_city, tmp_path):
    twice = JoinedCity.__new__(JoinedCity)
    twice.__dict__ |= {"_members": {"a": tiny_city, "b": tiny_city}, "_bands": {}, "path": tmp_path}
    for name in tiny_city.image_sources:
        images, one = twice.images(name), tiny_city.images(name)
        assert len(images) == 2 * len(one)
        rows = np.array([len(one) + 1, 0, len(one) - 1])
        assert_array_equal(images.read(rows), one.read(np.array([1, 0, len(one) - 1])))
        np.testing.assert_allclose(images.band_mean, one.band_mean)
        np.testing.assert_allclose(images.band_std, one.band_std)
        assert_array_equal(images.region[len(one) :], one.region + tiny_city.n_regions)
        with pytest.raises(IndexError):
            images.read(np.array([2 * len(one)]))


def test_cities_with_common_regions_are_refused(tiny_city):
    with pytest.raises(UserError, match="the cities a and b have regions at the same location"):
        JoinedCity({"a": tiny_city, "b": tiny_city}, Path("pair"))


def test_a_target_in_two_units_is_refused(tmp_path):
    cities = write_cities(tmp_path, ("first", "second"))
    spec = (cities.parent / "spec" / "one.yaml").read_text(encoding="utf-8")
    other = spec.replace("people/km²", "people/ha").replace("name: one", "name: two")
    (cities / "second" / "city.yaml").write_text(other, encoding="utf-8")
    (cities / "first" / "city.yaml").write_text(spec, encoding="utf-8")
    recipe = keys(cities, cities=[{"spec": str(cities / name / "city.yaml")} for name in ("first", "second")])
    with pytest.raises(
        UserError, match=r"targets\.density: the unit differs between cities: people/km² in one, people/ha"
    ):
        prepare_city(Recipe.load(recipe))


def test_two_cities_of_one_name_are_refused(tmp_path):
    cities = write_cities(tmp_path, ("first", "second"))
    spec = str(cities.parent / "spec" / "one.yaml")
    recipe = keys(cities, cities=[{"spec": spec, "data": str(cities / name)} for name in ("first", "second")])
    with pytest.raises(UserError, match="two cities have the name one"):
        prepare_city(Recipe.load(recipe))


def test_folders_are_selected_by_pattern_and_exclude(tmp_path):
    cities = write_cities(tmp_path)
    recipe = keys(cities)
    recipe["cities"] |= {"pattern": "*[td]", "exclude": ["third"]}
    assert list(prepare_city(Recipe.load(recipe)).members) == ["first", "second"]
    recipe["cities"] |= {"exclude": ["thrd"]}
    with pytest.raises(UserError, match=r"there is no folder 'thrd' to leave out\. Did you mean 'third'\?"):
        prepare_city(Recipe.load(recipe))
    recipe["cities"] |= {"exclude": [], "pattern": "x*"}
    with pytest.raises(UserError, match="no folder in it matches the pattern"):
        prepare_city(Recipe.load(recipe))


def test_folders_without_a_city_are_all_named(tmp_path):
    cities = write_cities(tmp_path, ("first", "second"))
    recipe = keys(cities)
    del recipe["cities"]["spec"]
    with pytest.raises(UserError) as error:
        prepare_city(Recipe.load(recipe))
    assert len(error.value.problems) == 2 and "name a city file for all folders" in str(error.value)


def test_city_and_cities_together_are_refused(tmp_path):
    cities = write_cities(tmp_path, ("first",))
    with pytest.raises(UserError, match="give one of `city` and `cities`, not both"):
        Recipe.load(keys(cities, city={"demo": {}}))


def test_vocabulary_keeps_the_first_spelling():
    names, position = vocabulary([["cafe", "fast_food"], ["Fast food", "park"]])
    assert names == ["cafe", "fast_food", "park"] and position["Fast food"] == 1
