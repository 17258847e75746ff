"""Compare Ray Data with vLLM to `ictc run --executor ray`: `python benchmarks/ray_data_llm.py [--parts rate tail]`.

`ray.data.llm` captions the same images with the same prompts, engine options, constraint and answers of the same
lengths, on a cluster on this machine with one engine each; a tiny model on the CPU build of vLLM will do.

- rate: images/s between the first and the last tenth of the answers; `start_s` is the time to the first request.
- tail: the same, with one answer in eight sixteen times as long as the others.
- failures: an image that no context holds, one that is none, one of too many pixels, one that the engine dies of.
- checkpoints: the driver killed in the middle and started again; then an image changed, then the prompt.

Needs `ictc[ray]` and vLLM. Where `ray.data.llm` looks for a module of an older vLLM, it is shown the newer's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from string import Template
from typing import Any

from drawing import draw_photos
from engines import device_name, make_workload
from measuring import median_ratio, print_results
from PIL import Image
from ray_work import Bench, Work, load_work

PARTS = ("rate", "tail", "failures", "checkpoints")
SIZE_PX = (256, 256)
HUGE_PX = (20_000, 20_000)
TAIL = (8, 8, 8, 8, 8, 8, 8, 128)
FEW = 48
OWN_TRACK = Template("""
from dataclasses import replace
from ictc.tracks import load_track

BASE = load_track("marketing")
TRACK = replace(BASE, name="own", number=None, caption=replace(BASE.caption, user=BASE.caption.user + "$words"))
""")
OURS, THEIRS = "ictc", "ray.data.llm"
VARIANTS: dict[str, dict[str, Any]] = {
    OURS: {"way": OURS},
    f"{THEIRS}, batches of 16": {"way": THEIRS},
    f"{THEIRS}, tuned": {"way": THEIRS, "concurrent_batches": 64, "lean": True},
}
"""The first of Ray's is as its documentation has it for images; the other has as many batches at an engine as ours, and
leaves tokens and text to vLLM."""


def measure_rates(bench: Bench, lengths: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Return a row for each variant: medians over the rounds, and the ratio to ours."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, variant in VARIANTS.items():
            finished = bench.run(bench.build(lengths=lengths, **variant))
            assert finished.status == 0, finished.message
            finished.check_lengths()
            taken[name].append(finished.rates())
            tell(name, taken[name][-1])
    ours = [rates["images_per_s"] for rates in taken[OURS]]
    return [
        {
            "way": name,
            **{figure: median(one[figure] for one in rates) for figure in rates[0]},
            "ratio": median_ratio([one["images_per_s"] for one in rates], ours),
        }
        for name, rates in taken.items()
    ]


def measure_failures(bench: Bench) -> list[dict[str, Any]]:
    """Return a row for each way to fail."""
    rows = []
    for what, work in iter_failures(bench, draw(bench, FEW)):
        row = {"what": what, "way": work.way, **bench.run(work).counts()}
        rows.append(row)
        tell(what, row)
    return rows


def iter_failures(bench: Bench, good: Path) -> Iterator[tuple[str, Work]]:
    """Yield what goes wrong with one of the images, and the work that it goes wrong in."""
    victim = sorted(path.stem for path in good.iterdir())[FEW // 2]
    common: dict[str, Any] = {"lengths": [40], "ads": good}
    for way in (OURS, THEIRS):
        yield "prompt too long", bench.build(way=way, too_long=victim, **common)
        if way == THEIRS:
            yield "the same, by default", bench.build(way=way, too_long=victim, continues=False, **common)
        yield "no image", bench.build(way=way, **{**common, "ads": spoil(bench, good, is_huge=False)})
        yield "huge image", bench.build(way=way, **{**common, "ads": spoil(bench, good, is_huge=True)})
        yield "engine dies", bench.build(way=way, deadly=victim, **common)


def draw(bench: Bench, count: int) -> Path:
    """Return a new folder of images."""
    return draw_photos(Path(tempfile.mkdtemp(dir=bench.workload.root)), count, SIZE_PX)


def spoil(bench: Bench, good: Path, is_huge: bool) -> Path:
    """Return a new folder of the good images and a bad one: of too many pixels, or none at all."""
    ads = Path(tempfile.mkdtemp(dir=bench.workload.root))
    for path in good.iterdir():
        os.link(path, ads / path.name)
    if is_huge:
        Image.new("1", HUGE_PX).save(ads / "bad.png")
    else:
        (ads / "bad.png").write_text("no image")
    return ads


def measure_checkpoints(bench: Bench, images: int) -> list[dict[str, Any]]:
    """Return what each start of a run asked: killed in its middle, resumed, after an image and a prompt changed."""
    rows = []
    for way in (OURS, THEIRS):
        work = bench.build(way=way, lengths=[60], checkpoints=True, ads=draw(bench, images))
        for what, step in iter_changes(work):
            before = len(work.notes("asked"))
            finished = bench.run(step, kill_after=images // 2 if what == "killed" else None)
            asked = [note["image"] for note in work.notes("asked")]
            again = len(set(asked[:before]) & set(asked[before:]))
            row = {"what": what, "way": way, "ends": finished.end, "asked": len(asked) - before, "again": again}
            rows.append({**row, "results": count_results(work), "reason": finished.message})
            tell(way, rows[-1])
    return rows


def iter_changes(work: Work) -> Iterator[tuple[str, Work]]:
    """Yield the same work again and again, with what has changed in between."""
    track = Path(work.folder, "own_track.py")
    track.write_text(OWN_TRACK.substitute(words=""))
    work = replace(work, flags={**work.flags, "track": str(track)})
    yield "killed", work
    yield "resumed", work
    Image.new("RGB", SIZE_PX).save(work.images[0])
    yield "an image changed", work
    track.write_text(OWN_TRACK.substitute(words="Be brief."))
    yield "the prompt changed", work


def count_results(work: Work) -> int:
    """Return how many results there are in files, those that are there twice twice."""
    import pyarrow.parquet

    folder = Path(work.folder)
    if work.way == THEIRS:
        return sum(pyarrow.parquet.read_metadata(path).num_rows for path in folder.glob("results/*.parquet"))
    exports = (folder / "out" / name for name in ("step1_captions.json", "ui_only_images.json"))
    return sum(len(json.loads(path.read_text())) for path in exports if path.exists())


def tell(what: str, figures: dict[str, Any]) -> None:
    """Say how far it is; all of it takes half an hour."""
    print(f"{what}: {figures}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--answer_tokens", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit_s", type=float, default=300, help="seconds after which a run counts as endless")
    parser.add_argument("--max_num_seqs", type=int, default=64)
    parser.add_argument("--max_model_len", type=int, default=4096)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(model=None, preset="tiny")
    arguments = parser.parse_args()
    if arguments.work:
        from ray_pipelines import run_work

        run_work(load_work())
        return
    with make_workload(arguments) as workload:
        draw_photos(workload.ads, arguments.images, SIZE_PX)
        bench = Bench(workload, Path(__file__), arguments.limit_s)
        measures = {
            "rate": lambda: measure_rates(bench, [arguments.answer_tokens], arguments.rounds),
            "tail": lambda: measure_rates(bench, TAIL, arguments.rounds),
            "failures": lambda: measure_failures(bench),
            "checkpoints": lambda: measure_checkpoints(bench, arguments.images),
        }
        for part in arguments.parts:
            figures = {"benchmark": "ray_data_llm", "part": part, "device": device_name(), **vars(arguments)}
            print_results(part, measures[part](), figures)


if __name__ == "__main__":
    main()
