"""Where the bytes of an image are: a file, an object behind a URL, or a span of one. Opens nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from ictc.dataset.fetching.locations import is_http, is_url, join, shard_of
from ictc.records import ImageRecord


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an image's bytes are: a whole file or object, or a span of one.

    Attributes:
        url: a path of this machine, or a URL.
        shown: the same without secrets.
        span: first byte, and the one after the last; None for all of them.
        version: others once there may be other bytes, "" where nothing tells.
    """

    url: str
    shown: str
    span: tuple[int, int] | None
    num_bytes: int
    version: str = ""

    @property
    def is_file(self) -> bool:
        """Whether this machine has a file of the image's own."""
        return self.span is None and not is_url(self.url)

    @property
    def cache_key(self) -> str:
        """Text that changes when the bytes are known to, and not when a signature is renewed."""
        version = self.version and f"\n{self.version}"
        return f"{self.shown}\n{self.span}\n{self.num_bytes}{version}"


@dataclass(frozen=True)
class ImagePlaces:
    """Tells where the images of a collection are.

    Attributes:
        base: folder or URL that the records' paths start from.
        addresses: full address of an image whose path leaves out a secret, by id.
        are_remote: whether there are URLs among them.
        on_web: whether there are web addresses among them.
    """

    base: str
    _: KW_ONLY
    addresses: Mapping[str, str] = field(default_factory=dict)
    are_remote: bool = False
    on_web: bool = False

    def find(self, image: ImageRecord) -> Place:
        """Return where the bytes of an image are."""
        if image.offset is not None:
            shard = self._resolve(shard_of(image.path))
            span = (image.offset, image.offset + image.num_bytes)
            return Place(url=shard, shown=shard, span=span, num_bytes=image.num_bytes, version=image.version or "")
        shown = self._resolve(image.path)
        version = "" if is_http(shown) else image.version or ""
        return Place(
            url=self.addresses.get(image.image_id, shown),
            shown=shown,
            span=None,
            num_bytes=image.num_bytes,
            version=version,
        )

    def _resolve(self, path: str) -> str:
        if is_url(path):
            return path
        return join(self.base, path) if is_url(self.base) else str(Path(self.base) / path)
