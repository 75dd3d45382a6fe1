"""The mean over a region's observations: masks, gradients, draws, prefetching and stored features."""

import numpy as np
import pytest
import torch
from helpers.fake_city import FakeCity
from torch import Tensor

from urbankit.modalities.base import EncoderParams, ModalityEncoder
from urbankit.modalities.cache.store import FeatureStore
from urbankit.modalities.flow_profile import FlowProfile
from urbankit.modalities.geoclip import GeoCLIP
from urbankit.modalities.image_stats import ImageStats
from urbankit.modalities.poi_counts import PoiCounts
from urbankit.modalities.pooling import RegionEncoder
from urbankit.modalities.table import Table
from urbankit.modalities.text import Text
from urbankit.modalities.vit import ViT
from urbankit.utils.prefetch import prefetch


def svi(city: FakeCity, **params: object) -> ViT:
    return ViT(ViT.Params(patch_size=8, hidden_size=16, layers=1, heads=2, **params), city, "svi", 8)


class RowNumbers(ModalityEncoder):
    """A vector is the observation's own number, so that a mean shows which rows were taken."""

    def __init__(self, region: np.ndarray, city: FakeCity) -> None:
        super().__init__(EncoderParams(), city, "rows", 4)
        self.region, self.loaded = region, []
        self.connect(1)

    def observations(self, of: str | None = None) -> np.ndarray:
        return self.region

    def load(self, rows: np.ndarray, of: str | None = None) -> Tensor:
        self.loaded.append(rows)
        return torch.from_numpy(rows).float().unsqueeze(1)

    def forward(self, batch: Tensor) -> Tensor:
        return batch


def test_mean_over_observations_equals_a_loop_and_has_no_gradient_for_regions_without_any(city: FakeCity) -> None:
    encoder = svi(city)
    pooled = RegionEncoder(encoder)
    assert not pooled.present.all()
    regions = torch.tensor([5, 0, 11, 5, 2])
    with torch.no_grad():
        vectors, mask = pooled.encode(regions)
        for i, region in enumerate(regions.tolist()):
            rows = np.flatnonzero(city.images("svi").region == region)
            assert bool(mask[i]) == bool(pooled.present[region]) == (len(rows) > 0)
            expected = encoder(encoder.load(rows)).mean(0) if len(rows) else torch.zeros(16)
            torch.testing.assert_close(vectors[i], expected, atol=1e-5, rtol=1e-5)
    vectors, mask = pooled.encode((~pooled.present).nonzero().flatten())
    assert not mask.any() and not vectors.any() and not vectors.requires_grad


def test_a_modality_without_observations_gives_zeros_and_a_false_mask(city: FakeCity) -> None:
    vectors, mask = RegionEncoder(RowNumbers(np.zeros(0, np.int64), city)).encode(torch.tensor([1, 4]), 3)
    assert vectors.tolist() == [[0.0], [0.0]] and mask.tolist() == [False, False]


def test_draw_is_without_replacement_and_uses_all_of_few_observations(city: FakeCity) -> None:
    region = np.repeat(np.arange(12), 7)
    encoder = RowNumbers(region, city)
    pooled = RegionEncoder(encoder)
    pooled.encode(torch.arange(12), 3, torch.Generator().manual_seed(1))
    rows = encoder.loaded[-1]
    assert len(np.unique(rows)) == len(rows) == 36
    assert (np.bincount(region[rows]) == 3).all()
    encoder = RowNumbers(np.array([0, 0, 1, 1, 1, 1, 4]), city)
    vectors, _ = RegionEncoder(encoder).encode(torch.tensor([0, 4, 1]), 3, torch.Generator().manual_seed(0))
    assert vectors[:2].tolist() == [[0.5], [6.0]]
    assert len(encoder.loaded[-1]) == 6


def test_every_observation_is_drawn_with_the_same_probability(city: FakeCity) -> None:
    encoder = RowNumbers(np.repeat([2, 3], [5, 3]), city)
    pooled, generator = RegionEncoder(encoder), torch.Generator().manual_seed(0)
    for _ in range(2000):
        pooled.encode(torch.tensor([2, 3]), 2, generator)
    share = np.bincount(np.concatenate(encoder.loaded), minlength=8) / 2000
    np.testing.assert_allclose(share, [0.4] * 5 + [2 / 3] * 3, atol=0.04)


