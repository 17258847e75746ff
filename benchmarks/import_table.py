"""Time an import, without its clustering: `python benchmarks/import_table.py [--rows 100000 1000000 --kind csv]`.

Writes tables of texts, or directories as the reference writes them, and imports each by `ictc import --no_cluster` in a
process of its own. Prints how many rows a second and how much memory at most, and the ratio of memory between the
smallest and the largest, for people and as a JSON line.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from measuring import MAIN, measure, print_results

from ictc.engines.scripted import WORDS

WORDS_PER_TEXT = 30
COMMON = ("--criterion", "what is complained about", "--engine", "scripted", "--no_cluster")


def make_text(random: Random) -> str:
    """Return some 180 letters."""
    return " ".join(random.choices(WORDS, k=WORDS_PER_TEXT))


def write_csv(path: Path, num_rows: int) -> Path:
    """Write a table with an id, a text, a time and two columns of metadata."""
    random = Random(num_rows)
    with path.with_suffix(".csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "text", "timestamp", "city", "age"))
        for number in range(num_rows):
            rows.writerow(
                (f"post_{number:08d}", make_text(random), "2026-05-01T10:00:00Z", WORDS[number % 40], number % 90)
            )
    return path.with_suffix(".csv")


def write_jsonl(path: Path, num_rows: int) -> Path:
    """Write the same as JSON Lines."""
    random = Random(num_rows)
    with path.with_suffix(".jsonl").open("w") as file:
        for number in range(num_rows):
            row = {
                "id": f"post_{number:08d}",
                "text": make_text(random),
                "city": WORDS[number % 40],
                "age": number % 90,
            }
            file.write(json.dumps(row) + "\n")
    return path.with_suffix(".jsonl")


def write_reference(path: Path, num_rows: int) -> Path:
    """Write captions, labels and paths as the reference does."""
    random = Random(num_rows)
    path.mkdir()
    writers: dict[str, Callable[[int], object]] = {
        "step1_captions.json": lambda n: {"status": "valid", "brand": WORDS[n % 40], "text": make_text(random)},
        "step2a_hooks.json": lambda n: {"hook": f"{WORDS[n % 40]} {WORDS[n % 7]}", "description_snippet": "one two"},
        "image_mapping.json": lambda n: {"image_path": f"/data/ads/ad_{n:08d}/image.jpg", "platform": "FACEBOOK"},
    }
    for name, entry in writers.items():
        with (path / name).open("w") as file:
            file.write("{")
            for number in range(num_rows):
                file.write(f'{"," if number else ""}\n  "ad_{number:08d}": {json.dumps(entry(number))}')
            file.write("\n}")
    return path


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "reference": write_reference}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--kind", choices=WRITERS, default="csv")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for num_rows in arguments.rows:
            source = WRITERS[arguments.kind](Path(temporary, f"source_{num_rows}"), num_rows)
            files = [source] if source.is_file() else list(source.iterdir())
            out = Path(temporary, f"out_{num_rows}")
            for what in ("import", "again"):
                usage = measure("-c", MAIN, "import", source, "--output_dir", out, *COMMON)
                rows.append(
                    {
                        "what": what,
                        "rows": num_rows,
                        "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1),
                        "seconds": usage.seconds,
                        "cpu_s": usage.cpu_s,
                        "rows_per_s": round(num_rows / usage.seconds),
                        "peak_gb": usage.peak_gb,
                    }
                )
    peaks = [row["peak_gb"] for row in rows if row["what"] == "import"]
    ratio = round(peaks[-1] / peaks[0], 2)
    print_results(f"ictc import of {arguments.kind}; memory grows {ratio} times", rows, {"peak_ratio": ratio})


if __name__ == "__main__":
    main()
