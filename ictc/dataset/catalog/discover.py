"""Step 0: find the images of a collection, wherever it lies.

First the names alone (`list_collection`), so that any slice of any size is known in seconds; then one
record for each image of a slice (`iter_images`). Decides what kind of collection it is; decodes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from pathlib import Path

from ictc.dataset.catalog.collection import Collection, GivenLayout, Layout, iter_images
from ictc.dataset.catalog.listing import IMAGE_SUFFIXES, Listing
from ictc.dataset.catalog.local_tree import LocalTree, is_observation, list_local
from ictc.dataset.catalog.naming import Frames, readable
from ictc.dataset.catalog.remote_tree import RemoteTree, find_observations, folders_below, summarize_tree
from ictc.dataset.catalog.table import list_table
from ictc.dataset.catalog.tally import Reason, Tally
from ictc.dataset.catalog.tar_shards import LocalTars, RemoteTars, TarCollection, is_pattern, match_names, split_pattern
from ictc.dataset.fetching.locations import is_url
from ictc.dataset.fetching.remote import RemoteFolder
from ictc.errors import ConfigError, InputError

__all__ = ["Collection", "Frames", "Layout", "iter_images", "list_collection"]

_NUM_PROBED_FOLDERS = 100
"""How many folders are searched for a metadata file to tell the layouts apart."""


def list_collection(
    ads_dir: Path | str | None,
    *,
    layout: GivenLayout | str = "auto",
    images: Path | str | None = None,
    allowed: Set[str] = frozenset(),
) -> Collection:
    """List the units of a collection, reading names only.

    Args:
        ads_dir: a folder, a URL, or a pattern of tar shards; of a table, the folder that its paths start from.
        images: a table of images, to be listed instead of `ads_dir`.
        allowed: schemes of addresses in it that may be read, beyond those of the web and of the table itself.

    Raises:
        InputError: the folder is missing, unreadable, empty or without images.
        ConfigError: a package is missing, or no such place can be read.
    """
    if images is not None:
        return list_table(images, None if ads_dir is None else str(ads_dir), allowed)
    if ads_dir is None:
        raise ConfigError("neither --ads_dir nor --images says which images; give one of them")
    if is_pattern(str(ads_dir)):
        return _list_pattern(str(ads_dir))
    return _list_remote(str(ads_dir), layout=layout) if is_url(ads_dir) else _list_local(Path(ads_dir), layout)


def _list_local(folder: Path, layout: str) -> Collection:
    top = list_local(folder, deep=False)
    found = _detect_layout(top.folders, lambda name: is_observation(folder / name)) if layout == "auto" else layout
    listing = top if found == "observations" else list_local(folder, deep=True)
    chosen = _prefer_tars(given=layout, found=found, listing=listing)
    units = _sorted_units(folder, chosen, top.folders, listing)
    if chosen == "tar":
        return LocalTars(str(folder), units, listing.left_out)
    return LocalTree(str(folder), chosen, units, listing.left_out)


def _list_remote(url: str, *, layout: str) -> Collection:
    folder = RemoteFolder(url)
    sizes = folder.list_sizes()
    if not sizes:
        raise InputError(f"{url} is empty or does not exist; give --ads_dir the address of images.")
    folders = folders_below(sizes)
    observations = find_observations(folder, sorted(folders)[:_NUM_PROBED_FOLDERS], sizes) if layout == "auto" else ()
    found = _detect_layout(folders, lambda name: name in observations) if layout == "auto" else layout
    listing = summarize_tree(folder, sizes, found)
    chosen = _prefer_tars(given=layout, found=found, listing=listing)
    units = _sorted_units(url, chosen, folders, listing)
    if chosen == "tar":
        return RemoteTars(folder, units, sizes, listing.left_out)
    return RemoteTree(folder, chosen, units, listing, sizes)


def _list_pattern(pattern: str) -> TarCollection:
    """List the tar shards that a pattern such as `shards-{000..099}.tar` names."""
    base, names = split_pattern(pattern)
    if is_url(base):
        folder = RemoteFolder(base)
        sizes = folder.list_sizes()
        return RemoteTars(folder, match_names(pattern, names, sizes), sizes)
    return LocalTars(base, match_names(pattern, names, list_local(Path(base), deep=True).tars))


def _detect_layout(folders: Sequence[str], is_observation: Callable[[str], bool]) -> Layout:
    probed = sorted(folders)[:_NUM_PROBED_FOLDERS]
    return "observations" if any(map(is_observation, probed)) else "flat"


def _prefer_tars(*, given: str, found: str, listing: Listing) -> Layout:
    """Return the layout, which is of tar shards where there are no images but in those."""
    if given == "auto" and found == "flat" and listing.tars and not listing.images:
        return "tar"
    layouts: dict[str, Layout] = {"observations": "observations", "flat": "flat", "tar": "tar"}
    return layouts[found]


def _sorted_units(location: Path | str, layout: Layout, folders: Sequence[str], listing: Listing) -> tuple[str, ...]:
    """Return the units, once it is counted what is not among them."""
    loose = [path for path in listing.images if "/" not in path] if layout == "observations" else listing.images
    units = listing.tars if layout == "tar" else [*(folders if layout == "observations" else ()), *loose]
    beside, reason = (listing.images, Reason.BESIDE_TARS) if layout == "tar" else (listing.tars, Reason.TARS)
    for path in beside:
        listing.left_out.add(reason, path)
    if not units:
        raise InputError(_describe_absence(location, folders, listing.left_out))
    return tuple(sorted(units))


def _describe_absence(location: Path | str, folders: Sequence[str], left_out: Tally) -> str:
    if not folders and not left_out.num_left_out:
        return f"{readable(location)} is empty; give --ads_dir the folder of images."
    if unreadable := left_out.examples.get(Reason.UNREADABLE):
        name, _, cause = unreadable[0].rpartition(": ")
        return (
            f"{readable(location)} holds no image that can be read: {name} cannot be read ({cause}); "
            "change its permissions or give --ads_dir another folder."
        )
    suffixes = " ".join(sorted(IMAGE_SUFFIXES))
    return (
        f"{readable(location)} holds no image, only {left_out.num_left_out} other files"
        f"{left_out.describe() and f' ({left_out.describe()})'}; "
        f"give --ads_dir a folder with files that end in one of {suffixes}."
    )
