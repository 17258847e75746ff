"""One process a run directory, whatever has become of the owner before."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from support.cli import Ictc, start_ictc
from support.collections import draw_flat

from ictc.errors import StorageError
from ictc.storage import lock as lock_module
from ictc.storage.lock import SILENT_AFTER_S, RunLock

HOLD = """
import sys, time
from pathlib import Path
from ictc.storage.lock import RunLock
refused_by = RunLock(Path(sys.argv[1])).try_acquire()
print("held" if refused_by is None else "refused", flush=True)
time.sleep(60)
"""

RACE = """
import sys, time
from pathlib import Path
from ictc.storage.lock import RunLock
print("ready", flush=True)
sys.stdin.readline()
for directory in sys.argv[1:]:
    print("won" if RunLock(Path(directory)).try_acquire() is None else "lost", flush=True)
sys.stdin.readline()
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def owner_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the lock until the block ends."""
    with start(HOLD, directory) as process:
        assert read_line(process) == "held"
        try:
            yield process
        finally:
            process.kill()


def lock_file(directory: Path) -> Path:
    (path,) = directory.glob("lock-*.json")
    return path


def doctor(directory: Path, **changes: object) -> Path:
    """Change what a lock says about its owner."""
    path = lock_file(directory)
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **changes}))
    return path


def make_silent(path: Path) -> None:
    """Let the last touch of a lock be long ago."""
    long_ago = time.time() - lock_module.SILENT_AFTER_S - 1
    os.utime(path, (long_ago, long_ago))


class TestOwnersOnThisMachine:
    def test_a_second_process_is_refused_while_the_first_lives(self, tmp_path: Path) -> None:
        with owner_process(tmp_path) as process:
            found = RunLock(tmp_path).try_acquire()
            assert found is not None
            assert found.is_local
            assert found.owner is not None
            assert found.owner.pid == process.pid

    def test_a_killed_owner_is_followed_at_once_even_before_its_parent_noticed(self, tmp_path: Path) -> None:
        with owner_process(tmp_path) as process:
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
            lock = RunLock(tmp_path)
            assert lock.try_acquire() is None
        assert lock.taken_from is not None
        assert f"process {process.pid} on " in str(lock.taken_from)

    def test_another_process_with_the_same_id_is_not_the_owner(self, tmp_path: Path) -> None:
        assert RunLock(tmp_path).try_acquire() is None
        doctor(tmp_path, process_start="1")
        assert RunLock(tmp_path).try_acquire() is None

    def test_what_was_released_is_free_and_nobody_is_called_dead(self, tmp_path: Path) -> None:
        with RunLock(tmp_path) as first:
            assert first.try_acquire() is None
        second = RunLock(tmp_path)
        assert second.try_acquire() is None
        assert second.taken_from is None
        assert lock_file(tmp_path).name == "lock-000002.json"

    def test_of_many_that_want_a_dead_owners_lock_one_gets_it(self, tmp_path: Path) -> None:
        directories = [tmp_path / str(number) for number in range(40)]
        for directory in directories:
            assert RunLock(directory).try_acquire() is None
            doctor(directory, process_start="1")
        racers = [start(RACE, *directories) for _ in range(4)]
        for racer in racers:
            assert read_line(racer) == "ready"
        for racer in racers:
            assert racer.stdin is not None
            print(file=racer.stdin, flush=True)
        outcomes = [[read_line(racer) for _ in directories] for racer in racers]
        for racer in racers:
            racer.communicate("\n")
        assert [column.count("won") for column in zip(*outcomes, strict=True)] == [1] * len(directories)
        assert len({tuple(outcome) for outcome in outcomes}) > 1, "one process won them all: this was no race"


class TestOwnersElsewhere:
    @pytest.fixture
    def foreign(self, tmp_path: Path) -> Path:
        """A lock that a process on another machine holds."""
        assert RunLock(tmp_path).try_acquire() is None
        return doctor(tmp_path, host="elsewhere", machine="another boot", pid=1)

    def test_one_that_was_heard_of_lately_is_alive(self, tmp_path: Path, foreign: Path) -> None:
        found = RunLock(tmp_path).try_acquire()
        assert found is not None
        assert not found.is_local
        assert found.path == foreign

    def test_one_that_is_silent_is_dead(self, tmp_path: Path, foreign: Path) -> None:
        make_silent(foreign)
        lock = RunLock(tmp_path)
        assert lock.try_acquire() is None
        assert "on elsewhere" in str(lock.taken_from)

    def test_the_clock_of_this_machine_does_not_matter(
        self, tmp_path: Path, foreign: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "time", lambda: 0.0)
        assert RunLock(tmp_path).try_acquire() is not None
        monkeypatch.setattr(time, "time", lambda: 1e11)
        assert RunLock(tmp_path).try_acquire() is not None

    def test_a_lock_without_a_readable_owner_is_judged_the_same_way(self, tmp_path: Path, foreign: Path) -> None:
        foreign.write_bytes(b"")
        assert RunLock(tmp_path).try_acquire() is not None
        make_silent(foreign)
        assert RunLock(tmp_path).try_acquire() is None

    def test_a_rebooted_machine_is_another_machine(self, tmp_path: Path) -> None:
        assert RunLock(tmp_path).try_acquire() is None
        make_silent(doctor(tmp_path, machine="the boot before"))
        assert RunLock(tmp_path).try_acquire() is None


class TestOwnersOfOtherUsers:
    """On this machine, where /proc shows everybody their own processes alone, as the option hidepid makes it."""

    @pytest.fixture
    def hidden(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """A lock that such a process holds."""

        def refuse(pid: int, _: int) -> None:
            raise PermissionError(errno.EPERM, f"process {pid}")

        with owner_process(tmp_path):
            monkeypatch.setattr(lock_module, "process_start", lambda _: None)
            monkeypatch.setattr(os, "kill", refuse)
            yield lock_file(tmp_path)
            monkeypatch.undo()

    def test_one_that_was_heard_of_lately_is_alive(self, tmp_path: Path, hidden: Path) -> None:
        found = RunLock(tmp_path).try_acquire()
        assert found is not None
        assert not found.is_local

    def test_one_that_is_silent_is_dead(self, tmp_path: Path, hidden: Path) -> None:
        make_silent(hidden)
        assert RunLock(tmp_path).try_acquire() is None

    def test_one_that_has_ended_is_dead_at_once(self, tmp_path: Path) -> None:
        with owner_process(tmp_path) as process:
            process.kill()
        assert RunLock(tmp_path).try_acquire() is None


class TestLosing:
    def test_an_owner_that_seemed_dead_learns_that_it_has_lost(self, tmp_path: Path) -> None:
        sleeper = RunLock(tmp_path)
        assert sleeper.try_acquire() is None
        assert sleeper.touch()
        make_silent(doctor(tmp_path, machine="cannot be looked into"))
        other = RunLock(tmp_path)
        assert other.try_acquire() is None
        assert not sleeper.touch()
        sleeper.release()
        assert other.is_held()

    def test_deleting_the_file_forces_it(self, tmp_path: Path) -> None:
        first, second = RunLock(tmp_path), RunLock(tmp_path)
        assert first.try_acquire() is None
        assert second.try_acquire() is not None
        lock_file(tmp_path).unlink()
        assert second.try_acquire() is None
        assert not first.touch()
        assert second.touch()

    def test_one_who_looked_long_ago_gets_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between its look and its grasp, the lock is taken, released, and taken again."""
        assert RunLock(tmp_path).try_acquire() is None
        doctor(tmp_path, process_start="1")
        create_once, others = lock_module.create_once, [RunLock(tmp_path), RunLock(tmp_path)]

        def create_late(draft: Path, *, path: Path) -> bool:
            monkeypatch.setattr(lock_module, "create_once", create_once)
            assert others[0].try_acquire() is None
            others[0].release()
            assert others[1].try_acquire() is None
            return create_once(draft, path=path)

        monkeypatch.setattr(lock_module, "create_once", create_late)
        assert RunLock(tmp_path).try_acquire() is not None
        assert others[1].is_held()


