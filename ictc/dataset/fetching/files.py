"""Where the bytes of the images are: a file of this machine for each record, for as long as it is needed.

Knows how to get at a file, and nothing of what is in it; `ictc.dataset.reader` decodes it.
"""

from __future__ import annotations

import asyncio
import errno
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Literal, Protocol, TypeVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from ictc.dataset.fetching.cache import ContentCache, Held
from ictc.dataset.fetching.data_uris import decode_data_uri, is_data_uri
from ictc.dataset.fetching.http import HttpDownloader, HttpLimits
from ictc.dataset.fetching.locations import is_http, is_url
from ictc.dataset.fetching.places import ImagePlaces, Place
from ictc.dataset.fetching.remote import describe, download
from ictc.dataset.fetching.waiting import Waiting
from ictc.dataset.file_errors import UnusableFile, explain
from ictc.errors import IctcError
from ictc.records import BrokenImage, ImageRecord, UnreadableImage, Wait

MAX_FAILURES = 10_000
MAX_SPOILED = 32
"""Copies that can't be decoded, kept for those who ask again soon."""

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

CACHE_THREADS = 1
"""More take turns at the interpreter's lock, and twice the processor's time; one keeps hundreds of images a second."""

Medium = Literal["disk", "network", "table"]

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class ImageFile:
    """A file of this machine that holds the bytes of an image.

    Attributes:
        sha256: of the content, in hex; None where nobody has read it yet.
        is_copy: whether it was here already, so that it says nothing of the place that it came from.
    """

    path: Path
    sha256: str | None = None
    is_copy: bool = False


class ImageFiles(Protocol):
    """Gives access to the file of an image.

    Attributes:
        concurrency: how many images are worth asking for at a time, beyond what decoding needs; 0 if no more.
    """

    @property
    def concurrency(self) -> int: ...

    def open(self, image: ImageRecord) -> AbstractAsyncContextManager[ImageFile | BrokenImage | UnreadableImage]:
        """Yield a file that holds the image's bytes inside the block, or why there is none."""
        ...

    def medium_of(self, image: ImageRecord) -> Medium:
        """Return by what an image is read, so that it says nothing of images that are read by something else."""
        ...

    def place_of(self, image: ImageRecord) -> str:
        """Return the name of what fails together with an image: its server or shard, "" for files of this machine."""
        ...

    def find(self, image: ImageRecord) -> Path | None:
        """Return the file of an image, None if this machine has none but perhaps a copy."""
        ...

    async def answers(self, image: ImageRecord) -> bool:
        """Whether the place of an image that is no file here can be asked now, whatever copies there are."""
        ...

    async def forget(self, image: ImageRecord, file: ImageFile) -> None:
        """Let go of a copy, open now, that can't be decoded: later runs are to get what is there by then."""
        ...

    def waits_for(self) -> Wait | None:
        """Return what holds up those who ask for files; None if nothing does."""
        ...


class LocalFiles:
    """Images in a folder that this machine can read."""

    concurrency = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def open(self, image: ImageRecord) -> AsyncIterator[ImageFile | BrokenImage | UnreadableImage]:
        yield ImageFile(self.find(image))

    def medium_of(self, _: ImageRecord) -> Medium:
        return "disk"

    def place_of(self, _: ImageRecord) -> str:
        return ""

    def find(self, image: ImageRecord) -> Path:
        return self._folder / image.path

    async def answers(self, _: ImageRecord) -> bool:
        raise NotImplementedError("every image is a file here")

    async def forget(self, _: ImageRecord, __: ImageFile) -> None:
        """Nothing is copied."""

    def waits_for(self) -> None:
        """Nothing is fetched."""


@dataclass(frozen=True)
class FetchOptions:
    """Where copies of images go that lie elsewhere, and how they are fetched.

    Attributes:
        cache_bytes: bound on the copies.
    """

    cache_dir: Path
    cache_bytes: int
    http: HttpLimits


