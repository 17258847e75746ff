"""Decoding of every kind of image file that is in order: forms, colors, transparency, orientation, sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, features
from support.pictures import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    assert_color,
    decoded,
    save,
    transparent_right_half,
    two_colors,
)


@pytest.mark.parametrize(
    ("suffix", "mode", "options"),
    [
        ("jpg", "RGB", {"quality": 95}),
        ("jpg", "RGB", {"quality": 95, "progressive": True}),
        ("jpg", "CMYK", {"quality": 95}),
        ("png", "RGB", {}),
        ("png", "P", {}),
        ("png", "RGBA", {}),
        ("webp", "RGB", {"quality": 95}),
        ("webp", "RGBA", {"lossless": True}),
        ("gif", "P", {}),
        ("bmp", "RGB", {}),
        ("dib", "RGB", {}),
        ("tiff", "RGB", {}),
        ("tiff", "RGB", {"compression": "tiff_lzw"}),
        ("tiff", "CMYK", {}),
        ("tiff", "YCbCr", {}),
    ],
)
def test_formats_and_modes(tmp_path: Path, suffix: str, mode: str, options: dict[str, Any]) -> None:
    image = decoded(save(two_colors(mode), tmp_path / f"ad.{suffix}", **options))
    assert_color(image, 0.1, 0.5, RED)
    assert_color(image, 0.9, 0.5, BLUE)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(tmp_path: Path) -> None:
    assert_color(decoded(save(two_colors(), tmp_path / "ad.avif", quality=95)), 0.1, 0.5, RED)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_gray(tmp_path: Path, mode: str) -> None:
    image = decoded(save(Image.new("L", (256, 256), 255).convert(mode), tmp_path / "ad.png"))
    assert_color(image, 0.5, 0.5, WHITE)


@pytest.mark.parametrize("name", ["rgba.png", "rgba.webp", "palette.png", "palette.gif", "gray.png"])
def test_transparency_lies_on_white(tmp_path: Path, name: str) -> None:
    mode = {"rgba": "RGBA", "palette": "RGBA", "gray": "LA"}[Path(name).stem]
    image = transparent_right_half(mode)
    if name == "palette.png":
        image = image.quantize(16)
        assert isinstance(image.info.get("transparency", b""), bytes)
    result = decoded(save(image, tmp_path / name, **({"lossless": True} if name.endswith("webp") else {})))
    assert_color(result, 0.9, 0.5, WHITE)
    assert_color(result, 0.1, 0.5, (76, 76, 76) if mode == "LA" else RED)


def test_color_key_and_half_transparency(tmp_path: Path) -> None:
    path = save(two_colors(), tmp_path / "key.png", transparency=BLUE)
    assert_color(decoded(path), 0.9, 0.5, WHITE)
    path = save(Image.new("RGBA", (256, 256), (255, 0, 0, 128)), tmp_path / "half.png")
    assert_color(decoded(path), 0.5, 0.5, (255, 127, 127))


def test_adobe_cmyk_is_not_inverted(tmp_path: Path) -> None:
    path = save(Image.new("CMYK", (256, 256), (0, 255, 255, 0)), tmp_path / "ad.jpg", quality=95)
    assert b"Adobe" in path.read_bytes()[:100]
    assert_color(decoded(path), 0.5, 0.5, RED)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_first_frame_of_an_animated_file(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (256, 256), color) for color in (RED, GREEN, BLUE)]
    path = save(frames[0], tmp_path / f"ad.{suffix}", save_all=True, append_images=frames[1:])
    with Image.open(path) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
    assert_color(decoded(path), 0.5, 0.5, RED)


CORNERS_AS_STORED = {
    1: "ABCD", 2: "BADC", 3: "DCBA", 4: "CDAB", 5: "ACBD", 6: "BDAC", 7: "DBCA", 8: "CADB",
}  # fmt: skip
"""Corners of the stored image (top left, top right, bottom left, bottom right) whose upright form is ABCD."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    colors = {"A": RED, "B": GREEN, "C": BLUE, "D": (0, 0, 0)}
    size = (640, 320) if orientation < 5 else (320, 640)
    stored = Image.new("RGB", size)
    for index, corner in enumerate(CORNERS_AS_STORED[orientation]):
        box = (index % 2 * size[0] // 2, index // 2 * size[1] // 2)
        stored.paste(colors[corner], (*box, box[0] + size[0] // 2, box[1] + size[1] // 2))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = decoded(save(stored, tmp_path / f"ad.{suffix}", exif=exif, quality=95))
    assert image.width == 2 * image.height
    for (x, y), corner in zip([(0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8)], "ABCD", strict=True):
        assert_color(image, x, y, colors[corner])


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM" + b"\xff" * 500])
def test_corrupt_exif_costs_nothing(tmp_path: Path, exif: bytes) -> None:
    for suffix in ("jpg", "png", "webp"):
        assert_color(decoded(save(two_colors(), tmp_path / f"ad.{suffix}", exif=exif)), 0.1, 0.5, RED)


def test_misnamed_image_decodes(tmp_path: Path) -> None:
    path = save(two_colors(), tmp_path / "ad.jpg").rename(tmp_path / "ad.png")
    assert_color(decoded(path), 0.1, 0.5, RED)


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), max_image_tokens=st.integers(64, 1280))
@settings(max_examples=25, deadline=None)
def test_any_size_fits(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, max_image_tokens: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any_size.bmp"
    image = decoded(save(Image.new("1", (width, height), 1), path), max_image_tokens)
    assert max(image.size) < 200 * min(image.size)
    assert image.getextrema() == ((255, 255),) * 3


def test_strip_is_padded_with_white(tmp_path: Path) -> None:
    image = decoded(save(Image.new("RGB", (5000, 4), RED), tmp_path / "strip.png"), 1280)
    assert_color(image, 0.5, 0.5, RED)
    assert_color(image, 0.5, 0.0, WHITE)
    assert_color(image, 0.5, 0.99, WHITE)


def test_large_photograph_keeps_its_content(tmp_path: Path) -> None:
    image = decoded(save(two_colors(size=(6000, 4000)), tmp_path / "photo.jpg"), 1280)
    assert_color(image, 0.45, 0.5, RED)
    assert_color(image, 0.55, 0.5, BLUE)
