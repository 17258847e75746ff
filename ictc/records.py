"""What the stages hand each other: plain, frozen records that know nothing of files, models or prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import Any, Self
from uuid import uuid4

IMAGE_TOKEN_SIDE_PX = 32
"""Qwen3.5 spends one token on 32×32 pixels (patch 16, merge 2)."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of the collection, as Step 0 found it.

    Attributes:
        image_id: unique in the collection; the key of every later record.
        path: relative to `--ads_dir`, with forward slashes, or a URL; of a tar member, below the path of its shard.
        platform: such as "Facebook", where the metadata says so.
        ad_format: such as "FEED_BASED", where the metadata says so.
        timestamp: when the ad was observed, ISO 8601 in UTC.
        num_bytes: size of the file, 0 if unknown.
        problem: why there is nothing to decode (an empty folder, say); None for an ordinary image.
        offset: of a tar member, where it begins in the shard.
        metadata: what the user's own table says of it, by column; goes into the results and to no model.
        version: 16 hex digits, others once the file may hold other bytes: a digest of its content where that was read,
            else of what the file system or the service says of it; None where nothing is said of it.
    """

    image_id: str
    _: KW_ONLY
    path: str
    platform: str | None = None
    ad_format: str | None = None
    timestamp: str | None = None
    num_bytes: int = 0
    problem: str | None = None
    offset: int | None = None
    metadata: dict[str, Any] | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What an outcome is made from: images of equal source get equal outcomes.

    Attributes:
        digest: 16 hex digits, of the content of the file or of what else the step reads.
        look: 64 hex digits that differ in few bits for images that look alike, "" where nobody asks.
    """

    digest: str
    _: KW_ONLY
    look: str = ""

    @classmethod
    def of_content(cls, sha256: str, *, look: str = "") -> Source:
        """Return the source of a file from the SHA-256 of its content, in hex.

        At 64 bits, two of 10^7 images are taken for equal once in 400,000 runs.
        """
        return cls(sha256[:16], look=look)


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class DecodedImage:
    """An image ready for a model: upright RGB, both sides multiples of `IMAGE_TOKEN_SIDE_PX`.

    Attributes:
        width, height: in pixels.
        rgb: `height * width * 3` bytes, row by row.
        key: names these pixels in the caches of an engine.
    """

    width: int
    height: int
    rgb: bytes
    key: str = field(default_factory=lambda: uuid4().hex, compare=False)

    @property
    def num_tokens(self) -> int:
        """Image tokens that a Qwen3.5 model spends on it."""
        return (self.width // IMAGE_TOKEN_SIDE_PX) * (self.height // IMAGE_TOKEN_SIDE_PX)


@dataclass(frozen=True, slots=True)
class BrokenImage:
    """A file that cannot be decoded, with the reason in words for the user."""

    reason: str


@dataclass(frozen=True, slots=True)
class UnreadableImage:
    """An image whose bytes can't be had now, with the reason in words for the user; they may be in order.

    Attributes:
        of_disk: whether the disk failed. Files that were read before may seem in order even so.
        is_dead_link: whether it is an address on the web, of which many lead nowhere for good.
    """

    reason: str
    _: KW_ONLY
    of_disk: bool = False
    is_dead_link: bool = False


@dataclass(frozen=True, slots=True)
class Caption:
    """What the vision-language model saw in one image (Step 1).

    Attributes:
        category: what is advertised or shown, in a few words.
        brand: the advertiser or maker as named in the image, "" if none.
        text: the words in the image.
        summary: the track's reading of the image in prose.
        ui_only: the screen shows nothing but the user interface of an app.
        analysis: a track's further fields, by name.
    """

    image_id: str
    _: KW_ONLY
    category: str
    brand: str
    text: str
    summary: str
    ui_only: bool = False
    analysis: dict[str, str] = field(default_factory=dict)


LabeledCaption = tuple[Caption, str]
"""A caption and its label, "" if Step 2a rejected it: such an ad still gets its cluster."""


@dataclass(frozen=True, slots=True)
class ClusterDefinition:
    """One of the K clusters (Step 2b); `cluster_id` counts from 1.

    Attributes:
        include, exclude: a sentence each on what belongs to it and what does not; "" where nobody asked for it.
    """

    cluster_id: int
    _: KW_ONLY
    name: str
    description: str
    include: str = ""
    exclude: str = ""

    def to_row(self) -> dict[str, Any]:
        """Return what files, requests and digests hold of it: nothing of what nobody asked for."""
        return row_of_cluster(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return what `to_row` wrote, or a row that says more.

        Raises:
            KeyError: it is no such row.
        """
        return cls(**{name: row[name] for name in FIELDS_OF_CLUSTER if name in row or name not in OPTIONAL_OF_CLUSTER})


FIELDS_OF_CLUSTER = ("cluster_id", "name", "description", "include", "exclude")
OPTIONAL_OF_CLUSTER = frozenset({"include", "exclude"})
"""Those that are left out where they say nothing."""


def row_of_cluster(one: object) -> dict[str, Any]:
    """Return the fields of a cluster, or of what stands for one, as files and requests have them."""
    # Not by `asdict`, which copies whatever it finds: with a thousand clusters a request, that was half of Step 2b.
    fields = ((name, getattr(one, name)) for name in FIELDS_OF_CLUSTER)
    return {name: value for name, value in fields if value or name not in OPTIONAL_OF_CLUSTER}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLevel:
    """One of several sets of clusters that are nested, such as the coarsest.

    Attributes:
        clusters: numbered from 1.
        parents: of each cluster, in their order, the number of the one in the level above that it lies in; () on the
            coarsest level.
    """

    name: str
    clusters: tuple[ClusterDefinition, ...]
    parents: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenClusters:
    """Clusters to take instead of making some.

    Attributes:
        definitions: those that images are assigned to, () if none are given.
        levels: all levels, the coarsest first, the last of them being `definitions`; () if they are not nested.
    """

    definitions: tuple[ClusterDefinition, ...] = ()
    levels: tuple[ClusterLevel, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.definitions)


NONE_GIVEN = GivenClusters()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideCluster:
    """A cluster that must be there.

    Attributes:
        description: "" if the model is to write it.
        labels: that belong to it, if images have them.
    """

    name: str
    description: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """What is known of the clusters before they are made.

    Attributes:
        together, apart: sets of labels of which all are in one cluster, or no two are.
    """

    clusters: tuple[GuideCluster, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()
    apart: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    """The cluster of one image (Step 3), or all that fit.

    Attributes:
        cluster_id: None if no cluster fits; of several, the best.
        confidence: probability of this answer among all that could be given, in [0, 1], where the engine gives scores.
        runner_up: the cluster that came second, where the engine gives scores; None if "no cluster" did.
        fitting: all that fit, the best first, as pairs of a cluster and its score from 1 to 5; () where only one was
            asked for.
        probability: that the model would say so, in [0, 1], where it was inferred; None where it was asked.
    """

    image_id: str
    cluster_id: int | None
    _: KW_ONLY
    confidence: float | None = None
    runner_up: int | None = None
    fitting: Sequence[tuple[int, int]] = ()
    probability: float | None = None


def add_counts(one: int | None, other: int | None) -> int | None:
    """Return the sum of two counts; None, which means unknown, if one of them is."""
    return None if one is None or other is None else one + other


@dataclass(frozen=True, slots=True)
class Rejection:
    """An image that a step, named by `stage`, gave up on, with the reason and what the model last said."""

    image_id: str
    _: KW_ONLY
    stage: str
    reason: str
    raw_text: str = ""


class Wait(StrEnum):
    """What an engine of a map step waits for."""

    ENGINE = "engine"
    """Itself: it has all requests that it may have."""
    LAST_ANSWERS = "last_answers"
    """Itself, with less to do than it could: nothing is left to ask."""
    DOWNLOADS = "downloads"
    """The next image is being fetched."""
    DISK = "disk"
    """The next image is being read, or its copy is being kept."""
    DECODING = "decoding"
    """The next image is being decoded, or compared with others."""
    MAIN_PROCESS = "main_process"
    """The next request is not built yet: the main process finds images, builds requests and reads answers."""
    JOURNAL = "journal"
    """The main process writes records, or waits until they are on the disk."""
    OUTAGE = "outage"
    """No image can be read, or the servers of the images asked to wait."""
    PAUSE = "pause"
    """The servers of the model asked to wait, or are gone."""
    RESTART = "restart"
    """It is being loaded anew, is left out, or is asked again what it may have died of."""
    CLUSTER = "cluster"
    """Workers of a cluster, of which no more is known."""
