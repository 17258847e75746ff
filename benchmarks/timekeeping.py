"""What it costs to know where the time goes: `python benchmarks/timekeeping.py [--texts 5000] [--rounds 40]`.

Step 2a runs over synthetic captions with an engine that answers at once: with its timekeeper and, in turns, with one
that keeps no time. That ratio is a small one, in the noise of a shared machine; so the calls of one such run are also
counted, and timed by themselves. With an engine that computes, the share is a fraction of that.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median
from timeit import repeat
from typing import Any

from measuring import check, median_ratio, print_results
from repository import import_test_support
from synthetic import make_caption

from ictc.engines.replicas import Replicas
from ictc.engines.scripted import ScriptedEngine, ScriptedOptions
from ictc.records import Caption, Wait
from ictc.stages.lane import Lane
from ictc.stages.runner import Limits, MapRunner
from ictc.stages.sharing import NoLeaders
from ictc.stages.suspects import Suspects
from ictc.stages.timekeeping import Timekeeper
from ictc.stages.work import WorkItem
from ictc.steps.label import LabelStage
from ictc.storage.journal import Journal
from ictc.tracks.load import load_track

MOST_SHARE = 0.01


class Idle(Timekeeper):
    """Keeps no time."""

    def wait_for(self, place: int, wait: Wait) -> None:
        """Do nothing."""

    def wrote_since(self, began: float) -> None:
        """Do nothing."""


class Counting(Timekeeper):
    """Counts what it is asked to do, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def wait_for(self, place: int, wait: Wait) -> None:
        """Count whether that is news."""
        self.calls["same" if self.now_waits_for(place) is wait else "other"] += 1
        super().wait_for(place, wait)

    def wrote_since(self, began: float) -> None:
        """Count it."""
        self.calls["wrote"] += 1
        super().wrote_since(began)


def time_calls() -> dict[str, float]:
    """Return the least seconds of each call, with the reading of the clock before it."""
    keeper, waits = Timekeeper(), cycle((Wait.JOURNAL, Wait.MAIN_PROCESS))
    statements: dict[str, Callable[[], None]] = {
        "same": lambda: keeper.wait_for(0, Wait.MAIN_PROCESS),
        "wrote": lambda: keeper.wrote_since(time.monotonic()),
        "other": lambda: keeper.wait_for(0, next(waits)),
    }
    return {name: min(repeat(call, number=20_000, repeat=10)) / 20_000 for name, call in statements.items()}


async def load() -> ScriptedEngine:
    """Return an engine that answers at once."""
    return ScriptedEngine(ScriptedOptions())


def iter_captions(captions: list[Caption]) -> Iterator[WorkItem[Caption]]:
    """Yield captions as Step 2a gets them."""
    for number, caption in enumerate(captions):
        yield WorkItem(caption.image_id, input_digest=f"{number:016x}", load=partial(captions.__getitem__, number))


def run_once(captions: list[Caption], times: Timekeeper) -> float:
    """Return the CPU seconds that the step takes."""
    progress = import_test_support("side_by_side").Report()
    stage = LabelStage(
        items=partial(iter_captions, captions), track=load_track("1"), criterion="Marketing Strategy", seed=42
    )

    async def run(lane: Lane[Any]) -> float:
        engines = Replicas([load])
        await engines.load()
        began = time.process_time()
        await MapRunner([lane], asyncio.Event(), Limits()).run(engines)
        return time.process_time() - began

    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with Journal(directory / "journal") as journal, closing(Suspects(directory / "in_flight.log")) as suspects:
            gc.collect()
            lane = Lane(
                stage=stage, journal=journal, suspects=suspects, progress=progress, leaders=NoLeaders(), times=times
            )
            return asyncio.run(run(lane))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    captions = [make_caption(f"ad_{number}", Random(number)) for number in range(arguments.texts)]
    run_once(captions, counting := Counting())
    kept, not_kept = [], []
    for number in range(arguments.rounds):
        pair: list[tuple[list[float], Timekeeper]] = [(kept, Timekeeper()), (not_kept, Idle())]
        for seconds, times in pair if number % 2 else pair[::-1]:
            seconds.append(run_once(captions, times))
    costs = time_calls()
    calls_s = sum(counting.calls[name] * costs[name] for name in costs)
    rows = [
        {"what": "with", "us_per_text": median(kept) / arguments.texts * 1e6, "ratio": median_ratio(kept, not_kept)},
        {"what": "without", "us_per_text": median(not_kept) / arguments.texts * 1e6, "ratio": 1.0},
        {"what": "its calls alone", "us_per_text": calls_s / arguments.texts * 1e6, "ratio": calls_s / min(kept)},
    ]
    print_results(f"{arguments.texts:,} texts", rows, {"benchmark": "timekeeping", **vars(arguments)})
    check((f"timekeeping: {calls_s / min(kept):.2%} of at most {MOST_SHARE:.0%}", calls_s <= MOST_SHARE * min(kept)))


if __name__ == "__main__":
    main()
