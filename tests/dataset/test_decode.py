"""Decoding of every kind of image file, good, odd or bad."""

from __future__ import annotations

import os
import random
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, features

from ictc.dataset.decoding.decode import MAX_IMAGE_PIXELS, decode_image
from ictc.records import BrokenImage, DecodedImage, UnreadableImage

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
TOLERANCE = 12
"""Levels by which a lossy format may change a flat color."""


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def save_bytes(content: bytes, path: Path) -> Path:
    path.write_bytes(content)
    return path


def decoded(path: Path, max_image_tokens: int = 256) -> Image.Image:
    """Decode, check what every decoded image must satisfy, and return it as an image to look into."""
    result = decode_image(path, max_image_tokens)
    assert isinstance(result, DecodedImage), result
    assert result.width % 32 == result.height % 32 == 0
    assert 64 <= result.num_tokens <= max_image_tokens
    assert len(result.rgb) == result.width * result.height * 3
    return Image.frombytes("RGB", (result.width, result.height), result.rgb)


def broken(path: Path) -> str:
    result = decode_image(path, 256)
    assert isinstance(result, BrokenImage)
    assert str(path.parent) not in result.reason
    assert "\n" not in result.reason
    return result.reason


def assert_color(image: Image.Image, x: float, y: float, color: tuple[int, int, int]) -> None:
    """Compare the pixel at (x, y), in shares of the sides."""
    pixel = image.getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(pixel, tuple)
    assert all(abs(a - b) <= TOLERANCE for a, b in zip(pixel, color, strict=True)), (pixel, color)