def test_the_same_generator_gives_the_same_batch_and_advances_by_one_number(city: FakeCity) -> None:
    pooled = RegionEncoder(svi(city, augment="street"))
    one, two = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    regions = torch.arange(12)
    first, _ = pooled.encode(regions, 2, one, augment=True)
    again, _ = pooled.encode(regions, 2, two, augment=True)
    other, _ = pooled.encode(regions, 2, two, augment=True)
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.randint(2**62, (), generator=one)
    assert torch.equal(one.get_state(), two.get_state())


def test_prefetching_changes_nothing(city: FakeCity) -> None:
    pooled = RegionEncoder(svi(city, augment="street"))
    batches = [torch.tensor([0, 5, 3]), torch.tensor([2, 2]), torch.tensor([9, 1, 11])]

    def epoch(prefetch: bool) -> list[Tensor]:
        generator, results = torch.Generator().manual_seed(0), []
        for i, regions in enumerate(batches):
            results.append(pooled.encode(regions, 2, generator, augment=True)[0])
            if prefetch and i + 1 < len(batches):
                pooled.prefetch(batches[i + 1], 2, generator, augment=True)
        return results

    assert all(torch.equal(a, b) for a, b in zip(epoch(False), epoch(True), strict=True))


def test_an_error_while_prefetching_is_raised_by_encode(city: FakeCity, monkeypatch: pytest.MonkeyPatch) -> None:
    pooled = RegionEncoder(svi(city))

    def fail(rows: np.ndarray) -> np.ndarray:
        raise OSError("disk gone")

    monkeypatch.setattr(city.images("svi"), "read", fail)
    regions = pooled.present.nonzero().flatten()[:2]
    pooled.prefetch(regions)
    with pytest.raises(OSError, match="disk gone"):
        pooled.encode(regions)


def test_prefetch_keeps_the_order_and_reads_one_step_ahead() -> None:
    started = []
    results = prefetch(lambda i: started.append(i) or i * i, range(20))
    assert next(results) == 0
    assert len(started) <= 2
    assert list(results) == [i * i for i in range(1, 20)]


