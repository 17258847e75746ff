"""Makes figures of a study and writes them, their numbers as JSON and their findings as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ictc.analytics.figures import literal_text, save_figure
from ictc.storage.atomic import write_atomic
from ictc.storage.json_files import write_json
from study_figures.finding import FigureSpec, Finding, escape_markdown
from study_figures.reading import Study, Unavailable


@dataclass(frozen=True)
class Outcome:
    """What became of a figure.

    Attributes:
        skipped: why it is not drawn, "" if it is.
        data: the numbers that it was drawn from, as JSON.
    """

    name: str
    title: str
    skipped: str = ""
    data: Any = None
    findings: tuple[Finding, ...] = ()


def make_figure(spec: FigureSpec[Any], study: Study, output_dir: Path) -> Outcome:
    """Compute, draw and save one figure.

    Raises:
        StorageError: results are damaged, or the disk refused.
    """
    try:
        data = spec.compute(study)
    except Unavailable as missing:
        return Outcome(spec.name, spec.title, skipped=str(missing))
    with literal_text():
        save_figure(spec.draw(data), output_dir / spec.name)
    findings = tuple(one for one in spec.describe(data) if one.is_known)
    return Outcome(spec.name, spec.title, data=to_json(data), findings=findings)


def to_json(value: Any) -> Any:
    """Return data as JSON: dataclasses and series as objects, tables by columns, what is unknown as null."""
    if isinstance(value, pd.DataFrame):
        rows = list(value.itertuples(index=False, name=None))
        return {"columns": to_json(list(value.columns)), "index": to_json(list(value.index)), "rows": to_json(rows)}
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict | pd.Series):
        return {str(name): to_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def write_findings(study: Study, outcomes: Iterable[Outcome], stem: Path) -> None:
    """Write the findings as `stem`.md, and with all numbers of the figures as `stem`.json.

    Raises:
        StorageError: the disk refused.
    """
    outcomes = list(outcomes)
    write_json(stem.with_name(f"{stem.name}.json"), {"runs": _runs(study), "figures": list(map(_as_json, outcomes))})
    text = "\n".join(_markdown(study, outcomes)) + "\n"
    write_atomic(stem.with_name(f"{stem.name}.md"), text.encode("utf-8", "replace"))


def _runs(study: Study) -> list[dict[str, Any]]:
    return [
        {"track": track, "num_clusters": k, "criterion": run.criterion, "ads": len(run.rows)}
        for (track, k), run in study.runs.items()
    ]


def _as_json(outcome: Outcome) -> dict[str, Any]:
    head = {"figure": outcome.name, "title": outcome.title}
    if outcome.skipped:
        return {**head, "skipped": outcome.skipped}
    findings = [{"text": one.text, "values": to_json(one.values)} for one in outcome.findings]
    return {**head, "findings": findings, "data": outcome.data}


def _markdown(study: Study, outcomes: list[Outcome]) -> Iterable[str]:
    yield "# Findings"
    yield ""
    yield "| track | K | criterion | ads |"
    yield "|---|---|---|---|"
    for run in _runs(study):
        names = [escape_markdown(run[name]) for name in ("track", "criterion")]
        yield f"| {names[0]} | {run['num_clusters']} | {names[1]} | {run['ads']:,} |"
    for outcome in outcomes:
        if not outcome.skipped:
            yield from ("", f"## {outcome.title}", "", f"![{outcome.title}]({outcome.name}.png)", "")
            yield from (f"- {finding.markdown}" for finding in outcome.findings)
    if skipped := [outcome for outcome in outcomes if outcome.skipped]:
        yield from ("", "## Not drawn", "")
        yield from (f"- {outcome.title} (`{outcome.name}`): {escape_markdown(outcome.skipped)}" for outcome in skipped)
