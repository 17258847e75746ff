"""A web server on loopback, in a thread of its own, that serves one image well and fails in every other way."""

from __future__ import annotations

import asyncio
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread

from aiohttp import web
from PIL import Image

FAR_AWAY = "http://169.254.169.254/latest/meta-data"
"""Where clouds keep credentials."""


def draw_bytes(number: int) -> bytes:
    """Return a small PNG file whose color depends on `number`."""
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), ((number * 53) % 256, (number * 97) % 256, (number * 29) % 256)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class HostileServer:
    """What the server saw.

    Attributes:
        requests: how often each path was asked for.
        most_at_once: the most requests that were open at a time.
        credentials: `Authorization` headers that came in.
        num_refused: requests that got the status of `refuse`.
        delay_s: how long a good image takes.
    """

    url: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    credentials: list[str] = field(default_factory=list)
    num_refused: int = 0
    delay_s: float = 0.01
    _open: int = 0
    _refusal: int | None = None
    _good_left: int = 0

    def forget(self) -> None:
        """Begin new books."""
        self.requests.clear()
        self.credentials.clear()
        self.most_at_once = 0

    def refuse(self, status: int | None, after: int = 0) -> None:
        """Answer everything with this status from now on, or after so many requests; None: as ever."""
        self._refusal, self._good_left, self.num_refused = status, after, 0

    @web.middleware
    async def count(self, request: web.Request, handler: web.Handler) -> web.StreamResponse:
        """Keep the books."""
        self.requests[request.path] += 1
        self.credentials += request.headers.getall("Authorization", [])
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        self._good_left -= 1
        try:
            if self._refusal is not None and self._good_left < 0:
                self.num_refused += 1
                return web.Response(status=self._refusal)
            return await handler(request)
        finally:
            self._open -= 1

    async def good(self, request: web.Request) -> web.Response:
        """An image."""
        await asyncio.sleep(self.delay_s)
        return web.Response(body=draw_bytes(int(request.match_info["number"])), content_type="image/png")

    async def slow(self, _: web.Request) -> web.Response:
        """An image after a while."""
        await asyncio.sleep(0.3)
        return web.Response(body=draw_bytes(99), content_type="image/png")

    async def slow_loris(self, request: web.Request) -> web.StreamResponse:
        """A byte now and then, without end."""
        response = await start(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"\x89")
                await asyncio.sleep(0.05)
        return response

    async def endless(self, request: web.Request) -> web.StreamResponse:
        """More and more, as fast as it goes."""
        response = await start(request)
        with suppress(ConnectionError):
            while True:
                await response.write(bytes(2**20))
        return response

    async def short(self, request: web.Request) -> web.StreamResponse:
        """Less than was promised."""
        response = web.StreamResponse(headers={"Content-Type": "image/png", "Content-Length": "100000"})
        await response.prepare(request)
        await response.write(draw_bytes(1))
        assert request.transport is not None
        request.transport.close()
        return response

    async def unended(self, request: web.Request) -> web.StreamResponse:
        """An image in chunks, and no last chunk."""
        response = await start(request)
        await response.write(draw_bytes(1))
        assert request.transport is not None
        request.transport.close()
        return response

    async def cut(self, request: web.Request) -> web.Response:
        """Half an image, as if it were all, until the third time."""
        content = draw_bytes(10)
        whole = self.requests[request.path] >= 3
        return web.Response(body=content if whole else content[: len(content) // 2], content_type="image/png")

    async def excuse(self, request: web.Request) -> web.Response:
        """A message called an image, until the third time."""
        whole = self.requests[request.path] >= 3
        return web.Response(body=draw_bytes(11) if whole else b'{"error": "later"}', content_type="image/png")

    async def huge(self, _: web.Request) -> web.Response:
        """The promise of a terabyte."""
        return web.Response(headers={"Content-Type": "image/png", "Content-Length": str(2**40)})

    async def loop(self, request: web.Request) -> web.Response:
        """A redirect to itself."""
        raise web.HTTPFound(request.path)

    async def to_private(self, _: web.Request) -> web.Response:
        """A redirect to where nobody from outside should get."""
        raise web.HTTPFound(FAR_AWAY)

    async def to_file(self, _: web.Request) -> web.Response:
        """A redirect out of the web."""
        raise web.HTTPFound("file:///etc/passwd")

    async def to_good(self, _: web.Request) -> web.Response:
        """An honest redirect."""
        raise web.HTTPFound("/good/7")

    async def busy(self, request: web.Request) -> web.Response:
        """Not now, but in a second."""
        if self.requests[request.path] == 1:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return web.Response(body=draw_bytes(2), content_type="image/png")

    async def healing(self, request: web.Request) -> web.Response:
        """An error, a promise, then the image."""
        if self.requests[request.path] < 3:
            return web.Response(status={1: 500, 2: 202}[self.requests[request.path]])
        return web.Response(body=draw_bytes(3), content_type="image/png")

    async def page(self, _: web.Request) -> web.Response:
        """A page instead of an image."""
        return web.Response(text="<script>alert(1)</script>", content_type="text/html")

    async def named(self, request: web.Request) -> web.Response:
        """An image under a type of the client's choice, which may be none."""
        return web.Response(body=draw_bytes(4), headers={"Content-Type": request.query["type"]})

    async def false_page(self, request: web.Request) -> web.Response:
        """A page that claims to be an image, or what the client says."""
        page = b"\n<!-- sorry --><!DOCTYPE html><p>log in</p>" + bytes(int(request.query.get("size", 0)))
        return web.Response(body=page, headers={"Content-Type": request.query.get("type", "image/jpeg")})

    async def packed(self, request: web.Request) -> web.Response:
        """An image, or a bomb, that is compressed, or is said to be."""
        encoding, how, number = (request.query.get(name, "") for name in ("encoding", "how", "number"))
        content = bytes(2**24) if how == "bomb" else draw_bytes(int(number or 4))
        packer = zlib.compressobj(9, wbits={"raw": -15, "zlib": 15}.get(how, 31))
        body = content if how == "not" else packer.compress(content) + packer.flush()
        body = body[: len(body) // 2] if how == "cut" else body
        return web.Response(body=body, headers={"Content-Type": "image/png", "Content-Encoding": encoding})

    async def empty(self, _: web.Request) -> web.Response:
        """Nothing."""
        return web.Response(body=b"", content_type="image/png")

    async def status(self, request: web.Request) -> web.Response:
        """An image under a status of the client's choice, which is to be asked for again in a second."""
        status = int(request.match_info["status"])
        return web.Response(status=status, body=draw_bytes(6), headers={"Retry-After": "1"})

    async def ill(self, _: web.Request) -> web.Response:
        """Always an error."""
        return web.Response(status=503)

    def application(self) -> web.Application:
        """Return all of it."""
        application = web.Application(middlewares=[self.count])
        application.router.add_get("/good/{number}", self.good)
        application.router.add_get("/status/{status}", self.status)
        for name in PATHS:
            application.router.add_get(f"/{name}", getattr(self, name))
        return application


PATHS = (
    *("slow", "slow_loris", "endless", "short", "huge", "loop", "to_private", "to_file", "to_good"),
    *("busy", "healing", "page", "empty", "ill", "named", "false_page", "packed", "unended", "cut", "excuse"),
)


async def start(request: web.Request) -> web.StreamResponse:
    """Begin an answer whose length nobody knows."""
    response = web.StreamResponse(headers={"Content-Type": "image/png"})
    await response.prepare(request)
    return response


@contextmanager
def hostile_server() -> Iterator[HostileServer]:
    """Serve until the block ends."""
    server = HostileServer()
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(server.application(), shutdown_timeout=0)

    async def serve() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    loop.run_until_complete(serve())
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
