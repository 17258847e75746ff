"""Time images from the web: `python benchmarks/http_images.py [--images 10000] [--latency_ms 100]`.

A server process serves JPEG files and fails for one in a hundred. One after the other: a plain aiohttp client reads
every address once; `ictc.dataset.fetching.files` downloads, checks and caches them, as Step 1 has it do; a plain client
hands what it read to Pillow in as many processes as there are cores; and `ictc run --engine scripted --steps 1` does
the whole step. Prints a table and a JSON line; the ratios are of images/s: cached against plain, the step against plain
with Pillow.
Server and clients share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from random import Random

import aiohttp
from aiohttp import web
from measuring import Usage, measure
from PIL import Image

from ictc.cli.main import run_command
from ictc.dataset.fetching.files import FetchOptions, ImageFile, ImageFiles, open_image_files
from ictc.dataset.fetching.http import HttpLimits
from ictc.dataset.fetching.places import ImagePlaces
from ictc.records import ImageRecord

CONCURRENCY = 64
FAILURE_EVERY = 100


def draw_jpeg(num_bytes: int) -> bytes:
    """Return a JPEG file of an ad's usual size; what follows its end is ignored by every decoder."""
    noise = Image.frombytes("RGB", (32, 32), Random(1).randbytes(3 * 32 * 32)).resize((480, 480))
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", quality=80)
    return buffer.getvalue().ljust(num_bytes, b"\0")


async def serve(latency_s: float) -> None:
    """Serve `/0.jpg`, … until killed; print the port."""
    jpeg = draw_jpeg(60_000)

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(latency_s)
        number = int(request.match_info["number"])
        if number % FAILURE_EVERY == 0:
            return web.Response(status=404 if number % (2 * FAILURE_EVERY) else 503)
        return web.Response(body=jpeg + number.to_bytes(4, "big"), content_type="image/jpeg")

    application = web.Application()
    application.router.add_get(r"/{number:\d+}.jpg", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def addresses(port: int, num_images: int) -> list[str]:
    """Return the addresses of all images."""
    return [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(num_images)]


def read_plainly(port: int, num_images: int, _: Path) -> None:
    """Plain aiohttp client"""

    check(asyncio.run(read_with(port, num_images, _keep)), num_images)


async def _keep(content: bytes) -> None:
    """Do nothing with what was read."""


async def read_with(port: int, num_images: int, use: Callable[[bytes], Awaitable[None]]) -> Counter[str]:
    """Read every address once, and have the contents used."""
    slots, session = asyncio.Semaphore(CONCURRENCY), aiohttp.ClientSession()

    async def read(url: str) -> str:
        async with slots, session.get(url) as response:
            content = await response.read()
        if not (content and response.ok):
            return "failed"
        await use(content)
        return "read"

    async with session:
        return Counter(await asyncio.gather(*map(read, addresses(port, num_images))))


def decode_plainly(port: int, num_images: int, _: Path) -> None:
    """Plain aiohttp client, decoded by Pillow"""
    with ProcessPoolExecutor() as processes:

        async def use(content: bytes) -> None:
            await asyncio.get_running_loop().run_in_executor(processes, decode, content)

        check(asyncio.run(read_with(port, num_images, use)), num_images)


def decode(content: bytes) -> None:
    """Decode an image, and leave the pixels where they are."""
    with Image.open(io.BytesIO(content)) as image:
        image.convert("RGB").tobytes()


def read_through_cache(port: int, num_images: int, folder: Path) -> None:
    """Downloaded, checked and cached"""

    async def read_all() -> Counter[str]:
        limits = HttpLimits(concurrency=CONCURRENCY, per_host=CONCURRENCY, allow_private=True)
        places, options = ImagePlaces("", are_remote=True, on_web=True), FetchOptions(folder / "files", 10**11, limits)
        async with open_image_files(places, options) as files:
            return await read_ahead(files, addresses(port, num_images))

    check(asyncio.run(read_all()), num_images)


async def read_ahead(files: ImageFiles, urls: list[str]) -> Counter[str]:
    """Open every image, as many at a time as the files say."""
    slots = asyncio.Semaphore(files.concurrency)

    async def read(url: str) -> str:
        async with slots, files.open(ImageRecord(url, path=url)) as file:
            return "read" if isinstance(file, ImageFile) else "failed"

    return Counter(await asyncio.gather(*map(read, urls)))


def run_step(port: int, num_images: int, folder: Path) -> None:
    """ictc run --engine scripted --steps 1"""
    table, out = folder / "list.csv", folder / "out"
    table.write_text("\n".join(["url", *addresses(port, num_images)]) + "\n")
    limits = ("--download_concurrency", CONCURRENCY, "--downloads_per_host", CONCURRENCY, "--allow_private_addresses")
    common = ("--images", table, "--output_dir", out, "--cache_dir", folder / "run", "--engine", "scripted")
    if run_command([str(word) for word in ("run", *common, *limits, "--steps", "1")]):
        raise SystemExit("the run failed")
    names = {"read": ("step1_captions.json", "ui_only_images.json"), "failed": ("broken_images.json",)}
    counts = {what: sum(len(json.loads((out / name).read_text())) for name in files) for what, files in names.items()}
    check(Counter(counts), num_images)


def check(counts: Counter[str], num_images: int) -> None:
    """Refuse a run that lost an image, or failed for another than those it should."""
    num_failures = len(range(0, num_images, FAILURE_EVERY))
    assert counts == {"read": num_images - num_failures, "failed": num_failures}, counts


MEASURED = {"plain": read_plainly, "cached": read_through_cache, "decoded": decode_plainly, "step": run_step}
COMPARED = {"cached": "plain", "step": "decoded"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--latency_ms", type=float, default=100)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.latency_ms / 1000))
    elif arguments.only:
        name, port, folder = arguments.only
        MEASURED[name](int(port), arguments.images, Path(folder))
    else:
        report(arguments.images, arguments.latency_ms, measure_all(arguments.images, arguments.latency_ms))


def measure_all(num_images: int, latency_ms: float) -> dict[str, Usage]:
    """Return what each way took."""
    command = [sys.executable, __file__, "--serve", "--latency_ms", str(latency_ms)]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            return {name: measure(__file__, "--images", num_images, "--only", name, port, folder) for name in MEASURED}
        finally:
            server.kill()


def report(num_images: int, latency_ms: float, figures: dict[str, Usage]) -> None:
    """Print a table and a line of JSON."""
    print(f"{num_images:,} addresses, 1 in {FAILURE_EVERY} fails, {CONCURRENCY} at a time, {latency_ms:g} ms each")
    ratios = {name: round(figures[base].seconds / figures[name].seconds, 2) for name, base in COMPARED.items()}
    for name, usage in figures.items():
        ratio = f"ratio {ratios[name]:.2f}" if name in ratios else " " * 10
        print(f"{MEASURED[name].__doc__:<40} {num_images / usage.seconds:7.0f} images/s  {ratio}  {usage}")
    rounded = {name: asdict(usage) for name, usage in figures.items()}
    print(json.dumps({"images": num_images, "latency_ms": latency_ms, "ratios": ratios, **rounded}))


if __name__ == "__main__":
    main()
