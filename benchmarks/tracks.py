"""Several tracks at once: `python benchmarks/tracks.py [--images 32]`.

Step 1 of all three built-in tracks in one pass, against one track, against three runs, and with one request that
answers for all tracks (`--combine_tracks`). All take turns on one engine; loading is in none of the times.

What is shared is what an image costs: decoding, the vision tower, and its tokens in the language model. In Qwen3.5-9B
at 1024 image tokens these are four fifths of a caption's FLOP, an answer of 140 tokens a tenth. A tiny model on two
cores spends relatively more on each token that it answers, so the first setting has answers that are short enough for
about that ratio, which is measured: `answers` is the share of one track's time that goes when answers have one token.
The second is unfavorable: few image tokens and long answers leave little to share.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from drawing import draw_photos
from engines import SharedEngine, Workload, add_engine_arguments, device_name, load_engine, make_workload
from measuring import check, median_ratio, print_results
from ways import Way, take_turns

TRACKS = ("1", "2", "3")
ALL_TRACKS = ",".join(TRACKS)
MOST = 1.8


@dataclass(frozen=True)
class Setting:
    """Images of one size and answers of one length."""

    name: str
    side_px: int
    answer_tokens: int


def make_ways(engine: SharedEngine, workload: Workload, setting: Setting) -> dict[str, Way]:
    """Return what takes turns."""

    async def run(track: str, answer_tokens: int, **flags: Any) -> None:
        engine.answer_tokens = answer_tokens
        await engine.run(workload.settings(track=track, **flags))

    async def run_apart() -> None:
        for track in TRACKS:
            await engine.forget()
            await run(track, setting.answer_tokens)

    return {
        "one track, 1 token": lambda: run("1", 1),
        "one track": lambda: run("1", setting.answer_tokens),
        "three tracks": lambda: run(ALL_TRACKS, setting.answer_tokens),
        "three in one request": lambda: run(ALL_TRACKS, len(TRACKS) * setting.answer_tokens, combine_tracks=True),
        "three runs": run_apart,
    }


async def measure_setting(
    engine: SharedEngine, workload: Workload, setting: Setting, repeats: int
) -> list[dict[str, Any]]:
    """Time all ways in one setting and return a row for each."""
    ways = make_ways(engine, workload, setting)
    await ways["one track"]()
    timings = await take_turns(engine, ways, repeats)
    seconds = {name: [timing.seconds for timing in taken] for name, taken in timings.items()}
    return [
        {
            "setting": setting.name,
            "way": name,
            "seconds": median(seconds[name]),
            "cpu_s": median(timing.cpu_s for timing in taken),
            "of one track": median_ratio(seconds[name], seconds["one track"]),
            "of three runs": median_ratio(seconds[name], seconds["three runs"]),
        }
        for name, taken in timings.items()
    ]


async def measure_settings(
    settings: list[Setting], workload: Workload, repeats: int, spread: float
) -> list[dict[str, Any]]:
    """Load the engine once and measure every setting."""
    rows: list[dict[str, Any]] = []
    async with load_engine(workload.settings(), settings[0].answer_tokens, spread, len(TRACKS)) as engine:
        for setting in settings:
            placed = replace(workload, ads=workload.root / setting.name)
            rows += await measure_setting(engine, placed, setting, repeats)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_engine_arguments(parser, images=32)
    parser.set_defaults(spread=0.0)
    parser.add_argument("--side_px", type=int, default=1024, help="of the square images that are like the real ones")
    parser.add_argument("--answer_tokens", type=int, default=16, help="of an answer about them")
    arguments = parser.parse_args()
    settings = [
        Setting("like the real model", arguments.side_px, arguments.answer_tokens),
        Setting("unfavorable", 256, 128),
    ]
    with make_workload(arguments) as workload:
        for setting in settings:
            draw_photos(workload.root / setting.name, arguments.images, (setting.side_px, setting.side_px))
        rows = asyncio.run(measure_settings(settings, workload, arguments.repeats, arguments.spread))
    ratios = {row["way"]: row["of one track"] for row in rows if row["setting"] == settings[0].name}
    answers = 1 - ratios["one track, 1 token"]
    figures = {"benchmark": "tracks", "device": device_name(), "answers": answers, **vars(arguments)}
    print_results(f"Answers take {answers:.0%} of one track", rows, figures)
    check((f"three tracks: {ratios['three tracks']:.2f} of {MOST} times one track", ratios["three tracks"] <= MOST))


if __name__ == "__main__":
    main()
