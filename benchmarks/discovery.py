"""Time Step 0 over many observation folders: `python benchmarks/discovery.py [--folders 100000]`.

Makes the folders in a temporary place, each with two frames and its metadata, then lists their names and reads their
metadata. Prints a line for people and a JSON line; the ratio says what the metadata costs beside the names.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from random import Random
from uuid import UUID

from ictc.dataset.catalog.discover import iter_images, list_collection


def make_folders(root: Path, count: int) -> None:
    """Make `count` observation folders as in the public export; the images are empty, as nothing decodes them."""
    random = Random(1)
    words = {"ocr_data": [{"text": "Buy now " * 4, "confidence": 0.9}] * 20}
    for number in range(count):
        name = str(UUID(int=random.getrandbits(128)))
        folder = root / name
        folder.mkdir()
        for frame in (480, 1040):
            (folder / f"image_{frame}.jpg").touch()
        observation = {"uuid": name, "platform": "Facebook", "ad_format": "FEED_BASED", "keyframes": [words]}
        data = {"observation_id": name, "timestamp": 1714564800 + number, "observation": observation}
        (folder / "full_data.json").write_text(json.dumps(data))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folders", type=int, default=100_000)
    num_folders = parser.parse_args().folders
    with tempfile.TemporaryDirectory() as root:
        make_folders(Path(root), num_folders)
        started = time.perf_counter()
        collection = list_collection(Path(root), layout="auto")
        listed = time.perf_counter()
        num_images = sum(1 for _ in iter_images(collection))
        read = time.perf_counter()
    figures = {"folders": num_folders, "list_s": round(listed - started, 3), "metadata_s": round(read - listed, 3)}
    print(f"{num_images:,} images: names {figures['list_s']} s, metadata {figures['metadata_s']} s")
    print(json.dumps({**figures, "ratio": round(figures["metadata_s"] / figures["list_s"], 1)}))


if __name__ == "__main__":
    main()
