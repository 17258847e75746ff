"""Pictures for tests of decoding: drawn, saved in any form, and looked into once they are decoded."""

from __future__ import annotations

import random
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from ictc.dataset.decoding.decode import decode_image
from ictc.records import BrokenImage, DecodedImage

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


def transparent_right_half(mode: str) -> Image.Image:
    image = two_colors("RGBA")
    image.paste((0, 0, 0, 0), (128, 0, 256, 256))
    return image.convert(mode)


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
