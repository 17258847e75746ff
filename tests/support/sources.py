"""Sources of every kind as people leave them: pictures among whatever else lies there, under names of all sorts.

A kind is a strategy of descriptions and a function that lays one out; what the law needs to know of it is in `Laid`.
"""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from hypothesis import strategies as st
from pyarrow import csv as pa_csv
from pyarrow import parquet

JPEG, PNG = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"

STEMS = ["a", "A", "b", "b.v1", "0001", "0001.left", "e\u0301", "\u00e9", "ad [1]", "50%", "a#b", "what?", "x\ny", " "]
SUFFIXES = [".jpg", ".JPG", ".webp", ".jpeg", "", ".v2", ".jpg!w700", ".jpg:large", ".txt", ".json", ".tar.gz", ".jpg "]
ODD_NAMES = [".hidden.jpg", "._a.jpg", ".DS_Store", "Thumbs.db", "data.json", "full_data.json", "FULL_DATA.JSON"]
FOLDERS = ["", "", "one", "two", "one/deep", "x.jpg", "set.tar", ".git", "__MACOSX", "ad [1]", "image_480"]

CONTENTS = ["picture", "picture", "picture", "noise", "empty", "observation", "annotations", "damaged"]
ODDITIES = ["pipe", "nowhere", "link", "cycle"]

NAMES = st.one_of(
    st.builds(str.__add__, st.sampled_from(STEMS), st.sampled_from(SUFFIXES)),
    st.sampled_from(ODD_NAMES),
    st.text("aA.é[]#?% !:", min_size=1, max_size=5).filter(lambda name: name.strip(".") and name.strip()),
)


@dataclass(frozen=True)
class Thing:
    """Something to be laid out: a file of some content, or an oddity, at a path."""

    folder: str
    name: str
    content: str

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}".lstrip("/")

    def data(self, number: int) -> bytes:
        """Return bytes that no other thing has, unless it is empty; metadata names a platform of its own."""
        tail = str(number).encode().rjust(40)
        contents = {
            "noise": b"noise" + tail,
            "empty": b"",
            "damaged": b"{" + tail,
            "observation": json.dumps({"observation": {"platform": f"platform {number}"}}).encode(),
            "annotations": json.dumps({"images": [number], "annotations": []}).encode(),
        }
        return contents.get(self.content, (JPEG, PNG)[number % 2] + tail)


@dataclass
class Laid:
    """A source as it lies.

    Attributes:
        arguments: of `list_collection`.
        num_things: how many things lie there, each to be accounted for once.
        pictures: the bytes of what may become an image.
        places: names of units that hold things and are none: an observation's folder, a shard.
    """

    arguments: dict[str, Any]
    num_things: int = 0
    pictures: set[bytes] = field(default_factory=set)
    places: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Kind:
    """A kind of source."""

    name: str
    descriptions: st.SearchStrategy[Any]
    lay: Callable[[Any, Path], Laid]


def things(contents: Sequence[str], folders: Sequence[str] = FOLDERS) -> st.SearchStrategy[list[Thing]]:
    one = st.builds(Thing, st.sampled_from(folders), NAMES, st.sampled_from(contents))
    return st.lists(one, min_size=1, max_size=12, unique_by=lambda thing: thing.path)


def lay_folder(layout: str, description: list[Thing], root: Path) -> Laid:
    """Lay things out as files of this machine."""
    ads = root / "ads"
    ads.mkdir()
    for number, thing in enumerate(description):
        with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):  # one is where another needs a folder
            make_file(ads, thing, number)
    laid = Laid({"ads_dir": ads, "layout": layout})
    look_around(ads, (ads,), laid)
    if layout != "flat":
        laid.places = {path.name for path in ads.iterdir() if path.is_dir() and path.resolve() != ads.resolve()}
    return laid


def make_file(ads: Path, thing: Thing, number: int) -> None:
    path = ads / thing.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if thing.content == "pipe":
        os.mkfifo(path)
    elif thing.content == "nowhere":
        path.symlink_to("no such file")
    elif thing.content == "cycle":
        path.symlink_to(ads, target_is_directory=True)
    elif thing.content == "link":
        (ads.parent / f"outside-{number}").write_bytes(thing.data(number))
        path.symlink_to(ads.parent / f"outside-{number}")
    else:
        with path.open("xb") as file:
            file.write(thing.data(number))


def look_around(folder: Path, above: tuple[Path, ...], laid: Laid) -> None:
    """Count what lies in a folder of the laid tree, by other means than the product's."""
    for path in folder.iterdir():
        if not path.name.startswith(".") and path.is_dir() and path.resolve() not in above:
            look_around(path, (*above, path.resolve()), laid)
            continue
        laid.num_things += 1
        if path.is_file():
            laid.pictures.add(path.read_bytes())


