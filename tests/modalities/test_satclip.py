"""SatCLIP: harmonics against scipy, and against the formulas its code writes out; its weights in its own layers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fake_city import FakeCity
from safetensors.torch import save_file
from scipy.special import sph_harm_y
from torch import Tensor, nn

from urbankit.modalities.satclip import SatCLIP, Siren, satclip_harmonics
from urbankit.modalities.spherical_harmonics import real_spherical_harmonics
from urbankit.utils.errors import UserError


def real_by_scipy(theta: np.ndarray, phi: np.ndarray, degree: int, m: int) -> np.ndarray:
    """The usual real form of scipy's complex harmonics, which have the Condon-Shortley phase."""
    value = sph_harm_y(degree, abs(m), theta, phi)
    if m == 0:
        return value.real
    return math.sqrt(2) * (-1) ** m * (value.real if m > 0 else value.imag)


def test_harmonics_equal_those_of_scipy() -> None:
    draw = np.random.default_rng(0)
    theta = np.concatenate([draw.uniform(0, np.pi, 40), [0, np.pi, np.pi / 2, 1e-9]])
    phi = np.concatenate([draw.uniform(0, 2 * np.pi, 40), [0, 1, 2 * np.pi, 3]])
    harmonics = real_spherical_harmonics(torch.from_numpy(theta), torch.from_numpy(phi), 41).numpy()
    assert harmonics.shape == (44, 41**2)
    expected = [real_by_scipy(theta, phi, degree, m) for degree in range(41) for m in range(-degree, degree + 1)]
    np.testing.assert_allclose(harmonics, np.column_stack(expected), atol=1e-11)


def test_harmonics_are_orthonormal() -> None:
    """By Gauss-Legendre quadrature, which is exact for them."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    azimuth = np.arange(48) * 2 * np.pi / 48
    theta, phi = (a.ravel() for a in np.meshgrid(np.arccos(nodes), azimuth, indexing="ij"))
    values = real_spherical_harmonics(torch.from_numpy(theta), torch.from_numpy(phi), 12).numpy()
    gram = values.T @ (values * np.repeat(weights, 48)[:, None] * 2 * np.pi / 48)
    np.testing.assert_allclose(gram, np.eye(144), atol=1e-12)


def test_features_equal_those_of_satclips_code() -> None:
    longitude, latitude = torch.tensor([-74.0, 103.8, 0.0]).double(), torch.tensor([40.7, 1.35, -90.0]).double()
    theta, phi = torch.deg2rad(latitude + 90), torch.deg2rad(longitude + 180)
    sine = (1.0 - theta.cos() ** 2) ** 0.5
    square = 3 - 3 * theta.cos() ** 2
    written = [
        0.886226925452758 * torch.ones(3), 0.48860251190292 * sine * phi.sin(), 1.53499006191973 * theta.cos(),
        0.48860251190292 * sine * phi.cos(), 0.18209140509868 * square * (2 * phi).sin(),
        1.09254843059208 * sine * phi.sin() * theta.cos(), 2.97249547320451 * theta.cos() ** 2 - 0.990831824401503,
        1.09254843059208 * sine * phi.cos() * theta.cos(), 0.18209140509868 * square * (2 * phi).cos(),
    ]  # fmt: skip
    torch.testing.assert_close(satclip_harmonics(longitude, latitude, 3), torch.stack(written, 1).double())


class Published(nn.Module):
    """SatCLIP's location network as published, with its tensor names."""

    def __init__(self, features: int, hidden: int, width: int) -> None:
        super().__init__()
        self.nnet = nn.Module()
        self.nnet.layers = nn.ModuleList([nn.Linear(features, hidden), nn.Linear(hidden, hidden)])
        self.nnet.last_layer = nn.Linear(hidden, width)
        self.double()

    def forward(self, lonlat: Tensor, degrees: int) -> Tensor:
        x = satclip_harmonics(*lonlat.unbind(1), degrees)
        x = torch.sin(30 * self.nnet.layers[0](x))
        return self.nnet.last_layer(torch.sin(self.nnet.layers[1](x)))


@pytest.mark.parametrize("form", ["safetensors", "state dict", "lightning"])
def test_published_weights_give_the_published_vectors(city: FakeCity, tmp_path: Path, form: str) -> None:
    model = Published(16, 10, 5)
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    both = weights | {f"model.location.{name}": tensor for name, tensor in model.state_dict().items()}
    path = tmp_path / ("satclip.safetensors" if form == "safetensors" else "satclip.ckpt")
    if form == "safetensors":
        save_file({**weights, "model.logit_scale": torch.ones(1)}, path)
    else:
        facts = {"le_type": "sphericalharmonics", "pe_type": "siren", "harmonics_calculation": "analytic"}
        torch.save(both if form == "state dict" else {"state_dict": both, "hyper_parameters": facts}, path)
    encoder = SatCLIP(SatCLIP.Params(pretrained=str(path)), city, "location", 8).eval()
    batch = encoder.load(np.arange(12))
    assert encoder.width == 5 and encoder.degrees == 4
    torch.testing.assert_close(encoder(batch), model(batch, 4).float(), atol=1e-4, rtol=1e-4)
    assert encoder.loaded()["name"] == str(path) and len(encoder.loaded()["weights"]) == 64


def test_network_matches_its_formula() -> None:
    network, x = Siren([9, 4, 4, 2]), torch.randn(3, 9)
    first, second, last = network.layers
    expected = torch.sin(30 * (x @ first.weight.T + first.bias))
    expected = torch.sin(expected @ second.weight.T + second.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(network(x), expected)


def test_autocast_does_not_change_the_phases(city: FakeCity) -> None:
    encoder = SatCLIP(SatCLIP.Params(), city, "location", 8).eval()
    batch = encoder.load(np.arange(12))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder(batch), encoder(batch.clone())) and encoder(batch).dtype == torch.float32
    assert encoder.width == 64


def refusal(city: FakeCity, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        SatCLIP(SatCLIP.Params(pretrained=str(path)), city, "location", 8)
    return str(caught.value)


def test_files_that_are_not_satclips_weights_are_refused(city: FakeCity, tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    assert "not the weights of SatCLIP" in refusal(city, tmp_path / "other.safetensors")
    partly = {k: v for k, v in Published(16, 10, 5).state_dict().items() if "layers.1.bias" not in k}
    save_file(partly, tmp_path / "partly.safetensors")
    assert "not the weights of SatCLIP" in refusal(city, tmp_path / "partly.safetensors")
    save_file(Published(15, 10, 5).state_dict(), tmp_path / "grid.safetensors")
    assert "15 features, which is no square" in refusal(city, tmp_path / "grid.safetensors")
    facts = {"le_type": "grid", "pe_type": "siren"}
    torch.save({"state_dict": Published(16, 4, 4).state_dict(), "hyper_parameters": facts}, tmp_path / "a.ckpt")
    assert "a SatCLIP with le_type: grid is not supported" in refusal(city, tmp_path / "a.ckpt")
