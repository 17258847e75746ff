"""Ways to feed an engine with images that are not the pipeline: the bare engine, and the reference study's loop.

Both use vLLM's AsyncLLM as vLLM's own server does, and send what the pipeline sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from engines import SharedEngine, Workload, acceptable_answer
from measuring import Timing, timing
from PIL import Image

from ictc.engines.base import GenerationRequest
from ictc.engines.vllm_requests import build_conversation
from ictc.records import DecodedImage

Way = Callable[[], Awaitable[None]]


async def ask(engine: SharedEngine, request: GenerationRequest) -> None:
    """Have one request answered by vLLM itself."""
    from vllm.renderers import ChatParams

    template = {"add_generation_prompt": True, "enable_thinking": False, "tokenize": False}
    params = ChatParams(chat_template_kwargs=template)
    _, (prompt,) = await engine.llm.renderer.render_chat_async([build_conversation(request)], params)
    async for output in engine.llm.generate(prompt, engine.sampling(request), request.request_id):
        assert len(output.outputs[0].token_ids) == engine.length(request.request_id)


async def feed_bare(engine: SharedEngine, requests: Sequence[GenerationRequest]) -> None:
    """Keep as many requests in flight as the pipeline does, with images that are in memory; keep no answer."""
    slots = asyncio.Semaphore(engine.window)

    async def ask_in_turn(request: GenerationRequest) -> None:
        async with slots:
            await ask(engine, request)

    await asyncio.gather(*map(ask_in_turn, requests))


@dataclass(frozen=True)
class ReferenceLoop:
    """The reference study's way: decode some images here, ask about them, wait for all, and so on.

    A call hands its images over at once and vLLM renders them side by side, which is kinder to it than `LLM.chat` was.

    Attributes:
        checkpoint_images: after so many images, all captions so far are written into one JSON file again.
    """

    engine: SharedEngine
    workload: Workload
    checkpoint_images: int

    def ways(self, requests: Sequence[GenerationRequest], sizes: Iterable[int]) -> dict[str, Way]:
        """Return a way for each number of images a call."""
        return {f"calls of {size}": partial(self.feed, requests, size) for size in sizes}

    async def feed(self, requests: Sequence[GenerationRequest], size: int) -> None:
        """Caption the images of these requests, `size` of them a call."""
        captions: dict[str, str] = {}
        for start in range(0, len(requests), size):
            batch = [self.decode(request) for request in requests[start : start + size]]
            await asyncio.gather(*(ask(self.engine, request) for request in batch))
            captions.update((request.request_id, acceptable_answer(request)) for request in batch)
            if len(captions) % self.checkpoint_images < size:
                self.save(captions)

    def decode(self, request: GenerationRequest) -> GenerationRequest:
        """Decode the image of a request in this thread, to the size that it has in the pipeline."""
        wanted = request.image
        assert wanted is not None
        with Image.open(self.workload.ads / f"{request.request_id}.jpg") as file:
            image = file.convert("RGB").resize((wanted.width, wanted.height), Image.Resampling.BICUBIC)
        return replace(request, image=DecodedImage(width=image.width, height=image.height, rgb=image.tobytes()))

    def save(self, captions: Mapping[str, str]) -> None:
        """Write all captions so far."""
        (self.workload.root / "checkpoint.json").write_text(json.dumps(captions, indent=2))


async def take_turns(engine: SharedEngine, ways: Mapping[str, Way], repeats: int) -> dict[str, list[Timing]]:
    """Time each way once a round, for so many rounds; between them, the engine forgets what it saw."""
    timings: dict[str, list[Timing]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            await engine.forget()
            with timing() as taken:
                await way()
            timings[name].append(taken)
    return timings
