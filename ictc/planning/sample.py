"""What a collection is like, from a sample of it: image tokens from the headers, what is unreadable, exact copies.

Knows files and their headers; decodes no pixels, so that a file that is damaged further in is not noticed here.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from ictc.dataset.decoding.fit import fit_to_tokens
from ictc.dataset.fetching.files import ImageFile, ImageFiles
from ictc.planning.copies import Copies, ListImages, estimate_copies
from ictc.records import IMAGE_TOKEN_SIDE_PX, ImageRecord


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was found in some images of a collection.

    Attributes:
        num_images: in the whole part of the collection that is planned for.
        num_looked_at: images whose headers were read.
        readable: those that can be read.
        sizes: their widths and heights in pixels.
        copies: how many are exact copies of others, which is looked for in the whole part.
    """

    num_images: int
    num_looked_at: int
    readable: tuple[ImageRecord, ...]
    sizes: tuple[tuple[int, int], ...]
    copies: Copies = field(default_factory=Copies)

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
        return round(self.num_usable * self.copies.distinct_share)

    def image_tokens(self, max_image_tokens: int) -> list[int]:
        """Return what each readable image costs under a budget, in ascending order."""
        fits = (fit_to_tokens(width, height, max_image_tokens=max_image_tokens) for width, height in self.sizes)
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
        compare: whether to look for exact copies, which lists all images and reads of some of equal size.

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
    return Sample(
        num_images=num_images if max_images is None else min(num_images, max_images),
        num_looked_at=len(looked_at),
        readable=tuple(record for record, _ in sizes),
        sizes=tuple(size for _, size in sizes),
        copies=await estimate_copies(list_images, files, units, seed=seed) if compare else Copies(),
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


async def read_size(files: ImageFiles, record: ImageRecord) -> tuple[int, int] | None:
    """Return the width and height that an image's header tells, None if it can't be read."""
    if record.problem is not None:
        return None
    async with files.open(record) as file:
        return _read_header(file.path) if isinstance(file, ImageFile) else None


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
