"""After any edits of a collection and of settings, interrupted anywhere, a run says what a fresh one says.

`ICTC_SEQUENCES=10000` sets how many sequences of edits and runs are tried, and `--hypothesis-seed` which ones. Most run
in this process and on a file system in memory; some by the command line in a process each, and some on a disk, which
gives the number of a deleted file to the next.
"""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import BytesIO, StringIO
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.engine import ConjectureRunner
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from PIL import Image, ImageDraw
from support.cli import exported_bytes
from support.faulty_disk import ANY, Fault, When, do_nothing
from support.fork_server import Finished, ForkServer, in_one_process, run_settings

from ictc.runs.info import installed_versions
from ictc.runs.verify import verify
from ictc.storage.rundir import RunDirectory

NUM_SEQUENCES = int(os.environ.get("ICTC_SEQUENCES", "200"))
STEPS_PER_SEQUENCE = 6
"""The first run is one."""

LEAST_IMAGES, MOST_IMAGES = 4, 8
MOST_KILLS = 2
"""In a row: at the third death with the same image alone in flight, it is quarantined, as it should be."""

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
TRACK_FOLDERS = {"1": [""], "1,2,3": ["full_run", "track2_identity", "track3_cultural"]}
SCENES, VARIANTS = 6, 2
PICTURES = st.tuples(st.integers(0, SCENES - 1), st.integers(0, VARIANTS - 1))
CHOICES = st.integers(0, 1000)
SOON, LATER = st.integers(1, 40), st.integers(41, 160)
"""At which of its writes a run is killed or stopped: one that has nothing to do makes 36, one of 7 images about 160."""

WHEN: st.SearchStrategy[When] = st.sampled_from(["before", "midway", "after"])
AGAIN = st.sampled_from([{}, {}, {"retry_rejected": True}, {"force_steps": "1"}, {"force_steps": "2a,3"}])
"""What a command asks to be done again."""

EXIT_CODES = {0, 1, 2}


