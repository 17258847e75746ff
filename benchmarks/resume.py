"""Time how a long run is taken up again: `python benchmarks/resume.py [--images 1000000]`.

Fills the journals of a run with captions, labels and assignments, then, each in a process of its own, reopens the
captions alone, and finds out what remains to do in all steps. Prints a table and a JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from measuring import measure
from synthetic import fill_clusters, fill_shard, open_run

from ictc.runs.plan import plan_steps
from ictc.steps.caption import CAPTION


def reopen_captions(root: Path) -> None:
    """Open the journal of Step 1"""
    run = open_run(root)
    with run.directory.open_journal(CAPTION.name, run.key(CAPTION)) as journal:
        assert len(journal) == len(run.manifest)


def plan_all(root: Path) -> None:
    """Find out what remains to do in all steps"""
    steps = plan_steps(open_run(root))
    assert all(step.todo == 0 for step in steps), steps


MEASURED = {"reopen": reopen_captions, "plan": plan_all}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        MEASURED[arguments.only[0]](Path(arguments.only[1]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        fill_shard(root, 0, arguments.images, arguments.images)
        fill_clusters(root)
        size_gb = sum(path.stat().st_size for path in root.rglob("*.jsonl")) / 1e9
        figures = {name: measure(__file__, "--only", name, root) for name in MEASURED}
    print(f"{arguments.images:,} images, {size_gb:.2f} GB of manifest and journals")
    for name, usage in figures.items():
        print(f"{MEASURED[name].__doc__:<45} {usage}")
    rounded = {name: asdict(usage) for name, usage in figures.items()}
    print(json.dumps({"images": arguments.images, "gb": round(size_gb, 3), **rounded}))


if __name__ == "__main__":
    main()
