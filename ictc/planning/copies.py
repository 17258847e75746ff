"""How many images are exact copies of others, estimated without reading more than a part of the files.

Copies have equal sizes, which a listing knows. So all images of some sizes are looked at, chosen by a hash of the size:
copies come into the sample together, and the distinct files among them are to its files as in the whole collection,
whatever its size. Where many files share one size, the same is done with a few bytes of each in the place of the size.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from math import sqrt
from pathlib import Path

from ictc.dataset.fetching.files import ImageFile, ImageFiles
from ictc.records import ImageRecord

ListImages = Callable[[range], Iterable[ImageRecord]]
"""From a range of units to the records of their images, with the sizes of their files."""

MAX_READ = 20_000
"""About so many files are looked into, of those with many of their size as many again."""

MANY_OF_A_SIZE = 1000
KEY_BYTES = 512
WHOLE_BYTES = 32 * 1024
PIECE_BYTES = 8 * 1024
"""Of larger files than the former, three pieces of the latter tell one from another of equal size."""


@dataclass(frozen=True, kw_only=True)
class Copies:
    """What is known of the copies in a collection.

    Attributes:
        distinct_share: estimated share of the images that is left when each copy is counted once, in (0, 1].
        error: standard error of that, 0 if all that matters was looked at.
        num_compared: images whose sizes were compared.
    """

    distinct_share: float = 1.0
    error: float = 0.0
    num_compared: int = 0


@dataclass(frozen=True, kw_only=True)
class Part:
    """Images of which the distinct ones were counted or estimated."""

    num_images: int
    num_distinct: float
    variance: float = 0.0


async def estimate_copies(
    list_images: ListImages, files: ImageFiles, units: range, *, seed: int = 0, max_read: int = MAX_READ
) -> Copies:
    """Return how many of the images in `units` are distinct.

    Args:
        max_read: about how many files to look into, of those with many of their size as many again.
    """
    counts: Counter[int] = Counter()
    chosen: dict[int, list[ImageRecord]] = defaultdict(list)
    rate = max_read / max(len(units), 1)
    for record in iter_files(list_images, units):
        counts[record.num_bytes] += 1
        if counts[record.num_bytes] > MANY_OF_A_SIZE:
            chosen.pop(record.num_bytes, None)
        elif is_chosen(b"%d" % record.num_bytes, rate, seed):
            chosen[record.num_bytes].append(record)
    many = {size for size, count in counts.items() if count > MANY_OF_A_SIZE}
    few = {size: count for size, count in counts.items() if 1 < count <= MANY_OF_A_SIZE}
    num_single = sum(count == 1 for count in counts.values())
    groups = [(count, await count_distinct(files, chosen[size])) for size, count in few.items() if size in chosen]
    parts = [
        Part(num_images=num_single, num_distinct=num_single),
        extrapolate(groups, num_images=sum(few.values()), num_groups=len(few)),
    ]
    if many:
        records = (record for record in iter_files(list_images, units) if record.num_bytes in many)
        parts.append(await _estimate_many(files, records, max_read / sum(counts[size] for size in many), seed))
    return join_parts(parts)


async def _estimate_many(files: ImageFiles, records: Iterable[ImageRecord], rate: float, seed: int) -> Part:
    """Return the distinct ones among files with many of their size, of each of which a few bytes are read."""
    counts: Counter[bytes] = Counter()
    chosen: dict[bytes, list[ImageRecord]] = defaultdict(list)
    async for key, record in _iter_keys(files, records):
        counts[key] += 1
        if is_chosen(key, rate, seed):
            chosen[key].append(record)
    groups = [(len(alike), await count_distinct(files, alike)) for alike in chosen.values()]
    return extrapolate(groups, num_images=counts.total(), num_groups=len(counts))


async def _iter_keys(files: ImageFiles, records: Iterable[ImageRecord]) -> AsyncIterator[tuple[bytes, ImageRecord]]:
    for record in records:
        middle = await _read(files, record, lambda path, size: read_piece(path, start=size // 2, num_bytes=KEY_BYTES))
        yield b"%d " % record.num_bytes + middle, record


def iter_files(list_images: ListImages, units: range) -> Iterator[ImageRecord]:
    """Yield the images that have a file with something in it."""
    return (record for record in list_images(units) if record.problem is None and record.num_bytes)


def is_chosen(key: bytes, rate: float, seed: int) -> bool:
    """Whether a key is among the share `rate` of all keys that is looked at: the same for the same key."""
    digest = blake2b(key, digest_size=8, salt=b"%d" % (seed % 10**15)).digest()
    return int.from_bytes(digest, "big") < rate * 2**64


async def count_distinct(files: ImageFiles, alike: Iterable[ImageRecord]) -> int:
    """Return how many of the files, which are equal in size, are distinct; one that can't be read is like no other."""
    return len({await _read(files, record, read_digest) for record in alike})


async def _read(files: ImageFiles, record: ImageRecord, read: Callable[[Path, int], bytes]) -> bytes:
    async with files.open(record) as file:
        if isinstance(file, ImageFile):
            with suppress(OSError):
                return read(file.path, record.num_bytes)
    return b"unreadable " + record.path.encode(errors="surrogatepass")


def read_piece(path: Path, *, start: int, num_bytes: int) -> bytes:
    """Return some bytes of a file."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(num_bytes)


def read_digest(path: Path, size: int) -> bytes:
    """Return what tells a file from others of its size: a digest of all of it, or of its ends and its middle."""
    if size <= WHOLE_BYTES:
        return blake2b(path.read_bytes()).digest()
    starts = (0, (size - PIECE_BYTES) // 2, size - PIECE_BYTES)
    return blake2b(b"".join(read_piece(path, start=start, num_bytes=PIECE_BYTES) for start in starts)).digest()


def extrapolate(groups: list[tuple[int, int]], *, num_images: int, num_groups: int) -> Part:
    """Return how many of `num_images` in `num_groups` groups are distinct, from some groups drawn at random.

    The ratio estimator of cluster sampling (Cochran, Sampling Techniques, 1977, 6.11 and 9A.2).

    Args:
        groups: of each, its images and how many of them are distinct.
    """
    drawn, distinct = sum(size for size, _ in groups), sum(count for _, count in groups)
    if not drawn:
        return Part(num_images=num_images, num_distinct=num_images)
    ratio = distinct / drawn
    residuals = sum((count - ratio * size) ** 2 for size, count in groups)
    unseen = 1 - len(groups) / num_groups
    spread = unseen * len(groups) * residuals / max(len(groups) - 1, 1)
    return Part(num_images=num_images, num_distinct=ratio * num_images, variance=spread * (num_images / drawn) ** 2)


def join_parts(parts: Iterable[Part]) -> Copies:
    """Return what is known of all parts together."""
    parts = list(parts)
    num_images = sum(part.num_images for part in parts)
    if not num_images:
        return Copies()
    share = sum(part.num_distinct for part in parts) / num_images
    return Copies(
        distinct_share=share, error=sqrt(sum(part.variance for part in parts)) / num_images, num_compared=num_images
    )
