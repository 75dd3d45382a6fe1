"""Decoding pictures: geometry, colours, and what a picture that cannot be used says."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers.pictures import enormous_png
from PIL import Image

from urbankit.city.io.pictures import decode_picture, decode_pictures
from urbankit.utils.errors import UserError


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def quadrants(height: int, width: int) -> np.ndarray:
    """uint8[h, w, 3]: north-west red, north-east green, south-west blue, south-east white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2, 0] = 255
    pixels[: height // 2, width // 2 :, 1] = 255
    pixels[height // 2 :, : width // 2, 2] = 255
    pixels[height // 2 :, width // 2 :] = 255
    return pixels


def corners(decoded: np.ndarray) -> list[list[int]]:
    return [decoded[:, y, x].tolist() for y in (1, -2) for x in (1, -2)]


UPRIGHT = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]


@pytest.mark.parametrize("shape", [(40, 40), (200, 60), (61, 203), (9, 7)])
@pytest.mark.parametrize("size", [(16, 16), (10, 24)])
def test_pictures_of_any_shape_get_the_requested_size_without_rotation(
    tmp_path: Path, shape: tuple, size: tuple
) -> None:
    decoded = decode_picture(save(tmp_path / "a.png", quadrants(*shape)), size)
    assert decoded.shape == (3, *size) and decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    assert np.abs(np.array(corners(decoded)) - UPRIGHT).max() <= 40


def test_picture_is_scaled_to_its_shortest_side_and_cropped_to_the_centre(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = np.arange(20)[None, :, None] * 10
    decoded = decode_picture(save(tmp_path / "a.png", pixels), (20, 20))
    assert np.array_equal(decoded.transpose(1, 2, 0), pixels[:, 20:40])


def test_downscaling_averages_pixels(tmp_path: Path) -> None:
    checkers = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    decoded = decode_picture(save(tmp_path / "a.png", checkers), (16, 16)).astype(int)
    assert np.abs(decoded - 127.5).max() < 8


def test_large_jpeg_decoded_at_reduced_size_is_close_to_full_decoding(tmp_path: Path) -> None:
    y, x = np.indices((900, 1200))
    smooth = np.stack([x / 5, y / 4, 128 + 100 * np.sin(x / 90 + y / 70)], -1).astype(np.uint8)
    path = save(tmp_path / "a.jpg", smooth, quality=95)
    plain = np.asarray(Image.open(path).resize((96, 72), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.abs(decode_picture(path, (72, 96)).astype(int) - plain).mean() < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(turn(quadrants(40, 80)))
    decoded = decode_picture(save(tmp_path / "a.png", stored, exif=exif), (20, 40))
    assert np.abs(np.array(corners(decoded)) - UPRIGHT).max() <= 40


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_of_16_bits_keep_their_used_grey_levels(tmp_path: Path, bits: int, channels: int, suffix: str) -> None:
    levels = np.linspace(0, (1 << bits) - 1, 256).astype(np.uint16)
    cells = np.repeat(levels.reshape(1, 16, 16), channels, axis=0)
    paths = [tmp_path / f"dark{suffix}", tmp_path / f"all{suffix}"]
    options = {"driver": "PNG"}
    if suffix == ".tif":
        options = {"driver": "GTiff", "photometric": "RGB" if channels == 3 else "MINISBLACK"}
    for path, pixels in zip(paths, [cells // 4, cells], strict=True):
        with rasterio.open(path, "w", width=16, height=16, count=channels, dtype="uint16", **options) as file:
            file.write(pixels)
    [decoded] = decode_pictures(paths, (16, 16))
    expected = np.repeat(np.arange(256).reshape(1, 16, 16), 3, axis=0)
    assert np.abs(decoded[1].astype(int) - expected).max() <= 1
    assert np.abs(decoded[0].astype(int) - expected // 4).max() <= 1  # one depth for all pictures of a source


@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_pixels_of_16_bits_become_black(tmp_path: Path, channels: int) -> None:
    cells = np.full((channels, 16, 16), 2048, np.uint16)
    cells[-1] = 65535
    cells[-1, :, :8] = 0
    path = tmp_path / "a.png"
    with rasterio.open(path, "w", driver="PNG", width=16, height=16, count=channels, dtype="uint16") as file:
        file.write(cells)
    [decoded] = decode_pictures([path], (16, 16))
    assert (decoded[0, :, :, :6] == 0).all() and (decoded[0, :, :, 10:] == 128).all()  # 12 bits are used


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC; convert it to JPEG"),
        (b"\0\0\0\x1cftypavif" + bytes(100), "AVIF; convert it to JPEG"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "an HTML page; the download failed"),
        (b"", "it is empty"),
    ],
)
def test_error_names_the_actual_kind_of_a_file_that_is_no_picture(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=says):
        decode_picture(tmp_path / "a.jpg", (16, 16))


def test_every_picture_mode_is_converted_to_rgb(tmp_path: Path) -> None:
    grey = np.full((8, 8), 100, np.uint8)
    assert decode_picture(save(tmp_path / "grey.png", grey), (8, 8))[:, 0, 0].tolist() == [100] * 3
    deep = np.full((8, 8), 100 * 256 + 7, np.uint16)
    assert decode_picture(save(tmp_path / "deep.png", deep), (8, 8))[:, 0, 0].tolist() == [100] * 3
    palette = tmp_path / "palette.png"
    Image.fromarray(quadrants(8, 8)).convert("P", palette=Image.Palette.ADAPTIVE).save(palette)
    assert corners(decode_picture(palette, (8, 8))) == UPRIGHT
    Image.fromarray(quadrants(8, 8)).convert("CMYK").save(tmp_path / "cmyk.tif")
    assert corners(decode_picture(tmp_path / "cmyk.tif", (8, 8))) == UPRIGHT
    clear = np.concatenate([quadrants(8, 8), np.full((8, 8, 1), 255, np.uint8)], -1)
    clear[:, :4, 3] = 0
    decoded = decode_picture(save(tmp_path / "clear.png", clear), (8, 8))
    assert corners(decoded) == [[0, 0, 0], [0, 255, 0], [0, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize("side", [50_000, 10_001])
def test_an_enormous_picture_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    path = enormous_png(tmp_path / "huge.png", side)
    started = time.monotonic()
    with pytest.raises(UserError, match="too large") as error:
        decode_picture(path, (32, 32))
    assert time.monotonic() - started < 1
    assert "100 million pixels" in str(error.value) and "huge.png" in str(error.value)


def test_unusable_picture_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    good = save(tmp_path / "good.jpg", noise)
    (tmp_path / "short.jpg").write_bytes(good.read_bytes()[:1500])
    (tmp_path / "short.png").write_bytes(save(tmp_path / "good.png", noise).read_bytes()[:900])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "page.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    save(tmp_path / "numbers.tif", noise[..., 0].astype(np.float32))
    bad = ["absent.jpg", "short.jpg", "short.png", "empty.jpg", "text.jpg", "page.jpg", "numbers.tif"]
    with pytest.raises(UserError) as error:
        list(decode_pictures([good, *(tmp_path / name for name in bad), good], (16, 16)))
    assert [Path(problem.file).name for problem in error.value.problems] == bad
    assert "not found" in error.value.problems[0].message and "mosaic" in error.value.problems[-1].message


def test_many_unreadable_pictures_stop_the_source_early(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        list(decode_pictures([tmp_path / f"{i}.jpg" for i in range(100_000)], (16, 16)))
    assert len(error.value.problems) == 21


def test_batches_keep_the_order(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.png", np.full((4, 4), i % 250, np.uint8)) for i in range(600)]
    batches = list(decode_pictures(paths, (2, 2)))
    assert len(batches) > 1
    assert np.concatenate(batches)[:, 0, 0, 0].tolist() == [i % 250 for i in range(600)]
