"""Tar shards as writers of all sorts make them: their images, under which ids, and what is said of the rest."""

from __future__ import annotations

import errno
import gzip
import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ictc.dataset.catalog.discover import iter_images, list_collection
from ictc.dataset.catalog.tally import Reason, Tally
from ictc.dataset.catalog.tar_shards import LocalTars
from ictc.errors import InputError
from ictc.records import ImageRecord

JPEG = b"\xff\xd8\xff"
Member = tuple[str, bytes] | tarfile.TarInfo


def archive(members: Iterable[Member], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """Return a tar of files, given by name and content, and of other entries."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as shard:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                shard.addfile(member)
            else:
                entry = tarfile.TarInfo(member[0])
                entry.size = len(member[1])
                shard.addfile(entry, io.BytesIO(member[1]))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def write(folder: Path, shards: dict[str, bytes]) -> Path:
    for name, content in shards.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def find(place: Path | str, **options: Any) -> tuple[list[ImageRecord], Tally]:
    collection = list_collection(place)
    left_out = Tally()
    records = list(iter_images(collection, left_out=left_out, **options))
    left_out.update(collection.left_out)
    return records, left_out


def ids(records: Iterable[ImageRecord]) -> list[str]:
    return [record.image_id for record in records]


def contents(folder: Path, records: Sequence[ImageRecord]) -> list[bytes]:
    """Return the bytes that the records lead to."""
    found = []
    for record in records:
        shard = (folder / record.path.partition(".tar/")[0]).with_suffix(".tar").read_bytes()
        assert record.offset is not None
        found.append(shard[record.offset : record.offset + record.num_bytes])
    return found


def test_of_a_repeated_name_the_last_counts_as_unpacking_would_have_it(tmp_path: Path) -> None:
    members = [
        ("1.jpg", JPEG + b"a"),
        ("2.jpg", JPEG + b"b"),
        ("1.jpg", JPEG + b"c"),
        ("2.json", b"{"),
        ("2.json", b"[]"),
    ]
    records, left_out = find(write(tmp_path, {"s.tar": archive(members)}))
    assert contents(tmp_path, records) == [JPEG + b"c", JPEG + b"b"]
    assert left_out.counts == {Reason.REPEATED: 2, Reason.METADATA: 1}
    assert "2 members whose name is repeated later in the shard ('s.tar/1.jpg', 's.tar/2.json')" in left_out.describe()


def test_images_that_share_a_key_are_frames_of_it(tmp_path: Path) -> None:
    names = [
        "look.v0.jpg",
        "look.v1.jpg",
        "look.png",
        "look.jpg",
        "22.05.jpg",
        "0.left.jpg",
        "0.right.jpg",
        "sub/0.jpg",
    ]
    members = [(name, JPEG + name.encode()) for name in names]
    folder = write(tmp_path, {"s.tar": archive([*members, ("look.json", b'{"observation_id": "ad"}')])})
    first, left_out = find(folder)
    assert ids(first) == ["ad", "22", "0", "sub/0"]
    assert left_out.counts == {Reason.FRAMES: 4}
    assert left_out.describe().startswith(
        "left out: 4 further images of a folder or key that has one, which --frames all"
    )
    every, left_out = find(folder, frames="all")
    assert ids(every) == ["ad.v0", "ad.v1", "ad.png", "ad.jpg", "22", "0.left", "0.right", "sub/0"]
    assert contents(folder, every) == [content for _, content in members]
    assert not left_out.counts


def test_archives_joined_end_to_end_are_read_to_the_last(tmp_path: Path) -> None:
    parts = [archive([(f"{part}{number}.jpg", JPEG + part.encode())]) for part in "ab" for number in range(2)]
    records, _ = find(
        write(tmp_path, {"all.tar": b"".join(parts), "more.tar": archive([("c.jpg", JPEG)]) + b"not a tar"})
    )
    assert ids(records) == ["a0", "a1", "b0", "b1", "c", "more.tar"]
    assert contents(tmp_path, records[:4]) == [JPEG + b"a", JPEG + b"a", JPEG + b"b", JPEG + b"b"]
    assert "at byte 10,240 is neither a member nor the end" in (records[-1].problem or "")


def test_a_damaged_header_is_no_end(tmp_path: Path) -> None:
    whole = bytearray(archive([(f"{number}.jpg", JPEG) for number in range(3)]))
    whole[1024:1030] = b"broken"
    records, _ = find(write(tmp_path, {"s.tar": bytes(whole)}))
    assert ids(records) == ["0", "s.tar"]
    assert "at byte 1,024 is neither" in (records[1].problem or "")


def test_a_member_that_the_shard_ends_within_is_broken(tmp_path: Path) -> None:
    whole = archive([("0.jpg", JPEG), ("1.jpg", JPEG * 1000)])
    records, _ = find(write(tmp_path, {"s.tar": whole[:2000]}))
    assert [record.problem for record in records] == [
        None,
        "the shard ends within it",
        "shard cannot be read to its end: unexpected end of data",
    ]


@pytest.mark.parametrize("cut", [1024, 2048, 2048 + 100])
def test_a_shard_without_its_end_mark_says_that_images_may_be_missing(tmp_path: Path, cut: int) -> None:
    whole = archive([("0.jpg", JPEG), ("1.jpg", JPEG)])
    records, _ = find(write(tmp_path, {"s.tar": whole[:cut]}))
    assert ids(records) == [*"01"[: cut // 1024], "s.tar"]
    assert records[-1].problem == "shard ends without its end mark; images may be missing"


def test_a_header_that_the_shard_ends_within_is_no_end(tmp_path: Path) -> None:
    whole = archive([("0.jpg", JPEG), ("1.jpg", JPEG)])
    records, _ = find(write(tmp_path, {"s.tar": whole[: 1024 + 100]}))
    assert ids(records) == ["0", "s.tar"]
    assert records[1].problem == "shard cannot be read to its end: at byte 1,024 is neither a member nor the end"


def test_half_an_end_mark_is_one(tmp_path: Path) -> None:
    records, _ = find(write(tmp_path, {"s.tar": archive([("0.jpg", JPEG)])[: 1024 + 512]}))
    assert ids(records) == ["0"]


def test_keys_that_begin_anew_in_every_shard_go_by_their_shards(tmp_path: Path) -> None:
    shards = {
        f"s{shard}.tar": archive([(f"{n:04}.jpg", JPEG + bytes([shard, n])) for n in range(2)]) for shard in range(3)
    }
    folder = write(tmp_path, shards)
    records, _ = find(folder)
    assert ids(records) == [f"s{shard}.tar/{number:04}" for shard in range(3) for number in range(2)]
    assert ids(find(folder, start=1, end=2)[0]) == ["s1.tar/0000", "s1.tar/0001"]


def test_a_key_that_is_repeated_further_in_goes_by_its_path(tmp_path: Path) -> None:
    first, second = ([(name, JPEG) for name in names] for names in (("a.jpg", "b.jpg"), ("c.jpg", "b.jpg", "b.png")))
    folder = write(tmp_path, {"s0.tar": archive(first), "s1.tar": archive(second)})
    records, left_out = find(folder)
    assert ids(records) == ["a", "b", "c", "s1.tar/b"]
    assert "taken: 1 image of a repeated id, named by path ('s1.tar/b')" in left_out.describe()


def test_links_are_the_files_of_the_shard_that_they_name(tmp_path: Path) -> None:
    members = [
        ("one/a.jpg", JPEG + b"a"),
        link("b.jpg", "one/a.jpg", tarfile.LNKTYPE),
        link("two/c.jpg", "../b.jpg"),
        link("two/d", "../one/a.jpg"),
        link("e.jpg", "/etc/passwd"),
        link("f.jpg", "../../outside.jpg"),
        link("g.jpg", "g.jpg"),
        link("h", "nowhere"),
        link("later.jpg", "last.jpg"),
        ("last.jpg", JPEG + b"last"),
    ]
    records, left_out = find(write(tmp_path, {"s.tar": archive(members)}))
    good = [record for record in records if record.problem is None]
    assert ids(good) == ["one/a", "b", "two/c", "two/d", "later", "last"]
    assert contents(tmp_path, good) == [JPEG + b"a"] * 4 + [JPEG + b"last"] * 2
    assert [record.image_id for record in records if "no file of the shard" in (record.problem or "")] == [
        "e",
        "f",
        "g",
    ]
    assert left_out.counts == {Reason.NOWHERE: 1}


def test_a_hard_link_is_the_file_that_had_the_name_before_it(tmp_path: Path) -> None:
    members = [
        ("a.jpg", JPEG + b"first"),
        link("hard.jpg", "./a.jpg", tarfile.LNKTYPE),
        link("soft.jpg", "a.jpg"),
        ("a.jpg", JPEG + b"second"),
        link("early.jpg", "late.jpg", tarfile.LNKTYPE),
        link("early", "late.jpg", tarfile.LNKTYPE),
        ("late.jpg", JPEG + b"late"),
    ]
    records, left_out = find(write(tmp_path, {"s.tar": archive(members)}))
    early = records.pop(3)
    assert ids(records) == ["a", "hard", "soft", "late"]
    assert contents(tmp_path, records) == [JPEG + text for text in (b"second", b"first", b"second", b"late")]
    assert early.problem == "a hard link to 'late.jpg', which is no file before it in the shard"
    assert left_out.counts == {Reason.REPEATED: 1, Reason.NOWHERE: 1}


def test_links_lead_to_hidden_files_and_from_their_own_folder(tmp_path: Path) -> None:
    members = [
        (".store/1", JPEG + b"stored"),
        link("hard.jpg", ".store/1", tarfile.LNKTYPE),
        link("soft.jpg", ".store/1"),
        ("one/x.jpg", JPEG + b"one"),
        ("two/x.jpg", JPEG + b"two"),
        link("one/y.jpg", "x.jpg"),
        link("two/y.jpg", "one/y.jpg", tarfile.LNKTYPE),
    ]
    records, left_out = find(write(tmp_path, {"s.tar": archive(members)}))
    assert ids(records) == ["hard", "soft", "one/x", "two/x", "one/y", "two/y"]
    assert contents(tmp_path, records) == [
        JPEG + text for text in (b"stored", b"stored", b"one", b"two", b"one", b"two")
    ]
    assert left_out.counts == {Reason.HIDDEN: 1}


def test_a_link_to_a_member_that_the_shard_ends_within_is_broken(tmp_path: Path) -> None:
    whole = archive([link("0.jpg", "1.jpg"), ("1.jpg", JPEG * 1000)])
    records, _ = find(write(tmp_path, {"s.tar": whole[:2000]}))
    assert [record.problem for record in records[:2]] == ["the shard ends within it"] * 2


def dump(members: Iterable[tuple[str, bytes, bytes]]) -> bytes:
    """Return a tar as `tar --incremental` of GNU writes it, with a time of access in each header.

    Args:
        members: the name, content and type of each.
    """
    blocks: list[bytes | bytearray] = []
    for name, content, kind in members:
        entry = tarfile.TarInfo(name)
        entry.size, entry.type = len(content), kind
        *longer, header = _blocks(entry.tobuf(tarfile.GNU_FORMAT))
        header[345:357] = b"15303076071\0"
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        blocks += [*longer, header, content + bytes(-len(content) % 512)]
    return b"".join(blocks) + bytes(1024)


def _blocks(content: bytes) -> list[bytearray]:
    return [bytearray(content[start : start + 512]) for start in range(0, len(content), 512)]


def test_ids_of_an_incremental_dump_are_the_names_of_its_files(tmp_path: Path) -> None:
    long = "n" * 150 + ".jpg"
    members = [
        ("./", b"Ya.jpg\0\0", b"D"),
        ("./a.jpg", JPEG + b"a", tarfile.REGTYPE),
        ("./sub/b.jpg", JPEG + b"b", tarfile.REGTYPE),
        (long, JPEG + b"c", tarfile.REGTYPE),
    ]
    records, left_out = find(write(tmp_path, {"s.tar": dump(members)}))
    assert ids(records) == ["a", "sub/b", long.removesuffix(".jpg")]
    assert [record.path for record in records] == ["s.tar/a.jpg", "s.tar/sub/b.jpg", f"s.tar/{long}"]
    assert contents(tmp_path, records) == [JPEG + name for name in (b"a", b"b", b"c")]
    assert not left_out.counts


def test_a_prefix_that_is_one_belongs_to_the_name(tmp_path: Path) -> None:
    folders = "folder/" * 20
    records, _ = find(write(tmp_path, {"s.tar": archive([(f"{folders}a.jpg", JPEG)], tarfile.USTAR_FORMAT)}))
    assert ids(records) == [f"{folders}a"]


def test_needless_dots_and_slashes_are_no_part_of_a_name(tmp_path: Path) -> None:
    names = ["./a.jpg", "././b.jpg", ".//c.jpg", "sub//d.jpg", "sub/./e.jpg", "f..jpg", "../g.jpg", "/h.jpg"]
    members = [(name, JPEG) for name in names]
    twice: list[Member] = [("sub/d.jpg", JPEG + b"later"), link("i.jpg", "./sub/.//d.jpg", tarfile.LNKTYPE)]
    records, left_out = find(write(tmp_path, {"s.tar": archive([*members, *twice])}))
    assert ids(records) == ["a", "b", "c", "sub/d", "sub/e", "f", "../g", "/h", "i"]
    assert contents(tmp_path, [records[3], records[8]]) == [JPEG + b"later"] * 2
    assert left_out.counts == {Reason.REPEATED: 1}


def sparse(name: str, content: bytes) -> Member:
    """Return a member in the sparse form of PAX 1.0: a map of one piece before the data."""
    entry = tarfile.TarInfo(f"GNUSparseFile.0/{name}")
    entry.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": name,
        "GNU.sparse.realsize": str(len(content) + 4096),
    }
    entry.size = 512 + len(content)
    return entry


def test_a_sparse_member_is_broken_and_no_neighbor(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as shard:
        entry = sparse("hole.jpg", JPEG)
        assert isinstance(entry, tarfile.TarInfo)
        shard.addfile(entry, io.BytesIO(b"1\n0\n3\n".ljust(512, b"\0") + JPEG))
    joined = buffer.getvalue() + archive([("after.jpg", JPEG + b"after")])
    records, _ = find(write(tmp_path, {"s.tar": joined}))
    assert ids(records) == ["hole", "after"]
    assert "packed with --sparse" in (records[0].problem or "")
    assert contents(tmp_path, records[1:]) == [JPEG + b"after"]


def test_whatever_else_a_shard_holds_is_counted(tmp_path: Path) -> None:
    pipe = tarfile.TarInfo("pipe.jpg")
    pipe.type = tarfile.FIFOTYPE
    members: list[Member] = [
        ("./0.jpg", JPEG),
        ("./0.JSON", b'{"observation": {"platform": "TikTok"}}'),
        ("0.cls", b"3"),
        ("0.txt", b"words"),
        ("1.json", b'{"observation_id": "no image"}'),
        ("2.jpg", JPEG),
        ("2.json", b'{"caption": "of another tool"}'),
        ("._0.jpg", b"\0\5\x16\7"),
        (".git/3.jpg", JPEG),
        ("4", JPEG),
        ("5.jpg!w700", JPEG),
        pipe,
    ]
    records, left_out = find(write(tmp_path, {"s.tar": archive(members)}))
    assert [(record.image_id, record.platform) for record in records] == [
        ("0", "TikTok"),
        ("2", None),
        ("4", None),
        ("5", None),
    ]
    assert left_out.counts == {
        Reason.OTHER: 3,
        Reason.METADATA: 1,
        Reason.HIDDEN: 2,
        Reason.SPECIAL: 1,
    }
    assert "3 other files (1 .cls, 1 .json, 1 .txt: 's.tar/0.cls', 's.tar/0.txt', …)" in left_out.describe()


def test_names_of_any_bytes_are_images(tmp_path: Path) -> None:
    names = ["caf\udce9.jpg", "a\nb.jpg", "x" * 300 + ".jpg", "漢.jpg", "s.tar/in.jpg", "https://host/a.jpg"]
    whole = archive([(name, JPEG + bytes([n])) for n, name in enumerate(names)], tarfile.GNU_FORMAT)
    records, _ = find(write(tmp_path, {"s.tar": whole}))
    assert [record.problem for record in records] == [None] * len(names)
    assert ids(records)[0] == "caf\\udce9"
    assert contents(tmp_path, records) == [JPEG + bytes([n]) for n in range(len(names))]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"x", mtime=0), "it is compressed (gzip), which cannot be read at random; decompress it"),
        (b"PK\x03\x04", "it is compressed (zip)"),
        (b"", "empty file"),
        (archive([]), "shard holds no image"),
    ],
    ids=["gzip", "zip", "empty", "no image"],
)
def test_what_is_no_tar_says_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    records, _ = find(write(tmp_path, {"a.tar": content, "b.tar": archive([("b.jpg", JPEG)])}))
    assert ids(records) == ["a.tar", "b"]
    assert said in (records[0].problem or "")


def test_tars_in_upper_case_and_folders_named_like_tars(tmp_path: Path) -> None:
    write(tmp_path / "upper", {"A.TAR": archive([("a.jpg", JPEG)])})
    (record,), _ = find(tmp_path / "upper")
    assert (record.image_id, record.path) == ("a", "A.TAR/a.jpg")
    assert ids(find(str(tmp_path / "upper" / "A.TAR"))[0]) == ["a"]
    write(tmp_path / "set.tar", {"a.jpg": JPEG, "sub/b.jpg": JPEG})
    assert ids(find(str(tmp_path / "set.tar"))[0]) == ["a", "sub/b"]
    write(tmp_path / "within", {"set.tar/s.tar": archive([("a.jpg", JPEG)]), "t.tar": archive([("b.jpg", JPEG)])})
    records, _ = find(tmp_path / "within")
    assert [(record.path, bool(record.problem)) for record in records] == [
        ("set.tar/s.tar", True),
        ("t.tar/b.jpg", False),
    ]


def test_a_shard_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    write(tmp_path / "set [1]", {"s{0..1}.tar": archive([("a.jpg", JPEG)])})
    assert ids(find(str(tmp_path / "set [1]" / "s{0..1}.tar"))[0]) == ["a"]
    write(tmp_path / "set [1]" / "set [1]", {"s{0..1}.tar": archive([("b.jpg", JPEG)])})
    assert ids(find(str(tmp_path / "set [1]" / "s{0..1}.tar"))[0]) == ["a"]
    write(tmp_path / "plain", {f"s{n}.tar": archive([(f"{n}.jpg", JPEG)]) for n in range(3)})
    assert ids(find(str(tmp_path / "plain" / "s{0..1}.tar"))[0]) == ["0", "1"]
    assert ids(find(str(tmp_path / "plain" / "s[12].tar"))[0]) == ["1", "2"]


def test_tars_beside_images_and_images_beside_tars_are_counted(tmp_path: Path) -> None:
    write(tmp_path, {"s.tar": archive([("a.jpg", JPEG)]), "b.jpg": JPEG, "c.tar.gz": b"", "d.tgz": b""})
    records, left_out = find(tmp_path)
    assert ids(records) == ["b"]
    assert left_out.describe() == (
        "left out: 2 other files (1 .gz, 1 .tgz: 'c.tar.gz', 'd.tgz'), "
        "1 tar file beside images, which --layout tar takes ('s.tar')"
    )
    collection = list_collection(tmp_path, layout="tar")
    assert ids(iter_images(collection)) == ["a"]
    assert collection.left_out.counts[Reason.BESIDE_TARS] == 1


def test_a_shard_that_cannot_be_read_for_now_is_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {f"{name}.tar": archive([(f"{name}.jpg", JPEG)]) for name in "ab"})
    collection = list_collection(tmp_path)
    (tmp_path / "b.tar").unlink()
    assert collection.fingerprint != list_collection(tmp_path).fingerprint
    records = list(iter_images(collection))
    assert [(record.image_id, record.problem) for record in records] == [
        ("a", None),
        ("b.tar", "shard cannot be read: not found"),
    ]
    monkeypatch.setattr(LocalTars, "open", fail)
    with pytest.raises(InputError, match=r"a\.tar cannot be read .*Input/output error.*; run the command again"):
        list(iter_images(collection))


def fail(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))
