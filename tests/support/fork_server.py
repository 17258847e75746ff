"""Runs `ictc` commands in a few hundredths of a second: each in a fork of one process that has imported everything.

The commands may run on a faulty disk, with a clock that jumps, or be killed after a while. What a command asked the
engine for comes back with what it printed.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, tzinfo
from functools import cache, partial
from itertools import cycle
from pathlib import Path
from typing import Any, Self

from support.faulty_disk import Fault, FaultyDisk


@dataclass(frozen=True)
class Finished:
    """What a command did.

    Attributes:
        exit_code: negative for a signal.
        asked: stage and id of each request to the engine, in order, such as "caption ad_001".
        points: what it passed on the disk, unless it was killed.
    """

    exit_code: int
    stdout: str
    stderr: str
    asked: list[str]
    points: list[str]

    @property
    def was_killed(self) -> bool:
        return self.exit_code == -signal.SIGKILL

    @property
    def was_stopped(self) -> bool:
        """Whether SIGTERM ended it, by its own code or before that had begun."""
        return self.exit_code in (128 + signal.SIGTERM, -signal.SIGTERM)


class ForkServer:
    """Use as `with ForkServer(scratch) as server`, then call `server.run`; one command runs at a time."""

    def __init__(self, scratch: Path, *modules: str) -> None:
        """Note where outputs go, and which modules to import besides."""
        self._scratch = scratch
        self._modules = modules

    def __enter__(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "support.fork_server", *self._modules]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(
        self,
        *arguments: object,
        root: Path,
        fault: Fault | None = None,
        kill_after_s: float | None = None,
        clock: Sequence[float] = (),
        quickly: bool = False,
        folder: Path | None = None,
    ) -> Finished:
        """Run `ictc` with `arguments` and wait for its end.

        Args:
            root: the folder below which the disk is faulty.
            kill_after_s: when to kill it, unless it has ended.
            clock: seconds by which the clock is wrong at one reading after the other, in turn.
            quickly: whether images are decoded in the process of the command, and the flags of a run are settings at
                once: starting other processes and reading a command line take longer than a short run.
            folder: where the command is given, if not here.
        """
        request = {
            "arguments": [str(argument) for argument in arguments],
            "scratch": str(self._scratch),
            "root": str(root),
            "fault": asdict(fault) if fault is not None else None,
            "kill_after_s": kill_after_s,
            "clock": list(clock),
            "quickly": quickly,
            "folder": str(folder or Path.cwd()),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        exit_code = int(self._process.stdout.readline())
        stdout, stderr, asked, points = ((self._scratch / name).read_text() for name in OUTPUTS)
        return Finished(exit_code, stdout, stderr, asked.splitlines(), points.splitlines())


OUTPUTS = ("stdout", "stderr", "asked", "points")


def serve() -> None:
    """Serve until stdin ends."""
    import_everything()
    gc.freeze()  # or each child would copy what the collector touches
    for line in sys.stdin.buffer:
        request = json.loads(line)
        with ExitStack() as stack:
            outputs = [stack.enter_context((Path(request["scratch"]) / name).open("wb", 0)) for name in OUTPUTS]
            process_id = os.fork()
            if process_id == 0:
                run_in_child(request, [output.fileno() for output in outputs])
        print(wait(process_id, request["kill_after_s"]), flush=True)


def import_everything() -> None:
    """Import what a run imports when it needs it."""
    needed = ("ictc.cli.run", "ictc.cli.status", "ictc.cli.verify", "ictc.engines.scripted", "pyarrow.parquet")
    for module in (*needed, *sys.argv[1:]):
        importlib.import_module(module)
    info = importlib.import_module("ictc.runs.info")
    info.installed_versions = cache(info.installed_versions)  # type: ignore[attr-defined]  # a fifth of a short run
    info.installed_versions()
    sys.modules["pyarrow"].Table.from_pylist([{"column": 1}])  # imports pandas where it is installed


def run_in_child(request: Mapping[str, Any], outputs: Sequence[int]) -> None:
    """Run one command and end this process, whatever happens."""
    exit_code = -1
    try:
        exit_code = run_command_in_trouble(request, outputs)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)


def run_command_in_trouble(request: Mapping[str, Any], outputs: Sequence[int]) -> int:
    """Run one command, with its outputs in files, on the disk and by the clock that the request describes."""
    from ictc.cli.main import run_command

    stdin = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate([stdin, *outputs[:2]]):
        os.dup2(descriptor, number)
    write_down_requests(outputs[2])
    os.chdir(request["folder"])
    if request["clock"]:
        make_clock_jump(request["clock"])
    if request["quickly"]:
        for owner, name, value in in_one_process():
            setattr(owner, name, value)
    disk = FaultyDisk(Path(request["root"]), Fault(**request["fault"]) if request["fault"] else None)
    disk.install()
    command, *flags = request["arguments"]
    quickly = request["quickly"] and command == "run"
    exit_code = run_settings(read_flags(flags)) if quickly else run_command([command, *flags])
    os.write(outputs[3], "\n".join(disk.points).encode())
    return exit_code


def run_settings(flags: Mapping[str, Any]) -> int:
    """Do what `ictc run` does with these settings, in this process, and return its exit code.

    Raises:
        Exception: an error that `ictc` would call internal.
    """
    from ictc.cli.main import fail
    from ictc.cli.run import run
    from ictc.config import RunSettings
    from ictc.errors import IctcError
    from ictc.runs.stopping import Interrupted

    try:
        run(settings=RunSettings.from_flags(flags))
    except IctcError as error:
        return fail(str(error), error.exit_code)
    except Interrupted as interruption:
        return interruption.exit_code
    return 0


def read_flags(arguments: Sequence[str]) -> dict[str, Any]:
    """Return settings from flags that are known to be right; of one that is there twice the last counts."""
    flags: dict[str, Any] = {}
    name = ""
    for argument in arguments:
        if argument.startswith("--"):
            name = argument.removeprefix("--")
            flags[name] = True
        else:
            flags[name] = json.loads(argument) if name == "engine_options" else argument
    return flags


def wait(process_id: int, kill_after_s: float | None) -> int:
    """Wait for the end of a child and return its exit code, negative for a signal."""
    if kill_after_s is not None:
        deadline = time.monotonic() + kill_after_s
        while not os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if time.monotonic() > deadline:
                os.kill(process_id, signal.SIGKILL)
            time.sleep(0.0005)
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1])


def write_down_requests(descriptor: int) -> None:
    """Let the scripted engine write down what it is asked, before it answers."""
    from ictc.engines.scripted import ScriptedEngine

    generate, write = ScriptedEngine.generate, os.write

    def generate_and_write_down(self: ScriptedEngine, requests: AsyncIterable[Any]) -> Any:
        async def seen() -> AsyncIterator[Any]:
            async for request in requests:
                write(descriptor, f"{request.task} {request.request_id}\n".encode())
                yield request

        return generate(self, seen())

    ScriptedEngine.generate = generate_and_write_down  # type: ignore[method-assign]


def in_one_process() -> list[tuple[Any, str, Any]]:
    """Return what to set, of what, so that a run takes less time.

    The pool does itself what its processes would do, the clock of a file system of this machine is believed, and
    settings are written by the library that PyYAML has in C.
    """
    import yaml

    from ictc.dataset.catalog import stamps
    from ictc.dataset.decoding.decode import decode_image
    from ictc.dataset.decoding.pool import DecodePool
    from ictc.dataset.decoding.source import find_source

    async def decode(self: DecodePool, path: Path, max_image_tokens: int) -> Any:
        return decode_image(path, max_image_tokens)

    async def find(self: DecodePool, path: Path, *, look: bool) -> Any:
        return find_source(path, look=look)

    dump = partial(yaml.dump, Dumper=yaml.CSafeDumper)
    pool = [(DecodePool, "decode", decode), (DecodePool, "find_source", find)]
    return [*pool, (stamps, "TICK_NS", 0), (yaml, "safe_dump", dump)]


def make_clock_jump(offsets_s: Sequence[float]) -> None:
    """Let each reading of the wall clock be wrong by the next of `offsets_s`; file times and sleeping stay right."""
    offsets, true_time = cycle(offsets_s), time.time

    class JumpingDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=next(offsets))

    time.time = lambda: true_time() + next(offsets)
    for name, module in list(sys.modules.items()):
        if name.startswith("ictc.") and getattr(module, "datetime", None) is datetime:
            module.datetime = JumpingDatetime  # type: ignore[attr-defined]


if __name__ == "__main__":
    serve()