class FetchedFiles:
    """Images anywhere; what this machine has no file of is copied into a cache first.

    Raises:
        StorageError: the cache cannot be used.
    """

    def __init__(
        self,
        places: ImagePlaces,
        options: FetchOptions,
        downloader: HttpDownloader | None,
        *,
        copying: ThreadPoolExecutor,
        caching: ThreadPoolExecutor,
    ) -> None:
        # Twice what is fetched at a time: those behind a slow one go on.
        self.concurrency = 2 * options.http.concurrency if places.are_remote else 0
        self._places = places
        self._options = options
        self._downloader = downloader
        self._waiting = downloader.waiting if downloader is not None else Waiting()
        self._copying = copying
        self._caching = caching
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._failures: OrderedDict[str, BrokenImage] = OrderedDict()
        self._undecodable: set[str] = set()
        self._spoiled: OrderedDict[str, Held] = OrderedDict()
        if places.are_remote:
            self._cache  # noqa: B018 - that it cannot be used is better known before a model is loaded

    @cached_property
    def _cache(self) -> ContentCache:
        return ContentCache(self._options.cache_dir, self._options.cache_bytes)

    @asynccontextmanager
    async def open(self, image: ImageRecord) -> AsyncIterator[ImageFile | BrokenImage | UnreadableImage]:
        place = self._places.find(image)
        if place.is_file:
            yield ImageFile(Path(place.url))
            return
        held, is_copy = await self._hold(place)
        if not isinstance(held, Held):
            yield held
            return
        with held:
            yield ImageFile(held.path, held.sha256, is_copy)

    def medium_of(self, image: ImageRecord) -> Medium:
        url = self._places.find(image).url
        if is_data_uri(url):
            return "table"
        return "network" if is_url(url) else "disk"

    def place_of(self, image: ImageRecord) -> str:
        place = self._places.find(image)
        if place.is_file:
            return ""
        return urlsplit(place.shown).netloc if is_url(place.url) else place.url

    def find(self, image: ImageRecord) -> Path | None:
        place = self._places.find(image)
        return Path(place.url) if place.is_file else None

    async def answers(self, image: ImageRecord) -> bool:
        place = self._places.find(image)
        if is_http(place.url):
            assert self._downloader is not None
            return await self._downloader.answers(place.url)
        start = place.span[0] if place.span is not None else 0
        with self._cache.draft() as draft:
            return await self._copy(replace(place, span=(start, start + 1)), draft.path) is None

    async def forget(self, image: ImageRecord, file: ImageFile) -> None:
        if file.sha256 is not None:
            self._undecodable.add(file.sha256)
            await _run_in(self._caching, self._spoil, self._places.find(image).cache_key, Held(file.path, file.sha256))

    def waits_for(self) -> Wait | None:
        return self._waiting.most()

    def _spoil(self, key: str, file: Held) -> None:
        """Take a content out of the cache; this process keeps a few, as many rows may have the same address."""
        self._cache.forget(key, content=file.sha256)
        with suppress(OSError):
            self._spoiled[key] = self._cache.hold(file.path, file.sha256)
            self._spoiled.move_to_end(key)
        if len(self._spoiled) > MAX_SPOILED:
            self._spoiled.popitem(last=False)[1].close()

    async def _hold(self, place: Place) -> tuple[Held | BrokenImage | UnreadableImage, bool]:
        """Return the copy, made by whoever asks first, and whether it was there already."""
        lock = self._locks.get(place.cache_key)
        if lock is None:
            lock = self._locks[place.cache_key] = asyncio.Lock()
        async with lock:
            if (failure := self._failures.get(place.cache_key)) is not None:
                return failure, False
            found = await self._find(place)
            held = found or await self._fetch(place)
            if isinstance(held, BrokenImage):
                self._remember(place, held)
            elif isinstance(held, Held) and held.sha256 in self._undecodable:  # by whatever address it was seen
                await _run_in(self._caching, self._spoil, place.cache_key, held)
            return held, found is not None

    def _remember(self, place: Place, failure: BrokenImage) -> None:
        """Keep a failure for those who ask again soon, as reading an image takes more than one look at it."""
        self._failures[place.cache_key] = failure
        if len(self._failures) > MAX_FAILURES:
            self._failures.popitem(last=False)

    async def _find(self, place: Place) -> Held | None:
        key = place.cache_key
        is_known = key in self._spoiled or self._cache.knows(key)
        with self._waiting.counted(Wait.DISK):
            return await _run_in(self._caching, self._find_known, key) if is_known else None

    def _find_known(self, key: str) -> Held | None:
        with suppress(OSError):
            if (spoiled := self._spoiled.get(key)) is not None:
                return self._cache.hold(spoiled.path, spoiled.sha256)
        return self._cache.find(key)

    async def _fetch(self, place: Place) -> Held | BrokenImage | UnreadableImage:
        with self._cache.draft() as draft:
            if is_data_uri(place.url):
                failure: BrokenImage | UnreadableImage | None = _unpack(place, draft.file)
            elif is_http(place.url):
                assert self._downloader is not None
                failure = await self._downloader.download(place.url, draft.file)
            else:
                failure = await self._copy(place, draft.path)
            if failure is not None:
                return failure
            with self._waiting.counted(Wait.DISK):
                return await _run_in(self._caching, self._cache.add, place.cache_key, draft)

    async def _copy(self, place: Place, draft: Path) -> BrokenImage | UnreadableImage | None:
        try:
            with self._waiting.counted(Wait.DOWNLOADS if is_url(place.url) else Wait.DISK):
                await _run_in(self._copying, copy_bytes, place, draft)
        except IctcError:
            raise
        except Exception as error:  # each service has its own
            if isinstance(error, OSError) and error.errno in FULL_DISK:
                raise
            return explain_copying(error, place)
        return None