def lay_objects(layout: str, description: list[Thing], root: Path) -> Laid:
    """Lay the same things out as objects behind a URL."""
    here = lay_folder(layout, description, root)
    store = fsspec.filesystem("memory")
    store.store.clear()
    ads = here.arguments["ads_dir"]
    laid = Laid({"ads_dir": "memory://ads", "layout": layout})
    for path in filter(Path.is_file, ads.rglob("*")):
        store.pipe_file(f"/ads/{path.relative_to(ads).as_posix()}", path.read_bytes())
        laid.num_things += 1
        laid.pictures.add(path.read_bytes())
    laid.places = here.places
    return laid


TAR_TYPES = {
    "hard link": tarfile.LNKTYPE,
    "symbolic link": tarfile.SYMTYPE,
    "folder": tarfile.DIRTYPE,
    "pipe": tarfile.FIFOTYPE,
}
TAR_FORMS = [*["file"] * 6, *TAR_TYPES]
MEMBERS = st.builds(
    Thing, st.sampled_from(["", "", ".", "..", "one", "/abs", ".git"]), NAMES, st.sampled_from(CONTENTS)
)
SHARDS = st.lists(
    st.tuples(
        st.sampled_from(["s0.tar", "s1.TAR", "sub/s2.tar"]),
        st.lists(st.tuples(MEMBERS, st.sampled_from(TAR_FORMS)), max_size=8),
        st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda shard: shard[0],
)


def lay_tars(description: list[Any], root: Path) -> Laid:
    """Lay things out as members of tar shards, some of them joined from two archives."""
    laid = Laid({"ads_dir": root / "tars", "layout": "tar"})
    for name, members, form, is_joined in description:
        path = root / "tars" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        half = len(members) // 2 if is_joined else 0
        parts = [members[:half], members[half:]] if is_joined else [members]
        path.write_bytes(b"".join(pack(part, form, laid) for part in parts))
        laid.places.add(name)
    return laid


def pack(members: Sequence[tuple[Thing, str]], form: int, laid: Laid) -> bytes:
    """Return an archive, and count what is in it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=form) as shard:
        for thing, kind in members:
            entry, content = make_entry(thing, kind, laid.num_things)
            shard.addfile(entry, io.BytesIO(content))
            laid.num_things += kind != "folder"
            laid.pictures.add(content)
    return archive.getvalue()


def make_entry(thing: Thing, kind: str, number: int) -> tuple[tarfile.TarInfo, bytes]:
    entry, content = tarfile.TarInfo(f"{thing.folder}/{thing.name}" if thing.folder else thing.name), b""
    entry.type = TAR_TYPES.get(kind, tarfile.REGTYPE)
    if kind.endswith("link"):
        entry.linkname = ["a.jpg", "b.webp", "no such"][number % 3]
    elif kind == "file":
        content = thing.data(number)
    entry.size = len(content)
    return entry, content


def lay_remote_tars(description: list[Any], root: Path) -> Laid:
    """Lay the same shards out as objects behind a URL."""
    laid = lay_tars(description, root)
    store = fsspec.filesystem("memory")
    store.store.clear()
    for place in laid.places:
        store.pipe_file(f"/tars/{place}", (root / "tars" / place).read_bytes())
    laid.arguments["ads_dir"] = "memory://tars"
    return laid


ROWS = st.lists(st.sampled_from(["file", "inside", "above", "ftp", "nothing"]), min_size=1, max_size=8)
TABLES = st.tuples(ROWS, st.sampled_from([".csv", ".jsonl", ".parquet"]))


def lay_table(description: tuple[list[str], str], root: Path) -> Laid:
    """Lay out a table whose rows lead to pictures beside it, hold them, or lead nowhere that may be read."""
    rows, suffix = description
    laid = Laid({"ads_dir": None, "images": root / f"list{suffix}"}, num_things=len(rows))
    addresses = []
    for number, row in enumerate(rows):
        picture = Thing("", "", "picture").data(number)
        (root / f"{number}.jpg").write_bytes(picture)
        laid.pictures.add(picture)
        held = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        forms = {"file": f"{number}.jpg", "inside": held, "above": f"../{number}.jpg", "ftp": f"ftp://h/{number}.jpg"}
        addresses.append(forms.get(row))
    write_table(root / f"list{suffix}", {"id": [f"ad {n}" for n in range(len(rows))], "path": addresses})
    return laid


def write_table(path: Path, columns: dict[str, list[Any]]) -> None:
    table = pa.table(columns, pa.schema([(name, pa.string()) for name in columns]))
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


FILES = [*CONTENTS, *ODDITIES]

KINDS = [
    Kind("flat folder", things(FILES), partial(lay_folder, "flat")),
    Kind("observation folders", things(FILES), partial(lay_folder, "observations")),
    Kind("any folder", things(FILES), partial(lay_folder, "auto")),
    Kind("flat objects", things(CONTENTS), partial(lay_objects, "flat")),
    Kind("observation objects", things(CONTENTS), partial(lay_objects, "observations")),
    Kind("tar shards", SHARDS, lay_tars),
    Kind("tar shards behind a URL", SHARDS, lay_remote_tars),
    Kind("table", TABLES, lay_table),
]
