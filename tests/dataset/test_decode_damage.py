"""Decoding of files that are damaged, cut off, hostile or odd: what can be seen is seen, the rest has its reason."""

from __future__ import annotations

import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features
from support.pictures import (
    BLUE,
    RED,
    WHITE,
    assert_color,
    broken,
    bytes_of,
    decoded,
    noise,
    png_chunk,
    png_claiming,
    save,
    save_bytes,
    transparent_right_half,
    two_colors,
)

from ictc.dataset.decoding.decode import MAX_IMAGE_PIXELS, decode_image
from ictc.records import DecodedImage, UnreadableImage


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
