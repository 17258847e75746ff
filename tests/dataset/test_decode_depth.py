"""Decoding of more than eight bits a channel: nothing is clipped, darkened or taken for what it is not."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from PIL import Image
from support.pictures import (
    WHITE,
    assert_color,
    broken,
    decoded,
    png_of,
    save,
)


@pytest.mark.parametrize("name", ["little.png", "little.tiff", "big.tiff", "wide.tiff"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    row = struct.pack("<256H", *[65535] * 128, *[32768] * 64, *[0] * 64)
    image = Image.frombytes("I;16", (256, 256), row * 256)
    mode = {"little": "I;16", "big": "I;16B", "wide": "I"}[Path(name).stem]
    path = save(image.convert("I").convert(mode), tmp_path / name)
    with Image.open(path) as stored:
        assert stored.mode == mode
    result = decoded(path)
    assert_color(result, 0.1, 0.5, WHITE)
    assert_color(result, 0.6, 0.5, (128, 128, 128))
    assert_color(result, 0.9, 0.5, (0, 0, 0))


def test_real_numbers_are_scaled_by_their_extremes(tmp_path: Path) -> None:
    image = Image.new("F", (256, 256), -1.0)
    image.paste(1.0, (0, 0, 128, 256))
    result = decoded(save(image, tmp_path / "ad.tiff"))
    assert_color(result, 0.1, 0.5, WHITE)
    assert_color(result, 0.9, 0.5, (0, 0, 0))
    assert "finite" in broken(save(Image.new("F", (64, 64), float("nan")), tmp_path / "nan.tiff"))


def ramp_with_a_gap(mode: str, gap: float, highest: float = 1000) -> Image.Image:
    """Draw levels from 0 on the left to `highest` on the right, with a gap at the top left and one at the bottom."""
    image = Image.linear_gradient("L").transpose(Image.Transpose.TRANSPOSE).convert("F")
    image = image.point(lambda level: level * highest / 255 + 0).convert(mode)
    for box in ((0, 0, 40, 40), (0, 216, 256, 256)):
        image.paste(gap, box)  # type: ignore[arg-type]
    return image


def assert_ramp(image: Image.Image) -> None:
    for x in (0.25, 0.5, 0.75):
        assert_color(image, x, 0.5, (round(255 * x),) * 3)
    for x, y in ((0.05, 0.05), (0.05, 0.95), (0.5, 0.95), (0.95, 0.95)):
        assert image.getpixel((int(x * image.width), int(y * image.height))) == WHITE


FLOAT_MAX = 3.4028234663852886e38


@pytest.mark.parametrize("gap", [-3.4e38, 3.4e38, -FLOAT_MAX, FLOAT_MAX, float("nan"), float("inf"), float("-inf")])
def test_real_numbers_without_data_are_white(tmp_path: Path, gap: float) -> None:
    assert_ramp(decoded(save(ramp_with_a_gap("F", gap), tmp_path / "ad.tiff")))
    nothing = save(Image.new("F", (64, 64), gap), tmp_path / "nothing.tiff")
    assert broken(nothing) == "its pixels are not finite numbers, or mark places without data"


@pytest.mark.parametrize(
    ("mode", "gap", "highest"),
    [("F", -9999, 1000), ("F", 0.1, 0.05), ("I", -32768, 100_000), ("I;16", 65535, 4095)],
)
def test_a_tiff_says_what_marks_places_without_data(tmp_path: Path, mode: str, gap: float, highest: float) -> None:
    image = ramp_with_a_gap("F", gap, highest)
    image = image if mode == "F" else image.convert("I").convert(mode)
    assert_ramp(decoded(save(image, tmp_path / "ad.tiff", tiffinfo={42113: f"{gap} "})))
    decoded(save(image, tmp_path / "unknown.tiff", tiffinfo={42113: "none"}))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("num_channels", [1, 2, 3, 4])
def test_signals_of_fewer_bits_in_sixteen(tmp_path: Path, bits: int, num_channels: int) -> None:
    """Black, a quarter, three quarters and white of a sensor's range, as cameras store them: not shifted."""
    white = 2**bits - 1
    levels = [round(white * share) for share in (0, 0.25, 0.75, 1)]
    alpha = [65535] * (num_channels % 2 == 0)
    pixels = [[level] * (num_channels - len(alpha)) + alpha for level in levels for _ in range(64)]
    row = b"\0" + struct.pack(f">{256 * num_channels}H", *(value for pixel in pixels for value in pixel))
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[num_channels]
    (tmp_path / "ad.png").write_bytes(png_of(256, 256, row * 256, depth=16, color_type=color_type))
    image = decoded(tmp_path / "ad.png")
    for x, level in zip((0.1, 0.4, 0.6, 0.9), levels, strict=True):
        gray = round(255 * level / white)
        assert_color(image, x, 0.5, (gray, gray, gray))


def test_colors_of_twelve_bits_keep_their_hue(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">3H", 4095, 1024, 40) * 256
    (tmp_path / "ad.png").write_bytes(png_of(256, 256, row * 256, depth=16))
    assert_color(decoded(tmp_path / "ad.png"), 0.5, 0.5, (255, 64, 2))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_dark_picture_of_eight_bits_stays_dark(tmp_path: Path, kind: str) -> None:
    path = save(Image.new("RGB", (256, 256), (10, 20, 30)), tmp_path / "ad", format=kind)
    assert_color(decoded(path), 0.5, 0.5, (10, 20, 30))


def test_a_dim_picture_of_sixteen_bits_stays_dim(tmp_path: Path) -> None:
    image = Image.frombytes("I;16", (256, 256), struct.pack("<H", 20_000) * 256 * 256)
    assert_color(decoded(save(image, tmp_path / "ad.png")), 0.5, 0.5, (78, 78, 78))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_sixteen_bits_whose_zero_is_white(tmp_path: Path, compression: str) -> None:
    image = Image.frombytes("I;16", (256, 256), (struct.pack("<H", 65535) * 128 + bytes(256)) * 256)
    result = decoded(save(image, tmp_path / "ad.tiff", compression=compression, tiffinfo={262: 0}))
    assert_color(result, 0.1, 0.5, (0, 0, 0))
    assert_color(result, 0.9, 0.5, WHITE)
