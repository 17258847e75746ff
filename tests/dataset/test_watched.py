"""Trouble in reading a file is told from trouble with its bytes."""

from __future__ import annotations

import errno
import io
import mmap
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ictc.dataset.decoding.decode import decode_image
from ictc.dataset.decoding.source import find_source
from ictc.dataset.decoding.watched import TIMES, ReadTimer, WatchedFile
from ictc.records import BrokenImage, DecodedImage, UnreadableImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


@pytest.fixture(params=FORMATS)
def picture(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of a few hundred kilobytes in each format."""
    path = tmp_path / f"picture.{request.param.lower()}"
    Image.effect_noise((600, 500), 90).convert("RGB").save(path, request.param)
    return path


def fail_after(num_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the disk fail from here on in a file; before that it gives what it has, in small pieces."""

    def readinto(file: WatchedFile, buffer: Any) -> int:
        return file._watch(lambda: read(file, memoryview(buffer).cast("B")))

    def read(file: WatchedFile, view: memoryview) -> int:
        if file.tell() >= num_bytes:
            raise OSError(errno.EIO, "Input/output error")
        return io.FileIO.readinto(file, view[: min(8192, num_bytes - file.tell())])

    def readall(file: WatchedFile) -> bytes:
        chunks = bytearray()
        piece = bytearray(8192)
        while count := readinto(file, piece):
            chunks += piece[:count]
        return bytes(chunks)

    monkeypatch.setattr(WatchedFile, "readinto", readinto)
    monkeypatch.setattr(WatchedFile, "readall", readall)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_disk_that_fails_within_a_file_breaks_no_image(
    picture: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_after(int(share * picture.stat().st_size), monkeypatch)
    assert decode_image(picture, 256) == UnreadableImage("Input/output error", of_disk=True)
    assert find_source(picture, look=True) == UnreadableImage("Input/output error", of_disk=True)


def test_a_file_that_is_cut_off_is_broken_wherever_that_is(picture: Path) -> None:
    content = picture.read_bytes()
    for share in (0.05, 0.4):
        picture.write_bytes(content[: int(share * len(content))])
        assert isinstance(decode_image(picture, 256), BrokenImage)


def test_a_name_that_is_gone_while_its_neighbors_are_there_is_broken(tmp_path: Path) -> None:
    (tmp_path / "neighbor").touch()
    for name in ("gone.jpg", "neighbor/gone.jpg", "x" * 300):
        assert isinstance(decode_image(tmp_path / name, 256), BrokenImage)
        assert find_source(tmp_path / name, look=False) is None
    (tmp_path / "loop").symlink_to("loop")
    assert isinstance(decode_image(tmp_path / "loop", 256), BrokenImage)
    (tmp_path / "astray").symlink_to("nowhere.jpg")
    assert isinstance(decode_image(tmp_path / "astray", 256), BrokenImage)


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
@pytest.mark.parametrize("by_link", [False, True])
def test_a_mount_that_is_gone_breaks_no_image(tmp_path: Path, left: str, by_link: bool) -> None:
    """What is left of a mount is nothing or an empty folder; the image may be a link into it."""
    path = tmp_path / "mount" / "picture.jpg"
    if left != "nothing":
        path.parent.mkdir()
    if by_link:
        (tmp_path / "ads").mkdir()
        (tmp_path / "ads" / "another.jpg").touch()
        (tmp_path / "ads" / "picture.jpg").symlink_to(path)
        path = tmp_path / "ads" / "picture.jpg"
    reason = "No such file or directory; its folder is gone or empty"
    assert decode_image(path, 256) == find_source(path, look=False) == UnreadableImage(reason, of_disk=True)


def test_reading_is_timed_piece_by_piece_and_decoding_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.bmp"
    Image.effect_noise((900, 700), 90).convert("RGB").save(path)
    shared = mmap.mmap(-1, TIMES.size)
    began: set[float] = set()
    read = io.FileIO.readinto

    def look(file: WatchedFile, buffer: Any) -> int:
        return file._watch(lambda: count(file, buffer))

    def count(file: WatchedFile, buffer: Any) -> int:
        began.add(TIMES.unpack_from(shared)[0])
        return read(file, memoryview(buffer)[: 2**16]) or 0

    monkeypatch.setattr(WatchedFile, "readinto", look)
    assert isinstance(decode_image(path, 256, ReadTimer(shared)), DecodedImage)
    since, total_s = TIMES.unpack_from(shared)
    assert 0.0 not in began
    assert len(began) > path.stat().st_size / 2**16
    assert since == 0.0
    assert 0.0 < total_s < time.monotonic() - min(began)