@cache
def draw_picture(picture: tuple[int, int]) -> bytes:
    """Return a picture as a file; all are equally large, and the variants of a scene look alike."""
    scene, variant = picture
    random = Random(scene)
    image = Image.new("RGB", (64, 64), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        x, y = random.randrange(48), random.randrange(48)
        color = tuple(random.randrange(256) for _ in range(3))
        draw.rectangle((x, y, x + random.randrange(8, 30), y + random.randrange(8, 30)), fill=color)
    image.putpixel((0, 0), (255 - variant, 255, 255))
    file = BytesIO()
    image.save(file, "BMP")
    return file.getvalue()


class EditedCollection(RuleBasedStateMachine):
    """A collection that is edited, and a command that runs over it, with other settings and interrupted at times."""

    server: ForkServer

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.flags: dict[str, Any] = {
            "num_clusters": 2,
            "engine": "scripted",
            "ckpt_vlm": 2,
            "max_rejected": 1,
            "max_broken": 1,
        }
        self.options: dict[str, Any] = {"window": 3}
        self.kills = 0

    @initialize(
        tracks=st.sampled_from(["1", "1", "1", "1,2,3"]),
        pictures=st.lists(PICTURES, min_size=5, max_size=7),
        place=st.sampled_from([None] + [MEMORY] * 9),
        by_command_line=st.sampled_from([True] + [False] * 9),
    )
    def begin(self, tracks: str, pictures: list[tuple[int, int]], place: str | None, by_command_line: bool) -> None:
        self.tracks = tracks
        self.by_command_line = by_command_line
        self.root = Path(tempfile.mkdtemp(prefix="ictc-sameness-", dir=place))
        self.out = self.root / "out"
        self.ads = self.root / "ads"
        self.ads.mkdir()
        for picture in pictures:
            (self.ads / f"ad_{next(self.numbers)}.bmp").write_bytes(draw_picture(picture))
        self.run()

    # Edits of the collection

    def choose(self, choice: int) -> Path:
        paths = sorted(self.ads.iterdir())
        return paths[choice % len(paths)]

    def has_room(self) -> bool:
        return len(list(self.ads.iterdir())) < MOST_IMAGES

    @precondition(has_room)
    @rule(picture=PICTURES, is_first=st.booleans())
    def add(self, picture: tuple[int, int], is_first: bool) -> None:
        name = f"{'ab' if is_first else 'ad'}_{next(self.numbers)}.bmp"
        (self.ads / name).write_bytes(draw_picture(picture))

    @precondition(has_room)
    @rule(choice=CHOICES, is_first=st.booleans())
    def duplicate(self, choice: int, is_first: bool) -> None:
        name = f"{'ab' if is_first else 'ad'}_{next(self.numbers)}.bmp"
        shutil.copy2(self.choose(choice), self.ads / name)

    @precondition(lambda self: len(list(self.ads.iterdir())) > LEAST_IMAGES)
    @rule(choice=CHOICES)
    def remove(self, choice: int) -> None:
        self.choose(choice).unlink()

    @rule(choice=CHOICES, is_first=st.booleans())
    def rename(self, choice: int, is_first: bool) -> None:
        name = f"{'ab' if is_first else 'ad'}_{next(self.numbers)}.bmp"
        self.choose(choice).rename(self.ads / name)

    @rule(choice=CHOICES, other=CHOICES)
    def swap_names(self, choice: int, other: int) -> None:
        one, two, aside = self.choose(choice), self.choose(other), self.root / "aside"
        if one != two:
            one.rename(aside)
            two.rename(one)
            aside.rename(two)

    @rule()
    def renumber(self) -> None:
        paths = sorted(self.ads.iterdir())
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths, [*contents[1:], contents[0]], strict=True):
            path.write_bytes(content)

    @rule(choice=CHOICES, picture=PICTURES, keeps_time=st.booleans(), in_place=st.booleans())
    def replace(self, choice: int, picture: tuple[int, int], keeps_time: bool, in_place: bool) -> None:
        path = self.choose(choice)
        status = path.stat()
        target = path if in_place else self.root / "aside"
        target.write_bytes(draw_picture(picture))
        if keeps_time:
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        target.replace(path)

    @rule(choice=CHOICES)
    def break_image(self, choice: int) -> None:
        path = self.choose(choice)
        path.write_bytes(b"no image".ljust(path.stat().st_size))

    @rule(choice=CHOICES)
    def touch(self, choice: int) -> None:
        self.choose(choice).touch()

    @rule(is_copy=st.booleans())
    def move(self, is_copy: bool) -> None:
        target = self.root / f"ads_{next(self.numbers)}"
        if is_copy:
            shutil.copytree(self.ads, target)
        else:
            self.ads.rename(target)
        self.ads = target

    # Changes of settings

    @rule(dedupe=st.sampled_from(["off", "exact", "near"]))
    def compare_images_by(self, dedupe: str) -> None:
        self.flags["dedupe"] = dedupe

    @rule(num_clusters=st.sampled_from([2, 3, "2,3"]), seed=st.integers(1, 2))
    def cluster_otherwise(self, num_clusters: int | str, seed: int) -> None:
        self.flags |= {"num_clusters": num_clusters, "seed": seed}

    @rule(allow_none=st.booleans(), way=st.sampled_from(["one", "several", "certified"]), evidence=st.booleans())
    def judge_otherwise(self, allow_none: bool, way: str, evidence: bool) -> None:
        self.flags |= {"allow_none": allow_none, "multi_label": way == "several", "evidence": evidence}
        self.flags["assign_target"] = 0.5 if way == "certified" else 1

    @rule(criterion=st.sampled_from(["Emotional Tone", "Color"]))
    def ask_otherwise(self, criterion: str) -> None:
        self.flags["criterion"] = criterion

    @rule(
        max_image_tokens=st.sampled_from([64, 1280]), salt=st.sampled_from(["", "x"]), refuse=st.sampled_from([0, 0.3])
    )
    def use_another_model(self, max_image_tokens: int, salt: str, refuse: float) -> None:
        self.flags["max_image_tokens"] = max_image_tokens
        self.options |= {"salt": salt, "refuse": refuse}

    @rule(combined=st.booleans())
    def look_in_other_ways(self, combined: bool) -> None:
        """Change between one track and three, which lie in folders of their own."""
        self.tracks = next(tracks for tracks in TRACK_FOLDERS if tracks != self.tracks)
        self.flags["combine_tracks"] = combined and self.tracks != "1"

    @precondition(lambda self: self.tracks != "1")
    @rule()
    def combine_tracks(self) -> None:
        self.flags["combine_tracks"] = not self.flags.get("combine_tracks")

    # Runs

    @rule(again=AGAIN)
    def run_to_the_end(self, again: dict[str, Any]) -> None:
        self.run(again)

    @precondition(lambda self: self.kills < MOST_KILLS)
    @rule(nth=SOON, when=WHEN, again=AGAIN)
    def kill_soon(self, nth: int, when: When, again: dict[str, Any]) -> None:
        self.kill(nth, when, again)

    @precondition(lambda self: self.kills < MOST_KILLS)
    @rule(nth=LATER, when=WHEN, again=AGAIN)
    def kill_later(self, nth: int, when: When, again: dict[str, Any]) -> None:
        self.kill(nth * len(TRACK_FOLDERS[self.tracks]), when, again)

    @rule(nth=SOON, again=AGAIN)
    def stop_soon(self, nth: int, again: dict[str, Any]) -> None:
        self.run(again, fault=Fault(ANY, effect="stop", nth=nth))

    @rule(nth=LATER, again=AGAIN)
    def stop_later(self, nth: int, again: dict[str, Any]) -> None:
        self.run(again, fault=Fault(ANY, effect="stop", nth=nth * len(TRACK_FOLDERS[self.tracks])))

    def kill(self, nth: int, when: When, again: dict[str, Any]) -> None:
        self.kills += 1
        self.run(again, fault=Fault(ANY, when=when, nth=nth))

    def run(self, again: dict[str, Any] | None = None, out: Path | None = None, fault: Fault | None = None) -> Finished:
        """Run the command once; `again` holds flags of this time only."""
        paths = {"ads_dir": self.ads, "output_dir": out or self.out, "track": self.tracks}
        flags = {**self.flags, **paths, "engine_options": self.options, **(again or {})}
        finished = self.run_with(flags, fault)
        assert finished.exit_code in EXIT_CODES or finished.was_killed or finished.was_stopped, finished.stderr
        assert "internal error" not in finished.stderr, finished.stderr
        assert "please report" not in finished.stderr, finished.stderr
        if not finished.was_killed:
            self.kills = 0
        wait_for_tick(self.root)
        return finished

    def run_with(self, flags: dict[str, Any], fault: Fault | None) -> Finished:
        if self.by_command_line or fault is not None:
            arguments = ("run", *as_arguments(flags))
            return self.server.run(*arguments, root=flags["output_dir"], fault=fault, quickly=not self.by_command_line)
        with redirect_stdout(StringIO()) as stdout, redirect_stderr(StringIO()) as stderr:
            exit_code = run_settings(flags)
        return Finished(exit_code, stdout.getvalue(), stderr.getvalue(), [], [])

    def teardown(self) -> None:
        if not hasattr(self, "root"):
            return
        try:
            self.check()
        finally:
            shutil.rmtree(self.root)

    def check(self) -> None:
        """Check that nothing tells the run directory from that of the same command in an empty folder."""
        finished, fresh = self.run(), self.run(out=self.root / "fresh")
        assert finished.exit_code == fresh.exit_code, finished.stderr + fresh.stderr
        if fresh.exit_code:
            return
        for folder in TRACK_FOLDERS[self.tracks]:
            assert exported_bytes(self.out / folder) == exported_bytes(self.root / "fresh" / folder)
            assert sorted_images(self.out / folder) == sorted_images(self.root / "fresh" / folder)
            problems = [str(found) for found in verify(RunDirectory(self.out / folder)) if not found.is_note]
            assert not problems


