"""Captions as a vision-language model might write them: templates with variety, omissions, vagueness and errors."""

from __future__ import annotations

import numpy as np

from urbankit.datasets.synthetic.model import COMMERCIAL, INDUSTRIAL, LOW_RISE, TOWERS, CityModel
from urbankit.datasets.synthetic.street import Scenes

WRONG, VAGUE = 0.16, 0.18
"""Shares of captions that describe another picture, and of vague ones."""

_ABOVE_OPENING = (
    "The image is a satellite view of {}",
    "A satellite image showing {}",
    "This aerial view features {}",
    "The image shows {} from above",
    "An overhead view of {}",
)
_ABOVE_VAGUE = (
    "The image is a satellite view of a city, with buildings and roads.",
    "An aerial photograph of an area with various structures and open spaces.",
    "A satellite image showing a mix of built-up and open land.",
    "The image captures the layout of a city from above, offering a comprehensive view of the area.",
)
_ABOVE_USE = (
    (
        "high-rise apartment blocks",
        "residential towers",
        "a housing estate of tall buildings",
        "rows of apartment towers",
    ),
    ("small houses", "a low-rise neighbourhood", "a dense village of houses", "a residential area of low homes"),
    (
        "a commercial district",
        "office and shopping buildings",
        "a business area with large buildings",
        "a shopping district",
    ),
    ("an industrial area", "factories and warehouses", "large industrial sheds", "a manufacturing zone"),
    ("a park", "a wooded green space", "trees and lawns", "a forested recreation area"),
    ("farmland", "cultivated fields", "agricultural plots", "rural fields"),
)
_ABOVE_PACKED = (
    ("the buildings are widely spaced", "there is much open ground between the buildings"),
    ("the buildings are moderately spaced", "the area is moderately built up"),
    ("the buildings are densely packed", "the area is tightly built with little open space"),
)
_ABOVE_TALL = (
    ("most buildings look low", "the buildings cast short shadows"),
    ("the buildings are of medium height", "there are mid-rise buildings"),
    ("tall buildings cast long shadows", "several very tall buildings stand out"),
)
_ABOVE_GREEN = (
    ("there is little vegetation", "few trees can be seen"),
    ("some trees line the streets", "patches of vegetation are visible"),
    ("trees are scattered throughout", "there is plenty of greenery"),
)
_ABOVE_INDUSTRY = (
    ("trucks are parked beside logistics sheds", "there are distribution warehouses"),
    ("there are several workshops and yards", "factory yards can be seen"),
    ("round storage tanks can be seen", "there are storage tanks of a chemical plant"),
)
_ABOVE_ROADS = (
    ("roads form a regular grid", "the streets meet at right angles", "a main road crosses the area"),
    ("smaller streets divide the blocks", "a network of roads connects the area", "roads run in two directions"),
)
_RIVER = ("a river runs through the area", "a wide river crosses the scene")

_STREET_OPENING = (
    "A street with {}",
    "The image shows a road lined with {}",
    "A street view of {}",
    "The scene features {} along the road",
)
_STREET_VAGUE = (
    "A view of a street in a city.",
    "The image shows a road on a clear day.",
    "A street scene with the sky above.",
    "A picture taken from a car driving down the road.",
)
_STREET_USE = (
    ("apartment buildings", "residential towers", "tall blocks of flats"),
    ("small houses", "low houses and narrow fronts", "two- and three-storey homes"),
    ("shops and offices", "storefronts and office buildings", "a busy shopping street"),
    ("factories", "long sheds and warehouses", "industrial buildings"),
    ("trees in a park", "a path between trees", "a green park"),
    ("fields", "farmland on both sides", "open countryside"),
)
_STREET_TALL = (
    ("the buildings are only a few storeys high", "low buildings leave much of the sky open"),
    ("the buildings are of medium height", "mid-rise buildings stand on both sides"),
    ("the buildings are very tall", "high towers hide most of the sky"),
)
_STREET_BUSY = (
    ("the street is empty", "hardly anyone is around"),
    ("a few people and cars are visible", "there is some traffic"),
    ("the street is crowded with people", "many pedestrians and cars fill the street"),
)
_STREET_GREEN = (
    ("there are almost no trees", "no greenery is visible"),
    ("a few trees stand by the road", "some trees grow along the street"),
    ("many trees shade the road", "the road is lined with large trees"),
)
_STREET_INDUSTRY = (
    ("trucks wait at a loading yard", "delivery trucks are parked"),
    ("a plain factory wall runs along the road", "there is a factory gate"),
    ("chimneys smoke in the background", "tall smokestacks rise behind the sheds"),
)
_STREET_WEATHER = (
    ("the sky is clear", "it is a sunny day", "the light is warm"),
    ("the sky is overcast", "the weather is hazy", "the light is dim"),
)

_Words = tuple[tuple[str, ...], ...]


