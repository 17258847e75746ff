"""A folder of images that this machine can read, in one of the two layouts. Reads names and metadata, no images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ictc.dataset.catalog.collection import Collection
from ictc.dataset.catalog.listing import Listing, is_image_name, list_folder, list_tree
from ictc.dataset.catalog.metadata import METADATA_NAMES, Metadata, load_metadata
from ictc.dataset.catalog.naming import Frames, file_record, iter_observation, make_record, readable
from ictc.errors import InputError
from ictc.records import ImageRecord


class LocalTree(Collection):
    """The images below a folder."""

    def iter_records(self, indices: range, frames: Frames) -> Iterator[tuple[int, ImageRecord]]:
        folder = Path(self.location)
        for index in indices:
            unit = self.units[index]
            records = iter([file_record(unit)]) if self.layout == "flat" else _iter_folder(folder, unit, frames)
            for record in records:
                yield index, with_local_size(record, folder)


def _iter_folder(ads_dir: Path, unit: str, frames: Frames) -> Iterator[ImageRecord]:
    try:
        images = list_tree(ads_dir / unit).images
    except OSError as error:
        # A link to nowhere among the folders may still be an image; decoding it says what is wrong.
        is_file = isinstance(error, FileNotFoundError | NotADirectoryError) and is_image_name(unit)
        cause = f"folder cannot be read: {error.strerror}"
        yield file_record(unit) if is_file else make_record(unit, unit, Metadata(), problem=cause)
    else:
        yield from iter_observation(unit, images, load_metadata(ads_dir / unit), frames)


def with_local_size(image: ImageRecord, folder: Path) -> ImageRecord:
    """Return the record with the size of its file, by which a replaced image is noticed."""
    if image.problem is not None:
        return image
    try:
        return replace(image, num_bytes=(folder / image.path).stat().st_size)
    except OSError:
        return image  # decoding will say what is wrong


def has_metadata(folder: Path) -> bool:
    """Whether a folder is an observation's."""
    try:
        return any((folder / name).is_file() for name in METADATA_NAMES)
    except OSError:
        return False


def list_local(folder: Path, *, deep: bool) -> Listing:
    """List what lies right below a folder or, if `deep`, at any depth.

    Raises:
        InputError: it is missing or unreadable.
    """
    try:
        return list_tree(folder) if deep else list_folder(folder)
    except FileNotFoundError as error:
        raise InputError(f"{readable(error.filename)} does not exist; give --ads_dir the folder of images.") from None
    except NotADirectoryError:
        raise InputError(f"{readable(folder)} is not a folder; give --ads_dir the folder that holds it.") from None
    except OSError as error:
        raise InputError(
            f"{readable(error.filename)} cannot be read ({error.strerror}); change its permissions or move it away."
        ) from None
