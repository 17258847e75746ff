"""What came out of a track, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from ictc.runs.summary import TrackSummary
from ictc.stages.brake import describe_retry

WORDS_OF_STATUS = {
    "done": "captioned",
    "ui_only": "interface only",
    "broken": "broken",
    "rejected": "rejected",
}
WORDS_OF_TABLE = {"done": "imported", "broken": "empty"}
WORDS_OF_IMPORT = {"reference": {"done": "imported"}, "texts": WORDS_OF_TABLE, "captions": WORDS_OF_TABLE}
"""What differs where something was imported, by what that was."""


def describe_track(summary: TrackSummary) -> str:
    """Return what was asked of which images, and how they left Step 1."""
    noun = "texts" if summary.imported == "texts" else "images"
    return f"{summary.criterion} ({summary.track}): {summary.num_images:,} {noun}, {describe_captions(summary)}"


def describe_captions(summary: TrackSummary) -> str:
    """Return how the images left Step 1, such as "70 captioned, 4 broken; 12 are copies of others"."""
    counts = summary.statuses.get("caption", {})
    words = {**WORDS_OF_STATUS, **WORDS_OF_IMPORT.get(summary.imported, {})}
    ways = ", ".join(f"{count:,} {words[status]}" for status, count in counts.items())
    return ways + (f"; {summary.num_duplicates:,} are copies of others" if summary.num_duplicates else "")


def iter_rejections(summary: TrackSummary) -> Iterator[str]:
    """Yield for each step that rejected images how many, and what can be done."""
    for stage, counts in summary.statuses.items():
        if counts.get("rejected"):
            see = f"{counts['rejected']:,} rejected in the {stage} step; see {summary.directory / 'rejected.jsonl'}"
            remedy = describe_remedy(summary, stage)
            yield f"{see}, and {remedy} to try again" if remedy else see


def describe_remedy(summary: TrackSummary, stage: str) -> str:
    """Return what tries again what a step rejected, "" if nothing does: imported captions are what they are."""
    if not summary.imported:
        return describe_retry(summary.directory)
    return "" if stage == "caption" else "the same command with --retry_rejected"
