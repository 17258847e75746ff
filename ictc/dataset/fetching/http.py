"""Downloads images from the web: politely towards servers, and on guard against them.

Built on aiohttp, which connects only through the socket that we hand it, so that the address that is connected to is
the one that was checked. Knows HTTP, and nothing of what is in an image.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Self
from urllib.request import getproxies
from weakref import WeakValueDictionary

from ictc.dataset.fetching.addresses import PrivateAddressError, open_public_socket
from ictc.dataset.fetching.bodies import Body, NoImageError
from ictc.dataset.fetching.waiting import Waiting
from ictc.errors import ConfigError
from ictc.records import BrokenImage, UnreadableImage, Wait
from ictc.version import __version__

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

ATTEMPTS = 4
FIRST_BACKOFF_S = 0.5
MAX_RETRY_AFTER_S = 3600.0
MAX_UNCOUNTED_S = 600.0
"""Pauses that a server asks for count as no attempt, until they add up to this."""

MAX_REDIRECTS = 5
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 20.0
"""Longest silence of a server."""

CHUNK_BYTES = 2**16
MAX_BYTES = 100 * 2**20
GOOD_STATUSES = frozenset((200, 203))
TRANSIENT_STATUSES = frozenset((202, 408, 425, 429, 500, 502, 503, 504))
REFUSED_STATUSES = frozenset((400, 401, 402, 403, 407))
"""What servers say to a signature or a login that is out of date, which says nothing of the image."""


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """How much is asked of servers, and accepted from them.

    Attributes:
        concurrency, per_host: most downloads at a time, of all and of one host.
        deadline_s: longest time that one image may take, waiting between attempts not counted.
        allow_private: whether addresses of this machine and its network may be asked.
    """

    concurrency: int = 64
    per_host: int = 8
    deadline_s: float = 60.0
    allow_private: bool = False


class _Failure(Exception):
    """An attempt that got no image; the message is the reason.

    Attributes:
        is_transient: whether another attempt may do better.
        is_of_access: whether the image may be there even so; so it is with all that is transient.
        retry_after_s: how long the server wants to be left alone.
    """

    def __init__(
        self, reason: str, *, is_transient: bool = False, is_of_access: bool = False, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.is_transient = is_transient
        self.is_of_access = is_of_access or is_transient
        self.retry_after_s = retry_after_s

    def as_result(self) -> BrokenImage | UnreadableImage:
        """Return what that means for the image."""
        reason = f"HTTP: {self}"
        return UnreadableImage(reason, is_dead_link=True) if self.is_of_access else BrokenImage(reason)


@dataclass(eq=False)
class _Host:
    """A server: how many may ask it at a time, and from when on."""

    slots: asyncio.Semaphore
    resume_at: float = field(default=0.0)

    async def wait(self) -> None:
        while (wait_s := self.resume_at - time.monotonic()) > 0:  # noqa: ASYNC110 - it may be paused for longer
            await asyncio.sleep(wait_s)

    def pause(self, seconds: float) -> None:
        self.resume_at = max(self.resume_at, time.monotonic() + min(seconds, MAX_RETRY_AFTER_S))


class HttpDownloader:
    """Use as `async with HttpDownloader.open(limits) as downloader`.

    Attributes:
        waiting: how many images are asked for, and how many wait as a server asked for that, or failed.
    """

    def __init__(self, session: aiohttp.ClientSession, limits: HttpLimits) -> None:
        self._session = session
        self.waiting = Waiting()
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._hosts: WeakValueDictionary[str, _Host] = WeakValueDictionary()

    @classmethod
    @asynccontextmanager
    async def open(cls, limits: HttpLimits) -> AsyncIterator[Self]:
        """Yield a downloader, and close its connections at the end.

        Raises:
            ConfigError: the package for it is missing.
        """
        async with open_session(limits) as session:
            yield cls(session, limits)

    async def download(self, url: str, target: IO[bytes]) -> BrokenImage | UnreadableImage | None:
        """Write what is at `url` into a file; return why that can't be had, if it can't."""
        try:
            address = _parse(url)
            host = self._host(address)
        except ValueError:
            return BrokenImage("HTTP: not a valid address")
        failure = await self._try_repeatedly(address, host, target)
        return failure.as_result() if failure is not None else None

    async def answers(self, url: str) -> bool:
        """Whether the server of an address that was good before is there, and knows us: one attempt, no body."""
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                await self._get(_parse(url))
        except TimeoutError:
            return False
        except _Failure as failure:
            return not failure.is_of_access
        return True

    async def _try_repeatedly(self, url: URL, host: _Host, target: IO[bytes]) -> _Failure | None:
        left_s, paused_s, attempt = self._limits.deadline_s, 0.0, 0
        while True:
            async with host.slots:  # not while it backs off: others may ask meanwhile
                with self.waiting.counted(Wait.OUTAGE):
                    await host.wait()
                async with self._slots:
                    started = time.monotonic()
                    with self.waiting.counted(Wait.DOWNLOADS):
                        failure = await self._try(url, target, left_s)
                    left_s -= time.monotonic() - started
                if failure is None:
                    return None
                if failure.retry_after_s:
                    host.pause(failure.retry_after_s)
            if failure.retry_after_s and paused_s < MAX_UNCOUNTED_S and left_s > 0:
                paused_s += max(failure.retry_after_s, 1.0)
                continue
            attempt += 1
            if not failure.is_transient or left_s <= 0 or attempt == ATTEMPTS:
                return failure
            with self.waiting.counted(Wait.OUTAGE):
                await asyncio.sleep(FIRST_BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))

    async def _try(self, url: URL, target: IO[bytes], deadline_s: float) -> _Failure | None:
        """Return why this attempt got no image, if it got none."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._get(url, target)
        except TimeoutError:
            return _Failure(f"took longer than {self._limits.deadline_s:.0f} s", is_of_access=True)
        except _Failure as failure:
            return failure
        return None

    async def _get(self, url: URL, target: IO[bytes] | None = None) -> None:
        """Ask for an image, and write it where there is a target. Raises _Failure."""
        import aiohttp

        try:
            async with self._session.get(url, max_redirects=MAX_REDIRECTS) as response:
                check_response(response)
                if target is not None:
                    await save_body(response, target)
        except aiohttp.ClientError as error:
            raise explain(error) from None

    def _host(self, url: URL) -> _Host:
        """Return the host of a URL; nobody remembers one that nobody asks.

        Raises:
            ValueError: there is none.
        """
        if not url.host:
            raise ValueError(url)
        host = self._hosts.get(url.host)
        if host is None:
            host = self._hosts[url.host] = _Host(asyncio.Semaphore(self._limits.per_host))
        return host


