"""What a collection is like, from a sample of it: image tokens from the headers, what is unreadable, exact copies.

Knows files and their headers; decodes no pixels, so that a file that is damaged further in is not noticed here.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from random import Random

from ictc.dataset.decoding.fit import fit_to_tokens
from ictc.dataset.fetching.files import ImageFiles
from ictc.records import IMAGE_TOKEN_SIDE_PX, BrokenImage, ImageRecord, Source

MAX_COMPARED = 200_000
"""Units whose files the sample is compared with; in a larger collection, so many of them, drawn at random."""
HEAD_BYTES = 64 * 1024

ListImages = Callable[[range], Iterable[ImageRecord]]
"""From a range of units to the records of their images, with the sizes of their files."""


@dataclass(frozen=True)
class Sample:
    """What was found in some images of a collection.

    Attributes:
        num_images: in the whole part of the collection that is planned for.
        num_looked_at: images whose headers were read.
        readable: those that can be read.
        sizes: their widths and heights in pixels.
        distinct_share: estimated share of the images that is left when each copy is counted once, in (0, 1].
        num_compared: how many images the sample was compared with, 0 if copies were not looked for.
    """

    num_images: int
    num_looked_at: int
    readable: tuple[ImageRecord, ...]
    sizes: tuple[tuple[int, int], ...]
    distinct_share: float
    num_compared: int

    @property
    def num_unreadable(self) -> int:
        return self.num_looked_at - len(self.sizes)

    @property
    def num_usable(self) -> int:
        """Images of the collection that will be captioned, as far as the sample tells."""
        return round(self.num_images * len(self.sizes) / max(self.num_looked_at, 1))

    @property
    def num_distinct(self) -> int:
        """Usable images without their exact copies."""
        return round(self.num_usable * self.distinct_share)

    def image_tokens(self, max_image_tokens: int) -> list[int]:
        """Return what each readable image costs under a budget, in ascending order."""
        fits = (fit_to_tokens(width, height, max_image_tokens) for width, height in self.sizes)
        return sorted(fit.width * fit.height // IMAGE_TOKEN_SIDE_PX**2 for fit in fits)

    def mean_image_tokens(self, max_image_tokens: int) -> float:
        """Return the average cost of an image under a budget."""
        tokens = self.image_tokens(max_image_tokens)
        return sum(tokens) / max(len(tokens), 1)


async def draw_sample(
    list_images: ListImages,
    files: ImageFiles,
    units: range,
    num_sampled: int,
    *,
    max_images: int | None = None,
    compare: bool = True,
    seed: int = 0,
) -> Sample:
    """Look at about `num_sampled` images of a collection, drawn at random.

    Args:
        files: where the bytes of the images are.
        units: the part of the collection that is planned for.
        max_images: the most that will be used of it.
        compare: whether to look for exact copies, which reads the files of equal size.

    Raises:
        InputError: two images have the same id.
    """
    if max_images is not None:
        units = units[:max_images]  # a unit has an image or more
    random = Random(seed)
    looked_at, num_units = _draw_images(list_images, random, units, num_sampled)
    num_images = round(len(units) * len(looked_at) / max(num_units, 1))
    looked_at = looked_at[:num_sampled]
    sizes = [(record, size) for record in looked_at if (size := await read_size(files, record))]
    compared = _list_units(list_images, _draw(random, units, MAX_COMPARED) if compare else range(0))
    groups, num_compared = _group_by_size(compared)
    return Sample(
        num_images=num_images if max_images is None else min(num_images, max_images),
        num_looked_at=len(looked_at),
        readable=tuple(record for record, _ in sizes),
        sizes=tuple(size for _, size in sizes),
        distinct_share=await Comparison(files, groups).distinct_share([record for record, _ in sizes]),
        num_compared=num_compared,
    )


def _draw_images(
    list_images: ListImages, random: Random, units: range, num_sampled: int
) -> tuple[list[ImageRecord], int]:
    """Return images of whole units, at least as many as asked for if there are, and of how many units they are."""
    records: list[ImageRecord] = []
    drawn = random.sample(units, min(num_sampled, len(units)))
    for num_units, unit in enumerate(drawn):
        if len(records) >= num_sampled:
            return records, num_units
        records += list_images(range(unit, unit + 1))
    return records, len(drawn)


def _draw(random: Random, units: range, count: int) -> range | list[int]:
    return units if count >= len(units) else sorted(random.sample(units, count))


def _list_units(list_images: ListImages, units: range | list[int]) -> Iterator[ImageRecord]:
    if isinstance(units, range):
        return iter(list_images(units))
    return chain.from_iterable(list_images(range(unit, unit + 1)) for unit in units)


def _group_by_size(records: Iterable[ImageRecord]) -> tuple[Mapping[int, list[ImageRecord]], int]:
    """Return the images by the size of their files, and how many there are."""
    groups: dict[int, list[ImageRecord]] = defaultdict(list)
    for record in records:
        if record.problem is None and record.num_bytes:
            groups[record.num_bytes].append(record)
    return groups, sum(map(len, groups.values()))


async def read_size(files: ImageFiles, record: ImageRecord) -> tuple[int, int] | None:
    """Return the width and height that an image's header tells, None if it can't be read."""
    if record.problem is not None:
        return None
    async with files.open(record) as file:
        return None if isinstance(file, BrokenImage) else _read_header(file.path)


def _read_header(path: Path) -> tuple[int, int] | None:
    from PIL import Image

    from ictc.dataset.decoding.decode import FORMATS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return image.size
    except Exception:  # as in decoding: no file is an error of ours
        return None


class Comparison:
    """Finds exact copies; only files of equal size are read, and whole only if they begin alike."""

    def __init__(self, files: ImageFiles, groups: Mapping[int, Sequence[ImageRecord]]) -> None:
        """Compare with the images in `groups`, which has them by the size of their files in bytes."""
        self._files = files
        self._groups = groups
        self._digests: dict[tuple[str, bool], str] = {}

    async def distinct_share(self, sample: Sequence[ImageRecord]) -> float:
        """Return the share of distinct files among all, from the copies that those in `sample` have.

        An image of which there are m copies stands for 1/m distinct images, so the mean of 1/m over a random sample
        estimates the share without bias.
        """
        shares = [1 / await self._count_copies(record) for record in sample]
        return sum(shares) / len(shares) if shares else 1.0

    async def _count_copies(self, record: ImageRecord) -> int:
        """Return how many files have the same bytes, the image's own among them."""
        alike = self._groups.get(record.num_bytes, ())
        for whole in (False, True):
            if len(alike) < 2:
                return 1
            digest = await self._digest(record, whole=whole)
            alike = [other for other in alike if await self._digest(other, whole=whole) == digest]
        return max(len(alike), 1)

    async def _digest(self, record: ImageRecord, *, whole: bool) -> str:
        key = (record.path, whole)
        if key not in self._digests:
            async with self._files.open(record) as file:
                digest = None if isinstance(file, BrokenImage) else (_digest_all if whole else _digest_head)(file.path)
            self._digests[key] = record.path if digest is None else digest  # unreadable: like no other
        return self._digests[key]


def _digest_head(path: Path) -> str | None:
    with suppress(OSError), path.open("rb") as file:
        return blake2b(file.read(HEAD_BYTES)).hexdigest()
    return None


def _digest_all(path: Path) -> str | None:
    from ictc.dataset.decoding.source import find_source

    source = find_source(path, look=False)
    return source.digest if isinstance(source, Source) else None
