"""The images that a plan is about, wherever they are: what its sample is drawn and copied from.

Joins the settings, the listing of a collection and access to its files; `sample` looks at what is in them.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ictc.config import InputSettings
from ictc.dataset.catalog.discover import Collection, iter_images, list_collection
from ictc.dataset.fetching.files import ImageFile, ImageFiles
from ictc.dataset.fetching.locations import is_url
from ictc.planning.sample import Sample, draw_sample
from ictc.records import ImageRecord

MAX_SUFFIX_CHARS = 12


@dataclass(frozen=True)
class ImageSource:
    """A collection of images and access to their files."""

    chosen: InputSettings
    collection: Collection
    files: ImageFiles

    @property
    def has_own_files(self) -> bool:
        """Whether each image is a file of this machine."""
        locations = (self.collection.location, *self.collection.units)
        return self.collection.layout != "tar" and not any(map(is_url, locations))

    @property
    def left_out(self) -> str:
        """What lies beside the images, for people, as Step 0 tells it; "" if nothing does."""
        return self.collection.left_out.describe()

    def list_images(self, units: range) -> Iterator[ImageRecord]:
        """Yield the images of a range of units."""
        return iter_images(self.collection, start=units.start, end=units.stop, frames=self.chosen.frames)

    async def look(self, *, start: int, end: int | None, num_sampled: int, seed: int) -> Sample:
        """Return what a sample of the units from `start` to `end` is like.

        Raises:
            InputError: two images have the same id.
        """
        return await draw_sample(
            self.list_images,
            self.files,
            range(len(self.collection))[start:end],
            num_sampled,
            max_images=self.chosen.max_images,
            compare=self.has_own_files,  # elsewhere, looking for copies would fetch many files
            seed=seed,
        )

    async def copy(self, images: Sequence[ImageRecord], folder: Path) -> None:
        """Copy the files of the images into a new folder, under new names."""
        await asyncio.to_thread(folder.mkdir)
        for number, image in enumerate(images):
            async with self.files.open(image) as file:
                if isinstance(file, ImageFile):
                    suffix = Path(image.path).suffix
                    if len(suffix) > MAX_SUFFIX_CHARS:  # all that follows a dot in a title, or an address's query
                        suffix = ""
                    shutil.copyfile(file.path, folder / f"{number:06d}{suffix}")


def list_source(chosen: InputSettings, files: ImageFiles) -> ImageSource:
    """List the images that the settings name.

    Raises:
        InputError: there are none.
        ConfigError: a package is missing, or no such place can be read.
    """
    return ImageSource(
        chosen,
        list_collection(chosen.ads_dir, layout=chosen.layout, images=chosen.images, allowed=chosen.allowed_schemes),
        files,
    )
