"""Puts the report page together: its texts, its data, its images and the map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bokeh.resources import Resources

from ictc.analytics.results import RunResults, find_results
from ictc.report.checked import Checked, find_checked
from ictc.report.clusters import ClusterCard, build_cards, clip
from ictc.report.comparison import compare_runs
from ictc.report.examples import EXAMPLE_KINDS
from ictc.report.images import encode_images, load_images
from ictc.report.levels import Branch, Leaf, build_branches, order_tree
from ictc.report.options import MAX_FIELD_CHARS, MAX_IMAGE_BYTES, PageOptions
from ictc.report.overview import (
    MAX_LISTED,
    Outcome,
    Prompt,
    build_facts,
    build_outcomes,
    build_prompts,
    count_repeated,
)
from ictc.report.payload import build_payload, dump_json
from ictc.report.reading import RunReport, read_run
from ictc.report.rendering import render
from ictc.report.stability import StabilityCurve, draw_stability
from ictc.report.words import ADS, Words
from ictc.version import __version__

STYLES = ("base.css", "style.css")
SCRIPTS = ("parts.js", "data.js", "dialog.js", "map.js", "explorer.js", "main.js")


@dataclass(frozen=True, kw_only=True)
class RunSection:
    """The parts of the page that are about one run, for the template.

    Attributes:
        branches: the clusters of each coarser level, the coarsest first; [] if clusters are not nested.
        leaves: the clusters in the order of the tree, else the largest first.
    """

    name: str
    results: RunResults
    words: Words
    cards: list[ClusterCard]
    branches: list[list[Branch]]
    leaves: list[Leaf]
    outcomes: list[Outcome]
    facts: dict[str, str]
    curve: StabilityCurve | None
    checked: Checked | None
    prompts: list[Prompt]
    num_repeated: int
    num_shown: int
    num_mapped: int
    has_map: bool
    method: str
    row_of_position: dict[int, int]

    @property
    def num_images(self) -> int:
        """Images of the collection, with and without a cluster."""
        return len(self.results.rows) + len(self.results.filtered)

    @property
    def num_none(self) -> int:
        """Images that no cluster fits."""
        return len(self.results.none)

    @property
    def none_share(self) -> float:
        """Their share of all that were judged."""
        return self.num_none / len(self.results.judged)

    @property
    def criterion(self) -> str:
        """The criterion, as short as a sentence can bear."""
        return clip(self.results.criterion, 200)

    @property
    def largest_share(self) -> float:
        """Share of the largest cluster, or of the images that none fits if they are more."""
        return max(self.none_share, *(card.share for card in self.cards))

    @property
    def cards_by_size(self) -> list[ClusterCard]:
        """The clusters, largest first."""
        return sorted(self.cards, key=lambda card: -card.size)

    @property
    def branches_by_size(self) -> list[list[Branch]]:
        """The clusters of each coarser level, largest first."""
        return [sorted(branches, key=lambda branch: -branch.size) for branches in self.branches]

    def rows_of(self, positions: Sequence[int]) -> list[int]:
        """Return where rows of the results, all of them shown, stand among the rows shown."""
        return [self.row_of_position[position] for position in positions]


def build_page(directories: Sequence[Path], options: PageOptions) -> str:
    """Return the page about the runs in `directories` as HTML."""
    found = find_results(directories)
    runs = [read_run(directory, options, len(found)) for directory in found]
    names = name_runs([run.results for run in runs])
    images = collect_images(runs, options.max_images)
    sections = [build_section(run, name) for run, name in zip(runs, names, strict=True)]
    return render(
        "page.html.j2",
        styles=STYLES,
        scripts=SCRIPTS,
        library=load_library(),
        title=" · ".join(dict.fromkeys(clip(run.results.criterion, 200) for run in runs)),
        sections=sections,
        words=sections[0].words if len({section.words for section in sections}) == 1 else ADS,
        comparison=compare_runs(runs, names),
        example_kinds=EXAMPLE_KINDS,
        num_images_shown=len(images),
        max_listed=MAX_LISTED,
        max_field_chars=MAX_FIELD_CHARS,
        data=dump_json(build_payload(runs, names, images)),
        version=__version__,
    )


def name_runs(runs: Sequence[RunResults]) -> list[str]:
    """Return a short name for each run, with its folder where names alone are not distinct."""
    names = [clip(run.name, 100) for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.directory.name})"
        for run, name in zip(runs, names, strict=True)
    ]


def build_section(run: RunReport, name: str) -> RunSection:
    """Return what the template tells about one run."""
    cards, branches = build_cards(run), build_branches(run)
    return RunSection(
        name=name,
        results=run.results,
        words=run.words,
        cards=cards,
        branches=branches,
        leaves=order_tree(cards, branches),
        outcomes=build_outcomes(run),
        facts=build_facts(run),
        checked=find_checked(run.results.directory),
        curve=draw_stability(run.synthesis, run.results.num_clusters + run.synthesis.get("merged_groups", 0)),
        prompts=build_prompts(run),
        num_repeated=count_repeated(run.results.rows),
        num_shown=len(run.shown),
        num_mapped=len(run.mapped.positions),
        has_map=run.mapped.places is not None,
        method=run.mapped.method,
        row_of_position={position: row for row, position in enumerate(run.shown.tolist())},
    )


def collect_images(runs: Sequence[RunReport], max_images: int) -> dict[str, str]:
    """Return up to `max_images` images as `data:` URIs by id, those of the examples first."""
    paths: dict[str, Path] = {}
    for run, position in iter_wanted(runs):
        if len(paths) == max_images:
            break
        image_id, image_path = run.results.rows[["image_id", "image_path"]].iloc[position]
        if image_id not in paths and (path := run.finder.find(image_id, image_path=image_path)):
            paths[image_id] = path
    return encode_images(load_images(paths), MAX_IMAGE_BYTES)


def iter_wanted(runs: Sequence[RunReport]) -> Iterator[tuple[RunReport, int]]:
    """Yield the rows whose images are wanted, most wanted first: examples, then a few of each cluster in turn."""
    for run in runs:
        for kinds in run.mapped.examples:
            yield from ((run, position) for positions in kinds.values() for position in positions)
    for run in runs:
        yield from ((run, position) for position in sorted(run.shown.tolist(), key=run.ranks.__getitem__))


@cache
def load_library() -> str:
    """Return the source of BokehJS (BSD-3-Clause), which draws the map."""
    bundles = Resources(mode="inline", components=["bokeh", "bokeh-api"]).js_raw
    return "\n".join(bundles[:-1])  # the last one sets the log level
