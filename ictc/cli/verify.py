"""`ictc verify`: proves that a run lost, doubled and damaged nothing."""

from __future__ import annotations

from pathlib import Path

import orjson

from ictc.runs.reader import find_run_directories
from ictc.runs.verify import Finding
from ictc.runs.verify import verify as find_problems


def verify(*directories: Path, json: bool = False) -> int:
    """Prove that every image is accounted for and every file says what the journals say; exit code 1 if not.

    Checks the checksum of every record, that every image left every step in one way, that results belong to the
    inputs and clusters in use, and every exported file. Changes nothing. Examples:

    ictc verify out

    ictc verify out/shard_0 out/shard_1 --json

    Args:
        directories: --output_dir of the runs; shards and tracks below are found.
        json: Print one JSON object a run instead of lines.
    """
    all_in_order = True
    for directory in find_run_directories(directories or [Path()]):
        findings = []
        for finding in find_problems(directory):
            findings.append(finding)
            if not json:
                print(finding, flush=True)
        errors = sum(not finding.is_note for finding in findings)
        all_in_order = all_in_order and not errors
        if json:
            print(orjson.dumps(describe(directory.path, findings)).decode(), flush=True)
        else:
            print(f"{directory.path}: {f'{errors:,} errors' if errors else 'in order'}", flush=True)
    return 0 if all_in_order else 1


def describe(directory: Path, findings: list[Finding]) -> dict[str, object]:
    """Return what was found in one run directory as a JSON object."""
    rows = [
        {"check": finding.check, "path": str(finding.path), "problem": finding.problem, "is_note": finding.is_note}
        for finding in findings
    ]
    return {"directory": str(directory), "in_order": all(finding.is_note for finding in findings), "findings": rows}
