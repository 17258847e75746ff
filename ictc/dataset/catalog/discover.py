"""Step 0: find the images of a collection, wherever it lies.

First the names alone (`list_collection`), so that any slice of any size is known in seconds; then one
record for each image of a slice (`iter_images`). Decides what kind of collection it is; decodes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ictc.dataset.catalog.collection import Collection, GivenLayout, Layout, iter_images
from ictc.dataset.catalog.listing import IMAGE_SUFFIXES, Listing
from ictc.dataset.catalog.local_tree import LocalTree, has_metadata, list_local
from ictc.dataset.catalog.metadata import METADATA_NAMES
from ictc.dataset.catalog.naming import Frames, readable
from ictc.dataset.catalog.remote_tree import RemoteTree, summarize_tree
from ictc.dataset.catalog.table import list_table
from ictc.dataset.catalog.tar_shards import LocalTars, RemoteTars, TarCollection, is_pattern, match_names, split_pattern
from ictc.dataset.fetching.locations import is_url
from ictc.dataset.fetching.remote import RemoteFolder
from ictc.errors import ConfigError, InputError

__all__ = ["Collection", "Frames", "Layout", "iter_images", "list_collection"]

_NUM_PROBED_FOLDERS = 100
"""How many folders are searched for a metadata file to tell the layouts apart."""


def list_collection(
    ads_dir: Path | str | None, layout: GivenLayout | str = "auto", images: Path | str | None = None
) -> Collection:
    """List the units of a collection, reading names only.

    Args:
        ads_dir: a folder, a URL, or a pattern of tar shards; of a table, the folder that its paths start from.
        images: a table of images, to be listed instead of `ads_dir`.

    Raises:
        InputError: the folder is missing, unreadable, empty or without images.
        ConfigError: a package is missing, or no such place can be read.
    """
    if images is not None:
        return list_table(images, None if ads_dir is None else str(ads_dir))
    if ads_dir is None:
        raise ConfigError("neither --ads_dir nor --images says which images; give one of them")
    if is_pattern(str(ads_dir)):
        return _list_pattern(str(ads_dir))
    return _list_remote(str(ads_dir), layout) if is_url(ads_dir) else _list_local(Path(ads_dir), layout)


def _list_local(folder: Path, layout: str) -> Collection:
    top = list_local(folder, deep=False)
    found = _detect_layout(top, lambda name: has_metadata(folder / name)) if layout == "auto" else layout
    listing = top if found == "observations" else list_local(folder, deep=True)
    found = _prefer_tars(layout, found, listing)
    if found == "tar":
        return LocalTars(str(folder), _sorted_units(folder, found, top, listing))
    return LocalTree(str(folder), found, _sorted_units(folder, found, top, listing))


def _list_remote(url: str, layout: str) -> Collection:
    folder = RemoteFolder(url)
    sizes = folder.list_sizes()
    if not sizes:
        raise InputError(f"{url} is empty or does not exist; give --ads_dir the address of images.")
    tree = summarize_tree(sizes)
    names = [name for name in tree.images if "/" not in name]
    top = Listing(images=names, folders=tree.folders, tars=tree.tars, num_other_files=tree.num_other_files)
    detected = _detect_layout(top, lambda name: any(f"{name}/{other}" in sizes for other in METADATA_NAMES))
    found = _prefer_tars(layout, detected if layout == "auto" else layout, tree)
    units = _sorted_units(url, found, top, tree)
    if found == "tar":
        return RemoteTars(folder, units, sizes)
    return RemoteTree(folder, found, units, tree, sizes)


def _list_pattern(pattern: str) -> TarCollection:
    """List the tar shards that a pattern such as `shards-{000..099}.tar` names."""
    base, names = split_pattern(pattern)
    if is_url(base):
        folder = RemoteFolder(base)
        sizes = folder.list_sizes()
        return RemoteTars(folder, match_names(pattern, names, sizes), sizes)
    return LocalTars(base, match_names(pattern, names, list_local(Path(base), deep=True).tars))


def _detect_layout(top: Listing, is_observation: Callable[[str], bool]) -> Layout:
    probed = sorted(top.folders)[:_NUM_PROBED_FOLDERS]
    return "observations" if any(map(is_observation, probed)) else "flat"


def _prefer_tars(given: str, found: str, listing: Listing) -> Layout:
    """Return the layout, which is of tar shards where there are no images but in those."""
    if given == "auto" and found == "flat" and listing.tars and not listing.images:
        return "tar"
    layouts: dict[str, Layout] = {"observations": "observations", "flat": "flat", "tar": "tar"}
    return layouts[found]


def _sorted_units(location: Path | str, layout: Layout, top: Listing, listing: Listing) -> tuple[str, ...]:
    units = {"observations": [*top.folders, *top.images], "flat": listing.images, "tar": listing.tars}[layout]
    if not units:
        raise InputError(_describe_absence(location, top, listing))
    return tuple(sorted(units))


def _describe_absence(location: Path | str, top: Listing, images: Listing) -> str:
    num_other_files = images.num_other_files + len(images.tars)
    if not top.folders and not num_other_files:
        return f"{readable(location)} is empty; give --ads_dir the folder of images."
    suffixes = " ".join(sorted(IMAGE_SUFFIXES))
    return (
        f"{readable(location)} holds no image, only {num_other_files} other files; "
        f"give --ads_dir a folder with files that end in one of {suffixes}."
    )
