"""What is in a tar shard, and where: its images by key, as WebDataset names them.

A key is the path of a member up to the first dot of its last part. Nothing is unpacked, and no member's name or link is
ever used as a path: an image is a span of the shard's bytes.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field, replace
from posixpath import dirname, join, normpath
from typing import IO, Literal, Self

from ictc.dataset.catalog.listing import IMAGE_SUFFIXES, OTHER_SUFFIXES, is_hidden, is_image_name, suffix_of
from ictc.dataset.catalog.metadata import MAX_METADATA_BYTES, Metadata, parse_known
from ictc.dataset.catalog.tally import Reason, Tally
from ictc.dataset.fetching.content import HEAD_BYTES, is_image_content, name_compression

FIRST_BYTES = 64 * 1024
"""Of a shard, in which its first image usually begins."""

MAX_LINKS = 8
"""From link to link."""

_CHUNK_BYTES = 1 << 20

_NAME, _MAGIC = slice(100), slice(257, 265)
"""Of a header."""

_OLD_GNU_MAGIC = b"ustar  \0"
_DUMP_FOLDER = b"D"
"""Type of a folder with a list of what it held (`--incremental`)."""

Kind = Literal["image", "metadata", "link", "nowhere", "other"]
"""A link is a symbolic one that is yet to be followed."""


class DamagedShardError(Exception):
    """A shard is no tar, or not a whole one; says why."""


class _NoEndError(DamagedShardError):
    """A shard ends where its end mark or a further member should be."""


@dataclass(slots=True)
class Member:
    """A file in a shard, or a link to one.

    Attributes:
        name: its path, which may hold anything.
        offset, size: of its bytes in the shard.
        metadata: what a metadata file says, None if it is of no use.
        link: what a symbolic link leads to, as a path from its own folder.
        problem: why its bytes are not those of an image.
    """

    name: str
    kind: Kind
    _: KW_ONLY
    offset: int = 0
    size: int = 0
    metadata: Metadata | None = None
    link: str = ""
    problem: str | None = None

    @property
    def key(self) -> str:
        folder, slash, name = self.name.rpartition("/")
        return f"{folder}{slash}{name.partition('.')[0]}"

    @property
    def extension(self) -> str:
        """What follows the key and its dot."""
        return self.name.rpartition("/")[2].partition(".")[2]


@dataclass(slots=True)
class Sample:
    """The members of a shard that share a key, in its order."""

    key: str
    images: list[Member] = field(default_factory=list)
    metadata: list[Member] = field(default_factory=list)


@dataclass(slots=True)
class Shard:
    """What a shard holds.

    Attributes:
        samples: those with an image.
        left_out: what else there is.
        problem: what is wrong with it, so that there may have been more than this.
    """

    samples: list[Sample]
    left_out: Tally
    problem: str | None


def read_shard(file: IO[bytes]) -> Shard:
    """Return what a shard holds; of a damaged one, what comes before the damage.

    Raises:
        Exception: the file cannot be read; each service has its own.
    """
    left_out, problem = Tally(), None
    members: dict[str, Member] = {}
    try:
        for entry in _iter_entries(file):
            _add(members, entry, file, left_out)
    except _NoEndError:
        problem = "ends without its end mark; images may be missing"
    except (DamagedShardError, tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        problem = f"cannot be read to its end: {error}" if members else f"cannot be read: {error}"
    num_bytes = file.seek(0, io.SEEK_END)
    members = {name: _within(member, num_bytes) for name, member in members.items()}
    found = [_follow(member, members) for name, member in members.items() if not is_hidden(name)]
    return Shard(_group(found, left_out), left_out, problem)


def find_first_key(head: bytes) -> str | None:
    """Return the key of the first image of a shard, from its first bytes; None if that does not begin there."""
    try:
        for entry in _iter_entries(io.BytesIO(head)):
            member = Member(clean_name(entry.name), "other")
            if entry.isreg() and is_image_name(member.name) and not is_hidden(member.name):
                return member.key
    except (DamagedShardError, tarfile.TarError, EOFError, ValueError, OverflowError):
        pass
    return None


class _Entry(tarfile.TarInfo):
    """An entry whose name has no prefix where GNU tar keeps times (`--incremental`); tarfile takes them for one."""

    __slots__ = ()

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        entry = super().frombuf(buf, encoding, errors)
        if buf[_MAGIC] == _OLD_GNU_MAGIC:
            entry.name = buf[_NAME].partition(b"\0")[0].decode(encoding, errors)
        return entry


def _iter_entries(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """Yield the entries of one archive, or of several that were joined end to end."""
    start: int | None = 0
    while start is not None:
        file.seek(start)
        try:
            archive = tarfile.open(fileobj=file, mode="r:", tarinfo=_Entry)  # noqa: SIM115 - closing it would do nothing
        except tarfile.ReadError as error:
            raise DamagedShardError(_describe_start(file, error)) from None
        yield from archive
        start = _find_next(file, archive.offset)


def _describe_start(file: IO[bytes], error: tarfile.ReadError) -> str:
    file.seek(0)
    compression = name_compression(file.read(HEAD_BYTES))
    if compression is not None:
        return f"it is compressed ({compression}), which cannot be read at random; decompress it"
    return str(error)


def _find_next(file: IO[bytes], end: int) -> int | None:
    """Return where another archive begins after the end of one, None if nothing but zeros follows."""
    file.seek(end)
    block = file.read(tarfile.BLOCKSIZE)
    if any(block):  # tarfile takes a damaged header for the end
        raise DamagedShardError(f"at byte {end:,} is neither a member nor the end")
    if len(block) < tarfile.BLOCKSIZE:
        raise _NoEndError
    position = end + tarfile.BLOCKSIZE
    while chunk := file.read(_CHUNK_BYTES):
        zeros = len(chunk) - len(chunk.lstrip(b"\0"))
        if zeros < len(chunk):
            return position + zeros // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        position += len(chunk)
    return None


def _add(members: dict[str, Member], entry: tarfile.TarInfo, file: IO[bytes], left_out: Tally) -> None:
    """Add an entry; one whose name came before takes its place, as unpacking would have it.

    A hidden one is added, too: links may lead to it.
    """
    name = clean_name(entry.name)
    if entry.isdir() or entry.type == _DUMP_FOLDER:
        return
    is_special = not (entry.isreg() or entry.issym() or entry.islnk())
    if is_hidden(name):
        left_out.add(Reason.HIDDEN, name)
    elif is_special:
        left_out.add(Reason.SPECIAL, name)
    elif name in members:
        left_out.add(Reason.REPEATED, name)
    if not is_special:
        members[name] = _to_member(name, entry, file, members)


def clean_name(name: str) -> str:
    """Return the path of a member without the `./` that many writers begin it with, and the like further in."""
    if not (name.startswith("./") or "/./" in name or "//" in name):
        return name
    start = "/" if name.startswith("/") else ""
    return start + "/".join(part for part in name.split("/") if part not in {"", "."})


def _to_member(name: str, entry: tarfile.TarInfo, file: IO[bytes], members: dict[str, Member]) -> Member:
    if entry.isreg():
        return _to_file(name, entry, file)
    if entry.issym():
        return Member(name, "link", link=entry.linkname)
    target = members.get(clean_name(entry.linkname))  # as it is by now: another may take its name later
    if target is not None and target.kind != "nowhere":
        return replace(target, name=name)
    return _to_nowhere(name, problem=f"a hard link to {entry.linkname!r}, which is no file before it in the shard")


def _to_nowhere(name: str, *, problem: str) -> Member:
    """Return a link to nothing: an image that has a problem, if it is called like one."""
    return Member(name, "image" if is_image_name(name) else "nowhere", problem=problem)


def _to_file(name: str, entry: tarfile.TarInfo, file: IO[bytes]) -> Member:
    member = Member(name, "other", offset=entry.offset_data, size=entry.size)
    if entry.issparse():
        member.problem = "its bytes are not in one piece in the shard, which was packed with --sparse; pack it without"
    suffix = suffix_of(name)
    if member.extension.lower() == "json":
        member.kind, member.metadata = "metadata", _parse(member, file)
    elif suffix in IMAGE_SUFFIXES or (
        suffix not in OTHER_SUFFIXES and is_image_content(_read(member, file, HEAD_BYTES))
    ):
        member.kind = "image"
    return member


def _parse(member: Member, file: IO[bytes]) -> Metadata | None:
    return parse_known(_read(member, file, member.size)) if member.size <= MAX_METADATA_BYTES else None


def _read(member: Member, file: IO[bytes], num_bytes: int) -> bytes:
    if member.problem is not None:
        return b""
    file.seek(member.offset)
    return file.read(min(num_bytes, member.size))


def _within(member: Member, num_bytes: int) -> Member:
    """Return a member with its problem if the shard of `num_bytes` ends before it does."""
    is_cut = member.problem is None and member.offset + member.size > num_bytes
    return replace(member, problem="the shard ends within it") if is_cut else member


def _follow(member: Member, members: dict[str, Member]) -> Member:
    """Return what a symbolic link stands for when all is unpacked, under its own name; any other member as it is."""
    target: Member | None = member
    for _ in range(MAX_LINKS):
        if target is None or target.kind != "link":
            break
        target = members.get(normpath(join(dirname(target.name), target.link)))
    if target is None or target.kind in {"link", "nowhere"}:
        return _to_nowhere(member.name, problem=f"a link to {member.link!r}, which is no file of the shard")
    return replace(target, name=member.name)


def _group(members: Iterable[Member], left_out: Tally) -> list[Sample]:
    """Return the samples with an image, and count whatever is in none."""
    samples: dict[str, Sample] = {}
    for member in members:
        if member.kind == "image":
            samples.setdefault(member.key, Sample(member.key)).images.append(member)
        elif member.kind == "metadata":
            samples.setdefault(member.key, Sample(member.key)).metadata.append(member)
        elif member.kind == "nowhere":
            left_out.add(Reason.NOWHERE, member.name)
        else:
            left_out.add_other(member.name, suffix=suffix_of(member.name))
    for sample in samples.values():
        _count_unused(sample, left_out)
    return [sample for sample in samples.values() if sample.images]


def _count_unused(sample: Sample, left_out: Tally) -> None:
    for position, member in enumerate(sample.metadata):
        if position or not sample.images:
            left_out.add_other(member.name, suffix=".json")
        elif member.metadata is None:
            left_out.add(Reason.METADATA, member.name)
