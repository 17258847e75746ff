"""Makes an archive of small run directories as `ictc` writes them at a commit, finished and interrupted.

    python tests/data/old_runs/make.py COMMIT

It lies beside this file, named after the commit, and tests/test_old_runs.py opens it with the code of the day. Make one
more whenever the format of a run directory has changed, at the last commit before. Nothing in it is edited afterwards:
the commands run under another host name, in a folder that could be anybody's.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
WORKPLACE = Path("/tmp/old_runs")
ELSEWHERE = """
import platform, sys
platform.node = lambda: "example"
import ictc.storage.lock
ictc.storage.lock.this_machine = lambda: "example 1"
from ictc.cli.main import main
main(sys.argv[1:])
"""
"""Runs a command as on another machine."""

WINDOW = 3
OPTIONS = json.dumps({"window": WINDOW})
SCRIPTED = ("--engine", "scripted", "--engine_options", OPTIONS)
RUN = ("run", "--ads_dir", "ads", *SCRIPTED, "--num_clusters", "2", "--max_rejected", "1")
TRACKS = ("--track", "1,2,3")
SHARDS = (*RUN, "--output_dir", "shards", "--num_shards", "2", "--shard_index")
CLUSTERS = [
    {"name": "red and blue shapes", "description": "shapes whose colors are red and blue"},
    {"name": "green and brown shapes", "description": "shapes whose colors are green and brown"},
]
FINISHED: dict[str, tuple[str, ...]] = {
    "one_track": (*RUN, "--output_dir", "one_track"),
    "three_tracks": (*RUN, "--output_dir", "three_tracks", *TRACKS),
    "combined": (*RUN, "--output_dir", "combined", *TRACKS, "--combine_tracks"),
    "shards/shard_0": (*SHARDS, "0"),
    "shards/shard_1": (*SHARDS, "1"),
    "merged": ("merge", "shards", "--output_dir", "merged"),
    "reclustered": ("recluster", "--source_dir", "one_track", "--output_dir", "reclustered", "--num_clusters", "3"),
    "special": (
        *("run", "--ads_dir", "ads", "--output_dir", "special", "--max_rejected", "1", "--engine", "scripted"),
        *("--engine_options", '{"fail": ["ad_3"]}', "--dedupe", "near", "--clusters", "clusters.json"),
    ),
}
"""The command of each run directory; what it reads comes before it."""


class Interruption(NamedTuple):
    """How a run is killed with as many images in flight as the window holds.

    Attributes:
        hang_on: ids of requests that get no answer.
        num_records: how many records there are at least when it dies, besides those of `steps_before`.
        steps_before: what had finished before.
    """

    hang_on: tuple[str, ...]
    num_records: int
    steps_before: str = ""


INTERRUPTED = {
    "killed_in_step_1": ((), Interruption(("ad_3", "ad_4", "ad_6"), 4)),
    "killed_in_step_3": ((), Interruption(("ad_3", "ad_4", "ad_6"), 4, "1,2a,2b")),
    "three_killed_in_step_1": (TRACKS, Interruption(("0:ad_3", "1:ad_3", "2:ad_3"), 9)),
}
"""The flags of each run directory, and how it is killed."""


def main(commit: str) -> None:
    WORKPLACE.mkdir()  # fails if somebody else is at work there
    try:
        with tempfile.TemporaryDirectory() as source:
            unpack_package(commit, Path(source))
            os.environ["PYTHONPATH"] = source
            made = make_all()
        (WORKPLACE / "made.json").write_text(json.dumps(made, indent=1))
        check_neutral()
        pack(HERE / f"{commit}.tar.xz")
    finally:
        shutil.rmtree(WORKPLACE)


def unpack_package(commit: str, target: Path) -> None:
    content = subprocess.check_output(["git", "archive", commit, "ictc"], cwd=HERE.parents[2])
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(target, filter="data")


def make_all() -> dict[str, Any]:
    """Make every run directory; return the command of each, and what the engine has answered it."""
    draw_ads(WORKPLACE / "ads")
    (WORKPLACE / "clusters.json").write_text(json.dumps(CLUSTERS))
    made: dict[str, Any] = {}
    for name, command in FINISHED.items():
        subprocess.run(start(*command), cwd=WORKPLACE, check=True)
        made[name] = {"command": command, "is_finished": True}
    for name, (flags, interruption) in INTERRUPTED.items():
        command = (*RUN, "--output_dir", name, *flags)
        if interruption.steps_before:
            subprocess.run(start(*command, "--steps", interruption.steps_before), cwd=WORKPLACE, check=True)
        kill(command, WORKPLACE / name, interruption)
        made[name] = {"command": command, "is_finished": False}
    return {name: {**one, "answered": list_answered(WORKPLACE / name)} for name, one in made.items()}


def start(*arguments: str) -> list[str]:
    return [sys.executable, "-c", ELSEWHERE, *arguments]


def kill(command: tuple[str, ...], directory: Path, interruption: Interruption) -> None:
    hanging = json.dumps({"window": WINDOW, "hang_on": interruption.hang_on})
    arguments = [hanging if argument == OPTIONS else argument for argument in command]
    num_records = len(list_answered(directory)) + interruption.num_records
    with subprocess.Popen(start(*arguments), cwd=WORKPLACE) as process:
        while len(list_answered(directory)) < num_records or count_in_flight(directory) < WINDOW:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()


def list_answered(directory: Path) -> list[str]:
    """Return what is recorded in a run directory: step and id, as in "label ad_0", once for each track."""
    answered = [
        f"{path.parts[-3]} {json.loads(line.partition(b' ')[2])['id']}"
        for path in sorted(directory.glob("**/state/*/*/*.jsonl"))
        for line in path.read_bytes().splitlines()
        if b'"id"' in line
    ]
    return [*answered, *("synthesize synthesize" for _ in directory.glob("**/state/synthesize/*/definitions.json"))]


def count_in_flight(directory: Path) -> int:
    """Return how many requests the engine has, of all tracks."""
    lines = [line for path in directory.glob("**/in_flight.log") for line in path.read_text().splitlines()]
    return sum({"+": 1, "-": -1}.get(line[:1], 0) for line in lines)


def draw_ads(folder: Path) -> None:
    """Draw five images, a copy, one that looks like another, and a broken file."""
    folder.mkdir()
    for number in range(5):
        draw(number).save(folder / f"ad_{number}.png")
    shutil.copy(folder / "ad_1.png", folder / "ad_5.png")
    alike = draw(2)
    alike.putpixel((0, 0), (254, 255, 255))
    alike.save(folder / "ad_6.png")
    (folder / "ad_7.png").write_bytes(b"no image")


def draw(number: int) -> Image.Image:
    chance = random.Random(number)
    image = Image.new("RGB", (64, 64), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(8):
        x, y = chance.randrange(48), chance.randrange(48)
        color = tuple(chance.randrange(256) for _ in range(3))
        pen.rectangle((x, y, x + chance.randrange(8, 30), y + chance.randrange(8, 30)), fill=color)
    return image


def check_neutral() -> None:
    """Refuse what tells whose machine this is."""
    own = [os.uname().nodename, str(HERE.parents[2]), sys.prefix, str(Path.home())]
    for path in WORKPLACE.rglob("*"):
        found = [text for text in own if path.is_file() and text.encode() in path.read_bytes()]
        assert not found, f"{path}: {found}"


def pack(path: Path) -> None:
    def forget_user(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(path, "w:xz") as archive:
        for part in sorted(WORKPLACE.iterdir()):
            archive.add(part, part.name, filter=forget_user)


if __name__ == "__main__":
    main(*sys.argv[1:])