def satellite_captions(model: CityModel, seed: int) -> list[str]:
    """One caption per region, in the order of `Lattice.city`."""
    rng = np.random.default_rng([seed, 7])
    cell = _with_errors(model.lattice.city, rng)
    built = model.mixture[cell][:, : INDUSTRIAL + 1].sum(axis=1) > 0.5
    tall = model.mixture[cell, TOWERS] + model.mixture[cell, COMMERCIAL] > 0.35
    km = (model.lattice.centres[cell] - model.lattice.centre) / 1000
    details = [
        (0.60, built, _ABOVE_PACKED, _level(model.compactness[cell], 0.22, rng)),
        (0.55, tall, _ABOVE_TALL, _level(model.stature[cell], 0.22, rng)),
        (0.40, built, _ABOVE_GREEN, _level(model.greenness[cell], 0.25, rng)),
        (0.65, model.mixture[cell, INDUSTRIAL] > 0.3, _ABOVE_INDUSTRY, _level(model.heaviness[cell], 0.25, rng)),
        (0.80, model.river.distance_km(*km.T) < 0.4, (_RIVER,), np.zeros(len(cell), np.int64)),
        (0.55, np.ones(len(cell), bool), _ABOVE_ROADS, rng.integers(0, 2, len(cell))),
    ]
    use = _main_use(model.mixture[cell], 0.28, rng)
    return _compose(_ABOVE_OPENING, _ABOVE_VAGUE, _ABOVE_USE, use, details, rng)


def street_view_captions(scenes: Scenes, seed: int) -> list[str]:
    """One caption per image, in the order of `scenes`."""
    rng = np.random.default_rng([seed, 8])
    row = _with_errors(np.arange(len(scenes)), rng)
    use = scenes.use[row]
    built = np.isin(use, (TOWERS, LOW_RISE, COMMERCIAL))
    height = np.clip(np.log(scenes.storeys[row] / 2.5) / np.log(10), 0, 1)
    everywhere = np.ones(len(row), bool)
    details = [
        (0.60, built, _STREET_TALL, _level(height, 0.15, rng)),
        (0.45, everywhere, _STREET_BUSY, _level(scenes.bustle[row], 0.2, rng)),
        (0.35, built, _STREET_GREEN, _level(scenes.trees[row], 0.2, rng)),
        (0.65, use == INDUSTRIAL, _STREET_INDUSTRY, _level(scenes.heavy[row], 0.2, rng)),
        (0.45, everywhere, _STREET_WEATHER, rng.integers(0, 2, len(row))),
    ]
    error = rng.random(len(row)) < 0.06
    use = np.where(error, rng.integers(0, 6, len(row)), use)
    return _compose(_STREET_OPENING, _STREET_VAGUE, _STREET_USE, use, details, rng)


def _with_errors(index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`index`, where a share `WRONG` of the entries is replaced by another entry."""
    wrong = rng.random(len(index)) < WRONG
    return np.where(wrong, index[rng.integers(0, max(len(index), 1), len(index))], index) if len(index) else index


def _level(value: np.ndarray, blur: float, rng: np.random.Generator) -> np.ndarray:
    """0, 1 or 2: a quantity in 0..1, judged with noise."""
    return np.digitize(value + blur * rng.standard_normal(len(value)), [1 / 3, 2 / 3])


def _main_use(mixture: np.ndarray, blur: float, rng: np.random.Generator) -> np.ndarray:
    """The main land use, judged with noise."""
    return (mixture + blur * rng.standard_normal(mixture.shape)).argmax(axis=1)


def _compose(
    openings: tuple[str, ...], vague: tuple[str, ...], uses: _Words, use: np.ndarray,
    details: list[tuple[float, np.ndarray, _Words, np.ndarray]], rng: np.random.Generator,
) -> list[str]:  # fmt: skip
    """Captions of an opening with the land use, and of the details that apply and are not left out at random.

    A detail is (probability, bool[n] where it applies, words by level, int[n] level).
    """
    n = len(use)
    opening, is_vague, vague_pick = (
        rng.integers(0, len(openings), n),
        rng.random(n) < VAGUE,
        rng.integers(0, len(vague), n),
    )
    word = (rng.random(n) * [len(uses[k]) for k in use]).astype(int) if n else use
    mentioned = [(rng.random(n) < probability) & applies for probability, applies, _, _ in details]
    which = rng.random((len(details), n))
    captions = []
    for i in range(n):
        if is_vague[i]:
            captions.append(vague[vague_pick[i]])
            continue
        phrases = [openings[opening[i]].format(uses[use[i]][word[i]])]
        for (_, _, words, level), mask, pick in zip(details, mentioned, which, strict=True):
            if mask[i]:
                options = words[level[i]]
                phrases.append(options[int(pick[i] * len(options))])
        captions.append(_sentences(phrases))
    return captions


def _sentences(phrases: list[str]) -> str:
    """Two phrases a sentence: `["a park", "few trees", "a river"]` gives `A park, few trees. A river.`."""
    pairs = [", ".join(phrases[k : k + 2]) for k in range(0, len(phrases), 2)]
    return " ".join(pair[0].upper() + pair[1:] + "." for pair in pairs)
