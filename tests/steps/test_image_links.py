"""Links lead to the files as they are now, have names of their own, and are never written through."""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.records import ImageRecord
from ictc.stages.outcome import Status
from ictc.steps.image_links import (
    LETTERS,
    MAX_NAME_BYTES,
    TEMPORARY,
    LinkFolder,
    LinkNames,
    Places,
    fold_name,
    link_or_copy,
    make_links,
)
from ictc.storage.manifest import save_manifest

MOST_BYTES_OF_A_NAME = 143
"""In an encrypted home folder."""

LINK, SYMLINK = os.link, os.symlink


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["hard", "symbolic", "copy"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a file system allows."""
    if request.param != "hard":
        monkeypatch.setattr(os, "link", refuse)
    if request.param == "copy":
        monkeypatch.setattr(os, "symlink", refuse)
    return str(request.param)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "ads" / "ad.png"
    path.parent.mkdir()
    path.write_bytes(b"first")
    return path


def fill(folder: Path, **sources: Path) -> None:
    """Make a folder hold links of these names, and no others."""
    links = LinkFolder(folder)
    for name, source in sources.items():
        links.add(name, source=str(source))
    links.remove_superfluous()


def replace_by_rename(image: Path) -> None:
    status = image.stat()
    other = image.with_name("other")
    other.write_bytes(b"other")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    other.replace(image)


def test_a_link_leads_to_the_file_of_now(kind: str, image: Path, tmp_path: Path) -> None:
    fill(tmp_path / "links", ad=image)
    assert (tmp_path / "links" / "ad").is_symlink() == (kind == "symbolic")
    for edit in (replace_by_rename, lambda path: path.write_bytes(b"in its place"), replace_by_rename):
        edit(image)
        fill(tmp_path / "links", ad=image)
        assert (tmp_path / "links" / "ad").read_bytes() == image.read_bytes()
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["ad"]


def test_a_file_of_equal_size_and_time_is_linked_anew(image: Path, tmp_path: Path) -> None:
    fill(tmp_path / "links", ad=image)
    other = image.with_name("other")
    other.write_bytes(b"other")
    shutil.copystat(image, other)
    other.replace(image)
    fill(tmp_path / "links", ad=image)
    assert (tmp_path / "links" / "ad").read_bytes() == b"other"


def test_what_is_current_is_left_alone(kind: str, image: Path, tmp_path: Path) -> None:
    fill(tmp_path / "links", ad=image)
    before = (tmp_path / "links" / "ad").lstat()
    fill(tmp_path / "links", ad=image)
    after = (tmp_path / "links" / "ad").lstat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_no_original_is_written_through_a_link_to_it(kind: str, image: Path, tmp_path: Path) -> None:
    other = image.with_name("other.png")
    other.write_bytes(b"another one")
    for make in (LINK, SYMLINK):
        target = tmp_path / make.__name__
        make(image, target)
        link_or_copy(str(other), str(target))
        assert target.read_bytes() == b"another one"
        assert image.read_bytes() == b"first"


def test_a_link_to_a_link_leads_to_the_file(kind: str, image: Path, tmp_path: Path) -> None:
    relative = image.with_name("relative.png")
    SYMLINK("ad.png", relative)
    for _ in range(2):
        fill(tmp_path / "links", ad=relative)
        assert (tmp_path / "links" / "ad").read_bytes() == b"first"


def test_links_to_what_is_gone_go_and_folders_of_the_user_stay(kind: str, image: Path, tmp_path: Path) -> None:
    fill(tmp_path / "links", ad=image)
    (tmp_path / "links" / "mine").mkdir()
    (tmp_path / "links" / ".link.tmp").touch()  # left by a kill
    image.unlink()
    fill(tmp_path / "links", ad=image, never=image.with_name("never"))
    assert {path.name for path in (tmp_path / "links").iterdir()} == {"mine"}


def test_what_a_crash_left_on_its_way_goes(kind: str, image: Path, tmp_path: Path) -> None:
    """Whether another link needs its place or not."""
    other = image.with_name("other.png")
    other.write_bytes(b"other")
    for is_replaced in (False, True):
        fill(tmp_path / "links", one=image, two=image)
        (tmp_path / "links" / TEMPORARY).write_bytes(b"on its way")
        fill(tmp_path / "links", one=image, two=other if is_replaced else image)
        assert {path.name for path in (tmp_path / "links").iterdir()} == {"one", "two"}
        assert (tmp_path / "links" / "two").read_bytes() == (b"other" if is_replaced else b"first")


def make_no_file(folder: Path) -> dict[str, str]:
    """Return paths that nothing can be read from, by what is wrong with them."""
    (folder / "a_folder").mkdir()
    SYMLINK("a_folder", folder / "linked_folder")
    SYMLINK("loop", folder / "loop")
    os.mkfifo(folder / "pipe")
    names = {"long_name": "x" * 300, "long_path": "d/" * 2500 + "x", "below_file": "ad.png/x", "no_text": "a\0b"}
    there = ("a_folder", "linked_folder", "loop", "pipe")
    return {name: f"{folder}/{path}" for name, path in {**names, **dict(zip(there, there, strict=True))}.items()}


def test_what_is_no_file_is_left_out_and_costs_nothing_else(kind: str, image: Path, tmp_path: Path) -> None:
    paths = make_no_file(image.parent)
    fill(tmp_path / "links", ad=image, **dict.fromkeys(paths, image))  # which they were once
    links = LinkFolder(tmp_path / "links")
    for name, path in {**paths, "ad": str(image)}.items():
        links.add(name, source=path)
    links.remove_superfluous()
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["ad"]


def test_a_file_that_must_not_be_read_is_not_copied(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("link", "symlink"):
        monkeypatch.setattr(os, name, refuse)
    fill(tmp_path / "links", ad=image)
    monkeypatch.setattr(os, "access", lambda *_: False)  # whatever root may
    fill(tmp_path / "links", ad=image)
    assert not list((tmp_path / "links").iterdir())


TRICKY = [
    "a",
    "A",
    "a.b",
    "a.B",
    "ä",
    "a\u0308",
    "Ä",
    "ß",
    "ss",
    "SS",
    "ﬁ",
    "fi",
    "K",
    "k",
    "\u212a",
    "가",
    "가",
    "a/b",
]


def with_digests(texts: list[str]) -> list[str]:
    """Return also ids that look like the names of others."""
    names = LinkNames()
    return [*texts, *(name for text in texts if (name := names.name(ImageRecord(text, path="x"))) not in texts)]


@given(
    ids=st.lists(st.sampled_from(with_digests(TRICKY)) | st.text(min_size=1, max_size=400), unique=True, max_size=30),
    suffixes=st.lists(st.sampled_from(["", ".jpg", ".JPG", ".", ".b", "." + "x" * 200, ".b?c=.d"]), min_size=30),
)
def test_names_are_unique_and_short_whatever_the_ids(ids: list[str], suffixes: list[str]) -> None:
    ids = [one for one in ids if one.isprintable()]
    names = LinkNames()
    given = [
        names.name(ImageRecord(one, path=f"folder.d/x{suffix}"))
        for one, suffix in zip(ids, suffixes[: len(ids)], strict=True)
    ]
    stems = {os.path.splitext(name)[0] for name in given}  # noqa: PTH122 - by which other tools know the files
    assert len({fold_name(name) for name in given}) == len({fold_name(stem) for stem in stems}) == len(ids)
    assert all(len(name.encode()) <= MOST_BYTES_OF_A_NAME and "/" not in name for name in given)


def test_usual_ids_are_the_names() -> None:
    names = LinkNames()
    for image_id, path, name in (
        ("IMG_0001", "a/b.jpg", "IMG_0001.jpg"),
        ("夏季新品", "x.webp", "夏季新品.webp"),
        ("v1.2", "v1.2.png", "v1.2.png"),
        ("x" * 80, "x", "x" * 80),
    ):
        assert names.name(ImageRecord(image_id, path=path)) == name
    cut = names.name(ImageRecord("夏" * 80, path="x.jpg"))
    assert cut.startswith("夏" * (MAX_NAME_BYTES // 3) + "-")


def test_forms_of_the_same_text_do_not_share_a_name() -> None:
    names = LinkNames()
    forms = {unicodedata.normalize(form, "한국é") for form in ("NFC", "NFD")}
    assert len({fold_name(names.name(ImageRecord(form, path="x.jpg"))) for form in forms}) == 2


def test_ids_that_differ_by_case_alone_get_an_image_each(tmp_path: Path) -> None:
    (tmp_path / "ads").mkdir()
    images = [ImageRecord("a", path="1.jpg"), ImageRecord("A", path="2.jpg"), ImageRecord("b", path="3.jpg")]
    for image in images:
        (tmp_path / "ads" / image.path).write_text(image.image_id)
    manifest = save_manifest(tmp_path / "manifest.jsonl", {}, images)
    places = Places(directory=str(tmp_path / "out"), manifest=str(manifest.path), ads_dir=str(tmp_path / "ads"))
    outcomes = bytes(LETTERS[status] for status in (Status.BROKEN, Status.DONE, Status.DONE))
    for _ in range(2):
        make_links(places, outcomes)
        texts = {path.name: path.read_text() for path in (tmp_path / "out" / "valid_ads").iterdir()}
        assert sorted(texts.values()) == ["A", "b"]
        assert "A.jpg" not in texts


def test_a_path_is_understood_as_the_reader_does(image: Path, tmp_path: Path) -> None:
    images = [ImageRecord(str(number), path=path) for number, path in enumerate(("ad.png/", "./ad.png", "ad.png/."))]
    manifest = save_manifest(tmp_path / "manifest.jsonl", {}, images)
    places = Places(directory=str(tmp_path / "out"), manifest=str(manifest.path), ads_dir=str(image.parent))
    make_links(places, bytes([LETTERS[Status.DONE]] * 3))
    assert len(list((tmp_path / "out" / "valid_ads").iterdir())) == 3
