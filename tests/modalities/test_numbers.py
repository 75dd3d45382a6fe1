"""Encoders of numbers that read the tiny city: shape, coordinates, words and totals of flows."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from urbankit import registry
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError


def test_shape_gives_area_perimeter_and_compactness(tiny_city):
    encoder = registry.create("modality_encoder", Use(name="shape"), tiny_city, "shape", 4)
    raw, region = encoder.features(tiny_city)
    polygon = tiny_city.regions.geometry.iloc[3]
    assert region[3] == 3
    assert raw[3, 0] == pytest.approx(np.log(tiny_city.area_km2[3]))
    assert raw[3, 1] == pytest.approx(np.log(polygon.length / 1000))
    assert raw[3, 2] == pytest.approx(4 * np.pi * tiny_city.area_km2[3] / (polygon.length / 1000) ** 2)


def test_coordinates_keep_the_ratio_of_distances(tiny_city):
    encoder = registry.create("modality_encoder", Use(name="coordinates"), tiny_city, "coordinates", 4)
    x = encoder.load(np.arange(tiny_city.n_regions)).numpy()
    ours, true = (np.linalg.norm(p[1:] - p[0], axis=1) for p in (x, tiny_city.xy))
    assert np.allclose(ours / ours[0], true / true[0], atol=1e-4)


def test_words_give_equal_vectors_for_equal_captions(tiny_city):
    encoder = registry.create("modality_encoder", Use(name="words", source="rsi"), tiny_city, "words", 4)
    captions = tiny_city.captions("rsi").groupby("region")["text"].agg(" ".join)
    assert encoder.observations().tolist() == sorted(captions.index)
    rows = encoder.load(np.arange(len(captions))).numpy()
    for text in captions[captions.duplicated()].unique():
        same = rows[(captions == text).to_numpy()]
        assert np.allclose(same, same[0], atol=1e-4)


def test_flow_totals_include_values_per_square_kilometre(tiny_city):
    params = {"components": 0, "per_area": True}
    encoder = registry.create("modality_encoder", Use(name="flow_profile", **params), tiny_city, "flows", 4)
    raw, region = encoder.features(tiny_city)
    assert raw.shape[1] == 8
    out = np.asarray(tiny_city.flows().sum(axis=1)).ravel()[region]
    assert np.allclose(raw[:, 6], np.log1p(out) - np.log(tiny_city.area_km2[region]))


def test_captions_that_share_no_word_are_refused(tiny_city):
    def encoded(*texts):
        captions = pd.DataFrame({"region": range(len(texts)), "image": -1, "text": texts})
        city = SimpleNamespace(
            n_regions=len(texts), content_hash="", caption_sources=["rsi"], captions=lambda _: captions
        )
        city.members = {"one": city}
        return registry.create("modality_encoder", Use(name="words"), city, "told", 4)

    with pytest.raises(UserError, match=r"modalities.told: .* share a word"):
        encoded("a park", "towers", "water")
    assert encoded("green park", "tall park", "grey towers").load(np.arange(3)).shape == (3, 1)
    cls = registry.get("modality_encoder", "words")
    assert "no such captions" in cls.requires(cls.Params(source="aerial"), tiny_city, "words")
