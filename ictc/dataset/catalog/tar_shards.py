"""Images inside tar shards as WebDataset writes them: `000123.jpg` with `000123.json` beside it.

A unit is a shard: names are cheap to list, and its index of members (offset and size) is read once, when its images
go into the manifest.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import IO

from ictc.dataset.catalog.collection import Collection
from ictc.dataset.catalog.listing import LASTING
from ictc.dataset.catalog.metadata import Metadata
from ictc.dataset.catalog.naming import Frames, find_ambiguous, make_record, readable, short_name
from ictc.dataset.catalog.tally import Reason, Tally
from ictc.dataset.catalog.tar_index import FIRST_BYTES, Member, Sample, Shard, find_first_key, read_shard
from ictc.dataset.fetching.locations import TAR_SUFFIX, is_url, join, shard_of
from ictc.dataset.fetching.remote import RemoteFolder, describe
from ictc.errors import InputError
from ictc.records import ImageRecord

SHARDS_AT_A_TIME = 8
"""Of a remote collection, read side by side while indexing."""

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_SPECIAL = re.compile(r"[*?\[{]")


class TarCollection(Collection):
    """Tar shards below a folder or URL."""

    def __init__(self, location: str, units: tuple[str, ...], left_out: Tally | None = None) -> None:
        super().__init__(location, "tar", units, left_out)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the names and sizes of the shards: offsets into a replaced one would be wrong."""
        digest = sha256()
        for unit in self.units:
            digest.update(f"{unit}\0{self.size_of(unit)}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @cached_property
    def repeats_keys(self) -> bool:
        """Whether the shards count their keys anew, as the first ones tell: each key needs its shard beside it.

        All shards are asked, whichever part of them a run is about: an image has one id in all parts.
        """
        firsts = [key for key in map(find_first_key, self.read_heads()) if key is not None]
        return len(set(firsts)) < len(firsts)

    @abstractmethod
    def size_of(self, unit: str) -> int:
        """Return the size of a shard in bytes."""

    @abstractmethod
    def open(self, unit: str) -> AbstractContextManager[IO[bytes]]:
        """Open a shard."""

    @abstractmethod
    def read_heads(self) -> Iterator[bytes]:
        """Yield the first bytes of each shard."""

    @abstractmethod
    def is_lasting(self, error: Exception) -> bool:
        """Whether an error is about one shard, and not about access to all of them."""

    def iter_records(self, indices: range, frames: Frames, left_out: Tally) -> Iterator[tuple[int, ImageRecord]]:
        for index, shard in self._iter_shards(indices):
            unit = self.units[index]
            left_out.update(shard.left_out, f"{unit}/")
            for record in self._make_records(unit, shard, frames, left_out):
                yield index, record

    def with_own_id(self, index: int, image: ImageRecord) -> ImageRecord:
        """Return the image by its shard's name and its own: nobody can rename it."""
        return replace(image, image_id=short_name(image.path))

    def _iter_shards(self, indices: range) -> Iterator[tuple[int, Shard]]:
        for index in indices:
            yield index, self.index_shard(self.units[index])

    def index_shard(self, unit: str) -> Shard:
        """Return what a shard holds, as far as it is whole.

        Raises:
            InputError: it cannot be read.
        """
        if shard_of(f"{unit}/") != unit:
            return Shard(
                [], Tally(), "cannot be read: its path names another shard; rename the folder that ends in .tar"
            )
        try:
            with self.open(unit) as file:
                return read_shard(file)
        except Exception as error:  # each service has its own
            if self.is_lasting(error):
                return Shard([], Tally(), f"cannot be read: {describe(error)}")
            place = join(self.location, unit)
            raise InputError(f"{place} cannot be read ({describe(error)}); run the command again.") from None

    def _make_records(self, unit: str, shard: Shard, frames: Frames, left_out: Tally) -> Iterator[ImageRecord]:
        prefix = f"{readable(unit)}/" if self.repeats_keys else ""
        for sample in shard.samples:
            yield from _iter_sample(sample, unit=unit, prefix=prefix, frames=frames, left_out=left_out)
        if shard.problem is not None:
            yield make_record(unit, path=unit, metadata=Metadata(), problem=f"shard {shard.problem}")
        elif not shard.samples:
            yield make_record(unit, path=unit, metadata=Metadata(), problem="shard holds no image")


def _iter_sample(sample: Sample, *, unit: str, prefix: str, frames: Frames, left_out: Tally) -> Iterator[ImageRecord]:
    """Yield the records of the images of a key; `prefix` tells its keys from those of other shards."""
    metadata = sample.metadata[0].metadata if sample.metadata else None
    known = metadata or Metadata()
    image_id = known.observation_id or prefix + sample.key
    images = sample.images[:1] if frames == "first" else sample.images
    for further in sample.images[len(images) :]:
        left_out.add(Reason.FRAMES, f"{unit}/{further.name}")
    ambiguous = find_ambiguous([member.name for member in images], short_name)
    for member in images:
        name = short_name(member.name)
        own = (member.name if name in ambiguous else name).removeprefix(sample.key) if len(images) > 1 else ""
        yield _to_record(image_id + own, unit=unit, member=member, metadata=known)


def _to_record(image_id: str, *, unit: str, member: Member, metadata: Metadata) -> ImageRecord:
    # A member is found by its offset, so its name may be of any bytes; its shard's may not.
    record = make_record(
        readable(image_id), path=f"{unit}/{readable(member.name)}", metadata=metadata, problem=member.problem
    )
    return replace(record, num_bytes=member.size, offset=member.offset)


class LocalTars(TarCollection):
    """Tar shards that this machine can read."""

    def size_of(self, unit: str) -> int:
        try:
            return (Path(self.location) / unit).stat().st_size
        except FileNotFoundError:  # it went since it was listed, as indexing it says
            return 0

    def open(self, unit: str) -> AbstractContextManager[IO[bytes]]:
        return (Path(self.location) / unit).open("rb")

    def read_heads(self) -> Iterator[bytes]:
        for unit in self.units:
            with suppress(OSError), self.open(unit) as file:  # indexing it says what is wrong
                yield file.read(FIRST_BYTES)

    def is_lasting(self, error: Exception) -> bool:
        return isinstance(error, OSError) and error.errno in LASTING


class RemoteTars(TarCollection):
    """Tar shards below a URL, several of them indexed at a time.

    Args:
        sizes: of the shards, by path.
    """

    def __init__(
        self, folder: RemoteFolder, units: tuple[str, ...], sizes: Mapping[str, int], left_out: Tally | None = None
    ) -> None:
        super().__init__(folder.url, units, left_out)
        self._folder = folder
        self._sizes = sizes
        self.object_versions = folder.versions

    def size_of(self, unit: str) -> int:
        return self._sizes[unit]

    def open(self, unit: str) -> AbstractContextManager[IO[bytes]]:
        return self._folder.open(unit)

    def read_heads(self) -> Iterator[bytes]:
        filled = [unit for unit in self.units if self._sizes[unit]]
        return (head for _, head in self._folder.read_heads(filled, FIRST_BYTES) if head is not None)

    def is_lasting(self, error: Exception) -> bool:
        return isinstance(error, FileNotFoundError)

    def _iter_shards(self, indices: range) -> Iterator[tuple[int, Shard]]:
        with ThreadPoolExecutor(SHARDS_AT_A_TIME) as executor:
            for start in range(0, len(indices), SHARDS_AT_A_TIME):
                batch = indices[start : start + SHARDS_AT_A_TIME]
                shards = executor.map(self.index_shard, (self.units[index] for index in batch))
                yield from zip(batch, shards, strict=True)


def is_pattern(location: str) -> bool:
    """Whether a location names tar shards rather than the folder that they lie in."""
    return location.lower().endswith(TAR_SUFFIX) and (is_url(location) or not Path(location).is_dir())


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
    whole = pattern.removeprefix(split_pattern(pattern)[0]).lstrip("/")
    matched: set[str] = set()
    for name in [whole] if whole in there else names:  # its brackets and stars may be but letters
        matched.update(_match(name, there))
    if not matched:
        raise InputError(f"{pattern} matches no tar shard; check the pattern given to --ads_dir.")
    return tuple(sorted(matched))


def _match(name: str, found: Mapping[str, None]) -> list[str]:
    if name in found:
        return [name]
    if _SPECIAL.search(name):
        return [one for one in found if fnmatchcase(one, name)]
    raise InputError(
        f"shard {name} does not exist; check the pattern given to --ads_dir, and end a folder's address in a slash."
    )
