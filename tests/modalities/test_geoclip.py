"""Locations: the projection against PROJ, the features against their formula, GeoCLIP's weights in its own layers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fake_city import FakeCity
from pyproj import Transformer
from safetensors.torch import save_file
from torch import Tensor, nn

from urbankit.modalities.geoclip import FourierFeatures, GeoCLIP, equal_earth
from urbankit.utils.errors import UserError


def test_equal_earth_equals_that_of_proj() -> None:
    longitude, latitude = np.meshgrid(np.linspace(-180, 180, 25), np.linspace(-90, 90, 19))
    lonlat = np.column_stack([longitude.ravel(), latitude.ravel()])
    sphere = Transformer.from_crs("+proj=longlat +R=1", "+proj=eqearth +R=1", always_xy=True)
    expected = np.column_stack(sphere.transform(lonlat[:, 0], lonlat[:, 1]))
    np.testing.assert_allclose(equal_earth(torch.from_numpy(lonlat)).numpy(), expected, atol=1e-9)


def test_fourier_features_match_their_formula() -> None:
    layer, x = FourierFeatures(3.0, 4), torch.randn(5, 2)
    features = layer(x)
    for i in range(5):
        for j in range(4):
            phase = 2 * np.pi * (layer.b[j, 0] * x[i, 0] + layer.b[j, 1] * x[i, 1])
            np.testing.assert_allclose(features[i, j], np.cos(phase), atol=1e-5)
            np.testing.assert_allclose(features[i, 4 + j], np.sin(phase), atol=1e-5)


def test_frequencies_have_the_declared_deviation() -> None:
    for sigma in (0.5, 16.0):
        assert FourierFeatures(sigma, 4000).b.std().item() == pytest.approx(sigma, rel=0.05)


def test_local_scale_centres_and_scales_the_city(city: FakeCity) -> None:
    encoder = GeoCLIP(GeoCLIP.Params(), city, "location", 8)
    seen = (equal_earth(torch.from_numpy(city.lonlat)) - encoder.centre) / encoder.std
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-9)
    assert seen.square().mean().item() == pytest.approx(1)


def test_regions_at_one_location_give_finite_vectors(city: FakeCity) -> None:
    city.lonlat[:] = city.lonlat[0]
    encoder = GeoCLIP(GeoCLIP.Params(), city, "location", 8)
    assert encoder(encoder.load(np.arange(12))).isfinite().all()


def test_observations_are_centroids_or_image_points(city: FakeCity) -> None:
    encoder = GeoCLIP(GeoCLIP.Params(sources={"street": "svi"}), city, "location", 8)
    np.testing.assert_array_equal(encoder.observations(), np.arange(12))
    np.testing.assert_array_equal(encoder.observations("text"), np.arange(12))
    np.testing.assert_array_equal(encoder.load(np.array([3, 1])), city.lonlat[[3, 1]])
    images = city.images("svi")
    images.lonlat[2] = np.nan
    encoder = GeoCLIP(GeoCLIP.Params(sources={"street": "svi"}), city, "location", 8)
    for of in ("svi", "street"):
        np.testing.assert_array_equal(encoder.observations(of), images.region)
        np.testing.assert_array_equal(encoder.load(np.array([0, 4]), of), images.lonlat[[0, 4]])
        np.testing.assert_array_equal(encoder.load(np.array([2]), of), city.lonlat[images.region[[2]]])


class Published(nn.Module):
    """GeoCLIP's location encoder as published, with its tensor names."""

    def __init__(self, features: int, hidden: int, width: int) -> None:
        super().__init__()
        for level, sigma in enumerate((1.0, 16.0, 256.0)):
            capsule = nn.Sequential(
                nn.Module(), nn.Linear(2 * features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
                nn.Linear(hidden, hidden), nn.ReLU(),
            )  # fmt: skip
            capsule[0].b = nn.Parameter(torch.randn(features, 2) * sigma, requires_grad=False)
            self.add_module(
                f"LocEnc{level}", nn.ModuleDict({"capsule": capsule, "head": nn.Sequential(nn.Linear(hidden, width))})
            )

    def forward(self, lonlat: Tensor) -> Tensor:
        longitude, latitude = torch.deg2rad(lonlat).T
        theta = torch.asin(3**0.5 / 2 * torch.sin(latitude))
        slope = 3 * (9 * 0.003796 * theta**8 + 7 * 0.000893 * theta**6 + 3 * -0.081106 * theta**2 + 1.340264)
        x = 2 * 3**0.5 * longitude * torch.cos(theta) / slope
        y = 0.003796 * theta**9 + 0.000893 * theta**7 - 0.081106 * theta**3 + 1.340264 * theta
        scaled = (torch.stack([x, y], dim=1) * 66.50336 / 180).float()
        total = 0
        for level in self.children():
            phase = 2 * torch.pi * scaled @ level["capsule"][0].b.T
            total = total + level["head"](level["capsule"][1:](torch.cat([phase.cos(), phase.sin()], dim=1)))
        return total


@pytest.mark.parametrize("form", ["safetensors", "safetensors with a prefix", "state dict"])
def test_published_weights_give_the_published_vectors(city: FakeCity, tmp_path: Path, form: str) -> None:
    model = Published(6, 10, 5)
    path = tmp_path / ("geoclip.pth" if form == "state dict" else "geoclip.safetensors")
    if form == "state dict":
        torch.save(model.state_dict(), path)
    else:
        prefix = "location_encoder." if "prefix" in form else ""
        weights = {prefix + name: tensor for name, tensor in model.state_dict().items()}
        save_file(weights | {"logit_scale": torch.ones(1)}, path)
    encoder = GeoCLIP(GeoCLIP.Params(scale="global", pretrained=str(path)), city, "location", 8)
    batch = encoder.load(np.arange(12))
    assert encoder.width == 5
    torch.testing.assert_close(encoder(batch), model(batch), atol=1e-4, rtol=1e-4)


def test_vectors_of_one_city_differ_little_on_the_global_scale(city: FakeCity) -> None:
    apart = {}
    for scale in ("local", "global"):
        encoder = GeoCLIP(GeoCLIP.Params(scale=scale, sigmas=[1.0]), city, "location", 8)
        vectors = encoder(encoder.load(np.arange(12)))
        apart[scale] = (vectors.std(0).mean() / vectors.abs().mean()).item()
    assert apart["local"] > 20 * apart["global"]


def refusal(city: FakeCity, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        GeoCLIP(GeoCLIP.Params(scale="global", pretrained=str(path)), city, "location", 8)
    return str(caught.value)


def test_files_that_are_not_geoclips_weights_are_refused(city: FakeCity, tmp_path: Path) -> None:
    assert "not found" in refusal(city, tmp_path / "absent.safetensors")
    (tmp_path / "weights.pth").write_bytes(b"pickle")
    assert "safetensors" in refusal(city, tmp_path / "weights.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\x00")
    assert "cannot be read" in refusal(city, tmp_path / "broken.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    assert "not the weights of GeoCLIP" in refusal(city, tmp_path / "other.safetensors")
    partly = {k: v for k, v in Published(6, 10, 5).state_dict().items() if "capsule.3.bias" not in k}
    save_file(partly, tmp_path / "partly.safetensors")
    assert "not the weights of GeoCLIP" in refusal(city, tmp_path / "partly.safetensors")


def test_pretrained_needs_global_scale() -> None:
    with pytest.raises(ValueError, match="scale: global"):
        GeoCLIP.Params(pretrained="geoclip.safetensors")
    with pytest.raises(ValueError, match="sigmas"):
        GeoCLIP.Params(pretrained="geoclip.safetensors", scale="global", sigmas=[1.0])
