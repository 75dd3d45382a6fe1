"""The convolutional network: its layers, its published checkpoints, and that it learns the same in any order."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import PREPROCESSOR, clip, convnext, resnet, saved, with_images
from helpers.fake_city import FakeCity
from torch import Tensor

from urbankit.modalities.convnet import ConvNet
from urbankit.modalities.vit import ViT
from urbankit.utils.errors import UserError


def encoder_of(city: FakeCity, dim: int = 8, **params: Any) -> ConvNet:
    torch.manual_seed(0)
    return ConvNet(ConvNet.Params(**params), city, "svi", dim).eval()


def batch_of(encoder: ConvNet) -> Tensor:
    return encoder.load(np.arange(len(encoder.observations())))


@pytest.mark.parametrize(("stride", "cells"), [(1, 2 * 3), (2, 2 * 3)])
def test_vector_is_the_mean_of_the_last_layer(city: FakeCity, stride: int, cells: int) -> None:
    with_images(city, size=(7, 11))
    widths = [4, 6] if stride == 1 else [4, 4, 6]
    encoder = encoder_of(city, widths=widths, stride=stride)
    with torch.no_grad():
        vector, tokens, present = encoder.tokens(batch_of(encoder))
        torch.testing.assert_close(encoder(batch_of(encoder)), vector)
    assert vector.shape == (3, 6) and tokens.shape[0] == 3 and present.all()
    torch.testing.assert_close(vector, tokens.mean(dim=1))


def test_layers_equal_a_computation_by_hand(city: FakeCity) -> None:
    with_images(city, size=(8, 8))
    encoder = encoder_of(city, widths=[5], stride=1)
    x = encoder.pixels(batch_of(encoder))
    convolution, norm = encoder.model[0], encoder.model[1]
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    patches = padded.unfold(2, 3, 1).unfold(3, 3, 1)  # [n, bands, 8, 8, 3, 3]
    filtered = torch.einsum("nchwij,ocij->nohw", patches, convolution.weight)
    scaled = (filtered - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
    rectified = scaled.clamp(min=0)
    halved = rectified.reshape(len(x), 5, 4, 2, 4, 2).amax(dim=(3, 5))
    with torch.no_grad():
        torch.testing.assert_close(encoder(batch_of(encoder)), halved.mean(dim=(2, 3)), atol=1e-5, rtol=1e-4)


def test_images_smaller_than_the_strides_have_a_vector(city: FakeCity) -> None:
    with_images(city, bands=2, size=(3, 5))
    encoder = encoder_of(city, validity_band=True)
    assert encoder.model[0].in_channels == 3
    assert encoder(batch_of(encoder)).isfinite().all()


@pytest.mark.parametrize("make", [None, resnet])
def test_one_small_image_is_a_mini_batch_too(city: FakeCity, tmp_path: Path, make: Any) -> None:
    with_images(city, 3, size=(8, 8))
    if make is not None:
        saved(make, tmp_path)
    encoder = encoder_of(city, **({} if make is None else {"pretrained": str(tmp_path), "image_size": 8})).train()
    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    encoder(batch_of(encoder)[:1]).sum().backward()
    assert norms and all(norm.training and norm.num_batches_tracked == 0 for norm in norms)
    encoder(batch_of(encoder))
    assert all(norm.num_batches_tracked == 1 for norm in norms)


def test_vectors_of_images_do_not_depend_on_the_others_outside_training(city: FakeCity) -> None:
    with_images(city)
    encoder = encoder_of(city)
    batch = batch_of(encoder)
    with torch.no_grad():
        torch.testing.assert_close(encoder(batch)[[2, 0]], encoder(batch[[2, 0]]), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("make", [resnet, convnext])
@pytest.mark.parametrize("bands", [2, 3])
def test_checkpoint_equals_a_direct_call(city: FakeCity, tmp_path: Path, make: Any, bands: int) -> None:
    model, pixels = saved(make, tmp_path), with_images(city, bands, size=(32, 32))
    encoder = encoder_of(city, pretrained=str(tmp_path), image_size=32)
    assert encoder.width == model.config.hidden_sizes[-1]
    if bands == 3:
        mean, std = (torch.tensor(PREPROCESSOR[f"image_{name}"]).view(3, 1, 1) for name in ("mean", "std"))
        with torch.no_grad():
            expected = model((torch.from_numpy(pixels).float() / 255 - mean) / std).pooler_output.flatten(1)
            assert torch.equal(encoder(batch_of(encoder)), expected)
    else:
        assert encoder(batch_of(encoder)).isfinite().all()
    assert encoder.tokens(batch_of(encoder)).tokens.shape[2] == encoder.width


def test_checkpoint_of_a_transformer_is_sent_to_its_encoder(city: FakeCity, tmp_path: Path) -> None:
    with_images(city)
    saved(clip, tmp_path / "clip")
    saved(resnet, tmp_path / "resnet")
    with pytest.raises(UserError, match="'clip' is not a vision model that this encoder reads; use the encoder 'vit'"):
        ConvNet(ConvNet.Params(pretrained=str(tmp_path / "clip")), city, "svi", 8)
    with pytest.raises(UserError, match=r"'resnet' is not .* use the encoder 'convnet', which reads it"):
        ViT(ViT.Params(pretrained=str(tmp_path / "resnet")), city, "svi", 8)