@pytest.mark.parametrize("augment", [False, True])
def test_chunks_give_the_same_vectors_and_gradients(city: FakeCity, augment: bool) -> None:
    encoder = svi(city)
    regions = torch.arange(12)

    def run(**sizes: int) -> tuple[Tensor, list[Tensor]]:
        encoder.zero_grad()
        pooled = RegionEncoder(encoder, **sizes)
        vectors, _ = pooled.encode(regions, generator=torch.Generator().manual_seed(0), augment=augment)
        vectors.square().sum().backward()
        return vectors, [p.grad.clone() for p in encoder.parts()["backbone"] if p.grad is not None]

    unchunked, chunked = run(), run(chunk=4, checkpoint_above=4)
    torch.testing.assert_close(unchunked[0], chunked[0], atol=1e-5, rtol=1e-5)
    assert len(unchunked[1]) > 10
    for a, b in zip(unchunked[1], chunked[1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_chunks_hold_no_more_than_their_own_images(city: FakeCity) -> None:
    encoder = RowNumbers(np.repeat(np.arange(12), 50), city)
    RegionEncoder(encoder, chunk=32).encode(torch.arange(12))
    assert max(len(rows) for rows in encoder.loaded) == 32


def test_cached_vectors_equal_encode_and_later_calls_load_nothing(city: FakeCity) -> None:
    encoder = svi(city, trainable="projection")
    pooled = RegionEncoder(encoder)
    direct, mask = pooled.encode(torch.arange(12))
    features, present = pooled.keep()
    assert torch.equal(present, pooled.present) and torch.equal(mask, present)
    torch.testing.assert_close(features, direct, atol=1e-6, rtol=1e-6)
    reads = city.images("svi").reads
    vectors, _ = pooled.encode(torch.tensor([4, 1]), 2, augment=True)
    assert torch.equal(vectors, features[[4, 1]]) and city.images("svi").reads == reads
    pooled.release()
    pooled.encode(torch.tensor([4, 1]))
    assert city.images("svi").reads > reads


def test_cached_features_are_reused_only_for_the_same_content(city: FakeCity) -> None:
    def reads(**params: object) -> int:
        torch.manual_seed(0)
        encoder = svi(city, trainable="none", **params)
        before = city.images("svi").reads
        RegionEncoder(encoder).keep()
        return city.images("svi").reads - before

    assert reads() > 0
    assert reads() == 0
    assert reads(mlp_ratio=3.0) > 0

    torch.manual_seed(1)
    other_weights = svi(city, trainable="none")
    before = city.images("svi").reads
    RegionEncoder(other_weights).keep()
    assert city.images("svi").reads > before
    RegionEncoder(other_weights).keep(precision=torch.bfloat16)
    assert len(list(FeatureStore().folder.rglob("*.safetensors"))) == 4

    city.images("svi").content_hash = "changed"
    assert reads() > 0


def test_damaged_cache_entry_is_recomputed_and_unwritable_cache_only_warns(city: FakeCity, tmp_path) -> None:
    encoder = svi(city, trainable="none")
    features, _ = RegionEncoder(encoder).keep()
    (entry,) = FeatureStore().folder.rglob("*.safetensors")
    entry.write_bytes(entry.read_bytes()[:-7])
    again, _ = RegionEncoder(encoder).keep()
    assert torch.equal(features, again)
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not kept"):
        RegionEncoder(svi(city, trainable="none")).keep(store=FeatureStore(tmp_path / "file"))


def test_trainable_backbone_is_not_cached(city: FakeCity) -> None:
    encoder = svi(city)
    pooled = RegionEncoder(encoder)
    before, _ = pooled.keep()
    assert not FeatureStore().folder.exists()
    with torch.no_grad():
        encoder.model.layernorm.weight.mul_(2)
    after, _ = pooled.encode(torch.arange(12))
    assert not torch.allclose(before, after)


ALL = [
    (ViT, "rsi", {"patch_size": 8}, None), (ViT, "svi", {"patch_size": 8}, None),
    (Text, "text", {}, "rsi"), (Text, "text", {}, "svi"), (Text, "text", {}, None),
    (GeoCLIP, "location", {}, None), (GeoCLIP, "location", {}, "svi"),
    (PoiCounts, "poi", {}, None), (FlowProfile, "flows", {"components": 6}, None), (Table, "census", {}, None),
    (ImageStats, "rsi", {}, None), (ImageStats, "svi", {"hidden": 8}, None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "modality", "params", "of"), ALL)
def test_the_order_of_regions_does_not_matter(city: FakeCity, kind, modality, params, of) -> None:
    order = np.random.default_rng(1).permutation(city.n_regions)
    results = []
    for one in (city, city.permuted(order)):
        torch.manual_seed(0)
        results.append(RegionEncoder(kind(kind.Params(**params), one, modality, 8), of).keep())
    (features, mask), (permuted, permuted_mask) = results
    assert torch.equal(mask[order], permuted_mask)
    torch.testing.assert_close(features[order], permuted, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("kind", "modality", "params", "of"), ALL)
def test_autocast_gives_finite_vectors_close_to_float32(city: FakeCity, kind, modality, params, of) -> None:
    pooled = RegionEncoder(kind(kind.Params(**params), city, modality, 8), of)
    exact, _ = pooled.encode(torch.arange(12))
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = pooled.encode(torch.arange(12))
        projected = pooled.encoder.project(rough)
    assert rough.dtype == torch.float32 and projected.shape == (12, 8)
    torch.testing.assert_close(rough, exact, atol=0.06, rtol=0.06)


def test_a_frozen_backbone_has_no_dropout(city: FakeCity) -> None:
    encoder = svi(city, trainable="projection", dropout=0.5).train()
    pooled = RegionEncoder(encoder)
    assert torch.equal(pooled.encode(torch.arange(12))[0], pooled.encode(torch.arange(12))[0])
    assert encoder.projection.training and not encoder.model.training
