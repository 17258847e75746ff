"""Images inside tar shards as WebDataset writes them: `000123.jpg` with `000123.json` beside it.

A unit is a shard: names are cheap to list, and its index of members (offset and size) is read once, when its images
go into the manifest. Nothing is unpacked: an image is a span of bytes, and no member's name is ever used as a path.
"""

from __future__ import annotations

import re
import tarfile
from abc import abstractmethod
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import IO

from ictc.dataset.catalog.collection import Collection
from ictc.dataset.catalog.listing import is_image_name
from ictc.dataset.catalog.metadata import MAX_METADATA_BYTES, Metadata, load_json_object, parse_metadata
from ictc.dataset.catalog.naming import Frames, make_record
from ictc.dataset.fetching.locations import TAR_SUFFIX
from ictc.dataset.fetching.remote import RemoteFolder, describe
from ictc.errors import InputError
from ictc.records import ImageRecord

SHARDS_AT_A_TIME = 8
"""Of a remote collection, read side by side while indexing."""

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_SPECIAL = re.compile(r"[*?\[{]")


class TarCollection(Collection):
    """Tar shards below a folder or URL."""

    def __init__(self, location: str, units: tuple[str, ...]) -> None:
        super().__init__(location, "tar", units)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the names and sizes of the shards: offsets into a replaced one would be wrong."""
        digest = sha256()
        for unit in self.units:
            digest.update(f"{unit}\0{self.size_of(unit)}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @abstractmethod
    def size_of(self, unit: str) -> int:
        """Return the size of a shard in bytes."""

    @abstractmethod
    def open(self, unit: str) -> AbstractContextManager[IO[bytes]]:
        """Open a shard."""

    def iter_records(self, indices: range, frames: Frames) -> Iterator[tuple[int, ImageRecord]]:
        for index in indices:
            for record in self.index_shard(self.units[index]):
                yield index, record

    def index_shard(self, unit: str) -> list[ImageRecord]:
        """Return the images of a shard; one that is damaged has a record with its problem, after what it held."""
        samples: dict[str, _Sample] = {}
        problems = []
        try:
            with self.open(unit) as file:
                _read_samples(file, samples)
        except Exception as error:  # each service has its own
            problems = [make_record(unit, unit, Metadata(), f"shard cannot be read: {describe(error)}")]
        records = [sample.to_record(unit) for sample in samples.values() if sample.image is not None]
        if not records and not problems:
            problems = [make_record(unit, unit, Metadata(), "shard holds no image")]
        return records + problems


class LocalTars(TarCollection):
    """Tar shards that this machine can read."""

    def size_of(self, unit: str) -> int:
        return (Path(self.location) / unit).stat().st_size

    def open(self, unit: str) -> AbstractContextManager[IO[bytes]]:
        return (Path(self.location) / unit).open("rb")


class RemoteTars(TarCollection):
    """Tar shards below a URL, several of them indexed at a time.

    Args:
        sizes: of the shards, by path.
    """

    def __init__(self, folder: RemoteFolder, units: tuple[str, ...], sizes: Mapping[str, int]) -> None:
        super().__init__(folder.url, units)
        self._folder = folder
        self._sizes = sizes

    def size_of(self, unit: str) -> int:
        return self._sizes[unit]

    def open(self, unit: str) -> AbstractContextManager[IO[bytes]]:
        return self._folder.open(unit)

    def iter_records(self, indices: range, frames: Frames) -> Iterator[tuple[int, ImageRecord]]:
        with ThreadPoolExecutor(SHARDS_AT_A_TIME) as executor:
            for start in range(0, len(indices), SHARDS_AT_A_TIME):
                batch = indices[start : start + SHARDS_AT_A_TIME]
                shards = executor.map(self.index_shard, (self.units[index] for index in batch))
                for index, records in zip(batch, shards, strict=True):
                    yield from ((index, record) for record in records)


@dataclass(slots=True)
class _Sample:
    """The members of a shard that share a key."""

    key: str
    image: tarfile.TarInfo | None = None
    metadata: Metadata = field(default_factory=Metadata)

    def to_record(self, unit: str) -> ImageRecord:
        assert self.image is not None
        record = make_record(self.metadata.observation_id or self.key, f"{unit}/{self.image.name}", self.metadata)
        return replace(record, num_bytes=self.image.size, offset=self.image.offset_data)


def _read_samples(file: IO[bytes], samples: dict[str, _Sample]) -> None:
    """Add to `samples` what a shard holds, by key: the path up to the first dot of its last part."""
    with tarfile.open(fileobj=file, mode="r:") as shard:
        end = 0
        for member in shard:
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            folder, slash, name = member.name.removeprefix("./").rpartition("/")
            stem, _, extension = name.partition(".")
            if not (member.isreg() and stem):
                continue
            key = f"{folder}{slash}{stem}"
            sample = samples.setdefault(key, _Sample(key))
            if sample.image is None and is_image_name(name):
                sample.image = member
            elif extension == "json" and member.size <= MAX_METADATA_BYTES:
                content = shard.extractfile(member)
                data = load_json_object(content.read()) if content else None
                sample.metadata = parse_metadata(data) if data else Metadata()
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes half a header for the end
            raise tarfile.ReadError("its end is missing")


def is_pattern(location: str) -> bool:
    """Whether a location names tar shards rather than the folder that they lie in."""
    return location.endswith(TAR_SUFFIX)


def split_pattern(pattern: str) -> tuple[str, list[str]]:
    """Return the folder of a pattern, and the names below it that it stands for; these may hold `*`, `?` and `[…]`."""
    parts = pattern.split("/")
    fixed = next((n for n, part in enumerate(parts) if _SPECIAL.search(part)), len(parts) - 1)
    return "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else "."), expand_ranges("/".join(parts[fixed:]))


def expand_ranges(pattern: str) -> list[str]:
    """Return the names that a pattern with ranges stands for: `{08..10}` is 08, 09, 10."""
    literals = _RANGE.split(pattern)
    ranges = [_expand_range(*bounds) for bounds in zip(literals[1::3], literals[2::3], strict=True)]
    return ["".join(_interleave(literals[::3], numbers)) for numbers in product(*ranges)]


def _expand_range(first: str, last: str) -> list[str]:
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]


def _interleave(literals: Sequence[str], numbers: Sequence[str]) -> Iterator[str]:
    yield literals[0]
    for number, literal in zip(numbers, literals[1:], strict=True):
        yield number
        yield literal


def match_names(pattern: str, names: Iterable[str], found: Iterable[str]) -> tuple[str, ...]:
    """Return which of the shards found are meant, in sorted order.

    Raises:
        InputError: one that is named is missing, or there are none.
    """
    there = dict.fromkeys(sorted(found))
    matched: set[str] = set()
    for name in names:
        matching = [one for one in there if fnmatchcase(one, name)] if _SPECIAL.search(name) else _exactly(name, there)
        matched.update(matching)
    if not matched:
        raise InputError(f"{pattern} matches no tar shard; check the pattern given to --ads_dir.")
    return tuple(sorted(matched))


def _exactly(name: str, found: Container[str]) -> list[str]:
    if name not in found:
        raise InputError(f"shard {name} does not exist; check the pattern given to --ads_dir.")
    return [name]