def as_arguments(flags: dict[str, Any]) -> Iterator[object]:
    """Yield settings as they are given to `ictc run`."""
    for name, value in flags.items():
        if value is not False:
            yield f"--{name}"
        if not isinstance(value, bool):
            yield orjson.dumps(value).decode() if isinstance(value, dict) else value


def wait_for_tick(folder: Path) -> None:
    """Wait until a file that is written now gets another time than one that was written a moment ago."""
    clock = folder / "clock"
    clock.touch()
    before = clock.stat().st_mtime_ns
    while clock.stat().st_mtime_ns == before:
        time.sleep(0.001)
        clock.touch()


def sorted_images(directory: Path) -> dict[str, bytes]:
    """Return the images in `categorized_images/`, by name."""
    folder = directory / "categorized_images"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def edited(fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[EditedCollection]]:
    """A collection, and a process that runs commands over it with little besides."""
    for owner, name, value in in_one_process():
        monkeypatch.setattr(owner, name, value)
    monkeypatch.setattr("ictc.runs.info.installed_versions", cache(installed_versions))
    monkeypatch.setattr(os, "fsync", do_nothing)
    monkeypatch.setattr(ConjectureRunner, "generate_mutations_from", do_nothing)  # five times each, of one sequence
    EditedCollection.server = fork_server
    gc.freeze()
    yield EditedCollection
    gc.unfreeze()
    del EditedCollection.server


@pytest.mark.timeout(0)  # as many sequences as are asked for
def test_a_run_says_what_a_fresh_one_says_after_any_edits(edited: type[EditedCollection]) -> None:
    run_state_machine_as_test(
        edited,
        settings=settings(
            max_examples=NUM_SEQUENCES,
            stateful_step_count=STEPS_PER_SEQUENCE,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],  # each run of a sequence takes seconds: shrinking would take hours
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
