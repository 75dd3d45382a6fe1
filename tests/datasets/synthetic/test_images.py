"""Pictures show what the model says: structure, not colour."""

from dataclasses import replace

import numpy as np
import pytest

from urbankit.datasets.synthetic.model import LOW_RISE, TOWERS, draw_model
from urbankit.datasets.synthetic.satellite import Style, cell_raster
from urbankit.datasets.synthetic.street import draw, scenes


def test_a_picture_does_not_depend_on_its_batch():
    views = scenes(draw_model(36, seed=0), seed=0)
    rows = np.arange(12)
    together = draw(views, rows)
    np.testing.assert_array_equal(together[[3, 8]], draw(views, np.array([3, 8])))


def test_a_fifth_of_the_regions_has_no_street_view():
    views = scenes(draw_model(2000, seed=0), seed=0)
    seen = np.bincount(views.region, minlength=2000)
    assert 0.15 < (seen == 0).mean() < 0.25
    assert seen.max() == 4
    assert (np.diff(views.region) >= 0).all()


def test_tall_buildings_hide_the_sky():
    views = scenes(draw_model(100, seed=0), seed=0)
    rows = np.flatnonzero(views.use == TOWERS)[:20]
    bare = draw(replace(views, gap=np.full(len(views), 2.0), storeys=np.zeros(len(views))), rows)

    def hidden(storeys: float) -> float:
        seen = draw(replace(views, storeys=np.full(len(views), storeys)), rows)
        return (seen != bare).any(axis=-1)[:, :20].mean()

    assert hidden(4.0) < 0.6 * hidden(12.0) < 0.6 * hidden(40.0)


@pytest.fixture(scope="module")
def tiles():
    """Grey 64 x 64 pictures, standardised one by one, of the cells of a model, and the model."""
    model = draw_model(100, seed=2)
    style, tiles = Style(model, seed=2), np.empty((model.lattice.cells, 64, 64))
    for row in range(model.lattice.height):
        cell = cell_raster(model, row, 0, model.lattice.width)
        strip = style.draw(0, row * 64, cell)[8:, :-8].astype(float).mean(axis=2)
        tiles[row * model.lattice.width :][: model.lattice.width] = strip.reshape(64, -1, 64).transpose(1, 0, 2)
    tiles -= tiles.mean(axis=(1, 2), keepdims=True)
    return tiles / tiles.std(axis=(1, 2), keepdims=True), model


def test_texture_of_tiles_shows_density(tiles):
    """Standardised pixels hold no brightness or contrast; how far a tile resembles itself still tells the density."""
    grey, model = tiles
    lags = np.stack([(grey[:, :, lag:] * grey[:, :, :-lag]).mean(axis=(1, 2)) for lag in range(1, 9)], axis=1)
    built = model.mixture[:, [TOWERS, LOW_RISE]].sum(axis=1) > 0.6
    design = np.column_stack([np.ones(built.sum()), lags[built], model.mixture[built]])
    target = np.log(model.spacing_m[built, TOWERS])
    residual = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    plain = np.delete(design, np.arange(1, 9), axis=1)
    without = target - plain @ np.linalg.lstsq(plain, target, rcond=None)[0]
    assert residual.var() < 0.75 * without.var()


def test_shadows_fall_away_from_the_sun():
    from urbankit.datasets.synthetic.satellite import _shadow

    cover, storeys = np.zeros((20, 20), np.float32), np.full((20, 20), 20.0, np.float32)
    cover[8, 12] = 1
    rows, columns = np.nonzero(_shadow(cover, storeys))
    assert rows.min() > 8 and columns.max() <= 12
    low = _shadow(cover, storeys / 5)
    assert np.count_nonzero(low) < len(rows)
