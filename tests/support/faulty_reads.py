"""A disk whose files can't be read for a while, as the decoding processes of a run see it.

They run this module at their start, and ask a file in between what is to happen: a test says so while the run is under
way, and hears when it has happened for the first time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import orjson

HOOK = """
import sys
if "ictc.dataset.decoding.worker" in sys.orig_argv:
    sys.path.insert(0, {support!r})
    from support.faulty_reads import install
    install({control!r})
"""


class FaultyReads:
    """Says what happens to files whose names are in a range.

    Args:
        folder: for what the processes are told by.
    """

    def __init__(self, folder: Path) -> None:
        self.hook = folder / "hook"
        self.hook.mkdir(parents=True)
        self._control = folder / "control.json"
        self._struck = folder / "control.struck"
        support = str(Path(__file__).parent.parent)
        (self.hook / "sitecustomize.py").write_text(HOOK.format(support=support, control=str(self._control)))

    def begin(self, effect: str, first: str = "", last: str = "~") -> None:
        """Let files from `first` to `last` fail from now on: an errno, "hang", or "slow".

        Every other file is read as ever.
        """
        self._struck.unlink(missing_ok=True)
        temporary = self._control.with_suffix(".new")
        temporary.write_bytes(orjson.dumps([effect, first, last]))
        temporary.replace(self._control)

    def end(self) -> None:
        """Let all be well again."""
        self._control.unlink(missing_ok=True)

    def wait_until_struck(self, timeout_s: float = 60.0) -> None:
        """Return when a file has failed."""
        deadline = time.monotonic() + timeout_s
        while not self._struck.exists():
            assert time.monotonic() < deadline, "no file has failed"
            time.sleep(0.01)


def install(control: str) -> None:
    """Replace `Path.stat`, by which decoding looks at a file first."""
    stat = Path.stat

    def trapped(path: Path, **options: Any) -> os.stat_result:
        try:
            with open(control, "rb") as file:  # noqa: PTH123 - Path.open is no way round oneself
                effect, first, last = orjson.loads(file.read())
        except FileNotFoundError:
            return stat(path, **options)
        if first <= path.name <= last:
            strike(effect, control)
        return stat(path, **options)

    Path.stat = trapped  # type: ignore[method-assign]


def strike(effect: str, control: str) -> None:
    """Do what was asked for."""
    import errno

    if effect == "slow":
        time.sleep(0.01)
        return
    os.close(os.open(control.replace(".json", ".struck"), os.O_CREAT | os.O_WRONLY))
    if effect == "hang":
        time.sleep(60)
    code = getattr(errno, effect)
    raise OSError(code, os.strerror(code))
