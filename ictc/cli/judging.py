"""What `ictc evaluate --judge` is given and tells: how often a model finds the odd one out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ictc.analytics.extra import analysis_packages
from ictc.cli.terminal import Terminal
from ictc.errors import ConfigError
from ictc.interface.session import judge_for
from ictc.intrusion.run import JudgeRequest
from ictc.storage.json_files import read_json


def check_judge(truth: Path | None, overrides: Mapping[str, Any], *, judge: bool) -> None:
    """Refuse flags that do not go together.

    Args:
        overrides: flags that are about the judge only.

    Raises:
        ConfigError: with what to leave out.
    """
    if judge and truth is not None:
        raise ConfigError("--judge asks a model, --truth compares with a table; give one at a time")
    if overrides and not judge:
        raise ConfigError(f"--{next(iter(overrides))} is about what --judge asks; add --judge")


def tell_judged(request: JudgeRequest) -> None:
    """Let a model judge the clusters of a run, and print what came of it."""
    with analysis_packages():
        path = judge_for(request, Terminal())
    print_judged(read_json(path))
    print(f"\nWritten to {path}")


def print_judged(found: Mapping[str, Any]) -> None:
    """Print how often the odd one was told, each level with its worst clusters first, and the baseline."""
    import pandas as pd

    from ictc.analytics.tables import format_table

    print(f"\nOdd one out of three, told by {found['model']}, with intervals of 95 %; by chance 33 % would be right")
    for level in found["levels"]:
        print(f"\n{level['level'] or 'all clusters'}: {describe_judged(level)}")
        rows = [
            {"right": describe_judged(row), "size": row["images"], "cluster": row["cluster"]}
            for row in level["clusters"]
        ]
        print(format_table(pd.DataFrame(rows)))
    print(f"\nof shuffled clusters: {describe_judged(found['shuffled'])}")
    if found["unanswered"]:
        print(f"  left out: {found['unanswered']:,} questions without a valid answer")


def describe_judged(score: Mapping[str, Any]) -> str:
    """Return how often the odd one was told, in words."""
    if score["share"] is None:
        return "not asked"
    return f"{score['share']:.0%} of {score['asked']:,} ({score['low']:.0%}–{score['high']:.0%})"
