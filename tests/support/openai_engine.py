"""The `openai` engine on servers that fail as they are told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from support.fault_server import MODEL, FaultServer, Reply

from ictc.config import ModelSpec
from ictc.engines.base import (
    AnswerFormat,
    Engine,
    GenerationRequest,
    GenerationResult,
    Message,
    SamplingParams,
    Task,
    TextAnswer,
)
from ictc.engines.openai import load_openai_engine
from ictc.records import DecodedImage


def ask(
    request_id: str = "ad_1", *, answer: AnswerFormat | None = None, image: DecodedImage | None = None
) -> GenerationRequest:
    return GenerationRequest(
        request_id=request_id,
        task=Task.LABEL,
        messages=(Message("system", "You sort ads."), Message("user", f"Sort {request_id}.")),
        answer=answer or TextAnswer(),
        sampling=SamplingParams(max_tokens=50, temperature=0.5, top_p=0.9, seed=7),
        image=image,
    )


def spec_of(*urls: str, model: str = MODEL, vision: bool = True, **options: Any) -> ModelSpec:
    return ModelSpec(
        engine="openai",
        model=model,
        vision=vision,
        base_urls=urls,
        options={"max_retries": 0, "max_outage_s": 0, "max_pause_s": 0} | options,
    )


PATIENT = {"max_pause_s": 60.0, "max_outage_s": 60.0}


def words_of(server: FaultServer) -> list[str]:
    """Return what the user's turns of all requests said."""
    return [json.dumps(body["messages"][-1]["content"]) for body in server.requests]


@asynccontextmanager
async def engine_on(*servers: FaultServer, **options: Any) -> AsyncIterator[Engine]:
    engine = await load_openai_engine(spec_of(*(server.url for server in servers), **options))
    try:
        yield engine
    finally:
        await engine.close()


async def collect(
    engine: Engine, requests: Iterable[GenerationRequest], results: list[GenerationResult] | None = None
) -> list[GenerationResult]:
    """Return the results of `requests`; `results` keeps those before an error."""

    async def feed() -> AsyncIterator[GenerationRequest]:
        for request in requests:
            yield request

    results = [] if results is None else results
    async for result in engine.generate(feed()):
        results.append(result)
    return results


def answer_with(
    script: Sequence[Reply], *requests: GenerationRequest, models: Reply | None = None, **options: Any
) -> tuple[list[GenerationResult], FaultServer]:
    """Send `requests` to one server with `script`; return the results in the order of the ids, and the server."""

    async def run() -> tuple[list[GenerationResult], FaultServer]:
        async with FaultServer(script, models=models) as server, engine_on(server, **options) as engine:
            results = await collect(engine, requests)
            return sorted(results, key=lambda result: result.request_id), server

    return asyncio.run(run())


def on_server(run: Callable[[FaultServer], Coroutine[Any, Any, None]], **server_options: Any) -> None:
    async def main() -> None:
        async with FaultServer(**server_options) as server:
            await run(server)

    asyncio.run(main())