def two_colors(mode: str = "RGB", size: tuple[int, int] = (256, 256)) -> Image.Image:
    """Draw red on the left, blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image.convert(mode)


def noise(size: tuple[int, int] = (256, 256)) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(0).randbytes(size[0] * size[1] * 3))


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


def transparent_right_half(mode: str) -> Image.Image:
    image = two_colors("RGBA")
    image.paste((0, 0, 0, 0), (128, 0, 256, 256))
    return image.convert(mode)


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


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, rows: bytes, *, depth: int = 8, color_type: int = 2, extra: bytes = b"") -> bytes:
    """Build a PNG file from unfiltered rows, each with its leading zero."""
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = (png_chunk(b"IHDR", header), extra, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_claiming(width: int, height: int) -> bytes:
    """Build a small PNG whose header claims any size."""
    return png_of(width, height, b"\0" * 64)


def bytes_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("side", [20_000, 100_000, 2**31 - 1])
def test_decompression_bomb(tmp_path: Path, side: int) -> None:
    assert side**2 > MAX_IMAGE_PIXELS
    (tmp_path / "bomb.png").write_bytes(png_claiming(side, side))
    assert "268 megapixels" in broken(tmp_path / "bomb.png")


def test_large_but_accepted_image_is_not_a_bomb(tmp_path: Path) -> None:
    path = save(Image.new("L", (14_000, 14_000), 255), tmp_path / "large.jpg")
    assert_color(decoded(path), 0.5, 0.5, WHITE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_file_is_broken_at_any_length(tmp_path: Path, kind: str) -> None:
    content = bytes_of(noise(), kind)
    for share in (0.01, 0.3, 0.9):
        (tmp_path / "ad.img").write_bytes(content[: int(len(content) * share)])
        assert broken(tmp_path / "ad.img")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "is a web page, not an image"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html>\n<title>Sign in</title>", "is a web page, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "is a Git LFS pointer, not the image"),
        (b"\xff\xd8\xff", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF family (heic)"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0miafheic", "HEIF family (mif1)"),
        (png_claiming(0, 10), ""),
        (bytes_of(noise(), "JPEG")[:20_000], "truncated"),
    ],
)
def test_reasons(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "ad.jpg").write_bytes(content)
    assert reason in broken(tmp_path / "ad.jpg")


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_avif_that_breaks_off_is_not_of_a_kind_to_convert(tmp_path: Path) -> None:
    content = bytes_of(noise((64, 64)), "AVIF")
    for kept in (40, len(content) // 2):
        for brand in (b"avif", b"mif1"):
            save_bytes(content[:8] + brand + content[12:kept], tmp_path / "ad.avif")
            assert broken(tmp_path / "ad.avif") == "is a truncated or damaged AVIF file"


def test_a_tiff_whose_directory_is_cut_off(tmp_path: Path) -> None:
    content = bytes_of(noise((64, 64)), "TIFF", compression="tiff_lzw")
    save_bytes(content[: len(content) // 2], tmp_path / "ad.tiff")
    assert broken(tmp_path / "ad.tiff") == "is a TIFF file that is truncated or of an unsupported kind"


def test_huge_metadata(tmp_path: Path) -> None:
    content = bytes_of(two_colors(), "PNG")
    text = b"zTXtcomment\0\0" + zlib.compress(b"\0" * 70_000_000)
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    (tmp_path / "ad.png").write_bytes(content[:33] + chunk + content[33:])
    assert_color(decoded(tmp_path / "ad.png"), 0.1, 0.5, RED)
    path = save(two_colors(), tmp_path / "icc.jpg", icc_profile=b"\0" * 5_000_000, comment=b"x" * 60_000)
    assert_color(decoded(path), 0.1, 0.5, RED)


@pytest.mark.parametrize("size", [1_100_000, 17_000_000])
@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "tEXt", "iCCP"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_what_lies_beside_the_pixels_of_a_png_costs_nothing(tmp_path: Path, kind: str, size: int, place: str) -> None:
    text = b"x" * size
    data = {
        "zTXt": b"Raw profile type xmp\0\0" + zlib.compress(text, 1),
        "iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text, 1),
        "tEXt": b"history\0" + text,
        "iCCP": b"profile\0\0" + zlib.compress(text, 1),
    }[kind]
    content, chunk = bytes_of(two_colors(), "PNG"), png_chunk(kind.encode(), data)
    cut = 33 if place == "before" else len(content) - 12
    (tmp_path / "ad.png").write_bytes(content[:cut] + chunk + content[cut:])
    image = decoded(tmp_path / "ad.png")
    assert_color(image, 0.1, 0.5, RED)
    assert_color(image, 0.9, 0.5, BLUE)


def test_a_damaged_text_of_a_png_costs_nothing(tmp_path: Path) -> None:
    content = bytes_of(transparent_right_half("RGBA"), "PNG")
    chunk = bytearray(png_chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"text")))
    chunk[-1] ^= 255
    (tmp_path / "ad.png").write_bytes(content[:33] + chunk + content[33:])
    assert_color(decoded(tmp_path / "ad.png"), 0.9, 0.5, WHITE)


JPEG_FORMS = [{"quality": 90}, {"quality": 90, "progressive": True}, {"quality": 90, "restart_marker_blocks": 4}]


@pytest.mark.parametrize("options", JPEG_FORMS, ids=["baseline", "progressive", "restarts"])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_mark_is_whole(tmp_path: Path, options: dict[str, Any], cut: int) -> None:
    for number, size in enumerate([(256, 256), (200, 160), (3000, 2000)]):
        content = bytes_of(noise(size), "JPEG", **options)
        paths = [tmp_path / f"{name}{number}.jpg" for name in ("whole", "unended")]
        for path, data in zip(paths, (content, content[:-cut]), strict=True):
            path.write_bytes(data)
        whole, unended = map(decoded, paths)
        assert unended.tobytes() == whole.tobytes()


@pytest.mark.parametrize("options", JPEG_FORMS, ids=["baseline", "progressive", "restarts"])
def test_a_jpeg_whose_pixels_are_cut_off_stays_broken(tmp_path: Path, options: dict[str, Any]) -> None:
    content = bytes_of(noise((640, 480)), "JPEG", **options)
    for kept in (0.1, 0.5, 0.8, 0.97, 0.999):
        for tail in (b"", b"\xff", bytes(50)):
            (tmp_path / "ad.jpg").write_bytes(content[: int(len(content) * kept)] + tail)
            assert broken(tmp_path / "ad.jpg") == "the file is truncated"


@pytest.mark.parametrize("filling", [b"\0", b"\xff"])
@pytest.mark.parametrize("options", JPEG_FORMS, ids=["baseline", "progressive", "restarts"])
def test_a_jpeg_that_is_filled_up_is_what_lies_before(tmp_path: Path, options: dict[str, Any], filling: bytes) -> None:
    """As a download leaves it that reserved its space and broke off: a decoder takes the filling for gray pixels."""
    thumbnail = b"Exif\0\0" + bytes_of(noise((64, 64)), "JPEG")
    content = bytes_of(noise(), "JPEG", exif=thumbnail, **options)
    video = b"\0\0\0\x18ftypmp42" + random.Random(0).randbytes(999)
    whole = decoded(save_bytes(content, tmp_path / "ad.jpg")).tobytes()
    for beginning in (content, content[:-2], content + video):
        assert decoded(save_bytes(beginning + filling * 5000, tmp_path / "ad.jpg")).tobytes() == whole
    for kept in (0.1, 0.5, 0.9):
        beginning = content[: int(len(content) * kept)]
        save_bytes(beginning + filling * (len(content) - len(beginning)), tmp_path / "ad.jpg")
        assert broken(tmp_path / "ad.jpg") == "the file is truncated"


def test_a_picture_behind_the_first_that_ends_in_zeros_costs_nothing(tmp_path: Path) -> None:
    content = bytes_of(two_colors(), "MPO", save_all=True, append_images=[noise()])
    image = decoded(save_bytes(content[:-9000] + bytes(9000), tmp_path / "ad.jpg"))
    assert_color(image, 0.1, 0.9, RED)
    assert_color(image, 0.9, 0.9, BLUE)


def test_missing_and_irregular_files(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    assert broken(tmp_path / "gone.jpg") == "the file cannot be read: No such file or directory"
    assert broken(tmp_path / "folder.jpg") == "is not a regular file"
    os.mkfifo(tmp_path / "pipe.jpg")
    assert broken(tmp_path / "pipe.jpg") == "is not a regular file"


def test_too_little_memory_is_not_the_file_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise MemoryError

    path = save(two_colors(), tmp_path / "ad.png")
    monkeypatch.setattr(Image, "open", fail)
    assert decode_image(path, 256) == UnreadableImage("there is not enough memory to decode it")


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_never_raise(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]))
    content = bytearray(bytes_of(two_colors(size=(64, 64)), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.img"
    path.write_bytes(content)
    result = decode_image(path, 64)
    if isinstance(result, DecodedImage):
        assert result.num_tokens == 64
    else:
        assert result.reason
