"""Step 0: which images there are, in which order, under which ids."""

from __future__ import annotations

import errno
import json
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ictc.dataset.catalog.discover import iter_images, list_collection
from ictc.dataset.catalog.tally import Reason, Tally
from ictc.errors import InputError
from ictc.records import ImageRecord

NOBODY_UID = 65534
JPEG, PNG, WEBP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"
NAMES = st.text(alphabet="abcAB01_- .é漢", min_size=1, max_size=6).filter(lambda name: name.strip(" .") == name)


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def write_observation(folder: Path, data: Any = None, images: tuple[str, ...] = ("image.jpg",)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        touch(folder / image)
    if data is not None:
        (folder / "full_data.json").write_text(json.dumps(data), encoding="utf-8")


def discover(ads_dir: Path, layout: str = "auto", **options: Any) -> list[ImageRecord]:
    return list(iter_images(list_collection(ads_dir, layout=layout), **options))  # type: ignore[arg-type]


def ids(records: list[ImageRecord]) -> list[str]:
    return [record.image_id for record in records]


def test_observation_becomes_a_record_with_its_metadata(tmp_path: Path) -> None:
    data = {
        "observation_id": "obs-1",
        "timestamp": 1714564800,
        "observation": {"uuid": "u-1", "platform": "Facebook", "ad_format": "FEED_BASED"},
        "observer": {"age": 30, "gender": "x"},
    }
    write_observation(tmp_path / "folder", data)
    assert discover(tmp_path) == [
        ImageRecord(
            "obs-1",
            path="folder/image.jpg",
            platform="Facebook",
            ad_format="FEED_BASED",
            timestamp="2024-05-01T12:00:00Z",
        )
    ]


def test_flat_image_is_named_by_its_path_without_suffix(tmp_path: Path) -> None:
    for name in ("ad_001.jpg", "sub/ad_001.PNG", "sub/deep/ad.v2.webp", "notes.txt"):
        touch(tmp_path / name)
    assert [(record.image_id, record.path) for record in discover(tmp_path)] == [
        ("ad_001", "ad_001.jpg"),
        ("sub/ad_001", "sub/ad_001.PNG"),
        ("sub/deep/ad.v2", "sub/deep/ad.v2.webp"),
    ]


@pytest.mark.parametrize(
    ("data", "image_id"),
    [
        ({"observation_id": "top", "observation": {"uuid": "inner"}}, "top"),
        ({"observation_id": "  ", "observation": {"uuid": "inner"}}, "inner"),
        ({"observation_id": None, "observation": {"uuid": " inner "}}, "inner"),
        ({"observation_id": 7, "observation": {"uuid": "inner"}}, "7"),
        ({"observation_id": 7.5, "observation": {"uuid": ["x"]}}, "folder"),
        ({"observation": None}, "folder"),
        ({"observation_id": "../../etc/passwd"}, "../../etc/passwd"),
        ({"observation_id": "\ud800x"}, "\\ud800x"),
        ([1, 2], "folder"),
        (None, "folder"),
    ],
)
def test_id_rules(tmp_path: Path, data: Any, image_id: str) -> None:
    write_observation(tmp_path / "folder", data)
    (record,) = discover(tmp_path, "observations")
    assert (record.image_id, record.path) == (image_id, "folder/image.jpg")


@pytest.mark.parametrize("corrupt", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"timestamp": ' + b"9" * 5000])
def test_corrupt_metadata_falls_back_to_data_json(tmp_path: Path, corrupt: bytes) -> None:
    write_observation(tmp_path / "folder")
    (tmp_path / "folder/full_data.json").write_bytes(corrupt)
    assert ids(discover(tmp_path)) == ["folder"]
    (tmp_path / "folder/data.json").write_text('{"observation_id": "second"}')
    assert ids(discover(tmp_path)) == ["second"]


def test_frames_are_in_natural_order_and_nested_ones_last(tmp_path: Path) -> None:
    images = ("a/image_1.jpg", "image_1040.jpg", "image_480.jpg", "cover.png", "image.jpg")
    write_observation(tmp_path / "ad", {"observation_id": "x"}, images)
    assert [record.path for record in discover(tmp_path)] == ["ad/cover.png"]
    assert [(record.image_id, record.path) for record in discover(tmp_path, frames="all")] == [
        ("x_cover", "ad/cover.png"),
        ("x_image", "ad/image.jpg"),
        ("x_480", "ad/image_480.jpg"),
        ("x_1040", "ad/image_1040.jpg"),
        ("x_a/image_1", "ad/a/image_1.jpg"),
    ]


def test_folder_without_image_is_not_lost(tmp_path: Path) -> None:
    write_observation(tmp_path / "a", {"observation_id": "x", "observation": {"platform": "TikTok"}}, images=())
    write_observation(tmp_path / "b")
    touch(tmp_path / "loose.jpg")
    assert discover(tmp_path) == [
        ImageRecord("x", path="a", platform="TikTok", problem="folder holds no image"),
        ImageRecord("b", path="b/image.jpg"),
        ImageRecord("loose", path="loose.jpg"),
    ]


def test_layout_is_told_by_metadata_in_the_first_hundred_folders(tmp_path: Path) -> None:
    for index in range(100):
        write_observation(tmp_path / f"{index:03}")
    write_observation(tmp_path / "zzz", {})
    assert list_collection(tmp_path).layout == "flat"
    write_observation(tmp_path / "099", {})
    assert list_collection(tmp_path).layout == "observations"


def test_suffixes(tmp_path: Path) -> None:
    suffixes = "jpg jpeg jpe jfif png webp gif bmp tif tiff avif heic heif JPG Png".split()  # noqa: SIM905
    for index, suffix in enumerate(suffixes):
        touch(tmp_path / f"{index:02}.{suffix}")
        touch(tmp_path / f"{index:02}.{suffix}.txt")
    assert ids(discover(tmp_path)) == [f"{index:02}" for index in range(len(suffixes))]


def test_hidden_names_are_ignored(tmp_path: Path) -> None:
    for name in (".hidden.jpg", "._ad.jpg", ".git/x.jpg", "sub/._ad.jpg", "ad.jpg"):
        touch(tmp_path / name)
    assert ids(discover(tmp_path)) == ["ad"]


def test_links_are_followed_and_cycles_survived(tmp_path: Path) -> None:
    ads_dir = tmp_path / "ads"
    touch(ads_dir / "sub/ad.jpg")
    touch(tmp_path / "elsewhere/other.jpg")
    (ads_dir / "linked").symlink_to(tmp_path / "elsewhere")
    (ads_dir / "sub/back").symlink_to(ads_dir)
    (ads_dir / "above").symlink_to(tmp_path)
    (ads_dir / "self").symlink_to(ads_dir / "self")
    (ads_dir / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = ids(discover(ads_dir, "flat"))
    assert found == ["above/elsewhere/other", "dangling", "linked/other", "sub/ad"]
    assert "dangling" in ids(discover(ads_dir, "observations"))


def test_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    bad_name = os.fsdecode(b"caf\xe9")
    touch(tmp_path / f"{bad_name}.jpg")
    write_observation(tmp_path / f"folder_{bad_name}")
    for layout in ("flat", "observations"):
        records = discover(tmp_path, layout)
        assert len(records) == 2
        for record in records:
            assert "UTF-8" in (record.problem or "")
            assert "caf\\udce9" in record.path
            json.dumps(record.image_id).encode("ascii")
            record.path.encode()


def test_files_that_differ_in_their_suffix_alone_keep_it_in_their_ids(tmp_path: Path) -> None:
    names = ("a.jpg", "a.webp", "b.jpg", "b.jpg.png", "c.JPG", "c.jpg", "d.png", "sub/a.jpg")
    for name in names:
        touch(tmp_path / name)
    expected = ["a.jpg", "a.webp", "b", "b.jpg.png", "c.JPG", "c.jpg", "d", "sub/a"]
    assert ids(discover(tmp_path)) == expected
    for start in range(len(names)):  # an image has one id in whatever part of the collection
        assert ids(discover(tmp_path, start=start, end=start + 1)) == [expected[start]]


def test_frames_that_would_share_an_id_go_by_their_names(tmp_path: Path) -> None:
    write_observation(tmp_path / "a", {"observation_id": "x"}, ("image_1.jpg", "image_1.png", "1.gif", "image_2.jpg"))
    assert ids(discover(tmp_path, frames="all")) == ["x_1.gif", "x_image_1.jpg", "x_image_1.png", "x_2"]


def test_repeated_observation_ids_are_all_told_at_once(tmp_path: Path) -> None:
    write_observation(tmp_path / "a", {"observation_id": "x"}, ("image_1.jpg", "image_1.png"))
    write_observation(tmp_path / "b", {"observation_id": "x"})
    with pytest.raises(InputError, match=r"Two images have the id 'x': 'a/image_1\.jpg' and 'b/image\.jpg'; rename"):
        discover(tmp_path)
    assert ids(discover(tmp_path, start=1)) == ["x"]
    for number in range(8):
        write_observation(tmp_path / f"c{number}", {"observation_id": f"y{number // 2}"})
    with pytest.raises(InputError, match=r"^5 ids are .* 'x': .*; 'y0': 'c0/image\.jpg' and 'c1/.*; and 2 more;"):
        discover(tmp_path)


def test_missing_file_and_empty_folders_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing does not exist; give --ads_dir"):
        list_collection(tmp_path / "missing")
    with pytest.raises(InputError, match="is empty"):
        list_collection(tmp_path)
    touch(tmp_path / "file.txt")
    with pytest.raises(InputError, match=r"file\.txt is not a folder"):
        list_collection(tmp_path / "file.txt")
    touch(tmp_path / "sub/notes.md")
    with pytest.raises(InputError, match=r"holds no image, only 2 other files.*\.jpg.*\.png"):
        list_collection(tmp_path)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop root's right to read everything."""
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(NOBODY_UID)
    try:
        yield
    finally:
        os.seteuid(uid)


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A folder that another user may enter, which those of tmp_path are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_unreadable_folder_is_a_clear_error(public_dir: Path) -> None:
    touch(public_dir / "sub/ad.jpg")
    (public_dir / "sub").chmod(0)
    with unprivileged():
        for ads_dir in (public_dir / "sub", public_dir):
            with pytest.raises(InputError, match=r"sub cannot be read \(Permission denied\)"):
                list_collection(ads_dir)


def test_unreadable_observation_is_not_lost(public_dir: Path) -> None:
    write_observation(public_dir / "good", {})
    write_observation(public_dir / "locked")
    (public_dir / "locked").chmod(0)
    with unprivileged():
        records = discover(public_dir)
    assert records[0].problem is None
    assert records[1] == ImageRecord("locked", path="locked", problem="folder cannot be read: Permission denied")


def test_annotations_among_folders_of_pictures_are_no_observation(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        write_observation(tmp_path / name, images=tuple(f"{number}.jpg" for number in range(6)))
    for content in ('{"images": [], "annotations": []}', "[1, 2]", "{}", "{", ""):
        (tmp_path / "dogs/data.json").write_text(content)
        collection = list_collection(tmp_path)
        assert (collection.layout, len(collection)) == ("flat", 12)
        assert collection.left_out.describe() == "left out: 1 other file (1 .json: 'dogs/data.json')"
    (tmp_path / "dogs/data.json").write_text('{"observation": {}}')
    assert list_collection(tmp_path).layout == "observations"


def test_images_beyond_the_first_of_an_observation_are_counted(tmp_path: Path) -> None:
    write_observation(tmp_path / "a", {"observation_id": "x"}, ("image_1.jpg", "image_2.jpg", "deep/image_3.jpg"))
    left_out = Tally()
    assert ids(discover(tmp_path, left_out=left_out)) == ["x"]
    assert left_out.describe() == (
        "left out: 2 further images of a folder or key that has one, which --frames all takes "
        "('a/deep/image_3.jpg', 'a/image_2.jpg')"
    )


def test_metadata_that_is_not_used_is_counted(tmp_path: Path) -> None:
    write_observation(tmp_path / "a", {"observation_id": "x"})
    (tmp_path / "a/data.json").write_text('{"observation_id": "y"}')
    write_observation(tmp_path / "b", [1])
    write_observation(tmp_path / "c", {"images": []})
    (tmp_path / "c/data.json").write_text('{"observation_id": "z"}')
    os.mkfifo(tmp_path / "b/data.json")
    left_out = Tally()
    assert ids(discover(tmp_path, "observations", left_out=left_out)) == ["x", "b", "z"]
    assert left_out.counts == {Reason.OTHER: 1, Reason.METADATA: 2, Reason.SPECIAL: 1}


def test_files_without_a_known_suffix_are_what_their_content_is(tmp_path: Path) -> None:
    images = {"blob": JPEG, "a.jpg:large": JPEG, "b.jpg!w700": PNG, "c.jpg ": JPEG, "d.v2": b"GIF89a", "e": WEBP}
    others = {"README": b"BM words", "f": b"", "g.v2": b"RIFF....WAVE", "h.txt": JPEG, "i.part": JPEG}
    for name, content in {**images, **others}.items():
        (tmp_path / name).write_bytes(content)
    collection = list_collection(tmp_path)
    assert ids(list(iter_images(collection))) == sorted(images)
    assert collection.left_out.describe() == (
        "left out: 5 other files (2 without suffix, 1 .part, 1 .txt, 1 .v2: 'README', 'f', …); "
        "taken: 6 images without a known suffix, told by content ('a.jpg:large', 'b.jpg!w700', …)"
    )
    write_observation(tmp_path / "folder", {}, ("frame",))
    (tmp_path / "folder/frame").write_bytes(JPEG)
    assert [record.path for record in discover(tmp_path, "observations")] == [*sorted([*images, "folder/frame"])]


def test_a_suffix_that_a_name_has_not_is_no_part_of_its_id(tmp_path: Path) -> None:
    for name in ("x.v1", "x.v2", "x.jpg", "x"):
        (tmp_path / name).write_bytes(JPEG)
    assert ids(discover(tmp_path)) == ["x", "x.jpg", "x.v1", "x.v2"]


def test_whatever_else_lies_in_a_folder_is_counted(tmp_path: Path) -> None:
    for name in (".hidden.jpg", "._a.jpg", ".git/x.jpg", "__MACOSX/._a.jpg", "a.jpg", "x.jpg/b.jpg"):
        touch(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loose").symlink_to("nowhere")
    (tmp_path / "x.jpg/back").symlink_to(tmp_path)
    collection = list_collection(tmp_path)
    assert ids(list(iter_images(collection))) == ["a", "x.jpg/b"]
    assert collection.left_out.counts == {Reason.HIDDEN: 4, Reason.SPECIAL: 2, Reason.NOWHERE: 1, Reason.CYCLE: 1}


def test_a_link_back_to_all_observations_is_none(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_observation(tmp_path / name, {})
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "a/up").symlink_to(tmp_path)
    records = discover(tmp_path, frames="all")
    assert [record.path for record in records] == ["a/image.jpg", "b/image.jpg", "loop"]
    assert records[2].problem == "folder cannot be read: a link to a folder above"


def test_names_are_told_on_one_line_whatever_they_hold(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    for name in ("x\n\x1b[2J.txt", os.fsdecode(b"\xe9.txt"), "y" * 200 + ".txt"):
        touch(tmp_path / name)
    said = list_collection(tmp_path).left_out.describe()
    assert said.isprintable()
    assert r"'x\n\x1b[2J.txt'" in said
    assert len(said) < 200


def test_suffixes_without_end_do_not_fill_the_memory(tmp_path: Path) -> None:
    tally = Tally()
    for number in range(1000):
        tally.add_other(f"x.{number}", suffix=f".{number}")
    assert len(tally.suffixes) <= 101
    assert sum(tally.suffixes.values()) == 1000


def test_a_folder_that_may_not_be_entered_costs_no_other_image(public_dir: Path) -> None:
    touch(public_dir / "ad.jpg")
    touch(public_dir / "lost+found/x.jpg")
    (public_dir / "secret").write_bytes(JPEG)
    (public_dir / "secret").chmod(0)
    (public_dir / "lost+found").chmod(0)
    with unprivileged():
        collection = list_collection(public_dir)
        assert ids(list(iter_images(collection))) == ["ad"]
        assert collection.left_out.describe() == (
            "left out: 2 folders or files that cannot be read ('lost+found: Permission denied', "
            "'secret: Permission denied')"
        )


@pytest.mark.parametrize("layout", ["flat", "observations"])
def test_a_disk_that_fails_ends_the_listing(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_observation(tmp_path / "a", {})
    write_observation(tmp_path / "b", {})

    def scandir(path: Path) -> Any:
        if Path(path).name == "b":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real_scandir(path)

    real_scandir = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"b cannot be read \(Input/output error\); run the command again once it can"):
        discover(tmp_path, layout)


def test_observation_that_vanishes_after_listing_is_not_lost(tmp_path: Path) -> None:
    write_observation(tmp_path / "ad")
    collection = list_collection(tmp_path, layout="observations")
    (tmp_path / "ad").rename(tmp_path.parent / f"{tmp_path.name}-moved")
    (record,) = iter_images(collection)
    assert (record.image_id, record.problem) == ("ad", "folder cannot be read: No such file or directory")


def test_only_the_slice_is_read(tmp_path: Path) -> None:
    for name in "abcd":
        write_observation(tmp_path / name, {})
    collection = list_collection(tmp_path)
    for name in "ad":
        (tmp_path / name).rename(tmp_path / f".{name}")
    assert [record.problem for record in iter_images(collection, start=1, end=3)] == [None, None]
    assert len(list(iter_images(collection, max_images=2, start=1, end=99))) == 2
    assert list(iter_images(collection, start=9, end=None)) == []
    assert list(iter_images(collection, start=2, end=2)) == []


@given(names=st.lists(NAMES, min_size=1, max_size=12, unique=True), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_order_and_fingerprint_do_not_depend_on_creation(names: list[str], seed: int) -> None:
    shuffled = random.Random(seed).sample(names, len(names))
    collections = []
    for order in (names, shuffled):
        with tempfile.TemporaryDirectory() as folder:
            for name in order:
                touch(Path(folder) / f"{name}.jpg")
            collections.append(list_collection(Path(folder)))
    first, second = collections
    assert first.units == second.units == tuple(sorted(f"{name}.jpg" for name in names))
    assert first.fingerprint == second.fingerprint
    with tempfile.TemporaryDirectory() as folder:
        for name in [*names, "one more"]:
            touch(Path(folder) / f"{name}.jpg")
        assert list_collection(Path(folder)).fingerprint != first.fingerprint


@given(
    num_frames=st.lists(st.integers(0, 3), min_size=1, max_size=10),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    frames=st.sampled_from(["first", "all"]),
)
@settings(max_examples=40, deadline=None)
def test_slices_concatenated_are_the_whole_and_nothing_is_lost(
    num_frames: list[int], cuts: list[int], frames: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for index, count in enumerate(num_frames):
            write_observation(Path(folder) / f"{index}", {}, tuple(f"image_{n}.jpg" for n in range(count)))
        collection = list_collection(Path(folder))
        whole = list(iter_images(collection, frames=frames))
        bounds = [0, *sorted(cuts), None]
        parts = [
            list(iter_images(collection, start=start or 0, end=end, frames=frames)) for start, end in pairwise(bounds)
        ]
    assert [record for part in parts for record in part] == whole
    expected = [max(1, count) if frames == "all" else 1 for count in num_frames]
    assert len(whole) == sum(expected)
    assert sum(record.problem is not None for record in whole) == num_frames.count(0)