@asynccontextmanager
async def open_session(limits: HttpLimits) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session whose connections are checked where they are made.

    Raises:
        ConfigError: the package for it is missing.
    """
    try:
        import aiohttp
    except ModuleNotFoundError as error:
        raise ConfigError(f"images on the web need {error.name}: pip install 'ictc[remote]'") from None

    connector = aiohttp.TCPConnector(
        limit=limits.concurrency,
        limit_per_host=limits.per_host,
        socket_factory=None if limits.allow_private else open_public_socket,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        # A compressed body could unpack to any size; and no image gets smaller by it.
        auto_decompress=False,
        headers={"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": f"ictc/{__version__}"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S),
        # A proxy has a private address, and hides that of the server. Looking for one takes time with every request.
        trust_env=limits.allow_private and bool(getproxies()),
    ) as session:
        yield session


def check_response(response: aiohttp.ClientResponse) -> None:
    """Refuse what is certainly no image, before its body is read. Raises _Failure."""
    if response.status not in GOOD_STATUSES:
        is_transient = response.status in TRANSIENT_STATUSES
        raise _Failure(
            f"{response.status} {_phrase(response.status)}".strip(),
            is_transient=is_transient,
            is_of_access=response.status >= 500 or response.status in REFUSED_STATUSES,
            retry_after_s=parse_retry_after(response.headers.get("Retry-After", "")) if is_transient else 0.0,
        )
    if (response.content_length or 0) > MAX_BYTES:
        raise _Failure(f"larger than {MAX_BYTES / 2**20:.0f} MB")


async def save_body(response: aiohttp.ClientResponse, target: IO[bytes]) -> None:
    """Write a body into a file, chunk by chunk. Raises _Failure if it is empty, too large or no image."""
    target.seek(0)
    target.truncate()
    num_bytes = 0
    try:
        async for piece in _iter_pieces(response):
            num_bytes += len(piece)
            if num_bytes > MAX_BYTES:
                raise _Failure(f"larger than {MAX_BYTES / 2**20:.0f} MB")
            target.write(piece)
    except NoImageError as error:
        raise _Failure(str(error), is_transient=error.is_cut) from None
    if not num_bytes:
        raise _Failure("the server sent nothing")


async def _iter_pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield a body, unpacked. Raises NoImageError."""
    kind = response.content_type.lower() if "Content-Type" in response.headers else ""
    body = Body(kind, encoding=response.headers.get("Content-Encoding", ""))
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        for piece in body.feed(chunk):
            yield piece
    for piece in body.finish():
        yield piece


def explain(error: aiohttp.ClientError) -> _Failure:
    """Return what an error of the client means; its own text may hold the address, so none of it is used."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, PrivateAddressError):
        return _Failure(str(error.os_error))
    permanent: dict[type[aiohttp.ClientError], str] = {
        aiohttp.TooManyRedirects: f"more than {MAX_REDIRECTS} redirects",
        aiohttp.InvalidURL: "not a valid address",
        aiohttp.RedirectClientError: "redirected to what is not a valid address",
        aiohttp.ClientSSLError: "the server's certificate or encryption is not valid",
        aiohttp.ClientResponseError: "the server's answer is not valid HTTP",
    }
    transient: dict[type[aiohttp.ClientError], str] = {
        aiohttp.ClientConnectorDNSError: "the host is unknown",
        aiohttp.ServerTimeoutError: "the server was silent for too long",
        aiohttp.ClientConnectorError: "no connection to the server",
        aiohttp.ClientError: "the connection broke off",
    }
    meanings = {**permanent, **transient}
    kind = next(kind for kind in meanings if isinstance(error, kind))
    return _Failure(meanings[kind], is_transient=kind in transient, is_of_access=kind is aiohttp.ClientSSLError)


def _parse(url: str) -> URL:
    """Return an address as it is to be asked for.

    Raises:
        ValueError: it is none.
    """
    from yarl import URL

    return URL(url, encoded=all("!" <= character <= "~" for character in url))


def parse_retry_after(text: str) -> float:
    """Return the seconds that a Retry-After header asks to wait, in [0, `MAX_RETRY_AFTER_S`]; 0 if it says nothing."""
    try:
        seconds = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
