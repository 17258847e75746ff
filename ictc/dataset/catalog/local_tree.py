"""A folder of images that this machine can read, in one of the two layouts. Reads names and metadata, no images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ictc.dataset.catalog.collection import Collection
from ictc.dataset.catalog.listing import LASTING, Listing, is_image_name, list_folder, list_tree
from ictc.dataset.catalog.metadata import METADATA_NAMES, load_metadata, read_metadata, tells_observation
from ictc.dataset.catalog.naming import (
    Frames,
    file_record,
    find_ambiguous,
    iter_observation,
    readable,
    short_name,
    unreadable_folder,
)
from ictc.dataset.catalog.tally import Reason, Tally
from ictc.errors import InputError
from ictc.records import ImageRecord


class LocalTree(Collection):
    """The images below a folder."""

    @cached_property
    def _ambiguous(self) -> set[str]:
        return find_ambiguous(self.units, short_name)

    def iter_records(self, indices: range, frames: Frames, left_out: Tally) -> Iterator[tuple[int, ImageRecord]]:
        folder = Path(self.location)
        for index in indices:
            unit = self.units[index]
            is_image = self.layout == "flat"
            records = iter([self._image(unit)]) if is_image else self._iter_folder(folder, unit, frames, left_out)
            for record in records:
                yield index, with_local_size(record, str(folder))

    def _image(self, unit: str) -> ImageRecord:
        return file_record(unit, self._ambiguous)

    def _iter_folder(self, ads_dir: Path, unit: str, frames: Frames, left_out: Tally) -> Iterator[ImageRecord]:
        try:
            listing = _list_observation(ads_dir, unit, left_out)
            names = [name for name in METADATA_NAMES if name in listing.apart]
            metadata = load_metadata(ads_dir / unit, names, unit, left_out)
        except NotADirectoryError:  # a plain image among the folders
            yield self._image(unit)
        except OSError as error:
            if error.errno not in LASTING:
                raise _not_listed(error) from None
            # A link to nowhere among the folders may still be an image; decoding it says what is wrong.
            is_image = isinstance(error, FileNotFoundError) and is_image_name(unit)
            yield self._image(unit) if is_image else unreadable_folder(unit, cause=str(error.strerror))
        else:
            yield from iter_observation(unit, listing.images, metadata, frames, left_out)


def _list_observation(ads_dir: Path, unit: str, left_out: Tally) -> Listing:
    listing = list_tree(ads_dir / unit, Listing(left_out=left_out, place=f"{unit}/", others=METADATA_NAMES), (ads_dir,))
    for path in listing.tars:
        listing.leave_out(Reason.TARS, path)
    return listing


def with_local_size(image: ImageRecord, folder: str) -> ImageRecord:
    """Return the record with the size of its file, by which a replaced image is noticed."""
    if image.problem is not None:
        return image
    try:
        return replace(image, num_bytes=os.stat(os.path.join(folder, image.path)).st_size)  # noqa: PTH116, PTH118 - millions
    except (OSError, ValueError):  # ValueError: no file can have such a name
        return image  # decoding will say what is wrong


def is_observation(folder: Path) -> bool:
    """Whether a folder is an observation's, by its metadata."""
    try:
        return any(tells_observation(name, read_metadata(folder / name)) for name in METADATA_NAMES)
    except OSError as error:
        if error.errno not in LASTING:
            raise _not_listed(error) from None
        return False


def list_local(folder: Path, *, deep: bool) -> Listing:
    """List what lies right below a folder or, if `deep`, at any depth.

    Raises:
        InputError: it is missing or unreadable, or the disk fails.
    """
    try:
        return list_tree(folder) if deep else list_folder(folder)
    except FileNotFoundError as error:
        raise InputError(f"{readable(error.filename)} does not exist; give --ads_dir the folder of images.") from None
    except NotADirectoryError:
        raise InputError(f"{readable(folder)} is not a folder; give --ads_dir the folder that holds it.") from None
    except OSError as error:
        raise _not_listed(error) from None


def _not_listed(error: OSError) -> InputError:
    is_forbidden = isinstance(error, PermissionError)
    remedy = "change its permissions or move it away" if is_forbidden else "run the command again once it can be"
    return InputError(f"{readable(error.filename)} cannot be read ({error.strerror}); {remedy}.")
