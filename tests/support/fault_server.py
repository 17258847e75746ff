"""A chat completions server on loopback that fails as it is told to.

Speaks real HTTP over real sockets. Each chat request takes the next reply of the script; when the script is
at its end, the server answers what the request's `response_format` asks for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

MODEL = "tiny"


@dataclass(frozen=True)
class Reply:
    """What goes back for one request: after `delay_s`, a response or, with `reset`, a broken connection."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    reset: bool = False


def completion(text: str | None, *, finish_reason: str = "stop", delay_s: float = 0.0, **choice: Any) -> Reply:
    """Reply with one chat completion; `choice` adds fields such as `logprobs`."""
    message = {"role": "assistant", "content": text}
    document = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, **choice}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
    return Reply(body=json.dumps(document).encode(), delay_s=delay_s)


def failure(status: int, message: str = "it broke", *, headers: Mapping[str, str] | None = None) -> Reply:
    """Reply with an error in the form of the protocol."""
    return Reply(status, json.dumps({"error": {"message": message}}).encode(), headers or {})


LISTING = Reply(body=json.dumps({"object": "list", "data": [{"id": MODEL}]}).encode())


def satisfy(body: Mapping[str, Any]) -> Reply:
    """Answer what `body` asks for: the first choice, a JSON object of words, or the words of the last turn."""
    if "response_format" not in body:
        content = body["messages"][-1]["content"]
        return completion(content if isinstance(content, str) else content[-1]["text"])
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    return completion(json.dumps({name: schema.get("enum", ["some words"])[0] for name, schema in properties.items()}))


def say(body: Mapping[str, Any]) -> Reply:
    """Answer as a model would, of each image something of its own."""
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    words = hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()[:8]
    if "answer" in properties:
        return completion(json.dumps({"answer": properties["answer"]["enum"][0]}))
    if "label" in properties:
        return completion(json.dumps({"label": f"seen {words}"}))
    if "clusters" in properties:
        clusters = [{"name": f"Cluster {n}", "description": f"The {n}th of them"} for n in ("one", "two")]
        return completion(json.dumps({"clusters": clusters}))
    return completion(json.dumps({n: False if n == "ui_only" else f"{n} {words}" for n in properties}))


class FaultServer:
    """Use as `async with FaultServer(script) as server`, then talk to `server.url`.

    Attributes:
        requests: the bodies of all chat requests so far.
        die_after: chat requests after which the server breaks every connection and listens no more.
        is_dead: whether it has done so.
        keys: the `Authorization` headers that came in.
        paths: what was asked for.
        max_in_flight: the most chat requests that were open at a time.
    """

    def __init__(
        self,
        script: Iterable[Reply] = (),
        *,
        models: Reply | None = None,
        answer: Callable[[Mapping[str, Any]], Reply] = satisfy,
        die_after: int | None = None,
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.paths: set[str] = set()
        self.is_dead = False
        self.die_after = die_after
        self.max_in_flight = 0
        self._in_flight = 0
        self._script = iter(script)
        self._models = models or LISTING
        self._answer = answer
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self._listen(0)
        self.url = f"http://127.0.0.1:{self._port}/v1"
        return self

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=2**26)
        self._port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        connections = list(self._connections)
        self.die()
        await asyncio.gather(*connections, return_exceptions=True)
        await self._server.wait_closed()

    def die(self) -> None:
        """Listen no more and break every connection."""
        self.is_dead = True
        self._server.close()
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()

    async def revive(self) -> None:
        """Listen again, at the same address."""
        await self._server.wait_closed()
        self.die_after, self.is_dead = None, False
        await self._listen(self._port)

    def list_models(self, listing: Reply | None = None) -> None:
        """Have the model, or what is listed, from now on."""
        self._models = listing or LISTING

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            del self._connections[task]
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.keys.add(headers["authorization"])
        path = request_line.split()[1]
        self.paths.add(path)
        reply = await self._reply(path, body)
        if reply.reset:
            return False
        fields = {"Content-Type": "application/json", **reply.headers, "Content-Length": str(len(reply.body))}
        status = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
        writer.write((status + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n").encode() + reply.body)
        await writer.drain()
        return True

    async def _reply(self, path: str, body: bytes) -> Reply:
        if path.partition("?")[0].endswith("/models"):
            return self._models
        document = json.loads(body)
        self.requests.append(document)
        self._in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            reply = next(self._script, None) or self._answer(document)
            await asyncio.sleep(reply.delay_s)
        finally:
            self._in_flight -= 1
        if self.die_after is not None and len(self.requests) >= self.die_after:
            self.die()
        return reply


@contextmanager
def serving(answer: Callable[[Mapping[str, Any]], Reply]) -> Iterator[FaultServer]:
    """Serve in a thread of its own, as the command under test takes this one."""
    server, loop, ready = FaultServer(answer=answer), asyncio.new_event_loop(), threading.Event()
    done = asyncio.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield server
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