def test_a_lock_that_is_listed_but_not_there_is_an_error_and_no_wait_for_ever(tmp_path: Path) -> None:
    (tmp_path / "lock-000003.json").symlink_to("nowhere")
    with pytest.raises(StorageError, match=r"lock-000003\.json is listed"):
        RunLock(tmp_path).try_acquire()


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    assert first.try_acquire() is None
    assert second.try_acquire() is not None
    first.release()
    assert second.try_acquire() is None


def test_what_a_process_left_that_was_killed_at_the_lock_is_removed(tmp_path: Path) -> None:
    for name, age_s in (("old", SILENT_AFTER_S + 1), ("new", 0.0)):
        draft = tmp_path / f".lock.{name}.tmp"
        draft.touch()
        os.utime(draft, (time.time() - age_s, time.time() - age_s))
    with RunLock(tmp_path) as lock:
        assert lock.try_acquire() is None
    assert {path.name for path in tmp_path.iterdir()} == {".lock.new.tmp", "lock-000001.json"}


def test_nothing_but_the_lock_is_left_behind(tmp_path: Path) -> None:
    for _ in range(3):
        with RunLock(tmp_path) as lock:
            assert lock.try_acquire() is None
            assert RunLock(tmp_path).try_acquire() is not None
    assert [path.name for path in tmp_path.iterdir()] == ["lock-000003.json"]


