"""Objects behind URLs such as `s3://bucket/ad.jpg`, through fsspec: listed, read whole, in part, or many at a time.

Credentials come from where each service's own client looks for them, never from here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ictc.dataset.fetching.locations import hide_secrets, is_http, join
from ictc.errors import ConfigError, InputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

HEADS_PER_BATCH = 512
"""Of objects whose names don't say what they are, read side by side."""

EXTRA = "pip install 'ictc[remote]'"

DIGEST_FIELDS = ("md5Hash", "ETag", "etag", "blob_id", "checksum")
TIME_FIELDS = ("LastModified", "last_modified", "updated", "modified", "mtime", "created")
"""What services call what tells one content of an object from another, best first."""


class RemoteFolder:
    """What lies below a URL.

    Attributes:
        versions: of what was listed, by path: 16 hex digits that are others once an object holds other bytes.

    Raises:
        ConfigError: a package is missing, or nothing can read such a URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.versions: dict[str, str] = {}
        self._files, root = open_filesystem(url)
        self._root = root.rstrip("/")

    def list_sizes(self) -> dict[str, int]:
        """Return the size of each object at any depth, by its path relative to the URL, in one listing.

        Raises:
            InputError: it cannot be listed.
        """
        self._files.invalidate_cache()
        try:
            found: Mapping[str, Mapping[str, Any]] = self._files.find(self._root, detail=True)
        except Exception as error:  # each service has its own
            raise InputError(
                f"{self.url} cannot be listed ({describe(error)}); check the address and access."
            ) from None
        start = len(self._root) + 1
        objects = {name[start:]: info for name, info in found.items() if info["type"] == "file"}
        self.versions = {path: version_of(info, join(self.url, path)) for path, info in objects.items()}
        sizes = {path: int(info.get("size") or 0) for path, info in objects.items()}
        # An empty object whose name ends in a slash stands for a folder.
        return {path: size for path, size in sizes.items() if path and (size or not path.endswith("/"))}

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Return the content of many small objects, read side by side; those that are gone are left out.

        Raises:
            InputError: one cannot be read.
        """
        wanted = list(paths)
        contents = self._read(wanted, None)
        return {path: content for path, content in zip(wanted, contents, strict=True) if content is not None}

    def read_heads(self, paths: Sequence[str], num_bytes: int) -> Iterator[tuple[str, bytes | None]]:
        """Yield the first bytes of many objects that are not empty, read side by side; None of those that are gone.

        Raises:
            InputError: one cannot be read.
        """
        for start in range(0, len(paths), HEADS_PER_BATCH):
            batch = paths[start : start + HEADS_PER_BATCH]
            yield from zip(batch, self._read(batch, num_bytes), strict=True)

    def _read(self, paths: Sequence[str], end: int | None) -> list[bytes | None]:
        if not paths:
            return []
        # Not `cat`, which takes brackets, `?` and `*` in a name for a pattern.
        names = [self._name(path) for path in paths]
        contents = self._files.cat_ranges(names, None if end is None else 0, end, on_error="return")
        for path, content in zip(paths, contents, strict=True):
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise InputError(
                    f"{path!r} below {self.url} cannot be read ({describe(content)}); run the command again."
                )
        return [None if isinstance(content, Exception) else content for content in contents]

    def open(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """Return a readable file.

        Raises:
            OSError: it cannot be read; services raise errors of their own, too.
        """
        file: AbstractContextManager[IO[bytes]] = self._files.open(self._name(path), "rb")
        return file

    def _name(self, path: str) -> str:
        return join(self._root, path)


def version_of(info: Mapping[str, Any], url: str) -> str:
    """Return 16 hex digits that are others once an object holds other bytes, from what a listing says of it.

    A digest of the content says all; a time says it of this address only.
    """
    digests = (info[name] for name in DIGEST_FIELDS if info.get(name))
    times = (f"{url}\n{info[name]}" for name in TIME_FIELDS if info.get(name))
    said = next(digests, None) or next(times, url)
    return blake2b(f"{said}\n{info.get('size')}".encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def open_filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Return what reads the URL, and the URL's path there.

    Raises:
        ConfigError: a package is missing, or nothing can read such a URL.
    """
    if is_http(url):
        raise ConfigError(f"{hide_secrets(url)}: a web address cannot be listed; give --images a table of addresses")
    if "::" in url:
        raise ConfigError(f"{hide_secrets(url)}: chained URLs are not supported; give the address itself")
    calm_gcsfs()
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(url)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{hide_secrets(url)} needs a package that is missing ({describe(error)}): {EXTRA}") from None
    except ImportError as error:  # in fsspec's words, which name the package of the service
        raise ConfigError(f"{hide_secrets(url)} needs a package that is missing: {describe(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{hide_secrets(url)}: {describe(error)}; give a folder or a URL such as s3://…") from None
    return files, path


def open_object(url: str) -> tuple[AbstractFileSystem, str]:
    """Return what reads an object that was listed, and its path there: its name may hold what would chain URLs.

    Raises:
        ConfigError: a package is missing, or nothing can read such a URL.
    """
    plain = url
    while "::" in plain:
        plain = plain.rpartition("/")[0]
    files, path = open_filesystem(plain)
    return files, path + url[len(plain) :]


def calm_gcsfs() -> None:
    """Have one line a failure: gcsfs logs what it raises, and a warning a file where it has no credentials."""
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    # It would ask each bucket's kind over gRPC; only zonal buckets need that, and who has one may set this.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def download(url: str, target: Path, span: tuple[int, int] | None = None) -> None:
    """Copy an object, or a span of its bytes, into a file; blocks.

    Args:
        span: first byte, and the one after the last.

    Raises:
        Exception: each service has its own.
    """
    files, path = open_object(url)
    if span is None:
        files.get_file(path, str(target))
    else:
        target.write_bytes(files.cat_file(path, start=span[0], end=span[1]))


def describe(error: BaseException) -> str:
    """Return an error in a few words, in one line and without secrets."""
    if isinstance(error, FileNotFoundError):
        return "not found"
    if isinstance(error, PermissionError):
        return "access denied"
    words = " ".join(str(error).split())[:200]
    return " ".join(map(hide_secrets, words.split())) or type(error).__name__