async def _run_in(threads: ThreadPoolExecutor, function: Callable[..., ResultT], *arguments: object) -> ResultT:
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)


def _unpack(place: Place, target: IO[bytes]) -> BrokenImage | None:
    """Write what an address itself holds into a file."""
    try:
        target.write(decode_data_uri(place.url))
    except ValueError as error:
        return BrokenImage(f"data URI: {error}")
    return None


def explain_copying(error: Exception, place: Place) -> BrokenImage | UnreadableImage:
    """Return what an error of copying means: the object, or the shard, is not there, or its bytes can't be had now."""
    if is_url(place.url):
        is_gone = isinstance(error, FileNotFoundError)
        return BrokenImage(f"cannot be read: {describe(error)}") if is_gone else UnreadableImage(describe(error))
    if not isinstance(error, OSError):
        return UnreadableImage(describe(error))
    meaning = explain(error, Path(place.url))
    return BrokenImage(str(meaning)) if isinstance(meaning, UnusableFile) else meaning.as_result()


def copy_bytes(place: Place, target: Path) -> None:
    """Copy an object, or the span of a shard, into a file; blocks.

    Raises:
        Exception: each service has its own.
    """
    if is_url(place.url):
        download(place.url, target, place.span)
        return
    assert place.span is not None
    start, end = place.span
    with Path(place.url).open("rb") as shard:
        shard.seek(start)
        target.write_bytes(shard.read(end - start))


@asynccontextmanager
async def open_image_files(places: ImagePlaces, options: FetchOptions) -> AsyncIterator[ImageFiles]:
    """Yield access to the files of a collection, and let go of connections at the end.

    Raises:
        ConfigError: a package is missing.
        StorageError: the cache cannot be used.
    """
    async with AsyncExitStack() as stack:
        downloader = await stack.enter_async_context(HttpDownloader.open(options.http)) if places.on_web else None
        copying = stack.enter_context(ThreadPoolExecutor(options.http.concurrency, "ictc-copy"))
        caching = stack.enter_context(ThreadPoolExecutor(CACHE_THREADS, "ictc-cache"))
        yield FetchedFiles(places, options, downloader, copying=copying, caching=caching)
