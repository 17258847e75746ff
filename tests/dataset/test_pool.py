"""Decoding in worker processes: what kills, hangs or abandons a worker costs one image at most."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from PIL import Image

from ictc.dataset.decoding.decode import decode_image
from ictc.dataset.decoding.pool import DecodePool
from ictc.errors import StageError
from ictc.records import BrokenImage, DecodedImage, UnreadableImage

BUDGET = 64


def with_pool(body: Callable[[DecodePool], Awaitable[None]], num_workers: int | None = 1, timeout_s: int = 60) -> None:
    async def run() -> None:
        async with DecodePool(num_workers, timeout_s=timeout_s) as pool:
            await body(pool)

    asyncio.run(run())


def worker_ids(parent_id: int | None = None) -> list[int]:
    """Return the process ids of the live decoding workers of a process."""
    processes = [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [int(folder.name) for folder in processes if _is_worker(folder, parent_id or os.getpid())]


def _is_worker(folder: Path, parent_id: int) -> bool:
    try:
        command = (folder / "cmdline").read_bytes()
        state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return False
    return b"ictc.dataset.decoding.worker" in command and int(parent) == parent_id and state != "Z"


def is_alive(process_id: int) -> bool:
    try:
        return (Path("/proc") / str(process_id) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.02)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.png"
    Image.effect_noise((300, 200), 80).save(path)
    return path


HOOKS = {
    "reading": ("pathlib.Path", "stat"),
    "decoding": ("PIL.Image", "open"),
}
"""What workers call of a file, by what they do with it then."""

Sabotage = Callable[..., None]


@pytest.fixture
def sabotage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sabotage:
    """Return a function that makes real workers run a line of Python when they read, or decode, a file named "trap"."""

    def install(line: str, when: str = "reading") -> None:
        place, name = HOOKS[when]
        hook = tmp_path / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(
            textwrap.dedent(f"""
                import os, pathlib, signal, sys, time
                if "ictc.dataset.decoding.worker" in sys.orig_argv:
                    import PIL.Image
                    original = {place}.{name}
                    def trapped(file, **options):
                        path = pathlib.Path(file.name if hasattr(file, "read") else file)
                        if path.name.startswith("trap"):
                            {line}
                        return original(file, **options)
                    {place}.{name} = trapped
            """)
        )
        monkeypatch.syspath_prepend(hook)

    return install


@pytest.fixture
def trap(tmp_path: Path, good: Path) -> Path:
    path = tmp_path / "trap.png"
    path.hardlink_to(good)
    return path


def test_pool_gives_what_decode_image_gives(tmp_path: Path, good: Path) -> None:
    large = tmp_path / "large.jpg"
    Image.effect_noise((1500, 1000), 80).convert("RGB").save(large)
    odd_name = tmp_path / os.fsdecode(b"od\nd \xff.png")
    odd_name.hardlink_to(good)
    paths = [good, large, odd_name, tmp_path / "gone.png", tmp_path]

    async def body(pool: DecodePool) -> None:
        for budget in (64, 1280):
            decoded = await asyncio.gather(*(pool.decode(path, budget) for path in paths * 3))
            assert decoded == [decode_image(path, budget) for path in paths] * 3
            assert [type(image) for image in decoded[:5]] == [DecodedImage] * 3 + [BrokenImage] * 2

    with_pool(body, num_workers=2)
    assert worker_ids() == []


KILLED = "decoding was killed, most often because the memory is full"


@pytest.mark.parametrize("when", ["reading", "decoding"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", BrokenImage("decoding crashed (SIGSEGV)")),
        ("os.kill(os.getpid(), signal.SIGKILL)", UnreadableImage(KILLED)),
        ("os._exit(3)", BrokenImage("decoding ended with exit code 3")),
        ("raise MemoryError", UnreadableImage("there is not enough memory to decode it")),
    ],
)
def test_image_that_kills_its_worker_costs_only_itself(
    trap: Path, good: Path, sabotage: Sabotage, line: str, when: str, expected: BrokenImage | UnreadableImage
) -> None:
    sabotage(line, when)

    async def body(pool: DecodePool) -> None:
        paths = [good, trap, good, good]
        before, trapped, *after = await asyncio.gather(*(pool.decode(path, BUDGET) for path in paths))
        assert [before, *after] == [decode_image(good, BUDGET)] * 3
        assert trapped == expected

    with_pool(body, num_workers=2)
    assert worker_ids() == []


@pytest.mark.parametrize("line", ["time.sleep(60)", "os.kill(os.getpid(), signal.SIGSTOP)"])
@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("reading", UnreadableImage("nothing came of it for 1 s", of_disk=True)),
        ("decoding", BrokenImage("decoding took longer than 1 s")),
    ],
)
def test_a_hang_in_decoding_is_the_image_s_fault_and_one_in_reading_is_not(
    trap: Path, good: Path, sabotage: Sabotage, line: str, when: str, expected: BrokenImage | UnreadableImage
) -> None:
    sabotage(line, when)

    async def body(pool: DecodePool) -> None:
        assert await pool.decode(trap, BUDGET) == expected
        if when == "reading":
            assert await pool.find_source(trap, look=True) == expected
        assert isinstance(await pool.decode(good, BUDGET), DecodedImage)

    with_pool(body, timeout_s=1)
    assert worker_ids() == []


@pytest.mark.parametrize("code", ["EIO", "ESTALE", "ENOTCONN", "EACCES", "EMFILE", "ENFILE", "ENOMEM", "ETIMEDOUT"])
def test_what_the_file_system_refuses_is_not_the_image_s_fault(
    trap: Path, good: Path, sabotage: Sabotage, code: str
) -> None:
    number = getattr(errno, code)
    sabotage(f"raise OSError({number}, os.strerror({number}))")

    async def body(pool: DecodePool) -> None:
        expected = UnreadableImage(os.strerror(number), of_disk=code != "EACCES")
        assert await pool.decode(trap, BUDGET) == expected
        assert await pool.find_source(trap, look=False) == expected
        assert isinstance(await pool.decode(good, BUDGET), DecodedImage)

    with_pool(body)


def test_image_survives_the_death_of_an_innocent_worker(
    tmp_path: Path, good: Path, trap: Path, sabotage: Sabotage
) -> None:
    sabotage("pathlib.Path.touch(path.parent / 'begun'); time.sleep(1)")

    async def body(pool: DecodePool) -> None:
        decoding = asyncio.create_task(pool.decode(trap, BUDGET))
        await asyncio.to_thread(wait_until, (tmp_path / "begun").exists)
        os.kill(worker_ids()[0], signal.SIGKILL)
        assert await decoding == decode_image(good, BUDGET)

    with_pool(body)


def test_worker_killed_while_idle_costs_nothing(good: Path) -> None:
    async def body(pool: DecodePool) -> None:
        await pool.decode(good, BUDGET)
        (first,) = worker_ids()
        os.kill(first, signal.SIGKILL)
        assert isinstance(await pool.decode(good, BUDGET), DecodedImage)
        assert worker_ids() != [first]

    with_pool(body)


def test_workers_ignore_interrupts_and_termination(good: Path) -> None:
    async def body(pool: DecodePool) -> None:
        await pool.decode(good, BUDGET)
        (worker,) = worker_ids()
        assert os.getsid(worker) != os.getsid(0)
        os.kill(worker, signal.SIGINT)
        os.kill(worker, signal.SIGTERM)
        assert isinstance(await pool.decode(good, BUDGET), DecodedImage)
        assert worker_ids() == [worker]

    with_pool(body)


def test_cancelled_call_leaves_no_stale_answer(tmp_path: Path, good: Path, sabotage: Sabotage) -> None:
    sabotage("time.sleep(60)")

    async def body(pool: DecodePool) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.decode(tmp_path / "trap", BUDGET), 1)
        assert await pool.decode(good, BUDGET) == decode_image(good, BUDGET)

    with_pool(body)


def test_worker_that_cannot_start_is_an_error_not_a_broken_image(
    good: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL/__init__.py").write_text("raise ImportError('broken installation')")
    monkeypatch.syspath_prepend(tmp_path)

    async def body(pool: DecodePool) -> None:
        with pytest.raises(StageError, match=r"does not start \(.*exit code 1\); check"):
            await pool.decode(good, BUDGET)

    with_pool(body)


def test_close_without_use_twice_and_while_busy(good: Path) -> None:
    async def body(pool: DecodePool) -> None:
        await pool.close()
        await pool.close()
        decoding = asyncio.create_task(pool.decode(good, BUDGET))
        await asyncio.sleep(0)
        await pool.close()
        assert isinstance(await decoding, DecodedImage)

    with_pool(body)
    assert worker_ids() == []


def test_exhausted_open_files_are_a_clear_error(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", fail)

    async def body(pool: DecodePool) -> None:
        with pytest.raises(StageError, match="Too many open files"):
            await pool.decode(good, BUDGET)

    with_pool(body)


@pytest.mark.parametrize("line", ["pass", "time.sleep(60)"])
def test_workers_end_when_the_parent_is_killed(tmp_path: Path, sabotage: Sabotage, line: str) -> None:
    sabotage(line)
    program = """
        import asyncio, pathlib, sys
        from ictc.dataset.decoding.pool import DecodePool
        async def main():
            async with DecodePool(1, timeout_s=2) as pool:
                while True:
                    await pool.decode(pathlib.Path(sys.argv[1]), 64)
        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "trap")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment) as parent:
        wait_until(lambda: bool(worker_ids(parent.pid)))
        (worker,) = worker_ids(parent.pid)
        time.sleep(0.5)
        parent.kill()
    wait_until(lambda: not is_alive(worker))


def test_parent_imports_neither_pillow_nor_numpy() -> None:
    modules = "ictc.dataset.catalog.discover, ictc.dataset.decoding.pool"
    program = f"import sys, {modules}; assert not {{'PIL', 'numpy', 'pydantic'}} & {{*sys.modules}}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
