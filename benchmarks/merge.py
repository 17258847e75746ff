"""Time a merge without its clustering steps: `python benchmarks/merge.py [--shards 10 --images 100000]`.

Fills shards with captions and labels and merges them with `ictc merge --no_cluster`, in a process of its own. The
images themselves are not there, as on a machine that only merges, so that `categorized_images/` stays empty;
with `--with_images` there is an empty file for each. Prints a line for people and a JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from measuring import measure
from synthetic import fill_shard, make_image

MERGE = "from ictc.cli import main; main()"


def make_images(ads_dir: Path, count: int) -> None:
    """Make an empty file for each image."""
    for number in range(count):
        path = ads_dir / make_image(number).path
        path.parent.mkdir(parents=True)
        path.touch()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--images", type=int, default=100_000, help="in each shard")
    parser.add_argument("--with_images", action="store_true", help="link as many files")
    arguments = parser.parse_args()
    num_units = arguments.shards * arguments.images
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        shards = [root / f"shard_{number}" for number in range(arguments.shards)]
        for number, shard in enumerate(shards):
            fill_shard(shard, number * arguments.images, (number + 1) * arguments.images, num_units)
        if arguments.with_images:
            make_images(shards[0] / "ads", num_units)
        usage = measure("-c", MERGE, "merge", *shards, "--output_dir", root / "merged", "--no_cluster")
        print(f"{arguments.shards} shards of {arguments.images:,} images: {usage}")
        print(
            json.dumps(
                {
                    "shards": arguments.shards,
                    "images": arguments.images,
                    "with_images": arguments.with_images,
                    **asdict(usage),
                }
            )
        )


if __name__ == "__main__":
    main()