class TestRuns:
    @pytest.fixture
    def ads(self, tmp_path: Path) -> Path:
        return draw_flat(tmp_path / "ads", 12)

    @pytest.fixture
    def out(self, tmp_path: Path) -> Path:
        return tmp_path / "out"

    @pytest.fixture
    def ictc(self, capsys: pytest.CaptureFixture[str]) -> Ictc:
        return Ictc(capsys)

    @staticmethod
    def start_run(ads: Path, out: Path, *arguments: object) -> subprocess.Popen[str]:
        """Start a run that does not end by itself, and wait until it is at work."""
        hang = orjson.dumps({"hang_on": ["ad_004"]}).decode()
        common = ("--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--engine_options", hang)
        process = start_ictc("run", *common, *arguments)
        wait_until(lambda: any(out.glob("**/state/caption/*/*.jsonl")))
        return process

    def test_the_second_is_refused_in_one_line(self, ictc: Ictc, ads: Path, out: Path) -> None:
        with self.start_run(ads, out) as first:
            second = ictc.run(ads, out)
            first.kill()
        assert second.exit_code == 1
        (error,) = [line for line in second.stderr.splitlines() if line.startswith("ictc: error")]
        owner = orjson.loads(lock_file(out / "state").read_bytes())
        for words in (f"process {first.pid} ", owner["host"], owner["started_at"], str(lock_file(out / "state"))):
            assert words in error

    def test_a_killed_run_is_resumed_at_once(self, ictc: Ictc, ads: Path, out: Path) -> None:
        with self.start_run(ads, out) as first:
            first.kill()
        resumed = ictc.succeed(ads, out)
        assert f"resuming after process {first.pid} " in resumed.stderr

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_stopped_run_gives_the_lock_back(self, ads: Path, out: Path, number: int) -> None:
        with self.start_run(ads, out) as process:
            process.send_signal(number)
        assert orjson.loads(lock_file(out / "state").read_bytes())["released"]

    def test_a_failed_run_gives_the_lock_back(self, ictc: Ictc, ads: Path, tmp_path: Path, out: Path) -> None:
        assert ictc.run(tmp_path / "no ads", out).exit_code == 1
        assert orjson.loads(lock_file(out / "state").read_bytes())["released"]
        ictc.succeed(ads, out)

    def test_tracks_and_shards_have_locks_of_their_own(self, ictc: Ictc, ads: Path, out: Path) -> None:
        with self.start_run(ads, out, "--track", "1,2") as first:
            wait_until(lambda: any(out.glob("track2_identity/state/lock-*.json")))
            assert "track2_identity is in use" in ictc.run(ads, out, "--track", "2,3").stderr
            assert ictc.run(ads, out, "--track", "3", "--shard_id", "track3_cultural").exit_code == 0
            first.kill()
        ictc.succeed(ads, out, "--track", "1,2")

    def test_an_owner_elsewhere_gets_time_to_show_that_it_lives(
        self, ictc: Ictc, ads: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert RunLock(out / "state").try_acquire() is None
        path = doctor(out / "state", host="elsewhere", machine="another boot")
        monkeypatch.setattr("ictc.runs.locking.LOCK_POLL_S", 0.1)
        sign_of_life = threading.Timer(1.0, path.touch)
        sign_of_life.start()
        refused = ictc.run(ads, out)
        assert refused.exit_code == 1
        assert "on elsewhere" in refused.stderr
        assert not (out / "run.json").exists()

        monkeypatch.setattr(lock_module, "SILENT_AFTER_S", 1.0)
        assert "on elsewhere" in ictc.succeed(ads, out).stderr

    def test_a_run_that_lost_its_lock_stops(self, ads: Path, out: Path) -> None:
        with self.start_run(ads, out) as process:
            lock_file(out / "state").unlink()
            _, stderr = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "taken over by another process" in stderr


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
