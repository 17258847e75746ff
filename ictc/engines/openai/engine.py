"""An engine over one or more servers: each request goes to the one with the least to do that may be asked.

Knows how busy each server is and when all of them are in trouble. What one server says and means is its own module's
matter (`server`); no image is given up on for the fault of a server.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ictc.config import ModelSpec
from ictc.engines.base import (
    Engine,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    generate_in_window,
)
from ictc.engines.openai.connecting import check_server, connect
from ictc.engines.openai.options import OpenAIOptions, parse_options
from ictc.engines.openai.protocol import Call, build_fields, build_messages, encode_image
from ictc.engines.openai.server import RefusesAllError, Server, Trouble, Verdict
from ictc.errors import ConfigError, EngineUnavailableError

logger = logging.getLogger(__name__)

MAX_REFUSALS = 2
"""A request that is refused so often, by servers that answer others, is to blame."""
MAX_CRASHES = 5
"""A request that a server goes down with so often is to blame."""
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 8.0
"""Between tries of a request that a server failed on."""


async def load_openai_engine(spec: ModelSpec) -> Engine:
    """Connect to the servers of `spec.base_urls` and check that each serves `spec.model`.

    Raises:
        ConfigError: no server is named, or a URL, the key or `spec.options` are wrong.
        EngineLoadError: a server cannot be reached, refuses the key or does not serve the model.
    """
    if not spec.base_urls:
        raise ConfigError("--engine openai: --base_url names no server; give one such as http://localhost:8000/v1")
    options = parse_options(spec.options)
    engine = OpenAIEngine([connect(url, model=spec.model, options=options) for url in spec.base_urls], options)
    try:
        await engine.check(spec)
    except BaseException:
        await engine.close()
        raise
    return engine


@dataclass
class History:
    """What a request has been through.

    Attributes:
        first_failed_at: when the first try was made that a server failed on.
        crashes: how often a server went down with it.
        refused_by: servers that refused it and answer others.
    """

    first_failed_at: float = math.inf
    crashes: int = 0
    refused_by: list[Server] = field(default_factory=list)


class OpenAIEngine:
    """An `Engine` over servers that others run."""

    def __init__(self, servers: Sequence[Server], options: OpenAIOptions) -> None:
        self._servers = servers
        self._options = options
        self._changed = asyncio.Event()
        for server in servers:
            server.on_change = self._announce

    @property
    def window(self) -> int:
        return self._options.window * len(self._servers)

    @property
    def is_waiting(self) -> bool:
        """Whether no server may be asked, so that nothing is to be expected of this engine."""
        return not any(server.gate.is_open for server in self._servers)

    def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        return generate_in_window(requests, self._answer, self.window)

    async def close(self) -> None:
        for server in self._servers:
            await server.client.close()

    async def check(self, spec: ModelSpec) -> None:
        """Check that every server is there and serves `spec.model`.

        Raises:
            EngineLoadError: one is not, or does not.
        """
        for server in self._servers:
            await check_server(server, spec, self._options)

    async def _answer(self, request: GenerationRequest) -> GenerationResult:
        image_url = None if request.image is None else await asyncio.to_thread(encode_image, request.image)
        call = Call(request, build_messages(request, image_url), build_fields(request) | self._options.extra_body)
        history = History()
        while True:
            result, server = await self._try_repeatedly(call, history)
            if not isinstance(result, Trouble):
                return result
            if await self._is_to_blame(call, result, history, server):
                kind = ItemErrorKind.TRANSIENT if result.verdict is Verdict.FAILED else ItemErrorKind.REFUSED
                return ItemError(request.request_id, kind, message=result.reason)
            # The server's fault: `call` waits with all others, and is tried anew.

    async def _is_to_blame(self, call: Call, trouble: Trouble, history: History, server: Server) -> bool:
        """Return whether a request is at fault, not the server that was asked last."""
        if trouble.verdict is Verdict.CRASHED:
            return True
        if trouble.verdict is Verdict.FAILED and server.has_answered_since(history.first_failed_at, call):
            return True
        if await self._is_answering(server, call) and trouble.verdict is Verdict.DOUBTED:
            history.refused_by.append(server)
        return len(history.refused_by) == MAX_REFUSALS

    async def _is_answering(self, server: Server, call: Call, *, unless_open: bool = False) -> bool:
        """Return whether `server` answers other requests of this kind, so that `call` is to blame.

        Raises:
            EngineUnavailableError: it answers none, and no other server does, as far as that is known.
        """
        try:
            return await server.can_answer(call, unless_open=unless_open)
        except RefusesAllError as error:
            if all(call.has_image in other.refuses for other in self._servers if other is not server):
                raise
            if not server.refuses:
                logger.warning("%s; it is left out as long as others answer", error)
            server.refuses.add(call.has_image)
            server.shut()
            return False

    async def _try_repeatedly(self, call: Call, history: History) -> tuple[GenerationResult | Trouble, Server]:
        """Return the result, or the trouble that every try met, and the server that was asked last."""
        failed: list[Server] = []
        while True:
            server = await self._next_server([*history.refused_by, *failed])
            asked_at = time.monotonic()
            result = await server.ask(call)
            if not isinstance(result, Trouble) or result.verdict is Verdict.DOUBTED:
                return result, server
            if result.verdict is Verdict.CRASHED:
                history.crashes += 1
                if history.crashes == MAX_CRASHES:
                    return result, server
                await self._wait_for_restart(server, call)
            if result.verdict is Verdict.FAILED:
                history.first_failed_at = min(history.first_failed_at, asked_at)
                failed.append(server)
                if len(failed) >= max(1 + self._options.max_retries, len(self._servers)):
                    return result, server
                if len(failed) >= len(self._servers):
                    await asyncio.sleep(_backoff_s(len(failed) - len(self._servers)))

    async def _wait_for_restart(self, server: Server, call: Call) -> None:
        """Wait until a server answers again. What it may have died of is not what to try that with."""
        while self.is_waiting:
            self._raise_if_hopeless()
            await self._is_answering(server, call, unless_open=True)

    async def _next_server(self, failed: Sequence[Server]) -> Server:
        """Return a server that may be asked, rather one that has not `failed`; wait until there is one.

        One that is due for a trial comes first: nobody knows otherwise that it is back.

        Raises:
            EngineUnavailableError: all have been in trouble for too long.
        """

        def doubt(server: Server) -> tuple[int, bool]:
            return failed.count(server), server.is_avoided

        while True:
            self._raise_if_hopeless()
            is_open = [server for server in self._servers if server.gate.is_open]
            least = min(map(doubt, is_open), default=None)
            ready = [server for server in self._servers if server.may_be_asked]
            best = [server for server in ready if not server.gate.is_open or doubt(server) == least]
            if best:
                return min(best, key=lambda server: (server.gate.is_open, server.in_flight))
            await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        """Wait until a server may be asked that may not now."""
        next_try_s = min(server.gate.seconds_left for server in self._servers)
        with suppress(TimeoutError):
            async with asyncio.timeout(next_try_s or None):
                await self._changed.wait()

    def _announce(self) -> None:
        """Wake all requests that wait for a server."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _raise_if_hopeless(self) -> None:
        if not all(server.gate.has_lasted_too_long for server in self._servers):
            return
        troubles = "; ".join(server.describe_trouble() for server in self._servers)
        raise EngineUnavailableError(
            f"no server can be asked any more: {troubles}; wait for them or restart them, then run the same command "
            "again to resume. No image was rejected for it"
        )


def _backoff_s(num_failures: int) -> float:
    return min(FIRST_BACKOFF_S * 2.0**num_failures, MAX_BACKOFF_S) * random.uniform(0.8, 1.0)
