"""After any edits of a collection and of settings, interrupted anywhere, a run says what a fresh one says.

`ICTC_SEQUENCES=10000` sets how many sequences of edits and runs are tried.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random

import orjson
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from PIL import Image, ImageDraw
from support.cli import exported_bytes
from support.faulty_disk import ANY, Fault
from support.fork_server import Finished, ForkServer

NUM_SEQUENCES = int(os.environ.get("ICTC_SEQUENCES", "200"))
STEPS_PER_SEQUENCE = 4
LEAST_IMAGES, MOST_IMAGES = 4, 8
MOST_KILLS = 2
"""In a row: at the third death with the same image alone in flight, it is quarantined, as it should be."""

TRACK_FOLDERS = {"1": [""], "1,2,3": ["full_run", "track2_identity", "track3_cultural"]}
SCENES, VARIANTS = 6, 2
PICTURES = st.tuples(st.integers(0, SCENES - 1), st.integers(0, VARIANTS - 1))
CHOICES = st.integers(0, 1000)


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
        self.root = Path(tempfile.mkdtemp(prefix="ictc-sameness-"))
        self.numbers = itertools.count()
        self.out = self.root / "out"
        self.flags: dict[str, object] = {"--num_clusters": 2}
        self.options: dict[str, object] = {"window": 3}
        self.kills = 0

    @initialize(tracks=st.sampled_from(["1", "1", "1", "1,2,3"]), pictures=st.lists(PICTURES, min_size=5, max_size=7))
    def begin(self, tracks: str, pictures: list[tuple[int, int]]) -> None:
        self.tracks = tracks
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

    @rule(flag=st.sampled_from(["--dedupe=off", "--dedupe=exact", "--dedupe=near"]))
    def compare_images_by(self, flag: str) -> None:
        self.flags["--dedupe"] = flag.partition("=")[2]

    @rule(num_clusters=st.integers(2, 3), seed=st.integers(1, 2))
    def cluster_otherwise(self, num_clusters: int, seed: int) -> None:
        self.flags |= {"--num_clusters": num_clusters, "--seed": seed}

    @rule(criterion=st.sampled_from(["Emotional Tone", "Color"]))
    def ask_otherwise(self, criterion: str) -> None:
        self.flags["--criterion"] = criterion

    @rule(
        max_image_tokens=st.sampled_from([64, 1280]), salt=st.sampled_from(["", "x"]), refuse=st.sampled_from([0, 0.3])
    )
    def use_another_model(self, max_image_tokens: int, salt: str, refuse: float) -> None:
        self.flags["--max_image_tokens"] = max_image_tokens
        self.options |= {"salt": salt, "refuse": refuse}

    @precondition(lambda self: self.tracks != "1")
    @rule()
    def combine_tracks(self) -> None:
        if self.flags.pop("--combine_tracks", None) is None:
            self.flags["--combine_tracks"] = True

    # Runs

    @rule(retries=st.booleans())
    def run_to_the_end(self, retries: bool) -> None:
        self.run(*["--retry_rejected"] * retries)

    @precondition(lambda self: self.kills < MOST_KILLS)
    @rule(nth=st.integers(1, 150), when=st.sampled_from(["before", "midway", "after"]), retries=st.booleans())
    def kill(self, nth: int, when: str, retries: bool) -> None:
        self.kills += 1
        self.run(*["--retry_rejected"] * retries, fault=Fault(ANY, when=when, nth=nth))  # type: ignore[arg-type]

    def run(self, *flags: object, out: Path | None = None, fault: Fault | None = None) -> Finished:
        given = itertools.chain.from_iterable(self.flags.items())
        command = ("run", "--ads_dir", self.ads, "--output_dir", out or self.out, "--engine", "scripted")
        options = ("--engine_options", orjson.dumps(self.options).decode(), "--track", self.tracks)
        arguments = (
            *command,
            *options,
            "--ckpt_vlm",
            2,
            "--max_rejected",
            1,
            *(flag for flag in given if flag is not True),
            *flags,
        )
        finished = self.server.run(*arguments, root=out or self.out, fault=fault, in_one_process=True)
        assert "internal error" not in finished.stderr, finished.stderr
        assert "please report" not in finished.stderr, finished.stderr
        if not finished.was_killed:
            self.kills = 0
        return finished

    def teardown(self) -> None:
        try:
            if hasattr(self, "ads"):
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
        verified = self.server.run("verify", self.out, root=self.out)
        assert verified.exit_code == 0, verified.stdout


def sorted_images(directory: Path) -> dict[str, bytes]:
    """Return the images in `categorized_images/`, by name."""
    folder = directory / "categorized_images"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def edited(fork_server: ForkServer) -> Iterator[type[EditedCollection]]:
    EditedCollection.server = fork_server
    yield EditedCollection
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
        ),
    )
