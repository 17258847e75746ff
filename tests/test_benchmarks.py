"""The benchmarks that need no model still run to their end; how fast things are, no test judges."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
STATUSES = (0, 3)
"""Of a benchmark at its end: its figures suffice, or fall short."""


def run_benchmark(name: str, *arguments: object) -> list[dict[str, Any]]:
    """Run a benchmark and return its JSON lines."""
    command = [sys.executable, BENCHMARKS / f"{name}.py", *arguments]
    finished = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode in STATUSES, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]


def test_overhead_times_texts_and_images() -> None:
    size = ("--image_px", 320, 240, "--processes", 1, "--repeats", 1)
    texts, images = run_benchmark("overhead", "--records", 150, "--images", 4, *size)
    assert [row["what"] for row in texts["rows"]] == ["step 2a", "step 3", "command"]
    assert [row["what"] for row in images["rows"]] == ["Pillow alone", "step 1", "command"]
    assert all(row["per_s"] > 0 for row in texts["rows"] + images["rows"])
    assert texts["machine"]["versions"]["ictc"]


def test_scale_finds_that_bytes_grow_in_proportion() -> None:
    (figures,) = run_benchmark("scale", "--records", 100, 400)
    assert [(row["records"], row["what"]) for row in figures["rows"]] == [
        *((100, "Step 0"), (100, "run")),
        *((400, "Step 0"), (400, "run")),
    ]
    assert 0.5 < figures["exponents"]["written_gb"] < 1.2
    assert all(row["seconds"] > 0 and 0 < row["peak_gb"] < 1.5 for row in figures["rows"])


def test_timekeeping_counts_what_its_calls_cost() -> None:
    (figures,) = run_benchmark("timekeeping", "--texts", 200, "--rounds", 2)
    assert [row["what"] for row in figures["rows"]] == ["with", "without", "its calls alone"]
    assert 0 < figures["rows"][2]["us_per_text"] < figures["rows"][0]["us_per_text"]


def test_import_table_tells_what_rows_cost() -> None:
    for kind in ("csv", "jsonl", "reference"):
        (figures,) = run_benchmark("import_table", "--rows", 50, 200, "--kind", kind)
        assert [(row["what"], row["rows"]) for row in figures["rows"]] == [
            *(("import", 50), ("again", 50)),
            *(("import", 200), ("again", 200)),
        ]
        assert all(row["rows_per_s"] > 0 for row in figures["rows"])
        assert 0.5 < figures["peak_ratio"] < 2


@pytest.mark.lite
def test_taxonomy_measures_a_file(tmp_path: Path) -> None:
    kinds = {
        "pets": ("dog", "cat", "hamster"),
        "vehicles": ("truck", "bus", "train"),
        "fruit": ("apple", "pear", "plum"),
    }
    rows = [
        {"image_id": f"{label} {number}", "truth": truth, "caption": f"A {label}.", "label": label, "assigned": truth}
        for truth, labels in kinds.items()
        for label in labels
        for number in range(3)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {**rows[0], "label": None}]), encoding="utf-8")
    few = ("--number_seeds", 1, "--max_clusters", 4)
    (figures,) = run_benchmark("taxonomy", "--data", data, "--seeds", 1, "--peer_seeds", 0, *few)
    assert (figures["images"], figures["without_label"], figures["labels"], figures["classes"]) == (27, 1, 9, 3)
    assert figures["accuracy"] == figures["coarse_level"] == 1
    assert figures["peers"]["recorded answers"] == 1
    assert figures["k_found"][0] in (2, 3, 4)


def test_cascade_tells_what_recorded_answers_would_have_cost(tmp_path: Path) -> None:
    rows = [
        {"image_id": str(image), "truth": f"class {image % 3}", "caption": f"a thing of kind {image % 9}", **said}
        for image in range(300)
        for said in [{"label": f"label {image % 9}", "assigned": "none" if image % 100 == 7 else f"class {image % 3}"}]
    ]
    data = tmp_path / "recorded.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    (figures,) = run_benchmark("cascade", "--data", data, "--target", 0.9, "--seeds", 2)
    assert (figures["images"], figures["inputs"], len(figures["rows"])) == (297, 9, 2)
    assert {*figures} >= {"calls", "agreement", "bound", "violated", "accuracy", "accuracy_full"}
    assert (figures["accuracy_full"], figures["violated"]) == (1.0, 0)
    assert figures["agreement"] >= figures["bound"] >= 0.9


def test_corrected_shares_are_compared_with_normal_intervals() -> None:
    (figures,) = run_benchmark("corrected_shares", "--draws", 1)
    assert len(figures["rows"]) == 7
    assert all(row["score_width"] > row["normal_width"] > 0 for row in figures["rows"])
